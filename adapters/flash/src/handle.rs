//! The operations of the log over any driver. What blocks and what waits are both this code.
//!
//! ```text
//!  append ─► interrupted? ─► remount      operation of core ─► Request ─► lower ─► Step ─► driver
//!              │ no                                ▲                                        │
//!              └──────────────────────────────────┴── complete ◄── unreadable? by words ◄───┘
//! ```
//!
//! Invariant: an operation that was dropped or failed leaves the log interrupted, and the next one mounts before anything else.

use core::ops::Range;
use core::pin::{Pin, pin};

use serde::Serialize;
use strandline_core::kv;
use strandline_core::lower::nor::{Step, lower};
use strandline_core::media::nor::{
    self, Error as Refusal, Fault, Geometry, Output, Port, Request, Snapshot, SnapshotReader, Span,
};
use strandline_core::types::Lsn;

use crate::medium::Medium;
use crate::{Config, Error, ReadFailure};

/// The checksum of the log. Which one it is does not show in the bytes.
#[cfg(not(feature = "table"))]
pub(crate) type Check = strandline_core::codec::check::BitwiseCheck;
/// The checksum of the log. Which one it is does not show in the bytes.
#[cfg(feature = "table")]
pub(crate) type Check = strandline_core::codec::check::TableCheck;

/// What an operation over the driver `M` comes to.
pub(crate) type Done<T, M> = Result<T, Error<<M as Medium>::Error>>;

/// A partition of a flash.
pub(crate) struct Part<M: Medium> {
    medium: M,
    /// Where the partition begins.
    base: u32,
    judge: fn(&M::Error) -> ReadFailure,
}

impl<M: Medium> Part<M> {
    pub(crate) fn new(medium: M, base: u32, judge: fn(&M::Error) -> ReadFailure) -> Self {
        Self { medium, base, judge }
    }

    pub(crate) fn into_medium(self) -> M {
        self.medium
    }

    /// Runs an operation of core to its end.
    pub(crate) async fn run<T, R: Into<Error<M::Error>>>(
        &mut self,
        port: &Port<'_>,
        geometry: Geometry,
        mut operation: Pin<&mut impl Future<Output = Result<T, R>>>,
    ) -> Done<T, M> {
        let mut failed = None;
        loop {
            let request = match port.poll(operation.as_mut()) {
                Output::Done(done) => {
                    return done.map_err(|refusal| match (refusal.into(), failed) {
                        (Error::Log(Refusal::Medium), Some(error)) => Error::Flash(error),
                        (refusal, _) => refusal,
                    });
                }
                Output::Do(request) => request,
            };
            let mut lent = port.borrow();
            let done = self.carry_out(request, geometry, lent.span(request)).await;
            drop(lent);
            port.complete(done.map_err(|error| {
                failed = Some(error);
                Fault
            }));
        }
    }

    async fn carry_out(
        &mut self,
        request: Request,
        geometry: Geometry,
        bytes: &mut [u8],
    ) -> Result<(), M::Error> {
        match lower(request, geometry) {
            Step::Erase { from, to } => {
                self.medium.erase(self.base.saturating_add(from), self.base.saturating_add(to)).await
            }
            Step::Program { address } => self.medium.program(self.base.saturating_add(address), bytes).await,
            Step::Read { address } => {
                let from = self.base.saturating_add(address);
                match self.medium.read(from, bytes).await {
                    Err(error) if (self.judge)(&error) == ReadFailure::Unreadable => {
                        self.read_words(from, bytes, geometry.word()).await
                    }
                    done => done,
                }
            }
        }
    }

    /// Reads word by word. What can't be read comes out as zeros: no frame and no header begins or verifies with them.
    async fn read_words(&mut self, from: u32, bytes: &mut [u8], word: u32) -> Result<(), M::Error> {
        let mut address = from;
        for bytes in bytes.chunks_mut(word as usize) {
            match self.medium.read(address, bytes).await {
                Err(error) if (self.judge)(&error) == ReadFailure::Unreadable => bytes.fill(0),
                done => done?,
            }
            address = address.saturating_add(word);
        }
        Ok(())
    }
}

/// A log that is open, over any driver.
pub(crate) struct Handle<'s, M: Medium> {
    pub(crate) part: Part<M>,
    pub(crate) scratch: &'s mut [u8],
    pub(crate) log: nor::Log<Check>,
}

impl<'s, M: Medium> Handle<'s, M> {
    pub(crate) async fn open(
        medium: M,
        partition: Range<u32>,
        config: Config<M::Error>,
        scratch: &'s mut [u8],
    ) -> Done<Self, M> {
        let geometry = config.geometry(&medium, &partition)?;
        let (store, options) = (config.store, config.options());
        let mut part = Part::new(medium, partition.start, config.judge);
        let scratch = aligned(scratch);
        let port = Port::new(scratch);
        let log = part.run(&port, geometry, pin!(nor::Log::mount(&port, geometry, store, options))).await?;
        Ok(Self { part, scratch, log })
    }

