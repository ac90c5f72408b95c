//! Which client certificates TLS lets in: those that lead to the root through a CA that is known here.

use std::fmt;
use std::sync::Arc;

use pki::certificate::ParsedCertificate;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::{Clock, Error};

fn tls(error: impl fmt::Display) -> Error {
    Error::Tls(error.to_string())
}

/// A server that demands a client certificate.
pub(crate) fn server_config(
    chain: &[Vec<u8>],
    key: PrivateKeyDer<'static>,
    roots: &[Vec<u8>],
    issuers: Arc<Issuers>,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(crypto::ring::default_provider());
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.clone())).map_err(tls)?;
    }
    let paths =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider)).build().map_err(tls)?;
    let verifier = KnownIssuer { paths, issuers, provider: Arc::clone(&provider) };
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(Time(Arc::clone(clock))))
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain.iter().cloned().map(CertificateDer::from).collect(), key)
        .map_err(tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Every connection shows the certificate, and proves the key, anew.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The CAs whose certificates are taken.
pub(crate) struct Issuers(Vec<ParsedCertificate>);

impl Issuers {
    /// From DER.
    pub(crate) fn new(certificates: &[Vec<u8>]) -> Result<Self, Error> {
        let parse = |der: &Vec<u8>| Ok(ParsedCertificate::from_der(der)?);
        certificates.iter().map(parse).collect::<Result<_, Error>>().map(Issuers)
    }

    /// The one that signed a certificate.
    pub(crate) fn of(&self, certificate: &ParsedCertificate) -> Option<&ParsedCertificate> {
        self.0.iter().find(|issuer| {
            issuer.subject_der() == certificate.issuer_der()
                && certificate.verify_signed_by(issuer.public_key()).is_ok()
        })
    }
}

/// Path validation as in RFC 5280 6, with the known CAs' certificates as intermediates: cards do not carry them.
struct KnownIssuer {
    paths: Arc<dyn ClientCertVerifier>,
    issuers: Arc<Issuers>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for KnownIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownIssuer").field("issuers", &self.issuers.0.len()).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for KnownIssuer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.paths.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::from_der(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let issuer = self.issuers.of(&certificate).ok_or(CertificateError::UnknownIssuer)?;
        self.paths.verify_client_cert(end_entity, &[CertificateDer::from(issuer.der())], now)
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

/// This crate's clock, as rustls sees it.
struct Time(Clock);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)().unix_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}
