//! One start of a store on a simulated medium: drives recovery, and may cut it short at any system call.

use strandline_core::action::{Action, Buffer, Failure};
use strandline_core::codec::extent::{ExtentHeader, HeaderParsed};
use strandline_core::lower::posix::{File, Step, lower};
use strandline_core::manifest::{MANIFEST_EXTENTS, SegmentState, Snapshot};
use strandline_core::recovery::{Ask, Existing, Refusal, Report};
use strandline_core::store::Now;
use strandline_core::types::{EffectId, Extent, LogId, Lsn, Role, StoreId};
use strandline_core::wal::verdict;

use crate::chance::Chance;
use crate::oracle::{Oracle, State, Verdict, Violation, broken};
use crate::posix::{Disk, Fault};
use crate::setup::{FastCheck, Setup, SimRecovery, SimStore};
use crate::transcript::Transcript;

/// How one start is treated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// The crash comes in front of, or inside, this system call.
    pub cut: Option<usize>,
    /// This system call fails.
    pub fail: Option<(usize, Fault)>,
    /// This read fails.
    pub unreadable: Option<usize>,
    /// The newest snapshot is said to be damaged, if there is another one.
    pub reject: bool,
    /// The medium is damaged: a revision that nothing on it names may be gone, and its claims with it.
    pub damaged: bool,
    /// The operator goes past damage at this record.
    pub discard_from: Option<Lsn>,
    /// What time it is.
    pub now: Now,
}

/// How a start ended.
#[derive(Debug)]
pub enum Ending {
    /// The store is open.
    Opened(Box<Opened>),
    /// Recovery refused.
    Refused(Refusal),
    /// The crash came first.
    Cut,
}

/// An open store and what recovery found.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: SimStore,
    /// Its report.
    pub report: Report,
    /// The records, from the snapshot on.
    pub state: State,
    /// The LSN up to which the medium witnessed durability.
    pub witnessed: Lsn,
    /// What is not listed: what may be removed, and (`true`) what must be kept for the operator.
    pub orphans: Vec<(Extent, bool)>,
    /// Segment extents that the store may use again, as it began to replay.
    pub free: Vec<u32>,
    /// System calls that were made.
    pub calls: usize,
    /// Segments that were passed on the way.
    pub passed: Passed,
    /// Damage that was found and that nobody did.
    pub damage: u32,
}

/// Which rows of the verdict table led on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Replay went on in a newer epoch.
    pub fenced: bool,
    /// Replay went on in the next segment of an epoch.
    pub rotated: bool,
}

/// One start.
#[derive(Debug)]
pub struct Boot<'a> {
    setup: &'a Setup,
    oracle: &'a Oracle,
    plan: Plan,
    disk: &'a mut Disk,
    chance: &'a mut Chance,
    transcript: &'a mut Transcript,
    recovery: SimRecovery,
    names: Option<Vec<File>>,
    rejected: u32,
    state: State,
    replayed: u64,
    /// The id that a new store gets.
    fresh: StoreId,
    /// Bytes of the log that were written again.
    rewritten: u64,
    orphans: Vec<(Extent, bool)>,
    free: Vec<u32>,
    /// The segments that exist, as the start began to replay.
    listed: Vec<(LogId, Extent)>,
    /// What must be copied before it is changed.
    preserved: Vec<Extent>,
    calls: usize,
    reads: usize,
    /// Segments that this start began.
    begun: Vec<(StoreId, LogId)>,
}

/// What a start leaves besides its ending.
pub type Begun = Vec<(StoreId, LogId)>;

/// What one system call came to.
enum Call {
    Done(Result<(), Failure>),
    Cut,
}

