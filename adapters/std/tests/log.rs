//! The log on real files: append, wait, reopen, read, snapshot, refuse.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier, mpsc};

use strandline::{
    AppendError, BadState, Image, Log, Lsn, Mode, OpenError, Options, Recovered, Refused, Replay, Verdict,
};

const PERIODIC: Mode = Mode::Periodic { interval_micros: 5_000, records: None };
const MODES: [Mode; 3] = [Mode::Always, PERIODIC, Mode::Never];

/// A state that is the list of its records.
#[derive(Default, Clone, Debug, PartialEq)]
struct List(Vec<Vec<u8>>);

impl Replay for List {
    fn reset(&mut self) {
        self.0.clear();
    }

    fn restore(&mut self, chunk: &[u8]) -> Result<(), BadState> {
        self.0.push(chunk.to_vec());
        Ok(())
    }

    fn apply(&mut self, _: Lsn, record: &[u8]) -> Result<(), BadState> {
        self.0.push(record.to_vec());
        Ok(())
    }
}

/// One chunk an item.
struct ListImage(std::vec::IntoIter<Vec<u8>>);

impl Image for ListImage {
    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, BadState> {
        let next = self.0.next();
        let more = next.is_some();
        chunk.extend(next.into_iter().flatten());
        Ok(more)
    }
}

fn options(directory: &Path, mode: Mode) -> Options {
    Options::new(directory).mode(mode).segment_bytes(64 << 10).batch_bytes(8 << 10)
}

fn open(directory: &Path, mode: Mode) -> (Log, Recovered, List) {
    let mut list = List::default();
    let (log, recovered) = Log::open(options(directory, mode), &mut list).unwrap();
    (log, recovered, list)
}

fn record(number: u64) -> Vec<u8> {
    let len = usize::try_from(number * 37 % 500).unwrap();
    format!("{number}:{}", "x".repeat(len)).into_bytes()
}

#[test]
fn what_was_appended_is_there_after_a_reopen() {
    for mode in MODES {
        let directory = tempfile::tempdir().unwrap();
        let (log, recovered, _) = open(directory.path(), mode);
        assert!(recovered.report.fresh);
        for number in 1..=1000 {
            assert_eq!(log.append(&record(number)).unwrap(), Lsn(number));
        }
        assert!(log.stats().rotations > 2, "segments of 64 KiB were turned");
        log.close();
        assert!(matches!(log.append(b"late"), Err(AppendError::Refused(Refused::Closed))));
        let (log, recovered, list) = open(directory.path(), mode);
        assert_eq!(list.0, (1..=1000).map(record).collect::<Vec<_>>(), "{mode:?}");
        assert!(recovered.report.sealed);
        assert_eq!(recovered.report.verdict, Some(Verdict::Clean));
        assert_eq!(log.next_lsn(), Lsn(1001));
    }
}

#[test]
fn a_dropped_log_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let (log, recovered, list) = open(directory.path(), Mode::Never);
        assert_eq!(list.0.len(), round);
        assert!(recovered.report.fresh || recovered.report.sealed);
        log.submit(b"not waited for").unwrap();
    }
}

