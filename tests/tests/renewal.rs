//! New keys and certificates on a card in use: what was there stays good until the new pair is confirmed.

use std::time::Duration;

use api::cards::IssuanceKind;
use ca::certificate::CertificateState;
use pki::CrlReason;
use pki::ocsp::CertStatus;
use tests::clock::{days, minutes};
use tests::deployment::TOP;
use tests::{Home, Options, PaperCard, World, eventually, isolated};

/// Card certificates live 40 days, and can be renewed in the last 10.
async fn world(home: &Home) -> World {
    World::with(home, &Options::short_lived_cards()).await
}

async fn in_the_renewal_window(world: &mut World) {
    world.advance(days(35)).await;
    world.login_again().await;
}

async fn statuses(world: &World, card: &PaperCard) -> [CertStatus; 2] {
    [world.ocsp(&card.authentication_certificate).await, world.ocsp(&card.signing_certificate).await]
}

async fn assert_superseded(world: &World, card: &PaperCard) {
    for status in statuses(world, card).await {
        assert!(matches!(status, CertStatus::Revoked { reason: CrlReason::Superseded, .. }), "{status:?}");
    }
}

#[test]
fn a_card_is_renewed_in_its_window_and_the_old_pair_is_superseded_with_the_confirmation() {
    isolated(async |home| {
        let mut world = world(&home).await;
        let old = world.card().await;
        let new = old.with_new_keys();
        let request = new.request(IssuanceKind::Renew);
        let early = world.issuer.try_begin(&new, &request).await.refused(409, "not-in-renewal-window");
        assert!(early.detail.contains(&old.serial), "{early:?}");
        world.advance(days(29)).await;
        world.login_again().await;
        world.issuer.try_begin(&new, &request).await.refused(409, "not-in-renewal-window");
        world.advance(days(1)).await;
        world.login_again().await;

        let issuance = world.issuer.begin(&new, IssuanceKind::Renew).await;
        let new = new.with_certificates(&issuance);
        assert_eq!(statuses(&world, &old).await, [CertStatus::Good; 2]);
        assert_eq!(world.issuer.card(&old).await.state, "active");
        world.station.login(&old).await;
        world.station.try_login(&new).await.refused(401, "login-refused");

        let position = world.service.store.feed_position().unwrap().sequence;
        world.station.confirm(&new, &issuance).await;
        assert_eq!(statuses(&world, &new).await, [CertStatus::Good; 2]);
        assert_superseded(&world, &old).await;
        world.station.login(&new).await;
        world.station.try_login(&old).await.refused(401, "login-refused");

        // In one commit: four changes of status, one after the other, and all at the same time.
        assert_eq!(world.service.store.feed_position().unwrap().sequence, position + 4);
        let CertificateState::Good { since } = world.record(&new.signing_certificate).state else { panic!("not good") };
        for certificate in [&old.authentication_certificate, &old.signing_certificate] {
            let CertificateState::Revoked { at, .. } = world.record(certificate).state else { panic!("not revoked") };
            assert_eq!(at, since);
        }
        let shown = world.issuer.card(&new).await;
        assert_eq!((shown.state.as_str(), shown.certificates.len()), ("active", 4));
    });
}

#[test]
fn a_card_whose_certificates_have_expired_is_not_renewed() {
    isolated(async |home| {
        let mut world = world(&home).await;
        let card = world.card().await;
        world.advance(days(30)).await;
        // The operators' cards are as old; a colleague's is not.
        let colleague = world.operator(&world.station, "ra_agent", TOP).await;
        world.advance(days(10)).await;
        world.issuer.session = world.station.login(&colleague.card).await;
        let new = card.with_new_keys();
        let refused = world.issuer.try_begin(&new, &new.request(IssuanceKind::Renew)).await.refused(409, "expired");
        assert!(refused.detail.contains("repair") || refused.title.contains("late"), "{refused:?}");
        world.station.try_login(&card).await.refused(401, "login-refused");
    });
}

#[test]
fn a_card_on_hold_is_not_renewed() {
    isolated(async |home| {
        let mut world = world(&home).await;
        let card = world.card().await;
        in_the_renewal_window(&mut world).await;
        world.issuer.suspend(&card, "investigation").await;
        let new = card.with_new_keys();
        world.issuer.try_begin(&new, &new.request(IssuanceKind::Renew)).await.refused(409, "state");
        world.issuer.resume(&card, "investigation").await;
        let renewed = world.issuer.renew(&card).await;
        assert_eq!(statuses(&world, &renewed).await, [CertStatus::Good; 2]);
    });
}

#[test]
fn a_renewal_is_not_confirmed_while_the_card_is_on_hold() {
    isolated(async |home| {
        let mut world = world(&home).await;
        let old = world.card().await;
        in_the_renewal_window(&mut world).await;
        let new = old.with_new_keys();
        let issuance = world.issuer.begin(&new, IssuanceKind::Renew).await;
        let new = new.with_certificates(&issuance);
        world.issuer.suspend(&old, "reported_lost").await;
        world.station.try_confirm(&new, &issuance).await.refused(409, "state");
        for card in [&old, &new] {
            for status in statuses(&world, card).await {
                let held = matches!(status, CertStatus::Revoked { reason: CrlReason::CertificateHold, .. });
                assert!(held, "{status:?}");
            }
        }
        world.issuer.resume(&old, "reported_lost").await;
        assert_eq!(statuses(&world, &old).await, [CertStatus::Good; 2]);
        for status in statuses(&world, &new).await {
            assert!(matches!(status, CertStatus::Revoked { .. }), "resuming confirms nothing: {status:?}");
        }
        world.station.confirm(&new, &issuance).await;
        assert_eq!(statuses(&world, &new).await, [CertStatus::Good; 2]);
        assert_superseded(&world, &old).await;
    });
}

