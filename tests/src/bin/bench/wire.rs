//! An HTTP/1.1 client that costs as little as it can: prepared requests, one connection, nothing kept of the head.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the door is open");
        stream.set_nodelay(true).expect("a socket");
        Connection { stream, buffer: Vec::new() }
    }

    /// Sends a request and gives the body of its answer, which must be 200.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> &[u8] {
        self.stream.write_all(request).await.expect("the connection is open");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            assert!(read > 0, "the connection was closed");
            let Some(end) = self.buffer.windows(4).position(|octets| octets == b"\r\n\r\n") else { continue };
            let body = end + 4;
            let length = content_length(&self.buffer[..end]);
            if self.buffer.len() >= body + length {
                return &self.buffer[body..body + length];
            }
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).expect("a readable head");
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"), "{head}");
    let length =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.expect("a length").1.trim().parse().expect("a number")
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
