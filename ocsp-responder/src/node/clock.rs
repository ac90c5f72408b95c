//! What time it is, for answers: this machine's clock, and never later than the CA's last word allows.
//!
//! A clock that is ahead for a moment must not be a clock that is behind its own answers once it is set right
//! (conformance: O24). So the time of an answer is at most that of the last heartbeat, and what has passed since by the
//! monotonic clock, which nobody sets, and [`TOLERANCE`]. Before the first heartbeat of a run there is nothing to go by but
//! this machine's clock; the heartbeat that was kept with the replica then still says until when anything is answered.
//!
//! A monotonic clock stands still while a machine sleeps. Heartbeats come each second; when none has come for
//! [`SILENCE`], what has passed is what the clock says that says more, so that statuses do not look fresh after a sleep.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pki::Timestamp;

use crate::http::Clock;

/// How far ahead of the CA's time an answer may be: for the way of a heartbeat, and small differences of clocks.
pub const TOLERANCE: Duration = Duration::from_secs(2);
/// After so long without a heartbeat a clock that was set counts as a machine that slept.
pub const SILENCE: Duration = Duration::from_secs(10);
/// A heartbeat that was long under way, or a CA whose clock went back, counts after so long, at most twice as long.
const SLOWER_AFTER: Duration = Duration::from_secs(60);

/// The time since some moment, by a clock that only goes forward.
pub type Monotonic = Arc<dyn Fn() -> Duration + Send + Sync>;

/// There was no heartbeat.
const NEVER: i64 = i64::MIN;

/// The CA's time less the monotonic clock's, in milliseconds: the most of the last while, and of the one before.
struct Most {
    now: i64,
    before: i64,
    since: i64,
}

/// Tells the time, kept in bounds by the CA's.
pub struct NodeClock {
    wall: Clock,
    monotonic: Monotonic,
    most: Mutex<Most>,
    /// The CA's time less the monotonic clock's, in milliseconds.
    ahead: AtomicI64,
    /// When the last heartbeat came, by the monotonic clock, in milliseconds.
    heard: AtomicI64,
    /// This machine's clock less the monotonic one then, in milliseconds.
    wall_ahead: AtomicI64,
}

impl std::fmt::Debug for NodeClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl NodeClock {
    /// By this machine's clock, and the system's monotonic one.
    pub fn new(wall: Clock) -> Arc<Self> {
        let begun = Instant::now();
        Self::with(wall, Arc::new(move || begun.elapsed()))
    }

    /// By these two.
    pub fn with(wall: Clock, monotonic: Monotonic) -> Arc<Self> {
        let most = Mutex::new(Most { now: NEVER, before: NEVER, since: 0 });
        let (ahead, heard, wall_ahead) = (AtomicI64::new(NEVER), AtomicI64::new(0), AtomicI64::new(0));
        Arc::new(NodeClock { wall, monotonic, most, ahead, heard, wall_ahead })
    }

    /// Takes the CA's word of what time it is, as it comes.
    pub fn heard(&self, as_of: Timestamp) {
        let (wall, monotonic) = (self.wall().unix_millis(), millis((self.monotonic)()));
        let mut most = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        if monotonic.saturating_sub(most.since) >= millis(SLOWER_AFTER) {
            *most = Most { now: NEVER, before: most.now, since: monotonic };
        }
        most.now = most.now.max(as_of.unix_millis().saturating_sub(monotonic));
        self.wall_ahead.store(wall.saturating_sub(monotonic), Ordering::Relaxed);
        self.heard.store(monotonic, Ordering::Relaxed);
        self.ahead.store(most.now.max(most.before), Ordering::Release);
    }

    /// The time for answers.
    pub fn now(&self) -> Timestamp {
        let wall = self.wall();
        let ahead = self.ahead.load(Ordering::Acquire);
        if ahead == NEVER {
            return wall;
        }
        let monotonic = millis((self.monotonic)());
        let mut latest = ahead.saturating_add(monotonic).saturating_add(millis(TOLERANCE));
        if monotonic.saturating_sub(self.heard.load(Ordering::Relaxed)) > millis(SILENCE) {
            let wall_ahead = wall.unix_millis().saturating_sub(monotonic);
            latest = latest.saturating_add(wall_ahead.saturating_sub(self.wall_ahead.load(Ordering::Relaxed)).max(0));
        }
        wall.min(Timestamp::from_unix_millis(latest))
    }

    /// What this machine's clock says.
    pub fn wall(&self) -> Timestamp {
        (self.wall)()
    }
}
