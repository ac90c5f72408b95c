//! The contract that every backend fulfils, and what it answers with.

use std::io::Write;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::backup::BackupSummary;
use crate::batch::{Batch, Index, Table};
use crate::error::Error;

/// A row as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// Changes with each write and is never used again for this key, even when the row is deleted in between.
    pub version: u64,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// How far the status feed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Raised by each restore; a lower sequence is to be accepted only under a higher epoch.
    pub epoch: u64,
    /// The number of the last entry; 0 before the first.
    pub sequence: u64,
}

/// What a commit was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The version that every row written by this batch has now.
    pub version: u64,
    /// The sequence numbers of its feed entries, from 1 up.
    pub feed: Option<RangeInclusive<u64>>,
    /// The numbers of its audit records, from 0 up.
    pub audit: Option<RangeInclusive<u64>>,
    /// The ids of its outbox entries, rising, never used twice.
    pub outbox: Option<RangeInclusive<u64>>,
    /// The position of the feed after this batch.
    pub position: Position,
}

/// One entry of an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// The term.
    pub term: Vec<u8>,
    /// The name of the table of the row.
    pub table: String,
    /// The key of the row.
    pub key: Vec<u8>,
}

/// Where a page of an index ended; the next one begins after it, whatever has come or gone in between.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub IndexEntry);

/// A page of an index, sorted by term, then table, then key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPage {
    /// The entries.
    pub entries: Vec<IndexEntry>,
    /// Where to go on, if there was more.
    pub next: Option<Cursor>,
}

/// A store. Calls are synchronous and may block on the medium; the edge owns the threads.
///
/// All reads show what is durable and nothing else: a batch is seen whole or not at all, and never before it could
/// survive a power cut. A caller whose commit has returned sees it.
pub trait Store: Send + Sync {
    /// Applies a batch whole, durable when this returns.
    ///
    /// # Errors
    /// [`Error::Conflict`] if an expectation does not hold, [`Error::TooLarge`] or [`Error::InvalidBatch`] if it cannot
    /// be accepted, [`Error::DiskFull`] if there is too little room: nothing was applied then.
    /// [`Error::OutcomeUnknown`] if the medium failed during the commit, [`Error::Failed`] afterwards.
    fn commit(&self, batch: Batch) -> Result<Committed, Error>;

    /// The row with that key.
    ///
    /// # Errors
    /// [`Error::Damaged`] and other failures of the medium, here and with the other reads.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Row>, Error>;

    /// At most `limit` rows whose keys begin with `prefix` and come after `after`, in the order of their keys.
    ///
    /// # Errors
    /// As with [`Store::get`].
    fn range(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error>;

    /// At most `limit` entries with terms from `from` (inclusive) to `to` (exclusive), or, without `to`, those that
    /// begin with `from`; after the cursor, if one is given.
    ///
    /// # Errors
    /// As with [`Store::get`].
    fn by_index(
        &self,
        index: Index,
        from: &[u8],
        to: Option<&[u8]>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<IndexPage, Error>;

    /// How far the feed has come.
    ///
    /// # Errors
    /// As with [`Store::get`].
    fn feed_position(&self) -> Result<Position, Error>;

    /// At most `limit` feed entries with sequence numbers above `after`, without a gap.
    ///
    /// # Errors
    /// As with [`Store::get`].
    fn feed(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error>;

    /// Waits until the feed has an entry above `after`, at most for `timeout`; at once if it has. Returns the position.
    fn wait_feed(&self, after: u64, timeout: Duration) -> Position;

    /// How many audit records there are; they are numbered from 0.
    fn audit_len(&self) -> u64;

    /// At most `limit` audit records, from number `from` (inclusive) on, without a gap.
    ///
    /// # Errors
    /// As with [`Store::get`].
    fn audit(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error>;

    /// At most `limit` outbox entries with ids above `after`; ids begin at 1 and leave gaps where entries are done.
    ///
    /// # Errors
    /// As with [`Store::get`].
    fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error>;

    /// The greatest [`Batch::at`] of all commits, milliseconds since 1970; 0 before the first. It never falls.
    fn high_water(&self) -> i64;

    /// Why no more commits are taken, if so: the medium failed, and what is acknowledged from now on could be lost.
    fn failure(&self) -> Option<String>;

    /// Writes a backup that is consistent at exactly one commit, while commits go on. `progress` is told the bytes
    /// written so far. The format is that of [`crate::backup`].
    ///
    /// # Errors
    /// [`Error::BackupWrite`] if `out` refuses, [`Error::BackupRunning`] if there is one already; as with
    /// [`Store::get`] otherwise.
    fn backup(&self, out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> Result<BackupSummary, Error>;
}
