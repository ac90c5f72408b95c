//! Who is in, and who goes when there is no room.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::counts::DoorCounts;
use super::place::{Order, Origin, Place};

/// Whether somebody comes in.
#[derive(Debug)]
pub(super) enum Admission {
    /// With this place.
    In(Held),
    /// Once this one has given up its place, which it was asked to, or declined.
    Asked(Arc<Place>),
    /// No: every place that could be given up is needed for an answer.
    Full,
}

/// The places of a door.
#[derive(Debug)]
pub(super) struct Places {
    table: Mutex<Table>,
    /// Told whenever a place was given up, or not.
    settled: Notify,
    opened: Instant,
    most: usize,
    /// For each origin; 0 for as many as there are.
    share: usize,
    counts: Arc<DoorCounts>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    places: BTreeMap<u64, Arc<Place>>,
    shares: HashMap<Origin, Vec<Arc<Place>>>,
    /// Who could be spared when it was last looked, with the time since when, the longest at the end. Whoever began to wait
    /// after that has waited less than all of them, so they are used up before it is looked again.
    spare: Vec<(u64, u64)>,
}

impl Places {
    /// So many places, so many of them for one origin (0: all).
    pub(super) fn new(most: usize, share: usize, counts: Arc<DoorCounts>) -> Self {
        let share = if share < most { share } else { 0 };
        let (table, settled) = (Mutex::default(), Notify::new());
        Places { table, settled, opened: Instant::now(), most, share, counts }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // What it guards is whole between any two of its lines.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody in, or asks whoever can best be spared for its place.
    pub(super) fn admit(self: &Arc<Self>, from: Option<IpAddr>) -> Admission {
        let origin = from.filter(|_| self.share > 0).map(Origin::from);
        let mut table = self.table();
        let own = origin.and_then(|origin| table.shares.get(&origin)).filter(|own| own.len() >= self.share);
        let spare = match own {
            Some(own) => {
                let longest = own.iter().filter_map(|place| Some((place.idle_since()?, place))).min_by_key(|own| own.0);
                longest.map(|(_, place)| Arc::clone(place))
            }
            None if table.places.len() < self.most => return Admission::In(self.enter(&mut table, origin)),
            None => table.spare(),
        };
        match spare {
            None => Admission::Full,
            Some(place) => {
                place.tell(Order::GiveUp);
                Admission::Asked(place)
            }
        }
    }

    /// Asks whoever has waited longest for its place, since something else than places is short.
    pub(super) fn spare_one(&self) {
        if let Some(place) = self.table().spare() {
            place.tell(Order::GiveUp);
        }
    }

    fn enter(self: &Arc<Self>, table: &mut Table, origin: Option<Origin>) -> Held {
        table.next += 1;
        let place = Arc::new(Place::new(table.next, origin, self.opened));
        table.places.insert(place.id, Arc::clone(&place));
        if let Some(origin) = origin {
            table.shares.entry(origin).or_default().push(Arc::clone(&place));
        }
        self.counts.open.set(table.places.len());
        self.counts.accepted.add_one();
        Held { place, places: Arc::clone(self) }
    }

    /// Waits until `asked` has given up its place or declined.
    pub(super) async fn settled(&self, asked: &Place) {
        while asked.is_asked() {
            self.settled.notified().await;
        }
    }

    /// Counts one that found no place.
    pub(super) fn turned_away(&self) {
        self.counts.turned_away.add_one();
    }

    /// Tells all to finish what they are at.
    pub(super) fn finish(&self) {
        for place in self.table().places.values() {
            place.tell(Order::Finish);
        }
    }
}

impl Table {
    /// Whoever can best be spared of all.
    fn spare(&mut self) -> Option<Arc<Place>> {
        if let Some(place) = self.next_spare() {
            return Some(place);
        }
        self.spare = self.places.values().filter_map(|place| Some((place.idle_since()?, place.id))).collect();
        self.spare.sort_unstable_by(|a, b| b.cmp(a));
        self.next_spare()
    }

    fn next_spare(&mut self) -> Option<Arc<Place>> {
        while let Some((since, id)) = self.spare.pop() {
            let place = self.places.get(&id).filter(|place| place.idle_since() == Some(since));
            if let Some(place) = place {
                return Some(Arc::clone(place));
            }
        }
        None
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    place: Arc<Place>,
    places: Arc<Places>,
}

impl Held {
    /// The place.
    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// What is counted.
    pub(super) fn counts(&self) -> &DoorCounts {
        &self.places.counts
    }

    /// Keeps the place that it was asked for.
    pub(super) fn decline(&self) {
        self.place.decline();
        self.places.settled.notify_one();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.places.table();
        table.places.remove(&self.place.id);
        if let Some(origin) = self.place.origin
            && let Some(own) = table.shares.get_mut(&origin)
        {
            own.retain(|place| place.id != self.place.id);
            if own.is_empty() {
                table.shares.remove(&origin);
            }
        }
        self.places.counts.open.set(table.places.len());
        drop(table);
        self.place.tell(Order::Gone);
        self.places.settled.notify_one();
    }
}
