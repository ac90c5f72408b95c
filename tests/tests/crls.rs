//! CRLs of a service: full ones, partitions and deltas, when they are made, and how they are given out.

mod aftermath;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use aftermath::{Doomed, started, stopped};
use api::admin::{CrlReply, CrlRequest};
use ca::certificate::CertificateState;
use pki::certificate::ParsedCertificate;
use pki::crl::{CrlNumber, EntryReason, ParsedCrl};
use pki::{CrlReason, Timestamp};
use server::clock::Clock;
use server::steps::{CrlStep, Step};
use tests::clock::minutes;
use tests::deployment::Options;
use tests::openssl::{openssl, write_certificate, write_crl};
use tests::pkilint::{assert_clean, lint_crl};
use tests::{Ask, Deployment, PaperCard, World, eventually, isolated};

const ROUTE: &str = "profiles = [\"card-authentication\", \"temporary-card\"]";
const POLICY: &str = "policies = [\"1.3.6.1.4.1.99999.1.1\"]";
const HOUR: Duration = Duration::from_secs(3600);

/// Three partitions and deltas for the authentication CA.
fn partitioned() -> Options {
    Options {
        config: vec![(
            ROUTE,
            "profiles = [\"card-authentication\", \"temporary-card\"]\ncrl_delta_interval = \"10m\"\n",
        )],
        profiles: vec![(POLICY, "policies = [\"1.3.6.1.4.1.99999.1.1\"]\ncrl_shards = 3")],
        ..Options::default()
    }
}

async fn fetch(world: &Deployment, path: &str) -> ParsedCrl {
    let der = world.public().send(Ask::get(format!("/crl/{path}"))).await.expect(200).body;
    let crl = ParsedCrl::from_der(&der, 1 << 24).expect("a CRL");
    let issuer = path.split(['/', '.']).next().expect("an issuer");
    let ca = ParsedCertificate::from_der(&world.issuer(issuer)).expect("a CA certificate");
    crl.verify_signed_by(ca.public_key()).expect("the CA's signature");
    crl
}

async fn raw(world: &Deployment, path: &str) -> Vec<u8> {
    world.public().send(Ask::get(format!("/crl/{path}"))).await.expect(200).body.to_vec()
}

async fn publish(world: &Deployment, name: &str, delta: bool) -> CrlReply {
    let request = CrlRequest { name: Some(name.to_owned()), delta };
    world.admin().send(Ask::post("/crls").json(&request)).await.expect(200).read()
}

/// The reason for each certificate on a CRL.
fn listed(crl: &ParsedCrl) -> BTreeMap<Vec<u8>, EntryReason> {
    crl.entries().map(|entry| (entry.serial.as_bytes().to_vec(), entry.reason)).collect()
}

fn serial(certificate: &[u8]) -> Vec<u8> {
    ParsedCertificate::from_der(certificate).expect("a certificate").serial().as_bytes().to_vec()
}

/// The path of the CRL that a certificate names.
fn crl_path(certificate: &[u8]) -> String {
    let parsed = ParsedCertificate::from_der(certificate).expect("a certificate");
    parsed.crl_urls()[0].split_once("/crl/").expect("an address").1.to_owned()
}

/// A base with its delta says what a full CRL that is made at the same time says.
fn combined(base: &ParsedCrl, delta: &ParsedCrl) -> BTreeMap<Vec<u8>, EntryReason> {
    let mut all = listed(base);
    for (serial, reason) in listed(delta) {
        if reason == EntryReason::RemoveFromCrl {
            assert!(all.remove(&serial).is_some(), "only what is on the base is taken off it");
        } else {
            all.insert(serial, reason);
        }
    }
    all
}

