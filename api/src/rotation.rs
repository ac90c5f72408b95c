//! Rotations of keys, and the work that only the root's token can do: spoken over the admin socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Base64;

/// A rotation is wanted, or its plan.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationRequest {
    /// `issuing-ca`, `root`, `ocsp-signer`, `tls`, `token-pin` or `data-key`.
    pub kind: String,
    /// Which one: the CA's name, or the token's; nothing where there is one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The names of the people who do it. A plan needs none; a CA's key takes two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<String>,
    /// How long the new key is published before it is active, such as `24h`; as configured when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
}

/// The names of the people who resume a rotation, or back out of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeopleRequest {
    /// The names.
    pub people: Vec<String>,
}

/// What a rotation would do. Nothing is done by asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationPlan {
    /// The kind.
    pub kind: String,
    /// Which one.
    pub target: String,
    /// How many people have to name themselves.
    pub people_needed: usize,
    /// Whether the root's token has to be present.
    pub root_token_needed: bool,
    /// The steps, in order, in words.
    pub steps: Vec<String>,
    /// What changes, and when.
    pub changes: Vec<String>,
    /// What relying systems must fetch, and by when.
    pub relying_systems: Vec<String>,
}

/// One step of a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationStepView {
    /// Its name.
    pub name: String,
    /// What it does, in words.
    pub what: String,
    /// `to do`, `begun`, `failed` or `done`.
    pub state: String,
    /// When it was begun last, or done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotationView {
    /// Its id.
    pub id: String,
    /// The kind.
    pub kind: String,
    /// Which one.
    pub target: String,
    /// The people who did it.
    pub people: Vec<String>,
    /// When it was begun.
    pub started: String,
    /// `running`, `waiting`, `done` or `backed_out`.
    pub state: String,
    /// Until when it waits, or since when it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The steps.
    pub steps: Vec<RotationStepView>,
    /// What the steps left: ids, serial numbers, times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// What the root's token has to do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_work: Option<RootWork>,
}

/// Work for the root's token, which the service never opens: done by the command's own process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "work", rename_all = "kebab-case")]
pub enum RootWork {
    /// A key of the root is to be made, or found if it was made already.
    MakeKey {
        /// Its label.
        label: String,
        /// Its kind.
        key_type: String,
    },
    /// The user PIN of the root's token is to be changed.
    ChangePin {
        /// The token's label.
        label: String,
    },
    /// Certificates are to be signed.
    Certify {
        /// Each.
        certificates: Vec<CertificationView>,
    },
    /// CRLs are to be signed.
    SignCrls {
        /// Each.
        crls: Vec<RootCrlView>,
    },
}

/// All that a certificate of the root is made from. Whoever holds the root's token prepares the certificate again from
/// it by the same profile, and signs only if the result is the one that the service wrote down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificationView {
    /// `issuing-ca`, `root` (self-signed) or `link` (one key of the root by another, RFC 9810 4.4).
    pub form: String,
    /// The issuer's id, which is also its key's label.
    pub issuer: String,
    /// The issuer's certificate, DER; empty for a self-signed one.
    pub issuer_certificate: Base64,
    /// The profile's name.
    pub profile: String,
    /// The version of the profile set.
    pub profile_version: String,
    /// The serial number, in hex.
    pub serial: String,
    /// notBefore, RFC 3339.
    pub not_before: String,
    /// notAfter, RFC 3339.
    pub not_after: String,
    /// O of the subject.
    pub organization: String,
    /// CN of the subject.
    pub common_name: String,
    /// The key to be certified, SubjectPublicKeyInfo.
    pub public_key: Base64,
    /// SHA-256 of the bytes to be signed, in hex.
    pub tbs_sha256: String,
}

/// All that a CRL of the root is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootCrlView {
    /// The issuer's id, which is also its key's label.
    pub issuer: String,
    /// The issuer's certificate, DER.
    pub issuer_certificate: Base64,
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate, RFC 3339.
    pub this_update: String,
    /// nextUpdate, RFC 3339.
    pub next_update: String,
    /// What is revoked.
    pub entries: Vec<RootCrlEntry>,
}

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootCrlEntry {
    /// The serial number, in hex.
    pub serial: String,
    /// Since when, RFC 3339.
    pub at: String,
    /// The CRLReason's number (RFC 5280 5.3.1).
    pub reason: u8,
}

/// What the root's token did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RootWorkDone {
    /// The key that was made, SubjectPublicKeyInfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Base64>,
    /// What was signed, DER, in the order in which it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed: Vec<Base64>,
}
