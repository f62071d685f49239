//! Holds: named refusals to delete archives, in one file beside the shards' archives.
//!
//! `holds.json` is a list of objects. It is replaced as a whole: written under another name, synced, renamed. Whoever changes it has
//! `holds.lock`; whoever deletes archives reads it first, and deletes nothing if it can't be read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use strandline::core::retention::Hold as Rule;
use strandline::{LogId, Millis, make_directory};

/// One hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    pub(crate) name: String,
    pub(crate) reason: String,
    /// When it was added, and when it ends, ms since 1970.
    pub(crate) created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_ms: Option<u64>,
    /// Only this shard's archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shard: Option<u16>,
    /// Archives of segments from the first to the last of these log ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_log: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_log: Option<u64>,
}

impl Hold {
    /// What it keeps of a shard; a hold of another shard keeps nothing.
    pub(crate) fn rule(&self, shard: u16) -> Rule {
        let logs = (LogId(self.first_log.unwrap_or(0)), LogId(self.last_log.unwrap_or(u64::MAX)));
        let elsewhere = self.shard.is_some_and(|own| own != shard);
        let expires = if elsewhere { Some(Millis(0)) } else { self.expires_ms.map(Millis) };
        Rule { logs, expires }
    }
}

/// The file of holds.
#[derive(Clone, Debug)]
pub(crate) struct Holds {
    path: PathBuf,
}

impl Holds {
    /// Of the archives below `root`.
    pub(crate) fn below(root: &Path) -> Self {
        Self { path: root.join("holds.json") }
    }

    /// All holds, also those that have expired.
    ///
    /// # Errors
    /// The file can't be read: nothing may be deleted then.
    pub(crate) fn all(&self) -> Result<Vec<Hold>, String> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("{}: {error}", self.path.display())),
        };
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Adds a hold.
    ///
    /// # Errors
    /// There is one of this name, or the file can't be changed.
    pub(crate) fn add(&self, hold: Hold) -> Result<(), String> {
        self.change(|holds| {
            if holds.iter().any(|other| other.name == hold.name) {
                return Err(format!(
                    "there is a hold {:?} already: remove it first, or give this one another name",
                    hold.name
                ));
            }
            holds.push(hold);
            Ok(())
        })
    }

    /// Removes a hold.
    ///
    /// # Errors
    /// There is none of this name, or the file can't be changed.
    pub(crate) fn remove(&self, name: &str) -> Result<(), String> {
        self.change(|holds| {
            let count = holds.len();
            holds.retain(|hold| hold.name != name);
            if holds.len() == count { Err(format!("there is no hold {name:?}")) } else { Ok(()) }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Hold>) -> Result<(), String>) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", self.path.display());
        let place = self.path.parent().unwrap_or(Path::new("."));
        make_directory(place).map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.with_extension("lock"));
        let lock = lock.map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut holds = self.all()?;
        change(&mut holds)?;
        let written = (|| {
            let unfinished = self.path.with_extension("tmp");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            serde_json::to_writer_pretty(&mut file, &holds)?;
            file.write_all(b"\n")?;
            file.sync_data()?;
            fs::rename(&unfinished, &self.path)?;
            File::open(place)?.sync_all()
        })();
        written.map_err(failed)
    }
}
