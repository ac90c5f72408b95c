//! Backup of a running store, and restore: consistent at one commit, verified before anything is put in place.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{ROWS, batch, put};
use store::{Batch, Error, Index, Put, RestoreOptions, RestoreReport, SledStore, Store, Term, restore, verify_backup};

const BY_VALUE: Index = Index::new("value");
const KEEP: RestoreOptions = RestoreOptions { replace: false };
const REPLACE: RestoreOptions = RestoreOptions { replace: true };

fn backup_of(store: &SledStore) -> Vec<u8> {
    let mut bytes = Vec::new();
    let summary = store.backup(&mut bytes, &mut |_| ()).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(verify_backup(&mut bytes.as_slice()).unwrap(), summary);
    bytes
}

fn put_back(dir: &Path, backup: &[u8], now: u64, options: &RestoreOptions) -> Result<RestoreReport, Error> {
    restore(dir, &mut &*backup, now, options)
}

fn everything(store: &SledStore) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        store.range(ROWS, b"", None, usize::MAX).unwrap(),
        store.by_index(BY_VALUE, b"", None, None, usize::MAX).unwrap(),
        store.feed(0, usize::MAX).unwrap(),
        store.audit(0, usize::MAX).unwrap(),
        store.outbox(0, usize::MAX).unwrap(),
        store.high_water(),
        store.feed_position().unwrap().sequence,
    )
}

fn with_terms(put: Put, terms: &[&str]) -> Put {
    Put { terms: terms.iter().map(|term| Term::new(BY_VALUE, *term)).collect(), ..put }
}

/// A store with something of everything.
fn small(dir: &Path) -> SledStore {
    let store = SledStore::open(dir).unwrap();
    let first = Batch {
        at: 1_700_000_000_000,
        put: vec![with_terms(put("1", "one"), &["a", "b\0"]), put("2", vec![2; 9000]), put("3", "")],
        audit: vec![b"audit".to_vec(), vec![]],
        feed: vec![b"feed".to_vec()],
        outbox: vec![b"mail".to_vec(), b"letter".to_vec()],
        ..Batch::default()
    };
    store.commit(first).unwrap();
    let gone = Put { table: ROWS, key: b"3".to_vec(), value: None, terms: vec![] };
    store.commit(Batch { outbox_done: vec![1], ..batch([gone, with_terms(put("1", "changed"), &["c"])]) }).unwrap();
    store
}

#[test]
fn a_restored_store_is_the_one_that_was_backed_up_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(&dir.path().join("store"));
    let backup = backup_of(&store);
    let target = dir.path().join("copy");
    let report = put_back(&target, &backup, 1000, &KEEP).unwrap();
    assert_eq!((report.epoch, report.moved_aside), (1000, None));
    let copy = SledStore::open(&target).unwrap();
    assert_eq!(everything(&copy), everything(&store));
    assert_eq!(copy.feed_position().unwrap().epoch, 1000);
    let more = Batch { feed: vec![vec![]], audit: vec![vec![]], outbox: vec![vec![]], ..batch([put("4", "")]) };
    assert_eq!(copy.commit(more.clone()).map(|c| (c.version, c.feed, c.audit, c.outbox)).unwrap(), {
        let on = store.commit(more).unwrap();
        (on.version, on.feed, on.audit, on.outbox)
    });
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 2, "nothing else is left beside the two stores");
}

#[test]
fn an_empty_store_can_be_backed_up_and_an_empty_directory_be_restored_into() {
    let dir = tempfile::tempdir().unwrap();
    let backup = backup_of(&SledStore::open(&dir.path().join("store")).unwrap());
    let target = dir.path().join("copy");
    fs::create_dir(&target).unwrap();
    put_back(&target, &backup, 0, &KEEP).unwrap();
    let copy = SledStore::open(&target).unwrap();
    assert_eq!(copy.feed_position().map(|at| (at.epoch, at.sequence)).unwrap(), (2, 0));
}

