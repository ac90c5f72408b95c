//! The statuses of all certificates: read once at the start, for the OCSP responder and for CRLs, and kept as a file so that the next start is quick.
//!
//! The file (`status.snapshot` in the data directory, [`ocsp_responder::snapshot`]) is what the store's records said at
//! some place in the feed; what came after is read from the feed. A file that is damaged, of another history, or ahead of
//! the store is not used: then every certificate's record is read, and a new file is made. It is never the only place
//! where something is known.
//!
//! A newer file is made out of the one before and the feed since, not out of what the responder keeps in memory, which
//! leaves out what only CRLs say.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ca::certificate::CertificateRecord;
use ca::revocations::FillingRevocations;
use ocsp_responder::newer::Newer;
use ocsp_responder::snapshot::{Snapshot, SnapshotError, SnapshotPlace, SnapshotWriter};
use pki::Timestamp;
use pki::feed::{FeedPosition, StatusEntry};
use sha2::{Digest, Sha256};
use store::Store;

use crate::error::Error;
use crate::service::Service;
use crate::start::feed_position;

const FILE: &str = "status.snapshot";
const NEW: &str = "status.snapshot.new";
/// How many records or entries are read at a time.
const PORTION: usize = 1000;
/// A new file is made when so many entries have come since the last one, and
const MANY: u64 = 50_000;
/// when the last one is so old and anything has come.
const EVERY: Duration = Duration::from_secs(3600);

/// Where the statuses came from at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the file.
    Snapshot {
        /// How many statuses it had.
        certificates: u64,
        /// How many entries of the feed came after it.
        entries: u64,
    },
    /// From the records of all certificates.
    Records {
        /// How many there were.
        certificates: u64,
        /// Why the file was not used; `None` when there was none.
        because: Option<String>,
    },
}

/// How a status came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// As the only one of its certificate so far.
    Once,
    /// From the feed: it counts in the place of an earlier one.
    Later,
}

