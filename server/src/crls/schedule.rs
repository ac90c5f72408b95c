//! When CRLs are made: each CA by its own schedule, and at once after a revocation where that is asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use audit::Actor;
use ca::publication::Extent;
use ca::revocations::Shard;
use config::CrlOnRevocation;
use pki::Timestamp;

use super::publish::{Order, Parts, publish};
use super::{CrlName, ServedCrl};
use crate::service::Service;

/// How a CA publishes its CRLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlPlan {
    /// From one full CRL to the next.
    pub interval: Duration,
    /// How much longer than that it is valid.
    pub overlap: Duration,
    /// From one delta to the next; none if there are no deltas.
    pub delta_interval: Option<Duration>,
    /// How much longer than that a delta is valid.
    pub delta_overlap: Duration,
    /// What is published at once after a revocation.
    pub on_revocation: CrlOnRevocation,
    /// Whether entries of expired certificates stay.
    pub keep_expired: bool,
}

impl CrlPlan {
    /// How long after a CRL of this name the next one comes.
    pub fn interval_of(&self, name: &CrlName) -> Duration {
        match self.delta_interval {
            Some(interval) if name.is_delta => interval,
            _ => self.interval,
        }
    }
}

/// How the CA of this name publishes its CRLs.
pub fn plan(service: &Service, name: &str) -> CrlPlan {
    let times = &service.config.times;
    match service.config.issuing_ca(name) {
        Some(ca) => CrlPlan {
            interval: ca.crl_interval,
            overlap: ca.crl_overlap,
            delta_interval: ca.crl_delta_interval,
            delta_overlap: ca.crl_delta_overlap,
            on_revocation: ca.crl_on_revocation,
            keep_expired: ca.crl_keep_expired,
        },
        // A CA that the configuration names no more: its CRLs go on, and leave nothing out.
        None => CrlPlan {
            interval: times.crl_interval,
            overlap: times.crl_overlap,
            delta_interval: None,
            delta_overlap: times.crl_delta_overlap,
            on_revocation: CrlOnRevocation::No,
            keep_expired: true,
        },
    }
}

/// How long after this CRL the next one comes; that of the root is not made here.
pub fn interval(service: &Service, name: &CrlName) -> Duration {
    match service.authority().issuer(&name.issuer) {
        Ok(key) => plan(service, &key.record().name).interval_of(name),
        Err(_) => service.config.times.root_crl_next_update,
    }
}

/// The CRLs that an issuer has to have: full ones, of all and of each partition.
pub(crate) fn parts(service: &Service, issuer: &str, name: &str, now: Timestamp) -> Vec<Shard> {
    let mut shards = service.revocations.shards(issuer, now);
    // A certificate must find its CRL from its first moment on.
    shards.extend(1..=service.authority().crl_shards(name));
    shards.sort_unstable();
    shards.dedup();
    std::iter::once(None).chain(shards.into_iter().map(Some)).collect()
}

/// What is due by the schedule, by issuer. A CA's old keys go on for as long as their certificates last
/// (conformance: C16).
pub fn due(service: &Service, now: Timestamp) -> Vec<(String, Extent)> {
    let authority = service.authority();
    let due = authority.issuers().filter(|issuer| issuer.description().not_after > now).filter_map(|issuer| {
        let (id, name) = (&issuer.record().id, &issuer.record().name);
        let plan = plan(service, name);
        let is_due = |crl: &ServedCrl| now >= crl.this_update.plus(plan.interval_of(&crl.name));
        let mut deltas_due = false;
        for shard in parts(service, id, name, now) {
            let mut name = CrlName { issuer: id.clone(), shard, is_delta: false };
            let full = service.crls.find(&name);
            let wants_delta = plan.delta_interval.is_some();
            let Some(full) = full.filter(|full| !is_due(full) && full.names_delta == wants_delta) else {
                return Some((id.clone(), Extent::Full));
            };
            name.is_delta = true;
            // Not in the second in which the full one was made: the two would differ in number, and not in time.
            deltas_due |= wants_delta
                && now.whole_seconds() > full.this_update
                && service.crls.find(&name).is_none_or(|delta| is_due(&delta));
        }
        deltas_due.then(|| (id.clone(), Extent::Deltas))
    });
    due.collect()
}

