//! A group of commits as it is put together: what it writes, and what was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use sled::IVec;
use sled::transaction::{ConflictableTransactionError, TransactionError};

use super::layout::{self, AUDIT, Envelope, FEED, Head, OUTBOX, State};
use super::view::{Before, sled_error, whole_value};
use crate::batch::{Batch, Expect, Put, Table};
use crate::error::Error;
use crate::store::{Committed, Position};

type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Batches that become durable together.
pub(super) struct Group<'a> {
    dir: &'a Path,
    tree: &'a sled::Tree,
    /// What the group writes.
    pub changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// What the changed keys hold in the tree.
    pub before: Before,
    /// The owners of all values that change, for a backup that is being made.
    pub touched: BTreeSet<Vec<u8>>,
    /// The counters after the group.
    pub state: State,
}

impl<'a> Group<'a> {
    pub(super) fn new(dir: &'a Path, tree: &'a sled::Tree, state: State) -> Group<'a> {
        Group { dir, tree, changes: BTreeMap::new(), before: Before::new(), touched: BTreeSet::new(), state }
    }

    fn entry(&self, key: &[u8]) -> Result<Option<IVec>, Error> {
        match self.changes.get(key) {
            Some(change) => Ok(change.as_deref().map(IVec::from)),
            None => self.tree.get(key).map_err(|e| sled_error(self.dir, e)),
        }
    }

    fn value(&self, owner: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.entry(owner)? {
            Some(entry) => whole_value(self.dir, owner, &entry, |key| self.entry(key)).map(Some),
            None => Ok(None),
        }
    }

    fn envelope<'v>(&self, owner: &[u8], value: &'v [u8]) -> Result<Envelope<'v>, Error> {
        Envelope::decode(value).ok_or_else(|| Error::Damaged {
            dir: self.dir.to_owned(),
            detail: format!("the row {owner:02x?} cannot be read"),
        })
    }

    /// Takes a batch in, or refuses it alone.
    pub(super) fn stage(&mut self, batch: &Batch) -> Result<Committed, Error> {
        for expect in &batch.expect {
            self.check(expect)?;
        }
        let before = self.state;
        let mut state = before;
        state.commit += 1;
        state.high_water = state.high_water.max(batch.at);
        let mut writes = Writes::new();
        for put in &batch.put {
            self.stage_put(&mut writes, put, state.commit)?;
        }
        for bytes in &batch.feed {
            state.feed += 1;
            self.set(&mut writes, layout::numbered_key(FEED, state.feed), Some(bytes))?;
        }
        for bytes in &batch.audit {
            self.set(&mut writes, layout::numbered_key(AUDIT, state.audit), Some(bytes))?;
            state.audit += 1;
        }
        for bytes in &batch.outbox {
            state.outbox += 1;
            self.set(&mut writes, layout::numbered_key(OUTBOX, state.outbox), Some(bytes))?;
        }
        for id in batch.outbox_done.iter().filter(|id| **id <= before.outbox) {
            self.set(&mut writes, layout::numbered_key(OUTBOX, *id), None)?;
        }
        self.take(writes, state)?;
        Ok(Committed {
            version: state.commit,
            feed: numbers(before.feed + 1, state.feed + 1),
            audit: numbers(before.audit, state.audit),
            outbox: numbers(before.outbox + 1, state.outbox + 1),
            position: Position { epoch: state.epoch, sequence: state.feed },
        })
    }

    fn check(&self, expect: &Expect) -> Result<(), Error> {
        let version = |table: Table, key: &[u8]| -> Result<Option<u64>, Error> {
            let owner = layout::row_key(table.name(), key);
            let value = self.value(&owner)?;
            value.map(|value| Ok(self.envelope(&owner, &value)?.version)).transpose()
        };
        let (table, key, holds) = match expect {
            Expect::Absent { table, key } => (table, key, version(*table, key)?.is_none()),
            Expect::Version { table, key, version: expected } => (table, key, version(*table, key)? == Some(*expected)),
        };
        if holds { Ok(()) } else { Err(Error::Conflict { table: *table, key: key.clone() }) }
    }

    fn stage_put(&self, writes: &mut Writes, put: &Put, version: u64) -> Result<(), Error> {
        let terms: Vec<_> = put.terms.iter().map(|term| (term.index.name(), term.term.as_slice())).collect();
        match &put.value {
            Some(value) => {
                let envelope = Envelope { version, terms, value };
                self.stage_row(writes, put.table.name(), &put.key, Some(envelope))
            }
            None => self.stage_row(writes, put.table.name(), &put.key, None),
        }
    }

    fn stage_row(
        &self,
        writes: &mut Writes,
        table: &str,
        key: &[u8],
        envelope: Option<Envelope<'_>>,
    ) -> Result<(), Error> {
        let owner = layout::row_key(table, key);
        if let Some(old) = self.value(&owner)? {
            for (index, term) in self.envelope(&owner, &old)?.terms {
                writes.push((layout::index_key(index, term, table, key), None));
            }
        }
        for (index, term) in envelope.iter().flat_map(|envelope| &envelope.terms) {
            writes.push((layout::index_key(index, term, table, key), Some(Vec::new())));
        }
        self.set(writes, owner, envelope.map(|envelope| envelope.encode()).as_deref())
    }

    /// Writes or removes a value with all its pieces.
    fn set(&self, writes: &mut Writes, owner: Vec<u8>, value: Option<&[u8]>) -> Result<(), Error> {
        let old = self.entry(&owner)?;
        if let Some(Head::InPieces { pieces, .. }) = old.as_deref().and_then(layout::head) {
            writes.extend((0..pieces).map(|number| (layout::piece_key(&owner, number), None)));
        }
        match value {
            Some(value) => {
                writes.extend(layout::entries_of(&owner, value).into_iter().map(|(key, entry)| (key, Some(entry))));
            }
            None => writes.push((owner, None)),
        }
        Ok(())
    }

    /// Makes the writes part of the group; later ones of the same key count, and what stays as it is does not.
    fn take(&mut self, writes: Writes, state: State) -> Result<(), Error> {
        let mut last: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        last.extend(writes);
        let mut sum = self.state.sum;
        let mut changes = Vec::with_capacity(last.len());
        for (key, entry) in last {
            let old = self.entry(&key)?;
            // Most index terms of a row outlive its change.
            if old.as_deref() == entry.as_deref() {
                continue;
            }
            if let Some(old) = &old {
                sum.remove(&key, old);
            }
            if let Some(entry) = &entry {
                sum.add(&key, entry);
            }
            changes.push((key, entry, old));
        }
        // From here on nothing can fail, so that a batch is never taken in half.
        for (key, entry, old) in changes {
            if matches!(key[0], layout::ROW | FEED | AUDIT | OUTBOX) {
                self.touched.insert(key.clone());
            }
            self.before.entry(key.clone()).or_insert(old);
            self.changes.insert(key, entry);
        }
        self.state = State { sum, ..state };
        Ok(())
    }

    /// Takes in a row out of a backup.
    pub(super) fn restore_row(&mut self, table: &str, key: &[u8], envelope: Option<Envelope<'_>>) -> Result<(), Error> {
        let mut writes = Writes::new();
        self.stage_row(&mut writes, table, key, envelope)?;
        self.take(writes, self.state)
    }

    /// Takes in a feed, audit or outbox entry out of a backup.
    pub(super) fn restore_entry(&mut self, kind: u8, number: u64, bytes: Option<&[u8]>) -> Result<(), Error> {
        let mut writes = Writes::new();
        self.set(&mut writes, layout::numbered_key(kind, number), bytes)?;
        self.take(writes, self.state)
    }

    /// How many entries change.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Puts the group into the tree, in one transaction. It is not durable yet.
    pub(super) fn apply(&self) -> Result<State, Error> {
        let mut writes = sled::Batch::default();
        for (key, entry) in &self.changes {
            match entry {
                Some(entry) => writes.insert(key.as_slice(), entry.as_slice()),
                None => writes.remove(key.as_slice()),
            }
        }
        writes.insert(layout::STATE_KEY, self.state.entry());
        let applied = self.tree.transaction(|tree| {
            tree.apply_batch(&writes)?;
            Ok::<(), ConflictableTransactionError<()>>(())
        });
        match applied {
            Ok(()) => self.settle().map(|()| self.state),
            Err(TransactionError::Storage(e)) => Err(sled_error(self.dir, e)),
            Err(TransactionError::Abort(())) => {
                Err(Error::Backend { dir: self.dir.to_owned(), detail: "the transaction was given up".into() })
            }
        }
    }

    /// sled splits and merges nodes when somebody comes by, reading or not, and that writes. It is made to do so now,
    /// so that the group's flush covers it and no read has to write later, when the medium may have failed.
    fn settle(&self) -> Result<(), Error> {
        let keys = self.changes.keys().map(Vec::as_slice).chain([layout::STATE_KEY]);
        for key in keys {
            self.tree.get(key).map_err(|e| sled_error(self.dir, e))?;
        }
        Ok(())
    }
}

/// The numbers from `first` up to, but not including, `end`, if there are any.
fn numbers(first: u64, end: u64) -> Option<RangeInclusive<u64>> {
    (first < end).then(|| first..=end - 1)
}
