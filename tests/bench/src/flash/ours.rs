//! Strandline on the same part: the one place where it is plugged in.
//!
//! The figures of F8 and F9 come from images: a function `ours` in `tests/firmware/src/bin/peers.rs`, and `tests/size-probe`.
//! F12 is `resent_chunks` in `rows/export.rs`.

use embedded_storage::nor_flash::ReadNorFlash;
use strandline_flash::{Config, Kv, StoreId};

use super::medium::CountingFlash;
use super::subject::{self, Failed};

/// Strandline's log. Its scratch has room for a group of eight.
pub(crate) struct Log<const W: usize> {
    flash: CountingFlash<W>,
    /// Groups were appended.
    grouped: bool,
    log: strandline_flash::Log<'static, CountingFlash<W>>,
    /// Records that were dropped: the oldest block goes when all of its records are.
    dropped: u64,
}

fn capacity<const W: usize>(flash: &CountingFlash<W>) -> u32 {
    ReadNorFlash::capacity(flash) as u32
}

/// A configuration of the part.
fn config<E>() -> Config<E> {
    Config::new(StoreId(*b"beside the peers"))
}

/// Lives as long as the run: there are a few hundred handles.
fn scratch(bytes: usize) -> &'static mut [u8] {
    Box::leak(vec![0; bytes].into_boxed_slice())
}

impl<const W: usize> subject::Log<W> for Log<W> {
    const NAME: &'static str = "ours";

    fn open(flash: &CountingFlash<W>) -> Result<Self, Failed> {
        let partition = 0..capacity(flash);
        let log = strandline_flash::Log::open(flash.clone(), partition, config(), scratch(SCRATCH_BYTES));
        Ok(Self { flash: flash.clone(), grouped: false, log: log.map_err(Failed::said)?, dropped: 0 })
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Failed> {
        self.log.append(record).map(drop).map_err(Failed::said)
    }

    fn append_all(&mut self, records: &[&[u8]]) -> Result<(), Failed> {
        self.grouped = true;
        self.log.append_all(records).map(drop).map_err(Failed::said)
    }

    fn drop_oldest(&mut self) -> Result<(), Failed> {
        self.dropped += 1;
        self.log.trim(strandline_flash::Lsn(self.dropped + 1)).map(drop).map_err(Failed::said)
    }

    fn maintain(&mut self) -> Result<(), Failed> {
        self.log.maintain(NEAR_BYTES).map_err(Failed::said)
    }

    fn replay(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<(), Failed> {
        // With the buffer that the rows ask for, unless a group needs more. Opening is counted too.
        let bytes = if self.grouped { SCRATCH_BYTES } else { 256 };
        let (partition, scratch) = (0..capacity(&self.flash), scratch(bytes));
        let log = strandline_flash::Log::open(self.flash.clone(), partition, config(), scratch);
        let mut log = log.map_err(Failed::said)?;
        let mut records = log.records().map_err(Failed::said)?;
        while let Some(record) = records.next().map_err(Failed::said)? {
            each(record.bytes);
        }
        Ok(())
    }
}

/// Strandline's settings map.
pub(crate) struct Settings<const W: usize> {
    map: Kv<'static, CountingFlash<W>, MAP_BYTES>,
}

impl<const W: usize> subject::Settings<W> for Settings<W> {
    const NAME: &'static str = "ours";

    fn open(flash: &CountingFlash<W>) -> Result<Self, Failed> {
        let map = Kv::open(flash.clone(), 0..capacity(flash), config(), scratch(1024));
        Ok(Self { map: map.map_err(Failed::said)? })
    }

    fn insert(&mut self, key: u16, value: &[u8]) -> Result<(), Failed> {
        self.map.insert(&key.to_le_bytes(), value).map_err(Failed::said)
    }

    fn insert_all(&mut self, pairs: &[(u16, &[u8])]) -> Result<(), Failed> {
        let keys: Vec<_> = pairs.iter().map(|(key, _)| key.to_le_bytes()).collect();
        let pairs: Vec<_> = keys.iter().zip(pairs).map(|(key, (_, value))| (&key[..], *value)).collect();
        self.map.insert_all(&pairs).map_err(Failed::said)
    }

    fn maintain(&mut self) -> Result<(), Failed> {
        self.map.maintain(NEAR_BYTES).map_err(Failed::said)
    }

    fn get(&mut self, key: u16) -> Result<Option<Vec<u8>>, Failed> {
        Ok(self.map.get(&key.to_le_bytes()).map(<[u8]>::to_vec))
    }
}

const SCRATCH_BYTES: usize = 1024;
/// More than the largest append takes.
const NEAR_BYTES: u32 = 700;
/// 64 keys of 2 bytes with values of 32, and a group of 8 beside them.
const MAP_BYTES: usize = 72 * (2 + 2 + 32);
