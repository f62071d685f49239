//! The table: extendible hashing, so that growing never moves more than one leaf.
//!
//! ```text
//!  hash 0b10_1101…          directory, 2^depth slots        leaves
//!       └┬┘                 00 ─┬──────────────────► leaf 0 (depth 1)
//!     top bits              01 ─┘
//!                           10 ────────────────────► leaf 1 (depth 2)
//!                           11 ────────────────────► leaf 2 (depth 2)
//! ```
//!
//! A leaf that is full is split by the next bit of the hash; when it was as deep as the directory, the directory
//! doubles first (four bytes a slot: tens of microseconds at ten million keys). Directory order is hash order,
//! which is what images, scans and sweeps walk: a *position* is a hash, a leaf covers a range of positions.
//!
//! Invariants: a leaf of depth d fills 2^(depth − d) adjacent slots; the totals are the sums over the leaves.

use super::Limits;
use super::hash::{KeyHash, KeyHasher};
use super::leaf::{Leaf, Totals};

/// Leaves and the directory that finds them.
#[derive(Debug)]
pub(super) struct Table {
    directory: Vec<u32>,
    depth: u32,
    /// Leading bits of the hash that all keys of this table share: only parts of a table under restore have any.
    skip: u32,
    /// In segments of fixed size, so that adding a leaf never moves the others.
    segments: Vec<Vec<Leaf>>,
    leaf_count: usize,
    totals: Totals,
    leaf_keys_expected: usize,
}

impl Table {
    /// A table of empty leaves that takes `keys` keys without splitting one; its leaves carry `stamp`.
    pub(super) fn new(keys: usize, limits: &Limits, stamp: u64) -> Self {
        Self::part(keys, limits, stamp, 0)
    }

    /// The same for keys that share the first `skip` bits of their hash.
    pub(super) fn part(keys: usize, limits: &Limits, stamp: u64, skip: u32) -> Self {
        let per_leaf = (limits.leaf_keys - limits.leaf_keys / 8).max(1);
        let depth = keys.div_ceil(per_leaf).max(1).next_power_of_two().trailing_zeros().min(MAX_DEPTH - skip);
        let leaves = 1 << depth;
        let mut table = Self {
            directory: (0..leaves as u32).collect(),
            depth,
            skip,
            segments: Vec::new(),
            leaf_count: 0,
            totals: Totals::default(),
            leaf_keys_expected: if keys == 0 { 0 } else { (keys / leaves) + (keys / leaves) / 8 },
        };
        for _ in 0..leaves {
            table.add_leaf(Leaf::new(depth, stamp));
        }
        table
    }

    /// Joins parts, the n-th of which holds the keys whose first `skip` bits are n; their number is 2^skip.
    pub(super) fn join(parts: Vec<Self>) -> Self {
        let skip = parts.len().trailing_zeros();
        let part_depth = parts.iter().map(|part| part.depth).max().unwrap_or(0);
        let mut joined = Self {
            directory: Vec::with_capacity(parts.len() << part_depth),
            depth: part_depth + skip,
            skip: 0,
            segments: Vec::new(),
            leaf_count: 0,
            totals: Totals::default(),
            leaf_keys_expected: 0,
        };
        for part in parts {
            let first = joined.leaf_count as u32;
            let repeat = 1 << (part_depth - part.depth);
            joined
                .directory
                .extend(part.directory.iter().flat_map(|&id| core::iter::repeat_n(first + id, repeat)));
            joined.totals = joined.totals.plus(part.totals);
            for mut leaf in part.segments.into_iter().flatten() {
                leaf.depth += skip;
                joined.add_leaf(leaf);
            }
        }
        joined
    }

    #[inline]
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Bytes taken from the allocator, entries and structure.
    pub(super) fn allocated(&self) -> usize {
        let directory = self.directory.capacity() * size_of::<u32>();
        self.totals.bytes + directory + self.segments.len() * SEGMENT_LEAVES * size_of::<Leaf>()
    }

    pub(super) fn leaf_count(&self) -> usize {
        self.leaf_count
    }

    #[inline]
    pub(super) fn leaf(&self, hash: KeyHash) -> &Leaf {
        let id = self.directory[self.slot(hash.0)] as usize;
        &self.segments[id / SEGMENT_LEAVES][id % SEGMENT_LEAVES]
    }

