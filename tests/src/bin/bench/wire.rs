//! An HTTP/1.1 client that costs as little as it can: prepared requests, one connection, two fields of the
//! head read.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    /// The status.
    pub(crate) status: u16,
    /// The status line and the header fields.
    pub(crate) head: &'a [u8],
    /// The body.
    pub(crate) body: &'a [u8],
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Connection::try_open(None, address).await.expect("the door is open")
    }

    /// Connects, from this address of this machine if one is named.
    ///
    /// # Errors
    /// When the door is not open.
    pub(crate) async fn try_open(from: Option<IpAddr>, address: SocketAddr) -> io::Result<Self> {
        let stream = match from {
            None => TcpStream::connect(address).await?,
            Some(from) => {
                let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.bind((from, 0).into())?;
                socket.connect(address).await?
            }
        };
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// Sends a request and gives the body of its answer, which must be 200.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> &[u8] {
        let answer = self.try_exchange(request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(answer.head));
        answer.body
    }

    /// Sends a request and gives its answer.
    ///
    /// # Errors
    /// When there is none, or it is no HTTP.
    pub(crate) async fn try_exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            let head = self.buffer.windows(4).position(|octets| octets == b"\r\n\r\n");
            let Some(end) = head else {
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            };
            let (status, length, closes) = read_head(&self.buffer[..end]).ok_or(io::ErrorKind::InvalidData)?;
            let body = end + 4;
            // Without a length the body ends with the connection (RFC 9112 6.3).
            let is_whole = length.map_or(read == 0, |length| self.buffer.len() >= body + length);
            if is_whole {
                let body = &self.buffer[body..body + length.unwrap_or(self.buffer.len() - body)];
                return Ok(Answer { status, head: &self.buffer[..end], body, closes });
            }
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The status, the body's length if it is said, and whether the connection ends.
fn read_head(head: &[u8]) -> Option<(u16, Option<usize>, bool)> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let (version, rest) = lines.next()?.split_once(' ')?;
    let status: u16 = rest.get(..3)?.parse().ok()?;
    let (mut length, mut closes) = (None, version != "HTTP/1.1");
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().ok()?);
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let length = if status == 304 || status == 204 { Some(0) } else { length };
    Some((status, length, closes || length.is_none()))
}

/// A POST of an OCSP request.
pub(crate) fn post(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /ocsp HTTP/1.1\r\nhost: bench\r\ncontent-type: application/ocsp-request\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A GET of an OCSP request (RFC 6960 A.1).
pub(crate) fn get(request: &[u8]) -> Vec<u8> {
    let encoded = data_encoding::BASE64.encode(request);
    let encoded = encoded.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("GET /ocsp/{encoded} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}