    pub(crate) async fn format(
        medium: M,
        partition: Range<u32>,
        config: Config<M::Error>,
        scratch: &'s mut [u8],
    ) -> Done<Self, M> {
        let geometry = config.geometry(&medium, &partition)?;
        let (store, options) = (config.store, config.options());
        let mut part = Part::new(medium, partition.start, config.judge);
        let scratch = aligned(scratch);
        let port = Port::new(scratch);
        let log = part.run(&port, geometry, pin!(nor::Log::format(&port, geometry, store, options))).await?;
        Ok(Self { part, scratch, log })
    }

    /// Mounts again where an operation was dropped or failed.
    pub(crate) async fn ready(&mut self) -> Done<(), M> {
        if !self.log.needs_mount() {
            return Ok(());
        }
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        self.part.run(&port, geometry, pin!(self.log.remount(&port))).await
    }

    pub(crate) async fn append_all(&mut self, records: &[&[u8]]) -> Done<Lsn, M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        self.part.run(&port, geometry, pin!(self.log.append_all(&port, records))).await
    }

    pub(crate) async fn trim(&mut self, before: Lsn) -> Done<Lsn, M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        self.part.run(&port, geometry, pin!(self.log.trim(&port, before))).await
    }

    pub(crate) async fn maintain(&mut self, within: u32) -> Done<(), M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        self.part.run(&port, geometry, pin!(self.log.maintain(&port, within))).await
    }

    pub(crate) async fn begin_snapshot(&mut self, blocks: u32) -> Done<Snapshot, M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        self.part.run(&port, geometry, pin!(self.log.begin_snapshot(&port, blocks))).await
    }

    pub(crate) async fn write_snapshot(&mut self, snapshot: &mut Snapshot, state: &[u8]) -> Done<(), M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        self.part.run(&port, geometry, pin!(self.log.write_snapshot(&port, snapshot, state))).await
    }

    pub(crate) async fn commit_snapshot(&mut self, snapshot: Snapshot) -> Done<(), M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        self.part.run(&port, geometry, pin!(self.log.commit_snapshot(&port, snapshot))).await
    }

    /// All records from an LSN on, or all that the newest snapshot does not hold.
    pub(crate) async fn records(
        &mut self,
        from: Option<Lsn>,
    ) -> Done<Reading<'_, M, nor::Records<Check>>, M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        let log = &self.log;
        let reader = async {
            match from {
                Some(lsn) => log.records_from(&port, lsn).await,
                None => log.records(&port).await,
            }
        };
        let reader = self.part.run(&port, geometry, pin!(reader)).await?;
        Ok(self.reading(reader))
    }

    pub(crate) async fn records_backward(&mut self) -> Done<Reading<'_, M, nor::Backward>, M> {
        self.ready().await?;
        let reader = self.log.records_backward();
        Ok(self.reading(reader))
    }

    pub(crate) async fn snapshot(&mut self) -> Done<Option<Reading<'_, M, SnapshotReader>>, M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        let reader = self.part.run(&port, geometry, pin!(self.log.snapshot(&port))).await?;
        Ok(reader.map(|reader| self.reading(reader)))
    }

    fn reading<R>(&mut self, reader: R) -> Reading<'_, M, R> {
        Reading { part: &mut self.part, port: Port::new(self.scratch), log: &self.log, reader, reads: false }
    }

    pub(crate) fn log(&self) -> &nor::Log<Check> {
        &self.log
    }

    pub(crate) fn max_record(&self) -> u32 {
        self.log.geometry().max_record(self.scratch.len())
    }

    pub(crate) fn into_medium(self) -> M {
        self.part.into_medium()
    }
}

/// Reads what is on the flash, one piece at a time, each of which stands in the scratch until the next.
pub(crate) struct Reading<'l, M: Medium, R> {
    part: &'l mut Part<M>,
    port: Port<'l>,
    log: &'l nor::Log<Check>,
    pub(crate) reader: R,
    /// In the middle of a read, or one was dropped there.
    reads: bool,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Record<'r> {
    /// Its LSN.
    pub lsn: Lsn,
    /// A cut may have torn it: the next start may not find it, unless something was written since.
    pub provisional: bool,
    /// What was appended.
    pub bytes: &'r [u8],
}

