//! What is on disk is the replica of before or after, or it is refused.

use std::collections::BTreeMap;

use pki::SerialNumber;
use pki::feed::PublishedStatus;
use tempfile::TempDir;

use super::*;
use crate::{Responder, ResponderOptions};

const ORIGIN: Origin = Origin::from_bytes([7; 32]);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn position(sequence: u64) -> FeedPosition {
    FeedPosition { epoch: 1, sequence }
}

fn serial(number: u64) -> SerialNumber {
    let mut octets = [1; 16];
    octets[8..].copy_from_slice(&number.to_be_bytes());
    SerialNumber::from_random(octets)
}

/// Entry `sequence` of the feed: every third certificate changes again and again.
fn entry(sequence: u64) -> StatusEntry {
    let status = match sequence % 2 {
        0 => PublishedStatus::Good { since: at(sequence as i64) },
        _ => PublishedStatus::OnHold { since: at(sequence as i64) },
    };
    let issuer = ["authentication-1", "signing-1"][(sequence / 7 % 2) as usize].to_owned();
    StatusEntry { issuer, serial: serial(sequence % 3), status, not_after: at(1_000_000), shard: None }
}

fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<(u64, Vec<u8>)> {
    range.map(|sequence| (sequence, entry(sequence).encode())).collect()
}

fn given(entries: &[(u64, Vec<u8>)]) -> impl Iterator<Item = (u64, &[u8])> {
    entries.iter().map(|(sequence, bytes)| (*sequence, bytes.as_slice()))
}

/// What a feed's snapshot says at a place.
fn snapshot_of(position: FeedPosition) -> Vec<u8> {
    let mut latest = BTreeMap::new();
    for sequence in 1..=position.sequence {
        let entry = entry(sequence);
        latest.insert((entry.issuer.clone(), entry.serial), entry);
    }
    let mark = match position.sequence {
        0 => [0; 32],
        last => <sha2::Sha256 as sha2::Digest>::digest(entry(last).encode()).into(),
    };
    let mut bytes = Vec::new();
    let mut writer = SnapshotWriter::new(&mut bytes, SnapshotPlace { position, mark });
    latest.values().for_each(|entry| writer.put(entry).unwrap());
    writer.finish().unwrap();
    bytes
}

fn responder() -> Responder {
    Responder::new(ResponderOptions::default())
}

fn open(dir: &Path) -> (ReplicaDir, Reading) {
    ReplicaDir::open(dir, ORIGIN, Arc::new(Unwatched)).unwrap()
}

/// One with a snapshot of entry 5, entries 6 to 9, and a heartbeat at 100 s.
fn filled(dir: &Path) {
    let (replica, reading) = open(dir);
    assert!(matches!(reading, Reading::Nothing), "{reading:?}");
    let responder = responder();
    replica.take_snapshot(&snapshot_of(position(5)), None, &responder).unwrap();
    replica.take_entries(given(&entries(6..=7)), &responder).unwrap();
    replica.take_entries(given(&entries(8..=9)), &responder).unwrap();
    replica.take_heartbeat(position(9), at(100), at(100), &responder).unwrap();
    replica.put_issuers(b"{}").unwrap();
}

fn whole(reading: Reading) -> Box<Loaded> {
    match reading {
        Reading::Whole(loaded) => loaded,
        other => panic!("{other:?}"),
    }
}

