//! Clocks that differ, jump, or go on while an answer is made: rows O2, O6, O23, O24 and O25 of conformance.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ocsp_responder::node::clock::{NodeClock, SILENCE, TOLERANCE};
use ocsp_responder::{AnswerKind, Freshness, IssuerPolicy, ResponderOptions};
use pki::feed::{PublishedStatus, StatusEntry};
use pki::ocsp::{CertStatus, ErrorStatus};
use pki::{CrlReason, Timestamp};

use crate::support::{AUTHENTICATION, Behaviour, NOW, Scene, basic, error_of, publish, revoked, seconds, serial};

#[test]
fn a_ca_whose_clock_is_ahead_does_not_keep_statuses_fresh_for_longer() {
    // conformance: O6
    let scene = Scene::new();
    scene.good(1);
    let position = scene.responder.replica().position();
    scene.responder.heartbeat(position, NOW.plus(seconds(3600)), NOW).unwrap();
    assert_eq!(scene.responder.replica().as_of(), Some(NOW));
    // The CA is away from here on.
    let freshness = |after| scene.responder.state(NOW.plus(seconds(after)))[0].freshness;
    assert_eq!((freshness(6), freshness(301)), (Freshness::Stale, Freshness::Withheld));
    assert_eq!(error_of(&scene.ask(1, NOW.plus(seconds(301)))), Some(ErrorStatus::TryLater));
}

#[test]
fn a_clock_that_went_back_does_not_make_statuses_fresh_again() {
    // conformance: O6, O24
    let scene = Scene::new();
    scene.good(1);
    let late = NOW.plus(seconds(7200));
    scene.heartbeat(late);
    // Nothing was signed since, so there is no producedAt to go by; and the CA is away.
    assert_eq!(scene.responder.state(NOW)[0].freshness, Freshness::Withheld);
    assert_eq!(error_of(&scene.ask(1, NOW)), Some(ErrorStatus::TryLater));
    assert_eq!(scene.responder.state(late.minus(seconds(1)))[0].freshness, Freshness::Fresh, "threads differ a little");

    // The CA's next word counts by the clock as it is now, so nobody waits for the clock to come to where it was.
    scene.heartbeat(NOW);
    assert_eq!(scene.said(1, NOW), CertStatus::Good);
    assert_eq!(scene.status(1, NOW).unwrap().this_update, NOW.whole_seconds());
}

#[test]
fn a_revocation_by_a_clock_ahead_of_ours_counts_at_once() {
    // conformance: O2, O23
    for status in [
        revoked(NOW.plus(seconds(90)), CrlReason::KeyCompromise),
        PublishedStatus::OnHold { since: NOW.plus(seconds(90)) },
        PublishedStatus::Void { at: NOW.plus(seconds(90)) },
    ] {
        let scene = Scene::new();
        scene.publish(1, status);
        let said_at = |now| match scene.status(1, now).unwrap().status {
            CertStatus::Revoked { at, .. } => at,
            other => panic!("{other:?}"),
        };
        assert_eq!(said_at(NOW), NOW.whole_seconds(), "who compares it with the time must not find it to come");
        let late = NOW.plus(seconds(400));
        scene.heartbeat(late);
        assert_eq!(said_at(late), NOW.plus(seconds(90)).whole_seconds());
    }
}

#[test]
fn a_status_that_changes_over_the_turn_of_a_second_is_no_false_alarm() {
    // conformance: O6, O24
    let scene = Scene::new();
    scene.good(1);
    scene.good(2);
    let responder = scene.responder.clone();
    let other = scene.request(2);
    scene.signer.behave(Behaviour::Meanwhile(Box::new(move || {
        publish(&responder, AUTHENTICATION, 1, revoked(NOW, CrlReason::KeyCompromise), NOW);
        assert_eq!(responder.answer(&other, NOW.plus(seconds(2))).kind, AnswerKind::Good);
    })));
    assert_eq!(scene.ask(1, NOW).kind, AnswerKind::Revoked);
    assert!(!scene.responder.is_clock_behind(NOW.plus(seconds(2))));
}

