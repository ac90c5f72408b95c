//! The responder as a process of its own: it follows a CA's feed over the network and answers from what it keeps.
//!
//! * [`enrol`]: it gets its client certificate by a single-use code; [`identity`]: what that leaves on disk;
//! * [`client`], `link`, `errands`: connected to the CA, following the feed, saying how far;
//! * [`clock`]: what time it is, by this machine and by the CA;
//! * [`issuers`]: whom it answers for, and why that may be believed;
//! * `expulsion`: what it does when the CA says that it is expelled;
//! * [`signers`], `keys`: the keys that sign answers;
//! * [`replica_dir`]: the replica on disk, from which it starts when the CA is away;
//! * [`readiness`], [`feed_state`], `operations`, [`check`]: how it stands, for operators;
//! * [`run`]: all of that, put together.

pub mod check;
pub mod client;
pub mod clock;
pub mod enrol;
mod errands;
mod error;
mod expulsion;
pub mod feed_state;
pub mod identity;
pub mod issuers;
mod keys;
mod link;
mod operations;
pub mod readiness;
pub mod replica_dir;
pub mod run;
pub mod signers;
mod upkeep;

use std::sync::{Arc, Mutex, PoisonError};

use api::feed::{self, IssuersDocument};
use arc_swap::ArcSwapOption;
use config::ResponderConfig;
use pki::Timestamp;
use tokio::sync::Notify;

pub use error::NodeError;

use self::client::{Connection, Server};
use self::clock::NodeClock;
use self::expulsion::Expulsion;
use self::feed_state::FeedState;
use self::identity::Identity;
use self::issuers::TrustedIssuers;
use self::keys::Keys;
use self::link::blocking;
use self::replica_dir::{Reading, ReplicaDir, ReplicaSteps};
use self::signers::Signers;
use crate::door::DoorCounts;
use crate::http::Clock;
use crate::{Responder, ResponderOptions};

/// The directory of the replica, in the data directory.
pub const REPLICA: &str = "replica";

