//! The publication of an issuer's CRLs: one number for all the lists that are made at once (full, partitions, deltas),
//! taken in one commit; the lists themselves, each a stream; and the commit that records that they are out.

use std::io::Write;
use std::time::Duration;

use audit::{Actor, AuditRecord, Outcome};
use hsm::Signer;
use pki::crl::{CrlEntries, CrlHeader, CrlNumber, SignedCrlSummary, prepare_crl};
use pki::feed::FeedPosition;
use pki::{IssuerDescription, Timestamp};
use store::{Batch, Store};

use crate::authority::PublicUrls;
use crate::issuer::{CrlHistory, IssuerRecord};
use crate::revocations::Shard;
use crate::{Error, batch, record};

/// How far a restore raises the numbers for each epoch. The first epoch is 1, and its numbers are those of the clock.
const NUMBERS_PER_EPOCH: u64 = 1 << 16;

/// Which lists are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Full ones (of all, or of a partition), and their deltas where there are such.
    Full,
    /// Deltas only.
    Deltas,
}

impl Extent {
    fn name(self) -> &'static str {
        match self {
            Extent::Full => "full",
            Extent::Deltas => "deltas",
        }
    }
}

/// What is to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Which lists.
    pub extent: Extent,
    /// Whether the schedule asks for it, for all parts: only after such a one, the entry of an expired certificate may be
    /// left out (RFC 5280 3.3).
    pub scheduled: bool,
    /// Whether entries of expired certificates stay for good, since old signatures are still verified.
    pub keep_expired: bool,
}

/// A publication whose number is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    issuer: String,
    intent: Intent,
    number: u64,
    this_update: Timestamp,
    ended_before: Option<Timestamp>,
    expired_certs_on_crl: Option<Timestamp>,
}

/// The next number of an issuer's CRLs.
///
/// Numbers are the seconds of their making, or one more than the last, whichever is greater: so they rise over a clock
/// that was set back. After a restore they go on from the feed's epoch, which every restore raises, far above all that
/// the lost store can have used up: on demand, CRLs are made faster than one a second (conformance: C6).
pub(crate) fn next_number(store: &dyn Store, last: u64, this_update: Timestamp) -> Result<u64, Error> {
    let time_as_number = u64::try_from(this_update.unix_seconds()).unwrap_or(0);
    let epoch_as_number = store.feed_position()?.epoch.saturating_mul(NUMBERS_PER_EPOCH);
    Ok(time_as_number.max(epoch_as_number).max(last + 1))
}

