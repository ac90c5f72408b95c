//! A new key of the root, linked to the old one, and the root's CRLs: made by the root's token, tracked by the service.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::admin::CrlReply;
use api::rotation::{RootWork, RotationView};
use hsm::MemoryKey;
use pki::certificate::ParsedCertificate;
use server::clock::Clock;
use server::rotation::PresentRoot;
use tests::openssl::{openssl, write_certificate};
use tests::rotations::{lose_private_key, request};
use tests::{Ask, Deployment, Door, Options, World, eventually, isolated};

const HOUR: Duration = Duration::from_secs(3600);

async fn served(deployment: &Deployment, name: &str) -> Vec<u8> {
    deployment.public().send(Ask::get(format!("/ca/{name}.cer"))).await.expect(200).body.to_vec()
}

/// Whether a path leads from the leaf to this anchor, and to no other, by OpenSSL's reading.
fn path(dir: &Path, now: i64, anchor: &[u8], between: &[&[u8]], leaf: &[u8]) -> Result<String, String> {
    write_certificate(dir, "anchor.pem", anchor);
    write_certificate(dir, "leaf.pem", leaf);
    std::fs::write(dir.join("between.pem"), pki::pem::encode_certificates(between)).unwrap();
    let options = format!(
        "verify -x509_strict -attime {now} -no-CApath -no-CAstore -CAfile anchor.pem -untrusted between.pem leaf.pem"
    );
    openssl(dir, &options.split_whitespace().collect::<Vec<_>>())
}

async fn whole(deployment: &Deployment, id: &str) {
    eventually("the rotation to be whole", async || {
        let rotations = deployment.rotations().await;
        rotations.iter().any(|one| one.id == id && one.state == "done").then_some(())
    })
    .await;
}

// conformance: K2
#[test]
fn paths_lead_from_both_keys_of_the_root_to_what_either_signed() {
    isolated(async |home| {
        // The clients here go by the real clock, and what is issued after the overlap is to be valid for them.
        let config = vec![("clock_tolerance = \"5s\"", "clock_tolerance = \"10m\"")];
        let mut world = World::with(&home, &Options { config, ..Options::default() }).await;
        let before = world.card().await.authentication_certificate.clone();
        let plan = world.rotation_plan(&request("root", None, None)).await;
        assert!(plan.relying_systems.iter().any(|line| line.contains("/ca/root-2.new-with-old.cer")), "{plan:?}");

        let rotation = world.rotate("root", None, Some("5m")).await;
        assert_eq!(rotation.state, "waiting", "{rotation:?}");
        let (old, new) = (served(&world, "root-1").await, served(&world, "root-2").await);
        let new_with_old = served(&world, "root-2.new-with-old").await;
        let old_with_new = served(&world, "root-2.old-with-new").await;
        let read = |der: &[u8]| ParsedCertificate::from_der(der).unwrap();
        let [old_root, new_root, up, down] = [&old, &new, &new_with_old, &old_with_new].map(|der| read(der));
        // RFC 9810 4.4: one name, each key certified by the other, and the times of both.
        for one in [&new_root, &up, &down] {
            assert_eq!(one.subject_der(), old_root.subject_der());
            assert_eq!(one.issuer_der(), old_root.subject_der());
        }
        up.verify_signed_by(old_root.public_key()).unwrap();
        down.verify_signed_by(new_root.public_key()).unwrap();
        assert_eq!(up.public_key(), new_root.public_key());
        assert_eq!(down.public_key(), old_root.public_key());
        assert_eq!((up.not_before(), up.not_after()), (new_root.not_before(), old_root.not_after()));
        assert_eq!((down.not_before(), down.not_after()), (old_root.not_before(), old_root.not_after()));
        for root in ["root-1", "root-2"] {
            world.read_crl(root).await;
        }

        // The API door is reached from either anchor, by a station and by nobody in particular.
        let reached = async |world: &World, anchor: &[u8]| {
            let config = station::tls::plain_config(&[anchor.to_vec()]).unwrap();
            let reply = Door::Tls(world.config.listen.api, config).send(Ask::get("/api/v1/service")).await;
            assert_eq!(reply.status, 401);
        };
        for anchor in [&old, &new] {
            reached(&world, anchor).await;
        }
        let code = world.station_code("desk-9").await;

        world.advance(Duration::from_secs(301)).await;
        whole(&world, &rotation.id).await;
        assert_eq!(world.issuer_state("root-2").await, "offline");
        assert_eq!(world.issuer_state("root-1").await, "status_only");
        // A code that names the old key is good to its end, and one that names the new key is, too.
        for (name, code) in [("desk-9", code), ("desk-10", world.station_code("desk-10").await)] {
            let enrolment = station::enrol::Enrolment {
                server: format!("https://{}", world.config.listen.api),
                code,
                name: name.to_owned(),
                directory: home.file(name),
                replace: false,
                module: None,
            };
            station::enrol::join(&enrolment).await.unwrap();
        }

        // The next issuing CAs are the new key's; a card of either leads to both anchors.
        for ca in ["authentication", "devices"] {
            assert_eq!(world.rotate("issuing-ca", Some(ca), Some("0s")).await.state, "done");
        }
        let after = world.card().await.authentication_certificate.clone();
        let (one, two) = (world.issuer("authentication-1"), world.issuer("authentication-2"));
        read(&two).verify_signed_by(new_root.public_key()).unwrap();
        let (dir, now) = (world.scratch(), world.clock.now().unix_seconds());
        let verify = |anchor, between: &[&[u8]], leaf| path(&dir, now, anchor, between, leaf);
        verify(&old, &[&one], &before).unwrap();
        verify(&new, &[&two], &after).unwrap();
        verify(&new, &[&one, &old_with_new], &before).unwrap();
        verify(&old, &[&two, &new_with_old], &after).unwrap();
        verify(&new, &[&one], &before).unwrap_err();
        verify(&old, &[&two], &after).unwrap_err();
        // All of it is in the bundle.
        let bundle = world.public().send(Ask::get("/ca/bundle.pem")).await.expect(200);
        let bundle = pki::pem::decode_certificates(&bundle.body).unwrap();
        for one in [&old, &new, &new_with_old, &old_with_new, &one, &two] {
            assert!(bundle.contains(one));
        }
        // It leads from each anchor to each card, as it is: links stand before the roots.
        let bundle: Vec<&[u8]> = bundle.iter().map(Vec::as_slice).collect();
        for (anchor, leaf) in [(&old, &before), (&old, &after), (&new, &before), (&new, &after)] {
            verify(anchor, &bundle, leaf).unwrap();
        }

        // A door that has its certificate from a CA of the new key: stations that know the old one only go on.
        std::fs::remove_dir_all(world.config.service.data_dir.join("tls")).unwrap();
        world = world.restart().await;
        world.login_again().await;
        world.card().await;
        for anchor in [&old, &new] {
            reached(&world, anchor).await;
        }
    });
}

