//! A disk that is full while committing: a clear error, no hang, and nothing lost. The full disk is a limit on the size
//! of files, which needs no rights: writing fails with EFBIG, on the same way through sled as ENOSPC.

mod common;

use std::process::Stdio;

use common::{ROWS, batch, child, child_dir, put, tell};
use store::{Error, SledOptions, SledStore, Store};

fn key(n: u64) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

#[test]
fn the_child_commits_until_its_disk_is_full() {
    let Some(dir) = child_dir() else { return };
    // Down to the last byte: the room that is otherwise made sure of would have the commits refused first.
    let store = SledStore::open_with(&dir, &SledOptions { room: 0, ..SledOptions::default() }).unwrap();
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
    assert!(matches!(error, Error::OutcomeUnknown { .. } | Error::Failed { .. }), "{error}");
    let names_the_cause = |error: &Error| {
        let text = error.to_string();
        assert!(text.contains("File too large") || text.contains("No space left"), "{text}");
    };
    names_the_cause(&error);

    // What failed is not shown, what was acknowledged is, and from now on the answer is at once and clear. Where sled
    // stopped in the middle of splitting a node, reading past that node may meet the cause, but never anything wrong.
    let right = |read: Result<usize, Error>, text| match read {
        Ok(entries) => assert_eq!(entries as u64, n - 1, "{text}"),
        Err(error) => names_the_cause(&error),
    };
    let readable = |text| {
        right(store.range(ROWS, b"", None, usize::MAX).map(|rows| rows.len()), text);
        right(store.feed(0, usize::MAX).map(|feed| feed.len()), text);
        assert_eq!(store.get(ROWS, &key(n)).unwrap(), None, "{text}");
        assert_eq!(store.feed_position().unwrap().sequence, n - 1, "{text}");
    };
    readable("after the failure");
    for _ in 0..3 {
        let refused = store.commit(feed(n)).unwrap_err();
        assert!(matches!(refused, Error::Failed { .. }), "{refused}");
        names_the_cause(&refused);
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
    for kib in [1500, 2000, 2900, 3333, 4347] {
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

#[test]
fn a_nearly_full_disk_refuses_commits_before_anything_breaks() {
    if child_dir().is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    SledStore::open(dir.path()).unwrap().commit(batch([put("1", "v")])).unwrap();
    // No disk has that much left.
    let store = SledStore::open_with(dir.path(), &SledOptions { room: 1 << 62, ..SledOptions::default() }).unwrap();
    for _ in 0..3 {
        let refused = store.commit(batch([put("2", "v")])).unwrap_err();
        assert!(matches!(refused, Error::DiskFull { needed, .. } if needed >= 1 << 62), "{refused}");
        assert!(refused.to_string().contains(dir.path().to_str().unwrap()), "{refused}");
    }
    assert_eq!(store.failure(), None);
    assert!(store.get(ROWS, b"1").unwrap().is_some());
    assert_eq!(store.get(ROWS, b"2").unwrap(), None);
    drop(store);
    SledStore::open(dir.path()).unwrap().commit(batch([put("2", "v")])).unwrap();
}
