//! The certificate of a delegated OCSP signer (RFC 6960 4.2.2.2).

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_BASIC_CONSTRAINTS, ID_CE_CRL_DISTRIBUTION_POINTS, ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_KP_OCSP_SIGNING,
    ID_PE_AUTHORITY_INFO_ACCESS,
};
use const_oid::db::rfc6960::ID_PKIX_OCSP_NOCHECK;
use der::{Decode, Encode};
use x509_cert::TbsCertificate;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use crate::crl::wire::{SignedEnvelope, timestamp};
use crate::{PublicKey, Timestamp};

/// The longest certificate that is looked at.
const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// A delegate's certificate that was issued by the CA itself and permits to sign OCSP answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegateCertificate {
    subject_der: Vec<u8>,
    public_key: PublicKey,
    not_before: Timestamp,
    not_after: Timestamp,
    deviation: Option<DelegateError>,
}

/// Why a certificate is not that of a delegate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegateError {
    /// No certificate, or a key that is not used here.
    #[error("the delegate's certificate is malformed: {0}")]
    Malformed(String),
    /// Another CA issued it, or another key of that CA (conformance: O10).
    #[error("the delegate's certificate was not issued by the CA key that it is to sign for (RFC 6960 4.2.2.2)")]
    Issuer,
    /// It does not permit OCSP signing.
    #[error("the delegate's certificate lacks extended key usage OCSPSigning (RFC 6960 4.2.2.2)")]
    ExtendedKeyUsage,
    /// It does not permit signatures.
    #[error("the delegate's certificate lacks key usage digitalSignature")]
    KeyUsage,
    /// It is a CA's.
    #[error("the delegate's certificate is a CA certificate")]
    CertificateAuthority,
    /// A critical extension that is not known here.
    #[error("the delegate's certificate has the critical extension {0}, which is not known here")]
    CriticalExtension(ObjectIdentifier),
    /// Its own status would have to be asked (conformance: O12).
    #[error("the delegate's certificate lacks ocsp-nocheck (RFC 6960 4.2.2.2.1)")]
    NoCheckMissing,
    /// It has an extension that a delegate's must not have (conformance: O12).
    #[error("the delegate's certificate has extension {0}, which it must not have")]
    Superfluous(ObjectIdentifier),
    /// Not yet, or no longer, valid.
    #[error("the delegate's certificate is valid from {not_before} to {not_after}, not at {now}")]
    Validity {
        /// Its notBefore.
        not_before: Timestamp,
        /// Its notAfter.
        not_after: Timestamp,
        /// The time in question.
        now: Timestamp,
    },
}

impl From<der::Error> for DelegateError {
    fn from(error: der::Error) -> Self {
        DelegateError::Malformed(error.to_string())
    }
}

impl DelegateCertificate {
    /// Reads a certificate and checks that the CA with this subject and key issued it as a delegate's: signature,
    /// issuer name, OCSPSigning, digitalSignature, no CA. The validity is [`DelegateCertificate::check_validity`]'s.
    ///
    /// # Errors
    /// A [`DelegateError`] that says what is wrong.
    pub fn from_der(
        der: &[u8],
        issuer_subject_der: &[u8],
        issuer_key: &PublicKey,
    ) -> Result<DelegateCertificate, DelegateError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(DelegateError::Malformed(format!("{} octets", der.len())));
        }
        let envelope = SignedEnvelope::from_der(der)?;
        let tbs = TbsCertificate::from_der(envelope.tbs_der)?;
        if tbs.issuer.to_der()? != issuer_subject_der {
            return Err(DelegateError::Issuer);
        }
        let inner = spki::AlgorithmIdentifierRef {
            oid: tbs.signature.oid,
            parameters: tbs.signature.parameters.as_ref().map(Into::into),
        };
        let algorithm = envelope.known_algorithm(&inner).ok_or(DelegateError::Issuer)?;
        issuer_key.verify(algorithm, envelope.tbs_der, envelope.signature).map_err(|_| DelegateError::Issuer)?;
        let spki_der = tbs.subject_public_key_info.to_der()?;
        let public_key =
            PublicKey::from_spki_der(&spki_der).map_err(|error| DelegateError::Malformed(error.to_string()))?;
        Ok(DelegateCertificate {
            subject_der: tbs.subject.to_der()?,
            public_key,
            not_before: timestamp(tbs.validity.not_before.to_unix_duration()),
            not_after: timestamp(tbs.validity.not_after.to_unix_duration()),
            deviation: check_extensions(&tbs)?,
        })
    }

    /// Whether it is as this product issues them: ocsp-nocheck, no AIA, no CRLDP.
    ///
    /// # Errors
    /// The first deviation.
    // conformance: O12
    pub fn check_own(&self) -> Result<(), DelegateError> {
        self.deviation.clone().map_or(Ok(()), Err)
    }

    /// Whether it is valid at `now`.
    ///
    /// # Errors
    /// [`DelegateError::Validity`].
    pub fn check_validity(&self, now: Timestamp) -> Result<(), DelegateError> {
        let (not_before, not_after) = (self.not_before, self.not_after);
        if now < not_before || now.whole_seconds() > not_after {
            return Err(DelegateError::Validity { not_before, not_after, now });
        }
        Ok(())
    }

    /// The DER of its subject: the responder id by name.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The delegate's key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Its notBefore.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Its notAfter: no answer that it signs may be used for longer (conformance: O13).
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// What any relying system must see; and, as a value, what only this product's own delegates have to keep to.
fn check_extensions(tbs: &TbsCertificate) -> Result<Option<DelegateError>, DelegateError> {
    let (mut signs_ocsp, mut signs, mut is_ca, mut no_check, mut superfluous) = (false, true, false, false, None);
    for extension in tbs.extensions.iter().flatten() {
        let value = extension.extn_value.as_bytes();
        match extension.extn_id {
            ID_CE_EXT_KEY_USAGE => signs_ocsp = ExtendedKeyUsage::from_der(value)?.0.contains(&ID_KP_OCSP_SIGNING),
            ID_CE_KEY_USAGE => signs = KeyUsage::from_der(value)?.digital_signature(),
            ID_CE_BASIC_CONSTRAINTS => is_ca = BasicConstraints::from_der(value)?.ca,
            ID_PKIX_OCSP_NOCHECK => no_check = true,
            oid @ (ID_PE_AUTHORITY_INFO_ACCESS | ID_CE_CRL_DISTRIBUTION_POINTS) => superfluous = Some(oid),
            oid if extension.critical => return Err(DelegateError::CriticalExtension(oid)),
            _ => {}
        }
    }
    if !signs {
        return Err(DelegateError::KeyUsage);
    }
    if is_ca {
        return Err(DelegateError::CertificateAuthority);
    }
    if !signs_ocsp {
        return Err(DelegateError::ExtendedKeyUsage);
    }
    let missing = (!no_check).then_some(DelegateError::NoCheckMissing);
    Ok(missing.or(superfluous.map(DelegateError::Superfluous)))
}
