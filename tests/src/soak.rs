//! Runs many worlds, and makes a broken promise small enough to read.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::time::Instant;

use crate::coverage::Coverage;
use crate::oracle::Violation;
use crate::script::{Content, Deed, Op, Script};
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

/// Leaves out whatever is not needed to break the same promise, deeds and losses, and makes plainer what is.
#[must_use]
pub fn minimise(script: &Script, promise: &'static str) -> Script {
    let breaks = |tried: &Script| {
        let verdict = live(tried, Transcript::none()).1;
        verdict.is_err_and(|violation| violation.promise == promise)
    };
    let mut least = script.clone();
    // A loss that is not needed may keep a deed, and the reverse.
    for _ in 0..ROUNDS {
        let before = (least.ops.len(), least.mended.len());
        let holds = |ops: &[Op]| breaks(&Script { ops: ops.to_vec(), ..least.clone() });
        let ops = simpler(shrink(&least.ops, holds), holds);
        least.ops = without_pairs(shrink(&ops, holds), holds);
        let draws: Vec<u32> = (0..live(&least, Transcript::none()).0.coverage.draws).collect();
        let mended = |lost: &[u32]| draws.iter().copied().filter(|draw| !lost.contains(draw)).collect();
        let lost: Vec<u32> = draws.iter().copied().filter(|draw| !least.mended.contains(draw)).collect();
        let lost = shrink(&lost, |lost| breaks(&Script { mended: mended(lost), ..least.clone() }));
        let tried = Script { mended: mended(&lost), ..least.clone() };
        if breaks(&tried) {
            least = tried;
        }
        if before == (least.ops.len(), least.mended.len()) {
            break;
        }
    }
    least
}

/// The same deeds, or plainer ones in their places: what is outstanding all comes to its end, records are small.
fn simpler(mut ops: Vec<Op>, holds: impl Fn(&[Op]) -> bool) -> Vec<Op> {
    for number in 0..ops.len() {
        let deed = match ops[number].deed {
            Deed::Step => Deed::Settle,
            Deed::Append { .. } => Deed::Append { content: Content::Small, reclaim: false },
            _ => continue,
        };
        let mut tried = ops.clone();
        tried[number].deed = deed;
        if holds(&tried) {
            ops = tried;
        }
    }
    ops
}

/// Two deeds may only be needed by each other.
fn without_pairs(mut ops: Vec<Op>, holds: impl Fn(&[Op]) -> bool) -> Vec<Op> {
    let mut first = 0;
    while first < ops.len() && ops.len() <= MOST_IN_PAIRS {
        let fewer = (first + 1..ops.len()).find_map(|second| {
            let mut tried = ops.clone();
            tried.remove(second);
            tried.remove(first);
            holds(&tried).then_some(tried)
        });
        match fewer {
            Some(fewer) => (ops, first) = (fewer, 0),
            None => first += 1,
        }
    }
    ops
}

/// As few of `items`, in their order, as `holds` for: parts are left out, ever smaller ones, until no single one can be (Zeller,
/// Hildebrandt: "Simplifying and isolating failure-inducing input", 2002).
pub fn shrink<T: Clone>(items: &[T], mut holds: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut least = items.to_vec();
    let mut chunk = least.len();
    while chunk > 0 {
        let (mut from, before) = (0, least.len());
        while from < least.len() {
            let tried = [&least[..from], least.get(from + chunk..).unwrap_or_default()].concat();
            if holds(&tried) {
                least = tried;
            } else {
                from += chunk;
            }
        }
        // What one pass left out may make another one possible.
        if chunk > 1 || least.len() == before {
            chunk /= 2;
        }
    }
    least
}

/// Everything that a reader needs about a broken promise, and the command that shows it again.
#[must_use]
pub fn report(failed: &Failed) -> String {
    tell(&Script::new(failed.seed), &failed.violation)
}

/// The same for a script.
#[must_use]
pub fn tell(script: &Script, violation: &Violation) -> String {
    let least = minimise(script, violation.promise);
    let (world, verdict) = live(&least, Transcript::kept());
    let violation = verdict.err().unwrap_or_else(|| violation.clone());
    let (deeds, of) = (least.ops.len(), script.ops.len());
    format!(
        "SEED={seed}, made as small as it gets: {deeds} of {of} deeds\n{}\n\n{}\n\n{violation}\n\nagain: SEED={seed} {AGAIN} posix",
        least.setup,
        world.transcript.lines().join("\n"),
        seed = script.seed,
    )
}

/// How often deeds and losses are left out in turn.
const ROUNDS: usize = 4;
/// Of more deeds it would take too long to leave out every two.
const MOST_IN_PAIRS: usize = 40;
/// What replays a seed.
pub const AGAIN: &str = "cargo run --release -p strandline-tests --bin soak --";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_left_out() {
        let items: Vec<u32> = (0..97).collect();
        for needed in [&[][..], &[0], &[96], &[3, 4, 50], &[0, 31, 64, 96]] {
            let mut tried = 0;
            let least = shrink(&items, |items| {
                tried += 1;
                needed.iter().all(|one| items.contains(one))
            });
            assert_eq!(least, needed);
            assert!(tried < 200, "{tried} for {needed:?}");
        }
    }
}
