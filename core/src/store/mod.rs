//! The engine: records in, actions out.
//!
//! ```text
//!  append ─► staging ─► Write ─► Sync ─► acknowledged
//!               │
//!               └ segment full ─► next listed segment          poll() hands out one action at a time,
//!  snapshot kept ─► retention ─► revision ─► Release           complete() takes its result
//!  spares low ─► Prepare ─► listed by a revision ─► ready
//! ```
//!
//! The rule of use: after an append or a completion call [`Store::poll`] until it is idle; carry out each action it hands out,
//! in any order, and [`Store::complete`] it.
//!
//! Invariants: an action depends on no other outstanding one; a segment is begun only when the revision that lists it is
//! durable; an extent is used again or released only when the revision that frees it is durable; after a failed write or sync
//! nothing is handed out any more.
//! It does no I/O, keeps no clock, and can only be made by [`crate::recovery::Recovery`].

mod batch;
mod durability;
pub(crate) mod revise;
mod space;

use durability::Durability;
use revise::Revising;
use space::Space;

use crate::action::{Buffer, Event, Failure, Output, Refused, Span};
use crate::codec::check::Checksum;
use crate::geometry::Geometry;
use crate::manifest::{Loan, Loss, Manifest, Segment, Snapshot};
use crate::staging::Staging;
use crate::types::{
    EffectId, Epoch, LogId, Lsn, Millis, Position, Revision, Settled, StoreId, Ticks, Timeline,
};
use crate::wal::writer::Writer;
use crate::wal::{group, max_record};

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The group's sync.
    Always,
    /// The group's write; a sync follows when the oldest unsynced record is this old.
    Periodic {
        /// Microseconds.
        interval_micros: u64,
        /// Also after this many records.
        records: Option<u32>,
    },
    /// The group's write; sealed segments are synced in the background.
    Never,
}

/// How a store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What an acknowledgement waits for.
    pub mode: Mode,
    /// How many snapshots are kept; fewer than two count as two.
    pub keep_snapshots: usize,
    /// How long the log is idle before its last batch gets a witness, microseconds.
    pub idle_mark_micros: u64,
    /// How long to wait after a failed preparation, microseconds.
    pub retry_micros: u64,
    /// Segments that are kept ready: for the next rotation, for reclaiming records, and for the next start.
    pub ready_segments: usize,
    /// How many segments may be listed; with more, ordinary records are refused as if there were no space.
    pub max_segments: usize,
}

impl Config {
    /// The defaults with this mode.
    #[must_use]
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            keep_snapshots: 7,
            idle_mark_micros: 1_000_000,
            retry_micros: 1_000_000,
            ready_segments: 3,
            max_segments: usize::MAX,
        }
    }
}

/// What time it is, as the adapter says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic.
    pub ticks: Ticks,
    /// Wall clock.
    pub wall: Millis,
}

/// Who may take the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Ordinary records leave it alone.
    Ordinary,
    /// Records that free space, such as deletes, may use it.
    Reclaim,
}

/// Whether the store takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Closing: the rest is written and synced, then the seal.
    Closing,
    /// The seal has been handed out.
    Sealing,
    Closed,
    Halted(Failure),
}

/// A batch that is being written.
#[derive(Clone, Copy, Debug)]
struct Flight {
    id: EffectId,
    buffer: Buffer,
    bytes: u32,
}

/// Where the next batch goes.
#[derive(Clone, Copy, Debug)]
struct Tail {
    extent: u32,
    position: Position,
}

/// The engine over a cached medium.
#[derive(Debug)]
pub struct Store<C, L: Loan> {
    config: Config,
    writer: Writer,
    manifest: Manifest<L>,
    staging: Staging<L::Bytes>,
    durability: Durability,
    revising: Revising<L::Bytes>,
    space: Space,
    phase: Phase,
    flight: Option<Flight>,
    tail: Tail,
    /// Behind the last batch that was closed.
    closed: Position,
    next: Lsn,
    time: Millis,
    /// The open half could not take a record.
    pressed: bool,
    /// The next batch begins a segment.
    rotate: bool,
    /// The last batch with records has no mark behind it since this time.
    unwitnessed: Option<Ticks>,
    events: heapless::Deque<Event, 16>,
    last_id: EffectId,
    check: core::marker::PhantomData<C>,
}

