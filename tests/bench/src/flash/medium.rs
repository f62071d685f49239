//! NOR flash in memory that counts what is done to it and can lose its power at any word.
//!
//! ```text
//!  read, program, erase ──► Nor ──► bytes        erased 0xFF; a program only clears bits
//!                            ├────► counts       reads, programs, erases, words programmed twice
//!                            └────► cut          at step n: the word or erase is torn, then nothing works until `boot`
//! ```
//!
//! A *step* is one word programmed or one block erased. A torn word keeps a random subset of the bits that it should have
//! cleared. A torn erase has set a prefix of the block, a suffix, or random bits. Programming a word that is not
//! erased clears further bits, as the parts do that allow it, and is counted: nothing is refused, so that every peer runs.

use core::cell::{Ref, RefCell, RefMut};
use core::fmt;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use embedded_storage_async::nor_flash as asynch;

use crate::chance::Chance;

/// A handle to a part with words of `W` bytes and erase blocks of `E` bytes. Clones are the same part.
#[derive(Clone)]
pub(crate) struct CountingFlash<const W: usize, const E: usize = 4096>(Rc<RefCell<Nor>>);

/// What was done to a part since it was made, or since `reset_counts`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    pub(crate) programs: u64,
    pub(crate) programmed_bytes: u64,
    /// Words programmed that had been programmed since their last erase.
    pub(crate) reprogrammed_words: u64,
    /// One count for each block.
    pub(crate) erases: Vec<u64>,
    /// Reads before the first program or erase.
    pub(crate) reads_before_change: u64,
}

impl Counts {
    /// Erases of all blocks.
    pub(crate) fn all_erases(&self) -> u64 {
        self.erases.iter().sum()
    }

    /// The most erased block against the least erased one.
    pub(crate) fn erase_spread(&self) -> u64 {
        let most = self.erases.iter().max().copied().unwrap_or(0);
        most - self.erases.iter().min().copied().unwrap_or(0)
    }
}

/// When the power goes, and how chance tears what was being done.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// Words and erases that still complete.
    pub(crate) after_steps: u64,
    pub(crate) chance: Chance,
}

/// Why a part does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NotAligned,
    OutOfBounds,
    /// The power is gone, until `boot`.
    Off,
    /// More operations since `boot` than anything that ends would need.
    Endless,
}

impl<const W: usize, const E: usize> CountingFlash<W, E> {
    /// An erased part.
    pub(crate) fn new(block_count: usize) -> Self {
        assert!(E.is_multiple_of(W), "a block is whole words");
        let nor = Nor {
            bytes: vec![ERASED; block_count * E],
            programmed: vec![false; block_count * E / W],
            counts: Counts { erases: vec![0; block_count], ..Counts::default() },
            cut: None,
            off: false,
            budget: BUDGET,
        };
        Self(Rc::new(RefCell::new(nor)))
    }

    /// Another part with the same content, powered, with its counts at zero.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self(Rc::new(RefCell::new(self.nor().clone())));
        copy.boot();
        copy.reset_counts();
        copy
    }

    /// Blocks.
    pub(crate) fn block_count(&self) -> usize {
        self.nor().bytes.len() / E
    }

    pub(crate) fn counts(&self) -> Counts {
        self.nor().counts.clone()
    }

    pub(crate) fn reset_counts(&self) {
        let mut nor = self.nor_mut();
        nor.counts = Counts { erases: vec![0; nor.bytes.len() / E], ..Counts::default() };
    }

    /// Arms a power cut.
    pub(crate) fn cut(&self, cut: Cut) {
        self.nor_mut().cut = Some(cut);
    }

    /// Power is back; an armed cut that did not happen is disarmed.
    pub(crate) fn boot(&self) {
        let mut nor = self.nor_mut();
        nor.cut = None;
        nor.off = false;
        nor.budget = BUDGET;
    }

    /// Whether the power is gone.
    pub(crate) fn is_off(&self) -> bool {
        self.nor().off
    }

    /// What the part holds.
    pub(crate) fn bytes(&self) -> Ref<'_, [u8]> {
        Ref::map(self.nor(), |nor| &nor.bytes[..])
    }

    /// Damages one bit.
    pub(crate) fn flip(&self, byte: usize, bit: u32) {
        self.nor_mut().bytes[byte] ^= 1 << bit;
    }

    fn nor(&self) -> Ref<'_, Nor> {
        self.0.borrow()
    }

    fn nor_mut(&self) -> RefMut<'_, Nor> {
        self.0.borrow_mut()
    }

    fn read_at(&self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        let mut nor = self.nor_mut();
        let from = nor.admit(offset, bytes.len(), 1)?;
        nor.counts.reads += 1;
        nor.counts.read_bytes += bytes.len() as u64;
        if nor.counts.programs == 0 && nor.counts.all_erases() == 0 {
            nor.counts.reads_before_change += 1;
        }
        bytes.copy_from_slice(&nor.bytes[from..from + bytes.len()]);
        Ok(())
    }

    fn program_at(&self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        let mut nor = self.nor_mut();
        let from = nor.admit(offset, bytes.len(), W)?;
        nor.counts.programs += 1;
        for (index, word) in bytes.chunks_exact(W).enumerate() {
            nor.program_word(from + index * W, word)?;
        }
        Ok(())
    }

    fn erase_range(&self, from: u32, to: u32) -> Result<(), Refused> {
        let mut nor = self.nor_mut();
        let len = to.checked_sub(from).ok_or(Refused::OutOfBounds)? as usize;
        let from = nor.admit(from, len, E)?;
        for start in (from..from + len).step_by(E) {
            nor.erase_block(start, E, W)?;
        }
        Ok(())
    }
}

