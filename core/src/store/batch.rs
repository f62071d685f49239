//! Batches: where one is opened, when it is closed, what its mark says, and how it is written.
//!
//! ```text
//!   open half   mark | record | record ……    closes: it is full, somebody presses, or nobody else is on the way
//!                    │ turn
//!   flying half ─────┴──► Write ──► written, waiting for its sync
//! ```

use super::{Flight, Mode, Phase, Priority, Store, Wake};
use crate::action::{Action, Failure, Refused, Span};
use crate::codec::check::Checksum;
use crate::manifest::Loan;
use crate::types::{EffectId, Extent, Position, Ticks};
use crate::wal::mark_bytes;
use crate::wal::writer::{Batch, Place, Witness};

impl<C: Checksum, L: Loan> Store<C, L> {
    /// Closes the open half: the next batch goes behind it.
    pub(super) fn turn(&mut self) {
        let geometry = self.writer.geometry;
        if let Some(batch) = self.staging.filling() {
            let end = batch.end();
            self.tail.position = Position { log: end.log, offset: geometry.align(end.offset) };
            self.closed = self.tail.position;
            self.staging.turn();
        }
        self.pressed = false;
    }

    /// Opens a batch in the empty open half, in this segment or the next one, with room for `record` bytes behind its mark.
    pub(super) fn open_batch(&mut self, record: u32, priority: Priority) -> Result<(), Refused> {
        let geometry = self.writer.geometry;
        let half = self.staging.open_mut();
        let Some(capacity) = half.buffer.as_ref().map(|buffer| buffer.as_ref().len()) else {
            return Err(Refused::Busy);
        };
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX) & !(geometry.batch_align - 1);
        let needed = geometry.align(mark_bytes(geometry) + record);
        let begins = self.rotate || self.tail.position.offset.saturating_add(needed) > geometry.extent_bytes;
        let header =
            if begins || self.tail.position.offset == 0 { crate::wal::batch_start(geometry) } else { 0 };
        if geometry.align(header + needed) > capacity {
            return Err(Refused::NeedsBuffer(geometry.align(header + needed) as usize));
        }
        if record > 0 && !self.next_start_has_a_row() {
            return Err(Refused::Full);
        }
        if begins {
            self.begin_segment(priority)?;
        }
        let place = Place { extent: self.tail.extent, position: self.tail.position };
        let batch = self.writer.open::<C>(place, self.next, capacity as usize);
        self.staging.open_mut().batch = Some(batch);
        Ok(())
    }

    /// The write of a closed half, or of the open one if its time has come.
    pub(super) fn poll_write(&mut self, now: Ticks, wake: &mut Wake) -> Option<(EffectId, Action)> {
        if self.flight.is_some() {
            return None;
        }
        if self.staging.flying().is_none() {
            if !self.is_time_to_close(now, wake) {
                return None;
            }
            self.turn();
        }
        let buffer = self.staging.flying()?;
        let place = self.staging.half(buffer).batch?.place;
        if !self.durability.may_write(place) {
            return None;
        }
        let witness = Witness {
            settled: self.durability.settled(),
            revision: self.revising.durable,
            time: self.time,
            seal: self.phase == Phase::Sealing,
        };
        let writer = self.writer;
        let half = self.staging.half_mut(buffer);
        let (Some(batch), Some(bytes)) = (half.batch.as_mut(), half.buffer.as_mut()) else { return None };
        let Some(len) = batch.close::<C>(&writer, &witness, bytes.as_mut()) else {
            self.halt(Failure::Io);
            return None;
        };
        self.unwitnessed = (batch.records > 0).then_some(now);
        self.durability.handed_out(place);
        let id = self.id();
        self.flight = Some(Flight { id, buffer, bytes: len });
        let action = Action::Write {
            extent: Extent::wal(place.extent),
            offset: u64::from(place.position.offset),
            bytes: Span { buffer, start: 0, len },
        };
        Some((id, action))
    }

    /// Whether the open half is to be closed now. May open an empty batch for a settle mark or a seal.
    fn is_time_to_close(&mut self, now: Ticks, wake: &mut Wake) -> bool {
        let always = self.config.mode == Mode::Always;
        if always && self.durability.is_pending() && !self.pressed {
            return false;
        }
        if let Some(records) =
            self.staging.filling().map(|batch| batch.records).filter(|records| *records > 0)
        {
            let until = if self.may_gather() { self.staging.gather.wait(now, records) } else { None };
            wake.at(until);
            return until.is_none();
        }
        self.is_time_for_mark(now, wake) && self.open_mark()
    }

    pub(super) fn may_gather(&self) -> bool {
        self.config.mode == Mode::Always
            && self.phase == Phase::Open
            && !self.pressed
            && !self.durability.is_pending()
    }

    /// Whether an empty batch is due: a seal, or the witness of the last batch.
    fn is_time_for_mark(&mut self, now: Ticks, wake: &mut Wake) -> bool {
        if self.durability.settled().lsn != self.next || self.durability.is_pending() {
            return false;
        }
        match (self.phase, self.unwitnessed) {
            (Phase::Closing, _) => true,
            (Phase::Open, Some(since)) => {
                let due = since.plus(self.config.idle_mark_micros);
                wake.at((now < due).then_some(due));
                now >= due
            }
            _ => false,
        }
    }

    /// Opens an empty batch; if no place is left for one, a closing store is closed without a seal.
    fn open_mark(&mut self) -> bool {
        let priority = if self.phase == Phase::Closing { Priority::Reclaim } else { Priority::Ordinary };
        let opened = self.staging.filling().is_some() || self.open_batch(0, priority).is_ok();
        match (self.phase, opened) {
            (Phase::Closing, true) => self.phase = Phase::Sealing,
            (Phase::Closing, false) => self.phase = Phase::Closed,
            (_, true) => {}
            (_, false) => self.unwitnessed = None,
        }
        opened
    }

    /// A batch has been written, or not.
    pub(super) fn written(&mut self, result: Result<(), Failure>, now: Ticks) {
        let Some(flight) = self.flight.take() else { return };
        let batch: Option<Batch> = self.staging.empty(flight.buffer);
        match (result, batch) {
            (Ok(()), Some(batch)) => self.durability.written_batch(&batch, flight.bytes, now),
            (Err(failure), _) => self.halt(failure),
            (Ok(()), None) => self.halt(Failure::Io),
        }
        if self.phase == Phase::Sealing {
            self.durability.request_all();
        }
    }
}
