//! Runs many worlds, and makes a broken promise small enough to read.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::time::Instant;

use crate::coverage::Coverage;
use crate::oracle::Violation;
use crate::script::{Op, Script};
use crate::transcript::Transcript;
use crate::world::World;

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// Starts to be judged.
    pub states: u64,
    /// The first world's seed; the others follow.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was met.
    pub coverage: Coverage,
    /// Worlds that were run.
    pub worlds: u64,
    /// How long it took.
    pub took: Duration,
    /// The first broken promise that was found.
    pub failure: Option<Failed>,
}

/// A world in which a promise was broken.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Its seed.
    pub seed: u64,
    /// The promise.
    pub violation: Violation,
}

impl Soak {
    /// Runs worlds until enough starts were judged or a promise was broken.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let began = Instant::now();
        let shared = Shared {
            next: AtomicU64::new(self.seed),
            states: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        let parts: Vec<(Coverage, Option<Failed>)> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.threads.max(1)).map(|_| scope.spawn(|| self.work(&shared))).collect();
            workers.into_iter().map(|worker| worker.join().expect("a worker of the soak panicked")).collect()
        });
        let mut coverage = Coverage::default();
        for (part, _) in &parts {
            coverage.add(part);
        }
        let failure = parts.into_iter().filter_map(|(_, failed)| failed).min_by_key(|failed| failed.seed);
        let worlds = shared.next.load(Ordering::Relaxed) - self.seed;
        Outcome { coverage, worlds, took: began.elapsed(), failure }
    }

    fn work(&self, shared: &Shared) -> (Coverage, Option<Failed>) {
        let mut coverage = Coverage::default();
        while !shared.stop.load(Ordering::Relaxed) && shared.states.load(Ordering::Relaxed) < self.states {
            let seed = shared.next.fetch_add(1, Ordering::Relaxed);
            let (world, verdict) = live(&Script::new(seed), Transcript::none());
            shared.states.fetch_add(world.coverage.states, Ordering::Relaxed);
            coverage.add(&world.coverage);
            if let Err(violation) = verdict {
                shared.stop.store(true, Ordering::Relaxed);
                return (coverage, Some(Failed { seed, violation }));
            }
        }
        (coverage, None)
    }
}

struct Shared {
    next: AtomicU64,
    states: AtomicU64,
    stop: AtomicBool,
}

/// Lets one world live.
pub fn live(script: &Script, transcript: Transcript) -> (World, Result<(), Violation>) {
    let mut world = World::new(script.setup, transcript);
    let verdict = world.run(script);
    (world, verdict)
}

/// Leaves out whatever is not needed to break the same promise.
#[must_use]
pub fn minimise(script: &Script, promise: &'static str) -> Script {
    let mut least = script.clone();
    let mut chunk = least.ops.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < least.ops.len() {
            let ops: Vec<Op> =
                [&least.ops[..from], least.ops.get(from + chunk..).unwrap_or_default()].concat();
            let tried = Script { ops, ..least.clone() };
            match live(&tried, Transcript::none()).1 {
                Err(violation) if violation.promise == promise => least = tried,
                _ => from += chunk,
            }
        }
        chunk /= 2;
    }
    least
}

/// Everything that a reader needs about a broken promise.
#[must_use]
pub fn report(failed: &Failed) -> String {
    let least = minimise(&Script::new(failed.seed), failed.violation.promise);
    let (world, verdict) = live(&least, Transcript::kept());
    let violation = verdict.err().unwrap_or_else(|| failed.violation.clone());
    format!(
        "SEED={}\n{}\n\n{}\n\n{violation}\n",
        failed.seed,
        least.setup,
        world.transcript.lines().join("\n")
    )
}
