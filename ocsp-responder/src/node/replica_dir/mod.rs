//! The replica on disk, from which a responder starts when the CA is away.
//!
//! ```text
//! snapshot      every status as of some place in the feed (crate::snapshot)
//! tail          the entries since, chained to each other and to the snapshot
//! seen          how far the feed was ever seen, the last heartbeat, the last producedAt
//! issuers.json  whom it answers for, as the CA said it
//! lock          one process at a time
//! ```
//!
//! Whoever follows the feed gives what comes to [`ReplicaDir::take_snapshot`], [`ReplicaDir::take_entries`] and
//! [`ReplicaDir::take_heartbeat`], which hold the order: durable first, then applied in memory, and acknowledged by the
//! caller when they say so. If the disk fails, what came is applied all the same and is not to be acknowledged, and the
//! files are removed: a replica that missed something must not come back. It is kept again after the next snapshot.
//!
//! [`ReplicaDir::open`] uses what it finds only if it is whole, of this feed, and not older than what was seen; otherwise
//! it is removed, and a snapshot is needed. Dying at any moment leaves the replica of before or after, never one between.
//! What this cannot notice is that the whole directory, `seen` included, is put back to an older copy.
//!
//! Everything here blocks.

mod error;
mod reading;
mod seen;
mod steps;
mod tail;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki::Timestamp;
use pki::feed::{FeedPosition, Origin, StatusEntry};
use sha2::{Digest, Sha256};

pub use error::{Refusal, ReplicaDirError};
pub use reading::{Loaded, Reading};
pub use seen::Seen;
pub use steps::{ReplicaStep, ReplicaSteps, Unwatched};
pub use tail::{Tail, TailError, TailHead};

use crate::Responder;
use crate::newer::Newer;
use crate::snapshot::{Snapshot, SnapshotPlace, SnapshotWriter};
use seen::SeenFile;
use tail::TailEnd;

const SNAPSHOT: &str = "snapshot";
const SNAPSHOT_NEW: &str = "snapshot.new";
const TAIL: &str = "tail";
const TAIL_NEW: &str = "tail.new";
pub(super) const ISSUERS: &str = "issuers.json";
const ISSUERS_NEW: &str = "issuers.json.new";
const LOCK: &str = "lock";

/// [`ReplicaDir::compact`] is due when so many entries have come since the snapshot.
pub const COMPACT_AFTER: u64 = 50_000;

/// The directory of a replica. All methods may be called from any thread.
pub struct ReplicaDir {
    dir: PathBuf,
    origin: Origin,
    steps: Arc<dyn ReplicaSteps>,
    state: Mutex<State>,
    /// Held while a snapshot is made, so that there is one at a time.
    making: Mutex<()>,
    /// Locked for as long as this lives.
    _lock: File,
}

struct State {
    /// The files, while they are kept.
    kept: Option<Kept>,
    /// Where the feed was followed to. It lags behind what was seen when an older snapshot is a beginning.
    followed: FeedPosition,
    seen: SeenFile,
}

struct Kept {
    tail: File,
    end: TailEnd,
}

impl std::fmt::Debug for ReplicaDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaDir").field("dir", &self.dir).field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The digest of an entry.
fn mark(entry: &[u8]) -> [u8; 32] {
    Sha256::digest(entry).into()
}

/// The digest of a snapshot, which are its last octets.
fn digest(snapshot: &[u8]) -> [u8; 32] {
    snapshot.last_chunk().copied().unwrap_or_default()
}

/// Reads what a directory has and changes nothing, for a check without a network. The responder that uses it may run.
pub fn inspect(dir: &Path, origin: Origin) -> (Reading, Seen) {
    let found = reading::read(dir, origin);
    (found.reading, found.seen)
}

