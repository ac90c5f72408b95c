//! Certificates, judged by `openssl verify -x509_strict` and by what is read back.

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::*;
use pki::certificate::{
    CertificateError, ParsedCertificate, PrepareError, SubjectFields, Validity, prepare, prepare_root, validity,
};
use pki::profile::Purpose;
use pki::usage::{self, KeyUsage};
use pki::{KeyType, Timestamp, pem};
use proptest::prelude::*;
use ring::rand::{SecureRandom, SystemRandom};

#[test]
fn every_profile_with_every_key_type_is_valid_to_openssl() {
    // conformance: E9
    let dir = tempfile::tempdir().unwrap();
    write_chain(dir.path());
    for profile in leaf_profiles() {
        for key_type in profile.key_types() {
            let key = TestKey::of(*key_type);
            let signed = hierarchy().issuing.issue(profile.name(), &fields(), key.public());
            let policy = profile.policies()[0].to_string();
            let purpose = match profile.purpose() {
                Purpose::ServiceTls => "sslserver",
                Purpose::OcspSigner => "ocsphelper",
                Purpose::CardSigning => "any",
                _ => "sslclient",
            };
            let more = ["-purpose", purpose, "-explicit_policy", "-policy", &policy];
            if let Err(words) = openssl_verify(dir.path(), signed.der(), &more) {
                panic!("{} with {key_type}: {words}", profile.name());
            }
            assert_eq!(signed.parsed().public_key(), key.public());
            assert_eq!(profiles().purpose_of(signed.parsed().policies()), Some(profile.purpose()));
        }
    }
}

#[test]
fn every_key_type_of_a_ca_is_valid_to_openssl() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, der: &[u8]| std::fs::write(dir.path().join(name), pem::encode(pem::CERTIFICATE, der));
    for root_type in profile("root-ca").key_types() {
        let root_key = TestKey::of(*root_type);
        let life = validity(profile("root-ca"), NOW, Duration::ZERO, Duration::ZERO, Timestamp::MAX).unwrap();
        let prepared = prepare_root(profile("root-ca"), &ca_fields("Root"), root_key.public(), serial(), life).unwrap();
        let signature = root_key.sign(prepared.tbs_der());
        let root = prepared.assemble(&signature, root_key.public()).unwrap();
        let description = describe("root-1", root.parsed(), false);
        write("root.pem", root.der()).unwrap();
        for key_type in profile("issuing-ca").key_types() {
            let key = TestKey::of(*key_type);
            let life = validity_of(profile("issuing-ca"), &description);
            let prepared =
                prepare(profile("issuing-ca"), &description, &ca_fields("Sub"), key.public(), serial(), life).unwrap();
            let signature = root_key.sign(prepared.tbs_der());
            let issuing = prepared.assemble(&signature, root_key.public()).unwrap();
            let description = describe("sub-1", issuing.parsed(), true);
            write("issuing.pem", issuing.der()).unwrap();
            let leaf_key = TestKey::of(KeyType::P256).public();
            let life = validity_of(profile("card-signing"), &description);
            let prepared = prepare(profile("card-signing"), &description, &fields(), leaf_key, serial(), life).unwrap();
            let signature = key.sign(prepared.tbs_der());
            let leaf = prepared.assemble(&signature, key.public()).unwrap();
            openssl_verify(dir.path(), leaf.der(), &[]).unwrap();
        }
    }
}

