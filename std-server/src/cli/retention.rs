//! `retention`: which archives go, and why; `hold`: which never do.
//!
//! | exit | of `retention` means |
//! |---|---|
//! | 0 | planned, or applied |
//! | 1 | something can't be read or removed |
//! | 2 | the configuration is wrong, or there is no store |
//! | 7 | the size can't be met: recovery, holds or the other rules keep what is there |
//!
//! Both work beside a running server: the floor is read from the manifest, and only rises.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use strandline::peek;

use super::EXIT_USAGE;
use crate::config::{Config, Flags, Loaded, duration};
use crate::engine::{archive_dir, places};
use crate::events::{Ground, Hold, Holds, Plan};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RetentionArgs {
    #[command(subcommand)]
    action: Option<RetentionAction>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
pub(super) enum RetentionAction {
    /// Print what goes and what stays, each with its reason, and delete nothing (also without this word)
    Plan {
        #[command(flatten)]
        flags: Flags,
    },
    /// Delete what the plan says
    Apply {
        #[command(flatten)]
        flags: Flags,
    },
}

impl RetentionArgs {
    pub(super) fn flags(&self) -> &Flags {
        match &self.action {
            Some(RetentionAction::Plan { flags } | RetentionAction::Apply { flags }) => flags,
            None => &self.flags,
        }
    }

    pub(super) fn run(&self, loaded: &Loaded) -> ExitCode {
        let apply = matches!(self.action, Some(RetentionAction::Apply { .. }));
        match retire(&loaded.config, apply) {
            Ok(exit) => exit,
            Err(why) => {
                eprintln!("std-server: {why}");
                ExitCode::from(EXIT_USAGE)
            }
        }
    }
}

/// Plans for every shard, prints, and applies if told to.
fn retire(config: &Config, apply: bool) -> Result<ExitCode, String> {
    let holds = Holds::below(root(config)).all()?;
    let (mut strange, mut alarms) = (false, false);
    let (mut released, mut bytes) = (0, 0);
    for shard in 0..config.shard_count {
        let found = peek(&places(config, shard)).map_err(|error| error.to_string())?;
        let Some(found) = found else {
            return Err(format!(
                "there is no store in {}: name the data with --data-dir DIR",
                config.wal.dir.display()
            ));
        };
        let ground = Ground {
            shard,
            store: found.store,
            floor: found.floor,
            now_ms: now_ms(),
            config: &config.history,
        };
        let plan = Plan::make(&archive_dir(config, shard), &holds, &ground)?;
        for row in &plan.rows {
            println!("{row}");
            if row.ruling.releases() {
                released += 1;
                bytes += row.item.bytes;
            }
        }
        for (path, why) in &plan.strange {
            println!("keep     {}  {why}", path.display());
            strange = true;
        }
        if let Some(alarm) = plan.alarm() {
            println!("ALARM    shard {shard}: {alarm}");
            alarms = true;
        }
        if apply && let Err(why) = plan.apply() {
            eprintln!("std-server: {why}");
            return Ok(ExitCode::FAILURE);
        }
    }
    let done = if apply { "were deleted" } else { "would be deleted: std-server retention apply" };
    println!("{released} archives with {bytes} bytes {done}");
    Ok(match (strange, alarms) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(EXIT_KEPT),
        (false, false) => ExitCode::SUCCESS,
    })
}

#[derive(Debug, Subcommand)]
pub(super) enum HoldAction {
    /// Keep archives, whatever the rules say
    Add {
        /// Its name
        name: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// When it ends: a time from now (30d) or RFC 3339; never unless given
        #[arg(long)]
        expires: Option<String>,
        /// Only archives of this shard
        #[arg(long)]
        shard: Option<u16>,
        /// Only archives of this log id and later ones
        #[arg(long, value_name = "LOG")]
        first: Option<u64>,
        /// Only archives of this log id and earlier ones
        #[arg(long, value_name = "LOG")]
        last: Option<u64>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Print all holds
    List {
        #[command(flatten)]
        flags: Flags,
    },
    /// Remove a hold
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        flags: Flags,
    },
}

impl HoldAction {
    pub(super) fn flags(&self) -> &Flags {
        let (Self::Add { flags, .. } | Self::List { flags } | Self::Remove { flags, .. }) = self;
        flags
    }

    pub(super) fn run(self, loaded: &Loaded) -> ExitCode {
        let holds = Holds::below(root(&loaded.config));
        let done = match self {
            Self::Add { name, reason, expires, shard, first, last, .. } => {
                added(&holds, name, reason, expires.as_deref(), shard, (first, last))
            }
            Self::List { .. } => holds.all().map(|holds| holds.iter().for_each(print)),
            Self::Remove { name, .. } => holds.remove(&name),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("std-server: {why}");
                ExitCode::FAILURE
            }
        }
    }
}

fn added(
    holds: &Holds,
    name: String,
    reason: String,
    expires: Option<&str>,
    shard: Option<u16>,
    (first_log, last_log): (Option<u64>, Option<u64>),
) -> Result<(), String> {
    let (name, reason) = (name.trim().to_owned(), reason.trim().to_owned());
    if name.is_empty() || reason.is_empty() {
        return Err("a hold has a name and a reason".to_owned());
    }
    if first_log.zip(last_log).is_some_and(|(first, last)| first > last) {
        return Err("--first is behind --last: it would keep nothing".to_owned());
    }
    let created_ms = now_ms();
    let expires_ms = expires.map(|text| end(text, created_ms)).transpose()?;
    holds.add(Hold { name, reason, created_ms, expires_ms, shard, first_log, last_log })
}

fn end(text: &str, now_ms: u64) -> Result<u64, String> {
    let from_now = duration(text).and_then(|seconds| now_ms.checked_add(seconds.checked_mul(1000)?));
    let moment = || text.parse::<Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    match from_now.or_else(moment) {
        Some(ms) if ms > now_ms => Ok(ms),
        Some(_) => Err(format!("--expires {text}: that is over already")),
        None => Err(format!("--expires {text}: neither a time such as 30d nor RFC 3339")),
    }
}

fn print(hold: &Hold) {
    let time = |ms: u64| i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let text = |ms: u64| time(ms).map_or_else(|| ms.to_string(), |time| format!("{time:.0}"));
    let expires = match hold.expires_ms {
        Some(ms) if ms <= now_ms() => format!("expired {}", text(ms)),
        Some(ms) => format!("expires {}", text(ms)),
        None => "never expires".to_owned(),
    };
    let shard = hold.shard.map_or_else(|| "all shards".to_owned(), |shard| format!("shard {shard}"));
    let logs = match (hold.first_log, hold.last_log) {
        (None, None) => "all archives".to_owned(),
        (first, last) => format!(
            "logs {} to {}",
            first.unwrap_or(0),
            last.map_or_else(|| "the newest".to_owned(), |last| last.to_string())
        ),
    };
    println!("{}: {}; {shard}, {logs}; since {}, {expires}", hold.name, hold.reason, text(hold.created_ms));
}

/// The directory above those of the shards' archives.
fn root(config: &Config) -> &Path {
    config.wal.archive_dir.parent().unwrap_or(Path::new("."))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    u64::try_from(now).unwrap_or(u64::MAX)
}

/// More is kept than the size allows.
const EXIT_KEPT: u8 = 7;