/// Up to where in the feed each part of each issuer's CRLs was published by this process, and when the last publication
/// after a revocation began.
#[derive(Debug, Default)]
pub struct Progress {
    published: Mutex<BTreeMap<(String, Shard), Published>>,
    begun: Mutex<BTreeMap<String, Timestamp>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Published {
    full: u64,
    any: u64,
}

impl Progress {
    /// A CRL of this part came out, as of this place in the feed.
    pub(crate) fn note(&self, issuer: &str, shard: Shard, extent: Extent, sequence: u64) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let part = published.entry((issuer.to_owned(), shard)).or_default();
        part.any = part.any.max(sequence);
        if extent == Extent::Full {
            part.full = part.full.max(sequence);
        }
    }

    /// Up to where; `None` if this process has published none.
    fn published(&self, issuer: &str, shard: Shard, extent: Extent) -> Option<u64> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let part = published.get(&(issuer.to_owned(), shard))?;
        Some(if extent == Extent::Full { part.full } else { part.any })
    }

    /// Whether another publication after a revocation may begin: `gather` after the one before.
    fn may_begin(&self, issuer: &str, gather: Duration, now: Timestamp) -> bool {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not stop it for long.
        begun.get(issuer).is_none_or(|begun| now < *begun || now.since(*begun) >= gather)
    }

    fn begin(&self, issuer: &str, now: Timestamp) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(issuer.to_owned(), now);
    }
}

/// What a revocation has made due, where the configuration asks for it at once.
fn due_after_revocation(service: &Service, now: Timestamp) -> Vec<(String, Extent, Vec<Shard>)> {
    let authority = service.authority();
    let due = authority.issuers().filter_map(|issuer| {
        let (id, name) = (&issuer.record().id, &issuer.record().name);
        let extent = match plan(service, name).on_revocation {
            CrlOnRevocation::No => return None,
            CrlOnRevocation::Delta => Extent::Deltas,
            CrlOnRevocation::Full => Extent::Full,
        };
        if issuer.description().not_after <= now
            || !service.crl_progress.may_begin(id, service.config.times.crl_gather, now)
        {
            return None;
        }
        // In the second in which a full CRL was made, its delta has to wait: it would have the same time.
        let is_new = |shard| {
            let full = service.crls.find(&CrlName { issuer: id.clone(), shard, is_delta: false });
            full.is_some_and(|full| full.this_update >= now.whole_seconds())
        };
        if extent == Extent::Deltas && parts(service, id, name, now).into_iter().any(is_new) {
            return None;
        }
        let progress = &service.crl_progress;
        let mut changed =
            service.revocations.changed_since(id, |shard| progress.published(id, shard, extent).unwrap_or(0));
        // What was revoked before this process began may be on none of them.
        let all = parts(service, id, name, now);
        changed.extend(all.into_iter().filter(|shard| progress.published(id, *shard, extent).is_none()));
        changed.sort_unstable();
        changed.dedup();
        (!changed.is_empty()).then(|| (id.clone(), extent, changed))
    });
    due.collect()
}

/// Publishes what revocations have made due. One CA that fails rests for a while, and does not keep the others from
/// theirs.
pub fn publish_after_revocations(service: &Service) {
    let now = service.now();
    for (issuer, extent, shards) in due_after_revocation(service, now) {
        service.watched(&format!("CRLs of {issuer} after a revocation"), now, || {
            service.crl_progress.begin(&issuer, now);
            let order = Order { extent, parts: Parts::Some(shards.clone()), scheduled: false };
            publish(service, &issuer, order, &Actor::service()).map(|_| ())
        });
    }
}

/// Makes every CRL that is due. One CA that fails rests for a while, and does not keep the others from theirs.
pub fn publish_due(service: &Service) {
    let now = service.now();
    for (issuer, extent) in due(service, now) {
        service.watched(&format!("CRLs of {issuer}"), now, || {
            let order = Order { extent, parts: Parts::All, scheduled: extent == Extent::Full };
            publish(service, &issuer, order, &Actor::service()).map(|_| ())
        });
    }
}
