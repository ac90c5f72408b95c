//! What is counted, in the form that Prometheus reads.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ocsp_responder::door::DoorCounts;
use ocsp_responder::exposition::{self, gauge};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::crls::schedule;
use crate::service::Service;

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Family<StatusLabel, Counter>,
    /// Certificates that were issued.
    pub certificates: Counter,
    /// Issuances that were confirmed.
    pub confirmations: Counter,
    /// Issuances that were undone.
    pub undone: Counter,
    /// Calls and logins that were refused by a rule.
    pub refusals: Counter,
    /// CRLs that were published.
    pub crls: Counter,
    /// Background tasks that failed.
    pub task_failures: Counter,
    /// Connections.
    pub doors: DoorsCounts,
}

/// What is counted at each door.
#[derive(Debug, Default)]
pub struct DoorsCounts {
    /// The API.
    pub api: Arc<DoorCounts>,
    /// OCSP, CRLs, CA certificates.
    pub public: Arc<DoorCounts>,
    /// Health and metrics.
    pub operations: Arc<DoorCounts>,
    /// The admin socket.
    pub admin: Arc<DoorCounts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CrlLabel {
    issuer: String,
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FollowerLabel {
    responder: String,
}

impl Metrics {
    /// One answered request of the API.
    pub fn request(&self, status: u16) {
        self.requests.get_or_create(&StatusLabel { status: u32::from(status) }).inc();
    }
}

/// All metrics as text.
///
/// # Errors
/// When they cannot be written.
pub fn text(service: &Service) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("cardinal");
    let metrics = &service.metrics;
    registry.register("api_requests", "Answered requests of the API, by status", metrics.requests.clone());
    registry.register(
        "certificates_issued",
        "Certificates of cards and stations that were signed",
        metrics.certificates.clone(),
    );
    registry.register("issuances_confirmed", "Card issuances that were confirmed", metrics.confirmations.clone());
    registry.register(
        "issuances_undone",
        "Card issuances that were undone since nobody confirmed them in time",
        metrics.undone.clone(),
    );
    registry.register("refusals", "Calls and logins that a rule refused", metrics.refusals.clone());
    registry.register("crls_published", "CRLs that were published", metrics.crls.clone());
    registry.register("task_failures", "Background tasks that failed", metrics.task_failures.clone());

    let now = service.now();
    if let Ok(position) = service.store.feed_position() {
        registry.register("feed_sequence", "Newest entry of the status feed", gauge(position.sequence as i64));
        registry.register("feed_epoch", "Epoch of the status feed", gauge(position.epoch as i64));
    }
    registry.register("audit_records", "Audit records", gauge(service.store.audit_len() as i64));

    let connected: Family<FollowerLabel, Gauge> = Family::default();
    let lag_entries: Family<FollowerLabel, Gauge> = Family::default();
    let lag_seconds: Family<FollowerLabel, Gauge<f64, AtomicU64>> = Family::default();
    for follower in service.followers.list(now) {
        let label = FollowerLabel { responder: follower.name };
        connected.get_or_create(&label).set(i64::from(follower.connected));
        if let Some(entries) = follower.lag_entries {
            lag_entries.get_or_create(&label).set(i64::try_from(entries).unwrap_or(i64::MAX));
        }
        if let Some(lag) = follower.lag {
            lag_seconds.get_or_create(&label).set(lag.as_secs_f64());
        }
    }
    registry.register("feed_follower_connected", "1 while a responder follows the status feed", connected);
    registry.register("feed_follower_lag_entries", "Entries that a responder has not acknowledged", lag_entries);
    registry.register(
        "feed_follower_lag_seconds",
        "How long the oldest entry that a responder has not acknowledged has been in the feed",
        lag_seconds,
    );

    let crl_age: Family<CrlLabel, Gauge> = Family::default();
    let overdue: Family<CrlLabel, Gauge> = Family::default();
    let entries: Family<CrlLabel, Gauge> = Family::default();
    for crl in service.crls.all() {
        let label = CrlLabel { issuer: crl.name.issuer.clone(), kind: crl.name.kind() };
        let left = crl.next_update.unix_seconds() - now.unix_seconds();
        crl_age.get_or_create(&label).set(left);
        entries.get_or_create(&label).set(i64::try_from(crl.entries).unwrap_or(i64::MAX));
        let due = crl.this_update.plus(schedule::interval(service, &crl.name));
        overdue.get_or_create(&label).set(now.since(due).as_secs() as i64);
    }
    registry.register("crl_entries", "Entries of an issuer's CRL", entries);
    registry.register("crl_seconds_overdue", "Seconds since the successor of an issuer's CRL was due", overdue);
    registry.register("revoked", "Certificates that are revoked or on hold", gauge(service.revocations.len() as i64));
    registry.register("crl_seconds_left", "Seconds until an issuer's CRL ends", crl_age);

    if let Ok(warnings) = crate::status::warnings(service) {
        registry.register(
            "warnings",
            "What a person must see to before it becomes a problem",
            gauge(warnings.len() as i64),
        );
    }
    exposition::register(&mut registry, &service.responder, now);

    let DoorsCounts { api, public, operations, admin } = &metrics.doors;
    let doors = [("api", api), ("public", public), ("operations", operations), ("admin", admin)];
    exposition::register_doors(&mut registry, doors);

    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
