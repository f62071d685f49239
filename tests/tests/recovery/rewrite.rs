//! What is written again before a store is opened.

use strandline_core::recovery::Refusal;
use strandline_core::types::{Epoch, Extent, LogId, Lsn, Settled};
use strandline_tests::handmade::{Files, Handmade, Start, Started, at};

/// Five records in two segments of one epoch.
fn store() -> Handmade {
    let mut store = Handmade::default();
    store.segment(1, 1, 1, &[2, 1]);
    store.segment(2, 1, 4, &[2]);
    store
}

/// A segment's extent, an offset, and how many bytes.
type Write = (u32, u64, u32);

/// What was written in place, without the header and mark of the segment that opens the epoch.
fn rewritten(started: &Started) -> Vec<Write> {
    let (_, again) = started.written.split_last().expect("an epoch was opened");
    let bytes: u64 = again.iter().map(|(_, _, bytes)| u64::from(*bytes)).sum();
    assert_eq!(started.report().rewritten, bytes);
    again.iter().map(|(extent, offset, bytes)| (extent.number, *offset, *bytes)).collect()
}

#[test]
fn everything_behind_the_settled_place_is_written_again() {
    let rows: [(Settled, &[Write]); 5] = [
        (at(0, 0, 0), &[(1, 0, 448), (2, 0, 320)]),
        (at(1, 320, 3), &[(1, 320, 128), (2, 0, 320)]),
        (at(1, 448, 4), &[(2, 0, 320)]),
        (at(2, 0, 4), &[(2, 0, 320)]),
        (at(2, 320, 6), &[]),
    ];
    for (settled, writes) in rows {
        let mut store = store();
        store.manifest.head.settled = settled;
        assert_eq!(rewritten(&store.started()), writes, "settled: {settled:?}");
        // A snapshot says as much.
        if settled.lsn > Lsn(0) {
            let mut store = self::store();
            store.snapshot(9, settled);
            assert_eq!(rewritten(&store.started()), writes, "snapshot: {settled:?}");
        }
    }
}

#[test]
fn a_segment_without_a_header_is_written_again_only_from_inside() {
    let mut store = store();
    store.snapshot(9, at(1, 320, 3));
    store.bytes(1)[..128].fill(0);
    assert_eq!(rewritten(&store.started()), [(1, 320, 128), (2, 0, 320)]);
    // Nothing of it was read: the next epoch goes on in front of it.
    let mut store = Handmade::default();
    store.segment(1, 1, 1, &[2]);
    store.segment(2, 1, 3, &[2]);
    store.bytes(2)[..128].fill(0);
    store.snapshot(9, at(2, 0, 3));
    store.segment(3, 2, 3, &[1]);
    assert_eq!(rewritten(&store.started()), [(3, 0, 256)]);
}

#[test]
fn what_a_newer_epoch_made_void_is_not_written_again() {
    let mut store = Handmade::default();
    store.segment(1, 1, 1, &[2, 2]);
    store.segment(2, 2, 3, &[1]);
    let started = store.started();
    assert_eq!(started.lsns, [Lsn(1), Lsn(2), Lsn(3)]);
    assert_eq!(rewritten(&started), [(1, 0, 320), (2, 0, 256)]);
}

/// One segment of it with another content.
fn changed(log: u64, change: impl FnOnce(&mut Handmade)) -> (Extent, Files) {
    let mut other = store();
    change(&mut other);
    let extent = Extent::wal(u32::try_from(log).unwrap());
    (extent, other.files.into_iter().filter(|(of, _)| *of == extent).collect())
}

#[test]
fn a_medium_that_changes_while_it_is_read_opens_nothing_that_it_would_not_read_again() {
    let honest = store().started();
    let written = |log, epoch, fence, batches: &[u32]| {
        changed(log, |store| {
            store.write(log, epoch, fence, batches);
        })
    };
    let changes = [
        changed(1, |store| store.bytes(1)[320..].fill(0)),
        changed(1, |store| store.bytes(1).fill(0)),
        changed(1, |store| store.change_header(1, |header| header.log = LogId(2))),
        changed(1, |store| store.change_header(1, |header| header.epoch = Epoch(2))),
        changed(1, |store| store.change_header(1, |header| header.fence = Lsn(2))),
        written(1, 1, 1, &[2, 0]),
        written(1, 1, 1, &[2, 2]),
        written(2, 1, 4, &[1]),
        written(2, 2, 4, &[2]),
        written(2, 1, 5, &[2]),
    ];
    let mut unstable = vec![0; changes.len()];
    for (row, (extent, files)) in changes.iter().enumerate() {
        let reads = honest.reads.iter().enumerate().filter(|(_, (of, _))| of == extent);
        for (read, _) in reads {
            let changes = Some((read, files.clone()));
            let started = store().start(&Start { changes, ..Start::default() });
            match started.ended {
                Ok(_) => {
                    let again = Start::default().of(started.files);
                    assert_eq!(again.lsns, started.lsns, "change {row} at read {read}: {:?}", again.ended);
                }
                Err(Refusal::Unstable { .. }) => unstable[row] += 1,
                Err(refusal) => assert!(started.written.is_empty(), "{row}, {read}: {refusal:?}"),
            }
        }
    }
    assert!(unstable.iter().all(|seen| *seen > 0), "each is noticed: {unstable:?}");
}
