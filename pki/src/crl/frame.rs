//! What stands around the entries of a CRL.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_CRL_NUMBER, ID_CE_DELTA_CRL_INDICATOR, ID_CE_FRESHEST_CRL,
    ID_CE_ISSUING_DISTRIBUTION_POINT,
};
use der::asn1::{AnyRef, Ia5String, OctetString};
use der::{Encode, Tag};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlDistributionPoints, crl};

use super::describe::EXPIRED_CERTS_ON_CRL;
use super::wire::{generalized_time, x509_time};
use super::{CrlError, CrlNumber};
use crate::certificate::check_http_url;
use crate::{IssuerDescription, Timestamp};

const SEQUENCE: u8 = 0x30;
const EXTENSIONS: u8 = 0xa0;

/// `version Version`: v2, which is 1.
const VERSION_2: [u8; 3] = [0x02, 0x01, 0x01];

/// What a CRL is to say beside its entries. Times are cut to whole seconds.
#[derive(Clone, Copy, Debug)]
pub struct CrlHeader<'a> {
    /// Who issues it.
    pub issuer: &'a IssuerDescription,
    /// cRLNumber. One sequence for all the CRLs of an issuer: full ones, shards and deltas (conformance: C6).
    pub number: CrlNumber,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// BaseCRLNumber, which makes it a delta of the full CRL or shard with that number (conformance: C7).
    pub base: Option<CrlNumber>,
    /// What makes it a shard: the address that stands in the CRLDP of the certificates that it is about, byte for byte
    /// (conformance: C11). A shard's delta has its shard's address, since its scope is the same (RFC 5280 5.2.4).
    pub distribution_point: Option<&'a str>,
    /// freshestCRL: where the deltas of this full CRL or shard are (RFC 5280 5.2.6). None in a delta.
    pub freshest_crl: Option<&'a str>,
    /// expiredCertsOnCRL: entries of certificates that expired since then stay (conformance: C13).
    pub expired_certs_on_crl: Option<Timestamp>,
}

impl CrlHeader<'_> {
    // conformance: C2, C7, C11
    pub(super) fn check(&self) -> Result<(), CrlError> {
        let (this_update, next_update) = (self.this_update.whole_seconds(), self.next_update.whole_seconds());
        if next_update <= this_update {
            return Err(CrlError::Times { this_update, next_update });
        }
        if let Some(base) = self.base {
            if base >= self.number {
                return Err(CrlError::Base { number: self.number, base });
            }
            if self.freshest_crl.is_some() {
                return Err(CrlError::FreshestInDelta);
            }
        }
        if let Some(since) = self.expired_certs_on_crl.filter(|since| *since > self.this_update) {
            return Err(CrlError::ExpiredSince { since, this_update });
        }
        for url in self.distribution_point.into_iter().chain(self.freshest_crl) {
            check_http_url(url).map_err(|rule| CrlError::Url { url: url.to_owned(), rule })?;
        }
        Ok(())
    }

    /// What stands before the entries inside the TBS, and what after them.
    // conformance: C1, C2, C5, C7, C11
    pub(super) fn encode(&self) -> Result<Frame, CrlError> {
        let mut before = VERSION_2.to_vec();
        self.issuer.signature_algorithm().identifier().encode_to_vec(&mut before)?;
        before.extend_from_slice(&self.issuer.subject_der);
        x509_time(self.this_update)?.encode_to_vec(&mut before)?;
        x509_time(self.next_update)?.encode_to_vec(&mut before)?;

        let mut extensions = Vec::new();
        let mut add = |oid, critical, value: Vec<u8>| extension(oid, critical, value, &mut extensions);
        let authority_key_identifier = AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(self.issuer.key_identifier.as_slice())?),
            ..AuthorityKeyIdentifier::default()
        };
        add(ID_CE_AUTHORITY_KEY_IDENTIFIER, false, authority_key_identifier.to_der()?)?;
        add(ID_CE_CRL_NUMBER, false, number(self.number)?)?;
        if let Some(base) = self.base {
            add(ID_CE_DELTA_CRL_INDICATOR, true, number(base)?)?;
        }
        if let Some(url) = self.distribution_point {
            let point = crl::IssuingDistributionPoint {
                distribution_point: Some(full_name(url)?),
                only_contains_user_certs: false,
                only_contains_ca_certs: false,
                only_some_reasons: None,
                indirect_crl: false,
                only_contains_attribute_certs: false,
            };
            add(ID_CE_ISSUING_DISTRIBUTION_POINT, true, point.to_der()?)?;
        }
        if let Some(url) = self.freshest_crl {
            let point =
                DistributionPoint { distribution_point: Some(full_name(url)?), reasons: None, crl_issuer: None };
            add(ID_CE_FRESHEST_CRL, false, CrlDistributionPoints(vec![point]).to_der()?)?;
        }
        if let Some(since) = self.expired_certs_on_crl {
            add(EXPIRED_CERTS_ON_CRL, false, generalized_time(since)?.to_der()?)?;
        }
        let mut list = header(SEQUENCE, extensions.len() as u64);
        list.append(&mut extensions);
        let mut after = header(EXTENSIONS, list.len() as u64);
        after.append(&mut list);
        Ok(Frame { before, after })
    }
}

/// The content of a `TBSCertList`, but for revokedCertificates.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// From the version to nextUpdate.
    pub(super) before: Vec<u8>,
    /// crlExtensions.
    pub(super) after: Vec<u8>,
}

impl Frame {
    /// The start of a TBS with `entries` octets of entries: as far as the first entry.
    // conformance: C3
    pub(super) fn head(&self, entries: u64) -> Vec<u8> {
        let list = if entries == 0 { Vec::new() } else { header(SEQUENCE, entries) };
        let content = self.before.len() as u64 + list.len() as u64 + entries + self.after.len() as u64;
        [header(SEQUENCE, content), self.before.clone(), list].concat()
    }
}

/// Identifier and length octets of an element with so many octets of content (X.690 8.1.3, 10.1).
pub(super) fn header(tag: u8, length: u64) -> Vec<u8> {
    let octets = length.to_be_bytes();
    let significant = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
    match length {
        0..0x80 => vec![tag, length as u8],
        _ => [&[tag, 0x80 | significant.len() as u8], significant].concat(),
    }
}

fn extension(oid: ObjectIdentifier, critical: bool, value: Vec<u8>, out: &mut Vec<u8>) -> Result<(), CrlError> {
    Extension { extn_id: oid, critical, extn_value: OctetString::new(value)? }.encode_to_vec(out)?;
    Ok(())
}

fn number(number: CrlNumber) -> Result<Vec<u8>, CrlError> {
    Ok(AnyRef::new(Tag::Integer, number.as_bytes())?.to_der()?)
}

fn full_name(url: &str) -> Result<DistributionPointName, CrlError> {
    Ok(DistributionPointName::FullName(vec![GeneralName::UniformResourceIdentifier(Ia5String::new(url)?)]))
}
