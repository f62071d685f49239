//! How far a log is read, and what is said of the rest.

use strandline_core::geometry::Geometry;
use strandline_core::recovery::{Damage, Refusal};
use strandline_core::types::{Extent, LogId, Lsn};
use strandline_core::wal::verdict::Verdict;
use strandline_tests::handmade::{GEOMETRY, Handmade, Start, Started, at};

/// Segments of one epoch, the first record of each being known only to its header.
fn log(segments: &[&[u32]]) -> Handmade {
    let mut store = Handmade::default();
    let mut next = 1;
    for (log, batches) in (1..).zip(segments) {
        store.list(log, 1, if log == 1 { Lsn(1) } else { Lsn::UNKNOWN });
        next = store.write(log, 1, next, batches).lsn.0;
    }
    store
}

fn damage(started: &Started) -> Damage {
    match started.ended {
        Err(Refusal::Corrupt(damage)) => damage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_log_is_read_once() {
    let started = log(&[&[2, 1, 0], &[2]]).started();
    let report = started.report();
    assert_eq!((report.next, report.records, report.end), (Lsn(6), 5, at(2, 320, 6).position));
    // A mark without records is read as well, though the next segment begins with the same record.
    assert_eq!(report.bytes, (512 - 128) + (320 - 128));
    assert_eq!((report.verdict, report.void_bytes, report.void_until), (Some(Verdict::Clean), 0, Lsn(6)));
    assert_eq!(report.unneeded_damage, 0);
}

#[test]
fn damage_is_where_the_first_frame_is_that_does_not_verify() {
    let mut store = log(&[&[2, 2]]);
    store.witness.settled = at(1, 512, 5);
    store.segment(2, 1, 5, &[1]);
    store.bytes(1)[200] ^= 1;
    let damage = damage(&store.started());
    let expected = Damage {
        extent: Some(Extent::wal(1)),
        position: at(1, 192, 1).position,
        lsn: Lsn(1),
        settled: at(1, 512, 5),
        announced: Lsn(6),
        missing: false,
    };
    assert_eq!(damage, expected);
    for elsewhere in [0, 2, 5] {
        let started = store.start(&Start { discard_from: Some(Lsn(elsewhere)), ..Start::default() });
        assert_eq!(started.ended, Err(Refusal::NotThere { damage }));
        assert_eq!((started.written, started.preserved), (vec![], vec![]));
    }
    let started = store.start(&Start { discard_from: Some(Lsn(1)), ..Start::default() });
    let report = started.report();
    assert_eq!((report.next, report.void_until, report.losses), (Lsn(1), Lsn(6), 1));
    assert_eq!(report.verdict, Some(Verdict::Corrupt));
    assert_eq!(started.preserved, [Extent::wal(2), Extent::wal(1)]);
    assert_eq!((started.segments, started.free), (vec![LogId(3)], vec![1]), "nothing is left of either");
}

#[test]
fn a_segment_that_is_gone_is_the_damage() {
    // Whether a witness says that it held something, or only the list that it was there.
    for (settled, announced) in [(at(2, 256, 6), 6), (at(1, 512, 5), 5), (at(0, 0, 0), 5)] {
        let mut store = log(&[&[2, 2], &[1]]);
        store.manifest.head.settled = settled;
        store.files.remove(&Extent::wal(2));
        let expected = Damage {
            extent: Some(Extent::wal(2)),
            position: at(1, 512, 5).position,
            lsn: Lsn(5),
            settled,
            announced: Lsn(announced),
            missing: true,
        };
        assert_eq!(damage(&store.started()), expected);
    }
}

#[test]
fn a_segment_that_is_gone_further_on_is_not_named_for_damage_here() {
    let mut store = log(&[&[2, 2], &[2], &[1]]);
    store.manifest.head.settled = at(3, 192, 7);
    store.files.remove(&Extent::wal(3));
    store.bytes(1)[200] ^= 1;
    let damage = damage(&store.started());
    assert_eq!((damage.extent, damage.lsn, damage.missing), (Some(Extent::wal(1)), Lsn(1), false));
}

#[test]
fn the_next_segment_is_not_the_damage_where_this_one_is_not_whole() {
    // A record, a mark with a batch behind it, and a record of the last batch.
    for place in [200, 320, 650] {
        let mut store = log(&[&[2, 2, 2], &[1]]);
        store.manifest.head.settled = at(1, 704, 7);
        store.files.remove(&Extent::wal(2));
        store.bytes(1)[place] ^= 1;
        let damage = damage(&store.started());
        assert_eq!((damage.extent, damage.missing), (Some(Extent::wal(1)), false), "damage at {place}");
    }
    // This one has lost its header, or everything.
    for bytes in [128, 4096] {
        let mut store = log(&[&[2], &[2], &[1]]);
        store.manifest.head.settled = at(2, 320, 5);
        store.snapshot(9, at(2, 0, 3));
        store.bytes(2)[..bytes].fill(0);
        store.files.remove(&Extent::wal(3));
        assert_eq!(damage(&store.started()).extent, Some(Extent::wal(2)), "{bytes} bytes are gone");
    }
    // The next one is of another epoch, and does not begin where this one ends.
    let mut store = log(&[&[2, 2]]);
    store.manifest.head.settled = at(1, 512, 5);
    store.segment(2, 2, 5, &[1]);
    store.bytes(1)[320..].fill(0);
    store.files.remove(&Extent::wal(2));
    let damage = damage(&store.started());
    assert_eq!((damage.extent, damage.lsn, damage.missing), (Some(Extent::wal(1)), Lsn(3), false));
}

#[test]
fn a_segment_that_a_snapshot_ends_in_may_be_gone() {
    // The next one is of the next epoch, or of the same one.
    for epoch in [2, 1] {
        let mut store = log(&[&[2, 2]]);
        store.segment(2, epoch, 5, &[2]);
        store.snapshot(9, at(1, 512, 5));
        store.files.remove(&Extent::wal(1));
        let started = store.started();
        assert_eq!(started.lsns, [Lsn(5), Lsn(6)], "epoch {epoch}");
        assert_eq!(started.report().unneeded_damage, 1);
        assert_eq!(started.orphans, []);
    }
}

#[test]
fn where_no_snapshot_loads_what_was_let_go_of_is_not_called_damage() {
    let mut store = Handmade::default();
    store.segment(1, 1, 1, &[2]);
    let end = store.segment(5, 1, 9, &[2]);
    store.snapshot(9, at(5, 128, 9));
    store.manifest.head.settled = end;
    assert_eq!(store.started().lsns, [Lsn(9), Lsn(10)]);
    let unloaded = store.start(&Start { loads: false, ..Start::default() });
    assert_eq!(unloaded.ended, Err(Refusal::NoSnapshot { first: Lsn(9) }));
    // Without a snapshot that was damaged, it is.
    store.manifest.snapshots.clear();
    assert_eq!(damage(&store.started()).lsn, Lsn(3));
    // So it is where nothing says how much was let go of.
    let mut store = Handmade::default();
    store.segment(1, 1, 1, &[2]);
    store.list(5, 1, Lsn::UNKNOWN);
    store.manifest.head.settled = store.write(5, 1, 9, &[2]);
    store.bytes(5)[..128].fill(0);
    store.snapshot(9, at(5, 128, 9));
    let headless = damage(&store.start(&Start { loads: false, ..Start::default() }));
    assert_eq!((headless.extent, headless.lsn), (Some(Extent::wal(5)), Lsn(3)));
    // And where nothing was let go of: log ids of an epoch are dense, those of two are not.
    for (log, epoch) in [(2, 1), (3, 2)] {
        let mut store = self::log(&[&[2, 2]]);
        store.manifest.head.settled = store.segment(log, epoch, 5, &[1]);
        store.snapshot(9, at(log, 128, 5));
        store.bytes(1)[320..].fill(0);
        let damage = damage(&store.start(&Start { loads: false, ..Start::default() }));
        assert_eq!((damage.extent, damage.lsn), (Some(Extent::wal(1)), Lsn(3)), "segment {log}");
    }
}

#[test]
fn what_a_snapshot_holds_may_be_gone() {
    let with_snapshot = |segments: &[&[u32]]| {
        let mut store = log(segments);
        store.snapshot(9, at(2, 128, 3));
        store.files.remove(&Extent::wal(1));
        store
    };
    let report = with_snapshot(&[&[2], &[1]]).started().report();
    assert_eq!((report.next, report.records, report.unneeded_damage), (Lsn(4), 1, 1));
    // What it does not hold is the damage, although something else is gone as well.
    let mut store = with_snapshot(&[&[2], &[1], &[1]]);
    store.files.remove(&Extent::wal(3));
    let damage = damage(&store.started());
    assert_eq!((damage.extent, damage.lsn, damage.missing), (Some(Extent::wal(3)), Lsn(4), true));
}

#[test]
fn replay_goes_on_behind_a_snapshot_whose_segment_is_no_longer_listed() {
    let mut store = Handmade::default();
    store.segment(1, 1, 1, &[2]);
    let end = store.segment(3, 1, 5, &[1]);
    store.snapshot(9, at(2, 320, 5));
    let started = store.started();
    let report = started.report();
    assert_eq!((report.next, report.end, report.unneeded_damage), (Lsn(6), end.position, 0));
    assert_eq!(report.bytes, 256 - 128, "what is older than the snapshot is not read");
}

/// Batches of two, three and one record, of which the fourth record is damaged; then what follows.
fn torn(behind: &[u32]) -> Handmade {
    let mut store = log(&[&[&[2, 3], behind].concat()]);
    store.bytes(1)[450] ^= 1;
    store
}

#[test]
fn what_is_void_is_counted() {
    let found = |store: &Handmade| {
        let report = store.started().report();
        assert_eq!((report.next, report.end), (Lsn(4), at(1, 448, 4).position));
        assert_eq!(report.verdict, Some(Verdict::Torn));
        (report.void_bytes, report.void_until)
    };
    assert_eq!(found(&torn(&[])), (576 - 448, Lsn(6)), "the rest of the batch");
    assert_eq!(found(&torn(&[1])), (704 - 448, Lsn(7)), "a batch behind it");
    let mut store = torn(&[1]);
    store.list(2, 1, Lsn::UNKNOWN);
    store.write(2, 1, 7, &[1]);
    assert_eq!(found(&store), (704 - 448 + 256, Lsn(8)), "and the next segment");
    store.bytes(2)[192] ^= 1;
    assert_eq!(found(&store), (704 - 448 + 256, Lsn(8)), "by its mark");
    store.bytes(2)[128..].fill(0);
    assert_eq!(found(&store), (704 - 448, Lsn(7)), "by its header");
    store.bytes(2).fill(0);
    assert_eq!(found(&store), (704 - 448, Lsn(7)), "it was not begun");
}

#[test]
fn damage_that_a_snapshot_covers_costs_only_what_is_behind_it() {
    let with_settled = |lsn| {
        let mut store = torn(&[]);
        store.manifest.head.settled = at(1, 320, lsn);
        // In front of the batch that holds its first record, with two others before that.
        store.snapshot(9, at(1, 320, 5));
        store.started()
    };
    let started = with_settled(5);
    let report = started.report();
    assert_eq!((report.next, report.records, report.unneeded_damage), (Lsn(5), 0, 1));
    assert_eq!((report.verdict, report.void_until), (Some(Verdict::Torn), Lsn(6)));
    let lost = damage(&with_settled(6));
    assert_eq!((lost.extent, lost.lsn, lost.announced), (Some(Extent::wal(1)), Lsn(5), Lsn(6)));
}

#[test]
fn replay_goes_on_behind_damage_that_a_snapshot_covers_at_the_first_record_that_it_does_not_hold() {
    // The damaged batch ends where the snapshot does; whether more is known to be durable changes nothing.
    for settled in [at(1, 512, 5), at(1, 704, 7), at(2, 256, 8)] {
        let mut store = log(&[&[2, 2, 2], &[1]]);
        store.bytes(1)[450] ^= 1;
        store.manifest.head.settled = settled;
        store.snapshot(9, at(1, 320, 5));
        let started = store.started();
        assert_eq!(started.lsns, [Lsn(5), Lsn(6), Lsn(7)]);
        let report = started.report();
        assert_eq!((report.verdict, report.unneeded_damage), (Some(Verdict::Clean), 1));
        // The same from the files that this start left.
        assert_eq!(Start::default().of(started.files).lsns, [Lsn(5), Lsn(6), Lsn(7)]);
    }
}

#[test]
fn an_epoch_that_was_opened_behind_covered_damage_is_not_forgotten_without_the_snapshot() {
    let mut store = log(&[&[2, 2]]);
    store.bytes(1)[450] ^= 1;
    store.manifest.head.settled = at(1, 512, 5);
    store.snapshot(8, at(1, 128, 1));
    store.snapshot(9, at(1, 320, 5));
    let started = store.started();
    assert_eq!((started.report().next, started.segments), (Lsn(5), vec![LogId(1), LogId(2)]));
    // Now the newer one is gone as well, and records of the new epoch may have been acknowledged.
    let mut files = started.files;
    files.remove(&Extent::snapshot(9));
    let lost = damage(&Start::default().of(files));
    assert_eq!((lost.extent, lost.lsn, lost.settled), (Some(Extent::wal(1)), Lsn(4), at(1, 512, 5)));
    // Nor where a start of an earlier version said that less was settled.
    let mut store = log(&[&[2, 2]]);
    store.bytes(1)[450] ^= 1;
    store.manifest.head.settled = at(1, 448, 5);
    store.segment(2, 2, 5, &[1]);
    store.snapshot(8, at(1, 128, 1));
    assert_eq!(damage(&store.started()).lsn, Lsn(4));
}

#[test]
fn nothing_is_looked_for_behind_a_seal() {
    let reads = |seal| {
        let mut store = Handmade::default();
        store.sizes(Geometry { extent_bytes: 1 << 20, ..GEOMETRY });
        store.witness.seal = seal;
        store.segment(1, 1, 1, &[2, 0]);
        let started = store.start(&Start { geometry: store.geometry, ..Start::default() });
        assert_eq!(started.report().sealed, seal);
        assert_eq!(started.report().verdict, Some(Verdict::Clean));
        started.reads.into_iter().filter(|(extent, _)| *extent == Extent::wal(1)).count()
    };
    assert_eq!((reads(true), reads(false) > 100), (3, true), "header, records, the bytes to write again");
}

/// Two segments of 2 MiB; the second one has a batch of one record at its start and one far behind, which witnesses it.
fn long() -> (Handmade, Start) {
    let geometry = Geometry { extent_bytes: 2 << 20, ..GEOMETRY };
    let mut store = Handmade::default();
    store.sizes(geometry);
    store.segment(1, 1, 1, &[2]);
    store.list(2, 1, Lsn::UNKNOWN);
    let end = store.write(2, 1, 3, &[1]);
    store.witness.settled = end;
    store.batch(1, at(2, (2 << 20) - 4096, 9), 1);
    (store, Start { geometry, ..Start::default() })
}

#[test]
fn a_witness_is_found_to_the_end_of_a_segment_that_was_begun() {
    let (mut store, start) = long();
    let report = store.start(&start).report();
    assert_eq!((report.next, report.void_until), (Lsn(4), Lsn(10)));
    assert_eq!(report.void_bytes, (2 << 20) - 4096 + 128 - 256);
    // Its own first record.
    store.bytes(2)[192] ^= 1;
    let damage = damage(&store.start(&start));
    assert_eq!((damage.lsn, damage.settled, damage.announced), (Lsn(3), at(2, 256, 4), Lsn(10)));
}

#[test]
fn a_witness_is_found_near_the_start_of_a_segment_whose_header_is_damaged() {
    let (mut store, start) = long();
    store.bytes(2)[..128].fill(0);
    // Most segments without a header were never begun: looking through each of them would cost every start.
    let report = store.start(&start).report();
    assert_eq!((report.next, report.void_until), (Lsn(3), Lsn(4)));
    store.batch(1, at(2, 256, 4), 1);
    let damage = damage(&store.start(&start));
    assert_eq!((damage.extent, damage.lsn, damage.announced), (Some(Extent::wal(2)), Lsn(3), Lsn(5)));
    assert_eq!((damage.position, damage.missing), (at(2, 0, 3).position, false), "its header");
}
