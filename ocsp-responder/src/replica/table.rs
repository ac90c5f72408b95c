//! The statuses of one part of the replica, packed: 32 octets for each place of the map, so that those of millions of
//! certificates fit into little memory.
//!
//! Packed are those that this service gives: serial numbers of 16 octets (conformance: E1), times from 1970 to 10889. All
//! others are kept beside them as they are.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};

use pki::{CrlReason, SerialNumber, Timestamp};

use super::{IssuerIndex, KnownState, KnownStatus};

/// A serial number of 16 octets, and its issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    serial: [u8; SerialNumber::RANDOM_OCTETS],
    issuer: [u8; 2],
}

/// A status: its state, and two times in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed {
    state: u8,
    since: [u8; 6],
    not_after: [u8; 6],
}

/// Says that a certificate is revoked; the reason's code is below.
const REVOKED: u8 = 0x10;

impl Key {
    fn of(issuer: IssuerIndex, serial: &SerialNumber) -> Option<Self> {
        Some(Key { serial: serial.as_bytes().try_into().ok()?, issuer: issuer.0.to_be_bytes() })
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [high, low] = halves(&self.serial);
        state.write_u64(high);
        state.write_u64(low ^ u64::from(u16::from_be_bytes(self.issuer)).rotate_left(48));
    }
}

fn halves(octets: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_be_bytes(*octets);
    [(both >> 64) as u64, both as u64]
}

impl Packed {
    fn of(status: &KnownStatus) -> Option<Self> {
        let state = match status.state {
            KnownState::Pending => 0,
            KnownState::Good => 1,
            KnownState::OnHold => 2,
            KnownState::Void => 3,
            KnownState::Revoked(reason) => REVOKED | reason.code(),
        };
        Some(Packed { state, since: pack_time(status.since)?, not_after: pack_time(status.not_after)? })
    }

    fn unpack(&self) -> Option<KnownStatus> {
        let state = match self.state {
            0 => KnownState::Pending,
            1 => KnownState::Good,
            2 => KnownState::OnHold,
            3 => KnownState::Void,
            revoked => KnownState::Revoked(CrlReason::from_code(revoked & !REVOKED)?),
        };
        Some(KnownStatus { state, since: unpack_time(self.since), not_after: unpack_time(self.not_after) })
    }
}

fn pack_time(time: Timestamp) -> Option<[u8; 6]> {
    match u64::try_from(time.unix_millis()).ok()?.to_be_bytes() {
        [0, 0, packed @ ..] => Some(packed),
        _ => None,
    }
}

