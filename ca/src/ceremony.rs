//! Certificates that the root signs in another process than the service's, since the service never opens the root's
//! token.
//!
//! The service reserves the serial number and writes down the digest of the bytes to be signed (commit 1), and hands out
//! a [`Certification`]: all that the certificate is made from, and no bytes to be signed. Whoever holds the root's token
//! prepares the certificate again from it, by its own profiles and with its own linter, and signs only if the result has
//! that digest. The service takes the certificate in if it is the one that was reserved ([`accept`], commit 2).

use std::collections::BTreeSet;

use audit::{Actor, Outcome};
use hsm::Signer;
use pki::certificate::{
    ParsedCertificate, PreparedCertificate, SubjectFields, Validity, prepare, prepare_link, prepare_root,
};
use pki::profile::ProfileSet;
use pki::{PublicKey, SerialNumber, Timestamp};
use ring::rand::SecureRandom;
use sha2::{Digest, Sha256};
use store::{Batch, Store};

use crate::authority::{Authority, PublicUrls, describe_certificate};
use crate::certificate::{self, CertificateId, CertificateRecord, CertificateState, Holder};
use crate::{Error, compromised, record};

/// What kind of certificate the root signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An issuing CA's.
    IssuingCa,
    /// The root's own: new with new.
    Root,
    /// One key of the root by another: new with old, or old with new (RFC 9810 4.4).
    Link,
}

/// A certificate that is to be.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Its kind.
    pub form: Form,
    /// The issuer's id.
    pub issuer: &'a str,
    /// The issuer's certificate; empty for [`Form::Root`].
    pub issuer_certificate: &'a [u8],
    /// The profile's name.
    pub profile: &'a str,
    /// O of the subject.
    pub organization: &'a str,
    /// CN of the subject.
    pub common_name: &'a str,
    /// The key.
    pub key: &'a PublicKey,
    /// From when until when.
    pub validity: Validity,
}

/// All that a certificate of the root is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certification {
    /// Its kind.
    pub form: Form,
    /// The issuer's id, which is also its key's label.
    pub issuer: String,
    /// The issuer's certificate; empty for [`Form::Root`].
    pub issuer_certificate: Vec<u8>,
    /// The profile's name.
    pub profile: String,
    /// The version of the profile set.
    pub profile_version: String,
    /// The serial number.
    pub serial: SerialNumber,
    /// From when until when.
    pub validity: Validity,
    /// O of the subject.
    pub organization: String,
    /// CN of the subject.
    pub common_name: String,
    /// The key.
    pub key: PublicKey,
    /// SHA-256 of the bytes to be signed.
    pub tbs_digest: Vec<u8>,
}

impl Certification {
    /// Which certificate it will be.
    pub fn id(&self) -> CertificateId {
        CertificateId { issuer: self.issuer.clone(), serial: self.serial }
    }

    fn build(&self, profiles: &ProfileSet, urls: &PublicUrls) -> Result<PreparedCertificate, Error> {
        let profile = profiles.get(&self.profile).ok_or_else(|| {
            let names: Vec<&str> = profiles.iter().map(pki::profile::CertificateProfile::name).collect();
            Error::NoSuchProfile(self.profile.clone(), names.join(", "))
        })?;
        let subject = SubjectFields {
            common_name: Some(self.common_name.clone()),
            organization: Some(self.organization.clone()),
            ..SubjectFields::default()
        };
        let issuer = || describe_certificate(&self.issuer, true, &self.issuer_certificate, urls);
        Ok(match self.form {
            Form::Root => prepare_root(profile, &subject, &self.key, self.serial, self.validity)?,
            Form::IssuingCa => prepare(profile, &issuer()?, &subject, &self.key, self.serial, self.validity)?,
            Form::Link => prepare_link(profile, &issuer()?, &subject, &self.key, self.serial, self.validity)?,
        })
    }

    /// Prepares the certificate again, from the same inputs, by the profiles that are at hand here.
    ///
    /// # Errors
    /// When the profiles are others, the linter finds something, or the result is not what was reserved.
    // conformance: E10
    pub fn prepare(&self, profiles: &ProfileSet, urls: &PublicUrls) -> Result<PreparedCertificate, Error> {
        if profiles.version() != self.profile_version {
            let (here, reserved) = (profiles.version().to_owned(), self.profile_version.clone());
            return Err(Error::ProfilesDiffer { here, reserved });
        }
        let prepared = self.build(profiles, urls)?;
        if prepared.tbs_digest()[..] != self.tbs_digest[..] {
            return Err(Error::NotTheReserved(self.id()));
        }
        Ok(prepared)
    }

