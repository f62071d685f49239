//! The command line of `std-server`.
//!
//! ```text
//!   std-server [serve] [FLAGS] [--discard-from LSN]     ../serve.rs
//!   std-server verify [--json] [FLAGS]                  verify.rs
//!   std-server repair [--apply] [FLAGS]                 repair.rs
//!   std-server verify DUMP                              flash.rs
//!   std-server inspect FILE                             inspect.rs, flash.rs
//!   std-server archive WORD ...                         archive/
//!   std-server completions SHELL, man DIR               generate.rs
//!   std-server import-device --from PATH --out DIR      import_device.rs
//!   std-server retention [plan|apply] [FLAGS]           retention.rs
//!   std-server hold add|list|remove [FLAGS]             retention.rs
//!   std-server config check [FLAGS]                     config.rs
//!   std-server config show  [FLAGS]                     config.rs
//!   std-server hash-password                            hash_password.rs
//! ```
//!
//! A new subcommand is one variant of `Command` and one file beside this one.

#[macro_use]
mod output;

pub mod archive;
mod checkup;
mod config;
mod flash;
mod generate;
mod hash_password;
mod import_device;
mod inspect;
mod progress;
mod repair;
mod retention;
mod verify;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Flags, Loaded};
use crate::serve;

/// Runs the command that the arguments of this process ask for.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => with_config(&args.flags, |loaded| serve::run(&loaded, args.discard_from)),
        Command::Verify(VerifyArgs { place: Some(dump), json: false, .. }) if !dump.is_dir() => {
            flash::verify(&dump)
        }
        Command::Verify(args) => {
            with_config(&in_directory(args.flags, args.place), |loaded| verify::run(&loaded, args.json))
        }
        Command::Repair(args) => {
            with_config(&in_directory(args.flags, args.directory), |loaded| repair::run(&loaded, args.apply))
        }
        Command::Inspect { file } => flash::inspect(&file).unwrap_or_else(|| inspect::run(&file)),
        Command::Archive(args) => archive::run(&args),
        Command::Generate(generate) => generate.run(<Cli as clap::CommandFactory>::command()),
        Command::ImportDevice(args) => import_device::run(&args),
        Command::Retention(args) => with_config(args.flags(), |loaded| args.run(&loaded)),
        Command::Hold { action } => with_config(&action.flags().clone(), |loaded| action.run(&loaded)),
        Command::Config { action } => config::run(action),
        Command::HashPassword => hash_password::run(),
    }
}

/// Durable key-value server over the Strandline log: HTTP and Redis protocol.
#[derive(Debug, Parser)]
#[command(name = "std-server", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (also without this word)
    Serve(ServeArgs),
    /// Read everything that is kept, change nothing, and say whether it is intact: exit code 0 (intact, or an unfinished
    /// tail), 1 (damaged), 2 (can't be read)
    Verify(VerifyArgs),
    /// Say what would go past everything that is damaged, and what is lost by it; with --apply, do it: exit code 0 (nothing to do,
    /// or all of it done), 1 (there is something to do, or damage remains), 2 (can't be read)
    Repair(RepairArgs),
    /// Print one line for each frame of a segment, a manifest file, a snapshot, or a dump of a flash partition
    Inspect {
        /// The file
        file: PathBuf,
    },
    /// Read, verify, export, make and compare archives: exit code 0 (done), 1 (error), 2 (usage), 3 (not found), 4 (damaged),
    /// 5 (archives are missing in the middle)
    Archive(archive::ArchiveArgs),
    #[command(flatten)]
    Generate(generate::Generate),
    /// Take a device's log over a serial line, a FIFO or from a captured file, and keep it as an archive: exit code 0 (everything
    /// is there), 1 (not)
    ImportDevice(import_device::ImportArgs),
    /// Say which archives the rules delete, and why; or delete them: exit code 0, 1 if something can't be read, or 7 if recovery,
    /// holds or the other rules keep more than the size allows
    Retention(retention::RetentionArgs),
    /// Name archives that are kept whatever the rules say
    Hold {
        #[command(subcommand)]
        action: retention::HoldAction,
    },
    /// Check or show the configuration
    Config {
        #[command(subcommand)]
        action: config::Action,
    },
    /// Read a password from standard input, and print the hash of it that a configuration holds
    HashPassword,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// A data directory, as --data-dir says it, or a dump of a flash partition
    #[arg(value_name = "DIR|DUMP", conflicts_with = "data_dir")]
    place: Option<PathBuf>,
    /// Print one JSON object; not of a dump
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Args)]
struct RepairArgs {
    /// A data directory, as --data-dir says it
    #[arg(value_name = "DIR", conflicts_with = "data_dir")]
    directory: Option<PathBuf>,
    /// Do what is said without this flag; what is removed is kept in quarantine/, and what is lost is recorded for ever
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    flags: Flags,
    /// Go on without the settled records from here on, which are damaged: exactly the LSN that a refused start names
    #[arg(long, value_name = "LSN")]
    discard_from: Option<u64>,
}

/// The flags, over a data directory that was named without one.
fn in_directory(flags: Flags, directory: Option<PathBuf>) -> Flags {
    Flags { data_dir: directory.or(flags.data_dir), ..flags }
}

/// Loads the configuration and hands it to `then`; an error goes to stderr.
fn with_config(flags: &Flags, then: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    // Without a working directory relative paths stay relative, and fail where they are used, by name.
    let cwd = env::current_dir().unwrap_or_else(|_| PathBuf::new());
    match Config::load(flags, env::vars_os(), &cwd) {
        Ok(loaded) => then(loaded),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Wrong flags or a wrong configuration, as clap has it for the flags it refuses itself.
const EXIT_USAGE: u8 = 2;
