//! Reads the frames of one segment from windows, in order, up to the first place that is not the expected frame.
//!
//! ```text
//!            offset
//!  segment   |----read----|----window----|--- not yet ---|
//!                          ^ the window that `next` is given begins here
//! ```
//!
//! Invariants: records come out with dense LSNs; what comes out verified at its own place.
//! It does not judge why it stopped: that is the [verdict](super::verdict), which needs the whole log.

use super::group;
use super::mark::{MARK_BODY, Mark};
use crate::codec::check::{Checksum, Seed};
use crate::codec::frame::{Frame, Framing, Kind, MAX_PAYLOAD, Parsed};
use crate::geometry::Geometry;
use crate::types::{Epoch, LogId, Lsn, Millis, Position, Revision, Settled, StoreId};

/// What the reader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'w> {
    /// A record.
    Record {
        /// Its LSN.
        lsn: Lsn,
        /// Its bytes.
        payload: &'w [u8],
    },
    /// A batch begins.
    Mark(Mark),
    /// The window must have this many bytes, from [`Reader::offset`], before more can be said.
    Need(usize),
    /// The expected frame is not here.
    Stop(Found),
}

/// What stands where the next frame was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Erased or never written, or the end of the extent.
    Blank,
    /// Bytes that are not the expected frame.
    Bad,
    /// An intact frame that this version does not know.
    Newer,
}

/// Reads one segment.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    framing: Framing,
    log: LogId,
    offset: u32,
    limit: u32,
    expected: Lsn,
    /// The first mark may announce an earlier record than `expected`.
    earlier: bool,
    /// Set once a mark, a record or a pad of this segment has been read.
    pub intact: bool,
    /// The highest settled position that any mark named.
    pub settled: Settled,
    /// The highest manifest revision that any mark named.
    pub revision: Revision,
    /// The newest time that any mark named.
    pub time: Millis,
    /// Whether the last mark read is a seal with nothing behind it.
    pub sealed: bool,
    batch: Option<BatchSeen>,
    payload_end: u32,
    group: Option<Group>,
}

/// A group whose records are being given out. The reader stands in front of it until the last one is.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Where the next record's length is, from the start of the frame.
    next: u32,
    /// Behind the last record.
    end: u32,
    /// Of the frame.
    bytes: u32,
    /// The window is the one that was verified.
    verified: bool,
}

/// The batch that the reader is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSeen {
    /// Offset behind the batch.
    pub end: u32,
    /// LSN behind its last record.
    pub next: Lsn,
}

impl Reader {
    /// Reads segment `log` of `store` from `from`, where the next record is `expected`.
    #[must_use]
    pub fn new<C: Checksum>(
        store: StoreId,
        epoch: Epoch,
        from: Position,
        expected: Lsn,
        geometry: Geometry,
    ) -> Self {
        let seed = Seed::wal::<C>(store, epoch, from.log);
        Self {
            framing: Framing { write_unit: geometry.write_unit as usize, seed },
            log: from.log,
            offset: from.offset,
            limit: geometry.extent_bytes,
            expected,
            earlier: false,
            intact: false,
            settled: Settled::default(),
            revision: Revision(0),
            time: Millis(0),
            sealed: false,
            batch: None,
            payload_end: 0,
            group: None,
        }
    }

