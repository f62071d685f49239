//! Reads an archive from windows: its end, its front, then blocks in any order.
//!
//! ```text
//!  | prologue | HEADER | block | STAMPS | ... | INDEX | SEEK TABLE |
//!                                                        '- Tail -'   1. Tail::read: where the index is
//!                                             '------- Index -----'   2. Index::read: header, rows
//!  '---- check_front --'                                              3. the front says the same
//!                      '-- row.check ----'                            4. a block and its stamps verify
//!                        content ─► entries                           5. decoded, its entries one by one
//! ```
//!
//! Three levels of verification follow: *quick* is 1 to 3, *blocks* adds 4 for every block, *full* adds 5 and compares what is
//! counted with the header ([`Audit`]). Every bit of an archive is under a checksum, or is compared with what it must be. Files of
//! SnelDB have neither index nor stamps: decompressed, they are a [`super::Prologue`] and [`Entry`]s.

use super::entry::Entry;
use super::pack::Stop;
use super::stamps::StampReader;
use super::{BlockRow, HEADER_TAG, Header, INDEX_TAG, MAX_BLOCK, PROLOGUE, Prologue, ROW_BYTES, Totals};
use super::{Unreadable, zstd};
use crate::codec::check::{Checksum, Seed};
use crate::codec::extent::Take;
use crate::types::Lsn;

/// Bytes at the end of a file that [`Tail::read`] wants.
pub const TAIL_BYTES: usize = zstd::SEEK_ROW + zstd::SEEK_FOOT;

const CRC: usize = 4;
const PROLOGUE_FRAME: usize = zstd::RAW_HEAD + zstd::BLOCK_HEAD + PROLOGUE + zstd::CHECKSUM;
/// Of a frame: zstd makes incompressible content at most this much larger.
const MAX_ENCODED: usize = MAX_BLOCK + MAX_BLOCK / 128 + 1024;
const INDEX_HEAD: usize = zstd::SKIPPABLE_HEAD + INDEX_TAG.len() + 4 + 4;

/// Where the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Offset of the index; it and the seek table reach to the end of the file.
    pub offset: u64,
    /// Bytes from there to the end of the file.
    pub bytes: u64,
    /// Bytes of the index alone.
    index: u32,
}

impl Tail {
    /// Finds the index from the last [`TAIL_BYTES`] bytes of a file.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`]: the file does not end as an archive of ours does.
    pub fn read(window: &[u8], file_bytes: u64) -> Result<Self, Unreadable> {
        let find = || {
            let (rest, foot) = window.split_last_chunk::<{ zstd::SEEK_FOOT }>()?;
            let last = rest.last_chunk::<{ zstd::SEEK_ROW }>()?;
            let rows = zstd::seek_rows(foot).filter(|rows| *rows >= 3 && rows % 2 == 1)?;
            let index = u32::from_le_bytes(*last.first_chunk()?);
            let table = zstd::SKIPPABLE_HEAD + zstd::SEEK_FOOT;
            let bytes = u64::from(rows) * zstd::SEEK_ROW as u64 + table as u64 + u64::from(index);
            Some(Self { offset: file_bytes.checked_sub(bytes)?, bytes, index })
        };
        find().ok_or(Unreadable::Damaged)
    }
}

/// What the end of an archive says.
#[derive(Clone, Copy, Debug)]
pub struct Index<'w> {
    /// Whose it is and what is in it.
    pub header: Header<'w>,
    map: &'w [u8],
    rows: &'w [u8],
    prologue_crc: u32,
    /// Bytes of the prologue's and the header's frames.
    front: (u32, u32),
}

