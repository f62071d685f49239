//! What `/metrics` shows: one row a metric, read from the log's own counters when somebody asks.
//!
//! A new metric is one row.

use core::fmt;
use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use strandline::{SYNC_BORDERS_MICROS, Stats};

use crate::command::Host as _;
use crate::engine::{DurableEngine, Store};
use crate::http::Traffic;

/// The page.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(engine: Arc<DurableEngine>, traffic: Arc<Traffic>) -> Self {
        let mut registry = Registry::with_prefix("strandline");
        registry.register_collector(Box::new(Reader { engine, traffic }));
        Self { registry }
    }

    pub(crate) fn page(&self) -> Response {
        let mut page = String::new();
        match encode(&mut page, &self.registry) {
            Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
            Err(error) => error.to_string().into_response(),
        }
    }
}

#[derive(Debug)]
struct Reader {
    engine: Arc<DurableEngine>,
    traffic: Arc<Traffic>,
}

impl Collector for Reader {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut rows = Rows { encoder };
        let engine = &self.engine;
        let progress = engine.progress();
        rows.gauge("ready", "1 once recovery has finished", flag(progress.is_none()))?;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = progress.map_or(1.0, |progress| progress.done as f64 / progress.total.max(1) as f64);
        rows.gauge("replay_progress_ratio", "How much of the data recovery has taken in", ratio)?;
        rows.gauge(
            "connected_clients",
            "Connections of the Redis protocol",
            count(engine.clients().count()),
        )?;
        rows.gauge("http_connections", "Connections of HTTP", count(self.traffic.connections()))?;
        let turned_away = self.traffic.turned_away();
        rows.counter("http_turned_away", "Connections of HTTP that there was no room for", turned_away)?;
        let Some(store) = engine.store() else { return Ok(()) };
        keyspace_rows(&mut rows, store)?;
        let Some(stats) = store.log_stats() else { return Ok(()) };
        log_rows(&mut rows, &stats)?;
        history_rows(&mut rows, engine)?;
        scrub_rows(&mut rows, engine)?;
        snapshot_rows(&mut rows, &stats, engine)
    }
}

fn keyspace_rows(rows: &mut Rows<'_>, store: &Store) -> fmt::Result {
    let gauges = store.gauges();
    rows.gauge("keys", "Keys, expired ones included that were not removed yet", count(gauges.keys))?;
    rows.gauge("keys_expiring", "Keys that have an expiry", count(gauges.expiring))?;
    rows.gauge("memory_bytes", "Memory for keys, values and structure", count(gauges.used_bytes))?;
    rows.counter("commands", "Commands on data", gauges.tally.commands)?;
    rows.counter("keyspace_hits", "Keys read that existed", gauges.tally.hits)?;
    rows.counter("keyspace_misses", "Keys read that did not exist", gauges.tally.misses())?;
    rows.counter(
        "changes",
        "Commands and transactions that changed something, replayed ones included",
        gauges.changes,
    )?;
    rows.gauge(
        "snapshot_held_back_bytes",
        "What the running snapshot keeps of its moment",
        count(gauges.image_queue_bytes),
    )?;
    rows.counter("snapshot_waits", "Times that a writer waited for the running snapshot", gauges.image_waits)
}

fn log_rows(rows: &mut Rows<'_>, stats: &Stats) -> fmt::Result {
    rows.counter("log_appended_bytes", "Bytes written to the log", stats.batch_bytes)?;
    rows.counter("log_batches", "Batches written to the log", stats.batches)?;
    let batch_bytes = stats.batch_bytes.checked_div(stats.batches).unwrap_or(0);
    rows.gauge("log_batch_bytes", "Mean size of a batch since the start", number(batch_bytes))?;
    rows.seconds_total(
        "log_gather_seconds",
        "Time spent waiting for company before a batch was closed",
        stats.gather_time.as_secs_f64(),
    )?;
    rows.counter("log_room_waits", "Times that an appender waited for room", stats.room_waits)?;
    rows.syncs(stats)?;
    rows.gauge("log_unsynced_bytes", "Bytes written and not yet durable", number(stats.unsynced_bytes))?;
    let age = stats.unsynced_age.unwrap_or_default().as_secs_f64();
    rows.gauge("log_unsynced_age_seconds", "Age of the oldest of them", age)?;
    rows.gauge("log_next_lsn", "LSN of the next record", number(stats.next.0))?;
    rows.gauge("log_durable_lsn", "Every record below is durable", number(stats.durable.0))?;
    rows.gauge("log_segments", "Segments of the log", number(stats.segments))?;
    rows.gauge("log_segment_bytes", "What they take", number(stats.segment_bytes))?;
    rows.counter("log_rotations", "Segments begun since the start", stats.rotations)?;
    rows.gauge("log_full", "1 while there is no space for another segment", flag(stats.full))?;
    rows.gauge("halted", "1 once a write or sync has failed", flag(stats.halted.is_some()))
}

