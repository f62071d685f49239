//! Last stages: the unsettled tail is written again, then one revision opens the next epoch in a new segment.
//!
//! ```text
//!   Rewrite   from the settled position to the end of what is valid: verify, write the same bytes, sync
//!   Open      void segments are dropped ─► what is missing is prepared ─► revision: write, sync
//!             ─► header and first mark: write, sync ─► Done
//! ```
//!
//! A failed sync before the crash may have left bytes in the cache that are not on the medium; writing them again makes them
//! dirty, so that the sync covers them. A crash anywhere in between changes nothing: the fence counts from the moment at which
//! the revision is durable.

use super::{Ask, Recovery, Refusal, Report, Stage};
use crate::action::{Action, Buffer, Span};
use crate::codec::check::Checksum;
use crate::codec::extent::{ExtentHeader, HeaderParsed};
use crate::codec::frame::HEADER;
use crate::manifest::{FreeExtent, Loan, Loss, MANIFEST_EXTENTS, Segment, SegmentState};
use crate::store::{Now, Recovered, Store};
use crate::types::{Extent, Lsn, Position, Revision, Settled};
use crate::wal::reader::{Item, Reader};
use crate::wal::verdict::Verdict;
use crate::wal::writer::{Place, Witness, Writer};

/// Where the rewrite stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewrite {
    index: usize,
    /// Everything in this segment before this offset is durable or has been written again.
    written: u32,
    reader: Reader,
    /// What this segment holds from here on is void.
    fence: Option<Lsn>,
    need: usize,
    /// The header in front of the reader has not been verified again yet.
    unheaded: bool,
    /// Something has been written to this segment.
    dirty: bool,
    stopped: bool,
}

/// Where the opening stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Void segments, and extents of another size, are dropped one by one.
    Drop,
    /// Extents that do not exist yet are prepared.
    Prepare,
    /// The revision that opens the epoch is written and synced.
    Revise,
    /// The header and first mark are written.
    Write,
    /// They are synced.
    Sync(u32),
}

impl<C: Checksum, L: Loan> Recovery<C, L> {
    pub(super) fn begin_fresh(&mut self) {
        self.manifest.reset(self.options.fresh);
        self.manifest.head.next_log = crate::types::LogId(1);
        self.report =
            Report { fresh: true, store: self.options.fresh, next: Lsn::FIRST, ..Report::default() };
        self.path.next = Lsn::FIRST;
        self.path.missing_manifests = (1 << MANIFEST_EXTENTS) - 1;
        self.stage = Stage::Open(Opening::Drop);
    }

    pub(super) fn begin_rewrite(&mut self) {
        let from = self.settled.max(self.base);
        self.forget();
        let segments = self.manifest.segments.as_slice();
        // Replay passes only segments with a header, but it may have begun inside one.
        let passed = |segment: &Segment| {
            let inside = segment.log == from.position.log && from.position.offset > 0;
            inside || (segment.log >= from.position.log && segment.state == SegmentState::Headed)
        };
        let index = segments.iter().position(passed);
        self.stage = Stage::Open(Opening::Drop);
        if from.position < self.report.end
            && let Some(index) = index
        {
            self.rewrite_segment(index, from);
        }
    }

    /// Begins with the listed segment at `index`, at `from` if that lies in it.
    fn rewrite_segment(&mut self, index: usize, from: Settled) {
        let Some(segment) = self.manifest.segments.as_slice().get(index).copied() else { return };
        // A log that ends at the start of a segment ends in one that was listed and not begun: nothing in it is valid.
        if self.report.end == (Position { log: segment.log, offset: 0 }) {
            self.stage = Stage::Open(Opening::Drop);
            return;
        }
        let inside = segment.log == from.position.log && from.position.offset > 0;
        let (start, written) = if inside {
            (from, from.position.offset)
        } else {
            let position = Position { log: segment.log, offset: self.first_batch(index) };
            (Settled { position, lsn: segment.fence }, 0)
        };
        let reader = self.reader(start.position, start.lsn, segment.epoch, segment.geometry);
        let newer = self.manifest.segments.as_slice().get(index..).unwrap_or_default().iter();
        let fence = newer.filter(|newer| newer.epoch > segment.epoch).map(|newer| newer.fence).min();
        self.forget();
        self.stage = Stage::Rewrite(Rewrite {
            index,
            written,
            reader: if start == self.base { reader.from_border() } else { reader },
            fence,
            need: HEADER,
            unheaded: written == 0,
            dirty: false,
            stopped: false,
        });
    }

