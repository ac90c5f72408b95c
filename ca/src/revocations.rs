//! What is revoked, in memory, compactly: from it every CRL is made, without asking the store for a million rows.
//!
//! It is filled once from all statuses, and then follows the status feed entry by entry, in its order and without gaps.
//! A revocation costs the same however long the CRL is: it goes into a small map of changes. Who makes a CRL takes a
//! [`RevokedView`], which merges the changes into the sorted list and stays as it is while the feed goes on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pki::crl::{CrlEntries, CrlEntry, CrlError, EntryReason};
use pki::feed::{FeedPosition, PublishedStatus, StatusEntry};
use pki::{CrlReason, SerialNumber, Timestamp};

/// The invalidity date of an entry that has none.
const NO_DATE: i64 = i64::MIN;
/// The same, of a certificate that waits for its confirmation.
const PENDING: i64 = i64::MIN + 1;
/// The shard of a certificate that names the full CRL of its issuer.
const NO_SHARD: u16 = 0;

/// One entry, in 48 octets. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Revoked {
    serial: SerialNumber,
    reason: CrlReason,
    shard: u16,
    at: i64,
    invalidity_date: i64,
    not_after: i64,
}

impl Revoked {
    /// What a status puts on CRLs; nothing if it is good. Pending ones show as on hold, void ones as ended
    /// (conformance: O5).
    fn of(entry: &StatusEntry) -> Option<Self> {
        let (at, reason, invalidity_date) = match entry.status {
            PublishedStatus::Good { .. } => return None,
            PublishedStatus::Pending { since } => (since, CrlReason::CertificateHold, PENDING),
            PublishedStatus::OnHold { since } => (since, CrlReason::CertificateHold, NO_DATE),
            PublishedStatus::Revoked { at, reason, invalidity_date } => {
                // As it is written, so that what is read back from a CRL is equal (conformance: C14).
                (at, reason, invalidity_date.map_or(NO_DATE, |date| date.min(at).unix_seconds()))
            }
            PublishedStatus::Void { at } => (at, CrlReason::CessationOfOperation, NO_DATE),
        };
        Some(Revoked {
            serial: entry.serial,
            reason,
            shard: entry.shard.unwrap_or(NO_SHARD),
            at: at.unix_seconds(),
            invalidity_date,
            not_after: entry.not_after.unix_seconds(),
        })
    }

    fn entry(&self) -> CrlEntry {
        CrlEntry {
            serial: self.serial,
            at: Timestamp::from_unix_seconds(self.at),
            reason: self.reason.into(),
            invalidity_date: (self.invalidity_date > PENDING)
                .then(|| Timestamp::from_unix_seconds(self.invalidity_date)),
        }
    }
}

/// The part of an issuer's certificates that a CRL is about: all of them, or one partition.
pub type Shard = Option<u16>;

/// The list of one issuer.
#[derive(Debug, Default)]
struct IssuerList {
    /// Sorted by serial number.
    sorted: Arc<Vec<Revoked>>,
    /// What came since: the newest entry, or that there is none any more.
    changes: BTreeMap<SerialNumber, Option<Revoked>>,
    /// Each partition that was ever named by a certificate, and when the last such certificate ends.
    shards: BTreeMap<u16, i64>,
    /// The feed entry by which something of this part was last revoked, held or released.
    changed: BTreeMap<Shard, u64>,
}

impl IssuerList {
    fn get(&self, serial: &SerialNumber) -> Option<Revoked> {
        match self.changes.get(serial) {
            Some(change) => *change,
            None => {
                let found = self.sorted.binary_search_by_key(serial, |revoked| revoked.serial);
                found.ok().map(|index| self.sorted[index])
            }
        }
    }

    fn note_shard(&mut self, entry: &StatusEntry) {
        if let Some(shard) = entry.shard {
            let ends = self.shards.entry(shard).or_insert(i64::MIN);
            *ends = (*ends).max(entry.not_after.unix_seconds());
        }
    }

