//! One simulated disk for each directory of a process.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use strandline_core::action::{Buffer, Span};
use strandline_core::lower::posix::{Directory, File, Step};

use super::Act;
use crate::chance::Chance;
use crate::posix::{Call, Disk, Moment, Profile};

/// A simulated disk for each directory, whose files have numbers instead of names.
pub(super) struct Disks {
    root: PathBuf,
    profile: Profile,
    directories: BTreeMap<PathBuf, (Disk, Vec<PathBuf>)>,
}

impl Disks {
    /// An empty directory `root`, whose own entry is durable.
    pub(super) fn new(root: &Path, profile: Profile) -> Self {
        let mut disks = Self { root: root.to_path_buf(), profile, directories: BTreeMap::new() };
        disks.make(root);
        disks
    }

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

    /// When an act begins that begins now.
    pub(super) fn now(&mut self, act: &Act) -> Moment {
        match (act, self.directories.get(act.path())) {
            (Act::Sync(_), Some((disk, _))) => disk.now(),
            _ => self.file(act.path()).0.now(),
        }
    }

    pub(super) fn carry_out(&mut self, act: &Act, begun: Moment, chance: &mut Chance) -> Result<(), String> {
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
        if let Act::Rename(from, to) = act
            && from.parent() != to.parent()
        {
            return Err(format!("{}: not within a directory, and so not simulated", act.name()));
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
            Act::Strange(_) => return Err(act.name()),
        };
        disk.finish(step, call, chance).map_err(|failure| format!("{}: {failure:?}", act.name()))
    }

    /// Makes what a crash leaves into files below `place`.
    pub(super) fn crash(&self, place: &Path, chance: &mut Chance) -> io::Result<()> {
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
