//! Who follows the status feed, and how far each has come: the responder inside the service, and those that are enrolled.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pki::Timestamp;

/// How far apart the times are that are kept of the feed, at least.
const MARK_EVERY: Duration = Duration::from_millis(100);
/// How many of them are kept.
const MARKS: usize = 4096;

/// The followers and what they acknowledged.
#[derive(Debug, Default)]
pub struct Followers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    followers: BTreeMap<String, Follower>,
    /// The newest entry of the feed.
    newest: u64,
    /// When entries came: the first of each tenth of a second or so, and the time.
    marks: VecDeque<(u64, Timestamp)>,
}

#[derive(Clone, Debug, Default)]
struct Follower {
    /// How many connections it follows by: for a moment, two.
    connections: u32,
    acknowledged: Option<u64>,
    /// It let a wait run out by not having come to this entry: it is not waited for until it has.
    late_for: Option<u64>,
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many followers have come that far.
    pub seen_by: u32,
    /// How many there are.
    pub followers: u32,
    /// How many of them follow now.
    pub connected: u32,
}

/// How a follower stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerView {
    /// Its name.
    pub name: String,
    /// Whether it follows now.
    pub connected: bool,
    /// The newest entry that it answers by, if it said so since the service started.
    pub acknowledged: Option<u64>,
    /// How many entries it is behind.
    pub lag_entries: Option<u64>,
    /// How long the oldest entry that it has not acknowledged has been in the feed, to a tenth of a second.
    pub lag: Option<Duration>,
}

impl Followers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a follower of this name: it counts from now on, whether it is connected or not.
    pub fn add(&self, follower: &str) {
        self.state().followers.entry(follower.to_owned()).or_default();
    }

    /// There is no longer a follower of this name.
    pub fn remove(&self, follower: &str) {
        self.state().followers.remove(follower);
        self.changed.notify_all();
    }

    /// A follower connected, with all entries up to this one.
    pub fn connected(&self, follower: &str, sequence: u64) {
        if let Some(known) = self.state().followers.get_mut(follower) {
            // What it has now counts, also where it had more before: it may have lost its replica.
            let before = if known.connections == 0 { None } else { known.acknowledged };
            known.acknowledged = before.max(Some(sequence));
            known.connections += 1;
            known.late_for = None;
        }
        self.changed.notify_all();
    }

    /// A connection of a follower ended.
    pub fn disconnected(&self, follower: &str) {
        if let Some(known) = self.state().followers.get_mut(follower) {
            known.connections = known.connections.saturating_sub(1);
        }
        self.changed.notify_all();
    }

    /// A follower answers by all entries up to this one. Of several, the newest counts. One that is not known is passed
    /// over.
    pub fn acknowledge(&self, follower: &str, sequence: u64) {
        if let Some(known) = self.state().followers.get_mut(follower) {
            known.acknowledged = known.acknowledged.max(Some(sequence));
            if known.late_for.is_some_and(|late_for| sequence >= late_for) {
                known.late_for = None;
            }
        }
        self.changed.notify_all();
    }

    /// The feed has come to this entry.
    pub fn published(&self, sequence: u64, now: Timestamp) {
        let mut state = self.state();
        if sequence <= state.newest {
            return;
        }
        let first = state.newest + 1;
        state.newest = sequence;
        if state.marks.back().is_none_or(|(_, at)| now.since(*at) >= MARK_EVERY) {
            if state.marks.len() == MARKS {
                state.marks.pop_front();
            }
            state.marks.push_back((first, now));
        }
    }

    /// Waits until every follower that is connected has come to `sequence`, for `longest` at most. Who lets that time run
    /// out is not waited for again until it has come that far.
    pub fn wait(&self, sequence: u64, longest: Duration) -> Seen {
        let until = Instant::now() + longest;
        let mut state = self.state();
        loop {
            let is_waited_for =
                |known: &&mut Follower| known.connections > 0 && known.late_for.is_none() && !known.has(sequence);
            let left = until.saturating_duration_since(Instant::now());
            let mut waited_for = state.followers.values_mut().filter(is_waited_for).peekable();
            if waited_for.peek().is_some() && !left.is_zero() {
                drop(waited_for);
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            waited_for.for_each(|late| late.late_for = Some(sequence));
            let all = || state.followers.values();
            return Seen {
                seen_by: all().filter(|known| known.has(sequence)).count() as u32,
                followers: all().count() as u32,
                connected: all().filter(|known| known.connections > 0).count() as u32,
            };
        }
    }

    /// How each stands.
    pub fn list(&self, now: Timestamp) -> Vec<FollowerView> {
        let state = self.state();
        let view = |(name, known): (&String, &Follower)| FollowerView {
            name: name.clone(),
            connected: known.connections > 0,
            acknowledged: known.acknowledged,
            lag_entries: known.acknowledged.map(|sequence| state.newest.saturating_sub(sequence)),
            lag: known.acknowledged.map(|sequence| state.lag(sequence, now)),
        };
        state.followers.iter().map(view).collect()
    }
}

