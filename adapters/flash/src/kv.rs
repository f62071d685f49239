//! The map of settings over a driver that blocks.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;
use serde::{Deserialize, Serialize};

use crate::handle::MapHandle;
use crate::medium::{Blocking, now};
use crate::{Config, Error, Geometry};

/// A map of settings on a partition of a flash, over a driver that blocks.
///
/// It holds at most `BYTES` bytes in RAM: 2 for each entry, its key and its value, and an update beside what it replaces. Its
/// partition needs three blocks more than twice those of a snapshot of all of it.
pub struct Kv<'s, F: NorFlash, const BYTES: usize> {
    handle: MapHandle<'s, Blocking<F>, BYTES>,
}

impl<'s, F: NorFlash, const BYTES: usize> Kv<'s, F, BYTES> {
    /// Opens the map that is on a partition, or an empty one where all is erased. Nothing is written. It has a policy and a
    /// reserve of its own; the largest group of updates, and 64 bytes, must fit into the scratch.
    ///
    /// # Errors
    /// As [`crate::Log::open`]; [`Error::Log`] with `TooFewBlocks`; [`Error::NotAMap`]; [`Error::MapFull`]: it was larger when it was
    /// written.
    pub fn open(
        flash: F,
        partition: Range<u32>,
        config: Config<F::Error>,
        scratch: &'s mut [u8],
    ) -> Result<Self, Error<F::Error>> {
        let handle = now(MapHandle::open(Blocking(flash), partition, config, scratch))?;
        Ok(Self { handle })
    }

    /// Erases the whole partition, whatever it holds, and opens the empty map on it.
    ///
    /// # Errors
    /// As [`Kv::open`].
    pub fn format(
        flash: F,
        partition: Range<u32>,
        config: Config<F::Error>,
        scratch: &'s mut [u8],
    ) -> Result<Self, Error<F::Error>> {
        let handle = now(MapHandle::format(Blocking(flash), partition, config, scratch))?;
        Ok(Self { handle })
    }

    /// The value of a key. Where the last operation failed it is what that left: [`Kv::refresh`] reads again.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.handle.map().get(key)
    }

    /// The value of a key, as a type that was inserted with [`Kv::insert_value`].
    ///
    /// # Errors
    /// [`Error::OtherType`].
    pub fn value<'m, T: Deserialize<'m>>(&'m self, key: &[u8]) -> Result<Option<T>, Error<F::Error>> {
        Ok(self.handle.map().value(key)?)
    }

    /// All keys and values, the ones that were updated longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.handle.map().iter()
    }

    /// Gives a key a value. When this returns it is durable.
    ///
    /// # Errors
    /// [`Error::MapFull`], [`Error::BadEntry`], [`Error::Log`] with `TooLarge`: nothing was written. [`Error::Flash`]: the next
    /// update reads again, and tells.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error<F::Error>> {
        now(self.handle.insert_all(&[(key, value)]))
    }

    /// Gives several keys their values: all of them or none.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub fn insert_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Error<F::Error>> {
        now(self.handle.insert_all(pairs))
    }

    /// Gives a key a value of any type that serde knows, in postcard's encoding.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub fn insert_value<T: Serialize>(&mut self, key: &[u8], value: &T) -> Result<(), Error<F::Error>> {
        now(self.handle.insert_value(key, value))
    }

    /// Removes a key, and says whether it was there.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub fn remove(&mut self, key: &[u8]) -> Result<bool, Error<F::Error>> {
        now(self.handle.remove(key))
    }

    /// Erases ahead in idle time, as [`crate::Log::maintain`] does.
    ///
    /// # Errors
    /// [`Error::Flash`].
    pub fn maintain(&mut self, within: u32) -> Result<(), Error<F::Error>> {
        now(self.handle.maintain(within))
    }

    /// Reads the map again if an operation of it failed.
    ///
    /// # Errors
    /// As [`Kv::open`].
    pub fn refresh(&mut self) -> Result<(), Error<F::Error>> {
        now(self.handle.ready())
    }

    /// The sizes of the partition.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.handle.map().geometry()
    }

    /// The flash. Nothing is lost: whatever was acknowledged is on it.
    pub fn into_flash(self) -> F {
        self.handle.into_medium().0
    }
}
