//! What happens without being asked: recovery at the start, the feed's follower, time-outs, CRLs, signers, tidying up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use audit::{Actor, AuditRecord, Outcome};
use pki::Timestamp;
use pki::feed::StatusEntry;
use ra::responder::{self, OWN};
use ra::{code, issuance};
use store::Store;
use tokio::sync::watch;

use crate::error::Error;
use crate::failure::Failure;
use crate::service::Service;
use crate::start::feed_position;
use crate::tls::TlsSource;
use crate::{crls, idempotency, rotation, statuses};

/// How often time-outs and schedules are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a task that failed rests: each attempt may leave records, so it is not made every second.
const PAUSE: Duration = Duration::from_secs(30);
/// How long rows are sealed in one round.
const SEALING: Duration = Duration::from_millis(100);
/// How much one task does at a time.
const PORTION: usize = 1000;

/// The background tasks that failed, and when each is tried again.
#[derive(Debug, Default)]
pub struct Retries(Mutex<BTreeMap<String, Timestamp>>);

impl Retries {
    pub(crate) fn is_paused(&self, task: &str, now: Timestamp) -> bool {
        let paused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paused.get(task).is_some_and(|until| now < *until)
    }

    pub(crate) fn pause(&self, task: &str, now: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task.to_owned(), now.plus(PAUSE));
    }
}

/// What an earlier process of this owner left without a result becomes void; calls that were under way are forgotten.
///
/// # Errors
/// When the store fails.
pub(crate) fn recover(store: &dyn Store, owner: &str, now: Timestamp) -> Result<(), Error> {
    let actor = Actor::service();
    for (id, cause) in issuance::due(store, Some(owner), now, usize::MAX)? {
        let (batch, _) = issuance::undo(store, &id, cause, &actor, now)?;
        store.commit(batch)?;
        tracing::warn!(issuance = id.as_str(), ?cause, "an issuance was left without a result; it is undone");
    }
    for id in ca::recovery::abandoned(store, owner, true, now)? {
        let mut batch = ca::batch(now);
        ca::recovery::void(store, &mut batch, &id, &actor, None)?;
        store.commit(batch)?;
        tracing::warn!(certificate = %id, "a reservation was left without a result; it is void");
    }
    while let Some(batch) = idempotency::forget_interrupted(store, owner, now, PORTION)? {
        store.commit(batch)?;
    }
    Ok(())
}

/// The responder's first knowledge: the status of every certificate.
///
/// # Errors
/// When the store fails.
pub(crate) fn load_replica(service: &Service) -> Result<(), Error> {
    let position = statuses::load(service)?;
    service.followers.add(OWN);
    for responder in responder::all(service.store.as_ref()).map_err(Failure::from)? {
        if responder.expelled.is_none() {
            service.followers.add(&responder.name);
        }
    }
    service.followers.published(position.sequence, service.now());
    service.followers.connected(OWN, position.sequence);
    Ok(())
}

/// Ends what followers hold open when the service stops: it would last for ever otherwise.
pub(crate) async fn end_feed(service: Arc<Service>, mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
    service.feed.end();
}

/// Follows the feed on a thread of its own: applies each entry as soon as it is committed, and takes a heartbeat each
/// second for as long as the store answers.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn follow(service: Arc<Service>, stop: watch::Receiver<bool>) -> Result<JoinHandle<()>, Error> {
    let follow = move || {
        let heartbeat = service.config.times.feed_heartbeat;
        while !*stop.borrow() {
            if let Err(error) = follow_once(&service) {
                service.metrics.task_failures.inc();
                tracing::error!(error, "the status feed cannot be followed");
                std::thread::sleep(Duration::from_millis(100));
            }
            let known = service.responder.replica().position().sequence;
            service.store.wait_feed(known, heartbeat);
        }
    };
    std::thread::Builder::new().name("feed".to_owned()).spawn(follow).map_err(|error| Error::Start(error.to_string()))
}

fn follow_once(service: &Service) -> Result<(), String> {
    let store = service.store.as_ref();
    let text = |error: &dyn std::fmt::Display| error.to_string();
    loop {
        // The time is taken before the position is read: what is committed after that is not vouched for.
        let as_of = service.now();
        let position = feed_position(store).map_err(|error| text(&error))?;
        let known = service.responder.replica().position().sequence;
        let entries = store.feed(known, service.config.limits.feed_page).map_err(|error| text(&error))?;
        for (sequence, bytes) in &entries {
            let entry = StatusEntry::decode(bytes).map_err(|error| text(&error))?;
            service.responder.apply(*sequence, &entry).map_err(|error| text(&error))?;
            service.revocations.apply(*sequence, &entry);
            service.feed.status_changed(&entry);
        }
        service.feed.entries(&entries);
        let known = service.responder.replica().position().sequence;
        service.followers.published(known, as_of);
        service.followers.acknowledge(OWN, known);
        if known >= position.sequence {
            let position = pki::feed::FeedPosition { sequence: known, ..position };
            service.feed.heartbeat(position, as_of);
            return service.responder.heartbeat(position, as_of, service.now()).map_err(|error| text(&error));
        }
    }
}

