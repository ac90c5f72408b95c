//! A small HTTP/1.1 client for JSON, over TLS or over a Unix socket.
//!
//! One connection is kept for one call after the other; whoever wants calls at the same time takes several clients. A
//! call is made again, once and on a new connection, when the old one turned out to be closed before it was sent; or
//! when it may have arrived and does no harm twice: a GET, or a POST with its idempotency key.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::tls::blame::{Blame, blame, with_causes};
use api::Problem;
use bytes::Bytes;
use config::StationConfig;
use data_encoding::HEXLOWER;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{Error, Session, tls};

/// No longer answer is read, in octets.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// How long is waited before a call that is still under way is asked for again.
const IN_FLIGHT_PAUSE: Duration = Duration::from_millis(300);

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// TCP and TLS.
    pub connect: Duration,
    /// From the request to the end of the answer.
    pub answer: Duration,
}

impl Default for Times {
    /// 5 seconds to connect, 30 for an answer.
    fn default() -> Self {
        Times { connect: Duration::from_secs(5), answer: Duration::from_secs(30) }
    }
}

/// One call of the API.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    body: Option<Bytes>,
    session: Option<HeaderValue>,
    idempotency_key: Option<HeaderValue>,
}

impl Call {
    /// A GET of this path and query.
    pub fn get(path: impl Into<String>) -> Self {
        Call { method: Method::GET, path: path.into(), body: None, session: None, idempotency_key: None }
    }

    /// A DELETE of this path.
    pub fn delete(path: impl Into<String>) -> Self {
        Call { method: Method::DELETE, ..Call::get(path) }
    }

    /// A POST without a body, with an idempotency key of its own.
    ///
    /// # Errors
    /// When the random number generator fails.
    pub fn post_empty(path: impl Into<String>) -> Result<Self, Error> {
        let key = HeaderValue::from_str(&random_uuid()?).map_err(|error| Error::Request(error.to_string()))?;
        Ok(Call { method: Method::POST, idempotency_key: Some(key), ..Call::get(path) })
    }

    /// A POST of this value as JSON, with an idempotency key of its own.
    ///
    /// # Errors
    /// When the value cannot be written as JSON, or the random number generator fails.
    pub fn post<B: Serialize>(path: impl Into<String>, body: &B) -> Result<Self, Error> {
        let json = serde_json::to_vec(body).map_err(|error| Error::Request(error.to_string()))?;
        Ok(Call { body: Some(json.into()), ..Call::post_empty(path)? })
    }

    /// In an operator's session.
    ///
    /// # Errors
    /// When the token cannot stand in a header.
    pub fn session(mut self, session: &Session) -> Result<Self, Error> {
        let mut token = HeaderValue::from_str(session.token())
            .map_err(|_| Error::Request("the session's token cannot stand in a header".into()))?;
        token.set_sensitive(true);
        self.session = Some(token);
        Ok(self)
    }

    /// In an operator's session, if there is one.
    ///
    /// # Errors
    /// As [`Call::session`].
    pub fn session_if(self, session: Option<&Session>) -> Result<Self, Error> {
        match session {
            Some(session) => self.session(session),
            None => Ok(self),
        }
    }

    /// With this idempotency key: of two calls that have the same, the second gets the answer of the first.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn idempotency_key(mut self, key: &str) -> Result<Self, Error> {
        self.idempotency_key = Some(HeaderValue::from_str(key).map_err(|error| Error::Request(error.to_string()))?);
        Ok(self)
    }

    /// Whether making it twice does no harm.
    fn is_repeatable(&self) -> bool {
        self.method == Method::GET || self.idempotency_key.is_some()
    }
}

/// `path` with these segments put in at each `{}`, percent-encoded (RFC 3986 2.1).
pub(crate) fn path(pattern: &str, segments: &[&str]) -> String {
    let mut parts = pattern.split("{}");
    let mut path = format!("{}{}", api::PREFIX, parts.next().unwrap_or_default());
    for (part, segment) in parts.zip(segments) {
        path.push_str(&path_segment(segment));
        path.push_str(part);
    }
    path
}