impl Publication {
    /// Takes a number. Commit the batch before any list is signed.
    ///
    /// # Errors
    /// When the issuer is not known, or the store fails.
    // conformance: C6, C13
    pub fn begin(
        store: &dyn Store,
        issuer: &str,
        intent: Intent,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(Batch, Self), Error> {
        let stored = store::load::<IssuerRecord>(store, issuer.as_bytes())?
            .ok_or_else(|| Error::NoSuchIssuer(issuer.to_owned()))?;
        let this_update = now.whole_seconds();
        let number = next_number(store, stored.record.crl_number, this_update)?;
        let CrlHistory { last_scheduled, ended_before } = stored.record.crl_history;
        let ended_before = match intent.extent {
            Extent::Full if !intent.keep_expired => last_scheduled.max(ended_before),
            // What the base CRL has, its deltas do not take off.
            _ => ended_before,
        };
        let created = stored.record.created;
        let publication = Publication {
            issuer: issuer.to_owned(),
            intent,
            number,
            this_update,
            ended_before,
            expired_certs_on_crl: intent
                .keep_expired
                .then(|| ended_before.unwrap_or(created).max(created).whole_seconds()),
        };
        let mut batch = batch(now);
        batch.update(&stored.with(IssuerRecord { crl_number: number, ..stored.record.clone() }))?;
        record(&mut batch, &publication.audit(actor, now, Outcome::Intent))?;
        Ok((batch, publication))
    }

    /// cRLNumber of all its lists.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// thisUpdate of all its lists.
    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// Entries of certificates that ended before this are left out.
    pub fn ended_before(&self) -> Option<Timestamp> {
        self.ended_before
    }

    /// Makes one list: lints and hashes it, has the digest signed, verifies the signature, and writes it to `out`. What
    /// was written is to be thrown away after an error.
    ///
    /// # Errors
    /// When the list cannot be built, the token does not sign, or `out` cannot be written.
    // conformance: C1, C7, C11, C15
    pub fn make<E: CrlEntries + ?Sized>(
        &self,
        list: &CrlList<'_>,
        entries: &E,
        signer: &dyn Signer,
        out: &mut dyn Write,
    ) -> Result<SignedCrlSummary, Error> {
        let CrlList { issuer, urls, shard, base, valid_for, has_delta } = *list;
        let distribution_point = shard.map(|shard| urls.crl_shard(&issuer.id, shard));
        let freshest_crl = (has_delta && base.is_none()).then(|| urls.delta_crl(&issuer.id, shard));
        let header = CrlHeader {
            issuer,
            number: CrlNumber::from(self.number),
            this_update: self.this_update,
            next_update: self.this_update.plus(valid_for).min(issuer.not_after),
            base,
            distribution_point: distribution_point.as_deref(),
            freshest_crl: freshest_crl.as_deref(),
            expired_certs_on_crl: self.expired_certs_on_crl,
        };
        let prepared = prepare_crl(&header, entries)?;
        let signature = signer.sign_digest(prepared.digest())?;
        Ok(prepared.write(entries, &signature, signer.public_key(), out)?)
    }

    /// The commit that records that its lists are out, `position` being the place in the feed that they are as of.
    ///
    /// # Errors
    /// When the issuer is not known or the record cannot be written.
    pub fn published(
        &self,
        store: &dyn Store,
        lists: usize,
        entries: u64,
        position: FeedPosition,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Batch, Error> {
        let stored = store::load::<IssuerRecord>(store, self.issuer.as_bytes())?
            .ok_or_else(|| Error::NoSuchIssuer(self.issuer.clone()))?;
        let mut next = stored.record.clone();
        if self.intent.extent == Extent::Full {
            next.last_crl = next.last_crl.max(Some(self.this_update));
            next.crl_history.ended_before = next.crl_history.ended_before.max(self.ended_before);
            if self.intent.scheduled {
                next.crl_history.last_scheduled = next.crl_history.last_scheduled.max(Some(self.this_update));
            }
        }
        let mut batch = batch(now);
        batch.update(&stored.with(next))?;
        let done = self.audit(actor, now, Outcome::Done).fact("lists", lists).fact("entries", entries);
        record(&mut batch, &done.fact("feed_sequence", position.sequence))?;
        Ok(batch)
    }

    /// The audit record of one that came to nothing. Its number stays used.
    pub fn failed(&self, cause: &str, actor: &Actor, now: Timestamp) -> AuditRecord {
        self.audit(actor, now, Outcome::Failed { cause: cause.to_owned() })
    }

    fn audit(&self, actor: &Actor, now: Timestamp, outcome: Outcome) -> AuditRecord {
        AuditRecord::new(now, actor.clone(), "crl.publish", outcome)
            .on("issuer", &self.issuer)
            .fact("number", self.number)
            .fact("extent", self.intent.extent.name())
            .fact("scheduled", self.intent.scheduled)
    }
}

/// One list of a publication.
#[derive(Clone, Copy, Debug)]
pub struct CrlList<'a> {
    /// Whose it is.
    pub issuer: &'a IssuerDescription,
    /// Where its lists are to be had.
    pub urls: &'a PublicUrls,
    /// The partition, if it is about one.
    pub shard: Shard,
    /// Of a delta: the number of the published CRL that it says the difference to.
    pub base: Option<CrlNumber>,
    /// thisUpdate to nextUpdate, at most until the issuer ends.
    pub valid_for: Duration,
    /// Whether a full one names its delta.
    pub has_delta: bool,
}
