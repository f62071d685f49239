//! What goes wrong around a log: files that are gone, snapshots that fail, callbacks that misbehave.

use core::task::Waker;
use core::time::Duration;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use strandline::{BadState, Event, Image, Log, Lsn, Millis, Mode, OpenError, Options, Recovered, Replay};

/// Longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts records, whether from a snapshot or from the log.
#[derive(Default)]
struct Count(u64);

impl Replay for Count {
    fn reset(&mut self) {
        self.0 = 0;
    }

    fn restore(&mut self, chunk: &[u8]) -> Result<(), BadState> {
        self.0 = u64::from_le_bytes(chunk.try_into().map_err(|_| BadState("not a count".into()))?);
        Ok(())
    }

    fn apply(&mut self, _: Lsn, _: &[u8]) -> Result<(), BadState> {
        self.0 += 1;
        Ok(())
    }
}

struct Counted(Option<u64>);

impl Image for Counted {
    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, BadState> {
        let count = self.0.take();
        chunk.extend(count.into_iter().flat_map(u64::to_le_bytes));
        Ok(count.is_some())
    }
}

/// A large chunk, then a failure.
struct Failing(bool);

impl Image for Failing {
    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, BadState> {
        if core::mem::replace(&mut self.0, true) {
            return Err(BadState("no more".into()));
        }
        chunk.resize(1 << 20, 7);
        Ok(true)
    }
}

fn options(directory: &Path) -> Options {
    Options::new(directory).mode(Mode::Never).segment_bytes(64 << 10).batch_bytes(8 << 10)
}

fn open(directory: &Path) -> (Log, Recovered, u64) {
    let mut count = Count::default();
    let (log, recovered) = Log::open(options(directory), &mut count).unwrap();
    (log, recovered, count.0)
}

fn fill(log: &Log, records: usize) {
    for _ in 0..records {
        log.append(&[7; 1000]).unwrap();
    }
}

fn snapshot(log: &Log) {
    let ticket = log.begin_snapshot();
    let count = ticket.base().0 - 1;
    log.write_snapshot(ticket, &mut Counted(Some(count))).unwrap();
}

fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|name| name == "wal")).collect();
    found.sort();
    found
}

#[test]
fn a_directory_that_is_removed_while_it_is_written_is_noticed() {
    for mode in [Mode::Always, Mode::Never] {
        let place = tempfile::tempdir().expect("a directory");
        let directory = place.path().join("log");
        // Room for all of it: nothing is created meanwhile.
        let options = Options::new(&directory).mode(mode).segment_bytes(64 << 20).max_segments(1);
        let (log, _) = Log::open(options, &mut ()).expect("a new log");
        log.append(b"while it is there").expect("appended");
        fs::remove_dir_all(&directory).expect("removed");
        let deadline = Instant::now() + PATIENCE;
        while log.append(b"into the void").is_ok() {
            assert!(Instant::now() < deadline, "{mode:?}: nobody noticed");
        }
        let why = log.stats().halted.unwrap_or_default();
        assert!(why.contains("the file was removed while it was written"), "{mode:?}: {why}");
    }
}

#[test]
fn snapshots_that_finish_in_another_order_than_they_began_keep_what_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path());
    fill(&log, 10);
    let early = log.begin_snapshot();
    fill(&log, 500);
    let late = log.begin_snapshot();
    let [of_early, of_late] = [early.base().0 - 1, late.base().0 - 1];
    log.write_snapshot(late, &mut Counted(Some(of_late))).unwrap();
    log.write_snapshot(early, &mut Counted(Some(of_early))).unwrap();
    assert!(log.snapshots().is_sorted_by_key(|info| info.snapshot.base));
    fill(&log, 10);
    drop(log);
    let (_, recovered, count) = open(directory.path());
    assert_eq!((count, recovered.report.snapshot.unwrap().base), (520, Lsn(511)));
}

