//! Reads the frames of the log in order, over torn places, and finds how it ends.
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

use super::port::{Driver, Port, Range};
use super::twin;
use crate::codec::check::Checksum;
use crate::codec::extent::Take;
use crate::codec::frame::{HEADER, Kind, Short};
use crate::media::nor::header::{Erased, OPEN_PART, Open, Opened, take_erased};
use crate::media::nor::{
    Content, ERASED, Error, FRAME_HEADER, MANIFEST_BODY, Manifest, Place, RESUME_BODY, Volume, WITNESS, holds,
};
use crate::types::Lsn;

/// A frame's content that has come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// LSN of its first record, or of the next one.
    pub(super) lsn: Lsn,
    pub(super) content: Content,
    /// Nothing follows it: a cut may have torn it.
    pub(super) provisional: bool,
}

/// Reads from the start of one block to the end of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// Where the next frame is looked for.
    pub(super) at: Place,
    /// The newest block of the log.
    head: u32,
    /// LSN of the first record that has not come out.
    next: Lsn,
    /// The last frame.
    pub(super) last: Content,
    /// What is settled, and what the last frame says.
    pub(super) settled: Manifest,
    pub(super) found: Manifest,
    /// The first bytes since the last frame that are no frame; sequence 0 if there are none.
    bad: Place,
    /// Behind the last byte that is not erased, or the furthest end that anything like a header claims. The block's end if a
    /// claim may itself be torn: what is written behind it would be found elsewhere at the next start.
    pub(super) free: u32,
    /// The last frame has not come out yet.
    pending: bool,
    /// Something has come out.
    any: bool,
    /// Of the block that was read last: whether anything stands behind its header, a whole frame, a witness.
    pub(super) begun: bool,
    pub(super) holds_frame: bool,
    pub(super) witnessed: bool,
}

/// A frame that verified.
struct Frame {
    seq: u8,
    bytes: u32,
    content: Content,
    /// What a RESUME carries begins with this LSN.
    lsn: Lsn,
    manifest: Manifest,
}

#[twin]
impl Reader {
    /// Reads from the start of block `from` to the end of block `head`, both by sequence number.
    pub(super) fn new(from: u32, head: u32) -> Self {
        Self {
            at: Place { sequence: from, offset: 0 },
            head,
            next: Lsn(0),
            last: Content::default(),
            settled: Manifest::default(),
            found: Manifest::default(),
            bad: Place::default(),
            free: 0,
            pending: false,
            any: false,
            begun: false,
            holds_frame: false,
            witnessed: false,
        }
    }

    /// LSN of the record after all that were found.
    pub(super) fn expected(&self) -> Lsn {
        if self.pending { self.next.plus(u64::from(self.last.count)) } else { self.next }
    }

    /// The next frame's content, once it can't be void any more.
    pub(super) async fn advance<C: Checksum>(
        &mut self,
        volume: Volume,
        port: &mut Port<'_, impl Driver>,
    ) -> Result<Option<Run>, Error> {
        loop {
            if self.at.offset == 0 {
                if self.at.sequence > self.head {
                    return Ok(self.come_out(true));
                }
                self.enter::<C>(volume, port).await?;
                continue;
            }
            let lead = self.lead();
            match frame::<C>(volume, port, self.at, lead).await? {
                None => self.search::<C>(volume, port).await?,
                Some(frame) => {
                    if let Some(run) = self.take(&frame)? {
                        return Ok(Some(run));
                    }
                }
            }
        }
    }

    /// Reads a block's header. A block of a snapshot is passed over.
    async fn enter<C: Checksum>(
        &mut self,
        volume: Volume,
        port: &mut Port<'_, impl Driver>,
    ) -> Result<(), Error> {
        let geometry = volume.geometry;
        let (_, opened) = header::<C>(volume, port, geometry.block_of(self.at.sequence)).await?;
        let Opened::Open(open) = opened else { return Err(Error::Corrupt(self.at)) };
        if open.sequence != self.at.sequence {
            return Err(Error::Corrupt(self.at));
        }
        if open.run != 0 {
            self.at.sequence = self.at.sequence.saturating_add(1);
            return Ok(());
        }
        if self.next == Lsn(0) {
            self.next = open.fence;
        }
        if open.floor > self.settled.floor {
            self.settled = Manifest { floor: open.floor, run: 0 };
            if open.floor > self.found.floor {
                self.found = self.settled;
            }
        }
        self.at.offset = geometry.frames_at();
        self.begun = false;
        self.holds_frame = false;
        self.witnessed = false;
        Ok(())
    }

