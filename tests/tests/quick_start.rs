//! A start that reads neither the whole store nor every certificate's record, and answers as one that does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ocsp_responder::snapshot::{Snapshot, SnapshotWriter};
use pki::feed::FeedPosition;
use pki::ocsp::CertStatus;
use server::statuses::Source;
use server::{Edge, prepare};
use sha2::{Digest, Sha256};
use tests::clock::minutes;
use tests::{PaperCard, World, isolated};
use tokio::sync::watch;

fn file(world: &World) -> PathBuf {
    world.config.service.data_dir.join("status.snapshot")
}

fn source(world: &World) -> Source {
    world.service.statuses.source().expect("the statuses were read")
}

/// What OCSP says of one card each that is good, on hold, cancelled and pending.
async fn said(world: &World, cards: &[PaperCard; 4]) -> Vec<CertStatus> {
    let mut said = Vec::new();
    for card in cards {
        said.push(world.ocsp(&card.authentication_certificate).await);
        said.push(world.ocsp(&card.signing_certificate).await);
    }
    assert!(matches!(said[0], CertStatus::Good));
    assert!(said[2..].iter().all(|status| matches!(status, CertStatus::Revoked { .. })));
    said
}

async fn cards(world: &World) -> [PaperCard; 4] {
    let [good, held, cancelled] = [world.card().await, world.card().await, world.card().await];
    world.issuer.suspend(&held, "investigation").await;
    world.issuer.cancel(&cancelled, "stolen").await;
    let person = world.person().await;
    [good, held, cancelled, world.pending(&person).await.0]
}

#[test]
fn a_start_takes_the_statuses_from_the_file_and_what_came_later_from_the_feed() {
    isolated(async |home| {
        let world = World::new(&home).await;
        // Nothing was there at the first start.
        assert!(matches!(source(&world), Source::Records { because: None, .. }));
        let cards = cards(&world).await;
        let before = said(&world, &cards).await;
        let known = world.certificates().iter().filter(|record| record.status_entry().is_some()).count();
        let world = world.restart().await;
        let Source::Snapshot { certificates, entries: 0 } = source(&world) else { panic!("{:?}", source(&world)) };
        assert_eq!(certificates, known as u64);
        assert_eq!(said(&world, &cards).await, before);

        // The file of before, as a kill leaves it.
        let old = fs::read(file(&world)).unwrap();
        world.issuer.cancel(&cards[0], "left").await;
        let path = file(&world);
        let World { deployment, station, checker, issuer } = world;
        let site = deployment.stop().await;
        assert_ne!(fs::read(&path).unwrap(), old, "a stop saves what came");
        fs::write(&path, &old).unwrap();
        let world = World { deployment: site.start().await, station, checker, issuer };
        assert!(matches!(source(&world), Source::Snapshot { entries: 2.., .. }), "{:?}", source(&world));
        let status = world.ocsp(&cards[0].authentication_certificate).await;
        assert!(matches!(status, CertStatus::Revoked { .. }), "{status:?}");
    });
}

#[test]
fn a_file_that_is_damaged_or_of_another_store_is_not_used() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let early = fs::read(file(&world)).unwrap();
        let cards = cards(&world).await;
        let before = said(&world, &cards).await;
        let path = file(&world);
        let mut world = world;
        for case in ["cut", "flipped", "rubbish", "ahead"] {
            let World { deployment, station, checker, issuer } = world;
            let site = deployment.stop().await;
            let whole = fs::read(&path).unwrap();
            match case {
                "cut" => fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
                "flipped" => {
                    let mut flipped = whole;
                    let middle = flipped.len() / 2;
                    flipped[middle] ^= 1;
                    fs::write(&path, flipped).unwrap();
                }
                "rubbish" => fs::write(&path, "rubbish").unwrap(),
                // A file that says it goes further than the feed: its numbers are patched, and its digest with them.
                _ => {
                    let mut ahead = early[..early.len() - 32].to_vec();
                    ahead[16..24].copy_from_slice(&1_000_000u64.to_be_bytes());
                    ahead.extend(Sha256::digest(&ahead));
                    fs::write(&path, ahead).unwrap();
                }
            }
            world = World { deployment: site.start().await, station, checker, issuer };
            let Source::Records { because: Some(because), .. } = source(&world) else { panic!("{case}") };
            let expected = ["is damaged", "is damaged", "no snapshot", "the store is at entry"];
            assert!(expected.iter().any(|text| because.contains(text)), "{case}: {because}");
            assert_eq!(said(&world, &cards).await, before, "{case}");
        }
        // A new one was made at once.
        let world = world.restart().await;
        assert!(matches!(source(&world), Source::Snapshot { .. }));
        assert_eq!(said(&world, &cards).await, before);
    });
}

