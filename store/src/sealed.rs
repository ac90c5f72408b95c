//! A store that keeps the values of some tables encrypted, in front of any other store.
//!
//! What is sealed is what whoever holds the files must not read: people's names. Keys of rows, index terms, feed and
//! audit records pass through as they are, and so does everything in the other tables.
//!
//! ```text
//! FF 01  data key's number (4 bytes)  nonce (12)  ciphertext  tag (16)
//! ```
//!
//! AES-256-GCM (NIST SP 800-38D). Each row has an AES key of its own, HMAC-SHA-256 of its table and key under the data
//! key, so that the bound on random nonces under one key holds for each row by itself. Table, key and the data key's
//! number are authenticated too: a value that is moved to another row is refused.
//!
//! A value without the first byte was written before the table was sealed. It is read as it is, and sealed when it is
//! written next; [`SealedStore::reseal`] does that for what nobody writes. `FF` is no schema of a record.
//!
//! Where data keys come from, and what they are encrypted with, is the business of the rooms above.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::backup::BackupSummary;
use crate::batch::{Batch, Index, MAX_VALUE, Table};
use crate::error::Error;
use crate::record::{Record, decode};
use crate::store::{Committed, Cursor, IndexPage, Position, Row, Store};

const SEALED: u8 = 0xff;
const FORMAT: u8 = 1;
const HEADER: usize = 2 + 4 + NONCE_LEN;
const TAG: usize = 16;
/// How much longer a value is when it is sealed, in bytes.
pub const OVERHEAD: usize = HEADER + TAG;
/// How often a row is read anew that others write meanwhile.
const ATTEMPTS: usize = 16;

/// The number of a data key, never used twice in one deployment.
pub type DataKeyNumber = u32;

/// A key that values are sealed with.
pub struct DataKey {
    number: DataKeyNumber,
    key: hmac::Key,
}

impl DataKey {
    /// A data key from its 32 octets.
    pub fn new(number: DataKeyNumber, octets: &[u8; 32]) -> DataKey {
        DataKey { number, key: hmac::Key::new(hmac::HMAC_SHA256, octets) }
    }

    /// Its number.
    pub fn number(&self) -> DataKeyNumber {
        self.number
    }

