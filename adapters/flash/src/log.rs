//! The log over a driver that blocks.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;
use strandline_core::media::nor::{self, Geometry, Snapshot};
use strandline_core::types::{Lsn, StoreId};

use crate::handle::{Check, Handle, Reading};
use crate::medium::{Blocking, now};
use crate::{Config, Error, Export, Record};

/// A log on a partition of a flash, over a driver that blocks.
///
/// An operation that failed leaves the log as a power cut would: the next one mounts again by itself.
pub struct Log<'s, F: NorFlash> {
    handle: Handle<'s, Blocking<F>>,
}

impl<'s, F: NorFlash> Log<'s, F> {
    /// Opens the log that is on a partition, or an empty one where all is erased. Nothing is written. `partition` is in bytes of
    /// the flash; `scratch` is what all reads and writes go through: the largest record and 64 bytes are enough for words of up
    /// to 8 bytes, and more makes reading faster. A `&mut F` is a flash too: lend it to keep it when this fails.
    ///
    /// # Errors
    /// [`Error::Partition`], [`Error::Geometry`]: the sizes can't be used. [`Error::Log`] names what the partition holds if it
    /// is not this log. [`Error::Flash`].
    pub fn open(
        flash: F,
        partition: Range<u32>,
        config: Config<F::Error>,
        scratch: &'s mut [u8],
    ) -> Result<Self, Error<F::Error>> {
        let handle = now(Handle::open(Blocking(flash), partition, config, scratch))?;
        Ok(Self { handle })
    }

    /// Erases the whole partition, whatever it holds, and opens the empty log on it.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn format(
        flash: F,
        partition: Range<u32>,
        config: Config<F::Error>,
        scratch: &'s mut [u8],
    ) -> Result<Self, Error<F::Error>> {
        let handle = now(Handle::format(Blocking(flash), partition, config, scratch))?;
        Ok(Self { handle })
    }

    /// Appends a record. When this returns it is durable.
    ///
    /// # Errors
    /// [`Error::Log`] with `Full`, `NeedsSnapshot` or `TooLarge`: nothing was written. [`Error::Flash`]: the next operation
    /// mounts again, and tells whether the record is there.
    pub fn append(&mut self, record: &[u8]) -> Result<Lsn, Error<F::Error>> {
        now(self.handle.append_all(&[record]))
    }

    /// Appends up to 255 records: all of them or none. Answers the LSN of the last one.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_all(&mut self, records: &[&[u8]]) -> Result<Lsn, Error<F::Error>> {
        now(self.handle.append_all(records))
    }

    /// Gives up all records before this LSN that fill whole blocks, and says which one is the oldest now.
    ///
    /// # Errors
    /// [`Error::Log`] with `NoSuchLsn`: it is beyond the next one.
    pub fn trim(&mut self, before: Lsn) -> Result<Lsn, Error<F::Error>> {
        now(self.handle.trim(before))
    }

    /// Erases the next block ahead if fewer than `within` bytes are left in this one: called in idle time, no append has to.
    ///
    /// # Errors
    /// [`Error::Flash`].
    pub fn maintain(&mut self, within: u32) -> Result<(), Error<F::Error>> {
        now(self.handle.maintain(within))
    }

    /// Reads all records that the newest snapshot does not hold, oldest first.
    ///
    /// # Errors
    /// [`Error::Log`] with `Corrupt`; [`Error::Flash`].
    pub fn records(&mut self) -> Result<Records<'_, F>, Error<F::Error>> {
        Ok(Records(now(self.handle.records(None))?))
    }

    /// Reads all records from an LSN on, or from the oldest one on that there is.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub fn records_from(&mut self, lsn: Lsn) -> Result<Records<'_, F>, Error<F::Error>> {
        Ok(Records(now(self.handle.records(Some(lsn)))?))
    }

    /// Reads records newest first.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub fn records_backward(&mut self) -> Result<Backward<'_, F>, Error<F::Error>> {
        Ok(Backward(now(self.handle.records_backward())?))
    }

    /// Begins a snapshot of the state after the newest record. `blocks` is how many it takes at most: each write takes 8 bytes
    /// and padding beside its bytes. A record that is appended before it is committed makes it void.
    ///
    /// # Errors
    /// [`Error::Log`] with `TooFewBlocks`, or `Full`: there is no room for so many.
    pub fn begin_snapshot(&mut self, blocks: u32) -> Result<Snapshot, Error<F::Error>> {
        now(self.handle.begin_snapshot(blocks))
    }

    /// Adds bytes of the state to a snapshot.
    ///
    /// # Errors
    /// [`Error::Log`] with `Full`, or with `Abandoned`: a record was appended, another snapshot was begun, or the log was mounted
    /// again meanwhile.
    pub fn write_snapshot(&mut self, snapshot: &mut Snapshot, state: &[u8]) -> Result<(), Error<F::Error>> {
        now(self.handle.write_snapshot(snapshot, state))
    }

    /// Makes the snapshot real: from here on only it and what follows it is needed.
    ///
    /// # Errors
    /// As [`Log::write_snapshot`].
    pub fn commit_snapshot(&mut self, snapshot: Snapshot) -> Result<(), Error<F::Error>> {
        now(self.handle.commit_snapshot(snapshot))
    }

    /// Reads the newest snapshot, if there is one.
    ///
    /// # Errors
    /// [`Error::Log`] with `Corrupt`; [`Error::Flash`].
    pub fn snapshot(&mut self) -> Result<Option<State<'_, F>>, Error<F::Error>> {
        Ok(now(self.handle.snapshot())?.map(State))
    }

    /// Prepares to hand the records over a link. `store` is the id that the log was opened with.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub fn export(&mut self, store: StoreId) -> Result<Export, Error<F::Error>> {
        now(self.handle.export(store))
    }

    /// Builds the next chunk of an export in `out`, which is as long as the link's unit (12 to 4000 bytes), and says how many
    /// bytes it has; `None` when nothing is to be sent until a reply arrives.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub fn next_chunk(
        &mut self,
        export: &mut Export,
        out: &mut [u8],
    ) -> Result<Option<usize>, Error<F::Error>> {
        now(self.handle.next_chunk(export, out))
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
pub struct Records<'l, F: NorFlash>(Reading<'l, Blocking<F>, nor::Records<Check>>);

impl<F: NorFlash> Records<'_, F> {
    /// The next record, which stands in the scratch until the one after it is asked for.
    ///
    /// # Errors
    /// [`Error::Log`] with `Corrupt`, `Newer` or `NeedsScratch`; [`Error::Flash`]. After an error the reader is
    /// of no more use: ask for another one.
    #[expect(clippy::should_implement_trait, reason = "what it lends is gone at the next call")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Error<F::Error>> {
        now(self.0.next())
    }
}

/// Reads records, newest first.
pub struct Backward<'l, F: NorFlash>(Reading<'l, Blocking<F>, nor::Backward>);

impl<F: NorFlash> Backward<'_, F> {
    /// The next older record, which stands in the scratch until the one before it is asked for.
    ///
    /// # Errors
    /// As [`Records::next`].
    #[expect(clippy::should_implement_trait, reason = "what it lends is gone at the next call")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Error<F::Error>> {
        now(self.0.next())
    }
}

/// Reads the state of a snapshot.
pub struct State<'l, F: NorFlash>(Reading<'l, Blocking<F>, nor::SnapshotReader>);

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
    pub fn next(&mut self) -> Result<Option<&[u8]>, Error<F::Error>> {
        now(self.0.next())
    }
}
