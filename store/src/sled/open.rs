//! Opening a store: its owner, sled's own damage, and the check that all that was acknowledged is there.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::check::check_all;
use super::clean::CleanStop;
use super::layout::{LAYOUT_VERSION, STATE_KEY, State};
use super::lock::DirectoryLock;
use super::tip::{Tip, TipFile};
use super::view::{guarded, sled_error};
use super::{Check, OpenReport, SledOptions};
use crate::error::Error;

/// sled's own directory below the store's.
pub(super) const SLED: &str = "sled";
/// How long sled's threads of an earlier store in this process may take to let go of its file.
pub(super) const LET_GO: Duration = Duration::from_secs(10);

/// An open store's resources.
pub(super) struct Opened {
    pub lock: DirectoryLock,
    pub db: sled::Db,
    pub state: State,
    pub tip: TipFile,
    pub report: OpenReport,
    /// How many starts in a row left the check of everything out, this one included.
    pub unchecked: u8,
}

/// Opens or makes the store in `dir`.
pub(super) fn open(dir: &Path, options: &SledOptions) -> Result<Opened, Error> {
    make_dir(dir)?;
    let lock = DirectoryLock::take(dir)?;
    let mut report = OpenReport { snapshots_set_aside: set_torn_snapshots_aside(dir)?, ..OpenReport::default() };
    let sled_dir = dir.join(SLED);
    // Looked at before sled touches its files.
    let stopped = CleanStop::read(dir);
    let db = guarded(dir, || open_sled(dir, options.cache_bytes))?;
    let tip = Tip::read(dir);
    if tip.is_none() && Tip::exists(dir) {
        report.witness_unreadable = true;
        tracing::warn!(dir = %dir.display(), "the file `tip` is damaged; whether the last commits are there is not known");
    }
    let state = match guarded(dir, || read_state(dir, &db))? {
        Some(state) => state,
        None => {
            report.created = true;
            guarded(dir, || write_first_state(dir, &db, tip))?
        }
    };
    check_tip(dir, state, tip)?;
    let unchecked = match options.check {
        Check::Never => u8::MAX,
        Check::AfterUncleanStop => {
            stopped.and_then(|stopped| stopped.vouches_for(state)).map_or(0, |before| before + 1)
        }
        Check::Always => 0,
    };
    if unchecked == 0 {
        report.entries_checked = guarded(dir, || check_all(dir, &db, state))?;
    }
    report.check_left_out = unchecked > 0 && options.check == Check::AfterUncleanStop;
    CleanStop::remove(dir)?;
    sync_all(dir, &sled_dir)?;
    let tip = TipFile::open(dir, Tip { epoch: state.epoch, commit: state.commit })?;
    sync_dir(dir)?;
    Ok(Opened { lock, db, state, tip, report, unchecked })
}

/// Makes a directory that only its owner can look into, with those above it, and makes that durable.
pub(super) fn make_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io("make the directory", dir))?;
    sync_dir(dir)?;
    match dir.parent() {
        Some(above) if !above.as_os_str().is_empty() => sync_dir(above),
        _ => sync_dir(Path::new(".")),
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync the directory", dir))
}

/// Syncs sled's files, which sled itself does for its snapshots alone.
fn sync_all(dir: &Path, sled_dir: &Path) -> Result<(), Error> {
    for file in ["db", "conf"].map(|name| sled_dir.join(name)) {
        File::open(&file).and_then(|file| file.sync_all()).map_err(Error::io("sync", &file))?;
    }
    sync_dir(&sled_dir.join("blobs"))?;
    sync_dir(sled_dir)?;
    sync_dir(dir)
}

