//! The log and the map over a driver that waits.

use core::ops::Range;

use embedded_storage_async::nor_flash::NorFlash;
use serde::{Deserialize, Serialize};
use strandline_core::media::nor::{self, Geometry, Snapshot};
use strandline_core::types::{Lsn, StoreId};

use crate::handle::{Check, Handle, MapHandle, Reading};
use crate::medium::Waiting;
use crate::{Config, Error, Export, Record};

/// A log on a partition of a flash, over a driver that waits.
///
/// It does what [`crate::Log`] does, by the same code. To drop one of its futures is to lose power in it: the next operation
/// mounts again by itself, and what was acknowledged is there. Futures are not `Send`: one task keeps the log.
pub struct Log<'s, F: NorFlash> {
    handle: Handle<'s, Waiting<F>>,
}

impl<'s, F: NorFlash> Log<'s, F> {
    /// Opens the log that is on a partition, or an empty one where all is erased. Nothing is written. `partition` is in bytes of
    /// the flash; `scratch` is what all reads and writes go through: the largest record and 64 bytes are enough for words of up
    /// to 8 bytes, and more makes reading faster. A `&mut F` is a flash too: lend it to keep it when this fails.
    ///
    /// # Errors
    /// [`Error::Partition`], [`Error::Geometry`]: the sizes can't be used. [`Error::Log`] names what the partition holds if it
    /// is not this log. [`Error::Flash`].
    pub async fn open(
        flash: F,
        partition: Range<u32>,
        config: Config<F::Error>,
        scratch: &'s mut [u8],
    ) -> Result<Self, Error<F::Error>> {
        let handle = Handle::open(Waiting(flash), partition, config, scratch).await?;
        Ok(Self { handle })
    }

    /// Erases the whole partition, whatever it holds, and opens the empty log on it.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub async fn format(
        flash: F,
        partition: Range<u32>,
        config: Config<F::Error>,
        scratch: &'s mut [u8],
    ) -> Result<Self, Error<F::Error>> {
        let handle = Handle::format(Waiting(flash), partition, config, scratch).await?;
        Ok(Self { handle })
    }

    /// Appends a record. When this returns it is durable.
    ///
    /// # Errors
    /// [`Error::Log`] with `Full`, `NeedsSnapshot` or `TooLarge`: nothing was written. [`Error::Flash`]: the next operation
    /// mounts again, and tells whether the record is there.
    pub async fn append(&mut self, record: &[u8]) -> Result<Lsn, Error<F::Error>> {
        self.handle.append_all(&[record]).await
    }

    /// Appends up to 255 records: all of them or none. Answers the LSN of the last one.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_all(&mut self, records: &[&[u8]]) -> impl Future<Output = Result<Lsn, Error<F::Error>>> {
        self.handle.append_all(records)
    }

    /// Gives up all records before this LSN that fill whole blocks, and says which one is the oldest now.
    ///
    /// # Errors
    /// [`Error::Log`] with `NoSuchLsn`: it is beyond the next one.
    pub fn trim(&mut self, before: Lsn) -> impl Future<Output = Result<Lsn, Error<F::Error>>> {
        self.handle.trim(before)
    }

    /// Erases the next block ahead if fewer than `within` bytes are left in this one: called in idle time, no append has to.
    ///
    /// # Errors
    /// [`Error::Flash`].
    pub fn maintain(&mut self, within: u32) -> impl Future<Output = Result<(), Error<F::Error>>> {
        self.handle.maintain(within)
    }

    /// Reads all records that the newest snapshot does not hold, oldest first.
    ///
    /// # Errors
    /// [`Error::Log`] with `Corrupt`; [`Error::Flash`].
    pub async fn records(&mut self) -> Result<Records<'_, F>, Error<F::Error>> {
        Ok(Records(self.handle.records(None).await?))
    }

    /// Reads all records from an LSN on, or from the oldest one on that there is.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub async fn records_from(&mut self, lsn: Lsn) -> Result<Records<'_, F>, Error<F::Error>> {
        Ok(Records(self.handle.records(Some(lsn)).await?))
    }

    /// Reads records newest first.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub async fn records_backward(&mut self) -> Result<Backward<'_, F>, Error<F::Error>> {
        Ok(Backward(self.handle.records_backward().await?))
    }

    /// Begins a snapshot of the state after the newest record. `blocks` is how many it takes at most: each write takes 8 bytes
    /// and padding beside its bytes. A record that is appended before it is committed makes it void.
    ///
    /// # Errors
    /// [`Error::Log`] with `TooFewBlocks`, or `Full`: there is no room for so many.
    pub fn begin_snapshot(&mut self, blocks: u32) -> impl Future<Output = Result<Snapshot, Error<F::Error>>> {
        self.handle.begin_snapshot(blocks)
    }

    /// Adds bytes of the state to a snapshot.
    ///
    /// # Errors
    /// [`Error::Log`] with `Full`, or with `Abandoned`: a record was appended, another snapshot was begun, or the log was mounted
    /// again meanwhile.
    pub fn write_snapshot(
        &mut self,
        snapshot: &mut Snapshot,
        state: &[u8],
    ) -> impl Future<Output = Result<(), Error<F::Error>>> {
        self.handle.write_snapshot(snapshot, state)
    }

    /// Makes the snapshot real: from here on only it and what follows it is needed.
    ///
    /// # Errors
    /// As [`Log::write_snapshot`].
    pub fn commit_snapshot(
        &mut self,
        snapshot: Snapshot,
    ) -> impl Future<Output = Result<(), Error<F::Error>>> {
        self.handle.commit_snapshot(snapshot)
    }

    /// Reads the newest snapshot, if there is one.
    ///
    /// # Errors
    /// [`Error::Log`] with `Corrupt`; [`Error::Flash`].
    pub async fn snapshot(&mut self) -> Result<Option<State<'_, F>>, Error<F::Error>> {
        Ok(self.handle.snapshot().await?.map(State))
    }

    /// Prepares to hand the records over a link. `store` is the id that the log was opened with.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub async fn export(&mut self, store: StoreId) -> Result<Export, Error<F::Error>> {
        self.handle.export(store).await
    }

    /// Builds the next chunk of an export in `out`, which is as long as the link's unit (12 to 4000 bytes), and says how many
    /// bytes it has; `None` when nothing is to be sent until a reply arrives.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub async fn next_chunk(
        &mut self,
        export: &mut Export,
        out: &mut [u8],
    ) -> Result<Option<usize>, Error<F::Error>> {
        self.handle.next_chunk(export, out).await
    }

    /// LSN of the newest record that is durable. The newest one that a start finds is durable after the next write.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.handle.log().durable()
    }

    /// LSN of the next record.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.handle.log().next_lsn()
    }

    /// The largest record or group that is taken, bytes.
    #[must_use]
    pub fn max_record(&self) -> u32 {
        self.handle.max_record()
    }

    /// The sizes of the partition.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.handle.log().geometry()
    }

    /// The flash. Nothing is lost: whatever was acknowledged is on it.
    pub fn into_flash(self) -> F {
        self.handle.into_medium().0
    }
}

