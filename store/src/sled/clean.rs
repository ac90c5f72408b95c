//! The witness of a stop in order: what the store held when it was closed, and how sled's files looked then.
//!
//! Written when everything is closed and synced, and removed before the next owner writes. A store that has it, with
//! the same counters and with files that nobody has touched, holds what its last owner left; to read all of it before
//! it is used would find only what the medium itself has lost since. That is looked for beside the store's use
//! ([`super::SledStore::check`]), and where that never came to its end for [`MOST_UNCHECKED`] starts, before it.
//!
//! Closing also leaves sled's own snapshot behind, without which it would read its log from the last one on.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::committer::{Shared, lock};
use super::layout::State;
use super::open::{LET_GO, SLED, open_sled, sync_dir};
use super::view::guarded;
use crate::error::Error;

const FILE: &str = "clean";
const NEW: &str = "clean.new";
const MAGIC: &[u8; 8] = b"CRDNCLN1";
const LENGTH: usize = 8 + State::LENGTH + 1 + Files::LENGTH + 32;

/// So many starts in a row may leave the check of everything out without one having come to its end.
pub(super) const MOST_UNCHECKED: u8 = 8;
/// How many entries sled may have written since it was opened before it is made to leave a new snapshot: reading so much
/// of its log takes a fraction of a second.
const MANY_WRITTEN: u64 = 100_000;
/// How much of the store sled keeps in memory while it only makes a snapshot, in bytes.
const SMALL_CACHE: u64 = 1 << 20;

/// How sled's log looks: its length, and when it was changed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Files {
    length: u64,
    changed_seconds: i64,
    changed_nanos: i64,
}

impl Files {
    const LENGTH: usize = 24;

    fn look(dir: &Path) -> std::io::Result<Files> {
        let log = fs::metadata(dir.join(SLED).join("db"))?;
        Ok(Files { length: log.len(), changed_seconds: log.mtime(), changed_nanos: log.mtime_nsec() })
    }

    fn to_bytes(self) -> [u8; Files::LENGTH] {
        let mut out = [0; Files::LENGTH];
        out[..8].copy_from_slice(&self.length.to_be_bytes());
        out[8..16].copy_from_slice(&self.changed_seconds.to_be_bytes());
        out[16..].copy_from_slice(&self.changed_nanos.to_be_bytes());
        out
    }
}

/// What the witness says, and how the files look now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CleanStop {
    state: [u8; State::LENGTH],
    unchecked: u8,
    files: [u8; Files::LENGTH],
    files_now: [u8; Files::LENGTH],
}

impl CleanStop {
    /// Reads the witness in a store's directory; `None` if there is none or it cannot be trusted.
    pub(super) fn read(dir: &Path) -> Option<CleanStop> {
        let mut bytes = Vec::new();
        File::open(dir.join(FILE)).ok()?.take(LENGTH as u64 + 1).read_to_end(&mut bytes).ok()?;
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        if bytes.len() != LENGTH || *digest != <[u8; 32]>::from(Sha256::digest(body)) {
            return None;
        }
        let (state, rest) = body.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (unchecked, files) = rest.split_first()?;
        let files_now = Files::look(dir).ok()?.to_bytes();
        Some(CleanStop { state: *state, unchecked: *unchecked, files: files.try_into().ok()?, files_now })
    }

    /// Whether the store with these counters is the one that was closed in order, and its check may come later: then how
    /// many starts in a row have left it out.
    pub(super) fn vouches_for(&self, state: State) -> Option<u8> {
        let same = self.state == state.to_bytes() && self.files == self.files_now;
        (same && self.unchecked < MOST_UNCHECKED).then_some(self.unchecked)
    }

    /// Removes the witness, durably: what is written from here on it knows nothing of.
    pub(super) fn remove(dir: &Path) -> Result<(), Error> {
        let path = dir.join(FILE);
        match fs::remove_file(&path) {
            Ok(()) => sync_dir(dir),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("remove", &path)(error)),
        }
    }
}

/// A store that is being closed in order.
#[derive(Debug)]
pub(super) struct Stop {
    dir: PathBuf,
    state: State,
    unchecked: u8,
    many_written: bool,
}

impl Stop {
    /// What is to be vouched for, if anything: not a store that failed, or whose committing thread has not ended.
    pub(super) fn of(shared: &Shared, ended: bool) -> Option<Stop> {
        if !ended || lock(&shared.failed).is_some() {
            return None;
        }
        let state = shared.view.read().unwrap_or_else(PoisonError::into_inner).state;
        Some(Stop {
            dir: shared.dir.clone(),
            state,
            unchecked: shared.unchecked.load(Ordering::Relaxed),
            many_written: shared.written.load(Ordering::Relaxed) > MANY_WRITTEN,
        })
    }

    /// Leaves the witness, when sled has let go of its files. A failure is told the log: the next start takes longer.
    pub(super) fn vouch(&self) {
        // Nothing was checked when it was opened, so that nothing can be said of it.
        if self.unchecked == u8::MAX {
            return;
        }
        if let Err(error) = self.leave() {
            tracing::warn!(dir = %self.dir.display(), %error, "the store's next start will check all of it");
        }
    }

    fn leave(&self) -> Result<(), Error> {
        if self.many_written {
            // sled makes its snapshot when it is opened, of all that its log has then.
            guarded(&self.dir, || open_sled(&self.dir, SMALL_CACHE).map(drop))?;
        }
        let log_path = self.dir.join(SLED).join("db");
        let log = File::open(&log_path).map_err(Error::io("open", &log_path))?;
        let until = Instant::now() + LET_GO;
        // sled's threads hold this lock to their end, and write until then.
        while let Err(held) = flock(&log, FlockOperation::NonBlockingLockExclusive) {
            if held != rustix::io::Errno::WOULDBLOCK || Instant::now() >= until {
                return Err(Error::io("lock", &log_path)(held.into()));
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        log.sync_all().map_err(Error::io("sync", &log_path))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.state.to_bytes());
        bytes.push(self.unchecked);
        bytes.extend_from_slice(&Files::look(&self.dir).map_err(Error::io("look at", &log_path))?.to_bytes());
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        let (new, path) = (self.dir.join(NEW), self.dir.join(FILE));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(Error::io("open", &new))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", &new))?;
        fs::rename(&new, &path).map_err(Error::io("rename to", &path))?;
        // Let go of by hand: a child process between fork and exec may have a copy of the handle.
        let _ = flock(&log, FlockOperation::Unlock);
        sync_dir(&self.dir)
    }
}
