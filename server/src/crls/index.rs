//! The index of what is revoked, shared between the feed's follower and those who make CRLs.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ca::revocations::{FillingRevocations, Revocations, RevokedView, Shard};
use pki::Timestamp;
use pki::feed::{FeedPosition, StatusEntry};
use store::Store;

use crate::failure::Failure;

/// What is revoked, as far as the feed was followed.
#[derive(Debug, Default)]
pub struct RevocationIndex {
    revocations: Mutex<Revocations>,
    changed: Condvar,
}

impl RevocationIndex {
    fn lock(&self) -> MutexGuard<'_, Revocations> {
        self.revocations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was filled from all statuses.
    pub fn put_in_place(&self, filling: FillingRevocations, position: FeedPosition) {
        self.lock().put_in_place(filling, position);
    }

    /// Takes the next entry of the feed. One that was taken already is passed over; one that comes too early is left to
    /// the next [`RevocationIndex::view`], which reads the feed itself.
    pub fn apply(&self, sequence: u64, entry: &StatusEntry) {
        if self.lock().apply(sequence, entry).is_ok() {
            self.changed.notify_all();
        }
    }

    /// What is revoked of an issuer's certificates now: by all that was committed before the call.
    ///
    /// # Errors
    /// When the feed cannot be read.
    pub fn view(&self, store: &dyn Store, issuer: &str, page: usize) -> Result<RevokedView, Failure> {
        let committed = store.feed_position()?.sequence;
        let mut revocations = self.lock();
        while revocations.position().sequence < committed {
            let entries = store.feed(revocations.position().sequence, page)?;
            if entries.is_empty() {
                return Err(Failure::internal("the feed ends before its own position"));
            }
            for (sequence, bytes) in &entries {
                let entry = StatusEntry::decode(bytes).map_err(Failure::internal)?;
                revocations.apply(*sequence, &entry).map_err(Failure::internal)?;
            }
        }
        Ok(revocations.view(issuer))
    }

    /// The partitions that are named by certificates of an issuer that have not ended.
    pub fn shards(&self, issuer: &str, now: Timestamp) -> Vec<u16> {
        self.lock().shards(issuer, now)
    }

    /// The parts of an issuer's CRL in which something changed after these places in the feed.
    pub fn changed_since(&self, issuer: &str, sequence: impl Fn(Shard) -> u64) -> Vec<Shard> {
        self.lock().changed_since(issuer, sequence)
    }

    /// Waits until an entry was taken, for `longest` at most.
    pub fn wait(&self, longest: Duration) {
        drop(self.changed.wait_timeout(self.lock(), longest));
    }

    /// How many certificates are revoked or on hold.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
