//! The suite that every backend has to pass. A backend's tests call [`run_all`] with a way to open a store in a
//! directory; a case that opens a directory again expects to find what it left there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Expect, Index, MAX_BATCH, MAX_ENTRY, MAX_KEY, MAX_TERM, MAX_VALUE, Put, Table, Term};
use crate::error::Error;
use crate::record::{Record, Versioned, load, load_by_index, load_range};
use crate::store::{Committed, Cursor, IndexEntry, Row, Store};

/// Opens the store in a directory, or makes one there.
pub type Open<'a> = &'a dyn Fn(&Path) -> Box<dyn Store>;

const CARDS: Table = Table::new("card");
const PEOPLE: Table = Table::new("person");
const BY_STATE: Index = Index::new("state");
/// Longer than any machine takes; a case that waits is woken before.
const LONG: Duration = Duration::from_secs(300);

/// Runs every case, each on a fresh store.
///
/// # Panics
/// If the backend breaks the contract; the message names the case.
pub fn run_all(open: Open<'_>) {
    for (name, case) in CASES {
        let dir = tempfile::tempdir().expect("a directory for the case");
        let path = dir.path().join("store");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(open, &path)));
        if let Err(panic) = outcome {
            tracing::error!(name, "a case of the contract suite failed");
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("");
            panic!("the backend breaks the contract: {name}: {text}");
        }
    }
}

