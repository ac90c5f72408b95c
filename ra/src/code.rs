//! Single-use codes: what a machine or a person proves themselves by before there is a certificate.

use std::time::Duration;

use pki::Timestamp;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Batch, Index, Record, Store, Table, Term, Versioned};

use crate::responder::SignerKeys;
use crate::{Error, OdsCode, UserId};

/// Codes, by the SHA-256 of their secret.
pub const CODES: Table = Table::new("code");
/// Codes that were not used, by the time when they run out: milliseconds, big endian.
pub const OPEN: Index = Index::new("code.open");
/// Codes that were used, likewise.
pub const SPENT: Index = Index::new("code.spent");
/// How many octets a code's secret has.
pub const SECRET_OCTETS: usize = 16;

/// A single-use code. Only the digest of its secret is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// SHA-256 of the secret.
    #[serde(with = "serde_bytes")]
    pub digest: Vec<u8>,
    /// What it is for.
    pub purpose: CodePurpose,
    /// When it runs out.
    pub expires: Timestamp,
    /// Whether it was used.
    pub used: bool,
}

/// What a code is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodePurpose {
    /// A station enrols itself under this name.
    Station {
        /// Its name: a DNS name.
        name: String,
        /// Its organisation.
        organisation: OdsCode,
    },
    /// An OCSP responder enrols itself under this name.
    Responder {
        /// Its name: a DNS name.
        name: String,
        /// Where its signer keys will be.
        signer_keys: SignerKeys,
    },
    /// A station issues this person's first card, without an operator.
    FirstCard {
        /// The person.
        person: UserId,
    },
}

impl Record for Code {
    const TABLE: Table = CODES;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.digest.clone()
    }

    fn terms(&self) -> Vec<Term> {
        let index = if self.used { SPENT } else { OPEN };
        vec![Term::new(index, self.expires.unix_millis().to_be_bytes())]
    }
}

/// How long codes are good, and how many may be open.
#[derive(Clone, Copy, Debug)]
pub struct CodeLimits {
    /// How long a code is good.
    pub life: Duration,
    /// How many may be open at one time.
    pub open: usize,
}

/// Forgets codes that have run out: a batch of at most `limit`, or none when there is nothing.
///
/// # Errors
/// When the store fails.
pub fn forget_codes(store: &dyn Store, now: Timestamp, limit: usize) -> Result<Option<Batch>, Error> {
    let to = now.unix_millis().to_be_bytes();
    let mut batch = ca::batch(now);
    for index in [OPEN, SPENT] {
        let (codes, _) = store::load_by_index::<Code>(store, index, &[], Some(&to), None, limit)?;
        for code in &codes {
            batch.delete(code);
        }
    }
    Ok((!batch.put.is_empty()).then_some(batch))
}

/// Adds a new code to a batch. Returns its secret, which is not kept, and when it runs out.
pub(crate) fn add_code(
    store: &dyn Store,
    batch: &mut Batch,
    purpose: CodePurpose,
    limits: CodeLimits,
    random: &dyn SecureRandom,
) -> Result<([u8; SECRET_OCTETS], Timestamp), Error> {
    let open = store.by_index(OPEN, &batch.at.to_be_bytes(), Some(&[0xff]), None, limits.open)?;
    if open.entries.len() >= limits.open {
        return Err(Error::TooManyCodes(limits.open));
    }
    let mut secret = [0; SECRET_OCTETS];
    random.fill(&mut secret).map_err(|_| ca::Error::Random)?;
    let expires = Timestamp::from_unix_millis(batch.at).plus(limits.life);
    batch.create(&Code { digest: Sha256::digest(secret).to_vec(), purpose, expires, used: false })?;
    Ok((secret, expires))
}

/// The code with this secret, if it can be used.
pub(crate) fn usable_code(store: &dyn Store, secret: &[u8], now: Timestamp) -> Result<Versioned<Code>, Error> {
    match store::load::<Code>(store, &Sha256::digest(secret))? {
        Some(code) if !code.record.used && now <= code.record.expires => Ok(code),
        _ => Err(Error::CodeRefused),
    }
}

/// Uses a code up, in a batch: of two that use it at once, one finds it changed.
pub(crate) fn use_up(store: &dyn Store, batch: &mut Batch, code: &Versioned<Code>) -> Result<(), Error> {
    let current = store::load::<Code>(store, &code.record.digest)?;
    if current.is_none_or(|code| code.record.used) {
        return Err(Error::CodeRefused);
    }
    Ok(batch.update(&code.with(Code { used: true, ..code.record.clone() }))?)
}

/// The codes that are open for this purpose, as far as `is_meant` knows it.
pub(crate) fn open_codes(
    store: &dyn Store,
    now: Timestamp,
    is_meant: impl Fn(&CodePurpose) -> bool,
) -> Result<Vec<Versioned<Code>>, Error> {
    const PAGE: usize = 500;
    let mut meant = Vec::new();
    let mut after = None;
    loop {
        let from = now.unix_millis().to_be_bytes();
        let (page, next) = store::load_by_index::<Code>(store, OPEN, &from, Some(&[0xff]), after, PAGE)?;
        meant.extend(page.into_iter().filter(|code| is_meant(&code.record.purpose)));
        match next {
            Some(next) => after = Some(next),
            None => return Ok(meant),
        }
    }
}

/// Whether a name can be a machine's: a DNS name, which its certificate carries.
pub(crate) fn check_name(of: &str, name: &str) -> Result<(), Error> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 64 && name.split('.').all(label) {
        return Ok(());
    }
    let rule = format!("a {of}'s name is a DNS name of at most 64 characters: small letters, digits, hyphens, dots");
    Err(Error::invalid("name", rule))
}
