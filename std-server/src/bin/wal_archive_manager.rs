//! The archive manager under SnelDB's name.

use std::process::ExitCode;

fn main() -> ExitCode {
    std_server::cli::archive::manager::run()
}
