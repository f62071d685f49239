//! What was acknowledged is there after every kind of end.

use core::time::Duration;
use std::thread;

use tempfile::tempdir;

use crate::process::{Client, Server, until};

#[test]
fn acknowledged_writes_survive_a_kill_in_every_mode() {
    for mode in ["always", "periodic", "never"] {
        let data = tempdir().expect("a directory");
        for round in 0..3 {
            let server = Server::in_mode(data.path(), mode);
            let mut client = server.client();
            for earlier in 0..round {
                for number in 0..100 {
                    let expected = format!("{earlier}-{number}");
                    assert_eq!(client.ask(&format!("GET r:{earlier}:{number}")), expected, "{mode}");
                }
                assert_eq!(server.get(&format!("/kv/get/h:{earlier}")).1, "over http");
            }
            for number in 0..100 {
                assert_eq!(client.ask(&format!("SET r:{round}:{number} {round}-{number}")), "OK");
            }
            let body = format!(r#"{{"key":"h:{round}","value":"over http"}}"#);
            assert_eq!(server.post("/kv/set", &body).0, 200);
            server.kill();
        }
    }
}

#[test]
fn a_kill_under_load_loses_nothing_that_was_acknowledged() {
    for mode in ["always", "periodic", "never"] {
        let data = tempdir().expect("a directory");
        let server = Server::in_mode(data.path(), mode);
        let address = server.resp.expect("RESP is on");
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                thread::spawn(move || {
                    let mut client = Client::connect(address);
                    let mut acknowledged = 0;
                    // An unfinished reply, or none, acknowledges nothing.
                    while std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                        client.ask(&format!("SET w:{writer} {}", acknowledged + 1)) == "OK"
                    }))
                    .unwrap_or(false)
                    {
                        acknowledged += 1;
                    }
                    acknowledged
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(300));
        server.kill();
        let acknowledged: Vec<u64> = writers.into_iter().map(|w| w.join().expect("a count")).collect();
        let server = Server::in_mode(data.path(), mode);
        for (writer, acknowledged) in acknowledged.into_iter().enumerate() {
            assert!(acknowledged > 0, "{mode}: the load was one");
            let kept: u64 = server.ask(&format!("GET w:{writer}")).parse().expect("a number");
            assert!(kept == acknowledged || kept == acknowledged + 1, "{mode}: {kept} of {acknowledged}");
        }
    }
}

#[test]
fn every_orderly_end_seals_the_log_and_exits_with_0() {
    let data = tempdir().expect("a directory");
    for (round, end) in ["TERM", "INT", "SHUTDOWN"].into_iter().enumerate() {
        let mut server = Server::start(data.path());
        assert_eq!(server.ask("INCR rounds"), (round + 1).to_string());
        if end == "SHUTDOWN" {
            assert_eq!(server.ask("SHUTDOWN"), "closed");
        } else {
            server.signal(end);
        }
        assert!(server.ended().success(), "{end}");
        server.line("stopped: everything is on disk");
        let mut server = Server::start(data.path());
        assert_eq!(server.ask("GET rounds"), (round + 1).to_string());
        server.signal("TERM");
        assert!(server.ended().success());
    }
}

#[test]
fn a_second_start_says_what_was_recovered() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    (0..10).for_each(|number| assert_eq!(server.ask(&format!("SET k:{number} v")), "OK"));
    server.stop();
    let mut command = crate::process::server(data.path());
    command.env("STRANDLINE_LOGGING__LEVEL", "info");
    let mut child = command.spawn().expect("the binary runs");
    let errors = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let line = std::io::BufRead::lines(errors)
        .map_while(Result::ok)
        .find(|line| line.contains(r#""message":"recovered""#))
        .expect("the line");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&line["records"], &line["sealed"], &line["next_lsn"]),
        (&10.into(), &true.into(), &11.into())
    );
}

#[test]
fn a_flush_and_an_expiry_survive_restarts() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let mut client = server.client();
    assert_eq!(client.ask("SET gone v"), "OK");
    assert_eq!(client.ask("FLUSHALL"), "OK");
    assert_eq!(client.ask("SET short v PX 150"), "OK");
    assert_eq!(client.ask("SET long v EX 1000"), "OK");
    assert_eq!(client.ask("SET kept v"), "OK");
    server.kill();
    thread::sleep(Duration::from_millis(200));
    for _ in 0..2 {
        let server = Server::start(data.path());
        let mut client = server.client();
        assert_eq!(client.ask("MGET gone short kept"), "[nil nil v]");
        let seconds: i64 = client.ask("TTL long").parse().expect("a number");
        assert!((900..=1000).contains(&seconds), "an absolute expiry: {seconds} s are left");
        until("the expired key is removed", || client.ask("DBSIZE") == "2");
        server.kill();
    }
}

#[test]
fn transactions_and_results_replay_exactly() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let mut client = server.client();
    for (line, reply) in [
        ("SET n 10 EX 1000", "OK"),
        ("MULTI", "OK"),
        ("INCRBY n 5", "QUEUED"),
        ("APPEND text abc", "QUEUED"),
        ("SET n 0 NX", "QUEUED"),
        ("EXEC", "[15 3 nil]"),
        ("APPEND text def", "6"),
        ("SETRANGE text 1 XY", "6"),
        ("RENAME text moved", "OK"),
        ("COPY moved copy", "1"),
        ("SET n 0 NX", "nil"),
    ] {
        assert_eq!(client.ask(line), reply, "{line}");
    }
    server.kill();
    let server = Server::start(data.path());
    assert_eq!(server.ask("MGET n text moved copy"), "[15 nil aXYdef aXYdef]");
    assert_ne!(server.ask("TTL n"), "-1", "INCRBY keeps the expiry");
}
