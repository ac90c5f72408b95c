//! Responders as the service knows them: enrolled by a code, with a certificate that they renew, with signers of their own,
//! and expelled.

use std::sync::Arc;
use std::time::Duration;

use api::responders::{self, SignerKeys};
use ca::certificate::{CertificateState, Holder};
use hsm::MemoryKey;
use ocsp_responder::IssuerSigner;
use pki::certificate::ParsedCertificate;
use pki::{CrlReason, IssuerDescription, KeyType, Timestamp};
use tests::clock::{days, minutes};
use tests::desk::path;
use tests::{Ask, Deployment, Follower, Options, eventually, isolated};

fn state(deployment: &Deployment, certificate: &[u8]) -> CertificateState {
    deployment.record(certificate).state
}

fn is_revoked_for(deployment: &Deployment, certificate: &[u8], why: CrlReason) -> bool {
    matches!(state(deployment, certificate), CertificateState::Revoked { reason, .. } if reason == why)
}

async fn knock(follower: &Follower) -> tests::Reply {
    follower.send(Ask::get(path("/feed/issuers"))).await
}

#[test]
fn a_code_enrols_one_responder_once_and_no_station() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let code = deployment.follower_code("ocsp-1.example", SignerKeys::Memory).await;
        deployment.try_enrol(&code, "ocsp-1.example").await.0.refused(403, "code-refused");
        deployment.try_enrol_follower(&code, "ocsp-2.example").await.0.refused(403, "code-refused");
        let (reply, key) = deployment.try_enrol_follower(&code, "ocsp-1.example").await;
        let reply: api::responders::ResponderEnrolmentReply = reply.expect(201).read();
        deployment.try_enrol_follower(&code, "ocsp-1.example").await.0.refused(403, "code-refused");

        let certificate = ParsedCertificate::from_der(&reply.certificate.0).unwrap();
        assert_eq!(certificate.dns_names(), ["ocsp-1.example"]);
        let record = deployment.record(&reply.certificate.0);
        assert_eq!(record.profile, "responder-client");
        assert_eq!(record.holder, Holder::Responder { name: "ocsp-1.example".to_owned() });
        assert_eq!(reply.chain.last().unwrap().0, deployment.root());
        assert_eq!(reply.deployment, "test");
        let audit = deployment.last_audit("responder.enrol").await;
        assert_eq!((audit.outcome.as_str(), audit.actor.as_str()), ("done", "responder ocsp-1.example"));
        assert_eq!(deployment.last_audit("responder.code").await.outcome, "done");
        let door = deployment.door_for(&reply.certificate.0, key);
        door.send(Ask::get(path("/feed/issuers"))).await.expect(200);

        let station = deployment.station_code("desk-1.example").await;
        deployment.try_enrol_follower(&station, "desk-1.example").await.0.refused(403, "code-refused");
        let late = deployment.follower_code("ocsp-3.example", SignerKeys::Memory).await;
        deployment.advance(minutes(15) + Duration::from_secs(1)).await;
        deployment.try_enrol_follower(&late, "ocsp-3.example").await.0.refused(403, "code-refused");
        for name in ["", "Ocsp", "ocsp 1", "own", &"d".repeat(65)] {
            let request =
                api::responders::ResponderCodeRequest { name: name.to_owned(), signer_keys: SignerKeys::Memory };
            let reply = deployment.admin().send(Ask::post("/responder-codes").json(&request)).await;
            assert_eq!(reply.refused(422, "invalid").errors[0].field, "name");
        }
    });
}

