//! Second stage: the header of every extent, listed or not, before anything is cleaned. Then the snapshot.

use super::{Ask, Existing, Recovery, Refusal, Stage};
use crate::codec::check::Checksum;
use crate::codec::extent::{ExtentHeader, HEADER_WINDOW, HeaderParsed, HeaderRole};
use crate::geometry::Geometry;
use crate::manifest::{FreeExtent, Loan, MANIFEST_EXTENTS, Segment, SegmentState};
use crate::types::{Extent, Lsn, Position, Role, Settled};
use crate::wal::batch_start;

/// Numbers are given one after the other, and few that were given are not listed: one that is so far above all that are is
/// not this store's.
const FAR: u32 = 1 << 24;

/// Where the stage stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Headers {
    reading: Option<Existing>,
    /// An extent with an intact header.
    witness: Option<Extent>,
    /// A number above this one was never given by this store.
    most: u32,
}

impl<C: Checksum, L: Loan> Recovery<C, L> {
    pub(super) fn begin_headers(&mut self, manifests: u8) {
        self.forget();
        self.path.missing_manifests = !manifests & ((1 << MANIFEST_EXTENTS) - 1);
        let listed = self.highest_listed();
        self.stage = Stage::Headers(Headers { most: listed.saturating_add(FAR), ..Headers::default() });
    }

    fn highest_listed(&self) -> u32 {
        let manifest = &self.manifest;
        let segments = manifest.segments.as_slice().iter().map(|segment| segment.extent);
        let free = manifest.free.as_slice().iter().map(|free| free.extent);
        let snapshots = manifest.snapshots.as_slice().iter().map(|snapshot| snapshot.number);
        segments.chain(free).chain(snapshots).max().unwrap_or(0)
    }

    /// An extent that exists, or that there are no more.
    pub fn next_extent(&mut self, existing: Option<Existing>) {
        let Stage::Headers(mut headers) = self.stage else { return };
        match existing {
            Some(existing) if existing.extent.role == Role::Manifest => {}
            // Numbers go on above it: they would soon run out.
            Some(existing) if existing.extent.number > headers.most => {
                self.refuse(Refusal::Stray { extent: existing.extent });
            }
            Some(existing) => {
                self.next_extent = self.next_extent.max(existing.extent.number.saturating_add(1));
                headers.reading = Some(existing);
                self.forget();
                self.stage = Stage::Headers(headers);
            }
            None => self.headers_done(headers),
        }
    }

    pub(super) fn poll_headers(&mut self, mut headers: Headers) -> Option<Ask> {
        let Some(existing) = headers.reading else { return Some(Ask::NextExtent) };
        // A temporary file has no extent of its own that could be read: it is never listed.
        if !existing.unfinished
            && let Some(ask) = self.want(existing.extent, 0, HEADER_WINDOW)
        {
            return Some(ask);
        }
        headers.reading = None;
        self.stage = Stage::Headers(headers);
        if existing.unfinished {
            self.orphan(existing.extent, false);
            return None;
        }
        match ExtentHeader::decode::<C>(self.window_at(0)) {
            HeaderParsed::Header(header) => self.take_header(existing.extent, &header, headers),
            HeaderParsed::Absent => self.take_headless(existing.extent),
            HeaderParsed::Newer(_) => self.refuse(Refusal::Newer { extent: existing.extent, offset: 0 }),
        }
        None
    }

    fn take_header(&mut self, extent: Extent, header: &ExtentHeader, mut headers: Headers) {
        headers.witness = Some(extent);
        self.stage = Stage::Headers(headers);
        if self.newest.0 == 0 {
            return;
        }
        if header.store != self.manifest.store {
            return self.take_foreign(extent);
        }
        self.named = self.named.max(header.revision);
        if (extent.role == Role::Snapshot) != (header.role == HeaderRole::Snapshot) {
            return self.take_misnamed(extent);
        }
        if extent.role == Role::Snapshot {
            if !self.is_listed(extent) {
                self.orphan(extent, false);
            }
            return;
        }
        // The revision that opened the epoch knows what was settled before it, less what an operator chose to discard.
        if header.epoch >= self.manifest.head.epoch {
            self.settled = self.settled.max(header.settled);
        }
        let fallback = self.options.geometry;
        let Some(segment) = self.segment_in(extent) else {
            if !self.is_free(extent) {
                self.orphan(extent, false);
            }
            return;
        };
        let own = header.log == segment.log && header.epoch == segment.epoch;
        segment.state = if own { SegmentState::Headed } else { SegmentState::Unheaded };
        if own {
            let (write_unit, batch_align, extent_bytes) = header.geometry;
            let geometry = Geometry { write_unit, batch_align, extent_bytes, ..fallback };
            segment.geometry = geometry.check().unwrap_or(fallback);
            segment.fence = header.fence;
        }
    }

