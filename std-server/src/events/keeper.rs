//! What happens to segments behind the writers: catalogued, archived, let go of.
//!
//! ```text
//!  settled ─► row in the catalog ─► [conservative mode: archived, read back, recorded] ─► let go of ─► released by the log
//!                │ damaged: quarantined, named, never let go of        │ failed: tried again later, named
//! ```
//!
//! | mode | a segment is let go of when |
//! |---|---|
//! | conservative | its archive has been read back |
//! | not | it holds no event, or its newest one is older than `events.keep` |
//!
//! The log releases it when two snapshots cover it as well. Segments are taken in the order of their log ids; one that is damaged
//! does not keep the others back. One thread does all of it, on a budget of bytes and processor time.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use strandline::archive::{ArchiveError, Writing};
use strandline::core::retention::Rules;
use strandline::{ArchiveJob, JobError, LogId, Lsn, Millis, Pace, ReadError, SegmentInfo};

use super::catalog::Row;
use super::describe::Describer;
use super::holds::Holds;
use super::record::Event;
use super::retention::{Ground, Plan};
use super::shard::Shard;
use super::shards::Shards;
use crate::config::HistoryConfig;

/// How history is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// No segment goes without an archive.
    pub(crate) conservative: bool,
    /// Events older than this are not wanted any more; `None`: they are wanted for ever.
    pub(crate) keep_ms: Option<u64>,
    /// zstd's level of archives.
    pub(crate) level: i32,
    /// Bytes of segments that are worked through in a second, at most.
    pub(crate) bytes_per_second: u64,
    /// Part of one processor that is used, percent.
    pub(crate) cpu_percent: u32,
    /// Which archives go by themselves.
    pub(crate) rules: HistoryConfig,
    /// What the segments of one shard should take.
    pub(crate) max_total_bytes: Option<u64>,
}

/// What the keeper has to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Segments archived since the start, and the bytes of their archives.
    pub(crate) archived: u64,
    pub(crate) archived_bytes: u64,
    /// Attempts that failed since the start.
    pub(crate) failures: u64,
    /// Settled segments that have no archive yet.
    pub(crate) waiting: u64,
    /// Why nothing could be archived or catalogued the last time.
    pub(crate) failing: Option<String>,
    /// Damaged segments, by shard and log id.
    pub(crate) quarantined: BTreeMap<(u16, u64), String>,
    /// Archives deleted since the start.
    pub(crate) retired: u64,
    /// The size of the archives can't be met.
    pub(crate) alarm: Option<String>,
    /// The segments of a shard take more than they should.
    pub(crate) outgrown: Option<String>,
}

/// Looks after the segments of all shards.
#[derive(Debug)]
pub(crate) struct Keeper {
    shards: Arc<Shards>,
    policy: Policy,
    report: Mutex<Report>,
    /// Segments that were let go of in this process: archived ones, in conservative mode.
    done: Mutex<BTreeSet<(u16, u64)>>,
    orders: Mutex<Orders>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Orders {
    /// Somebody wants a round now.
    now: bool,
    /// Rounds that have ended.
    rounds: u64,
}

impl Keeper {
    pub(crate) fn new(shards: Arc<Shards>, policy: Policy) -> Self {
        Self {
            shards,
            policy,
            report: Mutex::default(),
            done: Mutex::default(),
            orders: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        }
    }

    pub(crate) fn report(&self) -> Report {
        self.report.lock().clone()
    }

    /// Starts the thread.
    pub(crate) fn start(
        self: &Arc<Self>,
        now_ms: impl Fn() -> u64 + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let keeper = Arc::clone(self);
        std::thread::Builder::new().name("history".into()).spawn(move || keeper.run(&now_ms))
    }

    /// Gives up what is being done, before the next piece of it; the thread ends.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Relaxed);
        let _orders = self.orders.lock();
        self.changed.notify_all();
    }

