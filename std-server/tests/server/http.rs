//! The shapes of HTTP: what is stored, what comes back, and what is refused how.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::process::{Server, exchange, request};

#[test]
fn keys_are_stored_read_and_deleted() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let rows: [(&str, &str, Value); 9] = [
        (
            "POST /kv/set",
            r#"{"key":"a","value":"text"}"#,
            json!({"success": true, "key": "a", "written": true}),
        ),
        ("GET /kv/get/a", "", json!("text")),
        ("GET /kv/get/a?type=bytes", "", json!([116, 101, 120, 116])),
        ("GET /kv/get/none", "", json!({"error": "Key not found"})),
        (
            "POST /kv/set",
            r#"{"key":"a","value":1,"nx":true}"#,
            json!({"success": false, "key": "a", "written": false}),
        ),
        (
            "POST /kv/set",
            r#"{"key":"a","value":{"b": [1, 2]},"get":true}"#,
            json!({"success": true, "key": "a", "written": true, "old_value": "text"}),
        ),
        ("GET /kv/get/a", "", json!(r#"{"b":[1,2]}"#)),
        ("DELETE /kv/del/a", "", json!({"deleted": true, "key": "a"})),
        ("DELETE /kv/del/a", "", json!({"deleted": false, "key": "a"})),
    ];
    for (line, body, expected) in rows {
        let (method, path) = line.split_once(' ').expect("two words");
        let (status, answer) = request(server.http, method, path, body);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!((status, answer), (200, expected), "{line} {body}");
    }
}

#[test]
fn conditions_and_expiry_are_those_of_set() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    assert_eq!(server.post("/kv/set", r#"{"key":"a","value":"1","xx":true}"#).1["written"], false);
    assert_eq!(server.post("/kv/set", r#"{"key":"a","value":"1","nx":true,"get":true}"#).1["written"], true);
    assert_eq!(server.post("/kv/set", r#"{"key":"a","value":"2","nx":true,"get":true}"#).1["written"], false);
    assert_eq!(server.post("/kv/set", r#"{"key":"a","value":"2","ttl":100}"#).1["written"], true);
    assert_eq!(server.ask("TTL a"), "100");
    assert_eq!(server.post("/kv/set", r#"{"key":"a","value":"3","keepttl":true}"#).1["written"], true);
    assert_eq!(server.ask("TTL a"), "100");
    assert_eq!(server.post("/kv/set", r#"{"key":"a","value":"4"}"#).1["written"], true);
    assert_eq!(server.ask("TTL a"), "-1");
}

#[test]
fn pieces_of_values() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    assert_eq!(server.post("/kv/a/append", r#"{"value":"hello"}"#).1, json!({"length": 5}));
    assert_eq!(server.post("/kv/a/setrange", r#"{"offset":1,"value":"E"}"#).1, json!({"length": 5}));
    assert_eq!(server.get("/kv/a/getrange?start=0&end=1").1, "hE");
    assert_eq!(server.get("/kv/a/strlen").1, json!({"length": 5}));
    assert_eq!(server.post("/kv/a/getset", r#"{"value":"new"}"#).1, "hEllo");
    let pairs = r#"{"pairs":[{"key":"b","value":1},{"key":"c","value":2}]}"#;
    assert_eq!(server.post("/kv/msetnx", pairs).1, json!({"success": true}));
    assert_eq!(server.post("/kv/msetnx", pairs).1, json!({"success": false}));
}

#[test]
fn what_is_wrong_is_said_in_json() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let large = format!(r#"{{"key":"a","value":"{}"}}"#, "x".repeat(2 << 20));
    let rows = [
        ("POST", "/kv/set", r#"{"key":"a"}"#, 400, "missing field `value`"),
        ("POST", "/kv/set", r#"["a","v"]"#, 400, "expected an object"),
        ("POST", "/kv/msetnx", r#"{"pairs":[["a","v"]]}"#, 400, "expected an object"),
        ("POST", "/kv/a/append", r#"["v"]"#, 400, "expected an object"),
        ("POST", "/kv/set", "{", 400, "the body is not what was expected"),
        ("POST", "/kv/set", r#"{"key":"a","value":"v","tll":5}"#, 400, "unknown field `tll`"),
        ("POST", "/kv/set", r#"{"key":"a","value":"v","ttl":0}"#, 400, "invalid expire time"),
        ("POST", "/kv/set", r#"{"key":"a","value":"v","nx":true,"xx":true}"#, 400, "syntax error"),
        ("POST", "/kv/set", &large, 413, "longer than"),
        ("GET", "/kv/get/a?type=hex", "", 400, "`string` or `bytes`"),
        ("GET", "/nowhere", "", 404, "/nowhere"),
        ("GET", "/kv/set", "", 405, "GET"),
    ];
    for (method, path, body, status, part) in rows {
        let (found, answer) = request(server.http, method, path, body);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(found, status, "{method} {path}: {answer}");
        let said = if path == "/nowhere" { &answer["detail"] } else { &answer["error"] };
        assert!(said.as_str().expect("text").contains(part), "{method} {path}: {answer}");
    }
    assert_eq!(server.ask("DBSIZE"), "0");
}

#[test]
fn keys_and_values_of_any_text() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let (status, _) = server.post("/kv/set", "{\"key\":\"a/b c\u{e9}\",\"value\":\"\u{1f980}\\u0000\"}");
    assert_eq!(status, 200);
    assert_eq!(server.get("/kv/get/a%2Fb%20c%C3%A9").1, "\u{1f980}\u{0}");
}

#[test]
fn health_facts_and_statistics() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    assert_eq!(server.get("/livez"), (200, json!({"status": "alive"})));
    assert_eq!(server.get("/readyz"), (200, json!({"status": "ready"})));
    let (status, health) = server.get("/health");
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    assert!(health["service"].is_string() && health["version"].is_string());
    server.ask("SET a 1");
    server.ask("GET a");
    server.ask("GET none");
    server.ask("DEL a");
    let stats = server.get("/kv/stats").1;
    assert_eq!(stats["total_keys"], 0);
    assert_eq!(stats["operations"], json!({"gets": 2, "sets": 1, "dels": 1, "hits": 1, "misses": 1}));
    assert_eq!(stats["hit_rate"], 0.5);
    let info = server.get("/info").1;
    for section in ["server", "memory", "stats", "persistence", "keyspace"] {
        assert!(info[section].is_object(), "{section} in {info}");
    }
}

#[test]
fn metrics_follow_the_work() {
    let data = tempdir().expect("a directory");
    let server = Server::in_mode(data.path(), "always");
    let before = server.metric("strandline_log_appended_bytes_total");
    (0..10).for_each(|number| assert_eq!(server.ask(&format!("SET k:{number} v")), "OK"));
    assert!(server.metric("strandline_log_appended_bytes_total") > before);
    assert!(server.metric("strandline_log_sync_duration_seconds_count") >= 10.0);
    assert_eq!(server.metric("strandline_keys"), 10.0);
    assert_eq!(server.metric("strandline_log_unsynced_bytes"), 0.0);
    assert_eq!(server.metric("strandline_halted"), 0.0);
    assert_eq!(server.metric("strandline_replay_progress_ratio"), 1.0);
    assert!(server.metric("strandline_log_segments") >= 1.0);
    server.post("/snapshot", "");
    assert_eq!(server.metric("strandline_snapshots"), 1.0);
    assert!(server.metric("strandline_snapshot_duration_seconds") > 0.0);
    assert!(server.metric("strandline_snapshot_age_seconds") < 60.0);
    for name in ["log_batch_bytes", "log_gather_seconds_total", "log_unsynced_age_seconds"] {
        assert!(server.metric(&format!("strandline_{name}")) >= 0.0);
    }
}

#[test]
fn waitaof_syncs_in_every_mode() {
    for mode in ["always", "periodic", "never"] {
        let data = tempdir().expect("a directory");
        let mut command = crate::process::server(data.path());
        command.args(["--fsync-mode", mode]).env("STRANDLINE_WAL__FSYNC_INTERVAL_MS", "60000");
        let server = Server::from(command);
        let mut client = server.client();
        assert_eq!(client.ask("SET a 1"), "OK");
        assert_eq!(client.ask("WAITAOF 1 0 0"), "[1 0]", "{mode}");
        assert_eq!(server.metric("strandline_log_durable_lsn"), 2.0, "{mode}");
        assert_eq!(server.metric("strandline_log_unsynced_bytes"), 0.0, "{mode}");
    }
}

#[test]
fn pages_of_other_servers_can_change_nothing() {
    let data = tempdir().expect("a directory");
    let mut command = crate::process::server(data.path());
    command.env("STRANDLINE_SERVER__NAME", "KV.example");
    let server = Server::from(command);
    let address = server.http.to_string();
    let body = r#"{"key":"a","value":"1"}"#;
    for (host, origin, expected) in [
        (&*address, "", 200),
        ("kv.example", "Origin: https://kv.example\r\n", 200),
        (&*address, "Origin: https://evil.example\r\n", 403),
        ("evil.example", "", 403),
    ] {
        let length = body.len();
        let head = format!("POST /kv/set HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Length: {length}\r\n");
        let (status, answer) = exchange(server.http, &format!("{head}Connection: close\r\n\r\n{body}"));
        assert_eq!(status, expected, "{host} {origin}: {answer}");
    }
}
