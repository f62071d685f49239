//! What time it is for the engine.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use strandline_core::store::Now;
use strandline_core::types::{Millis, Ticks};

/// Tells the wall-clock time.
pub(crate) type WallClock = Box<dyn Fn() -> Millis + Send + Sync>;

/// What time it is, with monotonic time from when this was made.
pub(crate) struct Time {
    started: Instant,
    wall: WallClock,
}

impl Time {
    pub(crate) fn new(wall: WallClock) -> Self {
        Self { started: Instant::now(), wall }
    }

    pub(crate) fn now(&self) -> Now {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { ticks: Ticks(micros), wall: (self.wall)() }
    }
}

/// The system's.
pub(crate) fn system_time() -> Millis {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    Millis(u64::try_from(wall).unwrap_or(u64::MAX))
}
