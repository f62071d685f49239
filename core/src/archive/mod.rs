//! Archives: one sealed segment, or what a device handed over, as a `.wal.zst` file that other people's tools read.
//!
//! ```text
//!  | prologue | HEADER | block | STAMPS | block | STAMPS | ... | INDEX | SEEK TABLE |
//!    '------------------ frames of zstd; capitals: skippable frames -------------'
//!
//!  content of the ordinary frames, one behind the other = one MessagePack value, SnelDB's version 1:
//!  [ [1, shard, log, start s, end s, entries, "zstd", level, created s],
//!    [ [ [timestamp s, context, event type, payload map, event id], ... ] ] ]
//! ```
//!
//! `zstd -d` and any MessagePack library read an archive; a version-1 reader skips what it does not know. The integers of the
//! prologue have fixed widths, so that its size does not depend on their values.
//!
//! - HEADER says whose archive it is ([`Header`]), and carries the checksum of the prologue's frame.
//! - A block holds whole entries, about as many as asked for; it has content size and checksum of its own.
//! - STAMPS behind each block holds what an entry of version 1 can't: LSN, milliseconds, time of the commit.
//! - INDEX repeats the header and has one [`BlockRow`] for each block, so that one read at the end says everything.
//! - The seek table is the one of zstd's seekable format, with a row without content for each skippable frame.
//!
//! Our skippable frames end in CRC-32C over themselves, started from their offset. Here are no I/O and no compressor:
//! [`writer`] hands out bytes and, when the caller compresses, whole blocks; [`reader`] takes windows.

pub mod entry;
pub mod pack;
pub mod reader;
pub mod stamps;
#[cfg(test)]
mod tests;
pub mod writer;
pub mod zstd;

use entry::Entry;
use pack::{Pack, Stop, Unpack, Value};

use crate::codec::extent::FORMAT_VERSION;
use crate::types::{Epoch, LogId, Lsn, Millis, StoreId, Timeline};

/// How the blocks of an archive are encoded. All of them are zstd frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Uncompressed zstd blocks, which core writes and reads by itself.
    #[default]
    Raw,
    /// Whatever the caller's zstd makes of them.
    Zstd,
}

impl Codec {
    const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Zstd => "zstd",
        }
    }
}

/// What a first pass over the entries finds out; the archive begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Number of entries.
    pub entries: u32,
    /// Smallest and largest timestamp, s; both 0 if there is no entry.
    pub timestamps: (u64, u64),
    /// Earliest and latest time.
    pub times: (Millis, Millis),
    /// First and last LSN.
    pub lsns: (Lsn, Lsn),
    /// Encoded bytes of the largest entry: no smaller block can hold it.
    pub largest: usize,
}

impl Totals {
    /// Of no entry.
    pub const NONE: Self = Self {
        entries: 0,
        timestamps: (0, 0),
        times: (Millis(0), Millis(0)),
        lsns: (Lsn(0), Lsn(0)),
        largest: 0,
    };

    /// Counts an entry, the next one in order.
    pub fn count(&mut self, entry: &Entry<'_>) {
        let stamp = entry.stamp;
        if self.entries == 0 {
            self.timestamps = (entry.timestamp, entry.timestamp);
            self.times = (stamp.time, stamp.time);
            self.lsns.0 = stamp.lsn;
        }
        self.entries = self.entries.saturating_add(1);
        self.timestamps = (self.timestamps.0.min(entry.timestamp), self.timestamps.1.max(entry.timestamp));
        self.times = (self.times.0.min(stamp.time), self.times.1.max(stamp.time));
        self.lsns.1 = stamp.lsn;
        self.largest = self.largest.max(entry.encoded_bytes());
    }
}

/// Whose archive it is and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'h> {
    /// The store.
    pub store: StoreId,
    /// Its line of history.
    pub timeline: Timeline,
    /// Epoch of the archived segment.
    pub epoch: Epoch,
    /// Part of the store that has a log of its own, from 0.
    pub shard: u32,
    /// The archived segment.
    pub log: LogId,
    /// When the archive was made.
    pub created: Millis,
    /// How the blocks are encoded.
    pub codec: Codec,
    /// The compressor's level, 0 without one.
    pub level: i32,
    /// What is in it.
    pub totals: Totals,
    /// Digest of what was archived, empty if there is none; at most [`MAX_DIGEST`] bytes.
    pub source: &'h [u8],
    /// Digest of the archive before this one, empty if there is none; at most [`MAX_DIGEST`] bytes.
    pub previous: &'h [u8],
    /// Name and version of the program that wrote it; at most [`MAX_WRITER`] bytes.
    pub writer: &'h str,
}