#[test]
fn an_extent_that_is_gone_is_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path());
    fill(&log, 300);
    snapshot(&log);
    fill(&log, 10);
    drop(log);
    fs::remove_file(&segments(directory.path())[1]).unwrap();
    let (log, recovered, _) = open(directory.path());
    assert_eq!(recovered.report.unneeded_damage, 1, "a snapshot covers what is gone");
    for _ in 0..3 {
        fill(&log, 200);
        snapshot(&log);
    }
    fill(&log, 500);
    assert_eq!(log.stats().halted, None);
    drop(log);
    assert_eq!(open(directory.path()).2, 1410);
}

#[test]
fn a_file_with_a_number_that_was_never_given_is_refused_by_name() {
    for stray in ["log-4294967295.wal", "log-4294967290.wal", "snapshots/snapshot-4294967295.snap"] {
        let directory = tempfile::tempdir().unwrap();
        let (log, ..) = open(directory.path());
        fill(&log, 10);
        drop(log);
        let path = directory.path().join(stray);
        fs::write(&path, b"from elsewhere").unwrap();
        let error = Log::open(options(directory.path()), &mut ()).unwrap_err().to_string();
        assert!(error.contains(stray) && error.contains("Move it elsewhere"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"from elsewhere");
        fs::remove_file(path).unwrap();
        let (log, _, count) = open(directory.path());
        fill(&log, 200);
        assert_eq!((count, log.stats().halted), (10, None));
    }
}

#[test]
fn a_file_with_a_number_a_little_above_is_passed() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path());
    fill(&log, 10);
    drop(log);
    fs::write(directory.path().join("log-00001000.wal"), b"from a start that was cut").unwrap();
    let (log, ..) = open(directory.path());
    fill(&log, 500);
    assert_eq!(log.stats().halted, None);
    drop(log);
    assert_eq!(open(directory.path()).2, 510);
}

#[test]
fn marks_carry_the_clock_of_the_program_and_never_run_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let ahead = Millis(u64::MAX / 4);
    let (log, _) = Log::open(options(directory.path()).clock(move || ahead), &mut ()).unwrap();
    fill(&log, 1);
    snapshot(&log);
    assert_eq!(log.snapshots()[0].snapshot.time, ahead);
    log.close();
    let (log, recovered, _) = open(directory.path());
    assert_eq!(recovered.report.time, ahead, "the system's clock is behind");
    drop(log);
    assert_eq!(Log::verify(&options(directory.path())).unwrap().report.time, ahead);
}

/// A log with 10 records in each of two snapshots, and 10 behind them; the files of the snapshots, the newest last.
fn two_snapshots(directory: &Path) -> [std::path::PathBuf; 2] {
    let (log, ..) = open(directory);
    for _ in 0..2 {
        fill(&log, 10);
        snapshot(&log);
    }
    fill(&log, 10);
    let snapshots = log.snapshots();
    log.close();
    [snapshots[0].path.clone(), snapshots[1].path.clone()]
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_good_snapshot_is_loaded_and_a_damaged_one_is_named_and_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let [older, newest] = two_snapshots(directory.path());
    let (log, recovered, count) = open(directory.path());
    assert_eq!((count, recovered.report.records, recovered.report.snapshot.unwrap().base), (30, 10, Lsn(21)));
    assert!(recovered.damaged_snapshots.is_empty());
    drop(log);
    let middle = fs::metadata(&newest).unwrap().len() as usize / 2;
    edit(&newest, |bytes| bytes[middle] ^= 1);
    let (log, recovered, count) = open(directory.path());
    assert_eq!((count, recovered.report.records, recovered.report.snapshot.unwrap().base), (30, 20, Lsn(11)));
    assert_eq!(recovered.damaged_snapshots.len(), 1);
    assert_eq!(recovered.damaged_snapshots[0].0, newest);
    assert_eq!(recovered.quarantined.len(), 1, "it is kept aside: {:?}", recovered.quarantined);
    assert_eq!(log.snapshots().len(), 1);
    assert!(older.exists() && !newest.exists());
}

