//! More than a server can take, in short. `cargo run --release -p strandline-tests --bin overload` does it in full.

use core::time::Duration;
use std::path::PathBuf;

use strandline_tests::kill::MODES;
use strandline_tests::overload::{Overload, Seen, SlowDisk};

#[test]
fn crowds_and_clients_that_do_not_behave_leave_memory_bounded_and_others_served() {
    let overload = Overload {
        server: PathBuf::from(env!("CARGO_BIN_EXE_std-server")),
        idle: 200,
        active: 100,
        pipeline_bytes: 16 << 20,
        slow_http: 20,
        each: Duration::from_millis(300),
    };
    let mut loads = 0;
    overload.run(|seen| loads += usize::from(seen.probe.rounds() > 0)).expect("bounded, and served");
    assert_eq!(loads, 6);
}

#[test]
fn writers_that_are_faster_than_the_device_wait_for_it_in_every_mode() {
    let disk =
        SlowDisk { writers: 8, bytes_per_second: 1 << 20, sync_micros: 5_000, lasts: Duration::from_secs(1) };
    for mode in MODES {
        let mut seen: Vec<Seen> = Vec::new();
        let server = PathBuf::from(env!("CARGO_BIN_EXE_std-server"));
        disk.run(&server, mode, |load| seen.push(load.clone())).expect("bounded, and served");
        assert!(seen.iter().all(|load| load.probe.rounds() > 0), "{mode}: {seen:?}");
    }
}
