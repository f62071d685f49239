//! Drives recovery over files: reads what it asks for, hands snapshots and records to the state.

use std::path::PathBuf;

use strandline_core::action::{Action, Failure, Span};
use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::{Loss, Manifest, Snapshot};
use strandline_core::recovery::{Ask, Existing, Options as CoreOptions, Recovery, Refusal, Report, Scope};
use strandline_core::snapshot::reader::Unusable;
use strandline_core::store::{Now, Store};
use strandline_core::types::{Extent, Lsn};

use crate::check::HardwareCheck;
use crate::dir::{Dir, Found, StepError};
use crate::error::{BadState, OpenError, refusal};
use crate::memory::{Owned, memory};
use crate::snapshot::{LoadError, load};

/// The engine with the host's checksum and memory.
pub(crate) type HostStore = Store<HardwareCheck, Owned>;

/// What recovered state goes to.
pub trait Replay {
    /// Forget everything: what follows begins anew.
    fn reset(&mut self);

    /// Hears of which snapshot the chunks that follow are, after a [`Self::reset`]: a state can make room for its items.
    fn begin(&mut self, _snapshot: &Snapshot) {}

    /// Takes one chunk of a snapshot, as [`Image::next_chunk`](crate::Image::next_chunk) made it.
    ///
    /// # Errors
    /// If the chunk is not one: the snapshot is passed over and the one before it is tried.
    fn restore(&mut self, chunk: &[u8]) -> Result<(), BadState>;

    /// Takes one record.
    ///
    /// # Errors
    /// If it can't be applied: the store is not opened.
    fn apply(&mut self, lsn: Lsn, record: &[u8]) -> Result<(), BadState>;

    /// Hears how far recovery has come: the next record, and the last one known to exist.
    fn progress(&mut self, _next: Lsn, _last: Lsn) {}
}

/// Ignores what is recovered, for programs that read the log themselves.
impl Replay for () {
    fn reset(&mut self) {}

    fn restore(&mut self, _: &[u8]) -> Result<(), BadState> {
        Ok(())
    }

    fn apply(&mut self, _: Lsn, _: &[u8]) -> Result<(), BadState> {
        Ok(())
    }
}

/// What recovery found, and what it put aside.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// What core says.
    pub report: Report,
    /// Files that were moved or copied to `quarantine/`, by their new paths.
    pub quarantined: Vec<PathBuf>,
    /// Files that were removed because nothing needs them.
    pub removed: Vec<PathBuf>,
    /// Snapshots that could not be loaded, and why.
    pub damaged_snapshots: Vec<(PathBuf, String)>,
    /// The snapshots that the manifest lists, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Losses that operators chose to go past; the newest are kept by name.
    pub losses: Vec<Loss>,
}

/// Recovers the store in `dir`.
pub(crate) fn recover(
    dir: &Dir,
    options: CoreOptions,
    batch_bytes: usize,
    state: &mut impl Replay,
    now: impl Fn() -> Now,
) -> Result<(HostStore, Recovered), OpenError> {
    let mut driver = Driver::new(dir, options, batch_bytes);
    driver.run(state, now).map_err(|stop| stop.explain(dir, options.discard_from))?;
    let Driver { recovery, orphans, mut recovered, .. } = driver;
    recovered.snapshots = recovery.manifest().snapshots.as_slice().to_vec();
    recovered.losses = recovery.manifest().losses.to_vec();
    let Some((store, report)) = recovery.finish() else {
        return Err(OpenError::Refused("recovery ended without a store".into()));
    };
    recovered.report = report;
    tidy(dir, &orphans, &mut recovered)?;
    Ok((store, recovered))
}

/// What a start would find, and the manifest that it would go by.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    pub(crate) outcome: Result<(), Stop>,
    pub(crate) recovered: Recovered,
    pub(crate) manifest: Manifest<Owned>,
}

/// Does what a start does, and writes nothing.
pub(crate) fn rehearse(dir: &Dir, options: CoreOptions, now: impl Fn() -> Now) -> Rehearsal {
    debug_assert_eq!(options.scope, Scope::Verify);
    let mut driver = Driver::new(dir, options, 0);
    let outcome = driver.run(&mut (), now);
    let Driver { recovery, mut recovered, .. } = driver;
    recovered.report = *recovery.report();
    let manifest = recovery.into_manifest();
    recovered.snapshots = manifest.snapshots.as_slice().to_vec();
    recovered.losses = manifest.losses.to_vec();
    Rehearsal { outcome, recovered, manifest }
}

/// Why recovery ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It refuses.
    Refused(Refusal),
    /// Something failed around it.
    Failed(OpenError),
}

impl Stop {
    /// In words; `wanted` is the LSN that was to be discarded from.
    pub(crate) fn explain(self, dir: &Dir, wanted: Option<Lsn>) -> OpenError {
        match self {
            Self::Refused(why) => refusal(why, wanted, |extent| dir.path(Name::of(extent))),
            Self::Failed(error) => error,
        }
    }
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Self {
        Self::Failed(error)
    }
}

impl From<StepError> for Stop {
    fn from(error: StepError) -> Self {
        Self::Failed(error.into())
    }
}

/// The span that an action writes.
pub(crate) fn span_of(action: &Action) -> Option<Span> {
    if let Action::Write { bytes, .. } = action { Some(*bytes) } else { None }
}

