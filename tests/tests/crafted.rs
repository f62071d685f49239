//! Archives whose checksums are right and which lie: what is read of them is true, or there is an error that names the place.

use std::fs;
use std::path::Path;

use strandline::archive::{self, Archive, ArchiveError, Entry, Header, Level, Range, Stamp, Writing};
use strandline::core::archive::MIN_BLOCK;
use strandline::{Epoch, LogId, Lsn, Millis, StoreId};
use strandline_tests::crafted::{Claim, Crafted, lies};
use tempfile::tempdir;

const RECORD: &[u8] = b"the water came up to here";

fn entries() -> Vec<Entry<'static>> {
    let time = Millis(1_700_000_000_250);
    (11..23)
        .map(|lsn| Entry::record("pump", Stamp { lsn: Lsn(lsn), time, commit: Millis(0) }, RECORD))
        .collect()
}

/// The LSNs that are handed over, and how it ends.
fn read(path: &Path, range: Range) -> (Vec<u64>, Result<(), ArchiveError>) {
    let mut seen = vec![];
    let read = Archive::open(path).and_then(|archive| {
        archive.read(range, |entry| {
            assert_eq!(entry.record_bytes(), Some(RECORD), "nothing but what was written");
            seen.push(entry.stamp.lsn.0);
            Ok(())
        })
    });
    (seen, read)
}

#[test]
fn an_honest_one_is_what_the_writer_writes() {
    let directory = tempdir().unwrap();
    let header = Header {
        store: StoreId([7; 16]),
        epoch: Epoch(1),
        log: LogId(1),
        writer: "crafted",
        ..Header::EMPTY
    };
    let (entries, writing) = (entries(), Writing { level: None, block_bytes: MIN_BLOCK, strict_v1: false });
    let in_block = MIN_BLOCK / entries[0].encoded_bytes();
    let path =
        archive::write(directory.path(), &header, writing, |take| entries.iter().try_for_each(take)).unwrap();
    let crafted = Crafted::of(&entries, in_block);
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), crafted.name());
    assert_eq!(fs::read(&path).unwrap(), crafted.bytes());
}

#[test]
fn every_lie_is_named_and_nothing_untrue_is_read() {
    let directory = tempdir().unwrap();
    let entries = entries();
    for lie in lies(&entries) {
        let path = lie.archive.write(directory.path());
        let error = archive::verify(&path, Level::Full).expect_err(lie.what);
        let named = matches!(error, ArchiveError::Damaged { .. }) && error.to_string().contains(lie.named);
        assert!(named, "{}: {error}", lie.what);
        assert_eq!(Archive::open(&path).is_err(), lie.is_open, "{}", lie.what);
        let (seen, read_all) = read(&path, Range::ALL);
        assert!(read_all.is_err(), "{}", lie.what);
        let wanted: Vec<u64> = (11..23).collect();
        assert!(wanted.starts_with(&seen), "{}: {seen:?}", lie.what);
        // A range reads only the blocks that it needs: what these say is true, or there is an error.
        for lsn in 11..23 {
            let (seen, ended) = read(&path, Range { lsns: (Lsn(lsn), Lsn(lsn)), ..Range::ALL });
            let is_true = seen == [lsn] || (seen.is_empty() && ended.is_err());
            assert!(is_true, "{}: LSN {lsn} reads {seen:?}, {ended:?}", lie.what);
        }
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn names_and_directories_that_lie_are_told() {
    let place = tempdir().unwrap();
    let directory = place.path().join("shard-3");
    fs::create_dir(&directory).unwrap();
    let entries = entries();
    let honest = Crafted::of(&entries, 4).numbering("shard", 3);
    let path = honest.write(&directory);
    assert_eq!(archive::survey(&directory).unwrap().archives.len(), 1);
    let renamed = directory.join("wal-00002-1700000000-1700000000.wal.zst");
    fs::rename(&path, renamed).unwrap();
    honest.clone().numbering("log", 4).numbering("shard", 2).write(&directory);
    let newer = honest.numbering("log", 5).numbering("format", 200);
    newer.write(&directory);
    let survey = archive::survey(&directory).unwrap();
    let said: Vec<_> = survey.damaged.iter().map(|(_, error)| error.to_string()).collect();
    assert!(survey.archives.is_empty() && said.len() == 3, "{said:?}");
    for (said, named) in said.iter().zip([
        "wal-00002-1700000000-1700000000.wal.zst does not belong there: it is wal-00001-",
        "does not belong there: it is of shard 2, not of shard 3",
        "was written by a newer version",
    ]) {
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn a_field_of_a_later_version_is_passed_over() {
    let directory = tempdir().unwrap();
    let mut archive = Crafted::of(&entries(), 4);
    archive.header.push(("colour", Claim::Text("blue")));
    assert!(archive::verify(&archive.write(directory.path()), Level::Full).is_ok());
}