fn refused(dir: &Path) -> Refusal {
    let (replica, reading) = open(dir);
    assert_eq!(replica.place(), None, "{reading:?}");
    assert!(!dir.join(SNAPSHOT).exists() && !dir.join(TAIL).exists(), "it does not come back");
    match reading {
        Reading::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Everything that a responder knows of the certificates of [`entry`].
fn known(responder: &Responder) -> Vec<Option<crate::replica::KnownStatus>> {
    let replica = responder.replica();
    let issuers = ["authentication-1", "signing-1"].map(|id| replica.issuer_index(id).unwrap());
    issuers.iter().flat_map(|issuer| (0..3).map(|number| replica.status(*issuer, &serial(number)))).collect()
}

/// What one knows that followed the feed up to an entry.
fn known_at(sequence: u64) -> Vec<Option<crate::replica::KnownStatus>> {
    let responder = responder();
    (1..=sequence).for_each(|sequence| responder.apply(sequence, &entry(sequence)).unwrap());
    known(&responder)
}

#[test]
fn a_heartbeat_of_a_clock_ahead_of_ours_is_no_fresher_after_a_restart() {
    // conformance: O6
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let (replica, reading) = open(dir.path());
    let responder = responder();
    whole(reading).fill(&responder).unwrap();
    replica.take_heartbeat(position(9), at(3800), at(200), &responder).unwrap();
    drop(replica);
    let loaded = whole(open(dir.path()).1);
    assert_eq!(loaded.as_of(), Some(at(200)));
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let (replica, reading) = open(dir.path());
    let loaded = whole(reading);
    assert_eq!((loaded.place().position, loaded.entries(), loaded.as_of()), (position(9), 4, Some(at(100))));
    assert_eq!(loaded.place().mark, snapshot_place(9).mark, "the mark is that of the last entry");
    let responder = responder();
    loaded.fill(&responder).unwrap();
    assert_eq!(known(&responder), known_at(9));
    assert_eq!((responder.replica().position(), responder.replica().as_of()), (position(9), Some(at(100))));
    assert_eq!(replica.issuers().unwrap().as_deref(), Some(b"{}".as_slice()));
    // And goes on from there.
    replica.take_entries(given(&entries(9..=11)), &responder).unwrap();
    drop(replica);
    assert_eq!(whole(open(dir.path()).1).place().position, position(11));
}

fn snapshot_place(sequence: u64) -> SnapshotPlace {
    Snapshot::open(&snapshot_of(position(sequence))).unwrap().place()
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    for name in [SNAPSHOT, TAIL] {
        let good = fs::read(dir.path().join(name)).unwrap();
        // In place: many file systems write a file out that is cut to nothing and written again.
        let file = OpenOptions::new().write(true).open(dir.path().join(name)).unwrap();
        for bit in 0..good.len() * 8 {
            let (at, octet) = (bit / 8, good[bit / 8]);
            file.write_all_at(&[octet ^ 1 << (bit % 8)], at as u64).unwrap();
            assert!(matches!(inspect(dir.path(), ORIGIN).0, Reading::Refused(_)), "bit {bit} of {name}");
            file.write_all_at(&[octet], at as u64).unwrap();
        }
        assert!(matches!(inspect(dir.path(), ORIGIN).0, Reading::Whole(_)));
    }
    let mut bytes = fs::read(dir.path().join(TAIL)).unwrap();
    bytes[tail::EMPTY + 9] ^= 1;
    fs::write(dir.path().join(TAIL), bytes).unwrap();
    assert!(matches!(refused(dir.path()), Refusal::Damaged { file: TAIL, .. }));
}

#[test]
fn a_tail_that_was_cut_anywhere_is_noticed() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let good = fs::read(dir.path().join(TAIL)).unwrap();
    for length in 0..good.len() {
        fs::write(dir.path().join(TAIL), &good[..length]).unwrap();
        let reading = inspect(dir.path(), ORIGIN).0;
        let noticed = match &reading {
            Reading::Refused(Refusal::Older { have, seen }) => have.sequence < 9 && seen.sequence == 9,
            Reading::Refused(Refusal::Damaged { .. }) => length < tail::EMPTY,
            _ => false,
        };
        assert!(noticed, "{length}: {reading:?}");
    }
}

#[test]
fn entries_that_are_dropped_or_change_places_are_noticed() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let good = fs::read(dir.path().join(TAIL)).unwrap();
    let (head, mut rest) = good.split_at(tail::EMPTY);
    let mut records = Vec::new();
    while let Some(length) = rest.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length))) {
        let (record, behind) = rest.split_at(4 + length + 16);
        records.push(record);
        rest = behind;
    }
    assert_eq!(records.len(), 4);
    let damaged = |records: &[&[u8]], how: &str| {
        fs::write(dir.path().join(TAIL), [head, &records.concat()].concat()).unwrap();
        let reading = inspect(dir.path(), ORIGIN).0;
        assert!(matches!(reading, Reading::Refused(Refusal::Damaged { .. })), "{how}: {reading:?}");
    };
    for one in 0..3 {
        let mut without = records.clone();
        without.remove(one);
        damaged(&without, "one dropped");
        let mut twice = records.clone();
        twice.insert(one, records[one]);
        damaged(&twice, "one twice");
        let mut swapped = records.clone();
        swapped.swap(one, one + 1);
        damaged(&swapped, "two swapped");
    }
    damaged(&[&records[..], &[records[0]]].concat(), "one more");
}

