//! The registration authority: people, organisations, roles, cards, stations, responders, sessions, and the
//! issuance of a card's
//! certificate pair.
//!
//! The domain as plain functions: they read the store, take a command and `now`, and return a batch that the caller
//! completes (with its idempotency row) and commits. What needs a right takes a [`policy::Permit`] for exactly that
//! operation, and only [`policy`] makes permits.

pub mod card;
pub mod card_status;
pub mod certification;
pub mod code;
pub mod enrolment;
pub mod error;
pub mod identifiers;
pub mod issuance;
pub mod organisation;
pub mod person;
pub mod policy;
pub mod responder;
pub mod session;

pub use error::Error;
pub use identifiers::{CardSerial, IssuanceId, OdsCode, UserId};
