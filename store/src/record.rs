//! Typed records on top of opaque rows: CBOR (RFC 8949) with one byte in front that names the schema.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::{Batch, Expect, Index, MAX_VALUE, Put, Table, Term};
use crate::error::Error;
use crate::store::{Cursor, Row, Store};

/// How deep a record may nest before it is refused.
const RECURSION_LIMIT: usize = 64;

/// A type whose values are rows of one table.
pub trait Record: Serialize + DeserializeOwned {
    /// The table.
    const TABLE: Table;
    /// The schema of what is written; raised when the meaning of the fields changes.
    const SCHEMA: u8;
    /// The key of the row.
    fn key(&self) -> Vec<u8>;
    /// Under what the row is found.
    fn terms(&self) -> Vec<Term>;
}

/// A record together with the version in which it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<R> {
    /// The version of the row.
    pub version: u64,
    /// The record.
    pub record: R,
}

impl<R> Versioned<R> {
    /// Another record in place of this one, to be written over the same version with [`Batch::update`].
    pub fn with(&self, record: R) -> Self {
        Versioned { version: self.version, record }
    }
}

/// The bytes of a record: schema byte, then CBOR.
///
/// # Errors
/// [`Error::RecordEncode`] if serde refuses, [`Error::TooLarge`] above [`MAX_VALUE`].
pub fn encode<R: Record>(record: &R) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![R::SCHEMA];
    ciborium::into_writer(record, &mut bytes)
        .map_err(|e| Error::RecordEncode { table: R::TABLE, detail: e.to_string() })?;
    if bytes.len() > MAX_VALUE {
        return Err(Error::TooLarge { what: "a record", size: bytes.len(), limit: MAX_VALUE });
    }
    Ok(bytes)
}

/// The record in a row.
///
/// # Errors
/// [`Error::RecordSchema`] if it was written under another schema, [`Error::RecordDecode`] if it is too large, nests
/// too deeply, is not the CBOR of such a record, or is followed by anything.
pub fn decode<R: Record>(row: &Row) -> Result<Versioned<R>, Error> {
    let refuse = |detail: String| Error::RecordDecode { table: R::TABLE, key: row.key.clone(), detail };
    if row.value.len() > MAX_VALUE {
        return Err(refuse(format!("{} bytes are more than the limit of {MAX_VALUE}", row.value.len())));
    }
    let (schema, mut cbor) = row.value.split_first().ok_or_else(|| refuse("it is empty".into()))?;
    if *schema != R::SCHEMA {
        return Err(Error::RecordSchema {
            table: R::TABLE,
            key: row.key.clone(),
            found: *schema,
            supported: R::SCHEMA,
        });
    }
    let record = ciborium::de::from_reader_with_recursion_limit(&mut cbor, RECURSION_LIMIT)
        .map_err(|e| refuse(e.to_string()))?;
    if !cbor.is_empty() {
        return Err(refuse(format!("{} bytes follow it", cbor.len())));
    }
    Ok(Versioned { version: row.version, record })
}

/// Reads the record with that key.
///
/// # Errors
/// As with [`decode`] and [`Store::get`].
pub fn load<R: Record>(store: &(impl Store + ?Sized), key: &[u8]) -> Result<Option<Versioned<R>>, Error> {
    store.get(R::TABLE, key)?.map(|row| decode(&row)).transpose()
}

/// Reads records in the order of their keys, as [`Store::range`] does.
///
/// # Errors
/// As with [`decode`] and [`Store::range`].
pub fn load_range<R: Record>(
    store: &(impl Store + ?Sized),
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Versioned<R>>, Error> {
    store.range(R::TABLE, prefix, after, limit)?.iter().map(decode).collect()
}

/// Reads the records that a page of an index leads to, as [`Store::by_index`] does, and the cursor of the next page.
/// Entries of other tables are left out, and so are records that went between the two reads; a page may therefore be
/// shorter than `limit` although there is a next one.
///
/// # Errors
/// As with [`decode`] and [`Store::by_index`].
pub fn load_by_index<R: Record>(
    store: &(impl Store + ?Sized),
    index: Index,
    from: &[u8],
    to: Option<&[u8]>,
    after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<Versioned<R>>, Option<Cursor>), Error> {
    let page = store.by_index(index, from, to, after, limit)?;
    let mut records = Vec::with_capacity(page.entries.len());
    for entry in page.entries.iter().filter(|entry| entry.table == R::TABLE.name()) {
        records.extend(load(store, &entry.key)?);
    }
    Ok((records, page.next))
}

impl Batch {
    /// Writes a record that must not be there yet.
    ///
    /// # Errors
    /// As with [`encode`].
    pub fn create<R: Record>(&mut self, record: &R) -> Result<(), Error> {
        self.expect.push(Expect::Absent { table: R::TABLE, key: record.key() });
        self.put_record(record)
    }

    /// Writes a record over the version that was read. Its key must be the one under which it was read.
    ///
    /// # Errors
    /// As with [`encode`].
    pub fn update<R: Record>(&mut self, versioned: &Versioned<R>) -> Result<(), Error> {
        self.expect_unchanged(versioned);
        self.put_record(&versioned.record)
    }

    /// Writes a record, whether or not there is one already.
    ///
    /// # Errors
    /// As with [`encode`].
    pub fn put_record<R: Record>(&mut self, record: &R) -> Result<(), Error> {
        let value = Some(encode(record)?);
        self.put.push(Put { table: R::TABLE, key: record.key(), value, terms: record.terms() });
        Ok(())
    }

    /// Deletes a record in the version that was read.
    pub fn delete<R: Record>(&mut self, versioned: &Versioned<R>) {
        self.expect_unchanged(versioned);
        self.put.push(Put { table: R::TABLE, key: versioned.record.key(), value: None, terms: Vec::new() });
    }

    /// Makes the batch depend on a record that it does not write.
    pub fn expect_unchanged<R: Record>(&mut self, versioned: &Versioned<R>) {
        let key = versioned.record.key();
        self.expect.push(Expect::Version { table: R::TABLE, key, version: versioned.version });
    }
}
