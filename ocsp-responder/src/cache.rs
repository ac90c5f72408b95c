//! Answers that can be given again: those without a nonce, about one certificate that is known.
//!
//! Bounded, and in two generations: what was not asked for while one generation filled goes with the next. Answers
//! about serial numbers that were never issued are not kept, or anybody could wash out the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pki::ocsp::{CertIdHash, HashAlgorithm};
use pki::{SerialNumber, Timestamp};

use crate::replica::IssuerIndex;
use crate::responder::AnswerKind;

const SHARDS: usize = 64;

/// All that the bytes of a `CertID` depend on: answers repeat it as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// The issuer.
    pub issuer: IssuerIndex,
    /// The certificate.
    pub serial: SerialNumber,
    /// How the request names the issuer.
    pub hash: CertIdHash,
}

/// An answer that was verified and can be given again.
#[derive(Debug)]
pub struct CachedAnswer {
    /// The DER `OCSPResponse`.
    pub der: Bytes,
    /// What it says.
    pub kind: AnswerKind,
    /// When it was signed.
    pub produced_at: Timestamp,
    /// Its thisUpdate.
    pub this_update: Timestamp,
    /// Its nextUpdate.
    pub next_update: Timestamp,
    /// When a new one is made, if that succeeds: halfway to nextUpdate.
    pub refresh_at: Timestamp,
    /// Its entity tag, with the quotes.
    pub etag: Arc<str>,
}

/// The answers.
#[derive(Debug)]
pub struct AnswerCache {
    shards: Vec<Mutex<Generations>>,
    /// How many answers one generation of one shard may have.
    generation: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<CacheKey, Arc<CachedAnswer>>,
    old: HashMap<CacheKey, Arc<CachedAnswer>>,
}

impl AnswerCache {
    /// For at most `capacity` answers; 0 keeps none.
    pub fn new(capacity: usize) -> Self {
        // Small ones have fewer parts, so that the bound stays exact enough to test.
        let shards = (capacity / 16).clamp(1, SHARDS);
        AnswerCache { shards: (0..shards).map(|_| Mutex::default()).collect(), generation: capacity / shards / 2 }
    }

    /// The answer that may be given at `now`: never one past its nextUpdate (conformance: O28), nor one that was signed
    /// later than `now`.
    pub fn get(&self, key: &CacheKey, now: Timestamp) -> Option<Arc<CachedAnswer>> {
        let mut shard = self.shard(&key.serial);
        let answer = match shard.young.get(key) {
            Some(answer) => answer.clone(),
            None => {
                let answer = shard.old.remove(key)?;
                self.put(&mut shard, *key, answer.clone());
                answer
            }
        };
        (answer.produced_at <= now && now < answer.next_update).then_some(answer)
    }

    /// Keeps an answer, if `is_current` still holds. That is asked while changes are locked out: a status that changes
    /// later drops the answer again ([`AnswerCache::forget`]), one that changed before is noticed.
    pub fn insert_if(&self, key: CacheKey, answer: Arc<CachedAnswer>, is_current: impl FnOnce() -> bool) -> bool {
        let mut shard = self.shard(&key.serial);
        let current = is_current();
        if current && self.generation > 0 {
            shard.old.remove(&key);
            self.put(&mut shard, key, answer);
        }
        current
    }

    /// Drops all answers about a certificate. To be called after its status was changed.
    pub fn forget(&self, issuer: IssuerIndex, serial: SerialNumber) {
        let mut shard = self.shard(&serial);
        for algorithm in HashAlgorithm::ALL {
            for null_parameters in [false, true] {
                let key = CacheKey { issuer, serial, hash: CertIdHash { algorithm, null_parameters } };
                shard.young.remove(&key);
                shard.old.remove(&key);
            }
        }
    }

    /// Drops everything.
    pub fn clear(&self) {
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Generations::default();
        }
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        let count = |shard: &Mutex<Generations>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(count).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&self, shard: &mut Generations, key: CacheKey, answer: Arc<CachedAnswer>) {
        if shard.young.len() >= self.generation && !shard.young.contains_key(&key) {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, answer);
    }

    fn shard(&self, serial: &SerialNumber) -> MutexGuard<'_, Generations> {
        let last = usize::from(serial.as_bytes().last().copied().unwrap_or(0));
        self.shards[last % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Replica;

    fn key(number: u8) -> CacheKey {
        CacheKey {
            issuer: Replica::default().issuer_index("authentication-1").unwrap(),
            serial: SerialNumber::from_der_content(&[1, number]).unwrap(),
            hash: CertIdHash { algorithm: HashAlgorithm::Sha1, null_parameters: true },
        }
    }

    fn answer(from: i64, to: i64) -> Arc<CachedAnswer> {
        Arc::new(CachedAnswer {
            der: Bytes::new(),
            kind: AnswerKind::Good,
            produced_at: Timestamp::from_unix_seconds(from),
            this_update: Timestamp::from_unix_seconds(from),
            next_update: Timestamp::from_unix_seconds(to),
            refresh_at: Timestamp::from_unix_seconds((from + to) / 2),
            etag: "\"\"".into(),
        })
    }

    #[test]
    fn an_answer_past_its_time_is_never_served() {
        // conformance: O28
        let cache = AnswerCache::new(10);
        assert!(cache.insert_if(key(1), answer(100, 200), || true));
        let at = |seconds| cache.get(&key(1), Timestamp::from_unix_seconds(seconds)).is_some();
        assert!(at(100) && at(199));
        assert!(!at(200) && !at(99));
    }

    #[test]
    fn it_never_holds_more_than_its_capacity_and_keeps_what_is_asked_for() {
        let cache = AnswerCache::new(10);
        for number in 0..=255 {
            cache.insert_if(key(number), answer(0, 1000), || true);
            assert!(cache.get(&key(0), Timestamp::EPOCH).is_some(), "asked for all the time, but lost at {number}");
            assert!(cache.len() <= 10);
        }
        let none = AnswerCache::new(0);
        none.insert_if(key(1), answer(0, 1000), || true);
        assert!(none.is_empty());
    }

    #[test]
    fn an_answer_that_was_overtaken_is_not_kept() {
        let cache = AnswerCache::new(10);
        assert!(!cache.insert_if(key(1), answer(0, 1000), || false));
        assert!(cache.is_empty());
    }

    #[test]
    fn forgetting_a_certificate_drops_its_answers_in_every_spelling() {
        let cache = AnswerCache::new(10);
        let mut other = key(1);
        other.hash = CertIdHash { algorithm: HashAlgorithm::Sha512, null_parameters: false };
        cache.insert_if(key(1), answer(0, 1000), || true);
        cache.insert_if(other, answer(0, 1000), || true);
        cache.insert_if(key(2), answer(0, 1000), || true);
        cache.forget(key(1).issuer, key(1).serial);
        assert_eq!(cache.len(), 1);
    }
}
