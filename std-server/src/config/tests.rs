//! The table of keys agrees with itself and with the flags; the decision table of the sync policy row by row.

use std::collections::BTreeSet;

use clap::Args as _;

use super::keys::{self, Fallback, KEYS, Key, Kind};
use super::nearest::nearest;
use super::toml::read_toml;
use super::tree::{Entry, Raw};
use super::value::{Value, parse};
use super::yaml::read_yaml;
use super::*;

fn text(value: &str) -> Raw {
    Raw::Text(value.to_owned())
}

fn load(env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load(&Flags::default(), env, Path::new("/srv"))
}

#[test]
fn rows_stand_in_the_order_of_their_ids() {
    for (index, key) in KEYS.iter().enumerate() {
        assert_eq!(key.id as usize, index, "{}", key.path);
    }
    assert_eq!(KEYS.len(), keys::Id::RespUsers as usize + 1);
}

#[test]
fn no_two_settings_share_a_spelling_and_no_key_is_a_section() {
    let spellings: Vec<_> = KEYS.iter().flat_map(Key::spellings).collect();
    let distinct: BTreeSet<_> = spellings.iter().collect();
    assert_eq!(distinct.len(), spellings.len());
    for path in spellings {
        assert!(!keys::is_section(path), "{path} is a key and a section");
    }
}

#[test]
fn defaults_are_values_of_their_kind() {
    for key in KEYS {
        let raw = match key.fallback {
            Fallback::Bool(value) => Raw::Bool(value),
            Fallback::Number(value) => Raw::Int(value.into()),
            Fallback::Off => text("off"),
            Fallback::Word(word) => text(word),
            Fallback::Path(path) | Fallback::Below(path) => text(path),
            Fallback::Loopback => text("127.0.0.1"),
            Fallback::Unset => continue,
        };
        assert!(parse(key.kind, &raw).is_ok(), "{}", key.path);
    }
}

#[test]
fn a_variable_leads_back_to_its_key() {
    for path in KEYS.iter().flat_map(Key::spellings) {
        assert_eq!(keys::path_of_variable(&keys::variable(path)).as_deref(), Some(path));
    }
    assert_eq!(keys::variable("persistence.wal.fsync_mode"), "STRANDLINE_PERSISTENCE__WAL__FSYNC_MODE");
    assert_eq!(keys::path_of_variable("STRANDLINE_data_dir"), None);
}

#[test]
fn flags_of_the_table_are_the_flags_of_the_command_line() {
    let command = Flags::augment_args(clap::Command::new("flags"));
    let mut line: BTreeSet<_> = command
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .map(|long| format!("--{long}"))
        .collect();
    assert!(line.remove("--config"), "it names the file and sets nothing");
    let table: BTreeSet<_> = KEYS.iter().filter_map(|key| key.flag).map(str::to_owned).collect();
    assert_eq!(line, table);
}

#[test]
fn limits_of_numbers_are_inside() {
    for key in KEYS {
        let (Kind::Number { min, max, .. } | Kind::NumberOrOff { min, max, .. } | Kind::Size { min, max }) =
            key.kind
        else {
            continue;
        };
        for (number, good) in [
            (i128::from(min), true),
            (i128::from(max), true),
            (i128::from(min) - 1, false),
            (i128::from(max) + 1, false),
        ] {
            assert_eq!(parse(key.kind, &Raw::Int(number)).is_ok(), good, "{} = {number}", key.path);
        }
        assert!(parse(key.kind, &Raw::Int(i128::MAX)).is_err(), "{}", key.path);
        assert!(parse(key.kind, &Raw::Float(1.5)).is_err(), "{}", key.path);
    }
}

#[test]
fn sizes_count_in_1024s() {
    let kind = Kind::Size { min: 1, max: u64::MAX };
    for (given, bytes) in [
        ("512", 512),
        ("512B", 512),
        ("8k", 8 << 10),
        ("64KB", 64 << 10),
        ("8MB", 8 << 20),
        ("8 MiB", 8 << 20),
        (" 2gb ", 2 << 30),
    ] {
        assert_eq!(parse(kind, &text(given)).ok(), Some(Value::Number(bytes)), "{given}");
    }
    for given in
        ["", "MB", "-8MB", "8.5MB", "8TB", "8MB8", "0x10", "99999999999999999999999999999999999999999GB"]
    {
        assert!(parse(kind, &text(given)).is_err(), "{given}");
    }
}

#[test]
fn both_formats_give_the_same_tree() {
    let yaml = "# c\nwal:\n  dir: \"x\"\n  on: true\n\n  n: -5\nf: 1.5\nl: [1]\n";
    let toml = "f = 1.5\nl = [1]\n[wal]\ndir = \"x\"\non = true\nn = -5\n";
    let entry = |key: &str, line, value| Entry { key: key.to_owned(), line, value };
    let wal = |dir, on, n| {
        Raw::Section(vec![
            entry("dir", dir, text("x")),
            entry("on", on, Raw::Bool(true)),
            entry("n", n, Raw::Int(-5)),
        ])
    };
    let (f, l) = (|line| entry("f", line, Raw::Float(1.5)), |line| entry("l", line, Raw::List));
    assert_eq!(read_yaml(yaml), Ok(vec![entry("wal", 2, wal(3, 4, 6)), f(7), l(8)]));
    assert_eq!(read_toml(toml), Ok(vec![f(1), l(2), entry("wal", 3, wal(4, 5, 6))]));
}