    /// Bytes from the pending frame to `at`: while it still stands in the scratch it need not be read again.
    fn lead(&self) -> u32 {
        let near = self.pending && self.last.at.sequence == self.at.sequence;
        if near { self.at.offset.saturating_sub(self.last.at.offset) } else { 0 }
    }

    /// Makes the frame the pending one; the one before it comes out.
    fn take(&mut self, frame: &Frame) -> Result<Option<Run>, Error> {
        if frame.content.is(holds::RESUME) {
            return self.resume(frame);
        }
        if self.bad.sequence != 0 {
            return Err(Error::Corrupt(self.bad));
        }
        if frame.seq != self.expected().low_byte() {
            return Err(Error::Corrupt(self.at));
        }
        let run = self.come_out(false);
        self.pending = true;
        self.step_over(frame);
        Ok(run)
    }

    /// Takes over what the RESUME carries, and voids what it voids.
    fn resume(&mut self, frame: &Frame) -> Result<Option<Run>, Error> {
        let Frame { lsn, content, .. } = *frame;
        let from = content.from;
        if self.pending && self.last.from < from {
            // What it carries stood behind the pending content, which was complete where it stood first.
            if lsn == self.expected() {
                if self.last.at >= from {
                    self.last.at = self.last.from;
                    self.last.holds &= !holds::RESUME;
                }
                return Ok(self.come_out(false));
            }
            if self.last.at < from {
                return Err(Error::Corrupt(self.at));
            }
        }
        if self.bad.sequence != 0 && self.bad < from {
            return Err(Error::Corrupt(self.bad));
        }
        if !self.any {
            // The first block may have been opened for a frame that was torn after all: its fence is a hint.
            self.next = lsn;
        }
        let behind = lsn.plus(u64::from(content.count));
        if frame.seq != behind.low_byte() || (lsn != self.next && behind != self.next) {
            return Err(Error::Corrupt(self.at));
        }
        self.pending = lsn == self.next;
        self.bad = Place::default();
        self.found = self.settled;
        self.step_over(frame);
        Ok(None)
    }

    fn step_over(&mut self, frame: &Frame) {
        self.last = frame.content;
        if frame.content.is(holds::MANIFEST) && frame.manifest.floor >= self.settled.floor {
            self.found = frame.manifest;
        }
        self.at.offset = self.at.offset.saturating_add(frame.bytes);
        self.begun = true;
        self.holds_frame = true;
    }

    fn come_out(&mut self, provisional: bool) -> Option<Run> {
        if !provisional && self.found.floor >= self.settled.floor {
            self.settled = self.found;
        }
        if !self.pending {
            return None;
        }
        self.pending = false;
        self.any = true;
        let run = Run { lsn: self.next, content: self.last, provisional };
        self.next = self.next.plus(u64::from(self.last.count));
        Some(run)
    }

    /// Looks at the words behind the last frame, one after the other, for a RESUME. Goes to it, or to the next block.
    async fn search<C: Checksum>(
        &mut self,
        volume: Volume,
        port: &mut Port<'_, impl Driver>,
    ) -> Result<(), Error> {
        let geometry = volume.geometry;
        let word = geometry.word();
        self.free = self.at.offset;
        let (mut claimed, mut claimed_by) = (0, 0);
        let mut here = self.at;
        // What was torn stands first here, or behind burnt bytes: bytes inside it that look like a header claim nothing.
        let mut burnt = geometry.burn();
        while here.offset < geometry.block_bytes() {
            let (fill, header) = look(volume, port, here).await?;
            let expected = burnt >= geometry.burn();
            burnt = if fill == Some(0) { burnt.saturating_add(word) } else { 0 };
            if fill != Some(ERASED) {
                self.begun = true;
                self.witnessed |= fill == Some(WITNESS);
                self.free = here.offset.saturating_add(word);
                if self.bad.sequence == 0 {
                    self.bad = here;
                }
            }
            let claim = header.and_then(|header| claim(volume, here, &header));
            if let Some(end) = claim {
                match frame::<C>(volume, port, here, 0).await? {
                    Some(frame) if frame.content.is(holds::RESUME) => {
                        self.at = here;
                        return Ok(());
                    }
                    // Only a RESUME may follow a gap.
                    Some(_) => return Err(Error::Corrupt(self.bad)),
                    None if expected && end > claimed => {
                        (claimed, claimed_by) = (end, here.offset.saturating_add(FRAME_HEADER));
                    }
                    None => {}
                }
            }
            here.offset = here.offset.saturating_add(word);
        }
        if claimed > self.free {
            // Only what stands before the last word that is not erased is surely not torn: another claim closes the block.
            let sure = claimed_by <= self.free.saturating_sub(word);
            self.free = if sure { claimed } else { geometry.block_bytes() };
        }
        self.at = Place { sequence: self.at.sequence.saturating_add(1), offset: 0 };
        Ok(())
    }
}

