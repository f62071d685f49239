//! Records, from the base to the first place that is not the expected frame; then the verdict.
//!
//! ```text
//!   enter ─► read ─► stop ─► fenced or rotated ─► enter the next one
//!          ▲          └────► scan what is behind ─► clean, torn, corrupt
//!          └─────────────────────────┘ a snapshot holds what is damaged
//! ```

use super::{Ask, Damage, Recovery, Refusal, Scope, Stage};
use crate::codec::check::Checksum;
use crate::codec::frame::HEADER;
use crate::manifest::{Loan, Segment, SegmentState};
use crate::types::{Epoch, Extent, Lsn, Position, Settled};
use crate::wal::mark_bytes;
use crate::wal::reader::{Found, Item, MarkScan, Reader};
use crate::wal::verdict::{Evidence, Verdict, judge};

/// How much of a segment without an intact header is searched for marks: it is not begun, unless its header is damaged.
const UNHEADED_SCAN: u32 = 1 << 20;

/// Where replay stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    /// Reads the current segment; none if its header is not intact or it is not listed.
    reader: Option<Reader>,
    extent: u32,
    index: Option<usize>,
    /// Where replay stands if there is no reader.
    place: Position,
    epoch: Epoch,
    /// LSN of the next record.
    pub(super) next: Lsn,
    /// The lowest fence of a newer epoch.
    fence: Option<Lsn>,
    need: usize,
    stop: Option<Found>,
    /// Replay stopped at a record that the loaded snapshot holds.
    covered: bool,
    /// A bit for each manifest extent that does not exist.
    pub(super) missing_manifests: u8,
}

/// The search for witnesses behind the place where replay stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    found: Found,
    place: Position,
    index: usize,
    scan: MarkScan,
    limit: u32,
    followed: bool,
    /// Replay stopped at a batch border behind which the segment has no other batch.
    whole: bool,
    announced: Lsn,
    void_bytes: u64,
}

impl<C: Checksum, L: Loan> Recovery<C, L> {
    pub(super) fn begin_replay(&mut self, base: Settled) {
        self.base = base;
        self.path.next = base.lsn;
        self.path.place = base.position;
        self.report.settled = self.settled;
        let below = |segment: &&Segment| segment.log < base.position.log;
        let damaged = self.manifest.segments.as_slice().iter().filter(below);
        let damaged = damaged.filter(|segment| segment.state != SegmentState::Headed).count();
        self.report.unneeded_damage = u32::try_from(damaged).unwrap_or(u32::MAX);
        self.stage = Stage::Replay;
        match self.segment_index(base.position.log) {
            Some(index) if base.position.offset == 0 => self.enter(index),
            Some(index) => {
                self.go_to(index, base);
                self.path.reader = self.path.reader.map(Reader::from_border);
            }
            None => self.path.fence = self.lowest_fence(),
        }
    }

    /// Begins to read the listed segment at `index` from its header on.
    fn enter(&mut self, index: usize) {
        let Some(segment) = self.manifest.segments.as_slice().get(index).copied() else { return };
        let next = if segment.fence == Lsn::UNKNOWN { self.path.next } else { segment.fence };
        let offset = if self.is_headed(index) { self.first_batch(index) } else { 0 };
        self.go_to(index, Settled { position: Position { log: segment.log, offset }, lsn: next });
    }

    fn go_to(&mut self, index: usize, from: Settled) {
        let Some(segment) = self.manifest.segments.as_slice().get(index).copied() else { return };
        self.forget();
        let reader = self.reader(from.position, from.lsn, segment.epoch, segment.geometry);
        self.path = Path {
            reader: (from.position.offset > 0).then_some(reader),
            extent: segment.extent,
            index: Some(index),
            place: from.position,
            epoch: segment.epoch,
            next: from.lsn,
            need: HEADER,
            stop: None,
            covered: false,
            fence: None,
            missing_manifests: self.path.missing_manifests,
        };
        self.path.fence = self.lowest_fence();
    }

    fn lowest_fence(&self) -> Option<Lsn> {
        self.newer_epochs().map(|(_, segment)| segment.fence).min()
    }

    /// Segments behind this place that a newer epoch wrote and whose fence is known.
    fn newer_epochs(&self) -> impl Iterator<Item = (usize, &Segment)> {
        let path = &self.path;
        self.manifest.segments.as_slice().iter().enumerate().filter(move |(_, segment)| {
            segment.log > path.place.log && segment.epoch > path.epoch && segment.fence != Lsn::UNKNOWN
        })
    }

