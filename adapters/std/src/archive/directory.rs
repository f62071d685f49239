//! A directory of archives: which there are, in which order, and whether they follow each other.
//!
//! ```text
//!  wal-00007 ◄── digest ── wal-00008 ◄── digest ── wal-00009        one log of one store, by log id
//!  LSN 1..400              401..900                 901..
//! ```
//!
//! Each archive names the digest of the one before it, and LSNs go on. Where the one or the other is not so, something is missing:
//! a [`Gap`]. The oldest archive may name one that is gone: releasing the oldest only moves the start of the window.

use core::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use strandline_core::archive::Name;
use strandline_core::types::{LogId, Lsn, StoreId};

use super::{Archive, ArchiveError, ArchiveInfo, Digest, Entries, Extended, OwnedEntry, Range};

/// The archives in a directory by their names, in order of log ids.
///
/// # Errors
/// [`ArchiveError::Io`].
pub fn list(directory: &Path) -> Result<Vec<(Name, PathBuf)>, ArchiveError> {
    Ok(sorted(directory)?.0)
}

/// A directory beside archives for those that were put aside.
const QUARANTINE: &str = "quarantine";

/// Archives, and the paths that are none.
type Sorted = (Vec<(Name, PathBuf)>, Vec<PathBuf>);

fn sorted(directory: &Path) -> Result<Sorted, ArchiveError> {
    let failed = |source| ArchiveError::Io { what: "list", path: directory.into(), source };
    let (mut found, mut foreign) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match path.file_name().and_then(|name| Name::parse(&name.to_string_lossy())) {
            Some(name) => found.push((name, path)),
            None if path.ends_with(QUARANTINE) => {}
            None => foreign.push(path),
        }
    }
    found.sort_by(|(a, of_a), (b, of_b)| (a.log, a.timestamps, of_a).cmp(&(b.log, b.timestamps, of_b)));
    foreign.sort();
    Ok((found, foreign))
}

/// What a directory of archives holds; nothing in it is passed over.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// The archives that can be opened, in order.
    pub archives: Vec<ArchiveInfo>,
    /// Those that can't, and those whose names say something else than they do.
    pub damaged: Vec<(PathBuf, ArchiveError)>,
    /// What has no name of an archive.
    pub foreign: Vec<PathBuf>,
}

/// Opens every archive in a directory; of ours only the ends are read.
///
/// # Errors
/// [`ArchiveError::Io`]: the directory can't be read.
///
/// ```
/// let survey = strandline::archive::survey(std::path::Path::new("/nowhere"));
/// assert!(survey.unwrap_err().to_string().starts_with("cannot list /nowhere"));
/// ```
pub fn survey(directory: &Path) -> Result<Survey, ArchiveError> {
    let (found, foreign) = sorted(directory)?;
    let mut survey = Survey { foreign, ..Survey::default() };
    for (_, path) in found {
        match Archive::open(&path).and_then(|archive| archive.info().in_place().map(|()| archive)) {
            Ok(archive) => survey.archives.push(archive.info().clone()),
            Err(error) => survey.damaged.push((path, error)),
        }
    }
    Ok(survey)
}

impl Survey {
    /// Where archives that follow each other don't: LSNs are missing, or the digest is that of another file. The digests of the
    /// archives that others follow are made, which reads them.
    ///
    /// Archives made of SnelDB's logs have no store. Their LSNs mean nothing, and one may have been made late: each must only
    /// follow an archive that is still there.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn gaps(&self) -> Result<Vec<Gap>, ArchiveError> {
        let mut gaps = Vec::new();
        for (number, info) in self.archives.iter().enumerate() {
            let Some(extended) = &info.extended else { continue };
            let same = |earlier: &&ArchiveInfo| {
                earlier.shard == info.shard
                    && earlier.extended.as_ref().is_some_and(|theirs| theirs.store == extended.store)
            };
            let earlier: Vec<_> = self.archives[..number].iter().rev().filter(same).collect();
            let Some(before) = earlier.first() else { continue };
            let broken = match lsns_between(before, info) {
                Some(broken) if extended.store != StoreId::default() => Some(broken),
                _ => (!follows(extended, &earlier)?).then_some(Break::Digest),
            };
            if let Some(broken) = broken {
                gaps.push(Gap { after: before.path.clone(), before: info.path.clone(), broken });
            }
        }
        Ok(gaps)
    }
}

fn lsns_between(before: &ArchiveInfo, info: &ArchiveInfo) -> Option<Break> {
    let (theirs, ours) = (before.extended.as_ref()?, info.extended.as_ref()?);
    let (last, wanted, first) = (theirs.lsns.1, theirs.lsns.1.next(), ours.lsns.0);
    if before.entries == 0 || info.entries == 0 || first == wanted {
        None
    } else if first < wanted {
        Some(Break::Again { first, last })
    } else {
        Some(Break::Lsns { first: wanted, last: Lsn(first.0 - 1) })
    }
}

