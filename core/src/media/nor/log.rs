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

use super::header::{Erased, Open, put, put_erased};
use super::port::{Operation, Port, Range, Request, short};
use super::reader::{LONG_MEMBER, header, verified};
use super::{
    Content, Error, Geometry, MANIFEST_BODY, Manifest, Place, RESUME_BODY, Volume, WITNESS, holds,
};
use crate::codec::check::Checksum;
use crate::codec::frame::{HEADER, Kind, Slot};
use crate::types::Lsn;

/// What happens when the ring is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Policy {
    /// The oldest block is given up, but never the newest snapshot.
    DropOldest,
    /// Records are refused with [`Error::Full`].
    Reject,
    /// Records are refused with [`Error::NeedsSnapshot`].
    AskForSnapshot,
}

/// How a log is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Options {
    /// What happens when the ring is full.
    pub policy: Policy,
    /// How many blocks are kept free for the next snapshot. With snapshots of this size there must be three more than twice as
    /// many blocks.
    pub reserve: u8,
}

/// What a block is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Records.
    Records,
    /// A snapshot.
    Snapshot,
    /// A RESUME or a manifest, which make room.
    Repair,
}

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

impl<C: Checksum> Log<C> {
    /// Appends one record.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::NeedsSnapshot`], [`Error::TooLarge`]: nothing was written. [`Error::Medium`]: the next mount
    /// tells whether the record is there.
    pub async fn append(&mut self, port: &Port<'_>, record: &[u8]) -> Result<Lsn, Error> {
        self.append_all(port, &[record]).await
    }

    /// Appends up to 255 records as one: all or nothing. Answers the LSN of the last one.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn append_all(&mut self, port: &Port<'_>, records: &[&[u8]]) -> Result<Lsn, Error> {
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
    pub async fn trim(&mut self, port: &Port<'_>, before: Lsn) -> Result<Lsn, Error> {
        if before > self.next {
            return Err(Error::NoSuchLsn);
        }
        self.begin()?;
        let done = self.write_trim(port, before).await;
        self.end(done)
    }

