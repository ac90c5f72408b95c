//! The CA's API as a responder reaches it: HTTP/1.1 over TLS, one connection at a time, with answers as JSON or as a
//! stream.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::Problem;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tls::blame::{Blame, blame, with_causes};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::NodeError;

/// No longer JSON answer is read, in octets.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Where the CA is, and how long it may take.
#[derive(Debug)]
pub struct Server {
    host: String,
    port: u16,
    name: ServerName<'static>,
    authority: HeaderValue,
    /// The path before every other one.
    base: String,
    /// What errors call it.
    title: String,
    connect: Duration,
    answer: Duration,
}

impl Server {
    /// The CA at `https://HOST:PORT`, perhaps with a path.
    ///
    /// # Errors
    /// [`NodeError::Url`] when that is not what `url` is.
    pub fn new(url: &str, connect: Duration, answer: Duration) -> Result<Arc<Self>, NodeError> {
        let wrong = |reason: &str| NodeError::Url { url: url.to_owned(), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("it does not begin with https://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Arc::new(Server {
            name: ServerName::try_from(host.clone())
                .map_err(|_| wrong("its host is neither a DNS name nor an IP address"))?,
            host,
            port: authority.port_u16().unwrap_or(443),
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| wrong("its host cannot stand in a header"))?,
            base: format!("{}{}", uri.path().trim_end_matches('/'), api::PREFIX),
            title: format!("https://{authority}"),
            connect,
            answer,
        }))
    }

    /// What errors and logs call it.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Connects.
    ///
    /// # Errors
    /// When it cannot be reached, is not trusted, or does not take the certificate that is shown.
    pub async fn connect(self: &Arc<Self>, config: Arc<ClientConfig>) -> Result<Connection, NodeError> {
        match timeout(self.connect, self.connect_at_leisure(config)).await {
            Ok(connected) => connected,
            Err(_) => Err(self.unreachable(format!("no connection within {} s", self.connect.as_secs_f32()))),
        }
    }

    async fn connect_at_leisure(self: &Arc<Self>, config: Arc<ClientConfig>) -> Result<Connection, NodeError> {
        let unreachable = |error: std::io::Error| self.unreachable(error.to_string());
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream = TlsConnector::from(config)
            .connect(self.name.clone(), stream)
            .await
            .map_err(|error| self.tls_error(&error).unwrap_or_else(|| unreachable(error)))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error.to_string()))?;
        Ok(Connection { server: Arc::clone(self), sender, driver: Driver(Some(tokio::spawn(connection))) })
    }

    fn unreachable(&self, reason: String) -> NodeError {
        NodeError::Connect { server: self.title.clone(), reason }
    }

    /// The part of an error that TLS has to say something about.
    fn tls_error(&self, error: &(dyn StdError + 'static)) -> Option<NodeError> {
        let server = self.title.clone();
        Some(match blame(error)? {
            Blame::Alert(alert) => NodeError::HandshakeRefused { server, alert },
            Blame::Server(reason) => NodeError::ServerNotTrusted { server, reason },
            Blame::Key(reason) => tls::Error::Setup(reason).into(),
            Blame::Other(reason) => NodeError::Connect { server, reason },
        })
    }

    fn not_understood(&self, status: StatusCode, reason: impl Into<String>) -> NodeError {
        NodeError::Answer { server: self.title.clone(), status: status.as_u16(), reason: reason.into() }
    }

    /// Waits for a part of an answer, for as long as one may take.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, NodeError> {
        let late = |_| NodeError::Timeout { server: self.title.clone(), after: self.answer };
        timeout(self.answer, work).await.map_err(late)
    }
}

/// The task that reads and writes a connection; it ends with it.
#[derive(Debug)]
struct Driver(Option<JoinHandle<hyper::Result<()>>>);

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// A connection to the CA.
#[derive(Debug)]
pub struct Connection {
    server: Arc<Server>,
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

/// What the CA refused, and when it wants to be asked again.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: NodeError,
    pub(super) retry_after: Option<Duration>,
}

impl From<NodeError> for Refused {
    fn from(error: NodeError) -> Self {
        Refused { error, retry_after: None }
    }
}

impl From<Refused> for NodeError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