/// One segment of a path, percent-encoded (RFC 3986 2.1): whatever it holds, it stays one segment.
pub fn path_segment(text: &str) -> String {
    let mut segment = String::new();
    for octet in text.bytes() {
        // As a segment, one or two dots are no name but a way (RFC 3986 5.2.4).
        let is_plain = octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'@');
        if is_plain && !matches!(text, "." | "..") {
            segment.push(char::from(octet));
        } else {
            segment.push_str(&format!("%{octet:02X}"));
        }
    }
    segment
}

/// 128 random bits in the form of a UUID of version 4 (RFC 9562 5.4).
fn random_uuid() -> Result<String, Error> {
    let mut octets = [0; 16];
    SystemRandom::new().fill(&mut octets).map_err(|_| Error::Random)?;
    octets[6] = octets[6] & 0x0f | 0x40;
    octets[8] = octets[8] & 0x3f | 0x80;
    let hex = HEXLOWER.encode(&octets);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// Its content type, or an empty text.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// The version of TLS that it came by, such as `TLSv1_3`.
    pub tls_version: Option<String>,
}

impl Answer {
    fn is_problem(&self) -> bool {
        self.content_type.starts_with(api::problem::MEDIA_TYPE)
    }

    /// Whether another call with the same idempotency key is under way.
    fn is_in_flight(&self) -> bool {
        self.status == StatusCode::CONFLICT
            && self.is_problem()
            && serde_json::from_slice::<Problem>(&self.body).is_ok_and(|problem| problem.name() == "in-flight")
    }
}

enum Target {
    Tls { host: String, port: u16, name: ServerName<'static>, config: Arc<ClientConfig> },
    Unix(PathBuf),
}

/// A client of one server.
pub struct Client {
    target: Target,
    /// What errors call it.
    server: String,
    /// The path before every other one.
    base: String,
    host: HeaderValue,
    times: Times,
    connection: Mutex<Option<Connection>>,
    requests: AtomicU64,
}

impl Client {
    /// A client of `https://HOST:PORT`, perhaps with a path.
    ///
    /// # Errors
    /// When that is not what `url` is.
    pub fn https(url: &str, config: Arc<ClientConfig>, times: Times) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Url { url: url.to_owned(), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("it does not begin with https://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone())
            .map_err(|_| wrong("its host is neither a DNS name nor an IP address"))?;
        let header =
            HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("its host cannot stand in a header"))?;
        let target = Target::Tls { host, port: authority.port_u16().unwrap_or(443), name, config };
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self::new(target, format!("https://{authority}"), base, header, times))
    }

    /// A client of the server that listens on a Unix socket.
    pub fn unix(path: &Path, times: Times) -> Self {
        let server = path.display().to_string();
        Self::new(Target::Unix(path.to_owned()), server, String::new(), HeaderValue::from_static("localhost"), times)
    }

    /// The client of an enrolled station.
    ///
    /// # Errors
    /// When its key or certificates cannot be read.
    pub fn for_station(station: &StationConfig) -> Result<Self, Error> {
        let config = tls::station_config(&station.ca_file, &station.certificate_file, &station.key_file)?;
        let times = Times { connect: station.connect, answer: station.answer };
        Self::https(&station.server, config, times)
    }

    fn new(target: Target, server: String, base: String, host: HeaderValue, times: Times) -> Self {
        let (connection, requests) = (Mutex::new(None), AtomicU64::new(0));
        Client { target, server, base, host, times, connection, requests }
    }

    /// What errors call the server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether the URL that it was made from has a path.
    pub(crate) fn has_path(&self) -> bool {
        !self.base.is_empty()
    }