// conformance: C6, C7, C8, C11, C12
#[test]
fn partitions_and_deltas_say_together_what_the_full_crl_says() {
    isolated(async |home| {
        let world = World::with(&home, &partitioned()).await;
        let mut cards = Vec::new();
        for _ in 0..6 {
            cards.push(world.card().await);
        }
        let of = |card: &PaperCard| serial(&card.authentication_certificate);
        for card in &cards {
            let shard = world.record(&card.authentication_certificate).crl_shard.expect("a partition");
            let path = crl_path(&card.authentication_certificate);
            assert_eq!(path, format!("authentication-1/{shard}.crl"));
            assert_eq!(world.record(&card.signing_certificate).crl_shard, None);
            assert_eq!(crl_path(&card.signing_certificate), "signing-1.crl");
        }
        world.issuer.suspend(&cards[0], "investigation").await;
        world.issuer.suspend(&cards[1], "investigation").await;
        world.issuer.cancel(&cards[2], "damaged").await;
        world.clock.advance(minutes(1));
        let published = publish(&world, "authentication", false).await;
        let number = published.crls[0].number;
        assert!(published.crls.iter().all(|crl| crl.number == number), "one number for all: {published:?}");
        assert_eq!(published.crls.iter().filter(|crl| !crl.kind.starts_with("delta")).count(), 4, "{published:?}");

        // The partitions are the whole: everything is in one of them, and in one only.
        let full = fetch(&world, "authentication-1.crl").await;
        assert!(full.description().is_complete());
        let mut union = BTreeMap::new();
        for shard in 1..=3 {
            let crl = fetch(&world, &format!("authentication-1/{shard}.crl")).await;
            let point = crl.description().distribution_point.clone().expect("an issuing distribution point");
            let url = format!("{}/crl/authentication-1/{shard}.crl", world.config.service.public_base_url);
            assert_eq!(point.uris, [url]);
            assert_eq!(crl.description().number, CrlNumber::from(number));
            for (serial, reason) in listed(&crl) {
                assert!(union.insert(serial, reason).is_none(), "in one partition only");
            }
        }
        assert_eq!(union, listed(&full));
        let hold = EntryReason::Revoked(CrlReason::CertificateHold);
        let superseded = EntryReason::Revoked(CrlReason::Superseded);
        assert_eq!(union, BTreeMap::from([(of(&cards[0]), hold), (of(&cards[1]), hold), (of(&cards[2]), superseded)]));

        // One comes off hold, one hold is made final, one more is held; and the service starts again in between.
        world.clock.advance(minutes(2));
        world.issuer.resume(&cards[0], "investigation").await;
        world.issuer.cancel(&cards[1], "lost").await;
        let mut world = world.restart().await;
        world.login_again().await;
        world.issuer.suspend(&cards[3], "investigation").await;
        let deltas = publish(&world, "authentication-1", true).await;
        assert!(deltas.crls.iter().all(|crl| crl.kind.starts_with("delta") && crl.number > number), "{deltas:?}");
        let delta = fetch(&world, "authentication-1/delta.crl").await;
        assert_eq!(delta.description().base, Some(CrlNumber::from(number)));
        assert!(delta.description().distribution_point.is_none());
        let compromise = EntryReason::Revoked(CrlReason::KeyCompromise);
        assert_eq!(
            listed(&delta),
            BTreeMap::from([
                (of(&cards[0]), EntryReason::RemoveFromCrl),
                (of(&cards[1]), compromise),
                (of(&cards[3]), hold),
            ])
        );
        let (base, before) = (fetch(&world, "authentication-1.crl").await, listed(&full));
        assert_eq!(listed(&base), before, "the base stays what it was");
        let mut shards = BTreeMap::new();
        for shard in 1..=3 {
            let path = format!("authentication-1/{shard}");
            let (base, delta) =
                (fetch(&world, &format!("{path}.crl")).await, fetch(&world, &format!("{path}/delta.crl")).await);
            assert_eq!(delta.description().distribution_point, base.description().distribution_point, "the same scope");
            assert_eq!(delta.description().base, Some(base.description().number));
            shards.extend(combined(&base, &delta));
        }
        let whole = combined(&base, &delta);
        assert_eq!(shards, whole);

        // Strangers agree: OpenSSL on a held and a good certificate, by partition and delta; pkilint on each kind.
        let dir = world.scratch();
        write_certificate(&dir, "root.pem", &world.root());
        write_certificate(&dir, "ca.pem", &world.issuer("authentication-1"));
        let now = world.clock.now().unix_seconds().to_string();
        for (card, good) in [(&cards[0], true), (&cards[3], false), (&cards[1], false), (&cards[4], true)] {
            let path = crl_path(&card.authentication_certificate);
            let shard = path.strip_suffix(".crl").expect("a CRL");
            write_certificate(&dir, "leaf.pem", &card.authentication_certificate);
            write_crl(&dir, "base.pem", &raw(&world, &path).await);
            write_crl(&dir, "delta.pem", &raw(&world, &format!("{shard}/delta.crl")).await);
            let verified = openssl(
                &dir,
                &[
                    "verify",
                    "-crl_check",
                    "-extended_crl",
                    "-use_deltas",
                    "-attime",
                    &now,
                    "-CAfile",
                    "root.pem",
                    "-untrusted",
                    "ca.pem",
                    "-CRLfile",
                    "base.pem",
                    "-CRLfile",
                    "delta.pem",
                    "leaf.pem",
                ],
            );
            assert_eq!(verified.is_ok(), good, "{verified:?}");
            assert!(good || verified.unwrap_err().contains("revoked"));
        }
        for path in [
            "authentication-1.crl",
            "authentication-1/delta.crl",
            "authentication-1/1.crl",
            "authentication-1/1/delta.crl",
            "signing-1.crl",
        ] {
            assert_clean(path, &lint_crl(&raw(&world, path).await));
        }

        // The next full one says the same as base and delta, and a delta of its own number leads to it.
        world.clock.advance(minutes(1));
        publish(&world, "authentication", false).await;
        let (next, bridge) =
            (fetch(&world, "authentication-1.crl").await, fetch(&world, "authentication-1/delta.crl").await);
        assert_eq!(listed(&next), whole);
        assert_eq!(bridge.description().number, next.description().number);
        assert_eq!(bridge.description().base, Some(base.description().number));
        assert_eq!(combined(&base, &bridge), whole);
    });
}

