//! Certification requests that break a rule: each is refused with the rule, and leaves no certificate behind.

use api::Base64;
use api::cards::{ConfirmationRequest, IssuanceKind, IssuanceView};
use ca::certificate::CertificateState;
use pki::KeyType;
use pki::certificate::ParsedCertificate;
use pki::ocsp::CertStatus;
use sha2::{Digest, Sha256};
use tests::openssl::{openssl, write_certificate};
use tests::request::{self, by_openssl, curve};
use tests::{PaperCard, Reply, World, isolated};

const RSA_1024: [&str; 4] = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];

/// Begins an issuance with this request in the place of each of the two, and finds that nothing came of it.
async fn refused(world: &World, card: &PaperCard, request: &[u8]) -> [Reply; 2] {
    let before = world.card_certificates();
    let proper = card.request(IssuanceKind::Issue);
    let mut authentication = proper.clone();
    authentication.authentication = Base64(request.to_vec());
    let mut signing = proper;
    signing.signing = Base64(request.to_vec());
    let replies = [world.issuer.try_begin(card, &authentication).await, world.issuer.try_begin(card, &signing).await];
    assert_eq!(world.card_certificates(), before, "a certificate was reserved");
    let shown = world.issuer.card(card).await;
    assert_eq!((shown.state.as_str(), shown.issuance.as_deref()), ("allocated", None));
    replies
}

// conformance: R1, R2, R7
#[test]
fn a_request_that_breaks_a_rule_is_refused_with_the_rule_and_leaves_no_certificate() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let card = world.allocated(&person).await;
        let dir = world.scratch();
        let proper = request::plain(&tests::card::new_key());
        let mut forged = proper.clone();
        *forged.last_mut().unwrap() ^= 1;
        for (what, request, rule) in [
            ("a signature that is wrong", forged, "R1"),
            ("something behind it", [&proper[..], &[0]].concat(), "R1"),
            ("nothing", Vec::new(), "R1"),
            ("20 KiB of rubbish", vec![0x30; 20 * 1024], "R1"),
            ("a certificate", world.root(), "R1"),
            ("the curve of another trade", by_openssl(&dir, &curve("secp256k1"), &[]), "R7"),
            ("a short RSA key", by_openssl(&dir, &RSA_1024, &[]), "R2"),
        ] {
            for reply in refused(&world, &card, &request).await {
                let problem = reply.problem();
                let named = (problem.name(), problem.rule.as_deref());
                assert_eq!((reply.status, named), (422, ("request-refused", Some(rule))), "{what}");
            }
        }
        // The card is none the worse for it.
        let issuance = world.issuer.begin(&card, IssuanceKind::Issue).await;
        world.station.confirm(&card, &issuance).await;
    });
}

#[test]
fn a_megabyte_of_rubbish_is_refused_before_it_is_read() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let card = world.allocated(&person).await;
        for reply in refused(&world, &card, &vec![0x30; 1 << 20]).await {
            assert_eq!(reply.problem().status, 413);
        }
    });
}

// conformance: R10, E4
#[test]
fn a_request_for_a_ca_gets_a_card_certificate_and_what_it_asked_for_is_on_record() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let card = world.allocated(&person).await;
        let dir = world.scratch();
        let greedy = by_openssl(
            &dir,
            &curve("P-256"),
            &[
                "-subj",
                "/CN=Another Root CA",
                "-addext",
                "basicConstraints=critical,CA:TRUE",
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
                "-addext",
                "extendedKeyUsage=serverAuth,OCSPSigning",
                "-addext",
                "subjectAltName=DNS:spine.example,email:root@example",
                "-addext",
                "certificatePolicies=2.5.29.32.0",
            ],
        );
        let mut asked = card.request(IssuanceKind::Issue);
        asked.authentication = greedy.into();
        let issuance: IssuanceView = world.issuer.try_begin(&card, &asked).await.expect(201).read();
        let ignored = issuance.authentication.ignored.join("\n");
        for part in ["CA:TRUE", "Another Root CA", "spine.example", "2.5.29.32.0"] {
            assert!(ignored.contains(part), "{part} is not in\n{ignored}");
        }
        let der = &issuance.authentication.certificate.as_ref().unwrap().0;
        let certificate = ParsedCertificate::from_der(der).unwrap();
        assert!(!certificate.is_ca() && certificate.path_length().is_none());
        assert!(certificate.dns_names().is_empty());
        let kept = world.issuer.card(&card).await;
        assert!(kept.certificates.iter().any(|view| view.ignored == issuance.authentication.ignored));
        let printed = openssl(
            &dir,
            &["x509", "-noout", "-text", "-in", {
                write_certificate(&dir, "leaf.pem", der);
                "leaf.pem"
            }],
        )
        .unwrap();
        for never in ["CA:TRUE", "Certificate Sign", "CRL Sign", "OCSP Signing", "spine", "Another Root"] {
            assert!(!printed.contains(never), "{never} in\n{printed}");
        }
    });
}

