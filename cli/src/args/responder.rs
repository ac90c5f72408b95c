//! The arguments of `responder`: OCSP responders that follow the status feed from elsewhere.

use api::responders::SignerKeys;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ResponderCommand {
    /// Make a single-use code for a responder, which enrols itself with it.
    Enrol {
        /// The responder's name: a DNS name.
        name: String,
        /// Where it keeps the keys that sign its answers, `memory` or `token`: those in memory are certified for a day
        /// at most (times.ocsp_signer_life), those in a PKCS#11 token for a week (times.ocsp_signer_life_in_token).
        #[arg(long, value_name = "WHERE", default_value = "memory")]
        signer_keys: SignerKeys,
    },
    /// List the responders: whether each follows the feed, and how far it is behind.
    List,
    /// Expel a responder for good: its certificates are revoked, and it is cut off at once.
    ///
    /// If it reaches the CA, it answers nothing any more. One that does not hear of it goes on until its statuses are too
    /// old, and a stolen one until its signers' certificates end: take it out of the way of clients first.
    ///
    /// Without --yes it says what would be revoked.
    Expel {
        /// The responder's name.
        name: String,
        /// Its keys are in other hands: they are revoked for keyCompromise.
        #[arg(long)]
        compromised: bool,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}
