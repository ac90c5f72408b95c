//! `kill -9` between each pair of steps of an issuance, and at any time under load: every certificate that can exist is
//! known, what was acknowledged is there, and the next request goes on from it.

mod aftermath;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aftermath::{Desk, Doomed, all_agrees, ocsp_of, of_cards, started, stopped};
use api::cards::{IssuanceKind, IssuanceView};
use ca::certificate::CertificateState;
use pki::CrlReason;
use pki::ocsp::CertStatus;
use server::steps::Step;
use tests::deployment::Site;
use tests::desk::{path, post};
use tests::{Ask, Home, PaperCard, World, isolated};

fn is_on_hold(status: &CertStatus) -> bool {
    matches!(status, CertStatus::Revoked { reason: CrlReason::CertificateHold, .. })
}

/// The request for a pair, always with the same key.
fn pair_request(desk: &Desk, card: &PaperCard) -> Ask {
    let ask = post(&format!("/cards/{}/issuances", card.serial), &card.request(IssuanceKind::Issue));
    ask.session(&desk.issuer.token).key("pair-1")
}

/// The confirmation, always with the same key.
fn confirmation(card: &PaperCard, issuance: &IssuanceView) -> Ask {
    post(&format!("/issuances/{}/confirmation", issuance.id), &card.confirmation(issuance)).key("confirm-1")
}

/// Sends a request to a service that dies of it, at this step.
async fn killed_at(step: Step, site: &Site, desk: &Desk, ask: Ask) {
    let mut doomed = Doomed::serve(site, Some(step)).await;
    let answer = desk.station.door.try_send(ask).await;
    assert!(answer.is_err(), "{answer:?}");
    doomed.killed_itself().await;
}

/// A stopped deployment with a card that is set aside.
async fn before_an_issuance(home: &Home) -> (Site, Desk, PaperCard) {
    let world = World::new(home).await;
    let person = world.person().await;
    let card = world.allocated(&person).await;
    let (site, desk) = stopped(world).await;
    (site, desk, card)
}

/// The answer to a request that is sent again, twice; the card with its certificates.
async fn answered_again(world: &World, ask: &Ask, card: PaperCard) -> (PaperCard, IssuanceView) {
    let reply = world.station.send(ask.clone()).await.expect(201);
    let again = world.station.send(ask.clone()).await.expect(201);
    assert_eq!(reply.body, again.body);
    let issuance: IssuanceView = reply.read();
    assert_eq!(issuance.state, "pending");
    (card.with_certificates(&issuance), issuance)
}

/// A pending pair becomes a good one.
async fn goes_on_to_be_good(world: &World, card: &PaperCard, issuance: &IssuanceView) {
    for certificate in [&card.authentication_certificate, &card.signing_certificate] {
        assert!(is_on_hold(&world.ocsp(certificate).await));
    }
    assert_eq!(world.station.confirm(card, issuance).await.state, "confirmed");
    is_in_use(world, card).await;
}

async fn is_in_use(world: &World, card: &PaperCard) {
    for certificate in [&card.authentication_certificate, &card.signing_certificate] {
        assert_eq!(world.ocsp(certificate).await, CertStatus::Good);
    }
    let shown = world.issuer.card(card).await;
    assert_eq!((shown.state.as_str(), shown.issuance), ("active", None));
    all_agrees(world).await;
}

// conformance: A5
#[test]
fn kill_before_the_first_commit_leaves_nothing_and_the_request_can_be_repeated() {
    isolated(async |home| {
        let (site, desk, card) = before_an_issuance(&home).await;
        let ask = pair_request(&desk, &card);
        killed_at(Step::Begun, &site, &desk, ask.clone()).await;
        let world = started(site, desk).await;
        all_agrees(&world).await;
        // The operators have cards; this card has nothing.
        assert_eq!(world.card_certificates(), 4);
        assert_eq!(world.issuer.card(&card).await.state, "allocated");
        let (card, issuance) = answered_again(&world, &ask, card).await;
        goes_on_to_be_good(&world, &card, &issuance).await;
    });
}