impl<'w> Index<'w> {
    /// Reads the `tail.bytes` bytes at `tail.offset`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read<C: Checksum>(tail: Tail, window: &'w [u8]) -> Result<Self, Unreadable> {
        let (frame, table) = Self::split(tail, window).ok_or(Unreadable::Damaged)?;
        let (body, crc) = frame.split_last_chunk::<CRC>().ok_or(Unreadable::Damaged)?;
        if C::extend(Seed::HEADER.at(tail.offset), body).to_le_bytes() != *crc {
            return Err(Unreadable::Damaged);
        }
        let index = Self::again(tail, window)?;
        index.compare(tail, table).ok_or(Unreadable::Damaged)
    }

    /// The same for bytes that [`Self::read`] has taken before: they are not verified a second time.
    ///
    /// # Errors
    /// [`Unreadable`], if they are others.
    pub fn again(tail: Tail, window: &'w [u8]) -> Result<Self, Unreadable> {
        let (frame, table) = Self::split(tail, window).ok_or(Unreadable::Damaged)?;
        let (map, rows) = Self::parts(tail, frame).ok_or(Unreadable::Damaged)?;
        let (header, prologue_crc) = Header::decode(map)?;
        let front = Self::front_of(table).ok_or(Unreadable::Damaged)?;
        Ok(Self { header, map, rows, prologue_crc, front })
    }

    /// The index's frame and the seek table.
    fn split(tail: Tail, window: &'w [u8]) -> Option<(&'w [u8], &'w [u8])> {
        window.split_at_checked(usize::try_from(tail.index).ok()?)
    }

    /// The header's map and the rows.
    fn parts(tail: Tail, frame: &'w [u8]) -> Option<(&'w [u8], &'w [u8])> {
        let (body, _) = frame.split_last_chunk::<CRC>()?;
        let content = tail.index.checked_sub(u32::try_from(zstd::SKIPPABLE_HEAD).ok()?)?;
        let mut at = Take(body);
        if at.array()? != zstd::skippable_head(zstd::SKIPPABLE, content) || at.array()? != INDEX_TAG {
            return None;
        }
        let (map, rows) = (at.u32()?, at.u32()?);
        let (map, of_rows) = body.get(INDEX_HEAD..)?.split_at_checked(usize::try_from(map).ok()?)?;
        let expected = usize::try_from(rows).ok()?.checked_mul(ROW_BYTES)?;
        (of_rows.len() == expected).then_some((map, of_rows))
    }

    /// Bytes of the prologue's and the header's frames, by the seek table.
    fn front_of(table: &[u8]) -> Option<(u32, u32)> {
        let mut at = Take(table.get(zstd::SKIPPABLE_HEAD..)?);
        let (prologue, content, header) = (at.u32()?, at.u32()?, at.u32()?);
        let is_front = u32::try_from(PROLOGUE) == Ok(content) && at.u32()? == 0;
        is_front.then_some((prologue, header))
    }

    /// Compares the rows with each other, with the header and with the seek table, which is known to the byte.
    fn compare(self, tail: Tail, table: &[u8]) -> Option<Self> {
        self.compare_sizes()?;
        self.compare_totals()?;
        let rows = u32::try_from(self.blocks()).ok()?.checked_mul(2)?.checked_add(3)?;
        let bytes = usize::try_from(rows).ok()?.checked_mul(zstd::SEEK_ROW)? + zstd::SEEK_FOOT;
        let mut at = Take(table);
        if at.array()? != zstd::skippable_head(zstd::SEEK_TABLE, u32::try_from(bytes).ok()?) {
            return None;
        }
        at.array::<{ 2 * zstd::SEEK_ROW }>()?;
        let mut next = u64::from(self.front.0) + u64::from(self.front.1);
        let (mut entries, mut lsn) = (0_u32, None);
        for row in self.rows() {
            let adds_up = row.offset == next && row.entries > 0 && fits(&row);
            let seek = [zstd::seek_row(row.encoded, row.raw), zstd::seek_row(row.stamps, 0)];
            if !adds_up || lsn > Some(row.first) || [at.array()?, at.array()?] != seek {
                return None;
            }
            lsn = Some(row.first);
            next = next.checked_add(u64::from(row.encoded) + u64::from(row.stamps))?;
            entries = entries.checked_add(row.entries)?;
        }
        let end = (at.array()?, at.array()?);
        let ends = end == (zstd::seek_row(tail.index, 0), zstd::seek_foot(rows)) && at.0.is_empty();
        (ends && next == tail.offset && entries == self.header.totals.entries).then_some(self)
    }

    /// The front is as large as what stands in it.
    fn compare_sizes(&self) -> Option<()> {
        let header = zstd::SKIPPABLE_HEAD + HEADER_TAG.len() + self.map.len() + CRC;
        let is_right = |bytes: u32, wanted: usize| usize::try_from(bytes) == Ok(wanted);
        (is_right(self.front.0, PROLOGUE_FRAME) && is_right(self.front.1, header)).then_some(())
    }

    /// The header says of LSNs and times what the rows say, as far as they can be known without the entries.
    fn compare_totals(&self) -> Option<()> {
        let totals = &self.header.totals;
        let Some(first) = self.row(0) else { return (*totals == Totals::NONE).then_some(()) };
        let (mut times, mut last, mut raw) = ((first.earliest, first.latest), first.first, 0);
        for row in self.rows().filter(|row| row.entries > 0) {
            if row.earliest > row.latest {
                return None;
            }
            times = (times.0.min(row.earliest), times.1.max(row.latest));
            (last, raw) = (row.first, raw.max(row.raw));
        }
        let lsns = totals.lsns.0 == first.first && last <= totals.lsns.1;
        let fits = totals.largest <= usize::try_from(raw).ok()?;
        let right = lsns && fits && totals.times == times && totals.timestamps.0 <= totals.timestamps.1;
        right.then_some(())
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.rows.len() / ROW_BYTES
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = BlockRow> + use<'w> {
        self.rows.chunks_exact(ROW_BYTES).filter_map(BlockRow::decode)
    }

    /// The row of a block, counted from 0.
    #[must_use]
    pub fn row(&self, block: usize) -> Option<BlockRow> {
        let from = block.checked_mul(ROW_BYTES)?;
        BlockRow::decode(self.rows.get(from..from.checked_add(ROW_BYTES)?)?)
    }

    /// The first block that may hold an LSN. Entries of one record share its LSN, and may stand in two blocks.
    #[must_use]
    pub fn block_of(&self, lsn: Lsn) -> usize {
        let (mut low, mut high) = (0, self.blocks());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.row(middle).is_some_and(|row| row.first < lsn) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }

    /// Bytes at the start of the file that [`Self::check_front`] wants.
    #[must_use]
    pub fn front_bytes(&self) -> u64 {
        u64::from(self.front.0) + u64::from(self.front.1)
    }

    /// Checks that the front of the file says what the index says.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`].
    pub fn check_front<C: Checksum>(&self, window: &[u8]) -> Result<(), Unreadable> {
        self.front::<C>(window).ok_or(Unreadable::Damaged)
    }

    fn front<C: Checksum>(&self, window: &[u8]) -> Option<()> {
        let (prologue, frame) = window.split_at_checked(usize::try_from(self.front.0).ok()?)?;
        let mut content = [0; PROLOGUE];
        zstd::decode_raw(prologue, &mut content)?;
        let (version_1, used) = Prologue::decode(&content).ok()?;
        let (body, crc) = frame.split_last_chunk::<CRC>()?;
        let bytes = self.front.1.checked_sub(u32::try_from(zstd::SKIPPABLE_HEAD).ok()?)?;
        let mut at = Take(body);
        let good = C::extend(0, prologue) == self.prologue_crc
            && version_1 == self.header.prologue()
            && used == PROLOGUE
            && at.array()? == zstd::skippable_head(zstd::SKIPPABLE, bytes)
            && at.array()? == HEADER_TAG
            && at.0 == self.map
            && C::extend(Seed::HEADER.at(u64::from(self.front.0)), body).to_le_bytes() == *crc;
        good.then_some(())
    }
}

