//! The gate's share of the simulation: 200,000 crashed and recovered states, and every case met on the way.
//!
//! `SEED=n` begins with another world; `cargo run --release -p strandline-tests --bin soak -- posix --states N` runs more.

use strandline_tests::script::Script;
use strandline_tests::soak::{Outcome, Soak, live, report};
use strandline_tests::transcript::Transcript;

const STATES: u64 = 200_000;

/// Cases without which the run would prove little.
const CASES: [&str; 30] = [
    "append: busy",
    "append: full",
    "append: halted",
    "append: needs a buffer",
    "append: taken",
    "append: too large",
    "event: full",
    "event: halted",
    "event: healed",
    "event: released",
    "event: revised",
    "event: rotated",
    "event: snapshot kept",
    "refused: a call failed",
    "refused: corrupt",
    "refused: no manifest",
    "refused: rolled back",
    "refused: unreadable",
    "refused: unstable",
    "report: a tail was written again",
    "report: bytes were void",
    "report: damage that is not needed",
    "report: fell back to an older snapshot",
    "report: from a snapshot",
    "report: sealed",
    "start: cut short",
    "verdict: clean",
    "verdict: fenced on the way",
    "verdict: rotated on the way",
    "verdict: torn",
];

#[test]
fn every_promise_is_kept_and_every_case_is_met() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let Outcome { coverage, took, failure, .. } = Soak { states: STATES, seed, threads }.run();
    println!("{coverage}\n{} states in {took:.1?}", coverage.states);
    if let Some(failed) = failure {
        panic!("{}", report(&failed));
    }
    for case in CASES {
        assert!(coverage.of(case) > 0, "not met: {case}\n{coverage}");
    }
}

#[test]
fn a_seed_replays_to_the_last_line() {
    for seed in [3, 11, 29] {
        let [first, again] = [0, 1].map(|_| live(&Script::new(seed), Transcript::kept()).0.transcript);
        assert!(first.lines().len() > 20);
        assert_eq!(first.lines(), again.lines());
    }
}
