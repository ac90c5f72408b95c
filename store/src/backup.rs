//! The backup format: what it holds, how it is written, and how it is read without trusting it.
//!
//! ```text
//! "CARDINAL STORE BACKUP\n"  format version (2 bytes)
//! frame*                     kind (1), length of the payload (4), payload
//! end frame                  kind 'E', length, counters of the store, number of frames before (8)
//! SHA-256 over all of this (32), then nothing
//! ```
//!
//! Numbers are big-endian. A backup is made while the store changes, so that a value may be there several times; the
//! last one counts. Index entries are not in it, since rows bring their terms. The format knows no backend. What is read
//! may be used only after the end frame and its digest have been seen.

use std::io::{BufRead, BufReader, Read, Write};

use sha2::{Digest, Sha256};

use crate::batch::{MAX_ENTRY, MAX_KEY, MAX_NAME, MAX_TERM, MAX_TERMS, MAX_VALUE};
use crate::error::Error;
use crate::sled::layout::State;
use crate::store::Position;

const MAGIC: &[u8] = b"CARDINAL STORE BACKUP\n";
/// The format version that is written, and the newest one that is read.
pub const FORMAT_VERSION: u16 = 1;
/// Longest payload of a frame: a row with everything at its limit.
const MAX_PAYLOAD: usize = MAX_VALUE + MAX_KEY + MAX_NAME + MAX_TERMS * (MAX_TERM + MAX_NAME + 8) + 64;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSummary {
    /// The position of the feed at the commit that the backup shows.
    pub position: Position,
    /// The number of that commit.
    pub commit: u64,
    /// How many audit records it has.
    pub audit_len: u64,
    /// The greatest time of all commits, milliseconds since 1970.
    pub high_water: i64,
    /// How many frames it has before its end.
    pub frames: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 at its end.
    pub sha256: [u8; 32],
}

/// One thing in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A row.
    Row { table: String, key: Vec<u8>, version: u64, terms: Vec<(String, Vec<u8>)>, value: Vec<u8> },
    /// A row that is in an earlier frame, or nowhere, went.
    RowGone { table: String, key: Vec<u8> },
    /// A feed entry.
    Feed(u64, Vec<u8>),
    /// An audit record.
    Audit(u64, Vec<u8>),
    /// An outbox entry.
    Outbox(u64, Vec<u8>),
    /// An outbox entry that is in an earlier frame, or nowhere, is done.
    OutboxGone(u64),
}

impl Frame {
    /// The frame with its kind and length.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 5];
        out[0] = match self {
            Frame::Row { table, key, version, terms, value } => {
                push_short(&mut out, table.as_bytes());
                push_short(&mut out, key);
                out.extend_from_slice(&version.to_be_bytes());
                out.push(terms.len() as u8);
                for (index, term) in terms {
                    push_short(&mut out, index.as_bytes());
                    push_short(&mut out, term);
                }
                out.extend_from_slice(value);
                b'R'
            }
            Frame::RowGone { table, key } => {
                push_short(&mut out, table.as_bytes());
                push_short(&mut out, key);
                b'r'
            }
            Frame::Feed(number, bytes) => push_numbered(&mut out, *number, bytes, b'F'),
            Frame::Audit(number, bytes) => push_numbered(&mut out, *number, bytes, b'A'),
            Frame::Outbox(number, bytes) => push_numbered(&mut out, *number, bytes, b'O'),
            Frame::OutboxGone(number) => push_numbered(&mut out, *number, &[], b'o'),
        };
        let length = out.len() as u32 - 5;
        out[1..5].copy_from_slice(&length.to_be_bytes());
        out
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Frame> {
        let mut rest = payload;
        match kind {
            b'R' => {
                let table = take_name(&mut rest)?;
                let key = take_short(&mut rest, MAX_KEY)?.to_vec();
                let version = take_number(&mut rest)?;
                let (count, mut rest) = rest.split_first()?;
                if usize::from(*count) > MAX_TERMS {
                    return None;
                }
                let mut terms = Vec::with_capacity(usize::from(*count));
                for _ in 0..*count {
                    terms.push((take_name(&mut rest)?, take_short(&mut rest, MAX_TERM)?.to_vec()));
                }
                (rest.len() <= MAX_VALUE).then(|| Frame::Row { table, key, version, terms, value: rest.to_vec() })
            }
            b'r' => {
                let table = take_name(&mut rest)?;
                let key = take_short(&mut rest, MAX_KEY)?.to_vec();
                rest.is_empty().then_some(Frame::RowGone { table, key })
            }
            b'F' | b'A' | b'O' if payload.len() <= 8 + MAX_ENTRY => {
                let number = take_number(&mut rest)?;
                let frame = match kind {
                    b'F' => Frame::Feed,
                    b'A' => Frame::Audit,
                    _ => Frame::Outbox,
                };
                Some(frame(number, rest.to_vec()))
            }
            b'o' => {
                let number = take_number(&mut rest)?;
                rest.is_empty().then_some(Frame::OutboxGone(number))
            }
            _ => None,
        }
    }
}

