//! A start and a snapshot that are cut, or fail, at each of their system calls in turn.
//!
//! For every call that changes a file: let the first one kill the process, then the second one, … until the work gets
//! through; the same with a device that fails, and with one that is full. After each, a plain start has everything.

use std::fs;

use strandline_tests::process::{Ended, Setup};

use crate::support::{
    Attached, KILL, MOST_CALLS, ask, check_keys, cut_repairs, edit, fresh, fresh_copy, newest_segment,
    repair, snapshots, start, under, write_keys,
};

#[test]
fn a_start_may_be_cut_or_fail_at_every_system_call() {
    let (place, setup) = fresh();
    let server = start(&setup);
    write_keys(&server, 0..40);
    assert_eq!(ask(&server, "SAVE"), "OK");
    write_keys(&server, 40..80);
    server.kill();
    fs::write(setup.data().join("snapshots/snapshot-00000099.tmp"), "unfinished").expect("written");
    let cut = setup.clone().over(place.path().join("cut"));
    let mut met = 0;
    for (call, fault) in faults() {
        for nth in 1..=MOST_CALLS {
            fresh_copy(&setup, &cut);
            let started = under(&cut, call, fault, nth).start();
            let through = started.is_ok();
            match started {
                // The log's own thread may be killed at any moment now; if its calls only fail, reads are served.
                Ok(server) if fault != KILL => check_keys(&server, 0..80),
                Ok(server) => drop(server),
                Err(ended) => {
                    met += 1;
                    check_end(&ended, call, fault, nth);
                }
            }
            let server = start(&cut);
            check_keys(&server, 0..80);
            assert_eq!(ask(&server, "DBSIZE"), "80", "{call} {nth}: {fault}");
            write_keys(&server, 80..82);
            server.kill();
            if through {
                break;
            }
        }
    }
    assert!(met > 20, "only {met} starts were cut");
}

#[test]
fn a_first_start_may_be_cut_or_fail_at_every_system_call() {
    let (place, setup) = fresh();
    let mut met = 0;
    for (call, fault) in faults() {
        // Segments and manifest files are zeroed piece by piece: every seventh write is enough of those.
        let step = if call == "pwrite64" { 7 } else { 1 };
        for nth in (1..=MOST_CALLS * step).step_by(step) {
            let data = place.path().join("first");
            if data.exists() {
                fs::remove_dir_all(&data).expect("removed");
            }
            let setup = setup.clone().over(&data);
            match under(&setup, call, fault, nth).start() {
                Ok(server) => {
                    server.kill();
                    break;
                }
                Err(ended) => {
                    met += 1;
                    check_end(&ended, call, fault, nth);
                }
            }
            let server = start(&setup);
            write_keys(&server, 0..3);
            server.kill();
            check_keys(&start(&setup), 0..3);
        }
    }
    assert!(met > 20, "only {met} starts were cut");
}

#[test]
fn a_snapshot_may_be_cut_or_fail_at_every_system_call() {
    let mut met = 0;
    for (call, fault) in faults() {
        for nth in 1..=MOST_CALLS {
            let (_place, setup) = fresh();
            let setup = setup.set("persistence.snapshot.keep_count", 1).mode("always");
            let server = start(&setup);
            write_keys(&server, 0..40);
            assert_eq!(ask(&server, "SAVE"), "OK");
            write_keys(&server, 40..80);
            let injected = Attached::inject(&server, &format!("{call}:{fault}:when={nth}"));
            let saved = call_save(&server);
            drop(injected);
            server.kill();
            let server = start(&setup);
            check_keys(&server, 0..80);
            assert_eq!(ask(&server, "DBSIZE"), "80", "{call} {nth}: {fault}");
            assert_eq!(ask(&server, "SAVE"), "OK", "{call} {nth}: {fault}");
            server.kill();
            check_keys(&start(&setup), 0..80);
            if saved {
                break;
            }
            met += 1;
        }
    }
    assert!(met > 10, "only {met} snapshots were cut");
}

/// Whether a snapshot was made; the server may die of it.
fn call_save(server: &strandline_tests::process::Server) -> bool {
    let client = strandline_tests::process::resp::Client::connect(server.resp());
    let reply = client.and_then(|mut client| client.ask(&["SAVE"]));
    reply.is_ok_and(|reply| reply.is_ok())
}

fn faults() -> impl Iterator<Item = (&'static str, &'static str)> {
    let faults = [KILL, "error=EIO", "error=ENOSPC"];
    CALLS.iter().flat_map(move |call| faults.into_iter().map(move |fault| (*call, fault)))
}

fn check_end(ended: &Ended, call: &str, fault: &str, nth: usize) {
    let what = format!("{call} {nth}: {fault}");
    if fault == KILL {
        assert_eq!(ended.signal(), Some(9), "{what}: {ended}");
    } else {
        let why = if fault == "error=EIO" { "Input/output error" } else { "No space left" };
        assert_eq!(ended.code(), Some(1), "{what}: {ended}");
        assert!(ended.said(why) && ended.said("/"), "{what} is not named: {ended}");
    }
}

/// The calls that change files, or make changes durable; a question mark is for those that not every processor has.
const CALLS: [&str; 5] =
    ["pwrite64", "fdatasync", "fsync", "?rename,?renameat,?renameat2", "?unlink,?unlinkat"];

#[test]
fn a_repair_may_be_cut_at_every_system_call_and_another_one_finishes_it() {
    let (place, setup) = fresh();
    let setup = setup.mode("always");
    let server = start(&setup);
    let value = "x".repeat(60 << 10);
    (0..40).for_each(|key| assert_eq!(ask(&server, &format!("SET large:{key} {value}")), "OK"));
    for _ in 0..2 {
        write_keys(&server, 0..20);
        assert_eq!(ask(&server, "SAVE"), "OK");
    }
    write_keys(&server, 20..60);
    server.stop();
    // History, the older snapshot, the newest revision of the manifest, and what a start needs.
    let (needed, end) = newest_segment(setup.data());
    edit(&needed, |bytes| bytes[end - 400] ^= 1);
    edit(&snapshots(setup.data())[0], |bytes| bytes[30] ^= 1);
    (0..3)
        .for_each(|number| edit(&setup.data().join(format!("wal/manifest-{number}")), |bytes| bytes.fill(0)));
    let cut = setup.clone().over(place.path().join("cut"));
    fresh_copy(&setup, &cut);
    assert_eq!(repair(&cut).run().code(), Some(0));
    let expected = said_of(&cut);
    let calls = CALLS.iter().filter(|call| **call != "pwrite64").chain(&["linkat", "write"]);
    let met = cut_repairs(&setup, &cut, calls, |what| assert_eq!(said_of(&cut), expected, "{what}"));
    assert!(met > 10, "only {met} repairs were cut");
}

/// The verdict, the losses, and the keys of a server over this data.
fn said_of(setup: &Setup) -> (String, String, String) {
    let verified = setup.clone().word("verify").run();
    let losses: Vec<&str> = verified.output.lines().filter(|line| line.starts_with("loss")).collect();
    let losses = losses
        .iter()
        .map(|line| line.split(", 20").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let server = start(setup);
    let keys = ask(&server, "DBSIZE");
    server.kill();
    let verdict =
        verified.output.lines().find(|line| line.starts_with("verdict")).unwrap_or_default().to_owned();
    (verdict, losses, keys)
}
