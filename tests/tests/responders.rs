//! OCSP responders in processes of their own: they follow one CA, and each says at once what it says.

use api::responders::SignerKeys;
use pki::CrlReason;
use pki::ocsp::{CertStatus, ErrorStatus, ResponseError};
use server::clock::Clock;
use tests::responder::make_token;
use tests::{Options, RemoteResponder, World, eventually, isolated};

/// A deployment with so many responders that follow it.
async fn world_with(world: &World, count: u16) -> Vec<RemoteResponder> {
    let mut responders = Vec::new();
    for number in 1..=count {
        let mut responder = world.enrol_responder(number).await;
        responder.start().await;
        responders.push(responder);
    }
    world.followed_by(usize::from(count) + 1).await;
    responders
}

fn is_revoked(status: &CertStatus, reason: CrlReason) -> bool {
    matches!(status, CertStatus::Revoked { reason: is, .. } if *is == reason)
}

// conformance: O1, O2, O3, O5, O10, O12
#[test]
fn every_responder_answers_as_the_ca_does_and_a_cancels_reply_counts_those_who_have_seen_it() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let before = world.card().await;
        let responders = world_with(&world, 3).await;
        let person = world.person().await;
        let (waiting, _) = world.pending(&person).await;
        let card = world.card().await;
        for responder in &responders {
            for certificate in [&before.authentication_certificate, &card.authentication_certificate] {
                assert_eq!(responder.ocsp(&world, certificate).await, CertStatus::Good, "{}", responder.name);
            }
            assert_eq!(responder.ocsp(&world, &card.signing_certificate).await, CertStatus::Good);
            let held = responder.ocsp(&world, &waiting.authentication_certificate).await;
            assert!(is_revoked(&held, CrlReason::CertificateHold), "{held:?}");
        }

        // Kept answers are dropped too: all were asked before.
        let reply = world.issuer.suspend(&card, "investigation").await;
        assert_eq!((reply.published.seen_by, reply.published.connected, reply.published.responders), (4, 4, 4));
        for responder in &responders {
            let held = responder.ocsp(&world, &card.authentication_certificate).await;
            assert!(is_revoked(&held, CrlReason::CertificateHold), "{}: {held:?}", responder.name);
        }
        let reply = world.issuer.resume(&card, "investigation").await;
        assert_eq!((reply.published.seen_by, reply.published.responders), (4, 4));
        for responder in &responders {
            assert_eq!(responder.ocsp(&world, &card.authentication_certificate).await, CertStatus::Good);
        }
        let reply = world.issuer.cancel(&card, "lost").await;
        assert_eq!((reply.published.seen_by, reply.published.responders), (4, 4));
        for responder in &responders {
            for certificate in [&card.authentication_certificate, &card.signing_certificate] {
                let status = responder.ocsp(&world, certificate).await;
                assert!(matches!(status, CertStatus::Revoked { .. }), "{}: {status:?}", responder.name);
            }
        }

        // Each has signers of its own, of the CA that each certificate is of.
        let mut delegates = Vec::new();
        for responder in &responders {
            let answer =
                world.ask_ocsp_at(&responder.public(), &before.authentication_certificate, None).await.unwrap();
            delegates.push(answer.delegate.expect("a delegate").public_key().key_bits().to_vec());
        }
        delegates.sort();
        delegates.dedup();
        assert_eq!(delegates.len(), 3);
    });
}

#[test]
fn a_responder_that_is_away_is_counted_and_not_waited_for_and_comes_back_with_all_that_it_missed() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let mut responders = world_with(&world, 2).await;
        let card = world.card().await;
        assert_eq!(responders[0].ocsp(&world, &card.authentication_certificate).await, CertStatus::Good);
        responders[0].kill();
        eventually("a responder that is seen to be away", async || {
            let all = world.responders().await;
            all.iter().any(|one| one.name == "responder-1" && !one.connected).then_some(())
        })
        .await;
        let reply = world.issuer.cancel(&card, "lost").await;
        assert_eq!((reply.published.seen_by, reply.published.connected, reply.published.responders), (2, 2, 3));
        responders[0].start().await;
        // Ready means that it has seen a heartbeat, so all that was before it.
        let status = responders[0].ocsp(&world, &card.authentication_certificate).await;
        assert!(matches!(status, CertStatus::Revoked { .. }), "{status:?}");
        world.followed_by(3).await;
        responders[0].stop().await;
        responders[1].stop().await;
    });
}

/// Answers are withheld soon, so that a test can wait for it.
fn withheld_soon() -> Options {
    let config = vec![
        ("feed_heartbeat = \"1s\"", "feed_heartbeat = \"200ms\""),
        ("feed_stale = \"5s\"", "feed_stale = \"3s\""),
        ("feed_withhold_authentication = \"5m\"", "feed_withhold_authentication = \"6s\""),
    ];
    Options { config, ..Options::default() }
}

