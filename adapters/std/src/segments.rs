//! Segments one by one: what there is, what a sealed one holds, and which ones are let go of.
//!
//! ```text
//!  Log::segments ─► SegmentInfo ─► Log::read_segment ─► records up to its end, or where it is damaged
//!                       └────────► Log::let_go, Log::record_archived
//! ```
//!
//! With [`Options::keep_all`](crate::Options::keep_all) a segment goes only when it was let go of by name and neither the floor
//! nor a reader keeps it. Others may stay in front of it and behind it: then the LSNs of the listed ones are not dense.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::Segment;
use strandline_core::retention::floor;
use strandline_core::types::{Epoch, LogId, Lsn, Position, StoreId, Timeline};
use strandline_core::wal::batch_start;
use strandline_core::wal::reader::{Item, MarkScan, Reader};

use crate::check::HardwareCheck;
use crate::dir::{forget_pages, read_at};
use crate::log::Log;
use crate::reader::{ReadError, Record};
use crate::window::Window;

/// A listed segment that has been begun.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its number.
    pub log: LogId,
    /// Epoch of its writer.
    pub epoch: Epoch,
    /// LSN of its first record.
    pub first: Lsn,
    /// First LSN of the next listed segment: where this one's records end, unless one between them has been released.
    pub next: Option<Lsn>,
    /// The next listed segment has the next number: none between them has been released.
    pub is_followed: bool,
    /// No record will be added, and all of it is durable.
    pub is_settled: bool,
    /// Recovery may still need it.
    pub is_needed: bool,
    /// Bytes of its file.
    pub bytes: u64,
    /// Its file.
    pub path: PathBuf,
}

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The store.
    pub store: StoreId,
    /// Its line of history.
    pub timeline: Timeline,
    /// The epoch that this process opened.
    pub epoch: Epoch,
}

impl Log {
    /// The segments that have been begun, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let shared = self.shared();
        let state = shared.state.lock();
        let (store, settled) = (&state.store, state.store.settled().lsn);
        let floor = floor(store.snapshots());
        let current = store.position().log;
        let begun: Vec<&Segment> = store.segments().iter().filter(|one| one.fence != Lsn::UNKNOWN).collect();
        let next = begun.iter().skip(1).map(Some).chain([None]);
        let info = |(segment, next): (&&Segment, Option<&&Segment>)| SegmentInfo {
            log: segment.log,
            epoch: segment.epoch,
            first: segment.fence,
            next: next.map(|next| next.fence),
            is_followed: next.is_some_and(|next| next.log == segment.log.next()),
            is_settled: segment.log < current && next.is_some_and(|next| next.fence <= settled),
            is_needed: segment.log >= floor,
            bytes: u64::from(segment.geometry.extent_bytes),
            path: shared.dir.path(Name::Segment(segment.extent)),
        };
        begun.iter().zip(next).map(info).collect()
    }

    /// Whose log it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let state = self.shared().state.lock();
        let store = &state.store;
        Identity { store: store.store_id(), timeline: store.timeline(), epoch: store.epoch() }
    }

    /// The highest number of a segment that was recorded as archived.
    #[must_use]
    pub fn archived(&self) -> LogId {
        self.shared().state.lock().store.archived()
    }

    /// Sees to it that what has been appended so far is soon in settled segments: the next batch begins a new one.
    pub fn rotate(&self) {
        let shared = self.shared();
        let mut state = shared.state.lock();
        state.store.rotate();
        let next = state.store.next_lsn();
        state.store.request_sync(next);
        shared.nudge(&mut state);
    }

    /// Lets go of a segment that is kept only because every segment is; returns whether it is listed. To be said again after
    /// each start.
    pub fn let_go(&self, log: LogId) -> bool {
        let shared = self.shared();
        let mut state = shared.state.lock();
        let listed = state.store.let_go(log);
        shared.nudge(&mut state);
        listed
    }

    /// Records in the manifest that a segment is archived. It is durable before the segment is released.
    pub fn record_archived(&self, log: LogId) {
        let shared = self.shared();
        let mut state = shared.state.lock();
        state.store.record_archived(log);
        shared.nudge(&mut state);
    }

    /// Copies a segment to `quarantine/` beside it, durably, unless that was done before; returns the copy's path.
    ///
    /// # Errors
    /// The copy could not be made.
    pub fn preserve_segment(&self, log: LogId) -> io::Result<Option<PathBuf>> {
        let shared = self.shared();
        let found = shared.state.lock().store.segments().iter().find(|one| one.log == log).copied();
        let Some(segment) = found else { return Ok(None) };
        let name = Name::Segment(segment.extent);
        let path = shared.dir.path(name);
        let copy = path.parent().zip(path.file_name()).map(|(at, name)| at.join("quarantine").join(name));
        if let Some(copy) = copy.filter(|copy| {
            copy.metadata().is_ok_and(|it| it.len() >= u64::from(segment.geometry.extent_bytes))
        }) {
            return Ok(Some(copy));
        }
        shared.dir.preserve(name).map(Some).map_err(io::Error::other)
    }

    /// Reads a segment to which no record will be added, up to `end`, the LSN behind its last record. It is held meanwhile, and
    /// so are all later ones.
    ///
    /// # Errors
    /// [`ReadError::Released`] if it is not listed, or its file can't be opened.
    pub fn read_segment(&self, log: LogId, end: Lsn) -> Result<SegmentReader, ReadError> {
        let held = Held::new(self, log);
        let shared = self.shared();
        let (segment, store) = {
            let state = shared.state.lock();
            let found = state.store.segments().iter().find(|one| one.log == log && one.fence != Lsn::UNKNOWN);
            (found.copied(), state.store.store_id())
        };
        let segment = segment.ok_or(ReadError::Released { wanted: end, oldest: end })?;
        let file = shared.dir.open_to_read(Name::Segment(segment.extent))?;
        Ok(SegmentReader { _held: Some(held), ..SegmentReader::over(file, store, &segment, end) })
    }
}

