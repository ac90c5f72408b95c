//! Issuing, holding, revoking; CRLs; the hierarchy of CA keys; the status feed's entries.
//!
//! Everything here is a plain function of what the store holds, a command and `now`. What changes the store is returned
//! as a part of a [`store::Batch`], which the caller completes and commits; what needs a signature goes through types
//! that permit one order only (Boulder's issuance cycle; see `docs/architecture.md`):
//!
//! [`Reservation`] → commit → [`Reserved`] → signature → [`Signed`] → commit
//!
//! A certificate can be signed only after its serial number, its to-be-signed bytes' digest and an audit record of the
//! intent are durable, so after a power cut every signature that may exist is known.

pub mod authority;
pub mod ceremony;
pub mod certificate;
pub mod compromised;
pub mod crl;
pub mod error;
pub mod hierarchy;
pub mod issuer;
pub mod known_keys;
pub mod publication;
pub mod recovery;
pub mod reservation;
pub mod revocations;
pub mod rotation;
pub mod service_certificate;
pub mod succession;

pub use authority::{Authority, IssuingKey};
pub use certificate::{CertificateId, CertificateRecord, CertificateState, Holder, InvalidTransition};
pub use compromised::CompromisedKey;
pub use error::Error;
pub use issuer::{IssuerRecord, IssuerState, KeyLocation};
pub use known_keys::KnownKeys;
pub use reservation::{Order, Reservation, Reserved, SignFailure, Signed};

use store::Batch;

/// An empty batch for a decision that was taken at `now`.
pub fn batch(now: pki::Timestamp) -> Batch {
    Batch { at: now.unix_millis(), ..Batch::default() }
}

/// Adds an audit record to a batch.
///
/// # Errors
/// When the record is too long to be written: no audit, no act.
pub fn record(batch: &mut Batch, record: &audit::AuditRecord) -> Result<(), Error> {
    batch.audit.push(record.encode()?);
    Ok(())
}
