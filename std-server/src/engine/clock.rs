//! Server time: wall-clock time that never runs behind what the log has seen.
//!
//! A key that expired before a restart must not come back because somebody set the clock back. Where the wall clock is set back
//! while the server runs, time goes on by the monotonic one.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time in microseconds since the Unix epoch.
///
/// ```text
///  time = monotonic clock since the start + ahead      ahead: the most that the wall clock ever was ahead of it
/// ```
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    ahead_us: AtomicU64,
    /// When the wall clock is looked at again, on the monotonic one: a look at both for every command is dear.
    look_at_us: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { started: Instant::now(), ahead_us: AtomicU64::new(0), look_at_us: AtomicU64::new(0) }
    }
}

impl Clock {
    /// The time, never less than an earlier answer.
    pub(super) fn now_us(&self) -> u64 {
        let elapsed_us = self.elapsed_us();
        if elapsed_us >= self.look_at_us.load(Relaxed) {
            self.look_at_us.store(elapsed_us + LOOK_EVERY_US, Relaxed);
            let wall_us = wall_us();
            // The monotonic clock is read last: whatever happened in between makes the difference smaller, never larger.
            self.ahead_us.fetch_max(wall_us.saturating_sub(self.elapsed_us()), Relaxed);
        }
        elapsed_us.saturating_add(self.ahead_us.load(Relaxed))
    }

    /// Goes on from this moment if the time is behind it.
    pub(super) fn not_before(&self, us: u64) {
        self.ahead_us.fetch_max(us.saturating_sub(self.elapsed_us()), Relaxed);
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn wall_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

const LOOK_EVERY_US: u64 = 1000;

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
