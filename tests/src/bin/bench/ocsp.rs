//! OCSP over HTTP, beside a static answer of the same size.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::certificate::ParsedCertificate;
use pki::ocsp::{CertStatus, Expected, HashAlgorithm, IssuerHashes, build_request, verify_response};
use pki::{SerialNumber, Timestamp};
use server::clock::{Clock, SystemClock};
use tests::deployment::{Site, issuer_id};

use crate::cost::{Sample, Watch};
use crate::issuance::Issued;
use crate::process::Helper;
use crate::report::Report;
use crate::wire::{self, Connection};

/// Certificates that are asked about in turn.
const CERTIFICATES: usize = 256;
const CONNECTIONS: usize = 16;
/// Rounds, each with every kind of question, so that all are asked under the same load.
const ROUNDS: usize = 3;
const LENGTH: Duration = Duration::from_secs(1);
/// The nonce of requests that were prepared.
pub(crate) const NONCE: [u8; 32] = [0xa5; 32];

/// Everything to ask about one certificate, and to judge the answers.
pub(crate) struct Question {
    cert_id: Vec<u8>,
    issuer: Arc<ParsedCertificate>,
    /// The POST without a nonce.
    pub(crate) post: Vec<u8>,
    /// The GET.
    pub(crate) get: Vec<u8>,
    with_nonce: Vec<u8>,
    nonce_at: usize,
}

impl Question {
    /// About this certificate; its issuer is named by SHA-1, as clients do.
    pub(crate) fn about(site: &Site, certificate: &[u8]) -> Self {
        let certificate = ParsedCertificate::from_der(certificate).expect("a certificate");
        let issuer = site.issuer(&issuer_id(&certificate));
        let issuer = Arc::new(ParsedCertificate::from_der(&issuer).expect("a CA certificate"));
        Question::of(issuer, certificate.serial())
    }

    /// About the certificate of this issuer that has this serial number.
    pub(crate) fn of(issuer: Arc<ParsedCertificate>, serial: SerialNumber) -> Self {
        let hashes = IssuerHashes::new(issuer.subject_der(), issuer.public_key());
        let cert_id = hashes.cert_id(HashAlgorithm::Sha1, serial);
        let plain = build_request(&[&cert_id], None).expect("a request");
        let with_nonce = wire::post(&build_request(&[&cert_id], Some(&NONCE)).expect("a request"));
        let nonce_at = with_nonce.windows(NONCE.len()).position(|octets| octets == NONCE).expect("the nonce");
        Question { cert_id, issuer, post: wire::post(&plain), get: wire::get(&plain), with_nonce, nonce_at }
    }

    /// The POST with a nonce, always the same: the responder signs its answer anew.
    pub(crate) fn with_nonce(&self) -> &[u8] {
        &self.with_nonce
    }

    /// Writes the POST with the nonce of this number.
    pub(crate) fn write_with_nonce(&self, number: usize, request: &mut Vec<u8>) {
        let start = request.len();
        request.extend_from_slice(&self.with_nonce);
        let at = start + self.nonce_at + NONCE.len() - size_of::<usize>();
        request[at..][..size_of::<usize>()].copy_from_slice(&number.to_be_bytes());
    }

    /// What an answer says, as a relying system would judge it.
    ///
    /// # Panics
    /// When it cannot be relied upon.
    pub(crate) fn judge(&self, answer: &[u8], nonce: Option<&[u8]>) -> CertStatus {
        let now: Timestamp = SystemClock.now();
        let expected = Expected {
            cert_id: &self.cert_id,
            issuer_subject_der: self.issuer.subject_der(),
            issuer_key: self.issuer.public_key(),
            nonce,
            now,
            max_clock_skew: Duration::ZERO,
        };
        verify_response(answer, &expected).expect("an answer that can be relied upon").status
    }
}

/// The kinds of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Static,
    Get,
    Post,
    Nonce,
}

