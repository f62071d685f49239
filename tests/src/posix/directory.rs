//! Directory entries: what the process sees, what is durable, and the changes between them.

use core::fmt;
use std::collections::BTreeMap;

use strandline_core::lower::posix::{Directory, File};

use super::crash::{Crash, Fate, What};
use super::{Bias, Moment};

type Names = BTreeMap<File, usize>;

/// A change of one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A name for a file that had none.
    Link {
        /// The name.
        file: File,
        /// The file.
        inode: usize,
    },
    /// A name goes.
    Unlink {
        /// The name.
        file: File,
        /// The file.
        inode: usize,
    },
    /// A file gets another name, atomically.
    Rename {
        /// The old name.
        from: File,
        /// The new one.
        to: File,
        /// The file.
        inode: usize,
    },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Directories {
    seen: Names,
    durable: Names,
    pending: Vec<(Moment, Change)>,
}

impl Directories {
    pub(super) fn lookup(&self, file: File) -> Option<usize> {
        self.seen.get(&file).copied()
    }

    pub(super) fn seen(&self) -> impl Iterator<Item = File> + '_ {
        self.seen.keys().copied()
    }

    /// A name that leads to this inode.
    pub(super) fn name_of(&self, inode: usize) -> Option<File> {
        self.seen.iter().find(|(_, named)| **named == inode).map(|(file, _)| *file)
    }

    /// Whether any name leads to this inode.
    pub(super) fn names(&self, inode: usize) -> bool {
        self.seen.values().any(|named| *named == inode)
    }

    pub(super) fn change(&mut self, change: Change, now: Moment) {
        change.apply(&mut self.seen);
        self.pending.push((now, change));
    }

    pub(super) fn plant(&mut self, file: File, inode: usize) {
        self.seen.insert(file, inode);
        self.durable.insert(file, inode);
    }

    /// What changed before `begun` becomes durable.
    pub(super) fn sync(&mut self, directory: Directory, begun: Moment) {
        let Self { durable, pending, .. } = self;
        pending.retain(|(made, change)| {
            let settles = change.directory() == directory && *made <= begun;
            if settles {
                change.apply(durable);
            }
            !settles
        });
    }

    pub(super) fn is_decided(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn is_durable(&self, file: File) -> bool {
        self.durable.contains_key(&file)
            && self.durable.get(&file) == self.seen.get(&file)
            && !self.pending.iter().any(|(_, change)| change.touches(file))
    }

    /// How many changes are pending.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The outcome that keeps the changes whose number is not 0.
    pub(super) fn crash_as(&self, ways: &[usize], fates: &mut Vec<Fate>) -> Self {
        let mut names = self.durable.clone();
        for ((_, change), way) in self.pending.iter().zip(ways) {
            let survived = *way > 0;
            fates.push(Fate { draw: 0, what: What::Entry { change: *change, survived } });
            if survived {
                change.apply(&mut names);
            }
        }
        Self { seen: names.clone(), durable: names, pending: Vec::new() }
    }

    /// One outcome, and whether any entry was pending.
    pub(super) fn crash(&self, bias: Bias, crash: &mut Crash<'_>) -> (Self, bool) {
        let mut names = self.durable.clone();
        for (_, change) in &self.pending {
            let (draw, mended) = crash.draw();
            let survived = crash.survives(bias) || mended;
            crash.fates.push(Fate { draw, what: What::Entry { change: *change, survived } });
            if survived {
                change.apply(&mut names);
            }
        }
        (Self { seen: names.clone(), durable: names, pending: Vec::new() }, !self.pending.is_empty())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { file, .. } => write!(f, "entry of {}", file.name("log")),
            Self::Unlink { file, .. } => write!(f, "removal of {}", file.name("log")),
            Self::Rename { from, to, .. } => {
                write!(f, "rename of {} to {}", from.name("log"), to.name("log"))
            }
        }
    }
}

impl Change {
    fn apply(self, names: &mut Names) {
        match self {
            Self::Link { file, inode } => {
                names.insert(file, inode);
            }
            Self::Unlink { file, inode } => {
                if names.get(&file) == Some(&inode) {
                    names.remove(&file);
                }
            }
            Self::Rename { from, to, inode } => {
                if names.get(&from) == Some(&inode) {
                    names.remove(&from);
                }
                names.insert(to, inode);
            }
        }
    }

    const fn directory(self) -> Directory {
        match self {
            Self::Link { file, .. } | Self::Unlink { file, .. } => file.directory(),
            Self::Rename { to, .. } => to.directory(),
        }
    }

    fn touches(self, of: File) -> bool {
        match self {
            Self::Link { file, .. } | Self::Unlink { file, .. } => file == of,
            Self::Rename { from, to, .. } => from == of || to == of,
        }
    }
}