// conformance: C6, C15
#[test]
fn the_roots_crl_is_signed_by_its_token_alone_and_named_early() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let begin = async || deployment.admin().send(Ask::post("/root-crls")).await.expect(200).read::<RootWork>();
        let sign = async |work: RootWork| {
            let root: PresentRoot = deployment.present_root().await;
            tokio::task::spawn_blocking(move || root.perform(&work)).await.unwrap().unwrap().done
        };
        let hand_in = async |done| deployment.admin().send(Ask::post("/root-crls/signed").json(&done)).await;
        let before = deployment.read_crl("root-1").await.description().number;
        let overtaken = sign(begin().await).await;
        let newest = sign(begin().await).await;
        // A number that another one has overtaken is refused, and so is what no root signed.
        hand_in(overtaken).await.refused(422, "root-crl");
        let mut stranger = newest.clone();
        stranger.signed[0].0 = deployment.crl("devices-1").await;
        hand_in(stranger).await.refused(422, "root-crl");
        let reply: CrlReply = hand_in(newest.clone()).await.expect(200).read();
        assert_eq!(reply.crls[0].issuer, "root-1");
        assert!(deployment.read_crl("root-1").await.description().number > before);
        assert!(hand_in(newest).await.status >= 400, "not twice");
        assert!(deployment.status().await.warnings.is_empty());

        // A CA that was given up is to stand on it.
        let published = deployment.rotate("issuing-ca", Some("devices"), None).await;
        deployment.try_back_out(&published.id).await.expect(200);
        let warned = async |word: &str| deployment.status().await.warnings.iter().any(|line| line.contains(word));
        assert!(warned("not on the CRL of root-1").await);
        hand_in(sign(begin().await).await).await.expect(200);
        let serial = ParsedCertificate::from_der(&deployment.issuer("devices-2")).unwrap().serial();
        assert!(deployment.read_crl("root-1").await.entry(&serial).is_some());
        assert!(!warned("root-1").await);

        // It is named 60 days before its end, which is early enough to fetch the token, and is no problem yet.
        deployment.advance(340 * 24 * HOUR).await;
        assert!(warned("the CRL of root-1 ends at").await);
        let ready = deployment.operations().send(Ask::get("/readyz")).await.expect(200);
        assert!(String::from_utf8_lossy(&ready.body).contains("cardinal root sign-crl"));
        hand_in(sign(begin().await).await).await.expect(200);
        assert!(!warned("root-1").await);
    });
}