fn push_short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn push_numbered(out: &mut Vec<u8>, number: u64, bytes: &[u8], kind: u8) -> u8 {
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(bytes);
    kind
}

fn take_short<'a>(rest: &mut &'a [u8], limit: usize) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first()?;
    let (bytes, after) = after.split_at_checked(usize::from(*length))?;
    *rest = after;
    (bytes.len() <= limit).then_some(bytes)
}

fn take_name(rest: &mut &[u8]) -> Option<String> {
    let name = std::str::from_utf8(take_short(rest, MAX_NAME)?).ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_be_bytes(*number))
}

/// The summary of a backup with that end.
fn summary(state: State, frames: u64, bytes: u64, sha256: [u8; 32]) -> BackupSummary {
    BackupSummary {
        position: Position { epoch: state.epoch, sequence: state.feed },
        commit: state.commit,
        audit_len: state.audit,
        high_water: state.high_water,
        frames,
        bytes,
        sha256,
    }
}

/// Writes a backup.
pub(crate) struct BackupWriter<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
    frames: u64,
    bytes: u64,
}

impl<'a> BackupWriter<'a> {
    /// Begins a backup.
    pub(crate) fn new(out: &'a mut dyn Write) -> Result<BackupWriter<'a>, Error> {
        let mut writer = BackupWriter { out, hash: Sha256::new(), frames: 0, bytes: 0 };
        writer.write(MAGIC)?;
        writer.write(&FORMAT_VERSION.to_be_bytes())?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|source| Error::BackupWrite { source })?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes a frame. Returns how many bytes have been written so far.
    pub(crate) fn frame(&mut self, frame: &Frame) -> Result<u64, Error> {
        self.write(&frame.encode())?;
        self.frames += 1;
        Ok(self.bytes)
    }

    /// Ends the backup with the counters of the commit that it shows.
    pub(crate) fn finish(mut self, state: State) -> Result<BackupSummary, Error> {
        let mut end = vec![b'E'];
        end.extend_from_slice(&(State::LENGTH as u32 + 8).to_be_bytes());
        end.extend_from_slice(&state.to_bytes());
        end.extend_from_slice(&self.frames.to_be_bytes());
        self.write(&end)?;
        let sha256: [u8; 32] = self.hash.finalize().into();
        let flushed = self.out.write_all(&sha256).and_then(|()| self.out.flush());
        flushed.map_err(|source| Error::BackupWrite { source })?;
        Ok(summary(state, self.frames, self.bytes + 32, sha256))
    }
}

/// What comes next in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// A frame, not to be used for good before the end has been seen.
    Frame(Frame),
    /// The verified end: the counters of the store, and the summary.
    End(State, BackupSummary),
}

/// Reads a backup.
pub(crate) struct BackupReader<'a> {
    input: BufReader<&'a mut dyn Read>,
    hash: Sha256,
    frames: u64,
    bytes: u64,
}

fn damaged(detail: impl Into<String>) -> Error {
    Error::BackupDamaged { detail: detail.into() }
}

