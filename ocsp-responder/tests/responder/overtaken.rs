//! What changes while an answer is made or kept, and what must not come back by it: row O6 of conformance.md.

use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ocsp_responder::{IssuerPolicy, ResponderIssuer};
use pki::CrlReason;
use pki::feed::{FeedPosition, PublishedStatus, StatusEntry};
use pki::ocsp::CertStatus;

use crate::http::Door;
use crate::support::{AUTHENTICATION, Behaviour, NOW, Scene, revoked, seconds, serial};

fn entry(number: u8, status: PublishedStatus) -> StatusEntry {
    let not_after = NOW.plus(seconds(80_000));
    StatusEntry { issuer: AUTHENTICATION.into(), serial: serial(number), status, not_after, shard: None }
}

#[test]
fn entries_that_a_snapshot_is_ahead_of_do_not_revive_what_it_knows_as_revoked() {
    // conformance: O6
    let scene = Scene::new();
    let good = PublishedStatus::Good { since: NOW.minus(seconds(9)) };
    // Taken at 100, when 105 was being written.
    let known = [entry(1, revoked(NOW, CrlReason::KeyCompromise)), entry(2, PublishedStatus::Void { at: NOW })];
    let position = FeedPosition { epoch: 0, sequence: 100 };
    scene.responder.load_snapshot(position, NOW, known).unwrap();
    for (sequence, number) in [(101, 1), (102, 2)] {
        scene.responder.apply(sequence, &entry(number, good)).unwrap();
        assert!(matches!(scene.said(number, NOW), CertStatus::Revoked { .. }), "the feed breaks off here");
    }
    assert_eq!(scene.responder.replica().position().sequence, 102);
    // The reason may be found to be a graver one.
    let graver = revoked(NOW, CrlReason::KeyCompromise);
    scene.responder.apply(103, &entry(2, graver)).unwrap();
    assert_eq!(scene.said(2, NOW), CertStatus::Revoked { at: NOW.whole_seconds(), reason: CrlReason::KeyCompromise });
    // A restore is another history.
    let restored = FeedPosition { epoch: 1, sequence: 50 };
    scene.responder.load_snapshot(restored, NOW, [entry(1, good)]).unwrap();
    assert_eq!(scene.said(1, NOW), CertStatus::Good);
}

#[test]
fn an_answer_that_was_begun_by_other_rules_is_not_kept() {
    // conformance: O6
    let scene = Scene::new();
    scene.good(1);
    let (responder, description) = (scene.responder.clone(), scene.ca.description.clone());
    let policy = IssuerPolicy { next_update: seconds(60), ..IssuerPolicy::AUTHENTICATION };
    scene.signer.behave(Behaviour::Meanwhile(Box::new(move || {
        responder.set_issuers(vec![ResponderIssuer { description, policy }]).unwrap();
    })));
    scene.ask(1, NOW);
    assert_eq!(scene.status(1, NOW).unwrap().next_update, NOW.whole_seconds().plus(seconds(60)));
}

/// By the fast path, which looks at nothing but the octets of the request.
#[tokio::test]
async fn what_was_answered_before_is_not_answered_again_once_it_is_wrong() {
    // conformance: O3, O6, O24, O25, O28
    type Change = (&'static str, fn(&Door));
    let changes: [Change; 8] = [
        ("revoked", |door| door.scene.publish(1, revoked(NOW, CrlReason::KeyCompromise))),
        ("on hold", |door| door.scene.publish(1, PublishedStatus::OnHold { since: NOW })),
        ("another state", |door| {
            let position = FeedPosition { epoch: 1, sequence: 0 };
            door.scene.responder.load_snapshot(position, NOW, []).unwrap();
        }),
        ("the same place in another state", |door| {
            let position = door.scene.responder.replica().position();
            door.scene.responder.load_snapshot(position, NOW, []).unwrap();
        }),
        ("no longer served", |door| door.scene.responder.set_issuers(Vec::new()).unwrap()),
        ("too old", |door| door.clock.store(NOW.plus(seconds(301)).unix_millis(), Ordering::SeqCst)),
        ("past its time", |door| {
            let late = NOW.plus(seconds(600));
            door.scene.heartbeat(late);
            door.scene.signer.behave(Behaviour::Busy);
            door.clock.store(late.unix_millis(), Ordering::SeqCst);
        }),
        ("before it was made", |door| door.clock.store(NOW.minus(seconds(2)).unix_millis(), Ordering::SeqCst)),
    ];
    for (what, change) in changes {
        let door = Door::new();
        let der = door.scene.request(1);
        let path = format!("/ocsp/{}", STANDARD.encode(&der));
        let first = door.get(&path).await;
        for _ in 0..2 {
            assert_eq!(door.get(&path).await.body, first.body, "{what}");
            assert_eq!(door.post(der.clone()).await.body, first.body, "{what}");
        }
        assert_eq!(door.scene.signer.signatures(), 1, "{what}");
        change(&door);
        for reply in [door.get(&path).await, door.post(der.clone()).await] {
            assert_ne!(reply.body, first.body, "{what}");
        }
        let answer = door.scene.responder.metrics();
        assert_eq!(answer.good.get(), 5, "{what}: nothing good was said since");
        let tag = first.header("etag").to_owned();
        let again = http::Request::get(&path).header("if-none-match", tag).body(axum::body::Body::empty()).unwrap();
        assert_eq!(door.send(again).await.status, http::StatusCode::OK, "{what}");
    }
}
