//! The stamps of a block's entries: LSN, time in milliseconds, time of the commit.
//!
//! ```text
//!  | 53 2a 4d 18 | bytes u32 | "SAst" | block u32 | entries u32 | first LSN u64 | rows | crc u32 |
//!
//!  row   token | time, if FAR | LSNs left out, if GAP | commit - last commit, if COMMIT | further entries, if REPEAT
//!        token = milliseconds past the entry's timestamp << 4 | flags
//! ```
//!
//! Everything in a row is a base-128 varint, lowest seven bits first; the difference of commits is zigzag. Without GAP the LSN
//! is the next one; a GAP of 0 is the LSN of the entry before: both come from one record. REPEAT: as many further entries have the same milliseconds, the next LSNs and the same commit; so a block
//! of entries with whole seconds needs a few bytes. The checksum starts from the frame's offset.

use super::entry::{Entry, Stamp};
use super::{STAMPS_TAG, zstd};
use crate::codec::check::{Checksum, Seed};
use crate::codec::extent::{Cursor, Take};
use crate::codec::varint::{Varint, take};
use crate::types::{Lsn, Millis};

const REPEAT: u32 = 1;
const COMMIT: u32 = 2;
const GAP: u32 = 4;
const FAR: u32 = 8;
const FLAG_BITS: u32 = 4;

/// In front of the rows.
const HEAD: usize = zstd::SKIPPABLE_HEAD + 4 + 4 + 4 + 8;
const CRC: usize = 4;
/// Of the longest row.
const LONGEST_ROW: usize = 3 + 10 + 10 + 10 + 5;
/// Less memory than this can't hold the stamps of one entry.
pub const MIN_STAMPS: usize = HEAD + 2 * LONGEST_ROW + CRC;

/// Gathers the stamps of one block at a time.
#[derive(Debug)]
pub(super) struct Stamps<'m> {
    memory: &'m mut [u8],
    filled: usize,
    entries: u32,
    first: Lsn,
    last: Lsn,
    next: Lsn,
    commit: Millis,
    row: Option<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    millis: u32,
    far: Option<Millis>,
    /// LSNs left out; 0 is the LSN of the entry before once more.
    gap: Option<u64>,
    commit: u64,
    repeat: u32,
}

impl<'m> Stamps<'m> {
    pub(super) fn new(memory: &'m mut [u8]) -> Self {
        let (first, last, next, commit) = (Lsn(0), Lsn(0), Lsn(0), Millis(0));
        Self { memory, filled: HEAD, entries: 0, first, last, next, commit, row: None }
    }

    /// Whether there may be no room for another stamp.
    pub(super) fn is_full(&self) -> bool {
        self.memory.len() - self.filled.min(self.memory.len()) < 2 * LONGEST_ROW + CRC
    }

    pub(super) fn push(&mut self, entry: &Entry<'_>) -> Option<()> {
        let stamp = entry.stamp;
        if self.entries == 0 {
            (self.first, self.next) = (stamp.lsn, stamp.lsn);
        }
        let millis = entry.timestamp.checked_mul(1000).and_then(|start| stamp.time.0.checked_sub(start));
        let near = millis.filter(|millis| *millis < 1000).and_then(|millis| u32::try_from(millis).ok());
        let again = self.entries > 0 && self.last == stamp.lsn;
        let gap = if again { 0 } else { stamp.lsn.0.checked_sub(self.next.0)? };
        let row = Row {
            millis: near.unwrap_or(0),
            far: near.is_none().then_some(stamp.time),
            gap: (again || gap > 0).then_some(gap),
            commit: stamp.commit.0.wrapping_sub(self.commit.0),
            repeat: 0,
        };
        self.entries += 1;
        (self.last, self.next, self.commit) = (stamp.lsn, stamp.lsn.next(), stamp.commit);
        let plain = row.far.is_none() && row.gap.is_none() && row.commit == 0;
        match &mut self.row {
            Some(last) if plain && last.far.is_none() && last.millis == row.millis => last.repeat += 1,
            _ => {
                self.flush()?;
                self.row = Some(row);
            }
        }
        Some(())
    }

    fn flush(&mut self) -> Option<()> {
        let Some(row) = self.row.take() else { return Some(()) };
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = flag(row.repeat > 0, REPEAT) | flag(row.commit != 0, COMMIT);
        let flags = flags | flag(row.gap.is_some(), GAP) | flag(row.far.is_some(), FAR);
        self.varint(u64::from(row.millis << FLAG_BITS | flags))?;
        if let Some(time) = row.far {
            self.varint(time.0)?;
        }
        if let Some(gap) = row.gap {
            self.varint(gap)?;
        }
        if row.commit != 0 {
            self.varint(zigzag(row.commit))?;
        }
        if row.repeat != 0 {
            self.varint(u64::from(row.repeat))?;
        }
        Some(())
    }