/// Publishes CRLs at once after revocations, where that is asked for, on a thread of its own: a revocation does not wait
/// for it.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn publish_after_revocations(
    service: Arc<Service>,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, Error> {
    let publish = move || {
        while !*stop.borrow() {
            crls::schedule::publish_after_revocations(&service);
            service.revocations.wait(TICK);
        }
    };
    std::thread::Builder::new().name("crls".to_owned()).spawn(publish).map_err(|error| Error::Start(error.to_string()))
}

/// Records that the service started, with what it goes by.
///
/// # Errors
/// When the store fails.
pub(crate) fn record_start(service: &Service) -> Result<(), Failure> {
    service.commit(|now| {
        let record = AuditRecord::new(now, Actor::service(), "service.start", Outcome::Done)
            .fact("version", env!("CARGO_PKG_VERSION"))
            .fact("profiles_version", service.authority().profiles().version())
            .fact("policy_version", service.policy.version());
        let mut batch = ca::batch(now);
        ca::record(&mut batch, &record)?;
        Ok((batch, ()))
    })?;
    Ok(())
}

/// Records that the service stopped in order. A failure is told the log: nothing depends on this record.
pub(crate) fn record_stop(service: &Service) {
    let stopped = service.commit(|now| {
        let mut batch = ca::batch(now);
        ca::record(&mut batch, &AuditRecord::new(now, Actor::service(), "service.stop", Outcome::Done))?;
        Ok((batch, ()))
    });
    if let Err(failure) = stopped {
        tracing::warn!(cause = failure.problem().detail, "the stop was not recorded");
    }
    if let Err(error) = service.statuses.save(service.store.as_ref(), service.now()) {
        tracing::warn!(%error, "the statuses were not saved; the next start takes longer");
    }
}

/// Does what is due, each second, until `stop`.
pub(crate) async fn tick(service: Arc<Service>, mut stop: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let service = Arc::clone(&service);
        let done = tokio::task::spawn_blocking(move || do_what_is_due(&service)).await;
        if let Err(error) = done {
            tracing::error!(%error, "a background task ended badly");
        }
    }
}

/// One round of everything that goes by the clock.
pub fn do_what_is_due(service: &Service) {
    let now = service.now();
    let watched = |task: &str, work: &dyn Fn() -> Result<(), Failure>| service.watched(task, now, work);
    watched("undo issuances", &|| undo_overdue(service, now));
    crls::schedule::publish_due(service);
    watched("OCSP signers", &|| service.signers.renew(service, now));
    let (authority, above) = (service.authority(), service.above_issuing_cas());
    let source = TlsSource {
        config: &service.config,
        authority: &authority,
        store: service.store.as_ref(),
        above: &above,
        random: &service.random,
    };
    watched("TLS certificate", &|| service.tls.renew(&source, now));
    watched("rotations", &|| rotation::take_up_due(service, now));
    watched("sealing", &|| seal_a_portion(service, now));
    watched("retirement of CA keys", &|| rotation::retire_due(service, now));
    watched("tidy up", &|| tidy_up(service, now));
    watched("saved statuses", &|| {
        let saved = service.statuses.save_if_due(service.store.as_ref(), now);
        saved.map(|_| ()).map_err(Failure::internal)
    });
}

fn undo_overdue(service: &Service, now: Timestamp) -> Result<(), Failure> {
    let store = service.store.as_ref();
    let actor = Actor::service();
    for (id, cause) in issuance::due(store, None, now, PORTION)? {
        let undone = service.commit(|now| {
            let (batch, _) = issuance::undo(store, &id, cause, &actor, now)?;
            Ok((batch, ()))
        });
        match undone {
            Ok(_) => {
                service.metrics.undone.inc();
                tracing::info!(issuance = id.as_str(), ?cause, "an issuance was undone");
            }
            Err(failure) if failure.problem().name() == "issuance-ended" => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// Seals rows for at most a tenth of a second: those of a store that was written in clear, and those of a data key that a
/// rotation left behind when it was interrupted.
fn seal_a_portion(service: &Service, now: Timestamp) -> Result<(), Failure> {
    let began = std::time::Instant::now();
    while !service.data_keys.settle(now)? && began.elapsed() < SEALING {}
    Ok(())
}

fn tidy_up(service: &Service, now: Timestamp) -> Result<(), Failure> {
    let store = service.store.as_ref();
    let tidied = [
        ra::session::forget_expired(store, now, PORTION)?,
        code::forget_codes(store, now, PORTION)?,
        idempotency::forget_expired(store, now, PORTION)?,
    ];
    for batch in tidied.into_iter().flatten() {
        match store.commit(batch) {
            Ok(_) | Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    service.responder.forget_expired(now);
    Ok(())
}