/// Keeps a segment and all later ones.
#[derive(Debug)]
struct Held {
    log: Log,
    segment: LogId,
}

impl Held {
    fn new(log: &Log, segment: LogId) -> Self {
        log.holds().change(log, None, Some(segment));
        Self { log: log.clone(), segment }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.log.holds().change(&self.log, Some(self.segment), None);
    }
}

/// Reads one segment. See [`Log::read_segment`].
#[derive(Debug)]
pub struct SegmentReader {
    _held: Option<Held>,
    file: Arc<File>,
    reader: Reader,
    store: StoreId,
    epoch: Epoch,
    geometry: Geometry,
    end: Lsn,
    window: Window,
}

/// A place in a segment, to go back to.
#[derive(Clone, Copy, Debug)]
pub struct SegmentPlace(Reader);

impl SegmentPlace {
    /// The next record there.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.0.expected()
    }
}

impl SegmentReader {
    /// Reads a segment's file from its first batch on. What keeps it from being used again is the caller's business.
    pub(crate) fn over(file: Arc<File>, store: StoreId, segment: &Segment, end: Lsn) -> Self {
        let Segment { log, epoch, fence, geometry, .. } = *segment;
        let from = Position { log, offset: batch_start(geometry) };
        let reader = Reader::new::<HardwareCheck>(store, epoch, from, fence, geometry);
        Self { _held: None, file, reader, store, epoch, geometry, end, window: Window::new() }
    }

    /// Turns to the first intact batch behind the place where the reader stands, and says which record it begins with; `None` if
    /// there is none.
    pub(crate) fn skip_damage(&mut self) -> io::Result<Option<Lsn>> {
        let unit = self.geometry.write_unit;
        let from = self.reader.position();
        let from = Position { offset: (from.offset + 1).next_multiple_of(unit), ..from };
        let mut scan = MarkScan::new::<HardwareCheck>(self.store, self.epoch, from, self.geometry);
        while scan.first.is_none() {
            let scratch = self.window.scratch();
            let read = read_at(&self.file, u64::from(scan.offset()), scratch)?;
            let last = read < scratch.len();
            if !scan.feed::<HardwareCheck>(&scratch[..read], last) {
                break;
            }
        }
        let found = scan.first.filter(|(_, next)| (self.reader.expected()..self.end).contains(next));
        let Some((offset, next)) = found else { return Ok(None) };
        let place = Position { offset, ..from };
        self.reader = Reader::new::<HardwareCheck>(self.store, self.epoch, place, next, self.geometry);
        self.window.restart(u64::from(offset));
        Ok(Some(next))
    }

    /// Makes what is read come from the device, not from the system's cache, where the system can be asked for that.
    pub(crate) fn bypass_cache(&self) {
        forget_pages(&self.file);
    }

    /// Where the next record is.
    #[must_use]
    pub fn place(&self) -> SegmentPlace {
        SegmentPlace(self.reader)
    }

    /// Bytes of the segment that have been read.
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.reader.offset()
    }

    /// Goes back, or on, to a place in this segment.
    pub fn go_to(&mut self, place: SegmentPlace) {
        self.reader = place.0;
        self.window.restart(u64::from(self.reader.offset()));
    }

    /// The next record, or `None` at the segment's end.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if it does not read back, [`ReadError::Io`].
    #[expect(clippy::should_implement_trait, reason = "the record borrows the reader")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        loop {
            if self.reader.expected() >= self.end {
                return Ok(None);
            }
            let held = self.window.from(u64::from(self.reader.offset()));
            match self.reader.next::<HardwareCheck>(held) {
                Item::Record { lsn, payload } => {
                    let (end, len) = (u64::from(self.reader.payload_end()), payload.len());
                    let time = self.reader.time;
                    return Ok(Some(Record { lsn, time, bytes: self.window.before(end, len) }));
                }
                Item::Mark(_) => {}
                Item::Need(bytes) => self.fill(bytes)?,
                Item::Stop(_) => return self.damaged(),
            }
        }
    }

    fn fill(&mut self, need: usize) -> Result<(), ReadError> {
        let offset = u64::from(self.reader.offset());
        if self.window.fill(&self.file, offset, need)? { Ok(()) } else { self.damaged() }
    }

    fn damaged<T>(&self) -> Result<T, ReadError> {
        Err(ReadError::Damaged { position: self.reader.position(), lsn: self.reader.expected() })
    }
}