    /// Bytes from the start of the extent that have been read.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Where the next frame is expected.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { log: self.log, offset: self.offset }
    }

    /// LSN of the next record.
    #[must_use]
    #[inline]
    pub fn expected(&self) -> Lsn {
        self.expected
    }

    /// Begins at the border of the batch that holds the expected record, or earlier ones only.
    #[must_use]
    pub fn from_border(mut self) -> Self {
        self.earlier = true;
        self
    }

    /// Offset in the extent behind the payload of the record that was read last.
    #[must_use]
    #[inline]
    pub fn payload_end(&self) -> u32 {
        self.payload_end
    }

    /// The batch in which the reader stands, if it is not at a batch border.
    #[must_use]
    pub fn batch(&self) -> Option<BatchSeen> {
        self.batch.filter(|batch| batch.end > self.offset)
    }

    /// Reads one record or mark from a window that begins at [`Self::offset`]. Padding is passed over. Between the records of a
    /// group the window must stay the same, or end in front of the group's end.
    #[inline]
    pub fn next<'w, C: Checksum>(&mut self, mut window: &'w [u8]) -> Item<'w> {
        if let Some(group) = self.group {
            return self.next_of_group::<C>(group, window);
        }
        loop {
            let limit = u64::from(self.limit.saturating_sub(self.offset));
            let frame = match self.framing.decode::<C>(window, u64::from(self.offset), limit) {
                Parsed::Frame(frame) => frame,
                // No frame of a segment is larger than one with the largest record, whatever an unverified length says.
                Parsed::Need(bytes) if bytes <= self.framing.frame_bytes(MAX_PAYLOAD as usize) => {
                    return Item::Need(bytes);
                }
                Parsed::Blank => return Item::Stop(Found::Blank),
                Parsed::Bad | Parsed::Need(_) => return Item::Stop(Found::Bad),
                Parsed::Newer(_) => return Item::Stop(Found::Newer),
            };
            if self.earlier {
                self.turn_back(&frame);
            }
            let Some(bytes) =
                u32::try_from(frame.bytes).ok().filter(|_| frame.seq == self.expected.low_byte())
            else {
                return Item::Stop(Found::Bad);
            };
            match frame.kind {
                Kind::Record => {
                    let lsn = self.expected;
                    self.payload_end = self.offset.saturating_add(frame.payload_end);
                    self.step(bytes);
                    self.expected = lsn.next();
                    return Item::Record { lsn, payload: frame.payload };
                }
                Kind::Group => {
                    let Some(count) = group::count(frame.payload) else { return Item::Stop(Found::Bad) };
                    let start = frame.payload_end - u32::try_from(frame.payload.len()).unwrap_or(0);
                    self.intact = true;
                    self.sealed = false;
                    debug_assert!(count > 0, "an empty group counts as bad");
                    let group = Group { next: start, end: frame.payload_end, bytes, verified: true };
                    self.group = Some(group);
                    return self.next_of_group::<C>(group, window);
                }
                Kind::Mark => return self.mark(frame.payload, bytes),
                Kind::Pad => {
                    let sealed = self.sealed;
                    self.step(bytes);
                    self.sealed = sealed;
                    window = window.get(frame.bytes..).unwrap_or_default();
                }
                _ => return Item::Stop(Found::Bad),
            }
        }
    }

    /// The next record of a group that has verified; if the window no longer holds it, it is verified again.
    fn next_of_group<'w, C: Checksum>(&mut self, group: Group, window: &'w [u8]) -> Item<'w> {
        let Some(frame) = window.get(..group.bytes as usize) else {
            self.group = Some(Group { verified: false, ..group });
            return Item::Need(group.bytes as usize);
        };
        if !group.verified {
            let again = self.framing.decode::<C>(frame, u64::from(self.offset), u64::from(group.bytes));
            if !matches!(again, Parsed::Frame(Frame { kind: Kind::Group, payload_end, .. }) if payload_end == group.end)
            {
                return Item::Stop(Found::Bad);
            }
        }
        let record = frame.get(group.next as usize..group.end as usize);
        let Some((payload, used)) = record.and_then(group::split_first) else {
            return Item::Stop(Found::Bad);
        };
        let next = group.next.saturating_add(used);
        self.payload_end = self.offset.saturating_add(next);
        let lsn = self.expected;
        self.expected = lsn.next();
        if next >= group.end {
            self.group = None;
            self.step(group.bytes);
        } else {
            self.group = Some(Group { next, verified: true, ..group });
        }
        Item::Record { lsn, payload }
    }

    /// The first frame of a batch says with which record it begins.
    #[cold]
    fn turn_back(&mut self, frame: &Frame<'_>) {
        self.earlier = false;
        if let Some(mark) = Mark::decode(frame.payload).filter(|_| frame.kind == Kind::Mark) {
            self.expected = self.expected.min(mark.next);
        }
    }

    fn mark<'w>(&mut self, body: &[u8], bytes: u32) -> Item<'w> {
        let Some(mark) = Mark::decode(body) else { return Item::Stop(Found::Newer) };
        if mark.next != self.expected {
            return Item::Stop(Found::Bad);
        }
        let end = self.offset.saturating_add(mark.batch_bytes);
        self.step(bytes);
        self.batch = Some(BatchSeen { end, next: mark.next.plus(u64::from(mark.records)) });
        self.settled = self.settled.max(mark.settled);
        self.revision = self.revision.max(mark.revision);
        self.time = self.time.max(mark.time);
        self.sealed = mark.seal;
        Item::Mark(mark)
    }

    fn step(&mut self, bytes: u32) {
        self.offset += bytes;
        self.intact = true;
        self.sealed = false;
    }
}

