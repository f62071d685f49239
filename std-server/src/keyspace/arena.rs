//! The bytes of a leaf's entries: pages of one size, so that the allocator never sees odd holes.
//!
//! ```text
//!  address u32 = page << 13 | offset
//!  page 0 [entry entry dead entry …]   page 1 [entry …]   page 2 [one entry longer than a page]
//! ```
//!
//! Invariants: an entry lies in one page; an entry longer than a page has its own, at offset 0; `dead` counts
//! the bytes that no entry uses any more. The arena doesn't know which entries are live: its leaf does.

/// Append-only pages with a count of the bytes that died in them.
#[derive(Debug, Default)]
pub(super) struct Arena {
    /// The page being filled, kept here so that an insert follows one pointer less.
    tail: Vec<u8>,
    /// The full ones before it.
    pages: Vec<Vec<u8>>,
    used: usize,
    dead: usize,
    allocated: usize,
}

impl Arena {
    /// Appends the concatenation of `parts` and answers its address.
    #[inline]
    pub(super) fn push(&mut self, parts: [&[u8]; 3]) -> u32 {
        let len = parts[0].len() + parts[1].len() + parts[2].len();
        if self.tail.len() + len > self.tail.capacity() {
            self.add_page(len);
        }
        let offset = self.tail.len();
        for part in parts {
            self.tail.extend_from_slice(part);
        }
        self.used += len;
        (self.pages.len() << OFFSET_BITS | offset) as u32
    }

    /// The bytes from `address` to the end of its page.
    #[inline]
    pub(super) fn at(&self, address: u32) -> &[u8] {
        let (number, offset) = (address as usize >> OFFSET_BITS, address as usize & OFFSET_MASK);
        &self.pages.get(number).unwrap_or(&self.tail)[offset..]
    }

    /// The same, to be changed in place.
    #[inline]
    pub(super) fn at_mut(&mut self, address: u32) -> &mut [u8] {
        let (number, offset) = (address as usize >> OFFSET_BITS, address as usize & OFFSET_MASK);
        &mut self.pages.get_mut(number).unwrap_or(&mut self.tail)[offset..]
    }

    /// Counts `bytes` as dead.
    pub(super) fn retire(&mut self, bytes: usize) {
        self.dead += bytes;
    }

    /// Bytes of live entries.
    #[inline]
    pub(super) fn live(&self) -> usize {
        self.used - self.dead
    }

    /// Bytes that no entry uses any more.
    pub(super) fn dead(&self) -> usize {
        self.dead
    }

    /// Bytes taken from the allocator.
    #[inline]
    pub(super) fn allocated(&self) -> usize {
        self.allocated
    }

    /// Whether a copy without the dead bytes is worth its cost.
    pub(super) fn wants_compaction(&self) -> bool {
        self.dead > PAGE_BYTES && self.dead * DEAD_SHARE > self.used
    }

    /// All pages in order; without dead bytes they are exactly the entries.
    pub(super) fn pages(&self) -> impl Iterator<Item = &[u8]> {
        self.pages.iter().chain([&self.tail]).map(Vec::as_slice)
    }

    /// Reads where the next entry will go, so that the processor has it at hand then.
    #[inline]
    pub(super) fn touch_tail(&self) -> u8 {
        self.tail.last().copied().unwrap_or(0)
    }

    #[cold]
    fn add_page(&mut self, len: usize) {
        assert!(self.pages.len() < MAX_PAGES, "a leaf outgrew its 4 GiB of addresses");
        let page = Vec::with_capacity(len.max(PAGE_BYTES));
        if self.pages.len() == self.pages.capacity() {
            self.pages.reserve_exact(PAGES_STEP);
            self.allocated += PAGES_STEP * size_of::<Vec<u8>>();
        }
        self.allocated += page.capacity();
        let full = core::mem::replace(&mut self.tail, page);
        if full.capacity() > 0 {
            self.pages.push(full);
        }
    }
}

const OFFSET_BITS: u32 = 13;
const OFFSET_MASK: usize = (1 << OFFSET_BITS) - 1;
const MAX_PAGES: usize = 1 << (u32::BITS - OFFSET_BITS);
/// A page and the allocator's own header together stay below a power of two.
const PAGE_BYTES: usize = 4096 - 16;
const PAGES_STEP: usize = 8;
/// Compact when more than one byte in this many is dead.
const DEAD_SHARE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_never_straddle_pages() {
        let mut arena = Arena::default();
        let sizes = [100, PAGE_BYTES - 150, 60, PAGE_BYTES * 5, 1, PAGE_BYTES];
        let addresses: Vec<u32> = sizes
            .iter()
            .enumerate()
            .map(|(fill, &size)| arena.push([&vec![fill as u8; size], &[], &[]]))
            .collect();
        for (fill, (&address, &size)) in addresses.iter().zip(&sizes).enumerate() {
            assert_eq!(arena.at(address)[..size], vec![fill as u8; size]);
        }
        assert_eq!(arena.live(), sizes.iter().sum::<usize>());
        assert!(arena.allocated() >= arena.live());
    }

    #[test]
    fn compaction_is_wanted_only_above_the_share() {
        let mut arena = Arena::default();
        for _ in 0..8 {
            arena.push([&[0; PAGE_BYTES], &[], &[]]);
        }
        arena.retire(PAGE_BYTES * 2);
        assert!(!arena.wants_compaction());
        arena.retire(1);
        assert!(arena.wants_compaction());
    }
}
