//! Writes an archive: everything under a temporary name first, the final name last.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use strandline_core::archive::entry::{Entry, Payload};
use strandline_core::archive::stamps::MIN_STAMPS;
use strandline_core::archive::writer::{Memory, Output, Push, Refused, Writer};
use strandline_core::archive::{BLOCK_BYTES, BlockRow, Codec, Header, MIN_BLOCK, Name, Totals};

use super::{Archive, ArchiveError, ArchiveInfo, Extended, Level, list, value};
use crate::check::HardwareCheck;

/// How to write an archive.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    /// zstd's level; without, nothing is compressed.
    pub level: Option<i32>,
    /// Bytes of a block before compression, about.
    pub block_bytes: usize,
    /// Keeps payloads to the values that SnelDB's own reader takes: nil, booleans, i64, f64 and strings. Other values become
    /// strings: larger integers their digits, times RFC 3339, bytes base64, arrays and maps JSON. The types are lost.
    pub strict_v1: bool,
}

impl Default for Writing {
    /// Level 1, which on lines of events is both faster and smaller than 3, and 64 KiB.
    fn default() -> Self {
        Self { level: Some(1), block_bytes: BLOCK_BYTES, strict_v1: false }
    }
}

/// Takes one entry after the other.
pub type Taker<'t> = dyn FnMut(&Entry<'_>) -> Result<(), ArchiveError> + 't;

/// Writes the archive of what `entries` hands to its argument, which it is asked for twice; `header` needs no totals, codec or
/// level. It is read back in full before it gets its name. Returns the path.
///
/// If the very same archive is there already, with the same source, it stays as it is: archiving a log again does not break the
/// chain behind it.
///
/// # Errors
/// [`ArchiveError`]; then there is no file of that name, unless there was one before.
pub fn write(
    directory: &Path,
    header: &Header<'_>,
    writing: Writing,
    entries: impl FnMut(&mut Taker<'_>) -> Result<(), ArchiveError>,
) -> Result<PathBuf, ArchiveError> {
    build(directory, header, writing, entries)?.publish()
}

/// The first half of [`write()`]: builds the archive under a temporary name and syncs it.
///
/// # Errors
/// [`ArchiveError`].
pub fn build(
    directory: &Path,
    header: &Header<'_>,
    writing: Writing,
    mut entries: impl FnMut(&mut Taker<'_>) -> Result<(), ArchiveError>,
) -> Result<Built, ArchiveError> {
    let mut strict = value::Strict::default();
    let mut entries = |take: &mut Taker<'_>| match writing.strict_v1 {
        false => entries(take),
        true => {
            entries(&mut |entry| take(&Entry { payload: Payload::Map(strict.payload(entry)?), ..*entry }))
        }
    };
    let (mut totals, mut raw) = (Totals::NONE, 0);
    entries(&mut |entry| {
        totals.count(entry);
        raw += entry.encoded_bytes() as u64;
        Ok(())
    })?;
    let codec = if writing.level.is_some() { Codec::Zstd } else { Codec::Raw };
    let header = Header { totals, codec, level: writing.level.unwrap_or(0), ..*header };
    let name = Name { log: header.log, timestamps: totals.timestamps }.to_string();
    let published = may_stand(directory, &header, &name)?;
    let built =
        Built { path: directory.join(&name), unfinished: directory.join(format!("{name}.tmp")), published };
    if published {
        return Ok(built);
    }
    let failed = |what, source| ArchiveError::Io { what, path: built.unfinished.clone(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&built.unfinished);
    let file = file.map_err(|error| failed("create", error))?;
    let out = Encoder::new(BufWriter::new(file), &header, writing)?;
    let mut file = out.run(header, writing, raw, &mut entries)?;
    file.flush().map_err(|error| failed("write", error))?;
    file.get_ref().sync_all().map_err(|error| failed("sync", error))?;
    Ok(built)
}

/// An archive that is complete and synced, and has no name yet. Dropped, it is removed.
#[derive(Debug)]
pub struct Built {
    path: PathBuf,
    unfinished: PathBuf,
    published: bool,
}

impl Built {
    /// Reads it back in full, gives it its name, and syncs the directory. Returns the path.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn publish(mut self) -> Result<PathBuf, ArchiveError> {
        if self.published {
            return Ok(self.path.clone());
        }
        Archive::open(&self.unfinished)?.verify(Level::Full)?;
        let renamed = fs::rename(&self.unfinished, &self.path);
        renamed.map_err(|source| ArchiveError::Io {
            what: "rename",
            path: self.unfinished.clone(),
            source,
        })?;
        self.published = true;
        sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(self.path.clone())
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        if !self.published {
            // What is left of it has a name that nobody takes for an archive.
            let _ = fs::remove_file(&self.unfinished);
        }
    }
}

pub(crate) fn sync_directory(directory: &Path) -> Result<(), ArchiveError> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|source| ArchiveError::Io { what: "sync", path: directory.into(), source })
}

