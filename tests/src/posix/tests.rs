use std::collections::BTreeSet;

use strandline_core::action::{Buffer, Span};
use strandline_core::lower::posix::Directory;

use super::*;

const A: File = File::Segment(1);
const PROFILE: Profile = Profile { sector: 512, powersafe: true, stale: false };

struct Bench {
    disk: Disk,
    chance: Chance,
}

impl Bench {
    fn new(profile: Profile) -> Self {
        Self { disk: Disk::new(profile), chance: Chance::new(7) }
    }

    fn run(&mut self, step: Step) {
        self.disk.step(step, &[], None, &mut self.chance).unwrap();
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let span = Span { buffer: Buffer::Left, start: 0, len: bytes.len() as u32 };
        self.disk.step(Step::Write { file: A, offset, bytes: span }, bytes, None, &mut self.chance).unwrap();
    }

    /// A file of `bytes` zeros with a durable name.
    fn prepared(profile: Profile, bytes: u32) -> Self {
        let mut bench = Self::new(profile);
        for step in [
            Step::Create(A),
            Step::Zero { file: A, bytes },
            Step::Sync(A),
            Step::SyncDirectory(Directory::Log),
        ] {
            bench.run(step);
        }
        bench
    }

    /// The different contents that 500 crashes leave.
    fn outcomes(&mut self) -> BTreeSet<Option<Vec<u8>>> {
        (0..500).map(|_| self.disk.crash(&mut self.chance).content(A).map(<[u8]>::to_vec)).collect()
    }
}

#[test]
fn a_synced_file_with_a_synced_name_has_one_outcome() {
    let mut bench = Bench::prepared(PROFILE, 1024);
    bench.write(100, &[1; 600]);
    assert!(!bench.disk.is_durable(A, 700) && bench.disk.is_durable(A, 100));
    bench.run(Step::Sync(A));
    assert!(bench.disk.is_durable(A, 1024) && bench.disk.is_decided());
    assert_eq!(bench.outcomes().len(), 1);
}

#[test]
fn a_sync_does_not_cover_what_is_written_while_it_runs() {
    let mut bench = Bench::prepared(PROFILE, 1536);
    bench.write(0, &[1; 8]);
    let begun = bench.disk.now();
    bench.write(512, &[2; 8]);
    bench.run(Step::Create(File::Segment(2)));
    let mut finish =
        |step| bench.disk.finish(step, Call { bytes: &[], fault: None, begun }, &mut bench.chance);
    assert_eq!(finish(Step::Sync(A)), Ok(()));
    assert_eq!(finish(Step::SyncDirectory(Directory::Log)), Ok(()));
    assert!(bench.disk.is_durable(A, 512) && !bench.disk.is_durable(A, 1024));
    assert!(!bench.disk.is_durable(File::Segment(2), 0));
    bench.run(Step::Sync(A));
    assert!(bench.disk.is_durable(A, 1536));
}

#[test]
fn sectors_are_kept_and_lost_independently() {
    let mut bench = Bench::prepared(PROFILE, 1024);
    bench.write(0, &[1; 1024]);
    let whole = bench
        .outcomes()
        .into_iter()
        .flatten()
        .filter(|content| content.chunks(512).all(|s| s.iter().all(|b| *b == s[0])));
    let pairs: BTreeSet<(u8, u8)> = whole.map(|content| (content[0], content[512])).collect();
    assert_eq!(pairs, BTreeSet::from([(0, 0), (0, 1), (1, 0), (1, 1)]));
}

#[test]
fn a_torn_sector_mixes_words_where_that_is_promised() {
    let mut bench = Bench::prepared(PROFILE, 512);
    bench.write(0, &[1; 64]);
    bench.run(Step::Sync(A));
    bench.write(64, &[2; 448]);
    let outcomes = bench.outcomes();
    assert!(outcomes.iter().flatten().all(|content| content[..64] == [1; 64]), "what was synced is intact");
    assert!(
        outcomes
            .iter()
            .flatten()
            .all(|content| content.chunks(8).all(|word| word.iter().all(|b| *b == word[0])))
    );
    assert!(outcomes.len() > 10);
}

#[test]
fn a_torn_sector_is_garbage_where_it_is_not() {
    let mut bench = Bench::prepared(Profile { powersafe: false, ..PROFILE }, 1024);
    bench.write(0, &[1; 64]);
    bench.run(Step::Sync(A));
    bench.write(64, &[2; 448]);
    let outcomes = bench.outcomes();
    assert!(outcomes.iter().flatten().any(|content| content[..64] != [1; 64]));
    assert!(outcomes.iter().flatten().all(|content| content[512..] == [0; 512]), "its neighbour is not");
}

