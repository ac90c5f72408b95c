//! The statuses of all certificates as one file, so that a start need not read every certificate's record.
//!
//! ```text
//! "CRDNSTA1"  epoch u64  sequence u64  mark [32]     the place in the feed, and the digest of its entry there
//! (80  length u8  issuer)                            an issuer's name; they are numbered as they come
//! (tag u8  issuer u16  serial  since i64  notAfter i64  [reason u8]  [shard u16]  [invalidityDate i64])
//! FF  count u64  SHA-256 [32]                        of everything before the digest
//! ```
//!
//! Integers are big endian, times milliseconds since 1970; a serial number is its length in one octet, then its octets.
//! The low bits of a tag are the state (0 pending, 1 good, 2 on hold, 3 revoked, 4 void); `10` says that a shard
//! follows, `20` an invalidityDate. A file that was cut off, or of which one bit is wrong, is no snapshot.

use std::io::{self, Write};

use pki::feed::{FeedPosition, PublishedStatus, StatusEntry};
use pki::{CrlReason, SerialNumber, Timestamp};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"CRDNSTA1";
const HEAD: usize = 8 + 8 + 8 + 32;
const TAIL: usize = 1 + 8 + 32;
/// The shortest entry: tag, issuer, a serial number of one octet, two times.
const ENTRY: usize = 1 + 2 + 2 + 8 + 8;
const ISSUER: u8 = 0x80;
const END: u8 = 0xff;
const WITH_SHARD: u8 = 0x10;
const WITH_INVALIDITY: u8 = 0x20;
/// How many octets are hashed and written at a time.
const PORTION: usize = 1 << 16;

/// Why a file is not used as a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot of this format.
    #[error("it is no snapshot of the statuses, or of another version")]
    Format,
    /// Its digest is not that of its content.
    #[error("it is damaged: its digest is another")]
    Digest,
    /// The digest is right and the content is not: it was written wrongly.
    #[error("its content makes no sense at octet {0}")]
    Content(usize),
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Where in the feed a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// Every entry up to here is in it; later ones may be.
    pub position: FeedPosition,
    /// SHA-256 of the feed's entry at that position, by which another deployment's feed is told apart; zeros before the
    /// first.
    pub mark: [u8; 32],
}

impl SnapshotPlace {
    /// Reads the place from the beginning of a snapshot's file. Whether the rest is whole is not looked at.
    ///
    /// # Errors
    /// The reader's; of the kind `InvalidData` when it is no snapshot.
    pub fn read(file: &mut dyn io::Read) -> io::Result<Self> {
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        if !head.starts_with(MAGIC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, SnapshotError::Format));
        }
        let mut cursor = Cursor { bytes: &head, at: MAGIC.len() };
        SnapshotPlace::take(&mut cursor).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn take(head: &mut Cursor<'_>) -> Result<Self, SnapshotError> {
        let position =
            FeedPosition { epoch: u64::from_be_bytes(head.take()?), sequence: u64::from_be_bytes(head.take()?) };
        Ok(SnapshotPlace { position, mark: head.take()? })
    }
}

/// Writes a snapshot, entry by entry.
#[derive(Debug)]
pub struct SnapshotWriter<W> {
    out: W,
    hash: Sha256,
    bytes: Vec<u8>,
    issuers: Vec<String>,
    count: u64,
}

impl<W: Write> SnapshotWriter<W> {
    /// Begins one.
    pub fn new(out: W, place: SnapshotPlace) -> Self {
        let mut bytes = Vec::with_capacity(PORTION + 512);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&place.position.epoch.to_be_bytes());
        bytes.extend_from_slice(&place.position.sequence.to_be_bytes());
        bytes.extend_from_slice(&place.mark);
        SnapshotWriter { out, hash: Sha256::new(), bytes, issuers: Vec::new(), count: 0 }
    }

    /// Writes the status of a certificate. Of one that comes twice, the later status counts.
    ///
    /// # Errors
    /// The writer's, and when there are more than 65,536 issuers or one has a name of more than 255 octets.
    pub fn put(&mut self, entry: &StatusEntry) -> io::Result<()> {
        let issuer = match self.issuers.iter().position(|known| *known == entry.issuer) {
            Some(known) => known,
            None => {
                let length = u8::try_from(entry.issuer.len());
                self.bytes.push(ISSUER);
                self.bytes.push(length.map_err(|_| io::Error::other("an issuer's name of more than 255 octets"))?);
                self.bytes.extend_from_slice(entry.issuer.as_bytes());
                self.issuers.push(entry.issuer.clone());
                self.issuers.len() - 1
            }
        };
        let issuer = u16::try_from(issuer).map_err(|_| io::Error::other("more than 65536 issuers"))?;
        put(&mut self.bytes, issuer, entry);
        self.count += 1;
        if self.bytes.len() >= PORTION { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hash.update(&self.bytes);
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    /// Ends it, and returns how many statuses it has, and the writer.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<(u64, W)> {
        self.bytes.push(END);
        self.bytes.extend_from_slice(&self.count.to_be_bytes());
        self.flush()?;
        self.out.write_all(&self.hash.finalize())?;
        Ok((self.count, self.out))
    }
}