/// Whether the archive is there already. Refuses if another one of the same log is: of another store or line of history, or with
/// other entries.
fn may_stand(directory: &Path, header: &Header<'_>, own: &str) -> Result<bool, ArchiveError> {
    let mut there = false;
    for (name, path) in list(directory)? {
        if name.log != header.log {
            continue;
        }
        let archive = Archive::open(&path).map_err(|_| taken(&path, "not readable"))?;
        let info = archive.info();
        let Some(theirs) = &info.extended else { return Err(taken(&path, "an archive of SnelDB")) };
        if theirs.store != header.store {
            return Err(taken(&path, "an archive of another store"));
        }
        if theirs.timeline != header.timeline {
            return Err(taken(&path, "an archive of another line of history"));
        }
        if name.to_string() != own {
            return Err(taken(&path, "an archive of the same log with other entries"));
        }
        there = is_same(info, theirs, header) && archive.verify(Level::Full).is_ok();
    }
    Ok(there)
}

fn taken(path: &Path, of: &'static str) -> ArchiveError {
    ArchiveError::Taken { path: path.into(), of }
}

fn is_same(info: &ArchiveInfo, theirs: &Extended, header: &Header<'_>) -> bool {
    let Totals { entries, lsns, times, largest, .. } = header.totals;
    !header.source.is_empty()
        && theirs.source == header.source
        && (info.entries, theirs.lsns, theirs.times, theirs.largest)
            == (u64::from(entries), lsns, times, largest)
        && (theirs.codec, info.level) == (header.codec, i64::from(header.level))
}

/// The output and what compresses.
struct Encoder<W> {
    out: W,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    frame: Vec<u8>,
}

impl<W: Write> Encoder<W> {
    fn new(out: W, header: &Header<'_>, writing: Writing) -> Result<Self, ArchiveError> {
        let failed = |error: io::Error| ArchiveError::Other(format!("zstd: {error}"));
        let compressor = writing.level.map(|level| {
            let mut compressor = zstd::bulk::Compressor::new(level)?;
            compressor.include_checksum(true)?;
            compressor.include_contentsize(true)?;
            Ok(compressor)
        });
        let bytes = zstd::zstd_safe::compress_bound(block_memory(header, writing));
        let frame = if compressor.is_some() { vec![0; bytes] } else { Vec::new() };
        Ok(Self { out, compressor: compressor.transpose().map_err(failed)?, frame })
    }

    fn run(
        mut self,
        header: Header<'_>,
        writing: Writing,
        raw: u64,
        entries: &mut impl FnMut(&mut Taker<'_>) -> Result<(), ArchiveError>,
    ) -> Result<W, ArchiveError> {
        let mut block = vec![0; block_memory(&header, writing)];
        let mut stamps = vec![0; block.len() / 4 + 4096];
        let rows = most_blocks(raw, header.totals.entries, writing.block_bytes, stamps.len());
        let mut table = vec![BlockRow::default(); rows];
        let memory = Memory { block: &mut block, stamps: &mut stamps, table: &mut table };
        let mut writer = Writer::<HardwareCheck>::begin(header, writing.block_bytes, memory)?;
        self.drain(&mut writer)?;
        entries(&mut |entry| {
            while writer.push(entry)? == Push::Drain {
                self.drain(&mut writer)?;
            }
            Ok(())
        })?;
        writer.finish()?;
        self.drain(&mut writer)?;
        Ok(self.out)
    }

    fn drain(&mut self, writer: &mut Writer<'_, HardwareCheck>) -> Result<(), ArchiveError> {
        let failed = |error: io::Error| ArchiveError::Other(format!("the archive can't be written: {error}"));
        loop {
            let bytes = match writer.poll()? {
                Output::Idle => return Ok(()),
                Output::Append(bytes) => {
                    self.out.write_all(bytes).map_err(failed)?;
                    continue;
                }
                Output::Encode(content) => {
                    let Some(compressor) = &mut self.compressor else { return Err(Refused::Encoding.into()) };
                    compressor.compress_to_buffer(content, &mut self.frame[..]).map_err(failed)?
                }
            };
            writer.encoded(&self.frame[..bytes])?;
            self.out.write_all(&self.frame[..bytes]).map_err(failed)?;
        }
    }
}

fn block_memory(header: &Header<'_>, writing: Writing) -> usize {
    header.totals.largest.max(writing.block_bytes).max(MIN_BLOCK)
}

/// Two blocks that follow each other hold more than one block's bytes, or the stamps of the first were full.
fn most_blocks(raw: u64, entries: u32, block_bytes: usize, stamps: usize) -> usize {
    let full = 2 * raw / block_bytes.max(1) as u64;
    let of_stamps = u64::from(entries) * MIN_STAMPS as u64 / (stamps - MIN_STAMPS) as u64;
    usize::try_from(full.saturating_add(of_stamps)).unwrap_or(usize::MAX).min(entries as usize) + 2
}
