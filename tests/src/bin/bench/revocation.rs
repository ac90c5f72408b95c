//! From a card's suspension to the first "revoked" that a relying system sees.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::cards::HoldRequest;
use pki::ocsp::CertStatus;
use tests::deployment::Site;

use crate::cost::{Sample, Watch};
use crate::issuance::Issued;
use crate::ocsp::Question;
use crate::report::Report;
use crate::site::{Desk, Desks};
use crate::wire::Connection;

const CARDS: usize = 100;

/// When a relying system that asks all the time sees another answer than the one it had, which must be "revoked".
async fn first_revoked(connection: &mut Connection, question: &Question, good: &[u8]) -> Instant {
    loop {
        let answer = connection.exchange(&question.post).await;
        let now = Instant::now();
        if answer != good {
            let status = question.judge(answer, None);
            assert!(matches!(status, CertStatus::Revoked { .. }), "{status:?}");
            return now;
        }
    }
}

/// Suspends one card: how long until "revoked" was seen, and until the reply came.
async fn suspend(address: SocketAddr, desk: &Desk, issued: &Issued, question: &Question) -> (Duration, Duration) {
    let mut connection = Connection::open(address).await;
    let good = connection.exchange(&question.post).await.to_vec();
    assert_eq!(question.judge(&good, None), CertStatus::Good);
    let hold = HoldRequest { reason: "reported_lost".to_owned() };
    let call = desk.post(&format!("/cards/{}/suspend", issued.card.serial), &hold);
    let began = Instant::now();
    let (seen, replied) = tokio::join!(first_revoked(&mut connection, question, &good), async {
        desk.call(call).await;
        Instant::now()
    });
    (seen - began, replied - began)
}

/// Measures with some of these cards, one after the other.
pub(crate) async fn run(site: &Site, desks: &Desks, cards: &[Issued], watch: &Watch, report: &mut Report) {
    let address = site.config.listen.public;
    let cards = &cards[..CARDS.min(cards.len())];
    let (mut seen, mut replied) = (Sample::default(), Sample::default());
    let mut before = 0;
    for issued in cards {
        let question = Question::about(site, &issued.card.authentication_certificate);
        let (desk, issued) = (Arc::clone(&desks.desks[0]), Issued { card: issued.card.clone() });
        let task = async move {
            let times = suspend(address, &desk, &issued, &question).await;
            (times, vec![times.0])
        };
        let (times, sample) = watch.all([task]).await;
        let [(first, reply)] = times[..] else { continue };
        before += usize::from(first <= reply);
        seen = seen.and(sample.clone());
        replied = replied.and(sample.taking(reply));
    }
    let what = format!(
        "from the request to suspend a card to the first \"revoked\" by OCSP POST, asked all the time; {before} of {} \
         before the operator's reply",
        cards.len()
    );
    report.delay("suspend.revoked", &seen, what);
    report.delay("suspend.reply", &replied, "from the same request to its reply, which waits for the responders");
}