#[test]
fn a_snapshot_of_a_state_that_this_program_does_not_know_is_named_and_passed_over() {
    /// Takes no chunk that holds 20.
    #[derive(Default)]
    struct Older(Count);

    impl Replay for Older {
        fn reset(&mut self) {
            self.0.reset();
        }

        fn restore(&mut self, chunk: &[u8]) -> Result<(), BadState> {
            self.0.restore(chunk)?;
            if self.0.0 == 20 { Err(BadState("state of version 2".into())) } else { Ok(()) }
        }

        fn apply(&mut self, lsn: Lsn, record: &[u8]) -> Result<(), BadState> {
            self.0.apply(lsn, record)
        }
    }

    let directory = tempfile::tempdir().unwrap();
    let [_, newest] = two_snapshots(directory.path());
    let mut state = Older::default();
    let (_, recovered) = Log::open(options(directory.path()), &mut state).unwrap();
    assert_eq!(
        (state.0.0, recovered.report.snapshot.unwrap().base),
        (30, Lsn(11)),
        "the half-loaded one is forgotten"
    );
    let [(path, why)] = &recovered.damaged_snapshots[..] else { panic!("{:?}", recovered.damaged_snapshots) };
    assert!(*path == newest && why.contains("state of version 2"), "{why}");
}

#[test]
fn a_snapshot_of_a_newer_version_is_refused_and_stays() {
    use strandline::core::codec::check::{Seed, TableCheck};
    use strandline::core::codec::frame::{Framing, Kind, Parsed, Slot};

    let directory = tempfile::tempdir().unwrap();
    let [_, newest] = two_snapshots(directory.path());
    edit(&newest, |bytes| {
        let framing = Framing { write_unit: 8, seed: Seed::HEADER };
        let Parsed::Frame(frame) = framing.decode::<TableCheck>(bytes, 0, 4096) else { panic!("a header") };
        let mut body = frame.payload.to_vec();
        body[8..10].copy_from_slice(&999_u16.to_le_bytes());
        let slot = Slot { offset: 0, lsn: Lsn(u64::from(frame.seq)) };
        framing.encode::<TableCheck>(Kind::Extent, slot, &body, bytes).unwrap();
    });
    let before = contents(directory.path());
    let error = Log::open(options(directory.path()), &mut Count::default()).unwrap_err().to_string();
    let name = newest.display().to_string();
    assert!(error.contains(&name) && error.contains("newer version"), "{error}");
    let after = contents(directory.path());
    let files = |contents: Vec<(std::path::PathBuf, _, Vec<u8>)>| -> Vec<_> {
        contents
            .into_iter()
            .filter(|(path, ..)| !path.ends_with("LOCK"))
            .map(|(path, _, bytes)| (path, bytes))
            .collect()
    };
    assert_eq!(files(after), files(before), "nothing was changed");
}

#[test]
fn verify_of_an_empty_directory_finds_no_record_and_begins_no_log() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("snapshots")).unwrap();
    let found = Log::verify(&options(directory.path())).unwrap();
    assert!(found.report.fresh && found.report.records == 0, "{:?}", found.report);
    assert!(contents(directory.path()).iter().all(|(path, ..)| path.ends_with("LOCK")));
}

#[test]
fn verify_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path());
    fill(&log, 10);
    let running = Log::verify(&options(directory.path())).unwrap_err();
    assert!(matches!(&running, OpenError::Locked { holder: Some(_), .. }), "{running}");
    drop(log);
    fs::write(directory.path().join("LOCK"), b"4711\n").unwrap();
    let before = contents(directory.path());
    Log::verify(&options(directory.path())).unwrap();
    assert_eq!(contents(directory.path()), before);
}

