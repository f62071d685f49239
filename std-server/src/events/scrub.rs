//! Reads settled segments, snapshots and archives once more in the background, so that damage is found before a restart needs what
//! is damaged.
//!
//! ```text
//!  a round: shard by shard: settled segments ─► snapshots ─► archives, each from the device, on a budget of bytes
//!             │ damaged                                            │ intact again, or gone
//!             └► one error line, a metric, a detail of readiness   └► forgotten
//! ```
//!
//! The server goes on serving: what it holds in memory is right. Nothing is held, nothing is changed.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use strandline::archive::{self, Archive, ArchiveError, Range};
use strandline::{Lsn, Pace, Scrubbed};

use super::shard::Shard;
use super::shards::Shards;
use crate::config::ScrubConfig;

/// Something that does not read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) shard: u16,
    pub(crate) kind: Kind,
    pub(crate) offset: Option<u64>,
    /// The LSNs that can't be read, both ends included.
    pub(crate) lsns: Option<(u64, u64)>,
    pub(crate) why: String,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Segment,
    Snapshot,
    Archive,
}

impl Kind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Snapshot => "snapshot",
            Self::Archive => "archive",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Segment => "a segment",
            Self::Snapshot => "a snapshot",
            Self::Archive => "an archive",
        }
    }

    /// What the operator does before the next restart.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::Segment => {
                "take a snapshot now (POST /snapshot): then no start needs this segment; see to the device, and when the server is \
                 stopped: std-server repair"
            }
            Self::Snapshot => {
                "take a snapshot now (POST /snapshot); see to the device, and when the server is stopped: std-server repair"
            }
            Self::Archive => {
                "put the file back from a copy, or when the server is stopped: std-server repair; see to the device"
            }
        }
    }
}

/// What scrubbing has to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScrubReport {
    /// Rounds that were finished since the start, and bytes that were read.
    pub(crate) rounds: u64,
    pub(crate) bytes: u64,
    pub(crate) is_running: bool,
    /// When the last round was finished.
    pub(crate) finished: Option<Instant>,
    /// What does not read back, by file.
    pub(crate) damaged: BTreeMap<PathBuf, Finding>,
}

/// Scrubs all shards.
#[derive(Debug)]
pub(crate) struct Scrubber {
    shards: Arc<Shards>,
    config: ScrubConfig,
    report: Mutex<ScrubReport>,
    stop: AtomicBool,
    stopping: (Mutex<()>, Condvar),
}

impl Scrubber {
    pub(crate) fn new(shards: Arc<Shards>, config: ScrubConfig) -> Self {
        let (stop, stopping) = (AtomicBool::new(false), Default::default());
        Self { shards, config, report: Mutex::default(), stop, stopping }
    }

    pub(crate) fn report(&self) -> ScrubReport {
        self.report.lock().clone()
    }

