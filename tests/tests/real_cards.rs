//! The station's library and a card that is a token of its own. The station is killed after each of its steps, or loses
//! its link; the same call again completes what was begun, and no holder is ever without a working certificate.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use api::Base64;
use api::cards::IssuanceView;
use api::sessions::SessionReply;
use hsm::{MemoryKey, Signer};
use pki::CrlReason;
use pki::ocsp::CertStatus;
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use station::personalise::{Outcome, quietly, step};
use station::{Card, Client, KeyType, Module, Personalisation, Pin, Purpose, Session, Times, TokenSelector};
use tests::clock::minutes;
use tests::{Deployment, Options, RaSession, World, eventually, isolated};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PASSCODE: &str = "24681357";
/// What tells the child process its work.
const JOB: &str = "CARDINAL_STATION_JOB";
/// The test that is the child's part.
const CHILD: &str = "a_station_process_does_its_job";

/// What a station's process has to know.
#[derive(Clone, Serialize, Deserialize)]
struct Job {
    url: String,
    root: Base64,
    certificate: Base64,
    key: Base64,
    session: String,
    card: String,
    /// Whom the card is for; `None` renews it.
    holder: Option<String>,
    /// The step after which the process kills itself.
    dies_after: Option<String>,
}

impl Job {
    fn new(world: &World, card: &str, holder: Option<&str>) -> Self {
        Job {
            url: format!("https://{}", world.config.listen.api),
            root: world.root().into(),
            certificate: world.station.certificate.clone().into(),
            key: world.station.key.to_pkcs8().to_vec().into(),
            session: world.issuer.token.clone(),
            card: card.to_owned(),
            holder: holder.map(str::to_owned),
            dies_after: None,
        }
    }

    fn client(&self) -> Client {
        let key: Arc<dyn Signer> = Arc::new(MemoryKey::from_pkcs8(&self.key.0).unwrap());
        let config = station::tls::card_config(std::slice::from_ref(&self.root.0), &self.certificate.0, key).unwrap();
        Client::https(&self.url, config, Times::default()).unwrap()
    }

    fn session(&self) -> Session {
        SessionReply { token: self.session.clone(), person: String::new(), expires: String::new() }.into()
    }

