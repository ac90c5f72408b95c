//! Object identifiers as people write them, and to DER (X.690 8.19).
//!
//! The parser of `const-oid` is for constants: for numbers such as 128 it writes an encoding that is not DER, and it
//! overflows on large ones. What comes from outside is read here, and taken only when the decoder gives the same back.

use const_oid::ObjectIdentifier;

/// What the decoder reads for certain: four octets of seven bits.
const MAX_ARC: u32 = (1 << 28) - 1;

/// Reads `1.3.6.1.4.1.…`. The error says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<ObjectIdentifier, &'static str> {
    const FORM: &str = "an object identifier is numbers with dots between them, as 1.3.6.1.4.1.311";
    const LENGTH: &str = "object identifiers of 3 to 39 octets are supported: 1.2.3 is too short, 1.2.3.4 is not";
    if text.len() > 256 {
        return Err(LENGTH);
    }
    let mut arcs = Vec::new();
    for part in text.split('.') {
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FORM);
        }
        if part.len() > 1 && part.starts_with('0') {
            return Err("a number of an object identifier does not begin with 0");
        }
        let arc = part.parse::<u32>().ok().filter(|arc| *arc <= MAX_ARC);
        arcs.push(arc.ok_or("numbers up to 268435455 are supported in an object identifier")?);
    }
    let [first, second, rest @ ..] = &arcs[..] else { return Err(FORM) };
    if *first > 2 || (*first < 2 && *second > 39) {
        return Err("an object identifier begins with 0, 1 or 2, and after 0 and 1 comes a number up to 39");
    }
    if *second > 39 {
        return Err("below 2, object identifiers up to 2.39 are supported");
    }
    let mut der = vec![u8::try_from(first * 40 + second).map_err(|_| FORM)?];
    for arc in rest {
        let septet = |index: u32| (arc >> (7 * index)) as u8 & 0x7f;
        let longest = (1..4).rev().find(|index| arc >> (7 * index) != 0).unwrap_or(0);
        der.extend((1..=longest).rev().map(|index| septet(index) | 0x80));
        der.push(septet(0));
    }
    if !(3..=ObjectIdentifier::MAX_SIZE).contains(&der.len()) {
        return Err(LENGTH);
    }
    let oid = ObjectIdentifier::from_bytes(&der).map_err(|_| FORM)?;
    if oid.to_string() == text { Ok(oid) } else { Err(FORM) }
}

#[cfg(test)]
mod tests {
    use der::{Decode, Encode};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_numbers_at_which_the_length_changes_are_written_in_their_shortest_form() {
        // conformance: E9
        for (text, der) in [
            ("1.2.127.1", &[0x2a, 0x7f, 1][..]),
            ("1.2.128", &[0x2a, 0x81, 0]),
            ("1.2.129", &[0x2a, 0x81, 1]),
            ("1.2.16383", &[0x2a, 0xff, 0x7f]),
            ("1.2.16384", &[0x2a, 0x81, 0x80, 0]),
            ("1.2.2097151", &[0x2a, 0xff, 0xff, 0x7f]),
            ("1.2.2097152", &[0x2a, 0x81, 0x80, 0x80, 0]),
            ("1.2.268435455", &[0x2a, 0xff, 0xff, 0xff, 0x7f]),
            ("2.5.29.32.0", &[0x55, 0x1d, 0x20, 0]),
            ("0.0.0.0", &[0, 0, 0]),
        ] {
            let oid = parse(text).unwrap();
            assert_eq!(oid.as_bytes(), der, "{text}");
            assert!(crate::strict::check(&oid.to_der().unwrap()).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_the_decoder_cannot_hold_is_refused() {
        for (text, why) in [
            ("1.2.268435456", "up to 268435455"),
            ("1.2.4294967295", "up to 268435455"),
            ("1.2.4294967296", "up to 268435455"),
            ("1.2.99999999999999999999999999", "up to 268435455"),
            ("1.2.3", "too short"),
            ("2.999.1", "up to 2.39"),
            ("1.40.1", "a number up to 39"),
            ("3.1.1", "begins with 0, 1 or 2"),
            ("1.2.03", "does not begin with 0"),
            ("", "numbers with dots"),
            ("1", "numbers with dots"),
            ("1..2", "numbers with dots"),
            ("1.2.3.4.", "numbers with dots"),
            ("1.2.+3.4", "numbers with dots"),
            ("1.2.٣.4", "numbers with dots"),
            (&format!("1.2{}", ".1".repeat(39)), "3 to 39 octets"),
            (&format!("1.2{}", ".1".repeat(400)), "3 to 39 octets"),
        ] {
            let rule = parse(text).unwrap_err();
            assert!(rule.contains(why), "{text}: {rule}");
        }
    }

    proptest! {
        /// Whatever the decoder takes from outside can be shown.
        #[test]
        fn a_decoded_identifier_can_be_shown(content in prop::collection::vec(any::<u8>(), 0..42)) {
            let der = [&[6, content.len() as u8][..], &content].concat();
            if let Ok(oid) = ObjectIdentifier::from_der(&der) {
                prop_assert!(!oid.to_string().is_empty());
            }
        }

        #[test]
        fn what_is_read_is_what_is_decoded(arcs in prop::collection::vec(0..=MAX_ARC, 2..8)) {
            let text = arcs.iter().fold("1.3".to_owned(), |text, arc| format!("{text}.{arc}"));
            let oid = parse(&text).unwrap();
            prop_assert_eq!(ObjectIdentifier::from_der(&oid.to_der().unwrap()).unwrap(), oid);
            prop_assert_eq!(oid.to_string(), text);
            prop_assert!(crate::strict::check(&oid.to_der().unwrap()).is_ok());
        }
    }
}