type Case = fn(Open<'_>, &Path);

const CASES: &[(&str, Case)] = &[
    ("a_new_store_is_empty", a_new_store_is_empty),
    ("a_row_is_read_as_written_and_survives_reopening", a_row_is_read_as_written_and_survives_reopening),
    ("every_write_gives_a_new_version_even_after_a_deletion", every_write_gives_a_new_version_even_after_a_deletion),
    ("expectations_decide_whether_a_batch_is_applied", expectations_decide_whether_a_batch_is_applied),
    ("a_refused_batch_leaves_nothing_behind", a_refused_batch_leaves_nothing_behind),
    ("of_two_updates_of_one_version_exactly_one_wins", of_two_updates_of_one_version_exactly_one_wins),
    ("what_is_too_large_or_contradictory_is_refused", what_is_too_large_or_contradictory_is_refused),
    ("values_of_all_sizes_are_kept", values_of_all_sizes_are_kept),
    ("a_range_is_in_key_order_and_pages_hold_while_rows_change", a_range_is_in_key_order_and_pages_hold),
    ("index_entries_come_change_and_go_with_their_row", index_entries_come_change_and_go_with_their_row),
    ("terms_sort_as_bytes_and_prefixes_match_whole_bytes", terms_sort_as_bytes_and_prefixes_match_whole_bytes),
    ("index_pages_hold_while_entries_change", index_pages_hold_while_entries_change),
    ("tables_and_indexes_do_not_run_into_each_other", tables_and_indexes_do_not_run_into_each_other),
    ("feed_and_audit_are_gapless_under_eight_writers", feed_and_audit_are_gapless_under_eight_writers),
    ("numbers_go_on_after_reopening", numbers_go_on_after_reopening),
    ("a_waiting_follower_is_woken", a_waiting_follower_is_woken),
    ("the_outbox_keeps_what_is_not_done", the_outbox_keeps_what_is_not_done),
    ("the_high_water_mark_never_falls", the_high_water_mark_never_falls),
    ("a_batch_is_seen_whole_or_not_at_all", a_batch_is_seen_whole_or_not_at_all),
    ("records_are_typed_and_versioned", records_are_typed_and_versioned),
    ("a_record_that_is_not_understood_is_refused", a_record_that_is_not_understood_is_refused),
];

fn put(table: Table, key: &[u8], value: &[u8], terms: &[&[u8]]) -> Put {
    let terms = terms.iter().map(|term| Term::new(BY_STATE, *term)).collect();
    Put { table, key: key.to_vec(), value: Some(value.to_vec()), terms }
}

fn gone(table: Table, key: &[u8]) -> Put {
    Put { table, key: key.to_vec(), value: None, terms: Vec::new() }
}

fn batch(put: impl IntoIterator<Item = Put>) -> Batch {
    Batch { at: 1, put: put.into_iter().collect(), ..Batch::default() }
}

fn commit(store: &dyn Store, put: impl IntoIterator<Item = Put>) -> Committed {
    store.commit(batch(put)).unwrap()
}

fn version(store: &dyn Store, key: &[u8]) -> u64 {
    store.get(CARDS, key).unwrap().unwrap().version
}

fn entry(term: &[u8], table: Table, key: &[u8]) -> IndexEntry {
    IndexEntry { term: term.to_vec(), table: table.name().into(), key: key.to_vec() }
}

fn found(store: &dyn Store, from: &[u8], to: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let page = store.by_index(BY_STATE, from, to, None, usize::MAX).unwrap();
    assert_eq!(page.next, None);
    page.entries.into_iter().map(|entry| (entry.term, entry.key)).collect()
}

fn pair(term: &[u8], key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (term.to_vec(), key.to_vec())
}

fn a_new_store_is_empty(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    assert_eq!(store.get(CARDS, b"1").unwrap(), None);
    assert_eq!(store.range(CARDS, b"", None, 10).unwrap(), []);
    assert_eq!(found(&*store, b"", None), []);
    let position = store.feed_position().unwrap();
    assert_eq!((position.epoch, position.sequence), (1, 0));
    assert_eq!(store.feed(0, 10).unwrap(), []);
    assert_eq!(store.audit_len(), 0);
    assert_eq!(store.audit(0, 10).unwrap(), []);
    assert_eq!(store.outbox(0, 10).unwrap(), []);
    assert_eq!(store.high_water(), 0);
    assert_eq!(store.wait_feed(0, Duration::ZERO), position);
}

fn a_row_is_read_as_written_and_survives_reopening(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let committed = commit(&*store, [put(CARDS, b"1", b"one", &[]), put(PEOPLE, b"1", b"", &[])]);
    let row = Row { key: b"1".to_vec(), version: committed.version, value: b"one".to_vec() };
    assert_eq!(store.get(CARDS, b"1").unwrap(), Some(row.clone()));
    assert_eq!(store.get(PEOPLE, b"1").unwrap().unwrap().value, b"");
    assert_eq!(store.get(CARDS, b"").unwrap(), None);
    assert_eq!(store.get(CARDS, b"11").unwrap(), None);
    drop(store);
    assert_eq!(open(dir).get(CARDS, b"1").unwrap(), Some(row));
}

fn every_write_gives_a_new_version_even_after_a_deletion(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let mut versions = Vec::new();
    for _ in 0..3 {
        versions.push(commit(&*store, [put(CARDS, b"1", b"same", &[])]).version);
        assert_eq!(version(&*store, b"1"), versions[versions.len() - 1]);
    }
    commit(&*store, [gone(CARDS, b"1")]);
    assert_eq!(store.get(CARDS, b"1").unwrap(), None);
    versions.push(commit(&*store, [put(CARDS, b"1", b"same", &[])]).version);
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
}

fn expectations_decide_whether_a_batch_is_applied(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let absent = |key: &[u8]| Expect::Absent { table: CARDS, key: key.to_vec() };
    let in_version = |key: &[u8], version| Expect::Version { table: CARDS, key: key.to_vec(), version };
    let attempt = |expect: Expect| store.commit(Batch { expect: vec![expect], ..batch([put(CARDS, b"1", b"v", &[])]) });
    let conflicts = |expect| match attempt(expect) {
        Err(Error::Conflict { table, key }) => assert_eq!((table, key.as_slice()), (CARDS, &b"1"[..])),
        other => panic!("no conflict but {other:?}"),
    };
    conflicts(in_version(b"1", 0));
    conflicts(in_version(b"1", 1));
    let first = attempt(absent(b"1")).unwrap().version;
    conflicts(absent(b"1"));
    conflicts(in_version(b"1", first + 1));
    let second = attempt(in_version(b"1", first)).unwrap().version;
    conflicts(in_version(b"1", first));
    // A row may be expected that is not written.
    attempt(absent(b"2")).unwrap();
    commit(&*store, [gone(CARDS, b"1")]);
    conflicts(in_version(b"1", second));
    attempt(absent(b"1")).unwrap();
}

fn a_refused_batch_leaves_nothing_behind(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    commit(&*store, [put(CARDS, b"1", b"one", &[b"a"])]);
    let refused = Batch {
        at: 99,
        expect: vec![
            Expect::Absent { table: CARDS, key: b"2".to_vec() },
            Expect::Absent { table: CARDS, key: b"1".to_vec() },
        ],
        put: vec![put(CARDS, b"2", b"two", &[b"a"]), put(CARDS, b"1", b"changed", &[b"b"])],
        audit: vec![b"a".to_vec()],
        feed: vec![b"f".to_vec()],
        outbox: vec![b"o".to_vec()],
        outbox_done: vec![],
    };
    assert!(matches!(store.commit(refused), Err(Error::Conflict { .. })));
    assert_eq!(store.get(CARDS, b"2").unwrap(), None);
    assert_eq!(store.get(CARDS, b"1").unwrap().unwrap().value, b"one");
    assert_eq!(found(&*store, b"", None), [pair(b"a", b"1")]);
    assert_eq!((store.audit_len(), store.high_water(), store.feed_position().unwrap().sequence), (0, 1, 0));
    assert_eq!(store.outbox(0, 10).unwrap(), []);
}

fn of_two_updates_of_one_version_exactly_one_wins(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let (rounds, writers) = (20, 4);
    commit(&*store, [put(CARDS, b"1", b"", &[])]);
    for _ in 0..rounds {
        let read = version(&*store, b"1");
        let (start, won) = (Barrier::new(writers), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let (store, start, won) = (&*store, &start, &won);
                scope.spawn(move || {
                    let expect = vec![Expect::Version { table: CARDS, key: b"1".to_vec(), version: read }];
                    let batch = Batch { expect, ..batch([put(CARDS, b"1", &[writer as u8], &[])]) };
                    start.wait();
                    match store.commit(batch) {
                        Ok(_) => won.fetch_add(1, Ordering::SeqCst),
                        Err(Error::Conflict { .. }) => 0,
                        Err(other) => panic!("{other}"),
                    };
                });
            }
        });
        assert_eq!(won.load(Ordering::SeqCst), 1);
    }
}

