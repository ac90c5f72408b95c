//! The link to the CA: connect, take a snapshot if one is needed, follow the feed, and begin again when it breaks.
//!
//! What comes is made durable, then applied, then acknowledged ([`ReplicaDir`](super::replica_dir::ReplicaDir) holds that
//! order). Acknowledgements and a new list of issuers go over a connection of their own ([`errands`]), so that they never
//! wait for the feed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::feed::{self, TailQuery};
use hyper::body::Incoming;
use pki::Timestamp;
use pki::feed::frame::{Frame, FrameDecoder};
use pki::feed::{FeedPosition, Mark};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::{Connection, Refused};
use super::errands::{self, Errand};
use super::replica_dir::ReplicaDirError;
use super::{Node, NodeError};
use crate::snapshot::{Snapshot, SnapshotPlace};

/// A replica that could not be kept is fetched anew after so long.
const KEEP_AGAIN: Duration = Duration::from_secs(60);

/// Pauses between tries: each twice the one before, up to the longest, and up to half of it left to chance.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: SystemRandom,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Backoff { first, longest, next: first, random: SystemRandom::new() }
    }

    /// The pause before the next try.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.longest.min(pause.saturating_mul(2));
        self.jitter(pause)
    }

    /// The longest pause, for what does not mend itself soon.
    pub(super) fn longest(&mut self) -> Duration {
        self.next = self.longest;
        self.jitter(self.longest)
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    fn jitter(&self, pause: Duration) -> Duration {
        let mut octet = [0];
        // Without chance all come at once, which is bearable.
        let _ = self.random.fill(&mut octet);
        pause - pause / 2 * u32::from(octet[0]) / 255
    }
}