/// Why a file cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum StatusFileError {
    /// The file itself.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Reading or writing it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An entry of the feed.
    #[error(transparent)]
    Entry(#[from] pki::feed::EntryError),
    /// The responder.
    #[error("the OCSP responder's replica: {0}")]
    Replica(#[from] ocsp_responder::Error),
    /// It is not of this store, or not of this time.
    #[error("{0}")]
    Elsewhere(String),
}

/// The file, and how far it goes.
#[derive(Debug)]
pub struct Statuses {
    dir: PathBuf,
    saved: Mutex<Option<Saved>>,
    /// Held while a file is made, so that there is one at a time.
    making: Mutex<()>,
    source: Mutex<Option<Source>>,
}

#[derive(Clone, Copy, Debug)]
struct Saved {
    position: FeedPosition,
    at: Timestamp,
}

impl Statuses {
    /// The file in this data directory.
    pub fn new(dir: &Path) -> Self {
        Statuses { dir: dir.to_owned(), saved: Mutex::default(), making: Mutex::default(), source: Mutex::default() }
    }

    /// Where the statuses came from at the start.
    pub fn source(&self) -> Option<Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the status of every certificate to `take`, and returns the place in the feed up to which it is complete. Of
    /// a certificate that comes twice, the later status counts. `begin` is told about how many come, and is called again
    /// when all that was taken is to be thrown away.
    fn read(
        &self,
        store: &dyn Store,
        now: Timestamp,
        mut begin: impl FnMut(usize),
        take: &mut dyn FnMut(&StatusEntry, Came) -> Result<(), StatusFileError>,
    ) -> Result<FeedPosition, StatusFileError> {
        let because = match fs::read(self.dir.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(error.to_string()),
            Ok(bytes) => match self.read_file(&bytes, store, now, &mut begin, take) {
                Ok(position) => return Ok(position),
                Err(StatusFileError::Store(error)) => return Err(error.into()),
                Err(error) => Some(error.to_string()),
            },
        };
        if let Some(because) = &because {
            tracing::warn!(because, file = FILE, "the statuses are read from all certificates' records");
        }
        begin(0);
        // The place is read first: what is committed from here on comes through the feed.
        let position = feed_position(store)?;
        let mut certificates = 0;
        let mut new = self.begin(store, position);
        all_records(store, |entry| {
            certificates += 1;
            // The file may fail; the statuses must be read to their end all the same.
            if let Ok(file) = &mut new
                && let Err(error) = file.put(entry)
            {
                new = Err(error);
            }
            take(entry, Came::Once)
        })?;
        match new.and_then(|new| self.put_in_place(new)) {
            Ok(()) => self.saved(position, now),
            Err(error) => tracing::warn!(%error, file = FILE, "the statuses could not be saved"),
        }
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(Source::Records { certificates, because });
        Ok(position)
    }

    fn read_file(
        &self,
        bytes: &[u8],
        store: &dyn Store,
        now: Timestamp,
        begin: &mut dyn FnMut(usize),
        take: &mut dyn FnMut(&StatusEntry, Came) -> Result<(), StatusFileError>,
    ) -> Result<FeedPosition, StatusFileError> {
        let snapshot = Snapshot::open(bytes)?;
        let from = snapshot.place();
        let there = feed_position(store)?;
        if from.position.epoch != there.epoch || from.position.sequence > there.sequence {
            let (of, is) = (from.position, there);
            return Err(StatusFileError::Elsewhere(format!(
                "it is of entry {} in epoch {}, and the store is at entry {} in epoch {}",
                of.sequence, of.epoch, is.sequence, is.epoch
            )));
        }
        if place(store, from.position)? != from {
            return Err(StatusFileError::Elsewhere("it was made beside another store".to_owned()));
        }
        begin(usize::try_from(snapshot.len()).unwrap_or_default());
        snapshot.for_each(|entry| take(entry, Came::Once))?;
        let position = tail(store, from.position, |entry| take(&entry, Came::Later))?;
        self.saved(from.position, now);
        let entries = position.sequence - from.position.sequence;
        let source = Source::Snapshot { certificates: snapshot.len(), entries };
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        Ok(position)
    }

    fn saved(&self, position: FeedPosition, at: Timestamp) {
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(Saved { position, at });
    }

    fn begin(&self, store: &dyn Store, position: FeedPosition) -> Result<NewFile, StatusFileError> {
        let place = place(store, position)?;
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        Ok(NewFile { writer: SnapshotWriter::new(options.open(self.dir.join(NEW))?, place) })
    }

    fn put_in_place(&self, new: NewFile) -> Result<(), StatusFileError> {
        let (_, file) = new.writer.finish()?;
        file.sync_all()?;
        fs::rename(self.dir.join(NEW), self.dir.join(FILE))?;
        Ok(File::open(&self.dir)?.sync_all()?)
    }

    /// Makes a new file if enough has come since the last one.
    ///
    /// # Errors
    /// When it cannot be written, or the store fails.
    pub fn save_if_due(&self, store: &dyn Store, now: Timestamp) -> Result<bool, StatusFileError> {
        let saved = *self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let there = feed_position(store)?;
        let due = saved.is_none_or(|saved| match there.sequence.saturating_sub(saved.position.sequence) {
            0 => false,
            MANY.. => true,
            _ => now.since(saved.at) >= EVERY,
        });
        if due { self.save(store, now).map(|()| true) } else { Ok(false) }
    }

    /// Makes a new file, out of the one before and the feed since, if there is one; out of all records otherwise.
    ///
    /// # Errors
    /// When it cannot be written, or the store fails.
    pub fn save(&self, store: &dyn Store, now: Timestamp) -> Result<(), StatusFileError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = *self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let there = feed_position(store)?;
        if saved.is_some_and(|saved| saved.position == there) {
            return Ok(());
        }
        let position = match self.save_from_last(store) {
            Ok(position) => position,
            Err(StatusFileError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, file = FILE, "the last file cannot be used; all records are read");
                self.save_from_records(store)?
            }
        };
        self.saved(position, now);
        Ok(())
    }

    /// Opens the newest file; makes one first if there is none that the feed goes on from.
    ///
    /// # Errors
    /// When it cannot be written or read, or the store fails.
    pub(crate) fn open(&self, store: &dyn Store, now: Timestamp) -> Result<File, StatusFileError> {
        match self.open_last(store) {
            Ok(file) => Ok(file),
            Err(StatusFileError::Store(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, file = FILE, "there is no file to be sent; a new one is made");
                *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.save(store, now)?;
                self.open_last(store)
            }
        }
    }

    fn open_last(&self, store: &dyn Store) -> Result<File, StatusFileError> {
        let mut file = File::open(self.dir.join(FILE))?;
        let from = SnapshotPlace::read(&mut file)?;
        if from.position.epoch != feed_position(store)?.epoch || place(store, from.position)? != from {
            return Err(StatusFileError::Elsewhere("it was made beside another store".to_owned()));
        }
        Ok(file)
    }

    fn save_from_last(&self, store: &dyn Store) -> Result<FeedPosition, StatusFileError> {
        self.save_merged(store, &fs::read(self.dir.join(FILE))?)
    }

    /// Makes a new file out of one and the feed since then.
    fn save_merged(&self, store: &dyn Store, last: &[u8]) -> Result<FeedPosition, StatusFileError> {
        let last = Snapshot::open(last)?;
        let from = last.place();
        if from.position.epoch != feed_position(store)?.epoch || place(store, from.position)? != from {
            return Err(StatusFileError::Elsewhere("it was made beside another store".to_owned()));
        }
        let mut newer = Newer::default();
        let position = tail(store, from.position, |entry| {
            newer.take(entry);
            Ok(())
        })?;
        let mut new = self.begin(store, position)?;
        newer.merge(&last, |_| true, &mut new.writer)?;
        self.put_in_place(new)?;
        Ok(position)
    }

    fn save_from_records(&self, store: &dyn Store) -> Result<FeedPosition, StatusFileError> {
        let position = feed_position(store)?;
        let mut new = self.begin(store, position)?;
        all_records(store, |entry| new.put(entry))?;
        new.writer.finish()?;
        // It knows something of what was committed while the records were read. With the feed since then, it is of one
        // moment: who follows the feed from there on would go back otherwise.
        self.save_merged(store, &fs::read(self.dir.join(NEW))?)
    }
}

