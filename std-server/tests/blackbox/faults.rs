//! Cases 12 and 22: a full disk, a failed write or sync, a slow disk.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use strandline_tests::process::Server;
use strandline_tests::process::resp::encode;

use crate::disk::Disk;
use crate::support::{
    Attached, MODES, ask, call, check_keys, client, fact, fresh, metric, over, say, start, wait_until,
    write_keys,
};

#[test]
fn case_12_a_failed_sync_is_never_acknowledged() {
    for fault in ["fdatasync:error=EIO", "pwrite64:error=EIO"] {
        let (_place, setup) = fresh();
        let setup = setup.mode("always");
        let server = start(&setup);
        write_keys(&server, 0..50);
        let injected = Attached::inject(&server, fault);
        let reply = ask(&server, "SET doomed value");
        assert!(reply.starts_with("-MISCONF ") && reply.contains("halted"), "{fault}: {reply}");
        injected.detach();
        // The device works again, but nobody knows what it kept: only a restart finds out.
        for line in ["SET doomed value", "INCR other", "FLUSHALL", "DEL key:1"] {
            assert!(ask(&server, line).starts_with("-MISCONF "), "{fault}: {line}");
        }
        check_halted(&server);
        check_keys(&server, 0..50);
        let ended = server.stop();
        assert_eq!(ended.code(), Some(1), "it does not end as if all were well: {ended}");
        let server = start(&setup);
        check_keys(&server, 0..50);
        write_keys(&server, 50..60);
        server.kill();
        check_keys(&start(&setup), 0..60);
    }
}

#[test]
fn case_12_a_failed_sync_in_the_background_halts_the_other_modes() {
    for mode in ["periodic", "never"] {
        let (_place, setup) = fresh();
        let setup = setup.mode(mode);
        let server = start(&setup);
        write_keys(&server, 0..50);
        let _injected = Attached::inject(&server, "fdatasync:error=EIO");
        let mut client = client(&server);
        // In `never` a sync has to be asked for.
        let reply = say(&mut client, "SET late value");
        assert!(reply == "OK" || reply.starts_with("-MISCONF "), "{mode}: {reply}");
        let reply = say(&mut client, "WAITAOF 1 0 0");
        assert!(reply.starts_with("-MISCONF "), "{mode}: {reply}");
        wait_until("it halts", || fact(&server, "log_halted") == "1");
        assert!(say(&mut client, "SET doomed value").starts_with("-MISCONF "), "{mode}");
        check_halted(&server);
        server.kill();
        check_keys(&start(&setup), 0..50);
    }
}

