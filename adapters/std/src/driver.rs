//! Carries out what the engine asks for.
//!
//! ```text
//!  appenders ──► engine (one short lock) ◄── poll / complete ── whoever drives
//!                                              │ batches (and syncs, in `always`)  on the driving thread
//!                                              ├ syncs in `periodic`, `never`      on the sync thread
//!                                              └ manifest, segments ahead          on the background thread
//! ```
//!
//! Driving is a role, not a thread: an appender that has to wait takes it if it is free, so that a single client's write and
//! sync run on its own thread; otherwise the driver thread has it. With `write_on_wait` a task that asks for its
//! acknowledgement takes it for one write, so that no thread is woken between an append and its reply. Two halves take turns: one is
//! written while the other fills.

mod append;
mod clock;
mod panics;
mod threads;

use core::cell::Cell;
use core::sync::atomic::Ordering;
use core::task::Waker;
use core::time::Duration;
use std::time::Instant;

use strandline_core::action::{Action, Event, Output};
use strandline_core::store::{Mode, Now};
use strandline_core::types::{EffectId, Lsn, Ticks};

use self::append::CLOSED;
pub(crate) use self::clock::{Time, WallClock, system_time};
use self::panics::{guarded, wake_all};
pub(crate) use self::threads::Threads;
use self::threads::{Job, Lanes};
use crate::dir::{Dir, StepError};
use crate::error::AppendError;
use crate::recover::{HostStore, span_of};
use crate::stats::{Counters, Stats};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard};
use crate::waiters::{Waiter, Waiters};

/// Hears of events: they are the engine's log.
pub(crate) type Listener = Box<dyn Fn(&Event, Option<&str>) + Send + Sync>;

/// What appenders, the driver and the lanes share.
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// The one who drives waits here for work.
    work: Condvar,
    /// The driver thread waits here until it must drive.
    rest: Condvar,
    /// Appenders wait here for room.
    room: Condvar,
    pub(crate) dir: Dir,
    pub(crate) mode: Mode,
    pub(crate) batch_bytes: usize,
    /// Appends wake nobody: whoever waits for an acknowledgement writes.
    write_on_wait: bool,
    pub(crate) counters: Counters,
    /// Everything below is acknowledged, or durable.
    acknowledged: AtomicU64,
    durable: AtomicU64,
    halted: AtomicBool,
    time: Time,
    listener: Listener,
}

/// What the lock guards.
pub(crate) struct State {
    pub(crate) store: HostStore,
    pub(crate) acknowledging: Waiters,
    pub(crate) persisting: Waiters,
    /// Those who want room.
    pub(crate) wanting: Vec<Waker>,
    /// Someone drives.
    driving: bool,
    /// Whoever drives has gone to sleep and must be woken for work.
    asleep: bool,
    /// Whoever sleeps or rests will wake when the gather is over.
    gathering: bool,
    /// The driver thread rests, at the latest until this time.
    resting: bool,
    rest_until: Option<Ticks>,
    stopping: bool,
    /// Why the store halted.
    pub(crate) failure: Option<String>,
    lanes: Option<Lanes>,
}

impl Shared {
    pub(crate) fn new(
        store: HostStore,
        dir: Dir,
        mode: Mode,
        batch_bytes: usize,
        write_on_wait: bool,
        time: Time,
        listener: Listener,
    ) -> Self {
        let (acknowledged, durable) = (store.acknowledged().0, store.settled().lsn.0);
        Self {
            state: Mutex::new(State {
                store,
                acknowledging: Waiters::default(),
                persisting: Waiters::default(),
                wanting: Vec::new(),
                driving: false,
                asleep: false,
                gathering: false,
                resting: false,
                rest_until: None,
                stopping: false,
                failure: None,
                lanes: None,
            }),
            work: Condvar::new(),
            rest: Condvar::new(),
            room: Condvar::new(),
            dir,
            mode,
            batch_bytes,
            write_on_wait: write_on_wait && mode != Mode::Always,
            counters: Counters::default(),
            acknowledged: AtomicU64::new(acknowledged),
            durable: AtomicU64::new(durable),
            halted: AtomicBool::new(false),
            time,
            listener,
        }
    }

