//! What those do who append: they make room, take an LSN, and wait for progress, driving if nobody else does.

use core::task::Waker;
use core::time::Duration;
use std::time::Instant;

use strandline_core::action::Refused;
use strandline_core::store::Priority;
use strandline_core::types::Lsn;

use super::{Kind, Role, Shared, State};
use crate::error::AppendError;
use crate::sync::{MutexGuard, thread};
use crate::waiters::{Waiter, this_thread};

impl Shared {
    /// Takes a record without waiting for room.
    #[inline]
    pub(crate) fn try_append(
        &self,
        state: &mut State,
        record: &[u8],
        priority: Priority,
    ) -> Result<Lsn, Refused> {
        let mut taken = state.store.append(record, priority);
        if let Err(Refused::NeedsBuffer(_)) = taken {
            self.make_ready(state, record.len(), priority)?;
            taken = state.store.append(record, priority);
        }
        if !self.write_on_wait || taken.is_err() {
            self.nudge_for_record(state);
        }
        taken
    }

    /// Takes several records, all or nothing, that room was made for.
    pub(crate) fn try_append_group(
        &self,
        state: &mut State,
        records: &[&[u8]],
        priority: Priority,
    ) -> Result<Lsn, Refused> {
        let taken = state.store.append_group(records, priority);
        if !self.write_on_wait || taken.is_err() {
            self.nudge_for_record(state);
        }
        taken
    }

    /// Takes a record, waiting for room.
    pub(crate) fn append<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        record: &[u8],
        priority: Priority,
    ) -> Result<(Lsn, MutexGuard<'s, State>), AppendError> {
        loop {
            match self.try_append(&mut state, record, priority) {
                Ok(lsn) => return Ok((lsn, state)),
                Err(Refused::Busy) => state = self.wait_for_room(state),
                Err(refused) => return Err(refused.into()),
            }
        }
    }

    /// Waits until an append that was refused as busy may be tried again.
    fn wait_for_room<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.counters.waited_for_room();
        self.room.wait(&mut state);
        state
    }

    /// Makes room for a record of `bytes`, without waiting.
    pub(crate) fn make_ready(
        &self,
        state: &mut State,
        bytes: usize,
        priority: Priority,
    ) -> Result<(), Refused> {
        loop {
            match state.store.ready(bytes, priority) {
                Err(Refused::NeedsBuffer(bytes)) => {
                    // Larger than the usual half: one that fits takes its place until this batch has been written.
                    if state.store.exchange(vec![0; bytes]).is_err() {
                        return Err(Refused::Busy);
                    }
                }
                other => {
                    if !self.write_on_wait || other.is_err() {
                        self.nudge_for_record(state);
                    }
                    return other;
                }
            }
        }
    }

    /// Makes room for a record of `bytes`, waiting until there is some.
    pub(crate) fn make_ready_waiting(
        &self,
        bytes: usize,
        priority: Priority,
    ) -> Result<MutexGuard<'_, State>, Refused> {
        let mut state = self.state.lock();
        loop {
            match self.make_ready(&mut state, bytes, priority) {
                Ok(()) => return Ok(state),
                Err(Refused::Busy) => state = self.wait_for_room(state),
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Whether progress of this kind is above `lsn`; if not, `waker` is called when it is.
    pub(crate) fn poll_wait(&self, lsn: Lsn, kind: Kind, waker: &Waker) -> Result<bool, AppendError> {
        if self.progress(kind) > lsn {
            return Ok(true);
        }
        let mut state = self.state.lock();
        if self.progress(kind) > lsn {
            return Ok(true);
        }
        if self.write_on_wait && kind == Kind::Acknowledged && !state.driving && state.lanes.is_some() {
            state = self.drive_here(state);
            if self.progress(kind) > lsn {
                return Ok(true);
            }
        }
        if self.is_halted() {
            drop(state);
            return self.outcome(lsn, kind).map(|()| true);
        }
        if kind == Kind::Durable {
            state.store.request_sync(lsn.next());
            state.persisting.add(lsn, Waiter::Wake(waker.clone()));
            self.nudge(&mut state);
        } else {
            state.acknowledging.add(lsn, Waiter::Wake(waker.clone()));
            self.nudge_for_record(&mut state);
        }
        Ok(false)
    }

    /// Blocks until the record is acknowledged, the log halts, or `timeout` is over.
    pub(crate) fn wait_until(&self, lsn: Lsn, timeout: Duration) {
        let deadline = Instant::now() + timeout.min(LONG);
        if self.poll_wait(lsn, Kind::Acknowledged, &this_thread()).is_ok_and(|ready| ready) {
            return;
        }
        while self.acknowledged() <= lsn && !self.is_halted() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Sees to it that someone drives, for a record more: the gather does not have to be told of each one.
    #[inline]
    fn nudge_for_record(&self, state: &mut State) {
        if !(state.gathering && state.store.is_gathering()) {
            self.nudge(state);
        }
    }

    /// Blocks until progress of this kind is above `lsn`, driving if nobody else does.
    pub(crate) fn wait<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        lsn: Lsn,
        kind: Kind,
    ) -> Result<(), AppendError> {
        if kind == Kind::Durable {
            state.store.request_sync(lsn.next());
            self.nudge(&mut state);
        }
        if !state.driving && state.lanes.is_some() {
            let done = |shared: &Self| shared.progress(kind) > lsn || shared.is_halted();
            drop(self.drive(state, Role::Appender, &done));
        } else {
            if self.progress(kind) <= lsn && !self.is_halted() {
                let waiters =
                    if kind == Kind::Durable { &mut state.persisting } else { &mut state.acknowledging };
                waiters.add(lsn, Waiter::Wake(this_thread()));
            }
            drop(state);
            while self.progress(kind) <= lsn && !self.is_halted() {
                thread::park();
            }
        }
        self.outcome(lsn, kind)
    }

    /// Whether progress of this kind is above `lsn`, or never will be.
    pub(crate) fn outcome(&self, lsn: Lsn, kind: Kind) -> Result<(), AppendError> {
        if self.progress(kind) > lsn {
            return Ok(());
        }
        let why = self.state.lock().failure.clone();
        Err(AppendError::Halted(why.unwrap_or_else(|| CLOSED.into())))
    }

    pub(crate) fn progress(&self, kind: Kind) -> Lsn {
        if kind == Kind::Durable { self.durable() } else { self.acknowledged() }
    }
}

pub(super) const CLOSED: &str = "the log was closed";
/// Longer than anyone waits.
const LONG: Duration = Duration::from_secs(1 << 30);
