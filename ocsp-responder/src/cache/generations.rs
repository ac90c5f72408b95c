//! A map that is bounded by number and by size, in two generations: what was not asked for while one generation filled
//! goes with the next.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// What can be kept in [`Generations`].
pub(crate) trait Kept {
    /// Whether it was used since this was asked the last time, other than by [`Generations::get`].
    fn take_used(&self) -> bool;

    /// How many octets it takes, without its key.
    fn octets(&self) -> usize;
}

/// How much may be kept in one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) octets: usize,
}

/// The map.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// What the young ones take.
    octets: usize,
    old_octets: usize,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Generations { young: HashMap::new(), old: HashMap::new(), octets: 0, old_octets: 0 }
    }
}

/// A key's own size.
pub(crate) trait KeyOctets {
    fn octets(&self) -> usize;
}

impl<K: Eq + Hash + KeyOctets, V: Kept> Generations<K, V> {
    /// Looks at what is kept under a key; it counts as used.
    pub(crate) fn get<Q, T>(&mut self, key: &Q, bounds: Bounds, look: impl Fn(&V) -> T) -> Option<T>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(value) = self.young.get(key) {
            return Some(look(value));
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.old_octets -= octets(&key, &value);
        let seen = look(&value);
        self.put(key, value, bounds);
        Some(seen)
    }

    /// Keeps a value, in the place of the one that is there, unless it alone would be too large.
    pub(crate) fn put(&mut self, key: K, value: V, bounds: Bounds) {
        self.remove(&key);
        let size = octets(&key, &value);
        if bounds.entries == 0 || size > bounds.octets {
            return;
        }
        if self.young.len() >= bounds.entries || self.octets + size > bounds.octets {
            self.begin_generation(bounds);
        }
        self.octets += size;
        self.young.insert(key, value);
    }

    /// Takes a value out.
    pub(crate) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some((key, value)) = self.young.remove_entry(key) {
            self.octets -= octets(&key, &value);
            return Some(value);
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.old_octets -= octets(&key, &value);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// How many octets all of it takes.
    pub(crate) fn octets(&self) -> usize {
        self.octets + self.old_octets
    }

    /// The young ones become old. Of the old ones those stay that were used all the same, and not more than half of a
    /// generation, so that there is room.
    fn begin_generation(&mut self, bounds: Bounds) {
        let before = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        self.old_octets = std::mem::take(&mut self.octets);
        for (key, value) in before {
            let size = octets(&key, &value);
            let fits = self.young.len() < bounds.entries / 2 && self.octets + size <= bounds.octets / 2;
            if value.take_used() && fits {
                self.octets += size;
                self.young.insert(key, value);
            }
        }
    }
}

fn octets<K: KeyOctets, V: Kept>(key: &K, value: &V) -> usize {
    key.octets() + value.octets()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[derive(Clone)]
    struct Thing {
        size: usize,
        used: Rc<Cell<bool>>,
    }

    impl Kept for Thing {
        fn take_used(&self) -> bool {
            self.used.take()
        }

        fn octets(&self) -> usize {
            self.size
        }
    }

    impl KeyOctets for u32 {
        fn octets(&self) -> usize {
            4
        }
    }

    fn thing(size: usize) -> Thing {
        Thing { size, used: Rc::default() }
    }

    const BOUNDS: Bounds = Bounds { entries: 10, octets: 1000 };

    #[test]
    fn it_keeps_to_both_bounds_whatever_comes() {
        let mut kept = Generations::default();
        for number in 0..1000_u32 {
            kept.put(number % 37, thing((number as usize * 7919) % 300), BOUNDS);
            assert!(kept.len() <= 20 && kept.octets() <= 2000, "{} of {} octets", kept.len(), kept.octets());
            let counted: usize = kept.young.iter().chain(&kept.old).map(|(key, value)| octets(key, value)).sum();
            assert_eq!(kept.octets(), counted);
        }
        kept.put(1, thing(1000), BOUNDS);
        assert!(kept.octets() <= 2000);
    }

    #[test]
    fn what_is_asked_for_or_used_stays() {
        let mut kept = Generations::default();
        let used = thing(1);
        kept.put(1, thing(1), BOUNDS);
        kept.put(2, used.clone(), BOUNDS);
        kept.put(3, thing(1), BOUNDS);
        for number in 10..200 {
            kept.put(number, thing(1), BOUNDS);
            assert!(kept.get(&1, BOUNDS, |_| ()).is_some());
            used.used.set(true);
        }
        assert!(kept.remove(&2).is_some());
        assert!(kept.remove(&3).is_none());
        assert!(kept.get(&2, BOUNDS, |_| ()).is_none());
    }

    #[test]
    fn nothing_is_kept_when_nothing_may_be() {
        let mut kept = Generations::default();
        kept.put(1, thing(1), Bounds { entries: 0, octets: 1000 });
        kept.put(1, thing(1), Bounds { entries: 10, octets: 4 });
        assert_eq!((kept.len(), kept.octets()), (0, 0));
    }
}
