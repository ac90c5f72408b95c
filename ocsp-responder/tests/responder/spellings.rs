//! Requests that come again in the same octets are answered before they are decoded: as the others are, and no longer
//! than they may be. What was kept is told from what was signed anew by the number of signatures.

use std::sync::atomic::Ordering;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, StatusCode};
use ocsp_responder::{Freshness, IssuerPolicy, ResponderIssuer};
use pki::feed::{FeedPosition, PublishedStatus};
use pki::ocsp::{CertStatus, ErrorStatus, HashAlgorithm, build_request};
use pki::{CrlReason, Timestamp};

use crate::http::{Door, Reply};
use crate::support::{AUTHENTICATION, Behaviour, NOW, TestSigner, revoked, seconds, serial};

/// Ways to ask for the same: by GET in several spellings, and by POST.
fn spellings(door: &Door, number: u8) -> Vec<Option<String>> {
    let der = door.scene.request(number);
    let (plain, url_safe) = (STANDARD.encode(&der), URL_SAFE_NO_PAD.encode(&der));
    let escaped = plain.replace('/', "%2F").replace('=', "%3D");
    vec![
        Some(format!("/ocsp/{plain}")),
        Some(format!("/ocsp/{escaped}")),
        Some(format!("/ocsp//{url_safe}")),
        Some(format!("/{plain}")),
        None,
    ]
}

async fn ask(door: &Door, number: u8, spelling: &Option<String>) -> Reply {
    match spelling {
        Some(path) => door.get(path).await,
        None => door.post(door.scene.request(number)).await,
    }
}

fn said(door: &Door, number: u8, reply: &Reply, now: Timestamp) -> CertStatus {
    door.scene.verify(&reply.body, &door.scene.ca.cert_id(number), now).unwrap().status
}

#[tokio::test]
async fn what_comes_again_in_the_same_octets_is_answered_in_the_same_way() {
    // conformance: H9
    let door = Door::new();
    let hits = || door.scene.responder.metrics().cache_hits.get();
    for (number, spelling) in spellings(&door, 1).iter().enumerate() {
        let first = ask(&door, 1, spelling).await;
        let before = hits();
        let second = ask(&door, 1, spelling).await;
        assert_eq!((second.status, &second.headers, &second.body), (StatusCode::OK, &first.headers, &first.body));
        assert_eq!(hits() - before, 1, "{spelling:?}");
        assert_eq!(said(&door, 1, &second, NOW), CertStatus::Good);
        assert_eq!((door.scene.signer.signatures(), door.scene.responder.cached_answers()), (1, 1), "{number}");
    }
    let metrics = door.scene.responder.metrics();
    assert_eq!((metrics.good.get(), metrics.signed.get(), hits()), (10, 1, 9));
}

#[tokio::test]
async fn a_responder_that_withholds_all_says_try_later_in_every_spelling_whatever_it_knows() {
    // conformance: O6
    let door = Door::new();
    let spellings = spellings(&door, 1);
    for spelling in &spellings {
        assert_eq!(said(&door, 1, &ask(&door, 1, spelling).await, NOW), CertStatus::Good);
    }
    door.scene.responder.withhold_all(true);
    assert_eq!(door.scene.responder.cached_answers(), 0);
    for number in [1, 2] {
        for spelling in &self::spellings(&door, number) {
            let reply = ask(&door, number, spelling).await;
            assert_eq!(reply.body[..], ErrorStatus::TryLater.response_der()[..], "{spelling:?}");
        }
    }
    assert!(door.scene.responder.state(NOW).iter().all(|state| state.freshness == Freshness::Withheld));
    // What was kept before does not come back.
    let signatures = door.scene.signer.signatures();
    door.scene.responder.withhold_all(false);
    for spelling in &spellings {
        assert_eq!(said(&door, 1, &ask(&door, 1, spelling).await, NOW), CertStatus::Good);
    }
    assert_eq!(door.scene.signer.signatures(), signatures + 1);
}

#[tokio::test]
async fn a_change_drops_the_answer_in_every_spelling_at_once() {
    // conformance: O3, O6
    let door = Door::new();
    let spellings = spellings(&door, 1);
    for (round, status) in [
        PublishedStatus::OnHold { since: NOW },
        PublishedStatus::Good { since: NOW },
        revoked(NOW, CrlReason::KeyCompromise),
    ]
    .into_iter()
    .enumerate()
    {
        for spelling in spellings.iter().chain(&spellings) {
            ask(&door, 1, spelling).await;
        }
        assert_eq!(door.scene.signer.signatures(), round + 1);
        door.scene.publish(1, status);
        for spelling in &spellings {
            let reply = ask(&door, 1, spelling).await;
            let is_good = matches!(status, PublishedStatus::Good { .. });
            assert_eq!(said(&door, 1, &reply, NOW) == CertStatus::Good, is_good, "{spelling:?}");
        }
    }
}

