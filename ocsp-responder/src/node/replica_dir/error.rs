//! Why a replica is not used, and why one cannot be kept.

use std::io;

use pki::feed::{EntryError, FeedPosition, Origin};

use super::tail::TailError;
use crate::snapshot::SnapshotError;

/// Why what is on disk is not used as a replica. It is removed, and a snapshot is needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was changed, or something is missing in the middle.
    #[error("the replica's file {file:?}: {cause}")]
    Damaged {
        /// Which of its files.
        file: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// One of its two files is missing, or they do not belong together.
    #[error("the replica's files \"snapshot\" and \"tail\" do not belong together")]
    Incomplete,
    /// It is of another CA.
    #[error("the replica is of the feed {is}, and this responder follows {wanted}")]
    Foreign {
        /// The feed that is followed.
        wanted: Origin,
        /// The replica's.
        is: Origin,
    },
    /// It is older than what was seen.
    #[error("the replica is of {have:?}, and {seen:?} was seen already: an older copy, or cut off at its end")]
    Older {
        /// The replica's place.
        have: FeedPosition,
        /// The furthest place that was seen.
        seen: FeedPosition,
    },
    /// What was seen cannot be told, so whether it is older cannot either.
    #[error(
        "the replica's file \"seen\" is missing or damaged: whether the replica is older than what was seen cannot be told"
    )]
    NothingSeen,
}

/// Why the replica on disk does not take something.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaDirError {
    /// The disk failed. If it was the replica itself that could not be written, it is removed and no longer kept.
    #[error("the replica's {what} in {dir:?}: {cause}; make room or mend the disk, a new replica is then fetched")]
    Disk {
        /// The file, or what was done with it.
        what: &'static str,
        /// The directory.
        dir: std::path::PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// There is no replica on disk to continue: a snapshot is needed.
    #[error("no replica is kept: a snapshot is needed")]
    NotKept,
    /// Another process has the directory.
    #[error("{0:?} is in use by another ocsp-responder: each needs a directory of its own")]
    InUse(std::path::PathBuf),
    /// What was offered is older than what was seen: never taken, since it could bring an old `good` back.
    #[error(
        "{offered:?} was offered, and {seen:?} was seen already: the CA was put back without `cardinal restore`, which \
         raises the epoch"
    )]
    Older {
        /// The furthest place that was seen.
        seen: FeedPosition,
        /// What was offered.
        offered: FeedPosition,
    },
    /// What was offered goes on from another history than the one that was seen, in the same epoch.
    #[error(
        "{offered:?} was offered, and does not go on from what was seen, {seen:?}: the CA was put back without `cardinal \
         restore`, which raises the epoch"
    )]
    Diverged {
        /// The furthest place that was seen.
        seen: FeedPosition,
        /// What was offered.
        offered: FeedPosition,
    },
    /// An entry is missing: a snapshot is needed.
    #[error("feed entry {got} came after {have:?}: an entry is missing, so a new snapshot is needed")]
    Gap {
        /// The replica's place.
        have: FeedPosition,
        /// The number of the entry that came.
        got: u64,
    },
    /// The snapshot that was offered will not do.
    #[error("the snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The tail on disk will not do.
    #[error("the tail: {0}")]
    Tail(#[from] TailError),
    /// The responder does not take it.
    #[error(transparent)]
    Responder(#[from] crate::Error),
    /// An entry that was offered is none.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl ReplicaDirError {
    /// Whether only keeping failed: what was offered is right, and is applied in memory. It is not to be acknowledged.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, ReplicaDirError::Disk { .. } | ReplicaDirError::NotKept)
    }
}
