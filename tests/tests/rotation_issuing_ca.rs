//! A new key of an issuing CA: planned, published, active after the overlap; the old one for status, then retired.

use std::time::Duration;

use api::rotation::{CertificationView, RootWork, RootWorkDone, RotationView};
use pki::CrlReason;
use pki::certificate::ParsedCertificate;
use pki::ocsp::CertStatus;
use server::clock::Clock;
use tests::openssl::{openssl, write_certificate, write_crl};
use tests::rotations::request;
use tests::{Ask, Deployment, Options, World, eventually, isolated};

const HOUR: Duration = Duration::from_secs(3600);

/// Whose certificate it is, by the address of the issuer's certificate.
fn issued_by(certificate: &[u8]) -> String {
    tests::deployment::issuer_id(&ParsedCertificate::from_der(certificate).unwrap())
}

async fn is_active(deployment: &Deployment, id: &str) {
    eventually("the new key to be active", async || (deployment.issuer_state(id).await == "active").then_some(()))
        .await;
}

/// A chain of a leaf as OpenSSL reads it, with what the public door serves, CRLs included.
async fn openssl_accepts(deployment: &Deployment, leaf: &[u8], issuer: &str) {
    let dir = deployment.scratch();
    let served = deployment.public().send(Ask::get(format!("/ca/{issuer}.cer"))).await.expect(200).body;
    assert_eq!(served, deployment.issuer(issuer));
    write_certificate(&dir, "leaf.pem", leaf);
    write_certificate(&dir, "issuer.pem", &served);
    write_certificate(&dir, "root.pem", &deployment.root());
    write_crl(&dir, "issuer.crl", &deployment.crl(issuer).await);
    write_crl(&dir, "root.crl", &deployment.crl("root-1").await);
    let now = deployment.clock.now().unix_seconds();
    let options = format!(
        "verify -x509_strict -attime {now} -crl_check_all -CAfile root.pem -untrusted issuer.pem -CRLfile issuer.crl \
         -CRLfile root.crl leaf.pem"
    );
    openssl(&dir, &options.split_whitespace().collect::<Vec<_>>()).unwrap();
}

// conformance: C16, O10, K6
#[test]
fn a_new_key_of_an_issuing_ca_issues_after_the_overlap_and_the_old_one_goes_on_with_status() {
    isolated(async |home| {
        let mut world = World::new(&home).await;
        let before = world.card().await;
        let old = &before.authentication_certificate;
        assert_eq!(issued_by(old), "authentication-1");

        // The plan changes nothing.
        let wanted = request("issuing-ca", Some("authentication"), Some("2h"));
        let plan = world.rotation_plan(&wanted).await;
        assert_eq!((plan.people_needed, plan.root_token_needed, plan.steps.len()), (2, true, 4));
        assert!(plan.relying_systems.iter().any(|line| line.contains("/ca/authentication-2.cer")), "{plan:?}");
        assert!(world.rotations().await.is_empty());

        // Published: its certificate, CRL and OCSP answers are there, and the old key still issues.
        let rotation = world.rotate("issuing-ca", Some("authentication"), Some("2h")).await;
        assert_eq!(rotation.state, "waiting");
        assert_eq!(rotation.people, tests::rotations::PEOPLE);
        assert_eq!(world.issuer_state("authentication-2").await, "published");
        let (one, two) = (world.issuer("authentication-1"), world.issuer("authentication-2"));
        let (one, two) = (ParsedCertificate::from_der(&one).unwrap(), ParsedCertificate::from_der(&two).unwrap());
        assert_eq!(one.subject_der(), two.subject_der());
        assert_ne!(one.public_key(), two.public_key());
        world.read_crl("authentication-2").await;
        let meanwhile = world.card().await;
        assert_eq!(issued_by(&meanwhile.authentication_certificate), "authentication-1");

        // Active.
        world.advance(2 * HOUR + Duration::from_secs(1)).await;
        is_active(&world, "authentication-2").await;
        assert_eq!(world.issuer_state("authentication-1").await, "status_only");
        eventually("the rotation to be whole", async || (world.rotations().await[0].state == "done").then_some(()))
            .await;
        world.login_again().await;
        let after = world.card().await;
        let new = &after.authentication_certificate;
        assert_eq!(issued_by(new), "authentication-2");
        assert_eq!(issued_by(&after.signing_certificate), "signing-1");
        openssl_accepts(&world, new, "authentication-2").await;

        // Both keys answer for their own certificates, under one name.
        assert_eq!(world.ocsp(old).await, CertStatus::Good);
        assert_eq!(world.ocsp(new).await, CertStatus::Good);
        let held = world.issuer.suspend(&before, "investigation").await;
        assert_eq!(held.published.seen_by, held.published.responders);
        assert!(matches!(world.ocsp(old).await, CertStatus::Revoked { reason: CrlReason::CertificateHold, .. }));
        world.publish_crls().await;
        let serial = ParsedCertificate::from_der(old).unwrap().serial();
        assert!(world.read_crl("authentication-1").await.entry(&serial).is_some());
        assert!(world.read_crl("authentication-2").await.entry(&serial).is_none());

        // A card of the old key logs in, and one of the new key.
        world.station.login(&meanwhile).await;
        world.station.login(&after).await;

        // It survives a restart.
        world = world.restart().await;
        assert_eq!(world.ocsp(new).await, CertStatus::Good);
        assert_eq!(issued_by(&world.card().await.authentication_certificate), "authentication-2");
        let facts = world.last_audit("rotation.end").await.facts;
        assert_eq!(facts["people"], "2");
    });
}

