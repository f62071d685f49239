//! Finds the newest block and the end of the log. Nothing is written.
//!
//! ```text
//!  newest ─► tail ─► snapshot? ─► what stands behind the newest block is not newer ─► Log
//!   binary    back over blocks
//!   search    that are not open
//! ```
//!
//! Sequence numbers rise with the index up to the newest block, and belong to the lap before from there on. A header that does
//! not verify looks like the end of that rise; what stands behind tells damage from an end.

use super::log::Log;
use super::port::{Driver, Port};
use super::reader::{Reader, header, verified};
use super::twin;
use crate::codec::check::Checksum;
use crate::media::nor::header::{Erased, Open, Opened};
use crate::media::nor::{ERASED, Error, Geometry, Identity, Manifest, Options, Place, Policy, Volume, holds};
use crate::types::{Lsn, StoreId};

#[twin]
impl<C: Checksum> Log<C> {
    /// Opens the log of `store`. Nothing is written. A partition that is all erased is an empty log.
    ///
    /// # Errors
    /// The partition is another's or of other sizes, holds something else, or what was complete in it is damaged.
    pub async fn mount(
        port: &mut Port<'_, impl Driver>,
        geometry: Geometry,
        store: StoreId,
        options: Options,
    ) -> Result<Self, Error> {
        Self::mount_volume(port, Volume::new::<C>(geometry, store), options).await
    }

    /// Opens the log of an image, whosever it is.
    ///
    /// # Errors
    /// As [`Log::mount`].
    pub async fn mount_image(
        port: &mut Port<'_, impl Driver>,
        identity: Identity,
        options: Options,
    ) -> Result<Self, Error> {
        Self::mount_volume(port, identity.0, options).await
    }

    /// Mounts again, after an operation that was dropped or failed.
    ///
    /// # Errors
    /// As [`Log::mount`]; the log is as it was.
    pub async fn remount(&mut self, port: &mut Port<'_, impl Driver>) -> Result<(), Error> {
        let log = Self::mount_volume(port, self.volume, self.options).await?;
        // A snapshot that was begun before is void.
        *self = Self { snapshots: self.snapshots.wrapping_add(1), ..log };
        Ok(())
    }

    pub(super) async fn mount_volume(
        port: &mut Port<'_, impl Driver>,
        volume: Volume,
        options: Options,
    ) -> Result<Self, Error> {
        port.forget();
        let geometry = volume.geometry;
        check_options(geometry, options)?;
        if geometry.max_record(port.capacity() as usize) == 0 || port.capacity() < geometry.frames_at() {
            let bytes = geometry.frames_at() + geometry.burn() + 2 * geometry.word().max(32);
            return Err(Error::NeedsScratch { bytes });
        }
        let mut log = Self::start(volume, options);
        if let Some(newest) = newest::<C>(volume, port).await? {
            log.find_tail(port, newest).await?;
        }
        log.check_behind(port).await?;
        Ok(log)
    }

    /// Erases the whole partition, whatever it holds: an empty log of `store`.
    ///
    /// # Errors
    /// [`Error::Medium`], [`Error::NeedsScratch`].
    pub async fn format(
        port: &mut Port<'_, impl Driver>,
        geometry: Geometry,
        store: StoreId,
        options: Options,
    ) -> Result<Self, Error> {
        port.forget();
        check_options(geometry, options)?;
        let mut log = Self::start(Volume::new::<C>(geometry, store), options);
        // Until all are erased, the first one says that this is no log: what is left of an old one must not be taken for it.
        let first = geometry.first();
        log.erase_as(port, first, false).await?;
        for block in 1..geometry.block_count() {
            log.erase(port, first.saturating_add(block)).await?;
        }
        log.erase(port, first).await?;
        log.ahead = u16::try_from(geometry.block_count()).unwrap_or(u16::MAX);
        Ok(log)
    }