    pub(crate) fn acknowledged(&self) -> Lsn {
        Lsn(self.acknowledged.load(Ordering::Acquire))
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    pub(crate) fn now(&self) -> Now {
        self.time.now()
    }

    /// Sees to it that someone drives, now that there is work.
    #[inline]
    pub(crate) fn nudge(&self, state: &mut State) {
        if state.asleep {
            state.asleep = false;
            self.work.notify_one();
        } else if !state.driving && state.resting {
            state.resting = false;
            self.rest.notify_one();
        }
    }

    /// Polls and carries out until `done`; then the role is free again. The driver thread also gives it up when there is
    /// nothing to do, and learns until when. Whatever panics meanwhile halts the log.
    fn drive<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        who: Role,
        done: &dyn Fn(&Self) -> bool,
    ) -> (MutexGuard<'s, State>, Option<Ticks>) {
        let (mut state, idle_until) = loop {
            state.driving = true;
            match guarded(|| self.poll_until(state, who, done)) {
                Ok(ended) => break ended,
                // The engine may still have events to tell; it hands out nothing else any more.
                Err(why) => state = self.fail(why),
            }
        };
        state.driving = false;
        if who == Role::Appender && state.resting {
            state.resting = false;
            self.rest.notify_one();
        }
        if state.store.is_closed() {
            self.room.notify_all();
        }
        (state, idle_until)
    }

    fn poll_until<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        who: Role,
        done: &dyn Fn(&Self) -> bool,
    ) -> (MutexGuard<'s, State>, Option<Ticks>) {
        while !done(self) {
            match state.store.poll(self.now()) {
                Output::Do(id, action) => state = self.carry_out(state, id, action),
                Output::Event(event) => self.hear(&mut state, &event),
                Output::Idle { wake } if who == Role::Thread || state.stopping => return (state, wake),
                Output::Idle { wake } => self.sleep(&mut state, wake),
            }
        }
        (state, None)
    }

    /// Carries out what there is to do now, on a thread that must not be kept for long. The driver thread keeps the time, and
    /// goes on if there is more.
    fn drive_here<'s>(&'s self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let left = Cell::new(POLLS_HERE);
        let is_enough = |_: &Self| left.replace(left.get().saturating_sub(1)) == 0;
        let (mut state, until) = self.drive(state, Role::Thread, &is_enough);
        let sooner = match (until, state.rest_until) {
            (Some(until), Some(rest)) => until < rest,
            (Some(_), None) => true,
            (None, _) => left.get() == 0,
        };
        if state.resting && sooner {
            state.resting = false;
            self.rest.notify_one();
        }
        state
    }

    /// An appender that drives waits for company, or for another thread's sync.
    fn sleep(&self, state: &mut MutexGuard<'_, State>, wake: Option<Ticks>) {
        state.asleep = true;
        self.wait_on(&self.work, state, wake);
        state.asleep = false;
    }

    fn wait_on(&self, what: &Condvar, state: &mut MutexGuard<'_, State>, until: Option<Ticks>) {
        let Some(time) = until else { return what.wait(state) };
        let begun = Instant::now();
        state.gathering = state.store.is_gathering();
        let micros = time.since(self.now().ticks);
        let _ = what.wait_for(state, Duration::from_micros(micros));
        if core::mem::take(&mut state.gathering) {
            self.counters.gathered(begun.elapsed());
        }
    }

    fn carry_out<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        id: EffectId,
        action: Action,
    ) -> MutexGuard<'s, State> {
        if let Some(lane) = self.lane(&state, action) {
            let bytes = span_of(&action).map(|span| state.store.bytes(span).to_vec()).unwrap_or_default();
            let _ = lane.send(Job { id, action, bytes });
            return state;
        }
        let Some(span) = span_of(&action) else {
            let result = MutexGuard::unlocked(&mut state, || self.perform(action, &[]));
            self.complete(state, id, result);
            return self.state.lock();
        };
        let Some(buffer) = state.store.take(span.buffer) else { return state };
        let start = span.start as usize;
        let bytes = &buffer[start..start + span.len as usize];
        let result = MutexGuard::unlocked(&mut state, || self.perform(action, bytes));
        let usual = if buffer.len() > self.batch_bytes { vec![0; self.batch_bytes] } else { buffer };
        state.store.give(span.buffer, usual);
        self.complete(state, id, result);
        self.state.lock()
    }

    fn perform(&self, action: Action, bytes: &[u8]) -> Result<(), StepError> {
        let begun = Instant::now();
        #[cfg(test)]
        assert!(bytes != panics::PLANTED, "planted");
        let result = self.dir.perform(action, bytes);
        self.counters.performed(action, begun.elapsed());
        result
    }

    /// Completes an action and wakes whom it releases, outside the lock.
    fn complete(&self, mut state: MutexGuard<'_, State>, id: EffectId, result: Result<(), StepError>) {
        let result = result.map_err(|error| {
            let failure = error.failure();
            state.failure = Some(error.to_string());
            failure
        });
        let failed = result.is_err();
        state.store.complete(id, result, self.now());
        let released = self.publish(&mut state);
        if failed && state.store.halted().is_none() {
            state.failure = None;
        }
        self.nudge(&mut state);
        drop(state);
        self.room.notify_all();
        wake_all(released);
    }

    /// Makes progress visible. Returns those who waited for it, or for room; completions are told on a thread of their own,
    /// which never drives.
    fn publish(&self, state: &mut State) -> Vec<Waker> {
        let (acknowledged, durable) = (state.store.acknowledged(), state.store.settled().lsn);
        self.acknowledged.store(acknowledged.0, Ordering::Release);
        self.durable.store(durable.0, Ordering::Release);
        let mut released = Vec::new();
        state.acknowledging.release(acknowledged, &mut released);
        state.persisting.release(durable, &mut released);
        if state.store.halted().is_some() || state.stopping {
            self.halted.store(true, Ordering::Release);
            state.acknowledging.release_all(&mut released);
            state.persisting.release_all(&mut released);
        }
        let mut wakers = core::mem::take(&mut state.wanting);
        for (lsn, waiter) in released {
            match waiter {
                Waiter::Wake(waker) => wakers.push(waker),
                Waiter::Tell(done) => {
                    let why = || state.failure.clone().unwrap_or_else(|| CLOSED.into());
                    let result = if lsn < acknowledged { Ok(lsn) } else { Err(AppendError::Halted(why())) };
                    if let Some(lanes) = &state.lanes {
                        let _ = lanes.tell.send((done, result));
                    }
                }
            }
        }
        wakers
    }

    fn hear(&self, state: &mut State, event: &Event) {
        self.counters.heard(event);
        (self.listener)(event, state.failure.as_deref());
        if let Event::Halted(_) | Event::Full | Event::Healed = event {
            wake_all(self.publish(state));
            self.room.notify_all();
        }
    }
}