// conformance: C13, C16
#[test]
fn an_old_key_is_retired_when_its_last_certificate_has_expired_and_not_before() {
    isolated(async |home| {
        let options = Options {
            profiles: vec![
                ("life = \"730d\"\njitter = \"30d\"", "life = \"40d\"\njitter = \"0s\""),
                ("life = \"90d\"", "life = \"60d\""),
            ],
            config: vec![
                ("renewal_window = \"90d\"", "renewal_window = \"10d\""),
                ("holder = [\"90d\", \"60d\", \"30d\", \"14d\", \"7d\", \"1d\"]", "holder = [\"7d\", \"1d\"]"),
            ],
            ..Options::default()
        };
        let world = World::with(&home, &options).await;
        world.card().await;
        let rotation = world.rotate("issuing-ca", Some("signing"), Some("0s")).await;
        assert_eq!(rotation.state, "done", "{rotation:?}");
        assert_eq!(world.issuer_state("signing-1").await, "status_only");
        let day = 24 * HOUR;
        // The longest life that any certificate can have is not over.
        world.advance(39 * day).await;
        assert_eq!(world.issuer_state("signing-1").await, "status_only");
        let number = world.read_crl("signing-1").await.description().number;
        world.advance(60 * day).await;
        eventually("the old key to be retired", async || {
            (world.issuer_state("signing-1").await == "retired").then_some(())
        })
        .await;
        // Its last CRL can still be had, and no new one is made.
        assert!(world.read_crl("signing-1").await.description().number > number);
        eventually("CRLs without the retired key's", async || {
            world.publish_crls().await.crls.iter().all(|crl| crl.issuer != "signing-1").then_some(())
        })
        .await;
        assert!(world.status().await.ready);
    });
}

// conformance: K6
#[test]
fn one_person_alone_brings_no_ca_key_into_use() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let mut alone = request("issuing-ca", Some("devices"), None);
        for people in [vec![], vec!["Ada First"], vec!["Ada First", " ada  FIRST "], vec!["Ada First", ""]] {
            alone.people = people.into_iter().map(str::to_owned).collect();
            let problem = deployment.try_rotate(&alone).await.refused(422, "invalid");
            assert!(problem.detail.contains("people"), "{problem:?}");
        }
        assert!(deployment.rotations().await.is_empty());
    });
}

#[test]
fn what_cannot_be_rotated_is_refused_with_the_reason() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let refused = async |kind, target, overlap, status, name, word: &str| {
            let problem = deployment.try_rotate(&request(kind, target, overlap)).await.refused(status, name);
            assert!(problem.detail.contains(word), "{word:?} is missing: {problem:?}");
        };
        refused("issuing-ca", None, None, 422, "rotation-target", "authentication, signing, devices").await;
        refused("issuing-ca", Some("root"), None, 422, "rotation-target", "authentication").await;
        refused("issuing-cas", Some("devices"), None, 422, "rotation-kind", "issuing-ca").await;
        refused("issuing-ca", Some("devices"), Some("soon"), 422, "invalid", "24h").await;
        // Nobody is left without a certificate of the full life, and the message says how much is possible.
        let absurd = "the longest possible overlap is";
        refused("issuing-ca", Some("devices"), Some("300y"), 422, "invalid", absurd).await;
        refused("root", None, Some("300y"), 422, "invalid", absurd).await;
        // While one runs, there is no second one of the same CA; of another there is.
        let first = deployment.rotate("issuing-ca", Some("devices"), None).await;
        assert_eq!(first.state, "waiting");
        refused("issuing-ca", Some("devices"), None, 409, "rotation-open", &first.id).await;
        deployment.rotate("issuing-ca", Some("signing"), None).await;
        assert_eq!(deployment.try_resume("nonsense").await.status, 404);
    });
}

