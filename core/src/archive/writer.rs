//! Writes an archive from one pass over its entries; a first pass has counted them.
//!
//! ```text
//!          begin                push until it says Drain ──► push again      finish
//!            │                    ▲            │                               │
//!            ▼                    │            ▼                               ▼
//!  Prologue, Header ──────────► Open ◄──── block, Stamps ◄──── Open ──────► Index, SeekTable ──► Done
//!                                     poll() until Idle, each time
//! ```
//!
//! 1. [`Writer::begin`], then [`Writer::poll`] until it is idle; whatever it hands out is appended to the output, in order.
//! 2. [`Writer::push`] each entry. At [`Push::Drain`], poll until idle and push the same entry again.
//! 3. [`Writer::finish`], and poll until idle again. Only an archive for which this succeeds may be published.
//!
//! Whoever compresses gets [`Output::Encode`]: it appends a frame of its own and tells it with [`Writer::encoded`].
//!
//! What it needs is lent: one block, the stamps of one block, a row for each block. A full table is an error, not a loss.

use super::entry::Entry;
use super::stamps::{MIN_STAMPS, Stamps};
use super::{BLOCK_BYTES, BlockRow, Codec, HEADER_TAG, Header, INDEX_TAG, MAX_BLOCK, MAX_DIGEST};
use super::{MAX_WRITER, MIN_BLOCK, PROLOGUE, ROW_BYTES, Totals, zstd};
use crate::codec::check::{Checksum, Seed};
use crate::codec::extent::Cursor;

/// What is lent to a writer.
#[derive(Debug)]
pub struct Memory<'m> {
    /// Holds one block: at least [`MIN_BLOCK`] bytes, and the largest entry.
    pub block: &'m mut [u8],
    /// Holds the stamps of one block: at least [`MIN_STAMPS`] bytes.
    pub stamps: &'m mut [u8],
    /// Holds a row for each block.
    pub table: &'m mut [BlockRow],
}

/// Whether an entry was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Push {
    /// It was.
    Taken,
    /// It was not: poll until idle, then push it again.
    Drain,
}

/// What the writer wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'w> {
    /// Append these bytes.
    Append(&'w [u8]),
    /// Make one zstd frame of these bytes, with content size and checksum; append it and tell it with [`Writer::encoded`].
    Encode(&'w [u8]),
    /// Nothing: give the next entry, or it is finished.
    Idle,
}

/// Why an archive can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The lent memory is smaller than [`MIN_BLOCK`] or [`MIN_STAMPS`], or a field of the header is too long.
    Memory,
    /// An entry is larger than the lent block.
    EntryTooLarge,
    /// There is no row left for another block.
    TooManyBlocks,
    /// The LSN of an entry is below the one before it.
    Order,
    /// The entries are not those that were counted.
    Totals,
    /// A block was encoded to no frame, or nothing was to be encoded.
    Encoding,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Memory => "the lent memory is too small, or a field of the header too long",
            Self::EntryTooLarge => "an entry is larger than the memory for a block",
            Self::TooManyBlocks => "the table of blocks is full: take larger blocks or a larger table",
            Self::Order => "LSNs don't ascend",
            Self::Totals => "the entries are not those that were counted before",
            Self::Encoding => "a block was not encoded",
        })
    }
}

impl core::error::Error for Refused {}

/// What comes out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Prologue,
    Header,
    Open,
    /// A raw block: its head, then pieces from this byte on.
    Head,
    Piece(usize),
    PieceHead(usize),
    Sum,
    /// The caller encodes.
    Encoding,
    Stamps,
    IndexHead,
    IndexRow(usize),
    IndexEnd,
    SeekHead,
    /// The row of this frame, counted from the prologue.
    SeekRow(usize),
    SeekFoot,
    Done,
}

/// Writes one archive.
#[derive(Debug)]
pub struct Writer<'m, C> {
    header: Header<'m>,
    block_bytes: usize,
    block: &'m mut [u8],
    filled: usize,
    stamps: Stamps<'m>,
    table: &'m mut [BlockRow],
    rows: usize,
    row: BlockRow,
    seen: Totals,
    stage: Stage,
    finishing: bool,
    offset: u64,
    crc: u32,
    /// Bytes of the prologue, the header and the index, for the seek table.
    frames: [u32; 3],
    prologue_crc: u32,
    scratch: [u8; ROW_BYTES],
    check: core::marker::PhantomData<C>,
}