// conformance: O6
#[test]
fn while_the_ca_is_away_answers_go_on_to_the_limit_and_then_it_is_try_later() {
    isolated(async |home| {
        let world = World::with(&home, &withheld_soon()).await;
        let responder = world_with(&world, 1).await.remove(0);
        let (card, lost) = (world.card().await, world.card().await);
        world.issuer.cancel(&lost, "lost").await;
        assert_eq!(responder.ocsp(&world, &card.authentication_certificate).await, CertStatus::Good);
        responder.is_well().await;
        let before = world.clock.now();
        let World { deployment, station, checker, issuer } = world;
        let site = deployment.stop().await;
        let last = site.clock.now();

        // It goes on, and what it says is never younger than the last heartbeat.
        let answer = site.ask_ocsp_at(&responder.public(), &card.authentication_certificate, Some(&[1; 16])).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, CertStatus::Good);
        assert!(answer.this_update >= before.whole_seconds().minus(std::time::Duration::from_secs(1)));
        responder.says(200, "stale").await;
        let answer = site.ask_ocsp_at(&responder.public(), &card.authentication_certificate, Some(&[2; 16])).await;
        assert!(answer.is_ok_and(|answer| answer.this_update <= last));
        let revoked = site.ocsp_at(&responder.public(), &lost.authentication_certificate).await;
        assert!(matches!(revoked, CertStatus::Revoked { .. }));

        responder.says(503, "withheld").await;
        for nonce in [None, Some(&[3; 16][..])] {
            for certificate in [&card.authentication_certificate, &lost.authentication_certificate] {
                let withheld = site.ask_ocsp_at(&responder.public(), certificate, nonce).await;
                assert_eq!(withheld.unwrap_err(), ResponseError::Status(ErrorStatus::TryLater));
            }
            // The others' limit is an hour.
            let other = site.ask_ocsp_at(&responder.public(), &card.signing_certificate, nonce).await;
            assert_eq!(other.unwrap().status, CertStatus::Good);
        }
        let log = responder.words();
        for word in ["stale", "withheld"] {
            assert!(log.contains(word), "{word:?} is logged: {log}");
        }

        let world = World { deployment: site.start().await, station, checker, issuer };
        responder.is_well().await;
        assert_eq!(responder.ocsp(&world, &card.authentication_certificate).await, CertStatus::Good);
        world.followed_by(2).await;
        let reply = world.issuer.cancel(&card, "lost").await;
        assert_eq!((reply.published.seen_by, reply.published.responders), (2, 2));
    });
}

// conformance: O6
#[test]
fn a_start_without_the_ca_takes_the_replica_from_disk_and_answers_as_soon_as_somebody_signs() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let mut responder = world_with(&world, 1).await.remove(0);
        let card = world.card().await;
        world.issuer.cancel(&card, "lost").await;
        responder.stop().await;
        let World { deployment, station, checker, issuer } = world;
        let site = deployment.stop().await;

        // Keys in memory go with the process, and only the CA certifies new ones.
        responder.spawn(responder.command(&["run"]));
        responder.says(503, "signer").await;
        let answer = site.ask_ocsp_at(&responder.public(), &card.authentication_certificate, None).await;
        assert_eq!(answer.unwrap_err(), ResponseError::Status(ErrorStatus::TryLater));
        let world = World { deployment: site.start().await, station, checker, issuer };
        responder.ready().await;
        let status = responder.ocsp(&world, &card.authentication_certificate).await;
        assert!(matches!(status, CertStatus::Revoked { .. }));
    });
}

/// A responder whose signer keys are in a token of their own.
async fn responder_with_token(world: &World, number: u16) -> RemoteResponder {
    let pin = world.home.file("ocsp.pin");
    make_token("ocsp", "4711-ocsp", &pin);
    let pin = format!("pin_file = {:?}", pin.display().to_string());
    let changes = [
        ("keys = \"memory\"", "keys = \"token\""),
        ("token = \"cardinal-ocsp\"", "token = \"ocsp\""),
        ("pin_file = \"secrets/ocsp.pin\"", pin.as_str()),
    ];
    world.enrol_responder_with(number, SignerKeys::Token, &changes).await
}

// conformance: O12
#[test]
fn keys_in_a_token_answer_after_a_restart_without_the_ca() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let mut responder = responder_with_token(&world, 1).await;
        responder.start().await;
        let (card, lost) = (world.card().await, world.card().await);
        world.followed_by(2).await;
        world.issuer.cancel(&lost, "lost").await;
        let first = world.ask_ocsp_at(&responder.public(), &card.authentication_certificate, None).await.unwrap();
        let World { deployment, .. } = world;
        let site = deployment.stop().await;
        responder.stop().await;
        responder.start().await;
        assert_eq!(responder.ocsp(&site, &card.authentication_certificate).await, CertStatus::Good);
        let revoked = responder.ocsp(&site, &lost.authentication_certificate).await;
        assert!(matches!(revoked, CertStatus::Revoked { .. }));
        let again = site.ask_ocsp_at(&responder.public(), &card.authentication_certificate, None).await.unwrap();
        assert_eq!(again.delegate, first.delegate, "the same key with the same certificate");
        assert!(again.this_update <= again.produced_at && again.produced_at < again.next_update);
    });
}