impl BlockRow {
    /// Checks this block, the one with this `number`, and its stamps in the window of `encoded + stamps` bytes at `offset`.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`].
    pub fn check<'b, C: Checksum>(&self, number: usize, window: &'b [u8]) -> Result<Block<'b>, Unreadable> {
        let check = || {
            let (frame, stamps) = window.split_at_checked(usize::try_from(self.encoded).ok()?)?;
            let right = stamps.len() as u64 == u64::from(self.stamps);
            if !right || C::extend(0, frame) != self.encoded_crc {
                return None;
            }
            let at = self.offset + u64::from(self.encoded);
            let stamps = StampReader::new::<C>(stamps, u32::try_from(number).ok()?, at)?;
            (stamps.left() == self.entries).then_some(Block { row: *self, frame, stamps })
        };
        check().ok_or(Unreadable::Damaged)
    }
}

/// Whether a block can be as large as its row says: no length drives an allocation before it is bounded.
fn fits(row: &BlockRow) -> bool {
    let sizes = [row.raw, row.encoded, row.stamps].map(|bytes| bytes as usize);
    let bounded = sizes[0] <= MAX_BLOCK && sizes[1] <= MAX_ENCODED && sizes[2] <= MAX_BLOCK;
    // An entry takes some bytes, so that its block has fewer of them.
    bounded && row.entries <= row.raw
}