/// The part itself.
#[derive(Clone)]
struct Nor {
    bytes: Vec<u8>,
    /// For each word: programmed since its last erase.
    programmed: Vec<bool>,
    counts: Counts,
    cut: Option<Cut>,
    off: bool,
    /// Operations until somebody is said to loop for ever.
    budget: u64,
}

impl Nor {
    /// Where an operation starts, if it may be done at all.
    fn admit(&mut self, offset: u32, len: usize, unit: usize) -> Result<usize, Refused> {
        let from = offset as usize;
        if self.off {
            return Err(Refused::Off);
        }
        if !from.is_multiple_of(unit) || !len.is_multiple_of(unit) {
            return Err(Refused::NotAligned);
        }
        if from + len > self.bytes.len() {
            return Err(Refused::OutOfBounds);
        }
        self.budget = self.budget.checked_sub(1).ok_or(Refused::Endless)?;
        Ok(from)
    }

    fn program_word(&mut self, at: usize, word: &[u8]) -> Result<(), Refused> {
        let torn = self.step();
        let was = core::mem::replace(&mut self.programmed[at / word.len()], true);
        self.counts.reprogrammed_words += u64::from(was);
        self.counts.programmed_bytes += word.len() as u64;
        let cells = &mut self.bytes[at..at + word.len()];
        match torn {
            None => cells.iter_mut().zip(word).for_each(|(cell, byte)| *cell &= byte),
            Some(mut chance) => {
                tear_word(&mut chance, cells, word);
                return Err(Refused::Off);
            }
        }
        Ok(())
    }

    fn erase_block(&mut self, start: usize, block_bytes: usize, word_bytes: usize) -> Result<(), Refused> {
        let torn = self.step();
        self.counts.erases[start / block_bytes] += 1;
        let cells = &mut self.bytes[start..start + block_bytes];
        match torn {
            None => {
                cells.fill(ERASED);
                self.programmed[start / word_bytes..(start + block_bytes) / word_bytes].fill(false);
            }
            Some(mut chance) => {
                tear_erase(&mut chance, cells);
                return Err(Refused::Off);
            }
        }
        Ok(())
    }

    /// One word or erase: the chance that tears it, if this is where the power goes.
    fn step(&mut self) -> Option<Chance> {
        let cut = self.cut.as_mut()?;
        if let Some(left) = cut.after_steps.checked_sub(1) {
            cut.after_steps = left;
            return None;
        }
        self.off = true;
        self.cut.take().map(|cut| cut.chance)
    }
}

/// Clears some of the bits that programming `word` would have cleared: none, all, or a random subset.
fn tear_word(chance: &mut Chance, cells: &mut [u8], word: &[u8]) {
    let kind = chance.below(8);
    for (cell, byte) in cells.iter_mut().zip(word) {
        let kept = match kind {
            0 => 0xff,
            1 => 0,
            _ => chance.bits() as u8,
        };
        *cell &= byte | kept;
    }
}

/// Sets a prefix, a suffix or random bits of a block.
fn tear_erase(chance: &mut Chance, cells: &mut [u8]) {
    let border = chance.below(cells.len() + 1);
    match chance.below(3) {
        0 => cells[..border].fill(ERASED),
        1 => cells[border..].fill(ERASED),
        _ => cells.iter_mut().for_each(|cell| *cell |= chance.bits() as u8),
    }
}

impl<const W: usize, const E: usize> ErrorType for CountingFlash<W, E> {
    type Error = Refused;
}

impl<const W: usize, const E: usize> ReadNorFlash for CountingFlash<W, E> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        self.read_at(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.nor().bytes.len()
    }
}

impl<const W: usize, const E: usize> NorFlash for CountingFlash<W, E> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = E;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        self.erase_range(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.program_at(offset, bytes)
    }
}

impl<const W: usize, const E: usize> asynch::ReadNorFlash for CountingFlash<W, E> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        self.read_at(offset, bytes)
    }

    fn capacity(&self) -> usize {
        ReadNorFlash::capacity(self)
    }
}

impl<const W: usize, const E: usize> asynch::NorFlash for CountingFlash<W, E> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = E;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        self.erase_range(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.program_at(offset, bytes)
    }
}