/// What recovery hands over.
pub(crate) struct Recovered<L: Loan> {
    pub(crate) config: Config,
    pub(crate) writer: Writer,
    pub(crate) manifest: Manifest<L>,
    pub(crate) halves: [L::Bytes; 2],
    pub(crate) frame: L::Bytes,
    pub(crate) extent: u32,
    pub(crate) settled: Settled,
    pub(crate) manifest_place: (u32, u32),
    pub(crate) next_extent: u32,
    pub(crate) last_id: EffectId,
}

impl<C: Checksum, L: Loan> Store<C, L> {
    pub(crate) fn new(from: Recovered<L>) -> Self {
        let [left, right] = from.halves;
        let (extent, offset) = from.manifest_place;
        let revision = from.manifest.head.revision;
        Self {
            config: from.config,
            writer: from.writer,
            time: from.manifest.head.time,
            staging: Staging::new(left, right),
            durability: Durability::new(from.settled),
            revising: Revising::new(from.frame, revision, extent, offset),
            space: Space::new(from.next_extent, from.manifest.segments.as_slice().len()),
            phase: Phase::Open,
            flight: None,
            tail: Tail { extent: from.extent, position: from.settled.position },
            closed: from.settled.position,
            next: from.settled.lsn,
            pressed: false,
            rotate: false,
            unwitnessed: None,
            events: heapless::Deque::new(),
            last_id: from.last_id,
            manifest: from.manifest,
            check: core::marker::PhantomData,
        }
    }

    /// Takes a record; it is acknowledged when [`Self::acknowledged`] is above the LSN that is returned.
    ///
    /// # Errors
    /// See [`Refused`]; nothing changed, and no LSN was used.
    #[inline]
    pub fn append(&mut self, record: &[u8], priority: Priority) -> Result<Lsn, Refused> {
        let bytes = self.writer.record_bytes(record.len());
        let half = self.staging.open_mut();
        if let (Some(batch), Some(buffer)) = (half.batch.as_mut(), half.buffer.as_mut())
            && batch.used as usize + bytes <= batch.limit as usize
            && self.phase == Phase::Open
            && (priority == Priority::Reclaim || !self.space.full)
            && let Some(lsn) = batch.push::<C>(record, buffer.as_mut())
        {
            self.next = lsn.next();
            return Ok(lsn);
        }
        self.ready(record.len(), priority)?;
        let half = self.staging.open_mut();
        let (Some(batch), Some(buffer)) = (half.batch.as_mut(), half.buffer.as_mut()) else {
            return Err(Refused::Busy);
        };
        let lsn = batch.push::<C>(record, buffer.as_mut()).ok_or(Refused::Busy)?;
        self.next = lsn.next();
        Ok(lsn)
    }

    /// Takes several records under one checksum: after a crash all of them are there or none. Returns the LSN of the first; the
    /// others follow it.
    ///
    /// # Errors
    /// See [`Refused`]; nothing changed, and no LSN was used. Without a record it is [`Refused::TooLarge`].
    pub fn append_group(&mut self, records: &[&[u8]], priority: Priority) -> Result<Lsn, Refused> {
        let most = max_record(self.writer.geometry);
        let payload = group::payload_bytes(records.iter().map(|record| record.len()));
        let payload = payload.filter(|bytes| *bytes > 0).ok_or(Refused::TooLarge { most })?;
        self.ready(payload, priority)?;
        let half = self.staging.open_mut();
        let (Some(batch), Some(buffer)) = (half.batch.as_mut(), half.buffer.as_mut()) else {
            return Err(Refused::Busy);
        };
        let first = batch.push_group::<C>(records, buffer.as_mut()).ok_or(Refused::Busy)?;
        self.next = batch.next();
        Ok(first)
    }

