//! The status feed over mutual TLS: a snapshot, then what is new, for as long as the follower's certificate is good.

use std::collections::BTreeMap;
use std::time::Duration;

use api::admin::BackupRequest;
use api::cards::CardStatusReply;
use api::feed::{ResponderId, UnknownSerial};
use pki::feed::frame::Frame;
use pki::feed::{FeedPosition, Mark, PublishedStatus};
use pki::{CrlReason, SerialNumber, Timestamp};
use server::backup::restore;
use server::clock::Clock;
use tests::desk::path;
use tests::follower::Place;
use tests::{Ask, Options, World, eventually, isolated};

/// Before the first entry of a new deployment.
const BEGINNING: Place = Place { position: FeedPosition { epoch: 1, sequence: 0 }, mark: Mark::NONE };

/// The status of every certificate that has one, by the store's own records.
fn recorded(world: &World) -> BTreeMap<(String, SerialNumber), PublishedStatus> {
    let entries = world.certificates().into_iter().filter_map(|record| record.status_entry());
    entries.map(|entry| ((entry.issuer, entry.serial), entry.status)).collect()
}

#[test]
fn a_snapshot_and_the_tail_after_it_are_every_status_and_a_change_comes_at_once() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let (place, entries) = follower.snapshot().await;
        let mut known: BTreeMap<_, _> =
            entries.into_iter().map(|entry| ((entry.issuer, entry.serial), entry.status)).collect();
        let mut tail = follower.tail(place).await;
        let here = world.feed_place().position;
        let (entries, heartbeat) = tail.until(here.sequence).await;
        for (expected, (sequence, entry)) in (place.position.sequence + 1..).zip(entries) {
            assert_eq!(sequence, expected);
            known.insert((entry.issuer, entry.serial), entry.status);
        }
        assert_eq!(known, recorded(&world));
        let Frame::Heartbeat { position, as_of, issuers } = heartbeat else { panic!("{heartbeat:?}") };
        assert_eq!(position, here);
        assert!(as_of <= world.clock.now());
        let document = follower.issuers().await;
        assert_eq!(document.revision, data_encoding::HEXLOWER.encode(&issuers));
        assert_eq!(document.origin, follower.origin.to_string());

        // The follower that has not acknowledged yet is waited for, and counted as what it is.
        let reply: CardStatusReply = world.issuer.suspend(&card, "investigation").await;
        assert_eq!((reply.published.seen_by, reply.published.responders, reply.published.connected), (1, 2, 2));
        let (entries, _) = tail.until(reply.published.sequence).await;
        let held = entries.iter().filter(|(_, entry)| matches!(entry.status, PublishedStatus::OnHold { .. })).count();
        assert_eq!(held, 2, "{entries:?}");

        follower.acknowledge(world.feed_place().position).await.expect(204);
        let (reply, ()) = tokio::join!(world.issuer.resume(&card, "investigation"), async {
            let (mut last, mut good) = (0, 0);
            while good < 2 {
                let (sequence, entry) = tail.entry().await;
                good += usize::from(matches!(entry.status, PublishedStatus::Good { .. }));
                last = sequence;
            }
            follower.acknowledge(FeedPosition { epoch: 1, sequence: last }).await.expect(204);
        });
        assert_eq!((reply.published.seen_by, reply.published.responders, reply.published.connected), (2, 2, 2));
    });
}

#[test]
fn the_feed_says_each_second_that_nothing_is_newer_and_never_speaks_of_what_it_has_not_sent() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        // From the first entry on: what is not kept in memory comes from the store.
        let mut tail = follower.tail(BEGINNING).await;
        let (mut sent, mut last, mut heartbeats) = (0, Timestamp::EPOCH, 0);
        while heartbeats < 4 {
            match tail.next().await.unwrap() {
                Frame::Hello { .. } => panic!("a second greeting"),
                Frame::Entry { sequence, .. } => {
                    assert_eq!(sequence, sent + 1);
                    sent = sequence;
                }
                Frame::Heartbeat { position, as_of, .. } => {
                    assert_eq!(position, FeedPosition { epoch: 1, sequence: sent });
                    assert!(as_of > last, "{as_of} after {last}");
                    assert!(as_of <= world.clock.now());
                    (last, heartbeats) = (as_of, heartbeats + 1);
                }
            }
        }
        assert_eq!(sent, world.feed_place().position.sequence);
    });
}

