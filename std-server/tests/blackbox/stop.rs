//! Ends of every kind: a stop under load, a kill during recovery, and starts that are refused.

use core::time::Duration;
use std::fs;
use std::net::TcpListener;
use std::thread;

use strandline_tests::process::resp::{Client, Reply, encode};

use crate::support::{MODES, ask, check_keys, client, fresh, over, refused, start, write_keys};

#[test]
fn sigterm_under_load_loses_nothing_in_any_mode() {
    for mode in MODES {
        let (_place, setup) = fresh();
        let setup = setup.mode(mode).set("persistence.wal.fsync_interval_ms", 60000);
        let server = start(&setup);
        let address = server.resp();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                thread::spawn(move || {
                    count_until_cut(&mut Client::connect(address).expect("it listens"), writer)
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(200));
        let ended = server.stop();
        assert_eq!(ended.code(), Some(0), "{mode}: {ended}");
        let server = start(&setup);
        for (writer, counted) in writers.into_iter().enumerate() {
            let (acknowledged, sent) = counted.join().expect("a writer");
            assert!(acknowledged > 0, "{mode}: it wrote");
            let found: u64 = ask(&server, &format!("GET count:{writer}")).parse().expect("a number");
            assert!((acknowledged..=sent).contains(&found), "{mode}: {found}, {acknowledged} acknowledged");
        }
    }
}

#[test]
fn kill_9_during_recovery_changes_nothing() {
    let (_place, setup) = fresh();
    let server = start(&setup);
    let value = "x".repeat(500);
    let mut client = client(&server);
    for part in 0..20 {
        let mut pipeline = Vec::new();
        (0..500).for_each(|key| encode(&["SET", &format!("k:{part}:{key}"), &value], &mut pipeline));
        client.send(&pipeline).expect("sent");
        (0..500).for_each(|_| assert_eq!(client.receive().expect("a reply").to_string(), "OK"));
    }
    server.kill();
    let mut cut = 0;
    for delay_ms in (0..120).step_by(4) {
        let server = setup.spawn();
        thread::sleep(Duration::from_millis(delay_ms));
        let ended = server.kill();
        assert_eq!(ended.signal(), Some(9), "{ended}");
        cut += u32::from(!ended.said("is ready"));
    }
    assert!(cut > 0, "no start was cut");
    let server = start(&setup);
    assert_eq!(ask(&server, "DBSIZE"), "10000");
    assert_eq!(ask(&server, "GET k:19:499"), value);
}

#[test]
fn a_second_server_on_the_same_data_is_refused_and_the_first_goes_on() {
    let (_place, setup) = fresh();
    let first = start(&setup);
    write_keys(&first, 0..5);
    refused(&setup, &["in use by another process", &first.pid().to_string(), "--data-dir"]);
    write_keys(&first, 5..10);
    first.kill();
    check_keys(&start(&setup), 0..10);
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let (_place, setup) = fresh();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    refused(&setup.clone().set("server.port", address.port()), &[&address.to_string(), "--http"]);
    refused(&setup.set("resp3.port", address.port()), &[&address.to_string(), "--resp"]);
}

#[test]
fn a_directory_that_can_not_be_used_is_one_clear_line() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("file");
    fs::write(&file, "in the way").expect("written");
    refused(&over(&file), &[&file.display().to_string(), "--data-dir"]);
    assert_eq!(fs::read_to_string(&file).expect("there"), "in the way");
}

/// Increments until the server ends the connection: how many were acknowledged, and how many sent.
fn count_until_cut(client: &mut Client, writer: usize) -> (u64, u64) {
    let key = format!("count:{writer}");
    let mut sent = 0;
    loop {
        sent += 1;
        match client.ask(&["INCR", &key]) {
            Ok(Reply::Integer(found)) => assert_eq!(u64::try_from(found), Ok(sent)),
            Ok(other) => panic!("INCR was answered with {other}"),
            Err(_) => return (sent - 1, sent),
        }
    }
}