    /// The listed segment that the extent should hold.
    fn segment_in(&mut self, extent: Extent) -> Option<&mut Segment> {
        let segments = self.manifest.segments.as_mut_slice();
        segments.iter_mut().find(|segment| Extent::wal(segment.extent) == extent)
    }

    /// Whether the manifest lists a segment or a snapshot in this extent.
    fn is_listed(&mut self, extent: Extent) -> bool {
        let snapshots = self.manifest.snapshots.as_slice();
        snapshots.iter().any(|snapshot| Extent::snapshot(snapshot.number) == extent)
            || self.segment_in(extent).is_some()
    }

    /// Whether the extent is on the free list; it exists.
    fn is_free(&mut self, extent: Extent) -> bool {
        let mut free = self.manifest.free.as_mut_slice().iter_mut();
        let free = free.find(|free: &&mut FreeExtent| Extent::wal(free.extent) == extent);
        free.map(|free| free.present = true).is_some()
    }

    /// An extent of ours that holds something else than its name says: it may be the only copy.
    fn take_misnamed(&mut self, extent: Extent) {
        match self.segment_in(extent) {
            Some(segment) => segment.state = SegmentState::Unheaded,
            None => self.take_foreign(extent),
        }
    }

    /// An extent of another store: not ours to remove. Where one of ours should be, ours is missing.
    fn take_foreign(&mut self, extent: Extent) {
        if !self.is_listed(extent) {
            self.manifest.free.retain(|free| Extent::wal(free.extent) != extent);
            self.orphan(extent, true);
        }
    }

    /// An extent without a header. Whether a listed snapshot is one is for its reader to say.
    fn take_headless(&mut self, extent: Extent) {
        if let Some(segment) = self.segment_in(extent) {
            segment.state = SegmentState::Unheaded;
        } else if !self.is_listed(extent) && !self.is_free(extent) {
            self.orphan(extent, extent.role == Role::Snapshot);
        }
    }

    fn headers_done(&mut self, headers: Headers) {
        self.forget();
        if self.newest.0 == 0 {
            match headers.witness {
                Some(witness) => self.refuse(Refusal::NoManifest { witness }),
                None if self.options.scope == super::Scope::Verify => self.end_without_log(),
                None => self.begin_fresh(),
            }
            return;
        }
        // What is not there can't be used again.
        self.manifest.free.retain(|free: &FreeExtent| free.present);
        if self.named > self.newest {
            return self.refuse(Refusal::RolledBack { newest: self.newest, named: self.named });
        }
        self.report.store = self.manifest.store;
        self.report.timeline = self.manifest.head.timeline;
        self.report.losses = self.manifest.head.losses;
        self.report.time = self.manifest.head.time;
        self.stage = Stage::Snapshot { candidate: self.manifest.snapshots.as_slice().len() };
    }

    /// Asks for the newest snapshot that has not been tried, `candidate` of them are left.
    pub(super) fn poll_snapshot(&mut self, candidate: usize) -> Option<Ask> {
        if let Some(snapshot) =
            candidate.checked_sub(1).and_then(|at| self.manifest.snapshots.as_slice().get(at))
        {
            return Some(Ask::Load(*snapshot));
        }
        let Some(first) = self.manifest.segments.as_slice().first().copied() else {
            self.begin_replay(Settled { position: Position::default(), lsn: Lsn::FIRST });
            return None;
        };
        if first.fence != Lsn::FIRST && first.fence != Lsn::UNKNOWN {
            self.refuse(Refusal::NoSnapshot { first: first.fence });
            return None;
        }
        let lsn = if first.fence == Lsn::UNKNOWN { Lsn::FIRST } else { first.fence };
        self.begin_replay(Settled { position: Position { log: first.log, offset: 0 }, lsn });
        None
    }

    pub(super) fn take_snapshot(&mut self, candidate: usize, good: bool) {
        let Some(at) = candidate.checked_sub(1) else { return };
        let Some(snapshot) = self.manifest.snapshots.as_slice().get(at).copied() else { return };
        if good {
            self.report.snapshot = Some(snapshot);
            return self.begin_replay(Settled { position: snapshot.position, lsn: snapshot.base });
        }
        self.report.damaged_snapshots += 1;
        self.manifest.snapshots.retain(|listed: &crate::manifest::Snapshot| listed.number != snapshot.number);
        self.orphan(Extent::snapshot(snapshot.number), true);
        self.stage = Stage::Snapshot { candidate: at };
    }

    /// Whether the header of the listed segment at `index` stands in front of its first batch.
    pub(super) fn is_headed(&self, index: usize) -> bool {
        self.manifest
            .segments
            .as_slice()
            .get(index)
            .is_some_and(|segment| segment.state == SegmentState::Headed)
    }

    /// Offset of the first batch of the listed segment at `index`.
    pub(super) fn first_batch(&self, index: usize) -> u32 {
        self.manifest.segments.as_slice().get(index).map_or(0, |segment| batch_start(segment.geometry))
    }
}