    /// How many requests were sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Makes a call, and reads its answer as JSON.
    ///
    /// # Errors
    /// [`Error::Problem`] when the server refuses; otherwise when it cannot be reached or understood.
    pub async fn send<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let answer = self.exchange(call).await?;
        if !answer.status.is_success() {
            return Err(self.refusal(&answer));
        }
        let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
        serde_json::from_slice(body).map_err(|error| self.not_understood(&answer, error.to_string()))
    }

    /// Makes a call, and gives its answer as it came, whatever its status.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn exchange(&self, call: Call) -> Result<Answer, Error> {
        let mut slot = self.connection.lock().await;
        let mut kept = slot.take();
        let mut repeated = false;
        let started = Instant::now();
        loop {
            let mut connection = match kept.take() {
                Some(connection) if !connection.sender.is_closed() => connection,
                _ => self.connect().await?,
            };
            let request = self.request(&call)?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let Ok(outcome) = timeout(self.times.answer, connection.exchange(request)).await else {
                connection.driver.abort();
                return Err(Error::Timeout { server: self.server.clone(), after: self.times.answer });
            };
            let failure = match outcome {
                // The first sending of this call did arrive, and is being carried out.
                Ok(answer) if repeated && answer.is_in_flight() && started.elapsed() < self.times.answer => {
                    kept = Some(connection);
                    tokio::time::sleep(IN_FLIGHT_PAUSE).await;
                    continue;
                }
                Ok(answer) => {
                    *slot = Some(connection);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let unsent = failure.unsent;
            match connection.failed(failure.error, &self.server).await {
                Error::Broken { .. } if !repeated && (unsent || call.is_repeatable()) => {
                    tracing::debug!(server = self.server, unsent, "the connection was closed; connecting again");
                    repeated = true;
                }
                error => return Err(error),
            }
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.base, call.path))
            .header(HOST, &self.host)
            .header(ACCEPT, "application/json, application/problem+json");
        if let Some(key) = &call.idempotency_key {
            request = request.header(api::IDEMPOTENCY_HEADER, key);
        }
        if let Some(token) = &call.session {
            request = request.header(api::SESSION_HEADER, token);
        }
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(call.body.clone().unwrap_or_default());
        request.body(body).map_err(|error| Error::Request(error.to_string()))
    }

    async fn connect(&self) -> Result<Connection, Error> {
        match timeout(self.times.connect, self.connect_at_leisure()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.unreachable(format!("no connection within {} s", self.times.connect.as_secs_f32()))),
        }
    }

    async fn connect_at_leisure(&self) -> Result<Connection, Error> {
        let unreachable = |error: io::Error| self.unreachable(error.to_string());
        match &self.target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                self.begin(stream, None).await
            }
            Target::Tls { host, port, name, config } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector
                    .connect(name.clone(), stream)
                    .await
                    .map_err(|error| tls_error(&error, &self.server).unwrap_or_else(|| unreachable(error)))?;
                let version = stream.get_ref().1.protocol_version().map(|version| format!("{version:?}"));
                self.begin(stream, version).await
            }
        }
    }

    async fn begin<S>(&self, stream: S, tls_version: Option<String>) -> Result<Connection, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error.to_string()))?;
        Ok(Connection { sender, driver: tokio::spawn(connection), tls_version })
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Connect { server: self.server.clone(), reason }
    }

    fn refusal(&self, answer: &Answer) -> Error {
        if answer.is_problem() {
            return match serde_json::from_slice::<Problem>(&answer.body) {
                Ok(problem) => Error::Problem(Box::new(problem)),
                Err(error) => self.not_understood(answer, error.to_string()),
            };
        }
        let text: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
        self.not_understood(answer, format!("{text:?}"))
    }

    fn not_understood(&self, answer: &Answer, reason: String) -> Error {
        Error::Answer { server: self.server.clone(), status: answer.status.as_u16(), reason }
    }
}

/// One connection, and the task that reads and writes it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
    tls_version: Option<String>,
}

