//! Events in and out: queries, restarts, archives, the live tail.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::process::{Server, exchange, server, until};

/// The lines of an answer, whole; HTTP/1.0 has no chunks.
pub(crate) fn lines(server: &Server, query: &str) -> Vec<Value> {
    let text = format!("GET /events{query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let (status, body) = exchange(server.http, &text);
    assert_eq!(status, 200, "{query}: {body}");
    body.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

pub(crate) fn status(server: &Server, query: &str) -> (u16, String) {
    exchange(server.http, &format!("GET /events{query} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
}

fn lsns(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["lsn"].as_u64().expect("an LSN")).collect()
}

/// Stores events in one batch.
pub(crate) fn store(server: &Server, events: &[Value]) -> Value {
    let body: Vec<String> = events.iter().map(Value::to_string).collect();
    let (status, answer) = server.post("/events", &body.join("\n"));
    assert_eq!(status, 200, "{answer}");
    answer
}

pub(crate) fn event(context: &str, number: u64) -> Value {
    json!({ "event_type": "count", "context_id": context, "timestamp": 1_700_000_000 + number,
        "payload": { "number": number, "filler": "x".repeat(200) } })
}

/// A server that archives, with segments of 1 MiB.
pub(crate) fn conservative(data: &Path) -> Command {
    let mut command = server(data);
    command.env("STRANDLINE_WAL__CONSERVATIVE_MODE", "true").env("STRANDLINE_ARCHIVE__CPU_PERCENT", "100");
    command
}

/// Fills some segments, in batches of 100; returns how many events there are.
fn fill(server: &Server, batches: u64) -> u64 {
    for batch in 0..batches {
        let events: Vec<Value> = (0..100).map(|n| event(&format!("c{}", n % 5), batch * 100 + n)).collect();
        store(server, &events);
    }
    batches * 100
}

#[test]
fn what_is_stored_is_found_and_outlives_a_kill() {
    let data = tempdir().expect("a directory");
    let server = Server::in_mode(data.path(), "always");
    let payload =
        r#"{"a":[1,-2,3.5,null,true],"big":18446744073709551615,"raw":{"$bytes":"AP8="},"z":{"y":"ä"}}"#;
    let (status_code, answer) = server.post(
        "/events",
        &format!(r#"{{"event_type":"first","context_id":"a","payload":{payload},"timestamp":"2023-11-14T22:13:20.5Z","event_id":99}}"#),
    );
    assert_eq!((status_code, &answer["lsns"], &answer["cursor"]), (200, &json!([1]), &json!("1-1")));
    assert_eq!(server.ask("SET k v"), "OK");
    let answer = store(&server, &[event("a", 1), event("b", 2), event("a", 3)]);
    assert_eq!((&answer["lsns"], &answer["count"]), (&json!([3, 4, 5]), &json!(3)));

    let check = |server: &Server| {
        let all = lines(server, "");
        assert_eq!(lsns(&all), [1, 3, 4, 5], "a key's record is no event");
        assert_eq!(all[0]["payload"].to_string(), payload);
        assert_eq!(
            (&all[0]["timestamp"], &all[0]["event_id"]),
            (&json!("2023-11-14T22:13:20.500Z"), &json!(99))
        );
        assert_eq!(all[1]["event_id"], 3, "the LSN stands in");
        assert_eq!(lsns(&lines(server, "?order=newest&limit=2")), [5, 4]);
        assert_eq!(lsns(&lines(server, "?cursor=1-3")), [4, 5]);
        assert_eq!(lsns(&lines(server, "?cursor=1-4&order=newest")), [3, 1]);
        assert_eq!(lsns(&lines(server, "?context=a&type=count")), [3, 5]);
        assert_eq!(lsns(&lines(server, "?payload.number=2")), [4]);
        assert_eq!(lsns(&lines(server, "?payload.z.y=%C3%A4")), [1]);
        assert_eq!(lsns(&lines(server, "?since=1700000002&until=1700000003")), [4]);
        assert_eq!(lsns(&lines(server, "?from_lsn=2&to_lsn=4")), [3, 4]);
    };
    check(&server);
    server.kill();
    let server = Server::in_mode(data.path(), "always");
    check(&server);
    assert_eq!(server.ask("GET k"), "v");
    assert_eq!(status(&server, "?cursor=7-3").0, 400);
    assert_eq!(status(&server, "?colour=red").0, 400);
    assert_eq!(status(&server, "?cursor=2-900").0, 400);
}

#[test]
fn a_bad_line_keeps_its_whole_batch_out() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let good = event("a", 1).to_string();
    for (bad, named) in [
        (r#"{"event_type":"t","context_id":"c","payload":{},"extra":1}"#, "line 2: unknown field `extra`"),
        (
            r#"{"event_type":"t","context_id":"c","payload":{"n":18446744073709551616}}"#,
            "line 2: payload: 18446744073709551616",
        ),
        (r#"{"event_type":"t","context_id":"c","payload":{"a":1,"a":2}}"#, "line 2: payload"),
        (r#"{"event_type":"t","context_id":"c","payload":[]}"#, "line 2: payload"),
        (r#"{"event_type":"t","context_id":"c","payload":{},"timestamp":"soon"}"#, "line 2: timestamp"),
        ("not JSON", "line 2: "),
    ] {
        let (status, answer) = server.post("/events", &format!("{good}\n{bad}\n{good}"));
        assert_eq!(status, 400, "{bad}");
        let detail = answer["detail"].as_str().expect("a sentence");
        assert!(detail.starts_with(named) && detail.ends_with("Nothing was stored"), "{detail}");
    }
    assert_eq!(server.post("/events", "").0, 400);
    assert!(lines(&server, "").is_empty());
}

#[test]
fn archived_events_are_found_as_if_they_were_in_the_log() {
    let data = tempdir().expect("a directory");
    let server = Server::from(conservative(data.path()));
    let count = fill(&server, 160);
    let before = lines(&server, "");
    assert_eq!(before.len() as u64, count);
    let archives = data.path().join("archives/shard-0");
    let archived = || fs::read_dir(&archives).map_or(0, Iterator::count);
    until("three segments are archived", || archived() >= 3);
    // Two snapshots release what is archived.
    assert_eq!(server.post("/snapshot", "").0, 200);
    store(&server, &[event("last", count)]);
    assert_eq!(server.post("/snapshot", "").0, 200);
    let oldest = || server.metric("strandline_log_segments");
    until("archived segments are released", || oldest() <= 4.0);
    let after = lines(&server, "");
    assert_eq!(after[..before.len()], before[..], "the same lines, from archives");
    let mut backwards = lines(&server, "?order=newest");
    backwards.reverse();
    assert_eq!(backwards, after);
    let context = lines(&server, "?context=c3&limit=50&cursor=1-100");
    assert!(context.len() == 50 && context.iter().all(|line| line["context_id"] == "c3"));
    server.kill();
    let server = Server::from(conservative(data.path()));
    assert_eq!(lines(&server, ""), after, "after a kill");
    assert!(
        !fs::read_dir(&archives)
            .expect("archives")
            .any(|entry| { entry.expect("an entry").path().extension().is_some_and(|end| end == "tmp") })
    );
}

#[test]
fn a_log_of_keys_is_released_around_the_events_that_stay() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    store(&server, &[event("kept", 1)]);
    let value = "v".repeat(60_000);
    for round in 0..2 {
        let mut client = server.client();
        for number in 0..100 {
            assert_eq!(client.ask(&format!("SET {number} {value}{round}")), "OK");
        }
        store(&server, &[event("kept", 2 + round)]);
        assert_eq!(server.post("/snapshot", "").0, 200);
    }
    assert_eq!(server.ask("SET a b"), "OK");
    assert_eq!(server.post("/snapshot", "").0, 200);
    until("segments of keys are released", || server.metric("strandline_log_segments") <= 8.0);
    let kept = lines(&server, "");
    assert_eq!(kept.iter().map(|line| &line["payload"]["number"]).collect::<Vec<_>>(), [1, 2, 3]);
    server.kill();
    let server = Server::start(data.path());
    assert_eq!(lines(&server, ""), kept, "the hole between them is none of events");
    assert_eq!(lines(&server, "?from_lsn=1"), kept, "and is not called a gap");
    assert_eq!(server.ask("GET a"), "b");
}

/// Reads server-sent events until so many came.
pub(crate) fn tail(
    http: core::net::SocketAddr,
    query: &str,
    resumed: &str,
    count: usize,
) -> Vec<(String, Value)> {
    let mut stream = TcpStream::connect(http).expect("the server listens");
    let head = format!("GET /events/tail{query} HTTP/1.0\r\nHost: localhost\r\n{resumed}\r\n");
    stream.write_all(head.as_bytes()).expect("the server reads");
    let (mut found, mut id) = (Vec::new(), String::new());
    for line in BufReader::new(stream).lines() {
        let line = line.expect("the server answers");
        if let Some(cursor) = line.strip_prefix("id: ") {
            id = cursor.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            found.push((id.clone(), serde_json::from_str(data).expect("JSON")));
            if found.len() == count {
                break;
            }
        }
    }
    found
}

#[test]
fn the_tail_brings_what_was_and_what_comes_and_goes_on_where_it_was() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    store(&server, &[event("a", 1), event("a", 2)]);
    std::thread::scope(|scope| {
        let http = server.http;
        let follower = scope.spawn(move || tail(http, "?from_lsn=1", "", 4));
        std::thread::sleep(core::time::Duration::from_millis(300));
        store(&server, &[event("a", 3)]);
        store(&server, &[event("b", 4)]);
        let found = follower.join().expect("it ends");
        let numbers: Vec<_> =
            found.iter().map(|(id, line)| (id.as_str(), &line["payload"]["number"])).collect();
        assert_eq!(numbers, [("1-1", &json!(1)), ("1-2", &json!(2)), ("1-3", &json!(3)), ("1-4", &json!(4))]);
    });
    let resumed = tail(server.http, "", "Last-Event-ID: 1-3\r\n", 1);
    assert_eq!(resumed[0].1["payload"]["number"], 4);
    let filtered = tail(server.http, "?cursor=1-0&context=b", "", 1);
    assert_eq!(filtered[0].0, "1-4");
}

#[test]
fn a_cursor_behind_which_the_log_was_lost_is_told_where_and_the_loss_is_on_record() {
    let data = tempdir().expect("a directory");
    let server = Server::in_mode(data.path(), "never");
    store(&server, &[event("a", 1), event("a", 2)]);
    store(
        &server,
        &[json!({ "event_type": "lost", "context_id": "a", "payload": { "mark": "gone with the power" } })],
    );
    server.kill();
    // As a power failure would, for what no sync has covered.
    let segment = data.path().join("wal/synap-00000001.wal");
    let mut bytes = fs::read(&segment).expect("the segment");
    let mark = b"gone with the power";
    let at = bytes.windows(mark.len()).position(|window| window == mark).expect("the record");
    bytes[at..at + mark.len()].fill(0);
    fs::write(&segment, bytes).expect("written");

    let server = Server::in_mode(data.path(), "never");
    assert_eq!(lsns(&lines(&server, "")), [1, 2]);
    let (code, text) = status(&server, "?cursor=1-3");
    assert_eq!(code, 409);
    assert!(text.contains("diverged at LSN 3") && text.contains("Go on from 2-2"), "{text}");
    assert!(lsns(&lines(&server, "?cursor=1-2")).is_empty());
    let record = lines(&server, "?type=log.voided");
    assert_eq!((&record[0]["lsn"], &record[0]["payload"]["first_lsn"]), (&json!(3), &json!(3)));
    assert_eq!(store(&server, &[event("a", 3)])["lsns"], json!([4]), "no LSN is left out");
}

#[test]
fn a_damaged_segment_is_named_kept_and_not_archived() {
    let data = tempdir().expect("a directory");
    let plain = Server::start(data.path());
    let count = fill(&plain, 120);
    assert_eq!(plain.post("/snapshot", "").0, 200);
    store(&plain, &[event("last", count)]);
    assert_eq!(plain.post("/snapshot", "").0, 200);
    drop(plain);
    let segment = data.path().join("wal/synap-00000001.wal");
    let mut bytes = fs::read(&segment).expect("the segment");
    bytes[300_000] ^= 1;
    fs::write(&segment, bytes).expect("written");
    // What was found before the damage is forgotten with the catalog.
    fs::remove_file(data.path().join("wal/history/catalog")).expect("the catalog");

    let server = Server::from(conservative(data.path()));
    until("it is named", || server.get("/readyz").1["history"]["quarantined"][0]["segment"] == 1);
    assert_eq!(server.metric("strandline_quarantined_segments"), 1.0);
    let archives = data.path().join("archives/shard-0");
    until("the others are archived", || fs::read_dir(&archives).is_ok_and(|found| found.count() >= 2));
    let archived = |log: &str| {
        let named = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with(log);
        fs::read_dir(&archives).expect("archives").map(|entry| entry.expect("an entry")).any(named)
    };
    assert!(archived("wal-00002-") && !archived("wal-00001-"));
    assert!(segment.exists() && data.path().join("wal/quarantine/synap-00000001.wal").exists());
}

#[test]
fn shards_have_logs_of_their_own_and_contexts_stay_where_they_are() {
    let data = tempdir().expect("a directory");
    let sharded = |count: &str| {
        let mut command = conservative(data.path());
        command.env("STRANDLINE_SHARDS", count);
        command
    };
    let server = Server::from(sharded("3"));
    let events: Vec<Value> = (0..30).map(|n| event(&format!("c{n}"), n)).collect();
    let answer = store(&server, &events);
    let shards: std::collections::BTreeSet<u64> =
        answer["shards"].as_array().expect("shards").iter().filter_map(Value::as_u64).collect();
    assert_eq!(shards.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(server.ask("SET k v"), "OK");
    let all = lines(&server, "");
    assert_eq!(all.len(), 30);
    let one = lines(&server, "?context=c7");
    assert_eq!((one.len(), &one[0]["payload"]["number"]), (1, &json!(7)));
    let (middle, rest) = (&all[11], &all[12..]);
    assert_eq!(lines(&server, &format!("?cursor={}", middle["cursor"].as_str().expect("text"))), rest);
    assert_eq!(tail(server.http, "?from_lsn=1", "", 30).len(), 30);
    server.kill();
    let server = Server::from(sharded("3"));
    assert_eq!((lines(&server, ""), server.ask("GET k")), (all, "v".to_owned()));
    drop(server);
    let (code, _, errors) = crate::process::outcome(sharded("2").args(["--log-level", "info"]));
    assert!(code == Some(1) && errors.contains("this store has 3 shards"), "{code:?} {errors}");
}

#[test]
fn archive_now_archives_what_is_there_and_says_what_it_can_not() {
    let data = tempdir().expect("a directory");
    let plain = Server::start(data.path());
    assert_eq!(plain.post("/archives/now", "").0, 409, "not in conservative mode");
    drop(plain);
    let server = Server::from(conservative(data.path()));
    store(&server, &[event("a", 1), event("a", 2)]);
    assert_eq!(server.ask("SET k v"), "OK");
    let (status, answer) = server.post("/archives/now", "");
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    let archives = data.path().join("archives/shard-0");
    let count = || fs::read_dir(&archives).map_or(0, Iterator::count);
    assert_eq!(count(), 1);
    store(&server, &[event("a", 3)]);
    assert_eq!(server.post("/archives/now", "").1["success"], true);
    assert_eq!(count(), 2);

    // The place of the archives is gone: segments stay, and it is said.
    fs::rename(&archives, data.path().join("elsewhere")).expect("moved");
    fs::write(&archives, "in the way").expect("written");
    store(&server, &[event("a", 4)]);
    let (_, answer) = server.post("/archives/now", "");
    assert_eq!(answer["success"], false);
    assert!(answer["failing"].as_str().is_some_and(|why| why.contains("shard-0")), "{answer}");
    assert!(server.get("/readyz").1["history"]["failing"].is_string());
    assert_eq!(store(&server, &[event("a", 5)])["count"], 1, "writes go on");
    fs::remove_file(&archives).expect("removed");
    fs::rename(data.path().join("elsewhere"), &archives).expect("back");
    assert_eq!(server.post("/archives/now", "").1["success"], true);
    assert_eq!(lsns(&lines(&server, "")), [1, 2, 4, 5, 6]);
}
