//! Archives as files: written so that a final name always means a whole archive, read with one block of memory.
//!
//! ```text
//!  entries ─► first pass: totals ─► NAME.tmp ─► sync ─► read back ─► rename ─► sync of the directory     write.rs
//!          └► second pass: blocks ─┘
//!
//!  Archive::open ─► info: the end of the file                                                            open.rs
//!        ├─► read, entries: all of it or a range, block by block                                         entries.rs
//!        └─► verify: quick, blocks, full
//!
//!  survey(directory) ─► archives in order, what is damaged, what is foreign, where the chain is broken   directory.rs
//! ```
//!
//! Two passes, since an archive begins with what is in it. The layout is [`strandline_core::archive`]'s: what SnelDB and `zstd -d`
//! read. SnelDB's own archives are read as well.
//!
//! ```
//! use strandline::archive::{self, Archive, Chain, Entry, Header, Payload, Range, Stamp, Value, Writing};
//! use strandline::core::types::LogId;
//! use strandline::{Lsn, Millis, StoreId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let payload = archive::encode_fields([("litres", Value::Unsigned(40)), ("ok", Value::Bool(true))]);
//! let stamp = Stamp { lsn: Lsn(1), time: Millis(1_700_000_000_250), commit: Millis(0) };
//! let event = Entry {
//!     timestamp: 1_700_000_000,
//!     context: "pump-7",
//!     event_type: "flow",
//!     payload: Payload::Map(&payload),
//!     event_id: 1,
//!     stamp,
//! };
//!
//! // Each archive names the one before it by its digest, so that a missing one is noticed.
//! let chain = Chain::before(directory.path(), LogId(1))?;
//! let header =
//!     Header { store: StoreId([7; 16]), log: LogId(1), previous: chain.previous(), ..Header::EMPTY };
//! let path = archive::write(directory.path(), &header, Writing::default(), |take| take(&event))?;
//!
//! let archive = Archive::open(&path)?;
//! assert_eq!(archive.info().entries, 1);
//! for entry in archive.entries(Range::ALL)? {
//!     let entry = entry?;
//!     assert_eq!((&*entry.context, entry.fields()?[0].1.clone()), ("pump-7", Value::Unsigned(40)));
//! }
//! # Ok(())
//! # }
//! ```

mod digest;
mod directory;
mod entries;
pub mod json;
mod open;
mod value;
mod write;

use std::io;
use std::path::PathBuf;

pub use digest::{Digest, Digester};
pub use directory::{Break, Chain, Gap, RecoverAll, Recovery, Survey, list, survey};
pub use entries::{Entries, OwnedEntry, Range};
pub use open::{Archive, ArchiveInfo, Extended, Level, read, verify};
pub use strandline_core::archive::entry::{Entry, Payload, RECORD, Stamp};
pub use strandline_core::archive::writer::Refused;
pub use strandline_core::archive::{BLOCK_BYTES, Codec, Header, MAX_BLOCK, Name, Prologue, Totals};
pub use value::{BadValue, Timestamp, Value, encode_fields};
pub use write::{Built, Taker, Writing, build, write};

pub(crate) use write::sync_directory;

/// Why an archive was not written, or can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file could not be used.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The entries can't be archived.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A payload is not what it should be.
    #[error(transparent)]
    Value(#[from] BadValue),
    /// Another archive has its place, and is not replaced.
    #[error("{} is {of}: it is not replaced", path.display())]
    Taken {
        /// The other archive.
        path: PathBuf,
        /// What it is.
        of: &'static str,
    },
    /// It is damaged.
    #[error("{} is damaged: {part}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What of it.
        part: String,
    },
    /// It is intact, and not what its place says.
    #[error("{} does not belong there: {why}", path.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// What it says, and what its place says.
        why: String,
    },
    /// A newer version wrote it.
    #[error("{} was written by a newer version: use that version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// It can't be asked for by LSN.
    #[error("{} is an archive of SnelDB, which knows no LSNs: ask by time", .0.display())]
    NoLsns(PathBuf),
    /// Whoever gives or takes the entries failed.
    #[error("{0}")]
    Other(String),
}
