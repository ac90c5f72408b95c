//! The base64 in the path of a GET (RFC 6960 A.1), in all the forms that clients and proxies give it.
//!
//! Taken from the request target as it came. All of these mean the same request: slashes inside, also two in a row, raw
//! or as `%2F`; `+` raw, as `%2B`, or turned into a space; the URL-safe alphabet; padding raw, as `%3D` or missing; any
//! number of slashes before it, from an address that ends in one.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The request in what follows the prefix of a path; `None` if that is no base64.
// conformance: H1, H2, H3
pub fn decode(rest: &str) -> Option<Vec<u8>> {
    // A request begins with 0x30, so its base64 begins with M: these slashes are none of it.
    let encoded = rest.trim_start_matches('/').as_bytes();
    let mut text = Vec::with_capacity(encoded.len());
    let mut octets = encoded.iter().copied();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'%' => hex(octets.next()?)? << 4 | hex(octets.next()?)?,
            octet => octet,
        };
        match octet {
            b'-' | b' ' => text.push(b'+'),
            b'_' => text.push(b'/'),
            b'\r' | b'\n' => {}
            octet => text.push(octet),
        }
    }
    let padding = text.iter().rev().take_while(|octet| **octet == b'=').count();
    ENGINE.decode(&text[..text.len() - padding]).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_request_is_read() {
        // conformance: H1, H2, H3
        let canonical = "MAP//+/7+wE=".to_owned();
        let der = base64::engine::general_purpose::STANDARD.decode(&canonical).unwrap();
        for spelling in [
            format!("/{canonical}"),
            format!("//{canonical}"),
            canonical.clone(),
            canonical.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"),
            canonical.replace('/', "%2f").replace('+', "%2b").replace('=', "%3d"),
            canonical.replace('+', "%20"),
            canonical.replace('/', "_").replace('+', "-"),
            canonical.trim_end_matches('=').to_owned(),
            format!("{}%0A{}", &canonical[..4], &canonical[4..]),
        ] {
            assert_eq!(decode(&spelling).as_deref(), Some(&der[..]), "{spelling}");
        }
    }

    #[test]
    fn what_is_no_base64_is_none() {
        for rest in ["/M%", "/M%2", "/M%zz", "/MA=A", "/MAP!", "/M\u{e9}"] {
            assert_eq!(decode(rest), None, "{rest}");
        }
        assert_eq!(decode("/"), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(rest in ".*") {
            decode(&rest);
        }

        #[test]
        fn every_request_comes_back(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let der = [&[0x30][..], &tail].concat();
            let path = format!("/{}", base64::engine::general_purpose::STANDARD.encode(&der));
            prop_assert_eq!(decode(&path), Some(der));
        }
    }
}
