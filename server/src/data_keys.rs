//! Data keys: what the store's sealed tables are encrypted with. They are kept in the store, encrypted with an AES key
//! of the CA token, so that neither the data directory nor a backup can be read without that token.
//!
//! ```text
//! published -> active -> retiring -> destroyed
//! ```
//!
//! One data key is active: new values are sealed with it. What is still sealed with a retiring one, or in clear since it
//! was written before there were data keys, is sealed anew in portions. When nothing is left, the retiring key's
//! encrypted form is deleted; its number stays, and is never given again.
//!
//! Each change is one commit, and memory follows it; so a process that is killed at any point finds by the records where
//! to go on.

use std::sync::{Arc, Mutex, PoisonError};

use audit::{Actor, AuditRecord, Outcome};
use hsm::{KeyEncryptionKey, Token};
use pki::Timestamp;
use ra::person::Person;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use store::{DataKey, DataKeyNumber, Record, SealedStore, Store, Table, Term, Versioned};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::failure::Failure;
use crate::idempotency;

const DATA_KEYS: Table = Table::new("data_key");
/// CKA_ID and CKA_LABEL of the token's key that data keys are encrypted with.
const KEY_ENCRYPTION_KEY: &str = "data-keys-1";
/// How many data keys a deployment may have had: far more than one a week for its life.
const MOST: usize = 10_000;
/// How many rows are sealed anew at a time.
const PORTION: usize = 200;

/// A data key, as the store remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeyRecord {
    /// Its number, from 1 up.
    pub number: DataKeyNumber,
    /// The label of the token, and CKA_ID of the key in it, that it is encrypted with.
    pub token: String,
    /// CKA_ID, as text.
    pub encrypted_with: String,
    /// The data key itself, encrypted; empty once it is destroyed.
    #[serde(with = "serde_bytes")]
    pub encrypted: Vec<u8>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Where it stands.
    pub state: DataKeyState,
}

/// Where a data key stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKeyState {
    /// It can be read with; nothing is sealed with it yet.
    Published,
    /// New values are sealed with it.
    Active {
        /// Since when.
        since: Timestamp,
        /// When every row was found to be sealed with it; none while some may not be.
        settled: Option<Timestamp>,
    },
    /// Rows may still be sealed with it.
    Retiring {
        /// Since when.
        since: Timestamp,
    },
    /// Its encrypted form is deleted.
    Destroyed {
        /// When.
        at: Timestamp,
    },
}

impl DataKeyState {
    /// The state's name.
    pub fn name(&self) -> &'static str {
        match self {
            DataKeyState::Published => "published",
            DataKeyState::Active { .. } => "active",
            DataKeyState::Retiring { .. } => "retiring",
            DataKeyState::Destroyed { .. } => "destroyed",
        }
    }
}

impl Record for DataKeyRecord {
    const TABLE: Table = DATA_KEYS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.number.to_be_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// Every data key that there ever was, by number.
///
/// # Errors
/// When the store fails.
pub fn all(store: &dyn Store) -> Result<Vec<Versioned<DataKeyRecord>>, store::Error> {
    store::load_range::<DataKeyRecord>(store, b"", None, MOST)
}

/// What a data key's encrypted form is bound to.
fn context(number: DataKeyNumber) -> Vec<u8> {
    [b"cardinal data key ".as_slice(), &number.to_be_bytes()].concat()
}

/// The tables whose rows name people.
pub(crate) const SEALED_TABLES: [Table; 2] = [ra::person::PEOPLE, idempotency::IDEMPOTENCY];

/// How far the sealing of all rows has come, for whoever goes on with it.
#[derive(Debug, Default)]
struct Place {
    table: usize,
    after: Option<Vec<u8>>,
    /// The data key that this pass seals with: a pass for another begins anew.
    number: DataKeyNumber,
}

/// The data keys of a running service.
pub struct DataKeys {
    sealed: Arc<SealedStore>,
    token: Arc<Token>,
    random: SystemRandom,
    place: Mutex<Place>,
}

impl DataKeys {
    /// Makes the store readable: decrypts the data keys by the token, and makes the first one where there is none. A store
    /// of a version without data keys is opened as it is; its rows are sealed in the background.
    ///
    /// # Errors
    /// When the token is not the one that encrypted them, or the store fails.
    pub(crate) fn open(store: Arc<dyn Store>, token: &Arc<Token>, now: Timestamp) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let mut records: Vec<DataKeyRecord> = all(store.as_ref())?.into_iter().map(|found| found.record).collect();
        if records.is_empty() {
            let key = key_encryption_key(token, true)?;
            let first = first(&key, token, now, &random)?;
            let mut batch = ca::batch(now);
            batch.create(&first)?;
            ca::record(&mut batch, &audit(now, &Actor::service(), "data_key.make", &first).fact("state", "active"))?;
            store.commit(batch)?;
            records.push(first);
        }
        let key = key_encryption_key(token, false)?;
        let mut current = None;
        let mut others = Vec::new();
        for record in &records {
            let opened = match record.state {
                DataKeyState::Destroyed { .. } => continue,
                _ => decrypt(&key, record)?,
            };
            match record.state {
                DataKeyState::Active { .. } => current = Some(opened),
                _ => others.push(opened),
            }
        }
        let current = current.ok_or_else(|| Error::DataKeys("none of them is active".to_owned()))?;
        let sealed = Arc::new(SealedStore::new(store, SEALED_TABLES, current));
        for other in others {
            sealed.add_key(other);
        }
        Ok(DataKeys { sealed, token: Arc::clone(token), random, place: Mutex::default() })
    }

