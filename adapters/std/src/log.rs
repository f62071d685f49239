//! The log: append, wait, read, snapshot.

use core::task::Waker;
use core::time::Duration;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use strandline_core::action::{Event, Refused};
use strandline_core::manifest::{Loss, Snapshot};
use strandline_core::recovery::{Options as CoreOptions, Scope};
use strandline_core::snapshot::writer::Owner;
use strandline_core::store::Priority;
use strandline_core::types::{Lsn, StoreId};

use crate::dir::{Dir, LOCK, Places};
use crate::driver::{Kind, Listener, Shared, State, Threads, Time};
use crate::error::{AppendError, OpenError, SnapshotError};
use crate::options::Options;
use crate::reader::{Holds, LogReader};
use crate::recover::{Recovered, Replay, recover};
use crate::repair::Look;
use crate::snapshot::{self, Image};
use crate::stats::Stats;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::waiters::Waiter;

/// A durable log of records in a directory. Clones share it; it is closed by [`Log::close`] or when the last one is dropped.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
    holds: Arc<Holds>,
    /// Held by the one who writes a snapshot.
    snapshotting: Mutex<()>,
    compress: bool,
    /// The number of the snapshot that has come to count last.
    kept: Arc<(Mutex<u32>, Condvar)>,
    /// Held until the log is closed.
    lock: Mutex<Option<File>>,
}

impl core::fmt::Debug for Log {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Log").field("places", self.inner.shared.dir.places()).finish_non_exhaustive()
    }
}

/// A snapshot that has been begun: what it must contain is settled, its file is not written yet.
#[derive(Debug)]
pub struct SnapshotTicket {
    snapshot: Snapshot,
    owner: Owner,
}

impl SnapshotTicket {
    /// The first LSN that is not in it.
    #[must_use]
    pub fn base(&self) -> Lsn {
        self.snapshot.base
    }
}

/// A snapshot that counts.
#[derive(Clone, Debug)]
pub struct SnapshotInfo {
    /// Its file.
    pub path: PathBuf,
    /// What the manifest says of it.
    pub snapshot: Snapshot,
}

impl Log {
    /// Opens or creates the log and hands what it holds to `state`.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed then.
    pub fn open(options: Options, state: &mut impl Replay) -> Result<(Self, Recovered), OpenError> {
        let geometry = options.geometry.check().map_err(|error| OpenError::Geometry(format!("{error:?}")))?;
        let dir = Dir::create(options.places.clone(), geometry)?;
        let lock = lock(&options.places.log)?;
        let time = Time::new(options.clock);
        let core = CoreOptions {
            config: options.config,
            geometry,
            fresh: fresh_id(),
            discard_from: options.discard_from,
            scope: Scope::Open,
        };
        let (mut store, recovered) = recover(&dir, core, options.batch_bytes, state, || time.now())?;
        store.keep_all(options.keep_all);
        let kept = Arc::new((Mutex::new(0), Condvar::new()));
        let listener = announce(options.listener, kept.clone());
        let mode = options.config.mode;
        let shared = Arc::new(Shared::new(
            store,
            dir,
            mode,
            options.batch_bytes,
            options.write_on_wait,
            time,
            listener,
        ));
        let threads = shared.start().map_err(|error| OpenError::Refused(format!("threads: {error}")))?;
        let inner = Inner {
            shared,
            threads: Mutex::new(Some(threads)),
            holds: Arc::default(),
            snapshotting: Mutex::new(()),
            compress: options.compress,
            kept,
            lock: Mutex::new(Some(lock)),
        };
        Ok((Self { inner: Arc::new(inner) }, recovered))
    }

    /// Reads everything that is kept and changes nothing: says what a start would find. [`Self::examine`] says more. Works on a damaged
    /// store, not beside a running one.
    ///
    /// # Errors
    /// See [`OpenError`]: a start would be refused.
    pub fn verify(options: &Options) -> Result<Recovered, OpenError> {
        let found = Self::examine(options, &Look::default())?;
        if let Some(error) = found.refusal.or(found.blocked) {
            return Err(error);
        }
        let mut recovered = found.start.unwrap_or_default();
        recovered.damaged_snapshots = found.damaged_snapshots;
        Ok(recovered)
    }

