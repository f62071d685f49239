//! Server time: wall-clock time that never runs behind what the log has seen.
//!
//! A key that expired before a restart must not come back because somebody set the clock back.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time in microseconds since the Unix epoch.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// The time at the start, as far as the log knows. From there on it goes by the monotonic clock until the wall clock has
    /// caught up.
    floor_us: AtomicU64,
    newest_us: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { started: Instant::now(), floor_us: AtomicU64::new(0), newest_us: AtomicU64::new(0) }
    }
}

impl Clock {
    /// The time, never less than an earlier answer.
    pub(super) fn now_us(&self) -> u64 {
        let now_us = wall_us().max(self.floor_us.load(Relaxed).saturating_add(self.elapsed_us()));
        self.newest_us.fetch_max(now_us, Relaxed).max(now_us)
    }

    /// Goes on from this moment if the wall clock is behind it.
    pub(super) fn not_before(&self, us: u64) {
        self.floor_us.store(us.saturating_sub(self.elapsed_us()), Relaxed);
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn wall_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_what_the_log_has_seen() {
        let clock = Clock::default();
        let before = clock.now_us();
        let future = before + 3_600_000_000;
        clock.not_before(future);
        assert!(clock.now_us() >= future);
        clock.not_before(0);
        assert!(clock.now_us() >= future, "an earlier answer stays a bound");
    }
}
