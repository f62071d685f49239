//! What a medium witnesses, read without recovery: the highest LSN that any intact header or mark calls settled.
//!
//! What was once called settled is never void later, so a mark counts wherever it stands.

use strandline_core::codec::extent::{ExtentHeader, HeaderParsed, HeaderRole};
use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::File;
use strandline_core::types::{Lsn, Position, Settled};
use strandline_core::wal::reader::MarkScan;

use crate::posix::Disk;
use crate::setup::FastCheck;

/// Every record before this one was durable, the medium says.
#[must_use]
pub fn witnessed(disk: &Disk) -> Lsn {
    let segments = disk.files().filter(|file| matches!(file, File::Segment(_)));
    let contents = segments.filter_map(|file| disk.content(file));
    contents.map(|content| settled(content).lsn).max().unwrap_or(Lsn::FIRST).max(Lsn::FIRST)
}

/// What the header and the marks in a segment's bytes call settled.
#[must_use]
pub fn settled(content: &[u8]) -> Settled {
    let HeaderParsed::Header(header) = ExtentHeader::decode::<FastCheck>(content) else {
        return Settled::default();
    };
    if header.role != HeaderRole::Wal {
        return Settled::default();
    }
    let (write_unit, batch_align, extent_bytes) = header.geometry;
    let geometry = Geometry { write_unit, batch_align, extent_bytes, ..Geometry::HOST };
    let start = Position { log: header.log, offset: 0 };
    let mut scan = MarkScan::new::<FastCheck>(header.store, header.epoch, start, geometry);
    scan.feed::<FastCheck>(content, true);
    header.settled.max(scan.settled)
}