#[test]
fn an_entry_that_was_being_written_is_left_out_and_nobody_was_told_of_it() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let good = fs::read(dir.path().join(TAIL)).unwrap();
    let mut more = Vec::new();
    let (replica, reading) = open(dir.path());
    let mut end = whole(reading).tail.end;
    drop(replica);
    end.push(&entry(10).encode(), &mut more).unwrap();
    for length in 0..more.len() {
        fs::write(dir.path().join(TAIL), [&good, &more[..length]].concat()).unwrap();
        let (replica, reading) = open(dir.path());
        let responder = responder();
        whole(reading).fill(&responder).unwrap();
        assert_eq!(known(&responder), known_at(9), "{length}");
        // What comes next is chained to the last whole one.
        replica.take_entries(given(&entries(10..=10)), &responder).unwrap();
        assert_eq!(fs::read(dir.path().join(TAIL)).unwrap(), [&good[..], &more[..]].concat());
        drop(replica);
        // As it was, but for what was seen.
        fs::remove_file(dir.path().join(seen::FILE)).unwrap();
        let before = Seen { place: snapshot_place(9), as_of: Some(at(100)), ..Seen::nothing(ORIGIN) };
        SeenFile::open(dir.path(), before).unwrap();
    }
}

#[test]
fn a_replica_of_another_feed_is_refused_with_all_that_belongs_to_it() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let other = Origin::from_bytes([8; 32]);
    let (replica, reading) = ReplicaDir::open(dir.path(), other, Arc::new(Unwatched)).unwrap();
    assert!(
        matches!(reading, Reading::Refused(Refusal::Foreign { wanted, is }) if wanted == other && is == ORIGIN),
        "{reading:?}"
    );
    assert_eq!(replica.issuers().unwrap(), None);
    assert_eq!(replica.seen(), Seen::nothing(other));
    // Its places mean nothing here.
    replica.take_snapshot(&snapshot_of(position(2)), None, &responder()).unwrap();
}

#[test]
fn an_older_copy_of_the_files_is_refused() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    filled(dir.path());
    let copy_files = |from: &Path, to: &Path| {
        for file in [SNAPSHOT, TAIL] {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
    };
    copy_files(dir.path(), copy.path());
    let (replica, reading) = open(dir.path());
    let responder = responder();
    whole(reading).fill(&responder).unwrap();
    replica.take_entries(given(&entries(10..=12)), &responder).unwrap();
    drop(replica);
    copy_files(copy.path(), dir.path());
    assert_eq!(refused(dir.path()), Refusal::Older { have: position(9), seen: position(12) });
}

#[test]
fn files_that_do_not_belong_together_and_a_lost_seen_are_refused() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    filled(dir.path());
    let (replica, _) = open(other.path());
    replica.take_snapshot(&snapshot_of(position(9)), None, &responder()).unwrap();
    fs::copy(other.path().join(SNAPSHOT), dir.path().join(SNAPSHOT)).unwrap();
    assert_eq!(refused(dir.path()), Refusal::Incomplete);

    for lost in [SNAPSHOT, TAIL] {
        let dir = TempDir::new().unwrap();
        filled(dir.path());
        fs::remove_file(dir.path().join(lost)).unwrap();
        assert_eq!(refused(dir.path()), Refusal::Incomplete);
    }
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    fs::write(dir.path().join(seen::FILE), b"rubbish").unwrap();
    assert_eq!(refused(dir.path()), Refusal::NothingSeen);
}

