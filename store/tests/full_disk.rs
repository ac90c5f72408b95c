//! A disk that is full while committing: a clear error, no hang, and nothing lost. The full disk is a limit on the size
//! of files, which needs no rights: writing fails with EFBIG, on the same way through sled as ENOSPC.

mod common;

use std::process::Stdio;

use common::{ROWS, batch, child, child_dir, put, tell};
use store::{Error, SledStore, Store};

fn key(n: u64) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

#[test]
fn the_child_commits_until_its_disk_is_full() {
    let Some(dir) = child_dir() else { return };
    let store = SledStore::open(&dir).unwrap();
    let first = store.feed_position().unwrap().sequence;
    let feed = |n| store::Batch { feed: vec![key(n)], ..batch([put(key(n), vec![n as u8; 3000])]) };
    let mut n = first;
    let error = loop {
        n += 1;
        match store.commit(feed(n)) {
            Ok(committed) => {
                assert_eq!(committed.feed, Some(n..=n));
                tell(format_args!("{n}"));
            }
            Err(error) => break error,
        }
        assert!(n < first + 100_000, "the disk is not full");
    };
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert!(error.to_string().contains("File too large"), "{error}");

    // What failed is not shown, what was acknowledged is, and from now on the answer is at once and clear.
    let readable = |text| {
        assert_eq!(store.range(ROWS, b"", None, usize::MAX).unwrap().len() as u64, n - 1, "{text}");
        assert_eq!(store.get(ROWS, &key(n)).unwrap(), None, "{text}");
        assert_eq!(store.feed_position().unwrap().sequence, n - 1, "{text}");
        assert_eq!(store.feed(0, usize::MAX).unwrap().len() as u64, n - 1, "{text}");
    };
    readable("after the failure");
    for _ in 0..3 {
        let refused = store.commit(feed(n)).unwrap_err();
        assert!(matches!(refused, Error::Failed { .. }), "{refused}");
        assert!(refused.to_string().contains("File too large"), "{refused}");
    }
    assert!(store.failure().is_some());
    readable("after a refusal");
    drop(store);
    tell(format_args!("end"));
}

#[test]
fn a_full_disk_is_a_clear_error_and_loses_nothing() {
    if child_dir().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    // With each round the limit is higher; it falls at another place of sled's segments every time.
    for kib in [1500, 2900, 4347] {
        let wrapper = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kib * 2);
        let run = child("the_child_commits_until_its_disk_is_full", dir.path(), &wrapper)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let told = String::from_utf8(run.stdout).unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{told}\n{stderr}");
        let lines: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("> ")).collect();
        let (end, numbers) = lines.split_last().unwrap();
        assert_eq!(*end, "end");
        let acknowledged: u64 = numbers.last().unwrap().parse().unwrap();

        // With room again, all that was acknowledged is there; of the last one either all or nothing.
        let store = SledStore::open(dir.path()).unwrap();
        total = store.feed_position().unwrap().sequence;
        assert!((acknowledged..=acknowledged + 1).contains(&total), "{total} after {acknowledged}");
        assert_eq!(store.range(ROWS, b"", None, usize::MAX).unwrap().len() as u64, total);
    }
    let store = SledStore::open(dir.path()).unwrap();
    store.commit(batch([put(key(total + 1), "v")])).unwrap();
}
