//! Building of full CRLs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_CRL_NUMBER, ID_CE_CRL_REASONS, ID_CE_INVALIDITY_DATE,
};
use der::asn1::{AnyRef, OctetString};
use der::{Decode, Encode, Sequence, Tag};
use spki::AlgorithmIdentifierRef;
use x509_cert::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;
use x509_cert::time::Time;

use super::wire::{SealError, generalized_time, seal, x509_time};
use super::{CrlEntry, CrlError, CrlNumber};
use crate::{CrlReason, IssuerDescription, PublicKey, SignatureAlgorithm, Timestamp};

/// `TBSCertList` (RFC 5280 5.1). The issuer is the CA's subject as it stands in its certificate, and the entries are
/// encoded one by one, so that a list of a million is not held twice.
#[derive(Sequence)]
struct TbsCertList<'a> {
    version: Version,
    signature: AlgorithmIdentifierRef<'a>,
    issuer: AnyRef<'a>,
    this_update: Time,
    next_update: Time,
    revoked_certificates: Option<AnyRef<'a>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    crl_extensions: Vec<Extension>,
}

/// `SEQUENCE { userCertificate, revocationDate, crlEntryExtensions OPTIONAL }`
#[derive(Sequence)]
struct RevokedCertificate<'a> {
    user_certificate: AnyRef<'a>,
    revocation_date: Time,
    crl_entry_extensions: Option<Vec<Extension>>,
}

/// A CRL whose bytes are fixed and wait for their signature.
#[derive(Debug)]
pub struct PreparedCrl {
    tbs_der: Vec<u8>,
    algorithm: SignatureAlgorithm,
    number: CrlNumber,
}

/// A CRL that its issuer signed.
#[derive(Clone, Debug)]
pub struct SignedCrl {
    der: Vec<u8>,
    number: CrlNumber,
}

impl From<der::Error> for CrlError {
    fn from(error: der::Error) -> Self {
        CrlError::Encoding(error)
    }
}

/// Fixes the bytes of a full CRL of `issuer`. Entries may come in any order; times are cut to whole seconds.
///
/// # Errors
/// When a serial number is there twice, nextUpdate is not after thisUpdate, or a time cannot be expressed.
// conformance: C1, C2, C3, C4, C5, C8, C10, C14
pub fn prepare_crl(
    issuer: &IssuerDescription,
    number: CrlNumber,
    this_update: Timestamp,
    next_update: Timestamp,
    entries: impl IntoIterator<Item = CrlEntry>,
) -> Result<PreparedCrl, CrlError> {
    if next_update.whole_seconds() <= this_update.whole_seconds() {
        return Err(CrlError::Times { this_update, next_update });
    }
    // Ordered as numbers: serial numbers are in their shortest form, so the longer one is the larger one.
    let mut sorted = BTreeMap::new();
    for entry in entries {
        match sorted.entry((entry.serial.as_bytes().len(), entry.serial)) {
            Entry::Occupied(_) => return Err(CrlError::Duplicate(entry.serial)),
            Entry::Vacant(place) => place.insert(entry),
        };
    }
    let mut revoked = Vec::new();
    for entry in sorted.values() {
        encode_entry(entry, &mut revoked)?;
    }
    drop(sorted);

    let authority_key_identifier = AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(issuer.key_identifier.as_slice())?),
        ..AuthorityKeyIdentifier::default()
    };
    let crl_number = AnyRef::new(Tag::Integer, number.as_bytes())?;
    let algorithm = issuer.signature_algorithm();
    let tbs_der = TbsCertList {
        version: Version::V2,
        signature: algorithm.identifier(),
        issuer: AnyRef::from_der(&issuer.subject_der)?,
        this_update: x509_time(this_update)?,
        next_update: x509_time(next_update)?,
        revoked_certificates: if revoked.is_empty() { None } else { Some(AnyRef::new(Tag::Sequence, &revoked)?) },
        crl_extensions: vec![
            extension(ID_CE_AUTHORITY_KEY_IDENTIFIER, &authority_key_identifier)?,
            extension(ID_CE_CRL_NUMBER, &crl_number)?,
        ],
    }
    .to_der()?;
    Ok(PreparedCrl { tbs_der, algorithm, number })
}

fn encode_entry(entry: &CrlEntry, out: &mut Vec<u8>) -> Result<(), CrlError> {
    let mut extensions = Vec::new();
    if entry.reason != CrlReason::Unspecified {
        let code = [entry.reason.code()];
        extensions.push(extension(ID_CE_CRL_REASONS, &AnyRef::new(Tag::Enumerated, &code)?)?);
    }
    // A date that cannot be written is left out: one entry must not keep a CRL from being made.
    if let Some(Ok(date)) = entry.invalidity_date.map(|date| generalized_time(date.min(entry.at))) {
        extensions.push(extension(ID_CE_INVALIDITY_DATE, &date)?);
    }
    RevokedCertificate {
        user_certificate: AnyRef::new(Tag::Integer, entry.serial.as_bytes())?,
        revocation_date: x509_time(entry.at)?,
        crl_entry_extensions: (!extensions.is_empty()).then_some(extensions),
    }
    .encode_to_vec(out)?;
    Ok(())
}

/// None of the extensions written here is critical.
fn extension(extn_id: ObjectIdentifier, value: &impl Encode) -> der::Result<Extension> {
    Ok(Extension { extn_id, critical: false, extn_value: OctetString::new(value.to_der()?)? })
}

impl PreparedCrl {
    /// The `TBSCertList`: what is to be signed.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// What it is to be signed with.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Its cRLNumber.
    pub fn number(&self) -> CrlNumber {
        self.number
    }

    /// Puts the signature to it, after verifying it with the issuer's key.
    ///
    /// # Errors
    /// [`CrlError::Signature`] when the signature is not by that key.
    pub fn assemble(self, signature: &[u8], issuer_key: &PublicKey) -> Result<SignedCrl, CrlError> {
        match seal(&self.tbs_der, self.algorithm, signature, issuer_key) {
            Ok(der) => Ok(SignedCrl { der, number: self.number }),
            Err(SealError::Signature) => Err(CrlError::Signature),
            Err(SealError::Encoding(error)) => Err(CrlError::Encoding(error)),
        }
    }
}

impl SignedCrl {
    /// The DER `CertificateList`.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The same, given away.
    pub fn into_der(self) -> Vec<u8> {
        self.der
    }

    /// Its cRLNumber.
    pub fn number(&self) -> CrlNumber {
        self.number
    }
}