#[tokio::test]
async fn a_change_of_another_certificate_drops_nothing() {
    let door = Door::new();
    ask(&door, 1, &None).await;
    // The same last octets as those of number 1, so that they share what changes are noticed by.
    let other = pki::SerialNumber::from_der_content(&[0x11, 0x42, 0x43, 1]).unwrap();
    let entry = pki::feed::StatusEntry {
        issuer: AUTHENTICATION.into(),
        serial: other,
        status: revoked(NOW, CrlReason::KeyCompromise),
        not_after: NOW.plus(seconds(1000)),
        shard: None,
    };
    let position = door.scene.responder.replica().position();
    door.scene.responder.apply(position.sequence + 1, &entry).unwrap();
    assert_eq!(said(&door, 1, &ask(&door, 1, &None).await, NOW), CertStatus::Good);
    assert_eq!(door.scene.signer.signatures(), 1);
}

#[tokio::test]
async fn another_state_or_other_issuers_drop_everything() {
    // conformance: O6
    let door = Door::new();
    let scene = &door.scene;
    for _ in 0..2 {
        assert_eq!(said(&door, 1, &ask(&door, 1, &None).await, NOW), CertStatus::Good);
    }
    scene.responder.load_snapshot(FeedPosition { epoch: 1, sequence: 0 }, NOW, []).unwrap();
    assert_eq!(said(&door, 1, &ask(&door, 1, &None).await, NOW), CertStatus::Unknown);
    scene.good(1);
    for _ in 0..2 {
        assert_eq!(said(&door, 1, &ask(&door, 1, &None).await, NOW), CertStatus::Good);
    }
    // Whoever answers for nobody yet cannot say whose the certificate is.
    scene.responder.set_issuers(Vec::new()).unwrap();
    assert_eq!(&ask(&door, 1, &None).await.body[..], ErrorStatus::TryLater.response_der());
    let description = scene.ca.description.clone();
    scene.responder.set_issuers(vec![ResponderIssuer { description, policy: IssuerPolicy::OTHERS }]).unwrap();
    assert_eq!(&ask(&door, 1, &None).await.body[..], ErrorStatus::TryLater.response_der());
}

