//! What is wrong with a CRL that is to be made, or that was read.

use std::io;

use const_oid::ObjectIdentifier;

use super::CrlNumber;
use crate::lint::Findings;
use crate::{SerialNumber, Timestamp};

/// Why a CRL is not built, or not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// A serial number is listed twice (conformance: C4).
    #[error("rule C4: serial number {0} is listed twice")]
    Duplicate(SerialNumber),
    /// An entry does not come in the order of serial numbers (conformance: C4).
    #[error("rule C4: serial number {serial} comes after {after}: give the entries in the order of their numbers")]
    Order {
        /// The entry's serial number.
        serial: SerialNumber,
        /// That of the entry before it.
        after: SerialNumber,
    },
    /// nextUpdate is not after thisUpdate.
    #[error("rule C2: nextUpdate {next_update} is not after thisUpdate {this_update}")]
    Times {
        /// thisUpdate.
        this_update: Timestamp,
        /// nextUpdate.
        next_update: Timestamp,
    },
    /// A delta CRL whose base is not an earlier CRL (conformance: C7).
    #[error("rule C7: a delta CRL with number {number} cannot have {base} as its base, which is not lower")]
    Base {
        /// cRLNumber.
        number: CrlNumber,
        /// BaseCRLNumber.
        base: CrlNumber,
    },
    /// A delta CRL that says where its deltas are (RFC 5280 5.2.6).
    #[error("a delta CRL must not have freshestCRL: only full CRLs and shards say where their deltas are")]
    FreshestInDelta,
    /// expiredCertsOnCRL lies after thisUpdate.
    #[error("expiredCertsOnCRL {since} is after thisUpdate {this_update}")]
    ExpiredSince {
        /// expiredCertsOnCRL.
        since: Timestamp,
        /// thisUpdate.
        this_update: Timestamp,
    },
    /// An address that cannot stand in a CRL (conformance: C11).
    #[error("rule C11: {url:?} cannot stand in a CRL: {rule}")]
    Url {
        /// The address.
        url: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// What was prepared is not what it should be, as a stranger reads it.
    #[error("the CRL would break rules: {0}")]
    Lint(Findings),
    /// Something cannot be expressed in DER.
    #[error("the CRL cannot be encoded: {0}")]
    Encoding(der::Error),
    /// A revocation date before 1970, or after 9999.
    #[error("the revocation date of {0} cannot be expressed in a CRL: it must be from 1970 to 9999")]
    Date(SerialNumber),
    /// Whoever gives the entries failed.
    #[error("the CRL's entries cannot be read: {0}")]
    Entries(String),
    /// The entries were others when the CRL was written than when it was signed.
    #[error("the entries changed between the signing of the CRL and its writing: make the CRL again")]
    Changed,
    /// The CRL cannot be written.
    #[error("the CRL cannot be written: {0}")]
    Write(String),
    /// The CRL cannot be read.
    #[error("the CRL cannot be read: {0}")]
    Read(String),
    /// The signature is not by the issuer's key.
    #[error("the CRL's signature is not by its issuer's key")]
    Signature,
    /// A signature algorithm that is not known here, or that does not stand in both places alike (conformance: C1).
    #[error("rule C1: the signature algorithm is unknown, or another one inside the signed part than beside it")]
    Algorithm,
    /// No DER, no v2 CRL, or something follows it.
    #[error("not a DER CertificateList of version 2 (RFC 5280 5.1): octet {at}: {rule}")]
    Malformed {
        /// Where: octets from the start of the list to the element that is wrong.
        at: u64,
        /// What is wrong.
        rule: &'static str,
    },
    /// Longer than the limit.
    #[error("the CRL has more than {limit} octets")]
    TooLong {
        /// The limit.
        limit: u64,
    },
    /// More entries than the limit.
    #[error("the CRL has more than {limit} entries")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// A serial number, in an entry, that no certificate may have.
    #[error("an entry's serial number is none")]
    Serial,
    /// A reason that is none, or that belongs into a delta CRL (conformance: C8).
    #[error("rule C8: an entry has reason {0}, which is none of this kind of CRL")]
    Reason(u8),
    /// cRLNumber or BaseCRLNumber is missing, negative or over 20 octets (RFC 5280 5.2.3).
    #[error("cRLNumber is missing or not a number of 1 to 20 octets")]
    Number,
    /// nextUpdate is missing (conformance: C2).
    #[error("rule C2: nextUpdate is missing")]
    NextUpdateMissing,
    /// A critical extension that is not known here.
    #[error("critical extension {0} is not known here")]
    CriticalExtension(ObjectIdentifier),
    /// An issuing distribution point of a kind that is not known here.
    #[error("the CRL is {0}, a kind that is not known here")]
    Scope(&'static str),
}

impl From<der::Error> for CrlError {
    fn from(error: der::Error) -> Self {
        CrlError::Encoding(error)
    }
}

impl CrlError {
    /// What `CrlEntries` of a file or a store give when it fails.
    pub fn entries(error: impl ToString) -> Self {
        CrlError::Entries(error.to_string())
    }

    pub(super) fn write(error: io::Error) -> Self {
        CrlError::Write(error.to_string())
    }
}
