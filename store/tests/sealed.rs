//! Sealed tables: what is on the medium, what is refused, and rows that change their data key while others work.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use store::sealed::OVERHEAD;
use store::{Batch, DataKey, Error, Index, Put, Record, SealedStore, SledStore, Store, Table, Term, load};

const PEOPLE: Table = Table::new("person");
const CARDS: Table = Table::new("card");
const BY_TOWN: Index = Index::new("person.town");

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Person {
    id: u64,
    name: String,
    count: u64,
}

impl Record for Person {
    const TABLE: Table = PEOPLE;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.id.to_be_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        vec![Term::new(BY_TOWN, *b"Leeds")]
    }
}

fn key(number: u32) -> DataKey {
    DataKey::new(number, &[number as u8; 32])
}

fn sealed(dir: &Path, number: u32) -> SealedStore {
    SealedStore::new(Arc::new(SledStore::open(dir).unwrap()), [PEOPLE], key(number))
}

fn person(id: u64) -> Person {
    Person { id, name: format!("Beatrice Featherstonehaugh {id}"), count: 0 }
}

fn write(store: &dyn Store, person: &Person) {
    let mut batch = Batch::new(1);
    batch.put_record(person).unwrap();
    store.commit(batch).unwrap();
}

fn put(table: Table, key: &[u8], value: &[u8]) -> Batch {
    let put = Put { table, key: key.to_vec(), value: Some(value.to_vec()), terms: Vec::new() };
    Batch { at: 1, put: vec![put], ..Batch::default() }
}

/// Whether any file below the directory holds these bytes.
fn found_on_the_medium(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return found_on_the_medium(&path, bytes);
        }
        fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    })
}

#[test]
fn a_store_with_a_sealed_table_passes_the_contract_suite() {
    store::contract::run_all(&|dir| Box::new(sealed(dir, 1)));
}

#[test]
fn what_is_sealed_is_on_no_medium_and_in_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let store = sealed(dir.path(), 1);
    for id in 0..50 {
        write(&store, &person(id));
    }
    store.commit(put(CARDS, b"1", b"in clear: Montgomery")).unwrap();
    assert_eq!(load::<Person>(&store, &person(7).key()).unwrap().unwrap().record, person(7));
    assert_eq!(store::load_range::<Person>(&store, b"", None, 100).unwrap().len(), 50);
    let mut backup = Vec::new();
    store.backup(&mut backup, &mut |_| {}).unwrap();
    drop(store);
    // That the search finds what is there is shown by what is not sealed.
    assert!(found_on_the_medium(dir.path(), b"Montgomery"));
    assert!(!found_on_the_medium(dir.path(), b"Featherstonehaugh"));
    assert!(!backup.windows(17).any(|window| window == b"Featherstonehaugh"));
    assert!(backup.windows(10).any(|window| window == b"Montgomery"));
}

#[test]
fn a_value_that_is_changed_moved_or_of_an_unknown_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = sealed(dir.path(), 1);
    store.commit(put(PEOPLE, b"1", b"\xffany bytes")).unwrap();
    assert_eq!(store.get(PEOPLE, b"1").unwrap().unwrap().value, b"\xffany bytes");
    let raw = store.inner().get(PEOPLE, b"1").unwrap().unwrap().value;
    let refused = |value: &[u8], key: &[u8]| {
        store.inner().commit(put(PEOPLE, key, value)).unwrap();
        match store.get(PEOPLE, key) {
            Err(Error::Unsealable { detail, .. }) => detail,
            other => panic!("{value:02x?} was taken: {other:?}"),
        }
    };
    for index in 1..raw.len() {
        let mut changed = raw.clone();
        changed[index] ^= 1;
        refused(&changed, b"1");
        refused(&raw[..index], b"1");
    }
    assert!(refused(&raw, b"2").contains("another row"));
    let mut foreign = raw.clone();
    foreign[5] = 9;
    assert!(refused(&foreign, b"1").contains("data key 9 is not known"));
    let mut newer = raw;
    newer[1] = 2;
    assert!(refused(&newer, b"1").contains("newer program"));
}