#[test]
fn a_feed_that_went_back_is_refused_until_its_epoch_is_higher() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let (replica, reading) = open(dir.path());
    let responder = responder();
    whole(reading).fill(&responder).unwrap();
    let zero = FeedPosition { epoch: 0, sequence: 50 };
    let older = replica.take_snapshot(&snapshot_of(zero), None, &responder);
    assert!(matches!(older, Err(ReplicaDirError::Older { seen, .. }) if seen == position(9)), "{older:?}");
    // The feed would not go on from here, and what it offers is of the same epoch: whatever it is, it is no way forward.
    for other in [3, 9, 20] {
        let offered = replica.take_snapshot(&snapshot_of(position(other)), replica.place(), &responder);
        assert!(matches!(offered, Err(ReplicaDirError::Diverged { .. })), "{offered:?}");
    }
    assert_eq!(known(&responder), known_at(9));
    // A heartbeat that was on its way when the last entry was sent is one all the same.
    replica.take_heartbeat(position(8), at(200), at(200), &responder).unwrap();

    let restored = FeedPosition { epoch: 2, sequence: 4 };
    replica.take_snapshot(&snapshot_of(restored), None, &responder).unwrap();
    assert_eq!(known(&responder), known_at(4));
    let seen = replica.seen();
    assert_eq!(
        (seen.place.position, seen.as_of),
        (restored, None),
        "a heartbeat of before the restore says nothing of it"
    );
    drop(replica);
    assert_eq!(whole(open(dir.path()).1).as_of(), None);
}

#[test]
fn after_a_loss_an_older_snapshot_is_a_beginning_but_says_nothing_before_all_that_was_seen_has_come() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    fs::remove_file(dir.path().join(SNAPSHOT)).unwrap();
    let (replica, _) = open(dir.path());
    let responder = responder();
    replica.take_snapshot(&snapshot_of(position(3)), None, &responder).unwrap();
    assert!(replica.take_heartbeat(position(3), at(300), at(300), &responder).is_err());
    let fresh = responder.replica().freshness(at(300), Default::default(), std::time::Duration::from_secs(60));
    assert_eq!(fresh, crate::Freshness::Withheld);
    replica.take_entries(given(&entries(4..=9)), &responder).unwrap();
    replica.take_heartbeat(position(9), at(300), at(300), &responder).unwrap();
    assert_eq!((known(&responder), responder.replica().as_of()), (known_at(9), Some(at(300))));
}

#[test]
fn after_a_loss_a_feed_with_another_entry_where_this_one_was_seen_is_refused() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    fs::remove_file(dir.path().join(SNAPSHOT)).unwrap();
    let (replica, _) = open(dir.path());
    let responder = responder();
    // At the very place: told by the mark. Before it: told when the feed comes there.
    let mut other = snapshot_of(position(9));
    let end = other.len() - 32;
    other[24] ^= 1;
    let digest = Sha256::digest(&other[..end]);
    other[end..].copy_from_slice(&digest);
    let diverged = replica.take_snapshot(&other, None, &responder).map(drop);
    assert!(matches!(diverged, Err(ReplicaDirError::Diverged { .. })), "{diverged:?}");
    replica.take_snapshot(&snapshot_of(position(6)), None, &responder).unwrap();
    let mut history = entries(7..=11);
    history[2].1 = entry(100).encode();
    let diverged = replica.take_entries(given(&history), &responder);
    assert!(matches!(diverged, Err(ReplicaDirError::Diverged { seen, .. }) if seen == position(9)), "{diverged:?}");
    assert!(replica.take_heartbeat(position(8), at(300), at(300), &responder).is_err());
    let fresh = responder.replica().freshness(at(300), Default::default(), std::time::Duration::from_secs(60));
    assert_eq!(fresh, crate::Freshness::Withheld);
}

#[test]
fn a_gap_and_a_broken_entry_are_refused_and_what_was_before_them_is_taken() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let (replica, reading) = open(dir.path());
    let responder = responder();
    whole(reading).fill(&responder).unwrap();
    let mut some = entries(10..=13);
    some.remove(2);
    let gap = replica.take_entries(given(&some), &responder).unwrap_err();
    assert!(matches!(gap, ReplicaDirError::Gap { have, got: 13 } if have == position(11)), "{gap}");
    some.truncate(2);
    some.push((12, vec![9]));
    assert!(matches!(replica.take_entries(given(&some), &responder), Err(ReplicaDirError::Entry(_))));
    assert_eq!(replica.place().map(|place| place.position), Some(position(11)));
    assert_eq!(known(&responder), known_at(11));
}

