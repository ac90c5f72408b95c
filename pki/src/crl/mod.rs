//! Certificate revocation lists (RFC 5280 5): full ones, shards (RFC 5280 5.2.5) and deltas (RFC 5280 5.2.4), of any
//! length, without holding them.
//!
//! [`prepare_crl`] walks over the entries, fixes the bytes and gives their digest; somebody signs that;
//! [`PreparedCrl::write`] walks over the entries once more, and streams the list. What was prepared was linted, entry by
//! entry, as a stranger would read it, and what is written is known to be the same bytes. [`CrlReader`] reads a list as a
//! stream; [`ParsedCrl`] one that is small enough to be held.

mod build;
mod describe;
mod entry;
mod error;
mod frame;
mod lint;
mod number;
mod parse;
mod read;
pub(crate) mod wire;

pub use build::{CrlEntries, PreparedCrl, SignedCrlSummary, prepare_crl};
pub use describe::{CrlDescription, IssuingDistributionPoint};
pub use entry::{CrlEntry, EntryReason};
pub use error::CrlError;
pub use frame::CrlHeader;
pub use number::CrlNumber;
pub use parse::ParsedCrl;
pub use read::{CrlLimits, CrlReader};
