//! One POST over plain HTTP, as OCSP is asked (RFC 6960 A.1.1): integrity is in the answer's signature.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pki::ocsp::client::MAX_RESPONSE_BYTES;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Error;

/// All of it: connection, request, answer. A login waits for it.
const TIME: Duration = Duration::from_secs(5);

/// The port of an address: 80 where it names none; `None` where it names one that cannot be, such as 65536.
pub(crate) fn port(authority: &Authority) -> Option<u16> {
    let after_host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, rest)| rest);
    let named = after_host.strip_prefix(authority.host())?;
    match named.strip_prefix(':') {
        None | Some("") => Some(80),
        Some(port) => port.parse().ok().filter(|port| *port != 0),
    }
}

/// Sends an OCSP request, and gives the body of the answer.
pub(crate) async fn post_ocsp(url: &str, request: Vec<u8>) -> Result<Bytes, Error> {
    let wrong = || Error::Url { url: url.to_owned() };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let address = (host, port(authority).ok_or_else(wrong)?);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "application/ocsp-request")
        .header(ACCEPT, "application/ocsp-response")
        .body(Full::new(Bytes::from(request)))
        .map_err(|_| wrong())?;
    match timeout(TIME, exchange(address, request)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(reason)) => Err(Error::Unreachable { url: url.to_owned(), reason }),
        Err(_) => {
            Err(Error::Unreachable { url: url.to_owned(), reason: format!("no answer within {} s", TIME.as_secs()) })
        }
    }
}

async fn exchange(address: (String, u16), request: Request<Full<Bytes>>) -> Result<Bytes, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("HTTP status {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_RESPONSE_BYTES).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    let answer = answer.await;
    driver.abort();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_is_none() {
        for (authority, expected) in [
            ("example.org", Some(80)),
            ("example.org:", Some(80)),
            ("example.org:8080", Some(8080)),
            ("[::1]", Some(80)),
            ("[::1]:65535", Some(65535)),
            ("user@example.org:81", Some(81)),
            ("example.org:0", None),
            ("example.org:65536", None),
            ("[::1]:99999999", None),
        ] {
            assert_eq!(port(&authority.parse().unwrap()), expected, "{authority}");
        }
    }
}
