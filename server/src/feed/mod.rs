//! The status feed as others follow it. One thread of the service reads the store's feed ([`crate::tasks`]) and tells of
//! it here; every follower's [`tail`] takes it from there, so that a hundred of them cost one reading.
//!
//! What is kept is bounded: the frames of the newest entries, and for each follower one piece of them that is on its way.
//! A follower that is behind these reads on from the store, at its own speed.

pub(crate) mod document;
mod recent;
pub(crate) mod snapshot;
pub(crate) mod tail;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ca::CertificateId;
use pki::Timestamp;
use pki::feed::{FeedPosition, Origin, PublishedStatus, StatusEntry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::document::Document;
use self::recent::Recent;

/// The time in which signers are counted.
const HOUR: Duration = Duration::from_secs(3600);

/// How many tails a responder may have open: the one by which it follows, and the one that takes its place.
const TAILS: usize = 2;
/// How many with those that were cut off, and whose last octets nobody has taken yet.
const ENDING_TAILS: usize = 8;

/// How far the feed has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// The newest entry.
    pub(crate) position: FeedPosition,
    /// Nothing is newer than that as of then; `None` before the first look.
    pub(crate) as_of: Option<Timestamp>,
    /// The service stops.
    pub(crate) ended: bool,
}

/// The feed as others follow it.
pub struct Feed {
    origin: Origin,
    document: ArcSwap<Document>,
    news: watch::Sender<News>,
    recent: Mutex<Recent>,
    tails: Mutex<Tails>,
    places: Arc<Semaphore>,
    snapshots: Arc<Semaphore>,
    pace: Mutex<HashMap<(String, String), VecDeque<Timestamp>>>,
}

/// The open tails, by the certificate that each was opened with.
#[derive(Debug, Default)]
struct Tails {
    last: u64,
    open: HashMap<CertificateId, Vec<OpenTail>>,
}

#[derive(Debug)]
struct OpenTail {
    number: u64,
    responder: String,
    cut: watch::Sender<bool>,
    /// One of the places that all responders share, until it is cut off.
    place: Option<OwnedSemaphorePermit>,
}

impl Tails {
    /// Makes room for one more tail of a responder: its oldest ones beyond [`TAILS`] end, and give up their places at
    /// once. Returns whether there is room; there is none while many that were cut off still hold a connection.
    fn make_room(&mut self, responder: &str) -> bool {
        let mut own: Vec<_> = self.open.values_mut().flatten().filter(|tail| tail.responder == responder).collect();
        if own.len() >= ENDING_TAILS {
            return false;
        }
        own.retain(|tail| tail.place.is_some());
        own.sort_by_key(|tail| tail.number);
        let beyond = (own.len() + 1).saturating_sub(TAILS);
        for tail in &mut own[..beyond] {
            tail.place = None;
            tail.cut.send_replace(true);
        }
        true
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Feed {
    /// A feed that nobody follows yet.
    pub(crate) fn new(origin: Origin, document: Document, position: FeedPosition, limits: &config::Limits) -> Self {
        Feed {
            origin,
            document: ArcSwap::from_pointee(document),
            news: watch::Sender::new(News { position, as_of: None, ended: false }),
            recent: Mutex::new(Recent::new(position.sequence)),
            tails: Mutex::default(),
            places: Arc::new(Semaphore::new(limits.feed_followers)),
            snapshots: Arc::new(Semaphore::new(limits.feed_snapshots)),
            pace: Mutex::default(),
        }
    }

    /// Whose feed it is.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whom responders answer for, as it is now.
    pub(crate) fn document(&self) -> Arc<Document> {
        self.document.load_full()
    }

    /// Puts another document in its place; followers learn of its revision by a heartbeat at once.
    pub(crate) fn set_document(&self, document: Document) {
        self.document.store(Arc::new(document));
        self.news.send_modify(|_| {});
    }

    /// The next entries of the feed were read. They are sent with the heartbeat that follows.
    pub(crate) fn entries(&self, entries: &[(u64, Vec<u8>)]) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().for_each(|(sequence, entry)| recent.push(*sequence, entry));
    }

    /// Cuts off whoever follows with a certificate that is good no longer.
    pub(crate) fn status_changed(&self, entry: &StatusEntry) {
        if matches!(entry.status, PublishedStatus::Good { .. }) {
            return;
        }
        let tails = self.tails();
        if tails.open.is_empty() {
            return;
        }
        let id = CertificateId { issuer: entry.issuer.clone(), serial: entry.serial };
        for tail in tails.open.get(&id).into_iter().flatten() {
            tail.cut.send_replace(true);
        }
    }

    /// Nothing is newer than `position` as of `as_of`; all entries up to there were given to [`Feed::entries`].
    pub(crate) fn heartbeat(&self, position: FeedPosition, as_of: Timestamp) {
        self.news.send_modify(|news| {
            news.position = position;
            news.as_of = Some(as_of);
        });
    }

    /// Ends every tail: the service stops.
    pub(crate) fn end(&self) {
        self.news.send_modify(|news| news.ended = true);
    }

    /// How many tails this responder has open.
    pub(crate) fn connections(&self, responder: &str) -> u32 {
        let tails = self.tails();
        tails.open.values().flatten().filter(|tail| tail.responder == responder).count() as u32
    }

    /// Cuts off a responder.
    pub(crate) fn cut(&self, responder: &str) {
        for tail in self.tails().open.values().flatten().filter(|tail| tail.responder == responder) {
            tail.cut.send_replace(true);
        }
    }

    fn tails(&self) -> MutexGuard<'_, Tails> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more signer that a responder wants for an issuer. When there were too many in the last hour, says when
    /// to come again.
    pub(crate) fn pace(&self, responder: &str, issuer: &str, most: usize, now: Timestamp) -> Result<(), Duration> {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.retain(|_, times| {
            while times.front().is_some_and(|first| now.since(*first) >= HOUR) {
                times.pop_front();
            }
            !times.is_empty()
        });
        let times = pace.entry((responder.to_owned(), issuer.to_owned())).or_default();
        if let (true, Some(first)) = (times.len() >= most, times.front()) {
            return Err(HOUR.saturating_sub(now.since(*first)));
        }
        times.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Feed {
        let config = config::Config::parse(config::SHIPPED_CARDINAL_TOML, std::path::Path::new("cardinal.toml"));
        let position = FeedPosition { epoch: 1, sequence: 0 };
        Feed::new(Origin::of("test", b"key"), Document::default(), position, &config.unwrap().limits)
    }

    #[test]
    fn signers_are_paced_by_responder_and_issuer() {
        let feed = feed();
        let at = Timestamp::from_unix_seconds;
        assert_eq!(feed.pace("a", "signing-1", 2, at(0)), Ok(()));
        assert_eq!(feed.pace("a", "signing-1", 2, at(600)), Ok(()));
        assert_eq!(feed.pace("a", "signing-1", 2, at(1200)), Err(Duration::from_secs(2400)));
        assert_eq!(feed.pace("a", "devices-1", 2, at(1200)), Ok(()));
        assert_eq!(feed.pace("b", "signing-1", 2, at(1200)), Ok(()));
        assert_eq!(feed.pace("a", "signing-1", 2, at(3600)), Ok(()));
        assert_eq!(feed.pace("a", "signing-1", 2, at(3601)), Err(Duration::from_secs(599)));
    }
}
