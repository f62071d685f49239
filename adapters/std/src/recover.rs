//! Drives recovery over files: reads what it asks for, hands snapshots and records to the state.

use std::path::PathBuf;

use strandline_core::action::{Action, Failure, Span};
use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::{Loss, Snapshot};
use strandline_core::recovery::{Ask, Existing, Options as CoreOptions, Recovery, Report, Scope};
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

/// Recovers the store in `dir`. With [`Scope::Verify`] nothing is written and there is no store.
pub(crate) fn recover(
    dir: &Dir,
    options: CoreOptions,
    batch_bytes: usize,
    state: &mut impl Replay,
    now: impl Fn() -> Now,
) -> Result<(Option<HostStore>, Recovered), OpenError> {
    let mut driver = Driver {
        dir,
        recovery: Recovery::new(options, memory(options.geometry, batch_bytes)),
        listed: Vec::new(),
        orphans: Vec::new(),
        named: None,
        recovered: Recovered::default(),
        failed: None,
    };
    driver.list()?;
    state.reset();
    loop {
        match driver.recovery.poll(now()) {
            Ask::Read { extent, offset, start, len } => driver.read(extent, offset, start, len),
            Ask::Grow(bytes) => drop(driver.recovery.grow(vec![0; bytes])),
            Ask::NextExtent => {
                driver.named = driver.listed.pop();
                driver.recovery.next_extent(driver.named);
            }
            Ask::Load(snapshot) => {
                let store = driver.recovery.report().store;
                state.begin(&snapshot);
                match load(dir, store, snapshot, state) {
                    Ok(()) => driver.recovery.loaded(true),
                    Err(LoadError::Unusable(Unusable::Newer)) => driver.recovery.unloadable(true),
                    Err(LoadError::Step(error)) if !error.is_missing() => {
                        driver.failed = Some(error);
                        driver.recovery.unloadable(false);
                    }
                    Err(why) => {
                        let path = dir.path(Name::Snapshot(snapshot.number));
                        driver.recovered.damaged_snapshots.push((path, why.to_string()));
                        state.reset();
                        driver.recovery.loaded(false);
                    }
                }
            }
            Ask::Records => driver.replay(state)?,
            Ask::Do(id, action) => {
                let bytes = span_of(&action).map(|span| driver.recovery.bytes(span)).unwrap_or_default();
                let result = dir.perform(action, bytes);
                if let (Action::Prepare { extent }, Err(_)) = (action, &result) {
                    // A part of it would only take space until the next start that succeeds.
                    let _ = dir.remove(Name::of(extent));
                }
                driver.complete(id, result);
            }
            Ask::Preserve(extent) => {
                let path = dir.preserve(Name::of(extent))?;
                driver.recovered.quarantined.push(path);
            }
            Ask::Orphan { extent, foreign } => driver.orphan(extent, foreign),
            Ask::Done => break,
            Ask::Refuse(why) => {
                if let Some(error) = driver.failed.take() {
                    return Err(error.into());
                }
                return Err(refusal(why, options.discard_from, |extent| dir.path(Name::of(extent))));
            }
        }
    }
    let Driver { recovery, orphans, mut recovered, .. } = driver;
    recovered.snapshots = recovery.manifest().snapshots.as_slice().to_vec();
    recovered.losses = recovery.manifest().losses.to_vec();
    if options.scope == Scope::Verify {
        recovered.report = *recovery.report();
        return Ok((None, recovered));
    }
    let Some((store, report)) = recovery.finish() else {
        return Err(OpenError::Refused("recovery ended without a store".into()));
    };
    recovered.report = report;
    tidy(dir, &orphans, &mut recovered)?;
    Ok((Some(store), recovered))
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

impl Driver<'_> {
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

/// Reads every listed snapshot back and names the ones that can't be loaded.
pub(crate) fn verify_snapshots(dir: &Dir, recovered: &mut Recovered) {
    for snapshot in recovered.snapshots.clone() {
        if let Err(why) = crate::snapshot::verify(dir, recovered.report.store, snapshot) {
            recovered.damaged_snapshots.push((dir.path(Name::Snapshot(snapshot.number)), why.to_string()));
        }
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
