//! `tail`: the feed's entries since the snapshot, in their order, each chained to the one before.
//!
//! ```text
//! "CRDNTAI1"  origin [32]  snapshot [32]  epoch u64  sequence u64  mark [32]  tag [16]
//! (length u16  not length u16  entry  tag [16])
//! ```
//!
//! Integers are big endian. `snapshot` is the digest at the end of the snapshot that the tail continues; epoch, sequence
//! and mark are the place where that was taken. A tag is the beginning of a SHA-256: the first one over the head, each
//! other over the tag before it, the entry's sequence number, its length and its octets. So an entry that was changed,
//! left out, or put elsewhere is noticed by the next tag, at the latest.
//!
//! What ends in the middle of an entry was being written when the process died: it was not durable, so nobody was told
//! of it, and it is left out. That whole entries are missing at the end is noticed by `seen`.

use pki::feed::{FeedPosition, MAX_ENTRY_BYTES, StatusEntry};
use sha2::{Digest, Sha256};

use crate::snapshot::SnapshotPlace;
use pki::feed::Origin;

const MAGIC: &[u8; 8] = b"CRDNTAI1";
const HEAD: usize = 8 + 32 + 32 + 8 + 8 + 32;
const TAG: usize = 16;
/// A head with its tag: a tail without an entry.
pub(super) const EMPTY: usize = HEAD + TAG;

/// A tag.
pub(super) type Tag = [u8; TAG];

/// Why a file is no tail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TailError {
    /// Not a tail of this format.
    #[error("it is no tail of a replica, or of another version")]
    Format,
    /// It was changed.
    #[error("it is damaged at octet {0}")]
    Damaged(usize),
    /// It is as it was written, and was written wrongly.
    #[error("entry {sequence}: {cause}")]
    Entry {
        /// The entry's number.
        sequence: u64,
        /// What is wrong with it.
        cause: pki::feed::EntryError,
    },
}

/// What a tail belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailHead {
    /// The feed.
    pub origin: Origin,
    /// The digest of the snapshot that it continues.
    pub snapshot: [u8; 32],
    /// Where that was taken.
    pub place: SnapshotPlace,
}

impl TailHead {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(EMPTY);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(self.origin.as_bytes());
        bytes.extend_from_slice(&self.snapshot);
        bytes.extend_from_slice(&self.place.position.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.place.position.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.place.mark);
        let tag = cut(Sha256::digest(&bytes));
        bytes.extend_from_slice(&tag);
        bytes
    }

    /// Where the first entry's chain begins.
    pub(super) fn end(&self) -> TailEnd {
        let bytes = self.encode();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&bytes[HEAD..]);
        TailEnd { place: self.place, tag, octets: EMPTY as u64, entries: 0 }
    }

    fn read(bytes: &[u8]) -> Result<Self, TailError> {
        let head = bytes.get(..EMPTY).filter(|head| head.starts_with(MAGIC)).ok_or(TailError::Format)?;
        let number = |at: usize| head[at..].first_chunk().copied().map(u64::from_be_bytes).ok_or(TailError::Format);
        let digest = |at: usize| head[at..].first_chunk::<32>().copied().ok_or(TailError::Format);
        let position = FeedPosition { epoch: number(72)?, sequence: number(80)? };
        let place = SnapshotPlace { position, mark: digest(88)? };
        let read = TailHead { origin: Origin::from_bytes(digest(8)?), snapshot: digest(40)?, place };
        if read.encode() == head { Ok(read) } else { Err(TailError::Damaged(HEAD)) }
    }
}

/// Where a tail ends: what the next entry is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TailEnd {
    pub(super) place: SnapshotPlace,
    pub(super) tag: Tag,
    /// The length of the file up to here.
    pub(super) octets: u64,
    /// How many entries it has.
    pub(super) entries: u64,
}