impl<M: Medium, R> Reading<'_, M, R> {
    /// A reader that was dropped in the middle does not know where it is.
    fn begin(&mut self) -> Done<(), M> {
        if core::mem::replace(&mut self.reads, true) { Err(Error::Log(Refusal::Interrupted)) } else { Ok(()) }
    }

    fn record(&mut self, found: Option<nor::Record>) -> Option<Record<'_>> {
        self.reads = false;
        let nor::Record { lsn, provisional, bytes } = found?;
        Some(Record { lsn, provisional, bytes: self.port.bytes(bytes) })
    }
}

impl<M: Medium> Reading<'_, M, nor::Records<Check>> {
    pub(crate) async fn next(&mut self) -> Done<Option<Record<'_>>, M> {
        self.begin()?;
        let geometry = self.log.geometry();
        let found = self.part.run(&self.port, geometry, pin!(self.reader.next(&self.port))).await?;
        Ok(self.record(found))
    }
}

impl<M: Medium> Reading<'_, M, nor::Backward> {
    pub(crate) async fn next(&mut self) -> Done<Option<Record<'_>>, M> {
        self.begin()?;
        let geometry = self.log.geometry();
        let found = self.part.run(&self.port, geometry, pin!(self.reader.next(self.log, &self.port))).await?;
        Ok(self.record(found))
    }
}

impl<M: Medium> Reading<'_, M, SnapshotReader> {
    pub(crate) async fn next(&mut self) -> Done<Option<&[u8]>, M> {
        self.begin()?;
        let geometry = self.log.geometry();
        let found: Option<Span> =
            self.part.run(&self.port, geometry, pin!(self.reader.next(self.log, &self.port))).await?;
        self.reads = false;
        Ok(found.map(|span| self.port.bytes(span)))
    }
}

/// The scratch from its first aligned byte on: drivers that copy by DMA want that. Whole words follow each other in it.
pub(crate) fn aligned(scratch: &mut [u8]) -> &mut [u8] {
    let skipped = scratch.as_ptr().align_offset(ALIGNMENT);
    scratch.get_mut(skipped..).unwrap_or_default()
}

/// What DMA engines ask for.
const ALIGNMENT: usize = 4;

/// A map that is open, over any driver.
pub(crate) struct MapHandle<'s, M: Medium, const BYTES: usize> {
    part: Part<M>,
    scratch: &'s mut [u8],
    map: kv::Kv<Check, BYTES>,
}

impl<'s, M: Medium, const BYTES: usize> MapHandle<'s, M, BYTES> {
    pub(crate) async fn open(
        medium: M,
        partition: Range<u32>,
        config: Config<M::Error>,
        scratch: &'s mut [u8],
    ) -> Done<Self, M> {
        let geometry = config.geometry(&medium, &partition)?;
        let mut part = Part::new(medium, partition.start, config.judge);
        let scratch = aligned(scratch);
        let port = Port::new(scratch);
        let map = part.run(&port, geometry, pin!(kv::Kv::open(&port, geometry, config.store))).await?;
        Ok(Self { part, scratch, map })
    }

    pub(crate) async fn format(
        medium: M,
        partition: Range<u32>,
        config: Config<M::Error>,
        scratch: &'s mut [u8],
    ) -> Done<Self, M> {
        let again = Config { judge: config.judge, ..config };
        let log = Handle::format(medium, partition.clone(), config, &mut *scratch).await?;
        Self::open(log.into_medium(), partition, again, scratch).await
    }

    /// Reads again where an operation was dropped or failed.
    pub(crate) async fn ready(&mut self) -> Done<(), M> {
        if !self.map.needs_reload() {
            return Ok(());
        }
        let port = Port::new(self.scratch);
        let geometry = self.map.geometry();
        self.part.run(&port, geometry, pin!(self.map.reload(&port))).await
    }

    pub(crate) async fn insert_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Done<(), M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.map.geometry();
        self.part.run(&port, geometry, pin!(self.map.insert_all(&port, pairs))).await
    }

    pub(crate) async fn insert_value<T: Serialize>(&mut self, key: &[u8], value: &T) -> Done<(), M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.map.geometry();
        self.part.run(&port, geometry, pin!(self.map.insert_value(&port, key, value))).await
    }

    pub(crate) async fn remove(&mut self, key: &[u8]) -> Done<bool, M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.map.geometry();
        self.part.run(&port, geometry, pin!(self.map.remove(&port, key))).await
    }

    pub(crate) async fn maintain(&mut self, within: u32) -> Done<(), M> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.map.geometry();
        self.part.run(&port, geometry, pin!(self.map.maintain(&port, within))).await
    }

    pub(crate) fn map(&self) -> &kv::Kv<Check, BYTES> {
        &self.map
    }

    pub(crate) fn into_medium(self) -> M {
        self.part.into_medium()
    }
}
