//! Preparing a certificate: from profile, registry and key to the bytes that are to be signed; and back with the
//! signature.

use std::time::Duration;

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, UtcTime};
use der::{Decode, Encode};
use sha2::{Digest, Sha256};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::name::Name;
use x509_cert::time::Time;
use x509_cert::{TbsCertificate, Version};

use super::{
    AlternativeNames, CertificateError, ParsedCertificate, PrepareError, SubjectFields, Validity, distinguished_name,
    extensions,
};
use crate::lint::{Expected, Findings, lint};
use crate::profile::{CertificateProfile, Purpose};
use crate::usage::KeyUsage;
use crate::{IssuerDescription, PublicKey, SerialNumber, SignatureAlgorithm, Timestamp};

/// The first second that UTCTime cannot express: 2050-01-01T00:00:00Z (RFC 5280 4.1.2.5).
const GENERALIZED_FROM: Timestamp = Timestamp::from_unix_seconds(2_524_608_000);

/// A linted TBS, waiting for its signature. It can be neither copied nor changed, and nothing else can be assembled
/// into a certificate: the linted bytes are the signed bytes (conformance: E10).
///
/// ```compile_fail,E0599
/// fn twice(prepared: pki::certificate::PreparedCertificate) {
///     let again = prepared.clone();
/// }
/// ```
///
/// ```compile_fail,E0616
/// fn change(prepared: &mut pki::certificate::PreparedCertificate) {
///     prepared.tbs_der.push(0);
/// }
/// ```
///
/// ```compile_fail,E0451
/// use pki::certificate::PreparedCertificate;
/// fn unlinted(tbs_der: Vec<u8>, linted: PreparedCertificate) -> PreparedCertificate {
///     PreparedCertificate { tbs_der, ..linted }
/// }
/// ```
///
/// ```compile_fail,E0382
/// fn twice(prepared: pki::certificate::PreparedCertificate, key: &pki::PublicKey) {
///     let first = prepared.assemble(&[], key);
///     let second = prepared.assemble(&[], key);
/// }
/// ```
///
/// ```compile_fail,E0451
/// fn made_up(certificate: pki::certificate::ParsedCertificate) -> pki::certificate::SignedCertificate {
///     pki::certificate::SignedCertificate { certificate }
/// }
/// ```
#[derive(Debug)]
pub struct PreparedCertificate {
    tbs_der: Vec<u8>,
    serial: SerialNumber,
    public_key: PublicKey,
    validity: Validity,
    profile_name: String,
    purpose: Purpose,
    issuer_key: PublicKey,
}

impl PreparedCertificate {
    /// The bytes to be signed.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// SHA-256 of the bytes to be signed.
    pub fn tbs_digest(&self) -> [u8; 32] {
        Sha256::digest(&self.tbs_der).into()
    }

    /// The certificate's serial number.
    pub fn serial(&self) -> SerialNumber {
        self.serial
    }

    /// The key that is certified.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The first second in which it will be valid.
    pub fn not_before(&self) -> Timestamp {
        self.validity.not_before
    }

    /// The last second in which it will be valid.
    pub fn not_after(&self) -> Timestamp {
        self.validity.not_after
    }

    /// The profile it was made by.
    pub fn profile_name(&self) -> &str {
        &self.profile_name
    }

    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// How it must be signed.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.issuer_key.key_type().signature_algorithm()
    }

    /// The certificate without its signature: an empty BIT STRING stands in its place, so that it can be shown and
    /// nobody can take it for one.
    pub fn unsigned_der(&self) -> Vec<u8> {
        // That these can be encoded was seen when the TBS was, which has the same algorithm in it.
        self.enclose(&[]).unwrap_or_default()
    }

    /// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }`.
    fn enclose(&self, signature: &[u8]) -> der::Result<Vec<u8>> {
        let algorithm = self.signature_algorithm().identifier().to_der()?;
        let signature = BitStringRef::from_bytes(signature)?.to_der()?;
        let content = [&self.tbs_der[..], &algorithm, &signature].concat();
        AnyRef::new(der::Tag::Sequence, &content)?.to_der()
    }

    /// Takes the signature (in X.509 form, see [`SignatureAlgorithm`]), and yields the certificate once the signature
    /// has been verified with the key in the issuer's certificate.
    ///
    /// # Errors
    /// When `issuer_key` is not the issuer's, or the signature does not verify.
    // conformance: E9, E10
    pub fn assemble(self, signature: &[u8], issuer_key: &PublicKey) -> Result<SignedCertificate, CertificateError> {
        if *issuer_key != self.issuer_key {
            return Err(CertificateError::WrongIssuerKey);
        }
        let der =
            self.enclose(signature).map_err(|_| CertificateError::Malformed("the certificate cannot be encoded"))?;
        let certificate = ParsedCertificate::from_der(&der)?;
        if certificate.tbs_der() != self.tbs_der {
            return Err(CertificateError::Malformed("it does not encode again to the same bytes"));
        }
        certificate.verify_signed_by(&self.issuer_key)?;
        Ok(SignedCertificate { certificate })
    }
}