#[test]
fn a_follower_that_is_not_where_the_feed_is_is_told_so() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let here = world.feed_place();
        let FeedPosition { epoch, sequence } = here.position;
        let elsewhere = [
            ("another epoch", epoch + 1, sequence, here.mark),
            ("an older epoch", epoch - 1, sequence, here.mark),
            ("ahead of it", epoch, sequence + 1, here.mark),
            ("another entry", epoch, sequence, Mark::of(b"another")),
            ("no entry", epoch, sequence, Mark::NONE),
            ("an entry before the first", epoch, 0, here.mark),
        ];
        for (what, epoch, sequence, mark) in elsewhere {
            let reply = follower.try_tail(Place { position: FeedPosition { epoch, sequence }, mark }).await;
            let problem = reply.whole().await.unwrap().refused(409, api::feed::DIVERGED);
            assert!(problem.detail.contains("snapshot"), "{what}: {problem:?}");
        }
        let bad = Ask::get(path("/feed/tail?epoch=1&after=0&mark=zz"));
        follower.send(bad).await.refused(400, "mark");
        for bad in ["", "?epoch=1&after=0", "?epoch=1&after=-1&mark=00", "?epoch=1&after=0&mark=00&more=1"] {
            follower.send(Ask::get(path(&format!("/feed/tail{bad}")))).await.refused(400, "request");
        }
        for (epoch, sequence) in [(epoch, sequence + 1), (epoch + 1, sequence), (epoch - 1, 1)] {
            follower.acknowledge(FeedPosition { epoch, sequence }).await.refused(409, api::feed::DIVERGED);
        }
        assert_eq!(world.responder("ocsp-1.example").await.acknowledged, None);
    });
}

#[test]
fn what_each_responder_has_seen_and_how_far_it_is_behind_is_shown() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (near, far) = (world.enrol_follower("near.example").await, world.enrol_follower("far.example").await);
        world.enrol_follower("never.example").await;
        let before = world.feed_place();
        let (mut near_tail, far_tail) = (near.tail(before).await, far.tail(before).await);
        let card = world.card().await;
        world.issuer.suspend(&card, "investigation").await;
        let here = world.feed_place().position;
        near_tail.until(here.sequence).await;
        near.acknowledge(here).await.expect(204);
        // An older one that comes late changes nothing.
        near.acknowledge(before.position).await.expect(204);

        let view = world.responder("near.example").await;
        assert_eq!((view.connected, view.acknowledged, view.lag_entries), (true, Some(here.sequence), Some(0)));
        assert_eq!(view.lag_ms, Some(0));
        let view = world.responder("far.example").await;
        let lag = here.sequence - before.position.sequence;
        assert_eq!((view.connected, view.acknowledged), (true, Some(before.position.sequence)));
        assert_eq!(view.lag_entries, Some(lag));
        world.clock.advance(Duration::from_secs(60));
        assert!(world.responder("far.example").await.lag_ms >= Some(60_000));
        let view = world.responder("never.example").await;
        assert_eq!((view.connected, view.acknowledged, view.lag_entries), (false, None, None));
        let names: Vec<String> = world.responders().await.into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["own", "far.example", "near.example", "never.example"]);
        assert_eq!(world.status().await.responders.len(), 4);

        let metrics = String::from_utf8(world.operations().send(Ask::get("/metrics")).await.body.to_vec()).unwrap();
        for line in [
            "cardinal_feed_follower_connected{responder=\"own\"} 1".to_owned(),
            "cardinal_feed_follower_connected{responder=\"never.example\"} 0".to_owned(),
            format!("cardinal_feed_follower_lag_entries{{responder=\"far.example\"}} {lag}"),
            "cardinal_feed_follower_lag_entries{responder=\"near.example\"} 0".to_owned(),
            "cardinal_feed_follower_lag_seconds{responder=\"near.example\"} 0.0".to_owned(),
        ] {
            assert!(metrics.lines().any(|one| one == line), "{line} in\n{metrics}");
        }
        let warnings = world.status().await.warnings;
        for (name, what) in [("never.example", "does not follow"), ("far.example", "behind")] {
            assert!(warnings.iter().any(|one| one.contains(name) && one.contains(what)), "{warnings:?}");
        }
        assert!(!warnings.iter().any(|one| one.contains("near.example")), "{warnings:?}");

        // Nobody waits for a responder that went.
        drop(far_tail);
        eventually("the end of a connection to be seen", async || {
            (!world.responder("far.example").await.connected).then_some(())
        })
        .await;
        near.acknowledge(world.feed_place().position).await.expect(204);
    });
}

