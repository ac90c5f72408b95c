//! From an answer to an HTTP response: caching by RFC 9919 5 and RFC 9111, conditional requests by RFC 9110 13.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, EXPIRES, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::body::{Frame, SizeHint};
use pki::Timestamp;

use super::caching::{CachingHeaders, cache_control, http_date};
use crate::cache::CachedAnswer;
use crate::responder::Answer;

/// How many headers a reply has, at most.
const HEADERS: usize = 7;

/// The body of a reply: an answer, which is there in one piece, or whatever else the door serves.
#[derive(Debug)]
pub enum ReplyBody {
    /// An answer, until it was taken; `None` is the end.
    Answer(Option<Bytes>),
    /// Something else.
    Other(Body),
}

impl hyper::body::Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            ReplyBody::Answer(answer) => Poll::Ready(answer.take().map(|der| Ok(Frame::data(der)))),
            ReplyBody::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Answer(answer) => answer.is_none(),
            ReplyBody::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Answer(answer) => SizeHint::with_exact(answer.as_ref().map_or(0, |der| der.len() as u64)),
            ReplyBody::Other(body) => body.size_hint(),
        }
    }
}

/// What is asked of a reply.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    /// By GET or HEAD, with these headers: the reply may be kept by others (conformance: H9).
    Kept {
        /// Whether it is HEAD.
        is_head: bool,
        /// The request's.
        headers: &'a HeaderMap,
    },
    /// By POST.
    Posted,
}

impl<'a> Asked<'a> {
    pub(super) fn by(method: &Method, headers: &'a HeaderMap) -> Self {
        if *method == Method::POST { Asked::Posted } else { Asked::Kept { is_head: *method == Method::HEAD, headers } }
    }
}

/// The reply with an answer that is kept.
pub(super) fn again(asked: &Asked<'_>, kept: &CachedAnswer, now: Timestamp) -> Response<ReplyBody> {
    let keep = Some((&kept.content.headers, kept.max_age(now)));
    reply(asked, &kept.content.der, keep, now)
}

/// The reply with any answer.
pub(super) fn with(asked: &Asked<'_>, answer: &Answer, now: Timestamp) -> Response<ReplyBody> {
    if let Some(kept) = &answer.kept {
        return again(asked, kept, now);
    }
    let keep = answer.cacheability.as_ref().map(|keep| {
        let headers = CachingHeaders::new(&answer.der, keep.this_update, keep.next_update);
        (headers, keep.max_age.min(keep.next_update.since(now)))
    });
    reply(asked, &answer.der, keep.as_ref().map(|(headers, max_age)| (headers, *max_age)), now)
}

fn reply(
    asked: &Asked<'_>,
    der: &Bytes,
    keep: Option<(&CachingHeaders, std::time::Duration)>,
    now: Timestamp,
) -> Response<ReplyBody> {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(DATE, http_date(now));
    let mut body = Some(der.clone());
    let length = keep.map(|(known, _)| known.content_length.clone());
    match (asked, keep) {
        (Asked::Kept { is_head, headers: asked }, Some((known, max_age))) => {
            headers.insert(LAST_MODIFIED, known.last_modified.clone());
            headers.insert(EXPIRES, known.expires.clone());
            headers.insert(CACHE_CONTROL, cache_control(max_age));
            headers.insert(ETAG, known.etag.clone());
            if is_known(asked, known.etag()) {
                return response(StatusCode::NOT_MODIFIED, headers, None);
            }
            body = body.filter(|_| !is_head);
        }
        (asked, _) => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            body = body.filter(|_| !matches!(asked, Asked::Kept { is_head: true, .. }));
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/ocsp-response"));
    headers.insert(CONTENT_LENGTH, length.unwrap_or_else(|| HeaderValue::from(der.len())));
    response(StatusCode::OK, headers, body)
}

/// A reply that carries no answer.
pub(super) fn refusal(status: StatusCode) -> Response<ReplyBody> {
    let mut headers = HeaderMap::new();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    response(status, headers, None)
}

fn response(status: StatusCode, headers: HeaderMap, body: Option<Bytes>) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Answer(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
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
