//! Archives as files: written so that a final name always means a whole archive, read with one block of memory.
//!
//! ```text
//!  entries ─► first pass: totals ─► NAME.tmp ─► sync ─► rename ─► sync of the directory ─► read back
//!          └► second pass: blocks ─┘
//! ```
//!
//! Two passes, since an archive begins with what is in it. The layout is [`strandline_core::archive`]'s.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use strandline_core::archive::entry::{Entry, Stamp};
use strandline_core::archive::pack::Stop;
use strandline_core::archive::reader::{Audit, Index, TAIL_BYTES, Tail, begins_as_ours};
use strandline_core::archive::stamps::MIN_STAMPS;
use strandline_core::archive::writer::{Memory, Output, Push, Refused, Writer};
use strandline_core::archive::{BLOCK_BYTES, BlockRow, Codec, Header, MAX_BLOCK, Name, Prologue};
use strandline_core::archive::{MIN_BLOCK, Totals, Unreadable};
use strandline_core::types::{LogId, Lsn, StoreId};

use crate::check::HardwareCheck;

/// Why an archive was not written, or can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file could not be used.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The entries can't be archived.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another archive has its place, and is not replaced.
    #[error("{} is {of}: it is not replaced", path.display())]
    Taken {
        /// The other archive.
        path: PathBuf,
        /// What it is.
        of: &'static str,
    },
    /// It is damaged.
    #[error("{} is damaged: {part}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What of it.
        part: String,
    },
    /// A newer version wrote it.
    #[error("{} was written by a newer version: use that version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// Whoever gives or takes the entries failed.
    #[error("{0}")]
    Other(String),
}

/// How to write an archive.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    /// zstd's level; without, nothing is compressed.
    pub level: Option<i32>,
    /// Bytes of a block before compression, about.
    pub block_bytes: usize,
}

impl Default for Writing {
    /// Level 1, which on lines of events is both faster and smaller than 3, and 64 KiB.
    fn default() -> Self {
        Self { level: Some(1), block_bytes: BLOCK_BYTES }
    }
}

/// How much of an archive to verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Its end, its front, its sizes: no block is read.
    Quick,
    /// The checksums of all blocks as well.
    Blocks,
    /// Every entry as well, and that they are those which the header counts.
    Full,
}

/// What an archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveInfo {
    /// The store; `None` for an archive of SnelDB, which does not say.
    pub store: Option<StoreId>,
    /// The archived log.
    pub log: LogId,
    /// Number of entries.
    pub entries: u64,
    /// First and last LSN; both 0 for an archive of SnelDB.
    pub lsns: (Lsn, Lsn),
    /// Smallest and largest timestamp, s.
    pub timestamps: (u64, u64),
    /// Number of blocks; 0 for an archive of SnelDB, which has none.
    pub blocks: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

type Taker<'t> = dyn FnMut(&Entry<'_>) -> Result<(), ArchiveError> + 't;

/// Writes the archive of what `entries` hands to its argument, which it is asked for twice; `header` needs no totals, codec or
/// level. Returns the path.
///
/// # Errors
/// [`ArchiveError`]; then there is no file of that name, unless there was one before.
pub fn write(
    directory: &Path,
    header: &Header<'_>,
    writing: Writing,
    mut entries: impl FnMut(&mut Taker<'_>) -> Result<(), ArchiveError>,
) -> Result<PathBuf, ArchiveError> {
    let (mut totals, mut raw) = (Totals::NONE, 0);
    entries(&mut |entry| {
        totals.count(entry);
        raw += entry.encoded_bytes() as u64;
        Ok(())
    })?;
    let codec = if writing.level.is_some() { Codec::Zstd } else { Codec::Raw };
    let header = Header { totals, codec, level: writing.level.unwrap_or(0), ..*header };
    let name = Name { log: header.log, timestamps: totals.timestamps }.to_string();
    let path = directory.join(&name);
    may_stand(directory, &header)?;

    let unfinished = directory.join(format!("{name}.tmp"));
    let failed = |what, source| ArchiveError::Io { what, path: unfinished.clone(), source };
    let written = (|| {
        let file = BufWriter::new(File::create(&unfinished).map_err(|error| failed("create", error))?);
        let mut file = Encoder::new(file, &header, writing)?.run(header, writing, raw, &mut entries)?;
        file.flush().map_err(|error| failed("write", error))?;
        file.get_ref().sync_all().map_err(|error| failed("sync", error))?;
        fs::rename(&unfinished, &path).map_err(|error| failed("rename", error))
    })();
    if let Err(error) = written {
        // What is left of it has a name that nobody takes for an archive.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    sync_directory(directory)?;
    verify(&path, Level::Full)?;
    Ok(path)
}

pub(crate) fn sync_directory(directory: &Path) -> Result<(), ArchiveError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|source| ArchiveError::Io { what: "sync", path: directory.into(), source })
}