/// A file that is being written.
struct NewFile {
    writer: SnapshotWriter<File>,
}

impl NewFile {
    fn put(&mut self, entry: &StatusEntry) -> Result<(), StatusFileError> {
        Ok(self.writer.put(entry)?)
    }
}

/// The responder's first knowledge.
///
/// # Errors
/// When the store fails.
pub(crate) fn load(service: &Service) -> Result<FeedPosition, Error> {
    let now = service.now();
    let replica = service.responder.replica();
    let filling = std::cell::RefCell::new(replica.filling(0));
    let revocations = std::cell::RefCell::new(FillingRevocations::default());
    let begin = |certificates| {
        *filling.borrow_mut() = replica.filling(certificates);
        *revocations.borrow_mut() = FillingRevocations::default();
    };
    let refuse = |error: StatusFileError| match error {
        StatusFileError::Store(error) => Error::from(error),
        error => Error::Start(format!("the statuses: {error}")),
    };
    let mut take = |entry: &StatusEntry, came| {
        match came {
            Came::Once => revocations.borrow_mut().take(entry),
            Came::Later => revocations.borrow_mut().take_later(entry),
        }
        Ok(filling.borrow_mut().take(entry)?)
    };
    let position = service.statuses.read(service.store.as_ref(), now, begin, &mut take).map_err(refuse)?;
    service.revocations.put_in_place(revocations.into_inner(), position);
    let placed = service.responder.put_in_place(filling.into_inner(), position, now);
    let certificates = placed.map_err(|error| refuse(error.into()))?;
    tracing::info!(certificates, sequence = position.sequence, source = ?service.statuses.source(), "statuses");
    Ok(position)
}

/// Gives the status of every certificate to `take`, from the records.
fn all_records(
    store: &dyn Store,
    mut take: impl FnMut(&StatusEntry) -> Result<(), StatusFileError>,
) -> Result<(), StatusFileError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store::load_range::<CertificateRecord>(store, b"", after.as_deref(), PORTION)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.record.id.key());
        page.iter().filter_map(|found| found.record.status_entry()).try_for_each(|entry| take(&entry))?;
    }
}

/// A place in the feed, with the digest of the entry there.
pub(crate) fn place(store: &dyn Store, position: FeedPosition) -> Result<SnapshotPlace, StatusFileError> {
    let mark = match position.sequence.checked_sub(1) {
        None => [0; 32],
        Some(before) => match store.feed(before, 1)?.first() {
            Some((_, bytes)) => Sha256::digest(bytes).into(),
            None => return Err(StatusFileError::Elsewhere(format!("the feed has no entry {}", position.sequence))),
        },
    };
    Ok(SnapshotPlace { position, mark })
}

/// Gives the feed's entries after `from` to `take`, and returns how far they go.
fn tail(
    store: &dyn Store,
    from: FeedPosition,
    mut take: impl FnMut(StatusEntry) -> Result<(), StatusFileError>,
) -> Result<FeedPosition, StatusFileError> {
    let mut position = from;
    loop {
        let entries = store.feed(position.sequence, PORTION)?;
        let Some((last, _)) = entries.last() else { return Ok(position) };
        position.sequence = *last;
        for (_, bytes) in &entries {
            take(StatusEntry::decode(bytes)?)?;
        }
    }
}