    async fn run(&self, steps: &(dyn station::personalise::Steps + '_)) -> Result<station::Report, station::Error> {
        let (client, session, card) = (self.client(), self.session(), open(&self.card));
        let work =
            Personalisation { client: &client, session: Some(&session), card: &card, key_type: KeyType::P256, steps };
        let done = match &self.holder {
            Some(holder) => work.issue(holder).await,
            None => work.renew().await,
        };
        card.close();
        done
    }

    /// Takes up what was interrupted, as a station that has just been switched on: perhaps nobody is logged in.
    async fn resume(&self, session: Option<&Session>) -> Result<station::Report, station::Error> {
        let (client, card) = (self.client(), open(&self.card));
        let steps = &quietly;
        let work = Personalisation { client: &client, session, card: &card, key_type: KeyType::P256, steps };
        let done = work.resume().await;
        card.close();
        done
    }
}

fn module() -> Arc<Module> {
    Module::load(tests::home::SOFTHSM).unwrap()
}

fn open(label: &str) -> Card {
    Card::open(&module(), &TokenSelector::Label(label.to_owned()), Pin::new(PASSCODE)).unwrap()
}

fn blank(label: &str) {
    station::blank::initialise(&module(), label, &Pin::new("12345678"), &Pin::new(PASSCODE)).unwrap();
}

#[test]
fn a_station_process_does_its_job() {
    let Ok(job) = std::env::var(JOB) else { return };
    let job: Job = serde_json::from_str(&job).unwrap();
    let dies_after = job.dies_after.clone();
    let steps = move |step: &'static str| {
        if dies_after.as_deref() == Some(step) {
            kill_process(getpid(), Signal::KILL).unwrap();
            loop {
                std::thread::park();
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(job.run(&steps)).unwrap();
}

/// The job in a process of its own, which dies after this step.
async fn killed_after(job: &Job, step: &str) {
    let job = Job { dies_after: Some(step.to_owned()), ..job.clone() };
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([CHILD, "--exact", "--nocapture"]).env(JOB, serde_json::to_string(&job).unwrap());
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{step}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Options under which a card can be renewed at once.
fn always_renewable() -> Options {
    let config = vec![("renewal_window = \"90d\"", "renewal_window = \"730d\"")];
    Options { config, ..Options::default() }
}

/// The card has one pair of keys with good certificates, and nothing else; the service has no other good certificate
/// for it, and lets its holder in.
async fn is_in_order(world: &World, label: &str) {
    let card = open(label);
    let described = card.describe().unwrap();
    assert!(!described.unfinished, "{described:?}");
    assert_eq!((described.keys.len(), described.certificates.len()), (2, 2), "{described:?}");
    let mut on_card = Vec::new();
    for purpose in Purpose::ALL {
        let (_, certificate) = card.current(purpose).unwrap();
        assert_eq!(world.ocsp(&certificate).await, CertStatus::Good, "{purpose:?}");
        on_card.push(certificate);
    }
    let of_card = |record: &ca::certificate::CertificateRecord| record.holder.card() == Some(card.serial());
    for record in world.certificates().into_iter().filter(of_card) {
        let is_on_card = record.der.as_ref().is_some_and(|der| on_card.contains(der));
        assert_eq!(record.state.name() == "good", is_on_card, "{record:?}");
        assert!(is_on_card || matches!(record.state.name(), "revoked" | "void"), "{record:?}");
    }
    let client = Job::new(world, label, None).client();
    station::session::login(&client, &card, &world.station.name).await.unwrap();
    card.close();
}

/// There is a key on the card whose authentication certificate is good.
async fn holder_can_work(world: &Deployment, label: &str, when: &str) {
    let card = open(label);
    let described = card.describe().unwrap();
    let mut good = 0;
    for certificate in &described.certificates {
        let has_key = described.keys.iter().any(|key| key.id == certificate.id);
        let is_for_login = certificate.purpose == Some(Purpose::Authentication);
        if has_key && is_for_login && world.ocsp(&certificate.certificate.0).await == CertStatus::Good {
            good += 1;
        }
    }
    card.close();
    assert_eq!(good, 1, "killed after {when}: {described:?}");
}

#[test]
fn a_station_killed_after_any_step_of_an_issuance_completes_it_when_asked_again() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        for step in step::ALL {
            let label = format!("card-{step}");
            blank(&label);
            let job = Job::new(&world, &label, Some(&person));
            killed_after(&job, step).await;
            match job.run(&quietly).await {
                Ok(report) => {
                    let resumed = step != step::KEYS_MADE;
                    assert_eq!(report.resumed, resumed, "{step}: {report:?}");
                    let tidied = step == step::CONFIRMED;
                    assert_eq!(report.outcome == Outcome::Tidied, tidied, "{step}: {report:?}");
                }
                // It was ready: nothing is issued twice.
                Err(station::Error::Problem(problem)) if step == step::TIDIED => assert_eq!(problem.status, 409),
                Err(error) => panic!("{step}: {error}"),
            }
            is_in_order(&world, &label).await;
        }
    });
}

#[test]
fn a_station_that_was_killed_takes_an_open_issuance_up_without_an_operator() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        for step in [step::CERTIFICATES_RECEIVED, step::AUTHENTICATION_WRITTEN, step::SIGNING_WRITTEN, step::READ_BACK]
        {
            let label = format!("card-{step}");
            blank(&label);
            let job = Job::new(&world, &label, Some(&person));
            killed_after(&job, step).await;
            let report = job.resume(None).await.unwrap();
            assert_eq!((report.outcome, report.resumed), (Outcome::Confirmed, true), "{step}: {report:?}");
            is_in_order(&world, &label).await;
            assert_eq!(job.resume(None).await.unwrap().outcome, Outcome::Nothing);
        }
    });
}

#[test]
fn a_station_killed_after_any_step_of_a_renewal_completes_it_and_the_holder_can_always_work() {
    isolated(async |home| {
        let world = World::with(&home, &always_renewable()).await;
        let person = world.person().await;
        blank("card");
        Job::new(&world, "card", Some(&person)).run(&quietly).await.unwrap();
        let job = Job::new(&world, "card", None);
        for step in step::ALL {
            let before = authentication_certificate("card");
            killed_after(&job, step).await;
            holder_can_work(&world, "card", step).await;
            let report = job.run(&quietly).await.unwrap_or_else(|error| panic!("{step}: {error}"));
            assert!(matches!(report.outcome, Outcome::Confirmed | Outcome::Tidied), "{step}: {report:?}");
            is_in_order(&world, "card").await;
            let status = world.ocsp(&before).await;
            assert!(matches!(status, CertStatus::Revoked { reason: CrlReason::Superseded, .. }), "{step}: {status:?}");
        }
    });
}

fn authentication_certificate(label: &str) -> Vec<u8> {
    let card = open(label);
    let (_, certificate) = card.current(Purpose::Authentication).unwrap();
    card.close();
    certificate
}

/// Everything goes through.
const UP: u8 = 0;
/// Nothing goes through, and connections are closed.
const DOWN: u8 = 1;
/// Requests go through, and answers do not: the connection is closed instead.
const NO_ANSWERS: u8 = 2;

/// A link between station and service that can break.
#[derive(Clone)]
struct Link {
    state: Arc<AtomicU8>,
    address: SocketAddr,
}