#[test]
fn case_12_a_full_disk_refuses_writes_loses_nothing_and_heals() {
    for mode in MODES {
        let Some(disk) = Disk::new(16) else {
            eprintln!("skipped: no file system can be mounted here, neither by root nor in a namespace");
            return;
        };
        let setup = over(&disk.inside)
            .under(disk.entry())
            .mode(mode)
            .set("persistence.snapshot.auto_snapshot", false);
        let server = start(&setup);
        let value = "x".repeat(50_000);
        let mut client = client(&server);
        let mut kept = 0;
        let refusal = (0..2000).find_map(|key| {
            let reply = say(&mut client, &format!("SET filling:{key} {value}"));
            kept += usize::from(reply == "OK");
            (reply != "OK").then_some(reply)
        });
        let refusal = refusal.expect("16 MiB are full at some time");
        assert!(refusal.starts_with("-OOM ") && refusal.contains("no space"), "{mode}: {refusal}");
        assert!(kept > 100, "{mode}: {kept} records of 50 KB in 16 MiB");
        // A small one may still fit behind the last record.
        let body = format!(r#"{{"key":"more","value":"{value}"}}"#);
        let (status, answer) = call(&server, "POST", "/kv/set", &body);
        assert_eq!(status, 507, "{mode}: {answer}");
        assert!(server.says("no space for another segment"), "{}", server.output());
        assert_eq!(say(&mut client, "GET filling:0"), value, "{mode}: reads go on");
        assert_eq!(say(&mut client, &format!("DEL filling:{}", kept - 1)), "1", "{mode}: deletes go on");
        kept -= 1;
        // Somebody makes room.
        fs::remove_file(disk.outside.join("ballast")).expect("the ballast");
        wait_until("it heals", || say(&mut client, "SET healed yes") == "OK");
        wait_until("it says so", || fact(&server, "log_full") == "0");
        server.kill();
        let server = start(&setup);
        for key in 0..kept {
            assert_eq!(ask(&server, &format!("STRLEN filling:{key}")), "50000", "{mode}: filling:{key}");
        }
        assert_eq!(ask(&server, "GET healed"), "yes");
        assert_eq!(ask(&server, "DBSIZE"), (kept + 1).to_string());
        assert_eq!(server.stop().code(), Some(0));
    }
}

#[test]
fn a_start_on_a_full_disk_is_refused_clearly_and_harms_nothing() {
    let Some(disk) = Disk::new(16) else {
        eprintln!("skipped: no file system can be mounted here, neither by root nor in a namespace");
        return;
    };
    let setup = over(&disk.inside).under(disk.entry());
    let server = start(&setup);
    write_keys(&server, 0..20);
    server.kill();
    let mut filler = fs::File::create(disk.outside.join("filler")).expect("created");
    let block = vec![1; 4096];
    while filler.write_all(&block).is_ok() {}
    drop(filler);
    match setup.start() {
        // What was prepared before may suffice.
        Ok(server) => check_keys(&server, 0..20),
        Err(ended) => {
            assert_eq!(ended.code(), Some(1), "{ended}");
            assert!(ended.said("No space left"), "{ended}");
        }
    }
    fs::remove_file(disk.outside.join("filler")).expect("removed");
    check_keys(&start(&setup), 0..20);
}

#[test]
fn a_start_on_a_full_disk_after_the_reserve_was_used_serves_and_heals() {
    let Some(disk) = Disk::new(16) else {
        eprintln!("skipped: no file system can be mounted here, neither by root nor in a namespace");
        return;
    };
    let setup = over(&disk.inside).under(disk.entry()).set("persistence.snapshot.auto_snapshot", false);
    // Long keys, so that deletes fill the segment that is kept for them.
    let key = |number: usize| format!("{number:x>30000}");
    let server = start(&setup);
    let mut client = client(&server);
    let first = |replies: &mut dyn FnMut(usize) -> String, good: &str| {
        (0..1000)
            .map(|number| (number, replies(number)))
            .find(|(_, reply)| reply != good)
            .expect("full at some time")
    };
    let (written, refusal) = first(&mut |number| say(&mut client, &format!("SET {} v", key(number))), "OK");
    assert!(refusal.starts_with("-OOM "), "{refusal}");
    let (deleted, refusal) = first(&mut |number| say(&mut client, &format!("DEL {}", key(number))), "1");
    assert!(refusal.starts_with("-OOM "), "{refusal}");
    assert!((10..written).contains(&deleted), "the reserve took {deleted} deletes of {written} keys");
    server.kill();

    let server = start(&setup);
    assert_eq!(ask(&server, "DBSIZE"), (written - deleted).to_string());
    assert_eq!(ask(&server, &format!("GET {}", key(deleted))), "v");
    assert_eq!(ask(&server, &format!("GET {}", key(deleted - 1))), "(nil)");
    fs::remove_file(disk.outside.join("ballast")).expect("the ballast");
    wait_until("it heals", || ask(&server, "SET healed yes") == "OK");
    server.kill();
    let server = start(&setup);
    assert_eq!(ask(&server, "GET healed"), "yes");
    assert_eq!(ask(&server, "DBSIZE"), (written - deleted + 1).to_string());
}

#[test]
fn a_snapshot_that_can_not_be_written_is_an_error_and_nothing_else() {
    let (_place, setup) = fresh();
    let server = start(&setup.clone().mode("never"));
    write_keys(&server, 0..100);
    let snapshots = setup.data().join("snapshots");
    let away = setup.data().join("away");
    fs::rename(&snapshots, &away).expect("renamed");
    let (status, answer) = call(&server, "POST", "/snapshot", "");
    assert!(
        status >= 400 && answer["error"].as_str().is_some_and(|error| error.contains("snapshot")),
        "{answer}"
    );
    assert!(ask(&server, "SAVE").contains("no snapshot was made"));
    fs::rename(&away, &snapshots).expect("renamed");
    server.kill();
    let server = start(&setup);
    check_keys(&server, 0..100);
    assert_eq!(ask(&server, "SAVE"), "OK");
}

#[test]
fn case_22_a_slow_disk_slows_clients_and_memory_stays_flat() {
    let (_place, setup) = fresh();
    let server = start(&setup.mode("always").set("persistence.snapshot.auto_snapshot", false));
    let value = "x".repeat(16 << 10);
    (0..8).for_each(|client| assert_eq!(ask(&server, &format!("SET slow:{client} {value}")), "OK"));
    let usual = server.resident_bytes();
    let _slow = Attached::inject(&server, "fdatasync:delay_enter=50000");
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let (mut most, begun) = (0, Instant::now());
    thread::scope(|scope| {
        for client in 0..8 {
            let (stop, sent, value, address) = (&stop, &sent, &value, server.resp());
            scope.spawn(move || {
                let mut pipeline = Vec::new();
                (0..16).for_each(|_| encode(&["SET", &format!("slow:{client}"), value], &mut pipeline));
                let mut stream = TcpStream::connect(address).expect("it listens");
                stream.set_write_timeout(Some(Duration::from_millis(100))).expect("set");
                // It never reads a reply: what it sent waits somewhere, and that must not be in the server.
                while !stop.load(Relaxed) {
                    sent.fetch_add(stream.write(&pipeline).unwrap_or(0) as u64, Relaxed);
                }
            });
        }
        while begun.elapsed() < Duration::from_secs(3) {
            most = most.max(server.resident_bytes());
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Relaxed);
    });
    let sent = sent.load(Relaxed);
    assert!(usual > 0 && most < usual + (48 << 20), "{most} bytes after {usual}, for {sent} bytes sent");
    assert!(metric(&server, "strandline_log_sync_duration_seconds_count") > 5.0, "it went on working");
    assert_eq!(ask(&server, "STRLEN slow:0"), value.len().to_string());
}

pub(crate) fn check_halted(server: &Server) {
    let (status, ready) = call(server, "GET", "/readyz", "");
    assert_eq!((status, &ready["status"]), (503, &"halted".into()), "{ready}");
    assert_eq!(call(server, "GET", "/livez", "").0, 200);
    assert_eq!(metric(server, "strandline_halted"), 1.0);
    let (status, answer) = call(server, "POST", "/kv/set", r#"{"key":"more","value":"v"}"#);
    assert_eq!(status, 503, "{answer}");
    assert!(server.says("the log has halted"), "{}", server.output());
}
