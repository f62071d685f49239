//! The simulated NOR medium: what flash does when the power goes.
//!
//! ```text
//!          erase           program                 cut in a program            boot
//!  block ────────► ones ────────────► zeros   ───► torn word: some bits ───► each undecided bit
//!                         once a word              undecided                 reads as it likes
//! ```
//!
//! This header is the fault model; `docs/CRASH_MODEL.md` has the same headings under "NOR".
//!
//! # Words
//! A word is programmed at once: 1, 4, 8, 16, 32 or 256 bytes. Programming only clears bits. Programming a word twice between erases
//! is a violation, also with the same bytes and also if the first program left all ones, except a torn word that reads as erased.
//! A word of one byte has no check bits beside it: programming all ones into it does nothing, and does not count.
//! A program runs from its first word to its last; a completed one is durable.
//!
//! # Torn words
//! A cut leaves the word that is being programmed with any of its bits cleared. Each bit that is not yet cleared may stay
//! *undecided* until the next erase: every boot reads it anew, so a torn word may read as whole at one boot, as erased at the
//! next, and as garbage after that. Within one boot it reads the same. Programming such a word leaves the bits undecided that it
//! does not clear.
//!
//! # Torn erases
//! A cut in an erase leaves each bit of the block as it was or erased, in any mix, decided at the cut. A word that looks erased
//! after it is not *clean*: bits that had been cleared become undecided when it is programmed.
//!
//! # Cuts
//! The power goes before or in any word and any erase, also while a mount or a repair is running.
//!
//! # Unclean words
//! A word of a block that was not erased since the boot may come out wrong. It stays as it came out, and reading it back shows it. A torn frame's
//! claim can be wrong then, so programming twice is not judged in that block.
//!
//! # Unreadable words
//! On a part that checks words of 4 bytes and more, a torn one may be unreadable at a boot, also one that a torn erase left. The
//! adapter reads it as zeros.
//!
//! # What is not modelled
//! Bits of a torn erase that change between boots; bits that change although nothing was written near them, which is damage:
//! see [`Flash::flip`]; wear.

use crate::chance::Chance;

/// The power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

/// How much has happened, and when the power goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Words programmed and blocks erased.
    pub done: u64,
    /// The tick in which the power goes.
    pub cut_at: Option<u64>,
}

/// The medium.
#[derive(Clone, Debug)]
pub struct Flash {
    word: usize,
    block_bytes: usize,
    blocks: Vec<Block>,
    /// Words and erases so far.
    pub ticks: Ticks,
    /// Rules that were broken.
    pub violations: Vec<String>,
    /// Words that come out wrong, one in so many, in blocks that were not erased since the boot.
    pub unclean_one_in: Option<usize>,
    /// How many have.
    pub wrong: u64,
    /// Whether torn words may be unreadable.
    pub checks_words: bool,
    /// For tests of the simulation itself: a part outside the model, that forgets one in so many words at a boot.
    pub forgets_one_in: Option<usize>,
    /// Where the power went last: block, offset, bytes.
    cut: Option<(usize, usize, usize)>,
    /// What was met of the fault model.
    pub faults: Faults,
}

/// How often a heading of the fault model was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Words that were torn.
    pub torn_words: u64,
    /// Erases that were torn.
    pub torn_erases: u64,
    /// Boots at which a torn word or erase read differently than at the boot before.
    pub undecided: u64,
    /// Words that a boot could not read.
    pub unreadable: u64,
}

#[derive(Clone, Debug)]
struct Block {
    /// Decided bits.
    bytes: Vec<u8>,
    /// Bits that read as they like.
    undecided: Vec<u8>,
    /// Bits that a torn erase has set.
    scars: Vec<u8>,
    /// What this boot reads.
    seen: Vec<u8>,
    words: Vec<Word>,
    erased_now: bool,
    /// A word came out wrong since the erase.
    wrong: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Erased,
    Programmed,
    Torn,
}

