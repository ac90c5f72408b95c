//! How soon a revocation is seen: five responders, each a process of its own, with the whole register; cards are issued and
//! OCSP is asked at each meanwhile.
//!
//! Counted from the moment at which a suspension is asked for, so that TLS, authorisation and the commit itself are in it:
//! from outside, the moment of the commit cannot be seen. The feed is followed here, too, so that its part is shown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::cards::{CardStatusReply, HoldRequest};

use pki::certificate::ParsedCertificate;
use pki::ocsp::CertStatus;
use pki::{SerialNumber, Timestamp};
use server::clock::{Clock, SystemClock};
use tokio::time::{sleep, sleep_until};

use super::enrolled::Enrolled;
use super::feed::Heard;
use super::load::{self, Load, Pace};
use super::subject::{InTurn, Kind, Registered, Subject, first_answer, some_people};
use crate::cost::{Sample, Watch};
use crate::issuance::{self, Issued};
use crate::ocsp::Question;
use crate::pin::Place;
use crate::report::Report;
use crate::site::{Desk, Desks, read};
use crate::tell;
use crate::wire::Connection;

/// How many responders there are, the one that is measured otherwise among them.
const RESPONDERS: u16 = 5;
/// How many cards are suspended, one after the other, and how far apart.
const CARDS: usize = 120;
const APART: Duration = Duration::from_millis(120);
/// Meanwhile: issuances per second, and requests per second at each responder, every other one with a nonce.
const ISSUANCES: u32 = 10;
const REQUESTS: f64 = 100.0;
/// Between two looks at a responder.
const LOOK: Duration = Duration::from_millis(1);
/// What was asked for.
const WANTED: Duration = Duration::from_millis(100);

/// What became known of one suspension.
struct Seen {
    serial: SerialNumber,
    requested: Timestamp,
    replied: Timestamp,
    /// At each responder.
    revoked: Vec<Timestamp>,
    seen_by: (u32, u32),
}

/// Asks one responder until it says "revoked".
async fn first_revoked(mut connection: Connection, question: Arc<Question>) -> Timestamp {
    let good = connection.exchange(&question.post).await.to_vec();
    assert_eq!(question.judge(&good, None), CertStatus::Good);
    loop {
        sleep(LOOK).await;
        let answer = connection.exchange(&question.post).await;
        let now = SystemClock.now();
        if answer != good {
            let status = question.judge(answer, None);
            if matches!(status, CertStatus::Revoked { .. }) {
                return now;
            }
        }
    }
}

async fn suspend(registered: &Registered, doors: &[SocketAddr], desk: &Desk, issued: &Issued) -> Seen {
    let certificate = &issued.card.authentication_certificate;
    let question = Arc::new(Question::about(&registered.site, certificate));
    let mut looking = Vec::new();
    for door in doors {
        // Its cached answer is there before the status changes: that is what has to go.
        let mut connection = Connection::open(*door).await;
        connection.exchange(&question.post).await;
        looking.push(tokio::spawn(first_revoked(connection, Arc::clone(&question))));
    }
    sleep(10 * LOOK).await;
    let hold = HoldRequest { reason: "reported_lost".to_owned() };
    let call = desk.post(&format!("/cards/{}/suspend", issued.card.serial), &hold);
    let requested = SystemClock.now();
    let reply: CardStatusReply = read(&desk.call(call).await);
    let replied = SystemClock.now();
    let mut revoked = Vec::new();
    for one in looking {
        revoked.push(one.await.expect("nobody who looks panics"));
    }
    let serial = ParsedCertificate::from_der(certificate).expect("a certificate").serial();
    let seen_by = (reply.published.seen_by, reply.published.connected);
    Seen { serial, requested, replied, revoked, seen_by }
}

/// Issues cards by a timetable until told to stop.
async fn commits(desks: Arc<Desks>, stop: Arc<AtomicBool>, count: usize) -> usize {
    let blanks = issuance::blanks(&desks, count).await;
    let begin = Instant::now();
    for (number, blank) in blanks.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return number;
        }
        sleep_until((begin + Duration::from_secs(1) * number as u32 / ISSUANCES).into()).await;
        // The first desk suspends.
        issuance::begin(&desks.desks[1 + number % (desks.desks.len() - 1)], blank, &mut Vec::new()).await;
    }
    blanks.len()
}

