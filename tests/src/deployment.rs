//! A whole deployment in the test's own process: initialised, served, stopped, and served again on the same directory.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use api::EnrolmentCode;
use api::admin::{
    AuditView, CodeReply, OperatorReply, OperatorRequest, OrganisationRequest, StationCodeRequest, StatusReply,
};
use ca::certificate::CertificateRecord;
use config::Config;
use hsm::{MemoryKey, Signer};
use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use server::clock::Clock;
use server::service::Service;
use server::{Edge, FirstOrganisation, prepare};
use tokio::sync::{oneshot, watch};

use crate::home::SOFTHSM;
pub use crate::published::issuer_id;
use crate::{Ask, Door, Gate, Home, TestClock, eventually};

/// The first organisation.
pub const TOP: &str = "RX1";

/// What is not as it ships.
#[derive(Clone, Debug)]
pub struct Options {
    /// The deployment's name; a second one in the same process needs another.
    pub name: &'static str,
    /// Added to the usual ports; a second deployment in the same process needs another.
    pub ports: u16,
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// What is replaced in `cardinal.toml`.
    pub config: Vec<(&'static str, &'static str)>,
    /// What is replaced in `profiles.toml`.
    pub profiles: Vec<(&'static str, &'static str)>,
}

impl Default for Options {
    fn default() -> Self {
        let (config, profiles) = (Vec::new(), Vec::new());
        Options { name: "test", ports: 0, module: SOFTHSM.into(), config, profiles }
    }
}

impl Options {
    /// Card certificates that live 40 days and can be renewed in the last 10 of them, so that a test reaches their end
    /// before the certificates of station and service are due.
    pub fn short_lived_cards() -> Self {
        Options {
            config: vec![
                ("renewal_window = \"90d\"", "renewal_window = \"10d\""),
                ("holder = [\"90d\", \"60d\", \"30d\", \"14d\", \"7d\", \"1d\"]", "holder = [\"7d\", \"1d\"]"),
            ],
            profiles: vec![("life = \"730d\"\njitter = \"30d\"", "life = \"40d\"\njitter = \"0s\"")],
            ..Options::default()
        }
    }
}

/// A deployment that is not running.
#[derive(Debug)]
pub struct Site {
    /// Where the test has its files.
    pub home: Home,
    /// The configuration.
    pub config: Config,
    /// The clock.
    pub clock: Arc<TestClock>,
    /// The steps of issuances.
    pub gate: Arc<Gate>,
}

/// A deployment that is running.
pub struct Deployment {
    site: Site,
    /// The service itself, for what cannot be seen from outside.
    pub service: Arc<Service>,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), server::Error>>,
}

impl std::ops::Deref for Deployment {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

pub(crate) fn replaced(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the shipped file");
        text.replace(from, to)
    })
}

impl Site {
    /// Makes tokens, hierarchy and store.
    ///
    /// # Panics
    /// When that fails.
    pub async fn initialised(home: &Home, options: &Options) -> Self {
        let site = Site::configured(home, options);
        let config = site.config.clone();
        let made = tokio::task::spawn_blocking(move || {
            let first = FirstOrganisation { code: TOP.to_owned(), name: "Example Trust".to_owned() };
            server::initialise(&config, &first, "uid 0")
        });
        made.await.expect("a thread").expect("the deployment is made");
        site
    }

