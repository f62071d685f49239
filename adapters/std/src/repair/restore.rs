//! A damaged or missing segment made again with the records that an archive has of it.
//!
//! ```text
//!  segment   | header | batch | batch |####### damage #######| batch | batch |
//!                                     a                      b
//!            '------ as it is --------'--- batches, padding -'--- as it is ---'
//!                                        up to b
//! ```
//!
//! What is intact stays where it is, byte by byte, since positions in it are named elsewhere: by snapshots, by marks. Only between `a`
//! and `b` batches are laid out again. They take no more room than those that stood there: records with the same time share one
//! batch, and a group where that is smaller. Where a snapshot or what was settled names a place inside, a batch begins there.
//!
//! Nothing is believed because an archive says it: the whole segment, what stayed and what was put in, must give the digest that was made of the
//! segment's own records when it was archived, in their order, with their LSNs. That digest, and the times, are the archive's word.
//!
//! What it does not do: the bytes of marks and frames are not those that were lost; nobody knows them. New marks witness no more
//! than that everything in front of their segment was durable.

use strandline_core::codec::extent::{ExtentHeader, HEADER_WINDOW, HeaderParsed, HeaderRole};
use strandline_core::codec::frame::{HEADER, LONG_HEADER, MAX_PAYLOAD};
use strandline_core::codec::varint::varint_bytes;
use strandline_core::manifest::Segment;
use strandline_core::types::{Epoch, LogId, Lsn, Millis, Position, Revision, Settled, StoreId, Timeline};
use strandline_core::wal::reader::{Item, MarkScan, Reader};
use strandline_core::wal::writer::{Batch, Place, Witness, Writer};
use strandline_core::wal::{batch_start, mark_bytes};

use crate::archive::{Digest, Digester};
use crate::check::HardwareCheck;
use crate::memory::WINDOW;

/// A segment whose records are looked for in archives.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Wanted {
    /// The store.
    pub store: StoreId,
    /// Its line of history.
    pub timeline: Timeline,
    /// Epoch of the segment.
    pub epoch: Epoch,
    /// Its number.
    pub log: LogId,
    /// Its first LSN, and the one behind its last record.
    pub lsns: (Lsn, Lsn),
}

/// All records of a segment, from its archive.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where they come from, for people.
    pub from: String,
    /// The records, with dense LSNs.
    pub records: Vec<KeptRecord>,
    /// Digest of the segment's records: of each its LSN and its length, little-endian in eight bytes each, and its bytes.
    pub digest: Digest,
}

/// Why an archive gives no records of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unkept {
    /// They are not in it, or it is damaged.
    Useless(String),
    /// They may be in it, but it can't be read now: nothing is given up for that.
    NotNow(String),
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its LSN.
    pub lsn: Lsn,
    /// When its batch was committed.
    pub time: Millis,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The digest of records, as an archive of their segment names it.
pub(crate) fn add_record(digester: &mut Digester, lsn: Lsn, bytes: &[u8]) {
    digester.update(&lsn.0.to_le_bytes());
    digester.update(&(bytes.len() as u64).to_le_bytes());
    digester.update(bytes);
}

/// The segment that is made again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'t> {
    pub(super) store: StoreId,
    /// With its fence.
    pub(super) segment: Segment,
    /// The LSN behind its last record.
    pub(super) end: Lsn,
    /// Places at which a batch must begin that does not begin behind this LSN.
    pub(super) anchors: &'t [Settled],
}

/// A place where a batch begins, and its first LSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Border {
    offset: u32,
    lsn: Lsn,
}

/// What can't be read: from the border of a batch to the next intact one, or to the end of the segment.
#[derive(Clone, Copy, Debug)]
struct Hole {
    from: Border,
    to: Option<Border>,
}

