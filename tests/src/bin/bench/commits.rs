//! The store: durable commits as issuances make them.

use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use store::{Batch, Expect, Index, Put, SledStore, Store, Table, Term};
use tests::Home;

use crate::cost::{Sample, Watch, repeat};
use crate::report::Report;
use crate::site::STATIONS;

const LENGTH: Duration = Duration::from_millis(2500);

const CARD: Table = Table::new("card");
const ISSUANCE: Table = Table::new("issuance");
const CERTIFICATE: Table = Table::new("certificate");
const KEY: Table = Table::new("key");
const REPLY: Table = Table::new("idempotency");
const TERMS: [Index; 6] = [
    Index::new("one"),
    Index::new("two"),
    Index::new("three"),
    Index::new("four"),
    Index::new("five"),
    Index::new("six"),
];

/// A row that both commits of an issuance write: its table, its octets and index terms after each, and how many of the
/// terms the second commit leaves as they are.
struct Shape(Table, [(usize, usize); 2], usize);

/// What the two commits of a pair put into the store: the sizes are those of rows that the service wrote.
const ROWS: [Shape; 5] = [
    Shape(CARD, [(150, 1), (150, 1)], 1),
    Shape(ISSUANCE, [(340, 1), (340, 1)], 1),
    Shape(CERTIFICATE, [(390, 5), (1160, 6)], 4),
    Shape(CERTIFICATE, [(390, 5), (1160, 6)], 4),
    Shape(REPLY, [(164, 2), (970, 1)], 1),
];
/// Rows of the first commit alone: the keys' digests.
const FIRST: [(Table, usize); 2] = [(KEY, 77), (KEY, 77)];
/// Audit records of each commit, in number and octets.
const AUDIT: [(usize, usize); 2] = [(3, 380), (2, 380)];
/// Entries of the status feed in the second commit.
const FEED: (usize, usize) = (2, 96);

/// Both commits of one issuance.
fn issue(store: &SledStore, random: &SystemRandom) {
    let fresh = || {
        let mut octets = vec![0; 20];
        random.fill(&mut octets).expect("random octets");
        octets
    };
    let keys: Vec<Vec<u8>> = ROWS.iter().map(|_| fresh()).collect();
    let kept: Vec<Vec<Vec<u8>>> = ROWS.iter().map(|Shape(_, _, kept)| (0..*kept).map(|_| fresh()).collect()).collect();
    let mut version = None;
    for commit in 0..2 {
        let mut batch = Batch::new(1);
        for ((Shape(table, shapes, _), key), kept) in ROWS.iter().zip(&keys).zip(&kept) {
            let (octets, terms) = shapes[commit];
            let (table, key) = (*table, key.clone());
            batch.expect.push(match version {
                None => Expect::Absent { table, key: key.clone() },
                Some(version) => Expect::Version { table, key: key.clone(), version },
            });
            let term = |place: usize| kept.get(place).cloned().unwrap_or_else(fresh);
            let terms =
                TERMS[..terms].iter().enumerate().map(|(place, index)| Term::new(*index, term(place))).collect();
            batch.put.push(Put { table, key, value: Some(vec![7; octets]), terms });
        }
        if commit == 0 {
            for (table, octets) in FIRST {
                let key = fresh();
                batch.expect.push(Expect::Absent { table, key: key.clone() });
                batch.put.push(Put { table, key, value: Some(vec![7; octets]), terms: Vec::new() });
            }
        } else {
            batch.feed = vec![vec![7; FEED.1]; FEED.0];
        }
        batch.audit = vec![vec![7; AUDIT[commit].1]; AUDIT[commit].0];
        version = Some(store.commit(batch).expect("a commit").version);
    }
}

/// How many writers make up a crowd: as many as there are stations.
const CROWD: usize = STATIONS;

/// A store of the bench's own, on the same disk as the service's.
pub(crate) struct Bench(Arc<SledStore>);

impl Bench {
    /// Makes the store.
    pub(crate) async fn open(home: &Home) -> Self {
        let dir = home.file("commits");
        let opened = tokio::task::spawn_blocking(move || SledStore::open(&dir)).await.expect("a thread");
        Bench(Arc::new(opened.expect("a store")))
    }

    async fn write(&self, watch: &Watch, writers: usize, length: Duration) -> Sample {
        let work = (0..writers).map(|_| {
            let store = Arc::clone(&self.0);
            move || {
                let random = SystemRandom::new();
                repeat(length, || issue(&store, &random))
            }
        });
        watch.threads(work).await
    }

    /// What a crowd of writers gets done right now.
    pub(crate) async fn now(&self) -> Sample {
        self.write(&Watch::own(), CROWD, LENGTH / 4).await
    }

    /// Measures with one writer and with a crowd.
    pub(crate) async fn run(&self, watch: &Watch, report: &mut Report) {
        for (id, writers, what) in [
            (
                "store.1",
                1,
                "the two durable commits of an issuance (12 rows, 29 index terms, 5 audit records), one writer",
            ),
            (
                "store.16",
                CROWD,
                "the same by 16 writers, who share the flushes: the most pairs/s that this disk allows",
            ),
        ] {
            let sample = self.write(watch, writers, LENGTH).await;
            let commits = sample.rate() * 2.0;
            report.rate(id, "issuances/s", &sample, format!("{what}; {commits:.0} commits/s"));
        }
    }
}
