//! `wal_archive_manager` and `std-server archive` from outside: SnelDB's lines to the byte, what is damaged or missing by name and
//! exit code, and nothing lost on the way into other formats and back.

#[path = "archive_manager/surroundings.rs"]
mod surroundings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use strandline::archive::{
    self, Archive, Entry, Header, OwnedEntry, Payload, Prologue, Range, Stamp, Value, json,
};
use strandline::core::types::LogId;
use strandline::{Lsn, Millis, StoreId};
use tempfile::{TempDir, tempdir};

const FIRST: &str = "wal-00001-1700000000-1700003600.wal.zst";
const EDGES: &str = "wal-00004-0-1700000005.wal.zst";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/archives/sneldb-v1")
}

/// A directory that looks as the one in which the fixtures were made.
fn workplace() -> TempDir {
    let place = tempdir().unwrap();
    copy(&fixtures(), place.path());
    fs::write(place.path().join("sneldb.toml"), "[wal]\ndir = \"wal\"\narchive_dir = \"archived\"\n")
        .unwrap();
    place
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::write(target, fs::read(path).unwrap()).unwrap() }
    }
}

struct Said {
    exit: i32,
    out: String,
    err: String,
}

fn run(program: &str, place: &Path, words: &[&str]) -> Said {
    let output =
        Command::new(program).args(words).current_dir(place).env("SNELDB_CONFIG", "sneldb").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { exit: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn manager(place: &Path, words: &[&str]) -> Said {
    run(env!("CARGO_BIN_EXE_wal_archive_manager"), place, words)
}

fn server(place: &Path, words: &[&str]) -> Said {
    run(env!("CARGO_BIN_EXE_std-server"), place, &[&["archive"], words].concat())
}

fn expected(name: &str) -> String {
    fs::read_to_string(fixtures().join("expected").join(name)).unwrap()
}

fn entries(path: &Path) -> Vec<OwnedEntry> {
    Archive::open(path).unwrap().entries(Range::ALL).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn sneldbs_words_print_what_sneldb_prints() {
    let place = workplace();
    let first = format!("archived/shard-0/{FIRST}");
    let cases: [(&[&str], &str, i32); 5] = [
        (&["list", "0"], "list-0.txt", 0),
        (&["list", "7"], "list-empty.txt", 0),
        (&["info", &first], "info.txt", 0),
        (&["recover", "0"], "recover.txt", 0),
        (&["export", &first, "export.json"], "export.txt", 0),
    ];
    for (words, file, exit) in cases {
        let said = manager(place.path(), words);
        assert_eq!((said.out, said.exit), (expected(file), exit), "{words:?} {}", said.err);
    }
    assert_eq!(fs::read_to_string(place.path().join("export.json")).unwrap(), expected("export.json"));
    let missing = manager(place.path(), &["info", "nope.zst"]);
    assert_eq!((missing.err, missing.exit), (expected("info-missing.txt"), 1));
}

#[test]
fn wrong_arguments_end_with_1_and_a_word() {
    let place = workplace();
    let usage = expected("usage.txt");
    let none = manager(place.path(), &[]);
    assert_eq!(none.exit, 1);
    assert!(none.out.starts_with(&usage), "{}", none.out);
    assert_eq!(manager(place.path(), &["help"]).exit, 0);
    let cases: [(&[&str], &str); 6] = [
        (&["frobnicate"], "Error: Unknown command 'frobnicate'\n"),
        (&["list"], "Error: Missing shard_id argument\n"),
        (&["export", "x"], "Error: Missing archive_path or output_path argument\n"),
        (&["list", "-1"], "Error: "),
        (&["list", "x"], "Error: Invalid shard_id: \"x\"\n"),
        (&["archive", "0", "1.5"], "Error: Invalid log_id: \"1.5\"\n"),
    ];
    for (words, begins) in cases {
        let said = manager(place.path(), words);
        assert_eq!(said.exit, 1, "{words:?}");
        assert!(said.err.starts_with(begins), "{words:?}: {}", said.err);
    }
    assert_eq!(server(place.path(), &["list", "x"]).exit, 2);
    assert_eq!(server(place.path(), &["info", "nope.zst"]).exit, 3);
    assert_eq!(server(place.path(), &["verify", "nope"]).exit, 3);
    assert_eq!(server(place.path(), &["grep", "0"]).exit, 2);
    assert_eq!(server(place.path(), &["cat", "0", "--lsn", "5"]).exit, 2, "SnelDB's archives have no LSNs");
}

#[test]
fn an_archive_of_a_log_holds_what_sneldbs_holds_to_the_byte() {
    let place = workplace();
    let to = ["--archive-dir", "made"];
    for log in ["1", "2", "3", "4", "123456"] {
        let said = manager(place.path(), &["archive", "0", log, to[0], to[1]]);
        assert_eq!(said.exit, 0, "{}", said.err);
        assert!(said.out.starts_with(&format!(
            "Archiving WAL log {log} for shard 0...\nSuccessfully archived to: made/shard-0/wal-"
        )));
    }
    let lines = manager(place.path(), &["archive", "0", "1", to[0], to[1]]).out;
    let (theirs, ours) = (expected("archive.txt"), lines.replace("made/", "archived/"));
    assert_eq!(ours.lines().take(2).collect::<Vec<_>>(), theirs.lines().take(2).collect::<Vec<_>>());
    for (name, path) in archive::list(&place.path().join("archived/shard-0")).unwrap() {
        let made = place.path().join("made/shard-0").join(name.to_string());
        let content = |path: &Path| zstd::decode_all(&fs::read(path).unwrap()[..]).unwrap();
        let (theirs, ours) = (content(&path), content(&made));
        let ((their_header, theirs_from), (our_header, ours_from)) =
            (Prologue::decode(&theirs).unwrap(), Prologue::decode(&ours).unwrap());
        assert_eq!(our_header, Prologue { created: our_header.created, ..their_header });
        assert!(theirs[theirs_from..] == ours[ours_from..], "{name}");
    }
    assert_eq!(server(place.path(), &["verify", "0", to[0], to[1]]).exit, 0);
    let listed = manager(place.path(), &["list", "0", to[0], to[1]]).out;
    let order: Vec<_> = listed.lines().filter(|line| line.contains("| Log ")).collect();
    assert!(order[0].contains("Log 00001") && order[4].contains("Log 123456 | 3 entries"), "{listed}");
}

#[test]
fn a_line_that_is_none_is_named_and_nothing_is_archived() {
    let place = workplace();
    let log = place.path().join("wal/shard-0/wal-00003.log");
    let good = fs::read(&log).unwrap();
    let cases: [(&[u8], &str); 5] = [
        (b"{\"timestamp\":1\n", "line 2: EOF while parsing"),
        (b"\n", "line 2: EOF while parsing"),
        (b"{\"timestamp\":1,\"context_id\":\"\xff\"}\n", "line 2: invalid unicode"),
        (b"{\"timestamp\":1.5,\"context_id\":\"\"}\n", "line 2: invalid type: floating point"),
        (b"[]\n", "line 2: invalid"),
    ];
    for (bad, why) in cases {
        fs::write(&log, [&good[..], bad, &good[..]].concat()).unwrap();
        let said = manager(place.path(), &["archive", "0", "3", "--archive-dir", "made"]);
        assert_eq!(said.exit, 1);
        assert!(said.err.contains(why) && said.err.contains("wal-00003.log"), "{}", said.err);
        assert_eq!(fs::read_dir(place.path().join("made/shard-0")).unwrap().count(), 0);
    }
    fs::write(&log, b"").unwrap();
    assert_eq!(manager(place.path(), &["archive", "0", "3", "--archive-dir", "made"]).exit, 0);
    assert!(entries(&place.path().join("made/shard-0/wal-00003-0-0.wal.zst")).is_empty());
    let missing = manager(place.path(), &["archive", "0", "77", "--archive-dir", "made"]);
    assert_eq!((missing.exit, &*missing.err), (1, "Error: WAL log not found: wal/shard-0/wal-00077.log\n"));
}

#[test]
fn an_archive_is_not_replaced_by_another() {
    let place = workplace();
    let said = manager(place.path(), &["archive", "0", "1"]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("is an archive of SnelDB: it is not replaced"), "{}", said.err);
    manager(place.path(), &["archive", "0", "1", "--archive-dir", "made"]);
    let log = place.path().join("wal/shard-0/wal-00001.log");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replace("1700003600", "1700003601")).unwrap();
    let said = manager(place.path(), &["archive", "0", "1", "--archive-dir", "made"]);
    assert!(said.err.contains("of the same log with other entries: it is not replaced"), "{}", said.err);
}

#[test]
fn what_is_damaged_misplaced_or_foreign_is_named() {
    let place = workplace();
    let shard = place.path().join("archived/shard-0");
    let cut = shard.join("wal-00002-1700003600-1700005099.wal.zst");
    fs::write(&cut, &fs::read(&cut).unwrap()[..40]).unwrap();
    fs::write(shard.join("notes.txt"), "foreign").unwrap();
    let other = "wal-00001-1700000000-1700000009.wal.zst";
    fs::copy(place.path().join("archived/shard-1").join(other), shard.join(other)).unwrap();
    fs::rename(shard.join(EDGES), shard.join("wal-00009-0-1700000005.wal.zst")).unwrap();

    let listed = manager(place.path(), &["list", "0"]);
    assert_eq!(listed.exit, 1);
    assert!(listed.out.contains("Found 3 archive(s)"), "{}", listed.out);
    let named = [
        "Note: archived/shard-0/notes.txt is not an archive",
        "wal-00002-1700003600-1700005099.wal.zst is damaged: ",
        "wal-00009-0-1700000005.wal.zst does not belong there: it is wal-00004-0-1700000005.wal.zst",
        "wal-00001-1700000000-1700000009.wal.zst does not belong there: it is of shard 1, not of shard 0",
    ];
    for words in [["list", "0"], ["recover", "0"], ["verify", "0"]] {
        let said = server(place.path(), &words);
        assert_eq!(said.exit, 4, "{words:?}");
        for line in named {
            assert!(said.err.contains(line), "{words:?} does not say {line}: {}", said.err);
        }
    }
    let recovered = manager(place.path(), &["recover", "0"]);
    assert_eq!(recovered.exit, 1);
    assert!(recovered.out.contains("Recovered 1004 total entries"), "{}", recovered.out);
}

/// Version-1 files that say what is not so, and one that is much larger than it looks.
#[test]
fn archives_that_lie_are_refused() {
    let place = workplace();
    let first = place.path().join("archived/shard-0").join(FIRST);
    let content = zstd::decode_all(&fs::read(first).unwrap()[..]).unwrap();
    // A name that says nothing.
    let path = place.path().join("lies.zst");
    let (_, from) = Prologue::decode(&content).unwrap();
    let head = |count: u8| {
        let mut head = vec![0x92, 0x99, 1, 0, 1, 0, 0, count, 0xa4];
        head.extend(b"zstd\x03\x00\x91");
        head.extend([0xdd, 0, 0, 0, count]);
        head
    };
    let entry = |timestamp: u8| [0x95, timestamp, 0xa0, 0xa0, 0x80, 0];
    let good = [&head(1)[..], &entry(0)].concat();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("fewer", [&head(2)[..], &entry(0)].concat(), "it ends 1 entries early"),
        ("more", [&head(1)[..], &entry(0), &entry(0)].concat(), "bytes follow its last entry"),
        ("times", [&head(1)[..], &entry(7)].concat(), "its entries are not those that its header counts"),
        ("cut", content[..content.len() - 1].to_vec(), "it ends 1 entries early"),
        ("no prologue", content[from..].to_vec(), "it is not an archive"),
        // Thirty kilobytes that want to be four gigabytes of one string.
        (
            "bomb",
            [&head(1)[..], &[0x95, 0, 0xdb, 0xff, 0xff, 0xff, 0xff], &vec![b'a'; 64 << 20]].concat(),
            "an entry is too large",
        ),
    ];
    let write = |content: &[u8]| fs::write(&path, zstd::encode_all(content, 3).unwrap()).unwrap();
    write(&good);
    assert_eq!(server(place.path(), &["cat", path.to_str().unwrap()]).exit, 0);
    for (what, content, why) in cases {
        write(&content);
        let said = server(place.path(), &["cat", path.to_str().unwrap()]);
        assert_eq!(said.exit, 4, "{what}: {}", said.err);
        assert!(said.err.contains(why), "{what}: {}", said.err);
    }
    // A file of megabytes that is full of frames of nothing ends, too.
    let many: Vec<u8> =
        core::iter::repeat_n(zstd::encode_all(&b""[..], 1).unwrap(), 100_000).flatten().collect();
    fs::write(&path, many).unwrap();
    assert_eq!(server(place.path(), &["info", path.to_str().unwrap()]).exit, 4);
}

#[test]
fn an_archive_that_is_missing_in_the_middle_is_named_the_oldest_may_go() {
    let place = workplace();
    let directory = place.path().join("made/shard-0");
    fs::create_dir_all(&directory).unwrap();
    let mut paths = vec![];
    for log in 1..=4 {
        let chain = archive::Chain::end(&directory).unwrap();
        let header =
            Header { store: StoreId([5; 16]), log: LogId(log), previous: chain.previous(), ..Header::EMPTY };
        let written = archive::write(&directory, &header, archive::Writing::default(), |take| {
            (1..=10).try_for_each(|at| {
                let stamp =
                    Stamp { lsn: Lsn((log - 1) * 10 + at), time: Millis(log * 1000), commit: Millis(0) };
                take(&Entry::record("pump", stamp, b"x"))
            })
        });
        paths.push(written.unwrap());
    }
    let verify = || server(place.path(), &["verify", "made/shard-0"]);
    assert_eq!(verify().exit, 0);
    fs::remove_file(&paths[0]).unwrap();
    assert_eq!(verify().exit, 0, "the oldest");
    let kept = fs::read(&paths[2]).unwrap();
    fs::remove_file(&paths[2]).unwrap();
    let said = verify();
    let gap = "Error: LSN 21 to 30 are missing between wal-00002-2-2.wal.zst and wal-00004-4-4.wal.zst";
    assert_eq!(said.exit, 5);
    assert!(said.err.contains(gap) && said.err.contains("Note: log 3 has no archive"), "{}", said.err);
    let recovered = server(place.path(), &["recover", "0", "--archive-dir", "made"]);
    assert_eq!(recovered.exit, 5);
    assert!(recovered.err.contains(gap), "{}", recovered.err);

    fs::write(&paths[2], kept).unwrap();
    assert_eq!(verify().exit, 0);
    let header = Header { store: StoreId([5; 16]), log: LogId(3), ..Header::EMPTY };
    let replaced = archive::write(&directory, &header, archive::Writing::default(), |take| {
        (21..=30).try_for_each(|lsn| {
            take(&Entry::record("pump", Stamp { lsn: Lsn(lsn), time: Millis(3000), commit: Millis(0) }, b"y"))
        })
    });
    replaced.unwrap();
    let said = verify();
    assert_eq!(said.exit, 5);
    assert!(said.err.contains("wal-00003-3-3.wal.zst was replaced"), "{}", said.err);
}

#[test]
fn what_is_recovered_archived_and_converted_is_the_same() {
    let place = workplace();
    let said = server(place.path(), &["recover", "0", "--to", "recovered"]);
    assert_eq!(said.exit, 0, "{}", said.err);
    let again = server(place.path(), &["recover", "0", "--to", "recovered"]);
    assert_eq!(again.exit, 1);
    assert!(again.err.contains("is there already"), "{}", again.err);
    let converted = server(place.path(), &["convert", "archived/shard-0", "--to", "converted/shard-0"]);
    assert_eq!(converted.exit, 0, "{}", converted.err);
    for (name, path) in archive::list(&place.path().join("archived/shard-0")).unwrap() {
        let log = name.log.0.to_string();
        let words = ["archive", "0", &log, "--wal-dir", "recovered", "--archive-dir", "made"];
        assert_eq!(server(place.path(), &words).exit, 0);
        for other in ["made", "converted"] {
            let other = format!("{other}/shard-0/{name}");
            let said = server(place.path(), &["diff", path.to_str().unwrap(), &other]);
            assert_eq!(said.exit, 0, "{other}: {}", said.out);
        }
    }
    let said =
        server(place.path(), &["diff", &format!("made/shard-0/{FIRST}"), &format!("made/shard-0/{EDGES}")]);
    assert_eq!(said.exit, 1);
    assert!(said.out.ends_with("0 the same, 0 changed, 1000 only left, 8 only right\n"), "{}", said.out);
}

/// One entry with every type that a payload can have.
fn typed(directory: &Path, strict_v1: bool) -> PathBuf {
    let payload = archive::encode_fields([
        ("big", Value::Unsigned(u64::MAX)),
        ("list", Value::Array(vec![Value::Nil, Value::Float(f64::NEG_INFINITY), Value::Signed(-5)])),
        ("map", Value::Map(vec![(Value::Unsigned(1), Value::Bool(true))])),
        ("raw", Value::Bytes(vec![0, 0xff, 0x80])),
        ("when", Value::Time(archive::Timestamp { seconds: 1_700_000_000, nanos: 1 })),
    ]);
    let stamp = Stamp { lsn: Lsn(42), time: Millis(1_700_000_000_123), commit: Millis(1_700_000_000_130) };
    let entry = Entry {
        timestamp: 1_700_000_000,
        context: "a, \"b\"\n",
        event_type: "typed",
        payload: Payload::Map(&payload),
        event_id: u64::MAX,
        stamp,
    };
    let writing = archive::Writing { strict_v1, ..archive::Writing::default() };
    archive::write(directory, &Header::EMPTY, writing, |take| take(&entry)).unwrap()
}

#[test]
fn exports_lose_nothing() {
    let place = workplace();
    let typed = typed(place.path(), false);
    let edges = place.path().join("archived/shard-0").join(EDGES);
    for path in [&typed, &edges] {
        let path_word = path.to_str().unwrap();
        for name in ["out.jsonl", "out.csv", "out.msgpack"] {
            let said = server(place.path(), &["export", path_word, name]);
            assert_eq!(said.exit, 0, "{}", said.err);
        }
        let original = entries(path);
        let text = fs::read(place.path().join("out.jsonl")).unwrap();
        let read: Vec<_> =
            text.split_inclusive(|byte| *byte == b'\n').map(|line| json::line(line).unwrap()).collect();
        assert_eq!(read, original);
        let to_stdout = server(place.path(), &["export", path_word, "-", "--format", "jsonl"]);
        assert_eq!(to_stdout.out.as_bytes(), text);

        let mut table = csv::Reader::from_path(place.path().join("out.csv")).unwrap();
        let rows: Vec<_> = table.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), original.len());
        for (row, entry) in rows.iter().zip(&original) {
            assert_eq!((&row[0], &row[1]), (&*entry.timestamp.to_string(), &*entry.context));
            assert_eq!(json::payload(row[3].as_bytes()).unwrap(), entry.payload);
        }
        let packed = fs::read(place.path().join("out.msgpack")).unwrap();
        let all = [&[0xdc, 0, u8::try_from(original.len()).unwrap()][..], &packed].concat();
        let Value::Array(maps) = Value::decode(&all).unwrap() else { panic!("an array") };
        for (map, entry) in maps.iter().zip(&original) {
            let Value::Map(pairs) = map else { panic!("a map") };
            assert_eq!(pairs[3].1, Value::decode(&entry.payload).unwrap());
        }
    }
    let found = server(place.path(), &["grep", typed.to_str().unwrap(), "--field", "raw", "--lsn", "42"]);
    assert_eq!(found.out.lines().count(), 1);
    for (words, count) in [
        (["--type", "tick"], "1503\n"),
        (["--field", "n=7"], "1\n"),
        (["--field", "sku=sku-594"], "1\n"),
        (["--from", "1700003600"], "1505\n"),
        (["--until", "2023-11-14T22:13:20Z"], "4\n"),
        (["--context", "solo"], "1\n"),
    ] {
        let said = server(place.path(), &["grep", "0", "--count", words[0], words[1]]);
        assert_eq!((&*said.out, said.exit), (count, 0), "{words:?}");
    }
    assert_eq!(server(place.path(), &["grep", "0", "--type", "none"]).exit, 3);
}

