//! What the host reads out of a flash file, without the image: the one place that knows how samples are kept.
//!
//! With `strandline-flash` linked into the image, `read` opens the dump with the same crate and returns the records; the rounds
//! stay as they are.

use std::collections::BTreeSet;

/// What a flash file holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Numbers of whole samples.
    pub(crate) samples: BTreeSet<u32>,
    /// Where a sample was being programmed when an end came.
    pub(crate) torn_samples: BTreeSet<usize>,
    /// Blocks that were being erased then.
    pub(crate) torn_erases: BTreeSet<usize>,
    /// What no end explains.
    pub(crate) damaged: Vec<String>,
}

/// Reads a flash file.
pub(crate) fn read(flash: &[u8]) -> Found {
    let mut found = Found::default();
    for (index, block) in flash.chunks(BLOCK_BYTES).enumerate() {
        let slots: Vec<_> = block.chunks(SAMPLE_BYTES).map(Slot::read).collect();
        let erased_first = slots.iter().take_while(|slot| **slot == Slot::Erased).count();
        // An erase goes upwards, and samples are programmed upwards: what follows erased slots was not reached by an erase.
        if erased_first > 0 && erased_first < slots.len() {
            found.torn_erases.insert(index);
        }
        for (place, slot) in slots.iter().enumerate() {
            match slot {
                Slot::Erased => {}
                Slot::Whole(number) => drop(found.samples.insert(*number)),
                Slot::Begun => drop(found.torn_samples.insert(index * SLOTS as usize + place)),
                Slot::Damaged => found.damaged.push(format!("block {index} holds what nobody programmed")),
            }
        }
    }
    found
}

/// Where sample `number` is missed, if it must be there: the ring drops the oldest two blocks at most.
pub(crate) fn must_be_kept(number: u32, newest: u32) -> bool {
    number + (BLOCKS - 2) * SLOTS > newest
}

/// The number that a start goes on with.
pub(crate) fn next_after(newest: Option<u32>) -> u32 {
    newest.map_or(0, |newest| (newest / SLOTS + 1) * SLOTS)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Erased,
    Whole(u32),
    /// The first words of a sample, the others erased.
    Begun,
    Damaged,
}

impl Slot {
    fn read(bytes: &[u8]) -> Self {
        let words: Vec<_> = bytes.chunks_exact(4).map(word).collect();
        let programmed = words.iter().take_while(|word| **word != ERASED).count();
        let wanted = sample(words[0]);
        if programmed == 0 && words.iter().all(|word| *word == ERASED) {
            Self::Erased
        } else if words == wanted {
            Self::Whole(words[0])
        } else if words[..programmed] == wanted[..programmed]
            && words[programmed..].iter().all(|word| *word == ERASED)
        {
            Self::Begun
        } else {
            Self::Damaged
        }
    }
}

/// The words of sample `number`, as the image makes them.
fn sample(number: u32) -> Vec<u32> {
    let next = |word: &u32| Some(word.wrapping_mul(747_796_405).wrapping_add(2_891_336_453));
    core::iter::successors(Some(number), next).take(SAMPLE_BYTES / 4).collect()
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

pub(crate) const FLASH_BYTES: usize = BLOCKS as usize * BLOCK_BYTES;
const BLOCKS: u32 = 16;
const BLOCK_BYTES: usize = 4096;
const SAMPLE_BYTES: usize = 64;
const SLOTS: u32 = 64;
const ERASED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u32) -> Vec<u8> {
        sample(number).iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_slot_is_erased_whole_begun_or_damaged() {
        let mut slot = bytes(7);
        assert_eq!(Slot::read(&slot), Slot::Whole(7));
        slot[8..].fill(0xff);
        assert_eq!(Slot::read(&slot), Slot::Begun);
        slot[60] = 0;
        assert_eq!(Slot::read(&slot), Slot::Damaged);
        assert_eq!(Slot::read(&[0xff; 64]), Slot::Erased);
        let mut slot = bytes(7);
        slot[20] ^= 1;
        assert_eq!(Slot::read(&slot), Slot::Damaged);
    }

    #[test]
    fn an_erase_that_did_not_end_is_seen() {
        let mut flash = vec![0xff; FLASH_BYTES];
        for number in 0..64 {
            flash[number as usize * 64..][..64].copy_from_slice(&bytes(number));
        }
        assert!(read(&flash).torn_erases.is_empty());
        flash[..256].fill(0xff);
        let found = read(&flash);
        assert_eq!((found.torn_erases.len(), found.samples.len(), found.damaged.len()), (1, 60, 0));
    }
}
