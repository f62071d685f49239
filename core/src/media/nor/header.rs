//! The two parts of a block's header.
//!
//! ```text
//!  0         1       2       4        8       12      16 (padded to the word)
//!  | version | sizes | count | erases | label | check |             erase part, right after the erase
//!  | sequence | fence u64 | floor | run | check |                   open part, at first use
//!  0          4           12      16    20      24 (padded to the word)
//! ```
//!
//! `sizes` holds the binary logarithms of the word and of the block. `label` is the checksum of the store id. `fence` is the LSN
//! of the first new record, `floor` the oldest block that is needed, `run` the first block of the snapshot that the block is
//! part of, 0 for a block of the log.

use super::{ERASED, Geometry, Volume};
use crate::codec::check::{Checksum, Seed};
use crate::codec::extent::Take;
use crate::types::Lsn;

/// Bytes of the erase part.
pub(super) const ERASE_PART: u32 = 16;
/// Bytes of the open part.
pub(super) const OPEN_PART: u32 = 24;

const VERSION: u8 = 0xd1;
/// In block 0 while the partition is being formatted.
const UNFINISHED: u8 = 0xdf;
/// Set apart from every offset of an open part, which is seeded with the block's index.
const ERASE_SEED: u64 = 0xffff_ffff;

/// What an erase part says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Erased {
    /// It does not verify.
    Absent,
    /// Another geometry.
    OtherGeometry,
    /// Another store.
    OtherStore,
    /// Another format.
    OtherVersion,
    /// Formatting was cut.
    Unfinished,
    /// How often the block was erased.
    Ours(u32),
}

/// Lays out an erase part.
pub(super) fn put_erased<C: Checksum>(
    volume: Volume,
    erases: u32,
    finished: bool,
    out: &mut [u8],
) -> Option<()> {
    let version = if finished { VERSION } else { UNFINISHED };
    let [low, high, ..] = volume.geometry.block_count().to_le_bytes();
    zero(out);
    put(out, 0, [version, volume.geometry.sizes(), low, high])?;
    put(out, 4, erases.to_le_bytes())?;
    put(out, 8, volume.label.to_le_bytes())?;
    close::<C>(out, Seed::HEADER.at(ERASE_SEED), 12)
}

/// Reads an erase part. Its checksum starts from constants, so that any store's is recognised.
pub(super) fn take_erased<C: Checksum>(volume: Volume, part: &[u8]) -> Erased {
    let Some(()) = verify::<C>(part, Seed::HEADER.at(ERASE_SEED), 12) else { return Erased::Absent };
    let mut at = Take(part);
    let (Some([version, found, low, high]), Some(erases), Some(label)) =
        (at.array::<4>(), at.u32(), at.u32())
    else {
        return Erased::Absent;
    };
    let count = u32::from(u16::from_le_bytes([low, high]));
    if version == UNFINISHED {
        Erased::Unfinished
    } else if version != VERSION {
        Erased::OtherVersion
    } else if found != volume.geometry.sizes() || count != volume.geometry.block_count() {
        Erased::OtherGeometry
    } else if label != volume.label {
        Erased::OtherStore
    } else {
        Erased::Ours(erases)
    }
}

/// Whose partition it is, and its sizes, by an erase part of this version.
pub(super) fn identify<C: Checksum>(part: &[u8]) -> Option<Volume> {
    verify::<C>(part, Seed::HEADER.at(ERASE_SEED), 12)?;
    let mut at = Take(part);
    let [version, sizes, low, high] = at.array::<4>()?;
    let (_, label) = (at.u32()?, at.u32()?);
    let (word, block) =
        (1_u32.checked_shl(u32::from(sizes & 0x0f))?, 256_u32.checked_shl(u32::from(sizes >> 4))?);
    let count = u32::from(u16::from_le_bytes([low, high]));
    let geometry = Geometry::new(word, block, count).ok().filter(|_| version == VERSION)?;
    Some(Volume { geometry, label })
}

