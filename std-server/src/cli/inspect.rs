//! `inspect FILE`: one line for each frame of a segment, a manifest file or a snapshot.
//!
//! ```text
//!      offset         LSN kind      verdict
//!           0           1 extent    intact: segment 1, epoch 1, …
//!         104           1 mark      intact: 2 records in 176 bytes, settled LSN 1
//!         168           1 record    intact: 21 bytes
//! ```
//!
//! One file can't tell everything: whether a tail is torn or damaged is judged by the settled position that later marks
//! of the same segment name; `verify` judges the whole. Exit code 0: intact, or an unfinished end; 1: damaged; 2: not a
//! file of ours, or it can't be read.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;

use strandline::HardwareCheck;
use strandline::core::codec::check::Seed;
use strandline::core::codec::extent::{EXTENT_BODY, ExtentHeader, HEADER_WINDOW, HeaderParsed, HeaderRole};
use strandline::core::codec::frame::{Frame, Framing, Kind, Parsed};
use strandline::core::geometry::Geometry;
use strandline::core::lower::posix::File as Name;
use strandline::core::manifest::{MANIFEST_STEP, SlotFound, head, look};
use strandline::core::snapshot::UNIT;
use strandline::core::types::{Lsn, Position};
use strandline::core::wal::reader::MarkScan;
use strandline::core::wal::{Mark, batch_start, group};

use super::EXIT_USAGE;

