//! What can go wrong outside of an answer.

use pki::feed::FeedPosition;
use pki::ocsp::DelegateError;

/// Why the responder does not take what it was given. What goes wrong while answering becomes an OCSP error instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A feed entry is missing: fetch a snapshot.
    #[error("feed entry {got} came after {have:?}: an entry is missing, so a new snapshot is needed")]
    SequenceGap {
        /// The position so far.
        have: FeedPosition,
        /// The number of the entry that came.
        got: u64,
    },
    /// A snapshot from before what is known already: never taken, since it could bring an old `good` back.
    #[error("a snapshot of {offered:?} is older than what is known, {have:?}")]
    OlderSnapshot {
        /// The position so far.
        have: FeedPosition,
        /// The snapshot's.
        offered: FeedPosition,
    },
    /// A heartbeat that speaks of entries that have not come, or of another epoch.
    #[error("a heartbeat for {announced:?} says nothing about what is known, {have:?}")]
    HeartbeatElsewhere {
        /// The position so far.
        have: FeedPosition,
        /// The heartbeat's.
        announced: FeedPosition,
    },
    /// More CA keys than any deployment has.
    #[error("more than 65,535 issuers")]
    TooManyIssuers,
    /// No such issuer is served.
    #[error("issuer {0:?} is not served here")]
    UnknownIssuer(String),
    /// The certificate of a delegate will not do.
    #[error("the OCSP signer for issuer {issuer:?} is refused: {cause}")]
    Delegate {
        /// The issuer.
        issuer: String,
        /// What is wrong with it.
        cause: DelegateError,
    },
    /// The name or the certificate of the signer is no DER.
    #[error("the name or the certificate of the OCSP signer for issuer {issuer:?} is no DER: have it certified anew")]
    SignerName {
        /// The issuer.
        issuer: String,
    },
    /// The signer's key is not that of its certificate, or not the CA's.
    #[error("the key of the OCSP signer for issuer {issuer:?} does not fit its certificate")]
    SignerKey {
        /// The issuer.
        issuer: String,
    },
}
