//! The simulated POSIX medium: what files do when the power goes or a call fails.
//!
//! ```text
//!             write, create, rename            sync                 crash
//!  process ──────────────────────► cache ─────────────► disk ◄──────────────► one of many outcomes
//!                                    │   pending versions  ▲
//!                                    └─────────────────────┘ each sector on its own, early or never
//! ```
//!
//! This header is the fault model; `docs/CRASH_MODEL.md` has the same headings.
//!
//! # Sectors
//! Content is in sectors of 512 or 4096 bytes. Each write gives every sector that it touches one more *pending version*. A
//! crash leaves each sector at any one of its versions, from the last synced one to the newest, whatever its neighbours do:
//! that is loss and reordering.
//!
//! # Torn sectors
//! A sector may be caught between two versions. On a *powersafe* device it holds any mixture of their 8-byte words, so bytes
//! that are equal in both are intact. On a device that does not promise this the whole sector is garbage.
//!
//! # Sizes
//! A file's size is metadata: a crash keeps any of the sizes that it had since the last sync. A sector that became part of the
//! file without its data reads as zeros, or as what a deleted file left there.
//!
//! # Directory entries
//! Creating, renaming and removing are pending until the directory is synced. A crash keeps any subset of the pending changes,
//! in their order; a rename is atomic. A file whose entry is lost is lost with its synced content.
//!
//! # Syncs
//! A sync makes the file's content and size durable as they were when it began, not its entry. After a *failed* sync the cache
//! looks clean: whether those sectors are on the disk stays undecided for ever, whatever later syncs say, unless they are written again. The cache may drop
//! such a page at any read and show what the disk has. A failed directory sync leaves its changes pending.
//!
//! # Failing calls
//! Every call may fail with an I/O error; calls that need space may fail for want of it. A failed write has written any part
//! from its start.
//!
//! # Kills
//! When the process dies the cache stays whole. The write that it was in is there up to any byte.
//!
//! # What is not modelled
//! Sectors that were never written but change; synced data that is lost; two damaged places at once. A flipped bit in synced
//! data is damage, not a crash: see [`Disk::flip`].

mod crash;
mod directory;
mod file;

use std::collections::BTreeSet;
use std::rc::Rc;

use strandline_core::action::Failure;
use strandline_core::lower::posix::{File, Step};

use crate::chance::Chance;
use crash::Crash;
pub use crash::{Fate, Unwritten, What};
pub use directory::Change;
use directory::Directories;
use file::Inode;

/// What kind of device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Bytes of a sector: 512 or 4096.
    pub sector: usize,
    /// Whether bytes that a rewrite does not change survive a crash in it.
    pub powersafe: bool,
    /// Whether unwritten sectors of a grown file may show what deleted files left.
    pub stale: bool,
}

/// What goes wrong in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error.
    Io,
    /// No space, if the step needs any.
    NoSpace,
}

/// One system call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'b> {
    /// What a write writes.
    pub bytes: &'b [u8],
    /// How it fails.
    pub fault: Option<Fault>,
    /// When it began.
    pub begun: Moment,
}

/// How the sectors and entries fare in one crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// Nothing that is pending survives.
    Lost,
    /// Everything that is pending survives.
    Kept,
    /// Each decides for itself; this many percent of them keep the newest version.
    Mixed(u8),
}

/// When something was changed: a count of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// The medium.
#[derive(Clone, Debug)]
pub struct Disk {
    profile: Profile,
    inodes: Vec<Rc<Inode>>,
    directories: Directories,
    /// Bytes of deleted files.
    left: Rc<Vec<u8>>,
    now: Moment,
    /// How many draws crashes have made so far, and those whose outcome is the newest whatever was drawn.
    draws: u32,
    mended: Rc<BTreeSet<u32>>,
    /// What the last crash left.
    fates: Vec<Fate>,
    /// Reads have found pages dropped that a failed sync left.
    dropped: u64,
}

