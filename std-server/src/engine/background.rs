//! What the server does by itself: snapshots when they are due, and the removal of expired keys.

use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use strandline::Stats;

use super::DurableEngine;
use super::snapshots::{Last, take};
use crate::config::SnapshotConfig;

/// Why a snapshot is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Interval,
    Operations,
    LogGrowth,
}

/// What decides whether a snapshot is due.
struct Moment<'a> {
    config: &'a SnapshotConfig,
    last: &'a Last,
    /// Changes made so far.
    changes: u64,
    /// Bytes of log written so far, those included that recovery read.
    log_bytes: u64,
    /// Size of the newest snapshot.
    snapshot_bytes: u64,
    age: Duration,
}

impl Moment<'_> {
    fn due(&self) -> Option<Due> {
        let changes = self.changes.saturating_sub(self.last.changes);
        let grown = self.log_bytes.saturating_sub(self.last.log_bytes);
        if !self.config.auto || changes == 0 {
            None
        } else if self.config.operation_threshold.is_some_and(|threshold| changes >= threshold) {
            Some(Due::Operations)
        } else if grown > LOG_GROWTH_BYTES.max(self.snapshot_bytes) {
            Some(Due::LogGrowth)
        } else if self.age >= self.config.interval {
            Some(Due::Interval)
        } else {
            None
        }
    }
}

/// Takes snapshots when they are due, for ever.
pub(crate) async fn keep_snapshots(engine: Arc<DurableEngine>) {
    let Some(store) = engine.store() else { return };
    let (config, snapshots) = (&engine.facts.config.snapshot, engine.snapshots());
    let mut not_before = Instant::now();
    loop {
        tokio::time::sleep(SNAPSHOT_PAUSE).await;
        let Some(Stats { batch_bytes, snapshot_bytes, snapshots_made, halted: None, .. }) = store.log_stats()
        else {
            continue;
        };
        let last = snapshots.last();
        let moment = Moment {
            config,
            last: &last,
            changes: store.gauges().changes,
            // What was replayed lies in front of the first snapshot of this process.
            log_bytes: batch_bytes + if snapshots_made == 0 { engine.replayed_bytes() } else { 0 },
            snapshot_bytes,
            age: last.since.elapsed(),
        };
        let Some(due) = moment.due().filter(|_| Instant::now() >= not_before) else { continue };
        let Some(turn) = snapshots.try_turn() else { continue };
        tracing::debug!(?due, "a snapshot is due");
        if take(Arc::clone(store), Arc::clone(snapshots), turn).await.is_err() {
            not_before = Instant::now() + FAILURE_PAUSE;
        }
    }
}

/// Takes snapshots of the logs beside the keyspace's, for ever: they hold nothing, and let a start begin behind them.
pub(crate) async fn keep_shard_snapshots(engine: Arc<DurableEngine>) {
    let Some(shards) = engine.shards().filter(|shards| shards.count() > 1).cloned() else { return };
    let interval = engine.facts.config.snapshot.interval;
    let mut last: Vec<(u64, Instant)> = shards.all().iter().map(|_| (0, Instant::now())).collect();
    loop {
        tokio::time::sleep(SNAPSHOT_PAUSE).await;
        for (shard, (bytes, since)) in shards.all().iter().zip(&mut last).skip(1) {
            let Stats { batch_bytes, halted: None, .. } = shard.log.stats() else { continue };
            let grown = batch_bytes.saturating_sub(*bytes);
            if grown == 0 || (grown <= LOG_GROWTH_BYTES && since.elapsed() < interval) {
                continue;
            }
            let log = shard.log.clone();
            let taken =
                tokio::task::spawn_blocking(move || log.write_snapshot(log.begin_snapshot(), &mut Nothing));
            match taken.await {
                Ok(Ok(_)) => *bytes = batch_bytes,
                Ok(Err(error)) => {
                    tracing::error!(shard = shard.number, %error, "no snapshot of a shard was made; its log goes on")
                }
                Err(_) => return,
            }
            *since = Instant::now();
        }
    }
}

/// The state of a log that holds only events.
struct Nothing;

impl strandline::Image for Nothing {
    fn next_chunk(&mut self, _: &mut Vec<u8>) -> Result<bool, strandline::BadState> {
        Ok(false)
    }
}

/// Removes expired keys and frees what flushes left behind, for ever.
pub(crate) async fn sweep(engine: Arc<DurableEngine>) {
    let Some(store) = engine.store() else { return };
    loop {
        tokio::time::sleep(SWEEP_PAUSE).await;
        let begun = Instant::now();
        let mut removed = store.sweep(engine.clock.now_us() / 1000, SWEEP_KEYS);
        let any = removed > 0;
        while removed > 0 && begun.elapsed() < SWEEP_AT_MOST {
            tokio::task::yield_now().await;
            removed = store.sweep(engine.clock.now_us() / 1000, SWEEP_KEYS);
        }
        if any {
            // Nobody is told, but somebody must ask for the record to be written. A halt is known already.
            drop(store.kept(store.newest(), false).await);
        }
        let garbage = store.shared.lock().keyspace.take_garbage();
        if !garbage.is_empty() {
            drop(tokio::task::spawn_blocking(move || drop(garbage)));
        }
    }
}

const SNAPSHOT_PAUSE: Duration = Duration::from_millis(200);
/// After a failure, automatic snapshots wait.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);
/// Restart stays bounded although nobody asks for snapshots.
const LOG_GROWTH_BYTES: u64 = 1 << 30;
const SWEEP_PAUSE: Duration = Duration::from_millis(100);
/// Keys removed under one lock.
const SWEEP_KEYS: usize = 128;
const SWEEP_AT_MOST: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};
    use crate::engine::snapshots::Snapshots;

    #[test]
    fn a_snapshot_is_due_for_the_first_reason_that_holds() {
        let loaded = Config::load(&Flags::default(), [], std::path::Path::new("/nowhere")).expect("defaults");
        let mut config = loaded.config.snapshot;
        config.operation_threshold = Some(100);
        let last = Last { changes: 50, log_bytes: 1000, ..Snapshots::new(0).last() };
        let due = |changes, log_bytes, snapshot_bytes, age_s| {
            let age = Duration::from_secs(age_s);
            Moment { config: &config, last: &last, changes, log_bytes, snapshot_bytes, age }.due()
        };
        assert_eq!(due(50, 1000, 0, 10_000), None, "nothing has changed");
        assert_eq!(due(51, 2000, 0, 10), None);
        assert_eq!(due(51, 2000, 0, 3600), Some(Due::Interval));
        assert_eq!(due(150, 2000, 0, 10), Some(Due::Operations));
        assert_eq!(due(51, LOG_GROWTH_BYTES + 1001, 0, 10), Some(Due::LogGrowth));
        assert_eq!(due(51, LOG_GROWTH_BYTES + 1001, 2 << 30, 10), None, "the snapshot is larger");
        config.auto = false;
        let off = Moment {
            config: &config,
            last: &last,
            changes: 200,
            log_bytes: 0,
            snapshot_bytes: 0,
            age: Duration::MAX,
        };
        assert_eq!(off.due(), None);
    }
}
