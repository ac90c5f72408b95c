//! An issuance that is interrupted is taken up again with the same certificates, or undone; and nothing in between.

use std::time::Duration;

use api::cards::{ConfirmationRequest, IssuanceKind, IssuanceView};
use pki::CrlReason;
use pki::crl::EntryReason;
use pki::ocsp::CertStatus;
use server::steps::Step;
use tests::clock::minutes;
use tests::desk::{path, post};
use tests::{Ask, Options, PaperCard, Reply, World, eventually, isolated};

async fn assert_revoked(world: &World, card: &PaperCard, wanted: CrlReason) {
    for certificate in [&card.authentication_certificate, &card.signing_certificate] {
        let on_hold =
            |status: &CertStatus| matches!(status, CertStatus::Revoked { reason: CrlReason::CertificateHold, .. });
        let status = world.ocsp_until(certificate, |status| !on_hold(status)).await;
        assert!(matches!(status, CertStatus::Revoked { reason, .. } if reason == wanted), "{status:?}");
    }
}

async fn assert_good(world: &World, card: &PaperCard) {
    for certificate in [&card.authentication_certificate, &card.signing_certificate] {
        assert_eq!(world.ocsp(certificate).await, CertStatus::Good);
    }
}

async fn issuance(world: &World, id: &str) -> IssuanceView {
    world.station.send(Ask::get(path(&format!("/issuances/{id}")))).await.expect(200).read()
}

/// The card is as it was before, and can be issued with new keys.
async fn assert_can_be_issued_anew(world: &World, card: &PaperCard) {
    let shown = world.issuer.card(card).await;
    assert_eq!((shown.state.as_str(), shown.issuance.as_deref()), ("allocated", None));
    let anew = card.with_new_keys();
    let issuance = world.issuer.begin(&anew, IssuanceKind::Issue).await;
    world.station.confirm(&anew, &issuance).await;
    assert_good(world, &anew.with_certificates(&issuance)).await;
}

#[test]
fn a_station_that_lost_its_link_before_the_confirmation_goes_on_with_the_same_certificates() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        // All that the station still knows is its card.
        let found: IssuanceView = world.station.open_issuance(&card).await.expect(200).read();
        assert_eq!(found, begun);
        assert_eq!(issuance(&world, &begun.id).await, begun);
        world.station.confirm(&card, &found).await;
        assert_good(&world, &card).await;
        world.station.open_issuance(&card).await.refused(404, "not-found");
    });
}

#[test]
fn an_issuance_outlives_a_restart_of_the_service() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        let world = world.restart().await;
        let found: IssuanceView = world.station.open_issuance(&card).await.expect(200).read();
        assert_eq!(found, begun);
        world.station.confirm(&card, &found).await;
        assert_good(&world, &card).await;
    });
}

#[test]
fn what_nobody_confirms_in_fifteen_minutes_is_revoked_and_the_card_is_free() {
    isolated(async |home| {
        let mut world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        let (late, other) = world.pending(&world.person().await).await;
        world.advance(minutes(14)).await;
        world.login_again().await;
        assert_eq!(issuance(&world, &begun.id).await.state, "pending");
        world.station.confirm(&late, &other).await;

        world.advance(minutes(1) + Duration::from_secs(2)).await;
        eventually("the time-out", async || (issuance(&world, &begun.id).await.state == "undone").then_some(())).await;
        assert_revoked(&world, &card, CrlReason::CessationOfOperation).await;
        world.station.try_confirm(&card, &begun).await.refused(409, "issuance-ended");
        assert_good(&world, &late).await;
        assert_eq!(world.last_audit("card.undo").await.outcome, "failed: timed out");
        assert_can_be_issued_anew(&world, &card).await;
    });
}

#[test]
fn a_confirmation_that_comes_too_late_is_refused_even_before_the_clean_up() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        world.clock.advance(minutes(15) + Duration::from_secs(2));
        world.station.try_confirm(&card, &begun).await.refused(409, "issuance-ended");
    });
}

#[test]
fn a_restart_after_the_time_out_undoes_what_was_left() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        let World { deployment, station, checker, issuer } = world;
        let site = deployment.stop().await;
        site.clock.advance(minutes(16));
        let mut world = World { deployment: site.start().await, station, checker, issuer };
        assert_eq!(issuance(&world, &begun.id).await.state, "undone");
        assert_revoked(&world, &card, CrlReason::CessationOfOperation).await;
        world.login_again().await;
        assert_can_be_issued_anew(&world, &card).await;
    });
}

#[test]
fn an_issuance_that_the_station_gives_up_is_undone() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        let undone: IssuanceView = world.station.abort(&begun).await.expect(200).read();
        assert_eq!(undone.state, "undone");
        assert_revoked(&world, &card, CrlReason::CessationOfOperation).await;
        world.station.try_confirm(&card, &begun).await.refused(409, "issuance-ended");
        world.station.abort(&begun).await.refused(409, "issuance-ended");
        assert_eq!(world.last_audit("card.undo").await.outcome, "failed: aborted");
        assert_can_be_issued_anew(&world, &card).await;
    });
}

