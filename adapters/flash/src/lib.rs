//! Strandline on NOR flash: a log and snapshots that survive a power cut at any word. No allocator, no table that grows with the
//! partition, nothing on the heap.
//!
//! 1. Give a [`Log`] a driver (`embedded_storage::nor_flash::NorFlash`), a range of the flash, a [`Config`] with the store's id,
//!    and scratch. Opening writes nothing. Something else on the partition is refused by name: [`Log::format`] takes it over.
//! 2. [`Log::append`] returns when the record is durable. [`Log::maintain`] in idle time erases ahead.
//! 3. Whatever happens (a power cut, a driver that fails, with the feature `async` a future that is dropped), the next operation
//!    or the next start goes on behind what was acknowledged.
//!
//! # What a call costs
//!
//! Flash operations at most, with a scratch that holds the largest frame and a block header. A program is a run of words.
//!
//! | call | programs | erases | reads |
//! |---|---|---|---|
//! | append, `maintain` in time | 2: open part, frame | 0 | 1: in the block that the start found, frames are read back |
//! | append, without it | 3: erase part, open part, frame | 1 | 1 |
//! | the first append after a start | 5: also a RESUME, behind burnt words, and a witness where that needs a block of its own | 1 | 4 |
//! | … after a cut in a snapshot or an opening | one more for each block that was not open | as many | as many |
//! | maintain | 1 | 1 | 1 |
//! | trim | 3 | 1 | 2 log2(blocks) + 3 |
//! | open | 0 | 0 | log2(blocks) + 5, and those of one block |
//!
//! A frame is 8 bytes and the record, in whole words; a group takes 8 bytes and one for each record. A block spends 40 bytes on
//! its header.
//!
//! # Example
//!
#![doc = concat!("```\n", include_str!("../examples/ring.rs"), "\n```")]
#![no_std]
#![forbid(unsafe_code)]
#![allow(
    clippy::duplicate_mod,
    reason = "operations on flash are one text, compiled with and without `async`"
)]

#[path = "."]
mod blocking {
    use bisync_macros::internal_strip_async as twin;
    use embedded_storage::nor_flash::NorFlash;
    use strandline_core::kv::blocking as map;
    use strandline_core::media::nor::blocking as ring;

    mod export;
    mod kv;
    mod log;
    mod part;

    pub use export::Export;
    pub use kv::Kv;
    pub use log::{Backward, Log, Records, State};
    pub use ring::Snapshot;
}

/// The log and the map over a driver that waits: the same text as what blocks.
///
/// To drop one of the futures is to lose power in it: the next operation mounts again by itself, and what was acknowledged is
/// there. Futures are not `Send`: one task keeps the log.
#[cfg(feature = "async")]
#[path = "."]
pub mod asynch {
    use bisync_macros::internal_noop as twin;
    use embedded_storage_async::nor_flash::NorFlash;
    use strandline_core::kv::asynch as map;
    use strandline_core::media::nor::asynch as ring;

    mod export;
    mod kv;
    mod log;
    mod part;

    pub use export::Export;
    pub use kv::Kv;
    pub use log::{Backward, Log, Records, State};
    pub use ring::Snapshot;
}

mod config;
mod error;
mod record;
mod shared;

pub use blocking::{Backward, Export, Kv, Log, Records, Snapshot, State};
pub use config::{Config, ReadFailure};
pub use error::Error;
pub use record::Record;
pub use shared::Shared;
pub use strandline_core::export::exporter::Refused;
pub use strandline_core::media::nor::{Error as Refusal, Geometry, GeometryError, Place, Policy};
pub use strandline_core::types::{Lsn, StoreId};

/// The checksum of the log. Which one it is does not show in the bytes.
#[cfg(not(feature = "table"))]
type Check = strandline_core::codec::check::BitwiseCheck;
/// The checksum of the log. Which one it is does not show in the bytes.
#[cfg(feature = "table")]
type Check = strandline_core::codec::check::TableCheck;