/// A responder of its own, with all that it needs to know.
pub struct Node {
    config: ResponderConfig,
    clock: Arc<NodeClock>,
    identity: Identity,
    server: Arc<Server>,
    responder: Arc<Responder>,
    replica: ReplicaDir,
    signers: Signers,
    feed: FeedState,
    expulsion: Expulsion,
    /// What the public door counts.
    door: Arc<DoorCounts>,
    issuers: ArcSwapOption<TrustedIssuers>,
    /// Held while the list of issuers is exchanged.
    exchange: Mutex<()>,
    issuers_changed: Notify,
    /// The link is to be made anew.
    rejoin: Notify,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.config.name).field("feed", &self.feed).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens what is on disk: identity, keys in a token, and the replica, from which it answers if that is whole. Nothing
    /// is asked over the network. Blocks.
    ///
    /// # Errors
    /// [`NodeError::NotEnrolled`]; when the disk or the token keeps it from starting.
    pub fn open(config: ResponderConfig, clock: Clock, steps: Arc<dyn ReplicaSteps>) -> Result<Arc<Self>, NodeError> {
        let identity = Identity::open(&config.data_dir)?;
        if identity.enrolled().name != config.name {
            return Err(NodeError::Usage(format!(
                "`responder.name` is {:?}, and {:?} is enrolled in {}: write that name, or another data_dir",
                config.name,
                identity.enrolled().name,
                config.data_dir.display()
            )));
        }
        let server = Server::new(&config.server, config.times.connect, config.times.answer)?;
        let keys = Keys::open(&config.signer.place, &config.data_dir)?;
        let origin = identity.enrolled().origin;
        let (replica, reading) = ReplicaDir::open(&config.data_dir.join(REPLICA), origin, steps)?;
        let options = ResponderOptions {
            limits: pki::ocsp::OcspLimits {
                max_request_bytes: config.limits.ocsp_request_bytes,
                max_requests: config.limits.ocsp_requests_per_message,
            },
            cached_answers: config.limits.ocsp_cache_entries,
            cached_octets: config.limits.ocsp_cache_megabytes << 20,
            last_produced_at: replica.seen().last_produced_at,
            ..ResponderOptions::default()
        };
        let node = Arc::new(Node {
            signers: Signers::new(keys, config.signer.key_types.clone()),
            config,
            clock: NodeClock::new(clock),
            identity,
            server,
            responder: Arc::new(Responder::new(options)),
            replica,
            feed: FeedState::default(),
            expulsion: Expulsion::default(),
            door: Arc::default(),
            issuers: ArcSwapOption::empty(),
            exchange: Mutex::default(),
            issuers_changed: Notify::new(),
            rejoin: Notify::new(),
        });
        node.start_from_disk(reading)?;
        Ok(node)
    }

    fn start_from_disk(&self, reading: Reading) -> Result<(), NodeError> {
        match self.kept_issuers() {
            Ok(true) => {}
            Ok(false) => tracing::info!("whom it answers for is not known yet: the CA is asked"),
            Err(error) => tracing::warn!(%error, "the kept list of issuers is not used: the CA is asked"),
        }
        match reading {
            Reading::Nothing => tracing::info!("there is no replica yet: a snapshot is fetched"),
            // `ReplicaDir::open` said why.
            Reading::Refused(_) => {}
            Reading::Whole(loaded) => {
                let certificates = loaded.fill(&self.responder)?;
                let (sequence, entries) = (loaded.place().position.sequence, loaded.entries());
                tracing::info!(
                    certificates,
                    sequence,
                    entries,
                    as_of = loaded.as_of().map(tracing::field::display),
                    "the replica was read from disk"
                );
            }
        }
        self.signers.take_kept(self, self.now())
    }

    fn kept_issuers(&self) -> Result<bool, NodeError> {
        let Some(bytes) = self.replica.issuers()? else { return Ok(false) };
        let document: IssuersDocument =
            serde_json::from_slice(&bytes).map_err(|error| NodeError::Issuers(error.to_string()))?;
        self.take_issuers(&document)?;
        Ok(true)
    }

    /// The configuration.
    pub fn config(&self) -> &ResponderConfig {
        &self.config
    }

    /// The responder.
    pub fn responder(&self) -> &Arc<Responder> {
        &self.responder
    }

    /// The replica on disk.
    pub fn replica(&self) -> &ReplicaDir {
        &self.replica
    }

    /// The time for answers: [`NodeClock::now`].
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The revision of the list of issuers that is in use.
    fn issuers_revision(&self) -> Option<[u8; 32]> {
        self.issuers.load().as_ref().map(|issuers| issuers.revision)
    }

    /// Asks the CA for whom to answer, and does so from now on.
    async fn refresh_issuers(self: &Arc<Self>, connection: &mut Connection) -> Result<(), NodeError> {
        let document: IssuersDocument = connection.get(feed::ISSUERS).await?;
        let node = Arc::clone(self);
        blocking(move || {
            if node.take_issuers(&document)? {
                let json = serde_json::to_vec(&document).map_err(|error| NodeError::System(error.to_string()))?;
                if let Err(error) = node.replica.put_issuers(&json) {
                    tracing::error!(%error, "the list of issuers is used, and cannot be kept");
                }
            }
            Ok(())
        })
        .await
    }

    /// Answers for these issuers from now on. Returns whether they are others than before.
    fn take_issuers(&self, document: &IssuersDocument) -> Result<bool, NodeError> {
        let _exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = self.identity.roots();
        let trusted = issuers::verify(document, self.identity.enrolled().origin, &pinned, self.now())?;
        if self.issuers_revision() == Some(trusted.revision) {
            return Ok(false);
        }
        if *pinned != trusted.roots {
            let (before, after) = (pinned.len(), trusted.roots.len());
            tracing::info!(before, after, "the CA's roots that are trusted have changed");
            self.identity.pin(trusted.roots.clone())?;
        }
        self.responder.set_rules(trusted.rules);
        self.responder.set_issuers(trusted.issuers.clone())?;
        self.responder.set_stale_after(trusted.stale_after);
        let ids: Vec<&str> = trusted.issuers.iter().map(|issuer| issuer.description.id.as_str()).collect();
        tracing::info!(issuers = ids.join(" "), "answers are given for these issuers");
        self.issuers.store(Some(Arc::new(trusted)));
        self.issuers_changed.notify_one();
        Ok(true)
    }
}
