//! The service: what every door and task works with, and the two ways of doing something: one commit, or an issuance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use config::Config;
use hsm::Token;
use ocsp_responder::Responder;
use pki::Timestamp;
use ra::issuance::{IssuanceTimes, Surroundings};
use ra::policy::Policy;
use ra::session::SessionTimes;
use ring::rand::SystemRandom;
use store::{Batch, Committed, Store};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::crls::schedule::Progress;
use crate::crls::{Crls, RevocationIndex};
use crate::data_keys::DataKeys;
use crate::failure::Failure;
use crate::feed::Feed;
use crate::feed::document::Document;
use crate::followers::Followers;
use crate::idempotency::{Repeatable, Reply};
use crate::metrics::Metrics;
use crate::rotation::Underway;
use crate::signers::Signers;
use crate::start;
use crate::statuses::Statuses;
use crate::steps::Steps;
use crate::tasks::Retries;
use crate::tls::{TlsIdentity, TlsSource};

/// How often a decision is taken again when somebody else was faster.
const ATTEMPTS: usize = 16;

/// How long a reply waits for the responders to have seen a change.
const PUBLICATION_WAIT: Duration = Duration::from_secs(1);

/// The service.
pub struct Service {
    /// The configuration.
    pub config: Config,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The CA; exchanged when its keys change.
    pub(crate) authority: ArcSwap<ca::Authority>,
    /// What the sealed tables of the store are encrypted with.
    pub data_keys: DataKeys,
    /// The token of the issuing CAs.
    pub token: Arc<Token>,
    /// Who may do what.
    pub policy: Policy,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The random number generator.
    pub random: SystemRandom,
    /// The OCSP responder inside.
    pub responder: Arc<Responder>,
    /// The statuses as a file.
    pub statuses: Statuses,
    /// The feed, as responders elsewhere follow it.
    pub feed: Feed,
    /// Who follows the feed.
    pub followers: Followers,
    /// The CRLs that are served.
    pub crls: Crls,
    /// What is revoked: what CRLs are made from.
    pub revocations: RevocationIndex,
    /// How far the CRLs have come in the feed.
    pub(crate) crl_progress: Progress,
    /// What is counted.
    pub metrics: Metrics,
    /// Who watches the steps.
    pub steps: Arc<dyn Steps>,
    /// What leads from issuing CAs to the root's keys, DER: the one in force last.
    pub(crate) above: ArcSwap<Vec<Vec<u8>>>,
    /// The certificate of the API door, and whose clients it takes.
    pub tls: TlsIdentity,
    /// The OCSP signers.
    pub signers: Signers,
    /// Background tasks that wait for their next attempt.
    pub(crate) retries: Retries,
    /// How many calls may be worked on at once.
    pub(crate) in_flight: Arc<Semaphore>,
    /// The rotations that somebody is at.
    pub(crate) rotations: Underway,
    /// Held while the issuers are taken anew.
    pub(crate) reloading: Mutex<()>,
}

impl Service {
    /// The CA as it is now: hold it for one decision, and ask again for the next.
    pub fn authority(&self) -> Arc<ca::Authority> {
        self.authority.load_full()
    }

    /// What leads from issuing CAs to the root's keys, DER: links, and the root's certificates, the one in force last.
    pub fn above_issuing_cas(&self) -> Arc<Vec<Vec<u8>>> {
        self.above.load_full()
    }

    /// The certificate of the root that is in force, DER.
    pub fn root_der(&self) -> Vec<u8> {
        self.above.load().last().cloned().unwrap_or_default()
    }

