//! The table of keys: every setting that exists, once. Reading, checking, showing and the reference page follow it.
//!
//! ```text
//!   path                     kind            default        also
//!   persistence.wal.path     a path          <data_dir>/…   wal.path, STRANDLINE_PERSISTENCE__WAL__PATH
//!        │                        │             │              │
//!     where it stands        value.rs       settings.rs      layers.rs
//! ```
//!
//! A new setting is one `Id`, one row here and one line in `build.rs` that puts it into `Config`.

use super::types::{FsyncMode, LogFormat, LogLevel};

/// A setting. The order is the order of [`KEYS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id {
    DataDir,
    PersistenceEnabled,
    WalEnabled,
    WalPath,
    WalDir,
    FsyncMode,
    FsyncIntervalMs,
    Fsync,
    FsyncEveryN,
    FlushEachWrite,
    BufferSizeKb,
    Buffered,
    BufferSize,
    MaxSizeMb,
    RotateOnSize,
    ConservativeMode,
    ArchiveDir,
    CompressionLevel,
    CompressionAlgorithm,
    MaxTotalMb,
    OnMaxTotal,
    SnapshotEnabled,
    SnapshotDirectory,
    IntervalSecs,
    AutoSnapshot,
    OperationThreshold,
    SnapshotCompression,
    KeepCount,
    ServerHost,
    ServerPort,
    ServerName,
    MaxConnections,
    HeaderTimeoutSecs,
    BodyTimeoutSecs,
    RequestTimeoutSecs,
    ServerCert,
    ServerKey,
    AdminEnabled,
    AdminHost,
    AdminPort,
    RespEnabled,
    RespHost,
    RespPort,
    RespCert,
    RespKey,
    MaxClients,
    MaxReplyBytes,
    StallSecs,
    MaxValueSizeBytes,
    MaxMemoryBytes,
    LogLevel,
    LogFormat,
    EventsKeep,
    ArchiveKeepWindow,
    ArchiveKeepCount,
    ArchiveMaxBytes,
    ArchiveMaxMbPerSec,
    ArchiveCpuPercent,
    ScrubMaxMbPerSec,
    ScrubIntervalSecs,
    ShardCount,
    AuthEnabled,
    AuthRequired,
    AuthUsers,
    ServerUsers,
    RespUsers,
}

/// What a value of a key looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Number {
        min: u64,
        max: u64,
        unit: &'static str,
    },
    /// A number, or the word `off`.
    NumberOrOff {
        min: u64,
        max: u64,
        unit: &'static str,
    },
    /// Bytes as a number, or as text with a 1024-based unit.
    Size {
        min: u64,
        max: u64,
    },
    /// A time such as `30d`, or this word.
    DurationOr(&'static str),
    /// A size, or the word `off`.
    SizeOrOff {
        min: u64,
        max: u64,
    },
    Choice(&'static [&'static str]),
    Path,
    /// An IP address or `localhost`.
    Host,
    /// A name of a host.
    Name,
    /// Names of users with hashes of their passwords.
    Users,
}

/// The value of a key that nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    Bool(bool),
    Number(u64),
    Off,
    Word(&'static str),
    Path(&'static str),
    /// A path below `data_dir`.
    Below(&'static str),
    Loopback,
    /// Another key says the same, or the value follows from others.
    Unset,
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: Id,
    pub(super) path: &'static str,
    /// Another full path of the same setting.
    pub(super) alias: Option<&'static str>,
    pub(super) kind: Kind,
    pub(super) fallback: Fallback,
    pub(super) flag: Option<&'static str>,
    pub(super) doc: &'static str,
}

impl Key {
    /// Every path under which a file may hold the setting, the first one first.
    pub(super) fn spellings(&self) -> impl Iterator<Item = &'static str> {
        [Some(self.path), self.alias]
            .into_iter()
            .flatten()
            .flat_map(|path| [Some(path), short(path)])
            .flatten()
    }
}

/// The bare spelling of a path: both seeds begin a file with `wal` or `snapshot`.
fn short(path: &'static str) -> Option<&'static str> {
    path.strip_prefix("persistence.").filter(|rest| rest.contains('.'))
}

/// The row of a setting.
pub(super) fn key(id: Id) -> &'static Key {
    &KEYS[id as usize]
}

/// The row whose setting is spelled `path`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.spellings().any(|spelled| spelled == path))
}