/// Measures.
pub(crate) async fn run(registered: &Registered, subject: &Subject, report: &mut Report) {
    let Some(service) = &subject.service else {
        tell("visibility is measured with responders of their own only");
        return;
    };
    let (mut others, mut doors) = (Vec::new(), vec![subject.address]);
    for number in 1..RESPONDERS {
        let enrolled = Enrolled::enrol(&registered.site, number).await;
        others.push(enrolled.start(Place::Anywhere).await);
        first_answer(registered, enrolled.address).await;
        doors.push(enrolled.address);
    }
    let desks = Arc::new(Desks::open(&registered.site).await);
    let watch = Watch::of_all(others.iter().chain([service, &subject.process]));
    let cards = issuance::in_use(&desks, &watch).await;
    let cards = &cards[..CARDS.min(cards.len())];
    let heard = Heard::begin(&registered.site).await;

    let stop = Arc::new(AtomicBool::new(false));
    let length = APART * (2 * CARDS) as u32;
    let issuing =
        tokio::spawn(commits(Arc::clone(&desks), Arc::clone(&stop), (length.as_secs() as u32 * ISSUANCES) as usize));
    let questions = some_people(registered, 2000);
    let asking: Vec<_> = doors
        .iter()
        .flat_map(|door| [Kind::Post, Kind::Nonce].map(|kind| (*door, kind)))
        .map(|(address, kind)| {
            let asks = Arc::new(InTurn { kind, questions: Arc::clone(&questions) });
            let load = Load::new(address, asks, Pace::even(REQUESTS / 2.0, length));
            tokio::spawn(load::run(Load { connections: 4, enough: Arc::clone(&stop), ..load }))
        })
        .collect();
    let mut all = Vec::new();
    let (measuring, began) = (watch.begin(), Instant::now());
    for (number, issued) in cards.iter().enumerate() {
        sleep_until((began + APART * number as u32).into()).await;
        all.push(suspend(registered, &doors, &desks.desks[0], issued).await);
    }
    let sample = measuring.end(Vec::new());
    stop.store(true, Ordering::Relaxed);
    let issued = issuing.await.expect("issuing does not panic");
    let mut answered = 0;
    for one in asking {
        let (asked, latencies) = one.await.expect("asking does not panic");
        assert_eq!((asked.unanswered, asked.wrong), (0, 0), "OCSP under commit load");
        answered += latencies.len();
    }
    for other in others {
        other.stop().await;
    }
    tell_all(&all, &heard, &sample, (issued, answered, began.elapsed()), report);
}

fn tell_all(
    all: &[Seen],
    heard: &Heard,
    sample: &Sample,
    (issued, answered, took): (usize, usize, Duration),
    report: &mut Report,
) {
    let (mut each, mut last, mut feed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut after, mut replies) = (Vec::new(), Vec::new());
    for Seen { serial, requested, replied, revoked, .. } in all {
        let told = heard.of(serial).expect("the feed tells of every suspension");
        each.extend(revoked.iter().map(|at| at.since(*requested)));
        after.extend(revoked.iter().map(|at| at.since(told)));
        last.extend(revoked.iter().max().map(|at| at.since(*requested)));
        replies.push(replied.since(*requested));
        feed.push(told.since(*requested));
    }
    let seconds = took.as_secs_f64();
    let by_all = all.iter().filter(|seen| seen.seen_by.0 == seen.seen_by.1).count();
    let what = format!(
        "from the request to suspend (so the commit is in it) to the first \"revoked\" at each of {RESPONDERS} responders, {} \
         suspensions; beside {:.0} issuances/s and {:.0} OCSP requests/s",
        all.len(),
        issued as f64 / seconds,
        answered as f64 / seconds,
    );
    let each = sample.of(each);
    report.nearly_all("visible", &each, what);
    report.wanted("at most 100 ms", each.percentile(0.99) <= WANTED);
    report.nearly_all("visible.last", &sample.of(last), "the same at the last of them");
    report.nearly_all(
        "visible.feed",
        &sample.of(feed),
        "from the same request to the feed's entry at one more follower",
    );
    let what = "from that entry to \"revoked\" at each of them; 0 where a responder was first";
    report.nearly_all("visible.after.feed", &sample.of(after), what);
    let what = format!(
        "from that request to its reply; {by_all} of {} say that all who are connected have seen it",
        all.len()
    );
    report.nearly_all("visible.reply", &sample.of(replies), what);
}
