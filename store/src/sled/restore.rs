//! Putting a backup in place.
//!
//! The new store is made beside its place and compared with what the backup says of itself; only then is it renamed.
//! What was there before is moved aside, never deleted.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::group::Group;
use super::layout::{AUDIT, Envelope, FEED, OUTBOX, State};
use super::lock::DirectoryLock;
use super::open::{Opened, make_dir, open, sync_dir};
use super::tip::Tip;
use super::view::{guarded, sled_error};
use super::{Check, SledOptions, SledStore};
use crate::backup::{BackupReader, BackupSummary, Frame, Next};
use crate::error::Error;
use crate::store::Store;

/// How many entries are written at a time.
const CHUNK: usize = 4096;

/// How a backup is put in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Move a store that is there already aside, instead of refusing.
    pub replace: bool,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// What the backup held.
    pub backup: BackupSummary,
    /// The epoch of the feed from now on.
    pub epoch: u64,
    /// Where the store that was there before is now.
    pub moved_aside: Option<PathBuf>,
}

/// Makes a store out of a backup and puts it in place as `dir`. The feed's epoch becomes the greatest of: one more than
/// the backup's; one more than that of the store that was there, as far as it can be read; `now_seconds` (since 1970).
///
/// # Errors
/// [`Error::TargetExists`] if there is something at `dir` and it is not to be replaced, [`Error::InUse`] if it is in use.
/// [`Error::BackupDamaged`], [`Error::NewerBackup`], [`Error::BackupRead`] and [`Error::Io`]: in all cases nothing was
/// put in place.
pub fn restore(
    dir: &Path,
    reader: &mut dyn Read,
    now_seconds: u64,
    options: &RestoreOptions,
) -> Result<RestoreReport, Error> {
    let occupied = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io("look into", dir)(error)),
    };
    if occupied && !options.replace {
        return Err(Error::TargetExists { dir: dir.to_owned() });
    }
    let old_epoch = if occupied { epoch_of(dir)? } else { None };
    // Held to the end, so that nobody opens what is about to be moved.
    let _old = if occupied { Some(DirectoryLock::take(dir)?) } else { None };

    let fresh = beside(dir, "restoring")?;
    make_dir(&fresh)?;
    let made = build(&fresh, reader, now_seconds, old_epoch);
    let put = made.and_then(|(backup, epoch)| {
        let moved_aside = put_in_place(dir, &fresh, occupied)?;
        Ok(RestoreReport { backup, epoch, moved_aside })
    });
    if put.is_err()
        && let Err(error) = fs::remove_dir_all(&fresh)
    {
        tracing::warn!(dir = %fresh.display(), %error, "what was left of a restore could not be removed");
    }
    put
}

/// The first path of the form `DIR.what-N` that is not there.
fn beside(dir: &Path, what: &str) -> Result<PathBuf, Error> {
    let gone = || Error::Io {
        action: "find a place beside",
        path: dir.to_owned(),
        source: std::io::Error::from(std::io::ErrorKind::InvalidInput),
    };
    let name = dir.file_name().and_then(|name| name.to_str()).ok_or_else(gone)?;
    (1u32..).map(|n| dir.with_file_name(format!("{name}.{what}-{n}"))).find(|path| !path.exists()).ok_or_else(gone)
}

/// The epoch of the store that is to be replaced. Its witness knows it and was synced with it; should it be unreadable,
/// the store itself is asked.
fn epoch_of(dir: &Path) -> Result<Option<u64>, Error> {
    if let Some(tip) = Tip::read(dir) {
        return Ok(Some(tip.epoch));
    }
    if !dir.join(super::open::SLED).is_dir() {
        return Ok(None);
    }
    match SledStore::open_with(dir, &SledOptions { check: Check::Never, ..SledOptions::default() }) {
        Ok(store) => Ok(Some(store.feed_position()?.epoch)),
        Err(in_use @ Error::InUse { .. }) => Err(in_use),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "the epoch of the store that is replaced cannot be read");
            Ok(None)
        }
    }
}