impl Flash {
    /// An erased medium.
    #[must_use]
    pub fn new(word: usize, block_bytes: usize, blocks: usize) -> Self {
        let block = Block {
            bytes: vec![0xff; block_bytes],
            undecided: vec![0; block_bytes],
            scars: vec![0; block_bytes],
            seen: vec![0xff; block_bytes],
            words: vec![Word::Erased; block_bytes / word],
            erased_now: false,
            wrong: false,
        };
        let blocks = vec![block; blocks];
        Self {
            word,
            block_bytes,
            blocks,
            ticks: Ticks::default(),
            violations: Vec::new(),
            unclean_one_in: None,
            wrong: 0,
            checks_words: false,
            forgets_one_in: None,
            cut: None,
            faults: Faults::default(),
        }
    }

    /// What this boot reads.
    #[must_use]
    pub fn read(&self, block: usize, offset: usize, len: usize) -> &[u8] {
        &self.blocks[block].seen[offset..offset + len]
    }

    /// Programs whole words in ascending order.
    ///
    /// # Errors
    /// [`Cut`] in the middle of a word.
    pub fn program(
        &mut self,
        block: usize,
        offset: usize,
        bytes: &[u8],
        chance: &mut Chance,
    ) -> Result<(), Cut> {
        let word = self.word;
        if !offset.is_multiple_of(word)
            || !bytes.len().is_multiple_of(word)
            || offset + bytes.len() > self.block_bytes
        {
            self.violations
                .push(format!("whole words are programmed: {} bytes at {block}:{offset}", bytes.len()));
            return Ok(());
        }
        for (number, target) in bytes.chunks(word).enumerate() {
            let at = offset + number * word;
            let cut = self.tick();
            let unclean = self.unclean_one_in.is_some_and(|one_in| chance.one_in(one_in));
            let here = &mut self.blocks[block];
            let state = here.words[at / word];
            let looks_erased = here.seen[at..at + word].iter().all(|byte| *byte == 0xff);
            if !here.wrong && (state == Word::Programmed || (state == Word::Torn && !looks_erased)) {
                self.violations.push(format!("no word is programmed twice: the one at {block}:{at}"));
            }
            if cut {
                here.tear_word(at, target, chance);
                self.cut = Some((block, at, word));
                self.faults.torn_words += 1;
                return Err(Cut);
            }
            here.program_word(at, target);
            if unclean && !here.erased_now {
                let byte = at + chance.below(word);
                here.bytes[byte] &= !(1 << chance.below(8));
                here.wrong = true;
                self.wrong += 1;
            }
            here.settle(at, word, chance);
        }
        Ok(())
    }

    /// Erases a block.
    ///
    /// # Errors
    /// [`Cut`] in the middle.
    pub fn erase(&mut self, block: usize, chance: &mut Chance) -> Result<(), Cut> {
        let cut = self.tick();
        let word = self.word;
        let here = &mut self.blocks[block];
        if cut {
            here.tear_erase(word, chance);
            self.cut = Some((block, 0, self.block_bytes));
            self.faults.torn_erases += 1;
            return Err(Cut);
        }
        here.bytes.fill(0xff);
        here.undecided.fill(0);
        here.scars.fill(0);
        here.seen.fill(0xff);
        here.words.fill(Word::Erased);
        here.erased_now = true;
        here.wrong = false;
        Ok(())
    }

    /// The power comes back: undecided bits are read anew.
    pub fn boot(&mut self, chance: &mut Chance) {
        let word = self.word;
        for block in &mut self.blocks {
            block.erased_now = false;
            for at in (0..block.bytes.len()).step_by(word) {
                if self.forgets_one_in.is_some_and(|one_in| chance.one_in(one_in)) {
                    block.bytes[at..at + word].fill(0xff);
                    block.seen[at..at + word].fill(0xff);
                    block.words[at / word] = Word::Erased;
                }
                let torn = block.words[at / word] == Word::Torn;
                let before = block.seen[at..at + word].to_vec();
                if torn && self.checks_words && chance.one_in(6) {
                    block.seen[at..at + word].fill(0);
                    self.faults.unreadable += 1;
                } else if torn || block.undecided[at..at + word].iter().any(|bits| *bits != 0) {
                    block.settle(at, word, chance);
                    self.faults.undecided += u64::from(before != block.seen[at..at + word]);
                }
            }
        }
        self.ticks.cut_at = None;
    }