impl<'a> BackupReader<'a> {
    /// Reads the beginning.
    pub(crate) fn new(input: &'a mut dyn Read) -> Result<BackupReader<'a>, Error> {
        let input = BufReader::with_capacity(1 << 16, input);
        let mut reader = BackupReader { input, hash: Sha256::new(), frames: 0, bytes: 0 };
        if reader.read(MAGIC.len())? != MAGIC {
            return Err(damaged("it does not begin like a backup of a store"));
        }
        let found = u16::from_be_bytes(reader.array()?);
        match found {
            FORMAT_VERSION => Ok(reader),
            0 => Err(damaged("it has no format version")),
            found => Err(Error::NewerBackup { found, supported: FORMAT_VERSION }),
        }
    }

    fn read(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        // Grows with what is really there, whatever the length claims.
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(length as u64).read_to_end(&mut bytes);
        read.map_err(|source| Error::BackupRead { source })?;
        if bytes.len() < length {
            return Err(damaged(format!("it ends after {} bytes, in the middle", self.bytes + bytes.len() as u64)));
        }
        self.hash.update(&bytes);
        self.bytes += length as u64;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.read(N)?.try_into().map_err(|_| damaged("it is too short"))
    }

    /// Reads the next frame, or verifies the end.
    pub(crate) fn next(&mut self) -> Result<Next, Error> {
        let at = self.bytes;
        let [kind, length @ ..] = self.array::<5>()?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_PAYLOAD {
            return Err(damaged(format!("the frame at byte {at} claims {length} bytes")));
        }
        let payload = self.read(length)?;
        if kind == b'E' {
            return self.end(&payload);
        }
        self.frames += 1;
        let frame = Frame::decode(kind, &payload);
        frame.map(Next::Frame).ok_or_else(|| damaged(format!("the frame at byte {at} cannot be read")))
    }

    fn end(&mut self, payload: &[u8]) -> Result<Next, Error> {
        let unreadable = || damaged("its end cannot be read");
        let (state, frames) = payload.split_last_chunk().ok_or_else(unreadable)?;
        let state = State::from_bytes(state).ok_or_else(unreadable)?;
        let computed: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        let sha256 = self.array::<32>()?;
        if computed != sha256 {
            return Err(damaged("its SHA-256 is another one"));
        }
        if u64::from_be_bytes(*frames) != self.frames {
            return Err(damaged("frames are missing"));
        }
        if !self.input.fill_buf().map_err(|source| Error::BackupRead { source })?.is_empty() {
            return Err(damaged("something follows its end"));
        }
        Ok(Next::End(state, summary(state, self.frames, self.bytes, sha256)))
    }
}

/// Reads a backup to its end and verifies its structure, its limits and its digest. That it also makes a complete store
/// shows when it is restored, which compares everything before anything is put in place.
///
/// # Errors
/// [`Error::BackupDamaged`], [`Error::NewerBackup`] and [`Error::BackupRead`].
pub fn verify_backup(reader: &mut dyn Read) -> Result<BackupSummary, Error> {
    let mut reader = BackupReader::new(reader)?;
    loop {
        if let Next::End(_, summary) = reader.next()? {
            return Ok(summary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_written() {
        let frames = [
            Frame::Row {
                table: "t".into(),
                key: b"k".to_vec(),
                version: 9,
                terms: vec![("i".into(), vec![0, 1])],
                value: b"v".to_vec(),
            },
            Frame::RowGone { table: "t".into(), key: vec![] },
            Frame::Feed(1, b"f".to_vec()),
            Frame::Audit(0, vec![]),
            Frame::Outbox(5, b"o".to_vec()),
            Frame::OutboxGone(4),
        ];
        for frame in frames {
            let bytes = frame.encode();
            assert_eq!(Frame::decode(bytes[0], &bytes[5..]), Some(frame));
        }
        assert_eq!(Frame::decode(b'?', b""), None);
    }

    #[test]
    fn a_frame_above_its_limits_is_refused() {
        let long = Frame::Feed(1, vec![0; MAX_ENTRY + 1]).encode();
        assert_eq!(Frame::decode(long[0], &long[5..]), None);
        let long = Frame::RowGone { table: "t".into(), key: vec![0; MAX_KEY + 1] }.encode();
        assert_eq!(Frame::decode(long[0], &long[5..]), None);
    }
}
