//! From the configuration to an opened log, and the log's events to log lines.

use core::hash::BuildHasher;
use std::hash::RandomState;

use strandline::core::geometry::Geometry;
use strandline::core::wal::max_record;
use strandline::{Event, Lsn, Mode, Options, Places};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::config::{Config, FsyncMode};

/// How this configuration's log is opened or verified.
#[must_use]
pub fn options(config: &Config) -> Options {
    let wal = &config.wal;
    let mode = match wal.fsync_mode {
        _ if !wal.enabled => Mode::Never,
        FsyncMode::Always => Mode::Always,
        FsyncMode::Periodic => Mode::Periodic {
            interval_micros: u64::try_from(wal.fsync_interval.as_micros()).unwrap_or(u64::MAX),
            records: wal.sync_after_writes.map(|writes| u32::try_from(writes).unwrap_or(u32::MAX)),
        },
        FsyncMode::Never => Mode::Never,
    };
    let places = places(config, 0);
    Options::new(places.log.clone())
        .places(places)
        .mode(mode)
        .segment_bytes(segment_bytes(config))
        .batch_bytes(wal.batch_bytes)
        .write_on_wait(true)
        .keep_snapshots(config.snapshot.keep_count)
        .compress(config.snapshot.compression)
        .keep_all(true)
        .max_segments(max_segments(config))
}

fn max_segments(config: &Config) -> usize {
    let wal = &config.wal;
    let most = wal.max_total_bytes.filter(|_| wal.refuse_above_total).map(|total| total / wal.segment_bytes);
    most.map_or(usize::MAX, |segments| usize::try_from(segments).unwrap_or(usize::MAX))
}

/// The same for another shard.
pub(crate) fn options_of(config: &Config, shard: u16) -> Options {
    options(config).places(places(config, shard))
}

/// Where a shard's files are.
pub(crate) fn places(config: &Config, shard: u16) -> Places {
    let (wal, snapshots) = (&config.wal, &config.snapshot.directory);
    let prefix = wal.prefix.clone();
    if shard == 0 {
        return Places { log: wal.dir.clone(), snapshots: snapshots.clone(), prefix };
    }
    let name = format!("shard-{shard}");
    // Where the first shard has a directory named after it, the others are beside it; otherwise they are in it.
    let beside = wal.dir.file_name().is_some_and(|name| name == "shard-0");
    let log = if beside { wal.dir.with_file_name(&name) } else { wal.dir.join(&name) };
    Places { log, snapshots: snapshots.join(name), prefix }
}

/// The longest record that the log takes.
pub(super) fn record_bytes(config: &Config) -> usize {
    max_record(Geometry { extent_bytes: segment_bytes(config), ..Geometry::HOST }) as usize
}

fn segment_bytes(config: &Config) -> u32 {
    u32::try_from(config.wal.segment_bytes).unwrap_or(1 << 30)
}

/// An event of the log, and the reason of a failure.
pub(super) type Heard = (Event, Option<String>);

/// Passes events on: the log calls this with its lock held, where writing a line could make it wait.
pub(super) fn listener(to: UnboundedSender<Heard>) -> impl Fn(&Event, Option<&str>) + Send + Sync + 'static {
    move |event, why| drop(to.send((*event, why.map(str::to_owned))))
}

/// Writes a line for each event until the log is gone.
pub(super) async fn report(mut events: UnboundedReceiver<Heard>) {
    while let Some((event, why)) = events.recv().await {
        let why = why.as_deref().unwrap_or("unknown");
        match event {
            Event::Halted(_) => tracing::error!(
                why,
                "the log has halted: nothing is written any more, reads go on; see to the device, then restart"
            ),
            Event::Full => tracing::error!(
                "no space for another segment, on the device, below wal.max_total_mb or of open files: writes are refused until there is; \
                 deletes and snapshots go on"
            ),
            Event::Healed => tracing::info!("there is space again: writes are taken"),
            Event::Rotated { position, fence } => {
                tracing::debug!(segment = position.log.0, first_lsn = fence.0, "a segment was begun");
            }
            Event::SnapshotKept { base, .. } => tracing::debug!(base = base.0, "a snapshot counts"),
            Event::Released(extent) => tracing::debug!(%extent, "released: nothing needs it any more"),
            Event::Revised(revision) => {
                tracing::trace!(revision = revision.0, "a manifest revision is durable")
            }
            other => tracing::debug!(event = ?other, "log"),
        }
    }
}

/// A random number, from the keys that the standard library draws for its hash maps.
pub(super) fn random_seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// The newest record of a recovered log.
pub(super) const fn last_of(next: Lsn) -> u64 {
    next.0.saturating_sub(1)
}
