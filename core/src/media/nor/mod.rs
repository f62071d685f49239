//! A log, its snapshots and its repair on NOR flash, over a strict ring of erase blocks.
//!
//! ```text
//!  index      0        1        2        3        4        5          index = sequence mod count
//!           | seq 12 | seq 13 | seq 8  | seq 9  | seq 10 | seq 11 |
//!             log      head     spare    snapshot ......   log
//!                                        floor
//!  block    | erase part | open part | RECORD | GROUP | torn | burnt | RESUME | RECORD | erased ... |
//! ```
//!
//! A completed program is durable, so there are no marks, no settled positions and no epochs. A frame's checksum is seeded with
//! the store, the block's sequence number and the frame's offset; dense LSNs judge the rest.
//!
//! Operations ([`blocking::Log`]: mount, append, trim, maintain, snapshots, readers) want nothing but their [`blocking::Port`],
//! which asks a driver for one [`Request`] at a time. They are one text, compiled twice: [`blocking`], and [`asynch`] with
//! `async fn`s. To drop one of those is to lose power: then mount again.
//!
//! Rules, each of which loses data when it is left out:
//!
//! 1. A block's *erase part* is written right after the erase, its *open part* at first use. A block with nothing behind its
//!    open part is not open: its open part may itself be torn. It is erased before anything else is written, the newest such
//!    block first, and its number is used again.
//! 2. A block that this boot did not erase is erased again before it is opened: a torn erase may look blank.
//! 3. Mounting writes nothing. The first write is a RESUME frame, behind burnt (all-zero) bytes: a word that a cut left looking
//!    erased is never believed in. It carries the last frame's content inside itself, because what was read as whole may be torn,
//!    and names the place where that stood first: everything from there to the RESUME is void.
//! 4. Where burning begins: behind the last byte that is not erased, and behind every end that a torn header there claims,
//!    because payload may look erased.
//! 5. Until the next block is opened, what is written is read back before it is acknowledged; what differs is answered by a
//!    RESUME.
//! 6. Where the RESUME does not fit, a witness word is written behind the last frame before the next block is opened: else the
//!    only frame may turn out torn, and with it the floor that let the next block be erased. A block that holds neither a whole
//!    frame nor a witness is opened anew.
//! 7. A block is erased only when it is below a floor that a completed program declares, or when it is not open.
//! 8. A snapshot is real when a manifest frame in the newest log block names it. Its blocks are void until then, and their
//!    frames are seeded apart, so that what a torn erase leaves of them is never taken for a log.
//!
//! It keeps no table of blocks: head and floor follow from a binary search over the headers.

mod dump;
mod geometry;
mod header;
mod options;
mod request;

/// Operations over a driver that blocks.
#[path = "."]
pub mod blocking {
    use bisync_macros::internal_strip_async as twin;

    mod log;
    mod mount;
    mod port;
    mod reader;
    mod records;
    mod repair;
    mod ring;
    mod snapshot;

    pub use log::Log;
    pub use port::{Driver, Port};
    pub use records::{Backward, Records};
    pub use snapshot::{Snapshot, SnapshotReader};
}

/// Operations over a driver that waits: the same text.
#[path = "."]
pub mod asynch {
    use bisync_macros::internal_noop as twin;

    mod log;
    mod mount;
    mod port;
    mod reader;
    mod records;
    mod repair;
    mod ring;
    mod snapshot;

    pub use log::Log;
    pub use port::{Driver, Port};
    pub use records::{Backward, Records};
    pub use snapshot::{Snapshot, SnapshotReader};
}

pub use dump::{BlockHeader, Identity, OpenHeader};
pub use geometry::{Geometry, GeometryError};
pub use options::{Options, Policy};
pub use request::{Fault, Operation, Record, Request, Span};

use crate::codec::check::{Checksum, Seed};
use crate::codec::frame::{Framing, HEADER};
use crate::types::StoreId;

/// A place in the log. Ordered as the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Place {
    /// Sequence number of the block.
    pub sequence: u32,
    /// Bytes from the start of the block.
    pub offset: u32,
}