#[test]
fn strict_archives_hold_what_sneldbs_reader_takes() {
    let place = tempdir().unwrap();
    let fields = entries(&typed(place.path(), true)).remove(0).fields().unwrap();
    let all_plain = fields.iter().all(|(_, value)| {
        matches!(value, Value::Nil | Value::Bool(_) | Value::Signed(_) | Value::Float(_) | Value::Text(_))
    });
    assert!(all_plain, "{fields:?}");
}

#[test]
fn half_an_export_has_no_name() {
    let place = workplace();
    let path = place.path().join("archived/shard-0").join(FIRST);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 100);
    fs::write(&path, bytes).unwrap();
    let said = manager(place.path(), &["export", path.to_str().unwrap(), "out.json"]);
    assert_eq!(said.exit, 1, "{}", said.err);
    assert!(said.err.contains(FIRST), "{}", said.err);
    assert!(!place.path().join("out.json").exists() && !place.path().join("out.json.tmp").exists());
}

/// A build without it must not write something else under that name.
#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_says_so() {
    let place = workplace();
    let said = server(place.path(), &["export", &format!("archived/shard-0/{FIRST}"), "out.parquet"]);
    assert_eq!((said.exit, &*said.out), (2, ""));
    assert!(
        said.err.contains("--features parquet") && !place.path().join("out.parquet").exists(),
        "{}",
        said.err
    );
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_holds_the_same_rows() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    let place = workplace();
    let shard = place.path().join("archived/shard-0");
    for path in [shard.join(FIRST), shard.join(EDGES), typed(place.path(), false)] {
        let said = server(place.path(), &["export", path.to_str().unwrap(), "out.parquet"]);
        assert_eq!(said.exit, 0, "{}", said.err);
        let file = fs::File::open(place.path().join("out.parquet")).unwrap();
        let file = SerializedFileReader::new(file).unwrap();
        let rows: Vec<_> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        let original = entries(&path);
        assert_eq!(rows.len(), original.len());
        for (row, entry) in rows.iter().zip(&original) {
            assert_eq!(row.get_ulong(0).unwrap(), entry.timestamp);
            assert_eq!(
                (row.get_string(1).unwrap(), row.get_string(2).unwrap()),
                (&entry.context, &entry.event_type)
            );
            let text = row.get_string(3).unwrap();
            assert_eq!(json::payload(text.as_bytes()).unwrap(), entry.payload, "{text}");
            assert_eq!(row.get_ulong(4).unwrap(), entry.event_id);
            let Stamp { lsn, time, commit } = entry.stamp;
            assert_eq!(row.get_ulong(5).unwrap_or(0), lsn.0);
            for (column, millis) in [(6, time), (7, commit)] {
                assert_eq!(row.get_timestamp_millis(column).unwrap_or(0).cast_unsigned(), millis.0);
            }
        }
    }
}

#[test]
fn help_completions_and_pages_are_there() {
    let place = workplace();
    let said = run(env!("CARGO_BIN_EXE_std-server"), place.path(), &["completions", "bash"]);
    assert!(said.exit == 0 && said.out.contains("strict-v1"));
    let said = manager(place.path(), &["completions", "zsh"]);
    assert!(said.exit == 0 && said.out.contains("#compdef wal_archive_manager"));
    assert_eq!(manager(place.path(), &["man", "pages"]).exit, 0);
    let page = fs::read_to_string(place.path().join("pages/wal_archive_manager-verify.1")).unwrap();
    assert!(page.contains("chain of digests"), "{page}");
    for word in [
        "list", "info", "export", "recover", "archive", "verify", "cat", "grep", "convert", "diff", "import",
        "now",
    ] {
        let said = server(place.path(), &[word, "--help"]);
        assert!(said.exit == 0 && said.out.contains("Example"), "{word}: {}", said.out);
    }
}