// conformance: C12
#[test]
fn the_partition_stays_what_the_certificate_says_when_the_profile_is_changed() {
    isolated(async |home| {
        let world = World::with(&home, &partitioned()).await;
        let card = world.card().await;
        let path = crl_path(&card.authentication_certificate);
        let profiles = world.config.profiles_file.clone();
        let (site, desk) = stopped(world).await;
        let text = fs::read_to_string(&profiles).unwrap();
        fs::write(&profiles, text.replace("crl_shards = 3", "crl_shards = 0")).unwrap();
        let world = started(site, desk).await;
        world.issuer.cancel(&card, "damaged").await;
        world.clock.advance(minutes(1));
        publish(&world, "authentication", false).await;
        let of_card = serial(&card.authentication_certificate);
        assert!(listed(&fetch(&world, &path).await).contains_key(&of_card));
        let later = world.card().await;
        assert_eq!(crl_path(&later.authentication_certificate), "authentication-1.crl");
        assert_eq!(world.service.revocations.shards("authentication-1", world.clock.now()).len(), {
            let shards: BTreeSet<_> = world.certificates().iter().filter_map(|record| record.crl_shard).collect();
            shards.len()
        });
    });
}

#[test]
fn a_revocation_is_on_a_crl_at_once_where_that_is_configured() {
    isolated(async |home| {
        let at_once = Options {
            config: vec![
                (
                    ROUTE,
                    "profiles = [\"card-authentication\", \"temporary-card\"]\ncrl_delta_interval = \"10m\"\n\
                 crl_on_revocation = \"delta\"",
                ),
                ("profiles = [\"card-signing\"]", "profiles = [\"card-signing\"]\ncrl_on_revocation = \"full\""),
            ],
            ..Options::default()
        };
        let world = World::with(&home, &at_once).await;
        let (first, second) = (world.card().await, world.card().await);
        for card in [&first, &second] {
            world.clock.advance(Duration::from_secs(10));
            world.issuer.cancel(card, "damaged").await;
            let on = |path: &'static str, certificate: Vec<u8>| {
                let world = &world;
                async move {
                    eventually("the revocation on a CRL", async || {
                        // Several in one moment are gathered, by the service's clock.
                        world.clock.advance(Duration::from_secs(1));
                        let found = world.public().send(Ask::get(format!("/crl/{path}"))).await;
                        let crl = ParsedCrl::from_der(&found.body, 1 << 20).ok()?;
                        listed(&crl).contains_key(&serial(&certificate)).then_some(())
                    })
                    .await;
                }
            };
            on("authentication-1/delta.crl", card.authentication_certificate.clone()).await;
            on("signing-1.crl", card.signing_certificate.clone()).await;
        }
        let full = fetch(&world, "authentication-1.crl").await;
        assert!(listed(&full).is_empty(), "the full one waits for its time");
    });
}