/// A certificate whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCertificate {
    certificate: ParsedCertificate,
}

impl SignedCertificate {
    /// The certificate.
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// The certificate, given away.
    pub fn into_der(self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }

    /// Its serial number.
    pub fn serial(&self) -> SerialNumber {
        self.certificate.serial()
    }

    /// What is in it.
    pub fn parsed(&self) -> &ParsedCertificate {
        &self.certificate
    }
}

/// Prepares a certificate of `profile` for `key`, to be signed by `issuer`. All that stands in it comes from the profile,
/// the issuer and the registry (`subject`); nothing comes from a request.
///
/// # Errors
/// When the profile is a root's or does not allow the key, a field is missing or cannot stand in a certificate, the
/// times are not possible, the issuer's description does not fit its certificate, or the linter finds something.
// conformance: E2, E10, E11
pub fn prepare(
    profile: &CertificateProfile,
    issuer: &IssuerDescription,
    subject: &SubjectFields,
    key: &PublicKey,
    serial: SerialNumber,
    validity: Validity,
) -> Result<PreparedCertificate, PrepareError> {
    if profile.purpose() == Purpose::RootCa {
        return Err(purpose(profile, "a root signs itself; use the profile of an issuing CA or of a leaf"));
    }
    check_issuer(profile, issuer, validity)?;
    build(&Expected { profile, issuer: Some(issuer), subject, key, serial, validity })
}

/// Prepares a root's own certificate, to be signed with `key` itself.
///
/// # Errors
/// As [`prepare`]; the profile must be a root's.
pub fn prepare_root(
    profile: &CertificateProfile,
    subject: &SubjectFields,
    key: &PublicKey,
    serial: SerialNumber,
    validity: Validity,
) -> Result<PreparedCertificate, PrepareError> {
    if profile.purpose() != Purpose::RootCa {
        return Err(purpose(profile, "only a root signs itself; name the issuer"));
    }
    build(&Expected { profile, issuer: None, subject, key, serial, validity })
}

/// Prepares a link certificate: one key of the root, certified by another key under the same name, so that a path leads
/// from either to whatever the other signed (RFC 9810 4.4; conformance: K2). `issuer` is the key that signs, `key` the one
/// that is certified.
///
/// # Errors
/// As [`prepare`]; the profile must be a root's, the subject the issuer's own, and the key another.
pub fn prepare_link(
    profile: &CertificateProfile,
    issuer: &IssuerDescription,
    subject: &SubjectFields,
    key: &PublicKey,
    serial: SerialNumber,
    validity: Validity,
) -> Result<PreparedCertificate, PrepareError> {
    if profile.purpose() != Purpose::RootCa {
        return Err(purpose(profile, "only a root has several keys under one name; name the profile of the root"));
    }
    check_issuer(profile, issuer, validity)?;
    let fail = |rule: &str| PrepareError::Issuer { issuer: issuer.id.clone(), rule: rule.to_owned() };
    if *key == issuer.public_key {
        return Err(fail("a link certificate is for another key than the one that signs it"));
    }
    let name = distinguished_name(profile, subject)?.to_x509().to_der();
    if name.as_deref().ok() != Some(&issuer.subject_der[..]) {
        return Err(fail("a link certificate is for the same name as the issuer's (RFC 9810 4.4)"));
    }
    build(&Expected { profile, issuer: Some(issuer), subject, key, serial, validity })
}

fn purpose(profile: &CertificateProfile, remedy: &'static str) -> PrepareError {
    PrepareError::Purpose { profile: profile.name().to_owned(), purpose: profile.purpose(), remedy }
}

