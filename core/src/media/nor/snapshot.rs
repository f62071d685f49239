//! Snapshots: runs of blocks in the ring of the log.
//!
//! ```text
//!  | log, head | CHUNK CHUNK CHUNK | CHUNK END |  log goes on
//!        │      '------- run of blocks -------'
//!        └─ MANIFEST names the run, when every frame of it was read back
//! ```
//!
//! A snapshot's frames are seeded with its blocks' sequence numbers and a salt. Its base is the LSN before the fence of its
//! blocks. When it is named, everything before its first block may go, and the log goes on in a new block.

use super::log::Log;
use super::port::{Driver, Port, Range};
use super::reader::verified;
use super::ring::{For, program};
use super::twin;
use crate::codec::check::Checksum;
use crate::codec::extent::Take;
use crate::codec::frame::{HEADER, Kind, Slot};
use crate::media::nor::header::put;
use crate::media::nor::{Error, FRAME_HEADER, MANIFEST_BODY, Manifest, Place, SNAPSHOT_SALT, Span};
use crate::types::Lsn;

/// Bytes of the frame that ends a snapshot: base, bytes.
const END_BODY: u32 = 12;

/// A snapshot that is being written.
#[derive(Debug)]
pub struct Snapshot {
    /// Its first block.
    first: u32,
    at: Place,
    base: Lsn,
    bytes: u32,
    /// Which one of this boot's.
    number: u8,
}

impl Snapshot {
    /// The newest record that its state must hold.
    #[must_use]
    pub const fn base(&self) -> Lsn {
        self.base
    }
}

#[twin]
impl<C: Checksum> Log<C> {
    /// Begins a snapshot of the state after the newest record. A record that is appended before it is committed makes it void:
    /// its blocks are erased when the next one is begun. `blocks` is how many there must be room for: each write takes 8 bytes
    /// and padding beside the state.
    ///
    /// # Errors
    /// [`Error::TooFewBlocks`]; [`Error::Full`]: there is no room for so many.
    pub async fn begin_snapshot(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        blocks: u32,
    ) -> Result<Snapshot, Error> {
        self.check_blocks(blocks.max(1))?;
        self.begin()?;
        let done = self.make_room(port, blocks).await;
        self.end(done)
    }

    /// Adds bytes of the state.
    ///
    /// # Errors
    /// [`Error::Full`]: there is no room, the snapshot is void. [`Error::Abandoned`]: a record was appended meanwhile, or another
    /// one was begun.
    pub async fn write_snapshot(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        snapshot: &mut Snapshot,
        state: &[u8],
    ) -> Result<(), Error> {
        self.begin()?;
        let done = self.write_state(port, snapshot, state).await;
        if done.is_err() {
            // Part of the state may be written: nobody may name it.
            self.snapshots = self.snapshots.wrapping_add(1);
        }
        self.end(done)
    }

    /// Makes the snapshot real: from here on only it and what follows its base is needed.
    ///
    /// # Errors
    /// As [`Log::write_snapshot`].
    pub async fn commit_snapshot(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        snapshot: Snapshot,
    ) -> Result<(), Error> {
        self.begin()?;
        let done = self.name_snapshot(port, snapshot).await;
        self.end(done)
    }

    /// Reads the newest snapshot, if there is one.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Medium`].
    pub async fn snapshot(&self, port: &mut Port<'_, impl Driver>) -> Result<Option<SnapshotReader>, Error> {
        if self.found.run == 0 {
            return Ok(None);
        }
        let (_, open) = self.opened(port, self.found.floor).await?;
        let base = Lsn(open.fence.0.saturating_sub(1));
        let at = Place { sequence: self.found.floor, offset: 0 };
        Ok(Some(SnapshotReader { at, first: self.found.floor, base, bytes: 0 }))
    }

    /// Whether a snapshot of so many blocks, the next one, the log and its repair fit.
    fn check_blocks(&self, blocks: u32) -> Result<(), Error> {
        let needed = blocks.saturating_mul(2).saturating_add(3);
        if self.volume.geometry.block_count() < needed { Err(Error::TooFewBlocks { needed }) } else { Ok(()) }
    }

