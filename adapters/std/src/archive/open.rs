//! One archive, ours or SnelDB's: what it says of itself, and whether it is intact.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strandline_core::archive::entry::Entry;
use strandline_core::archive::reader::{Index, TAIL_BYTES, Tail, begins_as_ours};
use strandline_core::archive::{Codec, Header, Name, Prologue, Unreadable};
use strandline_core::types::{Epoch, LogId, Lsn, Millis, StoreId, Timeline};

use super::entries::{Blocks, Source, Stream};
use super::{ArchiveError, Digest, Entries, Range, Taker};
use crate::check::HardwareCheck;

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
    /// The file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
    /// Part of the store that has a log of its own.
    pub shard: u64,
    /// The archived log.
    pub log: LogId,
    /// Number of entries.
    pub entries: u64,
    /// Smallest and largest timestamp, s.
    pub timestamps: (u64, u64),
    /// The compressor's level.
    pub level: i64,
    /// When it was made.
    pub created: Millis,
    /// What only our archives say; `None` for one of SnelDB.
    pub extended: Option<Extended>,
}

impl ArchiveInfo {
    /// Whether it says what its place says: the name, if that is one of an archive, and the directory, if that is a shard's.
    ///
    /// # Errors
    /// [`ArchiveError::Misplaced`].
    pub fn in_place(&self) -> Result<(), ArchiveError> {
        let misplaced = |why| Err(ArchiveError::Misplaced { path: self.path.clone(), why });
        let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
        let inside = Name { log: self.log, timestamps: self.timestamps };
        let named = self.path.file_name().and_then(|name| Name::parse(&text(name)));
        if named.is_some_and(|named| named != inside) {
            return misplaced(format!("it is {inside}"));
        }
        let directory = self.path.parent().and_then(Path::file_name).map(text).unwrap_or_default();
        match directory.strip_prefix("shard-").and_then(|shard| shard.parse::<u64>().ok()) {
            Some(shard) if shard != self.shard => {
                misplaced(format!("it is of shard {}, not of shard {shard}", self.shard))
            }
            _ => Ok(()),
        }
    }
}

/// What an archive of SnelDB has no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extended {
    /// The store.
    pub store: StoreId,
    /// Its line of history.
    pub timeline: Timeline,
    /// Epoch of the archived segment.
    pub epoch: Epoch,
    /// First and last LSN; both 0 without entries.
    pub lsns: (Lsn, Lsn),
    /// Earliest and latest time.
    pub times: (Millis, Millis),
    /// How its blocks are encoded.
    pub codec: Codec,
    /// Number of blocks.
    pub blocks: usize,
    /// Bytes of the largest entry.
    pub largest: usize,
    /// Digest of what was archived; empty if there is none.
    pub source: Vec<u8>,
    /// Digest of the archive before this one; empty if there is none.
    pub previous: Vec<u8>,
    /// Name of the program that wrote it.
    pub writer: String,
}

/// An open archive.
#[derive(Debug)]
pub struct Archive {
    bytes: Bytes,
    tail: Option<(Tail, Vec<u8>)>,
    info: ArchiveInfo,
}