#[test]
fn of_two_that_use_one_code_at_the_same_time_one_is_enrolled_and_the_others_certificate_is_void() {
    isolated(async |home| {
        let options = Options { module: faulty_pkcs11::module_path(), ..Options::default() };
        let deployment = Deployment::start_with(&home, &options).await;
        let code = deployment.follower_code("ocsp-1.example", SignerKeys::Memory).await;
        let signed = home.calls("C_Sign");
        home.plan("C_Sign BLOCK");
        let go = async || {
            eventually("both signatures to be asked for", async || (home.calls("C_Sign") >= signed + 2).then_some(()))
                .await;
            home.plan("");
        };
        let ((one, _), (other, _), ()) = tokio::join!(
            deployment.try_enrol_follower(&code, "ocsp-1.example"),
            deployment.try_enrol_follower(&code, "ocsp-1.example"),
            go()
        );
        let lost = if one.status == 201 { other } else { one };
        lost.refused(403, "code-refused");
        let count = |name: &str| {
            let all = deployment.certificates();
            all.iter().filter(|one| one.profile == "responder-client" && one.state.name() == name).count()
        };
        assert_eq!((count("good"), count("void"), count("reserved")), (1, 1, 0));
    });
}

// conformance: K3
#[test]
fn a_renewed_certificate_takes_the_place_of_the_old_one_when_it_is_first_used() {
    isolated(async |home| {
        // TLS goes by the machine's own clock, so the time to renew is there from the first moment.
        let options = Options {
            config: vec![("responder_renewal_window = \"30d\"", "responder_renewal_window = \"90d\"")],
            ..Options::default()
        };
        let deployment = Deployment::start_with(&home, &options).await;
        let old = deployment.enrol_follower("ocsp-1.example").await;
        let unused = old.renewed(&deployment).await;
        // What never arrived is superseded by the next.
        let new = old.renewed(&deployment).await;
        assert!(is_revoked_for(&deployment, &unused.certificate, CrlReason::Superseded));
        knock(&unused).await.refused(401, responders::REVOKED);
        knock(&old).await.expect(200);
        let tail = old.tail(deployment.feed_place()).await;
        assert!(matches!(state(&deployment, &old.certificate), CertificateState::Good { .. }));

        let mut taken_up = new.tail(deployment.feed_place()).await;
        tail.end().await;
        assert!(is_revoked_for(&deployment, &old.certificate, CrlReason::Superseded));
        knock(&old).await.refused(401, responders::REVOKED);
        knock(&new).await.expect(200);
        taken_up.until(deployment.feed_place().position.sequence).await;
        assert!(deployment.responder("ocsp-1.example").await.connected);
        assert_eq!(deployment.last_audit("responder.renewed").await.outcome, "done");
    });
}

#[test]
fn a_certificate_is_renewed_in_the_last_part_of_its_life_and_not_before() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let follower = deployment.enrol_follower("ocsp-1.example").await;
        let problem = follower.try_renew().await.0.refused(409, "not-in-renewal-window");
        assert!(problem.detail.contains("renewed from"), "{problem:?}");
        // It lives 90 days, and is renewed in the last 30 of them.
        deployment.clock.advance(days(59));
        follower.try_renew().await.0.refused(409, "not-in-renewal-window");
        deployment.clock.advance(days(1));
        follower.try_renew().await.0.expect(201);
    });
}

#[test]
fn whoever_is_enrolled_again_has_what_it_had_before_superseded() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let first = deployment.enrol_follower("ocsp-1.example").await;
        let (_, signer) = first.signer("signing-1").await;
        let tail = first.tail(deployment.feed_place()).await;
        let second = deployment.enrol_follower_with("ocsp-1.example", SignerKeys::Token).await;
        tail.end().await;
        assert!(is_revoked_for(&deployment, &first.certificate, CrlReason::Superseded));
        assert!(is_revoked_for(&deployment, &signer.certificate.0, CrlReason::Superseded));
        knock(&first).await.refused(401, responders::REVOKED);
        knock(&second).await.expect(200);
        let view = deployment.responder("ocsp-1.example").await;
        assert_eq!((view.signer_keys, view.signers.len()), (SignerKeys::Token, 0));
        assert_eq!(deployment.responders().await.len(), 2, "the own one, and this one");
    });
}

