//! A world: a medium, a store on it, and what a script lets happen to them.
//!
//! ```text
//!   script ─► append, wait, ...      ─► store ─► actions ─► outstanding ─► one system call at a time, in any order ─► medium
//!          ─► probe: what if it crashed here                                                                     │
//!          ─► crash, crash again inside recovery, start                          oracle ◄── recovered state ◄────┘
//! ```

mod down;
mod every;
mod jobs;
mod newer;
mod records;
mod strangers;

use std::collections::BTreeMap;

use strandline_core::action::{Action, Event, Failure, Output, Refused};
use strandline_core::codec::extent::{ExtentHeader, HeaderParsed};
use strandline_core::lower::posix::{File, Step};
use strandline_core::store::{Mode, Now, Priority};
use strandline_core::types::{EffectId, Extent, Lsn, Millis, Role, Ticks};

use crate::boot::Opened;
use crate::chance::Chance;
use crate::coverage::Coverage;
use crate::oracle::{Oracle, Verdict, broken};
use crate::posix::{Call, Disk, Fault};
use crate::script::{Deed, Op, Script, Target};
use crate::setup::{FastCheck, Setup, SimStore};
use crate::transcript::Transcript;
pub use every::{Deed as SmallDeed, Points};
use jobs::{Job, Owner, SnapshotJob};

/// A world in the middle of its life.
#[derive(Debug)]
pub struct World {
    setup: Setup,
    disk: Disk,
    oracle: Oracle,
    store: Option<SimStore>,
    now: Now,
    /// Actions that were handed out and have system calls left.
    jobs: Vec<Job>,
    snapshot: Option<SnapshotJob>,
    /// How far each segment that this boot began has been written.
    written: BTreeMap<File, usize>,
    /// When records were acknowledged, oldest first: the LSN behind them.
    acknowledged: Vec<(Ticks, Lsn)>,
    full: bool,
    failing: Option<Target>,
    /// The log reaches back to the second newest snapshot: not so after the newest one was lost, until there is a new one.
    falls_back: bool,
    /// Makes each record unique.
    serial: u64,
    /// What happened.
    pub transcript: Transcript,
    /// What was reached.
    pub coverage: Coverage,
}

impl World {
    /// Runs a whole script; the first broken promise ends it.
    ///
    /// # Errors
    /// The broken promise.
    pub fn run(&mut self, script: &Script) -> Verdict {
        self.disk =
            core::mem::replace(&mut self.disk, Disk::new(self.setup.profile)).mended(script.mended.clone());
        let mut chance = Chance::new(script.seed ^ 0x0b00_7000);
        self.start(&mut chance)?;
        for (number, op) in script.ops.iter().enumerate() {
            self.transcript.note(|| format!("  {number:>3} {:?}", op.deed));
            self.perform(*op)?;
        }
        self.works_in_the_end(&mut chance)
    }

    /// With room on the medium and nothing held, a store that is neither halted nor closed takes records: at once, or after
    /// two snapshots have freed the table.
    fn works_in_the_end(&mut self, chance: &mut Chance) -> Verdict {
        (self.full, self.failing) = (false, None);
        self.store_do(|store| {
            store.hold(None);
            store.keep_all(false);
        });
        for attempt in 0..3 {
            if attempt > 0 {
                self.begin_snapshot(chance);
            }
            self.settle(chance)?;
            self.wait(20_000);
            self.settle(chance)?;
            let Some(store) = &mut self.store else { return Ok(()) };
            match store.append(&[], Priority::Ordinary) {
                Err(Refused::Full) => {}
                Ok(_) | Err(Refused::Halted | Refused::Closed) => return Ok(()),
                Err(refused) => return broken("a store with room takes records", format!("{refused:?}")),
            }
        }
        broken("a full store heals", "not by two snapshots".to_owned())
    }

    /// An empty medium.
    #[must_use]
    pub fn new(setup: Setup, transcript: Transcript) -> Self {
        Self {
            setup,
            disk: Disk::new(setup.profile),
            oracle: Oracle::default(),
            store: None,
            now: Now { ticks: Ticks(1), wall: Millis(1_000) },
            jobs: Vec::new(),
            snapshot: None,
            written: BTreeMap::new(),
            acknowledged: Vec::new(),
            full: false,
            failing: None,
            falls_back: true,
            serial: 0,
            transcript,
            coverage: Coverage::default(),
        }
    }

    fn perform(&mut self, op: Op) -> Verdict {
        let mut chance = Chance::new(op.salt);
        self.wait(chance.below(40) as u64);
        match op.deed {
            Deed::Append { content, reclaim } => self.append(content, reclaim, &mut chance)?,
            Deed::RequestSync => self.store_do(|store| store.request_sync(store.next_lsn())),
            Deed::Step => self.step(&mut chance)?,
            Deed::Settle => self.settle(&mut chance)?,
            Deed::Wait(micros) => self.wait(micros),
            Deed::Snapshot => self.begin_snapshot(&mut chance),
            Deed::Hold => self.hold(&mut chance),
            Deed::Close => self.store_do(SimStore::close),
            Deed::Fail(target) => self.failing = Some(target),
            Deed::Space(room) => self.full = !room,
            Deed::Probe => self.probe(&mut chance)?,
            Deed::Crash { power } => self.crash(power, &mut chance)?,
        }
        self.pump()
    }

