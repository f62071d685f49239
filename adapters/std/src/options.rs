//! How a log is opened.

use std::path::PathBuf;

use strandline_core::action::Event;
use strandline_core::geometry::Geometry;
use strandline_core::store::{Config, Mode};
use strandline_core::types::{Lsn, Millis};

use crate::dir::Places;
use crate::driver::{Listener, WallClock, system_time};

/// How a log is opened.
pub struct Options {
    pub(crate) places: Places,
    pub(crate) config: Config,
    pub(crate) geometry: Geometry,
    pub(crate) batch_bytes: usize,
    pub(crate) compress: bool,
    pub(crate) write_on_wait: bool,
    pub(crate) discard_from: Option<Lsn>,
    pub(crate) keep_all: bool,
    pub(crate) listener: Listener,
    pub(crate) clock: WallClock,
}

impl core::fmt::Debug for Options {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Options")
            .field("places", &self.places)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// A log in `directory`, snapshots in `directory/snapshots`, mode `always`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let log = directory.into();
        let snapshots = log.join("snapshots");
        Self {
            places: Places { log, snapshots, prefix: "log".into() },
            config: Config::new(Mode::Always),
            geometry: Geometry::HOST,
            batch_bytes: 256 << 10,
            compress: true,
            write_on_wait: false,
            discard_from: None,
            keep_all: false,
            listener: Box::new(|_, _| {}),
            clock: Box::new(system_time),
        }
    }

    /// What an acknowledgement waits for.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.config.mode = mode;
        self
    }

    /// Where the files are, and what segment names begin with.
    #[must_use]
    pub fn places(mut self, places: Places) -> Self {
        self.places = places;
        self
    }

    /// Size of a segment, bytes: a multiple of 4096. It also bounds a record.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u32) -> Self {
        self.geometry.extent_bytes = bytes;
        self
    }

    /// Size of each of the two batch halves, bytes: rounded up to 4 KiB. A larger record gets a buffer of its own.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes.clamp(4 << 10, 64 << 20).next_multiple_of(4096);
        self
    }

    /// For devices that may spoil durable bytes when their sector is rewritten: batches begin at this border, 512 or 4096.
    #[must_use]
    pub fn batch_align(mut self, bytes: u32) -> Self {
        self.geometry.batch_align = bytes;
        self
    }

    /// How many snapshots are kept; fewer than two count as two.
    #[must_use]
    pub fn keep_snapshots(mut self, count: usize) -> Self {
        self.config.keep_snapshots = count;
        self
    }

    /// Whether snapshots are compressed with zstd.
    #[must_use]
    pub fn compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }

    /// For callers that wait for every record with [`crate::Log::poll_wait`]: in the modes whose acknowledgement is the write, an append
    /// wakes no thread, and the first that asks writes what all have appended, on its own thread. A record that nobody
    /// asks for is written with the next one.
    #[must_use]
    pub fn write_on_wait(mut self, on: bool) -> Self {
        self.write_on_wait = on;
        self
    }

    /// Keeps every segment, whatever snapshots cover, except those that [`crate::Log::let_go`] names.
    #[must_use]
    pub fn keep_all(mut self, keep: bool) -> Self {
        self.keep_all = keep;
        self
    }

    /// How many segments there may be; when there are so many, ordinary records are refused as if there were no space, until
    /// one has been released.
    #[must_use]
    pub fn max_segments(mut self, count: usize) -> Self {
        self.config.max_segments = count;
        self
    }

    /// Goes past damage at exactly this LSN: it and everything after it is lost, which is recorded for ever.
    #[must_use]
    pub fn discard_from(mut self, lsn: Option<Lsn>) -> Self {
        self.discard_from = lsn;
        self
    }

    /// Tells the wall-clock time that marks and snapshots carry; unless set, the system's. For programs whose own time never
    /// runs backwards: what they do by it is then never later than what the log says. Called with the log's lock held.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Hears of events, with the reason of a failure. Called with the log's lock held: it must not use the log.
    #[must_use]
    pub fn listener(mut self, listener: impl Fn(&Event, Option<&str>) + Send + Sync + 'static) -> Self {
        self.listener = Box::new(listener);
        self
    }
}
