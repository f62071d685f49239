//! `archive import` and `archive now`: what other systems and archives hold comes into a data directory, once, exactly, or not at
//! all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use strandline::archive::{self, Entry, Header, Payload, Stamp, encode_fields};
use strandline::{Lsn, Millis};
use tempfile::tempdir;

use crate::events::lines;
use crate::process::{Server, binary, outcome, server};

fn fixtures(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/archives/sneldb-v1").join(place)
}

fn import(data: &Path, from: &[&Path], flags: &[&str]) -> Command {
    let mut command = binary(data, &["archive", "import"]);
    command.args(from).args(flags);
    command
}

/// Runs an import to its end: exit code, standard output, standard error.
fn imported(data: &Path, from: &[&Path], flags: &[&str]) -> (i32, String, String) {
    let (code, out, err) = outcome(&mut import(data, from, flags));
    (code.expect("a code"), out, err)
}

fn last(out: &str) -> &str {
    out.lines().last().unwrap_or_default()
}

/// Events by what they say: (ms, context, type, id, payload), in the order of each context.
type Said = BTreeMap<String, Vec<(i64, String, Value, Value)>>;

fn said<'v>(events: impl IntoIterator<Item = &'v Value>) -> Said {
    let mut all = Said::new();
    for event in events {
        let text = |name: &str| event[name].as_str().expect("text").to_owned();
        let time = match (&event["timestamp"], &event["time_ms"]) {
            (_, Value::Number(ms)) => ms.as_i64().expect("ms"),
            (Value::Number(seconds), _) => seconds.as_i64().expect("seconds") * 1000,
            (time, _) => {
                time.as_str().expect("text").parse::<jiff::Timestamp>().expect("a time").as_millisecond()
            }
        };
        let one = (time, text("event_type"), event["event_id"].clone(), event["payload"].clone());
        all.entry(text("context_id")).or_default().push(one);
    }
    all
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The lines of SnelDB's logs, in order of shards and log ids.
fn fixture_events() -> Vec<Value> {
    let logs = [(0, "00001"), (0, "00002"), (0, "00003"), (0, "00004"), (0, "123456"), (1, "00001")];
    let read = |(shard, log)| {
        fs::read_to_string(fixtures(&format!("wal/shard-{shard}/wal-{log}.log"))).expect("there")
    };
    logs.map(read).iter().flat_map(|text| json_lines(text)).collect()
}

#[test]
fn logs_and_archives_of_sneldb_come_in_exactly_and_once() {
    let events = fixture_events();
    let count = events.len();
    for shards in ["1", "3"] {
        let data = tempdir().expect("a directory");
        let import = |from: &str, flags: &[&str]| {
            let mut command = import(data.path(), &[&fixtures(from)], flags);
            let (code, out, err) = outcome(command.env("STRANDLINE_SHARDS", shards));
            assert_eq!((code, &*err), (Some(0), ""), "{out}");
            out
        };
        let out = import("wal", &[]);
        assert_eq!(last(&out), format!("{count} events imported"), "{out}");
        assert!(out.contains("shard-0/wal-00001.log: 1000 events imported\n"), "{out}");
        assert!(out.find("wal-00004").expect("there") < out.find("wal-123456").expect("there"), "{out}");

        // What an archive holds is what its log holds.
        let again = format!("0 events imported, {count} were imported before");
        for from in ["wal", "archived"] {
            assert_eq!(last(&import(from, &[])), again, "{from}");
        }
        let mut command = server(data.path());
        command.env("STRANDLINE_SHARDS", shards);
        let running = Server::from(command);
        let served = lines(&running, "");
        assert_eq!(said(&served), said(&events), "with {shards} shards");
        if shards == "1" {
            let inputs = events.iter().map(|event| &event["event_id"]);
            assert!(served.iter().map(|line| &line["event_id"]).eq(inputs), "in the order of the files");
        }
        assert_eq!(lines(&running, "?type=empty_ids").len(), 1);
        let marks = lines(&running, "?type=log.imported");
        assert!(marks.iter().any(|mark| mark["payload"]["source"] == "wal-123456.log"), "{marks:?}");
        running.stop();

        if shards == "1" {
            assert_eq!(last(&import("archived", &["--again"])), format!("{count} events imported"));
            assert_eq!(said(&lines(&Server::start(data.path()), "")).values().flatten().count(), 2 * count);
        }
    }
}

#[test]
fn what_a_server_archived_or_printed_comes_into_another_one_the_same() {
    let (first, second, third) =
        (tempdir().expect("a directory"), tempdir().expect("a directory"), tempdir().expect("a directory"));
    let server = Server::start(first.path());
    let typed = json!({"event_type": "typed", "context_id": "c", "timestamp": 1_700_000_000_123_u64,
        "event_id": u64::MAX, "payload": {"raw": {"$bytes": "AP8="}, "at": {"$time": "2023-11-14T22:13:20.25Z"},
            "big": u64::MAX, "list": [1, null, {"x": -0.5}], "not": {"$float": "NaN"}}});
    let plain = json!({"event_type": "plain", "context_id": "c", "payload": {}});
    assert_eq!(server.post("/events", &format!("{typed}\n{plain}")).0, 200);
    let served = lines(&server, "");
    assert_eq!(server.ask("SET k v"), "OK");
    let refused = imported(first.path(), &[&fixtures("wal")], &[]);
    assert!(refused.0 == 1 && refused.2.contains("stop that one"), "in use: {}", refused.2);
    let (code, _, err) = outcome(&mut binary(first.path(), &["archive", "now"]));
    assert!(code == Some(1) && err.contains("curl -X POST http://127.0.0.1:15500/archives/now"), "{err}");
    server.stop();

    let (code, out, err) = outcome(&mut binary(first.path(), &["archive", "now"]));
    assert!(code == Some(0) && out.starts_with("1 segments are in archives, "), "{out} {err}");
    let (code, out, err) = outcome(&mut binary(first.path(), &["archive", "now"]));
    assert!(
        code == Some(0) && out.starts_with("1 segments are in archives, "),
        "nothing is new: {out} {err}"
    );
    let archives = first.path().join("archives");
    let (code, out, err) = imported(second.path(), &[&archives], &[]);
    assert_eq!((code, &*out), (1, ""));
    assert!(
        err.contains("entry 3: \"kv.set\" is a type that is the server's own; nothing was stored"),
        "{err}"
    );
    assert!(lines(&Server::start(second.path()), "").is_empty());
    let (code, out, err) = imported(second.path(), &[&archives], &["--events-only"]);
    assert_eq!((code, last(&out), &*err), (0, "2 events imported, 1 of the server's own left out", ""));
    let server = Server::start(second.path());
    let copied = lines(&server, "");
    assert_eq!(said(&copied), said(&served));
    assert_eq!(server.ask("GET k"), "nil");
    drop(server);

    let printed: Vec<String> = copied.iter().map(Value::to_string).collect();
    let file = third.path().join("printed.jsonl");
    fs::write(&file, printed.join("\r\n\n")).expect("written");
    assert_eq!(imported(third.path(), &[&file], &[]).0, 0);
    assert_eq!(said(&lines(&Server::start(third.path()), "")), said(&served));
}

/// SnelDB's configuration means SnelDB's directories, where our log would put SnelDB's files aside.
#[test]
fn logs_that_lie_where_the_server_has_its_own_are_left_alone() {
    let data = tempdir().expect("a directory");
    let place = data.path().join("data/wal/shard-0");
    fs::create_dir_all(&place).expect("made");
    let log = place.join("wal-00003.log");
    fs::copy(fixtures("wal/shard-0/wal-00003.log"), &log).expect("copied");
    let config = data.path().join("sneldb.toml");
    fs::write(&config, "[wal]\ndir = \"data/wal\"\n").expect("written");
    let import = |from: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_std-server"));
        let words = ["archive", "import", "--config", "sneldb.toml", from];
        outcome(command.args(words).current_dir(data.path()))
    };
    for from in ["data/wal", "data/wal/shard-0", "data/wal/shard-0/wal-00003.log"] {
        let (code, out, err) = import(from);
        assert_eq!((code, &*out), (Some(1), ""), "{err}");
        assert!(err.contains("wal-00003.log is in the directory of this server's own log"), "{err}");
        assert!(log.exists() && !place.join("LOCK").exists(), "nothing was touched");
    }
    fs::rename(data.path().join("data"), data.path().join("old")).expect("moved");
    let (code, out, err) = import("old/wal");
    assert_eq!((code, last(&out)), (Some(0), "1 events imported"), "{err}");
}

