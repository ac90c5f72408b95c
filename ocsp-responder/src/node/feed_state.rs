//! How following the feed goes: for readiness, metrics and logs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pki::Timestamp;
use pki::feed::FeedPosition;

/// How it stands with the feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedView {
    /// Whether the feed is being followed now.
    pub connected: bool,
    /// Why it is not, in words, or what went wrong last.
    pub last_error: Option<String>,
    /// The newest entry that the CA spoke of.
    pub announced: FeedPosition,
    /// The newest entry that the CA was told of as being answered by and kept.
    pub acknowledged: FeedPosition,
    /// How far this machine's clock is ahead of the CA's, in milliseconds, as seen at the last heartbeat; with the time on
    /// the way.
    pub clock_ahead_ms: i64,
}

/// What is known of the feed, and what is counted.
#[derive(Debug, Default)]
pub struct FeedState {
    view: Mutex<FeedView>,
    /// How often the feed was connected.
    pub connections: AtomicU64,
    /// How many snapshots were fetched.
    pub snapshots: AtomicU64,
    /// How many entries came.
    pub entries: AtomicU64,
    /// How many heartbeats came.
    pub heartbeats: AtomicU64,
}

impl FeedState {
    /// How it stands.
    pub fn view(&self) -> FeedView {
        self.lock().clone()
    }

    pub(super) fn connected(&self) {
        let mut view = self.lock();
        view.connected = true;
        view.last_error = None;
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The feed ended. Returns whether that is news.
    pub(super) fn ended(&self, error: &str) -> bool {
        let mut view = self.lock();
        let is_news = view.connected || view.last_error.as_deref() != Some(error);
        view.connected = false;
        view.last_error = Some(error.to_owned());
        is_news
    }

    pub(super) fn heartbeat(&self, position: FeedPosition, as_of: Timestamp, now: Timestamp) {
        let mut view = self.lock();
        view.announced = position;
        view.clock_ahead_ms = now.unix_millis().saturating_sub(as_of.unix_millis());
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn acknowledged(&self, position: FeedPosition) {
        self.lock().acknowledged = position;
    }

    fn lock(&self) -> MutexGuard<'_, FeedView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
