//! Cases 8, 9, 13 and 14: snapshots that are cut, taken under load, that bound the log, and that are real.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::fs;
use std::thread;

use strandline_tests::process::Server;
use strandline_tests::process::resp::{Client, encode};

use crate::support::{
    ask, call, check_keys, client, fact, files, fresh, metric, say, segments, snapshots, start, wait_until,
    write_keys,
};

#[test]
fn case_08_kill_9_during_a_snapshot_loses_nothing() {
    let (_place, setup) = fresh();
    let setup = setup.set("persistence.snapshot.compression", false);
    let place = setup.data().join("snapshots");
    let mut server = start(&setup);
    fill(&server, 4000);
    let mut cut = 0;
    // A snapshot of this size now and then ends before the kill.
    for _ in 0..12 {
        assert!(ask(&server, "BGSAVE").starts_with("Background"));
        wait_until("a snapshot is under way, or done", || {
            !files(&place, ".tmp").is_empty() || fact(&server, "rdb_bgsave_in_progress") == "0"
        });
        server.kill();
        let unfinished = files(&place, ".tmp");
        cut += usize::from(!unfinished.is_empty());
        server = start(&setup);
        assert!(files(&place, ".tmp").is_empty(), "what is unfinished does not stay");
        assert!(unfinished.is_empty() || server.output().contains("an unfinished file was removed"));
        assert_eq!(ask(&server, "DBSIZE"), "4000");
        check_filled(&server, 4000);
    }
    assert!(cut > 0, "no snapshot was cut");
}

#[test]
fn a_file_that_nobody_knows_goes_to_quarantine_and_is_named() {
    let (_place, setup) = fresh();
    let server = start(&setup);
    write_keys(&server, 0..10);
    server.stop();
    for place in ["wal", "snapshots"] {
        fs::write(setup.data().join(place).join("notes.txt"), "mine").expect("written");
    }
    let server = start(&setup);
    for place in ["wal", "snapshots"] {
        let kept = setup.data().join(place).join("quarantine").join("notes.txt");
        assert_eq!(fs::read_to_string(&kept).expect("moved"), "mine");
        assert!(server.output().contains(&kept.display().to_string()), "{}", server.output());
    }
    check_keys(&server, 0..10);
}

#[test]
fn case_09_a_snapshot_under_write_load_is_exactly_once() {
    let (_place, setup) = fresh();
    let mut server = start(&setup.clone().set("persistence.snapshot.keep_count", 2));
    for _ in 0..3 {
        let before: Vec<u64> = (0..CLIENTS).map(|client| count(&server, client)).collect();
        let (acked, sent): (Vec<_>, Vec<_>) =
            (0..CLIENTS).map(|_| (AtomicU64::new(0), AtomicU64::new(0))).unzip();
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (address, acked, sent) = (server.resp(), &acked[client], &sent[client]);
                scope.spawn(move || {
                    increment(&mut Client::connect(address).expect("it listens"), client, acked, sent)
                });
            }
            for _ in 0..4 {
                let (status, answer) = call(&server, "POST", "/snapshot", "");
                assert_eq!(status, 200, "{answer}");
            }
            // It is killed while the clients are writing: they end with their connections.
            server.signal("KILL");
        });
        server = start(&setup);
        assert!(server.output().contains("a snapshot of"), "{}", server.output());
        for client in 0..CLIENTS {
            let (low, high) =
                (before[client] + acked[client].load(SeqCst), before[client] + sent[client].load(SeqCst));
            assert!(low > before[client], "the clients wrote");
            let found = count(&server, client);
            assert!((low..=high).contains(&found), "client {client}: {found} is not in {low}..={high}");
            // Each increment also appended its number: twice applied, or left out, it would show.
            let expected: String = (1..=found).map(|number| format!("{number};")).collect();
            assert_eq!(ask(&server, &format!("GET list:{client}")), expected);
        }
    }
}

#[test]
fn case_13_snapshots_bound_the_log() {
    let (_place, setup) = fresh();
    let setup = setup.set("persistence.snapshot.operation_threshold", 200);
    let server = start(&setup);
    let value = "x".repeat(10_000);
    let mut client = client(&server);
    let mut most = 0;
    // 40 MB of writes to 20 keys; a snapshot every 2 MB, for which the writer waits: how fast the disk is must not matter.
    for number in 0..4000 {
        assert_eq!(say(&mut client, &format!("SET key:{} {number}:{value}", number % 20)), "OK");
        if number % 200 == 0 {
            most = most.max(segments(setup.data()).len());
            wait_until("a snapshot is made", || fact(&server, "rdb_bgsave_in_progress") == "0");
        }
    }
    wait_until("the last snapshot is made", || fact(&server, "rdb_bgsave_in_progress") == "0");
    assert!(metric(&server, "strandline_log_rotations_total") >= 30.0, "segments end at their size");
    assert!(metric(&server, "strandline_snapshots_made_total") >= 5.0);
    wait_until("what they cover is released", || segments(setup.data()).len() <= 16);
    let left = segments(setup.data());
    assert!(most <= 30, "{most} segments at once");
    let sizes = left.iter().map(|segment| fs::metadata(segment).expect("there").len());
    assert!(sizes.into_iter().all(|bytes| bytes == 1 << 20), "segments have the size that was asked for");
    server.kill();
    let server = start(&setup);
    for key in 0..20 {
        assert_eq!(ask(&server, &format!("GET key:{key}")), format!("{}:{value}", 3980 + key));
    }
}

