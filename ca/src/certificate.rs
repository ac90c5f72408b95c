//! A certificate's record and its states:
//!
//! `reserved → pending → good ⇄ on hold → revoked | expired`, and `reserved → void`.
//!
//! Revoked and void are final. Expiry is no state: it follows from `notAfter`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use audit::{Actor, AuditRecord, Outcome};
use data_encoding::HEXLOWER;
use pki::certificate::ParsedCertificate;
use pki::feed::{PublishedStatus, StatusEntry};
use pki::{CrlReason, SerialNumber, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Batch, Index, Record, Store, Table, Term, Versioned};

use crate::Error;

/// Certificates, by issuer and serial number.
pub const CERTIFICATES: Table = Table::new("certificate");
/// Certificates by the person, station or service that holds them.
pub const BY_HOLDER: Index = Index::new("certificate.holder");
/// Certificates by card serial number.
pub const BY_CARD: Index = Index::new("certificate.card");
/// Certificates by the SHA-256 of their public key (rule R8).
pub const BY_KEY: Index = Index::new("certificate.key");
/// Certificates by notAfter, in milliseconds, big endian.
pub const BY_NOT_AFTER: Index = Index::new("certificate.not_after");
/// Certificates that are reserved or pending, by the name of that state.
pub const BY_OPEN_STATE: Index = Index::new("certificate.open");
/// What stands on CRLs: pending, on hold, revoked and void certificates, by issuer.
pub const BY_REVOKED_ISSUER: Index = Index::new("certificate.revoked");

/// Which certificate: its issuer's id and its serial number. Written `authentication-1/4f00…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CertificateId {
    /// The issuing CA's name and key generation.
    pub issuer: String,
    /// The serial number.
    pub serial: SerialNumber,
}

impl CertificateId {
    /// The key in [`CERTIFICATES`].
    pub fn key(&self) -> Vec<u8> {
        [self.issuer.as_bytes(), &[0], self.serial.as_bytes()].concat()
    }

    /// From a key of [`CERTIFICATES`], if it is one.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let zero = key.iter().position(|octet| *octet == 0)?;
        Some(CertificateId {
            issuer: String::from_utf8(key[..zero].to_vec()).ok()?,
            serial: SerialNumber::from_der_content(&key[zero + 1..]).ok()?,
        })
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.issuer, self.serial)
    }
}

impl FromStr for CertificateId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (issuer, serial) = text.split_once('/').ok_or("a certificate is named ISSUER/SERIAL, the serial in hex")?;
        let serial = serial.parse().map_err(|error: pki::serial::InvalidSerialNumber| error.to_string())?;
        Ok(CertificateId { issuer: issuer.to_owned(), serial })
    }
}

/// Who or what a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A person, by user id, on a card.
    Person {
        /// The user id.
        user_id: String,
        /// The serial number of the card.
        card: String,
    },
    /// A registration station, by name.
    Station {
        /// Its name.
        name: String,
    },
    /// An OCSP responder as a client of the status feed, by name. Its OCSP signers are the service's.
    Responder {
        /// Its name.
        name: String,
    },
    /// A part of this service: its TLS door, an OCSP signer, an issuing CA.
    Service {
        /// Its name.
        name: String,
    },
}

impl Holder {
    /// The term in [`BY_HOLDER`]: `person:…`, `station:…`, `responder:…` or `service:…`.
    pub fn term(&self) -> String {
        match self {
            Holder::Person { user_id, .. } => format!("person:{user_id}"),
            Holder::Station { name } => format!("station:{name}"),
            Holder::Responder { name } => format!("responder:{name}"),
            Holder::Service { name } => format!("service:{name}"),
        }
    }

    /// The card, if it is on one.
    pub fn card(&self) -> Option<&str> {
        match self {
            Holder::Person { card, .. } => Some(card),
            _ => None,
        }
    }
}

