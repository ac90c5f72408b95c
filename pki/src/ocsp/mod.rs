//! OCSP messages: requests, answers and the delegates that sign them (RFC 6960, RFC 9919, RFC 9654).
//!
//! * [`cert_id`]: which certificate is asked about, and whether an issuer here is meant;
//! * [`request`]: reading (bounded) and writing of requests;
//! * [`response`]: building of answers, in two steps, so that the signature may be made anywhere;
//! * [`delegate`]: the certificate of a delegated signer;
//! * [`client`]: what a relying system does with an answer.
//!
//! What to answer, and how often, is the responder's affair.

pub mod cert_id;
pub mod client;
pub mod delegate;
mod encoding;
mod plain;
pub mod request;
pub mod response;

pub use cert_id::{CertId, CertIdHash, HashAlgorithm, IssuerHashes, IssuerMatch};
pub use client::{Expected, ResponseError, VerifiedStatus, verify_response, verify_response_by};
pub use delegate::{DelegateCertificate, DelegateError};
pub use request::{Nonce, OcspLimits, OcspRequest, RequestError, build_request};
pub use response::{
    CertStatus, ErrorStatus, PreparedResponse, ResponderId, ResponderIdForm, ResponseContent, ResponseTemplate,
    SingleResponse, UnknownAnswer, prepare_response,
};
