//! The configuration seen from outside: both seeds' blocks verbatim, every key's effect, every bad input's line and
//! words, the order of sources, the commands, and the reference page.

use core::time::Duration;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use std_server::config::{
    Config, ConfigError, Flags, FsyncMode, Loaded, LogFormat, LogLevel, Origin, Value, reference,
};
use tempfile::TempDir;

#[path = "config/anything.rs"]
mod anything;
#[path = "config/bad_input.rs"]
mod bad_input;
#[path = "config/sources.rs"]
mod sources;
#[path = "config/users.rs"]
mod users;

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
fn sneldb_block_is_honoured() {
    let loaded = seed("sneldb-wal.toml");
    let mut expected = defaults();
    expected.wal.dir = "/srv/app/../data/wal/shard-0".into();
    expected.wal.prefix = "wal".to_owned();
    expected.wal.conservative_mode = true;
    expected.wal.archive_dir = "/srv/app/../data/wal/archived/shard-0".into();
    assert_eq!(loaded.config, expected);
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

type Change = fn(&mut Config);

/// A switch is set alone, so that none can be wired to its neighbour's key.
#[test]
fn each_switch_changes_its_own_field_and_no_other() {
    let switches: [(&str, &str, Change); 10] = [
        ("PERSISTENCE__ENABLED", "false", |config| config.persistence_enabled = false),
        ("WAL__ENABLED", "false", |config| config.wal.enabled = false),
        ("WAL__CONSERVATIVE_MODE", "true", |config| config.wal.conservative_mode = true),
        ("WAL__COMPRESSION_ALGORITHM", "zstd", |_| ()),
        ("WAL__FLUSH_EACH_WRITE", "false", |_| ()),
        ("WAL__BUFFERED", "true", |_| ()),
        ("SNAPSHOT__ENABLED", "false", |config| config.snapshot.enabled = false),
        ("SNAPSHOT__AUTO_SNAPSHOT", "false", |config| config.snapshot.auto = false),
        ("SNAPSHOT__COMPRESSION", "false", |config| config.snapshot.compression = false),
        ("RESP3__ENABLED", "false", |config| config.resp = None),
    ];
    for (name, value, change) in switches {
        let mut expected = defaults();
        change(&mut expected);
        let name = format!("STRANDLINE_{name}");
        assert_eq!(without_file(&Flags::default(), &[(&name, value)]).unwrap().config, expected, "{name}");
    }
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
        assert!(stderr.starts_with("bad.yaml:2: `wal.fsync_mode` is \"sometimes\"; write "), "{stderr}");
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
