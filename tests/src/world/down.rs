//! Going down and coming up again: probes on copies of the medium, and crashes of the world itself.

use strandline_core::lower::posix::File;
use strandline_core::recovery::Refusal;
use strandline_core::types::Lsn;

use super::{World, newer, strangers};
use crate::boot::{Begun, Boot, Ending, Opened, Plan};
use crate::chance::Chance;
use crate::oracle::{Loss, Verdict, Violation, broken};
use crate::posix::{Disk, Fault};
use crate::transcript::Transcript;
use crate::witness::witnessed;

/// What a probe does with its copy of the medium.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Starts it.
    Plain,
    /// Starts it, crashes it, starts it again.
    Twice,
    /// Crashes inside the start, up to three times.
    Inside,
    /// Calls the newest snapshot damaged.
    Fallback,
    /// Flips a bit.
    Flip,
    /// A newer version wrote a record behind the last one.
    Newer,
    /// Files that the store does not list lie there.
    Strangers,
    /// A read of the start fails.
    Unreadable,
    /// A system call of the start fails.
    Fail,
}

impl World {
    /// The first start, on an empty medium.
    pub(super) fn start(&mut self, chance: &mut Chance) -> Verdict {
        self.come_up(Loss::Power, chance)
    }

    /// The world crashes, again inside some of its recoveries, and comes up.
    pub(super) fn crash(&mut self, power: bool, chance: &mut Chance) -> Verdict {
        self.partial_write(chance);
        self.store = None;
        self.snapshot = None;
        self.jobs.clear();
        let mut loss = self.go_down(power, chance);
        while chance.one_in(3) {
            let plan = Plan { cut: Some(chance.below(12)), now: self.now, ..Plan::default() };
            self.transcript.note(|| format!("      start, cut at call {:?}", plan.cut));
            if let Some(opened) = self.boot(plan, chance)? {
                self.judge(loss, &opened)?;
            }
            loss = loss.max(self.go_down(chance.percent(70), chance));
        }
        (self.full, self.failing) = (false, None);
        if chance.one_in(6) {
            self.setup.resize(chance);
            self.transcript.note(|| format!("      extents of {} now", self.setup.geometry.extent_bytes));
        }
        self.come_up(loss, chance)
    }

    /// A kill comes while one of the outstanding writes is half done.
    fn partial_write(&mut self, chance: &mut Chance) {
        if self.jobs.is_empty() || chance.one_in(2) {
            return;
        }
        let job = &self.jobs[chance.below(self.jobs.len())];
        let step = job.steps[job.next];
        if matches!(step, strandline_core::lower::posix::Step::Write { .. }) {
            let _ = self.disk.step(step, &job.bytes, Some(Fault::Io), chance);
            self.coverage.killed_inside();
        }
    }

    fn go_down(&mut self, power: bool, chance: &mut Chance) -> Loss {
        self.transcript.note(|| format!("      {}", if power { "POWER LOSS" } else { "KILL" }));
        if power {
            self.disk = self.disk.crash(chance);
            self.coverage.crash(&self.disk);
            tell_fates(&self.disk, &mut self.transcript);
            self.oracle.power_lost();
            Loss::Power
        } else {
            self.disk = self.disk.kill();
            Loss::Kill
        }
    }

    /// A start that is not cut.
    fn come_up(&mut self, loss: Loss, chance: &mut Chance) -> Verdict {
        self.transcript.note(|| "      start".to_owned());
        let plan = Plan { now: self.now, reject: chance.one_in(10) && self.falls_back, ..Plan::default() };
        let opened = match self.boot(plan, chance)? {
            Some(opened) => Some(opened),
            // The medium settles on what it shows at the latest after one such start.
            None => self.boot(Plan { now: self.now, ..Plan::default() }, chance)?,
        };
        let Some(opened) = opened else {
            return broken("it starts after a plain crash", "twice unstable".to_owned());
        };
        self.judge(loss, &opened)?;
        self.oracle.reopened(opened.state, (opened.report.store, opened.report.epoch))?;
        self.open(opened);
        self.pump()
    }

    /// One start of the world itself; `None` if it was cut, or met pages that a failed sync left.
    fn boot(&mut self, plan: Plan, chance: &mut Chance) -> Result<Option<Opened>, Violation> {
        let dropped = self.disk.dropped();
        let boot = Boot::new(&self.setup, &self.oracle, plan, &mut self.disk, chance, &mut self.transcript);
        let (ending, begun) = boot.run()?;
        self.coverage.dropped(self.disk.dropped() - dropped);
        for (store, log) in begun {
            self.oracle.begins(store, log)?;
        }
        self.coverage.ending(&ending);
        match ending {
            Ending::Opened(opened) => Ok(Some(*opened)),
            Ending::Refused(refusal) if is_unstable(refusal) && self.oracle.is_undecided() => Ok(None),
            Ending::Refused(refusal) => self.oracle.it_starts(refusal).map(|()| None),
            Ending::Cut => Ok(None),
        }
    }