    /// Reads the end of the log, which is in the newest block, or before blocks that are not open.
    async fn find_tail(&mut self, port: &mut Port<'_, impl Driver>, newest: Open) -> Result<(), Error> {
        let volume = self.volume;
        let first = volume.geometry.first();
        let mut open = newest;
        let mut keep = newest.sequence;
        let mut reader = loop {
            let head = if open.run > 0 { open.run.saturating_sub(1) } else { open.sequence };
            let reader = self.read_to_end(port, head, head).await?;
            if reader.begun {
                self.head = head;
                break reader;
            }
            // Its own open part may be torn.
            keep = head.saturating_sub(1);
            if keep < first {
                self.void = count(newest.sequence, keep);
                return Ok(());
            }
            (_, open) = self.opened(port, keep).await?;
        };
        let mut from = self.head;
        while reader.last.at.sequence == 0 && from > first {
            // Also below the floor: where a block was opened for a RESUME that never was, nothing is erased yet.
            let (_, before) = self.opened(port, from.saturating_sub(1)).await?;
            from = if before.run > 0 { before.run.saturating_sub(1) } else { before.sequence };
            reader = self.read_to_end(port, from, self.head).await?;
        }
        if from < reader.settled.floor && reader.found.run == 0 {
            reader.settled = Manifest { floor: from, run: 0 };
            reader.found = reader.settled;
        }
        if reader.last.at.sequence == 0 && reader.expected() > Lsn::FIRST {
            return Err(Error::Corrupt(Place { sequence: self.head, offset: 0 }));
        }
        self.take_tail(&reader);
        self.judge_snapshot(port, newest.sequence, keep).await
    }

    async fn read_to_end(
        &self,
        port: &mut Port<'_, impl Driver>,
        from: u32,
        head: u32,
    ) -> Result<Reader, Error> {
        let mut reader = Reader::new(from, head);
        while reader.advance::<C>(self.volume, port).await?.is_some() {}
        Ok(reader)
    }

    fn take_tail(&mut self, reader: &Reader) {
        self.next = reader.expected();
        self.last = reader.last;
        self.settled = reader.settled;
        self.found = reader.found;
        self.free = reader.free;
        self.resumed = false;
        self.stays = reader.holds_frame || reader.witnessed;
    }

    /// Blocks between the head and the newest one are a snapshot if a manifest names them, and void if not.
    async fn judge_snapshot(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        newest: u32,
        keep: u32,
    ) -> Result<(), Error> {
        let run = self.found.run;
        if run > 0 && (self.run_at(port, self.found.floor).await? < run || !self.is_whole(port).await?) {
            if self.found == self.settled {
                return Err(Error::Corrupt(Place { sequence: self.found.floor, offset: 0 }));
            }
            // The start before read the manifest as torn, and erased what it names.
            self.found = self.settled;
            self.last.holds &= !holds::MANIFEST;
        }
        let ahead = self.found.floor > self.head;
        if ahead && self.found.run == 0 {
            // Only the blocks of a snapshot lie behind the head.
            return Err(Error::Corrupt(Place { sequence: self.found.floor, offset: 0 }));
        }
        self.top =
            if ahead { self.found.floor.saturating_add(self.found.run).saturating_sub(1) } else { self.head };
        if self.top > keep {
            return Err(Error::Corrupt(Place { sequence: keep.saturating_add(1), offset: 0 }));
        }
        self.void = count(newest, self.top);
        if self.settled.run == 0 && self.settled.floor < self.head {
            // The manifest that named the snapshot at the floor may be long gone.
            let run = self.run_at(port, self.settled.floor).await?;
            if self.found.floor == self.settled.floor {
                self.found.run = run;
            }
            self.settled.run = run;
        }
        Ok(())
    }

