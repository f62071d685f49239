//! Fills one batch in a lent buffer.
//!
//! ```text
//!            place.offset
//!  buffer    | [EXTENT .. pad] | MARK | RECORD | ... | PAD |
//!              first batch only  reserved at open, encoded at close
//! ```
//!
//! Invariants: a batch lies in one segment; its place is fixed when it is opened, because checksums start from it; the buffer
//! holds exactly the bytes that go to `place.offset`.
//! It does not decide when a batch is closed, nor where it goes.

use super::{batch_start, group, mark::Mark, mark_bytes};
use crate::codec::check::{Checksum, Seed};
use crate::codec::extent::{ExtentHeader, HeaderRole};
use crate::codec::frame::{Framing, HEADER, Kind, LONG_HEADER, Slot};
use crate::geometry::Geometry;
use crate::types::{Epoch, LogId, Lsn, Millis, Position, Revision, Settled, StoreId};

/// Where a batch goes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Number of the extent.
    pub extent: u32,
    /// Segment and offset of the first byte of the buffer. Offset 0 means that the batch opens the segment.
    pub position: Position,
}

/// What a batch's mark and header say about the world when it is closed.
#[derive(Clone, Copy, Debug)]
pub struct Witness {
    /// What is durable now.
    pub settled: Settled,
    /// The newest durable manifest revision.
    pub revision: Revision,
    /// Now.
    pub time: Millis,
    /// Whether this mark closes the log.
    pub seal: bool,
}

/// Whose segments are written.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// The store.
    pub store: StoreId,
    /// Its current epoch.
    pub epoch: Epoch,
    /// Its sizes.
    pub geometry: Geometry,
}

/// A batch that is being filled.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Where it goes.
    pub place: Place,
    /// LSN of its first record.
    pub first: Lsn,
    /// Records in it.
    pub records: u32,
    /// Bytes of the buffer in use, the reserved places included.
    pub used: u32,
    /// Bytes of the buffer that may be used: a multiple of the batch border, so that the padding fits.
    pub limit: u32,
    framing: Framing,
    mark_at: u32,
}

impl Writer {
    /// Opens a batch at `place`, whose first record will be `first`, in a buffer of `capacity` bytes.
    #[must_use]
    pub fn open<C: Checksum>(&self, place: Place, first: Lsn, capacity: usize) -> Batch {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX) & !(self.geometry.batch_align - 1);
        let mark_at = if place.position.offset == 0 { batch_start(self.geometry) } else { 0 };
        Batch {
            place,
            first,
            records: 0,
            used: mark_at + mark_bytes(self.geometry),
            limit: capacity.min(self.geometry.extent_bytes.saturating_sub(place.position.offset)),
            framing: self.framing::<C>(place.position.log),
            mark_at,
        }
    }

    /// Bytes that a record of `payload` bytes takes.
    #[must_use]
    #[inline]
    pub fn record_bytes(&self, payload: usize) -> usize {
        Framing { write_unit: self.geometry.write_unit as usize, seed: Seed::HEADER }.frame_bytes(payload)
    }

    fn framing<C: Checksum>(&self, log: LogId) -> Framing {
        Framing {
            write_unit: self.geometry.write_unit as usize,
            seed: Seed::wal::<C>(self.store, self.epoch, log),
        }
    }
}

impl Batch {
    /// LSN of the record after the last one in this batch.
    #[must_use]
    #[inline]
    pub fn next(&self) -> Lsn {
        self.first.plus(u64::from(self.records))
    }

    /// Position behind what is in the batch so far.
    #[must_use]
    pub fn end(&self) -> Position {
        let start = self.place.position;
        Position { log: start.log, offset: start.offset.saturating_add(self.used) }
    }

    /// Adds a record; `None` (nothing changed) if the buffer is too short.
    #[inline]
    pub fn push<C: Checksum>(&mut self, record: &[u8], buffer: &mut [u8]) -> Option<Lsn> {
        let lsn = self.next();
        let slot = Slot { offset: u64::from(self.place.position.offset) + u64::from(self.used), lsn };
        let out = buffer.get_mut(self.used as usize..)?;
        let bytes = self.framing.encode::<C>(Kind::Record, slot, record, out)?;
        self.used += u32::try_from(bytes).ok()?;
        self.records += 1;
        Some(lsn)
    }

