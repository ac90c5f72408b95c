//! The keys that sign answers: one live key for each issuer and kind, certified by that issuer over the link, and replaced
//! before half its life is over. The one before stays in use until then, and beside the new one as long as the CA lets it,
//! so that no request fails.
//!
//! Keys in memory are made at each start and never written down. Keys in a token are numbered, and their certificates are
//! kept, so that a start does not need the CA: see [`keys`](super::keys).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::feed::{self, SignerReply, SignerRequest};
use hsm::Signer;
use pki::{IssuerDescription, KeyType, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{Connection, Refused};
use super::identity::request;
use super::keys::{Keys, Made};
use super::link::{Backoff, blocking};
use super::{Node, NodeError};
use crate::IssuerSigner;

/// How often it is looked whether a signer is due.
const LOOK: Duration = Duration::from_secs(1);
/// How long it is waited after a new signer that is of no use by our clock, first and at most: another one would be as
/// useless, and the CA certifies only so many.
const USELESS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10 * 60));

/// An issuer's signers of one kind.
#[derive(Clone, Debug)]
struct Live {
    current: IssuerSigner,
    before: Option<IssuerSigner>,
    replace_at: Timestamp,
    generation: u64,
}

type Slot = (String, KeyType);

/// All signers.
#[derive(Debug)]
pub struct Signers {
    keys: Keys,
    key_types: Vec<KeyType>,
    live: Mutex<HashMap<Slot, Live>>,
    /// Whether the last try to have one certified failed.
    failed: AtomicBool,
}

/// When a signer with this life is replaced, if nobody says so: before half of it is over.
fn half_of(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let life = not_after.since(not_before);
    not_before.plus((life / 2).saturating_sub(life / 48))
}

/// Whether a signer is to be replaced. One that is not valid yet, since the CA's clock is ahead, is waited for: the one
/// before it signs meanwhile, and another new one would push that out.
fn is_due(replace_at: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
    replace_at <= now || not_after <= now
}

/// What is wrong with a signer's life by our clock.
fn useless((not_before, not_after): (Timestamp, Timestamp), now: Timestamp) -> Option<&'static str> {
    match () {
        () if not_after <= now => Some("it has ended already"),
        () if now < not_before => Some("it is not valid yet"),
        () => None,
    }
}

impl Signers {
    pub(super) fn new(keys: Keys, key_types: Vec<KeyType>) -> Self {
        Signers { keys, key_types, live: Mutex::default(), failed: AtomicBool::new(false) }
    }

    /// Whether the last try to have a signer certified failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many signatures wait for a token; `None` for keys in memory.
    pub fn queued(&self) -> Option<usize> {
        self.keys.queued()
    }

