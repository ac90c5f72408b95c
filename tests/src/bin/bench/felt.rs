//! What people feel: how long a pair of certificates takes at a busy hour, not at the limit. Both loads go by a timetable;
//! a call that begins late because the one before took long is counted from when it should have begun.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::deployment::Site;
use tokio::time::sleep_until;

use crate::cost::Watch;
use crate::issuance::{self, Issued};
use crate::ocsp::Question;
use crate::report::Report;
use crate::site::Desks;
use crate::wire::Connection;

const PAIRS_PER_SECOND: u32 = 50;
const QUESTIONS_PER_SECOND: u32 = 2000;
const CONNECTIONS: u32 = 16;
const LENGTH: Duration = Duration::from_secs(10);
/// Until the first call, so that all tasks are there.
const LEAD: Duration = Duration::from_millis(200);

enum Load {
    Pairs(Vec<Duration>),
    Questions(Vec<Duration>),
}

type Task = Pin<Box<dyn Future<Output = (Load, Vec<Duration>)> + Send>>;

/// Measures; the questions are about these cards.
pub(crate) async fn run(site: &Site, desks: &Desks, cards: &[Issued], watch: &Watch, report: &mut Report) {
    let count = PAIRS_PER_SECOND * LENGTH.as_secs() as u32;
    let blanks = issuance::blanks(desks, count as usize).await;
    let certificates = cards.iter().take(256).map(|issued| &issued.card.authentication_certificate);
    let questions: Arc<Vec<Question>> = Arc::new(certificates.map(|der| Question::about(site, der)).collect());
    let begin = Instant::now() + LEAD;
    let mut tasks: Vec<Task> = Vec::new();
    for (place, desk) in desks.desks.iter().cloned().enumerate() {
        let (blanks, every) = (Arc::clone(&blanks), desks.desks.len());
        tasks.push(Box::pin(async move {
            let mut latencies = Vec::new();
            for number in (place..blanks.len()).step_by(every) {
                let due = begin + Duration::from_secs(1) * number as u32 / PAIRS_PER_SECOND;
                sleep_until(due.into()).await;
                issuance::begin(&desk, &blanks[number], &mut Vec::new()).await;
                latencies.push(due.elapsed());
            }
            (Load::Pairs(latencies), Vec::new())
        }));
    }
    for place in 0..CONNECTIONS {
        let (questions, address) = (Arc::clone(&questions), site.config.listen.public);
        tasks.push(Box::pin(async move {
            let mut connection = Connection::open(address).await;
            let mut latencies = Vec::new();
            for number in (place..QUESTIONS_PER_SECOND * LENGTH.as_secs() as u32).step_by(CONNECTIONS as usize) {
                let due = begin + Duration::from_secs(1) * number / QUESTIONS_PER_SECOND;
                sleep_until(due.into()).await;
                let question = &questions[number as usize % questions.len()];
                // Every other one has a nonce, so that its answer is signed.
                let round = number / CONNECTIONS;
                let request = if round.is_multiple_of(2) { question.with_nonce() } else { &question.post };
                let answer = connection.exchange(request).await;
                assert_eq!(answer.get(4..7), Some([0x0a, 1, 0].as_slice()), "not a successful answer");
                latencies.push(due.elapsed());
            }
            (Load::Questions(latencies), Vec::new())
        }));
    }
    let (loads, sample) = watch.all(tasks).await;
    let (mut pairs, mut answers) = (Vec::new(), Vec::new());
    for load in loads {
        match load {
            Load::Pairs(latencies) => pairs.extend(latencies),
            Load::Questions(latencies) => answers.extend(latencies),
        }
    }
    let (pairs, answers) = (sample.of(pairs), sample.of(answers));
    let what = format!(
        "a card's pair of certificates at {PAIRS_PER_SECOND}/s by a timetable beside {QUESTIONS_PER_SECOND} OCSP \
         requests/s, from when each was due: {:.0} pairs/s and {:.0} answers/s were reached",
        pairs.rate(),
        answers.rate()
    );
    report.nearly_all("felt.issue", &pairs, what);
    report.nearly_all("felt.ocsp", &answers, "those OCSP requests, every other one with a nonce");
}
