//! Reads a shard's events from archives and segments, oldest or newest first, in bounded memory, one when it is asked for.
//!
//! ```text
//!  oldest first    source ─► record ─► wanted? ─► head
//!  newest first    source ─► from its end in pieces: read one, keep what is wanted, give it out backwards
//! ```
//!
//! A segment may be released while it is waited for: its archive is then found by listing the sources again. What is left to
//! read is between `low` and `high`, so that nothing is given out twice and nothing is passed over.

use core::ops::ControlFlow;
use std::collections::VecDeque;
use std::sync::Arc;

use strandline::archive::{Archive, ArchiveError, Entries, OwnedEntry, Range};
use strandline::{LogId, Lsn, Millis, ReadError, SegmentPlace, SegmentReader};

use super::query::{Order, Query, Seen};
use super::record::Event;
use super::shard::{Shard, Source};

/// What a scan hands over.
#[derive(Debug)]
pub(crate) enum Found<'e> {
    Event(Seen<'e>),
    /// These LSNs are gone, and it is not known that no event was among them.
    Gap {
        shard: u16,
        first: u64,
        last: u64,
    },
}

/// Takes what is found; it may have enough.
pub(crate) type Sink<'s> = dyn FnMut(Found<'_>) -> ControlFlow<()> + 's;

/// Hands over the wanted events of a shard; `after` is the last one that was seen before.
///
/// # Errors
/// Something can't be read. What was handed over is right.
pub(crate) fn scan(
    shard: &Arc<Shard>,
    query: &Query,
    after: Option<u64>,
    sink: &mut Sink<'_>,
) -> Result<ControlFlow<()>, String> {
    let mut scan = Scan::new(Arc::clone(shard), query, after, 1);
    while scan.advance()? {
        if let Some(found) = scan.found()
            && sink(found).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Why a step did not give an event.
#[derive(Debug)]
enum Stop {
    /// The source is gone: another one may have taken its place.
    Gone,
    Failed(String),
}

type Step = Result<bool, Stop>;

/// The events of one shard, one after the other.
#[derive(Debug)]
pub(crate) struct Scan<'q> {
    shard: Arc<Shard>,
    query: &'q Query,
    /// What is left: from here on, and before here.
    low: u64,
    high: u64,
    /// Gaps count: something in front of them was asked for, or was there.
    told: bool,
    /// What was not opened yet, in the order in which it is read; `None` before it was listed.
    sources: Option<VecDeque<Source>>,
    /// The first LSN of the oldest source.
    oldest: Option<u64>,
    listings: usize,
    open: Option<Open>,
    /// Newest first: what was read of a piece, the newest last.
    kept: Vec<Item>,
    /// The first LSN of that piece.
    floor: Option<u64>,
    head: Option<Head>,
    /// So many scans share the memory.
    share: usize,
}

/// A source that is being read.
#[derive(Debug)]
struct Open {
    source: Source,
    reading: Reading,
}

#[derive(Debug)]
enum Reading {
    Segment(SegmentReader),
    Archive(Entries),
    /// A segment from its end: the places where pieces begin that were not read yet, and the LSN behind them.
    Pieces {
        reader: SegmentReader,
        places: Vec<SegmentPlace>,
        end: u64,
    },
    /// An archive from its end, so many LSNs at a time.
    Steps {
        archive: Archive,
        step: u64,
    },
}

/// An event as it was read.
#[derive(Debug)]
enum Item {
    Record { lsn: u64, bytes: Vec<u8> },
    Entry(OwnedEntry),
}

#[derive(Debug)]
enum Head {
    Event { epoch: u32, item: Item },
    Gap { first: u64, end: u64 },
}

impl Item {
    fn lsn(&self) -> u64 {
        match self {
            Self::Record { lsn, .. } => *lsn,
            Self::Entry(entry) => entry.stamp.lsn.0,
        }
    }

    fn event(&self) -> Option<Event<'_>> {
        match self {
            Self::Record { bytes, .. } => Event::decode(bytes),
            Self::Entry(entry) => Some(event_of(entry)),
        }
    }
}

