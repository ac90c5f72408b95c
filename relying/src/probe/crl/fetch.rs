//! Fetching a CRL: one GET, whose body is read as a CRL while it comes, in bounded memory.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use pki::crl::{CrlDescription, CrlLimits, CrlReader};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::Error;
use crate::probe::exchange::{SILENCE, Target, send};

/// How many octets at the start of a CRL are kept, to compare them with a range.
pub(super) const HEAD: usize = 256;

/// How many pieces of a body may wait to be read.
const PIECES: usize = 16;

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

/// Fetches a CRL and reads it on the way.
pub(super) async fn crl(target: &Target, max_octets: u64) -> Result<Fetched, Error> {
    let (answer, _driver) = send(target, Method::GET, &[], Bytes::new()).await?;
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
