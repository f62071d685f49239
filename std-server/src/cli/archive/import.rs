//! `import`: events of SnelDB's logs, of archives and of JSON lines, into the logs of a stopped server.
//!
//! ```text
//!  1  open the logs, read what was imported before
//!  2  check every file to its end                    something is bad: it is named, and nothing is stored
//!  3  store file by file, in batches, sync           broken off here: the next import goes on behind the last batch
//! ```
//!
//! What makes it go on, and keeps events from being stored twice, is in `events/import.rs`.

use core::time::Duration;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use strandline::OpenError;
use strandline::archive::ArchiveError;

use super::sources::{Source, find};
use super::{Exit, Failure, Output};
use crate::config::{Config, Flags};
use crate::engine::{Stopped, places};
use crate::events::{Batch, Batches, Draft, Marks, Trail, Unfit, most_bytes};

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Logs of SnelDB, archives, JSON lines; of a directory all logs and archives in it and in its shards
    #[arg(required = true, value_name = "FILE|DIR")]
    from: Vec<PathBuf>,
    /// The server's data directory; the server must not run [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Leave out what is no event, and archives that are damaged; each is named, and the exit code is 4
    #[arg(long)]
    skip_bad: bool,
    /// Leave out what a server itself wrote into its archives: keys (kv.set …), log.voided, records
    #[arg(long)]
    events_only: bool,
    /// Import once more what was imported before
    #[arg(long)]
    again: bool,
}

/// The configuration of the server whose data this is.
pub(super) fn config_of(file: Option<&Path>, data_dir: Option<&Path>) -> Result<Config, Failure> {
    let flags = Flags {
        config: file.map(Path::to_path_buf),
        data_dir: data_dir.map(Path::to_path_buf),
        ..Flags::default()
    };
    let cwd = env::current_dir().unwrap_or_else(|_| PathBuf::new());
    let loaded = Config::load(&flags, env::vars_os(), &cwd);
    Ok(loaded.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?.config)
}

/// Opens the logs of the server that this configuration is of.
pub(super) fn open(config: &Config, if_it_runs: &str) -> Result<Stopped, Failure> {
    Stopped::open(config).map_err(|error| {
        let text = match &error {
            OpenError::Locked { .. } => format!("{error}: {if_it_runs}"),
            _ => error.to_string(),
        };
        Failure::new(Exit::Error, text)
    })
}

pub(super) fn run(args: &ImportArgs, config: Option<&Path>, output: Output) -> Result<Exit, Failure> {
    let config = config_of(config, args.data_dir.as_deref())?;
    let sources = find(&args.from)?;
    sources.iter().try_for_each(|source| stays(&source.path, &config))?;
    let logs = open(&config, "stop that one, or name another directory with --data-dir DIR")?;
    let done = import(args, &config, &logs, sources, output);
    let closed = logs.close().map_err(|why| Failure::new(Exit::Error, why));
    done.and_then(|exit| closed.map(|()| exit))
}

/// Refuses a file that would be put aside when the logs are opened.
fn stays(path: &Path, config: &Config) -> Result<(), Failure> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let directory = real(path).and_then(|path| path.parent().map(Path::to_path_buf));
    let is_ours = |shard| directory.is_some() && real(&places(config, shard).log) == directory;
    if !(0..config.shard_count).any(is_ours) {
        return Ok(());
    }
    let text = format!(
        "{} is in the directory of this server's own log, where files of others are put aside: move it elsewhere first",
        path.display()
    );
    Err(Failure::new(Exit::Error, text))
}

fn import(
    args: &ImportArgs,
    config: &Config,
    logs: &Stopped,
    sources: Vec<Source>,
    output: Output,
) -> Result<Exit, Failure> {
    let failed = |why: String| Failure::new(Exit::Error, why);
    let mut marks = if args.again { Marks::default() } else { Marks::read(logs.shards()).map_err(failed)? };
    let mut checked = Vec::new();
    let mut tally = Tally::new(config, logs.now_ms());
    for source in sources {
        let seen = check(&source, args, logs, &marks)?;
        tally.bad += seen.bad;
        if !args.again {
            marks.add(&seen.trail);
        }
        checked.push((source, seen));
    }
    if tally.bad > 0 && !args.skip_bad {
        return Err(Failure::new(Exit::Damaged, "nothing was stored; --skip-bad leaves out what is bad"));
    }
    for (source, seen) in &checked {
        let counts = store(source, seen, logs, &mut tally)?;
        tally.say(source, seen, &counts, output);
    }
    tally.end(output);
    Ok(if tally.bad > 0 { Exit::Damaged } else { Exit::Done })
}

/// What is in a file.
struct Seen {
    trail: Trail,
    /// Lines or entries that are no events; 1 for an archive that is damaged.
    bad: u64,
    /// What a server itself wrote.
    own: u64,
    /// Nothing of it can be used.
    is_damaged: bool,
}

