//! A piece of an image: self-contained, versioned, checked on the way back in.
//!
//! ```text
//!  chunk = version u8 = 1 | hash seed u64 LE | entries u32 LE | entry*          (entry.rs)
//! ```
//!
//! Entries of one leaf stand together: a keyspace with the same seed takes them in leaf by leaf, which is several
//! times faster than in random order. With any other seed the result is the same.

use super::entry::{Head, Lengths, RawEntry};
use super::hash::KeyHasher;

/// Why bytes are not a chunk of an image, or not one that this keyspace can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The chunk's version is not known here.
    #[error("chunk of version {found}, this program reads version {CHUNK_VERSION}: written by a newer one")]
    Version {
        /// What the chunk says.
        found: u8,
    },
    /// The chunk ends inside its header.
    #[error("chunk of {len} bytes, its header alone has {HEADER_BYTES}")]
    Header {
        /// Length of the chunk.
        len: usize,
    },
    /// An entry is cut, exceeds the limits or carries an unknown flag.
    #[error("malformed entry at byte {at} of the chunk")]
    Malformed {
        /// Where the entry begins.
        at: usize,
    },
    /// The chunk does not hold as many entries as it says.
    #[error("chunk announces {expected} entries and holds {found}")]
    Count {
        /// What the chunk says.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// A key is there already: chunks of two images were mixed, or the keyspace was not empty.
    #[error("the key of the entry at byte {at} is there already")]
    Duplicate {
        /// Where the entry begins.
        at: usize,
    },
    /// An image is being taken of this keyspace.
    #[error("restore into a keyspace while an image of it is being taken")]
    ImageRunning,
}

/// The seed of the keyspace that a chunk was taken from; restoring into one of the same seed is fastest.
///
/// # Errors
/// When the header is cut or of another version.
pub fn chunk_seed(chunk: &[u8]) -> Result<u64, ChunkError> {
    Header::parse(chunk).map(|(header, _)| header.seed)
}

/// Builds a chunk in a buffer.
pub(super) struct ChunkWriter<'a> {
    out: &'a mut Vec<u8>,
    entries: u32,
}

impl<'a> ChunkWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, hasher: &KeyHasher) -> Self {
        out.clear();
        out.push(CHUNK_VERSION);
        out.extend_from_slice(&hasher.seed().to_le_bytes());
        out.extend_from_slice(&[0; COUNT_BYTES]);
        Self { out, entries: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Appends entries that are encoded already.
    pub(super) fn push_encoded(&mut self, bytes: &[u8], entries: u32) {
        self.out.extend_from_slice(bytes);
        self.entries += entries;
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8], expires_at_ms: Option<u64>) {
        let lengths = Lengths { key: key.len(), value: value.len() };
        self.out.extend_from_slice(Head::new(lengths, expires_at_ms, false).bytes());
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(value);
        self.entries += 1;
    }

    pub(super) fn finish(self) {
        self.out[COUNT_AT..COUNT_AT + COUNT_BYTES].copy_from_slice(&self.entries.to_le_bytes());
    }
}

/// The entries of a chunk with their places, each checked as it is reached, and at the end their number.
pub(super) struct ChunkReader<'a> {
    rest: &'a [u8],
    at: usize,
    expected: u32,
    found: u32,
}

impl<'a> ChunkReader<'a> {
    pub(super) fn new(chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let (header, rest) = Header::parse(chunk)?;
        Ok(Self { rest, at: HEADER_BYTES, expected: header.entries, found: 0 })
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(usize, RawEntry<'a>)>, ChunkError> {
        if self.rest.is_empty() {
            let (expected, found) = (self.expected, self.found);
            return if expected == found { Ok(None) } else { Err(ChunkError::Count { expected, found }) };
        }
        let at = self.at;
        let entry = RawEntry::parse(self.rest).filter(|entry| !entry.large);
        let entry = entry.ok_or(ChunkError::Malformed { at })?;
        self.rest = &self.rest[entry.len..];
        self.at += entry.len;
        self.found = self.found.wrapping_add(1);
        Ok(Some((at, entry)))
    }
}

struct Header {
    seed: u64,
    entries: u32,
}

impl Header {
    fn parse(chunk: &[u8]) -> Result<(Self, &[u8]), ChunkError> {
        let cut = ChunkError::Header { len: chunk.len() };
        let (&version, rest) = chunk.split_first().ok_or(cut)?;
        if version != CHUNK_VERSION {
            return Err(ChunkError::Version { found: version });
        }
        let (seed, rest) = rest.split_first_chunk().ok_or(cut)?;
        let (entries, rest) = rest.split_first_chunk().ok_or(cut)?;
        Ok((Self { seed: u64::from_le_bytes(*seed), entries: u32::from_le_bytes(*entries) }, rest))
    }
}

const CHUNK_VERSION: u8 = 1;
const COUNT_AT: usize = 1 + 8;
const COUNT_BYTES: usize = 4;
pub(super) const HEADER_BYTES: usize = COUNT_AT + COUNT_BYTES;
