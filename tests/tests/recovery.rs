//! Recovery, asked by hand: what simulated stores are too small for.

use strandline_core::geometry::Geometry;
use strandline_core::manifest::{Head, Manifest, Segment};
use strandline_core::recovery::Ask;
use strandline_core::store::Now;
use strandline_core::types::{Epoch, LogId, Lsn, Revision, Role, StoreId};
use strandline_tests::chance::Chance;
use strandline_tests::setup::{FastCheck, Heap, Setup};

const GEOMETRY: Geometry =
    Geometry { write_unit: 64, batch_align: 64, extent_bytes: 4096, manifest_bytes: 32_768 };

/// A manifest of some hundred bytes: no two of its segments are a run.
fn manifest(revision: u64) -> Manifest<Heap> {
    let mut manifest = Manifest::new(vec![Segment::default(); 48], Vec::new(), Vec::new());
    manifest.reset(StoreId([7; 16]));
    let sizes = (GEOMETRY.write_unit, GEOMETRY.batch_align, GEOMETRY.extent_bytes);
    manifest.head =
        Head { revision: Revision(revision), epoch: Epoch(1), geometry: sizes, ..Head::default() };
    for number in 0..48 {
        let (log, fence) = (LogId(2 * u64::from(number) + 1), Lsn(u64::MAX / 2 + u64::from(number)));
        manifest
            .segments
            .push(Segment { log, extent: number + 1, epoch: Epoch(1), fence, ..Segment::default() })
            .unwrap();
    }
    manifest
}

/// The revision that a recovery over these manifest extents takes.
fn taken(setup: &Setup, extents: [&[u8]; 2]) -> Revision {
    let mut recovery = setup.recovery(StoreId([1; 16]), None);
    loop {
        match recovery.poll(Now::default()) {
            Ask::Read { extent, offset, start, len } => {
                assert_eq!(extent.role, Role::Manifest);
                let file = extents.get(extent.number as usize).copied().unwrap_or_default();
                let rest = &file[file.len().min(usize::try_from(offset).unwrap())..];
                let bytes = &rest[..rest.len().min(len)];
                recovery.window_mut()[start..start + bytes.len()].copy_from_slice(bytes);
                recovery.filled(Ok(bytes.len()));
            }
            Ask::Grow(bytes) => drop(recovery.grow(vec![0; bytes])),
            Ask::NextExtent => return recovery.manifest().head.revision,
            ask => panic!("{ask:?}"),
        }
    }
}

#[test]
fn the_newest_manifest_is_taken_wherever_the_window_ends() {
    let geometry = GEOMETRY;
    let setup = Setup { geometry, window_bytes: 8192, segments: 48, ..Setup::random(&mut Chance::new(1)) };
    let mut older = vec![0; geometry.manifest_bytes as usize];
    let bytes = manifest(1).encode::<FastCheck>(0, geometry, &mut older).unwrap();
    assert!(bytes > 512, "it takes more than one slot: {bytes}");
    let places = (0..geometry.manifest_bytes).step_by(512);
    let fits = |at: &u32| *at as usize + bytes <= geometry.manifest_bytes as usize;
    for at in places.filter(fits) {
        let mut newer = vec![0; geometry.manifest_bytes as usize];
        manifest(2).encode::<FastCheck>(at, geometry, &mut newer[at as usize..]).unwrap();
        assert_eq!(taken(&setup, [&older, &newer]), Revision(2), "at {at}");
        assert_eq!(taken(&setup, [&newer, &older]), Revision(2), "at {at}, in the first extent");
    }
}
