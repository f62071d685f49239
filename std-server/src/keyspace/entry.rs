//! The bytes of one entry: the same in a leaf's arena and in a snapshot chunk.
//!
//! ```text
//!  flags u8 | key length varint | value length varint | [expiry u64 LE, ms since epoch] | key | value
//!  flags: 0x01 an expiry is present · 0x02 the value is a u32 LE slot of the leaf's large values
//! ```
//!
//! The second flag is for arenas only: a chunk carries every value itself. Parsing is the same for both and
//! believes no length that the bytes at hand or the limits do not bear out.

use strandline::core::codec::varint::{self, Varint};

use super::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// One parsed entry; borrows from the bytes it was read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawEntry<'a> {
    pub(super) key: &'a [u8],
    /// The value, or its slot when `large`.
    pub(super) value: &'a [u8],
    pub(super) expires_at_ms: Option<u64>,
    pub(super) large: bool,
    /// Length of the whole entry.
    pub(super) len: usize,
}

impl<'a> RawEntry<'a> {
    /// Parses the entry at the front of `bytes`.
    #[inline]
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&flags, mut rest) = bytes.split_first()?;
        let key_len = usize::try_from(varint::take(&mut rest)?).ok()?;
        let value_len = usize::try_from(varint::take(&mut rest)?).ok()?;
        if flags & !FLAGS != 0 || key_len > MAX_KEY_BYTES || value_len > MAX_VALUE_BYTES {
            return None;
        }
        let expires_at_ms = if flags & EXPIRES == 0 {
            None
        } else {
            let (expiry, after) = rest.split_first_chunk::<EXPIRY_BYTES>()?;
            rest = after;
            Some(u64::from_le_bytes(*expiry))
        };
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        Some(Self { key, value, expires_at_ms, large: flags & LARGE != 0, len: bytes.len() - rest.len() })
    }

    /// The slot of a large value.
    pub(super) fn slot(&self) -> Option<u32> {
        if self.large { self.value.first_chunk().map(|slot| u32::from_le_bytes(*slot)) } else { None }
    }

    /// Where the value begins inside the entry.
    pub(super) fn value_offset(&self) -> usize {
        self.len - self.value.len()
    }

    /// Where the expiry begins inside the entry, if there is one.
    pub(super) fn expiry_offset(&self) -> Option<usize> {
        self.expires_at_ms.map(|_| self.value_offset() - self.key.len() - EXPIRY_BYTES)
    }
}

/// What stands before the key: flags, lengths and expiry, built without allocating.
pub(super) struct Head {
    bytes: [u8; MAX_HEAD_BYTES],
    len: usize,
}

impl Head {
    pub(super) fn new(lengths: Lengths, expires_at_ms: Option<u64>, large: bool) -> Self {
        let mut head = Self { bytes: [0; MAX_HEAD_BYTES], len: 1 };
        head.bytes[0] = if expires_at_ms.is_some() { EXPIRES } else { 0 } | if large { LARGE } else { 0 };
        head.put_length(lengths.key);
        head.put_length(lengths.value);
        if let Some(at_ms) = expires_at_ms {
            head.bytes[head.len..head.len + EXPIRY_BYTES].copy_from_slice(&at_ms.to_le_bytes());
            head.len += EXPIRY_BYTES;
        }
        head
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn put_length(&mut self, length: usize) {
        let length = Varint::new(length as u64);
        let end = self.len + length.as_ref().len();
        self.bytes[self.len..end].copy_from_slice(length.as_ref());
        self.len = end;
    }
}

/// The two lengths of an entry, named so that they can't be swapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    pub(super) key: usize,
    pub(super) value: usize,
}

pub(super) const EXPIRY_BYTES: usize = 8;

const EXPIRES: u8 = 0x01;
const LARGE: u8 = 0x02;
const FLAGS: u8 = EXPIRES | LARGE;
const MAX_HEAD_BYTES: usize = 1 + 5 + 5 + EXPIRY_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &[u8], value: &[u8], expires_at_ms: Option<u64>) -> Vec<u8> {
        let lengths = Lengths { key: key.len(), value: value.len() };
        [Head::new(lengths, expires_at_ms, false).bytes(), key, value].concat()
    }

    #[test]
    fn known_bytes() {
        assert_eq!(entry(b"k", b"vv", None), [0x00, 1, 2, b'k', b'v', b'v']);
        let expiring = entry(b"k", &[7; 200], Some(0x0102));
        assert_eq!(expiring[..13], [0x01, 1, 0xC8, 0x01, 0x02, 0x01, 0, 0, 0, 0, 0, 0, b'k']);
        let parsed = RawEntry::parse(&expiring).expect("whole");
        assert_eq!((parsed.key, parsed.value), (&b"k"[..], &[7; 200][..]));
        assert_eq!((parsed.expires_at_ms, parsed.len), (Some(0x0102), expiring.len()));
        assert_eq!((parsed.expiry_offset(), parsed.value_offset()), (Some(4), 13));
    }

    #[test]
    fn every_cut_is_refused() {
        let whole = entry(&[b'k'; 300], &[b'v'; 500], Some(9));
        for cut in 0..whole.len() {
            assert!(RawEntry::parse(&whole[..cut]).is_none(), "cut at {cut}");
        }
        assert!(RawEntry::parse(&[0x04, 0, 0]).is_none(), "unknown flag");
    }
}
