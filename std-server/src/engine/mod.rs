//! The durable engine: the keyspace in front of its log, with snapshots and recovery.
//!
//! ```text
//!                      ┌ recover ─► replay.rs ─► Store ┐  once
//!  RESP, HTTP ─► DurableEngine ────────────────────────┴► store.rs      one unit: room, effect, record
//!                      ├ host.rs         INFO, SAVE, SHUTDOWN
//!                      ├ snapshots.rs    image and base under one lock, the file on a blocking thread
//!                      └ background.rs   snapshots when due, expired keys
//!  tools ─► stopped.rs                       the logs of a stopped server
//! ```
//!
//! Until recovery has finished there is no store, and every command is told how far it is.

mod background;
mod clock;
mod host;
mod open;
mod replay;
mod seen;
mod shards;
mod snapshots;
mod stopped;
mod store;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use core::time::Duration;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use strandline::{Log, Lsn, Millis, OpenError, Recovered, SnapshotInfo};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use self::clock::Clock;
use self::open::Heard;
use self::replay::{Loader, Recovering};
use self::shards::Keeping;
use self::snapshots::Snapshots;
use self::store::Parts;
use crate::auth::Credentials;
use crate::command::{Clients, CommandLimits, Engine, Halted, Progress, Refusal, Replies, Ticket, Unit};
use crate::config::Config;
use crate::events::Shards;
use crate::keyspace::{Keyspace, Options};

pub use self::open::options;
pub(crate) use self::open::{options_of, places};
pub(crate) use self::shards::archive_dir;
pub(crate) use self::stopped::Stopped;
pub(crate) use self::store::Store;

/// The engine of the server.
#[derive(Debug)]
pub struct DurableEngine {
    facts: Facts,
    limits: CommandLimits,
    clock: Arc<Clock>,
    clients: Arc<Clients>,
    credentials: Arc<Credentials>,
    /// Above this many bytes of keyspace, commands that need memory are refused; 0: never.
    max_memory: Arc<AtomicUsize>,
    /// Another one at each start.
    run_id: String,
    recovering: Arc<Recovering>,
    ready: OnceLock<Arc<Store>>,
    snapshots: Arc<Snapshots>,
    shards: OnceLock<Arc<Shards>>,
    keeper: Mutex<Option<Keeping>>,
    /// Bytes of log that recovery read: the log since the newest snapshot.
    replayed_bytes: AtomicU64,
    events: Mutex<Option<UnboundedReceiver<Heard>>>,
    stop: CancellationToken,
}

/// What does not change while the server runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The configuration.
    pub config: Config,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where the Redis protocol listens.
    pub resp: Option<SocketAddr>,
    /// When the server was started.
    pub started: Instant,
}

/// What recovery brought back.
#[derive(Debug)]
pub struct Recovery {
    /// What the log says; `None` when nothing is kept on disk.
    pub recovered: Option<Recovered>,
    /// Keys that are there.
    pub keys: usize,
    /// How long it took.
    pub took: Duration,
}

impl DurableEngine {
    /// An engine that has recovered nothing yet; SHUTDOWN cancels `stop`.
    #[must_use]
    pub fn new(facts: Facts, stop: CancellationToken) -> Self {
        let credentials = Arc::new(Credentials::new(&facts.config.resp_users));
        let max_memory = facts.config.max_memory_bytes.unwrap_or(0);
        let record_bytes = open::record_bytes(&facts.config);
        let clock = Arc::<Clock>::default();
        let snapshots = Arc::new(Snapshots::new(clock.now_us() / 1_000_000));
        Self {
            facts,
            limits: CommandLimits { record_bytes, queued_bytes: 2 * record_bytes },
            clock,
            clients: Arc::default(),
            credentials,
            max_memory: Arc::new(AtomicUsize::new(max_memory)),
            run_id: (0..5).map(|_| format!("{:08x}", open::random_seed() >> 32)).collect(),
            recovering: Arc::default(),
            ready: OnceLock::new(),
            snapshots,
            shards: OnceLock::new(),
            keeper: Mutex::new(None),
            replayed_bytes: AtomicU64::new(0),
            events: Mutex::new(None),
            stop,
        }
    }

