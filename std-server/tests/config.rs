//! The configuration seen from outside: both seeds' blocks verbatim, every key's effect, every bad input's line and
//! words, the order of sources, the commands, and the reference page.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use proptest::prelude::*;
use std_server::config::{
    Config, ConfigError, Flags, FsyncMode, Loaded, LogFormat, LogLevel, Origin, Value, reference,
};
use tempfile::TempDir;

const CWD: &str = "/srv/app";

/// A file of its own, removed at the end.
struct Given {
    dir: TempDir,
    name: &'static str,
}

impl Given {
    fn file(name: &'static str, content: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), content).unwrap();
        Self { dir, name }
    }

    /// Loads with the file's directory as the working directory, so that errors name the bare file.
    fn load(&self, flags: Flags, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let flags = Flags { config: Some(PathBuf::from(self.name)), ..flags };
        Config::load(&flags, words(env), self.dir.path())
    }
}

fn words(env: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    env.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn without_file(flags: &Flags, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Config::load(flags, words(env), Path::new(CWD))
}

/// Loads a seed's own block as if the server ran in `CWD`.
fn seed(name: &str) -> Loaded {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let flags = Flags { config: Some(file), ..Flags::default() };
    without_file(&flags, &[]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn defaults() -> Config {
    without_file(&Flags::default(), &[]).unwrap().config
}

// The seeds' blocks, verbatim.

#[test]
fn nothing_given_is_the_documented_default() {
    let config = defaults();
    assert_eq!(config.data_dir, Path::new("/srv/app/data"));
    assert!(config.persistence_enabled);
    assert!(config.wal.enabled);
    assert_eq!((config.wal.dir.to_str(), config.wal.prefix.as_str()), (Some("/srv/app/data/wal"), "synap"));
    assert_eq!((config.wal.fsync_mode, config.wal.sync_after_writes), (FsyncMode::Periodic, None));
    assert_eq!(config.wal.fsync_interval, Duration::from_millis(10));
    assert_eq!((config.wal.batch_bytes, config.wal.segment_bytes), (64 << 10, 64 << 20));
    assert!(config.wal.rotate_on_size);
    assert!(!config.wal.conservative_mode);
    assert_eq!(config.wal.archive_dir, Path::new("/srv/app/data/archives/shard-0"));
    assert_eq!(config.wal.compression_level, 3);
    assert!(config.snapshot.enabled && config.snapshot.auto && config.snapshot.compression);
    assert_eq!(config.snapshot.directory, Path::new("/srv/app/data/snapshots"));
    assert_eq!(config.snapshot.interval, Duration::from_secs(3600));
    assert_eq!((config.snapshot.operation_threshold, config.snapshot.keep_count), (None, 7));
    assert_eq!(config.http.to_string(), "127.0.0.1:15500");
    assert_eq!(config.resp.unwrap().to_string(), "127.0.0.1:6379");
    assert_eq!((config.max_value_bytes, config.shard_count), (1 << 20, 1));
    assert_eq!((config.logging.level, config.logging.format), (LogLevel::Info, LogFormat::Human));
}

/// The page's first two blocks say what is the default anyway, so the origins tell that they were read.
#[test]
fn synap_wal_block_is_honoured() {
    let loaded = seed("synap-1-wal.yaml");
    assert_eq!(loaded.config, defaults());
    for (key, line, value) in [
        ("persistence.wal.enabled", 3, Value::Bool(true)),
        ("persistence.wal.path", 4, Value::Path("./data/wal/synap.wal".into())),
        ("persistence.wal.fsync_mode", 5, Value::Word("periodic")),
        ("persistence.wal.fsync_interval_ms", 6, Value::Number(10)),
    ] {
        let setting = loaded.settings.at(key).unwrap();
        assert_eq!(setting.value, value, "{key}");
        assert!(
            matches!(setting.origin, Origin::File { line: at, .. } if at == line),
            "{key}: {}",
            setting.origin
        );
    }
}

#[test]
fn synap_modes_are_honoured() {
    for (name, mode) in [
        ("synap-2-always.yaml", FsyncMode::Always),
        ("synap-3-periodic.yaml", FsyncMode::Periodic),
        ("synap-4-never.yaml", FsyncMode::Never),
    ] {
        let loaded = seed(name);
        let mut expected = defaults();
        expected.wal.fsync_mode = mode;
        assert_eq!(loaded.config, expected, "{name}");
        let origin = &loaded.settings.at("wal.fsync_mode").unwrap().origin;
        assert!(matches!(origin, Origin::File { line: 2, .. }), "{name}: {origin}");
    }
    let interval = &seed("synap-3-periodic.yaml").settings.at("wal.fsync_interval_ms").cloned().unwrap();
    assert!(matches!(interval.origin, Origin::File { line: 3, .. }));
}

#[test]
fn synap_snapshot_block_is_honoured() {
    let loaded = seed("synap-5-snapshot.yaml");
    assert_eq!(loaded.config, defaults());
    for (key, line) in [
        ("persistence.snapshot.enabled", 3),
        ("persistence.snapshot.directory", 4),
        ("persistence.snapshot.interval_secs", 5),
        ("persistence.snapshot.auto_snapshot", 6),
        ("persistence.snapshot.compression", 7),
        ("persistence.snapshot.keep_count", 8),
    ] {
        let origin = &loaded.settings.at(key).unwrap().origin;
        assert!(matches!(origin, Origin::File { line: at, .. } if *at == line), "{key}: {origin}");
    }
}

#[test]
fn synap_production_block_is_honoured() {
    let loaded = seed("synap-6-production.yaml");
    assert_eq!(loaded.config, defaults());
    let set = ["persistence.enabled", "wal.enabled", "wal.fsync_mode", "wal.fsync_interval_ms"];
    for key in set.into_iter().chain(["snapshot.enabled", "snapshot.interval_secs", "snapshot.keep_count"]) {
        assert_ne!(loaded.settings.at(key).unwrap().origin, Origin::Default, "{key}");
    }
}

#[test]
fn synap_high_availability_block_is_honoured() {
    let mut expected = defaults();
    expected.wal.fsync_mode = FsyncMode::Always;
    expected.snapshot.interval = Duration::from_secs(900);
    expected.snapshot.keep_count = 24;
    assert_eq!(seed("synap-7-high-availability.yaml").config, expected);
}

#[test]
fn sneldb_block_is_honoured_and_what_is_not_built_is_said() {
    let loaded = seed("sneldb-wal.toml");
    let mut expected = defaults();
    expected.wal.dir = "/srv/app/../data/wal/shard-0".into();
    expected.wal.prefix = "wal".to_owned();
    expected.wal.conservative_mode = true;
    expected.wal.archive_dir = "/srv/app/../data/wal/archived/shard-0".into();
    assert_eq!(loaded.config, expected);
    let check = loaded.check();
    assert!(
        check.contains("every segment is kept, because this version does not write archives yet"),
        "{check}"
    );
}

// Every key, in both formats.

const EVERYTHING_YAML: &str = r#"
data_dir: /d
persistence:
  enabled: false
  wal:
    enabled: false
    path: logs/kv.wal
    fsync_mode: periodic
    fsync_interval_ms: 250
    fsync_every_n: 100
    flush_each_write: true
    buffer_size_kb: 128
    buffered: true
    max_size_mb: 32
    rotate_on_size: true
    conservative_mode: true
    archive_dir: /cold
    compression_level: 19
    compression_algorithm: zstd
  snapshot:
    enabled: false
    directory: /snap
    interval_secs: 60
    auto_snapshot: false
    operation_threshold: 5000
    compression: false
    max_snapshots: 2
server: { host: "::1", port: 0 }
resp3: { enabled: true, host: localhost, port: 7000 }
kv_store:
  max_value_size_bytes: "4MB"
logging: { level: debug, format: json }
engine: { shard_count: 1 }
auth: { enabled: false, require_auth: false }
"#;

const EVERYTHING_TOML: &str = r#"
data_dir = "/d"
[persistence]
enabled = false
[persistence.wal]
enabled = false
path = "logs/kv.wal"
fsync_mode = "periodic"
fsync_interval_ms = 250
fsync_every_n = 100
flush_each_write = true
buffer_size = "128KB"
buffered = true
max_size_mb = 32
rotate_on_size = true
conservative_mode = true
archive_dir = "/cold"
compression_level = 19
compression_algorithm = "zstd"
[snapshot]
enabled = false
directory = "/snap"
interval_secs = 60
auto_snapshot = false
operation_threshold = 5000
compression = false
keep_count = 2
[server]
host = "[::1]"
port = 0
[resp3]
enabled = true
host = "localhost"
port = 7000
[kv_store]
max_value_size_bytes = 4_194_304
[logging]
level = "debug"
format = "json"
[engine]
shard_count = 1
[auth]
enabled = false
require_auth = false
"#;

#[test]
fn every_key_has_its_effect_in_both_formats() {
    let load = |name, text| Given::file(name, text).load(Flags::default(), &[]).unwrap().config;
    let config = load("all.yml", EVERYTHING_YAML);
    assert_eq!(config.data_dir, Path::new("/d"));
    assert!(!config.persistence_enabled && !config.wal.enabled && !config.snapshot.enabled);
    assert!(config.wal.dir.ends_with("logs") && config.wal.dir.is_absolute());
    assert_eq!((config.wal.prefix.as_str(), config.wal.sync_after_writes), ("kv", Some(100)));
    assert_eq!(config.wal.fsync_interval, Duration::from_millis(250));
    assert_eq!((config.wal.batch_bytes, config.wal.segment_bytes), (128 << 10, 32 << 20));
    assert!(config.wal.conservative_mode);
    assert_eq!(config.wal.archive_dir, Path::new("/cold/shard-0"));
    assert_eq!(config.wal.compression_level, 19);
    assert_eq!(config.snapshot.directory, Path::new("/snap"));
    assert_eq!(config.snapshot.interval, Duration::from_secs(60));
    assert!(!config.snapshot.auto && !config.snapshot.compression);
    assert_eq!((config.snapshot.operation_threshold, config.snapshot.keep_count), (Some(5000), 2));
    assert_eq!(config.http.to_string(), "[::1]:0");
    assert_eq!(config.resp.unwrap().to_string(), "127.0.0.1:7000");
    assert_eq!(config.max_value_bytes, 4 << 20);
    assert_eq!((config.logging.level, config.logging.format), (LogLevel::Debug, LogFormat::Json));

    let mut toml = load("all.toml", EVERYTHING_TOML);
    assert!(toml.wal.dir.ends_with("logs"));
    toml.wal.dir.clone_from(&config.wal.dir);
    assert_eq!(toml, config);
}

#[test]
fn sizes_of_segments_and_buffers() {
    for (text, batch, segment, value) in [
        ("rotate_on_size = false", 64 << 10, 1024 << 20, 1 << 20),
        ("rotate_on_size = false\nmax_size_mb = 2", 64 << 10, 1024 << 20, 1 << 20),
        ("max_size_mb = 1", 64 << 10, 1 << 20, 512 << 10),
        ("buffer_size = \"8MB\"", 8 << 20, 64 << 20, 1 << 20),
        ("buffer_size = 4096", 4096, 64 << 20, 1 << 20),
        ("buffered = false\nbuffer_size = \"8MB\"", 4096, 64 << 20, 1 << 20),
    ] {
        let config =
            Given::file("a.toml", format!("[wal]\n{text}\n")).load(Flags::default(), &[]).unwrap().config;
        let sizes = (config.wal.batch_bytes, config.wal.segment_bytes, config.max_value_bytes);
        assert_eq!(sizes, (batch, segment, value), "{text}");
    }
}

#[test]
fn empty_files_sections_and_other_shapes_of_text() {
    for (name, text) in [
        ("a.yaml", ""),
        ("a.yaml", "# nothing but a comment\n"),
        ("a.yaml", "---\n"),
        ("a.yaml", "{}"),
        ("a.yaml", "persistence:\n  # all of it is commented out\n"),
        ("a.yaml", "persistence:\n  wal: ~\n"),
        ("a.toml", ""),
        ("a.toml", "[persistence.wal]\n[engine]\n"),
        ("a.toml", "snapshot.operation_threshold = \"off\"\n"),
        ("a.yaml", "snapshot.operation_threshold: off\n"),
        ("a.yaml", "persistence.wal.fsync_interval_ms: 10\r\n"),
        ("a.yaml", "\u{feff}wal:\n  enabled: true\n"),
        ("a.toml", "\u{feff}[wal]\nenabled = true\n"),
    ] {
        let given = Given::file(name, text);
        let loaded = given.load(Flags::default(), &[]).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let expected = Config::load(&Flags::default(), [], given.dir.path()).unwrap();
        assert_eq!(loaded.config, expected.config, "{text:?}");
    }
}

// Bad input: the place, and what is said.

/// File name, content, place and words of the one error.
const BAD_FILES: &[(&str, &str, &str, &str)] = &[
    ("a.yaml", "wal:\n  fsync_mode: sometimes\n", "a.yaml:2", "`wal.fsync_mode` is \"sometimes\""),
    (
        "a.yaml",
        "wal:\n  fsync_mode: Always\n",
        "a.yaml:2",
        "write always, periodic or never; the nearest is always",
    ),
    ("a.yaml", "wal:\n\n  fsync_interval_ms: -10\n", "a.yaml:3", "`wal.fsync_interval_ms` is -10"),
    ("a.yaml", "wal:\n  fsync_interval_ms: -10\n", "a.yaml:2", "write a whole number from 1 to 60000 (ms)"),
    ("a.yaml", "wal:\n  fsync_interval_ms: 0\n", "a.yaml:2", "is 0"),
    ("a.yaml", "wal:\n  fsync_interval_ms: 1.5\n", "a.yaml:2", "is 1.5"),
    ("a.yaml", "wal:\n  fsync_interval_ms: \"10\"\n", "a.yaml:2", "without quotes"),
    ("a.yaml", "wal:\n  enabled: \"true\"\n", "a.yaml:2", "write true or false, without quotes"),
    ("a.yaml", "wal:\n  enabled: yes\n", "a.yaml:2", "`wal.enabled` is \"yes\""),
    ("a.yaml", "wal:\n  enabled:\n", "a.yaml:2", "`wal.enabled` has no value"),
    ("a.yaml", "wal:\n  enabled: [true]\n", "a.yaml:2", "`wal.enabled` is a list"),
    ("a.yaml", "wal:\n  enabled: { a: 1 }\n", "a.yaml:2", "`wal.enabled` is a section"),
    ("a.yaml", "wal: true\n", "a.yaml:1", "`wal` is a boolean where a section is expected"),
    ("a.yaml", "wal: true\n", "a.yaml:1", "such as `wal.enabled`"),
    (
        "a.yaml",
        "wal:\n  enabled: true\n  path: a.wal\n  enabled: true\n",
        "a.yaml:4",
        "already stands on line 2",
    ),
    (
        "a.yaml",
        "wal:\n  enabled: true\nserver:\n  port: 1\nwal:\n  path: a.wal\n",
        "a.yaml:5",
        "duplicate key `wal`",
    ),
    ("a.yaml", "quux:\n  a: 1\n  a: 2\n", "a.yaml:3", "duplicate key `a`"),
    ("a.toml", "[wal]\nenabled = true\n\nenabled = false\n", "a.toml:4", "duplicate key"),
    ("a.toml", "[wal]\nenabled = true\n[wal]\n", "a.toml:3", "duplicate key"),
    (
        "a.yaml",
        "snapshot:\n  keep_count: 3\n  max_snapshots: 3\n",
        "a.yaml:3",
        "`snapshot.max_snapshots` is already set by a.yaml:2",
    ),
    (
        "a.yaml",
        "persistence:\n  wal:\n    enabled: true\nwal:\n  enabled: true\n",
        "a.yaml:5",
        "both spellings mean `persistence.wal.enabled`",
    ),
    (
        "a.yaml",
        "persistence:\n  wal:\n    fsync_mod: always\n",
        "a.yaml:3",
        "unknown key `persistence.wal.fsync_mod`; the nearest known one is `persistence.wal.fsync_mode`",
    ),
    ("a.yaml", "persistance:\n  wal:\n    x: 1\n", "a.yaml:1", "the nearest known one is `persistence`"),
    (
        "a.toml",
        "[wal]\nconservativ_mode = true\n",
        "a.toml:2",
        "nearest known one is `wal.conservative_mode`",
    ),
    ("a.toml", "[wal]\ndir = 1979-05-27\n", "a.toml:2", "`wal.dir` is the date 1979-05-27"),
    ("a.toml", "[[wal]]\ndir = \"x\"\n", "a.toml:1", "`wal` is a list where a section is expected"),
    ("a.toml", "[wal]\ncompression_algorithm = \"lz4\"\n", "a.toml:2", "write \"zstd\", the only choice"),
    ("a.toml", "[wal]\ncompression_level = 23\n", "a.toml:2", "write a whole number from 1 to 22"),
    ("a.toml", "[wal]\nbuffer_size = \"8XB\"\n", "a.toml:2", "write a size from 4 KiB to 64 MiB"),
    ("a.toml", "[wal]\nbuffer_size = \"65MB\"\n", "a.toml:2", "`wal.buffer_size` is \"65MB\""),
    (
        "a.toml",
        "[wal]\nfsync_every_n = 0\n",
        "a.toml:2",
        "write a whole number from 1 to 1000000000 (writes)",
    ),
    (
        "a.toml",
        "[wal]\nfsync_every_n = 999999999999999999999\n",
        "a.toml:2",
        "`wal.fsync_every_n` is 999999999999999",
    ),
    (
        "a.toml",
        "[wal]\nfsync = true\nfsync_mode = \"always\"\n",
        "a.toml:2",
        "already says when the log is synced",
    ),
    (
        "a.toml",
        "[wal]\npath = \"a.wal\"\ndir = \"b\"\n",
        "a.toml:3",
        "(a.toml:2) already says where the log lives",
    ),
    (
        "a.toml",
        "[wal]\nbuffer_size_kb = 64\nbuffer_size = 65536\n",
        "a.toml:3",
        "already says the size of the batch buffer",
    ),
    ("a.toml", "[wal]\nfsync_mode = \"periodic\"\nfsync_every_n = 1\n", "a.toml:3", "say fsync_mode: always"),
    (
        "a.toml",
        "[wal]\nmax_size_mb = 1\nbuffer_size = \"1MB\"\n",
        "a.toml:3",
        "1 MiB is more than half a segment of 1 MiB",
    ),
    ("a.toml", "[wal]\nmax_size_mb = 1025\n", "a.toml:2", "write a whole number from 1 to 1024 (MiB)"),
    ("a.yaml", "wal: { max_size_mb: 0 }\n", "a.yaml:1", "`wal.max_size_mb` is 0"),
    (
        "a.yaml",
        "wal: { max_size_mb: 1 }\nkv_store:\n  max_value_size_bytes: 524289\n",
        "a.yaml:3",
        "524289 bytes is more than half a segment of 1 MiB",
    ),
    (
        "a.yaml",
        "kv_store:\n  max_value_size_bytes: 16777216\n",
        "a.yaml:2",
        "write a size from 1 byte to 15 MiB",
    ),
    ("a.yaml", "wal:\n  path: ./data/wal/\n", "a.yaml:2", "to name a directory, use `persistence.wal.dir`"),
    ("a.yaml", "wal:\n  path: ..\n", "a.yaml:2", "is no file name"),
    ("a.yaml", "wal:\n  path: .wal\n", "a.yaml:2", "is no file name"),
    ("a.yaml", "wal:\n  path: a b.wal\n", "a.yaml:2", "is no file name"),
    ("a.yaml", "wal:\n  path: \"\"\n", "a.yaml:2", "`wal.path` is \"\""),
    ("a.yaml", "wal:\n  path: \"a\\0b\"\n", "a.yaml:2", "write a path"),
    (
        "a.yaml",
        "snapshot:\n  directory: ./data/./wal\n",
        "a.yaml:2",
        "is also the place of `persistence.wal.path`",
    ),
    ("a.yaml", "wal: {dir: w}\nsnapshot:\n  directory: w/shard-0\n", "a.yaml:3", "of `persistence.wal.dir`"),
    ("a.yaml", "server:\n  host: 0.0.0.0\n", "a.yaml:2", "0.0.0.0 is refused: without authentication"),
    ("a.yaml", "resp3:\n  host: 10.0.0.1\n", "a.yaml:2", "10.0.0.1 is refused: without authentication"),
    ("a.yaml", "server:\n  host: db.example\n", "a.yaml:2", "write an IP address or localhost"),
    ("a.yaml", "server:\n  port: 65536\n", "a.yaml:2", "write a whole number from 0 to 65535"),
    ("a.yaml", "server:\n  port: 6379\nresp3:\n  port: 6379\n", "a.yaml:4", "is also where HTTP listens"),
    ("a.yaml", "engine:\n  shard_count: 2\n", "a.yaml:2", "2 shards are refused: this version runs one"),
    ("a.yaml", "engine:\n  shard_count: 0\n", "a.yaml:2", "`engine.shard_count` is 0"),
    ("a.yaml", "auth:\n  enabled: true\n", "a.yaml:2", "no authentication to switch on"),
    ("a.yaml", "auth:\n  password: hunter2\n", "a.yaml:2", "`auth.password` can't be honoured"),
    ("a.yaml", "auth:\n  root: { password: hunter2 }\n", "a.yaml:2", "`auth.root` can't be honoured"),
    ("a.yaml", "auth: hunter2\n", "a.yaml:1", "`auth` is text where a section is expected"),
    ("a.yaml", "logging:\n  level: warning\n", "a.yaml:2", "the nearest is warn"),
    ("a.yaml", "wal:\n  fsync_mode: [always\n", "a.yaml:", "this is not YAML"),
    ("a.yaml", "wal:\n  a: 1\n b: 2\n", "a.yaml:3", "this is not YAML"),
    ("a.yaml", "wal:\n\tenabled: true\n", "a.yaml:2", "this is not YAML"),
    ("a.yaml", "a: 1\n---\nb: 2\n", "a.yaml:", "this is not YAML"),
    ("a.yaml", "- a\n", "a.yaml:1", "the file holds a list where sections are expected"),
    ("a.toml", "[wal]\n\nenabled = maybe\n", "a.toml:3", "this is not TOML"),
    ("a.toml", "[wal\n", "a.toml:1", "this is not TOML"),
    ("a.json", "{}", "a.json", "give it the extension .yaml, .yml or .toml"),
    ("config", "", "config", "give it the extension .yaml, .yml or .toml"),
];

#[test]
fn bad_files_are_refused_with_place_and_words() {
    for (name, text, place, words) in BAD_FILES {
        let error = Given::file(name, text).load(Flags::default(), &[]).expect_err(text);
        assert_eq!(error.problems().len(), 1, "{text:?}: {error}");
        let problem = &error.problems()[0];
        if place.ends_with(':') {
            assert!(problem.place().starts_with(place), "{text:?}: {error}");
        } else {
            assert_eq!(problem.place(), *place, "{text:?}: {error}");
        }
        let said = error.to_string();
        assert!(said.contains(words), "{text:?}: {said}");
        assert!(said.contains("\n  next: "), "{said}");
        assert!(!said.contains("hunter2"), "a credential is repeated: {said}");
    }
}

#[test]
fn files_that_are_no_text_are_refused() {
    let error = Given::file("a.yaml", b"wal:\n  path: \xff\n").load(Flags::default(), &[]).unwrap_err();
    assert_eq!(error.problems()[0].place(), "a.yaml:2");
    assert!(error.to_string().contains("is not UTF-8 text"), "{error}");

    let large = format!("# {}\n", "x".repeat(1 << 20));
    let error = Given::file("a.yaml", large).load(Flags::default(), &[]).unwrap_err();
    assert!(error.to_string().contains("is larger than 1 MiB"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("b.toml")).unwrap();
    for (name, words) in [("a.yaml", "can't be opened"), ("b.toml", "can't be read")] {
        let flags = Flags { config: Some(name.into()), ..Flags::default() };
        let error = Config::load(&flags, [], dir.path()).unwrap_err();
        assert_eq!(error.problems()[0].place(), name);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_their_places() {
    let given =
        Given::file("a.toml", "[wal]\nfsync_mode = \"x\"\nfsync_mod = 1\n[snapshot]\nkeep_count = -1\n");
    let flags = Flags { http: Some("nowhere".into()), ..Flags::default() };
    let error = given.load(flags, &[("STRANDLINE_LOGGING__LEVEL", "loud")]).unwrap_err();
    let places: Vec<_> = error.problems().iter().map(|problem| problem.place()).collect();
    assert_eq!(places, ["a.toml:2", "a.toml:3", "a.toml:5", "env STRANDLINE_LOGGING__LEVEL", "flag --http"]);
}

#[test]
fn bad_variables_and_flags_are_refused_by_name() {
    let flags = Flags::default();
    for (name, value, words) in [
        ("STRANDLINE_WAL__FSYNC_MOD", "always", "the nearest known one is STRANDLINE_WAL__FSYNC_MODE"),
        ("STRANDLINE_DATADIR", "x", "the nearest known one is STRANDLINE_DATA_DIR"),
        ("STRANDLINE_data_dir", "x", "the nearest known one is STRANDLINE_DATA_DIR"),
        ("STRANDLINE_", "x", "unknown variable"),
        ("STRANDLINE_DATA_DIR", "", "is empty"),
        ("STRANDLINE_WAL__FSYNC_MODE", "sometimes", "write always, periodic or never"),
        ("STRANDLINE_WAL__FSYNC_INTERVAL_MS", "-1", "write a whole number from 1 to 60000 (ms)"),
        ("STRANDLINE_WAL__ENABLED", "1", "write true or false"),
        ("STRANDLINE_SERVER__HOST", "0.0.0.0", "without authentication"),
        ("STRANDLINE_AUTH__PASSWORD", "hunter2", "can't be honoured"),
    ] {
        let error = without_file(&flags, &[(name, value)]).expect_err(name);
        assert_eq!(error.problems()[0].place(), format!("env {name}"));
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let error = without_file(&flags, &[("STRANDLINE_CONFIG", "")]).unwrap_err();
    assert!(error.to_string().contains("the name of the file is empty"), "{error}");

    let text = |value: &str| Some(value.to_owned());
    for (flags, place, words) in [
        (Flags { fsync_mode: text("x"), ..Flags::default() }, "flag --fsync-mode", "write always"),
        (Flags { log_level: text("x"), ..Flags::default() }, "flag --log-level", "write error, warn"),
        (Flags { data_dir: Some("".into()), ..Flags::default() }, "flag --data-dir", "is empty"),
        (Flags { http: text("8080"), ..Flags::default() }, "flag --http", "write HOST:PORT"),
        (Flags { http: text("::1:80"), ..Flags::default() }, "flag --http", "write HOST:PORT"),
        (Flags { http: text("127.0.0.1:65536"), ..Flags::default() }, "flag --http", "write HOST:PORT"),
        (
            Flags { resp: text("192.168.0.1:6379"), ..Flags::default() },
            "flag --resp",
            "without authentication",
        ),
    ] {
        let error = without_file(&flags, &[]).expect_err(place);
        assert_eq!(error.problems()[0].place(), place);
        assert!(error.to_string().contains(words), "{place}: {error}");
    }
}

// Which source wins.

#[test]
fn flags_over_environment_over_file_over_default() {
    let given = Given::file(
        "a.yaml",
        "wal:\n  fsync_mode: always\n  fsync_interval_ms: 20\nlogging: {level: warn}\n",
    );
    let env =
        [("STRANDLINE_WAL__FSYNC_MODE", "periodic"), ("STRANDLINE_LOGGING__LEVEL", "error"), ("OTHER", "x")];
    let flags = Flags { fsync_mode: Some("never".into()), ..Flags::default() };
    let loaded = given.load(flags, &env).unwrap();
    assert_eq!(loaded.config.wal.fsync_mode, FsyncMode::Never);
    assert_eq!(loaded.config.logging.level, LogLevel::Error);
    assert_eq!(loaded.config.wal.fsync_interval, Duration::from_millis(20));
    let origin = |key| loaded.settings.at(key).unwrap().origin.to_string();
    assert_eq!(origin("persistence.wal.fsync_mode"), "flag --fsync-mode");
    assert_eq!(origin("logging.level"), "env STRANDLINE_LOGGING__LEVEL");
    assert_eq!(origin("wal.fsync_interval_ms"), "a.yaml:3");
    assert_eq!(origin("logging.format"), "default");
    let shown = loaded.show();
    assert!(shown.contains("# env STRANDLINE_LOGGING__LEVEL, over a.yaml:4\n"), "{shown}");
}

#[test]
fn the_stronger_of_two_keys_for_one_thing_wins() {
    let given = Given::file(
        "a.toml",
        "[wal]\nfsync = true\nfsync_every_n = 8\npath = \"l/a.wal\"\nbuffer_size = 8192\n",
    );
    let env = [("STRANDLINE_WAL__DIR", "/other"), ("STRANDLINE_WAL__BUFFER_SIZE_KB", "16")];
    let flags = Flags { fsync_mode: Some("never".into()), ..Flags::default() };
    let loaded = given.load(flags, &env).unwrap();
    let wal = &loaded.config.wal;
    assert_eq!((wal.fsync_mode, wal.sync_after_writes), (FsyncMode::Never, None));
    assert_eq!((wal.dir.as_path(), wal.prefix.as_str()), (Path::new("/other/shard-0"), "wal"));
    assert_eq!(wal.batch_bytes, 16 << 10);
    for (winner, over) in
        [("wal.fsync_mode", "a.toml:2"), ("wal.dir", "a.toml:4"), ("wal.buffer_size_kb", "a.toml:5")]
    {
        let setting = loaded.settings.at(winner).unwrap();
        assert_eq!(setting.over.as_ref().map(ToString::to_string).as_deref(), Some(over), "{winner}");
    }
    for loser in ["wal.fsync", "wal.path", "wal.buffer_size"] {
        assert_eq!(loaded.settings.at(loser), None, "{loser}");
    }
}

#[test]
fn data_dir_moves_what_has_no_place_of_its_own() {
    let moved = Flags { data_dir: Some("/d".into()), ..Flags::default() };
    let config = without_file(&moved, &[]).unwrap().config;
    assert_eq!(config.data_dir, Path::new("/d"));
    assert_eq!(config.wal.dir, Path::new("/d/wal"));
    assert_eq!(config.snapshot.directory, Path::new("/d/snapshots"));
    assert_eq!(config.wal.archive_dir, Path::new("/d/archives/shard-0"));

    let loaded = Given::file("a.yaml", "wal:\n  path: /fast/kv.wal\n").load(moved, &[]).unwrap();
    assert_eq!(loaded.config.wal.dir, Path::new("/fast"));
    assert_eq!(loaded.config.snapshot.directory, Path::new("/d/snapshots"));
    let check = loaded.check();
    assert!(
        check.contains("(a.yaml:2): stays at \"/fast/kv.wal\": data_dir (flag --data-dir) moves only"),
        "{check}"
    );
}

#[test]
fn addresses_by_flag() {
    let flags = |http: &str, resp: &str| Flags {
        http: Some(http.to_owned()),
        resp: Some(resp.to_owned()),
        ..Flags::default()
    };
    let config = without_file(&flags("127.0.0.1:0", "127.0.0.1:0"), &[]).unwrap().config;
    assert_eq!((config.http.to_string().as_str(), config.resp.unwrap().port()), ("127.0.0.1:0", 0));
    let config = without_file(&flags("localhost:80", "[::1]:81"), &[]).unwrap().config;
    assert_eq!(config.http.to_string(), "127.0.0.1:80");
    assert_eq!(config.resp.unwrap().to_string(), "[::1]:81");

    let off = [("STRANDLINE_RESP3__ENABLED", "false"), ("STRANDLINE_RESP3__HOST", "0.0.0.0")];
    assert_eq!(
        without_file(&Flags::default(), &off).unwrap().config.resp,
        None,
        "what is off listens nowhere"
    );
    let on = without_file(&flags("127.0.0.1:1", "127.0.0.1:2"), &off[..1]).unwrap().config;
    assert_eq!(on.resp.unwrap().port(), 2, "naming a place to listen is asking to listen there");
}

#[test]
fn the_file_is_named_by_the_flag_or_else_by_the_variable() {
    let given = Given::file("a.yaml", "server: {port: 1}\n");
    fs::write(given.dir.path().join("b.toml"), "[server]\nport = 2\n").unwrap();
    let env = [("STRANDLINE_CONFIG", "b.toml")];
    assert_eq!(given.load(Flags::default(), &env).unwrap().config.http.port(), 1);
    let loaded = Config::load(&Flags::default(), words(&env), given.dir.path()).unwrap();
    assert_eq!(loaded.config.http.port(), 2);
    assert_eq!(loaded.file.as_deref(), Some(Path::new("b.toml")));
}

#[cfg(unix)]
#[test]
fn a_directory_may_have_any_name_and_a_word_may_not() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = OsString::from_vec(b"/d\xff".to_vec());
    let flags = Flags { data_dir: Some(PathBuf::from(&odd)), ..Flags::default() };
    assert_eq!(without_file(&flags, &[]).unwrap().config.data_dir.as_os_str(), odd);

    for name in [&b"STRANDLINE_LOGGING__LEVEL"[..], b"STRANDLINE_\xff"] {
        let env = [(OsString::from_vec(name.to_vec()), OsString::from_vec(vec![0xff]))];
        let error = Config::load(&Flags::default(), env, Path::new(CWD)).unwrap_err();
        assert!(error.problems()[0].place().starts_with("env STRANDLINE_"), "{error}");
    }
}

// Showing it.

#[test]
fn what_is_shown_loads_again_as_the_same() {
    let files = [
        ("a.yaml", EVERYTHING_YAML),
        ("a.toml", EVERYTHING_TOML),
        ("a.toml", "[wal]\nfsync = true\nfsync_every_n = 8\ndir = \"w\"\nbuffer_size = \"8MB\"\n"),
        ("a.toml", "[wal]\nfsync_every_n = 1\nbuffered = false\n"),
        ("a.yaml", "snapshot:\n  directory: \"a \\\"b\\\\\\n: # ü\"\n"),
        ("a.yaml", ""),
    ];
    for (name, text) in files {
        let given = Given::file(name, text);
        let loaded = given.load(Flags::default(), &[]).unwrap();
        fs::write(given.dir.path().join("again.yaml"), loaded.show()).unwrap();
        let flags = Flags { config: Some("again.yaml".into()), ..Flags::default() };
        let again = Config::load(&flags, [], given.dir.path());
        let again = again.unwrap_or_else(|error| panic!("{error}\n{}", loaded.show()));
        assert_eq!(again.config, loaded.config, "{}", loaded.show());
    }
}

fn std_server(args: &[&str], env: &[(&str, &str)], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_std-server"));
    command.args(args).env_clear().envs(env.iter().copied()).current_dir(dir).output().unwrap()
}

#[test]
fn commands_print_and_exit_as_documented() {
    let given = Given::file("a.yaml", "wal:\n  fsync_mode: always\n");
    fs::write(given.dir.path().join("bad.yaml"), "wal:\n  fsync_mode: sometimes\n").unwrap();
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let output = std_server(args, env, given.dir.path());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };

    let (code, stdout, stderr) = run(&["config", "check", "--config", "a.yaml"], &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("configuration is good (a.yaml)\n"), "{stdout}");
    assert!(stdout.contains("always: an acknowledged write survives power loss\n"), "{stdout}");

    let env = [("STRANDLINE_CONFIG", "a.yaml"), ("STRANDLINE_SERVER__PORT", "0")];
    let (code, stdout, stderr) = run(&["config", "show", "--data-dir", "d"], &env);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let line =
        |start: &str| stdout.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default();
    assert!(line("fsync_mode: \"always\"").ends_with("# a.yaml:2"), "{stdout}");
    assert!(line("port: 0").ends_with("# env STRANDLINE_SERVER__PORT"), "{stdout}");
    assert!(line("data_dir: \"d\"").ends_with("# flag --data-dir"), "{stdout}");
    assert!(line("path: \"d/wal/synap.wal\"").ends_with("# default"), "{stdout}");

    for command in [&["config", "check"][..], &["config", "show"], &["serve"], &[]] {
        let args = [command, &["--config", "bad.yaml"]].concat();
        let (code, stdout, stderr) = run(&args, &[]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(
            stderr.starts_with("bad.yaml:2: `wal.fsync_mode` is \"sometimes\"\n  next: write "),
            "{stderr}"
        );
    }
    let (code, _, stderr) = run(&["config", "check", "--fsync-mod", "never"], &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--fsync-mode"), "{stderr}");
}

// The page.

/// With `BLESS=1` in the environment the page is rewritten instead.
#[test]
fn the_page_lists_exactly_the_keys_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md");
    let page = fs::read_to_string(&path).unwrap();
    let start = page.find("<!-- keys: begin").and_then(|at| Some(at + page[at..].find('\n')? + 1)).unwrap();
    let end = page.find("<!-- keys: end").unwrap();
    let table = format!("\n{}\n", reference());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, format!("{}{table}{}", &page[..start], &page[end..])).unwrap();
        return;
    }
    assert_eq!(&page[start..end], table, "run this test with BLESS=1");
}

// Anything at all.

/// Text that gets past the parsers more often than noise does: known words, known values, odd ones, any nesting.
fn likely_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => prop::sample::select(vec![
            "persistence", "wal", "snapshot", "server", "resp3", "engine", "auth", "kv_store", "logging", "enabled",
            "path", "dir", "fsync", "fsync_mode", "fsync_every_n", "fsync_interval_ms", "buffered", "buffer_size",
            "buffer_size_kb", "max_size_mb", "keep_count", "operation_threshold", "host", "port", "shard_count",
            "max_value_size_bytes", "wal.dir", "persistence.wal.path", "rotate_on_size", "directory", "data_dir",
        ]).prop_map(str::to_owned),
        1 => "[a-z_.\"']{0,12}",
    ];
    let value = prop_oneof![
        6 => prop::sample::select(vec![
            "", "true", "false", "1", "0", "-1", "8", "64", "1.5", "\"8MB\"", "always", "\"periodic\"", "\"never\"",
            "off", "\"localhost\"", "\"::1\"", "0.0.0.0", "~", "[1]", "{}", "&a 1", "*a", "\"a/b.wal\"", "\"x\"",
            "99999999999999999999999999999999999999999", "0x10", "1979-05-27", ".inf", "!!str 1", "|", "<<",
        ]).prop_map(str::to_owned),
        1 => ".{0,12}",
    ];
    let sign = prop::sample::select(vec![": ", " = ", ":\n", "]\n"]);
    let line = (0_usize..4, word, sign, value).prop_map(|(depth, word, sign, value)| {
        let open = if sign == "]\n" { "[" } else { "" };
        format!("{:indent$}{open}{word}{sign}{value}\n", "", indent = 2 * depth)
    });
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_text_makes_it_panic(
        text in prop_oneof![likely_text(), any::<String>()],
        name in prop::sample::select(vec!["a.yaml", "a.toml"]),
    ) {
        let given = Given::file(name, &text);
        match given.load(Flags::default(), &[]) {
            Err(error) => prop_assert!(!error.problems().is_empty()),
            Ok(loaded) => prop_assert!(!loaded.check().is_empty() && !loaded.show().is_empty()),
        }
    }

    /// One well-formed setting after the other reaches what the files above seldom do: the rules between settings.
    #[test]
    fn settings_that_load_load_again_from_what_is_shown(
        chosen in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..10),
    ) {
        const VARIABLES: &[(&str, &[&str])] = &[
            ("WAL__PATH", &["a/b.wal", "/l/x", "a/"]),
            ("WAL__DIR", &["w", "./data/wal/"]),
            ("WAL__FSYNC_MODE", &["always", "periodic", "never"]),
            ("WAL__FSYNC", &["true", "false"]),
            ("WAL__FSYNC_EVERY_N", &["1", "2", "1000000000"]),
            ("WAL__BUFFERED", &["true", "false"]),
            ("WAL__BUFFER_SIZE", &["4KB", "1MB", "64MB"]),
            ("WAL__BUFFER_SIZE_KB", &["4", "1024", "65536"]),
            ("WAL__MAX_SIZE_MB", &["1", "2", "1024"]),
            ("WAL__ROTATE_ON_SIZE", &["true", "false"]),
            ("KV_STORE__MAX_VALUE_SIZE_BYTES", &["1", "1MB", "15MB"]),
            ("SNAPSHOT__OPERATION_THRESHOLD", &["off", "1"]),
            ("SNAPSHOT__DIRECTORY", &["data/wal", "s: \"x\""]),
            ("RESP3__ENABLED", &["true", "false"]),
            ("RESP3__PORT", &["0", "15500"]),
            ("SERVER__PORT", &["0", "6379"]),
            ("DATA_DIR", &["/d", "."]),
            ("PERSISTENCE__ENABLED", &["false"]),
        ];
        let env: std::collections::BTreeMap<_, _> = chosen
            .iter()
            .map(|(variable, value)| (variable.get(VARIABLES), value))
            .map(|((name, values), value)| (format!("STRANDLINE_{name}"), *value.get(values)))
            .collect();
        let env = env.into_iter().map(|(name, value)| (name.into(), value.into()));
        let Ok(loaded) = Config::load(&Flags::default(), env, Path::new(CWD)) else { return Ok(()) };
        let given = Given::file("again.yaml", loaded.show());
        let flags = Flags { config: Some(given.dir.path().join("again.yaml")), ..Flags::default() };
        let again = Config::load(&flags, [], Path::new(CWD)).map(|again| again.config);
        prop_assert_eq!(again, Ok(loaded.config), "{}", loaded.settings.at("wal.dir").is_some());
    }
}