    /// Adds records under one checksum, all or nothing; returns the LSN of the first. `None` (nothing changed) if the buffer is
    /// too short or there is no record.
    pub fn push_group<C: Checksum>(&mut self, records: &[&[u8]], buffer: &mut [u8]) -> Option<Lsn> {
        let first = self.next();
        let count = u32::try_from(records.len()).ok().filter(|count| *count > 0)?;
        let payload = group::payload_bytes(records.iter().map(|record| record.len()))?;
        let start = if payload > usize::from(u16::MAX) { LONG_HEADER } else { HEADER };
        let from = self.used as usize;
        let out = buffer.get_mut(from..from.checked_add(self.framing.frame_bytes(payload))?)?;
        group::encode(records, out.get_mut(start..start + payload)?)?;
        let slot = Slot { offset: u64::from(self.place.position.offset) + u64::from(self.used), lsn: first };
        self.framing.seal::<C>(Kind::Group, slot, payload, out)?;
        self.used += u32::try_from(out.len()).ok()?;
        self.records += count;
        Some(first)
    }

    /// Pads the batch to its border and writes its mark, and the header of the segment that it opens. Returns the bytes to
    /// write; `None` if the buffer can't hold the padding.
    pub fn close<C: Checksum>(
        &mut self,
        writer: &Writer,
        witness: &Witness,
        buffer: &mut [u8],
    ) -> Option<u32> {
        let end = writer.geometry.align(self.end().offset) - self.place.position.offset;
        self.close_at::<C>(writer, witness, end, buffer)
    }

    /// The same, padded to `end` bytes: a batch border that is not in front of what is in the batch, and less than 64 KiB behind it.
    pub fn close_at<C: Checksum>(
        &mut self,
        writer: &Writer,
        witness: &Witness,
        end: u32,
        buffer: &mut [u8],
    ) -> Option<u32> {
        let geometry = writer.geometry;
        end.checked_sub(self.used).filter(|gap| *gap <= u32::from(u16::MAX))?;
        self.pad::<C>(self.used, end, self.next(), buffer)?;
        self.used = end;
        if self.mark_at > 0 {
            let header = ExtentHeader {
                role: HeaderRole::Wal,
                geometry: ExtentHeader::geometry_of(geometry),
                store: writer.store,
                log: self.place.position.log,
                epoch: writer.epoch,
                fence: self.first,
                settled: witness.settled,
                revision: witness.revision,
                time: witness.time,
            };
            let bytes = header.encode::<C>(geometry.write_unit, buffer)?;
            self.pad::<C>(u32::try_from(bytes).ok()?, self.mark_at, self.first, buffer)?;
        }
        let mark = Mark {
            settled: witness.settled,
            next: self.first,
            time: witness.time,
            revision: witness.revision,
            batch_bytes: end - self.mark_at,
            records: self.records,
            seal: witness.seal,
        };
        let slot = self.slot(self.mark_at, self.first);
        let out = buffer.get_mut(self.mark_at as usize..(self.mark_at + mark_bytes(geometry)) as usize)?;
        self.framing.encode::<C>(Kind::Mark, slot, &mark.encode(), out)?;
        Some(end)
    }

    /// Fills `from..to` with one PAD frame. A gap is a multiple of the write unit, so it holds at least a frame header.
    fn pad<C: Checksum>(&self, from: u32, to: u32, next: Lsn, buffer: &mut [u8]) -> Option<()> {
        if from == to {
            return Some(());
        }
        let payload = (to - from) as usize - HEADER;
        let out = buffer.get_mut(from as usize..to as usize)?;
        out.fill(0);
        self.framing.seal::<C>(Kind::Pad, self.slot(from, next), payload, out)
    }

    fn slot(&self, at: u32, lsn: Lsn) -> Slot {
        Slot { offset: u64::from(self.place.position.offset) + u64::from(at), lsn }
    }
}