fn what_is_too_large_or_contradictory_is_refused(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let too_large = |batch: Batch| assert!(matches!(store.commit(batch), Err(Error::TooLarge { .. })));
    let invalid = |batch: Batch| assert!(matches!(store.commit(batch), Err(Error::InvalidBatch { .. })));
    too_large(batch([put(CARDS, b"1", &vec![0; MAX_VALUE + 1], &[])]));
    too_large(batch([put(CARDS, &[0; MAX_KEY + 1], b"", &[])]));
    too_large(batch([put(CARDS, b"1", b"", &[&[0; MAX_TERM + 1]])]));
    too_large(batch([put(CARDS, b"1", b"", &[&b"x"[..]; 65])]));
    too_large(Batch { audit: vec![vec![0; MAX_ENTRY + 1]], ..Batch::new(1) });
    too_large(Batch { feed: vec![vec![0; MAX_ENTRY + 1]], ..Batch::new(1) });
    too_large(Batch { outbox: vec![vec![0; MAX_ENTRY + 1]], ..Batch::new(1) });
    too_large(Batch { audit: vec![vec![0; MAX_ENTRY]; MAX_BATCH / MAX_ENTRY + 1], ..Batch::new(1) });
    invalid(batch([put(CARDS, b"1", b"", &[]), gone(CARDS, b"1")]));
    invalid(batch([Put { terms: vec![Term::new(BY_STATE, "a")], ..gone(CARDS, b"1") }]));
    assert_eq!(store.high_water(), 0);
    // At the limit everything is accepted.
    commit(&*store, [put(CARDS, &[0; MAX_KEY], &vec![0; MAX_VALUE], &[&[0; MAX_TERM]])]);
    assert_eq!(found(&*store, &[0; MAX_TERM], None), [pair(&[0; MAX_TERM], &[0; MAX_KEY])]);
}

