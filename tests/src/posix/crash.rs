//! One power loss: what becomes of each thing that is pending, drawn by chance and written down.
//!
//! Every draw has a number. A draw that is *mended* takes its chances like the others and then keeps the newest, so that leaving
//! one loss out changes no other.

use core::fmt;
use std::collections::BTreeSet;

use strandline_core::lower::posix::File;

use super::directory::Change;
use super::{Bias, Profile};
use crate::chance::Chance;

/// What became of one pending thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The number of the draw, 0 where none was made.
    pub draw: u32,
    /// The thing, and what is left of it.
    pub what: What,
}

/// A pending thing, and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A sector of a file.
    Sector {
        /// The file's name, if any leads to it.
        file: Option<File>,
        /// The sector.
        number: usize,
        /// Its version: 0 is what the last sync left.
        kept: usize,
        /// Versions that were pending.
        of: usize,
        /// It was caught between this version and the next.
        torn: bool,
        /// It became part of the file without its data: it reads as zeros, or as what a deleted file left.
        unwritten: Option<Unwritten>,
    },
    /// The size of a file.
    Size {
        /// The file's name, if any leads to it.
        file: Option<File>,
        /// What is left.
        left: usize,
        /// What the process saw.
        newest: usize,
    },
    /// A change of a directory.
    Entry {
        /// What was changed, in words.
        change: Change,
        /// Whether it is there.
        survived: bool,
    },
}

/// What a sector holds that was never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// Zeros.
    Zeros,
    /// What a deleted file left.
    Stale,
}

/// A power loss in progress.
pub(super) struct Crash<'c> {
    pub(super) profile: Profile,
    pub(super) chance: &'c mut Chance,
    pub(super) mended: &'c BTreeSet<u32>,
    /// The number of the next draw.
    pub(super) draws: u32,
    pub(super) fates: Vec<Fate>,
    /// The bytes of deleted files.
    pub(super) left: &'c [u8],
}

impl Crash<'_> {
    /// Begins a draw: its number, and whether its outcome is the newest whatever was drawn.
    pub(super) fn draw(&mut self) -> (u32, bool) {
        let draw = self.draws;
        self.draws += 1;
        (draw, self.mended.contains(&draw))
    }

    /// Whether something survives.
    pub(super) fn survives(&mut self, bias: Bias) -> bool {
        match bias {
            Bias::Lost => false,
            Bias::Kept => true,
            Bias::Mixed(percent) => self.chance.percent(percent),
        }
    }
}

impl What {
    /// Whether it is as the process saw it.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        match self {
            Self::Sector { kept, of, .. } => *kept == *of,
            Self::Size { left, newest, .. } => *left == *newest,
            Self::Entry { survived, .. } => *survived,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |file: &Option<File>| {
            file.map_or_else(|| "a deleted file".to_owned(), |file| file.name("log").to_string())
        };
        match self {
            Self::Sector { file, number, kept, of, torn, unwritten } => {
                write!(f, "sector {number} of {}: ", name(file))?;
                match (kept, torn, unwritten) {
                    (kept, true, _) => write!(f, "torn between write {kept} and {} of {of}", kept + 1),
                    (kept, false, _) if kept == of => write!(f, "kept"),
                    (0, false, Some(Unwritten::Zeros)) => write!(f, "lost, zeros"),
                    (0, false, Some(Unwritten::Stale)) => write!(f, "lost, what a deleted file left"),
                    (0, false, None) => write!(f, "lost, as the last sync left it"),
                    (kept, false, _) => write!(f, "write {kept} of {of}"),
                }
            }
            Self::Size { file, left, newest } => write!(f, "size of {}: {left} of {newest}", name(file)),
            Self::Entry { change, survived } => {
                write!(f, "{change}: {}", if *survived { "kept" } else { "lost" })
            }
        }
    }
}
