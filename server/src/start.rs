//! `cardinal serve`: opens everything, recovers what an earlier process left, opens the doors, and closes them in order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use ca::Authority;
use ca::authority::{PublicUrls, Settings};
use config::Config;
use hsm::{Module, PinFile, TokenOptions, TokenSelector};
use ocsp_responder::door::{Door, DoorCounts, DoorLimits};
use ocsp_responder::http::{HttpOptions, HttpState};
use ocsp_responder::{AnswerRules, IssuerPolicy, Responder, ResponderIssuer, ResponderOptions};
use pki::certificate::ParsedCertificate;
use pki::feed::FeedPosition;
use pki::ocsp::OcspLimits;
use pki::profile::ProfileSet;
use pki::{PublicKey, Timestamp};
use ra::policy::Policy;
use ring::rand::SystemRandom;
use store::{Check, SledOptions, SledStore, Store};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::clock::{Clock, SystemClock};
use crate::crls::schedule::{self, Progress};
use crate::crls::{Crls, RevocationIndex};
use crate::data_keys::DataKeys;
use crate::doors;
use crate::error::Error;
use crate::feed::Feed;
use crate::feed::document::{self, Document};
use crate::followers::Followers;
use crate::known_keys;
use crate::metrics::Metrics;
use crate::rotation::Underway;
use crate::routes;
use crate::service::Service;
use crate::signers::Signers;
use crate::statuses::Statuses;
use crate::steps::{Steps, Unwatched};
use crate::store_check;
use crate::tasks;
use crate::tls::{TlsIdentity, TlsSource};

/// What the edge brings: replaced by tests.
#[derive(Clone)]
pub struct Edge {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Who watches the steps.
    pub steps: Arc<dyn Steps>,
}

impl Default for Edge {
    fn default() -> Self {
        Edge { clock: Arc::new(SystemClock), steps: Arc::new(Unwatched) }
    }
}

/// Policy and profiles, checked against the configuration.
pub(crate) fn rules(config: &Config) -> Result<(Policy, Arc<ProfileSet>), Error> {
    let policy = Policy::parse(&config.policy_text()?, &config.policy_file.display().to_string())?;
    let profiles = ProfileSet::load(&config.profiles_text()?, &config.profiles_file.display().to_string())?;
    config.check_profiles(profiles.iter().map(pki::profile::CertificateProfile::name))?;
    Ok((policy, Arc::new(profiles)))
}

/// Where relying systems find what is published.
pub(crate) fn public_urls(config: &Config) -> PublicUrls {
    PublicUrls { base: config.service.public_base_url.trim_end_matches('/').to_owned() }
}

/// What the CA is told by the configuration.
///
/// # Errors
/// When a list of known keys cannot be read.
pub(crate) fn settings(config: &Config) -> Result<Settings, Error> {
    Ok(Settings {
        owner: config.service.name.clone(),
        lease: config.times.reservation_lease,
        clock_tolerance: config.times.clock_tolerance,
        routes: config.routes(),
        urls: public_urls(config),
        organization: config.service.organisation.clone(),
        known_keys: ca::KnownKeys::new(known_keys::load(config)?),
    })
}

/// Opens the store, or says who has it.
pub(crate) fn open_store(config: &Config) -> Result<SledStore, Error> {
    let options = SledOptions {
        cache_bytes: (config.store.cache_megabytes as u64) << 20,
        check: Check::AfterUncleanStop,
        ..SledOptions::default()
    };
    Ok(SledStore::open_with(&config.store.path, &options)?)
}

/// A service that is ready to open its doors.
pub struct Prepared {
    service: Arc<Service>,
    /// The store, if it is still to be checked.
    unchecked: Option<Arc<SledStore>>,
    doors: Doors,
}

struct Doors {
    api: TcpListener,
    public: TcpListener,
    operations: TcpListener,
    admin: tokio::net::UnixListener,
}

async fn listen(door: &'static str, key: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { door, key, address, source })
}

/// Opens store, token and doors, and recovers; nothing is served yet.
///
/// # Errors
/// Whatever is missing or in use, with what to do about it.
pub async fn prepare(config: Config, edge: Edge) -> Result<Prepared, Error> {
    // The store's lock first: it tells two services on one directory apart, whatever their ports.
    let (policy, profiles) = rules(&config)?;
    let opening = config.clone();
    let store = tokio::task::spawn_blocking(move || open_store(&opening))
        .await
        .map_err(|error| Error::Start(error.to_string()))??;
    if !store.open_report().snapshots_set_aside.is_empty() {
        tracing::warn!(files = ?store.open_report().snapshots_set_aside, "torn snapshots were set aside");
    }
    let store = Arc::new(store);
    let unchecked = store.open_report().check_left_out.then(|| Arc::clone(&store));
    let api = listen("the API door", "api", config.listen.api).await?;
    let public = listen("the public door", "public", config.listen.public).await?;
    let operations = listen("the operations door", "metrics", config.listen.metrics).await?;
    let socket = &config.listen.admin_socket;
    let admin = doors::admin::bind(socket).map_err(Error::file("open socket", socket))?;

    let service = tokio::task::spawn_blocking(move || open_service(config, edge, policy, profiles, store))
        .await
        .map_err(|error| Error::Start(error.to_string()))??;
    Ok(Prepared { service, unchecked, doors: Doors { api, public, operations, admin } })
}

