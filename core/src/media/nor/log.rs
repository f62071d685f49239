//! The engine over a NOR ring: appends, trims, and the one repair.
//!
//! ```text
//!  append ─► room? ─► (resume) ─► (open) ─► frame ─► durable
//!               │        │          │         └── differs: resume, again
//!               ▼        ▼          ▼
//!             Full    erase what is not open; burn; RESUME      erase ─► erase part ─► open part
//! ```
//!
//! Invariants: nothing is written before the first append, trim or snapshot; `Full` is decided before anything is written; a
//! frame is acknowledged when it is durable, and read back if its block was not erased by this boot; after an operation that
//! was dropped, or a fault of the medium, nothing is written until the next mount.

use core::marker::PhantomData;

use super::port::{Driver, Port, short};
use super::reader::LONG_MEMBER;
use super::ring::{For, program};
use super::twin;
use crate::codec::check::Checksum;
use crate::codec::frame::{HEADER, Kind, Slot};
use crate::media::nor::header::put;
use crate::media::nor::{
    Content, Error, Geometry, MANIFEST_BODY, Manifest, Options, Place, RESUME_BODY, Volume, holds,
};
use crate::types::Lsn;

/// A log that is open.
#[derive(Debug)]
pub struct Log<C> {
    pub(super) volume: Volume,
    pub(super) next: Lsn,
    /// The last frame.
    pub(super) last: Content,
    /// What is settled, and what the last frame says of it.
    pub(super) settled: Manifest,
    pub(super) found: Manifest,
    /// Sequence number of the newest block of the log; one before the first if there is none.
    pub(super) head: u32,
    /// Sequence number of the newest block.
    pub(super) top: u32,
    /// Where the next frame goes in the head, or burning begins.
    pub(super) free: u32,
    /// How many blocks behind the newest are not open, and must be erased before anything else.
    pub(super) void: u16,
    /// How many blocks behind the newest this boot has erased.
    pub(super) ahead: u16,
    /// How many snapshots this boot has begun.
    pub(super) snapshots: u8,
    pub(super) options: Options,
    /// A RESUME stands behind what the mount found, or nothing was found.
    pub(super) resumed: bool,
    /// This boot erased the head.
    pub(super) proved: bool,
    /// The head holds a whole frame, or a witness.
    pub(super) stays: bool,
    pub(super) state: State,
    pub(super) check: PhantomData<C>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    /// In an operation, or in one that was dropped.
    Busy,
    Halted,
}

#[twin]
impl<C: Checksum> Log<C> {
    /// Appends one record.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::NeedsSnapshot`], [`Error::TooLarge`]: nothing was written. [`Error::Medium`]: the next mount
    /// tells whether the record is there.
    pub async fn append(&mut self, port: &mut Port<'_, impl Driver>, record: &[u8]) -> Result<Lsn, Error> {
        self.append_all(port, &[record]).await
    }

