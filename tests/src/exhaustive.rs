//! Every small history of a small store, cut after every system call, with every outcome: what chance might never meet.
//!
//! ```text
//!   lengths 1, 2, ... ─► all sequences of deeds ─► world/every.rs ─► the shortest history that breaks a promise
//! ```
//!
//! Where more things are pending than four sectors with their entries and sizes, outcomes are drawn: how often is counted.
//! Torn sectors are left to `soak`.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Mutex;
use std::time::Instant;

use strandline_core::geometry::Geometry;
use strandline_core::store::{Config, Mode};

use crate::oracle::Violation;
use crate::posix::Profile;
use crate::setup::Setup;
use crate::transcript::Transcript;
use crate::world::{Points, SmallDeed as Deed, World};

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Exhaustive {
    /// Deeds of the longest histories.
    pub depth: u32,
    /// Threads.
    pub threads: usize,
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Histories, each in every setting.
    pub histories: u64,
    /// What was looked at.
    pub points: Points,
    /// How long it took.
    pub took: Duration,
    /// A shortest history that broke a promise.
    pub failure: Option<Failed>,
}

/// A history that broke a promise.
#[derive(Clone, Debug)]
pub struct Failed {
    deeds: Vec<Deed>,
    setting: Setting,
    violation: Violation,
}

/// In what a history happens.
#[derive(Clone, Copy, Debug)]
struct Setting {
    mode: Mode,
    /// Of outstanding actions the newest makes the next call.
    newest_first: bool,
}

impl Exhaustive {
    /// Tries all histories, the shorter ones first.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let begun = Instant::now();
        let mut outcome =
            Outcome { histories: 0, points: Points::default(), took: Duration::ZERO, failure: None };
        for length in 1..=self.depth {
            self.run_length(length, &mut outcome);
            if outcome.failure.is_some() {
                break;
            }
        }
        outcome.took = begun.elapsed();
        outcome
    }

    fn run_length(&self, length: u32, outcome: &mut Outcome) {
        let all = ALPHABET.len().pow(length) * SETTINGS.len();
        let (next, found) = (AtomicUsize::new(0), Mutex::new((Points::default(), None::<(usize, Failed)>)));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    let mut points = Points::default();
                    let mut failure = None;
                    while failure.is_none() {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= all {
                            break;
                        }
                        let (deeds, setting) = numbered(number, length);
                        let verdict = live(&deeds, setting, Transcript::none(), &mut points).1;
                        failure =
                            verdict.err().map(|violation| (number, Failed { deeds, setting, violation }));
                    }
                    next.fetch_max(if failure.is_some() { all } else { 0 }, Ordering::Relaxed);
                    let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    found.0 = found.0.and(points);
                    let earlier = |(number, _): &(usize, Failed)| {
                        found.1.as_ref().is_none_or(|(other, _)| number < other)
                    };
                    if let Some(failed) = failure.filter(earlier) {
                        found.1 = Some(failed);
                    }
                });
            }
        });
        let (points, failure) = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        outcome.histories += next.into_inner().min(all) as u64;
        outcome.points = outcome.points.and(points);
        outcome.failure = failure.map(|(_, failed)| failed);
    }
}

impl Points {
    const fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            drawn: self.drawn + other.drawn,
            states: self.states + other.states,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Points { calls, drawn, states } = self.points;
        write!(
            f,
            "{} histories, {calls} crash points, {states} states, {:.1} s; at {drawn} points outcomes were drawn, at the others all were tried",
            self.histories,
            self.took.as_secs_f64()
        )
    }
}

impl fmt::Display for Failed {
    /// Tells the history again, up to the broken promise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (world, verdict) = live(&self.deeds, self.setting, Transcript::kept(), &mut Points::default());
        let violation = verdict.err().unwrap_or_else(|| self.violation.clone());
        let newest = if self.setting.newest_first { ", the newest action first" } else { "" };
        writeln!(f, "{:?}{newest}\n{}\n", self.deeds, setup(self.setting.mode))?;
        write!(f, "{}\n\n{violation}", world.transcript.lines().join("\n"))
    }
}

fn live(
    deeds: &[Deed],
    setting: Setting,
    transcript: Transcript,
    points: &mut Points,
) -> (World, Result<(), Violation>) {
    let mut world = World::new(setup(setting.mode), transcript);
    let verdict = world.run_every(deeds, setting.newest_first, points);
    (world, verdict)
}

/// The history with this number among those of this length.
fn numbered(number: usize, length: u32) -> (Vec<Deed>, Setting) {
    let setting = SETTINGS[number % SETTINGS.len()];
    let mut rest = number / SETTINGS.len();
    let deed = |_| {
        let deed = ALPHABET[rest % ALPHABET.len()];
        rest /= ALPHABET.len();
        deed
    };
    ((0..length).map(deed).collect(), setting)
}

fn setup(mode: Mode) -> Setup {
    Setup {
        profile: Profile { sector: 512, powersafe: true, stale: false },
        geometry: Geometry { write_unit: 8, batch_align: 8, extent_bytes: 4096, manifest_bytes: 4096 },
        config: Config {
            keep_snapshots: 1,
            idle_mark_micros: 3_000,
            retry_micros: 5_000,
            ..Config::new(mode)
        },
        half_bytes: 4096,
        window_bytes: 8192,
        segments: 12,
    }
}

const ALPHABET: [Deed; 6] =
    [Deed::Small, Deed::Large, Deed::Sync, Deed::Snapshot, Deed::Release, Deed::Restart];

const SETTINGS: [Setting; 3] = [
    Setting { mode: Mode::Always, newest_first: false },
    Setting { mode: Mode::Always, newest_first: true },
    Setting { mode: Mode::Never, newest_first: false },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_sequence_has_a_number() {
        let all = ALPHABET.len().pow(3) * SETTINGS.len();
        let told: BTreeSet<String> = (0..all).map(|number| format!("{:?}", numbered(number, 3))).collect();
        assert_eq!(told.len(), all);
    }
}