// conformance: C13
#[test]
fn an_expired_certificate_stays_for_one_scheduled_crl_and_where_signatures_live_on_for_good() {
    isolated(async |home| {
        let mut world = World::with(&home, &Options::short_lived_cards()).await;
        let card = world.card().await;
        world.issuer.cancel(&card, "damaged").await;
        let ends = world.record(&card.authentication_certificate).not_after;
        // Not so far in one go that sessions and station end.
        let before = ends.since(world.clock.now()) - HOUR;
        world.advance(before).await;
        let authentication = serial(&card.authentication_certificate);
        let on_crl =
            async |world: &World| listed(&fetch(world, "authentication-1.crl").await).contains_key(&authentication);
        assert!(on_crl(&world).await);
        world.clock.advance(HOUR + minutes(1));
        let ended = world.clock.now();
        assert!(ends < ended);
        eventually("the scheduled CRL past its end", async || {
            (fetch(&world, "authentication-1.crl").await.description().this_update >= ended.whole_seconds())
                .then_some(())
        })
        .await;
        assert!(on_crl(&world).await, "it is on one scheduled CRL past its end");
        world.clock.advance(minutes(1));
        publish(&world, "authentication", false).await;
        assert!(!on_crl(&world).await, "and on none after that");
        let (site, desk) = stopped(world).await;
        world = started(site, desk).await;
        world.clock.advance(minutes(1));
        publish(&world, "authentication", false).await;
        assert!(!on_crl(&world).await);

        publish(&world, "signing", false).await;
        let signing = fetch(&world, "signing-1.crl").await;
        assert!(listed(&signing).contains_key(&serial(&card.signing_certificate)));
        let since = signing.description().expired_certs_on_crl.expect("expiredCertsOnCRL");
        assert!(since <= world.record(&card.signing_certificate).not_after);
        assert_eq!(fetch(&world, "authentication-1.crl").await.description().expired_certs_on_crl, None);
        assert_clean("a CRL with expired certificates", &lint_crl(&raw(&world, "signing-1.crl").await));
    });
}

// conformance: C6
#[test]
fn kill_at_each_step_of_a_publication_leaves_whole_crls_and_rising_numbers() {
    isolated(async |home| {
        let world = World::with(&home, &Options { config: Vec::new(), ..partitioned() }).await;
        let card = world.card().await;
        world.issuer.suspend(&card, "investigation").await;
        let (mut site, mut desk) = stopped(world).await;
        let dir = site.config.service.data_dir.join("crl");
        let names =
            ["authentication-1.crl", "authentication-1/1.crl", "authentication-1/2.crl", "authentication-1/3.crl"];
        let read = |name: &str| ParsedCrl::from_der(&fs::read(dir.join(name)).unwrap(), 1 << 20).expect("a whole CRL");
        for step in [CrlStep::Numbered, CrlStep::Written, CrlStep::Swapped, CrlStep::Published] {
            let before: Vec<_> = names.iter().map(|name| read(name).description().number).collect();
            let mut doomed = Doomed::serve(&site, Some(Step::Crl(step))).await;
            let request = CrlRequest { name: Some("authentication".to_owned()), delta: false };
            let answer = site.admin().try_send(Ask::post("/crls").json(&request)).await;
            assert!(answer.is_err(), "{answer:?}");
            doomed.killed_itself().await;
            let killed: Vec<_> = names.iter().map(|name| read(name).description().number).collect();
            for (killed, before) in killed.iter().zip(&before) {
                let expected = match step {
                    CrlStep::Numbered | CrlStep::Written => killed == before,
                    CrlStep::Swapped => killed >= before,
                    CrlStep::Published => killed > before,
                };
                assert!(expected, "{step:?}: {killed} after {before}");
            }
            let world = started(site, desk).await;
            let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{left:?}");
            for (name, killed) in names.iter().zip(&killed) {
                assert!(fetch(&world, name).await.description().number >= *killed);
            }
            let published = publish(&world, "authentication", false).await;
            let number = CrlNumber::from(published.crls[0].number);
            assert!(killed.iter().all(|killed| number > *killed));
            assert!(listed(&fetch(&world, names[0]).await).contains_key(&serial(&card.authentication_certificate)));
            (site, desk) = stopped(world).await;
        }
    });
}