fn values_of_all_sizes_are_kept(open: Open<'_>, dir: &Path) {
    let value = |length: usize| -> Vec<u8> { (0..length).map(|n| (n % 251) as u8).collect() };
    let lengths = [0, 1, 255, 3999, 4000, 4001, 4096, 8000, 65_536, 300_000, MAX_VALUE, 5, 70_000, 0];
    let store = open(dir);
    for length in lengths {
        commit(&*store, [put(CARDS, b"1", &value(length), &[b"a"])]);
        assert_eq!(store.get(CARDS, b"1").unwrap().unwrap().value, value(length));
    }
    commit(&*store, [put(CARDS, b"2", &value(300_000), &[]), put(CARDS, b"21", &value(5), &[])]);
    let mut all = Batch::new(1);
    all.audit = vec![value(MAX_ENTRY), value(4001), value(0)];
    all.feed = all.audit.clone();
    all.outbox = all.audit.clone();
    store.commit(all.clone()).unwrap();
    drop(store);
    let store = open(dir);
    let rows = store.range(CARDS, b"2", None, 10).unwrap();
    assert_eq!(rows.iter().map(|row| row.value.len()).collect::<Vec<_>>(), [300_000, 5]);
    let bytes = |entries: Vec<(u64, Vec<u8>)>| entries.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
    assert_eq!(bytes(store.audit(0, 10).unwrap()), all.audit);
    assert_eq!(bytes(store.feed(0, 10).unwrap()), all.audit);
    assert_eq!(bytes(store.outbox(0, 10).unwrap()), all.audit);
    commit(&*store, [gone(CARDS, b"2")]);
    assert_eq!(store.range(CARDS, b"2", None, 10).unwrap().len(), 1);
}

fn a_range_is_in_key_order_and_pages_hold(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let keys: [&[u8]; 8] = [b"", b"\0", b"a", b"a\0", b"ab", b"b", b"\xff", b"\xff\xff"];
    commit(&*store, keys.iter().rev().map(|key| put(CARDS, key, key, &[])));
    let read = |prefix: &[u8], after: Option<&[u8]>, limit| -> Vec<Vec<u8>> {
        store.range(CARDS, prefix, after, limit).unwrap().into_iter().map(|row| row.key).collect()
    };
    assert_eq!(read(b"", None, 99), keys);
    assert_eq!(read(b"a", None, 99), [&b"a"[..], b"a\0", b"ab"]);
    assert_eq!(read(b"\xff", None, 99), [&b"\xff"[..], b"\xff\xff"]);
    assert_eq!(read(b"a", Some(b"a"), 99), [&b"a\0"[..], b"ab"]);
    assert_eq!(read(b"a", Some(b""), 1), [&b"a"[..]]);
    assert_eq!(read(b"a", Some(b"b"), 99), [b""; 0]);
    assert_eq!(read(b"", None, 0), [b""; 0]);
    // The row that ended the page goes, one before it and one after it come.
    assert_eq!(read(b"", None, 3), [&b""[..], b"\0", b"a"]);
    commit(&*store, [gone(CARDS, b"a"), put(CARDS, b"Z", b"", &[]), put(CARDS, b"aa", b"", &[])]);
    assert_eq!(read(b"", Some(b"a"), 3), [&b"a\0"[..], b"aa", b"ab"]);
}

fn index_entries_come_change_and_go_with_their_row(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    commit(&*store, [put(CARDS, b"1", b"", &[b"good", b"new", b"good"]), put(CARDS, b"2", b"", &[b"good"])]);
    assert_eq!(found(&*store, b"", None), [pair(b"good", b"1"), pair(b"good", b"2"), pair(b"new", b"1")]);
    commit(&*store, [put(CARDS, b"1", b"", &[b"good", b"held"])]);
    assert_eq!(found(&*store, b"", None), [pair(b"good", b"1"), pair(b"good", b"2"), pair(b"held", b"1")]);
    commit(&*store, [put(CARDS, b"1", b"", &[])]);
    assert_eq!(found(&*store, b"", None), [pair(b"good", b"2")]);
    commit(&*store, [gone(CARDS, b"2"), gone(CARDS, b"never there")]);
    assert_eq!(found(&*store, b"", None), []);
    // Several batches that wait together see each other's terms.
    std::thread::scope(|scope| {
        for n in 0..16u8 {
            let store = &*store;
            scope.spawn(move || commit(store, [put(CARDS, b"1", b"", &[&[n]])]));
        }
    });
    assert_eq!(found(&*store, b"", None).len(), 1);
}

