//! The status feed's entries: what a responder must know of a certificate, and nothing else.

use serde::{Deserialize, Serialize};

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
