//! The one repair: burn, RESUME, read back.
//!
//! ```text
//!  before   | RECORD | torn ..... | erased ......................... |
//!  after    | RECORD | torn ..... | burnt | RESUME: RECORD | erased  |
//!                                    or, where that has no room:
//!           | RECORD | torn ..... | witness |   | next block | RESUME: RECORD |
//! ```

use super::log::{Log, lay_manifest};
use super::port::{Driver, Port, short};
use super::reader::verified;
use super::ring::For;
use super::twin;
use crate::codec::check::Checksum;
use crate::codec::frame::{HEADER, Kind, Slot};
use crate::media::nor::header::put;
use crate::media::nor::{Content, Error, Manifest, Operation, Place, RESUME_BODY, Request, WITNESS, holds};
use crate::types::Lsn;

#[twin]
impl<C: Checksum> Log<C> {
    /// Erases blocks that are not open, the newest first.
    pub(super) async fn clear(&mut self, port: &mut Port<'_, impl Driver>) -> Result<(), Error> {
        while self.void > 0 {
            self.erase(port, self.top.saturating_add(u32::from(self.void))).await?;
            self.void = self.void.saturating_sub(1);
            self.ahead = self.ahead.saturating_add(1);
        }
        Ok(())
    }

    /// The one repair: goes on behind whatever stands at the end of the log, with what the last frame held, and with a newer
    /// manifest if one is given.
    pub(super) async fn resume(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        newer: Option<Manifest>,
    ) -> Result<(), Error> {
        let geometry = self.volume.geometry;
        let mut carried = self.last;
        if newer.is_some() {
            carried.holds |= holds::MANIFEST;
        }
        let frame = geometry.frame_bytes(RESUME_BODY.saturating_add(carried.bytes()));
        let lent = geometry.burn().saturating_add(frame).saturating_add(geometry.word());
        if lent > port.capacity() {
            return Err(Error::NeedsScratch { bytes: lent });
        }
        // No writer makes a frame that no block could carry on: the search for room would erase for ever.
        if geometry.frames_at().saturating_add(frame).saturating_add(geometry.burn()) > geometry.block_bytes()
        {
            return Err(Error::Corrupt(self.last.at));
        }
        let manifest = loop {
            let fresh = self.proved && self.free == geometry.frames_at();
            let burn = if fresh { 0 } else { geometry.burn() };
            let bytes = burn.saturating_add(frame);
            // Behind it there must be room for a witness.
            if !self.fits(bytes.saturating_add(geometry.burn())) {
                self.open_anew(port).await?;
                continue;
            }
            // The block that was opened for it may have given up more than the manifest does.
            let manifest = newer.filter(|newer| newer.floor >= self.settled.floor).unwrap_or(self.found);
            self.lay_resume(port, carried, manifest, burn).await?;
            if self.program(port, bytes).await? {
                break manifest;
            }
        };
        let at = Place { sequence: self.head, offset: self.free.saturating_sub(frame) };
        // What carries nothing voids everything before it.
        self.last = Content { at, holds: carried.holds | holds::RESUME, ..carried };
        if carried.is(holds::MANIFEST) {
            self.found = manifest;
            self.settled = manifest;
        }
        self.stays = true;
        self.resumed = true;
        Ok(())
    }

    /// Opens a block for a RESUME that has no room in the head: the next one, or the head again if it holds nothing that counts.
    async fn open_anew(&mut self, port: &mut Port<'_, impl Driver>) -> Result<(), Error> {
        let geometry = self.volume.geometry;
        let next = self.may_open(self.top.saturating_add(1), For::Repair);
        // Where the last frame is about to be erased, the head holds none, and nothing rests on it yet.
        let keeps =
            self.last.at.sequence.saturating_add(geometry.block_count()) == self.top.saturating_add(1);
        if self.opens_again() || keeps || (!next && self.goes_back(port).await?) {
            let ahead = core::mem::take(&mut self.ahead);
            self.top = self.top.saturating_sub(1);
            self.head = self.top;
            self.open(port, For::Repair, 0).await?;
            self.ahead = ahead;
            return Ok(());
        }
        let word = geometry.word();
        if next && !self.proved && self.free.saturating_add(word) <= geometry.block_bytes() {
            port.lay(|scratch| {
                for byte in scratch.iter_mut().take(word as usize) {
                    *byte = WITNESS;
                }
            });
            self.program(port, word).await?;
            self.stays = true;
        }
        self.open(port, For::Repair, 0).await
    }

    /// Whether the head holds only copies of a frame that is still whole in a block before it: then that is the last one again.
    async fn goes_back(&mut self, port: &mut Port<'_, impl Driver>) -> Result<bool, Error> {
        let from = self.last.from;
        let copied = from.sequence < self.head && self.head == self.top && !self.last.is(holds::MANIFEST);
        if !copied || verified::<C>(self.volume, port, from, 0, 0).await?.is_none() {
            return Ok(false);
        }
        self.last.at = from;
        self.last.holds &= !holds::RESUME;
        Ok(true)
    }

    /// Brings what the last frame held into the scratch, behind burnt bytes and a RESUME's header.
    async fn lay_resume(
        &self,
        port: &mut Port<'_, impl Driver>,
        carried: Content,
        manifest: Manifest,
        burn: u32,
    ) -> Result<(), Error> {
        let geometry = self.volume.geometry;
        let last = self.last;
        let kept = last.bytes();
        if last.at.sequence != 0 {
            // Read again, and so that its records land where the RESUME has them.
            if verified::<C>(self.volume, port, last.at, 0, 0).await?.is_none() {
                return Err(Error::Corrupt(last.at));
            }
            let start = burn.saturating_add(RESUME_BODY).saturating_sub(last.lead());
            let len = geometry.frame_bytes(last.lead().saturating_add(kept));
            let block = geometry.block_of(last.at.sequence);
            let offset = last.at.offset;
            port.forget();
            let (start, len) = (short(start), short(len));
            port.ask(Request { operation: Operation::Read, block, offset, start, len }).await?;
        }
        let lsn = Lsn(self.next.0.saturating_sub(u64::from(carried.count)));
        let slot = Slot { offset: u64::from(self.free.saturating_add(burn)), lsn: self.next };
        let framing = self.volume.framing::<C>(self.head);
        let payload = RESUME_BODY.saturating_add(carried.bytes()) as usize;
        let frame = burn as usize..burn as usize + framing.frame_bytes(payload);
        port.lay(|scratch| {
            for byte in scratch.iter_mut().take(burn as usize) {
                *byte = 0;
            }
            let frame = scratch.get_mut(frame)?;
            let body = frame.get_mut(HEADER..)?;
            let packed = carried.from.offset | u32::from(carried.holds & !holds::RESUME) << 24;
            put(body, 0, lsn.0.to_le_bytes())?;
            put(body, 8, carried.from.sequence.to_le_bytes())?;
            put(body, 12, packed.to_le_bytes())?;
            if carried.is(holds::MANIFEST) {
                lay_manifest(manifest, body, RESUME_BODY as usize + usize::from(carried.len));
            }
            framing.seal::<C>(Kind::Resume, slot, payload, frame)
        })
        .ok_or(Error::NeedsScratch { bytes: burn.saturating_add(geometry.frame_bytes(RESUME_BODY + kept)) })
    }

    /// Whether the head holds nothing that counts: it is opened again.
    pub(super) fn opens_again(&self) -> bool {
        !self.stays && self.head == self.top && self.head >= self.volume.geometry.first()
    }
}