/// The state of a certificate, with what belongs to that state alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// Its serial number is taken; a signature may exist.
    Reserved {
        /// The server that reserved it; only it, or a leader after the lease, makes it void.
        owner: String,
        /// When the lease ends.
        lease_until: Timestamp,
    },
    /// Signed; nobody has confirmed that it is on its card.
    Pending {
        /// Since when.
        since: Timestamp,
        /// When it is revoked unless it was confirmed.
        confirm_by: Timestamp,
    },
    /// Valid.
    Good {
        /// Since when.
        since: Timestamp,
    },
    /// On hold, for as long as its card is.
    OnHold {
        /// Since when.
        since: Timestamp,
    },
    /// Revoked for good.
    Revoked {
        /// The revocation date: that of the hold, where one was made final (conformance: C9).
        at: Timestamp,
        /// Why.
        reason: CrlReason,
        /// Since when the key is thought to have been in other hands.
        invalidity_date: Option<Timestamp>,
    },
    /// Reserved, and never known to be signed.
    Void {
        /// The time of the reservation.
        at: Timestamp,
    },
}

impl CertificateState {
    /// The state's name.
    pub fn name(&self) -> &'static str {
        match self {
            CertificateState::Reserved { .. } => "reserved",
            CertificateState::Pending { .. } => "pending",
            CertificateState::Good { .. } => "good",
            CertificateState::OnHold { .. } => "on_hold",
            CertificateState::Revoked { .. } => "revoked",
            CertificateState::Void { .. } => "void",
        }
    }
}

/// A change that the certificate's state does not permit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate {certificate} is {state}, so it cannot be {event}")]
pub struct InvalidTransition {
    /// The certificate.
    pub certificate: CertificateId,
    /// Its state.
    pub state: &'static str,
    /// What was to be done.
    pub event: &'static str,
}

/// What is kept of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Issuer and serial number.
    pub id: CertificateId,
    /// The profile's name.
    pub profile: String,
    /// The version of the profile set.
    pub profile_version: String,
    /// Who or what it is for.
    pub holder: Holder,
    /// notBefore.
    pub not_before: Timestamp,
    /// notAfter.
    pub not_after: Timestamp,
    /// When its serial number was reserved.
    pub reserved_at: Timestamp,
    /// SHA-256 of the bytes to be signed.
    #[serde(with = "serde_bytes")]
    pub tbs_digest: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo.
    #[serde(with = "serde_bytes")]
    pub key_digest: Vec<u8>,
    /// What the request asked for and did not get (conformance: R10).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ignored: BTreeSet<String>,
    /// The partition of its issuer's CRL that it names, drawn when it was reserved; `None` when it names the full CRL
    /// (conformance: C12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_shard: Option<u16>,
    /// The certificate, from *pending* on.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    pub der: Option<Vec<u8>>,
    /// Its state.
    pub state: CertificateState,
}

impl Record for CertificateRecord {
    const TABLE: Table = CERTIFICATES;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.id.key()
    }

    fn terms(&self) -> Vec<Term> {
        let mut terms = vec![
            Term::new(BY_HOLDER, self.holder.term()),
            Term::new(BY_KEY, self.key_digest.clone()),
            Term::new(BY_NOT_AFTER, self.not_after.unix_millis().to_be_bytes()),
        ];
        if let Some(card) = self.holder.card() {
            terms.push(Term::new(BY_CARD, card));
        }
        match self.state {
            CertificateState::Reserved { .. } => terms.push(Term::new(BY_OPEN_STATE, "reserved")),
            CertificateState::Pending { .. } => terms.push(Term::new(BY_OPEN_STATE, "pending")),
            _ => {}
        }
        if !matches!(self.state, CertificateState::Reserved { .. } | CertificateState::Good { .. }) {
            terms.push(Term::new(BY_REVOKED_ISSUER, self.id.issuer.as_str()));
        }
        terms
    }
}