/// Why an operation was refused or failed. Whatever it is, what was acknowledged stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// The ring is full and nothing may be given up. Nothing was written; trim, or take a snapshot.
    Full,
    /// The ring is full, and its policy is to ask for a snapshot. Nothing was written.
    NeedsSnapshot,
    /// The record, or the group, is too large, or there is none. Nothing was written.
    TooLarge {
        /// The most that is taken, bytes.
        most: u32,
    },
    /// The scratch is too small for what the log holds.
    NeedsScratch {
        /// At least so many bytes.
        bytes: u32,
    },
    /// The partition was written with other sizes.
    OtherGeometry,
    /// The partition belongs to another store.
    OtherStore,
    /// The partition was written by another version.
    OtherVersion,
    /// The partition holds something that is no log, and must be formatted.
    NotFormatted,
    /// Data that was complete is damaged.
    Corrupt(Place),
    /// A frame was written by a newer version.
    Newer(Place),
    /// The log went on while the snapshot was written: begin it again.
    Abandoned,
    /// The partition is too small for snapshots of this size: it needs three more than twice their blocks.
    TooFewBlocks {
        /// So many.
        needed: u32,
    },
    /// The LSN is not one of the log's.
    NoSuchLsn,
    /// An operation was dropped before its end: mount again.
    Interrupted,
    /// The medium failed: nothing is written until the next mount.
    Medium,
}

/// A partition: its sizes and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) geometry: Geometry,
    /// The checksum of the store id.
    label: u32,
}

impl Volume {
    fn new<C: Checksum>(geometry: Geometry, store: StoreId) -> Self {
        Self { geometry, label: C::extend(0, &store.0) }
    }

    fn framing<C: Checksum>(self, sequence: u32) -> Framing {
        Framing { write_unit: self.geometry.word() as usize, seed: Seed::nor::<C>(self.label, sequence) }
    }
}

/// What a frame of the log holds. A RESUME holds what the last frame before it held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Where the frame stands.
    at: Place,
    /// Where its content stood first.
    from: Place,
    /// Bytes of its records.
    len: u16,
    /// How many records.
    count: u8,
    /// Which [`holds`] apply.
    holds: u8,
}

/// Bits of [`Content::holds`].
mod holds {
    /// One record.
    pub(super) const RECORD: u8 = 1;
    /// Several records, each behind its length.
    pub(super) const GROUP: u8 = 2;
    /// A manifest, behind the records.
    pub(super) const MANIFEST: u8 = 4;
    /// The frame is a RESUME.
    pub(super) const RESUME: u8 = 8;
}

impl Content {
    const fn is(&self, bit: u8) -> bool {
        self.holds & bit != 0
    }

    /// Payload bytes before the records.
    const fn lead(&self) -> u32 {
        if self.is(holds::RESUME) { RESUME_BODY } else { 0 }
    }

    /// Bytes of the records and of the manifest.
    const fn bytes(&self) -> u32 {
        self.len as u32 + if self.is(holds::MANIFEST) { MANIFEST_BODY } else { 0 }
    }
}

/// What may go, and which snapshot there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Manifest {
    /// Oldest block that is needed.
    floor: u32,
    /// How many blocks from the floor on hold a snapshot.
    run: u32,
}

/// Bytes of a frame before its payload.
#[expect(clippy::cast_possible_truncation, reason = "8")]
const FRAME_HEADER: u32 = HEADER as u32;
/// Payload of a RESUME before what it carries: LSN, sequence and offset of `from`, with what it holds in the highest byte.
const RESUME_BODY: u32 = 16;
/// Bytes of a manifest: floor, run.
const MANIFEST_BODY: u32 = 8;
/// What an erased byte reads as.
const ERASED: u8 = 0xff;
/// Fills a word that says: the next block may have been erased.
const WITNESS: u8 = 0xa5;
/// Set in the sequence number that seeds the frames of a snapshot.
const SNAPSHOT_SALT: u32 = 1 << 31;