fn terms_sort_as_bytes_and_prefixes_match_whole_bytes(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let mut terms: Vec<&[u8]> = vec![
        b"", b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"\x01", b"a", b"a\0", b"a\0b", b"ab", b"b", b"\xff", b"\xff\0",
    ];
    for (n, term) in terms.iter().enumerate() {
        commit(&*store, [put(CARDS, &[n as u8], b"", &[term])]);
    }
    terms.sort_unstable();
    let read = |from: &[u8], to: Option<&[u8]>| found(&*store, from, to).into_iter().map(|(term, _)| term);
    assert!(read(b"", None).eq(terms.iter().copied()));
    for from in &terms {
        assert!(read(from, None).eq(terms.iter().copied().filter(|term| term.starts_with(from))));
        for to in &terms {
            assert!(read(from, Some(to)).eq(terms.iter().copied().filter(|term| term >= from && term < to)));
        }
    }
}

fn index_pages_hold_while_entries_change(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let key = |n: u8| [n / 2, n];
    commit(&*store, (0..20).map(|n| put(CARDS, &key(n), b"", &[&[n / 3]])));
    let mut seen = Vec::new();
    let mut after: Option<Cursor> = None;
    for round in 0.. {
        let page = store.by_index(BY_STATE, &[0], Some(&[6]), after, 5).unwrap();
        assert!(page.entries.len() <= 5);
        seen.extend(page.entries.iter().map(|entry| entry.key[1]));
        // What was seen goes, and what is behind the page comes and is not seen again.
        let last = page.entries[page.entries.len() - 1].clone();
        commit(&*store, [gone(CARDS, &last.key), put(PEOPLE, &[round], b"", &[&[0]])]);
        match page.next {
            Some(next) => {
                assert_eq!(next, Cursor(last));
                after = Some(next);
            }
            None => break,
        }
    }
    assert_eq!(seen, (0..18).collect::<Vec<_>>());
    // A page that ends exactly with the range has no next one.
    let page = store.by_index(BY_STATE, &[6], Some(&[7]), None, 2).unwrap();
    assert_eq!((page.entries.len(), page.next), (2, None));
}

fn tables_and_indexes_do_not_run_into_each_other(open: Open<'_>, dir: &Path) {
    const CARD: Table = Table::new("car");
    const OTHER: Index = Index::new("stat");
    let store = open(dir);
    let row = put(CARD, b"d1", b"", &[b"x"]);
    let other = Put { terms: vec![Term::new(OTHER, "ex")], ..put(CARDS, b"1", b"", &[]) };
    commit(&*store, [row, other, put(CARDS, b"x", b"", &[b"x"])]);
    assert_eq!(store.range(CARD, b"", None, 9).unwrap().len(), 1);
    assert_eq!(store.range(CARDS, b"", None, 9).unwrap().len(), 2);
    assert_eq!(store.get(CARD, b"1").unwrap(), None);
    let page = store.by_index(BY_STATE, b"x", None, None, 9).unwrap();
    assert_eq!(page.entries, [entry(b"x", CARD, b"d1"), entry(b"x", CARDS, b"x")]);
    assert_eq!(store.by_index(OTHER, b"", None, None, 9).unwrap().entries, [entry(b"ex", CARDS, b"1")]);
}

fn feed_and_audit_are_gapless_under_eight_writers(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let (writers, commits) = (8u8, 40u8);
    let start = Barrier::new(usize::from(writers));
    let given = std::sync::Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (store, start, given) = (&*store, &start, &given);
            scope.spawn(move || {
                start.wait();
                for n in 0..commits {
                    let feed = vec![vec![writer, n, 0], vec![writer, n, 1]];
                    let batch = Batch { audit: vec![vec![writer, n]], feed: feed.clone(), ..Batch::new(1) };
                    let committed = store.commit(batch).unwrap();
                    let numbers = committed.feed.unwrap();
                    assert_eq!(committed.position.sequence, *numbers.end());
                    assert!(store.feed_position().unwrap() >= committed.position);
                    given.lock().unwrap().extend(numbers.zip(feed));
                }
            });
        }
    });
    let total = u64::from(writers) * u64::from(commits);
    let feed = store.feed(0, usize::MAX).unwrap();
    assert!(feed.iter().map(|(number, _)| *number).eq(1..=2 * total));
    assert!(given.into_inner().unwrap().into_iter().eq(feed));
    assert_eq!(store.audit_len(), total);
    let audit = store.audit(0, usize::MAX).unwrap();
    assert!(audit.iter().map(|(number, _)| *number).eq(0..total));
    for writer in 0..writers {
        let own = audit.iter().filter(|(_, bytes)| bytes[0] == writer).map(|(_, bytes)| bytes[1]);
        assert!(own.eq(0..commits), "a writer's records are in its order");
    }
    assert_eq!(store.feed(2 * total - 1, 9).unwrap().len(), 1);
    assert_eq!(store.feed(2 * total, 9).unwrap(), []);
    assert_eq!(store.feed(u64::MAX, 9).unwrap(), []);
    assert_eq!(store.audit(total - 1, 9).unwrap().len(), 1);
    assert_eq!(store.audit(3, 2).unwrap().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4]);
}

