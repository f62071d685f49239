//! Logs as libraries: each measurement is a process of its own, in which one log does one kind of work.
//!
//! ```text
//!  rows::log ─► Job::figures ─► bench --log NAME WORK BYTES THREADS DIRECTORY ─► ours, peers, bounds ─► figures on standard output
//! ```

mod bounds;
mod ours;
mod peers;

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use strandline_tests::device::{Device, directory_in_memory};

use crate::chance::Chance;

/// The word that makes this program do a job.
pub(crate) const WORD: &str = "--log";

/// What a log is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Frame and check records in memory. Records a second.
    Frame,
    /// Take records, syncing when it likes to. Records a second, until all are written to files.
    Append,
    /// Take records each of which is waited for until it is durable. Records a second; median seconds of one.
    Durable,
    /// Read all records and verify them. Bytes of records a second.
    Replay,
}

impl Work {
    const ALL: [(&str, Self); 4] = [
        ("frame", Self::Frame),
        ("append", Self::Append),
        ("durable", Self::Durable),
        ("replay", Self::Replay),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, work)| *work == self).map_or("", |(name, _)| name)
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// Which log: see [`LOGS`].
    pub(crate) log: &'static str,
    pub(crate) work: Work,
    /// Size of a record.
    pub(crate) bytes: usize,
    /// Threads that append at once.
    pub(crate) threads: usize,
}

/// What a log does; each of them knows only what it is measured in.
type Do = fn(&Path, Job) -> Result<Vec<f64>, String>;

const LOGS: &[(&str, Work, Do)] = &[
    ("strandline", Work::Frame, ours::frame),
    ("strandline", Work::Append, ours::append),
    ("strandline", Work::Durable, ours::durable),
    ("strandline", Work::Replay, ours::replay),
    ("open-wal", Work::Append, peers::open_wal_append),
    ("raft-engine", Work::Append, peers::raft_engine_append),
    ("raft-engine", Work::Durable, peers::raft_engine_durable),
    ("walrus", Work::Append, peers::walrus_append),
    ("okaywal", Work::Durable, peers::okaywal_durable),
    ("commitlog", Work::Replay, peers::commitlog_replay),
    ("bound", Work::Frame, bounds::frame),
    ("bound", Work::Append, bounds::append),
    ("bound", Work::Durable, bounds::durable),
    ("bound", Work::Replay, bounds::replay),
];

impl Job {
    /// Does it in a process of its own: on the device, or else in memory without one.
    pub(crate) fn figures(self, device: Option<&Device>) -> Result<Vec<f64>, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let place = directory_in_memory().map_err(|error| error.to_string())?;
        let entry = device.map(Device::entry).unwrap_or_default();
        let mut words = entry.into_iter().chain([own.into_os_string()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args([WORD, self.log, self.work.name()]);
        command.args([self.bytes.to_string(), self.threads.to_string()]).arg(place.path());
        let output = command.env("WALRUS_QUIET", "1").output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout);
        let figures = said.lines().last().unwrap_or_default().split(' ').map(str::parse).collect();
        match figures {
            Ok(figures) if output.status.success() => Ok(figures),
            _ => Err(format!("{}: {said}{}", self.log, String::from_utf8_lossy(&output.stderr))),
        }
    }
}

/// Does what [`Job::figures`] asks for.
pub(crate) fn serve(words: &[String]) -> Result<(), String> {
    let [log, work, bytes, threads, directory] = words else { return Err("a job has five words".into()) };
    let found = LOGS.iter().find(|(name, kind, _)| name == log && kind.name() == work);
    let (log, work, run) = found.ok_or_else(|| format!("{log} does no {work}"))?;
    let number = |word: &String| word.parse::<usize>().map_err(|error| format!("{word}: {error}"));
    let job = Job { log, work: *work, bytes: number(bytes)?, threads: number(threads)? };
    let figures = run(&PathBuf::from(directory), job)?;
    println!("{}", figures.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    Ok(())
}

impl Job {
    /// How many records of its size are appended or read, by all threads together.
    fn records(self) -> usize {
        VOLUME / self.bytes
    }

    /// Records of every thread.
    fn share(self) -> usize {
        self.records() / self.threads
    }

    /// A record that does not compress.
    fn record(self) -> Vec<u8> {
        let mut chance = Chance::new(self.bytes as u64);
        (0..self.bytes).map(|_| u8::try_from(chance.below(256)).unwrap_or(0)).collect()
    }

    /// Records a second, if all of them took so long.
    fn rate(self, took: Duration) -> Vec<f64> {
        vec![(self.share() * self.threads) as f64 / took.as_secs_f64()]
    }

    /// Has `each` run on every thread at once.
    fn crowd(self, each: impl Fn(usize) -> Result<(), String> + Sync) -> Result<Duration, String> {
        let gate = Barrier::new(self.threads + 1);
        let one = |thread| {
            gate.wait();
            each(thread)
        };
        let one = &one;
        thread::scope(|scope| {
            let running: Vec<_> = (0..self.threads).map(|thread| scope.spawn(move || one(thread))).collect();
            gate.wait();
            let begun = Instant::now();
            for thread in running {
                thread.join().map_err(|_| "a thread panicked".to_owned())??;
            }
            Ok(begun.elapsed())
        })
    }

    /// Has every thread append and wait, over and over, for a fixed time.
    fn durably(self, append: impl Fn(usize, &[u8]) -> Result<(), String> + Sync) -> Result<Vec<f64>, String> {
        let (over, times) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let clock = || {
            thread::sleep(DURABLE);
            over.store(true, Relaxed);
        };
        let took = thread::scope(|scope| {
            scope.spawn(clock);
            self.crowd(|thread| {
                let (record, mut own) = (self.record(), Vec::new());
                while !over.load(Relaxed) {
                    let begun = Instant::now();
                    append(thread, &record)?;
                    own.push(begun.elapsed().as_secs_f64());
                }
                times.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
                Ok(())
            })
        })?;
        let mut times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().ok_or("nothing was appended")?;
        Ok(vec![times.len() as f64 / took.as_secs_f64(), median])
    }
}

/// Bytes of records in one measurement.
const VOLUME: usize = 512 << 20;
/// How long durable appends go on.
pub(crate) const DURABLE: Duration = Duration::from_secs(3);
