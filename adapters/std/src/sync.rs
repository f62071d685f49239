//! Locks, threads and time of a log: the system's, or, with `--cfg shuttle`, those of a checker that tries their interleavings.

#[cfg(shuttle)]
mod model;

#[cfg(not(shuttle))]
mod system {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use std::sync::mpsc;
    pub(crate) use std::{thread, thread_local};

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

    /// Microseconds since a moment.
    pub(crate) struct Stopwatch(std::time::Instant);

    impl Stopwatch {
        pub(crate) fn start() -> Self {
            Self(std::time::Instant::now())
        }

        pub(crate) fn micros(&self) -> u64 {
            u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
        }
    }
}

#[cfg(shuttle)]
pub(crate) use self::model::*;
#[cfg(not(shuttle))]
pub(crate) use self::system::*;
