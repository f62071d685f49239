//! Archives that go: surveyed, ruled on by core's table, explained, removed.

use core::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use strandline::archive::{self, Archive, ArchiveError};
use strandline::core::retention::{Item, Outcome, Rules, Ruling, plan};
use strandline::{Lsn, Millis, StoreId};

use super::holds::Hold;
use crate::config::HistoryConfig;

/// The archives of one shard, each with its ruling.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rows: Vec<Row>,
    /// Archives that can't be read, or are of another store: nobody deletes them.
    pub(crate) strange: Vec<(PathBuf, String)>,
    pub(crate) outcome: Outcome,
    limit: Option<u64>,
}

/// One archive.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) path: PathBuf,
    pub(crate) item: Item,
    pub(crate) ruling: Ruling,
    hold: Option<String>,
}

/// Of what the rules are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'g> {
    pub(crate) shard: u16,
    pub(crate) store: StoreId,
    pub(crate) floor: Lsn,
    pub(crate) now_ms: u64,
    pub(crate) config: &'g HistoryConfig,
}

impl Plan {
    /// Surveys a directory and rules on it; changes nothing. One that is not there holds nothing.
    ///
    /// # Errors
    /// It can't be listed.
    pub(crate) fn make(directory: &Path, holds: &[Hold], ground: &Ground<'_>) -> Result<Self, String> {
        let listed = match archive::list(directory) {
            Err(ArchiveError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Vec::new()
            }
            listed => listed.map_err(|error| error.to_string())?,
        };
        let (mut rows, mut strange) = (Vec::new(), Vec::new());
        for (_, path) in listed {
            match look(&path, ground.store) {
                Ok(item) => rows.push(Row { path, item, ruling: Ruling::Floor, hold: None }),
                Err(why) => strange.push((path, why)),
            }
        }
        let config = ground.config;
        let rules = Rules {
            floor: ground.floor,
            now: Millis(ground.now_ms),
            window: config.keep_window.map(|window| u64::try_from(window.as_millis()).unwrap_or(u64::MAX)),
            count: config.keep_count,
            bytes: config.max_bytes,
        };
        let items: Vec<Item> = rows.iter().map(|row| row.item).collect();
        let held: Vec<_> = holds.iter().map(|hold| hold.rule(ground.shard)).collect();
        let mut rulings = vec![Ruling::default(); items.len()];
        let outcome = plan(&items, &held, &rules, &mut rulings);
        for (row, ruling) in rows.iter_mut().zip(rulings) {
            row.ruling = ruling;
            if let Ruling::Held(hold) = ruling {
                row.hold = holds.get(hold).map(|hold| format!("{} ({})", hold.name, hold.reason));
            }
        }
        Ok(Self { rows, strange, outcome, limit: config.max_bytes })
    }

    /// Removes what goes, the oldest first; returns how many there were.
    ///
    /// # Errors
    /// One can't be removed: those behind it stay as well.
    pub(crate) fn apply(&self) -> Result<u64, String> {
        let mut removed = 0;
        for row in self.rows.iter().filter(|row| row.ruling.releases()) {
            match fs::remove_file(&row.path) {
                Ok(()) => removed += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", row.path.display())),
            }
        }
        if let Some(place) = self.rows.first().and_then(|row| row.path.parent()).filter(|_| removed > 0) {
            let synced = File::open(place).and_then(|place| place.sync_all());
            synced.map_err(|error| format!("{}: {error}", place.display()))?;
        }
        Ok(removed)
    }

    /// What an operator must see to, if the size can't be met.
    pub(crate) fn alarm(&self) -> Option<String> {
        self.outcome.excess.map(|excess| {
            format!(
                "the archives take {} bytes, {excess} more than archive.max_bytes ({}): recovery, holds, the window or the count need \
                 them, so that nothing is deleted for the sake of size",
                self.outcome.kept_bytes,
                self.limit.unwrap_or(0)
            )
        })
    }
}

fn look(path: &Path, store: StoreId) -> Result<Item, String> {
    let archive = Archive::open(path).map_err(|error| error.to_string())?;
    let info = archive.info();
    let Some(extended) = &info.extended else {
        return Err("it is SnelDB's: it does not say whose it is".to_owned());
    };
    if extended.store != store {
        return Err("it is of another store".to_owned());
    }
    Ok(Item { log: info.log, last: extended.lsns.1, latest: extended.times.1, bytes: info.bytes })
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest =
            i64::try_from(self.item.latest.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let newest = newest.map_or_else(|| "unknown".to_owned(), |time| format!("{time:.0}"));
        let word = if self.ruling.releases() { "release" } else { "keep" };
        write!(
            f,
            "{word:<8} {}  {} bytes, up to LSN {}, newest entry {newest}: ",
            self.path.display(),
            self.item.bytes,
            self.item.last
        )?;
        match self.ruling {
            Ruling::Floor => f.write_str("recovery needs it: fewer than two snapshots cover it"),
            Ruling::Held(_) => write!(f, "hold {}", self.hold.as_deref().unwrap_or("")),
            Ruling::Young => f.write_str("younger than archive.keep_window"),
            Ruling::Counted => f.write_str("among the newest archive.keep_count"),
            Ruling::Free => f.write_str("no rule says otherwise"),
            Ruling::Expired => f.write_str("older than archive.keep_window and archive.keep_count ask for"),
            Ruling::Surplus => {
                f.write_str("archive.max_bytes is reached, and it is the oldest that no other rule keeps")
            }
            _ => f.write_str("another rule"),
        }
    }
}
