//! What time it is for the engine.

use std::time::{SystemTime, UNIX_EPOCH};

use strandline_core::store::Now;
use strandline_core::types::{Millis, Ticks};

use crate::sync::Stopwatch;

/// Tells the wall-clock time.
pub(crate) type WallClock = Box<dyn Fn() -> Millis + Send + Sync>;

/// What time it is, with monotonic time from when this was made.
pub(crate) struct Time {
    started: Stopwatch,
    wall: WallClock,
}

impl Time {
    pub(crate) fn new(wall: WallClock) -> Self {
        Self { started: Stopwatch::start(), wall }
    }

    pub(crate) fn now(&self) -> Now {
        Now { ticks: Ticks(self.started.micros()), wall: (self.wall)() }
    }
}

/// The system's.
pub(crate) fn system_time() -> Millis {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    Millis(u64::try_from(wall).unwrap_or(u64::MAX))
}
