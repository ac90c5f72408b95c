//! A responder's replica on disk, with processes that die: what was acknowledged is there, what is not whole is fetched
//! again, and an old `good` never comes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ocsp_responder::node::replica_dir::{Reading, ReplicaDir, ReplicaStep, Unwatched, inspect};
use ocsp_responder::{Responder, ResponderOptions};
use pki::feed::Origin;
use pki::ocsp::CertStatus;
use tests::{Ask, PaperCard, RemoteResponder, World, eventually, isolated};

fn replica(responder: &RemoteResponder) -> PathBuf {
    responder.data.join("replica")
}

/// Whose feed a responder follows, as its enrolment left it.
fn origin(responder: &RemoteResponder) -> Origin {
    let text = fs::read(responder.data.join("enrolled.json")).unwrap();
    let enrolled: serde_json::Value = serde_json::from_slice(&text).unwrap();
    enrolled["origin"].as_str().unwrap().parse().unwrap()
}

fn reading(responder: &RemoteResponder) -> Reading {
    inspect(&replica(responder), origin(responder)).0
}

/// The place up to which a replica is whole.
fn whole(responder: &RemoteResponder) -> u64 {
    match reading(responder) {
        Reading::Whole(loaded) => loaded.place().position.sequence,
        other => panic!("{other:?}"),
    }
}

fn doomed(responder: &RemoteResponder, at: ReplicaStep) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doomed-responder"));
    command.arg(&responder.config).env("DOOMED_AT", at.name());
    command
}

async fn says_what_is_so(world: &World, responder: &RemoteResponder, good: &PaperCard, cancelled: &[PaperCard]) {
    assert_eq!(responder.ocsp(world, &good.authentication_certificate).await, CertStatus::Good);
    for card in cancelled {
        for certificate in [&card.authentication_certificate, &card.signing_certificate] {
            let status = responder.ocsp(world, certificate).await;
            assert!(matches!(status, CertStatus::Revoked { .. }), "{status:?}");
        }
    }
}

// conformance: O6
#[test]
fn kill_at_each_step_of_writing_the_replica_leaves_one_that_is_whole() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let good = world.card().await;
        let mut responder = world.enrol_responder(1).await;
        let mut cancelled = Vec::new();
        let first = [
            ReplicaStep::SnapshotWritten,
            ReplicaStep::TailWritten,
            ReplicaStep::SnapshotSwapped,
            ReplicaStep::TailSwapped,
            ReplicaStep::IssuersWritten,
            ReplicaStep::IssuersSwapped,
        ];
        for step in first {
            let _ = fs::remove_dir_all(replica(&responder));
            responder.spawn(doomed(&responder, step));
            responder.killed_itself().await;
            // There was none before: none, or the new one, which only its own `seen` may find wanting.
            let left = reading(&responder);
            assert!(!matches!(left, Reading::Whole(ref loaded) if loaded.as_of().is_some()), "{step:?}: {left:?}");
            responder.start().await;
            says_what_is_so(&world, &responder, &good, &cancelled).await;
            responder.stop().await;
        }
        for step in [ReplicaStep::EntriesWritten, ReplicaStep::EntriesDurable] {
            let card = world.card().await;
            responder.start().await;
            world.followed_by(2).await;
            responder.stop().await;
            let before = whole(&responder);
            // It follows what is there already, its own signers with it, and dies of what comes then.
            let armed = home.file(step.name());
            let mut command = doomed(&responder, step);
            command.env("DOOMED_WHEN", &armed);
            responder.spawn(command);
            responder.ready().await;
            world.followed_by(2).await;
            fs::write(&armed, []).unwrap();
            let reply = world.issuer.cancel(&card, "lost").await;
            responder.killed_itself().await;
            assert_eq!((reply.published.seen_by, reply.published.responders), (1, 2), "nobody died and acknowledged");
            // Written and not yet durable counts as well, as long as the machine lives on.
            assert!(whole(&responder) > before, "{step:?}");
            cancelled.push(card);
            responder.start().await;
            says_what_is_so(&world, &responder, &good, &cancelled).await;
            responder.stop().await;
        }
        // `seen` is written with the first heartbeat already.
        responder.spawn(doomed(&responder, ReplicaStep::SeenWritten));
        responder.killed_itself().await;
        assert!(whole(&responder) > 0);
        responder.start().await;
        says_what_is_so(&world, &responder, &good, &cancelled).await;
    });
}

