//! The CA's token fails: at the start, where the error says what to do, and under load, where nothing is lost.

mod aftermath;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aftermath::{all_agrees, ocsp_of, started, stopped};
use api::cards::{IssuanceKind, IssuanceView};
use ca::certificate::CertificateState;
use hsm::{Module, Pin, Token, TokenOptions, TokenSelector};
use pki::KeyType;
use pki::ocsp::CertStatus;
use tests::deployment::Site;
use tests::desk::post;
use tests::{Ask, Deployment, Home, Options, PaperCard, World, eventually, isolated};

fn faulty() -> Options {
    Options { module: faulty_pkcs11::module_path(), ..Options::default() }
}

/// Tries to start, and gives the error.
async fn refused(site: Site) -> (Site, String) {
    match site.try_start().await {
        Ok(_) => panic!("it started"),
        Err((site, error)) => (site, error.to_string()),
    }
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
}

// conformance: K4
#[test]
fn a_wrong_pin_is_tried_once_and_named() {
    isolated(async |home| {
        let site = Site::initialised(&home, &faulty()).await;
        let file = site.config.hsm.ca.pin_file.clone();
        let right = std::fs::read(&file).unwrap();
        std::fs::write(&file, "000000").unwrap();
        let before = home.calls("C_Login");
        let (site, error) = refused(site).await;
        assert_says(&error, &["test-ca", "refused the PIN", "tried once"]);
        assert_eq!(home.calls("C_Login"), before + 1);
        // Started again and again, as a supervisor would do it, it must not lock the token.
        let (site, error) = refused(site).await;
        assert_says(&error, &["test-ca", "not tried again"]);
        assert_eq!(home.calls("C_Login"), before + 1);

        std::fs::write(&file, right).unwrap();
        site.start().await.stop().await;
    });
}

// conformance: K4
#[test]
fn a_locked_pin_is_told_as_such_and_a_last_try_is_not_used() {
    isolated(async |home| {
        let mut site = Site::initialised(&home, &faulty()).await;
        for (plan, words) in [
            ("C_Login CKR_PIN_LOCKED", ["test-ca", "is locked", "security officer"]),
            ("C_GetTokenInfo USER_PIN_LOCKED", ["test-ca", "is locked", "security officer"]),
            ("C_GetTokenInfo USER_PIN_FINAL_TRY", ["test-ca", "one more wrong PIN", "none is tried"]),
        ] {
            let logins = home.calls("C_Login");
            home.plan(plan);
            let (back, error) = refused(site).await;
            assert_says(&error, &words);
            assert_eq!(home.calls("C_Login") - logins, usize::from(plan.starts_with("C_Login")), "{plan}");
            site = back;
        }
        home.plan("");
        site.start().await.stop().await;
    });
}

#[test]
fn a_module_that_is_not_there_is_named() {
    isolated(async |home| {
        let mut site = Site::initialised(&home, &Options::default()).await;
        let module = home.file("no-such-module.so");
        site.config.hsm.module = module.clone();
        let (mut site, error) = refused(site).await;
        assert_says(&error, &[&module.display().to_string(), "apt-get install softhsm2"]);
        std::fs::write(&module, "no library").unwrap();
        site.config.hsm.module = module.clone();
        let (_, error) = refused(site).await;
        assert_says(&error, &[&module.display().to_string(), "cannot be loaded"]);
    });
}

#[test]
fn a_missing_token_is_told_with_the_labels_of_those_that_are_there() {
    isolated(async |home| {
        let mut site = Site::initialised(&home, &faulty()).await;
        let label = std::mem::replace(&mut site.config.hsm.ca.label, "ca-of-another-site".to_owned());
        let (mut site, error) = refused(site).await;
        assert_says(&error, &["ca-of-another-site", "test-ca", "test-root"]);
        site.config.hsm.ca.label = label;

        home.plan("C_GetSlotList EMPTY");
        let (site, error) = refused(site).await;
        assert_says(&error, &["test-ca"]);
        home.plan("");
        site.start().await.stop().await;
    });
}