    /// Appends up to 255 records as one: all or nothing. Answers the LSN of the last one.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn append_all(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        records: &[&[u8]],
    ) -> Result<Lsn, Error> {
        let most = self.max_record(port);
        let too_large = Error::TooLarge { most };
        let len = payload_bytes(records).filter(|len| *len <= most).ok_or(too_large)?;
        let count = u8::try_from(records.len()).map_err(|_| too_large)?;
        self.begin()?;
        let done = self.write_records(port, records, len, count).await;
        self.end(done)
    }

    /// Gives up all records before this LSN that fill whole blocks, and says which one is the oldest now. A snapshot is never
    /// given up.
    ///
    /// # Errors
    /// [`Error::NoSuchLsn`]: it is beyond the next one. [`Error::Full`]: cuts have used up the reserve.
    pub async fn trim(&mut self, port: &mut Port<'_, impl Driver>, before: Lsn) -> Result<Lsn, Error> {
        if before > self.next {
            return Err(Error::NoSuchLsn);
        }
        self.begin()?;
        let done = self.write_trim(port, before).await;
        self.end(done)
    }

    /// Erases ahead, so that the next append does not have to: the next block if fewer than `within` bytes are left in this one and
    /// something was written since the mount; what a cut has left that is not open; the first block of an empty log. What this boot
    /// has erased is not erased again.
    ///
    /// # Errors
    /// [`Error::Medium`].
    pub async fn maintain(&mut self, port: &mut Port<'_, impl Driver>, within: u32) -> Result<(), Error> {
        let geometry = self.volume.geometry;
        let empty = self.top < geometry.first();
        let left = geometry.block_bytes().saturating_sub(self.free);
        // Before the RESUME the head may turn out not to be open: then only what is not open may be erased.
        let near = self.resumed && self.stays && left < within;
        let due = self.ahead == 0 && (empty || self.void > 0 || near);
        let next = self.top.saturating_add(1);
        let free = next < self.settled.floor.saturating_add(geometry.block_count());
        if !due || !(self.void > 0 || (free && self.may_open(next, For::Records))) {
            return Ok(());
        }
        self.begin()?;
        let done = self.erase_ahead(port, next).await;
        self.end(done)
    }

    /// LSN of the newest record that is durable. The newest one that a mount found is durable only after the next write.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        let unsure = if self.resumed { 0 } else { u64::from(self.last.count) };
        Lsn(self.next.0.saturating_sub(1).saturating_sub(unsure))
    }

    /// LSN of the next record.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// The largest record or group that is taken, bytes.
    #[must_use]
    pub fn max_record(&self, port: &mut Port<'_, impl Driver>) -> u32 {
        self.volume.geometry.max_record(port.capacity() as usize)
    }

    /// The sizes of the partition.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.volume.geometry
    }

    /// Whether an operation was dropped before its end: nothing more is written, mount again.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.state == State::Busy
    }

    /// Whether nothing is written before [`Log::remount`]: an operation was dropped, the medium failed, or damage was found.
    #[must_use]
    pub fn needs_mount(&self) -> bool {
        self.state != State::Idle
    }

    pub(super) fn begin(&mut self) -> Result<(), Error> {
        match self.state {
            State::Idle => {
                self.state = State::Busy;
                Ok(())
            }
            State::Busy => Err(Error::Interrupted),
            State::Halted => Err(Error::Medium),
        }
    }

    pub(super) fn end<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        let halted = matches!(done, Err(Error::Medium | Error::Corrupt(_) | Error::Newer(_)));
        self.state = if halted { State::Halted } else { State::Idle };
        done
    }

    async fn erase_ahead(&mut self, port: &mut Port<'_, impl Driver>, next: u32) -> Result<(), Error> {
        if self.void > 0 {
            return self.clear(port).await;
        }
        self.erase(port, next).await?;
        self.ahead = 1;
        Ok(())
    }

    async fn write_records(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        records: &[&[u8]],
        len: u32,
        count: u8,
    ) -> Result<Lsn, Error> {
        let bytes = self.volume.geometry.frame_bytes(len);
        self.check_room(bytes)?;
        self.clear(port).await?;
        if !self.resumed {
            self.resume(port, None).await?;
        }
        self.drop_oldest(port).await?;
        let (kind, holds) = match count {
            1 => (Kind::Record, holds::RECORD),
            _ => (Kind::Group, holds::GROUP),
        };
        loop {
            if !self.fits(bytes) {
                self.open(port, For::Records, 0).await?;
            }
            port.lay(|scratch| lay_records(records, scratch));
            if self.write_frame(port, kind, len).await? {
                break;
            }
            self.resume(port, None).await?;
        }
        let at = Place { sequence: self.head, offset: self.free.saturating_sub(bytes) };
        self.last = Content { at, from: at, len: short(len), count, holds };
        self.next = self.next.plus(u64::from(count));
        Ok(Lsn(self.next.0.saturating_sub(1)))
    }

    /// Where no block that was opened so far gives up the oldest one, because the policy was another, a manifest does.
    async fn drop_oldest(&mut self, port: &mut Port<'_, impl Driver>) -> Result<(), Error> {
        let count = self.volume.geometry.block_count();
        let next = self.top.saturating_add(1);
        if self.drops() && next >= self.settled.floor.saturating_add(count) {
            let floor = next.saturating_add(2).saturating_sub(count).min(self.head);
            self.write_manifest(port, Manifest { floor, run: 0 }).await?;
        }
        Ok(())
    }

    async fn write_trim(&mut self, port: &mut Port<'_, impl Driver>, before: Lsn) -> Result<Lsn, Error> {
        self.clear(port).await?;
        if self.top < self.volume.geometry.first() {
            return Ok(self.next);
        }
        // Once more if what was written carried the last frame out of the oldest block.
        loop {
            // What lies before a snapshot went when that was committed.
            let floor = if self.found.run > 0 { 0 } else { self.block_with(port, before).await? };
            if floor > self.found.floor {
                self.write_manifest(port, Manifest { floor, run: 0 }).await?;
            } else if !self.resumed {
                // What is given up already may be so by a block that is not open at the next start.
                self.resume(port, None).await?;
            } else {
                break;
            }
        }
        let (_, open) = self.opened(port, self.found.floor).await?;
        Ok(open.fence)
    }

    /// Writes what may go, in the RESUME if that comes first.
    pub(super) async fn write_manifest(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        manifest: Manifest,
    ) -> Result<(), Error> {
        if !self.resumed {
            return self.resume(port, Some(manifest)).await;
        }
        loop {
            if !self.fits(self.volume.geometry.frame_bytes(MANIFEST_BODY)) {
                self.open(port, For::Repair, 0).await?;
            }
            // A snapshot is named from the block before it, or it is void.
            let names = manifest.run > 0 && manifest.floor > self.settled.floor;
            if names && (self.top < manifest.floor || self.head >= manifest.floor) {
                return Err(Error::Abandoned);
            }
            port.lay(|scratch| lay_manifest(manifest, scratch, HEADER));
            if self.write_frame(port, Kind::Manifest, MANIFEST_BODY).await? {
                break;
            }
            self.resume(port, None).await?;
        }
        let bytes = self.volume.geometry.frame_bytes(MANIFEST_BODY);
        let at = Place { sequence: self.head, offset: self.free.saturating_sub(bytes) };
        self.last = Content { at, from: at, len: 0, count: 0, holds: holds::MANIFEST };
        self.found = manifest;
        self.settled = manifest;
        Ok(())
    }

    /// Seals the frame whose payload stands in the scratch and writes it. Says whether it is durable; if not, a RESUME is due.
    async fn write_frame(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        kind: Kind,
        payload: u32,
    ) -> Result<bool, Error> {
        let bytes = self.volume.geometry.frame_bytes(payload);
        let framing = self.volume.framing::<C>(self.head);
        let slot = Slot { offset: u64::from(self.free), lsn: self.next };
        let sealed = port.lay(|scratch| {
            framing.seal::<C>(kind, slot, payload as usize, scratch.get_mut(..bytes as usize)?)
        });
        sealed.ok_or(Error::NeedsScratch { bytes })?;
        let whole = self.program(port, bytes).await?;
        self.resumed = whole;
        self.stays |= whole;
        Ok(whole)
    }

    /// Programs the first bytes of the scratch behind the newest frame. Says whether they read back, if that is in doubt.
    pub(super) async fn program(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        bytes: u32,
    ) -> Result<bool, Error> {
        let place = Place { sequence: self.head, offset: self.free };
        self.free = self.free.saturating_add(bytes);
        program::<C>(self.volume, port, place, bytes, self.proved).await
    }

    /// Whether a record's frame finds room, with the RESUME before it. What is left for repairs is not for records.
    fn check_room(&self, bytes: u32) -> Result<(), Error> {
        let geometry = self.volume.geometry;
        let (mut free, mut block, mut open) = (self.free, self.head, self.fits(0));
        let newest = if self.unnamed() { self.head } else { self.top };
        let next = newest.saturating_add(1);
        if !self.resumed {
            let frame = geometry.frame_bytes(RESUME_BODY.saturating_add(self.last.bytes()));
            if self.fits(geometry.burn().saturating_mul(2).saturating_add(frame)) {
                free = free.saturating_add(geometry.burn()).saturating_add(frame);
            } else {
                block = if self.opens_again() { block } else { next };
                (free, open) = (geometry.frames_at().saturating_add(frame), true);
            }
        }
        if !open || free.saturating_add(bytes) > geometry.block_bytes() {
            block = block.saturating_add(1).max(next);
        }
        if self.may_open(block, For::Records) { Ok(()) } else { Err(self.full()) }
    }
}

