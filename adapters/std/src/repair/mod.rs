//! What is wrong with a store, what would go past it, and going past it.
//!
//! ```text
//!  rehearse a start ─► refused? ─► a step that goes past it, only pretended ─┐
//!        ▲                                                                   │
//!        └───────────────────────────────────────────────────────────────────┘
//!        └► it would start ─► segments and snapshots that it does not need, one by one ─► Examination: findings and steps
//!
//!  Log::repair ─► the same steps, for real: aside ─► manifest ─► start with what is discarded
//! ```
//!
//! | found | step | lost |
//! |---|---|---|
//! | a file that is not the store's | it is put aside | nothing |
//! | no manifest, or one that was rolled back | it is made again from the headers of segments and snapshots | what it alone knew |
//! | settled records that a start needs are damaged or missing, and an archive has their segment | the segment is made again | nothing |
//! | the same without an archive | everything from there on is discarded | these records |
//! | a snapshot that can't be loaded | it is put aside | nothing: an older one and the log say the same |
//! | a segment that no start needs is damaged or missing | it is put aside | the records that can't be read |
//!
//! Invariants: an examination writes nothing. Each step keeps what it removes in `quarantine/`, and a crash between two steps leaves
//! a store for which the same examination finds the rest. What is lost stands in the manifest for ever.
//! What it does not do: nothing goes past a newer version's data, a device that can't be read, or a log that does not reach back
//! to a snapshot that loads.

mod apply;
mod manifest;
mod restore;
mod segment;

use core::sync::atomic::AtomicU64;
use std::path::PathBuf;
use std::sync::Arc;

use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::{Loss, Manifest, Segment, Snapshot};
use strandline_core::recovery::{Damage, Options as CoreOptions, Refusal};
use strandline_core::snapshot::reader::Unusable;
use strandline_core::types::{Epoch, Extent, LogId, Lsn, Revision, Settled, StoreId, Timeline};

use self::restore::Target;
pub(crate) use self::restore::add_record;
pub use self::restore::{Kept, KeptRecord, Unkept, Wanted};
use self::segment::Checked;
pub use self::segment::{SegmentDamage, Why};
use crate::dir::Dir;
use crate::error::{CorruptReport, OpenError};
use crate::memory::Owned;
use crate::reader::Record;
use crate::recover::{Recovered, Stop, rehearse};
use crate::snapshot::{LoadError, verify};

/// What an examination needs to know, and whom it tells how far it is.
pub struct Look<'l> {
    /// The first LSN of a segment and the one behind its last, if that is known from elsewhere. Otherwise a segment says where it
    /// begins, and ends where the next listed one begins.
    pub range_of: &'l dyn Fn(LogId) -> Option<(Lsn, Lsn)>,
    /// Whether all records of a segment of this store, from its first LSN to before its end, are kept elsewhere: in an archive that
    /// reads back.
    pub is_elsewhere: &'l dyn Fn(StoreId, LogId, (Lsn, Lsn)) -> bool,
    /// All records of a segment, from an archive of this store that reads back. `None`: there is no archive of it; an error: it can't be
    /// used, and why.
    pub records_of: &'l dyn Fn(&Wanted) -> Option<Result<Kept, Unkept>>,
    /// Bytes that have been read.
    pub progress: Arc<AtomicU64>,
}

impl Default for Look<'_> {
    fn default() -> Self {
        Self {
            range_of: &|_| None,
            is_elsewhere: &|_, _, _| false,
            records_of: &|_| None,
            progress: Arc::default(),
        }
    }
}

