//! A log on NOR flash: append and recover over a strict ring of erase blocks.
//!
//! ```text
//!  index      0        1        2        3            index = sequence mod count
//!           | seq 8  | seq 9  | seq 6  | seq 7  |
//!                      head     spare    floor
//!  block    | erase part | open part | RECORD | RECORD | torn | burnt | RESUME | RECORD | erased ... |
//! ```
//!
//! A completed program is durable, so there are no marks, no settled positions and no epochs. A frame's checksum is seeded with
//! the store, the block's sequence number and the frame's offset; dense LSNs judge the rest.
//!
//! Rules, each of which loses data when it is left out:
//!
//! 1. A block's *erase part* is written right after the erase, its *open part* at first use. A block that holds nothing behind
//!    its open part is not open: its open part may itself be torn. The first
//!    write erases it again, before anything else, and its number is used again.
//! 2. A block that this boot did not erase is erased again before it is opened: a torn erase may look blank.
//! 3. Mounting writes nothing. The first write is a RESUME frame, behind burnt (all-zero) bytes: a word that a cut left looking
//!    erased is never believed in. It carries the last record inside itself, because what was read as whole may be torn, and
//!    names the place of that record's first frame: everything from there to the RESUME is void.
//! 4. Where burning begins: behind the last byte that is not erased, and behind the end that a torn frame claims, because
//!    payload may look erased. A claim that may itself be torn closes the block.
//! 5. Until the next block is opened, what is written is read back before it is acknowledged; what differs is answered by a
//!    RESUME that carries it.
//! 6. A block is erased only when it is below the floor of a block that holds a frame, or when it holds no frame.
//!
//! It keeps no table of blocks: head and floor follow from a binary search over the headers. It has no snapshots, no groups of
//! records, no trims and no export.

mod header;
mod log;
mod mount;
mod reader;
mod view;

pub use log::{Log, Output, Refused};
pub use mount::{Ask, Mount, Refusal};
pub use reader::{Found, Reader};

use crate::action::{Action, Span};
use crate::codec::check::{Checksum, Seed};
use crate::codec::frame::{Framing, HEADER};
use crate::types::{Extent, Lsn, StoreId};

/// Sizes of a NOR medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// What is programmed at once, bytes: a power of two up to 32.
    pub word: u32,
    /// What is erased at once, bytes: a power of two from 256 to 1 MiB.
    pub block_bytes: u32,
    /// How many blocks: 4 to 65,535.
    pub block_count: u32,
}

/// Why a [`Geometry`] is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryError {
    /// The word is not a power of two up to 32.
    Word,
    /// The block is not a power of two from 256 to 1 MiB.
    BlockBytes,
    /// There are fewer than 4 or more than 65,535 blocks.
    BlockCount,
}

impl Geometry {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field that can't be used.
    pub const fn check(self) -> Result<Self, GeometryError> {
        if !self.word.is_power_of_two() || self.word > 32 {
            return Err(GeometryError::Word);
        }
        if !self.block_bytes.is_power_of_two() || self.block_bytes < 256 || self.block_bytes > 1 << 20 {
            return Err(GeometryError::BlockBytes);
        }
        if self.block_count < 4 || self.block_count > 65_535 {
            return Err(GeometryError::BlockCount);
        }
        Ok(self)
    }

    /// The block of a sequence number.
    #[must_use]
    pub const fn block_of(self, sequence: u32) -> u32 {
        match sequence.checked_rem(self.block_count) {
            Some(block) => block,
            None => 0,
        }
    }

    /// `bytes` rounded up to whole words.
    #[must_use]
    pub const fn pad(self, bytes: u32) -> u32 {
        crate::geometry::round_up(bytes, self.word)
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

    /// Bytes that are burnt before a RESUME.
    #[must_use]
    pub const fn burn(self) -> u32 {
        if self.word > 8 { self.word } else { 8 }
    }

    /// Bytes of a frame with this payload.
    #[must_use]
    const fn frame_bytes(self, payload: u32) -> u32 {
        self.pad(payload.saturating_add(FRAME_HEADER))
    }

    /// The largest record, bytes: one that fits even behind a torn beginning of a block, and in this much scratch.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "bounded by 1 << 16")]
    pub const fn max_record(self, scratch: usize) -> u32 {
        let overhead = FRAME_HEADER + RESUME_BODY + self.word;
        let block = self.block_bytes.saturating_sub(self.frames_at() + self.burn() + overhead);
        let scratch = if scratch > 1 << 16 { 1 << 16 } else { (scratch & !31) as u32 };
        let lent = scratch.saturating_sub(RECORD_AT + 2 * self.word);
        if block < lent { block } else { lent }
    }

    /// The first sequence number of a new log.
    const fn first(self) -> u32 {
        self.block_count
    }
}

/// A partition: its sizes and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its sizes.
    pub geometry: Geometry,
    /// Whose it is.
    pub store: StoreId,
}

impl Volume {
    fn framing<C: Checksum>(&self, sequence: u32) -> Framing {
        Framing { write_unit: self.geometry.word as usize, seed: Seed::nor::<C>(self.store, sequence) }
    }
}

/// What happens when the ring is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The oldest block is given up.
    DropOldest,
    /// Records are refused.
    Reject,
}

/// A place in the log. Ordered as the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Sequence number of the block.
    pub sequence: u32,
    /// Bytes from the start of the block.
    pub offset: u32,
}

/// Bytes to be read into the scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which block, by its index.
    pub block: u32,
    /// Bytes from its start, whole words.
    pub offset: u32,
    /// Where in the scratch.
    pub bytes: Span,
}

/// What is asked of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Change it.
    Do(Action),
    /// Read bytes back and compare them with those in the scratch.
    Verify {
        /// The block, by its sequence number.
        extent: Extent,
        /// Bytes from its start.
        offset: u32,
        /// What should be there.
        bytes: Span,
    },
    /// Read bytes into the scratch.
    Read(Fetch),
}

/// Why a request was not fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The medium holds other bytes than were programmed.
    Differs,
    /// The medium failed.
    Medium,
}

/// The newest record and the frame that holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Last {
    /// Its LSN; 0 stands for no record.
    lsn: Lsn,
    /// The frame that holds it.
    at: Place,
    /// The frame that held it first.
    from: Place,
    /// Bytes of the record.
    len: u32,
    /// Whether the frame at `at` is a RESUME.
    resume: bool,
}

impl Last {
    /// Payload bytes before the record.
    const fn lead(&self) -> u32 {
        if self.resume { RESUME_BODY } else { 0 }
    }
}

/// Bytes of a frame before its payload.
#[expect(clippy::cast_possible_truncation, reason = "8")]
const FRAME_HEADER: u32 = HEADER as u32;
/// Payload of a RESUME before the record that it carries: LSN, sequence and offset of `from`.
const RESUME_BODY: u32 = 16;
/// Where in the scratch the bytes of a record stand while it is written, so that a RESUME and burnt bytes fit before them.
const RECORD_AT: u32 = 56;
/// What an erased byte reads as.
const ERASED: u8 = 0xff;

#[cfg(test)]
mod tests;