#[test]
fn a_restore_raises_the_epoch_above_all_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("store");
    let backup = backup_of(&small(&target));
    let epoch = |report: RestoreReport| {
        let store = SledStore::open(&target).unwrap();
        assert_eq!(store.feed_position().unwrap().epoch, report.epoch);
        report.epoch
    };
    assert_eq!(epoch(put_back(&target, &backup, 0, &REPLACE).unwrap()), 2);
    // The same backup again: its own epoch is 1, but the store that goes has 2.
    assert_eq!(epoch(put_back(&target, &backup, 0, &REPLACE).unwrap()), 3);
    assert_eq!(epoch(put_back(&target, &backup, 5000, &REPLACE).unwrap()), 5000);
    assert_eq!(epoch(put_back(&target, &backup, 4000, &REPLACE).unwrap()), 5001);
    // Where the witness is gone, the store is asked.
    fs::remove_file(target.join("tip")).unwrap();
    assert_eq!(epoch(put_back(&target, &backup, 4000, &REPLACE).unwrap()), 5002);
    // Where nothing can be read of it, the clock is all there is.
    fs::remove_file(target.join("tip")).unwrap();
    fs::write(target.join("sled/conf"), vec![0xff; 64]).unwrap();
    assert_eq!(epoch(put_back(&target, &backup, 4000, &REPLACE).unwrap()), 4000);
}

#[test]
fn a_store_that_is_there_is_moved_aside_when_told_and_kept_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("store");
    let store = small(&target);
    let backup = backup_of(&store);
    store.commit(batch([put("later", "v")])).unwrap();
    let refused = put_back(&target, &backup, 7, &KEEP);
    assert!(matches!(refused, Err(Error::TargetExists { .. })), "{refused:?}");
    let refused = put_back(&target, &backup, 7, &REPLACE);
    assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
    drop(store);
    let aside = put_back(&target, &backup, 7, &REPLACE).unwrap().moved_aside.unwrap();
    assert_eq!(SledStore::open(&target).unwrap().get(ROWS, b"later").unwrap(), None);
    assert!(SledStore::open(&aside).unwrap().get(ROWS, b"later").unwrap().is_some());
}

#[test]
fn a_backup_under_load_shows_exactly_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(&dir.path().join("store")).unwrap();
    let padding: Vec<Put> = (0..3000u32).map(|n| put(format!("pad/{n:06}"), vec![n as u8; 64])).collect();
    for chunk in padding.chunks(500) {
        store.commit(batch(chunk.to_vec())).unwrap();
    }
    let done = AtomicBool::new(false);
    let mut backups = Vec::new();
    std::thread::scope(|scope| {
        for writer in 0..4u32 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                for n in 1u32.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    // Equal counters at both ends of the table, a row that comes and goes, and one that grows.
                    let text = n.to_string();
                    let count = |at: &str| with_terms(put(format!("{at}/{writer}"), text.as_str()), &[&text]);
                    let fleeting = Put {
                        value: n.is_multiple_of(2).then(|| vec![7; 5000]),
                        ..put(format!("fleeting/{writer}"), "")
                    };
                    let padded = put(format!("pad/{:06}", (n * 7 + writer) % 3000), vec![n as u8; n as usize % 9000]);
                    let rows = [count("a"), count("z"), fleeting, padded];
                    let entries = vec![vec![writer as u8]];
                    let (feed, audit) = (entries.clone(), entries.clone());
                    let outbox_done = vec![u64::from(n)];
                    store.commit(Batch { feed, audit, outbox: entries, outbox_done, ..batch(rows) }).unwrap();
                }
            });
        }
        store.wait_feed(100, std::time::Duration::from_secs(300));
        for _ in 0..3 {
            let (mut last, mut frames) = (0, 0);
            let mut bytes = Vec::new();
            let before = store.feed_position().unwrap();
            let summary = store
                .backup(&mut bytes, &mut |so_far| {
                    assert!(so_far >= last);
                    last = so_far;
                    frames += 1;
                    // The backup goes on only when the store has, so that every part of it shows another commit.
                    if frames % 200 == 0 && frames < 4000 {
                        let now = store.feed_position().unwrap().sequence;
                        store.wait_feed(now + 3, std::time::Duration::from_secs(300));
                    }
                })
                .unwrap();
            assert!(summary.position.sequence >= before.sequence + 50, "commits went on");
            assert_eq!(last, summary.bytes);
            assert!(summary.position >= before && summary.position <= store.feed_position().unwrap());
            backups.push((bytes, summary));
        }
        done.store(true, Ordering::Relaxed);
    });
    for (number, (bytes, summary)) in backups.into_iter().enumerate() {
        assert_eq!(verify_backup(&mut bytes.as_slice()).unwrap(), summary);
        let target = dir.path().join(format!("copy-{number}"));
        put_back(&target, &bytes, 0, &KEEP).unwrap();
        let copy = SledStore::open(&target).unwrap();
        let mut commits = 0;
        for writer in 0..4 {
            let read = |at: &str| copy.get(ROWS, format!("{at}/{writer}").as_bytes()).unwrap();
            let (a, z) = (read("a").unwrap(), read("z").unwrap());
            assert_eq!((&a.value, a.version), (&z.value, z.version));
            let n: u64 = std::str::from_utf8(&a.value).unwrap().parse().unwrap();
            assert_eq!(read("fleeting").is_some(), n.is_multiple_of(2));
            let found = copy.by_index(BY_VALUE, &a.value, Some(&[&a.value[..], &[0]].concat()), None, 99).unwrap();
            assert!(found.entries.iter().any(|entry| entry.key == a.key));
            commits += n;
        }
        assert_eq!(copy.feed_position().unwrap().sequence, commits);
        assert_eq!(copy.feed_position().unwrap().sequence, summary.position.sequence);
        assert_eq!(copy.audit_len(), commits);
        assert_eq!(copy.feed(0, usize::MAX).unwrap().len() as u64, commits);
        assert_eq!(copy.by_index(BY_VALUE, b"", None, None, 99).unwrap().entries.len(), 8);
    }
}

