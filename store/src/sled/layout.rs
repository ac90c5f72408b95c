//! How rows, index entries, feed, audit, outbox and state lie in one sled tree.
//!
//! | first byte | key | value |
//! |---|---|---|
//! | `R` | table name (length byte in front), row key | row envelope |
//! | `I` | index name (length byte), escaped term, `00 00`, table name (length byte), row key | empty |
//! | `F` `A` `O` | sequence number, eight bytes big-endian | the entry's bytes |
//! | `C` | length of the owner's key (two bytes), owner's key, number of the piece (two bytes) | a piece |
//! | `M` | `state` | [`State`] |
//!
//! In a term, `00` is written `00 FF`, so that the end `00 00` sorts before every continuation: a prefix comes before
//! what it begins, and no term can run into the table name behind it.
//!
//! sled moves nodes above 128 KiB into files of their own, which it does not sync. A node holds up to some twenty
//! entries, so that values are cut into pieces of [`PIECE`] bytes and keys are bounded by the batch's limits.

use sha2::{Digest, Sha256};

use crate::batch::{MAX_NAME, MAX_TERM, MAX_TERMS};

/// The version of this layout; a store with a newer one is refused.
pub(crate) const LAYOUT_VERSION: u16 = 1;
pub(super) const ROW: u8 = b'R';
pub(super) const INDEX: u8 = b'I';
pub(super) const FEED: u8 = b'F';
pub(super) const AUDIT: u8 = b'A';
pub(super) const OUTBOX: u8 = b'O';
pub(super) const PIECES: u8 = b'C';
/// The key of [`State`].
pub(super) const STATE_KEY: &[u8] = b"Mstate";
/// Longest value that is written in one entry, in bytes.
pub(super) const PIECE: usize = 4000;

const WHOLE: u8 = 0;
const IN_PIECES: u8 = 1;

fn push_name(out: &mut Vec<u8>, name: &str) {
    debug_assert!(name.len() <= MAX_NAME);
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
}

fn split_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

/// The key of a row; with an empty row key, the prefix of all rows of the table.
pub(super) fn row_key(table: &str, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + table.len() + key.len());
    out.push(ROW);
    push_name(&mut out, table);
    out.extend_from_slice(key);
    out
}

/// Table and row key of a row's entry.
pub(super) fn split_row_key(entry: &[u8]) -> Option<(&str, &[u8])> {
    split_name(entry.strip_prefix(&[ROW])?)
}

/// The prefix of all entries of an index whose terms begin with `term`, which is also the lower bound of all terms from
/// `term` on.
pub(super) fn term_prefix(index: &str, term: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + index.len() + term.len());
    out.push(INDEX);
    push_name(&mut out, index);
    for byte in term {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out
}

/// The key of an index entry.
pub(super) fn index_key(index: &str, term: &[u8], table: &str, key: &[u8]) -> Vec<u8> {
    let mut out = term_prefix(index, term);
    out.extend_from_slice(&[0, 0]);
    push_name(&mut out, table);
    out.extend_from_slice(key);
    out
}

/// Term, table and row key of an index entry.
pub(super) fn split_index_key(entry: &[u8]) -> Option<(Vec<u8>, &str, &[u8])> {
    let (_, mut rest) = split_name(entry.strip_prefix(&[INDEX])?)?;
    let mut term = Vec::new();
    loop {
        match rest {
            [0, 0, tail @ ..] => {
                let (table, key) = split_name(tail)?;
                return Some((term, table, key));
            }
            [0, 0xff, tail @ ..] => {
                term.push(0);
                rest = tail;
            }
            [0, ..] | [] => return None,
            [byte, tail @ ..] => {
                term.push(*byte);
                rest = tail;
            }
        }
    }
}

/// The key of a feed, audit or outbox entry.
pub(super) fn numbered_key(kind: u8, number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    out.push(kind);
    out.extend_from_slice(&number.to_be_bytes());
    out
}

/// The number of a feed, audit or outbox entry.
pub(super) fn split_numbered_key(entry: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(entry.get(1..)?.try_into().ok()?))
}

/// The smallest key above all that begin with `prefix`; there is one, since no prefix here is all `FF`.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if last < 0xff {
            out.push(last + 1);
            break;
        }
    }
    out
}

