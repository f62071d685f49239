//! Reads the records of the log in order, over torn places, and says where and how it ends.
//!
//! ```text
//!  | RECORD k | RECORD k+1 | blank or burnt .... | RESUME (carries k) | RECORD k+1' |
//!    final      pending ───── search ──────────►   voids it             final
//! ```
//!
//! A frame that is directly followed by another one was complete. Until that is known it is *pending*: a RESUME may follow that
//! voids it or carries it. So the rest of the block is searched first, and then the beginning of the next block.
//!
//! Invariants: records come out with dense LSNs, each once; what comes out verified at its own place.

use super::header::{Open, Opened};
use super::view::{Range, View, is_erased};
use super::{FRAME_HEADER, Fetch, Last, Place, RESUME_BODY, Volume};
use crate::codec::check::{Checksum, Seed};
use crate::codec::extent::Take;
use crate::codec::frame::{Frame, Framing, HEADER, Kind, Parsed};
use crate::types::Lsn;

/// What the reader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'w> {
    /// Read this, then call [`Reader::filled`] and [`Reader::next`] again.
    Read(Fetch),
    /// A record.
    Record {
        /// Its LSN.
        lsn: Lsn,
        /// Its bytes.
        payload: &'w [u8],
        /// It is the last one, and a cut may have torn it: the next start may not find it, unless a record was
        /// acknowledged since.
        provisional: bool,
    },
    /// There is nothing more.
    End,
    /// Damage that no cut explains.
    Corrupt(Place),
    /// A frame of a newer version.
    Newer(Place),
}

/// How the log ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    /// The header of the newest block.
    pub(super) open: Open,
    /// The last record that was found.
    pub(super) last: Option<Last>,
    /// LSN of the next record.
    pub(super) next: Lsn,
    /// Whether anything stands behind the open part of the newest block.
    pub(super) begun: bool,
    /// Whether the newest block holds a whole frame.
    pub(super) holds_frame: bool,
    /// Where burning may begin; `None` if a claim may itself be torn.
    pub(super) free: Option<u32>,
}

/// Reads the log from the start of one block to the end of another.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    volume: Volume,
    view: View,
    open: Open,
    framing: Framing,
    at: Place,
    head: u32,
    state: State,
    /// The newest record that came out, or that came before the first block.
    emitted: Option<Lsn>,
    last: Option<Last>,
    /// The last record has not come out yet.
    pending: bool,
    /// The first bytes since the last frame that are no frame.
    bad: Option<Place>,
    traces: Traces,
    holds_frame: bool,
    /// A frame of any block was read.
    seen: bool,
    /// A record has come out.
    any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The header of the block comes next.
    Header,
    /// A frame comes next.
    Frames,
    /// A RESUME is looked for, now at this offset.
    Search(u32),
    /// The pending record comes out next; then a frame comes, or nothing.
    Emit {
        ended: bool,
    },
    Ended,
}

/// What stands behind the last frame of a block.
#[derive(Clone, Copy, Debug, Default)]
struct Traces {
    /// Behind the last byte that is not erased.
    dirty_end: u32,
    /// The furthest end that anything like a header claims.
    claim_end: u32,
    /// Behind the header that claims it.
    claimed_by: u32,
}

/// Where a step of the reader leads.
enum Step {
    /// Go on.
    On,
    /// The record of this length comes out; it stands at this offset of the block that was read last.
    Out {
        lsn: Lsn,
        offset: u32,
        len: u32,
    },
    Corrupt(Place),
    Newer(Place),
}

impl Reader {
    /// Reads from the start of block `from` to the end of block `head`, both by sequence number.
    pub(super) fn new(volume: Volume, from: u32, head: u32) -> Self {
        Self {
            volume,
            view: View::default(),
            open: Open { sequence: 0, fence: Lsn(0), floor: 0, limit: 0 },
            framing: Framing { write_unit: volume.geometry.word as usize, seed: Seed::HEADER },
            at: Place { sequence: from, offset: 0 },
            head,
            state: if head < volume.geometry.first() { State::Ended } else { State::Header },
            emitted: None,
            last: None,
            pending: false,
            bad: None,
            traces: Traces::default(),
            holds_frame: false,
            seen: false,
            any: false,
        }
    }

