//! Kill, look, start again on the same flash, many times.
//!
//! ```text
//!  start ─► (ready ─►) some time ─► kill -9 ─► what was said ║ what the file holds ─► start …            last: run to the end
//! ```
//!
//! A line "kept N" was said after sample N was durable. So every number said must be in the file, unless the ring has dropped
//! it; nothing may be there that was not at least begun; and the next start must find the same. One kill in four comes at a
//! moment of its own after power-on, where the image still starts; the others come after it has said that it is ready.

use core::time::Duration;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, process, thread};

use crate::chance::Chance;
use crate::check::{self, FLASH_BYTES, Found};
use crate::emulator::{Ended, Life};
use crate::image::Build;

/// What to do.
pub(crate) struct Campaign {
    pub(crate) rounds: u32,
    pub(crate) seed: u32,
}

/// What was met.
#[derive(Debug, Default)]
struct Tally {
    kept: u64,
    killed_while_starting: u32,
    torn_samples: u32,
    marks: u64,
}

impl Campaign {
    pub(crate) fn run(&self) -> Result<(), String> {
        let image = Build { opt: "z", log: true }.run()?;
        let flash = env::temp_dir().join(format!("strandline-flash-{}.bin", process::id()));
        fs::write(&flash, [0xff; FLASH_BYTES]).map_err(|error| format!("{}: {error}", flash.display()))?;
        println!("{} kills, seed {}", self.rounds, self.seed);
        let mut device = Device::new(image, flash);
        let mut chance = Chance::new(self.seed.into());
        for round in 0..self.rounds {
            let done = device.round(&mut chance.split());
            done.map_err(|error| self.failed(round, &device.flash, &error))?;
        }
        let last = device.finish().map_err(|error| self.failed(self.rounds, &device.flash, &error))?;
        let tally = &device.tally;
        if self.rounds >= ENOUGH && (tally.torn_samples == 0 || tally.killed_while_starting == 0) {
            return Err(format!("the kills met too little to prove anything: {tally:?}"));
        }
        println!("{tally:?}, none lost\nthe last run, to its end: {last}");
        fs::remove_file(&device.flash).map_err(|error| error.to_string())
    }

    fn failed(&self, round: u32, flash: &Path, error: &str) -> String {
        format!("round {round} of seed {}: {error}; the flash is left in {}", self.seed, flash.display())
    }
}

/// The device under test: an image and its flash, and what is known about it.
struct Device {
    image: PathBuf,
    flash: PathBuf,
    /// The number that the next start begins with.
    next: u32,
    acknowledged: BTreeSet<u32>,
    /// The newest mark that was said to be set.
    mark: Option<u32>,
    tally: Tally,
}

impl Device {
    fn new(image: PathBuf, flash: PathBuf) -> Self {
        let (acknowledged, tally) = (BTreeSet::new(), Tally::default());
        Self { image, flash, next: 0, acknowledged, mark: None, tally }
    }

    fn round(&mut self, chance: &mut Chance) -> Result<(), String> {
        let mut life = Life::start(&self.image, &self.flash, 0)?;
        let wait = if chance.one_in(4) {
            STARTING
        } else {
            life.wait_for("ready")?;
            RUNNING
        };
        thread::sleep(Duration::from_micros(chance.below(wait.as_micros() as usize) as u64));
        let ended = life.kill()?;
        if let Some(code) = ended.code {
            return Err(format!("the image ended by itself with {code}: {:?}", ended.said));
        }
        self.judge(&ended)
    }

    /// A run to its end, after all kills. Its last line.
    fn finish(&mut self) -> Result<String, String> {
        let ended = Life::start(&self.image, &self.flash, LAST_SAMPLES)?.wait()?;
        if ended.code != Some(0) {
            return Err(format!("exit code {:?}: {:?}", ended.code, ended.said));
        }
        self.judge(&ended)?;
        ended.said.last().cloned().ok_or("it said nothing".into())
    }

    /// Compares what was said with what the file holds.
    fn judge(&mut self, ended: &Ended) -> Result<(), String> {
        let numbers = |word: &'static str| {
            ended.said.iter().filter_map(move |line| line.strip_prefix(word)?.parse::<u32>().ok())
        };
        let said: Vec<u32> = numbers("kept ").collect();
        self.tally.marks += numbers("mark ").count() as u64;
        self.mark = numbers("mark ").last().or(self.mark);
        let bytes = fs::read(&self.flash).map_err(|error| error.to_string())?;
        let found = check::read(&bytes);
        self.tally.kept += said.len() as u64;
        self.tally.killed_while_starting +=
            u32::from(!ended.said.iter().any(|line| line.starts_with("ready")));
        let limit = self.next + said.len() as u32;
        let torn = check::is_begun(&bytes, limit) && !found.samples.contains(&limit);
        self.tally.torn_samples += u32::from(torn);
        if let Some(damage) = found.damaged.first() {
            return Err(damage.clone());
        }
        if !said.iter().copied().eq((self.next..).take(said.len())) {
            return Err(format!("samples {said:?} were kept, {} and on was expected", self.next));
        }
        self.acknowledged.extend(&said);
        self.compare(&found, limit)
    }

    fn compare(&mut self, found: &Found, limit: u32) -> Result<(), String> {
        let newest = found.samples.last().copied();
        if found.mark < self.mark || found.mark > newest {
            return Err(format!("the mark is {:?}, {:?} was set; newest {newest:?}", found.mark, self.mark));
        }
        if newest.is_some_and(|newest| newest > limit) {
            return Err(format!("sample {newest:?} is there, {limit} was the last that can have been begun"));
        }
        let oldest_needed = self.acknowledged.iter().find(|number| check::must_be_kept(**number, limit));
        let needed = oldest_needed.map(|oldest| self.acknowledged.range(oldest..));
        if let Some(lost) = needed.into_iter().flatten().find(|number| !found.samples.contains(number)) {
            return Err(format!("sample {lost} was acknowledged and is lost; newest {newest:?}"));
        }
        self.next = check::next_after(newest);
        Ok(())
    }
}

/// Longer than a start takes.
const STARTING: Duration = Duration::from_millis(150);
/// Some blocks' worth of samples.
const RUNNING: Duration = Duration::from_millis(60);
/// Kills from which on every kind of end must have been met.
const ENOUGH: u32 = 100;
/// Once round the ring.
const LAST_SAMPLES: u32 = 1100;
