//! Opens the logs beside the first one, stores events, and keeps history in the background.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use strandline::archive::Value;
use strandline::archive::encode_fields;
use strandline::{AppendError, Log, Lsn, Millis, OpenError, Priority, Report, make_directory};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::{DurableEngine, NO_LOG, NO_PERSISTENCE, open};
use crate::command::Refusal;
use crate::config::{Config, ScrubConfig};
use crate::events::{
    Catalog, Draft, Event, Keeper, NotStored, Policy, ScrubReport, Scrubber, Shard, Shards, Stored,
};

/// The threads that keep history and scrub; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Keeping {
    keeper: Arc<Keeper>,
    scrubber: Option<Arc<Scrubber>>,
    threads: Vec<JoinHandle<()>>,
}

impl Keeping {
    pub(super) fn begin(shards: &Arc<Shards>, policy: Policy, clock: &Arc<Clock>) -> io::Result<Self> {
        let keeper = Arc::new(Keeper::new(Arc::clone(shards), policy));
        let clock = Arc::clone(clock);
        let threads = vec![keeper.start(move || clock.now_us() / 1000)?];
        Ok(Self { keeper, scrubber: None, threads })
    }

    /// Reads what is settled in the background, if that is wanted.
    fn scrub(&mut self, shards: &Arc<Shards>, config: Option<ScrubConfig>) {
        let scrubber = config.map(|config| Arc::new(Scrubber::new(Arc::clone(shards), config)));
        match scrubber.as_ref().map(Scrubber::start).transpose() {
            Ok(thread) => self.threads.extend(thread),
            Err(error) => tracing::error!(%error, "nothing is scrubbed: no thread for it"),
        }
        self.scrubber = scrubber;
    }

    pub(super) const fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.keeper.stop();
        if let Some(scrubber) = &self.scrubber {
            scrubber.stop();
        }
        for thread in self.threads.drain(..) {
            // What it was doing is given up between two pieces of work.
            let _ = thread.join();
        }
    }
}

/// Sees to it that the number of shards is the one that the store was begun with: contexts would move otherwise, and their
/// events would not be found.
pub(super) fn check_count(config: &Config) -> Result<(), OpenError> {
    let failed = |what: &str, error: io::Error| {
        OpenError::Refused(format!("{what} {}: {error}", config.wal.dir.display()))
    };
    let wanted = config.shard_count;
    let found = match fs::read_to_string(config.wal.dir.join(MARK)) {
        Ok(text) => text.trim().parse::<u16>().ok(),
        // One shard needs no mark: a store without one has one.
        Err(error)
            if wanted == 1
                && matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Some(1)
        }
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && config.wal.dir.join("manifest-0").exists() =>
        {
            Some(1)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_mark(config).map_err(|error| failed("cannot write the number of shards to", error));
        }
        Err(error) => return Err(failed("cannot read the number of shards in", error)),
    };
    match found {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(OpenError::Refused(format!(
            "this store has {found} shards, and the configuration says {wanted}: set shards to {found}. The number can't be changed, \
             because the events of a context would not be found any more"
        ))),
        None => Err(OpenError::Refused(format!("{} holds no number", config.wal.dir.join(MARK).display()))),
    }
}

fn write_mark(config: &Config) -> io::Result<()> {
    let path = config.wal.dir.join(MARK);
    let place = path.parent().unwrap_or(Path::new("."));
    make_directory(place)?;
    let unfinished = path.with_extension("tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{}", config.shard_count)?;
    file.sync_data()?;
    fs::rename(&unfinished, &path)?;
    File::open(place)?.sync_all()
}

/// Opens the logs of all shards but the first one, which is `first`, and their catalogs.
pub(super) fn open_shards(
    config: &Config,
    clock: &Arc<Clock>,
    first: &Log,
    report: &Report,
    discard_from: Option<Lsn>,
) -> Result<Shards, OpenError> {
    note_void(first, report);
    let mut shards = vec![shard(config, 0, first.clone())?];
    for number in 1..config.shard_count {
        let now = Arc::clone(clock);
        // Only a log that is damaged at exactly this LSN takes it.
        let options = open::options_of(config, number)
            .discard_from(discard_from)
            .clock(move || Millis(now.now_us() / 1000));
        let (log, recovered) = Log::open(options, &mut ())?;
        clock.not_before(recovered.report.time.0.saturating_mul(1000));
        note_void(&log, &recovered.report);
        shards.push(shard(config, number, log)?);
    }
    Ok(Shards::new(shards, config.event_lanes))
}

impl DurableEngine {
    /// Opens the shards behind `first`.
    pub(super) fn open_shards(
        &self,
        first: &Log,
        report: &Report,
        discard_from: Option<Lsn>,
    ) -> Result<(), OpenError> {
        let shards = open_shards(&self.facts.config, &self.clock, first, report, discard_from)?;
        let _ = self.shards.set(Arc::new(shards));
        Ok(())
    }

