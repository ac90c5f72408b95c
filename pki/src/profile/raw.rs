//! Profiles as they are written, before they are checked.

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) profile: Vec<Spanned<RawProfile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    pub(super) name: String,
    pub(super) purpose: String,
    pub(super) subject: Vec<Spanned<RawAttribute>>,
    #[serde(default)]
    pub(super) san: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) san_required: RawRequirement,
    pub(super) permanent_identifier_assigner: Option<String>,
    pub(super) key_types: Vec<Spanned<String>>,
    pub(super) key_usage: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) extended_key_usage: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) policies: Vec<Spanned<RawPolicy>>,
    #[serde(default)]
    pub(super) extensions: Vec<Spanned<RawExtension>>,
    pub(super) life: String,
    pub(super) jitter: Option<String>,
    pub(super) path_length: Option<u8>,
    #[serde(default)]
    pub(super) ocsp_no_check: bool,
    pub(super) aia: bool,
    pub(super) crldp: bool,
    #[serde(default)]
    pub(super) crl_shards: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAttribute {
    pub(super) r#type: String,
    pub(super) value: String,
    #[serde(default)]
    pub(super) cut: bool,
}

/// Whether there must be alternative names: at least one, or those of these kinds.
#[derive(Deserialize)]
#[serde(untagged, expecting = "san_required is true, false, or a list of kinds such as [\"upn\", \"sid\"]")]
pub(super) enum RawRequirement {
    Any(bool),
    Kinds(Vec<String>),
}

impl Default for RawRequirement {
    fn default() -> Self {
        RawRequirement::Any(false)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a policy is \"OID\", or { oid = \"OID\", cps = \"https://…\" }")]
pub(super) enum RawPolicy {
    Oid(String),
    WithStatement(RawStatedPolicy),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStatedPolicy {
    pub(super) oid: String,
    pub(super) cps: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExtension {
    pub(super) oid: String,
    #[serde(default)]
    pub(super) critical: bool,
    pub(super) hex: Option<String>,
    pub(super) base64: Option<String>,
}
