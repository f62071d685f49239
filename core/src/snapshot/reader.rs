//! Reads a snapshot from windows: the header, the end, the index, then chunks in any order.

use super::{CHUNK_PREFIX, Codec, END_FRAME, End, INDEX_ROW, IndexRow, UNIT};
use crate::codec::check::{Checksum, Seed};
use crate::codec::extent::{ExtentHeader, HeaderParsed, HeaderRole, Take};
use crate::codec::frame::{Framing, Kind, Parsed};
use crate::manifest::Snapshot;
use crate::types::{Lsn, StoreId};

/// Why a snapshot can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The header does not verify, or is of another snapshot.
    Header,
    /// The end frame does not verify: cut short, or never finished.
    End,
    /// The index does not verify or contradicts the end frame.
    Index,
    /// The chunk at this offset does not verify or contradicts the index.
    Chunk(u64),
    /// A newer version wrote it.
    Newer,
}

impl core::fmt::Display for Unusable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Header => f.write_str("its header is damaged or of another snapshot"),
            Self::End => f.write_str("its end is missing or damaged"),
            Self::Index => f.write_str("its index is damaged"),
            Self::Chunk(offset) => write!(f, "its chunk at offset {offset} is damaged"),
            Self::Newer => f.write_str("a newer version wrote it"),
        }
    }
}

impl core::error::Error for Unusable {}

/// Encoded state of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'w> {
    /// How it is encoded.
    pub codec: Codec,
    /// Bytes before encoding.
    pub state_bytes: u32,
    /// The encoded bytes.
    pub encoded: &'w [u8],
}

/// Reads one snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotReader {
    framing: Framing,
    snapshot: Snapshot,
    first_chunk: u64,
}

impl SnapshotReader {
    /// Checks the header in the first [`crate::codec::extent::HEADER_WINDOW`] bytes, or fewer.
    ///
    /// # Errors
    /// [`Unusable::Header`] or [`Unusable::Newer`].
    pub fn begin<C: Checksum>(store: StoreId, snapshot: Snapshot, window: &[u8]) -> Result<Self, Unusable> {
        match ExtentHeader::decode::<C>(window) {
            HeaderParsed::Header(header)
                if header.role == HeaderRole::Snapshot
                    && header.store == store
                    && header.fence == snapshot.base
                    && header.settled.position == snapshot.position => {}
            HeaderParsed::Newer(_) => return Err(Unusable::Newer),
            HeaderParsed::Header(_) | HeaderParsed::Absent => return Err(Unusable::Header),
        }
        let framing =
            Framing { write_unit: UNIT as usize, seed: Seed::snapshot::<C>(store, snapshot.number) };
        let first_chunk = framing.frame_bytes(crate::codec::extent::EXTENT_BODY) as u64;
        Ok(Self { framing, snapshot, first_chunk })
    }

    /// Reads the end frame from the last [`END_FRAME`] bytes of the manifest's size of the snapshot.
    ///
    /// # Errors
    /// [`Unusable::End`].
    pub fn end<C: Checksum>(&self, window: &[u8]) -> Result<End, Unusable> {
        let offset = self.snapshot.bytes.checked_sub(END_FRAME as u64).ok_or(Unusable::End)?;
        let body = self.frame::<C>(Kind::End, window, offset, END_FRAME as u64).ok_or(Unusable::End)?;
        let end = End::decode(body).ok_or(Unusable::End)?;
        let adds_up = end.base == self.snapshot.base
            && end.index.checked_add(end.index_bytes) == Some(offset)
            && end.index >= self.first_chunk
            && end.chunks.checked_mul(INDEX_ROW as u64).is_some_and(|rows| rows < end.index_bytes);
        adds_up.then_some(end).ok_or(Unusable::End)
    }

    /// Reads the index from `end.index_bytes` bytes at `end.index`. The rows cover the chunks without a gap.
    ///
    /// # Errors
    /// [`Unusable::Index`].
    pub fn index<'w, C: Checksum>(
        &self,
        end: &End,
        window: &'w [u8],
    ) -> Result<impl ExactSizeIterator<Item = IndexRow> + use<'w, C>, Unusable> {
        let rows = self.frame::<C>(Kind::Index, window, end.index, end.index_bytes).ok_or(Unusable::Index)?;
        if rows.len() as u64 != end.chunks * INDEX_ROW as u64 {
            return Err(Unusable::Index);
        }
        let mut next = self.first_chunk;
        for row in rows.chunks_exact(INDEX_ROW).map(IndexRow::decode) {
            if row.offset != next || row.bytes == 0 {
                return Err(Unusable::Index);
            }
            next += u64::from(row.bytes);
        }
        if next != end.index {
            return Err(Unusable::Index);
        }
        Ok(rows.chunks_exact(INDEX_ROW).map(IndexRow::decode))
    }

    /// Reads a chunk from the `row.bytes` bytes at `row.offset`.
    ///
    /// # Errors
    /// [`Unusable::Chunk`].
    pub fn chunk<'w, C: Checksum>(&self, row: &IndexRow, window: &'w [u8]) -> Result<Chunk<'w>, Unusable> {
        let damaged = Unusable::Chunk(row.offset);
        let payload =
            self.frame::<C>(Kind::Chunk, window, row.offset, u64::from(row.bytes)).ok_or(damaged)?;
        let mut at = Take(payload);
        let (Some([codec, 0, 0, 0]), Some(state_bytes)) = (at.array(), at.u32()) else { return Err(damaged) };
        let codec = Codec::from_byte(codec).ok_or(Unusable::Newer)?;
        if state_bytes != row.state_bytes || payload.len() < CHUNK_PREFIX {
            return Err(damaged);
        }
        Ok(Chunk { codec, state_bytes, encoded: at.0 })
    }

    fn frame<'w, C: Checksum>(
        &self,
        kind: Kind,
        window: &'w [u8],
        offset: u64,
        bytes: u64,
    ) -> Option<&'w [u8]> {
        match self.framing.decode::<C>(window, offset, bytes) {
            Parsed::Frame(frame) if frame.kind == kind && frame.bytes as u64 == bytes => {
                (frame.seq == self.snapshot.base.low_byte()).then_some(frame.payload)
            }
            _ => None,
        }
    }
}

