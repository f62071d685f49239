//! Changes core one expression at a time, and names the changes that neither the simulation nor core's own tests notice:
//! `cargo mutants --package strandline-core --config tests/mutants.toml --list --diff | mutants [WORKERS [STATES]]`.
//!
//! Exits with 1 if there are such changes.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use core::time::Duration;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use strandline_tests::planted::{Bug, Fate, Garden};

fn main() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let argument = |at| std::env::args().nth(at).and_then(|count| count.parse::<u64>().ok());
    let (workers, states) = (argument(1).unwrap_or(1), argument(2).unwrap_or(STATES));
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let changes = Bug::listed(&text);
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let work = |worker: u64| {
        let suite = Suite::new(&root, &target.join(format!("mutants-{worker}")), states)?;
        while let Some(change) = changes.get(next.fetch_add(1, Relaxed)) {
            let notice = suite.notice(change, states)?;
            tally.lock().unwrap_or_else(PoisonError::into_inner).count(change, &notice);
        }
        Ok(())
    };
    let work = &work;
    thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        let ended = |worker: ScopedJoinHandle<'_, io::Result<()>>| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker died")))
        };
        running.into_iter().try_for_each(ended)
    })?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Tally { simulation, own, unusable, unnoticed } = tally;
    println!(
        "{} changes: {simulation} noticed by the simulation, {own} by core's own tests, {unusable} don't build, {unnoticed} NOT NOTICED",
        changes.len()
    );
    Ok(if unnoticed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where changes are tried, and how long core's own tests may take there.
struct Suite {
    garden: Garden,
    patience: Duration,
}

impl Suite {
    /// Sees that nothing is found without a change; what takes several times as long as that is endless.
    fn new(root: &Path, place: &Path, states: u64) -> io::Result<Self> {
        let garden = Garden::new(root, place, PATIENCE)?;
        let built = garden.grow("posix", None, states)?;
        let begun = Instant::now();
        let fates = [built, garden.soak("posix", None, states)?, garden.soak("nor", None, states)?];
        let simulations = begun.elapsed();
        let own = garden.own_tests(PATIENCE)?;
        if own != Fate::Survived || fates.iter().any(|fate| *fate != Fate::Survived) {
            return Err(io::Error::other("something is found in the sources as they are"));
        }
        let garden = garden.with_patience(simulations * TIMES);
        Ok(Self { garden, patience: (begun.elapsed() - simulations) * TIMES })
    }

    fn notice(&self, change: &Bug, states: u64) -> io::Result<Notice> {
        let files = self.garden.grow("posix", Some(change), states)?;
        let flash = match files {
            Fate::Survived => self.garden.soak("nor", None, states)?,
            Fate::Unusable(why) => return Ok(Notice::Unusable(why)),
            found => found,
        };
        if flash != Fate::Survived {
            return Ok(Notice::Simulation);
        }
        let own = self.garden.own_tests(self.patience)?;
        Ok(if own == Fate::Survived { Notice::Nobody } else { Notice::OwnTests })
    }
}

/// Who notices a change.
enum Notice {
    Simulation,
    OwnTests,
    Unusable(String),
    Nobody,
}

#[derive(Default)]
struct Tally {
    simulation: usize,
    own: usize,
    unusable: usize,
    unnoticed: usize,
}

impl Tally {
    fn count(&mut self, change: &Bug, notice: &Notice) {
        let name = &change.name;
        match notice {
            Notice::Simulation => self.simulation += 1,
            Notice::OwnTests => self.own += 1,
            Notice::Unusable(why) => {
                self.unusable += 1;
                if why.contains("times") {
                    println!("not tried    {name}: {why}");
                }
            }
            Notice::Nobody => {
                self.unnoticed += 1;
                println!("NOT NOTICED  {name}");
            }
        }
        eprintln!("{name}");
    }
}

const STATES: u64 = 20_000;
/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How many times as long as without a change.
const TIMES: u32 = 5;