    /// Appends a record and blocks until it is acknowledged as the mode promises.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&self, record: &[u8]) -> Result<Lsn, AppendError> {
        let shared = &self.inner.shared;
        let (lsn, state) = shared.append(shared.state.lock(), record, Priority::Ordinary)?;
        shared.wait(state, lsn, Kind::Acknowledged)?;
        Ok(lsn)
    }

    /// Appends a record, waiting for room but not for the acknowledgement.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn submit(&self, record: &[u8]) -> Result<Lsn, AppendError> {
        let shared = &self.inner.shared;
        shared.append(shared.state.lock(), record, Priority::Ordinary).map(|(lsn, _)| lsn)
    }

    /// Appends a record without waiting for anything.
    ///
    /// # Errors
    /// [`Refused::Busy`] if there is no room right now; see [`Refused`].
    pub fn try_submit(&self, record: &[u8]) -> Result<Lsn, Refused> {
        let shared = &self.inner.shared;
        shared.try_append(&mut shared.state.lock(), record, Priority::Ordinary)
    }

    /// Appends a record, waiting for room; `done` runs on a thread of the log's own when it is acknowledged, or will not be.
    ///
    /// # Errors
    /// See [`AppendError`]; `done` does not run then.
    pub fn append_with(
        &self,
        record: &[u8],
        done: impl FnOnce(Result<Lsn, AppendError>) + Send + 'static,
    ) -> Result<Lsn, AppendError> {
        let shared = &self.inner.shared;
        let (lsn, mut state) = shared.append(shared.state.lock(), record, Priority::Ordinary)?;
        state.acknowledging.add(lsn, Waiter::Tell(Box::new(done)));
        shared.nudge(&mut state);
        Ok(lsn)
    }

    /// Takes the log's lock and makes room for one record of at most `bytes`, so that the append that follows can't be refused.
    /// Keep it for a moment only: nothing is written meanwhile.
    ///
    /// # Errors
    /// [`Refused::Busy`] if there is no room right now; see [`Refused`].
    pub fn reserve(&self, bytes: usize, priority: Priority) -> Result<Reservation<'_>, Refused> {
        let shared = &self.inner.shared;
        let mut state = shared.state.lock();
        shared.make_ready(&mut state, bytes, priority)?;
        Ok(Reservation { shared, state, priority })
    }

    /// As [`Self::reserve`]; if it is busy, `waker` is called when it may be tried again.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn reserve_or_wake(
        &self,
        bytes: usize,
        priority: Priority,
        waker: &Waker,
    ) -> Result<Reservation<'_>, Refused> {
        let shared = &self.inner.shared;
        let mut state = shared.state.lock();
        if let Err(refused) = shared.make_ready(&mut state, bytes, priority) {
            if refused == Refused::Busy {
                state.wanting.push(waker.clone());
            }
            return Err(refused);
        }
        Ok(Reservation { shared, state, priority })
    }

    /// As [`Self::reserve`], blocking until there is room.
    ///
    /// # Errors
    /// See [`Refused`]; never [`Refused::Busy`].
    pub fn reserve_waiting(&self, bytes: usize, priority: Priority) -> Result<Reservation<'_>, Refused> {
        let shared = &self.inner.shared;
        let state = shared.make_ready_waiting(bytes, priority)?;
        Ok(Reservation { shared, state, priority })
    }

    /// Blocks until the record is acknowledged.
    ///
    /// # Errors
    /// [`AppendError::Halted`].
    pub fn wait(&self, lsn: Lsn) -> Result<(), AppendError> {
        let shared = &self.inner.shared;
        if shared.acknowledged() > lsn {
            Ok(())
        } else {
            shared.wait(shared.state.lock(), lsn, Kind::Acknowledged)
        }
    }

    /// Blocks until the record is durable; asks for a sync in every mode.
    ///
    /// # Errors
    /// [`AppendError::Halted`].
    pub fn wait_durable(&self, lsn: Lsn) -> Result<(), AppendError> {
        let shared = &self.inner.shared;
        if shared.durable() > lsn { Ok(()) } else { shared.wait(shared.state.lock(), lsn, Kind::Durable) }
    }

    /// Whether the record is acknowledged (`durable`: durable); if not, `waker` is called when it is, or will not be.
    ///
    /// # Errors
    /// [`AppendError::Halted`].
    pub fn poll_wait(&self, lsn: Lsn, durable: bool, waker: &Waker) -> Result<bool, AppendError> {
        let kind = if durable { Kind::Durable } else { Kind::Acknowledged };
        self.inner.shared.poll_wait(lsn, kind, waker)
    }

    /// Writes and syncs everything that has been appended.
    ///
    /// # Errors
    /// [`AppendError::Halted`].
    pub fn sync(&self) -> Result<(), AppendError> {
        let next = self.next_lsn();
        if next <= Lsn::FIRST { Ok(()) } else { self.wait_durable(Lsn(next.0 - 1)) }
    }

    /// LSN of the next record.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.inner.shared.state.lock().store.next_lsn()
    }

    /// Every record before this one is acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> Lsn {
        self.inner.shared.acknowledged()
    }

    /// Every record before this one is durable.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.inner.shared.durable()
    }

    /// Reads records from `from` on; only acknowledged ones. The segments that it still needs are held.
    ///
    /// # Errors
    /// [`crate::ReadError::Released`] if `from` lies below the oldest kept record.
    pub fn read_from(&self, from: Lsn) -> Result<LogReader, crate::ReadError> {
        LogReader::new(self.clone(), from)
    }

    /// Settles what a snapshot must contain: every record up to now. The state's image is to be taken in the same moment, under
    /// the lock that orders its appends.
    #[must_use]
    pub fn begin_snapshot(&self) -> SnapshotTicket {
        self.inner.shared.state.lock().begin_snapshot()
    }

    /// Writes a snapshot, publishes it, reads it back and has the manifest name it. Blocks until it counts.
    ///
    /// # Errors
    /// See [`SnapshotError`]; the log goes on unless it has halted.
    pub fn write_snapshot(
        &self,
        ticket: SnapshotTicket,
        image: &mut dyn Image,
    ) -> Result<SnapshotInfo, SnapshotError> {
        let inner = &self.inner;
        let Some(_turn) = inner.snapshotting.try_lock() else { return Err(Refused::Busy.into()) };
        let begun = Instant::now();
        let result = self.write_and_keep(ticket, image);
        if result.is_ok() {
            inner.shared.counters.snapshot_made(begun.elapsed());
        }
        result
    }

    fn write_and_keep(
        &self,
        ticket: SnapshotTicket,
        image: &mut dyn Image,
    ) -> Result<SnapshotInfo, SnapshotError> {
        let inner = &self.inner;
        let shared = &inner.shared;
        let SnapshotTicket { snapshot, owner } = ticket;
        let snapshot = snapshot::write(&shared.dir, owner, snapshot, inner.compress, image)?;
        let (kept, changed) = &*inner.kept;
        *kept.lock() = 0;
        let mut state = shared.state.lock();
        if let Err(refused) = state.store.keep_snapshot(snapshot) {
            snapshot::give_up(&shared.dir, snapshot);
            return Err(refused.into());
        }
        shared.nudge(&mut state);
        drop(state);
        let mut newest = kept.lock();
        while *newest != snapshot.number {
            if shared.is_halted() {
                return Err(Refused::Halted.into());
            }
            // A halt is heard of too, but not under this lock.
            let _ = changed.wait_for(&mut newest, Duration::from_millis(100));
        }
        let path = shared.dir.path(strandline_core::lower::posix::File::Snapshot(snapshot.number));
        Ok(SnapshotInfo { path, snapshot })
    }

    /// The snapshots that may be loaded, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        let shared = &self.inner.shared;
        let state = shared.state.lock();
        let info = |snapshot: &Snapshot| SnapshotInfo {
            path: shared.dir.path(strandline_core::lower::posix::File::Snapshot(snapshot.number)),
            snapshot: *snapshot,
        };
        state.store.snapshots().iter().map(info).collect()
    }

    /// The losses that were gone past, oldest first; the newest of them are kept by name.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        self.inner.shared.state.lock().store.losses().to_vec()
    }

    /// A moment's view.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.inner.shared;
        let mut stats = Stats::default();
        shared.counters.fill(&mut stats);
        let state = shared.state.lock();
        state.describe(shared.now(), &mut stats);
        stats
    }

    /// Where the log's files are.
    #[must_use]
    pub fn places(&self) -> &Places {
        self.inner.shared.dir.places()
    }

    /// Flushes, syncs and seals the log; later appends are refused.
    pub fn close(&self) {
        self.inner.close();
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    pub(crate) fn holds(&self) -> &Arc<Holds> {
        &self.inner.holds
    }
}