fn put(bytes: &mut Vec<u8>, issuer: u16, entry: &StatusEntry) {
    let (state, since, reason, invalidity) = match entry.status {
        PublishedStatus::Pending { since } => (0, since, None, None),
        PublishedStatus::Good { since } => (1, since, None, None),
        PublishedStatus::OnHold { since } => (2, since, None, None),
        PublishedStatus::Revoked { at, reason, invalidity_date } => (3, at, Some(reason), invalidity_date),
        PublishedStatus::Void { at } => (4, at, None, None),
    };
    let shard = if entry.shard.is_some() { WITH_SHARD } else { 0 };
    let with_invalidity = if invalidity.is_some() { WITH_INVALIDITY } else { 0 };
    bytes.push(state | shard | with_invalidity);
    bytes.extend_from_slice(&issuer.to_be_bytes());
    let serial = entry.serial.as_bytes();
    bytes.push(serial.len() as u8);
    bytes.extend_from_slice(serial);
    bytes.extend_from_slice(&since.unix_millis().to_be_bytes());
    bytes.extend_from_slice(&entry.not_after.unix_millis().to_be_bytes());
    bytes.extend(reason.map(CrlReason::code));
    bytes.extend(entry.shard.iter().flat_map(|shard| shard.to_be_bytes()));
    bytes.extend(invalidity.iter().flat_map(|date| date.unix_millis().to_be_bytes()));
}

/// A snapshot that was read, and whose digest is right.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    place: SnapshotPlace,
    count: u64,
    bytes: &'a [u8],
}

impl<'a> Snapshot<'a> {
    /// Reads a snapshot out of the bytes of its file.
    ///
    /// # Errors
    /// When it is of another format, or not as it was written.
    pub fn open(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        if bytes.len() < HEAD + TAIL || !bytes.starts_with(MAGIC) {
            return Err(SnapshotError::Format);
        }
        let (body, digest) = bytes.split_last_chunk::<32>().ok_or(SnapshotError::Format)?;
        if *digest != <[u8; 32]>::from(Sha256::digest(body)) {
            return Err(SnapshotError::Digest);
        }
        let place = SnapshotPlace::take(&mut Cursor { bytes: body, at: MAGIC.len() })?;
        let end = body.len() - 9;
        let count = u64::from_be_bytes(Cursor { bytes: body, at: end + 1 }.take()?);
        // Room is made for so many: no more than there are octets for.
        if body[end] != END || count > ((end - HEAD) / ENTRY) as u64 {
            return Err(SnapshotError::Content(end));
        }
        Ok(Snapshot { place, count, bytes: &body[..end] })
    }

    /// Where in the feed it was taken.
    pub fn place(&self) -> SnapshotPlace {
        self.place
    }

