//! Kills servers until told otherwise: `kill --rounds N [--mode always|periodic|never|all] [--seed S] [--server PATH]`.
//!
//! Exits with 1, and says where the data is, when something acknowledged is lost. Without `--server` the server is built
//! first, in the profile of this program.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use strandline_tests::kill::{Campaign, MODES};

fn main() -> ExitCode {
    let Some(wanted) = arguments() else {
        eprintln!("usage: kill --rounds N [--mode always|periodic|never|all] [--seed S] [--server PATH]");
        return ExitCode::from(2);
    };
    let server = match wanted.server.map_or_else(build, Ok) {
        Ok(server) => server,
        Err(why) => {
            eprintln!("kill: {why}");
            return ExitCode::from(2);
        }
    };
    for mode in wanted.modes {
        let place = std::env::temp_dir().join(format!("strandline-kill-{}-{mode}", std::process::id()));
        let campaign = Campaign {
            server: server.clone(),
            place,
            mode: mode.into(),
            rounds: wanted.rounds,
            seed: wanted.seed,
        };
        let ran = campaign.run(|tally| {
            if tally.rounds.is_multiple_of(10) {
                println!("{mode}: {tally}");
            }
        });
        match ran {
            Ok(tally) => println!("{mode}: {tally}; nothing lost (seed {})", wanted.seed),
            Err(loss) => {
                println!("{mode}, seed {}: {loss}", wanted.seed);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

struct Wanted {
    rounds: u32,
    modes: Vec<&'static str>,
    seed: u64,
    server: Option<PathBuf>,
}

fn arguments() -> Option<Wanted> {
    let mut wanted = Wanted { rounds: 100, modes: MODES.to_vec(), seed: 1, server: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--rounds" => wanted.rounds = value.parse().ok()?,
            "--seed" => wanted.seed = value.parse().ok()?,
            "--server" => wanted.server = Some(value.into()),
            "--mode" if value == "all" => wanted.modes = MODES.to_vec(),
            "--mode" => wanted.modes = vec![MODES.iter().copied().find(|mode| *mode == value)?],
            _ => return None,
        }
    }
    Some(wanted)
}

/// Builds the server beside this program.
fn build() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let directory = own.parent().unwrap_or(Path::new("."));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "-q", "-p", "std-server"]).args((!cfg!(debug_assertions)).then_some("--release"));
    match cargo.status() {
        Ok(status) if status.success() => Ok(directory.join("std-server")),
        Ok(status) => Err(format!("the server does not build: {status}")),
        Err(error) => Err(format!("cargo can't be run: {error}; name a server with --server PATH")),
    }
}