#[test]
fn many_writers_share_syncs_and_keep_their_order() {
    for mode in MODES {
        let directory = tempfile::tempdir().unwrap();
        let (log, ..) = open(directory.path(), mode);
        let barrier = Arc::new(Barrier::new(8));
        let writers: Vec<_> = (0..8)
            .map(|writer: u64| {
                let (log, barrier) = (log.clone(), barrier.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    let mut last = Lsn(0);
                    for number in 0..200 {
                        let lsn = log.append(format!("{writer}/{number}").as_bytes()).unwrap();
                        assert!(lsn > last);
                        assert!(log.acknowledged() > lsn);
                        last = lsn;
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        if mode == Mode::Always {
            assert_eq!(log.durable(), Lsn(1601));
        }
        drop(log);
        let (_, _, list) = open(directory.path(), mode);
        for writer in 0..8 {
            let prefix = format!("{writer}/");
            let own: Vec<_> = list.0.iter().filter(|record| record.starts_with(prefix.as_bytes())).collect();
            let expected: Vec<_> = (0..200).map(|number| format!("{writer}/{number}").into_bytes()).collect();
            assert_eq!(own, expected.iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_large_record_fits_and_a_larger_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options::new(directory.path()).mode(Mode::Always).batch_bytes(64 << 10);
    let (log, _) = Log::open(options(), &mut ()).unwrap();
    let largest = vec![0x5a; 16 << 20];
    for lsn in [1, 3] {
        assert_eq!(log.append(&largest).unwrap(), Lsn(lsn));
        assert_eq!(log.append(b"small").unwrap(), Lsn(lsn + 1));
    }
    let too_large = vec![0; (16 << 20) + 1];
    assert!(
        matches!(log.append(&too_large), Err(AppendError::Refused(Refused::TooLarge { most })) if most == 16 << 20)
    );
    assert_eq!(log.append(b"next").unwrap(), Lsn(5));
    drop(log);
    let mut list = List::default();
    let _ = Log::open(options(), &mut list).unwrap();
    assert_eq!(list.0, [&largest[..], b"small", &largest, b"small", b"next"]);
}

#[test]
fn completions_run_in_order_and_durability_can_be_waited_for() {
    for mode in MODES {
        let directory = tempfile::tempdir().unwrap();
        let (log, ..) = open(directory.path(), mode);
        let (sender, receiver) = mpsc::channel();
        for number in 1..=300 {
            let sender = sender.clone();
            log.append_with(&record(number), move |result| sender.send(result.unwrap()).unwrap()).unwrap();
        }
        log.wait_durable(Lsn(300)).unwrap();
        assert!(log.durable() > Lsn(300));
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), (1..=300).map(Lsn).collect::<Vec<_>>());
    }
}

#[test]
fn the_log_is_read_and_tailed_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path(), Mode::Never);
    log.append(&record(1)).unwrap();
    let writer = {
        let log = log.clone();
        std::thread::spawn(move || {
            (2..=2000).for_each(|number| assert_eq!(log.append(&record(number)).unwrap(), Lsn(number)))
        })
    };
    let mut reader = log.read_from(Lsn(1)).unwrap();
    let mut next = 1;
    while next <= 2000 {
        if let Some(found) = reader.tail(Duration::from_secs(10)).unwrap() {
            assert_eq!((found.lsn, found.bytes), (Lsn(next), &record(next)[..]));
            next += 1;
        }
    }
    writer.join().unwrap();
    assert!(reader.next().unwrap().is_none());
    let mut late = log.read_from(Lsn(1500)).unwrap();
    assert_eq!(late.next().unwrap().unwrap().lsn, Lsn(1500));
}

#[test]
fn snapshots_bound_the_log_and_the_newest_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let mut list = List::default();
    let (log, ..) = open(directory.path(), PERIODIC);
    for round in 0..6 {
        for number in 0..400 {
            let record = record(round * 1000 + number);
            log.submit(&record).unwrap();
            list.0.push(record);
        }
        let ticket = log.begin_snapshot();
        assert_eq!(ticket.base(), Lsn((round + 1) * 400 + 1));
        let info = log.write_snapshot(ticket, &mut ListImage(list.0.clone().into_iter())).unwrap();
        assert!(info.path.exists());
        assert_eq!(fs::metadata(&info.path).unwrap().len(), info.snapshot.bytes);
    }
    assert!(log.stats().segments < 12, "{} segments are left", log.stats().segments);
    log.submit(b"after").unwrap();
    list.0.push(b"after".to_vec());
    drop(log);
    let (log, recovered, found) = open(directory.path(), PERIODIC);
    assert_eq!(recovered.report.snapshot.unwrap().base, Lsn(2401));
    assert_eq!((found, recovered.report.records), (list.clone(), 1));
    let newest = log.snapshots().last().unwrap().path.clone();
    drop(log);
    fs::write(&newest, b"damaged").unwrap();
    let (_, recovered, found) = open(directory.path(), PERIODIC);
    assert_eq!((found, recovered.damaged_snapshots.len()), (list, 1), "the one before plus the log");
    assert!(!newest.exists() && recovered.quarantined.len() == 1);
}

#[test]
fn a_second_process_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let (_log, ..) = open(directory.path(), Mode::Always);
    let second = Log::open(options(directory.path(), Mode::Always), &mut ());
    assert!(
        matches!(second, Err(OpenError::Locked { holder: Some(holder), .. }) if holder == std::process::id().to_string())
    );
}

#[test]
fn a_flipped_bit_in_settled_data_is_refused_by_name_and_can_be_gone_past() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path(), Mode::Always);
    for number in 1..=100 {
        log.append(&record(number)).unwrap();
    }
    drop(log);
    let segment = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let segment =
        segment.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).min().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(4).position(|window| window == b"50:x").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let before = fs::read(&segment).unwrap();
    let refused = Log::open(options(directory.path(), Mode::Always), &mut ()).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, OpenError::Corrupt(_)), "{text}");
    assert!(text.contains("--discard-from 50") && text.contains("from LSN 50 to at least 100"), "{text}");
    assert_eq!(fs::read(&segment).unwrap(), before, "nothing was changed");
    let wrong = Log::open(options(directory.path(), Mode::Always).discard_from(Some(Lsn(49))), &mut ());
    assert!(wrong.unwrap_err().to_string().contains("--discard-from 49 does not name the damage"));
    let mut list = List::default();
    let chosen = options(directory.path(), Mode::Always).discard_from(Some(Lsn(50)));
    let (log, recovered) = Log::open(chosen, &mut list).unwrap();
    assert_eq!(list.0, (1..50).map(record).collect::<Vec<_>>());
    assert_eq!((recovered.report.losses, recovered.quarantined.is_empty()), (1, false));
    assert_eq!(log.append(b"goes on").unwrap(), Lsn(50));
    drop(log);
    let (_, recovered, list) = open(directory.path(), Mode::Always);
    assert_eq!((list.0.len(), recovered.losses.len()), (50, 1), "the loss is recorded for ever");
}

