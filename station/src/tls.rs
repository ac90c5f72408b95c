//! TLS as a client: which servers are trusted, and by which key the client shows who it is.
//!
//! A key on a card signs inside the handshake, and rustls waits for it: such connections are made on threads of their own
//! ([`crate::login`]).

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hsm::Signer;
use pki::KeyType;
use pki::pem::decode_certificates;
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureAlgorithm,
    SignatureScheme, WantsVerifier,
};

use crate::Error;

/// How many octets of the root's SHA-256 an enrolment code carries.
const FINGERPRINT: usize = api::code::PART_OCTETS;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

fn tls(error: impl fmt::Display) -> Error {
    Error::Tls(error.to_string())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(tls)
}

fn trusting(roots: &[Vec<u8>]) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.clone())).map_err(tls)?;
    }
    Ok(builder()?.with_root_certificates(store))
}

fn http1(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The certificates in a PEM file, DER.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let text = std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    decode_certificates(&text).map_err(|error| Error::Credentials { path: path.to_owned(), reason: error.to_string() })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    if metadata.mode() & 0o077 != 0 {
        return Err(Error::KeyFileMode { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| Error::Credentials { path: path.to_owned(), reason: error.to_string() })
}

/// Trusts servers under these roots, and shows no certificate.
///
/// # Errors
/// When a root is no certificate.
pub fn plain_config(roots: &[Vec<u8>]) -> Result<Arc<ClientConfig>, Error> {
    Ok(http1(trusting(roots)?.with_no_client_auth()))
}

/// An enrolled station: trusts the root in `ca_file`, and shows its own certificate.
///
/// # Errors
/// When a file cannot be read, others may read the key, or key and certificate do not fit.
pub fn station_config(ca_file: &Path, certificate_file: &Path, key_file: &Path) -> Result<Arc<ClientConfig>, Error> {
    let chain = certificates(certificate_file)?.into_iter().map(CertificateDer::from).collect();
    let key = private_key(key_file)?;
    let config = trusting(&certificates(ca_file)?)?.with_client_auth_cert(chain, key);
    Ok(http1(config.map_err(|error| Error::Credentials {
        path: certificate_file.to_owned(),
        reason: format!("certificate and key cannot be used: {error}"),
    })?))
}

/// A card's holder: trusts these roots, and shows the certificate that belongs to the card's key. A session is never
/// resumed, so that every connection takes the card.
///
/// # Errors
/// When a root is no certificate.
pub fn card_config(roots: &[Vec<u8>], certificate: &[u8], key: Arc<dyn Signer>) -> Result<Arc<ClientConfig>, Error> {
    let chain = vec![CertificateDer::from(certificate.to_vec())];
    let certified = CertifiedKey::new(chain, Arc::new(CardKey(key)));
    let mut config = trusting(roots)?.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.resumption = Resumption::disabled();
    Ok(http1(config))
}

/// A station that is about to be enrolled: trusts the one root whose SHA-256 begins with this fingerprint. The server
/// sends it in its chain.
///
/// # Errors
/// When rustls does not take its own defaults.
pub fn enrolment_config(fingerprint: [u8; FINGERPRINT]) -> Result<(Arc<ClientConfig>, Arc<PinnedRoot>), Error> {
    let pinned = Arc::new(PinnedRoot { fingerprint, provider: provider(), root: Mutex::new(None) });
    let verifier: Arc<dyn ServerCertVerifier> = pinned.clone();
    let config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok((http1(config), pinned))
}

/// Whether the SHA-256 of a certificate begins with a fingerprint.
pub(crate) fn has_fingerprint(certificate: &[u8], fingerprint: &[u8; FINGERPRINT]) -> bool {
    digest(&SHA256, certificate).as_ref().starts_with(fingerprint)
}

/// Verifies a server by the fingerprint of its root, which comes from an enrolment code.
#[derive(Debug)]
pub struct PinnedRoot {
    fingerprint: [u8; FINGERPRINT],
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

/// A key on a card, as rustls sees it.
struct CardKey(Arc<dyn Signer>);

/// RSA keys sign by PKCS#1 v1.5 alone here, which TLS 1.3 does not take (RFC 8446 4.2.3): they serve up to TLS 1.2.
fn scheme(key_type: KeyType) -> SignatureScheme {
    match key_type {
        KeyType::P256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        KeyType::P384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => SignatureScheme::RSA_PKCS1_SHA256,
    }
}

impl fmt::Debug for CardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CardKey").field(self.0.public_key()).finish()
    }
}

impl SigningKey for CardKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let scheme = scheme(self.0.public_key().key_type());
        offered.contains(&scheme).then(|| Box::new(CardSigner(Arc::clone(&self.0), scheme)) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.public_key().key_type() {
            KeyType::P256 | KeyType::P384 => SignatureAlgorithm::ECDSA,
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => SignatureAlgorithm::RSA,
        }
    }
}

struct CardSigner(Arc<dyn Signer>, SignatureScheme);

impl fmt::Debug for CardSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CardSigner").field(&self.1).finish()
    }
}

impl rustls::sign::Signer for CardSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.1
    }
}