    /// A configuration, and nothing else.
    ///
    /// # Panics
    /// When the configuration is refused.
    pub fn configured(home: &Home, options: &Options) -> Self {
        let dir = home.file(options.name);
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("policy.toml"), config::SHIPPED_POLICY_TOML).expect("a policy");
        let profiles = replaced(config::SHIPPED_PROFILES_TOML, &options.profiles);
        fs::write(dir.join("profiles.toml"), profiles).expect("profiles");
        let door = |port: u16| Some(SocketAddr::new(home.address(), port + options.ports));
        let deployment = config::Deployment {
            name: Some(options.name.to_owned()),
            data_dir: Some(dir.join("data")),
            addresses: Some(vec![home.address()]),
            api: door(8443),
            public: door(8080),
            metrics: door(9090),
            module: Some(options.module.clone()),
            ca_token: Some(format!("{}-ca", options.name)),
            root_token: Some(format!("{}-root", options.name)),
            ..config::Deployment::default()
        };
        let origin = dir.join("cardinal.toml");
        let (text, _) = deployment.render(&origin).expect("a configuration");
        let text = replaced(&text, &options.config);
        fs::write(&origin, &text).expect("a file");
        let config = Config::parse(&text, &origin).unwrap_or_else(|error| panic!("{error}"));
        Site { home: home.clone(), config, clock: Arc::default(), gate: Arc::default() }
    }

    /// Serves.
    ///
    /// # Errors
    /// When it does not start.
    ///
    /// # Panics
    /// When its doors do not open.
    pub async fn try_start(self) -> Result<Deployment, (Site, server::Error)> {
        let edge = Edge { clock: self.clock.clone(), steps: self.gate.clone() };
        let config = self.config.clone();
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = oneshot::channel();
        // As in life, the service shares no runtime with those who call it.
        let running = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                match prepare(config, edge).await {
                    Ok(prepared) => {
                        let _ = tell.send(Ok(Arc::clone(prepared.service())));
                        prepared.run(stopped).await
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        Ok(())
                    }
                }
            })
        });
        let service = match told.await.expect("the service's thread") {
            Ok(service) => service,
            Err(error) => return Err((self, error)),
        };
        let deployment = Deployment { site: self, service, stop, running };
        eventually("a ready service", async || {
            let reply = deployment.operations().send(Ask::get("/readyz")).await;
            (reply.status == 200).then_some(())
        })
        .await;
        Ok(deployment)
    }

    /// Serves.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(self) -> Deployment {
        self.try_start().await.unwrap_or_else(|(_, error)| panic!("{error}"))
    }

    /// The admin socket.
    pub fn admin(&self) -> Door {
        Door::Socket(self.config.listen.admin_socket.clone())
    }

    /// The public door.
    pub fn public(&self) -> Door {
        Door::Plain(self.config.listen.public)
    }

    /// The operations door.
    pub fn operations(&self) -> Door {
        Door::Plain(self.config.listen.metrics)
    }

    /// The certificate of an issuer, DER.
    ///
    /// # Panics
    /// When it is not there.
    pub fn issuer(&self, id: &str) -> Vec<u8> {
        let text = fs::read(self.config.service.data_dir.join("ca").join(format!("{id}.pem"))).expect("a file");
        pki::pem::decode_certificates(&text).expect("a certificate").remove(0)
    }

    /// The root's certificate, DER.
    ///
    /// # Panics
    /// When it is not there.
    pub fn root(&self) -> Vec<u8> {
        self.issuer("root-1")
    }

    /// The API door, without a client certificate.
    ///
    /// # Panics
    /// When the root is not there.
    pub fn anonymous(&self) -> Door {
        Door::Tls(self.config.listen.api, station::tls::plain_config(&[self.root()]).expect("a TLS configuration"))
    }

    /// The API door, with a client certificate.
    ///
    /// # Panics
    /// When the root is not there.
    pub fn door_for(&self, certificate: &[u8], key: Arc<MemoryKey>) -> Door {
        let key: Arc<dyn Signer> = key;
        let config = station::tls::card_config(&[self.root()], certificate, key).expect("a TLS configuration");
        Door::Tls(self.config.listen.api, config)
    }

    /// A directory for files that strangers read.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn scratch(&self) -> PathBuf {
        let dir = self.home.file("scratch");
        fs::create_dir_all(&dir).expect("a directory");
        dir
    }
}

