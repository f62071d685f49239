//! Kills a real server again and again while clients write, and checks what comes back.
//!
//! ```text
//!        ┌─────────────────────────── a round ───────────────────────────────┐
//!  start ─► writers ║ observer ║ snapshots ─► kill -9 ─► (start ─► kill -9)* ─► start ─► check ─► …
//!               └──────── ledger: sent, kept ──────────────────────────────────────────────┘
//! ```
//!
//! Eight writers own their keys, so each of them knows what its keys may hold: at least what was acknowledged or seen,
//! at most what was sent. Two counters belong to all of them: an increment that is lost or applied twice shows. Segments are as small as they can be and snapshots follow each other, so that every kill
//! meets rotation, release or a snapshot at work. The moments come from the seed; what the system makes of them does not.

pub mod ledger;
mod verify;
mod writer;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use self::ledger::Ledger;
use self::writer::Load;
use crate::chance::Chance;
use crate::process::{Server, Setup};

/// The modes that a server can be in.
pub const MODES: [&str; 3] = ["always", "periodic", "never"];

/// What to do.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The binary.
    pub server: PathBuf,
    /// A directory for the data; it is removed unless something was lost.
    pub place: PathBuf,
    /// One of [`MODES`].
    pub mode: String,
    /// Kills under load.
    pub rounds: u32,
    /// Where chance begins.
    pub seed: u64,
}

/// What was met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Kills under load.
    pub rounds: u32,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes whose fate nobody was told.
    pub unknown: u64,
    /// Kills while the server was recovering, or even earlier.
    pub cut_recoveries: u32,
    /// Restarts that found an unfinished tail.
    pub torn: u32,
    /// Restarts that began from a snapshot.
    pub from_snapshot: u32,
    /// Snapshots that were answered for.
    pub snapshots: u64,
}

/// A broken promise, and where its evidence is.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The round, from 1.
    pub round: u32,
    /// What is wrong, one line each.
    pub wrong: Vec<String>,
    /// The data as the last kill left it (`killed`), and as it is now (`data`).
    pub place: PathBuf,
}

impl Campaign {
    /// Runs every round; `watch` hears after each.
    ///
    /// # Errors
    /// Something acknowledged is not there, something is there that can't be, or the server did not start or ended by
    /// itself.
    pub fn run(&self, mut watch: impl FnMut(&Tally)) -> Result<Tally, Loss> {
        let mut run = Run {
            campaign: self,
            setup: self.setup(),
            chance: Chance::new(self.seed),
            ledger: Ledger::new(WRITERS),
            tally: Tally::default(),
        };
        let ran = run.all(&mut watch);
        ran.map_err(|wrong| Loss { round: run.tally.rounds, wrong, place: self.place.clone() })?;
        // The next campaign begins with a directory of its own.
        drop(fs::remove_dir_all(&self.place));
        Ok(run.tally)
    }

    fn setup(&self) -> Setup {
        Setup::new(&self.server, self.place.join("data"))
            .mode(&self.mode)
            .set("persistence.wal.max_size_mb", 1)
            .set("persistence.snapshot.operation_threshold", 4000)
            .set("persistence.snapshot.keep_count", 2)
    }
}

struct Run<'c> {
    campaign: &'c Campaign,
    setup: Setup,
    chance: Chance,
    ledger: Ledger,
    tally: Tally,
}

type Checked<T> = Result<T, Vec<String>>;

