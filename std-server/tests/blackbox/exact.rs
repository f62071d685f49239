//! Cases 10 and 11: expiry is absolute, and every write comes back exactly as it was, from the log and from a snapshot.

use core::time::Duration;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use strandline_tests::process::Server;
use strandline_tests::process::resp::Reply;

use crate::support::{ask, call, client, fresh, say, start, wait_until};

#[test]
fn case_10_expiry_is_absolute_and_what_expired_stays_gone() {
    for with_snapshot in [false, true] {
        let (_place, setup) = fresh();
        let server = start(&setup);
        let far = now_ms() + 3_600_000;
        let soon = now_ms() + 1500;
        let mut client = client(&server);
        for (line, reply) in [
            (format!("SET far v PXAT {far}"), "OK"),
            (format!("SET soon v PXAT {soon}"), "OK"),
            ("SET later v".into(), "OK"),
            (format!("PEXPIREAT later {far}"), "1"),
            ("SET past v".into(), "OK"),
            ("PEXPIREAT past 1000".into(), "1"),
            ("SET brief v PX 30".into(), "OK"),
            ("SET kept v EX 1000".into(), "OK"),
            ("PERSIST kept".into(), "1"),
        ] {
            assert_eq!(say(&mut client, &line), reply, "{line}");
        }
        wait_until("brief has expired", || ask(&server, "GET brief") == "(nil)");
        if with_snapshot {
            assert_eq!(ask(&server, "SAVE"), "OK");
        }
        server.kill();
        // It expires while nobody is there to remove it.
        thread::sleep(Duration::from_millis(soon.saturating_sub(now_ms()) + 1));
        for _ in 0..2 {
            let server = start(&setup);
            for gone in ["soon", "past", "brief"] {
                assert_eq!(ask(&server, &format!("GET {gone}")), "(nil)", "{gone}");
                assert_eq!(ask(&server, &format!("EXISTS {gone}")), "0", "{gone}");
            }
            assert_eq!(ask(&server, "PEXPIRETIME far"), far.to_string());
            assert_eq!(ask(&server, "PEXPIRETIME later"), far.to_string());
            assert_eq!(ask(&server, "PEXPIRETIME kept"), "-1");
            wait_until("expired keys are removed", || ask(&server, "DBSIZE") == "3");
            server.kill();
        }
    }
}

#[test]
fn case_11_every_write_comes_back_exactly() {
    let (_place, setup) = fresh();
    let server = start(&setup);
    let far = (now_ms() + 3_600_000).to_string();
    write_everything(&server, &far);
    let state = dump(&server);
    for (key, value, expiry) in [
        ("appended", "abcdef", "-1"),
        ("patched", "heLLo\0\0\0end", "-1"),
        ("refused", "first", "-1"),
        ("counter", "8", &*far),
        ("renamed", "v", &*far),
        ("copied", "source", &*far),
        ("flushed", "again", "-1"),
        ("http", "{\"a\":[1,2]}", "-1"),
        ("http2", "one two", "-1"),
        ("multi2", "2", "-1"),
        ("float", "3.5", "-1"),
    ] {
        let found = state.iter().find(|row| row.0 == key).unwrap_or_else(|| panic!("{key} in {state:?}"));
        assert_eq!((found.1.as_str(), found.2.as_str()), (value, expiry), "{key}");
    }
    for gone in ["taken", "deleted", "before", "old"] {
        assert!(!state.iter().any(|row| row.0 == gone), "{gone}");
    }
    server.kill();
    let server = start(&setup);
    assert_eq!(dump(&server), state, "replayed from the log");
    assert_eq!(ask(&server, "SAVE"), "OK");
    server.kill();
    let server = start(&setup);
    assert!(server.output().contains("a snapshot of"), "{}", server.output());
    assert_eq!(dump(&server), state, "loaded from a snapshot");
    server.stop();
    assert_eq!(dump(&start(&setup)), state, "after a stop");
}

fn write_everything(server: &Server, far: &str) {
    let mut client = client(server);
    for (line, reply) in [
        ("SET before v", "OK"),
        ("FLUSHALL", "OK"),
        ("SET flushed again", "OK"),
        ("APPEND appended abc", "3"),
        ("APPEND appended def", "6"),
        ("SET patched hello", "OK"),
        ("SETRANGE patched 2 LL", "5"),
        ("SETRANGE patched 8 end", "11"),
        ("SET refused first", "OK"),
        ("SET refused second NX", "(nil)"),
        ("SETNX refused third", "0"),
        ("SET absent v XX", "(nil)"),
        ("SET counter 5", "OK"),
        (&format!("PEXPIREAT counter {far}"), "1"),
        ("INCR counter", "6"),
        ("INCRBY counter 4", "10"),
        ("DECRBY counter 2", "8"),
        ("SET float 1.25", "OK"),
        ("INCRBYFLOAT float 2.25", "3.5"),
        (&format!("SET old v PXAT {far}"), "OK"),
        ("RENAMENX old renamed", "1"),
        ("RENAMENX refused renamed", "0"),
        (&format!("SET source source PXAT {far}"), "OK"),
        ("COPY source copied", "1"),
        ("COPY refused copied", "0"),
        ("SET taken v", "OK"),
        ("GETDEL taken", "v"),
        ("SET deleted v", "OK"),
        ("DEL deleted", "1"),
        ("GETSET swapped a", "(nil)"),
        ("GETEX swapped EX 5000", "a"),
        ("MSET many1 1 many2 2", "OK"),
        ("MSETNX many2 x many3 x", "0"),
        ("MULTI", "OK"),
        ("SET multi1 1", "QUEUED"),
        ("SET multi2 2", "QUEUED"),
        ("DEL multi1", "QUEUED"),
        ("EXEC", "[OK OK 1]"),
    ] {
        assert_eq!(say(&mut client, line), reply, "{line}");
    }
    let binary: Vec<u8> = (0..=255).collect();
    assert!(client.ask(&[&b"SET"[..], b"bin\r\n\0ary", &binary]).expect("a reply").is_ok());
    for (path, body) in [
        ("/kv/set", r#"{"key":"http","value":{"a": [1, 2]}}"#),
        ("/kv/set", r#"{"key":"http2","value":"one"}"#),
        ("/kv/http2/append", r#"{"value":" two"}"#),
    ] {
        assert_eq!(call(server, "POST", path, body).0, 200, "{path}");
    }
}

/// Every key with its value and expiry.
fn dump(server: &Server) -> Vec<(String, String, String)> {
    let mut client = client(server);
    let Reply::Array(keys) = client.ask(&["KEYS", "*"]).expect("a reply") else { panic!("no array") };
    let mut rows: Vec<_> = keys.iter().map(|key| key.bytes().expect("a key").to_vec()).collect();
    rows.sort();
    let rows = rows.into_iter().map(|key| {
        let value = client.ask(&[b"GET", &*key]).expect("a reply").to_string();
        let expiry = client.ask(&[&b"PEXPIRETIME"[..], &key]).expect("a reply").to_string();
        (String::from_utf8_lossy(&key).into_owned(), value, expiry)
    });
    rows.collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the sun is cold")
}
