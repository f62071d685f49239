//! The small values that everything else is written in: numbers that can't be confused with each other.

use serde::{Deserialize, Serialize};

/// Defines a newtype over an unsigned integer with ordering, a successor and serde.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number after this one; stays at the largest.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Log sequence number: a dense counter of records, the first is 1.
    Lsn(u64)
}
number! {
    /// Number of a segment. Never reused within a store, so it salts every checksum.
    LogId(u64)
}
number! {
    /// +1 at each recovery that writes; claimed durably before use, never reused.
    Epoch(u32)
}
number! {
    /// Number of a manifest frame.
    Revision(u64)
}
number! {
    /// Line of history; a restore begins a new one.
    Timeline(u32)
}
number! {
    /// Wall-clock time in milliseconds since 1970, as the adapter said it.
    Millis(u64)
}
number! {
    /// Monotonic time in microseconds from any fixed start.
    Ticks(u64)
}
number! {
    /// Identifies one outstanding effect.
    EffectId(u32)
}

impl Lsn {
    /// The first record of a store.
    pub const FIRST: Self = Self(1);
    /// Stands for "not known yet" where a fence is learned from an extent header.
    pub const UNKNOWN: Self = Self(u64::MAX);

    /// The low byte, which every record's frame repeats.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low byte is what is wanted")]
    pub const fn low_byte(self) -> u8 {
        self.0 as u8
    }

    /// This number plus `count`.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl Ticks {
    /// This time plus `micros` microseconds.
    #[must_use]
    pub const fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this time, 0 if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Random identity of a store, given at its first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StoreId(pub [u8; 16]);

/// A place in the log: segment and byte offset in it. Ordered as the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The segment.
    pub log: LogId,
    /// Bytes from the start of its extent.
    pub offset: u32,
}

impl core::fmt::Display for Position {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}", self.log, self.offset)
    }
}

/// The position and LSN before which every byte was durable when this value was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Settled {
    /// Every byte of the log before this place is durable.
    pub position: Position,
    /// Every record before this one is durable.
    pub lsn: Lsn,
}

/// What an extent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Holds manifest revisions; there are three.
    Manifest,
    /// Holds one segment of the log at a time.
    Wal,
    /// Holds one snapshot.
    Snapshot,
}

/// A write-once container of frames: a file, or a run of erase blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// What it is for.
    pub role: Role,
    /// Which one of its role.
    pub number: u32,
}

impl Extent {
    /// A manifest extent, `number` in 0..3.
    #[must_use]
    pub const fn manifest(number: u32) -> Self {
        Self { role: Role::Manifest, number }
    }

    /// An extent for a segment.
    #[must_use]
    pub const fn wal(number: u32) -> Self {
        Self { role: Role::Wal, number }
    }

    /// An extent for a snapshot.
    #[must_use]
    pub const fn snapshot(number: u32) -> Self {
        Self { role: Role::Snapshot, number }
    }
}

impl core::fmt::Display for Extent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let role = match self.role {
            Role::Manifest => "manifest",
            Role::Wal => "segment extent",
            Role::Snapshot => "snapshot",
        };
        write!(f, "{role} {}", self.number)
    }
}