impl Run<'_> {
    fn all(&mut self, watch: &mut impl FnMut(&Tally)) -> Checked<()> {
        fs::create_dir_all(&self.campaign.place).map_err(said)?;
        let mut server = self.setup.start().map_err(said)?;
        for _ in 0..self.campaign.rounds {
            self.tally.rounds += 1;
            self.load(server)?;
            self.cut_recoveries()?;
            server = self.restart()?;
            watch(&self.tally);
        }
        let ended = server.stop();
        if ended.code() != Some(0) {
            return Err(vec![format!("SIGTERM: {ended}")]);
        }
        let server = self.restart()?;
        drop(server.stop());
        Ok(())
    }

    /// Writes until the moment has come, and kills.
    fn load(&mut self, server: Server) -> Checked<()> {
        let lifetime = Duration::from_millis(self.chance.between(5, LONGEST_LIFE_MS) as u64);
        let load = Load {
            http: server.http(),
            resp: server.resp(),
            ledger: &self.ledger,
            stop: &AtomicBool::new(false),
            acknowledged: &AtomicU64::new(0),
            snapshots: &AtomicU64::new(0),
        };
        let seeds: Vec<u64> = (0..WRITERS + 2).map(|_| self.chance.bits()).collect();
        let (ended, wrong) = thread::scope(|scope| {
            let workers: Vec<_> = seeds
                .iter()
                .enumerate()
                .map(|(number, seed)| {
                    scope.spawn(move || match number {
                        0..WRITERS => writer::write(load, number, Chance::new(*seed)),
                        WRITERS => writer::observe(load, Chance::new(*seed)),
                        _ => writer::take_snapshots(load, Chance::new(*seed)),
                    })
                })
                .collect();
            thread::sleep(lifetime);
            let ended = server.kill();
            load.stop.store(true, Relaxed);
            let wrong: Vec<String> = workers
                .into_iter()
                .filter_map(|worker| worker.join().unwrap_or_else(panicked).err())
                .collect();
            (ended, wrong)
        });
        self.tally.acknowledged += load.acknowledged.load(Relaxed);
        self.tally.snapshots += load.snapshots.load(Relaxed);
        self.tally.unknown += self.ledger.unknown();
        match ended.signal() {
            Some(SIGKILL) if wrong.is_empty() => self.keep_evidence(),
            Some(SIGKILL) => Err(wrong),
            _ => Err(wrong.into_iter().chain([format!("the server ended by itself: {ended}")]).collect()),
        }
    }

    /// One round in three, the next starts are killed before they are through.
    fn cut_recoveries(&mut self) -> Checked<()> {
        if !self.chance.one_in(3) {
            return Ok(());
        }
        for _ in 0..self.chance.between(1, 3) {
            let server = self.setup.spawn();
            thread::sleep(Duration::from_millis(self.chance.below(60) as u64));
            let ended = server.kill();
            if ended.signal() != Some(SIGKILL) {
                return Err(vec![format!("a start after a kill: {ended}")]);
            }
            self.tally.cut_recoveries += 1;
        }
        Ok(())
    }

    fn restart(&mut self) -> Checked<Server> {
        let server = self.setup.start().map_err(|ended| vec![format!("no start after a kill: {ended}")])?;
        let output = server.output();
        self.tally.torn += u32::from(output.contains("unfinished tail"));
        self.tally.from_snapshot += u32::from(output.contains("a snapshot of"));
        verify::check(&server, &self.ledger)?;
        Ok(server)
    }

    fn keep_evidence(&mut self) -> Checked<()> {
        let killed = self.campaign.place.join("killed");
        if killed.exists() {
            fs::remove_dir_all(&killed).map_err(said)?;
        }
        copy(self.setup.data(), &killed).map_err(said)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, acknowledged, unknown, cut_recoveries, torn, from_snapshot, snapshots } = self;
        write!(
            f,
            "{rounds} rounds, {acknowledged} acknowledged writes, {unknown} of unknown fate, {cut_recoveries} recoveries \
             cut, {torn} torn tails, {snapshots} snapshots by hand, {from_snapshot} starts from a snapshot"
        )
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "round {}: a promise is broken", self.round)?;
        self.wrong.iter().take(MOST_SHOWN).try_for_each(|line| writeln!(f, "  {line}"))?;
        if self.wrong.len() > MOST_SHOWN {
            writeln!(f, "  and {} more", self.wrong.len() - MOST_SHOWN)?;
        }
        let place = self.place.display();
        write!(f, "the data as the kill left it: {place}/killed; as the restart left it: {place}/data")
    }
}

/// Copies a directory with everything in it.
///
/// # Errors
/// A file could not be copied.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn said(problem: impl fmt::Display) -> Vec<String> {
    vec![problem.to_string()]
}

fn panicked(_: Box<dyn core::any::Any + Send>) -> Result<(), String> {
    Err("a thread of the campaign panicked".into())
}

const WRITERS: usize = 8;
const LONGEST_LIFE_MS: usize = 600;
const MOST_SHOWN: usize = 20;
const SIGKILL: i32 = 9;
