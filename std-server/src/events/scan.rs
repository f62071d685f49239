//! Reads a shard's events from archives and segments, oldest or newest first, in bounded memory.
//!
//! ```text
//!  oldest first    source ─► record ─► wanted? ─► sink
//!  newest first    source ─► from its end in pieces of about 1 MiB: read one, keep what is wanted, hand it over backwards
//! ```
//!
//! A segment may be released while it is waited for: its archive is then found by listing the sources again.

use core::ops::ControlFlow;

use strandline::archive::{Archive, ArchiveError, OwnedEntry, Range};
use strandline::{LogId, Lsn, Millis, ReadError, SegmentPlace};

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

/// Why a scan ended early.
#[derive(Debug)]
enum Stop {
    /// The sink has enough.
    Enough,
    /// The source is gone: another one may have taken its place.
    Gone,
    Failed(String),
}

type Step = Result<(), Stop>;

/// Hands over the wanted events of a shard; `after` is the last one that was seen before.
///
/// # Errors
/// Something can't be read. What was handed over is right.
pub(crate) fn scan(
    shard: &Shard,
    query: &Query,
    after: Option<u64>,
    sink: &mut Sink<'_>,
) -> Result<ControlFlow<()>, String> {
    let (mut low, mut high) = (query.lsns.0.max(1), query.lsns.1.saturating_add(1));
    match (query.order, after) {
        (Order::OldestFirst, Some(seen)) => low = low.max(seen.saturating_add(1)),
        (Order::NewestFirst, Some(seen)) => high = high.min(seen),
        (_, None) => {}
    }
    let mut scan = Scan { shard, query, low, high, told: query.is_bounded, sink };
    for _ in 0..MOST_LISTINGS {
        match scan.run() {
            Ok(()) => return Ok(ControlFlow::Continue(())),
            Err(Stop::Enough) => return Ok(ControlFlow::Break(())),
            Err(Stop::Gone) => {}
            Err(Stop::Failed(why)) => return Err(why),
        }
    }
    Err("segments are released faster than they are read: try again".to_owned())
}

struct Scan<'s, 'k> {
    shard: &'s Shard,
    query: &'s Query,
    /// What is left: from here on, and before here.
    low: u64,
    high: u64,
    /// Gaps count: something in front of them was asked for, or was there.
    told: bool,
    sink: &'s mut Sink<'k>,
}

impl Scan<'_, '_> {
    fn run(&mut self) -> Step {
        let sources = self.shard.sources().map_err(Stop::Failed)?;
        match self.query.order {
            Order::OldestFirst => {
                for source in &sources {
                    self.forward(source)?;
                }
            }
            Order::NewestFirst => {
                for source in sources.iter().rev() {
                    self.backward(source)?;
                }
                if self.query.is_bounded && sources.first().is_some_and(|oldest| oldest.first == self.high) {
                    self.gap(self.low, self.high)?;
                }
            }
        }
        Ok(())
    }

    fn forward(&mut self, source: &Source) -> Step {
        if source.end <= self.low || source.first >= self.high {
            return Ok(());
        }
        if self.told {
            self.gap(self.low, source.first)?;
        }
        self.told = true;
        self.low = self.low.max(source.first);
        if self.may_hold(source) {
            let end = source.end.min(self.high);
            match &source.archive {
                Some(path) => {
                    let archive = Archive::open(path).map_err(failed)?;
                    self.archived(&archive, source, (self.low, end - 1))?;
                }
                None => self.segment(source, end)?,
            }
        }
        self.low = self.low.max(source.end);
        Ok(())
    }

    fn segment(&mut self, source: &Source, end: u64) -> Step {
        let mut reader = self.shard.log.read_segment(LogId(source.log), Lsn(end)).map_err(unreadable)?;
        while let Some(record) = reader.next().map_err(unreadable)? {
            let lsn = record.lsn.0;
            if lsn >= self.low
                && let Some(event) = Event::decode(record.bytes)
            {
                self.give(source, lsn, event)?;
            }
            self.low = self.low.max(lsn + 1);
        }
        Ok(())
    }

