//! Server time: wall-clock time that never runs behind what the log has seen.
//!
//! A key that expired before a restart must not come back because somebody set the clock back.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time in microseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// What the wall clock lacks.
    ahead_us: AtomicU64,
    newest_us: AtomicU64,
}

impl Clock {
    /// The time, never less than an earlier answer.
    pub(super) fn now_us(&self) -> u64 {
        let now_us = wall_us().saturating_add(self.ahead_us.load(Relaxed));
        self.newest_us.fetch_max(now_us, Relaxed).max(now_us)
    }

    /// Goes on from this moment if the wall clock is behind it.
    pub(super) fn not_before(&self, us: u64) {
        self.ahead_us.store(us.saturating_sub(wall_us()), Relaxed);
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
