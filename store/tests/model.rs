//! Rows and index entries behave like two maps, whatever happens in which order.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{ROWS, batch};
use proptest::prelude::*;
use store::{Cursor, Index, Put, SledStore, Store, Term};

const FIRST: Index = Index::new("first");
const SECOND: Index = Index::new("second");

/// A new value with its terms, or a deletion.
type Change = Option<(Vec<u8>, Vec<Term>)>;

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(Vec<u8>, Change)>),
    Reopen,
}

/// Short byte strings of which many are prefixes of others, or hold what separates parts of a key.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, b'a', 0xfe, 0xff]), 0..4)
}

fn term() -> impl Strategy<Value = Term> {
    (prop::sample::select(vec![FIRST, SECOND]), bytes()).prop_map(|(index, term)| Term { index, term })
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => prop::collection::vec(any::<u8>(), 0..8), 1 => (3990usize..12_100).prop_map(|n| vec![n as u8; n])]
}

fn step() -> impl Strategy<Value = Step> {
    let change = prop::option::weighted(0.75, (value(), prop::collection::vec(term(), 0..4)));
    let commit =
        prop::collection::btree_map(bytes(), change, 1..6).prop_map(|puts| Step::Commit(puts.into_iter().collect()));
    prop_oneof![20 => commit, 1 => Just(Step::Reopen)]
}

type Rows = BTreeMap<Vec<u8>, (Vec<u8>, BTreeSet<(Index, Vec<u8>)>)>;

fn expected(rows: &Rows, index: Index) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = rows.iter().flat_map(|(key, (_, terms))| terms.iter().map(move |term| (term, key)));
    let mut found: Vec<_> =
        entries.filter(|((of, _), _)| *of == index).map(|((_, term), key)| (term.clone(), key.clone())).collect();
    found.sort();
    found
}

fn agrees(store: &SledStore, rows: &Rows, page: usize) {
    let read = store.range(ROWS, b"", None, usize::MAX).unwrap();
    assert!(read.iter().map(|row| (&row.key, &row.value)).eq(rows.iter().map(|(key, (value, _))| (key, value))));
    for index in [FIRST, SECOND] {
        let mut found = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page = store.by_index(index, b"", None, after, page).unwrap();
            found.extend(page.entries.into_iter().map(|entry| (entry.term, entry.key)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected(rows, index));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_and_index_entries_agree_with_a_map(steps in prop::collection::vec(step(), 1..40), page in 1usize..5) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        let mut rows = Rows::new();
        for step in steps {
            match step {
                Step::Commit(changes) => {
                    let put = changes.iter().cloned().map(|(key, change)| {
                        let (value, terms) = change.map_or((None, vec![]), |(value, terms)| (Some(value), terms));
                        Put { table: ROWS, key, value, terms }
                    });
                    store.commit(batch(put)).unwrap();
                    for (key, change) in changes {
                        match change {
                            Some((value, terms)) => {
                                let terms = terms.into_iter().map(|term| (term.index, term.term)).collect();
                                rows.insert(key, (value, terms));
                            }
                            None => drop(rows.remove(&key)),
                        }
                    }
                }
                Step::Reopen => {
                    drop(store);
                    store = SledStore::open(dir.path()).unwrap();
                }
            }
            agrees(&store, &rows, page);
        }
    }
}
