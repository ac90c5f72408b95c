//! What can go wrong in the CA.

use pki::Timestamp;

use crate::certificate::{CertificateId, InvalidTransition};

/// Why the CA did not do something. Texts are for operators; they carry no personal data and no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The token refused or failed.
    #[error(transparent)]
    Token(#[from] hsm::Error),
    /// An audit record could not be written, so the act does not happen.
    #[error("the act cannot be recorded, so it is not done: {0}")]
    Audit(#[from] audit::Error),
    /// A certificate could not be prepared.
    #[error(transparent)]
    Prepare(#[from] pki::certificate::PrepareError),
    /// A signature does not verify, or a certificate is not in order.
    #[error(transparent)]
    Certificate(#[from] pki::certificate::CertificateError),
    /// A CRL could not be built.
    #[error(transparent)]
    Crl(#[from] pki::crl::CrlError),
    /// A name cannot stand in a certificate.
    #[error(transparent)]
    Name(#[from] pki::name::NameError),
    /// A public key is none that is certified here.
    #[error(transparent)]
    Key(#[from] pki::key::KeyError),
    /// A state that does not permit the change.
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    /// Rules R3 to R6: the key is weak, or others know it.
    #[error("{0}; make a new key pair and ask again")]
    WeakKey(#[from] pki::weak_key::WeakKey),
    /// A key that is not in the set of compromised keys.
    #[error("the key {0} is not in the set of compromised keys; `cardinal key compromised list` shows those that are")]
    NotCompromised(String),
    /// Rule R8: the key belongs to somebody else, to a CA, or to a revoked certificate.
    #[error("rule R8: {0}; make a new key pair and ask again")]
    KeyReuse(&'static str),
    /// There is no profile of this name.
    #[error("there is no certificate profile {0:?}; the loaded ones are: {1}")]
    NoSuchProfile(String, String),
    /// No issuing CA serves this profile.
    #[error(
        "no issuing CA issues by profile {0:?}: add it to the `profiles` of an [[issuing_ca]] in the configuration"
    )]
    NoIssuer(String),
    /// There is no issuer of this id.
    #[error("there is no issuer {0:?}")]
    NoSuchIssuer(String),
    /// There is no such certificate.
    #[error("there is no certificate {0}")]
    NoSuchCertificate(CertificateId),
    /// The key of an issuer is not in the token.
    #[error(
        "the key {label:?} of issuer {issuer} is not in token {token:?}: put the token back that was used when the \
         issuer was made, or restore its backup"
    )]
    KeyMissing {
        /// The issuer.
        issuer: String,
        /// The token.
        token: String,
        /// The key's label.
        label: String,
    },
    /// The token holds another key under the issuer's label.
    #[error(
        "the key {label:?} in token {token:?} is not the one in the certificate of issuer {issuer}: the token is not \
         the one of this deployment"
    )]
    KeyDiffers {
        /// The issuer.
        issuer: String,
        /// The token.
        token: String,
        /// The key's label.
        label: String,
    },
    /// A key cannot be made, since something else is in the token under its label or id.
    #[error(
        "the key {label:?} is not made in token {token:?}, nor is what is there taken for it: {source}. A rotation: back out \
         of it, and the next one takes another number. Or, if you are sure that what is there is of no use, delete it \
         with `pkcs11-tool --delete-object`, and do this again"
    )]
    KeyTaken {
        /// The key's label, which is also its id.
        label: String,
        /// The token.
        token: String,
        /// What is there.
        source: Box<hsm::Error>,
    },
    /// The clock is behind what was committed already.
    #[error(
        "the clock shows {now}, but something was committed at {high_water}: nothing is signed until the clock has \
         passed that; set the clock right"
    )]
    ClockBehind {
        /// What the clock shows.
        now: Timestamp,
        /// The latest commit.
        high_water: Timestamp,
    },
    /// The CA ends before the shortest life that the profile permits.
    #[error("issuer {issuer} ends at {not_after}: it issues no certificate of this profile any more; rotate it")]
    IssuerEnds {
        /// The issuer.
        issuer: String,
        /// When its certificate ends.
        not_after: Timestamp,
    },
    /// An issuer that is not in the state that the change needs.
    #[error("issuer {issuer} is {state}, so this cannot be done with it")]
    IssuerState {
        /// The issuer.
        issuer: String,
        /// Its state.
        state: &'static str,
    },
    /// The certificate that was handed in, or prepared again, is not the one that was reserved.
    #[error("this is not the certificate {0} that was reserved: nothing was signed or taken in; resume the rotation")]
    NotTheReserved(CertificateId),
    /// The profiles here are not those that the service loaded.
    #[error(
        "the profiles here (version {here}) are not those that the service goes by (version {reserved}): restart the \
         service, or put its profiles back"
    )]
    ProfilesDiffer {
        /// The version here.
        here: String,
        /// The version that the certificate was reserved with.
        reserved: String,
    },
    /// The system's random number generator failed.
    #[error("the random number generator of the operating system failed")]
    Random,
}
