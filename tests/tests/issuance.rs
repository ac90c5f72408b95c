//! From two requests to two good certificates, over HTTP, judged by OpenSSL.

use std::path::Path;

use api::cards::{IssuanceKind, IssuanceView};
use api::people::PersonView;
use pki::CrlReason;
use pki::certificate::ParsedCertificate;
use pki::ocsp::CertStatus;
use tests::openssl::{openssl, write_certificate, write_crl};
use tests::{Ask, Deployment, PaperCard, World, isolated, request};

/// Leaves `root.pem`, `issuer.pem`, `leaf.pem` and the CRLs of root and issuer, as the public door serves them.
async fn write_for_strangers(deployment: &Deployment, dir: &Path, certificate: &[u8]) {
    let leaf = ParsedCertificate::from_der(certificate).unwrap();
    let fetch = async |url: &str| {
        let path = url.strip_prefix(&deployment.config.service.public_base_url).expect("an address of this service");
        deployment.public().send(Ask::get(path)).await.expect(200).body.to_vec()
    };
    let issuer_der = fetch(&leaf.ca_issuers_urls()[0]).await;
    let issuer = ParsedCertificate::from_der(&issuer_der).unwrap();
    let root_der = fetch(&issuer.ca_issuers_urls()[0]).await;
    assert_eq!(root_der, deployment.root());
    write_certificate(dir, "leaf.pem", certificate);
    write_certificate(dir, "issuer.pem", &issuer_der);
    write_certificate(dir, "root.pem", &root_der);
    let chain = pki::pem::encode_certificates([&issuer_der, &root_der]);
    std::fs::write(dir.join("chain.pem"), chain).unwrap();
    write_crl(dir, "issuer.crl", &fetch(&leaf.crl_urls()[0]).await);
    write_crl(dir, "root.crl", &fetch(&issuer.crl_urls()[0]).await);
}

/// Chain, usage and both CRLs, by OpenSSL's strictest reading.
fn openssl_verify(dir: &Path) -> Result<String, String> {
    let options = "verify -x509_strict -crl_check_all -CAfile root.pem -untrusted issuer.pem -CRLfile issuer.crl \
                   -CRLfile root.crl leaf.pem";
    openssl(dir, &options.split_whitespace().collect::<Vec<_>>())
}

/// What `openssl ocsp` makes of the answer at the address that the certificate names.
fn openssl_ocsp(dir: &Path, url: &str) -> Result<String, String> {
    let options = ["ocsp", "-issuer", "issuer.pem", "-cert", "leaf.pem", "-CAfile", "chain.pem", "-url", url];
    openssl(dir, &options)
}

// conformance: O1, O5, O12, E7, E9
#[test]
fn a_pair_is_on_hold_until_it_is_confirmed_and_good_after_that() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let card = world.allocated(&person).await;
        let issuance = world.issuer.begin(&card, IssuanceKind::Issue).await;
        let card = card.with_certificates(&issuance);
        let pair = [&card.authentication_certificate, &card.signing_certificate];
        for certificate in pair {
            let status = world.ocsp_until(certificate, |_| true).await;
            assert!(matches!(status, CertStatus::Revoked { reason: CrlReason::CertificateHold, .. }), "{status:?}");
        }
        for view in [&issuance.authentication, &issuance.signing] {
            assert_eq!((view.state.as_str(), view.reason.clone()), ("pending", None));
        }
        assert_eq!(world.issuer.card(&card).await.state, "personalised");

        let confirmed = world.station.confirm(&card, &issuance).await;
        assert_eq!((confirmed.state.as_str(), &confirmed.id), ("confirmed", &issuance.id));
        for certificate in pair {
            assert_eq!(world.ocsp(certificate).await, CertStatus::Good);
        }
        let shown = world.issuer.card(&card).await;
        assert_eq!((shown.state.as_str(), shown.issuance.as_deref()), ("active", None));
        assert!(shown.certificates.iter().all(|certificate| certificate.state == "good"), "{shown:?}");

        world.publish_crls().await;
        let dir = world.scratch();
        for certificate in pair {
            write_for_strangers(&world, &dir, certificate).await;
            let printed = openssl_verify(&dir).unwrap();
            assert!(printed.contains("leaf.pem: OK"), "{printed}");
            let url = ParsedCertificate::from_der(certificate).unwrap().ocsp_urls()[0].clone();
            let printed = openssl_ocsp(&dir, &url).unwrap();
            assert!(printed.contains("leaf.pem: good") && printed.contains("Response verify OK"), "{printed}");
        }
    });
}

// conformance: O2, O3, C8
#[test]
fn openssl_sees_a_card_on_hold_and_a_cancelled_one() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        let dir = world.scratch();
        let url = ParsedCertificate::from_der(&card.authentication_certificate).unwrap().ocsp_urls()[0].clone();
        let look = async || {
            world.publish_crls().await;
            write_for_strangers(&world, &dir, &card.authentication_certificate).await;
            (openssl_ocsp(&dir, &url).unwrap(), openssl_verify(&dir))
        };
        world.issuer.suspend(&card, "investigation").await;
        let (ocsp, verified) = look().await;
        assert!(ocsp.contains("leaf.pem: revoked") && ocsp.contains("Reason: certificateHold"), "{ocsp}");
        assert!(verified.unwrap_err().contains("certificate revoked"));

        world.issuer.resume(&card, "investigation").await;
        let (ocsp, verified) = look().await;
        assert!(ocsp.contains("leaf.pem: good"), "{ocsp}");
        verified.unwrap();

        world.issuer.cancel(&card, "stolen").await;
        let (ocsp, verified) = look().await;
        assert!(ocsp.contains("leaf.pem: revoked") && ocsp.contains("Reason: keyCompromise"), "{ocsp}");
        assert!(verified.unwrap_err().contains("certificate revoked"));
    });
}

