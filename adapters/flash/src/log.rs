//! The log over a driver.
//!
//! ```text
//!  append ─► interrupted? ─► remount ─► operation of core ─► Part ─► driver
//! ```
//!
//! Invariant: an operation that was dropped or failed leaves the log interrupted, and the next one mounts before anything else.

use core::ops::Range;

use strandline_core::media::nor::{self, Error as Refusal, Geometry};
use strandline_core::types::Lsn;

use super::part::{Carrier, Part};
use super::ring::{self, Port, Snapshot};
use super::{NorFlash, twin};
use crate::record::aligned;
use crate::{Check, Config, Error, Record};

/// A log on a partition of a flash.
///
/// An operation that failed, or was dropped while it waited, leaves the log as a power cut would: the next one mounts again by
/// itself, and what was acknowledged is there.
pub struct Log<'s, F: NorFlash> {
    pub(super) part: Part<F>,
    pub(super) scratch: &'s mut [u8],
    pub(super) log: ring::Log<Check>,
}

#[twin]
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
        let (mut part, geometry) = Part::new(flash, partition, &config)?;
        let scratch = aligned(scratch);
        let options = config.options();
        let mut port = part.port(&mut *scratch, geometry);
        let log = ring::Log::mount(&mut port, geometry, config.store, options).await;
        let log = port.driver().done(log)?;
        Ok(Self { part, scratch, log })
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
        let (mut part, geometry) = Part::new(flash, partition, &config)?;
        let scratch = aligned(scratch);
        let options = config.options();
        let mut port = part.port(&mut *scratch, geometry);
        let log = ring::Log::format(&mut port, geometry, config.store, options).await;
        let log = port.driver().done(log)?;
        Ok(Self { part, scratch, log })
    }

    /// Appends a record. When this returns it is durable.
    ///
    /// # Errors
    /// [`Error::Log`] with `Full`, `NeedsSnapshot` or `TooLarge`: nothing was written. [`Error::Flash`]: the next operation
    /// mounts again, and tells whether the record is there.
    pub async fn append(&mut self, record: &[u8]) -> Result<Lsn, Error<F::Error>> {
        self.append_all(&[record]).await
    }

    /// Appends up to 255 records: all of them or none. Answers the LSN of the last one.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn append_all(&mut self, records: &[&[u8]]) -> Result<Lsn, Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let done = self.log.append_all(&mut port, records).await;
        port.driver().done(done)
    }

    /// Gives up all records before this LSN that fill whole blocks, and says which one is the oldest now.
    ///
    /// # Errors
    /// [`Error::Log`] with `NoSuchLsn`: it is beyond the next one.
    pub async fn trim(&mut self, before: Lsn) -> Result<Lsn, Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let done = self.log.trim(&mut port, before).await;
        port.driver().done(done)
    }

    /// Erases the next block ahead if fewer than `within` bytes are left in this one: called in idle time, no append has to.
    ///
    /// # Errors
    /// [`Error::Flash`].
    pub async fn maintain(&mut self, within: u32) -> Result<(), Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let done = self.log.maintain(&mut port, within).await;
        port.driver().done(done)
    }

    /// Reads all records that the newest snapshot does not hold, oldest first.
    ///
    /// # Errors
    /// [`Error::Log`] with `Corrupt`; [`Error::Flash`].
    pub async fn records(&mut self) -> Result<Records<'_, F>, Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let reader = self.log.records(&mut port).await;
        let reader = port.driver().done(reader)?;
        Ok(Records(self.reading(reader)))
    }

    /// Reads all records from an LSN on, or from the oldest one on that there is.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub async fn records_from(&mut self, lsn: Lsn) -> Result<Records<'_, F>, Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let reader = self.log.records_from(&mut port, lsn).await;
        let reader = port.driver().done(reader)?;
        Ok(Records(self.reading(reader)))
    }

    /// Reads records newest first.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub async fn records_backward(&mut self) -> Result<Backward<'_, F>, Error<F::Error>> {
        self.ready().await?;
        let reader = self.log.records_backward();
        Ok(Backward(self.reading(reader)))
    }

    /// Begins a snapshot of the state after the newest record. `blocks` is how many it takes at most: each write takes 8 bytes
    /// and padding beside its bytes. A record that is appended before it is committed makes it void.
    ///
    /// # Errors
    /// [`Error::Log`] with `TooFewBlocks`, or `Full`: there is no room for so many.
    pub async fn begin_snapshot(&mut self, blocks: u32) -> Result<Snapshot, Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let done = self.log.begin_snapshot(&mut port, blocks).await;
        port.driver().done(done)
    }

    /// Adds bytes of the state to a snapshot.
    ///
    /// # Errors
    /// [`Error::Log`] with `Full`, or with `Abandoned`: a record was appended, another snapshot was begun, or the log was mounted
    /// again meanwhile.
    pub async fn write_snapshot(
        &mut self,
        snapshot: &mut Snapshot,
        state: &[u8],
    ) -> Result<(), Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let done = self.log.write_snapshot(&mut port, snapshot, state).await;
        port.driver().done(done)
    }

    /// Makes the snapshot real: from here on only it and what follows it is needed.
    ///
    /// # Errors
    /// As [`Log::write_snapshot`].
    pub async fn commit_snapshot(&mut self, snapshot: Snapshot) -> Result<(), Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let done = self.log.commit_snapshot(&mut port, snapshot).await;
        port.driver().done(done)
    }

    /// Reads the newest snapshot, if there is one.
    ///
    /// # Errors
    /// [`Error::Log`] with `Corrupt`; [`Error::Flash`].
    pub async fn snapshot(&mut self) -> Result<Option<State<'_, F>>, Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let reader = self.log.snapshot(&mut port).await;
        let reader = port.driver().done(reader)?;
        Ok(reader.map(|reader| State(self.reading(reader))))
    }

    /// LSN of the newest record that is durable. The newest one that a start finds is durable after the next write.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.log.durable()
    }

    /// LSN of the next record.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.log.next_lsn()
    }

    /// The largest record or group that is taken, bytes.
    #[must_use]
    pub fn max_record(&self) -> u32 {
        self.log.geometry().max_record(self.scratch.len())
    }

    /// The sizes of the partition.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.log.geometry()
    }

    /// The flash. Nothing is lost: whatever was acknowledged is on it.
    pub fn into_flash(self) -> F {
        self.part.into_flash()
    }

    /// Mounts again where an operation was dropped or failed.
    pub(super) async fn ready(&mut self) -> Result<(), Error<F::Error>> {
        if !self.log.needs_mount() {
            return Ok(());
        }
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let done = self.log.remount(&mut port).await;
        port.driver().done(done)
    }

    fn reading<R>(&mut self, reader: R) -> Reading<'_, F, R> {
        let port = self.part.port(&mut *self.scratch, self.log.geometry());
        Reading { port, log: &self.log, reader, reads: false }
    }
}