/// A task that ends with what it was started for.
struct Attached(JoinHandle<()>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Follows the feed until `stop`.
pub(super) async fn run(node: Arc<Node>, mut stop: watch::Receiver<bool>) {
    let times = &node.config.times;
    let mut backoff = Backoff::new(times.reconnect, times.reconnect_longest);
    loop {
        let heartbeats = node.feed.heartbeats.load(Ordering::Relaxed);
        let shown = node.identity.certificate();
        let error = tokio::select! {
            error = follow(&node) => error,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if node.feed.heartbeats.load(Ordering::Relaxed) > heartbeats {
            backoff.reset();
        }
        let error = match error {
            Ended::Rejoin(why) => {
                tracing::info!(why, "the feed is joined anew");
                node.feed.ended(why);
                continue;
            }
            Ended::Error(error) => error,
        };
        let text = error.to_string();
        // One that was renewed meanwhile is revoked because the new one was used.
        let is_expulsion = error.is_expulsion() && shown == node.identity.certificate();
        if is_expulsion {
            node.expelled(text.clone()).await;
        }
        let pause = if error.is_refusal() { backoff.longest() } else { backoff.next() };
        if node.feed.ended(&text) && !is_expulsion {
            tracing::warn!(
                error = text,
                "the feed is not followed; answers are given until they are withheld for their age"
            );
        } else {
            tracing::debug!(error = text, ?pause, "the feed is still not followed");
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.rejoin.notified() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Why following ended.
enum Ended {
    /// To begin again at once.
    Rejoin(&'static str),
    Error(NodeError),
}

impl<E: Into<NodeError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Ended::Error(error.into())
    }
}

async fn follow(node: &Arc<Node>) -> Ended {
    match try_follow(node).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

async fn try_follow(node: &Arc<Node>) -> Result<std::convert::Infallible, Ended> {
    let mut connection = node.server.connect(node.identity.config()?).await?;
    node.refresh_issuers(&mut connection).await?;
    let (mut body, place) = tail(node, &mut connection).await?;
    let mut follower = Follower { node, decoder: FrameDecoder::default(), place, greeted: false, unkept_since: None };
    let (errand, errands) = watch::channel(Errand { acknowledge: None, issuers: None });
    let _errands = Attached(tokio::spawn(errands::run(Arc::clone(node), errands)));
    loop {
        let part = tokio::select! {
            part = timeout(node.config.times.silence, http_body_util::BodyExt::frame(&mut body)) => part,
            () = node.rejoin.notified() => return Err(Ended::Rejoin("this responder has a new certificate")),
        };
        let silent = |_| follower.wrong(format!("nothing came for {} s", node.config.times.silence.as_secs_f32()));
        let Some(part) = part.map_err(silent)? else {
            return Err(NodeError::Broken {
                server: node.server.title().to_owned(),
                reason: "the CA ended the feed".to_owned(),
            }
            .into());
        };
        if let Ok(octets) = connection.part(part).await?.into_data() {
            follower.take(&octets, &errand).await?;
        }
    }
}

/// The feed from where this responder is; if need be from a snapshot.
async fn tail(node: &Arc<Node>, connection: &mut Connection) -> Result<(Incoming, SnapshotPlace), NodeError> {
    let kept = node.replica.place();
    let mut place = match kept {
        Some(place) => place,
        None => snapshot(node, connection, None).await?,
    };
    for is_new in [kept.is_none(), true] {
        let query = TailQuery {
            epoch: place.position.epoch,
            after: place.position.sequence,
            mark: Mark::from_bytes(place.mark).to_string(),
        };
        match connection.stream(&query.path()).await {
            Ok(body) => return Ok((body, place)),
            Err(Refused { error, .. }) if is_diverged(&error) && !is_new => {
                tracing::warn!(%error, "the replica is not of the feed as it is now; a snapshot is fetched");
                place = snapshot(node, connection, Some(place)).await?;
            }
            Err(Refused { error, .. }) => return Err(error),
        }
    }
    Err(NodeError::Feed {
        server: node.server.title().to_owned(),
        reason: "it does not go on from its own snapshot".to_owned(),
    })
}

fn is_diverged(error: &NodeError) -> bool {
    error.problem().is_some_and(|problem| problem.status == 409 && problem.name() == feed::DIVERGED)
}

/// Fetches a snapshot, and takes it; `instead_of` is where the feed would not go on.
async fn snapshot(
    node: &Arc<Node>,
    connection: &mut Connection,
    instead_of: Option<SnapshotPlace>,
) -> Result<SnapshotPlace, NodeError> {
    let limit = node.config.limits.snapshot_megabytes.saturating_mul(1_000_000);
    let bytes = connection.file(feed::SNAPSHOT, limit, "Raise `limits.snapshot_megabytes`").await?;
    node.feed.snapshots.fetch_add(1, Ordering::Relaxed);
    let node = Arc::clone(node);
    blocking(move || {
        let place = Snapshot::open(&bytes).map_err(ReplicaDirError::from)?.place();
        match node.replica.take_snapshot(&bytes, instead_of, &node.responder) {
            Ok(certificates) => {
                tracing::info!(certificates, sequence = place.position.sequence, "a snapshot was taken")
            }
            Err(error) if error.is_of_the_disk() => tracing::error!(
                %error, "the snapshot is used, and cannot be kept: a restart needs the CA until it can"
            ),
            Err(error) => return Err(error.into()),
        }
        Ok(place)
    })
    .await
}

/// Runs what blocks off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(NodeError::System(format!("a thread ended without a result (see the log): {error}"))),
    }
}

/// What goes together to the disk and into memory.
#[derive(Debug, Default)]
struct Portion {
    entries: Vec<(u64, Vec<u8>)>,
    heartbeat: Option<(FeedPosition, Timestamp)>,
}

/// Takes the feed's frames.
struct Follower<'a> {
    node: &'a Arc<Node>,
    decoder: FrameDecoder,
    place: SnapshotPlace,
    greeted: bool,
    /// Since when the replica on disk lacks something.
    unkept_since: Option<Instant>,
}

impl Follower<'_> {
    fn wrong(&self, reason: impl Into<String>) -> NodeError {
        NodeError::Feed { server: self.node.server.title().to_owned(), reason: reason.into() }
    }

    async fn take(&mut self, octets: &[u8], errand: &watch::Sender<Errand>) -> Result<(), Ended> {
        self.decoder.push(octets);
        let mut portion = Portion::default();
        while let Some(frame) = self.decoder.next().map_err(|error| self.wrong(error.to_string()))? {
            match frame {
                Frame::Hello { origin, position, .. } => {
                    let expected = self.node.identity.enrolled().origin;
                    if self.greeted || origin != expected || position != self.place.position {
                        let what = format!("it begins at {position:?} of {origin}");
                        return Err(self
                            .wrong(format!("{what}, and not at {:?} of {expected}", self.place.position))
                            .into());
                    }
                    self.greeted = true;
                    self.node.feed.connected();
                    self.node.readmitted();
                    tracing::info!(
                        server = self.node.server.title(),
                        sequence = position.sequence,
                        "the feed is followed"
                    );
                    if self.node.replica.is_kept() {
                        errand.send_modify(|errand| errand.acknowledge = Some(position));
                    }
                }
                _ if !self.greeted => return Err(self.wrong("it does not begin with its name").into()),
                Frame::Entry { sequence, entry } => {
                    self.place.position.sequence = sequence;
                    self.place.mark = *Mark::of(&entry).as_bytes();
                    portion.entries.push((sequence, entry));
                }
                Frame::Heartbeat { position, as_of, issuers } => {
                    portion.heartbeat = Some((position, as_of));
                    self.node.feed.heartbeat(position, as_of, self.node.clock.wall());
                    self.node.clock.heard(as_of);
                    if self.node.issuers_revision() != Some(issuers) {
                        errand.send_modify(|errand| errand.issuers = Some(issuers));
                    }
                    self.keep(std::mem::take(&mut portion), errand).await?;
                }
            }
        }
        if portion.entries.is_empty() { Ok(()) } else { self.keep(portion, errand).await }
    }

    /// Makes a portion durable, applies it and has it acknowledged.
    async fn keep(&mut self, portion: Portion, errand: &watch::Sender<Errand>) -> Result<(), Ended> {
        let node = Arc::clone(self.node);
        let newest = portion.entries.last().map(|(sequence, _)| *sequence);
        node.feed.entries.fetch_add(portion.entries.len() as u64, Ordering::Relaxed);
        let kept = blocking(move || {
            let mut kept = true;
            let mut settle = |result: Result<(), ReplicaDirError>| match result {
                Ok(()) => Ok(()),
                // What came is right, and answered by; it must not be acknowledged.
                Err(error) if error.is_of_the_disk() => {
                    kept = false;
                    Ok(())
                }
                Err(error) => Err(NodeError::from(error)),
            };
            if !portion.entries.is_empty() {
                let entries = portion.entries.iter().map(|(sequence, entry)| (*sequence, &entry[..]));
                settle(node.replica.take_entries(entries, &node.responder))?;
            }
            if let Some((position, as_of)) = portion.heartbeat {
                settle(node.replica.take_heartbeat(position, as_of, node.now(), &node.responder))?;
            }
            Ok(kept && node.replica.is_kept())
        })
        .await?;
        if let Some(sequence) = newest.filter(|_| kept) {
            let position = FeedPosition { epoch: self.place.position.epoch, sequence };
            errand.send_modify(|errand| errand.acknowledge = Some(position));
        }
        if kept {
            self.unkept_since = None;
            return Ok(());
        }
        let since = *self.unkept_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= KEEP_AGAIN {
            return Err(Ended::Rejoin("the replica on disk is to be kept again"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew_when_it_went_well() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(200), ms(1000));
        for at_most in [200, 400, 800, 1000, 1000] {
            let pause = backoff.next();
            assert!(ms(at_most) / 2 <= pause && pause <= ms(at_most), "{pause:?} of {at_most} ms");
        }
        backoff.reset();
        assert!(backoff.next() <= ms(200));
        assert!(backoff.longest() >= ms(500));
        assert!(backoff.next() >= ms(500));
    }
}
