//! A map whose point-in-time image costs one pointer per 512 entries.
//!
//! ```text
//!   map    [ Arc ][ Arc ][ Arc ] …      image: the same pointers
//!             │      │      └── shared: a writer copies this one bucket first
//!             │      └── written since the image: its own copy
//! ```

use core::borrow::Borrow;
use core::hash::{BuildHasher, Hash};
use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;

use crate::error::BadState;
use crate::snapshot::Image;

/// Entries in a bucket, on average, before the map grows.
const BUCKET: usize = 512;
/// An image's chunks are about this long, bytes.
const CHUNK: usize = 256 << 10;

type Bucket<K, V> = HashMap<K, V>;

/// A hash map of which images can be taken while it is written. An image shares buckets with the map; a bucket is copied when
/// it is first written after that.
#[derive(Clone, Debug)]
pub struct CowMap<K, V> {
    buckets: Vec<Arc<Bucket<K, V>>>,
    hasher: RandomState,
    len: usize,
}

impl<K, V> Default for CowMap<K, V> {
    fn default() -> Self {
        Self { buckets: vec![Arc::default()], hasher: RandomState::new(), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> CowMap<K, V> {
    /// Entries in the map.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `key`.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.buckets[self.bucket(key)].get(key)
    }

    /// Sets the value of `key`; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.len >= self.buckets.len() * BUCKET {
            self.grow();
        }
        let bucket = self.bucket(&key);
        let old = Arc::make_mut(&mut self.buckets[bucket]).insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes `key`; returns its value.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let bucket = self.bucket(key);
        if !self.buckets[bucket].contains_key(key) {
            return None;
        }
        let old = Arc::make_mut(&mut self.buckets[bucket]).remove(key);
        self.len -= usize::from(old.is_some());
        old
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.buckets = vec![Arc::default()];
        self.len = 0;
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.buckets.iter().flat_map(|bucket| bucket.iter())
    }

    /// The map as it is now. `encode` appends an entry to a chunk.
    pub fn image(&self, encode: fn(&K, &V, &mut Vec<u8>)) -> CowImage<K, V> {
        CowImage { buckets: self.buckets.clone().into_iter(), encode, items: self.len as u64 }
    }

    fn bucket<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        let hash = self.hasher.hash_one(key);
        // The number of buckets is a power of two; the low bits choose, so that growing splits each bucket in two.
        usize::try_from(hash & (self.buckets.len() as u64 - 1)).unwrap_or(0)
    }

    fn grow(&mut self) {
        let old = core::mem::take(&mut self.buckets);
        let half = old.len();
        self.buckets = vec![Arc::default(); half * 2];
        for (at, bucket) in old.into_iter().enumerate() {
            let (mut low, mut high) = (Bucket::new(), Bucket::new());
            for (key, value) in Arc::unwrap_or_clone(bucket) {
                let into = if self.bucket(&key) == at { &mut low } else { &mut high };
                into.insert(key, value);
            }
            self.buckets[at] = Arc::new(low);
            self.buckets[half + at] = Arc::new(high);
        }
    }
}

/// A [`CowMap`] as it was.
#[derive(Debug)]
pub struct CowImage<K, V> {
    buckets: std::vec::IntoIter<Arc<Bucket<K, V>>>,
    encode: fn(&K, &V, &mut Vec<u8>),
    items: u64,
}

impl<K: Send + Sync, V: Send + Sync> Image for CowImage<K, V> {
    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, BadState> {
        while chunk.len() < CHUNK
            && let Some(bucket) = self.buckets.next()
        {
            for (key, value) in bucket.iter() {
                (self.encode)(key, value, chunk);
            }
        }
        Ok(!chunk.is_empty())
    }

    fn items(&self) -> u64 {
        self.items
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn encode(key: &u16, value: &u32, chunk: &mut Vec<u8>) {
        chunk.extend(key.to_le_bytes());
        chunk.extend(value.to_le_bytes());
    }

    fn read(mut image: CowImage<u16, u32>) -> BTreeMap<u16, u32> {
        let (mut all, mut chunk) = (BTreeMap::new(), vec![]);
        while image.next_chunk(&mut chunk).unwrap() {
            for entry in chunk.chunks_exact(6) {
                let value = u32::from_le_bytes(entry[2..].try_into().unwrap());
                assert_eq!(all.insert(u16::from_le_bytes([entry[0], entry[1]]), value), None);
            }
            chunk.clear();
        }
        all
    }

    proptest! {
        #[test]
        fn an_image_is_the_map_as_it_was(before: Vec<(u16, u32)>, after: Vec<(u16, Option<u32>)>) {
            let mut map = CowMap::default();
            let mut model = BTreeMap::new();
            for (key, value) in before {
                prop_assert_eq!(map.insert(key, value), model.insert(key, value));
            }
            let (image, expected) = (map.image(encode), model.clone());
            for (key, value) in after {
                let (ours, theirs) = match value {
                    Some(value) => (map.insert(key, value), model.insert(key, value)),
                    None => (map.remove(&key), model.remove(&key)),
                };
                prop_assert_eq!(ours, theirs);
            }
            prop_assert_eq!(read(image), expected);
            prop_assert_eq!(map.len(), model.len());
            prop_assert_eq!(map.iter().map(|(key, value)| (*key, *value)).collect::<BTreeMap<_, _>>(), model);
        }
    }

    #[test]
    fn it_grows_past_many_buckets() {
        let mut map = CowMap::default();
        for key in 0..20_000 {
            map.insert(key, u32::from(key));
        }
        let image = map.image(encode);
        (0..20_000).for_each(|key| assert_eq!(map.insert(key, 0), Some(u32::from(key))));
        assert_eq!(read(image), (0..20_000).map(|key| (key, u32::from(key))).collect());
    }
}
