//! Synap's commands and paths: what is sent, what comes back, and what is refused how.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::process::Server;

/// What a command answers, `{"error": …}` if it is refused.
fn command(server: &Server, command: &str, payload: Value) -> Value {
    let body = json!({ "command": command, "request_id": "r-1", "payload": payload });
    let (status, answer) = server.post("/api/v1/command", &body.to_string());
    assert_eq!((status, &answer["request_id"]), (200, &json!("r-1")), "{command}: {answer}");
    let members = answer.as_object().expect("an object");
    assert_eq!(members.len(), 4, "{answer}");
    match answer["success"].as_bool().expect("yes or no") {
        true => {
            assert_eq!(answer["error"], Value::Null);
            answer["payload"].clone()
        }
        false => {
            assert_eq!(answer["payload"], Value::Null);
            json!({ "error": answer["error"] })
        }
    }
}

#[test]
fn every_command_answers_in_its_shape() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let pairs = json!([{"key": "m1", "value": 1}, {"key": "m2", "value": "two"}]);
    let rows = [
        ("kv.set", json!({"key": "a", "value": "text", "ttl": null}), json!({"success": true})),
        ("kv.get", json!({"key": "a"}), json!("text")),
        ("kv.get", json!({"key": "a", "type": "bytes"}), json!([116, 101, 120, 116])),
        ("kv.get", json!({"key": "none"}), json!(null)),
        ("kv.set", json!({"key": "o", "value": {"b": [1, 2]}, "ttl": 100}), json!({"success": true})),
        ("kv.get", json!({"key": "o"}), json!("{\"b\":[1,2]}")),
        ("kv.exists", json!({"key": "a"}), json!({"exists": true})),
        ("kv.incr", json!({"key": "n"}), json!({"value": 1})),
        ("kv.incr", json!({"key": "n", "amount": 9}), json!({"value": 10})),
        ("kv.decr", json!({"key": "n"}), json!({"value": 9})),
        ("kv.incrby", json!({"key": "n", "amount": -4}), json!({"value": 5})),
        ("kv.decrby", json!({"key": "n", "amount": 5}), json!({"value": 0})),
        ("kv.mset", json!({"pairs": pairs}), json!({"success": true})),
        ("kv.mget", json!({"keys": ["m1", "none", "m2"]}), json!({"values": ["1", null, "two"]})),
        ("kv.msetnx", json!({"pairs": pairs}), json!({"success": false})),
        ("kv.mdel", json!({"keys": ["m1", "m2", "none"]}), json!({"deleted": 2})),
        ("kv.scan", json!({"prefix": "a"}), json!({"keys": ["a"], "count": 1})),
        ("kv.scan", json!({"limit": 0}), json!({"keys": [], "count": 0})),
        ("kv.keys", json!({"pattern": "[no]"}), json!({"keys": ["n", "o"], "count": 2})),
        ("kv.keys", json!({"prefix": "["}), json!({"keys": [], "count": 0})),
        ("kv.dbsize", json!({}), json!({"size": 3})),
        ("kv.ttl", json!({"key": "o"}), json!({"ttl": 100})),
        ("kv.ttl", json!({"key": "a"}), json!({"ttl": null})),
        ("kv.ttl", json!({"key": "none"}), json!({"ttl": null})),
        ("kv.persist", json!({"key": "o"}), json!({"result": true})),
        ("kv.persist", json!({"key": "o"}), json!({"result": false})),
        ("kv.expire", json!({"key": "o", "ttl": 50}), json!({"result": true})),
        ("kv.expire", json!({"key": "none", "ttl": 50}), json!({"result": false})),
        ("kv.append", json!({"key": "a", "value": "ure"}), json!({"length": 7})),
        ("kv.getrange", json!({"key": "a", "start": 0, "end": -4}), json!("text")),
        ("kv.setrange", json!({"key": "a", "offset": 4, "value": "."}), json!({"length": 7})),
        ("kv.strlen", json!({"key": "a"}), json!({"length": 7})),
        ("kv.getset", json!({"key": "a", "value": null}), json!("text.re")),
        ("kv.getset", json!({"key": "new", "value": "x"}), json!(null)),
        ("kv.setnx", json!({"key": "new", "value": "y"}), json!({"success": false})),
        ("key.type", json!({"key": "a"}), json!({"key": "a", "type": "string"})),
        ("key.type", json!({"key": "none"}), json!({"key": "none", "type": "none"})),
        ("key.exists", json!({"key": "none"}), json!({"key": "none", "exists": false})),
        (
            "key.rename",
            json!({"source": "new", "destination": "b"}),
            json!({"success": true, "source": "new", "destination": "b"}),
        ),
        (
            "key.copy",
            json!({"source": "b", "destination": "c"}),
            json!({"success": true, "source": "b", "destination": "c"}),
        ),
        (
            "key.copy",
            json!({"source": "a", "destination": "c", "replace": true}),
            json!({"success": true, "source": "a", "destination": "c"}),
        ),
        (
            "key.renamenx",
            json!({"source": "c", "destination": "d"}),
            json!({"success": true, "source": "c", "destination": "d"}),
        ),
        ("kv.del", json!({"key": "d"}), json!({"deleted": true})),
        ("kv.del", json!({"key": "d"}), json!({"deleted": false})),
        ("kv.flushdb", json!({}), json!({"flushed": 4})),
        ("key.randomkey", json!({}), json!({"key": null})),
        ("kv.flushall", Value::Null, json!({"flushed": 0})),
    ];
    for (name, payload, expected) in rows {
        let mut found = command(&server, name, payload.clone());
        if let Some(keys) = found.get_mut("keys").and_then(Value::as_array_mut) {
            keys.sort_by_key(|key| key.to_string());
        }
        assert_eq!(found, expected, "{name} {payload}");
    }
    assert!(command(&server, "info", json!({}))["memory"].is_object());
    assert_eq!(command(&server, "info", json!({"section": "memory"})).as_object().expect("one").len(), 1);
    assert_eq!(command(&server, "kv.stats", json!({}))["total_keys"], 0);
}