/// Reads records, oldest first.
pub struct Records<'l, F: NorFlash>(Reading<'l, Waiting<F>, nor::Records<Check>>);

impl<F: NorFlash> Records<'_, F> {
    /// The next record, which stands in the scratch until the one after it is asked for.
    ///
    /// # Errors
    /// [`Error::Log`] with `Corrupt`, `Newer` or `NeedsScratch`; [`Error::Flash`]. After an error, or when it was dropped before its end, the reader is
    /// of no more use: ask for another one.
    #[expect(clippy::should_implement_trait, reason = "what it lends is gone at the next call")]
    pub fn next(&mut self) -> impl Future<Output = Result<Option<Record<'_>>, Error<F::Error>>> {
        self.0.next()
    }
}

/// Reads records, newest first.
pub struct Backward<'l, F: NorFlash>(Reading<'l, Waiting<F>, nor::Backward>);

impl<F: NorFlash> Backward<'_, F> {
    /// The next older record, which stands in the scratch until the one before it is asked for.
    ///
    /// # Errors
    /// As [`Records::next`].
    #[expect(clippy::should_implement_trait, reason = "what it lends is gone at the next call")]
    pub fn next(&mut self) -> impl Future<Output = Result<Option<Record<'_>>, Error<F::Error>>> {
        self.0.next()
    }
}

/// Reads the state of a snapshot.
pub struct State<'l, F: NorFlash>(Reading<'l, Waiting<F>, nor::SnapshotReader>);

impl<F: NorFlash> State<'_, F> {
    /// The newest record that the state holds.
    #[must_use]
    pub fn base(&self) -> Lsn {
        self.0.reader.base()
    }

    /// The next bytes of the state, which stand in the scratch until more are asked for.
    ///
    /// # Errors
    /// As [`Records::next`].
    #[expect(clippy::should_implement_trait, reason = "what it lends is gone at the next call")]
    pub fn next(&mut self) -> impl Future<Output = Result<Option<&[u8]>, Error<F::Error>>> {
        self.0.next()
    }
}

/// A map of settings on a partition of a flash, over a driver that waits.
///
/// It holds at most `BYTES` bytes in RAM: 2 for each entry, its key and its value, and an update beside what it replaces. Its
/// partition needs three blocks more than twice those of a snapshot of all of it.
pub struct Kv<'s, F: NorFlash, const BYTES: usize> {
    handle: MapHandle<'s, Waiting<F>, BYTES>,
}

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
        let handle = MapHandle::open(Waiting(flash), partition, config, scratch).await?;
        Ok(Self { handle })
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
        let handle = MapHandle::format(Waiting(flash), partition, config, scratch).await?;
        Ok(Self { handle })
    }

    /// The value of a key. Where the last operation failed or was dropped it is what that left: [`Kv::refresh`] reads again.
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
    pub async fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error<F::Error>> {
        self.handle.insert_all(&[(key, value)]).await
    }

    /// Gives several keys their values: all of them or none.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub fn insert_all(
        &mut self,
        pairs: &[(&[u8], &[u8])],
    ) -> impl Future<Output = Result<(), Error<F::Error>>> {
        self.handle.insert_all(pairs)
    }

    /// Gives a key a value of any type that serde knows, in postcard's encoding.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub fn insert_value<T: Serialize>(
        &mut self,
        key: &[u8],
        value: &T,
    ) -> impl Future<Output = Result<(), Error<F::Error>>> {
        self.handle.insert_value(key, value)
    }

    /// Removes a key, and says whether it was there.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub fn remove(&mut self, key: &[u8]) -> impl Future<Output = Result<bool, Error<F::Error>>> {
        self.handle.remove(key)
    }

    /// Erases ahead in idle time, as [`Log::maintain`] does.
    ///
    /// # Errors
    /// [`Error::Flash`].
    pub fn maintain(&mut self, within: u32) -> impl Future<Output = Result<(), Error<F::Error>>> {
        self.handle.maintain(within)
    }

    /// Reads the map again if an operation of it failed or was dropped.
    ///
    /// # Errors
    /// As [`Kv::open`].
    pub fn refresh(&mut self) -> impl Future<Output = Result<(), Error<F::Error>>> {
        self.handle.ready()
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