impl Link {
    async fn to(service: SocketAddr) -> Self {
        let listener = TcpListener::bind((service.ip(), 0)).await.unwrap();
        let link = Link { state: Arc::default(), address: listener.local_addr().unwrap() };
        let state = Arc::clone(&link.state);
        tokio::spawn(async move {
            while let Ok((station, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(carry(station, service, state));
            }
        });
        link
    }

    fn set(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }
}

async fn carry(mut station: TcpStream, service: SocketAddr, state: Arc<AtomicU8>) -> std::io::Result<()> {
    if state.load(Ordering::SeqCst) == DOWN {
        return Ok(());
    }
    let mut service = TcpStream::connect(service).await?;
    let (mut request, mut answer) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            read = station.read(&mut request) => match read? {
                0 => return Ok(()),
                _ if state.load(Ordering::SeqCst) == DOWN => return Ok(()),
                length => service.write_all(&request[..length]).await?,
            },
            read = service.read(&mut answer) => match read? {
                0 => return Ok(()),
                _ if state.load(Ordering::SeqCst) != UP => return Ok(()),
                length => station.write_all(&answer[..length]).await?,
            },
        }
    }
}

/// A card whose issuance was interrupted just before its confirmation: the link went into that state.
async fn interrupted(world: &World, person: &str, label: &str, state: u8) -> (Job, Link) {
    blank(label);
    let link = Link::to(world.config.listen.api).await;
    let job = Job { url: format!("https://{}", link.address), ..Job::new(world, label, Some(person)) };
    let breaking = link.clone();
    let steps = move |step: &'static str| {
        if step == step::READ_BACK {
            breaking.set(state);
        }
    };
    let error = job.run(&steps).await.unwrap_err();
    assert!(error.problem().is_none(), "the link is broken, nobody refused: {error}");
    (job, link)
}

async fn state_of(world: &World, label: &str) -> String {
    let card = open(label);
    let serial = card.serial().to_owned();
    card.close();
    let path = tests::desk::path(&format!("/cards/{serial}"));
    let shown: api::cards::CardView = world.issuer.send(tests::Ask::get(path)).await.expect(200).read();
    shown.state
}

// conformance: O5
#[test]
fn a_link_that_breaks_before_the_confirmation_is_taken_up_with_the_same_certificates() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let (job, link) = interrupted(&world, &person, "card", DOWN).await;
        assert_eq!(state_of(&world, "card").await, "personalised");
        let before = authentication_certificate("card");
        let status = world.ocsp(&before).await;
        assert!(matches!(status, CertStatus::Revoked { reason: CrlReason::CertificateHold, .. }), "{status:?}");
        let certificates = world.card_certificates();

        link.set(UP);
        let report = job.resume(None).await.unwrap();
        assert_eq!((report.outcome, report.resumed), (Outcome::Confirmed, true), "{report:?}");
        assert_eq!(authentication_certificate("card"), before);
        assert_eq!(world.card_certificates(), certificates);
        is_in_order(&world, "card").await;
    });
}

#[test]
fn a_confirmation_whose_answer_is_lost_counts_and_the_card_is_tidied_later() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let (job, link) = interrupted(&world, &person, "card", NO_ANSWERS).await;
        eventually("the confirmation", async || (state_of(&world, "card").await == "active").then_some(())).await;
        let before = authentication_certificate("card");
        assert_eq!(world.ocsp(&before).await, CertStatus::Good);

        link.set(UP);
        // Whether it was confirmed, only an operator may ask.
        let error = job.resume(None).await.unwrap_err();
        assert!(matches!(error, station::Error::SessionNeeded { .. }), "{error}");
        let report = job.resume(Some(&job.session())).await.unwrap();
        assert_eq!(report.outcome, Outcome::Tidied, "{report:?}");
        assert_eq!(authentication_certificate("card"), before);
        is_in_order(&world, "card").await;
    });
}

#[test]
fn a_link_that_stays_broken_undoes_the_issuance_and_the_card_can_be_issued_anew() {
    isolated(async |home| {
        let mut world = World::new(&home).await;
        let person = world.person().await;
        let (job, link) = interrupted(&world, &person, "card", DOWN).await;
        let before = authentication_certificate("card");
        world.advance(minutes(16)).await;
        eventually("the time-out", async || {
            let status = world.ocsp(&before).await;
            matches!(status, CertStatus::Revoked { reason: CrlReason::CessationOfOperation, .. }).then_some(())
        })
        .await;
        world.login_again().await;
        assert_eq!(state_of(&world, "card").await, "allocated");

        link.set(UP);
        let session = |session: &RaSession| Job { session: session.token.clone(), ..job.clone() };
        let report = session(&world.issuer).run(&quietly).await.unwrap();
        assert_eq!((report.outcome, report.resumed), (Outcome::Confirmed, false), "{report:?}");
        let issuance: IssuanceView = report.issuance.unwrap();
        assert_eq!(issuance.state, "confirmed");
        assert_ne!(authentication_certificate("card"), before);
        is_in_order(&world, "card").await;
    });
}