/// True if keys stand below `path`.
pub(super) fn is_section(path: &str) -> bool {
    let below = |spelled: &str| spelled.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().any(|key| key.spellings().any(below))
}

/// True for what Synap keeps below `auth`: keys, passwords in clear text. Known, but never to be set.
pub(super) fn is_credential(path: &str) -> bool {
    path.starts_with("auth.") && find(path).is_none()
}

/// Every known path, sections included, for the search of the nearest one.
pub(super) fn known_paths() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(Key::spellings).flat_map(|path| {
        let sections = path.match_indices('.').map(move |(at, _)| &path[..at]);
        sections.chain([path])
    })
}

/// The name of the environment variable that sets `path`.
pub(super) fn variable(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.replace('.', "__").to_uppercase())
}

/// The path that an environment variable sets.
pub(super) fn path_of_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix(ENV_PREFIX)?;
    let upper = !rest.chars().any(|c| c.is_ascii_lowercase());
    upper.then(|| rest.to_ascii_lowercase().replace("__", "."))
}

/// What every variable of this program begins with.
pub(super) const ENV_PREFIX: &str = "STRANDLINE_";

/// The one variable that is no key: it names the file, as `--config` does.
pub(super) const ENV_FILE: &str = "STRANDLINE_CONFIG";

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Smallest batch half, and the size without a buffer.
pub(super) const BATCH_MIN_BYTES: u64 = 4 * KIB;
const BATCH_MAX_BYTES: u64 = 64 * MIB;
/// Largest segment.
pub(super) const SEGMENT_MAX_BYTES: u64 = 1024 * MIB;
/// Largest value: a record holds 16 MiB, and its key and framing need room too.
const VALUE_MAX_BYTES: u64 = 15 * MIB;
/// Longest replies to one command, and unless set.
const REPLY_MAX_BYTES: u64 = 4096 * MIB;
const REPLY_DEFAULT_BYTES: u64 = 256 * MIB;
const MEMORY_MAX_BYTES: u64 = 1 << 50;
/// Largest value unless set.
pub(super) const VALUE_DEFAULT_BYTES: u64 = MIB;

const fn row(id: Id, path: &'static str, kind: Kind, fallback: Fallback, doc: &'static str) -> Key {
    Key { id, path, alias: None, kind, fallback, flag: None, doc }
}

impl Key {
    const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    const fn alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }
}

const fn number(min: u64, max: u64, unit: &'static str) -> Kind {
    Kind::Number { min, max, unit }
}

