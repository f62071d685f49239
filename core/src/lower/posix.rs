//! Actions on files: one step is one system call.
//!
//! | action | manifest, segment | snapshot |
//! |---|---|---|
//! | Prepare | create, zero, sync, sync directory | create the temporary file |
//! | Write | write | write to the temporary file |
//! | Sync | sync (a manifest also syncs the directory) | sync, rename to the final name, sync directory |
//! | Release | remove | remove |
//!
//! Steps run in their order; a failed one fails the action and the rest is not run. Nothing is renamed or truncated in the
//! commit path.

use crate::action::{Action, Span};
use crate::geometry::Geometry;
use crate::types::{Extent, Role};

/// A file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum File {
    /// `manifest-N`, in the log's directory.
    Manifest(u32),
    /// `PREFIX-NNNNNNNN.wal`, in the log's directory.
    Segment(u32),
    /// `snapshot-NNNNNNNN.snap`, in the snapshots' directory.
    Snapshot(u32),
    /// `snapshot-NNNNNNNN.tmp`, a snapshot that is not finished.
    Unfinished(u32),
}

/// One of a store's directories. They may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Directory {
    /// Holds the manifest and the segments.
    Log,
    /// Holds the snapshots.
    Snapshots,
}

/// One system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the file, or empty it.
    Create(File),
    /// Write zeros from the start.
    Zero {
        /// Where.
        file: File,
        /// How many bytes.
        bytes: u32,
    },
    /// Write bytes.
    Write {
        /// Where.
        file: File,
        /// Bytes from its start.
        offset: u64,
        /// What.
        bytes: Span,
    },
    /// Make the file's bytes and size durable.
    Sync(File),
    /// Make the directory's entries durable.
    SyncDirectory(Directory),
    /// Give an unfinished snapshot its final name.
    Rename {
        /// The temporary name.
        from: File,
        /// The final name.
        to: File,
    },
    /// Remove the name.
    Remove(File),
}

/// The steps of one action, in order.
pub type Steps = heapless::Vec<Step, 4>;

impl File {
    /// The file of an extent; a snapshot's is the finished one.
    #[must_use]
    pub const fn of(extent: Extent) -> Self {
        match extent.role {
            Role::Manifest => Self::Manifest(extent.number),
            Role::Wal => Self::Segment(extent.number),
            Role::Snapshot => Self::Snapshot(extent.number),
        }
    }

    /// The extent of this file.
    #[must_use]
    pub const fn extent(self) -> Extent {
        match self {
            Self::Manifest(number) => Extent::manifest(number),
            Self::Segment(number) => Extent::wal(number),
            Self::Snapshot(number) | Self::Unfinished(number) => Extent::snapshot(number),
        }
    }

    /// The directory that it is in.
    #[must_use]
    pub const fn directory(self) -> Directory {
        match self {
            Self::Manifest(_) | Self::Segment(_) => Directory::Log,
            Self::Snapshot(_) | Self::Unfinished(_) => Directory::Snapshots,
        }
    }

    /// Its name, where segments begin with `prefix`.
    #[must_use]
    pub const fn name(self, prefix: &str) -> Name<'_> {
        Name { file: self, prefix }
    }

    /// The file with this name, or `None` if it is not one of ours.
    #[must_use]
    pub fn parse(name: &str, prefix: &str) -> Option<Self> {
        let number = |text: &str, digits: usize| {
            let canonical = text.len() == digits || (text.len() > digits && !text.starts_with('0'));
            (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
        };
        if let Some(rest) = name.strip_prefix("manifest-") {
            return number(rest, 1)
                .filter(|number| *number < crate::manifest::MANIFEST_EXTENTS)
                .map(Self::Manifest);
        }
        if let Some(rest) = name.strip_prefix("snapshot-") {
            return match rest.split_once('.') {
                Some((digits, "snap")) => number(digits, 8).map(Self::Snapshot),
                Some((digits, "tmp")) => number(digits, 8).map(Self::Unfinished),
                _ => None,
            };
        }
        let rest = name.strip_prefix(prefix)?.strip_prefix('-')?.strip_suffix(".wal")?;
        number(rest, 8).map(Self::Segment)
    }
}

