//! One 64-bit hash per key: the table takes it from the top, a leaf from the bottom.
//!
//! ```text
//!  63 ………… 32 | 31 ………… 0
//!  directory    within a leaf (repeated, since its index tags slots with the topmost bits)
//! ```

use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

/// Hashes keys under secrets that are drawn from one seed.
#[derive(Debug, Clone)]
pub(super) struct KeyHasher {
    secrets: RapidSecrets,
    seed: u64,
}

/// A key's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyHash(pub(super) u64);

impl KeyHasher {
    pub(super) fn new(seed: u64) -> Self {
        Self { secrets: RapidSecrets::seed(seed), seed }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(rapidhash_v3_micro_inline::<true, true>(key, &self.secrets))
    }
}

impl KeyHash {
    #[inline]
    pub(super) fn within_leaf(self) -> u64 {
        (self.0 & LOW) * REPEAT
    }
}

const LOW: u64 = 0xFFFF_FFFF;
const REPEAT: u64 = 0x1_0000_0001;
