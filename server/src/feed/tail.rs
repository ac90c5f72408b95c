//! One follower's view of the feed: a stream of frames that stays open.
//!
//! The follower sets the speed: a piece is made when the connection has taken the one before. It ends with the service,
//! and as soon as the follower's certificate is good no longer.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use pki::Timestamp;
use pki::feed::frame::{FORMAT, Frame};
use pki::feed::{FeedPosition, Mark};
use tokio::sync::watch;

use super::recent::frame;
use super::{News, OpenTail};
use crate::caller::ResponderIdentity;
use crate::failure::Failure;
use crate::service::Service;
use crate::statuses;

/// About how many octets of entries are sent at a time.
const PIECE: usize = 64 << 10;
/// How many entries are read from the store at a time, for a follower that is far behind.
const PORTION: usize = 500;

/// A tail that is open. Dropping it says that it is not any longer.
struct Tail {
    service: Arc<Service>,
    number: u64,
    identity: ResponderIdentity,
    news: watch::Receiver<News>,
    cut: watch::Receiver<bool>,
    /// The newest entry that was sent.
    sent: u64,
    greeting: Option<Frame>,
    heartbeat: Option<(Timestamp, FeedPosition, [u8; 32])>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut tails = self.service.feed.tails();
        let id = &self.identity.certificate;
        if let Some(open) = tails.open.get_mut(id) {
            open.retain(|tail| tail.number != self.number);
            if open.is_empty() {
                tails.open.remove(id);
            }
        }
        drop(tails);
        self.service.followers.disconnected(&self.identity.name);
        tracing::info!(responder = self.identity.name, "a responder follows the feed no longer");
    }
}

/// Opens a tail for a follower that has all entries up to `after`, the last of them with this mark. `check` is asked
/// whether the follower may still come in once it can be cut off: whatever happens to its certificate from then on ends
/// the tail.
///
/// # Errors
/// 409 when the follower is not where this feed was at that place, 503 when as many follow as are permitted or as many
/// tails of its own have not ended yet, and what `check` fails with.
pub(crate) fn open(
    service: &Arc<Service>,
    identity: ResponderIdentity,
    after: FeedPosition,
    mark: Mark,
    check: &dyn Fn() -> Result<(), Failure>,
) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, Failure> {
    let feed = &service.feed;
    check_place(service, after, mark)?;
    let (cut, is_cut) = watch::channel(false);
    let number = {
        let mut tails = feed.tails();
        if !tails.make_room(&identity.name) {
            let detail =
                "tails that this responder opened before have not ended yet: take what they sent, or close them";
            return Err(Failure::unavailable("busy", detail, "a responder has many tails that it takes nothing of"));
        }
        let Ok(place) = Arc::clone(&feed.places).try_acquire_owned() else {
            let detail = "as many responders follow the feed as limits.feed_followers permits: try again, or raise it";
            return Err(Failure::unavailable("busy", detail, "limits.feed_followers is reached"));
        };
        tails.last += 1;
        let number = tails.last;
        let open = OpenTail { number, responder: identity.name.clone(), cut, place: Some(place) };
        tails.open.entry(identity.certificate.clone()).or_default().push(open);
        number
    };
    service.followers.connected(&identity.name, after.sequence);
    let tail = Tail {
        service: Arc::clone(service),
        number,
        news: feed.news.subscribe(),
        cut: is_cut,
        sent: after.sequence,
        greeting: Some(Frame::Hello { format: FORMAT, origin: feed.origin(), position: after }),
        heartbeat: None,
        identity,
    };
    check()?;
    tracing::info!(responder = tail.identity.name, after = after.sequence, "a responder follows the feed");
    Ok(stream::unfold(tail, |mut tail| async move { tail.next().await.map(|piece| (Ok(piece), tail)) }))
}

/// Whether the feed was ever at this place.
fn check_place(service: &Service, after: FeedPosition, mark: Mark) -> Result<(), Failure> {
    let store = service.store.as_ref();
    let there = store.feed_position()?;
    let diverged = |detail: String| Err(Failure::new(409, api::feed::DIVERGED, "Not where the feed is", detail));
    if after.epoch != there.epoch {
        return diverged(format!(
            "the feed is in epoch {}, and epoch {} was asked for: fetch a snapshot",
            there.epoch, after.epoch
        ));
    }
    if after.sequence > there.sequence {
        return diverged(format!(
            "the feed is at entry {}, and entry {} was asked for: fetch a snapshot",
            there.sequence, after.sequence
        ));
    }
    let place = statuses::place(store, after).map_err(Failure::internal)?;
    if place.mark != *mark.as_bytes() {
        return diverged(format!("entry {} is another one here: fetch a snapshot", after.sequence));
    }
    Ok(())
}

impl Tail {
    /// The next piece; `None` when the tail ends.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        if let Some(greeting) = self.greeting.take() {
            greeting.encode(&mut out);
        }
        loop {
            let news = *self.news.borrow_and_update();
            if news.ended || *self.cut.borrow() || self.service.now() > self.identity.not_after {
                return None;
            }
            let mut entries = Bytes::new();
            if self.sent < news.position.sequence {
                entries = self.entries(news.position.sequence).await?;
            }
            // A heartbeat speaks of all entries up to it.
            if self.sent == news.position.sequence
                && let Some(as_of) = news.as_of
            {
                let revision = self.service.feed.document().revision;
                let heartbeat = (as_of, news.position, revision);
                if self.heartbeat != Some(heartbeat) {
                    self.heartbeat = Some(heartbeat);
                    out = joined(out, &entries);
                    entries = Bytes::new();
                    Frame::Heartbeat { position: news.position, as_of, issuers: revision }.encode(&mut out);
                }
            }
            if out.is_empty() && !entries.is_empty() {
                return Some(entries);
            }
            if !out.is_empty() {
                return Some(joined(out, &entries).into());
            }
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                // The other end goes only when this tail was taken off the list, which is when it ends.
                changed = self.cut.changed() => changed.ok()?,
            }
        }
    }

    /// Frames of the entries up to `to`, as many as go into one piece. `None` when they cannot be read: the follower
    /// comes back.
    async fn entries(&mut self, to: u64) -> Option<Bytes> {
        let after = self.sent;
        let recent = {
            let recent = self.service.feed.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            recent.after(after, to, PIECE)
        };
        if let Some((frames, last)) = recent {
            self.sent = last;
            return Some(frames);
        }
        let service = Arc::clone(&self.service);
        let read = tokio::task::spawn_blocking(move || service.store.feed(after, PORTION)).await.ok()?;
        let entries = match read {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "the feed cannot be read for a responder; it is cut off, and will come back");
                return None;
            }
        };
        let mut frames = BytesMut::new();
        for (sequence, entry) in entries {
            if sequence > to || (!frames.is_empty() && frames.len() + entry.len() > PIECE) {
                break;
            }
            frames.extend_from_slice(&frame(sequence, &entry));
            self.sent = sequence;
        }
        (self.sent > after).then(|| frames.freeze())
    }
}

fn joined(mut front: Vec<u8>, back: &[u8]) -> Vec<u8> {
    front.extend_from_slice(back);
    front
}
