//! Errors on the wire: problem details (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of problem details.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong (RFC 9457 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem, as `urn:cardinal:problem:NAME`: stays the same over versions.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong here, and what to do next.
    pub detail: String,
    /// The rule that refused it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Fields that break a rule: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// The field.
    pub field: String,
    /// What it must be.
    pub rule: String,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(status: u16, name: &str, title: &str, detail: impl Into<String>) -> Self {
        Problem {
            kind: format!("urn:cardinal:problem:{name}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            rule: None,
            errors: Vec::new(),
        }
    }

    /// The last part of its kind, such as `refused`.
    pub fn name(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }
}