#[test]
fn a_sector_stops_at_any_version() {
    let mut bench = Bench::prepared(Profile { sector: 4096, ..PROFILE }, 4096);
    for version in 1..=3 {
        bench.write(0, &[version; 8]);
    }
    let seen: BTreeSet<u8> = bench.outcomes().into_iter().flatten().map(|content| content[0]).collect();
    assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_file_may_grow_without_its_data() {
    let mut bench = Bench::new(PROFILE);
    bench.run(Step::Create(A));
    bench.run(Step::SyncDirectory(Directory::Log));
    bench.write(0, &[1; 2048]);
    let outcomes = bench.outcomes();
    let sizes: BTreeSet<usize> = outcomes.iter().flatten().map(Vec::len).collect();
    assert_eq!(sizes, BTreeSet::from([0, 512, 1024, 1536, 2048]));
    assert!(outcomes.iter().flatten().any(|content| content.len() == 2048 && content[..512] == [0; 512]));
}

#[test]
fn grown_sectors_may_show_what_a_deleted_file_left() {
    let mut bench = Bench::prepared(Profile { stale: true, ..PROFILE }, 512);
    bench.write(0, &[9; 512]);
    bench.run(Step::Sync(A));
    bench.run(Step::Remove(A));
    bench.run(Step::Create(A));
    bench.write(0, &[1; 512]);
    assert!(bench.outcomes().into_iter().flatten().any(|content| content == [9; 512]));
}

#[test]
fn an_entry_is_lost_with_its_synced_content_until_the_directory_is_synced() {
    let mut bench = Bench::new(PROFILE);
    bench.run(Step::Create(A));
    bench.write(0, b"synced");
    bench.run(Step::Sync(A));
    assert!(!bench.disk.is_durable(A, 6));
    assert_eq!(bench.outcomes(), BTreeSet::from([None, Some(b"synced".to_vec())]));
    bench.run(Step::SyncDirectory(Directory::Snapshots));
    assert_eq!(bench.outcomes().len(), 2, "another directory does not help");
    bench.run(Step::SyncDirectory(Directory::Log));
    assert_eq!(bench.outcomes(), BTreeSet::from([Some(b"synced".to_vec())]));
    bench.run(Step::Remove(A));
    assert_eq!(bench.outcomes().len(), 2, "a removal is pending too");
}

#[test]
fn a_rename_is_atomic() {
    let (from, to) = (File::Unfinished(3), File::Snapshot(3));
    let mut bench = Bench::new(PROFILE);
    for step in [
        Step::Create(from),
        Step::Sync(from),
        Step::SyncDirectory(Directory::Snapshots),
        Step::Rename { from, to },
    ] {
        bench.run(step);
    }
    let seen: BTreeSet<Vec<File>> =
        (0..100).map(|_| bench.disk.crash(&mut bench.chance).files().collect()).collect();
    assert_eq!(seen, BTreeSet::from([vec![from], vec![to]]));
}

#[test]
fn a_failed_sync_is_never_healed_by_a_later_one() {
    let mut bench = Bench::prepared(PROFILE, 1024);
    bench.write(0, &[1; 512]);
    assert_eq!(bench.disk.step(Step::Sync(A), &[], Some(Fault::Io), &mut bench.chance), Err(Failure::Io));
    bench.write(512, &[2; 8]);
    bench.run(Step::Sync(A));
    assert!(!bench.disk.is_durable(A, 512), "the later sync says nothing about it");
    let seen: BTreeSet<(u8, u8)> =
        bench.outcomes().into_iter().flatten().map(|content| (content[0], content[512])).collect();
    assert_eq!(seen, BTreeSet::from([(0, 2), (1, 2)]));
    bench.write(0, &[1; 8]);
    bench.run(Step::Sync(A));
    assert!(
        bench.disk.is_decided() && bench.disk.is_durable(A, 1024),
        "writing it again makes it dirty again"
    );
}

#[test]
fn a_clean_looking_page_may_be_dropped_at_a_read() {
    let mut bench = Bench::prepared(PROFILE, 512);
    bench.write(0, &[1; 512]);
    let _ = bench.disk.step(Step::Sync(A), &[], Some(Fault::Io), &mut bench.chance);
    let seen: BTreeSet<u8> = (0..100)
        .map(|_| {
            let mut out = [0xee; 8];
            bench.disk.clone().read(A, 0, &mut out, &mut bench.chance);
            out[0]
        })
        .collect();
    assert_eq!(seen, BTreeSet::from([0, 1]));
}

#[test]
fn a_failed_write_is_there_in_part_and_overwriting_needs_no_space() {
    let mut bench = Bench::prepared(PROFILE, 512);
    let write = |bench: &mut Bench, fault| {
        let step =
            Step::Write { file: A, offset: 0, bytes: Span { buffer: Buffer::Left, start: 0, len: 512 } };
        bench.disk.step(step, &[1; 512], Some(fault), &mut bench.chance)
    };
    assert_eq!(write(&mut bench, Fault::Io), Err(Failure::Io));
    let written = bench.disk.content(A).unwrap().iter().filter(|byte| **byte == 1).count();
    assert!(written < 512);
    assert_eq!(write(&mut bench, Fault::NoSpace), Ok(()));
    let create =
        bench.disk.step(Step::Create(File::Segment(2)), &[], Some(Fault::NoSpace), &mut bench.chance);
    assert_eq!(create, Err(Failure::NoSpace));
    assert_eq!(bench.disk.files().count(), 1);
}

#[test]
fn emptying_a_file_is_pending_too() {
    let mut bench = Bench::prepared(PROFILE, 512);
    bench.run(Step::Create(A));
    assert_eq!(bench.disk.size(A), Some(0));
    let sizes: BTreeSet<usize> =
        bench.outcomes().into_iter().flatten().map(|content| content.len()).collect();
    assert_eq!(sizes, BTreeSet::from([0, 512]));
}
