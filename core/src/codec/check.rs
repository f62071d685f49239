//! CRC-32C, and the seeds that tie a frame to the place it was written for.
//!
//! The polynomial is Castagnoli's (RFC 3720, appendix B.4). A frame's checksum starts from a seed made of the store id,
//! the epoch and the log id, xored with the frame's offset. Within an epoch the seeds of two log ids (that share their upper
//! 32 bits) always differ, so what a recycled extent held before never verifies.

use crc::{CRC_32_ISCSI, Crc, NoTable, Table};

use crate::types::{Epoch, LogId, StoreId};

/// An implementation of CRC-32C. All implementations yield the same values.
pub trait Checksum {
    /// The checksum of some earlier bytes followed by `bytes`, where `state` is the checksum of the earlier ones (0 for none).
    fn extend(state: u32, bytes: &[u8]) -> u32;
}

/// One table of 1 KiB.
#[derive(Clone, Copy, Debug)]
pub struct TableCheck;

/// No table: smallest and slowest.
#[derive(Clone, Copy, Debug)]
pub struct BitwiseCheck;

impl Checksum for TableCheck {
    fn extend(state: u32, bytes: &[u8]) -> u32 {
        static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);
        let mut digest = CRC.digest_with_initial((!state).reverse_bits());
        digest.update(bytes);
        digest.finalize()
    }
}

impl Checksum for BitwiseCheck {
    fn extend(state: u32, bytes: &[u8]) -> u32 {
        static CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);
        let mut digest = CRC.digest_with_initial((!state).reverse_bits());
        digest.update(bytes);
        digest.finalize()
    }
}

/// Where a checksum starts for the frames of one extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// For extent headers: constants only, so that they can be read before anything is known.
    pub const HEADER: Self = Self(0x5354_524e);

    /// For the frames of one segment.
    #[must_use]
    pub fn wal<C: Checksum>(store: StoreId, epoch: Epoch, log: LogId) -> Self {
        let mut salt = [0; 13];
        salt[0] = b'w';
        salt[1..5].copy_from_slice(&epoch.0.to_le_bytes());
        salt[5..13].copy_from_slice(&log.0.to_le_bytes());
        Self(C::extend(C::extend(0, &store.0), &salt))
    }

    /// For manifest frames: the store only, so that one frame suffices to begin.
    #[must_use]
    pub fn manifest<C: Checksum>(store: StoreId) -> Self {
        Self(C::extend(C::extend(0, &store.0), b"m"))
    }

    /// For the frames of one snapshot, by its extent number.
    #[must_use]
    pub fn snapshot<C: Checksum>(store: StoreId, number: u32) -> Self {
        let mut salt = [0; 5];
        salt[0] = b's';
        salt[1..5].copy_from_slice(&number.to_le_bytes());
        Self(C::extend(C::extend(0, &store.0), &salt))
    }

    /// For the frames of one erase block, by the checksum of its store id and the sequence number under which it was opened.
    #[must_use]
    pub fn nor<C: Checksum>(label: u32, sequence: u32) -> Self {
        let [a, b, c, d] = sequence.to_le_bytes();
        Self(C::extend(label, &[b'n', a, b, c, d]))
    }

    /// The starting state for a frame at `offset` bytes.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "both halves are mixed in")]
    pub const fn at(self, offset: u64) -> u32 {
        self.0 ^ (offset as u32) ^ ((offset >> 32) as u32).rotate_left(16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // RFC 3720 B.4: 32 zero bytes, 32 one bytes, and the check value of the catalogue.
        assert_eq!(TableCheck::extend(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(TableCheck::extend(0, &[0xff; 32]), 0x62a8_ab43);
        assert_eq!(TableCheck::extend(0, b"123456789"), 0xe306_9283);
        assert_eq!(BitwiseCheck::extend(0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn extending_equals_one_pass() {
        let whole = TableCheck::extend(0, b"123456789");
        for split in 0..9 {
            let (head, tail) = b"123456789".split_at(split);
            assert_eq!(TableCheck::extend(TableCheck::extend(0, head), tail), whole);
            assert_eq!(BitwiseCheck::extend(BitwiseCheck::extend(0, head), tail), whole);
        }
    }

    #[test]
    fn both_halves_of_a_place_are_mixed_in() {
        let seed = Seed(0xff00_ff00);
        assert_eq!([seed.at(0), seed.at(0x9abc_def0)], [0xff00_ff00, 0x65bc_21f0]);
        assert_eq!(seed.at(0x1234_5678_9abc_def0), 0x33c4_33c4);
    }

    #[test]
    fn the_same_bytes_at_the_same_place_never_verify_under_another_log_id_of_the_epoch() {
        let store = StoreId([7; 16]);
        let of = |log| Seed::wal::<TableCheck>(store, Epoch(3), LogId(log)).at(4096);
        let mut seen = std::collections::HashSet::new();
        assert!((0..10_000).all(|log| seen.insert(of(log))));
    }
}
