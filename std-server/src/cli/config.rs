//! `config check` and `config show`: the configuration that `serve` would run with, under the same flags.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Subcommand;

use super::with_config;
use crate::config::Flags;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Say whether the configuration is good, what it amounts to and what may be unexpected about it
    Check(Flags),
    /// Print every setting with its value and where the value came from, as YAML that loads again
    Show(Flags),
}

pub(super) fn run(action: Action) -> ExitCode {
    match action {
        Action::Check(flags) => with_config(&flags, |loaded| print(&loaded.check())),
        Action::Show(flags) => with_config(&flags, |loaded| print(&loaded.show())),
    }
}

/// A reader that has seen enough and closed the pipe is no failure.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("stdout: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
