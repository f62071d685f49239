//! The keyspace and its log, changed together.
//!
//! ```text
//!  lock keyspace ─► prepare keys ─► reserve room ─► execute ─► append ─► unlock ─► the reply waits for its record
//!                       │ queue full     │ busy        └─ nothing can be refused from here on
//!                       └─ unlock, wait ─┴─ and begin again
//! ```
//!
//! Invariants: the order of effects is the order of the log, because both change under the keyspace's lock; a unit is
//! refused before it changes anything, or not at all. Lock order: keyspace before log, everywhere.

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use core::task::{Poll, Waker};
use std::sync::Arc;

use parking_lot::Mutex;
use strandline::{AppendError, Log, Lsn, Priority, Refused, Stats};
use tokio::sync::Notify;

use super::seen::Seen;
use crate::command::{Context, Halted, Refusal, Replies, Tally, Ticket, Unit, Watches};
use crate::keyspace::{Effect, Keyspace, RECORD_VERSION};

/// A recovered keyspace with its log.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) shared: Arc<Mutex<State>>,
    log: Option<Log>,
    /// Off: the log only carries snapshots.
    logs_writes: bool,
    max_value_bytes: usize,
    max_reply_bytes: usize,
    /// The longest record that the log takes.
    record_bytes: usize,
    /// 0: none.
    max_memory: Arc<AtomicUsize>,
    watches: Arc<Watches>,
    expired_keys: AtomicU64,
    /// The running image has let go of some of what it held back.
    pub(super) drained: Notify,
    image_waits: AtomicU64,
    /// Snapshots that are being written are given up.
    pub(super) stopping: AtomicBool,
}

/// What the keyspace's lock guards.
#[derive(Debug)]
pub(super) struct State {
    pub(super) keyspace: Keyspace,
    /// The record of the unit that is being executed.
    record: Vec<u8>,
    seen: Seen,
    /// A linear congruential sequence: RANDOMKEY needs no secret.
    random: u64,
    tally: Tally,
    /// Units that changed something.
    changes: u64,
}

impl AsMut<Keyspace> for State {
    fn as_mut(&mut self) -> &mut Keyspace {
        &mut self.keyspace
    }
}

/// How a store is put together.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) keyspace: Keyspace,
    /// `None`: nothing is kept on disk.
    pub(super) log: Option<Log>,
    pub(super) logs_writes: bool,
    pub(super) max_value_bytes: usize,
    pub(super) max_reply_bytes: usize,
    pub(super) record_bytes: usize,
    /// Above this many bytes of keyspace, commands that need memory are refused; 0: never.
    pub(super) max_memory: Arc<AtomicUsize>,
    pub(super) watches: Arc<Watches>,
    /// Units that the newest snapshot does not hold.
    pub(super) changes: u64,
}

/// Why a unit was not executed.
enum Blocked {
    /// The running image holds back too much already.
    Image,
    /// The log has no room right now; the waker is called when it may have.
    Log,
    Refused(Refusal),
}

/// A moment's view of the keyspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) keys: usize,
    pub(crate) expiring: usize,
    pub(crate) used_bytes: usize,
    pub(crate) image_queue_bytes: usize,
    pub(crate) tally: Tally,
    pub(crate) changes: u64,
    /// Times that a writer waited for the running image.
    pub(crate) image_waits: u64,
}

