//! From errors to problem details. What the outside is told, and what only the log is told, are never in one field.

use api::{FieldProblem, Problem};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// Why a call failed.
#[derive(Debug)]
pub struct Failure {
    problem: Box<Problem>,
    retry_after: Option<u32>,
    internal: Option<String>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(status: u16, name: &str, title: &str, detail: impl Into<String>) -> Self {
        Failure { problem: Box::new(Problem::new(status, name, title, detail)), retry_after: None, internal: None }
    }

    /// Something that is not the caller's fault: the log has the details.
    pub fn internal(detail: impl std::fmt::Display) -> Self {
        let told = "something went wrong in the service; its log says what";
        let failure = Failure::new(500, "internal", "Internal error", told);
        Failure { internal: Some(detail.to_string()), ..failure }
    }

    /// It may go better later.
    pub fn unavailable(name: &str, detail: impl Into<String>, internal: impl std::fmt::Display) -> Self {
        let failure = Failure::new(503, name, "Not available now", detail);
        Failure { retry_after: Some(1), internal: Some(internal.to_string()), ..failure }
    }

    /// What the caller is told.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Why it failed, for the log and for records on this machine: more than the caller is told.
    pub(crate) fn cause(&self) -> String {
        self.internal.clone().unwrap_or_else(|| self.problem.detail.clone())
    }

    /// The rule that refused it.
    pub(crate) fn with_rule(mut self, rule: &str) -> Self {
        self.problem.rule = Some(rule.to_owned());
        self
    }

    pub(crate) fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if let Some(internal) = &self.internal {
            tracing::error!(problem = self.problem.name(), cause = internal, "a call failed");
        }
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(api::problem::MEDIA_TYPE));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<ra::Error> for Failure {
    fn from(error: ra::Error) -> Self {
        let detail = error.to_string();
        match error {
            ra::Error::Refused(refusal) => {
                Failure::new(403, "refused", "Not permitted", detail).with_rule(refusal.rule)
            }
            ra::Error::Invalid(fields) => {
                let mut failure = Failure::new(422, "invalid", "Fields break a rule", detail);
                failure.problem.errors = fields
                    .into_iter()
                    .map(|one| FieldProblem { field: one.field.to_owned(), rule: one.rule })
                    .collect();
                failure
            }
            ra::Error::NotFound { .. } => Failure::new(404, "not-found", "Not found", detail),
            ra::Error::Exists { .. } | ra::Error::CardInUse { .. } => {
                Failure::new(409, "exists", "Exists already", detail)
            }
            ra::Error::Card(_) | ra::Error::Person(_) | ra::Error::Expelled { .. } => {
                Failure::new(409, "state", "Not possible in this state", detail)
            }
            ra::Error::IssuanceOpen(_) => Failure::new(409, "issuance-open", "An issuance is under way", detail),
            ra::Error::IssuanceEnded { .. } => Failure::new(409, "issuance-ended", "The issuance has ended", detail),
            ra::Error::IssuanceNotReady { .. } => {
                Failure::new(409, "issuance-not-ready", "The issuance is not ready", detail).with_retry_after(1)
            }
            ra::Error::NotConfirmed { .. } => Failure::new(422, "not-confirmed", "Not confirmed", detail),
            ra::Error::NotInRenewalWindow { .. } => {
                Failure::new(409, "not-in-renewal-window", "Too early to renew", detail)
            }
            ra::Error::TooEarly { .. } => Failure::new(409, "not-in-renewal-window", "Too early to renew", detail),
            ra::Error::Expired { .. } => Failure::new(409, "expired", "Too late to renew", detail),
            ra::Error::Request { ref refusal, .. } => {
                let rule = refusal.rule();
                Failure::new(422, "request-refused", "The certification request is refused", detail).with_rule(rule)
            }
            ra::Error::TooManyCodes(_) => Failure::new(429, "too-many-codes", "Too many codes are open", detail),
            ra::Error::CodeRefused => Failure::new(403, "code-refused", "The code is not accepted", detail),
            ra::Error::LoginRefused(_) => Failure::new(401, "login-refused", "The login is not accepted", detail),
            ra::Error::NoSession => Failure::new(401, "no-session", "No session", detail),
            ra::Error::Ca(error) => error.into(),
            ra::Error::Store(error) => error.into(),
        }
    }
}

impl From<ca::Error> for Failure {
    fn from(error: ca::Error) -> Self {
        let detail = error.to_string();
        match error {
            ca::Error::Store(error) => error.into(),
            ca::Error::KeyReuse(_) => {
                Failure::new(422, "request-refused", "The certification request is refused", detail).with_rule("R8")
            }
            ca::Error::WeakKey(ref weak) => {
                let rule = weak.rule();
                Failure::new(422, "request-refused", "The certification request is refused", detail).with_rule(rule)
            }
            ca::Error::NotCompromised(_) => Failure::new(404, "not-found", "Not found", detail),
            ca::Error::Prepare(_) => Failure::new(422, "not-issuable", "No such certificate can be issued", detail),
            ca::Error::Transition(_) => Failure::new(409, "state", "Not possible in this state", detail),
            ca::Error::NoSuchCertificate(_) | ca::Error::NoSuchIssuer(_) => {
                Failure::new(404, "not-found", "Not found", detail)
            }
            ca::Error::ClockBehind { .. } => Failure::unavailable("clock", detail.clone(), detail),
            ca::Error::Token(hsm::Error::Busy { .. }) => {
                Failure::unavailable("busy", "the token is busy; try again", detail)
            }
            ca::Error::KeyTaken { .. } => {
                Failure::new(409, "key-taken", "Something else is in the key's place", detail)
            }
            ca::Error::Token(_) => {
                Failure::unavailable("token", "the token does not sign; operations staff know from the log why", detail)
            }
            ca::Error::IssuerEnds { .. } => Failure::unavailable("issuer-ends", detail.clone(), detail),
            _ => Failure::internal(detail),
        }
    }
}

impl From<hsm::Error> for Failure {
    fn from(error: hsm::Error) -> Self {
        ca::Error::from(error).into()
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Conflict { .. } => Failure::new(
                409,
                "conflict",
                "Changed meanwhile",
                "somebody else changed it at the same time; look at it again",
            )
            .with_retry_after(1),
            store::Error::OutcomeUnknown { .. } => Failure::unavailable(
                "store",
                "the store failed while it took this; whether it was done shows when you look again",
                error,
            ),
            store::Error::DiskFull { .. } => {
                Failure::unavailable("disk-full", "the service's disk is full; nothing was done", error)
            }
            other => Failure::unavailable("store", "the store cannot take or give this now; nothing was done", other),
        }
    }
}