    /// Takes the issuers as they stand in the store now, while everything goes on: the keys that sign, whom the API door
    /// lets in, whom the OCSP responder answers for, and their OCSP signers. What is under way is finished by the keys
    /// that it was begun with.
    ///
    /// # Errors
    /// When the store fails, a key is not in its token, or a signer cannot be certified; then all stays as it was.
    pub fn reload_issuers(&self) -> Result<(), Failure> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let authority = Arc::new(self.authority().reopened(self.store.as_ref(), &self.token)?);
        let above = Arc::new(ca::issuer::above_issuing_cas(self.store.as_ref())?);
        // First all that verifies and answers for a new key, then the key itself.
        self.tls.trust(&authority)?;
        self.responder.set_issuers(start::responder_issuers(&self.config, &authority)).map_err(Failure::internal)?;
        let source = TlsSource {
            config: &self.config,
            authority: &authority,
            store: self.store.as_ref(),
            above: &above,
            random: &self.random,
        };
        self.tls.chain(&source, now)?;
        let document = Document::new(&self.config, &authority, &above, self.feed.origin())?;
        self.authority.store(authority);
        self.above.store(above);
        self.feed.set_document(document);
        self.signers.renew(self, now)
    }

    /// Does one piece of background work. When it fails, that is counted and told the log, and it rests for a while: each
    /// attempt may leave records, so it is not made every second.
    pub(crate) fn watched(&self, task: &str, now: Timestamp, work: impl FnOnce() -> Result<(), Failure>) {
        if self.retries.is_paused(task, now) {
            return;
        }
        if let Err(failure) = work() {
            self.metrics.task_failures.inc();
            self.retries.pause(task, now);
            tracing::error!(task, cause = failure.cause(), "a background task failed; it is tried again in a while");
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What issuing needs.
    pub fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            store: self.store.as_ref(),
            authority: self.authority(),
            times: IssuanceTimes {
                confirmation: self.config.times.issuance_confirmation,
                renewal_window: self.config.times.renewal_window,
            },
            random: &self.random,
        }
    }

    /// How long sessions last.
    pub fn session_times(&self) -> SessionTimes {
        SessionTimes {
            challenge: self.config.times.challenge,
            idle: self.config.times.session_idle,
            longest: self.config.times.session_max,
        }
    }

    /// Does something that blocks, off the async threads. More calls than may be worked on at once are told to come
    /// again, so that nobody waits without bound.
    ///
    /// # Errors
    /// What `work` fails with, or 503.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Service) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let Ok(place) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            return Err(Failure::unavailable("busy", "the service is busy; try again", "limits.in_flight is reached"));
        };
        let service = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&service);
            drop(place);
            result
        });
        done.await.map_err(Failure::internal)?
    }

    /// Decides and commits; when somebody else was faster, decides again on what is there now.
    ///
    /// # Errors
    /// What the decision fails with, or the store.
    pub fn commit<T>(
        &self,
        mut decide: impl FnMut(Timestamp) -> Result<(Batch, T), Failure>,
    ) -> Result<(Option<Committed>, T), Failure> {
        let mut attempt = 0;
        loop {
            let (batch, outcome) = decide(self.now())?;
            if batch.put.is_empty() && batch.audit.is_empty() {
                return Ok((None, outcome));
            }
            attempt += 1;
            match self.store.commit(batch) {
                Ok(committed) => return Ok((Some(committed), outcome)),
                Err(store::Error::Conflict { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One call that is one commit, with its idempotency row in it.
    ///
    /// # Errors
    /// What the decision fails with, or the store.
    pub fn reply_with_commit<T>(
        &self,
        repeatable: &Repeatable,
        mut decide: impl FnMut(Timestamp) -> Result<(Batch, T), Failure>,
        render: impl Fn(&T) -> Result<Reply, Failure>,
    ) -> Result<Reply, Failure> {
        let (_, reply) = self.commit(|now| {
            let (mut batch, outcome) = decide(now)?;
            let reply = render(&outcome)?;
            repeatable.answer(&mut batch, &reply)?;
            Ok((batch, reply))
        })?;
        Ok(reply)
    }

    /// Waits until the responders that are connected answer by all that is committed, for a second at most, and says how
    /// many do.
    pub fn publication(&self) -> Result<api::cards::Publication, Failure> {
        let position = self.store.feed_position()?;
        let seen = self.followers.wait(position.sequence, PUBLICATION_WAIT);
        Ok(api::cards::Publication {
            sequence: position.sequence,
            seen_by: seen.seen_by,
            responders: seen.followers,
            connected: seen.connected,
        })
    }
}
