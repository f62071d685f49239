//! From settings to a `Config`: what the two seeds' spellings mean, and what must fit together.
//!
//! Decision table of the sync policy (rows are tried in order; "–" means not given):
//!
//! ```text
//!   fsync_mode   fsync   fsync_every_n │ mode       also after
//!   periodic     any     1             │ refused: that is `always`
//!   periodic     any     n or –        │ periodic   n writes
//!   always       any     any           │ always     –
//!   never        any     any           │ never      –
//!   –            false   any           │ never      –
//!   –            –       –             │ periodic   –
//!   –            true,–  n > 1         │ periodic   n writes
//!   –            true,–  1 or –        │ always     –
//! ```
//!
//! `fsync_mode` and `fsync` say the same thing: the one from the stronger source counts, and both in one source are
//! an error. The same holds for `path` and `dir`, and for `buffer_size_kb` and `buffer_size`.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::{Path, PathBuf};

use super::keys::{BATCH_MIN_BYTES, Id, SEGMENT_MAX_BYTES, VALUE_DEFAULT_BYTES, key};
use super::problem::{ConfigError, Origin, Problem};
use super::settings::Settings;
use super::types::{
    Config, FsyncMode, HistoryConfig, HttpLimits, LogFormat, LogLevel, LoggingConfig, ScrubConfig,
    SnapshotConfig, WalConfig,
};
use super::value::bytes;
use crate::auth::Account;
use crate::events::lanes;
use crate::tls::TlsFiles;

/// Makes the configuration, with notes on what an operator might not expect of it. Settings that others overrule are
/// taken out of `settings`.
pub(super) fn build(settings: &mut Settings, cwd: &Path) -> Result<(Config, Vec<String>), ConfigError> {
    let mut builder = Builder { settings, cwd, problems: Vec::new(), notes: Vec::new() };
    let config = builder.config();
    ConfigError::unless_empty(builder.problems)?;
    Ok((config, builder.notes))
}

