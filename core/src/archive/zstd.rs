//! What of zstd's format (RFC 8878) is written here: frames of uncompressed blocks, skippable frames, and the seek table of the
//! seekable format (contrib/seekable_format in zstd's sources, version 0.1.0).
//!
//! ```text
//!  raw frame   | 28 b5 2f fd | a4 | content bytes u32 | block, block, ... | XXH64 of the content, low u32 |
//!  block       | size << 3 | last | u24 | bytes: at most 128 KiB |
//!  skippable   | 5X 2a 4d 18 | bytes u32 | bytes |
//!  seek table  | 5e 2a 4d 18 | bytes u32 | rows: encoded u32, content u32 | rows u32 | 0 | b1 ea 92 8f |
//! ```
//!
//! A raw frame has the content checksum that the format knows, so that a flipped bit is found also by tools that know nothing of
//! us.

use twox_hash::XxHash64;

/// Opens a frame.
pub const MAGIC: u32 = 0xfd2f_b528;
/// Opens our skippable frames.
pub const SKIPPABLE: u32 = 0x184d_2a53;
/// Opens the seek table.
pub const SEEK_TABLE: u32 = 0x184d_2a5e;
/// Bytes in front of the content of a skippable frame.
pub const SKIPPABLE_HEAD: usize = 8;
/// Bytes of a row of the seek table.
pub const SEEK_ROW: usize = 8;
/// Bytes behind the rows of the seek table.
pub const SEEK_FOOT: usize = 9;
/// Bytes in front of the first block of a raw frame.
pub const RAW_HEAD: usize = 9;
/// Bytes in front of the content of a block.
pub const BLOCK_HEAD: usize = 3;
/// Bytes of the checksum behind the blocks.
pub const CHECKSUM: usize = 4;
/// Most bytes of one block.
pub const MAX_RAW: usize = 128 << 10;

const SEEK_MAGIC: u32 = 0x8f92_eab1;
/// One segment, four bytes of content size, with checksum.
const DESCRIPTOR: u8 = 0xa4;

/// The head of a raw frame.
#[must_use]
pub fn raw_head(content: u32) -> [u8; RAW_HEAD] {
    let [m0, m1, m2, m3] = MAGIC.to_le_bytes();
    let [c0, c1, c2, c3] = content.to_le_bytes();
    [m0, m1, m2, m3, DESCRIPTOR, c0, c1, c2, c3]
}

/// The head of an uncompressed block.
#[must_use]
pub fn block_head(bytes: u32, last: bool) -> [u8; BLOCK_HEAD] {
    let [b0, b1, b2, _] = (bytes << 3 | u32::from(last)).to_le_bytes();
    [b0, b1, b2]
}

/// The checksum behind the blocks of a frame with this content.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the format keeps the low half")]
pub fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    (XxHash64::oneshot(0, content) as u32).to_le_bytes()
}

/// The head of a skippable frame.
#[must_use]
pub fn skippable_head(magic: u32, bytes: u32) -> [u8; SKIPPABLE_HEAD] {
    let [m0, m1, m2, m3] = magic.to_le_bytes();
    let [b0, b1, b2, b3] = bytes.to_le_bytes();
    [m0, m1, m2, m3, b0, b1, b2, b3]
}

/// A row of the seek table.
#[must_use]
pub fn seek_row(encoded: u32, content: u32) -> [u8; SEEK_ROW] {
    let [e0, e1, e2, e3] = encoded.to_le_bytes();
    let [c0, c1, c2, c3] = content.to_le_bytes();
    [e0, e1, e2, e3, c0, c1, c2, c3]
}

/// The end of the seek table.
#[must_use]
pub fn seek_foot(rows: u32) -> [u8; SEEK_FOOT] {
    let [r0, r1, r2, r3] = rows.to_le_bytes();
    let [m0, m1, m2, m3] = SEEK_MAGIC.to_le_bytes();
    [r0, r1, r2, r3, 0, m0, m1, m2, m3]
}

/// The number of rows that the end of a seek table says.
#[must_use]
pub fn seek_rows(foot: &[u8; SEEK_FOOT]) -> Option<u32> {
    let rows = u32::from_le_bytes(*foot.first_chunk()?);
    (*foot == seek_foot(rows)).then_some(rows)
}

/// Writes a whole raw frame to the start of `out` and returns its bytes, or `None` if `out` is too short or the content is
/// larger than one block.
pub fn encode_raw(content: &[u8], out: &mut [u8]) -> Option<usize> {
    let len = u32::try_from(content.len()).ok().filter(|_| content.len() <= MAX_RAW)?;
    let mut at = crate::codec::extent::Cursor { bytes: out, at: 0 };
    at.put(&raw_head(len))?;
    at.put(&block_head(len, true))?;
    at.put(content)?;
    at.put(&checksum(content))?;
    Some(at.at)
}

/// Writes the content of a raw frame to the start of `out` and returns its bytes. `None`: it is not a raw frame as they are
/// written here, its checksum is wrong, or `out` is too short.
pub fn decode_raw(frame: &[u8], out: &mut [u8]) -> Option<usize> {
    let (head, mut blocks) = frame.split_first_chunk::<RAW_HEAD>()?;
    let [_, _, _, _, _, size @ ..] = *head;
    let len = u32::from_le_bytes(size);
    if *head != raw_head(len) {
        return None;
    }
    let content = out.get_mut(..usize::try_from(len).ok()?)?;
    let mut filled = 0;
    loop {
        let (block, rest) = blocks.split_first_chunk::<BLOCK_HEAD>()?;
        let bytes = (content.len() - filled).min(MAX_RAW);
        let last = filled + bytes == content.len();
        if *block != block_head(u32::try_from(bytes).ok()?, last) {
            return None;
        }
        let (from, rest) = rest.split_at_checked(bytes)?;
        content.get_mut(filled..filled + bytes)?.copy_from_slice(from);
        filled += bytes;
        blocks = rest;
        if last {
            return (blocks == checksum(content)).then_some(filled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_frame_is_these_bytes_and_every_flipped_bit_is_found() {
        let mut frame = [0; 32];
        let bytes = encode_raw(b"abc", &mut frame).unwrap();
        let expected = [0x28, 0xb5, 0x2f, 0xfd, 0xa4, 3, 0, 0, 0, 0x19, 0, 0, b'a', b'b', b'c'];
        assert_eq!(frame[..15], expected);
        // XXH64 of "abc" is 44bc2cf5ad770999.
        assert_eq!(frame[15..bytes], [0x99, 0x09, 0x77, 0xad]);
        let mut out = [0; 8];
        assert_eq!(decode_raw(&frame[..bytes], &mut out), Some(3));
        assert_eq!(out[..3], *b"abc");
        for bit in 0..bytes * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_raw(&frame[..bytes], &mut out), None, "bit {bit}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..bytes {
            assert_eq!(decode_raw(&frame[..len], &mut out), None);
        }
        assert_eq!(decode_raw(&frame[..bytes], &mut out[..2]), None);
    }

    #[test]
    fn a_seek_table_ends_in_its_magic() {
        assert_eq!(seek_foot(5), [5, 0, 0, 0, 0, 0xb1, 0xea, 0x92, 0x8f]);
        assert_eq!(seek_rows(&seek_foot(5)), Some(5));
        let mut other = seek_foot(5);
        other[4] = 0x80;
        assert_eq!(seek_rows(&other), None, "with checksums");
    }
}