    fn varint(&mut self, number: u64) -> Option<()> {
        let number = Varint::new(number);
        let end = self.filled + number.as_ref().len();
        self.memory.get_mut(self.filled..end)?.copy_from_slice(number.as_ref());
        self.filled = end;
        Some(())
    }

    /// Completes the frame of block `number`, which stands at `offset`, and returns its bytes; then it is empty again.
    pub(super) fn close<C: Checksum>(&mut self, number: u32, offset: u64) -> Option<usize> {
        self.flush()?;
        let end = self.filled;
        let head =
            zstd::skippable_head(zstd::SKIPPABLE, u32::try_from(end + CRC - zstd::SKIPPABLE_HEAD).ok()?);
        let mut at = Cursor { bytes: self.memory, at: 0 };
        at.put(&head)?;
        at.put(&STAMPS_TAG)?;
        at.put(&number.to_le_bytes())?;
        at.put(&self.entries.to_le_bytes())?;
        at.put(&self.first.0.to_le_bytes())?;
        let crc = C::extend(Seed::HEADER.at(offset), at.bytes.get(..end)?);
        at.at = end;
        at.put(&crc.to_le_bytes())?;
        (self.filled, self.entries, self.commit) = (HEAD, 0, Millis(0));
        Some(end + CRC)
    }

    pub(super) fn bytes(&self, len: usize) -> &[u8] {
        self.memory.get(..len).unwrap_or_default()
    }
}

/// Reads the stamps of one block, entry by entry.
#[derive(Clone, Copy, Debug)]
pub struct StampReader<'w> {
    rows: &'w [u8],
    last: Option<Lsn>,
    next: Lsn,
    commit: Millis,
    left: u32,
    row: Row,
}

impl<'w> StampReader<'w> {
    /// Checks a whole frame of stamps, which stands at `offset` and belongs to block `number`.
    pub(super) fn new<C: Checksum>(frame: &'w [u8], number: u32, offset: u64) -> Option<Self> {
        let (body, crc) = frame.split_last_chunk::<CRC>()?;
        let content = u32::try_from(frame.len().checked_sub(zstd::SKIPPABLE_HEAD)?).ok()?;
        let mut at = Take(body);
        if C::extend(Seed::HEADER.at(offset), body).to_le_bytes() != *crc
            || at.array()? != zstd::skippable_head(zstd::SKIPPABLE, content)
            || at.array()? != STAMPS_TAG
            || at.u32()? != number
        {
            return None;
        }
        let left = at.u32()?;
        let row = Row { millis: 0, far: None, gap: None, commit: 0, repeat: 0 };
        Some(Self { left, last: None, next: Lsn(at.u64()?), rows: at.0, commit: Millis(0), row })
    }

    /// Number of entries that have no stamp yet.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The stamp of the next entry, which has this timestamp, s. `None`: there is none, or its bytes can't be.
    pub fn stamp(&mut self, timestamp: u64) -> Option<Stamp> {
        self.left = self.left.checked_sub(1)?;
        if self.row.repeat > 0 {
            self.row.repeat -= 1;
        } else {
            self.read_row()?;
        }
        let near = || timestamp.checked_mul(1000)?.checked_add(u64::from(self.row.millis)).map(Millis);
        let time = match self.row.far {
            Some(time) => time,
            None => near()?,
        };
        let lsn = self.next;
        (self.last, self.next) = (Some(lsn), lsn.next());
        Some(Stamp { lsn, time, commit: self.commit })
    }

    fn read_row(&mut self) -> Option<()> {
        let rows = &mut self.rows;
        let token = u32::try_from(take(rows)?).ok()?;
        let far = if token & FAR != 0 { Some(Millis(take(rows)?)) } else { None };
        let gap = if token & GAP != 0 { Some(take(rows)?) } else { None };
        let commit = if token & COMMIT != 0 { unzigzag(take(rows)?) } else { 0 };
        let repeat = if token & REPEAT != 0 { u32::try_from(take(rows)?).ok()? } else { 0 };
        self.row = Row { millis: token >> FLAG_BITS, far, gap, commit, repeat };
        self.next = match gap {
            Some(0) => self.last?,
            gap => Lsn(self.next.0.checked_add(gap.unwrap_or(0))?),
        };
        self.commit = Millis(self.commit.0.wrapping_add(commit));
        (repeat == 0 || far.is_none()).then_some(())
    }