#[test]
fn an_expelled_responder_is_cut_off_at_once_and_gets_neither_feed_nor_certificate() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let follower = deployment.enrol_follower("ocsp-1.example").await;
        let other = deployment.enrol_follower("ocsp-2.example").await;
        let (_, signer) = follower.signer("authentication-1").await;
        let (_, others) = other.signer("authentication-1").await;
        let tail = follower.tail(deployment.feed_place()).await;
        let mut stays = other.tail(deployment.feed_place()).await;
        let waiting = deployment.follower_code("ocsp-1.example", SignerKeys::Memory).await;

        let would = deployment.expulsion("ocsp-1.example", false).await;
        assert!(!would.done);
        assert_eq!((would.certificates.len(), would.connections), (2, 1));
        knock(&follower).await.expect(200);
        assert!(matches!(state(&deployment, &signer.certificate.0), CertificateState::Good { .. }));

        let done = deployment.expulsion("ocsp-1.example", true).await;
        assert!(done.done);
        assert_eq!(done.certificates, would.certificates);
        tail.end().await;
        for certificate in [&follower.certificate, &signer.certificate.0] {
            assert!(is_revoked_for(&deployment, certificate, CrlReason::CessationOfOperation));
        }
        knock(&follower).await.refused(401, responders::EXPELLED);
        follower.try_signer("authentication-1", &tests::card::new_key()).await.refused(401, responders::EXPELLED);
        follower.try_renew().await.0.refused(401, responders::EXPELLED);
        let refused = follower.try_tail(deployment.feed_place()).await.whole().await.unwrap();
        refused.refused(401, responders::EXPELLED);
        deployment.try_enrol_follower(&waiting, "ocsp-1.example").await.0.refused(403, "code-refused");
        let audit = deployment.last_audit("responder.expel").await;
        assert_eq!(audit.outcome, "done");
        assert_eq!(audit.targets.len(), 3, "{audit:?}");
        assert!(deployment.responder("ocsp-1.example").await.expelled_at.is_some());

        // Nobody else is touched, and it does not count any more.
        stays.until(deployment.feed_place().position.sequence).await;
        assert!(matches!(state(&deployment, &others.certificate.0), CertificateState::Good { .. }));
        let request = api::responders::ResponderExpulsionRequest {
            name: "ocsp-1.example".to_owned(),
            compromised: false,
            really: true,
        };
        for name in ["ocsp-1.example", "ocsp-9.example", "own"] {
            let request = api::responders::ResponderExpulsionRequest { name: name.to_owned(), ..request.clone() };
            let reply = deployment.admin().send(Ask::post("/responders/expulsions").json(&request)).await;
            if name == "ocsp-1.example" {
                let at = deployment.responder(name).await.expelled_at.expect("a time");
                let detail = reply.refused(409, "state").detail;
                assert!(detail.contains(&at) && detail.contains("cardinal responder enrol"), "{detail}");
            } else {
                reply.refused(404, "not-found");
            }
        }
        let deployment = deployment.restart().await;
        knock(&follower).await.refused(401, responders::EXPELLED);
        let again = deployment.enrol_follower("ocsp-1.example").await;
        knock(&again).await.expect(200);
    });
}

fn description(deployment: &Deployment, id: &str) -> IssuerDescription {
    let authority = deployment.service.authority();
    authority.issuer(id).unwrap().description().clone()
}