    /// The store through which everything reads and writes.
    pub fn store(&self) -> &Arc<SealedStore> {
        &self.sealed
    }

    /// Makes a data key that nothing is sealed with yet, or gives the one that an earlier call made.
    ///
    /// # Errors
    /// When the token or the store fails.
    pub fn publish(&self, actor: &Actor, now: Timestamp) -> Result<DataKeyNumber, Failure> {
        let store = self.sealed.as_ref();
        let records = all(store)?;
        if let Some(there) = records.iter().find(|found| found.record.state == DataKeyState::Published) {
            return Ok(there.record.number);
        }
        let number = records.last().map_or(1, |last| last.record.number + 1);
        let key = key_encryption_key(&self.token, false)?;
        let (record, key) = make(&key, &self.token, number, DataKeyState::Published, now, &self.random)?;
        let mut batch = ca::batch(now);
        batch.create(&record)?;
        ca::record(&mut batch, &audit(now, actor, "data_key.make", &record).fact("state", "published"))?;
        store.commit(batch)?;
        self.sealed.add_key(key);
        Ok(number)
    }

    /// Deletes a published data key that was never used. Without one nothing happens.
    ///
    /// # Errors
    /// When the store fails.
    pub fn withdraw(&self, actor: &Actor, now: Timestamp) -> Result<(), Failure> {
        for found in all(self.sealed.as_ref())? {
            if found.record.state == DataKeyState::Published {
                self.destroy(&found, actor, now)?;
            }
        }
        Ok(())
    }

    /// Seals with the published data key from now on. Without one nothing happens.
    ///
    /// # Errors
    /// When the store fails.
    pub fn activate(&self, actor: &Actor, now: Timestamp) -> Result<(), Failure> {
        let records = all(self.sealed.as_ref())?;
        let mut batch = ca::batch(now);
        let Some(next) = records.iter().find(|found| found.record.state == DataKeyState::Published) else {
            return Ok(());
        };
        for found in &records {
            let state = match found.record.state {
                DataKeyState::Published => DataKeyState::Active { since: now, settled: None },
                DataKeyState::Active { .. } => DataKeyState::Retiring { since: now },
                _ => continue,
            };
            let record = DataKeyRecord { state, ..found.record.clone() };
            ca::record(&mut batch, &audit(now, actor, "data_key.change", &record).fact("state", record.state.name()))?;
            batch.update(&found.with(record))?;
        }
        self.sealed.commit(batch)?;
        if !self.sealed.use_key(next.record.number) {
            return Err(Failure::internal(format!("data key {} is not in memory", next.record.number)));
        }
        Ok(())
    }

