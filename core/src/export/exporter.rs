//! The device's side: cuts records into chunks.
//!
//! ```text
//!   idle ── REQUEST, or begin ──► hello ── ACK ──► items ──► end ──► idle
//!                                   '─────── AGAIN, REWIND: go back ─'
//! ```
//!
//! It holds no record: [`Exporter::next_chunk`] says which one it needs, and whoever can read the log feeds it. Two cursors
//! suffice: where the stream goes on, and the bytes that the host misses. All state may be lost at any time; the host then
//! requests a new session from the place that it has.

use core::marker::PhantomData;

use super::{
    ACK, AGAIN, CHUNK_HEAD, END, HELLO, HELLO_BYTES, KEPT, MAX_MTU, MIN_MTU, OPEN_SEED, REPLY_BYTES, REQUEST,
    REQUEST_SEED, REWIND, VERSION, WINDOW, check, chunk_seed, session_seed,
};
use crate::codec::check::Checksum;
use crate::codec::varint::Varint;
use crate::types::{Lsn, StoreId};

/// The records that a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The first one.
    pub first: Lsn,
    /// The last one that will not change any more; the one before `first` if there is none.
    pub last: Lsn,
}

/// What to do for the next chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read this record and [`Exporter::feed`] it, or say [`Exporter::gone`].
    Read(Lsn),
    /// Send this many bytes of the buffer.
    Chunk(usize),
    /// Nothing until a reply arrives.
    Idle,
}

/// Why a reply changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It does not verify, or is of another session.
    Noise,
    /// It speaks of what was never sent.
    NeverSent,
}

/// A place in the stream and in the log.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    position: u32,
    lsn: u64,
    offset: u32,
}

/// Cuts records into chunks.
#[derive(Clone, Debug)]
pub struct Exporter<C> {
    store: StoreId,
    offer: Offer,
    session: u16,
    seed: u16,
    active: bool,
    /// Waits for acknowledgements.
    paced: bool,
    /// Number of the last reply that moved a cursor.
    count: u8,
    /// The first record that was there, and where the session starts.
    first: Lsn,
    start: Cursor,
    /// The LSN behind the last one of the session, where the end stands; its successor is behind the end.
    until: u64,
    next: Cursor,
    again: Cursor,
    /// Bytes to send again.
    left: u16,
    /// How far the stream was ever sent.
    sent: Cursor,
    acked: u32,
    kept: Lsn,
    crc: u32,
    /// The chunk that is being built: where it begins, its bytes so far, the length of its buffer.
    from: u32,
    built: usize,
    mtu: usize,
    check: PhantomData<C>,
}

impl<C: Checksum> Exporter<C> {
    /// An exporter of a store's records, idle.
    #[must_use]
    pub fn new(store: StoreId, offer: Offer) -> Self {
        let start = Cursor { position: 0, lsn: 0, offset: 0 };
        Self {
            store,
            offer,
            session: 0,
            seed: 0,
            active: false,
            paced: false,
            count: 0,
            first: offer.first,
            start,
            until: 0,
            next: start,
            again: start,
            left: 0,
            sent: start,
            acked: 0,
            kept: Lsn(0),
            crc: 0,
            from: 0,
            built: CHUNK_HEAD,
            mtu: 0,
            check: PhantomData,
        }
    }

    /// What later sessions have to offer.
    pub fn offer(&mut self, offer: Offer) {
        self.offer = offer;
    }

    /// Begins a session that nobody asked for and that waits for nobody: for a link without a way back. Give each a number
    /// of its own.
    pub fn begin(&mut self, session: u16) {
        self.open(session, self.offer.first.0, 0);
        self.paced = false;
    }

    /// Every record below is durable on the host, as far as this session knows.
    #[must_use]
    pub fn kept(&self) -> Lsn {
        self.kept
    }