#[test]
fn deep_and_swelling_files_are_refused() {
    let deep = |open: &str, close: &str| format!("a: {}{}", open.repeat(100_000), close.repeat(100_000));
    assert!(read_yaml(&deep("[", "]")).is_err());
    assert!(read_yaml(&deep("{a: ", "}")).is_err());
    assert!(read_toml(&format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000))).is_err());
    let laughs: String =
        (1..12).map(|n| format!("l{n}: &l{n} [{}]\n", format!("*l{}, ", n - 1).repeat(9))).collect();
    assert!(read_yaml(&format!("l0: &l0 [x]\n{laughs}")).is_err());
}

#[test]
fn the_nearest_key_is_the_one_that_was_meant() {
    for (given, meant) in [
        ("persistence.wal.fsync_mod", "persistence.wal.fsync_mode"),
        ("persistance.wal.fsync_mode", "persistence.wal.fsync_mode"),
        ("persistance", "persistence"),
        ("fsync_mode", "wal.fsync_mode"),
        ("persistence.interval_secs", "persistence.snapshot.interval_secs"),
        ("snapshot.keep", "snapshot.keep_count"),
        ("server.prot", "server.port"),
        ("resp3.prot", "resp3.port"),
        ("SERVER.PORT", "server.port"),
    ] {
        assert_eq!(nearest(given, keys::known_paths()), Some(meant), "{given}");
    }
}

/// One row a row of the table in `build.rs`, with the variables standing for any one source.
#[test]
fn sync_policy_follows_its_table() {
    use FsyncMode::{Always, Never, Periodic};
    for (fsync_mode, fsync, every_n, expected) in [
        (Some("periodic"), None, Some("1"), None),
        (Some("periodic"), None, Some("8"), Some((Periodic, Some(8)))),
        (Some("periodic"), None, None, Some((Periodic, None))),
        (Some("always"), None, Some("8"), Some((Always, None))),
        (Some("always"), None, Some("1"), Some((Always, None))),
        (Some("never"), None, Some("8"), Some((Never, None))),
        (None, Some("false"), None, Some((Never, None))),
        (None, Some("false"), Some("1"), Some((Never, None))),
        (None, Some("false"), Some("8"), Some((Never, None))),
        (None, None, None, Some((Periodic, None))),
        (None, Some("true"), Some("8"), Some((Periodic, Some(8)))),
        (None, None, Some("8"), Some((Periodic, Some(8)))),
        (None, Some("true"), Some("1"), Some((Always, None))),
        (None, Some("true"), None, Some((Always, None))),
        (None, None, Some("1"), Some((Always, None))),
        (Some("always"), Some("true"), None, None),
    ] {
        let given = [
            ("STRANDLINE_WAL__FSYNC_MODE", fsync_mode),
            ("STRANDLINE_WAL__FSYNC", fsync),
            ("STRANDLINE_WAL__FSYNC_EVERY_N", every_n),
        ];
        let env: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let wal = load(&env).map(|loaded| loaded.config.wal);
        let policy = wal.ok().map(|wal| (wal.fsync_mode, wal.sync_after_writes));
        assert_eq!(policy, expected, "{env:?}");
    }
}

#[test]
fn what_a_spelling_means_is_said() {
    for (env, note) in [
        (
            &[("STRANDLINE_WAL__FSYNC", "true"), ("STRANDLINE_WAL__FSYNC_EVERY_N", "8")][..],
            "persistence.wal.fsync = true (env STRANDLINE_WAL__FSYNC): means fsync_mode periodic: a sync every 10 ms, \
             and also after 8 writes",
        ),
        (
            &[("STRANDLINE_WAL__FSYNC_EVERY_N", "1")],
            "persistence.wal.fsync_every_n = 1 (env STRANDLINE_WAL__FSYNC_EVERY_N): means fsync_mode always",
        ),
        (
            &[("STRANDLINE_WAL__FSYNC", "false"), ("STRANDLINE_WAL__FSYNC_EVERY_N", "8")],
            "persistence.wal.fsync_every_n = 8 (env STRANDLINE_WAL__FSYNC_EVERY_N): has no effect: fsync_mode never does \
             not count writes",
        ),
        (
            &[("STRANDLINE_WAL__FLUSH_EACH_WRITE", "false")],
            "persistence.wal.flush_each_write = false (env STRANDLINE_WAL__FLUSH_EACH_WRITE): changes nothing: every \
             mode acknowledges after the write to the system",
        ),
        (
            &[("STRANDLINE_WAL__COMPRESSION_LEVEL", "9")],
            "persistence.wal.compression_level = 9 (env STRANDLINE_WAL__COMPRESSION_LEVEL): has no effect: archives are \
             written in conservative mode only",
        ),
        (
            &[("STRANDLINE_WAL__CONSERVATIVE_MODE", "true"), ("STRANDLINE_EVENTS__KEEP", "30d")],
            "events.keep = 2592000 (env STRANDLINE_EVENTS__KEEP): has no effect in conservative mode: archives are kept by \
             archive.keep_window",
        ),
        (
            &[("STRANDLINE_WAL__PATH", "/log/a.wal"), ("STRANDLINE_DATA_DIR", "/d")],
            "persistence.wal.path = \"/log/a.wal\" (env STRANDLINE_WAL__PATH): stays at \"/log/a.wal\": data_dir (env \
             STRANDLINE_DATA_DIR) moves only places that are not set",
        ),
    ] {
        let loaded = load(env).unwrap();
        assert!(loaded.notes.iter().any(|line| line == note), "{env:?}: {:#?}", loaded.notes);
    }
    assert_eq!(load(&[]).unwrap().notes, Vec::<String>::new(), "nothing is unexpected about the defaults");
}
