//! From a request to an answer.
//!
//! [`Responder::prepare`] does all but the signature, [`Responder::finish`] the rest, so that a signature that takes a
//! while can be made on another thread; [`Responder::answer`] does both.
//!
//! An answer is a claim about one moment, and these hold for each (conformance: O3, O23): thisUpdate is not later than
//! the last word from the CA about the certificate, which is the last heartbeat or the status itself if that came
//! after it; thisUpdate ≤ producedAt ≤ now < nextUpdate. A status that changes while its answer is being signed sends
//! that answer back: an old `good` never leaves after a newer status came in.

mod answer;
mod content;
mod signing;

pub use answer::{Answer, AnswerKind, AnswerRules, Cacheability, ResponderOptions};
pub use signing::Signing;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use pki::Timestamp;
use pki::feed::{FeedPosition, StatusEntry};
use pki::ocsp::{CertId, ErrorStatus, IssuerHashes, IssuerMatch, OcspLimits, OcspRequest};

use self::signing::{About, Keep, from_cache};
use crate::cache::changes::Changes;
use crate::cache::{AnswerCache, CacheKey, CachedAnswer};
use crate::issuer::{Issuer, ResponderIssuer};
use crate::notice::Notice;
use crate::replica::{Filling, Freshness, Replica};
use crate::signer::IssuerSigner;
use crate::{Error, Metrics};

/// What comes of a request before anything is signed.
#[derive(Debug)]
pub enum Prepared {
    /// The answer.
    Ready(Answer),
    /// An answer that waits for its signature: [`Responder::finish`].
    Sign(Box<Signing>),
    /// The time that was given is before the last producedAt. If it is right on asking the clock again, another thread
    /// was faster; otherwise the clock went back, and the answer is `tryLater` (conformance: O24).
    ClockBehind,
}

/// How things stand with one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerState {
    /// The issuer.
    pub id: String,
    /// Whether its statuses can be relied upon.
    pub freshness: Freshness,
    /// Until when somebody can sign for it; `None` if nobody can.
    pub signer_not_after: Option<Timestamp>,
    /// Whether that one could not sign the last time, as when its token is gone.
    pub signer_fails: bool,
}

