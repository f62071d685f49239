//! Histories of a log: records with rising numbers.

use super::{Asked, End, History, STAGES, Tally, run};
use crate::chance::Chance;
use crate::flash::medium::CountingFlash;
use crate::flash::rows::append::{BLOCKS, RECORD_BYTES};
use crate::flash::subject::{Failed, Log, number_of, record};

pub(super) fn campaign<L: Log<W>, const W: usize>(asked: &Asked) -> Result<Tally, Failed> {
    let stages = stages::<L, W>()?;
    let mut tally = Tally::default();
    for seed in (asked.seed..).take(asked.histories as usize) {
        let mut chance = Chance::new(seed);
        let (part, next) = &stages[chance.below(stages.len())];
        let part = part.copy();
        let history = Appends::<L, W> { next: *next, unknown: Vec::new(), log: core::marker::PhantomData };
        tally.count::<W>(seed, run(history, &part, &mut chance));
    }
    Ok(tally)
}

/// Parts that have been round the ring, each a bit further, and the next number of each.
fn stages<L: Log<W>, const W: usize>() -> Result<Vec<(CountingFlash<W>, u32)>, Failed> {
    let part = CountingFlash::new(BLOCKS);
    L::format(&part)?;
    let mut log = L::open(&part)?;
    let mut stages = Vec::new();
    for next in 0..LAPPED + STAGES * STRIDE {
        if next >= LAPPED && (next - LAPPED).is_multiple_of(STRIDE) {
            stages.push((part.copy(), next));
        }
        log.append(&record(next, RECORD_BYTES))?;
    }
    Ok(stages)
}

struct Appends<L, const W: usize> {
    next: u32,
    /// Numbers that were not acknowledged: they may be there or not.
    unknown: Vec<u32>,
    log: core::marker::PhantomData<L>,
}

impl<L: Log<W>, const W: usize> Appends<L, W> {
    fn append(&mut self, flash: &CountingFlash<W>, count: u32) -> Result<(), Failed> {
        let mut log = L::open(flash)?;
        for _ in 0..count {
            let number = self.next;
            self.next += 1;
            self.unknown.push(number);
            log.append(&record(number, RECORD_BYTES))?;
            self.unknown.pop();
        }
        Ok(())
    }
}

impl<L: Log<W>, const W: usize> History<W> for Appends<L, W> {
    fn write(&mut self, flash: &CountingFlash<W>) -> Result<(), Failed> {
        self.append(flash, ENOUGH)
    }

    fn check(&mut self, flash: &CountingFlash<W>) -> Result<End, Failed> {
        let mut found = Vec::new();
        let mut damaged = false;
        L::open(flash)?.replay(&mut |bytes| match number_of(bytes) {
            Some(number) => found.push(number),
            None => damaged = true,
        })?;
        Ok(self.judge(&found, damaged))
    }

    fn write_on(&mut self, flash: &CountingFlash<W>) -> Result<(), Failed> {
        self.append(flash, 3)
    }
}

impl<L, const W: usize> Appends<L, W> {
    fn judge(&self, found: &[u32], damaged: bool) -> End {
        let rising = found.windows(2).all(|pair| pair[0] < pair[1]);
        if damaged || !rising || found.last().is_some_and(|last| *last >= self.next) {
            return End::Invented;
        }
        // The ring may have dropped the oldest, but never as new a record as these.
        let oldest = found.first().map_or(self.next - KEPT, |first| (*first).min(self.next - KEPT));
        let kept = |number: &u32| found.binary_search(number).is_ok() || self.unknown.contains(number);
        if (oldest..self.next).all(|number| kept(&number)) { End::Good } else { End::Lost }
    }
}

/// Appends between two cuts, when the cut never comes.
const ENOUGH: u32 = 100;
/// More records than the ring holds, whatever the word.
const LAPPED: u32 = 1000;
/// Less than a block: the stages begin at different places in it.
const STRIDE: u32 = 13;
/// Records that every log holds in 13 of its 16 blocks at words of 32 bytes.
const KEPT: u32 = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(unknown: &[u32], found: impl Iterator<Item = u32>) -> End {
        let history =
            Appends::<(), 4> { next: 1000, unknown: unknown.to_vec(), log: core::marker::PhantomData };
        history.judge(&found.collect::<Vec<_>>(), false)
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        assert_eq!(judge(&[], 300..1000), End::Good);
        assert_eq!(judge(&[], 700..1000), End::Lost);
        assert_eq!(judge(&[], 300..999), End::Lost);
        assert_eq!(judge(&[999], 300..999), End::Good);
        assert_eq!(judge(&[], (300..1000).filter(|number| *number != 310)), End::Lost);
        assert_eq!(judge(&[], core::iter::empty()), End::Lost);
    }

    #[test]
    fn nothing_else_may_be_there() {
        assert_eq!(judge(&[], 300..1001), End::Invented);
        assert_eq!(judge(&[], (300..1000).rev()), End::Invented);
        assert_eq!(judge(&[], (300..1000).chain([999])), End::Invented);
    }
}
