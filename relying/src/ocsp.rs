//! Asking for a certificate's status (RFC 6960, RFC 9919, RFC 9654).

use std::time::Duration;

use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use pki::ocsp::{Expected, HashAlgorithm, IssuerHashes, VerifiedStatus, build_request, verify_response};
use ring::rand::{SecureRandom, SystemRandom};

use crate::{Error, http};

/// RFC 9654 2.1 asks for at least 32 octets.
const NONCE_OCTETS: usize = 32;

/// How much the responder's clock may be ahead of ours.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Asks for the status of a certificate, at `url` or else where the certificate says, and verifies the answer: signed by
/// the issuer or its delegate, about this certificate, with this request's nonce, in its time.
///
/// The answer's [`status`](VerifiedStatus::status) is `good` only if the responder says so; every doubt is an error.
///
/// # Errors
/// When the certificate is not the issuer's, nobody can be asked, or the answer must not be relied upon.
pub async fn check(
    certificate_der: &[u8],
    issuer_der: &[u8],
    url: Option<&str>,
    now: Timestamp,
) -> Result<VerifiedStatus, Error> {
    let certificate = ParsedCertificate::from_der(certificate_der)?;
    let issuer = ParsedCertificate::from_der(issuer_der)?;
    certificate.verify_signed_by(issuer.public_key())?;
    let named = || certificate.ocsp_urls().iter().find(|url| url.starts_with("http://")).map(String::as_str);
    let url = url.or_else(named).ok_or(Error::NoResponder)?;

    let hashes = IssuerHashes::new(issuer.subject_der(), issuer.public_key());
    let cert_id = hashes.cert_id(HashAlgorithm::Sha256, certificate.serial());
    let mut nonce = [0; NONCE_OCTETS];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Random)?;
    let request = build_request(&[&cert_id], Some(&nonce))?;
    let response = http::post_ocsp(url, request).await?;
    let expected = Expected {
        cert_id: &cert_id,
        issuer_subject_der: issuer.subject_der(),
        issuer_key: issuer.public_key(),
        nonce: Some(&nonce),
        now,
        max_clock_skew: MAX_CLOCK_SKEW,
    };
    verify_response(&response, &expected).map_err(|source| Error::Response { url: url.to_owned(), source })
}
