//! A manifest extent: every slot is looked at, and what verifies is read and written again.
//!
//! ```text
//!  | bytes of the extent |
//! ```

use strandline_core::codec::check::{Checksum, TableCheck};
use strandline_core::geometry::Geometry;
use strandline_core::manifest::{
    FreeExtent, Loan, MANIFEST_STEP, Manifest, Segment, SlotFound, Snapshot, head, look,
};

use super::Blind;

#[derive(Debug)]
struct Lent;

impl Loan for Lent {
    type Bytes = Vec<u8>;
    type Segments = Vec<Segment>;
    type Free = Vec<FreeExtent>;
    type Snapshots = Vec<Snapshot>;
}

pub(super) fn scan(bytes: &[u8]) {
    for (slot, at) in (0..).zip((0..bytes.len()).step_by(MANIFEST_STEP as usize)) {
        read::<Blind>(bytes, at, slot * MANIFEST_STEP);
        read::<TableCheck>(bytes, at, slot * MANIFEST_STEP);
    }
}

fn read<C: Checksum>(bytes: &[u8], at: usize, offset: u32) {
    let Ok(manifest_bytes) = u32::try_from(bytes.len()) else { return };
    let geometry = Geometry { manifest_bytes, ..Geometry::HOST };
    match look::<C>(&bytes[at..], offset, geometry) {
        SlotFound::Frame { store, body, .. } => {
            let mut manifest = empty();
            let of_head = head(body);
            if manifest.decode(body).is_ok() {
                assert_eq!((manifest.store, Ok(manifest.head)), (store, of_head));
                again::<C>(&manifest, geometry);
            }
        }
        SlotFound::Need(need) => assert!(need > bytes.len() - at, "needs {need}"),
        SlotFound::Nothing => {}
    }
}

/// What was read and is encoded is read as the same, and encoded to the same bytes.
fn again<C: Checksum>(manifest: &Manifest<Lent>, geometry: Geometry) {
    let geometry = Geometry { manifest_bytes: 1 << 20, ..geometry };
    let mut out = vec![0xee; 64 << 10];
    let Some(bytes) = manifest.encode::<C>(0, geometry, &mut out) else { panic!("too long: {manifest:?}") };
    let SlotFound::Frame { body, bytes: found, .. } = look::<C>(&out, 0, geometry) else {
        panic!("what was encoded is not found: {manifest:?}")
    };
    let mut read = empty();
    assert_eq!((read.decode(body), found), (Ok(()), bytes));
    assert_eq!(read.head, manifest.head);
    assert_eq!(read.segments.as_slice(), manifest.segments.as_slice());
    assert_eq!(read.free.as_slice(), manifest.free.as_slice());
    assert_eq!(read.snapshots.as_slice(), manifest.snapshots.as_slice());
    assert_eq!(read.losses, manifest.losses);
    let mut twice = vec![0xee; 64 << 10];
    assert_eq!(read.encode::<C>(0, geometry, &mut twice), Some(bytes));
    assert_eq!(twice[..bytes], out[..bytes]);
}

fn empty() -> Manifest<Lent> {
    Manifest::new(
        vec![Segment::default(); 64],
        vec![FreeExtent::default(); 64],
        vec![Snapshot::default(); 16],
    )
}