/// Longest digest, bytes.
pub const MAX_DIGEST: usize = 64;
/// Longest name of a writer, bytes.
pub const MAX_WRITER: usize = 64;
/// No header takes more bytes than this, and no memory for blocks may be smaller.
pub const MIN_BLOCK: usize = 640;
/// Bytes of a block of the usual size, before compression.
pub const BLOCK_BYTES: usize = 64 << 10;
/// No block is larger than this before compression: the largest record, with room for what is around it.
pub const MAX_BLOCK: usize = 17 << 20;

/// Of the prologue's content: it has no variable parts.
const PROLOGUE: usize = 73;
const VERSION_1: u8 = 1;
const MAGIC: &str = "strandline archive";

/// In the header's map.
const FIELDS: [&str; 21] = [
    "magic",
    "format",
    "timeline",
    "epoch",
    "shard",
    "log",
    "entries",
    "start_s",
    "end_s",
    "earliest_ms",
    "latest_ms",
    "first_lsn",
    "last_lsn",
    "largest",
    "created_ms",
    "prologue_crc",
    "codec",
    "level",
    "store",
    "digests",
    "writer",
];

/// Open the content of our skippable frames.
const HEADER_TAG: [u8; 4] = *b"SAhd";
const STAMPS_TAG: [u8; 4] = *b"SAst";
const INDEX_TAG: [u8; 4] = *b"SAix";

/// One row of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockRow {
    /// Offset of its frame.
    pub offset: u64,
    /// Bytes of its frame.
    pub encoded: u32,
    /// Bytes of its content.
    pub raw: u32,
    /// Bytes of the stamps behind it.
    pub stamps: u32,
    /// Number of entries.
    pub entries: u32,
    /// LSN of its first entry.
    pub first: Lsn,
    /// Earliest time.
    pub earliest: Millis,
    /// Latest time.
    pub latest: Millis,
    /// CRC-32C of its content.
    pub raw_crc: u32,
    /// CRC-32C of its frame.
    pub encoded_crc: u32,
}

/// Bytes of a [`BlockRow`] in the index.
pub const ROW_BYTES: usize = 56;

impl BlockRow {
    /// The fields, little-endian and without gaps, the longer ones first.
    fn encode(&self) -> [u8; ROW_BYTES] {
        let mut row = [0; ROW_BYTES];
        let longs = [self.offset, self.first.0, self.earliest.0, self.latest.0];
        let words = [self.encoded, self.raw, self.stamps, self.entries, self.raw_crc, self.encoded_crc];
        let (of_longs, of_words) = row.split_at_mut(longs.len() * 8);
        for (slot, long) in of_longs.chunks_exact_mut(8).zip(longs) {
            slot.copy_from_slice(&long.to_le_bytes());
        }
        for (slot, word) in of_words.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        row
    }

    fn decode(row: &[u8]) -> Option<Self> {
        let mut at = crate::codec::extent::Take(row);
        Some(Self {
            offset: at.u64()?,
            first: Lsn(at.u64()?),
            earliest: Millis(at.u64()?),
            latest: Millis(at.u64()?),
            encoded: at.u32()?,
            raw: at.u32()?,
            stamps: at.u32()?,
            entries: at.u32()?,
            raw_crc: at.u32()?,
            encoded_crc: at.u32()?,
        })
    }
}

/// The nine fields of version 1 and the number of entries, as they stand in front of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prologue {
    /// Part of the store that has a log of its own.
    pub shard: u64,
    /// The archived log.
    pub log: u64,
    /// Smallest and largest timestamp, s.
    pub timestamps: (u64, u64),
    /// Number of entries.
    pub entries: u64,
    /// The compressor's level.
    pub level: i64,
    /// When it was made, s.
    pub created: u64,
}

