//! What the host lends to the core.

use strandline_core::geometry::Geometry;
use strandline_core::manifest::{FreeExtent, Loan, Segment, Snapshot};
use strandline_core::recovery::Memory;

/// Vectors.
#[derive(Debug)]
pub(crate) struct Owned;

impl Loan for Owned {
    type Bytes = Vec<u8>;
    type Segments = Vec<Segment>;
    type Free = Vec<FreeExtent>;
    type Snapshots = Vec<Snapshot>;
}

/// Segments that a store may have: 1 TiB at the default size.
pub(crate) const SEGMENTS: usize = 16 << 10;
const FREE: usize = 1 << 10;
const SNAPSHOTS: usize = 128;
/// One reused buffer: a larger or a fresh one is slower.
pub(crate) const WINDOW: usize = 256 << 10;

/// Buffers for a store whose batches have `batch_bytes`.
pub(crate) fn memory(geometry: Geometry, batch_bytes: usize) -> Memory<Owned> {
    let frame = usize::try_from(geometry.manifest_bytes).unwrap_or(usize::MAX);
    Memory {
        halves: [vec![0; batch_bytes], vec![0; batch_bytes]],
        frame: vec![0; frame],
        window: vec![0; WINDOW],
        segments: vec![Segment::default(); SEGMENTS],
        free: vec![FreeExtent::default(); FREE],
        snapshots: vec![Snapshot::default(); SNAPSHOTS],
    }
}