// conformance: R10
#[test]
fn a_p384_key_in_a_request_signed_with_sha256_gets_a_certificate_with_its_curve() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let card = world.allocated(&person).await;
        let dir = world.scratch();
        let mut asked = card.request(IssuanceKind::Issue);
        asked.authentication = by_openssl(&dir, &curve("P-384"), &["-sha256"]).into();
        let issuance: IssuanceView = world.issuer.try_begin(&card, &asked).await.expect(201).read();
        assert!(issuance.authentication.ignored.is_empty());
        let card = card.with_certificates(&issuance);
        let certificate = ParsedCertificate::from_der(&card.authentication_certificate).unwrap();
        assert_eq!(certificate.public_key().key_type(), KeyType::P384);

        let digest = |der: &[u8]| -> [u8; 32] { Sha256::digest(der).into() };
        let statement = pki::statement::confirmation(
            &issuance.id,
            &issuance.nonce.0,
            &digest(&card.authentication_certificate),
            &digest(&card.signing_certificate),
        );
        std::fs::write(dir.join("statement"), &statement).unwrap();
        openssl(&dir, &["dgst", "-sha384", "-sign", "key.pem", "-out", "signature", "statement"]).unwrap();
        let confirmation = ConfirmationRequest {
            authentication: std::fs::read(dir.join("signature")).unwrap().into(),
            signing: card.confirmation(&issuance).signing,
        };
        let path = format!("/issuances/{}/confirmation", issuance.id);
        world.station.send(tests::desk::post(&path, &confirmation)).await.expect(200);
        assert_eq!(world.ocsp(&card.authentication_certificate).await, CertStatus::Good);
    });
}

// conformance: R8
#[test]
fn a_key_that_was_seen_before_is_refused() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let first = world.card().await;
        let person = world.person().await;
        let card = world.allocated(&person).await;

        for key in [&first.authentication, &first.signing] {
            for reply in refused(&world, &card, &request::plain(key)).await {
                let problem = reply.refused(422, "request-refused");
                reply.refused_by("R8");
                assert!(problem.detail.contains("somebody else"), "{problem:?}");
            }
        }
        // The same key for both purposes.
        for key in [&card.authentication, &card.signing] {
            let same = request::plain(key);
            let mut asked = card.request(IssuanceKind::Issue);
            (asked.authentication, asked.signing) = (same.clone().into(), same.into());
            let before = world.card_certificates();
            world.issuer.try_begin(&card, &asked).await.refused_by("R8");
            assert_eq!(world.card_certificates(), before);
        }
        // A station's key, the key of an OCSP signer's issuer, the root's neighbour: keys of the house.
        for reply in refused(&world, &card, &request::plain(&world.station.key)).await {
            reply.refused_by("R8");
        }
        for issuer in ["authentication-1", "signing-1", "devices-1"] {
            let authority = world.service.authority();
            let signer = authority.issuer(issuer).unwrap().signer();
            for reply in refused(&world, &card, &request::signed_by(signer.as_ref())).await {
                let problem = reply.refused(422, "request-refused");
                assert!(problem.detail.contains("CA"), "{problem:?}");
                reply.refused_by("R8");
            }
        }
        world.issuer.begin(&card, IssuanceKind::Issue).await;
    });
}

// conformance: R8
#[test]
fn the_key_of_a_revoked_certificate_is_refused_even_for_the_same_person() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let lost = world.issuer.personalise(PaperCard::new(), &person).await;
        world.issuer.cancel(&lost, "lost").await;
        let card = world.allocated(&person).await;
        for key in [&lost.authentication, &lost.signing] {
            for reply in refused(&world, &card, &request::plain(key)).await {
                let problem = reply.refused(422, "request-refused");
                assert!(problem.detail.contains("revoked"), "{problem:?}");
                reply.refused_by("R8");
            }
        }
    });
}

#[test]
fn two_requests_with_one_key_at_the_same_time_for_two_people_give_one_pair() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (ada, grace) = (world.person().await, world.person().await);
        let (first, second) = (world.allocated(&ada).await, world.allocated(&grace).await);
        let shared = request::plain(&tests::card::new_key());
        let asked = [&first, &second].map(|card| {
            let mut asked = card.request(IssuanceKind::Issue);
            asked.authentication = shared.clone().into();
            asked
        });
        let (one, other) =
            tokio::join!(world.issuer.try_begin(&first, &asked[0]), world.issuer.try_begin(&second, &asked[1]));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 422]);
        let pending = world.certificates();
        let pending = pending.iter().filter(|record| matches!(record.state, CertificateState::Pending { .. })).count();
        assert_eq!(pending, 2, "one pair");
    });
}
