//! The main scenario: a day's logins over the whole register, at a fixed rate; and what is left when the responder is
//! loaded to four fifths of what it can do.

use std::sync::Arc;
use std::time::Duration;

use pki::ocsp::{HashAlgorithm, IssuerHashes, build_request};

use super::day::{self, Login};
use super::load::{self, Asks, Load, Pace};
use super::register;
use super::subject::{Registered, Subject, is_successful};
use crate::cost::Sample;
use crate::report::Report;
use crate::wire::{self, Answer};

/// Logins per second of the replay: several times the real peak.
const RATE: f64 = 2000.0;
const LENGTH: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 64;
/// How long is looked what the responder can do at most; how long it then stands under four fifths of that.
const FULL: Duration = Duration::from_secs(4);
const UNDER_LOAD: Duration = Duration::from_secs(12);
/// The part of what it can do.
const PART: f64 = 0.8;

/// The questions of relying systems, login by login. Half of those without a nonce come by GET.
struct Logins {
    logins: Vec<Login>,
    hashes: IssuerHashes,
}

impl Logins {
    fn new(registered: &Registered, logins: &[Login]) -> Arc<Self> {
        let hashes = IssuerHashes::new(registered.issuer.subject_der(), registered.issuer.public_key());
        Arc::new(Logins { logins: logins.to_vec(), hashes })
    }

    fn login(&self, number: usize) -> Login {
        self.logins[number % self.logins.len()]
    }
}

impl Asks for Logins {
    fn write(&self, number: usize, request: &mut Vec<u8>) {
        let login = self.login(number);
        let cert_id = self.hashes.cert_id(HashAlgorithm::Sha1, register::serial(login.person, 0));
        let (high, low) = (load::mixed(number as u64), load::mixed(!number as u64));
        let nonce = [high.to_be_bytes(), low.to_be_bytes()].concat();
        let asked = build_request(&[&cert_id], login.with_nonce.then_some(&nonce)).expect("a request");
        let by_get = !login.with_nonce && load::mixed(u64::from(login.person)).is_multiple_of(2);
        request.extend(if by_get { wire::get(&asked) } else { wire::post(&asked) });
    }

    fn is_right(&self, _number: usize, answer: &Answer<'_>) -> bool {
        answer.status == 200 && is_successful(answer.body)
    }
}

fn load(subject: &Subject, asks: &Arc<Logins>, pace: Pace, first: usize) -> Load {
    let asks = Arc::clone(asks) as Arc<dyn Asks>;
    Load { connections: CONNECTIONS, first, ..Load::new(subject.address, asks, pace) }
}

fn times(p50: Duration, p99: Duration) -> f64 {
    p99.as_secs_f64() / p50.as_secs_f64().max(1e-9)
}

/// The replay.
pub(crate) async fn run(registered: &Registered, subject: &Subject, report: &mut Report) {
    let people = registered.people;
    let day = day::logins(people);
    let count = (RATE * LENGTH.as_secs_f64()) as usize;
    let logins = day::busiest(&day, count);
    let asks = Logins::new(registered, logins);
    let kept = registered.site.config.times.ocsp_next_update_authentication / 2;
    let real = day::hits(&day, people, kept);
    let peak = day::most_per_second(&day);
    let before = hits(subject).await;
    let (asked, sample) = load::measure(&subject.watch(), load(subject, &asks, Pace::even(RATE, LENGTH), 0)).await;
    let hits = (hits(subject).await - before) / sample.count().max(1) as f64;
    assert_eq!(asked.wrong, 0, "answers of the login mix");
    let what = format!(
        "OCSP at {RATE} logins/s: {} logins of the busiest time of a day of {people} people who log in four times, one in \
         five with nonce, over {} certificates; {} unanswered (by the day's own clock the peak is {peak:.0} logins/s)",
        logins.len(),
        registered.certificates(),
        asked.unanswered,
    );
    report.cost("mix", &sample, what);
    let what = format!(
        "% of the answers of this replay came from the cache; at a day's own pace it were {:.1} % (computed: an answer is \
         kept for {} s)",
        real * 100.0,
        kept.as_secs()
    );
    report.value("mix.hits", hits * 100.0, "%", what);
}

async fn hits(subject: &Subject) -> f64 {
    subject.counted("cardinal_ocsp_answers_total{kind=\"cache_hit\"}").await
}

/// Four fifths of what it can do.
pub(crate) async fn under_load(registered: &Registered, subject: &Subject, report: &mut Report) {
    let day = day::logins(registered.people);
    let asks = Logins::new(registered, &day);
    let (asked, full) = load::measure(&subject.watch(), load(subject, &asks, Pace::Closed(FULL), 0)).await;
    assert_eq!(asked.wrong, 0, "answers at full load");
    let what = format!("the most logins/s that {CONNECTIONS} connections get answered, each asking without a pause");
    report.rate("load.full", "logins/s", &full, what);
    let rate = full.rate() * PART;
    let mut first = full.count() + CONNECTIONS + 2;
    for (id, pace, how) in [
        ("load.80", Pace::even(rate, UNDER_LOAD), "at even distances"),
        (
            "load.80.random",
            Pace::random(rate, UNDER_LOAD),
            "at random distances, as of people who know nothing of each other",
        ),
    ] {
        let (asked, sample) = load::measure(&subject.watch(), load(subject, &asks, pace, first)).await;
        first += sample.count();
        report_load(
            report,
            id,
            &sample,
            &format!("{rate:.0} logins/s (80 % of that), {how}; {} unanswered", asked.unanswered),
        );
    }
}

fn report_load(report: &mut Report, id: &'static str, sample: &Sample, what: &str) {
    let ratio = times(sample.percentile(0.5), sample.percentile(0.99));
    report.value_of(id, ratio, "p99 / p50", sample, what);
    report.wanted("at most 5", ratio <= 5.0);
}