#[test]
fn many_follow_at_once_and_each_gets_every_entry() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let mut tails = Vec::new();
        for number in 0..8 {
            let follower = world.enrol_follower(&format!("ocsp-{number}.example")).await;
            for _ in 0..2 {
                tails.push(follower.tail(BEGINNING).await);
            }
        }
        let card = world.card().await;
        world.issuer.cancel(&card, "lost").await;
        let here = world.feed_place().position.sequence;
        for mut tail in tails {
            let (entries, _) = tail.until(here).await;
            assert!(entries.iter().map(|(sequence, _)| *sequence).eq(1..=here));
        }
    });
}

#[test]
fn more_than_may_follow_are_told_to_come_back() {
    isolated(async |home| {
        let options = Options { config: vec![("feed_followers = 256", "feed_followers = 2")], ..Options::default() };
        let world = World::with(&home, &options).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let other = world.enrol_follower("ocsp-2.example").await;
        let here = world.feed_place();
        let (first, _second) = (follower.tail(here).await, follower.tail(here).await);
        let refused = other.try_tail(here).await.whole().await.unwrap();
        assert!(refused.refused(503, "busy").detail.contains("feed_followers"));
        drop(first);
        eventually("a place to become free", async || (other.try_tail(here).await.status == 200).then_some(())).await;
    });
}

#[test]
fn a_responder_that_opens_many_tails_ends_its_own_and_takes_no_place_of_others() {
    isolated(async |home| {
        let options = Options { config: vec![("feed_followers = 256", "feed_followers = 3")], ..Options::default() };
        let world = World::with(&home, &options).await;
        let (greedy, other) =
            (world.enrol_follower("ocsp-1.example").await, world.enrol_follower("ocsp-2.example").await);
        let here = world.feed_place();
        let (mut before, mut newest) = (greedy.tail(here).await, greedy.tail(here).await);
        for _ in 0..20 {
            let next = greedy.tail(here).await;
            before.end().await;
            (before, newest) = (newest, next);
        }
        let mut others = other.tail(here).await;
        let newer = greedy.tail(here).await;
        before.end().await;
        let refused = other.try_tail(here).await.whole().await.unwrap();
        assert!(refused.refused(503, "busy").detail.contains("feed_followers"));
        let card = world.card().await;
        world.issuer.cancel(&card, "lost").await;
        let place = world.feed_place().position.sequence;
        for tail in [&mut newest, &mut others] {
            tail.until(place).await;
        }
        drop(newer);
    });
}

