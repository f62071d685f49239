//! The files of an import: which they are, in which order they are read, and what is in them.
//!
//! ```text
//!  FILE                   as it was named; logs and archives of one directory by their log ids, whatever the order of the names
//!  DIR                    its logs and archives, then those in its shard-0, shard-1 …
//!  wal-00007-S-E.wal.zst  before wal-00007.log: a log that has grown goes on where its archive ends
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use strandline::archive::{Archive, ArchiveError, Name, Range};

use super::lines::Lines;
use super::{Exit, Failure};
use crate::events::{Draft, Unfit, read_entry, read_line};

/// A file with events.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Lines(Lines),
    Archive,
}

/// Finds the files that are meant, in the order in which they are read.
pub(super) fn find(named: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let mut paths = Vec::new();
    for path in in_order(named) {
        let found = fs::metadata(path).map_err(|error| Failure::io(&path.display().to_string(), &error))?;
        if !found.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let before = paths.len();
        below(path, &mut paths)?;
        if paths.len() == before {
            let text = format!("{}: there is no log and no archive in it", path.display());
            return Err(Failure::new(Exit::NotFound, text));
        }
    }
    paths.into_iter().map(Source::open).collect()
}

/// Files of one directory stand together, where the first of them was named: logs and archives by their ids, then the others.
fn in_order(named: &[PathBuf]) -> Vec<&PathBuf> {
    let mut first = HashMap::new();
    for (number, path) in named.iter().enumerate() {
        first.entry(path.parent()).or_insert(number);
    }
    let mut paths: Vec<&PathBuf> = named.iter().collect();
    paths.sort_by_cached_key(|path| (first[&path.parent()], place(path).unwrap_or((u64::MAX, Rank::Other))));
    paths
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Archive,
    Log,
    Other,
}

/// The log id that a name says.
fn place(path: &Path) -> Option<(u64, Rank)> {
    let name = path.file_name()?.to_str()?;
    if let Some(name) = Name::parse(name) {
        return Some((name.log.0, Rank::Archive));
    }
    let id = name.strip_prefix("wal-")?.strip_suffix(".log")?;
    (id.len() >= LEAST_DIGITS && id.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| id.parse().ok())?
        .map(|id| (id, Rank::Log))
}

/// Adds what is in a directory and in its shards; says what is none of it.
fn below(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(&directory.display().to_string(), &error);
    let (mut found, mut shards, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match (place(&path), shard_of(&path)) {
            (Some(place), _) if path.is_file() => found.push((place, path)),
            (_, Some(shard)) if path.is_dir() => shards.push((shard, path)),
            _ => foreign.push(path),
        }
    }
    found.sort();
    shards.sort();
    foreign.sort();
    for path in foreign {
        eprintln!("Note: {} is neither a log nor an archive", path.display());
    }
    paths.extend(found.into_iter().map(|(_, path)| path));
    shards.into_iter().try_for_each(|(_, shard)| below(&shard, paths))
}

/// The number of a shard's directory.
fn shard_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("shard-")?.parse().ok()
}

impl Source {
    fn open(path: PathBuf) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io(&path.display().to_string(), &error);
        if !fs::metadata(&path).map_err(failed)?.is_file() {
            let text = format!("{}: it is not a file, and a file is read twice", path.display());
            return Err(Failure::new(Exit::Error, text));
        }
        let mut head = Vec::new();
        File::open(&path).and_then(|file| file.take(4).read_to_end(&mut head)).map_err(failed)?;
        let is_named = path.extension().is_some_and(|ending| ending == "zst");
        let kind = if is_named || is_zstd(&head) {
            Kind::Archive
        } else {
            Kind::Lines(Lines::of(&path).map_err(failed)?)
        };
        Ok(Self { path, kind })
    }

    /// Name of the file, without its directory.
    pub(super) fn name(&self) -> String {
        super::words::name(&self.path)
    }

    /// What its events are called, to say where one is.
    pub(super) const fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Lines(_) => "line",
            Kind::Archive => "entry",
        }
    }

    /// Hands over every event with its number, or why it is none. Lines with nothing in them are passed over.
    ///
    /// # Errors
    /// That of `take`; the file can't be read, or is a damaged archive.
    pub(super) fn each(
        &self,
        mut take: impl FnMut(u64, Result<Draft, Unfit>) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        match &self.kind {
            Kind::Lines(lines) => lines.each(|number, text| match text {
                Ok(text) if text.trim_ascii().is_empty() => Ok(()),
                Ok(text) => take(number, read_line(text)),
                Err(too_long) => take(number, Err(Unfit::Bad(too_long.to_string()))),
            }),
            Kind::Archive => {
                let archive = Archive::open(&self.path)?;
                archive.info().in_place()?;
                let mut number = 0;
                archive.read(Range::ALL, |entry| {
                    number += 1;
                    take(number, read_entry(entry))
                })
            }
        }
    }
}

/// Whether a file begins as a frame of zstd, or as one that is skipped.
fn is_zstd(head: &[u8]) -> bool {
    match head.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
        Some(magic) => magic == 0xfd2f_b528 || magic & 0xffff_fff0 == 0x184d_2a50,
        None => false,
    }
}

/// Of a log id in a name.
const LEAST_DIGITS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_the_order_of_their_log_ids() {
        let names = [
            "b/x.jsonl",
            "b/wal-100000.log",
            "a/wal-00001.log",
            "b/wal-99999.log",
            "b/wal-99999-1-2.wal.zst",
        ];
        let named: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        let ordered: Vec<_> = in_order(&named).into_iter().map(|path| path.to_str().expect("text")).collect();
        let wanted = [
            "b/wal-99999-1-2.wal.zst",
            "b/wal-99999.log",
            "b/wal-100000.log",
            "b/x.jsonl",
            "a/wal-00001.log",
        ];
        assert_eq!(ordered, wanted);
        for other in ["wal-1.log", "wal-00001.log.tmp", "wal--0001.log", "wal-00001", "shard-0"] {
            assert_eq!(place(Path::new(other)), None, "{other}");
        }
    }
}
