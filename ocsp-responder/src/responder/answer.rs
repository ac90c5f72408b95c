//! What can be chosen about answers, and what an answer is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pki::Timestamp;
use pki::ocsp::{CertStatus, ErrorStatus, OcspLimits, ResponderIdForm, UnknownAnswer};

use crate::cache::CachedAnswer;

/// What is the same in all answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AnswerRules {
    /// How the signer is named.
    pub responder_id: ResponderIdForm,
    /// What is said of serial numbers that were never issued.
    pub unknown: UnknownAnswer,
}

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct ResponderOptions {
    /// What a request may cost.
    pub limits: OcspLimits,
    /// What is the same in all answers.
    pub rules: AnswerRules,
    /// After how long without a heartbeat the statuses count as stale.
    pub stale_after: Duration,
    /// How many answers are kept to be given again; 0 keeps none.
    pub cached_answers: usize,
    /// How many octets those answers may take, with all that is needed to find them.
    pub cached_octets: usize,
    /// The producedAt of the last answer of an earlier run, if it is known (conformance: O24).
    pub last_produced_at: Option<Timestamp>,
}

impl Default for ResponderOptions {
    fn default() -> Self {
        ResponderOptions {
            limits: OcspLimits::default(),
            rules: AnswerRules::default(),
            stale_after: Duration::from_secs(5),
            cached_answers: 200_000,
            cached_octets: 512 << 20,
            last_produced_at: None,
        }
    }
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// One certificate, good.
    Good,
    /// One certificate, revoked or on hold.
    Revoked,
    /// One certificate, not known.
    Unknown,
    /// Several certificates.
    Several,
    /// An OCSP error.
    Error(ErrorStatus),
}

impl From<CertStatus> for AnswerKind {
    fn from(status: CertStatus) -> Self {
        match status {
            CertStatus::Good => AnswerKind::Good,
            CertStatus::Revoked { .. } => AnswerKind::Revoked,
            CertStatus::Unknown => AnswerKind::Unknown,
        }
    }
}

/// How an answer may be kept by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cacheability {
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// For how long, from the `now` of the question, a cache may use it: no longer than nextUpdate (conformance: H9).
    pub max_age: Duration,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The DER `OCSPResponse`.
    pub der: Bytes,
    /// What it says.
    pub kind: AnswerKind,
    /// How it may be kept; `None` for errors, answers to a nonce and answers about several certificates.
    pub cacheability: Option<Cacheability>,
    /// It itself, if it is kept and may be given again to whoever sends the same octets.
    pub(crate) kept: Option<Arc<CachedAnswer>>,
}

impl Answer {
    pub(crate) fn error(status: ErrorStatus) -> Self {
        Answer {
            der: Bytes::copy_from_slice(&status.response_der()),
            kind: AnswerKind::Error(status),
            cacheability: None,
            kept: None,
        }
    }
}
