//! A process that commits is killed at random moments: no acknowledged commit is lost, none is torn.
//!
//! `CARDINAL_KILLS` sets how often; 10 times without.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use common::{ROWS, batch, child, child_dir, put, random, tell};
use store::{Batch, Index, Put, SledStore, Store, Term};

const WRITERS: u64 = 4;
const BY_WRITER: Index = Index::new("writer");

/// The rows of one commit: the writer's counter, and the number's two halves, of which one is found by the writer.
fn rows(writer: u64, n: u64) -> Vec<Put> {
    let half = |which: &str| put(format!("{which}/{writer}/{n:08}"), format!("{writer} {n}").repeat(40));
    let mut found = half("a");
    found.terms = vec![Term::new(BY_WRITER, writer.to_be_bytes())];
    vec![put(format!("counter/{writer}"), n.to_be_bytes()), found, half("b")]
}

fn counter(store: &SledStore, writer: u64) -> u64 {
    let row = store.get(ROWS, format!("counter/{writer}").as_bytes()).unwrap();
    row.map_or(0, |row| u64::from_be_bytes(row.value.try_into().unwrap()))
}

#[test]
fn the_child_commits_until_it_is_killed() {
    let Some(dir) = child_dir() else { return };
    let store = SledStore::open(&dir).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for n in counter(store, writer) + 1.. {
                    let entry = format!("{writer} {n}").into_bytes();
                    let audit = vec![entry.clone(), entry.clone()];
                    let feed = vec![entry.clone()];
                    let batch = Batch { audit, feed, outbox: vec![entry], ..batch(rows(writer, n)) };
                    store.commit(batch).unwrap();
                    tell(format_args!("{writer} {n}"));
                }
            });
        }
    });
}

/// Runs a child, kills it after some acknowledgements and adds what it acknowledged.
fn run_and_kill(dir: &Path, acknowledged: &mut BTreeMap<u64, u64>) {
    let mut child = child("the_child_commits_until_it_is_killed", dir, "")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut kill_after = random(400);
    let mut killed = false;
    let mut line = String::new();
    loop {
        if !killed && kill_after == 0 {
            child.kill().unwrap();
            killed = true;
        }
        line.clear();
        output.read_line(&mut line).unwrap();
        if line.is_empty() {
            break;
        }
        // The last line may be torn.
        let Some(told) = line.strip_prefix("> ").and_then(|line| line.strip_suffix('\n')) else { continue };
        let (writer, n) = told.split_once(' ').unwrap();
        acknowledged.insert(writer.parse().unwrap(), n.parse().unwrap());
        kill_after = kill_after.saturating_sub(1);
    }
    let status = child.wait().unwrap();
    assert!(killed, "the child ended by itself: {status}");
}

/// Checks the store, and raises what counts as acknowledged to what is seen: that must not go any more either.
fn check(dir: &Path, acknowledged: &mut BTreeMap<u64, u64>) {
    let store = SledStore::open(dir).unwrap();
    let mut commits = 0;
    for writer in 0..WRITERS {
        let n = counter(&store, writer);
        let told = acknowledged.get(&writer).copied().unwrap_or(0);
        assert!(n >= told, "writer {writer} is at {n}, but {told} was acknowledged");
        assert!(n <= told + 1, "writer {writer} is at {n}, which it cannot have reached after {told}");
        acknowledged.insert(writer, n);
        commits += n;
        let found = store.by_index(BY_WRITER, &writer.to_be_bytes(), None, None, usize::MAX).unwrap().entries;
        for which in ["a", "b"] {
            let rows = store.range(ROWS, format!("{which}/{writer}/").as_bytes(), None, usize::MAX).unwrap();
            assert_eq!(rows.len() as u64, n, "every commit of writer {writer} has its row {which}");
            for (row, n) in rows.iter().zip(1..) {
                assert_eq!(row.key, format!("{which}/{writer}/{n:08}").as_bytes());
                assert_eq!(row.value, format!("{writer} {n}").repeat(40).as_bytes());
            }
            assert!(which == "b" || rows.iter().map(|row| &row.key).eq(found.iter().map(|entry| &entry.key)));
        }
    }
    let feed = store.feed(0, usize::MAX).unwrap();
    assert!(feed.iter().map(|(number, _)| *number).eq(1..=commits), "the feed has no gap");
    let audit = store.audit(0, usize::MAX).unwrap();
    assert!(audit.iter().map(|(number, _)| *number).eq(0..2 * commits), "the audit records have no gap");
    assert_eq!(store.outbox(0, usize::MAX).unwrap().len() as u64, commits);
    let mut seen = BTreeMap::new();
    for (entry, pair) in feed.iter().zip(audit.chunks(2)) {
        let text = std::str::from_utf8(&entry.1).unwrap();
        assert!(pair.iter().all(|(_, bytes)| *bytes == entry.1), "feed and audit tell of the same commits");
        let (writer, n) = text.split_once(' ').unwrap();
        let last = seen.entry(writer.to_owned()).or_insert(0u64);
        *last += 1;
        assert_eq!(*last, n.parse::<u64>().unwrap(), "the commits of a writer are in order");
    }
}

#[test]
fn no_acknowledged_commit_is_lost_or_torn_when_the_process_is_killed() {
    if child_dir().is_some() {
        return;
    }
    let kills = std::env::var("CARDINAL_KILLS").map_or(10, |kills| kills.parse().expect("CARDINAL_KILLS is a number"));
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for _ in 0..kills {
        run_and_kill(dir.path(), &mut acknowledged);
        check(dir.path(), &mut acknowledged);
    }
    assert!(acknowledged.values().all(|n| *n > 0), "every writer got through");
}
