//! Answers that can be given again: those without a nonce, about one certificate that is known.
//!
//! They are kept under what they are about ([`CacheKey`]), and found a second way, by the octets of the HTTP request
//! that they answered, its *spelling*: the path of a GET or the body of a POST, as it came. That way nothing need be
//! decoded. A spelling owns no answer. When the answer goes, all its spellings lead nowhere.
//!
//! Finding an answer does not mean that it may be given: whether its status is still the newest is told by [`changes`],
//! and asked each time. So nothing that is forgotten to be dropped can do harm.
//!
//! Bounded in number and in octets, spellings and all ([`generations`]). Answers about serial numbers that were never
//! issued are not kept, or anybody could wash out the others.

pub(crate) mod changes;
mod generations;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use pki::ocsp::{CertIdHash, HashAlgorithm};
use pki::{SerialNumber, Timestamp};

use self::changes::Moment;
use self::generations::{Bounds, Generations, Kept, KeyOctets};
use crate::http::caching::CachingHeaders;
use crate::issuer::IssuerPolicy;
use crate::replica::{IssuerIndex, KnownStatus};
use crate::responder::AnswerKind;

const SHARDS: usize = 64;

/// The longest spelling that is kept; ordinary ones have 80 to 200 octets.
pub(crate) const MAX_SPELLING_OCTETS: usize = 512;

/// How many spellings of one answer are kept, at most: one request can be spelled in more ways than there is room for, and
/// who tries them is not to push out what others ask. Those beyond are decoded, and found by what they ask.
const MAX_SPELLINGS: u32 = 4;

/// What an entry of a map costs beside its content: its slot, the empty ones beside it, and what the allocator takes.
const SLOT_OCTETS: usize = 96;

/// All that the bytes of a `CertID` depend on: answers repeat it as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    /// The issuer.
    pub(crate) issuer: IssuerIndex,
    /// The certificate.
    pub(crate) serial: SerialNumber,
    /// How the request names the issuer.
    pub(crate) hash: CertIdHash,
}

/// An answer that can be given again, and what it was made of.
#[derive(Debug)]
pub(crate) struct AnswerContent {
    /// What it is about.
    pub(crate) key: CacheKey,
    /// The status that it was made of.
    pub(crate) status: KnownStatus,
    /// The moment before that status was read.
    pub(crate) seen: Moment,
    /// The DER `OCSPResponse`.
    pub(crate) der: Bytes,
    /// What it says.
    pub(crate) kind: AnswerKind,
    /// When it was signed.
    pub(crate) produced_at: Timestamp,
    /// Its thisUpdate.
    pub(crate) this_update: Timestamp,
    /// Its nextUpdate.
    pub(crate) next_update: Timestamp,
    /// What its HTTP reply says about it.
    pub(crate) headers: CachingHeaders,
    /// The times of its issuer's answers.
    pub(crate) policy: IssuerPolicy,
}

/// An answer that is kept.
#[derive(Debug)]
pub(crate) struct CachedAnswer {
    pub(crate) content: AnswerContent,
    /// When a new one is made, if that succeeds: halfway to nextUpdate, or when the certificate ends.
    refresh_at: Timestamp,
    /// The number of the last moment at which its status was known to be the newest.
    part: AtomicU32,
    /// How many spellings of it were kept so far.
    spellings: AtomicU32,
    used: AtomicBool,
}

impl CachedAnswer {
    pub(crate) fn new(content: AnswerContent) -> Self {
        let half = content.produced_at.plus(content.next_update.since(content.produced_at) / 2);
        // Past its end there is an archiveCutoff to tell, and soon no status any longer (conformance: O25).
        let ends = content.status.not_after;
        let refresh_at = if content.produced_at <= ends { half.min(ends.plus(Duration::from_millis(1))) } else { half };
        let part = AtomicU32::new(content.seen.part());
        CachedAnswer { content, refresh_at, part, spellings: AtomicU32::new(0), used: AtomicBool::new(false) }
    }

    /// Whether its status is the newest, by the moment that it is now; `status` looks, where that does not tell.
    // conformance: O6
    pub(crate) fn is_current(&self, now: Moment, status: impl FnOnce() -> Option<KnownStatus>) -> bool {
        if now.is_of_another_state(&self.content.seen) {
            return false;
        }
        if now.part() == self.part.load(Ordering::Acquire) {
            return true;
        }
        let same = status() == Some(self.content.status);
        if same {
            self.part.store(now.part(), Ordering::Release);
        }
        same
    }