/// Killed between the reservation and its result: void, the card is free, and the same request works anew.
async fn leaves_void_certificates(home: Home, step: Step) {
    let (site, desk, card) = before_an_issuance(&home).await;
    let ask = pair_request(&desk, &card);
    killed_at(step, &site, &desk, ask.clone()).await;
    let world = started(site, desk).await;
    all_agrees(&world).await;
    let left: Vec<_> =
        of_cards(&world).into_values().filter(|one| one.holder.card() == Some(card.serial.as_str())).collect();
    assert_eq!(left.len(), 2);
    for record in &left {
        assert!(
            matches!(record.state, CertificateState::Void { at } if at == record.reserved_at.whole_seconds()),
            "{record:?}"
        );
        let status = ocsp_of(&world, &record.id).await;
        assert!(matches!(status, CertStatus::Revoked { reason: CrlReason::CessationOfOperation, .. }), "{status:?}");
    }
    assert!(world.station.open_issuance(&card).await.status == 404, "the card is free");
    assert_eq!(world.issuer.card(&card).await.state, "allocated");

    // The same keys again: nobody has a certificate for them.
    let (card, issuance) = answered_again(&world, &ask, card).await;
    goes_on_to_be_good(&world, &card, &issuance).await;
    for record in &left {
        let status = ocsp_of(&world, &record.id).await;
        assert!(matches!(status, CertStatus::Revoked { reason: CrlReason::CessationOfOperation, .. }), "{status:?}");
    }
}

// conformance: A5, O5
#[test]
fn kill_after_the_reservation_makes_it_void_and_frees_the_card() {
    isolated(async |home| leaves_void_certificates(home, Step::Reserved).await);
}

// conformance: A5, O5
#[test]
fn kill_after_the_signatures_makes_the_reservation_void_and_frees_the_card() {
    isolated(async |home| leaves_void_certificates(home, Step::Signed).await);
}

// conformance: A5, O5
#[test]
fn kill_after_the_second_commit_loses_the_reply_alone() {
    isolated(async |home| {
        let (site, desk, card) = before_an_issuance(&home).await;
        let ask = pair_request(&desk, &card);
        killed_at(Step::Pending, &site, &desk, ask.clone()).await;
        let world = started(site, desk).await;
        all_agrees(&world).await;
        let before = of_cards(&world);
        let open: IssuanceView = world.station.open_issuance(&card).await.expect(200).read();
        let (card, issuance) = answered_again(&world, &ask, card).await;
        assert_eq!(issuance, open);
        assert_eq!(of_cards(&world), before);
        goes_on_to_be_good(&world, &card, &issuance).await;
    });
}

/// A stopped deployment with a pending pair.
async fn before_a_confirmation(home: &Home) -> (Site, Desk, PaperCard, IssuanceView) {
    let world = World::new(home).await;
    let person = world.person().await;
    let (card, issuance) = world.pending(&person).await;
    let (site, desk) = stopped(world).await;
    (site, desk, card, issuance)
}

// conformance: A5, O5
#[test]
fn kill_before_the_confirmation_is_durable_leaves_the_pair_on_hold_and_it_can_be_repeated() {
    isolated(async |home| {
        let (site, desk, card, issuance) = before_a_confirmation(&home).await;
        let ask = confirmation(&card, &issuance);
        killed_at(Step::Confirming, &site, &desk, ask.clone()).await;
        let world = started(site, desk).await;
        all_agrees(&world).await;
        for certificate in [&card.authentication_certificate, &card.signing_certificate] {
            assert!(is_on_hold(&world.ocsp(certificate).await));
        }
        let confirmed: IssuanceView = world.station.send(ask).await.expect(200).read();
        assert_eq!(confirmed.state, "confirmed");
        is_in_use(&world, &card).await;
    });
}

// conformance: A5
#[test]
fn kill_after_the_confirmation_is_durable_leaves_good_certificates() {
    isolated(async |home| {
        let (site, desk, card, issuance) = before_a_confirmation(&home).await;
        let ask = confirmation(&card, &issuance);
        killed_at(Step::Confirmed, &site, &desk, ask.clone()).await;
        let world = started(site, desk).await;
        is_in_use(&world, &card).await;
        let confirmed: IssuanceView = world.station.send(ask).await.expect(200).read();
        assert_eq!((confirmed.state.as_str(), &confirmed.id), ("confirmed", &issuance.id));
        world.station.try_confirm(&card, &issuance).await.refused(409, "issuance-ended");
    });
}

/// How often a service under load is killed: CARDINAL_KILLS, or 3.
fn rounds() -> usize {
    std::env::var("CARDINAL_KILLS").ok().map_or(3, |text| text.parse().expect("CARDINAL_KILLS is a number"))
}

/// How many kills one deployment lives through.
const ROUNDS_OF_ONE_DEPLOYMENT: usize = 10;
const CLIENTS: usize = 4;