impl Connection {
    /// Whether another call can be made over it.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// [`NodeError::Problem`] when the CA refuses; otherwise when the connection broke or the answer is not understood.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Refused> {
        let answer = self.exchange(Method::GET, path, None).await?;
        self.json(answer).await
    }

    /// Sends JSON, and reads JSON; an empty answer is read as `null`.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub(super) async fn post<B: Serialize, T: DeserializeOwned>(&mut self, path: &str, body: &B) -> Result<T, Refused> {
        let body = serde_json::to_vec(body).map_err(|error| NodeError::System(error.to_string()))?;
        let answer = self.exchange(Method::POST, path, Some(body.into())).await?;
        self.json(answer).await
    }

    /// Asks for a stream.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub(super) async fn stream(&mut self, path: &str) -> Result<Incoming, Refused> {
        Ok(self.exchange(Method::GET, path, None).await?.into_body())
    }

    /// Asks for a file of at most `limit` octets. Each part of it may take as long as an answer.
    ///
    /// # Errors
    /// As [`Connection::get`]; [`NodeError::TooLong`].
    pub(super) async fn file(&mut self, path: &str, limit: usize, remedy: &'static str) -> Result<Bytes, NodeError> {
        let mut body = self.stream(path).await?;
        let mut octets = BytesMut::new();
        loop {
            let frame = self.server.in_time(body.frame()).await?;
            let Some(frame) = frame else { return Ok(octets.freeze()) };
            let Ok(part) = self.part(frame).await?.into_data() else { continue };
            if octets.len() + part.len() > limit {
                return Err(NodeError::TooLong { server: self.server.title.clone(), limit, remedy });
            }
            octets.extend_from_slice(&part);
        }
    }

    /// A part of a stream, or why it ended.
    pub(super) async fn part<T>(&mut self, part: hyper::Result<T>) -> Result<T, NodeError> {
        match part {
            Ok(part) => Ok(part),
            Err(error) => Err(self.broken(&error).await),
        }
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, Refused> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server.base))
            .header(HOST, &self.server.authority)
            .header(ACCEPT, "application/json, application/octet-stream, application/problem+json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| NodeError::System(format!("a request that cannot be made: {error}")))?;
        let server = Arc::clone(&self.server);
        let answer = server
            .in_time(async {
                self.sender.ready().await?;
                self.sender.send_request(request).await
            })
            .await?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.broken(&error).await.into()),
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let (status, body) = self.whole(answer).await?;
        let error = match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => NodeError::Problem(Box::new(problem)),
            Err(_) => {
                let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
                self.server.not_understood(status, format!("{text:?}"))
            }
        };
        Err(Refused { error, retry_after: retry_after.map(Duration::from_secs) })
    }

    async fn json<T: DeserializeOwned>(&mut self, answer: Response<Incoming>) -> Result<T, Refused> {
        let (status, body) = self.whole(answer).await?;
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        Ok(serde_json::from_slice(body).map_err(|error| self.server.not_understood(status, error.to_string()))?)
    }

    async fn whole(&mut self, answer: Response<Incoming>) -> Result<(StatusCode, Bytes), NodeError> {
        let status = answer.status();
        match self.server.in_time(Limited::new(answer.into_body(), MAX_ANSWER).collect()).await? {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                let server = self.server.title.clone();
                Err(NodeError::TooLong { server, limit: MAX_ANSWER, remedy: "Do both have the same version?" })
            }
            Err(error) => Err(self.broken(error.as_ref()).await),
        }
    }

    /// Why the connection failed. With TLS 1.3 a client learns only here that its certificate was refused.
    fn broken(&mut self, error: &(dyn StdError + 'static)) -> impl Future<Output = NodeError> + Send + 'static {
        let (server, reason) = (Arc::clone(&self.server), with_causes(error));
        let known = server.tls_error(error);
        let driver = if known.is_none() { self.driver.0.take() } else { None };
        async move {
            if let Some(refused) = known {
                return refused;
            }
            // The reason may have come to the task instead of to the request.
            if let Some(mut driver) = driver {
                match timeout(Duration::from_millis(200), &mut driver).await {
                    Ok(Ok(Err(cause))) => {
                        if let Some(refused) = server.tls_error(&cause) {
                            return refused;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => driver.abort(),
                }
            }
            NodeError::Broken { server: server.title.clone(), reason }
        }
    }
}
