//! One leaf of the table: the keys whose hashes share a prefix.
//!
//! ```text
//!  index  HashTable<u32> ──► arena  [head key value][head key slot]…
//!                                                          └────► large  [Arc<bytes>, …]
//! ```
//!
//! Invariants: every address in the index names a whole entry; every large value is named by exactly one entry;
//! `min_expiry_ms` is never later than the earliest expiry. A leaf is small on purpose: compacting, splitting or
//! capturing one is the longest thing that a single write can set off.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::arena::Arena;
use super::entry::{EXPIRY_BYTES, Head, Lengths, RawEntry};
use super::hash::{KeyHash, KeyHasher};
use super::{Entry, Limits};

/// The keys of one hash prefix.
#[derive(Debug)]
pub(super) struct Leaf {
    index: HashTable<u32>,
    arena: Arena,
    large: Vec<Option<Arc<Vec<u8>>>>,
    large_free: Vec<u32>,
    large_bytes: usize,
    expiring: usize,
    min_expiry_ms: u64,
    /// The last image that has this leaf's state of the moment it began.
    pub(super) stamp: u64,
    /// How many leading bits of the hash its keys share.
    pub(super) depth: u32,
}

/// A value on its way into a leaf.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Bytes(&'a [u8]),
    Owned(Vec<u8>),
    Shared(Arc<Vec<u8>>),
}

/// What a table sums over its leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) keys: usize,
    pub(super) expiring: usize,
    pub(super) bytes: usize,
}

impl Leaf {
    pub(super) fn new(depth: u32, stamp: u64) -> Self {
        Self {
            index: HashTable::new(),
            arena: Arena::default(),
            large: Vec::new(),
            large_free: Vec::new(),
            large_bytes: 0,
            expiring: 0,
            min_expiry_ms: NEVER,
            stamp,
            depth,
        }
    }

    /// Makes room for `keys` keys in an empty leaf.
    pub(super) fn reserve(&mut self, keys: usize) {
        if self.index.capacity() == 0 {
            self.index = HashTable::with_capacity(keys);
        }
    }

    #[inline]
    pub(super) fn totals(&self) -> Totals {
        let large = self.large.capacity() * size_of::<Option<Arc<Vec<u8>>>>() + self.large_bytes;
        let bytes = self.arena.allocated() + self.index.allocation_size() + large;
        Totals { keys: self.index.len(), expiring: self.expiring, bytes }
    }

    /// Whether the leaf should be split.
    #[inline]
    pub(super) fn is_over(&self, limits: &Limits) -> bool {
        let large = self.large.len() - self.large_free.len();
        let many_large = large > LARGE_SPLIT_COUNT && self.large_bytes > LARGE_SPLIT_BYTES;
        let over = self.index.len() > limits.leaf_keys || self.arena.live() > limits.leaf_bytes || many_large;
        over && self.index.len() > 1
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes of the entries with inline values (and the stubs of large ones).
    pub(super) fn image_inline_bytes(&self) -> usize {
        self.arena.live()
    }

    /// Bytes of all entries as a chunk holds them, at most a few per entry too many.
    pub(super) fn image_bytes(&self) -> usize {
        self.arena.live() + self.large_bytes
    }

    #[inline]
    pub(super) fn find(&self, hash: KeyHash, key: &[u8]) -> Option<Entry<'_>> {
        let &address = self.index.find(hash.within_leaf(), |&at| raw(&self.arena, at).key == key)?;
        Some(self.resolve(&raw(&self.arena, address)))
    }

    /// Reads what a write to this key will read, so that the processor has it at hand then.
    #[inline]
    pub(super) fn touch(&self, hash: KeyHash) -> usize {
        let mut sum = usize::from(self.arena.touch_tail());
        self.index.find(hash.within_leaf(), |&address| {
            sum += usize::from(self.arena.at(address)[0]);
            false
        });
        sum
    }