#[tokio::test]
async fn what_is_too_old_is_withheld_in_every_spelling() {
    // conformance: O6, O28
    let door = Door::new();
    let at = |now: Timestamp| door.clock.store(now.unix_millis(), Ordering::SeqCst);
    let spellings = spellings(&door, 1);
    for spelling in spellings.iter().chain(&spellings) {
        ask(&door, 1, spelling).await;
    }
    at(NOW.plus(seconds(301)));
    for spelling in &spellings {
        let reply = ask(&door, 1, spelling).await;
        assert_eq!(&reply.body[..], ErrorStatus::TryLater.response_der(), "{spelling:?}");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    // From before it was signed.
    at(NOW.minus(seconds(1)));
    for spelling in &spellings {
        assert_eq!(&ask(&door, 1, spelling).await.body[..], ErrorStatus::TryLater.response_der(), "{spelling:?}");
    }
}

#[tokio::test]
async fn it_is_signed_again_in_time_and_if_nobody_can_the_answer_will_do_until_its_end() {
    // conformance: O28, H9
    let door = Door::new();
    let at = |now: Timestamp| {
        door.clock.store(now.unix_millis(), Ordering::SeqCst);
        door.scene.heartbeat(now);
    };
    let path = Some(format!("/ocsp/{}", STANDARD.encode(door.scene.request(1))));
    let first = ask(&door, 1, &path).await;
    at(NOW.plus(seconds(299)));
    let again = ask(&door, 1, &path).await;
    assert_eq!((&again.body, again.header("date")), (&first.body, "Sun, 22 Nov 2026 15:34:59 GMT"));
    assert_eq!(again.header("cache-control"), first.header("cache-control"));
    door.scene.signer.behave(Behaviour::Busy);
    let late = NOW.whole_seconds().plus(seconds(597));
    at(late);
    for _ in 0..2 {
        let reply = ask(&door, 1, &path).await;
        assert_eq!(reply.body, first.body);
        assert_eq!(reply.header("cache-control"), "max-age=3, public, no-transform, must-revalidate");
    }
    at(NOW.whole_seconds().plus(seconds(600)));
    assert_eq!(&ask(&door, 1, &path).await.body[..], ErrorStatus::TryLater.response_der());
    door.scene.signer.behave(Behaviour::Sign);
    let fresh = ask(&door, 1, &path).await;
    assert_ne!(fresh.body, first.body);
    assert_eq!(ask(&door, 1, &path).await.body, fresh.body);
}

#[tokio::test]
async fn head_and_conditions_are_honoured_for_what_is_kept() {
    // conformance: H7, H11
    let door = Door::new();
    let path = format!("/ocsp/{}", STANDARD.encode(door.scene.request(1)));
    let get = door.get(&path).await;
    assert_eq!(door.get(&path).await.body, get.body);
    let head = door.send(Request::head(&path).body(Body::empty()).unwrap()).await;
    assert_eq!((head.status, head.body.len(), &head.headers), (StatusCode::OK, 0, &get.headers));
    let known = Request::get(&path).header("if-none-match", get.header("etag")).body(Body::empty()).unwrap();
    let known = door.send(known).await;
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
    for name in ["etag", "cache-control", "expires", "last-modified", "date"] {
        assert_eq!(known.header(name), get.header(name), "{name}");
    }
    assert_eq!(door.scene.signer.signatures(), 1);
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_is_the_same_request() {
    let door = Door::new();
    let der = door.scene.request(1);
    for at in 0..der.len() {
        let pieces = [der[..at].to_vec(), der[at..].to_vec()].map(Ok::<_, std::convert::Infallible>);
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let reply = door.post(body).await;
        assert_eq!(said(&door, 1, &reply, NOW), CertStatus::Good, "{at}");
    }
    assert_eq!(door.scene.signer.signatures(), 1);
}

#[tokio::test]
async fn answers_to_a_nonce_and_about_unknown_serials_are_not_kept_in_any_spelling() {
    // conformance: O4, O17
    let door = Door::new();
    let with_nonce = build_request(&[&door.scene.ca.cert_id(1)], Some(&[7; 16])).unwrap();
    for round in 1..3 {
        door.post(with_nonce.clone()).await;
        assert_eq!(said(&door, 9, &door.post(door.scene.request(9)).await, NOW), CertStatus::Unknown);
        assert_eq!(door.scene.signer.signatures(), 2 * round);
    }
    assert_eq!(door.scene.responder.cached_answers(), 0);
}

#[tokio::test]
async fn who_prefers_another_algorithm_gets_it_as_soon_as_there_is_a_key() {
    // conformance: O22
    let door = Door::new();
    // Prefers ecdsa-with-SHA384: OCSPRequest with [2] requestExtensions, id-pkix-ocsp-pref-sig-algs.
    let preferred = x509_ocsp_request_preferring_p384(&door.scene.ca.hashes.cert_id(HashAlgorithm::Sha1, serial(1)));
    let first = door.post(preferred.clone()).await;
    assert_eq!(door.post(preferred.clone()).await.body, first.body);
    let p384 = TestSigner::new(&rcgen::PKCS_ECDSA_P384_SHA384);
    let delegates =
        [&door.scene.signer, &p384].map(|signer| door.scene.ca.delegate(signer, NOW.plus(seconds(80_000)), false));
    door.scene.responder.set_signers(AUTHENTICATION, delegates.into()).unwrap();
    let second = door.post(preferred).await;
    assert_ne!(second.body, first.body);
    assert_eq!(p384.signatures(), 1);
    assert_eq!(said(&door, 1, &second, NOW), CertStatus::Good);
}

/// A request for this DER `CertID` that prefers ecdsa-with-SHA384 (RFC 6960 4.4.7).
fn x509_ocsp_request_preferring_p384(cert_id: &[u8]) -> Vec<u8> {
    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = if length < 128 { vec![tag, length as u8] } else { vec![tag, 0x81, length as u8] };
        [head, content.to_vec()].concat()
    }
    let algorithm = tlv(0x30, &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]);
    let preferences = tlv(0x30, &tlv(0x30, &algorithm));
    let oid = [0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 8];
    let extension = tlv(0x30, &[&oid[..], &tlv(0x04, &preferences)].concat());
    let extensions = tlv(0xa2, &tlv(0x30, &extension));
    let list = tlv(0x30, &tlv(0x30, cert_id));
    tlv(0x30, &tlv(0x30, &[list, extensions].concat()))
}
