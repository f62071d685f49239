//! The extent header: the first frame of every segment and snapshot.
//!
//! ```text
//!  0       8     10   11    12         16          20           24       40     48    52    60      68      72      80    88   96
//!  | magic | ver | role | 0 | write u32 | align u32 | bytes u32 | store | log | epoch | fence | s.log | s.off | s.lsn | rev | ms |
//! ```
//!
//! Its checksum starts from constants only, so that it can be read before anything is known; the store id inside says whose it
//! is. `s.*` is the settled position and `rev` the newest durable manifest revision when the header was written.

use super::check::{Checksum, Seed};
use super::frame::{Framing, Kind, Parsed, Slot};
use crate::geometry::Geometry;
use crate::types::{Epoch, LogId, Lsn, Millis, Position, Revision, Settled, StoreId};

/// Payload of an extent header.
pub const EXTENT_BODY: usize = 96;
/// The format that this version writes. It reads every earlier one.
pub const FORMAT_VERSION: u16 = 1;
/// How many bytes of an extent suffice to read its header, at every geometry.
pub const HEADER_WINDOW: usize = 4096;

const MAGIC: [u8; 8] = *b"STRNDLN\x1a";

/// What kind of extent a header opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRole {
    /// A segment: `log`, `fence` and `settled` are its own.
    Wal,
    /// A snapshot: `fence` is its base LSN, `settled` its base position and LSN.
    Snapshot,
}

/// An extent header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentHeader {
    /// What the extent holds.
    pub role: HeaderRole,
    /// Sizes in force when it was written.
    pub geometry: (u32, u32, u32),
    /// Whose it is.
    pub store: StoreId,
    /// Its segment.
    pub log: LogId,
    /// Epoch of its writer.
    pub epoch: Epoch,
    /// First LSN in it.
    pub fence: Lsn,
    /// What was durable when it was written.
    pub settled: Settled,
    /// The newest manifest revision that was durable then.
    pub revision: Revision,
    /// When it was written.
    pub time: Millis,
}

/// What stands where a header was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderParsed {
    /// A header that verified.
    Header(ExtentHeader),
    /// No header that verifies.
    Absent,
    /// Made by a newer version of this format.
    Newer(u16),
}

impl ExtentHeader {
    /// The geometry of `of`, as a header carries it.
    #[must_use]
    pub const fn geometry_of(of: Geometry) -> (u32, u32, u32) {
        (of.write_unit, of.batch_align, of.extent_bytes)
    }

    /// Writes the header frame to the start of `out`; `None` if it is too short.
    pub fn encode<C: Checksum>(&self, write_unit: u32, out: &mut [u8]) -> Option<usize> {
        let mut body = [0; EXTENT_BODY];
        let mut at = Cursor { bytes: &mut body, at: 0 };
        at.put(&MAGIC)?;
        at.put(&FORMAT_VERSION.to_le_bytes())?;
        at.put(&[if self.role == HeaderRole::Wal { 1 } else { 2 }, 0])?;
        at.put(&self.geometry.0.to_le_bytes())?;
        at.put(&self.geometry.1.to_le_bytes())?;
        at.put(&self.geometry.2.to_le_bytes())?;
        at.put(&self.store.0)?;
        at.put(&self.log.0.to_le_bytes())?;
        at.put(&self.epoch.0.to_le_bytes())?;
        at.put(&self.fence.0.to_le_bytes())?;
        put_settled(&mut at, self.settled)?;
        at.put(&self.revision.0.to_le_bytes())?;
        at.put(&self.time.0.to_le_bytes())?;
        let framing = Framing { write_unit: usize::try_from(write_unit).ok()?, seed: Seed::HEADER };
        framing.encode::<C>(Kind::Extent, Slot { offset: 0, lsn: self.fence }, &body, out)
    }

    /// Reads the header at the start of an extent from its first [`HEADER_WINDOW`] bytes, or fewer.
    ///
    /// The frame is padded to a write unit that only the header itself knows, so each possible one is tried.
    #[must_use]
    pub fn decode<C: Checksum>(window: &[u8]) -> HeaderParsed {
        let mut write_unit = 8;
        while write_unit <= HEADER_WINDOW {
            let framing = Framing { write_unit, seed: Seed::HEADER };
            match framing.decode::<C>(window, 0, HEADER_WINDOW as u64) {
                Parsed::Frame(frame) if frame.kind == Kind::Extent => {
                    if let Some(parsed) = Self::from_body(frame.payload) {
                        return parsed;
                    }
                }
                Parsed::Blank => return HeaderParsed::Absent,
                _ => {}
            }
            write_unit *= 2;
        }
        HeaderParsed::Absent
    }

