//! All files of a real process, whatever they are: its calls are replayed, cut, and what is left is made into real files again.
//!
//! ```text
//!   process ─► strace ─► calls ─► one simulated disk for each directory ─► crash ─► real files ─► whoever opens them
//! ```
//!
//! A directory that was not synced into the one above it is lost with all that is in it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use strandline_core::action::{Buffer, Span};
use strandline_core::lower::posix::{Directory, File, Step};

use super::{Line, descriptor, lines, number_at_end, quoted};
use crate::chance::Chance;
use crate::device::directory_in_memory;
use crate::posix::{Call, Disk, Moment, Profile};

/// What a process did to the files below one directory, and what it said.
#[derive(Debug)]
pub struct Life {
    root: PathBuf,
    seen: Vec<Seen>,
}

#[derive(Debug)]
enum Seen {
    Begun { thread: u32, act: Act },
    Ended { thread: u32 },
    Said(String),
}

#[derive(Clone, Debug)]
enum Act {
    Directory(PathBuf),
    /// A file; one that is there is emptied, or left as it is.
    Create {
        path: PathBuf,
        empties: bool,
    },
    Write {
        path: PathBuf,
        offset: u64,
        bytes: Vec<u8>,
    },
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Life {
    /// Reads what `strace -f -y -xx -o FILE` wrote of a process that keeps its files in `root`.
    #[must_use]
    pub fn parse(trace: &str, root: &Path) -> Self {
        let mut life = Self { root: root.to_path_buf(), seen: Vec::new() };
        // Where the next plain write to a file goes.
        let mut ends: HashMap<PathBuf, u64> = HashMap::new();
        for line in lines(trace) {
            match line {
                Line::Begun { name: "write", arguments, .. } if arguments.starts_with("1<") => {
                    let said = quoted(arguments).into_iter().next().unwrap_or_default();
                    life.seen.push(Seen::Said(String::from_utf8_lossy(&said).trim().to_owned()));
                }
                Line::Begun { thread, name, arguments } => {
                    let act = life.act(name, arguments, &mut ends);
                    life.seen.extend(act.map(|act| Seen::Begun { thread, act }));
                }
                Line::Ended { thread } => life.seen.push(Seen::Ended { thread }),
            }
        }
        life
    }

    fn act(&self, name: &str, arguments: &str, ends: &mut HashMap<PathBuf, u64>) -> Option<Act> {
        let mut texts = quoted(arguments).into_iter();
        let mut text = || texts.next();
        let named = |path: Vec<u8>| PathBuf::from(String::from_utf8_lossy(&path).into_owned());
        let below =
            |path| Some(named(path)).filter(|path| path.starts_with(&self.root) && *path != self.root);
        let open = || descriptor(arguments).map(named).filter(|path| path.starts_with(&self.root));
        match name {
            "openat" if arguments.contains("O_CREAT") => {
                let path = text().and_then(below)?;
                ends.insert(path.clone(), 0);
                Some(Act::Create { path, empties: arguments.contains("O_TRUNC") })
            }
            "mkdir" => text().and_then(below).map(Act::Directory),
            "pwrite64" => {
                let (path, offset) = (open()?, number_at_end(arguments));
                Some(Act::Write { path, offset, bytes: text()? })
            }
            "write" => {
                let (path, bytes) = (open()?, text()?);
                let end = ends.entry(path.clone()).or_default();
                let offset = *end;
                *end += bytes.len() as u64;
                Some(Act::Write { path, offset, bytes })
            }
            "fdatasync" | "fsync" => open().map(Act::Sync),
            "rename" => Some(Act::Rename(text().and_then(below)?, text().and_then(below)?)),
            "unlink" => text().and_then(below).map(Act::Remove),
            _ => None,
        }
    }

    /// The same life without the syncs of these files and directories: what a process that forgets them would do.
    #[must_use]
    pub fn without_syncs(mut self, forgotten: impl Fn(&Path) -> bool) -> Self {
        self.seen.retain(|seen| !matches!(seen, Seen::Begun { act: Act::Sync(path), .. } if forgotten(path)));
        self
    }

    /// Replays it on a device with this profile. After each call the power goes, and `check` gets a directory with what one of the
    /// many outcomes leaves, and the lines that the process had said by then. Returns how often that was.
    ///
    /// # Errors
    /// What `check` found, or why the files could not be made.
    pub fn cut_everywhere(
        &self,
        profile: Profile,
        chance: &mut Chance,
        mut check: impl FnMut(&Path, &[&str]) -> Result<(), String>,
    ) -> Result<usize, String> {
        let mut disks = Disks { root: self.root.clone(), profile, directories: BTreeMap::new() };
        disks.make(&self.root);
        let (mut begun, mut said, mut cuts) = (HashMap::new(), Vec::new(), 0);
        for seen in &self.seen {
            match seen {
                Seen::Said(line) => said.push(line.as_str()),
                Seen::Begun { thread, act } => {
                    begun.insert(*thread, (act, disks.now(act)));
                }
                Seen::Ended { thread } => {
                    let Some((act, since)) = begun.remove(thread) else { continue };
                    disks.carry_out(act, since, chance)?;
                    let place = directory_in_memory().map_err(|error| error.to_string())?;
                    disks.crash(place.path(), chance).map_err(|error| error.to_string())?;
                    check(place.path(), &said)
                        .map_err(|broken| format!("after call {cuts}, {}: {broken}", act.name()))?;
                    cuts += 1;
                }
            }
        }
        Ok(cuts)
    }
}

impl Act {
    fn name(&self) -> String {
        match self {
            Self::Directory(path) => format!("make {}", path.display()),
            Self::Create { path, .. } => format!("create {}", path.display()),
            Self::Write { path, offset, bytes } => {
                format!("write {} bytes at {offset} of {}", bytes.len(), path.display())
            }
            Self::Sync(path) => format!("sync {}", path.display()),
            Self::Rename(from, to) => format!("rename {} to {}", from.display(), to.display()),
            Self::Remove(path) => format!("remove {}", path.display()),
        }
    }

