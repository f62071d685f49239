//! What has been written and what is durable: syncs, in the order of the log.
//!
//! ```text
//!  segment 7 (sealed)      segment 8 (current)
//!  |====synced===|--written--|   |--written--|..in flight..|
//!                ^ settled                   ^ written
//! ```
//!
//! A queue of the segments that hold written, unsynced bytes; the front one is synced first, so that `settled` never skips
//! anything. A sync covers what was written before it was handed out, nothing else.

use super::{Mode, Phase, Store, Wake};
use crate::action::{Action, Failure};
use crate::codec::check::Checksum;
use crate::manifest::Loan;
use crate::types::{EffectId, Extent, LogId, Lsn, Position, Settled, Ticks};
use crate::wal::writer::{Batch, Place};

/// Segments that may hold unsynced bytes at once; one more waits.
const DIRTY: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Dirty {
    log: LogId,
    extent: u32,
    /// Everything before this has been written.
    end: Settled,
    /// Everything before this has been synced.
    synced: u32,
    /// Since when bytes are unsynced.
    since: Ticks,
    /// Records that were written and not synced.
    records: u32,
}

#[derive(Clone, Copy, Debug)]
struct Syncing {
    id: EffectId,
    covers: Settled,
    records: u32,
    since: Ticks,
}

#[derive(Debug)]
pub(super) struct Durability {
    dirty: heapless::Deque<Dirty, DIRTY>,
    syncing: Option<Syncing>,
    settled: Settled,
    written: Lsn,
    requested: Lsn,
    /// The next sync is wanted whatever the mode, even if no record asks for it.
    all: bool,
}

impl Durability {
    pub(super) fn new(settled: Settled) -> Self {
        Self {
            dirty: heapless::Deque::new(),
            syncing: None,
            settled,
            written: settled.lsn,
            requested: Lsn(0),
            all: false,
        }
    }

    pub(super) fn is(&self, id: EffectId) -> bool {
        self.syncing.is_some_and(|syncing| syncing.id == id)
    }

    pub(super) fn settled(&self) -> Settled {
        self.settled
    }

    pub(super) fn written(&self) -> Lsn {
        self.written
    }

    pub(super) fn request(&mut self, lsn: Lsn) {
        self.requested = self.requested.max(lsn);
    }

    pub(super) fn request_all(&mut self) {
        self.all = true;
    }

    pub(super) fn unsynced(&self) -> (u64, Option<Ticks>) {
        let bytes = self
            .dirty
            .iter()
            .map(|dirty| u64::from(dirty.end.position.offset.saturating_sub(dirty.synced)))
            .sum();
        (bytes, self.dirty.iter().find(|dirty| dirty.is_unsynced()).map(|dirty| dirty.since))
    }

    /// Whether a sync is outstanding or written bytes wait for one.
    pub(super) fn is_pending(&self) -> bool {
        self.syncing.is_some() || self.dirty.iter().any(Dirty::is_unsynced)
    }

    /// Whether a batch may go to `place`: not if it begins one segment too many.
    pub(super) fn may_write(&self, place: Place) -> bool {
        !self.dirty.is_full() || self.dirty.back().is_some_and(|dirty| dirty.log == place.position.log)
    }

    /// A batch is on its way to `place`.
    pub(super) fn handed_out(&mut self, place: Place) {
        if self.dirty.back().is_some_and(|dirty| dirty.log == place.position.log) {
            return;
        }
        self.forget_synced(0);
        let end = Settled { position: place.position, lsn: self.written };
        let synced = place.position.offset;
        let _ = self.dirty.push_back(Dirty {
            log: place.position.log,
            extent: place.extent,
            end,
            synced,
            since: Ticks(0),
            records: 0,
        });
    }

    pub(super) fn written_batch(&mut self, batch: &Batch, bytes: u32, now: Ticks) {
        let Some(dirty) = self.dirty.back_mut() else { return };
        if !dirty.is_unsynced() {
            dirty.since = now;
        }
        let start = batch.place.position;
        dirty.end = Settled {
            position: Position { log: start.log, offset: start.offset + bytes },
            lsn: batch.next(),
        };
        dirty.records = dirty.records.saturating_add(batch.records);
        self.written = batch.next();
    }

    /// When the front segment is to be synced: `Some(None)` is now.
    fn due(&self, mode: Mode, now: Ticks) -> Option<Option<Ticks>> {
        let front = self.dirty.front()?;
        if self.syncing.is_some() || !front.is_unsynced() {
            return None;
        }
        let wanted = self.all || self.requested > self.settled.lsn || self.dirty.len() > 1;
        match mode {
            _ if wanted => Some(None),
            Mode::Always => Some(None),
            Mode::Never => None,
            Mode::Periodic { interval_micros, records } => {
                let due = front.since.plus(interval_micros);
                let enough = records.is_some_and(|most| front.records >= most);
                Some(if now >= due || enough { None } else { Some(due) })
            }
        }
    }

    fn hand_out(&mut self, id: EffectId, now: Ticks) -> Option<u32> {
        let front = self.dirty.front_mut()?;
        self.syncing = Some(Syncing { id, covers: front.end, records: front.records, since: now });
        front.records = 0;
        // What is written from now on is not covered by this sync and ages from now.
        front.since = now;
        Some(front.extent)
    }

    /// Takes the end of a successful sync; returns what it covered.
    fn done(&mut self) -> Option<Syncing> {
        let syncing = self.syncing.take()?;
        self.settled = self.settled.max(syncing.covers);
        if let Some(front) = self.dirty.front_mut() {
            front.synced = syncing.covers.position.offset;
        }
        self.forget_synced(1);
        if !self.dirty.iter().any(Dirty::is_unsynced) {
            self.all = false;
        }
        Some(syncing)
    }

    /// Drops synced segments from the front, but keeps the last `keep`: bytes may be on their way to them.
    fn forget_synced(&mut self, keep: usize) {
        while self.dirty.len() > keep && self.dirty.front().is_some_and(|front| !front.is_unsynced()) {
            self.dirty.pop_front();
        }
    }
}

impl Dirty {
    fn is_unsynced(&self) -> bool {
        self.end.position.offset > self.synced
    }
}

impl<C: Checksum, L: Loan> Store<C, L> {
    pub(super) fn poll_sync(&mut self, now: Ticks, wake: &mut Wake) -> Option<(EffectId, Action)> {
        if let Some(later) = self.durability.due(self.config.mode, now)? {
            wake.at(Some(later));
            return None;
        }
        let id = self.id();
        let extent = self.durability.hand_out(id, now)?;
        Some((id, Action::Sync { extent: Extent::wal(extent) }))
    }

    pub(super) fn synced(&mut self, result: Result<(), Failure>, now: Ticks) {
        if let Err(failure) = result {
            self.halt(failure);
            return;
        }
        let Some(syncing) = self.durability.done() else { return };
        let waiting = self.staging.filling().map_or(0, |batch| batch.records);
        self.staging.gather.synced(now, now.since(syncing.since), syncing.records, waiting);
        if self.phase == Phase::Sealing && self.flight.is_none() && !self.durability.is_pending() {
            self.phase = Phase::Closed;
        }
    }
}
