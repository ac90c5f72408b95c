//! A certificate, as a TLS client shows it.
#![no_main]

use fuzz::NOW;
use pki::certificate::ParsedCertificate;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(certificate) = ParsedCertificate::from_der(bytes) else { return };
    assert_eq!(certificate.der(), bytes);
    let _ = certificate.issuer().map(|name| name.to_string());
    let _ = certificate.subject().map(ToString::to_string);
    let _ = (certificate.common_name(), certificate.user_id(), certificate.alternative_names().is_empty());
    let _ = (certificate.is_ca(), certificate.key_usage(), certificate.is_valid_at(NOW));
    if certificate.is_self_issued() {
        let _ = certificate.verify_signed_by(certificate.public_key());
    }
});