impl Deployment {
    /// One that is as it ships.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(home: &Home) -> Self {
        Deployment::start_with(home, &Options::default()).await
    }

    /// One that is not as it ships.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(home: &Home, options: &Options) -> Self {
        Site::initialised(home, options).await.start().await
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// When it ends with an error, or leaves something running.
    pub async fn stop(self) -> Site {
        let Deployment { site, service, stop, running } = self;
        stop.send(true).expect("the service is running");
        eventually("the service to end", async || running.is_finished().then_some(())).await;
        running.join().expect("no panic").expect("an orderly end");
        eventually("everything that the service started to end", async || {
            (Arc::strong_count(&service) == 1).then_some(())
        })
        .await;
        drop(service);
        site
    }

    /// Stops it and starts it again on the same directory.
    ///
    /// # Panics
    /// When it does not stop or start.
    pub async fn restart(self) -> Self {
        self.stop().await.start().await
    }

    /// Puts the clock forward, and waits until the service has done what is due then, and is ready again.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        eventually("a service that is ready after a jump of the clock", async || {
            let reply = self.operations().send(Ask::get("/readyz")).await;
            (reply.status == 200).then_some(())
        })
        .await;
    }

    /// How the service says that it is.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn status(&self) -> StatusReply {
        self.admin().send(Ask::get("/status")).await.expect(200).read()
    }

    /// Adds an organisation.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn add_organisation(&self, code: &str, parent: &str) {
        let request = OrganisationRequest {
            code: code.to_owned(),
            name: format!("Organisation {code}"),
            parent: Some(parent.to_owned()),
        };
        self.admin().send(Ask::post("/organisations").json(&request)).await.expect(201);
    }

    /// A code for a station of the first organisation.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn station_code(&self, name: &str) -> EnrolmentCode {
        let request = StationCodeRequest { name: name.to_owned(), organisation: TOP.to_owned() };
        let reply: CodeReply = self.admin().send(Ask::post("/station-codes").json(&request)).await.expect(201).read();
        reply.code.parse().expect("a code")
    }

    /// A new operator who has no card yet: the user id, and the code for the first card.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn operator_code(&self, role: &str, organisation: &str) -> (String, EnrolmentCode) {
        let request = OperatorRequest {
            given_name: "Grace".to_owned(),
            family_name: format!("Operator {}", role.replace('_', " ")),
            organisation: organisation.to_owned(),
            role: role.to_owned(),
            witnesses: vec!["First Witness".to_owned(), "Second Witness".to_owned()],
            terms_version: "RA01-2026".to_owned(),
        };
        let reply: OperatorReply = self.admin().send(Ask::post("/operators").json(&request)).await.expect(201).read();
        (reply.user_id, reply.code.parse().expect("a code"))
    }

    /// All audit records.
    ///
    /// # Panics
    /// When they cannot be read.
    pub async fn audit(&self) -> Vec<AuditView> {
        let mut records = Vec::new();
        let mut from = "0".to_owned();
        loop {
            let page = self.admin().send(Ask::get(format!("/audit?from={from}"))).await.expect(200);
            let page: api::Page<AuditView> = page.read();
            records.extend(page.items);
            match page.next {
                Some(next) => from = next,
                None => return records,
            }
        }
    }

    /// The newest audit record of an operation.
    ///
    /// # Panics
    /// When there is none.
    pub async fn last_audit(&self, operation: &str) -> AuditView {
        let records = self.audit().await;
        let found = records.into_iter().rev().find(|record| record.operation == operation);
        found.unwrap_or_else(|| panic!("no audit record of {operation}"))
    }

    /// The records of all certificates that were ever reserved.
    ///
    /// # Panics
    /// When the store fails.
    pub fn certificates(&self) -> Vec<CertificateRecord> {
        let found = store::load_range::<CertificateRecord>(self.service.store.as_ref(), b"", None, 10_000);
        found.expect("the store").into_iter().map(|found| found.record).collect()
    }

    /// How many certificates people's cards have, or were to have.
    ///
    /// # Panics
    /// When the store fails.
    pub fn card_certificates(&self) -> usize {
        self.certificates().iter().filter(|record| record.holder.card().is_some()).count()
    }

    /// The record of a certificate.
    ///
    /// # Panics
    /// When there is none.
    pub fn record(&self, certificate: &[u8]) -> CertificateRecord {
        let parsed = ParsedCertificate::from_der(certificate).expect("a certificate");
        let found = ca::certificate::find(self.service.store.as_ref(), &parsed, certificate);
        found.expect("the store").expect("a record")
    }

    /// Changes a certificate where no call of the API does: the record, and the feed that tells of it.
    ///
    /// # Panics
    /// When its state does not permit it.
    pub fn change_certificate(
        &self,
        certificate: &[u8],
        change: impl FnOnce(CertificateRecord, Timestamp) -> Result<CertificateRecord, ca::InvalidTransition>,
    ) {
        let store = self.service.store.as_ref();
        let stored = ca::certificate::load(store, &self.record(certificate).id).expect("a record");
        let now = self.clock.now();
        let next = change(stored.record.clone(), now).expect("a possible change");
        let mut batch = ca::batch(now);
        ca::certificate::change(&mut batch, &stored, &next, &audit::Actor::service(), None).expect("a change");
        store.commit(batch).expect("a commit");
    }
}
