//! One publication: a number in a commit, every list written beside the one that it replaces, all swapped in, a commit
//! that records it. Interrupted anywhere, each list is the old one or the new one, whole, and its number stays used.

use std::sync::{Arc, PoisonError};

use audit::Actor;
use ca::publication::{CrlList, Extent, Intent, Publication};
use ca::revocations::{RevokedParts, Shard, difference};
use ca::{Authority, IssuingKey};

use super::files::{CrlName, ServedCrl, WrittenCrl};
use super::schedule::{self, CrlPlan};
use crate::failure::Failure;
use crate::service::Service;
use crate::steps::{CrlStep, Step};

/// Which parts of an issuer's CRLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parts {
    /// All: the list of everything, and each partition's.
    All,
    /// Some.
    Some(Vec<Shard>),
}

/// What is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Full ones and their deltas, or deltas only.
    pub extent: Extent,
    /// Which parts.
    pub parts: Parts,
    /// Whether the schedule asks for it.
    pub scheduled: bool,
}

impl Order {
    /// Full CRLs of all parts, on demand.
    pub const FULL: Order = Order { extent: Extent::Full, parts: Parts::All, scheduled: false };
}

/// CRLs that came out together.
#[derive(Clone, Debug)]
pub struct PublishedCrls {
    /// The number that all of them have.
    pub number: u64,
    /// Each, as it is served from now on.
    pub crls: Vec<Arc<ServedCrl>>,
}

/// Makes and publishes CRLs of one issuing CA key.
///
/// # Errors
/// When the token does not sign, or the store or the file system fails.
// conformance: C6, C7, C15
pub fn publish(service: &Service, issuer: &str, order: Order, actor: &Actor) -> Result<PublishedCrls, Failure> {
    let publishing = service.crls.publishing(issuer);
    let _one_at_a_time = publishing.lock().unwrap_or_else(PoisonError::into_inner);
    let authority = service.authority();
    let key = authority.issuer(issuer)?;
    let plan = schedule::plan(service, &key.record().name);
    let store = service.store.as_ref();

    // Before thisUpdate is taken: so nothing on the list was revoked after it.
    let view = service.revocations.view(store, issuer, service.config.limits.feed_page)?;
    let all = schedule::parts(service, issuer, &key.record().name, service.now());
    let shards = match order.parts {
        Parts::All => all.clone(),
        Parts::Some(shards) => shards,
    };
    let extent = extent(service, issuer, &shards, order.extent);
    let scheduled = order.scheduled && extent == Extent::Full && shards == all;
    let intent = Intent { extent, scheduled, keep_expired: plan.keep_expired };
    let (_, publication) = service.commit(|now| {
        authority.check_clock(store, now)?;
        Ok(Publication::begin(store, issuer, intent, actor, now)?)
    })?;
    service.steps.done(Step::Crl(CrlStep::Numbered));

    let named: Vec<u16> = shards.iter().copied().flatten().collect();
    let parts = view.parts(&named, publication.ended_before());
    let work = Work { service, authority: &authority, key, plan, publication: &publication, parts: &parts };
    let made = work.write(&shards, extent).and_then(|written| {
        service.steps.done(Step::Crl(CrlStep::Written));
        work.swap(written)
    });
    let names = match made {
        Ok(names) => names,
        Err(failure) => {
            let failed = service.commit(|now| {
                let mut batch = ca::batch(now);
                ca::record(&mut batch, &publication.failed(failure.problem().name(), actor, now))?;
                Ok((batch, ()))
            });
            if let Err(failure) = failed {
                tracing::warn!(issuer, cause = failure.problem().detail, "that a CRL was not made is not recorded");
            }
            return Err(failure);
        }
    };
    if scheduled {
        work.withdraw(&shards);
    }
    let published: Vec<_> = names.iter().filter_map(|name| service.crls.find(name)).collect();
    let entries = published.iter().map(|crl| crl.entries).sum();
    let position = view.position();
    service.commit(|now| Ok((publication.published(store, published.len(), entries, position, actor, now)?, ())))?;
    for shard in &shards {
        service.crl_progress.note(issuer, *shard, extent, position.sequence);
    }
    service.metrics.crls.inc_by(published.len() as u64);
    service.steps.done(Step::Crl(CrlStep::Published));
    Ok(PublishedCrls { number: publication.number(), crls: published })
}

