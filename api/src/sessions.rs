//! Logins and sessions of operators.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Base64;

/// A nonce to be signed by the operator's card.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChallengeReply {
    /// The nonce; it can be used once.
    pub nonce: Base64,
    /// When it runs out.
    pub expires: String,
    /// The deployment's name: a part of what is signed.
    pub deployment: String,
    /// The station's name: a part of what is signed.
    pub station: String,
}

/// A login: by card, or by the code of a first card.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SessionRequest {
    /// The nonce, signed by the card's authentication key.
    Card {
        /// The nonce.
        nonce: Base64,
        /// The card's authentication certificate, DER.
        certificate: Base64,
        /// The signature over the login statement.
        signature: Base64,
    },
    /// The secret part of a first-card code: the session can issue that card, and nothing else.
    Code {
        /// The secret part of the code.
        secret: Base64,
    },
}

/// A session.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionReply {
    /// Goes into the `Cardinal-Session` header of each call, as it is.
    pub token: String,
    /// The operator's user id.
    pub person: String,
    /// When it ends at the latest.
    pub expires: String,
}
