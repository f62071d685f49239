//! Segments one by one: which records can be read, also behind damage.

use core::sync::atomic::Ordering::Relaxed;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use strandline_core::codec::extent::{ExtentHeader, HEADER_WINDOW, HeaderParsed};
use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::{Manifest, Segment, SegmentState};
use strandline_core::recovery::Damage;
use strandline_core::types::{Epoch, LogId, Lsn, Position, Settled, StoreId};

use super::{Examiner, Sink};
use crate::check::HardwareCheck;
use crate::error::OpenError;
use crate::memory::Owned;
use crate::reader::{ReadError, Record};
use crate::segments::SegmentReader;

/// A segment that does not read back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentDamage {
    /// Its number.
    pub log: LogId,
    /// Its file.
    pub path: PathBuf,
    /// Epoch of its writer.
    pub epoch: Epoch,
    /// Its first LSN, and the one behind its last record.
    pub lsns: (Lsn, Lsn),
    /// What is the matter.
    pub why: Why,
    /// The LSNs that can't be read: first ones, and the ones behind the last.
    pub lost: Vec<(Lsn, Lsn)>,
    /// Records that can be read.
    pub records: u64,
    /// All of its records are kept elsewhere: nothing is lost with it.
    pub is_elsewhere: bool,
    store: StoreId,
    segment: Segment,
}

/// What is the matter with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its file is not there.
    Missing,
    /// It does not begin as a segment.
    Header,
    /// The expected frame is not at this offset.
    Frame(u32),
    /// Nothing: it stands behind damage.
    Behind,
}

impl SegmentDamage {
    /// Hands over the records that can be read, in order; gives back the LSNs that can't.
    ///
    /// # Errors
    /// The file can't be read at all.
    pub fn salvage(&self, take: &mut Sink<'_>) -> io::Result<Vec<(Lsn, Lsn)>> {
        if self.why == Why::Missing {
            return Ok(self.lost.clone());
        }
        let file = Arc::new(File::open(&self.path)?);
        let from = self.lsns.0;
        let mut wanted = |record: &Record<'_>| {
            if record.lsn >= from {
                take(record);
            }
        };
        read_all(file, self.store, &self.segment, self.lsns.1, &mut wanted)?;
        Ok(self.lost.clone())
    }
}

/// What was read of a segment.
struct ReadBack {
    records: u64,
    bytes: u64,
    /// Where it was damaged first.
    at: Option<u32>,
    lost: Vec<(Lsn, Lsn)>,
    /// Nothing intact stands behind the place where it ended early.
    ended: Option<Lsn>,
}

/// Reads every record up to `end` that can be read; damage is skipped.
fn read_all(
    file: Arc<File>,
    store: StoreId,
    segment: &Segment,
    end: Lsn,
    take: &mut Sink<'_>,
) -> io::Result<ReadBack> {
    let mut reader = SegmentReader::over(file, store, segment, end);
    let mut read = ReadBack { records: 0, bytes: 0, at: None, lost: Vec::new(), ended: None };
    loop {
        match reader.next() {
            Ok(Some(record)) => {
                take(&record);
                read.records += 1;
            }
            Ok(None) => break,
            Err(ReadError::Damaged { position, lsn }) => {
                read.at = read.at.or(Some(position.offset));
                match reader.skip_damage()? {
                    // Two batches of which the second begins where the first was expected to go on: nothing is lost between them.
                    Some(next) if next == lsn => {}
                    Some(next) => read.lost.push((lsn, next)),
                    None => {
                        read.lost.push((lsn, end));
                        read.ended = Some(lsn);
                        break;
                    }
                }
            }
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Released { .. }) => break,
        }
    }
    read.bytes = u64::from(reader.offset());
    Ok(read)
}

/// What [`Examiner::check_segments`] found.
pub(super) struct Checks {
    pub(super) count: u64,
    pub(super) records: u64,
    pub(super) damaged: Vec<SegmentDamage>,
}