    fn store_do(&mut self, deed: impl FnOnce(&mut SimStore)) {
        if let Some(store) = &mut self.store {
            deed(store);
        }
    }

    fn wait(&mut self, micros: u64) {
        self.now.ticks = self.now.ticks.plus(micros);
        self.now.wall = Millis(self.now.wall.0 + micros / 1000);
    }

    fn hold(&mut self, chance: &mut Chance) {
        if let Some(store) = &mut self.store {
            let logs: Vec<_> = store.segments().iter().map(|segment| segment.log).collect();
            let hold = (!logs.is_empty() && chance.one_in(2)).then(|| chance.pick(&logs));
            store.hold(hold);
            if chance.one_in(2) {
                store.rotate();
            }
            store.keep_all(chance.one_in(2));
            for log in logs.into_iter().filter(|_| chance.one_in(2)) {
                store.let_go(log);
                store.record_archived(log);
            }
        }
    }

    /// A recovery has handed over a store.
    fn open(&mut self, opened: Opened) {
        self.written.clear();
        self.acknowledged.clear();
        self.falls_back &= opened.report.damaged_snapshots == 0;
        let tail = opened.store.segments().last().map(|segment| File::Segment(segment.extent));
        if let Some(file) = tail {
            self.written.insert(file, opened.store.position().offset as usize);
        }
        for (extent, _) in opened.orphans {
            self.clean_up(extent);
        }
        self.store = Some(opened.store);
    }

    /// Polls the store until it is idle, then looks at what it claims.
    fn pump(&mut self) -> Verdict {
        for _ in 0..MOST_POLLS {
            let Some(store) = &mut self.store else { return Ok(()) };
            match store.poll(self.now) {
                Output::Do(id, action) => self.take(id, action)?,
                Output::Event(event) => self.event(event),
                Output::Idle { wake } => return self.claims(wake),
            }
        }
        broken("the store comes to rest", format!("{MOST_POLLS} polls"))
    }

    fn event(&mut self, event: Event) {
        self.transcript.note(|| format!("      {event:?}"));
        self.coverage.event(event);
        self.falls_back |= matches!(event, Event::SnapshotKept { .. });
    }

    /// Takes an action that the store handed out.
    fn take(&mut self, id: EffectId, action: Action) -> Verdict {
        let Some(store) = &self.store else { return Ok(()) };
        let bytes = match action {
            Action::Write { bytes, .. } => store.bytes(bytes).to_vec(),
            _ => Vec::new(),
        };
        if let Action::Write { extent: Extent { role: Role::Wal, number }, offset, .. } = action {
            if offset == 0 {
                let HeaderParsed::Header(header) = ExtentHeader::decode::<FastCheck>(&bytes) else {
                    return broken("a segment begins with its header", format!("{action:?}"));
                };
                self.oracle.begins(header.store, header.log)?;
            }
            self.written.insert(File::Segment(number), offset as usize + bytes.len());
        }
        self.jobs.push(Job::new(Owner::Store(id), action, bytes, self.setup.geometry));
        Ok(())
    }

    /// One outstanding action makes its next system call.
    fn step(&mut self, chance: &mut Chance) -> Verdict {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let at = chance.below(self.jobs.len());
        self.advance(at, chance)
    }

    /// This outstanding action makes its next system call; a sync begins at one step and is done at the next.
    fn advance(&mut self, at: usize, chance: &mut Chance) -> Verdict {
        if self.jobs[at].begins(self.disk.now()) {
            return Ok(());
        }
        let (step, result) = self.call(at, chance)?;
        let job = &mut self.jobs[at];
        (job.next, job.begun) = (job.next + 1, None);
        if result.is_ok() && job.next < job.steps.len() {
            return Ok(());
        }
        let job = self.jobs.swap_remove(at);
        self.finished(job, step, result)
    }

    fn call(
        &mut self,
        at: usize,
        chance: &mut Chance,
    ) -> Result<(Step, Result<(), Failure>), crate::oracle::Violation> {
        let job = &self.jobs[at];
        let step = job.steps[job.next];
        if let (Owner::Store(_), Step::Write { bytes, .. }, Some(store)) = (&job.owner, step, &self.store)
            && store.bytes(bytes) != job.bytes
        {
            return broken("bytes in flight stay as they are", format!("{step:?}"));
        }
        let hit = self.failing.is_some_and(|target| target.hits(step));
        let fault = if hit { Some(Fault::Io) } else { self.full.then_some(Fault::NoSpace) };
        if hit {
            self.failing = None;
        }
        let begun = job.begun.unwrap_or(self.disk.now());
        self.coverage.call(step, fault, begun < self.disk.now());
        let result = self.disk.finish(step, Call { bytes: &job.bytes, fault, begun }, chance);
        self.transcript.note(|| format!("      {} {result:?}", crate::boot::show(step)));
        if matches!(step, Step::Sync(_)) && result.is_err() {
            self.oracle.sync_failed();
        }
        Ok((step, result))
    }