impl Disk {
    /// An empty medium.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            inodes: Vec::new(),
            directories: Directories::default(),
            left: Rc::default(),
            now: Moment(0),
            draws: 0,
            mended: Rc::default(),
            fates: Vec::new(),
            dropped: 0,
        }
    }

    /// The same medium, on which these draws of crashes come out as if nothing had been lost.
    #[must_use]
    pub fn mended(self, draws: BTreeSet<u32>) -> Self {
        Self { mended: Rc::new(draws), ..self }
    }

    /// What the crash that this medium came out of left of each pending thing.
    #[must_use]
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// How many draws its crashes have made.
    #[must_use]
    pub const fn draws(&self) -> u32 {
        self.draws
    }

    /// How often a read has found pages dropped that a failed sync left.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What kind of device it is.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// When a sync that begins now begins.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// Executes one step; `bytes` are those of a write.
    ///
    /// # Errors
    /// The injected fault, or [`Failure::Io`] if the file does not exist.
    pub fn step(
        &mut self,
        step: Step,
        bytes: &[u8],
        fault: Option<Fault>,
        chance: &mut Chance,
    ) -> Result<(), Failure> {
        let begun = self.now;
        self.finish(step, Call { bytes, fault, begun }, chance)
    }

    /// Executes one step that began at some time: a sync covers what came before that, and nothing that came until now.
    ///
    /// # Errors
    /// See [`Self::step`].
    pub fn finish(&mut self, step: Step, call: Call<'_>, chance: &mut Chance) -> Result<(), Failure> {
        let Call { bytes, fault, begun } = call;
        let fault = fault.filter(|fault| *fault == Fault::Io || self.needs_space(step, bytes));
        self.now = Moment(self.now.0 + 1);
        match (step, fault) {
            (Step::Create(file), None) => self.create(file),
            (Step::Zero { file, bytes }, None) => self.write(file, 0, &vec![0; bytes as usize])?,
            (Step::Zero { file, bytes }, Some(_)) => {
                self.write(file, 0, &vec![0; chance.below(bytes as usize)])?
            }
            (Step::Write { file, offset, .. }, None) => self.write(file, offset, bytes)?,
            (Step::Write { file, offset, .. }, Some(_)) => {
                self.write(file, offset, &bytes[..chance.below(bytes.len())])?;
            }
            (Step::Sync(file), None) => self.inode_mut(file)?.sync(begun),
            (Step::Sync(file), Some(_)) => self.inode_mut(file)?.fail_sync(begun),
            (Step::SyncDirectory(directory), None) => self.directories.sync(directory, begun),
            (Step::Rename { from, to }, None) => self.rename(from, to)?,
            (Step::Remove(file), None) => self.remove(file)?,
            (Step::Create(_) | Step::SyncDirectory(_) | Step::Rename { .. } | Step::Remove(_), Some(_)) => {}
        }
        match fault {
            None => Ok(()),
            Some(Fault::Io) => Err(Failure::Io),
            Some(Fault::NoSpace) => Err(Failure::NoSpace),
        }
    }

    /// Whether the step makes a file or lets one grow.
    #[must_use]
    pub fn needs_space(&self, step: Step, bytes: &[u8]) -> bool {
        let grows = |file, end: u64| self.size(file).is_some_and(|size| end > size);
        match step {
            Step::Create(_) => true,
            Step::Zero { file, bytes } => grows(file, u64::from(bytes)),
            Step::Write { file, offset, .. } => grows(file, offset + bytes.len() as u64),
            Step::Sync(_) | Step::SyncDirectory(_) | Step::Rename { .. } | Step::Remove(_) => false,
        }
    }

    /// Reads as much of the file as there is from `offset`, at most `out`; `None` if there is no such file.
    pub fn read(&mut self, file: File, offset: u64, out: &mut [u8], chance: &mut Chance) -> Option<usize> {
        if self.inode(file)?.is_undecided() && chance.one_in(4) {
            let left = Rc::clone(&self.left);
            // Versions whole or not at all: no sector is torn by that.
            let profile = Profile { powersafe: true, stale: false, ..self.profile };
            let none = BTreeSet::new();
            let mut crash =
                Crash { profile, chance, mended: &none, draws: 0, fates: Vec::new(), left: &left };
            self.inode_mut(file).ok()?.evict(&mut crash);
            self.dropped += 1;
        }
        let content = self.content(file)?;
        let from = usize::try_from(offset).ok()?.min(content.len());
        let len = out.len().min(content.len() - from);
        out[..len].copy_from_slice(&content[from..from + len]);
        Some(len)
    }

    /// What the file's cache holds.
    #[must_use]
    pub fn content(&self, file: File) -> Option<&[u8]> {
        self.inode(file).map(Inode::cached)
    }

    /// The file's size as the process sees it.
    #[must_use]
    pub fn size(&self, file: File) -> Option<u64> {
        self.content(file).map(|content| content.len() as u64)
    }

    /// All files, by name.
    pub fn files(&self) -> impl Iterator<Item = File> + '_ {
        self.directories.seen()
    }

    /// What the power loss leaves: one outcome of the many, with a cache that equals the disk.
    #[must_use]
    pub fn crash(&self, chance: &mut Chance) -> Self {
        let bias = bias(chance);
        self.crash_with(chance, bias)
    }

    /// In how many ways each pending thing can come out of a power loss, torn sectors apart: entries, then files with a name, their
    /// sizes and sectors. What looks the same whatever becomes of it is left out.
    #[must_use]
    pub fn pending(&self) -> Vec<usize> {
        let entries = vec![2; self.directories.pending()];
        let inodes = self.inodes.iter().flat_map(|inode| inode.pending(self.profile.sector));
        entries.into_iter().chain(inodes).collect()
    }

    /// The power loss that leaves these of [`Self::pending`]: 0 is what was synced, the highest number what was written last.
    #[must_use]
    pub fn crash_as(&self, ways: &[usize]) -> Self {
        let (entries, mut ways) = ways.split_at(self.directories.pending());
        let mut fates = Vec::new();
        let directories = self.directories.crash_as(entries, &mut fates);
        let mut inodes = Vec::with_capacity(self.inodes.len());
        for (number, inode) in self.inodes.iter().enumerate() {
            let (mine, rest) = ways.split_at(inode.pending(self.profile.sector).len());
            ways = rest;
            inodes.push(match inode.is_pending() {
                true => Rc::new(inode.crash_as(
                    self.profile.sector,
                    mine,
                    directories.name_of(number),
                    &mut fates,
                )),
                false => Rc::clone(inode),
            });
        }
        Self { directories, inodes, fates, left: Rc::clone(&self.left), ..Self::new(self.profile) }
    }

    fn crash_with(&self, chance: &mut Chance, bias: Bias) -> Self {
        let (profile, mended, draws) = (self.profile, &*self.mended, self.draws);
        let mut crash = Crash { profile, chance, mended, draws, fates: Vec::new(), left: &[] };
        let (directories, changed) = self.directories.crash(bias, &mut crash);
        let left = self.graveyard(changed);
        crash.left = &left;
        let mut inodes = Vec::with_capacity(self.inodes.len());
        for (number, inode) in self.inodes.iter().enumerate() {
            let name = directories.name_of(number).filter(|_| inode.is_pending());
            let decided = if name.is_some() {
                let bias = if crash.chance.one_in(3) { self::bias(crash.chance) } else { bias };
                Rc::new(inode.crash(bias, name, &mut crash))
            } else {
                Rc::clone(inode)
            };
            inodes.push(decided);
        }
        let (draws, fates) = (crash.draws, crash.fates);
        let mended = Rc::clone(&self.mended);
        Self { directories, inodes, left, draws, mended, fates, ..Self::new(profile) }
    }

    /// What a killed process leaves: the cache as it was.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self { fates: Vec::new(), ..self.clone() }
    }

    /// Whether only one outcome is possible.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.directories.is_decided() && !self.inodes.iter().any(|inode| inode.is_pending())
    }

    /// Whether the first `bytes` of the file, as the process sees them, are there after every possible crash.
    #[must_use]
    pub fn is_durable(&self, file: File, bytes: usize) -> bool {
        self.directories.is_durable(file)
            && self.inode(file).is_some_and(|inode| inode.is_durable(self.profile.sector, bytes))
    }

    /// Damages one bit of synced data, in the cache and on the disk.
    pub fn flip(&mut self, file: File, bit: usize) {
        if let Ok(inode) = self.inode_mut(file) {
            inode.flip(bit);
        }
    }

    /// Puts a file there, durably: a foreign one, or damage.
    pub fn plant(&mut self, file: File, content: Vec<u8>) {
        self.directories.plant(file, self.inodes.len());
        self.inodes.push(Rc::new(Inode::decided(content)));
    }

    fn inode(&self, file: File) -> Option<&Inode> {
        self.directories.lookup(file).map(|number| &*self.inodes[number])
    }

    fn inode_mut(&mut self, file: File) -> Result<&mut Inode, Failure> {
        let number = self.directories.lookup(file).ok_or(Failure::Io)?;
        Ok(Rc::make_mut(&mut self.inodes[number]))
    }

    fn create(&mut self, file: File) {
        let (sector, now) = (self.profile.sector, self.now);
        if let Ok(inode) = self.inode_mut(file) {
            inode.truncate(sector, now);
            return;
        }
        self.directories.change(Change::Link { file, inode: self.inodes.len() }, now);
        self.inodes.push(Rc::new(Inode::default()));
    }

    fn write(&mut self, file: File, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let (sector, now) = (self.profile.sector, self.now);
        let offset = usize::try_from(offset).map_err(|_| Failure::Io)?;
        self.inode_mut(file)?.write(sector, offset, bytes, now);
        Ok(())
    }

    fn rename(&mut self, from: File, to: File) -> Result<(), Failure> {
        let inode = self.directories.lookup(from).ok_or(Failure::Io)?;
        self.directories.change(Change::Rename { from, to, inode }, self.now);
        Ok(())
    }

    fn remove(&mut self, file: File) -> Result<(), Failure> {
        let inode = self.directories.lookup(file).ok_or(Failure::Io)?;
        self.directories.change(Change::Unlink { file, inode }, self.now);
        Ok(())
    }

    /// The bytes that deleted files have left, when entries have changed.
    fn graveyard(&self, changed: bool) -> Rc<Vec<u8>> {
        if !changed {
            return Rc::clone(&self.left);
        }
        let dead = self.inodes.iter().enumerate().filter(|(number, _)| !self.directories.names(*number));
        let newest = dead.map(|(_, inode)| inode.cached()).rfind(|content| !content.is_empty());
        newest.map_or_else(|| Rc::clone(&self.left), |content| Rc::new(content.to_vec()))
    }
}

fn bias(chance: &mut Chance) -> Bias {
    match chance.below(8) {
        0 => Bias::Lost,
        1 => Bias::Kept,
        2 | 3 => Bias::Mixed(90),
        4 | 5 => Bias::Mixed(10),
        _ => Bias::Mixed(50),
    }
}

#[cfg(test)]
mod tests;
