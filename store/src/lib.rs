//! The store: what a Cardinal deployment remembers, behind one contract with exchangeable backends.
//!
//! A commit is a *value*, the [`Batch`]: expectations, rows, audit records, feed entries and outbox entries that are
//! applied whole or not at all. There is no closure that could hide a slow call and no transaction that could be left
//! open. [`Store::commit`] returns when the batch is durable. Reads go by key, by range and by index, in pages, and
//! show only what is durable.
//!
//! Rows are opaque bytes here; [`record`] puts typed records on top. What the records mean is the business of the
//! rooms above; this room knows none of them.
//!
//! | module | subject |
//! |---|---|
//! | [`batch`] | what is committed, and its limits |
//! | [`store`](mod@store) | the contract: the [`Store`] trait and what it answers |
//! | [`record`] | typed records: CBOR with a schema byte |
//! | [`sled`](mod@crate::sled) | the embedded backend |
//! | [`sealed`] | encrypted values, in front of any backend |
//! | [`backup`] | the backup format, its writer, reader and verification |
//! | `contract` | the suite that each backend has to pass (feature `contract-suite`) |

pub mod backup;
pub mod batch;
#[cfg(any(test, feature = "contract-suite"))]
pub mod contract;
mod error;
pub mod record;
pub mod sealed;
pub mod sled;
pub mod store;

pub use self::backup::{BackupSummary, verify_backup};
pub use self::batch::{Batch, Expect, Index, Put, Table, Term};
pub use self::error::Error;
pub use self::record::{Record, Versioned, load, load_by_index, load_range};
pub use self::sealed::{DataKey, DataKeyNumber, SealedStore};
pub use self::sled::{Check, OpenReport, RestoreOptions, RestoreReport, SledOptions, SledStore, restore};
pub use self::store::{Committed, Cursor, IndexEntry, IndexPage, Position, Row, Store};
