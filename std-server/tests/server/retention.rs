//! Archives that go by rules, and those that a hold keeps.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::process::{Server, binary, outcome, server, until};

const DAY_S: u64 = 86_400;

/// A store with four archives whose entries are 100, 60, 10 and 0 days old, covered by two snapshots, and no server.
fn archived(data: &Path) {
    let mut command = server(data);
    command.env("STRANDLINE_WAL__CONSERVATIVE_MODE", "true");
    let server = Server::from(command);
    let now_s: u64 =
        server.ask("TIME").trim_start_matches('[').split(' ').next().expect("s").parse().expect("s");
    for days in [100, 60, 10, 0] {
        let event =
            json!({ "event_type": "t", "context_id": "c", "payload": {}, "timestamp": now_s - days * DAY_S });
        assert_eq!(server.post("/events", &event.to_string()).0, 200);
        assert_eq!(server.post("/archives/now", "").1["success"], true);
    }
    for _ in 0..2 {
        assert_eq!(server.post("/snapshot", "").0, 200);
        let event = json!({ "event_type": "t", "context_id": "c", "payload": {} });
        assert_eq!(server.post("/events", &event.to_string()).0, 200);
    }
    drop(server);
}

fn names(data: &Path) -> Vec<String> {
    let found = fs::read_dir(data.join("archives/shard-0")).expect("archives");
    let mut names: Vec<String> =
        found.map(|entry| entry.expect("an entry").file_name().to_string_lossy()[..9].to_owned()).collect();
    names.sort();
    names
}

fn run(data: &Path, words: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = binary(data, words);
    for (name, value) in settings {
        command.env(format!("STRANDLINE_ARCHIVE__{name}"), value);
    }
    outcome(&mut command)
}

#[test]
fn a_plan_says_why_and_deletes_nothing_and_applying_it_does_what_it_says() {
    let data = tempdir().expect("a directory");
    archived(data.path());
    assert_eq!(names(data.path()), ["wal-00001", "wal-00002", "wal-00003", "wal-00004"]);
    let (code, text, _) = run(data.path(), &["retention"], &[]);
    assert_eq!((code, text.matches("no rule says otherwise").count()), (Some(0), 4), "{text}");

    // File times don't count.
    for entry in fs::read_dir(data.path().join("archives/shard-0")).expect("archives") {
        let file = fs::File::options().append(true).open(entry.expect("an entry").path()).expect("a file");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("old");
    }
    let window = [("KEEP_WINDOW", "30d")];
    let (code, text, _) = run(data.path(), &["retention", "plan"], &window);
    let rows: Vec<&str> = text.lines().map(|line| line.split(' ').next().expect("a word")).collect();
    assert_eq!((code, rows), (Some(0), vec!["release", "release", "keep", "keep", "2"]), "{text}");
    assert_eq!(names(data.path()).len(), 4, "a plan deletes nothing");

    let hold = ["hold", "add", "audit", "--reason", "case 7", "--last", "1", "--expires", "7d"];
    assert_eq!(run(data.path(), &hold, &[]).0, Some(0));
    assert_eq!(run(data.path(), &hold, &[]).0, Some(1), "a name is given once");
    let (_, text, _) = run(data.path(), &["hold", "list"], &[]);
    assert!(text.starts_with("audit: case 7; all shards, logs 0 to 1; since "), "{text}");
    let (code, text, _) = run(data.path(), &["retention", "apply"], &window);
    assert!(code == Some(0) && text.contains("hold audit (case 7)"), "{text}");
    assert_eq!(names(data.path()), ["wal-00001", "wal-00003", "wal-00004"]);
    assert_eq!(run(data.path(), &["hold", "remove", "audit"], &[]).0, Some(0));
    assert_eq!(run(data.path(), &["hold", "remove", "audit"], &[]).0, Some(1));
    assert_eq!(run(data.path(), &["retention", "apply"], &[("KEEP_COUNT", "2")]).0, Some(0));
    assert_eq!(names(data.path()), ["wal-00003", "wal-00004"]);
    let (_, text, _) = run(data.path(), &["retention", "apply"], &[("KEEP_COUNT", "2")]);
    assert!(
        text.ends_with("0 archives with 0 bytes were deleted\n"),
        "applying again deletes nothing: {text}"
    );
}

#[test]
fn what_recovery_needs_stays_and_a_size_that_can_not_be_met_is_an_alarm() {
    let data = tempdir().expect("a directory");
    archived(data.path());
    // Without the second snapshot nothing is covered by two.
    let mut conservative = server(data.path());
    conservative.env("STRANDLINE_WAL__CONSERVATIVE_MODE", "true").env("STRANDLINE_ARCHIVE__MAX_BYTES", "1MB");
    conservative.env("STRANDLINE_ARCHIVE__CPU_PERCENT", "100");
    let server = Server::from(conservative);
    for round in 0..60 {
        let line = |n: u64| {
            let noise = format!("{:x}", (round * 1000 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15)).repeat(8);
            json!({ "event_type": "t", "context_id": "c", "payload": { "noise": noise } }).to_string()
        };
        let body: Vec<String> = (0..2000).map(line).collect();
        assert_eq!(server.post("/events", &body.join("\n")).0, 200);
    }
    assert_eq!(server.post("/archives/now", "").1["success"], true);
    let bytes = || {
        let found = fs::read_dir(data.path().join("archives/shard-0")).expect("archives");
        found.map(|entry| entry.expect("an entry").metadata().map_or(0, |found| found.len())).sum::<u64>()
    };
    assert!(bytes() > 1 << 20, "{}", bytes());
    until("the alarm", || server.get("/readyz").1["history"]["alarm"].is_string());
    assert_eq!(names(data.path())[0], "wal-00001", "nothing is deleted for the sake of size");
    let (code, text, _) = run(data.path(), &["retention", "apply"], &[("MAX_BYTES", "1MB")]);
    assert!(code == Some(7) && text.contains("ALARM    shard 0: the archives take"), "{code:?} {text}");
    for _ in 0..2 {
        assert_eq!(server.post("/snapshot", "").0, 200);
        assert_eq!(server.ask("SET a b"), "OK");
    }
    until("covered archives go until the size is met", || bytes() <= 1 << 20);
    until("the alarm ends", || server.get("/readyz").1["history"]["alarm"] == Value::Null);
}
