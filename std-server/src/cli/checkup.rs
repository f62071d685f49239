//! Reads everything that a server keeps, shard by shard: what `verify` prints and `repair` goes by.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use strandline::repair::{Examination, Look, Unkept, Wanted};
use strandline::{Log, LogId, Lsn, OpenError, StoreId};

use super::progress::BytesBar;
use crate::config::{Config, Loaded};
use crate::engine::{archive_dir, options_of, places};
use crate::events::{ArchiveDamage, Archived, Catalog, Row, archives_of, records_of};

/// One shard, read as a whole.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) number: u16,
    pub(super) found: Examination,
    pub(super) archived: Archived,
    pub(super) archives: PathBuf,
}

/// How a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Good,
    /// Something is damaged, or a start is refused.
    Damaged,
    /// It can't be read now.
    Unreadable,
}

impl Shard {
    pub(super) fn health(&self) -> Health {
        if matches!(self.found.blocked, Some(OpenError::Step(_) | OpenError::Unreadable(_))) {
            Health::Unreadable
        } else if self.found.is_damaged()
            || !self.archived.damaged.is_empty()
            || !self.archived.unreadable.is_empty()
        {
            Health::Damaged
        } else {
            Health::Good
        }
    }

    /// Whether a damaged archive can be made again from its segment.
    pub(super) fn has_segment(&self, damage: &ArchiveDamage) -> bool {
        damage.log.is_some_and(|log| self.found.listed.contains(&log))
    }
}

/// Reads every shard. An error says why there is nothing to be read.
pub(super) fn shards(config: &Config) -> Result<Vec<Shard>, String> {
    let numbers = 0..config.shard_count;
    for number in numbers.clone() {
        let places = places(config, number);
        if let Some(missing) = [&places.log, &places.snapshots].into_iter().find(|place| !place.is_dir()) {
            return Err(format!(
                "there is no directory {}: name the data with --data-dir DIR",
                missing.display()
            ));
        }
    }
    let read = Arc::<AtomicU64>::default();
    let _bar = BytesBar::follow(&read, numbers.clone().map(|number| bytes_of(config, number)).sum());
    numbers.map(|number| shard(config, number, &read)).collect()
}

fn shard(config: &Config, number: u16, read: &Arc<AtomicU64>) -> Result<Shard, String> {
    let archives = archive_dir(config, number);
    let rows = Catalog::peek(&places(config, number).log);
    let range = |log: LogId| rows.get(&log.0).map(|row: &Row| (Lsn(row.first), Lsn(row.end)));
    let mut archived = archives_of(number, &archives, range, |bytes| {
        read.fetch_add(bytes, Relaxed);
    })?;
    let found = look(config, number, &archived, read, |look| Log::examine(&options_of(config, number), look));
    let found = found.map_err(|error| error.to_string())?;
    archived.keep_those_of(found.store);
    Ok(Shard { number, found, archived, archives })
}

/// What the catalog and the archives of a shard know is told to whoever looks at its log.
pub(super) fn look<T>(
    config: &Config,
    number: u16,
    archived: &Archived,
    read: &Arc<AtomicU64>,
    then: impl FnOnce(&Look<'_>) -> T,
) -> T {
    let rows = Catalog::peek(&places(config, number).log);
    let range_of = |log: LogId| rows.get(&log.0).map(|row| (Lsn(row.first), Lsn(row.end)));
    let is_elsewhere = |store: StoreId, log: LogId, (first, end): (Lsn, Lsn)| {
        archived.intact.iter().filter(|info| info.log == log).filter_map(|info| info.extended.as_ref()).any(
            |extended| extended.store == store && extended.lsns.0 == first && extended.lsns.1.next() == end,
        )
    };
    let records_of = |wanted: &Wanted| {
        let intact = archived.intact.iter().filter(|info| info.log == wanted.log);
        let damaged = archived.damaged.iter().find(|damage| damage.log == Some(wanted.log));
        let unreadable = archived.unreadable.iter().find(|(log, _)| *log == Some(wanted.log));
        let found = intact.map(|info| records_of(&info.path, number, wanted)).reduce(Result::or);
        found
            .or_else(|| unreadable.map(|(_, why)| Err(Unkept::NotNow(why.clone()))))
            .or_else(|| damaged.map(|damage| Err(Unkept::Useless(damage.why.clone()))))
    };
    then(&Look {
        range_of: &range_of,
        is_elsewhere: &is_elsewhere,
        records_of: &records_of,
        progress: Arc::clone(read),
    })
}

/// About how much there is to read.
fn bytes_of(config: &Config, number: u16) -> u64 {
    let places = places(config, number);
    let of = |place: &Path| -> u64 {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.metadata().is_ok_and(|found| found.is_file()));
        files
            .filter(|entry| is_begun(&entry.path()))
            .filter_map(|entry| Some(entry.metadata().ok()?.len()))
            .sum()
    };
    of(&places.log) + of(&places.snapshots) + of(&archive_dir(config, number))
}

/// Segments that were prepared and not begun are not read.
fn is_begun(path: &Path) -> bool {
    let mut start = [0; 8];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| start != [0; 8])
}

/// A command line of this program over the same data.
pub(super) fn command(loaded: &Loaded, words: &str) -> String {
    let file = loaded.file.as_ref().map(|file| format!(" --config {}", file.display())).unwrap_or_default();
    format!("std-server {words}{file} --data-dir {}", loaded.config.data_dir.display())
}

/// A moment for people.
pub(super) fn moment(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| format!("{time:.0}"))
}

/// LSNs for people: the last one is named.
pub(super) fn lsns((first, end): (Lsn, Lsn)) -> String {
    match end.0.saturating_sub(first.0) {
        0 => format!("LSN {first} on, of which none is known to have been there"),
        1 => format!("LSN {first}"),
        _ => format!("LSN {first} to {}", end.0 - 1),
    }
}

/// A count of things for people.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
