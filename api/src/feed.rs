//! The status feed over HTTP: what a responder asks and is told. All calls need a responder's client certificate.
//!
//! `GET /feed/tail` answers with a stream of frames (`pki::feed::frame`) that stays open, `GET
//! /feed/snapshot` with the statuses as a file; both are `application/octet-stream`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Base64;

/// Below [`PREFIX`](crate::PREFIX): whom a responder answers for.
pub const ISSUERS: &str = "/feed/issuers";
/// Below [`PREFIX`](crate::PREFIX): all statuses.
pub const SNAPSHOT: &str = "/feed/snapshot";
/// Below [`PREFIX`](crate::PREFIX): what is new, held open.
pub const TAIL: &str = "/feed/tail";
/// Below [`PREFIX`](crate::PREFIX): how far a responder answers by the feed.
pub const ACKNOWLEDGEMENTS: &str = "/feed/acknowledgements";
/// Below [`PREFIX`](crate::PREFIX): certificates of a responder's OCSP signers.
pub const SIGNERS: &str = "/feed/signers";

/// The media type of snapshot and tail.
pub const MEDIA_TYPE: &str = "application/octet-stream";

/// The name of the problem (409) that says that a follower is not where the feed is: it fetches a snapshot then.
pub const DIVERGED: &str = "feed-diverged";

/// Whom a responder answers for, and by which rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuersDocument {
    /// Whose feed it is: 64 hexadecimal digits that stay the same for as long as the deployment lives.
    pub origin: String,
    /// Changes with each change of the rest, and comes with each heartbeat of the feed: 64 hexadecimal digits.
    pub revision: String,
    /// What leads from the issuers to the root's keys: links and roots, DER, the root in force last.
    pub above: Vec<Base64>,
    /// The issuers.
    pub issuers: Vec<FeedIssuer>,
    /// How often the feed says that nothing is newer, in milliseconds.
    #[serde(rename = "heartbeat_ms", with = "millis")]
    #[schema(value_type = u64)]
    pub heartbeat: Duration,
    /// How long after the last heartbeat the statuses are reported as stale, in milliseconds.
    #[serde(rename = "stale_after_ms", with = "millis")]
    #[schema(value_type = u64)]
    pub stale_after: Duration,
    /// How answers name who signed them.
    #[serde(default)]
    pub responder_id: ResponderId,
    /// What is said of a serial number that was never issued.
    #[serde(default)]
    pub unknown_serial: UnknownSerial,
}

/// How answers name who signed them (RFC 6960 4.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResponderId {
    /// By the SHA-1 of its key.
    #[default]
    Key,
    /// By the subject of its certificate.
    Name,
}

/// What is said of a serial number that was never issued (RFC 6960 2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownSerial {
    /// `unknown`.
    #[default]
    Unknown,
    /// `revoked`, with extended-revoke.
    Revoked,
}

/// A CA key that is answered for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedIssuer {
    /// Name and key generation, such as `authentication-1`: what the feed's entries name.
    pub id: String,
    /// Its certificate, DER.
    pub certificate: Base64,
    /// The times of its answers.
    pub times: FeedIssuerTimes,
}

/// How long answers about an issuer's certificates may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedIssuerTimes {
    /// nextUpdate less thisUpdate, in milliseconds.
    #[serde(rename = "next_update_ms", with = "millis")]
    #[schema(value_type = u64)]
    pub next_update: Duration,
    /// nextUpdate, counted from the answer, of what will change soon, in milliseconds.
    #[serde(rename = "unsettled_next_update_ms", with = "millis")]
    #[schema(value_type = u64)]
    pub unsettled_next_update: Duration,
    /// The HTTP max-age, in milliseconds.
    #[serde(rename = "max_age_ms", with = "millis")]
    #[schema(value_type = u64)]
    pub max_age: Duration,
    /// How old the last heartbeat may be before nothing is answered, in milliseconds.
    #[serde(rename = "withhold_after_ms", with = "millis")]
    #[schema(value_type = u64)]
    pub withhold_after: Duration,
    /// How long the status of an expired certificate is kept, in milliseconds.
    #[serde(rename = "retention_ms", with = "millis")]
    #[schema(value_type = u64)]
    pub retention: Duration,
}

/// Where a follower is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TailQuery {
    /// The feed's epoch.
    pub epoch: u64,
    /// The number of the newest entry that it has.
    pub after: u64,
    /// The SHA-256 of that entry's octets in hex; zeros before the first.
    pub mark: String,
}

impl TailQuery {
    /// The path with its query, to be put after [`PREFIX`](crate::PREFIX).
    pub fn path(&self) -> String {
        format!("{TAIL}?epoch={}&after={}&mark={}", self.epoch, self.after, self.mark)
    }
}

/// How far a responder answers by the feed, and has it on its disk. Of several that are under way, the newest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The feed's epoch.
    pub epoch: u64,
    /// The number of the newest entry.
    pub sequence: u64,
}

/// A certificate for an OCSP signer is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignerRequest {
    /// The issuer's id.
    pub issuer: String,
    /// A PKCS#10 request, DER; its subject does not matter.
    pub request: Base64,
}

/// An OCSP signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignerReply {
    /// Its certificate, DER, signed by the issuer itself.
    pub certificate: Base64,
    /// When its successor should be asked for (RFC 3339): before half its life is over.
    pub replace_at: String,
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