    pub(super) fn poll_rewrite(&mut self, mut rewrite: Rewrite) -> Option<Ask> {
        let Some(segment) = self.manifest.segments.as_slice().get(rewrite.index).copied() else {
            self.stage = Stage::Open(Opening::Drop);
            return None;
        };
        let extent = Extent::wal(segment.extent);
        while !rewrite.stopped {
            let need = (rewrite.reader.offset() - rewrite.written) as usize + rewrite.need;
            if rewrite.reader.offset() > rewrite.written && need > self.window.as_ref().len() {
                break;
            }
            if let Some(ask) = self.want(extent, u64::from(rewrite.written), need) {
                self.stage = Stage::Rewrite(rewrite);
                return Some(ask);
            }
            if core::mem::take(&mut rewrite.unheaded) && !self.same_header(&segment) {
                self.refuse(Refusal::Unstable { position: rewrite.reader.position() });
                return None;
            }
            self.verify_window(&mut rewrite);
        }
        if rewrite.reader.offset() > rewrite.written {
            return self.write_again(extent, rewrite);
        }
        self.rewritten(extent, rewrite)
    }

    fn same_header(&self, segment: &Segment) -> bool {
        let HeaderParsed::Header(header) = ExtentHeader::decode::<C>(self.window_at(0)) else { return false };
        header.log == segment.log && header.epoch == segment.epoch && header.fence == segment.fence
    }

    /// Reads the frames that the window holds.
    fn verify_window(&self, rewrite: &mut Rewrite) {
        loop {
            if rewrite.fence.is_some_and(|fence| fence <= rewrite.reader.expected()) {
                rewrite.stopped = true;
                return;
            }
            match rewrite.reader.next::<C>(self.window_at(u64::from(rewrite.reader.offset()))) {
                Item::Record { .. } | Item::Mark(_) => rewrite.need = HEADER,
                Item::Need(bytes) => {
                    rewrite.need = bytes;
                    rewrite.stopped = self.filled.ends;
                    return;
                }
                Item::Stop(_) => {
                    rewrite.stopped = true;
                    return;
                }
            }
            if rewrite.reader.position() == self.report.end {
                rewrite.stopped = true;
                return;
            }
        }
    }

    fn write_again(&mut self, extent: Extent, mut rewrite: Rewrite) -> Option<Ask> {
        let len = rewrite.reader.offset() - rewrite.written;
        let start = u64::from(rewrite.written) - self.filled.offset;
        let offset = u64::from(rewrite.written);
        self.report.rewritten += u64::from(len);
        rewrite.written = rewrite.reader.offset();
        rewrite.dirty = true;
        self.stage = Stage::Rewrite(rewrite);
        let bytes = Span { buffer: Buffer::Window, start: u32::try_from(start).unwrap_or(u32::MAX), len };
        self.hand_out(Action::Write { extent, offset, bytes })
    }

    /// A segment has been written again: it is synced, and the next one follows.
    fn rewritten(&mut self, extent: Extent, mut rewrite: Rewrite) -> Option<Ask> {
        if core::mem::take(&mut rewrite.dirty) {
            self.stage = Stage::Rewrite(rewrite);
            return self.hand_out(Action::Sync { extent });
        }
        // Replay may have stopped in front of what the snapshot holds, and gone on behind it.
        let (position, next) = (rewrite.reader.position(), rewrite.reader.expected());
        let follows = |lsn: Lsn| lsn >= next && lsn <= next.max(self.base.lsn);
        if position == self.report.end {
            self.stage = Stage::Open(Opening::Drop);
            if !follows(self.report.next) {
                self.refuse(Refusal::Unstable { position });
            }
            return None;
        }
        let index = rewrite.index + 1;
        match self.manifest.segments.as_slice().get(index).copied() {
            Some(segment) if segment.log <= self.report.end.log && follows(segment.fence) => {
                self.rewrite_segment(index, Settled::default());
            }
            _ => self.refuse(Refusal::Unstable { position }),
        }
        None
    }

