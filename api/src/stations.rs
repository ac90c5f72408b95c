//! Stations: enrolment.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Base64;

/// A station enrols itself: the one call that needs no client certificate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    /// The secret part of the code.
    pub secret: Base64,
    /// The name that the code was made for.
    pub name: String,
    /// A PKCS#10 request, DER.
    pub request: Base64,
}

/// An enrolled station.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EnrolmentReply {
    /// The station's certificate, DER.
    pub certificate: Base64,
    /// The certificates of its issuer and of the root, DER.
    pub chain: Vec<Base64>,
    /// The deployment's name, which login statements carry.
    pub deployment: String,
}

/// What the service tells a station about itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceDescription {
    /// The deployment's name, which login statements carry.
    pub deployment: String,
    /// The version of the software.
    pub version: String,
    /// The station that asks, by its certificate.
    pub station: String,
}
