//! The check of everything: each entry is read and compared with the counters and the sum that the last commit left.
//!
//! It is made before the store is used, or beside its use, page by page. Commits that become visible meanwhile change
//! what was read already; the committer tells which ([`Progress::follow`]), so that the sum is compared at exactly one
//! commit, as that of a store that stands still would be.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::PoisonError;

use sled::IVec;

use super::committer::{Shared, lock};
use super::layout::{self, AUDIT, ContentSum, FEED, STATE_KEY, State};
use super::view::{Before, guarded, sled_error};
use crate::error::Error;

/// How many entries are read at a time while the store is in use; no commit becomes visible during one page.
const PAGE: usize = 256;
/// Above every key of the layout.
const END: [u8; 1] = [0xff];

/// What was read so far, and what it adds up to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: u64,
    feed: u64,
    audit: u64,
    sum: ContentSum,
}

impl Tally {
    fn take(&mut self, dir: &Path, key: &[u8], entry: &[u8]) -> Result<(), Error> {
        if key == STATE_KEY {
            return Ok(());
        }
        self.entries += 1;
        self.sum.add(key, entry);
        match key.first() {
            Some(&FEED) => {
                self.feed += 1;
                if layout::split_numbered_key(key) != Some(self.feed) {
                    return Err(damaged(dir, format!("feed entry {} is missing", self.feed)));
                }
            }
            Some(&AUDIT) => {
                if layout::split_numbered_key(key) != Some(self.audit) {
                    return Err(damaged(dir, format!("audit record {} is missing", self.audit)));
                }
                self.audit += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn compare_sum(&self, dir: &Path, state: State) -> Result<u64, Error> {
        if self.sum != state.sum {
            return Err(damaged(dir, format!("its {} entries are not those that were written", self.entries)));
        }
        Ok(self.entries)
    }
}

fn damaged(dir: &Path, detail: String) -> Error {
    Error::Damaged { dir: dir.to_owned(), detail }
}

/// Reads everything of a store that nobody writes to. Returns the number of entries.
pub(super) fn check_all(dir: &Path, tree: &sled::Tree, state: State) -> Result<u64, Error> {
    let mut tally = Tally::default();
    for entry in tree.iter() {
        let (key, value) = entry.map_err(|e| sled_error(dir, e))?;
        tally.take(dir, &key, &value)?;
    }
    if tally.feed != state.feed {
        return Err(damaged(dir, format!("the feed ends with {} instead of {}", tally.feed, state.feed)));
    }
    if tally.audit != state.audit {
        return Err(damaged(dir, format!("there are {} audit records instead of {}", tally.audit, state.audit)));
    }
    tally.compare_sum(dir, state)
}

/// A check beside the use of the store.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last key that was read; entries up to it are in the tally.
    cursor: Option<Vec<u8>>,
    tally: Tally,
}

impl Progress {
    /// A group becomes visible: what it changed of that which was read already.
    pub(super) fn follow(&mut self, before: &Before, changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
        let Some(cursor) = &self.cursor else { return };
        for (key, change) in changes.range(..=cursor.clone()) {
            if let Some(Some(old)) = before.get(key) {
                self.tally.sum.remove(key, old);
            }
            if let Some(new) = change {
                self.tally.sum.add(key, new);
            }
        }
    }
}

/// While this lives, the committer tells the check what changes.
struct Following<'a>(&'a Shared);

impl<'a> Following<'a> {
    fn begin(shared: &'a Shared) -> Option<Following<'a>> {
        let _view = shared.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut checking = lock(&shared.checking);
        if checking.is_some() {
            return None;
        }
        *checking = Some(Progress::default());
        Some(Following(shared))
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        *lock(&self.0.checking) = None;
    }
}

/// Reads everything while commits go on. `go_on` is asked after each page, with the number of entries so far. Returns
/// the number of entries; `None` if it was told to stop, or another check is under way.
pub(super) fn check_beside(shared: &Shared, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Option<u64>, Error> {
    let Some(_following) = Following::begin(shared) else { return Ok(None) };
    loop {
        let (entries, whole) = guarded(&shared.dir, || page(shared))?;
        if whole {
            return Ok(Some(entries));
        }
        if !go_on(entries) {
            return Ok(None);
        }
    }
}

/// Reads a page. Returns how many entries were read so far, and whether that is everything.
fn page(shared: &Shared) -> Result<(u64, bool), Error> {
    let reader = shared.reader();
    let mut checking = lock(&shared.checking);
    let Some(progress) = &mut *checking else { return Ok((0, false)) };
    let from = progress.cursor.take().map_or(Bound::Included(Vec::new()), Bound::Excluded);
    let mut last: Option<IVec> = None;
    let mut left = PAGE;
    for entry in reader.scan(from, END.to_vec()) {
        let (key, value) = entry?;
        progress.tally.take(&shared.dir, &key, &value)?;
        last = Some(key);
        left -= 1;
        if left == 0 {
            break;
        }
    }
    if left > 0 {
        let entries = progress.tally.compare_sum(&shared.dir, reader.view.state)?;
        return Ok((entries, true));
    }
    progress.cursor = last.map(|key| key.to_vec());
    Ok((progress.tally.entries, false))
}
