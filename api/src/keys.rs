//! Keys that others know: the set of compromised keys, and the lists of known ones (rule R6). On the admin socket.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Base64;

/// Keys to be added to the set of compromised keys.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompromisedKeysRequest {
    /// Public keys, certificates or certification requests, as PEM or DER; or SHA-256 digests of SubjectPublicKeyInfos in
    /// hexadecimal, one to a line. At most 1 MiB, and no private key.
    pub content: Base64,
    /// Why they are compromised.
    pub reason: String,
    /// Who adds them.
    pub people: Vec<String>,
    /// Only to see whether they can be added: nothing is.
    #[serde(default)]
    pub check_only: bool,
}

/// What came of it. Nothing is revoked by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CompromisedKeysReply {
    /// How many keys are new in the set.
    pub added: u64,
    /// How many were in it already.
    pub known: u64,
    /// Why others need not be in it: no certificate can hold them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_certifiable: Vec<String>,
    /// What whoever adds them should know: that one is a CA's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// All that are in the set now, of those that were given: SHA-256 in hexadecimal.
    pub keys: Vec<String>,
    /// The certificates that hold one of them.
    pub certificates: Vec<AffectedCertificate>,
}

/// A certificate with a compromised key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AffectedCertificate {
    /// The key: SHA-256 of its SubjectPublicKeyInfo.
    pub key: String,
    /// Issuer and serial number.
    pub certificate: String,
    /// Who or what it is for: `person:…`, `station:…` or `service:…`.
    pub holder: String,
    /// The card that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// By which profile it was issued.
    pub profile: String,
    /// Its state: reserved, pending, good, on_hold, revoked or void.
    pub state: String,
    /// When it ends.
    pub not_after: String,
    /// Whether it is still to be revoked: it is neither revoked or void, nor has it ended.
    pub needs_revocation: bool,
}

/// A key in the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CompromisedKeyView {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: String,
    /// Its kind, where more than the digest was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// Why it is compromised.
    pub reason: String,
    /// Who added it.
    pub people: Vec<String>,
    /// When.
    pub added: String,
}

/// A key that is to leave the set.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovalRequest {
    /// SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    pub key: String,
    /// Why.
    pub reason: String,
    /// Who removes it: two people.
    pub people: Vec<String>,
}

/// A list of known keys that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KnownKeyList {
    /// The file.
    pub file: String,
    /// Its form.
    pub form: String,
    /// How many keys it has.
    pub entries: u64,
    /// How many it had before it was read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}
