//! Certification requests, made by `openssl req` and by hand.

mod common;

use std::path::Path;
use std::sync::OnceLock;

use common::*;
use pki::request::{CheckedRequest, MAX_REQUEST, RequestRefusal, check_request};
use pki::{KeyType, pem};
use proptest::prelude::*;

const EXTENSION_REQUEST: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
const MICROSOFT_EXTENSIONS: &[u8] = &[0x06, 10, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 14];
const CHALLENGE_PASSWORD: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 7];
const UNSTRUCTURED_NAME: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2];

fn genpkey(dir: &Path, options: &[&str]) {
    let mut arguments = vec!["genpkey", "-out", "key.pem"];
    arguments.extend(options);
    openssl(dir, &arguments).unwrap();
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];

/// A request by openssl, as PEM.
fn request(key: &[&str], options: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    genpkey(dir.path(), key);
    let mut arguments = vec!["req", "-new", "-key", "key.pem"];
    if !options.contains(&"-subj") {
        arguments.extend(["-subj", "/"]);
    }
    arguments.extend(options);
    openssl(dir.path(), &arguments).unwrap()
}

fn der(pem_text: &[u8]) -> Vec<u8> {
    pem::decode_one(pem_text, pem::CERTIFICATE_REQUEST).unwrap()
}

fn refusal(bytes: &[u8]) -> RequestRefusal {
    check_request(bytes).unwrap_err()
}

/// A request of this process's own making: `attributes` is the content of the SET OF.
fn handmade(version: &[u8], attributes: &[u8]) -> Vec<u8> {
    let key = TestKey::of(KeyType::P256);
    let info = [&tlv(0x02, version), &tlv(0x30, &[])[..], key.public().spki_der(), &tlv(0xa0, attributes)].concat();
    let info = tlv(0x30, &info);
    let signature = [&[0][..], &key.sign(&info)].concat();
    let algorithm = tlv(0x30, &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
    tlv(0x30, &[info, algorithm, tlv(0x03, &signature)].concat())
}

fn attribute(oid: &[u8], values: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &[oid, &tlv(0x31, &values.concat())].concat())
}

/// basicConstraints, not critical, CA or not.
fn extensions(ca: bool) -> Vec<u8> {
    let constraints = tlv(0x30, if ca { &[0x01, 1, 0xff] } else { &[] });
    let extension = tlv(0x30, &[&[0x06, 3, 0x55, 0x1d, 0x13][..], &tlv(0x04, &constraints)].concat());
    tlv(0x30, &extension)
}

#[test]
fn every_key_type_and_hash_passes() {
    // conformance: R1, R2, R7, R10
    let rsa = |bits: &'static str| vec!["-algorithm", "RSA", "-pkeyopt", bits];
    for (key, hash, key_type) in [
        (P256.to_vec(), "-sha256", KeyType::P256),
        (P256.to_vec(), "-sha384", KeyType::P256),
        (P384.to_vec(), "-sha384", KeyType::P384),
        (P384.to_vec(), "-sha256", KeyType::P384),
        (rsa("rsa_keygen_bits:2048"), "-sha256", KeyType::Rsa2048),
        (rsa("rsa_keygen_bits:2048"), "-sha384", KeyType::Rsa2048),
        (rsa("rsa_keygen_bits:3072"), "-sha512", KeyType::Rsa3072),
    ] {
        let text = request(&key, &[hash]);
        let checked = check_request(&text).unwrap();
        assert_eq!(checked.public_key().key_type(), key_type);
        assert!(checked.ignored().is_empty(), "{:?}", checked.ignored());
        assert_eq!(check_request(&der(&text)).unwrap(), checked);
    }
}

#[test]
fn a_p384_key_in_a_request_signed_with_sha256_gets_a_certificate_with_its_curve() {
    // conformance: R10
    let checked = check_request(&request(P384, &["-sha256"])).unwrap();
    let signed = hierarchy().issuing.issue("card-authentication", &fields(), checked.public_key());
    assert_eq!(signed.parsed().public_key().key_type(), KeyType::P384);
    assert_eq!(signed.parsed().public_key(), checked.public_key());
    let dir = tempfile::tempdir().unwrap();
    write_chain(dir.path());
    openssl_verify(dir.path(), signed.der(), &[]).unwrap();
}

