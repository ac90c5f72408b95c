//! Certificates (RFC 5280 section 4): prepared from a profile and the registry, linted, signed elsewhere, assembled,
//! and read.
//!
//! The way of a certificate is in the types. [`prepare()`] builds the TBS, lints it and yields a [`PreparedCertificate`],
//! which cannot be copied or changed; only its bytes are there to be signed, and [`PreparedCertificate::assemble`] takes
//! it away, checks the signature, and yields the [`SignedCertificate`].

use const_oid::ObjectIdentifier;

use crate::KeyType;
use crate::key::KeyError;
use crate::lint::Findings;
use crate::name::{AttributeType, NameError};
use crate::profile::{Field, Purpose};
use crate::serial::InvalidSerialNumber;

mod alternative_names;
pub(crate) mod extensions;
mod parse;
mod prepare;
mod subject;
mod uri;
mod validity;

pub(crate) use alternative_names::check_email;
pub use alternative_names::{AlternativeNames, PermanentIdentifier};
pub use parse::{MAX_CERTIFICATE, ParsedCertificate};
pub(crate) use parse::{Tbs, TimeForm};
pub use prepare::{PreparedCertificate, SignedCertificate, prepare, prepare_link, prepare_root};
pub use subject::SubjectFields;
pub use validity::{MAX_SKEW, Validity, validity};

pub(crate) use subject::{check_http_url, distinguished_name};
pub(crate) use uri::{check_dns_name, check_uri, check_web_address};

/// Why a certificate is not prepared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The profile is not for this call: a root's is for [`prepare_root`] alone, and the other way round.
    #[error("profile {profile:?} is a {purpose}'s: {remedy}")]
    Purpose {
        /// The profile.
        profile: String,
        /// Its purpose.
        purpose: Purpose,
        /// What to do.
        remedy: &'static str,
    },
    /// A kind of key that the profile does not allow.
    #[error("profile {profile:?} allows no {key_type} key: make a key of type {allowed}")]
    KeyType {
        /// The profile.
        profile: String,
        /// The key's kind.
        key_type: KeyType,
        /// The kinds that are allowed, in words.
        allowed: String,
    },
    /// A field of the registry that the profile's subject needs is not there.
    #[error("profile {profile:?} needs the field {field} for {attribute}, and the registry has none: record it first")]
    MissingField {
        /// The profile.
        profile: String,
        /// The field.
        field: Field,
        /// The attribute it is for.
        attribute: AttributeType,
    },
    /// A subject alternative name that the profile needs is not there.
    #[error(
        "profile {profile:?} needs alternative names of kind {kinds}, and the registry has none: record them first, \
             or change `san_required` of the profile"
    )]
    MissingAlternativeName {
        /// The profile.
        profile: String,
        /// The kinds that are missing, in words.
        kinds: String,
    },
    /// A subject alternative name that cannot stand in a certificate.
    #[error("{value:?} cannot be an alternative name: {rule}")]
    AlternativeName {
        /// The name.
        value: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// A subject that cannot stand in a certificate.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Times that cannot be (conformance: E2).
    #[error("rule E2: {0}")]
    Validity(String),
    /// The description of the issuer does not fit its certificate.
    #[error("issuer {issuer:?} cannot issue this: {rule}")]
    Issuer {
        /// The issuer's id.
        issuer: String,
        /// What does not fit.
        rule: String,
    },
    /// The TBS could not be encoded.
    #[error("the certificate cannot be encoded: {0}")]
    Encoding(String),
    /// The linter found something. A certificate that was built from a checked profile should not come to this.
    #[error("the certificate was not signed, since it breaks these rules: {0}")]
    Lint(Findings),
}

/// Why a certificate is not read, or a signature not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// More octets than any certificate has here.
    #[error("the certificate has {0} octets, and may have {MAX_CERTIFICATE}")]
    TooLarge(usize),
    /// Not the DER of a certificate, or something follows it.
    #[error("not a DER certificate (RFC 5280 4.1): {0}")]
    Malformed(&'static str),
    /// Not version 3 (conformance: E1).
    #[error("rule E1: the certificate is not of version 3")]
    Version,
    /// A serial number that cannot be (conformance: E1).
    #[error("rule E1: {0}")]
    Serial(#[from] InvalidSerialNumber),
    /// The algorithm in the TBS is not the one outside it (RFC 5280 4.1.1.2).
    #[error("the signature algorithm inside the certificate is not the one outside (RFC 5280 4.1.1.2)")]
    AlgorithmMismatch,
    /// A signature algorithm that is not used here.
    #[error("certificates signed with {0} are not taken here: use ECDSA or RSA with SHA-256 or SHA-384")]
    UnknownAlgorithm(ObjectIdentifier),
    /// The public key in it is refused.
    #[error("the certificate's public key: {0}")]
    Key(#[source] KeyError),
    /// Two extensions of one kind (conformance: E6).
    #[error("rule E6: the extension {0} stands twice")]
    DuplicateExtension(ObjectIdentifier),
    /// An extension whose content is not what it should be.
    #[error("the extension {oid} is malformed: {rule}")]
    Extension {
        /// Which.
        oid: ObjectIdentifier,
        /// What is wrong.
        rule: &'static str,
    },
    /// A critical extension that is not understood here (RFC 5280 4.2).
    #[error("the critical extension {0} is not understood here (RFC 5280 4.2)")]
    UnknownCriticalExtension(ObjectIdentifier),
    /// The key that is said to have signed is not the issuer's.
    #[error("the signature was made with a key that is not the issuer's")]
    WrongIssuerKey,
    /// The signature does not verify.
    #[error("the signature does not verify with the issuer's key")]
    Signature,
}
