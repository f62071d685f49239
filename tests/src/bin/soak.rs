//! Crashes simulated stores until told otherwise: `soak posix|nor --states N [--seed S] [--threads T] [--brief]`.
//!
//! Exits with 1 when a promise is broken, and tells the history, made as small as it gets (not with `--brief`). `SEED=n` replays
//! one world. `soak posix --exhaustive [--depth N]` tries every history of so few deeds, and every outcome of every cut.

use std::process::ExitCode;
use std::time::Instant;

use strandline_tests::exhaustive::Exhaustive;
use strandline_tests::nor;
use strandline_tests::script::Script;
use strandline_tests::soak::{AGAIN, Failed, Soak, live, report};
use strandline_tests::transcript::Transcript;

fn main() -> ExitCode {
    let brief = std::env::args().any(|argument| argument == "--brief");
    let Some((medium, soak, depth)) = arguments() else {
        eprintln!(
            "usage: soak posix|nor --states N [--seed S] [--threads T] [--brief]\n       soak posix --exhaustive [--depth N] [--threads T]\n       SEED=n soak posix|nor"
        );
        return ExitCode::from(2);
    };
    if let Some(depth) = depth {
        return if medium == "posix" { exhaustive(depth, soak.threads) } else { ExitCode::from(2) };
    }
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    match (medium.as_str(), seed) {
        ("posix", Some(seed)) => replay(seed),
        ("posix", None) => posix(&soak, brief),
        (_, Some(seed)) => replay_nor(seed),
        (_, None) => soak_nor(&soak, brief),
    }
}

/// One seed decides one history; each thread takes its own, so that one command meets the same ones whatever the machine.
fn soak_nor(soak: &Soak, brief: bool) -> ExitCode {
    let begun = Instant::now();
    let threads = soak.threads.max(1) as u64;
    let summaries: Vec<_> = std::thread::scope(|scope| {
        let run = |thread| move || nor::soak(soak.states.div_ceil(threads), soak.seed + thread, threads);
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that simulates")).collect()
    });
    let all = summaries.into_iter().fold(nor::Summary::default(), nor::Summary::and);
    println!("{all}");
    println!("{} states, seeds from {}, {:.1} s", all.cuts, soak.seed, begun.elapsed().as_secs_f64());
    match all.failure {
        None => ExitCode::SUCCESS,
        Some((seed, broken)) if brief => {
            println!("SEED={seed}\nbroken: {broken}");
            ExitCode::FAILURE
        }
        Some((seed, broken)) => {
            println!("\n{}", nor::report(&nor::Script::new(seed), &broken));
            ExitCode::FAILURE
        }
    }
}

fn replay_nor(seed: u64) -> ExitCode {
    let script = nor::Script::new(seed);
    let (lines, verdict) = nor::replay(&script);
    match verdict {
        Ok(()) => {
            println!("{}\n{}\nSEED={seed} keeps every promise", script.setup, lines.join("\n"));
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("{}", nor::report(&script, &broken));
            ExitCode::FAILURE
        }
    }
}

fn posix(soak: &Soak, brief: bool) -> ExitCode {
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

fn exhaustive(depth: u32, threads: usize) -> ExitCode {
    let outcome = Exhaustive { depth, threads }.run();
    println!("{outcome}");
    match outcome.failure {
        None => ExitCode::SUCCESS,
        Some(failed) => {
            println!("\n{failed}\n\nagain: {AGAIN} posix --exhaustive --depth {depth}");
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

fn arguments() -> Option<(String, Soak, Option<u32>)> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--brief");
    let medium = arguments.next().filter(|medium| ["posix", "nor"].contains(&medium.as_str()))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut soak = Soak { states: 200_000, seed: 1, threads };
    let mut depth = None;
    while let Some(name) = arguments.next() {
        if name == "--exhaustive" {
            depth = depth.or(Some(DEPTH));
            continue;
        }
        let value: u64 = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--states" => soak.states = value,
            "--seed" => soak.seed = value,
            "--depth" => depth = Some(u32::try_from(value).ok()?),
            "--threads" => soak.threads = usize::try_from(value).ok()?,
            _ => return None,
        }
    }
    Some((medium, soak, depth))
}

/// Deeds of a history that is tried in full, if nothing else is said.
const DEPTH: u32 = 4;