#[test]
fn a_card_says_what_the_registry_says() {
    // conformance: E8, E11
    let signed = hierarchy().issuing.issue("card-authentication", &fields(), TestKey::of(KeyType::P256).public());
    let card = signed.parsed();
    assert_eq!(card.common_name(), Some("555000000017_Zoë_O'Brien-Ćwikła"));
    assert_eq!(card.user_id(), Some("555000000017"));
    assert_eq!(card.upn(), Some("zoe@health.example"));
    assert!(card.dns_names().is_empty() && card.ip_addresses().is_empty());
    assert_eq!(card.key_usage(), Some(KeyUsage::DIGITAL_SIGNATURE));
    assert_eq!(card.key_usage_bits(), 1);
    assert!(card.has_extended_key_usage(usage::CLIENT_AUTH) && !card.has_extended_key_usage(usage::SERVER_AUTH));
    assert_eq!(card.not_before(), NOW);
    assert_eq!(card.not_after(), NOW.plus(DAY * 730).minus(Duration::from_secs(1)));
    assert!(card.is_valid_at(card.not_after()) && !card.is_valid_at(card.not_after().plus(Duration::from_secs(1))));
    assert_eq!(card.ca_issuers_urls(), ["http://pki.example/ca/authentication-1.cer"]);
    assert_eq!(card.ocsp_urls(), ["http://pki.example/ocsp"]);
    assert_eq!(card.crl_urls(), ["http://pki.example/crl/authentication-1.crl"]);
    assert!(!card.is_ca() && !card.has_ocsp_no_check());

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("card.der"), card.der()).unwrap();
    let arguments = ["x509", "-in", "card.der", "-inform", "DER", "-noout", "-text", "-nameopt", "utf8,sep_comma_plus"];
    let text = String::from_utf8(openssl(dir.path(), &arguments).unwrap()).unwrap();
    for words in [
        "Subject: O=Example Health,OU=People,CN=555000000017_Zoë_O'Brien-Ćwikła,serialNumber=555000000017",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "TLS Web Client Authentication",
        "othername: UPN::zoe@health.example",
        "Policy: 1.3.6.1.4.1.99999.1.1",
        "CA Issuers - URI:http://pki.example/ca/authentication-1.cer",
        "OCSP - URI:http://pki.example/ocsp",
        "URI:http://pki.example/crl/authentication-1.crl",
        "ecdsa-with-SHA256",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(!text.contains("Basic Constraints"), "{text}");
}

#[test]
fn a_site_may_name_all_that_the_registry_knows_and_add_extensions() {
    // conformance: E6, E7, E9, E11
    let dir = tempfile::tempdir().unwrap();
    write_chain(dir.path());
    let issuing = &hierarchy().issuing;
    for key_type in rich_profile().key_types() {
        let validity = validity_of(rich_profile(), &issuing.description);
        let key = TestKey::of(*key_type).public();
        let prepared = prepare(rich_profile(), &issuing.description, &fields(), key, serial(), validity).unwrap();
        let signed = issuing.sign(prepared);
        openssl_verify(dir.path(), signed.der(), &["-purpose", "sslclient"]).unwrap();
        let names = signed.parsed().alternative_names();
        let known = fields();
        assert_eq!((&names.upn, &names.sid), (&known.upn, &known.sid));
        assert_eq!((&names.emails, &names.uris), (&known.emails, &known.uris));
        let permanent = names.permanent_identifier.as_ref().unwrap();
        assert_eq!(Some(&permanent.value), known.permanent_identifier.as_ref());
        assert_eq!(permanent.assigner.unwrap().to_string(), "1.3.6.1.4.1.99999.3");
        assert!(names.dns.is_empty() && names.ip.is_empty(), "what the profile does not ask for stays out");
        std::fs::write(dir.path().join("card.der"), signed.der()).unwrap();
    }
    let text = openssl(dir.path(), &["x509", "-in", "card.der", "-inform", "DER", "-noout", "-text"]).unwrap();
    let text = String::from_utf8(text).unwrap();
    for words in [
        "othername: UPN::zoe@health.example",
        "email:zoe@health.example",
        "URI:urn:example:555000000017",
        "CPS: https://pki.example/cps",
        "Policy: 1.3.6.1.4.1.99999.1.11",
        "Microsoft Smartcard Login",
        "1.3.6.1.4.1.99999.4",
        "1.3.6.1.4.1.99999.2.1",
        "..site A",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    // The security identifier as Windows reads it, and the permanent identifier as RFC 4043 has it, octet for octet.
    let der = std::fs::read(dir.path().join("card.der")).unwrap();
    let sid = fields().sid.unwrap();
    let text = tlv(0xa0, &tlv(0x04, sid.as_bytes()));
    let kind = [0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x19, 0x02, 0x01];
    let value = tlv(0x30, &tlv(0xa0, &[&kind[..], &text].concat()));
    let identifier = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x19, 0x02];
    let extension = tlv(0x30, &[&identifier[..], &tlv(0x04, &value)].concat());
    assert!(der.windows(extension.len()).any(|window| window == extension));
    let assigner = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x86, 0x8d, 0x1f, 0x03];
    let assigner = [&assigner[..1], &[assigner.len() as u8 - 2], &assigner[2..]].concat();
    let syntax = tlv(0x30, &[&tlv(0x0c, b"555000000017")[..], &assigner].concat());
    let kind = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x03];
    let name = tlv(0xa0, &[&kind[..], &tlv(0xa0, &syntax)].concat());
    assert!(der.windows(name.len()).any(|window| window == name));
}

