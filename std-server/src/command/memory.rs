//! An engine without a log: everything is acknowledged at once and gone with the process.
//!
//! It serves tests, benchmarks of the protocol alone, and a server whose persistence is switched off.

use super::connection::COMPATIBLE_VERSION;
use super::effects::Context;
use super::engine::{CommandLimits, Engine, Halted, Host, InfoSection, Progress, Stop, Ticket};
use super::reply::{Refusal, Replies};
use super::session::Clients;
use super::unit::Unit;
use crate::auth::{Account, Credentials};
use crate::keyspace::{Keyspace, MAX_VALUE_BYTES, Options};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// A keyspace behind a lock, and nothing else.
#[derive(Debug)]
pub struct MemoryEngine {
    state: Mutex<State>,
    clients: Arc<Clients>,
    credentials: Arc<Credentials>,
    /// 0: none.
    max_memory: AtomicUsize,
    last_save_s: AtomicU64,
    stop: CancellationToken,
}

#[derive(Debug)]
struct State {
    keyspace: Keyspace,
    record: Vec<u8>,
    /// A linear congruential sequence: RANDOMKEY needs no secret.
    random: u64,
}

impl MemoryEngine {
    /// An empty keyspace; SHUTDOWN cancels `stop`.
    #[must_use]
    pub fn new(options: Options, stop: CancellationToken) -> Self {
        let state = State { keyspace: Keyspace::new(options), record: Vec::new(), random: options.seed };
        let engine = Self {
            state: Mutex::new(state),
            clients: Arc::default(),
            credentials: Arc::new(Credentials::new(&[])),
            max_memory: AtomicUsize::new(0),
            last_save_s: AtomicU64::new(0),
            stop,
        };
        engine.last_save_s.store(engine.now_us() / 1_000_000, Ordering::Relaxed);
        engine
    }
}

impl MemoryEngine {
    /// The same, but only these users may come in.
    #[must_use]
    pub fn for_users(self, accounts: &[Account]) -> Self {
        Self { credentials: Arc::new(Credentials::new(accounts)), ..self }
    }
}

impl Engine for MemoryEngine {
    async fn submit<R: Replies + Send>(
        &self,
        unit: &Unit<'_>,
        replies: &mut R,
    ) -> Result<Option<Ticket>, Refusal> {
        let now_ms = self.now_us() / 1000;
        let mut state = self.state.lock();
        let State { keyspace, record, random } = &mut *state;
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let max_memory_bytes = self.max_memory();
        let context = Context {
            now_ms,
            random: *random,
            max_value_bytes: MAX_VALUE_BYTES,
            max_memory_bytes,
            max_reply_bytes: usize::MAX,
        };
        record.clear();
        unit.execute(keyspace, &context, record, replies);
        if !record.is_empty() {
            self.clients.watches().touch(record);
        }
        Ok(None)
    }

    async fn acknowledged(&self, _: Ticket) -> Result<(), Halted> {
        Ok(())
    }
}

impl Host for MemoryEngine {
    fn loading(&self) -> Option<Progress> {
        None
    }

    fn limits(&self) -> CommandLimits {
        CommandLimits { record_bytes: RECORD_BYTES, queued_bytes: 2 * RECORD_BYTES }
    }

    fn now_us(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
    }

    fn last_save_s(&self) -> u64 {
        self.last_save_s.load(Ordering::Relaxed)
    }

    fn info(&self) -> Vec<InfoSection> {
        let state = self.state.lock();
        let (keys, expires) = (state.keyspace.len(), state.keyspace.expiring_len());
        let server =
            vec![("redis_version", COMPATIBLE_VERSION.to_owned()), ("redis_mode", "standalone".to_owned())];
        let clients = vec![("connected_clients", self.clients.count().to_string())];
        let memory = vec![("used_memory", state.keyspace.used_bytes().to_string())];
        let persistence = vec![("loading", "0".to_owned())];
        let keyspace = vec![("db0", format!("keys={keys},expires={expires},avg_ttl=0"))];
        let sections = [
            ("Server", server),
            ("Clients", clients),
            ("Memory", memory),
            ("Persistence", persistence),
            ("Keyspace", keyspace),
        ];
        sections.into_iter().map(|(name, lines)| InfoSection { name, lines }).collect()
    }

    fn settings(&self) -> Vec<(String, String)> {
        [("appendonly", "no"), ("save", ""), ("databases", "1")]
            .map(|(name, value)| (name.into(), value.into()))
            .into()
    }

    fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    fn max_memory(&self) -> Option<usize> {
        Some(self.max_memory.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    fn set_max_memory(&self, limit: Option<usize>) {
        self.max_memory.store(limit.unwrap_or(0), Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.max_memory().is_some_and(|limit| self.state.lock().keyspace.used_bytes() > limit)
    }

    fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    fn begin_save(&self) -> Result<(), Refusal> {
        Err(NO_PERSISTENCE)
    }

    async fn save(&self) -> Result<(), Refusal> {
        Err(NO_PERSISTENCE)
    }

    async fn sync(&self) -> Result<(), Refusal> {
        Err(NO_PERSISTENCE)
    }

    async fn stop(&self, stop: Stop) -> Result<(), Refusal> {
        if stop == Stop::AfterSnapshot {
            return Err(NO_PERSISTENCE);
        }
        self.stop.cancel();
        Ok(())
    }
}

/// As much as a log would take, so that clients meet the same limits with and without one.
const RECORD_BYTES: usize = 16 << 20;

const NO_PERSISTENCE: Refusal = Refusal::fixed("ERR persistence is switched off: nothing is kept on disk");
