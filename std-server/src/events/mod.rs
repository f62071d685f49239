//! Events: taken in by the log, kept in its segments and archives, read by queries and followed live.
//!
//! ```text
//!  POST /events ─► line.rs ─► record.rs ─► shards.rs ─► one group a shard: all of it or nothing
//!  GET /events ─► query.rs ─► merge.rs: all shards as one row ─► scan.rs ─► shard.rs: archives, segments ─► lines
//!  GET /events/tail ─► follow.rs ─► scan.rs up to now ─► the log as it grows
//!  files of a stopped server ─► import.rs ─► shards.rs
//!  in the background ─► keeper.rs ─► catalog.rs, archives, what is let go of ─► retention.rs, holds.rs
//!                    └► scrub.rs: reads what is kept once more
//!  repair ─► salvage.rs: what can be read of what is damaged; restore.rs: a segment's records, from its archive
//! ```
//!
//! An event's place is its shard and LSN. Contexts hash to shards, each of which is a log of its own; the keyspace is in shard 0.

mod catalog;
mod cursor;
mod describe;
mod follow;
mod holds;
mod import;
mod keeper;
mod line;
mod merge;
mod query;
mod record;
mod restore;
mod retention;
mod salvage;
mod scan;
mod scrub;
mod shard;
mod shards;
mod unpack;

pub(crate) use self::catalog::{Catalog, Row};
pub(crate) use self::cursor::{Cursor, Diverged, Standing};
pub(crate) use self::follow::Follow;
pub(crate) use self::holds::{Hold, Holds};
pub(crate) use self::import::{Batch, Batches, Marks, Trail, Unfit, most_bytes, read_entry, read_line};
pub(crate) use self::keeper::{Keeper, Policy, Report};
pub(crate) use self::line::{Draft, read as read_lines};
pub(crate) use self::merge::Merge;
pub(crate) use self::query::{Order, Query, Seen};
pub use self::record::{Event, is_event};
pub(crate) use self::restore::records_of;
pub(crate) use self::retention::{Ground, Plan};
pub(crate) use self::salvage::{
    ArchiveDamage, Archived, Owner, Tally, archives_of, salvage_archive, salvage_segment,
};
pub(crate) use self::scan::Found;
#[cfg(test)]
pub(crate) use self::scan::scan;
pub(crate) use self::scrub::{Finding, ScrubReport, Scrubber};
pub(crate) use self::shard::Shard;
pub(crate) use self::shards::{NotStored, Shards, Stored, lanes};
