//! Other logs, each as its own documentation says that it is used.

use std::io;
use std::path::Path;
use std::time::Instant;

use commitlog::message::MessageSet as _;
use commitlog::{CommitLog, LogOptions, ReadLimit};
use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};
use open_wal::{Wal, WalConfig};
use raft_engine::{Config, Engine, LogBatch};
use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use super::Job;

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// One writer; a commit for each MiB, as it syncs with every commit.
pub(super) fn open_wal_append(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let (mut wal, _) = Wal::open(&directory.join("log"), WalConfig::default()).map_err(text)?;
    let (record, every) = (job.record(), (1 << 20) / job.bytes);
    let begun = Instant::now();
    for appended in 1..=job.records() {
        wal.append(&record).map_err(text)?;
        if appended % every == 0 {
            wal.commit().map_err(text)?;
        }
    }
    wal.commit().map_err(text)?;
    Ok(job.rate(begun.elapsed()))
}

fn raft_engine(directory: &Path) -> Result<Engine, String> {
    let dir = directory.join("log").to_string_lossy().into_owned();
    Engine::open(Config { dir, ..Default::default() }).map_err(text)
}

/// Each thread is a region and puts its records under one key, so that memory does not grow.
fn put(
    engine: &Engine,
    batch: &mut LogBatch,
    thread: usize,
    record: &[u8],
    sync: bool,
) -> Result<(), String> {
    batch.put(thread as u64 + 1, b"record".to_vec(), record.to_vec()).map_err(text)?;
    engine.write(batch, sync).map(drop).map_err(text)
}

pub(super) fn raft_engine_append(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let engine = raft_engine(directory)?;
    let took = job.crowd(|thread| {
        let (record, mut batch) = (job.record(), LogBatch::default());
        (0..job.share()).try_for_each(|_| put(&engine, &mut batch, thread, &record, false))
    })?;
    Ok(job.rate(took))
}

pub(super) fn raft_engine_durable(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let engine = raft_engine(directory)?;
    job.durably(|thread, record| put(&engine, &mut LogBatch::default(), thread, record, true))
}

/// Each thread has a topic.
pub(super) fn walrus_append(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    std::env::set_current_dir(directory).map_err(text)?;
    let reads = ReadConsistency::AtLeastOnce { persist_every: 1 << 20 };
    let walrus = Walrus::with_consistency_and_schedule(reads, FsyncSchedule::NoFsync).map_err(text)?;
    let took = job.crowd(|thread| {
        let (record, topic) = (job.record(), format!("topic-{thread}"));
        (0..job.share()).try_for_each(|_| walrus.append_for_topic(&topic, &record).map_err(text))
    })?;
    Ok(job.rate(took))
}

pub(super) fn okaywal_durable(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let options = Configuration::default_for(directory.join("log"))
        .preallocate_bytes(64 << 20)
        .checkpoint_after_bytes(48 << 20);
    let log: WriteAheadLog = options.open(LetGo).map_err(text)?;
    job.durably(|_, record| {
        let mut entry = log.begin_entry().map_err(text)?;
        entry.write_chunk(record).map_err(text)?;
        entry.commit().map(drop).map_err(text)
    })
}

/// Keeps nothing of what leaves the log.
#[derive(Debug)]
struct LetGo;

impl LogManager for LetGo {
    fn recover(&mut self, _: &mut Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

/// Its buffers verify what they read.
pub(super) fn commitlog_replay(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let options = LogOptions::new(directory.join("log"));
    let mut log = CommitLog::new(options.clone()).map_err(text)?;
    let record = job.record();
    for _ in 0..job.records() {
        log.append_msg(&record).map_err(text)?;
    }
    log.flush().map_err(text)?;
    drop(log);
    let begun = Instant::now();
    let log = CommitLog::new(options).map_err(text)?;
    let (mut next, mut seen) = (0, 0);
    loop {
        let read = log.read(next, ReadLimit::max_bytes(256 << 10)).map_err(text)?;
        for message in read.iter() {
            seen += core::hint::black_box(message.payload()).len();
            next = message.offset() + 1;
        }
        if read.is_empty() {
            break;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    if seen == job.records() * job.bytes {
        Ok(vec![seen as f64 / took])
    } else {
        Err(format!("{seen} bytes came back"))
    }
}