fn numbers_go_on_after_reopening(open: Open<'_>, dir: &Path) {
    let all = Batch { audit: vec![vec![1]], feed: vec![vec![2]], outbox: vec![vec![3]], ..Batch::new(5) };
    let mut last_version = 0;
    for n in 1..=3u64 {
        let store = open(dir);
        let committed = store.commit(all.clone()).unwrap();
        assert!(committed.version > last_version);
        last_version = committed.version;
        assert_eq!(committed.feed, Some(n..=n));
        assert_eq!(committed.audit, Some(n - 1..=n - 1));
        assert_eq!(committed.outbox, Some(n..=n));
        assert_eq!((committed.position.epoch, committed.position.sequence), (1, n));
        let nothing = store.commit(Batch::new(5)).unwrap();
        assert_eq!((nothing.feed, nothing.audit, nothing.outbox), (None, None, None));
        assert_eq!(nothing.position.sequence, n);
    }
}

fn a_waiting_follower_is_woken(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    std::thread::scope(|scope| {
        let waiting = [0, 0, 1].map(|after| {
            let store = &*store;
            (after, scope.spawn(move || store.wait_feed(after, LONG)))
        });
        // One entry at a time, until all have what they wait for: however early or late they began.
        for _ in 0..2 {
            store.commit(Batch { feed: vec![vec![]], ..Batch::new(1) }).unwrap();
        }
        for (after, waiting) in waiting {
            assert!(waiting.join().unwrap().sequence > after);
        }
    });
    assert_eq!(store.wait_feed(1, LONG).sequence, 2);
    assert_eq!(store.wait_feed(2, Duration::from_millis(1)).sequence, 2);
    assert_eq!(store.feed(1, 9).unwrap().len(), 1);
}

fn the_outbox_keeps_what_is_not_done(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let outbox = (0..4u8).map(|n| vec![n]).collect();
    let ids = store.commit(Batch { outbox, ..Batch::new(1) }).unwrap().outbox.unwrap();
    assert_eq!(ids, 1..=4);
    let read = |after, limit| store.outbox(after, limit).unwrap().into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(read(0, 9), [1, 2, 3, 4]);
    store.commit(Batch { outbox_done: vec![2, 4], ..Batch::new(1) }).unwrap();
    assert_eq!(read(0, 9), [1, 3]);
    assert_eq!(read(1, 9), [3]);
    assert_eq!(read(0, 1), [1]);
    // Done twice, or never there, is no error; and an id is not given again.
    store.commit(Batch { outbox_done: vec![4, 4, 99, 1, 3], ..Batch::new(1) }).unwrap();
    assert_eq!(read(0, 9), []);
    drop(store);
    let store = open(dir);
    let ids = store.commit(Batch { outbox: vec![b"x".to_vec()], ..Batch::new(1) }).unwrap().outbox;
    assert_eq!(ids, Some(5..=5));
    assert_eq!(store.outbox(0, 9).unwrap(), [(5, b"x".to_vec())]);
}

fn the_high_water_mark_never_falls(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    for (at, high) in [(5, 5), (3, 5), (1_700_000_000_000, 1_700_000_000_000), (-7, 1_700_000_000_000)] {
        store.commit(Batch::new(at)).unwrap();
        assert_eq!(store.high_water(), high);
    }
    drop(store);
    assert_eq!(open(dir).high_water(), 1_700_000_000_000);
}