#[test]
fn what_is_no_signed_request_is_refused() {
    // conformance: R1
    let good = der(&request(P256, &[]));
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(&forged), RequestRefusal::Signature);
    // Another key in it than the one that signed: the last octet of the point.
    let checked = check_request(&good).unwrap();
    let at = good.windows(65).position(|window| window == checked.public_key().key_bits()).unwrap();
    let other = TestKey::ec(KeyType::P256);
    let mut swapped = good.clone();
    swapped[at..at + 65].copy_from_slice(other.public().key_bits());
    assert_eq!(refusal(&swapped), RequestRefusal::Signature);

    let trailing = [&good[..], &[0]].concat();
    assert_eq!(refusal(&trailing), RequestRefusal::Malformed("something follows it"));
    for cut in 0..good.len() {
        assert_eq!(refusal(&good[..cut]).rule(), "R1");
    }
    assert_eq!(refusal(&handmade(&[1], &[])), RequestRefusal::Version);
    assert!(check_request(&handmade(&[0], &[])).is_ok());
    assert!(matches!(refusal(&request(P256, &["-sha512"])), RequestRefusal::Algorithm(_)));
    let rsa = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    assert!(matches!(refusal(&request(&rsa, &["-sha1"])), RequestRefusal::Algorithm(_)));
    let pss = ["-sigopt", "rsa_padding_mode:pss"];
    assert!(matches!(refusal(&request(&rsa, &pss)), RequestRefusal::Algorithm(_)));
}

#[test]
fn rubbish_of_any_size_is_refused() {
    // conformance: R1
    let megabyte = vec![0x30; 1024 * 1024];
    assert_eq!(refusal(&megabyte), RequestRefusal::TooLarge(1024 * 1024));
    assert_eq!(refusal(&vec![0x30; MAX_REQUEST + 1]), RequestRefusal::TooLarge(MAX_REQUEST + 1));
    for rubbish in [&[][..], &[0x30], &[0; 100], b"hello", &[0xff; MAX_REQUEST], &[0x30; MAX_REQUEST]] {
        assert_eq!(refusal(rubbish).rule(), "R1");
    }
    // Certificates are no requests.
    assert_eq!(refusal(&hierarchy().root.description.certificate_der).rule(), "R1");
}