impl<'q> Scan<'q> {
    /// Reads a shard behind an event, in the order of the query; so many scans share the memory that one of them would take.
    pub(crate) fn new(shard: Arc<Shard>, query: &'q Query, after: Option<u64>, share: usize) -> Self {
        let (mut low, mut high) = (query.lsns.0.max(1), query.lsns.1.saturating_add(1));
        match (query.order, after) {
            (Order::OldestFirst, Some(seen)) => low = low.max(seen.saturating_add(1)),
            (Order::NewestFirst, Some(seen)) => high = high.min(seen),
            (_, None) => {}
        }
        Self {
            shard,
            query,
            low,
            high,
            told: query.is_bounded,
            sources: None,
            oldest: None,
            listings: 0,
            open: None,
            kept: Vec::new(),
            floor: None,
            head: None,
            share: share.max(1),
        }
    }

    /// The shard that it reads.
    pub(crate) fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Turns to the next event or gap; false: there is none.
    ///
    /// # Errors
    /// Something can't be read. What was given out is right.
    pub(crate) fn advance(&mut self) -> Result<bool, String> {
        self.head = None;
        loop {
            match self.step() {
                Ok(found) => return Ok(found),
                Err(Stop::Failed(why)) => return Err(why),
                Err(Stop::Gone) if self.listings == MOST_LISTINGS => {
                    return Err("segments are released faster than they are read: try again".to_owned());
                }
                Err(Stop::Gone) => {
                    (self.sources, self.open, self.floor) = (None, None, None);
                    self.kept.clear();
                }
            }
        }
    }

