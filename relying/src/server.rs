//! The service: TLS, then one question to OCSP for each request.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use pki::CrlReason;
use pki::certificate::ParsedCertificate;
use pki::ocsp::CertStatus;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::trust::{self, Issuers};
use crate::{Clock, Error, ocsp};

/// Connections at one time; one more waits.
const MAX_CONNECTIONS: usize = 256;
/// A handshake and the head of a request may take so long; a card is slow.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long open requests are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the service is made of.
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The service's own certificate and those of its issuers, DER.
    pub chain: Vec<Vec<u8>>,
    /// The private key of the first.
    pub key: PrivateKeyDer<'static>,
    /// The trust anchors, DER.
    pub roots: Vec<Vec<u8>>,
    /// The CAs whose certificates are taken: those for cards' authentication, DER.
    pub issuers: Vec<Vec<u8>>,
    /// Where to ask for the status; where each certificate says, if `None`.
    pub ocsp_url: Option<String>,
    /// The time.
    pub clock: Clock,
}

impl Options {
    /// A private key from PEM: PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// When there is none in it.
    pub fn key_from_pem(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
        PrivateKeyDer::from_pem_slice(pem).map_err(|error| Error::Tls(format!("no private key: {error}")))
    }
}

/// A running service. It stops when this is dropped.
pub struct RelyingServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RelyingServer {
    /// Starts it on the current tokio runtime.
    ///
    /// # Errors
    /// When the address is taken, or keys and certificates do not fit.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let issuers = Arc::new(Issuers::new(&options.issuers)?);
        let config =
            trust::server_config(&options.chain, options.key, &options.roots, Arc::clone(&issuers), &options.clock)?;
        let refused = |source| Error::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let door = Arc::new(Door { issuers, ocsp_url: options.ocsp_url, clock: options.clock });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, config, door, stopped));
        tracing::info!(%address, "relying service started");
        Ok(RelyingServer { address, stop, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets open requests end, and stops.
    pub async fn stop(self) {
        // An error would mean that it has ended already.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the relying service ended badly");
        }
    }
}

impl fmt::Debug for RelyingServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelyingServer").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn serve(listener: TcpListener, config: Arc<ServerConfig>, door: Arc<Door>, mut stopped: oneshot::Receiver<()>) {
    let acceptor = TlsAcceptor::from(config);
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            _ = &mut stopped => break,
            accepted = accepted => accepted,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: some will be free in a moment.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (acceptor, door, watcher) = (acceptor.clone(), Arc::clone(&door), connections.watcher());
        tokio::spawn(async move {
            let _place = place;
            let Some(stream) = handshake(acceptor, stream).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let Some(certificate) = certificate.map(|certificate| certificate.to_vec()) else { return };
            let answer = service_fn(move |request: Request<Incoming>| {
                let (door, certificate) = (Arc::clone(&door), certificate.clone());
                async move { Ok::<_, Infallible>(door.answer(&request, &certificate).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    if timeout(FAREWELL, connections.shutdown()).await.is_err() {
        tracing::warn!("some connections were still open at the end");
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    match timeout(PATIENCE, acceptor.accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err((error, stream))) => {
            tracing::info!(%error, "a TLS handshake was refused");
            linger(stream).await;
            None
        }
        Err(_) => None,
    }
}

/// Reads what the client had sent already. A TCP connection that is closed before that is reset, and the client would
/// lose the alert that tells it why.
async fn linger(mut stream: TcpStream) {
    let mut rest = [0; 1024];
    let read = async {
        stream.shutdown().await?;
        let mut budget = 64;
        while budget > 0 && stream.read(&mut rest).await? > 0 {
            budget -= 1;
        }
        Ok::<_, std::io::Error>(())
    };
    if !matches!(timeout(Duration::from_secs(1), read).await, Ok(Ok(()))) {
        tracing::debug!("a refused client did not close its side");
    }
}

/// Who may come in.
struct Door {
    issuers: Arc<Issuers>,
    ocsp_url: Option<String>,
    clock: Clock,
}

/// A holder who came in.
#[derive(Serialize)]
struct Welcome {
    hello: String,
    common_name: Option<String>,
    status: &'static str,
    this_update: String,
    next_update: String,
    produced_at: String,
}

impl Door {
    async fn answer(&self, request: &Request<Incoming>, certificate: &[u8]) -> Response<Full<Bytes>> {
        if request.uri().path() != "/" {
            return reply(StatusCode::NOT_FOUND, &json!({ "error": "there is only /" }));
        }
        if request.method() != Method::GET {
            let mut refused = reply(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "there is only GET" }));
            refused.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET"));
            return refused;
        }
        match self.admit(certificate).await {
            Ok(welcome) => reply(StatusCode::OK, &welcome),
            Err(refused) => {
                tracing::info!(refused, "a login was refused");
                reply(StatusCode::FORBIDDEN, &json!({ "refused": refused }))
            }
        }
    }

    /// The holder of a certificate that is good at this moment; or why not.
    async fn admit(&self, certificate_der: &[u8]) -> Result<Welcome, String> {
        let certificate = ParsedCertificate::from_der(certificate_der).map_err(|error| error.to_string())?;
        let issuer = self.issuers.of(&certificate).ok_or("the certificate's issuer is not known here")?;
        let now = (self.clock)();
        // The connection may be older than the certificate's end.
        if !certificate.is_valid_at(now) {
            return Err(format!(
                "the certificate is valid from {} to {}",
                certificate.not_before(),
                certificate.not_after()
            ));
        }
        let user_id = certificate.user_id().ok_or("the certificate names no user id")?;
        let verified = ocsp::check(certificate_der, issuer.der(), self.ocsp_url.as_deref(), now)
            .await
            .map_err(|error| format!("the certificate's status is not known: {error}"))?;
        match verified.status {
            CertStatus::Good => Ok(Welcome {
                hello: user_id.to_owned(),
                common_name: certificate.common_name().map(str::to_owned),
                status: "good",
                this_update: verified.this_update.to_string(),
                next_update: verified.next_update.to_string(),
                produced_at: verified.produced_at.to_string(),
            }),
            CertStatus::Revoked { at, reason: CrlReason::CertificateHold } => Err(format!("on hold since {at}")),
            CertStatus::Revoked { at, reason } => Err(format!("revoked since {at} ({reason})")),
            CertStatus::Unknown => Err("the responder does not know the certificate".to_owned()),
        }
    }
}

fn reply(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    // These values always can be written; an empty body says no as well.
    let json = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(json)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}
