//! `cardinal restore` and the checking of backups: done while no service runs on the data directory.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use config::Config;
use data_encoding::HEXLOWER;
use serde::Serialize;
use store::{BackupSummary, RestoreOptions};

use crate::clock::{Clock, SystemClock};
use crate::error::Error;

/// What a backup holds.
#[derive(Clone, Debug, Serialize)]
pub struct BackupReport {
    /// Its size in bytes.
    pub bytes: u64,
    /// The feed's epoch at its commit.
    pub feed_epoch: u64,
    /// The feed's sequence at its commit.
    pub feed_sequence: u64,
    /// How many audit records it has.
    pub audit_records: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

/// What was restored.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreReport {
    /// What the backup holds.
    pub backup: BackupReport,
    /// The feed's epoch from now on.
    pub feed_epoch: u64,
    /// Where the store that was there before is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_aside: Option<String>,
}

fn report(summary: &BackupSummary) -> BackupReport {
    BackupReport {
        bytes: summary.bytes,
        feed_epoch: summary.position.epoch,
        feed_sequence: summary.position.sequence,
        audit_records: summary.audit_len,
        sha256: HEXLOWER.encode(&summary.sha256),
    }
}

/// Reads a backup to its end and checks it.
///
/// # Errors
/// When it is damaged or no backup.
pub fn verify(path: &Path) -> Result<BackupReport, Error> {
    let file = File::open(path).map_err(Error::file("open backup", path))?;
    Ok(report(&store::verify_backup(&mut BufReader::new(file))?))
}

/// Puts a backup in the place of the store. The store that is there is moved aside with `replace`, and never deleted. The
/// feed's epoch goes up, so that every responder fetches everything anew.
///
/// # Errors
/// When the backup is damaged, the store is in use, or there is one and `replace` is not said.
pub fn restore(config: &Config, path: &Path, replace: bool) -> Result<RestoreReport, Error> {
    let file = File::open(path).map_err(Error::file("open backup", path))?;
    let now = SystemClock.now().unix_seconds().unsigned_abs();
    let options = RestoreOptions { replace };
    let done = store::restore(&config.store.path, &mut BufReader::new(file), now, &options)?;
    Ok(RestoreReport {
        backup: report(&done.backup),
        feed_epoch: done.epoch,
        moved_aside: done.moved_aside.map(|path| path.display().to_string()),
    })
}