pub(super) fn run(path: &Path) -> ExitCode {
    match Inspection::open(path).and_then(|mut inspection| inspection.run(path)) {
        Ok(Found::Intact) => ExitCode::SUCCESS,
        Ok(Found::Damaged) => ExitCode::FAILURE,
        Ok(Found::Foreign) => {
            eprintln!("std-server: {} is no segment, manifest file or snapshot", path.display());
            ExitCode::from(EXIT_USAGE)
        }
        // A reader that has seen enough and closed the pipe is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("std-server: {}: {error}", path.display());
            ExitCode::from(EXIT_USAGE)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Intact,
    Damaged,
    Foreign,
}

struct Inspection {
    window: Window,
    out: BufWriter<io::Stdout>,
}

impl Inspection {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let window = Window { file, len, start: 0, bytes: Vec::new() };
        Ok(Self { window, out: BufWriter::new(io::stdout()) })
    }

    fn run(&mut self, path: &Path) -> io::Result<Found> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = Name::parse(&name, name.rsplit_once('-').map_or("", |(prefix, _)| prefix));
        let header = ExtentHeader::decode::<HardwareCheck>(self.window.at(0, HEADER_WINDOW)?);
        let found = match (header, name) {
            (HeaderParsed::Header(header), _) if header.role == HeaderRole::Wal => self.segment(&header),
            (HeaderParsed::Header(header), Some(Name::Snapshot(number) | Name::Unfinished(number))) => {
                self.snapshot(&header, number)
            }
            (HeaderParsed::Header(_), _) => {
                self.line(0, None, "extent", "a snapshot's, which is read by the number in its file's name")?;
                Ok(Found::Foreign)
            }
            (HeaderParsed::Newer(version), _) => {
                self.line(0, None, "extent", &format!("newer: format {version}, use a newer version"))?;
                Ok(Found::Foreign)
            }
            (HeaderParsed::Absent, Some(Name::Manifest(_))) => self.manifest(),
            (HeaderParsed::Absent, Some(Name::Segment(_)))
                if self.window.at(0, 8)?.iter().all(|b| *b == 0) =>
            {
                self.line(0, None, "blank", "prepared and not begun")?;
                Ok(Found::Intact)
            }
            (HeaderParsed::Absent, Some(_)) => {
                self.line(
                    0,
                    None,
                    "extent",
                    "does not verify: whose it is, and what follows, can't be told",
                )?;
                Ok(Found::Damaged)
            }
            (HeaderParsed::Absent, None) => Ok(Found::Foreign),
        }?;
        self.out.flush()?;
        Ok(found)
    }

    fn segment(&mut self, header: &ExtentHeader) -> io::Result<Found> {
        let (write_unit, batch_align, extent_bytes) = header.geometry;
        let geometry = Geometry { write_unit, batch_align, extent_bytes, ..Geometry::HOST };
        if geometry.check().is_err() {
            return Ok(Found::Foreign);
        }
        let about =
            format!("intact: segment {}, epoch {}, written at {} ms", header.log, header.epoch, header.time);
        self.line(0, Some(header.fence), "extent", &about)?;
        let seed = Seed::wal::<HardwareCheck>(header.store, header.epoch, header.log);
        let framing = Framing { write_unit: write_unit as usize, seed };
        let mut offset = u64::from(batch_start(geometry));
        let mut next = header.fence;
        loop {
            let limit = u64::from(extent_bytes).saturating_sub(offset);
            let (kind, bytes, seq, records, detail) = match self.window.frame(&framing, offset, limit)? {
                Parsed::Frame(frame) => {
                    (frame.kind, frame.bytes as u64, frame.seq, records(&frame), Detail::of(&frame))
                }
                parsed => {
                    let stop = stop_of(parsed);
                    let from =
                        Position { log: header.log, offset: u32::try_from(offset).unwrap_or(u32::MAX) };
                    let scan = MarkScan::new::<HardwareCheck>(header.store, header.epoch, from, geometry);
                    return self.end_of_segment(scan, next, stop);
                }
            };
            if let Detail::Mark(mark) = detail {
                next = mark.next;
            }
            let in_order = seq == next.low_byte();
            let verdict = if in_order { "intact" } else { "intact, but not the expected LSN" };
            self.line(offset, Some(next), name_of(kind), &format!("{verdict}: {}", detail.text()))?;
            if !in_order {
                return Ok(Found::Damaged);
            }
            next = next.plus(records);
            offset += bytes;
        }
    }

    /// Judges the place where the log of this segment ends by what later marks say was settled.
    fn end_of_segment(&mut self, mut scan: MarkScan, next: Lsn, stop: &str) -> io::Result<Found> {
        let from = scan.offset();
        loop {
            let (at, len) = (u64::from(scan.offset()), self.window.len);
            let window = self.window.at(at, SCAN_BYTES)?;
            let last = at + window.len() as u64 >= len;
            if !scan.feed::<HardwareCheck>(window, last) || last {
                break;
            }
        }
        let end = (u64::from(from), Some(next));
        if !scan.intact {
            self.line(end.0, end.1, stop, "the end: no intact mark of this segment follows")?;
            return Ok(Found::Intact);
        }
        let announced = Lsn(scan.announced.0.saturating_sub(1));
        if scan.settled.position.offset > from && scan.settled.lsn > next {
            let lost = format!("DAMAGED: settled records are lost from here, up to LSN {announced}");
            self.line(end.0, end.1, stop, &lost)?;
            return Ok(Found::Damaged);
        }
        let torn =
            format!("torn: intact marks follow, up to LSN {announced}, but none says that this was settled");
        self.line(end.0, end.1, stop, &torn)?;
        Ok(Found::Intact)
    }

    fn snapshot(&mut self, header: &ExtentHeader, number: u32) -> io::Result<Found> {
        let about = format!("intact: snapshot {number}, written at {} ms", header.time);
        self.line(0, Some(header.fence), "extent", &about)?;
        let seed = Seed::snapshot::<HardwareCheck>(header.store, number);
        let framing = Framing { write_unit: UNIT as usize, seed };
        let mut offset = framing.frame_bytes(EXTENT_BODY) as u64;
        loop {
            let limit = self.window.len.saturating_sub(offset);
            let (kind, bytes, detail) = match self.window.frame(&framing, offset, limit)? {
                Parsed::Frame(frame) => (frame.kind, frame.bytes as u64, Detail::of(&frame)),
                parsed => {
                    let stop = stop_of(parsed);
                    self.line(offset, Some(header.fence), stop, "DAMAGED: an intact frame was expected")?;
                    return Ok(Found::Damaged);
                }
            };
            self.line(offset, Some(header.fence), name_of(kind), &format!("intact: {}", detail.text()))?;
            offset += bytes;
            if kind == Kind::End {
                return Ok(Found::Intact);
            }
        }
    }

    /// A frame that does not verify is an unfinished write if nothing intact follows it.
    fn manifest(&mut self) -> io::Result<Found> {
        let bytes = u32::try_from(self.window.len).unwrap_or(u32::MAX);
        let geometry = Geometry { manifest_bytes: bytes, ..Geometry::HOST };
        let (mut offset, mut pending, mut found) = (0_u32, false, Found::Intact);
        while offset < bytes {
            let mut need = MANIFEST_STEP as usize;
            let slot = loop {
                match look::<HardwareCheck>(self.window.at(u64::from(offset), need)?, offset, geometry) {
                    SlotFound::Need(more) if more > need => need = more,
                    slot => break slot,
                }
            };
            let step = if let SlotFound::Frame { body, bytes, .. } = slot {
                let about = match head(body) {
                    Ok(head) => format!(
                        "intact: revision {}, epoch {}, settled LSN {}",
                        head.revision, head.epoch, head.settled.lsn
                    ),
                    Err(error) => format!("intact, but {error:?}"),
                };
                if pending {
                    found = Found::Damaged;
                }
                let step = u32::try_from(bytes).unwrap_or(u32::MAX).next_multiple_of(MANIFEST_STEP);
                self.line(u64::from(offset), None, name_of(Kind::Manifest), &about)?;
                step
            } else {
                if self.window.at(u64::from(offset), 8)?.iter().take(8).any(|byte| *byte != 0) {
                    self.line(u64::from(offset), None, "bad", "does not verify: unfinished or damaged")?;
                    pending = true;
                }
                MANIFEST_STEP
            };
            offset = offset.saturating_add(step);
        }
        Ok(found)
    }

    fn line(&mut self, offset: u64, lsn: Option<Lsn>, kind: &str, verdict: &str) -> io::Result<()> {
        let lsn = lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
        writeln!(self.out, "{offset:>12} {lsn:>12} {kind:<9} {verdict}")
    }
}