/// Makes the store in `fresh` and checks it. Returns what the backup holds and the new epoch.
fn build(
    fresh: &Path,
    reader: &mut dyn Read,
    now_seconds: u64,
    old_epoch: Option<u64>,
) -> Result<(BackupSummary, u64), Error> {
    let mut reader = BackupReader::new(reader)?;
    let options = SledOptions { check: Check::Never, ..SledOptions::default() };
    let Opened { lock, db, state, tip, .. } = open(fresh, &options)?;
    let (end, summary) = guarded(fresh, || fill(fresh, &db, state, &mut reader))?;
    let epoch =
        [summary.position.epoch.saturating_add(1), old_epoch.map_or(1, |old| old.saturating_add(1)), now_seconds]
            .into_iter()
            .max()
            .unwrap_or(now_seconds);
    guarded(fresh, || {
        Group::new(fresh, &db, State { epoch, ..end }).apply()?;
        db.flush().map_err(|e| sled_error(fresh, e))?;
        Ok(())
    })?;
    drop((db, tip, lock));
    // The ordinary way in: it compares every entry, syncs, and writes the witness.
    let store = SledStore::open(fresh).map_err(|error| match error {
        Error::Damaged { detail, .. } => Error::BackupDamaged { detail },
        other => other,
    })?;
    drop(store);
    Ok((summary, epoch))
}

/// Writes all frames. Returns the state that the backup ends with, once it agrees with what was written.
fn fill(
    fresh: &Path,
    db: &sled::Db,
    state: State,
    reader: &mut BackupReader<'_>,
) -> Result<(State, BackupSummary), Error> {
    let mut group = Group::new(fresh, db, state);
    loop {
        match reader.next()? {
            Next::Frame(frame) => take(&mut group, &frame)?,
            Next::End(end, summary) => {
                if group.state.sum != end.sum {
                    return Err(Error::BackupDamaged {
                        detail: "its values do not make up the store it tells of".into(),
                    });
                }
                group.apply()?;
                return Ok((end, summary));
            }
        }
        if group.len() >= CHUNK {
            let state = group.apply()?;
            group = Group::new(fresh, db, state);
        }
    }
}

fn take(group: &mut Group<'_>, frame: &Frame) -> Result<(), Error> {
    match frame {
        Frame::Row { table, key, version, terms, value } => {
            let terms = terms.iter().map(|(index, term)| (index.as_str(), term.as_slice())).collect();
            group.restore_row(table, key, Some(Envelope { version: *version, terms, value }))
        }
        Frame::RowGone { table, key } => group.restore_row(table, key, None),
        Frame::Feed(number, bytes) => group.restore_entry(FEED, *number, Some(bytes)),
        Frame::Audit(number, bytes) => group.restore_entry(AUDIT, *number, Some(bytes)),
        Frame::Outbox(number, bytes) => group.restore_entry(OUTBOX, *number, Some(bytes)),
        Frame::OutboxGone(number) => group.restore_entry(OUTBOX, *number, None),
    }
}

fn put_in_place(dir: &Path, fresh: &Path, occupied: bool) -> Result<Option<PathBuf>, Error> {
    let moved_aside = if occupied { Some(beside(dir, "replaced")?) } else { None };
    if let Some(aside) = &moved_aside {
        fs::rename(dir, aside).map_err(Error::io("move aside", dir))?;
    }
    if let Err(error) = fs::rename(fresh, dir) {
        if let Some(aside) = &moved_aside {
            fs::rename(aside, dir).map_err(Error::io("move back", aside))?;
        }
        return Err(Error::io("put in place", dir)(error));
    }
    match dir.parent() {
        Some(above) if !above.as_os_str().is_empty() => sync_dir(above)?,
        _ => sync_dir(Path::new("."))?,
    }
    Ok(moved_aside)
}