impl core::fmt::Debug for Look<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Look").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// One thing that goes past damage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// A file goes to `quarantine/`.
    PutAside {
        /// Which one.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The manifest is made again from what segments and snapshots say of themselves.
    RebuildManifest {
        /// Why.
        why: String,
        /// Segments that it will list.
        segments: usize,
        /// Snapshots that it will list.
        snapshots: usize,
    },
    /// A snapshot that can't be loaded goes to `quarantine/`.
    DropSnapshot {
        /// Which one.
        snapshot: Snapshot,
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A damaged segment that no start needs goes to `quarantine/`.
    GiveUp(SegmentDamage),
    /// A damaged segment that a start needs is made again with the records of its archive. Nothing is lost.
    Restore {
        /// Where, and the proof that something was there.
        damage: Box<CorruptReport>,
        /// The segment.
        segment: SegmentDamage,
        /// Where its records come from.
        from: String,
    },
    /// Every record from an LSN on is discarded.
    Discard {
        /// Where, what is lost, and the proof.
        damage: Box<CorruptReport>,
        /// Why the segment is not made again from its archive, if there is one.
        not_restored: Option<String>,
        /// The segments that go, the damaged one first.
        segments: Vec<SegmentDamage>,
    },
}

/// What was found, and what would go past it. Nothing was changed.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Examination {
    /// Why a start is refused as things are.
    pub refusal: Option<OpenError>,
    /// What no step goes past.
    pub blocked: Option<OpenError>,
    /// What a start finds; if it is refused, what it finds after the steps.
    pub start: Option<Recovered>,
    /// What a repair does, in this order.
    pub steps: Vec<Step>,
    /// Damaged segments that the newest snapshot does not need as a whole, but its end: they can't be given up yet.
    pub kept: Vec<SegmentDamage>,
    /// Damaged snapshots and why they can't be loaded.
    pub damaged_snapshots: Vec<(PathBuf, String)>,
    /// Listed snapshots that load.
    pub snapshots: Vec<Snapshot>,
    /// Segments in front of those that a start reads: how many, with how many records that were read back.
    pub history: (u64, u64),
    /// The segments that are listed after the steps.
    pub listed: Vec<LogId>,
    /// The store.
    pub store: StoreId,
    /// Its line of history.
    pub timeline: Timeline,
    /// Its newest epoch.
    pub epoch: Epoch,
    /// Losses that were gone past, the newest of them by name.
    pub losses: Vec<Loss>,
    /// How many losses there have been, ever.
    pub losses_ever: u32,
    /// Files in the quarantines of segments and snapshots, with their sizes.
    pub quarantine: Vec<(PathBuf, u64)>,
}

impl Examination {
    /// Whether a start is refused, or something of what is kept is damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.refusal.is_some() || !self.steps.is_empty() || !self.kept.is_empty() || self.blocked.is_some()
    }
}

/// Takes each record that can still be read.
pub type Sink<'s> = dyn FnMut(&Record<'_>) + 's;

/// The state of an examination between rehearsals.
pub(crate) struct Examiner<'l> {
    pub(crate) dir: Dir,
    pub(crate) options: CoreOptions,
    pub(crate) look: &'l Look<'l>,
    pub(crate) found: Examination,
    /// The manifest after the steps, without what they drop.
    pub(crate) manifest: Option<Manifest<Owned>>,
    /// The newest revision that is known to have been durable, once the manifest is to be made again.
    named: Option<Revision>,
    /// Why the archive of the segment that is damaged is of no use.
    not_restored: Option<String>,
}

impl<'l> Examiner<'l> {
    pub(crate) fn new(mut dir: Dir, options: CoreOptions, look: &'l Look<'l>) -> Self {
        dir.count_reads(Arc::clone(&look.progress));
        Self {
            dir,
            options,
            look,
            found: Examination::default(),
            manifest: None,
            named: None,
            not_restored: None,
        }
    }

    /// Rehearses starts until one succeeds or nothing goes past its refusal, then looks at the rest.
    pub(crate) fn run(&mut self) {
        self.found.quarantine = self.dir.quarantined();
        for _ in 0..MOST_STEPS {
            let rehearsal = rehearse(&self.dir, self.options, Default::default);
            self.found.damaged_snapshots.clone_from(&rehearsal.recovered.damaged_snapshots);
            self.found.losses.clone_from(&rehearsal.recovered.losses);
            self.found.losses_ever = rehearsal.manifest.head.losses;
            self.found.store = rehearsal.manifest.store;
            self.found.timeline = rehearsal.manifest.head.timeline;
            self.found.epoch = rehearsal.manifest.head.epoch;
            let stop = match rehearsal.outcome {
                Ok(()) => {
                    self.found.snapshots.clone_from(&rehearsal.recovered.snapshots);
                    self.found.start = Some(rehearsal.recovered);
                    self.manifest = Some(rehearsal.manifest);
                    break;
                }
                Err(stop) => stop,
            };
            let done = match &stop {
                Stop::Refused(refusal) => self.go_past(*refusal, &rehearsal.manifest),
                Stop::Failed(_) => false,
            };
            let error = stop.explain(&self.dir, None);
            if !done {
                self.found.blocked.get_or_insert(error);
                return;
            }
            self.found.refusal.get_or_insert(error);
        }
        let Some(mut manifest) = self.manifest.take() else { return };
        self.check_snapshots(&mut manifest);
        if let Err(error) = self.check_history(&mut manifest) {
            self.found.blocked = Some(error);
        }
        self.manifest = Some(manifest);
    }