    fn open(&mut self, session: u16, wanted: u64, offset: u32) {
        self.until = self.offer.last.next().0;
        self.first = self.offer.first;
        let lsn = wanted.max(self.first.0).min(self.until);
        self.start = Cursor { position: 0, lsn, offset: if lsn == wanted { offset } else { 0 } };
        self.session = session;
        self.seed = session_seed(self.store, session);
        (self.next, self.sent) = (self.start, self.start);
        (self.left, self.acked, self.crc, self.built) = (0, 0, 0, CHUNK_HEAD);
        (self.active, self.paced) = (true, true);
    }

    /// Goes on with the next chunk, in `out`, whose length is the most that the link carries. Give the same buffer until it
    /// is [`Next::Chunk`].
    pub fn next_chunk(&mut self, out: &mut [u8]) -> Next {
        let mtu = out.len().min(MAX_MTU);
        if mtu != self.mtu {
            (self.mtu, self.built) = (mtu, CHUNK_HEAD);
        }
        loop {
            let at = self.cursor();
            let begun = self.built > CHUNK_HEAD;
            let ended = at.lsn > self.until;
            if begun {
                let follows = at.position.wrapping_sub(self.from) as usize == self.built - CHUNK_HEAD;
                if self.room() == 0 || !follows || ended || at.position == HELLO_BYTES {
                    return self.seal(out);
                }
            } else {
                if ended || !self.active || mtu < MIN_MTU || self.must_wait(at.position) {
                    return Next::Idle;
                }
                self.from = at.position;
            }
            if at.position < HELLO_BYTES {
                let hello = self.hello();
                self.put(&[], &hello, at.position, out);
            } else if at.lsn < self.until {
                return Next::Read(Lsn(at.lsn));
            } else {
                let end = self.end();
                self.put(&[0], &end, at.offset, out);
            }
        }
    }

    /// Gives a record that was asked for; another one is passed over.
    pub fn feed(&mut self, lsn: Lsn, record: &[u8], out: &mut [u8]) {
        let at = self.cursor();
        if at.lsn != lsn.0 || at.position < HELLO_BYTES || at.lsn >= self.until {
            return;
        }
        let length = Varint::new(record.len() as u64 + 1);
        self.put(length.as_ref(), record, at.offset, out);
    }

    /// A record that was asked for is not there any more: ends the session. The host will request another one, whose hello
    /// says what is still there.
    pub fn gone(&mut self, offer: Offer) {
        self.offer = offer;
        self.active = false;
    }

    /// Takes a reply.
    ///
    /// # Errors
    /// [`Refused`]; then nothing has changed.
    pub fn ack(&mut self, reply: &[u8]) -> Result<(), Refused> {
        let reply = reply.as_array::<REPLY_BYTES>().ok_or(Refused::Noise)?;
        let [c0, c1, kind, count, l0, l1, l2, l3, l4, l5, l6, l7, o0, o1, o2, o3, p0, p1, m0, m1] = *reply;
        let seed = if kind == REQUEST { REQUEST_SEED } else { OPEN_SEED ^ self.session };
        if check(seed, reply.get(2..).unwrap_or_default()) != u16::from_le_bytes([c0, c1]) {
            return Err(Refused::Noise);
        }
        let lsn = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        let offset = u32::from_le_bytes([o0, o1, o2, o3]);
        let low = u16::from_le_bytes([p0, p1]);
        if kind == REQUEST {
            if !self.active || low != self.session || count != self.count {
                self.open(low, lsn, offset);
                self.count = count;
            }
            return Ok(());
        }
        if !self.active || !self.paced {
            return Err(Refused::Noise);
        }
        let [a0, a1, ..] = self.acked.to_le_bytes();
        let ahead = low.wrapping_sub(u16::from_le_bytes([a0, a1]));
        let position = self.acked.wrapping_add(u32::from(ahead));
        let late = ahead >= 1 << 15;
        if lsn > self.sent.lsn || (!late && position > self.sent.position) {
            return Err(Refused::NeverSent);
        }
        if kind == KEPT {
            self.kept = self.kept.max(Lsn(lsn));
        }
        if late || kind == KEPT {
            return Ok(());
        }
        self.acked = position;
        let newer = count.wrapping_sub(self.count).cast_signed() > 0;
        if kind != ACK && newer {
            self.count = count;
            let place =
                if position < HELLO_BYTES { (self.start.lsn, self.start.offset) } else { (lsn, offset) };
            let cursor = Cursor { position, lsn: place.0, offset: place.1 };
            match kind {
                AGAIN => (self.again, self.left) = (cursor, u16::from_le_bytes([m0, m1])),
                REWIND => (self.next, self.left) = (cursor, 0),
                _ => {}
            }
        }
        Ok(())
    }

