//! The application: keeps every sample that it is given. The only module that knows how.
//!
//! Until `strandline-flash` is linked in, this is a plain ring of slots that exercises the flash below it:
//!
//! ```text
//!  block = number / 64 mod 16          slot = number mod 64: number u32 | 60 bytes that follow from it
//! ```
//!
//! After a start it goes on in the block after the newest whole slot, so nothing is programmed twice. With the log, `open`
//! becomes `Log::open` and `Kv::open`, `keep` becomes `append`, and `idle` becomes `maintain`.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

/// What keeps the samples.
pub struct App<F> {
    flash: F,
    /// The number of the next sample.
    next: u32,
}

/// What a start found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Samples that can be read.
    pub samples: u32,
    /// The number of the newest one.
    pub newest: Option<u32>,
}

impl<F: NorFlash> App<F> {
    /// Reads what is kept, and finds where to go on.
    ///
    /// # Errors
    /// The flash's.
    pub fn open(mut flash: F) -> Result<(Self, Found), F::Error> {
        let mut found = Found { samples: 0, newest: None };
        let mut bytes = [0; SAMPLE_BYTES];
        for offset in (0..flash.capacity() as u32).step_by(SAMPLE_BYTES) {
            flash.read(offset, &mut bytes)?;
            if let Some(number) = whole(&bytes) {
                found.samples += 1;
                found.newest = found.newest.max(Some(number));
            }
        }
        let next = found.newest.map_or(0, |newest| (newest / SLOTS + 1) * SLOTS);
        Ok((Self { flash, next }, found))
    }

    /// Keeps the next sample durably, and tells its number.
    ///
    /// # Errors
    /// The flash's.
    pub fn keep(&mut self) -> Result<u32, F::Error> {
        let number = self.next;
        let slot = self.slot(number);
        if number.is_multiple_of(SLOTS) {
            self.flash.erase(slot.start, slot.start + F::ERASE_SIZE as u32)?;
        }
        self.flash.write(slot.start, &sample(number))?;
        self.next += 1;
        Ok(number)
    }

    /// Time that nobody needs.
    ///
    /// # Errors
    /// The flash's.
    pub fn idle(&mut self) -> Result<(), F::Error> {
        let newest = self.slot(self.next.wrapping_sub(1));
        let mut bytes = [0; SAMPLE_BYTES];
        self.flash.read(newest.start, &mut bytes)
    }

    /// The flash below.
    pub fn flash(&self) -> &F {
        &self.flash
    }

    fn slot(&self, number: u32) -> Range<u32> {
        let start = number % (self.flash.capacity() / SAMPLE_BYTES) as u32 * SAMPLE_BYTES as u32;
        start..start + SAMPLE_BYTES as u32
    }
}

/// Sample `number`: itself, then the words of a multiplicative sequence that begins with it.
fn sample(number: u32) -> [u8; SAMPLE_BYTES] {
    let mut bytes = [0; SAMPLE_BYTES];
    let mut word = number;
    for chunk in bytes.chunks_exact_mut(4) {
        chunk.copy_from_slice(&word.to_le_bytes());
        word = word.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    }
    bytes
}

fn whole(bytes: &[u8; SAMPLE_BYTES]) -> Option<u32> {
    let number = u32::from_le_bytes(*bytes.first_chunk()?);
    (*bytes == sample(number)).then_some(number)
}

const SAMPLE_BYTES: usize = 64;
/// Samples of a block of 4 KiB.
const SLOTS: u32 = 64;
