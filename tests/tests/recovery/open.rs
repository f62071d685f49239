//! What becomes of extents that the next epoch does not need as they are.

use strandline_core::geometry::Geometry;
use strandline_core::manifest::FreeExtent;
use strandline_core::types::{Extent, Lsn, Revision};
use strandline_tests::handmade::{GEOMETRY, Handmade, Start, Started};

const SMALL: Geometry = GEOMETRY;
const LARGE: Geometry = Geometry { extent_bytes: 8192, ..GEOMETRY };

/// What is there of the segment behind the end of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Gone,
    Prepared,
    /// Begun by a header of these sizes, with a record that does not follow.
    Begun(Geometry),
}

/// Starts a store that was written with `listed` sizes and is to have `wanted` ones. Extents 5 and 6 are free, and 7 is
/// gone.
fn start(listed: Geometry, wanted: Geometry, next: Next) -> Started {
    let mut store = Handmade::default();
    store.sizes(listed);
    store.segment(1, 1, 1, &[2]);
    store.list(2, 1, Lsn::UNKNOWN);
    match next {
        Next::Gone => {}
        Next::Prepared => drop(store.files.insert(Extent::wal(2), vec![0; listed.extent_bytes as usize])),
        Next::Begun(sizes) => {
            store.geometry = sizes;
            store.write(2, 1, 9, &[1]);
        }
    }
    for extent in [5, 6, 7] {
        store.manifest.free.push(FreeExtent { extent, freed: Revision(1), present: false }).unwrap();
    }
    for extent in [5, 6] {
        store.files.insert(Extent::wal(extent), vec![0; listed.extent_bytes as usize]);
    }
    let discard_from = (next == Next::Gone).then_some(Lsn(3));
    store.start(&Start { geometry: wanted, discard_from, ..Start::default() })
}

/// Sizes listed and wanted, and what is there; then what is free, and what is handed over.
type Row = (Geometry, Geometry, Next, &'static [u32], &'static [u32]);

#[test]
fn extents_of_the_same_size_are_used_again_and_others_are_handed_over() {
    let begun = Next::Begun;
    let rows: [Row; 10] = [
        (SMALL, SMALL, Next::Gone, &[6], &[]),
        (SMALL, SMALL, Next::Prepared, &[6, 2], &[]),
        (SMALL, SMALL, begun(SMALL), &[6, 2], &[]),
        (SMALL, SMALL, begun(LARGE), &[6], &[2]),
        (SMALL, LARGE, Next::Gone, &[], &[5, 6]),
        (SMALL, LARGE, Next::Prepared, &[], &[5, 6, 2]),
        (SMALL, LARGE, begun(SMALL), &[], &[5, 6, 2]),
        (SMALL, LARGE, begun(LARGE), &[], &[5, 6, 2]),
        (LARGE, SMALL, Next::Prepared, &[], &[5, 6, 2]),
        (LARGE, LARGE, Next::Prepared, &[6, 2], &[]),
    ];
    for (row, (listed, wanted, next, free, orphans)) in rows.into_iter().enumerate() {
        let started = start(listed, wanted, next);
        assert_eq!(started.report().next, Lsn(3), "{row}");
        assert_eq!(started.free, free, "{row}: free");
        let handed_over: Vec<_> = orphans.iter().map(|number| (Extent::wal(*number), false)).collect();
        assert_eq!(started.orphans, handed_over, "{row}: handed over");
        let lost = if next == Next::Gone { vec![Extent::wal(1)] } else { vec![] };
        assert_eq!(started.preserved, lost, "{row}: only what may hold something that is given up");
        let opened = started.written.last().unwrap().0;
        let reused = listed == wanted;
        assert_eq!(opened, Extent::wal(if reused { 5 } else { 7 }), "{row}: where the epoch begins");
    }
}
