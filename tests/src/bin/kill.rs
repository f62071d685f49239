//! Kills servers until told otherwise: `kill --rounds N [--mode always|periodic|never|all] [--seed S] [--server PATH]`.
//!
//! Exits with 1, and says where the data is, when something acknowledged is lost. Without `--server` the server is built
//! first, in the profile of this program.

use std::path::PathBuf;
use std::process::ExitCode;

use strandline_tests::kill::{Campaign, MODES};
use strandline_tests::process::build;

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