/// Payload bytes of a record, or of a group.
fn payload_bytes(records: &[&[u8]]) -> Option<u32> {
    let mut bytes = 0_u32;
    for record in records {
        let len = u32::from(u16::try_from(record.len()).ok()?);
        let prefix = if len < u32::from(LONG_MEMBER) { 1 } else { 3 };
        bytes = bytes.checked_add(len + if records.len() == 1 { 0 } else { prefix })?;
    }
    (!records.is_empty()).then_some(bytes)
}

/// Copies the records behind the place of a frame's header.
fn lay_records(records: &[&[u8]], scratch: &mut [u8]) {
    let mut out = scratch.iter_mut().skip(HEADER);
    let mut copy = |bytes: &[u8]| {
        for byte in bytes {
            if let Some(slot) = out.next() {
                *slot = *byte;
            }
        }
    };
    for record in records {
        let [low, high, ..] = record.len().to_le_bytes();
        if records.len() > 1 && record.len() < usize::from(LONG_MEMBER) {
            copy(&[low]);
        } else if records.len() > 1 {
            copy(&[LONG_MEMBER, low, high]);
        }
        copy(record);
    }
}

pub(super) fn lay_manifest(manifest: Manifest, out: &mut [u8], at: usize) {
    let fits = put(out, at, manifest.floor.to_le_bytes())
        .and_then(|()| put(out, at + 4, manifest.run.to_le_bytes()));
    debug_assert!(fits.is_some());
}

impl<C> Log<C> {
    pub(super) fn start(volume: Volume, options: Options) -> Self {
        let first = volume.geometry.first();
        let empty = Manifest { floor: first, run: 0 };
        Self {
            volume,
            next: Lsn::FIRST,
            last: Content::default(),
            settled: empty,
            found: empty,
            head: first.saturating_sub(1),
            top: first.saturating_sub(1),
            free: 0,
            void: 0,
            ahead: 0,
            snapshots: 0,
            options,
            resumed: true,
            proved: false,
            stays: false,
            state: State::Idle,
            check: PhantomData,
        }
    }
}
