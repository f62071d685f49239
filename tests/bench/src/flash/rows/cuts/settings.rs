//! Histories of a settings map: a few keys, each value with its own number.

use super::{Asked, End, History, SEED, STAGES, Tally, run};
use crate::chance::Chance;
use crate::flash::medium::CountingFlash;
use crate::flash::rows::append::BLOCKS;
use crate::flash::subject::{Failed, Settings, record};

pub(super) fn campaign<S: Settings<W>, const W: usize>(asked: &Asked) -> Result<Tally, Failed> {
    let stages = stages::<S, W>()?;
    let mut tally = Tally::default();
    for seed in (asked.seed..).take(asked.histories as usize) {
        let mut chance = Chance::new(seed);
        let (part, updates) = &stages[chance.below(stages.len())];
        let part = part.copy();
        tally.count::<W>(seed, run(updates.copy(chance.split()), &part, &mut chance));
    }
    Ok(tally)
}

/// Parts that have been round the ring, each a bit further, and what each holds.
fn stages<S: Settings<W>, const W: usize>() -> Result<Vec<(CountingFlash<W>, Updates<S, W>)>, Failed> {
    let part = CountingFlash::new(BLOCKS);
    S::format(&part)?;
    let mut updates = Updates::<S, W>::new(Chance::new(SEED));
    let mut stages = Vec::new();
    updates.insert(&part, LAPPED)?;
    for _ in 0..STAGES {
        updates.insert(&part, STRIDE)?;
        stages.push((part.copy(), updates.copy(Chance::new(0))));
    }
    Ok(stages)
}

struct Updates<S, const W: usize> {
    chance: Chance,
    next: u32,
    /// For each key what it may hold: the number last acknowledged, then those whose fate nobody was told.
    allowed: Vec<Vec<Option<u32>>>,
    settings: core::marker::PhantomData<S>,
}

impl<S: Settings<W>, const W: usize> Updates<S, W> {
    fn new(chance: Chance) -> Self {
        Self { chance, next: 0, allowed: vec![vec![None]; KEYS], settings: core::marker::PhantomData }
    }

    fn copy(&self, chance: Chance) -> Self {
        Self { chance, next: self.next, allowed: self.allowed.clone(), settings: core::marker::PhantomData }
    }

    fn insert(&mut self, flash: &CountingFlash<W>, count: u32) -> Result<(), Failed> {
        let mut settings = S::open(flash)?;
        for _ in 0..count {
            let key = self.chance.below(KEYS);
            let number = self.next;
            self.next += 1;
            self.allowed[key].push(Some(number));
            settings.insert(key as u16, &record(number, VALUE_BYTES))?;
            self.allowed[key] = vec![Some(number)];
        }
        Ok(())
    }
}

impl<S: Settings<W>, const W: usize> History<W> for Updates<S, W> {
    fn write(&mut self, flash: &CountingFlash<W>) -> Result<(), Failed> {
        self.insert(flash, ENOUGH)
    }

    fn check(&mut self, flash: &CountingFlash<W>) -> Result<End, Failed> {
        let mut settings = S::open(flash)?;
        let mut end = End::Good;
        for (key, allowed) in self.allowed.iter().enumerate() {
            let found = settings.get(key as u16)?;
            let is = |number: u32| found.as_deref() == Some(&record(number, VALUE_BYTES)[..]);
            let right = allowed.iter().any(|number| number.map_or(found.is_none(), is));
            // A value from before the acknowledged one, or none, is a loss; a value of nobody is worse.
            match (right, &found) {
                (true, _) => {}
                (false, Some(bytes)) if crate::flash::subject::number_of(bytes).is_none() => {
                    end = End::Invented
                }
                (false, _) if end == End::Good => end = End::Lost,
                (false, _) => {}
            }
        }
        Ok(end)
    }

    fn write_on(&mut self, flash: &CountingFlash<W>) -> Result<(), Failed> {
        self.insert(flash, 3)
    }
}

const KEYS: usize = 16;
const VALUE_BYTES: usize = 24;
const ENOUGH: u32 = 150;
/// More values than the ring holds, whatever the word.
const LAPPED: u32 = 2500;
/// Less than a block.
const STRIDE: u32 = 17;