/// Refuses if an archive of the same log is there that is of another store or another line of history.
fn may_stand(directory: &Path, header: &Header<'_>) -> Result<(), ArchiveError> {
    for (name, path) in list(directory)? {
        if name.log != header.log {
            continue;
        }
        let of = match Opened::new(&path).and_then(|opened| opened.whose()) {
            Ok(Some(whose)) if whose == (header.store, header.timeline) => continue,
            Ok(Some((store, _))) if store != header.store => "an archive of another store",
            Ok(Some(_)) => "an archive of another line of history",
            Ok(None) => "an archive of SnelDB",
            Err(_) => "not readable",
        };
        return Err(ArchiveError::Taken { path, of });
    }
    Ok(())
}

/// The archives in a directory, by log id.
///
/// # Errors
/// [`ArchiveError::Io`].
pub fn list(directory: &Path) -> Result<Vec<(Name, PathBuf)>, ArchiveError> {
    let failed = |source| ArchiveError::Io { what: "list", path: directory.into(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Some(name) = path.file_name().and_then(|name| Name::parse(&name.to_string_lossy())) {
            found.push((name, path));
        }
    }
    found.sort_by_key(|(name, _)| (name.log, name.timestamps));
    Ok(found)
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

/// A file whose end has been read: one of ours, or one of SnelDB's.
struct Opened {
    path: PathBuf,
    file: File,
    bytes: u64,
    tail: Option<(Tail, Vec<u8>)>,
}

impl Opened {
    fn new(path: &Path) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Io { what: "read", path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut opened = Self { path: path.into(), file, bytes, tail: None };
        let window = opened.window(bytes.saturating_sub(TAIL_BYTES as u64), bytes.min(TAIL_BYTES as u64))?;
        match Tail::read(&window, bytes) {
            Ok(tail) => opened.tail = Some((tail, opened.window(tail.offset, tail.bytes)?)),
            Err(_) if begins_as_ours(&opened.window(0, bytes.min(1024))?) => {
                return Err(opened.damaged("its end is missing or damaged"));
            }
            Err(_) => {}
        }
        Ok(opened)
    }

    fn window(&self, offset: u64, bytes: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut window = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        let read = self.file.read_exact_at(&mut window, offset);
        read.map_err(|source| ArchiveError::Io { what: "read", path: self.path.clone(), source })?;
        Ok(window)
    }

    fn damaged(&self, part: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { path: self.path.clone(), part: part.into() }
    }

    fn unreadable(&self, why: Unreadable, part: &str) -> ArchiveError {
        match why {
            Unreadable::Newer => ArchiveError::Newer { path: self.path.clone() },
            Unreadable::Damaged => self.damaged(part),
        }
    }

    fn index(&self) -> Option<Result<Index<'_>, ArchiveError>> {
        let (tail, window) = self.tail.as_ref()?;
        let read = Index::read::<HardwareCheck>(*tail, window);
        Some(read.map_err(|why| self.unreadable(why, "its index")))
    }

    fn whose(&self) -> Result<Option<(StoreId, strandline_core::types::Timeline)>, ArchiveError> {
        let index = self.index().transpose()?;
        Ok(index.map(|index| (index.header.store, index.header.timeline)))
    }

    /// Reads one of ours up to a level; at the full one `take` gets the entries.
    fn ours(&self, index: &Index<'_>, level: Level, take: &mut Taker<'_>) -> Result<(), ArchiveError> {
        let front = self.window(0, index.front_bytes())?;
        let checked = index.check_front::<HardwareCheck>(&front);
        checked.map_err(|why| self.unreadable(why, "its front does not agree with its index"))?;
        let (mut content, mut audit) = (Vec::new(), Audit::default());
        let rows = index.rows().enumerate().filter(|_| level > Level::Quick);
        for (number, row) in rows {
            let bad = |why| self.unreadable(why, &format!("block {number} at offset {}", row.offset));
            let window = self.window(row.offset, u64::from(row.encoded) + u64::from(row.stamps))?;
            let block = index.check_block::<HardwareCheck>(number, &window).map_err(bad)?;
            if level < Level::Full {
                continue;
            }
            content.resize(row.raw as usize, 0);
            let decoded = match index.header.codec {
                Codec::Raw => block.decode_raw(&mut content),
                Codec::Zstd => zstd::bulk::decompress_to_buffer(block.frame, &mut content[..]).ok(),
            };
            let bytes = decoded.ok_or_else(|| bad(Unreadable::Damaged))?;
            for entry in block.entries::<HardwareCheck>(&content[..bytes]).map_err(bad)? {
                let entry = entry.map_err(bad)?;
                audit.count(&row, &entry).map_err(bad)?;
                take(&entry)?;
            }
        }
        if level == Level::Full {
            let whole = audit.finish(&index.header);
            whole.map_err(|why| self.unreadable(why, "its entries are not those that its header counts"))?;
        }
        Ok(())
    }

    /// Reads one of SnelDB's, which is one stream.
    fn version_1(&self, take: &mut Taker<'_>) -> Result<Prologue, ArchiveError> {
        let failed = |source| ArchiveError::Io { what: "read", path: self.path.clone(), source };
        let file = BufReader::new(File::open(&self.path).map_err(failed)?);
        let mut stream = zstd::Decoder::with_buffer(file).map_err(failed)?;
        let (mut window, mut start, mut prologue, mut left) = (Vec::new(), 0, None, 0);
        loop {
            let step = match prologue {
                None => Prologue::decode(&window).map(|(found, used)| {
                    left = found.entries;
                    prologue = Some(found);
                    start = used;
                }),
                Some(found) if left == 0 => return Ok(found),
                Some(_) => match Entry::decode(&window[start..], Stamp::default()) {
                    Ok((entry, used)) => {
                        left -= 1;
                        take(&entry)?;
                        start += used;
                        Ok(())
                    }
                    Err(stop) => Err(stop),
                },
            };
            match step {
                Ok(()) => {}
                Err(Stop::Bad) => return Err(self.damaged("it is not an archive")),
                Err(Stop::Short) if window.len() - start > MAX_BLOCK => {
                    return Err(self.damaged("an entry is too large"));
                }
                Err(Stop::Short) => {
                    window.drain(..start);
                    start = 0;
                    let more = (&mut stream).take(BLOCK_BYTES as u64).read_to_end(&mut window);
                    if more.map_err(|error| self.damaged(format!("it can't be decompressed: {error}")))? == 0
                    {
                        return Err(self.damaged("it ends early"));
                    }
                }
            }
        }
    }

    fn read(&self, level: Level, take: &mut Taker<'_>) -> Result<ArchiveInfo, ArchiveError> {
        if let Some(index) = self.index().transpose()? {
            self.ours(&index, level, take)?;
            let Header { store, log, totals, .. } = index.header;
            return Ok(ArchiveInfo {
                store: Some(store),
                log,
                entries: u64::from(totals.entries),
                lsns: totals.lsns,
                timestamps: totals.timestamps,
                blocks: index.blocks(),
                bytes: self.bytes,
            });
        }
        let found = self.version_1(take)?;
        Ok(ArchiveInfo {
            store: None,
            log: LogId(found.log),
            entries: found.entries,
            lsns: (Lsn(0), Lsn(0)),
            timestamps: found.timestamps,
            blocks: 0,
            bytes: self.bytes,
        })
    }
}

/// Hands every entry of an archive to `take`, ours or SnelDB's, in order. Entries of SnelDB have an empty stamp. What was
/// handed over before an error is intact.
///
/// # Errors
/// [`ArchiveError`], also of `take`.
pub fn read(
    path: &Path,
    mut take: impl FnMut(&Entry<'_>) -> Result<(), ArchiveError>,
) -> Result<ArchiveInfo, ArchiveError> {
    Opened::new(path)?.read(Level::Full, &mut take)
}

/// Verifies an archive. SnelDB's are always read as a whole; they have no checksums, so that only what does not decode is found.
///
/// # Errors
/// [`ArchiveError`].
pub fn verify(path: &Path, level: Level) -> Result<ArchiveInfo, ArchiveError> {
    Opened::new(path)?.read(level, &mut |_| Ok(()))
}
