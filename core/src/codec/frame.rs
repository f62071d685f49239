//! The frame: every byte that Strandline writes is inside one.
//!
//! ```text
//!  0        4        6     7      8
//!  | crc u32 | len u16 | seq | kind | payload (len) | zeros to the write unit |
//!  | crc u32 |  0  u16 | seq | kind | len u32 | payload (len) | zeros to ...   |   kind with LONG set
//!            '------------ covered by the checksum, padding included ---------'
//! ```
//!
//! Little-endian. The checksum starts from a [`Seed`] and the frame's offset, so a frame that is read at another place, from
//! another segment or another store does not verify. Kinds 0x00 and 0xff don't exist: erased media never look like a frame.

use super::check::{Checksum, Seed};
use crate::types::Lsn;

/// Bytes before the payload of a short frame.
pub const HEADER: usize = 8;
/// Bytes before the payload of a long frame.
pub const LONG_HEADER: usize = 12;
/// Largest payload of any frame that holds a record, bytes.
pub const MAX_PAYLOAD: u32 = 16 << 20;

const LEN: core::ops::Range<usize> = 4..6;
const LONG_LEN: core::ops::Range<usize> = 8..12;
/// Set in `kind` when a u32 length follows the header.
const LONG: u8 = 0x80;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One record: user bytes.
    Record = 0x01,
    /// Goes on behind a place where a write may have been cut, and carries the last record over it.
    Resume = 0x02,
    /// Several small records, each behind its length: all or nothing.
    Group = 0x03,
    /// Opens a batch.
    Mark = 0x10,
    /// Fills up to a batch border.
    Pad = 0x11,
    /// Opens an extent.
    Extent = 0x20,
    /// The whole manifest.
    Manifest = 0x30,
    /// Part of a snapshot's state.
    Chunk = 0x40,
    /// Where a snapshot's chunks are.
    Index = 0x41,
    /// Ends a snapshot.
    End = 0x42,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte & !LONG {
            0x01 => Self::Record,
            0x02 => Self::Resume,
            0x03 => Self::Group,
            0x10 => Self::Mark,
            0x11 => Self::Pad,
            0x20 => Self::Extent,
            0x30 => Self::Manifest,
            0x40 => Self::Chunk,
            0x41 => Self::Index,
            0x42 => Self::End,
            _ => return None,
        })
    }
}

/// A frame that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'w> {
    /// What it holds.
    pub kind: Kind,
    /// Low byte of the LSN of its record, or of the next record.
    pub seq: u8,
    /// Its content.
    pub payload: &'w [u8],
    /// Bytes from the start of the frame to the end of its payload.
    pub payload_end: u32,
    /// Bytes on the medium, padding included.
    pub bytes: usize,
}

/// The header of a short frame, before anything in it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) crc: u32,
    pub(crate) len: u16,
    pub(crate) seq: u8,
    pub(crate) kind: u8,
}

impl Short {
    pub(crate) const fn parse(header: &[u8; HEADER]) -> Self {
        let [a, b, c, d, low, high, seq, kind] = *header;
        Self { crc: u32::from_le_bytes([a, b, c, d]), len: u16::from_le_bytes([low, high]), seq, kind }
    }
}

/// What stands at a place where a frame was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'w> {
    /// A frame that verified.
    Frame(Frame<'w>),
    /// This many bytes are needed to say more.
    Need(usize),
    /// No frame: erased or never written.
    Blank,
    /// No frame: bytes that don't verify, or a claimed length that can't be.
    Bad,
    /// A frame that verified and whose kind is unknown: a newer writer made it.
    Newer(u8),
}

/// Frames of one extent: how they are padded and what their checksums start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Frames are padded to this many bytes, a power of two.
    pub write_unit: usize,
    /// Where checksums start.
    pub seed: Seed,
}

/// Where a frame goes, and of which record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Bytes from the start of the extent.
    pub offset: u64,
    /// LSN of the record, or of the next one for a frame that holds none.
    pub lsn: Lsn,
}

impl Framing {
    /// Bytes on the medium of a frame with `payload` bytes.
    #[must_use]
    #[inline]
    pub const fn frame_bytes(&self, payload: usize) -> usize {
        let header = if payload > u16::MAX as usize { LONG_HEADER } else { HEADER };
        (header + payload + self.write_unit - 1) & !(self.write_unit - 1)
    }