impl Store {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            keyspace,
            log,
            logs_writes,
            max_value_bytes,
            max_reply_bytes,
            record_bytes,
            max_memory,
            watches,
            changes,
        } = parts;
        let newest = log.as_ref().map_or(0, |log| log.next_lsn().0.saturating_sub(1));
        let random = keyspace.seed();
        let (seen, tally) = (Seen::new(newest), Tally::default());
        let state = State { keyspace, record: Vec::new(), seen, random, tally, changes };
        Self {
            shared: Arc::new(Mutex::new(state)),
            log,
            logs_writes,
            max_value_bytes,
            max_reply_bytes,
            record_bytes,
            max_memory,
            watches,
            expired_keys: AtomicU64::new(0),
            drained: Notify::new(),
            image_waits: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    /// The log, or `None` when nothing is kept on disk.
    pub(crate) fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    pub(crate) fn log_stats(&self) -> Option<Stats> {
        self.log.as_ref().map(Log::stats)
    }

    pub(crate) fn gauges(&self) -> Gauges {
        let state = self.shared.lock();
        let keyspace = &state.keyspace;
        Gauges {
            keys: keyspace.len(),
            expiring: keyspace.expiring_len(),
            used_bytes: keyspace.used_bytes(),
            image_queue_bytes: keyspace.image_queue_bytes(),
            tally: state.tally,
            changes: state.changes,
            image_waits: self.image_waits.load(Relaxed),
        }
    }

    /// Executes a unit as soon as there is room for it. Dropping the future before it ends changes nothing.
    pub(super) async fn submit<R: Replies + Send>(
        &self,
        unit: &Unit<'_>,
        now_ms: impl Fn() -> u64,
        replies: &mut R,
    ) -> Result<Option<Ticket>, Refusal> {
        loop {
            // Notifications count from here on, so that none is missed between the attempt and the wait.
            let drained = self.drained.notified();
            let attempt = poll_fn(|context| match self.attempt(unit, now_ms(), context.waker(), replies) {
                Err(Blocked::Log) => Poll::Pending,
                result => Poll::Ready(result),
            });
            match attempt.await {
                Ok(ticket) => return Ok(ticket),
                Err(Blocked::Refused(refusal)) => return Err(refusal),
                Err(Blocked::Image | Blocked::Log) => {
                    self.image_waits.fetch_add(1, Relaxed);
                    drained.await;
                }
            }
        }
    }

    fn attempt<R: Replies>(
        &self,
        unit: &Unit<'_>,
        now_ms: u64,
        waker: &Waker,
        replies: &mut R,
    ) -> Result<Option<Ticket>, Blocked> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let mut room = None;
        if unit.writes() {
            for key in unit.written_keys() {
                state.keyspace.prepare(key).map_err(|_| Blocked::Image)?;
            }
            if let Some(log) = self.log.as_ref().filter(|_| self.logs_writes) {
                let priority = if unit.grows() { Priority::Ordinary } else { Priority::Reclaim };
                let reserved = log.reserve_or_wake(unit.record_bound(), priority, waker);
                room = Some(reserved.map_err(|refused| self.blocked(refused))?);
            }
        }
        let context = Context {
            now_ms,
            random: state.draw(),
            max_value_bytes: self.max_value_bytes,
            max_memory_bytes: Some(self.max_memory.load(Relaxed)).filter(|limit| *limit > 0),
            max_reply_bytes: self.max_reply_bytes,
        };
        let _whole = Whole;
        state.record.clear();
        state.tally += unit.execute(&mut state.keyspace, &context, &mut state.record, replies);
        if state.record.is_empty() {
            drop(room);
            return Ok(self.log.as_ref().and_then(|log| state.to_wait_for(unit, log.acknowledged())));
        }
        state.changes += 1;
        self.watches.touch(&state.record);
        Ok(room.map(|room| {
            let lsn = room.append(&state.record).unwrap_or_else(|refused| diverged(refused)).0;
            state.note(unit, lsn);
            Ticket(lsn)
        }))
    }

    /// Fetches what commands on these keys will touch.
    pub(super) fn warm(&self, keys: &[&[u8]]) {
        self.shared.lock().keyspace.warm(keys.iter().copied());
    }

    fn blocked(&self, refused: Refused) -> Blocked {
        match refused {
            Refused::Busy => Blocked::Log,
            other => Blocked::Refused(self.refusal(other)),
        }
    }

    /// What a client is told when the log takes nothing.
    pub(super) fn refusal(&self, refused: Refused) -> Refusal {
        match refused {
            Refused::Full => Refusal::fixed(
                "OOM no space on the log's device, or below wal.max_total_mb: writes are refused until there is; reads and deletes go on",
            ),
            Refused::Halted => halted(&self.log_stats().and_then(|stats| stats.halted).unwrap_or_default()),
            Refused::Closed => Refusal::fixed("ERR the server is stopping"),
            Refused::TooLarge { most } => Refusal::new(format!(
                "ERR the command needs a longer record than the log takes: {most} bytes"
            )),
            other => Refusal::new(format!("ERR {other}")),
        }
    }

    /// Waits until the record, and every earlier one, is acknowledged; if `durable`, until it is synced.
    pub(super) async fn kept(&self, ticket: Ticket, durable: bool) -> Result<(), Halted> {
        let Some(log) = &self.log else { return Ok(()) };
        if !durable && log.acknowledged().0 <= ticket.0 {
            // Connections that are ready append first, so that one write serves them all.
            tokio::task::yield_now().await;
        }
        let kept = poll_fn(|context| match log.poll_wait(Lsn(ticket.0), durable, context.waker()) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        });
        kept.await.map_err(|error| {
            let refusal = self.not_acknowledged(error);
            let acknowledged = log.acknowledged().0.checked_sub(1).map(Ticket);
            Halted { acknowledged, refusal }
        })
    }

    /// What a client is told whose record is not acknowledged.
    pub(super) fn not_acknowledged(&self, error: AppendError) -> Refusal {
        match error {
            AppendError::Refused(refused) => self.refusal(refused),
            AppendError::Halted(why) => halted(&why),
            other => Refusal::new(format!("ERR {other}")),
        }
    }

    /// The newest record.
    pub(super) fn newest(&self) -> Ticket {
        Ticket(self.shared.lock().seen.newest())
    }

    /// Removes keys that have expired, at most `limit`, and logs that, in as many records as it takes; answers how many were
    /// removed.
    pub(super) fn sweep(&self, now_ms: u64, limit: usize) -> usize {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let mut expired: Vec<Vec<u8>> = Vec::new();
        state.keyspace.sweep_expired(now_ms, limit, |key| expired.push(key.to_vec()));
        expired.retain(|key| state.keyspace.prepare(key).is_ok());
        let mut removed = 0;
        while let Some(count) = self.remove(state, &expired[removed..]) {
            removed += count;
        }
        self.expired_keys.fetch_add(removed as u64, Relaxed);
        removed
    }

    /// Keys that were removed because they had expired.
    pub(super) fn expired_keys(&self) -> u64 {
        self.expired_keys.load(Relaxed)
    }

    /// Removes as many of these keys as one record takes; `None` if there are none, or the log has no room right now.
    fn remove(&self, state: &mut State, keys: &[Vec<u8>]) -> Option<usize> {
        let State { keyspace, record, seen, .. } = state;
        record.clear();
        record.push(RECORD_VERSION);
        let mut count = 0;
        for key in keys {
            let end = record.len();
            Effect::Delete { key }.encode(record);
            if record.len() > self.record_bytes && count > 0 {
                record.truncate(end);
                break;
            }
            count += 1;
        }
        let keys = keys.get(..count).filter(|keys| !keys.is_empty())?;
        if let Some(log) = self.log.as_ref().filter(|_| self.logs_writes) {
            let room = log.reserve(record.len(), Priority::Reclaim).ok()?;
            let lsn = room.append(record).unwrap_or_else(|refused| diverged(refused)).0;
            seen.wrote(lsn, keys.iter().map(|key| keyspace.hash_of(key)));
        }
        for key in keys {
            keyspace.apply(Effect::Delete { key });
        }
        state.changes += 1;
        Some(count)
    }

    /// Counts records that were appended beside the keyspace.
    pub(super) fn count_changes(&self, changes: u64) {
        self.shared.lock().changes += changes;
    }

    /// Whether writes are logged.
    pub(super) const fn logs_writes(&self) -> bool {
        self.logs_writes
    }

    /// Whether a snapshot must be given a record of its own, because nothing else moves the log on.
    pub(super) const fn snapshots_need_a_record(&self) -> bool {
        !self.logs_writes
    }
}

