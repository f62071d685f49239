//! First stage: the newest intact manifest revision in any of the three extents.

use super::{Ask, Recovery, Refusal, Stage};
use crate::codec::check::Checksum;
use crate::geometry::LARGEST;
use crate::manifest::{BodyError, Loan, MANIFEST_EXTENTS, MANIFEST_STEP, SlotFound, head, look};
use crate::store::revise::Revising;
use crate::types::{Extent, Revision, StoreId};

/// An intact frame.
#[derive(Clone, Copy, Debug)]
struct Best {
    revision: Revision,
    store: StoreId,
    extent: u32,
    offset: u32,
    bytes: u32,
    proven: (Revision, u32),
}

/// Where the scan stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    extent: u32,
    offset: u32,
    best: Option<Best>,
    /// All extents have been scanned; the best frame is read again.
    settled: bool,
    /// A bit for each extent that exists.
    present: u8,
}

impl<C: Checksum, L: Loan> Recovery<C, L> {
    pub(super) fn poll_manifest(&mut self, mut scan: Scan) -> Option<Ask> {
        let extent = Extent::manifest(scan.extent);
        let offset = u64::from(scan.offset);
        let mut need = 8;
        loop {
            if let Some(ask) = self.want(extent, offset, need) {
                self.stage = Stage::Manifest(scan);
                return Some(ask);
            }
            let window = self.window_at(offset);
            if (window.is_empty() || scan.offset >= LARGEST) && !scan.settled {
                return self.next_manifest_extent(scan);
            }
            scan.present |= 1 << scan.extent;
            match look::<C>(window, scan.offset, self.options.geometry) {
                SlotFound::Need(bytes) if !self.filled.ends => need = bytes,
                _ if scan.settled => return self.take_manifest(scan),
                SlotFound::Frame { store, body, bytes } => {
                    if let Some(refusal) = scan.note(store, head(body), bytes) {
                        self.refuse(refusal);
                        return None;
                    }
                    scan.offset += u32::try_from(bytes).unwrap_or(0).next_multiple_of(MANIFEST_STEP);
                    break;
                }
                SlotFound::Need(_) | SlotFound::Nothing => {
                    scan.offset += MANIFEST_STEP;
                    break;
                }
            }
        }
        self.stage = Stage::Manifest(scan);
        None
    }

    fn next_manifest_extent(&mut self, mut scan: Scan) -> Option<Ask> {
        self.forget();
        scan.extent += 1;
        scan.offset = 0;
        if scan.extent < MANIFEST_EXTENTS {
            self.stage = Stage::Manifest(scan);
            return None;
        }
        let Some(best) = scan.best else {
            self.manifest.reset(self.options.fresh);
            self.begin_headers(0);
            return None;
        };
        scan.settled = true;
        scan.extent = best.extent;
        scan.offset = best.offset;
        self.stage = Stage::Manifest(scan);
        None
    }

    /// Reads the best frame's body into the manifest.
    fn take_manifest(&mut self, scan: Scan) -> Option<Ask> {
        let best = scan.best?;
        let extent = Extent::manifest(best.extent);
        let skip = usize::try_from(u64::from(best.offset) - self.filled.offset).unwrap_or(usize::MAX);
        let window = self.window.as_ref().get(skip..self.filled.len).unwrap_or_default();
        // What was read before may be gone now.
        let SlotFound::Frame { body, .. } = look::<C>(window, best.offset, self.options.geometry) else {
            self.refuse(Refusal::Unreadable { extent, offset: u64::from(best.offset) });
            return None;
        };
        match self.manifest.decode(body) {
            Ok(()) if self.manifest.head.revision == best.revision => {}
            // What stood there was never durable, and the medium now shows what stood there before.
            Ok(()) => self.refuse(Refusal::Unreadable { extent, offset: u64::from(best.offset) }),
            Err(BodyError::Full) => self.refuse(Refusal::TooMany),
            Err(BodyError::Malformed | BodyError::Newer(_)) => {
                self.refuse(Refusal::Newer { extent, offset: u64::from(best.offset) });
            }
        }
        if matches!(self.stage, Stage::Refused(_)) {
            return None;
        }
        self.newest = best.revision;
        self.settled = self.manifest.head.settled;
        self.named = best.proven.0;
        let (proven, proven_extent) = best.proven;
        let next = (best.offset + best.bytes).next_multiple_of(self.options.geometry.manifest_slot());
        self.revising.resume(proven, proven_extent, best.extent, next);
        self.report.fresh = false;
        self.begin_headers(scan.present);
        None
    }
}

impl Scan {
    /// Keeps the newest frame; refuses a newer writer's and another store's.
    fn note(
        &mut self,
        store: StoreId,
        head: Result<crate::manifest::Head, BodyError>,
        bytes: usize,
    ) -> Option<Refusal> {
        let (extent, offset) = (Extent::manifest(self.extent), u64::from(self.offset));
        let Ok(head) = head else { return Some(Refusal::Newer { extent, offset }) };
        if self.best.is_some_and(|best| best.store != store) {
            return Some(Refusal::SeveralStores { extent });
        }
        if self.best.is_none_or(|best| best.revision < head.revision) {
            self.best = Some(Best {
                revision: head.revision,
                store,
                extent: self.extent,
                offset: self.offset,
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                proven: (head.proven, head.proven_extent),
            });
        }
        None
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Revising<B> {
    /// Goes on behind the newest frame that was read, of which only `proven` is known to be durable.
    fn resume(&mut self, proven: Revision, proven_extent: u32, extent: u32, offset: u32) {
        self.durable = proven;
        self.protect(proven_extent);
        self.go_to(extent, offset);
    }
}