impl<'m, C: Checksum> Writer<'m, C> {
    /// Begins an archive of entries that `header` has counted. Blocks are cut at the last border of an entry that is not above
    /// `block_bytes` (usually [`BLOCK_BYTES`]); an entry that is larger has a block to itself.
    ///
    /// # Errors
    /// [`Refused::Memory`], and [`Refused::EntryTooLarge`] if the largest entry does not fit.
    pub fn begin(header: Header<'m>, block_bytes: usize, memory: Memory<'m>) -> Result<Self, Refused> {
        let Memory { block, stamps, table } = memory;
        let digests = header.source.len().max(header.previous.len());
        let fits = block.len() >= MIN_BLOCK && stamps.len() >= MIN_STAMPS;
        if !fits || digests > MAX_DIGEST || header.writer.len() > MAX_WRITER {
            return Err(Refused::Memory);
        }
        if header.totals.largest > block.len().min(MAX_BLOCK) {
            return Err(Refused::EntryTooLarge);
        }
        Ok(Self {
            header,
            block_bytes: block_bytes.min(block.len()),
            block,
            filled: 0,
            stamps: Stamps::new(stamps),
            table,
            rows: 0,
            row: BlockRow::default(),
            seen: Totals::NONE,
            stage: Stage::Prologue,
            finishing: false,
            offset: 0,
            crc: 0,
            frames: [0; 3],
            prologue_crc: 0,
            scratch: [0; ROW_BYTES],
            check: core::marker::PhantomData,
        })
    }