impl IndexRow {
    fn decode(row: &[u8]) -> Self {
        let mut at = Take(row);
        let fields = (at.u64(), at.u32(), at.u32());
        let (Some(offset), Some(bytes), Some(state_bytes)) = fields else { return Self::default() };
        Self { offset, bytes, state_bytes }
    }
}

impl End {
    fn decode(body: &[u8]) -> Option<Self> {
        let mut at = Take(body);
        let end = Self {
            index: at.u64()?,
            index_bytes: at.u64()?,
            chunks: at.u64()?,
            items: at.u64()?,
            state_bytes: at.u64()?,
            base: Lsn(at.u64()?),
        };
        at.0.is_empty().then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::codec::check::TableCheck;
    use crate::snapshot::writer::{Owner, SnapshotWriter, chunk_bytes};
    use crate::types::{Epoch, LogId, Millis, Position, Revision};

    const STORE: StoreId = StoreId([5; 16]);

    fn make(chunks: &[&[u8]]) -> (Snapshot, Vec<u8>) {
        let mut snapshot = Snapshot {
            number: 4,
            base: Lsn(100),
            position: Position { log: LogId(2), offset: 640 },
            time: Millis(7),
            ..Snapshot::default()
        };
        let owner = Owner { store: STORE, epoch: Epoch(1), revision: Revision(3) };
        let mut file = vec![0; 4096];
        let (mut writer, bytes) = SnapshotWriter::begin::<TableCheck>(owner, &snapshot, &mut file).unwrap();
        file.truncate(bytes);
        let mut rows = vec![];
        for chunk in chunks {
            let mut out = vec![0; chunk_bytes(chunk.len())];
            let row = writer.chunk::<TableCheck>(Codec::Raw, chunk.len() as u32, chunk, &mut out).unwrap();
            assert_eq!((row.offset, row.bytes as usize), (file.len() as u64, out.len()));
            rows.extend(row.encode());
            file.extend(out);
        }
        let mut out = vec![0; writer.finish_bytes(rows.len())];
        assert_eq!(writer.finish::<TableCheck>(&rows, 3, &mut out), Some(out.len()));
        file.extend(out);
        snapshot.bytes = file.len() as u64;
        (snapshot, file)
    }

    fn read(snapshot: Snapshot, file: &[u8]) -> Result<Vec<Vec<u8>>, Unusable> {
        let reader = SnapshotReader::begin::<TableCheck>(STORE, snapshot, &file[..file.len().min(4096)])?;
        let from = file.len().checked_sub(END_FRAME).ok_or(Unusable::End)?;
        if file.len() as u64 != snapshot.bytes {
            return Err(Unusable::End);
        }
        let end = reader.end::<TableCheck>(&file[from..])?;
        let rows: Vec<_> = reader.index::<TableCheck>(&end, &file[end.index as usize..])?.collect();
        rows.iter()
            .map(|row| {
                let window = &file[row.offset as usize..row.offset as usize + row.bytes as usize];
                reader.chunk::<TableCheck>(row, window).map(|chunk| chunk.encoded.to_vec())
            })
            .collect()
    }

    #[test]
    fn chunks_read_back() {
        let long = vec![9; 70_000];
        let (snapshot, file) = make(&[b"one", b"", &long]);
        assert_eq!(read(snapshot, &file), Ok(vec![b"one".to_vec(), vec![], long]));
        let (snapshot, file) = make(&[]);
        assert_eq!(read(snapshot, &file), Ok(vec![]));
    }

    #[test]
    fn every_flipped_bit_and_every_length_is_found() {
        let (snapshot, file) = make(&[b"one", b"two and more"]);
        for bit in 0..file.len() * 8 {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(snapshot, &bad).is_err(), "bit {bit}");
        }
        for len in 0..file.len() {
            assert!(read(snapshot, &file[..len]).is_err(), "length {len}");
            assert!(read(Snapshot { bytes: len as u64, ..snapshot }, &file[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn another_snapshot_is_not_taken() {
        let (snapshot, file) = make(&[b"one"]);
        assert!(read(Snapshot { number: 5, ..snapshot }, &file).is_err());
        assert!(read(Snapshot { base: Lsn(101), ..snapshot }, &file).is_err());
    }
}
