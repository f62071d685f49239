//! Crashes simulated stores until told otherwise: `soak posix --states N [--seed S] [--threads T] [--brief]`.
//!
//! Exits with 1, and a minimised transcript (not with `--brief`), when a promise is broken. `SEED=n` replays one world.

use std::process::ExitCode;

use strandline_tests::script::Script;
use strandline_tests::soak::{Failed, Soak, live, report};
use strandline_tests::transcript::Transcript;

fn main() -> ExitCode {
    let brief = std::env::args().any(|argument| argument == "--brief");
    let Some(soak) = arguments() else {
        eprintln!(
            "usage: soak posix --states N [--seed S] [--threads T] [--brief]\n       SEED=n soak posix"
        );
        return ExitCode::from(2);
    };
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        return replay(seed);
    }
    let outcome = soak.run();
    let seconds = outcome.took.as_secs_f64();
    let states = outcome.coverage.states;
    print!("{}", outcome.coverage);
    let last = soak.seed + outcome.worlds - 1;
    println!("{states} states, {} worlds, seeds {}..={last}, {seconds:.1} s", outcome.worlds, soak.seed);
    match outcome.failure {
        None => ExitCode::SUCCESS,
        Some(failed) if brief => {
            println!("SEED={}\n{}", failed.seed, failed.violation);
            ExitCode::FAILURE
        }
        Some(failed) => {
            println!("\n{}", report(&failed));
            ExitCode::FAILURE
        }
    }
}

fn replay(seed: u64) -> ExitCode {
    let (world, verdict) = live(&Script::new(seed), Transcript::kept());
    match verdict {
        Err(violation) => {
            println!("{}", report(&Failed { seed, violation }));
            ExitCode::FAILURE
        }
        Ok(()) => {
            println!("{}\n{}", Script::new(seed).setup, world.transcript.lines().join("\n"));
            println!("SEED={seed} keeps every promise");
            ExitCode::SUCCESS
        }
    }
}

fn arguments() -> Option<Soak> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--brief");
    arguments.next().filter(|medium| medium == "posix")?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut soak = Soak { states: 200_000, seed: 1, threads };
    while let Some(name) = arguments.next() {
        let value: u64 = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--states" => soak.states = value,
            "--seed" => soak.seed = value,
            "--threads" => soak.threads = usize::try_from(value).ok()?,
            _ => return None,
        }
    }
    Some(soak)
}
