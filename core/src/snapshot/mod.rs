//! Snapshots: a standalone file of frames that holds opaque state.
//!
//! ```text
//!  | EXTENT | CHUNK | CHUNK | ... | INDEX | END |
//! ```
//!
//! Checksums start from the store id and the snapshot's number. The index lets a host read and decode chunks in parallel; the
//! end frame has a fixed size, so that it is found from the length of the file. A snapshot counts only when a durable manifest
//! revision names it.

pub mod reader;
pub mod writer;

/// How a chunk's bytes are encoded. Core carries them as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Bytes in front of the state in a chunk's payload: codec u8, zeros, length before encoding u32.
pub const CHUNK_PREFIX: usize = 8;
/// Bytes of one row of the index: offset u64, frame bytes u32, length before encoding u32.
pub const INDEX_ROW: usize = 16;
/// Payload of the end frame.
pub const END_BODY: usize = 48;
/// Snapshots are padded to this, whatever the log's write unit.
pub const UNIT: u32 = 8;
/// Bytes of the end frame.
pub const END_FRAME: usize = crate::codec::frame::HEADER + END_BODY;
/// The largest index, and so the most chunks: rows of one frame.
pub const MAX_CHUNKS: usize = crate::codec::frame::MAX_PAYLOAD as usize / INDEX_ROW;

/// What the end frame says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Offset of the index frame.
    pub index: u64,
    /// Bytes of the index frame.
    pub index_bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Items in the state, as the writer counted them.
    pub items: u64,
    /// Bytes of the state before encoding.
    pub state_bytes: u64,
    /// The first LSN that is not in it.
    pub base: crate::types::Lsn,
}

/// One row of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexRow {
    /// Offset of the chunk's frame.
    pub offset: u64,
    /// Bytes of the chunk's frame.
    pub bytes: u32,
    /// Bytes of its state before encoding.
    pub state_bytes: u32,
}
