//! Issuers: CA keys with their certificates.

use pki::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Record, Table, Term};

/// Issuers, by id.
pub const ISSUERS: Table = Table::new("issuer");

/// One CA key: a name and a generation, its certificate, and where its private key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerRecord {
    /// Name and key generation, such as `authentication-1`.
    pub id: String,
    /// The CA's name, such as `authentication`; it stays the same over rotations.
    pub name: String,
    /// The number of its key, from 1.
    pub generation: u32,
    /// What it may do.
    pub state: IssuerState,
    /// Its certificate.
    #[serde(with = "serde_bytes")]
    pub certificate_der: Vec<u8>,
    /// Where its private key is.
    pub key: KeyLocation,
    /// Since when.
    pub created: Timestamp,
    /// The highest CRL number that was ever taken (conformance: C6).
    pub crl_number: u64,
    /// thisUpdate of the newest CRL that was published.
    pub last_crl: Option<Timestamp>,
}

/// What an issuer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssuerState {
    /// Signs certificates, CRLs and OCSP delegates.
    Active,
    /// The root: its token is not present in ordinary service.
    Offline,
}

/// A private key: a token and a label in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLocation {
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub label: String,
}

impl Record for IssuerRecord {
    const TABLE: Table = ISSUERS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// All issuers, by id. There are few: a handful and their earlier keys.
///
/// # Errors
/// When the store fails.
pub fn all(store: &dyn store::Store) -> Result<Vec<IssuerRecord>, store::Error> {
    let mut issuers: Vec<IssuerRecord> = Vec::new();
    loop {
        let after = issuers.last().map(|last| last.key());
        let page = store::load_range::<IssuerRecord>(store, b"", after.as_deref(), 100)?;
        if page.is_empty() {
            return Ok(issuers);
        }
        issuers.extend(page.into_iter().map(|found| found.record));
    }
}