    /// Begins a round at once, whatever failed before, until each shard is archived up to its LSN, or that fails. Blocks.
    pub(crate) fn until_archived(&self, ends: &[u64]) -> bool {
        let mut pause = SHORT_PAUSE;
        for _ in 0..MOST_ROUNDS {
            let round = self.begin_round();
            let mut orders = self.orders.lock();
            // One that runs already may have passed by what is wanted: the one after it counts.
            while orders.rounds < round + 2 && !self.stop.load(Relaxed) {
                orders.now = true;
                let _ = self.changed.wait_for(&mut orders, ROUND);
            }
            drop(orders);
            if self.is_archived(ends) {
                return true;
            }
            let report = self.report.lock();
            if self.stop.load(Relaxed) || report.failing.is_some() || !report.quarantined.is_empty() {
                return false;
            }
            drop(report);
            // What was ended is settled by the next sync, which a busy device may take long for.
            let mut orders = self.orders.lock();
            if !self.stop.load(Relaxed) {
                let _ = self.changed.wait_for(&mut orders, pause);
            }
            pause = (pause * 2).min(ROUND);
        }
        false
    }

    fn begin_round(&self) -> u64 {
        let mut orders = self.orders.lock();
        orders.now = true;
        self.changed.notify_all();
        orders.rounds
    }

    /// Whether no segment that begins before these LSNs is left without an archive.
    fn is_archived(&self, ends: &[u64]) -> bool {
        let done = self.done.lock();
        self.shards.all().iter().zip(ends).all(|(shard, end)| {
            let waits = |segment: &SegmentInfo| {
                segment.first.0 < *end && !done.contains(&(shard.number, segment.log.0))
            };
            !shard.log.segments().iter().any(waits)
        })
    }

    fn run(&self, now_ms: &dyn Fn() -> u64) {
        self.clear();
        let mut pause = ROUND;
        let mut retired: Option<Instant> = None;
        while !self.stop.load(Relaxed) {
            let mut failed = self.round(now_ms);
            if retired.is_none_or(|last| last.elapsed() >= RETIRE_PAUSE) {
                failed |= self.retire(now_ms());
                retired = Some(Instant::now());
            }
            pause = if failed { (pause * 2).clamp(LEAST_BACKOFF, MOST_BACKOFF) } else { ROUND };
            let mut orders = self.orders.lock();
            orders.rounds += 1;
            self.changed.notify_all();
            let until = Instant::now() + pause;
            while !orders.now && !self.stop.load(Relaxed) && Instant::now() < until {
                let _ = self.changed.wait_until(&mut orders, until);
            }
            orders.now = false;
        }
    }

