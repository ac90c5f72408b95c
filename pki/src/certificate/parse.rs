//! Reading certificates, strictly: DER that encodes again to the same bytes, nothing behind it, nothing critical that is
//! not understood.

use std::net::IpAddr;

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Sequence};
use sha2::{Digest, Sha256};
use spki::AlgorithmIdentifierRef;
use x509_cert::TbsCertificate;
use x509_cert::time::Time;

use super::extensions::Extensions;
use super::{AlternativeNames, CertificateError};
use crate::name::{AttributeType, DistinguishedName, NameError};
use crate::usage::KeyUsage;
use crate::{PublicKey, SerialNumber, SignatureAlgorithm, Timestamp, strict};

/// No certificate is longer here, in octets.
pub const MAX_CERTIFICATE: usize = 64 * 1024;

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }` (RFC 5280 4.1).
#[derive(Sequence)]
struct Outer<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

/// How a time is written (RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from then on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeForm {
    Utc,
    Generalized,
}

/// What is inside a TBS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tbs {
    pub(crate) serial: SerialNumber,
    pub(crate) algorithm_der: Vec<u8>,
    pub(crate) issuer_der: Vec<u8>,
    pub(crate) subject_der: Vec<u8>,
    pub(crate) not_before: (Timestamp, TimeForm),
    pub(crate) not_after: (Timestamp, TimeForm),
    pub(crate) public_key: PublicKey,
    pub(crate) extensions: Extensions,
}

impl Tbs {
    /// From the DER of a `TBSCertificate`.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let encoding = |_| CertificateError::Malformed("it is not a TBSCertificate");
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLarge(der.len()));
        }
        strict::check(der).map_err(CertificateError::Malformed)?;
        let tbs = TbsCertificate::from_der(der).map_err(encoding)?;
        // conformance: E9
        if tbs.to_der().map_err(encoding)? != der {
            return Err(CertificateError::Malformed("it does not encode again to the same bytes"));
        }
        if tbs.version != x509_cert::Version::V3 {
            return Err(CertificateError::Version);
        }
        if tbs.issuer_unique_id.is_some() || tbs.subject_unique_id.is_some() {
            return Err(CertificateError::Malformed("it has unique identifiers, which RFC 5280 4.1.2.8 forbids"));
        }
        let serial = tbs.serial_number.to_der().map_err(encoding)?;
        let serial = strict::check(&serial).map_err(CertificateError::Malformed)?.content;
        let spki = tbs.subject_public_key_info.to_der().map_err(encoding)?;
        Ok(Tbs {
            serial: SerialNumber::from_der_content(serial)?,
            algorithm_der: tbs.signature.to_der().map_err(encoding)?,
            issuer_der: tbs.issuer.to_der().map_err(encoding)?,
            subject_der: tbs.subject.to_der().map_err(encoding)?,
            not_before: time(tbs.validity.not_before),
            not_after: time(tbs.validity.not_after),
            public_key: PublicKey::from_spki_der(&spki).map_err(CertificateError::Key)?,
            extensions: Extensions::read(tbs.extensions.as_deref().unwrap_or_default())?,
        })
    }
}

fn time(time: Time) -> (Timestamp, TimeForm) {
    let form = match time {
        Time::UtcTime(_) => TimeForm::Utc,
        Time::GeneralTime(_) => TimeForm::Generalized,
    };
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX / 1000);
    (Timestamp::from_unix_seconds(seconds), form)
}

/// A certificate that was read. Whether it may be trusted is another question: see
/// [`ParsedCertificate::verify_signed_by`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedCertificate {
    der: Vec<u8>,
    tbs_der: Vec<u8>,
    tbs: Tbs,
    signature: Vec<u8>,
    algorithm: SignatureAlgorithm,
    subject: Result<DistinguishedName, NameError>,
}

impl ParsedCertificate {
    /// From DER.
    ///
    /// # Errors
    /// When it is too long, not DER through and through, not of version 3, or has something that is not understood here
    /// and must be: a key of another kind, a critical extension.
    // conformance: E9
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLarge(der.len()));
        }
        let malformed = |_| CertificateError::Malformed("it is not tbsCertificate, signatureAlgorithm, signatureValue");
        strict::check(der).map_err(CertificateError::Malformed)?;
        let outer = Outer::from_der(der).map_err(malformed)?;
        let tbs_der = outer.tbs.to_der().map_err(malformed)?;
        let tbs = Tbs::from_der(&tbs_der)?;
        let algorithm_der = outer.algorithm.to_der().map_err(malformed)?;
        if tbs.algorithm_der != algorithm_der {
            return Err(CertificateError::AlgorithmMismatch);
        }
        let algorithm = [
            SignatureAlgorithm::EcdsaP256Sha256,
            SignatureAlgorithm::EcdsaP384Sha384,
            SignatureAlgorithm::RsaPkcs1Sha256,
        ]
        .into_iter()
        .find(|known| known.identifier() == outer.algorithm)
        .ok_or(CertificateError::UnknownAlgorithm(outer.algorithm.oid))?;
        let signature =
            outer.signature.as_bytes().ok_or(CertificateError::Malformed("the signature has unused bits"))?;
        let subject = DistinguishedName::from_der(&tbs.subject_der);
        Ok(ParsedCertificate { der: der.to_vec(), tbs_der, tbs, signature: signature.to_vec(), algorithm, subject })
    }

    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The part of it that is signed.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    /// Its serial number.
    pub fn serial(&self) -> SerialNumber {
        self.tbs.serial
    }

    /// How it is signed.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The DER of its issuer's name.
    pub fn issuer_der(&self) -> &[u8] {
        &self.tbs.issuer_der
    }

    /// The DER of its subject.
    pub fn subject_der(&self) -> &[u8] {
        &self.tbs.subject_der
    }

    /// Its issuer's name.
    ///
    /// # Errors
    /// When the name has attributes that are not used here.
    pub fn issuer(&self) -> Result<DistinguishedName, NameError> {
        DistinguishedName::from_der(&self.tbs.issuer_der)
    }

    /// Its subject.
    ///
    /// # Errors
    /// When the name has attributes that are not used here.
    pub fn subject(&self) -> Result<&DistinguishedName, NameError> {
        self.subject.as_ref().map_err(NameError::clone)
    }

    /// The first value of an attribute of the subject.
    pub fn subject_attribute(&self, attribute: AttributeType) -> Option<&str> {
        self.subject.as_ref().ok()?.get(attribute)
    }

    /// The subject's CN.
    pub fn common_name(&self) -> Option<&str> {
        self.subject_attribute(AttributeType::CommonName)
    }

    /// The subject's serialNumber attribute: the user id, or the lending id of a temporary card.
    pub fn serial_number_attribute(&self) -> Option<&str> {
        self.subject_attribute(AttributeType::SerialNumber)
    }

    /// The card holder's user id: the subject's serialNumber attribute.
    pub fn user_id(&self) -> Option<&str> {
        self.serial_number_attribute()
    }

    /// The certified key.
    pub fn public_key(&self) -> &PublicKey {
        &self.tbs.public_key
    }

    /// The first second in which it is valid.
    pub fn not_before(&self) -> Timestamp {
        self.tbs.not_before.0
    }

    /// The last second in which it is valid.
    pub fn not_after(&self) -> Timestamp {
        self.tbs.not_after.0
    }

    /// Whether `now` lies between the two, both included.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.not_before()..=self.not_after()).contains(&now.whole_seconds())
    }

    /// The subject key identifier.
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        self.tbs.extensions.subject_key_identifier.as_deref()
    }

    /// The keyIdentifier of the authority key identifier.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        let aki = self.tbs.extensions.authority_key_identifier.as_ref()?;
        aki.key_identifier.as_ref().map(|octets| octets.as_bytes())
    }

    /// Whether basicConstraints says that it is a CA.
    pub fn is_ca(&self) -> bool {
        self.tbs.extensions.basic_constraints.as_ref().is_some_and(|constraints| constraints.ca)
    }

    /// A CA's pathLenConstraint.
    pub fn path_length(&self) -> Option<u8> {
        self.tbs.extensions.basic_constraints.as_ref().and_then(|constraints| constraints.path_len_constraint)
    }

    /// What the key may be used for; none when the extension is absent.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.tbs.extensions.key_usage
    }

    /// The bits of the keyUsage extension, bit 0 being digitalSignature; 0 when it is absent.
    pub fn key_usage_bits(&self) -> u16 {
        self.key_usage().unwrap_or_default().bits()
    }

    /// The extended key usages; empty when the extension is absent.
    pub fn extended_key_usage(&self) -> &[ObjectIdentifier] {
        &self.tbs.extensions.extended_key_usage
    }

    /// Whether this extended key usage is named in it. anyExtendedKeyUsage does not count, nor does absence.
    pub fn has_extended_key_usage(&self, oid: ObjectIdentifier) -> bool {
        self.extended_key_usage().contains(&oid)
    }

    /// The certificate policies.
    pub fn policies(&self) -> &[ObjectIdentifier] {
        &self.tbs.extensions.policies
    }

    /// Whether this policy is named in it.
    pub fn has_policy(&self, oid: ObjectIdentifier) -> bool {
        self.policies().contains(&oid)
    }

    /// The subject alternative names of the kinds that are known here.
    pub fn alternative_names(&self) -> &AlternativeNames {
        &self.tbs.extensions.names
    }

    /// The dNSName alternative names.
    pub fn dns_names(&self) -> &[String] {
        &self.alternative_names().dns
    }

    /// The iPAddress alternative names.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.alternative_names().ip
    }

    /// The user principal name.
    pub fn upn(&self) -> Option<&str> {
        self.alternative_names().upn.as_deref()
    }

    /// AIA caIssuers: where the issuer's certificate is to be had.
    pub fn ca_issuers_urls(&self) -> &[String] {
        &self.tbs.extensions.ca_issuers
    }

    /// AIA OCSP.
    pub fn ocsp_urls(&self) -> &[String] {
        &self.tbs.extensions.ocsp
    }

    /// The CRL distribution points.
    pub fn crl_urls(&self) -> &[String] {
        &self.tbs.extensions.crls
    }

    /// Whether it has ocsp-nocheck (RFC 6960 4.2.2.2.1).
    pub fn has_ocsp_no_check(&self) -> bool {
        self.tbs.extensions.ocsp_no_check
    }

    /// Whether issuer and subject are the same name.
    pub fn is_self_issued(&self) -> bool {
        self.tbs.issuer_der == self.tbs.subject_der
    }

    /// Whether `issuer` signed it. Names, validity and what the issuer may sign are not looked at.
    ///
    /// # Errors
    /// [`CertificateError::Signature`] when it did not.
    pub fn verify_signed_by(&self, issuer: &PublicKey) -> Result<(), CertificateError> {
        issuer.verify(self.algorithm, &self.tbs_der, &self.signature).map_err(|_| CertificateError::Signature)
    }
}