impl State {
    /// Fills in what the engine knows.
    pub(crate) fn describe(&self, now: Now, stats: &mut Stats) {
        let store = &self.store;
        let (bytes, since) = store.unsynced();
        stats.next = store.next_lsn();
        stats.acknowledged = store.acknowledged();
        stats.durable = store.settled().lsn;
        stats.unsynced_bytes = bytes;
        stats.unsynced_age = since.map(|since| Duration::from_micros(now.ticks.since(since)));
        stats.segments = store.segments().len() as u64;
        stats.segment_bytes =
            store.segments().iter().map(|segment| u64::from(segment.geometry.extent_bytes)).sum();
        stats.snapshots = store.snapshots().len() as u64;
        if let Some(newest) = store.snapshots().last() {
            stats.snapshot_taken = Some(newest.time);
            stats.snapshot_base = newest.base;
            stats.snapshot_bytes = newest.bytes;
        }
        stats.full = store.is_full();
        stats.halted =
            store.halted().map(|failure| self.failure.clone().unwrap_or_else(|| format!("{failure:?}")));
    }
}

/// Enough for a batch, the events around it, and one more.
const POLLS_HERE: u32 = 8;

/// Who drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The driver thread.
    Thread,
    /// An appender, until its record is acknowledged.
    Appender,
}

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The mode's promise.
    Acknowledged,
    /// A sync, in every mode.
    Durable,
}