fn event(number: u64) -> String {
    format!(
        r#"{{"timestamp":{},"context_id":"c{}","event_type":"n","payload":{{"n":{number},"filler":"{}"}},"event_id":{number}}}"#,
        1_700_000_000 + number,
        number % 7,
        "x".repeat(500)
    ) + "\n"
}

fn numbers(server: &Server) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        lines(server, "").iter().map(|line| line["payload"]["n"].as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_log_that_has_grown_brings_what_is_new() {
    let data = tempdir().expect("a directory");
    let file = data.path().join("wal-00005.log");
    let text: String = (0..10).map(event).collect();
    fs::write(&file, &text).expect("written");
    assert_eq!(last(&imported(data.path(), &[&file], &[]).1), "10 events imported");
    fs::write(&file, text.clone() + &event(10)).expect("written");
    assert_eq!(last(&imported(data.path(), &[&file], &[]).1), "1 events imported, 10 were imported before");
    let empty = data.path().join("wal-00006.log");
    fs::write(&empty, "").expect("written");
    assert_eq!(last(&imported(data.path(), &[&empty], &[]).1), "0 events imported");
    // The same events under another name; other events under the same name.
    let copy = data.path().join("copy.jsonl");
    fs::copy(&file, &copy).expect("copied");
    let out = imported(data.path(), &[&copy, &file], &[]).1;
    assert_eq!(last(&out), "0 events imported, 22 were imported before");
    fs::write(&file, event(11)).expect("written");
    fs::write(&copy, event(11)).expect("written");
    let out = imported(data.path(), &[&copy, &file], &[]).1;
    assert_eq!(last(&out), "1 events imported, 1 were imported before", "also in one command");
    assert_eq!(numbers(&Server::start(data.path())), (0..12).collect::<Vec<_>>());
}

#[test]
fn an_import_that_broke_off_is_finished_by_the_next_one() {
    for (shards, count) in [("1", 20_000), ("4", 5000)] {
        let text: String = (0..count).map(event).collect();
        let data = tempdir().expect("a directory");
        let [small, file] = ["a.jsonl", "b.jsonl"].map(|name| data.path().join(name));
        fs::write(&file, &text).expect("written");
        fs::write(&small, event(count)).expect("written");
        if shards == "1" {
            // The log may not grow enough.
            let mut full = import(data.path(), &[&file], &[]);
            full.env("STRANDLINE_WAL__MAX_TOTAL_MB", "8").env("STRANDLINE_WAL__ON_MAX_TOTAL", "refuse");
            let (code, out, err) = outcome(&mut full);
            assert_eq!((code, &*out), (Some(1), ""), "{err}");
            assert!(err.contains("no space") && err.contains("the next import goes on behind them"), "{err}");
        }

        // Killed at any moment behind the first file.
        let mut killed = import(data.path(), &[&small, &file], &[]);
        let mut child = killed.env("STRANDLINE_SHARDS", shards).spawn().expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert!(lines.next().expect("a line").expect("text").ends_with("a.jsonl: 1 events imported"));
        child.kill().expect("killed");
        child.wait().expect("ended");

        let mut rest = import(data.path(), &[&small, &file], &[]);
        let (code, out, err) = outcome(rest.env("STRANDLINE_SHARDS", shards));
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("a.jsonl: 0 events imported, 1 were imported before"), "{out}");
        let counts: Vec<u64> = last(&out).split(' ').filter_map(|word| word.parse().ok()).collect();
        assert_eq!(counts.iter().sum::<u64>(), count + 1, "{out}");
        assert!(shards != "1" || counts[1] > 1000, "{out}");
        let mut command = server(data.path());
        command.env("STRANDLINE_SHARDS", shards);
        assert_eq!(numbers(&Server::from(command)), (0..=count).collect::<Vec<_>>(), "{shards} shards");
    }
}

