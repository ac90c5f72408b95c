//! Issuance through the whole service: TLS, identity, authorisation, registry, two commits, two signatures, the reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::cards::{ConfirmationRequest, IssuanceKind, IssuanceRequest, IssuanceView};
use bytes::Bytes;
use pki::KeyType;
use tests::PaperCard;

use crate::ceiling::Ceiling;
use crate::cost::{Sample, Watch, processors};
use crate::report::Report;
use crate::site::{Desk, Desks, read};
use crate::{commits, token};

/// Cards that one station issues alone.
const ALONE: usize = 100;
/// Rounds, each with a look at token and store before it, so that all are measured under the same load.
const ROUNDS: usize = 3;
/// Cards of each round.
const ROUND: usize = 400;
/// Cards that are issued and confirmed in one go.
const WHOLE: usize = 400;

/// The names of the figures of one CA key type.
pub(crate) struct Names {
    pub(crate) alone: &'static str,
    pub(crate) all: &'static str,
    pub(crate) ceiling: &'static str,
    pub(crate) confirm: &'static str,
    pub(crate) whole: &'static str,
}

/// With CAs that have P-256 keys, as they ship.
pub(crate) const P256: Names = Names {
    alone: "issue.1",
    all: "issue.16",
    ceiling: "issue.ceiling",
    confirm: "confirm.16",
    whole: "issue.confirmed.16",
};

/// With CAs that have RSA keys of 2048 bits.
pub(crate) const RSA2048: Names = Names {
    alone: "issue.1.rsa2048",
    all: "issue.16.rsa2048",
    ceiling: "issue.ceiling.rsa2048",
    confirm: "confirm.16.rsa2048",
    whole: "issue.confirmed.16.rsa2048",
};

/// What issuance is compared with.
pub(crate) struct Baseline<'a> {
    /// The token.
    pub(crate) token: &'a token::Bench,
    /// A store that nobody else writes to.
    pub(crate) store: &'a commits::Bench,
    /// The kind of the CAs' keys.
    pub(crate) ca: KeyType,
}

/// A card with its requests, set aside for its holder.
pub(crate) struct Blank {
    pub(crate) card: PaperCard,
    pub(crate) request: IssuanceRequest,
}

/// A card whose certificates are good.
pub(crate) struct Issued {
    /// The card.
    pub(crate) card: PaperCard,
}

/// So many cards; their keys and requests are made here, and so do not count.
pub(crate) async fn blanks(desks: &Desks, count: usize) -> Arc<Vec<Blank>> {
    let made = tokio::task::spawn_blocking(move || {
        let blank = |_| {
            let card = PaperCard::new();
            Blank { request: card.request(IssuanceKind::Issue), card }
        };
        (0..count).map(blank).collect::<Vec<Blank>>()
    });
    let blanks = Arc::new(made.await.expect("a thread"));
    let next = Arc::new(AtomicUsize::new(0));
    let holders: Arc<Vec<String>> = Arc::new((0..count).map(|number| desks.holder(number).to_owned()).collect());
    let work = desks.desks.iter().cloned().map(|desk| {
        let (blanks, next, holders) = (Arc::clone(&blanks), Arc::clone(&next), Arc::clone(&holders));
        async move {
            while let Some((number, blank)) = take(&blanks, &next) {
                desk.call(desk.post("/cards", &blank.card.allocation(&holders[number]))).await;
            }
            ((), Vec::new())
        }
    });
    Watch::own().all(work).await;
    blanks
}

/// The next one of a list that many work on.
fn take<'a, T>(list: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    list.get(number).map(|one| (number, one))
}

pub(crate) async fn begin(desk: &Desk, blank: &Blank, latencies: &mut Vec<Duration>) -> Bytes {
    let call = desk.post(&format!("/cards/{}/issuances", blank.card.serial), &blank.request);
    let began = Instant::now();
    let body = desk.call(call).await;
    latencies.push(began.elapsed());
    body
}

async fn confirm(desk: &Desk, id: &str, confirmation: &ConfirmationRequest) {
    desk.call(desk.post(&format!("/issuances/{id}/confirmation"), confirmation)).await;
}

/// Issues these cards; gives what each desk issued.
async fn issue(
    desks: &[Arc<Desk>],
    blanks: &Arc<Vec<Blank>>,
    watch: &Watch,
) -> (Vec<(Arc<Desk>, Vec<(usize, Bytes)>)>, Sample) {
    let next = Arc::new(AtomicUsize::new(0));
    let work = desks.iter().cloned().map(|desk| {
        let (blanks, next) = (Arc::clone(blanks), Arc::clone(&next));
        async move {
            let (mut issued, mut latencies) = (Vec::new(), Vec::new());
            while let Some((number, blank)) = take(&blanks, &next) {
                issued.push((number, begin(&desk, blank, &mut latencies).await));
            }
            ((desk, issued), latencies)
        }
    });
    watch.all(work).await
}

