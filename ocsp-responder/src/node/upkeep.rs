//! What has to be done again and again: to say when an issuer's statuses become stale or are withheld, to renew the client
//! certificate, to keep replica and memory small.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::responders::{self, ResponderRenewalReply, ResponderRenewalRequest};
use hsm::MemoryKey;
use pki::{KeyType, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::identity::{Credentials, request};
use super::link::blocking;
use super::{Node, NodeError};
use crate::Freshness;

const TICK: Duration = Duration::from_secs(1);
/// How often the last producedAt is kept while no heartbeat does it.
const PRODUCED_AT: Duration = Duration::from_secs(5);
/// How often certificates that ended are forgotten.
const FORGET: Duration = Duration::from_secs(3600);
/// How often a renewal is tried.
const RENEW: Duration = Duration::from_secs(600);
/// The last part of the client certificate's life, in which it is renewed: this, or a third of its life if that is less.
const RENEWAL_WINDOW: Duration = Duration::from_secs(30 * 24 * 3600);

/// An issuer without a signer is spoken of after so long, or as soon as the CA has failed to certify one.
const WITHOUT_SIGNER: Duration = Duration::from_secs(10);

/// What was said last of an issuer.
#[derive(Clone, Copy, Debug)]
struct Said {
    freshness: Freshness,
    /// Whether it was said that somebody, or that nobody, can sign.
    has_signer: bool,
    /// Since when nobody can.
    without: Option<Instant>,
}

impl Said {
    /// Whether it is time to say that nobody can sign. At a start that is so for a moment, which is no news.
    fn is_time(&self, has_failed: bool, now: Instant) -> bool {
        self.without.is_some_and(|since| has_failed || now.duration_since(since) >= WITHOUT_SIGNER)
    }
}

/// Does all that until `stop`.
pub(super) async fn run(node: Arc<Node>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = BTreeMap::new();
    let begun = Instant::now();
    let (mut produced_at, mut forget, mut renew) = (begun, begun + FORGET, begun);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let now = node.now();
        say(&node, &mut said, now);
        if produced_at <= Instant::now() {
            produced_at = Instant::now() + PRODUCED_AT;
            keep_produced_at(&node).await;
            try_failing_signers(&node, now).await;
        }
        let is_hour = forget <= Instant::now();
        if is_hour {
            forget = Instant::now() + FORGET;
        }
        if is_hour || node.replica.compaction_is_due() {
            tidy(&node, now).await;
        }
        let is_expelled = node.expulsion.reason().is_some();
        if renew <= Instant::now() && !is_expelled && is_due(node.identity.validity(), node.clock.wall()) {
            renew = Instant::now() + RENEW;
            if let Err(error) = renew_certificate(&node).await {
                tracing::warn!(%error, "this responder's client certificate could not be renewed; it is tried again");
            }
        }
    }
}

/// Says what has changed, once.
fn say(node: &Node, said: &mut BTreeMap<String, Said>, now: Timestamp) {
    if node.expulsion.reason().is_some() {
        // Said once, where it was heard.
        return;
    }
    let states = node.responder.state(now);
    said.retain(|id, _| states.iter().any(|state| state.id == *id));
    for state in states {
        let issuer = &state.id;
        let before = said.get(issuer).copied();
        if before.is_none_or(|before| before.freshness != state.freshness) {
            say_freshness(issuer, state.freshness, node.responder.replica().as_of());
        }
        let mut is = before.unwrap_or(Said { freshness: state.freshness, has_signer: true, without: None });
        is.freshness = state.freshness;
        if state.signer_not_after.is_some() {
            is.without = None;
            if !std::mem::replace(&mut is.has_signer, true) {
                tracing::info!(issuer, "there is a signer for this issuer");
            }
        } else {
            is.without.get_or_insert_with(Instant::now);
            let is_time = is.is_time(node.signers.has_failed(), Instant::now());
            if is_time && std::mem::replace(&mut is.has_signer, false) {
                tracing::warn!(issuer, "nobody can sign for this issuer; answers are tryLater");
            }
        }
        said.insert(issuer.clone(), is);
    }
}

fn say_freshness(issuer: &str, freshness: Freshness, as_of: Option<Timestamp>) {
    // Before the first heartbeat nothing has become old.
    let since = as_of.filter(|as_of| *as_of > Timestamp::EPOCH).map(|as_of| as_of.to_string());
    match (freshness, since) {
        (Freshness::Fresh, as_of) => tracing::info!(issuer, as_of, "statuses are fresh"),
        (Freshness::Stale, as_of) => tracing::warn!(issuer, as_of, "statuses are stale; answers are still given"),
        (Freshness::Withheld, Some(as_of)) => {
            tracing::error!(issuer, as_of, "statuses are too old; answers are withheld");
        }
        (Freshness::Withheld, None) if as_of.is_none() => {
            tracing::info!(issuer, "waiting for the first snapshot; answers are tryLater until then");
        }
        (Freshness::Withheld, None) => {
            tracing::info!(issuer, "waiting for the first heartbeat; answers are tryLater until then");
        }
    }
}

