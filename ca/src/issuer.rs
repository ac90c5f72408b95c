//! Issuers: CA keys with their certificates.

use pki::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Record, Table, Term};

/// Issuers, by id.
pub const ISSUERS: Table = Table::new("issuer");

/// The name of the root; no issuing CA may have it.
pub const ROOT: &str = "root";

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
    /// Since when it is in this state; since it was created, where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_since: Option<Timestamp>,
    /// While it is for status only: when it may retire, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_from: Option<Timestamp>,
    /// Of a later key of the root: how paths lead from one key to the other (conformance: K2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkCertificate>,
    /// What its CRLs have left out, and may leave out from now on.
    #[serde(default, skip_serializing_if = "CrlHistory::is_empty")]
    pub crl_history: CrlHistory,
}

/// One key of the root, certified by another (RFC 9810 4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCertificate {
    /// Under what it is published, such as `root-2.new-with-old`.
    pub name: String,
    /// The certificate.
    #[serde(with = "serde_bytes")]
    pub der: Vec<u8>,
}

/// What an issuer's CRLs have left out, and may leave out from now on (RFC 5280 3.3; conformance: C13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlHistory {
    /// thisUpdate of the newest CRLs that were made by the schedule: what ended before it has been on one past its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scheduled: Option<Timestamp>,
    /// The newest full CRLs do not list what ended before this; so deltas to them do not take it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_before: Option<Timestamp>,
}

impl CrlHistory {
    fn is_empty(&self) -> bool {
        *self == CrlHistory::default()
    }
}

impl IssuerRecord {
    /// Whether it is a key of the root, whose token is not present in ordinary service.
    pub fn is_root(&self) -> bool {
        self.name == ROOT
    }

    /// Whether its key still signs anything: CRLs and OCSP delegates at least (conformance: C16).
    pub fn is_in_use(&self) -> bool {
        self.state != IssuerState::Retired
    }

    /// Since when it is in this state.
    pub fn state_since(&self) -> Timestamp {
        self.state_since.unwrap_or(self.created)
    }

    /// The same in another state, from `now` on.
    pub fn in_state(&self, state: IssuerState, now: Timestamp) -> Self {
        IssuerRecord { state, state_since: Some(now), ..self.clone() }
    }
}

/// What an issuer may do. `published → active → status only → retired`, or for a key of the root
/// `published → offline → status only → retired`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssuerState {
    /// Its certificate is out, so that relying systems can fetch it; it signs CRLs and OCSP delegates, and no
    /// certificate for others yet.
    Published {
        /// From when on it takes the place of the key before it.
        active_from: Timestamp,
    },
    /// Signs certificates, CRLs and OCSP delegates.
    Active,
    /// Another key has taken its place: signs CRLs and OCSP delegates only (conformance: C16).
    StatusOnly,
    /// Its last certificate has expired: signs nothing any more.
    Retired,
    /// The root's key that certifies CAs: its token is not present in ordinary service.
    Offline,
}

impl IssuerState {
    /// The state's name.
    pub fn name(self) -> &'static str {
        match self {
            IssuerState::Published { .. } => "published",
            IssuerState::Active => "active",
            IssuerState::StatusOnly => "status_only",
            IssuerState::Retired => "retired",
            IssuerState::Offline => "offline",
        }
    }
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

/// The root's key that certifies CAs now.
///
/// # Errors
/// When the store fails, or there is no root yet.
pub fn root(store: &dyn store::Store) -> Result<IssuerRecord, crate::Error> {
    let newest = all(store)?.into_iter().filter(|issuer| issuer.state == IssuerState::Offline);
    newest.max_by_key(|issuer| issuer.generation).ok_or_else(|| crate::Error::NoSuchIssuer(ROOT.to_owned()))
}

/// What leads from an issuing CA to whichever key of the root somebody trusts: the links between the root's keys, then the
/// root's certificates, the one in force last.
///
/// # Errors
/// When the store fails, or there is no root yet.
// conformance: K2
pub fn above_issuing_cas(store: &dyn store::Store) -> Result<Vec<Vec<u8>>, crate::Error> {
    let in_force = root(store)?;
    let roots: Vec<_> = all(store)?.into_iter().filter(|issuer| issuer.is_root() && issuer.is_in_use()).collect();
    let mut above: Vec<Vec<u8>> =
        roots.iter().flat_map(|root| root.links.iter().map(|link| link.der.clone())).collect();
    above.extend(roots.into_iter().filter(|root| root.id != in_force.id).map(|root| root.certificate_der));
    above.push(in_force.certificate_der);
    Ok(above)
}
