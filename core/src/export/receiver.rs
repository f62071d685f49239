//! The host's side: puts records together from chunks, in the order of LSNs, each exactly once.
//!
//! ```text
//!   chunk ─► take: verify, place ─► ring ─► poll: hello, items, end ─► events
//!                         '─ held: the ranges that arrived early       reply ─► 20 bytes for the device
//! ```
//!
//! 1. [`Receiver::request`] a session, or leave it and listen to whatever comes.
//! 2. Give each chunk to [`Receiver::take`], then [`Receiver::poll`] until [`Event::Idle`], then send what [`Receiver::reply`] says.
//! 3. When the link has been silent, [`Receiver::nudge`] and send the reply; when that does not help, request another session.
//!
//! A new session goes on behind the last whole record, or in the middle of one. After a restart of the host,
//! [`Receiver::resume`] begins with the first record that is not kept.

use core::marker::PhantomData;

use super::ring::Ring;
use super::{
    ACK, AGAIN, CHUNK_HEAD, END, HELLO, HELLO_BYTES, KEPT, MAX_MTU, OPEN_SEED, REPLY_BYTES, REQUEST,
    REQUEST_SEED, REWIND, VERSION, WINDOW, check, chunk_seed, session_seed,
};
use crate::codec::check::Checksum;
use crate::codec::extent::Take;
use crate::types::{Lsn, StoreId};

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It brought something; poll.
    New,
    /// It brought nothing that was not there, or no room is left for it.
    Known,
    /// It does not verify: damaged, or of another device or session.
    Noise,
}

/// What a session tells of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The store.
    pub store: StoreId,
    /// The first record that it still has.
    pub first: Lsn,
    /// The last record of this session.
    pub last: Lsn,
}

/// What was received.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'r> {
    /// A session begins.
    Hello(Greeting),
    /// The device does not have the records from `from` to before `until` any more.
    Gap {
        /// The first one that is missing.
        from: Lsn,
        /// The first one that is there again.
        until: Lsn,
    },
    /// A whole record.
    Record {
        /// Its LSN.
        lsn: Lsn,
        /// Its bytes.
        bytes: &'r [u8],
    },
    /// The session is over: its count and checksum are right, and there is no record from `next` on.
    Complete {
        /// The LSN behind the last record.
        next: Lsn,
    },
    /// The session can't go on.
    Failed(Failure),
    /// Nothing more before the next chunk.
    Idle,
}

/// Why a session can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It is another store than the one that was expected.
    OtherStore(StoreId),
    /// The device has fewer records than were received from it: its last LSN.
    Behind(Lsn),
    /// A newer version of the protocol.
    Newer(u8),
    /// A record is larger than the lent memory: its bytes.
    TooLarge(u32),
    /// The stream is not one, or its count or checksum are wrong: nothing of this session may be kept.
    Broken,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OtherStore(_) => f.write_str("this is another device's log than before"),
            Self::Behind(last) => {
                write!(f, "the device's log ends at LSN {last}, before what was received from it")
            }
            Self::Newer(version) => write!(f, "the device speaks version {version} of the protocol"),
            Self::TooLarge(bytes) => write!(f, "a record of {bytes} bytes is too large"),
            Self::Broken => f.write_str("the count or the checksum at the end of the stream is wrong"),
        }
    }
}

impl core::error::Error for Failure {}

/// Memory for a receiver.
#[derive(Debug)]
pub struct Memory<'b> {
    /// Holds what arrives early: [`RING_BYTES`] or more.
    pub ring: &'b mut [u8],
    /// Holds one record: the largest.
    pub record: &'b mut [u8],
}

/// Bytes that hold whatever an exporter sends ahead.
pub const RING_BYTES: usize = WINDOW as usize + MAX_MTU;
/// A hole is asked for when this many chunks arrived behind it: a late chunk is not a lost one.
const PATIENCE: u8 = 3;
/// Bytes after which an acknowledgement is due.
const ACK_EVERY: u32 = WINDOW / 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Listening,
    Hello,
    /// In the length of an item: the bits so far, and how many.
    Length(u32, u32),
    /// In an item of this many bytes.
    Body(u32),
    End,
    Over,
}

