//! What happens to responders of their own in the course of years: their signers are replaced, CA keys and roots are
//! rotated, the CA is restored from a backup, and some are expelled. Whoever asks them notices nothing of the first three.

mod aftermath;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aftermath::{started, stopped};
use api::admin::{BackupReply, BackupRequest};
use pki::CrlReason;
use pki::certificate::ParsedCertificate;
use pki::ocsp::{CertStatus, ErrorStatus, ResponseError};
use tests::{Ask, Options, PaperCard, RemoteResponder, World, eventually, isolated};

/// Relying systems that ask a responder all the time. Each answer is verified, and none may fail.
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
    failed: Mutex<Vec<String>>,
    /// The keys of the delegates that signed for the certificate of the first card.
    signers: Mutex<BTreeSet<Vec<u8>>>,
}

impl Load {
    fn begin(world: &Arc<World>, responder: &Arc<RemoteResponder>, card: &PaperCard) -> Running {
        let load = Arc::new(Load {
            stop: AtomicBool::new(false),
            answered: AtomicUsize::default(),
            failed: Mutex::default(),
            signers: Mutex::default(),
        });
        let client = |nonce: Option<&'static [u8]>| {
            let (load, world, responder, card) = (load.clone(), world.clone(), responder.clone(), card.clone());
            tokio::spawn(async move {
                while !load.stop.load(Ordering::SeqCst) {
                    for certificate in [&card.authentication_certificate, &card.signing_certificate] {
                        load.ask(&world, &responder, certificate, nonce).await;
                    }
                }
            })
        };
        Running { clients: vec![client(None), client(Some(&[5; 32]))], load }
    }

    async fn ask(&self, world: &World, responder: &RemoteResponder, certificate: &[u8], nonce: Option<&[u8]>) {
        match world.ask_ocsp_at(&responder.public(), certificate, nonce).await {
            Ok(answer) if answer.status == CertStatus::Good => {
                let delegate = answer.delegate.as_ref().expect("a delegate");
                // conformance: O13
                assert!(answer.next_update <= delegate.not_after(), "{answer:?} {delegate:?}");
                self.signers.lock().unwrap().insert(delegate.public_key().key_bits().to_vec());
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
            other => self.failed.lock().unwrap().push(format!("{other:?}")),
        }
    }
}

struct Running {
    load: Arc<Load>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    /// Waits until more was answered, or anything failed.
    async fn goes_on(&self) {
        let before = self.load.answered.load(Ordering::SeqCst);
        eventually("answers", async || {
            let enough = self.load.answered.load(Ordering::SeqCst) >= before + 20;
            (enough || !self.load.failed.lock().unwrap().is_empty()).then_some(())
        })
        .await;
        self.none_failed();
    }

    fn none_failed(&self) {
        assert_eq!(*self.load.failed.lock().unwrap(), Vec::<String>::new());
    }

    fn signers(&self) -> usize {
        self.load.signers.lock().unwrap().len()
    }

    async fn end(self) {
        self.load.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
        assert_eq!(*self.load.failed.lock().unwrap(), Vec::<String>::new());
    }
}

async fn rotated(world: &World, kind: &str, target: Option<&str>) {
    let begun = world.rotate(kind, target, Some("1s")).await;
    eventually("a rotation that is whole", async || {
        let rotations = world.rotations().await;
        let found = rotations.into_iter().find(|one| one.id == begun.id).expect("the rotation");
        let failure = found.steps.iter().find_map(|step| step.failure.clone());
        assert_eq!(failure, None, "{found:?}");
        (found.state == "done").then_some(())
    })
    .await;
}

// conformance: K3, O12, O13
#[test]
fn signers_of_a_responder_are_replaced_before_half_their_life_and_no_request_fails() {
    isolated(async |home| {
        let config = vec![
            ("ocsp_next_update_authentication = \"10m\"", "ocsp_next_update_authentication = \"9s\""),
            ("ocsp_next_update_other = \"4h\"", "ocsp_next_update_other = \"9s\""),
            ("ocsp_max_age_authentication = \"5s\"", "ocsp_max_age_authentication = \"1s\""),
            ("ocsp_max_age_other = \"5m\"", "ocsp_max_age_other = \"1s\""),
            ("feed_withhold_authentication = \"5m\"", "feed_withhold_authentication = \"8s\""),
            ("feed_withhold_other = \"1h\"", "feed_withhold_other = \"8s\""),
            ("ocsp_signer_renewal_window = \"6h\"", "ocsp_signer_renewal_window = \"10s\""),
            ("ocsp_signer_life = \"24h\"", "ocsp_signer_life = \"24s\""),
        ];
        let world = Arc::new(World::with(&home, &Options { config, ..Options::default() }).await);
        let mut responder = world.enrol_responder(1).await;
        responder.start().await;
        let responder = Arc::new(responder);
        let card = world.card().await;
        world.followed_by(2).await;
        let load = Load::begin(&world, &responder, &card);
        // Two issuers are asked about: six signers are two replacements of each.
        eventually("signers that are replaced", async || {
            load.none_failed();
            (load.signers() >= 6).then_some(())
        })
        .await;
        load.goes_on().await;
        load.end().await;
        // One live key each, and the one before.
        let all = world.responders().await;
        let one = all.iter().find(|one| one.name == responder.name).unwrap();
        assert!((3..=6).contains(&one.signers.len()), "{one:?}");
    });
}