/// The responder. All methods may be called from any thread.
#[derive(Debug)]
pub struct Responder {
    options: ResponderOptions,
    rules: ArcSwap<AnswerRules>,
    issuers: ArcSwap<Vec<Arc<Issuer>>>,
    /// Held while issuers or their signers are exchanged, so that neither gets lost.
    exchange: Mutex<()>,
    replica: Replica,
    cache: AnswerCache,
    changes: Changes,
    metrics: Metrics,
    /// Signatures that failed: each request has one while a token is away.
    not_signed: Notice,
    /// In seconds since 1970.
    last_produced_at: AtomicI64,
    /// In milliseconds.
    stale_after: AtomicU64,
    /// Nothing is answered, whatever is known.
    withholds: AtomicBool,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Responder {
    /// One that serves no issuer yet.
    pub fn new(options: ResponderOptions) -> Self {
        Responder {
            rules: ArcSwap::from_pointee(options.rules),
            issuers: ArcSwap::default(),
            exchange: Mutex::default(),
            replica: Replica::default(),
            cache: AnswerCache::new(options.cached_answers, options.cached_octets),
            changes: Changes::new(),
            metrics: Metrics::default(),
            not_signed: Notice::default(),
            last_produced_at: AtomicI64::new(options.last_produced_at.map_or(i64::MIN, Timestamp::unix_seconds)),
            stale_after: AtomicU64::new(millis(options.stale_after)),
            withholds: AtomicBool::new(false),
            options,
        }
    }

    /// Serves these issuers from now on. Those that were served before keep their signers.
    ///
    /// # Errors
    /// [`Error::TooManyIssuers`].
    pub fn set_issuers(&self, issuers: Vec<ResponderIssuer>) -> Result<(), Error> {
        let _exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.issuers.load_full();
        let mut after = Vec::with_capacity(issuers.len());
        for ResponderIssuer { description, policy } in issuers {
            let same = |issuer: &&Arc<Issuer>| {
                issuer.description.id == description.id && issuer.description.public_key == description.public_key
            };
            let signers = before.iter().find(same).map(|issuer| issuer.signers.load_full()).unwrap_or_default();
            after.push(Arc::new(Issuer {
                index: self.replica.issuer_index(&description.id)?,
                hashes: IssuerHashes::new(&description.subject_der, &description.public_key),
                description,
                policy,
                signers: ArcSwap::new(signers),
            }));
        }
        self.issuers.store(Arc::new(after));
        self.drop_answers();
        Ok(())
    }

    /// Answers by these rules from now on: the CA may say them later than the options do. Nothing that was kept or is being
    /// signed by those of before is given after it (conformance: O4, O11).
    pub fn set_rules(&self, rules: AnswerRules) {
        if **self.rules.load() != rules {
            self.rules.store(Arc::new(rules));
            self.drop_answers();
        }
    }

    /// Statuses count as stale after so long without a heartbeat from now on: the CA may say it later than the options do.
    pub fn set_stale_after(&self, stale_after: Duration) {
        self.stale_after.store(millis(stale_after), Ordering::Relaxed);
    }

    /// Withholds every answer from now on, or no longer: for a responder whose CA does not want it any more. Answers that
    /// are being signed are not given, and those that were kept do not come back.
    pub fn withhold_all(&self, withhold: bool) {
        self.withholds.store(withhold, Ordering::SeqCst);
        self.drop_answers();
    }

    /// Puts these signers in the place of an issuer's, the preferred one first, without a gap: answers that are being
    /// signed are finished by the old ones (conformance: O12, O22). The old signers' cached answers stay; they end in
    /// time (conformance: O13).
    ///
    /// # Errors
    /// [`Error::UnknownIssuer`].
    pub fn set_signers(&self, issuer: &str, signers: Vec<IssuerSigner>) -> Result<(), Error> {
        let _exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let issuers = self.issuers.load();
        let found = issuers.iter().find(|known| known.description.id == issuer);
        let found = found.ok_or_else(|| Error::UnknownIssuer(issuer.to_owned()))?;
        found.signers.store(Arc::new(signers.into_iter().map(Arc::new).collect()));
        Ok(())
    }

    /// Takes the next entry of the feed. From the moment this returns no answer says otherwise.
    ///
    /// # Errors
    /// As [`Replica::apply`].
    pub fn apply(&self, sequence: u64, entry: &StatusEntry) -> Result<(), Error> {
        if let Some((issuer, serial)) = self.replica.apply(sequence, entry)? {
            self.changes.changed(&serial);
            self.cache.forget(issuer, serial);
        }
        Ok(())
    }

    /// Takes a heartbeat of the feed that came at `now`: "nothing newer than `position` as of `as_of`".
    ///
    /// # Errors
    /// As [`Replica::heartbeat`].
    pub fn heartbeat(&self, position: FeedPosition, as_of: Timestamp, now: Timestamp) -> Result<(), Error> {
        self.replica.heartbeat(position, as_of, now)
    }

    /// Takes a snapshot of the feed.
    ///
    /// # Errors
    /// As [`Replica::load_snapshot`].
    pub fn load_snapshot(
        &self,
        position: FeedPosition,
        as_of: Timestamp,
        entries: impl IntoIterator<Item = StatusEntry>,
    ) -> Result<usize, Error> {
        let loaded = self.replica.load_snapshot(position, as_of, entries);
        // Also when it broke off: whatever is kept was said by the state before.
        self.drop_answers();
        loaded
    }

    /// Takes a state that was put together by [`Replica::filling`].
    ///
    /// # Errors
    /// As [`Replica::load_snapshot`].
    pub fn put_in_place(&self, filled: Filling<'_>, position: FeedPosition, as_of: Timestamp) -> Result<usize, Error> {
        let loaded = filled.put_in_place(position, as_of);
        self.drop_answers();
        loaded
    }

    /// Forgets certificates whose status is kept no longer: those that ended more than the longest retention ago. By the
    /// CA's last word, not by our clock alone: one that is ahead must not cost what is known. Returns how many.
    pub fn forget_expired(&self, now: Timestamp) -> usize {
        let longest = self.issuers.load().iter().map(|issuer| issuer.policy.retention).max();
        match (longest, self.replica.as_of()) {
            (Some(longest), Some(as_of)) => self.replica.forget_expired(now.min(as_of).minus(longest)),
            // How long they are kept, or what time it is, is not known yet.
            _ => 0,
        }
    }

    /// The replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many answers are kept.
    pub fn cached_answers(&self) -> usize {
        self.cache.len()
    }

    /// How many octets the answers that are kept take, with all that is needed to find them.
    pub fn cached_octets(&self) -> usize {
        self.cache.octets()
    }

    /// What a request may cost.
    pub fn limits(&self) -> &OcspLimits {
        &self.options.limits
    }

    /// The producedAt of the last answer, to be kept for the next run (conformance: O24).
    pub fn last_produced_at(&self) -> Option<Timestamp> {
        match self.last_produced_at.load(Ordering::Acquire) {
            i64::MIN => None,
            seconds => Some(Timestamp::from_unix_seconds(seconds)),
        }
    }

    /// Whether the clock is behind the last producedAt, so that nothing can be signed (conformance: O24). By more than a
    /// second: another thread may have looked at the clock later.
    pub fn is_clock_behind(&self, now: Timestamp) -> bool {
        self.last_produced_at.load(Ordering::Acquire) > now.unix_seconds().saturating_add(1)
    }

    /// Has every key sign something that could not sign the last time: whoever goes by [`Responder::state`] may send no
    /// request that would show that it can again. Blocks.
    pub fn try_failing_signers(&self) {
        for issuer in self.issuers.load().iter() {
            for signer in issuer.signers.load().iter().filter(|signer| signer.is_failing()) {
                // No DER, so never part of an answer.
                if signer.sign(b"Can this key sign again?").is_ok() {
                    tracing::info!(issuer = issuer.description.id, "OCSP answers can be signed again");
                }
            }
        }
    }

    /// How things stand, issuer by issuer: for readiness, logs and metrics.
    pub fn state(&self, now: Timestamp) -> Vec<IssuerState> {
        let state = |issuer: &Arc<Issuer>| {
            let signer = issuer.signer(&[], now).map(|(signer, _)| signer);
            IssuerState {
                id: issuer.description.id.clone(),
                freshness: self.freshness(issuer, now),
                signer_not_after: signer.as_ref().map(|signer| signer.not_after()),
                signer_fails: signer.is_some_and(|signer| signer.is_failing()),
            }
        };
        self.issuers.load().iter().map(state).collect()
    }

    /// Answers a request. Blocks while the signature is made.
    pub fn answer(&self, request: &[u8], now: Timestamp) -> Answer {
        match self.prepare(&Bytes::copy_from_slice(request), now) {
            Prepared::Ready(answer) => answer,
            Prepared::Sign(signing) => self.finish(*signing),
            Prepared::ClockBehind => self.refuse_clock(),
        }
    }

    /// Does all but the signature.
    pub fn prepare(&self, request: &Bytes, now: Timestamp) -> Prepared {
        match self.try_prepare(request, now) {
            Ok(prepared) => prepared,
            Err(status) => Prepared::Ready(self.counted(Answer::error(status))),
        }
    }

    /// The answer that was given to a request in the same octets, the path of a GET or the body of a POST, if it may be
    /// given again at `now`: the statuses are not too old (conformance: O6), this one has not changed, and it is not time
    /// to sign again.
    pub(crate) fn given_before(&self, spelling: &[u8], now: Timestamp) -> Option<Arc<CachedAnswer>> {
        let kept = self.cache.spelled(spelling, now)?;
        let fresh = self.replica.freshness(now, self.options.stale_after, kept.content.policy.withhold_after);
        if self.withholds.load(Ordering::Relaxed)
            || fresh == Freshness::Withheld
            || kept.is_to_be_refreshed(now)
            || !self.is_current(&kept)
        {
            return None;
        }
        self.metrics.cache_hits.add_one();
        self.metrics.count(kept.content.kind);
        Some(kept)
    }

    /// Remembers in which octets a request came whose answer is kept.
    pub(crate) fn spell(&self, spelling: &[u8], answer: &Answer) {
        if let Some(kept) = &answer.kept {
            self.cache.spell(spelling, kept);
        }
    }

    /// Whether the status that a kept answer was made of is still the newest.
    fn is_current(&self, kept: &CachedAnswer) -> bool {
        let key = &kept.content.key;
        kept.is_current(self.changes.moment(&key.serial), || self.replica.status(key.issuer, &key.serial))
    }

    /// What is kept was said of another state.
    fn drop_answers(&self) {
        self.changes.all_changed();
        self.cache.clear();
    }

    /// The answer when the clock is behind the last producedAt.
    // conformance: O24
    pub(crate) fn refuse_clock(&self) -> Answer {
        self.counted(Answer::error(ErrorStatus::TryLater))
    }

    /// The answer when there is nobody to sign in time.
    // conformance: O26
    pub(crate) fn refuse_busy(&self) -> Answer {
        self.metrics.signing_failures.add_one();
        self.counted(Answer::error(ErrorStatus::TryLater))
    }

    fn counted(&self, answer: Answer) -> Answer {
        self.metrics.count(answer.kind);
        answer
    }

    fn freshness(&self, issuer: &Issuer, now: Timestamp) -> Freshness {
        if self.withholds.load(Ordering::Relaxed) {
            return Freshness::Withheld;
        }
        let stale_after = Duration::from_millis(self.stale_after.load(Ordering::Relaxed));
        self.replica.freshness(now, stale_after, issuer.policy.withhold_after)
    }

    fn try_prepare(&self, request: &Bytes, now: Timestamp) -> Result<Prepared, ErrorStatus> {
        let parsed = OcspRequest::from_der(request, &self.options.limits).map_err(|_| ErrorStatus::MalformedRequest)?;
        // Before the issuers are looked at: an answer by those of before is out of date with them.
        let state = self.changes.state();
        let issuer = self.find_issuer(parsed.cert_ids())?;
        if self.freshness(&issuer, now) == Freshness::Withheld {
            self.metrics.withheld.add_one();
            return Err(ErrorStatus::TryLater);
        }
        let signer = issuer.signer(parsed.preferred_algorithms(), now);
        let is_default = signer.as_ref().is_none_or(|(_, is_default)| *is_default);
        let cache_key = if is_default { cache_key(&issuer, &parsed) } else { None };
        // Who prefers another algorithm gets it as soon as there is a key for it.
        let is_plain = parsed.preferred_algorithms().is_empty();
        if let Some(key) = cache_key
            && let Some(kept) = self.cache.get(&key, now)
            // If nobody can sign, what is kept will do to its end.
            && (signer.is_none() || !kept.is_to_be_refreshed(now))
            && self.is_current(&kept)
        {
            self.metrics.cache_hits.add_one();
            return Ok(Prepared::Ready(self.counted(from_cache(kept, is_plain, now))));
        }

        let (signer, _) = signer.ok_or(ErrorStatus::TryLater)?;
        let content = self.content(&issuer, &signer, &parsed, state, now)?;
        if self.last_produced_at.fetch_max(now.unix_seconds(), Ordering::AcqRel) > now.unix_seconds() {
            return Ok(Prepared::ClockBehind);
        }
        let keep = match (cache_key, parsed.cert_ids()) {
            (Some(key), [cert_id]) if content.kind != AnswerKind::Unknown => {
                Some(Keep { key, cert_id: request.slice_ref(cert_id.der()), is_plain })
            }
            _ => None,
        };
        let about = About {
            request: request.clone(),
            now,
            signer,
            seen: content.seen,
            kind: content.kind,
            times: content.times,
            responder_id: content.responder_id,
            keep,
            issuer,
        };
        Ok(Prepared::Sign(Box::new(Signing { response: content.response, about })))
    }

    /// The one issuer that all of them are of: a delegate signs for one CA key only, so that a request across two is
    /// `unauthorized`, like one about others (conformance: O6, O9, O10, O15).
    fn find_issuer(&self, cert_ids: &[CertId<'_>]) -> Result<Arc<Issuer>, ErrorStatus> {
        let issuers = self.issuers.load();
        if issuers.is_empty() {
            // Whom it answers for is not known yet: nobody can be told that the certificate is another CA's.
            return Err(ErrorStatus::TryLater);
        }
        let mut asked = cert_ids
            .iter()
            .map(|cert_id| issuers.iter().find(|issuer| issuer.hashes.matches(cert_id) == IssuerMatch::Issuer));
        let first = asked.next().flatten().ok_or(ErrorStatus::Unauthorized)?;
        if asked.all(|issuer| issuer.is_some_and(|issuer| Arc::ptr_eq(issuer, first))) {
            Ok(first.clone())
        } else {
            Err(ErrorStatus::Unauthorized)
        }
    }
}

/// Only an answer about one certificate and without a nonce can be given again.
fn cache_key(issuer: &Issuer, request: &OcspRequest<'_>) -> Option<CacheKey> {
    match (request.cert_ids(), request.nonce()) {
        ([cert_id], None) => Some(CacheKey { issuer: issuer.index, serial: cert_id.serial()?, hash: cert_id.hash()? }),
        _ => None,
    }
}