    fn merge(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        let mut merged = Vec::with_capacity(self.sorted.len() + self.changes.len());
        let mut changes = std::mem::take(&mut self.changes).into_iter().peekable();
        for revoked in self.sorted.iter() {
            while let Some((_, change)) = changes.next_if(|(serial, _)| *serial < revoked.serial) {
                merged.extend(change);
            }
            match changes.next_if(|(serial, _)| *serial == revoked.serial) {
                Some((_, change)) => merged.extend(change),
                None => merged.push(*revoked),
            }
        }
        merged.extend(changes.filter_map(|(_, change)| change));
        self.sorted = Arc::new(merged);
    }
}

/// An entry of the feed was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of what is revoked has come to feed entry {known}, and cannot take entry {offered}")]
pub struct FeedGap {
    /// The newest entry that was taken.
    pub known: u64,
    /// The one that was offered.
    pub offered: u64,
}

/// What is to become [`Revocations`], while all statuses are read.
#[derive(Debug, Default)]
pub struct FillingRevocations {
    lists: HashMap<String, (IssuerList, Vec<Revoked>)>,
}

impl FillingRevocations {
    fn list(&mut self, entry: &StatusEntry) -> &mut (IssuerList, Vec<Revoked>) {
        let list = self.lists.entry(entry.issuer.clone()).or_default();
        list.0.note_shard(entry);
        list
    }

    /// Takes the status of a certificate of which none was taken before.
    pub fn take(&mut self, entry: &StatusEntry) {
        let (_, revoked) = self.list(entry);
        revoked.extend(Revoked::of(entry));
    }

    /// Takes a status that counts in the place of one that may have been taken before.
    pub fn take_later(&mut self, entry: &StatusEntry) {
        let (list, _) = self.list(entry);
        list.changes.insert(entry.serial, Revoked::of(entry));
    }
}

/// What is revoked, of all issuers.
#[derive(Debug, Default)]
pub struct Revocations {
    position: FeedPosition,
    issuers: HashMap<String, IssuerList>,
}

impl Revocations {
    /// Takes what was filled in the place of all that was known: it is complete up to `position`.
    pub fn put_in_place(&mut self, filling: FillingRevocations, position: FeedPosition) {
        let sorted = filling.lists.into_iter().map(|(issuer, (mut list, mut revoked))| {
            revoked.sort_unstable_by_key(|revoked| revoked.serial);
            revoked.shrink_to_fit();
            list.sorted = Arc::new(revoked);
            (issuer, list)
        });
        self.issuers = sorted.collect();
        self.position = position;
    }

    /// How far it has come in the feed.
    pub fn position(&self) -> FeedPosition {
        self.position
    }

    /// Takes the next entry of the feed; one that was taken already is passed over.
    ///
    /// # Errors
    /// [`FeedGap`] when it is not the next one.
    pub fn apply(&mut self, sequence: u64, entry: &StatusEntry) -> Result<(), FeedGap> {
        let known = self.position.sequence;
        if sequence <= known {
            return Ok(());
        }
        if sequence != known + 1 {
            return Err(FeedGap { known, offered: sequence });
        }
        self.position.sequence = sequence;
        if !self.issuers.contains_key(&entry.issuer) {
            self.issuers.insert(entry.issuer.clone(), IssuerList::default());
        }
        let Some(list) = self.issuers.get_mut(&entry.issuer) else { return Ok(()) };
        list.note_shard(entry);
        let (before, after) = (list.get(&entry.serial), Revoked::of(entry));
        if before == after {
            return Ok(());
        }
        list.changes.insert(entry.serial, after);
        // Nobody waits for a CRL because a card is being issued.
        let is_issuance = |revoked: Option<Revoked>| revoked.is_none_or(|revoked| revoked.invalidity_date == PENDING);
        if !(is_issuance(before) && is_issuance(after)) {
            list.changed.insert(None, sequence);
            if entry.shard.is_some() {
                list.changed.insert(entry.shard, sequence);
            }
        }
        Ok(())
    }

