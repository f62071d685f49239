//! Bad requests and a bad configuration: a clear error, nothing executed by half, and the server goes on.

use std::fs;

use strandline_tests::process::http;
use strandline_tests::process::resp::Client;

use crate::support::{ask, call, client, fresh, over, say, start};

#[test]
fn malformed_resp_is_answered_and_the_connection_ends() {
    let (_place, setup) = fresh();
    let server = start(&setup);
    let usual = server.resident_bytes();
    let bad: [&[u8]; 11] = [
        b"*1\r\n$-7\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*1\r\n$9223372036854775807\r\n",
        b"*1\r\n$2147483647\r\n",
        b"*2147483648\r\n",
        b"*1000000000\r\n",
        b"*x\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n$x\r\n",
        b"SET \"unbalanced\r\n",
    ];
    for bytes in bad {
        let shown = String::from_utf8_lossy(bytes);
        let mut client = client(&server);
        client.send(bytes).expect("sent");
        let reply = client.receive().unwrap_or_else(|error| panic!("{shown:?}: {error}")).to_string();
        assert!(reply.starts_with("-ERR Protocol error"), "{shown:?}: {reply}");
        client.closed().unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_eq!(ask(&server, "PING"), "PONG", "{shown:?}");
    }
    assert!(server.resident_bytes() < usual + (32 << 20), "no length drives an allocation");
}

#[test]
fn truncated_resp_executes_nothing() {
    let (_place, setup) = fresh();
    let server = start(&setup);
    let whole = b"*3\r\n$3\r\nSET\r\n$9\r\ntruncated\r\n$5\r\nvalue\r\n";
    for cut in 1..whole.len() {
        let mut client = client(&server);
        client.send(&whole[..cut]).expect("sent");
        client.finish().expect("finished");
        client.closed().unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
    }
    assert_eq!(ask(&server, "DBSIZE"), "0");
    let mut client = client(&server);
    client.send(whole).expect("sent");
    assert_eq!(client.receive().expect("a reply").to_string(), "OK");
}

#[test]
fn malformed_truncated_and_oversized_http_is_refused() {
    let (_place, setup) = fresh();
    let server = start(&setup.set("kv_store.max_value_size_bytes", 1000));
    let head = |length: usize| {
        format!("POST /kv/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
    };
    let raw: [(Vec<u8>, u16); 5] = [
        (b"GARBAGE\r\n\r\n".to_vec(), 400),
        (b"GET /livez HTTP/9.9\r\n\r\n".to_vec(), 400),
        (b"POST /kv/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: minus\r\n\r\n".to_vec(), 400),
        ([b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'y'; 1 << 20], b"\r\n\r\n".to_vec()].concat(), 431),
        ((head(1 << 20) + &"x".repeat(1 << 20)).into_bytes(), 413),
    ];
    for (bytes, status) in raw {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let mut client = http::Client::connect(server.http()).expect("it listens");
        // The server may refuse, and close, before it has read everything.
        drop(client.send(&bytes));
        match client.receive() {
            Ok(answer) => assert_eq!(answer.status, status, "{shown:?}: {}", answer.body),
            Err(error) => assert!(bytes.len() > 4096, "{shown:?}: {error}"),
        }
    }
    let body = r#"{"key":"cut","value":"1"}"#;
    for cut in 0..body.len() {
        let mut client = http::Client::connect(server.http()).expect("it listens");
        client.send((head(body.len()) + &body[..cut]).as_bytes()).expect("sent");
    }
    for body in
        ["", "{", "[]", "null", r#"{"key":1,"value":1}"#, r#"{"key":"a","value":"v","ttl":-1}"#, "\u{0}"]
    {
        let (status, answer) = call(&server, "POST", "/kv/set", body);
        assert_eq!(status, 400, "{body:?}");
        assert!(answer["error"].is_string(), "{body:?}: {answer}");
    }
    assert_eq!(call(&server, "POST", "/kv/set", r#"{"key":"whole","value":"1"}"#).0, 200);
    assert_eq!(ask(&server, "KEYS *"), "[whole]");
}

#[test]
fn a_value_over_the_limit_is_refused_whole() {
    let (_place, setup) = fresh();
    let setup = setup.set("kv_store.max_value_size_bytes", 1000);
    let server = start(&setup);
    let (fits, over) = ("x".repeat(1000), "x".repeat(1001));
    let mut client = client(&server);
    assert_eq!(say(&mut client, &format!("SET key {fits}")), "OK");
    for line in [
        format!("SET key {over}"),
        format!("MSET other v key {over}"),
        "APPEND key x".into(),
        "SETRANGE key 1000 x".into(),
        "SETRANGE new 999999999 x".into(),
        format!("GETSET key {over}"),
    ] {
        let reply = say(&mut client, &line);
        assert!(reply.starts_with("-ERR "), "{:.20}: {reply}", line);
    }
    let (status, answer) = call(&server, "POST", "/kv/set", &format!(r#"{{"key":"key","value":"{over}"}}"#));
    assert!(status == 400 || status == 413, "{status} {answer}");
    let check = |client: &mut Client| {
        assert_eq!(say(client, "GET key"), fits);
        assert_eq!(say(client, "DBSIZE"), "1");
    };
    check(&mut client);
    server.kill();
    let server = start(&setup);
    check(&mut crate::support::client(&server));
}

#[test]
fn overflow_in_incr_changes_nothing() {
    let (_place, setup) = fresh();
    let server = start(&setup);
    let mut client = client(&server);
    for (line, reply) in [
        ("SET top 9223372036854775807", "OK"),
        ("SET bottom -9223372036854775808", "OK"),
        ("SET word hello", "OK"),
        ("INCR top", "-ERR increment or decrement would overflow"),
        ("INCRBY top 9223372036854775807", "-ERR increment or decrement would overflow"),
        ("DECR bottom", "-ERR increment or decrement would overflow"),
        ("DECRBY bottom -9223372036854775808", "-ERR decrement would overflow"),
        ("INCR word", "-ERR value is not an integer or out of range"),
        ("INCRBY top 9223372036854775808", "-ERR value is not an integer or out of range"),
    ] {
        assert_eq!(say(&mut client, line), reply, "{line}");
    }
    server.kill();
    let server = start(&setup);
    assert_eq!(ask(&server, "MGET top bottom word"), "[9223372036854775807 -9223372036854775808 hello]");
}

#[test]
fn a_bad_configuration_is_refused_by_name_and_line() {
    let place = tempfile::tempdir().expect("a directory");
    let rows = [
        ("mode.yaml", "wal:\n  fsync_mode: sometimes\n", ["sometimes", "always, periodic or never"]),
        ("interval.yaml", "wal:\n  fsync_interval_ms: -5\n", ["fsync_interval_ms", "-5"]),
        ("twice.yaml", "wal:\n  fsync_mode: always\n  fsync_mode: never\n", ["fsync_mode", ".yaml:3"]),
        ("twice.toml", "[wal]\nfsync = true\nfsync = false\n", ["duplicate key", ".toml:3"]),
        ("unknown.yaml", "wal:\n  fsync_mod: always\n", ["fsync_mod", "fsync_mode"]),
    ];
    for (name, text, parts) in rows {
        let file = place.path().join(name);
        fs::write(&file, text).expect("written");
        let data = place.path().join("data");
        let ended = over(&data).word("--config").word(&file).run();
        assert_eq!(ended.code(), Some(2), "{name}: {ended}");
        for part in parts.into_iter().chain([name]) {
            assert!(ended.said(part), "{name}: {part:?} is not said: {ended}");
        }
        assert!(!data.exists(), "{name}: nothing was touched");
    }
}
