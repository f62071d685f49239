//! What the checker switches between: the same names, with the checker's own locks behind them.
//!
//! Time is not real: it goes on by chance whenever somebody looks. So a wait with an end may end at once, and one without an
//! end is only ended by whoever wakes it; if nobody does, the checker reports a deadlock.

use core::ops::{Deref, DerefMut};
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;

use shuttle::rand::{Rng, thread_rng};
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use shuttle::sync::mpsc;
pub(crate) use shuttle::thread_local;

pub(crate) mod thread {
    pub(crate) use shuttle::thread::*;

    /// May end at once.
    pub(crate) fn park_timeout(_: core::time::Duration) {
        yield_now();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, held: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|held| MutexGuard { mutex: self, held: Some(held) })
    }
}

/// Holds its lock, except within [`MutexGuard::unlocked`] and while it waits.
pub(crate) struct MutexGuard<'m, T> {
    mutex: &'m Mutex<T>,
    held: Option<shuttle::sync::MutexGuard<'m, T>>,
}

impl<T> MutexGuard<'_, T> {
    pub(crate) fn unlocked<U>(guard: &mut Self, during: impl FnOnce() -> U) -> U {
        guard.held = None;
        let done = catch_unwind(AssertUnwindSafe(during));
        guard.held = guard.mutex.lock().held;
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("it is held")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("it is held");
        guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// May end at once.
    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) -> bool {
        MutexGuard::unlocked(guard, thread::yield_now);
        true
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Microseconds since a moment, of a time that goes on when somebody looks.
pub(crate) struct Stopwatch(std::sync::atomic::AtomicU64);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(std::sync::atomic::AtomicU64::new(0))
    }

    pub(crate) fn micros(&self) -> u64 {
        let step = [0, 0, 50, 2_000, 200_000][thread_rng().gen_range(0..5)];
        self.0.fetch_add(step, std::sync::atomic::Ordering::Relaxed) + step
    }
}
