//! The part of a segment's file that is in memory.
//!
//! ```text
//!   file    …………|=========== filled ===========|··· room ···|…………
//!               ^ begins                       ^ read on from here
//! ```

use std::fs::File;
use std::io;

use crate::dir::read_at;
use crate::memory::WINDOW;

/// Bytes of a file, from one offset on; a record that is larger makes a window larger.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    begins: u64,
    filled: usize,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; WINDOW], begins: 0, filled: 0 }
    }

    /// Forgets what it holds: the next byte is wanted from `offset`.
    pub(crate) fn restart(&mut self, offset: u64) {
        (self.begins, self.filled) = (offset, 0);
    }

    /// Forgets what it holds from `offset` on: it may be older than what is in the file by now.
    pub(crate) fn forget_from(&mut self, offset: u64) {
        self.filled = self.index(offset);
    }

    /// What is filled from `offset` on.
    pub(crate) fn from(&self, offset: u64) -> &[u8] {
        &self.bytes[self.index(offset)..self.filled]
    }

    /// The `len` bytes in front of `end`, which it holds.
    pub(crate) fn before(&self, end: u64, len: usize) -> &[u8] {
        let end = self.index(end);
        &self.bytes[end - len..end]
    }

    /// All of its memory, for another use; what it held is forgotten.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        self.filled = 0;
        &mut self.bytes
    }

    /// Makes it begin at `offset` and hold at least `need` bytes; `false` if the file ends before.
    pub(crate) fn fill(&mut self, file: &File, offset: u64, need: usize) -> io::Result<bool> {
        let skip = self.index(offset);
        self.bytes.copy_within(skip..self.filled, 0);
        self.filled -= skip;
        self.begins = offset;
        if need > self.bytes.len() {
            self.bytes.resize(need, 0);
        }
        self.filled += read_at(file, offset + self.filled as u64, &mut self.bytes[self.filled..])?;
        Ok(self.filled >= need)
    }

    /// Where the byte at `offset` is, or the end of what is filled.
    fn index(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.begins)).unwrap_or(usize::MAX).min(self.filled)
    }
}
