//! Short CRLs, which are held as a whole: the root's, made from the store while the root's key is present. Those of the
//! issuing CAs are [`crate::publication`]'s. A number is taken in one commit, the CRL is signed, and its publication is
//! recorded in a second one.

use std::time::Duration;

use audit::{Actor, AuditRecord, Outcome};
use hsm::Signer;
use pki::crl::{CrlEntry, CrlHeader, CrlNumber, PreparedCrl, prepare_crl};
use pki::{CrlReason, IssuerDescription, Timestamp};
use store::{Batch, Store};

use crate::certificate::{self, BY_REVOKED_ISSUER, CertificateId, CertificateRecord, CertificateState};
use crate::issuer::IssuerRecord;
use crate::publication::next_number;
use crate::{Error, batch, record};

/// How long CRLs are valid, and what is left out of them.
#[derive(Clone, Copy, Debug)]
pub struct CrlSchedule {
    /// thisUpdate to the next scheduled CRL.
    pub interval: Duration,
    /// How much longer a CRL is valid than the interval.
    pub overlap: Duration,
}

/// A CRL whose number is taken, not yet signed.
#[derive(Debug)]
pub struct NumberedCrl {
    issuer: IssuerDescription,
    prepared: PreparedCrl,
    entries: Vec<CrlEntry>,
    published: PublishedCrl,
}

/// A signed CRL, verified with its issuer's key.
#[derive(Clone, Debug)]
pub struct PublishedCrl {
    /// Issuer id.
    pub issuer: String,
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// How many entries it has.
    pub entries: usize,
    /// The CRL; empty until it is signed.
    pub der: Vec<u8>,
}

/// Takes the next number of an issuer's CRLs and builds the CRL of what is revoked. Commit the batch, then sign.
///
/// # Errors
/// When the issuer is not known, a row cannot be read, or the CRL cannot be built.
pub fn begin(
    store: &dyn Store,
    issuer: &IssuerDescription,
    schedule: CrlSchedule,
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, NumberedCrl), Error> {
    let stored = store::load::<IssuerRecord>(store, issuer.id.as_bytes())?
        .ok_or_else(|| Error::NoSuchIssuer(issuer.id.clone()))?;
    let this_update = now.whole_seconds();
    let next_update = this_update.plus(schedule.interval + schedule.overlap).min(issuer.not_after);
    let number = next_number(store, stored.record.crl_number, this_update)?;

    let mut entries = entries(store, &issuer.id, stored.record.last_crl)?;
    entries.sort_unstable_by_key(|entry| entry.serial);
    let header = CrlHeader {
        issuer,
        number: CrlNumber::from(number),
        this_update,
        next_update,
        base: None,
        distribution_point: None,
        freshest_crl: None,
        expired_certs_on_crl: None,
    };
    let prepared = prepare_crl(&header, &entries)?;

    let mut batch = batch(now);
    batch.update(&stored.with(IssuerRecord { crl_number: number, ..stored.record.clone() }))?;
    let published = PublishedCrl {
        issuer: issuer.id.clone(),
        number,
        this_update,
        next_update,
        entries: entries.len(),
        der: Vec::new(),
    };
    record(&mut batch, &published.audit(actor, now, Outcome::Intent))?;
    Ok((batch, NumberedCrl { issuer: issuer.clone(), prepared, entries, published }))
}

impl NumberedCrl {
    /// What it is made from, for a key that is in another process.
    pub fn inputs(&self) -> (&PublishedCrl, &[CrlEntry]) {
        (&self.published, &self.entries)
    }

    /// Signs the CRL, and verifies the signature.
    ///
    /// # Errors
    /// When the token does not sign, or the signature does not verify.
    pub fn sign(self, signer: &dyn Signer) -> Result<PublishedCrl, Error> {
        let signature = signer.sign_digest(self.prepared.digest())?;
        let mut der = Vec::new();
        self.prepared.write(&self.entries, &signature, &self.issuer.public_key, &mut der)?;
        Ok(PublishedCrl { der, ..self.published })
    }
}

impl PublishedCrl {
    /// The commit that records its publication.
    ///
    /// # Errors
    /// When the issuer is not known or the record cannot be written.
    pub fn published(&self, store: &dyn Store, actor: &Actor, now: Timestamp) -> Result<Batch, Error> {
        let stored = store::load::<IssuerRecord>(store, self.issuer.as_bytes())?
            .ok_or_else(|| Error::NoSuchIssuer(self.issuer.clone()))?;
        let last_crl = stored.record.last_crl.max(Some(self.this_update));
        let mut batch = batch(now);
        batch.update(&stored.with(IssuerRecord { last_crl, ..stored.record.clone() }))?;
        record(&mut batch, &self.audit(actor, now, Outcome::Done))?;
        Ok(batch)
    }

    fn audit(&self, actor: &Actor, now: Timestamp, outcome: Outcome) -> AuditRecord {
        AuditRecord::new(now, actor.clone(), "crl.publish", outcome)
            .on("issuer", &self.issuer)
            .fact("number", self.number)
            .fact("entries", self.entries)
            .fact("next_update", self.next_update)
    }
}

/// What stands on an issuer's full CRL. A certificate that expired before the last CRL was made has been on one CRL past
/// its end, and is left out from now on.
// conformance: C8, C13
fn entries(store: &dyn Store, issuer: &str, last_crl: Option<Timestamp>) -> Result<Vec<CrlEntry>, Error> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let page = store.by_index(BY_REVOKED_ISSUER, issuer.as_bytes(), None, after.take(), 1000)?;
        for found in page.entries.iter().filter(|entry| entry.term == issuer.as_bytes()) {
            let Some(id) = CertificateId::from_key(&found.key) else { continue };
            let stored = certificate::load(store, &id)?;
            if last_crl.is_none_or(|last| stored.record.not_after >= last) {
                entries.extend(entry(&stored.record));
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(entries),
        }
    }
}

// conformance: O5
fn entry(record: &CertificateRecord) -> Option<CrlEntry> {
    let (at, reason, invalidity_date) = match record.state {
        CertificateState::Pending { since, .. } | CertificateState::OnHold { since } => {
            (since, CrlReason::CertificateHold, None)
        }
        CertificateState::Revoked { at, reason, invalidity_date } => (at, reason, invalidity_date),
        CertificateState::Void { at } => (at, CrlReason::CessationOfOperation, None),
        CertificateState::Reserved { .. } | CertificateState::Good { .. } => return None,
    };
    Some(CrlEntry { serial: record.id.serial, at, reason: reason.into(), invalidity_date })
}
