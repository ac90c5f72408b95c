//! Certificate profiles, as operations staff look at them on the server's own machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Base64;

/// What certificates of one kind look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileView {
    /// Its name.
    pub name: String,
    /// What its certificates are for.
    pub purpose: String,
    /// The subject's attributes, the outermost first, as `CN={user_id}`.
    pub subject: Vec<String>,
    /// The kinds of alternative name that are taken from the registry.
    pub san: Vec<String>,
    /// `no`, `at least one`, or the kinds that must be there.
    pub san_required: String,
    /// The kinds of key that may be certified.
    pub key_types: Vec<String>,
    /// keyUsage.
    pub key_usage: Vec<String>,
    /// extKeyUsage, by name where there is one.
    pub extended_key_usage: Vec<String>,
    /// certificatePolicies, each with the address of its practice statement where there is one.
    pub policies: Vec<String>,
    /// What the site adds: OID and DER in hex.
    pub extensions: Vec<String>,
    /// How long a certificate lives at most.
    pub life: String,
    /// By how much that is shortened at random.
    pub jitter: String,
    /// pathLenConstraint of a CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_length: Option<u8>,
    /// Whether it has ocsp-nocheck.
    pub ocsp_no_check: bool,
    /// Whether it says where issuer and OCSP responder are to be had.
    pub aia: bool,
    /// Whether it says where the CRL is to be had.
    pub crldp: bool,
    /// Into how many partitions the CRL is cut; 0 for not at all.
    pub crl_shards: u16,
    /// Which issuing CA issues by it; only the running service knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// A set of profiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfilesReply {
    /// The file that they come from.
    pub file: String,
    /// SHA-256 of its text: what stands in the record of each certificate that is issued by them.
    pub version: String,
    /// The profiles, by name.
    pub profiles: Vec<ProfileView>,
}

/// A rule that a file of profiles breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileProblem {
    /// The line, counted from 1, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The profile; none when the text as a whole cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The key that the rule is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The rule.
    pub rule: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// All of it, as one line of text.
    pub text: String,
}

/// What came of checking a file of profiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileCheck {
    /// The file.
    pub file: String,
    /// The set, when it is in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<ProfilesReply>,
    /// The configuration that the set was compared with: each profile that it names has to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<String>,
    /// What is wrong, at most one for each profile.
    pub problems: Vec<ProfileProblem>,
}

/// A certificate is to be shown before it is issued.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The profile.
    pub profile: String,
    /// The key: SubjectPublicKeyInfo, PKCS#10 request or certificate, PEM or DER.
    pub key: Base64,
    /// The text of a file of profiles, in the place of those that the service goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What that file is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The user id of a person whose fields are taken from the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Further fields, and what they would be; they go before the registry's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Vec<String>>,
    /// The issuer's certificate, PEM or DER, in the place of that of the CA that issues by the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Base64>,
    /// What that issuer is called in addresses, as `authentication-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_id: Option<String>,
}

/// What would be issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewReply {
    /// The profile.
    pub profile: String,
    /// The version of the set that it is from.
    pub profiles_version: String,
    /// Who would issue it: the id of the issuer.
    pub issuer: String,
    /// What the request asks for and does not get (conformance: R10).
    pub ignored: Vec<String>,
    /// What differs from a certificate that is issued.
    pub notes: Vec<String>,
    /// Its fields, as name and value.
    pub fields: Vec<(String, String)>,
    /// The certificate without a signature, PEM.
    pub pem: String,
}
