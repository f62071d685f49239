//! The entries of an archive, one block at a time: handed to a function without a copy, or one by one as values.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};

use strandline_core::archive::entry::{Entry, Payload, Stamp};
use strandline_core::archive::pack::Stop;
use strandline_core::archive::reader::{Audit, Index};
use strandline_core::archive::{BLOCK_BYTES, BlockRow, Codec, MAX_BLOCK, Prologue, Totals, Unreadable};
use strandline_core::types::{Lsn, Millis};

use super::open::Bytes;
use super::value::{self, Value};
use super::{ArchiveError, Taker};
use crate::check::HardwareCheck;

/// Which entries of an archive to read. Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First and last LSN.
    pub lsns: (Lsn, Lsn),
    /// Earliest and latest time.
    pub times: (Millis, Millis),
}

impl Range {
    /// All entries.
    pub const ALL: Self = Self { lsns: (Lsn(0), Lsn(u64::MAX)), times: (Millis(0), Millis(u64::MAX)) };

    /// Whether an entry is in it. Where the time is not known in milliseconds the timestamp counts.
    #[must_use]
    pub fn holds(&self, entry: &Entry<'_>) -> bool {
        let time = match entry.stamp.time {
            Millis(0) => Millis(entry.timestamp.saturating_mul(1000)),
            time => time,
        };
        let lsn = entry.stamp.lsn;
        self.lsns.0 <= lsn && lsn <= self.lsns.1 && self.times.0 <= time && time <= self.times.1
    }

    pub(super) fn asks_for_lsns(&self) -> bool {
        self.lsns != Self::ALL.lsns
    }

    /// Whether a block may hold an entry of it. A block with times that are not known may.
    fn meets(&self, row: &BlockRow, next: Option<Lsn>) -> bool {
        let lsns = row.first <= self.lsns.1 && next.is_none_or(|next| next >= self.lsns.0);
        let times = row.earliest <= self.times.1 && row.latest >= self.times.0;
        lsns && (times || row.earliest == Millis(0))
    }
}

/// One entry that owns what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedEntry {
    /// When it happened, s since 1970.
    pub timestamp: u64,
    /// What it is about.
    pub context: String,
    /// What happened.
    pub event_type: String,
    /// What is said of it: one MessagePack map with string keys, encoded.
    pub payload: Vec<u8>,
    /// Its number.
    pub event_id: u64,
    /// LSN and times; empty in an archive of SnelDB.
    pub stamp: Stamp,
}

impl OwnedEntry {
    /// The same entry, borrowed.
    #[must_use]
    pub fn entry(&self) -> Entry<'_> {
        Entry {
            timestamp: self.timestamp,
            context: &self.context,
            event_type: &self.event_type,
            payload: Payload::Map(&self.payload),
            event_id: self.event_id,
            stamp: self.stamp,
        }
    }

    /// What is said of it, field by field in the order of the archive.
    ///
    /// # Errors
    /// [`ArchiveError::Value`]: values are nested too deeply.
    pub fn fields(&self) -> Result<Vec<(String, Value)>, ArchiveError> {
        Ok(value::decode_fields(&self.payload)?)
    }
}

impl From<&Entry<'_>> for OwnedEntry {
    fn from(entry: &Entry<'_>) -> Self {
        Self {
            timestamp: entry.timestamp,
            context: entry.context.into(),
            event_type: entry.event_type.into(),
            payload: value::map_bytes(entry).into_owned(),
            event_id: entry.event_id,
            stamp: entry.stamp,
        }
    }
}

/// The entries of a range. After an error there are no more.
#[derive(Debug)]
pub struct Entries {
    source: Option<Source>,
    ready: VecDeque<OwnedEntry>,
    failed: Option<ArchiveError>,
}

impl Entries {
    pub(super) fn new(source: Source) -> Self {
        Self { source: Some(source), ready: VecDeque::new(), failed: None }
    }
}

impl Iterator for Entries {
    type Item = Result<OwnedEntry, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(source) = self.source.as_mut().filter(|_| self.ready.is_empty()) {
            let ready = &mut self.ready;
            let stepped = source.step(&mut |entry| {
                ready.push_back(entry.into());
                Ok(())
            });
            if !matches!(stepped, Ok(true)) {
                self.source = None;
            }
            // What was read before an error is intact, and comes first.
            self.failed = stepped.err();
        }
        self.ready.pop_front().map(Ok).or_else(|| self.failed.take().map(Err))
    }
}

/// Where entries come from.
#[derive(Debug)]
pub(super) enum Source {
    Ours(Box<Blocks>),
    Version1(Box<Stream>),
}