    /// Whether its times allow that it is given at `now` (conformance: O28).
    pub(crate) fn may_be_given(&self, now: Timestamp) -> bool {
        self.content.produced_at <= now && now < self.content.next_update
    }

    /// Whether it is time for a new one.
    pub(crate) fn is_to_be_refreshed(&self, now: Timestamp) -> bool {
        now >= self.refresh_at
    }

    /// For how long another cache may keep it from `now` on: no longer than it lasts (conformance: H9).
    pub(crate) fn max_age(&self, now: Timestamp) -> Duration {
        self.content.policy.max_age.min(self.content.next_update.since(now))
    }
}

impl Kept for Arc<CachedAnswer> {
    fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn octets(&self) -> usize {
        SLOT_OCTETS + size_of::<CachedAnswer>() + self.content.der.len() + self.content.headers.octets()
    }
}

impl KeyOctets for CacheKey {
    fn octets(&self) -> usize {
        size_of::<CacheKey>()
    }
}

impl Kept for Weak<CachedAnswer> {
    fn take_used(&self) -> bool {
        false
    }

    /// The place of an answer that went is given back when the last spelling goes.
    fn octets(&self) -> usize {
        SLOT_OCTETS + size_of::<CachedAnswer>()
    }
}

impl KeyOctets for Box<[u8]> {
    fn octets(&self) -> usize {
        self.len()
    }
}

type Shards<K, V> = Vec<Mutex<Generations<K, V>>>;

/// The answers.
#[derive(Debug)]
pub(crate) struct AnswerCache {
    answers: Shards<CacheKey, Arc<CachedAnswer>>,
    spellings: Shards<Box<[u8]>, Weak<CachedAnswer>>,
    answer_bounds: Bounds,
    spelling_bounds: Bounds,
}

impl AnswerCache {
    /// For at most `entries` answers and as many spellings, which take at most `octets` together; 0 keeps none.
    pub(crate) fn new(entries: usize, octets: usize) -> Self {
        // Small ones have fewer parts, so that the bound stays exact enough to test.
        let shards = (entries / 16).clamp(1, SHARDS);
        // Two generations in each part. An answer takes about twice what its spelling does.
        let bounds = |octets: usize| Bounds { entries: entries / shards / 2, octets: octets / shards / 2 };
        AnswerCache {
            answers: (0..shards).map(|_| Mutex::default()).collect(),
            spellings: (0..shards).map(|_| Mutex::default()).collect(),
            answer_bounds: bounds(octets / 3 * 2),
            spelling_bounds: bounds(octets / 3),
        }
    }

    /// The answer about a certificate, if it may be given at `now`.
    pub(crate) fn get(&self, key: &CacheKey, now: Timestamp) -> Option<Arc<CachedAnswer>> {
        let answer = self.answers_about(&key.serial).get(key, self.answer_bounds, Arc::clone)?;
        answer.may_be_given(now).then_some(answer)
    }

    /// The answer to a request that came in these octets before, if it may be given at `now`.
    pub(crate) fn spelled(&self, spelling: &[u8], now: Timestamp) -> Option<Arc<CachedAnswer>> {
        if spelling.len() > MAX_SPELLING_OCTETS {
            return None;
        }
        let mut spellings = self.spellings_like(spelling);
        let Some(answer) = spellings.get(spelling, self.spelling_bounds, Weak::upgrade)? else {
            spellings.remove(spelling);
            return None;
        };
        drop(spellings);
        if !answer.used.load(Ordering::Relaxed) {
            answer.used.store(true, Ordering::Relaxed);
        }
        answer.may_be_given(now).then_some(answer)
    }

    /// Keeps an answer, in the place of the one before.
    pub(crate) fn insert(&self, answer: &Arc<CachedAnswer>) {
        self.answers_about(&answer.content.key.serial).put(answer.content.key, Arc::clone(answer), self.answer_bounds);
    }

    /// Keeps the octets of the request that an answer was given to, unless there were many already: the same can be asked
    /// in more ways than there is room for.
    pub(crate) fn spell(&self, spelling: &[u8], answer: &Arc<CachedAnswer>) {
        if spelling.len() <= MAX_SPELLING_OCTETS && answer.spellings.fetch_add(1, Ordering::Relaxed) < MAX_SPELLINGS {
            let weak = Arc::downgrade(answer);
            self.spellings_like(spelling).put(spelling.into(), weak, self.spelling_bounds);
        }
    }

