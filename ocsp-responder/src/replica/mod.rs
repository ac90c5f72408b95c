//! The replica of the status feed: the newest status of every certificate, in memory, and how old that knowledge is.
//!
//! An entry is taken only in the feed's order, without gaps; a snapshot only when it is not older than what is known. So
//! an old `good` cannot come back (conformance: O6). The age of the last heartbeat decides whether anything is answered
//! at all ([`Freshness`]).

mod table;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use pki::feed::{FeedPosition, PublishedStatus, StatusEntry};
use pki::ocsp::CertStatus;
use pki::{CrlReason, SerialNumber, Timestamp};

use self::table::Table;
use crate::Error;

/// How many parts the map has, each with a lock of its own: growing one of them does not stop the others.
const SHARDS: usize = 64;

/// No heartbeat yet.
const NEVER: i64 = i64::MIN;

/// An issuer, as the replica numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerIndex(u16);

/// What is known of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownStatus {
    /// Its state.
    pub state: KnownState,
    /// Since when; for a revoked one, its revocationDate.
    pub since: Timestamp,
    /// When the certificate ends.
    pub not_after: Timestamp,
}

/// The state of a certificate that is in the feed; see [`PublishedStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownState {
    /// Signed, not yet confirmed.
    Pending,
    /// Valid.
    Good,
    /// On hold.
    OnHold,
    /// Revoked.
    Revoked(CrlReason),
    /// Reserved, and given up.
    Void,
}

impl KnownState {
    /// Whether a certificate never leaves it.
    fn is_final(self) -> bool {
        matches!(self, KnownState::Revoked(_) | KnownState::Void)
    }
}

impl KnownStatus {
    fn of(entry: &StatusEntry) -> Self {
        let (state, since) = match entry.status {
            PublishedStatus::Pending { since } => (KnownState::Pending, since),
            PublishedStatus::Good { since } => (KnownState::Good, since),
            PublishedStatus::OnHold { since } => (KnownState::OnHold, since),
            PublishedStatus::Revoked { at, reason, .. } => (KnownState::Revoked(reason), at),
            PublishedStatus::Void { at } => (KnownState::Void, at),
        };
        KnownStatus { state, since, not_after: entry.not_after }
    }

    /// What is said to clients (conformance: O1, O2, O3, O5).
    pub fn cert_status(&self) -> CertStatus {
        let reason = match self.state {
            KnownState::Good => return CertStatus::Good,
            KnownState::Pending | KnownState::OnHold => CrlReason::CertificateHold,
            KnownState::Revoked(reason) => reason,
            KnownState::Void => CrlReason::CessationOfOperation,
        };
        CertStatus::Revoked { at: self.since, reason }
    }
}

/// How far the statuses can be relied upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// The feed is being followed.
    Fresh,
    /// The last heartbeat was a while ago; answers are still given.
    Stale,
    /// Too old: nothing is answered any longer.
    Withheld,
}

/// The replica. All methods may be called from any thread.
#[derive(Debug)]
pub struct Replica {
    position: Mutex<FeedPosition>,
    as_of: AtomicI64,
    issuers: RwLock<HashMap<String, IssuerIndex>>,
    shards: Vec<RwLock<Table>>,
}

impl Default for Replica {
    fn default() -> Self {
        Replica {
            position: Mutex::default(),
            as_of: AtomicI64::new(NEVER),
            issuers: RwLock::default(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }
}

impl Replica {
    /// The number of an issuer, given at its first appearance.
    ///
    /// # Errors
    /// [`Error::TooManyIssuers`].
    pub fn issuer_index(&self, id: &str) -> Result<IssuerIndex, Error> {
        if let Some(index) = self.issuers.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(*index);
        }
        let mut issuers = self.issuers.write().unwrap_or_else(PoisonError::into_inner);
        let next = IssuerIndex(u16::try_from(issuers.len()).map_err(|_| Error::TooManyIssuers)?);
        Ok(*issuers.entry(id.to_owned()).or_insert(next))
    }

    /// Takes one entry of the feed, and says which certificate it changed. An entry that is in already is passed over; so
    /// is one that would revive a certificate, since it is older than what is known: a snapshot may be ahead of its place.
    ///
    /// # Errors
    /// [`Error::SequenceGap`] when an entry before it is missing.
    pub fn apply(&self, sequence: u64, entry: &StatusEntry) -> Result<Option<(IssuerIndex, SerialNumber)>, Error> {
        let mut position = self.lock_position();
        if sequence <= position.sequence {
            return Ok(None);
        }
        if sequence != position.sequence + 1 {
            return Err(Error::SequenceGap { have: *position, got: sequence });
        }
        let issuer = self.issuer_index(&entry.issuer)?;
        let mut shard = self.shard(&entry.serial).write().unwrap_or_else(PoisonError::into_inner);
        let status = KnownStatus::of(entry);
        position.sequence = sequence;
        if shard.get(issuer, &entry.serial).is_some_and(|known| known.state.is_final() && !status.state.is_final()) {
            return Ok(None);
        }
        shard.insert(issuer, entry.serial, status);
        Ok(Some((issuer, entry.serial)))
    }

    /// Takes a heartbeat that came at `now`: "nothing newer than `position` as of `as_of`". A time after `now` is taken
    /// for `now`: of a CA whose clock is ahead of ours, the word must not stay fresh for longer by that (conformance: O6).
    /// The time that is known never goes back, unless our clock did.
    ///
    /// # Errors
    /// [`Error::HeartbeatElsewhere`] when entries up to `position` have not come yet, or it is of another epoch.
    pub fn heartbeat(&self, position: FeedPosition, as_of: Timestamp, now: Timestamp) -> Result<(), Error> {
        let have = self.lock_position();
        if position.epoch != have.epoch || position.sequence > have.sequence {
            return Err(Error::HeartbeatElsewhere { have: *have, announced: position });
        }
        let (as_of, now) = (as_of.min(now).unix_millis(), now.unix_millis());
        let known = self.as_of.load(Ordering::Acquire);
        // All who write it hold the lock.
        self.as_of.store(if known > now { as_of } else { as_of.max(known) }, Ordering::Release);
        Ok(())
    }

    /// Puts a whole state in the place of what is known, and returns how many certificates it has.
    ///
    /// # Errors
    /// [`Error::OlderSnapshot`] when it is older than what is known: a lower sequence needs a higher epoch.
    pub fn load_snapshot(
        &self,
        position: FeedPosition,
        as_of: Timestamp,
        entries: impl IntoIterator<Item = StatusEntry>,
    ) -> Result<usize, Error> {
        let mut filling = self.filling(0);
        for entry in entries {
            filling.take(&entry)?;
        }
        filling.put_in_place(position, as_of)
    }

    /// Begins a whole state of about so many certificates beside what is known; nothing of it is seen before it is put
    /// in place.
    pub fn filling(&self, certificates: usize) -> Filling<'_> {
        let capacity = certificates.div_ceil(SHARDS);
        let shards = (0..SHARDS).map(|_| Table::with_capacity(capacity)).collect();
        Filling { replica: self, shards, issuer: None }
    }

