//! The configuration as the server uses it: every value typed, in range and consistent with the others.
//!
//! A `Config` is only made by `Config::load`, which is where the checks are; the fields are read freely.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

use crate::auth::Account;
use crate::tls::TlsFiles;

/// Everything that the server is told at start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where everything lives that has no place of its own; absolute if the working directory is.
    pub data_dir: PathBuf,
    /// Off: nothing is read from or written to disk.
    pub persistence_enabled: bool,
    /// The write-ahead log.
    pub wal: WalConfig,
    /// The snapshots.
    pub snapshot: SnapshotConfig,
    /// Where HTTP listens: a loopback address unless there are users; port 0 means that the system picks.
    pub http: SocketAddr,
    /// Who may come in over HTTP; everybody if empty.
    pub http_users: Vec<Account>,
    /// The files of TLS for HTTP; without them it is not spoken.
    pub http_tls: Option<TlsFiles>,
    /// Where the operator's pages are, apart from those for clients; everything is on `http` unless set.
    pub admin: Option<SocketAddr>,
    /// What HTTP's clients may take.
    pub http_limits: HttpLimits,
    /// A name that HTTP requests may come in under, besides addresses and `localhost`.
    pub server_name: Option<String>,
    /// Where the Redis protocol listens, or that it is off: a loopback address unless there are users; port 0 means that
    /// the system picks.
    pub resp: Option<SocketAddr>,
    /// Who may come in over the Redis protocol; everybody if empty.
    pub resp_users: Vec<Account>,
    /// The files of TLS for the Redis protocol; without them it is not spoken.
    pub resp_tls: Option<TlsFiles>,
    /// Clients of the Redis protocol at once; at least 1.
    pub max_clients: usize,
    /// How many shards readers of events may read at once, each counted again for every reader.
    pub event_lanes: usize,
    /// A client of the Redis protocol is cut off whose replies to one command are longer.
    pub max_reply_bytes: usize,
    /// A client of the Redis protocol is cut off that takes nothing of its replies for so long.
    pub stall: Option<Duration>,
    /// With more keys and values than this, writes that need memory are refused.
    pub max_memory_bytes: Option<usize>,
    /// Largest value of a key in bytes; with its key and framing it fits a record and half a segment.
    pub max_value_bytes: usize,
    /// What is written about the running server.
    pub logging: LoggingConfig,
    /// Number of shards.
    pub shard_count: u16,
    /// How history is kept.
    pub history: HistoryConfig,
    /// How what is kept is read once more; not at all unless set.
    pub scrub: Option<ScrubConfig>,
}

/// How what is kept is read once more, to find damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubConfig {
    /// No more is read in a second.
    pub bytes_per_second: u64,
    /// From the start of a round to the start of the next.
    pub interval: Duration,
}

/// How events and archives are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryConfig {
    /// How long events stay in the log where they are not archived; for ever unless set.
    pub keep_events: Option<Duration>,
    /// Archives stay whose newest entry is younger.
    pub keep_window: Option<Duration>,
    /// So many of the newest archives stay.
    pub keep_count: Option<u64>,
    /// What the archives may take.
    pub max_bytes: Option<u64>,
    /// Archiving works through no more of the log in a second.
    pub bytes_per_second: u64,
    /// Archiving takes no more of one processor, percent.
    pub cpu_percent: u32,
}

/// What HTTP's clients may take of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpLimits {
    /// Connections at once; at least 1.
    pub connections: usize,
    /// Time for the head of a request, counted from the start of the connection or the end of the last answer.
    pub header_timeout: Duration,
    /// Time for the body of a request, and for taking a piece of an answer.
    pub body_timeout: Duration,
    /// Time until a request is answered.
    pub request_timeout: Duration,
}

/// The write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalConfig {
    /// Off: state is kept by snapshots only.
    pub enabled: bool,
    /// The directory of the segments, shard included.
    pub dir: PathBuf,
    /// What names of segments begin with: ASCII letters, digits, `-`, `_` and `.`, not first a `.`.
    pub prefix: String,
    /// What an acknowledgement promises.
    pub fsync_mode: FsyncMode,
    /// Longest time between a write and its sync in `Periodic`.
    pub fsync_interval: Duration,
    /// `Periodic` syncs after this many writes as well; at least 2.
    pub sync_after_writes: Option<u64>,
    /// Size of one half of the batch buffer; at most half a segment.
    pub batch_bytes: usize,
    /// Size of a segment.
    pub segment_bytes: u64,
    /// Off: segments are as large as they may be.
    pub rotate_on_size: bool,
    /// No segment is deleted that has no archive.
    pub conservative_mode: bool,
    /// The directory of the archives, shard included.
    pub archive_dir: PathBuf,
    /// Level of zstd for archives, 1 to 22.
    pub compression_level: i32,
    /// What the segments of one shard may take together; at least 8 segments.
    pub max_total_bytes: Option<u64>,
    /// When they do, writes are refused; otherwise it is only said.
    pub refuse_above_total: bool,
}

/// The snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotConfig {
    /// Off: none is taken, not even on request.
    pub enabled: bool,
    /// The directory of the snapshots.
    pub directory: PathBuf,
    /// Time from one automatic snapshot to the next.
    pub interval: Duration,
    /// Off: a snapshot is taken on request only.
    pub auto: bool,
    /// An automatic snapshot is taken after this many writes as well.
    pub operation_threshold: Option<u64>,
    /// Compressed with zstd.
    pub compression: bool,
    /// How many are kept; at least 1.
    pub keep_count: usize,
}

/// What is written about the running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggingConfig {
    /// Least severe level that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// An enumeration whose variants are words of the configuration.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The words, as written in a configuration.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word of this variant.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The variant of a word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// What an acknowledgement waits for, and what it promises.
    FsyncMode {
        /// The group's sync: acknowledged writes survive power loss.
        Always = "always",
        /// The group's write: acknowledged writes survive power loss once they are older than the interval.
        Periodic = "periodic",
        /// The group's write: the operating system decides when it reaches the medium.
        Never = "never",
    }
}

words! {
    /// Severity of a log line.
    LogLevel {
        /// Something failed.
        Error = "error",
        /// Something needs attention.
        Warn = "warn",
        /// What happens in a healthy server.
        Info = "info",
        /// For finding faults.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

words! {
    /// How a log line looks.
    LogFormat {
        /// Text for people.
        Human = "human",
        /// One JSON object a line.
        Json = "json",
    }
}
