//! The map of settings over a driver.

use core::ops::Range;

use serde::{Deserialize, Serialize};

use super::part::Part;
use super::{Log, NorFlash, map, twin};
use crate::record::aligned;
use crate::{Check, Config, Error, Geometry};

/// A map of settings on a partition of a flash.
///
/// It holds at most `BYTES` bytes in RAM: 2 for each entry, its key and its value, and an update beside what it replaces. Its
/// partition needs three blocks more than twice those of a snapshot of all of it.
pub struct Kv<'s, F: NorFlash, const BYTES: usize> {
    part: Part<F>,
    scratch: &'s mut [u8],
    map: map::Kv<Check, BYTES>,
}

#[twin]
impl<'s, F: NorFlash, const BYTES: usize> Kv<'s, F, BYTES> {
    /// Opens the map that is on a partition, or an empty one where all is erased. Nothing is written. It has a policy and a
    /// reserve of its own; the largest group of updates, and 64 bytes, must fit into the scratch.
    ///
    /// # Errors
    /// As [`Log::open`]; [`Error::Log`] with `TooFewBlocks`; [`Error::NotAMap`]; [`Error::MapFull`]: it was larger when it was
    /// written.
    pub async fn open(
        flash: F,
        partition: Range<u32>,
        config: Config<F::Error>,
        scratch: &'s mut [u8],
    ) -> Result<Self, Error<F::Error>> {
        let (mut part, geometry) = Part::new(flash, partition, &config)?;
        let scratch = aligned(scratch);
        let mut port = part.port(&mut *scratch, geometry);
        let map = map::Kv::open(&mut port, geometry, config.store).await;
        let map = port.driver().done(map)?;
        Ok(Self { part, scratch, map })
    }

    /// Erases the whole partition, whatever it holds, and opens the empty map on it.
    ///
    /// # Errors
    /// As [`Kv::open`].
    pub async fn format(
        flash: F,
        partition: Range<u32>,
        config: Config<F::Error>,
        scratch: &'s mut [u8],
    ) -> Result<Self, Error<F::Error>> {
        let again = Config { judge: config.judge, ..config };
        let log = Log::format(flash, partition.clone(), config, &mut *scratch).await?;
        Self::open(log.into_flash(), partition, again, scratch).await
    }

    /// The value of a key. Where the last operation failed or was dropped it is what that left: [`Kv::refresh`] reads again.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.map.get(key)
    }

    /// The value of a key, as a type that was inserted with [`Kv::insert_value`].
    ///
    /// # Errors
    /// [`Error::OtherType`].
    pub fn value<'m, T: Deserialize<'m>>(&'m self, key: &[u8]) -> Result<Option<T>, Error<F::Error>> {
        Ok(self.map.value(key)?)
    }

    /// All keys and values, the ones that were updated longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.map.iter()
    }

    /// Gives a key a value. When this returns it is durable.
    ///
    /// # Errors
    /// [`Error::MapFull`], [`Error::BadEntry`], [`Error::Log`] with `TooLarge`: nothing was written. [`Error::Flash`]: the next
    /// update reads again, and tells.
    pub async fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error<F::Error>> {
        self.insert_all(&[(key, value)]).await
    }

    /// Gives several keys their values: all of them or none.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub async fn insert_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Error<F::Error>> {
        self.refresh().await?;
        let mut port = self.part.port(&mut *self.scratch, self.map.geometry());
        let done = self.map.insert_all(&mut port, pairs).await;
        port.driver().done(done)
    }

    /// Gives a key a value of any type that serde knows, in postcard's encoding.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub async fn insert_value<T: Serialize>(&mut self, key: &[u8], value: &T) -> Result<(), Error<F::Error>> {
        self.refresh().await?;
        let mut port = self.part.port(&mut *self.scratch, self.map.geometry());
        let done = self.map.insert_value(&mut port, key, value).await;
        port.driver().done(done)
    }

    /// Removes a key, and says whether it was there.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub async fn remove(&mut self, key: &[u8]) -> Result<bool, Error<F::Error>> {
        self.refresh().await?;
        let mut port = self.part.port(&mut *self.scratch, self.map.geometry());
        let done = self.map.remove(&mut port, key).await;
        port.driver().done(done)
    }

    /// Erases ahead in idle time, as [`Log::maintain`] does.
    ///
    /// # Errors
    /// [`Error::Flash`].
    pub async fn maintain(&mut self, within: u32) -> Result<(), Error<F::Error>> {
        self.refresh().await?;
        let mut port = self.part.port(&mut *self.scratch, self.map.geometry());
        let done = self.map.maintain(&mut port, within).await;
        port.driver().done(done)
    }

    /// Reads the map again if an operation of it failed or was dropped.
    ///
    /// # Errors
    /// As [`Kv::open`].
    pub async fn refresh(&mut self) -> Result<(), Error<F::Error>> {
        if !self.map.needs_reload() {
            return Ok(());
        }
        let mut port = self.part.port(&mut *self.scratch, self.map.geometry());
        let done = self.map.reload(&mut port).await;
        port.driver().done(done)
    }

    /// The sizes of the partition.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.map.geometry()
    }

    /// The flash. Nothing is lost: whatever was acknowledged is on it.
    pub fn into_flash(self) -> F {
        self.part.into_flash()
    }
}