#[test]
fn an_answer_that_is_kept_does_not_outlive_its_certificate_unnoticed() {
    // conformance: O25, O28
    for retention in [0, 86_400] {
        let policy = IssuerPolicy { retention: seconds(retention), ..IssuerPolicy::OTHERS };
        let scene = Scene::with(ResponderOptions::default(), policy, NOW);
        let ends = NOW.plus(seconds(60)).whole_seconds();
        let status = PublishedStatus::Good { since: NOW.minus(seconds(60)) };
        let entry =
            StatusEntry { issuer: AUTHENTICATION.into(), serial: serial(1), status, not_after: ends, shard: None };
        scene.responder.apply(1, &entry).unwrap();
        let first = scene.ask(1, NOW);
        scene.heartbeat(ends);
        assert_eq!(scene.ask(1, ends).der, first.der);
        let late = ends.plus(seconds(1));
        scene.heartbeat(late);
        scene.responder.forget_expired(late);
        let answer = scene.ask(1, late);
        if retention == 0 {
            assert_eq!(answer.kind, AnswerKind::Unknown);
        } else {
            assert_eq!(answer.kind, AnswerKind::Good);
            assert!(basic(&answer).tbs_response_data.responses[0].single_extensions.is_some(), "archiveCutoff");
        }
    }
}

#[test]
fn a_retention_of_ages_does_not_make_answers_impossible() {
    // conformance: O25
    let policy = IssuerPolicy { retention: seconds(200 * 365 * 86_400), ..IssuerPolicy::OTHERS };
    let scene = Scene::with(ResponderOptions::default(), policy, NOW);
    let status = revoked(NOW.minus(seconds(120)), CrlReason::Superseded);
    let not_after = NOW.minus(seconds(60));
    let entry = StatusEntry { issuer: AUTHENTICATION.into(), serial: serial(1), status, not_after, shard: None };
    scene.responder.apply(1, &entry).unwrap();
    let answer = scene.ask(1, NOW);
    assert_eq!(answer.kind, AnswerKind::Revoked);
    let extensions = basic(&answer).tbs_response_data.responses[0].single_extensions.clone().unwrap();
    assert!(String::from_utf8_lossy(extensions[0].extn_value.as_bytes()).contains("19700101000000Z"));
}

#[test]
fn a_clock_far_ahead_does_not_cost_what_is_known() {
    // conformance: O6
    let scene = Scene::new();
    scene.good(1);
    let years = NOW.plus(seconds(3 * 365 * 86_400));
    assert_eq!(scene.responder.forget_expired(years), 0);
    assert_eq!(error_of(&scene.ask(1, years)), Some(ErrorStatus::TryLater));
    assert_eq!(scene.said(1, NOW), CertStatus::Good);

    // Nor does a start before anything is known of the issuers.
    let early = ocsp_responder::Responder::new(ResponderOptions::default());
    publish(&early, AUTHENTICATION, 1, PublishedStatus::Good { since: NOW }, NOW);
    early.heartbeat(early.replica().position(), years, years).unwrap();
    assert_eq!((early.forget_expired(years), early.replica().len()), (0, 1));
}

/// A machine whose clock can be set, and that can sleep; the CA's time is the true one.
struct Machine {
    clock: Arc<NodeClock>,
    wall: Arc<AtomicI64>,
    monotonic: Arc<AtomicI64>,
}

impl Machine {
    fn new() -> Self {
        let (wall, monotonic) = (Arc::new(AtomicI64::new(NOW.unix_millis())), Arc::new(AtomicI64::new(5_000)));
        let (shown, passed) = (Arc::clone(&wall), Arc::clone(&monotonic));
        let clock = NodeClock::with(
            Arc::new(move || Timestamp::from_unix_millis(shown.load(Ordering::SeqCst))),
            Arc::new(move || Duration::from_millis(u64::try_from(passed.load(Ordering::SeqCst)).unwrap())),
        );
        Machine { clock, wall, monotonic }
    }

