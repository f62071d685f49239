//! A short life of a store on real files, to be traced: appends, snapshots, a close and a reopen.
//!
//! `drive always|never|archive DIRECTORY` prints `ack N` when everything up to record N is durable, one write a line. With `archive`
//! no segment is released that has no archive in `DIRECTORY/archives`.

use core::error::Error;
use std::io::Write;
use std::path::Path;

use strandline::archive::{ArchiveError, Entry, Stamp, Taker, Writing};
use strandline::{
    ArchiveJob, BadState, Describe, Image, Log, Lsn, Millis, Mode, Options, Pace, Record, Replay,
};
use strandline_tests::oracle::{State, digest};
use strandline_tests::recorded::{RECORDS, SEGMENT_BYTES, record};

/// The state of the simulated stores, so that their reader takes these snapshots.
#[derive(Default)]
struct Chain(State, usize);

impl Replay for Chain {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn restore(&mut self, chunk: &[u8]) -> Result<(), BadState> {
        let word = |chunk: &[u8]| {
            chunk.try_into().map(u64::from_le_bytes).map_err(|_| BadState("not a word".into()))
        };
        match self.1 {
            0 => self.0.records = word(chunk)?,
            2 => self.0.chain = word(chunk)?,
            _ => {}
        }
        self.1 += 1;
        Ok(())
    }

    fn apply(&mut self, _: Lsn, record: &[u8]) -> Result<(), BadState> {
        self.0 = self.0.with(digest(record));
        Ok(())
    }
}

struct Chunks(std::vec::IntoIter<Vec<u8>>);

impl Image for Chunks {
    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, BadState> {
        let next = self.0.next();
        let more = next.is_some();
        chunk.extend(next.into_iter().flatten());
        Ok(more)
    }
}

/// Each record as it is.
struct Raw;

impl Describe for Raw {
    fn entries(&mut self, record: &Record<'_>, take: &mut Taker<'_>) -> Result<(), ArchiveError> {
        let stamp = Stamp { lsn: record.lsn, time: record.time, commit: record.time };
        take(&Entry::record("drive", stamp, record.bytes))
    }
}

impl Pace for Raw {
    fn worked(&mut self, _: u64) -> Result<(), ArchiveError> {
        Ok(())
    }
}

/// Archives every settled segment and lets go of it.
fn archive(log: &Log, directory: &Path) -> Result<(), Box<dyn Error>> {
    log.rotate();
    log.sync()?;
    for segment in log.segments() {
        let Some(end) = segment.next.filter(|_| segment.is_settled) else { continue };
        if segment.log > log.archived() {
            let writing = Writing { level: Some(1), ..Writing::default() };
            let job = ArchiveJob { directory, writing, shard: 0, writer: "drive", created: Millis(0), end };
            log.archive_segment(&segment, &job, &mut Raw, &mut Raw)?;
            log.record_archived(segment.log);
        }
        log.let_go(segment.log);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(mode), Some(directory)) = (words.next(), words.next()) else {
        return Err("drive MODE DIRECTORY".into());
    };
    let (archives, conservative) = (Path::new(&directory).join("archives"), mode == "archive");
    let mode = if mode == "never" { Mode::Never } else { Mode::Always };
    for life in 0..3 {
        let mut chain = Chain::default();
        let options = Options::new(&directory)
            .mode(mode)
            .segment_bytes(SEGMENT_BYTES)
            .batch_bytes(8192)
            .keep_all(conservative)
            .keep_snapshots(3);
        let (log, _) = Log::open(options.compress(false), &mut chain)?;
        let from = chain.0.records + 1;
        for number in from..=RECORDS * (life + 1) / 3 {
            let lsn = log.submit(&record(number))?;
            chain.0 = chain.0.with(digest(&record(number)));
            // One at a time, then in groups.
            if number % 7 != 0 || number % 2 == 0 {
                if mode == Mode::Always {
                    log.wait(lsn)?
                } else {
                    log.wait_durable(lsn)?
                }
                std::io::stdout().write_all(format!("ack {number}\n").as_bytes())?;
            }
            if number % 40 == 20 {
                let words = [
                    chain.0.records.to_le_bytes().to_vec(),
                    vec![7; 600],
                    chain.0.chain.to_le_bytes().to_vec(),
                ];
                log.write_snapshot(log.begin_snapshot(), &mut Chunks(Vec::from(words).into_iter()))?;
                if conservative {
                    archive(&log, &archives)?;
                }
            }
        }
        log.close();
    }
    Ok(())
}
