//! Pure: a map in the order of its keys.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Entries that are copied together. More make a change dearer, fewer make a copy of the map dearer.
const CHUNK: usize = 64;

type Chunk<K, V> = Vec<(K, V)>;

/// A sorted list of entries in chunks; none of them is empty.
pub struct OrderedMap<K, V> {
    chunks: Arc<Vec<Arc<Chunk<K, V>>>>,
    len: usize,
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

impl<K, V> Clone for OrderedMap<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<K, V> OrderedMap<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|(key, value)| (key, value))
    }

    /// All values, by key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// True when this is the other one, or a copy of it that nobody has changed.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }
}

impl<K: Ord + Clone, V: Clone> OrderedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let place = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        chunk.get(place).map(|(_, value)| value)
    }

    /// True when the key has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Adds or replaces a value; gives the old one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let index = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(shared) = chunks.get_mut(index) else {
            self.len += 1;
            // Behind all others: a map that is filled in order gets whole chunks.
            match chunks.last_mut().filter(|last| last.len() < CHUNK) {
                Some(last) => Arc::make_mut(last).push((key, value)),
                None => chunks.push(Arc::new(vec![(key, value)])),
            }
            return None;
        };
        let chunk = Arc::make_mut(shared);
        match chunk.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(place) => chunk.get_mut(place).map(|(_, old)| std::mem::replace(old, value)),
            Err(place) => {
                chunk.insert(place, (key, value));
                self.len += 1;
                if chunk.len() > CHUNK {
                    let behind = chunk.split_off(CHUNK / 2);
                    chunks.insert(index + 1, Arc::new(behind));
                }
                None
            }
        }
    }

    /// Takes a value out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let index = self.chunk_of(key);
        let place = self.chunks.get(index)?.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(index)?);
        let (_, value) = chunk.remove(place);
        if chunk.is_empty() {
            chunks.remove(index);
        }
        self.len -= 1;
        Some(value)
    }

    /// Keys with another value than in `old`, or none in one of the two: with the value before and the
    /// value now. Costs what the two do not share.
    pub fn changes_since<'m>(
        &'m self,
        old: &'m Self,
        same: impl Fn(&V, &V) -> bool,
    ) -> Vec<(&'m K, Option<&'m V>, Option<&'m V>)> {
        let mut changes = Vec::new();
        if self.is_same(old) {
            return changes;
        }
        let (mut before, mut now) = (Cursor::new(old), Cursor::new(self));
        loop {
            if before.skip_shared(&mut now) {
                continue;
            }
            let order = match (before.entry(), now.entry()) {
                (Some((old, _)), Some((new, _))) => old.cmp(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return changes,
            };
            let was = if order.is_le() { before.next() } else { None };
            let is = if order.is_ge() { now.next() } else { None };
            let Some((key, _)) = is.or(was) else { return changes };
            let differs = match (was, is) {
                (Some((_, old)), Some((_, new))) => !same(old, new),
                _ => true,
            };
            if differs {
                changes.push((key, was.map(|(_, value)| value), is.map(|(_, value)| value)));
            }
        }
    }

    /// The chunk whose last key is not before `key`; past the end where there is none.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|(last, _)| last.borrow() < key))
    }
}

/// A place in a map.
struct Cursor<'m, K, V> {
    chunks: &'m [Arc<Chunk<K, V>>],
    place: usize,
}

impl<'m, K, V> Cursor<'m, K, V> {
    fn new(map: &'m OrderedMap<K, V>) -> Self {
        Self { chunks: &map.chunks, place: 0 }
    }

    fn entry(&self) -> Option<&'m (K, V)> {
        self.chunks.first()?.get(self.place)
    }

    fn next(&mut self) -> Option<&'m (K, V)> {
        let entry = self.entry();
        self.place += 1;
        if self.chunks.first().is_some_and(|chunk| self.place >= chunk.len()) {
            self.chunks = self.chunks.get(1..).unwrap_or_default();
            self.place = 0;
        }
        entry
    }

    /// Goes over a chunk that both have. True when there was one.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        let (Some(a), Some(b)) = (self.chunks.first(), other.chunks.first()) else { return false };
        let shared = self.place == 0 && other.place == 0 && Arc::ptr_eq(a, b);
        if shared {
            self.chunks = self.chunks.get(1..).unwrap_or_default();
            other.chunks = other.chunks.get(1..).unwrap_or_default();
        }
        shared
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for OrderedMap<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(entries: T) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for OrderedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || (self.len == other.len && self.iter().eq(other.iter()))
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for OrderedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::OrderedMap;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds_and_tells_what_changed(
            first in prop::collection::vec((0u16..600, any::<u8>()), 0..400),
            then in prop::collection::vec((0u16..600, prop::option::of(any::<u8>())), 0..60),
        ) {
            let mut model: BTreeMap<u16, u8> = BTreeMap::new();
            let mut map = OrderedMap::default();
            for (key, value) in first {
                prop_assert_eq!(map.insert(key, value), model.insert(key, value));
            }
            let (old_model, old) = (model.clone(), map.clone());
            for (key, value) in then {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
            }
            prop_assert!(map.iter().eq(&model));
            prop_assert!(old.iter().eq(&old_model), "a copy was changed");
            prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
            for key in 0..600 {
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
            let keys: std::collections::BTreeSet<u16> = model.keys().chain(old_model.keys()).copied().collect();
            let wanted: Vec<_> = keys
                .iter()
                .map(|key| (key, old_model.get(key), model.get(key)))
                .filter(|(_, was, is)| was != is)
                .collect();
            prop_assert_eq!(map.changes_since(&old, |a, b| a == b), wanted);
        }
    }

    #[test]
    fn one_change_among_many_entries_is_found_without_a_look_at_the_others() {
        let old: OrderedMap<u32, u32> = (0..10_000).map(|n| (n, n)).collect();
        let mut new = old.clone();
        new.insert(5_000, 1);
        new.remove(&7_000);
        new.insert(20_000, 1);
        let compared = Cell::new(0);
        let changes = new.changes_since(&old, |a, b| {
            compared.set(compared.get() + 1);
            a == b
        });
        assert_eq!(
            changes,
            [(&5_000, Some(&5_000), Some(&1)), (&7_000, Some(&7_000), None), (&20_000, None, Some(&1))]
        );
        assert!(compared.get() <= 200, "{} comparisons", compared.get());
    }
}