impl Source {
    /// Reads the next piece and hands its entries to `take`; false: there was none.
    pub(super) fn step(&mut self, take: &mut Taker<'_>) -> Result<bool, ArchiveError> {
        match self {
            Self::Ours(blocks) => blocks.step(take),
            Self::Version1(stream) => stream.step(take),
        }
    }
}

/// The blocks of one of our archives.
pub(super) struct Blocks {
    bytes: Bytes,
    rows: Vec<BlockRow>,
    codec: Codec,
    totals: Totals,
    range: Range,
    next: usize,
    checked: u64,
    audit: Audit,
    decompressor: zstd::bulk::Decompressor<'static>,
    window: Vec<u8>,
    content: Vec<u8>,
}

impl core::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Blocks").field("bytes", &self.bytes).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Blocks {
    /// Compares the front of the file with its index.
    pub(super) fn open(bytes: &Bytes, index: &Index<'_>, range: Range) -> Result<Self, ArchiveError> {
        let mut window = Vec::new();
        bytes.window(0, index.front_bytes(), &mut window)?;
        let checked = index.check_front::<HardwareCheck>(&window);
        checked.map_err(|why| bytes.unreadable(why, "its front does not agree with its index"))?;
        let decompressor = zstd::bulk::Decompressor::new();
        Ok(Self {
            bytes: bytes.clone(),
            rows: index.rows().collect(),
            codec: index.header.codec,
            totals: index.header.totals,
            range,
            next: 0,
            checked: 0,
            audit: Audit::default(),
            decompressor: decompressor.map_err(|error| ArchiveError::Other(format!("zstd: {error}")))?,
            window,
            content: Vec::new(),
        })
    }

    pub(super) fn entries_checked(&self) -> u64 {
        self.checked
    }

    /// Checks the checksums of the next block; false: there is none.
    pub(super) fn check_next(&mut self) -> Result<bool, ArchiveError> {
        let Some((number, row)) = self.next_row() else { return Ok(false) };
        self.bytes.window(row.offset, u64::from(row.encoded) + u64::from(row.stamps), &mut self.window)?;
        let checked = row.check::<HardwareCheck>(number, &self.window);
        checked.map_err(|why| self.bytes.unreadable(why, &named(number, &row)))?;
        self.checked += u64::from(row.entries);
        Ok(true)
    }

    fn next_row(&mut self) -> Option<(usize, BlockRow)> {
        loop {
            let (number, row) = (self.next, *self.rows.get(self.next)?);
            self.next += 1;
            let next = self.rows.get(self.next).map(|row| row.first);
            if self.range.meets(&row, next) {
                return Some((number, row));
            }
        }
    }

    /// The LSNs of the block that comes next: the first one, and the one behind the last.
    pub(super) fn next_lsns(&self) -> Option<(Lsn, Lsn)> {
        let row = self.rows.get(self.next)?;
        let next = self.rows.get(self.next + 1).map_or(self.totals.lsns.1.next(), |next| next.first);
        Some((row.first, next))
    }

    /// Hands the entries of the next block to `take` if all of them are intact, otherwise none.
    pub(super) fn step_strictly(&mut self, take: &mut Taker<'_>) -> Result<bool, ArchiveError> {
        let mut entries: Vec<OwnedEntry> = Vec::new();
        let more = self.step(&mut |entry| {
            entries.push(entry.into());
            Ok(())
        })?;
        entries.iter().try_for_each(|entry| take(&entry.entry()))?;
        Ok(more)
    }

    fn step(&mut self, take: &mut Taker<'_>) -> Result<bool, ArchiveError> {
        let Some((number, row)) = self.next_row() else {
            self.finish()?;
            return Ok(false);
        };
        self.bytes.window(row.offset, u64::from(row.encoded) + u64::from(row.stamps), &mut self.window)?;
        let bad = |why| self.bytes.unreadable(why, &named(number, &row));
        let block = row.check::<HardwareCheck>(number, &self.window).map_err(bad)?;
        self.content.resize(row.raw as usize, 0);
        let decoded = match self.codec {
            Codec::Raw => block.decode_raw(&mut self.content),
            Codec::Zstd => self.decompressor.decompress_to_buffer(block.frame, &mut self.content[..]).ok(),
        };
        let bytes = decoded.ok_or_else(|| bad(Unreadable::Damaged))?;
        // Nothing is handed over under an LSN that is another block's.
        let last = self.rows.get(number + 1).map_or(self.totals.lsns.1, |next| next.first);
        if block.lsns().is_none_or(|(first, until)| first != row.first || until > last) {
            return Err(bad(Unreadable::Damaged));
        }
        for entry in block.entries::<HardwareCheck>(&self.content[..bytes]).map_err(bad)? {
            let entry = entry.map_err(bad)?;
            self.audit.count(&row, &entry).map_err(bad)?;
            if self.range.holds(&entry) {
                take(&entry)?;
            }
        }
        Ok(true)
    }

    /// Whoever read everything has seen what the header counts.
    fn finish(&self) -> Result<(), ArchiveError> {
        if self.range != Range::ALL {
            return Ok(());
        }
        let why = "its entries are not those that its header counts";
        self.audit.finish(&self.totals).map_err(|error| self.bytes.unreadable(error, why))
    }
}

