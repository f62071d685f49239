//! `std-server archive`, and the same commands as `wal_archive_manager`.
//!
//! ```text
//!   list SHARD · info FILE · export FILE OUT · recover SHARD · archive SHARD LOG     SnelDB's words          words.rs, take.rs
//!   verify · cat · grep · diff                                                       read                    verify.rs, read.rs, diff.rs
//!   convert                                                                          writes archives         convert.rs
//!   import · now                                                                     a stopped server's data import.rs, now.rs
//! ```
//!
//! | exit | means |
//! |---|---|
//! | 0 | done |
//! | 1 | an error; of `diff`: they differ |
//! | 2 | wrong arguments or configuration |
//! | 3 | the archive, or what was looked for, is not there |
//! | 4 | an archive is damaged |
//! | 5 | archives are missing in the middle |
//!
//! SnelDB's words under SnelDB's name have only 0 and 1 (`manager.rs`).

mod convert;
mod diff;
mod export;
mod import;
mod lines;
pub mod manager;
mod now;
#[cfg(feature = "parquet")]
mod parquet;
mod places;
mod read;
mod select;
mod sources;
mod take;
mod verify;
mod words;

use core::str::FromStr;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use strandline::archive::{ArchiveError, Level};

use super::progress;
use export::Format;
use import::ImportArgs;
use now::NowArgs;
use places::{PlaceFlags, Places};
use select::Select;

#[derive(Debug, Args)]
pub(super) struct ArchiveArgs {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Shared {
    #[command(flatten)]
    places: PlaceFlags,
    /// How to print what is not entries
    #[arg(long, value_enum, global = true, default_value = "table", value_name = "HOW")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Lines for people; those of SnelDB's words are SnelDB's
    Table,
    /// One JSON value
    Json,
    /// One JSON value a line
    Jsonl,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all archives of a shard
    #[command(after_help = "Example:\n  std-server archive list 0 --archive-dir data/archives")]
    List {
        /// Number of the shard
        #[arg(value_name = "SHARD")]
        shard: u64,
    },
    /// Show what an archive says of itself, and its first entries
    #[command(after_help = "Example:\n  std-server archive info data/archives/shard-0/wal-00001-0-0.wal.zst")]
    Info {
        /// The archive
        archive: PathBuf,
    },
    /// Write the entries of an archive into a file
    #[command(after_help = "Examples:\n  std-server archive export FILE events.json\n  \
        std-server archive export FILE - --format jsonl --from 2026-01-01T00:00:00Z --type purchase")]
    Export {
        /// The archive
        archive: PathBuf,
        /// Where to; `-` for standard output
        #[arg(value_name = "OUT")]
        to: PathBuf,
        /// As what [default: as the name of the file ends, else JSON]
        #[arg(long, value_enum)]
        format: Option<Format>,
        #[command(flatten)]
        select: Select,
    },
    /// Read everything that the archives of a shard hold
    #[command(
        after_help = "Examples:\n  std-server archive recover 0\n  std-server archive recover 0 --to recovered"
    )]
    Recover {
        /// Number of the shard
        #[arg(value_name = "SHARD")]
        shard: u64,
        /// Write what is recovered into this directory, a log of JSON lines for each archive
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Archive a log that SnelDB wrote
    #[command(
        after_help = "Example:\n  std-server archive archive 0 5 --wal-dir data/wal --archive-dir data/archives"
    )]
    Archive {
        /// Number of the shard
        #[arg(value_name = "SHARD")]
        shard: u64,
        /// Number of the log
        #[arg(value_name = "LOG")]
        log: u64,
        #[command(flatten)]
        how: Writing,
    },
    /// Verify archives, and that none is missing between them
    #[command(
        after_help = "Examples:\n  std-server archive verify 0\n  std-server archive verify --level quick FILE FILE"
    )]
    Verify {
        /// Shards by number, archives, or directories of archives
        #[arg(required = true, value_name = "SHARD|FILE|DIR")]
        targets: Vec<Target>,
        /// How much of them
        #[arg(long, value_enum, default_value = "full")]
        level: LevelWord,
    },
    /// Print entries as JSON lines
    #[command(after_help = "Example:\n  std-server archive cat 0 --lsn 100..200")]
    Cat {
        /// Shards by number, archives, or directories of archives
        #[arg(required = true, value_name = "SHARD|FILE|DIR")]
        targets: Vec<Target>,
        #[command(flatten)]
        select: Select,
    },
    /// Print the entries that match, as JSON lines; exit code 3 if none does
    #[command(after_help = "Example:\n  std-server archive grep 0 --type purchase --field sku=sku-594")]
    Grep {
        /// Shards by number, archives, or directories of archives
        #[arg(required = true, value_name = "SHARD|FILE|DIR")]
        targets: Vec<Target>,
        #[command(flatten)]
        select: Select,
        /// Only how many there are
        #[arg(long)]
        count: bool,
    },
    /// Write archives of SnelDB, or of other settings, once more as ours
    #[command(after_help = "Example:\n  std-server archive convert old/shard-0 --to new/shard-0")]
    Convert {
        /// An archive, or a directory of archives
        from: PathBuf,
        /// The directory of the new ones; made if it is not there
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        #[command(flatten)]
        how: Writing,
    },
    /// Store the events of SnelDB's logs, of archives and of JSON lines in the data of a stopped server, each once
    #[command(
        after_help = "Examples:\n  std-server archive import --data-dir data wal/shard-0 archived/shard-0\n  \
        std-server archive import --data-dir data events.jsonl --skip-bad"
    )]
    Import(ImportArgs),
    /// Archive everything that the logs of a stopped server hold; a running one is asked by POST /archives/now
    #[command(after_help = "Example:\n  std-server archive now --data-dir data")]
    Now(NowArgs),
    /// Compare the entries of two archives; exit code 1 if they differ
    #[command(after_help = "Example:\n  std-server archive diff old.wal.zst new.wal.zst")]
    Diff {
        /// An archive
        left: PathBuf,
        /// Another one
        right: PathBuf,
    },
}