fn snapshot_rows(rows: &mut Rows<'_>, stats: &Stats, engine: &DurableEngine) -> fmt::Result {
    rows.gauge("snapshots", "Snapshots that may be loaded", number(stats.snapshots))?;
    rows.counter("snapshots_made", "Snapshots made since the start", stats.snapshots_made)?;
    rows.gauge("snapshot_duration_seconds", "How long the last one took", stats.snapshot_time.as_secs_f64())?;
    rows.gauge("snapshot_bytes", "Size of the newest one", number(stats.snapshot_bytes))?;
    rows.gauge("snapshot_base_lsn", "The first LSN that it does not hold", number(stats.snapshot_base.0))?;
    let running = engine.snapshots().is_running();
    rows.gauge("snapshot_running", "1 while one is being taken", flag(running))?;
    let failed = engine.snapshots().last().failure.is_some();
    rows.gauge("snapshot_failed", "1 if the last attempt failed", flag(failed))?;
    let Some(taken) = stats.snapshot_taken else { return Ok(()) };
    #[expect(clippy::cast_precision_loss, reason = "an age for people")]
    let age_s = (engine.now_us() / 1000).saturating_sub(taken.0) as f64 / 1000.0;
    rows.gauge("snapshot_age_seconds", "Age of the newest one", age_s)
}

fn history_rows(rows: &mut Rows<'_>, engine: &DurableEngine) -> fmt::Result {
    let Some(keeper) = engine.keeper() else { return Ok(()) };
    let report = keeper.report();
    rows.counter("archived_segments", "Segments archived since the start", report.archived)?;
    rows.counter("archived_bytes", "Bytes of their archives", report.archived_bytes)?;
    rows.gauge("archive_waiting_segments", "Settled segments without an archive", number(report.waiting))?;
    rows.counter("archive_failures", "Rounds in which something could not be archived", report.failures)?;
    rows.counter("retired_archives", "Archives deleted by the rules of retention", report.retired)?;
    rows.gauge(
        "archive_size_alarm",
        "1 while archives take more than they may",
        flag(report.alarm.is_some()),
    )?;
    rows.gauge(
        "log_outgrown",
        "1 while segments take all that wal.max_total_mb allows",
        flag(report.outgrown.is_some()),
    )?;
    rows.gauge("archive_failing", "1 while archiving fails", flag(report.failing.is_some()))?;
    rows.gauge(
        "quarantined_segments",
        "Damaged segments, which are never archived and never deleted",
        count(report.quarantined.len()),
    )
}

fn scrub_rows(rows: &mut Rows<'_>, engine: &DurableEngine) -> fmt::Result {
    let Some(report) = engine.scrub_report() else { return Ok(()) };
    rows.gauge("scrub_damaged", "Files that are kept and do not read back", count(report.damaged.len()))?;
    rows.counter("scrub_rounds", "Rounds of scrubbing that were finished since the start", report.rounds)?;
    rows.counter("scrub_read_bytes", "Bytes that scrubbing has read since the start", report.bytes)?;
    rows.gauge("scrub_running", "1 while a round of scrubbing runs", flag(report.is_running))?;
    let Some(finished) = report.finished else { return Ok(()) };
    rows.gauge("scrub_age_seconds", "Since the last round was finished", finished.elapsed().as_secs_f64())
}

struct Rows<'e> {
    encoder: DescriptorEncoder<'e>,
}

impl Rows<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.row(name, help, &ConstCounter::new(value))
    }

    fn seconds_total(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.row(name, help, &ConstCounter::new(value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.row(name, help, &ConstGauge::new(value))
    }

    fn row<M: EncodeMetric + TypedMetric>(&mut self, name: &str, help: &str, metric: &M) -> fmt::Result {
        metric.encode(self.encoder.encode_descriptor(name, help, None, M::TYPE)?)
    }

    fn syncs(&mut self, stats: &Stats) -> fmt::Result {
        let (name, help) = ("log_sync_duration_seconds", "Syncs of segments by duration");
        let mut encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        #[expect(clippy::cast_precision_loss, reason = "a quarter of a second in microseconds")]
        let borders = SYNC_BORDERS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<_> = borders.zip(stats.sync_buckets).collect();
        encoder.encode_histogram::<NoLabelSet>(stats.sync_time.as_secs_f64(), stats.syncs, &buckets, None)
    }
}

const fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
const fn number(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
const fn count(value: usize) -> f64 {
    value as f64
}

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
