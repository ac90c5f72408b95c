//! All statuses as a file, for a follower that begins: the one that the service keeps for its own next start.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::doors::download::Content;
use crate::failure::Failure;
use crate::service::Service;
use crate::statuses::StatusFileError;

/// How long one follower may take for a snapshot: its place is somebody else's then.
const LONGEST: Duration = Duration::from_secs(600);

/// A snapshot that is being sent. A newer one takes its name meanwhile, and leaves this one as it is.
pub(crate) struct SentSnapshot {
    file: File,
    octets: u64,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

/// Opens the snapshot; makes one first if there is none that fits the feed.
///
/// # Errors
/// 503 when as many are sent as are permitted, or none can be made.
pub(crate) fn open(service: &Service) -> Result<SentSnapshot, Failure> {
    let Ok(place) = Arc::clone(&service.feed.snapshots).try_acquire_owned() else {
        let detail = "as many snapshots are being sent as limits.feed_snapshots permits: try again";
        return Err(Failure::unavailable("busy", detail, "limits.feed_snapshots is reached"));
    };
    let file = service.statuses.open(service.store.as_ref(), service.now()).map_err(|error| match error {
        StatusFileError::Store(error) => error.into(),
        error => Failure::unavailable(
            "snapshot",
            "the statuses cannot be written as a file; operations staff know from the log why",
            error,
        ),
    })?;
    let octets = file.metadata().map_err(Failure::internal)?.len();
    Ok(SentSnapshot { file, octets, until: Instant::now() + LONGEST, _place: place })
}

impl Content for SentSnapshot {
    fn octets(&self) -> u64 {
        self.octets
    }

    fn in_memory(&self) -> Option<Bytes> {
        None
    }

    fn read(&self, at: u64, most: usize) -> io::Result<Bytes> {
        if Instant::now() > self.until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a snapshot took too long to be fetched"));
        }
        let mut portion = vec![0; most];
        let read = self.file.read_at(&mut portion, at)?;
        portion.truncate(read);
        Ok(portion.into())
    }
}
