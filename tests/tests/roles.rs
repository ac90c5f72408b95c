//! Who may do what, to whom, and for how long: roles, scope, separation of duty, sessions.

use std::time::Duration;

use api::cards::IssuanceKind;
use api::people::PersonView;
use api::sessions::{SessionReply, SessionRequest};
use tests::clock::minutes;
use tests::deployment::TOP;
use tests::desk::{RaSession, path, post};
use tests::{Ask, Deployment, PaperCard, Reply, World, isolated};

/// Refused by this rule, and on record as such, with who and to whom.
async fn refused_and_recorded(deployment: &Deployment, reply: Reply, rule: &str, operation: &str, who: &str) {
    assert_eq!(reply.status, 403, "{reply:?}");
    let problem = reply.refused_by(rule);
    assert!(problem.detail.contains(operation), "{problem:?}");
    let record = deployment.last_audit(operation).await;
    assert_eq!(record.outcome, format!("refused: {rule}"), "{record:?}");
    assert!(record.actor.contains(who), "{record:?}");
}

async fn show_person(session: &RaSession, user_id: &str) -> Reply {
    session.send(Ask::get(path(&format!("/people/{user_id}")))).await
}

#[test]
fn an_id_checker_checks_identities_and_issues_no_cards() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let checker = world.operator(&world.station, "id_checker", TOP).await;
        let checked = checker.active_person("Ada", "Lovelace", TOP).await;
        assert_eq!(checker.try_allocate(&PaperCard::new(), &checked).await.status, 403);

        let person = world.person().await;
        let reply = checker.try_allocate(&PaperCard::new(), &person).await;
        refused_and_recorded(&world, reply, "role", "card.issue", &checker.user_id).await;

        let card = world.allocated(&person).await;
        let before = world.card_certificates();
        let reply = checker.try_begin(&card, &card.request(IssuanceKind::Issue)).await;
        refused_and_recorded(&world, reply, "role", "card.issue", &checker.user_id).await;
        assert_eq!(world.card_certificates(), before);
        world.issuer.begin(&card, IssuanceKind::Issue).await;
    });
}

#[test]
fn an_lsa_suspends_and_does_not_resume() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let lsa = world.operator(&world.station, "lsa", TOP).await;
        let card = world.card().await;
        lsa.suspend(&card, "holder_request").await;
        let reply = lsa.try_resume(&card, "holder_request").await;
        refused_and_recorded(&world, reply, "role", "card.resume", &lsa.user_id).await;
        let reply = lsa.try_cancel(&card, "lost").await;
        refused_and_recorded(&world, reply, "role", "card.cancel", &lsa.user_id).await;
        world.issuer.resume(&card, "holder_request").await;
    });
}

#[test]
fn a_sponsor_asks_for_a_registration_and_does_not_make_one() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let sponsor = world.operator(&world.station, "sponsor", TOP).await;
        let reply = sponsor.try_register("Ada", "Lovelace", TOP).await;
        refused_and_recorded(&world, reply, "request-only", "person.register", &sponsor.user_id).await;
    });
}

#[test]
fn nobody_acts_on_the_own_record_but_where_the_policy_says_so() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let issuer = &world.issuer;
        let reply = issuer.try_allocate(&PaperCard::new(), &issuer.user_id).await;
        refused_and_recorded(&world, reply, "own-record", "card.issue", &issuer.user_id).await;
        let reply = issuer.try_cancel(&issuer.card, "left").await;
        refused_and_recorded(&world, reply, "own-record", "card.cancel", &issuer.user_id).await;
        let reply = issuer.try_check_identity(&issuer.user_id).await;
        refused_and_recorded(&world, reply, "own-record", "person.verify_identity", &issuer.user_id).await;
        show_person(issuer, &issuer.user_id).await.expect(200);

        // A holder without any role: the own card may be looked at and put on hold, and not taken off it.
        let card = world.card().await;
        let holder = world.station.login(&card).await;
        assert_eq!(holder.card(&card).await.state, "active");
        let reply = holder.try_resume(&card, "holder_request").await;
        assert_eq!(reply.refused_by("own-record").status, 403);
        holder.suspend(&card, "holder_request").await;
        assert_eq!(issuer.card(&card).await.state, "suspended");
    });
}