/// A delta says the difference to a full CRL, and has a later time than that: where there is none, or it was made in this
/// very second, full ones are made.
fn extent(service: &Service, issuer: &str, shards: &[Shard], asked: Extent) -> Extent {
    let now = service.now().whole_seconds();
    let has_base = |shard: &Shard| {
        let name = CrlName { issuer: issuer.to_owned(), shard: *shard, is_delta: false };
        service.crls.find(&name).is_some_and(|full| full.this_update < now && full.names_delta)
    };
    if shards.iter().all(has_base) { asked } else { Extent::Full }
}

struct Work<'a> {
    service: &'a Service,
    authority: &'a Authority,
    key: &'a IssuingKey,
    plan: CrlPlan,
    publication: &'a Publication,
    parts: &'a RevokedParts,
}

impl Work<'_> {
    fn name(&self, shard: Shard, is_delta: bool) -> CrlName {
        CrlName { issuer: self.key.record().id.clone(), shard, is_delta }
    }

    /// Writes every list beside the one that it is to replace.
    fn write(&self, shards: &[Shard], extent: Extent) -> Result<Vec<WrittenCrl>, Failure> {
        let mut written = Vec::new();
        let outcome = shards.iter().try_for_each(|shard| {
            // A full CRL comes with a delta of the same number, to the one before: who has that need not fetch all.
            written.extend(self.write_delta(*shard)?);
            if extent == Extent::Full {
                written.push(self.write_full(*shard)?);
            }
            Ok(())
        });
        match outcome {
            Ok(()) => Ok(written),
            Err(failure) => {
                written.into_iter().for_each(WrittenCrl::discard);
                Err(failure)
            }
        }
    }

    fn list(&self, shard: Shard) -> CrlList<'_> {
        CrlList {
            issuer: self.key.description(),
            urls: self.authority.urls(),
            shard,
            base: None,
            valid_for: self.plan.interval + self.plan.overlap,
            has_delta: self.plan.delta_interval.is_some(),
        }
    }

    fn write_full(&self, shard: Shard) -> Result<WrittenCrl, Failure> {
        let entries = self.parts.part(shard);
        self.service.crls.write(&self.name(shard, false), |out| {
            Ok(self.publication.make(&self.list(shard), &entries, self.key.signer().as_ref(), out)?)
        })
    }

    /// The difference to the full CRL that is published, as it is on the disk: right whatever happened since.
    fn write_delta(&self, shard: Shard) -> Result<Option<WrittenCrl>, Failure> {
        let Some(interval) = self.plan.delta_interval else { return Ok(None) };
        let Some(base) = self.service.crls.find(&self.name(shard, false)) else { return Ok(None) };
        // Without its own thisUpdate before the delta's, it is no base: a clock that was set back.
        if !base.names_delta || base.this_update >= self.publication.this_update() {
            return Ok(None);
        }
        let reader = base.reader().map_err(ca::Error::from)?;
        let entries = difference(reader, self.parts.part(shard).iter()).map_err(ca::Error::from)?;
        let list =
            CrlList { base: Some(base.number), valid_for: interval + self.plan.delta_overlap, ..self.list(shard) };
        let written = self.service.crls.write(&self.name(shard, true), |out| {
            Ok(self.publication.make(&list, &entries, self.key.signer().as_ref(), out)?)
        })?;
        Ok(Some(written))
    }

    /// Puts each list in its place: a delta before the full one of the same number, so that its base is a published one
    /// at each moment.
    fn swap(&self, written: Vec<WrittenCrl>) -> Result<Vec<CrlName>, Failure> {
        let mut names = Vec::with_capacity(written.len());
        let mut written = written.into_iter();
        while let Some(next) = written.next() {
            names.push(next.served().name.clone());
            if let Err(failure) = self.service.crls.swap(next) {
                written.for_each(WrittenCrl::discard);
                return Err(failure);
            }
            self.service.steps.done(Step::Crl(CrlStep::Swapped));
        }
        Ok(names)
    }

    /// Partitions that no living certificate names, and deltas that no full CRL names, are served no longer.
    fn withdraw(&self, shards: &[Shard]) {
        for crl in self.service.crls.all() {
            let is_own = crl.name.issuer == self.key.record().id;
            if is_own
                && (!shards.contains(&crl.name.shard) || (crl.name.is_delta && self.plan.delta_interval.is_none()))
            {
                self.service.crls.withdraw(&crl.name);
            }
        }
    }
}
