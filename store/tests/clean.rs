//! A stop in order lets the next start leave the check of everything out; anything else does not. The check can be made
//! beside the use of the store, and finds what the one before it would have found.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use common::{ROWS, batch, copy_dir, put, random};
use sha2::{Digest, Sha256};
use store::{Batch, Check, Error, Put, SledOptions, SledStore, Store};

fn quickly(dir: &Path) -> SledStore {
    let options = SledOptions { check: Check::AfterUncleanStop, ..SledOptions::default() };
    SledStore::open_with(dir, &options).unwrap()
}

fn row(number: u64) -> Put {
    put(number.to_be_bytes(), vec![number as u8; 50])
}

/// A store of so many rows, closed in order.
fn filled(dir: &Path, rows: u64) {
    let store = SledStore::open(dir).unwrap();
    for start in (0..rows).step_by(100) {
        let feed = vec![start.to_be_bytes().to_vec()];
        store.commit(Batch { feed, ..batch((start..start + 100).map(row)) }).unwrap();
    }
}

#[test]
fn after_a_stop_in_order_the_check_of_everything_is_left_for_later() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1000);
    let store = quickly(dir.path());
    assert_eq!((store.open_report().entries_checked, store.open_report().check_left_out), (0, true));
    assert_eq!(store.range(ROWS, b"", None, usize::MAX).unwrap().len(), 1000);
    let mut pages = 0;
    let checked = store.check(&mut |_| {
        pages += 1;
        true
    });
    assert_eq!(checked.unwrap(), Some(1010));
    assert!(pages >= 3);
    // Whoever wants it, has it made before all the same.
    drop(store);
    let store = SledStore::open(dir.path()).unwrap();
    assert_eq!((store.open_report().entries_checked, store.open_report().check_left_out), (1010, false));
}

#[test]
fn a_store_that_was_not_closed_is_checked_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 300);
    let store = quickly(dir.path());
    store.commit(batch([row(1000)])).unwrap();
    // What a kill leaves: the files as they are while the store is open.
    let killed = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), killed.path());
    let store = quickly(killed.path());
    assert_eq!((store.open_report().entries_checked, store.open_report().check_left_out), (304, false));
}

#[test]
fn files_that_somebody_touched_and_a_damaged_witness_bring_the_check_back() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 300);
    let log = fs::File::options().write(true).open(dir.path().join("sled/db")).unwrap();
    let octet = fs::read(dir.path().join("sled/db")).unwrap()[0];
    log.write_all_at(&[octet], 0).unwrap();
    assert_eq!(quickly(dir.path()).open_report().entries_checked, 303);
    assert!(quickly(dir.path()).open_report().check_left_out);

    let witness = fs::read(dir.path().join("clean")).unwrap();
    for place in (0..witness.len()).step_by(11) {
        let mut damaged = witness.clone();
        damaged[place] ^= 1;
        fs::write(dir.path().join("clean"), &damaged).unwrap();
        assert!(!quickly(dir.path()).open_report().check_left_out, "octet {place}");
    }
    // Of another store.
    let other = tempfile::tempdir().unwrap();
    filled(other.path(), 200);
    fs::copy(other.path().join("clean"), dir.path().join("clean")).unwrap();
    assert!(!quickly(dir.path()).open_report().check_left_out);
}

#[test]
fn the_check_is_not_put_off_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 100);
    let left_out = (0..20).take_while(|_| quickly(dir.path()).open_report().check_left_out).count();
    assert_eq!(left_out, 8);
    // One that came to its end counts as one at the start.
    let store = quickly(dir.path());
    assert!(store.open_report().check_left_out);
    assert!(store.check(&mut |_| true).unwrap().is_some());
    drop(store);
    let left_out = (0..20).take_while(|_| quickly(dir.path()).open_report().check_left_out).count();
    assert_eq!(left_out, 8);
}

/// Changes sled's content as no medium and no person should, and makes the witness say that the files look as it left
/// them.
fn behind_its_back(dir: &Path, change: impl FnOnce(&sled::Db)) {
    let db = loop {
        match sled::open(dir.join("sled")) {
            Err(sled::Error::Io(e)) if e.to_string().contains("could not acquire lock") => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    change(&db);
    drop(db);
    let log = fs::File::options().write(true).open(dir.join("sled/db")).unwrap();
    // sled's threads write to their end.
    rustix::fs::flock(&log, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let look = log.metadata().unwrap();
    let mut witness = fs::read(dir.join("clean")).unwrap();
    witness.truncate(witness.len() - 32 - 24);
    witness.extend(look.len().to_be_bytes());
    witness.extend([look.mtime(), look.mtime_nsec()].map(i64::to_be_bytes).concat());
    let digest = Sha256::digest(&witness);
    witness.extend(digest);
    fs::write(dir.join("clean"), witness).unwrap();
}

#[test]
fn a_row_that_went_is_found_by_the_check_beside_the_use_and_stops_the_store() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1000);
    behind_its_back(dir.path(), |db| {
        let gone = db.iter().keys().map(Result::unwrap).find(|key| key[0] == b'R').unwrap();
        db.remove(gone).unwrap();
    });
    let store = quickly(dir.path());
    assert!(store.open_report().check_left_out);
    let found = store.check(&mut |_| true).unwrap_err();
    assert!(matches!(&found, Error::Damaged { .. }) && found.to_string().contains("cardinal restore"), "{found}");
    assert!(store.failure().unwrap().contains("damaged"));
    assert!(matches!(store.commit(batch([row(5)])), Err(Error::Failed { .. })));
    // A store that failed is not vouched for.
    drop(store);
    assert!(matches!(SledStore::open(dir.path()), Err(Error::Damaged { .. })));
}

#[test]
fn commits_during_the_check_do_not_disturb_it_and_do_not_hide_damage() {
    for damage in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 2000);
        if damage {
            behind_its_back(dir.path(), |db| {
                let (key, mut value) =
                    db.range(*b"R"..).map(Result::unwrap).nth(700).map(|(k, v)| (k, v.to_vec())).unwrap();
                *value.last_mut().unwrap() ^= 1;
                db.insert(key, value).unwrap();
            });
        }
        let store = quickly(dir.path());
        assert!(store.open_report().check_left_out);
        let checked = store.check(&mut |_| {
            // Written again, new and deleted rows, before and behind the place that is being read. The damaged one is
            // let be: a commit that changes it takes its sum along.
            let pick = || Some(random(4000)).filter(|number| *number < 600 || *number > 800).unwrap_or(0);
            for _ in 0..20 {
                let (changed, deleted) = (pick(), pick());
                let mut rows = vec![put(changed.to_be_bytes(), random(u64::MAX).to_be_bytes())];
                if deleted != changed {
                    rows.push(Put { value: None, ..row(deleted) });
                }
                let entries = vec![vec![1; 10]];
                store.commit(Batch { feed: entries.clone(), audit: entries, ..batch(rows) }).unwrap();
            }
            true
        });
        match checked {
            Ok(Some(entries)) => assert!(!damage && entries > 500),
            Err(Error::Damaged { .. }) => assert!(damage),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_check_that_is_told_to_stop_leaves_room_for_another() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1000);
    let store = quickly(dir.path());
    assert_eq!(store.check(&mut |_| false).unwrap(), None);
    let mut meanwhile = Some(5);
    let checked = store.check(&mut |_| {
        meanwhile = store.check(&mut |_| true).unwrap();
        true
    });
    assert_eq!((checked.unwrap(), meanwhile), (Some(1010), None));
}