/// Looks for intact marks at every write unit, whatever lies between: the witnesses behind a place that can't be read.
#[derive(Clone, Copy, Debug)]
pub struct MarkScan {
    framing: Framing,
    offset: u32,
    limit: u32,
    /// Whether any mark was found.
    pub intact: bool,
    /// The highest settled position found.
    pub settled: Settled,
    /// The highest revision found.
    pub revision: Revision,
    /// The highest LSN that any mark announced, exclusive.
    pub announced: Lsn,
    /// Offset behind the last batch found.
    pub end: u32,
    /// The first mark found: its offset, and the LSN of the record behind it. A reader can go on there.
    pub first: Option<(u32, Lsn)>,
}

impl MarkScan {
    /// Scans segment `from.log` from `from`, a multiple of the write unit.
    #[must_use]
    pub fn new<C: Checksum>(store: StoreId, epoch: Epoch, from: Position, geometry: Geometry) -> Self {
        let seed = Seed::wal::<C>(store, epoch, from.log);
        Self {
            framing: Framing { write_unit: geometry.write_unit as usize, seed },
            offset: from.offset,
            limit: geometry.extent_bytes,
            intact: false,
            settled: Settled::default(),
            revision: Revision(0),
            announced: Lsn(0),
            end: 0,
            first: None,
        }
    }

    /// Where the next window must begin.
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Scans a window that begins at [`Self::offset`]; `last` says that nothing follows it. Returns whether there is more
    /// to scan.
    pub fn feed<C: Checksum>(&mut self, window: &[u8], last: bool) -> bool {
        let unit = self.framing.write_unit;
        let bytes = self.framing.frame_bytes(MARK_BODY);
        let mut at = 0;
        while let Some(frame) = window.get(at..at + bytes) {
            if looks_like_mark(frame) {
                self.look::<C>(frame);
            }
            at += unit;
            self.offset = self.offset.saturating_add(u32::try_from(unit).unwrap_or(u32::MAX));
        }
        !last && self.offset < self.limit
    }

