//! Keys and certificates in a token, on SoftHSM.

mod common;

use std::process::Command;

use common::{Home, USER_PIN, faulty, isolated, new_token, open, open_new, softhsm};
use hsm::{Error, MadeKey, Signer};
use pki::KeyType;
use ring::digest;

/// What OpenSC's `pkcs11-tool`, which knows nothing of this crate, says of a token.
fn pkcs11_tool(arguments: &[&str]) -> String {
    let module = softhsm().path().display().to_string();
    let output = Command::new("pkcs11-tool")
        .args(["--module", &module, "--token-label", "test", "--login", "--pin", USER_PIN])
        .args(arguments)
        .output()
        .expect("pkcs11-tool (opensc) is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_key_type_is_made_in_the_token_signs_and_verifies() {
    isolated(|_| {
        let token = open_new(&softhsm());
        for (id, key_type) in KeyType::ALL.into_iter().enumerate() {
            let made = token.generate_key_pair(&key_type.to_string(), &[id as u8 + 1], key_type).unwrap();
            let key = token.find_key(&key_type.to_string()).unwrap().unwrap();
            assert_eq!(key.public_key(), made.public_key());
            assert_eq!((key.key_type(), key.id()), (key_type, &[id as u8 + 1][..]));
            assert_eq!(key.algorithm(), key_type.signature_algorithm());
            // Several, since an ECDSA number may or may not need a leading zero.
            for round in 0..8_u8 {
                let message = vec![round; 1000];
                let signature = key.sign(&message).unwrap();
                key.public_key().verify(key.algorithm(), &message, &signature).unwrap();
                assert!(key.public_key().verify(key.algorithm(), b"another", &signature).is_err());
            }
        }
        let keys = token.keys().unwrap();
        assert_eq!(keys.len(), KeyType::ALL.len());
        assert!(keys.iter().all(|key| key.label() == key.key_type().to_string()));
    });
}

#[test]
fn a_digest_is_signed_like_its_message() {
    isolated(|_| {
        let token = open_new(&softhsm());
        for (id, key_type) in [(1, KeyType::P256), (2, KeyType::P384), (3, KeyType::Rsa2048)] {
            let key = token.generate_key_pair("key", &[id], key_type).unwrap();
            let algorithm = if key_type == KeyType::P384 { &digest::SHA384 } else { &digest::SHA256 };
            let signature = key.sign_digest(digest::digest(algorithm, b"message").as_ref()).unwrap();
            key.public_key().verify(key.algorithm(), b"message", &signature).unwrap();
            let other = digest::digest(&digest::SHA512, b"message");
            assert!(matches!(key.sign_digest(other.as_ref()), Err(Error::DigestLength { actual: 64, .. })));
        }
    });
}

// conformance: K1
#[test]
fn a_private_key_cannot_be_extracted() {
    isolated(|_| {
        let token = open_new(&softhsm());
        token.generate_key_pair("ec", b"\x01", KeyType::P256).unwrap();
        token.generate_key_pair("rsa", b"\x02", KeyType::Rsa2048).unwrap();
        let listing = pkcs11_tool(&["--list-objects", "--type", "privkey"]);
        let access: Vec<&str> = listing.lines().filter(|line| line.trim().starts_with("Access:")).collect();
        assert_eq!(access.len(), 2, "{listing}");
        for words in access {
            assert!(
                words.contains("sensitive, always sensitive, never extractable, local"),
                "the key is not protected: {listing}"
            );
        }
        let usage: Vec<&str> = listing.lines().filter(|line| line.trim().starts_with("Usage:")).collect();
        assert!(usage.iter().all(|line| line.trim() == "Usage:      sign"), "{listing}");
    });
}

// conformance: K1
#[test]
fn a_token_that_makes_an_extractable_key_is_refused_and_the_key_destroyed() {
    isolated(|home| {
        let token = open_new(&faulty());
        home.plan("C_GenerateKeyPair EXTRACTABLE 1");
        let error = token.generate_key_pair("ca", b"1", KeyType::P256).unwrap_err();
        assert!(matches!(error, Error::KeyUnprotected { attribute: "CKA_EXTRACTABLE", .. }), "{error}");
        assert!(token.keys().unwrap().is_empty());
        token.generate_key_pair("ca", b"1", KeyType::P256).unwrap();
    });
}

#[test]
fn an_id_belongs_to_one_key() {
    isolated(|_| {
        let token = open_new(&softhsm());
        let key = token.generate_key_pair("first", b"1", KeyType::P256).unwrap();
        let error = token.generate_key_pair("second", b"1", KeyType::P256).unwrap_err();
        assert!(matches!(&error, Error::KeyIdInUse { id, .. } if id == "31"), "{error}");
        assert!(matches!(token.generate_key_pair("second", b"", KeyType::P256), Err(Error::KeyIdInUse { .. })));
        let found = token.find_key_by_id(b"1").unwrap().unwrap();
        assert_eq!((found.label(), found.public_key()), ("first", key.public_key()));
        assert!(token.find_key_by_id(b"2").unwrap().is_none());
        assert!(token.find_key_by_id(b"").unwrap().is_none());
        assert!(!token.destroy_key(b"").unwrap());
        assert!(token.find_key("second").unwrap().is_none());
    });
}

#[test]
fn new_keys_are_made_beside_old_ones_and_take_their_name() {
    isolated(|_| {
        let token = open_new(&softhsm());
        let old = token.generate_key_pair("signing", b"old", KeyType::P256).unwrap();
        let new = token.generate_key_pair("signing", b"new", KeyType::P256).unwrap();
        let error = token.find_key("signing").unwrap_err();
        assert!(matches!(error, Error::KeyAmbiguous { count: 2, .. }), "{error}");

        token.rename_key(b"old", "signing, old").unwrap();
        assert_eq!(token.find_key("signing").unwrap().unwrap().public_key(), new.public_key());
        old.sign(b"a key is known by its id, whatever its label").unwrap();
        assert!(matches!(token.rename_key(b"none", "x"), Err(Error::KeyMissing { .. })));

        assert!(token.destroy_key(b"old").unwrap());
        assert!(!token.destroy_key(b"old").unwrap());
        assert!(matches!(old.sign(b"message"), Err(Error::KeyMissing { .. })));
        new.sign(b"message").unwrap();
        assert_eq!(pkcs11_tool(&["--list-objects"]).matches("label:      signing").count(), 2);
    });
}

#[test]
fn keys_are_there_after_the_token_was_closed() {
    isolated(|_| {
        let module = softhsm();
        let selector = new_token(&module, "test");
        let token = open(&module, &selector);
        let key = token.generate_key_pair("key", b"1", KeyType::P384).unwrap();
        token.close();
        let found = open(&module, &selector).find_key("key").unwrap().unwrap();
        let signature = found.sign(b"message").unwrap();
        key.public_key().verify(key.algorithm(), b"message", &signature).unwrap();
    });
}

/// A certificate by a stranger's hand; `openssl` writes it in DER.
fn certificate(home: &Home, name: &str) -> Vec<u8> {
    let (key, certificate) = (home.file("openssl.key"), home.file("openssl.der"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"])
        .arg(format!("/CN={name}"))
        .args(["-outform", "DER", "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(certificate).unwrap()
}

#[test]
fn certificates_are_written_read_back_replaced_and_deleted() {
    isolated(|home| {
        let token = open_new(&softhsm());
        let (first, second) = (certificate(home, "First Person"), certificate(home, "Second Person"));
        token.write_certificate("authentication", b"\x0a", &first).unwrap();
        token.write_certificate("signing", b"\x0b", &first).unwrap();
        token.write_certificate("signing", b"\x0b", &second).unwrap();
        token.write_certificate("signing", b"\x0b", &second).unwrap();
        let mut read = token.read_certificates().unwrap();
        read.sort_by(|one, other| one.id.cmp(&other.id));
        let read: Vec<_> = read.iter().map(|c| (c.label.as_str(), c.id.as_slice(), c.der.as_slice())).collect();
        assert_eq!(
            read,
            [("authentication", &b"\x0a"[..], first.as_slice()), ("signing", &b"\x0b"[..], second.as_slice())]
        );
        let listing = pkcs11_tool(&["--list-objects", "--type", "cert"]);
        assert!(listing.contains("CN=First Person") && listing.contains("CN=Second Person"), "{listing}");

        token.write_certificate("without an id", b"", &first).unwrap();
        assert!(!token.delete_certificate(b"").unwrap());
        assert_eq!(token.read_certificates().unwrap().len(), 3);
        assert!(token.delete_certificate(b"\x0a").unwrap());
        assert!(!token.delete_certificate(b"\x0a").unwrap());
        assert_eq!(token.read_certificates().unwrap().len(), 2);
    });
}

#[test]
fn what_is_no_certificate_is_not_written() {
    isolated(|home| {
        let token = open_new(&softhsm());
        let mut trailing = certificate(home, "Person");
        trailing.push(0);
        for der in [&b"rubbish"[..], &trailing, &[]] {
            assert!(matches!(token.write_certificate("x", b"1", der), Err(Error::Certificate { .. })));
        }
        assert!(token.read_certificates().unwrap().is_empty());
    });
}

#[test]
fn a_card_that_carries_certificates_in_place_of_public_keys_can_be_used() {
    isolated(|_| {
        let token = open_new(&softhsm());
        let key = token.generate_key_pair("key", b"\x01", KeyType::P256).unwrap();
        pkcs11_tool(&["--delete-object", "--type", "pubkey", "--id", "01"]);
        let error = token.find_key("key").unwrap_err();
        assert!(matches!(error, Error::KeyUnusable { .. }), "{error}");
        assert!(token.keys().unwrap().is_empty());

        let certificate = self_signed(&key);
        token.write_certificate("key", b"\x01", &certificate).unwrap();
        assert_eq!(token.find_key("key").unwrap().unwrap().public_key(), key.public_key());
    });
}

/// The least certificate that carries a key: what it says does not matter here.
fn self_signed(key: &hsm::Key) -> Vec<u8> {
    use der::{Decode, Encode};
    use x509_cert::certificate::{Certificate, TbsCertificate, Version};
    let identifier = key.algorithm().identifier().to_der().unwrap();
    let algorithm = x509_cert::spki::AlgorithmIdentifierOwned::from_der(&identifier).unwrap();
    let seconds = std::time::Duration::from_secs(1_000_000_000);
    let time = x509_cert::time::Time::UtcTime(der::asn1::UtcTime::from_unix_duration(seconds).unwrap());
    let tbs_certificate = TbsCertificate {
        version: Version::V1,
        serial_number: x509_cert::serial_number::SerialNumber::new(&[1]).unwrap(),
        signature: algorithm.clone(),
        issuer: "CN=Card".parse().unwrap(),
        validity: x509_cert::time::Validity { not_before: time, not_after: time },
        subject: "CN=Card".parse().unwrap(),
        subject_public_key_info: Decode::from_der(key.public_key().spki_der()).unwrap(),
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: None,
    };
    let signature = key.sign(&tbs_certificate.to_der().unwrap()).unwrap();
    let signature = der::asn1::BitString::from_bytes(&signature).unwrap();
    Certificate { tbs_certificate, signature_algorithm: algorithm, signature }.to_der().unwrap()
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a kill in the middle of C_GenerateKeyPair leaves.
// conformance: A5, K1
#[test]
fn half_a_key_of_an_interrupted_making_is_taken_away_and_a_whole_one_never() {
    isolated(|home| {
        let token = open_new(&softhsm());
        let (label, id) = ("devices-2", b"devices-2");
        let hex: String = id.iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(matches!(token.made_key(label, id, KeyType::P256), Ok(MadeKey::None)));
        for lost in ["privkey", "pubkey"] {
            token.generate_key_pair(label, id, KeyType::P256).unwrap();
            pkcs11_tool(&["--delete-object", "--type", lost, "--id", &hex]);
            assert!(matches!(token.made_key(label, id, KeyType::P256), Ok(MadeKey::Half)), "{lost}");
            assert!(matches!(token.generate_key_pair(label, id, KeyType::P256), Err(Error::KeyIdInUse { .. })));
            assert!(token.destroy_half_key(label, id).unwrap(), "{lost}");
            assert!(!token.destroy_half_key(label, id).unwrap(), "{lost}");
        }
        let whole = token.generate_key_pair(label, id, KeyType::P256).unwrap();
        assert!(!token.destroy_half_key(label, id).unwrap());
        let Ok(MadeKey::Whole(found)) = token.made_key(label, id, KeyType::P256) else { panic!("a whole key") };
        assert_eq!(found.public_key(), whole.public_key());
        whole.sign(b"message").unwrap();

        // What is another's is neither used nor destroyed: another kind, another label, another id.
        let unusable = |label: &str, id: &[u8], key_type, word: &str| {
            let error = token.made_key(label, id, key_type).unwrap_err();
            assert!(matches!(error, Error::KeyUnusable { .. }) && error.to_string().contains(word), "{error}");
        };
        unusable(label, id, KeyType::P384, "it is a P-256 key");
        unusable("other", id, KeyType::P256, "another label");
        unusable(label, b"other", KeyType::P256, "another id");
        assert!(matches!(token.destroy_half_key("other", id), Err(Error::KeyUnusable { .. })));

        // A key that was brought into the token is not one that was made in it.
        let [private, public] = ["m.der", "m.pub.der"].map(|name| home.file(name).display().to_string());
        openssl(&["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-outform", "DER", "-out", &private]);
        openssl(&["ec", "-inform", "DER", "-in", &private, "-pubout", "-outform", "DER", "-out", &public]);
        for (kind, path) in [("privkey", &private), ("pubkey", &public)] {
            pkcs11_tool(&["--write-object", path, "--type", kind, "--id", "6d", "--label", "m", "--usage-sign"]);
        }
        unusable("m", b"m", KeyType::P256, "CKA_");
        assert!(!token.destroy_half_key("m", b"m").unwrap());
    });
}
