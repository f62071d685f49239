//! NOR flash whose bytes are a file of the host: what is programmed stays when the emulator is killed.
//!
//! ```text
//!  program ─► each word: erased? not programmed since its erase? ─► seek, write(4)     a kill lands between two words
//!  erase   ─► each 256 bytes: seek, write(0xFF)                                        … or inside an erase
//!  read    ─► seek, read
//! ```
//!
//! Every word is written through by a system call of its own before the next one, so a killed emulator leaves what real flash
//! would: a prefix of a program or of an erase. A program of a word that is not erased, or that was programmed since its
//! erase, is refused and counted: the medium's rules hold for whoever runs above. Which words were programmed is known for this
//! boot only; of earlier boots the file tells all but words of 0xFF.

use core::ffi::CStr;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use semihosting::fs::{File, OpenOptions};
use semihosting::io::{Read, Seek, SeekFrom, Write};

/// 64 KiB in blocks of 4 KiB and words of 4 bytes.
pub struct SemihostFlash {
    file: File,
    programmed: [u32; WORDS / 32],
    /// What was done since the start.
    pub counts: Counts,
}

/// What was done to the flash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Calls.
    pub reads: u32,
    /// Words.
    pub programmed_words: u32,
    /// Blocks.
    pub erases: u32,
    /// Programs that the medium does not allow.
    pub refused: u32,
}

/// Why the flash does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not aligned, or out of bounds.
    Misuse(NorFlashErrorKind),
    /// The word is not erased, or was programmed since its erase.
    NotErased,
    /// The host failed.
    Host,
}

impl SemihostFlash {
    /// Opens the flash in the host's file `path`, which must have its size.
    ///
    /// # Errors
    /// `Host`: there is no such file, or it has another size.
    pub fn open(path: &CStr) -> Result<Self, Fault> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|_| Fault::Host)?;
        let len = file.metadata().map_err(|_| Fault::Host)?.len();
        if len != CAPACITY as u64 {
            return Err(Fault::Host);
        }
        Ok(Self { file, programmed: [0; WORDS / 32], counts: Counts::default() })
    }

    fn program_word(&mut self, offset: u32, word: &[u8]) -> Result<(), Fault> {
        let index = offset as usize / WORD_BYTES;
        let (cell, bit) = (index / 32, 1 << (index % 32));
        let mut now = [0; WORD_BYTES];
        self.read_at(offset, &mut now)?;
        if now != ERASED[..WORD_BYTES] || self.programmed[cell] & bit != 0 {
            self.counts.refused += 1;
            return Err(Fault::NotErased);
        }
        self.programmed[cell] |= bit;
        self.counts.programmed_words += 1;
        self.write_at(offset, word)
    }

    fn erase_block(&mut self, offset: u32) -> Result<(), Fault> {
        self.counts.erases += 1;
        for piece in (offset..offset + BLOCK_BYTES as u32).step_by(ERASED.len()) {
            self.write_at(piece, &ERASED)?;
        }
        let first = offset as usize / WORD_BYTES / 32;
        self.programmed[first..first + BLOCK_BYTES / WORD_BYTES / 32].fill(0);
        Ok(())
    }

    fn read_at(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        self.seek(offset)?;
        self.file.read_exact(bytes).map_err(|_| Fault::Host)
    }

    fn write_at(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.seek(offset)?;
        self.file.write_all(bytes).map_err(|_| Fault::Host)
    }

    fn seek(&mut self, offset: u32) -> Result<(), Fault> {
        self.file.seek(SeekFrom::Start(offset.into())).map(drop).map_err(|_| Fault::Host)
    }
}

impl ErrorType for SemihostFlash {
    type Error = Fault;
}

impl ReadNorFlash for SemihostFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        check_read(self, offset, bytes.len())?;
        self.counts.reads += 1;
        self.read_at(offset, bytes)
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl NorFlash for SemihostFlash {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = BLOCK_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        check_erase(self, from, to)?;
        (from..to).step_by(BLOCK_BYTES).try_for_each(|block| self.erase_block(block))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        check_write(self, offset, bytes.len())?;
        let words = bytes.chunks_exact(WORD_BYTES);
        (offset..).step_by(WORD_BYTES).zip(words).try_for_each(|(at, word)| self.program_word(at, word))
    }
}

impl From<NorFlashErrorKind> for Fault {
    fn from(kind: NorFlashErrorKind) -> Self {
        Self::Misuse(kind)
    }
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Misuse(kind) => *kind,
            Self::NotErased | Self::Host => NorFlashErrorKind::Other,
        }
    }
}

/// Bytes of the whole part.
pub const CAPACITY: usize = 64 * 1024;
/// Bytes of an erase block.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes of a word.
pub const WORD_BYTES: usize = 4;
const WORDS: usize = CAPACITY / WORD_BYTES;
const ERASED: [u8; 256] = [0xff; 256];
