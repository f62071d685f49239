//! What arrived of a stream and is not read: bytes in a ring, and the ranges of the stream that they are.
//!
//! ```text
//!          read                                     read + the ring's bytes
//!   ─ ─ ─ ──┼████████──hole──██████────────██────────────┼─ ─ ─
//!            ready            held early
//! ```

use super::{CHUNK_HEAD, MIN_MTU, WINDOW};

/// Most ranges that are held: every second one of the smallest chunks in a window.
const MAX_RANGES: usize = WINDOW as usize / (MIN_MTU - CHUNK_HEAD) / 2 + 2;

/// The ring.
#[derive(Debug)]
pub(super) struct Ring<'b> {
    bytes: &'b mut [u8],
    /// Everything of the stream before this is read.
    read: u32,
    /// In order and apart from each other.
    held: heapless::Vec<(u32, u32), MAX_RANGES>,
}

impl<'b> Ring<'b> {
    pub(super) fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, read: 0, held: heapless::Vec::new() }
    }

    /// Begins at the start of another stream.
    pub(super) fn clear(&mut self) {
        self.read = 0;
        self.held.clear();
    }

    pub(super) fn read(&self) -> u32 {
        self.read
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes that can be read.
    pub(super) fn ready(&self) -> u32 {
        self.held.first().filter(|range| range.0 == self.read).map_or(0, |range| range.1 - range.0)
    }

    /// Bytes that are missing from `passed` bytes behind `read` up to what is held there.
    pub(super) fn hole(&self, passed: u32) -> u32 {
        let from = self.read.wrapping_add(passed);
        self.held.iter().find(|range| range.0 >= from).map_or(0, |range| range.0 - from)
    }

    /// Copies what is new and has room; returns whether anything was.
    pub(super) fn place(&mut self, position: u32, bytes: &[u8]) -> bool {
        let old = usize::try_from(self.read.saturating_sub(position)).unwrap_or(usize::MAX);
        let Some(bytes) = bytes.get(old..).filter(|bytes| !bytes.is_empty()) else { return false };
        let from = position.max(self.read);
        let Ok(len) = u32::try_from(bytes.len()) else { return false };
        let Some(until) = from.checked_add(len) else { return false };
        if (until - self.read) as usize > self.bytes.len() || !self.hold(from, until) {
            return false;
        }
        let start = from as usize % self.bytes.len().max(1);
        let (head, tail) = bytes.split_at(bytes.len().min(self.bytes.len() - start));
        for (slot, byte) in self.bytes.iter_mut().skip(start).zip(head) {
            *slot = *byte;
        }
        for (slot, byte) in self.bytes.iter_mut().zip(tail) {
            *slot = *byte;
        }
        true
    }

    /// Adds a range to those that are held, joined with its neighbours; returns whether it was new and had room.
    fn hold(&mut self, from: u32, until: u32) -> bool {
        if self.held.iter().any(|range| range.0 <= from && until <= range.1) {
            return false;
        }
        let apart = |range: &&(u32, u32)| range.1 < from || range.0 > until;
        if self.held.iter().filter(apart).count() == MAX_RANGES {
            return false;
        }
        let mut joined = (from, until);
        self.held.retain(|range| {
            let touches = range.1 >= from && range.0 <= until;
            if touches {
                joined = (joined.0.min(range.0), joined.1.max(range.1));
            }
            !touches
        });
        let at = self.held.iter().filter(|range| range.0 < joined.0).count();
        self.held.insert(at, joined).is_ok()
    }

    /// What can be read in one piece, at most `most` bytes.
    pub(super) fn window(&self, most: usize) -> &[u8] {
        let start = self.read as usize % self.bytes.len().max(1);
        let bytes = (self.ready() as usize).min(most).min(self.bytes.len() - start);
        self.bytes.get(start..start + bytes).unwrap_or_default()
    }

    /// The next `N` bytes, if they can be read.
    pub(super) fn fixed<const N: usize>(&self) -> Option<[u8; N]> {
        (self.ready() as usize >= N).then_some(())?;
        let start = self.read as usize % self.bytes.len().max(1);
        let mut fixed = [0; N];
        let bytes = self.bytes.iter().cycle().skip(start);
        fixed.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        Some(fixed)
    }

    /// Passes over bytes that were read.
    pub(super) fn advance(&mut self, bytes: u32) {
        self.read = self.read.wrapping_add(bytes);
        if let Some(first) = self.held.first_mut() {
            first.0 = self.read;
        }
        self.held.retain(|range| range.0 < range.1);
    }
}
