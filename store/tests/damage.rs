//! Damaged files and a second owner: a clear error, never a panic, never a silent loss.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{ROWS, batch, child, child_dir, copy_dir, put, random, tell};
use store::{Batch, Error, SledStore, Store};

/// Makes a store in two sessions, so that sled has a snapshot and a log behind it. Returns how many rows it has.
fn filled(dir: &Path) -> u64 {
    for session in 0..2u64 {
        let store = SledStore::open(dir).unwrap();
        for n in 0..100u64 {
            let number = session * 100 + n;
            let feed = vec![number.to_be_bytes().to_vec()];
            let rows = [put(number.to_be_bytes(), vec![number as u8; 300]), put("counter", number.to_be_bytes())];
            store.commit(Batch { feed, ..batch(rows) }).unwrap();
        }
    }
    201
}

fn is_whole(store: &SledStore, rows: u64) {
    let read = store.range(ROWS, b"", None, usize::MAX).unwrap();
    assert_eq!(read.len() as u64, rows);
    for row in &read {
        if row.key != b"counter" {
            let n = u64::from_be_bytes(row.key.as_slice().try_into().unwrap());
            assert_eq!(row.value, vec![n as u8; 300]);
        }
    }
    assert_eq!(store.feed(0, usize::MAX).unwrap().len() as u64, rows - 1);
}

/// sled's own view of a store that was just closed, as soon as its threads have let go of the file.
fn behind_its_back(dir: &Path) -> sled::Db {
    loop {
        match sled::open(dir.join("sled")) {
            Err(sled::Error::Io(e)) if e.to_string().contains("could not acquire lock") => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("sled")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).collect()
}

#[test]
fn a_torn_snapshot_is_moved_aside_and_reported_and_nothing_is_lost() {
    let made = tempfile::tempdir().unwrap();
    let rows = filled(made.path());
    drop(SledStore::open(made.path()).unwrap());
    let names = snapshots(made.path());
    assert_eq!(names.len(), 1);
    let whole = fs::read(&names[0]).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for torn in [&whole[..0], &whole[..5], &whole[..12], &whole[..whole.len() - 1], &whole[..whole.len() / 2], &flipped]
    {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(made.path(), dir.path());
        fs::write(&snapshots(dir.path())[0], torn).unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let aside = &store.open_report().snapshots_set_aside;
        assert_eq!(aside.len(), 1);
        assert!(aside[0].to_str().unwrap().ends_with(".damaged-1"));
        assert_eq!(fs::read(&aside[0]).unwrap(), torn);
        assert!(store.open_report().entries_checked > 400);
        is_whole(&store, rows);
        store.commit(batch([put("more", "v")])).unwrap();
        drop(store);
        let store = SledStore::open(dir.path()).unwrap();
        assert!(store.open_report().snapshots_set_aside.is_empty());
        assert!(store.get(ROWS, b"more").unwrap().is_some());
    }
}

#[test]
fn a_snapshot_that_was_being_written_when_the_power_went_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let rows = filled(dir.path());
    fs::write(dir.path().join("sled/snap.7FFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    assert_eq!(store.open_report().snapshots_set_aside.len(), 1);
    is_whole(&store, rows);
}

#[test]
fn a_flipped_byte_in_the_log_is_noticed_or_does_no_harm() {
    let made = tempfile::tempdir().unwrap();
    let rows = filled(made.path());
    let log = fs::read(made.path().join("sled/db")).unwrap();
    let used = log.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let mut refused = 0;
    let mut places: Vec<u64> = (0..24).map(|_| random(used)).collect();
    // Segment header, first message, the last commits.
    places.extend([0, 5, 17, 20, 30, 60, used - 30, used - 200, used - 3000]);
    for place in places {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(made.path(), dir.path());
        let db = fs::File::options().write(true).open(dir.path().join("sled/db")).unwrap();
        db.write_all_at(&[log[place as usize] ^ 0x10], place).unwrap();
        match SledStore::open(dir.path()) {
            Ok(store) => is_whole(&store, rows),
            Err(error @ Error::Damaged { .. }) => {
                refused += 1;
                let text = error.to_string();
                assert!(text.contains("cardinal restore") && text.contains(dir.path().to_str().unwrap()), "{text}");
            }
            Err(other) => panic!("byte {place}: {other}"),
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_log_that_ends_before_the_last_acknowledged_commit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let db = fs::File::options().write(true).open(dir.path().join("sled/db")).unwrap();
    let used = fs::read(dir.path().join("sled/db")).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
    db.set_len(used - 100).unwrap();
    let error = SledStore::open(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { detail, .. } if detail.contains("was acknowledged")), "{error}");
    // An emptied log is not taken for a new store either.
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let error = SledStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn an_older_copy_of_the_log_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let older = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("sled"), older.path());
    SledStore::open(dir.path()).unwrap().commit(batch([put("more", "v")])).unwrap();
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    copy_dir(older.path(), &dir.path().join("sled"));
    let error = SledStore::open(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { detail, .. } if detail.contains("was acknowledged")), "{error}");
}

#[test]
fn a_damaged_witness_is_reported_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let rows = filled(dir.path());
    fs::write(dir.path().join("tip"), b"rubbish").unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    assert!(store.open_report().witness_unreadable);
    is_whole(&store, rows);
    drop(store);
    assert!(!SledStore::open(dir.path()).unwrap().open_report().witness_unreadable);
}

#[test]
fn a_store_of_a_newer_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let db = behind_its_back(dir.path());
    let mut state = db.get("Mstate").unwrap().unwrap().to_vec();
    state[1] += 1;
    db.insert("Mstate", state).unwrap();
    drop(db);
    let error = SledStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::NewerStore { found: 2, supported: 1, .. }), "{error}");
}

#[test]
fn a_row_that_went_behind_the_stores_back_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let db = behind_its_back(dir.path());
    db.remove(db.iter().keys().map(Result::unwrap).find(|key| key[0] == b'R').unwrap()).unwrap();
    drop(db);
    assert!(matches!(SledStore::open(dir.path()), Err(Error::Damaged { .. })));
}

#[test]
fn the_child_owns_the_store() {
    let Some(dir) = child_dir() else { return };
    let _store = SledStore::open(&dir).unwrap();
    tell(format_args!("open"));
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_store_that_another_process_has_is_refused_with_its_pid() {
    if child_dir().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut owner =
        child("the_child_owns_the_store", dir.path(), "").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "> open"));
    let error = SledStore::open(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::InUse { pid: Some(pid), dir: named } if *pid == owner.id() && named == dir.path()));
    assert!(error.to_string().contains(&owner.id().to_string()), "{error}");
    drop(owner.stdin.take());
    assert!(owner.wait().unwrap().success());
    // Twice in one process is no better.
    let store = SledStore::open(dir.path()).unwrap();
    assert!(
        matches!(SledStore::open(dir.path()), Err(Error::InUse { pid: Some(pid), .. }) if pid == std::process::id())
    );
    drop(store);
    SledStore::open(dir.path()).unwrap();
}