#[test]
fn foreign_files_are_put_aside_and_unlisted_ones_of_ours_removed() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), Mode::Always));
    fs::write(directory.path().join("notes.txt"), b"mine").unwrap();
    fs::write(directory.path().join("log-00000099.wal"), vec![0; 4096]).unwrap();
    fs::write(directory.path().join("snapshots/snapshot-00000098.tmp"), b"unfinished").unwrap();
    let (_, recovered, _) = open(directory.path(), Mode::Always);
    assert_eq!(fs::read(directory.path().join("quarantine/notes.txt")).unwrap(), b"mine");
    assert_eq!(recovered.quarantined.len(), 1);
    for removed in ["log-00000099.wal", "snapshots/snapshot-00000098.tmp"] {
        assert!(recovered.removed.contains(&directory.path().join(removed)), "{:?}", recovered.removed);
    }
}

#[test]
fn restarts_without_writes_do_not_take_more_and_more_space() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        drop(open(directory.path(), Mode::Always));
    }
    let files = fs::read_dir(directory.path()).unwrap().count();
    assert!(files < 12, "{files} files");
}

#[test]
fn a_changed_segment_size_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path(), Mode::Always);
    (1..=500).for_each(|number| assert_eq!(log.append(&record(number)).unwrap(), Lsn(number)));
    drop(log);
    let mut list = List::default();
    let larger = || options(directory.path(), Mode::Always).segment_bytes(128 << 10);
    let (log, _) = Log::open(larger(), &mut list).unwrap();
    (501..=1000).for_each(|number| assert_eq!(log.append(&record(number)).unwrap(), Lsn(number)));
    drop(log);
    let mut list = List::default();
    let _ = Log::open(larger(), &mut list).unwrap();
    assert_eq!(list.0, (1..=1000).map(record).collect::<Vec<_>>());
}

#[test]
fn an_idle_log_in_periodic_mode_syncs_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (log, ..) = open(directory.path(), PERIODIC);
    let seen = Arc::new(AtomicU64::new(0));
    log.append_with(b"one", {
        let seen = seen.clone();
        move |result| seen.store(result.unwrap().0, Ordering::SeqCst)
    })
    .unwrap();
    // No further write comes: only the timer can make it durable.
    while log.durable() <= Lsn(1) {
        std::thread::yield_now();
    }
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}