/// Asks on one connection for so long. The last answer is judged, the others are looked at.
async fn ask(address: SocketAddr, questions: Arc<Vec<Question>>, kind: Kind, first: usize) -> Vec<Duration> {
    let mut connection = Connection::open(address).await;
    let mut latencies = Vec::new();
    let (mut number, mut nonce, mut request) = (first, NONCE, Vec::new());
    nonce[..8].copy_from_slice(&first.to_be_bytes());
    let end = Instant::now() + LENGTH;
    loop {
        let question = &questions[number % questions.len()];
        let bytes = match kind {
            Kind::Static | Kind::Get => &question.get,
            Kind::Post => &question.post,
            Kind::Nonce => {
                nonce[8..16].copy_from_slice(&number.to_be_bytes());
                request.clone_from(&question.with_nonce);
                request[question.nonce_at..][..nonce.len()].copy_from_slice(&nonce);
                &request
            }
        };
        let began = Instant::now();
        let answer = connection.exchange(bytes).await;
        latencies.push(began.elapsed());
        number += 1;
        if kind == Kind::Static {
            if Instant::now() >= end {
                return latencies;
            }
            continue;
        }
        // OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED successful (0), ... } (RFC 6960 4.2.1)
        assert_eq!(answer.get(4..7), Some([0x0a, 1, 0].as_slice()), "not a successful answer");
        if Instant::now() >= end {
            let nonce = (kind == Kind::Nonce).then_some(nonce.as_slice());
            assert_eq!(question.judge(answer, nonce), CertStatus::Good);
            return latencies;
        }
    }
}

async fn measure(watch: &Watch, address: SocketAddr, questions: &Arc<Vec<Question>>, kind: Kind) -> Sample {
    let tasks = (0..CONNECTIONS).map(|number| {
        let first = number * CERTIFICATES / CONNECTIONS;
        let questions = Arc::clone(questions);
        async move { ((), ask(address, questions, kind, first).await) }
    });
    watch.all(tasks).await.1
}

/// Measures with some of these cards, and says how many.
pub(crate) async fn run(site: &Site, cards: &[Issued], watch: &Watch, report: &mut Report) -> usize {
    let count = CERTIFICATES.min(cards.len());
    let questions: Vec<Question> =
        cards[..count].iter().map(|issued| Question::about(site, &issued.card.authentication_certificate)).collect();
    let questions = Arc::new(questions);
    let address = site.config.listen.public;

    let mut connection = Connection::open(address).await;
    let mut size = 0;
    for question in questions.iter() {
        let answer = connection.exchange(&question.post).await;
        assert_eq!(question.judge(answer, None), CertStatus::Good);
        size = answer.len();
    }
    let mut beside = address;
    beside.set_port(address.port() + 1);
    let helper = Helper::serving_static(&beside.to_string(), size).await;
    let still = Watch::of(&helper);

    let mut samples = [Kind::Static, Kind::Get, Kind::Post, Kind::Nonce].map(|kind| (kind, Sample::default()));
    for _ in 0..ROUNDS {
        for (kind, sample) in &mut samples {
            let (watch, address) = if *kind == Kind::Static { (&still, beside) } else { (watch, address) };
            *sample = std::mem::take(sample).and(measure(watch, address, &questions, *kind).await);
        }
    }
    helper.stop().await;
    let [(_, still), (_, get), (_, post), (_, nonce)] = samples;
    let what =
        format!("one answer of {size} octets from a bare hyper service, {CONNECTIONS} connections: the baseline");
    report.rate("http.static", "requests/s", &still, what);
    for (id, sample, what) in [
        ("ocsp.get", &get, "GET, answered from the cache"),
        ("ocsp.post", &post, "POST without a nonce, answered from the cache"),
        ("ocsp.post.nonce", &nonce, "POST with a nonce: every answer is signed (P-256, key in memory)"),
    ] {
        let what = format!("OCSP {what}; {count} certificates in turn, {CONNECTIONS} connections");
        report.rate(id, "requests/s", sample, what);
        report.is_part_of(sample.rate() / still.rate(), "the static answer's rate");
    }
    count
}
