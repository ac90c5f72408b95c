//! The thread that commits: it takes all batches that wait, makes them durable with one flush, and answers.

use std::collections::BTreeSet;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::check::Progress;
use super::group::Group;
use super::open::{SLED, sync_dir};
use super::room::Room;
use super::tip::{Tip, TipFile};
use super::view::{Before, Reader, View, panic_text, sled_error};
use crate::batch::Batch;
use crate::error::Error;
use crate::store::{Committed, Position};

/// Most batches in a group.
const MAX_GROUP: usize = 512;
/// No batch is added to a group that has reached this size, in bytes.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// A batch that waits, and where its answer goes.
pub(super) struct Request {
    pub batch: Batch,
    pub size: usize,
    pub reply: Sender<Result<Committed, Error>>,
}

/// How far a group came.
#[derive(Default)]
struct Staged {
    /// The answers, should the group become durable.
    answers: Vec<Result<Committed, Error>>,
    /// The group was handed to sled; from here on a failure leaves its outcome open.
    with_sled: bool,
}

/// What the committer, the readers and a backup share.
pub(super) struct Shared {
    pub dir: PathBuf,
    pub db: sled::Db,
    /// An own handle of sled's log: sled's flush does not reach the disk's cache.
    pub log: File,
    pub tip: TipFile,
    /// The room that the disk has; the committer alone asks.
    pub room: Mutex<Room>,
    pub view: RwLock<View>,
    /// The owners of values that changed since the backup that is being made began. Changed only under the view's
    /// write lock.
    pub touched: Mutex<Option<BTreeSet<Vec<u8>>>>,
    /// A check of everything that is under way. Changed only under the view's lock.
    pub checking: Mutex<Option<Progress>>,
    /// How many starts in a row left the check of everything out; 0 once it was made.
    pub unchecked: AtomicU8,
    /// How many entries were written since the store was opened.
    pub written: AtomicU64,
    /// The position that [`crate::Store::wait_feed`] waits for.
    pub position: Mutex<Position>,
    pub moved: Condvar,
    /// Why no more commits are taken.
    pub failed: Mutex<Option<String>>,
    /// Since when a group has been with sled.
    pub busy_since: Mutex<Option<Instant>>,
}

