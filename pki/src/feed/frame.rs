//! The feed on a connection: a stream of frames, from the service to a follower.
//!
//! ```text
//! type u8   length u32   payload [length], at most 4096
//!
//! 1  Hello      format u8   origin [32]   epoch u64   sequence u64
//! 2  Entry      sequence u64   the entry's octets, at most 1024
//! 3  Heartbeat  epoch u64   sequence u64   as of i64, milliseconds since 1970   revision of the issuers [32]
//! ```
//!
//! Integers are big endian. A stream begins with one Hello, which says where it goes on; entries follow in the order of
//! their numbers, without gaps. A frame that is none ends the stream: there is no way to find the next one.

use super::{FeedPosition, MAX_ENTRY_BYTES, Origin};
use crate::Timestamp;

/// The format that [`Frame::Hello`] names, written and read by this version.
pub const FORMAT: u8 = 1;
/// The longest payload of a frame.
pub const MAX_PAYLOAD: usize = 4096;

const HEAD: usize = 5;
const HELLO: u8 = 1;
const ENTRY: u8 = 2;
const HEARTBEAT: u8 = 3;
const HELLO_BYTES: usize = 1 + 32 + 8 + 8;
const HEARTBEAT_BYTES: usize = 8 + 8 + 8 + 32;

/// What the service says to a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame: whose feed it is, and the position after which the entries begin.
    Hello {
        /// The format of what follows: [`FORMAT`].
        format: u8,
        /// Whose feed.
        origin: Origin,
        /// Where the follower is.
        position: FeedPosition,
    },
    /// An entry.
    Entry {
        /// Its number.
        sequence: u64,
        /// What [`StatusEntry::encode`](super::StatusEntry::encode) wrote; the [mark](super::Mark) is over these octets.
        entry: Vec<u8>,
    },
    /// Nothing is newer than `position` as of `as_of`. All entries up to there were sent before it.
    Heartbeat {
        /// The newest entry.
        position: FeedPosition,
        /// As of when, by the service's clock.
        as_of: Timestamp,
        /// The revision of the document that names the issuers.
        issuers: [u8; 32],
    },
}

/// The octets are no stream of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A type that this version does not know.
    #[error("a frame of type {0} is not known: use a newer version of cardinal")]
    Type(u8),
    /// A payload of a length that its type cannot have.
    #[error("a frame of type {kind} cannot have {length} octets")]
    Length {
        /// The type.
        kind: u8,
        /// The length.
        length: u32,
    },
    /// A format that this version does not read.
    #[error("the feed has format {0}, and this version reads format {FORMAT}: use a newer version of cardinal")]
    Format(u8),
}

impl Frame {
    /// Writes the frame. An entry of more than [`MAX_ENTRY_BYTES`] is none, and no decoder takes it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Hello { format, origin, position } => {
                head(out, HELLO, HELLO_BYTES);
                out.push(*format);
                out.extend_from_slice(origin.as_bytes());
                put_position(out, *position);
            }
            Frame::Entry { sequence, entry } => {
                head(out, ENTRY, 8 + entry.len());
                out.extend_from_slice(&sequence.to_be_bytes());
                out.extend_from_slice(entry);
            }
            Frame::Heartbeat { position, as_of, issuers } => {
                head(out, HEARTBEAT, HEARTBEAT_BYTES);
                put_position(out, *position);
                out.extend_from_slice(&as_of.unix_millis().to_be_bytes());
                out.extend_from_slice(issuers);
            }
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let mut rest = Octets(payload);
        let frame = match kind {
            HELLO => rest.frame_hello()?,
            ENTRY => rest.u64().map(|sequence| Frame::Entry { sequence, entry: rest.take_all() }),
            HEARTBEAT => rest.frame_heartbeat(),
            other => return Err(FrameError::Type(other)),
        };
        let whole = frame.filter(|_| rest.0.is_empty());
        whole.ok_or(FrameError::Length { kind, length: payload.len() as u32 })
    }
}

