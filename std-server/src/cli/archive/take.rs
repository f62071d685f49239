//! SnelDB's logs: `archive SHARD LOG` makes an archive of one, and `recover --to DIR` writes them.
//!
//! ```text
//!  {"timestamp":1700000000,"context_id":"user-0","event_type":"signup","payload":{...},"event_id":10000}      one line each
//! ```
//!
//! A line that is none stops everything and is named: an archive that lacks a line of its log would be taken for the whole of it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use strandline::archive::json::{JsonEntry, line};
use strandline::archive::{self, ArchiveError, Chain, Digest, Entry, Header, Stamp};
use strandline::core::types::LogId;
use strandline::{Lsn, Millis};

use super::lines::Lines;
use super::places::Places;
use super::words::{file_bytes, size};
use super::{Exit, Failure, Writing};

pub(super) fn archive(places: &Places, shard: u64, log: u64, how: &Writing) -> Result<Exit, Failure> {
    println!("Archiving WAL log {log} for shard {shard}...");
    let source = places.log(shard, log);
    let directory = places.shard(shard);
    let number = u32::try_from(shard);
    let shard = number.map_err(|_| Failure::new(Exit::Usage, format!("there is no shard {shard}")))?;
    let lines = Lines::of(&source).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::new(Exit::NotFound, format!("WAL log not found: {}", source.display()))
        }
        _ => Failure::io(&source.display().to_string(), &error),
    })?;
    let digest = Digest::of_file(&source)?;
    let made = fs::create_dir_all(&directory);
    made.map_err(|error| Failure::io(&directory.display().to_string(), &error))?;
    let chain = Chain::before(&directory, LogId(log))?;
    let last =
        chain.newest().and_then(|newest| newest.extended.as_ref()).map_or(Lsn(0), |theirs| theirs.lsns.1);
    let header = Header {
        shard,
        log: LogId(log),
        created: now(),
        source: &digest.0,
        previous: chain.previous(),
        writer: WRITER,
        ..Header::EMPTY
    };
    let written = archive::write(&directory, &header, how.settings(places), |take| {
        let mut lsn = last;
        lines.each(|number, text| {
            let refused = |why: &dyn core::fmt::Display| {
                let path = source.display();
                ArchiveError::Other(format!("{path} line {number}: {why}; nothing was archived"))
            };
            let text = text.map_err(|too_long| refused(&too_long))?;
            let mut entry = line(text).map_err(|why| refused(&why))?;
            lsn = lsn.next();
            let time = Millis(entry.timestamp.saturating_mul(1000));
            entry.stamp = Stamp { lsn, time, commit: Millis(0) };
            take(&entry.entry())
        })
    })?;
    println!("Successfully archived to: {}", written.display());
    println!("Archive size: {}", size(file_bytes(&written)?));
    Ok(Exit::Done)
}

/// A log that `recover --to` writes.
pub(super) struct RecoveredLog {
    path: PathBuf,
    unfinished: PathBuf,
    out: BufWriter<File>,
}

impl RecoveredLog {
    /// Refuses to replace a log.
    pub(super) fn create(to: &Path, shard: u64, log: LogId) -> Result<Self, Failure> {
        let directory = to.join(format!("shard-{shard}"));
        let failed = |error: io::Error| Failure::io(&directory.display().to_string(), &error);
        fs::create_dir_all(&directory).map_err(failed)?;
        let path = directory.join(format!("wal-{:05}.log", log.0));
        if path.exists() {
            let text = format!("{} is there already: recover into another directory", path.display());
            return Err(Failure::new(Exit::Error, text));
        }
        let unfinished = path.with_extension("log.tmp");
        let out = BufWriter::new(File::create(&unfinished).map_err(failed)?);
        Ok(Self { path, unfinished, out })
    }

    pub(super) fn take(&mut self, entry: &Entry<'_>) -> Result<(), ArchiveError> {
        let failed = |source| ArchiveError::Io { what: "write", path: self.unfinished.clone(), source };
        let written = serde_json::to_writer(&mut self.out, &JsonEntry::stamped(entry));
        written.map_err(|error| failed(error.into()))?;
        self.out.write_all(b"\n").map_err(failed)
    }

    pub(super) fn publish(mut self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io(&self.path.display().to_string(), &error);
        self.out.flush().map_err(failed)?;
        self.out.get_ref().sync_all().map_err(failed)?;
        fs::rename(&self.unfinished, &self.path).map_err(failed)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

pub(super) fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Into each archive that is made here.
pub(super) const WRITER: &str = concat!("std-server ", env!("CARGO_PKG_VERSION"));