/// Whether an archive names the one before it, the first of `earlier`; without a store, any of them.
fn follows(extended: &Extended, earlier: &[&ArchiveInfo]) -> Result<bool, ArchiveError> {
    if extended.previous.is_empty() {
        return Ok(true);
    }
    let candidates = if extended.store == StoreId::default() { earlier.len() } else { 1 };
    for info in &earlier[..candidates] {
        if Digest::of_file(&info.path)?.0[..] == extended.previous {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Something is missing between two archives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The archive in front of it.
    pub after: PathBuf,
    /// The archive behind it.
    pub before: PathBuf,
    /// What is wrong there.
    pub broken: Break,
}

/// How two archives don't follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Break {
    /// These LSNs are in no archive.
    Lsns {
        /// The first one.
        first: Lsn,
        /// The last one.
        last: Lsn,
    },
    /// These LSNs are in both.
    Again {
        /// The first one.
        first: Lsn,
        /// The last one.
        last: Lsn,
    },
    /// The later one was made after another file than the earlier one.
    Digest,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (after, before) = (name(&self.after), name(&self.before));
        match self.broken {
            Break::Lsns { first, last } => {
                write!(f, "LSN {} to {} are missing between {after} and {before}", first.0, last.0)
            }
            Break::Again { first, last } => {
                write!(f, "LSN {} to {} are in {after} and again in {before}", first.0, last.0)
            }
            Break::Digest => {
                write!(f, "an archive is missing between {after} and {before}, or {after} was replaced")
            }
        }
    }
}

/// The end of a chain: what the next archive has to name.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    newest: Option<(ArchiveInfo, Digest)>,
}

impl Chain {
    /// Of the newest archive in a directory, by log id; a directory that is not there holds none.
    ///
    /// # Errors
    /// [`ArchiveError`]: the directory or its newest archive can't be read.
    pub fn end(directory: &Path) -> Result<Self, ArchiveError> {
        Self::newest_of(directory, |_| true)
    }

    /// Of the newest archive of a log before this one: what an archive of this log has to name, also when there is one already.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub fn before(directory: &Path, log: LogId) -> Result<Self, ArchiveError> {
        Self::newest_of(directory, |name| name.log < log)
    }

    fn newest_of(directory: &Path, counts: impl Fn(&Name) -> bool) -> Result<Self, ArchiveError> {
        let found = match list(directory) {
            Err(ArchiveError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
        let newest = found.iter().rev().find(|(name, _)| counts(name));
        let Some((_, path)) = newest else { return Ok(Self::default()) };
        let archive = Archive::open(path)?;
        Ok(Self { newest: Some((archive.info().clone(), archive.digest()?)) })
    }

    /// For [`strandline_core::archive::Header::previous`]; empty if there is no archive yet.
    #[must_use]
    pub fn previous(&self) -> &[u8] {
        self.newest.as_ref().map_or(&[], |(_, digest)| &digest.0)
    }

    /// The newest archive.
    #[must_use]
    pub fn newest(&self) -> Option<&ArchiveInfo> {
        self.newest.as_ref().map(|(info, _)| info)
    }
}

/// Recovers what the archives of one shard hold, in order of log ids.
///
/// ```
/// use strandline::archive::Recovery;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let archives = tempfile::tempdir()?;
/// # std::fs::create_dir(archives.path().join("shard-0"))?;
/// let recovery = Recovery::new(0, archives.path().join("shard-0"));
/// let archives = recovery.list_archives()?;
/// for entry in recovery.recover_all()? {
///     let entry = entry?;
///     println!("{} {} {}", entry.timestamp, entry.context, entry.event_type);
/// }
/// # assert!(archives.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Recovery {
    shard: u64,
    directory: PathBuf,
}

impl Recovery {
    /// Of a shard whose archives are in `directory`.
    #[must_use]
    pub fn new(shard: u64, directory: impl Into<PathBuf>) -> Self {
        Self { shard, directory: directory.into() }
    }

    /// The archives, in order. A directory that is not there holds none.
    ///
    /// # Errors
    /// [`ArchiveError`] of the first archive that can't be opened or belongs to another shard.
    pub fn list_archives(&self) -> Result<Vec<ArchiveInfo>, ArchiveError> {
        let survey = self.survey()?;
        match survey.damaged.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(survey.archives),
        }
    }

    /// Everything in the directory; an archive of another shard counts as damaged.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn survey(&self) -> Result<Survey, ArchiveError> {
        let mut survey = match survey(&self.directory) {
            Err(ArchiveError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Survey::default()
            }
            found => found?,
        };
        for info in survey.archives.extract_if(.., |info| info.shard != self.shard) {
            let why = format!("it is of shard {}, not of shard {}", info.shard, self.shard);
            let path = info.path;
            survey.damaged.push((path.clone(), ArchiveError::Misplaced { path, why }));
        }
        Ok(survey)
    }

    /// Every entry of every archive, one by one.
    ///
    /// # Errors
    /// As [`Self::list_archives`].
    pub fn recover_all(&self) -> Result<RecoverAll, ArchiveError> {
        Ok(RecoverAll { left: self.list_archives()?.into_iter(), entries: None })
    }

    /// Every entry of one archive, one by one.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn recover_from_archive(&self, archive: &ArchiveInfo) -> Result<Entries, ArchiveError> {
        Archive::open(&archive.path)?.entries(Range::ALL)
    }
}

/// The entries of several archives. It ends at the first error.
#[derive(Debug)]
pub struct RecoverAll {
    left: std::vec::IntoIter<ArchiveInfo>,
    entries: Option<Entries>,
}

impl Iterator for RecoverAll {
    type Item = Result<OwnedEntry, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.as_mut().and_then(Entries::next) {
                if entry.is_err() {
                    self.left = Vec::new().into_iter();
                }
                return Some(entry);
            }
            let info = self.left.next()?;
            match Archive::open(&info.path).and_then(|archive| archive.entries(Range::ALL)) {
                Ok(entries) => self.entries = Some(entries),
                Err(error) => {
                    self.left = Vec::new().into_iter();
                    self.entries = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
