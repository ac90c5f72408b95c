//! An OCSP answer, as a relying system gets it. The issuer is the one in the seeds.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use fuzz::NOW;
use pki::certificate::ParsedCertificate;
use pki::ocsp::{Expected, HashAlgorithm, IssuerHashes, verify_response};

static ISSUER: LazyLock<(ParsedCertificate, Vec<u8>)> = LazyLock::new(|| {
    let issuer = ParsedCertificate::from_der(include_bytes!("../seeds/certificate/issuing-ca.der"));
    let leaf = ParsedCertificate::from_der(include_bytes!("../seeds/certificate/card.der"));
    let (issuer, leaf) = (issuer.expect("a seed"), leaf.expect("a seed"));
    let hashes = IssuerHashes::new(issuer.subject_der(), issuer.public_key());
    let cert_id = hashes.cert_id(HashAlgorithm::Sha256, leaf.serial());
    (issuer, cert_id)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (issuer, cert_id) = &*ISSUER;
    let expected = Expected {
        cert_id,
        issuer_subject_der: issuer.subject_der(),
        issuer_key: issuer.public_key(),
        nonce: None,
        now: NOW,
        max_clock_skew: Duration::from_secs(5),
    };
    match verify_response(bytes, &expected) {
        Ok(status) => assert!(status.this_update <= status.next_update),
        Err(error) => drop(error.to_string()),
    }
});