/// What is known of the issuer must be what its certificate says, and the certificate must allow this one.
// conformance: E2, E3
fn check_issuer(
    profile: &CertificateProfile,
    issuer: &IssuerDescription,
    validity: Validity,
) -> Result<(), PrepareError> {
    let fail = |rule: String| PrepareError::Issuer { issuer: issuer.id.clone(), rule };
    let certificate = ParsedCertificate::from_der(&issuer.certificate_der).map_err(|error| fail(error.to_string()))?;
    let fits = certificate.subject_der() == issuer.subject_der
        && *certificate.public_key() == issuer.public_key
        && certificate.subject_key_identifier() == Some(&issuer.key_identifier)
        && certificate.not_after() == issuer.not_after;
    if !fits {
        return Err(fail("its name, key, key identifier or end is not the one in its certificate".to_owned()));
    }
    if !certificate.is_ca() || !certificate.key_usage().unwrap_or_default().contains(KeyUsage::KEY_CERT_SIGN) {
        return Err(fail("its certificate is not a CA's".to_owned()));
    }
    if profile.purpose().is_ca() && certificate.path_length() == Some(0) {
        return Err(fail("its path length allows no CA below it".to_owned()));
    }
    if validity.not_after > issuer.not_after {
        let rule = format!("a certificate until {} would outlive its issuer {}", validity.not_after, issuer.id);
        return Err(PrepareError::Validity(rule));
    }
    Ok(())
}

fn build(expected: &Expected<'_>) -> Result<PreparedCertificate, PrepareError> {
    let Expected { profile, issuer, subject, key, serial, validity } = *expected;
    if !profile.key_types().contains(&key.key_type()) {
        let allowed: Vec<_> = profile.key_types().iter().map(ToString::to_string).collect();
        return Err(PrepareError::KeyType {
            profile: profile.name().to_owned(),
            key_type: key.key_type(),
            allowed: allowed.join(", "),
        });
    }
    check_validity(profile, validity)?;
    let subject = distinguished_name(profile, subject)?;
    let names = AlternativeNames::for_profile(profile, expected.subject)?;
    let issuer_key = issuer.map_or(key, |issuer| &issuer.public_key);
    let encode = || -> der::Result<Vec<u8>> {
        let own_key_identifier = key.key_identifier();
        let authority = issuer.map_or(&own_key_identifier[..], |issuer| &issuer.key_identifier);
        let issuer_name = match issuer {
            Some(issuer) => Name::from_der(&issuer.subject_der)?,
            None => subject.to_x509(),
        };
        let algorithm = issuer_key.key_type().signature_algorithm().identifier().to_der()?;
        let tbs = TbsCertificate {
            version: Version::V3,
            serial_number: x509_cert::serial_number::SerialNumber::new(serial.as_bytes())?,
            signature: AlgorithmIdentifierOwned::from_der(&algorithm)?,
            issuer: issuer_name,
            validity: x509_cert::time::Validity {
                not_before: to_time(validity.not_before)?,
                not_after: to_time(validity.not_after)?,
            },
            subject: subject.to_x509(),
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(key.spki_der())?,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions::write(profile, issuer, authority, key, &names)?),
        };
        tbs.to_der()
    };
    let tbs_der = encode().map_err(|error| PrepareError::Encoding(error.to_string()))?;
    let findings = lint(&tbs_der, expected);
    if !findings.is_empty() {
        return Err(PrepareError::Lint(Findings(findings)));
    }
    Ok(PreparedCertificate {
        tbs_der,
        serial,
        public_key: key.clone(),
        validity,
        profile_name: profile.name().to_owned(),
        purpose: profile.purpose(),
        issuer_key: issuer_key.clone(),
    })
}

// conformance: E2
fn check_validity(profile: &CertificateProfile, validity: Validity) -> Result<(), PrepareError> {
    let Validity { not_before, not_after } = validity;
    if not_before.whole_seconds() != not_before || not_after.whole_seconds() != not_after {
        return Err(PrepareError::Validity("times in certificates are whole seconds".to_owned()));
    }
    if not_before < Timestamp::EPOCH || not_after <= not_before {
        return Err(PrepareError::Validity(format!("a certificate cannot be valid from {not_before} to {not_after}")));
    }
    if not_after.since(not_before) > profile.life() {
        let (name, days) = (profile.name(), profile.life().as_secs_f64() / 86_400.0);
        return Err(PrepareError::Validity(format!(
            "from {not_before} to {not_after} is longer than the {days} days of profile {name:?}"
        )));
    }
    Ok(())
}

fn to_time(timestamp: Timestamp) -> der::Result<Time> {
    let since_1970 = Duration::from_secs(u64::try_from(timestamp.unix_seconds()).unwrap_or_default());
    Ok(if timestamp < GENERALIZED_FROM {
        Time::UtcTime(UtcTime::from_unix_duration(since_1970)?)
    } else {
        Time::GeneralTime(GeneralizedTime::from_unix_duration(since_1970)?)
    })
}
