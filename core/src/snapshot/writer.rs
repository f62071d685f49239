//! Writes a snapshot, frame by frame, into buffers of the caller.
//!
//! It keeps no index: the caller keeps the rows (16 bytes a chunk) in a buffer of its own and hands them back at the end.

use super::{CHUNK_PREFIX, Codec, END_BODY, END_FRAME, End, INDEX_ROW, IndexRow, UNIT};
use crate::codec::check::{Checksum, Seed};
use crate::codec::extent::{Cursor, ExtentHeader, HeaderRole};
use crate::codec::frame::{Framing, HEADER, Kind, LONG_HEADER, Slot};
use crate::manifest::Snapshot;
use crate::types::{Epoch, Revision, Settled, StoreId};

/// Writes one snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotWriter {
    framing: Framing,
    offset: u64,
    end: End,
}

/// Bytes that a chunk of `encoded` bytes takes.
#[must_use]
pub const fn chunk_bytes(encoded: usize) -> usize {
    Framing { write_unit: UNIT as usize, seed: Seed::HEADER }.frame_bytes(CHUNK_PREFIX + encoded)
}

/// Whose snapshot it is, for its header.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The store.
    pub store: StoreId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The newest durable manifest revision.
    pub revision: Revision,
}

impl SnapshotWriter {
    /// Begins: writes the header to `out` and returns its bytes, which go to offset 0. `None` if `out` is too short.
    pub fn begin<C: Checksum>(owner: Owner, snapshot: &Snapshot, out: &mut [u8]) -> Option<(Self, usize)> {
        let header = ExtentHeader {
            role: HeaderRole::Snapshot,
            geometry: (UNIT, UNIT, 0),
            store: owner.store,
            log: snapshot.position.log,
            epoch: owner.epoch,
            fence: snapshot.base,
            settled: Settled { position: snapshot.position, lsn: snapshot.base },
            revision: owner.revision,
            time: snapshot.time,
        };
        let bytes = header.encode::<C>(UNIT, out)?;
        let framing =
            Framing { write_unit: UNIT as usize, seed: Seed::snapshot::<C>(owner.store, snapshot.number) };
        let end = End { base: snapshot.base, ..End::default() };
        Some((Self { framing, offset: bytes as u64, end }, bytes))
    }

    /// Where the next frame goes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes a chunk of encoded state to `out`. Returns its row of the index; its bytes go to `row.offset`.
    pub fn chunk<C: Checksum>(
        &mut self,
        codec: Codec,
        state_bytes: u32,
        encoded: &[u8],
        out: &mut [u8],
    ) -> Option<IndexRow> {
        let payload = CHUNK_PREFIX + encoded.len();
        let bytes = self.framing.frame_bytes(payload);
        let start = if payload > usize::from(u16::MAX) { LONG_HEADER } else { HEADER };
        let frame = out.get_mut(..bytes)?;
        let mut at = Cursor { bytes: frame, at: start };
        at.put(&[codec as u8, 0, 0, 0])?;
        at.put(&state_bytes.to_le_bytes())?;
        at.put(encoded)?;
        self.framing.seal::<C>(Kind::Chunk, self.slot(), payload, frame)?;
        let row = IndexRow { offset: self.offset, bytes: u32::try_from(bytes).ok()?, state_bytes };
        self.offset += bytes as u64;
        self.end.chunks += 1;
        self.end.state_bytes += u64::from(state_bytes);
        Some(row)
    }

    /// Bytes that [`Self::finish`] writes for an index of `rows` bytes.
    #[must_use]
    pub fn finish_bytes(&self, rows: usize) -> usize {
        self.framing.frame_bytes(rows) + END_FRAME
    }

    /// Writes the index and the end frame to `out`; they go to [`Self::offset`] as it was before. `rows` are the encoded rows in
    /// the order of the chunks, and `items` the number of items in the state.
    pub fn finish<C: Checksum>(&mut self, rows: &[u8], items: u64, out: &mut [u8]) -> Option<usize> {
        if rows.len() as u64 != self.end.chunks * INDEX_ROW as u64 {
            return None;
        }
        let index = self.framing.encode::<C>(Kind::Index, self.slot(), rows, out)?;
        self.end.index = self.offset;
        self.end.index_bytes = index as u64;
        self.end.items = items;
        self.offset += index as u64;
        let end =
            self.framing.encode::<C>(Kind::End, self.slot(), &self.end.encode(), out.get_mut(index..)?)?;
        self.offset += end as u64;
        Some(index + end)
    }

    fn slot(&self) -> Slot {
        Slot { offset: self.offset, lsn: self.end.base }
    }
}

impl IndexRow {
    /// The row's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; INDEX_ROW] {
        let mut row = [0; INDEX_ROW];
        row[..8].copy_from_slice(&self.offset.to_le_bytes());
        row[8..12].copy_from_slice(&self.bytes.to_le_bytes());
        row[12..].copy_from_slice(&self.state_bytes.to_le_bytes());
        row
    }
}

impl End {
    fn encode(&self) -> [u8; END_BODY] {
        let mut body = [0; END_BODY];
        let fields = [self.index, self.index_bytes, self.chunks, self.items, self.state_bytes, self.base.0];
        for (slot, field) in body.chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field.to_le_bytes());
        }
        body
    }
}
