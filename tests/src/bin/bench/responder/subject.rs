//! Who is asked: a responder that knows the whole register, and the questions about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::certificate::ParsedCertificate;
use pki::ocsp::CertStatus;
use server::clock::{Clock, SystemClock};
use tests::deployment::Site;
use tests::{Ask, Door, Home, Options, eventually};

use super::enrolled::Enrolled;
use super::load::{Asks, mixed};
use super::register;
use crate::cost::{Watch, memory};
use crate::ocsp::Question;
use crate::pin::Place;
use crate::process::Helper;
use crate::site;
use crate::wire::{Answer, Connection};

/// A deployment whose feed tells of the whole register.
pub(crate) struct Registered {
    /// The deployment.
    pub(crate) site: Site,
    /// How many people there are.
    pub(crate) people: u32,
    /// The issuer of login certificates.
    pub(crate) issuer: Arc<ParsedCertificate>,
    /// The responder that is measured: the service's own, or one of its own.
    kind: Which,
    /// What it needs in memory without the register, in octets.
    pub(crate) empty: u64,
}

/// Which responder is measured.
enum Which {
    /// The one inside the service.
    Embedded,
    /// The program `ocsp-responder`.
    Apart(Enrolled),
}

impl Registered {
    /// Makes the deployment, and fills the file with the statuses.
    pub(crate) async fn make(home: &Home, embedded: bool) -> Self {
        let site = site::initialise(home, &Options { name: site::NAME, ..Options::default() }).await;
        let file = site::config_file(home, site::NAME);
        let service = Helper::serving_at(&file, if embedded { Place::Service } else { Place::Client }).await;
        let (kind, empty) = if embedded {
            (Which::Embedded, memory(&service))
        } else {
            let enrolled = Enrolled::enrol(&site, 0).await;
            let process = enrolled.start(Place::Service).await;
            enrolled.is_ready().await;
            let empty = memory(&process);
            process.stop().await;
            // The feed's place will be the same with the register.
            enrolled.forget();
            (Which::Apart(enrolled), empty)
        };
        service.stop().await;
        let people = register::people();
        let statuses = site.config.service.data_dir.join("status.snapshot");
        let filled = tokio::task::spawn_blocking(move || register::fill(&statuses, people, SystemClock.now()));
        filled.await.expect("the register is written");
        let issuer = ParsedCertificate::from_der(&site.issuer(register::LOGIN_ISSUER)).expect("a CA certificate");
        Registered { site, people, issuer: Arc::new(issuer), kind, empty }
    }

    /// How many certificates are in the register.
    pub(crate) fn certificates(&self) -> u32 {
        self.people * register::EACH
    }

    /// What is asked about a person's login certificate.
    pub(crate) fn question(&self, person: u32) -> Question {
        Question::of(Arc::clone(&self.issuer), register::serial(person, 0))
    }

    /// Starts the service and the responder that is measured, which then has the register on its disk.
    pub(crate) async fn start(&self) -> Subject {
        let config = site::config_file(&self.site.home, site::NAME);
        match &self.kind {
            Which::Embedded => {
                let began = Instant::now();
                let process = Helper::serving_at(&config, Place::Service).await;
                let listen = &self.site.config.listen;
                first_answer(self, listen.public).await;
                let (address, operations) = (listen.public, listen.metrics);
                Subject { process, service: None, address, operations, started: began.elapsed(), fetched: None }
            }
            Which::Apart(enrolled) => {
                let service = Helper::serving_at(&config, Place::Client).await;
                let began = Instant::now();
                let process = enrolled.start(Place::Service).await;
                first_answer(self, enrolled.address).await;
                let fetched = Some(began.elapsed());
                process.stop().await;
                let began = Instant::now();
                let process = enrolled.start(Place::Service).await;
                first_answer(self, enrolled.address).await;
                let (address, operations) = (enrolled.address, enrolled.operations);
                Subject { process, service: Some(service), address, operations, started: began.elapsed(), fetched }
            }
        }
    }
}

/// A responder that runs.
pub(crate) struct Subject {
    /// Its process.
    pub(crate) process: Helper,
    /// The service that it follows, when that is another process.
    pub(crate) service: Option<Helper>,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// Where it tells how it is.
    pub(crate) operations: SocketAddr,
    /// How long it took from nothing to the first answer, with the register on the disk.
    pub(crate) started: Duration,
    /// The same without it: it was fetched from the service.
    pub(crate) fetched: Option<Duration>,
}

impl Subject {
    /// Stops it, and the service.
    pub(crate) async fn stop(self) {
        self.process.stop().await;
        if let Some(service) = self.service {
            service.stop().await;
        }
    }

    /// Its costs.
    pub(crate) fn watch(&self) -> Watch {
        Watch::of(&self.process)
    }

    /// The sum of its counters whose line begins so; 0 when there is none.
    pub(crate) async fn counted(&self, line: &str) -> f64 {
        let metrics = Door::Plain(self.operations).send(Ask::get("/metrics")).await.expect(200);
        let text = String::from_utf8(metrics.body.to_vec()).expect("text");
        let values = text.lines().filter(|found| found.starts_with(line));
        values.filter_map(|found| found.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// Waits for the first answer that can be relied upon.
pub(crate) async fn first_answer(registered: &Registered, address: SocketAddr) {
    let question = registered.question(0);
    eventually("the first answer", async || {
        let mut connection = Connection::try_open(None, address).await.ok()?;
        let answer = connection.try_exchange(&question.post).await.ok()?;
        let is_success = answer.status == 200 && is_successful(answer.body);
        (is_success && question.judge(answer.body, None) == CertStatus::Good).then_some(())
    })
    .await;
}

/// OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED successful (0), ... } (RFC 6960 4.2.1)
pub(crate) fn is_successful(body: &[u8]) -> bool {
    body.get(4..7) == Some([0x0a, 1, 0].as_slice())
}

/// How somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By GET, without a nonce.
    Get,
    /// By POST, without a nonce.
    Post,
    /// By POST, each time with another nonce.
    Nonce,
}

/// Questions about some certificates in turn, all of one kind.
pub(crate) struct InTurn {
    /// The kind.
    pub(crate) kind: Kind,
    /// About whom.
    pub(crate) questions: Arc<Vec<Question>>,
}

impl Asks for InTurn {
    fn write(&self, number: usize, request: &mut Vec<u8>) {
        let question = &self.questions[number % self.questions.len()];
        match self.kind {
            Kind::Get => request.extend_from_slice(&question.get),
            Kind::Post => request.extend_from_slice(&question.post),
            Kind::Nonce => question.write_with_nonce(number, request),
        }
    }

    fn is_right(&self, _number: usize, answer: &Answer<'_>) -> bool {
        answer.status == 200 && is_successful(answer.body)
    }
}

/// So many people, spread over the register.
pub(crate) fn some_people(registered: &Registered, count: usize) -> Arc<Vec<Question>> {
    let person = |number: usize| (mixed(number as u64) % u64::from(registered.people)) as u32;
    Arc::new((0..count).map(|number| registered.question(person(number))).collect())
}