#[test]
fn a_compacted_replica_is_the_same_one_and_forgets_certificates_that_ended() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let (replica, reading) = open(dir.path());
    let first = responder();
    whole(reading).fill(&first).unwrap();
    let mut ended = entry(10);
    (ended.serial, ended.not_after) = (serial(77), at(50));
    replica.take_entries([(10, ended.encode().as_slice())], &first).unwrap();
    replica.compact(at(60)).unwrap();
    replica.take_entries([(11, entry(11).encode().as_slice())], &first).unwrap();
    drop(replica);
    let (replica, reading) = open(dir.path());
    let loaded = whole(reading);
    assert_eq!((loaded.entries(), loaded.place().position, loaded.as_of()), (1, position(11), Some(at(100))));
    let after = responder();
    loaded.fill(&after).unwrap();
    assert_eq!(known(&after), known(&first));
    assert_eq!(first.replica().len(), after.replica().len() + 1);
    drop(replica);
}

#[test]
fn only_one_process_has_a_directory() {
    let dir = TempDir::new().unwrap();
    let (replica, _) = open(dir.path());
    let again = ReplicaDir::open(dir.path(), ORIGIN, Arc::new(Unwatched)).unwrap_err();
    assert!(matches!(again, ReplicaDirError::InUse(_)), "{again}");
    drop(replica);
    open(dir.path());
}

/// Lets a step fail, as a full disk does, or only tells of it.
#[derive(Debug)]
struct Failing {
    step: ReplicaStep,
    armed: std::sync::atomic::AtomicBool,
}