// conformance: O10, O12, K3
#[test]
fn a_responders_signer_is_a_delegate_of_its_issuer_and_lives_as_long_as_the_ca_operator_said() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let memory = deployment.enrol_follower("memory.example").await;
        let token = deployment.enrol_follower_with("token.example", SignerKeys::Token).await;
        for (follower, life) in [(&memory, days(1)), (&token, days(7))] {
            for issuer in ["authentication-1", "signing-1", "devices-1"] {
                let (key, reply) = follower.signer(issuer).await;
                let description = description(&deployment, issuer);
                let signer = IssuerSigner::delegate(key, reply.certificate.0.clone(), &description, false).unwrap();
                let certificate = ParsedCertificate::from_der(&reply.certificate.0).unwrap();
                let lives = signer.not_after().since(certificate.not_before());
                assert_eq!(lives, life - Duration::from_secs(1), "both its ends are in it");
                let replace_at: Timestamp = reply.replace_at.parse().unwrap();
                assert!(replace_at > certificate.not_before());
                assert!(replace_at.since(certificate.not_before()) < life / 2, "before half its life");
                let record = deployment.record(&reply.certificate.0);
                assert_eq!(record.profile, "ocsp-signer");
                assert_eq!(record.holder, Holder::Service { name: format!("ocsp:{issuer}:{}", follower.name) });
                let subject = certificate.subject().unwrap().to_string();
                let names = format!("OCSP signer of {issuer} at {}", follower.name);
                assert!(subject.contains(&names), "{subject}");
                let audit = deployment.last_audit("responder.signer").await;
                assert_eq!(audit.actor, format!("responder {}", follower.name));
                assert!(audit.targets.contains(&format!("issuer {issuer}")), "{audit:?}");
            }
        }
        // A name as long as one can be does not fit into the subject with the rest; it is recorded whole.
        let long = deployment.enrol_follower(&format!("{}.example", "o".repeat(56))).await;
        let (_, reply) = long.signer("authentication-1").await;
        let holder = deployment.record(&reply.certificate.0).holder;
        assert_eq!(holder, Holder::Service { name: format!("ocsp:authentication-1:{}", long.name) });
    });
}

// conformance: K3
#[test]
fn a_responder_has_one_signer_of_each_kind_and_the_one_before_it() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let follower = deployment.enrol_follower("ocsp-1.example").await;
        let mut signers = Vec::new();
        for _ in 0..3 {
            signers.push(follower.signer("signing-1").await.1.certificate.0);
        }
        let other_issuer = follower.signer("devices-1").await.1.certificate.0;
        let rsa = Arc::new(MemoryKey::generate(KeyType::Rsa2048).unwrap());
        let reply: api::feed::SignerReply = follower.try_signer("signing-1", &rsa).await.expect(201).read();
        let other_kind = reply.certificate.0;
        assert!(is_revoked_for(&deployment, &signers[0], CrlReason::Superseded));
        for good in [&signers[1], &signers[2], &other_issuer, &other_kind] {
            assert!(matches!(state(&deployment, good), CertificateState::Good { .. }));
        }
        assert_eq!(deployment.responder("ocsp-1.example").await.signers.len(), 4);
        // What has ended makes no room that is needed.
        deployment.advance(days(2)).await;
        follower.signer("signing-1").await;
        assert_eq!(deployment.responder("ocsp-1.example").await.signers.len(), 1);
    });
}

#[test]
fn a_signer_is_for_a_new_key_and_a_known_issuer_and_not_more_often_than_permitted() {
    isolated(async |home| {
        let options = Options {
            config: vec![("responder_signers_per_hour = 300", "responder_signers_per_hour = 3")],
            ..Options::default()
        };
        let deployment = Deployment::start_with(&home, &options).await;
        let follower = deployment.enrol_follower("ocsp-1.example").await;
        let other = deployment.enrol_follower("ocsp-2.example").await;
        for unknown in ["root-1", "nobody-1", "signing-2", "", "../signing-1"] {
            follower.try_signer(unknown, &tests::card::new_key()).await.refused(404, "not-found");
        }
        // The client certificate's own key, and one that has a certificate.
        follower.try_signer("signing-1", &follower.key).await.refused_by("R8");
        let (key, _) = follower.signer("signing-1").await;
        follower.try_signer("signing-1", &key).await.refused_by("R8");
        other.try_signer("signing-1", &key).await.refused_by("R8");

        let refused = follower.try_signer("signing-1", &tests::card::new_key()).await;
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((3000..=3601).contains(&wait), "{wait}");
        refused.refused(429, "too-many-signers");
        follower.signer("devices-1").await;
        other.signer("signing-1").await;
        deployment.advance(minutes(61)).await;
        follower.signer("signing-1").await;
    });
}