    /// Adds a step that goes past a refusal, and pretends that it was done; whether there is one.
    fn go_past(&mut self, refusal: Refusal, manifest: &Manifest<Owned>) -> bool {
        let why = || Stop::Refused(refusal).explain(&self.dir, None).to_string();
        match refusal {
            Refusal::Corrupt(damage) if self.options.discard_from.is_none() => {
                match self.restore(damage, manifest) {
                    Ok(true) => {}
                    Ok(false) => self.discard(damage, manifest),
                    Err(unreadable) => {
                        self.found.blocked = Some(unreadable);
                        return false;
                    }
                }
                true
            }
            Refusal::Stray { extent } => {
                let path = self.dir.path(Name::of(extent));
                self.put_aside(path, why());
                true
            }
            Refusal::SeveralStores { .. } => self.put_foreign_manifests_aside(),
            // Marks that are read only later may name a newer revision than headers did.
            Refusal::RolledBack { named, .. } if self.named.is_none_or(|known| known < named) => {
                let why = why();
                self.named = Some(named);
                self.rebuild(manifest, why)
            }
            Refusal::NoManifest { .. } if self.named.is_none() => {
                let why = why();
                self.named = Some(Revision(0));
                self.rebuild(manifest, why)
            }
            _ => false,
        }
    }

    pub(super) fn put_aside(&mut self, path: PathBuf, why: String) {
        self.dir.pretence_mut().hidden.insert(path.clone());
        self.found.steps.push(Step::PutAside { path, why });
    }

    fn discard(&mut self, damage: Damage, manifest: &Manifest<Owned>) {
        let file = damage.extent.map(|extent: Extent| self.dir.path(Name::of(extent)));
        let segments = self.discarded(&damage, manifest);
        let damage = Box::new(CorruptReport { file, damage, wanted: None });
        self.options.discard_from = Some(damage.damage.lsn);
        let not_restored = self.not_restored.take();
        self.found.steps.push(Step::Discard { damage, not_restored, segments });
    }