    fn row_key(&self, table: &str, key: &[u8]) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"cardinal row key 1");
        context.update(&[table.len() as u8]);
        context.update(table.as_bytes());
        context.update(key);
        UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok().map(LessSafeKey::new)
    }

    fn associated(&self, table: &str, key: &[u8]) -> Vec<u8> {
        let mut data = Vec::with_capacity(5 + table.len() + key.len());
        data.extend_from_slice(&self.number.to_be_bytes());
        data.push(table.len() as u8);
        data.extend_from_slice(table.as_bytes());
        data.extend_from_slice(key);
        data
    }

    fn seal(&self, random: &dyn SecureRandom, table: &str, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(value.len() + OVERHEAD);
        sealed.extend_from_slice(&[SEALED, FORMAT]);
        sealed.extend_from_slice(&self.number.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let associated = Aad::from(self.associated(table, key));
        let tag = self
            .row_key(table, key)?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), associated, &mut sealed[HEADER..])
            .ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed)
    }

    fn unseal(&self, table: &str, key: &[u8], sealed: &Sealed<'_>) -> Option<Vec<u8>> {
        let mut value = sealed.ciphertext.to_vec();
        let associated = Aad::from(self.associated(table, key));
        let length = self
            .row_key(table, key)?
            .open_in_place(Nonce::assume_unique_for_key(sealed.nonce), associated, &mut value)
            .ok()?
            .len();
        value.truncate(length);
        Some(value)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The parts of a sealed value.
struct Sealed<'a> {
    number: DataKeyNumber,
    nonce: [u8; NONCE_LEN],
    ciphertext: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// `None` when the value is not sealed; an error in words when it claims to be and cannot be.
    fn parse(value: &'a [u8]) -> Result<Option<Sealed<'a>>, String> {
        let Some((&SEALED, rest)) = value.split_first() else { return Ok(None) };
        let Some((&format, rest)) = rest.split_first() else { return Err("it ends after its first byte".into()) };
        if format != FORMAT {
            return Err(format!("it is sealed in format {format}, this program knows {FORMAT}: use the newer program"));
        }
        let too_short = || "it is too short".to_owned();
        let (number, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
        let (nonce, ciphertext) = rest.split_first_chunk().ok_or_else(too_short)?;
        Ok(Some(Sealed { number: u32::from_be_bytes(*number), nonce: *nonce, ciphertext }))
    }
}

#[derive(Debug)]
struct Keyring {
    keys: BTreeMap<DataKeyNumber, DataKey>,
    current: DataKeyNumber,
}

/// How far [`SealedStore::reseal`] came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// How many rows were written anew.
    pub rows: usize,
    /// Where to go on; `None` at the end of the table.
    pub next: Option<Vec<u8>>,
}

/// A store whose values are encrypted in some tables.
pub struct SealedStore {
    inner: Arc<dyn Store>,
    tables: Vec<Table>,
    keyring: RwLock<Keyring>,
    random: SystemRandom,
}

impl SealedStore {
    /// Seals these tables of `inner` with `key`.
    pub fn new(inner: Arc<dyn Store>, tables: impl IntoIterator<Item = Table>, key: DataKey) -> SealedStore {
        let current = key.number;
        let keyring = RwLock::new(Keyring { keys: BTreeMap::from([(current, key)]), current });
        SealedStore { inner, tables: tables.into_iter().collect(), keyring, random: SystemRandom::new() }
    }

    /// The store behind it, which shows what is written to the medium.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    /// The tables that are sealed.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The number of the data key that new values are sealed with.
    pub fn current(&self) -> DataKeyNumber {
        self.reading().current
    }

    /// The numbers of all data keys that are known.
    pub fn known(&self) -> Vec<DataKeyNumber> {
        self.reading().keys.keys().copied().collect()
    }

    /// Makes a data key known: what is sealed with it can be read.
    pub fn add_key(&self, key: DataKey) {
        self.writing().keys.insert(key.number, key);
    }

    /// Seals with a known data key from now on. When this returns, no commit with another one is under way. Tells whether
    /// the key is known; if not, nothing changes.
    pub fn use_key(&self, number: DataKeyNumber) -> bool {
        // Every commit holds the lock for reading until it is durable, so this waits for those that are under way.
        let mut keyring = self.writing();
        let known = keyring.keys.contains_key(&number);
        if known {
            keyring.current = number;
        }
        known
    }

    /// Forgets a data key; the one in use is kept. What is sealed with a forgotten key cannot be read any more.
    pub fn forget_key(&self, number: DataKeyNumber) {
        let mut keyring = self.writing();
        if keyring.current != number {
            keyring.keys.remove(&number);
        }
    }

    fn reading(&self) -> RwLockReadGuard<'_, Keyring> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, Keyring> {
        self.keyring.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_sealed(&self, table: Table) -> bool {
        self.tables.contains(&table)
    }

    fn open(&self, keyring: &Keyring, table: Table, row: Row) -> Result<Row, Error> {
        let refuse = |detail: String| Error::Unsealable { table, key: row.key.clone(), detail };
        let Some(sealed) = Sealed::parse(&row.value).map_err(refuse)? else { return Ok(row) };
        let key = keyring.keys.get(&sealed.number).ok_or_else(|| {
            refuse(format!("data key {} is not known; it is in the store that this row came from", sealed.number))
        })?;
        let value = key.unseal(table.name(), &row.key, &sealed).ok_or_else(|| {
            refuse(format!("data key {} does not open it: it was changed, or belongs to another row", key.number))
        })?;
        Ok(Row { value, ..row })
    }

    /// How many rows of a table are sealed with each data key; `None` stands for those in clear. Reads the whole table.
    ///
    /// # Errors
    /// As with [`Store::range`]; [`Error::Unsealable`] for a value in a format that is not known.
    pub fn census(&self, table: Table) -> Result<BTreeMap<Option<DataKeyNumber>, u64>, Error> {
        const PAGE: usize = 500;
        let mut census = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.inner.range(table, b"", after.as_deref(), PAGE)?;
            let Some(last) = rows.last() else { return Ok(census) };
            for row in &rows {
                *census.entry(seal_of(table, row)?).or_insert(0) += 1;
            }
            after = Some(last.key.clone());
        }
    }

    /// Seals rows of a table with the data key in use that are in clear or sealed with another, looking at `limit` of
    /// them after `after`. Their content and index terms stay as they are; their versions change, so that a decision
    /// that was taken on one of them is taken again. `at` is the time of the commits, in milliseconds since 1970.
    ///
    /// # Errors
    /// As with [`Store::range`] and [`Store::commit`]; [`Error::Unsealable`] and [`Error::RecordDecode`] for a row that
    /// cannot be read.
    pub fn reseal<R: Record>(&self, after: Option<&[u8]>, limit: usize, at: i64) -> Result<Resealed, Error> {
        let rows = self.inner.range(R::TABLE, b"", after, limit)?;
        let next = (rows.len() == limit).then(|| rows.last().map(|row| row.key.clone())).flatten();
        let mut batch = Batch::new(at);
        let mut keys = Vec::new();
        {
            let keyring = self.reading();
            for row in rows {
                if seal_of(R::TABLE, &row)? != Some(keyring.current) {
                    let row = self.open(&keyring, R::TABLE, row)?;
                    batch.update(&decode::<R>(&row)?)?;
                    keys.push(row.key);
                }
            }
            // The lock is let go: the commit takes it again, and must not wait for a writer that waits for this thread.
        }
        if keys.is_empty() {
            return Ok(Resealed { rows: 0, next });
        }
        match self.commit(batch) {
            Ok(_) => return Ok(Resealed { rows: keys.len(), next }),
            Err(Error::Conflict { .. } | Error::TooLarge { .. }) => {}
            Err(error) => return Err(error),
        }
        // Somebody was faster with one of them, or they are too large for one commit.
        let mut done = 0;
        for key in keys {
            done += usize::from(self.reseal_row::<R>(&key, at)?);
        }
        Ok(Resealed { rows: done, next })
    }

    fn reseal_row<R: Record>(&self, key: &[u8], at: i64) -> Result<bool, Error> {
        let mut attempt = 0;
        loop {
            let Some(row) = self.inner.get(R::TABLE, key)? else { return Ok(false) };
            let row = {
                let keyring = self.reading();
                if seal_of(R::TABLE, &row)? == Some(keyring.current) {
                    return Ok(false);
                }
                self.open(&keyring, R::TABLE, row)?
            };
            let mut batch = Batch::new(at);
            batch.update(&decode::<R>(&row)?)?;
            attempt += 1;
            match self.commit(batch) {
                Ok(_) => return Ok(true),
                // Whoever was faster has sealed it with the key in use; that is seen by reading it again.
                Err(Error::Conflict { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn seal_of(table: Table, row: &Row) -> Result<Option<DataKeyNumber>, Error> {
    match Sealed::parse(&row.value) {
        Ok(sealed) => Ok(sealed.map(|sealed| sealed.number)),
        Err(detail) => Err(Error::Unsealable { table, key: row.key.clone(), detail }),
    }
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStore").field("tables", &self.tables).field("keyring", &self.keyring).finish()
    }
}

impl Store for SealedStore {
    fn commit(&self, mut batch: Batch) -> Result<Committed, Error> {
        let keyring = self.reading();
        let current = keyring.keys.get(&keyring.current).ok_or(Error::SealFailed)?;
        for put in &mut batch.put {
            let Some(value) = put.value.as_mut().filter(|_| self.tables.contains(&put.table)) else { continue };
            if value.len() > MAX_VALUE - OVERHEAD {
                let (size, limit) = (value.len(), MAX_VALUE - OVERHEAD);
                return Err(Error::TooLarge { what: "the value of a sealed row", size, limit });
            }
            *value = current.seal(&self.random, put.table.name(), &put.key, value).ok_or(Error::SealFailed)?;
        }
        self.inner.commit(batch)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Row>, Error> {
        if !self.is_sealed(table) {
            return self.inner.get(table, key);
        }
        // The lock is held over the reading, so that no key is forgotten between the value and its opening.
        let keyring = self.reading();
        self.inner.get(table, key)?.map(|row| self.open(&keyring, table, row)).transpose()
    }

    fn range(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        if !self.is_sealed(table) {
            return self.inner.range(table, prefix, after, limit);
        }
        let keyring = self.reading();
        let rows = self.inner.range(table, prefix, after, limit)?;
        rows.into_iter().map(|row| self.open(&keyring, table, row)).collect()
    }

    fn by_index(
        &self,
        index: Index,
        from: &[u8],
        to: Option<&[u8]>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<IndexPage, Error> {
        self.inner.by_index(index, from, to, after, limit)
    }

    fn feed_position(&self) -> Result<Position, Error> {
        self.inner.feed_position()
    }

    fn feed(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        self.inner.feed(after, limit)
    }

    fn wait_feed(&self, after: u64, timeout: Duration) -> Position {
        self.inner.wait_feed(after, timeout)
    }

    fn audit_len(&self) -> u64 {
        self.inner.audit_len()
    }

    fn audit(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        self.inner.audit(from, limit)
    }

    fn outbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        self.inner.outbox(after, limit)
    }

    fn high_water(&self) -> i64 {
        self.inner.high_water()
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure()
    }

    fn backup(&self, out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> Result<BackupSummary, Error> {
        self.inner.backup(out, progress)
    }
}