async fn try_failing_signers(node: &Arc<Node>, now: Timestamp) {
    if !node.responder.state(now).iter().any(|state| state.signer_fails) {
        return;
    }
    let responder = Arc::clone(&node.responder);
    let tried = blocking(move || {
        responder.try_failing_signers();
        Ok(())
    });
    if let Err(error) = tried.await {
        tracing::warn!(%error, "whether keys can sign again could not be tried");
    }
}

async fn keep_produced_at(node: &Arc<Node>) {
    let Some(last) = node.responder.last_produced_at() else { return };
    let node = Arc::clone(node);
    let kept = blocking(move || Ok(node.replica.note_produced_at(last)?)).await;
    if let Err(error) = kept {
        tracing::warn!(%error, "the time of the last answer could not be kept");
    }
}

/// Forgets certificates that ended, in memory and on disk.
async fn tidy(node: &Arc<Node>, now: Timestamp) {
    let node = Arc::clone(node);
    let tidied = blocking(move || {
        let forgotten = node.responder.forget_expired(now);
        let retention = node.issuers.load().as_ref().map(|issuers| issuers.retention());
        let ended_before = ended_before(now, node.responder.replica().as_of(), retention);
        if node.replica.is_kept() && (forgotten > 0 || node.replica.compaction_is_due()) {
            node.replica.compact(ended_before)?;
            tracing::info!(forgotten, "the replica on disk was made anew");
        }
        Ok(())
    });
    if let Err(error) = tidied.await {
        tracing::warn!(%error, "the replica on disk could not be made smaller; the one before goes on");
    }
}

/// What ended before this is left out of the replica. By the CA's last word, so that a clock far ahead costs nothing; and
/// nothing, as long as nobody knows how long it is to be kept.
fn ended_before(now: Timestamp, as_of: Option<Timestamp>, retention: Option<Duration>) -> Timestamp {
    as_of.zip(retention).map_or(Timestamp::EPOCH, |(as_of, retention)| now.min(as_of).minus(retention))
}

/// Whether a certificate with this life is to be renewed.
fn is_due((not_before, not_after): (Timestamp, Timestamp), now: Timestamp) -> bool {
    let window = RENEWAL_WINDOW.min(not_after.since(not_before) / 3);
    now >= not_after.minus(window)
}

/// Makes a new key, has it certified, and shows it from now on.
async fn renew_certificate(node: &Arc<Node>) -> Result<(), NodeError> {
    let (key, request) = blocking(|| {
        let key = MemoryKey::generate(KeyType::P256)?;
        let request = request(&key)?;
        Ok((key, request))
    })
    .await?;
    let mut connection = node.server.connect(node.identity.config()?).await?;
    let wanted = ResponderRenewalRequest { request: request.into() };
    let reply: ResponderRenewalReply = connection.post(responders::CERTIFICATE, &wanted).await?;
    let above = reply.chain.into_iter().map(|one| one.0).collect();
    let credentials = Credentials::new(key, reply.certificate.0, above)?;
    let renewing = Arc::clone(node);
    blocking(move || renewing.identity.renew(credentials)).await?;
    let (_, until) = node.identity.validity();
    tracing::info!(%until, "this responder has a new client certificate");
    node.rejoin.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_the_replica_goes_by_the_last_word_of_the_ca() {
        // conformance: O6
        let at = Timestamp::from_unix_seconds;
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(ended_before(at(200_000), Some(at(199_999)), day), at(113_599));
        assert_eq!(ended_before(at(9_000_000), Some(at(200_000)), day), at(113_600), "our clock is far ahead");
        assert_eq!(ended_before(at(200_000), None, day), Timestamp::EPOCH);
        assert_eq!(ended_before(at(200_000), Some(at(200_000)), None), Timestamp::EPOCH);
    }

    #[test]
    fn that_nobody_can_sign_is_said_once_it_failed_or_took_a_while_and_not_at_each_start() {
        let begun = Instant::now();
        let without = Said { freshness: Freshness::Fresh, has_signer: true, without: Some(begun) };
        assert!(!without.is_time(false, begun + Duration::from_secs(9)));
        assert!(without.is_time(true, begun));
        assert!(without.is_time(false, begun + WITHOUT_SIGNER));
        assert!(!Said { without: None, ..without }.is_time(true, begun + WITHOUT_SIGNER));
    }

    #[test]
    fn a_client_certificate_is_renewed_in_its_last_month_or_its_last_third() {
        let days = |days: u64| Timestamp::EPOCH.plus(Duration::from_secs(days * 24 * 3600));
        let year = (days(0), days(365));
        assert!(!is_due(year, days(334)) && is_due(year, days(335)) && is_due(year, days(400)));
        let week = (days(0), days(6));
        assert!(!is_due(week, days(3)) && is_due(week, days(4)));
    }
}