    /// The leaf for everything that doesn't change its totals.
    #[inline]
    pub(super) fn leaf_mut(&mut self, hash: KeyHash) -> &mut Leaf {
        let id = self.directory[self.slot(hash.0)] as usize;
        &mut self.segments[id / SEGMENT_LEAVES][id % SEGMENT_LEAVES]
    }

    /// Changes a leaf, keeps the totals, and splits it once if it grew too large.
    #[inline]
    pub(super) fn change<R>(
        &mut self,
        hash: KeyHash,
        hasher: &KeyHasher,
        limits: &Limits,
        change: impl FnOnce(&mut Leaf) -> R,
    ) -> R {
        let keys_expected = self.leaf_keys_expected;
        let leaf = self.leaf_mut(hash);
        let before = leaf.totals();
        if keys_expected > 0 && leaf.is_empty() {
            leaf.reserve(keys_expected);
        }
        let result = change(leaf);
        let (after, is_over) = (leaf.totals(), leaf.is_over(limits));
        self.totals = self.totals.plus(after).minus(before);
        if is_over {
            self.split(hash, hasher);
        }
        result
    }

    /// All leaves, each once, in no order.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.segments.iter().flatten()
    }

    /// The first position after the leaf that covers `position`; `None` after the last.
    pub(super) fn next_position(&self, position: u64) -> Option<u64> {
        let depth = self.leaf(KeyHash(position)).depth;
        if depth == 0 {
            return None;
        }
        let width_bits = u64::BITS - depth;
        ((position >> width_bits) + 1).checked_shl(width_bits).filter(|&next| next > position)
    }

    /// Frees the last leaf; false when none is left.
    pub(super) fn free_one_leaf(&mut self) -> bool {
        while let Some(segment) = self.segments.last_mut() {
            if segment.pop().is_some() {
                return true;
            }
            self.segments.pop();
        }
        false
    }

    fn slot(&self, hash: u64) -> usize {
        // Two shifts, since a shift by all 64 bits is not one.
        ((hash << self.skip) >> 1 >> (u64::BITS - 1 - self.depth)) as usize
    }

    fn add_leaf(&mut self, leaf: Leaf) -> u32 {
        if self.segments.last().is_none_or(|segment| segment.len() == SEGMENT_LEAVES) {
            self.segments.push(Vec::with_capacity(SEGMENT_LEAVES));
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.push(leaf);
        }
        self.leaf_count += 1;
        (self.leaf_count - 1) as u32
    }

    #[cold]
    fn split(&mut self, hash: KeyHash, hasher: &KeyHasher) {
        let leaf_depth = self.leaf(hash).depth;
        if leaf_depth == self.depth && !self.double() {
            return;
        }
        let bit = 1 << (u64::BITS - 1 - self.skip - leaf_depth);
        let leaf = self.leaf_mut(hash);
        let before = leaf.totals();
        let [zeros, ones] = leaf.split(hasher, bit);
        self.totals = self.totals.plus(zeros.totals()).plus(ones.totals()).minus(before);
        *self.leaf_mut(hash) = zeros;
        let ones = self.add_leaf(ones);
        let span = 1 << (self.depth - leaf_depth);
        let first = self.slot(hash.0) & !(span - 1);
        self.directory[first + span / 2..first + span].fill(ones);
    }

    /// Doubles the directory, unless it is out of proportion to its leaves: then a leaf stays larger than it should.
    fn double(&mut self) -> bool {
        if self.depth + self.skip >= MAX_DEPTH || self.directory.len() >= self.leaf_count * SLOTS_PER_LEAF {
            return false;
        }
        self.directory = self.directory.iter().flat_map(|&id| [id, id]).collect();
        self.depth += 1;
        true
    }
}

impl Totals {
    fn plus(self, other: Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            expiring: self.expiring + other.expiring,
            bytes: self.bytes + other.bytes,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            keys: self.keys - other.keys,
            expiring: self.expiring - other.expiring,
            bytes: self.bytes - other.bytes,
        }
    }
}

/// The bits of a hash that the directory may use; the lower ones belong to the leaves.
const MAX_DEPTH: u32 = 32;
const SEGMENT_LEAVES: usize = 256;
const SLOTS_PER_LEAF: usize = 64;