/// All settings.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    row(Id::DataDir, "data_dir", Kind::Path, Fallback::Path("./data"),
        "Where everything lives that has no place of its own.").flag("--data-dir"),
    row(Id::PersistenceEnabled, "persistence.enabled", Kind::Bool, Fallback::Bool(true),
        "Off: nothing is read from or written to disk."),
    row(Id::WalEnabled, "persistence.wal.enabled", Kind::Bool, Fallback::Bool(true),
        "Off: no log; state is kept by snapshots only."),
    row(Id::WalPath, "persistence.wal.path", Kind::Path, Fallback::Below("wal/synap.wal"),
        "A file name: its directory is the place of the log, its stem begins the names of the segments."),
    row(Id::WalDir, "persistence.wal.dir", Kind::Path, Fallback::Unset,
        "A directory instead of `path`: the log lives in its `shard-0`, names of segments begin with `wal`."),
    row(Id::FsyncMode, "persistence.wal.fsync_mode", Kind::Choice(FsyncMode::WORDS), Fallback::Word("periodic"),
        "What an acknowledgement promises.").flag("--fsync-mode"),
    row(Id::FsyncIntervalMs, "persistence.wal.fsync_interval_ms", number(1, 60_000, "ms"), Fallback::Number(10),
        "With `periodic`: the longest time from a write to its sync."),
    row(Id::Fsync, "persistence.wal.fsync", Kind::Bool, Fallback::Unset,
        "Instead of `fsync_mode`: false is `never`; true is `always`, or `periodic` if `fsync_every_n` is above 1."),
    row(Id::FsyncEveryN, "persistence.wal.fsync_every_n", number(1, 1_000_000_000, "writes"), Fallback::Unset,
        "1 is `always`; above 1 is `periodic`, synced after so many writes as well. Without `fsync`, as if it were true."),
    row(Id::FlushEachWrite, "persistence.wal.flush_each_write", Kind::Bool, Fallback::Unset,
        "Changes nothing: every mode acknowledges after the write to the system."),
    row(Id::BufferSizeKb, "persistence.wal.buffer_size_kb", number(4, 65_536, "KiB"), Fallback::Number(64),
        "Size of one half of the batch buffer; at most half a segment."),
    row(Id::Buffered, "persistence.wal.buffered", Kind::Bool, Fallback::Unset,
        "Off: the smallest batch buffer, 4 KiB."),
    row(Id::BufferSize, "persistence.wal.buffer_size", Kind::Size { min: BATCH_MIN_BYTES, max: BATCH_MAX_BYTES },
        Fallback::Unset, "Instead of `buffer_size_kb`."),
    row(Id::MaxSizeMb, "persistence.wal.max_size_mb", number(1, 1024, "MiB"), Fallback::Number(64),
        "Size of a segment."),
    row(Id::RotateOnSize, "persistence.wal.rotate_on_size", Kind::Bool, Fallback::Bool(true),
        "Off: segments are as large as they may be (1 GiB), whatever `max_size_mb` says."),
    row(Id::ConservativeMode, "persistence.wal.conservative_mode", Kind::Bool, Fallback::Bool(false),
        "No segment is deleted that has no archive. Off: those go that hold no event which `events.keep` keeps."),
    row(Id::ArchiveDir, "persistence.wal.archive_dir", Kind::Path, Fallback::Below("archives"),
        "Where archives go, in its `shard-0`, `shard-1` …"),
    row(Id::CompressionLevel, "persistence.wal.compression_level", number(1, 22, ""), Fallback::Number(3),
        "Level of zstd for archives."),
    row(Id::CompressionAlgorithm, "persistence.wal.compression_algorithm", Kind::Choice(&["zstd"]),
        Fallback::Word("zstd"), "Codec of archives."),
    row(Id::MaxTotalMb, "persistence.wal.max_total_mb", Kind::NumberOrOff { min: 8, max: 1 << 40, unit: "MiB" }, Fallback::Off,
        "What the segments of one shard may take together; at least 8 segments."),
    row(Id::OnMaxTotal, "persistence.wal.on_max_total", Kind::Choice(&["refuse", "warn"]), Fallback::Word("refuse"),
        "When they do: refuse writes until segments have been released, or only say so."),
    row(Id::SnapshotEnabled, "persistence.snapshot.enabled", Kind::Bool, Fallback::Bool(true),
        "Off: no snapshot is taken, not even on request."),
    row(Id::SnapshotDirectory, "persistence.snapshot.directory", Kind::Path, Fallback::Below("snapshots"),
        "Where snapshots go."),
    row(Id::IntervalSecs, "persistence.snapshot.interval_secs", number(1, 31_536_000, "s"), Fallback::Number(3600),
        "Time from one automatic snapshot to the next."),
    row(Id::AutoSnapshot, "persistence.snapshot.auto_snapshot", Kind::Bool, Fallback::Bool(true),
        "Off: snapshots are taken on request only."),
    row(Id::OperationThreshold, "persistence.snapshot.operation_threshold",
        Kind::NumberOrOff { min: 1, max: 1_000_000_000_000, unit: "writes" }, Fallback::Off,
        "An automatic snapshot after so many writes as well."),
    row(Id::SnapshotCompression, "persistence.snapshot.compression", Kind::Bool, Fallback::Bool(true),
        "Compress snapshots with zstd."),
    row(Id::KeepCount, "persistence.snapshot.keep_count", number(1, 10_000, "snapshots"), Fallback::Number(7),
        "How many snapshots are kept.").alias("persistence.snapshot.max_snapshots"),
    row(Id::ServerHost, "server.host", Kind::Host, Fallback::Loopback,
        "Address for HTTP; other than loopback only with users.").flag("--http"),
    row(Id::ServerPort, "server.port", number(0, 65_535, ""), Fallback::Number(15_500),
        "Port for HTTP; 0 lets the system pick.").flag("--http"),
    row(Id::ServerName, "server.name", Kind::Name, Fallback::Unset,
        "Under which name HTTP requests come in, if a proxy hands on `Host` as it is; besides addresses and `localhost`."),
    row(Id::MaxConnections, "server.max_connections", number(1, 1_000_000, "connections"), Fallback::Number(1024),
        "Connections of HTTP at once."),
    row(Id::HeaderTimeoutSecs, "server.header_timeout_secs", number(1, 3600, "s"), Fallback::Number(30),
        "How long a connection may be without a whole header of a request; also how long it may be idle."),
    row(Id::BodyTimeoutSecs, "server.body_timeout_secs", number(1, 3600, "s"), Fallback::Number(30),
        "How long the body of a request may take to arrive, and a client to take a piece of its answer."),
    row(Id::RequestTimeoutSecs, "server.request_timeout_secs", number(1, 3600, "s"), Fallback::Number(60),
        "How long a request may take until it is answered; not for snapshots."),
    row(Id::ServerCert, "server.tls_cert_file", Kind::Path, Fallback::Unset,
        "Certificates for HTTP in PEM, its own first: TLS is spoken, nothing else. Read again on SIGHUP."),
    row(Id::ServerKey, "server.tls_key_file", Kind::Path, Fallback::Unset,
        "The private key of it in PEM."),
    row(Id::AdminEnabled, "admin.enabled", Kind::Bool, Fallback::Bool(false),
        "Snapshots and metrics move from HTTP's address to one of their own."),
    row(Id::AdminHost, "admin.host", Kind::Host, Fallback::Loopback,
        "Address for it; other than loopback only with users. Users and TLS are those of `server`."),
    row(Id::AdminPort, "admin.port", number(0, 65_535, ""), Fallback::Number(15_510),
        "Port for it; 0 lets the system pick."),
    row(Id::RespEnabled, "resp3.enabled", Kind::Bool, Fallback::Bool(true),
        "Serve the Redis protocol.").flag("--resp"),
    row(Id::RespHost, "resp3.host", Kind::Host, Fallback::Loopback,
        "Address for the Redis protocol; other than loopback only with users.").flag("--resp"),
    row(Id::RespPort, "resp3.port", number(0, 65_535, ""), Fallback::Number(6379),
        "Port for the Redis protocol; 0 lets the system pick.").flag("--resp"),
    row(Id::RespCert, "resp3.tls_cert_file", Kind::Path, Fallback::Unset,
        "Certificates for the Redis protocol in PEM, its own first: TLS is spoken, nothing else. Read again on SIGHUP."),
    row(Id::RespKey, "resp3.tls_key_file", Kind::Path, Fallback::Unset,
        "The private key of it in PEM."),
    row(Id::MaxClients, "resp3.max_clients", number(1, 1_000_000, "clients"), Fallback::Number(10_000),
        "Clients of the Redis protocol at once; fewer if the system allows fewer open files."),
    row(Id::MaxReplyBytes, "resp3.max_reply_bytes", Kind::Size { min: 64 * KIB, max: REPLY_MAX_BYTES },
        Fallback::Number(REPLY_DEFAULT_BYTES), "A client of the Redis protocol is cut off whose replies to one command are longer."),
    row(Id::StallSecs, "resp3.stall_secs", Kind::NumberOrOff { min: 1, max: 86_400, unit: "s" }, Fallback::Number(60),
        "A client of the Redis protocol is cut off that takes nothing of its replies for so long."),
    row(Id::MaxValueSizeBytes, "kv_store.max_value_size_bytes", Kind::Size { min: 1, max: VALUE_MAX_BYTES },
        Fallback::Unset, "Largest value of a key; at most half a segment. Unless set: 1 MiB, or half a segment."),
    row(Id::MaxMemoryBytes, "kv_store.max_memory_bytes", Kind::SizeOrOff { min: MIB, max: MEMORY_MAX_BYTES },
        Fallback::Off, "With more keys and values than this, writes that need memory are refused; reads and deletes go on."),
    row(Id::LogLevel, "logging.level", Kind::Choice(LogLevel::WORDS), Fallback::Word("info"),
        "Least severe level that is written.").flag("--log-level"),
    row(Id::LogFormat, "logging.format", Kind::Choice(LogFormat::WORDS), Fallback::Word("human"),
        "Log lines for people, or one JSON object a line."),
    row(Id::EventsKeep, "events.keep", Kind::DurationOr("forever"), Fallback::Off,
        "How long events are kept in the log, by their timestamps; in conservative mode they are kept in archives."),
    row(Id::ArchiveKeepWindow, "archive.keep_window", Kind::DurationOr("off"), Fallback::Off,
        "Archives stay whose newest entry is younger than this; older ones are deleted, unless another rule keeps them."),
    row(Id::ArchiveKeepCount, "archive.keep_count", Kind::NumberOrOff { min: 1, max: 1_000_000_000, unit: "archives" }, Fallback::Off,
        "So many of the newest archives stay; others are deleted, unless another rule keeps them."),
    row(Id::ArchiveMaxBytes, "archive.max_bytes", Kind::SizeOrOff { min: MIB, max: MEMORY_MAX_BYTES }, Fallback::Off,
        "The oldest archives are deleted that no other rule keeps, until the others take no more than this."),
    row(Id::ArchiveMaxMbPerSec, "archive.max_mb_per_sec", number(1, 100_000, "MiB/s"), Fallback::Number(64),
        "Archiving works through no more of the log than this in a second."),
    row(Id::ArchiveCpuPercent, "archive.cpu_percent", number(1, 100, "%"), Fallback::Number(25),
        "Archiving takes no more of one processor than this."),
    row(Id::ScrubMaxMbPerSec, "scrub.max_mb_per_sec", Kind::NumberOrOff { min: 1, max: 100_000, unit: "MiB/s" }, Fallback::Number(4),
        "Scrubbing reads no more of what is kept than this in a second; off: nothing is scrubbed."),
    row(Id::ScrubIntervalSecs, "scrub.interval_secs", number(1, 31_536_000, "s"), Fallback::Number(86_400),
        "Time from the start of one round of scrubbing to the next; a round that takes longer is followed at once."),
    row(Id::ShardCount, "engine.shard_count", number(1, 256, "shards"), Fallback::Number(1),
        "Number of logs that events are divided among, by context; it can't be changed later.").alias("shards"),
    row(Id::AuthEnabled, "auth.enabled", Kind::Bool, Fallback::Unset,
        "False: nobody is asked who they are, whatever users there are. True: there must be users. Unless set: true if there are."),
    row(Id::AuthRequired, "auth.require_auth", Kind::Bool, Fallback::Unset,
        "True: there must be users on every listener."),
    row(Id::AuthUsers, "auth.users", Kind::Users, Fallback::Unset,
        "Who may come in: a section of names, each with what `std-server hash-password` prints."),
    row(Id::ServerUsers, "server.users", Kind::Users, Fallback::Unset,
        "Who may come in over HTTP, instead of `auth.users`."),
    row(Id::RespUsers, "resp3.users", Kind::Users, Fallback::Unset,
        "Who may come in over the Redis protocol, instead of `auth.users`."),
];