#[test]
fn what_is_refused_changes_nothing_and_says_why() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    server.ask("SET a text");
    server.ask("SET b text");
    let rows = [
        ("kv.set", json!({"value": 1}), "Invalid request: missing field `key`"),
        ("kv.set", json!({"key": "a", "value": 1, "tll": 1}), "unknown field `tll`"),
        ("kv.set", json!({"key": "a", "value": 1, "ttl": 0}), "invalid expire time"),
        ("kv.del", json!({}), "Missing 'key' field"),
        ("kv.del", json!({"key": "a", "more": 1}), "unknown field 'more'"),
        ("kv.del", json!([]), "Invalid request"),
        ("kv.incr", json!({"key": "a"}), "not an integer"),
        ("kv.incr", json!({"key": "n", "amount": 1.5}), "field 'amount'"),
        ("kv.mset", json!({"pairs": []}), "wrong number of arguments"),
        ("kv.mget", json!({"keys": []}), "wrong number of arguments"),
        ("kv.setrange", json!({"key": "a", "offset": -1, "value": ""}), "out of range"),
        (
            "kv.setrange",
            json!({"key": "a", "offset": 4_000_000_000_u64, "value": "x"}),
            "maximum allowed size",
        ),
        ("key.rename", json!({"source": "none", "destination": "x"}), "Key not found"),
        ("key.renamenx", json!({"source": "a", "destination": "b"}), "Destination key already exists"),
        ("key.copy", json!({"source": "a", "destination": "b"}), "already exists and replace=false"),
        ("kv.nosuch", json!({}), "Unknown command: kv.nosuch"),
        ("queue.publish", json!({}), "Unknown command: queue.publish (this server has no queues)"),
        ("transaction.multi", json!({}), "the Redis protocol has MULTI"),
    ];
    for (name, payload, part) in rows {
        let found = command(&server, name, payload.clone());
        let error = found["error"].as_str().unwrap_or_default();
        assert!(error.contains(part), "{name} {payload}: {found}");
    }
    assert_eq!(
        (server.ask("DBSIZE"), server.ask("GET a"), server.ask("GET b")),
        ("2".into(), "text".into(), "text".into())
    );
    for body in ["", "[]", "{}", "{\"command\": 1}", "{\"command\": \"kv.get\", \"more\": 1}"] {
        let (status, answer) = server.post("/api/v1/command", body);
        assert_eq!((status, &answer["code"]), (400, &json!(400)), "{body}: {answer}");
    }
}

#[test]
fn a_scan_finds_every_key_once_up_to_its_limit() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let words: Vec<String> = (0..2500).map(|number| format!("k:{number} v")).collect();
    assert_eq!(server.ask(&format!("MSET {} other v", words.join(" "))), "OK");
    let found = command(&server, "kv.scan", json!({"prefix": "k:", "limit": 10_000}));
    assert_eq!((&found["count"], found["keys"].as_array().map(Vec::len)), (&json!(2500), Some(2500)));
    assert_eq!(command(&server, "kv.scan", json!({}))["count"], 100);
}

#[test]
fn keys_are_asked_about_renamed_and_copied_by_path() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    server.ask("SET a text");
    assert_eq!(server.get("/key/a/type"), (200, json!({"key": "a", "type": "string"})));
    assert_eq!(server.get("/key/none/type"), (200, json!({"key": "none", "type": "none"})));
    assert_eq!(server.get("/key/a/exists"), (200, json!({"key": "a", "exists": true})));
    assert_eq!(server.get("/key/randomkey"), (200, json!({"key": "a"})));
    let to = |name: &str| json!({ "destination": name }).to_string();
    let moved = |success: bool, from: &str, to: &str| json!({ "success": success, "source": from, "destination": to });
    assert_eq!(server.post("/key/a/copy", &to("b")), (200, moved(true, "a", "b")));
    assert_eq!(server.post("/key/a/copy", &to("b")), (200, moved(false, "a", "b")));
    assert_eq!(server.post("/key/a/rename", &to("c")), (200, moved(true, "a", "c")));
    assert_eq!(server.post("/key/c/renamenx", &to("d")), (200, moved(true, "c", "d")));
    let refused = |error: &str, code: u16| (code, json!({ "error": error, "code": code }));
    assert_eq!(server.post("/key/d/renamenx", &to("b")), refused("Destination key already exists", 400));
    assert_eq!(server.post("/key/none/rename", &to("b")), refused("Key not found", 404));
    assert_eq!(server.ask("MGET a b c d"), "[nil text nil text]");
}