    pub(super) fn poll_replay(&mut self) -> Option<Ask> {
        if self.path.fence.is_some_and(|fence| fence <= self.path.next) {
            return self.stopped(Found::Blank);
        }
        if let Some(found) = self.path.stop {
            return self.stopped(found);
        }
        let Some(reader) = self.path.reader else { return self.stopped(Found::Bad) };
        let ask = self.want(Extent::wal(self.path.extent), u64::from(reader.offset()), self.path.need);
        Some(ask.unwrap_or(Ask::Records))
    }

    /// The next record from what has been read; `None` when [`Recovery::poll`] must be called again.
    #[inline]
    pub fn next_record(&mut self) -> Option<(Lsn, &[u8])> {
        let (lsn, start, len) = self.advance()?;
        self.report.records += 1;
        Some((lsn, self.window.as_ref().get(start..start + len).unwrap_or_default()))
    }

    /// Reads up to the next record that is wanted; says where its payload is in the window.
    #[inline]
    fn advance(&mut self) -> Option<(Lsn, usize, usize)> {
        let (Stage::Replay, Some(reader), None) = (&self.stage, self.path.reader.as_mut(), self.path.stop)
        else {
            return None;
        };
        loop {
            if self.path.fence.is_some_and(|fence| fence <= reader.expected()) {
                return None;
            }
            let before = reader.offset();
            let skip =
                usize::try_from(u64::from(before).saturating_sub(self.filled.offset)).unwrap_or(usize::MAX);
            let window = self.window.as_ref().get(skip..self.filled.len).unwrap_or_default();
            match reader.next::<C>(window) {
                Item::Record { lsn, payload } => {
                    self.path.next = lsn.next();
                    self.path.need = HEADER;
                    if lsn >= self.base.lsn {
                        let end = reader.payload_end() as usize + skip - before as usize;
                        return Some((lsn, end - payload.len(), payload.len()));
                    }
                }
                Item::Mark(_) => self.path.need = HEADER,
                Item::Need(bytes) => {
                    self.path.need = bytes;
                    if self.filled.ends {
                        self.path.stop = Some(if window.is_empty() { Found::Blank } else { Found::Bad });
                    }
                    return None;
                }
                Item::Stop(found) => {
                    self.path.stop = Some(found);
                    return None;
                }
            }
        }
    }

    /// The expected frame is not here: goes on where the log goes on, or looks at what is behind.
    fn stopped(&mut self, found: Found) -> Option<Ask> {
        if let Some(reader) = self.path.reader {
            self.report.bytes += u64::from(reader.offset() - self.path.place.offset);
            self.path.place = reader.position();
            self.path.next = reader.expected();
            self.settled = self.settled.max(reader.settled);
            self.named = self.named.max(reader.revision);
            self.report.time = self.report.time.max(reader.time);
            self.report.sealed = reader.sealed;
        }
        if self.path.next < self.base.lsn {
            self.path.next = self.base.lsn;
            self.path.covered = true;
            self.report.unneeded_damage += 1;
        }
        let fenced = self.fenced();
        let rotated = self.rotated();
        let evidence = Evidence {
            found: Some(found),
            fenced: fenced.is_some(),
            rotated: rotated.is_some(),
            settled: self.was_settled(),
            followed: true,
        };
        match (judge(evidence), fenced.or(rotated)) {
            (Verdict::Fenced | Verdict::Rotated, Some(index)) => self.enter(index),
            (Verdict::Newer, _) => {
                let (extent, offset) = (Extent::wal(self.path.extent), u64::from(self.path.place.offset));
                self.refuse(Refusal::Newer { extent, offset });
            }
            // Corrupt or not, what is behind says how much there was.
            _ => self.begin_scan(found),
        }
        None
    }

    /// Whether something that is missing here was durable. What the snapshot holds is not missing.
    fn was_settled(&self) -> bool {
        if self.path.covered {
            self.settled.lsn > self.path.next
        } else {
            // An epoch that was opened in front of what a snapshot holds may have settled more at the same place.
            self.settled > Settled { position: self.path.place, lsn: self.path.next }
        }
    }

    /// The first segment of the highest epoch whose fence is at or below the expected LSN.
    fn fenced(&self) -> Option<usize> {
        let qualify = self.newer_epochs().filter(|(_, segment)| segment.fence <= self.path.next);
        let epoch = qualify.map(|(_, segment)| segment.epoch).max()?;
        self.newer_epochs().find(|(_, segment)| segment.epoch == epoch).map(|(index, _)| index)
    }