    /// Starts the thread.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let scrubber = Arc::clone(self);
        std::thread::Builder::new().name("scrub".into()).spawn(move || scrubber.run())
    }

    /// Gives up what is being read; the thread ends.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Relaxed);
        let _locked = self.stopping.0.lock();
        self.stopping.1.notify_all();
    }

    fn run(&self) {
        // A start has enough to read by itself.
        self.sleep(self.config.interval.min(FIRST_PAUSE));
        while !self.stop.load(Relaxed) {
            let begun = Instant::now();
            self.report.lock().is_running = true;
            let ended = self.round();
            let mut report = self.report.lock();
            report.is_running = false;
            if ended.is_err() {
                return;
            }
            report.rounds += 1;
            report.finished = Some(Instant::now());
            drop(report);
            self.sleep(self.config.interval.saturating_sub(begun.elapsed()).max(LEAST_PAUSE));
        }
    }

    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut locked = self.stopping.0.lock();
        while !self.stop.load(Relaxed) && Instant::now() < until {
            let _ = self.stopping.1.wait_until(&mut locked, until);
        }
    }

    /// Reads everything once; an error says that the server stops.
    fn round(&self) -> Result<(), ArchiveError> {
        let mut seen = Vec::new();
        for shard in self.shards.all() {
            for segment in shard.log.segments().into_iter().filter(|segment| segment.is_settled) {
                let Some(end) = shard.end(&segment) else { continue };
                let found = shard.log.scrub_segment(&segment, Lsn(end), &mut self.budget())?;
                self.note(shard, Kind::Segment, &segment.path, found);
                seen.push(segment.path);
            }
            for snapshot in shard.log.snapshots() {
                let found = shard.log.scrub_snapshot(&snapshot, &mut self.budget())?;
                self.note(shard, Kind::Snapshot, &snapshot.path, found);
                seen.push(snapshot.path);
            }
            // A directory that can't be listed is named by the keeper.
            for (name, path) in archive::list(&shard.archives).unwrap_or_default() {
                let row = shard.catalog.row(name.log.0);
                let lsns = row.map(|row| (Lsn(row.first), Lsn(row.end)));
                let found = scrub_archive(&path, lsns, &mut self.budget())?;
                self.note(shard, Kind::Archive, &path, found);
                seen.push(path);
            }
        }
        self.report.lock().damaged.retain(|path, _| seen.contains(path));
        Ok(())
    }

    fn budget(&self) -> Budget<'_> {
        Budget { scrubber: self, last: Instant::now() }
    }

    fn note(&self, shard: &Shard, kind: Kind, path: &Path, found: Scrubbed) {
        let finding = match found {
            Scrubbed::Intact | Scrubbed::Gone => {
                self.report.lock().damaged.remove(path);
                return;
            }
            Scrubbed::Damaged { offset, lsns, why } => {
                let lsns = lsns.map(|(first, end)| (first.0, end.0.saturating_sub(1)));
                Finding { shard: shard.number, kind, offset, lsns, why }
            }
            Scrubbed::Unreadable(why) => Finding {
                shard: shard.number,
                kind,
                offset: None,
                lsns: None,
                why: format!("read error: {why}"),
            },
        };
        let known = self.report.lock().damaged.insert(path.into(), finding.clone());
        if known.as_ref() != Some(&finding) {
            tracing::error!(
                file = %path.display(),
                shard = finding.shard,
                offset = finding.offset,
                first_lsn = finding.lsns.map(|lsns| lsns.0),
                last_lsn = finding.lsns.map(|lsns| lsns.1),
                why = finding.why,
                "{} is damaged on disk, the server goes on: {}",
                kind.noun(),
                kind.advice()
            );
        }
    }
}

/// Reads every entry of an archive, of a segment with these LSNs.
fn scrub_archive(
    path: &Path,
    lsns: Option<(Lsn, Lsn)>,
    pace: &mut dyn Pace,
) -> Result<Scrubbed, ArchiveError> {
    let mut stopped = false;
    let read = Archive::open(path).and_then(|archive| {
        archive.bypass_cache();
        let info = archive.info();
        // What an entry takes of the file.
        let (entries, share) = (info.entries, info.bytes / info.entries.max(1));
        let mut count = 0;
        let mut pace = |bytes| pace.worked(bytes).inspect_err(|_| stopped = true);
        archive.read(Range::ALL, |_| {
            count += 1;
            if count % ENTRIES_AT_ONCE == 0 { pace(share * ENTRIES_AT_ONCE) } else { Ok(()) }
        })?;
        pace(share * (entries % ENTRIES_AT_ONCE))
    });
    match read {
        Ok(()) => Ok(Scrubbed::Intact),
        Err(error) if stopped => Err(error),
        Err(ArchiveError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Scrubbed::Gone),
        Err(error @ (ArchiveError::Damaged { .. } | ArchiveError::Misplaced { .. })) => {
            Ok(Scrubbed::Damaged { offset: None, lsns, why: error.to_string() })
        }
        Err(error) => Ok(Scrubbed::Unreadable(error.to_string())),
    }
}

/// Sleeps so that reading stays within the budget, and ends it when the server stops.
struct Budget<'s> {
    scrubber: &'s Scrubber,
    last: Instant,
}

impl Pace for Budget<'_> {
    fn worked(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let scrubber = self.scrubber;
        scrubber.report.lock().bytes += bytes;
        let due = Duration::from_secs_f64(bytes as f64 / scrubber.config.bytes_per_second.max(1) as f64);
        scrubber.sleep(due.saturating_sub(self.last.elapsed()));
        self.last = Instant::now();
        if scrubber.stop.load(Relaxed) {
            return Err(ArchiveError::Other("the server is stopping".to_owned()));
        }
        Ok(())
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const ENTRIES_AT_ONCE: u64 = 1024;
