//! Extents: prepared ahead, listed, begun, freed, released.
//!
//! ```text
//!   Prepare ──► listed by a revision ──► ready ──► begun ──► covered ──► free ──► listed again
//!   (create, zero, sync,                 (three kept)                    │
//!    sync directory)                                                     └──► Release, when there are enough
//! ```
//!
//! Three segments are kept ready: for the next rotation, for records that reclaim space, and for the next start. Log ids are
//! claimed by the revision that lists the segment, before the first byte that uses them.

use super::{Priority, Store, Wake};
use crate::action::{Action, Event, Failure, Refused};
use crate::codec::check::Checksum;
use crate::manifest::{FreeExtent, Loan, Segment, SegmentState, Snapshot};
use crate::retention::{self, Policy, Reason};
use crate::types::{EffectId, Extent, LogId, Lsn, Position, Revision, Ticks};

/// Rows of the segment table that are left to the next start.
const SPARE_ROWS: usize = 1;
/// Free extents that are kept for use; more are released.
const FREE: usize = 4;

#[derive(Debug)]
pub(super) struct Space {
    /// The number that the next new extent gets.
    next_extent: u32,
    preparing: Option<(EffectId, Extent)>,
    /// The current segment was begun for reclaiming records.
    reserved: bool,
    /// No space, or no table, for another segment.
    pub(super) full: bool,
    retry: Option<Ticks>,
    releasing: Option<(EffectId, Extent)>,
    releases: heapless::Deque<(Extent, Revision), 16>,
    hold: Option<LogId>,
    keep_all: bool,
    /// A snapshot that waits for the log before it to be durable, then for the revision that names it.
    pending: Option<Snapshot>,
    naming: Option<(Snapshot, Revision)>,
    /// Segments that the newest revision lists, and those that the newest durable one lists.
    rows: usize,
    durable_rows: usize,
}

impl Space {
    pub(super) fn new(next_extent: u32, rows: usize) -> Self {
        Self {
            next_extent,
            preparing: None,
            reserved: false,
            full: false,
            retry: None,
            releasing: None,
            releases: heapless::Deque::new(),
            hold: None,
            keep_all: false,
            pending: None,
            naming: None,
            rows,
            durable_rows: rows,
        }
    }
}

impl<C: Checksum, L: Loan> Store<C, L> {
    /// Reserves the number of a new snapshot and says what it must contain: everything before the base.
    #[must_use]
    pub fn begin_snapshot(&mut self) -> Snapshot {
        let number = self.space.next_extent;
        self.space.next_extent = number.saturating_add(1);
        Snapshot {
            number,
            base: self.next,
            position: self.next_position(),
            time: self.time,
            ..Snapshot::default()
        }
    }

    /// Names a snapshot that has been written, synced and read back. It counts when [`Event::SnapshotKept`] comes.
    ///
    /// # Errors
    /// [`Refused::Busy`] while another one waits, [`Refused::Halted`].
    pub fn keep_snapshot(&mut self, snapshot: Snapshot) -> Result<(), Refused> {
        if self.halted().is_some() {
            return Err(Refused::Halted);
        }
        if self.space.pending.is_some() || self.space.naming.is_some() {
            return Err(Refused::Busy);
        }
        self.space.pending = Some(snapshot);
        self.request_sync(snapshot.base);
        self.durability.request_all();
        Ok(())
    }

    /// Keeps the segments from `log` on, and all later ones, until it is called again.
    pub fn hold(&mut self, log: Option<LogId>) {
        self.space.hold = log;
        self.retain();
    }

    /// Keeps every segment that was not let go of by name, or goes back to the floor.
    pub fn keep_all(&mut self, keep: bool) {
        self.space.keep_all = keep;
        self.retain();
    }

    /// Lets go of this segment although [`Self::keep_all`] is on, as soon as neither the floor nor a hold keeps it. Asked again
    /// after each start. Returns whether the segment is listed.
    pub fn let_go(&mut self, log: LogId) -> bool {
        let listed = self.manifest.segments.as_mut_slice();
        let Some(segment) = listed.iter_mut().find(|segment: &&mut Segment| segment.log == log) else {
            return false;
        };
        segment.wanted = false;
        self.retain();
        true
    }

    /// Records that this segment is archived, or let go of for good; the record goes with the next revision, at the latest
    /// with the one that releases a segment.
    pub fn record_archived(&mut self, log: LogId) {
        if log > self.manifest.head.archived {
            self.manifest.head.archived = log;
            self.revising.touch();
        }
    }