/// What a block's header says: how often it was erased, and how it was opened.
#[twin]
pub(super) async fn header<C: Checksum>(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
    block: u32,
) -> Result<(Erased, Opened), Error> {
    let geometry = volume.geometry;
    let range = Range { block, offset: 0, len: geometry.frames_at(), limit: geometry.frames_at() };
    let start = port.want(geometry.word(), range).await?;
    let bytes = port.scratch().get(start..).unwrap_or_default();
    let (erased, open) = bytes.split_at_checked(geometry.open_at() as usize).unwrap_or_default();
    let open = open.get(..OPEN_PART as usize).unwrap_or_default();
    Ok((take_erased::<C>(volume, erased), Open::take::<C>(volume, block, open)))
}

/// The byte that fills the word at a place, if one does, and the frame header that may begin there.
#[twin]
async fn look(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
    place: Place,
) -> Result<(Option<u8>, Option<[u8; HEADER]>), Error> {
    let geometry = volume.geometry;
    let limit = geometry.block_bytes();
    let word = geometry.word();
    let len = word.max(FRAME_HEADER).min(limit.saturating_sub(place.offset));
    let range = Range { block: geometry.block_of(place.sequence), offset: place.offset, len, limit };
    let start = port.want(word, range).await?;
    let bytes = port.scratch().get(start..start + len as usize).unwrap_or_default();
    let first = bytes.first().copied().unwrap_or(ERASED);
    let filled = bytes.iter().take(word as usize).all(|byte| *byte == first);
    Ok((filled.then_some(first), bytes.first_chunk().copied()))
}

/// The end that a frame's header claims, if it looks like one of the log's and fits.
fn claim(volume: Volume, at: Place, header: &[u8; HEADER]) -> Option<u32> {
    let short = Short::parse(header);
    let least = match short.kind {
        kind if kind == Kind::Record as u8 || kind == Kind::Group as u8 => 0,
        kind if kind == Kind::Manifest as u8 => MANIFEST_BODY,
        kind if kind == Kind::Resume as u8 => RESUME_BODY,
        _ => return None,
    };
    let len = u32::from(short.len);
    let end = at.offset.saturating_add(volume.geometry.frame_bytes(len));
    (len >= least && end <= volume.geometry.block_bytes()).then_some(end)
}

/// Bytes of a frame at a place if it verifies under a seed, and its header.
#[twin]
pub(super) async fn verified<C: Checksum>(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
    place: Place,
    salt: u32,
    lead: u32,
) -> Result<Option<(Short, u32)>, Error> {
    let geometry = volume.geometry;
    let limit = geometry.block_bytes();
    let (_, Some(header)) = look_behind(volume, port, place, lead).await? else { return Ok(None) };
    let short = Short::parse(&header);
    let bytes = geometry.frame_bytes(u32::from(short.len));
    let end = place.offset.saturating_add(bytes);
    if matches!(short.kind, 0 | 0x80..) || end > limit {
        return Ok(None);
    }
    let block = geometry.block_of(place.sequence);
    let seed = volume.framing::<C>(place.sequence ^ salt).seed;
    let mut crc = seed.at(u64::from(place.offset));
    let most = port.capacity() & !geometry.word().saturating_sub(1);
    let lead = if lead.saturating_add(bytes) <= most { lead } else { 0 };
    let mut at = place.offset;
    while at < end {
        let piece = end.saturating_sub(at).min(most.saturating_sub(lead));
        let range = Range { block, offset: at.saturating_sub(lead), len: lead.saturating_add(piece), limit };
        let start = port.want(geometry.word(), range).await? + lead as usize;
        let skipped = if at == place.offset { 4 } else { 0 };
        let bytes = port.scratch().get(start + skipped..start + piece as usize);
        crc = C::extend(crc, bytes.unwrap_or_default());
        at = at.saturating_add(piece);
    }
    Ok((crc == short.crc).then_some((short, bytes)))
}

