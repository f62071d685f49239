//! Recovery, asked by hand: what simulated stores are too small for.

use strandline_core::geometry::Geometry;
use strandline_core::manifest::{Head, Manifest, Segment};
use strandline_core::recovery::{Ask, Existing, Refusal};
use strandline_core::store::Now;
use strandline_core::types::{Epoch, Extent, LogId, Lsn, Revision, Role, StoreId};
use strandline_tests::chance::Chance;
use strandline_tests::setup::{FastCheck, Heap, Setup, SimRecovery};

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

/// A recovery over these manifest extents, and over empty other ones, up to what it asks next.
fn asked(recovery: &mut SimRecovery, manifests: [&[u8]; 2]) -> Ask {
    loop {
        match recovery.poll(Now::default()) {
            Ask::Read { extent, offset, start, len } => {
                let manifest =
                    manifests.get(extent.number as usize).filter(|_| extent.role == Role::Manifest);
                let file = manifest.copied().unwrap_or_default();
                let rest = &file[file.len().min(usize::try_from(offset).unwrap())..];
                let bytes = &rest[..rest.len().min(len)];
                recovery.window_mut()[start..start + bytes.len()].copy_from_slice(bytes);
                recovery.filled(Ok(bytes.len()));
            }
            Ask::Grow(bytes) => drop(recovery.grow(vec![0; bytes])),
            ask => return ask,
        }
    }
}

/// The revision that a recovery over these manifest extents takes.
fn taken(setup: &Setup, manifests: [&[u8]; 2]) -> Revision {
    let mut recovery = setup.recovery(StoreId([1; 16]), None);
    assert_eq!(asked(&mut recovery, manifests), Ask::NextExtent);
    recovery.manifest().head.revision
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

#[test]
fn a_number_far_above_all_that_are_listed_is_a_strays() {
    let geometry = GEOMETRY;
    let setup = Setup { geometry, window_bytes: 8192, segments: 48, ..Setup::random(&mut Chance::new(1)) };
    let mut listing = vec![0; geometry.manifest_bytes as usize];
    manifest(1).encode::<FastCheck>(0, geometry, &mut listing).unwrap();
    let highest = 48 + (1 << 24);
    let of = |extent| {
        let mut recovery = setup.recovery(StoreId([1; 16]), None);
        assert_eq!(asked(&mut recovery, [&listing, &[]]), Ask::NextExtent);
        recovery.next_extent(Some(Existing { extent, unfinished: false }));
        asked(&mut recovery, [&listing, &[]])
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
