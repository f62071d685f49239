//! The Strandline server binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    std_server::cli::run()
}