impl ReplicaSteps for Failing {
    fn done(&self, step: ReplicaStep) -> io::Result<()> {
        let fails = step == self.step && self.armed.load(std::sync::atomic::Ordering::Relaxed);
        if fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

#[test]
fn when_the_disk_fails_statuses_are_applied_and_the_replica_does_not_come_back_before_it_is_whole_again() {
    use ReplicaStep::{EntriesDurable, EntriesWritten, SeenWritten};
    for step in [EntriesWritten, EntriesDurable, SeenWritten] {
        let dir = TempDir::new().unwrap();
        filled(dir.path());
        let failing = Arc::new(Failing { step, armed: false.into() });
        let (replica, reading) = ReplicaDir::open(dir.path(), ORIGIN, failing.clone()).unwrap();
        let responder = responder();
        whole(reading).fill(&responder).unwrap();
        failing.armed.store(true, std::sync::atomic::Ordering::Relaxed);
        let error = replica.take_entries(given(&entries(10..=10)), &responder).unwrap_err();
        assert!(error.is_of_the_disk() && error.to_string().contains("make room"), "{step:?}: {error}");
        assert_eq!(known(&responder), known_at(10), "{step:?}");
        assert!(!replica.is_kept() && !dir.path().join(SNAPSHOT).exists() && !dir.path().join(TAIL).exists());
        // It follows the feed on without a disk, and says each time that this is not to be acknowledged.
        let error = replica.take_entries(given(&entries(11..=11)), &responder).unwrap_err();
        assert!(error.is_of_the_disk(), "{step:?}: {error}");
        assert_eq!(known(&responder), known_at(11), "{step:?}");

        failing.armed.store(false, std::sync::atomic::Ordering::Relaxed);
        replica.take_snapshot(&snapshot_of(position(6)), None, &responder).unwrap();
        assert_eq!(known(&responder), known_at(11), "what is in memory does not go back");
        replica.take_entries(given(&entries(7..=12)), &responder).unwrap();
        drop(replica);
        assert_eq!(whole(open(dir.path()).1).place().position, position(12));
    }
}

#[test]
fn a_disk_that_fails_while_a_snapshot_is_made_leaves_the_replica_of_before() {
    for step in [ReplicaStep::SnapshotWritten, ReplicaStep::TailWritten] {
        let dir = TempDir::new().unwrap();
        filled(dir.path());
        let (replica, _) =
            ReplicaDir::open(dir.path(), ORIGIN, Arc::new(Failing { step, armed: true.into() })).unwrap();
        assert!(replica.compact(at(0)).unwrap_err().is_of_the_disk());
        assert!(replica.is_kept() && !dir.path().join(SNAPSHOT_NEW).exists(), "{step:?}");
        drop(replica);
        assert_eq!(whole(open(dir.path()).1).place().position, position(9), "{step:?}");
    }
}

/// Keeps a copy of the directory as it is at a step: what a process that dies there leaves.
struct Copying {
    dir: PathBuf,
    copies: Mutex<Vec<(ReplicaStep, TempDir)>>,
}

impl ReplicaSteps for Copying {
    fn done(&self, step: ReplicaStep) -> io::Result<()> {
        let copy = TempDir::new()?;
        for file in fs::read_dir(&self.dir)? {
            let file = file?;
            fs::copy(file.path(), copy.path().join(file.file_name()))?;
        }
        self.copies.lock().unwrap().push((step, copy));
        Ok(())
    }
}

#[test]
fn whoever_dies_at_any_step_starts_with_the_replica_of_before_or_after() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let steps = Arc::new(Copying { dir: dir.path().to_owned(), copies: Mutex::default() });
    let (replica, reading) = ReplicaDir::open(dir.path(), ORIGIN, steps.clone()).unwrap();
    let live = responder();
    whole(reading).fill(&live).unwrap();
    replica.take_entries(given(&entries(10..=11)), &live).unwrap();
    replica.compact(at(0)).unwrap();
    replica.take_entries(given(&entries(12..=12)), &live).unwrap();
    replica.put_issuers(b"{ }").unwrap();
    replica.take_snapshot(&snapshot_of(position(20)), None, &live).unwrap();
    drop(replica);

    let copies = std::mem::take(&mut *steps.copies.lock().unwrap());
    let mut seen: Vec<ReplicaStep> = copies.iter().map(|(step, _)| *step).collect();
    for (step, copy) in copies {
        let (replica, reading) = open(copy.path());
        let loaded = whole(reading);
        let sequence = loaded.place().position.sequence;
        assert!([9, 11, 12, 20].contains(&sequence), "{step:?}: {sequence}");
        assert!(sequence >= replica.seen().place.position.sequence);
        let after = responder();
        loaded.fill(&after).unwrap();
        assert_eq!(known(&after), known_at(sequence), "{step:?}");
        // And it goes on.
        replica.take_entries(given(&entries(sequence + 1..=sequence + 1)), &after).unwrap();
        assert!(matches!(replica.issuers().unwrap().as_deref(), Some(b"{}" | b"{ }")));
        assert!(!copy.path().join(SNAPSHOT_NEW).exists() && !copy.path().join(TAIL_NEW).exists());
    }
    seen.sort_by_key(|step| step.name());
    seen.dedup();
    // All of them, but for the removal of a replica that is not to come back.
    assert_eq!(seen.len(), ReplicaStep::ALL.len() - 1, "{seen:?}");
}

#[test]
fn a_removal_that_was_cut_short_does_not_bring_the_replica_back() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let failing = Arc::new(Failing { step: ReplicaStep::EntriesDurable, armed: true.into() });
    let steps = Arc::new(Both(failing, Copying { dir: dir.path().to_owned(), copies: Mutex::default() }));
    let (replica, reading) = ReplicaDir::open(dir.path(), ORIGIN, steps.clone()).unwrap();
    let live = responder();
    whole(reading).fill(&live).unwrap();
    replica.take_entries(given(&entries(10..=11)), &live).unwrap_err();
    let copies = std::mem::take(&mut *steps.1.copies.lock().unwrap());
    let (_, copy) = copies.into_iter().find(|(step, _)| *step == ReplicaStep::TailRemoved).unwrap();
    assert_eq!(refused(copy.path()), Refusal::Incomplete);
}

struct Both(Arc<Failing>, Copying);

impl ReplicaSteps for Both {
    fn done(&self, step: ReplicaStep) -> io::Result<()> {
        self.1.done(step)?;
        self.0.done(step)
    }
}

#[test]
fn the_last_produced_at_is_kept_and_never_goes_back() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let (replica, _) = open(dir.path());
    replica.note_produced_at(at(500)).unwrap();
    replica.note_produced_at(at(400)).unwrap();
    replica.sync().unwrap();
    drop(replica);
    assert_eq!(inspect(dir.path(), ORIGIN).1.last_produced_at, Some(at(500)));
}

proptest::proptest! {
    #[test]
    fn reading_rubbish_as_a_tail_is_an_error_and_no_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let head = TailHead { origin: ORIGIN, snapshot: [1; 32], place: snapshot_place(3) }.encode();
        for bytes in [bytes.clone(), [head, bytes].concat()] {
            let read: Result<Tail, TailError> = Tail::read(&bytes, |_, _, _| panic!("an entry out of rubbish"));
            proptest::prop_assert!(read.is_err() || read.is_ok_and(|tail| tail.torn || bytes.len() == tail::EMPTY));
        }
    }
}
