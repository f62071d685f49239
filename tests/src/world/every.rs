//! Small histories without chance: after every system call of the last deed, every way in which the power can go.
//!
//! ```text
//!   deed, deed, ... ─► last deed: call ─► all outcomes ─► a start each ─► judged
//!                                 call ─► all outcomes ─► ...
//! ```

use strandline_core::lower::posix::Step;
use strandline_core::store::Priority;

use super::World;
use super::down::{Probe, tell_fates};
use crate::boot::{Boot, Ending, Plan};
use crate::chance::Chance;
use crate::oracle::{Loss, Verdict, broken};
use crate::posix::Disk;
use crate::setup::SimStore;
use crate::transcript::Transcript;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A few bytes are appended and written; no sync comes to its end.
    Small,
    /// The same with more than half a segment.
    Large,
    /// Everything that is outstanding comes to its end.
    Sync,
    /// A snapshot is written, named, and whatever it releases goes.
    Snapshot,
    /// A segment is begun, and the earlier ones may go.
    Release,
    /// The process is killed and starts again.
    Restart,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points {
    /// System calls after which the power went.
    pub calls: u64,
    /// Of these, those with too many outcomes to try all.
    pub drawn: u64,
    /// Outcomes that were started from.
    pub states: u64,
}

/// How the calls are looked at.
#[derive(Clone, Copy, Debug)]
struct Look<'p> {
    /// Of outstanding actions the newest makes the next call.
    newest_first: bool,
    /// Nothing is looked at if there is nowhere to count.
    points: Option<&'p core::cell::Cell<Points>>,
}

impl World {
    /// Begins on an empty medium, does all of it, and looks at every outcome of every call of the last deed.
    ///
    /// # Errors
    /// The broken promise.
    pub fn run_every(&mut self, deeds: &[Deed], newest_first: bool, points: &mut Points) -> Verdict {
        let mut chance = Chance::new(1);
        let counted = core::cell::Cell::new(*points);
        if deeds.len() == 1 {
            self.cut_start(Look { newest_first, points: Some(&counted) }, &mut chance)?;
        }
        self.start(&mut chance)?;
        let mut verdict = Ok(());
        for (number, deed) in deeds.iter().enumerate() {
            self.transcript.note(|| format!("  {deed:?}"));
            let is_last = number + 1 == deeds.len();
            let look = Look { newest_first, points: is_last.then_some(&counted) };
            verdict = self.do_small(*deed, look, &mut chance);
            if verdict.is_err() {
                break;
            }
        }
        *points = counted.get();
        verdict
    }

    fn do_small(&mut self, deed: Deed, look: Look<'_>, chance: &mut Chance) -> Verdict {
        match deed {
            Deed::Small => self.append_of(24)?,
            Deed::Large => self.append_of(self.setup.geometry.extent_bytes as usize * 5 / 8)?,
            Deed::Sync => self.store_do(|store| store.request_sync(store.next_lsn())),
            Deed::Snapshot => self.begin_snapshot(chance),
            Deed::Release => self.store_do(|store| {
                store.rotate();
                let logs: Vec<_> = store.segments().iter().map(|segment| segment.log).collect();
                for log in logs {
                    store.let_go(log);
                }
            }),
            Deed::Restart => return self.restart(look, chance),
        }
        self.pump()?;
        self.look(look, &Disk::clone(&self.disk), chance)?;
        self.carry_on(!matches!(deed, Deed::Small | Deed::Large), look, chance)
    }

    fn append_of(&mut self, len: usize) -> Verdict {
        self.serial += 1;
        let mut payload = self.serial.to_le_bytes().to_vec();
        payload.resize(len, 0x42);
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut answer = store.append(&payload, Priority::Ordinary);
        if let Err(strandline_core::action::Refused::NeedsBuffer(bytes)) = answer
            && store.exchange(vec![0xee; bytes]).is_ok()
        {
            answer = store.append(&payload, Priority::Ordinary);
        }
        self.transcript.note(|| format!("      append {len} bytes: {answer:?}"));
        answer.map_or(Ok(()), |lsn| self.oracle.taken(lsn, &payload))
    }

    /// Outstanding actions make their calls, but syncs end only if `to_the_end`.
    fn carry_on(&mut self, to_the_end: bool, look: Look<'_>, chance: &mut Chance) -> Verdict {
        for _ in 0..MOST_CALLS {
            self.pump()?;
            let can = |number: &usize| {
                let job = &self.jobs[*number];
                let syncs = matches!(job.steps[job.next], Step::Sync(_) | Step::SyncDirectory(_));
                to_the_end || !syncs || job.begun.is_none()
            };
            let next = match look.newest_first {
                true => (0..self.jobs.len()).rev().find(can),
                false => (0..self.jobs.len()).find(can),
            };
            let Some(next) = next else { return Ok(()) };
            let before = self.disk.now();
            self.advance(next, chance)?;
            if self.disk.now() > before {
                self.look(look, &Disk::clone(&self.disk), chance)?;
            }
        }
        broken("the store comes to rest", format!("{MOST_CALLS} calls"))
    }