    fn judge(&mut self, loss: Loss, opened: &Opened) -> Verdict {
        self.oracle.nothing_is_lost(loss, opened.state)?;
        self.oracle.nothing_is_damaged(opened.damage)?;
        self.oracle.epochs_rise((opened.report.store, opened.report.epoch))
    }

    /// What if it crashed here?
    pub(super) fn probe(&mut self, chance: &mut Chance) -> Verdict {
        let power = chance.percent(75);
        let kind = match chance.below(20) {
            0..6 => Kind::Plain,
            6 => Kind::Strangers,
            7 => Kind::Newer,
            8..10 => Kind::Twice,
            10..14 => Kind::Inside,
            14 | 15 => Kind::Fallback,
            16..18 => Kind::Flip,
            18 => Kind::Unreadable,
            _ => Kind::Fail,
        };
        self.transcript
            .note(|| format!("      {kind:?} after {}", if power { "power loss" } else { "a kill" }));
        let (disk, loss) =
            if power { (self.disk.crash(chance), Loss::Power) } else { (self.disk.kill(), Loss::Kill) };
        if power {
            self.coverage.crash(&disk);
            tell_fates(&disk, &mut self.transcript);
        }
        let mut transcript = core::mem::replace(&mut self.transcript, Transcript::none());
        let verdict = Probe::new(self, disk, loss, &mut transcript).run(kind, chance);
        self.transcript = transcript;
        verdict
    }
}

/// A copy of the world's medium that has crashed.
pub(super) struct Probe<'w> {
    world: &'w mut World,
    disk: Disk,
    loss: Loss,
    /// Only one answer is possible.
    decided: bool,
    begun: Begun,
    transcript: &'w mut Transcript,
}

impl<'w> Probe<'w> {
    pub(super) fn new(world: &'w mut World, disk: Disk, loss: Loss, transcript: &'w mut Transcript) -> Self {
        Self { world, decided: disk.is_decided(), disk, loss, begun: Begun::new(), transcript }
    }

    fn run(&mut self, kind: Kind, chance: &mut Chance) -> Verdict {
        let plan = Plan { now: self.world.now, ..Plan::default() };
        match kind {
            Kind::Plain => self.start(plan, chance).map(|_| ()),
            Kind::Twice => self.twice(plan, chance),
            Kind::Inside => self.inside(plan, chance),
            Kind::Fallback => self.compare(Plan { reject: self.world.falls_back, ..plan }, chance),
            Kind::Flip => self.flip(plan, chance),
            Kind::Newer => self.newer(plan, chance),
            Kind::Strangers => self.strangers(plan, chance),
            Kind::Unreadable => self.unreadable(plan, chance),
            Kind::Fail => self.fail(plan, chance),
        }
    }

    /// A start that must open the store with everything that was promised.
    pub(super) fn start(&mut self, plan: Plan, chance: &mut Chance) -> Result<Option<Opened>, Violation> {
        match self.boot(plan, chance)? {
            Ending::Opened(opened) => {
                self.world.judge(self.loss, &opened)?;
                Ok(Some(*opened))
            }
            Ending::Cut => Ok(None),
            Ending::Refused(refusal) if is_unstable(refusal) && !self.decided => Ok(None),
            Ending::Refused(refusal) => self.world.oracle.it_starts(refusal).map(|()| None),
        }
    }

    fn boot(&mut self, plan: Plan, chance: &mut Chance) -> Result<Ending, Violation> {
        let world = &mut *self.world;
        let dropped = self.disk.dropped();
        let boot = Boot::new(&world.setup, &world.oracle, plan, &mut self.disk, chance, self.transcript);
        let (ending, begun) = boot.run()?;
        world.coverage.dropped(self.disk.dropped() - dropped);
        for (store, log) in begun {
            if self.begun.contains(&(store, log)) {
                return broken("log ids are never reused", format!("log {log} is begun again"));
            }
            self.begun.push((store, log));
        }
        world.coverage.ending(&ending);
        Ok(ending)
    }

    fn go_down(&mut self, chance: &mut Chance) {
        let power = chance.percent(70);
        self.transcript.note(|| format!("        {}", if power { "power loss" } else { "kill" }));
        if power {
            self.disk = self.disk.crash(chance);
            self.world.coverage.crash(&self.disk);
            tell_fates(&self.disk, self.transcript);
            self.loss = Loss::Power;
        }
    }

    /// A store that was opened stays as it was reported, whatever comes.
    fn twice(&mut self, plan: Plan, chance: &mut Chance) -> Verdict {
        let Some(first) = self.start(plan, chance)? else { return Ok(()) };
        self.go_down(chance);
        match self.boot(plan, chance)? {
            Ending::Opened(again) => self.world.oracle.same_answer(first.state, again.state),
            Ending::Cut => Ok(()),
            Ending::Refused(refusal) => self.world.oracle.it_starts(refusal),
        }
    }