    /// What was asked for has been read.
    pub fn filled(&mut self) {
        self.view.filled();
    }

    /// Finds the next record. `scratch` is the same each time, and as large as the log's.
    pub fn next<'w, C: Checksum>(&mut self, scratch: &'w mut [u8]) -> Found<'w> {
        loop {
            let step = match self.state {
                State::Header => self.header::<C>(scratch),
                State::Frames => self.frames::<C>(scratch),
                State::Search(unit) => self.search::<C>(scratch, unit),
                State::Emit { ended } => self.emit::<C>(scratch, ended),
                // What the first block carries comes out only if there is no other record.
                State::Ended if self.pending || (self.last.is_some() && !self.any) => {
                    self.state = State::Emit { ended: true };
                    Ok(Step::On)
                }
                State::Ended => return Found::End,
            };
            match step {
                Err(fetch) => return Found::Read(fetch),
                Ok(Step::On) => {}
                Ok(Step::Corrupt(place)) => return Found::Corrupt(place),
                Ok(Step::Newer(place)) => return Found::Newer(place),
                Ok(Step::Out { lsn, offset, len }) => {
                    let start = self.view.position(offset);
                    let payload = scratch.get(start..start + len as usize).unwrap_or_default();
                    return Found::Record { lsn, payload, provisional: self.state == State::Ended };
                }
            }
        }
    }

    /// How the log ends, once [`Found::End`] was met.
    pub(super) fn tail(&self) -> Tail {
        let frames_at = self.volume.geometry.frames_at();
        let Traces { dirty_end, claim_end, claimed_by } = self.traces;
        let last_word = dirty_end.saturating_sub(self.volume.geometry.word);
        let free = if claim_end <= dirty_end {
            Some(dirty_end)
        } else {
            // Only what stands before the last word that is not erased is surely not torn.
            (claimed_by <= last_word).then_some(claim_end)
        };
        Tail {
            open: self.open,
            last: self.last,
            next: self.expected(),
            begun: self.at.offset > frames_at || dirty_end > frames_at,
            holds_frame: self.holds_frame,
            free,
        }
    }

    fn expected(&self) -> Lsn {
        let emitted = self.emitted.unwrap_or_default();
        if self.pending { emitted.next().next() } else { emitted.next() }
    }

    fn range(&self, offset: u32, len: u32) -> Range {
        let geometry = self.volume.geometry;
        Range { block: geometry.block_of(self.at.sequence), offset, len, limit: geometry.block_bytes }
    }

    fn header<C: Checksum>(&mut self, scratch: &mut [u8]) -> Result<Step, Fetch> {
        let geometry = self.volume.geometry;
        let range = self.range(0, geometry.frames_at());
        let header = self.view.want(scratch, range)?;
        let part = header.get(geometry.open_at() as usize..).unwrap_or_default();
        self.open = match Open::take::<C>(&self.volume, range.block, part) {
            Opened::Open(open) if open.sequence == self.at.sequence => open,
            _ => return Ok(Step::Corrupt(self.at)),
        };
        self.framing = self.volume.framing::<C>(self.at.sequence);
        self.emitted.get_or_insert(Lsn(self.open.fence.0.saturating_sub(1)));
        self.at.offset = geometry.frames_at();
        self.holds_frame = false;
        self.state = State::Frames;
        Ok(Step::On)
    }

    fn frames<C: Checksum>(&mut self, scratch: &mut [u8]) -> Result<Step, Fetch> {
        let limit = self.volume.geometry.block_bytes.saturating_sub(self.at.offset);
        let most = scratch.len() & !31;
        let mut need = FRAME_HEADER.min(limit);
        while need as usize <= most {
            let lead = self.kept().filter(|lead| lead.saturating_add(need) as usize <= most).unwrap_or(0);
            let window = self.view.want(scratch, self.range(self.at.offset - lead, lead + need))?;
            let window = window.get(lead as usize..).unwrap_or_default();
            match self.framing.decode::<C>(window, u64::from(self.at.offset), u64::from(limit)) {
                Parsed::Need(bytes) => need = u32::try_from(bytes).unwrap_or(u32::MAX),
                Parsed::Blank | Parsed::Bad => break,
                Parsed::Newer(_) => return Ok(Step::Newer(self.at)),
                Parsed::Frame(frame) => {
                    return Ok(match frame.kind {
                        Kind::Record => self.record(frame),
                        Kind::Resume => self.resume(frame),
                        _ => Step::Newer(self.at),
                    });
                }
            }
        }
        Ok(self.begin_search())
    }

    /// Bytes from the pending frame to `at`, if it still stands in the scratch: then it need not be read again.
    fn kept(&self) -> Option<u32> {
        let last = self.last.filter(|last| self.pending && last.at.sequence == self.at.sequence)?;
        let block = self.volume.geometry.block_of(last.at.sequence);
        self.view.holds(block, last.at.offset).then(|| self.at.offset.saturating_sub(last.at.offset))
    }

    fn begin_search(&mut self) -> Step {
        self.traces = Traces { dirty_end: self.at.offset, ..Traces::default() };
        self.state = State::Search(self.at.offset);
        Step::On
    }

    /// Makes the frame the pending one; the one before it can't be void any more and comes out.
    fn record(&mut self, frame: Frame<'_>) -> Step {
        if let Some(bad) = self.bad {
            return Step::Corrupt(bad);
        }
        let lsn = self.expected();
        if frame.seq != lsn.low_byte() {
            return Step::Corrupt(self.at);
        }
        let step = match self.last.filter(|_| self.pending) {
            None => Step::On,
            Some(last)
                if self.view.holds(self.volume.geometry.block_of(last.at.sequence), last.at.offset) =>
            {
                self.out(&last)
            }
            Some(_) => {
                self.state = State::Emit { ended: false };
                return Step::On;
            }
        };
        let len = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        self.last = Some(Last { lsn, at: self.at, from: self.at, len, resume: false });
        self.pending = true;
        self.step_over(&frame);
        step
    }

    /// Takes over what the RESUME carries, and voids what it voids.
    fn resume(&mut self, frame: Frame<'_>) -> Step {
        let mut body = Take(frame.payload);
        let (Some(lsn), Some(sequence), Some(offset)) = (body.u64(), body.u32(), body.u32()) else {
            return Step::Newer(self.at);
        };
        let (lsn, from) = (Lsn(lsn), Place { sequence, offset });
        if !self.seen && lsn < self.emitted.unwrap_or_default() {
            // The block was opened for a record that was torn after all: its fence is too high.
            self.emitted = Some(lsn);
        }
        let emitted = self.emitted.unwrap_or_default();
        if self.pending && lsn == self.expected() && self.last.is_some_and(|last| last.from < from) {
            // It carries the record behind the pending one, which was complete before.
            self.state = State::Emit { ended: false };
            return Step::On;
        }
        let carries_new = lsn == emitted.next() && lsn.0 > 0;
        let loses_pending = self.pending && self.last.is_some_and(|last| last.from < from);
        let bad = self.bad.filter(|bad| *bad < from);
        if frame.seq != lsn.next().low_byte() || !(carries_new || lsn == emitted) || loses_pending {
            return Step::Corrupt(bad.unwrap_or(self.at));
        }
        if let Some(bad) = bad {
            return Step::Corrupt(bad);
        }
        let len = u32::try_from(body.0.len()).unwrap_or(u32::MAX);
        self.last = (lsn.0 > 0).then_some(Last { lsn, at: self.at, from, len, resume: true });
        self.pending = carries_new;
        self.bad = None;
        self.step_over(&frame);
        Step::On
    }

    fn step_over(&mut self, frame: &Frame<'_>) {
        let bytes = u32::try_from(frame.bytes).unwrap_or(u32::MAX);
        self.at.offset = self.at.offset.saturating_add(bytes);
        self.holds_frame = true;
        self.seen = true;
        self.state = State::Frames;
    }

    fn out(&mut self, last: &Last) -> Step {
        self.pending = false;
        self.any = true;
        self.emitted = Some(last.lsn);
        let offset = last.at.offset.saturating_add(FRAME_HEADER + last.lead());
        Step::Out { lsn: last.lsn, offset, len: last.len }
    }

    /// Looks at the words behind the last frame, one after the other, for a RESUME.
    fn search<C: Checksum>(&mut self, scratch: &mut [u8], unit: u32) -> Result<Step, Fetch> {
        let geometry = self.volume.geometry;
        let limit = geometry.block_bytes.saturating_sub(unit);
        if limit == 0 {
            return Ok(self.end_of_block());
        }
        let mut need = geometry.word.max(FRAME_HEADER).min(limit);
        let window = self.view.want(scratch, self.range(unit, need))?;
        if !is_erased(window.get(..geometry.word as usize).unwrap_or_default()) {
            let place = Place { sequence: self.at.sequence, offset: unit };
            self.bad.get_or_insert(place);
            self.traces.dirty_end = unit + geometry.word;
        }
        self.state = State::Search(unit + geometry.word);
        let Some(claim_end) = self.claim(window, unit) else { return Ok(Step::On) };
        loop {
            if need as usize > scratch.len() & !31 {
                break;
            }
            let window = match self.view.want(scratch, self.range(unit, need)) {
                Ok(window) => window,
                Err(fetch) => {
                    self.state = State::Search(unit);
                    return Err(fetch);
                }
            };
            match self.framing.decode::<C>(window, u64::from(unit), u64::from(limit)) {
                Parsed::Need(bytes) => need = u32::try_from(bytes).unwrap_or(u32::MAX),
                Parsed::Frame(frame) if frame.kind == Kind::Resume => {
                    self.at.offset = unit;
                    self.state = State::Frames;
                    return Ok(Step::On);
                }
                // Only a RESUME may follow a gap.
                Parsed::Frame(_) => return Ok(Step::Corrupt(self.bad.unwrap_or(self.at))),
                _ => break,
            }
        }
        if claim_end > self.traces.claim_end {
            self.traces.claim_end = claim_end;
            self.traces.claimed_by = unit + FRAME_HEADER;
        }
        Ok(Step::On)
    }

    /// The end that a frame's header at `unit` claims, if it looks like one.
    fn claim(&self, window: &[u8], unit: u32) -> Option<u32> {
        let header = window.first_chunk::<HEADER>()?;
        let record = header[7] == Kind::Record as u8;
        if !record && header[7] != Kind::Resume as u8 {
            return None;
        }
        let len = u32::from(u16::from_le_bytes([header[4], header[5]]));
        if header[7] == Kind::Resume as u8 && len < RESUME_BODY {
            return None;
        }
        let end = unit.saturating_add(self.volume.geometry.frame_bytes(len));
        (end <= self.volume.geometry.block_bytes).then_some(end)
    }

    fn end_of_block(&mut self) -> Step {
        if self.at.sequence < self.head {
            self.at = Place { sequence: self.at.sequence.saturating_add(1), offset: 0 };
            self.state = State::Header;
        } else {
            self.state = State::Ended;
        }
        Step::On
    }

    /// Reads the pending record again and lets it out.
    fn emit<C: Checksum>(&mut self, scratch: &mut [u8], ended: bool) -> Result<Step, Fetch> {
        let Some(last) = self.last else { return Ok(Step::Corrupt(self.at)) };
        let geometry = self.volume.geometry;
        let bytes = geometry.frame_bytes(last.len.saturating_add(last.lead()));
        let block = geometry.block_of(last.at.sequence);
        let range = Range { block, offset: last.at.offset, len: bytes, limit: geometry.block_bytes };
        if bytes as usize > scratch.len() & !31 {
            return Ok(Step::Corrupt(last.at));
        }
        let window = self.view.want(scratch, range)?;
        let framing = self.volume.framing::<C>(last.at.sequence);
        let Parsed::Frame(_) = framing.decode::<C>(window, u64::from(last.at.offset), u64::from(bytes))
        else {
            return Ok(Step::Corrupt(last.at));
        };
        self.state = if ended { State::Ended } else { State::Frames };
        Ok(self.out(&last))
    }
}
