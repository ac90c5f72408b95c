//! What a CRL says beside its entries.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_CRL_NUMBER, ID_CE_DELTA_CRL_INDICATOR, ID_CE_FRESHEST_CRL,
    ID_CE_ISSUING_DISTRIBUTION_POINT,
};
use der::asn1::{AnyRef, GeneralizedTime};
use der::{Decode, Tag, Tagged};
use sha2::{Digest, Sha256};
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, crl};

use super::entry::{EntryFault, each_extension};
use super::wire::{ExtensionRef, timestamp};
use super::{CrlError, CrlNumber};
use crate::{PublicKey, SignatureAlgorithm, Timestamp};

/// expiredCertsOnCRL (X.509 (10/2019) 9.5.2.8).
pub(super) const EXPIRED_CERTS_ON_CRL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.60");

/// More extensions than any CRL has.
const MAX_EXTENSIONS: usize = 32;

/// More addresses than any list of them has.
const MAX_URIS: usize = 16;

/// issuingDistributionPoint (RFC 5280 5.2.5): this list is about a part of what the CA issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuingDistributionPoint {
    /// The addresses in its fullName; one of them stands in the CRLDP of each certificate that the list is about.
    pub uris: Vec<String>,
    /// onlyContainsUserCerts.
    pub only_user_certs: bool,
    /// onlyContainsCACerts.
    pub only_ca_certs: bool,
}

/// What a CRL that was read says, beside its entries. Whether to believe it says [`CrlDescription::verify_signed_by`].
#[derive(Clone, Debug)]
pub struct CrlDescription {
    /// The DER of the issuer's name.
    pub issuer_der: Vec<u8>,
    /// What it is signed with.
    pub algorithm: SignatureAlgorithm,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// cRLNumber.
    pub number: CrlNumber,
    /// The key identifier in the authority key identifier.
    pub authority_key_identifier: Option<Vec<u8>>,
    /// BaseCRLNumber: this is a delta, and says only what changed since the list with that number.
    pub base: Option<CrlNumber>,
    /// This is a shard, or a delta of one: it says nothing of certificates that name another distribution point.
    pub distribution_point: Option<IssuingDistributionPoint>,
    /// freshestCRL: where its deltas are.
    pub freshest_crls: Vec<String>,
    /// expiredCertsOnCRL: what expired since then stays listed.
    pub expired_certs_on_crl: Option<Timestamp>,
    /// The identifiers of its extensions, and whether each is critical.
    pub extensions: Vec<(ObjectIdentifier, bool)>,
    /// How many entries it has.
    pub entries: u64,
    /// Whether its entries stand in the order of their serial numbers, which is what shows that none is there twice.
    pub in_order: bool,
    /// How long the whole list is, in octets.
    pub octets: u64,
    pub(super) times_in_right_form: bool,
    pub(super) authority_key_identifier_is_plain: bool,
    pub(super) digest: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl CrlDescription {
    /// Checks the signature.
    ///
    /// # Errors
    /// [`CrlError::Signature`] when it is not by this key.
    pub fn verify_signed_by(&self, issuer_key: &PublicKey) -> Result<(), CrlError> {
        issuer_key.verify_digest(self.algorithm, &self.digest, &self.signature).map_err(|_| CrlError::Signature)
    }

    /// Whether it is about all certificates of its issuer, and says everything: neither a delta nor a shard.
    pub fn is_complete(&self) -> bool {
        self.base.is_none() && self.distribution_point.is_none()
    }

    /// What distinguishes these very octets from those of any other list: SHA-256 of the signed part's digest, of the
    /// algorithm and of the signature. [`super::SignedCrlSummary::fingerprint`] is the same for the same list.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(self.algorithm, &self.digest, &self.signature)
    }
}

pub(super) fn fingerprint(algorithm: SignatureAlgorithm, digest: &[u8], signature: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The digest's length follows from the algorithm.
    hash.update(algorithm.oid().as_bytes());
    hash.update(digest);
    hash.update(signature);
    hash.finalize().into()
}

/// The extensions of a CRL, as they are read.
#[derive(Debug, Default)]
pub(super) struct ListExtensions {
    pub(super) number: Option<CrlNumber>,
    pub(super) authority_key_identifier: Option<Vec<u8>>,
    pub(super) authority_key_identifier_is_plain: bool,
    pub(super) base: Option<CrlNumber>,
    pub(super) distribution_point: Option<IssuingDistributionPoint>,
    pub(super) freshest_crls: Vec<String>,
    pub(super) expired_certs_on_crl: Option<Timestamp>,
    pub(super) present: Vec<(ObjectIdentifier, bool)>,
}

