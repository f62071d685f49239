//! The only code that touches the operating system: one arm per step of [`strandline_core::lower::posix`].

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use rustix::io::Errno;
use strandline_core::action::{Action, Failure};
use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::{Directory, File as Name, Step, lower};

use crate::place::make_directory;

/// Where a store's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The manifest and the segments.
    pub log: PathBuf,
    /// The snapshots.
    pub snapshots: PathBuf,
    /// What segment names begin with.
    pub prefix: String,
}

/// An action that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {source}", path.display())]
pub struct StepError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl StepError {
    /// Whether the file was not there.
    pub(crate) fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// What the engine cares about: too many open files pass as a full device does.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let handles = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::NoSpace,
            _ if handles.contains(&self.source.raw_os_error()) => Failure::NoSpace,
            _ => Failure::Io,
        }
    }
}

/// A file in a store's directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// One of the store's own.
    Ours(Name),
    /// Something else.
    Foreign(PathBuf),
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Handles that are kept: the manifest's, and a few more segments than can be written or waiting for a sync.
const HANDLES: usize = 32;
/// How often a file that is written is looked up again.
const LOOKED_UP: Duration = Duration::from_millis(50);
/// What else may lie in the directories.
const QUARANTINE: &str = "quarantine";
pub(crate) const LOCK: &str = "LOCK";

/// The open files of a store.
#[derive(Debug)]
pub(crate) struct Dir {
    places: Places,
    geometry: Geometry,
    /// Files that are written, the last used one last.
    open: Mutex<Vec<(Name, Arc<File>)>>,
    directories: [OnceLock<File>; 2],
    /// When a file that is written was last seen under its name.
    seen: Mutex<Instant>,
    /// For rehearsals: what is read instead of what is there.
    pretence: Pretence,
    /// Bytes that were read.
    progress: Arc<AtomicU64>,
}

/// Changes that are not made, only seen: recovery reads as if they were.
#[derive(Debug, Default)]
pub(crate) struct Pretence {
    /// Files with other bytes.
    pub(crate) instead: BTreeMap<Name, Vec<u8>>,
    /// Files that are not there.
    pub(crate) hidden: BTreeSet<PathBuf>,
}

impl Dir {
    /// Creates the directories if they do not exist, for this user only, durably.
    pub(crate) fn create(places: Places, geometry: Geometry) -> Result<Self, StepError> {
        for place in [&places.log, &places.snapshots] {
            make_directory(place).map_err(|source| StepError {
                what: "create directory",
                path: place.clone(),
                source,
            })?;
        }
        Ok(Self::existing(places, geometry))
    }

    /// Uses directories that exist.
    pub(crate) fn existing(places: Places, geometry: Geometry) -> Self {
        Self {
            places,
            geometry,
            open: Mutex::new(Vec::new()),
            directories: Default::default(),
            seen: Mutex::new(Instant::now()),
            pretence: Pretence::default(),
            progress: Arc::default(),
        }
    }

    /// Counts the bytes that are read from now on.
    pub(crate) fn count_reads(&mut self, progress: Arc<AtomicU64>) {
        self.progress = progress;
    }

    pub(crate) fn pretence_mut(&mut self) -> &mut Pretence {
        &mut self.pretence
    }

    pub(crate) fn pretence(&self) -> &Pretence {
        &self.pretence
    }

    /// Whether other bytes are read instead of this file's.
    pub(crate) fn is_replaced(&self, name: Name) -> bool {
        self.pretence.instead.contains_key(&name)
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Carries out the steps of an action, in their order.
    pub(crate) fn perform(&self, action: Action, bytes: &[u8]) -> Result<(), StepError> {
        for step in lower(action, self.geometry) {
            self.step(step, bytes)?;
        }
        Ok(())
    }

    fn step(&self, step: Step, content: &[u8]) -> Result<(), StepError> {
        let (what, path, done) = match step {
            Step::Create(name) => ("create", self.path(name), self.create_file(name)),
            Step::Zero { file, bytes } => {
                ("prepare", self.path(file), self.file(file).and_then(|file| zero(&file, bytes)))
            }
            Step::Write { file: name, offset, .. } => {
                let written = self.file(name).and_then(|file| {
                    file.write_all_at(content, offset)?;
                    self.look_up(name, &file)
                });
                ("write", self.path(name), written)
            }
            Step::Sync(name) => {
                let synced = self.file(name).and_then(|file| {
                    file.sync_data()?;
                    self.look_up(name, &file)
                });
                ("sync", self.path(name), synced)
            }
            Step::SyncDirectory(directory) => {
                let path = self.directory(directory);
                ("sync directory", path, self.open_directory(directory).and_then(File::sync_all))
            }
            Step::Rename { from, to } => {
                self.forget(from);
                ("rename", self.path(from), fs::rename(self.path(from), self.path(to)))
            }
            Step::Remove(file) => ("remove", self.path(file), self.remove(file)),
        };
        done.map_err(|source| StepError { what, path, source })
    }

    /// What is written to a file that was removed is gone with the process, and the system reports nothing: now and then the name
    /// is looked up again.
    fn look_up(&self, name: Name, file: &File) -> io::Result<()> {
        let mut seen = self.seen.lock();
        if !matches!(name, Name::Segment(_)) || seen.elapsed() < LOOKED_UP {
            return Ok(());
        }
        *seen = Instant::now();
        drop(seen);
        let written = file.metadata()?;
        let which = |found: &Metadata| (found.dev(), found.ino());
        // Not every file system counts links.
        let is_there = || fs::metadata(self.path(name)).is_ok_and(|found| which(&found) == which(&written));
        if written.nlink() == 0 && !is_there() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed while it was written"));
        }
        Ok(())
    }

