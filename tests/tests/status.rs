//! Cards on hold, off hold and cancelled: what OCSP and CRLs say, and when.

use api::cards::{CancelRequest, CardStatusReply};
use ca::certificate::CertificateState;
use pki::crl::{CrlEntry, EntryReason};
use pki::ocsp::CertStatus;
use pki::{CrlReason, Timestamp};
use server::clock::Clock;
use tests::clock::minutes;
use tests::desk::post;
use tests::{Ask, PaperCard, World, isolated};

/// What OCSP and a new CRL say of a certificate, which must be the same.
async fn published(world: &World, issuer: &str, certificate: &[u8]) -> Option<CrlEntry> {
    let status = world.ocsp(certificate).await;
    world.publish_crls().await;
    let entry = world.read_crl(issuer).await.entry(&world.record(certificate).id.serial).cloned();
    match (&status, &entry) {
        (CertStatus::Good, None) => {}
        (CertStatus::Revoked { at, reason }, Some(entry)) => {
            assert_eq!((*at, EntryReason::from(*reason)), (entry.at, entry.reason))
        }
        other => panic!("OCSP and CRL differ: {other:?}"),
    }
    entry
}

async fn published_pair(world: &World, card: &PaperCard) -> [Option<CrlEntry>; 2] {
    [
        published(world, "authentication-1", &card.authentication_certificate).await,
        published(world, "signing-1", &card.signing_certificate).await,
    ]
}

fn assert_on_hold(pair: &[Option<CrlEntry>; 2]) {
    assert!(pair.iter().flatten().filter(|entry| entry.reason == CrlReason::CertificateHold).count() == 2, "{pair:?}");
}

fn assert_all_know(reply: &CardStatusReply) {
    assert!(reply.published.responders >= 1, "{:?}", reply.published);
    assert_eq!(reply.published.seen_by, reply.published.responders, "{:?}", reply.published);
}

// conformance: O3, C8
#[test]
fn a_card_held_for_two_reasons_stays_on_hold_when_one_goes() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        assert_eq!(published_pair(&world, &card).await, [None, None]);

        let reply = world.issuer.suspend(&card, "investigation").await;
        assert_all_know(&reply);
        assert_eq!(
            (reply.card.state.as_str(), &reply.card.holds[..]),
            ("suspended", &["investigation".to_owned()][..])
        );
        let first = published_pair(&world, &card).await;
        assert_on_hold(&first);

        let reply = world.issuer.suspend(&card, "holder_request").await;
        assert_eq!(reply.card.holds.len(), 2);
        let reply = world.issuer.resume(&card, "investigation").await;
        assert_eq!(
            (reply.card.state.as_str(), &reply.card.holds[..]),
            ("suspended", &["holder_request".to_owned()][..])
        );
        assert_eq!(published_pair(&world, &card).await, first, "the hold and its date stay");

        let before = world.clock.now().whole_seconds();
        let reply = world.issuer.resume(&card, "holder_request").await;
        assert_all_know(&reply);
        assert_eq!((reply.card.state.as_str(), reply.card.holds.len()), ("active", 0));
        assert_eq!(published_pair(&world, &card).await, [None, None]);
        let answer = world.ocsp_answer(&card.authentication_certificate).await;
        assert!(answer.status == CertStatus::Good && answer.this_update >= before, "{answer:?}");
    });
}

#[test]
fn a_card_comes_off_hold_only_for_a_reason_that_it_has() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        world.issuer.try_resume(&card, "investigation").await.refused(409, "state");
        world.issuer.suspend(&card, "investigation").await;
        world.issuer.try_resume(&card, "reported_lost").await.refused(409, "state");
        world.issuer.try_suspend(&card, "investigation").await.refused(409, "state");
        let problem = world.issuer.try_suspend(&card, "bad_weather").await.refused(422, "invalid");
        assert_eq!(problem.errors[0].field, "reason");
        assert!(problem.errors[0].rule.contains("reported_lost"), "{problem:?}");
        assert_on_hold(&published_pair(&world, &card).await);
    });
}

#[test]
fn a_card_that_is_reported_lost_is_on_hold_at_once() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        let ask = Ask::post(tests::desk::path(&format!("/cards/{}/report-lost", card.serial)));
        let reply: CardStatusReply = world.checker.send(ask).await.expect(200).read();
        assert_eq!(reply.card.holds, ["reported_lost"]);
        assert_on_hold(&published_pair(&world, &card).await);
        world.issuer.resume(&card, "reported_lost").await;
        assert_eq!(world.ocsp(&card.authentication_certificate).await, CertStatus::Good);
    });
}

#[test]
fn ocsp_knows_of_a_change_before_the_reply_is_here_even_where_an_answer_was_cached() {
    isolated(async |home| {
        let world = World::new(&home).await;
        for _ in 0..10 {
            let card = world.card().await;
            let certificate = &card.authentication_certificate;
            for _ in 0..2 {
                assert_eq!(world.ocsp_without_nonce(certificate).await, CertStatus::Good);
                assert_all_know(&world.issuer.suspend(&card, "investigation").await);
                let status = world.ocsp_without_nonce(certificate).await;
                assert!(matches!(status, CertStatus::Revoked { .. }), "{status:?}");
                assert_all_know(&world.issuer.resume(&card, "investigation").await);
            }
            assert_eq!(world.ocsp_without_nonce(certificate).await, CertStatus::Good);
            assert_all_know(&world.issuer.cancel(&card, "lost").await);
            let status = world.ocsp_without_nonce(certificate).await;
            assert!(matches!(status, CertStatus::Revoked { .. }), "{status:?}");
        }
    });
}