/// How archives are written.
#[derive(Debug, Args)]
struct Writing {
    /// zstd's level, 1 to 22 [default: the configuration's]
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: Option<i32>,
    /// KiB of a block before compression
    #[arg(long, default_value = "64", value_name = "KIB", value_parser = clap::value_parser!(u32).range(1..=16384))]
    block_kib: u32,
    /// Only values that SnelDB's own reader takes; others become strings
    #[arg(long)]
    strict_v1: bool,
}

impl Writing {
    fn settings(&self, places: &Places) -> strandline::archive::Writing {
        strandline::archive::Writing {
            level: Some(self.level.unwrap_or(places.level)),
            block_bytes: self.block_kib as usize * 1024,
            strict_v1: self.strict_v1,
        }
    }
}

/// How much to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LevelWord {
    /// The ends of the files, their sizes and headers
    Quick,
    /// The checksums of all blocks as well
    Blocks,
    /// Every entry as well, and the chain of digests
    Full,
}

impl From<LevelWord> for Level {
    fn from(word: LevelWord) -> Self {
        match word {
            LevelWord::Quick => Self::Quick,
            LevelWord::Blocks => Self::Blocks,
            LevelWord::Full => Self::Full,
        }
    }
}

/// A shard, or a path.
#[derive(Debug, Clone)]
enum Target {
    Shard(u64),
    Path(PathBuf),
}

impl FromStr for Target {
    type Err = core::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(word.parse().map_or_else(|_| Self::Path(word.into()), Self::Shard))
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exit {
    Done = 0,
    Error = 1,
    Usage = 2,
    NotFound = 3,
    Gap = 5,
    Damaged = 4,
}

/// Why a command ended early.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    /// Whether whoever read our output has seen enough.
    fn io(what: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Done, ""),
            io::ErrorKind::NotFound => Self::new(Exit::NotFound, format!("{what}: {error}")),
            _ => Self::new(Exit::Error, format!("{what}: {error}")),
        }
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let exit = match &error {
            ArchiveError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            ArchiveError::Damaged { .. } | ArchiveError::Misplaced { .. } => Exit::Damaged,
            ArchiveError::NoLsns(_) => Exit::Usage,
            ArchiveError::Other(text) if text == SEEN_ENOUGH => return Self::new(Exit::Done, ""),
            _ => Exit::Error,
        };
        Self::new(exit, error.to_string())
    }
}

/// The error of an output that was closed by its reader, on its way through a reading of entries.
const SEEN_ENOUGH: &str = "the reader of the output has seen enough";

/// Makes an error of the output one of the reading.
fn output_error(error: &io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => ArchiveError::Other(SEEN_ENOUGH.into()),
        // Of an entry that can't be written, not of what it is written to.
        io::ErrorKind::InvalidData => ArchiveError::Other(error.to_string()),
        _ => ArchiveError::Other(format!("cannot write the output: {error}")),
    }
}

pub(super) fn run(args: &ArchiveArgs) -> ExitCode {
    ExitCode::from(ended(execute(args)) as u8)
}

/// Says why a command ended early.
fn ended(result: Result<Exit, Failure>) -> Exit {
    result.unwrap_or_else(|failure| {
        if !failure.text.is_empty() {
            eprintln!("Error: {}", failure.text);
        }
        failure.exit
    })
}

fn execute(args: &ArchiveArgs) -> Result<Exit, Failure> {
    let Shared { places: flags, output } = &args.shared;
    let (output, places) = (*output, || Places::find(flags));
    match &args.command {
        Command::List { shard } => words::list(&places()?, *shard, output),
        Command::Info { archive } => words::info(archive, output),
        Command::Export { archive, to, format, select } => words::export(archive, to, *format, select),
        Command::Recover { shard, to } => words::recover(&places()?, *shard, to.as_deref(), output),
        Command::Archive { shard, log, how } => take::archive(&places()?, *shard, *log, how),
        Command::Verify { targets, level } => verify::run(&places()?, targets, (*level).into(), output),
        Command::Cat { targets, select } => read::cat(&places()?, targets, select),
        Command::Grep { targets, select, count } => read::grep(&places()?, targets, select, *count),
        Command::Convert { from, to, how } => convert::run(&places()?, from, to, how),
        Command::Import(args) => import::run(args, flags.configuration()?, output),
        Command::Now(args) => now::run(args, flags.configuration()?, output),
        Command::Diff { left, right } => diff::run(left, right),
    }
}