#[test]
fn a_confirmation_takes_both_new_keys_over_what_was_issued() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        let (_, elsewhere) = world.pending(&world.person().await).await;
        let right = card.confirmation(&begun);
        let address = format!("/issuances/{}/confirmation", begun.id);
        let refused = async |confirmation: ConfirmationRequest| -> Reply {
            let reply = world.station.send(post(&address, &confirmation)).await;
            reply.refused(422, "not-confirmed");
            reply
        };
        let forged = |good: &api::Base64| {
            let mut octets = good.0.clone();
            *octets.last_mut().unwrap() ^= 1;
            api::Base64(octets)
        };
        let none = api::Base64::default();
        refused(ConfirmationRequest { authentication: forged(&right.authentication), ..right.clone() }).await;
        refused(ConfirmationRequest { signing: forged(&right.signing), ..right.clone() }).await;
        refused(ConfirmationRequest { authentication: none.clone(), ..right.clone() }).await;
        refused(ConfirmationRequest { signing: none, ..right.clone() }).await;
        refused(ConfirmationRequest { authentication: right.signing.clone(), signing: right.authentication.clone() })
            .await;
        refused(ConfirmationRequest { signing: right.authentication.clone(), ..right.clone() }).await;
        // Over another issuance's nonce and certificates, over certificates that were read back changed, by other keys.
        refused(card.confirmation(&elsewhere)).await;
        let mut read_back = begun.clone();
        read_back.signing.certificate.as_mut().unwrap().0.push(0);
        refused(card.confirmation(&read_back)).await;
        refused(card.with_new_keys().confirmation(&begun)).await;
        // With one of them missing altogether it is no confirmation.
        let half = serde_json::json!({ "authentication": right.authentication });
        world.station.send(post(&address, &half)).await.refused(400, "body");

        assert_eq!(issuance(&world, &begun.id).await.state, "pending");
        assert_ne!(world.ocsp(&card.authentication_certificate).await, CertStatus::Good);
        world.station.send(post(&address, &right)).await.expect(200);
        assert_good(&world, &card).await;
        world.station.send(post(&address, &right)).await.refused(409, "issuance-ended");
    });
}

#[test]
fn an_issuance_belongs_to_the_station_that_began_it() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        let elsewhere = world.enrol("desk-2.example").await;
        for reply in [
            elsewhere.open_issuance(&card).await,
            elsewhere.send(Ask::get(path(&format!("/issuances/{}", begun.id)))).await,
            elsewhere.try_confirm(&card, &begun).await,
            elsewhere.abort(&begun).await,
        ] {
            assert_eq!(reply.refused_by("same-station").status, 403);
        }
        world.station.confirm(&card, &begun).await;
    });
}

#[test]
fn a_card_has_one_issuance_at_a_time() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        let before = world.card_certificates();
        let second = card.with_new_keys();
        world.issuer.try_begin(&second, &second.request(IssuanceKind::Issue)).await.refused(409, "issuance-open");
        world.issuer.try_suspend(&card, "investigation").await.refused(409, "state");
        assert_eq!(world.card_certificates(), before);
        world.station.confirm(&card, &begun).await;
        world.issuer.try_begin(&second, &second.request(IssuanceKind::Issue)).await.refused(409, "state");
    });
}

#[test]
fn a_card_that_is_cancelled_during_its_issuance_takes_the_pending_certificates_with_it() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (card, begun) = world.pending(&world.person().await).await;
        let reply = world.issuer.cancel(&card, "damaged").await;
        assert_eq!((reply.card.state.as_str(), reply.card.issuance.as_deref()), ("cancelled", None));
        assert!(reply.card.certificates.iter().all(|certificate| certificate.state == "revoked"), "{:?}", reply.card);
        assert_revoked(&world, &card, CrlReason::CessationOfOperation).await;
        world.station.try_confirm(&card, &begun).await.refused(409, "issuance-ended");
        world.station.open_issuance(&card).await.refused(404, "not-found");
        world.issuer.try_allocate(&card, &begun.person).await.refused(409, "exists");
    });
}

