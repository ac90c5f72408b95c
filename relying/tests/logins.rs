//! Who comes in, and who does not.

mod common;

use std::sync::Arc;

use common::{Mode, Pki, Responder, Visitor, at, card_params, leaf, name};
use pki::CrlReason;
use pki::ocsp::CertStatus;
use relying::{Error, Options, RelyingServer, ocsp, system_clock};

fn revoked(reason: CrlReason) -> Mode {
    Mode::Says(CertStatus::Revoked { at: at("2026-11-01T10:00:00Z"), reason })
}

#[tokio::test]
async fn a_good_card_comes_in_and_a_change_of_its_status_is_seen_at_the_next_request() {
    let pki = Pki::new();
    let responder = Responder::start(&pki.cards).await;
    let server = pki.start(Some(responder.url.clone()), system_clock()).await;
    let card = leaf(&pki.cards, card_params());
    let mut visitor = Visitor::new(&pki, server.address(), Some(&card)).await.unwrap();

    let (status, welcome) = visitor.get().await.unwrap();
    assert_eq!(status, 200, "{welcome}");
    assert_eq!(welcome["hello"], "000000000123");
    assert_eq!(welcome["common_name"], "000000000123_Ada_Byron");
    assert_eq!(welcome["status"], "good");
    assert!(welcome["this_update"].as_str() < welcome["next_update"].as_str());

    // The same connection all the time: the status is asked for anew.
    responder.set(revoked(CrlReason::CertificateHold));
    let (status, refused) = visitor.get().await.unwrap();
    assert_eq!((status, refused["refused"].as_str().unwrap()), (403, "on hold since 2026-11-01T10:00:00Z"));
    responder.set(revoked(CrlReason::Superseded));
    let (status, refused) = visitor.get().await.unwrap();
    assert_eq!(status, 403);
    assert_eq!(refused["refused"], "revoked since 2026-11-01T10:00:00Z (superseded)");
    responder.set(Mode::Says(CertStatus::Good));
    assert_eq!(visitor.get().await.unwrap().0, 200);
    server.stop().await;
}

