//! One HTTP exchange of a probe: a connection of its own, a bounded answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Error;
use crate::http::port;

/// The longest silence.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A CRL.
    Crl,
    /// An OCSP responder.
    Ocsp,
}

/// Where something is fetched.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) url: String,
    kind: Kind,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    pub(super) fn new(url: &str, kind: Kind) -> Result<Self, Error> {
        let wrong = || match kind {
            Kind::Crl => Error::CrlUrl { url: url.to_owned() },
            Kind::Ocsp => Error::Url { url: url.to_owned() },
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
        // The request of an OCSP GET comes after the path, so nothing else can.
        if kind == Kind::Ocsp && uri.query().is_some() {
            return Err(wrong());
        }
        Ok(Target {
            url: url.to_owned(),
            kind,
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port(authority).ok_or_else(wrong)?,
            authority: authority.to_string(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    /// What is below it, in the path.
    pub(super) fn below(&self, rest: &str) -> Target {
        Target { path: format!("{}/{rest}", self.path.trim_end_matches('/')), ..self.clone() }
    }

    pub(super) fn unreachable(&self, reason: impl ToString) -> Error {
        let (url, reason) = (self.url.clone(), reason.to_string());
        match self.kind {
            Kind::Crl => Error::CrlUnreachable { url, reason },
            Kind::Ocsp => Error::Unreachable { url, reason },
        }
    }
}

/// An answer whose body is kept.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// None when it is longer than was permitted, or breaks off.
    pub(super) body: Option<Bytes>,
}

/// A connection, which ends when this is dropped.
pub(super) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request; the answer's body has not come yet.
pub(super) async fn send(
    target: &Target,
    method: Method,
    headers: &[(HeaderName, String)],
    body: Bytes,
) -> Result<(http::Response<Incoming>, Driver), Error> {
    let accepted = match target.kind {
        Kind::Crl => "application/pkix-crl",
        Kind::Ocsp => "application/ocsp-response",
    };
    let mut request =
        Request::builder().method(method).uri(&target.path).header(HOST, &target.authority).header(ACCEPT, accepted);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(body)).map_err(|error| target.unreachable(error))?;
    let exchange = async {
        let stream =
            TcpStream::connect((target.host.as_str(), target.port)).await.map_err(|error| error.to_string())?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let driver = Driver(tokio::spawn(async {
            // What ends it shows in the answer.
            let _ = connection.await;
        }));
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((answer, driver))
    };
    let silent = |_| target.unreachable(format!("no answer within {} s", SILENCE.as_secs()));
    timeout(SILENCE, exchange).await.map_err(silent)?.map_err(|reason| target.unreachable(reason))
}

/// Sends a request, and gives what is answered; the body only up to `limit` octets.
pub(super) async fn ask(
    target: &Target,
    method: Method,
    headers: &[(HeaderName, String)],
    body: Bytes,
    limit: usize,
) -> Result<Answer, Error> {
    let (answer, _driver) = send(target, method, headers, body).await?;
    let (parts, body) = answer.into_parts();
    let body = timeout(SILENCE, Limited::new(body, limit).collect()).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}
