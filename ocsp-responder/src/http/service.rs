//! The responder as a service of hyper, in front of whatever else a door serves.
//!
//! A request that was answered before is recognised by its path or its body as it came, and answered out of the cache
//! before anything is decoded or allocated on its behalf. A body that is there in one piece is not copied. What takes
//! longer goes on in a future of its own: a body that is still coming, a signature on another thread.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body as RouterBody;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::service::Service;
use tower::Service as _;

use super::HttpState;
use super::reply::{Asked, ReplyBody};

type Reply = Response<ReplyBody>;
type Later = Pin<Box<dyn Future<Output = Reply> + Send>>;
type BoxError = Box<dyn StdError + Send + Sync>;

/// Answers OCSP requests below a path and at the root, and passes all others on.
///
/// Below the path are GETs and POSTs as [`HttpOptions::prefix`] says. At the root are a POST to `/`, and GETs whose path
/// begins with the `M` with which the base64 of every request does: `http://host/MF…` and `http://host//MF…`
/// (conformance: H3). What nobody answers is 404.
///
/// [`HttpOptions::prefix`]: super::HttpOptions::prefix
#[derive(Clone)]
pub struct OcspService {
    state: Arc<HttpState>,
    others: Router,
}

impl OcspService {
    /// Puts a responder in front of `others`.
    pub fn new(state: Arc<HttpState>, others: Router) -> Self {
        OcspService { state, others }
    }

    /// How much of a path comes before the base64; `None` if the path is none of the responder's.
    fn prefix_of(&self, method: &Method, path: &str) -> Option<usize> {
        let prefix = self.state.prefix();
        if let Some(rest) = path.strip_prefix(prefix)
            && !prefix.is_empty()
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return Some(prefix.len());
        }
        let rest = path.trim_start_matches('/');
        let is_root = match *method {
            // The base64 of every OCSPRequest begins with the M of 0x30.
            Method::GET | Method::HEAD => rest.starts_with('M') || prefix.is_empty(),
            _ => rest.is_empty() || prefix.is_empty(),
        };
        is_root.then_some(0)
    }
}

impl<B> Service<Request<B>> for OcspService
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = Answering<B>;

    fn call(&self, request: Request<B>) -> Answering<B> {
        let path = request.uri().path();
        let Some(prefix) = self.prefix_of(request.method(), path) else {
            let answer = self.others.clone().call(request.map(RouterBody::new));
            return Answering(Step::Later(Box::pin(async move {
                let Ok(reply) = answer.await;
                reply.map(ReplyBody::Other)
            })));
        };
        let state = &self.state;
        let asked = Asked::by(request.method(), request.headers());
        Answering(match *request.method() {
            Method::GET | Method::HEAD => match state.answer_path(&asked, path, prefix) {
                Ok(reply) => Step::Now(Some(reply)),
                Err(unsigned) => {
                    let (state, (parts, _)) = (Arc::clone(state), request.into_parts());
                    Step::Later(Box::pin(async move {
                        let (answer, now) = state.sign(unsigned).await;
                        let asked = Asked::by(&parts.method, &parts.headers);
                        state.reply(&asked, parts.uri.path().as_bytes(), &answer, now)
                    }))
                }
            },
            Method::POST if state.is_announced_too_long(request.headers()) => {
                Step::Now(Some(state.refuse(StatusCode::PAYLOAD_TOO_LARGE)))
            }
            Method::POST => Step::Read(Some((Arc::clone(state), request.into_body()))),
            _ => Step::Now(Some(state.refuse(StatusCode::METHOD_NOT_ALLOWED))),
        })
    }
}

/// A reply that is being made.
pub struct Answering<B>(Step<B>);

enum Step<B> {
    /// It is there.
    Now(Option<Reply>),
    /// The body of a POST comes first.
    Read(Option<(Arc<HttpState>, B)>),
    /// Something else comes first.
    Later(Later),
}

impl<B> Future for Answering<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Reply, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Step::Read(reading) = &mut self.0
            && let Some((state, body)) = reading.take()
        {
            self.0 = match read(state, body, cx) {
                Ok(reply) => Step::Now(Some(reply)),
                Err(later) => Step::Later(later),
            };
        }
        match &mut self.0 {
            Step::Later(later) => later.as_mut().poll(cx).map(Ok),
            Step::Now(reply) => reply.take().map_or(Poll::Pending, |reply| Poll::Ready(Ok(reply))),
            Step::Read(_) => Poll::Pending,
        }
    }
}

/// Answers a body that is there in one piece; waits for any other.
fn read<B>(state: Arc<HttpState>, mut body: B, cx: &mut Context<'_>) -> Result<Reply, Later>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let first = match Pin::new(&mut body).poll_frame(cx) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        Poll::Ready(Some(Err(_))) => return Ok(state.refuse(StatusCode::BAD_REQUEST)),
        Poll::Ready(None) => return answer(&state, Bytes::new()),
        Poll::Pending => Bytes::new(),
    };
    if body.is_end_stream() {
        return answer(&state, first);
    }
    Err(Box::pin(async move {
        match read_on(&state, first, body).await {
            Err(status) => state.refuse(status),
            Ok(der) => match answer(&state, der) {
                Ok(reply) => reply,
                Err(later) => later.await,
            },
        }
    }))
}

/// Reads the rest of a body, as much as it may have, for as long as it may take.
async fn read_on<B>(state: &HttpState, first: Bytes, rest: B) -> Result<Bytes, StatusCode>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let limit = state.responder.limits().max_request_bytes;
    let left = limit.checked_sub(first.len()).ok_or(StatusCode::PAYLOAD_TOO_LARGE)?;
    match tokio::time::timeout(state.options.body_timeout, Limited::new(rest, left).collect()).await {
        Err(_elapsed) => Err(StatusCode::REQUEST_TIMEOUT),
        Ok(Ok(rest)) if first.is_empty() => Ok(rest.to_bytes()),
        Ok(Ok(rest)) => Ok([first, rest.to_bytes()].concat().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
    }
}

/// Answers the body of a POST.
fn answer(state: &Arc<HttpState>, der: Bytes) -> Result<Reply, Later> {
    if der.len() > state.responder.limits().max_request_bytes {
        return Ok(state.refuse(StatusCode::PAYLOAD_TOO_LARGE));
    }
    state.answer_body(&der).map_err(|unsigned| -> Later {
        let state = Arc::clone(state);
        Box::pin(async move {
            let (answer, now) = state.sign(unsigned).await;
            state.reply(&Asked::Posted, &der, &answer, now)
        })
    })
}