impl ListExtensions {
    /// Reads the content of `Extensions`, which was checked to be DER.
    pub(super) fn read(content: &[u8]) -> Result<Self, EntryFault> {
        let mut read = ListExtensions::default();
        each_extension(content, MAX_EXTENSIONS, |extension| read.take(&extension))?;
        Ok(read)
    }

    fn take(&mut self, extension: &ExtensionRef<'_>) -> Result<(), EntryFault> {
        let value = extension.extn_value;
        match extension.extn_id {
            ID_CE_CRL_NUMBER => self.number = Some(read_number(value)?),
            ID_CE_DELTA_CRL_INDICATOR => self.base = Some(read_number(value)?),
            ID_CE_AUTHORITY_KEY_IDENTIFIER => {
                let read = AuthorityKeyIdentifier::from_der(value).map_err(|_| "the AKI is malformed")?;
                self.authority_key_identifier_is_plain =
                    read.authority_cert_issuer.is_none() && read.authority_cert_serial_number.is_none();
                self.authority_key_identifier = read.key_identifier.map(|identifier| identifier.as_bytes().to_vec());
            }
            ID_CE_ISSUING_DISTRIBUTION_POINT => self.distribution_point = Some(read_distribution_point(value)?),
            ID_CE_FRESHEST_CRL => {
                let points = Vec::<DistributionPoint>::from_der(value).map_err(|_| "freshestCRL is malformed")?;
                for point in points {
                    self.freshest_crls.extend(uris(point.distribution_point.as_ref())?);
                }
                if self.freshest_crls.len() > MAX_URIS {
                    return Err("freshestCRL has more than 16 addresses".into());
                }
            }
            EXPIRED_CERTS_ON_CRL => {
                let date = GeneralizedTime::from_der(value).map_err(|_| "expiredCertsOnCRL is no GeneralizedTime")?;
                self.expired_certs_on_crl = Some(timestamp(date.to_unix_duration()));
            }
            oid if extension.critical => return Err(EntryFault::Error(CrlError::CriticalExtension(oid))),
            _ => {}
        }
        self.present.push((extension.extn_id, extension.critical));
        Ok(())
    }
}

fn read_number(value: &[u8]) -> Result<CrlNumber, EntryFault> {
    let number = AnyRef::from_der(value).ok().filter(|value| value.tag() == Tag::Integer);
    let number = number.and_then(|value| CrlNumber::from_der_content(value.value()).ok());
    number.ok_or(EntryFault::Error(CrlError::Number))
}

fn read_distribution_point(value: &[u8]) -> Result<IssuingDistributionPoint, EntryFault> {
    let read =
        crl::IssuingDistributionPoint::from_der(value).map_err(|_| "the issuing distribution point is malformed")?;
    let unknown = |kind| Err(EntryFault::Error(CrlError::Scope(kind)));
    if read.indirect_crl {
        return unknown("an indirect one, with entries of several issuers");
    }
    if read.only_some_reasons.is_some() {
        return unknown("one for some reasons only");
    }
    if read.only_contains_attribute_certs {
        return unknown("one for attribute certificates");
    }
    if read.only_contains_user_certs && read.only_contains_ca_certs {
        return unknown("one for no certificate at all");
    }
    Ok(IssuingDistributionPoint {
        uris: uris(read.distribution_point.as_ref())?,
        only_user_certs: read.only_contains_user_certs,
        only_ca_certs: read.only_contains_ca_certs,
    })
}

/// The addresses in a distribution point's fullName. Other forms of name are passed over: nobody is asked to fetch a
/// list by one.
fn uris(point: Option<&DistributionPointName>) -> Result<Vec<String>, EntryFault> {
    let names = match point {
        None => return Ok(Vec::new()),
        Some(DistributionPointName::FullName(names)) => names,
        Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => {
            return Err(EntryFault::Error(CrlError::Scope("one whose place is relative to its issuer's name")));
        }
    };
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    });
    let uris: Vec<_> = uris.take(MAX_URIS + 1).collect();
    if uris.len() > MAX_URIS { Err("a distribution point has more than 16 addresses".into()) } else { Ok(uris) }
}