    fn archived(&mut self, archive: &Archive, source: &Source, lsns: (u64, u64)) -> Step {
        let range = Range { lsns: (Lsn(lsns.0), Lsn(lsns.1)), ..Range::ALL };
        for entry in archive.entries(range).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let lsn = entry.stamp.lsn.0;
            self.give(source, lsn, event_of(&entry))?;
            self.low = self.low.max(lsn + 1);
        }
        Ok(())
    }

    fn backward(&mut self, source: &Source) -> Step {
        if source.end <= self.low || source.first >= self.high {
            return Ok(());
        }
        if self.told && source.end < self.high && self.high != u64::MAX {
            self.gap(source.end.max(self.low), self.high)?;
        }
        self.told = true;
        self.high = self.high.min(source.end);
        if self.may_hold(source) {
            match &source.archive {
                Some(path) => {
                    let archive = Archive::open(path).map_err(failed)?;
                    self.archived_backward(&archive, source)?;
                }
                None => self.segment_backward(source)?,
            }
        }
        self.high = self.high.min(source.first);
        Ok(())
    }

    fn segment_backward(&mut self, source: &Source) -> Step {
        let mut reader =
            self.shard.log.read_segment(LogId(source.log), Lsn(self.high)).map_err(unreadable)?;
        let mut places: Vec<SegmentPlace> = vec![reader.place()];
        let mut last = reader.offset();
        while reader.next().map_err(unreadable)?.is_some() {
            if reader.offset() - last >= PIECE_BYTES {
                last = reader.offset();
                places.push(reader.place());
            }
        }
        let mut end = self.high;
        while let Some(place) = places.pop() {
            reader.go_to(place);
            let mut kept: Vec<(u64, Vec<u8>)> = Vec::new();
            while let Some(record) = reader.next().map_err(unreadable)? {
                let lsn = record.lsn.0;
                if lsn >= end {
                    break;
                }
                let wanted = |event: &Event<'_>| lsn >= self.low && self.query.wants(event);
                if Event::decode(record.bytes).as_ref().is_some_and(wanted) {
                    kept.push((lsn, record.bytes.to_vec()));
                }
            }
            for (lsn, record) in kept.iter().rev() {
                if let Some(event) = Event::decode(record) {
                    self.give(source, *lsn, event)?;
                }
                self.high = *lsn;
            }
            end = place.lsn().0;
            self.high = self.high.min(end);
            if end <= self.low {
                break;
            }
        }
        Ok(())
    }

    /// Piece by piece; one that holds too much is halved.
    fn archived_backward(&mut self, archive: &Archive, source: &Source) -> Step {
        let low = self.low.max(source.first);
        let mut step = PIECE_LSNS;
        while self.high > low {
            let from = self.high.saturating_sub(step).max(low);
            let range = Range { lsns: (Lsn(from), Lsn(self.high - 1)), ..Range::ALL };
            let (mut kept, mut bytes) = (Vec::new(), 0);
            for entry in archive.entries(range).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if self.query.wants(&event_of(&entry)) {
                    bytes += entry.payload.len();
                    kept.push(entry);
                }
                if bytes > KEPT_BYTES && step > 1 {
                    break;
                }
            }
            if bytes > KEPT_BYTES && step > 1 {
                step /= 2;
                continue;
            }
            for entry in kept.iter().rev() {
                self.give(source, entry.stamp.lsn.0, event_of(entry))?;
                self.high = entry.stamp.lsn.0;
            }
            self.high = self.high.min(from);
        }
        Ok(())
    }

    fn may_hold(&self, source: &Source) -> bool {
        self.shard
            .row(source)
            .is_none_or(|row| row.events > 0 && self.query.meets(row.earliest_ms, row.latest_ms))
    }

    fn give(&mut self, source: &Source, lsn: u64, event: Event<'_>) -> Step {
        if lsn < self.low || lsn >= self.high || !self.query.wants(&event) {
            return Ok(());
        }
        let seen = Seen { shard: self.shard.number, epoch: source.epoch, lsn, event };
        enough((self.sink)(Found::Event(seen)))
    }

    fn gap(&mut self, from: u64, to: u64) -> Step {
        let Some((first, end)) = self.shard.missing(from, to) else { return Ok(()) };
        enough((self.sink)(Found::Gap { shard: self.shard.number, first, last: end - 1 }))
    }
}

fn enough(flow: ControlFlow<()>) -> Step {
    if flow.is_break() { Err(Stop::Enough) } else { Ok(()) }
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

const PIECE_BYTES: u32 = 1 << 20;
const PIECE_LSNS: u64 = 2048;
const KEPT_BYTES: usize = 4 << 20;
const MOST_LISTINGS: usize = 16;
