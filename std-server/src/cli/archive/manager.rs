//! `wal_archive_manager`: the commands of `std-server archive` under SnelDB's name.
//!
//! SnelDB's five words take SnelDB's arguments, print its lines and end with 0 or 1, also when arguments are wrong; all else is as
//! in `std-server archive`.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use super::{ArchiveArgs, Exit, ended, execute};
use crate::cli::generate::Generate;

/// Reads, makes and verifies archives of logs.
#[derive(Debug, Parser)]
#[command(name = "wal_archive_manager", version, disable_help_subcommand = true)]
struct Manager {
    #[command(flatten)]
    archive: ArchiveArgs,
}

/// Runs what the arguments of this process ask for.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let word = arguments.first().map(|word| word.to_string_lossy().into_owned());
    match word.as_deref() {
        None => {
            usage();
            return ExitCode::FAILURE;
        }
        Some("help" | "--help" | "-h") => {
            usage();
            return ExitCode::SUCCESS;
        }
        Some("completions" | "man") => {
            return Generate::run_for("wal_archive_manager", Manager::command(), env::args_os());
        }
        Some(_) => {}
    }
    let sneldbs = arguments.iter().find_map(|word| WORDS.iter().find(|(known, _)| *word == **known));
    match Manager::try_parse_from(env::args_os()) {
        Ok(manager) => {
            let exit = ended(execute(&manager.archive));
            let exit = if sneldbs.is_some() { exit.min(Exit::Error) } else { exit };
            ExitCode::from(exit as u8)
        }
        Err(error) => refused(&error, sneldbs.map(|(_, arguments)| *arguments)),
    }
}

/// Says what is wrong with the arguments; `wanted` names those of SnelDB's word.
fn refused(error: &clap::Error, wanted: Option<&str>) -> ExitCode {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    match (error.kind(), wanted) {
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => {
            // A closed output has no use for help.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        (ErrorKind::MissingRequiredArgument, Some(wanted)) => {
            eprintln!("Error: Missing {wanted} argument");
            usage();
        }
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(_)) => {
            let what = said(ContextKind::InvalidArg);
            let what = what.replace("<SHARD>", "shard_id").replace("<LOG>", "log_id");
            eprintln!("Error: Invalid {what}: {:?}", said(ContextKind::InvalidValue));
        }
        (ErrorKind::InvalidSubcommand, _) => {
            eprintln!("Error: Unknown command '{}'", said(ContextKind::InvalidSubcommand));
            usage();
        }
        (_, Some(_)) => eprint!("Error: {}", error.to_string().trim_start_matches("error: ")),
        (_, None) => {
            let _ = error.print();
            return ExitCode::from(Exit::Usage as u8);
        }
    }
    ExitCode::FAILURE
}

fn usage() {
    println!("{}", USAGE.trim_end());
}

/// SnelDB's words, and what it calls their arguments.
const WORDS: [(&str, &str); 5] = [
    ("list", "shard_id"),
    ("info", "archive_path"),
    ("export", "archive_path or output_path"),
    ("recover", "shard_id"),
    ("archive", "shard_id or log_id"),
];

/// SnelDB's, and what there is beside it.
const USAGE: &str = "\
WAL Archive Manager

Usage:
  wal_archive_manager <command> [args]

Commands:
  list <shard_id>                    - List all archives for a shard
  info <archive_path>                - Show detailed info about an archive
  export <archive_path> <output.json> - Export archive to JSON
  recover <shard_id>                 - Recover all entries from archives
  archive <shard_id> <log_id>        - Manually archive a WAL log file

Examples:
  wal_archive_manager list 0
  wal_archive_manager info ../data/wal/archived/shard-0/wal-00001-1700000000-1700003600.wal.zst
  wal_archive_manager export archive.wal.zst output.json
  wal_archive_manager recover 0
  wal_archive_manager archive 0 5

More commands, each with --help:
  verify, cat, grep, diff, convert, import, now, completions, man

Places, for every command:
  --config <file>, or SNELDB_CONFIG   - Configuration of SnelDB or Strandline
  --archive-dir <dir>, --wal-dir <dir>
";
