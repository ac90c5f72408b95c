//! Cards, issuances and certificates.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Base64;

/// A card is set aside for a person.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllocationRequest {
    /// The chip's serial number.
    pub serial: String,
    /// The product series, as the chip reports it.
    pub series: String,
    /// The holder's user id.
    pub holder: String,
}

/// A certificate, shortly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateView {
    /// The issuer's id, such as `authentication-1`.
    pub issuer: String,
    /// The serial number, in hex.
    pub serial: String,
    /// The profile's name.
    pub profile: String,
    /// `reserved`, `pending`, `good`, `on_hold`, `revoked` or `void`.
    pub state: String,
    /// Why it is revoked (RFC 5280 5.3.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// notBefore.
    pub not_before: String,
    /// notAfter.
    pub not_after: String,
    /// What the request asked for and did not get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// The certificate, DER, once it is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Base64>,
}

/// A card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CardView {
    /// The chip's serial number.
    pub serial: String,
    /// The product series.
    pub series: String,
    /// The holder's user id.
    pub holder: String,
    /// `allocated`, `personalised`, `active`, `suspended` or `cancelled`.
    pub state: String,
    /// Why it is on hold: every reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<String>,
    /// Why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The issuance that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuance: Option<String>,
    /// Every certificate that was ever on it, the newest first.
    pub certificates: Vec<CertificateView>,
}

/// The first pair on a card, or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IssuanceKind {
    /// The first certificates of an allocated card.
    Issue,
    /// New keys and certificates on an active card.
    Renew,
}

/// Two certification requests, one for each key of a card.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuanceRequest {
    /// The first pair, or a later one.
    pub kind: IssuanceKind,
    /// For the authentication key: PKCS#10, DER or PEM.
    pub authentication: Base64,
    /// For the signing key: PKCS#10, DER or PEM.
    pub signing: Base64,
    /// With `renew`: the renewal statement, signed by the authentication key that is in use on the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possession: Option<Base64>,
}

/// An issuance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuanceView {
    /// Its id.
    pub id: String,
    /// The card.
    pub card: String,
    /// The holder's user id.
    pub person: String,
    /// The first pair, or a later one.
    pub kind: IssuanceKind,
    /// `reserved`, `pending`, `confirmed` or `undone`.
    pub state: String,
    /// What the confirmation signs.
    pub nonce: Base64,
    /// When it is undone unless it was confirmed.
    pub confirm_by: String,
    /// The authentication certificate.
    pub authentication: CertificateView,
    /// The signing certificate.
    pub signing: CertificateView,
}

/// Both certificates were read back from the card.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmationRequest {
    /// The confirmation statement, signed by the new authentication key.
    pub authentication: Base64,
    /// The confirmation statement, signed by the new signing key.
    pub signing: Base64,
}

/// A card goes on hold, or comes off it, for this reason.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// `reported_lost`, `person_suspended`, `investigation` or `holder_request`.
    pub reason: String,
}

/// A card's life ends.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// `lost`, `stolen`, `damaged`, `superseded`, `left` or `misuse`.
    pub cause: String,
    /// Since when the key is thought to have been in other hands (with `stolen`); now, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromised_since: Option<String>,
}

/// A changed card, and who knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CardStatusReply {
    /// The card.
    pub card: CardView,
    /// Where the change stands in the status feed, and who has seen it.
    pub published: Publication,
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Publication {
    /// Its number in the status feed.
    pub sequence: u64,
    /// How many responders answer by it already.
    pub seen_by: u32,
    /// How many responders there are: those that are enrolled, and the one inside the service.
    pub responders: u32,
    /// How many of them follow the feed at this time; the reply waits a moment for these.
    #[serde(default)]
    pub connected: u32,
}