    pub(super) fn poll_open(&mut self, opening: Opening, now: Now) -> Option<Ask> {
        match opening {
            Opening::Drop => self.drop_one(now),
            Opening::Prepare => self.prepare_one(now),
            Opening::Revise => self.revise(),
            Opening::Write => self.write_first(now),
            Opening::Sync(extent) => self.hand_out(Action::Sync { extent: Extent::wal(extent) }),
        }
    }

    /// Drops one void segment, or one extent of another size.
    fn drop_one(&mut self, now: Now) -> Option<Ask> {
        let end = self.report.end.log;
        let discarding = self.report.verdict == Some(Verdict::Corrupt);
        let same_size = self.manifest.head.geometry.2 == self.options.geometry.extent_bytes;
        if !same_size && let Some(free) = self.manifest.free.as_slice().first().copied() {
            self.manifest.free.retain(|of| of.extent != free.extent);
            self.orphan(Extent::wal(free.extent), false);
            return None;
        }
        let empty = |segment: &Segment| {
            segment.fence == self.path.next && segment.log >= self.base.position.log && segment.log <= end
        };
        // Nothing is valid in a segment at whose start the log ends, nor behind it.
        let void = |segment: &Segment| Position { log: segment.log, offset: 0 } >= self.report.end;
        let segments = self.manifest.segments.as_slice();
        let goes = segments.iter().rev().find(|segment| void(segment) || empty(segment));
        let Some(segment) = goes.copied() else {
            if discarding {
                self.preserve = self.segment_index(end).and_then(|index| {
                    self.manifest.segments.as_slice().get(index).map(|segment| Extent::wal(segment.extent))
                });
                self.note_loss(now);
            }
            self.stage = Stage::Open(Opening::Prepare);
            return None;
        };
        self.manifest.segments.retain(|of: &Segment| of.log != segment.log);
        if discarding && segment.state != SegmentState::Missing {
            self.preserve = Some(Extent::wal(segment.extent));
        }
        let usable = segment.state != SegmentState::Missing
            && same_size
            && segment.geometry.extent_bytes == self.options.geometry.extent_bytes;
        let free = FreeExtent { extent: segment.extent, freed: self.newest, present: true };
        if (!usable || self.manifest.free.push(free).is_err()) && segment.state != SegmentState::Missing {
            self.orphan(Extent::wal(segment.extent), false);
        }
        None
    }

    fn note_loss(&mut self, now: Now) {
        let epoch = self.manifest.head.epoch.next();
        let (from, until) = (self.report.next, self.report.void_until);
        self.manifest.lose(Loss { from, until, epoch, time: now.wall });
        self.manifest.snapshots.retain(|snapshot: &crate::manifest::Snapshot| snapshot.base <= from);
    }

    /// Prepares one extent that is missing, or lists the segment that opens the epoch.
    fn prepare_one(&mut self, now: Now) -> Option<Ask> {
        if self.path.missing_manifests != 0 {
            let number = self.path.missing_manifests.trailing_zeros();
            return self.hand_out(Action::Prepare { extent: Extent::manifest(number) });
        }
        let Some(free) = self.manifest.free.as_slice().first().copied() else {
            let extent = Extent::wal(self.next_extent);
            return self.hand_out(Action::Prepare { extent });
        };
        self.manifest.free.retain(|of| of.extent != free.extent);
        let log = self.manifest.head.next_log;
        let revision = self.manifest.head.revision.next();
        let epoch = self.manifest.head.epoch.next();
        let listed = self.manifest.segments.push(Segment {
            log,
            extent: free.extent,
            epoch,
            fence: self.path.next,
            claimed: revision,
            geometry: self.options.geometry,
            state: SegmentState::Headed,
            wanted: true,
        });
        if listed.is_err() {
            self.refuse(Refusal::TooMany);
            return None;
        }
        self.report.time = self.report.time.max(now.wall);
        let head = &mut self.manifest.head;
        head.epoch = epoch;
        head.next_log = log.next();
        head.geometry = ExtentHeader::geometry_of(self.options.geometry);
        let end = Settled { position: self.report.end, lsn: self.path.next };
        // What a snapshot holds may have been settled behind the end. What was discarded no longer is.
        let discarded = self.report.verdict == Some(Verdict::Corrupt);
        head.settled = if discarded { end } else { end.max(self.settled) };
        head.time = self.report.time;
        self.revising.touch();
        self.stage = Stage::Open(Opening::Revise);
        None
    }