// conformance: O10, O12, C16
#[test]
fn no_request_to_a_responder_fails_while_issuing_cas_and_the_root_are_rotated() {
    isolated(async |home| {
        let world = Arc::new(World::new(&home).await);
        let mut responder = world.enrol_responder(1).await;
        responder.start().await;
        let responder = Arc::new(responder);
        let before = world.card().await;
        world.followed_by(2).await;
        let load = Load::begin(&world, &responder, &before);
        load.goes_on().await;
        for (kind, target) in [
            ("issuing-ca", Some("authentication")),
            ("root", None),
            ("issuing-ca", Some("devices")),
            ("tls", None),
            ("issuing-ca", Some("signing")),
        ] {
            rotated(&world, kind, target).await;
            // Of the new key, and of the old one; each by a delegate of its own.
            let card = world.card().await;
            for certificate in [&card.authentication_certificate, &card.signing_certificate] {
                let status = world.ask_ocsp_at(&responder.public(), certificate, None).await;
                assert_eq!(status.map(|answer| answer.status), Ok(CertStatus::Good), "{kind} {target:?}");
            }
            load.goes_on().await;
            world.followed_by(2).await;
            let reply = world.issuer.cancel(&card, "lost").await;
            assert_eq!((reply.published.seen_by, reply.published.responders), (2, 2), "{kind} {target:?}");
        }
        load.end().await;
        let Ok(mut responder) = Arc::try_unwrap(responder) else { panic!("a client is still there") };
        // What it learnt stays: the new root is one that it trusts.
        let roots = std::fs::read(responder.data.join("ca.pem")).unwrap();
        let roots = pki::pem::decode_certificates(&roots).unwrap();
        for id in ["root-1", "root-2"] {
            assert!(roots.contains(&world.issuer(id)), "{id}");
        }
        responder.stop().await;
        responder.start().await;
        world.followed_by(2).await;
        assert_eq!(responder.ocsp(&world, &before.authentication_certificate).await, CertStatus::Good);
    });
}

// conformance: O6
#[test]
fn an_expelled_responder_answers_nothing_any_more_and_its_signers_are_revoked() {
    isolated(async |home| {
        // Nothing is withheld for its age in this time.
        let world = World::new(&home).await;
        let (mut expelled, mut other) = (world.enrol_responder(1).await, world.enrol_responder(2).await);
        expelled.start().await;
        other.start().await;
        world.followed_by(3).await;
        let card = world.card().await;
        for certificate in [&card.authentication_certificate, &card.signing_certificate] {
            assert_eq!(expelled.ocsp(&world, certificate).await, CertStatus::Good);
        }
        let answer = world.ask_ocsp_at(&expelled.public(), &card.authentication_certificate, None).await.unwrap();
        let signer = answer.delegate.unwrap().public_key().key_bits().to_vec();
        assert!(expelled.data.join("replica/snapshot").exists());

        let reply = world.expel(&expelled.name).await;
        assert!(reply.done && reply.connections >= 1, "{reply:?}");
        // Its own certificate, and a signer for each of the three CAs.
        assert!(reply.certificates.len() >= 4, "{reply:?}");
        expelled.says(503, "was expelled at").await;
        let try_later = async |site: &tests::deployment::Site, expelled: &RemoteResponder| {
            for certificate in [&card.authentication_certificate, &card.signing_certificate] {
                for nonce in [None, Some(&[5; 32][..])] {
                    let withheld = site.ask_ocsp_at(&expelled.public(), certificate, nonce).await;
                    assert_eq!(withheld.unwrap_err(), ResponseError::Status(ErrorStatus::TryLater));
                }
            }
        };
        try_later(&world, &expelled).await;
        assert_eq!(expelled.metric("cardinal_responder_expelled").await, 1.0);
        let files = ["replica/snapshot", "replica/tail"].map(|file| expelled.data.join(file));
        eventually("a replica that is removed", async || files.iter().all(|file| !file.exists()).then_some(())).await;
        assert_eq!(expelled.words().matches("does not want this responder any more").count(), 1);
        let change = world.issuer.suspend(&card, "investigation").await;
        assert_eq!((change.published.seen_by, change.published.responders), (2, 2), "the expelled one does not count");
        let held = other.ocsp(&world, &card.authentication_certificate).await;
        assert!(matches!(held, CertStatus::Revoked { reason: CrlReason::CertificateHold, .. }));

        // Its signers are on the CRLs, by whatever serial number they have.
        world.publish_crls().await;
        let records = world.certificates();
        let of_signer = |der: &Vec<u8>| ParsedCertificate::from_der(der).unwrap().public_key().key_bits() == signer;
        let record = records.iter().find(|record| record.der.as_ref().is_some_and(of_signer)).expect("its record");
        assert!(world.read_crl("authentication-1").await.entry(&record.id.serial).is_some());

        // A restart changes nothing, with the CA or without it; a new code does, with a new certificate.
        expelled.kill();
        expelled.spawn(expelled.command(&["run"]));
        expelled.says(503, "was expelled at").await;
        expelled.kill();
        let (site, desk) = stopped(world).await;
        expelled.spawn(expelled.command(&["run"]));
        expelled.says(503, "no heartbeat yet").await;
        try_later(&site, &expelled).await;
        expelled.kill();
        let world = started(site, desk).await;
        let code = world.responder_code(&expelled.name, Default::default()).await;
        assert!(expelled.enrol(&code).unwrap_err().contains("--replace"));
        expelled.enrol_with(&code, &["--replace"]).unwrap();
        expelled.start().await;
        world.followed_by(3).await;
        let held = expelled.ocsp(&world, &card.authentication_certificate).await;
        assert!(matches!(held, CertStatus::Revoked { reason: CrlReason::CertificateHold, .. }));
    });
}