#[test]
fn what_is_bad_is_named_and_nothing_of_the_import_is_stored() {
    let data = tempdir().expect("a directory");
    let place = |name: &str| data.path().join(name);
    let good = place("good.jsonl");
    fs::write(&good, event(0)).expect("written");
    let (head, line) = (event(1), event(2));
    let line = line.trim_end();
    let too_large = line.replace("filler\":\"", &format!("filler\":\"{}", "y".repeat(1 << 20)));
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("torn", line.as_bytes()[..40].to_vec(), "line 2: EOF while parsing"),
        ("glued", [line, line].concat().into_bytes(), "line 2: trailing characters"),
        (
            "not UTF-8",
            [&line.as_bytes()[..30], b"\xff\xfe", &line.as_bytes()[30..]].concat(),
            "line 2: it is not UTF-8",
        ),
        ("no event", b"{\"gap\":{}}".to_vec(), "line 2: unknown field `gap`"),
        ("zeros", vec![0; 4096], "line 2: expected value"),
        (
            "year",
            line.replace("1700000002", "9999999999999999").into_bytes(),
            "line 2: timestamp 9999999999999999",
        ),
        ("large", too_large.into_bytes(), "line 2: the event takes"),
    ];
    for (what, bad, why) in &cases {
        let file = place("bad.jsonl");
        fs::write(&file, [head.as_bytes(), bad, b"\n", event(3).as_bytes()].concat()).expect("written");
        let (code, out, err) = imported(data.path(), &[&good, &file], &[]);
        assert_eq!((code, &*out), (4, ""), "{what}: {err}");
        assert!(
            err.contains(&format!("bad.jsonl {why}")) && err.contains("nothing was stored"),
            "{what}: {err}"
        );
    }
    let server = Server::start(data.path());
    assert!(lines(&server, "").is_empty());
    server.stop();
    // The last one once more, on purpose.
    let (code, out, err) = imported(data.path(), &[&good, &place("bad.jsonl")], &["--skip-bad"]);
    assert_eq!((code, last(&out)), (4, "3 events imported, 1 bad left out"), "{err}");
    assert!(err.contains("bad.jsonl line 2: the event takes"), "{err}");
    assert_eq!(numbers(&Server::start(data.path())), [0, 1, 3]);

    let many = place("many.jsonl");
    fs::write(&many, "x\n".repeat(1000)).expect("written");
    let (code, _, err) = imported(data.path(), &[&many], &[]);
    assert_eq!((code, err.lines().count()), (4, 11), "it does not go on for ever: {err}");
    assert_eq!(imported(data.path(), &[&many], &["--skip-bad"]).2.lines().count(), 1000, "all are named");
    for (missing, code) in [("nowhere.log", 3), ("empty", 3)] {
        fs::create_dir_all(place("empty")).expect("made");
        assert_eq!(imported(data.path(), &[&place(missing)], &[]).0, code, "{missing}");
    }
    assert_eq!(imported(data.path(), &[&good], &["--archive-dir", "x"]).0, 2);
    assert_eq!(imported(data.path(), &[], &[]).0, 2);
}

