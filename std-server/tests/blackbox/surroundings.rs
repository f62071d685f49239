//! What may happen around a server: its directory goes, turns read-only or answers late, and file handles run out.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use strandline_tests::process::PATIENCE;

use crate::disk::Disk;
use crate::faults::check_halted;
use crate::support::{
    Attached, ask, call, check_keys, client, fact, fresh, over, refused, say, start, wait_until, write_keys,
};

#[test]
fn a_directory_that_is_removed_halts_the_log_and_reads_go_on() {
    for mode in ["always", "periodic"] {
        let (_place, setup) = fresh();
        let setup = setup.mode(mode);
        let server = start(&setup);
        write_keys(&server, 0..20);
        fs::remove_dir_all(setup.data()).expect("removed");
        let mut client = client(&server);
        let deadline = Instant::now() + PATIENCE;
        let refusal = loop {
            assert!(Instant::now() < deadline, "{mode}: nobody noticed");
            let reply = say(&mut client, "SET into the-void");
            if reply != "OK" {
                break reply;
            }
        };
        assert!(refusal.starts_with("-MISCONF "), "{mode}: {refusal}");
        check_halted(&server);
        check_keys(&server, 0..20);
        assert_eq!(server.stop().code(), Some(1), "{mode}");
    }
}

#[test]
fn a_device_that_turns_read_only_halts_the_log_and_can_be_looked_into() {
    let Some(disk) = Disk::new(16) else {
        eprintln!("skipped: no file system can be mounted here, neither by root nor in a namespace");
        return;
    };
    let setup = over(&disk.inside).under(disk.entry()).mode("always");
    let server = start(&setup);
    write_keys(&server, 0..20);
    let injected = Attached::inject(&server, "pwrite64:error=EROFS");
    let reply = ask(&server, "SET doomed value");
    assert!(reply.starts_with("-MISCONF ") && reply.contains("Read-only file system"), "{reply}");
    injected.detach();
    check_halted(&server);
    check_keys(&server, 0..20);
    server.kill();

    disk.remount("ro");
    refused(&setup, &["LOCK: Read-only file system"]);
    for words in [&["verify"][..], &["repair"], &["repair", "--apply"]] {
        let ended = words.iter().fold(setup.clone(), |setup, word| setup.word(word)).run();
        assert_eq!(ended.code(), Some(0), "{words:?}: {ended}");
    }
    disk.remount("rw");
    check_keys(&start(&setup), 0..20);
}

/// More connections than file handles: who is in goes on, and the log waits for a handle instead of giving up.
#[test]
fn connections_that_take_every_file_handle_take_none_from_the_log_for_good() {
    let (_place, setup) = fresh();
    let setup = setup.mode("always").set("persistence.snapshot.auto_snapshot", false);
    let server = start(&setup.clone().under(["prlimit", "--nofile=48:48"]));
    let mut writer = client(&server);
    assert_eq!(say(&mut writer, "SET first value"), "OK");
    let crowd = |address: SocketAddr, request: &[u8]| -> Vec<TcpStream> {
        let connect = |_| {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
            stream.write_all(request).ok()?;
            Some(stream)
        };
        (0..100).filter_map(connect).collect()
    };
    let crowds = [
        crowd(server.resp(), b"PING\r\n"),
        crowd(server.http(), b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ];
    // Several segments are begun meanwhile.
    let value = "x".repeat(50_000);
    let mut kept = Vec::new();
    for key in 0..120 {
        let reply = say(&mut writer, &format!("SET key:{key} {value}"));
        assert!(reply == "OK" || reply.starts_with("-OOM "), "{reply}");
        kept.extend((reply == "OK").then_some(key));
    }
    assert_eq!(say(&mut writer, "GET first"), "value");
    drop(crowds);
    wait_until("there are handles again", || say(&mut writer, &format!("SET last {value}")) == "OK");
    assert!(say(&mut writer, "INFO").contains("log_halted:0"));
    drop(writer);
    server.kill();

    let server = start(&setup);
    let mut reader = client(&server);
    for key in kept {
        assert_eq!(say(&mut reader, &format!("STRLEN key:{key}")), "50000", "key:{key}");
    }
    assert_eq!(say(&mut reader, "STRLEN last"), "50000");
}

/// One sync takes until it is let go: as long as the test wants.
#[test]
fn a_disk_that_answers_late_keeps_writers_waiting_and_nobody_else() {
    let (_place, setup) = fresh();
    let setup = setup.mode("always");
    let server = start(&setup);
    write_keys(&server, 0..20);
    let held = Attached::inject(&server, "fdatasync:delay_enter=600000000:when=1");
    let answered = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut stream = TcpStream::connect(server.resp()).expect("it listens");
        stream.write_all(b"SET late value\r\n").expect("sent");
        let answered = &answered;
        scope.spawn(move || {
            let mut reply = [0; 16];
            let bytes = stream.read(&mut reply).expect("a reply");
            answered.store(true, SeqCst);
            assert_eq!(&reply[..bytes], b"+OK\r\n");
        });
        // The value is seen by nobody before it is safe; everything else is.
        check_keys(&server, 0..20);
        assert_eq!(call(&server, "GET", "/kv/get/key:1", "").0, 200);
        assert_eq!(call(&server, "GET", "/livez", "").0, 200);
        assert!(!answered.load(SeqCst), "it is acknowledged before it is durable");
        held.detach();
    });
    assert_eq!((ask(&server, "GET late"), fact(&server, "log_halted")), ("value".into(), "0".into()));
    server.kill();
    assert_eq!(ask(&start(&setup), "GET late"), "value");
}