impl<'a> Boot<'a> {
    /// Begins a start.
    pub fn new(
        setup: &'a Setup,
        oracle: &'a Oracle,
        plan: Plan,
        disk: &'a mut Disk,
        chance: &'a mut Chance,
        transcript: &'a mut Transcript,
    ) -> Self {
        let mut fresh = StoreId::default();
        chance.fill(&mut fresh.0);
        Self {
            recovery: setup.recovery(fresh, plan.discard_from),
            setup,
            oracle,
            plan,
            disk,
            chance,
            transcript,
            names: None,
            rejected: 0,
            state: State::default(),
            replayed: 0,
            fresh,
            rewritten: 0,
            orphans: Vec::new(),
            free: Vec::new(),
            listed: Vec::new(),
            preserved: Vec::new(),
            calls: 0,
            reads: 0,
            begun: Vec::new(),
        }
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Result<(Ending, Begun), Violation> {
        for _ in 0..MOST_ASKS {
            match self.recovery.poll(self.plan.now) {
                Ask::Read { extent, offset, start, len } => self.read(extent, offset, start..start + len),
                Ask::Grow(bytes) => {
                    self.recovery.grow(vec![0xee; bytes.next_multiple_of(4096)]);
                }
                Ask::NextExtent => self.name_next(),
                Ask::Load(snapshot) => self.load(snapshot)?,
                Ask::Records => self.records()?,
                Ask::Do(id, action) => {
                    if !self.act(id, action)? {
                        return Ok((Ending::Cut, self.begun));
                    }
                }
                Ask::Preserve(extent) => {
                    self.transcript.note(|| format!("        preserve {extent}"));
                    self.preserved.push(extent);
                }
                Ask::Orphan { extent, foreign } => {
                    self.transcript.note(|| format!("        orphan {extent}, foreign: {foreign}"));
                    if is_listed(&self.recovery, extent) || self.is_free(extent) {
                        return broken("what is listed is no orphan", extent.to_string());
                    }
                    self.orphans.push((extent, foreign));
                }
                Ask::Done => return self.opened(),
                Ask::Refuse(refusal) => {
                    self.transcript.note(|| format!("        refused: {refusal:?}"));
                    return Ok((Ending::Refused(refusal), self.begun));
                }
            }
        }
        broken("recovery ends", format!("{MOST_ASKS} asks"))
    }

    fn read(&mut self, extent: Extent, offset: u64, range: core::ops::Range<usize>) {
        self.reads += 1;
        if self.plan.unreadable == Some(self.reads) {
            self.transcript.note(|| format!("        read of {extent} at {offset} fails"));
            return self.recovery.filled(Err(Failure::Io));
        }
        let out = &mut self.recovery.window_mut()[range];
        let bytes = self.disk.read(File::of(extent), offset, out, self.chance).unwrap_or(0);
        self.recovery.filled(Ok(bytes));
    }

    fn name_next(&mut self) {
        let names = self.names.get_or_insert_with(|| {
            let mut names: Vec<File> = self.disk.files().collect();
            let turn = self.chance.below(names.len());
            names.rotate_left(turn);
            names
        });
        let existing = names
            .pop()
            .map(|file| Existing { extent: file.extent(), unfinished: matches!(file, File::Unfinished(_)) });
        self.recovery.next_extent(existing);
    }

    fn load(&mut self, snapshot: Snapshot) -> Verdict {
        let others = self.recovery.manifest().snapshots.as_slice().len() > 1;
        let reject = others && core::mem::take(&mut self.plan.reject);
        self.rejected += u32::from(reject);
        let file = self.disk.content(File::Snapshot(snapshot.number)).unwrap_or_default();
        let store = self.recovery.manifest().store;
        let state = crate::state::decode(store, snapshot, file).filter(|_| !reject);
        self.transcript
            .note(|| format!("        snapshot {} of {:?}, rejected: {reject}", snapshot.number, state));
        if let Some(state) = state {
            self.oracle.snapshot_is_true(state)?;
            self.state = state;
        } else {
            self.state = State::default();
        }
        self.recovery.loaded(state.is_some());
        Ok(())
    }

    fn records(&mut self) -> Verdict {
        if self.replayed == 0 {
            let manifest = self.recovery.manifest();
            self.free = manifest.free.as_slice().iter().map(|free| free.extent).collect();
            let segments = manifest.segments.as_slice().iter();
            let there = segments.filter(|segment| segment.state != SegmentState::Missing);
            self.listed = there.map(|segment| (segment.log, Extent::wal(segment.extent))).collect();
        }
        while let Some((lsn, payload)) = self.recovery.next_record() {
            self.state = self.oracle.follows(self.state, lsn, payload)?;
            self.replayed += 1;
        }
        Ok(())
    }

    /// Carries out an action; `false` if the crash came.
    fn act(&mut self, id: EffectId, action: Action) -> Result<bool, Violation> {
        self.begins(action)?;
        if let Action::Write { bytes, .. } = action {
            let there = self.recovery.bytes(bytes).len();
            if there != bytes.len as usize {
                return broken("a write has its bytes", format!("{there} of {action:?}"));
            }
            self.rewritten += if bytes.buffer == Buffer::Window { u64::from(bytes.len) } else { 0 };
        }
        for step in lower(action, self.setup.geometry) {
            match self.call(step) {
                Call::Done(Ok(())) => {}
                Call::Done(Err(failure)) => {
                    self.recovery.complete(id, Err(failure));
                    return Ok(true);
                }
                Call::Cut => return Ok(false),
            }
        }
        self.recovery.complete(id, Ok(()));
        Ok(true)
    }

    fn call(&mut self, step: Step) -> Call {
        let call = self.calls;
        self.calls += 1;
        let bytes = match step {
            Step::Write { bytes, .. } => self.recovery.bytes(bytes),
            _ => &[],
        };
        if self.plan.cut == Some(call) {
            let inside = self.chance.one_in(2);
            self.transcript.note(|| format!("        cut at call {call}: {step:?}, inside: {inside}"));
            if inside && matches!(step, Step::Write { .. } | Step::Zero { .. }) {
                let _ = self.disk.step(step, bytes, Some(Fault::Io), self.chance);
            }
            return Call::Cut;
        }
        let fault = self.plan.fail.filter(|(at, _)| *at == call).map(|(_, fault)| fault);
        let result = self.disk.step(step, bytes, fault, self.chance);
        self.transcript.note(|| format!("        {call}: {} {result:?}", show(step)));
        Call::Done(result)
    }

    /// A write at the start of a segment's extent begins that segment, unless it is the bytes that are there.
    fn begins(&mut self, action: Action) -> Verdict {
        let Action::Write { extent: Extent { role: Role::Wal, .. }, offset: 0, bytes } = action else {
            return Ok(());
        };
        let HeaderParsed::Header(header) = ExtentHeader::decode::<FastCheck>(self.recovery.bytes(bytes))
        else {
            return broken("a segment begins with its header", format!("{action:?}"));
        };
        if bytes.buffer == Buffer::Window {
            return Ok(());
        }
        if !self.plan.damaged {
            self.oracle.log_id_is_new(header.store, header.log)?;
        }
        self.begun.push((header.store, header.log));
        Ok(())
    }

    /// Whether the extent may be used again.
    fn is_free(&self, extent: Extent) -> bool {
        let free = self.recovery.manifest().free.as_slice();
        extent.role == Role::Wal && free.iter().any(|free| free.extent == extent.number)
    }

    fn opened(self) -> Result<(Ending, Begun), Violation> {
        self.nothing_is_forgotten()?;
        self.report_is_true()?;
        let witnessed = self.recovery.progress().1;
        let passed = passed(&self.recovery);
        let Some((store, report)) = self.recovery.finish() else {
            return broken("recovery ends", "done, and no store".to_owned());
        };
        self.transcript.note(|| {
            let Report { next, end, verdict, void_bytes, rewritten, epoch, .. } = report;
            format!("        open: next {next}, end {end}, {verdict:?}, void {void_bytes}, rewritten {rewritten}, epoch {epoch}")
        });
        let (state, orphans, free, calls) = (self.state, self.orphans, self.free, self.calls);
        let damage = report.damaged_snapshots - self.rejected + report.unneeded_damage;
        let opened = Opened { store, report, state, witnessed, orphans, free, calls, passed, damage };
        Ok((Ending::Opened(Box::new(opened)), self.begun))
    }

    /// Every file is listed, free or handed over, and what is given up was preserved.
    fn nothing_is_forgotten(&self) -> Verdict {
        let lost = |file: &File| {
            let extent = file.extent();
            let is_handed_over = self.orphans.iter().any(|(orphan, _)| *orphan == extent);
            !is_handed_over && !is_listed(&self.recovery, extent) && !self.is_free(extent)
        };
        if let Some(file) = self.disk.files().find(lost) {
            return broken("what is not listed is handed over", file.name("log").to_string());
        }
        let report = self.recovery.report();
        let discarded = report.verdict == Some(verdict::Verdict::Corrupt);
        let forgotten = |(log, extent): &&(LogId, Extent)| {
            discarded && *log >= report.end.log && !self.preserved.contains(extent)
        };
        match self.listed.iter().find(forgotten) {
            Some((log, extent)) => {
                broken("what is given up is kept for the operator", format!("log {log}, {extent}"))
            }
            None => Ok(()),
        }
    }

    fn report_is_true(&self) -> Verdict {
        let report = self.recovery.report();
        let (next, last) = self.recovery.progress();
        // Where the snapshot's segment is read from its place on, and nothing in it is passed over, the bytes are known.
        let from = report.snapshot.filter(|_| report.unneeded_damage == 0).map(|snapshot| snapshot.position);
        let from = from.filter(|from| from.offset > 0);
        let from = from.filter(|from| from.log == report.end.log && *from <= report.end);
        let bytes = from.map_or(report.bytes, |from| u64::from(report.end.offset - from.offset));
        let is_true = report.next == self.state.next()
            && report.records == self.replayed
            && report.bytes == bytes
            && report.rewritten == self.rewritten
            && report.fresh == (report.store == self.fresh)
            && next == report.next
            && last >= report.settled.lsn
            && (report.verdict != Some(verdict::Verdict::Clean) || report.void_bytes == 0);
        if is_true {
            return Ok(());
        }
        let (state, replayed) = (self.state, self.replayed);
        broken("the report is true", format!("{report:?}, {next} of {last}; {replayed} replayed, {state:?}"))
    }
}

/// Whether the manifest names a segment or a snapshot, or is in this extent.
fn is_listed(recovery: &SimRecovery, extent: Extent) -> bool {
    let manifest = recovery.manifest();
    match extent.role {
        Role::Manifest => extent.number < MANIFEST_EXTENTS,
        Role::Wal => manifest.segments.as_slice().iter().any(|segment| segment.extent == extent.number),
        Role::Snapshot => {
            manifest.snapshots.as_slice().iter().any(|snapshot| snapshot.number == extent.number)
        }
    }
}

/// Which segments lie between the snapshot and the end of the log.
fn passed(recovery: &SimRecovery) -> Passed {
    let report = recovery.report();
    let from = report.snapshot.map_or(LogId(0), |snapshot| snapshot.position.log);
    let segments = recovery.manifest().segments.as_slice();
    let on_path = segments.iter().filter(|segment| segment.log >= from && segment.log <= report.end.log);
    let epochs: Vec<_> = on_path.map(|segment| segment.epoch).collect();
    Passed {
        fenced: epochs.windows(2).any(|pair| pair[0] != pair[1]),
        rotated: epochs.windows(2).any(|pair| pair[0] == pair[1]),
    }
}

/// A system call in a line.
#[must_use]
pub fn show(step: Step) -> String {
    match step {
        Step::Create(file) => format!("create {}", file.name("log")),
        Step::Zero { file, bytes } => format!("zero {} x {bytes}", file.name("log")),
        Step::Write { file, offset, bytes } => {
            format!("write {} at {offset} x {}", file.name("log"), bytes.len)
        }
        Step::Sync(file) => format!("sync {}", file.name("log")),
        Step::SyncDirectory(directory) => format!("sync directory {directory:?}"),
        Step::Rename { from, to } => format!("rename {} to {}", from.name("log"), to.name("log")),
        Step::Remove(file) => format!("remove {}", file.name("log")),
    }
}

/// More than any recovery of these sizes needs.
const MOST_ASKS: usize = 20_000;
