//! One certificate on its way: reserve → sign → commit, in that order by type.
//!
//! A [`Reservation`] can be written into a batch, and nothing else. With the proof that the batch was committed it
//! becomes [`Reserved`], which can be signed, once. [`Signed`] goes into the second commit. No step can be left out, and
//! what was linted is what is signed: the bytes never leave the [`PreparedCertificate`].

use std::collections::BTreeSet;

use audit::{Actor, Outcome};
use hsm::Signer;
use pki::certificate::{PreparedCertificate, SignedCertificate, SubjectFields};
use pki::{PublicKey, Timestamp};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use store::{Batch, Committed, Record, Store, Table, Term, Versioned};

use crate::authority::{Authority, IssuingKey};
use crate::certificate::{CertificateId, CertificateRecord, CertificateState, Holder};
use crate::{Error, certificate, compromised};

/// Public keys that were ever certified, by digest: what makes rule R8 hold when two ask at once.
pub const KEYS: Table = Table::new("key");

/// A public key and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// SHA-256 of the SubjectPublicKeyInfo.
    #[serde(with = "serde_bytes")]
    pub digest: Vec<u8>,
    /// [`Holder::term`] of the one that it belongs to.
    pub holder: String,
    /// Whether it is a CA's own.
    pub is_ca: bool,
}

impl Record for KeyRecord {
    const TABLE: Table = KEYS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.digest.clone()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// A certificate that is wanted.
#[derive(Debug)]
pub struct Order<'a> {
    /// The profile's name.
    pub profile: &'a str,
    /// What the registry says about the subject.
    pub subject: &'a SubjectFields,
    /// The key to be certified; possession of the private key was proved.
    pub key: &'a PublicKey,
    /// What the request asked for and does not get.
    pub ignored: BTreeSet<String>,
    /// Who or what it is for.
    pub holder: Holder,
    /// A part of the profile's jitter, from 0 to 1: drawn once per pair, so that both end together.
    pub jitter: f64,
    /// A shorter life than the profile's, if any: for OCSP signers.
    pub life: Option<std::time::Duration>,
}

/// A serial number and the bytes to be signed, not yet durable: cannot be signed.
#[derive(Debug)]
#[must_use = "a reservation is nothing until it is committed"]
pub struct Reservation {
    prepared: PreparedCertificate,
    record: CertificateRecord,
    key: Option<KeyEntry>,
}

/// What the first commit says about the key: whichever of two requests comes second finds it changed.
#[derive(Debug)]
pub(crate) enum KeyEntry {
    /// It was never seen.
    New(KeyRecord),
    /// It was, and may be certified again.
    Known(Versioned<KeyRecord>),
}

/// A durable reservation: may be signed, once.
#[derive(Debug)]
#[must_use = "a reservation that is not used must be made void"]
pub struct Reserved {
    prepared: PreparedCertificate,
    record: CertificateRecord,
}

/// A signed certificate, verified with its issuer's key, whose result is not yet durable: it must not leave.
#[derive(Debug)]
#[must_use = "a signed certificate must be committed"]
pub struct Signed {
    certificate: SignedCertificate,
    record: CertificateRecord,
}

/// The token did not sign. The reservation must be made void.
#[derive(Debug, thiserror::Error)]
#[error("certificate {id} was not signed: {error}")]
pub struct SignFailure {
    /// The reservation.
    pub id: CertificateId,
    /// Why.
    #[source]
    pub error: Box<Error>,
}

impl Authority {
    /// Takes a serial number and prepares the certificate: rules R6 and R8, profile, TBS, lint.
    ///
    /// # Errors
    /// When the key may not be used, the profile or its issuer does not permit the certificate, or the clock is behind.
    // conformance: R6, R8, E1, E2, E10, E11
    pub fn reserve(
        &self,
        store: &dyn Store,
        order: Order<'_>,
        now: Timestamp,
        random: &dyn SecureRandom,
    ) -> Result<Reservation, Error> {
        let issuer = self.issuer_for(order.profile)?;
        self.reserve_with(store, issuer, order, now, random)
    }

