//! What is counted at a door.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics::Counter;

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Level(AtomicUsize);

impl Level {
    pub(super) fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted at a door: connections.
#[derive(Debug, Default)]
pub struct DoorCounts {
    /// Open now.
    pub open: Level,
    /// Let in.
    pub accepted: Counter,
    /// Closed to make room for another, while no request of theirs was being answered.
    pub made_room: Counter,
    /// Turned away, since every place was needed for an answer.
    pub turned_away: Counter,
    /// Closed because a request took too long to arrive, or none came.
    pub too_slow: Counter,
    /// Closed because their client took nothing of its answer for too long.
    pub unread: Counter,
}