/// Every file with its bytes and when they were changed.
fn contents(directory: &Path) -> Vec<(std::path::PathBuf, std::time::SystemTime, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            found.push((path.clone(), changed, fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn an_unfinished_snapshot_does_not_take_the_finished_one_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path());
    fill(&log, 10);
    snapshot(&log);
    let finished = log.snapshots()[0].path.clone();
    drop(log);
    fs::write(finished.with_extension("tmp"), b"unfinished").unwrap();
    let (log, recovered, count) = open(directory.path());
    assert_eq!((count, log.snapshots().len()), (10, 1));
    assert!(finished.exists() && !finished.with_extension("tmp").exists(), "{:?}", recovered.removed);
}

#[test]
#[cfg(target_os = "linux")]
fn a_failed_snapshot_gives_its_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path());
    fill(&log, 10);
    assert!((0..5).all(|_| log.write_snapshot(log.begin_snapshot(), &mut Failing(false)).is_err()));
    assert_eq!(fs::read_dir(directory.path().join("snapshots")).unwrap().count(), 0);
    let place = directory.path().to_string_lossy().into_owned();
    let open_files =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let deleted = |path: &std::path::PathBuf| {
        let path = path.to_string_lossy();
        path.starts_with(&place) && path.ends_with("(deleted)")
    };
    assert_eq!(open_files.filter(deleted).count(), 0);
    snapshot(&log);
}

#[test]
#[cfg(target_os = "linux")]
fn many_segments_need_few_file_handles() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_string_lossy().into_owned();
    let count = || {
        let open_files = fs::read_dir("/proc/self/fd").unwrap();
        let ours = open_files.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        ours.filter(|path| path.to_string_lossy().starts_with(&place)).count()
    };
    let (log, ..) = open(directory.path());
    fill(&log, 5000);
    assert!(log.stats().segments > 70 && count() < 40, "{} handles", count());
    drop(log);
    let (_log, _, records) = open(directory.path());
    assert_eq!(records, 5000);
    assert!(count() < 40, "{} handles after a start", count());
}

#[test]
fn a_completion_may_append_and_may_panic() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path());
    let (sender, receiver) = mpsc::channel();
    log.append_with(b"one", |_| panic!("on purpose")).unwrap();
    let again = log.clone();
    log.append_with(b"two", move |_| sender.send(again.append(b"three").unwrap()).unwrap()).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(Lsn(3)));
    assert_eq!(log.append(b"four").unwrap(), Lsn(4));
}

#[test]
fn a_listener_that_panics_halts_the_log_and_wakes_everyone() {
    let directory = tempfile::tempdir().unwrap();
    let hears =
        |event: &Event, _: Option<&str>| assert!(!matches!(event, Event::Rotated { .. }), "on purpose");
    let (log, _) = Log::open(options(directory.path()).listener(hears), &mut ()).unwrap();
    let (sender, receiver) = mpsc::channel();
    for writer in 0..4 {
        let (log, sender) = (log.clone(), sender.clone());
        std::thread::spawn(move || {
            let error = (0..1000).find_map(|_| log.append(&[writer; 1000]).err());
            sender.send(error.expect("the segment is full before that")).unwrap();
        });
    }
    for _ in 0..4 {
        let error = receiver.recv_timeout(PATIENCE).unwrap().to_string();
        assert!(error.contains("on purpose") || error.contains("halted"), "{error}");
    }
    let why = log.stats().halted.unwrap();
    assert!(why.contains("panicked: on purpose"), "{why}");
    assert!(log.sync().is_err() && log.append(b"more").is_err());
    let mut reader = log.read_from(Lsn::FIRST).unwrap();
    let mut last = Lsn(0);
    while let Some(record) = reader.next().unwrap() {
        last = record.lsn;
    }
    assert_eq!(last.next(), log.acknowledged(), "reads go on");
    log.close();
}

#[test]
fn writing_on_wait_leaves_nobody_without_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path()).write_on_wait(true), &mut ()).unwrap();
    let (sender, receiver) = mpsc::channel();
    log.append_with(b"asked for by nobody", move |told| sender.send(told.is_ok()).unwrap()).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(true));
    let (sender, receiver) = mpsc::channel();
    let writer = log.clone();
    std::thread::spawn(move || {
        let lsns: Vec<Lsn> = (0..200).map(|_| writer.submit(&[1; 1000]).unwrap()).collect();
        sender.send(lsns[199]).unwrap();
    });
    let last = receiver.recv_timeout(PATIENCE).unwrap();
    let _ = log.poll_wait(last, false, Waker::noop()).unwrap();
    log.wait(last).unwrap();
}
