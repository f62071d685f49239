//! The keyspace: binary-safe strings with absolute expiry, in memory.
//!
//! ```text
//!  effect ──► Keyspace::apply ──► table ──► leaf ──► index + arena
//!  log record ─ decode_record ─┘    │
//!                                   ├─ get · scan · random_key · sweep_expired      reads
//!                                   └─ begin_image ─► chunks ─► restore_chunk       point in time
//! ```
//!
//! [`Keyspace::apply`] is the only way to change it, live and in replay, and never looks at a clock: reads are told
//! the time and pass over what is expired; a command that must act on an expired key first logs its deletion.
//! Nothing here knows the log, and nothing takes longer than one leaf does: growing, images and flushing included.
//! The one exception is changing a part of a large value that an image still holds, which copies that value.

mod arena;
mod chunk;
mod effect;
mod entry;
mod hash;
mod image;
mod leaf;
mod restore;
mod scan;
mod table;

use core::hint::black_box;

use self::hash::{KeyHash, KeyHasher};
use self::image::Running;
use self::leaf::{Leaf, Place, Value};
use self::table::Table;

pub use self::chunk::{ChunkError, chunk_seed};
pub use self::effect::{Effect, EffectError, Effects, RECORD_VERSION, decode_record, encode_record};
pub use self::image::{CHUNK_BYTES, Image, ImageQueueFull, ImageRunning};
pub use self::restore::Restore;

/// Longest key.
pub const MAX_KEY_BYTES: usize = 64 << 10;
/// Longest value: with the longest key it still fits into a log record of 16 MiB.
pub const MAX_VALUE_BYTES: usize = (16 << 20) - (128 << 10);

/// All keys with their values.
#[derive(Debug)]
pub struct Keyspace {
    table: Table,
    hasher: KeyHasher,
    limits: Limits,
    /// The newest image's stamp.
    stamp: u64,
    running: Option<Running>,
    /// What flushes left behind, freed a leaf at a time.
    garbage: Vec<Garbage>,
    sweep_position: u64,
}

/// How a keyspace is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Drawn at random by the caller: whoever knows it can choose keys that collide.
    pub seed: u64,
    /// Room is made for this many keys, so that none of the first inserts splits a leaf.
    pub expected_keys: usize,
    /// Sizes that bound what a single step costs.
    pub limits: Limits,
}

/// Sizes that bound what a single step costs; the defaults are measured, tests use smaller ones.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A leaf with more keys is split.
    pub leaf_keys: usize,
    /// A leaf with more bytes of keys and inline values is split.
    pub leaf_bytes: usize,
    /// A longer value is an allocation of its own, which an image shares instead of copying.
    pub inline_value_bytes: usize,
    /// What an image may hold back for its walker before writers to untouched leaves are refused.
    pub image_queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { leaf_keys: 896, leaf_bytes: 128 << 10, inline_value_bytes: 1024, image_queue_bytes: 48 << 20 }
    }
}

/// A value and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Milliseconds since the epoch; `None` is never.
    pub expires_at_ms: Option<u64>,
}

impl Entry<'_> {
    /// Whether a read at `now_ms` no longer sees it.
    #[inline]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }
}

impl Keyspace {
    /// An empty keyspace.
    pub fn new(options: Options) -> Self {
        let table = Table::new(options.expected_keys, &options.limits, 0);
        Self::from_table(table, KeyHasher::new(options.seed), options.limits)
    }

