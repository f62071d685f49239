//! The real adapter under `strace`: its calls are replayed onto the simulated medium and cut after each of them.

use std::process::Command;

use strandline_core::lower::posix::{File, Step};
use strandline_tests::posix::Profile;
use strandline_tests::recorded::{RECORDS, Recording};

fn record(mode: &str) -> Recording {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().canonicalize().unwrap().join("store");
    let trace = place.path().join("trace");
    let calls = "trace=openat,pwrite64,fdatasync,fsync,rename,unlink,write";
    let ran = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "1048576", "-e", calls, "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_drive"))
        .arg(mode)
        .arg(&directory)
        .output()
        .expect("strace is needed: apt-get install strace");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Recording::parse(&std::fs::read_to_string(&trace).unwrap(), &directory)
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("SEED={seed}");
    seed
}

#[test]
fn every_cut_of_the_recorded_calls_keeps_what_was_acknowledged() {
    for mode in ["always", "never"] {
        let recording = record(mode);
        for sector in [512, 4096] {
            let profile = Profile { sector, powersafe: true, stale: sector == 512 };
            let checked =
                recording.check(profile, seed(), 3).unwrap_or_else(|violation| panic!("{mode}: {violation}"));
            println!("{mode}, sectors of {sector}: {checked:?}");
            assert!(checked.calls > 300, "{checked:?}");
            assert!(checked.acknowledged >= RECORDS - 2, "{checked:?}");
        }
    }
}

#[test]
fn an_adapter_that_forgets_a_sync_is_caught() {
    let profile = Profile { sector: 512, powersafe: true, stale: false };
    let no_sync = record("always").without(|step| matches!(step, Step::Sync(File::Segment(_))));
    assert!(no_sync.check(profile, seed(), 3).is_err());
    let no_directory_sync = record("always").without(|step| matches!(step, Step::SyncDirectory(_)));
    assert!(no_directory_sync.check(profile, seed(), 3).is_err());
}