/// Reads a file to its end and names what is bad in it.
fn check(source: &Source, args: &ImportArgs, logs: &Stopped, marks: &Marks) -> Result<Seen, Failure> {
    let mut seen = Seen { trail: Trail::new(logs.shards().count()), bad: 0, own: 0, is_damaged: false };
    let most = most_bytes(logs.record_bytes());
    let (path, unit) = (source.path.display(), source.unit());
    let read = source.each(|number, draft| {
        match fitting(draft, most) {
            Ok(draft) => seen.trail.pass(&draft, marks),
            Err(Unfit::Own(_)) if args.events_only => seen.own += 1,
            Err(Unfit::Own(event_type)) => {
                return Err(ArchiveError::Other(format!(
                    "{path} {unit} {number}: {event_type:?} is a type that is the server's own; nothing was stored. \
                     --events-only leaves such out"
                )));
            }
            Err(Unfit::Bad(why)) => {
                seen.bad += 1;
                eprintln!("Error: {path} {unit} {number}: {why}");
                if seen.bad == MOST_NAMED && !args.skip_bad {
                    let text = format!("{path}: {MOST_NAMED} are bad; nothing was stored");
                    return Err(ArchiveError::Other(text));
                }
            }
        }
        Ok(())
    });
    match read {
        Ok(()) => Ok(seen),
        Err(error @ (ArchiveError::Damaged { .. } | ArchiveError::Misplaced { .. })) => {
            eprintln!("Error: {error}");
            let trail = Trail::new(logs.shards().count());
            Ok(Seen { trail, bad: 1, own: 0, is_damaged: true })
        }
        Err(ArchiveError::Other(text)) if seen.bad > 0 => Err(Failure::new(Exit::Damaged, text)),
        Err(error) => Err(error.into()),
    }
}

/// An event that fits a record of the log.
fn fitting(draft: Result<Draft, Unfit>, most: usize) -> Result<Draft, Unfit> {
    let draft = draft?;
    match draft.record.len() {
        bytes if bytes > most => Err(Unfit::Bad(format!(
            "the event takes {bytes} bytes, and {most} fit this log: raise persistence.wal.max_size_mb"
        ))),
        _ => Ok(draft),
    }
}

/// What became of the events of a file.
#[derive(Default)]
struct Counts {
    stored: u64,
    already: u64,
}

/// Stores what is new in a file, durably.
fn store(source: &Source, seen: &Seen, logs: &Stopped, tally: &mut Tally) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    if seen.is_damaged {
        return Ok(counts);
    }
    let name = source.name();
    let most = most_bytes(logs.record_bytes());
    let mut batches = Batches::new(logs.shards(), &name, &seen.trail, logs.record_bytes());
    let mut put = |batch: Batch| {
        logs.append(&batch.groups).map_err(ArchiveError::Other)?;
        counts.stored += batch.events as u64;
        Ok(())
    };
    let read = source.each(|_, draft| {
        // What is left out was named before.
        let Ok(draft) = fitting(draft, most) else { return Ok(()) };
        let time_ms = draft.timestamp_ms();
        let is_new = batches.take(draft, &mut put)?;
        tally.old += u64::from(is_new && time_ms < tally.old_before_ms);
        Ok(())
    });
    let last = read.and_then(|()| put(batches.end()));
    let same = match batches.trail().agrees(&seen.trail) {
        true => Ok(()),
        false => Err(ArchiveError::Other("the file was changed while it was read".to_owned())),
    };
    let synced = logs.sync().map_err(ArchiveError::Other);
    if let Err(error) = last.and(same).and(synced) {
        let text = format!(
            "{}: {error}; {} events of it were stored before that, and the next import goes on behind them",
            source.path.display(),
            counts.stored
        );
        return Err(Failure::new(Exit::Error, text));
    }
    counts.already = seen.trail.count() - counts.stored;
    Ok(counts)
}

/// What is said of the whole import.
struct Tally {
    files: Vec<Value>,
    stored: u64,
    already: u64,
    own: u64,
    bad: u64,
    /// Events that are older than what the configuration keeps.
    old: u64,
    old_before_ms: u64,
}

impl Tally {
    fn new(config: &Config, now_ms: u64) -> Self {
        let kept = config.history.keep_events.filter(|_| !config.wal.conservative_mode);
        let ms = |kept: Duration| u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let old_before_ms = kept.map_or(0, |kept| now_ms.saturating_sub(ms(kept)));
        Self { files: Vec::new(), stored: 0, already: 0, own: 0, bad: 0, old: 0, old_before_ms }
    }

    fn say(&mut self, source: &Source, seen: &Seen, counts: &Counts, output: Output) {
        self.stored += counts.stored;
        self.already += counts.already;
        self.own += seen.own;
        let (path, Counts { stored, already }) = (source.path.display(), counts);
        let line = json!({
            "path": path.to_string(), "stored": stored, "already": already, "own": seen.own, "bad": seen.bad,
        });
        match output {
            Output::Table if seen.is_damaged => println!("{path}: damaged, left out"),
            Output::Table => println!("{path}: {}", sentence(*stored, *already, seen.own, seen.bad)),
            Output::Json => self.files.push(line),
            Output::Jsonl => println!("{line}"),
        }
    }

    fn end(&self, output: Output) {
        match output {
            Output::Table => {
                println!("{}", sentence(self.stored, self.already, self.own, self.bad));
            }
            Output::Json => println!("{}", Value::from_iter(self.files.iter().cloned())),
            Output::Jsonl => {}
        }
        if self.old > 0 {
            eprintln!("Note: {} events are older than events.keep: the server lets go of them", self.old);
        }
    }
}

fn sentence(stored: u64, already: u64, own: u64, bad: u64) -> String {
    let mut text = format!("{stored} events imported");
    for (count, what) in
        [(already, "were imported before"), (own, "of the server's own left out"), (bad, "bad left out")]
    {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// Without `--skip-bad` a file is given up after so many.
const MOST_NAMED: u64 = 10;