impl Archive {
    /// Opens an archive and reads its end; of one of SnelDB, its beginning.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Io { what: "read", path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(ArchiveError::Damaged { path: path.into(), part: "it is not a file".into() });
        }
        let info = ArchiveInfo {
            path: path.into(),
            bytes: found.len(),
            shard: 0,
            log: LogId(0),
            entries: 0,
            timestamps: (0, 0),
            level: 0,
            created: Millis(0),
            extended: None,
        };
        let bytes = Bytes { path: path.into(), file: Arc::new(file) };
        let mut archive = Self { bytes, tail: None, info };
        archive.read_end()?;
        archive.info = match &archive.tail {
            Some((tail, window)) => {
                let index = Index::read::<HardwareCheck>(*tail, window);
                archive.ours(&index.map_err(|why| archive.bytes.unreadable(why, INDEX))?)
            }
            None => archive.version_1(Stream::open(&archive.bytes)?.prologue()),
        };
        Ok(archive)
    }

    /// What it says of itself.
    #[must_use]
    pub fn info(&self) -> &ArchiveInfo {
        &self.info
    }

    /// Makes what is read come from the device, not from the system's cache, where the system can be asked for that.
    pub fn bypass_cache(&self) {
        crate::dir::forget_pages(&self.bytes.file);
    }

    /// SHA-256 of the file, which the next archive names.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn digest(&self) -> Result<Digest, ArchiveError> {
        Digest::of_file(&self.info.path)
    }

    /// Hands every entry of a range to `take`, in order. Entries of SnelDB have an empty stamp. What was handed over before an
    /// error is intact.
    ///
    /// # Errors
    /// [`ArchiveError`], also of `take`.
    pub fn read(
        &self,
        range: Range,
        mut take: impl FnMut(&Entry<'_>) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let take: &mut Taker<'_> = &mut take;
        let mut source = self.source(range)?;
        while source.step(take)? {}
        Ok(())
    }

    /// Hands every entry of an intact block to `take`, in order, and returns the LSNs that the damaged blocks hold: first ones, and the
    /// ones behind the last. For one of ours whose end can be read.
    ///
    /// # Errors
    /// [`ArchiveError`], also of `take`.
    pub fn read_intact(&self, take: &mut Taker<'_>) -> Result<Vec<(Lsn, Lsn)>, ArchiveError> {
        let Some(index) = self.index()? else { return Err(ArchiveError::NoLsns(self.info.path.clone())) };
        let mut blocks = Blocks::open(&self.bytes, &index, Range::ALL)?;
        let mut lost = Vec::new();
        loop {
            let block = blocks.next_lsns();
            match blocks.step_strictly(take) {
                Ok(true) => {}
                Ok(false) => return Ok(lost),
                Err(ArchiveError::Damaged { .. }) if block.is_some() => lost.extend(block),
                // It says that entries are missing, which is known.
                Err(ArchiveError::Damaged { .. }) => return Ok(lost),
                Err(error) => return Err(error),
            }
        }
    }

    /// The entries of a range one by one, in order; one block of them is in memory.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn entries(&self, range: Range) -> Result<Entries, ArchiveError> {
        Ok(Entries::new(self.source(range)?))
    }

    /// Verifies it. SnelDB's are always read as a whole; they have no checksums, so that only what does not decode is found.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn verify(&self, level: Level) -> Result<(), ArchiveError> {
        self.verify_with(level, |_| {})
    }

    /// Verifies it and tells `progress` how many entries are verified.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn verify_with(&self, level: Level, mut progress: impl FnMut(u64)) -> Result<(), ArchiveError> {
        let Some(index) = self.index()?.filter(|_| level < Level::Full) else {
            let mut count = 0;
            return self.read(Range::ALL, |_| {
                count += 1;
                progress(count);
                Ok(())
            });
        };
        let mut blocks = Blocks::open(&self.bytes, &index, Range::ALL)?;
        while level > Level::Quick && blocks.check_next()? {
            progress(blocks.entries_checked());
        }
        Ok(())
    }

    fn source(&self, range: Range) -> Result<Source, ArchiveError> {
        match self.index()? {
            Some(index) => Ok(Source::Ours(Box::new(Blocks::open(&self.bytes, &index, range)?))),
            None if range.asks_for_lsns() => Err(ArchiveError::NoLsns(self.info.path.clone())),
            None => Ok(Source::Version1(Box::new(Stream::open(&self.bytes)?.within(range)))),
        }
    }

    fn read_end(&mut self) -> Result<(), ArchiveError> {
        let bytes = self.info.bytes;
        let mut window = Vec::new();
        let foot = bytes.min(TAIL_BYTES as u64);
        self.bytes.window(bytes - foot, foot, &mut window)?;
        match Tail::read(&window, bytes) {
            Ok(tail) if tail.bytes <= MAX_TAIL => {
                self.bytes.window(tail.offset, tail.bytes, &mut window)?;
                self.tail = Some((tail, window));
            }
            Ok(_) => return Err(self.bytes.damaged("its index is larger than any index is")),
            Err(_) => {
                self.bytes.window(0, bytes.min(1024), &mut window)?;
                if begins_as_ours(&window) {
                    return Err(self.bytes.damaged("its end is missing or damaged"));
                }
            }
        }
        Ok(())
    }

    fn index(&self) -> Result<Option<Index<'_>>, ArchiveError> {
        let Some((tail, window)) = &self.tail else { return Ok(None) };
        let read = Index::again(*tail, window);
        read.map(Some).map_err(|why| self.bytes.unreadable(why, INDEX))
    }

    fn ours(&self, index: &Index<'_>) -> ArchiveInfo {
        let Header { totals, .. } = index.header;
        let extended = Extended {
            store: index.header.store,
            timeline: index.header.timeline,
            epoch: index.header.epoch,
            lsns: totals.lsns,
            times: totals.times,
            codec: index.header.codec,
            blocks: index.blocks(),
            largest: totals.largest,
            source: index.header.source.into(),
            previous: index.header.previous.into(),
            writer: index.header.writer.into(),
        };
        let created = index.header.created;
        ArchiveInfo { created, extended: Some(extended), ..self.version_1(index.header.prologue()) }
    }

    fn version_1(&self, found: Prologue) -> ArchiveInfo {
        ArchiveInfo {
            shard: found.shard,
            log: LogId(found.log),
            entries: found.entries,
            timestamps: found.timestamps,
            level: found.level,
            created: Millis(found.created.saturating_mul(1000)),
            ..self.info.clone()
        }
    }
}

/// The bytes of an archive.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    pub(super) path: PathBuf,
    file: Arc<File>,
}

impl Bytes {
    /// Reads `bytes` bytes at `offset` into `window`, and nothing else.
    pub(super) fn window(&self, offset: u64, bytes: u64, window: &mut Vec<u8>) -> Result<(), ArchiveError> {
        window.resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        let read = self.file.read_exact_at(window, offset);
        read.map_err(|source| ArchiveError::Io { what: "read", path: self.path.clone(), source })
    }

    pub(super) fn damaged(&self, part: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { path: self.path.clone(), part: part.into() }
    }

    pub(super) fn unreadable(&self, why: Unreadable, part: &str) -> ArchiveError {
        match why {
            Unreadable::Newer => ArchiveError::Newer { path: self.path.clone() },
            Unreadable::Damaged => self.damaged(part),
        }
    }
}

/// Hands every entry of an archive to `take`; see [`Archive::read`].
///
/// # Errors
/// [`ArchiveError`], also of `take`.
pub fn read(
    path: &Path,
    take: impl FnMut(&Entry<'_>) -> Result<(), ArchiveError>,
) -> Result<ArchiveInfo, ArchiveError> {
    let archive = Archive::open(path)?;
    archive.read(Range::ALL, take)?;
    Ok(archive.info)
}

/// Verifies an archive; see [`Archive::verify`].
///
/// # Errors
/// [`ArchiveError`].
pub fn verify(path: &Path, level: Level) -> Result<ArchiveInfo, ArchiveError> {
    let archive = Archive::open(path)?;
    archive.verify(level)?;
    Ok(archive.info)
}

/// What is damaged when it is not a block.
const INDEX: &str = "its index";
/// Index and seek table of some three hundred gigabytes of events.
const MAX_TAIL: u64 = 256 << 20;