    /// The entry of a key that is not expired at `now_ms`.
    #[inline]
    pub fn get(&self, key: &[u8], now_ms: u64) -> Option<Entry<'_>> {
        let hash = self.hasher.hash(key);
        self.table.leaf(hash).find(hash, key).filter(|entry| !entry.is_expired(now_ms))
    }

    /// Whether the key is there and not expired at `now_ms`.
    pub fn contains(&self, key: &[u8], now_ms: u64) -> bool {
        self.get(key, now_ms).is_some()
    }

    /// The entry even if it is expired: what an effect will find.
    pub fn get_stored(&self, key: &[u8]) -> Option<Entry<'_>> {
        let hash = self.hasher.hash(key);
        self.table.leaf(hash).find(hash, key)
    }

    /// Number of keys, those included that are expired and not yet removed.
    pub fn len(&self) -> usize {
        self.table.totals().keys
    }

    /// Whether there is no key, not even an expired one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of keys that have an expiry.
    pub fn expiring_len(&self) -> usize {
        self.table.totals().expiring
    }

    /// Bytes taken from the allocator for keys, values and structure.
    pub fn used_bytes(&self) -> usize {
        self.table.allocated()
    }

    /// Bytes that the running image holds back for its walker; 0 when there is none.
    pub fn image_queue_bytes(&self) -> usize {
        self.running.as_ref().map_or(0, Running::queue_bytes)
    }

    /// The hash of a key in this keyspace, for tables beside it.
    #[inline]
    pub fn hash_of(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key).0
    }

    /// The seed of the hash.
    pub fn seed(&self) -> u64 {
        self.hasher.seed()
    }

    /// All keys, expired ones included, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Entry<'_>)> {
        self.table.leaves().flat_map(Leaf::iter)
    }

    /// Makes sure that a write to `key` needs no more room in a running image's queue. A caller prepares every key
    /// that its effects change (of a copy only the target) before it logs them, under the same lock as `apply`.
    ///
    /// # Errors
    /// When the queue is full: release the lock, let the image drain, ask again.
    #[inline]
    pub fn prepare(&mut self, key: &[u8]) -> Result<(), ImageQueueFull> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let leaf = self.table.leaf_mut(self.hasher.hash(key));
        if running.detached.is_some() || running.has_room(leaf) {
            running.capture(leaf);
            Ok(())
        } else {
            Err(ImageQueueFull)
        }
    }

    /// Applies one logged result. Never fails, waits or looks at a clock; a running image stays right even when
    /// the key was not [prepared](Self::prepare), at the price of its queue's bound.
    ///
    /// # Panics
    /// When the effect exceeds the limits ([`Effect::is_within_limits`]).
    pub fn apply(&mut self, effect: Effect<'_>) {
        assert!(effect.is_within_limits(), "an effect beyond the keyspace's limits");
        if !self.garbage.is_empty() {
            self.free_some_garbage();
        }
        match effect {
            Effect::Set { key, value, expires_at_ms } => {
                self.change(key, |leaf, at, limits| leaf.set(at, Value::Bytes(value), expires_at_ms, limits));
            }
            Effect::Delete { key } => {
                self.change(key, |leaf, at, _| leaf.remove(at.hash, at.key));
            }
            Effect::Write { key, offset, bytes } => {
                self.change(key, |leaf, at, limits| leaf.write(at, offset as usize, bytes, limits));
            }
            Effect::Expire { key, at_ms } => {
                self.change(key, |leaf, at, limits| leaf.set_expiry(at, Some(at_ms), limits));
            }
            Effect::Persist { key } => {
                self.change(key, |leaf, at, limits| leaf.set_expiry(at, None, limits));
            }
            Effect::Rename { from, to } if from != to => self.rename(from, to),
            Effect::Copy { from, to } if from != to => self.copy(from, to),
            Effect::Rename { .. } | Effect::Copy { .. } => {}
            Effect::Flush => self.flush(),
        }
    }

    /// Applies records as they stand in the log, several times faster than one by one: a keyspace does not fit into
    /// the processor's caches, and here the waits for memory of many effects overlap.
    ///
    /// # Errors
    /// When one is not a record; the effects before the error have been applied.
    pub fn apply_records<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), EffectError> {
        let mut batch = Batch { effects: [Effect::Flush; BATCH_EFFECTS], len: 0 };
        for effect in records.into_iter().flat_map(decode_record) {
            match effect {
                Ok(effect) => batch.effects[batch.len] = effect,
                Err(error) => {
                    self.apply_batch(&batch);
                    return Err(error);
                }
            }
            batch.len += 1;
            if batch.len == BATCH_EFFECTS {
                self.apply_batch(&batch);
                batch.len = 0;
            }
        }
        self.apply_batch(&batch);
        Ok(())
    }

    /// Brings what reads and writes of up to 32 keys will touch into the processor's caches, all waits for memory
    /// overlapping. Worth it before a run of commands whose keys are known, such as a pipeline.
    pub fn warm<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) {
        let mut hashes = [KeyHash(0); BATCH_EFFECTS];
        let (mut len, mut sum) = (0, 0);
        for (key, hash) in keys.into_iter().zip(&mut hashes) {
            *hash = self.hasher.hash(key);
            sum += self.table.leaf(*hash).depth as usize;
            len += 1;
        }
        for &hash in &hashes[..len] {
            sum += self.table.leaf(hash).touch(hash);
        }
        black_box(sum);
    }

    /// Hands out what flushes left behind, to be dropped on another thread. What nobody takes is freed a little
    /// with every effect.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        core::mem::take(&mut self.garbage)
    }

    fn apply_batch(&mut self, batch: &Batch<'_>) {
        let effects = &batch.effects[..batch.len];
        self.warm(effects.iter().filter_map(Effect::key));
        for &effect in effects {
            self.apply(effect);
        }
    }

    fn from_table(table: Table, hasher: KeyHasher, limits: Limits) -> Self {
        Self { table, hasher, limits, stamp: 0, running: None, garbage: Vec::new(), sweep_position: 0 }
    }

    /// Changes the leaf of a key, after a running image has it.
    #[inline]
    fn change<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Leaf, Place<'_>, &Limits) -> R) -> R {
        let hash = self.hasher.hash(key);
        self.change_at(hash, |leaf, hasher, limits| change(leaf, Place { key, hash, hasher }, limits))
    }

    #[inline]
    fn change_at<R>(&mut self, hash: KeyHash, change: impl FnOnce(&mut Leaf, &KeyHasher, &Limits) -> R) -> R {
        if let Some(running) = &mut self.running {
            running.capture(self.table.leaf_mut(hash));
        }
        let (hasher, limits) = (&self.hasher, &self.limits);
        self.table.change(hash, hasher, limits, |leaf| change(leaf, hasher, limits))
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) {
        if let Some((value, expires_at_ms)) = self.change(from, |leaf, at, _| leaf.take(at.hash, at.key)) {
            self.change(to, |leaf, at, limits| leaf.set(at, value, expires_at_ms, limits));
        }
    }

    fn copy(&mut self, from: &[u8], to: &[u8]) {
        let hash = self.hasher.hash(from);
        if let Some((value, expires_at_ms)) = self.table.leaf(hash).copy_of(hash, from) {
            self.change(to, |leaf, at, limits| leaf.set(at, value, expires_at_ms, limits));
        }
    }

    /// Puts an empty table in the place of this one; the old one goes to the running image or to the garbage. One that is as empty
    /// stays: flushes in a row leave no garbage.
    fn flush(&mut self) {
        let empty = Table::new(0, &self.limits, self.stamp);
        let is_imaged = self.running.as_ref().is_some_and(|running| running.detached.is_none());
        if !is_imaged && self.is_empty() && self.used_bytes() <= empty.allocated() {
            return;
        }
        let table = core::mem::replace(&mut self.table, empty);
        self.sweep_position = 0;
        match &mut self.running {
            Some(running) if running.detached.is_none() => running.detached = Some(table),
            _ => self.garbage.push(Garbage { table }),
        }
    }

    #[cold]
    fn free_some_garbage(&mut self) {
        if self.garbage.last_mut().is_some_and(|garbage| !garbage.free_some()) {
            self.garbage.pop();
        }
    }
}

/// Effects that are applied together.
struct Batch<'a> {
    effects: [Effect<'a>; BATCH_EFFECTS],
    len: usize,
}

/// A flushed table on its way out. Dropping it frees everything at once.
#[derive(Debug)]
pub struct Garbage {
    table: Table,
}

impl Garbage {
    /// Frees one leaf, in microseconds; false when nothing is left.
    pub fn free_some(&mut self) -> bool {
        self.table.free_one_leaf()
    }
}

/// As many as a processor core can have waits for, twice over.
const BATCH_EFFECTS: usize = 32;
