//! Histories as lists: each thing that happens carries its own seed, so that leaving one out changes no other.
//!
//! ```text
//!   seed ─► script: boot, write, write, boot, ... ─► world ─► broken promise ─► pinned cuts ─► fewer and fewer things
//! ```

use core::fmt;

use super::{NorLog, Setup, Summary, World};
use crate::chance::Chance;
use crate::soak::{AGAIN, shrink};

/// What happens to a log on flash.
#[derive(Clone, Debug)]
pub struct Script {
    /// What made it.
    pub seed: u64,
    /// What it runs on.
    pub setup: Setup,
    /// What happens, in order.
    pub ops: Vec<Op>,
}

/// One thing that happens, and the seed that decides what is left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What.
    pub deed: Deed,
    /// Decides the rest.
    pub salt: u64,
    /// After so many words and erases the power goes.
    pub cut_in: Option<u64>,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The power comes, back or for the first time.
    Boot,
    /// Something is written, if the power is on.
    Write {
        /// Everything is read and compared after it.
        compares: bool,
    },
}

impl Script {
    /// The script of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let setup = Setup::new(&mut chance);
        let mut ops = Vec::new();
        // Four frames in a row that fill a block each, readable once and not again, leave nothing to go back to on three blocks.
        let most = if setup.checks_words { 3 } else { 4 };
        for _ in 0..chance.between(1, most) {
            let writes = chance.between(1, 24);
            let spread = writes * (80 / setup.geometry.word() as usize + 4);
            let before = if chance.one_in(3) { chance.below(spread) } else { chance.below(60) } as u64;
            life(&mut ops, writes, Some(before), &mut chance);
        }
        for _ in 0..2 {
            life(&mut ops, 3, None, &mut chance);
        }
        Self { seed, setup, ops }
    }

    /// The same cuts, each in the write that it came in instead of so long after a boot: writes before it may be left out then.
    fn pinned(&self) -> Self {
        let mut world = World::new(self.setup);
        let _ = world.run(self, &mut Summary::default());
        let mut ops: Vec<Op> = self.ops.iter().map(|op| Op { cut_in: None, ..*op }).collect();
        for (number, cut_in) in world.cuts {
            ops[number].cut_in = Some(cut_in);
        }
        Self { ops, ..self.clone() }
    }
}

fn life(ops: &mut Vec<Op>, writes: usize, cut_in: Option<u64>, chance: &mut Chance) {
    ops.push(Op { deed: Deed::Boot, salt: chance.bits(), cut_in });
    for number in 0..writes {
        let deed = Deed::Write { compares: number % 3 == 0 };
        ops.push(Op { deed, salt: chance.bits(), cut_in: None });
    }
}

impl World {
    /// Runs a history.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn run(&mut self, script: &Script, summary: &mut Summary) -> Result<(), String> {
        let (mut log, mut boots) = (None::<NorLog>, 0);
        for (number, op) in script.ops.iter().enumerate() {
            let mut chance = Chance::new(op.salt);
            match op.deed {
                Deed::Boot => {
                    if boots > 0 {
                        self.end(summary)?;
                        self.flash.boot(&mut chance);
                        summary.cuts += 1;
                        self.tell_scar();
                    }
                    boots += 1;
                    self.cut_in(op.cut_in);
                    log = Some(self.start(summary)?);
                }
                Deed::Write { compares } => {
                    if op.cut_in.is_some() {
                        self.cut_in(op.cut_in);
                    }
                    let (before, was_on) = (self.flash.ticks.done, log.is_some());
                    let written = self.one_write(&mut log, compares, &mut chance, summary);
                    if was_on && log.is_none() {
                        self.cuts.push((number, self.flash.ticks.done - 1 - before));
                    }
                    written?;
                }
            }
        }
        self.end(summary)?;
        summary.faults(self.flash.faults);
        Ok(())
    }

    fn cut_in(&mut self, ticks: Option<u64>) {
        self.flash.ticks.cut_at = ticks.map(|ticks| self.flash.ticks.done + ticks);
    }
}

/// Runs every `stride`th history from `seed` on until this many power cuts were survived, or a promise was broken.
#[must_use]
pub fn soak(cuts: u64, seed: u64, stride: u64) -> Summary {
    let mut summary = Summary::default();
    let mut next = seed;
    while summary.cuts < cuts && summary.failure.is_none() {
        summary.histories += 1;
        let script = Script::new(next);
        if let Err(broken) = World::new(script.setup).run(&script, &mut summary) {
            summary.failure = Some((next, broken));
        }
        next += stride;
    }
    summary
}

/// Runs a history and tells it: every step, and the promise that was broken.
pub fn replay(script: &Script) -> (Vec<String>, Result<(), String>) {
    let mut world = World::new(script.setup);
    world.transcript = Some(Vec::new());
    let verdict = world.run(script, &mut Summary::default());
    (world.transcript.unwrap_or_default(), verdict)
}

/// The promise among the words of one that was broken.
#[must_use]
pub fn promise(broken: &str) -> &str {
    broken.split(": ").next().unwrap_or(broken)
}

/// Leaves out whatever is not needed to break the same promise: writes, boots, and cuts.
#[must_use]
pub fn minimise(script: &Script, promise: &str) -> Script {
    let breaks = |ops: &[Op]| {
        let tried = Script { ops: ops.to_vec(), ..script.clone() };
        let verdict = World::new(script.setup).run(&tried, &mut Summary::default());
        verdict.is_err_and(|broken| self::promise(&broken) == promise)
    };
    let pinned = script.pinned();
    let mut ops = if breaks(&pinned.ops) { pinned.ops } else { script.ops.clone() };
    ops = shrink(&ops, &breaks);
    for number in 0..ops.len() {
        let mut tried = ops.clone();
        tried[number].cut_in = None;
        if breaks(&tried) {
            ops = tried;
        }
    }
    Script { ops: shrink(&ops, breaks), ..script.clone() }
}

/// Everything that a reader needs about a broken promise, and the command that shows it again.
#[must_use]
pub fn report(script: &Script, broken: &str) -> String {
    let least = minimise(script, promise(broken));
    let (lines, verdict) = replay(&least);
    let broken = verdict.err().unwrap_or_else(|| broken.to_owned());
    let (seed, deeds, of) = (script.seed, least.ops.len(), script.ops.len());
    let lines = lines.join("\n");
    format!(
        "SEED={seed}, made as small as it gets: {deeds} of {of} deeds\n{}\n\n{lines}\n\nbroken: {broken}\n\nagain: SEED={seed} {AGAIN} nor",
        least.setup
    )
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let geometry = self.geometry;
        let (word, bytes, blocks) = (geometry.word(), geometry.block_bytes(), geometry.block_count());
        let checks = if self.checks_words { ", checks words" } else { "" };
        let unclean = if self.unclean_one_in.is_some() { ", unclean words" } else { "" };
        writeln!(f, "part: words of {word}, {blocks} blocks of {bytes}{checks}{unclean}")?;
        write!(f, "log: {:?}, scratch {}", self.options, self.scratch)
    }
}
