//! A store is examined and repaired by a program: what is damaged, what can be read of it, and what is left.

use std::fs;
use std::path::{Path, PathBuf};

use strandline::repair::{Examination, Look, SegmentDamage, Step, Why};
use strandline::{BadState, Image, Log, LogId, Lsn, Mode, OpenError, Options, Replay};

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

fn options(directory: &Path) -> Options {
    Options::new(directory).mode(Mode::Always).segment_bytes(64 << 10).batch_bytes(8 << 10).keep_all(true)
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

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn examine(directory: &Path) -> Examination {
    Log::examine(&options(directory), &Look::default()).unwrap()
}

fn repair(directory: &Path) -> Vec<PathBuf> {
    let aside = Log::repair(options(directory), &Look::default(), |_| Ok(Vec::new())).unwrap();
    let left = examine(directory);
    assert!(!left.is_damaged(), "{left:?}");
    aside
}

/// A store with 300 records in several segments that two snapshots cover, and 20 behind them; its segments.
fn covered(directory: &Path) -> Vec<PathBuf> {
    let (log, _) = Log::open(options(directory), &mut ()).unwrap();
    fill(&log, 300);
    snapshot(&log);
    fill(&log, 10);
    snapshot(&log);
    fill(&log, 10);
    let segments = log.segments().into_iter().map(|segment| segment.path).collect();
    log.close();
    segments
}

fn count(directory: &Path) -> u64 {
    let mut count = Count::default();
    let (log, _) = Log::open(options(directory), &mut count).unwrap();
    log.close();
    count.0
}

fn given_up(found: &Examination) -> &SegmentDamage {
    match &found.steps[..] {
        [Step::GiveUp(damage)] => damage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_what_can_not_be_read_of_a_segment_is_lost_and_the_rest_is_handed_over() {
    type Case<'c> = (&'c str, &'c dyn Fn(&mut Vec<u8>), Why);
    let cases: [Case<'_>; 3] = [
        ("a frame", &|bytes| bytes[20_000] ^= 1, Why::Frame(0)),
        ("the header", &|bytes| bytes[20] ^= 1, Why::Header),
        ("the header and a frame", &|bytes| bytes[20..24].fill(9), Why::Header),
    ];
    for (what, damage, why) in cases {
        for place in [0, 1] {
            let directory = tempfile::tempdir().unwrap();
            let segment = covered(directory.path()).swap_remove(place);
            edit(&segment, |bytes| damage(bytes));
            let found = examine(directory.path());
            assert!(found.refusal.is_none() && found.blocked.is_none(), "{what}: {found:?}");
            let damage = given_up(&found);
            let lost: u64 = damage.lost.iter().map(|(from, end)| end.0 - from.0).sum();
            match why {
                Why::Header => assert!(damage.why == why && lost == 0, "{what}: {damage:?}"),
                _ => assert!(matches!(damage.why, Why::Frame(_)) && lost == 1, "{what}: {damage:?}"),
            }
            assert_eq!(damage.lsns.1.0 - damage.lsns.0.0, damage.records + lost, "{what}: {damage:?}");
            let mut handed = Vec::new();
            damage.salvage(&mut |record| handed.push((record.lsn, record.bytes.len()))).unwrap();
            assert_eq!(handed.len() as u64, damage.records, "{what}");
            assert!(handed.iter().all(|(_, bytes)| *bytes == 1000));
            let aside = repair(directory.path());
            assert!(aside.len() == 1 && aside[0].exists() && !segment.exists(), "{aside:?}");
            assert_eq!(examine(directory.path()).losses.len(), usize::from(lost > 0), "{what}");
            assert_eq!(count(directory.path()), 320, "{what}");
        }
    }
}

#[test]
fn a_segment_that_is_gone_is_lost_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let segments = covered(directory.path());
    fs::remove_file(&segments[1]).unwrap();
    let found = examine(directory.path());
    let damage = given_up(&found);
    assert_eq!((damage.why, damage.records, damage.lost.len()), (Why::Missing, 0, 1));
    let (from, until) = damage.lost[0];
    assert!(from > Lsn(1) && until.0 - from.0 > 30, "{from} to {until}");
    repair(directory.path());
    let losses = examine(directory.path()).losses;
    assert_eq!((losses[0].from, losses[0].until), (from, until));
    assert_eq!(count(directory.path()), 320);
}

#[test]
fn what_is_kept_elsewhere_is_no_loss() {
    let directory = tempfile::tempdir().unwrap();
    let segment = covered(directory.path()).swap_remove(0);
    edit(&segment, |bytes| bytes[20_000] ^= 1);
    let is_elsewhere = |_, log: LogId, (first, _): (Lsn, Lsn)| log == LogId(1) && first == Lsn(1);
    let look = Look { is_elsewhere: &is_elsewhere, ..Look::default() };
    Log::repair(options(directory.path()), &look, |found| {
        assert!(given_up(found).is_elsewhere);
        Ok(Vec::new())
    })
    .unwrap();
    assert!(examine(directory.path()).losses.is_empty());
}

#[test]
fn losses_beside_the_log_are_recorded_once() {
    let directory = tempfile::tempdir().unwrap();
    covered(directory.path());
    for _ in 0..2 {
        Log::repair(options(directory.path()), &Look::default(), |_| {
            Ok(vec![(Lsn(5), Lsn(9)), (Lsn(9), Lsn(12))])
        })
        .unwrap();
    }
    let found = examine(directory.path());
    let [loss] = found.losses[..] else { panic!("{:?}", found.losses) };
    assert_eq!((loss.from, loss.until, found.losses_ever), (Lsn(5), Lsn(12), 1));
}

#[test]
fn damage_in_front_of_the_place_where_a_snapshot_begins_waits_for_another_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path()), &mut ()).unwrap();
    fill(&log, 30);
    snapshot(&log);
    fill(&log, 5);
    let segment = log.segments()[0].path.clone();
    log.close();
    edit(&segment, |bytes| bytes[10_000] ^= 1);
    let found = examine(directory.path());
    assert!(found.refusal.is_none() && found.steps.is_empty() && found.kept.len() == 1, "{found:?}");
    assert_eq!(count(directory.path()), 35, "a start does not need it");
}

#[test]
fn a_repair_that_is_refused_by_whoever_hears_of_it_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let segment = covered(directory.path()).swap_remove(0);
    edit(&segment, |bytes| bytes[20_000] ^= 1);
    let error = Log::repair(options(directory.path()), &Look::default(), |_| Err("not today".to_owned()))
        .unwrap_err();
    assert!(matches!(&error, OpenError::Refused(why) if why == "not today"), "{error}");
    assert!(segment.exists() && !directory.path().join("quarantine").exists());
}