impl CertificateRecord {
    /// The feed entry for its state; none while it is reserved, when it is answered as unknown.
    // conformance: O5
    pub fn status_entry(&self) -> Option<StatusEntry> {
        let status = match self.state {
            CertificateState::Reserved { .. } => return None,
            CertificateState::Pending { since, .. } => PublishedStatus::Pending { since },
            CertificateState::Good { since } => PublishedStatus::Good { since },
            CertificateState::OnHold { since } => PublishedStatus::OnHold { since },
            CertificateState::Revoked { at, reason, invalidity_date } => {
                PublishedStatus::Revoked { at, reason, invalidity_date }
            }
            CertificateState::Void { at } => PublishedStatus::Void { at },
        };
        Some(StatusEntry {
            issuer: self.id.issuer.clone(),
            serial: self.id.serial,
            status,
            not_after: self.not_after,
            shard: self.crl_shard,
        })
    }

    /// Whether it is good and in its validity period.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        matches!(self.state, CertificateState::Good { .. }) && self.not_before <= now && now <= self.not_after
    }

    fn refuse(&self, event: &'static str) -> InvalidTransition {
        InvalidTransition { certificate: self.id.clone(), state: self.state.name(), event }
    }

    /// *Reserved → pending*: signed, to be confirmed by `confirm_by`.
    ///
    /// # Errors
    /// From any other state: a late answer from the token cannot revive a void certificate.
    pub fn pending(mut self, der: Vec<u8>, now: Timestamp, confirm_by: Timestamp) -> Result<Self, InvalidTransition> {
        match self.state {
            CertificateState::Reserved { .. } => {
                self.der = Some(der);
                self.state = CertificateState::Pending { since: now.whole_seconds(), confirm_by };
                Ok(self)
            }
            _ => Err(self.refuse("made pending")),
        }
    }

    /// *Reserved → good*, for what needs no confirmation: stations, service TLS, OCSP signers, CAs.
    ///
    /// # Errors
    /// From any other state.
    pub fn good(mut self, der: Vec<u8>, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self.state {
            CertificateState::Reserved { .. } => {
                self.der = Some(der);
                self.state = CertificateState::Good { since: now.whole_seconds() };
                Ok(self)
            }
            _ => Err(self.refuse("made good")),
        }
    }

    /// *Pending → good*: it is on its card.
    ///
    /// # Errors
    /// From any other state.
    pub fn confirm(mut self, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self.state {
            CertificateState::Pending { .. } => {
                self.state = CertificateState::Good { since: now.whole_seconds() };
                Ok(self)
            }
            _ => Err(self.refuse("confirmed")),
        }
    }

    /// *Good → on hold*.
    ///
    /// # Errors
    /// From any other state.
    pub fn hold(mut self, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self.state {
            CertificateState::Good { .. } => {
                self.state = CertificateState::OnHold { since: now.whole_seconds() };
                Ok(self)
            }
            _ => Err(self.refuse("put on hold")),
        }
    }

    /// *On hold → good*.
    ///
    /// # Errors
    /// From any other state.
    pub fn release(mut self, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self.state {
            CertificateState::OnHold { .. } => {
                self.state = CertificateState::Good { since: now.whole_seconds() };
                Ok(self)
            }
            _ => Err(self.refuse("taken off hold")),
        }
    }

    /// *Pending, good or on hold → revoked*. What was shown as on hold keeps that date (conformance: C9).
    ///
    /// # Errors
    /// From any other state.
    pub fn revoke(
        mut self,
        now: Timestamp,
        reason: CrlReason,
        invalidity_date: Option<Timestamp>,
    ) -> Result<Self, InvalidTransition> {
        let at = match self.state {
            CertificateState::Good { .. } => now.whole_seconds(),
            CertificateState::Pending { since, .. } | CertificateState::OnHold { since } => since,
            _ => return Err(self.refuse("revoked")),
        };
        let invalidity_date = invalidity_date.map(|date| date.whole_seconds().min(at));
        self.state = CertificateState::Revoked { at, reason, invalidity_date };
        Ok(self)
    }

    /// *Reserved → void*.
    ///
    /// # Errors
    /// From any other state.
    pub fn void(mut self) -> Result<Self, InvalidTransition> {
        match self.state {
            CertificateState::Reserved { .. } => {
                self.state = CertificateState::Void { at: self.reserved_at.whole_seconds() };
                Ok(self)
            }
            _ => Err(self.refuse("made void")),
        }
    }
}