fn head(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_position(out: &mut Vec<u8>, position: FeedPosition) {
    out.extend_from_slice(&position.epoch.to_be_bytes());
    out.extend_from_slice(&position.sequence.to_be_bytes());
}

struct Octets<'a>(&'a [u8]);

impl Octets<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn position(&mut self) -> Option<FeedPosition> {
        Some(FeedPosition { epoch: self.u64()?, sequence: self.u64()? })
    }

    fn take_all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    fn frame_hello(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some([format]) = self.array() else { return Ok(None) };
        if format != FORMAT {
            return Err(FrameError::Format(format));
        }
        let hello = |octets: &mut Self| {
            let origin = Origin::from_bytes(octets.array()?);
            Some(Frame::Hello { format, origin, position: octets.position()? })
        };
        Ok(hello(self))
    }

    fn frame_heartbeat(&mut self) -> Option<Frame> {
        let position = self.position()?;
        let as_of = Timestamp::from_unix_millis(i64::from_be_bytes(self.array()?));
        Some(Frame::Heartbeat { position, as_of, issuers: self.array()? })
    }
}

/// Which lengths a type can have.
fn check_length(kind: u8, length: u32) -> Result<usize, FrameError> {
    let fits = |length: &usize| match kind {
        // Another format may be of another length; the format is then what is refused.
        HELLO => (1..=MAX_PAYLOAD).contains(length),
        ENTRY => (8..=8 + MAX_ENTRY_BYTES).contains(length),
        HEARTBEAT => *length == HEARTBEAT_BYTES,
        _ => false,
    };
    if !matches!(kind, HELLO | ENTRY | HEARTBEAT) {
        return Err(FrameError::Type(kind));
    }
    usize::try_from(length).ok().filter(fits).ok_or(FrameError::Length { kind, length })
}