#[test]
fn the_file_is_made_anew_after_an_hour_in_which_something_happened() {
    isolated(async |home| {
        let mut world = World::new(&home).await;
        let first = fs::read(file(&world)).unwrap();
        world.card().await;
        world.advance(minutes(61)).await;
        tests::eventually("a new file", async || (fs::read(file(&world)).unwrap() != first).then_some(())).await;
        world.login_again().await;
        world = world.restart().await;
        assert!(matches!(source(&world), Source::Snapshot { .. }));
    });
}

/// Removes the first audit record as no medium would, and makes the witness of the stop say that the files look as this
/// left them.
fn remove_a_record(store: &Path) {
    let db = sled::open(store.join("sled")).unwrap();
    assert!(db.remove([&b"A"[..], &0u64.to_be_bytes()].concat()).unwrap().is_some());
    drop(db);
    let log = fs::File::options().write(true).open(store.join("sled/db")).unwrap();
    // sled's threads hold its lock to their end, and write until then.
    log.lock().unwrap();
    let look = log.metadata().unwrap();
    let mut witness = fs::read(store.join("clean")).unwrap();
    witness.truncate(witness.len() - 32 - 24);
    witness.extend(look.len().to_be_bytes());
    witness.extend([look.mtime(), look.mtime_nsec()].map(i64::to_be_bytes).concat());
    let digest = Sha256::digest(&witness);
    witness.extend(digest);
    fs::write(store.join("clean"), witness).unwrap();
}

#[test]
fn damage_that_is_found_beside_the_work_ends_the_service_and_is_named() {
    isolated(async |home| {
        let site = World::new(&home).await.deployment.stop().await;
        remove_a_record(&site.config.store.path);
        let edge = || Edge { clock: site.clock.clone(), steps: site.gate.clone() };
        let prepared = prepare(site.config.clone(), edge()).await.expect("a start that does not look that far");
        let (_stop, stopped) = watch::channel(false);
        let ended = prepared.run(stopped).await.expect_err("the service ends by itself");
        assert!(ended.to_string().contains("damaged") && ended.to_string().contains("cardinal restore"), "{ended}");
        let again = prepare(site.config.clone(), edge()).await.map(drop).expect_err("the next start looks first");
        assert!(again.to_string().contains("audit record 0 is missing"), "{again}");
    });
}

#[test]
fn files_that_are_wanted_at_once_are_made_one_by_one_and_of_this_history() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let service = std::sync::Arc::clone(&world.service);
        let there = || {
            let store::Position { epoch, sequence } = service.store.feed_position().unwrap();
            FeedPosition { epoch, sequence }
        };
        let saved = || {
            let bytes = fs::read(file(&world)).unwrap();
            let snapshot = Snapshot::open(&bytes).unwrap();
            (snapshot.place(), snapshot.len())
        };
        // One from before a restore, at a place that is still right: it must not be gone on with.
        let (place, _) = saved();
        let mut other = place;
        other.position.epoch += 1;
        let (_, bytes) = SnapshotWriter::new(Vec::new(), other).finish().unwrap();
        fs::write(file(&world), bytes).unwrap();
        world.card().await;
        service.statuses.save(service.store.as_ref(), service.now()).unwrap();
        let known = || world.certificates().iter().filter(|record| record.status_entry().is_some()).count() as u64;
        assert_eq!((saved().0.position, saved().1), (there(), known()));

        fs::remove_file(file(&world)).unwrap();
        world.card().await;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| service.statuses.save(service.store.as_ref(), service.now()).unwrap());
            }
        });
        assert_eq!((saved().0.position, saved().1), (there(), known()));
    });
}