    /// Drops all answers about a certificate.
    pub(crate) fn forget(&self, issuer: IssuerIndex, serial: SerialNumber) {
        let mut shard = self.answers_about(&serial);
        for algorithm in HashAlgorithm::ALL {
            for null_parameters in [false, true] {
                shard.remove(&CacheKey { issuer, serial, hash: CertIdHash { algorithm, null_parameters } });
            }
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&self) {
        for shard in &self.answers {
            *lock(shard) = Generations::default();
        }
        for shard in &self.spellings {
            *lock(shard) = Generations::default();
        }
    }

    /// How many answers are kept.
    pub(crate) fn len(&self) -> usize {
        self.answers.iter().map(|shard| lock(shard).len()).sum()
    }

    /// How many octets the answers and spellings take, about.
    pub(crate) fn octets(&self) -> usize {
        let answers: usize = self.answers.iter().map(|shard| lock(shard).octets()).sum();
        let spellings: usize = self.spellings.iter().map(|shard| lock(shard).octets()).sum();
        answers + spellings
    }

    fn answers_about(&self, serial: &SerialNumber) -> MutexGuard<'_, Generations<CacheKey, Arc<CachedAnswer>>> {
        let last = usize::from(serial.as_bytes().last().copied().unwrap_or(0));
        lock(&self.answers[last % self.answers.len()])
    }

    fn spellings_like(&self, spelling: &[u8]) -> MutexGuard<'_, Generations<Box<[u8]>, Weak<CachedAnswer>>> {
        // The serial number is near the end, before padding.
        let end = spelling.iter().rev().skip(2).take(8).fold(0_usize, |sum, octet| sum * 31 + usize::from(*octet));
        lock(&self.spellings[end % self.spellings.len()])
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Replica;
    use crate::replica::KnownState;

    fn key(number: u8) -> CacheKey {
        CacheKey {
            issuer: Replica::default().issuer_index("authentication-1").unwrap(),
            serial: SerialNumber::from_der_content(&[1, number]).unwrap(),
            hash: CertIdHash { algorithm: HashAlgorithm::Sha1, null_parameters: true },
        }
    }

    const STATUS: KnownStatus =
        KnownStatus { state: KnownState::Good, since: Timestamp::EPOCH, not_after: Timestamp::MAX };

    fn answer(key: CacheKey, from: i64, to: i64) -> Arc<CachedAnswer> {
        let at = Timestamp::from_unix_seconds;
        Arc::new(CachedAnswer::new(AnswerContent {
            key,
            status: STATUS,
            seen: changes::Changes::new().moment(&key.serial),
            der: Bytes::from_static(&[0; 1000]),
            kind: AnswerKind::Good,
            produced_at: at(from),
            this_update: at(from),
            next_update: at(to),
            headers: CachingHeaders::new(&[0; 1000], at(from), at(to)),
            policy: IssuerPolicy::OTHERS,
        }))
    }

