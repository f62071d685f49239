//! Finds the newest block and the end of the log. Nothing is written.
//!
//! ```text
//!  First ─► Probe ... ─► Tail ─► Beyond ─► Orphans ─► Second ─► Done
//!    │     binary         newest   what stands behind the      │
//!    └──► Final            block   newest block is not newer   └► Refuse
//! ```
//!
//! Sequence numbers rise with the index up to the newest block, and belong to the lap before from there on. A header that does
//! not verify looks like the end of that rise; what stands behind tells damage from an end.

use super::header::{Erased, Open, Opened, take_erased};
use super::log::{Log, Start};
use super::reader::{Found, Reader, Tail};
use super::view::{Range, View, is_empty};
use super::{FRAME_HEADER, Fault, Fetch, Geometry, GeometryError, Place, Policy, Volume};
use crate::codec::check::Checksum;
use crate::codec::frame::Parsed;
use crate::types::{Lsn, StoreId};

/// What mounting wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Read bytes into [`Mount::window_mut`], then call [`Mount::filled`].
    Read(Fetch),
    /// Call [`Mount::finish`].
    Done,
    /// The log can't be opened. Nothing was changed.
    Refuse(Refusal),
}

/// Why a log is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The sizes can't be used.
    Geometry(GeometryError),
    /// The partition was written with other sizes.
    OtherGeometry,
    /// The partition belongs to another store.
    OtherStore,
    /// The partition was written by another version.
    OtherVersion,
    /// The scratch is too small for the records of this log, which may have this many bytes.
    NeedsScratch {
        /// The largest record of the log.
        record: u32,
    },
    /// Settled data is damaged.
    Corrupt(Place),
    /// A frame was written by a newer version.
    Newer(Place),
    /// The medium could not be read.
    Unreadable,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The header of block 0.
    First,
    /// The header of the last block.
    Final,
    /// The rise goes at least to `low` and ends before `high`.
    Probe {
        base: u32,
        low: u32,
        high: u32,
    },
    /// The log from `from` to `head` is read.
    Tail {
        reader: Reader,
        from: u32,
        head: u32,
    },
    /// The header behind the newest block, which ends like this.
    Beyond {
        head: u32,
    },
    /// Frames of a block whose header does not verify.
    Orphans {
        head: u32,
        unit: u32,
    },
    /// The header after that.
    Second {
        head: u32,
    },
    Done,
    Refused(Refusal),
}

/// A log that is being opened.
#[derive(Debug)]
pub struct Mount<C, B> {
    volume: Volume,
    policy: Policy,
    scratch: B,
    view: View,
    stage: Stage,
    tail: Option<Tail>,
    /// A block was opened and holds nothing: the newest one is before it.
    unopened: bool,
    check: core::marker::PhantomData<C>,
}

impl<C: Checksum, B: AsRef<[u8]> + AsMut<[u8]>> Mount<C, B> {
    /// Begins to open the log of `store`. The scratch bounds the records, see [`Geometry::max_record`].
    #[must_use]
    pub fn new(geometry: Geometry, store: StoreId, policy: Policy, scratch: B) -> Self {
        let stage = match geometry.check() {
            Err(error) => Stage::Refused(Refusal::Geometry(error)),
            Ok(_) if geometry.max_record(scratch.as_ref().len()) == 0 => {
                Stage::Refused(Refusal::NeedsScratch { record: 1 })
            }
            Ok(_) => Stage::First,
        };
        let volume = Volume { geometry, store };
        Self {
            volume,
            policy,
            scratch,
            view: View::default(),
            stage,
            tail: None,
            unopened: false,
            check: core::marker::PhantomData,
        }
    }

