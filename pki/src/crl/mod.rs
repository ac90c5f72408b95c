//! Certificate revocation lists (RFC 5280 5).
//!
//! [`prepare_crl`] fixes the bytes, somebody signs them, [`PreparedCrl::assemble`] verifies the signature and yields the
//! list; [`ParsedCrl`] reads one. Full lists only: deltas, shards and the issuing distribution point are not written
//! yet, and a list that has them is refused on reading, since they change what its entries mean.

mod build;
mod parse;
pub(crate) mod wire;

use std::fmt;

pub use build::{PreparedCrl, SignedCrl, prepare_crl};
pub use parse::ParsedCrl;

use const_oid::ObjectIdentifier;

use crate::{CrlReason, SerialNumber, Timestamp};

/// One revoked certificate (RFC 5280 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlEntry {
    /// Its serial number.
    pub serial: SerialNumber,
    /// revocationDate.
    pub at: Timestamp,
    /// reasonCode; [`CrlReason::Unspecified`] is left out (conformance: C10).
    pub reason: CrlReason,
    /// Since when the key is thought to have been in other hands. One after the revocation says nothing that the
    /// revocation does not, and is written as the revocation's date (conformance: C14).
    pub invalidity_date: Option<Timestamp>,
}

/// cRLNumber: an INTEGER from 0, of up to 20 octets (RFC 5280 5.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CrlNumber {
    length: u8,
    octets: [u8; 20],
}

impl CrlNumber {
    /// From the content octets of a DER INTEGER.
    ///
    /// # Errors
    /// [`CrlError::Number`] when it is empty, negative, not in its shortest form or longer than 20 octets.
    pub fn from_der_content(content: &[u8]) -> Result<Self, CrlError> {
        match content {
            [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => Err(CrlError::Number),
            content if content.len() > 20 => Err(CrlError::Number),
            content => {
                let mut octets = [0; 20];
                octets[..content.len()].copy_from_slice(content);
                Ok(CrlNumber { length: content.len() as u8, octets })
            }
        }
    }

    /// The content octets of its DER INTEGER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl From<u64> for CrlNumber {
    fn from(number: u64) -> Self {
        let mut content = [0; 9];
        content[1..].copy_from_slice(&number.to_be_bytes());
        let leading = content.windows(2).take_while(|pair| pair[0] == 0 && pair[1] < 0x80).count();
        let content = &content[leading..];
        let mut octets = [0; 20];
        octets[..content.len()].copy_from_slice(content);
        CrlNumber { length: content.len() as u8, octets }
    }
}

impl Ord for CrlNumber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Both are in their shortest form and not negative: the longer one is the larger one.
        (self.length, self.as_bytes()).cmp(&(other.length, other.as_bytes()))
    }
}

impl PartialOrd for CrlNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for CrlNumber {
    /// `0x` and upper-case hex, as OpenSSL prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let significant = match self.as_bytes() {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        write!(f, "0x{}", data_encoding::HEXUPPER.encode(significant))
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrlNumber({self})")
    }
}

/// Why a CRL is not built, or not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// A serial number is listed twice (conformance: C4).
    #[error("serial number {0} is listed twice")]
    Duplicate(SerialNumber),
    /// nextUpdate is not after thisUpdate.
    #[error("nextUpdate {next_update} is not after thisUpdate {this_update}")]
    Times {
        /// thisUpdate.
        this_update: Timestamp,
        /// nextUpdate.
        next_update: Timestamp,
    },
    /// Something cannot be expressed in DER.
    #[error("the CRL cannot be encoded: {0}")]
    Encoding(der::Error),
    /// The signature is not by the issuer's key.
    #[error("the CRL's signature is not by its issuer's key")]
    Signature,
    /// No DER, no v2 CRL, or something follows it.
    #[error("not a DER CertificateList of version 2 (RFC 5280 5.1): {0}")]
    Malformed(der::Error),
    /// Longer than the limit.
    #[error("the CRL has {length} octets, more than {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A serial number, in an entry, that no certificate may have.
    #[error("an entry's serial number is none")]
    Serial,
    /// A reason that is none, or that belongs into a delta CRL.
    #[error("an entry has reason {0}, which is none of a full CRL")]
    Reason(u8),
    /// cRLNumber is missing, negative or over 20 octets (RFC 5280 5.2.3).
    #[error("cRLNumber is missing or not a number of 1 to 20 octets")]
    Number,
    /// nextUpdate is missing (conformance: C2).
    #[error("nextUpdate is missing")]
    NextUpdateMissing,
    /// A critical extension that is not known here; deltas and shards have such.
    #[error("critical extension {0} is not known here")]
    CriticalExtension(ObjectIdentifier),
}
