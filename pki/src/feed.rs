//! The status feed: what a responder must know of a certificate, and nothing else; whose feed it is, and how far it has
//! come. [`frame`] is how it goes over a connection.

pub mod frame;

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{CrlReason, SerialNumber, Timestamp};

/// What the outside is told of a certificate. A *reserved* serial number has no entry, and is answered as unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishedStatus {
    /// Signed, not yet confirmed to be on its card: shown as on hold since this time (conformance: O5).
    Pending {
        /// Since when.
        since: Timestamp,
    },
    /// Valid.
    Good {
        /// Since when: a `good` answer's thisUpdate is not before it (conformance: O3).
        since: Timestamp,
    },
    /// On hold: revoked, reason certificateHold.
    OnHold {
        /// Since when.
        since: Timestamp,
    },
    /// Revoked for good.
    Revoked {
        /// When: revocationDate. A hold that was made final keeps its date (conformance: C9).
        at: Timestamp,
        /// Why.
        reason: CrlReason,
        /// Since when the key is thought to have been in other hands (RFC 5280 5.3.2).
        invalidity_date: Option<Timestamp>,
    },
    /// Reserved, and whether a signature exists is not known: revoked, cessationOfOperation (conformance: O5).
    Void {
        /// The time of the reservation.
        at: Timestamp,
    },
}

/// One entry of the feed: the newest status of one certificate. Its sequence number is given by the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusEntry {
    /// The issuing CA's name and key generation, such as `authentication-1`.
    pub issuer: String,
    /// The certificate's serial number.
    pub serial: SerialNumber,
    /// Its status from now on.
    pub status: PublishedStatus,
    /// When the certificate ends: after that, the entry may be forgotten.
    pub not_after: Timestamp,
    /// The partition of the issuer's CRL that the certificate names; `None` when it names the full CRL. Fixed when the
    /// certificate is issued (conformance: C12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u16>,
}

/// A place in the feed. Sequence numbers rise without gaps within a deployment; a restore raises the epoch, and a lower
/// sequence is accepted only under a higher epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FeedPosition {
    /// Raised by each restore.
    pub epoch: u64,
    /// The number of the newest entry; 0 before the first.
    pub sequence: u64,
}

/// Whose feed it is: the same for as long as a deployment lives, whatever keys are rotated. What came from another
/// deployment is told by it, and refused. Written in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin([u8; 32]);

impl Origin {
    /// Of the deployment with this name, whose first root has this SubjectPublicKeyInfo (DER).
    pub fn of(deployment: &str, first_root_spki: &[u8]) -> Self {
        let mut hash = Sha256::new();
        // The zeros keep a name's end and the key's beginning apart.
        hash.update(b"cardinal feed origin\0");
        hash.update(deployment.as_bytes());
        hash.update([0]);
        hash.update(first_root_spki);
        Origin(hash.finalize().into())
    }

    /// From its octets.
    pub const fn from_bytes(octets: [u8; 32]) -> Self {
        Origin(octets)
    }

    /// Its octets.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

/// The text is no [`Origin`] or mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits in small letters")]
pub struct InvalidDigest;

fn digest_from_hex(text: &str) -> Result<[u8; 32], InvalidDigest> {
    let octets = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidDigest)?;
    octets.try_into().map_err(|_| InvalidDigest)
}

impl FromStr for Origin {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        digest_from_hex(text).map(Origin)
    }
}

/// The SHA-256 of the octets of an entry ([`StatusEntry::encode`]), by which two that are at the same position know that
/// they mean the same history. Zeros before the first entry. Written in hex.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Mark([u8; 32]);

impl Mark {
    /// Before the first entry.
    pub const NONE: Mark = Mark([0; 32]);

    /// Of an entry's octets.
    pub fn of(entry: &[u8]) -> Self {
        Mark(Sha256::digest(entry).into())
    }

    /// From its octets.
    pub const fn from_bytes(octets: [u8; 32]) -> Self {
        Mark(octets)
    }