impl Prologue {
    /// Reads the prologue at the start of `window`, whatever the widths of its integers, and returns how many bytes it takes.
    ///
    /// # Errors
    /// [`Stop`]: more bytes are needed, or it is none.
    pub fn decode(window: &[u8]) -> Result<(Self, usize), Stop> {
        let mut at = Unpack(window);
        let shape = (at.value()?, at.value()?, at.value()?);
        if shape != (Value::Array(2), Value::Array(9), Value::Unsigned(u64::from(VERSION_1))) {
            return Err(Stop::Bad);
        }
        let (shard, log) = (at.unsigned()?, at.unsigned()?);
        let timestamps = (at.unsigned()?, at.unsigned()?);
        let entries = at.unsigned()?;
        if at.value()? != Value::Str("zstd") {
            return Err(Stop::Bad);
        }
        let level = match at.value()? {
            Value::Unsigned(level) => i64::try_from(level).map_err(|_| Stop::Bad)?,
            Value::Signed(level) => level,
            _ => return Err(Stop::Bad),
        };
        let created = at.unsigned()?;
        let list = (at.value()?, at.value()?);
        let (Value::Array(1), Value::Array(count)) = list else { return Err(Stop::Bad) };
        if u64::from(count) != entries {
            return Err(Stop::Bad);
        }
        let used = window.len() - at.0.len();
        Ok((Self { shard, log, timestamps, entries, level, created }, used))
    }
}

impl<'h> Header<'h> {
    /// What version 1 says of it.
    #[must_use]
    pub fn prologue(&self) -> Prologue {
        Prologue {
            shard: u64::from(self.shard),
            log: self.log.0,
            timestamps: self.totals.timestamps,
            entries: u64::from(self.totals.entries),
            level: i64::from(self.level),
            created: self.created.0 / 1000,
        }
    }

    fn encode_prologue(&self, out: &mut [u8]) -> Option<usize> {
        let mut pack = Pack::new(out);
        pack.array(2)?;
        pack.array(9)?;
        pack.uint(u64::from(VERSION_1))?;
        let totals = &self.totals;
        let fields = [u64::from(self.shard), self.log.0, totals.timestamps.0, totals.timestamps.1];
        fields.iter().try_for_each(|field| pack.wide(*field))?;
        pack.wide(u64::from(totals.entries))?;
        pack.text("zstd")?;
        pack.wide_signed(self.level)?;
        pack.wide(self.created.0 / 1000)?;
        pack.array(1)?;
        pack.wide_array(totals.entries)?;
        Some(pack.used())
    }

    /// The map in the header's frame; `prologue_crc` is the checksum of the prologue's frame.
    fn encode(&self, prologue_crc: u32, out: &mut [u8]) -> Option<usize> {
        let totals = &self.totals;
        let mut pack = Pack::new(out);
        pack.map(u16::try_from(FIELDS.len()).ok()?)?;
        pack.field("magic")?.text(MAGIC)?;
        let numbers = [
            ("format", u64::from(FORMAT_VERSION)),
            ("timeline", u64::from(self.timeline.0)),
            ("epoch", u64::from(self.epoch.0)),
            ("shard", u64::from(self.shard)),
            ("log", self.log.0),
            ("entries", u64::from(totals.entries)),
            ("start_s", totals.timestamps.0),
            ("end_s", totals.timestamps.1),
            ("earliest_ms", totals.times.0.0),
            ("latest_ms", totals.times.1.0),
            ("first_lsn", totals.lsns.0.0),
            ("last_lsn", totals.lsns.1.0),
            ("largest", totals.largest as u64),
            ("created_ms", self.created.0),
            ("prologue_crc", u64::from(prologue_crc)),
        ];
        numbers.iter().try_for_each(|(name, number)| pack.field(name)?.uint(*number))?;
        pack.field("codec")?.text(self.codec.name())?;
        pack.field("level")?.int(i64::from(self.level))?;
        pack.field("store")?.bytes(&self.store.0)?;
        pack.field("digests")?.array(2)?;
        pack.bytes(self.source)?;
        pack.bytes(self.previous)?;
        pack.field("writer")?.text(self.writer)?;
        Some(pack.used())
    }

    /// Reads the map of a header and the checksum of the prologue's frame. Names that are not known are passed over.
    fn decode(map: &'h [u8]) -> Result<(Self, u32), Unreadable> {
        let mut header = Header { writer: "", ..Header::EMPTY };
        let mut at = Unpack(map);
        let damaged = |_| Unreadable::Damaged;
        let Ok(Value::Map(fields)) = at.value() else { return Err(Unreadable::Damaged) };
        let mut seen = [false; FIELDS.len()];
        let mut crc = 0;
        for _ in 0..fields {
            let name = at.text().map_err(damaged)?;
            let known = header.field(name, &mut at, &mut crc).map_err(damaged)?;
            match known {
                Field::Known => {
                    let slot = FIELDS.iter().zip(&mut seen).find(|(field, _)| **field == name);
                    // A field that stands twice would be read one way here and another way elsewhere.
                    if slot.is_none_or(|(_, seen)| core::mem::replace(seen, true)) {
                        return Err(Unreadable::Damaged);
                    }
                }
                Field::Unknown => at.skip().map_err(damaged)?,
                Field::Newer => return Err(Unreadable::Newer),
            }
        }
        if seen.contains(&false) || !at.0.is_empty() {
            return Err(Unreadable::Damaged);
        }
        Ok((header, crc))
    }

