//! Taking a snapshot, one at a time.
//!
//! ```text
//!  keyspace lock: begin the image · settle the base LSN · unlock ─► blocking thread: chunks ─► file ─► manifest
//! ```
//!
//! Both halves of the beginning happen under one lock, so that the image is the state of exactly the records below the
//! base. Writers go on meanwhile.

use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use strandline::{BadState, Log, Millis, Priority, Refused, SnapshotInfo, SnapshotTicket};
use tokio::sync::OwnedMutexGuard;

use super::store::{State, Store};
use crate::command::Refusal;
use crate::keyspace::{Image, Keyspace, RECORD_VERSION};

/// Whose turn it is, and how the last one went.
#[derive(Debug)]
pub(crate) struct Snapshots {
    turn: Arc<tokio::sync::Mutex<()>>,
    last: Mutex<Last>,
}

/// What is known of the newest snapshot and of the last attempt.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    /// When it was taken, or when the server was started if there is none; seconds since the Unix epoch.
    pub(crate) taken_s: u64,
    /// When it was taken, or when the server was started.
    pub(super) since: Instant,
    /// Changes that had been made when it was begun.
    pub(crate) changes: u64,
    /// Bytes of log that had been written when it was begun.
    pub(super) log_bytes: u64,
    /// Why the last attempt failed, if it did.
    pub(crate) failure: Option<String>,
}

/// Permission to take a snapshot.
pub(super) struct Turn(OwnedMutexGuard<()>);

impl Snapshots {
    pub(super) fn new(taken_s: u64) -> Self {
        let last = Last { taken_s, since: Instant::now(), changes: 0, log_bytes: 0, failure: None };
        Self { turn: Arc::default(), last: Mutex::new(last) }
    }

    /// Recovery found one that is so old.
    pub(super) fn found(&self, taken: Millis, age: Duration) {
        let mut last = self.last.lock();
        last.taken_s = taken.0 / 1000;
        last.since = last.since.checked_sub(age).unwrap_or(last.since);
    }

    pub(crate) fn last(&self) -> Last {
        self.last.lock().clone()
    }

    /// Whether one is being taken.
    pub(crate) fn is_running(&self) -> bool {
        self.turn.try_lock().is_err()
    }

    /// A turn, unless a snapshot is being taken.
    pub(super) fn try_turn(&self) -> Option<Turn> {
        Arc::clone(&self.turn).try_lock_owned().ok().map(Turn)
    }

    /// A turn as soon as the snapshot that is being taken has ended.
    pub(super) async fn turn(&self) -> Turn {
        Turn(Arc::clone(&self.turn).lock_owned().await)
    }
}

/// Takes a snapshot on a blocking thread. It goes on when the future is dropped.
pub(super) async fn take(
    store: Arc<Store>,
    snapshots: Arc<Snapshots>,
    turn: Turn,
) -> Result<SnapshotInfo, Refusal> {
    let taken = tokio::task::spawn_blocking(move || {
        let result = write(&store, &snapshots);
        if let Err(why) = &result {
            tracing::error!(%why, "no snapshot was made; the log goes on");
            snapshots.last.lock().failure = Some(why.clone());
        }
        drop(turn.0);
        result
    });
    let result = taken.await.unwrap_or_else(|panic| Err(panic.to_string()));
    result.map_err(|why| Refusal::new(format!("IOERR no snapshot was made: {why}")))
}

fn write(store: &Store, snapshots: &Snapshots) -> Result<SnapshotInfo, String> {
    let log = store.log().ok_or("nothing is kept on disk")?;
    let begun = Instant::now();
    let begin = begin(store, log).map_err(|error| error.to_string())?;
    let mut image = KeyspaceImage { image: begin.image, store };
    let written = log.write_snapshot(begin.ticket, &mut image);
    // What is left of an image that was given up is let go of before anyone waits for it.
    drop(image);
    store.drained.notify_waiters();
    let info = written.map_err(|error| error.to_string())?;
    *snapshots.last.lock() = Last {
        taken_s: info.snapshot.time.0 / 1000,
        since: begun,
        changes: begin.changes,
        log_bytes: begin.log_bytes,
        failure: None,
    };
    tracing::info!(
        path = %info.path.display(), base = info.snapshot.base.0, keys = info.snapshot.items,
        bytes = info.snapshot.bytes, seconds = begun.elapsed().as_secs_f64(), "snapshot made"
    );
    Ok(info)
}

struct Begin {
    image: Image<State>,
    ticket: SnapshotTicket,
    changes: u64,
    log_bytes: u64,
}

fn begin(store: &Store, log: &Log) -> Result<Begin, Refused> {
    let log_bytes = log.stats().batch_bytes;
    loop {
        let mut state = store.shared.lock();
        if store.snapshots_need_a_record() {
            match log.reserve(1, Priority::Reclaim).and_then(|room| room.append(&[RECORD_VERSION])) {
                Ok(_) => {}
                Err(Refused::Busy) => {
                    drop(state);
                    std::thread::sleep(BUSY_PAUSE);
                    continue;
                }
                Err(refused) => return Err(refused),
            }
        }
        let image = Keyspace::begin_image_in(&store.shared, &mut *state).map_err(|_| Refused::Busy)?;
        let (ticket, changes) = (log.begin_snapshot(), state.changes());
        return Ok(Begin { image, ticket, changes, log_bytes });
    }
}

/// Hands out the keyspace's image and tells writers when it has let go of something.
struct KeyspaceImage<'s> {
    image: Image<State>,
    store: &'s Store,
}

impl strandline::Image for KeyspaceImage<'_> {
    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, BadState> {
        if self.store.stopping.load(Relaxed) {
            return Err(BadState("the server is stopping".into()));
        }
        let more = self.image.next_chunk(chunk);
        self.store.drained.notify_waiters();
        Ok(more)
    }

    fn items(&self) -> u64 {
        self.image.keys() as u64
    }
}

const BUSY_PAUSE: Duration = Duration::from_millis(1);
