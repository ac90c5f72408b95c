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
    pub(super) subject: Vec<RawAttribute>,
    #[serde(default)]
    pub(super) san: Vec<String>,
    #[serde(default)]
    pub(super) san_required: bool,
    pub(super) key_types: Vec<String>,
    pub(super) key_usage: Vec<String>,
    #[serde(default)]
    pub(super) extended_key_usage: Vec<String>,
    #[serde(default)]
    pub(super) policies: Vec<String>,
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