    fn from_body(body: &[u8]) -> Option<HeaderParsed> {
        let mut at = Take(body);
        if at.array::<8>()? != MAGIC {
            return None;
        }
        let version = u16::from_le_bytes(at.array()?);
        if version > FORMAT_VERSION {
            return Some(HeaderParsed::Newer(version));
        }
        let role = match at.array::<2>()? {
            [1, 0] => HeaderRole::Wal,
            [2, 0] => HeaderRole::Snapshot,
            _ => return None,
        };
        Some(HeaderParsed::Header(Self {
            role,
            geometry: (at.u32()?, at.u32()?, at.u32()?),
            store: StoreId(at.array()?),
            log: LogId(at.u64()?),
            epoch: Epoch(at.u32()?),
            fence: Lsn(at.u64()?),
            settled: at.settled()?,
            revision: Revision(at.u64()?),
            time: Millis(at.u64()?),
        }))
    }
}

/// Appends little-endian fields to a buffer.
pub(crate) struct Cursor<'b> {
    pub(crate) bytes: &'b mut [u8],
    pub(crate) at: usize,
}

impl Cursor<'_> {
    pub(crate) fn put(&mut self, field: &[u8]) -> Option<()> {
        let end = self.at.checked_add(field.len())?;
        self.bytes.get_mut(self.at..end)?.copy_from_slice(field);
        self.at = end;
        Some(())
    }
}

pub(crate) fn put_settled(at: &mut Cursor<'_>, settled: Settled) -> Option<()> {
    at.put(&settled.position.log.0.to_le_bytes())?;
    at.put(&settled.position.offset.to_le_bytes())?;
    at.put(&settled.lsn.0.to_le_bytes())
}

/// Takes little-endian fields from the front of a slice.
pub(crate) struct Take<'b>(pub(crate) &'b [u8]);

impl Take<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn settled(&mut self) -> Option<Settled> {
        let position = Position { log: LogId(self.u64()?), offset: self.u32()? };
        Some(Settled { position, lsn: Lsn(self.u64()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::check::TableCheck;

    fn header() -> ExtentHeader {
        ExtentHeader {
            role: HeaderRole::Wal,
            geometry: (8, 512, 64 << 20),
            store: StoreId([3; 16]),
            log: LogId(7),
            epoch: Epoch(2),
            fence: Lsn(1000),
            settled: Settled { position: Position { log: LogId(6), offset: 4096 }, lsn: Lsn(990) },
            revision: Revision(12),
            time: Millis(1_700_000_000_000),
        }
    }

    #[test]
    fn a_header_reads_back_at_every_write_unit() {
        for unit in [8, 16, 512, 4096] {
            let mut out = vec![0xee; 4096];
            let bytes = header().encode::<TableCheck>(unit, &mut out).unwrap();
            assert_eq!(bytes % unit as usize, 0);
            assert_eq!(ExtentHeader::decode::<TableCheck>(&out), HeaderParsed::Header(header()));
        }
    }

    #[test]
    fn damage_is_absent_and_a_newer_format_is_named() {
        let mut out = vec![0; 4096];
        let bytes = header().encode::<TableCheck>(8, &mut out).unwrap();
        for bit in 0..bytes * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ExtentHeader::decode::<TableCheck>(&bad), HeaderParsed::Absent, "bit {bit}");
        }
        let framing = Framing { write_unit: 8, seed: Seed::HEADER };
        let mut body = out[8..8 + EXTENT_BODY].to_vec();
        body[8..10].copy_from_slice(&9u16.to_le_bytes());
        framing
            .encode::<TableCheck>(Kind::Extent, Slot { offset: 0, lsn: Lsn(1000) }, &body, &mut out)
            .unwrap();
        assert_eq!(ExtentHeader::decode::<TableCheck>(&out), HeaderParsed::Newer(9));
        assert_eq!(ExtentHeader::decode::<TableCheck>(&[]), HeaderParsed::Absent);
        let slot = Slot { offset: 0, lsn: Lsn(1000) };
        let body = out[8..8 + EXTENT_BODY].to_vec();
        framing.encode::<TableCheck>(Kind::Record, slot, &body, &mut out).unwrap();
        assert_eq!(
            ExtentHeader::decode::<TableCheck>(&out),
            HeaderParsed::Absent,
            "a record that looks like one"
        );
    }
}
