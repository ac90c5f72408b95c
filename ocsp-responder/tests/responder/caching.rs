//! Answers that are given again: rows O28 and O29, and what must never be given again.

use ocsp_responder::{AnswerKind, IssuerPolicy, ResponderOptions};
use pki::feed::{FeedPosition, PublishedStatus};
use pki::ocsp::{CertStatus, ErrorStatus};
use pki::{CrlReason, Timestamp};

use crate::support::{Behaviour, NOW, Scene, error_of, publish, seconds};

const REVOKED: PublishedStatus =
    PublishedStatus::Revoked { at: NOW, reason: CrlReason::KeyCompromise, invalidity_date: None };

#[test]
fn the_same_question_is_signed_once_until_half_of_its_time_is_over() {
    // conformance: O28
    let scene = Scene::new();
    scene.good(1);
    let first = scene.ask(1, NOW);
    assert_eq!(scene.ask(1, NOW.plus(seconds(290))).der, first.der);
    assert_eq!((scene.signer.signatures(), scene.responder.metrics().cache_hits.get()), (1, 1));
    let second = scene.ask(1, NOW.plus(seconds(300)));
    assert_ne!(second.der, first.der);
    assert_eq!(scene.signer.signatures(), 2);
}

#[test]
fn if_nobody_can_sign_the_kept_answer_will_do_but_not_past_its_time() {
    // conformance: O28
    let scene = Scene::new();
    scene.good(1);
    let first = scene.ask(1, NOW);
    scene.signer.behave(Behaviour::Busy);
    scene.heartbeat(NOW.plus(seconds(590)));
    assert_eq!(scene.ask(1, NOW.plus(seconds(590))).der, first.der);
    scene.heartbeat(NOW.plus(seconds(600)));
    assert_eq!(error_of(&scene.ask(1, NOW.plus(seconds(600)))), Some(ErrorStatus::TryLater));
}

#[test]
fn without_any_signer_the_kept_answer_will_do_as_well() {
    // conformance: O28
    let scene = Scene::new();
    scene.good(1);
    scene.good(2);
    let first = scene.ask(1, NOW);
    scene.responder.set_signers(crate::support::AUTHENTICATION, Vec::new()).unwrap();
    let late = NOW.plus(seconds(590));
    scene.heartbeat(late);
    assert_eq!(scene.ask(1, late).der, first.der);
    assert_eq!(error_of(&scene.ask(2, late)), Some(ErrorStatus::TryLater));
    scene.publish(1, REVOKED);
    assert_eq!(error_of(&scene.ask(1, late)), Some(ErrorStatus::TryLater));
}

#[test]
fn a_change_drops_the_kept_answer_at_once() {
    // conformance: O3, O6
    let scene = Scene::new();
    scene.good(1);
    assert_eq!(scene.said(1, NOW), CertStatus::Good);
    scene.publish(1, REVOKED);
    assert!(matches!(scene.said(1, NOW), CertStatus::Revoked { .. }));
    assert_eq!(scene.responder.cached_answers(), 1);
    scene.responder.load_snapshot(FeedPosition { epoch: 1, sequence: 0 }, NOW, []).unwrap();
    assert_eq!(scene.responder.cached_answers(), 0);
    assert_eq!(scene.said(1, NOW), CertStatus::Unknown);
}

#[test]
fn a_status_that_changes_while_its_answer_is_signed_sends_the_answer_back() {
    // conformance: O6
    for nonce in [None, Some(&[1, 2, 3][..])] {
        let scene = Scene::new();
        scene.good(1);
        let responder = scene.responder.clone();
        scene.signer.behave(Behaviour::Meanwhile(Box::new(move || {
            publish(&responder, crate::support::AUTHENTICATION, 1, REVOKED, NOW);
        })));
        let request = pki::ocsp::build_request(&[&scene.ca.cert_id(1)], nonce).unwrap();
        assert_eq!(scene.responder.answer(&request, NOW).kind, AnswerKind::Revoked);
        assert!(matches!(scene.said(1, NOW), CertStatus::Revoked { .. }));
        assert_eq!(scene.responder.metrics().overtaken.get(), 1);
    }
}

#[test]
fn an_answer_that_does_not_verify_is_neither_sent_nor_kept() {
    // conformance: O29
    let scene = Scene::new();
    scene.good(1);
    scene.signer.behave(Behaviour::WrongSignature);
    assert_eq!(error_of(&scene.ask(1, NOW)), Some(ErrorStatus::InternalError));
    assert_eq!(scene.responder.cached_answers(), 0);
    assert_eq!(scene.responder.metrics().verification_failures.get(), 1);
    scene.signer.behave(Behaviour::Sign);
    assert_eq!(scene.said(1, NOW), CertStatus::Good);
    assert_eq!(scene.responder.cached_answers(), 1);
}

#[test]
fn the_cache_keeps_to_its_bound() {
    let options = ResponderOptions { cached_answers: 10, ..ResponderOptions::default() };
    let scene = Scene::with(options, IssuerPolicy::OTHERS, NOW);
    for number in 0..30 {
        scene.good(number);
        scene.ask(number, NOW);
        assert!(scene.responder.cached_answers() <= 10);
    }
}

#[test]
fn a_cache_may_not_keep_an_answer_longer_than_it_lasts() {
    // conformance: H9
    let scene = Scene::new();
    scene.good(1);
    let keep = |now: Timestamp| scene.ask(1, now).cacheability.unwrap();
    let first = keep(NOW);
    assert_eq!((first.this_update, first.max_age), (NOW.whole_seconds(), seconds(5)));
    scene.signer.behave(Behaviour::Busy);
    let last = NOW.whole_seconds().plus(seconds(598));
    scene.heartbeat(last);
    assert_eq!(keep(last).max_age, seconds(2));
    assert_eq!((keep(last).this_update, keep(last).next_update), (first.this_update, first.next_update));
}