    /// What it stands at.
    pub(crate) fn found(&self) -> Option<Found<'_>> {
        let shard = self.shard.number;
        match self.head.as_ref()? {
            Head::Gap { first, end } => Some(Found::Gap { shard, first: *first, last: end - 1 }),
            Head::Event { epoch, item } => {
                let event = item.event()?;
                Some(Found::Event(Seen { shard, epoch: *epoch, lsn: item.lsn(), event }))
            }
        }
    }

    fn step(&mut self) -> Step {
        loop {
            if let Some(item) = self.kept.pop() {
                self.high = item.lsn();
                return Ok(self.show(item));
            } else if let Some(floor) = self.floor.take() {
                self.high = self.high.min(floor);
            } else if self.open.is_some() {
                let more = match self.query.order {
                    Order::OldestFirst => self.forward()?,
                    Order::NewestFirst => self.backward()?,
                };
                if self.head.is_some() {
                    return Ok(true);
                }
                if !more && let Some(Open { source, .. }) = self.open.take() {
                    self.pass(&source);
                }
            } else if let Some(found) = self.open_next()? {
                return Ok(found);
            }
        }
    }

    /// Opens the next source, or comes to a gap in front of it (`true`), or to the end (`false`).
    fn open_next(&mut self) -> Result<Option<bool>, Stop> {
        let sources = match &mut self.sources {
            Some(sources) => sources,
            None => self.list()?,
        };
        let Some(source) = sources.pop_front() else { return Ok(Some(self.last_gap())) };
        if source.end <= self.low || source.first >= self.high {
            return Ok(None);
        }
        if let Some((from, to)) = self.in_front_of(&source) {
            // The gap is told once: what is left begins behind it.
            match self.query.order {
                Order::OldestFirst => self.low = to,
                Order::NewestFirst => self.high = from,
            }
            if let Some((first, end)) = self.shard.missing(from, to).filter(|_| self.told) {
                self.head = Some(Head::Gap { first, end });
                self.sources.iter_mut().for_each(|sources| sources.push_front(source.clone()));
                return Ok(Some(true));
            }
        }
        self.told = true;
        match self.query.order {
            Order::OldestFirst => self.low = self.low.max(source.first),
            Order::NewestFirst => self.high = self.high.min(source.end),
        }
        if self.may_hold(&source) {
            let reading = self.read(&source)?;
            self.open = Some(Open { source, reading });
        } else {
            self.pass(&source);
        }
        Ok(None)
    }

    fn list(&mut self) -> Result<&mut VecDeque<Source>, Stop> {
        self.listings += 1;
        let mut sources = self.shard.sources().map_err(Stop::Failed)?;
        self.oldest = sources.first().map(|source| source.first);
        if self.query.order == Order::NewestFirst {
            sources.reverse();
        }
        Ok(self.sources.insert(sources.into()))
    }

    /// The LSNs between what was read and a source, if there are any.
    fn in_front_of(&self, source: &Source) -> Option<(u64, u64)> {
        let (from, to) = match self.query.order {
            Order::OldestFirst => (self.low, source.first),
            Order::NewestFirst => (source.end.max(self.low), self.high),
        };
        (from < to && to != u64::MAX).then_some((from, to))
    }

    /// Newest first, with a first LSN that was asked for: whether what lies in front of the oldest source is missing.
    fn last_gap(&mut self) -> bool {
        let (from, to) = (self.low, self.high);
        let ends = self.query.order == Order::NewestFirst && self.oldest == Some(to);
        self.high = self.low;
        match self.shard.missing(from, to).filter(|_| ends && self.query.is_bounded) {
            Some((first, end)) => {
                self.head = Some(Head::Gap { first, end });
                true
            }
            None => false,
        }
    }

    fn read(&self, source: &Source) -> Result<Reading, Stop> {
        let (low, end) = (self.low.max(source.first), source.end.min(self.high));
        let segment = || self.shard.log.read_segment(LogId(source.log), Lsn(end)).map_err(unreadable);
        match (&source.archive, self.query.order) {
            (Some(path), order) => {
                let archive = Archive::open(path).map_err(failed)?;
                Ok(match order {
                    Order::NewestFirst => Reading::Steps { archive, step: PIECE_LSNS },
                    Order::OldestFirst => {
                        let range = Range { lsns: (Lsn(low), Lsn(end - 1)), ..Range::ALL };
                        Reading::Archive(archive.entries(range).map_err(failed)?)
                    }
                })
            }
            (None, Order::OldestFirst) => segment().map(Reading::Segment),
            (None, Order::NewestFirst) => {
                let mut reader = segment()?;
                let places = self.pieces(&mut reader)?;
                Ok(Reading::Pieces { reader, places, end })
            }
        }
    }

    /// Reads a segment through and remembers where pieces of it begin.
    fn pieces(&self, reader: &mut SegmentReader) -> Result<Vec<SegmentPlace>, Stop> {
        let mut places = vec![reader.place()];
        let (mut last, piece) = (reader.offset(), (PIECE_BYTES / self.share).max(LEAST_PIECE));
        while reader.next().map_err(unreadable)?.is_some() {
            if (reader.offset() - last) as usize >= piece {
                last = reader.offset();
                places.push(reader.place());
            }
        }
        Ok(places)
    }

    /// Reads up to the next wanted event of the open source; false: there is none.
    fn forward(&mut self) -> Step {
        let Some(Open { reading, .. }) = &mut self.open else { return Ok(false) };
        match reading {
            Reading::Segment(reader) => {
                while let Some(record) = reader.next().map_err(unreadable)? {
                    let lsn = record.lsn.0;
                    let wanted = lsn >= self.low
                        && lsn < self.high
                        && Event::decode(record.bytes).is_some_and(|event| self.query.wants(&event));
                    self.low = self.low.max(lsn + 1);
                    if wanted {
                        let bytes = record.bytes.to_vec();
                        return Ok(self.show(Item::Record { lsn, bytes }));
                    }
                }
                Ok(false)
            }
            Reading::Archive(entries) => {
                for entry in entries {
                    let entry = entry.map_err(failed)?;
                    let lsn = entry.stamp.lsn.0;
                    let wanted = lsn >= self.low && lsn < self.high && self.query.wants(&event_of(&entry));
                    self.low = self.low.max(lsn + 1);
                    if wanted {
                        return Ok(self.show(Item::Entry(entry)));
                    }
                }
                Ok(false)
            }
            Reading::Pieces { .. } | Reading::Steps { .. } => Ok(false),
        }
    }

    /// Keeps what is wanted of the piece in front of what was read; false: there is no piece.
    fn backward(&mut self) -> Step {
        let (low, high) = (self.low, self.high);
        let Some(Open { reading, source }) = &mut self.open else { return Ok(false) };
        match reading {
            Reading::Pieces { reader, places, end } => {
                let Some(place) = places.pop().filter(|_| *end > low) else { return Ok(false) };
                reader.go_to(place);
                while let Some(record) = reader.next().map_err(unreadable)? {
                    let lsn = record.lsn.0;
                    if lsn >= *end {
                        break;
                    }
                    let wanted = |event: &Event<'_>| lsn >= low && lsn < high && self.query.wants(event);
                    if Event::decode(record.bytes).as_ref().is_some_and(wanted) {
                        self.kept.push(Item::Record { lsn, bytes: record.bytes.to_vec() });
                    }
                }
                *end = place.lsn().0;
                self.floor = Some(*end);
                Ok(true)
            }
            Reading::Steps { archive, step } => {
                let low = low.max(source.first);
                if high <= low {
                    return Ok(false);
                }
                let from = high.saturating_sub(*step).max(low);
                let range = Range { lsns: (Lsn(from), Lsn(high - 1)), ..Range::ALL };
                let (mut bytes, most) = (0, (KEPT_BYTES / self.share).max(LEAST_PIECE));
                for entry in archive.entries(range).map_err(failed)? {
                    let entry = entry.map_err(failed)?;
                    if self.query.wants(&event_of(&entry)) {
                        bytes += entry.payload.len();
                        self.kept.push(Item::Entry(entry));
                    }
                    if bytes > most && *step > 1 {
                        // Too much at once: half of it.
                        *step /= 2;
                        self.kept.clear();
                        return Ok(true);
                    }
                }
                self.floor = Some(from);
                Ok(true)
            }
            Reading::Segment(_) | Reading::Archive(_) => Ok(false),
        }
    }

    /// Stands at an event from now on.
    fn show(&mut self, item: Item) -> bool {
        let epoch = self.open.as_ref().map_or(0, |open| open.source.epoch);
        self.head = Some(Head::Event { epoch, item });
        true
    }

    /// Nothing of a source is left.
    fn pass(&mut self, source: &Source) {
        match self.query.order {
            Order::OldestFirst => self.low = self.low.max(source.end),
            Order::NewestFirst => self.high = self.high.min(source.first),
        }
    }

    fn may_hold(&self, source: &Source) -> bool {
        self.shard
            .row(source)
            .is_none_or(|row| row.events > 0 && self.query.meets(row.earliest_ms, row.latest_ms))
    }
}

/// The event that an entry of an archive is.
fn event_of(entry: &OwnedEntry) -> Event<'_> {
    let Millis(ms) = entry.stamp.time;
    Event {
        timestamp_ms: if ms == 0 { entry.timestamp.saturating_mul(1000) } else { ms },
        event_id: Some(entry.event_id),
        event_type: &entry.event_type,
        context_id: &entry.context,
        payload: &entry.payload,
    }
}

fn unreadable(error: ReadError) -> Stop {
    match error {
        ReadError::Released { .. } => Stop::Gone,
        ReadError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => Stop::Gone,
        other => Stop::Failed(other.to_string()),
    }
}

fn failed(error: ArchiveError) -> Stop {
    match error {
        ArchiveError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Stop::Gone,
        other => Stop::Failed(other.to_string()),
    }
}

const PIECE_BYTES: usize = 1 << 20;
/// Of a scan that shares its memory with many.
const LEAST_PIECE: usize = 64 << 10;
const PIECE_LSNS: u64 = 2048;
const KEPT_BYTES: usize = 4 << 20;
const MOST_LISTINGS: usize = 16;