    /// All keys with their entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Entry<'_>)> {
        self.index.iter().map(|&address| {
            let entry = raw(&self.arena, address);
            (entry.key, self.resolve(&entry))
        })
    }

    /// The key and entry of a number below [`Leaf::len`], in the order of [`Leaf::iter`].
    pub(super) fn nth(&self, number: usize) -> Option<(&[u8], Entry<'_>)> {
        self.iter().nth(number)
    }

    /// Lower bound of all expiries.
    pub(super) fn min_expiry_ms(&self) -> u64 {
        self.min_expiry_ms
    }

    /// Calls `found` for at most `limit` keys that are expired at `now_ms`, and answers how many there were.
    pub(super) fn expired(&mut self, now_ms: u64, limit: usize, found: &mut impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        let mut earliest = NEVER;
        for &address in &self.index {
            let entry = raw(&self.arena, address);
            let at_ms = entry.expires_at_ms.unwrap_or(NEVER);
            earliest = earliest.min(at_ms);
            if entry.expires_at_ms.is_some() && at_ms <= now_ms {
                if count == limit {
                    return count;
                }
                count += 1;
                found(entry.key);
            }
        }
        self.min_expiry_ms = earliest;
        count
    }

    /// Sets value and expiry, and answers whether the key is new.
    #[inline]
    pub(super) fn set(
        &mut self,
        at: Place<'_>,
        value: Value<'_>,
        expires_at_ms: Option<u64>,
        limits: &Limits,
    ) -> bool {
        let key = at.key;
        self.min_expiry_ms = self.min_expiry_ms.min(expires_at_ms.unwrap_or(NEVER));
        self.expiring += usize::from(expires_at_ms.is_some());
        let (slot, bytes) = match &value {
            _ if value.len() > limits.inline_value_bytes => (Some(self.put_large(value)), &[][..]),
            Value::Bytes(bytes) => (None, *bytes),
            Value::Owned(bytes) => (None, bytes.as_slice()),
            Value::Shared(bytes) => (None, bytes.as_slice()),
        };
        let slot_bytes = slot.map(u32::to_le_bytes);
        let stored = slot_bytes.as_ref().map_or(bytes, |slot| &slot[..]);
        let lengths = Lengths { key: key.len(), value: stored.len() };
        let head = Head::new(lengths, expires_at_ms, slot.is_some());
        let parts = [head.bytes(), key, stored];
        let arena = &self.arena;
        match self.index.entry(
            at.hash.within_leaf(),
            |&address| raw(arena, address).key == key,
            |&address| at.hasher.hash(raw(arena, address).key).within_leaf(),
        ) {
            Slot::Vacant(vacant) => {
                vacant.insert(self.arena.push(parts));
                true
            }
            Slot::Occupied(mut occupied) => {
                let old = raw(&self.arena, *occupied.get());
                let (old_len, old_slot) = (old.len, old.slot());
                self.expiring -= usize::from(old.expires_at_ms.is_some());
                *occupied.get_mut() = replace(&mut self.arena, *occupied.get(), old_len, parts);
                if let Some(slot) = old_slot {
                    self.take_large(slot);
                }
                self.compact_if_worth();
                false
            }
        }
    }

    /// Removes the key, and answers its value and expiry.
    pub(super) fn take(&mut self, hash: KeyHash, key: &[u8]) -> Option<(Value<'static>, Option<u64>)> {
        let copy = self.copy_of(hash, key)?;
        self.remove(hash, key);
        Some(copy)
    }

    /// Removes the key if it is there.
    pub(super) fn remove(&mut self, hash: KeyHash, key: &[u8]) {
        let arena = &self.arena;
        let Ok(slot) = self.index.find_entry(hash.within_leaf(), |&at| raw(arena, at).key == key) else {
            return;
        };
        let (address, _) = slot.remove();
        let entry = raw(&self.arena, address);
        let (len, large) = (entry.len, entry.slot());
        self.expiring -= usize::from(entry.expires_at_ms.is_some());
        self.arena.retire(len);
        if let Some(slot) = large {
            self.take_large(slot);
        }
        if self.index.is_empty() {
            *self = Self::new(self.depth, self.stamp);
        } else {
            self.compact_if_worth();
        }
    }

    /// Writes `bytes` at `offset` of the value, filling a gap with zeros and creating the key if needed.
    pub(super) fn write(&mut self, at: Place<'_>, offset: usize, bytes: &[u8], limits: &Limits) {
        let end = offset + bytes.len();
        let Some((address, entry)) = self.find_raw(at.hash, at.key) else {
            let mut value = vec![0; end];
            value[offset..].copy_from_slice(bytes);
            self.set(at, Value::Owned(value), None, limits);
            return;
        };
        if let Some(slot) = entry.slot() {
            self.write_large(slot, offset, bytes);
        } else if end <= entry.value.len() {
            let begin = entry.value_offset() + offset;
            self.arena.at_mut(address)[begin..begin + bytes.len()].copy_from_slice(bytes);
        } else {
            let expires_at_ms = entry.expires_at_ms;
            let mut value = Vec::with_capacity(end);
            value.extend_from_slice(entry.value);
            value.resize(end, 0);
            value[offset..].copy_from_slice(bytes);
            self.set(at, Value::Owned(value), expires_at_ms, limits);
        }
    }

    /// Gives a key that is there another expiry.
    pub(super) fn set_expiry(&mut self, at: Place<'_>, expires_at_ms: Option<u64>, limits: &Limits) {
        let Some((address, entry)) = self.find_raw(at.hash, at.key) else { return };
        match (entry.expiry_offset(), expires_at_ms) {
            (None, None) => {}
            (Some(offset), Some(at_ms)) => {
                self.min_expiry_ms = self.min_expiry_ms.min(at_ms);
                let field = &mut self.arena.at_mut(address)[offset..offset + EXPIRY_BYTES];
                field.copy_from_slice(&at_ms.to_le_bytes());
            }
            _ => {
                let value = self.value_of(&entry);
                self.set(at, value, expires_at_ms, limits);
            }
        }
    }

    /// The value and expiry of a key, to be stored under another one.
    pub(super) fn copy_of(&self, hash: KeyHash, key: &[u8]) -> Option<(Value<'static>, Option<u64>)> {
        let (_, entry) = self.find_raw(hash, key)?;
        Some((self.value_of(&entry), entry.expires_at_ms))
    }

    /// Moves the entries into two new leaves, by the bit of the hash that `bit` masks; answers (zeros, ones).
    pub(super) fn split(&mut self, hasher: &KeyHasher, bit: u64) -> [Self; 2] {
        let hashes: Vec<(KeyHash, u32)> =
            self.index.iter().map(|&address| (hasher.hash(raw(&self.arena, address).key), address)).collect();
        let ones = hashes.iter().filter(|(hash, _)| hash.0 & bit != 0).count();
        let mut halves = [hashes.len() - ones, ones].map(|keys| {
            let mut half = Self::new(self.depth + 1, self.stamp);
            half.reserve(keys);
            half
        });
        for (hash, address) in hashes {
            let half = &mut halves[usize::from(hash.0 & bit != 0)];
            let entry = raw(&self.arena, address);
            let large = entry.slot().and_then(|slot| self.large[slot as usize].take());
            half.adopt(hash, &self.arena.at(address)[..entry.len], entry, large);
        }
        halves
    }

    /// Takes in an entry that the leaf is known not to have; the index has room for it.
    fn adopt(&mut self, hash: KeyHash, bytes: &[u8], entry: RawEntry<'_>, large: Option<Arc<Vec<u8>>>) {
        self.min_expiry_ms = self.min_expiry_ms.min(entry.expires_at_ms.unwrap_or(NEVER));
        self.expiring += usize::from(entry.expires_at_ms.is_some());
        let address = match large {
            None => self.arena.push([bytes, &[], &[]]),
            Some(value) => {
                let slot = self.put_large(Value::Shared(value)).to_le_bytes();
                self.arena.push([&bytes[..entry.value_offset()], &slot, &[]])
            }
        };
        self.index
            .insert_unique(hash.within_leaf(), address, |_| unreachable!("the index was sized for all"));
    }

    fn find_raw(&self, hash: KeyHash, key: &[u8]) -> Option<(u32, RawEntry<'_>)> {
        let &address = self.index.find(hash.within_leaf(), |&at| raw(&self.arena, at).key == key)?;
        Some((address, raw(&self.arena, address)))
    }

    #[inline]
    fn resolve<'a>(&'a self, entry: &RawEntry<'a>) -> Entry<'a> {
        let value = entry.slot().map_or(entry.value, |slot| self.large_at(slot).as_slice());
        Entry { value, expires_at_ms: entry.expires_at_ms }
    }

    fn compact_if_worth(&mut self) {
        if !self.arena.wants_compaction() {
            return;
        }
        let old = core::mem::take(&mut self.arena);
        for address in &mut self.index {
            let len = raw(&old, *address).len;
            *address = self.arena.push([&old.at(*address)[..len], &[], &[]]);
        }
    }
}