    #[test]
    fn an_answer_past_its_time_is_never_served() {
        // conformance: O28
        let cache = AnswerCache::new(10, 1 << 20);
        let kept = answer(key(1), 100, 200);
        cache.insert(&kept);
        cache.spell(b"/MA==", &kept);
        let at = |seconds| {
            let now = Timestamp::from_unix_seconds(seconds);
            let found = cache.get(&key(1), now).is_some();
            assert_eq!(cache.spelled(b"/MA==", now).is_some(), found);
            found
        };
        assert!(at(100) && at(199));
        assert!(!at(200) && !at(99));
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_keeps_what_is_asked_for() {
        let cache = AnswerCache::new(10, 1 << 20);
        for number in 0..=255 {
            cache.insert(&answer(key(number), 0, 1000));
            assert!(cache.get(&key(0), Timestamp::EPOCH).is_some(), "asked for all the time, but lost at {number}");
            assert!(cache.len() <= 10);
        }
        for none in [AnswerCache::new(0, 1 << 20), AnswerCache::new(10, 0)] {
            none.insert(&answer(key(1), 0, 1000));
            assert_eq!(none.len(), 0);
        }
    }

    #[test]
    fn it_keeps_to_its_octets_with_all_spellings() {
        let cache = AnswerCache::new(1_000_000, 1 << 20);
        for number in 0..2000_u32 {
            let kept = answer(key(number as u8), 0, 1000);
            cache.insert(&kept);
            for slashes in 0..10 {
                cache.spell(format!("{}{number}", "/".repeat(slashes * 20)).as_bytes(), &kept);
            }
        }
        assert!((1 << 18..=1 << 20).contains(&cache.octets()), "{}", cache.octets());
    }

    #[test]
    fn neither_long_spellings_nor_many_of_one_answer_are_kept() {
        let cache = AnswerCache::new(1000, 1 << 20);
        let kept = answer(key(1), 0, 1000);
        cache.insert(&kept);
        let is_kept = |spelling: &[u8]| {
            cache.spell(spelling, &kept);
            cache.spelled(spelling, Timestamp::EPOCH).is_some()
        };
        assert!(is_kept(&[b'/'; MAX_SPELLING_OCTETS]) && !is_kept(&[b'/'; MAX_SPELLING_OCTETS + 1]));
        let kept_ones = (0..1000).filter(|number| is_kept(format!("/{number}").as_bytes())).count();
        assert_eq!(kept_ones, MAX_SPELLINGS as usize - 1);
    }

    #[test]
    fn who_spells_one_request_in_every_way_pushes_out_nothing_of_others() {
        let cache = AnswerCache::new(50_000, 1 << 26);
        let others: Vec<_> = (1..=100).map(|number| answer(key(number), 0, 1000)).collect();
        let spelling = |number: usize| format!("/MF{number}");
        for (number, kept) in others.iter().enumerate() {
            cache.insert(kept);
            cache.spell(spelling(number).as_bytes(), kept);
        }
        let before = cache.octets();
        let one = answer(key(0), 0, 1000);
        cache.insert(&one);
        for number in 0..100_000 {
            cache.spell(format!("/%4D{number}").as_bytes(), &one);
        }
        assert!(cache.octets() - before < 4000, "{} octets for one answer", cache.octets() - before);
        for number in 0..others.len() {
            assert!(cache.spelled(spelling(number).as_bytes(), Timestamp::EPOCH).is_some(), "lost {number}");
        }
    }

    #[test]
    fn an_answer_that_is_asked_for_in_one_spelling_only_is_kept_as_well() {
        let cache = AnswerCache::new(10, 1 << 20);
        let kept = answer(key(0), 0, 1000);
        cache.insert(&kept);
        cache.spell(b"/MA==", &kept);
        drop(kept);
        for number in 1..=255 {
            cache.insert(&answer(key(number), 0, 1000));
            assert!(cache.spelled(b"/MA==", Timestamp::EPOCH).is_some(), "lost at {number}");
        }
    }

    #[test]
    fn forgetting_a_certificate_drops_its_answers_in_every_spelling() {
        let cache = AnswerCache::new(10, 1 << 20);
        let mut other = key(1);
        other.hash = CertIdHash { algorithm: HashAlgorithm::Sha512, null_parameters: false };
        for (key, spelling) in [(key(1), "/1"), (other, "/2"), (key(2), "/3")] {
            let kept = answer(key, 0, 1000);
            cache.insert(&kept);
            cache.spell(spelling.as_bytes(), &kept);
            cache.spell(format!("/{spelling}").as_bytes(), &kept);
        }
        cache.forget(key(1).issuer, key(1).serial);
        assert_eq!(cache.len(), 1);
        let left = ["/1", "//1", "/2", "//2", "/3", "//3"]
            .map(|spelling| cache.spelled(spelling.as_bytes(), Timestamp::EPOCH).is_some());
        assert_eq!(left, [false, false, false, false, true, true]);
    }

    #[test]
    fn an_answer_is_current_until_its_own_status_changes() {
        // conformance: O6
        let changes = changes::Changes::new();
        let kept = answer(key(1), 0, 1000);
        let serial = key(1).serial;
        let never = || -> Option<KnownStatus> { panic!("nothing has changed") };
        assert!(kept.is_current(changes.moment(&serial), never));
        // Another certificate has the same number.
        changes.changed(&serial);
        assert!(kept.is_current(changes.moment(&serial), || Some(STATUS)));
        assert!(kept.is_current(changes.moment(&serial), never));
        changes.changed(&serial);
        let held = KnownStatus { state: KnownState::OnHold, ..STATUS };
        assert!(!kept.is_current(changes.moment(&serial), || Some(held)));
        assert!(!kept.is_current(changes.moment(&serial), || None));
        changes.all_changed();
        assert!(!kept.is_current(changes.moment(&serial), || Some(STATUS)));
    }
}