struct Builder<'a> {
    settings: &'a mut Settings,
    cwd: &'a Path,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Builder<'_> {
    fn config(&mut self) -> Config {
        let wal = self.wal();
        let snapshot = self.snapshot();
        let max_value_bytes = fit(self.max_value_bytes(wal.segment_bytes));
        let http_users = self.users(Id::ServerUsers);
        let http = self.listener(Id::ServerHost, Id::ServerPort, &http_users);
        let admin_enabled = self.settings.bool(Id::AdminEnabled);
        let admin = admin_enabled.then(|| self.listener(Id::AdminHost, Id::AdminPort, &http_users));
        let resp_users = self.users(Id::RespUsers);
        let resp_enabled = self.settings.bool(Id::RespEnabled);
        let resp = resp_enabled.then(|| self.listener(Id::RespHost, Id::RespPort, &resp_users));
        let config = Config {
            data_dir: self.place(self.settings.path(Id::DataDir)),
            persistence_enabled: self.settings.bool(Id::PersistenceEnabled),
            wal,
            snapshot,
            http,
            http_users,
            http_tls: self.tls(Id::ServerCert, Id::ServerKey),
            http_limits: self.http_limits(),
            admin,
            server_name: self.settings.name(Id::ServerName).map(str::to_owned),
            resp,
            resp_users,
            resp_tls: self.tls(Id::RespCert, Id::RespKey),
            max_clients: fit(self.settings.number(Id::MaxClients)),
            max_reply_bytes: fit(self.settings.number(Id::MaxReplyBytes)),
            stall: self.settings.number_or_off(Id::StallSecs).map(Duration::from_secs),
            max_memory_bytes: self.settings.number_or_off(Id::MaxMemoryBytes).map(fit),
            max_value_bytes,
            logging: LoggingConfig {
                level: LogLevel::from_word(self.settings.word(Id::LogLevel)).unwrap_or(LogLevel::Info),
                format: LogFormat::from_word(self.settings.word(Id::LogFormat)).unwrap_or(LogFormat::Human),
            },
            shard_count: fit(self.settings.number(Id::ShardCount)),
            event_lanes: lanes(fit(self.settings.number(Id::ShardCount))),
            history: self.history(),
            scrub: self.scrub(),
        };
        self.refuse_shared_places(&config);
        self.note_places(&config);
        config
    }

    fn wal(&mut self) -> WalConfig {
        let (dir, prefix) = self.log_place();
        let (fsync_mode, sync_after_writes) = self.sync_policy();
        let segment_bytes = self.segment_bytes();
        let batch_bytes = fit(self.batch_bytes(segment_bytes));
        let max_total_bytes = self.max_total_bytes(segment_bytes);
        self.note_archives();
        let settings = &*self.settings;
        WalConfig {
            enabled: settings.bool(Id::WalEnabled),
            dir,
            prefix,
            fsync_mode,
            fsync_interval: Duration::from_millis(settings.number(Id::FsyncIntervalMs)),
            sync_after_writes,
            batch_bytes,
            segment_bytes,
            rotate_on_size: settings.bool(Id::RotateOnSize),
            conservative_mode: settings.bool(Id::ConservativeMode),
            archive_dir: self.place(settings.path(Id::ArchiveDir)).join(SHARD_0),
            compression_level: fit(settings.number(Id::CompressionLevel)),
            max_total_bytes,
            refuse_above_total: settings.word(Id::OnMaxTotal) == "refuse",
        }
    }

    fn snapshot(&mut self) -> SnapshotConfig {
        let settings = &*self.settings;
        let snapshot = SnapshotConfig {
            enabled: settings.bool(Id::SnapshotEnabled),
            directory: self.place(settings.path(Id::SnapshotDirectory)),
            interval: Duration::from_secs(settings.number(Id::IntervalSecs)),
            auto: settings.bool(Id::AutoSnapshot),
            operation_threshold: settings.number_or_off(Id::OperationThreshold),
            compression: settings.bool(Id::SnapshotCompression),
            keep_count: fit(settings.number(Id::KeepCount)),
        };
        if snapshot.enabled && snapshot.keep_count == 1 {
            let text = "two snapshots are kept: the log reaches back to the second newest, so that a damaged one is no loss";
            self.note(Id::KeepCount, text);
        }
        if !snapshot.enabled && settings_keep_log(self.settings) {
            self.note(
                Id::SnapshotEnabled,
                "without snapshots no segment is ever deleted, and a restart reads them all",
            );
        }
        snapshot
    }

    /// The directory of the log and what names of segments begin with.
    fn log_place(&mut self) -> (PathBuf, String) {
        self.choose(Id::WalPath, Id::WalDir, "where the log lives");
        if self.settings.row(Id::WalDir).is_some() {
            let dir = self.place(self.settings.path(Id::WalDir)).join(SHARD_0);
            return (dir, "wal".to_owned());
        }
        let path = self.settings.path(Id::WalPath);
        let names_directory = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_prefix(stem));
        let (Some(stem), false) = (stem, names_directory) else {
            let what =
                format!("{:?} is no file name that names of segments could begin with", path.display());
            let next = "end it in a file name of ASCII letters, digits, `-`, `_` and `.`, such as ./data/wal/synap.wal; \
                        to name a directory, use `persistence.wal.dir`";
            self.problem(Id::WalPath, what, next);
            return (PathBuf::new(), String::new());
        };
        let dir = self.place(path.parent().unwrap_or(Path::new("")));
        (dir, stem.to_owned())
    }

    /// The decision table of the header.
    fn sync_policy(&mut self) -> (FsyncMode, Option<u64>) {
        self.choose(Id::FsyncMode, Id::Fsync, "when the log is synced");
        let settings = &*self.settings;
        let mode =
            settings.given(Id::FsyncMode).and_then(|_| FsyncMode::from_word(settings.word(Id::FsyncMode)));
        let fsync = settings.given(Id::Fsync).map(|_| settings.bool(Id::Fsync));
        let every = settings.given(Id::FsyncEveryN).map(|_| settings.number(Id::FsyncEveryN));
        let policy = match (mode, fsync, every) {
            (Some(FsyncMode::Periodic), _, Some(1)) => {
                let what = "a sync after each write is not `periodic`";
                self.problem(Id::FsyncEveryN, what, "say fsync_mode: always, or give more than 1 write");
                (FsyncMode::Periodic, None)
            }
            (Some(FsyncMode::Periodic), _, every) => (FsyncMode::Periodic, every),
            (Some(mode), _, _) => (mode, None),
            (None, Some(false), _) => (FsyncMode::Never, None),
            (None, None, None) => (FsyncMode::Periodic, None),
            (None, _, Some(writes)) if writes > 1 => (FsyncMode::Periodic, Some(writes)),
            (None, _, _) => (FsyncMode::Always, None),
        };
        if mode.is_none() && fsync.is_none() && every.is_some() {
            self.settings.overrule(Id::FsyncMode, Id::FsyncEveryN);
        }
        self.note_sync(mode, policy);
        policy
    }

    fn note_sync(&mut self, mode: Option<FsyncMode>, (policy, every): (FsyncMode, Option<u64>)) {
        let counted = self.settings.given(Id::FsyncEveryN).is_some();
        let cause = if self.settings.given(Id::Fsync).is_some() { Id::Fsync } else { Id::FsyncEveryN };
        if mode.is_none() && self.settings.given(cause).is_some() {
            let interval_ms = self.settings.number(Id::FsyncIntervalMs);
            let how = match (policy, every) {
                (FsyncMode::Periodic, Some(writes)) => {
                    format!(": a sync every {interval_ms} ms, and also after {writes} writes")
                }
                _ => String::new(),
            };
            self.note(cause, format!("means fsync_mode {policy}{how}"));
        }
        if counted && every.is_none() && (mode.is_some() || policy == FsyncMode::Never) {
            self.note(Id::FsyncEveryN, format!("has no effect: fsync_mode {policy} does not count writes"));
        }
        if self.settings.given(Id::FlushEachWrite).is_some() {
            let text = "changes nothing: every mode acknowledges after the write to the system";
            self.note(Id::FlushEachWrite, text);
        }
    }

    fn segment_bytes(&mut self) -> u64 {
        if self.settings.bool(Id::RotateOnSize) {
            return self.settings.number(Id::MaxSizeMb) << 20;
        }
        let text = format!(
            "segments are {}, the largest there are; max_size_mb is not used",
            bytes(SEGMENT_MAX_BYTES)
        );
        self.note(Id::RotateOnSize, text);
        SEGMENT_MAX_BYTES
    }

    fn batch_bytes(&mut self, segment_bytes: u64) -> u64 {
        self.choose(Id::BufferSizeKb, Id::BufferSize, "the size of the batch buffer");
        if self.settings.given(Id::Buffered).is_some() && !self.settings.bool(Id::Buffered) {
            self.note(
                Id::Buffered,
                format!("the batch buffer is the smallest one, {}", bytes(BATCH_MIN_BYTES)),
            );
            return BATCH_MIN_BYTES;
        }
        let (id, batch_bytes) = match self.settings.row(Id::BufferSize) {
            Some(_) => (Id::BufferSize, self.settings.number(Id::BufferSize)),
            None => (Id::BufferSizeKb, self.settings.number(Id::BufferSizeKb) << 10),
        };
        self.at_most_half_a_segment(id, batch_bytes, segment_bytes);
        batch_bytes
    }

    fn max_value_bytes(&mut self, segment_bytes: u64) -> u64 {
        if self.settings.row(Id::MaxValueSizeBytes).is_none() {
            return VALUE_DEFAULT_BYTES.min(segment_bytes / 2);
        }
        let value_bytes = self.settings.number(Id::MaxValueSizeBytes);
        self.at_most_half_a_segment(Id::MaxValueSizeBytes, value_bytes, segment_bytes);
        value_bytes
    }

    fn at_most_half_a_segment(&mut self, id: Id, size: u64, segment_bytes: u64) {
        if size > segment_bytes / 2 {
            let what = format!("{} is more than half a segment of {}", bytes(size), bytes(segment_bytes));
            self.problem(id, what, "lower it, or raise persistence.wal.max_size_mb");
        }
    }

    /// Who may come in over a listener: its own users, or else those of all listeners.
    fn users(&mut self, own: Id) -> Vec<Account> {
        let id = if self.settings.row(own).is_some() { own } else { Id::AuthUsers };
        let users = self.settings.users(id).unwrap_or_default().to_vec();
        let says = |id: Id| self.settings.row(id).map(|_| self.settings.bool(id));
        let (enabled, required) = (says(Id::AuthEnabled), says(Id::AuthRequired));
        if enabled == Some(false) {
            if required == Some(true) {
                self.problem(Id::AuthRequired, "`auth.enabled` says the opposite", "keep one of the two");
            } else if !users.is_empty() {
                self.note(id, "nobody is asked who they are: `auth.enabled` is false");
            }
            return Vec::new();
        }
        let switch = if enabled.is_some() { Id::AuthEnabled } else { Id::AuthRequired };
        if users.is_empty() && (enabled == Some(true) || required == Some(true)) {
            self.problem(switch, format!("there are no users (`{}`)", key(id).path), HOW_TO_ADD_USERS);
        }
        if !users.is_empty() && required == Some(false) {
            self.note(Id::AuthRequired, "changes nothing: who is not a user of the listener is refused");
        }
        users
    }

    /// Certificate and key: both of them, or none.
    fn tls(&mut self, certificates: Id, key: Id) -> Option<TlsFiles> {
        let place = |id: Id| self.settings.row(id).map(|_| self.place(self.settings.path(id)));
        match (place(certificates), place(key)) {
            (Some(certificates), Some(key)) => Some(TlsFiles { certificates, key }),
            (None, None) => None,
            (given, _) => {
                let (given, missing) =
                    if given.is_some() { (certificates, key) } else { (key, certificates) };
                let missing = super::keys::key(missing).path;
                self.problem(given, format!("TLS needs `{missing}` as well"), "give both of them, or none");
                None
            }
        }
    }

    fn http_limits(&self) -> HttpLimits {
        let seconds = |id| Duration::from_secs(self.settings.number(id));
        HttpLimits {
            connections: fit(self.settings.number(Id::MaxConnections)),
            header_timeout: seconds(Id::HeaderTimeoutSecs),
            body_timeout: seconds(Id::BodyTimeoutSecs),
            request_timeout: seconds(Id::RequestTimeoutSecs),
        }
    }

    fn listener(&mut self, host: Id, port: Id, users: &[Account]) -> SocketAddr {
        let ip = self.settings.host(host);
        if !ip.is_loopback() && users.is_empty() {
            let what =
                format!("{ip} is refused: without users the server listens on loopback addresses only");
            self.problem(host, what, HOW_TO_ADD_USERS);
        }
        SocketAddr::new(ip, fit(self.settings.number(port)))
    }

    fn scrub(&self) -> Option<ScrubConfig> {
        let interval = Duration::from_secs(self.settings.number(Id::ScrubIntervalSecs));
        let mib = self.settings.number_or_off(Id::ScrubMaxMbPerSec)?;
        Some(ScrubConfig { bytes_per_second: mib << 20, interval })
    }

    fn history(&self) -> HistoryConfig {
        let settings = &*self.settings;
        let time = |id| settings.number_or_off(id).map(Duration::from_secs);
        HistoryConfig {
            keep_events: time(Id::EventsKeep),
            keep_window: time(Id::ArchiveKeepWindow),
            keep_count: settings.number_or_off(Id::ArchiveKeepCount),
            max_bytes: settings.number_or_off(Id::ArchiveMaxBytes),
            bytes_per_second: settings.number(Id::ArchiveMaxMbPerSec) << 20,
            cpu_percent: fit(settings.number(Id::ArchiveCpuPercent)),
        }
    }

    fn max_total_bytes(&mut self, segment_bytes: u64) -> Option<u64> {
        let total = self.settings.number_or_off(Id::MaxTotalMb)? << 20;
        if total < LEAST_SEGMENTS * segment_bytes {
            let what = format!(
                "{} is less than {LEAST_SEGMENTS} segments of {}",
                bytes(total),
                bytes(segment_bytes)
            );
            self.problem(Id::MaxTotalMb, what, "raise it, or lower persistence.wal.max_size_mb");
        }
        Some(total)
    }

    /// The three kinds of files are told apart by their directory, and two listeners by their address.
    fn refuse_shared_places(&mut self, config: &Config) {
        let (log, snapshots, archives) =
            (&config.wal.dir, &config.snapshot.directory, &config.wal.archive_dir);
        let log_id = if self.settings.row(Id::WalDir).is_some() { Id::WalDir } else { Id::WalPath };
        let (snapshot_id, archive_id) = (Id::SnapshotDirectory, Id::ArchiveDir);
        for (one, other, id, other_id) in [
            (snapshots, log, snapshot_id, log_id),
            (archives, log, archive_id, log_id),
            (archives, snapshots, archive_id, snapshot_id),
        ] {
            if one == other {
                let what = format!("{} is also the place of `{}`", one.display(), key(other_id).path);
                self.problem(id, what, "give each a directory of its own");
            }
        }
        let listeners =
            [(Some(config.http), Id::ServerPort), (config.resp, Id::RespPort), (config.admin, Id::AdminPort)];
        for (index, (address, id)) in listeners.into_iter().enumerate().skip(1) {
            let Some(address) = address.filter(|address| address.port() != 0) else { continue };
            for (_, other) in listeners[..index].iter().filter(|(other, _)| *other == Some(address)) {
                let what = format!("{address} is also where `{}` listens", key(*other).path);
                self.problem(id, what, "give one of the two another port");
            }
        }
    }

    fn note_archives(&mut self) {
        let conservative = self.settings.bool(Id::ConservativeMode);
        for id in [Id::ArchiveDir, Id::CompressionLevel, Id::CompressionAlgorithm] {
            if !conservative && self.settings.given(id).is_some() {
                self.note(id, "has no effect: archives are written in conservative mode only");
            }
        }
        if conservative && self.settings.given(Id::EventsKeep).is_some() {
            self.note(
                Id::EventsKeep,
                "has no effect in conservative mode: archives are kept by archive.keep_window",
            );
        }
    }

    fn note_places(&mut self, config: &Config) {
        if !config.persistence_enabled {
            self.note(Id::PersistenceEnabled, "nothing is kept: all data is gone when the server ends");
        } else if !config.wal.enabled && !config.snapshot.enabled {
            self.note(
                Id::WalEnabled,
                "without snapshots nothing is kept: all data is gone when the server ends",
            );
        } else if !config.wal.enabled {
            self.note(Id::WalEnabled, "writes since the newest snapshot are gone when the server ends");
        }
        if self.settings.given(Id::DataDir).is_none() {
            return;
        }
        for id in [Id::WalPath, Id::WalDir, Id::SnapshotDirectory, Id::ArchiveDir] {
            let Some(setting) = self.settings.given(id) else { continue };
            let mover = self.settings.row(Id::DataDir).map(|row| row.origin.to_string()).unwrap_or_default();
            let text =
                format!("stays at {}: data_dir ({mover}) moves only places that are not set", setting.value);
            self.note(id, text);
        }
    }

    /// Two keys for one thing: leaves only the one that counts.
    fn choose(&mut self, usual: Id, other: Id, thing: &str) {
        let strength = |id| self.settings.row(id).map_or(0, |setting| setting.origin.strength());
        let (usual_strength, other_strength) = (strength(usual), strength(other));
        if usual_strength < other_strength {
            self.settings.overrule(usual, other);
        } else if usual_strength > other_strength {
            self.settings.overrule(other, usual);
        } else if let Some(setting) = self.settings.given(usual) {
            let what = format!("`{}` ({}) already says {thing}", key(usual).path, setting.origin);
            self.problem(other, what, "keep one of the two");
        }
    }

    /// A path as the system will see it: relative ones start at the working directory.
    fn place(&self, path: &Path) -> PathBuf {
        self.cwd.join(path).components().collect()
    }

    fn problem(&mut self, id: Id, what: impl Into<String>, next: &str) {
        let origin = self.settings.row(id).map_or(Origin::Default, |setting| setting.origin.clone());
        let problem = Problem::new(origin, format!("`{}`: {}", key(id).path, what.into()), next);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn note(&mut self, id: Id, text: impl AsRef<str>) {
        let Some(setting) = self.settings.row(id) else { return };
        let note = format!("{} = {} ({}): {}", key(id).path, setting.value, setting.origin, text.as_ref());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

fn settings_keep_log(settings: &Settings) -> bool {
    settings.bool(Id::PersistenceEnabled) && settings.bool(Id::WalEnabled)
}

fn is_prefix(stem: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !stem.is_empty() && stem.len() <= MAX_PREFIX_BYTES && !stem.starts_with('.') && stem.chars().all(allowed)
}

/// A number that the limits of the table make fit.
fn fit<T: TryFrom<u64>>(number: u64) -> T {
    T::try_from(number).unwrap_or_else(|_| unreachable!("{number} is above the limit in the table of keys"))
}

const HOW_TO_ADD_USERS: &str = "put `NAME: HASH` below `auth.users`, the hash as `std-server hash-password` prints it, \
                                or use 127.0.0.1";
/// Ready ones, those that recovery needs, and some to write to.
const LEAST_SEGMENTS: u64 = 8;
/// The first shard's directory, below the directories that are divided by shard.
const SHARD_0: &str = "shard-0";
/// Names of segments are this, a number and an extension: well below what file systems take.
const MAX_PREFIX_BYTES: usize = 64;