// conformance: O5
#[test]
fn a_signature_that_comes_after_the_card_was_cancelled_revives_nothing() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.allocated(&world.person().await).await;
        world.gate.close_at(Step::Signed);
        let begin = tokio::spawn({
            let (session, card) = (world.issuer.session.clone(), card.clone());
            async move { session.try_begin(&card, &card.request(IssuanceKind::Issue)).await }
        });
        world.gate.reached().await;
        let reply = world.issuer.cancel(&card, "lost").await;
        let states: Vec<&str> = reply.card.certificates.iter().map(|one| one.state.as_str()).collect();
        assert_eq!(states, ["void", "void"]);
        world.gate.open();
        let late = begin.await.unwrap();
        late.refused(409, "issuance-ended");
        let shown = world.issuer.card(&card).await;
        assert!(shown.certificates.iter().all(|one| one.state == "void" && one.certificate.is_none()), "{shown:?}");

        // They stay on the CRLs, and OCSP says the same.
        world.publish_crls().await;
        for (issuer, certificate) in ["authentication-1", "signing-1"].into_iter().zip(
            // The newest first, and of these authentication before signing.
            world.certificates().into_iter().filter(|one| one.holder.card() == Some(card.serial.as_str())),
        ) {
            assert_eq!(certificate.id.issuer, issuer);
            let entry = world.read_crl(issuer).await.entry(&certificate.id.serial).cloned().unwrap();
            assert_eq!(entry.reason, CrlReason::CessationOfOperation);
            assert_eq!(entry.at, certificate.reserved_at.whole_seconds());
            let status = world.ocsp_of(issuer, certificate.id.serial).await;
            let CertStatus::Revoked { at, reason } = status else { panic!("{status:?}") };
            assert_eq!((at, EntryReason::from(reason)), (entry.at, entry.reason));
        }
    });
}

// conformance: O4, O5
#[test]
fn a_serial_number_that_is_only_reserved_is_never_good() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.allocated(&world.person().await).await;
        for step in [Step::Reserved, Step::Signed] {
            world.gate.close_at(step);
            let card = if step == Step::Reserved { card.clone() } else { card.with_new_keys() };
            let begin = tokio::spawn({
                let (session, card) = (world.issuer.session.clone(), card.clone());
                async move { session.begin(&card, IssuanceKind::Issue).await }
            });
            world.gate.reached().await;
            let reserved = world.certificates().into_iter().filter(|one| one.state.name() == "reserved");
            let reserved: Vec<_> = reserved.map(|one| one.id).collect();
            assert_eq!(reserved.len(), 2);
            for id in reserved {
                let status = world.ocsp_of(&id.issuer, id.serial).await;
                assert_eq!(status, CertStatus::Unknown);
            }
            world.gate.open();
            let begun = begin.await.unwrap();
            world.station.abort(&begun).await.expect(200);
        }
        let never_issued = pki::SerialNumber::from_random([0x55; pki::SerialNumber::RANDOM_OCTETS]);
        assert_eq!(world.ocsp_of("authentication-1", never_issued).await, CertStatus::Unknown);
    });
}

#[test]
fn when_the_token_does_not_sign_both_certificates_are_void_and_the_card_is_free() {
    isolated(async |home| {
        let options = Options { module: faulty_pkcs11::module_path(), ..Options::default() };
        let world = World::with(&home, &options).await;
        let card = world.allocated(&world.person().await).await;
        // The first of two signatures fails; then only the second.
        for plan in ["C_Sign CKR_FUNCTION_FAILED", "C_Sign PASS 1\nC_Sign CKR_FUNCTION_FAILED"] {
            home.plan(plan);
            let begun = card.with_new_keys();
            let reply = world.issuer.try_begin(&begun, &begun.request(IssuanceKind::Issue)).await;
            let problem = reply.refused(503, "token");
            assert!(!problem.detail.contains("CKR_"), "the log has the details: {problem:?}");
            home.plan("");
            let shown = world.issuer.card(&card).await;
            assert_eq!((shown.state.as_str(), shown.issuance.as_deref()), ("allocated", None), "{plan}");
            assert!(shown.certificates.iter().all(|one| one.state == "void"), "{plan}: {shown:?}");
            assert_eq!(world.last_audit("card.undo").await.outcome, "failed: not signed");
        }
        assert_can_be_issued_anew(&world, &card).await;
    });
}

#[test]
fn an_orderly_stop_lets_an_issuance_finish() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.allocated(&world.person().await).await;
        world.gate.close_at(Step::Reserved);
        let begin = tokio::spawn({
            let (session, card) = (world.issuer.session.clone(), card.clone());
            async move { session.begin(&card, IssuanceKind::Issue).await }
        });
        world.gate.reached().await;
        let gate = world.gate.clone();
        let World { deployment, station, checker, issuer } = world;
        let public = deployment.public();
        let open_when_closing = async {
            eventually("the doors to close", async || public.try_send(Ask::get("/")).await.err()).await;
            gate.open();
        };
        let (site, ()) = tokio::join!(deployment.stop(), open_when_closing);
        let begun = begin.await.unwrap();
        let world = World { deployment: site.start().await, station, checker, issuer };
        world.station.confirm(&card, &begun).await;
        assert_good(&world, &card.with_certificates(&begun)).await;
    });
}