/// Nothing behind these locks is left half-changed by a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn reader(&self) -> Reader<'_> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        Reader { dir: &self.dir, tree: &self.db, view }
    }

    /// The error of a store that takes no more commits.
    pub(super) fn failure(&self) -> Option<Error> {
        lock(&self.failed).clone().map(|reason| Error::Failed { reason })
    }

    /// Stops the store, unless it was stopped before, and returns why.
    pub(super) fn fail(&self, reason: String) -> String {
        let mut failed = lock(&self.failed);
        if failed.is_none() {
            tracing::error!(dir = %self.dir.display(), reason, "the store takes no more commits");
        }
        failed.get_or_insert(reason).clone()
    }

    /// Stops the store if sled has kept a group for longer than `limit`: a thread of sled's that died leaves its flush
    /// waiting for ever.
    pub(super) fn fail_if_stalled(&self, limit: Duration) -> Option<Error> {
        let stalled = lock(&self.busy_since).is_some_and(|since| since.elapsed() > limit);
        stalled.then(|| {
            let reason = format!("sled has not finished a write within {} s", limit.as_secs_f32());
            Error::OutcomeUnknown { reason: self.fail(reason) }
        })
    }

    /// Commits until nobody can send a batch any more.
    pub(super) fn run(&self, queue: &Receiver<Request>) {
        while let Ok(first) = queue.recv() {
            let mut size = first.size;
            let mut requests = vec![first];
            while requests.len() < MAX_GROUP && size < MAX_GROUP_BYTES {
                let Ok(request) = queue.try_recv() else { break };
                size += request.size;
                requests.push(request);
            }
            *lock(&self.busy_since) = Some(Instant::now());
            let answers = self.commit(&requests);
            *lock(&self.busy_since) = None;
            for (request, answer) in requests.into_iter().zip(answers) {
                // Whoever asked may have given up over a stalled disk.
                let _ = request.reply.send(answer);
            }
        }
    }

    fn commit(&self, requests: &[Request]) -> Vec<Result<Committed, Error>> {
        let failed = lock(&self.failed).clone();
        if let Some(reason) = failed {
            return requests.iter().map(|_| Err(Error::Failed { reason: reason.clone() })).collect();
        }
        let size = requests.iter().map(|request| request.size).sum();
        if let Err(Error::DiskFull { dir, needed, detail }) = lock(&self.room).make_sure(&self.dir, &self.log, size) {
            tracing::warn!(dir = %dir.display(), needed, detail, "commits are refused for want of room on the disk");
            let full = || Error::DiskFull { dir: dir.clone(), needed, detail: detail.clone() };
            return requests.iter().map(|_| Err(full())).collect();
        }
        let mut staged = Staged::default();
        let written = std::panic::catch_unwind(AssertUnwindSafe(|| self.write(requests, &mut staged)));
        let reason = match written {
            Ok(Ok(())) => return staged.answers,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("sled stopped: {}", panic_text(panic.as_ref())),
        };
        let reason = self.fail(reason);
        let mut answers = staged.answers.into_iter();
        let failure = || {
            let reason = reason.clone();
            Err(if staged.with_sled { Error::OutcomeUnknown { reason } } else { Error::Failed { reason } })
        };
        requests.iter().map(|_| answers.next().filter(Result::is_err).unwrap_or_else(failure)).collect()
    }

    fn write(&self, requests: &[Request], staged: &mut Staged) -> Result<(), Error> {
        let state = self.view.read().unwrap_or_else(PoisonError::into_inner).state;
        let mut group = Group::new(&self.dir, &self.db, state);
        for request in requests {
            match group.stage(&request.batch) {
                // Whoever cannot read what is to be changed must not write either.
                Err(error) if !matches!(error, Error::Conflict { .. }) => return Err(error),
                answer => staged.answers.push(answer),
            }
        }
        if !staged.answers.iter().any(Result::is_ok) {
            return Ok(());
        }
        staged.with_sled = true;
        self.view.write().unwrap_or_else(PoisonError::into_inner).before = std::mem::take(&mut group.before);
        let touched = std::mem::take(&mut group.touched);
        let state = group.apply()?;
        self.make_durable()?;

        let failed = lock(&self.failed);
        if let Some(reason) = &*failed {
            return Err(Error::Failed { reason: reason.clone() });
        }
        if let Err(error) = self.tip.write(Tip { epoch: state.epoch, commit: state.commit }) {
            tracing::warn!(dir = %self.dir.display(), %error, "the file `tip` could not be written");
        }
        self.written.fetch_add(group.changes.len() as u64, Ordering::Relaxed);
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(checking) = &mut *lock(&self.checking) {
            checking.follow(&view.before, &group.changes);
        }
        *view = View { before: Before::new(), state };
        if let Some(all) = &mut *lock(&self.touched) {
            all.extend(touched);
        }
        drop(view);
        drop(failed);
        *lock(&self.position) = Position { epoch: state.epoch, sequence: state.feed };
        self.moved.notify_all();
        Ok(())
    }

    /// Everything that was given to sled is on the medium when this returns.
    pub(super) fn make_durable(&self) -> Result<(), Error> {
        self.db.flush().map_err(|e| sled_error(&self.dir, e))?;
        sync_blobs(&self.dir)?;
        self.log.sync_data().map_err(Error::io("sync sled's log in", &self.dir))
    }
}

/// Syncs the files into which sled moves what is too large for its log. The layout keeps it from having any; should one
/// appear all the same, a power cut must not take it.
fn sync_blobs(dir: &Path) -> Result<(), Error> {
    let blobs = dir.join(SLED).join("blobs");
    let mut any = false;
    for entry in std::fs::read_dir(&blobs).map_err(Error::io("list", &blobs))? {
        let path = entry.map_err(Error::io("list", &blobs))?.path();
        any = true;
        match File::open(&path).and_then(|file| file.sync_all()) {
            // sled removes them when it likes.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result.map_err(Error::io("sync", &path))?,
        }
    }
    if any { sync_dir(&blobs) } else { Ok(()) }
}
