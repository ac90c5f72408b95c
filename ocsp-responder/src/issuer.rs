//! The CA keys that are answered for.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pki::ocsp::IssuerHashes;
use pki::{IssuerDescription, SignatureAlgorithm, Timestamp};

use crate::replica::IssuerIndex;
use crate::signer::IssuerSigner;

/// How long answers about an issuer's certificates may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerPolicy {
    /// nextUpdate, counted from thisUpdate.
    pub next_update: Duration,
    /// nextUpdate, counted from the answer, of what will change soon: serial numbers that are not known (they may be in
    /// the next feed entry) and certificates that wait for their confirmation.
    pub unsettled_next_update: Duration,
    /// The HTTP max-age.
    pub max_age: Duration,
    /// Answers are withheld when the last heartbeat is older (conformance: O6).
    pub withhold_after: Duration,
    /// How long the status of an expired certificate is kept: archiveCutoff (conformance: O25).
    pub retention: Duration,
}

impl IssuerPolicy {
    /// For authentication and temporary cards: nextUpdate 10 minutes, max-age 5 seconds, withheld after 5 minutes.
    pub const AUTHENTICATION: IssuerPolicy = IssuerPolicy {
        next_update: Duration::from_secs(10 * 60),
        unsettled_next_update: Duration::from_secs(60),
        max_age: Duration::from_secs(5),
        withhold_after: Duration::from_secs(5 * 60),
        retention: Duration::ZERO,
    };

    /// For all others: nextUpdate 4 hours, max-age 5 minutes, withheld after an hour.
    pub const OTHERS: IssuerPolicy = IssuerPolicy {
        next_update: Duration::from_secs(4 * 3600),
        unsettled_next_update: Duration::from_secs(60),
        max_age: Duration::from_secs(5 * 60),
        withhold_after: Duration::from_secs(3600),
        retention: Duration::ZERO,
    };
}

/// A CA key to be answered for.
#[derive(Clone, Debug)]
pub struct ResponderIssuer {
    /// The CA key; its `id` is the one in the feed's entries.
    pub description: IssuerDescription,
    /// The times of its answers.
    pub policy: IssuerPolicy,
}

/// A CA key that is answered for, with what was computed of it and its signers, newest first.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) index: IssuerIndex,
    pub(crate) description: IssuerDescription,
    pub(crate) hashes: IssuerHashes,
    pub(crate) policy: IssuerPolicy,
    pub(crate) signers: ArcSwap<Vec<Arc<IssuerSigner>>>,
}

impl Issuer {
    /// The signer for an answer at `now`, and whether it is the one that is taken by default. Preferences are honoured
    /// where a key fits them (conformance: O22).
    pub(crate) fn signer(&self, preferred: &[SignatureAlgorithm], now: Timestamp) -> Option<(Arc<IssuerSigner>, bool)> {
        let signers = self.signers.load();
        let mut valid = signers.iter().filter(|signer| signer.is_valid(now));
        let first = valid.next()?;
        for algorithm in preferred {
            if first.signer().algorithm() == *algorithm {
                break;
            }
            if let Some(signer) = valid.clone().find(|signer| signer.signer().algorithm() == *algorithm) {
                return Some((signer.clone(), false));
            }
        }
        Some((first.clone(), true))
    }
}