impl ReplicaDir {
    /// Opens a directory, which is made if it is not there, and says what replica of this feed is in it. One that is
    /// refused is removed.
    ///
    /// # Errors
    /// [`ReplicaDirError::InUse`], and [`ReplicaDirError::Disk`] when the directory cannot be read and written.
    pub fn open(dir: &Path, origin: Origin, steps: Arc<dyn ReplicaSteps>) -> Result<(Self, Reading), ReplicaDirError> {
        let failed = |what| move |cause| ReplicaDirError::Disk { what, dir: dir.to_owned(), cause };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("directory"))?;
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
        let lock = options.open(dir.join(LOCK)).map_err(failed(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(ReplicaDirError::InUse(dir.to_owned())),
            Err(fs::TryLockError::Error(cause)) => return Err(failed(LOCK)(cause)),
        }
        let found = reading::read(dir, origin);
        let seen = SeenFile::open(dir, found.seen).map_err(failed(seen::FILE))?;
        let state = Mutex::new(State { kept: None, followed: FeedPosition::default(), seen });
        let opened = ReplicaDir { dir: dir.to_owned(), origin, steps, state, making: Mutex::default(), _lock: lock };
        let reading = found.reading;
        if let Reading::Whole(loaded) = &reading {
            let kept = opened.continue_with(loaded).map_err(failed(TAIL))?;
            let mut state = opened.lock();
            (state.followed, state.kept) = (kept.end.place.position, Some(kept));
        }
        if found.seen_is_foreign || matches!(reading, Reading::Refused(Refusal::Foreign { .. })) {
            remove(&dir.join(ISSUERS)).map_err(failed(ISSUERS))?;
        }
        if let Reading::Refused(refusal) = &reading {
            tracing::warn!(%refusal, "the replica is removed, and will be fetched anew");
            opened.remove_replica().map_err(failed(SNAPSHOT))?;
        }
        for left_over in [SNAPSHOT_NEW, TAIL_NEW, ISSUERS_NEW] {
            remove(&dir.join(left_over)).map_err(failed(left_over))?;
        }
        Ok((opened, reading))
    }

    /// Takes up the tail where it ends.
    fn continue_with(&self, loaded: &Loaded) -> io::Result<Kept> {
        if loaded.tail_is_new {
            fs::rename(self.dir.join(TAIL_NEW), self.dir.join(TAIL))?;
            self.sync_dir()?;
        }
        let mut tail = OpenOptions::new().read(true).write(true).open(self.dir.join(TAIL))?;
        let end = loaded.tail.end;
        if loaded.tail.torn {
            tail.set_len(end.octets)?;
            tail.sync_all()?;
        }
        tail.seek(SeekFrom::Start(end.octets))?;
        Ok(Kept { tail, end })
    }

    /// The place after which the feed's entries are wanted; `None` when a snapshot is needed.
    pub fn place(&self) -> Option<SnapshotPlace> {
        self.lock().kept.as_ref().map(|kept| kept.end.place)
    }

    /// Whether a replica is kept on disk: without one a restart needs the CA.
    pub fn is_kept(&self) -> bool {
        self.lock().kept.is_some()
    }

    /// What was seen of the feed.
    pub fn seen(&self) -> Seen {
        self.lock().seen.now()
    }

    /// Whether [`ReplicaDir::compact`] is worth its while.
    pub fn compaction_is_due(&self) -> bool {
        self.lock().kept.as_ref().is_some_and(|kept| kept.end.entries >= COMPACT_AFTER)
    }