    /// The listed segments behind the current one: this boot listed them and has not begun them. An earlier one without a known
    /// fence has lost its header.
    fn unbegun(&self) -> &[Segment] {
        let segments = self.segments();
        let current = self.tail.position.log;
        let count = segments.iter().rev().take_while(|segment| segment.log > current).count();
        segments.get(segments.len() - count..).unwrap_or_default()
    }

    /// Whether only reclaiming records are taken: the current segment is the one that was kept for them.
    pub(super) fn is_on_reserve(&self) -> bool {
        self.space.full && self.space.reserved
    }

    /// Turns to the next segment.
    pub(super) fn begin_segment(&mut self, priority: Priority) -> Result<(), Refused> {
        let durable = self.revising.durable;
        let refused = if self.space.full { Refused::Full } else { Refused::Busy };
        let ready = self.unbegun().iter().filter(|segment| segment.claimed <= durable).count();
        // Reclaiming records may begin one that ordinary ones leave, but not the one for the next start.
        let wanted = self.config.ready_segments.max(1);
        let least = if priority == Priority::Ordinary { wanted } else { (wanted - 1).max(1) };
        if ready < least {
            return Err(refused);
        }
        self.space.reserved = ready < wanted;
        self.rotate = false;
        let next = self.next;
        let at = self.segments().len() - self.unbegun().len();
        let Some(segment) = self.manifest.segments.as_mut_slice().get_mut(at) else { return Err(refused) };
        segment.fence = next;
        segment.state = SegmentState::Headed;
        self.tail.extent = segment.extent;
        self.tail.position = Position { log: segment.log, offset: 0 };
        let position = self.tail.position;
        self.event(Event::Rotated { position, fence: next });
        Ok(())
    }

    pub(super) fn poll_space(&mut self, now: Ticks, wake: &mut Wake) -> Option<(EffectId, Action)> {
        self.name_snapshot();
        self.poll_prepare(now, wake).or_else(|| self.poll_release())
    }

    /// Names the pending snapshot as soon as the log before its base is durable, and the segment that its position is in.
    fn name_snapshot(&mut self) {
        let settled = self.durability.settled();
        let is_settled =
            |snapshot: &Snapshot| snapshot.base <= settled.lsn && snapshot.position <= settled.position;
        let Some(snapshot) = self.space.pending.filter(is_settled) else { return };
        if self.manifest.snapshots.room() == 0 {
            self.drop_oldest_snapshots(1);
        }
        if self.manifest.snapshots.push(snapshot).is_ok() {
            self.space.pending = None;
            // Writers may finish in another order than they began.
            self.manifest
                .snapshots
                .as_mut_slice()
                .sort_unstable_by_key(|listed: &Snapshot| (listed.base, listed.number));
            self.space.naming = Some((snapshot, self.change()));
        }
    }

    fn poll_prepare(&mut self, now: Ticks, wake: &mut Wake) -> Option<(EffectId, Action)> {
        if self.unbegun().len() >= self.config.ready_segments || self.space.preparing.is_some() {
            return None;
        }
        // The next start needs a row for the segment that it opens, or it could not start at all.
        let room = self
            .manifest
            .segments
            .room()
            .min(self.config.max_segments.saturating_sub(self.segments().len()) + SPARE_ROWS);
        if room <= SPARE_ROWS {
            self.out_of_space(now);
            return None;
        }
        let durable = self.revising.durable;
        if let Some(free) = self.manifest.free.as_slice().iter().find(|free| free.freed <= durable).copied() {
            self.list(free.extent);
            return None;
        }
        if !self.manifest.free.as_slice().is_empty() {
            return None;
        }
        if let Some(retry) = self.space.retry.filter(|retry| now < *retry) {
            wake.at(Some(retry));
            return None;
        }
        let id = self.id();
        let extent = Extent::wal(self.space.next_extent);
        self.space.next_extent = self.space.next_extent.saturating_add(1);
        self.space.preparing = Some((id, extent));
        Some((id, Action::Prepare { extent }))
    }

    /// Lists an extent as the next segment and claims its log id.
    fn list(&mut self, extent: u32) {
        let log = self.manifest.head.next_log;
        let claimed = self.manifest.head.revision.next();
        let (epoch, geometry) = (self.writer.epoch, self.writer.geometry);
        let state = SegmentState::Unheaded;
        let segment =
            Segment { log, extent, epoch, fence: Lsn::UNKNOWN, claimed, geometry, state, wanted: true };
        if self.manifest.segments.push(segment).is_ok() {
            self.manifest.head.next_log = log.next();
            self.manifest.free.retain(|free| free.extent != extent);
            self.revising.touch();
        }
    }

