//! Signatures over messages that are not held: what [`PublicKey::verify_digest`] says is what ring says of the whole
//! message.

mod common;

use std::process::Command;

use common::TestKey;
use pki::crl::{CrlEntry, CrlHeader, CrlLimits, CrlReader, prepare_crl};
use pki::digest::MessageDigest;
use pki::key::KeyError;
use pki::{CrlReason, IssuerDescription, KeyType, SignatureAlgorithm};

fn digest(algorithm: SignatureAlgorithm, pieces: &[&[u8]]) -> Vec<u8> {
    let mut digest = MessageDigest::new(algorithm);
    pieces.iter().for_each(|piece| digest.update(piece));
    digest.finish()
}

#[test]
fn a_signature_verifies_by_digest_exactly_when_it_verifies_by_message() {
    for key_type in KeyType::ALL {
        let (key, other) = (TestKey::of(key_type), TestKey::of(KeyType::P256));
        let algorithm = key_type.signature_algorithm();
        let signature = key.sign(b"a message in pieces");
        let right = digest(algorithm, &[b"a message ", b"", b"in pieces"]);
        key.public().verify(algorithm, b"a message in pieces", &signature).unwrap();
        assert_eq!(key.public().verify_digest(algorithm, &right, &signature), Ok(()), "{key_type}");
        let wrong = digest(algorithm, &[b"another message"]);
        for (digest, signature) in [
            (&wrong[..], &signature[..]),
            (&right[..right.len() - 1], &signature),
            (&[&right[..], &[0]].concat(), &signature),
            (&[], &signature),
            (&right, &[]),
            (&right, &signature[1..]),
            (&right, &[&signature[..], &[0]].concat()),
            (&right, &[&[0], &signature[..]].concat()),
            (&right, &vec![0xff; signature.len()]),
            (&right, &vec![0; signature.len()]),
        ] {
            assert_eq!(
                key.public().verify_digest(algorithm, digest, signature),
                Err(KeyError::Signature),
                "{key_type}"
            );
        }
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            let refused = key.public().verify_digest(algorithm, &right, &changed);
            assert_eq!(refused, Err(KeyError::Signature), "{key_type}: octet {at}");
        }
        if key_type != KeyType::P256 {
            let foreign = other.sign(b"a message in pieces");
            assert!(key.public().verify_digest(algorithm, &right, &foreign).is_err(), "{key_type}");
            let named = key.public().verify_digest(SignatureAlgorithm::EcdsaP256Sha256, &right, &signature);
            assert!(named.is_err(), "{key_type}");
        }
    }
}

/// What `openssl pkeyutl` signs stands for a token that signs a digest; the key is OpenSSL's, and so is the judge.
#[test]
fn openssl_verifies_lists_that_were_signed_by_their_digest_with_each_kind_of_key() {
    // conformance: C1
    for (key_type, options) in [
        (KeyType::P256, ["EC", "ec_paramgen_curve:P-256"]),
        (KeyType::P384, ["EC", "ec_paramgen_curve:P-384"]),
        (KeyType::Rsa2048, ["RSA", "rsa_keygen_bits:2048"]),
        (KeyType::Rsa3072, ["RSA", "rsa_keygen_bits:3072"]),
        (KeyType::Rsa4096, ["RSA", "rsa_keygen_bits:4096"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let openssl = |arguments: &str| {
            let arguments: Vec<_> = arguments.split_whitespace().collect();
            common::openssl(dir.path(), &arguments).unwrap()
        };
        let [algorithm, option] = options;
        openssl(&format!("genpkey -algorithm {algorithm} -pkeyopt {option} -out key.pem"));
        openssl("req -x509 -key key.pem -subj /O=Test/CN=CA -days 30 -out ca.pem -addext keyUsage=critical,cRLSign");
        let certificate_der = openssl("x509 -in ca.pem -outform DER");
        let certificate = pki::certificate::ParsedCertificate::from_der(&certificate_der).unwrap();
        assert_eq!(certificate.public_key().key_type(), key_type);
        let issuer = IssuerDescription {
            id: "authentication-1".into(),
            subject_der: certificate.subject_der().to_vec(),
            key_identifier: certificate.subject_key_identifier().unwrap().to_vec(),
            public_key: certificate.public_key().clone(),
            not_after: certificate.not_after(),
            certificate_der,
            ca_issuers_url: "http://ca.example.test/ca/authentication-1.cer".into(),
            ocsp_url: None,
            crl_url: "http://ca.example.test/crl/authentication-1.crl".into(),
        };
        let header = CrlHeader {
            issuer: &issuer,
            number: 300.into(),
            this_update: common::NOW,
            next_update: common::NOW.plus(common::DAY),
            base: None,
            distribution_point: None,
            freshest_crl: None,
            expired_certs_on_crl: None,
        };
        let mut entries: Vec<_> = (0..1000)
            .map(|_| CrlEntry {
                serial: common::serial(),
                at: common::NOW,
                reason: CrlReason::Superseded.into(),
                invalidity_date: None,
            })
            .collect();
        entries.sort_by_key(|entry| entry.serial);
        let prepared = prepare_crl(&header, &entries).unwrap();
        std::fs::write(dir.path().join("digest"), prepared.digest()).unwrap();
        let hash = if key_type == KeyType::P384 { "sha384" } else { "sha256" };
        let signature = openssl(&format!("pkeyutl -sign -inkey key.pem -in digest -pkeyopt digest:{hash}"));
        let mut der = Vec::new();
        let summary = prepared.write(&entries, &signature, &issuer.public_key, &mut der).unwrap();
        std::fs::write(dir.path().join("list.der"), &der).unwrap();
        // It says so on standard error, and is content either way.
        let arguments = ["crl", "-inform", "DER", "-in", "list.der", "-CAfile", "ca.pem", "-noout", "-verify"];
        let said = Command::new("openssl").current_dir(dir.path()).args(arguments).output().unwrap().stderr;
        assert_eq!(String::from_utf8_lossy(&said).trim(), "verify OK", "{key_type}");

        let read = CrlReader::new(der.as_slice(), CrlLimits::octets(der.len() as u64)).unwrap().finish().unwrap();
        read.verify_signed_by(&issuer.public_key).unwrap();
        assert_eq!((read.fingerprint(), read.entries), (summary.fingerprint, 1000));
    }
}
