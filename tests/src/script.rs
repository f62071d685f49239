//! What happens to a simulated store, as a list: each deed carries its own seed, so that leaving one out changes no other.

use std::collections::BTreeSet;

use crate::chance::Chance;
use crate::setup::Setup;

/// A world's life.
#[derive(Clone, Debug)]
pub struct Script {
    /// What made it.
    pub seed: u64,
    /// The device and the store.
    pub setup: Setup,
    /// What happens, in order.
    pub ops: Vec<Op>,
    /// Draws of crashes that come out as if nothing had been lost.
    pub mended: BTreeSet<u32>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What.
    pub deed: Deed,
    /// Decides what is left open.
    pub salt: u64,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A record is appended.
    Append {
        /// What it holds.
        content: Content,
        /// Whether it may take the last segment.
        reclaim: bool,
    },
    /// Everything appended so far is wanted durable.
    RequestSync,
    /// One outstanding action makes one system call.
    Step,
    /// Outstanding actions go on until there are none.
    Settle,
    /// Time passes, microseconds.
    Wait(u64),
    /// A snapshot is begun.
    Snapshot,
    /// Segments are held, or no longer.
    Hold,
    /// The store is closed.
    Close,
    /// The next system call of this kind fails.
    Fail(Target),
    /// The medium is full, or has room again.
    Space(bool),
    /// What if it crashed here: a copy of the medium is crashed and recovered, in several ways.
    Probe,
    /// It crashes here, and once more inside each of some recoveries.
    Crash {
        /// Power loss, or a kill.
        power: bool,
    },
}

/// What a record holds, besides a number that makes it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A few bytes.
    Small,
    /// Up to what a half holds, and rarely more.
    Large,
    /// Bytes of the medium from where the record may come to lie.
    Image,
    /// Bytes that look erased.
    Blank,
}

/// Which system call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A write.
    Write,
    /// A sync of a file.
    Sync,
    /// Anything else.
    Other,
}

impl Script {
    /// The script of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let setup = Setup::random(&mut chance);
        let temper = Temper::random(&mut chance);
        let mut ops = Vec::new();
        for _ in 0..chance.between(1, 4) {
            for _ in 0..chance.between(5, 60) {
                temper.push(&mut ops, &mut chance);
            }
            if chance.one_in(4) {
                ops.push(Op { deed: Deed::Close, salt: chance.bits() });
                for _ in 0..chance.below(12) {
                    temper.push_step(&mut ops, &mut chance);
                }
            }
            ops.push(Op { deed: Deed::Probe, salt: chance.bits() });
            ops.push(Op { deed: Deed::Crash { power: chance.percent(70) }, salt: chance.bits() });
        }
        Self { seed, setup, ops, mended: BTreeSet::new() }
    }
}

/// How often things happen in one world.
#[derive(Clone, Copy, Debug)]
struct Temper {
    /// Steps after each other deed, at most.
    steps: usize,
    /// A probe after this many percent of the steps.
    probes: u8,
    snapshots: u8,
    faults: bool,
    large: u8,
}

impl Temper {
    fn random(chance: &mut Chance) -> Self {
        Self {
            steps: chance.pick(&[2, 4, 8]),
            probes: chance.pick(&[20, 40, 70]),
            snapshots: chance.pick(&[1, 4, 10]),
            faults: chance.one_in(4),
            large: chance.pick(&[5, 20, 60]),
        }
    }

    fn push(&self, ops: &mut Vec<Op>, chance: &mut Chance) {
        let deed = match chance.below(100) {
            0..55 => Deed::Append { content: self.content(chance), reclaim: chance.one_in(8) },
            55..60 => Deed::RequestSync,
            60..72 => Deed::Wait(chance.pick(&[10, 500, 4_000, 15_000])),
            72..75 => Deed::Settle,
            75..77 => Deed::Hold,
            77..79 if self.faults => Deed::Space(false),
            79..82 if self.faults => Deed::Space(true),
            82..84 if self.faults => Deed::Fail(chance.pick(&[Target::Write, Target::Sync, Target::Other])),
            _ if chance.percent(self.snapshots.saturating_mul(5)) => Deed::Snapshot,
            _ => Deed::Append { content: self.content(chance), reclaim: false },
        };
        ops.push(Op { deed, salt: chance.bits() });
        for _ in 0..chance.below(self.steps + 1) {
            self.push_step(ops, chance);
        }
    }

    fn push_step(&self, ops: &mut Vec<Op>, chance: &mut Chance) {
        ops.push(Op { deed: Deed::Step, salt: chance.bits() });
        if chance.percent(self.probes) {
            ops.push(Op { deed: Deed::Probe, salt: chance.bits() });
        }
    }

    fn content(&self, chance: &mut Chance) -> Content {
        if chance.percent(self.large) {
            return Content::Large;
        }
        chance.pick(&[Content::Small, Content::Small, Content::Image, Content::Blank])
    }
}
