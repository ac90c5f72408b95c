//! The set of compromised keys (row R6): public keys whose private half is known, or thought to be known, to somebody who
//! should not have it. No certificate is issued for a key in the set; those that there are already are listed, and left
//! for people to revoke.
//!
//! A request that is under way while its key is added is never missed: the commit that reserves its certificate expects
//! that the key is not in the set. So either that commit comes first, and the certificate is among those that are listed,
//! or the key does, and the request is decided again and refused.

use audit::{Actor, AuditRecord, Outcome};
use data_encoding::HEXLOWER;
use pki::weak_key::WeakKey;
use pki::{KeyType, PublicKey, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Batch, Expect, Record, Store, Table, Term, Versioned};

use crate::certificate::{self, CertificateRecord};
use crate::{Error, batch, record};

/// Compromised keys, by the SHA-256 of the SubjectPublicKeyInfo.
pub const COMPROMISED_KEYS: Table = Table::new("compromised_key");

/// Keys that were taken out of the set again, by digest and time.
pub const REMOVED_KEYS: Table = Table::new("compromised_key_removed");

/// No more keys are added in one commit: their audit record names each.
pub const PORTION: usize = 200;

/// A key in the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompromisedKey {
    /// SHA-256 of the SubjectPublicKeyInfo.
    #[serde(with = "serde_bytes")]
    pub digest: Vec<u8>,
    /// Its kind, where more than the digest was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<KeyType>,
    /// Why it is in the set, in the words of those who added it.
    pub reason: String,
    /// The people who added it, as they named themselves.
    pub people: Vec<String>,
    /// When.
    pub added: Timestamp,
}

impl CompromisedKey {
    /// The digest in hexadecimal: by that the key is named.
    pub fn name(&self) -> String {
        HEXLOWER.encode(&self.digest)
    }
}

impl Record for CompromisedKey {
    const TABLE: Table = COMPROMISED_KEYS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.digest.clone()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// A key that was taken out of the set again: who did it, and what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedKey {
    /// What was in the set.
    pub key: CompromisedKey,
    /// Why it was taken out.
    pub reason: String,
    /// The people who took it out, as they named themselves.
    pub people: Vec<String>,
    /// When.
    pub removed: Timestamp,
}

impl Record for RemovedKey {
    const TABLE: Table = REMOVED_KEYS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        [self.key.digest.as_slice(), &self.removed.unix_millis().to_be_bytes()].concat()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// The entry of this key, if it is in the set.
///
/// # Errors
/// The store's.
pub fn find(store: &dyn Store, digest: &[u8]) -> Result<Option<Versioned<CompromisedKey>>, Error> {
    Ok(store::load(store, digest)?)
}

/// Refuses a key that is in the set.
pub(crate) fn refuse(store: &dyn Store, key: &PublicKey) -> Result<(), Error> {
    match find(store, &key.digest())? {
        None => Ok(()),
        Some(_) => Err(WeakKey::Compromised.into()),
    }
}

/// Makes a batch depend on the key's not being in the set.
pub(crate) fn expect_none(batch: &mut Batch, digest: &[u8]) {
    batch.expect.push(Expect::Absent { table: COMPROMISED_KEYS, key: digest.to_vec() });
}

/// Adds keys, [`PORTION`] at most; those that are in the set stay as they are. Also returns how many are new. Nothing is
/// revoked by it.
///
/// # Errors
/// The store's, or when the audit record cannot be written.
// conformance: R6
pub fn add(store: &dyn Store, keys: &[CompromisedKey], actor: &Actor, now: Timestamp) -> Result<(Batch, usize), Error> {
    let mut adding = batch(now);
    let mut act: Option<AuditRecord> = None;
    let mut added = 0;
    for key in keys {
        // One key may be given twice, as a certificate and as its request.
        if find(store, &key.digest)?.is_some() || adding.put.iter().any(|put| put.key == key.digest) {
            continue;
        }
        adding.create(key)?;
        added += 1;
        let so_far = act.unwrap_or_else(|| {
            let act = AuditRecord::new(now, actor.clone(), "key.compromised", Outcome::Done);
            act.fact("reason", &key.reason).fact("people", key.people.len())
        });
        act = Some(so_far.on("key", key.name()));
    }
    if let Some(act) = act {
        record(&mut adding, &act)?;
    }
    Ok((adding, added))
}

/// Takes a key out of the set again, if it was put there by mistake. Returns what was there.
///
/// # Errors
/// [`Error::NotCompromised`], the store's, or when the audit record cannot be written.
pub fn remove(
    store: &dyn Store,
    digest: &[u8],
    reason: &str,
    people: &[String],
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, CompromisedKey), Error> {
    let known = find(store, digest)?.ok_or_else(|| Error::NotCompromised(HEXLOWER.encode(digest)))?;
    let mut removing = batch(now);
    removing.delete(&known);
    removing.put_record(&RemovedKey {
        key: known.record.clone(),
        reason: reason.to_owned(),
        people: people.to_vec(),
        removed: now,
    })?;
    let act = AuditRecord::new(now, actor.clone(), "key.not_compromised", Outcome::Done)
        .on("key", known.record.name())
        .fact("reason", reason)
        .fact("people", people.len());
    record(&mut removing, &act)?;
    Ok((removing, known.record))
}

/// The keys in the set, in the order of their digests, after this one.
///
/// # Errors
/// The store's.
pub fn list(store: &dyn Store, after: Option<&[u8]>, limit: usize) -> Result<Vec<CompromisedKey>, Error> {
    let keys = store::load_range::<CompromisedKey>(store, &[], after, limit)?;
    Ok(keys.into_iter().map(|key| key.record).collect())
}

/// The certificates that hold this key, in whatever state: issued, reserved, revoked, or a CA's own.
///
/// # Errors
/// The store's.
pub fn certificates(store: &dyn Store, digest: &[u8]) -> Result<Vec<CertificateRecord>, Error> {
    let ids = certificate::with_key(store, digest)?;
    ids.iter().map(|id| Ok(certificate::load(store, id)?.record)).collect()
}
