//! NOR flash in RAM that enforces the medium's rules and fails as told.
//!
//! | rule | what happens |
//! |---|---|
//! | addresses, lengths and buffers are aligned | the driver's error |
//! | a word is programmed once between erases | panics |
//! | words that can't be corrected | reads of them fail with `Ecc` |
//! | an operation that is told to fail | does half of its work, and fails with `Broken` |
//!
//! Over the waiting interface every operation stops twice: before anything is done, and when half of it is.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeSet;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

pub(crate) const WORD: usize = 4;
pub(crate) const BLOCK: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Misuse,
    Ecc,
    Broken,
}

impl NorFlashError for Failure {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ram {
    pub(crate) bytes: Vec<u8>,
    programmed: Vec<bool>,
    /// Addresses of words that can't be read.
    pub(crate) unreadable: BTreeSet<usize>,
    /// A block that will not erase, by index.
    pub(crate) stuck: Option<usize>,
    /// The operation, by number, that fails; and how many were done.
    pub(crate) fails_at: Option<u64>,
    pub(crate) done: u64,
    pub(crate) reads: u64,
    pub(crate) programs: u64,
    pub(crate) erases: u64,
}

impl Ram {
    pub(crate) fn new(blocks: usize) -> Self {
        let len = blocks * BLOCK;
        Self { bytes: vec![0xff; len], programmed: vec![false; len / WORD], ..Self::default() }
    }

    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        let programmed = bytes.chunks(WORD).map(|word| word.iter().any(|byte| *byte != 0xff)).collect();
        Self { bytes, programmed, ..Self::default() }
    }

    /// Half of the operation is all that is done if it fails.
    fn fails(&mut self) -> bool {
        self.done += 1;
        self.fails_at == Some(self.done - 1)
    }

    fn program_words(&mut self, from: usize, bytes: &[u8]) {
        for (at, word) in (from..).step_by(WORD).zip(bytes.chunks(WORD)) {
            assert!(!self.programmed[at / WORD], "the word at {at} is programmed twice");
            self.programmed[at / WORD] = true;
            self.unreadable.remove(&at);
            self.bytes[at..][..WORD].copy_from_slice(word);
        }
    }

    fn erase_bytes(&mut self, from: usize, to: usize) {
        self.bytes[from..to].fill(0xff);
        self.programmed[from / WORD..to / WORD].fill(false);
        self.unreadable.retain(|at| *at < from || *at >= to);
    }

    /// A cut left this word so that it can't be read.
    pub(crate) fn tear(&mut self, at: usize) {
        self.programmed[at / WORD] = true;
        self.unreadable.insert(at);
    }

    fn check_erase(&mut self, from: u32, to: u32) -> Result<(usize, usize), Failure> {
        let (from, to) = (from as usize, to as usize);
        if !from.is_multiple_of(BLOCK) || !to.is_multiple_of(BLOCK) || from >= to || to > self.bytes.len() {
            return Err(Failure::Misuse);
        }
        self.erases += 1;
        if self.stuck.is_some_and(|block| (from..to).contains(&(block * BLOCK))) {
            return Err(Failure::Broken);
        }
        Ok((from, to))
    }

    fn check(&self, at: u32, bytes: &[u8]) -> Result<usize, Failure> {
        let at = at as usize;
        let aligned = at.is_multiple_of(WORD)
            && bytes.len().is_multiple_of(WORD)
            && bytes.as_ptr().align_offset(4) == 0;
        if aligned && at + bytes.len() <= self.bytes.len() { Ok(at) } else { Err(Failure::Misuse) }
    }

    fn look(&mut self, at: usize, bytes: &mut [u8]) -> Result<(), Failure> {
        self.reads += 1;
        if self.fails() {
            bytes.fill(0x77);
            return Err(Failure::Broken);
        }
        bytes.copy_from_slice(&self.bytes[at..][..bytes.len()]);
        match self.unreadable.range(at..at + bytes.len()).next() {
            Some(_) => Err(Failure::Ecc),
            None => Ok(()),
        }
    }
}

impl ErrorType for Ram {
    type Error = Failure;
}

impl ReadNorFlash for Ram {
    const READ_SIZE: usize = WORD;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Failure> {
        let at = self.check(at, bytes)?;
        self.look(at, bytes)
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Ram {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failure> {
        let (from, to) = self.check_erase(from, to)?;
        if self.fails() {
            self.erase_bytes(from, from + (to - from) / 2);
            return Err(Failure::Broken);
        }
        self.erase_bytes(from, to);
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Failure> {
        let at = self.check(at, bytes)?;
        self.programs += 1;
        if self.fails() {
            let half = bytes.len() / 2 / WORD * WORD;
            self.program_words(at, &bytes[..half]);
            return Err(Failure::Broken);
        }
        self.program_words(at, bytes);
        Ok(())
    }
}

#[cfg(feature = "async")]
mod waiting {
    use core::future::poll_fn;
    use core::task::Poll;

    use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};

    use super::{BLOCK, Failure, Ram, WORD};

    /// Is polled twice.
    async fn stop() {
        let mut stopped = false;
        poll_fn(|_| if core::mem::replace(&mut stopped, true) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    impl ReadNorFlash for Ram {
        const READ_SIZE: usize = WORD;

        async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Failure> {
            let at = self.check(at, bytes)?;
            bytes.fill(0x77);
            stop().await;
            self.look(at, bytes)
        }

        fn capacity(&self) -> usize {
            self.bytes.len()
        }
    }

    impl NorFlash for Ram {
        const WRITE_SIZE: usize = WORD;
        const ERASE_SIZE: usize = BLOCK;

        async fn erase(&mut self, from: u32, to: u32) -> Result<(), Failure> {
            let (from, to) = self.check_erase(from, to)?;
            stop().await;
            self.erase_bytes(from, from + (to - from) / 2);
            stop().await;
            self.erase_bytes(from, to);
            Ok(())
        }

        async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Failure> {
            let at = self.check(at, bytes)?;
            self.programs += 1;
            stop().await;
            let half = bytes.len() / 2 / WORD * WORD;
            self.program_words(at, &bytes[..half]);
            stop().await;
            self.program_words(at + half, &bytes[half..]);
            Ok(())
        }
    }
}