    /// The same by one issuer, whatever the configuration says of the profile: for what a CA certifies for itself.
    pub(crate) fn reserve_with(
        &self,
        store: &dyn Store,
        issuer: &IssuingKey,
        order: Order<'_>,
        now: Timestamp,
        random: &dyn SecureRandom,
    ) -> Result<Reservation, Error> {
        self.check_clock(store, now)?;
        let profile = self.profile(order.profile)?;
        let key = check_key(store, order.key, &order.holder)?;
        self.reserve_by(store, issuer.description(), profile, order, key, now, random)
    }

    #[expect(clippy::too_many_arguments, reason = "what is certified, by whom, and what every decision takes")]
    pub(crate) fn reserve_by(
        &self,
        store: &dyn Store,
        issuer: &pki::IssuerDescription,
        profile: &pki::profile::CertificateProfile,
        order: Order<'_>,
        key: Option<KeyEntry>,
        now: Timestamp,
        random: &dyn SecureRandom,
    ) -> Result<Reservation, Error> {
        self.check_strength(store, order.key, &order.holder)?;
        let mut octets = [0; pki::SerialNumber::RANDOM_OCTETS];
        random.fill(&mut octets).map_err(|_| Error::Random)?;
        let serial = pki::SerialNumber::from_random(octets);
        let validity = self.validity(profile, issuer, order.jitter, order.life, now)?;
        let subject = SubjectFields { organization: Some(self.organization().to_owned()), ..order.subject.clone() };
        let crl_shard = draw_shard(profile.crl_shards(), random)?;
        // conformance: C11
        let of_shard = crl_shard.map(|shard| issuer.with_crl_url(self.urls().crl_shard(&issuer.id, shard)));
        let issuer = of_shard.as_ref().unwrap_or(issuer);
        let prepared = pki::certificate::prepare(profile, issuer, &subject, order.key, serial, validity)?;
        let record = CertificateRecord {
            id: CertificateId { issuer: issuer.id.clone(), serial },
            profile: order.profile.to_owned(),
            profile_version: self.profiles().version().to_owned(),
            holder: order.holder,
            not_before: prepared.not_before(),
            not_after: prepared.not_after(),
            reserved_at: now,
            tbs_digest: prepared.tbs_digest().to_vec(),
            key_digest: order.key.digest().to_vec(),
            ignored: order.ignored,
            crl_shard,
            der: None,
            state: CertificateState::Reserved { owner: self.owner().to_owned(), lease_until: now.plus(self.lease()) },
        };
        Ok(Reservation { prepared, record, key })
    }
}

/// The partition of the CRL that a new certificate is in, each as likely as any other: a number that says nothing of the
/// holder, and that no later change of the profile changes.
fn draw_shard(shards: u16, random: &dyn SecureRandom) -> Result<Option<u16>, Error> {
    if shards == 0 {
        return Ok(None);
    }
    let mut octets = [0; 8];
    random.fill(&mut octets).map_err(|_| Error::Random)?;
    // Of 64 bits, what one partition is more likely than another is beyond measuring.
    Ok(Some((u64::from_be_bytes(octets) % u64::from(shards)) as u16 + 1))
}

/// Rule R8: the key was not seen for somebody else, is in no other certificate, and is no CA's own.
///
/// Returns what is to be written of the key.
fn check_key(store: &dyn Store, key: &PublicKey, holder: &Holder) -> Result<Option<KeyEntry>, Error> {
    let digest = key.digest();
    let Some(known) = store::load::<KeyRecord>(store, &digest)? else {
        let new = KeyRecord { digest: digest.to_vec(), holder: holder.term(), is_ca: false };
        return Ok(Some(KeyEntry::New(new)));
    };
    if known.record.is_ca {
        return Err(Error::KeyReuse("the key is a CA's own"));
    }
    if known.record.holder != holder.term() {
        return Err(Error::KeyReuse("the key was seen for somebody else"));
    }
    for id in certificate::with_key(store, &digest)? {
        match certificate::load(store, &id)?.record.state {
            // What was never issued does not use up a key: the request can be repeated.
            CertificateState::Void { .. } => {}
            CertificateState::Revoked { .. } => return Err(Error::KeyReuse("the key is in a revoked certificate")),
            _ => return Err(Error::KeyReuse("the key has a certificate already")),
        }
    }
    Ok(Some(KeyEntry::Known(known)))
}

impl Reservation {
    /// Which certificate it will be.
    pub fn id(&self) -> &CertificateId {
        &self.record.id
    }