    /// The parts of an issuer's CRL in which something was revoked, held or released after these places in the feed.
    pub fn changed_since(&self, issuer: &str, sequence: impl Fn(Shard) -> u64) -> Vec<Shard> {
        let changed = self.issuers.get(issuer).into_iter().flat_map(|list| &list.changed);
        changed.filter(|(shard, at)| **at > sequence(**shard)).map(|(shard, _)| *shard).collect()
    }

    /// The partitions that a certificate names which has not ended by `now`.
    pub fn shards(&self, issuer: &str, now: Timestamp) -> Vec<u16> {
        let shards = self.issuers.get(issuer).into_iter().flat_map(|list| &list.shards);
        shards.filter(|(_, ends)| **ends >= now.unix_seconds()).map(|(shard, _)| *shard).collect()
    }

    /// What is revoked of an issuer's certificates, as of now: it does not change any more.
    pub fn view(&mut self, issuer: &str) -> RevokedView {
        let list = self.issuers.get_mut(issuer).map(|list| {
            list.merge();
            Arc::clone(&list.sorted)
        });
        RevokedView { position: self.position, list: list.unwrap_or_default() }
    }

    /// How many certificates are revoked or on hold, over all issuers; what changed since the last CRL is not counted.
    pub fn len(&self) -> usize {
        self.issuers.values().map(|list| list.sorted.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.issuers.values().all(|list| list.sorted.is_empty() && list.changes.is_empty())
    }
}

/// What is revoked of one issuer's certificates at one place in the feed.
#[derive(Clone, Debug)]
pub struct RevokedView {
    position: FeedPosition,
    list: Arc<Vec<Revoked>>,
}

impl RevokedView {
    /// Which place in the feed.
    pub fn position(&self) -> FeedPosition {
        self.position
    }

    /// Cuts the list into what the CRL of all, and each of these partitions, says; certificates that ended before
    /// `ended_before` are left out (conformance: C13).
    // conformance: C12
    pub fn parts(&self, shards: &[u16], ended_before: Option<Timestamp>) -> RevokedParts {
        let mut of_shard: BTreeMap<u16, Vec<u32>> = shards.iter().map(|shard| (*shard, Vec::new())).collect();
        if !of_shard.is_empty() {
            for (index, revoked) in self.list.iter().enumerate() {
                if let Some(indexes) = of_shard.get_mut(&revoked.shard) {
                    // Four thousand million entries do not fit into memory.
                    indexes.push(index as u32);
                }
            }
        }
        let ended_before = ended_before.map_or(i64::MIN, Timestamp::unix_seconds);
        RevokedParts { list: Arc::clone(&self.list), of_shard, ended_before }
    }
}

/// A [`RevokedView`], cut into the parts that are published.
#[derive(Clone, Debug)]
pub struct RevokedParts {
    list: Arc<Vec<Revoked>>,
    of_shard: BTreeMap<u16, Vec<u32>>,
    ended_before: i64,
}

impl RevokedParts {
    /// The entries of one part's CRL, in the order of their serial numbers.
    pub fn part(&self, shard: Shard) -> RevokedPart<'_> {
        let indexes = shard.map(|shard| self.of_shard.get(&shard).map_or(&[][..], Vec::as_slice));
        RevokedPart { list: &self.list, indexes, ended_before: self.ended_before }
    }
}

/// The entries of one CRL.
#[derive(Clone, Copy, Debug)]
pub struct RevokedPart<'a> {
    list: &'a [Revoked],
    indexes: Option<&'a [u32]>,
    ended_before: i64,
}

impl<'a> RevokedPart<'a> {
    /// One by one, in the order of their serial numbers.
    pub fn iter(&self) -> impl Iterator<Item = CrlEntry> + use<'a> {
        let (list, ended_before) = (self.list, self.ended_before);
        let (all, some) = match self.indexes {
            None => (list, &[][..]),
            Some(indexes) => (&[][..], indexes),
        };
        let listed = all.iter().chain(some.iter().map(move |index| &list[*index as usize]));
        listed.filter(move |revoked| revoked.not_after >= ended_before).map(Revoked::entry)
    }
}

impl CrlEntries for RevokedPart<'_> {
    fn for_each(&self, take: &mut dyn FnMut(&CrlEntry) -> Result<(), CrlError>) -> Result<(), CrlError> {
        self.iter().try_for_each(|entry| take(&entry))
    }
}