struct Driver<'d> {
    dir: &'d Dir,
    recovery: Recovery<HardwareCheck, Owned>,
    listed: Vec<Existing>,
    /// Files that are not needed, and whether they may be someone else's.
    orphans: Vec<(Name, bool)>,
    /// The file that was named last while they were listed.
    named: Option<Existing>,
    recovered: Recovered,
    /// The error behind a failure that recovery has been told of.
    failed: Option<StepError>,
}

impl<'d> Driver<'d> {
    fn new(dir: &'d Dir, options: CoreOptions, batch_bytes: usize) -> Self {
        Self {
            dir,
            recovery: Recovery::new(options, memory(options.geometry, batch_bytes)),
            listed: Vec::new(),
            orphans: Vec::new(),
            named: None,
            recovered: Recovered::default(),
            failed: None,
        }
    }

    fn run(&mut self, state: &mut impl Replay, now: impl Fn() -> Now) -> Result<(), Stop> {
        self.list()?;
        state.reset();
        loop {
            match self.recovery.poll(now()) {
                Ask::Read { extent, offset, start, len } => self.read(extent, offset, start, len),
                Ask::Grow(bytes) => drop(self.recovery.grow(vec![0; bytes])),
                Ask::NextExtent => {
                    self.named = self.listed.pop();
                    self.recovery.next_extent(self.named);
                }
                Ask::Load(snapshot) => self.load(snapshot, state),
                Ask::Records => self.replay(state)?,
                Ask::Do(id, action) => {
                    let bytes = span_of(&action).map(|span| self.recovery.bytes(span)).unwrap_or_default();
                    let result = self.dir.perform(action, bytes);
                    if let (Action::Prepare { extent }, Err(_)) = (action, &result) {
                        // A part of it would only take space until the next start that succeeds.
                        let _ = self.dir.remove(Name::of(extent));
                    }
                    self.complete(id, result);
                }
                // One that was prepared and not begun holds nothing.
                Ask::Preserve(extent) if self.dir.is_blank(Name::of(extent))? => {}
                Ask::Preserve(extent) => {
                    let path = self.dir.preserve(Name::of(extent))?;
                    self.recovered.quarantined.push(path);
                }
                Ask::Orphan { extent, foreign } => self.orphan(extent, foreign),
                Ask::Done => return Ok(()),
                Ask::Refuse(why) => {
                    return Err(self.failed.take().map_or(Stop::Refused(why), Stop::from));
                }
            }
        }
    }

    fn load(&mut self, snapshot: Snapshot, state: &mut impl Replay) {
        let store = self.recovery.report().store;
        state.begin(&snapshot);
        match load(self.dir, store, snapshot, state) {
            Ok(()) => self.recovery.loaded(true),
            Err(LoadError::Unusable(Unusable::Newer)) => self.recovery.unloadable(true),
            Err(LoadError::Step(error)) if !error.is_missing() => {
                self.failed = Some(error);
                self.recovery.unloadable(false);
            }
            Err(why) => {
                let path = self.dir.path(Name::Snapshot(snapshot.number));
                self.recovered.damaged_snapshots.push((path, why.to_string()));
                state.reset();
                self.recovery.loaded(false);
            }
        }
    }

    fn list(&mut self) -> Result<(), OpenError> {
        for found in self.dir.list()? {
            if let Found::Ours(name) = found {
                let unfinished = matches!(name, Name::Unfinished(_));
                self.listed.push(Existing { extent: name.extent(), unfinished });
            }
        }
        Ok(())
    }

    fn read(&mut self, extent: Extent, offset: u64, start: usize, len: usize) {
        let window = self.recovery.window_mut();
        let into = window.get_mut(start..start + len).unwrap_or_default();
        let read = self.dir.read(Name::of(extent), offset, into);
        let result = match read {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                let failure = error.failure();
                self.failed = Some(error);
                Err(failure)
            }
        };
        self.recovery.filled(result);
    }

    /// An unfinished file is the one that was just named; whatever else is not needed has its final name.
    fn orphan(&mut self, extent: Extent, foreign: bool) {
        let unfinished = self.named.is_some_and(|named| named.extent == extent && named.unfinished);
        let name = if unfinished { Name::Unfinished(extent.number) } else { Name::of(extent) };
        self.orphans.push((name, foreign));
    }

    fn replay(&mut self, state: &mut impl Replay) -> Result<(), OpenError> {
        while let Some((lsn, record)) = self.recovery.next_record() {
            state.apply(lsn, record).map_err(|source| OpenError::State { lsn, source })?;
        }
        let (next, last) = self.recovery.progress();
        state.progress(next, last);
        Ok(())
    }

    fn complete(&mut self, id: strandline_core::types::EffectId, result: Result<(), StepError>) {
        let result: Result<(), Failure> = match result {
            Ok(()) => Ok(()),
            Err(error) => {
                let failure = error.failure();
                self.failed = Some(error);
                Err(failure)
            }
        };
        self.recovery.complete(id, result);
    }
}

/// Removes what nothing needs and puts aside what is not ours, now that this boot's first revision is durable.
fn tidy(dir: &Dir, orphans: &[(Name, bool)], recovered: &mut Recovered) -> Result<(), OpenError> {
    for (name, foreign) in orphans {
        let path = dir.path(*name);
        if !path.exists() {
            continue;
        }
        if *foreign {
            recovered.quarantined.push(dir.quarantine(&path)?);
        } else if dir.remove(*name).is_ok() {
            recovered.removed.push(path);
        }
    }
    for found in dir.list()? {
        if let Found::Foreign(path) = found {
            recovered.quarantined.push(dir.quarantine(&path)?);
        }
    }
    Ok(())
}