    fn set(&self, by_seconds: i64) {
        self.wall.fetch_add(by_seconds * 1000, Ordering::SeqCst);
    }

    fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.wall.fetch_add(millis, Ordering::SeqCst);
        self.monotonic.fetch_add(millis, Ordering::SeqCst);
    }
}

#[test]
fn a_clock_that_was_ahead_does_not_stop_a_responder_once_it_is_set_right() {
    // conformance: O23, O24
    for ahead in [40, 86_400 * 3] {
        let (scene, machine) = (Scene::new(), Machine::new());
        scene.good(1);
        scene.good(2);
        let mut ca = NOW;
        let beat = |ca: Timestamp| {
            machine.clock.heard(ca);
            scene.responder.heartbeat(scene.responder.replica().position(), ca, machine.clock.now()).unwrap();
        };
        beat(ca);
        machine.set(ahead);
        for _ in 0..30 {
            assert_eq!(scene.said(1, machine.clock.now()), CertStatus::Good, "{ahead} s ahead");
            assert!(scene.responder.last_produced_at().unwrap() <= ca.plus(TOLERANCE), "{ahead} s ahead");
            assert_eq!(scene.responder.state(machine.clock.now())[0].freshness, Freshness::Fresh);
            machine.pass(seconds(1));
            ca = ca.plus(seconds(1));
            beat(ca);
        }
        machine.set(-ahead);
        assert_eq!(machine.clock.now(), ca);
        // At most the tolerance has to be waited for.
        machine.pass(TOLERANCE);
        assert_eq!(scene.said(2, machine.clock.now()), CertStatus::Good, "{ahead} s ahead, and set right");
    }
}

#[test]
fn a_clock_that_is_ahead_ages_statuses_no_faster_and_no_slower_while_the_ca_is_away() {
    // conformance: O6
    let (scene, machine) = (Scene::new(), Machine::new());
    scene.good(1);
    machine.set(3600);
    machine.clock.heard(NOW);
    scene.responder.heartbeat(scene.responder.replica().position(), NOW, machine.clock.now()).unwrap();
    let freshness = || scene.responder.state(machine.clock.now())[0].freshness;
    assert_eq!(freshness(), Freshness::Fresh);
    machine.pass(seconds(10));
    assert_eq!(freshness(), Freshness::Stale);
    machine.pass(seconds(291));
    assert_eq!(freshness(), Freshness::Withheld);
}

#[test]
fn a_machine_that_slept_does_not_take_its_statuses_for_fresh() {
    // conformance: O6
    let (scene, machine) = (Scene::new(), Machine::new());
    scene.good(1);
    machine.clock.heard(NOW);
    scene.heartbeat(NOW);
    // The monotonic clock stood still meanwhile.
    machine.set(3600);
    machine.pass(SILENCE + seconds(1));
    assert_eq!(scene.responder.state(machine.clock.now())[0].freshness, Freshness::Withheld);
    // A heartbeat that comes says what time it is.
    machine.clock.heard(NOW.plus(seconds(3611)));
    assert_eq!(machine.clock.now(), NOW.plus(seconds(3611)));
}

#[test]
fn a_heartbeat_that_was_long_under_way_does_not_put_the_time_back() {
    // conformance: O24
    let machine = Machine::new();
    assert_eq!(machine.clock.now(), NOW, "before the first heartbeat there is only this clock");
    machine.clock.heard(NOW);
    for _ in 0..3 {
        machine.pass(seconds(15));
        machine.clock.heard(NOW);
        assert_eq!(machine.clock.now(), machine.clock.wall());
    }
    // A CA whose clock went back is followed in the end.
    let back = || machine.clock.wall().minus(seconds(100));
    for _ in 0..3 {
        machine.pass(seconds(60));
        machine.clock.heard(back());
    }
    assert_eq!(machine.clock.now(), back().plus(TOLERANCE));
}