impl Inner {
    fn close(&self) {
        if let Some(threads) = self.threads.lock().take() {
            self.shared.close(threads);
            self.lock.lock().take();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Bytes to reserve for a group of records of these lengths; `None` if they are more than any log takes.
#[must_use]
pub fn group_bytes(lengths: impl IntoIterator<Item = usize>) -> Option<usize> {
    strandline_core::wal::group::payload_bytes(lengths)
}

/// The log's lock, with room for one record.
pub struct Reservation<'l> {
    shared: &'l Shared,
    state: MutexGuard<'l, State>,
    priority: Priority,
}

impl core::fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reservation").field("next", &self.next_lsn()).finish()
    }
}

impl Reservation<'_> {
    /// The LSN that the record will get.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.state.store.next_lsn()
    }

    /// Appends the record that room was made for.
    ///
    /// # Errors
    /// Only if `record` is longer than was reserved.
    pub fn append(mut self, record: &[u8]) -> Result<Lsn, Refused> {
        self.shared.try_append(&mut self.state, record, self.priority)
    }

    /// Appends several records that are all there after a crash, or none of them; returns the LSN of the first. Room must have
    /// been made for [`group_bytes`] of them.
    ///
    /// # Errors
    /// Only if they are longer than was reserved, or there is none.
    pub fn append_group(mut self, records: &[&[u8]]) -> Result<Lsn, Refused> {
        self.shared.try_append_group(&mut self.state, records, self.priority)
    }

    /// Settles what a snapshot must contain, as [`Log::begin_snapshot`] does.
    #[must_use]
    pub fn begin_snapshot(mut self) -> SnapshotTicket {
        self.state.begin_snapshot()
    }
}

