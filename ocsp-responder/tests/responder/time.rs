//! Rows O3, O6, O23, O24 and O25 of conformance.md: the feed, the clock and the times in answers.

use ocsp_responder::responder::Prepared;
use ocsp_responder::{AnswerKind, Error, Freshness, IssuerPolicy, ResponderIssuer, ResponderOptions};
use pki::CrlReason;
use pki::feed::{FeedPosition, PublishedStatus, StatusEntry};
use pki::ocsp::{CertStatus, ErrorStatus, build_request};

use crate::support::{AUTHENTICATION, NOW, Scene, basic, error_of, revoked, seconds, serial};

#[test]
fn a_hold_is_shown_and_after_its_release_good_is_fresh() {
    // conformance: O3
    let scene = Scene::new();
    scene.good(1);
    assert_eq!(scene.said(1, NOW), CertStatus::Good);
    let held_at = NOW.plus(seconds(1));
    scene.publish(1, PublishedStatus::OnHold { since: held_at });
    let hold = CertStatus::Revoked { at: held_at.whole_seconds(), reason: CrlReason::CertificateHold };
    assert_eq!(scene.said(1, held_at), hold);

    // The release comes before the next heartbeat.
    let released_at = NOW.plus(seconds(20));
    scene.publish(1, PublishedStatus::Good { since: released_at });
    let answer = scene.status(1, released_at).unwrap();
    assert_eq!(answer.status, CertStatus::Good);
    assert!(answer.this_update >= released_at.whole_seconds());
    scene.heartbeat(released_at.plus(seconds(5)));
}

#[test]
fn good_is_not_said_while_our_clock_is_before_its_beginning() {
    // conformance: O3, O23
    let scene = Scene::new();
    scene.publish(1, PublishedStatus::Good { since: NOW.plus(seconds(2)) });
    assert_eq!(error_of(&scene.ask(1, NOW)), Some(ErrorStatus::TryLater));
    assert_eq!(scene.said(1, NOW.plus(seconds(2))), CertStatus::Good);
    scene.publish(2, PublishedStatus::OnHold { since: NOW.plus(seconds(5)) });
    assert!(matches!(scene.said(2, NOW.plus(seconds(3))), CertStatus::Revoked { .. }));
}

#[test]
fn what_will_change_soon_may_not_be_kept_for_long() {
    // conformance: O5
    let scene = Scene::with(ResponderOptions::default(), IssuerPolicy::OTHERS, NOW);
    scene.good(1);
    scene.publish(2, PublishedStatus::Pending { since: NOW });
    let left = |number| scene.status(number, NOW).unwrap().next_update.since(NOW.whole_seconds());
    assert_eq!(left(1), seconds(4 * 3600));
    assert_eq!((left(2), left(3)), (seconds(60), seconds(60)));
}

#[test]
fn statuses_that_are_too_old_are_withheld() {
    // conformance: O6
    for (policy, limit) in [(IssuerPolicy::AUTHENTICATION, 300), (IssuerPolicy::OTHERS, 3600)] {
        let scene = Scene::with(ResponderOptions::default(), policy, NOW);
        scene.good(1);
        let freshness = |after| scene.responder.state(NOW.plus(seconds(after)))[0].freshness;
        assert_eq!(scene.said(1, NOW), CertStatus::Good);
        assert_eq!(
            (freshness(5), freshness(6), freshness(limit)),
            (Freshness::Fresh, Freshness::Stale, Freshness::Stale)
        );
        assert_eq!(scene.said(1, NOW.plus(seconds(limit))), CertStatus::Good);
        let late = NOW.plus(seconds(limit + 1));
        assert_eq!(scene.responder.state(late)[0].freshness, Freshness::Withheld);
        // Neither signed nor from the cache.
        assert_eq!(error_of(&scene.ask(1, late)), Some(ErrorStatus::TryLater));
        assert_eq!(error_of(&scene.ask(2, late)), Some(ErrorStatus::TryLater));
        scene.heartbeat(late);
        assert_eq!(scene.said(1, late), CertStatus::Good);
        assert_eq!(scene.responder.metrics().withheld.get(), 2);
    }
}