#[test]
fn one_ca_whose_crl_fails_does_not_stop_the_others_and_shows() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let dir = world.config.service.data_dir.join("crl");
        // Where its next CRL is to be written, there is a directory.
        fs::create_dir(dir.join("authentication-1.crl.new")).unwrap();
        let before = fetch(&world, "authentication-1.crl").await.description().number;
        world.clock.advance(2 * HOUR);
        let now = world.clock.now().whole_seconds();
        for issuer in ["signing-1", "devices-1"] {
            eventually("the CRLs of the others", async || {
                let crl = fetch(&world, &format!("{issuer}.crl")).await;
                (crl.description().this_update >= now).then_some(())
            })
            .await;
        }
        assert_eq!(fetch(&world, "authentication-1.crl").await.description().number, before, "the old one is served");
        eventually("the problem", async || {
            let ready = world.operations().send(Ask::get("/readyz")).await;
            let text = String::from_utf8_lossy(&ready.body).into_owned();
            (ready.status == 503
                && text.contains("the CRL of authentication-1 is overdue")
                && !text.contains("signing"))
            .then_some(())
        })
        .await;
        let metrics = world.operations().send(Ask::get("/metrics")).await.expect(200);
        let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
        let overdue = |issuer: &str| -> u64 {
            let start = format!("cardinal_crl_seconds_overdue{{issuer=\"{issuer}\",kind=\"full\"}} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&start)).expect("a metric");
            line.parse().expect("seconds")
        };
        assert!(overdue("authentication-1") >= 3600 && overdue("signing-1") == 0, "{metrics}");
        let failed = world.admin().send(Ask::post("/crls")).await;
        failed.refused(503, "crl");
        assert!(fetch(&world, "signing-1.crl").await.description().number > before);

        fs::remove_dir(dir.join("authentication-1.crl.new")).unwrap();
        world.advance(minutes(1)).await;
        assert!(fetch(&world, "authentication-1.crl").await.description().number > before);
    });
}

/// IMF-fixdate, by GNU date.
fn http_date(time: Timestamp) -> String {
    let mut date = std::process::Command::new("date");
    date.env("LC_ALL", "C").args(["-u", "-d", &format!("@{}", time.unix_seconds()), "+%a, %d %b %Y %H:%M:%S GMT"]);
    String::from_utf8(date.output().expect("date").stdout).expect("text").trim().to_owned()
}

/// Revokes what was never issued, by the thousand, so that the CRL is too long to be kept in memory.
fn revoke_many(world: &World, certificate: &[u8], count: u32) {
    let template = world.record(certificate);
    let now = world.clock.now();
    for chunk in (0..count).collect::<Vec<_>>().chunks(500) {
        let mut batch = ca::batch(now);
        for number in chunk {
            let mut record = template.clone();
            let mut octets = [7; 16];
            octets[1..5].copy_from_slice(&number.to_be_bytes());
            record.id.serial = pki::SerialNumber::from_random(octets);
            record.state = CertificateState::Revoked {
                at: now.whole_seconds(),
                reason: CrlReason::Superseded,
                invalidity_date: None,
            };
            batch.create(&record).expect("a record");
            batch.feed.push(record.status_entry().expect("a status").encode());
        }
        world.service.store.commit(batch).expect("a commit");
    }
}

