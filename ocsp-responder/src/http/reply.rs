//! From an answer to an HTTP response: caching by RFC 9919 5 and RFC 9111, conditional requests by RFC 9110 13.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, EXPIRES, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pki::Timestamp;

use crate::responder::{Answer, Cacheability};

/// The reply that carries `answer`. Only what came by GET may be kept by others (conformance: H9).
pub(super) fn reply(method: &Method, asked: &HeaderMap, answer: Answer, now: Timestamp) -> Response {
    let is_post = *method == Method::POST;
    let length = answer.der.len();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(DATE, http_date(now));
    match answer.cacheability.filter(|_| !is_post) {
        None => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Some(cacheability) => {
            allow_keeping(headers, &cacheability);
            if is_known(asked, &cacheability.etag) {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return response;
            }
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/ocsp-response"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if *method != Method::HEAD {
        *response.body_mut() = Body::from(answer.der);
    }
    response
}

/// A reply that carries no answer.
pub(super) fn refusal(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    response
}

// conformance: H9
fn allow_keeping(headers: &mut HeaderMap, cacheability: &Cacheability) {
    headers.insert(LAST_MODIFIED, http_date(cacheability.this_update));
    headers.insert(EXPIRES, http_date(cacheability.next_update));
    let seconds = cacheability.max_age.as_secs();
    let cache_control = format!("max-age={seconds}, public, no-transform, must-revalidate");
    if let Ok(value) = HeaderValue::try_from(cache_control) {
        headers.insert(CACHE_CONTROL, value);
    }
    if let Ok(value) = HeaderValue::try_from(&*cacheability.etag) {
        headers.insert(ETAG, value);
    }
}

/// Whether the client has it (RFC 9110 13.1.2; the comparison is the weak one).
// conformance: H11
fn is_known(asked: &HeaderMap, etag: &str) -> bool {
    asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
        },
    )
}

/// An IMF-fixdate (RFC 9110 5.6.7; conformance: H10).
fn http_date(time: Timestamp) -> HeaderValue {
    let since_1970 = Duration::from_secs(u64::try_from(time.unix_seconds()).unwrap_or(0));
    let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_1970);
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}