/// As [`look`], and keeps what stands in the scratch from `lead` bytes before.
#[twin]
async fn look_behind(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
    place: Place,
    lead: u32,
) -> Result<(Option<u8>, Option<[u8; HEADER]>), Error> {
    let geometry = volume.geometry;
    let limit = geometry.block_bytes();
    let len = geometry.word().max(FRAME_HEADER).min(limit.saturating_sub(place.offset));
    let most = port.capacity() & !geometry.word().saturating_sub(1);
    if lead > 0 && lead.saturating_add(len) <= most {
        let block = geometry.block_of(place.sequence);
        let offset = place.offset.saturating_sub(lead);
        port.want(geometry.word(), Range { block, offset, len: lead.saturating_add(len), limit }).await?;
    }
    look(volume, port, place).await
}

/// The frame of the log at a place, if one verifies there. From `lead` bytes before it the scratch is kept, if there is room.
#[twin]
async fn frame<C: Checksum>(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
    at: Place,
    lead: u32,
) -> Result<Option<Frame>, Error> {
    let Some((short, bytes)) = verified::<C>(volume, port, at, 0, lead).await? else { return Ok(None) };
    let len = u32::from(short.len);
    let geometry = volume.geometry;
    let range = Range {
        block: geometry.block_of(at.sequence),
        offset: at.offset,
        len: FRAME_HEADER.saturating_add(len),
        limit: geometry.block_bytes(),
    };
    let record = short.kind == Kind::Record as u8;
    // A single record needs no look inside.
    let start = if record { 0 } else { port.want(geometry.word(), range).await? };
    let payload = port.scratch().get(start + HEADER..start + HEADER + len as usize).unwrap_or_default();
    let parsed = content(&short, at, if record { &[] } else { payload });
    let Some((content, lsn, manifest)) = parsed else { return Err(Error::Newer(at)) };
    Ok(Some(Frame { seq: short.seq, bytes, content, lsn, manifest }))
}

/// What a frame holds; `None` if a newer version wrote it.
fn content(short: &Short, at: Place, payload: &[u8]) -> Option<(Content, Lsn, Manifest)> {
    let mut content = Content { at, from: at, len: short.len, count: 1, holds: holds::RECORD };
    let (mut lsn, mut manifest, mut rest) = (Lsn(0), Manifest::default(), Take(payload));
    match short.kind {
        kind if kind == Kind::Record as u8 => return Some((content, lsn, manifest)),
        kind if kind == Kind::Group as u8 => content.holds = holds::GROUP,
        kind if kind == Kind::Manifest as u8 => content.holds = holds::MANIFEST,
        kind if kind == Kind::Resume as u8 => {
            lsn = Lsn(rest.u64()?);
            let (sequence, packed) = (rest.u32()?, rest.u32()?);
            content.from = Place { sequence, offset: packed & 0x00ff_ffff };
            let [.., bits] = packed.to_le_bytes();
            if bits & !(holds::RECORD | holds::GROUP | holds::MANIFEST) != 0 {
                return None;
            }
            content.holds = bits | holds::RESUME;
        }
        _ => return None,
    }
    let manifest_at = match content.is(holds::MANIFEST) {
        true => rest.0.len().checked_sub(MANIFEST_BODY as usize)?,
        false => rest.0.len(),
    };
    let (records, behind) = rest.0.split_at_checked(manifest_at)?;
    if content.is(holds::MANIFEST) {
        let mut behind = Take(behind);
        manifest = Manifest { floor: behind.u32()?, run: behind.u32()? };
    }
    content.len = u16::try_from(records.len()).ok()?;
    content.count = match content.holds & (holds::RECORD | holds::GROUP) {
        holds::RECORD => 1,
        holds::GROUP => count(records)?,
        0 => 0,
        _ => return None,
    };
    Some((content, lsn, manifest))
}

/// How many records a group holds.
fn count(mut records: &[u8]) -> Option<u8> {
    let mut count = 0_u8;
    while !records.is_empty() {
        let (_, rest) = member(records)?;
        records = rest;
        count = count.checked_add(1)?;
    }
    Some(count)
}

/// The first record of a group, and the rest. A length of 255 says that two bytes of length follow.
pub(super) fn member(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let (short, rest) = records.split_first()?;
    if *short < LONG_MEMBER {
        return rest.split_at_checked(usize::from(*short));
    }
    let (len, rest) = rest.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))
}

/// In place of a member's length: two bytes of length follow.
pub(super) const LONG_MEMBER: u8 = 255;
