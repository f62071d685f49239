//! `completions SHELL` and `man DIR`, made from the same description of the command line that parses it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, FromArgMatches, Subcommand};
use clap_complete::Shell;

#[derive(Debug, Subcommand)]
pub(super) enum Generate {
    /// Print a script that completes commands in a shell
    #[command(
        after_help = "Example:\n  std-server completions bash > ~/.local/share/bash-completion/completions/std-server"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages
    #[command(after_help = "Example:\n  std-server man ~/.local/share/man/man1")]
    Man {
        /// Where to; made if it is not there
        directory: PathBuf,
    },
}

impl Generate {
    pub(super) fn run(&self, mut command: Command) -> ExitCode {
        let name = command.get_name().to_owned();
        match self {
            Self::Completions { shell } => {
                clap_complete::generate(*shell, &mut command, name, &mut io::stdout());
                ExitCode::SUCCESS
            }
            Self::Man { directory } => match pages(command, directory) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{name}: {}: {error}", directory.display());
                    ExitCode::FAILURE
                }
            },
        }
    }

    /// For a program whose command line does not have these words itself.
    pub(super) fn run_for(
        name: &'static str,
        command: Command,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> ExitCode {
        let own = Self::augment_subcommands(Command::new(name));
        let parsed = own.try_get_matches_from(arguments).and_then(|found| Self::from_arg_matches(&found));
        match parsed {
            Ok(generate) => generate.run(command),
            Err(error) => error.exit(),
        }
    }
}

fn pages(command: Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)
}