#[test]
fn a_long_crl_is_given_out_in_parts_and_a_download_keeps_the_version_it_began_with() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        revoke_many(&world, &card.authentication_certificate, 9_000);
        world.clock.advance(minutes(1));
        publish(&world, "authentication", false).await;
        let path = "/crl/authentication-1.crl";
        let get = |headers: &[(&'static str, &str)]| {
            let ask = headers.iter().fold(Ask::get(path), |ask, (name, value)| ask.header(name, *value));
            let world = &world;
            async move { world.public().send(ask).await }
        };
        let whole = get(&[]).await.expect(200);
        assert!(whole.body.len() > 300_000, "{}", whole.body.len());
        assert_eq!(ParsedCrl::from_der(&whole.body, 1 << 24).unwrap().len(), 9_000);
        let etag = whole.header("etag").to_owned();
        assert_eq!(whole.header("content-length"), whole.body.len().to_string());
        assert_eq!(whole.header("accept-ranges"), "bytes");
        let read = fetch(&world, "authentication-1.crl").await;
        let times = [read.description().this_update, read.description().next_update];
        assert_eq!([whole.header("last-modified"), whole.header("expires")], times.map(http_date));

        let head = world.public().send(Ask::new(http::Method::HEAD, path)).await.expect(200);
        assert!(head.body.is_empty());
        for name in ["etag", "content-length", "last-modified", "content-type"] {
            assert_eq!(head.header(name), whole.header(name));
        }
        for (name, value) in [("if-none-match", etag.as_str()), ("if-modified-since", whole.header("last-modified"))] {
            let unchanged = get(&[(name, value)]).await.expect(304);
            assert!(unchanged.body.is_empty() && unchanged.header("etag") == etag);
        }
        // In parts, as an interrupted download is taken up again.
        let half = whole.body.len() / 2;
        let first = get(&[("range", &format!("bytes=0-{}", half - 1))]).await.expect(206);
        assert_eq!(first.header("content-range"), format!("bytes 0-{}/{}", half - 1, whole.body.len()));
        let rest = get(&[("range", &format!("bytes={half}-")), ("if-range", &etag)]).await.expect(206);
        assert_eq!([&first.body[..], &rest.body[..]].concat(), whole.body);
        let beyond = get(&[("range", "bytes=99999999-")]).await.expect(416);
        assert_eq!(beyond.header("content-range"), format!("bytes */{}", whole.body.len()));

        // A new CRL comes while the old one is being read.
        let old = world.service.crls.get("authentication-1").expect("a CRL");
        world.issuer.cancel(&card, "damaged").await;
        world.clock.advance(minutes(1));
        publish(&world, "authentication", false).await;
        let mut begun = Vec::new();
        while (begun.len() as u64) < old.octets() {
            begun.extend_from_slice(&old.read(begun.len() as u64, 10_000).expect("the old version"));
        }
        assert_eq!(begun, whole.body);
        let other = get(&[("range", &format!("bytes={half}-")), ("if-range", &etag)]).await.expect(200);
        assert_ne!(other.header("etag"), etag);
        assert_eq!(ParsedCrl::from_der(&other.body, 1 << 24).unwrap().len(), 9_001);
        for wrong in ["/crl/authentication-1/7.crl", "/crl/authentication-1/delta.crl", "/crl/x.crl", "/crl/../store"] {
            world.public().send(Ask::get(wrong)).await.expect(404);
        }
        let put = world.public().send(Ask::new(http::Method::PUT, path)).await;
        assert_eq!(put.status, 405);
    });
}

// conformance: C15
#[test]
fn a_crl_file_that_was_changed_is_not_served_and_made_anew() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let path = world.config.service.data_dir.join("crl").join("signing-1.crl");
        let number = fetch(&world, "signing-1.crl").await.description().number;
        let (site, desk) = stopped(world).await;
        let mut der = fs::read(&path).unwrap();
        let middle = der.len() - 5;
        der[middle] ^= 1;
        fs::write(&path, &der).unwrap();
        let world = started(site, desk).await;
        let crl = fetch(&world, "signing-1.crl").await;
        assert!(crl.description().number > number);
    });
}

// conformance: C6
#[test]
fn numbers_rise_over_a_clock_that_is_set_back_and_nothing_is_signed_far_behind() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let tolerance = world.config.times.clock_tolerance;
        let number = |reply: CrlReply| reply.crls.first().expect("one CRL").number;
        let before = number(publish(&world, "authentication", false).await);
        world.clock.set_back(tolerance - Duration::from_secs(1));
        let after = number(publish(&world, "authentication", false).await);
        assert!(after > before, "{after} after {before}");
        world.clock.set_back(2 * tolerance);
        let ask = Ask::post("/crls").json(&CrlRequest { name: Some("authentication".to_owned()), delta: false });
        world.admin().send(ask).await.refused(503, "clock");
        assert_eq!(fetch(&world, "authentication-1.crl").await.description().number, pki::crl::CrlNumber::from(after));
    });
}

#[test]
fn what_cannot_be_published_is_refused_with_the_remedy() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let ask = |name: &str, delta| Ask::post("/crls").json(&CrlRequest { name: Some(name.to_owned()), delta });
        let unknown = world.admin().send(ask("nobody", false)).await.refused(404, "not-found");
        assert!(unknown.detail.contains("authentication, devices, signing"), "{unknown:?}");
        let without = world.admin().send(ask("signing", true)).await.refused(409, "no-deltas");
        assert!(without.detail.contains("crl_delta_interval"), "{without:?}");
    });
}
