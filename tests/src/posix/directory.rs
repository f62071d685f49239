//! Directory entries: what the process sees, what is durable, and the changes between them.

use std::collections::BTreeMap;

use strandline_core::lower::posix::{Directory, File};

use super::{Bias, Moment};
use crate::chance::Chance;

type Names = BTreeMap<File, usize>;

/// A change of one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Link { file: File, inode: usize },
    Unlink { file: File, inode: usize },
    Rename { from: File, to: File, inode: usize },
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

    /// One outcome, and whether any entry was pending.
    pub(super) fn crash(&self, bias: Bias, chance: &mut Chance) -> (Self, bool) {
        let mut names = self.durable.clone();
        for (_, change) in &self.pending {
            let survives = match bias {
                Bias::Lost => false,
                Bias::Kept => true,
                Bias::Mixed(percent) => chance.percent(percent),
            };
            if survives {
                change.apply(&mut names);
            }
        }
        (Self { seen: names.clone(), durable: names, pending: Vec::new() }, !self.pending.is_empty())
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
