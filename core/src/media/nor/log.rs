//! The engine over a NOR ring: records in, requests out.
//!
//! ```text
//!  scratch  | header parts | burnt | RESUME's own | record |
//!           0              32-burn 32             56
//!
//!  append ─► Frame ─► (Verify) ─► durable
//!     │ first after a mount, or a block that is full: Busy, and
//!     ├──► Count ─► Erase ─► Open ─┐
//!     └──► Carry ─► Resume ─► (Verify) ─► ready
//! ```
//!
//! The rule of use: call [`Log::append`]; carry out what [`Log::poll`] hands out and [`Log::complete`] it, until it is idle; if
//! `append` said [`Refused::Busy`], call it again. A record is durable when [`Log::durable`] has reached its LSN.
//!
//! Invariants: one request at a time; nothing is written before the first append; after a fault of the medium nothing is handed
//! out any more.

use super::header::{Erased, Open, put, put_erased, take_erased};
use super::reader::{Reader, Tail};
use super::{FRAME_HEADER, Fault, Fetch, Last, Place, Policy, RECORD_AT, RESUME_BODY, Request, Volume};
use crate::action::{Action, Buffer, Span};
use crate::codec::check::Checksum;
use crate::codec::frame::{HEADER, Kind, Parsed, Slot};
use crate::types::{EffectId, Extent, Lsn};

/// What the log wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Carry this out, then call [`Log::complete`] with its number.
    Do(EffectId, Request),
    /// Nothing to do until an append.
    Idle,
}

/// Why an append is refused. The record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Something has to be done first: poll until idle, then append again.
    Busy,
    /// The ring is full and nothing may be given up.
    Full,
    /// The record is too large.
    TooLarge {
        /// The most that is taken, bytes.
        most: u32,
    },
    /// The medium failed: nothing is written until the next mount.
    Halted,
}

/// What a mount hands over.
pub(super) struct Start<B> {
    pub(super) volume: Volume,
    pub(super) policy: Policy,
    pub(super) scratch: B,
    pub(super) tail: Option<Tail>,
    /// The block after the newest has an open part and nothing behind it.
    pub(super) unopened: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// Read how often the block was erased.
    Count {
        sequence: u32,
        open: bool,
    },
    /// Erase it.
    Erase {
        sequence: u32,
        open: bool,
    },
    /// Give it its number.
    Open {
        sequence: u32,
    },
    /// Read the frame that holds the last record.
    Carry,
    /// Program a RESUME.
    Resume,
    /// Program a record's frame.
    Frame,
    /// Read back what was programmed.
    Verify {
        resume: bool,
    },
    Halted,
}

/// A log that is open.
#[derive(Debug)]
pub struct Log<C, B> {
    volume: Volume,
    policy: Policy,
    scratch: B,
    /// Sequence number of the newest block; one before the first if there is none.
    head: u32,
    /// Oldest block of the log, as the newest block says.
    floor: u32,
    /// Where the next frame goes, or burning begins.
    free: u32,
    next: Lsn,
    /// The newest record that is durable, or that was found.
    last: Last,
    /// The record that the scratch holds, or the last one.
    carried: Last,
    /// What is being programmed.
    span: Span,
    stage: Stage,
    id: EffectId,
    /// A RESUME stands behind what the mount found, or nothing was found.
    resumed: bool,
    /// This boot erased the newest block.
    proved: bool,
    /// Nothing may be written into the newest block.
    closed: bool,
    /// The newest block holds a whole frame.
    holds_frame: bool,
    /// The block after the newest must be erased before anything else: a torn first frame may show up in it later.
    unopened: bool,
    /// This boot erased the block after the newest.
    spare: bool,
    /// The carried record stands in the scratch.
    loaded: bool,
    check: core::marker::PhantomData<C>,
}

impl<C: Checksum, B: AsRef<[u8]> + AsMut<[u8]>> Log<C, B> {
    pub(super) fn start(start: Start<B>) -> Self {
        let first = start.volume.geometry.first();
        let tail = start.tail;
        let last = tail.and_then(|tail| tail.last).unwrap_or_default();
        let free = tail.and_then(|tail| tail.free);
        Self {
            volume: start.volume,
            policy: start.policy,
            scratch: start.scratch,
            head: tail.map_or(first - 1, |tail| tail.open.sequence),
            floor: tail.map_or(first, |tail| tail.open.floor),
            free: free.unwrap_or(start.volume.geometry.block_bytes),
            next: tail.map_or(Lsn::FIRST, |tail| tail.next),
            last,
            carried: last,
            span: Span { buffer: Buffer::Window, start: 0, len: 0 },
            stage: Stage::Idle,
            id: EffectId(0),
            resumed: tail.is_none(),
            proved: false,
            closed: tail.is_some() && free.is_none(),
            holds_frame: tail.is_some_and(|tail| tail.holds_frame),
            unopened: tail.is_some() && start.unopened,
            spare: false,
            loaded: false,
            check: core::marker::PhantomData,
        }
    }