    /// What this boot reads where the power went last.
    #[must_use]
    pub fn scar(&self) -> Option<String> {
        let (block, offset, bytes) = self.cut?;
        let seen = self.read(block, offset, bytes);
        let ones = seen.iter().map(|byte| byte.count_ones()).sum::<u32>();
        Some(match bytes {
            0..=32 => format!("the word at {block}:{offset} reads as {seen:02x?}"),
            _ => format!("the {bytes} bytes at {block}:{offset} read with {ones} ones of {}", 8 * bytes),
        })
    }

    /// Damages one bit.
    pub fn flip(&mut self, block: usize, bit: usize) {
        self.blocks[block].bytes[bit / 8] ^= 1 << (bit % 8);
        self.blocks[block].seen[bit / 8] ^= 1 << (bit % 8);
    }

    /// Puts other bytes into a block, from outside.
    pub fn fill(&mut self, block: usize, mut byte: impl FnMut(usize) -> u8) {
        let here = &mut self.blocks[block];
        for at in 0..here.bytes.len() {
            here.bytes[at] = byte(at);
            here.seen[at] = here.bytes[at];
        }
    }

    fn tick(&mut self) -> bool {
        let now = self.ticks.done;
        self.ticks.done += 1;
        self.ticks.cut_at == Some(now)
    }
}

impl Block {
    fn program_word(&mut self, at: usize, target: &[u8]) {
        for (byte, wanted) in (at..).zip(target) {
            self.bytes[byte] &= wanted;
            self.undecided[byte] |= self.scars[byte];
            self.undecided[byte] &= self.bytes[byte];
        }
        if target != [0xff] {
            self.words[at / target.len()] = Word::Programmed;
        }
    }

    fn tear_word(&mut self, at: usize, target: &[u8], chance: &mut Chance) {
        let (cleared, weak) = (chance.pick(&[0, 5, 50, 95, 100]), chance.pick(&[0, 20, 100]));
        for (byte, wanted) in (at..).zip(target) {
            for bit in (0..8).map(|bit| 1u8 << bit).filter(|bit| wanted & bit == 0) {
                if self.bytes[byte] & bit == 0 {
                    continue;
                }
                if chance.percent(weak) {
                    self.undecided[byte] |= bit;
                } else if chance.percent(cleared) {
                    self.bytes[byte] &= !bit;
                    self.undecided[byte] &= !bit;
                }
            }
        }
        self.words[at / target.len()] = Word::Torn;
    }

    fn tear_erase(&mut self, word: usize, chance: &mut Chance) {
        let share = chance.pick(&[0, 1, 50, 99, 100]);
        let per_word = chance.percent(50);
        for at in (0..self.bytes.len()).step_by(word) {
            let all = chance.percent(share);
            let before = self.bytes[at..at + word].to_vec();
            for byte in at..at + word {
                for bit in (0..8).map(|bit| 1u8 << bit) {
                    let erased = if per_word { all } else { chance.percent(share) };
                    if !erased {
                        continue;
                    }
                    if self.bytes[byte] & bit == 0 || self.undecided[byte] & bit != 0 {
                        self.scars[byte] |= bit;
                    }
                    self.bytes[byte] |= bit;
                    self.undecided[byte] &= !bit;
                }
            }
            // Of a word of ones, what the part keeps beside it may have changed.
            let ones = self.bytes[at..at + word].iter().all(|byte| *byte == 0xff);
            if before != self.bytes[at..at + word] || (ones && self.words[at / word] == Word::Programmed) {
                self.words[at / word] = Word::Torn;
            }
        }
    }

    /// Decides what is read of a word until the next boot.
    fn settle(&mut self, at: usize, word: usize, chance: &mut Chance) {
        let cleared = chance.pick(&[0, 0, 50, 100, 100]);
        for byte in at..at + word {
            let mut seen = self.bytes[byte];
            for bit in (0..8).map(|bit| 1u8 << bit).filter(|bit| self.undecided[byte] & bit != 0) {
                if chance.percent(cleared) {
                    seen &= !bit;
                }
            }
            self.seen[byte] = seen;
        }
    }
}