    fn inside(&mut self, plan: Plan, chance: &mut Chance) -> Verdict {
        let before = self.disk.clone();
        let first = self.start(plan, chance)?;
        let calls = first.as_ref().map_or(12, |opened| opened.calls);
        self.disk = before;
        self.begun.clear();
        let mut settled = false;
        for _ in 0..chance.between(1, 3) {
            let cut = Plan { cut: Some(chance.below(calls)), ..plan };
            if let Some(opened) = self.start(cut, chance)? {
                self.answer(first.as_ref(), &opened)?;
                settled = true;
            }
            self.go_down(chance);
        }
        match (self.start(plan, chance)?, settled) {
            (Some(last), _) => self.answer(first.as_ref(), &last),
            (None, _) => Ok(()),
        }
    }

    fn answer(&self, first: Option<&Opened>, again: &Opened) -> Verdict {
        match first.filter(|_| self.decided) {
            Some(first) => self.world.oracle.same_answer(first.state, again.state),
            None => Ok(()),
        }
    }

    /// Another way to start gives the same answer.
    fn compare(&mut self, plan: Plan, chance: &mut Chance) -> Verdict {
        let before = self.disk.clone();
        let plain = self.start(Plan { reject: false, ..plan }, chance)?;
        self.disk = before;
        self.begun.clear();
        match self.start(plan, chance)? {
            Some(opened) => self.answer(plain.as_ref(), &opened),
            None => Ok(()),
        }
    }

    /// What is not listed is handed over for what it is, and changes nothing else.
    fn strangers(&mut self, plan: Plan, chance: &mut Chance) -> Verdict {
        let before = self.disk.clone();
        let clean = self.start(plan, chance)?.filter(|clean| !clean.report.fresh);
        self.disk = before;
        self.begun.clear();
        let Some(clean) = clean else { return Ok(()) };
        let planted = strangers::plant(&mut self.disk, &clean, self.world.setup.geometry, chance);
        let Some(opened) = self.start(plan, chance)? else { return Ok(()) };
        if let Some(stranger) = planted.iter().find(|stranger| !opened.orphans.contains(stranger)) {
            return broken("strangers are told apart", format!("{stranger:?} of {:?}", opened.orphans));
        }
        self.answer(Some(&clean), &opened)
    }

    /// One flipped bit anywhere: the store refuses, or has everything that was witnessed.
    fn flip(&mut self, plan: Plan, chance: &mut Chance) -> Verdict {
        let before = self.disk.clone();
        let Some(clean) = self.start(plan, chance)? else { return Ok(()) };
        self.disk = before;
        self.begun.clear();
        let files: Vec<_> = self.disk.files().collect();
        // A page that a failed sync left may go at any read, with the witness in it.
        if files.is_empty() || self.world.oracle.is_undecided() {
            return Ok(());
        }
        let file = chance.pick(&files);
        let witnessed = witnessed(&self.disk);
        let bit = pick_bit(self.disk.content(file).unwrap_or_default(), chance);
        self.transcript
            .note(|| format!("        bit {} of byte {} in {}", bit % 8, bit / 8, file.name("log")));
        self.disk.flip(file, bit);
        let witnessed = witnessed.max(if clean.report.fresh { Lsn::FIRST } else { clean.witnessed });
        match self.boot(Plan { damaged: true, ..plan }, chance)? {
            Ending::Opened(opened) => self.world.oracle.damage_is_not_silent(witnessed, opened.state),
            Ending::Refused(Refusal::Corrupt(damage)) => self.discard(damage.lsn, (file, bit), plan, chance),
            Ending::Refused(_) | Ending::Cut => Ok(()),
        }
    }

    /// Another record than the first one that can't be read is no place to go past damage; nothing is changed.
    fn only_there(&mut self, from: Lsn, plan: Plan, chance: &mut Chance) -> Verdict {
        let before: Vec<_> = self.disk.files().collect();
        for wrong in [from.next(), Lsn(from.0.saturating_sub(1))] {
            let wrong = Plan { discard_from: Some(wrong), damaged: true, ..plan };
            match self.boot(wrong, chance)? {
                Ending::Refused(Refusal::NotThere { damage }) if damage.lsn == from => {}
                ending => return broken("damage is only passed over where it is", format!("{ending:?}")),
            }
        }
        if self.disk.files().eq(before) { Ok(()) } else { broken("a refusal changes nothing", String::new()) }
    }