fn a_batch_is_seen_whole_or_not_at_all(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let rows = |n: u64| (0..30u8).map(move |row| put(CARDS, &[row], &n.to_be_bytes(), &[&n.to_be_bytes()]));
    let last = 60u64;
    commit(&*store, rows(0));
    let whole = |store: &dyn Store| -> u64 {
        let values: Vec<_> = store.range(CARDS, b"", None, 99).unwrap().into_iter().map(|row| row.value).collect();
        assert!(values.len() == 30 && values.iter().all(|value| *value == values[0]), "{values:?}");
        let terms = found(store, b"", None);
        assert!(terms.len() == 30 && terms.iter().all(|(term, _)| *term == terms[0].0), "{terms:?}");
        u64::from_be_bytes(values[0].as_slice().try_into().unwrap())
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < last {
                    let now = whole(&*store);
                    assert!(now >= seen, "what was read once is durable and does not go back");
                    seen = now;
                }
            });
        }
        for n in 1..=last {
            commit(&*store, rows(n));
            assert_eq!(whole(&*store), n, "a caller sees its own commit");
        }
    });
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Card {
    serial: u32,
    state: String,
    holders: Vec<String>,
}

impl Record for Card {
    const TABLE: Table = CARDS;
    const SCHEMA: u8 = 3;
    fn key(&self) -> Vec<u8> {
        self.serial.to_be_bytes().to_vec()
    }
    fn terms(&self) -> Vec<Term> {
        vec![Term::new(BY_STATE, self.state.as_bytes())]
    }
}

fn records_are_typed_and_versioned(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let card = |serial: u32| Card { serial, state: "good".into(), holders: vec!["a".into(), "b".into()] };
    let mut creation = Batch::new(1);
    for serial in [1, 2, 256] {
        creation.create(&card(serial)).unwrap();
    }
    let created = store.commit(creation.clone()).unwrap();
    assert!(matches!(store.commit(creation), Err(Error::Conflict { .. })));
    let mut read: Versioned<Card> = load(&*store, &card(2).key()).unwrap().unwrap();
    assert_eq!(read, Versioned { version: created.version, record: card(2) });
    assert_eq!(load::<Card>(&*store, &card(9).key()).unwrap(), None);

    read.record.state = "held".into();
    let mut update = Batch::new(1);
    update.update(&read).unwrap();
    store.commit(update.clone()).unwrap();
    assert!(matches!(store.commit(update), Err(Error::Conflict { .. })));
    let serials = |cards: Vec<Versioned<Card>>| cards.iter().map(|card| card.record.serial).collect::<Vec<_>>();
    assert_eq!(serials(load_range(&*store, b"", None, 9).unwrap()), [1, 2, 256]);
    let (held, next) = load_by_index::<Card>(&*store, BY_STATE, b"held", None, None, 9).unwrap();
    assert_eq!((serials(held), next), (vec![2], None));

    let mut deletion = Batch::new(1);
    deletion.delete(&read);
    assert!(matches!(store.commit(deletion), Err(Error::Conflict { .. })), "the version that was read is gone");
    let read: Versioned<Card> = load(&*store, &card(2).key()).unwrap().unwrap();
    let mut deletion = Batch::new(1);
    deletion.delete(&read);
    store.commit(deletion).unwrap();
    assert_eq!(serials(load_range(&*store, b"", None, 9).unwrap()), [1, 256]);
}

fn a_record_that_is_not_understood_is_refused(open: Open<'_>, dir: &Path) {
    let store = open(dir);
    let card = Card { serial: 1, state: "good".into(), holders: vec![] };
    let bytes = crate::record::encode(&card).unwrap();
    let read = |value: &[u8]| {
        commit(&*store, [put(CARDS, b"1", value, &[])]);
        load::<Card>(&*store, b"1")
    };
    assert_eq!(read(&bytes).unwrap().unwrap().record, card);
    let mut newer = bytes.clone();
    newer[0] = 4;
    assert!(matches!(read(&newer), Err(Error::RecordSchema { found: 4, supported: 3, .. })));
    let undecodable = |value: &[u8]| assert!(matches!(read(value), Err(Error::RecordDecode { .. })));
    undecodable(b"");
    undecodable(&bytes[..bytes.len() - 1]);
    undecodable(&[&bytes[..], &[0]].concat());
    undecodable(&[3, 0xff]);
    // An array in an array in an array ..., and one that claims to be endless.
    undecodable(&[&[3][..], &[0x81; 100_000]].concat());
    undecodable(&[3, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
}
