//! Any text, and any well-formed settings: no panic, and what is shown loads again.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
        let env: BTreeMap<_, _> = chosen
            .iter()
            .map(|(variable, value)| (variable.get(VARIABLES), value))
            .map(|((name, values), value)| (format!("STRANDLINE_{name}"), *value.get(values)))
            .collect();
        let env = env.into_iter().map(|(name, value)| (name.into(), value.into()));
        let Ok(loaded) = Config::load(&Flags::default(), env, Path::new(CWD)) else { return Ok(()) };
        let given = Given::file("again.yaml", loaded.show());
        let flags = Flags { config: Some(given.dir.path().join("again.yaml")), ..Flags::default() };
        let again = Config::load(&flags, [], Path::new(CWD)).map(|again| again.config);
        prop_assert_eq!(again, Ok(loaded.config));
    }
}
