//! Walking a live table: SCAN, random keys, and the sweep for expired ones.
//!
//! ```text
//!  cursor = the top 48 bits of a hash          0 ──► leaf ──► leaf ──► … ──► 0
//! ```
//!
//! Keys are visited in the order of their hashes, which no split and no growth changes: a key that is there from
//! the first call to the last is visited exactly once, without any state between calls. Cursors stay below 2^48,
//! so that clients which keep them in a double lose nothing.

use super::hash::KeyHash;
use super::{Entry, Keyspace};

impl Keyspace {
    /// Visits about `count` keys from `cursor` on (0 begins) and answers the next cursor (0 when through).
    ///
    /// Keys expired at `now_ms` count but are not visited. A call looks at a bounded number of leaves, so it may
    /// visit fewer keys, or none.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        now_ms: u64,
        mut visit: impl FnMut(&[u8], Entry<'_>),
    ) -> u64 {
        let count = count.max(1);
        let mut seen = 0;
        let mut cursor = cursor;
        for _ in 0..SCAN_LEAVES {
            if cursor > CURSOR_MAX || seen >= count {
                break;
            }
            let (next, looked_at) = self.scan_leaf(cursor, count - seen, now_ms, &mut visit);
            seen += looked_at;
            cursor = next;
        }
        if cursor > CURSOR_MAX { 0 } else { cursor }
    }

    /// A key with its entry, drawn by `random`; nearly uniform. `None` when no key is visible at `now_ms`.
    pub fn random_key(&self, now_ms: u64, random: u64) -> Option<(&[u8], Entry<'_>)> {
        let mut draw = random;
        for _ in 0..RANDOM_TRIES {
            draw = draw.wrapping_mul(STEP_FACTOR).wrapping_add(STEP_TERM);
            let position = draw ^ (draw >> 29);
            let leaf = self.table.leaf(KeyHash(position));
            // The leaf was drawn by the top bits, the key by the bottom ones.
            let number = (position & 0xFFFF_FFFF) as usize;
            let drawn = leaf.len().checked_sub(1).and_then(|last| leaf.nth(number % (last + 1)));
            if let Some((key, entry)) = drawn.filter(|(_, entry)| !entry.is_expired(now_ms)) {
                return Some((key, entry));
            }
        }
        // Almost everything is expired or gone: the first that is not.
        self.iter().find(|(_, entry)| !entry.is_expired(now_ms))
    }

    /// Calls `found` for at most `limit` keys that are expired at `now_ms`, going on where the last call ended.
    ///
    /// The caller turns them into [`Effect::Delete`](super::Effect::Delete). Leaves in which nothing can be expired are
    /// passed over; a call passes at most a thousand. Answers how many keys were found.
    pub fn sweep_expired(&mut self, now_ms: u64, limit: usize, mut found: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        if self.table.totals().expiring == 0 {
            return count;
        }
        for _ in 0..SWEEP_LEAVES.min(self.table.leaf_count()) {
            let leaf = self.table.leaf_mut(KeyHash(self.sweep_position));
            if leaf.min_expiry_ms() <= now_ms {
                count += leaf.expired(now_ms, limit - count, &mut found);
                if count == limit {
                    break;
                }
            }
            self.sweep_position = self.table.next_position(self.sweep_position).unwrap_or(0);
        }
        count
    }

    /// Visits keys of the leaf at `cursor`; answers the next cursor and how many keys were looked at.
    fn scan_leaf(
        &self,
        cursor: u64,
        count: usize,
        now_ms: u64,
        visit: &mut impl FnMut(&[u8], Entry<'_>),
    ) -> (u64, usize) {
        let position = cursor << CURSOR_SHIFT;
        let leaf = self.table.leaf(KeyHash(position));
        let mut next = self.table.next_position(position).map_or(CURSOR_MAX + 1, |next| next >> CURSOR_SHIFT);
        let mut found: Vec<_> = leaf
            .iter()
            .map(|(key, entry)| (self.hasher.hash(key).0 >> CURSOR_SHIFT, key, entry))
            .filter(|&(place, ..)| place >= cursor)
            .collect();
        if found.len() > count {
            let (_, &mut (last, ..), _) = found.select_nth_unstable_by_key(count - 1, |&(place, ..)| place);
            // Keys of the same place belong together: the cursor can't point between them.
            found.retain(|&(place, ..)| place <= last);
            next = last + 1;
        }
        for &(_, key, entry) in found.iter().filter(|(.., entry)| !entry.is_expired(now_ms)) {
            visit(key, entry);
        }
        (next, found.len())
    }
}

const CURSOR_BITS: u32 = 48;
const CURSOR_SHIFT: u32 = u64::BITS - CURSOR_BITS;
const CURSOR_MAX: u64 = (1 << CURSOR_BITS) - 1;
const SCAN_LEAVES: usize = 64;
const SWEEP_LEAVES: usize = 1024;
const RANDOM_TRIES: usize = 64;
/// Knuth's MMIX generator; it only spreads the caller's random number over several tries.
const STEP_FACTOR: u64 = 6_364_136_223_846_793_005;
const STEP_TERM: u64 = 1_442_695_040_888_963_407;