#[test]
fn a_value_that_a_profile_requires_and_the_registry_has_not_is_named() {
    // conformance: E11
    let issuer = &hierarchy().issuing.description;
    let key = TestKey::of(KeyType::P256).public();
    let ask = |fields: &SubjectFields| {
        let validity = validity_of(rich_profile(), issuer);
        prepare(rich_profile(), issuer, fields, key, serial(), validity).map(|_| ()).map_err(|error| error.to_string())
    };
    let without = SubjectFields { upn: None, sid: None, ..fields() };
    let error = ask(&without).unwrap_err();
    assert!(
        error.contains("\"site-card\" needs alternative names of kind upn and sid, and the registry has none"),
        "{error}"
    );
    assert_eq!(ask(&SubjectFields { emails: vec![], uris: vec![], ..fields() }), Ok(()), "these are optional");
    for (bad, words) in [
        (SubjectFields { sid: Some("S-1-5".into()), ..fields() }, "a security identifier is S-1-"),
        (SubjectFields { emails: vec!["Zoë <zoe@a.example>".into()], ..fields() }, "local@host"),
        (SubjectFields { uris: vec!["/relative".into()], ..fields() }, "a URI has a scheme"),
        (SubjectFields { uris: vec!["a:b".into(), "a:b".into()], ..fields() }, "it stands twice"),
        (SubjectFields { permanent_identifier: Some(" ".into()), ..fields() }, "a permanent identifier has"),
    ] {
        let error = ask(&bad).unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_preview_shows_all_but_the_signature_and_is_taken_by_nobody() {
    // conformance: E10
    let issuing = &hierarchy().issuing;
    let key = TestKey::of(KeyType::P256).public();
    let validity = validity_of(rich_profile(), &issuing.description);
    let prepared = prepare(rich_profile(), &issuing.description, &fields(), key, serial(), validity).unwrap();
    let unsigned = prepared.unsigned_der();
    assert!(unsigned.ends_with(&[0x03, 0x01, 0x00]), "an empty BIT STRING");
    let shown = ParsedCertificate::from_der(&unsigned).unwrap();
    assert_eq!(shown.verify_signed_by(issuing.key.public()), Err(CertificateError::Signature));
    let dir = tempfile::tempdir().unwrap();
    write_chain(dir.path());
    assert!(openssl_verify(dir.path(), &unsigned, &[]).is_err());
    openssl(dir.path(), &["x509", "-in", "leaf.pem", "-noout", "-text"]).unwrap();
    let signed = issuing.sign(prepared);
    assert_eq!(signed.parsed().tbs_der(), shown.tbs_der(), "what was shown is what is signed");
}

#[test]
fn names_of_machines_stand_among_the_alternative_names() {
    let signed = hierarchy().issuing.issue("service-tls", &fields(), TestKey::of(KeyType::P256).public());
    assert_eq!(signed.parsed().dns_names(), ["station-1.example", "localhost"]);
    assert_eq!(signed.parsed().ip_addresses(), fields().ip_addresses);
    assert_eq!(signed.parsed().upn(), None);
    let dir = tempfile::tempdir().unwrap();
    write_chain(dir.path());
    openssl_verify(dir.path(), signed.der(), &["-purpose", "sslserver", "-verify_hostname", "localhost"]).unwrap();
    openssl_verify(dir.path(), signed.der(), &["-verify_ip", "127.0.0.1"]).unwrap();
    openssl_verify(dir.path(), signed.der(), &["-verify_hostname", "other.example"]).unwrap_err();
}

#[test]
fn an_ocsp_signer_needs_no_check_of_itself() {
    // conformance: O12
    let signed = hierarchy().issuing.issue("ocsp-signer", &fields(), TestKey::of(KeyType::P256).public());
    let signer = signed.parsed();
    assert!(signer.has_ocsp_no_check());
    assert_eq!(signer.extended_key_usage(), [usage::OCSP_SIGNING]);
    assert!(signer.ca_issuers_urls().is_empty() && signer.ocsp_urls().is_empty() && signer.crl_urls().is_empty());
}

#[test]
fn cas_say_what_they_may_do() {
    // conformance: E4, E7
    let root = ParsedCertificate::from_der(&hierarchy().root.description.certificate_der).unwrap();
    let issuing = ParsedCertificate::from_der(&hierarchy().issuing.description.certificate_der).unwrap();
    assert!(root.is_ca() && root.is_self_issued() && root.path_length() == Some(1));
    assert!(root.crl_urls().is_empty() && root.ca_issuers_urls().is_empty());
    assert_eq!(root.authority_key_identifier(), root.subject_key_identifier());
    root.verify_signed_by(root.public_key()).unwrap();
    assert!(issuing.is_ca() && issuing.path_length() == Some(0));
    assert_eq!(issuing.key_usage(), Some(KeyUsage::CA));
    assert_eq!(issuing.authority_key_identifier(), root.subject_key_identifier());
    assert_eq!(issuing.crl_urls(), ["http://pki.example/crl/root-1.crl"]);
    assert!(issuing.ocsp_urls().is_empty());
    issuing.verify_signed_by(root.public_key()).unwrap();
    assert_eq!(issuing.verify_signed_by(issuing.public_key()), Err(CertificateError::Signature));
}

#[test]
fn serial_numbers_do_not_repeat() {
    // conformance: E1
    let random = SystemRandom::new();
    let mut seen = HashSet::new();
    for _ in 0..1_000_000 {
        let mut octets = [0; pki::SerialNumber::RANDOM_OCTETS];
        random.fill(&mut octets).unwrap();
        assert!(seen.insert(pki::SerialNumber::from_random(octets)));
    }
}

#[test]
fn validity_is_neither_backdated_nor_longer_than_the_issuer() {
    // conformance: E2
    let card = profile("card-authentication");
    let issuer = hierarchy().issuing.description.not_after;
    let minute = Duration::from_secs(60);
    let late = Timestamp::from_unix_millis(NOW.unix_millis() + 999);
    let some = validity(card, late, minute, DAY, issuer).unwrap();
    assert_eq!(some.not_before, NOW.minus(minute));
    assert_eq!(some.not_after.since(some.not_before), DAY * 729 - Duration::from_secs(1));
    let jittered = validity(card, NOW, Duration::ZERO, DAY * 400, issuer).unwrap();
    assert_eq!(jittered.not_after.since(NOW), DAY * 700 - Duration::from_secs(1), "jitter is the profile's at most");
    let cut = validity(card, NOW, Duration::ZERO, Duration::ZERO, NOW.plus(DAY)).unwrap();
    assert_eq!(cut.not_after, NOW.plus(DAY));
    assert!(matches!(validity(card, NOW, DAY, Duration::ZERO, issuer), Err(PrepareError::Validity(_))));
    assert!(matches!(validity(card, NOW, Duration::ZERO, Duration::ZERO, NOW), Err(PrepareError::Validity(_))));

    let key = TestKey::of(KeyType::P256).public();
    let issuer = &hierarchy().issuing.description;
    for (not_before, not_after) in [
        (NOW, NOW.plus(DAY * 731)),
        (issuer.not_after.minus(DAY), issuer.not_after.plus(Duration::from_secs(1))),
        (NOW, NOW),
        (NOW.plus(Duration::from_millis(1)), NOW.plus(DAY)),
    ] {
        let validity = Validity { not_before, not_after };
        let error = prepare(card, issuer, &fields(), key, serial(), validity).unwrap_err();
        assert!(matches!(error, PrepareError::Validity(_)), "{error}");
    }
}

#[test]
fn times_from_2050_on_are_written_as_generalized_time() {
    // conformance: E2
    let key = TestKey::of(KeyType::P384);
    let now: Timestamp = "2045-06-01T00:00:00Z".parse().unwrap();
    let life = validity(profile("root-ca"), now, Duration::ZERO, Duration::ZERO, Timestamp::MAX).unwrap();
    let prepared = prepare_root(profile("root-ca"), &ca_fields("Later"), key.public(), serial(), life).unwrap();
    let signature = key.sign(prepared.tbs_der());
    let signed = prepared.assemble(&signature, key.public()).unwrap();
    assert_eq!(signed.parsed().not_after(), life.not_after);
    assert!(signed.der().windows(15).any(|window| window == b"\x17\x0d450601000000Z"));
    assert!(signed.der().windows(17).any(|window| window == b"\x18\x0f20650526235959Z"));
}

#[test]
fn only_a_good_signature_by_the_issuer_makes_a_certificate() {
    // conformance: E9, E10
    let issuing = &hierarchy().issuing;
    let key = TestKey::of(KeyType::P256);
    let card = profile("card-authentication");
    let new = || {
        prepare(card, &issuing.description, &fields(), key.public(), serial(), validity_of(card, &issuing.description))
            .unwrap()
    };
    let prepared = new();
    let tbs = prepared.tbs_der().to_vec();
    assert_eq!((prepared.profile_name(), prepared.purpose()), (card.name(), card.purpose()));
    let (serial, digest) = (prepared.serial(), prepared.tbs_digest());
    let signed = issuing.sign(prepared);
    assert_eq!(signed.parsed().tbs_der(), tbs);
    assert_eq!(signed.serial(), serial);
    assert_eq!(ring::digest::digest(&ring::digest::SHA256, &tbs).as_ref(), digest);

    let other = TestKey::ec(KeyType::P256);
    let prepared = new();
    let signature = other.sign(prepared.tbs_der());
    assert_eq!(prepared.assemble(&signature, other.public()), Err(CertificateError::WrongIssuerKey));
    let prepared = new();
    let signature = other.sign(prepared.tbs_der());
    assert_eq!(prepared.assemble(&signature, issuing.key.public()), Err(CertificateError::Signature));
    assert_eq!(new().assemble(&[], issuing.key.public()), Err(CertificateError::Signature));
    // A signature over another certificate.
    let signature = issuing.key.sign(new().tbs_der());
    assert_eq!(new().assemble(&signature, issuing.key.public()), Err(CertificateError::Signature));
}

#[test]
fn what_the_profile_does_not_allow_is_refused() {
    let issuing = &hierarchy().issuing.description;
    let key = TestKey::of(KeyType::P256).public();
    let try_with = |name: &str, fields, key| {
        let profile = profile(name);
        prepare(profile, issuing, &fields, key, serial(), validity_of(profile, issuing)).unwrap_err()
    };
    let error = try_with("card-signing", fields(), TestKey::of(KeyType::Rsa4096).public());
    assert_eq!(
        error.to_string(),
        "profile \"card-signing\" allows no RSA-4096 key: make a key of type P-256, P-384, RSA-2048, RSA-3072"
    );
    let missing = SubjectFields { user_id: None, ..fields() };
    assert!(matches!(try_with("card-signing", missing, key), PrepareError::MissingField { .. }));
    let mut nameless = fields();
    nameless.dns_names.clear();
    assert!(matches!(try_with("ra-station", nameless, key), PrepareError::MissingAlternativeName { .. }));
    let mut wild = fields();
    wild.dns_names = vec!["*.example".into()];
    assert!(matches!(try_with("service-tls", wild, key), PrepareError::AlternativeName { .. }));
    let mut long = fields();
    long.common_name = Some("x".repeat(65));
    assert!(matches!(try_with("service-tls", long, key), PrepareError::Name(_)));
    let mut control = fields();
    control.family = Some("a\nb".into());
    assert!(matches!(try_with("card-signing", control, key), PrepareError::Name(_)));
    assert!(matches!(try_with("root-ca", fields(), key), PrepareError::Purpose { .. }));
    // An issuing CA has a path length of 0.
    assert!(matches!(try_with("issuing-ca", fields(), key), PrepareError::Issuer { .. }));
    let until = validity_of(profile("card-signing"), issuing);
    let root = prepare_root(profile("card-signing"), &fields(), key, serial(), until);
    assert!(matches!(root, Err(PrepareError::Purpose { .. })));
}

#[test]
fn an_issuer_that_is_not_as_its_certificate_says_issues_nothing() {
    // conformance: E3
    let good = &hierarchy().issuing.description;
    let card = profile("card-signing");
    let key = TestKey::of(KeyType::P256).public();
    let leaf = hierarchy().issuing.issue("card-signing", &fields(), key);
    type Change = fn(&mut pki::IssuerDescription, &[u8]);
    let changes: [Change; 6] = [
        |issuer, _| issuer.key_identifier = vec![1; 20],
        |issuer, _| issuer.not_after = issuer.not_after.plus(DAY),
        |issuer, _| issuer.subject_der = hierarchy().root.description.subject_der.clone(),
        |issuer, _| issuer.public_key = hierarchy().root.description.public_key.clone(),
        |issuer, leaf| issuer.certificate_der = leaf.to_vec(),
        |issuer, leaf| *issuer = describe("leaf", &ParsedCertificate::from_der(leaf).unwrap(), true),
    ];
    for change in changes {
        let mut issuer = good.clone();
        change(&mut issuer, leaf.der());
        let error = prepare(card, &issuer, &fields(), key, serial(), validity_of(card, good)).unwrap_err();
        assert!(matches!(error, PrepareError::Issuer { .. }), "{error}");
    }
}

#[test]
fn long_names_fit_and_stay_readable() {
    // conformance: E8
    let mut long = fields();
    long.given = Some("Anne-Marie Élisabeth ".repeat(3));
    let signed = hierarchy().issuing.issue("card-signing", &long, TestKey::of(KeyType::P256).public());
    let name = signed.parsed().common_name().unwrap();
    assert_eq!(name.chars().count(), 64);
    assert!(name.starts_with("555000000017_Anne-Marie Élisabeth Anne-Marie"));
    let dir = tempfile::tempdir().unwrap();
    write_chain(dir.path());
    openssl_verify(dir.path(), signed.der(), &[]).unwrap();
}

#[test]
fn certificates_are_read_strictly() {
    // conformance: E9
    let good = hierarchy().issuing.issue("card-signing", &fields(), TestKey::of(KeyType::P256).public());
    let good = good.der();
    assert_eq!(ParsedCertificate::from_der(good).unwrap().der(), good);
    let trailing = [good, &[0]].concat();
    assert!(matches!(ParsedCertificate::from_der(&trailing), Err(CertificateError::Malformed(_))));
    assert!(matches!(ParsedCertificate::from_der(&vec![0x30; 70_000]), Err(CertificateError::TooLarge(70_000))));
    for cut in 0..good.len() {
        assert!(ParsedCertificate::from_der(&good[..cut]).is_err());
    }
    // `critical FALSE` written out, which DER leaves away: 30 .. 06 03 55 1d 0e 01 01 00.
    let ski = good.windows(5).position(|window| window == [0x06, 0x03, 0x55, 0x1d, 0x0e]).unwrap();
    let mut ber = good.to_vec();
    ber.splice(ski + 5..ski + 5, [0x01, 0x01, 0x00]);
    assert!(ParsedCertificate::from_der(&ber).is_err());
}

#[test]
fn certificates_of_others_are_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| openssl(dir.path(), arguments).unwrap();
    run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key.pem"]);
    let mut arguments = vec!["req", "-x509", "-new", "-key", "key.pem", "-subj", "/C=GB/O=Other/CN=Other CA"];
    arguments.extend(["-addext", "subjectAltName=DNS:a.example,email:x@y.example", "-outform", "DER"]);
    let der = run(&arguments);
    let other = ParsedCertificate::from_der(&der).unwrap();
    assert_eq!(other.common_name(), Some("Other CA"));
    assert_eq!(other.dns_names(), ["a.example"]);
    other.verify_signed_by(other.public_key()).unwrap();
    // nameConstraints is not understood here, and it is critical.
    arguments.extend(["-addext", "nameConstraints=critical,permitted;DNS:a.example"]);
    let refused = ParsedCertificate::from_der(&run(&arguments));
    assert!(matches!(refused, Err(CertificateError::UnknownCriticalExtension(_))), "{refused:?}");
}

fn some_certificate() -> &'static [u8] {
    static DER: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    DER.get_or_init(|| {
        hierarchy().issuing.issue("card-authentication", &fields(), TestKey::of(KeyType::P256).public()).into_der()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_certificate_never_passes_and_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        // conformance: E9
        let good = some_certificate();
        let mut der = good.to_vec();
        for (index, octet) in changes {
            let at = index.index(der.len());
            der[at] = octet;
        }
        if let Some(cut) = cut {
            der.truncate(cut.index(good.len()));
        }
        if der != good && let Ok(certificate) = ParsedCertificate::from_der(&der) {
            let _ = (certificate.subject().is_ok(), certificate.issuer().is_ok(), certificate.fingerprint());
            prop_assert!(certificate.verify_signed_by(hierarchy().issuing.key.public()).is_err());
        }
    }

    #[test]
    fn rubbish_never_panics(rubbish in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ParsedCertificate::from_der(&rubbish);
        let _ = pki::name::DistinguishedName::from_der(&rubbish);
        let _ = pem::decode_all(&rubbish);
    }

    #[test]
    fn any_name_of_a_person_makes_a_valid_certificate_or_a_refusal(given in "\\PC{0,80}", family in ".{0,80}") {
        // conformance: E8
        let mut person = fields();
        person.given = Some(given);
        person.family = Some(family);
        let card = profile("card-signing");
        let issuer = &hierarchy().issuing.description;
        let key = TestKey::of(KeyType::P256).public();
        let prepared = prepare(card, issuer, &person, key, serial(), validity_of(card, issuer));
        // The linter never finds anything that the builder let pass.
        prop_assert!(matches!(prepared, Ok(_) | Err(PrepareError::Name(_))), "{:?}", prepared.err());
    }
}
