//! How much memory the statuses take, as the system counts it.

use ocsp_responder::Replica;
use ocsp_responder::snapshot::{Snapshot, SnapshotError, SnapshotPlace, SnapshotWriter};
use pki::feed::{FeedPosition, PublishedStatus, StatusEntry};
use pki::{SerialNumber, Timestamp};

/// Three cards' certificates of each of 800,000 people.
const CERTIFICATES: u64 = 2_400_000;
const MOST: f64 = 100.0;

/// The memory of this process that is in use (`proc(5)`, statm).
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Serial numbers as if from a CSPRNG: splitmix64, twice.
fn serial(number: u64) -> SerialNumber {
    let mix = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let octets = u128::from(mix(number * 2 + 1)) << 64 | u128::from(mix(number * 2 + 2));
    SerialNumber::from_random(octets.to_be_bytes())
}

#[test]
fn a_status_takes_no_more_than_100_octets_with_all_that_is_kept_free_for_more() {
    let position = FeedPosition { epoch: 1, sequence: CERTIFICATES };
    let mut writer = SnapshotWriter::new(Vec::new(), SnapshotPlace { position, mark: [0; 32] });
    let mut entry = StatusEntry {
        issuer: "authentication-1".to_owned(),
        serial: serial(0),
        status: PublishedStatus::Good { since: Timestamp::from_unix_seconds(1_795_000_000) },
        not_after: Timestamp::from_unix_seconds(1_900_000_000),
        shard: None,
    };
    for number in 0..CERTIFICATES {
        entry.serial = serial(number);
        writer.put(&entry).unwrap();
    }
    let (_, bytes) = writer.finish().unwrap();
    let replica = Replica::default();
    let before = resident();
    let snapshot = Snapshot::open(&bytes).unwrap();
    let mut filling = replica.filling(CERTIFICATES as usize);
    snapshot
        .for_each(|entry| {
            filling.take(entry).unwrap();
            Ok::<(), SnapshotError>(())
        })
        .unwrap();
    let filled = resident() - before;
    let each = filled as f64 / CERTIFICATES as f64;
    assert!(each <= MOST, "{each} octets for each certificate");
    assert!(each >= 31.0, "{each} octets: the statuses are not there");
    drop(filling);

    // As they come by the feed, one after the other, with the tables growing.
    let before = resident();
    for number in 0..CERTIFICATES / 8 {
        entry.serial = serial(number);
        replica.apply(number + 1, &entry).unwrap();
    }
    assert_eq!(replica.len() as u64, CERTIFICATES / 8);
    let each = replica.octets() as f64 / (CERTIFICATES / 8) as f64;
    assert!((32.0..=MOST).contains(&each), "{each} octets for each certificate");
    assert!(resident() <= before + replica.octets() as u64 * 2, "what is counted is what is taken");
}