/// Takes a stream in pieces of any size and gives its frames.
///
/// It keeps what was pushed and not yet taken: whoever takes all frames after each push has it keep less than one frame.
/// After an error it gives that error again, whatever is pushed.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    bytes: Vec<u8>,
    taken: usize,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// Takes what came next.
    pub fn push(&mut self, octets: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(octets);
    }

    /// The next frame, or `None` until more is pushed.
    ///
    /// # Errors
    /// When there is no frame where one has to begin. The stream is lost then.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: after `None` there may be more")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        match self.failed {
            Some(error) => Err(error),
            None => self.read().inspect_err(|error| {
                self.failed = Some(*error);
                self.bytes = Vec::new();
                self.taken = 0;
            }),
        }
    }

    fn read(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.bytes[self.taken..];
        let Some(([kind, length @ ..], payload)) = rest.split_first_chunk::<HEAD>() else {
            return match rest.first() {
                // A type that is none is refused before its length has come.
                Some(kind) if !matches!(*kind, HELLO | ENTRY | HEARTBEAT) => Err(FrameError::Type(*kind)),
                _ => Ok(None),
            };
        };
        let length = check_length(*kind, u32::from_be_bytes(*length))?;
        let Some(payload) = payload.get(..length) else { return Ok(None) };
        let frame = Frame::decode(*kind, payload)?;
        self.taken += HEAD + length;
        Ok(Some(frame))
    }

    /// How many octets it keeps.
    pub fn buffered(&self) -> usize {
        self.bytes.len() - self.taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let position = || (any::<u64>(), any::<u64>()).prop_map(|(epoch, sequence)| FeedPosition { epoch, sequence });
        prop_oneof![
            (any::<[u8; 32]>(), position()).prop_map(|(origin, position)| Frame::Hello {
                format: FORMAT,
                origin: Origin::from_bytes(origin),
                position
            }),
            (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..MAX_ENTRY_BYTES))
                .prop_map(|(sequence, entry)| Frame::Entry { sequence, entry }),
            (position(), any::<i64>(), any::<[u8; 32]>()).prop_map(|(position, as_of, issuers)| Frame::Heartbeat {
                position,
                as_of: Timestamp::from_unix_millis(as_of),
                issuers
            }),
        ]
    }

    fn drain(decoder: &mut FrameDecoder, out: &mut Vec<Frame>) -> Result<(), FrameError> {
        while let Some(frame) = decoder.next()? {
            out.push(frame);
        }
        Ok(())
    }

    proptest! {
        /// However a stream is cut into pieces, the same frames come out, and no more is kept than a part of one.
        #[test]
        fn frames_come_out_as_they_went_in(frames in proptest::collection::vec(frames(), 0..8), piece in 1usize..700) {
            let mut bytes = Vec::new();
            frames.iter().for_each(|frame| frame.encode(&mut bytes));
            let mut decoder = FrameDecoder::default();
            let mut out = Vec::new();
            for piece in bytes.chunks(piece) {
                decoder.push(piece);
                drain(&mut decoder, &mut out).unwrap();
                prop_assert!(decoder.buffered() < HEAD + MAX_PAYLOAD);
            }
            prop_assert_eq!(out, frames);
            prop_assert_eq!(decoder.buffered(), 0);
        }

        /// Nothing makes it panic or keep more than was pushed, and what it takes is written back as it was.
        #[test]
        fn rubbish_is_refused_or_read_as_what_it_is(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = FrameDecoder::default();
            decoder.push(&bytes);
            let mut out = Vec::new();
            let ended = drain(&mut decoder, &mut out);
            let mut again = Vec::new();
            out.iter().for_each(|frame| frame.encode(&mut again));
            prop_assert!(bytes.starts_with(&again));
            prop_assert_eq!(ended.is_err(), decoder.next().is_err());
        }
    }

    #[test]
    fn a_frame_that_is_none_ends_the_stream_for_good() {
        let refuse = |bytes: &[u8]| {
            let mut decoder = FrameDecoder::default();
            decoder.push(bytes);
            let error = decoder.next().unwrap_err();
            let mut good = Vec::new();
            Frame::Entry { sequence: 1, entry: vec![1] }.encode(&mut good);
            decoder.push(&good);
            assert_eq!(decoder.next(), Err(error));
            assert_eq!(decoder.buffered(), 0);
            error
        };
        assert_eq!(refuse(&[9]), FrameError::Type(9));
        assert_eq!(refuse(&[ENTRY, 0, 1, 0, 0]), FrameError::Length { kind: ENTRY, length: 65536 });
        assert_eq!(refuse(&[ENTRY, 0, 0, 0, 7]), FrameError::Length { kind: ENTRY, length: 7 });
        assert_eq!(refuse(&[HEARTBEAT, 0, 0, 0, 55]), FrameError::Length { kind: HEARTBEAT, length: 55 });
        assert_eq!(refuse(&[HELLO, 0, 0, 0, 1, 2]), FrameError::Format(2));
        let longer = [&[HELLO, 0, 0, 0, HELLO_BYTES as u8 + 1, FORMAT][..], &[0; HELLO_BYTES]].concat();
        assert_eq!(refuse(&longer), FrameError::Length { kind: HELLO, length: HELLO_BYTES as u32 + 1 });
        assert_eq!(refuse(&[HELLO, 0, 0, 0, 2, FORMAT, 0]), FrameError::Length { kind: HELLO, length: 2 });
        let too_long = HEAD + 8 + MAX_ENTRY_BYTES + 1;
        let mut bytes = Vec::new();
        Frame::Entry { sequence: 1, entry: vec![0; MAX_ENTRY_BYTES + 1] }.encode(&mut bytes);
        assert_eq!(bytes.len(), too_long);
        assert_eq!(refuse(&bytes), FrameError::Length { kind: ENTRY, length: 8 + MAX_ENTRY_BYTES as u32 + 1 });
    }
}