fn named(number: usize, row: &BlockRow) -> String {
    format!("block {number} at offset {}", row.offset)
}

/// An archive of SnelDB, which is one stream.
pub(super) struct Stream {
    bytes: Bytes,
    decoder: zstd::Decoder<'static, BufReader<File>>,
    /// What is decompressed, from `start` on not decoded yet.
    window: Vec<u8>,
    start: usize,
    left: u64,
    seen: Seen,
    prologue: Prologue,
    range: Range,
}

impl core::fmt::Debug for Stream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stream").field("bytes", &self.bytes).field("left", &self.left).finish_non_exhaustive()
    }
}

/// Smallest and largest timestamp so far.
#[derive(Debug, Default)]
struct Seen(Option<(u64, u64)>);

impl Stream {
    pub(super) fn open(bytes: &Bytes) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Io { what: "read", path: bytes.path.clone(), source };
        let decoder = zstd::Decoder::with_buffer(BufReader::new(File::open(&bytes.path).map_err(failed)?));
        let prologue = Prologue { shard: 0, log: 0, timestamps: (0, 0), entries: 0, level: 0, created: 0 };
        let mut stream = Self {
            bytes: bytes.clone(),
            decoder: decoder.map_err(failed)?,
            window: Vec::new(),
            start: 0,
            left: 0,
            seen: Seen::default(),
            prologue,
            range: Range::ALL,
        };
        loop {
            match Prologue::decode(&stream.window) {
                Ok((found, used)) => {
                    (stream.prologue, stream.left, stream.start) = (found, found.entries, used);
                    return Ok(stream);
                }
                Err(Stop::Short) if stream.window.len() < LONGEST_PROLOGUE && stream.fill()? => {}
                Err(_) => return Err(bytes.damaged("it is not an archive")),
            }
        }
    }

    pub(super) fn prologue(&self) -> Prologue {
        self.prologue
    }

    pub(super) fn within(self, range: Range) -> Self {
        Self { range, ..self }
    }

    /// Decompresses some more; false: there is no more.
    fn fill(&mut self) -> Result<bool, ArchiveError> {
        self.window.drain(..self.start);
        self.start = 0;
        let more = (&mut self.decoder).take(BLOCK_BYTES as u64).read_to_end(&mut self.window);
        let bytes = more.map_err(|source| match source.raw_os_error() {
            // What the device does not give is not damage.
            Some(_) => ArchiveError::Io { what: "read", path: self.bytes.path.clone(), source },
            None => self.bytes.damaged(format!("it can't be decompressed: {source}")),
        })?;
        Ok(bytes > 0)
    }

    fn step(&mut self, take: &mut Taker<'_>) -> Result<bool, ArchiveError> {
        while self.left > 0 {
            let start = self.start;
            match Entry::decode(&self.window[start..], Stamp::default()) {
                Ok((entry, used)) => {
                    self.left -= 1;
                    self.seen.count(entry.timestamp);
                    if self.range.holds(&entry) {
                        take(&entry)?;
                    }
                    self.start += used;
                }
                Err(Stop::Bad) => return Err(self.bytes.damaged("it holds something that is no entry")),
                Err(Stop::Short) if self.window.len() - start > MAX_BLOCK => {
                    return Err(self.bytes.damaged("an entry is too large"));
                }
                Err(Stop::Short) => {
                    if self.fill()? {
                        return Ok(true);
                    }
                    return Err(self.bytes.damaged(format!("it ends {} entries early", self.left)));
                }
            }
        }
        self.finish()
    }

    /// Nothing may follow the last entry, and the header must have told the truth.
    fn finish(&mut self) -> Result<bool, ArchiveError> {
        if self.start < self.window.len() || self.fill()? {
            return Err(self.bytes.damaged("bytes follow its last entry"));
        }
        if self.seen.0.unwrap_or((0, 0)) != self.prologue.timestamps {
            return Err(self.bytes.damaged("its entries are not those that its header counts"));
        }
        Ok(false)
    }
}

impl Seen {
    fn count(&mut self, timestamp: u64) {
        let (low, high) = self.0.unwrap_or((timestamp, timestamp));
        self.0 = Some((low.min(timestamp), high.max(timestamp)));
    }
}

/// Arrays, eight integers of nine bytes and a short string take less.
const LONGEST_PROLOGUE: usize = 128;