    /// Takes a record and says its LSN.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn append(&mut self, record: &[u8]) -> Result<Lsn, Refused> {
        match self.stage {
            Stage::Idle => {}
            Stage::Halted => return Err(Refused::Halted),
            _ => return Err(Refused::Busy),
        }
        let most = self.max_record();
        let len = u32::try_from(record.len()).ok().filter(|len| *len <= most);
        let Some(len) = len else { return Err(Refused::TooLarge { most }) };
        if self.unopened {
            self.stage = Stage::Count { sequence: self.head.saturating_add(1), open: false };
            return Err(Refused::Busy);
        }
        if !self.resumed {
            self.stage = self.resume_stage().ok_or(Refused::Full)?;
            return Err(Refused::Busy);
        }
        let geometry = self.volume.geometry;
        let bytes = geometry.frame_bytes(len);
        if self.head < geometry.first() || self.free.saturating_add(bytes) > geometry.block_bytes {
            self.stage = self.open_stage(self.head.saturating_add(1)).ok_or(Refused::Full)?;
            return Err(Refused::Busy);
        }
        let at = Place { sequence: self.head, offset: self.free };
        let start = RECORD_AT - FRAME_HEADER;
        let framing = self.volume.framing::<C>(self.head);
        let slot = Slot { offset: u64::from(at.offset), lsn: self.next };
        let frame = self.scratch.as_mut().get_mut(start as usize..(start + bytes) as usize);
        let frame = frame.ok_or(Refused::TooLarge { most })?;
        for (slot, byte) in frame.iter_mut().skip(HEADER).zip(record) {
            *slot = *byte;
        }
        framing.seal::<C>(Kind::Record, slot, record.len(), frame).ok_or(Refused::TooLarge { most })?;
        self.carried = Last { lsn: self.next, at, from: at, len, resume: false };
        self.span = Span { buffer: Buffer::Window, start, len: bytes };
        self.stage = Stage::Frame;
        Ok(self.next)
    }

    /// Erases the next block ahead if fewer than `within` bytes are left in this one, so that no append has to.
    pub fn maintain(&mut self, within: u32) {
        let left = self.volume.geometry.block_bytes.saturating_sub(self.free);
        let next = self.head.saturating_add(1);
        let due = self.resumed && self.holds_frame && !self.spare && left < within;
        if self.stage == Stage::Idle && due && self.may_open(next) {
            self.stage = Stage::Count { sequence: next, open: false };
        }
    }

    /// What to do next.
    pub fn poll(&mut self) -> Output {
        let geometry = self.volume.geometry;
        let write = |sequence, offset: u32, bytes| {
            Request::Do(Action::Write { extent: Extent::wal(sequence), offset: u64::from(offset), bytes })
        };
        let window = |start, len| Span { buffer: Buffer::Window, start, len };
        let request = match self.stage {
            Stage::Idle | Stage::Halted => return Output::Idle,
            Stage::Count { sequence, .. } => Request::Read(Fetch {
                block: geometry.block_of(sequence),
                offset: 0,
                bytes: window(0, geometry.open_at()),
            }),
            Stage::Erase { sequence, .. } => Request::Do(Action::Prepare { extent: Extent::wal(sequence) }),
            Stage::Open { sequence } => {
                self.lay_open_part(sequence);
                write(sequence, geometry.open_at(), window(0, geometry.frames_at() - geometry.open_at()))
            }
            Stage::Carry => {
                let Last { at, len, .. } = self.carried;
                let start = RECORD_AT - FRAME_HEADER - self.carried.lead();
                let bytes = geometry.frame_bytes(len.saturating_add(self.carried.lead()));
                Request::Read(Fetch {
                    block: geometry.block_of(at.sequence),
                    offset: at.offset,
                    bytes: window(start, bytes),
                })
            }
            Stage::Resume => {
                self.lay_resume();
                write(self.head, self.free, self.span)
            }
            Stage::Frame => write(self.head, self.free, self.span),
            Stage::Verify { .. } => {
                Request::Verify { extent: Extent::wal(self.head), offset: self.free, bytes: self.span }
            }
        };
        Output::Do(self.id, request)
    }

    /// Says how the request of this number went.
    pub fn complete(&mut self, id: EffectId, result: Result<(), Fault>) {
        if id != self.id || matches!(self.stage, Stage::Idle | Stage::Halted) {
            return;
        }
        self.id = EffectId(id.0.wrapping_add(1));
        if let (Stage::Verify { .. }, Err(Fault::Differs)) = (self.stage, result) {
            self.answer_difference();
            return;
        }
        if result.is_err() {
            self.stage = Stage::Halted;
            return;
        }
        self.stage = match self.stage {
            Stage::Count { sequence, open } => self.counted(sequence, open),
            Stage::Erase { sequence, open: true } => Stage::Open { sequence },
            Stage::Erase { .. } => {
                self.spare = true;
                self.unopened = false;
                Stage::Idle
            }
            Stage::Open { sequence } => self.opened(sequence),
            Stage::Carry => self.loaded(),
            Stage::Frame if self.proved => self.written(),
            Stage::Resume if self.proved => self.written(),
            Stage::Frame => Stage::Verify { resume: false },
            Stage::Resume => Stage::Verify { resume: true },
            Stage::Verify { .. } => self.written(),
            Stage::Idle | Stage::Halted => self.stage,
        };
    }

    /// The bytes of a span.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.scratch.as_ref().get(start..start + span.len as usize).unwrap_or_default()
    }

    /// Where the bytes of a [`Fetch`] go.
    pub fn window_mut(&mut self, fetch: Fetch) -> &mut [u8] {
        let start = fetch.bytes.start as usize;
        self.scratch.as_mut().get_mut(start..start + fetch.bytes.len as usize).unwrap_or_default()
    }

    /// LSN of the newest record that is durable. The newest one that a mount found is durable only after the next append.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.last.lsn
    }

    /// The largest record that is taken, bytes.
    #[must_use]
    pub fn max_record(&self) -> u32 {
        self.volume.geometry.max_record(self.scratch.as_ref().len())
    }

    /// Whether the medium failed.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.stage == Stage::Halted
    }

    /// Reads all records, from the oldest on, with a scratch of its own. The log must not be written meanwhile.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.volume, self.floor, self.head)
    }

    /// Gives the scratch back.
    #[must_use]
    pub fn into_scratch(self) -> B {
        self.scratch
    }

    /// The floor that the block of this sequence number declares.
    fn floor_of(&self, sequence: u32) -> u32 {
        let spared = sequence.saturating_add(2).saturating_sub(self.volume.geometry.block_count);
        match self.policy {
            Policy::DropOldest if sequence != self.head => self.floor.max(spared),
            _ => self.floor,
        }
    }

    /// Whether a block can be opened such that the one after it is spare.
    fn may_open(&self, sequence: u32) -> bool {
        let spared = sequence.saturating_add(2).saturating_sub(self.volume.geometry.block_count);
        sequence != u32::MAX && self.floor_of(sequence) >= spared
    }

    fn open_stage(&self, sequence: u32) -> Option<Stage> {
        if !self.may_open(sequence) {
            return None;
        }
        let erased = self.spare && sequence == self.head.saturating_add(1);
        Some(if erased { Stage::Open { sequence } } else { Stage::Count { sequence, open: true } })
    }

    /// Where the RESUME goes: into the newest block, else into the same block anew if it holds no frame, else into the next.
    fn resume_stage(&self) -> Option<Stage> {
        let geometry = self.volume.geometry;
        let frame = geometry.frame_bytes(RESUME_BODY.saturating_add(self.carried.len));
        let end = self.free.saturating_add(geometry.burn()).saturating_add(frame);
        if !self.closed && end <= geometry.block_bytes {
            return Some(self.resume_here());
        }
        let sequence = if self.holds_frame { self.head.saturating_add(1) } else { self.head };
        self.open_stage(sequence)
    }

    fn resume_here(&self) -> Stage {
        if self.loaded || self.carried.lsn == Lsn(0) { Stage::Resume } else { Stage::Carry }
    }

    fn counted(&mut self, sequence: u32, open: bool) -> Stage {
        let part = self.volume.geometry.open_at() as usize;
        let volume = self.volume;
        let scratch = self.scratch.as_mut().get_mut(..part).unwrap_or_default();
        let erases = match take_erased::<C>(&volume, scratch) {
            Erased::Ours(erases) => erases.saturating_add(1),
            // Every lap erases each block about once.
            _ => sequence.checked_div(volume.geometry.block_count).unwrap_or_default(),
        };
        let fits = put_erased::<C>(&volume, erases, scratch);
        debug_assert!(fits.is_some());
        Stage::Erase { sequence, open }
    }

    fn lay_open_part(&mut self, sequence: u32) {
        let geometry = self.volume.geometry;
        let limit = self.max_record();
        let open = Open { sequence, fence: self.next, floor: self.floor_of(sequence), limit };
        let volume = self.volume;
        let part = (geometry.frames_at() - geometry.open_at()) as usize;
        let fits = open.put::<C>(&volume, self.scratch.as_mut().get_mut(..part).unwrap_or_default());
        debug_assert!(fits.is_some());
    }

    fn opened(&mut self, sequence: u32) -> Stage {
        self.floor = self.floor_of(sequence);
        self.head = sequence;
        self.free = self.volume.geometry.frames_at();
        self.proved = true;
        self.closed = false;
        self.holds_frame = false;
        self.spare = false;
        if self.resumed { Stage::Idle } else { self.resume_here() }
    }

    /// What is to be carried was read again: it must still be whole.
    fn loaded(&mut self) -> Stage {
        let Last { at, len, .. } = self.carried;
        let payload = len.saturating_add(self.carried.lead());
        let start = (RECORD_AT - FRAME_HEADER - self.carried.lead()) as usize;
        let bytes = self.volume.geometry.frame_bytes(payload) as usize;
        let window = self.scratch.as_ref().get(start..start + bytes).unwrap_or_default();
        let framing = self.volume.framing::<C>(at.sequence);
        match framing.decode::<C>(window, u64::from(at.offset), bytes as u64) {
            Parsed::Frame(_) => {
                self.loaded = true;
                Stage::Resume
            }
            _ => Stage::Halted,
        }
    }

    /// Puts burnt bytes and the RESUME around the record in the scratch.
    fn lay_resume(&mut self) {
        let geometry = self.volume.geometry;
        let Last { lsn, from, len, .. } = self.carried;
        let burn = if self.proved && self.free == geometry.frames_at() { 0 } else { geometry.burn() };
        let start = RECORD_AT - FRAME_HEADER - RESUME_BODY;
        let payload = RESUME_BODY + len;
        let bytes = geometry.frame_bytes(payload);
        let framing = self.volume.framing::<C>(self.head);
        let slot = Slot { offset: u64::from(self.free.saturating_add(burn)), lsn: lsn.next() };
        let scratch = self.scratch.as_mut();
        scratch.get_mut((start - burn) as usize..start as usize).unwrap_or_default().fill(0);
        let frame = scratch.get_mut(start as usize..(start + bytes) as usize).unwrap_or_default();
        let own = frame.get_mut(HEADER..).unwrap_or_default();
        let placed = put(own, 0, lsn.0.to_le_bytes())
            .and_then(|()| put(own, 8, from.sequence.to_le_bytes()))
            .and_then(|()| put(own, 12, from.offset.to_le_bytes()));
        debug_assert!(placed.is_some());
        let fits = framing.seal::<C>(Kind::Resume, slot, payload as usize, frame);
        debug_assert!(fits.is_some());
        self.span = Span { buffer: Buffer::Window, start: start - burn, len: burn + bytes };
    }

    /// A frame is whole and durable.
    fn written(&mut self) -> Stage {
        let resume = matches!(self.stage, Stage::Resume | Stage::Verify { resume: true });
        self.free = self.free.saturating_add(self.span.len);
        if resume {
            let frame = self.volume.geometry.frame_bytes(RESUME_BODY + self.carried.len);
            let at = Place { sequence: self.head, offset: self.free.saturating_sub(frame) };
            self.carried = Last { at, resume: true, ..self.carried };
        }
        self.last = self.carried;
        self.next = self.last.lsn.next();
        self.holds_frame = true;
        self.resumed = true;
        self.loaded = false;
        Stage::Idle
    }

    /// What was programmed reads back differently: a RESUME carries it, or what it carried, over the bad place.
    fn answer_difference(&mut self) {
        self.free = self.free.saturating_add(self.span.len);
        self.resumed = false;
        self.loaded = self.carried.lsn != Lsn(0);
        match self.resume_stage() {
            Some(stage) => self.stage = stage,
            None => {
                // The record that was not acknowledged is given up.
                self.carried = self.last;
                self.loaded = false;
                self.stage = Stage::Idle;
            }
        }
    }
}
