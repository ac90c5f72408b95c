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
