//! Which bytes of the medium stand in the scratch.

use super::{ERASED, Fetch};
use crate::action::{Buffer, Span};

/// A window on one block that slides forward.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    block: u32,
    offset: u32,
    len: u32,
    asked: u32,
}

/// Bytes of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) block: u32,
    /// A multiple of the word.
    pub(super) offset: u32,
    pub(super) len: u32,
    /// Where the block ends.
    pub(super) limit: u32,
}

impl View {
    /// The bytes, if they stand in the scratch; otherwise what has to be read, as much as fits behind what is kept.
    pub(super) fn want<'s>(&mut self, scratch: &'s mut [u8], range: Range) -> Result<&'s [u8], Fetch> {
        let inside = self.block == range.block && range.offset >= self.offset;
        let skipped = if inside { range.offset - self.offset } else { self.len };
        if inside && skipped.saturating_add(range.len) <= self.len {
            let start = skipped as usize;
            return Ok(scratch.get(start..start + range.len as usize).unwrap_or_default());
        }
        let kept = self.len.saturating_sub(skipped);
        slide(scratch, skipped as usize, kept as usize);
        // Whole words only: some controllers check a word at once.
        let room = u32::try_from(scratch.len() & !31).unwrap_or(!31).saturating_sub(kept);
        let from = range.offset.saturating_add(kept);
        self.block = range.block;
        self.offset = range.offset;
        self.len = kept;
        self.asked = room.min(range.limit.saturating_sub(from));
        let bytes = Span { buffer: Buffer::Window, start: kept, len: self.asked };
        Err(Fetch { block: range.block, offset: from, bytes })
    }

    /// What was asked for has been read.
    pub(super) fn filled(&mut self) {
        self.len += self.asked;
        self.asked = 0;
    }

    /// Where the byte at `offset` of the block stands.
    pub(super) fn position(&self, offset: u32) -> usize {
        offset.saturating_sub(self.offset) as usize
    }

    /// Whether what stands in the scratch begins at or before this byte.
    pub(super) fn holds(&self, block: u32, offset: u32) -> bool {
        self.block == block && self.offset <= offset && self.len > 0
    }

    /// Nothing stands in the scratch any more.
    pub(super) fn forget(&mut self) {
        self.len = 0;
        self.asked = 0;
    }
}

/// Moves `len` bytes at `from` to the front. No slice method: their checks would be panics, and their code is larger.
fn slide(scratch: &mut [u8], from: usize, len: usize) {
    for at in 0..len {
        let byte = scratch.get(from + at).copied();
        if let (Some(byte), Some(slot)) = (byte, scratch.get_mut(at)) {
            *slot = byte;
        }
    }
}

/// Whether the bytes read as erased, or as burnt: no frame begins with them.
pub(super) fn is_empty(bytes: &[u8]) -> bool {
    is_erased(bytes) || bytes.iter().all(|byte| *byte == 0)
}

/// Whether all bytes read as erased.
pub(super) fn is_erased(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == ERASED)
}