    /// Opens the log and recovers the keyspace; from then on commands are executed. Blocks for as long as it takes.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn recover(&self, discard_from: Option<Lsn>) -> Result<Recovery, OpenError> {
        let begun = Instant::now();
        let config = &self.facts.config;
        if !config.persistence_enabled {
            let seed = open::random_seed();
            self.begin(Keyspace::new(Options { seed, ..Options::default() }), None, 0);
            return Ok(Recovery { recovered: None, keys: 0, took: begun.elapsed() });
        }
        shards::check_count(config)?;
        let (heard, events) = unbounded_channel();
        let clock = Arc::clone(&self.clock);
        let options = options(config)
            .discard_from(discard_from)
            .listener(open::listener(heard))
            .clock(move || Millis(clock.now_us() / 1000));
        let mut loader = Loader::new(open::random_seed(), Arc::clone(&self.recovering));
        let (log, recovered) = Log::open(options, &mut loader)?;
        let report = recovered.report;
        let keyspace = match loader.finish() {
            Ok(keyspace) => keyspace,
            Err(source) => return Err(OpenError::State { lsn: Lsn(open::last_of(report.next)), source }),
        };
        *self.events.lock() = Some(events);
        self.clock.not_before(report.time.0.saturating_mul(1000));
        self.replayed_bytes.store(report.bytes, Relaxed);
        let now_ms = self.clock.now_us() / 1000;
        let taken = recovered.snapshots.last().map_or(Millis(now_ms), |newest| newest.time);
        self.snapshots.found(taken, Duration::from_millis(now_ms.saturating_sub(taken.0)));
        let keys = keyspace.len();
        self.open_shards(&log, &report, discard_from)?;
        self.begin(keyspace, Some(log), report.records);
        Ok(Recovery { recovered: Some(recovered), keys, took: begun.elapsed() })
    }

    fn begin(&self, keyspace: Keyspace, log: Option<Log>, changes: u64) {
        let config = &self.facts.config;
        let parts = Parts {
            keyspace,
            log,
            logs_writes: config.wal.enabled,
            max_value_bytes: config.max_value_bytes,
            max_reply_bytes: config.max_reply_bytes,
            record_bytes: self.limits.record_bytes,
            max_memory: Arc::clone(&self.max_memory),
            watches: Arc::clone(self.clients.watches()),
            changes,
        };
        let first = self.ready.set(Arc::new(Store::new(parts))).is_ok();
        debug_assert!(first, "recovered once");
    }

    /// Does what the server does by itself, until the runtime ends.
    pub fn run_in_background(self: &Arc<Self>) {
        if let Some(events) = self.events.lock().take() {
            drop(tokio::spawn(open::report(events)));
        }
        drop(tokio::spawn(background::sweep(Arc::clone(self))));
        self.keep_history();
        if self.facts.config.snapshot.enabled && self.facts.config.persistence_enabled {
            drop(tokio::spawn(background::keep_snapshots(Arc::clone(self))));
            drop(tokio::spawn(background::keep_shard_snapshots(Arc::clone(self))));
        }
    }

    /// Takes a snapshot, after the one that is being taken.
    ///
    /// # Errors
    /// It failed, or none can be taken.
    pub async fn take_snapshot(&self) -> Result<SnapshotInfo, Refusal> {
        let store = self.store_for_snapshot()?;
        let turn = self.snapshots.turn().await;
        snapshots::take(store, Arc::clone(&self.snapshots), turn).await
    }

    /// Flushes, syncs and seals the log. A snapshot that is being written is given up.
    ///
    /// # Errors
    /// Why the log has halted: what was acknowledged in `periodic` or `never` may not be on disk.
    pub async fn close(&self) -> Result<(), String> {
        let Some(store) = self.store().cloned() else { return Ok(()) };
        store.stopping.store(true, Relaxed);
        let turn = self.snapshots.turn().await;
        let (shards, keeping) = (self.shards.get().cloned(), self.keeper.lock().take());
        let closed = tokio::task::spawn_blocking(move || {
            drop(keeping);
            let log = store.log()?;
            let others = shards.iter().flat_map(|shards| shards.all().iter().skip(1));
            let halted: Vec<String> = others.filter_map(|shard| close(&shard.log)).collect();
            close(log).or_else(|| halted.into_iter().next())
        });
        let halted = closed.await.unwrap_or_else(|panic| Some(panic.to_string()));
        drop(turn);
        halted.map_or(Ok(()), Err)
    }

    /// What does not change while the server runs.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How far recovery is, or that it has finished.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        if self.ready.get().is_some() { None } else { Some(self.recovering.progress()) }
    }

    pub(crate) fn store(&self) -> Option<&Arc<Store>> {
        self.ready.get()
    }

    pub(crate) const fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    fn replayed_bytes(&self) -> u64 {
        self.replayed_bytes.load(Relaxed)
    }

    pub(crate) fn store_or_refusal(&self) -> Result<&Arc<Store>, Refusal> {
        self.store().ok_or_else(|| self.recovering.progress().refusal())
    }

    fn store_for_snapshot(&self) -> Result<Arc<Store>, Refusal> {
        let store = self.store_or_refusal()?;
        if store.log().is_none() {
            Err(NO_PERSISTENCE)
        } else if !self.facts.config.snapshot.enabled {
            Err(NO_SNAPSHOTS)
        } else {
            Ok(Arc::clone(store))
        }
    }
}