    fn poll_release(&mut self) -> Option<(EffectId, Action)> {
        if self.space.releasing.is_some() {
            return None;
        }
        let (extent, _) =
            *self.space.releases.front().filter(|(_, freed)| *freed <= self.revising.durable)?;
        self.space.releases.pop_front();
        let id = self.id();
        self.space.releasing = Some((id, extent));
        Some((id, Action::Release { extent }))
    }

    /// The result of a preparation or a release.
    pub(super) fn spaced(&mut self, id: EffectId, result: Result<(), Failure>, now: Ticks) {
        if let Some((_, extent)) = self.space.preparing.filter(|(of, _)| *of == id) {
            self.space.preparing = None;
            match result {
                Ok(()) => {
                    self.heal();
                    self.list(extent.number);
                }
                Err(Failure::NoSpace) => {
                    self.out_of_space(now);
                    let _ = self.space.releases.push_front((extent, Revision(0)));
                }
                Err(failure) => self.halt(failure),
            }
        } else if let Some((_, extent)) = self.space.releasing.filter(|(of, _)| *of == id) {
            // What can't be removed stays, unlisted: the next start removes it.
            self.space.releasing = None;
            if result.is_ok() {
                self.event(Event::Released(extent));
            }
            if self.space.releases.is_empty() {
                self.retain();
            }
        }
    }

    fn out_of_space(&mut self, now: Ticks) {
        self.space.retry = Some(now.plus(self.config.retry_micros));
        if !self.space.full {
            self.space.full = true;
            self.event(Event::Full);
        }
    }

    fn heal(&mut self) {
        self.space.retry = None;
        if self.space.full {
            self.space.full = false;
            self.event(Event::Healed);
        }
    }

    /// A revision is on its way.
    pub(super) fn revision_is_written(&mut self) {
        self.space.rows = self.segments().len();
    }

    /// Whether a crash now leaves a row of the segment table for the segment that the next start opens. Without one it could
    /// not start, so nothing may be written that needs that segment.
    pub(super) fn next_start_has_a_row(&self) -> bool {
        let listed = self.segments().len();
        let rows = listed + self.manifest.segments.room();
        listed < rows && self.space.durable_rows < rows
    }

    pub(super) fn revision_is_durable(&mut self, revision: Revision) {
        self.space.durable_rows = self.space.rows;
        if let Some((snapshot, _)) = self.space.naming.filter(|(_, named)| *named <= revision) {
            self.space.naming = None;
            self.event(Event::SnapshotKept { number: snapshot.number, base: snapshot.base });
            self.retain();
        }
    }

    /// Lets go of what retention allows; takes effect when the next revision is durable.
    fn retain(&mut self) {
        let policy = Policy { keep_snapshots: self.config.keep_snapshots, hold: self.space.hold };
        let surplus = retention::surplus(self.snapshots(), &policy);
        self.drop_oldest_snapshots(surplus);
        let keep_all = self.space.keep_all;
        let freed = self.manifest.head.revision.next();
        let mut changed = false;
        let Self { manifest, space, writer, .. } = self;
        let extent_bytes = writer.geometry.extent_bytes;
        let (snapshots, free) = (&manifest.snapshots, &mut manifest.free);
        manifest.segments.retain(|segment: &Segment| {
            let wanted = keep_all && segment.wanted;
            if wanted || retention::judge(segment, snapshots.as_slice(), &policy) != Reason::Covered {
                return true;
            }
            let usable = segment.geometry.extent_bytes == extent_bytes && free.as_slice().len() < FREE;
            let goes = segment.state == SegmentState::Missing
                || (usable && free.push(FreeExtent { extent: segment.extent, freed, present: true }).is_ok())
                || space.releases.push_back((Extent::wal(segment.extent), freed)).is_ok();
            changed |= goes;
            !goes
        });
        if changed {
            self.heal();
            self.revising.touch();
        }
    }

    fn drop_oldest_snapshots(&mut self, mut count: usize) {
        let freed = self.manifest.head.revision.next();
        let releases = &mut self.space.releases;
        let mut changed = false;
        self.manifest.snapshots.retain(|snapshot: &Snapshot| {
            let goes = count > 0 && releases.push_back((Extent::snapshot(snapshot.number), freed)).is_ok();
            count = count.saturating_sub(1);
            changed |= goes;
            !goes
        });
        if changed {
            self.revising.touch();
        }
    }
}