    /// Makes room for a record of `payload` bytes, so that an append of that many bytes or fewer that follows at once can't be
    /// refused.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn ready(&mut self, payload: usize, priority: Priority) -> Result<(), Refused> {
        match self.phase {
            Phase::Open => {}
            Phase::Halted(_) => return Err(Refused::Halted),
            Phase::Closing | Phase::Sealing | Phase::Closed => return Err(Refused::Closed),
        }
        let most = max_record(self.writer.geometry);
        if payload > most as usize {
            return Err(Refused::TooLarge { most });
        }
        let bytes =
            u32::try_from(self.writer.record_bytes(payload)).map_err(|_| Refused::TooLarge { most })?;
        if priority == Priority::Ordinary && self.is_on_reserve() {
            return Err(Refused::Full);
        }
        if let Some(batch) = self.staging.filling() {
            if batch.used.saturating_add(bytes) <= batch.limit {
                return Ok(());
            }
            if self.staging.flying().is_some() {
                self.pressed = true;
                return Err(Refused::Busy);
            }
            self.turn();
        }
        self.open_batch(bytes, priority)
    }

    /// Hands out what is to be done next.
    pub fn poll(&mut self, now: Now) -> Output {
        self.time = self.time.max(now.wall);
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        if matches!(self.phase, Phase::Halted(_)) {
            return Output::Idle { wake: None };
        }
        let mut wake = Wake(None);
        let action = self
            .poll_write(now.ticks, &mut wake)
            .or_else(|| self.poll_sync(now.ticks, &mut wake))
            .or_else(|| self.poll_space(now.ticks, &mut wake))
            .or_else(|| self.poll_revise());
        if let Some((id, action)) = action {
            return Output::Do(id, action);
        }
        self.events.pop_front().map_or(Output::Idle { wake: wake.0 }, Output::Event)
    }

    /// Takes the result of an action.
    pub fn complete(&mut self, id: EffectId, result: Result<(), Failure>, now: Now) {
        if self.flight.is_some_and(|flight| flight.id == id) {
            self.written(result, now.ticks);
        } else if self.durability.is(id) {
            self.synced(result, now.ticks);
        } else if self.revising.is(id) {
            self.revised(result);
        } else {
            self.spaced(id, result, now.ticks);
        }
    }

    /// The bytes of a span that an action named.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        let buffer = match span.buffer {
            Buffer::Left | Buffer::Right => self.staging.half(span.buffer).buffer.as_ref(),
            Buffer::Manifest => self.revising.buffer.as_ref(),
            Buffer::Window => None,
        };
        let start = span.start as usize;
        buffer.and_then(|bytes| bytes.as_ref().get(start..start + span.len as usize)).unwrap_or_default()
    }

    /// Takes the buffer that an action's span names, so that it can be written while the store is used; to be given back with
    /// [`Self::give`] before the action is completed.
    pub fn take(&mut self, buffer: Buffer) -> Option<L::Bytes> {
        match buffer {
            Buffer::Left | Buffer::Right => self.staging.half_mut(buffer).buffer.take(),
            Buffer::Manifest => self.revising.buffer.take(),
            Buffer::Window => None,
        }
    }

    /// Gives a buffer back, or another one of at least the usual size.
    pub fn give(&mut self, buffer: Buffer, bytes: L::Bytes) {
        match buffer {
            Buffer::Left | Buffer::Right => self.staging.half_mut(buffer).buffer = Some(bytes),
            Buffer::Manifest => self.revising.buffer = Some(bytes),
            Buffer::Window => {}
        }
    }

    /// Exchanges the buffer of the open half if it is empty, for a record that [`Refused::NeedsBuffer`] was answered to.
    ///
    /// # Errors
    /// Gives `bytes` back if the half is not empty.
    pub fn exchange(&mut self, bytes: L::Bytes) -> Result<L::Bytes, L::Bytes> {
        let half = self.staging.open_mut();
        match (half.batch, half.buffer.take()) {
            (None, Some(old)) => {
                half.buffer = Some(bytes);
                Ok(old)
            }
            (_, old) => {
                half.buffer = old;
                Err(bytes)
            }
        }
    }

    /// The next batch begins a segment, even if this one has room; where nothing is to be written, a mark is. A segment without
    /// records goes on.
    pub fn rotate(&mut self) {
        let log = self.tail.position.log;
        let current = self.segments().iter().find(|segment| segment.log == log);
        self.rotate = current.is_some_and(|segment| segment.fence < self.next);
        if self.rotate && self.unwitnessed.is_none() {
            self.unwitnessed = Some(Ticks(0));
        }
    }

    /// Wants everything before `lsn` durable, in every mode.
    pub fn request_sync(&mut self, lsn: Lsn) {
        self.durability.request(lsn.min(self.next));
    }

    /// Takes no more records; what is there is written, synced and sealed with a flagged mark.
    pub fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
            self.request_sync(self.next);
            self.durability.request_all();
        }
    }

    /// Writes nothing any more, as after a failed write or sync: for an adapter that can't go on.
    pub fn halt(&mut self, failure: Failure) {
        if !matches!(self.phase, Phase::Halted(_)) {
            self.phase = Phase::Halted(failure);
            self.event(Event::Halted(failure));
        }
    }

    /// Whether [`Self::close`] is done.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The failure that halted the store, if one did.
    #[must_use]
    pub fn halted(&self) -> Option<Failure> {
        if let Phase::Halted(failure) = self.phase { Some(failure) } else { None }
    }

    /// Whether ordinary records are, or will soon be, refused for want of space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.space.full
    }

    /// LSN of the next record.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// Every record before this one is acknowledged, as the mode promises.
    #[must_use]
    pub fn acknowledged(&self) -> Lsn {
        if self.config.mode == Mode::Always {
            self.durability.settled().lsn
        } else {
            self.durability.written()
        }
    }

    /// Every record before this one has been handed to the medium.
    #[must_use]
    pub fn written_lsn(&self) -> Lsn {
        self.durability.written()
    }

    /// What is durable.
    #[must_use]
    pub fn settled(&self) -> Settled {
        self.durability.settled()
    }

    /// Bytes that were written and are not yet durable, and since when.
    #[must_use]
    pub fn unsynced(&self) -> (u64, Option<Ticks>) {
        self.durability.unsynced()
    }

    /// Whether the open batch waits for company. Then a record more is no reason to poll before the time that the last poll named.
    #[must_use]
    pub fn is_gathering(&self) -> bool {
        let records = self.staging.filling().map_or(0, |batch| batch.records);
        records > 0 && self.may_gather() && self.staging.gather.expects_more(records)
    }

    /// The smoothed duration of a sync, microseconds.
    #[must_use]
    pub fn sync_micros(&self) -> u64 {
        self.staging.gather.sync_micros()
    }

    /// A batch border at or before the next record: where a reader that begins with it must begin. It lies in a segment that
    /// has been begun.
    #[must_use]
    pub fn next_position(&self) -> Position {
        let filling = self.staging.filling().filter(|batch| batch.records > 0);
        filling.map_or(self.closed, |batch| batch.place.position)
    }

    /// Whose store it is.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.writer.store
    }

    /// The epoch that this recovery opened.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.writer.epoch
    }

    /// Its sizes.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.writer.geometry
    }

    /// The listed segments.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        self.manifest.segments.as_slice()
    }

    /// The snapshots that may be loaded, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> &[Snapshot] {
        self.manifest.snapshots.as_slice()
    }

    /// The newest losses that an operator chose to go past.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.manifest.losses
    }

    /// The highest log id that was recorded as archived.
    #[must_use]
    pub fn archived(&self) -> LogId {
        self.manifest.head.archived
    }

    /// The line of history.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.manifest.head.timeline
    }

    /// The newest durable manifest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revising.durable
    }

    /// Latest wall-clock time that a mark carries.
    #[must_use]
    pub fn time(&self) -> Millis {
        self.time
    }

    /// The segment that is being written.
    #[must_use]
    pub fn position(&self) -> Position {
        self.tail.position
    }
}

impl<C: Checksum, L: Loan> Store<C, L> {
    fn id(&mut self) -> EffectId {
        self.last_id = EffectId(self.last_id.0.wrapping_add(1));
        self.last_id
    }

    fn event(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        let _ = self.events.push_back(event);
    }
}

/// The earliest of several times.
struct Wake(Option<Ticks>);

impl Wake {
    fn at(&mut self, time: Option<Ticks>) {
        self.0 = match (self.0, time) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