    /// How many statuses it has.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Gives every status to `take`.
    ///
    /// # Errors
    /// [`SnapshotError::Content`], and what `take` answers; what was taken by then is to be thrown away.
    pub fn for_each<E: From<SnapshotError>>(
        &self,
        mut take: impl FnMut(&StatusEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cursor = Cursor { bytes: self.bytes, at: HEAD };
        let mut issuers: Vec<&str> = Vec::new();
        // One entry is used again and again: a name of its own for each of a million costs more than all the rest.
        let mut current: Option<(u16, StatusEntry)> = None;
        let mut count = 0;
        while cursor.at < self.bytes.len() {
            let [tag] = cursor.take()?;
            if tag == ISSUER {
                let [length] = cursor.take()?;
                let name = cursor.slice(usize::from(length))?;
                issuers.push(std::str::from_utf8(name).map_err(|_| cursor.wrong())?);
                continue;
            }
            let issuer = u16::from_be_bytes(cursor.take()?);
            let [length] = cursor.take()?;
            let serial = cursor.slice(usize::from(length))?;
            let serial = SerialNumber::from_der_content(serial).map_err(|_| cursor.wrong())?;
            let since = cursor.time()?;
            let not_after = cursor.time()?;
            let reason = match tag & 0x0f {
                3 => Some(CrlReason::from_code(cursor.take::<1>()?[0]).ok_or_else(|| cursor.wrong())?),
                _ => None,
            };
            let shard = if tag & WITH_SHARD != 0 { Some(u16::from_be_bytes(cursor.take()?)) } else { None };
            let invalidity_date = if tag & WITH_INVALIDITY != 0 { Some(cursor.time()?) } else { None };
            let status = match (tag & !(WITH_SHARD | WITH_INVALIDITY), reason) {
                (0, _) => PublishedStatus::Pending { since },
                (1, _) => PublishedStatus::Good { since },
                (2, _) => PublishedStatus::OnHold { since },
                (3, Some(reason)) => PublishedStatus::Revoked { at: since, reason, invalidity_date },
                (4, _) => PublishedStatus::Void { at: since },
                _ => return Err(cursor.wrong().into()),
            };
            let entry = match &mut current {
                Some((known, entry)) if *known == issuer => {
                    (entry.serial, entry.status, entry.not_after, entry.shard) = (serial, status, not_after, shard);
                    entry
                }
                other => {
                    let name = issuers.get(usize::from(issuer)).ok_or_else(|| cursor.wrong())?;
                    let entry = StatusEntry { issuer: (*name).to_owned(), serial, status, not_after, shard };
                    &mut other.insert((issuer, entry)).1
                }
            };
            take(entry)?;
            count += 1;
        }
        if count != self.count { Err(cursor.wrong().into()) } else { Ok(()) }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn wrong(&self) -> SnapshotError {
        SnapshotError::Content(self.at)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], SnapshotError> {
        let slice = self.bytes.get(self.at..self.at + length).ok_or_else(|| self.wrong())?;
        self.at += length;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let rest = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let taken = *rest.ok_or_else(|| self.wrong())?;
        self.at += N;
        Ok(taken)
    }

    fn time(&mut self) -> Result<Timestamp, SnapshotError> {
        Ok(Timestamp::from_unix_millis(i64::from_be_bytes(self.take()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<StatusEntry> {
        let at = Timestamp::from_unix_seconds;
        let statuses = [
            PublishedStatus::Pending { since: at(1) },
            PublishedStatus::Good { since: at(-2) },
            PublishedStatus::OnHold { since: at(3) },
            PublishedStatus::Revoked { at: at(4), reason: CrlReason::KeyCompromise, invalidity_date: Some(at(2)) },
            PublishedStatus::Revoked { at: at(5), reason: CrlReason::AaCompromise, invalidity_date: None },
            PublishedStatus::Void { at: at(6) },
        ];
        let entry = |(number, status): (usize, PublishedStatus)| StatusEntry {
            issuer: ["authentication-1", "signing-1"][number % 2].to_owned(),
            serial: SerialNumber::from_random([number as u8; 16]),
            status,
            not_after: Timestamp::MAX,
            shard: (number % 3 == 0).then_some(number as u16),
        };
        statuses.into_iter().cycle().take(12).enumerate().map(entry).collect()
    }

    fn snapshot() -> Vec<u8> {
        let mut bytes = Vec::new();
        let position = FeedPosition { epoch: 7, sequence: 9 };
        let mut writer = SnapshotWriter::new(&mut bytes, SnapshotPlace { position, mark: [3; 32] });
        entries().iter().for_each(|entry| writer.put(entry).unwrap());
        assert_eq!(writer.finish().unwrap().0, 12);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<StatusEntry>, SnapshotError> {
        let mut read = Vec::new();
        Snapshot::open(bytes)?.for_each(|entry| {
            read.push(entry.clone());
            Ok::<(), SnapshotError>(())
        })?;
        Ok(read)
    }

    #[test]
    fn every_kind_of_status_is_read_as_it_was_written() {
        let bytes = snapshot();
        let read_back = Snapshot::open(&bytes).unwrap();
        assert_eq!((read_back.len(), read_back.place().position.sequence, read_back.place().mark), (12, 9, [3; 32]));
        assert_eq!(read(&bytes).unwrap(), entries());
    }

    #[test]
    fn a_file_that_was_cut_or_changed_anywhere_is_no_snapshot() {
        let bytes = snapshot();
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn room_is_made_only_for_what_can_be_in_a_file() {
        let bytes = snapshot();
        let count = bytes.len() - 32 - 8;
        let with_count = |number: u64| {
            let mut changed = bytes[..bytes.len() - 32].to_vec();
            changed[count..].copy_from_slice(&number.to_be_bytes());
            changed.extend(Sha256::digest(&changed));
            Snapshot::open(&changed).map(|snapshot| snapshot.len())
        };
        assert_eq!(with_count(12), Ok(12));
        assert!(matches!(with_count(u64::MAX), Err(SnapshotError::Content(_))));
        assert!(matches!(with_count(bytes.len() as u64 / 20), Err(SnapshotError::Content(_))));
    }

    #[test]
    fn content_that_makes_no_sense_is_an_error_though_the_digest_is_right() {
        let bytes = snapshot();
        for place in HEAD..bytes.len() - 32 {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut changed = bytes[..bytes.len() - 32].to_vec();
                changed[place] = value;
                changed.extend(Sha256::digest(&changed));
                // What is read may differ; it is never a panic, and never more than was written.
                assert!(read(&changed).is_ok_and(|entries| entries.len() == 12) || read(&changed).is_err());
            }
        }
    }
}
