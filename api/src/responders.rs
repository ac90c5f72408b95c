//! Responders: enrolment and renewal by themselves; codes, list and expulsion on the server's own machine.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Base64;

/// Below [`PREFIX`](crate::PREFIX): a responder enrols itself. Needs no client certificate.
pub const ENROLMENTS: &str = "/responder-enrolments";
/// Below [`PREFIX`](crate::PREFIX): a responder renews its client certificate.
pub const CERTIFICATE: &str = "/responders/certificate";
/// The problem that an expelled responder is answered with. It ceases to answer at once.
pub const EXPELLED: &str = "responder-expelled";
/// The problem for a responder's client certificate that is revoked, while the responder is not expelled: another
/// certificate is in its place. Whoever has this one ceases to answer at once.
pub const REVOKED: &str = "responder-certificate-revoked";

/// Where a responder keeps the keys that sign its answers. The CA's operator says it, since the life of their
/// certificates depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignerKeys {
    /// In its memory: certified for a day at most.
    #[default]
    Memory,
    /// In a PKCS#11 token: certified for a week at most.
    Token,
}

impl fmt::Display for SignerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SignerKeys::Memory => "memory",
            SignerKeys::Token => "token",
        })
    }
}

/// No such place for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a responder's signer keys are in `memory` or in a `token`")]
pub struct InvalidSignerKeys;

impl FromStr for SignerKeys {
    type Err = InvalidSignerKeys;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "memory" => Ok(SignerKeys::Memory),
            "token" => Ok(SignerKeys::Token),
            _ => Err(InvalidSignerKeys),
        }
    }
}

/// A responder enrols itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponderEnrolmentRequest {
    /// The name that the code was made for.
    pub name: String,
    /// The secret part of the code.
    pub secret: Base64,
    /// A PKCS#10 request, DER.
    pub request: Base64,
}

/// An enrolled responder.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ResponderEnrolmentReply {
    /// Its client certificate, DER.
    pub certificate: Base64,
    /// The certificate of its issuer, then what leads from there to the root, DER, the root in force last.
    pub chain: Vec<Base64>,
    /// The deployment's name.
    pub deployment: String,
    /// Whose feed it follows, in hex; see [`IssuersDocument::origin`](crate::feed::IssuersDocument::origin).
    pub origin: String,
    /// Where its signer keys have to be.
    pub signer_keys: SignerKeys,
}

/// A responder renews its client certificate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponderRenewalRequest {
    /// A PKCS#10 request of a new key, DER.
    pub request: Base64,
}

/// A new client certificate. The one before it stays good until this one is first used.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ResponderRenewalReply {
    /// The certificate, DER.
    pub certificate: Base64,
    /// As in [`ResponderEnrolmentReply::chain`].
    pub chain: Vec<Base64>,
}

/// A code for a responder is wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponderCodeRequest {
    /// The responder's name: a DNS name.
    pub name: String,
    /// Where its signer keys will be.
    #[serde(default)]
    pub signer_keys: SignerKeys,
}

/// A responder is to be expelled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponderExpulsionRequest {
    /// Its name.
    pub name: String,
    /// Whether its keys are in other hands: what is revoked then is revoked for keyCompromise.
    #[serde(default)]
    pub compromised: bool,
    /// Whether to do it; otherwise it is only said what would be done.
    #[serde(default)]
    pub really: bool,
}

/// What an expulsion revokes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResponderExpulsionReply {
    /// The responder's name.
    pub name: String,
    /// Whether it was done.
    pub done: bool,
    /// Its client certificates and its OCSP signers, as `ISSUER/SERIAL`.
    pub certificates: Vec<String>,
    /// How many of its connections to the feed are cut off.
    pub connections: u32,
}

/// A responder as the service knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResponderView {
    /// Its name; `own` is the one inside the service.
    pub name: String,
    /// Where its signer keys are.
    pub signer_keys: SignerKeys,
    /// Since when it is enrolled; absent for the own one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_at: Option<String>,
    /// Since when it is expelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expelled_at: Option<String>,
    /// When its client certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<String>,
    /// Whether it follows the feed now.
    pub connected: bool,
    /// The newest entry by which it answers, as far as it said so since the service started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<u64>,
    /// How many entries it is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_entries: Option<u64>,
    /// How long the oldest entry that it has not acknowledged has been in the feed, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// Its OCSP signers that are good, as `ISSUER until TIME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
}
