//! A client that sends anything, and shows the whole answer with its headers. Each request has a connection of its own.
//!
//! What a station really uses is `station::http`; this one is for what a station never sends.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Ask {
    /// Any method; the path as it is to be sent.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Ask { method, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// A GET of a path as it is.
    pub fn get(path: impl Into<String>) -> Self {
        Ask::new(Method::GET, path)
    }

    /// A POST to a path as it is.
    pub fn post(path: impl Into<String>) -> Self {
        Ask::new(Method::POST, path)
    }

    /// With this header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// In an operator's session.
    pub fn session(self, token: &str) -> Self {
        self.header(api::SESSION_HEADER, token)
    }

    /// With an idempotency key.
    pub fn key(self, key: &str) -> Self {
        self.header(api::IDEMPOTENCY_HEADER, key)
    }

    /// With this body, as JSON.
    pub fn json<T: Serialize>(self, value: &T) -> Self {
        let body = serde_json::to_vec(value).expect("JSON");
        self.header(CONTENT_TYPE.as_str(), "application/json").body(body)
    }

    /// With this body, whatever it is.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The same, if its status is this one.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// A header's value, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("a readable header")).unwrap_or_default()
    }

    /// The body, read as JSON.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    pub fn read<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The problem details of a refusal, whose form is looked at as well (RFC 9457 3).
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn problem(&self) -> api::Problem {
        assert_eq!(self.header("content-type"), api::problem::MEDIA_TYPE, "{self:?}");
        let problem: api::Problem = self.read();
        assert_eq!(problem.status, self.status, "{problem:?}");
        assert!(problem.kind.starts_with("urn:cardinal:problem:"), "{problem:?}");
        assert!(!problem.title.is_empty() && !problem.detail.is_empty(), "{problem:?}");
        problem
    }

    /// The refusal's problem details, if it has this status and is of this kind.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn refused(&self, status: u16, name: &str) -> api::Problem {
        let shown = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{shown}");
        let problem = self.problem();
        assert_eq!(problem.name(), name, "{shown}");
        problem
    }

    /// The refusal, if it names this rule.
    ///
    /// # Panics
    /// When it names another, or none.
    #[track_caller]
    pub fn refused_by(&self, rule: &str) -> api::Problem {
        let problem = self.problem();
        assert_eq!(problem.rule.as_deref(), Some(rule), "{problem:?}");
        problem
    }
}

/// Why there was no answer.
pub type Unanswered = Box<dyn Error + Send + Sync>;

/// Where requests go, and as whom.
#[derive(Clone, Debug)]
pub enum Door {
    /// Plain HTTP.
    Plain(SocketAddr),
    /// TLS, with the client's certificate that the configuration has.
    Tls(SocketAddr, Arc<ClientConfig>),
    /// A Unix socket.
    Socket(PathBuf),
}

impl Door {
    /// Sends a request.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, ask: Ask) -> Reply {
        let shown = format!("{} {}", ask.method, ask.path);
        self.try_send(ask).await.unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn try_send(&self, ask: Ask) -> Result<Reply, Unanswered> {
        self.open(ask).await?.whole().await
    }

    /// Sends a request, and gives its answer as soon as its head is there.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(&self, ask: Ask) -> Result<OpenReply, Unanswered> {
        match self {
            Door::Plain(address) => exchange(TcpStream::connect(address).await?, &address.to_string(), ask).await,
            Door::Socket(path) => exchange(UnixStream::connect(path).await?, "localhost", ask).await,
            Door::Tls(address, config) => {
                let stream = TcpStream::connect(address).await?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(ServerName::from(address.ip()), stream).await?;
                exchange(stream, &address.to_string(), ask).await
            }
        }
    }
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct OpenReply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
}

impl OpenReply {
    /// The whole answer.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn whole(self) -> Result<Reply, Unanswered> {
        let body = self.body.collect().await?.to_bytes();
        Ok(Reply { status: self.status, headers: self.headers, body })
    }

    /// What comes next of the body; `None` at its end.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Unanswered> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

async fn exchange<S>(stream: S, host: &str, ask: Ask) -> Result<OpenReply, Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(ask.method).uri(&ask.path).header(HOST, host);
    for (name, value) in &ask.headers {
        request = request.header(*name, value);
    }
    let answer = sender.send_request(request.body(Full::new(ask.body))?).await;
    let answer = match answer {
        Ok(answer) => answer,
        // The connection's own error says more than that there was no answer.
        Err(error) => return Err(driver.await?.err().unwrap_or(error).into()),
    };
    let (head, body) = answer.into_parts();
    Ok(OpenReply { status: head.status.as_u16(), headers: head.headers, body })
}
