//! What is made of each extent's header.

use strandline_core::codec::extent::{ExtentHeader, HeaderRole};
use strandline_core::geometry::Geometry;
use strandline_core::manifest::FreeExtent;
use strandline_core::recovery::{Ask, Existing, Refusal};
use strandline_core::types::{Epoch, Extent, LogId, Lsn, Millis, Revision, StoreId};
use strandline_core::wal::verdict::Verdict;
use strandline_tests::handmade::{GEOMETRY, Handmade, Start, ask, at, recovery};
use strandline_tests::setup::FastCheck;

#[test]
fn a_number_far_above_all_that_are_listed_is_a_strays() {
    let mut store = Handmade::default();
    store.segment(48, 1, 1, &[1]);
    let files = store.all_files();
    let highest = 48 + (1 << 24);
    let of = |extent| {
        let mut recovery = recovery(GEOMETRY, None);
        assert_eq!(ask(&mut recovery, |extent, _| files.get(&extent).cloned()), Ask::NextExtent);
        recovery.next_extent(Some(Existing { extent, unfinished: false }));
        ask(&mut recovery, |_, _| None)
    };
    assert_eq!(of(Extent::manifest(1)), Ask::NextExtent, "no header is looked for");
    for near in [Extent::wal(highest), Extent::wal(49)] {
        assert_eq!(of(near), Ask::Orphan { extent: near, foreign: false });
    }
    let near = Extent::snapshot(highest);
    assert_eq!(of(near), Ask::Orphan { extent: near, foreign: true }, "it may hold something");
    for far in [Extent::wal(highest + 1), Extent::snapshot(u32::MAX)] {
        assert_eq!(of(far), Ask::Refuse(Refusal::Stray { extent: far }));
    }
}

/// Two segments with two records each, of one epoch.
fn two() -> Handmade {
    let mut store = Handmade::default();
    store.segment(1, 1, 1, &[2]);
    store.list(2, 1, Lsn::UNKNOWN);
    store.write(2, 1, 3, &[2]);
    store
}

#[test]
fn a_segment_is_entered_by_its_own_header_only() {
    assert_eq!(two().started().report().next, Lsn(5));
    let others: [fn(&mut ExtentHeader); 4] = [
        |header| header.log = LogId(1),
        |header| header.log = LogId(3),
        |header| header.epoch.0 = 0,
        |header| header.role = HeaderRole::Snapshot,
    ];
    for (row, other) in others.into_iter().enumerate() {
        let mut store = two();
        store.change_header(2, other);
        let started = store.started();
        let report = started.report();
        assert_eq!((report.next, report.void_until), (Lsn(3), Lsn(5)), "{row}: marks say what there was");
        assert_eq!(report.verdict, Some(Verdict::Torn), "{row}");
        assert_eq!(started.orphans, [], "{row}: it is listed");
        assert_eq!(started.segments, [LogId(1), LogId(3)], "{row}: it is used again");
    }
}

#[test]
fn a_listed_segment_that_was_not_begun_announces_nothing() {
    let mut store = two();
    // The bytes of another one: none of its frames verifies here.
    let first = store.bytes(1).to_vec();
    store.bytes(2).copy_from_slice(&first);
    let report = store.started().report();
    assert_eq!((report.next, report.verdict), (Lsn(3), Some(Verdict::Clean)));
    assert_eq!((report.void_bytes, report.void_until), (0, Lsn(3)));
}

#[test]
fn a_segment_keeps_the_sizes_it_was_written_with() {
    for unit in [8, 16, 512] {
        let mut store = Handmade::default();
        let sizes = Geometry { write_unit: unit, batch_align: 512, ..GEOMETRY };
        store.sizes(sizes);
        store.segment(1, 1, 1, &[1]);
        store.sizes(GEOMETRY);
        store.segment(2, 2, 2, &[2]);
        let started = store.started();
        assert_eq!(started.lsns, [Lsn(1), Lsn(2), Lsn(3)], "frames of {unit} bytes");
    }
}

/// A file of another store: the header, and nothing else.
fn foreign(role: HeaderRole) -> Vec<u8> {
    let header = ExtentHeader {
        role,
        geometry: ExtentHeader::geometry_of(GEOMETRY),
        store: StoreId([8; 16]),
        log: LogId(2),
        epoch: Epoch(1),
        fence: Lsn(3),
        settled: at(2, 2048, 99),
        revision: Revision(99),
        time: Millis(0),
    };
    let mut file = vec![0; 4096];
    header.encode::<FastCheck>(64, &mut file).unwrap();
    file
}