/// The key of a piece of a long value.
pub(super) fn piece_key(owner: &[u8], number: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + owner.len());
    out.push(PIECES);
    out.extend_from_slice(&(owner.len() as u16).to_be_bytes());
    out.extend_from_slice(owner);
    out.extend_from_slice(&number.to_be_bytes());
    out
}

/// What lies in the entry of a value's owner.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// The value itself.
    Whole(&'a [u8]),
    /// How long the value is and in how many pieces it lies elsewhere.
    InPieces { length: usize, pieces: u16 },
}

/// Reads the entry of a value's owner.
pub(super) fn head(entry: &[u8]) -> Option<Head<'_>> {
    match entry.split_first()? {
        (&WHOLE, value) => Some(Head::Whole(value)),
        (&IN_PIECES, rest) => {
            let length = u32::from_be_bytes(rest.try_into().ok()?) as usize;
            Some(Head::InPieces { length, pieces: u16::try_from(length.div_ceil(PIECE)).ok()? })
        }
        _ => None,
    }
}

/// The entries in which a value lies, its owner's first.
pub(super) fn entries_of(owner: &[u8], value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    if value.len() <= PIECE {
        let mut whole = Vec::with_capacity(1 + value.len());
        whole.push(WHOLE);
        whole.extend_from_slice(value);
        return vec![(owner.to_vec(), whole)];
    }
    let mut head = vec![IN_PIECES];
    head.extend_from_slice(&(value.len() as u32).to_be_bytes());
    let pieces = value.chunks(PIECE).zip(0u16..).map(|(piece, number)| (piece_key(owner, number), piece.to_vec()));
    std::iter::once((owner.to_vec(), head)).chain(pieces).collect()
}

/// A row's value with what has to be known to change it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    /// The version of the row.
    pub version: u64,
    /// Index names and terms.
    pub terms: Vec<(&'a str, &'a [u8])>,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Envelope<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.value.len());
        out.extend_from_slice(&self.version.to_be_bytes());
        debug_assert!(self.terms.len() <= MAX_TERMS);
        out.push(self.terms.len() as u8);
        for (index, term) in &self.terms {
            debug_assert!(term.len() <= MAX_TERM);
            push_name(&mut out, index);
            out.push(term.len() as u8);
            out.extend_from_slice(term);
        }
        out.extend_from_slice(self.value);
        out
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Envelope<'a>> {
        let (version, rest) = bytes.split_first_chunk()?;
        let (count, mut rest) = rest.split_first()?;
        let mut terms = Vec::with_capacity(usize::from(*count));
        for _ in 0..*count {
            let (index, after_name) = split_name(rest)?;
            let (length, after_length) = after_name.split_first()?;
            let (term, after_term) = after_length.split_at_checked(usize::from(*length))?;
            terms.push((index, term));
            rest = after_term;
        }
        Some(Envelope { version: u64::from_be_bytes(*version), terms, value: rest })
    }
}

/// The sum of the digests of all entries but the state's: changes with every write, and tells on a check of the whole
/// store whether exactly what was written is there. It guards against accidents, not against forgery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ContentSum([u64; 4]);

impl ContentSum {
    fn digest(key: &[u8], entry: &[u8]) -> [u64; 4] {
        let mut hash = Sha256::new();
        hash.update((key.len() as u32).to_be_bytes());
        hash.update(key);
        hash.update(entry);
        let digest: [u8; 32] = hash.finalize().into();
        ContentSum::from_bytes(&digest).0
    }

    pub(super) fn add(&mut self, key: &[u8], entry: &[u8]) {
        for (lane, part) in self.0.iter_mut().zip(ContentSum::digest(key, entry)) {
            *lane = lane.wrapping_add(part);
        }
    }

    pub(super) fn remove(&mut self, key: &[u8], entry: &[u8]) {
        for (lane, part) in self.0.iter_mut().zip(ContentSum::digest(key, entry)) {
            *lane = lane.wrapping_sub(part);
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (bytes, lane) in out.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *bytes = lane.to_be_bytes();
        }
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> ContentSum {
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *lane = u64::from_be_bytes(*bytes);
        }
        ContentSum(lanes)
    }
}

/// The counters of the store; written with every group of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// The epoch of the feed.
    pub epoch: u64,
    /// The number of the last commit.
    pub commit: u64,
    /// The number of the last feed entry; 0 before the first.
    pub feed: u64,
    /// How many audit records there are.
    pub audit: u64,
    /// The id of the last outbox entry; 0 before the first.
    pub outbox: u64,
    /// The greatest time of all commits, milliseconds since 1970.
    pub high_water: i64,
    /// The sum over everything else.
    pub sum: ContentSum,
}

