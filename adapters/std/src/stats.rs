//! What a log counts while it works.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

use strandline_core::action::{Action, Event};
use strandline_core::types::{Lsn, Millis, Role};

/// Upper borders of the sync histogram, microseconds; the last bucket has none.
pub const SYNC_BORDERS_MICROS: [u64; 8] = [50, 100, 250, 1_000, 2_500, 10_000, 50_000, 250_000];

/// Counters, updated without a lock.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    batches: AtomicU64,
    batch_bytes: AtomicU64,
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BORDERS_MICROS.len() + 1],
    gather_micros: AtomicU64,
    rotations: AtomicU64,
    room_waits: AtomicU64,
    snapshots: AtomicU64,
    snapshot_micros: AtomicU64,
}

/// A moment's view of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// LSN of the next record.
    pub next: Lsn,
    /// Every record before this one is acknowledged.
    pub acknowledged: Lsn,
    /// Every record before this one is durable.
    pub durable: Lsn,
    /// Batches written since the start, and their bytes.
    pub batches: u64,
    /// See `batches`.
    pub batch_bytes: u64,
    /// Syncs of segments since the start, and their total duration.
    pub syncs: u64,
    /// See `syncs`.
    pub sync_time: Duration,
    /// Syncs by duration: see [`SYNC_BORDERS_MICROS`].
    pub sync_buckets: [u64; SYNC_BORDERS_MICROS.len() + 1],
    /// Time spent waiting for company before a batch was closed.
    pub gather_time: Duration,
    /// Times that an appender waited for room.
    pub room_waits: u64,
    /// Segments begun since the start.
    pub rotations: u64,
    /// Bytes written and not yet durable, and since when.
    pub unsynced_bytes: u64,
    /// See `unsynced_bytes`.
    pub unsynced_age: Option<Duration>,
    /// Listed segments.
    pub segments: u64,
    /// Bytes that the listed segments take.
    pub segment_bytes: u64,
    /// Snapshots made since the start, and how long the last one took.
    pub snapshots_made: u64,
    /// See `snapshots_made`.
    pub snapshot_time: Duration,
    /// Snapshots that may be loaded.
    pub snapshots: u64,
    /// When the newest was taken.
    pub snapshot_taken: Option<Millis>,
    /// The first LSN that is not in it.
    pub snapshot_base: Lsn,
    /// Its size, bytes.
    pub snapshot_bytes: u64,
    /// Ordinary records are, or will soon be, refused for want of space.
    pub full: bool,
    /// Why the log halted, if it has.
    pub halted: Option<String>,
}

impl Counters {
    pub(crate) fn performed(&self, action: Action, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match action {
            Action::Write { extent, bytes, .. } if extent.role == Role::Wal => {
                self.batches.fetch_add(1, Relaxed);
                self.batch_bytes.fetch_add(u64::from(bytes.len), Relaxed);
            }
            Action::Sync { extent } if extent.role == Role::Wal => {
                self.syncs.fetch_add(1, Relaxed);
                self.sync_micros.fetch_add(micros, Relaxed);
                let bucket = SYNC_BORDERS_MICROS.partition_point(|border| *border < micros);
                self.sync_buckets[bucket].fetch_add(1, Relaxed);
            }
            _ => {}
        }
    }

    pub(crate) fn heard(&self, event: &Event) {
        if let Event::Rotated { .. } = event {
            self.rotations.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn gathered(&self, took: Duration) {
        self.gather_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn waited_for_room(&self) {
        self.room_waits.fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot_made(&self, took: Duration) {
        self.snapshots.fetch_add(1, Relaxed);
        self.snapshot_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn fill(&self, stats: &mut Stats) {
        stats.batches = self.batches.load(Relaxed);
        stats.batch_bytes = self.batch_bytes.load(Relaxed);
        stats.syncs = self.syncs.load(Relaxed);
        stats.sync_time = Duration::from_micros(self.sync_micros.load(Relaxed));
        for (bucket, count) in stats.sync_buckets.iter_mut().zip(&self.sync_buckets) {
            *bucket = count.load(Relaxed);
        }
        stats.gather_time = Duration::from_micros(self.gather_micros.load(Relaxed));
        stats.room_waits = self.room_waits.load(Relaxed);
        stats.rotations = self.rotations.load(Relaxed);
        stats.snapshots_made = self.snapshots.load(Relaxed);
        stats.snapshot_time = Duration::from_micros(self.snapshot_micros.load(Relaxed));
    }
}