/// Puts records together.
#[derive(Debug)]
pub struct Receiver<'b, C> {
    ring: Ring<'b>,
    record: &'b mut [u8],
    store: Option<StoreId>,
    /// The session that was asked for; without, any is taken.
    wanted: Option<u16>,
    session: u16,
    seed: u16,
    count: u8,
    state: State,
    /// The first LSN that was not handed out, and the LSN that is being read.
    next: Lsn,
    lsn: Lsn,
    /// What of the record `lsn` is there: bytes of its item, bytes of itself.
    offset: u32,
    filled: u32,
    /// The state in the middle of an item, for the session after this one.
    resumed: State,
    items: u32,
    crc: u32,
    last: Lsn,
    gap: Option<Lsn>,
    reply: Option<u8>,
    early: u8,
    acked: u32,
    check: PhantomData<C>,
}

/// What a step of [`Receiver::poll`] found; the same as [`Event`], without bytes.
enum Step {
    Hello(Greeting),
    Gap(Lsn, Lsn),
    Record(Lsn, u32),
    Complete(Lsn),
    Failed(Failure),
    Idle,
    Again,
}

impl<'b, C: Checksum> Receiver<'b, C> {
    /// Receives from `next` on, of the store that is expected, if one is.
    #[must_use]
    pub fn resume(next: Lsn, store: Option<StoreId>, memory: Memory<'b>) -> Self {
        Self {
            ring: Ring::new(memory.ring),
            record: memory.record,
            store,
            wanted: None,
            session: 0,
            seed: 0,
            count: 0,
            state: State::Listening,
            next,
            lsn: next,
            offset: 0,
            filled: 0,
            resumed: State::Length(0, 0),
            items: 0,
            crc: 0,
            last: Lsn(0),
            gap: None,
            reply: None,
            early: 0,
            acked: 0,
            check: PhantomData,
        }
    }

    /// Asks for a session from the place that was reached, and takes no other. Give each a number that was not used lately.
    pub fn request(&mut self, session: u16) {
        self.reset(session);
        self.state = State::Hello;
        self.wanted = Some(session);
        self.count = self.count.wrapping_add(1);
        self.reply = Some(REQUEST);
    }

    /// The first LSN that was not handed out.
    #[must_use]
    pub fn next(&self) -> Lsn {
        self.next
    }

    /// The link has been silent: asks again for what is missing.
    pub fn nudge(&mut self) {
        self.count = self.count.wrapping_add(1);
        self.reply = match self.state {
            State::Listening | State::Over => None,
            State::Hello if self.ring.is_empty() => Some(REQUEST),
            _ if self.hole() > 0 => Some(AGAIN),
            _ => Some(REWIND),
        };
    }

    /// Says that everything that was handed out is durable.
    #[must_use]
    pub fn kept(&mut self) -> [u8; REPLY_BYTES] {
        let (lsn, offset) = (self.next, 0);
        self.encode(KEPT, lsn, offset, 0)
    }

    /// The reply that is due.
    pub fn reply(&mut self) -> Option<[u8; REPLY_BYTES]> {
        let kind = self.reply.take()?;
        if kind == REQUEST {
            let offset = if self.lsn == self.next { self.offset } else { 0 };
            return Some(self.encode(REQUEST, self.next, offset, 0));
        }
        self.acked = self.ring.read();
        let missing = u16::try_from(self.hole()).unwrap_or(u16::MAX);
        let kind = if kind == AGAIN && missing == 0 { ACK } else { kind };
        Some(self.encode(kind, self.lsn, self.offset, missing))
    }

    /// Bytes that arrived and wait for the rest of the hello or of the end.
    fn waiting(&self) -> u32 {
        if matches!(self.state, State::Hello | State::End) { self.ring.ready() } else { 0 }
    }

    /// Bytes that are missing in front of what arrived early.
    fn hole(&self) -> u32 {
        self.ring.hole(self.waiting())
    }

    fn encode(&self, kind: u8, lsn: Lsn, offset: u32, missing: u16) -> [u8; REPLY_BYTES] {
        let waiting = if kind == REQUEST { 0 } else { self.waiting() };
        let [p0, p1, ..] = self.ring.read().wrapping_add(waiting).to_le_bytes();
        let position = if kind == REQUEST { self.session.to_le_bytes() } else { [p0, p1] };
        let offset = offset.wrapping_add(waiting).to_le_bytes();
        let mut reply = [0; REPLY_BYTES];
        let (sum, body) = reply.split_at_mut(2);
        let (lsn, missing) = (lsn.0.to_le_bytes(), missing.to_le_bytes());
        let parts = [kind, self.count].into_iter().chain(lsn).chain(offset).chain(position).chain(missing);
        body.iter_mut().zip(parts).for_each(|(slot, byte)| *slot = byte);
        let seed = if kind == REQUEST { REQUEST_SEED } else { OPEN_SEED ^ self.session };
        sum.copy_from_slice(&check(seed, body).to_le_bytes());
        reply
    }