/// An open part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) sequence: u32,
    pub(super) fence: Lsn,
    pub(super) floor: u32,
    pub(super) run: u32,
}

/// What stands where an open part is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Blank,
    Bad,
    Open(Open),
}

impl Open {
    /// Lays out the part for the block of its sequence number.
    pub(super) fn put<C: Checksum>(&self, volume: Volume, out: &mut [u8]) -> Option<()> {
        zero(out);
        put(out, 0, self.sequence.to_le_bytes())?;
        put(out, 4, self.fence.0.to_le_bytes())?;
        put(out, 12, self.floor.to_le_bytes())?;
        put(out, 16, self.run.to_le_bytes())?;
        close::<C>(out, seed::<C>(volume, volume.geometry.block_of(self.sequence)), 20)
    }

    /// Reads the part of a block.
    pub(super) fn take<C: Checksum>(volume: Volume, block: u32, part: &[u8]) -> Opened {
        if part.iter().all(|byte| *byte == ERASED) {
            return Opened::Blank;
        }
        Self::parse::<C>(volume, block, part).map_or(Opened::Bad, Opened::Open)
    }

    fn parse<C: Checksum>(volume: Volume, block: u32, part: &[u8]) -> Option<Self> {
        verify::<C>(part, seed::<C>(volume, block), 20)?;
        let mut at = Take(part);
        let open = Self { sequence: at.u32()?, fence: Lsn(at.u64()?), floor: at.u32()?, run: at.u32()? };
        let first = volume.geometry.first();
        // The last number has none behind it: whoever goes on from there would stay there.
        let sane = open.sequence >= first
            && open.sequence < u32::MAX
            && volume.geometry.block_of(open.sequence) == block
            && open.floor >= first
            && open.floor <= open.sequence
            && open.run <= open.sequence;
        sane.then_some(open)
    }
}

/// An open part is seeded with its store and its block's index: it is read before a sequence number is known.
fn seed<C: Checksum>(volume: Volume, block: u32) -> u32 {
    C::extend(volume.label, b"h") ^ block
}

/// Puts a field at an offset of the rulers above. Arrays, not slices: a slice's copy would bring a panic along.
pub(super) fn put<const N: usize>(out: &mut [u8], at: usize, field: [u8; N]) -> Option<()> {
    *out.get_mut(at..)?.first_chunk_mut::<N>()? = field;
    Some(())
}

fn zero(out: &mut [u8]) {
    for byte in out {
        *byte = 0;
    }
}

/// Puts the checksum of the first `at` bytes behind them.
fn close<C: Checksum>(part: &mut [u8], seed: u32, at: usize) -> Option<()> {
    let (covered, rest) = part.split_at_mut_checked(at)?;
    *rest.first_chunk_mut::<4>()? = C::extend(seed, covered).to_le_bytes();
    Some(())
}

fn verify<C: Checksum>(part: &[u8], seed: u32, at: usize) -> Option<()> {
    let (covered, rest) = part.split_at_checked(at)?;
    (*rest.first_chunk::<4>()? == C::extend(seed, covered).to_le_bytes()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::check::TableCheck;
    use crate::types::StoreId;

    #[test]
    fn an_open_part_reads_back_unless_nothing_can_follow_it() {
        let geometry = Geometry::new(4, 256, 3).unwrap();
        let volume = Volume::new::<TableCheck>(geometry, StoreId([7; 16]));
        for (sequence, there) in [(3, true), (u32::MAX - 1, true), (u32::MAX, false)] {
            let open = Open { sequence, fence: Lsn(9), floor: 3, run: 0 };
            let mut part = [0; OPEN_PART as usize];
            open.put::<TableCheck>(volume, &mut part).unwrap();
            let taken = Open::take::<TableCheck>(volume, geometry.block_of(sequence), &part);
            assert_eq!(taken, if there { Opened::Open(open) } else { Opened::Bad }, "{sequence}");
        }
    }
}
