//! Answers beside what a bare hyper service needs that sends the same octets: processor time of the server at a fixed
//! load, all kinds in turn, many times over, so that whatever else the machine does meanwhile hits all alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm::{MemoryKey, Signer};
use pki::ocsp::CertStatus;
use rustix::time::{ClockId, clock_gettime};

use super::load::{self, Load, Pace};
use super::subject::{InTurn, Kind, Registered, Subject, some_people};
use crate::cost::{Sample, Watch};
use crate::ocsp::Question;
use crate::pin;
use crate::process::Helper;
use crate::report::Report;
use crate::wire::Connection;

/// Certificates that are asked about in turn.
const CERTIFICATES: usize = 1000;
const CONNECTIONS: usize = 16;
/// Requests per second: a part of what the slowest kind can do, the same for all.
const RATE: f64 = 4000.0;
/// Each kind is asked so often, for so long.
const ROUNDS: usize = 6;
const LENGTH: Duration = Duration::from_millis(1200);
/// How long is signed in each round.
const SIGNING: Duration = Duration::from_millis(150);
/// Octets of what is signed: the `ResponseData` of an answer about one certificate with a nonce.
const TBS: [u8; 250] = [0x30; 250];

/// One kind of answer: from the responder, and from hyper alone.
struct Pair {
    kind: Kind,
    beside: SocketAddr,
    hyper: Helper,
    octets: usize,
    responder: Sample,
    bare: Sample,
}

/// One answer as it came, kept for hyper to send it again.
async fn example(subject: &Subject, question: &Question, kind: Kind) -> Vec<u8> {
    let mut connection = Connection::open(subject.address).await;
    let request = match kind {
        Kind::Get => &question.get,
        Kind::Post => &question.post,
        Kind::Nonce => question.with_nonce(),
    };
    let answer = connection.try_exchange(request).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let nonce = (kind == Kind::Nonce).then_some(crate::ocsp::NONCE.as_slice());
    assert_eq!(question.judge(answer.body, nonce), CertStatus::Good);
    [answer.head, b"\r\n\r\n", answer.body].concat()
}

impl Pair {
    async fn open(registered: &Registered, subject: &Subject, question: &Question, place: u16, kind: Kind) -> Self {
        let example = example(subject, question, kind).await;
        let file = registered.site.home.file(&format!("answer-{place}"));
        std::fs::write(&file, &example).expect("a file");
        let mut beside = registered.site.config.listen.public;
        beside.set_port(beside.port() + 1 + place);
        let hyper = Helper::replaying(&beside.to_string(), &file).await;
        let octets = example.len();
        Pair { kind, beside, hyper, octets, responder: Sample::default(), bare: Sample::default() }
    }

    async fn measure(&mut self, subject: &Subject, questions: &Arc<Vec<Question>>) {
        let load = |address| {
            let asks = Arc::new(InTurn { kind: self.kind, questions: Arc::clone(questions) });
            Load { connections: CONNECTIONS, ..Load::new(address, asks, Pace::even(RATE, LENGTH)) }
        };
        let (asked, responder) = load::measure(&subject.watch(), load(subject.address)).await;
        assert_eq!((asked.unanswered, asked.wrong), (0, 0), "the responder, {:?}", self.kind);
        let (asked, bare) = load::measure(&Watch::of(&self.hyper), load(self.beside)).await;
        assert_eq!((asked.unanswered, asked.wrong), (0, 0), "hyper, {:?}", self.kind);
        self.responder = std::mem::take(&mut self.responder).and(responder);
        self.bare = std::mem::take(&mut self.bare).and(bare);
    }

    fn bare_cpu(&self) -> Duration {
        self.bare.service().unwrap_or_default()
    }

    fn responder_cpu(&self) -> Duration {
        self.responder.service().unwrap_or_default()
    }
}

/// The processor time that this thread has had.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// What one signature takes on the service's processor, and how many were made.
fn sign(key: &MemoryKey) -> (Duration, u32) {
    pin::on_the_service(|| {
        let (began, mut count, start) = (Instant::now(), 0, processor_time());
        while began.elapsed() < SIGNING {
            for _ in 0..50 {
                key.sign(&TBS).expect("a signature");
                count += 1;
            }
        }
        (processor_time() - start, count)
    })
}

/// Measures.
pub(crate) async fn run(
    registered: &Registered,
    subject: &Subject,
    (cached, nonce): (bool, bool),
    report: &mut Report,
) {
    let questions = some_people(registered, CERTIFICATES);
    let kinds = [(Kind::Get, cached), (Kind::Post, cached), (Kind::Nonce, nonce)];
    let mut pairs = Vec::new();
    for (place, (kind, _)) in kinds.into_iter().enumerate().filter(|(_, (_, wanted))| *wanted) {
        pairs.push(Pair::open(registered, subject, &questions[0], place as u16, kind).await);
    }
    // So that everything that can be kept is kept.
    let mut connection = Connection::open(subject.address).await;
    for question in questions.iter() {
        assert_eq!(question.judge(connection.exchange(&question.post).await, None), CertStatus::Good);
        connection.exchange(&question.get).await;
    }
    let key = MemoryKey::generate_p256().expect("a key");
    let (mut signing, mut signatures) = (Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        for pair in &mut pairs {
            pair.measure(subject, &questions).await;
        }
        if nonce {
            let (took, count) = sign(&key);
            signing += took;
            signatures += count;
        }
    }
    let sign = signing / signatures.max(1);
    if nonce {
        let what = format!("one P-256 signature by ring over {} octets, on the service's processor", TBS.len());
        report.value("sign", sign.as_secs_f64() * 1e6, "µs of CPU", what);
    }
    for pair in pairs {
        let octets = pair.octets;
        let (bare, its) = (pair.bare_cpu(), pair.responder_cpu());
        let (id, beside, what, least, wanted) = match pair.kind {
            Kind::Get => ("cached.get", "cached.get.hyper", "GET, kept answers", bare, 0.9),
            Kind::Post => ("cached.post", "cached.post.hyper", "POST without a nonce, kept answers", bare, 0.9),
            Kind::Nonce => ("nonce", "nonce.hyper", "POST with a nonce: each answer is signed", bare + sign, 0.85),
        };
        let hyper = format!("bare hyper, one answer of {octets} octets with its head, at {RATE} requests/s");
        report.cost(beside, &pair.bare, hyper);
        let what = format!("{what}; {CERTIFICATES} certificates in turn, {CONNECTIONS} connections, {RATE} requests/s");
        report.cost(id, &pair.responder, what);
        let ratio = least.as_secs_f64() / its.as_secs_f64();
        let of = if pair.kind == Kind::Nonce { "1 / (1/hyper + 1/sign)" } else { "bare hyper" };
        report.is_part_of(ratio, of);
        report.wanted(format!("at least {wanted}"), ratio >= wanted);
        pair.hyper.stop().await;
    }
}
