//! What can still be read of damaged segments and archives, kept as archives.
//!
//! ```text
//!  damaged segment ─► intact batches ─► entries ─► an archive: of the shard, or in quarantine/ if a start discards them
//!  damaged archive ─► intact blocks  ─► entries ─► an archive of the same name; the damaged one is in quarantine/
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use strandline::archive::{
    self, Archive, ArchiveError, ArchiveInfo, Digest, Header, Level, Recovery, Taker, Writing,
};
use strandline::repair::SegmentDamage;
use strandline::{Describe, LogId, Lsn, Millis, Record, StoreId, Timeline, make_directory};

use super::describe::Describer;
use super::record::Event;
use crate::keyspace::{Effect, decode_record};

/// Counts what records are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) events: u64,
    pub(crate) changes: u64,
    /// A few of the keys and contexts.
    pub(crate) names: Vec<String>,
}

impl Tally {
    pub(crate) fn count(&mut self, record: &Record<'_>) {
        self.records += 1;
        if let Some(event) = Event::decode(record.bytes) {
            self.events += 1;
            return self.name(event.context_id);
        }
        for effect in decode_record(record.bytes).filter_map(Result::ok) {
            self.changes += 1;
            if let Some(key) = key_of(&effect) {
                self.name(&String::from_utf8_lossy(key));
            }
        }
    }

    fn name(&mut self, name: &str) {
        let short: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).take(40).collect();
        if self.names.len() < NAMES && !self.names.contains(&short) {
            self.names.push(short);
        }
    }
}

const fn key_of<'e>(effect: &Effect<'e>) -> Option<&'e [u8]> {
    match *effect {
        Effect::Set { key, .. }
        | Effect::Delete { key }
        | Effect::Write { key, .. }
        | Effect::Expire { key, .. }
        | Effect::Persist { key } => Some(key),
        Effect::Rename { from, .. } | Effect::Copy { from, .. } => Some(from),
        Effect::Flush => None,
    }
}

/// A damaged archive.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveDamage {
    pub(crate) path: PathBuf,
    pub(crate) why: String,
    pub(crate) log: Option<LogId>,
    /// The LSNs that can't be read: first ones, and the ones behind the last; empty if they are not known.
    pub(crate) lost: Vec<(Lsn, Lsn)>,
    /// Entries that can be read.
    pub(crate) entries: u64,
    /// It is whole, and another's: of another shard or store.
    pub(crate) is_foreign: bool,
}

/// The archives of one shard.
#[derive(Debug, Default)]
pub(crate) struct Archived {
    pub(crate) intact: Vec<ArchiveInfo>,
    pub(crate) damaged: Vec<ArchiveDamage>,
    /// Archives that can't be judged, such as a newer version's: of which segment by their names, and why.
    pub(crate) unreadable: Vec<(Option<LogId>, String)>,
    /// Where archives don't follow each other.
    pub(crate) gaps: Vec<String>,
    /// Files that were put aside, with their sizes.
    pub(crate) quarantine: Vec<(PathBuf, u64)>,
}

impl Archived {
    /// Archives that another store has written don't belong here. Those of SnelDB and of its logs are of no store.
    pub(crate) fn keep_those_of(&mut self, store: StoreId) {
        let foreign = |info: &mut ArchiveInfo| {
            let of = info.extended.as_ref().map_or(store, |extended| extended.store);
            of != store && of != StoreId::default() && store != StoreId::default()
        };
        for info in self.intact.extract_if(.., foreign) {
            let (path, why) = (info.path.clone(), "it is of another store".to_owned());
            let why = ArchiveError::Misplaced { path, why }.to_string();
            let (path, log) = (info.path, Some(info.log));
            let damage = ArchiveDamage { path, why, log, lost: Vec::new(), entries: 0, is_foreign: true };
            self.damaged.push(damage);
        }
    }
}

/// Reads every archive of a shard in full; `range` says which LSNs a log had, where the archive itself does not. `read` hears of the bytes
/// that were read.
pub(crate) fn archives_of(
    shard: u16,
    directory: &Path,
    range: impl Fn(LogId) -> Option<(Lsn, Lsn)>,
    read: impl Fn(u64),
) -> Result<Archived, String> {
    let survey = Recovery::new(u64::from(shard), directory).survey().map_err(|error| error.to_string())?;
    let mut archived = Archived { quarantine: quarantined(directory), ..Archived::default() };
    let gaps = survey.gaps().map_err(|error| error.to_string())?;
    archived.gaps = gaps.iter().map(ToString::to_string).collect();
    let opened = survey.archives.iter().map(|info| (info.path.clone(), None));
    let damaged = survey.damaged.into_iter().map(|(path, error)| (path, Some(error)));
    for (path, error) in opened.chain(damaged) {
        let checked = error.map_or_else(|| archive::verify(&path, Level::Full), Err);
        read(fs::metadata(&path).map_or(0, |found| found.len()));
        match checked {
            Ok(info) => archived.intact.push(info),
            Err(error @ (ArchiveError::Damaged { .. } | ArchiveError::Misplaced { .. })) => {
                archived.damaged.push(damage_of(shard, path, &error, &range));
            }
            Err(error) => archived.unreadable.push((log_of(&path), error.to_string())),
        }
    }
    Ok(archived)
}

