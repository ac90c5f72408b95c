//! Requests in their ordinary shape, read at one go: one certificate, at most a nonce, nothing else.
//!
//! What is read here is what [`OcspRequest::from_der`] would have read; whatever looks different in any way is left to it
//! ([`read`] then gives `None`), so that there is one place that decides what is wrong with a request.

use super::cert_id::{CertId, CertIdHash, HashAlgorithm};
use super::request::{Nonce, OcspRequest};

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const INTEGER: u8 = 0x02;
/// `requestExtensions [2] EXPLICIT`
const EXTENSIONS: u8 = 0xa2;
/// id-pkix-ocsp-nonce, as an element.
const NONCE: [u8; 11] = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];

/// The object identifiers of the digests, as elements.
const SHA1: [u8; 7] = [0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA2: [u8; 10] = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// Reads a request that has the ordinary shape.
pub(super) fn read(bytes: &[u8]) -> Option<OcspRequest<'_>> {
    let request = only(bytes, SEQUENCE)?;
    let (list, extensions) = element(only(request, SEQUENCE)?, SEQUENCE)?;
    let cert_id = only(list, SEQUENCE)?;
    let nonce = if extensions.is_empty() { None } else { Some(nonce(extensions)?) };
    Some(OcspRequest::plain(read_cert_id(cert_id)?, nonce))
}

fn nonce(extensions: &[u8]) -> Option<Nonce<'_>> {
    let extension = only(only(only(extensions, EXTENSIONS)?, SEQUENCE)?, SEQUENCE)?;
    let value = only(extension.strip_prefix(&NONCE)?, OCTET_STRING)?;
    Nonce::from_extension_value(value).ok()
}

fn read_cert_id(der: &[u8]) -> Option<CertId<'_>> {
    let (algorithm, rest) = element(only(der, SEQUENCE)?, SEQUENCE)?;
    let (issuer_name_hash, rest) = element(rest, OCTET_STRING)?;
    let (issuer_key_hash, rest) = element(rest, OCTET_STRING)?;
    let serial = only(rest, INTEGER)?;
    match serial {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => return None,
        _ => {}
    }
    Some(CertId::plain(der, hash(algorithm)?, issuer_name_hash, issuer_key_hash, serial))
}

fn hash(algorithm: &[u8]) -> Option<CertIdHash> {
    let (algorithm, parameters) = if let Some(parameters) = algorithm.strip_prefix(&SHA1) {
        (HashAlgorithm::Sha1, parameters)
    } else {
        match algorithm.strip_prefix(&SHA2)? {
            [1, parameters @ ..] => (HashAlgorithm::Sha256, parameters),
            [2, parameters @ ..] => (HashAlgorithm::Sha384, parameters),
            [3, parameters @ ..] => (HashAlgorithm::Sha512, parameters),
            _ => return None,
        }
    };
    match parameters {
        [] => Some(CertIdHash { algorithm, null_parameters: false }),
        [5, 0] => Some(CertIdHash { algorithm, null_parameters: true }),
        _ => None,
    }
}

/// The content of the one element that fills `bytes`.
fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    match element(bytes, tag)? {
        (content, []) => Some(content),
        _ => None,
    }
}

/// The content of the first element, and what follows it. Lengths are in their shortest form, and less than 65,536.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [first, length @ 0..=0x7f, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x81, length @ 0x80..=0xff, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x82, high @ 1..=0xff, low, rest @ ..] if *first == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ocsp::{OcspLimits, RequestError};

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = match length {
            0..=0x7f => vec![tag, length as u8],
            0x80..=0xff => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [&head, content].concat()
    }

    /// Parts that make an ordinary request, and parts that do not.
    fn request() -> impl Strategy<Value = Vec<u8>> {
        let parameters = prop_oneof![Just(vec![]), Just(vec![5, 0]), Just(vec![5]), Just(vec![4, 1, 1])];
        let oid = prop_oneof![
            Just(SHA1.to_vec()),
            (1_u8..6).prop_map(|last| [&SHA2[..], &[last]].concat()),
            Just(NONCE.to_vec()),
        ];
        let octets = |most: usize| proptest::collection::vec(any::<u8>(), 0..most);
        let cert_id =
            (oid, parameters, octets(70), octets(70), octets(24)).prop_map(|(oid, parameters, name, key, serial)| {
                let algorithm = tlv(SEQUENCE, &[oid, parameters].concat());
                tlv(
                    SEQUENCE,
                    &[algorithm, tlv(OCTET_STRING, &name), tlv(OCTET_STRING, &key), tlv(INTEGER, &serial)].concat(),
                )
            });
        let extension = (prop_oneof![9 => Just(NONCE.to_vec()), 1 => Just(SHA1.to_vec())], octets(140), any::<bool>())
            .prop_map(|(oid, value, wrapped)| {
                let value = if wrapped { tlv(OCTET_STRING, &value) } else { value };
                tlv(SEQUENCE, &[oid, tlv(OCTET_STRING, &value)].concat())
            });
        let lists = proptest::collection::vec(cert_id, 1..3);
        let extensions = proptest::option::of(proptest::collection::vec(extension, 0..3));
        (lists, extensions, proptest::option::weighted(0.05, octets(4))).prop_map(|(ids, extensions, rest)| {
            let list: Vec<u8> = ids.iter().flat_map(|id| tlv(SEQUENCE, id)).collect();
            let extensions = extensions.map(|all| tlv(EXTENSIONS, &tlv(SEQUENCE, &all.concat()))).unwrap_or_default();
            let tbs = tlv(SEQUENCE, &[tlv(SEQUENCE, &list), extensions].concat());
            [tlv(SEQUENCE, &tbs), rest.unwrap_or_default()].concat()
        })
    }

    /// What is read here is what the other way reads; what is wrong there is not read here.
    fn assert_same(bytes: &[u8]) -> bool {
        let limits = OcspLimits::default();
        let general: Result<_, RequestError> = OcspRequest::general(bytes, &limits);
        let plain = read(bytes);
        if let Some(plain) = &plain {
            assert_eq!(Ok(plain), general.as_ref());
        }
        assert_eq!(OcspRequest::from_der(bytes, &limits), general);
        plain.is_some()
    }

    #[test]
    fn ordinary_requests_are_read_here() {
        let serial = crate::SerialNumber::from_random([9; 16]);
        let key = crate::PublicKey::from_ec_point(
            crate::KeyType::P256,
            &data_encoding::HEXLOWER
                .decode(
                    b"046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e16\
                      2bce33576b315ececbb6406837bf51f5",
                )
                .unwrap(),
        )
        .unwrap();
        let hashes = crate::ocsp::IssuerHashes::new(&[0x30, 0], &key);
        for algorithm in HashAlgorithm::ALL {
            for null_parameters in [false, true] {
                let id = hashes.cert_id_spelled(CertIdHash { algorithm, null_parameters }, serial);
                for nonce in [None, Some(&[7; 1][..]), Some(&[7; 32]), Some(&[7; 128])] {
                    assert!(assert_same(&crate::ocsp::build_request(&[&id], nonce).unwrap()));
                }
                assert!(!assert_same(&crate::ocsp::build_request(&[&id, &id], None).unwrap()));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn requests_of_all_shapes_are_read_as_by_the_general_way(bytes in request()) {
            assert_same(&bytes);
        }

        #[test]
        fn damaged_requests_are_read_as_by_the_general_way(
            mut bytes in request(),
            damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
        ) {
            for (at, value, how) in damages {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = value,
                    1 => bytes.insert(at, value),
                    _ if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => {}
                }
            }
            assert_same(&bytes);
        }
    }
}