    /// What to do next.
    pub fn poll(&mut self) -> Ask {
        loop {
            let next = match self.stage {
                Stage::First => self.first(),
                Stage::Final => self.last_block(),
                Stage::Probe { base, low, high } => self.probe(base, low, high),
                Stage::Tail { ref mut reader, from, head } => match reader.next::<C>(self.scratch.as_mut()) {
                    Found::Read(fetch) => Err(fetch),
                    Found::Record { .. } => continue,
                    Found::Corrupt(place) => Ok(Stage::Refused(Refusal::Corrupt(place))),
                    Found::Newer(place) => Ok(Stage::Refused(Refusal::Newer(place))),
                    Found::End => {
                        let tail = reader.tail();
                        self.view.forget();
                        Ok(self.judge(tail, from, head))
                    }
                },
                Stage::Beyond { head } => self.beyond(head),
                Stage::Orphans { head, unit } => self.orphans(head, unit),
                Stage::Second { head } => self.second(head),
                Stage::Done => return Ask::Done,
                Stage::Refused(refusal) => return Ask::Refuse(refusal),
            };
            match next {
                Ok(stage) => self.stage = stage,
                Err(fetch) => return Ask::Read(fetch),
            }
        }
    }

    /// Where the bytes of a [`Fetch`] go.
    pub fn window_mut(&mut self, fetch: Fetch) -> &mut [u8] {
        let start = fetch.bytes.start as usize;
        self.scratch.as_mut().get_mut(start..start + fetch.bytes.len as usize).unwrap_or_default()
    }

    /// What was asked for has been read, or not.
    pub fn filled(&mut self, result: Result<(), Fault>) {
        match (result, &mut self.stage) {
            (Err(_), stage) => *stage = Stage::Refused(Refusal::Unreadable),
            (Ok(()), Stage::Tail { reader, .. }) => reader.filled(),
            (Ok(()), _) => self.view.filled(),
        }
    }

    /// The log, once [`Ask::Done`] was answered; `None` before.
    #[must_use]
    pub fn finish(self) -> Option<Log<C, B>> {
        matches!(self.stage, Stage::Done).then(|| {
            let Self { volume, policy, scratch, tail, unopened, .. } = self;
            Log::start(Start { volume, policy, scratch, tail, unopened })
        })
    }

    fn first(&mut self) -> Result<Stage, Fetch> {
        let count = self.volume.geometry.block_count;
        Ok(match self.header(0)? {
            Err(refusal) => Stage::Refused(refusal),
            Ok(Opened::Open(open)) => Stage::Probe { base: open.sequence, low: 0, high: count },
            Ok(Opened::Blank | Opened::Bad) => Stage::Final,
        })
    }

    fn last_block(&mut self) -> Result<Stage, Fetch> {
        let first = self.volume.geometry.first();
        Ok(match self.header(first - 1)? {
            Err(refusal) => Stage::Refused(refusal),
            Ok(Opened::Open(open)) => self.read_from(open.sequence, open.sequence),
            // No block was ever opened: block 0 is the first.
            Ok(Opened::Blank | Opened::Bad) => Stage::Beyond { head: first - 1 },
        })
    }

    fn probe(&mut self, base: u32, low: u32, high: u32) -> Result<Stage, Fetch> {
        if high - low <= 1 {
            let head = base.saturating_add(low);
            return Ok(self.read_from(head, head));
        }
        let middle = low.midpoint(high);
        let wanted = base.checked_add(middle);
        Ok(match self.header(middle)? {
            Err(refusal) => Stage::Refused(refusal),
            Ok(Opened::Open(open)) if Some(open.sequence) == wanted => {
                Stage::Probe { base, low: middle, high }
            }
            Ok(_) => Stage::Probe { base, low, high: middle },
        })
    }

    fn read_from(&mut self, from: u32, head: u32) -> Stage {
        Stage::Tail { reader: Reader::new(self.volume, from, head), from, head }
    }

    /// Decides what the end of the newest candidate means.
    fn judge(&mut self, tail: Tail, from: u32, head: u32) -> Stage {
        let first = self.volume.geometry.first();
        let most = self.volume.geometry.max_record(self.scratch.as_ref().len());
        if tail.open.limit > most {
            return Stage::Refused(Refusal::NeedsScratch { record: tail.open.limit });
        }
        if !tail.begun {
            // A block is opened only when the one before it holds a whole frame.
            if self.unopened {
                return Stage::Refused(Refusal::Corrupt(Place { sequence: head, offset: 0 }));
            }
            self.unopened = true;
            if head == first {
                return Stage::Second { head: head - 1 };
            }
            return self.read_from(head - 1, head - 1);
        }
        if tail.last.is_none() && from > tail.open.floor {
            return self.read_from(from - 1, head);
        }
        if tail.last.is_none() && tail.next > Lsn::FIRST {
            return Stage::Refused(Refusal::Corrupt(Place { sequence: head, offset: 0 }));
        }
        self.tail = Some(tail);
        if self.unopened { Stage::Second { head } } else { Stage::Beyond { head } }
    }