// conformance: O6
#[test]
fn kill_at_any_time_under_load_never_brings_an_old_good_back() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let good = world.card().await;
        let mut responder = world.enrol_responder(1).await;
        let kills = std::env::var("CARDINAL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4_usize).min(20);
        for _ in 0..kills {
            responder.start().await;
            world.followed_by(2).await;
            let mut cancelled = Vec::new();
            for _ in 0..3 {
                let card = world.card().await;
                let reply = world.issuer.cancel(&card, "lost").await;
                assert_eq!((reply.published.seen_by, reply.published.responders), (2, 2));
                cancelled.push(card);
            }
            let sequence = world.status().await.feed_sequence;
            responder.kill();
            // What was acknowledged is there, to the last entry.
            assert_eq!(whole(&responder), sequence);
            responder.start().await;
            says_what_is_so(&world, &responder, &good, &cancelled).await;
            responder.kill();
        }
    });
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn copied(from: &Path, to: &Path) {
    for file in ["snapshot", "tail"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// A replica of another CA, whole in itself.
fn foreign(dir: &Path) {
    let (other, _) = ReplicaDir::open(dir, Origin::from_bytes([9; 32]), Arc::new(Unwatched)).unwrap();
    let responder = Responder::new(ResponderOptions::default());
    let place = ocsp_responder::snapshot::SnapshotPlace { position: Default::default(), mark: [0; 32] };
    let mut bytes = Vec::new();
    ocsp_responder::snapshot::SnapshotWriter::new(&mut bytes, place).finish().unwrap();
    other.take_snapshot(&bytes, None, &responder).unwrap();
}

// conformance: O6
#[test]
fn a_replica_that_is_damaged_older_or_of_another_ca_is_refused_and_fetched_again() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let mut responder = world.enrol_responder(1).await;
        let (good, lost) = (world.card().await, world.card().await);
        responder.start().await;
        world.followed_by(2).await;
        let dir = replica(&responder);
        let old = home.file("old");
        fs::create_dir(&old).unwrap();
        copied(&dir, &old);
        world.issuer.cancel(&lost, "lost").await;
        responder.stop().await;
        assert!(matches!(reading(&responder), Reading::Whole(_)));

        let snapshots = "cardinal_feed_snapshots_total";
        type Spoil<'a> = (&'a str, &'a dyn Fn());
        let spoils: [Spoil<'_>; 6] = [
            ("a flipped bit in the snapshot", &|| flip(&dir.join("snapshot"), 100)),
            ("a flipped bit in the tail", &|| flip(&dir.join("tail"), 200)),
            ("a tail that was cut", &|| {
                let file = fs::File::options().write(true).open(dir.join("tail")).unwrap();
                file.set_len(file.metadata().unwrap().len() - 5).unwrap();
            }),
            ("an older copy", &|| copied(&old, &dir)),
            ("a lost seen", &|| fs::remove_file(dir.join("seen")).unwrap()),
            ("another CA's", &|| {
                fs::remove_dir_all(&dir).unwrap();
                foreign(&dir);
            }),
        ];
        for (what, spoil) in spoils {
            // So that there is a tail.
            responder.start().await;
            let card = world.card().await;
            world.issuer.cancel(&card, "lost").await;
            responder.stop().await;
            spoil();
            let checked = responder.command(&["check"]).output().unwrap();
            let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
            // The systemd unit checks before it starts, and what `run` mends by itself must not keep it from that.
            assert!(checked.status.success() && said.contains("`run` removes it"), "{what}: {said}");
            assert!(!said.contains("PROBLEM"), "{what}: {said}");
            assert!(matches!(reading(&responder), Reading::Refused(_)), "{what}");
            responder.start().await;
            assert!(responder.metric(snapshots).await >= 1.0, "{what}: it is fetched anew");
            says_what_is_so(&world, &responder, &good, &[lost.clone(), card]).await;
            responder.stop().await;
            assert!(matches!(reading(&responder), Reading::Whole(_)), "{what}");
        }
    });
}

#[test]
fn with_a_full_disk_it_answers_by_what_comes_and_does_not_acknowledge_it() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let good = world.card().await;
        let mut responder = world.enrol_responder(1).await;
        responder.start().await;
        world.followed_by(2).await;
        responder.stop().await;
        // A full disk is a limit on the size of files, which needs no rights.
        let length = fs::metadata(replica(&responder).join("tail")).unwrap().len();
        let blocks = length.max(2048).div_ceil(512) + 2;
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\" 2>/dev/null"));
        command.arg(tests::program::ocsp_responder()).arg("--config").arg(&responder.config).arg("run");
        responder.spawn(command);
        responder.ready().await;
        let mut cancelled = Vec::new();
        let card = loop {
            let card = world.card().await;
            let reply = world.issuer.cancel(&card, "lost").await;
            if reply.published.seen_by < reply.published.responders {
                break card;
            }
            cancelled.push(card);
            assert!(cancelled.len() < 50, "the disk does not fill");
        };
        cancelled.push(card);
        responder.says(200, "none is kept on disk").await;
        assert!(!replica(&responder).join("snapshot").exists() && !replica(&responder).join("tail").exists());
        eventually("statuses that are applied all the same", async || {
            let status = responder.ocsp(&world, &cancelled.last()?.authentication_certificate).await;
            matches!(status, CertStatus::Revoked { .. }).then_some(())
        })
        .await;
        says_what_is_so(&world, &responder, &good, &cancelled).await;
        let reply = world.issuer.suspend(&good, "investigation").await;
        assert_eq!((reply.published.seen_by, reply.published.responders), (1, 2));
        world.issuer.resume(&good, "investigation").await;
        let metrics = responder.operations().send(Ask::get("/metrics")).await.expect(200);
        let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
        assert!(metrics.lines().any(|line| line.contains("replica_kept") && line.ends_with(" 0")), "{metrics}");

        // Room again.
        responder.kill();
        responder.start().await;
        world.followed_by(2).await;
        responder.is_well().await;
        says_what_is_so(&world, &responder, &good, &cancelled).await;
        responder.stop().await;
        assert_eq!(whole(&responder), world.status().await.feed_sequence);
    });
}
