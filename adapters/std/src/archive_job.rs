//! Archives one settled segment, so that it can be let go of.
//!
//! ```text
//!  read it through ─► NAME.tmp ─► sync ─► read back ─► NAME ─► sync of the directory ─► compare with the segment, entry by entry
//!  intact? digest                                                                          └► the caller records it
//! ```
//!
//! An error at any step leaves no archive under its final name that was not read back, and the segment as it is. An archive that
//! is already there is compared, and taken if it is the right one.

use core::cell::RefCell;
use std::fs;
use std::path::Path;

use strandline_core::archive::Header;
use strandline_core::types::{Lsn, Millis};

use crate::archive::{
    self, Archive, ArchiveError, ArchiveInfo, Digest, Digester, Entry, OwnedEntry, Range, Taker, Writing,
};
use crate::log::Log;
use crate::place::make_directory;
use crate::reader::{ReadError, Record};
use crate::repair::add_record;
use crate::segments::SegmentInfo;

/// Says which entries a record of the log is; one at least.
pub trait Describe {
    /// Hands the entries of a record to `take`, always the same ones.
    ///
    /// # Errors
    /// The record is not one of the program's, or what `take` says.
    fn entries(&mut self, record: &Record<'_>, take: &mut Taker<'_>) -> Result<(), ArchiveError>;
}

/// How the work is spread over time.
pub trait Pace {
    /// So many bytes of the segment were worked through: it may sleep here.
    ///
    /// # Errors
    /// The work is to be given up.
    fn worked(&mut self, bytes: u64) -> Result<(), ArchiveError>;
}

/// What to make of a segment.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveJob<'j> {
    /// Where the archive goes; created if it is not there.
    pub directory: &'j Path,
    /// How it is written.
    pub writing: Writing,
    /// The shard that the log is.
    pub shard: u32,
    /// Name and version of the program.
    pub writer: &'j str,
    /// Now.
    pub created: Millis,
    /// The LSN behind the segment's last record.
    pub end: Lsn,
}

/// Why a segment was not archived. It stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The segment itself does not read back.
    #[error(transparent)]
    Segment(#[from] ReadError),
    /// The archive could not be written or read back.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl Log {
    /// Archives a settled segment. Its archive has been synced, read back and compared with the segment when this returns.
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn archive_segment(
        &self,
        segment: &SegmentInfo,
        job: &ArchiveJob<'_>,
        describe: &mut dyn Describe,
        pace: &mut dyn Pace,
    ) -> Result<ArchiveInfo, JobError> {
        let mut digester = Digester::default();
        let source = Source { log: self, segment, end: job.end, broken: RefCell::new(None) };
        source.each(pace, &mut |record| {
            add_record(&mut digester, record.lsn, record.bytes);
            Ok(())
        })?;
        let source_digest = digester.finish();
        if let Some(found) = source.existing(job, &source_digest)? {
            source.compare(&found, describe, pace)?;
            return Ok(found.info().clone());
        }
        make_directory(job.directory).map_err(|source| {
            let path = job.directory.into();
            ArchiveError::Io { what: "create", path, source }
        })?;
        let before = archive::list(job.directory)?.into_iter().rev().find(|(name, _)| name.log < segment.log);
        let previous = before.map(|(_, path)| Digest::of_file(&path)).transpose()?;
        let identity = self.identity();
        let header = Header {
            store: identity.store,
            timeline: identity.timeline,
            epoch: segment.epoch,
            shard: job.shard,
            log: segment.log,
            created: job.created,
            source: &source_digest.0,
            previous: previous.as_ref().map_or(&[], |digest| &digest.0),
            writer: job.writer,
            ..Header::EMPTY
        };
        let written = archive::write(job.directory, &header, job.writing, |take| {
            source
                .each(pace, &mut |record| describe.entries(record, take))
                .map_err(|error| source.explain(error))
        });
        if let Some(broken) = source.broken.take() {
            return Err(broken.into());
        }
        let path = written?;
        let compared = Archive::open(&path).map_err(JobError::from).and_then(|archive| {
            source.compare(&archive, describe, pace)?;
            Ok(archive.info().clone())
        });
        if compared.is_err() {
            // Nobody may take it for the archive of this segment.
            let _ = fs::remove_file(&path);
            archive::sync_directory(job.directory)?;
        }
        compared
    }
}

struct Source<'s> {
    log: &'s Log,
    segment: &'s SegmentInfo,
    end: Lsn,
    /// The segment's own error, on its way through the archive's.
    broken: RefCell<Option<ReadError>>,
}

impl Source<'_> {
    fn each(
        &self,
        pace: &mut dyn Pace,
        take: &mut dyn FnMut(&Record<'_>) -> Result<(), ArchiveError>,
    ) -> Result<(), JobError> {
        let mut reader = self.log.read_segment(self.segment.log, self.end)?;
        let mut paced = reader.offset();
        while let Some(record) = reader.next()? {
            take(&record)?;
            if reader.offset() - paced >= PACED_BYTES {
                pace.worked(u64::from(reader.offset() - paced))?;
                paced = reader.offset();
            }
        }
        pace.worked(u64::from(reader.offset() - paced))?;
        Ok(())
    }

    fn explain(&self, error: JobError) -> ArchiveError {
        match error {
            JobError::Archive(error) => error,
            JobError::Segment(error) => {
                let text = error.to_string();
                *self.broken.borrow_mut() = Some(error);
                ArchiveError::Other(text)
            }
        }
    }

    /// The archive that an earlier attempt has left, if it is of these records.
    fn existing(&self, job: &ArchiveJob<'_>, digest: &Digest) -> Result<Option<Archive>, JobError> {
        if !job.directory.exists() {
            return Ok(None);
        }
        let found = archive::list(job.directory)?.into_iter().find(|(name, _)| name.log == self.segment.log);
        let Some((_, path)) = found else { return Ok(None) };
        let Ok(archive) = Archive::open(&path) else { return Ok(None) };
        let identity = self.log.identity();
        let ours = archive.info().extended.as_ref().is_some_and(|extended| {
            (extended.store, extended.timeline) == (identity.store, identity.timeline)
                && extended.lsns == (self.segment.first, Lsn(self.end.0.saturating_sub(1)))
                && extended.source == digest.0
        });
        Ok(ours.then_some(archive))
    }

    /// Reads the archive and the segment side by side.
    fn compare(
        &self,
        archive: &Archive,
        describe: &mut dyn Describe,
        pace: &mut dyn Pace,
    ) -> Result<(), JobError> {
        let mut archived = archive.entries(Range::ALL)?;
        let differs = |lsn: Lsn| ArchiveError::Damaged {
            path: archive.info().path.clone(),
            part: format!("record {lsn} reads back otherwise than the segment has it"),
        };
        self.each(pace, &mut |record| {
            describe.entries(record, &mut |entry: &Entry<'_>| {
                let back = archived.next().transpose()?;
                if back.is_some_and(|back| back == OwnedEntry::from(entry)) {
                    Ok(())
                } else {
                    Err(differs(record.lsn))
                }
            })
        })?;
        match archived.next().transpose()? {
            None => Ok(()),
            Some(_) => Err(differs(self.end).into()),
        }
    }
}

const PACED_BYTES: u32 = 256 << 10;