#[test]
fn pem_must_be_one_request() {
    // conformance: R1
    let text = String::from_utf8(request(P256, &[])).unwrap();
    assert!(check_request(text.replace('\n', "\r\n").as_bytes()).is_ok());
    assert!(check_request(text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST").as_bytes()).is_ok());
    for bad in [
        text.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        format!("{text}{text}"),
        format!("{text}more"),
        text.replace("-----END", "----END"),
        text.replace("-----END", "*\n-----END"),
    ] {
        assert!(matches!(refusal(bad.as_bytes()), RequestRefusal::Pem(_)), "{bad}");
    }
}

#[test]
fn rsa_keys_of_other_sizes_and_exponents_are_refused() {
    // conformance: R2
    for options in [
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"][..],
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2560"],
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_keygen_pubexp:3"],
    ] {
        let refused = refusal(&request(options, &[]));
        assert_eq!(refused.rule(), "R2", "{refused}");
    }
}

#[test]
fn an_rsa_key_without_its_null_parameters_is_refused() {
    // RFC 3279 2.3.1; the key stands in the certificate byte for byte.
    let spki = TestKey::of(KeyType::Rsa2048).public().spki_der();
    let at = spki.windows(2).position(|window| window == [0x05, 0x00]).unwrap();
    let algorithm = tlv(0x30, &spki[at - 11..at]);
    let without = tlv(0x30, &[algorithm, spki[at + 2..].to_vec()].concat());
    assert_eq!(pki::PublicKey::from_spki_der(&without), Err(pki::key::KeyError::Malformed));
    let with = tlv(0x30, &[tlv(0x30, &spki[at - 11..at + 2]), spki[at + 2..].to_vec()].concat());
    assert_eq!(with, spki);
}

#[test]
fn other_curves_and_odd_points_are_refused() {
    // conformance: R7
    let curve = |name: &'static str| vec!["-algorithm", "EC", "-pkeyopt", name];
    let mut explicit = P256.to_vec();
    explicit.extend(["-pkeyopt", "ec_param_enc:explicit"]);
    for options in [
        curve("ec_paramgen_curve:secp256k1"),
        curve("ec_paramgen_curve:P-521"),
        curve("ec_paramgen_curve:prime192v1"),
        explicit,
        vec!["-algorithm", "ED25519"],
    ] {
        let refused = refusal(&request(&options, &[]));
        assert_eq!(refused.rule(), "R7", "{options:?}: {refused}");
    }
    // A point off its curve, the point at infinity, a compressed point: seen before the signature.
    let good = handmade(&[0], &[]);
    let point = TestKey::of(KeyType::P256).public().key_bits();
    let at = good.windows(65).position(|window| window == point).unwrap();
    let mut off = good.clone();
    off[at + 64] ^= 1;
    assert_eq!(refusal(&off).rule(), "R7");
    let replaced = |octets: &[u8]| {
        let algorithm =
            [&[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 8][..], &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]];
        let bits = tlv(0x03, &[&[0], octets].concat());
        let spki = tlv(0x30, &[tlv(0x30, &algorithm.concat()), bits].concat());
        let info = tlv(0x30, &[tlv(0x02, &[0]), tlv(0x30, &[]), spki, tlv(0xa0, &[])].concat());
        let algorithm = tlv(0x30, &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        tlv(0x30, &[info, algorithm, tlv(0x03, &[0, 1])].concat())
    };
    let compressed = [&[2 + (point[64] & 1)][..], &point[1..33]].concat();
    for octets in [&[0][..], &compressed, &[0x04; 65], &[]] {
        assert_eq!(refusal(&replaced(octets)).rule(), "R7", "{octets:02x?}");
    }
}

#[test]
fn what_stands_twice_is_refused() {
    // conformance: R9
    let ask = attribute(EXTENSION_REQUEST, &[extensions(false)]);
    assert!(check_request(&handmade(&[0], &ask)).is_ok());
    let twice = [attribute(EXTENSION_REQUEST, &[extensions(false)]), attribute(EXTENSION_REQUEST, &[extensions(true)])];
    assert_eq!(refusal(&handmade(&[0], &twice.concat())), RequestRefusal::DuplicateExtensionRequest);
    let two_values = attribute(EXTENSION_REQUEST, &[extensions(false), extensions(true)]);
    assert_eq!(refusal(&handmade(&[0], &two_values)), RequestRefusal::DuplicateExtensionRequest);
    let two_kinds = [ask.clone(), attribute(MICROSOFT_EXTENSIONS, &[extensions(false)])].concat();
    assert_eq!(refusal(&handmade(&[0], &two_kinds)), RequestRefusal::DuplicateExtensionRequest);
    let inside = tlv(0x30, &[extensions(false)[2..].to_vec(), extensions(true)[2..].to_vec()].concat());
    let inside = attribute(EXTENSION_REQUEST, &[inside]);
    assert_eq!(refusal(&handmade(&[0], &inside)), RequestRefusal::DuplicateExtensionRequest);
    let password = |text: &[u8]| attribute(CHALLENGE_PASSWORD, &[tlv(0x0c, text)]);
    let refused = refusal(&handmade(&[0], &[password(b"a"), password(b"b")].concat()));
    assert!(matches!(refused, RequestRefusal::DuplicateAttribute(_)));
    assert_eq!(refused.rule(), "R9");
}

#[test]
fn attributes_are_der_and_few() {
    // conformance: R1
    let (name, password) =
        (attribute(UNSTRUCTURED_NAME, &[tlv(0x0c, b"a")]), attribute(CHALLENGE_PASSWORD, &[tlv(0x0c, b"a")]));
    assert!(check_request(&handmade(&[0], &[name.clone(), password.clone()].concat())).is_ok());
    assert_eq!(refusal(&handmade(&[0], &[password, name].concat())).rule(), "R1", "a SET OF is ordered");
    assert_eq!(refusal(&handmade(&[0], &attribute(UNSTRUCTURED_NAME, &[]))).rule(), "R1");
    let many: Vec<u8> = (1..100).flat_map(|n| attribute(&[0x06, 2, 0x2a, n], &[tlv(0x05, &[])])).collect();
    assert_eq!(refusal(&handmade(&[0], &many)), RequestRefusal::TooMany);
    let not_extensions = attribute(EXTENSION_REQUEST, &[tlv(0x04, b"x")]);
    assert_eq!(refusal(&handmade(&[0], &not_extensions)).rule(), "R1");
}

#[test]
fn what_is_asked_for_is_ignored_and_said() {
    // conformance: R10
    let text = request(
        P256,
        &[
            "-subj",
            "/O=Evil/CN=administrator",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=keyCertSign,digitalSignature",
            "-addext",
            "extendedKeyUsage=serverAuth,1.2.3.4",
            "-addext",
            "subjectAltName=DNS:evil.example,IP:10.0.0.1,email:a@b.example,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:x@y",
            "-addext",
            "certificatePolicies=1.2.3.5",
            "-addext",
            "nsComment=hello",
        ],
    );
    let checked = check_request(&text).unwrap();
    assert_eq!(
        checked.ignored(),
        [
            "subject O=Evil, CN=administrator",
            "basicConstraints CA:TRUE",
            "keyUsage digitalSignature, keyCertSign",
            "extendedKeyUsage serverAuth, 1.2.3.4",
            "subjectAltName DNS:evil.example, IP:10.0.0.1, email:a@b.example, otherName 1.3.6.1.4.1.311.20.2.3:x@y",
            "certificatePolicies 1.2.3.5",
            "extension 2.16.840.1.113730.1.13",
        ]
    );
    let signed = hierarchy().issuing.issue("card-authentication", &fields(), checked.public_key());
    let card = signed.parsed();
    assert!(!card.is_ca() && card.dns_names().is_empty());
    assert_eq!(card.policies(), profile("card-authentication").policies());
    assert_eq!(card.user_id(), Some("555000000017"));
}

#[test]
fn the_record_of_what_was_asked_for_is_printable_and_holds_no_secret() {
    // conformance: R10
    let password = attribute(CHALLENGE_PASSWORD, &[tlv(0x0c, b"swordfish")]);
    let checked = check_request(&handmade(&[0], &password)).unwrap();
    assert_eq!(checked.ignored(), ["challengePassword"]);
    let long = format!("/CN=a\u{7}{}", "b".repeat(60));
    let checked = check_request(&request(P256, &["-utf8", "-subj", &long])).unwrap();
    assert_eq!(checked.ignored()[0], format!("subject CN=a\u{fffd}{}", "b".repeat(60)));
}

fn some_request() -> &'static (Vec<u8>, CheckedRequest) {
    static REQUEST: OnceLock<(Vec<u8>, CheckedRequest)> = OnceLock::new();
    REQUEST.get_or_init(|| {
        let options = ["-subj", "/O=Evil/CN=a", "-addext", "basicConstraints=CA:TRUE", "-addext", "keyUsage=cRLSign"];
        let der = der(&request(P256, &options));
        let checked = check_request(&der).unwrap();
        (der, checked)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_request_is_refused_and_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        // conformance: R1
        let (good, checked) = some_request();
        let mut der = good.clone();
        for (index, octet) in changes {
            let at = index.index(der.len());
            der[at] = octet;
        }
        if let Some(cut) = cut {
            der.truncate(cut.index(good.len()));
        }
        match check_request(&der) {
            Ok(same) => prop_assert!(der == *good && same == *checked),
            Err(refused) => prop_assert!(refused.to_string().contains(refused.rule())),
        }
    }

    #[test]
    fn attributes_of_any_content_never_panic(content in prop::collection::vec(any::<u8>(), 0..120)) {
        // conformance: R1
        let signed = [
            handmade(&[0], &content),
            handmade(&[0], &attribute(EXTENSION_REQUEST, &[tlv(0x30, &content)])),
            handmade(&[0], &attribute(EXTENSION_REQUEST, &[tlv(0x30, &tlv(0x30, &content))])),
            handmade(&content, &[]),
        ];
        for request in signed {
            if let Ok(checked) = check_request(&request) {
                prop_assert!(checked.ignored().iter().all(|line| line.chars().count() <= 201));
            }
        }
    }

    #[test]
    fn rubbish_never_panics(rubbish in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(check_request(&rubbish).is_err());
        let armoured = pem::encode(pem::CERTIFICATE_REQUEST, &rubbish);
        prop_assert!(check_request(armoured.as_bytes()).is_err());
    }
}