    /// Writes a frame at the start of `out` and returns its length, or `None` if `out` is too short.
    #[inline]
    pub fn encode<C: Checksum>(
        &self,
        kind: Kind,
        slot: Slot,
        payload: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let bytes = self.frame_bytes(payload.len());
        let frame = out.get_mut(..bytes)?;
        let header = if payload.len() > usize::from(u16::MAX) { LONG_HEADER } else { HEADER };
        frame.get_mut(header..header + payload.len())?.copy_from_slice(payload);
        self.seal::<C>(kind, slot, payload.len(), frame)?;
        Some(bytes)
    }

    /// Completes a frame whose payload already stands in `frame`, which is exactly as long as the frame.
    #[inline]
    pub(crate) fn seal<C: Checksum>(
        &self,
        kind: Kind,
        slot: Slot,
        payload: usize,
        frame: &mut [u8],
    ) -> Option<()> {
        let long = payload > usize::from(u16::MAX);
        let end = payload + if long { LONG_HEADER } else { HEADER };
        frame.get_mut(end..)?.fill(0);
        if long {
            *frame.get_mut(LONG_LEN)?.first_chunk_mut()? = u32::try_from(payload).ok()?.to_le_bytes();
        }
        let short_len = if long { 0 } else { u16::try_from(payload).ok()? };
        let kind = kind as u8 | if long { LONG } else { 0 };
        let [low, high] = short_len.to_le_bytes();
        *frame.get_mut(4..8)?.first_chunk_mut()? = [low, high, slot.lsn.low_byte(), kind];
        let crc = C::extend(self.seed.at(slot.offset), frame.get(4..)?);
        frame.first_chunk_mut::<4>().map(|at| *at = crc.to_le_bytes())
    }