    /// Takes one field of the map.
    fn field(&mut self, name: &str, at: &mut Unpack<'h>, crc: &mut u32) -> Result<Field, Stop> {
        let totals = &mut self.totals;
        let narrow = |number: u64| u32::try_from(number).map_err(|_| Stop::Bad);
        match name {
            "magic" if at.text()? == MAGIC => {}
            "magic" => return Err(Stop::Bad),
            "format" if at.unsigned()? <= u64::from(FORMAT_VERSION) => {}
            "format" => return Ok(Field::Newer),
            "timeline" => self.timeline = Timeline(narrow(at.unsigned()?)?),
            "epoch" => self.epoch = Epoch(narrow(at.unsigned()?)?),
            "shard" => self.shard = narrow(at.unsigned()?)?,
            "log" => self.log = LogId(at.unsigned()?),
            "entries" => totals.entries = narrow(at.unsigned()?)?,
            "start_s" => totals.timestamps.0 = at.unsigned()?,
            "end_s" => totals.timestamps.1 = at.unsigned()?,
            "earliest_ms" => totals.times.0 = Millis(at.unsigned()?),
            "latest_ms" => totals.times.1 = Millis(at.unsigned()?),
            "first_lsn" => totals.lsns.0 = Lsn(at.unsigned()?),
            "last_lsn" => totals.lsns.1 = Lsn(at.unsigned()?),
            "largest" => totals.largest = usize::try_from(at.unsigned()?).map_err(|_| Stop::Bad)?,
            "created_ms" => self.created = Millis(at.unsigned()?),
            "prologue_crc" => *crc = narrow(at.unsigned()?)?,
            "codec" => {
                self.codec = match at.text()? {
                    "raw" => Codec::Raw,
                    "zstd" => Codec::Zstd,
                    _ => return Ok(Field::Newer),
                }
            }
            "level" => {
                let level = at.signed()?;
                self.level = i32::try_from(level).map_err(|_| Stop::Bad)?;
            }
            "store" => self.store = StoreId(*at.bytes()?.as_array().ok_or(Stop::Bad)?),
            "digests" => {
                if at.value()? != Value::Array(2) {
                    return Err(Stop::Bad);
                }
                (self.source, self.previous) = (at.bytes()?, at.bytes()?);
            }
            "writer" => self.writer = at.text()?,
            _ => return Ok(Field::Unknown),
        }
        Ok(Field::Known)
    }

    /// Of nothing.
    pub const EMPTY: Header<'static> = Header {
        store: StoreId([0; 16]),
        timeline: Timeline(0),
        epoch: Epoch(0),
        shard: 0,
        log: LogId(0),
        created: Millis(0),
        codec: Codec::Raw,
        level: 0,
        totals: Totals::NONE,
        source: &[],
        previous: &[],
        writer: "strandline",
    };
}

/// What became of a field of the header.
enum Field {
    Known,
    Unknown,
    Newer,
}

/// Why something in an archive is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It does not verify, or contradicts what does.
    Damaged,
    /// A newer version wrote it.
    Newer,
}

/// The name of an archive, without a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The archived log.
    pub log: LogId,
    /// Smallest and largest timestamp, s.
    pub timestamps: (u64, u64),
}

impl Name {
    /// The log, start and end that a name says, or `None` if it is not one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (log, times) = name.strip_prefix("wal-")?.strip_suffix(".wal.zst")?.split_once('-')?;
        let (start, end) = times.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
        if log.len() < 5 || !digits(log) || !digits(start) || !digits(end) {
            return None;
        }
        let timestamps = (start.parse().ok()?, end.parse().ok()?);
        Some(Self { log: LogId(log.parse().ok()?), timestamps })
    }
}

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "wal-{:05}-{}-{}.wal.zst", self.log.0, self.timestamps.0, self.timestamps.1)
    }
}
