//! Which source wins, and which of two keys for one thing.

use super::*;

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

#[test]
fn a_flag_is_stronger_than_a_variable_for_one_thing() {
    let flags = Flags { fsync_mode: Some("never".into()), ..Flags::default() };
    let loaded = without_file(&flags, &[("STRANDLINE_WAL__FSYNC", "true")]).unwrap();
    assert_eq!(loaded.config.wal.fsync_mode, FsyncMode::Never);
    let over = loaded.settings.at("wal.fsync_mode").and_then(|setting| setting.over.clone());
    assert_eq!(over, Some(Origin::Env("STRANDLINE_WAL__FSYNC".into())));
}