    fn reset(&mut self, session: u16) {
        self.session = session;
        self.ring.clear();
        (self.acked, self.early, self.reply) = (0, 0, None);
        (self.items, self.crc) = (0, 0);
        if matches!(self.state, State::Length(..) | State::Body(_)) {
            self.resumed = self.state;
        }
    }

    /// Takes a chunk as it arrived.
    pub fn take(&mut self, chunk: &[u8]) -> Taken {
        let Some((head, bytes)) = chunk.split_first_chunk::<CHUNK_HEAD>() else { return Taken::Noise };
        let [c0, c1, p0, p1] = *head;
        let (sum, low) = (u16::from_le_bytes([c0, c1]), u16::from_le_bytes([p0, p1]));
        let Some(covered) = chunk.get(2..).filter(|_| !bytes.is_empty()) else { return Taken::Noise };
        if low == 0 && self.greets(bytes, covered, sum) {
            return self.place(0, bytes);
        }
        if self.state == State::Listening {
            return Taken::Noise;
        }
        let [r0, r1, ..] = self.ring.read().to_le_bytes();
        let ahead = low.wrapping_sub(u16::from_le_bytes([r0, r1])).cast_signed();
        let Some(position) = self.ring.read().checked_add_signed(i32::from(ahead)) else {
            return Taken::Noise;
        };
        if position >= HELLO_BYTES && matches!(self.state, State::Hello) {
            return Taken::Noise;
        }
        if check(chunk_seed(self.session, self.seed, position), covered) != sum {
            return Taken::Noise;
        }
        self.place(position, bytes)
    }

    /// Whether this is the first chunk of a session that is to be taken; begins it if it is another one than now.
    fn greets(&mut self, bytes: &[u8], covered: &[u8], sum: u16) -> bool {
        let Some(session) = bytes.first_chunk().map(|bytes| u16::from_le_bytes(*bytes)) else { return false };
        let welcome = self.wanted.is_none_or(|wanted| wanted == session);
        if !welcome || check(chunk_seed(session, 0, 0), covered) != sum {
            return false;
        }
        if self.state == State::Listening || session != self.session {
            self.reset(session);
            self.state = State::Hello;
        }
        true
    }

    fn place(&mut self, position: u32, bytes: &[u8]) -> Taken {
        if self.state == State::Over || !self.ring.place(position, bytes) {
            return Taken::Known;
        }
        if self.hole() > 0 {
            self.early = self.early.saturating_add(1);
            if self.early == PATIENCE {
                self.count = self.count.wrapping_add(1);
                self.reply = Some(AGAIN);
            }
        }
        Taken::New
    }