impl Examiner<'_> {
    /// Reads the segments below `base`, and the part of its own segment in front of it.
    pub(super) fn check_segments(
        &self,
        store: StoreId,
        segments: &[Segment],
        base: Settled,
    ) -> Result<Checks, OpenError> {
        let mut checks = Checks { count: 0, records: 0, damaged: Vec::new() };
        let mut carried = Lsn::UNKNOWN;
        for (at, segment) in segments.iter().enumerate() {
            let own = segment.log == base.position.log;
            if segment.log > base.position.log || own && base.position.offset == 0 {
                break;
            }
            let first = if segment.fence == Lsn::UNKNOWN { carried } else { segment.fence };
            let known = (self.look.range_of)(segment.log).filter(|range| range.0 == first);
            let known = known.map(|(_, end)| end);
            let next = segments.get(at + 1).filter(|next| next.fence != Lsn::UNKNOWN);
            let next = next.filter(|next| self.follows(segment, next)).map(|next| next.fence);
            let later =
                segments.iter().skip(at + 1).map(|next| next.fence).find(|fence| *fence != Lsn::UNKNOWN);
            let exact = if own { Some(base.lsn) } else { known.or(next) };
            let end = exact.or(later).unwrap_or(base.lsn).min(base.lsn);
            // It is made again, and what it will be was compared with what was archived.
            if self.dir.is_replaced(Name::Segment(segment.extent)) {
                checks.count += 1;
                checks.records += end.0.saturating_sub(first.0);
                carried = end;
                continue;
            }
            let mut found = self.check(store, &Segment { fence: first, ..*segment }, end, &mut |_| {})?;
            // The next one is gone or has lost its header: what ends early here may end where it should.
            if let (None, Some(ended), Why::Frame(_)) = (exact, found.ended, found.damage.why)
                && found.damage.lost.len() == 1
            {
                (found.damage.lost, found.damage.lsns.1) = (Vec::new(), ended);
            }
            carried = found.damage.lsns.1;
            checks.count += 1;
            checks.records += found.damage.records;
            if !found.damage.lost.is_empty() || segment.state != SegmentState::Headed {
                checks.damaged.push(found.damage);
            }
        }
        Ok(checks)
    }

    /// Whether nothing was between two listed segments. The first one of an epoch says where the log in front of it ended; there
    /// log ids are left out, since some were listed and not begun.
    fn follows(&self, segment: &Segment, next: &Segment) -> bool {
        if next.log == segment.log.next() {
            return true;
        }
        let mut window = vec![0; HEADER_WINDOW];
        let read = self.dir.read(Name::Segment(next.extent), 0, &mut window).unwrap_or(0);
        let HeaderParsed::Header(header) = ExtentHeader::decode::<HardwareCheck>(&window[..read]) else {
            return false;
        };
        let Position { log, offset } = header.settled.position;
        next.epoch > segment.epoch && (log == segment.log || (log == segment.log.next() && offset == 0))
    }

    /// Reads one segment.
    pub(super) fn check(
        &self,
        store: StoreId,
        segment: &Segment,
        end: Lsn,
        take: &mut Sink<'_>,
    ) -> Result<Checked, OpenError> {
        let path = self.dir.path(Name::Segment(segment.extent));
        let whole = vec![(segment.fence.min(end), end)];
        let mut damage = SegmentDamage {
            log: segment.log,
            path,
            epoch: segment.epoch,
            lsns: (segment.fence, end),
            why: Why::Missing,
            lost: whole,
            records: 0,
            is_elsewhere: false,
            store,
            segment: *segment,
        };
        if segment.state == SegmentState::Missing {
            return Ok(Checked { damage, ended: None });
        }
        let failed =
            |error: io::Error| OpenError::Unreadable(format!("read {}: {error}", damage.path.display()));
        let file = match File::open(&damage.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Checked { damage, ended: None });
            }
            Err(error) => return Err(failed(error)),
        };
        let read = read_all(Arc::new(file), store, segment, end, take).map_err(failed)?;
        self.look.progress.fetch_add(read.bytes, Relaxed);
        damage.why = match read.at {
            _ if segment.state != SegmentState::Headed => Why::Header,
            Some(offset) => Why::Frame(offset),
            None => Why::Behind,
        };
        (damage.lost, damage.records) = (read.lost, read.records);
        Ok(Checked { damage, ended: read.ended })
    }

    /// What goes if everything from a damaged place on is discarded: the segments, with what can still be read of them.
    pub(super) fn discarded(&self, damage: &Damage, manifest: &Manifest<Owned>) -> Vec<SegmentDamage> {
        let segments = manifest.segments.as_slice();
        let mut given_up = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            let here = damage.extent.is_some_and(|extent| extent.number == segment.extent);
            // Where the next segment is gone, the one in front of it is whole; listed ones without a fence were not begun.
            let whole = segment.log == damage.position.log && damage.extent.is_some();
            if !here && (segment.log < damage.position.log || whole || segment.fence == Lsn::UNKNOWN) {
                continue;
            }
            let first = if segment.fence == Lsn::UNKNOWN { damage.lsn } else { segment.fence };
            let segment = &Segment { fence: first, ..*segment };
            let behind = &segments[at + 1..];
            // What a newer epoch has fenced off is void, wherever it stands.
            let fence = behind.iter().filter(|next| next.epoch > segment.epoch).map(|next| next.fence).min();
            let next = behind.iter().map(|next| next.fence).find(|fence| *fence != Lsn::UNKNOWN);
            let end = next.into_iter().chain(fence).min().unwrap_or(damage.announced).max(damage.lsn);
            let Ok(mut found) = self.check(manifest.store, segment, end, &mut |_| {}) else { continue };
            found.damage.is_elsewhere =
                (self.look.is_elsewhere)(manifest.store, segment.log, found.damage.lsns);
            // Records in front of the damage stay.
            let from = damage.lsn.max(first.min(end));
            found.damage.lsns.0 = from;
            for lost in &mut found.damage.lost {
                lost.0 = lost.0.max(from);
            }
            found.damage.lost.retain(|(from, end)| from < end);
            found.damage.records = (end.0 - from.0)
                .saturating_sub(found.damage.lost.iter().map(|(from, end)| end.0 - from.0).sum());
            if from < end {
                given_up.push(found.damage);
            }
        }
        given_up
    }
}

pub(super) struct Checked {
    pub(super) damage: SegmentDamage,
    ended: Option<Lsn>,
}