impl CertificateRecord {
    /// The audit record of its coming into being.
    pub fn audit(&self, now: Timestamp, actor: &Actor, outcome: Outcome, follows: Option<&str>) -> AuditRecord {
        let mut record = AuditRecord::new(now, actor.clone(), "certificate.issue", outcome)
            .on("certificate", &self.id)
            .fact("state", self.state.name())
            .fact("profile", &self.profile)
            .fact("profile_version", &self.profile_version)
            .fact("holder", self.holder.term())
            .fact("not_after", self.not_after)
            .fact("tbs_sha256", HEXLOWER.encode(&self.tbs_digest));
        record.follows = follows.map(str::to_owned);
        record
    }
}

/// The record of one certificate.
///
/// # Errors
/// [`Error::NoSuchCertificate`], or the store's.
pub fn load(store: &dyn Store, id: &CertificateId) -> Result<Versioned<CertificateRecord>, Error> {
    store::load::<CertificateRecord>(store, &id.key())?.ok_or_else(|| Error::NoSuchCertificate(id.clone()))
}

/// Writes a certificate's new state into a batch, with its feed entry and its audit record.
///
/// # Errors
/// When a part of it cannot be encoded.
pub fn change(
    batch: &mut Batch,
    stored: &Versioned<CertificateRecord>,
    next: &CertificateRecord,
    actor: &Actor,
    follows: Option<&str>,
) -> Result<(), Error> {
    batch.update(&stored.with(next.clone()))?;
    if let Some(entry) = next.status_entry() {
        batch.feed.push(entry.encode());
    }
    let now = Timestamp::from_unix_millis(batch.at);
    let record = if matches!(stored.record.state, CertificateState::Reserved { .. }) {
        let outcome = match next.state {
            CertificateState::Void { .. } => Outcome::Failed { cause: "void".to_owned() },
            _ => Outcome::Done,
        };
        next.audit(now, actor, outcome, follows)
    } else {
        let mut record = AuditRecord::new(now, actor.clone(), "certificate.status", Outcome::Done)
            .on("certificate", &next.id)
            .fact("from", stored.record.state.name())
            .fact("to", next.state.name());
        if let CertificateState::Revoked { reason, invalidity_date, .. } = &next.state {
            record = record.fact("reason", reason);
            if let Some(date) = invalidity_date {
                record = record.fact("invalidity_date", date);
            }
        }
        record.follows = follows.map(str::to_owned);
        record
    };
    crate::record(batch, &record)
}