#[test]
fn nothing_is_answered_before_the_first_heartbeat() {
    // conformance: O6
    let scene = Scene::new();
    let responder = ocsp_responder::Responder::new(ResponderOptions::default());
    let description = scene.ca.description.clone();
    responder.set_issuers(vec![ResponderIssuer { description, policy: IssuerPolicy::OTHERS }]).unwrap();
    let delegate = scene.ca.delegate(&scene.signer, NOW.plus(seconds(600)), false);
    responder.set_signers(AUTHENTICATION, vec![delegate]).unwrap();
    assert_eq!(error_of(&responder.answer(&scene.request(1), NOW)), Some(ErrorStatus::TryLater));
    responder.load_snapshot(FeedPosition { epoch: 1, sequence: 9 }, NOW, []).unwrap();
    assert_eq!(responder.answer(&scene.request(1), NOW).kind, AnswerKind::Unknown);
}

#[test]
fn an_old_good_never_comes_back_with_the_feed() {
    // conformance: O6
    let scene = Scene::new();
    scene.good(1);
    scene.publish(1, revoked(NOW, CrlReason::KeyCompromise));
    let good = StatusEntry {
        issuer: AUTHENTICATION.into(),
        serial: serial(1),
        status: PublishedStatus::Good { since: NOW },
        not_after: NOW.plus(seconds(1000)),
        shard: None,
    };
    let position = scene.responder.replica().position();
    assert_eq!(position, FeedPosition { epoch: 0, sequence: 2 });
    scene.responder.apply(1, &good).unwrap();
    let gap = scene.responder.apply(4, &good);
    assert_eq!(gap, Err(Error::SequenceGap { have: position, got: 4 }));
    let older = FeedPosition { epoch: 0, sequence: 1 };
    let refused = scene.responder.load_snapshot(older, NOW, [good.clone()]);
    assert_eq!(refused, Err(Error::OlderSnapshot { have: position, offered: older }));
    assert!(matches!(scene.said(1, NOW), CertStatus::Revoked { .. }));

    // A restore raises the epoch: then a lower sequence is right.
    let restored = FeedPosition { epoch: 1, sequence: 1 };
    assert_eq!(scene.responder.load_snapshot(restored, NOW, [good]), Ok(1));
    assert_eq!(scene.said(1, NOW), CertStatus::Good);
}

#[test]
fn a_heartbeat_counts_only_for_what_has_come() {
    // conformance: O6
    let scene = Scene::new();
    let late = NOW.plus(seconds(10));
    for announced in [FeedPosition { epoch: 0, sequence: 1 }, FeedPosition { epoch: 1, sequence: 0 }] {
        assert!(matches!(scene.responder.heartbeat(announced, late, late), Err(Error::HeartbeatElsewhere { .. })));
    }
    assert_eq!(scene.responder.replica().as_of(), Some(NOW));
    scene.heartbeat(late);
    scene.responder.heartbeat(FeedPosition::default(), NOW, late).unwrap();
    assert_eq!(scene.responder.replica().as_of(), Some(late), "it never goes back");
}