    /// Takes the keys in a token whose certificates were kept into use. Keys in memory have none.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub(super) fn take_kept(&self, node: &Node, now: Timestamp) -> Result<(), NodeError> {
        let Some(trusted) = node.issuers.load_full() else { return Ok(()) };
        for issuer in &trusted.issuers {
            for key_type in &self.key_types {
                self.take_kept_of(node, &issuer.description, *key_type, now)?;
            }
        }
        Ok(())
    }

    fn take_kept_of(
        &self,
        node: &Node,
        issuer: &IssuerDescription,
        key_type: KeyType,
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let slot = (issuer.id.clone(), key_type);
        if self.lock().contains_key(&slot) {
            return Ok(());
        }
        let mut live: Option<Live> = None;
        // The oldest first.
        for kept in self.keys.kept(&issuer.id, key_type)? {
            let (signer, is_blocking) = (Arc::clone(&kept.key), self.keys.is_blocking());
            match IssuerSigner::delegate(signer, kept.certificate, issuer, is_blocking) {
                Ok(signer) if signer.is_valid(now) => {
                    let before = live.take().map(|live| live.current);
                    let replace_at = half_of(signer.not_before(), signer.not_after());
                    live = Some(Live { current: signer, before, replace_at, generation: kept.generation });
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(issuer = issuer.id, %error, "a kept OCSP signer is not used"),
            }
        }
        if let Some(live) = live {
            tracing::info!(issuer = issuer.id, %key_type, until = %live.current.not_after(), "a kept OCSP signer is in use");
            self.lock().insert(slot, live);
            self.put_in_use(node, &issuer.id)?;
        }
        Ok(())
    }

    /// Drops all of them; keys in a token are destroyed. What was certified before an expulsion is of no use after it.
    pub(super) fn drop_all(&self, node: &Node) -> Result<(), NodeError> {
        let mut slots: Vec<Slot> = self.lock().drain().map(|(slot, _)| slot).collect();
        if let Some(trusted) = node.issuers.load_full() {
            for issuer in &trusted.issuers {
                let id = &issuer.description.id;
                node.responder.set_signers(id, Vec::new())?;
                slots.extend(self.key_types.iter().map(|key_type| (id.clone(), *key_type)));
            }
        }
        slots.iter().try_for_each(|(issuer, key_type)| self.keys.forget_before(issuer, *key_type, u64::MAX))
    }

    /// What is missing or due.
    fn due(&self, node: &Node, now: Timestamp) -> Vec<(IssuerDescription, KeyType)> {
        if node.expulsion.reason().is_some() {
            return Vec::new();
        }
        let Some(trusted) = node.issuers.load_full() else { return Vec::new() };
        let mut live = self.lock();
        // An issuer that is no longer served has no signers; a new key of a CA is another issuer.
        live.retain(|(id, _), _| trusted.issuers.iter().any(|issuer| issuer.description.id == *id));
        let mut due = Vec::new();
        for issuer in &trusted.issuers {
            for key_type in &self.key_types {
                let is_due = match live.get(&(issuer.description.id.clone(), *key_type)) {
                    Some(live) => is_due(live.replace_at, live.current.not_after(), now),
                    None => true,
                };
                if is_due && issuer.description.not_after > now {
                    due.push((issuer.description.clone(), *key_type));
                }
            }
        }
        due
    }

    /// Gives the responder an issuer's signers: of each kind the newest, in the configured order, then those before.
    fn put_in_use(&self, node: &Node, issuer: &str) -> Result<(), NodeError> {
        let live = self.lock();
        let of = |key_type: &KeyType| live.get(&(issuer.to_owned(), *key_type));
        let newest = self.key_types.iter().filter_map(of).map(|live| live.current.clone());
        let before = self.key_types.iter().filter_map(of).filter_map(|live| live.before.clone());
        Ok(node.responder.set_signers(issuer, newest.chain(before).collect())?)
    }

    /// Makes a key, has it certified, and takes it into use.
    async fn replace(
        &self,
        node: &Arc<Node>,
        connection: &mut Connection,
        issuer: &IssuerDescription,
        key_type: KeyType,
    ) -> Result<(), Refused> {
        let slot = (issuer.id.clone(), key_type);
        let after = self.lock().get(&slot).map_or(0, |live| live.generation);
        let (made, request) = {
            let (node, issuer) = (Arc::clone(node), issuer.id.clone());
            blocking(move || {
                let made = node.signers.keys.make(&issuer, key_type, after)?;
                let request = request(made.key.as_ref())?;
                Ok((made, request))
            })
            .await?
        };
        let wanted = SignerRequest { issuer: issuer.id.clone(), request: request.into() };
        let reply: SignerReply = connection.post(feed::SIGNERS, &wanted).await?;
        let (node, issuer) = (Arc::clone(node), issuer.clone());
        let taken = blocking(move || node.signers.take(&node, &issuer, key_type, made, &reply));
        Ok(taken.await?)
    }

    fn take(
        &self,
        node: &Node,
        issuer: &IssuerDescription,
        key_type: KeyType,
        made: Made,
        reply: &SignerReply,
    ) -> Result<(), NodeError> {
        let certificate = reply.certificate.0.clone();
        let Made { key, generation } = made;
        let signer: Arc<dyn Signer> = key;
        let signer = IssuerSigner::delegate(signer, certificate.clone(), issuer, self.keys.is_blocking())?;
        let half = half_of(signer.not_before(), signer.not_after());
        let replace_at = reply.replace_at.parse().map_or(half, |at: Timestamp| at.min(half));
        if let Some(why) = useless((signer.not_before(), signer.not_after()), node.now()) {
            tracing::warn!(
                issuer = issuer.id, from = %signer.not_before(), until = %signer.not_after(), now = %node.now(),
                "the new OCSP signer cannot be used: by this machine's clock {why}. Compare that with the CA's"
            );
        }
        self.keys.keep(&issuer.id, key_type, generation, &certificate)?;
        let until = signer.not_after();
        {
            let mut live = self.lock();
            let slot = (issuer.id.clone(), key_type);
            let before = live.remove(&slot).map(|live| live.current);
            live.insert(slot, Live { current: signer, before, replace_at, generation });
        }
        self.put_in_use(node, &issuer.id)?;
        tracing::info!(issuer = issuer.id, %key_type, %until, "a new OCSP signer is in use");
        // One generation stays for answers that are being signed, and for a restart.
        if let Err(error) = self.keys.forget_before(&issuer.id, key_type, generation.saturating_sub(1)) {
            tracing::warn!(issuer = issuer.id, %error, "an old OCSP signer's key could not be destroyed");
        }
        Ok(())
    }

    /// Whether what was certified last is in need of replacement at once, or cannot be used.
    fn is_useless(&self, slot: &Slot, now: Timestamp) -> bool {
        self.lock().get(slot).is_some_and(|live| {
            let life = (live.current.not_before(), live.current.not_after());
            useless(life, now).is_some() || is_due(live.replace_at, life.1, now)
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Slot, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps every issuer with a signer until `stop`.
pub(super) async fn run(node: Arc<Node>, mut stop: watch::Receiver<bool>) {
    let times = &node.config.times;
    let mut backoff = Backoff::new(times.reconnect, times.reconnect_longest);
    let mut connection: Option<Connection> = None;
    // What was refused waits for itself, so that the others need not.
    let mut not_before: HashMap<Slot, Instant> = HashMap::new();
    let mut pauses: HashMap<Slot, Backoff> = HashMap::new();
    loop {
        let mut pause = LOOK;
        let due = node.signers.due(&node, node.now());
        for (issuer, key_type) in due {
            let slot = (issuer.id.clone(), key_type);
            if not_before.get(&slot).is_some_and(|at| Instant::now() < *at) {
                continue;
            }
            let replaced = tokio::select! {
                replaced = replace(&node, &mut connection, &issuer, key_type) => replaced,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            node.signers.failed.store(replaced.is_err(), Ordering::Relaxed);
            let Err(Refused { error, retry_after }) = replaced else {
                backoff.reset();
                if node.signers.is_useless(&slot, node.now()) {
                    let pause = pauses.entry(slot.clone()).or_insert_with(|| Backoff::new(USELESS.0, USELESS.1)).next();
                    not_before.insert(slot, Instant::now() + pause);
                } else {
                    not_before.remove(&slot);
                    pauses.remove(&slot);
                }
                continue;
            };
            if error.problem().is_some() {
                let wait = retry_after.unwrap_or(times.reconnect_longest);
                tracing::warn!(issuer = issuer.id, %error, ?wait, "the CA does not certify an OCSP signer");
                not_before.insert(slot, Instant::now() + wait);
                continue;
            }
            tracing::debug!(issuer = issuer.id, %error, "an OCSP signer could not be replaced yet");
            connection = None;
            pause = backoff.next();
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.issuers_changed.notified() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn replace(
    node: &Arc<Node>,
    slot: &mut Option<Connection>,
    issuer: &IssuerDescription,
    key_type: KeyType,
) -> Result<(), Refused> {
    let mut connection = match slot.take().filter(Connection::is_open) {
        Some(connection) => connection,
        None => node.server.connect(node.identity.config()?).await?,
    };
    let replaced = node.signers.replace(node, &mut connection, issuer, key_type).await;
    // A refusal says nothing against the connection.
    if replaced.as_ref().map_or_else(|refused| refused.error.problem().is_some(), |()| true) {
        *slot = Some(connection);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_that_is_of_no_use_by_our_clock_is_told_by_what_is_wrong_with_it() {
        // conformance: O12
        let at = Timestamp::from_unix_seconds;
        let life = (at(1000), at(1000 + 86_400));
        for (now, why) in [
            (at(999), Some("it is not valid yet")),
            (at(1000), None),
            (at(87_399), None),
            (at(87_400), Some("it has ended already")),
        ] {
            assert_eq!(useless(life, now), why, "{now}");
        }
    }

    #[test]
    fn signers_of_no_use_are_asked_for_ever_more_rarely() {
        // conformance: O12
        let mut backoff = Backoff::new(USELESS.0, USELESS.1);
        let pauses: Vec<u64> = (0..7).map(|_| backoff.next().as_secs()).collect();
        for (pause, at_most) in pauses.iter().zip([30, 60, 120, 240, 480, 600, 600]) {
            assert!(at_most / 2 <= *pause && *pause <= at_most, "{pauses:?}");
        }
    }

    #[test]
    fn a_signer_that_is_not_valid_yet_is_not_asked_for_again() {
        // conformance: O12
        let at = Timestamp::from_unix_seconds;
        let replace_at = half_of(at(1000), at(1000 + 86_400));
        for (now, due) in [(at(0), false), (at(1000), false), (replace_at, true), (at(90_000), true)] {
            assert_eq!(is_due(replace_at, at(1000 + 86_400), now), due, "{now}");
        }
        assert!(replace_at < at(1000 + 43_200));
    }
}
