//! What the engine asks of a medium: plain data that an adapter carries out.
//!
//! An action that was handed out depends on no other outstanding action: adapters may run them in any order or in parallel.

use crate::types::{EffectId, Extent, Lsn, Position, Revision, Ticks};

/// A request to touch a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the extent exist at its full size, with nothing in it, durably.
    Prepare {
        /// Which one.
        extent: Extent,
    },
    /// Put bytes there.
    Write {
        /// Which one.
        extent: Extent,
        /// Bytes from its start.
        offset: u64,
        /// Where the bytes are.
        bytes: Span,
    },
    /// Make everything written to it before this action durable. A snapshot gets its final name by it.
    Sync {
        /// Which one.
        extent: Extent,
    },
    /// Remove it: nothing needs it any more.
    Release {
        /// Which one.
        extent: Extent,
    },
}

/// A lent buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Buffer {
    /// The first batch half.
    Left,
    /// The second batch half.
    Right,
    /// The manifest frame.
    Manifest,
    /// The recovery window, or the caller's chunk of a snapshot.
    Window,
}

/// Bytes of a lent buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which buffer.
    pub buffer: Buffer,
    /// First byte in it.
    pub start: u32,
    /// How many bytes.
    pub len: u32,
}

/// Why an action failed, as far as the engine cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No space left on the medium, or another want that may pass.
    NoSpace,
    /// Anything else.
    Io,
}

/// What the engine wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Carry this out, then call `complete` with its number.
    Do(EffectId, Action),
    /// Something that an operator may want to know.
    Event(Event),
    /// Nothing to do until an append, a completion, or this time.
    Idle {
        /// When to poll again at the latest.
        wake: Option<Ticks>,
    },
}

/// Something that happened: the engine's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A segment was begun.
    Rotated {
        /// Its first byte.
        position: Position,
        /// Its first LSN.
        fence: Lsn,
    },
    /// A manifest revision is durable.
    Revised(Revision),
    /// No space to prepare the next segment: writes are refused when the current one is full.
    Full,
    /// There is space again.
    Healed,
    /// A write or sync failed: nothing is written any more.
    Halted(Failure),
    /// A snapshot is durable and named by the manifest.
    SnapshotKept {
        /// Its number.
        number: u32,
        /// The first LSN that is not in it.
        base: Lsn,
    },
    /// An extent is no longer needed.
    Released(Extent),
}

/// Why an append is refused. The record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Both halves, or the segments ahead, are in use: try again after a completion.
    Busy,
    /// The record needs a buffer of at least this many bytes and the halves are smaller.
    NeedsBuffer(usize),
    /// No space for another segment: reclaiming records are still taken. Heals by itself.
    Full,
    /// A write or sync failed: see [`Event::Halted`].
    Halted,
    /// Larger than any segment or any record may be.
    TooLarge {
        /// The most that is taken, bytes.
        most: u32,
    },
    /// The log is closed.
    Closed,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Busy => f.write_str("the log is busy: try again"),
            Self::NeedsBuffer(bytes) => write!(f, "the record needs a buffer of {bytes} bytes"),
            Self::Full => {
                f.write_str("no space for another segment: free space, deletes and snapshots still work")
            }
            Self::Halted => f.write_str("a write or sync failed: the log is halted until a restart"),
            Self::TooLarge { most } => write!(f, "the record is larger than {most} bytes"),
            Self::Closed => f.write_str("the log is closed"),
        }
    }
}

impl core::error::Error for Refused {}
