//! The CRLs of the issuing CAs: when they are made ([`schedule`]), how ([`publish()`]), and the files that are served
//! ([`files`]).
//!
//! They are made from an index of what is revoked, in memory ([`index`]), which follows the status feed; so a CRL is
//! consistent with one place in the feed, and no earlier one than that of the last commit before it was begun.

pub mod files;
pub mod index;
pub mod publish;
pub mod schedule;

pub(crate) use files::write_atomically;
pub use files::{CrlName, Crls, ServedCrl};
pub use index::RevocationIndex;
pub use publish::{Order, Parts, publish};
pub use schedule::{CrlPlan, due, plan};
