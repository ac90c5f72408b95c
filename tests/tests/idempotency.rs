//! A call with an idempotency key has one effect, however often it is made.

use std::time::Duration;

use api::cards::{CardStatusReply, HoldRequest, IssuanceKind, IssuanceView};
use api::people::{PersonRequest, PersonView};
use server::steps::Step;
use tests::clock::minutes;
use tests::deployment::TOP;
use tests::desk::{RaSession, post};
use tests::{Ask, Options, PaperCard, Reply, World, isolated};

fn ada() -> PersonRequest {
    PersonRequest { given_name: "Ada".to_owned(), family_name: "Lovelace".to_owned(), organisation: TOP.to_owned() }
}

fn register(key: &str, person: &PersonRequest) -> Ask {
    post("/people", person).key(key)
}

fn begin(card: &PaperCard, key: &str) -> Ask {
    post(&format!("/cards/{}/issuances", card.serial), &card.request(IssuanceKind::Issue)).key(key)
}

fn user_id(reply: Reply) -> String {
    let person: PersonView = reply.expect(201).read();
    person.user_id
}

#[test]
fn the_same_key_gets_the_same_answer_and_one_pair_of_certificates() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.allocated(&world.person().await).await;
        let before = world.card_certificates();
        let ask = begin(&card, "one");
        let first = world.issuer.send(ask.clone()).await.expect(201);
        let second = world.issuer.send(ask.clone()).await.expect(201);
        assert_eq!(first.body, second.body);
        assert_eq!(world.card_certificates(), before + 2);

        // After a restart as well.
        let world = world.restart().await;
        let third = world.issuer.send(ask).await.expect(201);
        assert_eq!(first.body, third.body);
        assert_eq!(world.card_certificates(), before + 2);
        let issuance: IssuanceView = third.read();
        world.station.confirm(&card, &issuance).await;
    });
}

#[test]
fn the_same_key_with_another_body_is_refused() {
    isolated(async |home| {
        let world = World::new(&home).await;
        user_id(world.checker.send(register("one", &ada())).await);
        let other = PersonRequest { given_name: "Augusta".to_owned(), ..ada() };
        world.checker.send(register("one", &other)).await.refused(422, "idempotency-key-reused");
        user_id(world.checker.send(register("two", &other)).await);
    });
}

#[test]
fn while_the_first_call_is_under_way_the_second_is_told_to_come_again() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.allocated(&world.person().await).await;
        world.gate.close_at(Step::Reserved);
        let ask = begin(&card, "one");
        let first = tokio::spawn({
            let (session, ask) = (world.issuer.session.clone(), ask.clone());
            async move { session.send(ask).await }
        });
        world.gate.reached().await;
        let meanwhile = world.issuer.send(ask.clone()).await;
        meanwhile.refused(409, "in-flight");
        assert_eq!(meanwhile.header("retry-after"), "1");
        let other = post(&format!("/cards/{}/issuances", card.serial), &card.request(IssuanceKind::Renew)).key("one");
        world.issuer.send(other).await.refused(422, "idempotency-key-reused");
        // Without the key it is another call, and the card has an issuance already.
        world.issuer.try_begin(&card, &card.request(IssuanceKind::Issue)).await.refused(409, "issuance-open");
        world.gate.open();
        let first = first.await.unwrap().expect(201);
        let second = world.issuer.send(ask).await.expect(201);
        assert_eq!(first.body, second.body);
    });
}

#[test]
fn a_key_belongs_to_one_operator_one_station_and_one_call() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let first = user_id(world.checker.send(register("one", &ada())).await);
        let by_another = user_id(world.issuer.send(register("one", &ada())).await);
        let elsewhere = world.enrol("desk-2.example").await;
        let at_another = elsewhere.login(&world.checker.card).await;
        let at_another = user_id(at_another.send(register("one", &ada())).await);
        assert!(first != by_another && first != at_another && by_another != at_another);

        let check = api::people::IdentityCheckRequest { documents: vec!["passport".to_owned()] };
        let call = post(&format!("/people/{first}/identity-check"), &check).key("one");
        world.checker.send(call).await.expect(200);
        assert_eq!(user_id(world.checker.send(register("one", &ada())).await), first);
        // A session is not part of it: after a new login the call can be taken up.
        let again: RaSession = world.station.login(&world.checker.card).await;
        assert_eq!(user_id(again.send(register("one", &ada())).await), first);
    });
}

#[test]
fn a_status_change_that_is_sent_again_is_done_once() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        let hold = HoldRequest { reason: "investigation".to_owned() };
        let ask = post(&format!("/cards/{}/suspend", card.serial), &hold).key("one");
        let first: CardStatusReply = world.issuer.send(ask.clone()).await.expect(200).read();
        let records = world.audit().await.len();
        let second: CardStatusReply = world.issuer.send(ask).await.expect(200).read();
        assert_eq!(first.card, second.card);
        assert_eq!(second.published.seen_by, second.published.responders);
        assert_eq!(world.audit().await.len(), records, "nothing was done");
        world.issuer.try_suspend(&card, "investigation").await.refused(409, "state");
    });
}

#[test]
fn a_confirmation_that_is_sent_again_gets_the_same_answer() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, issuance) = world.pending(&world.person().await).await;
        let path = format!("/issuances/{}/confirmation", issuance.id);
        let ask = post(&path, &card.confirmation(&issuance)).key("one");
        let first = world.station.send(ask.clone()).await.expect(200);
        let second = world.station.send(ask).await.expect(200);
        assert_eq!(first.body, second.body);
        world.station.try_confirm(&card, &issuance).await.refused(409, "issuance-ended");
    });
}