    /// Prepares it again, and signs it. The signature is verified with the issuer's public key.
    ///
    /// # Errors
    /// As [`Certification::prepare`]; when the token does not sign, or its key is not the issuer's.
    pub fn sign(&self, profiles: &ProfileSet, urls: &PublicUrls, signer: &dyn Signer) -> Result<Vec<u8>, Error> {
        let prepared = self.prepare(profiles, urls)?;
        let issuer_key = match self.form {
            Form::Root => self.key.clone(),
            _ => describe_certificate(&self.issuer, true, &self.issuer_certificate, urls)?.public_key,
        };
        if *signer.public_key() != issuer_key {
            return Err(pki::certificate::CertificateError::WrongIssuerKey.into());
        }
        let signature = signer.sign(prepared.tbs_der())?;
        Ok(prepared.assemble(&signature, &issuer_key)?.into_der())
    }
}

/// Takes a serial number for a certificate of the root, and writes the digest of what is to be signed into the first
/// commit. Whether the key is
/// in the set of compromised keys is asked where it is claimed for a CA ([`crate::hierarchy::claim_ca_key`]).
///
/// # Errors
/// When the certificate is not possible, or the record cannot be written.
#[expect(clippy::too_many_arguments, reason = "what is wanted, for whom, and what every decision takes")]
pub fn reserve(
    authority: &Authority,
    batch: &mut Batch,
    wanted: &Wanted<'_>,
    holder: Holder,
    actor: &Actor,
    follows: Option<&str>,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<Certification, Error> {
    authority.check_key_itself(wanted.key, &holder)?;
    let mut octets = [0; SerialNumber::RANDOM_OCTETS];
    random.fill(&mut octets).map_err(|_| Error::Random)?;
    let mut certification = Certification {
        form: wanted.form,
        issuer: wanted.issuer.to_owned(),
        issuer_certificate: wanted.issuer_certificate.to_vec(),
        profile: wanted.profile.to_owned(),
        profile_version: authority.profiles().version().to_owned(),
        serial: SerialNumber::from_random(octets),
        validity: wanted.validity,
        organization: wanted.organization.to_owned(),
        common_name: wanted.common_name.to_owned(),
        key: wanted.key.clone(),
        tbs_digest: Vec::new(),
    };
    certification.tbs_digest = certification.build(authority.profiles(), authority.urls())?.tbs_digest().to_vec();
    let reserved = CertificateRecord {
        id: certification.id(),
        profile: certification.profile.clone(),
        profile_version: certification.profile_version.clone(),
        holder,
        not_before: wanted.validity.not_before,
        not_after: wanted.validity.not_after,
        reserved_at: now,
        tbs_digest: certification.tbs_digest.clone(),
        key_digest: wanted.key.digest().to_vec(),
        ignored: BTreeSet::new(),
        crl_shard: None,
        der: None,
        state: CertificateState::Reserved {
            owner: authority.owner().to_owned(),
            lease_until: now.plus(authority.lease()),
        },
    };
    batch.create(&reserved)?;
    compromised::expect_none(batch, &reserved.key_digest);
    record(batch, &reserved.audit(now, actor, Outcome::Intent, follows))?;
    Ok(certification)
}

/// A certification whose reservation is in the store, again; `None` when it is not reserved any more.
///
/// # Errors
/// When the store fails, or there is no such certificate.
pub fn reserved_again(
    store: &dyn Store,
    wanted: &Wanted<'_>,
    serial: SerialNumber,
) -> Result<Option<Certification>, Error> {
    let id = CertificateId { issuer: wanted.issuer.to_owned(), serial };
    let stored = certificate::load(store, &id)?.record;
    if !matches!(stored.state, CertificateState::Reserved { .. }) {
        return Ok(None);
    }
    Ok(Some(Certification {
        form: wanted.form,
        issuer: wanted.issuer.to_owned(),
        issuer_certificate: wanted.issuer_certificate.to_vec(),
        profile: stored.profile,
        profile_version: stored.profile_version,
        serial,
        validity: Validity { not_before: stored.not_before, not_after: stored.not_after },
        organization: wanted.organization.to_owned(),
        common_name: wanted.common_name.to_owned(),
        key: wanted.key.clone(),
        tbs_digest: stored.tbs_digest,
    }))
}

/// Takes a certificate in that the root signed: it is good from this commit on. It must be the one that was reserved,
/// byte for byte, and its signature the issuer's.
///
/// # Errors
/// [`Error::NotTheReserved`], or when the reservation became void meanwhile.
// conformance: E9, E10
pub fn accept(
    store: &dyn Store,
    batch: &mut Batch,
    id: &CertificateId,
    issuer_key: &PublicKey,
    der: &[u8],
    actor: &Actor,
    follows: Option<&str>,
) -> Result<CertificateRecord, Error> {
    let stored = certificate::load(store, id)?;
    let parsed = ParsedCertificate::from_der(der)?;
    if parsed.serial() != id.serial || Sha256::digest(parsed.tbs_der())[..] != stored.record.tbs_digest[..] {
        return Err(Error::NotTheReserved(id.clone()));
    }
    parsed.verify_signed_by(issuer_key)?;
    let good = stored.record.clone().good(der.to_vec(), Timestamp::from_unix_millis(batch.at))?;
    certificate::change(batch, &stored, &good, actor, follows)?;
    Ok(good)
}