#[test]
fn times_are_in_order_and_whole_seconds() {
    // conformance: O3, O23
    let scene = Scene::new();
    scene.good(1);
    for (after_heartbeat, now) in [(0, NOW), (7, NOW.plus(seconds(7))), (200, NOW.plus(seconds(200)))] {
        let nonce = build_request(&[&scene.ca.cert_id(1)], Some(&[1])).unwrap();
        let answer = scene.responder.answer(&nonce, now);
        let read = scene.verify(&answer.der, &scene.ca.cert_id(1), now).unwrap();
        assert_eq!(read.this_update, NOW.whole_seconds(), "the last heartbeat, {after_heartbeat} s ago");
        assert_eq!(read.produced_at, now.whole_seconds());
        assert!(read.this_update <= read.produced_at && read.produced_at <= now && now < read.next_update);
        assert_eq!(read.next_update, NOW.whole_seconds().plus(seconds(600)));
        let text = String::from_utf8_lossy(&answer.der).into_owned();
        assert!(text.contains("20261122153000Z"), "GeneralizedTime in whole seconds, Z");
    }
    // A CA whose clock is ahead of ours.
    let now = NOW.plus(seconds(300));
    scene.responder.heartbeat(scene.responder.replica().position(), NOW.plus(seconds(900)), now).unwrap();
    let read = scene.status(1, now).unwrap();
    assert_eq!(read.this_update, read.produced_at);
}

#[test]
fn a_clock_that_went_back_stops_the_signing_and_raises_an_alarm() {
    // conformance: O24
    let scene = Scene::new();
    scene.good(1);
    scene.good(2);
    let later = NOW.plus(seconds(10));
    assert_eq!(scene.said(1, later), CertStatus::Good);
    assert_eq!(scene.responder.last_produced_at(), Some(later.whole_seconds()));
    // Before anybody asked, and no longer than it is so, whether anybody asks or not.
    assert!(scene.responder.is_clock_behind(NOW));
    assert!(!scene.responder.is_clock_behind(later));
    assert!(matches!(scene.responder.prepare(&scene.request(2).into(), NOW), Prepared::ClockBehind));
    // Not even what is kept, since it is from the future.
    for number in [1, 2] {
        assert_eq!(error_of(&scene.ask(number, NOW)), Some(ErrorStatus::TryLater));
    }
    assert!(!scene.responder.is_clock_behind(later));
    assert_eq!(scene.signer.signatures(), 1);
    assert_eq!(scene.said(2, later), CertStatus::Good);

    // Also across a restart.
    let options = ResponderOptions { last_produced_at: Some(later), ..ResponderOptions::default() };
    let scene = Scene::with(options, IssuerPolicy::AUTHENTICATION, NOW);
    assert_eq!(error_of(&scene.ask(1, NOW)), Some(ErrorStatus::TryLater));
}

#[test]
fn an_expired_certificate_whose_record_is_kept_is_answered_with_an_archive_cutoff() {
    // conformance: O25
    let policy = IssuerPolicy { retention: seconds(7 * 86_400), ..IssuerPolicy::OTHERS };
    let scene = Scene::with(ResponderOptions::default(), policy, NOW);
    let ended = NOW.minus(seconds(86_400)).whole_seconds();
    let entry = StatusEntry {
        issuer: AUTHENTICATION.into(),
        serial: serial(1),
        status: revoked(ended.minus(seconds(60)), CrlReason::KeyCompromise),
        not_after: ended,
        shard: None,
    };
    scene.responder.apply(1, &entry).unwrap();
    let answer = scene.ask(1, NOW);
    assert_eq!(answer.kind, AnswerKind::Revoked);
    let responses = basic(&answer).tbs_response_data.responses;
    let extensions = responses[0].single_extensions.as_ref().unwrap();
    assert_eq!(extensions[0].extn_id.to_string(), "1.3.6.1.5.5.7.48.1.6");
    assert!(String::from_utf8_lossy(extensions[0].extn_value.as_bytes()).contains("20261115153000Z"));

    assert_eq!(scene.responder.forget_expired(NOW), 0);
    let late = NOW.plus(seconds(7 * 86_400));
    assert_eq!(scene.responder.forget_expired(late), 0, "by the CA's last word it is not so late");
    scene.heartbeat(late);
    assert_eq!(scene.responder.forget_expired(late), 1);
    assert_eq!(scene.responder.replica().len(), 0);
}
