//! Reading what is on disk: whole, or why not. Nothing is changed here.

use std::fs;
use std::io;
use std::path::Path;

use pki::Timestamp;
use pki::feed::{Origin, StatusEntry};

use super::error::{Refusal, ReplicaDirError};
use super::seen::{self, Seen};
use super::tail::{Tail, TailError};
use super::{SNAPSHOT, TAIL, TAIL_NEW};
use crate::Responder;
use crate::snapshot::{Snapshot, SnapshotPlace};

/// What a directory has.
#[derive(Debug)]
pub enum Reading {
    /// No replica.
    Nothing,
    /// One that is whole, of this feed, and not older than what was seen.
    Whole(Box<Loaded>),
    /// One that is not to be used.
    Refused(Refusal),
}

/// A replica that was read.
#[derive(Debug)]
pub struct Loaded {
    pub(super) tail: Tail,
    /// The tail has not taken its place yet.
    pub(super) tail_is_new: bool,
    snapshot: Vec<u8>,
    entries: Vec<StatusEntry>,
    as_of: Option<Timestamp>,
}

impl Loaded {
    /// The place in the feed up to which it goes.
    pub fn place(&self) -> SnapshotPlace {
        self.tail.place()
    }

    /// The last heartbeat: what answers say is not newer than this until the next one comes.
    pub fn as_of(&self) -> Option<Timestamp> {
        self.as_of
    }

    /// How many entries came after the snapshot.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Gives it all to a responder, and returns how many certificates it has. Without a heartbeat, answers are withheld
    /// until one comes.
    ///
    /// # Errors
    /// [`ReplicaDirError::Snapshot`] when the snapshot was written wrongly, [`ReplicaDirError::Responder`] when the
    /// responder knows more already.
    pub fn fill(&self, responder: &Responder) -> Result<usize, ReplicaDirError> {
        let snapshot = Snapshot::open(&self.snapshot)?;
        let certificates = usize::try_from(snapshot.len()).unwrap_or_default();
        let mut filling = responder.replica().filling(certificates);
        snapshot.for_each(|entry| filling.take(entry).map_err(ReplicaDirError::from))?;
        self.entries.iter().try_for_each(|entry| filling.take(entry))?;
        Ok(responder.put_in_place(filling, self.place().position, self.as_of.unwrap_or(Timestamp::EPOCH))?)
    }
}

/// What was read, and what was seen of this feed.
pub(super) struct Found {
    pub(super) reading: Reading,
    pub(super) seen: Seen,
    /// What was seen was of another feed.
    pub(super) seen_is_foreign: bool,
}

/// Reads a directory. Its files may be those of a running responder: then what is read may be a moment that is past.
pub(super) fn read(dir: &Path, origin: Origin) -> Found {
    let whole = try_read(dir, origin);
    // One that cannot be read is as good as none.
    let any = seen::read(dir).ok().flatten().map(|(_, seen)| seen);
    let seen = any.filter(|seen| seen.origin == origin);
    let reading = match (whole, seen) {
        (Ok(None), _) => Reading::Nothing,
        (Err(refusal), _) => Reading::Refused(refusal),
        (Ok(Some(_)), None) => Reading::Refused(Refusal::NothingSeen),
        (Ok(Some(loaded)), Some(seen)) if loaded.place().position < seen.place.position => {
            Reading::Refused(Refusal::Older { have: loaded.place().position, seen: seen.place.position })
        }
        (Ok(Some(mut loaded)), Some(seen)) => {
            // A heartbeat of before a restore says nothing about the feed since.
            loaded.as_of = seen.as_of.filter(|_| seen.place.position.epoch == loaded.place().position.epoch);
            Reading::Whole(loaded)
        }
    };
    let seen_is_foreign = any.is_some() && seen.is_none();
    Found { reading, seen: seen.unwrap_or(Seen::nothing(origin)), seen_is_foreign }
}

fn try_read(dir: &Path, origin: Origin) -> Result<Option<Box<Loaded>>, Refusal> {
    let file = |name: &'static str| match fs::read(dir.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Refusal::Damaged { file: name, cause: error.to_string() }),
    };
    let (snapshot, tail, tail_new) = (file(SNAPSHOT)?, file(TAIL)?, file(TAIL_NEW)?);
    let Some(snapshot) = snapshot else {
        return if tail.is_some() { Err(Refusal::Incomplete) } else { Ok(None) };
    };
    let damaged = |file, cause: &dyn std::fmt::Display| Refusal::Damaged { file, cause: cause.to_string() };
    let opened = Snapshot::open(&snapshot).map_err(|error| damaged(SNAPSHOT, &error))?;
    let (digest, place) = (super::digest(&snapshot), opened.place());

    let continues = |bytes: &[u8]| -> Result<Option<(Tail, Vec<StatusEntry>)>, Refusal> {
        let mut entries = Vec::new();
        let taken: Result<Tail, TailError> = Tail::read(bytes, |_, entry, _| {
            entries.push(entry);
            Ok(())
        });
        let tail = taken.map_err(|error| damaged(TAIL, &error))?;
        if tail.head.origin != origin {
            return Err(Refusal::Foreign { wanted: origin, is: tail.head.origin });
        }
        Ok((tail.head.snapshot == digest && tail.head.place == place).then_some((tail, entries)))
    };
    let found = match tail.as_deref().map(continues).transpose()?.flatten() {
        Some(found) => Some((found, false)),
        // The process died between the two renames: the second is made up for.
        None => tail_new.as_deref().map(continues).transpose()?.flatten().map(|found| (found, true)),
    };
    let ((tail, entries), tail_is_new) = found.ok_or(Refusal::Incomplete)?;
    Ok(Some(Box::new(Loaded { tail, tail_is_new, snapshot, entries, as_of: None })))
}
