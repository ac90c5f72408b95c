//! What is done on the server's own machine, through its socket.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::responders::ResponderView;

/// A code for a station.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StationCodeRequest {
    /// The station's name: a DNS name.
    pub name: String,
    /// ODS code of its organisation.
    pub organisation: String,
}

/// A code that was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CodeReply {
    /// The code, shown once.
    pub code: String,
    /// When it runs out.
    pub expires: String,
}

/// One of the first operators.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorRequest {
    /// Given name.
    pub given_name: String,
    /// Family name.
    pub family_name: String,
    /// ODS code of the organisation.
    pub organisation: String,
    /// The role, such as `ra_manager`.
    pub role: String,
    /// The two people who vouch for the identity.
    pub witnesses: Vec<String>,
    /// The version of the terms that the operator accepted.
    pub terms_version: String,
}

/// An operator who was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OperatorReply {
    /// The user id.
    pub user_id: String,
    /// The code by which a station issues the first card; shown once.
    pub code: String,
    /// When it runs out.
    pub expires: String,
}

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganisationRequest {
    /// The ODS code.
    pub code: String,
    /// Its name.
    pub name: String,
    /// ODS code of the organisation above it; none for the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// A key and certificate of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuerStatus {
    /// Name and key generation, such as `authentication-1`.
    pub id: String,
    /// `published`, `active`, `status_only`, `retired`; the root that certifies CAs is `offline`.
    pub state: String,
    /// The subject of its certificate.
    pub subject: String,
    /// The kind of its key.
    pub key_type: String,
    /// Where its private key is: token and label.
    pub key: String,
    /// Since when.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// The number of its newest CRL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_number: Option<u64>,
    /// nextUpdate of its newest CRL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_next_update: Option<String>,
    /// When its OCSP signer's certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_signer_not_after: Option<String>,
}

/// A key, certificate, CRL or PIN of the service: where, since when, until when, what comes next, who must act.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyStatus {
    /// What it is, such as `CA key authentication-1`.
    pub what: String,
    /// Where it is.
    pub place: String,
    /// Where it stands.
    pub state: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Until when it is good; nothing where it does not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What comes next, by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When that comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// What a person has to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    /// By when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act_by: Option<String>,
}

/// How the service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusReply {
    /// The deployment's name.
    pub deployment: String,
    /// The version of the software.
    pub version: String,
    /// Whether it can do its work.
    pub ready: bool,
    /// What keeps it from that, in words.
    pub problems: Vec<String>,
    /// What a person must see to before it becomes a problem, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The feed's epoch.
    pub feed_epoch: u64,
    /// The number of the newest entry of the feed.
    pub feed_sequence: u64,
    /// How many audit records there are.
    pub audit_records: u64,
    /// When the certificate of the API door ends.
    pub tls_not_after: String,
    /// The issuers.
    pub issuers: Vec<IssuerStatus>,
    /// Each key, certificate, CRL and PIN.
    pub keys: Vec<KeyStatus>,
    /// The OCSP responders: that inside the service, and those that are enrolled.
    #[serde(default)]
    pub responders: Vec<ResponderView>,
    /// The version of the certificate profiles.
    pub profiles_version: String,
    /// The version of the policy.
    pub policy_version: String,
}

/// A backup is wanted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Where to: an absolute path on the server's machine; the file must not exist.
    pub path: String,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupReply {
    /// Where.
    pub path: String,
    /// How many bytes.
    pub bytes: u64,
    /// How many rows.
    pub rows: u64,
    /// The feed's epoch.
    pub feed_epoch: u64,
    /// The feed's sequence.
    pub feed_sequence: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

/// CRLs that are to be made now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CrlRequest {
    /// The CA's name, for all its keys, or an issuer's id; all issuing CAs if it is absent.
    pub name: Option<String>,
    /// Delta CRLs only.
    pub delta: bool,
}

/// CRLs that were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrlReply {
    /// Each.
    pub crls: Vec<CrlStatus>,
}

/// A CRL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrlStatus {
    /// The issuer's id.
    pub issuer: String,
    /// Which of its CRLs: `full`, `delta`, `shard 3`, `delta of shard 3`.
    pub kind: String,
    /// cRLNumber.
    pub number: u64,
    /// How many entries.
    pub entries: u64,
    /// nextUpdate.
    pub next_update: String,
}

/// One audit record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// Its number.
    pub index: u64,
    /// When.
    pub time: String,
    /// Who.
    pub actor: String,
    /// What.
    pub operation: String,
    /// To what, as `kind id`.
    pub targets: Vec<String>,
    /// `intent`, `done`, `refused: RULE` or `failed: CAUSE`.
    pub outcome: String,
    /// Further facts.
    pub facts: std::collections::BTreeMap<String, String>,
    /// The act that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
}