    /// Writes serial number, TBS digest, key and the audit record of the intent into the first commit.
    ///
    /// # Errors
    /// When the audit record cannot be written.
    pub fn add_to(&self, batch: &mut Batch, actor: &Actor, follows: Option<&str>) -> Result<(), Error> {
        batch.create(&self.record)?;
        match &self.key {
            None => {}
            Some(KeyEntry::New(key)) => batch.create(key)?,
            Some(KeyEntry::Known(key)) => batch.update(key)?,
        }
        compromised::expect_none(batch, &self.record.key_digest);
        let intent = self.record.audit(Timestamp::from_unix_millis(batch.at), actor, Outcome::Intent, follows);
        crate::record(batch, &intent)
    }

    /// After the commit. The argument is the proof of it.
    pub fn committed(self, _: &Committed) -> Reserved {
        Reserved { prepared: self.prepared, record: self.record }
    }
}

impl Reserved {
    /// Which certificate it will be.
    pub fn id(&self) -> &CertificateId {
        &self.record.id
    }

    /// One call to the token, and the signature verified with the issuer's public key.
    ///
    /// # Errors
    /// When the token does not sign, or what it gives back does not verify.
    pub fn sign(self, signer: &dyn Signer) -> Result<Signed, SignFailure> {
        let id = self.record.id.clone();
        let signature = match signer.sign(self.prepared.tbs_der()) {
            Ok(signature) => signature,
            Err(error) => return Err(SignFailure { id, error: Box::new(error.into()) }),
        };
        match self.prepared.assemble(&signature, signer.public_key()) {
            Ok(certificate) => Ok(Signed { certificate, record: self.record }),
            Err(error) => Err(SignFailure { id, error: Box::new(error.into()) }),
        }
    }
}

impl Signed {
    /// Which certificate it is.
    pub fn id(&self) -> &CertificateId {
        &self.record.id
    }

    /// Writes the certificate into the second commit, as *pending* until `confirm_by`. Expects it to be *reserved*
    /// still. Returns the record as it will be.
    ///
    /// # Errors
    /// When it was made void meanwhile, or the record cannot be written.
    pub fn add_pending(
        &self,
        store: &dyn Store,
        batch: &mut Batch,
        confirm_by: Timestamp,
        actor: &Actor,
        follows: Option<&str>,
    ) -> Result<CertificateRecord, Error> {
        let now = Timestamp::from_unix_millis(batch.at);
        let der = self.certificate.der().to_vec();
        self.add(store, batch, actor, follows, |record| record.pending(der, now, confirm_by))
    }

    /// Writes the certificate into the second commit, as *good*. Expects it to be *reserved* still.
    ///
    /// # Errors
    /// When it was made void meanwhile, or the record cannot be written.
    pub fn add_good(
        &self,
        store: &dyn Store,
        batch: &mut Batch,
        actor: &Actor,
        follows: Option<&str>,
    ) -> Result<CertificateRecord, Error> {
        let now = Timestamp::from_unix_millis(batch.at);
        let der = self.certificate.der().to_vec();
        self.add(store, batch, actor, follows, |record| record.good(der, now))
    }

    fn add(
        &self,
        store: &dyn Store,
        batch: &mut Batch,
        actor: &Actor,
        follows: Option<&str>,
        transition: impl FnOnce(CertificateRecord) -> Result<CertificateRecord, certificate::InvalidTransition>,
    ) -> Result<CertificateRecord, Error> {
        let stored = certificate::load(store, &self.record.id)?;
        let next = transition(stored.record.clone())?;
        certificate::change(batch, &stored, &next, actor, follows)?;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_drawn_and_none_beside_them() {
        // conformance: C12
        let random = ring::rand::SystemRandom::new();
        let mut drawn = std::collections::BTreeMap::new();
        for _ in 0..4_000 {
            *drawn.entry(draw_shard(4, &random).unwrap().unwrap()).or_insert(0) += 1;
        }
        assert_eq!(drawn.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
        // 1,000 are expected of each, with a standard deviation of 27.
        assert!(drawn.values().all(|count| (700..1_300).contains(count)), "{drawn:?}");
        assert_eq!(draw_shard(0, &random).unwrap(), None);
    }
}