fn open_ca_token(site: &Site) -> Arc<Token> {
    let module = Module::load(&site.config.hsm.module).unwrap();
    let selector = TokenSelector::Label(site.config.hsm.ca.label.clone());
    let pin = Pin::from_file(&site.config.hsm.ca.pin_file).unwrap();
    Token::open(&module, &selector, pin, TokenOptions::default()).unwrap()
}

#[test]
fn a_ca_key_that_is_missing_or_another_one_is_noticed_at_the_start() {
    isolated(async |home| {
        let site = Site::initialised(&home, &Options::default()).await;
        let id = b"signing-1";
        let token = open_ca_token(&site);
        assert!(token.find_key_by_id(id).unwrap().is_some());
        token.destroy_key(id).unwrap();
        token.close();
        let (site, error) = refused(site).await;
        assert_says(&error, &["signing-1", "test-ca", "is not in token", "backup"]);

        let token = open_ca_token(&site);
        token.generate_key_pair("signing-1", id, KeyType::P256).unwrap();
        token.close();
        let (_, error) = refused(site).await;
        assert_says(&error, &["signing-1", "test-ca", "is not the one in the certificate"]);
    });
}

/// The token refuses one signature of a pair.
async fn a_refused_signature(home: Home, plan: &str) {
    let world = World::with(&home, &faulty()).await;
    let in_use = world.card().await;
    let person = world.person().await;
    let card = world.allocated(&person).await;
    let ask = post(&format!("/cards/{}/issuances", card.serial), &card.request(IssuanceKind::Issue)).key("pair");
    home.plan(plan);
    let reply = world.issuer.send(ask.clone()).await;
    let problem = reply.refused(503, "token");
    assert!(!problem.detail.contains("CKR_"), "what the log says is not told outside: {problem:?}");
    assert_eq!(reply.header("retry-after"), "1");

    // Void is what was reserved; the card is free; OCSP, whose keys are elsewhere, goes on.
    let left: Vec<_> =
        world.certificates().into_iter().filter(|one| one.holder.card() == Some(card.serial.as_str())).collect();
    assert_eq!(left.len(), 2);
    for record in &left {
        assert!(matches!(record.state, CertificateState::Void { .. }), "{record:?}");
        let status = aftermath::status_of(record);
        eventually("the void certificate in OCSP", async || {
            (ocsp_of(&world, &record.id).await == status).then_some(())
        })
        .await;
    }
    assert_eq!(world.issuer.card(&card).await.state, "allocated");
    assert_eq!(world.ocsp(&in_use.authentication_certificate).await, CertStatus::Good);

    home.plan("");
    let issuance: IssuanceView = world.issuer.send(ask).await.expect(201).read();
    let card = card.with_certificates(&issuance);
    world.station.confirm(&card, &issuance).await;
    assert_eq!(world.ocsp(&card.signing_certificate).await, CertStatus::Good);
    all_agrees(&world).await;
    let (site, desk) = stopped(world).await;
    let world = started(site, desk).await;
    all_agrees(&world).await;
}

// conformance: K3
#[test]
fn an_issuer_whose_key_does_not_sign_keeps_no_other_ocsp_signer_waiting() {
    isolated(async |home| {
        let deployment = Deployment::start_with(&home, &faulty()).await;
        let service = Arc::clone(&deployment.service);
        let due = || service.authority().issuers().map(|one| service.signers.due(&one.description().id)).collect();
        let before: Vec<_> = due();
        assert!(before.len() > 1 && before.iter().all(Option::is_some), "{before:?}");
        home.plan("C_Sign CKR_FUNCTION_FAILED 1");
        let late = before.iter().flatten().max().copied().unwrap();
        let renewing = Arc::clone(&service);
        let renewed = tokio::task::spawn_blocking(move || renewing.signers.renew(&renewing, late)).await.unwrap();
        assert_eq!(renewed.unwrap_err().problem().status, 503);
        let after: Vec<_> = due();
        let replaced = before.iter().zip(&after).filter(|(before, after)| before < after).count();
        assert_eq!(replaced, before.len() - 1, "{before:?} {after:?}");
    });
}