/// What a delta CRL says: how `now` differs from the base CRL, as that was published. What is on the base and no longer
/// revoked is taken off it (conformance: C7, C8).
///
/// Both are sorted by serial number.
///
/// # Errors
/// Those of the base.
pub fn difference(
    base: impl Iterator<Item = Result<CrlEntry, CrlError>>,
    now: impl Iterator<Item = CrlEntry>,
) -> Result<Vec<CrlEntry>, CrlError> {
    let removed = |entry: CrlEntry| CrlEntry { reason: EntryReason::RemoveFromCrl, invalidity_date: None, ..entry };
    let mut delta = Vec::new();
    let mut now = now.peekable();
    for entry in base {
        let entry = entry?;
        while let Some(new) = now.next_if(|new| new.serial < entry.serial) {
            delta.push(new);
        }
        match now.next_if(|new| new.serial == entry.serial) {
            Some(same) if same == entry => {}
            Some(changed) => delta.push(changed),
            None => delta.push(removed(entry)),
        }
    }
    delta.extend(now);
    Ok(delta)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ISSUER: &str = "authentication-1";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_seconds(second)
    }

    fn entry(number: u8, status: PublishedStatus) -> StatusEntry {
        let shard = (!number.is_multiple_of(4)).then_some(u16::from(number % 4));
        let serial = SerialNumber::from_random([number; 16]);
        StatusEntry { issuer: ISSUER.into(), serial, status, not_after: at(1_000 + i64::from(number)), shard }
    }

    fn status(kind: u8, second: i64) -> PublishedStatus {
        match kind {
            0 => PublishedStatus::Pending { since: at(second) },
            1 => PublishedStatus::OnHold { since: at(second) },
            2 => PublishedStatus::Good { since: at(second) },
            3 => PublishedStatus::Void { at: at(second) },
            _ => PublishedStatus::Revoked {
                at: at(second),
                reason: CrlReason::Superseded,
                invalidity_date: kind.is_multiple_of(2).then(|| at(second + 5)),
            },
        }
    }

    fn list(parts: &RevokedParts, shard: Shard) -> Vec<CrlEntry> {
        parts.part(shard).iter().collect()
    }

    fn read_back(entries: &[CrlEntry]) -> impl Iterator<Item = Result<CrlEntry, CrlError>> + '_ {
        entries.iter().copied().map(Ok)
    }

    proptest! {
        /// Whatever comes in whatever order: the full list is what the newest statuses say, the partitions are disjoint and
        /// together the list of all that name one, and base and delta are the new list.
        // conformance: C7, C8, C12
        #[test]
        fn lists_partitions_and_deltas_follow_the_newest_statuses(
            loaded in proptest::collection::btree_map(0u8..32, 0u8..6, 0..32),
            events in proptest::collection::vec((0u8..32, 0u8..6), 0..60),
            base_after in 0usize..60,
        ) {
            let mut newest: BTreeMap<u8, StatusEntry> = BTreeMap::new();
            let mut filling = FillingRevocations::default();
            for (number, kind) in &loaded {
                let entry = entry(*number, status(*kind, 10));
                filling.take(&entry);
                newest.insert(*number, entry);
            }
            let mut revocations = Revocations::default();
            revocations.put_in_place(filling, FeedPosition { epoch: 1, sequence: 7 });
            let mut base = revocations.view(ISSUER).parts(&[1, 2, 3], None);
            for (index, (number, kind)) in events.iter().enumerate() {
                let entry = entry(*number, status(*kind, 20 + index as i64));
                revocations.apply(8 + index as u64, &entry).unwrap();
                newest.insert(*number, entry);
                if index == base_after {
                    base = revocations.view(ISSUER).parts(&[1, 2, 3], None);
                }
            }
            let parts = revocations.view(ISSUER).parts(&[1, 2, 3], None);
            let expected: Vec<CrlEntry> =
                newest.values().filter_map(|entry| Some(Revoked::of(entry)?.entry())).collect();
            prop_assert_eq!(&list(&parts, None), &expected);
            let mut partitioned: Vec<CrlEntry> =
                [1, 2, 3].into_iter().flat_map(|shard| list(&parts, Some(shard))).collect();
            partitioned.sort_by_key(|entry| entry.serial);
            let named: Vec<CrlEntry> = newest
                .values()
                .filter(|entry| entry.shard.is_some())
                .filter_map(|entry| Some(Revoked::of(entry)?.entry()))
                .collect();
            prop_assert_eq!(partitioned, named);
            for shard in [None, Some(1), Some(2), Some(3)] {
                let (before, after) = (list(&base, shard), list(&parts, shard));
                let delta = difference(read_back(&before), after.iter().copied()).unwrap();
                let mut sum: BTreeMap<SerialNumber, CrlEntry> =
                    before.iter().map(|entry| (entry.serial, *entry)).collect();
                for entry in &delta {
                    let was = if entry.reason == EntryReason::RemoveFromCrl {
                        sum.remove(&entry.serial)
                    } else {
                        sum.insert(entry.serial, *entry)
                    };
                    prop_assert_ne!(was, Some(*entry), "what did not change is in no delta");
                }
                prop_assert_eq!(sum.into_values().collect::<Vec<_>>(), after);
            }
        }
    }

    #[test]
    fn a_view_stays_what_it_was_and_an_entry_that_is_left_out_is_noticed() {
        let mut revocations = Revocations::default();
        revocations.apply(1, &entry(5, status(1, 10))).unwrap();
        let view = revocations.view(ISSUER);
        revocations.apply(2, &entry(6, status(1, 11))).unwrap();
        revocations.apply(1, &entry(5, status(2, 12))).unwrap();
        assert_eq!(list(&view.parts(&[], None), None).len(), 1);
        assert_eq!(list(&revocations.view(ISSUER).parts(&[], None), None).len(), 2);
        let gap = revocations.apply(4, &entry(7, status(1, 12))).unwrap_err();
        assert_eq!(gap, FeedGap { known: 2, offered: 4 });
    }

    #[test]
    fn a_status_that_comes_later_counts_in_the_place_of_the_one_before() {
        let mut filling = FillingRevocations::default();
        filling.take(&entry(5, status(1, 10)));
        filling.take(&entry(6, status(1, 10)));
        filling.take_later(&entry(5, status(2, 11)));
        filling.take_later(&entry(7, status(4, 11)));
        let mut revocations = Revocations::default();
        revocations.put_in_place(filling, FeedPosition { epoch: 1, sequence: 9 });
        let serials: Vec<_> =
            list(&revocations.view(ISSUER).parts(&[], None), None).iter().map(|entry| entry.serial).collect();
        assert_eq!(serials, [6, 7].map(|number| SerialNumber::from_random([number; 16])));
    }

    #[test]
    fn what_ended_before_is_left_out_and_nothing_else() {
        // conformance: C13
        let mut revocations = Revocations::default();
        revocations.apply(1, &entry(5, status(4, 10))).unwrap();
        for (ended_before, left) in [(None, 1), (Some(at(1_005)), 1), (Some(at(1_006)), 0)] {
            assert_eq!(list(&revocations.view(ISSUER).parts(&[], ended_before), None).len(), left);
        }
    }

    #[test]
    fn an_issuance_calls_for_no_crl_and_a_hold_does() {
        let mut revocations = Revocations::default();
        let changed = |revocations: &Revocations, after| revocations.changed_since(ISSUER, |_| after);
        revocations.apply(1, &entry(4, status(0, 10))).unwrap();
        revocations.apply(2, &entry(4, status(2, 11))).unwrap();
        assert_eq!(changed(&revocations, 0), []);
        revocations.apply(3, &entry(5, status(1, 12))).unwrap();
        assert_eq!(changed(&revocations, 2), [None, Some(1)]);
        assert_eq!(changed(&revocations, 3), []);
        revocations.apply(4, &entry(5, status(2, 13))).unwrap();
        assert_eq!(changed(&revocations, 3), [None, Some(1)]);
    }
}
