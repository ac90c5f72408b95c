//! The tail of a replica on disk. Its chain of tags is set right first, since whoever can write the file can do that too.
#![no_main]

use ocsp_responder::node::replica_dir::{Tail, TailError};
use sha2::{Digest, Sha256};

/// The head without its tag; where the sequence is in it; a tag.
const HEAD: usize = 120;
const SEQUENCE: usize = 80;
const TAG: usize = 16;

/// The same with the tags that belong there, and lengths that are said twice.
fn mend(bytes: &[u8]) -> Option<Vec<u8>> {
    let (head, behind) = bytes.split_at_checked(HEAD)?;
    let mut rest = behind.get(TAG..)?;
    let mut sequence = u64::from_be_bytes(*head[SEQUENCE..].first_chunk()?);
    let mut tag = Sha256::digest(head)[..TAG].to_vec();
    let mut mended = [head, &tag].concat();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = [length[0] & 0x07, length[1]];
        let octets = usize::from(u16::from_be_bytes(length));
        mended.extend_from_slice(&length);
        mended.extend(length.map(|octet| !octet));
        let Some((entry, behind)) = behind.split_at_checked(octets) else {
            mended.extend_from_slice(behind);
            return Some(mended);
        };
        sequence = sequence.wrapping_add(1);
        let hash = Sha256::new().chain_update(&tag).chain_update(sequence.to_be_bytes());
        let hash = hash.chain_update((octets as u64).to_be_bytes()).chain_update(entry);
        tag = hash.finalize()[..TAG].to_vec();
        mended.extend_from_slice(entry);
        mended.extend_from_slice(&tag);
        rest = behind.get(TAG..).unwrap_or_default();
    }
    mended.extend_from_slice(rest);
    Some(mended)
}

fn read(bytes: &[u8]) -> Result<(Tail, Vec<u64>), TailError> {
    let mut sequences = Vec::new();
    let tail = Tail::read(bytes, |sequence, _, _| {
        sequences.push(sequence);
        Ok::<_, TailError>(())
    })?;
    Ok((tail, sequences))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = read(bytes);
    let Some(mended) = mend(bytes) else { return };
    let Ok((tail, sequences)) = read(&mended) else { return };
    let first = tail.head().place.position;
    let without_gap = sequences.iter().zip(first.sequence..).all(|(sequence, before)| *sequence == before + 1);
    let last = sequences.last().copied().unwrap_or(first.sequence);
    assert!(without_gap && last == tail.place().position.sequence, "{first:?}: {sequences:?}");
    assert_eq!(tail.place().position.epoch, first.epoch);
    // One octet that is another is noticed, or stands in what is not whole.
    let at = usize::from(bytes[0]) * mended.len() / 256;
    let mut changed = mended.clone();
    changed[at] ^= 1;
    if let Ok((other, _)) = read(&changed) {
        assert!(other.place().position.sequence <= tail.place().position.sequence);
        assert!(other.place() == tail.place() || at >= HEAD);
    }
});