impl State {
    /// The length of its encoding, without the layout version.
    pub(crate) const LENGTH: usize = 6 * 8 + 32;

    /// The state of a store that has just been made.
    pub(super) fn new() -> State {
        State { epoch: 1, commit: 0, feed: 0, audit: 0, outbox: 0, high_water: 0, sum: ContentSum::default() }
    }

    pub(crate) fn to_bytes(self) -> [u8; State::LENGTH] {
        let mut out = [0; State::LENGTH];
        let numbers = [self.epoch, self.commit, self.feed, self.audit, self.outbox, self.high_water as u64];
        let (words, sum) = out.split_at_mut(48);
        for (bytes, number) in words.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *bytes = number.to_be_bytes();
        }
        sum.copy_from_slice(&self.sum.to_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<State> {
        let bytes: &[u8; State::LENGTH] = bytes.try_into().ok()?;
        let (words, sum) = bytes.split_at(48);
        let mut numbers = words.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let mut next = || numbers.next();
        Some(State {
            epoch: next()?,
            commit: next()?,
            feed: next()?,
            audit: next()?,
            outbox: next()?,
            high_water: next()? as i64,
            sum: ContentSum::from_bytes(sum.try_into().ok()?),
        })
    }

    /// The entry under [`STATE_KEY`]: layout version, then the state.
    pub(super) fn entry(self) -> Vec<u8> {
        let mut out = LAYOUT_VERSION.to_be_bytes().to_vec();
        out.extend_from_slice(&self.to_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_sort_as_bytes_whatever_their_length() {
        let mut terms: Vec<Vec<u8>> = vec![
            vec![],
            vec![0],
            vec![0, 0],
            vec![0, 0, 1],
            vec![0, 1],
            vec![0, 0xff],
            vec![1],
            vec![1, 0],
            vec![1, 0xff],
            vec![0xff],
            vec![0xff, 0],
            vec![0xff, 0xff],
        ];
        terms.sort();
        let keys: Vec<_> = terms.iter().map(|term| index_key("i", term, "t", b"\xff\xff")).collect();
        assert!(keys.is_sorted());
        for (term, key) in terms.iter().zip(&keys) {
            assert_eq!(split_index_key(key), Some((term.clone(), "t", &b"\xff\xff"[..])));
            for other in &terms {
                assert_eq!(key.starts_with(&term_prefix("i", other)), term.starts_with(other));
                assert_eq!(key >= &term_prefix("i", other), term >= other);
            }
        }
    }

    #[test]
    fn a_long_value_is_cut_into_pieces_and_its_head_tells_how_many() {
        for length in [0, 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1] {
            let value = vec![7; length];
            let entries = entries_of(b"Ro", &value);
            assert!(entries.iter().all(|(_, entry)| entry.len() <= PIECE + 1));
            match head(&entries[0].1).unwrap() {
                Head::Whole(whole) => assert_eq!(whole, value),
                Head::InPieces { length: told, pieces } => {
                    assert_eq!((told, usize::from(pieces)), (length, entries.len() - 1));
                }
            }
        }
    }

    #[test]
    fn the_sum_does_not_depend_on_the_order_of_writes() {
        let (mut one, mut other) = (ContentSum::default(), ContentSum::default());
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        other.add(b"b", b"2");
        other.add(b"x", b"9");
        other.add(b"a", b"1");
        assert_ne!(one, other);
        other.remove(b"x", b"9");
        assert_eq!(one, other);
        assert_eq!(ContentSum::from_bytes(&one.to_bytes()), one);
    }

    #[test]
    fn an_envelope_and_a_state_are_read_as_written() {
        let envelope = Envelope { version: 7, terms: vec![("i", b"\0x"), ("j", b"")], value: b"value" };
        let bytes = envelope.encode();
        assert_eq!(Envelope::decode(&bytes), Some(envelope));
        for cut in 0..bytes.len() - 5 {
            assert_eq!(Envelope::decode(&bytes[..cut]), None);
        }
        let state = State { feed: 3, high_water: -5, ..State::new() };
        assert_eq!(State::from_bytes(&state.to_bytes()), Some(state));
    }
}
