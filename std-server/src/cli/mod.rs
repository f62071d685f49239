//! The command line of `std-server`.
//!
//! ```text
//!   std-server [serve] [FLAGS]          `serve` is given the loaded configuration
//!   std-server config check [FLAGS]     config.rs
//!   std-server config show  [FLAGS]     config.rs
//! ```
//!
//! A new subcommand is one variant of `Command` and one file beside this one.

mod config;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Flags, Loaded};

/// Runs the command that the arguments of this process ask for; `serve` runs the server until it ends.
pub fn run(serve: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => with_config(&args.flags, serve),
        Command::Config { action } => config::run(action),
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
    /// Check or show the configuration
    Config {
        #[command(subcommand)]
        action: config::Action,
    },
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    flags: Flags,
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