/// Opens sled in the store's directory `dir`.
pub(super) fn open_sled(dir: &Path, cache_bytes: u64) -> Result<sled::Db, Error> {
    let sled_dir = dir.join(SLED);
    make_dir(&sled_dir)?;
    let config = sled::Config::new().path(sled_dir).cache_capacity(cache_bytes).flush_every_ms(None);
    let until = Instant::now() + LET_GO;
    loop {
        match config.clone().open() {
            // The directory's lock is ours, so this can only be a thread of sled's that has not ended yet.
            Err(sled::Error::Io(e)) if e.to_string().contains("could not acquire lock") && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result.map_err(|e| sled_error(dir, e)),
        }
    }
}

/// Moves torn files `snap.*`, with which sled refuses to open, out of its way. It can do without: it reads the whole log
/// then.
fn set_torn_snapshots_aside(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let sled_dir = dir.join(SLED);
    let mut set_aside = Vec::new();
    if !sled_dir.is_dir() {
        return Ok(set_aside);
    }
    for entry in fs::read_dir(&sled_dir).map_err(Error::io("list", &sled_dir))? {
        let path = entry.map_err(Error::io("list", &sled_dir))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.starts_with("snap."))
        else {
            continue;
        };
        if snapshot_is_whole(&fs::read(&path).map_err(Error::io("read", &path))?) {
            continue;
        }
        // Not beside its old place: sled would take whatever begins with `snap.` for a snapshot.
        let free = (1u32..).map(|n| dir.join(format!("{name}.damaged-{n}"))).find(|to| !to.exists());
        let Some(to) = free else { continue };
        fs::rename(&path, &to).map_err(Error::io("move aside", &path))?;
        tracing::warn!(from = %path.display(), to = %to.display(), "a torn snapshot was moved aside; the store is checked");
        set_aside.push(to);
    }
    if !set_aside.is_empty() {
        sync_dir(&sled_dir)?;
        sync_dir(dir)?;
    }
    Ok(set_aside)
}

/// A snapshot ends with its length (eight bytes) and its CRC-32 (four, little-endian).
fn snapshot_is_whole(bytes: &[u8]) -> bool {
    let Some((body, trailer)) = bytes.split_last_chunk::<12>() else { return false };
    let [.., a, b, c, d] = *trailer;
    !body.is_empty() && crc32fast::hash(body) == u32::from_le_bytes([a, b, c, d])
}

fn read_state(dir: &Path, tree: &sled::Tree) -> Result<Option<State>, Error> {
    let Some(entry) = tree.get(STATE_KEY).map_err(|e| sled_error(dir, e))? else { return Ok(None) };
    let damaged = || Error::Damaged { dir: dir.to_owned(), detail: "its counters cannot be read".into() };
    let (version, state) = entry.split_first_chunk().ok_or_else(damaged)?;
    let found = u16::from_be_bytes(*version);
    if found > LAYOUT_VERSION {
        return Err(Error::NewerStore { dir: dir.to_owned(), found, supported: LAYOUT_VERSION });
    }
    State::from_bytes(state).map(Some).ok_or_else(damaged)
}

/// Makes a tree that holds nothing a store.
fn write_first_state(dir: &Path, tree: &sled::Tree, tip: Option<Tip>) -> Result<State, Error> {
    let damaged = |detail: &str| Error::Damaged { dir: dir.to_owned(), detail: detail.into() };
    if tip.is_some() {
        return Err(damaged("the log is empty or unreadable from its beginning"));
    }
    if !tree.is_empty() {
        return Err(damaged("its counters are gone"));
    }
    let state = State::new();
    tree.insert(STATE_KEY, state.entry()).and_then(|_| tree.flush()).map_err(|e| sled_error(dir, e))?;
    Ok(state)
}

fn check_tip(dir: &Path, state: State, tip: Option<Tip>) -> Result<(), Error> {
    let here = (state.epoch, state.commit);
    match tip {
        Some(tip) if (tip.epoch, tip.commit) > here => {
            let detail = format!(
                "it ends with commit {} of epoch {}, but commit {} of epoch {} was acknowledged",
                here.1, here.0, tip.commit, tip.epoch
            );
            Err(Error::Damaged { dir: dir.to_owned(), detail })
        }
        _ => Ok(()),
    }
}
