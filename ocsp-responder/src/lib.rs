//! The OCSP responder as a library: it answers from a replica of the status feed, and asks nobody while it answers.
//!
//! * [`replica`]: what is known of each certificate, and how old that knowledge is;
//! * [`snapshot`]: all of that as one file, for a quick start, and [`newer`], by which the next one is made of the last;
//! * [`signer`]: the keys that sign, which may be replaced at any time;
//! * [`responder`]: from a request to an answer, which may be given again;
//! * [`http`]: GET and POST, by RFC 9919 and RFC 9110;
//! * [`door`]: connections, and what a client may cost before and while it is answered;
//! * [`metrics`]: what is counted, and [`exposition`], how it is shown;
//! * [`node`]: the responder as a process of its own.
//!
//! It knows no database, no CA key and no clock: statuses come in by [`Responder::apply`], [`Responder::heartbeat`] and
//! [`Responder::load_snapshot`], the time by an argument or, in [`http`], by a function. How the feed is transported,
//! and where signers' keys come from, is the business of whoever runs it.
//!
//! Choices where conformance.md leaves one: an unknown serial number is `unknown` (or, by configuration, `revoked` with
//! extended-revoke; O4); SHA-384 and SHA-512 are answered (O8); POSTs of any content type are read (H6); statuses
//! withheld for age, a lost or busy signer and a clock that went back give `tryLater` (O6, O24, O26).

mod cache;
pub mod door;
mod error;
pub mod exposition;
pub mod http;
pub mod issuer;
pub mod metrics;
pub mod newer;
pub mod node;
mod notice;
pub mod replica;
pub mod responder;
pub mod signer;
pub mod snapshot;

pub use error::Error;
pub use issuer::{IssuerPolicy, ResponderIssuer};
pub use metrics::Metrics;
pub use replica::{Filling, Freshness, Replica};
pub use responder::{Answer, AnswerKind, AnswerRules, Cacheability, Responder, ResponderOptions};
pub use signer::IssuerSigner;