    /// Erases the next block ahead if fewer than `within` bytes are left in this one, so that no append has to. Does nothing
    /// before the first append.
    ///
    /// # Errors
    /// [`Error::Medium`].
    pub async fn maintain(&mut self, port: &Port<'_>, within: u32) -> Result<(), Error> {
        let left = self.volume.geometry.block_bytes().saturating_sub(self.free);
        let due = self.resumed && self.stays && self.ahead == 0 && left < within;
        let next = self.top.saturating_add(1);
        if !due || !self.may_open(next, For::Records) {
            return Ok(());
        }
        self.begin()?;
        let done = self.erase(port, next).await;
        self.ahead = 1;
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
    pub fn max_record(&self, port: &Port<'_>) -> u32 {
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

    async fn write_records(
        &mut self,
        port: &Port<'_>,
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

    async fn write_trim(&mut self, port: &Port<'_>, before: Lsn) -> Result<Lsn, Error> {
        self.clear(port).await?;
        if self.top < self.volume.geometry.first() {
            return Ok(self.next);
        }
        if self.found.run > 0 {
            // What lies before the snapshot went when it was committed.
            if !self.resumed {
                self.resume(port, None).await?;
            }
        } else {
            let floor = self.block_with(port, before).await?;
            if floor > self.found.floor {
                self.write_manifest(port, Manifest { floor, run: 0 }).await?;
            }
        }
        let (_, open) = self.opened(port, self.found.floor).await?;
        Ok(open.fence)
    }

    /// The newest block of the log that begins at or before this LSN, or the floor.
    pub(super) async fn block_with(&self, port: &Port<'_>, lsn: Lsn) -> Result<u32, Error> {
        // A block that holds no frame yet was opened for one that may have been torn: its fence may be wrong.
        let (mut low, mut high) = (self.found.floor, self.last.at.sequence.saturating_add(1));
        let mut run = 0;
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            let (_, open) = self.opened(port, middle).await?;
            if open.fence <= lsn {
                (low, run) = (middle, open.run);
            } else {
                high = middle;
            }
        }
        // While a snapshot was written, records went into the block before it.
        Ok(if run > 0 { self.found.floor.max(run.saturating_sub(1)) } else { low })
    }

    /// The header of a block that must be open under this number.
    pub(super) async fn opened(&self, port: &Port<'_>, sequence: u32) -> Result<(Erased, Open), Error> {
        let block = self.volume.geometry.block_of(sequence);
        match header::<C>(self.volume, port, block).await? {
            (erased, super::header::Opened::Open(open)) if open.sequence == sequence => Ok((erased, open)),
            _ => Err(Error::Corrupt(Place { sequence, offset: 0 })),
        }
    }

    /// Writes what may go, in the RESUME if that comes first.
    pub(super) async fn write_manifest(&mut self, port: &Port<'_>, manifest: Manifest) -> Result<(), Error> {
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

    /// Erases blocks that are not open, the newest first.
    pub(super) async fn clear(&mut self, port: &Port<'_>) -> Result<(), Error> {
        while self.void > 0 {
            self.erase(port, self.top.saturating_add(u32::from(self.void))).await?;
            self.void = self.void.saturating_sub(1);
            self.ahead = self.ahead.saturating_add(1);
        }
        Ok(())
    }

    /// The one repair: goes on behind whatever stands at the end of the log, with what the last frame held, and with a newer
    /// manifest if one is given.
    pub(super) async fn resume(&mut self, port: &Port<'_>, newer: Option<Manifest>) -> Result<(), Error> {
        let geometry = self.volume.geometry;
        let mut carried = self.last;
        if let Some(manifest) = newer {
            carried.holds |= holds::MANIFEST;
            self.found = manifest;
        }
        let frame = geometry.frame_bytes(RESUME_BODY.saturating_add(carried.bytes()));
        loop {
            let fresh = self.proved && self.free == geometry.frames_at();
            let burn = if fresh { 0 } else { geometry.burn() };
            let bytes = burn.saturating_add(frame);
            if !self.fits(bytes) {
                self.open_anew(port).await?;
                continue;
            }
            self.lay_resume(port, carried, burn).await?;
            if self.program(port, bytes).await? {
                break;
            }
        }
        let at = Place { sequence: self.head, offset: self.free.saturating_sub(frame) };
        // What carries nothing voids everything before it.
        self.last = Content { at, holds: carried.holds | holds::RESUME, ..carried };
        if carried.is(holds::MANIFEST) {
            self.settled = self.found;
        }
        self.stays = true;
        self.resumed = true;
        Ok(())
    }

    /// Opens a block for a RESUME that has no room in the head: the next one, or the head again if it holds nothing that counts.
    async fn open_anew(&mut self, port: &Port<'_>) -> Result<(), Error> {
        let geometry = self.volume.geometry;
        let next = self.may_open(self.top.saturating_add(1), For::Repair);
        if self.opens_again() || (!next && self.goes_back(port).await?) {
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
    async fn goes_back(&mut self, port: &Port<'_>) -> Result<bool, Error> {
        let Content { from, holds, .. } = self.last;
        let copied = from.sequence < self.head && self.head == self.top && holds & super::holds::MANIFEST == 0;
        if !copied || verified::<C>(self.volume, port, from, 0, 0).await?.is_none() {
            return Ok(false);
        }
        self.last.at = from;
        self.last.holds = holds & !super::holds::RESUME;
        Ok(true)
    }

    /// Brings what the last frame held into the scratch, behind burnt bytes and a RESUME's header.
    async fn lay_resume(&self, port: &Port<'_>, carried: Content, burn: u32) -> Result<(), Error> {
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
        let manifest = self.found;
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

    /// Seals the frame whose payload stands in the scratch and writes it. Says whether it is durable; if not, a RESUME is due.
    async fn write_frame(&mut self, port: &Port<'_>, kind: Kind, payload: u32) -> Result<bool, Error> {
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
    async fn program(&mut self, port: &Port<'_>, bytes: u32) -> Result<bool, Error> {
        let place = Place { sequence: self.head, offset: self.free };
        self.free = self.free.saturating_add(bytes);
        program::<C>(self.volume, port, place, bytes, self.proved).await
    }

    pub(super) fn fits(&self, bytes: u32) -> bool {
        // Behind a snapshot the log goes on in a new block.
        let open = self.head >= self.volume.geometry.first() && self.head >= self.found.floor;
        open && self.free.saturating_add(bytes) <= self.volume.geometry.block_bytes()
    }

    /// Whether a record's frame finds room, with the RESUME before it. What is left for repairs is not for records.
    fn check_room(&self, bytes: u32) -> Result<(), Error> {
        let geometry = self.volume.geometry;
        let (mut free, mut block, mut open) = (self.free, self.head, self.fits(0));
        let next = self.top.saturating_add(1);
        if !self.resumed {
            let frame = geometry.frame_bytes(RESUME_BODY.saturating_add(self.last.bytes()));
            if self.fits(geometry.burn().saturating_add(frame)) {
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

    /// Whether the head holds nothing that counts: it is opened again.
    fn opens_again(&self) -> bool {
        !self.stays && self.head == self.top && self.head >= self.volume.geometry.first()
    }

    fn full(&self) -> Error {
        match self.options.policy {
            Policy::Reject => Error::Full,
            Policy::AskForSnapshot | Policy::DropOldest => Error::NeedsSnapshot,
        }
    }

    /// Whether the oldest records may be given up.
    pub(super) fn drops(&self) -> bool {
        self.options.policy == Policy::DropOldest && self.settled.run == 0 && self.found.run == 0
    }

    /// Whether a block can be opened, such that enough is free behind it.
    pub(super) fn may_open(&self, sequence: u32, purpose: For) -> bool {
        let drops = self.drops();
        // The next snapshot may be as large as the last one.
        let reserve = u32::from(self.options.reserve).max(self.settled.run);
        let behind = match purpose {
            For::Records | For::Repair if drops => return sequence < u32::MAX >> 1,
            For::Records => 3 + reserve,
            For::Snapshot => 2,
            For::Repair => 1,
        };
        let end = self.settled.floor.saturating_add(self.volume.geometry.block_count());
        sequence < u32::MAX >> 1 && sequence.saturating_add(behind) <= end
    }

    /// The floor that the block of this sequence number declares. What a snapshot's blocks say goes when they are void.
    fn floor_of(&self, sequence: u32, run: u32) -> u32 {
        let drops = self.drops() && run == 0;
        let spared = sequence.saturating_add(2).saturating_sub(self.volume.geometry.block_count());
        if drops { self.settled.floor.max(spared) } else { self.settled.floor }
    }

    /// Opens the block behind the newest: for a snapshot, the one that begins with block `run`; else as the head.
    pub(super) async fn open(&mut self, port: &Port<'_>, purpose: For, run: u32) -> Result<(), Error> {
        if run == 0 {
            self.give_up_unnamed();
            self.clear(port).await?;
        }
        let sequence = self.top.saturating_add(1);
        if !self.may_open(sequence, purpose) {
            return Err(self.full());
        }
        if self.ahead == 0 {
            self.erase(port, sequence).await?;
        }
        self.ahead = self.ahead.saturating_sub(1);
        let floor = self.floor_of(sequence, run);
        let open = Open { sequence, fence: self.next, floor, run };
        let volume = self.volume;
        let (at, end) = (volume.geometry.open_at(), volume.geometry.frames_at());
        let bytes = end.saturating_sub(at);
        let laid = port.lay(|scratch| open.put::<C>(volume, scratch.get_mut(..bytes as usize)?));
        laid.ok_or(Error::NeedsScratch { bytes })?;
        program::<C>(volume, port, Place { sequence, offset: at }, bytes, true).await?;
        self.top = sequence;
        if floor > self.settled.floor {
            self.settled = Manifest { floor, run: 0 };
            if floor > self.found.floor {
                self.found = self.settled;
            }
        }
        if run == 0 {
            self.head = sequence;
            self.free = end;
            self.proved = true;
            self.stays = false;
        }
        Ok(())
    }

    /// Erases a block and writes its erase part.
    pub(super) async fn erase(&mut self, port: &Port<'_>, sequence: u32) -> Result<(), Error> {
        let volume = self.volume;
        let block = volume.geometry.block_of(sequence);
        let bytes = volume.geometry.open_at();
        let range = Range { block, offset: 0, len: bytes, limit: bytes };
        let start = port.want(volume.geometry.word(), range).await?;
        let laid = port.lay(|scratch| {
            let part = scratch.get_mut(start..start + bytes as usize)?;
            let erases = match super::header::take_erased::<C>(volume, part) {
                Erased::Ours(erases) => erases.saturating_add(1),
                // Every lap erases each block about once.
                _ => sequence.checked_div(volume.geometry.block_count()).unwrap_or_default(),
            };
            put_erased::<C>(volume, erases, scratch.get_mut(..bytes as usize)?)
        });
        laid.ok_or(Error::NeedsScratch { bytes })?;
        port.ask(Request { operation: Operation::Erase, block, offset: 0, start: 0, len: 0 }).await?;
        program::<C>(volume, port, Place { sequence, offset: 0 }, bytes, true).await?;
        Ok(())
    }
}

/// Programs the first bytes of the scratch and says whether they read back; if that is `sure`, they are not read.
pub(super) async fn program<C: Checksum>(
    volume: Volume,
    port: &Port<'_>,
    place: Place,
    bytes: u32,
    sure: bool,
) -> Result<bool, Error> {
    let request = |operation| Request {
        operation,
        block: volume.geometry.block_of(place.sequence),
        offset: place.offset,
        start: 0,
        len: short(bytes),
    };
    let digest = || port.lay(|scratch| C::extend(0, scratch.get(..bytes as usize).unwrap_or_default()));
    let written = if sure { 0 } else { digest() };
    port.ask(request(Operation::Program)).await?;
    if sure {
        return Ok(true);
    }
    port.ask(request(Operation::Read)).await?;
    Ok(digest() == written)
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

fn lay_manifest(manifest: Manifest, out: &mut [u8], at: usize) {
    let fits = put(out, at, manifest.floor.to_le_bytes()).and_then(|()| put(out, at + 4, manifest.run.to_le_bytes()));
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