    fn beyond(&mut self, head: u32) -> Result<Stage, Fetch> {
        let next = head.saturating_add(1);
        Ok(match self.header(self.volume.geometry.block_of(next))? {
            Err(refusal) => Stage::Refused(refusal),
            Ok(Opened::Open(open)) if open.sequence == next => {
                Stage::Refused(Refusal::Corrupt(Place { sequence: next, offset: 0 }))
            }
            Ok(Opened::Bad) => Stage::Orphans { head, unit: self.volume.geometry.frames_at() },
            Ok(Opened::Blank | Opened::Open(_)) => Stage::Second { head },
        })
    }

    /// A frame of the next number with something behind it was complete: its block was open, and its header is damaged.
    fn orphans(&mut self, head: u32, unit: u32) -> Result<Stage, Fetch> {
        let geometry = self.volume.geometry;
        let sequence = head.saturating_add(1);
        let limit = geometry.block_bytes.saturating_sub(unit);
        if limit < FRAME_HEADER {
            return Ok(Stage::Second { head });
        }
        let framing = self.volume.framing::<C>(sequence);
        let scratch = self.scratch.as_mut();
        let mut need = geometry.word.max(FRAME_HEADER).min(limit);
        let most = scratch.len() & !31;
        while need as usize <= most {
            let range = Range {
                block: geometry.block_of(sequence),
                offset: unit,
                len: need,
                limit: geometry.block_bytes,
            };
            let window = self.view.want(scratch, range)?;
            match framing.decode::<C>(window, u64::from(unit), u64::from(limit)) {
                Parsed::Need(bytes) => need = u32::try_from(bytes).unwrap_or(u32::MAX),
                Parsed::Frame(frame) => {
                    let with_next =
                        u32::try_from(frame.bytes).unwrap_or(u32::MAX).saturating_add(FRAME_HEADER);
                    let next = window.get(frame.bytes..).unwrap_or_default();
                    if need < with_next && with_next <= limit && with_next as usize <= most {
                        need = with_next;
                        continue;
                    }
                    if !is_empty(next) {
                        return Ok(Stage::Refused(Refusal::Corrupt(Place { sequence, offset: unit })));
                    }
                    break;
                }
                Parsed::Blank | Parsed::Bad | Parsed::Newer(_) => break,
            }
        }
        Ok(Stage::Orphans { head, unit: unit.saturating_add(geometry.word) })
    }

    fn second(&mut self, head: u32) -> Result<Stage, Fetch> {
        let second = head.saturating_add(2);
        Ok(match self.header(self.volume.geometry.block_of(second))? {
            Err(refusal) => Stage::Refused(refusal),
            Ok(Opened::Open(open)) if open.sequence == second => {
                Stage::Refused(Refusal::Corrupt(Place { sequence: second - 1, offset: 0 }))
            }
            Ok(_) => Stage::Done,
        })
    }

    /// Reads a block's header; an erase part that is another's refuses the whole partition.
    fn header(&mut self, block: u32) -> Result<Result<Opened, Refusal>, Fetch> {
        let geometry = self.volume.geometry;
        let range = Range { block, offset: 0, len: geometry.frames_at(), limit: geometry.frames_at() };
        let header = self.view.want(self.scratch.as_mut(), range)?;
        let (erased, open) = header.split_at_checked(geometry.open_at() as usize).unwrap_or_default();
        Ok(match take_erased::<C>(&self.volume, erased) {
            Erased::OtherGeometry => Err(Refusal::OtherGeometry),
            Erased::OtherStore => Err(Refusal::OtherStore),
            Erased::OtherVersion => Err(Refusal::OtherVersion),
            Erased::Absent | Erased::Ours(_) => Ok(Open::take::<C>(&self.volume, block, open)),
        })
    }
}
