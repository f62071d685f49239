//! Which manifest is taken.

use strandline_core::geometry::Geometry;
use strandline_core::manifest::{Head, MANIFEST_EXTENTS, Manifest, Segment};
use strandline_core::recovery::{Ask, Refusal};
use strandline_core::types::{Epoch, Extent, LogId, Lsn, Revision};
use strandline_tests::handmade::{Files, GEOMETRY, Handmade, STORE, Start, ask, recovery};
use strandline_tests::setup::{FastCheck, Heap};

const BYTES: usize = GEOMETRY.manifest_bytes as usize;

/// A manifest of some hundred bytes: no two of its segments are a run.
fn manifest(revision: u64) -> Manifest<Heap> {
    let mut manifest = Manifest::new(vec![Segment::default(); 48], Vec::new(), Vec::new());
    manifest.reset(STORE);
    let geometry = (GEOMETRY.write_unit, GEOMETRY.batch_align, GEOMETRY.extent_bytes);
    manifest.head = Head { revision: Revision(revision), epoch: Epoch(1), geometry, ..Head::default() };
    for number in 0..48 {
        let (log, fence) = (LogId(2 * u64::from(number) + 1), Lsn(u64::MAX / 2 + u64::from(number)));
        manifest
            .segments
            .push(Segment { log, extent: number + 1, epoch: Epoch(1), fence, ..Segment::default() })
            .unwrap();
    }
    manifest
}

/// A manifest extent with this revision at `at`, and the bytes of its frame.
fn extent(revision: u64, at: usize) -> (Vec<u8>, usize) {
    let mut file = vec![0; BYTES];
    let offset = u32::try_from(at).unwrap();
    let bytes = manifest(revision).encode::<FastCheck>(offset, GEOMETRY, &mut file[at..]).unwrap();
    (file, bytes)
}

fn files(manifests: [&[u8]; 2]) -> Files {
    (0..).map(Extent::manifest).zip(manifests.map(<[u8]>::to_vec)).collect()
}

/// The revision that a recovery over these manifest extents takes.
fn taken(manifests: [&[u8]; 2]) -> Revision {
    let (mut recovery, files) = (recovery(GEOMETRY, None), files(manifests));
    let file = |extent: Extent, _| {
        assert!(extent.number < MANIFEST_EXTENTS, "there are no more");
        files.get(&extent).cloned()
    };
    assert_eq!(ask(&mut recovery, file), Ask::NextExtent);
    recovery.manifest().head.revision
}

#[test]
fn the_newest_is_taken_wherever_the_window_ends() {
    let (older, bytes) = extent(1, 0);
    assert!(bytes > 512, "it takes more than one slot: {bytes}");
    for at in (0..=BYTES - bytes).step_by(512) {
        let (newer, _) = extent(2, at);
        assert_eq!(taken([&older, &newer]), Revision(2), "at {at}");
        assert_eq!(taken([&newer, &older]), Revision(2), "at {at}, in the first extent");
    }
}

#[test]
fn one_that_is_cut_off_anywhere_is_passed_over() {
    let (older, _) = extent(1, 0);
    for at in [0, 512, 7680] {
        let (newer, bytes) = extent(2, at);
        for cut in [1, 7, 8, 9, 23, 24, 25, bytes / 2, bytes - 1] {
            assert_eq!(taken([&older, &newer[..at + cut]]), Revision(1), "{cut} bytes of that at {at}");
        }
        assert_eq!(taken([&older, &newer[..at + bytes]]), Revision(2), "all of that at {at}");
    }
}

#[test]
fn one_that_is_another_when_it_is_read_again_is_not_taken() {
    let (old, _) = extent(1, 0);
    let (new, _) = extent(2, 0);
    let refused = Ask::Refuse(Refusal::Unreadable { extent: Extent::manifest(0), offset: 0 });
    for then in [&old, &vec![0; BYTES], &vec![]] {
        let mut recovery = recovery(GEOMETRY, None);
        let mut now = &new;
        let asked = ask(&mut recovery, |extent, _| {
            // The last extent is read, and has nothing: what was found is read again.
            now = if extent == Extent::manifest(2) { then } else { now };
            (extent == Extent::manifest(0)).then(|| now.clone())
        });
        assert_eq!(asked, refused);
    }
}

#[test]
fn the_next_revision_does_not_share_a_sector_with_the_newest_one() {
    let larger = Geometry { batch_align: 1024, ..GEOMETRY };
    let mut store = Handmade::default();
    store.segment(1, 1, 1, &[1]);
    let mut files = store.all_files();
    // It was written when frames began at every 512 bytes.
    let slot = 3584;
    let frames = &mut files.get_mut(&Extent::manifest(0)).unwrap()[..];
    frames.fill(0);
    for log in (3..95).step_by(2) {
        store.list(log, 1, Lsn(u64::MAX / 2 + log));
        store.files.insert(Extent::wal(u32::try_from(log).unwrap()), vec![0; 4096]);
    }
    let bytes = store.manifest.encode::<FastCheck>(3584, GEOMETRY, &mut frames[slot..]).unwrap();
    assert!(slot + bytes > 4096 && bytes < 1024, "{bytes}");
    let there = frames[..5120].to_vec();
    files.extend(store.files);
    let started = Start { geometry: larger, ..Start::default() }.of(files);
    assert_eq!(started.report().next, Lsn(2));
    let frames = &started.files[&Extent::manifest(0)];
    assert!(frames[..5120] == there && frames[5120..5128] != [0; 8], "it begins at the next sector");
}
