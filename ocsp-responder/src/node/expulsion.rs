//! What a responder does when the CA says, over a connection that was verified, that it was expelled, or that its
//! certificate is revoked: it answers nothing any more, and a restart does not change that.
//!
//! The CA's word is what it answers by, and the CA has taken it back. Elsewhere, where nobody can be asked, age alone ends
//! answers; here nothing is waited for. A certificate that merely ended, or is on hold, says nothing of the kind.

use std::sync::{Arc, Mutex, PoisonError};

use super::link::blocking;
use super::{Node, NodeError};

/// Whether the CA has expelled this responder, and in what words.
#[derive(Debug, Default)]
pub(super) struct Expulsion(Mutex<Option<String>>);

impl Expulsion {
    /// The CA's words, if it was expelled.
    pub(super) fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what it was before.
    fn set(&self, reason: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), reason)
    }
}

impl Node {
    /// Ceases to answer: at once in memory, then on disk.
    pub(super) async fn expelled(self: &Arc<Self>, reason: String) {
        self.responder.withhold_all(true);
        if self.expulsion.set(Some(reason.clone())).is_some() {
            return;
        }
        tracing::error!(
            reason,
            "the CA does not want this responder any more: answers are tryLater from now on, and its replica and signers \
             are removed; stop it, or enrol it again"
        );
        let node = Arc::clone(self);
        // Each is tried, whatever becomes of the others.
        let removed = blocking(move || {
            let replica = node.replica.give_up().map_err(NodeError::from);
            let signers = node.signers.drop_all(&node);
            replica.and(signers)
        });
        if let Err(error) = removed.await {
            tracing::error!(%error, "the replica or the signers could not be removed: remove them before the next start");
        }
    }

    /// The CA lets it follow the feed: whatever it said before is over.
    pub(super) fn readmitted(&self) {
        if self.expulsion.set(None).is_some() {
            self.responder.withhold_all(false);
            tracing::warn!("the CA takes this responder again: answers are given again");
        }
    }
}