    fn cursor(&self) -> Cursor {
        if self.left > 0 { self.again } else { self.next }
    }

    /// Bytes that still go into the chunk.
    fn room(&self) -> usize {
        let room = self.mtu.saturating_sub(self.built);
        if self.left > 0 { room.min(usize::from(self.left)) } else { room }
    }

    /// Whether the stream may go on only after a reply.
    fn must_wait(&self, position: u32) -> bool {
        let unheard = position >= HELLO_BYTES && self.acked < HELLO_BYTES;
        self.paced && self.left == 0 && (unheard || position.wrapping_sub(self.acked) >= WINDOW)
    }

    /// Copies what of an item fits, from `offset` on, and moves the cursor.
    fn put(&mut self, prefix: &[u8], body: &[u8], offset: u32, out: &mut [u8]) {
        let mut at = self.cursor();
        let greeting = at.position < HELLO_BYTES;
        let from = offset as usize;
        let room = out.get_mut(self.built..self.built + self.room()).unwrap_or_default();
        let mut copied: u16 = 0;
        for (slot, byte) in room.iter_mut().zip(prefix.iter().chain(body).skip(from)) {
            *slot = *byte;
            if at.position >= self.sent.position && !greeting && at.lsn < self.until {
                self.crc = C::extend(self.crc, &[*byte]);
            }
            at.position = at.position.wrapping_add(1);
            copied += 1;
        }
        self.built += usize::from(copied);
        if !greeting {
            at.offset = at.offset.wrapping_add(u32::from(copied));
            if at.offset as usize >= prefix.len() + body.len() {
                (at.lsn, at.offset) = (at.lsn.wrapping_add(1), 0);
            }
        }
        if at.position > self.sent.position {
            self.sent = at;
        }
        if self.left > 0 {
            (self.again, self.left) = (at, self.left - copied);
        } else {
            self.next = at;
        }
    }

    fn seal(&mut self, out: &mut [u8]) -> Next {
        let bytes = self.built;
        self.built = CHUNK_HEAD;
        let seed = chunk_seed(self.session, self.seed, self.from);
        let Some(chunk) = out.get_mut(..bytes) else { return Next::Idle };
        let [p0, p1, ..] = self.from.to_le_bytes();
        if let [_, _, low, high, ..] = chunk {
            (*low, *high) = (p0, p1);
        }
        let sum = check(seed, chunk.get(2..).unwrap_or_default()).to_le_bytes();
        if let Some(slot) = chunk.first_chunk_mut() {
            *slot = sum;
        }
        Next::Chunk(bytes)
    }

    fn hello(&self) -> [u8; HELLO] {
        let mut hello = [0; HELLO];
        let session = self.session.to_le_bytes();
        let (first, last) = (self.first.0.to_le_bytes(), self.until.wrapping_sub(1).to_le_bytes());
        let parts = session.iter().chain(&[VERSION, 0]).chain(&self.store.0).chain(&first).chain(&last);
        hello.iter_mut().zip(parts).for_each(|(slot, byte)| *slot = *byte);
        let (body, sum) = hello.split_at_mut(HELLO - 4);
        sum.copy_from_slice(&C::extend(0, body).to_le_bytes());
        hello
    }

    fn end(&self) -> [u8; END] {
        let [n0, n1, n2, n3, ..] = self.until.wrapping_sub(self.start.lsn).to_le_bytes();
        let [c0, c1, c2, c3] = self.crc.to_le_bytes();
        [n0, n1, n2, n3, c0, c1, c2, c3]
    }
}