#[test]
fn whoever_checked_the_identity_does_not_issue_the_card() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let reply = world.checker.try_allocate(&PaperCard::new(), &person).await;
        refused_and_recorded(&world, reply, "checker-issues", "card.issue", &world.checker.user_id).await;
        let card = world.allocated(&person).await;
        let reply = world.checker.try_begin(&card, &card.request(IssuanceKind::Issue)).await;
        refused_and_recorded(&world, reply, "checker-issues", "card.issue", &world.checker.user_id).await;
    });
}

#[test]
fn a_right_reaches_as_far_as_the_organisation_it_is_held_in_and_those_below() {
    isolated(async |home| {
        let world = World::new(&home).await;
        world.add_organisation("RX1A", TOP).await;
        world.add_organisation("RX1AA", "RX1A").await;
        world.add_organisation("RX1B", TOP).await;
        let local = world.operator(&world.station, "ra_manager", "RX1A").await;
        for (organisation, within) in [(TOP, false), ("RX1A", true), ("RX1AA", true), ("RX1B", false)] {
            let reply = local.try_register("Ada", "Lovelace", organisation).await;
            if within {
                reply.expect(201);
            } else {
                refused_and_recorded(&world, reply, "scope", "person.register", &local.user_id).await;
            }
            let person = world.checker.active_person("Grace", "Hopper", organisation).await;
            let shown = show_person(&local, &person).await;
            let allocated = local.try_allocate(&PaperCard::new(), &person).await;
            if within {
                shown.expect(200);
                allocated.expect(201);
            } else {
                assert_eq!(shown.refused_by("scope").status, 403);
                refused_and_recorded(&world, allocated, "scope", "card.issue", &local.user_id).await;
            }
        }
        let page: api::Page<PersonView> = local.send(Ask::get(path("/people"))).await.expect(200).read();
        assert!(
            page.items.iter().all(|person| ["RX1A", "RX1AA"].contains(&person.organisation.as_str())),
            "a list shows who may be found: {page:?}"
        );
        assert_eq!(page.items.len(), 5, "two registered by each, and the operator: {page:?}");
    });
}

#[test]
fn a_list_is_read_page_by_page() {
    isolated(async |home| {
        let world = World::new(&home).await;
        for number in 0..7 {
            world.checker.try_register("Ada", &format!("Lovelace {number}"), TOP).await.expect(201);
        }
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page = world.issuer.send(Ask::get(path(&format!("/people?limit=2{after}")))).await.expect(200);
            let page: api::Page<PersonView> = page.read();
            assert!(page.items.len() <= 2);
            found.extend(page.items.into_iter().map(|person| person.user_id));
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(found.len(), 9, "seven, and two operators");
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
    });
}

#[test]
fn a_first_card_code_issues_that_card_and_nothing_else() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let (user_id, code) = world.operator_code("ra_agent", TOP).await;
        let session = world.station.login_with_code(&code).await;
        assert_eq!(session.person, user_id);
        for reply in [
            session.try_register("Ada", "Lovelace", TOP).await,
            session.try_allocate(&PaperCard::new(), &person).await,
            session.try_check_identity(&person).await,
            show_person(&session, &person).await,
        ] {
            assert_eq!(reply.refused_by("first-card").status, 403);
        }
        let again = SessionRequest::Code { secret: code.secret.to_vec().into() };
        world.station.send(post("/sessions", &again)).await.refused(403, "code-refused");

        let card = session.personalise(PaperCard::new(), &user_id).await;
        let reply = session.try_allocate(&PaperCard::new(), &user_id).await;
        assert_eq!(reply.status, 403, "one first card: {reply:?}");
        for reply in [session.try_suspend(&card, "investigation").await, session.try_cancel(&card, "lost").await] {
            assert_eq!(reply.refused_by("first-card").status, 403);
        }
        world.station.login(&card).await;
    });
}

#[test]
fn a_session_ends_when_the_operators_card_is_suspended_or_cancelled() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let agent = world.operator(&world.station, "ra_agent", TOP).await;
        let person = world.person().await;
        show_person(&agent, &person).await.expect(200);
        world.issuer.suspend(&agent.card, "investigation").await;
        show_person(&agent, &person).await.refused(401, "no-session");
        world.station.try_login(&agent.card).await.refused(401, "login-refused");
        assert_eq!(world.last_audit("session.open").await.outcome, "refused: login-refused");

        world.issuer.resume(&agent.card, "investigation").await;
        let session = world.station.login(&agent.card).await;
        show_person(&session, &person).await.expect(200);
        world.issuer.cancel(&agent.card, "left").await;
        show_person(&session, &person).await.refused(401, "no-session");
        world.station.try_login(&agent.card).await.refused(401, "login-refused");
    });
}