    fn look<C: Checksum>(&mut self, frame: &[u8]) {
        let limit = u64::from(self.limit.saturating_sub(self.offset));
        let Parsed::Frame(frame) = self.framing.decode::<C>(frame, u64::from(self.offset), limit) else {
            return;
        };
        let Some(mark) = Mark::decode(frame.payload) else { return };
        self.intact = true;
        self.first = self.first.or(Some((self.offset, mark.next)));
        self.settled = self.settled.max(mark.settled);
        self.revision = self.revision.max(mark.revision);
        self.announced = self.announced.max(mark.next.plus(u64::from(mark.records)));
        self.end = self.end.max(self.offset.saturating_add(mark.batch_bytes));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the length is 56")]
fn looks_like_mark(frame: &[u8]) -> bool {
    let [low, high] = (MARK_BODY as u16).to_le_bytes();
    matches!(frame.first_chunk::<8>(), Some([_, _, _, _, a, b, _, kind]) if [*a, *b, *kind] == [low, high, Kind::Mark as u8])
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::codec::check::TableCheck;
    use crate::wal::batch_start;
    use crate::wal::writer::{Batch, Place, Witness, Writer};

    const GEOMETRY: Geometry =
        Geometry { write_unit: 8, batch_align: 512, extent_bytes: 8192, manifest_bytes: 4096 };
    const WRITER: Writer = Writer { store: StoreId([9; 16]), epoch: Epoch(1), geometry: GEOMETRY };

    fn batch(offset: u32, first: Lsn, records: &[&[u8]]) -> (Batch, Vec<u8>) {
        let mut buffer = vec![0xaa; 4096];
        let position = Position { log: LogId(4), offset };
        let mut batch = WRITER.open::<TableCheck>(Place { extent: 1, position }, first, buffer.len());
        for record in records {
            batch.push::<TableCheck>(record, &mut buffer).unwrap();
        }
        let settled = Settled { position, lsn: first };
        let witness = Witness { settled, revision: Revision(3), time: Millis(5), seal: false };
        let bytes = batch.close::<TableCheck>(&WRITER, &witness, &mut buffer).unwrap();
        buffer.truncate(bytes as usize);
        (batch, buffer)
    }

    /// A segment with three batches of two records each.
    fn segment() -> Vec<u8> {
        let mut segment = vec![0; GEOMETRY.extent_bytes as usize];
        let mut offset = 0;
        for number in 0..3u64 {
            let text = [format!("record {number}a"), format!("record {number}b {}", "x".repeat(300))];
            let (_, bytes) = batch(offset, Lsn(1 + 2 * number), &[text[0].as_bytes(), text[1].as_bytes()]);
            segment[offset as usize..offset as usize + bytes.len()].copy_from_slice(&bytes);
            offset += bytes.len() as u32;
        }
        segment
    }

    fn reader() -> Reader {
        let from = Position { log: LogId(4), offset: batch_start(GEOMETRY) };
        Reader::new::<TableCheck>(WRITER.store, WRITER.epoch, from, Lsn(1), GEOMETRY)
    }

    fn read(segment: &[u8], window: usize) -> (Vec<Lsn>, Reader, Found) {
        let (mut reader, mut lsns, mut need) = (reader(), vec![], 0);
        loop {
            let at = reader.offset() as usize;
            match reader.next::<TableCheck>(&segment[at..segment.len().min(at + window.max(need))]) {
                Item::Record { lsn, .. } => lsns.push(lsn),
                Item::Mark(_) => {}
                Item::Need(bytes) => need = bytes,
                Item::Stop(found) => return (lsns, reader, found),
            }
        }
    }

    #[test]
    fn every_window_size_reads_the_same() {
        for window in [1, 8, 64, 511, 8192] {
            let (lsns, reader, found) = read(&segment(), window);
            assert_eq!(lsns, (1..=6).map(Lsn).collect::<Vec<_>>());
            assert_eq!((found, reader.batch()), (Found::Blank, None));
            assert_eq!(reader.settled.lsn, Lsn(5));
        }
    }

    #[test]
    fn inside_a_batch_it_is_known_where_it_ends() {
        let (segment, mut reader) = (segment(), reader());
        let end = batch(0, Lsn(1), &[b"record 0a", format!("record 0b {}", "x".repeat(300)).as_bytes()])
            .1
            .len() as u32;
        let mut seen = Vec::new();
        while reader.expected() < Lsn(4) {
            let at = reader.offset() as usize;
            let _ = reader.next::<TableCheck>(&segment[at..]);
            seen.push(reader.batch().map(|batch| (batch.end, batch.next)));
        }
        let first = Some((end, Lsn(3)));
        assert_eq!(seen[..3], [first; 3], "its mark and its records: padding follows");
        assert_eq!(seen[3..].iter().flatten().map(|(_, next)| *next).collect::<Vec<_>>(), [Lsn(5); 2]);
    }

    #[test]
    fn the_records_of_a_group_come_out_one_by_one_and_are_verified_whenever_the_window_is_another() {
        let mut buffer = vec![0xaa; 4096];
        let position = Position { log: LogId(4), offset: 0 };
        let mut batch = WRITER.open::<TableCheck>(Place { extent: 1, position }, Lsn(1), buffer.len());
        batch.push::<TableCheck>(b"alone", &mut buffer).unwrap();
        let first = batch.push_group::<TableCheck>(&[b"one", b"", b"three"], &mut buffer);
        assert_eq!((first, batch.next()), (Some(Lsn(2)), Lsn(5)));
        assert_eq!(batch.push_group::<TableCheck>(&[], &mut buffer), None);
        let settled = Settled { position, lsn: Lsn(1) };
        let witness = Witness { settled, revision: Revision(3), time: Millis(5), seal: false };
        batch.close::<TableCheck>(&WRITER, &witness, &mut buffer).unwrap();
        let mut segment = vec![0; GEOMETRY.extent_bytes as usize];
        segment[..4096].copy_from_slice(&buffer);
        segment[batch.used as usize..4096].fill(0);
        for window in [1, 8, 40, 8192] {
            let (lsns, reader, found) = read(&segment, window);
            assert_eq!(lsns, (1..=4).map(Lsn).collect::<Vec<_>>(), "window {window}");
            assert_eq!((found, reader.batch()), (Found::Blank, None));
        }
        let mut reader = reader();
        let window = |reader: &Reader| segment[reader.offset() as usize..].to_vec();
        for _ in 0..3 {
            let _ = reader.next::<TableCheck>(&window(&reader));
        }
        assert_eq!(reader.expected(), Lsn(3), "inside the group");
        assert!(matches!(reader.next::<TableCheck>(&[]), Item::Need(_)));
        let mut spoilt = window(&reader);
        spoilt[20] ^= 1;
        assert_eq!({ reader }.next::<TableCheck>(&spoilt), Item::Stop(Found::Bad));
        let record = reader.next::<TableCheck>(&segment[reader.offset() as usize..]);
        assert_eq!(record, Item::Record { lsn: Lsn(3), payload: b"" });
    }

    #[test]
    fn every_flipped_bit_stops_the_reader_before_it() {
        let (segment, whole) = (segment(), read(&segment(), 8192).1.offset() as usize);
        for bit in batch_start(GEOMETRY) as usize * 8..whole * 8 {
            let mut bad = segment.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (lsns, reader, found) = read(&bad, 8192);
            assert_eq!(found, Found::Bad, "bit {bit}");
            assert!(reader.offset() as usize <= bit / 8);
            assert_eq!(lsns, (1..=lsns.len() as u64).map(Lsn).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_batch_that_holds_the_expected_record_is_read_from_its_border() {
        let (segment, second) = (segment(), batch_start(GEOMETRY) + 512);
        let from = Position { log: LogId(4), offset: second };
        let at = |expected| Reader::new::<TableCheck>(WRITER.store, WRITER.epoch, from, expected, GEOMETRY);
        let first = |mut reader: Reader| {
            let mark = reader.next::<TableCheck>(&segment[second as usize..]);
            (matches!(mark, Item::Mark(_)), reader.expected())
        };
        assert_eq!(first(at(Lsn(3))), (true, Lsn(3)));
        assert_eq!(first(at(Lsn(4))), (false, Lsn(4)), "the batch begins with record 3");
        assert_eq!(first(at(Lsn(4)).from_border()), (true, Lsn(3)));
        assert_eq!(first(at(Lsn(2)).from_border()), (false, Lsn(2)), "never a later one");
    }

    #[test]
    fn a_scan_finds_the_witnesses_behind_a_bad_place() {
        let segment = segment();
        let from = Position { log: LogId(4), offset: batch_start(GEOMETRY) + 8 };
        let mut scan = MarkScan::new::<TableCheck>(WRITER.store, WRITER.epoch, from, GEOMETRY);
        loop {
            let at = scan.offset() as usize;
            let end = segment.len().min(at + 256);
            if !scan.feed::<TableCheck>(&segment[at..end], end == segment.len()) {
                break;
            }
        }
        assert!(scan.intact);
        assert_eq!((scan.settled.lsn, scan.announced), (Lsn(5), Lsn(7)));
        assert_eq!(scan.end, read(&segment, 8192).1.offset());
    }

    #[test]
    fn a_length_that_no_frame_has_is_never_asked_for() {
        let mut reader = Reader { limit: 1 << 30, ..reader() };
        for kind in [Kind::Record, Kind::Pad, Kind::Mark] {
            for (len, found) in [(16 << 20, Item::Need((16 << 20) + 16)), (60 << 20, Item::Stop(Found::Bad))]
            {
                let mut header = [0; 16];
                header[7] = kind as u8 | 0x80;
                header[8..12].copy_from_slice(&u32::to_le_bytes(len));
                assert_eq!(reader.next::<TableCheck>(&header), found, "{kind:?} of {len} bytes");
            }
        }
    }

    #[test]
    fn frames_of_another_place_are_never_taken() {
        let mut moved = segment();
        moved.copy_within(0..4096, 512);
        let (lsns, ..) = read(&moved, 8192);
        assert!(lsns.is_empty());
        let other =
            Reader::new::<TableCheck>(StoreId([8; 16]), WRITER.epoch, reader().position(), Lsn(1), GEOMETRY);
        assert_eq!(
            { other }.next::<TableCheck>(&segment()[other.offset() as usize..]),
            Item::Stop(Found::Bad)
        );
    }
}
