//! `hash-password`: from a password on standard input to the hash that a configuration holds.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use crate::auth;

/// Reads one line, or all there is; the line break is not part of the password.
pub(super) fn run() -> ExitCode {
    let mut secret = Vec::new();
    if let Err(error) = io::stdin().lock().take(MAX_INPUT_BYTES).read_to_end(&mut secret) {
        eprintln!("standard input: {error}");
        return ExitCode::FAILURE;
    }
    let line = secret.strip_suffix(b"\n").unwrap_or(&secret);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.contains(&b'\n') {
        eprintln!(
            "give the password as one line on standard input, such as: std-server hash-password < FILE"
        );
        return ExitCode::FAILURE;
    }
    match auth::hash_password(line) {
        Ok(hash) => match writeln!(io::stdout(), "{hash}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("standard output: {error}");
                ExitCode::FAILURE
            }
        },
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

const MAX_INPUT_BYTES: u64 = 64 << 10;
