//! The application: keeps every sample that it is given, and a mark in its settings for every eighth. The only module that knows
//! how.
//!
//! ```text
//!  0              36 KiB              64 KiB
//!  | log: samples | settings: "mark"  |        two stores on one part
//! ```
//!
//! A mark is set when its sample is durable, so it never names one that is not there, unless the ring dropped it.

use core::cell::RefCell;

use embedded_storage::nor_flash::NorFlash;
use strandline_flash::{Config, Error, Kv, Log, Shared, StoreId};

/// What the stores read and write through.
pub struct Scratch {
    log: [u8; 256],
    settings: [u8; 256],
}

impl Scratch {
    /// Empty.
    pub const fn new() -> Self {
        Self { log: [0; 256], settings: [0; 256] }
    }
}

/// What keeps the samples.
pub struct App<'a, F: NorFlash> {
    log: Log<'a, Shared<'a, F>>,
    settings: Kv<'a, Shared<'a, F>, 64>,
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
    /// The mark in the settings.
    pub mark: Option<u32>,
}

impl<'a, F: NorFlash> App<'a, F> {
    /// Opens both stores, and reads what is kept.
    ///
    /// # Errors
    /// Theirs.
    pub fn open(part: &'a RefCell<F>, scratch: &'a mut Scratch) -> Result<(Self, Found), Error<F::Error>> {
        let flash = Shared::new(part);
        let mut log = Log::open(flash, 0..LOG_BYTES, Config::new(LOG_STORE), &mut scratch.log)?;
        let rest = LOG_BYTES..flash_bytes(part);
        let settings = Kv::open(flash, rest, Config::new(SETTINGS_STORE), &mut scratch.settings)?;
        let mut found = Found { samples: 0, newest: None, mark: settings.value(MARK)? };
        let mut records = log.records()?;
        while let Some(record) = records.next()? {
            if let Some(number) = whole(record.bytes) {
                found.samples += 1;
                found.newest = Some(number);
            }
        }
        let next = found.newest.map_or(0, |newest| newest + 1);
        Ok((Self { log, settings, next }, found))
    }

    /// Keeps the next sample durably, and tells its number.
    ///
    /// # Errors
    /// The log's.
    pub fn keep(&mut self) -> Result<u32, Error<F::Error>> {
        let number = self.next;
        self.log.append(&sample(number))?;
        self.next += 1;
        Ok(number)
    }

    /// Sets the mark if one is due after this sample, and says so.
    ///
    /// # Errors
    /// The map's.
    pub fn mark(&mut self, number: u32) -> Result<bool, Error<F::Error>> {
        let due = number.is_multiple_of(8);
        if due {
            self.settings.insert_value(MARK, &number)?;
        }
        Ok(due)
    }

    /// Time that nobody needs.
    ///
    /// # Errors
    /// The flash's.
    pub fn idle(&mut self) -> Result<(), Error<F::Error>> {
        self.log.maintain(2 * SAMPLE_BYTES as u32)?;
        self.settings.maintain(64)
    }
}

fn flash_bytes<F: NorFlash>(part: &RefCell<F>) -> u32 {
    part.borrow().capacity() as u32
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

fn whole(bytes: &[u8]) -> Option<u32> {
    let number = u32::from_le_bytes(*bytes.first_chunk()?);
    (bytes == sample(number)).then_some(number)
}

const LOG_BYTES: u32 = 36 * 1024;
const LOG_STORE: StoreId = StoreId(*b"firmware samples");
const SETTINGS_STORE: StoreId = StoreId(*b"firmware options");
const MARK: &[u8] = b"mark";
const SAMPLE_BYTES: usize = 64;
