//! The embedded backend: one sled tree, one committing thread, one owner.
//!
//! | file | subject |
//! |---|---|
//! | `open` | opening, setting torn snapshots aside |
//! | `check` | the check of everything, before the store is used or beside it |
//! | `clean` | the witness of a stop in order, after which that check need not come first |
//! | `lock` | one owner per directory |
//! | `tip` | the witness of the last acknowledged commit |
//! | `layout` | keys and values in the tree |
//! | `group` | what a group of commits writes |
//! | `committer` | the thread that makes groups durable |
//! | `room` | room on the disk, before it is needed |
//! | `view` | what readers see |
//! | `backup`, `restore` | copying a store out while it runs, and back in |
//!
//! In the store's directory: `lock`, `tip`, sled's files in `sled/`, and what was set aside as `*.damaged-N`.

mod backup;
mod check;
mod clean;
mod committer;
mod group;
pub(crate) mod layout;
mod lock;
mod open;
mod restore;
mod room;
mod tip;
mod view;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use self::committer::{Request, Shared, lock};
use self::layout::{AUDIT, Envelope, FEED, OUTBOX};
use self::lock::DirectoryLock;
use self::room::Room;
use self::view::{Before, Reader, View, guarded, sled_error};
use crate::backup::BackupSummary;
use crate::batch::{Batch, Index, Table};
use crate::error::Error;
use crate::store::{Committed, Cursor, IndexEntry, IndexPage, Position, Row, Store};

pub use self::restore::{RestoreOptions, RestoreReport, restore};

/// How often a caller whose commit is not answered looks whether the medium has stalled.
const LOOK: Duration = Duration::from_millis(500);

/// When everything in a store is read and compared with what was written before it is used. The counters, and that the
/// last acknowledged commit is there, are always looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Each time.
    Always,
    /// Unless the store was closed in order and nothing has touched its files since; see [`OpenReport::check_left_out`].
    AfterUncleanStop,
    /// Not at all: data that sled lost in the middle of its log is then not noticed.
    Never,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct SledOptions {
    /// How much of the store sled keeps in memory, in bytes.
    pub cache_bytes: u64,
    /// How many commits may wait for the committing thread; further callers wait to be let in.
    pub queue: usize,
    /// How long sled may take over one group of commits before the store is declared failed.
    pub stall_limit: Duration,
    /// How much room the disk has to have left, in bytes; below, commits are refused with [`Error::DiskFull`] before
    /// anything can break. It is also what opening the store again needs for sled's snapshot. 0 asks for none.
    pub room: u64,
    /// When everything is read and compared with what was written before the store is used.
    pub check: Check,
}

impl Default for SledOptions {
    fn default() -> SledOptions {
        SledOptions {
            cache_bytes: 256 << 20,
            queue: 1024,
            stall_limit: Duration::from_secs(30),
            room: 32 << 20,
            check: Check::Always,
        }
    }
}

/// What happened when the store was opened; to be shown to the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The store was made.
    pub created: bool,
    /// Torn snapshots of sled's that were moved here; the store could do without them.
    pub snapshots_set_aside: Vec<PathBuf>,
    /// The witness of the last acknowledged commit could not be read, so that missing last commits would not be noticed.
    pub witness_unreadable: bool,
    /// How many entries were read and compared before the store was used.
    pub entries_checked: u64,
    /// The store had been closed in order, so that the check of everything was left out: it is to be made beside its
    /// use, by [`SledStore::check`].
    pub check_left_out: bool,
}

