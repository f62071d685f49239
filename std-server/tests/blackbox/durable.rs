//! Cases 1 to 3: acknowledged means kept, a stop loses nothing, and `periodic` has a clock of its own.

use std::fs;

use strandline_tests::process::resp::encode;

use crate::support::{
    Attached, MODES, ask, call, check_keys, client, fresh, metric, say, start, wait_until, write_keys,
};

#[test]
fn case_01_kill_9_loses_no_acknowledged_write_in_any_mode() {
    for mode in MODES {
        let (_place, setup) = fresh();
        let setup = setup.mode(mode).set("persistence.wal.fsync_interval_ms", 60000);
        let server = start(&setup);
        let mut client = client(&server);
        let mut pipeline = Vec::new();
        (0..2000)
            .for_each(|key| encode(&["SET", &format!("key:{key}"), &format!("value-{key}")], &mut pipeline));
        client.send(&pipeline).expect("sent");
        for key in 0..2000 {
            assert_eq!(client.receive().expect("a reply").to_string(), "OK", "key:{key}");
        }
        for key in 2000..2050 {
            let body = format!(r#"{{"key":"key:{key}","value":"value-{key}"}}"#);
            assert_eq!(call(&server, "POST", "/kv/set", &body).0, 200);
        }
        assert_eq!(server.kill().signal(), Some(9), "{mode}");
        let server = start(&setup);
        check_keys(&server, 0..2050);
        assert_eq!(ask(&server, "DBSIZE"), "2050", "{mode}");
    }
}

#[test]
fn case_02_sigterm_when_idle_loses_nothing_in_any_mode() {
    for mode in MODES {
        let (_place, setup) = fresh();
        let setup = setup.mode(mode).set("persistence.wal.fsync_interval_ms", 60000);
        let server = start(&setup);
        write_keys(&server, 0..300);
        let ended = server.stop();
        assert_eq!(ended.code(), Some(0), "{mode}: {ended}");
        assert!(ended.said("everything is on disk"), "{mode}: {ended}");
        let server = start(&setup);
        assert!(server.output().contains("the last server had stopped in order"), "{}", server.output());
        check_keys(&server, 0..300);
    }
}

#[test]
fn case_03_periodic_syncs_without_a_later_write() {
    let (place, setup) = fresh();
    let server = start(&setup.mode("periodic").set("persistence.wal.fsync_interval_ms", 50));
    let calls = place.path().join("calls");
    let _traced = Attached::trace(&server, "pwrite64,fdatasync", &calls);
    assert_eq!(ask(&server, "SET lonely value"), "OK");
    wait_until("a sync after the only write", || {
        let calls = fs::read_to_string(&calls).unwrap_or_default();
        let written = calls.lines().position(|line| line.contains("pwrite64(") && line.contains(".wal>"));
        written.is_some_and(|at| {
            calls.lines().skip(at).any(|line| line.contains("fdatasync(") && line.contains(".wal>"))
        })
    });
    wait_until("nothing is left to sync", || metric(&server, "strandline_log_unsynced_bytes") == 0.0);
}

#[test]
fn waitaof_forces_a_sync_in_every_mode() {
    for mode in MODES {
        let (place, setup) = fresh();
        let server = start(&setup.mode(mode).set("persistence.wal.fsync_interval_ms", 60000));
        let calls = place.path().join("calls");
        let traced = Attached::trace(&server, "fdatasync", &calls);
        let mut client = client(&server);
        assert_eq!(say(&mut client, "SET key value"), "OK");
        assert_eq!(say(&mut client, "WAITAOF 1 0 0"), "[1 0]", "{mode}");
        assert_eq!(metric(&server, "strandline_log_unsynced_bytes"), 0.0, "{mode}");
        traced.detach();
        let calls = fs::read_to_string(&calls).expect("calls");
        assert!(calls.lines().any(|line| line.contains(".wal>")), "{mode}: no sync of the log in {calls}");
    }
}