fn unpack_time(packed: [u8; 6]) -> Timestamp {
    let [a, b, c, d, e, f] = packed;
    Timestamp::from_unix_millis(i64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

/// Serial numbers are random, so that little is needed to spread them; what is added is a secret, so that nobody can
/// choose some that meet.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    secret: [u64; 2],
}

impl Default for Spread {
    fn default() -> Self {
        let random = RandomState::new();
        Spread { secret: [random.hash_one(0_u8), random.hash_one(1_u8)] }
    }
}

impl BuildHasher for Spread {
    type Hasher = SpreadHasher;

    fn build_hasher(&self) -> SpreadHasher {
        SpreadHasher { sum: self.secret[0], secret: self.secret[1] }
    }
}

/// One hash that is being computed.
#[derive(Debug)]
pub(super) struct SpreadHasher {
    sum: u64,
    secret: u64,
}

impl Hasher for SpreadHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut octets = [0; 8];
            octets[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_be_bytes(octets));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // The two halves of a product of 128 bits: each bit of it depends on many of the value.
        let product = u128::from(self.sum ^ value) * u128::from(self.secret | 1);
        self.sum = (product as u64) ^ ((product >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.sum
    }
}

/// The statuses.
#[derive(Debug, Default)]
pub(super) struct Table {
    packed: HashMap<Key, Packed, Spread>,
    others: HashMap<(IssuerIndex, SerialNumber), KnownStatus>,
}

impl Table {
    /// One with room for so many.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Table { packed: HashMap::with_capacity_and_hasher(capacity, Spread::default()), others: HashMap::new() }
    }

    pub(super) fn get(&self, issuer: IssuerIndex, serial: &SerialNumber) -> Option<KnownStatus> {
        let packed = Key::of(issuer, serial).and_then(|key| self.packed.get(&key));
        match packed {
            Some(packed) => packed.unpack(),
            // Most tables have none.
            None if self.others.is_empty() => None,
            None => self.others.get(&(issuer, *serial)).copied(),
        }
    }

    pub(super) fn insert(&mut self, issuer: IssuerIndex, serial: SerialNumber, status: KnownStatus) {
        match (Key::of(issuer, &serial), Packed::of(&status)) {
            (Some(key), Some(packed)) => {
                self.packed.insert(key, packed);
                if !self.others.is_empty() {
                    self.others.remove(&(issuer, serial));
                }
            }
            (key, _) => {
                if let Some(key) = key {
                    self.packed.remove(&key);
                }
                self.others.insert((issuer, serial), status);
            }
        }
    }

    /// Forgets those whose certificate ended before then, and returns how many.
    pub(super) fn forget_expired(&mut self, ended_before: Timestamp) -> usize {
        let before = self.len();
        self.packed.retain(|_, packed| unpack_time(packed.not_after) >= ended_before);
        self.others.retain(|_, status| status.not_after >= ended_before);
        before - self.len()
    }

    pub(super) fn len(&self) -> usize {
        self.packed.len() + self.others.len()
    }

    /// How many octets it takes, with the places that are empty.
    pub(super) fn octets(&self) -> usize {
        // Of eight places seven are used at most, and each has an octet of its own beside its content.
        let places = |capacity: usize| capacity.div_ceil(7) * 8;
        places(self.packed.capacity()) * (size_of::<(Key, Packed)>() + 1)
            + places(self.others.capacity()) * (size_of::<((IssuerIndex, SerialNumber), KnownStatus)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status() -> impl Strategy<Value = KnownStatus> {
        let state = prop_oneof![
            Just(KnownState::Pending),
            Just(KnownState::Good),
            Just(KnownState::OnHold),
            Just(KnownState::Void),
            (0_u8..=10).prop_filter_map("no reason has this code", |code| {
                CrlReason::from_code(code).map(KnownState::Revoked)
            }),
        ];
        let time = prop_oneof![
            9 => (0..=Timestamp::MAX.unix_millis()).prop_map(Timestamp::from_unix_millis),
            1 => any::<i64>().prop_map(Timestamp::from_unix_millis),
        ];
        (state, time.clone(), time).prop_map(|(state, since, not_after)| KnownStatus { state, since, not_after })
    }

    proptest! {
        #[test]
        fn it_knows_what_a_plain_map_would_know(
            steps in proptest::collection::vec((0_u16..3, 0_u8..6, prop_oneof![Just(16_usize), 1_usize..=20], status()), 1..200),
            ended_before in (0..=Timestamp::MAX.unix_millis()).prop_map(Timestamp::from_unix_millis),
        ) {
            let mut table = Table::default();
            let mut plain = HashMap::new();
            for (issuer, number, length, status) in steps {
                let mut octets = vec![number + 1; length];
                octets[0] = 1;
                let serial = SerialNumber::from_der_content(&octets).unwrap();
                table.insert(IssuerIndex(issuer), serial, status);
                plain.insert((IssuerIndex(issuer), serial), status);
            }
            prop_assert_eq!(table.len(), plain.len());
            for ((issuer, serial), status) in &plain {
                prop_assert_eq!(table.get(*issuer, serial), Some(*status));
                prop_assert_eq!(table.get(IssuerIndex(9), serial), None);
            }
            let before = plain.len();
            plain.retain(|_, status| status.not_after >= ended_before);
            prop_assert_eq!(table.forget_expired(ended_before), before - plain.len());
            prop_assert_eq!(table.len(), plain.len());
            for ((issuer, serial), status) in &plain {
                prop_assert_eq!(table.get(*issuer, serial), Some(*status));
            }
        }
    }

    #[test]
    fn a_place_takes_32_octets() {
        assert_eq!(size_of::<(Key, Packed)>() + 1, 32);
    }

    #[test]
    fn serial_numbers_that_differ_little_are_spread_as_well() {
        let spread = Spread::default();
        let hash = |number: u32, end: bool| {
            let mut serial = [0x40; 16];
            let at = if end { 12 } else { 1 };
            serial[at..at + 4].copy_from_slice(&number.to_be_bytes());
            spread.hash_one(Key { serial, issuer: [0, 1] })
        };
        for end in [false, true] {
            for shift in [0, 57] {
                let mut counts = [0; 128];
                (0..12_800).for_each(|number| counts[(hash(number, end) >> shift) as usize & 127] += 1);
                assert!(counts.iter().all(|count| (20..300).contains(count)), "{end} {shift}: {counts:?}");
            }
        }
    }
}