    /// Begins to keep history.
    pub(super) fn keep_history(self: &Arc<Self>) {
        let Some(shards) = self.shards.get() else { return };
        match Keeping::begin(shards, policy(&self.facts.config), &self.clock) {
            Ok(mut keeping) => {
                keeping.scrub(shards, self.facts.config.scrub);
                *self.keeper.lock() = Some(keeping);
            }
            Err(error) => tracing::error!(%error, "history is not kept: no thread for it"),
        }
    }

    /// What scrubbing has found; `None` if it is off.
    pub(crate) fn scrub_report(&self) -> Option<ScrubReport> {
        self.keeper
            .lock()
            .as_ref()
            .and_then(|keeping| keeping.scrubber.as_ref())
            .map(|scrubber| scrubber.report())
    }

    /// What keeps history.
    pub(crate) fn keeper(&self) -> Option<Arc<Keeper>> {
        self.keeper.lock().as_ref().map(|keeping| Arc::clone(keeping.keeper()))
    }

    pub(crate) fn shards(&self) -> Option<&Arc<Shards>> {
        self.shards.get()
    }

    pub(crate) fn shards_or_refusal(&self) -> Result<&Arc<Shards>, Refusal> {
        self.store_or_refusal()?;
        self.shards.get().ok_or(NO_PERSISTENCE)
    }

    /// Stores a batch of events; answers when the promise of the sync mode holds.
    pub(crate) async fn store_events(&self, drafts: Vec<Draft>) -> Result<Stored, Refusal> {
        let store = self.store_or_refusal()?;
        if !store.logs_writes() {
            return Err(NO_LOG);
        }
        let count = drafts.len() as u64;
        match self.shards_or_refusal()?.append(drafts).await {
            Ok(stored) => {
                store.count_changes(count);
                Ok(stored)
            }
            Err(NotStored::Refused(strandline::Refused::TooLarge { most })) => Err(Refusal::new(format!(
                "ERR a batch takes at most {most} bytes of the log: send it in several. Nothing was stored"
            ))),
            Err(NotStored::Refused(refused)) => Err(store.refusal(refused)),
            Err(NotStored::NotAcknowledged(error)) => Err(store.not_acknowledged(error)),
        }
    }

    /// Cancelled when the server stops.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }
}

fn shard(config: &Config, number: u16, log: Log) -> Result<Shard, OpenError> {
    let place = log.places().log.clone();
    let catalog = Catalog::open(&place, log.identity().store);
    let catalog = catalog
        .map_err(|error| OpenError::Refused(format!("{}: {error}", place.join("history").display())))?;
    Ok(Shard::new(number, log, catalog, archive_dir(config, number)))
}

/// The directory of a shard's archives.
pub(crate) fn archive_dir(config: &Config, shard: u16) -> PathBuf {
    config.wal.archive_dir.parent().unwrap_or(Path::new("")).join(format!("shard-{shard}"))
}

pub(super) fn policy(config: &Config) -> Policy {
    let history = config.history;
    Policy {
        conservative: config.wal.conservative_mode,
        keep_ms: history.keep_events.map(|keep| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)),
        level: config.wal.compression_level,
        bytes_per_second: history.bytes_per_second,
        cpu_percent: history.cpu_percent,
        rules: history,
        max_total_bytes: config.wal.max_total_bytes,
    }
}

/// What recovery voided stays on record: the LSNs are given again, so that no gap shows it.
fn note_void(log: &Log, report: &Report) {
    let last = report.void_until.0.max(report.next.0);
    if report.fresh || (report.void_bytes == 0 && last == report.next.0) {
        return;
    }
    let payload = encode_fields([
        ("first_lsn", Value::Unsigned(report.next.0)),
        ("last_lsn", Value::Unsigned(last.saturating_sub(1))),
        ("bytes", Value::Unsigned(report.void_bytes)),
        ("epoch", Value::Unsigned(u64::from(log.identity().epoch.0))),
    ]);
    let event = Event {
        timestamp_ms: report.time.0,
        event_id: None,
        event_type: VOIDED,
        context_id: "log",
        payload: &payload,
    };
    let mut record = Vec::new();
    event.encode(&mut record);
    let noted = log
        .reserve_waiting(record.len(), Priority::Reclaim)
        .and_then(|room| room.append(&record))
        .map_err(AppendError::from)
        // Readers see what is acknowledged, and the first of them may ask at once.
        .and_then(|lsn| log.wait(lsn));
    if let Err(failed) = noted {
        // It is in the server's own log as well.
        tracing::warn!(%failed, "what recovery voided could not be put on record");
    }
}

/// Says how many shards there are.
const MARK: &str = "history/shards";
/// Type of the event that says what a recovery has voided.
const VOIDED: &str = "log.voided";
