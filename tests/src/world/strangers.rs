//! Files that a store does not list: of another store, of its own past, and of nobody.

use strandline_core::codec::extent::{ExtentHeader, HeaderRole};
use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::File;
use strandline_core::types::{Epoch, Extent, LogId, Lsn, Millis, Revision, Settled, StoreId};

use crate::boot::Opened;
use crate::chance::Chance;
use crate::posix::Disk;
use crate::setup::FastCheck;

/// Puts one of each there, and sometimes a foreign one where a free extent was. Says what recovery must make of them: whether
/// they are foreign.
pub(super) fn plant(
    disk: &mut Disk,
    clean: &Opened,
    geometry: Geometry,
    chance: &mut Chance,
) -> Vec<(Extent, bool)> {
    let above = disk.files().map(|file| file.extent().number).max().unwrap_or(0) + 1;
    let own = clean.report.store;
    let mut other = own;
    other.0[chance.below(16)] ^= 1;
    let free = clean.free.first().filter(|_| chance.one_in(2));
    let strangers = [
        Some((File::Segment(above), Some(other), true)),
        Some((File::Segment(above + 1), Some(own), false)),
        Some((File::Segment(above + 2), None, false)),
        Some((File::Snapshot(above + 3), Some(other), true)),
        Some((File::Snapshot(above + 4), Some(own), false)),
        Some((File::Snapshot(above + 5), None, true)),
        free.map(|number| (File::Segment(*number), Some(other), true)),
    ];
    let plant = |(file, store, foreign): (File, Option<StoreId>, bool)| {
        let mut content = vec![0; geometry.extent_bytes as usize];
        if let Some(store) = store {
            header(file, store, geometry).encode::<FastCheck>(geometry.write_unit, &mut content);
        }
        disk.plant(file, content);
        (file.extent(), foreign)
    };
    strangers.into_iter().flatten().map(plant).collect()
}

/// A header that knows less than any that the store wrote lately.
fn header(file: File, store: StoreId, geometry: Geometry) -> ExtentHeader {
    let role = if matches!(file, File::Snapshot(_)) { HeaderRole::Snapshot } else { HeaderRole::Wal };
    ExtentHeader {
        role,
        geometry: ExtentHeader::geometry_of(geometry),
        store,
        log: LogId(1),
        epoch: Epoch(0),
        fence: Lsn::FIRST,
        settled: Settled::default(),
        revision: Revision(0),
        time: Millis(0),
    }
}