/// All that is kept for repetition.
fn kept(world: &World) -> Vec<Vec<u8>> {
    let store = world.service.store.as_ref();
    let rows = store.range(store::Table::new("idempotency"), b"", None, 1000).unwrap();
    rows.into_iter().map(|row| row.value).collect()
}

#[test]
fn an_answer_is_the_same_after_what_it_shows_has_changed_and_certificates_are_not_kept_twice() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.allocated(&world.person().await).await;
        let begun = begin(&card, "one");
        let pending = world.issuer.send(begun.clone()).await.expect(201);
        let issuance: IssuanceView = pending.read();
        let path = format!("/issuances/{}/confirmation", issuance.id);
        let confirmation = post(&path, &card.confirmation(&issuance)).key("two");
        let confirmed = world.station.send(confirmation.clone()).await.expect(200);
        let hold = HoldRequest { reason: "investigation".to_owned() };
        let suspension = post(&format!("/cards/{}/suspend", card.serial), &hold).key("three");
        let suspended: CardStatusReply = world.issuer.send(suspension.clone()).await.expect(200).read();
        world.issuer.cancel(&card, "lost").await;

        let world = world.restart().await;
        assert_eq!(world.issuer.send(begun).await.expect(201).body, pending.body);
        assert_eq!(world.station.send(confirmation).await.expect(200).body, confirmed.body);
        let again: CardStatusReply = world.issuer.send(suspension).await.expect(200).read();
        assert_eq!(again.card, suspended.card);

        let rows = kept(&world);
        let holds = |text: &str| rows.iter().any(|row| row.windows(text.len()).any(|part| part == text.as_bytes()));
        for view in [&issuance.authentication, &issuance.signing] {
            let shown = serde_json::to_value(view).unwrap();
            let (certificate, serial) = (shown["certificate"].as_str().unwrap(), shown["serial"].as_str().unwrap());
            // That the search finds what is there.
            assert!(holds(serial));
            assert!(!holds(certificate), "a certificate is kept with an answer");
        }
    });
}

#[test]
fn a_key_that_is_none_is_refused() {
    isolated(async |home| {
        let world = World::new(&home).await;
        for key in [String::new(), "k".repeat(256)] {
            world.checker.send(register(&key, &ada())).await.refused(400, "idempotency-key");
        }
        user_id(world.checker.send(register(&"k".repeat(255), &ada())).await);
    });
}

#[test]
fn a_key_is_kept_for_a_day() {
    isolated(async |home| {
        let mut world = World::new(&home).await;
        let first = user_id(world.checker.send(register("one", &ada())).await);
        world.advance(minutes(24 * 60 - 1)).await;
        world.login_again().await;
        assert_eq!(user_id(world.checker.send(register("one", &ada())).await), first);
        world.advance(minutes(1) + Duration::from_secs(2)).await;
        assert_ne!(user_id(world.checker.send(register("one", &ada())).await), first);
    });
}

#[test]
fn a_call_that_failed_can_be_made_again_with_its_key() {
    isolated(async |home| {
        let options = Options { module: faulty_pkcs11::module_path(), ..Options::default() };
        let world = World::with(&home, &options).await;
        let card = world.allocated(&world.person().await).await;
        home.plan("C_Sign CKR_FUNCTION_FAILED");
        let failed = world.issuer.send(begin(&card, "one")).await;
        failed.refused(503, "token");
        assert!(!failed.header("retry-after").is_empty());
        home.plan("");
        let issuance: IssuanceView = world.issuer.send(begin(&card, "one")).await.expect(201).read();
        world.station.confirm(&card, &issuance).await;

        // A refusal is not remembered either: what was wrong may have been put right.
        let refused = world.checker.send(register("two", &PersonRequest { given_name: String::new(), ..ada() })).await;
        refused.refused(422, "invalid");
        user_id(world.checker.send(register("two", &ada())).await);
    });
}

#[test]
fn one_key_used_twice_at_the_same_moment_registers_one_person() {
    isolated(async |home| {
        let world = World::new(&home).await;
        for round in 0..10 {
            let key = format!("round {round}");
            let (one, other) =
                tokio::join!(world.checker.send(register(&key, &ada())), world.checker.send(register(&key, &ada())));
            let mut people: Vec<String> = [&one, &other]
                .into_iter()
                .filter(|reply| reply.status == 201)
                .map(|one| user_id(one.clone()))
                .collect();
            for reply in [one, other] {
                assert!(reply.status == 201 || reply.status == 409 && reply.header("retry-after") == "1", "{reply:?}");
            }
            people.push(user_id(world.checker.send(register(&key, &ada())).await));
            people.dedup();
            assert_eq!(people.len(), 1, "{people:?}");
        }
    });
}

#[test]
fn an_answer_that_carries_a_secret_is_not_kept() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let challenge = world.station.challenge().await;
        let request = world.station.login_request(&world.issuer.card, &challenge);
        let ask = post("/sessions", &request).key("one");
        let first = world.station.send(ask.clone()).await.expect(201);
        assert_eq!(first.header("cache-control"), "no-store");
        let again = world.station.send(ask).await;
        assert!(matches!(again.status, 401 | 409), "{again:?}");
    });
}