/// Flushes, syncs and seals a log; says why it has halted, if it has.
fn close(log: &Log) -> Option<String> {
    log.close();
    log.stats().halted
}

impl Engine for DurableEngine {
    async fn submit<R: Replies + Send>(
        &self,
        unit: &Unit<'_>,
        replies: &mut R,
    ) -> Result<Option<Ticket>, Refusal> {
        self.store_or_refusal()?.submit(unit, || self.clock.now_us() / 1000, replies).await
    }

    fn warm(&self, keys: &[&[u8]]) {
        if let Some(store) = self.store() {
            store.warm(keys);
        }
    }

    async fn acknowledged(&self, ticket: Ticket) -> Result<(), Halted> {
        match self.store() {
            Some(store) => store.kept(ticket, false).await,
            None => Ok(()),
        }
    }
}

const NO_PERSISTENCE: Refusal =
    Refusal::fixed("ERR persistence is switched off (persistence.enabled): nothing is kept on disk");
const NO_SNAPSHOTS: Refusal = Refusal::fixed("ERR snapshots are switched off (persistence.snapshot.enabled)");
const NO_LOG: Refusal =
    Refusal::fixed("ERR the log is switched off (persistence.wal.enabled): only snapshots keep data");

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::command::Host as _;
    use crate::config::Flags;
    use crate::keyspace::{Effect, encode_record};

    fn engine(data: &Path) -> DurableEngine {
        let flags = Flags { data_dir: Some(data.into()), ..Flags::default() };
        let config = Config::load(&flags, [], data).expect("usable").config;
        let facts = Facts { http: config.http, resp: config.resp, config, started: Instant::now() };
        DurableEngine::new(facts, CancellationToken::new())
    }

    #[test]
    fn time_does_not_run_behind_the_newest_mark_and_marks_carry_it_on() {
        const HOUR_MS: u64 = 3_600_000;
        let data = tempfile::tempdir().expect("a directory");
        let system_ms = Clock::default().now_us() / 1000;
        let ahead = Millis(system_ms + HOUR_MS);
        let options = || options(&engine(data.path()).facts.config);
        let (log, _) = Log::open(options().clock(move || ahead), &mut ()).expect("a log");
        let mut record = Vec::new();
        let effects = [(b"gone", ahead.0 - 1), (b"here", ahead.0 + HOUR_MS)]
            .map(|(key, at_ms)| Effect::Set { key, value: b"v", expires_at_ms: Some(at_ms) });
        encode_record(&effects, &mut record);
        log.append(&record).expect("taken");
        log.close();

        let engine = engine(data.path());
        engine.recover(None).expect("it recovers");
        assert!(engine.now_us() >= ahead.0 * 1000, "TIME");
        assert!(engine.last_save_s() >= ahead.0 / 1000, "LASTSAVE");
        let store = engine.store().expect("recovered");
        assert_eq!((store.sweep(engine.now_us() / 1000, 10), store.gauges().keys), (1, 1));
        let later = Millis(ahead.0 + 1000);
        engine.clock.not_before(later.0 * 1000);
        store.sweep(later.0 + HOUR_MS, 10);
        store.log().expect("it has one").close();
        let verified = Log::verify(&options()).expect("intact");
        assert!(
            verified.report.time >= later,
            "{:?}: the next start goes on from here",
            verified.report.time
        );
    }
}
