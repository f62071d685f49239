//! A record of a newer version: a frame that verifies and whose content nobody knows yet.

use strandline_core::action::{Buffer, Span};
use strandline_core::codec::check::Seed;
use strandline_core::codec::extent::{ExtentHeader, HeaderParsed};
use strandline_core::codec::frame::{Framing, Kind, Slot};
use strandline_core::lower::posix::{File, Step};

use crate::boot::Opened;
use crate::chance::Chance;
use crate::posix::Disk;
use crate::setup::FastCheck;

/// Writes one behind the last record that `clean` found; false if there is no room for it, or no segment.
pub(super) fn write(disk: &mut Disk, clean: &Opened, chance: &mut Chance) -> bool {
    let end = clean.report.end;
    let segments = clean.store.segments();
    let Some(segment) = segments.iter().find(|segment| segment.log == end.log) else { return false };
    let file = File::Segment(segment.extent);
    let content = disk.content(file).unwrap_or_default();
    let HeaderParsed::Header(header) = ExtentHeader::decode::<FastCheck>(content) else { return false };
    let (write_unit, _, extent_bytes) = header.geometry;
    let seed = Seed::wal::<FastCheck>(header.store, header.epoch, header.log);
    let framing = Framing { write_unit: write_unit as usize, seed };
    // No mark is so short.
    let mut frame = vec![0; framing.frame_bytes(1)];
    let slot = Slot { offset: u64::from(end.offset), lsn: clean.report.next };
    let fits = u64::from(end.offset) + frame.len() as u64 <= u64::from(extent_bytes);
    if !fits || framing.encode::<FastCheck>(Kind::Mark, slot, &[1], &mut frame).is_none() {
        return false;
    }
    let bytes = Span { buffer: Buffer::Window, start: 0, len: frame.len() as u32 };
    let step = Step::Write { file, offset: slot.offset, bytes };
    disk.step(step, &frame, None, chance).is_ok()
}