/// How many records a frame holds.
fn records(frame: &Frame<'_>) -> u64 {
    match frame.kind {
        Kind::Record => 1,
        Kind::Group => group::count(frame.payload).map_or(0, u64::from),
        _ => 0,
    }
}

/// What a line says of an intact frame.
enum Detail {
    Mark(Mark),
    Bytes(usize),
}

impl Detail {
    fn of(frame: &Frame<'_>) -> Self {
        match Mark::decode(frame.payload).filter(|_| frame.kind == Kind::Mark) {
            Some(mark) => Self::Mark(mark),
            None => Self::Bytes(frame.payload.len()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Mark(mark) => format!(
                "{} records in {} bytes, settled LSN {}{}",
                mark.records,
                mark.batch_bytes,
                mark.settled.lsn,
                if mark.seal { ", sealed" } else { "" }
            ),
            Self::Bytes(bytes) => format!("{bytes} bytes"),
        }
    }
}

/// A file, seen through a buffer that moves.
struct Window {
    file: File,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes from `offset` on: at least `need`, unless the file ends before.
    fn at(&mut self, offset: u64, need: usize) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        let wanted = (offset + need as u64).min(self.len);
        if offset < self.start || wanted > end {
            let bytes = (self.len.saturating_sub(offset)).min(need.max(WINDOW_BYTES) as u64);
            self.bytes.resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
            self.file.read_exact_at(&mut self.bytes, offset)?;
            self.start = offset;
        }
        let skip = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }

    /// The frame at `offset`, of which at most `limit` bytes are left in its extent.
    fn frame(&mut self, framing: &Framing, offset: u64, limit: u64) -> io::Result<Parsed<'_>> {
        let limit = limit.min(self.len.saturating_sub(offset));
        let mut need = MIN_FRAME_BYTES;
        while let Parsed::Need(more) = framing.decode::<HardwareCheck>(self.at(offset, need)?, offset, limit)
        {
            need = more;
        }
        Ok(framing.decode::<HardwareCheck>(self.at(offset, need)?, offset, limit))
    }
}

fn stop_of(parsed: Parsed<'_>) -> &'static str {
    match parsed {
        Parsed::Blank => "blank",
        Parsed::Newer(_) => "newer",
        _ => "bad",
    }
}

pub(super) const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Record => "record",
        Kind::Resume => "resume",
        Kind::Group => "group",
        Kind::Mark => "mark",
        Kind::Pad => "pad",
        Kind::Extent => "extent",
        Kind::Manifest => "manifest",
        Kind::Chunk => "chunk",
        Kind::Index => "index",
        Kind::End => "end",
    }
}

const WINDOW_BYTES: usize = 256 << 10;
const SCAN_BYTES: usize = 4096;
/// The header of a long frame.
const MIN_FRAME_BYTES: usize = 12;
