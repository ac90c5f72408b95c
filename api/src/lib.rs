//! The wire types of the HTTP interface, shared by server, station and cli.
//!
//! Names in JSON are `snake_case`; times are RFC 3339 text in UTC; binary values are base64 (RFC 4648 4). Unknown fields in
//! requests are refused, so that a misspelt one does not pass in silence.

pub mod admin;
pub mod cards;
pub mod code;
pub mod encoding;
pub mod feed;
pub mod keys;
pub mod people;
pub mod problem;
pub mod profiles;
pub mod responders;
pub mod rotation;
pub mod sessions;
pub mod stations;

pub use code::EnrolmentCode;
pub use encoding::Base64;
pub use problem::{FieldProblem, Problem};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where the API begins.
pub const PREFIX: &str = "/api/v1";
/// The header that carries a session's token.
pub const SESSION_HEADER: &str = "cardinal-session";
/// The header that makes a call repeatable (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in a fixed order.
    pub items: Vec<T>,
    /// Pass it as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