    /// A kill and a start; the power may go after each call of the start.
    fn restart(&mut self, look: Look<'_>, chance: &mut Chance) -> Verdict {
        (self.store, self.snapshot) = (None::<SimStore>, None);
        self.jobs.clear();
        self.disk = self.disk.kill();
        self.cut_start(look, chance)?;
        self.start(chance)?;
        self.look(look, &Disk::clone(&self.disk), chance)
    }

    /// A start that is cut at each of its calls.
    fn cut_start(&mut self, look: Look<'_>, chance: &mut Chance) -> Verdict {
        for cut in 0..if look.points.is_some() { MOST_CALLS } else { 0 } {
            let mut disk = self.disk.clone();
            let plan = Plan { cut: Some(cut), now: self.now, ..Plan::default() };
            let mut none = Transcript::none();
            let boot = Boot::new(&self.setup, &self.oracle, plan, &mut disk, chance, &mut none);
            if !matches!(boot.run()?.0, Ending::Cut) {
                break;
            }
            self.look(look, &disk, chance)?;
        }
        Ok(())
    }

    /// Every outcome of a power loss now, or some where there are too many.
    fn look(&mut self, look: Look<'_>, disk: &Disk, chance: &mut Chance) -> Verdict {
        let Some(counted) = look.points else { return Ok(()) };
        let mut points = counted.get();
        points.calls += 1;
        let (outcomes, is_all) = outcomes(&disk.pending(), chance);
        points.drawn += u64::from(!is_all);
        points.states += outcomes.len() as u64;
        counted.set(points);
        let mut transcript = core::mem::take(&mut self.transcript);
        let plan = Plan { now: self.now, ..Plan::default() };
        let mut verdict = Ok(());
        for ways in outcomes {
            let lines = transcript.count();
            transcript.note(|| "      POWER LOSS".to_owned());
            let crashed = disk.crash_as(&ways);
            tell_fates(&crashed, &mut transcript);
            let mut probe = Probe::new(self, crashed, Loss::Power, &mut transcript);
            verdict = probe.start(plan, chance).map(|_| ());
            if verdict.is_err() {
                break;
            }
            transcript.forget(lines);
        }
        self.transcript = transcript;
        verdict
    }
}

/// All ways of so many things with so many versions each, and whether it is all: where there are more than [`MOST_OUTCOMES`], nothing
/// and everything, each one alone lost and alone kept, and as many draws as are left.
fn outcomes(versions: &[usize], chance: &mut Chance) -> (Vec<Vec<usize>>, bool) {
    let all = versions.iter().try_fold(1usize, |all, one| all.checked_mul(*one));
    if let Some(all) = all.filter(|all| *all <= MOST_OUTCOMES) {
        let nth = |mut number: usize| {
            let digits = versions.iter().map(|base| {
                let digit = number % base;
                number /= base;
                digit
            });
            digits.collect()
        };
        return ((0..all).map(nth).collect(), true);
    }
    let lost = vec![0; versions.len()];
    let kept: Vec<usize> = versions.iter().map(|versions| versions - 1).collect();
    let mut some = vec![lost.clone(), kept.clone()];
    for number in 0..versions.len() {
        let [mut one_kept, mut one_lost] = [lost.clone(), kept.clone()];
        (one_kept[number], one_lost[number]) = (kept[number], 0);
        some.extend([one_kept, one_lost]);
    }
    while some.len() < MOST_OUTCOMES {
        some.push(versions.iter().map(|versions| chance.below(*versions)).collect());
    }
    (some, false)
}

/// More than any deed of these sizes makes.
const MOST_CALLS: usize = 2_000;
/// Every subset of four sectors, with two entries and a size: more are drawn from.
const MOST_OUTCOMES: usize = 128;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_outcomes_are_tried_where_they_are_few_and_some_where_they_are_many() {
        let (all, is_all) = outcomes(&[2, 3, 2, 2, 2, 2], &mut Chance::new(1));
        assert!(is_all && all.iter().collect::<BTreeSet<_>>().len() == 96);
        let (some, is_all) = outcomes(&[3; 20], &mut Chance::new(1));
        assert!(!is_all && some.len() == MOST_OUTCOMES);
        assert!(some.contains(&vec![0; 20]) && some.contains(&vec![2; 20]));
        assert_eq!(outcomes(&[], &mut Chance::new(1)).0, [Vec::<usize>::new()]);
    }
}