    /// Whether the blocks behind the head belong to a snapshot that no manifest names.
    pub(super) fn unnamed(&self) -> bool {
        self.top > self.head && !(self.found.run > 0 && self.found.floor > self.head)
    }

    /// Blocks behind the head that no manifest names are void.
    pub(super) fn give_up_unnamed(&mut self) {
        if self.unnamed() {
            self.void = u16::try_from(self.top.saturating_sub(self.head)).unwrap_or(u16::MAX);
            self.top = self.head;
            self.ahead = 0;
        }
    }

    async fn make_room(&mut self, port: &mut Port<'_, impl Driver>, blocks: u32) -> Result<Snapshot, Error> {
        self.clear(port).await?;
        if !self.resumed {
            self.resume(port, None).await?;
        }
        self.give_up_unnamed();
        self.clear(port).await?;
        // The head must have room for the manifest that names it, and for one that makes room.
        let full = !self.fits(3 * self.volume.geometry.frame_bytes(MANIFEST_BODY));
        let last = self.top.saturating_add(blocks.max(1)).saturating_add(u32::from(full));
        let floor = last.saturating_add(2).saturating_sub(self.volume.geometry.block_count());
        let drops = self.drops() && floor > self.settled.floor && floor <= self.head;
        if !drops && !self.may_open(last, For::Snapshot) {
            return Err(Error::Full);
        }
        if full {
            self.open(port, For::Repair, 0).await?;
        }
        if drops {
            self.write_manifest(port, Manifest { floor, run: 0 }).await?;
        }
        if !self.stays {
            // Nothing may stand behind a block that is not open.
            self.write_manifest(port, self.settled).await?;
        }
        let at = Place { sequence: self.top, offset: self.volume.geometry.block_bytes() };
        let base = Lsn(self.next.0.saturating_sub(1));
        self.snapshots = self.snapshots.wrapping_add(1);
        let first = self.top.saturating_add(1);
        Ok(Snapshot { first, at, base, bytes: 0, number: self.snapshots })
    }

    async fn write_state(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        snapshot: &mut Snapshot,
        mut state: &[u8],
    ) -> Result<(), Error> {
        while !state.is_empty() {
            let geometry = self.volume.geometry;
            let room = self.room(port, snapshot, geometry.frame_bytes(1)).await?;
            let lent = port.capacity() & !geometry.word().saturating_sub(1);
            let most = room.min(lent).saturating_sub(FRAME_HEADER);
            let piece = most.min(u32::try_from(state.len()).unwrap_or(u32::MAX));
            let Some((now, rest)) = state.split_at_checked(piece as usize) else { break };
            port.lay(|scratch| {
                for (slot, byte) in scratch.iter_mut().skip(HEADER).zip(now) {
                    *slot = *byte;
                }
            });
            self.write_part(port, snapshot, Kind::Chunk, piece).await?;
            snapshot.bytes = snapshot.bytes.saturating_add(piece);
            state = rest;
        }
        Ok(())
    }

    async fn name_snapshot(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        mut snapshot: Snapshot,
    ) -> Result<(), Error> {
        let volume = self.volume;
        self.room(port, &mut snapshot, volume.geometry.frame_bytes(END_BODY)).await?;
        let Snapshot { first, base, bytes, .. } = snapshot;
        port.lay(|scratch| {
            put(scratch, HEADER, base.0.to_le_bytes())
                .and_then(|()| put(scratch, HEADER + 8, bytes.to_le_bytes()))
        });
        self.write_part(port, &mut snapshot, Kind::End, END_BODY).await?;
        let run = self.top.saturating_sub(first).saturating_add(1);
        self.write_manifest(port, Manifest { floor: first, run }).await
    }

