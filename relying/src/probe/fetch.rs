//! Fetching a CRL: one GET, whose body is read as a CRL while it comes, in bounded memory.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{ACCEPT, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pki::crl::{CrlDescription, CrlLimits, CrlReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Error;
use crate::http::port;

/// The longest silence.
const SILENCE: Duration = Duration::from_secs(10);

/// How many octets at the start of a CRL are kept, to compare them with a range.
pub(super) const HEAD: usize = 256;

/// How many pieces of a body may wait to be read.
const PIECES: usize = 16;

/// Where something is fetched.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: String,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    pub(super) fn new(url: &str) -> Result<Self, Error> {
        let wrong = || Error::CrlUrl { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
        Ok(Target {
            url: url.to_owned(),
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port(authority).ok_or_else(wrong)?,
            authority: authority.to_string(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    fn unreachable(&self, reason: impl ToString) -> Error {
        Error::CrlUnreachable { url: self.url.clone(), reason: reason.to_string() }
    }
}

/// An answer whose body was read as a CRL.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The body's first octets.
    pub(super) head: Vec<u8>,
    /// The CRL, or why it is none.
    pub(super) crl: Result<CrlDescription, String>,
}

/// An answer with a small body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// At most [`HEAD`] octets; none when there are more.
    pub(super) body: Option<Bytes>,
}

/// A connection, which ends when this is dropped.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send(
    target: &Target,
    method: Method,
    conditions: &[(HeaderName, String)],
) -> Result<(http::Response<Incoming>, Driver), Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(&target.path)
        .header(HOST, &target.authority)
        .header(ACCEPT, "application/pkix-crl");
    for (name, value) in conditions {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| target.unreachable(error))?;
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

/// Sends a request whose answer is small, or of no interest.
pub(super) async fn ask(target: &Target, method: Method, conditions: &[(HeaderName, String)]) -> Result<Answer, Error> {
    let (answer, _driver) = send(target, method, conditions).await?;
    let (parts, body) = answer.into_parts();
    let body = timeout(SILENCE, Limited::new(body, HEAD).collect()).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// Fetches a CRL and reads it on the way.
pub(super) async fn crl(target: &Target, max_octets: u64) -> Result<Fetched, Error> {
    let (answer, _driver) = send(target, Method::GET, &[]).await?;
    let (parts, mut body) = answer.into_parts();
    if parts.status != StatusCode::OK {
        let crl = Err(format!("HTTP status {} instead of 200: there is no CRL to read", parts.status));
        return Ok(Fetched { status: parts.status, headers: parts.headers, head: Vec::new(), crl });
    }
    let (pieces, received) = mpsc::channel(PIECES);
    let reading = tokio::task::spawn_blocking(move || {
        let mut head = Vec::with_capacity(HEAD);
        let stream = Pieces { received, piece: Bytes::new(), head: &mut head };
        let read = CrlReader::new(stream, CrlLimits::octets(max_octets)).and_then(CrlReader::finish);
        (read.map_err(|error| error.to_string()), head)
    });
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut length = 0_u64;
    let broken = loop {
        let piece = match timeout(SILENCE, body.frame()).await {
            Err(_) => break Some(format!("nothing came for {} s, after {length} octets", SILENCE.as_secs())),
            Ok(None) => break None,
            Ok(Some(Err(error))) => break Some(format!("it was cut off after {length} octets: {error}")),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        length += piece.len() as u64;
        // The reader has seen enough, such as an octet too many.
        if pieces.send(piece).await.is_err() {
            break None;
        }
    };
    drop(pieces);
    let (read, head) = reading.await.map_err(|error| target.unreachable(error))?;
    let crl = match (broken, announced) {
        (Some(reason), Some(announced)) => Err(format!("{reason}, of {announced}")),
        (Some(reason), None) => Err(reason),
        (None, _) => read,
    };
    Ok(Fetched { status: parts.status, headers: parts.headers, head, crl })
}

/// A body as a stream of octets, for a reader that blocks.
struct Pieces<'a> {
    received: mpsc::Receiver<Bytes>,
    piece: Bytes,
    head: &'a mut Vec<u8>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece[..count]);
        self.piece.advance(count);
        let room = HEAD - self.head.len();
        self.head.extend_from_slice(&buffer[..count.min(room)]);
        Ok(count)
    }
}