fn log_of(path: &Path) -> Option<LogId> {
    let name = path.file_name()?.to_string_lossy();
    archive::Name::parse(&name).map(|name| name.log)
}

fn damage_of(
    shard: u16,
    path: PathBuf,
    error: &ArchiveError,
    range: impl Fn(LogId) -> Option<(Lsn, Lsn)>,
) -> ArchiveDamage {
    let log = log_of(&path);
    let (mut entries, mut is_foreign) = (0, false);
    let blocks = Archive::open(&path).and_then(|archive| {
        is_foreign = archive.info().shard != u64::from(shard);
        if is_foreign {
            return Ok(Vec::new());
        }
        archive.read_intact(&mut |_| {
            entries += 1;
            Ok(())
        })
    });
    let lost = blocks.unwrap_or_else(|_| log.and_then(range).into_iter().collect());
    ArchiveDamage { path, why: error.to_string(), log, lost, entries, is_foreign }
}

/// Puts a damaged archive aside, and what can be read of it in its place. Returns where it is now.
pub(crate) fn salvage_archive(damage: &ArchiveDamage, level: i32) -> Result<PathBuf, String> {
    let directory = damage.path.parent().unwrap_or(Path::new("."));
    let aside = put_aside(&damage.path).map_err(|error| format!("{}: {error}", damage.path.display()))?;
    let Ok(archive) = Archive::open(&aside) else { return Ok(aside) };
    let info = archive.info();
    if let (Some(extended), true) = (&info.extended, damage.entries > 0) {
        let header = Header {
            store: extended.store,
            timeline: extended.timeline,
            epoch: extended.epoch,
            shard: u32::try_from(info.shard).unwrap_or(u32::MAX),
            log: info.log,
            created: info.created,
            previous: &extended.previous,
            writer: WRITER,
            ..Header::EMPTY
        };
        let writing = Writing { level: Some(level), ..Writing::default() };
        archive::write(directory, &header, writing, |take| archive.read_intact(take).map(|_| ()))
            .map_err(|error| error.to_string())?;
    }
    Ok(aside)
}

/// Moves a file to `quarantine/` beside it, durably.
fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let place = directory.join(QUARANTINE);
    make_directory(&place)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (0..u32::MAX).map(|count| match count {
        0 => place.join(&name),
        _ => place.join(format!("{name}.{count}")),
    });
    let to = free.into_iter().find(|path| !path.exists()).unwrap_or_else(|| place.join(&name));
    fs::rename(path, &to)?;
    File::open(&place)?.sync_all()?;
    File::open(directory)?.sync_all()?;
    Ok(to)
}

fn quarantined(directory: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(found) = fs::read_dir(directory.join(QUARANTINE)) else { return Vec::new() };
    let mut files: Vec<_> = found
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok().filter(|it| it.is_file())?.len())))
        .collect();
    files.sort();
    files
}

/// Whose records a salvaged archive holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) store: StoreId,
    pub(crate) timeline: Timeline,
    pub(crate) shard: u16,
    pub(crate) level: i32,
    pub(crate) now_ms: u64,
}

/// Writes an archive of what can be read of a damaged segment into `directory`; `None` if nothing can, or nothing of it is wanted.
pub(crate) fn salvage_segment(
    damage: &SegmentDamage,
    owner: Owner,
    directory: &Path,
    only_events: bool,
) -> Result<Option<PathBuf>, String> {
    let mut tally = Tally::default();
    damage.salvage(&mut |record| tally.count(record)).map_err(|error| error.to_string())?;
    if tally.records == 0 || (only_events && tally.events == 0) {
        return Ok(None);
    }
    make_directory(directory).map_err(|error| error.to_string())?;
    let before = archive::list(directory).map_err(|error| error.to_string())?;
    let before = before.into_iter().rev().find(|(name, _)| name.log < damage.log);
    let previous = before.and_then(|(_, path)| Digest::of_file(&path).ok());
    let header = Header {
        store: owner.store,
        timeline: owner.timeline,
        epoch: damage.epoch,
        shard: u32::from(owner.shard),
        log: damage.log,
        created: Millis(owner.now_ms),
        previous: previous.as_ref().map_or(&[], |digest| &digest.0),
        writer: WRITER,
        ..Header::EMPTY
    };
    let writing = Writing { level: Some(owner.level), ..Writing::default() };
    let written = archive::write(directory, &header, writing, |take| entries(damage, take));
    written.map(Some).map_err(|error| error.to_string())
}

fn entries(damage: &SegmentDamage, take: &mut Taker<'_>) -> Result<(), ArchiveError> {
    let (mut describer, mut failed) = (Describer, None);
    let read = damage.salvage(&mut |record| {
        if failed.is_none() {
            failed = describer.entries(record, take).err();
        }
    });
    match (failed, read) {
        (Some(error), _) => Err(error),
        (None, Err(source)) => Err(ArchiveError::Io { what: "read", path: damage.path.clone(), source }),
        (None, Ok(_)) => Ok(()),
    }
}

const WRITER: &str = concat!("std-server ", env!("CARGO_PKG_VERSION"));
const QUARANTINE: &str = "quarantine";
/// Keys that are named as examples.
const NAMES: usize = 5;