impl Target<'_> {
    /// The segment's file as it should be; `old` is what is there, empty if nothing is. An error says why it can't be made.
    pub(super) fn make(&self, old: &[u8], kept: &Kept) -> Result<Vec<u8>, &'static str> {
        let count =
            self.end.0.checked_sub(self.segment.fence.0).and_then(|count| usize::try_from(count).ok());
        let dense = (self.segment.fence.0..).zip(&kept.records).all(|(lsn, record)| record.lsn == Lsn(lsn));
        if count != Some(kept.records.len()) || !dense {
            return Err("its records are not those of the segment");
        }
        let mut bytes = old.to_vec();
        let holes = self.holes(&bytes);
        if !holes.is_empty() {
            bytes.resize(old.len().max(self.segment.geometry.extent_bytes as usize), 0);
        }
        for hole in holes {
            self.fill(&mut bytes, hole, &kept.records).ok_or("its records don't fit where they stood")?;
        }
        if self.is_whole(&bytes, kept) {
            Ok(bytes)
        } else {
            Err("with its records the segment is not the one that was archived")
        }
    }

    fn reader(&self, from: Border) -> Reader {
        let Segment { log, epoch, geometry, .. } = self.segment;
        let place = Position { log, offset: from.offset };
        Reader::new::<HardwareCheck>(self.store, epoch, place, from.lsn, geometry)
    }

    fn has_header(&self, bytes: &[u8]) -> bool {
        let Segment { log, epoch, fence, .. } = self.segment;
        let window = &bytes[..bytes.len().min(HEADER_WINDOW)];
        let HeaderParsed::Header(header) = ExtentHeader::decode::<HardwareCheck>(window) else {
            return false;
        };
        (header.role, header.store, header.log, header.epoch, header.fence)
            == (HeaderRole::Wal, self.store, log, epoch, fence)
    }

    fn holes(&self, bytes: &[u8]) -> Vec<Hole> {
        let mut holes = Vec::new();
        let first = Border { offset: batch_start(self.segment.geometry), lsn: self.segment.fence };
        // The header is written with the first batch: without the one, both are made again.
        let mut from = match self.has_header(bytes) {
            true => Some(first),
            false => {
                let to = self.next_border(bytes, first);
                holes.push(Hole { from: Border { offset: 0, ..first }, to });
                to
            }
        };
        while let Some((at, stopped)) = from.and_then(|from| self.damaged(bytes, from)) {
            let to = self.next_border(bytes, stopped);
            holes.push(Hole { from: at, to });
            from = to;
        }
        holes
    }

    /// Reads from a border on. The border of the batch that can't be read, and where it can't; `None` if everything can.
    fn damaged(&self, bytes: &[u8], from: Border) -> Option<(Border, Border)> {
        let mut reader = self.reader(from);
        let mut border = from;
        loop {
            if reader.expected() >= self.end {
                return None;
            }
            let at = reader.offset() as usize;
            match reader.next::<HardwareCheck>(bytes.get(at..).unwrap_or_default()) {
                Item::Record { .. } => {}
                Item::Mark(mark) => {
                    let frame = mark_bytes(self.segment.geometry);
                    border = Border { offset: reader.offset() - frame, lsn: mark.next };
                }
                Item::Need(_) | Item::Stop(_) => {
                    let stopped = Border { offset: reader.offset(), lsn: reader.expected() };
                    return Some((if reader.batch().is_some() { border } else { stopped }, stopped));
                }
            }
        }
    }

    /// The first intact batch behind a place, if it begins with a record of this segment.
    fn next_border(&self, bytes: &[u8], from: Border) -> Option<Border> {
        let Segment { log, epoch, geometry, .. } = self.segment;
        let offset = (from.offset + 1).next_multiple_of(geometry.write_unit);
        let from_there = Position { log, offset };
        let mut scan = MarkScan::new::<HardwareCheck>(self.store, epoch, from_there, geometry);
        while scan.first.is_none() {
            let rest = bytes.get(scan.offset() as usize..).unwrap_or_default();
            let window = &rest[..rest.len().min(WINDOW)];
            if !scan.feed::<HardwareCheck>(window, window.len() == rest.len()) {
                break;
            }
        }
        let (offset, lsn) = scan.first?;
        (from.lsn <= lsn && lsn < self.end).then_some(Border { offset, lsn })
    }

    fn fill(&self, bytes: &mut [u8], hole: Hole, records: &[KeptRecord]) -> Option<()> {
        let extent = self.segment.geometry.extent_bytes;
        let (stop, last) = hole.to.map_or((extent, self.end), |to| (to.offset, to.lsn));
        bytes.get_mut(hole.from.offset as usize..stop as usize)?.fill(0);
        let mut at = hole.from;
        let mut anchors: Vec<Border> =
            self.anchors.iter().filter_map(|anchor| self.inside(*anchor, &hole)).collect();
        anchors.sort_by_key(|anchor| anchor.offset);
        for anchor in anchors {
            at = self.put(bytes, at, Border { lsn: anchor.lsn.min(last), ..anchor }, true, records)?;
        }
        at = self.put(bytes, at, Border { offset: stop, lsn: last }, hole.to.is_some(), records)?;
        (at.lsn == last).then_some(())
    }

    /// An anchor that lies in a hole.
    fn inside(&self, anchor: Settled, hole: &Hole) -> Option<Border> {
        let Settled { position, lsn } = anchor;
        let stop = hole.to.map_or(self.segment.geometry.extent_bytes, |to| to.offset);
        let inside =
            position.log == self.segment.log && hole.from.offset < position.offset && position.offset < stop;
        inside.then_some(Border { offset: position.offset, lsn })
    }

    /// Puts batches between two places, as many of the records before an LSN as there is room for, and fills the rest with padding if
    /// `is_full`.
    fn put(
        &self,
        bytes: &mut [u8],
        from: Border,
        until: Border,
        is_full: bool,
        records: &[KeptRecord],
    ) -> Option<Border> {
        let (mut at, mut last) = (from, None);
        while at.lsn < until.lsn {
            let rest = &records[self.index(at.lsn)..self.index(until.lsn)];
            let Some(next) = self.put_batch(bytes, at, until.offset, rest) else { break };
            (last, at) = (Some(at), next);
        }
        if !is_full {
            return Some(at);
        }
        let time = records.get(self.index(at.lsn).saturating_sub(1)).map_or(Millis(0), |record| record.time);
        let mark = mark_bytes(self.segment.geometry);
        while at.offset < until.offset {
            let left = until.offset - at.offset;
            // What is left when this is padded has room for another mark.
            let padded = if left > MOST_PADDING + 2 * mark { MOST_PADDING } else { left };
            if padded < mark {
                // The last batch takes it.
                let begun = last?;
                let rest = &records[self.index(begun.lsn)..self.index(at.lsn)];
                self.put_batch_to(bytes, begun, until.offset, rest)?;
                return Some(Border { offset: until.offset, ..at });
            }
            let end = at.offset + padded;
            at = self.close(bytes, at, (end, Some(end)), time, |_, _| {})?;
        }
        Some(at)
    }

    fn index(&self, lsn: Lsn) -> usize {
        usize::try_from(lsn.0 - self.segment.fence.0).unwrap_or(usize::MAX)
    }

    /// Puts one batch of the records with the same time; `None` if there is no room for the first of them.
    fn put_batch(&self, bytes: &mut [u8], at: Border, stop: u32, rest: &[KeptRecord]) -> Option<Border> {
        let time = rest.first()?.time;
        let next = self.close(bytes, at, (stop, None), time, |batch, buffer| push(batch, buffer, rest))?;
        (next.lsn > at.lsn).then_some(next)
    }

    /// Puts one batch of exactly these records, padded up to `stop`.
    fn put_batch_to(&self, bytes: &mut [u8], at: Border, stop: u32, rest: &[KeptRecord]) -> Option<()> {
        bytes.get_mut(at.offset as usize..stop as usize)?.fill(0);
        let time = rest.first()?.time;
        let next =
            self.close(bytes, at, (stop, Some(stop)), time, |batch, buffer| push(batch, buffer, rest))?;
        (next.lsn.0 - at.lsn.0 == rest.len() as u64).then_some(())
    }

    /// Opens a batch in front of `stop`, lets it be filled, and closes it, padded to an offset if one is given.
    fn close(
        &self,
        bytes: &mut [u8],
        at: Border,
        (stop, padded): (u32, Option<u32>),
        time: Millis,
        fill: impl FnOnce(&mut Batch, &mut [u8]),
    ) -> Option<Border> {
        let Segment { log, epoch, fence, geometry, extent, .. } = self.segment;
        let writer = Writer { store: self.store, epoch, geometry };
        let room = bytes.get_mut(at.offset as usize..stop as usize)?;
        let place = Place { extent, position: Position { log, offset: at.offset } };
        let mut batch = writer.open::<HardwareCheck>(place, at.lsn, room.len());
        let buffer = room.get_mut(..batch.limit as usize)?;
        if batch.used > batch.limit {
            return None;
        }
        fill(&mut batch, buffer);
        let before = Settled { position: Position { log, offset: 0 }, lsn: fence };
        let witness = Witness { settled: before, revision: Revision(0), time, seal: false };
        let used = match padded {
            None => batch.close::<HardwareCheck>(&writer, &witness, buffer)?,
            Some(end) => batch.close_at::<HardwareCheck>(&writer, &witness, end - at.offset, buffer)?,
        };
        Some(Border { offset: at.offset + used, lsn: batch.next() })
    }

    /// Whether every record reads back, and they are those that were archived.
    fn is_whole(&self, bytes: &[u8], kept: &Kept) -> bool {
        let first = Border { offset: batch_start(self.segment.geometry), lsn: self.segment.fence };
        let mut reader = self.reader(first);
        let mut digester = Digester::default();
        let mut records = kept.records.iter();
        while reader.expected() < self.end {
            let at = reader.offset() as usize;
            match reader.next::<HardwareCheck>(bytes.get(at..).unwrap_or_default()) {
                Item::Mark(_) => {}
                Item::Record { lsn, payload } => {
                    add_record(&mut digester, lsn, payload);
                    if records.next().is_none_or(|record| record.time != reader.time) {
                        return false;
                    }
                }
                Item::Need(_) | Item::Stop(_) => return false,
            }
        }
        self.has_header(bytes) && digester.finish() == kept.digest
    }
}