    /// Reads into `into` until it is full or the file ends; a file that does not exist has no bytes.
    pub(crate) fn read(&self, name: Name, offset: u64, into: &mut [u8]) -> Result<usize, StepError> {
        let failed = |source| StepError { what: "read", path: self.path(name), source };
        if let Some(bytes) = self.pretence.instead.get(&name) {
            let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
            let len = into.len().min(bytes.len() - start);
            into[..len].copy_from_slice(&bytes[start..start + len]);
            return Ok(len);
        }
        if self.pretence.hidden.contains(&self.path(name)) {
            return Ok(0);
        }
        let file = match self.file(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed(error)),
        };
        let read = read_at(&file, offset, into).map_err(failed)?;
        self.progress.fetch_add(read as u64, Relaxed);
        Ok(read)
    }

    /// Whether a file holds nothing but zeros.
    pub(crate) fn is_blank(&self, name: Name) -> Result<bool, StepError> {
        let mut window = vec![0; ZEROS.len()];
        let mut offset = 0;
        loop {
            let read = self.read(name, offset, &mut window)?;
            if window[..read] != ZEROS[..read] {
                return Ok(false);
            }
            if read < window.len() {
                return Ok(true);
            }
            offset += read as u64;
        }
    }

    /// Length of a file, bytes.
    pub(crate) fn len(&self, name: Name) -> Result<u64, StepError> {
        let len = self.file(name).and_then(|file| file.metadata()).map(|metadata| metadata.len());
        len.map_err(|source| StepError { what: "read", path: self.path(name), source })
    }

    /// A handle of the reader's own, which stays valid when the file is removed: those that are kept are for whoever writes.
    pub(crate) fn open_to_read(&self, name: Name) -> io::Result<Arc<File>> {
        File::open(self.path(name)).map(Arc::new)
    }

    /// A handle that stays valid when the file is removed.
    pub(crate) fn file(&self, name: Name) -> io::Result<Arc<File>> {
        let mut open = self.open.lock();
        if let Some(at) = open.iter().position(|(of, _)| *of == name) {
            open[at..].rotate_left(1);
            return Ok(open[open.len() - 1].1.clone());
        }
        drop(open);
        let file = match OpenOptions::new().read(true).write(true).open(self.path(name)) {
            // A device that fails is often mounted for reading only.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                File::open(self.path(name))?
            }
            other => other?,
        };
        Ok(self.keep(name, file))
    }

    fn create_file(&self, name: Name) -> io::Result<()> {
        let path = self.path(name);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        self.keep(name, file);
        Ok(())
    }

    /// Keeps a handle, letting go of the one that was used longest ago if there are many: that of a segment which was sealed
    /// and synced long before.
    fn keep(&self, name: Name, file: File) -> Arc<File> {
        let file = Arc::new(file);
        let mut open = self.open.lock();
        open.retain(|(of, _)| *of != name);
        if open.len() >= HANDLES {
            open.remove(0);
        }
        open.push((name, file.clone()));
        file
    }

    fn forget(&self, name: Name) {
        self.open.lock().retain(|(of, _)| *of != name);
    }

    /// Removes a file; its space is free as soon as nobody reads it any more.
    pub(crate) fn remove(&self, name: Name) -> io::Result<()> {
        self.forget(name);
        fs::remove_file(self.path(name))
    }

    fn open_directory(&self, directory: Directory) -> io::Result<&File> {
        let slot = &self.directories[usize::from(directory == Directory::Snapshots)];
        if let Some(file) = slot.get() {
            return Ok(file);
        }
        let file = File::open(self.directory(directory))?;
        Ok(slot.get_or_init(|| file))
    }

    /// Everything in the directories, in the order of names, except the lock and the quarantine.
    pub(crate) fn list(&self) -> Result<Vec<Found>, StepError> {
        let mut found = Vec::new();
        for directory in [Directory::Log, Directory::Snapshots] {
            let place = self.directory(directory);
            let failed = |source| StepError { what: "list", path: place.clone(), source };
            for entry in fs::read_dir(&place).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if self.pretence.hidden.contains(&entry.path()) {
                    continue;
                }
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let ours =
                    Name::parse(&name, &self.places.prefix).filter(|ours| ours.directory() == directory);
                match ours {
                    Some(ours) => found.push(Found::Ours(ours)),
                    None if entry.file_type().is_ok_and(|kind| kind.is_dir()) || name == LOCK => {}
                    None if self.places.log == self.places.snapshots
                        && Name::parse(&name, &self.places.prefix).is_some() => {}
                    None => found.push(Found::Foreign(entry.path())),
                }
            }
        }
        let instead = self.pretence.instead.keys().copied();
        found.extend(instead.filter(|name| matches!(name, Name::Segment(_))).map(Found::Ours));
        found.sort_by_key(|found| match found {
            Found::Ours(name) => (*name, PathBuf::new()),
            Found::Foreign(path) => (Name::Unfinished(u32::MAX), path.clone()),
        });
        found.dedup();
        Ok(found)
    }

    /// Moves a file to `quarantine/` beside it; returns its new path.
    pub(crate) fn quarantine(&self, path: &Path) -> Result<PathBuf, StepError> {
        let to = self.quarantine_place(path)?;
        fs::rename(path, &to).map_err(|source| StepError {
            what: "quarantine",
            path: path.into(),
            source,
        })?;
        Ok(to)
    }

    /// Gives a file a second name in `quarantine/` beside it; where that can't be, copies it. Returns the new path.
    pub(crate) fn link_aside(&self, path: &Path) -> Result<PathBuf, StepError> {
        let to = self.quarantine_place(path)?;
        let linked = fs::hard_link(path, &to)
            .or_else(|_| fs::copy(path, &to).and_then(|_| File::open(&to)?.sync_all()));
        linked.map_err(|source| StepError { what: "quarantine", path: path.into(), source })?;
        Ok(to)
    }

    /// The files in the quarantines, with their sizes.
    pub(crate) fn quarantined(&self) -> Vec<(PathBuf, u64)> {
        let mut places = vec![self.places.log.join(QUARANTINE), self.places.snapshots.join(QUARANTINE)];
        places.dedup();
        let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok().filter(|it| it.is_file())?.len())))
            .collect();
        found.sort();
        found
    }

    /// Copies a file to `quarantine/` beside it, durably; returns the copy's path.
    pub(crate) fn preserve(&self, name: Name) -> Result<PathBuf, StepError> {
        let path = self.path(name);
        let to = self.quarantine_place(&path)?;
        let place = to.parent().unwrap_or(Path::new("."));
        let copied = fs::copy(&path, &to)
            .and_then(|_| File::open(&to)?.sync_all())
            .and_then(|()| File::open(place)?.sync_all())
            .and_then(|()| self.open_directory(name.directory())?.sync_all());
        copied.map_err(|source| StepError { what: "quarantine", path, source })?;
        Ok(to)
    }

    fn quarantine_place(&self, path: &Path) -> Result<PathBuf, StepError> {
        let failed = |source| StepError { what: "quarantine", path: path.into(), source };
        let place = path.parent().unwrap_or(Path::new(".")).join(QUARANTINE);
        make_directory(&place).map_err(failed)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let free = (0..u32::MAX).map(|count| match count {
            0 => place.join(&name),
            _ => place.join(format!("{name}.{count}")),
        });
        free.into_iter()
            .find(|path| !path.exists())
            .ok_or_else(|| failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: Name) -> PathBuf {
        self.directory(name.directory()).join(name.name(&self.places.prefix).to_string())
    }

    fn directory(&self, directory: Directory) -> PathBuf {
        match directory {
            Directory::Log => self.places.log.clone(),
            Directory::Snapshots => self.places.snapshots.clone(),
        }
    }
}

/// Reads until `into` is full or the file ends.
pub(crate) fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Asks the system to let go of what it keeps of a file, so that the next read comes from the device. What is not durable yet
/// stays, and so does everything where the system has no such call.
pub(crate) fn forget_pages(file: &File) {
    #[cfg(target_os = "linux")]
    // It is advice: a file that the system does not drop is read from where it is.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

fn zero(file: &File, bytes: u32) -> io::Result<()> {
    let mut offset = 0;
    while offset < u64::from(bytes) {
        let len = ZEROS.len().min(usize::try_from(u64::from(bytes) - offset).unwrap_or(ZEROS.len()));
        file.write_all_at(&ZEROS[..len], offset)?;
        offset += len as u64;
    }
    Ok(())
}
