//! Whatever a file holds, reading it as an archive ends with what was written or with an error.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use strandline::archive::{self, Level, Writing};
use strandline::core::archive::Header;
use strandline::core::archive::entry::{Entry, Stamp};
use strandline::{Lsn, Millis, StoreId};
use tempfile::tempdir;

fn record(lsn: u64, bytes: &[u8]) -> Entry<'_> {
    Entry::record("any", Stamp { lsn: Lsn(lsn), time: Millis(lsn * 17), commit: Millis(0) }, bytes)
}

fn write(directory: &Path, level: Option<i32>, records: &[Vec<u8>]) -> Vec<u8> {
    let header = Header { store: StoreId([7; 16]), ..Header::EMPTY };
    let path = archive::write(
        directory,
        &header,
        Writing { level, block_bytes: 700, ..Writing::default() },
        |take| records.iter().zip(1..).try_for_each(|(bytes, lsn)| take(&record(lsn, bytes))),
    );
    fs::read(path.unwrap()).unwrap()
}

fn read(path: &Path) -> Option<Vec<Vec<u8>>> {
    let mut all = vec![];
    let read = archive::read(path, |entry| {
        all.extend(entry.record_bytes().map(<[u8]>::to_vec));
        Ok(())
    });
    read.ok().map(|_| all)
}

/// SnelDB's layout of the same entries: one frame, nothing else.
fn version_1(file: &[u8]) -> Vec<u8> {
    let content = zstd::decode_all(file).unwrap();
    zstd::encode_all(&content[..], 3).unwrap()
}

#[test]
fn large_and_empty_records_read_back() {
    let records = [vec![], vec![1; 70_000], vec![2; 300_000], vec![3; 5]];
    for level in [None, Some(1), Some(19)] {
        let directory = tempdir().unwrap();
        let file = write(directory.path(), level, &records);
        let path = directory.path().join("read");
        fs::write(&path, &file).unwrap();
        assert_eq!(read(&path).as_deref(), Some(&records[..]));
        fs::write(&path, version_1(&file)).unwrap();
        assert_eq!(read(&path).as_deref(), Some(&records[..]));
    }
    let directory = tempdir().unwrap();
    write(directory.path(), Some(1), &[]);
    let (_, path) = archive::list(directory.path()).unwrap().remove(0);
    assert_eq!(archive::verify(&path, Level::Full).unwrap().entries, 0);
}

#[test]
fn a_bomb_is_an_error_and_not_all_memory() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("bomb");
    // A version-1 prologue that announces an entry whose context never ends: 2 GB of it in a small file.
    let file = write(directory.path(), Some(1), &[vec![1]]);
    let mut content = zstd::decode_all(&file[..]).unwrap();
    content.truncate(73);
    content.extend([0x95, 0x00, 0xdb, 0x7f, 0xff, 0xff, 0xff]);
    content.resize(64 << 20, b'a');
    fs::write(&path, zstd::encode_all(&content[..], 1).unwrap()).unwrap();
    let error = archive::verify(&path, Level::Full).unwrap_err();
    assert!(error.to_string().contains("an entry is too large"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn changed_files_are_what_they_were_or_an_error(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20),
        place in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 0..30),
        (level, cut) in (prop_oneof![Just(None), Just(Some(1))], any::<bool>()),
    ) {
        let directory = tempdir().unwrap();
        let file = write(directory.path(), level, &records);
        let path = directory.path().join("changed");
        let mut bytes = file.clone();
        let at = place.index(bytes.len());
        if cut {
            bytes.truncate(at);
        }
        let end = bytes.len().min(at + noise.len());
        bytes.splice(at..end, noise);
        fs::write(&path, &bytes).unwrap();
        let found = read(&path);
        prop_assert_eq!(found.is_some(), bytes == file);
        let mut other = version_1(&file);
        let at = place.index(other.len());
        other.truncate(at);
        fs::write(&path, &other).unwrap();
        prop_assert_eq!(read(&path), None, "cut");
    }

    #[test]
    fn any_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let directory = tempdir().unwrap();
        let path = directory.path().join("any");
        fs::write(&path, bytes).unwrap();
        prop_assert_eq!(read(&path), None);
    }
}