    /// Its octets.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({self})")
    }
}

impl FromStr for Mark {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        digest_from_hex(text).map(Mark)
    }
}

/// The longest feed entry that is read.
pub const MAX_ENTRY_BYTES: usize = 1024;

const FORMAT: u8 = 1;

/// The bytes are no feed entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// More bytes than an entry may have.
    #[error("a feed entry of {0} bytes is longer than the {MAX_ENTRY_BYTES} that are allowed")]
    TooLong(usize),
    /// Another format.
    #[error("the feed entry has format {0}, and this version reads format {FORMAT}: use a newer version of cardinal")]
    Format(u8),
    /// Not an entry.
    #[error("the feed entry cannot be read")]
    Malformed,
}

impl StatusEntry {
    /// A format octet, then CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        // Writing to a Vec does not fail, and every field has a CBOR form.
        let written = ciborium::into_writer(self, &mut bytes);
        debug_assert!(written.is_ok());
        bytes
    }

    /// Reads what [`StatusEntry::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are too many, of another format, or no entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(bytes.len()));
        }
        match bytes.split_first() {
            Some((&FORMAT, mut body)) => {
                let entry = ciborium::from_reader(&mut body).map_err(|_| EntryError::Malformed)?;
                if body.is_empty() { Ok(entry) } else { Err(EntryError::Malformed) }
            }
            Some((&other, _)) => Err(EntryError::Format(other)),
            None => Err(EntryError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_back_and_anything_else_is_refused() {
        let entry = StatusEntry {
            issuer: "signing-1".into(),
            serial: SerialNumber::from_random([9; 16]),
            status: PublishedStatus::Revoked {
                at: Timestamp::from_unix_seconds(5),
                reason: CrlReason::Superseded,
                invalidity_date: None,
            },
            not_after: Timestamp::MAX,
            shard: Some(3),
        };
        let bytes = entry.encode();
        assert_eq!(StatusEntry::decode(&bytes), Ok(entry));
        assert_eq!(StatusEntry::decode(&bytes[..bytes.len() - 1]), Err(EntryError::Malformed));
        assert_eq!(StatusEntry::decode(&[&bytes[..], &[0]].concat()), Err(EntryError::Malformed));
        assert_eq!(StatusEntry::decode(&[7]), Err(EntryError::Format(7)));
        assert_eq!(StatusEntry::decode(&[0; 2000]), Err(EntryError::TooLong(2000)));
    }

    #[test]
    fn origins_differ_by_name_and_by_key_and_are_read_back() {
        let origin = Origin::of("cardinal", &[0x30, 1]);
        assert_eq!(origin.to_string().parse(), Ok(origin));
        assert_ne!(origin, Origin::of("cardinal", &[0x30, 2]));
        assert_ne!(origin, Origin::of("cardinal2", &[0x30, 1]));
        assert_ne!(Origin::of("a0", b"1"), Origin::of("a", b"01"));
        assert_eq!("00".parse::<Origin>(), Err(InvalidDigest));
        assert_eq!(Mark::of(b"x").to_string().to_uppercase().parse::<Mark>(), Err(InvalidDigest));
        assert_eq!(Mark::NONE, Mark::default());
    }

    #[test]
    fn an_entry_of_before_there_were_partitions_is_read() {
        #[derive(Serialize)]
        struct Before {
            issuer: String,
            serial: SerialNumber,
            status: PublishedStatus,
            not_after: Timestamp,
        }
        let serial = SerialNumber::from_random([9; 16]);
        let status = PublishedStatus::Good { since: Timestamp::EPOCH };
        let mut bytes = vec![FORMAT];
        let before = Before { issuer: "signing-1".into(), serial, status, not_after: Timestamp::MAX };
        ciborium::into_writer(&before, &mut bytes).unwrap();
        let entry = StatusEntry::decode(&bytes).unwrap();
        assert_eq!((entry.serial, entry.status, entry.shard), (serial, status, None));
    }
}
