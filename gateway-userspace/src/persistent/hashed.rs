//! Pure: a map by hash, for tables that are read for each connection or request.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

/// Entries of a part, on average and at most. More make a change dearer, fewer make a copy dearer.
const PART: usize = 48;
/// A part is chosen by bits of the hash that a table of so few entries does not use.
const PART_BITS: u32 = 12;

type Part<K, V> = HashMap<K, V, FxBuildHasher>;

/// Entries in parts by their hash; the number of parts is a power of two, or none.
#[derive(Debug)]
pub struct HashedMap<K, V> {
    parts: Box<[Arc<Part<K, V>>]>,
    len: usize,
}

impl<K, V> Default for HashedMap<K, V> {
    fn default() -> Self {
        Self { parts: Box::default(), len: 0 }
    }
}

impl<K, V> Clone for HashedMap<K, V> {
    fn clone(&self) -> Self {
        Self { parts: self.parts.clone(), len: self.len }
    }
}

impl<K, V> HashedMap<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.parts.iter().flat_map(|part| part.values())
    }
}

impl<K: Hash + Eq + Clone, V: Clone> HashedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.parts.get(self.part_of(key))?.get(key)
    }

    /// The value of a key, to be changed; made when there is none.
    pub fn slot<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> &mut V
    where
        K: Borrow<Q> + for<'q> From<&'q Q>,
        V: Default,
    {
        if self.get(key).is_none() {
            self.insert(key.into(), V::default());
        }
        let index = self.part_of(key);
        // The part and the key in it are there: they were looked for or put there just now.
        Arc::make_mut(&mut self.parts[index]).entry(key.into()).or_default()
    }

    /// Adds or replaces a value; gives the old one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.len >= self.parts.len() * PART {
            self.grow();
        }
        let index = self.part_of(&key);
        let old = Arc::make_mut(self.parts.get_mut(index)?).insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes a value out.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let index = self.part_of(key);
        let value = Arc::make_mut(self.parts.get_mut(index)?).remove(key)?;
        self.len -= 1;
        if self.len == 0 {
            self.parts = Box::default();
        }
        Some(value)
    }

    fn part_of<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // A shift by less than the width of the hash leaves enough of it for any number of parts.
        let bits = FxBuildHasher.hash_one(key) >> PART_BITS;
        usize::try_from(bits).unwrap_or(0) & self.parts.len().saturating_sub(1)
    }

    fn grow(&mut self) {
        let count = (self.parts.len() * 2).max(1);
        let old = std::mem::take(&mut self.parts);
        self.parts = (0..count).map(|_| Arc::default()).collect();
        for (key, value) in old.into_iter().flat_map(Arc::unwrap_or_clone) {
            let index = self.part_of(&key);
            if let Some(part) = self.parts.get_mut(index) {
                Arc::make_mut(part).insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::HashedMap;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds_and_its_copies_stay(
            first in prop::collection::vec((0u16..600, any::<u8>()), 0..400),
            then in prop::collection::vec((0u16..600, prop::option::of(any::<u8>())), 0..300),
        ) {
            let mut model: BTreeMap<u16, u8> = BTreeMap::new();
            let mut map = HashedMap::default();
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
            for key in 0..600 {
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(old.get(&key), old_model.get(&key));
            }
            prop_assert_eq!((map.len(), map.values().count()), (model.len(), model.len()));
        }
    }

    #[test]
    fn a_change_copies_one_small_part() {
        let old: HashedMap<String, usize> = {
            let mut map = HashedMap::default();
            (0..10_000).for_each(|n| assert_eq!(map.insert(format!("/r{n}"), n), None));
            map
        };
        let mut new = old.clone();
        new.insert("/r77".to_owned(), 0);
        let copied = old.parts.iter().zip(&new.parts).filter(|(a, b)| !Arc::ptr_eq(a, b));
        let sizes: Vec<usize> = copied.map(|(a, _)| a.len()).collect();
        assert!(matches!(sizes[..], [size] if size < 150), "{sizes:?}");
    }
}