/// A request that came to nothing.
struct Failure {
    error: Box<dyn StdError + Send + Sync>,
    /// Whether it is certain that not even a part of the request was sent.
    unsent: bool,
}

impl Failure {
    fn after_sending(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Failure { error: error.into(), unsent: false }
    }
}

impl Connection {
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        self.sender.ready().await.map_err(|error| Failure { error: error.into(), unsent: true })?;
        let answer = self.sender.try_send_request(request).await.map_err(|mut failed| {
            let unsent = failed.take_message().is_some();
            Failure { error: failed.into_error().into(), unsent }
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(Failure::after_sending)?.to_bytes();
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Answer {
            status: head.status,
            content_type: content_type.to_owned(),
            body,
            tls_version: self.tls_version.clone(),
        })
    }

    /// Why the connection failed. With TLS 1.3 a client learns only here that its certificate was refused.
    async fn failed(self, error: Box<dyn StdError + Send + Sync>, server: &str) -> Error {
        if let Some(refused) = tls_error(error.as_ref(), server) {
            return refused;
        }
        if error.is::<LengthLimitError>() {
            return Error::AnswerTooLong { server: server.to_owned(), limit: MAX_ANSWER };
        }
        // The reason may have come to the task instead of to the request.
        let driven = timeout(Duration::from_millis(500), self.driver).await;
        if let Ok(Ok(Err(cause))) = driven
            && let Some(refused) = tls_error(&cause, server)
        {
            return refused;
        }
        Error::Broken { server: server.to_owned(), reason: with_causes(error.as_ref()) }
    }
}

/// The part of an error that TLS has to say something about.
fn tls_error(error: &(dyn StdError + 'static), server: &str) -> Option<Error> {
    let server = server.to_owned();
    Some(match blame(error)? {
        Blame::Alert(alert) => Error::HandshakeRefused { server, alert },
        Blame::Server(reason) => Error::ServerNotTrusted { server, reason },
        // What a card's key said about its failure comes through rustls as this.
        Blame::Key(reason) => ::tls::Error::Setup(reason).into(),
        Blame::Other(reason) => Error::Connect { server, reason },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one_segment_whatever_it_holds() {
        for (text, expected) in [
            ("issuing-ca.devices.1", "issuing-ca.devices.1"),
            ("a/b?c#d e", "a%2Fb%3Fc%23d%20e"),
            ("..", "%2E%2E"),
            ("\u{e9}", "%C3%A9"),
        ] {
            assert_eq!(path_segment(text), expected);
        }
    }

    #[test]
    fn what_is_put_into_a_path_cannot_leave_its_segment() {
        assert_eq!(path("/cards/{}/suspend", &["00ff"]), "/api/v1/cards/00ff/suspend");
        assert_eq!(path("/people/{}", &["../a?b#c%"]), "/api/v1/people/..%2Fa%3Fb%23c%25");
        assert_eq!(path("/certificates/{}/{}", &["a-1", "0b"]), "/api/v1/certificates/a-1/0b");
    }

    #[test]
    fn each_post_has_an_idempotency_key_of_its_own() {
        let key = || Call::post_empty("/").unwrap().idempotency_key.unwrap();
        assert_ne!(key(), key());
        assert_eq!(key().len(), 36);
        assert!(Call::get("/").is_repeatable());
    }

    #[test]
    fn an_address_without_https_or_host_is_refused() {
        let config = tls::plain_config(&[]).unwrap();
        for url in ["http://localhost", "localhost:8443", "https://", "https://a b", ""] {
            assert!(
                matches!(Client::https(url, Arc::clone(&config), Times::default()), Err(Error::Url { .. })),
                "{url}"
            );
        }
        let client = Client::https("https://[::1]:8443/base/", config, Times::default()).unwrap();
        assert_eq!((client.server(), client.base.as_str()), ("https://[::1]:8443", "/base"));
    }
}
