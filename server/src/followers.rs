//! Who follows the status feed, and how far each has come.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The followers and what they acknowledged.
#[derive(Debug, Default)]
pub struct Followers {
    acknowledged: Mutex<BTreeMap<String, u64>>,
    changed: Condvar,
}

impl Followers {
    /// A follower answers by all entries up to this one.
    pub fn acknowledge(&self, follower: &str, sequence: u64) {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        acknowledged.insert(follower.to_owned(), sequence);
        drop(acknowledged);
        self.changed.notify_all();
    }

    /// Waits until every follower has come to `sequence`, for `longest` at most. Returns how many have, and how many
    /// there are.
    pub fn wait(&self, sequence: u64, longest: Duration) -> (u32, u32) {
        let until = Instant::now() + longest;
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let seen = acknowledged.values().filter(|seen| **seen >= sequence).count();
            let left = until.saturating_duration_since(Instant::now());
            if seen == acknowledged.len() || left.is_zero() {
                return (seen as u32, acknowledged.len() as u32);
            }
            acknowledged = self.changed.wait_timeout(acknowledged, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_those_who_have_come_that_far() {
        let followers = Followers::default();
        followers.acknowledge("a", 7);
        followers.acknowledge("b", 5);
        assert_eq!(followers.wait(5, Duration::ZERO), (2, 2));
        assert_eq!(followers.wait(6, Duration::ZERO), (1, 2));
    }

    #[test]
    fn waiting_ends_with_the_acknowledgement() {
        let followers = Followers::default();
        followers.acknowledge("a", 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| followers.wait(2, Duration::from_secs(60)));
            followers.acknowledge("a", 2);
            assert_eq!(waiting.join().unwrap(), (1, 1));
        });
    }
}