#[test]
fn a_row_in_clear_is_read_and_sealed_when_its_turn_comes() {
    let dir = tempfile::tempdir().unwrap();
    let plain = SledStore::open(dir.path()).unwrap();
    for id in 0..25 {
        write(&plain, &person(id));
    }
    let store = SealedStore::new(Arc::new(plain), [PEOPLE], key(3));
    assert_eq!(load::<Person>(&store, &person(4).key()).unwrap().unwrap().record, person(4));
    assert_eq!(store.census(PEOPLE).unwrap(), [(None, 25)].into());
    let (mut after, mut rows) = (None, 0);
    loop {
        let resealed = store.reseal::<Person>(after.as_deref(), 10, 5).unwrap();
        rows += resealed.rows;
        let Some(next) = resealed.next else { break };
        after = Some(next);
    }
    assert_eq!(rows, 25);
    assert_eq!(store.census(PEOPLE).unwrap(), [(Some(3), 25)].into());
    for id in 0..25 {
        assert_eq!(load::<Person>(&store, &person(id).key()).unwrap().unwrap().record, person(id));
    }
    let towns = store.by_index(BY_TOWN, b"Leeds", None, None, 100).unwrap();
    assert_eq!(towns.entries.len(), 25);
    // A second pass finds nothing to do.
    assert_eq!(store.reseal::<Person>(None, 100, 5).unwrap().rows, 0);
}

#[test]
fn the_longest_sealed_value_leaves_room_for_its_seal() {
    let dir = tempfile::tempdir().unwrap();
    let store = sealed(dir.path(), 1);
    let longest = store::batch::MAX_VALUE - OVERHEAD;
    store.commit(put(PEOPLE, b"1", &vec![7; longest])).unwrap();
    assert_eq!(store.get(PEOPLE, b"1").unwrap().unwrap().value.len(), longest);
    let refused = store.commit(put(PEOPLE, b"1", &vec![7; longest + 1]));
    assert!(matches!(refused, Err(Error::TooLarge { limit, .. }) if limit == longest));
}

#[test]
fn the_data_key_changes_while_others_read_and_write_and_no_update_is_lost() {
    const PEOPLE_THERE: u64 = 40;
    const ROUNDS: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(sealed(dir.path(), 1));
    for id in 0..PEOPLE_THERE {
        write(&*store, &person(id));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let store = Arc::clone(&store);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let key = person((round * 7 + writer) % PEOPLE_THERE).key();
                        loop {
                            let found = load::<Person>(&*store, &key).unwrap().unwrap();
                            let next = Person { count: found.record.count + 1, ..found.record.clone() };
                            let mut batch = Batch::new(2);
                            batch.update(&found.with(next)).unwrap();
                            match store.commit(batch) {
                                Ok(_) => break,
                                Err(Error::Conflict { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let all = store::load_range::<Person>(&*store, b"", None, 100).unwrap();
                assert_eq!(all.len() as u64, PEOPLE_THERE);
            }
        });
        for number in 2..6 {
            store.add_key(key(number));
            assert!(store.use_key(number));
            assert_eq!(store.reseal::<Person>(None, 1000, 3).unwrap().next, None);
            assert_eq!(store.census(PEOPLE).unwrap(), [(Some(number), PEOPLE_THERE)].into());
            store.forget_key(number - 1);
            assert_eq!(store.known(), [number]);
        }
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    let all = store::load_range::<Person>(&*store, b"", None, 100).unwrap();
    assert_eq!(all.iter().map(|found| found.record.count).sum::<u64>(), 3 * ROUNDS);
}

#[test]
fn the_key_in_use_is_not_forgotten_and_an_unknown_one_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = sealed(dir.path(), 1);
    store.forget_key(1);
    assert!(!store.use_key(2));
    assert_eq!((store.current(), store.known()), (1, vec![1]));
}