    /// What decides which disk it is for.
    fn path(&self) -> &Path {
        match self {
            Self::Create { path, .. } | Self::Write { path, .. } => path,
            Self::Directory(path) | Self::Sync(path) | Self::Rename(path, _) | Self::Remove(path) => path,
        }
    }
}

/// A simulated disk for each directory, whose files have numbers instead of names.
struct Disks {
    root: PathBuf,
    profile: Profile,
    directories: BTreeMap<PathBuf, (Disk, Vec<PathBuf>)>,
}

impl Disks {
    fn make(&mut self, directory: &Path) {
        let fresh = || (Disk::new(self.profile), Vec::new());
        self.directories.entry(directory.to_path_buf()).or_insert_with(fresh);
    }

    /// The disk and the number of a file.
    fn file(&mut self, path: &Path) -> (&mut Disk, File) {
        let directory = path.parent().unwrap_or(&self.root).to_path_buf();
        let fresh = || (Disk::new(self.profile), Vec::new());
        let (disk, names) = self.directories.entry(directory).or_insert_with(fresh);
        let known = names.iter().position(|name| name == path);
        let at = known.unwrap_or_else(|| {
            names.push(path.to_path_buf());
            names.len() - 1
        });
        (disk, File::Segment(u32::try_from(at).unwrap_or(u32::MAX)))
    }

    fn now(&mut self, act: &Act) -> Moment {
        match (act, self.directories.get(act.path())) {
            (Act::Sync(_), Some((disk, _))) => disk.now(),
            _ => self.file(act.path()).0.now(),
        }
    }

    fn carry_out(&mut self, act: &Act, begun: Moment, chance: &mut Chance) -> Result<(), String> {
        let mut call = Call { bytes: &[], fault: None, begun };
        if let Act::Sync(path) = act
            && let Some((disk, _)) = self.directories.get_mut(path)
        {
            let synced = disk.finish(Step::SyncDirectory(Directory::Log), call, chance);
            return synced.map_err(|failure| format!("{}: {failure:?}", act.name()));
        }
        if let Act::Directory(path) = act {
            self.make(path);
        }
        let to = if let Act::Rename(_, to) = act { self.file(to).1 } else { File::Segment(0) };
        let (disk, file) = self.file(act.path());
        let span = Span { buffer: Buffer::Window, start: 0, len: 0 };
        let step = match act {
            Act::Create { empties, .. } if !empties && disk.content(file).is_some() => return Ok(()),
            Act::Create { .. } | Act::Directory(_) => Step::Create(file),
            Act::Write { offset, bytes, .. } => {
                call.bytes = bytes;
                Step::Write { file, offset: *offset, bytes: span }
            }
            Act::Sync(_) => Step::Sync(file),
            Act::Rename(..) => Step::Rename { from: file, to },
            Act::Remove(_) => Step::Remove(file),
        };
        disk.finish(step, call, chance).map_err(|failure| format!("{}: {failure:?}", act.name()))
    }

    /// Makes what a crash leaves into files below `place`.
    fn crash(&self, place: &Path, chance: &mut Chance) -> io::Result<()> {
        let mut lost: Vec<&Path> = Vec::new();
        for (directory, (disk, names)) in &self.directories {
            if lost.iter().any(|lost| directory.starts_with(lost)) {
                continue;
            }
            let crashed = disk.crash(chance);
            for (name, number) in names.iter().zip(0..) {
                let to = place.join(name.strip_prefix(&self.root).unwrap_or(name));
                match (crashed.content(File::Segment(number)), self.directories.contains_key(name)) {
                    (Some(_), true) => fs::create_dir(to)?,
                    (Some(content), false) => fs::write(to, content)?,
                    (None, true) => lost.push(name),
                    (None, false) => {}
                }
            }
        }
        Ok(())
    }
}