    /// Takes a snapshot of the feed: into memory, unless more is known there already, and onto the disk. Returns how many
    /// certificates it has. `instead_of` is the place from which the feed would not go on, if it was asked to.
    ///
    /// One of before what was seen is a beginning, if no replica is left; nothing is said by it until the feed has come to
    /// what was seen, and has the same entry there.
    ///
    /// # Errors
    /// [`ReplicaDirError::Snapshot`], [`ReplicaDirError::Older`] and [`ReplicaDirError::Diverged`] when it is not to be
    /// taken: nothing is changed then. [`ReplicaDirError::Disk`] when it is in memory and cannot be kept.
    pub fn take_snapshot(
        &self,
        bytes: &[u8],
        instead_of: Option<SnapshotPlace>,
        responder: &Responder,
    ) -> Result<usize, ReplicaDirError> {
        let snapshot = Snapshot::open(bytes)?;
        let (place, seen) = (snapshot.place(), self.seen().place);
        let (known, certificates) =
            (responder.replica().position(), usize::try_from(snapshot.len()).unwrap_or_default());
        if place.position.epoch < seen.position.epoch.max(known.epoch) {
            return Err(ReplicaDirError::Older { seen: seen.position.max(known), offered: place.position });
        }
        // Within an epoch the feed only grows, so there is a way from whatever was seen.
        let is_elsewhere = instead_of.is_some_and(|before| before.position.epoch == place.position.epoch);
        if is_elsewhere || (place.position == seen.position && place.mark != seen.mark) {
            return Err(ReplicaDirError::Diverged { seen: seen.position, offered: place.position });
        }
        // What is on disk may lag behind what is in memory, after the disk failed; never the other way.
        if place.position >= known {
            let mut filling = responder.replica().filling(certificates);
            snapshot.for_each(|entry| filling.take(entry).map_err(ReplicaDirError::from))?;
            // Nothing is said by it before a heartbeat comes that has all that was seen.
            responder.put_in_place(filling, place.position, Timestamp::EPOCH)?;
        } else {
            snapshot.for_each(|_| Ok::<(), ReplicaDirError>(()))?;
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        state.followed = place.position;
        let put = self.put_snapshot(&mut state, bytes, place).map_err(self.disk(SNAPSHOT));
        let put = put.and_then(|()| self.see(&mut state, |seen| seen.see(place)));
        match put {
            Ok(()) => Ok(certificates),
            Err(error) => Err(self.lose(&mut state, error)),
        }
    }

    /// Takes entries of the feed, in its order; those that are known already are passed over. The caller acknowledges them
    /// when this returns without an error.
    ///
    /// # Errors
    /// [`ReplicaDirError::Gap`], [`ReplicaDirError::Diverged`] and [`ReplicaDirError::Entry`] when they are not to be
    /// taken: what was before them is taken. [`ReplicaDirError::Disk`] and [`ReplicaDirError::NotKept`] when they are applied in memory and not kept.
    pub fn take_entries<'a>(
        &self,
        entries: impl IntoIterator<Item = (u64, &'a [u8])>,
        responder: &Responder,
    ) -> Result<(), ReplicaDirError> {
        let mut state = self.lock();
        let mut decoded = Vec::new();
        let mut written = Vec::new();
        let mut end = state.kept.as_ref().map(|kept| kept.end);
        let mut refused = None;
        let (mut followed, seen) = (state.followed, state.seen.now().place);
        let mut newest = None;
        for (sequence, bytes) in entries {
            let entry = match StatusEntry::decode(bytes) {
                Ok(entry) => entry,
                Err(error) => {
                    refused = Some(error.into());
                    break;
                }
            };
            if sequence > followed.sequence + 1 {
                refused = Some(ReplicaDirError::Gap { have: followed, got: sequence });
                break;
            }
            if sequence <= followed.sequence {
                continue;
            }
            let place = SnapshotPlace { position: FeedPosition { sequence, ..followed }, mark: mark(bytes) };
            if place.position == seen.position && place.mark != seen.mark {
                refused = Some(ReplicaDirError::Diverged { seen: seen.position, offered: place.position });
                break;
            }
            if let Some(end) = &mut end {
                end.push(bytes, &mut written)?;
            }
            (followed, newest) = (place.position, Some(place));
            decoded.push((sequence, entry));
        }
        state.followed = followed;
        let kept = match (&mut state.kept, end) {
            (Some(kept), Some(end)) => append(kept, end, &written, self.steps.as_ref()).map_err(self.disk(TAIL)),
            _ => Err(ReplicaDirError::NotKept),
        };
        let kept = kept.map_err(|error| self.lose(&mut state, error));
        for (sequence, entry) in &decoded {
            responder.apply(*sequence, entry)?;
        }
        let seen = newest.map_or(Ok(()), |newest| self.see(&mut state, |seen| seen.see(newest)));
        // What was before the one that is refused is taken; that it is refused is what the caller must know.
        refused.map_or(Ok(()), Err)?;
        kept.and_then(|()| seen.map_err(|error| self.lose(&mut state, error)))
    }

    /// Takes a heartbeat of the feed that came at `now`: "nothing newer than `position` as of `as_of`".
    ///
    /// # Errors
    /// [`ReplicaDirError::Older`] when more was seen than has come, and [`ReplicaDirError::Responder`] when entries up to there
    /// have not come: nothing is changed then. [`ReplicaDirError::Disk`] when it is applied and not kept.
    pub fn take_heartbeat(
        &self,
        position: FeedPosition,
        as_of: Timestamp,
        now: Timestamp,
        responder: &Responder,
    ) -> Result<(), ReplicaDirError> {
        let mut state = self.lock();
        let seen = state.seen.now().place.position;
        if state.followed < seen {
            return Err(ReplicaDirError::Older { seen, offered: position });
        }
        responder.heartbeat(position, as_of, now)?;
        let written = self.see(&mut state, |seen| {
            // As the responder counts it: after a restart it must not be fresher than before.
            seen.as_of = responder.replica().as_of();
            seen.last_produced_at = seen.last_produced_at.max(responder.last_produced_at());
        });
        written.map_err(|error| self.lose(&mut state, error))
    }

    /// Keeps the last producedAt, also while no heartbeats come (conformance: O24).
    ///
    /// # Errors
    /// [`ReplicaDirError::Disk`].
    pub fn note_produced_at(&self, last: Timestamp) -> Result<(), ReplicaDirError> {
        let mut state = self.lock();
        if state.seen.now().last_produced_at >= Some(last) {
            return Ok(());
        }
        self.see(&mut state, |seen| seen.last_produced_at = Some(last))
    }

    /// The issuers document that was kept.
    ///
    /// # Errors
    /// [`ReplicaDirError::Disk`] when it is there and cannot be read.
    pub fn issuers(&self) -> Result<Option<Vec<u8>>, ReplicaDirError> {
        match fs::read(self.dir.join(ISSUERS)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.disk(ISSUERS)(error)),
        }
    }

