//! What the host reads out of a flash file, without the image, with the crate that the image is built with.

use std::collections::BTreeSet;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use strandline_flash::{Config, Error, Kv, Log, StoreId};

/// What a flash file holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Numbers of whole samples.
    pub(crate) samples: BTreeSet<u32>,
    /// The mark in the settings.
    pub(crate) mark: Option<u32>,
    /// What no end explains.
    pub(crate) damaged: Vec<String>,
}

/// Reads a flash file.
pub(crate) fn read(flash: &[u8]) -> Found {
    let mut found = Found::default();
    if let Err(error) = read_log(flash, &mut found) {
        found.damaged.push(format!("the log: {error}"));
    }
    match read_mark(flash) {
        Ok(mark) => found.mark = mark,
        Err(error) => found.damaged.push(format!("the settings: {error}")),
    }
    found
}

fn read_log(flash: &[u8], found: &mut Found) -> Result<(), Error<NorFlashErrorKind>> {
    let mut scratch = [0; 512];
    let config = Config::new(StoreId(*b"firmware samples"));
    let mut log = Log::open(Dump(flash), 0..LOG_BYTES, config, &mut scratch)?;
    let mut records = log.records()?;
    while let Some(record) = records.next()? {
        let number = record.bytes.first_chunk().map(|number| u32::from_le_bytes(*number));
        let follows = found.samples.last().is_none_or(|newest| number == Some(newest + 1));
        match number.filter(|number| follows && record.bytes == sample(*number)) {
            Some(number) => drop(found.samples.insert(number)),
            None => found.damaged.push(format!("LSN {} is no sample, or not the next one", record.lsn)),
        }
    }
    Ok(())
}

fn read_mark(flash: &[u8]) -> Result<Option<u32>, Error<NorFlashErrorKind>> {
    let mut scratch = [0; 512];
    let config = Config::new(StoreId(*b"firmware options"));
    // Less scratch than the image has would need more blocks for a snapshot: more is harmless.
    let settings = Kv::<_, 64>::open(Dump(flash), LOG_BYTES..FLASH_BYTES as u32, config, &mut scratch)?;
    settings.value(b"mark")
}

/// Whether the first words of a sample are on the flash: it was begun.
pub(crate) fn is_begun(flash: &[u8], number: u32) -> bool {
    let begin = &sample(number)[..8];
    flash.chunks_exact(4).zip(flash.chunks_exact(4).skip(1)).any(|(one, two)| [one, two].concat() == begin)
}

/// Whether sample `number` must be there: the ring keeps the newest ones, and repairs take room from them.
pub(crate) fn must_be_kept(number: u32, newest: u32) -> bool {
    number + SURELY_KEPT > newest
}

/// The number that a start goes on with.
pub(crate) fn next_after(newest: Option<u32>) -> u32 {
    newest.map_or(0, |newest| newest + 1)
}

/// Sample `number`, as the image makes it.
fn sample(number: u32) -> Vec<u8> {
    let next = |word: &u32| Some(word.wrapping_mul(747_796_405).wrapping_add(2_891_336_453));
    let words = core::iter::successors(Some(number), next).take(SAMPLE_BYTES / 4);
    words.flat_map(u32::to_le_bytes).collect()
}

/// A flash file: to be read only.
struct Dump<'d>(&'d [u8]);

impl ErrorType for Dump<'_> {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Dump<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let found = self.0.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(found.ok_or(NorFlashErrorKind::OutOfBounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Dump<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, _: u32, _: u32) -> Result<(), NorFlashErrorKind> {
        Err(NorFlashErrorKind::Other)
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), NorFlashErrorKind> {
        Err(NorFlashErrorKind::Other)
    }
}

pub(crate) const FLASH_BYTES: usize = 64 * 1024;
const LOG_BYTES: u32 = 36 * 1024;
const SAMPLE_BYTES: usize = 64;
/// Of 9 blocks with 56 samples each, three make room for what comes; half of the rest may be repairs.
const SURELY_KEPT: u32 = 3 * 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erased_part_is_empty_and_a_strange_one_is_damaged() {
        let found = read(&[0xff; FLASH_BYTES]);
        assert_eq!((found.samples.len(), found.mark, found.damaged.len()), (0, None, 0));
        assert_eq!(read(&[0; FLASH_BYTES]).damaged.len(), 2);
    }

    #[test]
    fn a_sample_that_was_begun_is_seen() {
        let mut flash = vec![0xff; FLASH_BYTES];
        assert!(!is_begun(&flash, 7));
        flash[4096 + 52..][..8].copy_from_slice(&sample(7)[..8]);
        assert!(is_begun(&flash, 7) && !is_begun(&flash, 8));
    }
}