#[test]
fn more_than_may_fetch_a_snapshot_at_one_time_are_told_to_come_back() {
    isolated(async |home| {
        let options = Options { config: vec![("feed_snapshots = 4", "feed_snapshots = 1")], ..Options::default() };
        let world = World::with(&home, &options).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let other = world.enrol_follower("ocsp-2.example").await;
        follower.snapshot().await;
        // So long that no buffer between the two holds it.
        let file = world.config.service.data_dir.join("status.snapshot");
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(256 << 20).unwrap();
        let first = follower.try_snapshot().await;
        assert_eq!(first.status, 200);
        let refused = other.try_snapshot().await.whole().await.unwrap();
        assert!(refused.refused(503, "busy").detail.contains("feed_snapshots"));
        drop(first);
        eventually("a place to become free", async || (other.try_snapshot().await.status == 200).then_some(())).await;
    });
}

#[test]
fn a_follower_is_cut_off_when_its_certificate_is_put_on_hold_or_ends() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let other = world.enrol_follower("ocsp-2.example").await;
        let tail = follower.tail(world.feed_place()).await;
        let mut others = other.tail(world.feed_place()).await;
        world.change_certificate(&follower.certificate, |record, now| record.hold(now));
        tail.end().await;
        follower.send(Ask::get(path("/feed/issuers"))).await.refused(401, "client-certificate");
        let refused = follower.try_tail(world.feed_place()).await.whole().await.unwrap();
        refused.refused(401, "client-certificate");
        others.until(world.feed_place().position.sequence).await;

        world.change_certificate(&follower.certificate, |record, now| record.release(now));
        let tail = follower.tail(world.feed_place()).await;
        // Its certificate lives 90 days.
        world.clock.advance(tests::clock::days(91));
        tail.end().await;
        others.end().await;
        follower.send(Ask::get(path("/feed/issuers"))).await.refused(401, "client-certificate");
    });
}

#[test]
fn a_tail_ends_with_the_service_and_goes_on_after_it() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let here = world.feed_place();
        let mut tail = follower.tail(here).await;
        tail.until(here.position.sequence).await;
        let (world, ()) = tokio::join!(world.restart(), tail.end());
        // It is enrolled still, and has the same place.
        assert!(!world.responder("ocsp-1.example").await.connected);
        let mut tail = follower.tail(here).await;
        tail.until(world.feed_place().position.sequence).await;
        let (place, _) = follower.snapshot().await;
        assert_eq!(place.position.epoch, 1);
        assert_eq!(place, world_place(&world, place.position.sequence));
    });
}

/// A place that the store knows.
fn world_place(world: &World, sequence: u64) -> Place {
    let (_, entry) = world.service.store.feed(sequence - 1, 1).unwrap().remove(0);
    Place { position: FeedPosition { epoch: 1, sequence }, mark: Mark::of(&entry) }
}

#[test]
fn a_snapshot_that_is_lost_is_made_anew() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let file = world.config.service.data_dir.join("status.snapshot");
        let (before, _) = follower.snapshot().await;
        let known = recorded(&world);
        for damage in [None, Some(&b"rubbish"[..]), Some(&[0; 100])] {
            std::fs::remove_file(&file).unwrap();
            if let Some(bytes) = damage {
                std::fs::write(&file, bytes).unwrap();
            }
            let (place, entries) = follower.snapshot().await;
            assert!(place.position > before.position);
            assert_eq!(place, world.feed_place());
            let entries: BTreeMap<_, _> =
                entries.into_iter().map(|entry| ((entry.issuer, entry.serial), entry.status)).collect();
            assert_eq!(entries, known);
        }
    });
}

