//! Every bad input: where the error stands and what it says.

use super::*;

/// File name, content, place and words of the one error.
#[rustfmt::skip]
const BAD_FILES: &[(&str, &str, &str, &str)] = &[
    ("a.yaml", "wal:\n  fsync_mode: sometimes\n", "a.yaml:2", "`wal.fsync_mode` is \"sometimes\""),
    ("a.yaml", "wal:\n  fsync_mode: Always\n", "a.yaml:2",
        "write always, periodic or never; the nearest is always"),
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
    ("a.yaml", "wal:\n  enabled: true\n  path: a.wal\n  enabled: true\n", "a.yaml:4",
        "already stands on line 2"),
    ("a.yaml", "wal:\n  enabled: true\nserver:\n  port: 1\nwal:\n  path: a.wal\n", "a.yaml:5",
        "duplicate key `wal`"),
    ("a.yaml", "quux:\n  a: 1\n  a: 2\n", "a.yaml:3", "duplicate key `a`"),
    ("a.toml", "[wal]\nenabled = true\n\nenabled = false\n", "a.toml:4", "duplicate key `enabled`"),
    ("a.toml", "[wal]\nenabled = true\n[wal]\n", "a.toml:3", "duplicate key `wal`"),
    ("a.toml", "wal.enabled = true\nwal.enabled = false\n", "a.toml:2", "duplicate key `enabled`"),
    ("a.toml", "wal = { enabled = true, \"enabled\" = false }\n", "a.toml:1", "duplicate key `\"enabled\"`"),
    ("a.yaml", "snapshot:\n  keep_count: 3\n  max_snapshots: 3\n", "a.yaml:3",
        "`snapshot.max_snapshots` is already set by a.yaml:2"),
    ("a.yaml", "persistence:\n  wal:\n    enabled: true\nwal:\n  enabled: true\n", "a.yaml:5",
        "both spellings mean `persistence.wal.enabled`"),
    ("a.yaml", "persistence:\n  wal:\n    fsync_mod: always\n", "a.yaml:3",
        "unknown key `persistence.wal.fsync_mod`; the nearest known one is `persistence.wal.fsync_mode`"),
    ("a.yaml", "persistance:\n  wal:\n    x: 1\n", "a.yaml:1", "the nearest known one is `persistence`"),
    ("a.toml", "[wal]\nconservativ_mode = true\n", "a.toml:2",
        "nearest known one is `wal.conservative_mode`"),
    ("a.toml", "[wal]\ndir = 1979-05-27\n", "a.toml:2", "`wal.dir` is the date 1979-05-27"),
    ("a.toml", "[[wal]]\ndir = \"x\"\n", "a.toml:1", "`wal` is a list where a section is expected"),
    ("a.toml", "[wal]\ncompression_algorithm = \"lz4\"\n", "a.toml:2", "write \"zstd\", the only choice"),
    ("a.toml", "[wal]\ncompression_level = 23\n", "a.toml:2", "write a whole number from 1 to 22"),
    ("a.toml", "[wal]\nbuffer_size = \"8XB\"\n", "a.toml:2", "write a size from 4 KiB to 64 MiB"),
    ("a.toml", "[wal]\nbuffer_size = \"65MB\"\n", "a.toml:2", "`wal.buffer_size` is \"65MB\""),
    ("a.toml", "[wal]\nfsync_every_n = 0\n", "a.toml:2",
        "write a whole number from 1 to 1000000000 (writes)"),
    ("a.toml", "[wal]\nfsync_every_n = 999999999999999999999\n", "a.toml:2",
        "`wal.fsync_every_n` is 999999999999999"),
    ("a.toml", "[wal]\nfsync = true\nfsync_mode = \"always\"\n", "a.toml:2",
        "already says when the log is synced"),
    ("a.toml", "[wal]\npath = \"a.wal\"\ndir = \"b\"\n", "a.toml:3",
        "(a.toml:2) already says where the log lives"),
    ("a.toml", "[wal]\nbuffer_size_kb = 64\nbuffer_size = 65536\n", "a.toml:3",
        "already says the size of the batch buffer"),
    ("a.toml", "[wal]\nfsync_mode = \"periodic\"\nfsync_every_n = 1\n", "a.toml:3", "say fsync_mode: always"),
    ("a.toml", "[wal]\nmax_size_mb = 1\nbuffer_size = \"1MB\"\n", "a.toml:3",
        "1 MiB is more than half a segment of 1 MiB"),
    ("a.toml", "[wal]\nmax_size_mb = 1025\n", "a.toml:2", "write a whole number from 1 to 1024 (MiB)"),
    ("a.yaml", "wal: { max_size_mb: 0 }\n", "a.yaml:1", "`wal.max_size_mb` is 0"),
    ("a.yaml", "wal: { max_size_mb: 1 }\nkv_store:\n  max_value_size_bytes: 524289\n", "a.yaml:3",
        "524289 bytes is more than half a segment of 1 MiB"),
    ("a.yaml", "kv_store:\n  max_value_size_bytes: 16777216\n", "a.yaml:2",
        "write a size from 1 byte to 15 MiB"),
    ("a.yaml", "wal:\n  path: ./data/wal/\n", "a.yaml:2", "to name a directory, use `persistence.wal.dir`"),
    ("a.yaml", "wal:\n  path: ..\n", "a.yaml:2", "is no file name"),
    ("a.yaml", "wal:\n  path: .wal\n", "a.yaml:2", "is no file name"),
    ("a.yaml", "wal:\n  path: a b.wal\n", "a.yaml:2", "is no file name"),
    ("a.yaml", "wal:\n  path: \"\"\n", "a.yaml:2", "`wal.path` is \"\""),
    ("a.yaml", "wal:\n  path: \"a\\0b\"\n", "a.yaml:2", "write a path"),
    ("a.yaml", "snapshot:\n  directory: ./data/./wal\n", "a.yaml:2",
        "is also the place of `persistence.wal.path`"),
    ("a.yaml", "wal: {dir: w}\nsnapshot:\n  directory: w/shard-0\n", "a.yaml:3", "of `persistence.wal.dir`"),
    ("a.yaml", "server:\n  host: 0.0.0.0\n", "a.yaml:2", "0.0.0.0 is refused: without users"),
    ("a.yaml", "resp3:\n  host: 10.0.0.1\n", "a.yaml:2", "10.0.0.1 is refused: without users"),
    ("a.yaml", "server:\n  host: db.example\n", "a.yaml:2", "write an IP address or localhost"),
    ("a.yaml", "server:\n  port: 65536\n", "a.yaml:2", "write a whole number from 0 to 65535"),
    ("a.yaml", "server:\n  port: 6379\nresp3:\n  port: 6379\n", "a.yaml:4", "is also where `server.port` listens"),
    ("a.yaml", "wal:\n  max_total_mb: 64\n", "a.yaml:2", "64 MiB is less than 8 segments of 64 MiB"),
    ("a.yaml", "events:\n  keep: 30 days\n", "a.yaml:2", "`events.keep` is \"30 days\""),
    ("a.yaml", "engine:\n  shard_count: 0\n", "a.yaml:2", "`engine.shard_count` is 0"),
    ("a.yaml", "auth:\n  enabled: true\n", "a.yaml:2", "there are no users"),
    ("a.yaml", "auth:\n  require_auth: true\n", "a.yaml:2", "there are no users"),
    ("a.yaml", "auth:\n  users: { ann: hunter2 }\n", "a.yaml:2", "user 1): this is no argon2id hash"),
    ("a.yaml", "resp3:\n  users: hunter2\n", "a.yaml:2", "does not name users"),
    ("a.yaml", "resp3:\n  users: [hunter2]\n", "a.yaml:2", "does not name users"),
    ("a.toml", "[server.users]\nann = \"hunter2\"\n", "a.toml:1", "user 1): this is no argon2id hash"),
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
        assert!(
            said.contains("; ") && said.lines().count() == 1,
            "one line says what is wrong and what to do: {said}"
        );
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
        ("STRANDLINE_CONFG", "x", "the nearest known one is STRANDLINE_CONFIG"),
        ("STRANDLINE_DATADIR", "x", "the nearest known one is STRANDLINE_DATA_DIR"),
        ("STRANDLINE_data_dir", "x", "the nearest known one is STRANDLINE_DATA_DIR"),
        ("STRANDLINE_", "x", "unknown variable"),
        ("STRANDLINE_DATA_DIR", "", "is empty"),
        ("STRANDLINE_WAL__FSYNC_MODE", "sometimes", "write always, periodic or never"),
        ("STRANDLINE_WAL__FSYNC_INTERVAL_MS", "-1", "write a whole number from 1 to 60000 (ms)"),
        ("STRANDLINE_WAL__ENABLED", "1", "write true or false"),
        ("STRANDLINE_SERVER__HOST", "0.0.0.0", "without users"),
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
        (Flags { resp: text("192.168.0.1:6379"), ..Flags::default() }, "flag --resp", "without users"),
    ] {
        let error = without_file(&flags, &[]).expect_err(place);
        assert_eq!(error.problems()[0].place(), place);
        assert!(error.to_string().contains(words), "{place}: {error}");
    }
}

#[test]
fn a_file_of_another_kind_is_not_reported_line_by_line() {
    let text: String = (0..100).map(|n| format!("key_{n}: 1\n")).collect();
    let error = Given::file("a.yaml", text).load(Flags::default(), &[]).unwrap_err();
    assert_eq!(error.problems().len(), 50);
}