    /// Whether the snapshot that the last frame names is there to its end. An older one was when something was written behind it.
    async fn is_whole(&self, port: &mut Port<'_, impl Driver>) -> Result<bool, Error> {
        let Some(mut reader) = self.snapshot(port).await?.filter(|_| self.found != self.settled) else {
            return Ok(true);
        };
        loop {
            match reader.next(self, port).await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(true),
                Err(Error::Corrupt(_) | Error::Newer(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// How many blocks from this one on hold a snapshot.
    async fn run_at(&self, port: &mut Port<'_, impl Driver>, first: u32) -> Result<u32, Error> {
        let mut next = first;
        loop {
            match self.opened(port, next).await {
                Ok((_, open)) if open.run == first => next = next.saturating_add(1),
                Ok(_) | Err(Error::Corrupt(_)) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(next.saturating_sub(first))
    }

    /// Damage to the header of the newest block would look like an end before it.
    async fn check_behind(&mut self, port: &mut Port<'_, impl Driver>) -> Result<(), Error> {
        let volume = self.volume;
        let next = self.top.saturating_add(u32::from(self.void)).saturating_add(1);
        match header::<C>(volume, port, volume.geometry.block_of(next)).await?.1 {
            Opened::Open(open) if open.sequence == next => {
                return Err(Error::Corrupt(Place { sequence: next, offset: 0 }));
            }
            Opened::Bad => {
                self.look_for_orphans(port, next).await?;
                self.give_up_torn(next);
            }
            Opened::Blank => self.give_up_torn(next),
            Opened::Open(_) => {}
        }
        let second = next.saturating_add(1);
        match header::<C>(volume, port, volume.geometry.block_of(second)).await?.1 {
            Opened::Open(open) if open.sequence == second => {
                Err(Error::Corrupt(Place { sequence: next, offset: 0 }))
            }
            _ => Ok(()),
        }
    }

    /// Behind blocks that are not open there may be one more, whose open part can't be read now and can be later.
    fn give_up_torn(&mut self, next: u32) {
        let end = self.found.floor.saturating_add(self.volume.geometry.block_count());
        if self.void > 0 && self.top >= self.volume.geometry.first() && next < end {
            self.void = self.void.saturating_add(1);
        }
    }

    /// A frame of this number with something behind it was complete: its block was open, and its header is damaged.
    async fn look_for_orphans(&self, port: &mut Port<'_, impl Driver>, sequence: u32) -> Result<(), Error> {
        let geometry = self.volume.geometry;
        let mut place = Place { sequence, offset: geometry.frames_at() };
        while place.offset < geometry.block_bytes() {
            if let Some((_, bytes)) = verified::<C>(self.volume, port, place, 0, 0).await? {
                let behind = Place { offset: place.offset.saturating_add(bytes), ..place };
                if verified::<C>(self.volume, port, behind, 0, 0).await?.is_some() {
                    return Err(Error::Corrupt(place));
                }
            }
            place.offset = place.offset.saturating_add(geometry.word());
        }
        Ok(())
    }
}

/// What is kept for the next snapshot leaves room for the log, its repair and a spare.
fn check_options(geometry: Geometry, options: Options) -> Result<(), Error> {
    let asks = options.policy == Policy::AskForSnapshot;
    let blocks = u32::from(options.reserve).max(u32::from(asks));
    let needed = blocks.saturating_add(if blocks > 0 { 4 } else { 3 });
    if geometry.block_count() < needed { Err(Error::TooFewBlocks { needed }) } else { Ok(()) }
}

/// The newest block that has an open part. A partition that has none must look erased.
#[twin]
async fn newest<C: Checksum>(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
) -> Result<Option<Open>, Error> {
    let count = volume.geometry.block_count();
    let Some(base) = opened::<C>(volume, port, 0).await? else {
        // The ring may just begin anew at block 0.
        for block in (1..count).rev() {
            if let Some(open) = opened::<C>(volume, port, block).await? {
                return Ok(Some(open));
            }
        }
        return erased::<C>(volume, port).await;
    };
    let (mut newest, mut low, mut high) = (base, 0, count);
    while high - low > 1 {
        let middle = low.midpoint(high);
        match opened::<C>(volume, port, middle).await? {
            Some(open) if Some(open.sequence) == base.sequence.checked_add(middle) => {
                (newest, low) = (open, middle);
            }
            _ => high = middle,
        }
    }
    Ok(Some(newest))
}

/// What a block's open part says; an erase part that is another's refuses the whole partition.
#[twin]
async fn opened<C: Checksum>(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
    block: u32,
) -> Result<Option<Open>, Error> {
    match header::<C>(volume, port, block).await? {
        (Erased::OtherGeometry, _) => Err(Error::OtherGeometry),
        (Erased::OtherStore, _) => Err(Error::OtherStore),
        (Erased::OtherVersion, _) => Err(Error::OtherVersion),
        (Erased::Unfinished, _) => Err(Error::NotFormatted),
        (Erased::Absent | Erased::Ours(_), Opened::Open(open)) => Ok(Some(open)),
        (Erased::Absent | Erased::Ours(_), Opened::Blank | Opened::Bad) => Ok(None),
    }
}

/// Nothing was ever opened: only the first block may hold anything, because a cut may have torn its beginning.
#[twin]
async fn erased<C: Checksum>(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
) -> Result<Option<Open>, Error> {
    for block in 1..volume.geometry.block_count() {
        let (erased, opened) = header::<C>(volume, port, block).await?;
        let blank = port.scratch().iter().take(16).all(|byte| *byte == ERASED);
        if opened != Opened::Blank || (erased == Erased::Absent && !blank) {
            return Err(Error::NotFormatted);
        }
    }
    Ok(None)
}

fn count(newest: u32, keep: u32) -> u16 {
    u16::try_from(newest.saturating_sub(keep)).unwrap_or(u16::MAX)
}
