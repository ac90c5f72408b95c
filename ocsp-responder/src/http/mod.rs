//! OCSP over HTTP (RFC 6960 A.1, RFC 9919 5, RFC 9110, RFC 9111).
//!
//! [`router`] answers below one path, [`at_root`] requests that carry base64 right at the root. Both look at the request
//! target as it came: nothing merges its slashes or decodes it before ([`path`]).
//!
//! A POST of any content type is read (conformance: H6, lenient): the body is an OCSP request or it is not, whatever it
//! is called.

pub mod path;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use pki::Timestamp;
use tokio::sync::Semaphore;

use crate::responder::{Answer, Prepared, Responder};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The path before the base64 of a GET, without a slash at its end.
    pub prefix: String,
    /// The longest path of a GET, in octets; longer ones get 414 (conformance: H4).
    pub max_path_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a signature on a thread of its own may take; then the answer is `tryLater` (conformance: O26).
    pub signing_timeout: Duration,
    /// How many signatures on threads of their own may be under way; one more gets `tryLater` at once (conformance: O26).
    pub max_blocking: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            prefix: "/ocsp".to_owned(),
            max_path_bytes: 8 * 1024,
            body_timeout: Duration::from_secs(5),
            signing_timeout: Duration::from_secs(2),
            max_blocking: 64,
        }
    }
}

/// A responder with its clock and limits, as it is shared by all requests.
pub struct HttpState {
    responder: Arc<Responder>,
    clock: Clock,
    options: HttpOptions,
    blocking: Arc<Semaphore>,
}

impl HttpState {
    /// Puts them together.
    pub fn new(responder: Arc<Responder>, clock: Clock, options: HttpOptions) -> Arc<Self> {
        Arc::new(HttpState { responder, clock, blocking: Arc::new(Semaphore::new(options.max_blocking)), options })
    }

    /// The responder.
    pub fn responder(&self) -> &Arc<Responder> {
        &self.responder
    }
}

/// Answers `PREFIX`, and everything below it.
pub fn router(state: Arc<HttpState>) -> Router {
    let prefix = state.options.prefix.trim_end_matches('/').to_owned();
    let handler = any(below_prefix);
    let router = Router::new();
    let router = if prefix.is_empty() { router } else { router.route(&prefix, handler.clone()) };
    router
        .route(&format!("{prefix}/"), handler.clone())
        .route(&format!("{prefix}/{{*request}}"), handler)
        .with_state(state)
}

async fn below_prefix(State(state): State<Arc<HttpState>>, request: Request) -> Response {
    respond(&state, request).await
}

/// Answers one request whose path begins with the prefix: what [`router`] does, for servers that put it in front of
/// their own.
pub async fn respond(state: &Arc<HttpState>, request: Request) -> Response {
    let prefix = state.options.prefix.trim_end_matches('/').len();
    respond_after(state, request, prefix).await
}

/// Answers requests to the root itself, `http://host/MF…` and `http://host//MF…` (conformance: H3): to be used as a
/// router's fallback. What cannot be one is 404.
pub async fn at_root(State(state): State<Arc<HttpState>>, request: Request) -> Response {
    let path = request.uri().path();
    let is_one = match *request.method() {
        // The base64 of every OCSPRequest begins with the M of 0x30.
        Method::GET | Method::HEAD => path.trim_start_matches('/').starts_with('M'),
        _ => path.trim_start_matches('/').is_empty(),
    };
    if is_one { respond_after(&state, request, 0).await } else { reply::refusal(StatusCode::NOT_FOUND) }
}

/// Answers one HTTP request whose path begins with `prefix` octets that are not its base64.
async fn respond_after(state: &Arc<HttpState>, request: Request, prefix: usize) -> Response {
    let (parts, body) = request.into_parts();
    let asked = match parts.method {
        Method::GET | Method::HEAD => from_path(state, parts.uri.path(), prefix),
        Method::POST => from_body(state, &parts.headers, body).await,
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(status) => {
            state.responder.metrics().http_refused.add_one();
            return reply::refusal(status);
        }
    };
    let (answer, now) = answer(state, asked).await;
    reply::reply(&parts.method, &parts.headers, answer, now)
}

fn from_path(state: &HttpState, path: &str, prefix: usize) -> Result<Bytes, StatusCode> {
    if path.len() > state.options.max_path_bytes {
        return Err(StatusCode::URI_TOO_LONG);
    }
    // What is no base64 is no request either: the empty one is answered with malformedRequest (conformance: H8).
    Ok(path.get(prefix..).and_then(path::decode).unwrap_or_default().into())
}

async fn from_body(state: &HttpState, headers: &HeaderMap, body: Body) -> Result<Bytes, StatusCode> {
    let limit = state.responder.limits().max_request_bytes;
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|announced: u64| announced > limit as u64) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let collected = tokio::time::timeout(state.options.body_timeout, Limited::new(body, limit).collect());
    match collected.await {
        Err(_elapsed) => Err(StatusCode::REQUEST_TIMEOUT),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
    }
}

/// Answers, with the signature on another thread if it may take a while; also the time that it was answered at.
async fn answer(state: &Arc<HttpState>, request: Bytes) -> (Answer, Timestamp) {
    let responder = &state.responder;
    let mut now = (state.clock)();
    let mut prepared = responder.prepare(&request, now);
    if matches!(prepared, Prepared::ClockBehind) {
        now = (state.clock)();
        prepared = responder.prepare(&request, now);
    }
    let answer = match prepared {
        Prepared::Ready(answer) => answer,
        Prepared::ClockBehind => responder.refuse_clock(),
        Prepared::Sign(signing) if !signing.is_blocking() => responder.finish(*signing),
        Prepared::Sign(signing) => match state.blocking.clone().try_acquire_owned() {
            Err(_) => responder.refuse_busy(),
            Ok(permit) => {
                let responder = responder.clone();
                let work = tokio::task::spawn_blocking(move || {
                    let answer = responder.finish(*signing);
                    drop(permit);
                    answer
                });
                match tokio::time::timeout(state.options.signing_timeout, work).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) | Err(_) => state.responder.refuse_busy(),
                }
            }
        },
    };
    (answer, now)
}
