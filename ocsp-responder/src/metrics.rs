//! What is counted. Plain atomics: whoever runs the responder exports them in its own format.

use std::sync::atomic::{AtomicU64, Ordering};

use pki::ocsp::ErrorStatus;

use crate::responder::AnswerKind;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Answers `good`.
    pub good: Counter,
    /// Answers `revoked`, holds among them.
    pub revoked: Counter,
    /// Answers about serial numbers that are not known.
    pub unknown: Counter,
    /// Answers about several certificates at once.
    pub several: Counter,
    /// `malformedRequest`.
    pub malformed_request: Counter,
    /// `internalError`.
    pub internal_error: Counter,
    /// `tryLater`.
    pub try_later: Counter,
    /// `unauthorized`.
    pub unauthorized: Counter,
    /// Answers taken from the cache.
    pub cache_hits: Counter,
    /// Answers that were signed.
    pub signed: Counter,
    /// Answers dropped because the status changed while they were signed.
    pub overtaken: Counter,
    /// Answers withheld since the statuses are too old (conformance: O6).
    pub withheld: Counter,
    /// Signatures that failed, a busy signer's among them.
    pub signing_failures: Counter,
    /// Signed answers that did not verify, and were not sent (conformance: O29).
    pub verification_failures: Counter,
    /// Requests refused by HTTP alone: wrong method, too long, too slow.
    pub http_refused: Counter,
}

impl Metrics {
    pub(crate) fn count(&self, kind: AnswerKind) {
        match kind {
            AnswerKind::Good => &self.good,
            AnswerKind::Revoked => &self.revoked,
            AnswerKind::Unknown => &self.unknown,
            AnswerKind::Several => &self.several,
            AnswerKind::Error(ErrorStatus::MalformedRequest) => &self.malformed_request,
            AnswerKind::Error(ErrorStatus::TryLater) => &self.try_later,
            AnswerKind::Error(ErrorStatus::Unauthorized) => &self.unauthorized,
            AnswerKind::Error(ErrorStatus::InternalError | ErrorStatus::SigRequired) => &self.internal_error,
        }
        .add_one();
    }
}