#[test]
fn the_issuers_come_with_what_leads_to_the_root_and_a_new_one_is_told_by_the_next_heartbeat() {
    isolated(async |home| {
        let config = vec![
            ("responder_id = \"key\"", "responder_id = \"name\""),
            ("unknown_serial = \"unknown\"", "unknown_serial = \"revoked\""),
        ];
        let world = World::with(&home, &Options { config, ..Options::default() }).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let before = follower.issuers().await;
        // conformance: O4, O11
        assert_eq!((before.responder_id, before.unknown_serial), (ResponderId::Name, UnknownSerial::Revoked));
        let ids: Vec<&str> = before.issuers.iter().map(|issuer| issuer.id.as_str()).collect();
        assert_eq!(ids, ["authentication-1", "devices-1", "signing-1"]);
        assert_eq!(before.above.iter().map(|der| der.0.clone()).collect::<Vec<_>>(), [world.root()]);
        for issuer in &before.issuers {
            assert_eq!(issuer.certificate.0, world.issuer(&issuer.id));
        }
        let times = before.issuers[0].times;
        assert_eq!(times.next_update, Duration::from_secs(600));
        assert_eq!((times.max_age, times.withhold_after), (Duration::from_secs(5), Duration::from_secs(300)));
        assert_eq!((before.heartbeat, before.stale_after), (Duration::from_secs(1), Duration::from_secs(5)));

        let mut tail = follower.tail(world.feed_place()).await;
        world.rotate("issuing-ca", Some("authentication"), Some("2h")).await;
        let revision = loop {
            if let Some(Frame::Heartbeat { issuers, .. }) = tail.next().await {
                let revision = data_encoding::HEXLOWER.encode(&issuers);
                if revision != before.revision {
                    break revision;
                }
            }
        };
        let after = follower.issuers().await;
        assert_eq!(after.revision, revision);
        assert_eq!(after.origin, before.origin);
        let new = after.issuers.iter().find(|issuer| issuer.id == "authentication-2").unwrap();
        assert_eq!(new.times, times);
    });
}

// A revocation of a follower's own certificate comes by the feed as well, before it is cut off or never.
#[test]
fn a_responder_whose_certificate_is_revoked_gets_nothing_of_what_comes_after() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let mut tail = follower.tail(world.feed_place()).await;
        let last = world.feed_place().position.sequence;
        world.change_certificate(&follower.certificate, |record, now| {
            record.revoke(now, CrlReason::KeyCompromise, None)
        });
        let mut newest = last;
        while let Some(frame) = tail.next().await {
            if let Frame::Entry { sequence, .. } = frame {
                newest = sequence;
            }
        }
        assert!(newest <= last + 1);
        world.card().await;
        let refused = follower.try_tail(world.feed_place()).await.whole().await.unwrap();
        refused.refused(401, api::responders::REVOKED);
    });
}

#[test]
fn a_restore_raises_the_epoch_and_whoever_followed_before_fetches_a_snapshot() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let follower = world.enrol_follower("ocsp-1.example").await;
        let card = world.card().await;
        let file = home.file("one.backup");
        let request = BackupRequest { path: file.display().to_string() };
        world.admin().send(Ask::post("/backup").json(&request)).await.expect(201);
        let at_backup = world.feed_place();
        // What is lost by the restore, and was seen by followers.
        world.issuer.suspend(&card, "investigation").await;
        let seen = world.feed_place();
        let mut tail = follower.tail(seen).await;
        tail.until(seen.position.sequence).await;

        let World { deployment, .. } = world;
        let (site, ()) = tokio::join!(deployment.stop(), tail.end());
        let config = site.config.clone();
        let restored = tokio::task::spawn_blocking(move || restore(&config, &file, true)).await.unwrap();
        restored.unwrap_or_else(|error| panic!("{error}"));
        let deployment = site.start().await;
        for before in [seen, at_backup] {
            let reply = follower.try_tail(before).await.whole().await.unwrap();
            reply.refused(409, api::feed::DIVERGED);
        }
        let (place, _) = follower.snapshot().await;
        assert!(place.position.epoch > seen.position.epoch);
        let mut tail = follower.tail(place).await;
        tail.until(deployment.feed_place().position.sequence).await;
        assert_eq!(follower.issuers().await.origin, follower.origin.to_string());
    });
}
