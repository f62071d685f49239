//! The real adapter under `strace`: its calls are replayed onto the simulated medium and cut after each of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use strandline::archive::{self, Level};
use strandline::{BadState, Log, Lsn, Options, Replay};
use strandline_core::lower::posix::{File, Step};
use strandline_tests::chance::Chance;
use strandline_tests::posix::Profile;
use strandline_tests::recorded::{self, Cuts, Life, Outside, RECORDS, Recording, SEGMENT_BYTES};

fn record(mode: &str) -> Recording {
    let (trace, directory) = traced(mode);
    Recording::parse(&trace, &directory)
}

/// What `strace` saw, and where the store was.
fn traced(mode: &str) -> (String, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().canonicalize().unwrap().join("store");
    let trace = place.path().join("trace");
    let ran = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "1048576", "-e", Life::CALLS, "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_drive"))
        .arg(mode)
        .arg(&directory)
        .output()
        .expect("strace is needed: apt-get install strace");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    (std::fs::read_to_string(&trace).unwrap(), directory)
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

/// Takes every snapshot, and looks at no record.
struct Any;

impl Replay for Any {
    fn reset(&mut self) {}

    fn restore(&mut self, _: &[u8]) -> Result<(), BadState> {
        Ok(())
    }

    fn apply(&mut self, _: Lsn, _: &[u8]) -> Result<(), BadState> {
        Ok(())
    }
}

/// Every acknowledged record is in the log or in an archive that verifies, and is what was appended.
fn is_all_there(place: &Path, outside: &Outside) -> Result<(), String> {
    let acknowledged =
        outside.said.iter().rev().find_map(|line| line.strip_prefix("ack ")?.parse().ok()).unwrap_or(0);
    let mut found = BTreeMap::new();
    let options = Options::new(place).segment_bytes(SEGMENT_BYTES).batch_bytes(8192).keep_all(true);
    let (log, _) = Log::open(options, &mut Any).map_err(|refused| refused.to_string())?;
    for segment in log.segments() {
        let Some(end) = segment.next else { continue };
        let mut reader = log.read_segment(segment.log, end).map_err(|error| error.to_string())?;
        while let Some(record) = reader.next().map_err(|error| error.to_string())? {
            found.insert(record.lsn.0, record.bytes.to_vec());
        }
    }
    let archives = place.join("archives");
    let listed = if archives.is_dir() { archive::list(&archives) } else { Ok(vec![]) };
    for (_, path) in listed.map_err(|error| error.to_string())? {
        archive::verify(&path, Level::Full).map_err(|error| error.to_string())?;
        let read = archive::read(&path, |entry| {
            if let Some(bytes) = entry.record_bytes() {
                found.insert(entry.stamp.lsn.0, bytes.to_vec());
            }
            Ok(())
        });
        read.map_err(|error| error.to_string())?;
    }
    match (1..=RECORDS)
        .find(|number| found.get(number).is_none_or(|bytes| *bytes != recorded::record(*number)))
    {
        Some(first) if first <= acknowledged => Err(format!("record {first} of {acknowledged} is gone")),
        Some(first) if found.keys().any(|lsn| *lsn > first) => Err(format!("there is a hole at {first}")),
        _ => Ok(()),
    }
}

#[test]
fn no_cut_of_a_life_with_archives_loses_an_event() {
    let (trace, directory) = traced("archive");
    let profile = Profile { sector: 512, powersafe: true, stale: false };
    let mut chance = Chance::new(seed());
    let cuts =
        Life::parse(&trace, &directory).cut_everywhere(Cuts::everywhere(profile), &mut chance, is_all_there);
    let cuts = cuts.unwrap_or_else(|broken| panic!("{broken}"));
    println!("{cuts} cuts");
    assert!(cuts > 500, "{cuts}");
    // An archiver that forgets to sync its files is caught.
    let forgets =
        Life::parse(&trace, &directory).without_syncs(|path| path.starts_with(directory.join("archives")));
    let caught = forgets.cut_everywhere(Cuts::everywhere(profile), &mut chance, is_all_there);
    assert!(caught.is_err(), "{caught:?}");
}
