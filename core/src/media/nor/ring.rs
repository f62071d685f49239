//! The ring of blocks: which may be opened, and how one is erased, opened and programmed.
//!
//! ```text
//!  floor ........ head, top | spare | reserve ... |      a block is opened when so many are free behind it
//!                           '--- 1: repair, 2: snapshot, 3 + reserve: records
//! ```

use super::log::Log;
use super::port::{Driver, Port, Range, short};
use super::reader::header;
use super::twin;
use crate::codec::check::Checksum;
use crate::media::nor::header::{Erased, Open, Opened, put_erased, take_erased};
use crate::media::nor::{Error, Manifest, Operation, Place, Policy, Request, Volume};
use crate::types::Lsn;

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

#[twin]
impl<C: Checksum> Log<C> {
    pub(super) fn fits(&self, bytes: u32) -> bool {
        // Behind a snapshot the log goes on in a new block.
        let open = self.head >= self.volume.geometry.first() && self.head >= self.found.floor;
        open && self.free.saturating_add(bytes) <= self.volume.geometry.block_bytes()
    }

    pub(super) fn full(&self) -> Error {
        match self.options.policy {
            Policy::Reject => Error::Full,
            Policy::AskForSnapshot | Policy::DropOldest => Error::NeedsSnapshot,
        }
    }

    /// The newest block of the log that begins at or before this LSN, or the floor.
    pub(super) async fn block_with(&self, port: &mut Port<'_, impl Driver>, lsn: Lsn) -> Result<u32, Error> {
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
    pub(super) async fn opened(
        &self,
        port: &mut Port<'_, impl Driver>,
        sequence: u32,
    ) -> Result<(Erased, Open), Error> {
        let block = self.volume.geometry.block_of(sequence);
        match header::<C>(self.volume, port, block).await? {
            (erased, Opened::Open(open)) if open.sequence == sequence => Ok((erased, open)),
            _ => Err(Error::Corrupt(Place { sequence, offset: 0 })),
        }
    }

    /// Whether the oldest records may be given up.
    pub(super) fn drops(&self) -> bool {
        self.options.policy == Policy::DropOldest && self.settled.run == 0 && self.found.run == 0
    }

    /// Whether a block can be opened, such that enough is free behind it.
    pub(super) fn may_open(&self, sequence: u32, purpose: For) -> bool {
        let drops = self.drops();
        // Before a record is written, a RESUME has settled what was found.
        let manifest = if purpose == For::Records { self.found } else { self.settled };
        // The next snapshot may be as large as the last one.
        let reserve = u32::from(self.options.reserve).max(manifest.run);
        let behind = match purpose {
            For::Records if drops => return sequence < u32::MAX >> 1,
            For::Records => (3 + reserve).min(self.volume.geometry.block_count() - 1),
            For::Snapshot => 2,
            For::Repair => 1,
        };
        let end = manifest.floor.saturating_add(self.volume.geometry.block_count());
        sequence < u32::MAX >> 1 && sequence.saturating_add(behind) <= end
    }

    /// The floor that the block of this sequence number declares. What a snapshot's blocks say goes when they are void.
    fn floor_of(&self, sequence: u32, run: u32) -> u32 {
        let drops = self.drops() && run == 0;
        let spared = sequence.saturating_add(2).saturating_sub(self.volume.geometry.block_count());
        if drops { self.settled.floor.max(spared) } else { self.settled.floor }
    }

    /// Opens the block behind the newest: for a snapshot, the one that begins with block `run`; else as the head.
    pub(super) async fn open(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        purpose: For,
        run: u32,
    ) -> Result<(), Error> {
        if run == 0 {
            self.give_up_unnamed();
            self.clear(port).await?;
        }
        let sequence = self.top.saturating_add(1);
        // What is erased for it must have been given up before.
        let held = sequence >= self.settled.floor.saturating_add(self.volume.geometry.block_count());
        if held || !self.may_open(sequence, purpose) {
            return Err(if purpose == For::Records { self.full() } else { Error::Full });
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
    pub(super) async fn erase(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        sequence: u32,
    ) -> Result<(), Error> {
        self.erase_as(port, sequence, true).await
    }

    /// Erases a block; while the partition is being formatted, its erase part says so.
    pub(super) async fn erase_as(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        sequence: u32,
        finished: bool,
    ) -> Result<(), Error> {
        let volume = self.volume;
        let block = volume.geometry.block_of(sequence);
        let bytes = volume.geometry.open_at();
        let range = Range { block, offset: 0, len: bytes, limit: bytes };
        let start = port.want(volume.geometry.word(), range).await?;
        let laid = port.lay(|scratch| {
            let part = scratch.get_mut(start..start + bytes as usize)?;
            let erases = match take_erased::<C>(volume, part) {
                Erased::Ours(erases) => erases.saturating_add(1),
                // Every lap erases each block about once.
                _ => sequence.checked_div(volume.geometry.block_count()).unwrap_or_default(),
            };
            put_erased::<C>(volume, erases, finished, scratch.get_mut(..bytes as usize)?)
        });
        laid.ok_or(Error::NeedsScratch { bytes })?;
        port.ask(Request { operation: Operation::Erase, block, offset: 0, start: 0, len: 0 }).await?;
        program::<C>(volume, port, Place { sequence, offset: 0 }, bytes, true).await?;
        Ok(())
    }
}

/// Programs the first bytes of the scratch and says whether they read back; if that is `sure`, they are not read.
#[twin]
pub(super) async fn program<C: Checksum>(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
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
    let written = if sure { 0 } else { digest::<C>(port, bytes) };
    port.ask(request(Operation::Program)).await?;
    if sure {
        return Ok(true);
    }
    port.ask(request(Operation::Read)).await?;
    Ok(digest::<C>(port, bytes) == written)
}

/// Of the first bytes of the scratch.
fn digest<C: Checksum>(port: &mut Port<'_, impl Driver>, bytes: u32) -> u32 {
    port.lay(|scratch| C::extend(0, scratch.get(..bytes as usize).unwrap_or_default()))
}
