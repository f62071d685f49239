//! What a log can't be faster than: the least that has to be done for each record, without a log around it.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use strandline::HardwareCheck;
use strandline::core::codec::check::Checksum as _;
use strandline::core::codec::frame::{Kind, Parsed, Slot};
use strandline::core::types::Lsn;

use super::Job;
use super::ours::{BUFFER, FRAMING};

/// A length, the record, and a checksum over both.
pub(super) fn frame(_: &Path, job: Job) -> Result<Vec<f64>, String> {
    let (record, mut buffer) = (job.record(), vec![0; BUFFER]);
    let bytes = (8 + record.len()).next_multiple_of(8);
    let begun = Instant::now();
    let mut used = 0;
    for _ in 0..job.records() {
        if used + bytes > buffer.len() {
            used = 0;
        }
        let frame = &mut buffer[used..used + bytes];
        frame[4..8].copy_from_slice(&(record.len() as u32).to_le_bytes());
        frame[8..8 + record.len()].copy_from_slice(&record);
        let crc = HardwareCheck::extend(0, &frame[4..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
        used += bytes;
    }
    core::hint::black_box(&buffer);
    Ok(job.rate(begun.elapsed()))
}

/// Frames into a buffer of a MiB, and each full one over a file that is there already.
pub(super) fn append(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join("file"));
    let file = file.map_err(|error| error.to_string())?;
    let (record, mut buffer) = (job.record(), vec![0; WRITE]);
    for at in (0..FILE).step_by(WRITE) {
        file.write_all_at(&buffer, at as u64).map_err(|error| error.to_string())?;
    }
    let begun = Instant::now();
    let (mut used, mut at) = (0, 0);
    for number in 0..job.records() {
        loop {
            let slot = Slot { offset: used as u64, lsn: Lsn(number as u64) };
            match FRAMING.encode::<HardwareCheck>(Kind::Record, slot, &record, &mut buffer[used..]) {
                Some(bytes) => break used += bytes,
                None => {
                    file.write_all_at(&buffer[..used], at).map_err(|error| error.to_string())?;
                    at = (at + used as u64) % (FILE - WRITE) as u64;
                    used = 0;
                }
            }
        }
    }
    file.write_all_at(&buffer[..used], at).map_err(|error| error.to_string())?;
    Ok(job.rate(begun.elapsed()))
}

/// What the device syncs, one write behind the other.
pub(super) fn durable(directory: &Path, job: Job) -> Result<Vec<f64>, String> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join("file"));
    let file = file.map_err(|error| error.to_string())?;
    job.durably(|_, record| {
        file.write_all_at(record, 0).and_then(|()| file.sync_data()).map_err(|error| error.to_string())
    })
}

/// Frames of a buffer, verified over and over.
pub(super) fn replay(_: &Path, job: Job) -> Result<Vec<f64>, String> {
    let (record, mut buffer) = (job.record(), vec![0; SCAN]);
    let (mut used, mut held) = (0, 0);
    while let Some(bytes) = {
        let slot = Slot { offset: used as u64, lsn: Lsn::FIRST };
        FRAMING.encode::<HardwareCheck>(Kind::Record, slot, &record, &mut buffer[used..])
    } {
        used += bytes;
        held += 1;
    }
    let laps = job.records().div_ceil(held);
    let begun = Instant::now();
    let mut seen = 0;
    for _ in 0..laps {
        let mut at = 0;
        while at < used {
            let limit = (used - at) as u64;
            match FRAMING.decode::<HardwareCheck>(&buffer[at..used], at as u64, limit) {
                Parsed::Frame(frame) => {
                    seen += core::hint::black_box(frame.payload).len();
                    at += frame.bytes;
                }
                other => return Err(format!("{other:?}")),
            }
        }
    }
    Ok(vec![seen as f64 / begun.elapsed().as_secs_f64()])
}

const WRITE: usize = 1 << 20;
const FILE: usize = 64 << 20;
/// Larger than the caches.
const SCAN: usize = 64 << 20;