impl Follower {
    fn has(&self, sequence: u64) -> bool {
        self.acknowledged.is_some_and(|seen| seen >= sequence)
    }
}

impl State {
    /// How long the entry after `sequence` has been in the feed. Of one from before the times that are kept, how long the
    /// oldest of these is ago.
    fn lag(&self, sequence: u64, now: Timestamp) -> Duration {
        if sequence >= self.newest {
            return Duration::ZERO;
        }
        let after = self.marks.partition_point(|(first, _)| *first <= sequence + 1);
        let mark = self.marks.get(after.saturating_sub(1));
        mark.map_or(Duration::ZERO, |(_, at)| now.since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(seen_by: u32, followers: u32, connected: u32) -> Seen {
        Seen { seen_by, followers, connected }
    }

    fn three() -> Followers {
        let followers = Followers::default();
        for (name, sequence) in [("a", 7), ("b", 5)] {
            followers.add(name);
            followers.connected(name, sequence);
        }
        followers.add("c");
        followers
    }

    #[test]
    fn a_change_is_seen_by_those_who_have_come_that_far() {
        let followers = three();
        assert_eq!(followers.wait(5, Duration::from_secs(60)), seen(2, 3, 2));
        assert_eq!(followers.wait(6, Duration::ZERO), seen(1, 3, 2));
        followers.remove("c");
        followers.disconnected("b");
        assert_eq!(followers.wait(6, Duration::from_secs(60)), seen(1, 2, 1));
        followers.acknowledge("nobody", 9);
        assert_eq!(followers.wait(9, Duration::ZERO), seen(0, 2, 1));
    }

    #[test]
    fn waiting_ends_with_the_acknowledgement_and_with_the_connection() {
        let ends: [fn(&Followers); 2] = [|all| all.acknowledge("b", 6), |all| all.disconnected("b")];
        for end in ends {
            let followers = three();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| followers.wait(6, Duration::from_secs(60)));
                end(&followers);
                assert!(waiting.join().unwrap().seen_by >= 1);
            });
        }
    }

    #[test]
    fn whoever_let_a_wait_run_out_is_waited_for_again_once_it_has_come_that_far() {
        let followers = three();
        assert_eq!(followers.wait(7, Duration::ZERO), seen(1, 3, 2));
        // The minute is not waited for: b is late.
        assert_eq!(followers.wait(7, Duration::from_secs(60)), seen(1, 3, 2));
        followers.acknowledge("b", 7);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| followers.wait(8, Duration::from_secs(60)));
            followers.acknowledge("a", 8);
            followers.acknowledge("b", 8);
            assert_eq!(waiting.join().unwrap(), seen(2, 3, 2));
        });
    }

    #[test]
    fn the_lag_is_counted_from_the_oldest_entry_that_is_not_acknowledged() {
        let followers = three();
        let at = |millis: i64| Timestamp::from_unix_millis(1_000_000 + millis);
        followers.published(7, at(0));
        followers.published(8, at(1000));
        followers.published(20, at(1010));
        followers.published(21, at(3000));
        let lag = |name: &str| {
            let all = followers.list(at(5000));
            let one = all.into_iter().find(|one| one.name == name).unwrap();
            (one.lag_entries, one.lag)
        };
        assert_eq!(lag("a"), (Some(14), Some(Duration::from_secs(4))));
        assert_eq!(lag("b"), (Some(16), Some(Duration::from_secs(5))));
        assert_eq!(lag("c"), (None, None));
        followers.acknowledge("a", 20);
        assert_eq!(lag("a"), (Some(1), Some(Duration::from_secs(2))));
        followers.acknowledge("a", 21);
        assert_eq!(lag("a"), (Some(0), Some(Duration::ZERO)));
    }
}