#[test]
fn a_segment_of_another_store_in_place_of_ours_is_a_missing_one_and_stays() {
    let mut store = two();
    store.files.insert(Extent::wal(2), foreign(HeaderRole::Wal));
    let started = store.started();
    let Err(Refusal::Corrupt(damage)) = started.ended else { panic!("{started:?}") };
    assert_eq!((damage.extent, damage.lsn, damage.missing), (Some(Extent::wal(2)), Lsn(3), true));
    assert_eq!(started.orphans, []);
}

#[test]
fn a_snapshot_of_another_store_is_put_aside_whatever_its_number() {
    let mut store = two();
    let aside = Extent::snapshot(2);
    store.files.insert(aside, foreign(HeaderRole::Snapshot));
    let started = store.started();
    assert_eq!((started.report().next, started.orphans), (Lsn(5), vec![(aside, true)]));
}

#[test]
fn files_under_another_roles_name_are_told_by_their_name() {
    // A segment's content under the name of a snapshot: no tool of ours makes that, so that an operator may want it.
    let mut store = two();
    let segment = store.bytes(2).to_vec();
    store.files.insert(Extent::snapshot(2), segment.clone());
    let started = store.started();
    assert_eq!(started.report().next, Lsn(5));
    assert_eq!(started.orphans, [(Extent::snapshot(2), true)]);
    // A snapshot under the name of a segment, at a new number and at that of a free one.
    let mut store = two();
    store.manifest.free.push(FreeExtent { extent: 6, freed: Revision(1), present: false }).unwrap();
    store.files.insert(Extent::wal(6), segment.clone());
    store.change_header(6, |header| header.role = HeaderRole::Snapshot);
    store.files.insert(Extent::wal(7), store.files[&Extent::wal(6)].clone());
    let started = store.started();
    assert_eq!(started.report().next, Lsn(5));
    assert_eq!(started.orphans, [(Extent::wal(7), true), (Extent::wal(6), true)]);
    // The same where a snapshot is listed: whether it loads decides.
    let mut store = two();
    store.snapshot(2, at(1, 320, 3));
    store.files.insert(Extent::snapshot(2), segment);
    let started = store.started();
    assert_eq!((started.lsns, started.orphans), (vec![Lsn(3), Lsn(4)], vec![]));
}

#[test]
fn a_listed_snapshot_of_another_store_is_handed_over_once() {
    let mut store = two();
    store.snapshot(2, at(1, 320, 3));
    store.files.insert(Extent::snapshot(2), foreign(HeaderRole::Snapshot));
    let started = store.start(&Start { loads: false, ..Start::default() });
    assert_eq!(started.report().damaged_snapshots, 1);
    assert_eq!((started.report().next, started.orphans), (Lsn(5), vec![(Extent::snapshot(2), true)]));
}

#[test]
fn a_log_begins_at_the_first_record_where_nothing_says_otherwise() {
    let mut store = Handmade::default();
    store.list(1, 1, Lsn::UNKNOWN);
    store.files.insert(Extent::wal(1), vec![0; 4096]);
    let report = store.started().report();
    assert_eq!((report.next, report.records, report.verdict), (Lsn::FIRST, 0, Some(Verdict::Clean)));
    let mut store = Handmade::default();
    store.segment(2, 1, 5, &[2]);
    assert_eq!(store.started().ended, Err(Refusal::NoSnapshot { first: Lsn(5) }));
}

#[test]
fn a_snapshot_stands_for_the_segments_in_front_of_its_place() {
    // Its own segment is gone as well; it knows all that was in it.
    let place = at(2, 320, 5);
    for settled in [at(0, 0, 0), place] {
        let mut store = Handmade::default();
        store.manifest.head.settled = settled;
        store.snapshot(9, place);
        let report = store.started().report();
        assert_eq!((report.next, report.verdict), (Lsn(5), Some(Verdict::Clean)));
    }
    let mut store = Handmade::default();
    store.manifest.head.settled = at(2, 384, 6);
    store.snapshot(9, place);
    let Err(Refusal::Corrupt(damage)) = store.started().ended else { panic!("record 5 is gone") };
    assert_eq!((damage.extent, damage.lsn, damage.announced), (None, Lsn(5), Lsn(6)));
}