// conformance: O6
#[test]
fn a_restore_raises_the_epoch_and_responders_take_the_statuses_of_the_backup() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let mut responder = world.enrol_responder(1).await;
        responder.start().await;
        world.followed_by(2).await;
        let (kept, lost) = (world.card().await, world.card().await);
        world.issuer.cancel(&lost, "lost").await;
        let file = home.file("one.backup");
        let request = BackupRequest { path: file.display().to_string() };
        let made: BackupReply = world.admin().send(Ask::post("/backup").json(&request)).await.expect(201).read();
        let after = world.card().await;
        world.followed_by(2).await;
        assert_eq!(responder.ocsp(&world, &after.authentication_certificate).await, CertStatus::Good);
        let snapshots = responder.metric("cardinal_feed_snapshots_total").await;

        let (site, desk) = stopped(world).await;
        let restored = server::backup::restore(&site.config, &file, true).unwrap();
        let world = started(site, desk).await;
        assert_eq!(world.status().await.feed_epoch, restored.feed_epoch);
        assert!(restored.feed_epoch > 1 && world.status().await.feed_sequence >= made.feed_sequence);
        world.followed_by(2).await;
        responder.is_well().await;
        assert!(responder.metric("cardinal_feed_snapshots_total").await > snapshots);
        assert_eq!(responder.ocsp(&world, &kept.authentication_certificate).await, CertStatus::Good);
        let revoked = responder.ocsp(&world, &lost.authentication_certificate).await;
        assert!(matches!(revoked, CertStatus::Revoked { .. }));
        // What the CA no longer knows is never good.
        assert_eq!(responder.ocsp(&world, &after.authentication_certificate).await, CertStatus::Unknown);
        let reply = world.issuer.cancel(&kept, "lost").await;
        assert_eq!((reply.published.seen_by, reply.published.responders), (2, 2));
        // And that is what it starts from.
        responder.stop().await;
        responder.start().await;
        let revoked = responder.ocsp(&world, &kept.authentication_certificate).await;
        assert!(matches!(revoked, CertStatus::Revoked { .. }));
    });
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

// conformance: O6
#[test]
fn a_ca_that_was_put_back_without_a_restore_is_not_followed() {
    isolated(async |home| {
        let config = vec![
            ("feed_heartbeat = \"1s\"", "feed_heartbeat = \"200ms\""),
            ("feed_stale = \"5s\"", "feed_stale = \"2s\""),
            ("feed_withhold_authentication = \"5m\"", "feed_withhold_authentication = \"4s\""),
        ];
        let world = World::with(&home, &Options { config, ..Options::default() }).await;
        let mut responder = world.enrol_responder(1).await;
        responder.start().await;
        let card = world.card().await;
        world.followed_by(2).await;
        let (site, desk) = stopped(world).await;
        let (data, copy) = (site.config.service.data_dir.clone(), home.file("copy"));
        copy_dir(&data, &copy);
        let world = started(site, desk).await;
        world.followed_by(2).await;
        world.issuer.cancel(&card, "lost").await;
        let revoked = responder.ocsp(&world, &card.authentication_certificate).await;
        assert!(matches!(revoked, CertStatus::Revoked { .. }));

        // As an older copy of the machine brings it back. It goes on, and past where the responder was.
        let sequence = world.status().await.feed_sequence;
        let (site, desk) = stopped(world).await;
        std::fs::remove_dir_all(&data).unwrap();
        copy_dir(&copy, &data);
        let world = started(site, desk).await;
        assert!(world.status().await.feed_sequence < sequence);
        while world.status().await.feed_sequence <= sequence + 2 {
            world.card().await;
        }
        responder.says(503, "withheld").await;
        let (_, said) = responder.readiness().await.unwrap();
        assert!(said.to_string().contains("cardinal restore"), "{said}");
        let withheld = world.ask_ocsp_at(&responder.public(), &card.authentication_certificate, None).await;
        assert_eq!(withheld.unwrap_err(), ResponseError::Status(ErrorStatus::TryLater));
    });
}