#[test]
fn a_second_backup_at_the_same_time_is_refused_and_a_failed_one_leaves_no_trace() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = small(&dir.path().join("store"));
    let mut second = None;
    let mut out = Vec::new();
    store
        .backup(&mut out, &mut |_| {
            second.get_or_insert_with(|| store.backup(&mut Vec::new(), &mut |_| ()));
        })
        .unwrap();
    assert!(matches!(second, Some(Err(Error::BackupRunning))));
    assert!(matches!(store.backup(&mut Full, &mut |_| ()), Err(Error::BackupWrite { .. })));
    backup_of(&store);
}

#[test]
fn a_backup_with_any_flipped_byte_is_refused_and_leaves_the_target_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(&dir.path().join("store")).unwrap();
    let rows = [with_terms(put("1", "one"), &["a"])];
    let (audit, feed) = (vec![b"audit".to_vec()], vec![b"feed".to_vec()]);
    store.commit(Batch { audit, feed, outbox: vec![b"mail".to_vec()], ..batch(rows) }).unwrap();
    let backup = backup_of(&store);
    drop(store);
    let target = dir.path().join("target");
    let before = everything(&small(&target));
    let beside = || fs::read_dir(dir.path()).unwrap().count();
    let refused = |damaged: &[u8], what: String| {
        let verified = verify_backup(&mut &*damaged);
        assert!(
            matches!(verified, Err(Error::BackupDamaged { .. } | Error::NewerBackup { .. })),
            "{what}: {verified:?}"
        );
    };
    for place in 0..backup.len() {
        let mut damaged = backup.clone();
        damaged[place] ^= 1 << (place % 8);
        refused(&damaged, format!("byte {place}"));
        // A restore opens sled each time; a part of the places is enough to see that it relies on the same reader.
        if place % 16 == 0 {
            let restored = put_back(&target, &damaged, 0, &REPLACE);
            assert!(
                matches!(restored, Err(Error::BackupDamaged { .. } | Error::NewerBackup { .. })),
                "byte {place}: {restored:?}"
            );
        }
    }
    for length in 0..backup.len() {
        refused(&backup[..length], format!("only {length} bytes"));
    }
    refused(&[&backup[..], &[0]].concat(), "one byte more".into());
    assert!(put_back(&target, &backup[..backup.len() / 2], 0, &REPLACE).is_err());
    assert_eq!(beside(), 2, "nothing is left of the attempts");
    let store = SledStore::open(&target).unwrap();
    assert_eq!(everything(&store), before);
    assert_eq!(store.feed_position().unwrap().epoch, 1);
}

#[test]
fn a_backup_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut backup = backup_of(&small(&dir.path().join("store")));
    backup[23] = 9;
    let refused = verify_backup(&mut backup.as_slice());
    assert!(matches!(refused, Err(Error::NewerBackup { found: 9, supported: 1 })), "{refused:?}");
}