/// Large values: allocations of their own, shared with an image instead of copied.
impl Leaf {
    /// Appends every entry with an inline value to `inline`, and calls `large` for the others.
    pub(super) fn capture(
        &self,
        inline: &mut Vec<u8>,
        mut large: impl FnMut(&[u8], Option<u64>, Arc<Vec<u8>>),
    ) {
        if self.large_bytes == 0 && self.large.is_empty() && self.arena.dead() == 0 {
            for page in self.arena.pages() {
                inline.extend_from_slice(page);
            }
            return;
        }
        for &address in &self.index {
            let entry = raw(&self.arena, address);
            match entry.slot() {
                Some(slot) => large(entry.key, entry.expires_at_ms, Arc::clone(self.large_at(slot))),
                None => inline.extend_from_slice(&self.arena.at(address)[..entry.len]),
            }
        }
    }

    fn value_of(&self, entry: &RawEntry<'_>) -> Value<'static> {
        match entry.slot() {
            Some(slot) => Value::Shared(Arc::clone(self.large_at(slot))),
            None => Value::Owned(entry.value.to_vec()),
        }
    }

    fn large_at(&self, slot: u32) -> &Arc<Vec<u8>> {
        self.large[slot as usize].as_ref().expect("an entry names a large value that is there")
    }

    fn put_large(&mut self, value: Value<'_>) -> u32 {
        let value = match value {
            Value::Bytes(bytes) => Arc::new(bytes.to_vec()),
            Value::Owned(bytes) => Arc::new(bytes),
            Value::Shared(bytes) => bytes,
        };
        self.large_bytes += value.capacity() + LARGE_OVERHEAD_BYTES;
        if let Some(slot) = self.large_free.pop() {
            self.large[slot as usize] = Some(value);
            return slot;
        }
        self.large.push(Some(value));
        (self.large.len() - 1) as u32
    }

    fn take_large(&mut self, slot: u32) {
        if let Some(value) = self.large[slot as usize].take() {
            self.large_bytes -= value.capacity() + LARGE_OVERHEAD_BYTES;
            self.large_free.push(slot);
        }
    }

    /// Copies the value first when an image still holds it.
    fn write_large(&mut self, slot: u32, offset: usize, bytes: &[u8]) {
        let shared = self.large[slot as usize].as_mut().expect("an entry names a large value that is there");
        self.large_bytes -= shared.capacity();
        let value = Arc::make_mut(shared);
        let end = offset + bytes.len();
        if end > value.len() {
            value.resize(end, 0);
        }
        value[offset..end].copy_from_slice(bytes);
        self.large_bytes += value.capacity();
    }
}

/// A key with its hash and the hasher, which the index needs when it grows.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) key: &'a [u8],
    pub(super) hash: KeyHash,
    pub(super) hasher: &'a KeyHasher,
}

impl Value<'_> {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Owned(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }
}

#[inline]
fn raw(arena: &Arena, address: u32) -> RawEntry<'_> {
    RawEntry::parse(arena.at(address)).expect("the index names whole entries")
}

/// Puts an entry in the place of an old one: in the same bytes when it fits there.
fn replace(arena: &mut Arena, address: u32, old_len: usize, parts: [&[u8]; 3]) -> u32 {
    let len = parts[0].len() + parts[1].len() + parts[2].len();
    if len > old_len {
        arena.retire(old_len);
        return arena.push(parts);
    }
    arena.retire(old_len - len);
    let mut place = arena.at_mut(address);
    for part in parts {
        let (here, rest) = place.split_at_mut(part.len());
        here.copy_from_slice(part);
        place = rest;
    }
    address
}

const NEVER: u64 = u64::MAX;
/// Leaves with more large values than this are split when these also exceed `LARGE_SPLIT_BYTES`.
const LARGE_SPLIT_COUNT: usize = 4;
const LARGE_SPLIT_BYTES: usize = 4 << 20;
/// The two allocations' headers and the shared count.
const LARGE_OVERHEAD_BYTES: usize = 64;