    fn revise(&mut self) -> Option<Ask> {
        let id = self.last_id;
        match self.revising.poll::<C, L>(&mut self.manifest, self.options.geometry, id) {
            Ok(Some(action)) => self.hand_out(action),
            Ok(None) | Err(_) => {
                self.refuse(Refusal::TooMany);
                None
            }
        }
    }

    fn writer(&self) -> Writer {
        Writer {
            store: self.manifest.store,
            epoch: self.manifest.head.epoch,
            geometry: self.options.geometry,
        }
    }

    fn write_first(&mut self, now: Now) -> Option<Ask> {
        let segment = self.manifest.segments.as_slice().last().copied()?;
        let place = Place { extent: segment.extent, position: Position { log: segment.log, offset: 0 } };
        let witness = Witness {
            settled: self.manifest.head.settled,
            revision: self.revising.durable,
            time: self.report.time.max(now.wall),
            seal: false,
        };
        let writer = self.writer();
        let [left, _] = &mut self.halves;
        let mut batch = writer.open::<C>(place, self.path.next, left.as_ref().len());
        let Some(len) = batch.close::<C>(&writer, &witness, left.as_mut()) else {
            self.refuse(Refusal::TooMany);
            return None;
        };
        self.opened =
            Some(Settled { position: Position { offset: len, ..place.position }, lsn: self.path.next });
        let bytes = Span { buffer: Buffer::Left, start: 0, len };
        self.hand_out(Action::Write { extent: Extent::wal(segment.extent), offset: 0, bytes })
    }

    /// An action has been carried out.
    pub(super) fn done(&mut self, action: Action) {
        let Stage::Open(opening) = self.stage else { return };
        match (opening, action) {
            (Opening::Prepare, Action::Prepare { extent }) if extent.role == crate::types::Role::Manifest => {
                self.path.missing_manifests &= !(1 << extent.number);
            }
            (Opening::Prepare, _) => {
                let free = FreeExtent { extent: self.next_extent, freed: Revision(0), present: true };
                self.next_extent = self.next_extent.saturating_add(1);
                if self.manifest.free.push(free).is_err() {
                    self.refuse(Refusal::TooMany);
                }
            }
            (Opening::Revise, _) if self.revising.done(self.options.geometry).is_some() => {
                self.stage = Stage::Open(Opening::Write);
            }
            (Opening::Write, Action::Write { extent, .. }) => {
                self.stage = Stage::Open(Opening::Sync(extent.number))
            }
            (Opening::Sync(_), _) => {
                self.report.epoch = self.manifest.head.epoch;
                self.report.losses = self.manifest.head.losses;
                self.stage = Stage::Done;
            }
            _ => {}
        }
    }

    pub(super) fn into_store(self, settled: Settled) -> Option<(Store<C, L>, Report)> {
        let segment = self.manifest.segments.as_slice().last().copied()?;
        let writer = self.writer();
        let manifest_place = self.revising.place();
        let mut manifest = self.manifest;
        manifest.head.time = self.report.time;
        let store = Store::new(Recovered {
            config: self.options.config,
            writer,
            manifest,
            halves: self.halves,
            frame: self.revising.buffer?,
            extent: segment.extent,
            settled,
            manifest_place,
            next_extent: self.next_extent,
            last_id: self.last_id,
        });
        Some((store, self.report))
    }
}
