//! Reads what is kept once more, from the device, while the log is written: damage is found before a start needs what is damaged.
//!
//! ```text
//!  drop from the cache ─► read and verify, at the caller's pace ─► intact
//!                              └► damaged: still listed? once more from the device ─► damaged, or gone meanwhile
//! ```
//!
//! Nothing is held: what retention lets go of meanwhile may go, and is not called damaged.

use std::fs::File;
use std::io;
use std::sync::Arc;

use strandline_core::manifest::Segment;
use strandline_core::snapshot::reader::Unusable;
use strandline_core::types::{Lsn, Position};

use crate::archive::ArchiveError;
use crate::archive_job::Pace;
use crate::dir::forget_pages;
use crate::error::BadState;
use crate::log::{Log, SnapshotInfo};
use crate::reader::ReadError;
use crate::segments::{SegmentInfo, SegmentReader};
use crate::snapshot::{LoadError, read_chunks};

/// What was found of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// All of it reads back.
    Intact,
    /// Nothing needs it any more.
    Gone,
    /// It does not read back.
    Damaged {
        /// Where, if that is known.
        offset: Option<u64>,
        /// The LSNs that can't be read: the first one, and the one behind the last.
        lsns: Option<(Lsn, Lsn)>,
        /// What is the matter.
        why: String,
    },
    /// The device does not give it.
    Unreadable(String),
}

impl Log {
    /// Reads a settled segment up to `end`, the LSN behind its last record.
    ///
    /// # Errors
    /// Only that of `pace`: the work was given up.
    pub fn scrub_segment(
        &self,
        segment: &SegmentInfo,
        end: Lsn,
        pace: &mut dyn Pace,
    ) -> Result<Scrubbed, ArchiveError> {
        let first = self.read_once(segment, end, pace)?;
        if matches!(first, Scrubbed::Damaged { .. }) {
            // It may have been released while it was read, and is another segment by now.
            return self.read_once(segment, end, pace);
        }
        Ok(first)
    }

    fn read_once(&self, info: &SegmentInfo, end: Lsn, pace: &mut dyn Pace) -> Result<Scrubbed, ArchiveError> {
        let Some((segment, store)) = self.listed(info) else { return Ok(Scrubbed::Gone) };
        let file = match File::open(&info.path) {
            Ok(file) => Arc::new(file),
            Err(error) => return Ok(self.unopened(info, end, &error)),
        };
        let mut reader = SegmentReader::over(file, store, &segment, end);
        reader.bypass_cache();
        let mut paced = reader.offset();
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) if self.listed(info).is_none() => return Ok(Scrubbed::Gone),
                Err(ReadError::Damaged { position, lsn }) => {
                    return Ok(damaged(&mut reader, position, lsn, end));
                }
                Err(error) => return Ok(Scrubbed::Unreadable(error.to_string())),
            }
            if reader.offset() - paced >= PACED_BYTES {
                pace.worked(u64::from(reader.offset() - paced))?;
                paced = reader.offset();
            }
        }
        pace.worked(u64::from(reader.offset() - paced))?;
        Ok(Scrubbed::Intact)
    }

    fn unopened(&self, info: &SegmentInfo, end: Lsn, error: &io::Error) -> Scrubbed {
        if self.listed(info).is_none() {
            return Scrubbed::Gone;
        }
        if error.kind() == io::ErrorKind::NotFound {
            let why = "it is missing".to_owned();
            return Scrubbed::Damaged { offset: None, lsns: Some((info.first, end)), why };
        }
        Scrubbed::Unreadable(error.to_string())
    }

    /// The listed segment that this is about, and its store.
    fn listed(&self, info: &SegmentInfo) -> Option<(Segment, strandline_core::types::StoreId)> {
        let state = self.shared().state.lock();
        let found = state.store.segments().iter().find(|one| one.log == info.log && one.fence == info.first);
        found.map(|segment| (*segment, state.store.store_id()))
    }

    /// Reads a snapshot and decodes all of it.
    ///
    /// # Errors
    /// As [`Self::scrub_segment`].
    pub fn scrub_snapshot(&self, info: &SnapshotInfo, pace: &mut dyn Pace) -> Result<Scrubbed, ArchiveError> {
        if let Ok(file) = File::open(&info.path) {
            forget_pages(&file);
        }
        let store = self.identity().store;
        let mut stopped = None;
        let read = read_chunks(&self.shared().dir, store, info.snapshot, |bytes| {
            pace.worked(u64::from(bytes)).map_err(|error| {
                stopped = Some(error);
                LoadError::State(BadState(String::new()))
            })
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        let Err(why) = read else { return Ok(Scrubbed::Intact) };
        if !self.snapshots().iter().any(|listed| listed.snapshot == info.snapshot) {
            return Ok(Scrubbed::Gone);
        }
        Ok(match why {
            LoadError::Step(error) if !error.is_missing() => Scrubbed::Unreadable(error.to_string()),
            LoadError::Step(_) => {
                Scrubbed::Damaged { offset: None, lsns: None, why: "it is missing".to_owned() }
            }
            why => {
                let offset = match why {
                    LoadError::Unusable(Unusable::Chunk(offset)) => Some(offset),
                    LoadError::Unusable(Unusable::Header) => Some(0),
                    _ => None,
                };
                Scrubbed::Damaged { offset, lsns: None, why: why.to_string() }
            }
        })
    }
}

/// Where a segment is damaged, and up to where.
fn damaged(reader: &mut SegmentReader, position: Position, lsn: Lsn, end: Lsn) -> Scrubbed {
    let next = reader.skip_damage().ok().flatten().unwrap_or(end);
    Scrubbed::Damaged {
        offset: Some(u64::from(position.offset)),
        lsns: Some((lsn, next)),
        why: "the expected frame is not there".to_owned(),
    }
}

const PACED_BYTES: u32 = 256 << 10;
