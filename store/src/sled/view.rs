//! What readers see: the tree as of the last durable commit.
//!
//! A group of commits is in sled's tree before it is durable. Until it is, readers are shown what the keys it touches
//! held before; if it never becomes durable, they are shown that to the end. A reader keeps its [`Reader`] for one
//! page, during which no group can become visible.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::RwLockReadGuard;

use sled::IVec;

use super::layout::{self, Head, State};
use crate::error::Error;

/// What keys held before the group that is being written; `None` where they were absent.
pub(super) type Before = BTreeMap<Vec<u8>, Option<IVec>>;

/// The durable state, and what hides the rest.
#[derive(Debug)]
pub(super) struct View {
    /// What is shown instead of the tree.
    pub before: Before,
    /// The counters of the last durable commit.
    pub state: State,
}

/// Turns what sled answers into what this crate answers.
pub(super) fn sled_error(dir: &Path, error: sled::Error) -> Error {
    match error {
        sled::Error::Corruption { at, .. } => {
            let detail = at.map_or("corrupted data in the log".into(), |at| format!("corrupted data at {at:?}"));
            Error::Damaged { dir: dir.to_owned(), detail }
        }
        sled::Error::Io(source) => Error::Io { action: "use the store's files in", path: dir.to_owned(), source },
        other => Error::Backend { dir: dir.to_owned(), detail: other.to_string() },
    }
}

/// Runs something that may make sled panic over damaged data, and turns that into [`Error::Damaged`].
pub(super) fn guarded<T>(dir: &Path, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let detail = format!("sled stopped over it: {}", panic_text(panic.as_ref()));
        Err(Error::Damaged { dir: dir.to_owned(), detail })
    })
}

/// The message of a panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

/// Access to one unchanging state of the store.
pub(super) struct Reader<'a> {
    pub dir: &'a Path,
    pub tree: &'a sled::Tree,
    pub view: RwLockReadGuard<'a, View>,
}

impl Reader<'_> {
    fn entry(&self, key: &[u8]) -> Result<Option<IVec>, Error> {
        match self.view.before.get(key) {
            Some(before) => Ok(before.clone()),
            None => self.tree.get(key).map_err(|e| sled_error(self.dir, e)),
        }
    }

    /// The value whose owner has that key, put together.
    pub(super) fn value(&self, owner: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.entry(owner)? {
            Some(entry) => self.whole(owner, &entry).map(Some),
            None => Ok(None),
        }
    }

    /// The value whose owner's entry was read already.
    pub(super) fn whole(&self, owner: &[u8], entry: &[u8]) -> Result<Vec<u8>, Error> {
        whole_value(self.dir, owner, entry, |key| self.entry(key))
    }

    /// The entries from `from` to `to` (exclusive), in order.
    pub(super) fn scan(&self, from: Bound<Vec<u8>>, to: Vec<u8>) -> impl Iterator<Item = Result<(IVec, IVec), Error>> {
        let empty = match &from {
            Bound::Included(from) | Bound::Excluded(from) => *from >= to,
            Bound::Unbounded => to.is_empty(),
        };
        // An empty range is spelt in a way that no map refuses.
        let bounds = if empty {
            (Bound::Included(Vec::new()), Bound::Excluded(Vec::new()))
        } else {
            (from, Bound::Excluded(to))
        };
        let tree = self.tree.range::<Vec<u8>, _>(bounds.clone());
        Merged { dir: self.dir, tree: tree.peekable(), before: self.view.before.range(bounds).peekable() }
    }
}

/// Puts a value together from its owner's entry and its pieces.
pub(super) fn whole_value(
    dir: &Path,
    owner: &[u8],
    entry: &[u8],
    read: impl Fn(&[u8]) -> Result<Option<IVec>, Error>,
) -> Result<Vec<u8>, Error> {
    let damaged = || Error::Damaged { dir: dir.to_owned(), detail: format!("the value of {owner:02x?} is incomplete") };
    match layout::head(entry).ok_or_else(damaged)? {
        Head::Whole(value) => Ok(value.to_vec()),
        Head::InPieces { length, pieces } => {
            let mut value = Vec::with_capacity(length);
            for number in 0..pieces {
                value.extend_from_slice(&read(&layout::piece_key(owner, number))?.ok_or_else(damaged)?);
            }
            if value.len() == length { Ok(value) } else { Err(damaged()) }
        }
    }
}

struct Merged<'a, T: Iterator, B: Iterator> {
    dir: &'a Path,
    tree: Peekable<T>,
    before: Peekable<B>,
}

impl<'v, T, B> Iterator for Merged<'_, T, B>
where
    T: Iterator<Item = sled::Result<(IVec, IVec)>>,
    B: Iterator<Item = (&'v Vec<u8>, &'v Option<IVec>)>,
{
    type Item = Result<(IVec, IVec), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.tree.peek(), self.before.peek()) {
                (Some(Ok((key, _))), Some((before, _))) => key.as_ref().cmp(before.as_slice()),
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(_), _) => std::cmp::Ordering::Less,
                (None, None) => return None,
            };
            if order.is_le() {
                let entry = self.tree.next()?;
                if order.is_lt() {
                    return Some(entry.map_err(|e| sled_error(self.dir, e)));
                }
            }
            if let (key, Some(entry)) = self.before.next()? {
                return Some(Ok((IVec::from(key.as_slice()), entry.clone())));
            }
        }
    }
}