/// The same part for peers that ask for flash whose words may be programmed twice.
pub(crate) struct Multiwrite<const W: usize>(pub(crate) CountingFlash<W>);

impl<const W: usize> ErrorType for Multiwrite<W> {
    type Error = Refused;
}

impl<const W: usize> asynch::ReadNorFlash for Multiwrite<W> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        self.0.read_at(offset, bytes)
    }

    fn capacity(&self) -> usize {
        ReadNorFlash::capacity(&self.0)
    }
}

impl<const W: usize> asynch::NorFlash for Multiwrite<W> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        self.0.erase_range(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.0.program_at(offset, bytes)
    }
}

impl<const W: usize> asynch::MultiwriteNorFlash for Multiwrite<W> {}

impl NorFlashError for Refused {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::Off | Self::Endless => NorFlashErrorKind::Other,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAligned => "not aligned",
            Self::OutOfBounds => "out of bounds",
            Self::Off => "the power is gone",
            Self::Endless => "the budget of operations since boot is used up",
        })
    }
}

const ERASED: u8 = 0xff;
/// A thousand times what a mount of the largest part in the table takes.
const BUDGET: u64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    type Part = CountingFlash<4>;

    fn cut(after_steps: u64, seed: u64) -> Cut {
        Cut { after_steps, chance: Chance::new(seed) }
    }

    #[test]
    fn counts_are_what_was_done() {
        let mut part = Part::new(2);
        NorFlash::write(&mut part, 8, &[1; 12]).unwrap();
        NorFlash::write(&mut part, 16, &[0; 8]).unwrap();
        ReadNorFlash::read(&mut part, 7, &mut [0; 3]).unwrap();
        NorFlash::erase(&mut part, 0, 4096).unwrap();
        NorFlash::write(&mut part, 16, &[0; 4]).unwrap();
        let counts = part.counts();
        assert_eq!((counts.programs, counts.programmed_bytes, counts.reprogrammed_words), (3, 24, 1));
        assert_eq!((counts.reads, counts.read_bytes, counts.reads_before_change), (1, 3, 0));
        assert_eq!((counts.erases.clone(), counts.erase_spread()), (vec![1, 0], 1));
    }

    #[test]
    fn what_is_not_whole_units_or_outside_is_refused() {
        let mut part = Part::new(1);
        assert_eq!(NorFlash::write(&mut part, 2, &[0; 4]), Err(Refused::NotAligned));
        assert_eq!(NorFlash::write(&mut part, 0, &[0; 6]), Err(Refused::NotAligned));
        assert_eq!(NorFlash::erase(&mut part, 4, 4096), Err(Refused::NotAligned));
        assert_eq!(NorFlash::write(&mut part, 4096, &[0; 4]), Err(Refused::OutOfBounds));
        assert!(part.bytes().iter().all(|byte| *byte == ERASED));
    }

    #[test]
    fn a_cut_tears_one_word_and_nothing_works_until_boot() {
        for seed in 0..200 {
            let mut part = Part::new(1);
            part.cut(cut(1, seed));
            assert_eq!(NorFlash::write(&mut part, 0, &[0x0f; 12]), Err(Refused::Off));
            assert_eq!(ReadNorFlash::read(&mut part, 0, &mut [0]), Err(Refused::Off));
            assert!(part.is_off());
            part.boot();
            let bytes = part.bytes();
            assert_eq!(bytes[..4], [0x0f; 4]);
            assert!(bytes[4..8].iter().all(|byte| byte & 0x0f == 0x0f));
            assert_eq!(bytes[8..12], [ERASED; 4]);
        }
    }

    #[test]
    fn a_torn_erase_sets_bits_and_clears_none() {
        let mut kinds = [0; 3];
        for seed in 0..200 {
            let mut part = Part::new(2);
            NorFlash::write(&mut part, 0, &[0x55; 8192]).unwrap();
            part.cut(cut(0, seed));
            assert_eq!(NorFlash::erase(&mut part, 0, 4096), Err(Refused::Off));
            part.boot();
            let bytes = part.bytes();
            assert!(bytes[..4096].iter().all(|byte| byte & 0x55 == 0x55));
            assert!(bytes[4096..].iter().all(|byte| *byte == 0x55));
            let mixed = bytes[..4096].iter().any(|byte| *byte != 0x55 && *byte != ERASED);
            kinds[if mixed { 2 } else { usize::from(bytes[0] == ERASED) }] += 1;
        }
        assert!(kinds.iter().all(|times| *times > 20), "{kinds:?}");
    }

    #[test]
    fn every_step_can_be_the_last() {
        for after_steps in 0..6 {
            let mut part = CountingFlash::<8>::new(2);
            part.cut(cut(after_steps, 7));
            let done =
                NorFlash::write(&mut part, 0, &[0; 32]).and_then(|()| NorFlash::erase(&mut part, 0, 8192));
            assert_eq!(done, Err(Refused::Off), "{after_steps}");
        }
    }
}
