//! The Strandline server binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    std_server::cli::run(|_loaded| {
        eprintln!(
            "std-server: this build holds the configuration commands only; see `std-server config --help`"
        );
        ExitCode::FAILURE
    })
}
