//! `seen`: how far the feed was ever seen, the last heartbeat, and the last producedAt.
//!
//! It says what the replica beside it must have, so that one that was cut off or exchanged for an older copy is noticed,
//! and it outlives a replica that is thrown away. It is written at each heartbeat, in place, in two slots by turns: a
//! slot that was being written when the power failed leaves the other, and a full disk does not matter. Writing is not
//! synced each time, since an older word is the safe side of a later replica; [`SYNC_AFTER`] bounds how old.
//!
//! ```text
//! slot: "CRDNSEE1"  count u64  origin [32]  epoch u64  sequence u64  mark [32]  heartbeat i64  producedAt i64  SHA-256 [32]
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use pki::Timestamp;
use pki::feed::FeedPosition;
use sha2::{Digest, Sha256};

use crate::snapshot::SnapshotPlace;

use pki::feed::Origin;

pub(super) const FILE: &str = "seen";
const MAGIC: &[u8; 8] = b"CRDNSEE1";
const BODY: usize = 112;
const LENGTH: usize = BODY + 32;
/// A slot has a sector of its own.
const SLOT: usize = 512;
/// There is no such time.
const NEVER: i64 = i64::MIN;
/// What was written is synced when the times in it are so far from those that were synced last.
const SYNC_AFTER: Duration = Duration::from_secs(60);

/// What was seen of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The feed.
    pub origin: Origin,
    /// The furthest place that was seen.
    pub place: SnapshotPlace,
    /// The last heartbeat of that place's epoch: nothing newer than what was seen by then.
    pub as_of: Option<Timestamp>,
    /// The last answer's producedAt (conformance: O24).
    pub last_produced_at: Option<Timestamp>,
}

impl Seen {
    /// Nothing of a feed.
    pub fn nothing(origin: Origin) -> Self {
        let place = SnapshotPlace { position: FeedPosition::default(), mark: [0; 32] };
        Seen { origin, place, as_of: None, last_produced_at: None }
    }

    /// Goes forward to a place; a heartbeat of before a restore counts no longer.
    pub(super) fn see(&mut self, place: SnapshotPlace) {
        if place.position.epoch > self.place.position.epoch {
            self.as_of = None;
        }
        if place.position > self.place.position {
            self.place = place;
        }
    }

    fn to_slot(self, count: u64) -> [u8; SLOT] {
        let time = |time: Option<Timestamp>| time.map_or(NEVER, Timestamp::unix_millis).to_be_bytes();
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(MAGIC);
        slot[8..16].copy_from_slice(&count.to_be_bytes());
        slot[16..48].copy_from_slice(self.origin.as_bytes());
        slot[48..56].copy_from_slice(&self.place.position.epoch.to_be_bytes());
        slot[56..64].copy_from_slice(&self.place.position.sequence.to_be_bytes());
        slot[64..96].copy_from_slice(&self.place.mark);
        slot[96..104].copy_from_slice(&time(self.as_of));
        slot[104..112].copy_from_slice(&time(self.last_produced_at));
        let digest = Sha256::digest(&slot[..BODY]);
        slot[BODY..LENGTH].copy_from_slice(&digest);
        slot
    }

    fn from_slot(slot: &[u8]) -> Option<(u64, Seen)> {
        let field = |at: usize| slot.get(at..)?.first_chunk::<8>().copied();
        let number = |at| field(at).map(u64::from_be_bytes);
        let time = |at| {
            let millis = i64::from_be_bytes(field(at)?);
            Some((millis != NEVER).then(|| Timestamp::from_unix_millis(millis)))
        };
        let seen = Seen {
            origin: Origin::from_bytes(*slot.get(16..)?.first_chunk()?),
            place: SnapshotPlace {
                position: FeedPosition { epoch: number(48)?, sequence: number(56)? },
                mark: *slot.get(64..)?.first_chunk()?,
            },
            as_of: time(96)?,
            last_produced_at: time(104)?,
        };
        let count = number(8)?;
        (slot.get(..LENGTH)? == &seen.to_slot(count)[..LENGTH]).then_some((count, seen))
    }
}

/// Reads what a directory's `seen` says: the newer of its slots; `None` if there is no file or neither can be trusted.
pub(super) fn read(dir: &Path) -> io::Result<Option<(u64, Seen)>> {
    let mut bytes = Vec::new();
    match File::open(dir.join(FILE)) {
        Ok(file) => file.take(2 * SLOT as u64).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(bytes.chunks(SLOT).filter_map(Seen::from_slot).max_by_key(|(count, _)| *count))
}

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct SeenFile {
    file: File,
    count: u64,
    now: Seen,
    synced: Seen,
}

impl SeenFile {
    /// Opens or makes the file; what it says then is durable.
    pub(super) fn open(dir: &Path, seen: Seen) -> io::Result<Self> {
        let count = read(dir)?.map_or(0, |(count, _)| count);
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
        let file = options.open(dir.join(FILE))?;
        let mut opened = SeenFile { file, count, now: seen, synced: seen };
        // Both slots: nothing of another feed stays behind.
        opened.write(seen)?;
        opened.write(seen)?;
        opened.sync()?;
        Ok(opened)
    }

    pub(super) fn now(&self) -> Seen {
        self.now
    }

    /// Writes it, and makes it durable now and then.
    pub(super) fn write(&mut self, seen: Seen) -> io::Result<()> {
        let count = self.count + 1;
        self.file.write_all_at(&seen.to_slot(count), (count % 2) * SLOT as u64)?;
        (self.count, self.now) = (count, seen);
        let far = |now: Option<Timestamp>, then: Option<Timestamp>| match (now, then) {
            (Some(now), Some(then)) => now.since(then) >= SYNC_AFTER,
            (now, then) => now != then,
        };
        let due = far(seen.as_of, self.synced.as_of) || far(seen.last_produced_at, self.synced.last_produced_at);
        if due { self.sync() } else { Ok(()) }
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(sequence: u64) -> Seen {
        Seen {
            origin: Origin::from_bytes([5; 32]),
            place: SnapshotPlace { position: FeedPosition { epoch: 3, sequence }, mark: [9; 32] },
            as_of: Some(Timestamp::from_unix_millis(1234)),
            last_produced_at: None,
        }
    }

    #[test]
    fn a_slot_with_any_flipped_bit_is_not_trusted() {
        let slot = seen(77).to_slot(9);
        assert_eq!(Seen::from_slot(&slot), Some((9, seen(77))));
        for bit in 0..LENGTH * 8 {
            let mut flipped = slot;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Seen::from_slot(&flipped), None, "bit {bit}");
        }
        assert_eq!(Seen::from_slot(&slot[..LENGTH - 1]), None);
    }

    #[test]
    fn a_slot_that_was_being_written_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = SeenFile::open(dir.path(), Seen::nothing(Origin::from_bytes([5; 32]))).unwrap();
        for sequence in 1..=5 {
            file.write(seen(sequence)).unwrap();
            assert_eq!(read(dir.path()).unwrap().unwrap().1, seen(sequence));
        }
        let mut bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        let newest = usize::try_from(file.count % 2).unwrap() * SLOT;
        bytes[newest + 60] ^= 1;
        std::fs::write(dir.path().join(FILE), bytes).unwrap();
        assert_eq!(read(dir.path()).unwrap().unwrap().1, seen(4));
    }
}