/// Issues and confirms in one go; each operation is a card in use.
async fn issue_whole(desks: &[Arc<Desk>], blanks: &Arc<Vec<Blank>>, watch: &Watch) -> Sample {
    let next = Arc::new(AtomicUsize::new(0));
    let work = desks.iter().cloned().map(|desk| {
        let (blanks, next) = (Arc::clone(blanks), Arc::clone(&next));
        async move {
            let mut latencies = Vec::new();
            while let Some((_, blank)) = take(&blanks, &next) {
                let began = Instant::now();
                let issuance: IssuanceView = read(&begin(&desk, blank, &mut Vec::new()).await);
                confirm(&desk, &issuance.id, &blank.card.confirmation(&issuance)).await;
                latencies.push(began.elapsed());
            }
            ((), latencies)
        }
    });
    watch.all(work).await.1
}

/// Some cards in use, so that there is something to ask about; and what happens once on each connection has happened.
pub(crate) async fn in_use(desks: &Desks, watch: &Watch) -> Vec<Issued> {
    let blanks = blanks(desks, 16 * desks.desks.len()).await;
    let (replies, _) = issue(&desks.desks, &blanks, watch).await;
    let mut cards = Vec::new();
    for (desk, replies) in replies {
        for (number, reply) in replies {
            let issuance: IssuanceView = read(&reply);
            let card = &blanks[number].card;
            confirm(&desk, &issuance.id, &card.confirmation(&issuance)).await;
            cards.push(Issued { card: card.clone().with_certificates(&issuance) });
        }
    }
    cards
}

/// What a desk has to confirm.
type Confirmations = Vec<(String, ConfirmationRequest)>;

/// Confirms what the desks issued; the keys sign before the clock starts.
async fn confirm_all(work: Vec<(Arc<Desk>, Confirmations)>, watch: &Watch) -> Sample {
    let work = work.into_iter().map(|(desk, confirmations)| async move {
        let mut latencies = Vec::new();
        for (id, confirmation) in &confirmations {
            let began = Instant::now();
            confirm(&desk, id, confirmation).await;
            latencies.push(began.elapsed());
        }
        ((), latencies)
    });
    watch.all(work).await.1
}

/// Measures, and gives the cards that are in use after that.
pub(crate) async fn run(
    desks: &Desks,
    beside: &Baseline<'_>,
    names: &Names,
    watch: &Watch,
    report: &mut Report,
) -> Vec<Issued> {
    let (one, all) = (&desks.desks[..1], &desks.desks[..]);
    // What happens once on each connection is not what is asked for here.
    issue_whole(all, &blanks(desks, 2 * all.len()).await, watch).await;
    let alone = issue(one, &blanks(desks, ALONE).await, watch).await.1;
    report.rate(
        names.alone,
        "pairs/s",
        &alone,
        "a card's pair of certificates (P-256) over mTLS, one station: the latency",
    );

    let mut ceiling = Ceiling::default();
    let (mut issued, mut confirmed) = (Sample::default(), Sample::default());
    let mut cards = Vec::new();
    for _ in 0..ROUNDS {
        let blanks = blanks(desks, ROUND).await;
        ceiling.measure(beside, blanks[0].request.authentication.0.clone()).await;
        let (replies, sample) = issue(all, &blanks, watch).await;
        issued = issued.and(sample);
        let mut work = Vec::new();
        for (desk, replies) in replies {
            let mut confirmations = Vec::new();
            for (number, reply) in replies {
                let issuance: IssuanceView = read(&reply);
                let card = &blanks[number].card;
                confirmations.push((issuance.id.clone(), card.confirmation(&issuance)));
                cards.push(Issued { card: card.clone().with_certificates(&issuance) });
            }
            work.push((desk, confirmations));
        }
        confirmed = confirmed.and(confirm_all(work, watch).await);
    }
    let certificates = issued.rate() * 2.0;
    let what = format!("the same by 16 stations at once: {certificates:.0} certificates/s, pending");
    ceiling.report(names.ceiling, report);
    report.rate(names.all, "pairs/s", &issued, what);
    let apart = certificates * processors() / issued.left_for_the_service();
    report.is_part_of(
        apart / ceiling.certificates(),
        "the ceiling, the processor time of the clients and of others apart: the part that the issue asks for",
    );
    report.is_part_of(
        ceiling.of_a_pair().as_secs_f64() / issued.service().unwrap_or_default().as_secs_f64(),
        "the service's processor time for a pair is the ceiling's",
    );
    let (raw, store) = (ceiling.signatures(), ceiling.commits());
    report
        .is_part_of(certificates / raw, "the token's signatures/s between the rounds (certificates/s to signatures/s)");
    report.is_part_of(issued.rate() / store, "the store's issuances/s by 16 writers between the rounds");
    report.rate(
        names.confirm,
        "confirmations/s",
        &confirmed,
        "the confirmation of such a pair by both of its keys, 16 stations",
    );
    let whole = issue_whole(all, &blanks(desks, WHOLE).await, watch).await;
    let what = "issued and confirmed, one after the other at each of 16 stations; the keys' two signatures are in it";
    report.rate(names.whole, "cards/s", &whole, what);
    let of = "the token's signatures/s (certificates/s to signatures/s)";
    report.is_part_of(whole.rate() * 2.0 / raw, of);
    cards
}
