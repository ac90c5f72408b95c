//! What can go wrong in the registration authority.

use pki::Timestamp;

use crate::card::InvalidCardTransition;
use crate::person::InvalidPersonTransition;
use crate::policy::Refusal;

/// Why something was not done. Texts are for the person at the desk: what was wrong, where, and what to do next. They
/// carry identifiers, and no other personal data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Fields that break a rule: all of them, each with its rule.
    #[error("{}", .0.iter().map(FieldError::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldError>),
    /// There is no such thing.
    #[error("there is no {kind} {id}")]
    NotFound {
        /// `person`, `card`, `issuance`, …
        kind: &'static str,
        /// What was asked for.
        id: String,
    },
    /// The responder is expelled already.
    #[error("responder {name} was expelled at {at}; a new code enrols it again: `cardinal responder enrol {name}`")]
    Expelled {
        /// Its name.
        name: String,
        /// Since when.
        at: Timestamp,
    },
    /// There is one already.
    #[error("there is a {kind} {id} already")]
    Exists {
        /// `person`, `card`, `station`, …
        kind: &'static str,
        /// Its identifier.
        id: String,
    },
    /// The card is somebody's already, or was.
    #[error("card {card} is known and {state}: take a blank card, or look at it with `cardinal card show`")]
    CardInUse {
        /// The card.
        card: crate::CardSerial,
        /// Its state.
        state: &'static str,
    },
    /// The card's state does not permit it.
    #[error(transparent)]
    Card(#[from] InvalidCardTransition),
    /// The person's state does not permit it.
    #[error(transparent)]
    Person(#[from] InvalidPersonTransition),
    /// An issuance is under way on this card.
    #[error(
        "issuance {0} is under way on this card: let the station finish it (it takes it up by itself), or abort it first"
    )]
    IssuanceOpen(String),
    /// The issuance has ended, one way or the other.
    #[error("issuance {id} is {state}: start again with new keys")]
    IssuanceEnded {
        /// The issuance.
        id: String,
        /// `confirmed`, `undone` or `void`.
        state: &'static str,
    },
    /// The issuance has another state than this step needs.
    #[error("issuance {id} has not reached this step: it is {state}")]
    IssuanceNotReady {
        /// The issuance.
        id: String,
        /// Its state.
        state: &'static str,
    },
    /// The confirmation is not signed by the new keys over what was issued.
    #[error(
        "the confirmation of issuance {issuance} is not signed by the new {purpose} key over the certificates that were \
         issued: read the card again, and confirm what is on it"
    )]
    NotConfirmed {
        /// The issuance.
        issuance: String,
        /// `authentication` or `signing`.
        purpose: &'static str,
    },
    /// A card cannot be renewed yet.
    #[error("the certificates of card {card} end at {not_after}; they can be renewed from {from} on")]
    NotInRenewalWindow {
        /// The card.
        card: String,
        /// When its certificates end.
        not_after: Timestamp,
        /// From when on they can be renewed.
        from: Timestamp,
    },
    /// A machine's certificate cannot be renewed yet.
    #[error("the certificate of {kind} {id} ends at {not_after}; it can be renewed from {from} on")]
    TooEarly {
        /// `responder`, …
        kind: &'static str,
        /// Its name.
        id: String,
        /// When the certificate ends.
        not_after: Timestamp,
        /// From when on it can be renewed.
        from: Timestamp,
    },
    /// Expired certificates cannot be renewed.
    #[error("the certificates of card {card} ended at {not_after}: the card must be repaired by the RA")]
    Expired {
        /// The card.
        card: String,
        /// When its certificates ended.
        not_after: Timestamp,
    },
    /// A certification request was refused by a rule.
    #[error("the {purpose} request: {refusal}")]
    Request {
        /// `authentication`, `signing` or `station`.
        purpose: &'static str,
        /// The rule.
        refusal: pki::request::RequestRefusal,
    },
    /// An enrolment code that does not exist, is used up, or has run out: one answer for all.
    #[error(
        "the enrolment code is not known, was used already, or has run out: ask for a new one: `cardinal station enrol`, `cardinal \
         operator enrol` or `cardinal responder enrol` on the service's machine"
    )]
    CodeRefused,
    /// Too many codes are open.
    #[error(
        "{0} enrolment codes are open already, as many as limits.enrolment_codes permits: wait until some are used or \
         have run out"
    )]
    TooManyCodes(usize),
    /// No valid login: one answer for all.
    #[error("the login is not accepted: {0}")]
    LoginRefused(&'static str),
    /// No session, or one that has ended.
    #[error("there is no such session, or it has ended: log in again")]
    NoSession,
    /// The CA refused or failed.
    #[error(transparent)]
    Ca(#[from] ca::Error),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct FieldError {
    /// The field's name.
    pub field: &'static str,
    /// What it must be.
    pub rule: String,
}

impl Error {
    /// One field that breaks a rule.
    pub fn invalid(field: &'static str, rule: impl Into<String>) -> Self {
        Error::Invalid(vec![FieldError { field, rule: rule.into() }])
    }
}

macro_rules! through_ca {
    ($($error:ty),*) => { $(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Error::Ca(error.into())
            }
        }
    )* };
}

through_ca!(audit::Error, ca::InvalidTransition, pki::certificate::CertificateError, hsm::Error);