    /// Whether every stamp was read and nothing is left behind them.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left == 0 && self.row.repeat == 0 && self.rows.is_empty()
    }
}

fn zigzag(difference: u64) -> u64 {
    difference << 1 ^ (difference.cast_signed() >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::check::TableCheck;

    fn entry(timestamp: u64, lsn: u64, time: u64, commit: u64) -> Entry<'static> {
        let stamp = Stamp { lsn: Lsn(lsn), time: Millis(time), commit: Millis(commit) };
        Entry { timestamp, ..Entry::record("", stamp, &[]) }
    }

    fn frame(entries: &[Entry<'_>]) -> std::vec::Vec<u8> {
        let mut memory = vec![0; 100_000];
        let mut stamps = Stamps::new(&mut memory);
        for entry in entries {
            assert!(!stamps.is_full());
            stamps.push(entry).unwrap();
        }
        let len = stamps.close::<TableCheck>(7, 99).unwrap();
        stamps.bytes(len).to_vec()
    }

    #[test]
    fn whole_seconds_of_one_commit_take_one_row() {
        let entries: std::vec::Vec<_> = (0..300).map(|at| entry(at, 5 + at, at * 1000, 40)).collect();
        let frame = frame(&entries);
        assert_eq!(frame[12..HEAD], [7, 0, 0, 0, 0x2c, 1, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(frame[HEAD..frame.len() - 4], [3, 80, 0xab, 2]);
    }

    #[test]
    fn entries_of_one_record_share_its_lsn() {
        let entries = [entry(0, 5, 0, 0), entry(0, 5, 0, 0), entry(0, 5, 0, 0), entry(0, 6, 0, 0)];
        let frame = frame(&entries);
        assert_eq!(frame[HEAD..frame.len() - 4], [0, 4, 0, 4 | 1, 0, 1]);
        let mut reader = StampReader::new::<TableCheck>(&frame, 7, 99).unwrap();
        assert_eq!(entries.map(|_| reader.stamp(0).unwrap().lsn.0), [5, 5, 5, 6]);
    }

    #[test]
    fn every_flipped_bit_another_block_and_another_place_are_found() {
        let mut frame = frame(&[entry(1, 5, 1001, 2000), entry(1, 9, 1999, 2000)]);
        assert!(StampReader::new::<TableCheck>(&frame, 7, 99).is_some());
        assert!(StampReader::new::<TableCheck>(&frame, 8, 99).is_none());
        assert!(StampReader::new::<TableCheck>(&frame, 7, 98).is_none());
        for bit in 0..frame.len() * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(StampReader::new::<TableCheck>(&frame, 7, 99).is_none(), "bit {bit}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }

    fn times() -> impl Strategy<Value = (u64, u64, u64, u64)> {
        let near = (0..3_u64, 0..1000_u64, 0..2_u64).prop_map(|(s, ms, commit)| (s, s * 1000 + ms, commit));
        let far = any::<(u64, u64, u64)>();
        let steps = prop_oneof![4 => Just(1_u64), 1 => Just(0_u64), 1 => 1..1000_u64];
        (prop_oneof![4 => near, 1 => far], steps).prop_map(|((s, ms, commit), step)| (s, ms, commit, step))
    }

    proptest! {
        #[test]
        fn stamps_read_back(rows in proptest::collection::vec(times(), 0..60), start in 0..u64::MAX / 2) {
            let mut lsn = start;
            let entries: std::vec::Vec<_> = rows.iter().map(|(s, ms, commit, step)| {
                lsn += step;
                entry(*s, lsn, *ms, *commit)
            }).collect();
            let frame = frame(&entries);
            let mut reader = StampReader::new::<TableCheck>(&frame, 7, 99).unwrap();
            for entry in &entries {
                prop_assert!(!reader.is_spent());
                prop_assert_eq!(reader.stamp(entry.timestamp), Some(entry.stamp));
            }
            prop_assert!(reader.is_spent());
            prop_assert_eq!(reader.stamp(0), None);
        }

        #[test]
        fn any_rows_are_read_without_a_panic(rows: std::vec::Vec<u8>, left: u32, timestamp: u64) {
            let row = Row { millis: 0, far: None, gap: None, commit: 0, repeat: 0 };
            let mut reader = StampReader { rows: &rows, last: None, next: Lsn(1), commit: Millis(0), left, row };
            while reader.row.repeat < 1000 && reader.stamp(timestamp).is_some() {}
        }
    }
}