// conformance: K2
#[test]
fn a_root_key_that_is_not_active_yet_can_be_given_up() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let begun: RotationView = deployment.try_rotate(&request("root", None, Some("1h"))).await.expect(201).read();
        assert!(matches!(begun.root_work, Some(RootWork::MakeKey { .. })), "{begun:?}");
        deployment.try_rotate(&request("root", None, None)).await.refused(409, "rotation-open");
        deployment.try_rotate(&request("issuing-ca", Some("devices"), None)).await.refused(409, "rotation-open");
        // Given up with a key that was made and never certified: neither it nor its number is used again.
        deployment.try_root_work(&begun).await.expect(200);
        deployment.try_back_out(&begun.id).await.expect(200);
        let begun: RotationView = deployment.try_rotate(&request("root", None, Some("1h"))).await.expect(201).read();
        assert_eq!(begun.facts["new"], "root-3");
        // Half a key, as a kill of the command in the middle of its making leaves it, is made anew.
        let present = deployment.present_root().await;
        let work = begun.root_work.clone().unwrap();
        let made = tokio::task::spawn_blocking(move || present.perform(&work)).await.unwrap().unwrap();
        lose_private_key(&deployment.config.hsm.module, &deployment.config.hsm.root, "root-3");
        let published = deployment.with_root(begun).await;
        let own = ParsedCertificate::from_der(&deployment.issuer("root-3")).unwrap();
        assert_ne!(own.public_key().spki_der(), made.done.public_key.unwrap().0);
        deployment.try_back_out(&published.id).await.expect(200);
        assert_eq!(deployment.issuer_state("root-3").await, "retired");
        deployment.advance(2 * HOUR).await;
        assert_eq!(deployment.issuer_state("root-1").await, "offline");
        // The link by the old key is to be revoked by it.
        assert!(deployment.status().await.warnings.iter().any(|line| line.contains("not on the CRL of root-1")));
        let third = deployment.rotate("root", None, Some("0s")).await;
        assert_eq!((third.state.as_str(), third.facts["new"].as_str()), ("done", "root-4"));
        assert!(deployment.restart().await.status().await.ready);
    });
}

// conformance: R6
#[test]
fn a_root_whose_key_is_compromised_gets_no_successor_and_is_told_the_way_out() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let compromised = api::keys::CompromisedKeysRequest {
            content: served(&deployment, "root-1").await.into(),
            reason: "a copy of the token was sold".to_owned(),
            people: vec!["Ada First".to_owned()],
            check_only: false,
        };
        let added: api::keys::CompromisedKeysReply =
            deployment.admin().send(Ask::post("/compromised-keys").json(&compromised)).await.expect(201).read();
        assert!(added.added == 1 && added.warnings[0].contains("ca:root"), "{added:?}");
        let begun: RotationView = deployment.try_rotate(&request("root", None, None)).await.expect(201).read();
        let refused = deployment.try_root_work(&begun).await.refused_by("R6");
        assert!(refused.detail.contains("cardinal init"), "{refused:?}");
        deployment.try_back_out(&begun.id).await.expect(200);
        assert!(deployment.rotations().await.iter().all(|one| one.state != "open"));
    });
}

#[test]
fn the_roots_token_certifies_no_key_as_the_roots_that_it_does_not_hold() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let begun: RotationView = deployment.try_rotate(&request("root", None, None)).await.expect(201).read();
        // A service in other hands says that a key of its own was made.
        let foreign: Arc<MemoryKey> = tests::card::new_key();
        let spki = hsm::Signer::public_key(foreign.as_ref()).spki_der().to_vec();
        let done = api::rotation::RootWorkDone { public_key: Some(spki.into()), signed: Vec::new() };
        let path = format!("/rotations/{}/root-work", begun.id);
        // Here it is of another kind than the root's, so the service itself does not take it.
        deployment.admin().send(Ask::post(path).json(&done)).await.refused(409, "root-work");
        let asked = deployment.try_root_work(&begun).await.expect(200).read::<RotationView>();
        let Some(RootWork::Certify { mut certificates }) = asked.root_work else { panic!("{asked:?}") };
        let token = deployment.service.token.clone();
        let key = tokio::task::spawn_blocking(move || token.generate_key_pair("mine", b"mine", pki::KeyType::P384));
        let mine = hsm::Signer::public_key(&key.await.unwrap().unwrap()).spki_der().to_vec();
        certificates[0].public_key = mine.into();
        let root = deployment.present_root().await;
        let error = root.perform(&RootWork::Certify { certificates }).unwrap_err().to_string();
        assert!(error.contains("not in the root's token"), "{error}");
        drop(root);

        // Without the root's PIN nothing is begun, and it is said what is missing.
        let pin = &deployment.config.hsm.root.pin_file;
        std::fs::rename(pin, pin.with_extension("away")).unwrap();
        let error = PresentRoot::open(&deployment.config).unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("bring both"), "{error}");
    });
}