/// A store in a directory of its own.
#[derive(Debug)]
pub struct SledStore {
    queue: Option<Sender<Request>>,
    committer: Option<JoinHandle<()>>,
    /// Disconnected when the committing thread has ended.
    committing: Receiver<()>,
    shared: Option<Arc<Shared>>,
    stall_limit: Duration,
    report: OpenReport,
    // Last, so that the directory is let go when everything else is.
    _lock: DirectoryLock,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens the store in `dir`, or makes one there.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Damaged`], [`Error::NewerStore`] and [`Error::Io`].
    pub fn open(dir: &Path) -> Result<SledStore, Error> {
        SledStore::open_with(dir, &SledOptions::default())
    }

    /// Opens the store in `dir`, or makes one there, otherwise than usual.
    ///
    /// # Errors
    /// As with [`SledStore::open`].
    pub fn open_with(dir: &Path, options: &SledOptions) -> Result<SledStore, Error> {
        let opened = open::open(dir, options)?;
        let log_path = dir.join(open::SLED).join("db");
        let log = File::options().write(true).open(&log_path).map_err(Error::io("open", &log_path))?;
        let state = opened.state;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            db: opened.db,
            log,
            tip: opened.tip,
            room: Mutex::new(Room::new(options.room)),
            view: RwLock::new(View { before: Before::new(), state }),
            touched: Mutex::new(None::<BTreeSet<_>>),
            checking: Mutex::new(None),
            unchecked: AtomicU8::new(opened.unchecked),
            written: AtomicU64::new(0),
            position: Mutex::new(Position { epoch: state.epoch, sequence: state.feed }),
            moved: Condvar::new(),
            failed: Mutex::new(None),
            busy_since: Mutex::new(None),
        });
        let (queue, waiting) = bounded(options.queue);
        let (alive, committing) = bounded(0);
        let for_thread = Arc::clone(&shared);
        let committer = std::thread::Builder::new()
            .name("store-commit".into())
            .spawn(move || {
                let _alive = alive;
                for_thread.run(&waiting);
                drop(for_thread);
            })
            .map_err(Error::io("start a thread for", dir))?;
        Ok(SledStore {
            queue: Some(queue),
            committer: Some(committer),
            committing,
            shared: Some(shared),
            stall_limit: options.stall_limit,
            report: opened.report,
            _lock: opened.lock,
        })
    }

    /// What happened when the store was opened.
    pub fn open_report(&self) -> &OpenReport {
        &self.report
    }

    /// How large the store's files are, in bytes.
    ///
    /// # Errors
    /// As with [`Store::get`].
    pub fn size_on_disk(&self) -> Result<u64, Error> {
        let shared = self.shared();
        guarded(&shared.dir, || shared.db.size_on_disk().map_err(|e| sled_error(&shared.dir, e)))
    }

    /// Reads everything and compares it with what was written, while the store is in use. `go_on` is asked every few
    /// hundred entries, with their number so far: there a caller takes a rest, or gives up. Returns the number of
    /// entries, or `None` if it gave up or such a check is under way already.
    ///
    /// # Errors
    /// [`Error::Damaged`]: what the store answers cannot be relied upon, and it takes no more commits. As with
    /// [`Store::get`] otherwise.
    pub fn check(&self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Option<u64>, Error> {
        let shared = self.shared();
        let checked = check::check_beside(shared, go_on).inspect_err(|error| {
            shared.fail(error.to_string());
        })?;
        if checked.is_some() {
            shared.unchecked.store(0, Ordering::Relaxed);
        }
        Ok(checked)
    }

    fn shared(&self) -> &Shared {
        self.shared.as_deref().expect("it is taken in drop alone")
    }

    /// Reads from one unchanging state.
    fn read<T>(&self, work: impl FnOnce(&Reader<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let shared = self.shared();
        guarded(&shared.dir, || work(&shared.reader()))
    }

    fn damaged(&self, detail: String) -> Error {
        Error::Damaged { dir: self.shared().dir.clone(), detail }
    }

    fn row(&self, key: Vec<u8>, value: &[u8]) -> Result<Row, Error> {
        let envelope =
            Envelope::decode(value).ok_or_else(|| self.damaged(format!("the row {key:02x?} cannot be read")))?;
        Ok(Row { key, version: envelope.version, value: envelope.value.to_vec() })
    }

    fn numbered(&self, kind: u8, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        self.read(|reader| {
            let from = Bound::Included(layout::numbered_key(kind, from));
            let entries = reader.scan(from, layout::after_prefix(&[kind])).take(limit);
            entries
                .map(|entry| {
                    let (key, entry) = entry?;
                    let number = layout::split_numbered_key(&key)
                        .ok_or_else(|| self.damaged(format!("the key {key:02x?} has no number")))?;
                    Ok((number, reader.whole(&key, &entry)?))
                })
                .collect()
        })
    }
}

impl Store for SledStore {
    fn failure(&self) -> Option<String> {
        lock(&self.shared().failed).clone()
    }

    fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let size = batch.validate()?;
        let shared = self.shared();
        if let Some(failure) = shared.failure() {
            return Err(failure);
        }
        let (reply, answer) = bounded(1);
        let gone =
            || shared.failure().unwrap_or_else(|| Error::Failed { reason: "its committing thread ended".into() });
        let Some(queue) = &self.queue else { return Err(gone()) };
        let mut request = Request { batch, size, reply };
        while let Err(refused) = queue.send_timeout(request, LOOK) {
            match refused {
                SendTimeoutError::Timeout(back) => request = back,
                SendTimeoutError::Disconnected(_) => return Err(gone()),
            }
            // The batch is not with the committer, so that its outcome is known: nothing.
            if shared.fail_if_stalled(self.stall_limit).is_some() {
                return Err(gone());
            }
        }
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(stalled) = shared.fail_if_stalled(self.stall_limit) {
                        return Err(stalled);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let reason = shared.fail("its committing thread ended".into());
                    return Err(Error::OutcomeUnknown { reason });
                }
            }
        }
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Row>, Error> {
        self.read(|reader| {
            let value = reader.value(&layout::row_key(table.name(), key))?;
            value.map(|value| self.row(key.to_vec(), &value)).transpose()
        })
    }

    fn range(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        self.read(|reader| {
            let first = layout::row_key(table.name(), prefix);
            let to = layout::after_prefix(&first);
            let from = match after.map(|after| layout::row_key(table.name(), after)) {
                Some(after) if after >= first => Bound::Excluded(after),
                _ => Bound::Included(first),
            };
            let rows = reader.scan(from, to).take(limit).map(|entry| {
                let (owner, entry) = entry?;
                let (_, key) = layout::split_row_key(&owner)
                    .ok_or_else(|| self.damaged(format!("the key {owner:02x?} is not a row's")))?;
                self.row(key.to_vec(), &reader.whole(&owner, &entry)?)
            });
            rows.collect()
        })
    }

    fn by_index(
        &self,
        index: Index,
        from: &[u8],
        to: Option<&[u8]>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<IndexPage, Error> {
        self.read(|reader| {
            let first = layout::term_prefix(index.name(), from);
            let end = match to {
                Some(to) => layout::term_prefix(index.name(), to),
                None => layout::after_prefix(&first),
            };
            let cursor =
                after.map(|Cursor(entry)| layout::index_key(index.name(), &entry.term, &entry.table, &entry.key));
            let from = match cursor {
                Some(cursor) if cursor >= first => Bound::Excluded(cursor),
                _ => Bound::Included(first),
            };
            let mut entries = Vec::new();
            let mut more = false;
            for entry in reader.scan(from, end) {
                let (key, _) = entry?;
                if entries.len() == limit {
                    more = true;
                    break;
                }
                let (term, table, row) = layout::split_index_key(&key)
                    .ok_or_else(|| self.damaged(format!("the key {key:02x?} is not an index entry's")))?;
                entries.push(IndexEntry { term, table: table.to_owned(), key: row.to_vec() });
            }
            let next = entries.last().filter(|_| more).cloned().map(Cursor);
            Ok(IndexPage { entries, next })
        })
    }

    fn feed_position(&self) -> Result<Position, Error> {
        self.read(|reader| Ok(Position { epoch: reader.view.state.epoch, sequence: reader.view.state.feed }))
    }

    fn feed(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        match after.checked_add(1) {
            Some(from) => self.numbered(FEED, from, limit),
            None => Ok(Vec::new()),
        }
    }

    fn wait_feed(&self, after: u64, timeout: Duration) -> Position {
        let shared = self.shared();
        // Longer than anybody waits, and short enough to be added to any time.
        let until = Instant::now() + timeout.min(Duration::from_secs(86_400));
        let mut position = lock(&shared.position);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if position.sequence > after || left.is_zero() {
                return *position;
            }
            let waited = shared.moved.wait_timeout(position, left);
            position = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    fn audit_len(&self) -> u64 {
        self.shared().reader().view.state.audit
    }

    fn audit(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        self.numbered(AUDIT, from, limit)
    }

    fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        match after.checked_add(1) {
            Some(from) => self.numbered(OUTBOX, from, limit),
            None => Ok(Vec::new()),
        }
    }

    fn high_water(&self) -> i64 {
        self.shared().reader().view.state.high_water
    }

    fn backup(&self, out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> Result<BackupSummary, Error> {
        let shared = self.shared();
        backup::write(shared, out, progress)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.queue = None;
        let Some(shared) = self.shared.take() else { return };
        // A committer that waits for a dead thread of sled's never ends; it keeps what it has, and the rest goes.
        let ended = loop {
            match self.committing.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) if shared.fail_if_stalled(self.stall_limit).is_none() => {}
                answer => break answer == Err(RecvTimeoutError::Disconnected),
            }
        };
        if let Some(committer) = self.committer.take().filter(|_| ended) {
            let _ = committer.join();
        }
        if let Err(error) = shared.tip.sync() {
            tracing::warn!(dir = %shared.dir.display(), %error, "the file `tip` could not be synced");
        }
        let stop = clean::Stop::of(&shared, ended);
        // sled syncs when the last handle goes, and panics where it cannot.
        let closed = std::panic::catch_unwind(AssertUnwindSafe(move || drop(shared)));
        if let (Some(stop), Ok(())) = (stop, closed) {
            stop.vouch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Put;

    const ROWS: Table = Table::new("row");

    fn one_row(key: &[u8]) -> Batch {
        let put = Put { table: ROWS, key: key.to_vec(), value: Some(b"v".to_vec()), terms: Vec::new() };
        Batch { put: vec![put], feed: vec![key.to_vec()], ..Batch::new(1) }
    }

    #[test]
    fn sled_passes_the_contract_suite() {
        crate::contract::run_all(&|dir| Box::new(SledStore::open(dir).unwrap()));
    }

    #[test]
    fn a_write_that_never_ends_is_a_clear_error_and_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let options = SledOptions { stall_limit: Duration::from_millis(1), ..SledOptions::default() };
        SledStore::open(dir.path()).unwrap().commit(one_row(b"1")).unwrap();
        let store = SledStore::open_with(dir.path(), &options).unwrap();
        // A reader that does not let go stops the committer where a dead thread of sled's would.
        let reader = store.shared().reader();
        let stalled = store.commit(one_row(b"2")).unwrap_err();
        assert!(matches!(stalled, Error::OutcomeUnknown { .. }), "{stalled}");
        drop(reader);
        assert!(matches!(store.commit(one_row(b"3")), Err(Error::Failed { .. })));
        let rows = || store.range(ROWS, b"", None, 9).unwrap().into_iter().map(|row| row.key).collect::<Vec<_>>();
        assert_eq!(rows(), [b"1"]);
        // Nor does it become visible when the write ends after all.
        while lock(&store.shared().busy_since).is_some() {
            std::thread::yield_now();
        }
        assert_eq!(rows(), [b"1"]);
        assert_eq!(store.feed_position().unwrap().sequence, 1);
        drop(store);
        let store = SledStore::open(dir.path()).unwrap();
        assert!(store.get(ROWS, b"1").unwrap().is_some());
        assert_eq!(store.get(ROWS, b"3").unwrap(), None);
        store.commit(one_row(b"4")).unwrap();
    }
}