    /// Sees to it that the snapshot's newest block has room for so many bytes, and says how much it has.
    async fn room(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        snapshot: &mut Snapshot,
        least: u32,
    ) -> Result<u32, Error> {
        let geometry = self.volume.geometry;
        let newest = snapshot.number == self.snapshots && snapshot.at.sequence == self.top;
        // A repair may have taken its blocks for the log, under the same numbers.
        let newest = newest && self.head < snapshot.first;
        if !newest || snapshot.base.next() != self.next {
            return Err(Error::Abandoned);
        }
        if snapshot.at.offset.saturating_add(geometry.pad(least)) > geometry.block_bytes() {
            self.check_blocks(self.top.saturating_add(2).saturating_sub(snapshot.first))?;
            self.open(port, For::Snapshot, snapshot.first).await?;
            snapshot.at = Place { sequence: self.top, offset: geometry.frames_at() };
        }
        Ok(geometry.block_bytes().saturating_sub(snapshot.at.offset))
    }

    /// Seals the frame whose payload stands in the scratch, writes it, and reads it back.
    async fn write_part(
        &self,
        port: &mut Port<'_, impl Driver>,
        snapshot: &mut Snapshot,
        kind: Kind,
        payload: u32,
    ) -> Result<(), Error> {
        let volume = self.volume;
        let bytes = volume.geometry.frame_bytes(payload);
        let at = snapshot.at;
        let framing = volume.framing::<C>(at.sequence ^ SNAPSHOT_SALT);
        let slot = Slot { offset: u64::from(at.offset), lsn: snapshot.base.next() };
        let sealed = port.lay(|scratch| {
            framing.seal::<C>(kind, slot, payload as usize, scratch.get_mut(..bytes as usize)?)
        });
        sealed.ok_or(Error::NeedsScratch { bytes })?;
        if !program::<C>(volume, port, at, bytes, false).await? {
            return Err(Error::Medium);
        }
        snapshot.at.offset = at.offset.saturating_add(bytes);
        Ok(())
    }
}

/// Reads the newest snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotReader {
    at: Place,
    first: u32,
    base: Lsn,
    bytes: u32,
}

#[twin]
impl SnapshotReader {
    /// The newest record that its state holds.
    #[must_use]
    pub const fn base(&self) -> Lsn {
        self.base
    }

    /// The next bytes of the state, which stand in the scratch until the next operation.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it was whole when it was named. [`Error::Medium`]; [`Error::NeedsScratch`].
    pub async fn next<C: Checksum>(
        &mut self,
        log: &Log<C>,
        port: &mut Port<'_, impl Driver>,
    ) -> Result<Option<Span>, Error> {
        let volume = log.volume;
        let geometry = volume.geometry;
        let corrupt = Error::Corrupt(self.at);
        loop {
            if self.at.offset == 0 {
                let (_, open) = log.opened(port, self.at.sequence).await?;
                if open.run != self.first {
                    return Err(corrupt);
                }
                self.at.offset = geometry.frames_at();
            }
            let Some((short, bytes)) = verified::<C>(volume, port, self.at, SNAPSHOT_SALT, 0).await? else {
                // A block is left when what comes next has no room in it.
                let left = geometry.block_bytes().saturating_sub(self.at.offset);
                if left >= geometry.frame_bytes(END_BODY).max(geometry.frame_bytes(1)) {
                    return Err(corrupt);
                }
                self.at = Place { sequence: self.at.sequence.saturating_add(1), offset: 0 };
                continue;
            };
            let len = u32::from(short.len);
            let block = geometry.block_of(self.at.sequence);
            let wanted = FRAME_HEADER.saturating_add(len);
            let limit = geometry.block_bytes();
            let range = Range { block, offset: self.at.offset, len: wanted, limit };
            let start = port.want(geometry.word(), range).await? + HEADER;
            if short.kind == Kind::End as u8 {
                let mut body = Take(port.scratch().get(start..).unwrap_or_default());
                let whole = body.u64() == Some(self.base.0) && body.u32() == Some(self.bytes);
                return if whole { Ok(None) } else { Err(corrupt) };
            }
            if short.kind != Kind::Chunk as u8 {
                return Err(Error::Newer(self.at));
            }
            self.bytes = self.bytes.saturating_add(len);
            self.at.offset = self.at.offset.saturating_add(bytes);
            return Ok(Some(Span { start: u16::try_from(start).map_err(|_| corrupt)?, len: short.len }));
        }
    }
}
