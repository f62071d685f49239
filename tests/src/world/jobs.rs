//! Actions on their way: those of the store, those of a snapshot that is being written, and cleaning up.

use strandline_core::action::{Action, Buffer, Failure, Span};
use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::{File, Step, lower};
use strandline_core::manifest::Snapshot;
use strandline_core::snapshot::writer::Owner as SnapshotOwner;
use strandline_core::types::{EffectId, Extent};

use super::World;
use crate::chance::Chance;
use crate::posix::Moment;

/// An action with system calls left.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) owner: Owner,
    pub(super) action: Action,
    pub(super) bytes: Vec<u8>,
    pub(super) steps: Vec<Step>,
    /// The next of them.
    pub(super) next: usize,
    /// Since when it has been in a sync.
    pub(super) begun: Option<Moment>,
}

/// Who waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    Store(EffectId),
    Snapshot,
    Chore,
}

/// A snapshot on its way.
#[derive(Debug)]
pub(super) struct SnapshotJob {
    snapshot: Snapshot,
    /// What the file will hold.
    file: Vec<u8>,
    /// Actions to come, the next one last.
    actions: Vec<Action>,
    /// Everything is written, synced and read back.
    finished: bool,
}

impl Job {
    /// Whether its next system call is a sync, which begins now and will be done at a later step.
    pub(super) fn begins(&mut self, now: Moment) -> bool {
        let syncs = matches!(self.steps[self.next], Step::Sync(_) | Step::SyncDirectory(_));
        let begins = syncs && self.begun.is_none();
        if begins {
            self.begun = Some(now);
        }
        begins
    }

    pub(super) fn new(owner: Owner, action: Action, bytes: Vec<u8>, geometry: Geometry) -> Self {
        Self { owner, action, bytes, steps: lower(action, geometry).to_vec(), next: 0, begun: None }
    }
}

impl World {
    /// Removes a file that recovery found unneeded, at some time.
    pub(super) fn clean_up(&mut self, extent: Extent) {
        let names = [File::of(extent), File::Unfinished(extent.number)];
        let named: Vec<File> =
            self.disk.files().filter(|file| names.contains(file) && file.extent() == extent).collect();
        let steps = named.into_iter().map(Step::Remove).collect();
        let action = Action::Release { extent };
        let job = Job { owner: Owner::Chore, action, bytes: Vec::new(), steps, next: 0, begun: None };
        if !job.steps.is_empty() {
            self.jobs.push(job);
        }
    }

    pub(super) fn begin_snapshot(&mut self, chance: &mut Chance) {
        let (Some(store), None) = (&mut self.store, &self.snapshot) else { return };
        if store.halted().is_some() || store.is_closed() {
            return;
        }
        let mut snapshot = store.begin_snapshot();
        let owner =
            SnapshotOwner { store: store.store_id(), epoch: store.epoch(), revision: store.revision() };
        let filler = chance.pick(&[0, 100, 1500]);
        let file = crate::state::encode(owner, &mut snapshot, self.oracle.state(), filler);
        let extent = Extent::snapshot(snapshot.number);
        let middle = chance.below(file.len());
        let write = |from: usize, to: usize| {
            let bytes = Span { buffer: Buffer::Window, start: from as u32, len: (to - from) as u32 };
            Action::Write { extent, offset: from as u64, bytes }
        };
        let actions = vec![
            Action::Sync { extent },
            write(middle, file.len()),
            write(0, middle),
            Action::Prepare { extent },
        ];
        self.transcript.note(|| format!("      snapshot {} begun, base {}", snapshot.number, snapshot.base));
        self.snapshot = Some(SnapshotJob { snapshot, file, actions, finished: false });
        self.next_snapshot_action();
    }

    fn next_snapshot_action(&mut self) {
        let Some(job) = &mut self.snapshot else { return };
        let Some(action) = job.actions.pop() else {
            let read_back = self.disk.content(File::Snapshot(job.snapshot.number));
            job.finished = read_back == Some(&job.file[..]);
            return;
        };
        let bytes = match action {
            Action::Write { bytes, .. } => {
                let start = bytes.start as usize;
                job.file[start..start + bytes.len as usize].to_vec()
            }
            _ => Vec::new(),
        };
        self.jobs.push(Job::new(Owner::Snapshot, action, bytes, self.setup.geometry));
    }

    /// An action of the snapshot is done, or has failed: then it is given up.
    pub(super) fn snapshot_went_on(&mut self, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.next_snapshot_action(),
            Err(_) => {
                if let Some(job) = self.snapshot.take() {
                    self.clean_up(Extent::snapshot(job.snapshot.number));
                }
            }
        }
    }

    /// Hands a finished snapshot to the store, as soon as it takes one.
    pub(super) fn keep_snapshot(&mut self) {
        let (Some(store), Some(job)) = (&mut self.store, &self.snapshot) else { return };
        if job.finished && store.keep_snapshot(job.snapshot).is_ok() {
            self.snapshot = None;
        }
    }
}