// conformance: E10
#[test]
fn the_root_signs_nothing_but_what_was_reserved_and_the_service_takes_nothing_else() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let wanted = request("issuing-ca", Some("devices"), None);
        let begun: RotationView = deployment.try_rotate(&wanted).await.expect(201).read();
        let Some(RootWork::Certify { certificates }) = begun.root_work.clone() else { panic!("{begun:?}") };
        // Whoever changes the question on its way gets no answer from the root's token.
        let root = deployment.present_root().await;
        let changes: [fn(&mut CertificationView); 8] = [
            |view: &mut CertificationView| view.common_name = "Example Signing CA".to_owned(),
            |view: &mut CertificationView| view.common_name = "Somebody's CA".to_owned(),
            |view: &mut CertificationView| view.not_after = view.not_before.replace("20", "21"),
            |view: &mut CertificationView| view.serial = view.serial.replace('a', "b").replace('1', "2"),
            |view: &mut CertificationView| view.profile = "card-signing".to_owned(),
            |view: &mut CertificationView| view.profile_version = "0".repeat(64),
            |view: &mut CertificationView| view.tbs_sha256 = "0".repeat(64),
            |view: &mut CertificationView| view.issuer = "root-2".to_owned(),
        ];
        for change in changes {
            let mut view = certificates[0].clone();
            change(&mut view);
            let work = RootWork::Certify { certificates: vec![view.clone()] };
            assert!(root.perform(&work).is_err(), "{view:?}");
        }
        drop(root);
        // The service takes in the reserved certificate only: not another one of the same root.
        let hand_in = async |der: Vec<u8>| {
            let done = RootWorkDone { public_key: None, signed: vec![api::Base64(der)] };
            deployment.admin().send(Ask::post(format!("/rotations/{}/root-work", begun.id)).json(&done)).await
        };
        for der in [deployment.issuer("devices-1"), deployment.root(), b"no certificate".to_vec()] {
            assert!(hand_in(der).await.status >= 400);
        }
        assert!(deployment.status().await.issuers.iter().all(|issuer| issuer.id != "devices-2"));
        assert!(deployment.status().await.warnings.iter().any(|line| line.contains(&begun.id)));
        let whole = deployment.with_root(begun).await;
        assert_eq!(whole.state, "waiting");
        assert!(deployment.status().await.warnings.is_empty());
    });
}

/// The public key in the CA token under this label.
async fn key_in_token(deployment: &Deployment, label: &'static str) -> pki::PublicKey {
    let token = deployment.service.token.clone();
    let found = tokio::task::spawn_blocking(move || token.find_key(label)).await.unwrap();
    hsm::Signer::public_key(&found.unwrap().expect("a key")).clone()
}

#[test]
fn a_rotation_can_be_given_up_until_the_new_key_is_active() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        // Before the root has signed: the reservation becomes void.
        let wanted = request("issuing-ca", Some("devices"), Some("1h"));
        let begun: RotationView = deployment.try_rotate(&wanted).await.expect(201).read();
        let given_up: RotationView = deployment.try_back_out(&begun.id).await.expect(200).read();
        assert_eq!(given_up.state, "backed_out");
        let late = deployment.try_root_work(&begun).await;
        assert_eq!(late.status, 409, "a late signature revives nothing");
        // Published: it is revoked, and never issues. It is not the key of before, which stays unused.
        let published = deployment.rotate("issuing-ca", Some("devices"), Some("1h")).await;
        deployment.try_back_out(&published.id).await.expect(200);
        assert_eq!(deployment.issuer_state("devices-3").await, "retired");
        let before = key_in_token(&deployment, "devices-2").await;
        let revoked = deployment.record(&deployment.issuer("devices-3"));
        assert_eq!(revoked.state.name(), "revoked");
        let given_up = ParsedCertificate::from_der(&deployment.issuer("devices-3")).unwrap();
        assert_ne!(*given_up.public_key(), before);
        deployment.advance(2 * HOUR).await;
        assert_eq!(deployment.issuer_state("devices-1").await, "active");
        deployment.try_back_out(&published.id).await.refused(409, "rotation-ended");
        // Active: too late. The number of the key that was given up is not used again.
        let third = deployment.rotate("issuing-ca", Some("devices"), Some("1h")).await;
        assert_eq!(third.facts["new"], "devices-4");
        deployment.advance(2 * HOUR).await;
        is_active(&deployment, "devices-4").await;
        eventually("the rotation to be whole", async || {
            deployment.rotations().await.iter().all(|one| one.state != "waiting").then_some(())
        })
        .await;
        deployment.try_back_out(&third.id).await.refused(409, "rotation-ended");
        let deployment = deployment.restart().await;
        assert!(deployment.status().await.ready);
    });
}

