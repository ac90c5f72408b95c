//! Copying a store out while it runs.
//!
//! Everything is read in pages while commits go on, and the committer notes what changes meanwhile. That is written
//! again in rounds until little is left; the last round is read while no group can become visible, and with it the
//! counters: the backup shows exactly that commit.

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Bound;
use std::sync::PoisonError;

use super::committer::{Shared, lock};
use super::layout::{self, AUDIT, Envelope, FEED, OUTBOX, ROW};
use super::view::{Reader, guarded};
use crate::backup::{BackupSummary, BackupWriter, Frame};
use crate::error::Error;

/// How many values are read at a time; commits become visible in between.
const PAGE: usize = 256;
/// A page ends early at this size, in bytes.
const PAGE_BYTES: usize = 4 << 20;
/// So few values may be left for the last round.
const FEW: usize = 256;
/// After so many rounds the last one is made, however much is left.
const ROUNDS: usize = 16;

/// While this lives, the committer notes what changes.
struct Noting<'a>(&'a Shared);

impl<'a> Noting<'a> {
    fn begin(shared: &'a Shared) -> Result<Noting<'a>, Error> {
        // No group becomes visible unnoted between here and the first page.
        let _view = shared.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut touched = lock(&shared.touched);
        if touched.is_some() {
            return Err(Error::BackupRunning);
        }
        *touched = Some(BTreeSet::new());
        Ok(Noting(shared))
    }

    fn few_left(&self) -> bool {
        lock(&self.0.touched).as_ref().is_none_or(|touched| touched.len() <= FEW)
    }

    fn take(&self) -> BTreeSet<Vec<u8>> {
        lock(&self.0.touched).as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        *lock(&self.0.touched) = None;
    }
}

/// Writes a backup of the store.
pub(super) fn write(
    shared: &Shared,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<BackupSummary, Error> {
    let noting = Noting::begin(shared)?;
    let mut writer = BackupWriter::new(out)?;
    let mut put = |frames: Vec<Frame>, writer: &mut BackupWriter<'_>| -> Result<(), Error> {
        for frame in frames {
            progress(writer.frame(&frame)?);
        }
        Ok(())
    };
    for kind in [ROW, FEED, AUDIT, OUTBOX] {
        let mut after = Bound::Included(vec![kind]);
        loop {
            let (frames, last) = guarded(&shared.dir, || page(&shared.reader(), kind, after))?;
            put(frames, &mut writer)?;
            match last {
                Some(last) => after = Bound::Excluded(last),
                None => break,
            }
        }
    }
    for _ in 0..ROUNDS {
        if noting.few_left() {
            break;
        }
        let touched: Vec<_> = noting.take().into_iter().collect();
        for keys in touched.chunks(PAGE) {
            put(guarded(&shared.dir, || again(&shared.reader(), keys))?, &mut writer)?;
        }
    }
    let (frames, state) = guarded(&shared.dir, || {
        let reader = shared.reader();
        let touched: Vec<_> = noting.take().into_iter().collect();
        Ok((again(&reader, &touched)?, reader.view.state))
    })?;
    put(frames, &mut writer)?;
    let summary = writer.finish(state)?;
    progress(summary.bytes);
    Ok(summary)
}

/// A page of values of a kind, and the key after which the next one begins.
fn page(reader: &Reader<'_>, kind: u8, after: Bound<Vec<u8>>) -> Result<(Vec<Frame>, Option<Vec<u8>>), Error> {
    let mut frames = Vec::new();
    let mut size = 0;
    for entry in reader.scan(after, layout::after_prefix(&[kind])) {
        let (owner, entry) = entry?;
        let value = reader.whole(&owner, &entry)?;
        size += value.len();
        frames.push(frame(reader, &owner, Some(value))?);
        if frames.len() == PAGE || size >= PAGE_BYTES {
            return Ok((frames, Some(owner.to_vec())));
        }
    }
    Ok((frames, None))
}

/// What the touched keys hold now.
fn again(reader: &Reader<'_>, owners: &[Vec<u8>]) -> Result<Vec<Frame>, Error> {
    owners.iter().map(|owner| frame(reader, owner, reader.value(owner)?)).collect()
}

fn frame(reader: &Reader<'_>, owner: &[u8], value: Option<Vec<u8>>) -> Result<Frame, Error> {
    let read = || -> Option<Frame> {
        if let Some((table, key)) = layout::split_row_key(owner) {
            let (table, key) = (table.to_owned(), key.to_vec());
            let Some(value) = value else { return Some(Frame::RowGone { table, key }) };
            let Envelope { version, terms, value } = Envelope::decode(&value)?;
            let terms = terms.into_iter().map(|(index, term)| (index.to_owned(), term.to_vec())).collect();
            return Some(Frame::Row { table, key, version, terms, value: value.to_vec() });
        }
        let number = layout::split_numbered_key(owner)?;
        match (*owner.first()?, value) {
            (FEED, Some(bytes)) => Some(Frame::Feed(number, bytes)),
            (AUDIT, Some(bytes)) => Some(Frame::Audit(number, bytes)),
            (OUTBOX, Some(bytes)) => Some(Frame::Outbox(number, bytes)),
            (OUTBOX, None) => Some(Frame::OutboxGone(number)),
            _ => None,
        }
    };
    read().ok_or_else(|| Error::Damaged {
        dir: reader.dir.to_owned(),
        detail: format!("the value of {owner:02x?} cannot be read"),
    })
}