    /// The next segment of this epoch, if it begins with the expected LSN.
    fn rotated(&self) -> Option<usize> {
        let index = self.path.index? + 1;
        let next = self.manifest.segments.as_slice().get(index)?;
        let follows = next.epoch == self.path.epoch && next.fence == self.path.next && self.is_headed(index);
        follows.then_some(index)
    }

    fn begin_scan(&mut self, found: Found) {
        let place = self.path.place;
        let batch = self.path.reader.and_then(|reader| reader.batch());
        let sealed = self.report.sealed;
        let mut scan = self.mark_scan(place, self.path.epoch);
        scan.end = batch.map_or(0, |batch| batch.end);
        let mut behind = Behind {
            found,
            place,
            index: self.path.index.unwrap_or(usize::MAX),
            scan,
            limit: 0,
            followed: batch.is_some(),
            whole: self.path.reader.is_some() && batch.is_none(),
            announced: batch.map_or(self.path.next, |batch| batch.next),
            void_bytes: 0,
        };
        // Nothing was written behind a seal, and nothing can be scanned where nothing is listed.
        if sealed || self.path.index.is_none() {
            behind.index = usize::MAX;
            return self.scanned(behind);
        }
        behind.limit = self.scan_limit(behind.index);
        self.stage = Stage::Scan(behind);
    }

    fn mark_scan(&self, from: Position, epoch: Epoch) -> MarkScan {
        let geometry =
            self.segment_index(from.log).and_then(|index| self.manifest.segments.as_slice().get(index));
        let geometry = geometry.map_or(self.options.geometry, |segment| segment.geometry);
        MarkScan::new::<C>(self.manifest.store, epoch, from, geometry)
    }

    fn scan_limit(&self, index: usize) -> u32 {
        let Some(segment) = self.manifest.segments.as_slice().get(index) else { return 0 };
        let bytes = segment.geometry.extent_bytes;
        if segment.state == SegmentState::Headed { bytes } else { bytes.min(UNHEADED_SCAN) }
    }

    pub(super) fn poll_scan(&mut self, mut behind: Behind) -> Option<Ask> {
        let Some(segment) = self.manifest.segments.as_slice().get(behind.index).copied() else {
            self.scanned(behind);
            return None;
        };
        let offset = u64::from(behind.scan.offset());
        let need = mark_bytes(segment.geometry) as usize;
        if behind.scan.offset() < behind.limit {
            if let Some(ask) = self.want(Extent::wal(segment.extent), offset, need) {
                self.stage = Stage::Scan(behind);
                return Some(ask);
            }
            let window = self.window_at(offset).len();
            let skip = usize::try_from(offset - self.filled.offset).unwrap_or(usize::MAX);
            let bytes = self.window.as_ref().get(skip..skip + window).unwrap_or_default();
            let more = behind.scan.feed::<C>(bytes, self.filled.ends);
            self.stage = Stage::Scan(behind);
            if more && window >= need {
                return None;
            }
        }
        self.next_scan(behind, segment.epoch);
        None
    }

    /// Notes what a segment's scan found and turns to the next one of the epoch.
    fn next_scan(&mut self, mut behind: Behind, epoch: Epoch) {
        let scan = behind.scan;
        self.settled = self.settled.max(scan.settled);
        self.named = self.named.max(scan.revision);
        let here = self.path.index == Some(behind.index);
        if here
            && self.path.covered
            && let Some((offset, _)) = scan.first.filter(|(_, next)| *next == self.base.lsn)
        {
            return self.go_on(behind.index, offset);
        }
        behind.followed |= scan.intact;
        behind.whole &= !here || !scan.intact;
        behind.announced = behind.announced.max(scan.announced);
        let from = if here { behind.place.offset } else { 0 };
        behind.void_bytes += u64::from(scan.end.saturating_sub(from));
        behind.index += 1;
        self.forget();
        let next = self.manifest.segments.as_slice().get(behind.index).copied();
        match next.filter(|segment| segment.epoch == epoch) {
            Some(segment) => {
                let headed = self.is_headed(behind.index);
                behind.followed |= headed;
                if headed {
                    behind.announced = behind.announced.max(segment.fence);
                }
                let position = Position { log: segment.log, offset: self.first_batch(behind.index) };
                behind.scan = self.mark_scan(position, epoch);
                behind.limit = self.scan_limit(behind.index);
                self.stage = Stage::Scan(behind);
            }
            None => self.scanned(behind),
        }
    }