/// Puts records with the time of the first of them, as many as there is room for, in the smallest frames.
fn push(batch: &mut Batch, buffer: &mut [u8], records: &[KeptRecord]) {
    let same = records.iter().take_while(|record| record.time == records[0].time);
    let payloads: Vec<&[u8]> = same.map(|record| &record.bytes[..]).collect();
    let mut left = &payloads[..];
    while !left.is_empty() {
        let halves = core::iter::successors(Some(fitting(left)), |count| Some(count / 2));
        let taken = halves.take_while(|count| *count > 0).find(|count| match left[..*count] {
            [alone] => batch.push::<HardwareCheck>(alone, buffer).is_some(),
            ref several => batch.push_group::<HardwareCheck>(several, buffer).is_some(),
        });
        let Some(taken) = taken else { return };
        left = &left[taken..];
    }
}

/// How many of these records one group may hold: one if several take less room by themselves.
fn fitting(records: &[&[u8]]) -> usize {
    let (mut alone, mut together, mut best) = (0, LONG_HEADER, 1);
    for (count, record) in (1..).zip(records) {
        alone += (HEADER + record.len()).next_multiple_of(HEADER);
        together += varint_bytes(record.len() as u64) + record.len();
        if together > GROUP_BYTES {
            break;
        }
        if together.next_multiple_of(HEADER) <= alone {
            best = count;
        }
    }
    best
}

const GROUP_BYTES: usize = MAX_PAYLOAD as usize;
/// Of one PAD frame.
const MOST_PADDING: u32 = 32 << 10;