// conformance: A5, O5
#[test]
fn a_token_that_does_not_sign_costs_the_request_and_nothing_else() {
    isolated(async |home| a_refused_signature(home, "C_Sign CKR_FUNCTION_FAILED").await);
}

// conformance: A5, O5
#[test]
fn a_token_that_signs_only_the_first_of_a_pair_leaves_both_void() {
    isolated(async |home| a_refused_signature(home, "C_SignInit PASS 1\nC_SignInit CKR_FUNCTION_FAILED").await);
}

// conformance: A5, O5
#[test]
fn a_signature_that_was_made_and_reported_as_failed_stays_void() {
    isolated(async |home| a_refused_signature(home, "C_Sign CKR_FUNCTION_FAILED 9 after").await);
}

const CLIENTS: usize = 4;
const CARDS_OF_EACH: usize = 6;

#[test]
fn a_session_that_is_lost_under_load_is_opened_again_and_no_request_fails() {
    isolated(async |home| {
        let world = Arc::new(World::with(&home, &faulty()).await);
        let done = Arc::new(AtomicUsize::new(0));
        let logins = home.calls("C_Login");
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let (person, world, done) = (world.person().await, Arc::clone(&world), Arc::clone(&done));
            clients.push(tokio::spawn(async move {
                for _ in 0..CARDS_OF_EACH {
                    world.issuer.personalise(PaperCard::new(), &person).await;
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
        let faults = [
            "C_SignInit CKR_SESSION_HANDLE_INVALID 1",
            "C_SignInit CKR_SESSION_HANDLE_INVALID 1 close-sessions",
            "C_Sign CKR_DEVICE_REMOVED 1 close-sessions",
            "C_SignInit CKR_USER_NOT_LOGGED_IN 1 logout",
        ];
        for (number, fault) in faults.iter().enumerate() {
            let enough = number * 5 + 1;
            eventually("cards", async || (done.load(Ordering::SeqCst) >= enough).then_some(())).await;
            home.plan(fault);
        }
        for client in clients {
            client.await.expect("no request fails");
        }
        let logins = home.calls("C_Login") - logins;
        assert!((2..=faults.len() + 1).contains(&logins), "{logins} logins");
        all_agrees(&world).await;
    });
}

#[test]
fn a_busy_token_is_told_with_a_time_to_come_again() {
    isolated(async |home| {
        let config = vec![("sessions = 2", "sessions = 1"), ("queue = 64", "queue = 1")];
        let world = Arc::new(World::with(&home, &Options { config, ..faulty() }).await);
        let person = world.person().await;
        let mut asks = Vec::new();
        for _ in 0..6 {
            let card = world.allocated(&person).await;
            let ask = post(&format!("/cards/{}/issuances", card.serial), &card.request(IssuanceKind::Issue));
            asks.push(ask.session(&world.issuer.token).key(&card.serial));
        }
        home.plan("C_SignInit BLOCK");
        let busy = Arc::new(AtomicUsize::new(0));
        let send = |ask: Ask| {
            let (world, busy) = (Arc::clone(&world), Arc::clone(&busy));
            tokio::spawn(async move {
                let reply = world.station.send(ask).await;
                if reply.status == 503 {
                    reply.refused(503, "busy");
                    assert_eq!(reply.header("retry-after"), "1");
                    busy.fetch_add(1, Ordering::SeqCst);
                } else {
                    reply.clone().expect(201);
                }
                reply.status
            })
        };
        let waiting: Vec<_> = asks.iter().cloned().map(send).collect();
        // One signature is held at the token, one may wait for it, and nobody else does.
        eventually("the refusals", async || (busy.load(Ordering::SeqCst) >= 4).then_some(())).await;
        home.plan("");
        let mut refused = Vec::new();
        for (ask, answer) in asks.into_iter().zip(waiting) {
            if answer.await.unwrap() == 503 {
                refused.push(ask);
            }
        }
        assert!((4..6).contains(&refused.len()), "{}", refused.len());
        // They come again, one after the other, with the same keys.
        for ask in refused {
            world.station.send(ask).await.expect(201);
        }
        all_agrees(&world).await;
    });
}