    /// What replay stopped at is in the snapshot, and the batch at `offset` begins with the first record that is not.
    fn go_on(&mut self, index: usize, offset: u32) {
        self.base.position = Position { offset, ..self.path.place };
        self.go_to(index, self.base);
        self.stage = Stage::Replay;
    }

    /// Everything that can be known is known: clean, torn or corrupt.
    fn scanned(&mut self, behind: Behind) {
        let settled = self.was_settled();
        let evidence = Evidence {
            found: Some(behind.found),
            fenced: false,
            rotated: false,
            settled,
            followed: behind.followed,
        };
        let verdict = judge(evidence);
        if verdict == Verdict::Corrupt {
            if let Some(first) = self.let_go() {
                return self.refuse(Refusal::NoSnapshot { first });
            }
            let damaged = self.damaged(behind.whole);
            return self.corrupt(behind.announced.max(self.settled.lsn), damaged);
        }
        let needed = |segment: &&Segment| segment.log >= self.path.place.log;
        let missing = self.manifest.segments.as_slice().iter().filter(is_missing);
        if let Some(missing) = missing.clone().find(needed).copied() {
            return self.corrupt(behind.announced, Some(missing));
        }
        let passed = missing.filter(|segment| segment.log >= self.base.position.log).count();
        self.report.unneeded_damage += u32::try_from(passed).unwrap_or(u32::MAX);
        self.report.void_bytes = behind.void_bytes;
        self.report.void_until = behind.announced;
        self.end_of_log(verdict);
    }

    /// Where no snapshot loads that holds what was in segments that were let go of: the first record behind them.
    fn let_go(&self) -> Option<Lsn> {
        let next = self.manifest.segments.as_slice().get(self.path.index? + 1)?;
        // Log ids of an epoch are dense.
        let hole = next.epoch == self.path.epoch && next.log > self.path.place.log.next();
        let without = self.report.damaged_snapshots > 0 && self.report.snapshot.is_none();
        (hole && without).then_some(next.fence).filter(|first| *first != Lsn::UNKNOWN)
    }

    /// The segment that ends the log too early: this one, or the next one of the epoch, if this one is `whole` and that one was
    /// begun and has no header.
    fn damaged(&self, whole: bool) -> Option<Segment> {
        let listed = self.manifest.segments.as_slice();
        let index = self.path.index?;
        let next = listed.get(index + 1).filter(|next| whole && next.epoch == self.path.epoch);
        let next = next.filter(|next| match next.state {
            SegmentState::Missing => true,
            SegmentState::Unheaded => self.settled.position > start_of(next),
            SegmentState::Headed => false,
        });
        next.or(listed.get(index)).copied()
    }

    /// Settled data is damaged here: the operator decides.
    fn corrupt(&mut self, announced: Lsn, at: Option<Segment>) {
        let missing = at.is_some_and(|segment| segment.state == SegmentState::Missing);
        let headless = at.filter(|at| !missing && at.log > self.path.place.log);
        let damage = Damage {
            extent: at.map(|segment| Extent::wal(segment.extent)),
            position: headless.map_or(self.path.place, |segment| start_of(&segment)),
            lsn: self.path.next,
            settled: self.settled,
            announced: announced.max(self.settled.lsn),
            missing,
        };
        match self.options.discard_from {
            Some(lsn) if lsn == damage.lsn => {
                self.report.void_until = damage.announced;
                self.end_of_log(Verdict::Corrupt);
            }
            Some(_) => self.refuse(Refusal::NotThere { damage }),
            None => self.refuse(Refusal::Corrupt(damage)),
        }
    }

    fn end_of_log(&mut self, verdict: Verdict) {
        self.report.verdict = Some(verdict);
        self.report.end = self.path.place;
        self.report.next = self.path.next;
        if self.named > self.newest {
            return self.refuse(Refusal::RolledBack { newest: self.newest, named: self.named });
        }
        match self.options.scope {
            Scope::Verify => self.stage = Stage::Done,
            Scope::Open => self.begin_rewrite(),
        }
    }

    pub(super) fn end_without_log(&mut self) {
        self.report.fresh = true;
        self.stage = Stage::Done;
    }
}

fn is_missing(segment: &&Segment) -> bool {
    segment.state == SegmentState::Missing
}

fn start_of(segment: &Segment) -> Position {
    Position { log: segment.log, offset: 0 }
}