// conformance: O2
#[test]
fn each_cause_revokes_with_a_reason_by_purpose_and_signing_never_with_key_compromise() {
    isolated(async |home| {
        let world = World::new(&home).await;
        for (cause, authentication, signing) in [
            ("lost", CrlReason::KeyCompromise, CrlReason::CessationOfOperation),
            ("stolen", CrlReason::KeyCompromise, CrlReason::CessationOfOperation),
            ("damaged", CrlReason::Superseded, CrlReason::Superseded),
            ("superseded", CrlReason::Superseded, CrlReason::Superseded),
            ("left", CrlReason::CessationOfOperation, CrlReason::CessationOfOperation),
            ("misuse", CrlReason::PrivilegeWithdrawn, CrlReason::PrivilegeWithdrawn),
        ] {
            let card = world.card().await;
            let reply = world.issuer.cancel(&card, cause).await;
            assert_all_know(&reply);
            assert_eq!((reply.card.state.as_str(), reply.card.cause.as_deref()), ("cancelled", Some(cause)));
            let pair = published_pair(&world, &card).await;
            assert_eq!(
                pair.each_ref().map(|entry| entry.as_ref().unwrap().reason),
                [authentication, signing],
                "{cause}"
            );
            world.issuer.try_resume(&card, "investigation").await.refused(409, "state");
            world.issuer.try_cancel(&card, cause).await.refused(409, "state");
        }
    });
}

// conformance: C9
#[test]
fn a_hold_that_is_made_final_changes_its_reason_and_keeps_its_date() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        world.issuer.suspend(&card, "reported_lost").await;
        let [held, _] = published_pair(&world, &card).await;
        world.advance(minutes(10)).await;
        world.issuer.cancel(&card, "lost").await;
        let [revoked, _] = published_pair(&world, &card).await;
        let (held, revoked) = (held.unwrap(), revoked.unwrap());
        assert_eq!(revoked.at, held.at);
        assert_eq!((held.reason, revoked.reason), (CrlReason::CertificateHold.into(), CrlReason::KeyCompromise.into()));
    });
}

// conformance: C14
#[test]
fn a_stolen_card_says_since_when_its_authentication_key_is_not_to_be_trusted() {
    isolated(async |home| {
        let mut world = World::new(&home).await;
        let card = world.card().await;
        // A slip of the finger in the year would revoke with a date that no CRL can carry.
        for slip in ["1960-01-01T00:00:00Z", "0026-11-22T00:00:00Z"] {
            let request = CancelRequest { cause: "stolen".to_owned(), compromised_since: Some(slip.to_owned()) };
            let reply = world.issuer.send(post(&format!("/cards/{}/cancel", card.serial), &request)).await;
            reply.refused(422, "invalid");
        }
        world.advance(minutes(200)).await;
        world.login_again().await;
        let since = world.clock.now().whole_seconds().minus(minutes(180));
        let request = CancelRequest { cause: "stolen".to_owned(), compromised_since: Some(since.to_string()) };
        world.issuer.send(post(&format!("/cards/{}/cancel", card.serial), &request)).await.expect(200);
        let [authentication, signing] = published_pair(&world, &card).await.map(Option::unwrap);
        assert_eq!(authentication.invalidity_date, Some(since));
        assert_eq!(signing.invalidity_date, None);

        let later = world.card().await;
        let future = CancelRequest {
            cause: "stolen".to_owned(),
            compromised_since: Some(world.clock.now().plus(minutes(60)).to_string()),
        };
        world.issuer.send(post(&format!("/cards/{}/cancel", later.serial), &future)).await.expect(200);
        let [authentication, _] = published_pair(&world, &later).await.map(Option::unwrap);
        assert!(authentication.invalidity_date.unwrap() <= authentication.at);
    });
}

// conformance: C6
#[test]
fn crl_numbers_rise_over_restarts() {
    isolated(async |home| {
        let mut world = World::new(&home).await;
        let mut last = None;
        for _ in 0..2 {
            for _ in 0..3 {
                world.publish_crls().await;
                let number = world.read_crl("signing-1").await.description().number;
                assert!(last.is_none_or(|last| number > last), "{number:?} after {last:?}");
                last = Some(number);
            }
            world = world.restart().await;
        }
    });
}

// conformance: C2
#[test]
fn crls_are_made_anew_when_they_are_due() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let before = world.read_crl("authentication-1").await;
        world.advance(minutes(61)).await;
        let after = tests::eventually("the next CRL", async || {
            let crl = world.read_crl("authentication-1").await;
            (crl.description().number > before.description().number).then_some(crl)
        })
        .await;
        let (before, after) = (before.description(), after.description());
        assert!(after.this_update >= before.this_update.plus(minutes(60)));
        assert!(after.next_update >= after.this_update.plus(minutes(24 * 60)));
    });
}

#[test]
fn suspending_a_card_leaves_the_certificates_of_an_earlier_life_as_they_are() {
    isolated(async |home| {
        let world = World::with(&home, &tests::Options::short_lived_cards()).await;
        let card = world.card().await;
        let mut world = world;
        world.advance(tests::clock::days(35)).await;
        world.login_again().await;
        let renewed = world.issuer.renew(&card).await;
        world.issuer.suspend(&renewed, "investigation").await;
        let old = |world: &World| world.record(&card.authentication_certificate).state;
        let revoked = |state: &CertificateState| -> Timestamp {
            let CertificateState::Revoked { at, reason: CrlReason::Superseded, .. } = state else {
                panic!("{state:?}")
            };
            *at
        };
        let at = revoked(&old(&world));
        world.issuer.resume(&renewed, "investigation").await;
        assert_eq!(revoked(&old(&world)), at);
        world.issuer.cancel(&renewed, "stolen").await;
        assert_eq!(revoked(&old(&world)), at, "what was superseded stays so");
    });
}