#[test]
fn a_session_belongs_to_its_station() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let elsewhere = world.enrol("desk-2.example").await;
        let stolen = RaSession { station: elsewhere.clone(), ..world.issuer.session.clone() };
        show_person(&stolen, &world.issuer.user_id).await.refused(401, "no-session");
        show_person(&world.issuer, &world.issuer.user_id).await.expect(200);

        // A nonce as well: one station's is not signed for at another.
        let challenge = world.station.challenge().await;
        let request = elsewhere.login_request(&world.issuer.card, &challenge);
        elsewhere.send(post("/sessions", &request)).await.refused(401, "login-refused");
    });
}

#[test]
fn a_session_ends_after_fifteen_minutes_without_use_and_after_eight_hours_with() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let look = async || show_person(&world.issuer, &world.issuer.user_id).await;
        for _ in 0..34 {
            world.clock.advance(minutes(14));
            look().await.expect(200);
        }
        world.clock.advance(minutes(5));
        look().await.refused(401, "no-session");

        let session = world.station.login(&world.issuer.card).await;
        world.advance(minutes(15) + Duration::from_secs(2)).await;
        show_person(&session, &session.person).await.refused(401, "no-session");
    });
}

#[test]
fn a_session_that_was_closed_is_over() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let session = world.station.login(&world.issuer.card).await;
        let close = || Ask::new(http::Method::DELETE, path("/sessions/current"));
        session.send(close()).await.expect(204);
        show_person(&session, &session.person).await.refused(401, "no-session");
        session.send(close()).await.refused(401, "no-session");
        show_person(&world.issuer, &world.issuer.user_id).await.expect(200);
    });
}

#[test]
fn a_nonce_logs_in_once_and_for_two_minutes() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let challenge = world.station.challenge().await;
        let request = world.station.login_request(&world.issuer.card, &challenge);
        let reply: SessionReply = world.station.send(post("/sessions", &request)).await.expect(201).read();
        assert_eq!(reply.person, world.issuer.user_id);
        world.station.send(post("/sessions", &request)).await.refused(401, "login-refused");

        let challenge = world.station.challenge().await;
        let request = world.station.login_request(&world.issuer.card, &challenge);
        world.advance(minutes(2) + Duration::from_secs(2)).await;
        world.station.send(post("/sessions", &request)).await.refused(401, "login-refused");
    });
}

#[test]
fn a_login_takes_the_authentication_certificate_and_its_key() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = &world.issuer.card;
        let attempt = async |card: &PaperCard, change: fn(&mut SessionRequest)| {
            let challenge = world.station.challenge().await;
            let mut request = world.station.login_request(card, &challenge);
            change(&mut request);
            world.station.send(post("/sessions", &request)).await.refused(401, "login-refused");
        };
        // By another key; with the signing pair; with a certificate that nobody knows; with none at all.
        attempt(&PaperCard { authentication: tests::card::new_key(), ..card.clone() }, |_| {}).await;
        let signing = PaperCard {
            authentication: card.signing.clone(),
            authentication_certificate: card.signing_certificate.clone(),
            ..card.clone()
        };
        attempt(&signing, |_| {}).await;
        attempt(&PaperCard { authentication_certificate: world.root(), ..card.clone() }, |_| {}).await;
        attempt(card, |request| {
            let SessionRequest::Card { certificate, .. } = request else { panic!("a login by card") };
            certificate.0.clear();
        })
        .await;
        attempt(card, |request| {
            let SessionRequest::Card { signature, .. } = request else { panic!("a login by card") };
            signature.0.clear();
        })
        .await;
        attempt(card, |request| {
            let SessionRequest::Card { nonce, .. } = request else { panic!("a login by card") };
            nonce.0[0] ^= 1;
        })
        .await;
        // A pending card does not log in yet.
        let (pending, issuance) = world.pending(&world.person().await).await;
        attempt(&pending, |_| {}).await;
        world.station.confirm(&pending, &issuance).await;
        world.station.login(&pending).await;
    });
}