#[test]
fn case_14_snapshots_are_real() {
    let (_place, setup) = fresh();
    let setup = setup.set("persistence.snapshot.keep_count", 3);
    let server = start(&setup);
    for round in 0..5 {
        write_keys(&server, round * 20..round * 20 + 20);
        let (status, made) = call(&server, "POST", "/snapshot", "");
        assert_eq!((status, &made["success"]), (200, &true.into()), "{made}");
        assert_eq!(made["keys"], (round + 1) * 20);
        assert_eq!(made["base_lsn"], (round + 1) * 20 + 1);
        let path = made["snapshot_path"].as_str().expect("a path");
        let bytes = fs::metadata(path).expect("the file is there").len();
        assert_eq!(made["size_bytes"], bytes);
        let (_, listed) = call(&server, "GET", "/snapshots", "");
        let newest = listed["snapshots"].as_array().and_then(|rows| rows.last()).expect("listed").clone();
        assert_eq!(newest["path"], path);
        assert_eq!(newest["size_bytes"], bytes);
        assert!(newest["created_at"].as_str().is_some_and(|time| time.contains('T') && time.ends_with('Z')));
    }
    let (_, listed) = call(&server, "GET", "/snapshots", "");
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(3), "{listed}");
    wait_until("older ones are removed", || snapshots(setup.data()).len() == 3);
    server.kill();
    let server = start(&setup);
    assert!(server.output().contains("a snapshot of 100 keys"), "{}", server.output());
    check_keys(&server, 0..100);
}

#[test]
fn case_14_automatic_snapshots_and_compression_do_what_they_say() {
    let mut sizes = Vec::new();
    for compression in [true, false] {
        let (_place, setup) = fresh();
        let setup = setup
            .set("persistence.snapshot.operation_threshold", 100)
            .set("persistence.snapshot.compression", compression);
        let server = start(&setup);
        fill(&server, 100);
        wait_until("a snapshot that nobody asked for", || !snapshots(setup.data()).is_empty());
        sizes.push(fs::metadata(&snapshots(setup.data())[0]).expect("there").len());
        let (_place, setup) = fresh();
        let off = setup
            .set("persistence.snapshot.operation_threshold", 100)
            .set("persistence.snapshot.auto_snapshot", false);
        let server = start(&off);
        fill(&server, 300);
        assert_eq!(ask(&server, "SAVE"), "OK");
        assert_eq!(snapshots(off.data()).len(), 1, "only the one by hand");
    }
    assert!(sizes[0] * 4 < sizes[1], "compressed {} of {} bytes", sizes[0], sizes[1]);
}

/// Increments and appends until the connection ends.
fn increment(client: &mut Client, number: usize, acked: &AtomicU64, sent: &AtomicU64) {
    let start = client.ask(&["GET", &format!("count:{number}")]);
    let base: u64 = start.ok().and_then(|reply| reply.to_string().parse().ok()).unwrap_or(0);
    loop {
        let next = base + sent.fetch_add(1, SeqCst) + 1;
        let mut unit = Vec::new();
        encode(&["MULTI"], &mut unit);
        encode(&["INCR", &format!("count:{number}")], &mut unit);
        encode(&["APPEND", &format!("list:{number}"), &format!("{next};")], &mut unit);
        encode(&["EXEC"], &mut unit);
        let replies =
            client.send(&unit).and_then(|()| (0..4).map(|_| client.receive()).collect::<Result<Vec<_>, _>>());
        match replies {
            Ok(replies) => {
                assert!(replies[3].to_string().starts_with(&format!("[{next} ")), "{}", replies[3]);
                acked.fetch_add(1, SeqCst);
            }
            Err(_) => return,
        }
    }
}

fn count(server: &Server, client: usize) -> u64 {
    ask(server, &format!("GET count:{client}")).parse().unwrap_or(0)
}

fn fill(server: &Server, keys: usize) {
    let mut client = client(server);
    let mut pipeline = Vec::new();
    (0..keys).for_each(|key| encode(&["SET", &format!("filled:{key}"), &filled(key)], &mut pipeline));
    client.send(&pipeline).expect("sent");
    (0..keys).for_each(|_| assert_eq!(client.receive().expect("a reply").to_string(), "OK"));
}

fn check_filled(server: &Server, keys: usize) {
    let mut client = client(server);
    for key in (0..keys).step_by(37) {
        assert_eq!(say(&mut client, &format!("GET filled:{key}")), filled(key));
    }
}

fn filled(key: usize) -> String {
    format!("{key}:{}", "a line of text that repeats; ".repeat(30))
}

const CLIENTS: usize = 4;