#[test]
fn archives_that_are_not_what_they_should_be_stay_out() {
    let data = tempdir().expect("a directory");
    let shard = data.path().join("old/shard-0");
    fs::create_dir_all(&shard).expect("made");
    let of_fixture = |name: &str| fs::read(fixtures("archived/shard-0").join(name)).expect("there");
    let (first, second) =
        ("wal-00001-1700000000-1700003600.wal.zst", "wal-00002-1700003600-1700005099.wal.zst");
    let third = "wal-00003-1700009000-1700009000.wal.zst";
    fs::write(shard.join(third), of_fixture(third)).expect("written");
    fs::write(shard.join("notes.txt"), "foreign").expect("written");
    let payload = encode_fields([("n", archive::Value::Unsigned(1))]);
    let ours = |directory: &Path, shard: u32| {
        let header = Header { shard, log: strandline::LogId(9), ..Header::EMPTY };
        let entry = |lsn: u64| Entry {
            timestamp: 1_700_000_000,
            context: "c",
            event_type: "t",
            payload: Payload::Map(&payload),
            event_id: lsn,
            stamp: Stamp { lsn: Lsn(lsn), time: Millis(1_700_000_000_777), commit: Millis(0) },
        };
        archive::write(directory, &header, archive::Writing::default(), |take| {
            (1..=100).try_for_each(|lsn| take(&entry(lsn)))
        })
        .expect("written")
    };
    let made = ours(&shard, 0);
    let whole = fs::read(&made).expect("there");
    let cut = of_fixture(second);
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 5] = [
        (second, cut[..cut.len() - 40].to_vec(), "is damaged"),
        (second, Vec::new(), "is damaged"),
        (second, of_fixture(first), "does not belong there: it is wal-00001-"),
        ("wal-00009-1700000000-1700000000.wal.zst", flipped(whole.len() / 3), "is damaged"),
        ("wal-00009-1700000000-1700000000.wal.zst", flipped(0), "is damaged"),
    ];
    for (name, bytes, why) in cases {
        fs::write(shard.join(name), bytes).expect("written");
        let (code, out, err) = imported(data.path(), &[&data.path().join("old")], &[]);
        assert_eq!((code, &*out), (4, ""), "{name}: {err}");
        assert!(err.contains(why) && err.contains(name) && err.contains("nothing was stored"), "{err}");
        assert!(err.contains("Note: ") && err.contains("notes.txt is neither"), "{err}");
        fs::remove_file(shard.join(name)).expect("removed");
    }
    let elsewhere = data.path().join("old/shard-1");
    fs::create_dir(&elsewhere).expect("made");
    fs::write(shard.join(second), &cut[..100]).expect("written");
    ours(&elsewhere, 0);
    let (code, out, err) = imported(data.path(), &[&data.path().join("old")], &["--skip-bad"]);
    assert!(err.contains("it is of shard 0, not of shard 1"), "{err}");
    assert_eq!((code, last(&out)), (4, "1 events imported, 2 bad left out"), "{err}");
    assert!(out.contains(&format!("{second}: damaged, left out")), "{out}");

    ours(&shard, 0);
    assert_eq!(imported(data.path(), &[&shard.join("wal-00009-1700000000-1700000000.wal.zst")], &[]).0, 0);
    let served = lines(&Server::start(data.path()), "?context=c");
    assert_eq!((served.len(), &served[0]["timestamp"]), (100, &json!("2023-11-14T22:13:20.777Z")));
}