    /// Keeps an issuers document.
    ///
    /// # Errors
    /// [`ReplicaDirError::Disk`]; the one before stays then.
    pub fn put_issuers(&self, document: &[u8]) -> Result<(), ReplicaDirError> {
        let put = || {
            self.write_new(ISSUERS_NEW, |file| file.write_all(document))?;
            self.steps.done(ReplicaStep::IssuersWritten)?;
            fs::rename(self.dir.join(ISSUERS_NEW), self.dir.join(ISSUERS))?;
            self.steps.done(ReplicaStep::IssuersSwapped)?;
            self.sync_dir()
        };
        put().map_err(|error| {
            let _ = remove(&self.dir.join(ISSUERS_NEW));
            self.disk(ISSUERS)(error)
        })
    }

    /// Makes a new snapshot out of the one before and the tail, leaving out certificates that ended before
    /// `ended_before`, so that the tail stays short. Entries are taken meanwhile.
    ///
    /// # Errors
    /// [`ReplicaDirError::NotKept`], and what keeps it from being made; the replica of before goes on then.
    pub fn compact(&self, ended_before: Timestamp) -> Result<(), ReplicaDirError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.try_compact(ended_before);
        if made.is_err() {
            // They would only take the room that may be missing.
            let _ = remove(&self.dir.join(SNAPSHOT_NEW)).and_then(|()| remove(&self.dir.join(TAIL_NEW)));
        }
        made
    }

    fn try_compact(&self, ended_before: Timestamp) -> Result<(), ReplicaDirError> {
        let until = self.lock().kept.as_ref().map(|kept| kept.end).ok_or(ReplicaDirError::NotKept)?;
        let bytes = fs::read(self.dir.join(SNAPSHOT)).map_err(self.disk(SNAPSHOT))?;
        let last = Snapshot::open(&bytes)?;
        let mut tail = Vec::new();
        let file = File::open(self.dir.join(TAIL)).map_err(self.disk(TAIL))?;
        file.take(until.octets).read_to_end(&mut tail).map_err(self.disk(TAIL))?;
        let mut newer = Newer::default();
        Tail::read(&tail, |_, entry, _| {
            newer.take(entry);
            Ok::<(), ReplicaDirError>(())
        })?;
        let mut made = [0; 32];
        let written = self.write_new(SNAPSHOT_NEW, |file| {
            let mut writer = SnapshotWriter::new(&*file, until.place);
            newer.merge(&last, |entry| entry.not_after >= ended_before, &mut writer)?;
            writer.finish()?;
            file.read_exact_at(&mut made, file.metadata()?.len() - 32)
        });
        written.map_err(self.disk(SNAPSHOT_NEW))?;
        self.steps.done(ReplicaStep::SnapshotWritten).map_err(self.disk(SNAPSHOT_NEW))?;

        let mut state = self.lock();
        let kept = state.kept.as_ref().ok_or(ReplicaDirError::NotKept)?;
        let mut since = vec![0; usize::try_from(kept.end.octets - until.octets).unwrap_or_default()];
        kept.tail.read_exact_at(&mut since, until.octets).map_err(self.disk(TAIL))?;
        let new = self.new_tail(made, until.place, &since).map_err(self.disk(TAIL_NEW))?;
        // From here on the old one is no longer whole.
        match self.swap() {
            Ok(()) => state.kept = Some(new),
            Err(error) => return Err(self.lose(&mut state, self.disk(SNAPSHOT)(error))),
        }
        Ok(())
    }

    /// Makes all that was written durable, for an orderly end.
    ///
    /// # Errors
    /// [`ReplicaDirError::Disk`].
    pub fn sync(&self) -> Result<(), ReplicaDirError> {
        self.lock().seen.sync().map_err(self.disk(seen::FILE))
    }

    /// Removes the replica for good, so that no start answers by it. How far the feed was seen stays.
    ///
    /// # Errors
    /// [`ReplicaDirError::Disk`] when it is still there.
    pub fn give_up(&self) -> Result<(), ReplicaDirError> {
        let mut state = self.lock();
        state.kept = None;
        self.remove_replica().map_err(self.disk(SNAPSHOT))
    }

    fn put_snapshot(&self, state: &mut State, bytes: &[u8], place: SnapshotPlace) -> io::Result<()> {
        self.write_new(SNAPSHOT_NEW, |file| file.write_all(bytes))?;
        self.steps.done(ReplicaStep::SnapshotWritten)?;
        let new = self.new_tail(digest(bytes), place, &[])?;
        self.swap()?;
        state.kept = Some(new);
        Ok(())
    }

    /// Writes the tail of a new snapshot, beside the old one, with the entries of a part of that.
    fn new_tail(&self, snapshot: [u8; 32], place: SnapshotPlace, since: &[u8]) -> io::Result<Kept> {
        let head = tail::TailHead { origin: self.origin, snapshot, place };
        let (mut bytes, mut end) = (head.encode(), head.end());
        end.rechain(since, &mut bytes)?;
        let tail = self.write_new(TAIL_NEW, |file| file.write_all(&bytes))?;
        self.steps.done(ReplicaStep::TailWritten)?;
        Ok(Kept { tail, end })
    }

    /// Puts the new snapshot and its tail in the place of the old ones.
    fn swap(&self) -> io::Result<()> {
        fs::rename(self.dir.join(SNAPSHOT_NEW), self.dir.join(SNAPSHOT))?;
        self.sync_dir()?;
        self.steps.done(ReplicaStep::SnapshotSwapped)?;
        fs::rename(self.dir.join(TAIL_NEW), self.dir.join(TAIL))?;
        self.sync_dir()?;
        self.steps.done(ReplicaStep::TailSwapped)
    }

    /// Writes a file; it is durable when this returns.
    fn write_new(&self, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).clone();
        let mut file = options.open(self.dir.join(name))?;
        write(&mut file)?;
        file.sync_all()?;
        Ok(file)
    }

    fn see(&self, state: &mut State, change: impl FnOnce(&mut Seen)) -> Result<(), ReplicaDirError> {
        let mut seen = state.seen.now();
        change(&mut seen);
        state.seen.write(seen).and_then(|()| self.steps.done(ReplicaStep::SeenWritten)).map_err(self.disk(seen::FILE))
    }

    /// Gives up the replica on disk, since it missed something: it must not come back.
    fn lose(&self, state: &mut State, error: ReplicaDirError) -> ReplicaDirError {
        if state.kept.take().is_none() && matches!(error, ReplicaDirError::NotKept) {
            return error;
        }
        match self.remove_replica() {
            Ok(()) => tracing::error!(%error, "no replica is kept any longer; a restart needs the CA"),
            Err(also) => tracing::error!(
                %error, %also, dir = ?self.dir,
                "no replica is kept any longer, and the old one cannot be removed: remove it before the next start"
            ),
        }
        error
    }

    fn remove_replica(&self) -> io::Result<()> {
        remove(&self.dir.join(TAIL))?;
        self.steps.done(ReplicaStep::TailRemoved)?;
        for file in [SNAPSHOT, SNAPSHOT_NEW, TAIL_NEW] {
            remove(&self.dir.join(file))?;
        }
        self.sync_dir()
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn disk(&self, what: &'static str) -> impl Fn(io::Error) -> ReplicaDirError {
        move |cause| ReplicaDirError::Disk { what, dir: self.dir.clone(), cause }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(kept: &mut Kept, end: TailEnd, bytes: &[u8], steps: &dyn ReplicaSteps) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    kept.tail.write_all(bytes)?;
    steps.done(ReplicaStep::EntriesWritten)?;
    kept.tail.sync_data()?;
    kept.end = end;
    steps.done(ReplicaStep::EntriesDurable)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
