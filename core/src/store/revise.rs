//! Writes manifest revisions: one at a time, each into the next slot, the ring of three extents turning under them.

use super::Store;
use crate::action::{Action, Buffer, Event, Failure, Span};
use crate::codec::check::Checksum;
use crate::geometry::{Geometry, round_up};
use crate::manifest::{Loan, MANIFEST_EXTENTS, Manifest};
use crate::types::{EffectId, Extent, Revision};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Writing(EffectId),
    Written,
    Syncing(EffectId),
}

/// The state of the manifest writer; also used by recovery for the revision that opens an epoch.
#[derive(Debug)]
pub(crate) struct Revising<B> {
    pub(crate) buffer: Option<B>,
    /// The newest revision that is known to be durable.
    pub(crate) durable: Revision,
    /// The extent that holds it.
    proven_extent: u32,
    /// Where the next frame goes.
    extent: u32,
    offset: u32,
    stage: Stage,
    dirty: bool,
    /// The revision on its way, and the bytes of its frame.
    flying: (Revision, u32),
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Revising<B> {
    /// The next frame goes to `offset` in `extent`, which holds the durable revision.
    pub(crate) fn new(buffer: B, durable: Revision, extent: u32, offset: u32) -> Self {
        Self {
            buffer: Some(buffer),
            durable,
            proven_extent: extent,
            extent,
            offset,
            stage: Stage::Idle,
            dirty: false,
            flying: (durable, 0),
        }
    }

    pub(crate) fn is(&self, id: EffectId) -> bool {
        matches!(self.stage, Stage::Writing(of) | Stage::Syncing(of) if of == id)
    }

    /// The manifest has changed.
    pub(crate) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Where the next frame goes.
    pub(crate) fn place(&self) -> (u32, u32) {
        (self.extent, self.offset)
    }

    /// The extent that must not be begun anew, if it is not the one that is written to.
    pub(crate) fn protect(&mut self, proven_extent: u32) {
        self.proven_extent = proven_extent;
    }

    /// The next frame goes to `offset` in `extent`.
    pub(crate) fn go_to(&mut self, extent: u32, offset: u32) {
        (self.extent, self.offset) = (extent, offset);
    }

    /// The next action, if any; `Err` if the manifest has outgrown its buffer or extent.
    pub(crate) fn poll<C: Checksum, L: Loan<Bytes = B>>(
        &mut self,
        manifest: &mut Manifest<L>,
        geometry: Geometry,
        id: EffectId,
    ) -> Result<Option<Action>, Failure> {
        match self.stage {
            Stage::Idle if self.dirty => {
                self.write::<C, L>(manifest, geometry, id).map(Some).ok_or(Failure::NoSpace)
            }
            Stage::Written => {
                self.stage = Stage::Syncing(id);
                Ok(Some(Action::Sync { extent: Extent::manifest(self.extent) }))
            }
            _ => Ok(None),
        }
    }

    fn write<C: Checksum, L: Loan<Bytes = B>>(
        &mut self,
        manifest: &mut Manifest<L>,
        geometry: Geometry,
        id: EffectId,
    ) -> Option<Action> {
        manifest.head.revision = manifest.head.revision.next();
        manifest.head.proven = self.durable;
        manifest.head.proven_extent = self.proven_extent;
        let buffer = self.buffer.as_mut()?.as_mut();
        let mut bytes = manifest.encode::<C>(self.offset, geometry, buffer)?;
        if self.offset as usize + bytes > geometry.manifest_bytes as usize {
            self.extent = (1..=MANIFEST_EXTENTS)
                .map(|step| (self.extent + step) % MANIFEST_EXTENTS)
                .find(|extent| *extent != self.proven_extent && *extent != self.extent)?;
            self.offset = 0;
            bytes = manifest.encode::<C>(0, geometry, buffer)?;
            if bytes > geometry.manifest_bytes as usize {
                return None;
            }
        }
        self.dirty = false;
        self.stage = Stage::Writing(id);
        let len = u32::try_from(bytes).ok()?;
        self.flying = (manifest.head.revision, len);
        Some(Action::Write {
            extent: Extent::manifest(self.extent),
            offset: u64::from(self.offset),
            bytes: Span { buffer: Buffer::Manifest, start: 0, len },
        })
    }

    /// Takes the success of the write or the sync. Returns the revision that has become durable by it.
    pub(crate) fn done(&mut self, geometry: Geometry) -> Option<Revision> {
        match self.stage {
            Stage::Writing(_) => {
                self.stage = Stage::Written;
                self.offset += round_up(self.flying.1, geometry.manifest_slot());
                None
            }
            Stage::Syncing(_) => {
                self.stage = Stage::Idle;
                self.durable = self.flying.0;
                self.proven_extent = self.extent;
                Some(self.durable)
            }
            Stage::Idle | Stage::Written => None,
        }
    }
}

impl<C: Checksum, L: Loan> Store<C, L> {
    pub(super) fn poll_revise(&mut self) -> Option<(EffectId, Action)> {
        let id = self.id();
        self.manifest.head.settled = self.durability.settled();
        self.manifest.head.time = self.time;
        match self.revising.poll::<C, L>(&mut self.manifest, self.writer.geometry, id) {
            Ok(action) => {
                if let Some(Action::Write { .. }) = action {
                    self.revision_is_written();
                }
                action.map(|action| (id, action))
            }
            Err(failure) => {
                self.halt(failure);
                None
            }
        }
    }

    pub(super) fn revised(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.halt(failure);
            return;
        }
        if let Some(revision) = self.revising.done(self.writer.geometry) {
            self.event(Event::Revised(revision));
            self.revision_is_durable(revision);
        }
    }

    /// The revision that will carry a change made now.
    pub(super) fn change(&mut self) -> Revision {
        self.revising.touch();
        self.manifest.head.revision.next()
    }
}
