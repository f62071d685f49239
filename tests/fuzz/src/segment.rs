//! The frames of a segment: records, groups, marks and pads, and the scan for marks behind damage.
//!
//! ```text
//!  | flags u8: sectors, from a border | bytes from the first batch on |
//! ```

use strandline_core::codec::check::{Checksum, TableCheck};
use strandline_core::geometry::Geometry;
use strandline_core::types::{Epoch, LogId, Lsn, Position, StoreId};
use strandline_core::wal::batch_start;
use strandline_core::wal::reader::{Item, MarkScan, Reader};

use super::Blind;

/// The store of the golden images.
pub(super) const STORE: StoreId = StoreId(*b"a golden image\0\0");

pub(super) fn read(bytes: &[u8]) {
    let Some((&flags, bytes)) = bytes.split_first() else { return };
    let sectors = Geometry { batch_align: 512, ..Geometry::HOST };
    let geometry = if flags & 1 == 0 { Geometry::HOST } else { sectors };
    let from = batch_start(geometry);
    let Ok(extent_bytes) = u32::try_from(from as usize + bytes.len()) else { return };
    let segment =
        Segment { geometry: Geometry { extent_bytes, ..geometry }, from, from_border: flags & 2 != 0, bytes };
    segment.check::<Blind>();
    segment.check::<TableCheck>();
}

struct Segment<'b> {
    geometry: Geometry,
    /// Offset of the first byte.
    from: u32,
    from_border: bool,
    bytes: &'b [u8],
}

impl Segment<'_> {
    fn check<C: Checksum>(&self) {
        let whole = self.read::<C>(self.bytes.len());
        for window in [1, 64, 1000] {
            assert_eq!(self.read::<C>(window), whole, "in windows of {window} bytes");
        }
        let marks = self.scan::<C>(self.bytes.len());
        assert_eq!(self.scan::<C>(200), marks, "in windows of 200 bytes");
    }

    fn position(&self) -> Position {
        Position { log: LogId(1), offset: self.from }
    }

    /// Everything that was read, as text, and the reader at its end.
    fn read<C: Checksum>(&self, window: usize) -> (Vec<String>, String) {
        let mut reader = Reader::new::<C>(STORE, Epoch(1), self.position(), Lsn(1), self.geometry);
        if self.from_border {
            reader = reader.from_border();
        }
        let (mut found, mut need, mut expected) = (vec![], 0, None);
        loop {
            let at = (reader.offset() - self.from) as usize;
            let end = self.bytes.len().min(at + window.max(need));
            match reader.next::<C>(&self.bytes[at..end]) {
                Item::Need(bytes) => {
                    // Padding may have been passed over before.
                    let at = (reader.offset() - self.from) as usize;
                    assert!(at + bytes > end && at + bytes <= self.bytes.len(), "needs {bytes} at {at}");
                    need = bytes;
                    continue;
                }
                Item::Stop(why) => {
                    found.push(format!("{why:?}"));
                    break;
                }
                Item::Record { lsn, payload } => {
                    assert!(expected.is_none_or(|expected| expected == lsn), "LSN {lsn}");
                    expected = Some(lsn.next());
                    found.push(format!("{lsn} {payload:?}"));
                }
                Item::Mark(mark) => found.push(format!("{mark:?}")),
            }
            need = 0;
            assert!(found.len() <= self.bytes.len() + 1, "more was found than there are bytes");
        }
        let seen = (reader.settled, reader.revision, reader.time, reader.sealed, reader.intact);
        (found, format!("{:?} {:?} {seen:?}", reader.position(), reader.batch()))
    }

    fn scan<C: Checksum>(&self, window: usize) -> (bool, String) {
        let mut scan = MarkScan::new::<C>(STORE, Epoch(1), self.position(), self.geometry);
        loop {
            let at = ((scan.offset() - self.from) as usize).min(self.bytes.len());
            let end = self.bytes.len().min(at + window);
            if !scan.feed::<C>(&self.bytes[at..end], end == self.bytes.len()) {
                break;
            }
        }
        (scan.intact, format!("{:?} {} {} {}", scan.settled, scan.revision, scan.announced, scan.end))
    }
}