    /// Takes the next entry, unless a block must be drained first.
    ///
    /// # Errors
    /// [`Refused`]; then the archive can't be finished.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<Push, Refused> {
        if self.stage != Stage::Open || self.finishing {
            return Ok(Push::Drain);
        }
        let bytes = entry.encoded_bytes();
        if self.filled > 0 && (self.filled + bytes > self.block_bytes || self.stamps.is_full()) {
            self.close_block();
            return Ok(Push::Drain);
        }
        if self.seen.entries > 0 && entry.stamp.lsn < self.seen.lsns.1 {
            return Err(Refused::Order);
        }
        if self.rows == self.table.len() {
            return Err(Refused::TooManyBlocks);
        }
        let room = self.block.get_mut(self.filled..).and_then(|room| room.get_mut(..bytes));
        room.and_then(|room| entry.encode(room)).ok_or(Refused::EntryTooLarge)?;
        self.stamps.push(entry).ok_or(Refused::Order)?;
        let (time, first) = (entry.stamp.time, self.filled == 0);
        if first {
            (self.row.first, self.row.earliest, self.row.latest) = (entry.stamp.lsn, time, time);
        }
        self.row.entries += 1;
        self.row.earliest = self.row.earliest.min(time);
        self.row.latest = self.row.latest.max(time);
        self.filled += bytes;
        self.seen.count(entry);
        Ok(Push::Taken)
    }

    /// Ends the archive; poll until idle for the rest of it.
    ///
    /// # Errors
    /// [`Refused::Totals`]: what was pushed is not what the header says.
    pub fn finish(&mut self) -> Result<(), Refused> {
        if self.seen != self.header.totals {
            return Err(Refused::Totals);
        }
        self.finishing = true;
        if self.stage == Stage::Open {
            if self.filled > 0 {
                self.close_block();
            } else {
                self.stage = Stage::IndexHead;
            }
        }
        Ok(())
    }

    /// Whether the whole archive has been handed out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Bytes that were handed out so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.offset
    }

    /// The next thing to do; the one before has been done.
    ///
    /// # Errors
    /// [`Refused::Memory`]: a lent buffer is too small.
    pub fn poll(&mut self) -> Result<Output<'_>, Refused> {
        let piece = match self.stage {
            Stage::Open | Stage::Done => return Ok(Output::Idle),
            Stage::Encoding => return Ok(Output::Encode(self.block.get(..self.filled).unwrap_or_default())),
            Stage::Prologue => self.prologue(),
            Stage::Header => self.header(),
            Stage::Head => self.raw_head(),
            Stage::PieceHead(from) => self.piece_head(from),
            Stage::Piece(from) => self.piece(from),
            Stage::Sum => self.sum(),
            Stage::Stamps => self.end_block(),
            Stage::IndexHead => self.index_head(),
            Stage::IndexRow(at) => self.index_row(at),
            Stage::IndexEnd => self.index_end(),
            Stage::SeekHead => self.seek_head(),
            Stage::SeekRow(at) => self.seek_row(at),
            Stage::SeekFoot => self.seek_foot(),
        };
        let piece = piece.ok_or(Refused::Memory)?;
        self.offset += piece.len() as u64;
        Ok(Output::Append(
            match piece {
                Piece::Block(from, until) => self.block.get(from..until),
                Piece::Stamps(len) => Some(self.stamps.bytes(len)),
                Piece::Scratch(len) => self.scratch.get(..len),
            }
            .unwrap_or_default(),
        ))
    }

    /// Tells the frame that the caller made of a block and appended.
    ///
    /// # Errors
    /// [`Refused::Encoding`]: no block was to be encoded, or this is no frame.
    pub fn encoded(&mut self, frame: &[u8]) -> Result<(), Refused> {
        let bytes = u32::try_from(frame.len()).map_err(|_| Refused::Encoding)?;
        if self.stage != Stage::Encoding || frame.first_chunk() != Some(&zstd::MAGIC.to_le_bytes()) {
            return Err(Refused::Encoding);
        }
        self.row.encoded = bytes;
        self.row.encoded_crc = C::extend(0, frame);
        self.offset += u64::from(bytes);
        self.stage = Stage::Stamps;
        Ok(())
    }

    fn prologue(&mut self) -> Option<Piece> {
        let mut content = [0; PROLOGUE];
        let used = self.header.encode_prologue(&mut content)?;
        let bytes = zstd::encode_raw(content.get(..used)?, self.block)?;
        self.prologue_crc = C::extend(0, self.block.get(..bytes)?);
        self.frames[0] = u32::try_from(bytes).ok()?;
        self.stage = Stage::Header;
        Some(Piece::Block(0, bytes))
    }

    /// Encodes the header's map into the block, behind `from` bytes, and returns where it ends.
    fn put_header(&mut self, from: usize) -> Option<usize> {
        Some(from + self.header.encode(self.prologue_crc, self.block.get_mut(from..)?)?)
    }

    fn header(&mut self) -> Option<Piece> {
        let from = zstd::SKIPPABLE_HEAD + HEADER_TAG.len();
        let end = self.put_header(from)?;
        let content = u32::try_from(end + CRC - zstd::SKIPPABLE_HEAD).ok()?;
        let mut at = Cursor { bytes: self.block, at: 0 };
        at.put(&zstd::skippable_head(zstd::SKIPPABLE, content))?;
        at.put(&HEADER_TAG)?;
        let crc = C::extend(Seed::HEADER.at(self.offset), at.bytes.get(..end)?);
        at.at = end;
        at.put(&crc.to_le_bytes())?;
        self.frames[1] = u32::try_from(end + CRC).ok()?;
        self.stage = if self.finishing { Stage::IndexHead } else { Stage::Open };
        Some(Piece::Block(0, end + CRC))
    }

    fn close_block(&mut self) {
        let content = self.block.get(..self.filled).unwrap_or_default();
        self.row.offset = self.offset;
        self.row.raw_crc = C::extend(0, content);
        self.stage = if self.header.codec == Codec::Raw { Stage::Head } else { Stage::Encoding };
    }

    fn raw_head(&mut self) -> Option<Piece> {
        self.row.raw = u32::try_from(self.filled).ok()?;
        self.crc = 0;
        self.stage = Stage::PieceHead(0);
        let head = zstd::raw_head(self.row.raw);
        self.scratch(&head)
    }

    fn piece_head(&mut self, from: usize) -> Option<Piece> {
        let bytes = (self.filled - from).min(zstd::MAX_RAW);
        let last = from + bytes == self.filled;
        self.stage = Stage::Piece(from);
        let head = zstd::block_head(u32::try_from(bytes).ok()?, last);
        self.scratch(&head)
    }

    fn piece(&mut self, from: usize) -> Option<Piece> {
        let until = self.filled.min(from + zstd::MAX_RAW);
        self.crc = C::extend(self.crc, self.block.get(from..until)?);
        self.stage = if until == self.filled { Stage::Sum } else { Stage::PieceHead(until) };
        Some(Piece::Block(from, until))
    }

    fn sum(&mut self) -> Option<Piece> {
        let sum = zstd::checksum(self.block.get(..self.filled)?);
        let piece = self.scratch(&sum)?;
        self.row.encoded = u32::try_from(self.offset + sum.len() as u64 - self.row.offset).ok()?;
        self.row.encoded_crc = self.crc;
        self.stage = Stage::Stamps;
        Some(piece)
    }

    fn end_block(&mut self) -> Option<Piece> {
        let number = u32::try_from(self.rows).ok()?;
        let len = self.stamps.close::<C>(number, self.offset)?;
        self.row.raw = u32::try_from(self.filled).ok()?;
        self.row.stamps = u32::try_from(len).ok()?;
        *self.table.get_mut(self.rows)? = self.row;
        self.rows += 1;
        self.row = BlockRow::default();
        self.filled = 0;
        self.stage = if self.finishing { Stage::IndexHead } else { Stage::Open };
        Some(Piece::Stamps(len))
    }

    fn index_head(&mut self) -> Option<Piece> {
        let from = zstd::SKIPPABLE_HEAD + INDEX_TAG.len() + 4 + 4;
        let end = self.put_header(from)?;
        let rows = self.rows.checked_mul(ROW_BYTES)?;
        let content = u32::try_from(end.checked_add(rows)? + CRC - zstd::SKIPPABLE_HEAD).ok()?;
        let mut at = Cursor { bytes: self.block, at: 0 };
        at.put(&zstd::skippable_head(zstd::SKIPPABLE, content))?;
        at.put(&INDEX_TAG)?;
        at.put(&u32::try_from(end - from).ok()?.to_le_bytes())?;
        at.put(&u32::try_from(self.rows).ok()?.to_le_bytes())?;
        self.crc = C::extend(Seed::HEADER.at(self.offset), at.bytes.get(..end)?);
        self.frames[2] = content.checked_add(u32::try_from(zstd::SKIPPABLE_HEAD).ok()?)?;
        self.stage = if self.rows == 0 { Stage::IndexEnd } else { Stage::IndexRow(0) };
        Some(Piece::Block(0, end))
    }

    fn index_row(&mut self, at: usize) -> Option<Piece> {
        let row = self.table.get(at)?.encode();
        self.crc = C::extend(self.crc, &row);
        self.stage = if at + 1 == self.rows { Stage::IndexEnd } else { Stage::IndexRow(at + 1) };
        self.scratch(&row)
    }

    fn index_end(&mut self) -> Option<Piece> {
        self.stage = Stage::SeekHead;
        let crc = self.crc.to_le_bytes();
        self.scratch(&crc)
    }

    /// Frames in front of the seek table.
    fn seek_rows(&self) -> usize {
        2 * self.rows + self.frames.len()
    }

    fn seek_head(&mut self) -> Option<Piece> {
        self.stage = Stage::SeekRow(0);
        let content = self.seek_rows().checked_mul(zstd::SEEK_ROW)? + zstd::SEEK_FOOT;
        let head = zstd::skippable_head(zstd::SEEK_TABLE, u32::try_from(content).ok()?);
        self.scratch(&head)
    }

    fn seek_row(&mut self, at: usize) -> Option<Piece> {
        let last = self.seek_rows() - 1;
        let row = match at {
            0 => zstd::seek_row(self.frames[0], u32::try_from(PROLOGUE).ok()?),
            1 => zstd::seek_row(self.frames[1], 0),
            _ if at == last => zstd::seek_row(self.frames[2], 0),
            _ => {
                let row = self.table.get((at - 2) / 2)?;
                if at.is_multiple_of(2) {
                    zstd::seek_row(row.encoded, row.raw)
                } else {
                    zstd::seek_row(row.stamps, 0)
                }
            }
        };
        self.stage = if at == last { Stage::SeekFoot } else { Stage::SeekRow(at + 1) };
        self.scratch(&row)
    }

    fn seek_foot(&mut self) -> Option<Piece> {
        self.stage = Stage::Done;
        let foot = zstd::seek_foot(u32::try_from(self.seek_rows()).ok()?);
        self.scratch(&foot)
    }

    /// Hands out a few bytes; those of a raw block's frame count for its checksum.
    fn scratch(&mut self, bytes: &[u8]) -> Option<Piece> {
        if matches!(self.stage, Stage::PieceHead(_) | Stage::Piece(_) | Stage::Sum) {
            self.crc = C::extend(self.crc, bytes);
        }
        self.scratch.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Piece::Scratch(bytes.len()))
    }
}

/// Where bytes that are handed out stand.
enum Piece {
    Block(usize, usize),
    Stamps(usize),
    Scratch(usize),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Block(from, until) => until - from,
            Self::Stamps(len) | Self::Scratch(len) => *len,
        }
    }
}

const CRC: usize = 4;
const _: () = assert!(BLOCK_BYTES >= MIN_BLOCK && MIN_BLOCK <= zstd::MAX_RAW);