    /// Seals a portion of what is not sealed with the active data key, and tells whether nothing is left.
    ///
    /// # Errors
    /// When the store fails, or a row cannot be read.
    pub fn settle(&self, now: Timestamp) -> Result<bool, Failure> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.sealed.current();
        let Some(active) = store::load::<DataKeyRecord>(self.sealed.as_ref(), &number.to_be_bytes())? else {
            return Err(Failure::internal(format!("there is no record of data key {number}")));
        };
        let DataKeyState::Active { since, settled: None } = active.record.state else { return Ok(true) };
        if place.number != number {
            *place = Place { number, ..Place::default() };
        }
        let at = now.unix_millis();
        let resealed = match SEALED_TABLES.get(place.table) {
            Some(&ra::person::PEOPLE) => self.sealed.reseal::<Person>(place.after.as_deref(), PORTION, at)?,
            Some(&idempotency::IDEMPOTENCY) => {
                self.sealed.reseal::<idempotency::Remembered>(place.after.as_deref(), PORTION, at)?
            }
            Some(other) => return Err(Failure::internal(format!("nobody knows the rows of {}", other.name()))),
            None => {
                let state = DataKeyState::Active { since, settled: Some(now) };
                let mut batch = ca::batch(now);
                batch.update(&active.with(DataKeyRecord { state, ..active.record.clone() }))?;
                self.sealed.commit(batch)?;
                *place = Place::default();
                return Ok(true);
            }
        };
        match resealed.next {
            Some(next) => place.after = Some(next),
            None => (place.table, place.after) = (place.table + 1, None),
        }
        Ok(false)
    }

    /// Deletes the encrypted form of every retiring data key, after a look at all rows has shown that none is sealed with
    /// it.
    ///
    /// # Errors
    /// When a row is still sealed with one, or the store fails.
    pub fn destroy_retiring(&self, actor: &Actor, now: Timestamp) -> Result<(), Failure> {
        let retiring: Vec<_> = all(self.sealed.as_ref())?
            .into_iter()
            .filter(|found| matches!(found.record.state, DataKeyState::Retiring { .. }))
            .collect();
        if retiring.is_empty() {
            return Ok(());
        }
        for table in SEALED_TABLES {
            let census = self.sealed.census(table)?;
            for found in &retiring {
                if let Some(rows) = census.get(&Some(found.record.number)) {
                    let (table, number) = (table.name(), found.record.number);
                    return Err(Failure::internal(format!(
                        "{rows} rows of table {table} are still sealed with data key {number}"
                    )));
                }
            }
        }
        retiring.iter().try_for_each(|found| self.destroy(found, actor, now))
    }

    fn destroy(&self, found: &Versioned<DataKeyRecord>, actor: &Actor, now: Timestamp) -> Result<(), Failure> {
        let state = DataKeyState::Destroyed { at: now };
        let record = DataKeyRecord { state, encrypted: Vec::new(), ..found.record.clone() };
        let mut batch = ca::batch(now);
        ca::record(&mut batch, &audit(now, actor, "data_key.destroy", &record))?;
        batch.update(&found.with(record))?;
        self.sealed.commit(batch)?;
        self.sealed.forget_key(found.record.number);
        Ok(())
    }
}

fn audit(now: Timestamp, actor: &Actor, operation: &str, record: &DataKeyRecord) -> AuditRecord {
    AuditRecord::new(now, actor.clone(), operation, Outcome::Done)
        .on("data_key", record.number)
        .fact("token", &record.token)
}

/// The token's key that data keys are encrypted with. One is made only before the first data key: later a missing one
/// means another token.
fn key_encryption_key(token: &Arc<Token>, may_make: bool) -> Result<KeyEncryptionKey, hsm::Error> {
    let id = KEY_ENCRYPTION_KEY.as_bytes();
    match token.find_key_encryption_key(id)? {
        Some(key) => Ok(key),
        None if may_make => token.generate_key_encryption_key(KEY_ENCRYPTION_KEY, id),
        None => Err(hsm::Error::KeyMissing {
            token: token.label().to_owned(),
            key: format!("the id {KEY_ENCRYPTION_KEY:?}, which the store's data keys are encrypted with"),
        }),
    }
}

fn make(
    key: &KeyEncryptionKey,
    token: &Token,
    number: DataKeyNumber,
    state: DataKeyState,
    now: Timestamp,
    random: &SystemRandom,
) -> Result<(DataKeyRecord, DataKey), Failure> {
    let mut octets = Zeroizing::new([0; 32]);
    random.fill(octets.as_mut()).map_err(|_| ca::Error::Random)?;
    let record = DataKeyRecord {
        number,
        token: token.label().to_owned(),
        encrypted_with: key.label().to_owned(),
        encrypted: key.encrypt(octets.as_slice(), &context(number))?,
        made_at: now,
        state,
    };
    Ok((record, DataKey::new(number, &octets)))
}

fn first(
    key: &KeyEncryptionKey,
    token: &Token,
    now: Timestamp,
    random: &SystemRandom,
) -> Result<DataKeyRecord, Failure> {
    let state = DataKeyState::Active { since: now, settled: None };
    Ok(make(key, token, 1, state, now, random)?.0)
}

fn decrypt(key: &KeyEncryptionKey, record: &DataKeyRecord) -> Result<DataKey, Error> {
    let octets = key.decrypt(&record.encrypted, &context(record.number))?;
    let octets: &[u8; 32] = octets
        .as_slice()
        .try_into()
        .map_err(|_| Error::DataKeys(format!("data key {} has another length than 32 octets", record.number)))?;
    Ok(DataKey::new(record.number, octets))
}