/// Whether a file that does not end as an archive of ours begins as one: then it is damaged, and not SnelDB's. `window` is the
/// first few hundred bytes.
#[must_use]
pub fn begins_as_ours(window: &[u8]) -> bool {
    let mut at = Take(window.get(PROLOGUE_FRAME..).unwrap_or_default());
    let magic = at.u32() == Some(zstd::SKIPPABLE);
    let _ = at.u32();
    magic && at.array() == Some(HEADER_TAG)
}

/// A block that verified, still encoded.
#[derive(Clone, Copy, Debug)]
pub struct Block<'b> {
    /// Its row.
    pub row: BlockRow,
    /// Its zstd frame.
    pub frame: &'b [u8],
    stamps: StampReader<'b>,
}

impl<'b> Block<'b> {
    /// Decodes a block that was not compressed to the start of `out`, which has `row.raw` bytes or more, and returns its length.
    #[must_use]
    pub fn decode_raw(&self, out: &mut [u8]) -> Option<usize> {
        zstd::decode_raw(self.frame, out)
    }

    /// The LSNs of its first and its last entry, which is not below the first, by its stamps. `None`: its stamps can't be.
    #[must_use]
    pub fn lsns(&self) -> Option<(Lsn, Lsn)> {
        let mut stamps = self.stamps;
        // The time that comes out is not looked at.
        let first = stamps.stamp(0)?.lsn;
        let mut last = first;
        while stamps.left() > 0 {
            last = stamps.stamp(0)?.lsn;
        }
        Some((first, last))
    }

    /// The entries of the block, whose content was decoded.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`]: it is not the content.
    pub fn entries<'c, C: Checksum>(&self, content: &'c [u8]) -> Result<Entries<'c, 'b>, Unreadable> {
        let right =
            content.len() as u64 == u64::from(self.row.raw) && C::extend(0, content) == self.row.raw_crc;
        right.then_some(Entries { content, stamps: self.stamps, ended: false }).ok_or(Unreadable::Damaged)
    }
}

/// The entries of a block. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Entries<'c, 'b> {
    content: &'c [u8],
    stamps: StampReader<'b>,
    ended: bool,
}

impl<'c> Entries<'c, '_> {
    fn entry(&mut self) -> Result<Entry<'c>, Stop> {
        let (mut entry, used) = Entry::decode(self.content, super::entry::Stamp::default())?;
        entry.stamp = self.stamps.stamp(entry.timestamp).ok_or(Stop::Bad)?;
        self.content = self.content.get(used..).ok_or(Stop::Bad)?;
        Ok(entry)
    }
}

impl<'c> Iterator for Entries<'c, '_> {
    type Item = Result<Entry<'c>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.content.is_empty() {
            self.ended = true;
            return (!self.stamps.is_spent()).then_some(Err(Unreadable::Damaged));
        }
        let entry = self.entry().map_err(|_| Unreadable::Damaged);
        self.ended = entry.is_err();
        Some(entry)
    }
}

/// Counts what was read, for the last comparison of a full verification.
#[derive(Clone, Copy, Debug)]
pub struct Audit {
    seen: Totals,
}

impl Default for Audit {
    fn default() -> Self {
        Self { seen: Totals::NONE }
    }
}

impl Audit {
    /// Counts the next entry, of the block with this row.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`]: the LSN descends, or the time is outside of the row's.
    pub fn count(&mut self, row: &BlockRow, entry: &Entry<'_>) -> Result<(), Unreadable> {
        let stamp = entry.stamp;
        let ascends = self.seen.entries == 0 || stamp.lsn >= self.seen.lsns.1;
        if !ascends || stamp.lsn < row.first || stamp.time < row.earliest || stamp.time > row.latest {
            return Err(Unreadable::Damaged);
        }
        self.seen.count(entry);
        Ok(())
    }

    /// Whether everything that the header says is there was there.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`].
    pub fn finish(&self, totals: &Totals) -> Result<(), Unreadable> {
        if self.seen == *totals { Ok(()) } else { Err(Unreadable::Damaged) }
    }
}
