//! What is measured: a log and a settings map, whoever wrote them.
//!
//! The rows know only these two traits, so every subject does the same work on the same part with the same data.

use core::fmt;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use super::medium::CountingFlash;

/// A log of records on a part with words of `W` bytes. When the part is full, the oldest records make room.
pub(crate) trait Log<const W: usize>: Sized {
    const NAME: &'static str;

    /// Makes an erased part usable, where a subject needs that.
    fn format(_flash: &CountingFlash<W>) -> Result<(), Failed> {
        Ok(())
    }

    fn open(flash: &CountingFlash<W>) -> Result<Self, Failed>;

    /// Appends durably. Every record begins with its number, 4 bytes little-endian.
    fn append(&mut self, record: &[u8]) -> Result<(), Failed>;

    /// Appends all or nothing, or one after the other where a subject has no such thing.
    fn append_all(&mut self, records: &[&[u8]]) -> Result<(), Failed> {
        records.iter().try_for_each(|record| self.append(record))
    }

    /// Drops the oldest record.
    fn drop_oldest(&mut self) -> Result<(), Failed>;

    /// Idle time, used to get work out of the way of the next append.
    fn maintain(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    /// Reads all records, oldest first, with a buffer of 256 bytes.
    fn replay(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<(), Failed>;
}

/// A map from a number to a small value.
pub(crate) trait Settings<const W: usize>: Sized {
    const NAME: &'static str;

    fn format(_flash: &CountingFlash<W>) -> Result<(), Failed> {
        Ok(())
    }

    fn open(flash: &CountingFlash<W>) -> Result<Self, Failed>;

    fn insert(&mut self, key: u16, value: &[u8]) -> Result<(), Failed>;

    /// Inserts all or nothing, or one after the other; the keys rise.
    fn insert_all(&mut self, pairs: &[(u16, &[u8])]) -> Result<(), Failed> {
        pairs.iter().try_for_each(|(key, value)| self.insert(*key, value))
    }

    fn maintain(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    fn get(&mut self, key: u16) -> Result<Option<Vec<u8>>, Failed>;
}

/// Why a subject has no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// There is nothing to measure yet.
    NotBuilt,
    /// What the subject said.
    Said(String),
}

impl Failed {
    pub(crate) fn said(error: impl fmt::Debug) -> Self {
        Self::Said(format!("{error:?}"))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => f.write_str("not built"),
            Self::Said(error) => write!(f, "failed: {error}"),
        }
    }
}

/// Runs a future over simulated flash, which is always ready.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("simulated flash is always ready"),
    }
}

/// Record `number`, `len` bytes: the number, then bytes that follow from it.
pub(crate) fn record(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    crate::chance::Chance::new(u64::from(number) ^ RECORDS).fill(&mut bytes);
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The number of a record that was made by [`record`], if it is one.
pub(crate) fn number_of(bytes: &[u8]) -> Option<u32> {
    let number = u32::from_le_bytes(*bytes.first_chunk()?);
    (bytes == record(number, bytes.len())).then_some(number)
}

const RECORDS: u64 = 0x7265_636f_7264_0000;
