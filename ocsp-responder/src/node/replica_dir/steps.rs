//! The steps of writing the replica, for whoever watches them: the tests that kill the process between each pair, and
//! those that let the disk fail.

use std::io;

/// A step of writing the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaStep {
    /// A new snapshot is durable beside the old one.
    SnapshotWritten,
    /// The new snapshot's tail is durable beside the old one.
    TailWritten,
    /// The new snapshot has taken the old one's place; its tail has not.
    SnapshotSwapped,
    /// The new tail has taken its place too.
    TailSwapped,
    /// Entries are appended, and not yet durable.
    EntriesWritten,
    /// They are durable, and neither applied nor acknowledged.
    EntriesDurable,
    /// How far the feed was seen is written.
    SeenWritten,
    /// A new issuers document is durable beside the old one.
    IssuersWritten,
    /// It has taken the old one's place.
    IssuersSwapped,
    /// The tail of a replica that must not come back is removed; its snapshot is not.
    TailRemoved,
}

impl ReplicaStep {
    /// All of them.
    pub const ALL: [ReplicaStep; 10] = [
        ReplicaStep::SnapshotWritten,
        ReplicaStep::TailWritten,
        ReplicaStep::SnapshotSwapped,
        ReplicaStep::TailSwapped,
        ReplicaStep::EntriesWritten,
        ReplicaStep::EntriesDurable,
        ReplicaStep::SeenWritten,
        ReplicaStep::IssuersWritten,
        ReplicaStep::IssuersSwapped,
        ReplicaStep::TailRemoved,
    ];

    /// The step's name.
    pub fn name(self) -> &'static str {
        match self {
            ReplicaStep::SnapshotWritten => "snapshot-written",
            ReplicaStep::TailWritten => "tail-written",
            ReplicaStep::SnapshotSwapped => "snapshot-swapped",
            ReplicaStep::TailSwapped => "tail-swapped",
            ReplicaStep::EntriesWritten => "entries-written",
            ReplicaStep::EntriesDurable => "entries-durable",
            ReplicaStep::SeenWritten => "seen-written",
            ReplicaStep::IssuersWritten => "issuers-written",
            ReplicaStep::IssuersSwapped => "issuers-swapped",
            ReplicaStep::TailRemoved => "tail-removed",
        }
    }
}

/// Is told of each step, on the thread that does it.
pub trait ReplicaSteps: Send + Sync {
    /// The step is done.
    ///
    /// # Errors
    /// The step counts as failed with the error that this returns.
    fn done(&self, step: ReplicaStep) -> io::Result<()>;
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl ReplicaSteps for Unwatched {
    fn done(&self, _: ReplicaStep) -> io::Result<()> {
        Ok(())
    }
}