    /// The operator goes past the damage: the records before it are there, the loss is recorded, and it stays like that, even if
    /// the damage was a bad read that does not come again.
    fn discard(&mut self, from: Lsn, (file, bit): (File, usize), plan: Plan, chance: &mut Chance) -> Verdict {
        self.only_there(from, plan, chance)?;
        let damaged = self.disk.content(file).unwrap_or_default().to_vec();
        self.transcript.note(|| format!("        discard from {from}"));
        let losses = match self.boot(Plan { discard_from: Some(from), damaged: true, ..plan }, chance)? {
            Ending::Opened(opened) if opened.state.next() == from => opened.store.losses().to_vec(),
            ending => return broken("an operator may go past damage", format!("{ending:?}")),
        };
        if losses.last().is_none_or(|loss| loss.from != from) {
            return broken("a discarded record is remembered", format!("{losses:?}"));
        }
        self.go_down(chance);
        if self.disk.content(file) == Some(&damaged[..]) && chance.one_in(2) {
            self.transcript.note(|| "        the damage is gone".to_owned());
            self.disk.flip(file, bit);
        }
        match self.boot(Plan { damaged: true, ..plan }, chance)? {
            Ending::Opened(again) if again.state.next() == from => Ok(()),
            ending => broken("a discarded record stays discarded", format!("{ending:?}")),
        }
    }

    /// What a newer version wrote is neither the end of the log nor damage.
    fn newer(&mut self, plan: Plan, chance: &mut Chance) -> Verdict {
        let before = self.disk.clone();
        let Some(clean) = self.start(plan, chance)? else { return Ok(()) };
        self.disk = before;
        self.begun.clear();
        if self.world.oracle.is_undecided() || !newer::write(&mut self.disk, &clean, chance) {
            return Ok(());
        }
        let written = self.disk.clone();
        match self.boot(plan, chance)? {
            Ending::Refused(Refusal::Newer { .. }) => {}
            ending => return broken("what a newer version wrote is refused as that", format!("{ending:?}")),
        }
        // Pages that a failed sync left may go at a read: the medium has changed them then, not the start.
        let same = self.disk.dropped() > written.dropped()
            || self.disk.files().eq(written.files())
                && written.files().all(|file| self.disk.content(file) == written.content(file));
        if same { Ok(()) } else { broken("a refusal changes nothing", "files have changed".to_owned()) }
    }

    /// A read error is neither the end of the log nor damage.
    fn unreadable(&mut self, plan: Plan, chance: &mut Chance) -> Verdict {
        let read = chance.between(1, 12);
        let ending = self.boot(Plan { unreadable: Some(read), ..plan }, chance)?;
        match ending {
            Ending::Opened(opened) => self.world.judge(self.loss, &opened)?,
            Ending::Refused(Refusal::Unreadable { .. }) | Ending::Cut => {}
            Ending::Refused(refusal) if is_unstable(refusal) && !self.decided => {}
            Ending::Refused(refusal) => {
                return broken("a read error is neither torn nor corrupt", format!("{refusal:?}"));
            }
        }
        self.start(plan, chance).map(|_| ())
    }

    /// A start that fails changes no answer of a later one.
    fn fail(&mut self, plan: Plan, chance: &mut Chance) -> Verdict {
        let fault = if chance.one_in(4) { Fault::NoSpace } else { Fault::Io };
        let failing = Plan { fail: Some((chance.below(10), fault)), ..plan };
        match self.boot(failing, chance)? {
            Ending::Opened(opened) => self.world.judge(self.loss, &opened)?,
            Ending::Refused(Refusal::Failed { .. }) => {
                // A failed sync of recovery itself leaves pages that may go.
                self.loss = Loss::Power;
                self.decided = false;
            }
            Ending::Refused(refusal) if is_unstable(refusal) && !self.decided => {}
            Ending::Refused(refusal) => return self.world.oracle.it_starts(refusal),
            Ending::Cut => {}
        }
        self.go_down(chance);
        self.start(plan, chance).map(|_| ())
    }
}

/// What a crash took of what was pending.
pub(super) fn tell_fates(disk: &Disk, transcript: &mut Transcript) {
    let lost = disk.fates().iter().filter(|fate| !fate.what.is_whole());
    for fate in lost.clone() {
        transcript.note(|| format!("        {}", fate.what));
    }
    let kept = disk.fates().len() - lost.count();
    transcript.note(|| format!("        of what was not synced, {kept} more are as they were written"));
}

/// A bit of a byte that holds something, if a few tries find one.
fn pick_bit(content: &[u8], chance: &mut Chance) -> usize {
    let mut byte = 0;
    for _ in 0..12 {
        byte = chance.below(content.len());
        if content.get(byte).is_none_or(|byte| *byte != 0) {
            break;
        }
    }
    byte * 8 + chance.below(8)
}

/// The medium showed other bytes at the second read: a page that a failed sync left was dropped in between.
const fn is_unstable(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Unstable { .. } | Refusal::Unreadable { .. })
}