    /// An action is done, or has failed.
    fn finished(&mut self, job: Job, step: Step, result: Result<(), Failure>) -> Verdict {
        match job.owner {
            Owner::Store(id) => {
                let Some(store) = &mut self.store else { return Ok(()) };
                store.complete(id, result, self.now);
                let must_halt = match (job.action, result) {
                    (Action::Write { .. } | Action::Sync { .. }, Err(_)) => true,
                    (Action::Prepare { .. }, Err(failure)) => failure == Failure::Io,
                    _ => false,
                };
                if must_halt && store.halted().is_none() {
                    return broken("a failed write or sync halts", format!("{step:?}: {result:?}"));
                }
            }
            Owner::Snapshot => self.snapshot_went_on(result),
            Owner::Chore => {}
        }
        self.pump()
    }

    /// Lets outstanding actions go on until none are left and the store wants nothing.
    fn settle(&mut self, chance: &mut Chance) -> Verdict {
        for _ in 0..MOST_POLLS {
            self.pump()?;
            if self.jobs.is_empty() {
                return Ok(());
            }
            self.step(chance)?;
        }
        broken("the store comes to rest", format!("{MOST_POLLS} steps"))
    }

    /// Compares what the store claims with the medium.
    fn claims(&mut self, wake: Option<Ticks>) -> Verdict {
        self.keep_snapshot();
        let Some(store) = &self.store else { return Ok(()) };
        let (acknowledged, settled) = (store.acknowledged(), store.settled());
        self.oracle.acknowledge(acknowledged)?;
        self.oracle.promise(settled.lsn);
        let always = self.setup.config.mode == Mode::Always;
        if always && acknowledged > settled.lsn {
            return broken(
                "an acknowledgement waits for the sync",
                format!("{acknowledged}, settled {settled:?}"),
            );
        }
        if self.acknowledged.last().is_none_or(|(_, lsn)| *lsn < acknowledged) {
            self.acknowledged.push((self.now.ticks, acknowledged));
        }
        for segment in store.segments().iter().filter(|segment| segment.log <= settled.position.log) {
            let file = File::Segment(segment.extent);
            let Some(written) = self.written.get(&file) else { continue };
            let is_tail = segment.log == settled.position.log;
            let bytes = if is_tail { settled.position.offset as usize } else { *written };
            if !self.disk.is_durable(file, bytes) {
                return broken(
                    "what is called settled is durable",
                    format!("{bytes} bytes of segment {}", segment.log),
                );
            }
        }
        self.nothing_is_forgotten(wake)?;
        self.periodic_is_in_time(wake)
    }

    /// A store at rest that waits for nothing has acknowledged everything.
    fn nothing_is_forgotten(&self, wake: Option<Ticks>) -> Verdict {
        let Some(store) = self.store.as_ref().filter(|store| store.halted().is_none()) else { return Ok(()) };
        let waits = !self.jobs.is_empty() || wake.is_some();
        if waits || store.acknowledged() == store.next_lsn() {
            return Ok(());
        }
        let (acknowledged, next) = (store.acknowledged(), store.next_lsn());
        broken("every record is acknowledged in the end", format!("{acknowledged} of {next}, and idle"))
    }

    /// In `periodic` nothing stays unsynced for longer than the interval once the store is at rest.
    fn periodic_is_in_time(&self, wake: Option<Ticks>) -> Verdict {
        let (Mode::Periodic { interval_micros, .. }, Some(store)) = (self.setup.config.mode, &self.store)
        else {
            return Ok(());
        };
        if !self.jobs.is_empty()
            || store.halted().is_some()
            || wake.is_some_and(|wake| wake <= self.now.ticks)
        {
            return Ok(());
        }
        let old = |(at, _): &&(Ticks, Lsn)| self.now.ticks.since(*at) > interval_micros;
        let Some((at, lsn)) = self.acknowledged.iter().rev().find(old) else { return Ok(()) };
        if store.settled().lsn < *lsn {
            return broken(
                "periodic syncs in time",
                format!("record before {lsn} of {at}, now {}", self.now.ticks),
            );
        }
        Ok(())
    }
}

impl Target {
    const fn hits(self, step: Step) -> bool {
        match self {
            Self::Write => matches!(step, Step::Write { .. } | Step::Zero { .. }),
            Self::Sync => matches!(step, Step::Sync(_)),
            Self::Other => !matches!(step, Step::Write { .. } | Step::Zero { .. } | Step::Sync(_)),
        }
    }
}

/// More than any pump or settling of these sizes needs.
const MOST_POLLS: usize = 5_000;