    /// Reads the frame at the start of `window`, which stands at `offset` in its extent; at most `limit` bytes of the
    /// extent are left from there.
    #[inline]
    pub fn decode<'w, C: Checksum>(&self, window: &'w [u8], offset: u64, limit: u64) -> Parsed<'w> {
        if limit < HEADER as u64 {
            return Parsed::Blank;
        }
        let Some(header) = window.first_chunk::<HEADER>() else { return Parsed::Need(HEADER) };
        let kind = header[7];
        if kind == 0x00 || kind == 0xff {
            return if header.iter().all(|byte| *byte == kind) { Parsed::Blank } else { Parsed::Bad };
        }
        let (start, len) = if kind & LONG == 0 {
            (HEADER, usize::from(u16::from_le_bytes([header[LEN.start], header[LEN.start + 1]])))
        } else {
            if limit < LONG_HEADER as u64 {
                return Parsed::Bad;
            }
            let Some(long) = window.first_chunk::<LONG_HEADER>() else { return Parsed::Need(LONG_HEADER) };
            let len = u32::from_le_bytes([long[8], long[9], long[10], long[11]]);
            (LONG_HEADER, usize::try_from(len).unwrap_or(usize::MAX))
        };
        let holds_records = kind & !LONG == Kind::Record as u8 || kind & !LONG == Kind::Group as u8;
        if holds_records && len > MAX_PAYLOAD as usize {
            return Parsed::Bad;
        }
        let Some(end) = start.checked_add(len) else { return Parsed::Bad };
        let Some(bytes) = end.checked_next_multiple_of(self.write_unit) else { return Parsed::Bad };
        if bytes as u64 > limit {
            return Parsed::Bad;
        }
        let Some(frame) = window.get(..bytes) else { return Parsed::Need(bytes) };
        let (crc, covered) = frame.split_at(4);
        if crc != C::extend(self.seed.at(offset), covered).to_le_bytes() {
            return Parsed::Bad;
        }
        let (Some(kind), Some(payload)) = (Kind::from_byte(kind), frame.get(start..end)) else {
            return Parsed::Newer(kind);
        };
        let payload_end = u32::try_from(end).unwrap_or(u32::MAX);
        Parsed::Frame(Frame { kind, seq: header[6], payload, payload_end, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::check::TableCheck;

    const FRAMING: Framing = Framing { write_unit: 8, seed: Seed::HEADER };
    const KINDS: [Kind; 10] = [
        Kind::Record,
        Kind::Resume,
        Kind::Group,
        Kind::Mark,
        Kind::Pad,
        Kind::Extent,
        Kind::Manifest,
        Kind::Chunk,
        Kind::Index,
        Kind::End,
    ];

    fn at(offset: u64) -> Slot {
        Slot { offset, lsn: Lsn(0x1_2c) }
    }

    #[test]
    fn every_kind_reads_back_short_and_long() {
        for (kind, bytes) in KINDS.into_iter().flat_map(|kind| [(kind, 5), (kind, 70_000)]) {
            let (payload, mut out) = (vec![7; bytes], vec![0; bytes + 32]);
            let used = FRAMING.encode::<TableCheck>(kind, at(8), &payload, &mut out).unwrap();
            let Parsed::Frame(frame) = FRAMING.decode::<TableCheck>(&out[..used], 8, 1 << 20) else {
                panic!("{kind:?} of {bytes}")
            };
            assert_eq!((frame.kind, frame.payload, frame.bytes), (kind, &payload[..], used));
        }
    }

    #[test]
    fn a_short_frame_is_these_bytes() {
        let mut out = [0xaa; 24];
        assert_eq!(FRAMING.encode::<TableCheck>(Kind::Record, at(64), b"hello", &mut out), Some(16));
        let expected_tail = [5, 0, 0x2c, 0x01, b'h', b'e', b'l', b'l', b'o', 0, 0, 0];
        assert_eq!(out[4..16], expected_tail);
        assert_eq!(out[..4], TableCheck::extend(Seed::HEADER.at(64), &expected_tail).to_le_bytes());
        assert_eq!(out[16..], [0xaa; 8], "nothing behind the frame is touched");
    }

    #[test]
    fn a_frame_reads_back_only_at_its_place() {
        let payload = vec![0x5a; 70_000];
        for len in [0, 1, 7, 8, 9, 65_535, 65_536, 70_000] {
            let mut out = vec![0; 70_016];
            let bytes = FRAMING.encode::<TableCheck>(Kind::Record, at(8), &payload[..len], &mut out).unwrap();
            assert_eq!(bytes % 8, 0);
            let Parsed::Frame(frame) = FRAMING.decode::<TableCheck>(&out, 8, 1 << 20) else {
                panic!("{len}")
            };
            assert_eq!((frame.kind, frame.seq, frame.bytes), (Kind::Record, 0x2c, bytes));
            assert_eq!(frame.payload, &payload[..len]);
            assert_eq!(FRAMING.decode::<TableCheck>(&out, 16, 1 << 20), Parsed::Bad);
            let short = FRAMING.decode::<TableCheck>(&out[..bytes - 1], 8, 1 << 20);
            assert!(matches!(short, Parsed::Need(need) if need <= bytes), "{short:?}");
            let past = FRAMING.decode::<TableCheck>(&out, 8, bytes as u64 - 1);
            assert!(matches!(past, Parsed::Bad | Parsed::Blank), "claims past the limit");
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut out = [0; 24];
        let bytes = FRAMING.encode::<TableCheck>(Kind::Record, at(0), b"settled data", &mut out).unwrap();
        for bit in 0..bytes * 8 {
            let mut bad = out;
            bad[bit / 8] ^= 1 << (bit % 8);
            let parsed = FRAMING.decode::<TableCheck>(&bad, 0, 24);
            assert!(!matches!(parsed, Parsed::Frame(_) | Parsed::Newer(_)), "bit {bit}: {parsed:?}");
        }
    }

    #[test]
    fn erased_bytes_are_blank_and_a_newer_kind_is_not_damage() {
        assert_eq!(FRAMING.decode::<TableCheck>(&[0; 64], 0, 64), Parsed::Blank);
        assert_eq!(FRAMING.decode::<TableCheck>(&[0xff; 64], 0, 64), Parsed::Blank);
        assert_eq!(FRAMING.decode::<TableCheck>(&[0; 64], 0, 4), Parsed::Blank);
        let mut newer = [0, 0, 0, 0, 0, 0, 0, 0x7e];
        let crc = TableCheck::extend(Seed::HEADER.at(0), &newer[4..]);
        newer[..4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(FRAMING.decode::<TableCheck>(&newer, 0, 64), Parsed::Newer(0x7e));
    }

    #[test]
    fn an_absurd_length_is_bad_not_a_need() {
        let mut huge = [0; 16];
        huge[7] = Kind::Record as u8 | LONG;
        huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(FRAMING.decode::<TableCheck>(&huge, 0, 64 << 20), Parsed::Bad);
        for kind in KINDS {
            huge[7] = kind as u8 | LONG;
            let mut is_bad = |len: u32| {
                huge[8..12].copy_from_slice(&len.to_le_bytes());
                FRAMING.decode::<TableCheck>(&huge, 0, 64 << 20) == Parsed::Bad
            };
            assert!(!is_bad(MAX_PAYLOAD), "{kind:?}");
            let holds_records = matches!(kind, Kind::Record | Kind::Group);
            assert_eq!(is_bad(MAX_PAYLOAD + 1), holds_records, "no record is so large: {kind:?}");
        }
        huge[7] = Kind::Record as u8 | LONG;
        assert_eq!(
            FRAMING.decode::<TableCheck>(&huge[..8], 0, 8),
            Parsed::Bad,
            "nothing follows that could be needed"
        );
    }
}
