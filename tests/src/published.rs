//! What a deployment tells relying systems: OCSP answers and CRLs, fetched from the public door and verified.

use std::path::Path;
use std::time::Duration;

use api::admin::CrlReply;
use pki::SerialNumber;
use pki::certificate::ParsedCertificate;
use pki::crl::ParsedCrl;
use pki::ocsp::{
    CertStatus, Expected, HashAlgorithm, IssuerHashes, ResponseError, VerifiedStatus, build_request, verify_response,
};
use server::clock::Clock;

use crate::deployment::Site;
use crate::{Ask, Deployment, Door, eventually};

impl Deployment {
    /// What OCSP says of a certificate, asked over HTTP with a nonce, and verified.
    ///
    /// # Panics
    /// When there is no answer that can be relied upon.
    pub async fn ocsp(&self, certificate: &[u8]) -> CertStatus {
        self.ocsp_answer(certificate).await.status
    }

    /// The same, as soon as the responder knows the certificate and `settled` takes its status: for what no reply waits for.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn ocsp_until(&self, certificate: &[u8], settled: impl Fn(&CertStatus) -> bool) -> CertStatus {
        eventually("a status at OCSP", async || {
            let status = self.ocsp(certificate).await;
            (status != CertStatus::Unknown && settled(&status)).then_some(status)
        })
        .await
    }

    /// The same with the answer's times.
    ///
    /// # Panics
    /// When there is no answer that can be relied upon.
    pub async fn ocsp_answer(&self, certificate: &[u8]) -> VerifiedStatus {
        self.ask_ocsp(certificate, Some(&[7; 32])).await
    }

    /// What OCSP says of a certificate, asked without a nonce: that may come from a cache.
    ///
    /// # Panics
    /// When there is no answer that can be relied upon.
    pub async fn ocsp_without_nonce(&self, certificate: &[u8]) -> CertStatus {
        self.ask_ocsp(certificate, None).await.status
    }

    /// What OCSP says of a serial number.
    ///
    /// # Panics
    /// When there is no answer that can be relied upon.
    pub async fn ocsp_of(&self, issuer: &str, serial: SerialNumber) -> CertStatus {
        self.ask_ocsp_of(issuer, serial, Some(&[7; 32])).await.status
    }

    async fn ask_ocsp(&self, certificate: &[u8], nonce: Option<&[u8]>) -> VerifiedStatus {
        let answer = self.ask_ocsp_at(&self.public(), certificate, nonce).await;
        answer.expect("an answer that can be relied upon")
    }

    async fn ask_ocsp_of(&self, issuer: &str, serial: SerialNumber, nonce: Option<&[u8]>) -> VerifiedStatus {
        let answer = self.ask_ocsp_of_at(&self.public(), issuer, serial, nonce).await;
        answer.expect("an answer that can be relied upon")
    }

    /// The whole `OCSPResponse` about a serial number, as it comes over HTTP.
    ///
    /// # Panics
    /// When there is none.
    pub async fn ocsp_response(&self, issuer: &str, serial: SerialNumber, nonce: Option<&[u8]>) -> Vec<u8> {
        self.ocsp_response_at(&self.public(), issuer, serial, nonce).await
    }

    /// Makes all CRLs anew.
    ///
    /// # Panics
    /// When that fails.
    pub async fn publish_crls(&self) -> CrlReply {
        self.admin().send(Ask::post("/crls")).await.expect(200).read()
    }

    /// The CRL that the public door serves, DER.
    ///
    /// # Panics
    /// When it serves none.
    pub async fn crl(&self, issuer: &str) -> Vec<u8> {
        self.public().send(Ask::get(format!("/crl/{issuer}.crl"))).await.expect(200).body.to_vec()
    }

    /// The same, read and verified.
    ///
    /// # Panics
    /// When it does not verify.
    pub async fn read_crl(&self, issuer: &str) -> ParsedCrl {
        let crl = ParsedCrl::from_der(&self.crl(issuer).await, 1 << 20).expect("a CRL");
        let ca = ParsedCertificate::from_der(&self.issuer(issuer)).expect("a CA certificate");
        crl.verify_signed_by(ca.public_key()).expect("the CA's signature");
        crl
    }
}

/// The same at any responder: the one inside the service, or another.
impl Site {
    /// What a responder says of a certificate, asked with a nonce, and verified.
    ///
    /// # Panics
    /// When there is no answer that can be relied upon.
    pub async fn ocsp_at(&self, responder: &Door, certificate: &[u8]) -> CertStatus {
        let answer = self.ask_ocsp_at(responder, certificate, Some(&[7; 32])).await;
        answer.expect("an answer that can be relied upon").status
    }

    /// What a responder says of a certificate.
    ///
    /// # Errors
    /// Why the answer is not to be relied upon; that it has none, too.
    ///
    /// # Panics
    /// When there is no answer at all.
    pub async fn ask_ocsp_at(
        &self,
        responder: &Door,
        certificate: &[u8],
        nonce: Option<&[u8]>,
    ) -> Result<VerifiedStatus, ResponseError> {
        let certificate = ParsedCertificate::from_der(certificate).expect("a certificate");
        let id = issuer_id(&certificate);
        let issuer = ParsedCertificate::from_der(&self.issuer(&id)).expect("a CA certificate");
        certificate.verify_signed_by(issuer.public_key()).expect("the issuer's signature");
        self.ask_ocsp_of_at(responder, &id, certificate.serial(), nonce).await
    }

    async fn ask_ocsp_of_at(
        &self,
        responder: &Door,
        issuer: &str,
        serial: SerialNumber,
        nonce: Option<&[u8]>,
    ) -> Result<VerifiedStatus, ResponseError> {
        let body = self.ocsp_response_at(responder, issuer, serial, nonce).await;
        let issuer = ParsedCertificate::from_der(&self.issuer(issuer)).expect("a CA certificate");
        let hashes = IssuerHashes::new(issuer.subject_der(), issuer.public_key());
        let expected = Expected {
            cert_id: &hashes.cert_id(HashAlgorithm::Sha256, serial),
            issuer_subject_der: issuer.subject_der(),
            issuer_key: issuer.public_key(),
            nonce,
            now: self.clock.now(),
            max_clock_skew: Duration::ZERO,
        };
        verify_response(&body, &expected)
    }

    /// The whole `OCSPResponse` of a responder about a serial number, as it comes over HTTP.
    ///
    /// # Panics
    /// When there is none.
    pub async fn ocsp_response_at(
        &self,
        responder: &Door,
        issuer: &str,
        serial: SerialNumber,
        nonce: Option<&[u8]>,
    ) -> Vec<u8> {
        let issuer = ParsedCertificate::from_der(&self.issuer(issuer)).expect("a CA certificate");
        let hashes = IssuerHashes::new(issuer.subject_der(), issuer.public_key());
        let cert_id = hashes.cert_id(HashAlgorithm::Sha256, serial);
        let request = build_request(&[&cert_id], nonce).expect("an OCSP request");
        let ask = Ask::post("/ocsp").header("content-type", "application/ocsp-request").body(request);
        responder.send(ask).await.expect(200).body.to_vec()
    }
}

/// Which of our issuers a certificate names, by the address of the issuer's certificate.
///
/// # Panics
/// When it names none.
pub fn issuer_id(certificate: &ParsedCertificate) -> String {
    let url = certificate.ca_issuers_urls().first().expect("an address of the issuer's certificate");
    let file = Path::new(url).file_stem().and_then(|name| name.to_str());
    file.expect("a file name").to_owned()
}
