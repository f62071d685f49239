//! What a log is told when it is opened, and the sizes that follow from it.

use core::ops::Range;

use strandline_core::media::nor::{Geometry, GeometryError, Options, Policy};
use strandline_core::types::StoreId;

use crate::Error;

/// How a log is to be kept. The driver's error is `E`.
#[derive(Debug)]
pub struct Config<E> {
    /// Whose log it is. Another store's partition is refused.
    pub store: StoreId,
    /// What happens when the ring is full.
    pub policy: Policy,
    /// How many blocks are kept free for the next snapshot. With snapshots of this size the partition needs three more than
    /// twice as many blocks.
    pub reserve: u8,
    /// Bytes that are programmed at once: a power of two up to 256. 0 for the larger one of the driver's `WRITE_SIZE` and
    /// `READ_SIZE`; more where the part checks and corrects more than that together.
    pub word_bytes: u32,
    /// Bytes of a block: a power of two from 256 to 1 MiB, a multiple of the driver's `ERASE_SIZE`. 0 for that.
    pub block_bytes: u32,
    /// What an error of a read means. By default every one means that the flash failed.
    pub judge: fn(&E) -> ReadFailure,
}

/// What an error of a read means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ReadFailure {
    /// Words in that range can't be corrected: a cut may have left them so. They are read one by one, and each one that can't
    /// be is judged like any other damage: torn at the end of the log, corrupt before it.
    Unreadable,
    /// The flash failed: the operation ends with the error.
    Medium,
}

impl<E> Config<E> {
    /// A log of `store` that drops its oldest records when it is full.
    #[must_use]
    pub fn new(store: StoreId) -> Self {
        Self {
            store,
            policy: Policy::DropOldest,
            reserve: 0,
            word_bytes: 0,
            block_bytes: 0,
            judge: |_| ReadFailure::Medium,
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options { policy: self.policy, reserve: self.reserve }
    }

    /// The sizes of a partition.
    pub(crate) fn geometry(&self, driver: Sizes, partition: &Range<u32>) -> Result<Geometry, Error<E>> {
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let (driver_word, driver_block) = (size(driver.word.max(driver.read)), size(driver.block));
        let word = if self.word_bytes == 0 { driver_word } else { self.word_bytes };
        let block = if self.block_bytes == 0 { driver_block } else { self.block_bytes };
        if !word.is_multiple_of(size(driver.word)) || !word.is_multiple_of(size(driver.read)) {
            return Err(Error::Geometry(GeometryError::Word));
        }
        if block == 0 || !block.is_multiple_of(driver_block) {
            return Err(Error::Geometry(GeometryError::BlockBytes));
        }
        let whole = partition.start.is_multiple_of(block) && partition.end.is_multiple_of(block);
        let inside = partition.end as usize <= driver.capacity;
        let bytes = partition.end.checked_sub(partition.start).filter(|_| whole && inside);
        let bytes = bytes.ok_or(Error::Partition)?;
        Geometry::new(word, block, bytes.checked_div(block).unwrap_or_default()).map_err(Error::Geometry)
    }
}

/// Sizes of a driver, bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Of what is programmed, and read, at once.
    pub(crate) word: usize,
    pub(crate) read: usize,
    /// Of what is erased at once.
    pub(crate) block: usize,
    pub(crate) capacity: usize,
}
