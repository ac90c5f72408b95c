//! OCSP over HTTP (RFC 6960 A.1, RFC 9919 5, RFC 9110, RFC 9111).
//!
//! [`OcspService`] answers below one path, and requests that carry base64 right at the root. It looks at the request
//! target as it came: nothing merges its slashes or decodes it before ([`path`]).
//!
//! A POST of any content type is read (conformance: H6, lenient): the body is an OCSP request or it is not, whatever it
//! is called.

pub(crate) mod caching;
pub mod path;
mod reply;
mod service;

pub use reply::ReplyBody;
pub use service::{Answering, OcspService};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use pki::Timestamp;
use tokio::sync::Semaphore;

use self::reply::Asked;
use crate::responder::{Answer, Prepared, Responder, Signing};

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

/// An answer whose signature belongs on another thread.
struct Unsigned {
    signing: Box<Signing>,
    now: Timestamp,
}

impl HttpState {
    fn prefix(&self) -> &str {
        self.options.prefix.trim_end_matches('/')
    }

    /// Answers a GET whose path begins with `prefix` octets that are not its base64.
    fn answer_path(&self, asked: &Asked<'_>, path: &str, prefix: usize) -> Result<Response<ReplyBody>, Unsigned> {
        let now = (self.clock)();
        if let Some(kept) = self.responder.given_before(path.as_bytes(), now) {
            return Ok(reply::again(asked, &kept, now));
        }
        if path.len() > self.options.max_path_bytes {
            return Ok(self.refuse(StatusCode::URI_TOO_LONG));
        }
        // What is no base64 is no request either: the empty one is answered with malformedRequest (conformance: H8).
        let der = path.get(prefix..).and_then(path::decode).unwrap_or_default();
        self.answer(asked, path.as_bytes(), &der.into(), now)
    }

    /// Answers the body of a POST.
    fn answer_body(&self, der: &Bytes) -> Result<Response<ReplyBody>, Unsigned> {
        let now = (self.clock)();
        if let Some(kept) = self.responder.given_before(der, now) {
            return Ok(reply::again(&Asked::Posted, &kept, now));
        }
        self.answer(&Asked::Posted, der, der, now)
    }

    fn answer(
        &self,
        asked: &Asked<'_>,
        spelling: &[u8],
        request: &Bytes,
        mut now: Timestamp,
    ) -> Result<Response<ReplyBody>, Unsigned> {
        let responder = &self.responder;
        let mut prepared = responder.prepare(request, now);
        if matches!(prepared, Prepared::ClockBehind) {
            now = (self.clock)();
            prepared = responder.prepare(request, now);
        }
        let answer = match prepared {
            Prepared::Ready(answer) => answer,
            Prepared::ClockBehind => responder.refuse_clock(),
            Prepared::Sign(signing) if signing.is_blocking() => return Err(Unsigned { signing, now }),
            Prepared::Sign(signing) => responder.finish(*signing),
        };
        Ok(self.reply(asked, spelling, &answer, now))
    }

    /// Signs on another thread, if there is a place and it does not take too long; also the time of the answer.
    // conformance: O26
    async fn sign(&self, unsigned: Unsigned) -> (Answer, Timestamp) {
        let Unsigned { signing, now } = unsigned;
        let Ok(place) = Arc::clone(&self.blocking).try_acquire_owned() else {
            return (self.responder.refuse_busy(), now);
        };
        let responder = Arc::clone(&self.responder);
        let work = tokio::task::spawn_blocking(move || {
            let answer = responder.finish(*signing);
            drop(place);
            answer
        });
        match tokio::time::timeout(self.options.signing_timeout, work).await {
            // That took a while, and what may be kept until when is counted from here (conformance: H9).
            Ok(Ok(answer)) => (answer, (self.clock)()),
            Ok(Err(_)) | Err(_) => (self.responder.refuse_busy(), now),
        }
    }

    /// The reply with an answer, which is given again when the same octets come again.
    fn reply(&self, asked: &Asked<'_>, spelling: &[u8], answer: &Answer, now: Timestamp) -> Response<ReplyBody> {
        self.responder.spell(spelling, answer);
        reply::with(asked, answer, now)
    }

    fn refuse(&self, status: StatusCode) -> Response<ReplyBody> {
        self.responder.metrics().http_refused.add_one();
        reply::refusal(status)
    }

    fn is_announced_too_long(&self, headers: &HeaderMap) -> bool {
        let limit = self.responder.limits().max_request_bytes;
        let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        announced.is_some_and(|announced: u64| announced > limit as u64)
    }
}