// conformance: A5, K1
#[test]
fn what_a_kill_left_of_a_key_is_made_anew_and_what_is_anothers_is_not_taken() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let make = async |label: &'static str, key_type| {
            let token = deployment.service.token.clone();
            let made = tokio::task::spawn_blocking(move || token.generate_key_pair(label, label.as_bytes(), key_type));
            made.await.unwrap().unwrap();
        };
        // Half a key, as a kill in the middle of its making leaves it.
        make("devices-2", pki::KeyType::P256).await;
        let half = key_in_token(&deployment, "devices-2").await;
        tests::rotations::lose_private_key(&deployment.config.hsm.module, &deployment.config.hsm.ca, "devices-2");
        let whole = deployment.rotate("issuing-ca", Some("devices"), Some("0s")).await;
        assert_eq!((whole.state.as_str(), whole.facts["new"].as_str()), ("done", "devices-2"));
        let made = key_in_token(&deployment, "devices-2").await;
        assert_ne!(made, half);
        let certified = ParsedCertificate::from_der(&deployment.issuer("devices-2")).unwrap();
        assert_eq!(*certified.public_key(), made);

        // A whole key of another kind: refused with what it is and what to do; given up, the next number is free.
        make("devices-3", pki::KeyType::P384).await;
        let wanted = request("issuing-ca", Some("devices"), Some("0s"));
        let problem = deployment.try_rotate(&wanted).await.refused(409, "key-taken");
        for word in ["devices-3", "P-384", "back out"] {
            assert!(problem.detail.contains(word), "{problem:?}");
        }
        let open = deployment.rotations().await.into_iter().find(|one| one.state == "running").unwrap();
        deployment.try_back_out(&open.id).await.expect(200);
        let whole = deployment.rotate("issuing-ca", Some("devices"), Some("0s")).await;
        assert_eq!((whole.state.as_str(), whole.facts["new"].as_str()), ("done", "devices-4"));
        assert_eq!(key_in_token(&deployment, "devices-3").await.key_type(), pki::KeyType::P384);
    });
}

// conformance: C16
#[test]
fn a_root_that_was_exchanged_meanwhile_certifies_no_ca_any_more() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        assert_eq!(deployment.rotate("root", None, Some("1h")).await.state, "waiting");
        let wanted = request("issuing-ca", Some("devices"), Some("1h"));
        let begun: RotationView = deployment.try_rotate(&wanted).await.expect(201).read();
        let Some(RootWork::Certify { certificates }) = &begun.root_work else { panic!("{begun:?}") };
        assert_eq!(certificates[0].issuer, "root-1");
        let before = certificates[0].serial.clone();
        deployment.advance(2 * HOUR).await;
        eventually("the new root to be in force", async || {
            (deployment.issuer_state("root-2").await == "offline").then_some(())
        })
        .await;
        assert_eq!(deployment.issuer_state("root-1").await, "status_only");
        // What the old root signs late is not taken in; taken up again, the root in force is asked.
        deployment.try_root_work(&begun).await.refused(409, "root-not-in-force");
        let resumed: RotationView = deployment.try_resume(&begun.id).await.expect(200).read();
        let Some(RootWork::Certify { certificates }) = &resumed.root_work else { panic!("{resumed:?}") };
        assert_eq!(certificates[0].issuer, "root-2");
        let published = deployment.with_root(resumed).await;
        assert_eq!((published.state.as_str(), published.facts["root"].as_str()), ("waiting", "root-2"));
        assert_eq!(issued_by(&deployment.issuer("devices-2")), "root-2");
        let void = deployment.certificates().into_iter().find(|record| record.id.serial.to_string() == before).unwrap();
        assert_eq!(void.state.name(), "void");
        // The reservation under the root in force is the one that is given up.
        deployment.try_back_out(&published.id).await.expect(200);
        assert_eq!(deployment.record(&deployment.issuer("devices-2")).state.name(), "revoked");
    });
}
