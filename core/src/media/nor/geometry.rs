//! Sizes of a partition, and what follows from them.

use super::{FRAME_HEADER, MANIFEST_BODY, RESUME_BODY, header};
use crate::geometry::round_up;

/// Sizes of a NOR partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Geometry {
    /// Binary logarithms: they make the handle small.
    word: u8,
    block: u8,
    count: u16,
}

/// Why sizes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum GeometryError {
    /// The word is not a power of two up to 256.
    Word,
    /// The block is not a power of two from 256 to 1 MiB, or holds no record beside its header.
    BlockBytes,
    /// There are fewer than 3 or more than 65,535 blocks, or 4 GiB or more of them.
    BlockCount,
}

impl Geometry {
    /// Sizes in bytes: `word` is programmed at once, a power of two up to 256; `block_bytes` are erased at once, a power of two
    /// from 256 to 1 MiB; `block_count` blocks, 3 to 65,535, less than 4 GiB.
    ///
    /// # Errors
    /// Names the first size that can't be used.
    #[expect(clippy::cast_possible_truncation, reason = "checked before")]
    pub const fn new(word: u32, block_bytes: u32, block_count: u32) -> Result<Self, GeometryError> {
        if !word.is_power_of_two() || word > 256 {
            return Err(GeometryError::Word);
        }
        if !block_bytes.is_power_of_two() || block_bytes < 256 || block_bytes > 1 << 20 {
            return Err(GeometryError::BlockBytes);
        }
        if block_count < 3 || block_count > 65_535 || block_count > u32::MAX / block_bytes {
            return Err(GeometryError::BlockCount);
        }
        let word = word.trailing_zeros() as u8;
        let block = block_bytes.trailing_zeros() as u8;
        let geometry = Self { word, block, count: block_count as u16 };
        if geometry.max_frame() < geometry.word() { Err(GeometryError::BlockBytes) } else { Ok(geometry) }
    }

    /// What is programmed at once, bytes.
    #[must_use]
    pub const fn word(self) -> u32 {
        1 << self.word
    }

    /// What is erased at once, bytes.
    #[must_use]
    pub const fn block_bytes(self) -> u32 {
        1 << self.block
    }

    /// How many blocks.
    #[must_use]
    pub const fn block_count(self) -> u32 {
        self.count as u32
    }

    /// Index of the block with this sequence number.
    #[must_use]
    pub const fn block_of(self, sequence: u32) -> u32 {
        match sequence.checked_rem(self.block_count()) {
            Some(block) => block,
            None => 0,
        }
    }

    /// `bytes` rounded up to whole words.
    #[must_use]
    pub const fn pad(self, bytes: u32) -> u32 {
        round_up(bytes, self.word())
    }

    /// Offset of the open part of a block's header.
    #[must_use]
    pub const fn open_at(self) -> u32 {
        self.pad(header::ERASE_PART)
    }

    /// Offset of a block's first frame.
    #[must_use]
    pub const fn frames_at(self) -> u32 {
        self.open_at() + self.pad(header::OPEN_PART)
    }

    /// Bytes that are burnt before a RESUME. Each cut in a row may leave one more torn word that looks erased: three are covered.
    #[must_use]
    pub const fn burn(self) -> u32 {
        if self.word() > 2 { 3 * self.word() } else { 8 }
    }

    /// The largest record that `scratch` bytes and a block have room for, also when a RESUME carries it. 0 if there is none.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most 65,535")]
    pub const fn max_record(self, scratch: usize) -> u32 {
        let overhead = FRAME_HEADER + RESUME_BODY + MANIFEST_BODY;
        let scratch = if scratch > 65_535 { 65_535 } else { scratch as u32 };
        let lent = scratch.saturating_sub(self.burn() + self.word());
        let most = if self.max_frame() < lent { self.max_frame() } else { lent };
        most.saturating_sub(overhead)
    }

    /// Bytes of the largest frame: one that leaves room for burnt bytes behind it.
    const fn max_frame(self) -> u32 {
        self.block_bytes().saturating_sub(self.frames_at() + self.burn())
    }

    /// Binary logarithms of the word and of the block, in one byte.
    pub(super) const fn sizes(self) -> u8 {
        // The word's has four bits; blocks begin at 256.
        self.word | (self.block - 8) << 4
    }

    /// The first sequence number of a new log.
    pub(super) const fn first(self) -> u32 {
        self.block_count()
    }

    /// Bytes of a frame with this payload.
    pub(super) const fn frame_bytes(self, payload: u32) -> u32 {
        self.pad(payload.saturating_add(FRAME_HEADER))
    }
}