/// A file's name, to be displayed.
#[derive(Clone, Copy, Debug)]
pub struct Name<'p> {
    file: File,
    prefix: &'p str,
}

impl core::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.file {
            File::Manifest(number) => write!(f, "manifest-{number}"),
            File::Segment(number) => write!(f, "{}-{number:08}.wal", self.prefix),
            File::Snapshot(number) => write!(f, "snapshot-{number:08}.snap"),
            File::Unfinished(number) => write!(f, "snapshot-{number:08}.tmp"),
        }
    }
}

/// The steps of `action`.
#[must_use]
pub fn lower(action: Action, geometry: Geometry) -> Steps {
    let mut steps = Steps::new();
    let mut add = |step| {
        let fits = steps.push(step).is_ok();
        debug_assert!(fits);
    };
    match action {
        Action::Prepare { extent } if extent.role == Role::Snapshot => {
            add(Step::Create(File::Unfinished(extent.number)))
        }
        Action::Prepare { extent } => {
            let file = File::of(extent);
            let bytes =
                if extent.role == Role::Manifest { geometry.manifest_bytes } else { geometry.extent_bytes };
            add(Step::Create(file));
            add(Step::Zero { file, bytes });
            add(Step::Sync(file));
            add(Step::SyncDirectory(file.directory()));
        }
        Action::Write { extent, offset, bytes } => {
            let file = match extent.role {
                Role::Snapshot => File::Unfinished(extent.number),
                Role::Manifest | Role::Wal => File::of(extent),
            };
            add(Step::Write { file, offset, bytes });
        }
        Action::Sync { extent } => match extent.role {
            Role::Wal => add(Step::Sync(File::of(extent))),
            Role::Manifest => {
                add(Step::Sync(File::of(extent)));
                add(Step::SyncDirectory(Directory::Log));
            }
            Role::Snapshot => {
                let (from, to) = (File::Unfinished(extent.number), File::of(extent));
                add(Step::Sync(from));
                add(Step::Rename { from, to });
                add(Step::SyncDirectory(Directory::Snapshots));
            }
        },
        Action::Release { extent } => add(Step::Remove(File::of(extent))),
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const GEOMETRY: Geometry = Geometry::HOST;

    #[test]
    fn birth_is_durable_before_it_can_be_listed() {
        let file = File::Segment(7);
        let steps = lower(Action::Prepare { extent: Extent::wal(7) }, GEOMETRY);
        assert_eq!(
            steps.as_slice(),
            [
                Step::Create(file),
                Step::Zero { file, bytes: 64 << 20 },
                Step::Sync(file),
                Step::SyncDirectory(Directory::Log)
            ]
        );
    }

    #[test]
    fn a_snapshot_is_synced_before_it_gets_its_name() {
        let steps = lower(Action::Sync { extent: Extent::snapshot(3) }, GEOMETRY);
        assert_eq!(
            steps.as_slice(),
            [
                Step::Sync(File::Unfinished(3)),
                Step::Rename { from: File::Unfinished(3), to: File::Snapshot(3) },
                Step::SyncDirectory(Directory::Snapshots)
            ]
        );
    }

    #[test]
    fn a_durable_batch_is_one_write_and_one_sync() {
        let bytes = Span { buffer: crate::action::Buffer::Left, start: 0, len: 64 };
        assert_eq!(lower(Action::Write { extent: Extent::wal(1), offset: 8, bytes }, GEOMETRY).len(), 1);
        assert_eq!(lower(Action::Sync { extent: Extent::wal(1) }, GEOMETRY).len(), 1);
    }

    #[test]
    fn names_read_back_and_others_are_foreign() {
        for file in [
            File::Manifest(2),
            File::Segment(1),
            File::Segment(123_456_789),
            File::Snapshot(9),
            File::Unfinished(9),
        ] {
            assert_eq!(File::parse(&file.name("synap").to_string(), "synap"), Some(file));
        }
        for foreign in [
            "manifest-3",
            "manifest-00",
            "synap-1.wal",
            "synap-000000001.wal",
            "other-00000001.wal",
            "synap.wal",
            "LOCK",
        ] {
            assert_eq!(File::parse(foreign, "synap"), None, "{foreign}");
        }
    }
}
