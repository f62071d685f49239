//! Strandline.

use std::path::Path;
use std::time::Instant;

use strandline::core::codec::check::Seed;
use strandline::core::codec::frame::{Framing, Kind, Slot};
use strandline::{BadState, HardwareCheck, Image, Log, Lsn, Mode, Options, Replay};

use super::Job;

/// Frames into a buffer that is used again and again.
pub(super) fn frame(_: &Path, job: Job) -> Result<Vec<f64>, String> {
    let (record, mut buffer) = (job.record(), vec![0; BUFFER]);
    let begun = Instant::now();
    let mut used = 0;
    for record_number in 0..job.records() {
        let lsn = Lsn(record_number as u64);
        loop {
            let slot = Slot { offset: used as u64, lsn };
            match FRAMING.encode::<HardwareCheck>(Kind::Record, slot, &record, &mut buffer[used..]) {
                Some(bytes) => break used += bytes,
                None => used = 0,
            }
        }
    }
    core::hint::black_box(&buffer);
    Ok(job.rate(begun.elapsed()))
}

/// A lap that makes the segments, then one that is measured: snapshots of a state without content let go of what is behind them,
/// so that segments are used again.
pub(super) fn append(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let log = open(directory, Mode::Never, &mut ())?;
    lap(&log, job)?;
    let begun = Instant::now();
    lap(&log, job)?;
    Ok(job.rate(begun.elapsed()))
}

fn lap(log: &Log, job: Job) -> Result<(), String> {
    let every = SNAPSHOT_BYTES / job.bytes / job.threads;
    job.crowd(|thread| {
        let record = job.record();
        for appended in 1..=job.share() {
            log.submit(&record).map_err(|error| error.to_string())?;
            if thread == 0 && appended % every == 0 {
                log.write_snapshot(log.begin_snapshot(), &mut Nothing).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    })?;
    log.wait(Lsn(log.next_lsn().0 - 1)).map_err(|error| error.to_string())
}

pub(super) fn durable(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let log = open(directory, Mode::Always, &mut ())?;
    job.durably(|_, record| log.append(record).map(drop).map_err(|error| error.to_string()))
}

pub(super) fn replay(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let log = open(directory, Mode::Never, &mut ())?;
    let record = job.record();
    for _ in 0..job.records() {
        log.submit(&record).map_err(|error| error.to_string())?;
    }
    log.sync().map_err(|error| error.to_string())?;
    log.close();
    drop(log);
    let mut seen = Seen { expected: job.records(), ..Seen::default() };
    let begun = Instant::now();
    let log = open(directory, Mode::Never, &mut seen)?;
    drop(log);
    match seen.last {
        Some(last) => Ok(vec![seen.bytes as f64 / (last - begun).as_secs_f64()]),
        None => Err(format!("{} records came back", seen.records)),
    }
}

fn open(directory: &Path, mode: Mode, state: &mut impl Replay) -> Result<Log, String> {
    let opened = Log::open(Options::new(directory.join("log")).mode(mode), state);
    opened.map(|(log, _)| log).map_err(|error| error.to_string())
}

/// A state that only counts. What an opening does behind the last record is not replay.
#[derive(Default)]
struct Seen {
    expected: usize,
    records: usize,
    bytes: usize,
    last: Option<Instant>,
}

impl Replay for Seen {
    fn reset(&mut self) {
        *self = Self { expected: self.expected, ..Self::default() };
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), BadState> {
        Ok(())
    }

    fn apply(&mut self, _: Lsn, record: &[u8]) -> Result<(), BadState> {
        self.records += 1;
        self.bytes += record.len();
        if self.records == self.expected {
            self.last = Some(Instant::now());
        }
        Ok(())
    }
}

struct Nothing;

impl Image for Nothing {
    fn next_chunk(&mut self, _: &mut Vec<u8>) -> Result<bool, BadState> {
        Ok(false)
    }
}

/// Frames as segments of a host have them; of which store they are does not matter.
pub(super) const FRAMING: Framing = Framing { write_unit: 8, seed: Seed::HEADER };
pub(super) const BUFFER: usize = 256 << 10;
/// Between two snapshots.
const SNAPSHOT_BYTES: usize = 64 << 20;
