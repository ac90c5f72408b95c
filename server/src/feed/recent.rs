//! The frames of the newest entries, for all followers.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use pki::feed::frame::Frame;

/// How many octets are kept.
const KEPT: usize = 2 << 20;

/// The frames of the newest entries, in their order, without a gap.
#[derive(Debug)]
pub(super) struct Recent {
    frames: VecDeque<Vec<u8>>,
    octets: usize,
    /// The number of the last one.
    last: u64,
}

impl Recent {
    /// None so far; the next one comes after this.
    pub(super) fn new(last: u64) -> Self {
        Recent { frames: VecDeque::new(), octets: 0, last }
    }

    /// Takes the next entry. What is known already is passed over; after a gap, only what follows it is kept.
    pub(super) fn push(&mut self, sequence: u64, entry: &[u8]) {
        if sequence <= self.last {
            return;
        }
        if sequence != self.last + 1 {
            self.frames.clear();
            self.octets = 0;
        }
        self.last = sequence;
        let frame = frame(sequence, entry);
        self.octets += frame.len();
        self.frames.push_back(frame);
        while self.octets > KEPT
            && let Some(oldest) = self.frames.pop_front()
        {
            self.octets -= oldest.len();
        }
    }

    /// The frames after one entry up to another, about `most` octets of them, and the last that is in; `None` when they
    /// are not kept any longer.
    pub(super) fn after(&self, sequence: u64, to: u64, most: usize) -> Option<(Bytes, u64)> {
        let first = self.last + 1 - self.frames.len() as u64;
        let skip = usize::try_from((sequence + 1).checked_sub(first)?).ok()?;
        let mut out = BytesMut::new();
        let mut at = sequence;
        for frame in self.frames.iter().skip(skip) {
            if at == to || (!out.is_empty() && out.len() + frame.len() > most) {
                break;
            }
            out.extend_from_slice(frame);
            at += 1;
        }
        (at > sequence).then(|| (out.freeze(), at))
    }
}

/// An entry as a frame.
pub(super) fn frame(sequence: u64, entry: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entry.len() + 16);
    Frame::Entry { sequence, entry: entry.to_vec() }.encode(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use pki::feed::frame::FrameDecoder;

    use super::*;

    fn numbers(bytes: &[u8]) -> Vec<u64> {
        let mut decoder = FrameDecoder::default();
        decoder.push(bytes);
        let mut numbers = Vec::new();
        while let Some(frame) = decoder.next().unwrap() {
            let Frame::Entry { sequence, .. } = frame else { panic!("{frame:?}") };
            numbers.push(sequence);
        }
        numbers
    }

    #[test]
    fn frames_come_from_where_one_is_to_where_the_feed_is() {
        let mut recent = Recent::new(10);
        assert_eq!(recent.after(10, 12, 1000), None);
        for sequence in 11..=15 {
            recent.push(sequence, &[0; 20]);
        }
        recent.push(12, &[0; 20]);
        let (bytes, last) = recent.after(10, 15, 1000).unwrap();
        assert_eq!((numbers(&bytes), last), (vec![11, 12, 13, 14, 15], 15));
        let (bytes, last) = recent.after(12, 14, 1000).unwrap();
        assert_eq!((numbers(&bytes), last), (vec![13, 14], 14));
        let (bytes, last) = recent.after(10, 15, 70).unwrap();
        assert_eq!((numbers(&bytes), last), (vec![11, 12], 12));
        let (bytes, _) = recent.after(10, 15, 1).unwrap();
        assert_eq!(numbers(&bytes), [11], "one at least");
        assert_eq!(recent.after(9, 15, 1000), None, "not kept");
        recent.push(20, &[0; 20]);
        assert_eq!(recent.after(14, 20, 1000), None, "a gap");
        assert_eq!(recent.after(19, 20, 1000).unwrap().1, 20);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut recent = Recent::new(0);
        for sequence in 1..=10_000 {
            recent.push(sequence, &[0; 1000]);
            assert!(recent.octets <= KEPT);
        }
        assert_eq!(recent.octets, recent.frames.iter().map(Vec::len).sum::<usize>());
        assert_eq!(recent.after(1, 10_000, 1000), None);
        assert_eq!(recent.after(9_999, 10_000, 1000).unwrap().1, 10_000);
    }
}
