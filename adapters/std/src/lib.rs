//! Strandline on files: a durable log with group commit, snapshots and recovery.
//!
//! ```
//! use strandline::{Log, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let (log, recovered) = Log::open(Options::new(directory.path()), &mut ())?;
//! let lsn = log.append(b"kept from here on")?;
//! assert_eq!(lsn, recovered.report.next);
//! log.close();
//! # Ok(())
//! # }
//! ```

#[cfg(not(unix))]
compile_error!(
    "strandline supports Linux and macOS: file and directory syncs of other systems are not implemented"
);

pub mod archive;
mod archive_job;
mod check;
mod cow;
pub mod device;
mod dir;
mod driver;
mod durable;
mod error;
mod log;
mod memory;
mod options;
mod peek;
mod place;
mod reader;
mod recover;
pub mod repair;
mod scrub;
mod segments;
mod snapshot;
mod stats;
mod sync;
mod waiters;
mod window;

pub use archive_job::{ArchiveJob, Describe, JobError, Pace};
pub use check::HardwareCheck;
pub use cow::{CowImage, CowMap};
pub use dir::{Places, StepError};
pub use durable::{Durable, State, UpdateError};
pub use error::{AppendError, BadState, CorruptReport, OpenError, SnapshotError};
pub use log::{Log, Reservation, SnapshotInfo, SnapshotTicket, group_bytes};
pub use options::Options;
pub use peek::{Peek, peek};
pub use place::make_directory;
pub use reader::{LogReader, ReadError, Record};
pub use recover::{Recovered, Replay};
pub use scrub::Scrubbed;
pub use segments::{Identity, SegmentInfo, SegmentPlace, SegmentReader};
pub use snapshot::Image;
pub use stats::{SYNC_BORDERS_MICROS, Stats};
pub use strandline_core::action::{Event, Refused};
pub use strandline_core::manifest::{Loss, Snapshot};
pub use strandline_core::recovery::{Damage, Report};
pub use strandline_core::retention;
pub use strandline_core::store::{Mode, Priority};
pub use strandline_core::types::{Epoch, LogId, Lsn, Millis, StoreId, Timeline};
pub use strandline_core::wal::verdict::Verdict;

/// The core: formats and state machines without I/O.
pub use strandline_core as core;

/// The pages whose examples are tested here.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../../docs/guide/log.md")]
#[doc = include_str!("../../../docs/guide/durable.md")]
pub struct Pages;
