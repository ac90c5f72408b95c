//! People.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who is to be registered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonRequest {
    /// Given name, as on the document.
    pub given_name: String,
    /// Family name, as on the document.
    pub family_name: String,
    /// ODS code of the organisation that registers.
    pub organisation: String,
}

/// A person's identity was checked, face to face, by the operator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityCheckRequest {
    /// The kinds of document that were seen, such as `passport`; no numbers.
    pub documents: Vec<String>,
}

/// A person accepted the terms.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TermsRequest {
    /// Their version.
    pub version: String,
}

/// A registered person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PersonView {
    /// The user id: 12 digits.
    pub user_id: String,
    /// Given name.
    pub given_name: String,
    /// Family name.
    pub family_name: String,
    /// ODS code of the organisation that registered the person.
    pub organisation: String,
    /// `submitted`, `identity_verified` or `active`.
    pub state: String,
    /// The version of the terms that were accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms_version: Option<String>,
    /// Serial numbers of the person's cards.
    pub cards: Vec<String>,
    /// The roles, as `role@organisation`.
    pub roles: Vec<String>,
}
