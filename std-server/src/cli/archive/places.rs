//! Where archives and logs are: flags before configuration.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use strandline::archive::list;

use super::{Exit, Failure, Target};
use crate::config::{Config, Flags};

#[derive(Debug, Args)]
pub(super) struct PlaceFlags {
    /// Configuration file of Strandline or SnelDB [default: $SNELDB_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory with the archives, in it `shard-N`
    #[arg(long, global = true, value_name = "DIR")]
    archive_dir: Option<PathBuf>,
    /// Directory with SnelDB's logs, in it `shard-N`
    #[arg(long, global = true, value_name = "DIR")]
    wal_dir: Option<PathBuf>,
}

impl PlaceFlags {
    /// The configuration file for a word that works on a server's data: the configuration alone says where things are.
    pub(super) fn configuration(&self) -> Result<Option<&Path>, Failure> {
        if self.archive_dir.is_some() || self.wal_dir.is_some() {
            let text = "--archive-dir and --wal-dir are not for this word: --data-dir or --config says where a server's data is";
            return Err(Failure::new(Exit::Usage, text));
        }
        Ok(self.config.as_deref())
    }
}

/// Where things are.
#[derive(Debug)]
pub(super) struct Places {
    archives: PathBuf,
    logs: PathBuf,
    /// zstd's level for new archives.
    pub(super) level: i32,
}

impl Places {
    pub(super) fn find(flags: &PlaceFlags) -> Result<Self, Failure> {
        let from_env = || env::var_os(SNELDB_CONFIG).filter(|path| !path.is_empty()).map(PathBuf::from);
        let file = flags.config.clone().or_else(from_env);
        let mut places = match file {
            Some(file) => match of_sneldb(&file)? {
                Some(places) => places,
                None => of_strandline(Some(file))?,
            },
            // With both directories given nothing else is needed.
            None if flags.archive_dir.is_some() => Self::plain(),
            None => of_strandline(None)?,
        };
        if let Some(archives) = &flags.archive_dir {
            places.archives.clone_from(archives);
        }
        if let Some(logs) = &flags.wal_dir {
            places.logs.clone_from(logs);
        }
        Ok(places)
    }

    fn plain() -> Self {
        Self { archives: "archives".into(), logs: "wal".into(), level: 3 }
    }

    /// The archives of a shard.
    pub(super) fn shard(&self, shard: u64) -> PathBuf {
        self.archives.join(format!("shard-{shard}"))
    }

    /// A log of SnelDB.
    pub(super) fn log(&self, shard: u64, log: u64) -> PathBuf {
        self.logs.join(format!("shard-{shard}")).join(format!("wal-{log:05}.log"))
    }

    /// The archives that a target means, in order.
    pub(super) fn archives(&self, target: &Target) -> Result<Vec<PathBuf>, Failure> {
        let path = match target {
            Target::Shard(shard) => self.shard(*shard),
            Target::Path(path) => path.clone(),
        };
        let found = fs::metadata(&path).map_err(|error| Failure::io(&path.display().to_string(), &error))?;
        if found.is_dir() {
            return Ok(list(&path)?.into_iter().map(|(_, path)| path).collect());
        }
        Ok(vec![path])
    }
}

/// What a configuration of SnelDB says, whatever else stands in it; `None` if it is none.
fn of_sneldb(file: &Path) -> Result<Option<Places>, Failure> {
    let named = match file.extension() {
        // SnelDB finds its file without the ending.
        None => file.with_extension("toml"),
        Some(ending) if ending == "toml" => file.into(),
        Some(_) => return Ok(None),
    };
    let text = fs::read_to_string(&named).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(Exit::Usage, format!("{}: {error}", named.display())),
        _ => Failure::io(&named.display().to_string(), &error),
    })?;
    let table: toml::Table =
        text.parse().map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", named.display())))?;
    let Some(wal) = table.get("wal").and_then(|wal| wal.as_table()) else { return Ok(None) };
    let path = |key| wal.get(key).and_then(|path| path.as_str()).map(PathBuf::from);
    let mut places = Places::plain();
    places.logs = path("dir").unwrap_or(places.logs);
    places.archives = path("archive_dir").unwrap_or_else(|| places.logs.join("archived"));
    if let Some(level) = wal.get("compression_level").and_then(toml::Value::as_integer) {
        let level = i32::try_from(level).ok().filter(|level| (1..=22).contains(level));
        places.level = level.ok_or_else(|| {
            Failure::new(Exit::Usage, format!("{}: compression_level is 1 to 22", named.display()))
        })?;
    }
    Ok(Some(places))
}

fn of_strandline(file: Option<PathBuf>) -> Result<Places, Failure> {
    let flags = Flags { config: file, ..Flags::default() };
    let cwd = env::current_dir().unwrap_or_else(|_| PathBuf::new());
    let loaded = Config::load(&flags, env::vars_os(), &cwd);
    let wal = loaded.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?.config.wal;
    let archives = wal.archive_dir.parent().unwrap_or(&wal.archive_dir).into();
    Ok(Places { archives, logs: wal.dir, level: wal.compression_level })
}

const SNELDB_CONFIG: &str = "SNELDB_CONFIG";