#[test]
fn both_certificates_of_a_pair_end_in_the_same_second_and_pairs_differ() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let mut ends = Vec::new();
        for _ in 0..4 {
            let card = world.card().await;
            let pair = [&card.authentication_certificate, &card.signing_certificate];
            let [authentication, signing] = pair.map(|der| ParsedCertificate::from_der(der).unwrap());
            assert_eq!(authentication.not_after(), signing.not_after());
            assert_eq!(authentication.not_before(), signing.not_before());
            assert_ne!(authentication.issuer_der(), signing.issuer_der());
            let life = authentication.not_after().since(authentication.not_before()).as_secs() / 86_400;
            assert!((699..730).contains(&life), "{life} days");
            ends.push(authentication.not_after());
        }
        // Two seconds of 30 days that are the same, four times: not in this test's life.
        ends.dedup();
        assert_eq!(ends.len(), 4, "cohorts spread");
    });
}

// conformance: E11, R10
#[test]
fn names_come_from_the_registry_and_not_from_the_request() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let reply = world.checker.try_register("Zoe\u{308}", "O’Brien", "RX1").await.expect(201);
        let person: PersonView = reply.read();
        world.checker.try_check_identity(&person.user_id).await.expect(200);
        world.checker.try_accept_terms(&person.user_id).await.expect(200);
        let card = world.allocated(&person.user_id).await;
        let mut asked = card.request(IssuanceKind::Issue);
        asked.authentication = request::claiming(&card.authentication, "555000000018_Mallory_Malice").into();
        asked.signing = request::claiming(&card.signing, "somebody else").into();
        let issuance: IssuanceView = world.issuer.try_begin(&card, &asked).await.expect(201).read();
        let card = card.with_certificates(&issuance);
        world.station.confirm(&card, &issuance).await;
        for (view, der) in [
            (&issuance.authentication, &card.authentication_certificate),
            (&issuance.signing, &card.signing_certificate),
        ] {
            let certificate = ParsedCertificate::from_der(der).unwrap();
            assert_eq!(certificate.common_name().unwrap(), format!("{}_Zoë_O’Brien", person.user_id));
            assert_eq!(certificate.user_id().unwrap(), person.user_id);
            assert_eq!(view.ignored.len(), 1, "{:?}", view.ignored);
            assert!(view.ignored[0].starts_with("subject CN="), "{:?}", view.ignored);
            assert!(certificate.dns_names().is_empty() && certificate.upn().is_none());
        }
    });
}

#[test]
fn a_card_is_issued_only_to_somebody_whose_identity_was_checked_and_who_accepted_the_terms() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person: PersonView = world.checker.try_register("Ada", "Lovelace", "RX1").await.expect(201).read();
        let card = PaperCard::new();
        let refused = world.issuer.try_allocate(&card, &person.user_id).await.refused(409, "state");
        assert!(refused.detail.contains("identity"), "{refused:?}");
        world.checker.try_accept_terms(&person.user_id).await.refused(409, "state");
        world.checker.try_check_identity(&person.user_id).await.expect(200);
        let refused = world.issuer.try_allocate(&card, &person.user_id).await.refused(409, "state");
        assert!(refused.detail.contains("terms"), "{refused:?}");
        world.checker.try_accept_terms(&person.user_id).await.expect(200);
        world.issuer.try_allocate(&card, &person.user_id).await.expect(201);
    });
}

#[test]
fn what_was_issued_is_there_after_a_restart() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        let held = world.card().await;
        world.issuer.suspend(&held, "investigation").await;
        let before = world.issuer.card(&card).await;
        let status = world.status().await;

        let world = world.restart().await;
        assert_eq!(world.issuer.card(&card).await, before);
        assert_eq!(world.ocsp(&card.authentication_certificate).await, CertStatus::Good);
        let status_of_held = world.ocsp(&held.signing_certificate).await;
        assert!(matches!(status_of_held, CertStatus::Revoked { reason: CrlReason::CertificateHold, .. }));
        let after = world.status().await;
        assert!(after.feed_sequence >= status.feed_sequence && after.audit_records > status.audit_records);
        assert_eq!(after.feed_epoch, status.feed_epoch);
        let operations: Vec<String> = world.audit().await.into_iter().map(|record| record.operation).collect();
        assert!(operations.contains(&"service.stop".to_owned()));
    });
}

// conformance: A3, A5
#[test]
fn each_certificate_has_an_audit_record_of_its_intent_and_one_of_its_result() {
    isolated(async |home| {
        let world = World::new(&home).await;
        world.card().await;
        let records = world.audit().await;
        for certificate in world.certificates() {
            let target = format!("certificate {}", certificate.id);
            let of = |outcome: &str| {
                records.iter().position(|record| {
                    record.operation.starts_with("certificate.")
                        && record.outcome == outcome
                        && record.targets.contains(&target)
                })
            };
            let (intent, done) = (of("intent"), of("done"));
            assert!(intent.is_some() && done.is_some() && intent < done, "{target}: {intent:?}, {done:?}");
        }
    });
}