#[test]
fn a_renewal_that_is_not_finished_leaves_the_holder_with_a_card_that_works() {
    isolated(async |home| {
        let mut world = world(&home).await;
        let old = world.card().await;
        in_the_renewal_window(&mut world).await;
        for give_up in [true, false] {
            let new = old.with_new_keys();
            let issuance = world.issuer.begin(&new, IssuanceKind::Renew).await;
            let new = new.with_certificates(&issuance);
            if give_up {
                world.station.abort(&issuance).await.expect(200);
            } else {
                world.advance(minutes(15) + Duration::from_secs(2)).await;
                world.login_again().await;
            }
            eventually("the end of the renewal", async || {
                world.issuer.card(&old).await.issuance.is_none().then_some(())
            })
            .await;
            assert_eq!(statuses(&world, &old).await, [CertStatus::Good; 2]);
            for certificate in [&new.authentication_certificate, &new.signing_certificate] {
                let status = world.ocsp_until(certificate, |_| true).await;
                assert!(matches!(status, CertStatus::Revoked { .. }), "{status:?}");
            }
            assert_eq!(world.issuer.card(&old).await.state, "active");
            world.station.login(&old).await;
        }
        let renewed = world.issuer.renew(&old).await;
        assert_eq!(statuses(&world, &renewed).await, [CertStatus::Good; 2]);
    });
}

#[test]
fn a_card_that_is_cancelled_during_its_renewal_loses_both_pairs() {
    isolated(async |home| {
        let mut world = world(&home).await;
        let old = world.card().await;
        in_the_renewal_window(&mut world).await;
        let new = old.with_new_keys();
        let issuance = world.issuer.begin(&new, IssuanceKind::Renew).await;
        let new = new.with_certificates(&issuance);
        world.issuer.cancel(&old, "stolen").await;
        let [authentication, signing] = statuses(&world, &old).await;
        assert!(matches!(authentication, CertStatus::Revoked { reason: CrlReason::KeyCompromise, .. }));
        assert!(matches!(signing, CertStatus::Revoked { reason: CrlReason::CessationOfOperation, .. }));
        for status in statuses(&world, &new).await {
            let revoked = matches!(status, CertStatus::Revoked { reason: CrlReason::CessationOfOperation, .. });
            assert!(revoked, "{status:?}");
        }
        world.station.try_confirm(&new, &issuance).await.refused(409, "issuance-ended");
    });
}

#[test]
fn holders_renew_their_own_cards_and_nobody_elses() {
    isolated(async |home| {
        let mut world = world(&home).await;
        let (own, others) = (world.card().await, world.card().await);
        in_the_renewal_window(&mut world).await;
        let holder = world.station.login(&own).await;
        let reply =
            holder.try_begin(&others.with_new_keys(), &others.with_new_keys().request(IssuanceKind::Renew)).await;
        assert_eq!(reply.refused_by("role").status, 403);
        let renewed = holder.renew(&own).await;
        assert_eq!(statuses(&world, &renewed).await, [CertStatus::Good; 2]);
    });
}

// conformance: R8
#[test]
fn a_renewal_takes_new_keys() {
    isolated(async |home| {
        let mut world = world(&home).await;
        let card = world.card().await;
        in_the_renewal_window(&mut world).await;
        let before = world.card_certificates();
        let reply = world.issuer.try_begin(&card, &card.request(IssuanceKind::Renew)).await;
        reply.refused(422, "request-refused");
        reply.refused_by("R8");
        assert_eq!(world.card_certificates(), before);
        assert_eq!(statuses(&world, &card).await, [CertStatus::Good; 2]);
    });
}

// Whoever may renew another's card must not become its holder by that.
#[test]
fn nobody_renews_a_card_that_is_not_in_the_reader() {
    isolated(async |home| {
        let mut world = world(&home).await;
        let card = world.card().await;
        in_the_renewal_window(&mut world).await;
        let mut request = card.with_new_keys().request(IssuanceKind::Renew);
        request.possession = None;
        let reply = world.issuer.try_begin(&card, &request).await;
        assert_eq!(reply.refused_by("card-present").status, 403);
        // Nor by keys that are on no card, signed by one of them.
        let elsewhere = tests::PaperCard { serial: card.serial.clone(), ..tests::PaperCard::new() };
        let reply = world.issuer.try_begin(&card, &elsewhere.request(IssuanceKind::Renew)).await;
        assert_eq!(reply.refused_by("card-present").status, 403);
        assert_eq!(statuses(&world, &card).await, [CertStatus::Good; 2]);
        world.issuer.renew(&card).await;
    });
}