    /// The next thing that was received.
    pub fn poll(&mut self) -> Event<'_> {
        loop {
            return match self.step() {
                Step::Again => continue,
                Step::Hello(greeting) => Event::Hello(greeting),
                Step::Gap(from, until) => Event::Gap { from, until },
                Step::Record(lsn, bytes) => {
                    let bytes = self.record.get(..bytes as usize).unwrap_or_default();
                    Event::Record { lsn, bytes }
                }
                Step::Complete(next) => Event::Complete { next },
                Step::Failed(failure) => {
                    self.state = State::Over;
                    Event::Failed(failure)
                }
                Step::Idle => Event::Idle,
            };
        }
    }

    fn step(&mut self) -> Step {
        if let Some(from) = self.gap.take() {
            return Step::Gap(from, self.next);
        }
        match self.state {
            State::Listening | State::Over => Step::Idle,
            State::Hello => self.hello(),
            State::Length(bits, shift) => self.length(bits, shift),
            State::Body(len) => self.body(len),
            State::End => self.end(),
        }
    }

    fn advance(&mut self, bytes: u32) {
        self.ring.advance(bytes);
        // Behind a hole that was filled the next one is as old: one more early chunk asks for it.
        self.early = if self.ring.is_empty() { 0 } else { PATIENCE - 1 };
        if self.ring.read().wrapping_sub(self.acked) >= ACK_EVERY && self.reply.is_none() {
            self.reply = Some(ACK);
        }
    }

    fn hello(&mut self) -> Step {
        let Some(bytes) = self.ring.fixed::<HELLO>() else { return Step::Idle };
        let (body, sum) = bytes.split_at(HELLO - 4);
        let mut at = Take(body);
        let head = (at.array::<2>(), at.array::<2>(), at.array().map(StoreId), at.u64(), at.u64());
        let (Some(_), Some([version, _]), Some(store), Some(first), Some(last)) = head else {
            return Step::Idle;
        };
        if C::extend(0, body).to_le_bytes() != *sum {
            return Step::Failed(Failure::Broken);
        }
        if version > VERSION {
            return Step::Failed(Failure::Newer(version));
        }
        if self.store.is_some_and(|expected| expected != store) {
            return Step::Failed(Failure::OtherStore(store));
        }
        let (first, last) = (Lsn(first), Lsn(last));
        let until = last.next();
        if until < self.next {
            return Step::Failed(Failure::Behind(last));
        }
        self.store = Some(store);
        self.seed = session_seed(store, self.session);
        self.last = last;
        // A session that was asked for begins at what was asked for, if that is still there.
        let start = if self.wanted.is_some() { self.next.max(first) } else { first };
        if self.wanted.is_some() && start == self.next && self.lsn == self.next {
            self.state = self.resumed;
        } else {
            (self.lsn, self.offset, self.filled) = (start, 0, 0);
            self.state = State::Length(0, 0);
        }
        if start > self.next {
            self.gap = Some(self.next);
            self.next = start;
        }
        self.advance(HELLO_BYTES);
        self.reply = Some(ACK);
        Step::Hello(Greeting { store, first, last })
    }

    fn length(&mut self, bits: u32, shift: u32) -> Step {
        let Some(byte) = self.ring.window(1).first().copied() else { return Step::Idle };
        let bits = bits | u32::from(byte & 0x7f) << shift;
        if shift > 21 || (self.lsn > self.last && byte != 0) {
            return Step::Failed(Failure::Broken);
        }
        self.advance(1);
        self.offset = self.offset.wrapping_add(1);
        if byte & 0x80 != 0 {
            self.crc = C::extend(self.crc, &[byte]);
            self.state = State::Length(bits, shift + 7);
            return Step::Again;
        }
        let Some(len) = bits.checked_sub(1) else {
            self.state = State::End;
            return Step::Again;
        };
        self.crc = C::extend(self.crc, &[byte]);
        if len as usize > self.record.len() {
            return Step::Failed(Failure::TooLarge(len));
        }
        self.filled = 0;
        self.state = State::Body(len);
        Step::Again
    }

    fn body(&mut self, len: u32) -> Step {
        if self.filled < len {
            let bytes = self.ring.window((len - self.filled) as usize);
            let Ok(taken) = u32::try_from(bytes.len()) else { return Step::Idle };
            if taken == 0 {
                return Step::Idle;
            }
            let crc = C::extend(self.crc, bytes);
            let to = self.record.iter_mut().skip(self.filled as usize);
            to.zip(bytes).for_each(|(slot, byte)| *slot = *byte);
            self.crc = crc;
            self.filled += taken;
            self.offset = self.offset.wrapping_add(taken);
            self.advance(taken);
            return Step::Again;
        }
        let lsn = self.lsn;
        (self.lsn, self.offset, self.filled) = (lsn.next(), 0, 0);
        self.items = self.items.wrapping_add(1);
        self.state = State::Length(0, 0);
        if lsn < self.next {
            return Step::Again;
        }
        self.next = lsn.next();
        Step::Record(lsn, len)
    }

    fn end(&mut self) -> Step {
        let Some([n0, n1, n2, n3, c0, c1, c2, c3]) = self.ring.fixed::<END>() else { return Step::Idle };
        let right = u32::from_le_bytes([n0, n1, n2, n3]) == self.items
            && u32::from_le_bytes([c0, c1, c2, c3]) == self.crc
            && self.lsn == self.last.next();
        if !right {
            return Step::Failed(Failure::Broken);
        }
        self.advance(u32::try_from(END).unwrap_or(0));
        (self.offset, self.resumed) = (0, State::Length(0, 0));
        self.state = State::Over;
        self.reply = Some(ACK);
        Step::Complete(self.next)
    }
}
