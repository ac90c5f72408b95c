//! Backups of a running service, and what is so after one was restored.

mod aftermath;
mod cardinal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use aftermath::{Desk, all_agrees, ocsp_of, of_cards, started, stopped};
use api::admin::{BackupReply, BackupRequest, CrlReply};
use pki::crl::CrlNumber;
use pki::ocsp::CertStatus;
use server::backup::{restore, verify};
use server::{FirstOrganisation, initialise};
use tests::deployment::Site;
use tests::{Ask, PaperCard, World, eventually, isolated};

async fn backup(world: &World, file: &Path) -> BackupReply {
    let request = BackupRequest { path: file.display().to_string() };
    world.admin().send(Ask::post("/backup").json(&request)).await.expect(201).read()
}

/// The same site, with its data elsewhere.
fn elsewhere(site: &Site, name: &str) -> Site {
    let mut config = site.config.clone();
    let data = site.home.file(name);
    config.store.path = data.join("store");
    config.listen.admin_socket = data.join("admin.sock");
    config.service.data_dir = data;
    Site { home: site.home.clone(), config, clock: Arc::clone(&site.clock), gate: Arc::clone(&site.gate) }
}

/// What is beside the store, and can be made again: the files with the CA certificates, and the root's CRL.
async fn completed(site: Site) -> Site {
    let config = site.config.clone();
    let first = FirstOrganisation { code: "RX1".to_owned(), name: "Example Trust".to_owned() };
    let made = tokio::task::spawn_blocking(move || initialise(&config, &first, "uid 0"));
    made.await.unwrap().unwrap();
    site
}

fn highest(reply: &CrlReply, issuer: &str) -> u64 {
    reply.crls.iter().find(|crl| crl.issuer == issuer).expect("a CRL of each issuer").number
}

// conformance: C6
#[test]
fn a_backup_made_under_load_has_all_that_was_acknowledged_before_it() {
    isolated(async |home| {
        let world = Arc::new(World::new(&home).await);
        let (told, stop) = (Arc::new(Mutex::new(Vec::<PaperCard>::new())), Arc::new(AtomicBool::new(false)));
        let mut clients = Vec::new();
        for _ in 0..3 {
            let (person, world) = (world.person().await, Arc::clone(&world));
            let (told, stop) = (Arc::clone(&told), Arc::clone(&stop));
            clients.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let card = world.issuer.personalise(PaperCard::new(), &person).await;
                    told.lock().unwrap().push(card);
                }
            }));
        }
        let count = || told.lock().unwrap().len();
        eventually("some cards", async || (count() >= 6).then_some(())).await;
        let before = told.lock().unwrap().clone();
        let file = home.file("first.backup");
        let made = backup(&world, &file).await;
        let at_backup = count();
        eventually("more cards", async || (count() >= at_backup + 3).then_some(())).await;
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }
        // The disaster comes right after a burst of CRLs.
        let mut last = world.publish_crls().await;
        for _ in 0..20 {
            last = world.publish_crls().await;
        }
        let status = world.status().await;
        let known = of_cards(&world);

        let checked = verify(&file).unwrap();
        assert_eq!((checked.bytes, &checked.sha256), (made.bytes, &made.sha256));
        assert_eq!(checked.feed_sequence, made.feed_sequence);

        let Ok(world) = Arc::try_unwrap(world) else { panic!("a client is still there") };
        let (site, desk) = stopped(world).await;
        let site = elsewhere(&site, "restored");
        let restored = restore(&site.config, &file, false).unwrap();
        assert_eq!(restored.moved_aside, None);
        assert!(restored.feed_epoch > status.feed_epoch);
        let world = started(completed(site).await, desk).await;
        let after = world.status().await;
        assert_eq!(after.feed_epoch, restored.feed_epoch);
        assert!(after.feed_sequence >= made.feed_sequence);
        for card in &before {
            for certificate in [&card.authentication_certificate, &card.signing_certificate] {
                assert_eq!(world.record(certificate).der.as_ref(), Some(certificate));
                assert_eq!(world.ocsp(certificate).await, CertStatus::Good);
            }
            assert_eq!(world.issuer.card(card).await.state, "active");
        }
        all_agrees(&world).await;
        let restored_records = of_cards(&world);
        let lost: Vec<_> = known.keys().filter(|id| !restored_records.contains_key(id)).collect();
        assert!(!lost.is_empty(), "the burst after the backup is not in it");
        for id in lost {
            assert_eq!(ocsp_of(&world, id).await, CertStatus::Unknown, "{id}: what is not known is never good");
        }
        let now = world.publish_crls().await;
        for issuer in ["authentication-1", "signing-1", "devices-1"] {
            assert!(highest(&now, issuer) > highest(&last, issuer), "{issuer}: {now:?} after {last:?}");
            let number = world.read_crl(issuer).await.description().number;
            assert!(number >= CrlNumber::from(highest(&now, issuer)));
        }
        // It works on.
        world.card().await;
    });
}

async fn with_a_backup(world: World, file: &Path) -> (Site, Desk) {
    backup(&world, file).await;
    stopped(world).await
}

fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_store_that_is_there_is_replaced_only_when_that_is_said_and_then_moved_aside() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let before = world.card().await;
        let file = home.file("one.backup");
        backup(&world, &file).await;
        let after = world.card().await;
        world.rotate("tls", None, None).await;
        let door = |site: &Site| {
            let chain = std::fs::read(site.config.service.data_dir.join("tls/server.crt")).unwrap();
            pki::pem::decode_certificates(&chain).unwrap().remove(0)
        };
        let door_after = door(&world);
        let epoch = world.status().await.feed_epoch;
        let in_use = restore(&world.config, &file, true).unwrap_err().to_string();
        let store = world.config.store.path.clone();
        assert!(in_use.contains(&store.display().to_string()), "{in_use}");
        let (site, desk) = stopped(world).await;

        let untouched = content(&store);
        let error = restore(&site.config, &file, false).unwrap_err().to_string();
        assert!(error.contains(&store.display().to_string()), "{error}");
        assert_eq!(content(&store), untouched);

        let done = restore(&site.config, &file, true).unwrap();
        let aside = PathBuf::from(done.moved_aside.expect("where the old store is"));
        assert_eq!(content(&aside).len(), untouched.len());
        assert!(done.feed_epoch > epoch);
        let world = started(site, desk).await;
        let door_now = door(&world);
        assert_ne!(door_now, door_after, "the store does not know it any more");
        assert_eq!(world.ocsp(&door_now).await, CertStatus::Good);
        assert_eq!(world.ocsp(&before.authentication_certificate).await, CertStatus::Good);
        assert_eq!(world.ocsp(&after.authentication_certificate).await, CertStatus::Unknown);
        all_agrees(&world).await;
    });
}

#[test]
fn a_damaged_backup_is_refused_and_the_target_left_as_it_is() {
    isolated(async |home| {
        let file = home.file("one.backup");
        let (site, desk) = with_a_backup(World::new(&home).await, &file).await;
        let whole = std::fs::read(&file).unwrap();
        let untouched = content(&site.config.store.path);
        let beside = std::fs::read_dir(&site.config.service.data_dir).unwrap().count();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for (what, damaged) in [
            ("a bit", flipped),
            ("its end", whole[..whole.len() - 1].to_vec()),
            ("half", whole[..whole.len() / 2].to_vec()),
            ("all", Vec::new()),
            ("more", [whole.as_slice(), b"x"].concat()),
            ("another file", b"-----BEGIN CERTIFICATE-----".to_vec()),
        ] {
            std::fs::write(&file, damaged).unwrap();
            verify(&file).unwrap_err();
            let error = restore(&site.config, &file, true).unwrap_err().to_string();
            assert!(error.contains("backup"), "{what}: {error}");
            assert_eq!(content(&site.config.store.path), untouched, "{what}");
            assert_eq!(std::fs::read_dir(&site.config.service.data_dir).unwrap().count(), beside, "{what}");
        }
        all_agrees(&started(site, desk).await.deployment).await;
    });
}

#[test]
fn a_backup_never_overwrites_a_file_and_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    isolated(async |home| {
        let world = World::new(&home).await;
        let file = home.file("one.backup");
        backup(&world, &file).await;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let first = std::fs::read(&file).unwrap();
        let again = BackupRequest { path: file.display().to_string() };
        let refused = world.admin().send(Ask::post("/backup").json(&again)).await.refused(422, "backup");
        assert!(refused.detail.contains("name another"), "{refused:?}");
        assert_eq!(std::fs::read(&file).unwrap(), first);
        let nowhere = BackupRequest { path: home.file("no/such/directory/file").display().to_string() };
        world.admin().send(Ask::post("/backup").json(&nowhere)).await.refused(422, "backup");
        let relative = BackupRequest { path: "file".to_owned() };
        world.admin().send(Ask::post("/backup").json(&relative)).await.refused(422, "invalid");
    });
}

#[test]
fn cardinal_restore_without_yes_only_says_what_it_would_do() {
    isolated(async |home| {
        let file = home.file("one.backup");
        let (site, desk) = with_a_backup(World::new(&home).await, &file).await;
        let path = file.display().to_string();
        let untouched = content(&site.config.store.path);
        let config = site.config.file();
        let dry = cardinal::run(config, &["restore", &path, "--replace"]);
        let said = String::from_utf8_lossy(&dry.stdout).into_owned();
        assert!(dry.status.success() && said.contains("Nothing was done") && said.contains("--yes"), "{dry:?}");
        assert_eq!(content(&site.config.store.path), untouched);

        let refused = cardinal::run(config, &["restore", &path, "--yes"]);
        assert!(!refused.status.success(), "{refused:?}");
        assert_eq!(content(&site.config.store.path), untouched);

        let done = cardinal::run(config, &["--json", "restore", &path, "--replace", "--yes"]);
        assert!(done.status.success(), "{done:?}");
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert!(Path::new(report["moved_aside"].as_str().unwrap()).is_dir(), "{report}");
        all_agrees(&started(site, desk).await.deployment).await;
    });
}
