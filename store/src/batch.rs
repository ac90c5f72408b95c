//! What is committed: the [`Batch`], its parts and the limits that keep every write small enough for the backends.

use std::collections::BTreeSet;

use crate::error::Error;

/// Longest name of a [`Table`] or [`Index`], in bytes.
pub const MAX_NAME: usize = 32;
/// Longest key of a row, in bytes. Longer natural keys are to be hashed by the caller.
pub const MAX_KEY: usize = 192;
/// Longest index term, in bytes.
pub const MAX_TERM: usize = 192;
/// Most index terms of one row.
pub const MAX_TERMS: usize = 64;
/// Longest value of a row, in bytes.
pub const MAX_VALUE: usize = 4 << 20;
/// Longest audit record, feed entry or outbox entry, in bytes.
pub const MAX_ENTRY: usize = 64 << 10;
/// Largest batch: the sum of everything in it, in bytes.
pub const MAX_BATCH: usize = 16 << 20;

/// A set of rows with keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(&'static str);

impl Table {
    /// The table of that name; the name is what is stored.
    ///
    /// # Panics
    /// If the name is empty or longer than [`MAX_NAME`] bytes, at compile time when used for a constant.
    pub const fn new(name: &'static str) -> Table {
        assert!(!name.is_empty() && name.len() <= MAX_NAME, "a table's name has 1 to 32 bytes");
        Table(name)
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// A way to find rows by something else than their key. One index may cover several tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(&'static str);

impl Index {
    /// The index of that name; the name is what is stored.
    ///
    /// # Panics
    /// If the name is empty or longer than [`MAX_NAME`] bytes, at compile time when used for a constant.
    pub const fn new(name: &'static str) -> Index {
        assert!(!name.is_empty() && name.len() <= MAX_NAME, "an index's name has 1 to 32 bytes");
        Index(name)
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// One entry under which a row is found in an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// The index.
    pub index: Index,
    /// The term; terms sort as bytes, a prefix before what it begins.
    pub term: Vec<u8>,
}

impl Term {
    /// A term of an index.
    pub fn new(index: Index, term: impl Into<Vec<u8>>) -> Term {
        Term { index, term: term.into() }
    }
}

/// What has to hold for a batch to be applied. Rows that no expectation names are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// No row has that key.
    Absent {
        /// The table of the row.
        table: Table,
        /// The key of the row.
        key: Vec<u8>,
    },
    /// The row is there in exactly that version.
    Version {
        /// The table of the row.
        table: Table,
        /// The key of the row.
        key: Vec<u8>,
        /// The version that [`crate::Row::version`] showed.
        version: u64,
    },
}

/// A row to be written or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The table of the row.
    pub table: Table,
    /// The key of the row, at most [`MAX_KEY`] bytes.
    pub key: Vec<u8>,
    /// The new value, at most [`MAX_VALUE`] bytes; `None` deletes the row (which need not be there).
    pub value: Option<Vec<u8>>,
    /// All terms under which the row is found from now on; earlier ones that are not listed go. None for a deletion.
    pub terms: Vec<Term>,
}

/// One commit: applied whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// When it happens, in milliseconds since 1970; [`crate::Store::high_water`] keeps the greatest one.
    pub at: i64,
    /// What has to hold.
    pub expect: Vec<Expect>,
    /// Rows, each at most once.
    pub put: Vec<Put>,
    /// Audit records, numbered without a gap in this order.
    pub audit: Vec<Vec<u8>>,
    /// Status-feed entries, numbered without a gap in this order.
    pub feed: Vec<Vec<u8>>,
    /// Things to be delivered later, kept until done.
    pub outbox: Vec<Vec<u8>>,
    /// Outbox entries that are done and go. One that is gone already is no error.
    pub outbox_done: Vec<u64>,
}

impl Batch {
    /// An empty batch that happens at `at` (milliseconds since 1970).
    pub fn new(at: i64) -> Batch {
        Batch { at, ..Batch::default() }
    }

    /// Checks the limits and that no row is written twice. Returns the size in bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::InvalidBatch`].
    pub fn validate(&self) -> Result<usize, Error> {
        let mut size = 0;
        let mut measure = |what, length: usize, limit| {
            size += length;
            if length > limit { Err(Error::TooLarge { what, size: length, limit }) } else { Ok(()) }
        };
        for expect in &self.expect {
            let (Expect::Absent { key, .. } | Expect::Version { key, .. }) = expect;
            measure("the key of an expected row", key.len(), MAX_KEY)?;
        }
        let mut rows = BTreeSet::new();
        for put in &self.put {
            measure("the key of a row", put.key.len(), MAX_KEY)?;
            measure("the value of a row", put.value.as_ref().map_or(0, Vec::len), MAX_VALUE)?;
            if put.terms.len() > MAX_TERMS {
                return Err(Error::TooLarge { what: "the terms of a row", size: put.terms.len(), limit: MAX_TERMS });
            }
            for term in &put.terms {
                measure("an index term", term.term.len(), MAX_TERM)?;
            }
            if put.value.is_none() && !put.terms.is_empty() {
                let reason = format!("a row of table {} is deleted and given index terms", put.table.name());
                return Err(Error::InvalidBatch { reason });
            }
            if !rows.insert((put.table, put.key.as_slice())) {
                let reason = format!("a row of table {} is written twice", put.table.name());
                return Err(Error::InvalidBatch { reason });
            }
        }
        for (what, entries) in
            [("an audit record", &self.audit), ("a feed entry", &self.feed), ("an outbox entry", &self.outbox)]
        {
            for entry in entries {
                // What a numbered entry costs beside its bytes keeps a batch of countless empty ones finite.
                measure(what, entry.len(), MAX_ENTRY)?;
                measure(what, 16, MAX_ENTRY)?;
            }
        }
        measure("the list of outbox entries that are done", self.outbox_done.len() * 16, MAX_BATCH)?;
        if size > MAX_BATCH {
            return Err(Error::TooLarge { what: "the batch", size, limit: MAX_BATCH });
        }
        Ok(size)
    }
}