impl State {
    fn begin_snapshot(&mut self) -> SnapshotTicket {
        let snapshot = self.store.begin_snapshot();
        let owner = Owner {
            store: self.store.store_id(),
            epoch: self.store.epoch(),
            revision: self.store.revision(),
        };
        SnapshotTicket { snapshot, owner }
    }
}

/// Tells snapshots that wait, then the user's listener.
fn announce(listener: Listener, kept: Arc<(Mutex<u32>, Condvar)>) -> Listener {
    Box::new(move |event, why| {
        if let Event::SnapshotKept { number, .. } = event {
            *kept.0.lock() = *number;
            kept.1.notify_all();
        }
        listener(event, why);
    })
}

/// Keeps a second process out, and tells it who is here. The kernel lets go of the lock when the process ends, however it ends.
fn lock(place: &Path) -> Result<File, OpenError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(place.join(LOCK));
    let mut file = hold(opened.map_err(|error| unusable(place, &error))?, place)?;
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| unusable(place, &error))?;
    Ok(file)
}

/// Takes the lock of a store if there is one, without writing anything.
pub(crate) fn hold_existing(place: &Path) -> Result<Option<File>, OpenError> {
    match File::open(place.join(LOCK)) {
        Ok(file) => hold(file, place).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(place, &error)),
    }
}

/// Takes the lock, without writing anything.
fn hold(mut file: File, place: &Path) -> Result<File, OpenError> {
    if file.try_lock().is_err() {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        let holder = Some(holder.trim().to_owned()).filter(|holder| !holder.is_empty());
        return Err(OpenError::Locked { path: place.into(), holder });
    }
    Ok(file)
}

fn unusable(place: &Path, error: &std::io::Error) -> OpenError {
    OpenError::Refused(format!("{}: {error}", place.join(LOCK).display()))
}

/// A random store id, from the keys that the standard library draws for its hash maps.
fn fresh_id() -> StoreId {
    use core::hash::BuildHasher;
    use std::hash::RandomState;

    let half = || RandomState::new().hash_one(std::process::id()).to_le_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&half());
    id[8..].copy_from_slice(&half());
    StoreId(id)
}