/// What the clients were told.
#[derive(Default)]
struct Acknowledged {
    pending: Mutex<Vec<PaperCard>>,
    confirmed: Mutex<Vec<PaperCard>>,
    count: AtomicUsize,
}

/// Issues card after card, until there is no answer any more.
async fn issue_until_it_dies(desk: Arc<Desk>, person: String, told: Arc<Acknowledged>) {
    let send = async |ask: Ask, status: u16| match desk.station.door.try_send(ask).await {
        Ok(reply) => Some(reply.expect(status)),
        Err(_) => None,
    };
    let in_session = |ask: Ask| ask.session(&desk.issuer.token);
    loop {
        let card = PaperCard::new();
        let allocation = in_session(post("/cards", &card.allocation(&person)));
        let Some(_) = send(allocation, 201).await else { return };
        let begin = post(&format!("/cards/{}/issuances", card.serial), &card.request(IssuanceKind::Issue));
        let Some(reply) = send(in_session(begin).key(&card.serial), 201).await else { return };
        let issuance: IssuanceView = reply.read();
        let card = card.with_certificates(&issuance);
        told.pending.lock().unwrap().push(card.clone());
        told.count.fetch_add(1, Ordering::SeqCst);
        let confirm = Ask::post(path(&format!("/issuances/{}/confirmation", issuance.id)));
        let Some(_) = send(confirm.json(&card.confirmation(&issuance)), 200).await else { return };
        told.confirmed.lock().unwrap().push(card);
        told.count.fetch_add(1, Ordering::SeqCst);
    }
}

fn random(end: usize) -> usize {
    use std::hash::{BuildHasher, Hasher};
    (std::collections::hash_map::RandomState::new().build_hasher().finish() % end as u64) as usize
}

/// One kill at any time. The card that it leaves behind half done is looked at by [`all_agrees`].
async fn killed_under_load(world: World, people: &[String]) -> World {
    let (site, desk) = stopped(world).await;
    let mut doomed = Doomed::serve(&site, None).await;
    let (desk, told) = (Arc::new(desk), Arc::new(Acknowledged::default()));
    let clients: Vec<_> = people
        .iter()
        .map(|person| tokio::spawn(issue_until_it_dies(Arc::clone(&desk), person.clone(), Arc::clone(&told))))
        .collect();
    let enough = 4 + random(16);
    tests::eventually("enough answers", async || (told.count.load(Ordering::SeqCst) >= enough).then_some(())).await;
    // Not always just after an answer.
    tokio::time::sleep(std::time::Duration::from_micros(random(20_000) as u64)).await;
    doomed.kill();
    for client in clients {
        client.await.unwrap();
    }
    let Ok(desk) = Arc::try_unwrap(desk) else { panic!("a client is still there") };
    let world = started(site, desk).await;

    let confirmed = told.confirmed.lock().unwrap().clone();
    let pending = told.pending.lock().unwrap().clone();
    for card in &pending {
        let is_confirmed = confirmed.iter().any(|one| one.serial == card.serial);
        for certificate in [&card.authentication_certificate, &card.signing_certificate] {
            let record = world.record(certificate);
            assert_eq!(record.der.as_ref(), Some(certificate));
            match record.state {
                CertificateState::Good { .. } => {}
                CertificateState::Pending { .. } if !is_confirmed => {}
                other => panic!("an acknowledged certificate of card {} is {other:?}", card.serial),
            }
        }
        let shown = world.issuer.card(card).await;
        assert!(shown.state == "active" || (!is_confirmed && shown.state == "personalised"), "{shown:?}");
    }
    all_agrees(&world).await;
    world
}

// conformance: A5
#[test]
fn kill_at_any_time_under_load_loses_nothing_that_was_acknowledged() {
    let test = async |home: Home| {
        let mut world = World::new(&home).await;
        let mut people = Vec::new();
        for _ in 0..CLIENTS {
            people.push(world.person().await);
        }
        for _ in 0..rounds().min(ROUNDS_OF_ONE_DEPLOYMENT) {
            world = killed_under_load(world, &people).await;
        }
    };
    // In the process of its own this runs the test once.
    let deployments =
        if std::env::var_os("CARDINAL_TEST_HOME").is_some() { 1 } else { rounds().div_ceil(ROUNDS_OF_ONE_DEPLOYMENT) };
    for _ in 0..deployments {
        isolated(test);
    }
}