/// Reads what is on the flash, one piece at a time, each of which stands in the scratch until the next.
struct Reading<'l, F: NorFlash, R> {
    port: Port<'l, Carrier<'l, F>>,
    log: &'l ring::Log<Check>,
    reader: R,
    /// In the middle of a read, or one ended there.
    reads: bool,
}

impl<F: NorFlash, R> Reading<'_, F, R> {
    /// A reader that was dropped in the middle, or failed, does not know where it is.
    fn begin(&mut self) -> Result<(), Error<F::Error>> {
        if core::mem::replace(&mut self.reads, true) { Err(Error::Log(Refusal::Interrupted)) } else { Ok(()) }
    }

    fn done<T>(&mut self, done: Result<T, Refusal>) -> Result<T, Error<F::Error>> {
        self.reads = done.is_err();
        self.port.driver().done(done)
    }

    fn record(&self, found: nor::Record) -> Record<'_> {
        let nor::Record { lsn, provisional, bytes } = found;
        Record { lsn, provisional, bytes: self.port.bytes(bytes) }
    }
}

/// Reads records, oldest first.
pub struct Records<'l, F: NorFlash>(Reading<'l, F, ring::Records<Check>>);

#[twin]
impl<F: NorFlash> Records<'_, F> {
    /// The next record, which stands in the scratch until the one after it is asked for.
    ///
    /// # Errors
    /// [`Error::Log`] with `Corrupt`, `Newer` or `NeedsScratch`; [`Error::Flash`]. After an error the reader is
    /// of no more use: ask for another one.
    #[allow(clippy::should_implement_trait, reason = "what it lends is gone at the next call")]
    pub async fn next(&mut self) -> Result<Option<Record<'_>>, Error<F::Error>> {
        let reading = &mut self.0;
        reading.begin()?;
        let found = reading.reader.next(&mut reading.port).await;
        Ok(reading.done(found)?.map(|record| reading.record(record)))
    }
}

/// Reads records, newest first.
pub struct Backward<'l, F: NorFlash>(Reading<'l, F, ring::Backward>);

#[twin]
impl<F: NorFlash> Backward<'_, F> {
    /// The next older record, which stands in the scratch until the one before it is asked for.
    ///
    /// # Errors
    /// As [`Records::next`].
    #[allow(clippy::should_implement_trait, reason = "what it lends is gone at the next call")]
    pub async fn next(&mut self) -> Result<Option<Record<'_>>, Error<F::Error>> {
        let reading = &mut self.0;
        reading.begin()?;
        let found = reading.reader.next(reading.log, &mut reading.port).await;
        Ok(reading.done(found)?.map(|record| reading.record(record)))
    }
}

/// Reads the state of a snapshot.
pub struct State<'l, F: NorFlash>(Reading<'l, F, ring::SnapshotReader>);

#[twin]
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
    #[allow(clippy::should_implement_trait, reason = "what it lends is gone at the next call")]
    pub async fn next(&mut self) -> Result<Option<&[u8]>, Error<F::Error>> {
        let reading = &mut self.0;
        reading.begin()?;
        let found = reading.reader.next(reading.log, &mut reading.port).await;
        Ok(reading.done(found)?.map(|span| reading.port.bytes(span)))
    }
}
