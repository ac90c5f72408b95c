//! The API door: TLS, with a client certificate where there is one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::{Extension, Router};
use ocsp_responder::door;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::caller::PeerCertificate;
use crate::failure::Failure;

/// How long a client whose handshake failed has to read why.
const LINGER: Duration = Duration::from_secs(1);

/// The door's certificate, and the CAs whose clients it takes; both can be replaced while it is open.
#[derive(Debug)]
pub struct Door {
    certificate: Arc<DoorCertificate>,
    config: ArcSwap<ServerConfig>,
}

impl Door {
    /// A door with this certificate, for clients of these CAs.
    ///
    /// # Errors
    /// When an issuer's certificate cannot be a trust anchor.
    pub fn new(certificate: DoorCertificate, client_issuers: &[Vec<u8>]) -> Result<Self, Failure> {
        let certificate = Arc::new(certificate);
        let config = ArcSwap::new(tls_config(Arc::clone(&certificate), client_issuers)?);
        Ok(Door { certificate, config })
    }

    /// The certificate.
    pub fn certificate(&self) -> &DoorCertificate {
        &self.certificate
    }

    /// Takes the clients of these CAs from now on; connections that are open stay open.
    ///
    /// # Errors
    /// When an issuer's certificate cannot be a trust anchor; then all stays as it was.
    pub fn trust(&self, client_issuers: &[Vec<u8>]) -> Result<(), Failure> {
        self.config.store(tls_config(Arc::clone(&self.certificate), client_issuers)?);
        Ok(())
    }
}

/// The door's certificate, which can be replaced while it is open.
#[derive(Debug)]
pub struct DoorCertificate(ArcSwap<CertifiedKey>);

impl DoorCertificate {
    /// From a chain, DER, the door's own certificate first, and its PKCS#8 key.
    ///
    /// # Errors
    /// When the key does not fit.
    pub fn new(chain: &[Vec<u8>], pkcs8: &[u8]) -> Result<Self, Failure> {
        Ok(DoorCertificate(ArcSwap::from_pointee(certified_key(chain, pkcs8)?)))
    }

    /// Replaces it; connections that are open stay open.
    ///
    /// # Errors
    /// When the key does not fit.
    pub fn replace(&self, chain: &[Vec<u8>], pkcs8: &[u8]) -> Result<(), Failure> {
        self.0.store(Arc::new(certified_key(chain, pkcs8)?));
        Ok(())
    }
}

fn certified_key(chain: &[Vec<u8>], pkcs8: &[u8]) -> Result<CertifiedKey, Failure> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(Failure::internal)?;
    let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(Failure::internal)?;
    Ok(certified)
}

impl ResolvesServerCert for DoorCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// The TLS configuration: client certificates of `client_issuers` are asked for and verified, and not demanded, since
/// enrolment has none.
///
/// # Errors
/// When an issuer's certificate cannot be a trust anchor.
fn tls_config(certificate: Arc<DoorCertificate>, client_issuers: &[Vec<u8>]) -> Result<Arc<ServerConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for der in client_issuers {
        roots.add(CertificateDer::from(der.clone())).map_err(Failure::internal)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(Failure::internal)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::internal)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Ends a connection so that the client gets to read the alert: with unread octets in its buffer, TCP would reset it.
async fn linger(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(|_| ())
}

/// Serves the API until `stop`.
pub async fn run(
    listener: TcpListener,
    tls: Arc<Door>,
    router: Router,
    door: door::Door,
    handshake: Duration,
    stop: watch::Receiver<bool>,
) {
    let accept = async || {
        let (stream, from) = listener.accept().await?;
        let (acceptor, router) = (TlsAcceptor::from(tls.config.load_full()), router.clone());
        Ok((Some(from.ip()), async move {
            let _ = stream.set_nodelay(true);
            let accepting = acceptor.accept(stream).into_fallible();
            let stream = match tokio::time::timeout(handshake, accepting).await {
                Ok(Ok(stream)) => stream,
                Ok(Err((error, stream))) => {
                    tracing::info!(%error, "a TLS handshake failed");
                    let _ = tokio::time::timeout(LINGER, linger(stream)).await;
                    return None;
                }
                Err(_) => return None,
            };
            let peer = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let peer = PeerCertificate::new(peer.map(|der| der.as_ref()));
            Some((stream, door::by_router(router.layer(Extension(peer)))))
        }))
    };
    door.serve(accept, stop).await;
}