/// The certificates with this term in an index, at most `limit`.
fn by_term(store: &dyn Store, index: Index, term: &[u8], limit: usize) -> Result<Vec<CertificateId>, Error> {
    let mut ids = Vec::new();
    let mut after = None;
    while ids.len() < limit {
        let page = store.by_index(index, term, None, after.take(), (limit - ids.len()).min(1000))?;
        ids.extend(
            page.entries
                .iter()
                .filter(|entry| entry.term == term)
                .filter_map(|entry| CertificateId::from_key(&entry.key)),
        );
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(ids)
}

/// All certificates with this public key, by the SHA-256 of its SubjectPublicKeyInfo.
///
/// # Errors
/// The store's.
pub fn with_key(store: &dyn Store, digest: &[u8]) -> Result<Vec<CertificateId>, Error> {
    by_term(store, BY_KEY, digest, usize::MAX)
}

/// All certificates that were ever on this card.
///
/// # Errors
/// The store's.
pub fn on_card(store: &dyn Store, card: &str) -> Result<Vec<CertificateId>, Error> {
    by_term(store, BY_CARD, card.as_bytes(), usize::MAX)
}

/// All certificates of this holder.
///
/// # Errors
/// The store's.
pub fn of_holder(store: &dyn Store, holder: &Holder) -> Result<Vec<CertificateId>, Error> {
    by_term(store, BY_HOLDER, holder.term().as_bytes(), usize::MAX)
}

/// The record of a certificate that somebody shows, if it is one of ours, byte for byte.
///
/// # Errors
/// The store's.
pub fn find(
    store: &dyn Store,
    shown: &ParsedCertificate,
    shown_der: &[u8],
) -> Result<Option<CertificateRecord>, Error> {
    for id in with_key(store, &shown.public_key().digest())? {
        let record = load(store, &id)?.record;
        if record.der.as_deref() == Some(shown_der) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The certificates that are *reserved*, at most `limit`.
///
/// # Errors
/// The store's.
pub fn reserved(store: &dyn Store, limit: usize) -> Result<Vec<CertificateId>, Error> {
    by_term(store, BY_OPEN_STATE, b"reserved", limit)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn record(state: CertificateState) -> CertificateRecord {
        CertificateRecord {
            id: CertificateId { issuer: "authentication-1".into(), serial: SerialNumber::from_random([7; 16]) },
            profile: "card-authentication".into(),
            profile_version: "1".into(),
            holder: Holder::Person { user_id: "555000000018".into(), card: "C1".into() },
            not_before: Timestamp::from_unix_seconds(100),
            not_after: Timestamp::from_unix_seconds(100_000),
            reserved_at: Timestamp::from_unix_seconds(100),
            tbs_digest: vec![1; 32],
            key_digest: vec![2; 32],
            ignored: BTreeSet::new(),
            crl_shard: None,
            der: None,
            state,
        }
    }

    fn reserved() -> CertificateRecord {
        record(CertificateState::Reserved { owner: "one".into(), lease_until: Timestamp::from_unix_seconds(130) })
    }

    #[test]
    fn a_late_answer_from_the_token_does_not_revive_a_void_certificate() {
        let void = reserved().void().unwrap();
        assert!(void.clone().pending(vec![1], Timestamp::from_unix_seconds(200), Timestamp::MAX).is_err());
        assert!(void.good(vec![1], Timestamp::from_unix_seconds(200)).is_err());
    }

    #[test]
    fn a_void_certificate_counts_from_its_reservation() {
        // conformance: O5
        let void = reserved().void().unwrap();
        assert_eq!(
            void.status_entry().unwrap().status,
            PublishedStatus::Void { at: Timestamp::from_unix_seconds(100) }
        );
    }

    #[test]
    fn a_hold_that_is_made_final_keeps_its_date() {
        // conformance: C9
        let held = record(CertificateState::OnHold { since: Timestamp::from_unix_seconds(500) });
        let late = Some(Timestamp::from_unix_seconds(900));
        let revoked = held.revoke(Timestamp::from_unix_seconds(900), CrlReason::KeyCompromise, late).unwrap();
        assert_eq!(
            revoked.state,
            CertificateState::Revoked {
                at: Timestamp::from_unix_seconds(500),
                reason: CrlReason::KeyCompromise,
                invalidity_date: Some(Timestamp::from_unix_seconds(500)),
            }
        );
    }

    #[test]
    fn a_reserved_certificate_is_not_published() {
        assert_eq!(reserved().status_entry(), None);
    }

    #[test]
    fn ids_are_read_back_from_text_and_key() {
        let id = reserved().id;
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!(CertificateId::from_key(&id.key()), Some(id));
    }

    proptest! {
        /// Whatever happens in whatever order, revoked and void stay what they are.
        #[test]
        fn revoked_and_void_are_final(events in proptest::collection::vec(0u8..7, 1..30)) {
            let mut current = reserved();
            for (step, event) in events.into_iter().enumerate() {
                let now = Timestamp::from_unix_seconds(200 + step as i64);
                let before = current.clone();
                let after = match event {
                    0 => current.pending(vec![1], now, Timestamp::MAX),
                    1 => current.good(vec![1], now),
                    2 => current.confirm(now),
                    3 => current.hold(now),
                    4 => current.release(now),
                    5 => current.revoke(now, CrlReason::Superseded, None),
                    _ => current.void(),
                };
                if matches!(before.state, CertificateState::Revoked { .. } | CertificateState::Void { .. }) {
                    prop_assert!(after.is_err());
                }
                current = after.unwrap_or(before);
            }
        }
    }
}