fn open_service(
    config: Config,
    edge: Edge,
    policy: Policy,
    profiles: Arc<ProfileSet>,
    store: Arc<dyn Store>,
) -> Result<Arc<Service>, Error> {
    let above = match ca::issuer::above_issuing_cas(store.as_ref()) {
        Ok(above) => above,
        Err(ca::Error::NoSuchIssuer(_)) => return Err(Error::NotInitialised(config.service.data_dir.clone())),
        Err(error) => return Err(error.into()),
    };

    let module = Module::load(&config.hsm.module)?;
    let selector = TokenSelector::Label(config.hsm.ca.label.clone());
    let options = TokenOptions { sessions: config.hsm.sessions, queue: config.hsm.queue };
    let (token, _) = PinFile::new(&config.hsm.ca.pin_file).open_token(&module, &selector, options)?;
    let authority = Authority::open(settings(&config)?, profiles, store.as_ref(), &token, &config.hsm.ca.label)?;

    let now = edge.clock.now();
    authority.check_clock(store.as_ref(), now)?;
    let data_keys = DataKeys::open(store, &token, now)?;
    let store: Arc<dyn Store> = Arc::<store::SealedStore>::clone(data_keys.store());
    tasks::recover(store.as_ref(), authority.owner(), now)?;

    let random = SystemRandom::new();
    let source =
        TlsSource { config: &config, authority: &authority, store: store.as_ref(), above: &above, random: &random };
    let tls = TlsIdentity::open(&source, now)?;
    let responder = open_responder(&config, &authority, Timestamp::from_unix_millis(store.high_water()))?;
    let crl_dir = config.service.data_dir.join("crl");
    let crls =
        Crls::open(crl_dir.clone(), &issuer_keys(store.as_ref())?).map_err(Error::file("open directory", crl_dir))?;
    let in_flight = Arc::new(Semaphore::new(config.limits.in_flight));
    let origin = document::origin(&config, store.as_ref())?;
    let document = Document::new(&config, &authority, &above, origin)?;
    let feed = Feed::new(origin, document, feed_position(store.as_ref())?, &config.limits);
    let service = Arc::new(Service {
        store,
        authority: ArcSwap::from_pointee(authority),
        data_keys,
        token,
        policy,
        clock: edge.clock,
        random,
        responder,
        statuses: Statuses::new(&config.service.data_dir),
        feed,
        followers: Followers::default(),
        crls,
        revocations: RevocationIndex::default(),
        crl_progress: Progress::default(),
        metrics: Metrics::default(),
        steps: edge.steps,
        above: ArcSwap::from_pointee(above),
        tls,
        signers: Signers::default(),
        retries: tasks::Retries::default(),
        in_flight,
        rotations: Underway::default(),
        reloading: Mutex::default(),
        config,
    });
    tasks::load_replica(&service)?;
    service.signers.renew(&service, service.now())?;
    schedule::publish_due(&service);
    tasks::record_start(&service)?;
    Ok(service)
}

/// The public key of each issuer, by its id.
pub(crate) fn issuer_keys(store: &dyn Store) -> Result<BTreeMap<String, PublicKey>, Error> {
    let keys = ca::issuer::all(store)?.into_iter().map(|issuer| {
        let certificate = ParsedCertificate::from_der(&issuer.certificate_der).map_err(ca::Error::from)?;
        Ok((issuer.id, certificate.public_key().clone()))
    });
    keys.collect()
}

/// The responder signs nothing behind the latest commit, which is the latest time that is known to have been
/// (conformance: O24).
fn open_responder(config: &Config, authority: &Authority, high_water: Timestamp) -> Result<Arc<Responder>, Error> {
    let limits = OcspLimits {
        max_request_bytes: config.limits.ocsp_request_bytes,
        max_requests: config.limits.ocsp_requests_per_message,
    };
    let options = ResponderOptions {
        limits,
        stale_after: config.times.feed_stale,
        cached_answers: config.limits.ocsp_cache_entries,
        cached_octets: config.limits.ocsp_cache_megabytes << 20,
        last_produced_at: Some(high_water),
        rules: AnswerRules { responder_id: config.ocsp.responder_id, unknown: config.ocsp.unknown_serial },
    };
    let responder = Responder::new(options);
    responder.set_issuers(responder_issuers(config, authority)).map_err(|error| Error::Start(error.to_string()))?;
    Ok(Arc::new(responder))
}

/// Whom the OCSP responder answers for, and how long.
pub(crate) fn responder_issuers(config: &Config, authority: &Authority) -> Vec<ResponderIssuer> {
    let mut issuers = Vec::new();
    for issuer in authority.issuers() {
        let others = IssuerPolicy::OTHERS;
        let policy = match config.issuing_ca(&issuer.record().name) {
            Some(ca) => IssuerPolicy {
                next_update: ca.ocsp_next_update,
                max_age: ca.ocsp_max_age,
                withhold_after: ca.feed_withhold,
                ..others
            },
            None => others,
        };
        issuers.push(ResponderIssuer { description: issuer.description().clone(), policy });
    }
    issuers
}

