//! A server that is known by nothing but the fingerprint of its root: as long as there is no other trust yet.

use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Error;
use crate::client::{builder, http1, provider};

/// How many octets of the root's SHA-256 an enrolment code carries.
pub const FINGERPRINT_OCTETS: usize = 16;

/// Somebody who is about to be enrolled: trusts the one root whose SHA-256 begins with this fingerprint. The server sends
/// it in its chain.
///
/// # Errors
/// When rustls does not take its own defaults.
pub fn config(fingerprint: [u8; FINGERPRINT_OCTETS]) -> Result<(Arc<ClientConfig>, Arc<PinnedRoot>), Error> {
    let pinned = Arc::new(PinnedRoot { fingerprint, provider: provider(), root: Mutex::new(None) });
    let verifier: Arc<dyn ServerCertVerifier> = pinned.clone();
    let config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok((http1(config), pinned))
}

/// Whether the SHA-256 of a certificate (DER) begins with a fingerprint.
pub fn has_fingerprint(certificate: &[u8], fingerprint: &[u8; FINGERPRINT_OCTETS]) -> bool {
    digest(&SHA256, certificate).as_ref().starts_with(fingerprint)
}

/// Verifies a server by the fingerprint of its root, which comes from an enrolment code.
#[derive(Debug)]
pub struct PinnedRoot {
    fingerprint: [u8; FINGERPRINT_OCTETS],
    provider: Arc<CryptoProvider>,
    root: Mutex<Option<Vec<u8>>>,
}

impl PinnedRoot {
    /// The root that a server was verified by, DER.
    pub fn root(&self) -> Option<Vec<u8>> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // After a rotation of the root, the server sends several: the code names one of them.
        let Some(root) = intermediates.iter().find(|one| has_fingerprint(one, &self.fingerprint)) else {
            // As when the root is not in the store: the code is from another service, or somebody sits in between.
            return Err(CertificateError::UnknownIssuer.into());
        };
        let mut store = RootCertStore::empty();
        store.add(root.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(root.to_vec());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
