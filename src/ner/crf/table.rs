//! A read-only map from 32-bit hashes to small values, quick to search and compact in a file.

use serde::{Deserialize, Serialize};

/// Map from a hash to a value. In a file: keys in rising order, each as the distance from the one before.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Packed<V>", into = "Packed<V>")]
#[serde(bound(serialize = "V: Serialize + Copy + Default", deserialize = "V: Deserialize<'de> + Copy + Default"))]
pub struct Table<V> {
    /// Open addressing with linear probing, a power of two of places, at most half of them taken; key 0 is free.
    slots: Vec<(u32, V)>,
    mask: usize,
}

#[derive(Serialize, Deserialize)]
struct Packed<V> {
    distances: Vec<u32>,
    values: Vec<V>,
}

impl<V: Copy + Default> Table<V> {
    /// Makes a table of the entries; of equal keys the first counts, key 0 is stored as 1.
    pub fn new(entries: impl ExactSizeIterator<Item = (u32, V)>) -> Self {
        let places = (entries.len() * 2 + 1).next_power_of_two();
        let mut table = Self { slots: vec![(0, V::default()); places], mask: places - 1 };
        for (key, value) in entries {
            let key = key.max(1);
            let at = table.place(key);
            if table.slots[at].0 == 0 {
                table.slots[at] = (key, value);
            }
        }
        table
    }

    fn place(&self, key: u32) -> usize {
        let mut at = key as usize & self.mask;
        while self.slots[at].0 != key && self.slots[at].0 != 0 {
            at = (at + 1) & self.mask;
        }
        at
    }

    /// Returns the value of a key; the default value where there is none.
    #[inline]
    pub fn get(&self, key: u32) -> V {
        self.slots[self.place(key.max(1))].1
    }

    /// Returns the number of keys.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.0 != 0).count()
    }
}

impl<V: Copy + Default> From<Packed<V>> for Table<V> {
    fn from(packed: Packed<V>) -> Self {
        let mut key = 0u32;
        let count = packed.distances.len().min(packed.values.len());
        Self::new((0..count).map(|at| {
            key = key.wrapping_add(packed.distances[at]);
            (key, packed.values[at])
        }))
    }
}

impl<V: Copy + Default> From<Table<V>> for Packed<V> {
    fn from(table: Table<V>) -> Self {
        let mut entries: Vec<(u32, V)> = table.slots.into_iter().filter(|slot| slot.0 != 0).collect();
        entries.sort_unstable_by_key(|entry| entry.0);
        let mut last = 0;
        let distances = entries.iter().map(|&(key, _)| key - std::mem::replace(&mut last, key)).collect();
        Self { distances, values: entries.into_iter().map(|entry| entry.1).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_holds_and_comes_back_from_a_file() {
        let table = Table::new((1..500u32).map(|key| (key.wrapping_mul(0x9e37_79b1), key as u16)));
        let bytes = postcard::to_stdvec(&table).unwrap();
        let back: Table<u16> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!((table.len(), back.len()), (499, 499));
        for key in 1..500u32 {
            assert_eq!(back.get(key.wrapping_mul(0x9e37_79b1)), key as u16);
        }
        assert_eq!(back.get(12_345), 0);
    }

    #[test]
    fn an_empty_table_answers() {
        assert_eq!(Table::<u16>::new(std::iter::empty()).get(7), 0);
    }
}