    /// What is known of a certificate.
    pub fn status(&self, issuer: IssuerIndex, serial: &SerialNumber) -> Option<KnownStatus> {
        self.shard(serial).read().unwrap_or_else(PoisonError::into_inner).get(issuer, serial)
    }

    /// Forgets certificates that ended before `ended_before`, and returns how many.
    pub fn forget_expired(&self, ended_before: Timestamp) -> usize {
        let forget =
            |shard: &RwLock<Table>| shard.write().unwrap_or_else(PoisonError::into_inner).forget_expired(ended_before);
        self.shards.iter().map(forget).sum()
    }

    /// How far the feed was followed.
    pub fn position(&self) -> FeedPosition {
        *self.lock_position()
    }

    /// The time of the last heartbeat.
    pub fn as_of(&self) -> Option<Timestamp> {
        match self.as_of.load(Ordering::Acquire) {
            NEVER => None,
            millis => Some(Timestamp::from_unix_millis(millis)),
        }
    }

    /// How far the statuses can be relied upon at `now`. A heartbeat never counts as later than it came: if it is after
    /// `now` by more than the threads' clocks may differ, our clock went back, and how old the statuses are is not known
    /// (conformance: O24).
    pub fn freshness(&self, now: Timestamp, stale_after: Duration, withhold_after: Duration) -> Freshness {
        let Some(as_of) = self.as_of() else { return Freshness::Withheld };
        if as_of.since(now) > stale_after {
            return Freshness::Withheld;
        }
        match now.since(as_of) {
            age if age > withhold_after => Freshness::Withheld,
            age if age > stale_after => Freshness::Stale,
            _ => Freshness::Fresh,
        }
    }

    /// How many certificates are known.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many octets they take, with what is kept free for more.
    pub fn octets(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).octets()).sum()
    }

    fn shard(&self, serial: &SerialNumber) -> &RwLock<Table> {
        &self.shards[shard_of(serial)]
    }

    fn lock_position(&self) -> MutexGuard<'_, FeedPosition> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A state that is put together beside what is known.
#[derive(Debug)]
pub struct Filling<'a> {
    replica: &'a Replica,
    shards: Vec<Table>,
    /// The issuer of the last entry: most entries have the one of the entry before.
    issuer: Option<(String, IssuerIndex)>,
}

impl Filling<'_> {
    /// Takes the status of a certificate; a later one takes the place of an earlier one.
    ///
    /// # Errors
    /// [`Error::TooManyIssuers`].
    pub fn take(&mut self, entry: &StatusEntry) -> Result<(), Error> {
        let issuer = match &self.issuer {
            Some((name, index)) if *name == entry.issuer => *index,
            _ => {
                let index = self.replica.issuer_index(&entry.issuer)?;
                self.issuer = Some((entry.issuer.clone(), index));
                index
            }
        };
        self.shards[shard_of(&entry.serial)].insert(issuer, entry.serial, KnownStatus::of(entry));
        Ok(())
    }

    pub(crate) fn put_in_place(self, position: FeedPosition, as_of: Timestamp) -> Result<usize, Error> {
        let Filling { replica, shards, .. } = self;
        let mut have = replica.lock_position();
        if position < *have {
            return Err(Error::OlderSnapshot { have: *have, offered: position });
        }
        let count = shards.iter().map(Table::len).sum();
        for (place, shard) in replica.shards.iter().zip(shards) {
            *place.write().unwrap_or_else(PoisonError::into_inner) = shard;
        }
        if position.epoch > have.epoch {
            replica.as_of.store(as_of.unix_millis(), Ordering::Release);
        } else {
            replica.as_of.fetch_max(as_of.unix_millis(), Ordering::AcqRel);
        }
        *have = position;
        Ok(count)
    }
}

/// Serial numbers are random, but for their first bits.
fn shard_of(serial: &SerialNumber) -> usize {
    usize::from(serial.as_bytes().last().copied().unwrap_or(0)) % SHARDS
}
