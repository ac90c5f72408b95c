//! From a card's suspension to the first "revoked" that a relying system sees.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// What became known of one suspension.
struct Suspension {
    /// From the request until "revoked" was seen.
    seen: Duration,
    /// From the request until the reply came.
    replied: Duration,
    /// Whether a question that was asked after the reply was still answered with "good".
    late: bool,
}

/// When a relying system that asks all the time sees another answer than the one it had, which must be "revoked"; and
/// whether it saw the old one to a question of after the reply.
async fn first_revoked(
    connection: &mut Connection,
    question: &Question,
    good: &[u8],
    replied: &AtomicBool,
) -> (Instant, bool) {
    let mut late = false;
    loop {
        let after_reply = replied.load(Ordering::SeqCst);
        let answer = connection.exchange(&question.post).await;
        let now = Instant::now();
        if answer != good {
            let status = question.judge(answer, None);
            assert!(matches!(status, CertStatus::Revoked { .. }), "{status:?}");
            return (now, late);
        }
        late |= after_reply;
    }
}

/// Suspends one card, while somebody asks about it.
async fn suspend(address: SocketAddr, desk: &Desk, issued: &Issued, question: &Question) -> Suspension {
    let mut connection = Connection::open(address).await;
    let good = connection.exchange(&question.post).await.to_vec();
    assert_eq!(question.judge(&good, None), CertStatus::Good);
    let hold = HoldRequest { reason: "reported_lost".to_owned() };
    let call = desk.post(&format!("/cards/{}/suspend", issued.card.serial), &hold);
    let has_reply = AtomicBool::new(false);
    let began = Instant::now();
    let ((seen, late), replied) = tokio::join!(first_revoked(&mut connection, question, &good, &has_reply), async {
        desk.call(call).await;
        has_reply.store(true, Ordering::SeqCst);
        Instant::now()
    });
    Suspension { seen: seen - began, replied: replied - began, late }
}

/// Measures with some of these cards, one after the other.
pub(crate) async fn run(site: &Site, desks: &Desks, cards: &[Issued], watch: &Watch, report: &mut Report) {
    let address = site.config.listen.public;
    let cards = &cards[..CARDS.min(cards.len())];
    let (mut seen, mut replied) = (Sample::default(), Sample::default());
    let mut late = 0;
    for issued in cards {
        let question = Question::about(site, &issued.card.authentication_certificate);
        let (desk, issued) = (Arc::clone(&desks.desks[0]), Issued { card: issued.card.clone() });
        let task = async move {
            let one = suspend(address, &desk, &issued, &question).await;
            let seen = one.seen;
            (one, vec![seen])
        };
        let (one, sample) = watch.all([task]).await;
        for one in one {
            late += usize::from(one.late);
            replied = replied.and(sample.clone().taking(one.replied));
        }
        seen = seen.and(sample);
    }
    let what =
        format!("from the request to suspend a card to the first \"revoked\" by OCSP POST; {} cards", cards.len());
    report.delay("suspend.revoked", &seen, what);
    let what = format!(
        "from the same request to its reply, which waits for the responders; {late} times \"good\" was still heard by \
         who asked after the reply"
    );
    report.delay("suspend.reply", &replied, what);
}