impl Prepared {
    /// The service.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The addresses of the doors: API, public, operations. They differ from the configured ones where port 0 was asked
    /// for.
    ///
    /// # Errors
    /// The operating system's.
    pub fn addresses(&self) -> std::io::Result<[SocketAddr; 3]> {
        Ok([self.doors.api.local_addr()?, self.doors.public.local_addr()?, self.doors.operations.local_addr()?])
    }

    /// Serves until `stop` is true, then finishes what is in flight.
    ///
    /// # Errors
    /// When a background part cannot be started, or the store turns out to be damaged.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), Error> {
        let Prepared { service, unchecked, doors } = self;
        let (stop, checking) = match unchecked {
            None => (stop, None),
            Some(store) => {
                let (ending, ended) = watch::channel(false);
                let (thread, damage) = store_check::begin(store, ended.clone())?;
                (ended, Some((thread, tokio::spawn(stop_on_damage(stop, ending, damage)))))
            }
        };
        let config = &service.config;
        let limits = DoorLimits {
            connections: config.limits.connections,
            header_bytes: config.limits.header_bytes,
            connections_per_address: config.limits.connections_per_address,
            request: config.times.tls_handshake,
            unread: config.times.answer_unread,
            shutdown: config.times.shutdown,
        };
        let counts = &service.metrics.doors;
        let door = |name, counts: &Arc<DoorCounts>| Door::new(name, limits).counted_by(Arc::clone(counts));
        let clock = Arc::clone(&service.clock);
        let ocsp = HttpState::new(
            Arc::clone(&service.responder),
            Arc::new(move || clock.now()),
            HttpOptions { prefix: "/ocsp".to_owned(), ..HttpOptions::default() },
        );
        let follower = tasks::follow(Arc::clone(&service), stop.clone())?;
        let publisher = tasks::publish_after_revocations(Arc::clone(&service), stop.clone())?;
        let ending = tokio::spawn(tasks::end_feed(Arc::clone(&service), stop.clone()));
        let ticking = tokio::spawn(tasks::tick(Arc::clone(&service), stop.clone()));
        tracing::info!(api = %config.listen.api, public = %config.listen.public, "the doors are open");
        tokio::join!(
            doors::api::run(
                doors.api,
                service.tls.door(),
                routes::router(Arc::clone(&service)),
                door("api", &counts.api),
                config.times.tls_handshake,
                stop.clone()
            ),
            doors::public::run(
                doors.public,
                doors::public::answering(Arc::clone(&service), ocsp),
                door("public", &counts.public),
                stop.clone()
            ),
            doors::operations::run(
                doors.operations,
                doors::operations::router(Arc::clone(&service)),
                door("operations", &counts.operations),
                stop.clone()
            ),
            doors::admin::run(
                doors.admin,
                doors::admin::router(Arc::clone(&service)),
                door("admin", &counts.admin),
                stop.clone()
            ),
        );
        let _ = tokio::join!(ticking, ending);
        let _ = tokio::task::spawn_blocking(move || (follower.join(), publisher.join())).await;
        if let Err(error) = std::fs::remove_file(&service.config.listen.admin_socket) {
            tracing::debug!(%error, "the admin socket was gone already");
        }
        let damage = match checking {
            None => None,
            Some((thread, damage)) => {
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
                damage.await.ok().flatten()
            }
        };
        if let Some(damage) = damage {
            return Err(damage.into());
        }
        tasks::record_stop(&service);
        tracing::info!("stopped");
        Ok(())
    }
}

/// Ends the service when it is told to, or when the store is damaged; then with what was found.
async fn stop_on_damage(
    mut stop: watch::Receiver<bool>,
    ending: watch::Sender<bool>,
    mut damage: oneshot::Receiver<store::Error>,
) -> Option<store::Error> {
    let mut checked = false;
    let found = loop {
        tokio::select! {
            // A sender that went is a stop, too.
            _ = stop.wait_for(|stop| *stop) => break None,
            found = &mut damage, if !checked => match found {
                Ok(found) => break Some(found),
                Err(_) => checked = true,
            },
        }
    };
    let _ = ending.send(true);
    found.or_else(|| damage.try_recv().ok())
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn serve(config: Config, edge: Edge) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let refuse = |error: std::io::Error| Error::Start(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(refuse)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refuse)?;
    let (stop, stopped) = watch::channel(false);
    let prepared = prepare(config, edge).await?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: what is in flight may finish");
        let _ = stop.send(true);
    });
    prepared.run(stopped).await
}

/// The feed's position, in the form of the feed.
pub(crate) fn feed_position(store: &dyn Store) -> Result<FeedPosition, store::Error> {
    let position = store.feed_position()?;
    Ok(FeedPosition { epoch: position.epoch, sequence: position.sequence })
}
