//! Clocks that differ or jump: rows O6, O23 and O24 of conformance.md.

use ocsp_responder::Freshness;
use pki::ocsp::{CertStatus, ErrorStatus};

use crate::support::{NOW, Scene, error_of, seconds};

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