#[tokio::test]
async fn every_doubt_about_the_status_means_no() {
    let pki = Pki::new();
    let responder = Responder::start(&pki.cards).await;
    let server = pki.start(Some(responder.url.clone()), system_clock()).await;
    let card = leaf(&pki.cards, card_params());
    let mut visitor = Visitor::new(&pki, server.address(), Some(&card)).await.unwrap();
    for (mode, why) in [
        (Mode::Says(CertStatus::Unknown), "does not know the certificate"),
        (Mode::Replays, "nonce"),
        (Mode::Forges, "signature"),
        (Mode::Outdated, "may be used from"),
        (Mode::Fails, "HTTP status 500"),
        (Mode::Babbles, "OCSPResponse"),
    ] {
        responder.set(mode);
        let (status, refused) = visitor.get().await.unwrap();
        assert_eq!(status, 403, "{mode:?}: {refused}");
        assert!(refused["refused"].as_str().unwrap().contains(why), "{mode:?}: {refused}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_comes_in_while_the_responder_is_down() {
    let pki = Pki::new();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = pki.start(Some(format!("http://127.0.0.1:{port}/ocsp")), system_clock()).await;
    let card = leaf(&pki.cards, card_params());
    let mut visitor = Visitor::new(&pki, server.address(), Some(&card)).await.unwrap();
    let (status, refused) = visitor.get().await.unwrap();
    assert_eq!(status, 403);
    assert!(refused["refused"].as_str().unwrap().contains("does not answer"), "{refused}");
    server.stop().await;
}

async fn refused_by_tls(pki: &Pki, server: &relying::RelyingServer, leaf: Option<&common::Leaf>) -> String {
    match Visitor::new(pki, server.address(), leaf).await {
        Err(refused) => refused,
        Ok(mut visitor) => visitor.get().await.expect_err("the handshake is refused"),
    }
}

#[tokio::test]
async fn the_handshake_is_refused_without_a_certificate_of_the_cards_ca() {
    let pki = Pki::new();
    let server = pki.start(None, system_clock()).await;
    let nobody = refused_by_tls(&pki, &server, None).await;
    assert!(nobody.contains("CertificateRequired"), "{nobody}");

    // A station's certificate: it leads to the same root.
    let mut station = card_params();
    station.distinguished_name = name("desk-1", None);
    let station = leaf(&pki.devices, station);
    let refused = refused_by_tls(&pki, &server, Some(&station)).await;
    assert!(refused.contains("UnknownCA"), "{refused}");

    let stranger = Pki::new();
    let refused = refused_by_tls(&pki, &server, Some(&leaf(&stranger.cards, card_params()))).await;
    assert!(refused.contains("UnknownCA"), "{refused}");

    let mut expired = card_params();
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let refused = refused_by_tls(&pki, &server, Some(&leaf(&pki.cards, expired))).await;
    assert!(refused.contains("CertificateExpired"), "{refused}");

    let mut signing = card_params();
    signing.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::EmailProtection];
    let refused = refused_by_tls(&pki, &server, Some(&leaf(&pki.cards, signing))).await;
    assert!(refused.contains("AlertReceived"), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_ends_while_the_connection_is_open_is_refused() {
    let pki = Pki::new();
    let responder = Responder::start(&pki.cards).await;
    let mut params = card_params();
    params.not_after = rcgen::date_time_ymd(2050, 1, 1);
    let card = leaf(&pki.cards, params);
    let now = Arc::new(std::sync::Mutex::new(at("2049-12-31T23:59:00Z")));
    let clock = Arc::clone(&now);
    let server = pki.start(Some(responder.url.clone()), Arc::new(move || *clock.lock().unwrap())).await;
    let mut visitor = Visitor::new(&pki, server.address(), Some(&card)).await.unwrap();
    // By the service's clock the responder's answers are old; what counts here is that TLS let the card in.
    let (_, refused) = visitor.get().await.unwrap();
    assert!(refused["refused"].as_str().unwrap().contains("status is not known"), "{refused}");
    *now.lock().unwrap() = at("2050-01-01T00:00:01Z");
    let (status, refused) = visitor.get().await.unwrap();
    assert_eq!(status, 403);
    assert!(refused["refused"].as_str().unwrap().starts_with("the certificate is valid from"), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_is_asked_about_only_with_its_own_issuer() {
    let pki = Pki::new();
    let card = leaf(&pki.cards, card_params());
    let now = system_clock()();
    let error = ocsp::check(&card.der, pki.devices.der(), Some("http://127.0.0.1:1/"), now).await.unwrap_err();
    assert!(matches!(error, Error::Certificate(_)), "{error}");
    let error = ocsp::check(&card.der, pki.cards.der(), None, now).await.unwrap_err();
    assert!(matches!(error, Error::NoResponder), "{error}");
    for url in ["https://127.0.0.1/", "127.0.0.1", ""] {
        let error = ocsp::check(&card.der, pki.cards.der(), Some(url), now).await.unwrap_err();
        assert!(matches!(error, Error::Url { .. }), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_service_with_a_certificate_of_its_own_making_is_known_by_it() {
    let mut pki = Pki::new();
    let responder = Responder::start(&pki.cards).await;
    let (certificate, key) = relying::self_signed(&["localhost", "127.0.0.1"]).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        chain: vec![certificate.clone()],
        key,
        roots: vec![pki.root.clone()],
        issuers: vec![pki.cards.der().to_vec()],
        ocsp_url: Some(responder.url.clone()),
        clock: system_clock(),
    };
    let server = RelyingServer::start(options).await.unwrap();
    pki.root = certificate;
    let card = leaf(&pki.cards, card_params());
    let mut visitor = Visitor::new(&pki, server.address(), Some(&card)).await.unwrap();
    assert_eq!(visitor.get().await.unwrap().0, 200);
    server.stop().await;
    assert!(relying::self_signed(&["\u{e9}"]).is_err());
}