    /// Pretends that a damaged segment is what its archive has of it; whether that goes past the damage. An archive or a segment that
    /// can't be read now is an error.
    fn restore(&mut self, damage: Damage, manifest: &Manifest<Owned>) -> Result<bool, OpenError> {
        self.not_restored = None;
        for (segment, end) in self.suspects(&damage, manifest) {
            let wanted = Wanted {
                store: manifest.store,
                timeline: manifest.head.timeline,
                epoch: segment.epoch,
                log: segment.log,
                lsns: (segment.fence, end),
            };
            let kept = match (self.look.records_of)(&wanted) {
                None => continue,
                Some(Ok(kept)) => kept,
                Some(Err(Unkept::NotNow(why))) => return Err(OpenError::Unreadable(why)),
                Some(Err(Unkept::Useless(why))) => {
                    self.not_restored.get_or_insert(why);
                    continue;
                }
            };
            match self.made(&segment, end, &kept, &damage, manifest) {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    let Checked { damage: found, .. } =
                        self.check(manifest.store, &segment, end, &mut |_| {})?;
                    self.dir.pretence_mut().instead.insert(Name::Segment(segment.extent), bytes);
                    let file = damage.extent.map(|extent: Extent| self.dir.path(Name::of(extent)));
                    let damage = Box::new(CorruptReport { file, damage, wanted: None });
                    self.found.steps.push(Step::Restore { damage, segment: found, from: kept.from });
                    return Ok(true);
                }
                Err(Unkept::NotNow(why)) => return Err(OpenError::Unreadable(why)),
                Err(Unkept::Useless(why)) => drop(self.not_restored.get_or_insert(why)),
            }
        }
        Ok(false)
    }

    /// The segment in which damage was found and the next one, which may not be there at all or have lost its header: each with its
    /// fence, and the LSN behind its last record, where these are known.
    fn suspects(&self, damage: &Damage, manifest: &Manifest<Owned>) -> Vec<(Segment, Lsn)> {
        let segments: &[Segment] = manifest.segments.as_slice();
        let is_it = |segment: &Segment| match damage.extent {
            Some(extent) => segment.extent == extent.number,
            None => segment.log == damage.position.log,
        };
        let Some(at) = segments.iter().position(is_it) else { return Vec::new() };
        let known = |at: usize| {
            let segment = segments.get(at)?;
            let range = (self.look.range_of)(segment.log);
            let fence = match segment.fence {
                // A snapshot may stand inside: the damage is found behind its place then, and not where the segment begins.
                Lsn::UNKNOWN => range.map_or(damage.lsn, |(first, _)| first.min(damage.lsn)),
                fence => fence,
            };
            let next = segments.get(at + 1).map(|next| next.fence).filter(|fence| *fence != Lsn::UNKNOWN);
            let end = range.filter(|(first, _)| *first == fence).map(|(_, end)| end).or(next)?;
            next.is_none_or(|next| end <= next).then_some((Segment { fence, ..*segment }, end))
        };
        [at, at + 1].into_iter().filter_map(known).collect()
    }

    /// The bytes of a segment with the records of its archive; `None` if nothing of it is damaged.
    fn made(
        &self,
        segment: &Segment,
        end: Lsn,
        kept: &Kept,
        damage: &Damage,
        manifest: &Manifest<Owned>,
    ) -> Result<Option<Vec<u8>>, Unkept> {
        let named = |snapshot: &Snapshot| Settled { position: snapshot.position, lsn: snapshot.base };
        let snapshots: &[Snapshot] = manifest.snapshots.as_slice();
        let anchors: Vec<Settled> = snapshots.iter().map(named).chain([damage.settled]).collect();
        let target = Target { store: manifest.store, segment: *segment, end, anchors: &anchors };
        let mut old = vec![0; segment.geometry.extent_bytes as usize];
        let read = self.dir.read(Name::Segment(segment.extent), 0, &mut old);
        old.truncate(read.map_err(|error| Unkept::NotNow(error.to_string()))?);
        let useless = |why| Unkept::Useless(format!("{}: {why}", kept.from));
        let made = target.make(&old, kept).map_err(useless)?;
        Ok(Some(made).filter(|made| *made != old))
    }

    /// Reads back every snapshot that the start did not load.
    fn check_snapshots(&mut self, manifest: &mut Manifest<Owned>) {
        let loaded = self.found.start.as_ref().and_then(|start| start.report.snapshot);
        let mut damaged = Vec::new();
        for snapshot in self.found.snapshots.clone() {
            if loaded == Some(snapshot) {
                continue;
            }
            let path = self.dir.path(Name::Snapshot(snapshot.number));
            match verify(&self.dir, manifest.store, snapshot) {
                Ok(()) => {}
                Err(LoadError::Unusable(Unusable::Newer)) => {
                    self.found.blocked.get_or_insert(OpenError::Newer(format!(
                        "{} was written by a newer version: use that version. This is not damage",
                        path.display()
                    )));
                }
                Err(LoadError::Step(error)) if !error.is_missing() => {
                    self.found.blocked.get_or_insert(error.into());
                }
                Err(why) => damaged.push((snapshot, path, why.to_string())),
            }
        }
        for (snapshot, path, why) in damaged {
            self.found.damaged_snapshots.push((path, why));
            self.found.snapshots.retain(|listed| *listed != snapshot);
            manifest.snapshots.retain(|listed: &Snapshot| *listed != snapshot);
        }
        for (path, why) in &self.found.damaged_snapshots {
            let snapshot = match Name::parse(&file_name(path), "") {
                Some(Name::Snapshot(number)) => Snapshot { number, ..Snapshot::default() },
                _ => Snapshot::default(),
            };
            let (path, why) = (path.clone(), why.clone());
            self.found.steps.push(Step::DropSnapshot { snapshot, path, why });
        }
    }

    /// Where replay began.
    fn base(&self) -> Settled {
        let snapshot = self.found.start.as_ref().and_then(|start| start.report.snapshot);
        snapshot.map_or_else(Settled::default, |snapshot| Settled {
            position: snapshot.position,
            lsn: snapshot.base,
        })
    }

    /// Reads the segments in front of those that the start has read.
    fn check_history(&mut self, manifest: &mut Manifest<Owned>) -> Result<(), OpenError> {
        let base = self.base();
        let segments: Vec<Segment> = manifest.segments.as_slice().to_vec();
        let checks = self.check_segments(manifest.store, &segments, base)?;
        self.found.history = (checks.count, checks.records);
        for mut damage in checks.damaged {
            damage.is_elsewhere = (self.look.is_elsewhere)(manifest.store, damage.log, damage.lsns);
            if damage.log == base.position.log {
                self.found.kept.push(damage);
                continue;
            }
            manifest.segments.retain(|segment: &Segment| segment.log != damage.log);
            self.found.steps.push(Step::GiveUp(damage));
        }
        self.found.listed =
            manifest.segments.as_slice().iter().map(|segment: &Segment| segment.log).collect();
        Ok(())
    }

    /// The revision above all that are known.
    pub(super) fn next_revision(named: Revision, manifest: &Manifest<Owned>) -> Revision {
        named.max(manifest.head.revision).next()
    }
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A discard, a rebuilt manifest, and files that lie where they don't belong.
const MOST_STEPS: usize = 1000;