impl TailEnd {
    /// Appends an entry to `out`, and goes on behind it.
    pub(super) fn push(&mut self, entry: &[u8], out: &mut Vec<u8>) -> Result<(), pki::feed::EntryError> {
        let length = u16::try_from(entry.len()).ok().filter(|length| usize::from(*length) <= MAX_ENTRY_BYTES);
        let length = length.ok_or(pki::feed::EntryError::TooLong(entry.len()))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&(!length).to_be_bytes());
        out.extend_from_slice(entry);
        self.pass(entry);
        out.extend_from_slice(&self.tag);
        Ok(())
    }

    /// Appends the entries of a part of another tail, in which they were chained to something else.
    pub(super) fn rechain(&mut self, part: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let mut records = Records { rest: part };
        loop {
            match records.next() {
                Ok(Some((entry, _))) => self.push(entry, out).map_err(std::io::Error::other)?,
                Ok(None) if records.rest.is_empty() => return Ok(()),
                _ => return Err(std::io::Error::other("it is damaged")),
            }
        }
    }

    fn pass(&mut self, entry: &[u8]) {
        self.place.position.sequence += 1;
        self.place.mark = Sha256::digest(entry).into();
        let mut hash = Sha256::new();
        hash.update(self.tag);
        hash.update(self.place.position.sequence.to_be_bytes());
        hash.update((entry.len() as u64).to_be_bytes());
        hash.update(entry);
        self.tag = cut(hash.finalize());
        self.octets += (4 + entry.len() + TAG) as u64;
        self.entries += 1;
    }
}

/// The entries of a tail, behind its head.
struct Records<'a> {
    rest: &'a [u8],
}

/// A length that is not what it was.
struct Mangled;

impl<'a> Records<'a> {
    /// The next entry with its tag; `None` when no whole one is left.
    fn next(&mut self) -> Result<Option<(&'a [u8], &'a Tag)>, Mangled> {
        let Some(([one, two, three, four], behind)) = self.rest.split_first_chunk() else { return Ok(None) };
        let length = u16::from_be_bytes([*one, *two]);
        if length != !u16::from_be_bytes([*three, *four]) || usize::from(length) > MAX_ENTRY_BYTES {
            return Err(Mangled);
        }
        let Some((entry, behind)) = behind.split_at_checked(usize::from(length)) else { return Ok(None) };
        let Some((tag, behind)) = behind.split_first_chunk() else { return Ok(None) };
        self.rest = behind;
        Ok(Some((entry, tag)))
    }
}

fn cut(digest: impl AsRef<[u8]>) -> Tag {
    let mut tag = [0; TAG];
    tag.copy_from_slice(&digest.as_ref()[..TAG]);
    tag
}

/// A tail that was read.
#[derive(Clone, Debug)]
pub struct Tail {
    pub(super) head: TailHead,
    pub(super) end: TailEnd,
    /// Whether an entry that was being written follows the last whole one.
    pub(super) torn: bool,
}

impl Tail {
    /// Reads a tail, and gives its entries with their sequence numbers and octets to `take`.
    ///
    /// # Errors
    /// When it is not as it was written, or what `take` answers; what was taken by then is to be thrown away.
    pub fn read<E: From<TailError>>(
        bytes: &[u8],
        mut take: impl FnMut(u64, StatusEntry, &[u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let head = TailHead::read(bytes)?;
        let mut tail = Tail { head, end: head.end(), torn: false };
        let mut records = Records { rest: &bytes[EMPTY..] };
        loop {
            let damaged = TailError::Damaged(bytes.len() - records.rest.len());
            let Some((entry, tag)) = records.next().map_err(|Mangled| damaged.clone())? else { break };
            if tail.end.place.position.sequence == u64::MAX {
                return Err(damaged.into());
            }
            tail.end.pass(entry);
            if *tag != tail.end.tag {
                return Err(damaged.into());
            }
            let sequence = tail.end.place.position.sequence;
            let decoded = StatusEntry::decode(entry).map_err(|cause| TailError::Entry { sequence, cause })?;
            take(sequence, decoded, entry)?;
        }
        tail.torn = !records.rest.is_empty();
        Ok(tail)
    }

    /// Where it ends: the place of its last whole entry.
    pub fn place(&self) -> SnapshotPlace {
        self.end.place
    }

    /// What it belongs to.
    pub fn head(&self) -> TailHead {
        self.head
    }
}