    /// Removes archives that were not finished: their segments are all there.
    fn clear(&self) {
        for shard in self.shards.all() {
            let Ok(found) = std::fs::read_dir(&shard.archives) else { continue };
            for path in found.flatten().map(|entry| entry.path()) {
                if path.to_str().is_some_and(|path| path.ends_with(UNFINISHED)) {
                    // One that stays is in nobody's way: it is written over, or tried again at the next start.
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
    }

    /// Takes every segment as far as it can be taken; returns whether something failed.
    fn round(&self, now_ms: &dyn Fn() -> u64) -> bool {
        let (mut failing, mut waiting) = (None, 0);
        for shard in self.shards.all() {
            for segment in shard.log.segments().iter().filter(|segment| segment.is_settled) {
                if self.stop.load(Relaxed) {
                    return false;
                }
                match self.keep(shard, segment, now_ms) {
                    Ok(()) => {}
                    Err(why) => {
                        failing.get_or_insert(why);
                    }
                }
                let is_done = self.done.lock().contains(&(shard.number, segment.log.0));
                waiting += u64::from(self.policy.conservative && !is_done);
            }
        }
        let outgrown = self.outgrown();
        let mut report = self.report.lock();
        if let Some(why) = outgrown.as_ref().filter(|_| report.outgrown.is_none()) {
            tracing::warn!(why, "the log takes more than wal.max_total_mb");
        }
        report.outgrown = outgrown;
        if let Some(why) = failing.as_ref().filter(|why| report.failing.as_ref() != Some(why)) {
            tracing::error!(
                why,
                "history is not kept as it should be: segments stay, and this is tried again"
            );
        } else if failing.is_none() && report.failing.is_some() {
            tracing::info!("history is kept again");
        }
        report.failures += u64::from(failing.is_some());
        (report.failing, report.waiting) = (failing, waiting);
        report.failing.is_some()
    }

    fn outgrown(&self) -> Option<String> {
        let most = self.policy.max_total_bytes?;
        let sizes = self.shards.all().iter().map(|shard| (shard.number, shard.log.stats().segment_bytes));
        let (number, bytes) = sizes.max_by_key(|(_, bytes)| *bytes)?;
        (bytes >= most).then(|| {
            format!("the segments of shard {number} take {bytes} bytes, and wal.max_total_mb is {most}")
        })
    }

    /// Deletes the archives that the rules let go of; returns whether something failed.
    fn retire(&self, now_ms: u64) -> bool {
        let config = &self.policy.rules;
        if config.keep_window.is_none() && config.keep_count.is_none() && config.max_bytes.is_none() {
            return false;
        }
        let mut alarm = None;
        let mut failure = None;
        for shard in self.shards.all() {
            let plan = shard
                .archives
                .parent()
                .map_or(Ok(Vec::new()), |root| Holds::below(root).all())
                .and_then(|holds| {
                    let snapshots: Vec<_> = shard.log.snapshots().iter().map(|info| info.snapshot).collect();
                    let store = shard.log.identity().store;
                    let floor = Rules::floor_of(&snapshots);
                    let ground = Ground { shard: shard.number, store, floor, now_ms, config };
                    Plan::make(&shard.archives, &holds, &ground)
                });
            match plan {
                Ok(plan) => {
                    for row in plan.rows.iter().filter(|row| row.ruling.releases()) {
                        tracing::info!(%row, "an archive is deleted");
                    }
                    alarm = plan.alarm().or(alarm);
                    match plan.apply() {
                        Ok(retired) => self.report.lock().retired += retired,
                        Err(why) => failure = Some(why),
                    }
                }
                Err(why) => failure = Some(why),
            }
        }
        let mut report = self.report.lock();
        if let Some(why) = alarm.as_ref().filter(|_| report.alarm.is_none()) {
            tracing::error!(why, "archives take more than they may");
        }
        report.alarm = alarm;
        if let Some(why) = &failure {
            tracing::error!(why, "archives can't be retired: none is deleted, and this is tried again");
            report.failing = failure.clone();
            report.failures += 1;
        }
        failure.is_some()
    }

    fn keep(&self, shard: &Shard, segment: &SegmentInfo, now_ms: &dyn Fn() -> u64) -> Result<(), String> {
        let place = (shard.number, segment.log.0);
        let row = match shard.catalog.row(segment.log.0).filter(|row| row.first == segment.first.0) {
            Some(row) => row,
            None => self.catalogue(shard, segment)?,
        };
        if row.events == Row::UNKNOWN {
            let mut report = self.report.lock();
            report.quarantined.entry(place).or_insert_with(|| "its records do not read back".to_owned());
            return Ok(());
        }
        if self.done.lock().contains(&place) {
            return Ok(());
        }
        let goes = if row.first == row.end {
            true
        } else if self.policy.conservative {
            self.archive(shard, segment, &row, now_ms)?
        } else {
            let border = self.policy.keep_ms.map(|keep| now_ms().saturating_sub(keep));
            row.events == 0 || border.is_some_and(|border| row.latest_ms < border)
        };
        if goes {
            shard.log.let_go(segment.log);
            self.done.lock().insert(place);
        }
        Ok(())
    }

    /// Reads a segment once and remembers what it holds; a damaged one is remembered as such.
    fn catalogue(&self, shard: &Shard, segment: &SegmentInfo) -> Result<Row, String> {
        let Some(end) = shard.end(segment) else { return Err(format!("segment {} has no end", segment.log)) };
        let mut pace = Budget::new(self);
        let mut row =
            Row { log: segment.log.0, epoch: segment.epoch.0, first: segment.first.0, end, ..Row::default() };
        match count(shard, &mut row, &mut pace) {
            Ok(()) => {}
            Err(JobError::Segment(error @ ReadError::Damaged { .. })) => {
                self.quarantine(shard, segment.log, &error.to_string());
                row = Row { events: Row::UNKNOWN, latest_ms: u64::MAX, earliest_ms: 0, ..row };
            }
            Err(error) => return Err(error.to_string()),
        }
        shard.catalog.add(row)?;
        Ok(row)
    }

    fn quarantine(&self, shard: &Shard, log: LogId, why: &str) {
        let kept = match shard.log.preserve_segment(log) {
            Ok(Some(path)) => format!("a copy is in {}", path.display()),
            Ok(None) => "it is gone".to_owned(),
            Err(error) => format!("no copy could be made: {error}"),
        };
        tracing::error!(
            segment = log.0,
            shard = shard.number,
            why,
            kept,
            "a segment is damaged: it is quarantined, never archived and never deleted"
        );
        self.report.lock().quarantined.insert((shard.number, log.0), why.to_owned());
    }

    fn archive(
        &self,
        shard: &Shard,
        segment: &SegmentInfo,
        row: &Row,
        now_ms: &dyn Fn() -> u64,
    ) -> Result<bool, String> {
        let job = ArchiveJob {
            directory: &shard.archives,
            writing: Writing { level: Some(self.policy.level), ..Writing::default() },
            shard: u32::from(shard.number),
            writer: WRITER,
            created: Millis(now_ms()),
            end: Lsn(row.end),
        };
        match shard.log.archive_segment(segment, &job, &mut Describer, &mut Budget::new(self)) {
            Ok(info) => {
                shard.log.record_archived(segment.log);
                tracing::info!(segment = segment.log.0, path = %info.path.display(), entries = info.entries, bytes = info.bytes, "archived");
                let mut report = self.report.lock();
                report.archived += 1;
                report.archived_bytes += info.bytes;
                Ok(true)
            }
            Err(JobError::Segment(error @ ReadError::Damaged { .. })) => {
                self.quarantine(shard, segment.log, &error.to_string());
                shard.catalog.add(Row {
                    events: Row::UNKNOWN,
                    latest_ms: u64::MAX,
                    earliest_ms: 0,
                    ..*row
                })?;
                Ok(false)
            }
            Err(_) if self.stop.load(Relaxed) => Ok(false),
            Err(error) => Err(format!("segment {}: {error}", segment.log)),
        }
    }
}

fn count(shard: &Shard, row: &mut Row, pace: &mut Budget<'_>) -> Result<(), JobError> {
    let mut reader = shard.log.read_segment(LogId(row.log), Lsn(row.end))?;
    let mut paced = reader.offset();
    while let Some(record) = reader.next()? {
        if let Some(event) = Event::decode(record.bytes) {
            let ms = event.timestamp_ms;
            (row.earliest_ms, row.latest_ms) = match row.events {
                0 => (ms, ms),
                _ => (row.earliest_ms.min(ms), row.latest_ms.max(ms)),
            };
            row.events += 1;
        }
        if reader.offset() - paced >= PACED_BYTES {
            pace.worked(u64::from(reader.offset() - paced))?;
            paced = reader.offset();
        }
    }
    Ok(())
}

/// Sleeps so that work stays within the budget, and ends it when the server stops.
struct Budget<'k> {
    keeper: &'k Keeper,
    last: Instant,
}

impl<'k> Budget<'k> {
    fn new(keeper: &'k Keeper) -> Self {
        Self { keeper, last: Instant::now() }
    }
}

impl Pace for Budget<'_> {
    fn worked(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let Policy { bytes_per_second, cpu_percent, .. } = self.keeper.policy;
        let busy = self.last.elapsed();
        let by_bytes = Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64);
        let by_time = busy * 100 / cpu_percent.max(1);
        let pause = by_bytes.max(by_time).saturating_sub(busy);
        if !pause.is_zero() {
            let mut orders = self.keeper.orders.lock();
            if !self.keeper.stop.load(Relaxed) {
                let _ = self.keeper.changed.wait_for(&mut orders, pause.min(LONGEST_PAUSE));
            }
        }
        self.last = Instant::now();
        if self.keeper.stop.load(Relaxed) {
            return Err(ArchiveError::Other("the server is stopping".to_owned()));
        }
        Ok(())
    }
}

const WRITER: &str = concat!("std-server ", env!("CARGO_PKG_VERSION"));
const UNFINISHED: &str = ".wal.zst.tmp";
const ROUND: Duration = Duration::from_millis(200);
const SHORT_PAUSE: Duration = Duration::from_millis(1);
const LEAST_BACKOFF: Duration = Duration::from_secs(1);
const MOST_BACKOFF: Duration = Duration::from_secs(60);
const RETIRE_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A segment is settled soon after it was ended: by then, whatever the sync mode.
const MOST_ROUNDS: u32 = 100;
const PACED_BYTES: u32 = 256 << 10;