impl State {
    fn draw(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random
    }

    fn note(&mut self, unit: &Unit<'_>, lsn: u64) {
        let Self { keyspace, seen, .. } = self;
        if unit.concerns_all_keys() {
            seen.wrote_everything(lsn);
        } else {
            seen.wrote(lsn, unit.written_keys().map(|key| keyspace.hash_of(key)));
        }
    }

    /// The record that the replies of a unit without one must wait for.
    fn to_wait_for(&self, unit: &Unit<'_>, acknowledged: Lsn) -> Option<Ticket> {
        let Self { keyspace, seen, .. } = self;
        if seen.newest() < acknowledged.0 {
            return None;
        }
        let newest = if unit.concerns_all_keys() {
            seen.newest()
        } else {
            seen.of(unit.keys().map(|key| keyspace.hash_of(key)))
        };
        Some(Ticket(newest)).filter(|ticket| ticket.0 >= acknowledged.0)
    }

    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }
}

fn halted(why: &str) -> Refusal {
    let why = if why.is_empty() { "a write or sync failed" } else { why };
    Refusal::new(format!(
        "MISCONF the log has halted ({why}): nothing is written any more, reads go on; see to the device, then restart"
    ))
}

/// A unit that was begun and not finished would leave a keyspace that no log describes: better none at all.
struct Whole;

impl Drop for Whole {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// The log refused what it had made room for: our mistake, after the keyspace has changed.
fn diverged(refused: Refused) -> ! {
    tracing::error!(%refused, "the log refused a record that it had made room for");
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use strandline::{Mode, Options as LogOptions};

    use super::*;
    use crate::keyspace::Options;

    #[test]
    fn keys_that_fill_many_records_are_swept_and_stay_away() {
        const KEYS: u8 = 40;
        let directory = tempfile::tempdir().expect("a directory");
        let options = LogOptions::new(directory.path()).mode(Mode::Never).segment_bytes(256 << 10);
        let (log, _) = Log::open(options, &mut ()).expect("a log");
        let mut keyspace = Keyspace::new(Options::default());
        for number in 0..KEYS {
            let key = vec![number; 64 << 10];
            keyspace.apply(Effect::Set { key: &key, value: b"v", expires_at_ms: Some(1) });
        }
        let (record_bytes, max_value_bytes) = (200 << 10, 1 << 20);
        let parts = Parts {
            keyspace,
            log: Some(log),
            logs_writes: true,
            max_value_bytes,
            max_reply_bytes: usize::MAX,
            record_bytes,
            max_memory: Arc::default(),
            watches: Arc::default(),
            changes: 0,
        };
        let store = Store::new(parts);
        let log = store.log().expect("it has one");
        while store.gauges().keys > 0 {
            drop(log.reserve_waiting(record_bytes, Priority::Reclaim).expect("room"));
            assert!(store.sweep(2, 128) > 0, "{} keys stay", store.gauges().keys);
        }
        log.sync().expect("it writes");
        let mut reader = log.read_from(Lsn::FIRST).expect("readable");
        let mut deleted = 0;
        while let Some(record) = reader.next().expect("readable") {
            assert!(record.bytes.len() <= record_bytes);
            deleted += crate::keyspace::decode_record(record.bytes).filter(Result::is_ok).count();
        }
        assert_eq!(deleted, usize::from(KEYS));
    }
}
