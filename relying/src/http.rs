//! One POST over plain HTTP, as OCSP is asked (RFC 6960 A.1.1): integrity is in the answer's signature.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
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

/// Sends an OCSP request, and gives the body of the answer.
pub(crate) async fn post_ocsp(url: &str, request: Vec<u8>) -> Result<Bytes, Error> {
    let wrong = || Error::Url { url: url.to_owned() };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let address = (host, authority.port_u16().unwrap_or(80));
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
