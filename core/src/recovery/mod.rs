//! Recovery: the only door to a [`Store`].
//!
//! ```text
//!  Manifest ─► Headers ─► Snapshot ─► Replay ─► (Scan) ─► Rewrite ─► Open ─► Done
//!  newest      every      newest      records   what is   same bytes  revision, header,
//!  revision    extent     that loads            behind    in place    first mark
//!     │           │          │           │                    │
//!     └───────────┴──────────┴───────────┴────► Refuse ◄──────┘
//! ```
//!
//! The rule of use: call [`Recovery::poll`] and do what it asks, until it is done or refuses. Every start takes this one path,
//! and nothing is written before `Rewrite`.
//!
//! Invariants: until this boot has synced a revision of its own, nothing is deleted, recycled or overwritten except by the bytes
//! that are there; running it again, or crashing inside it, gives the same answer.
//! It does not read snapshots (a host decodes them in parallel) and removes nothing (it names what may be removed).

mod headers;
mod manifest;
mod open;
mod replay;

use crate::action::{Action, Buffer, Failure, Span};
use crate::codec::check::Checksum;
use crate::geometry::Geometry;
use crate::manifest::{Loan, Manifest, Snapshot};
use crate::store::revise::Revising;
use crate::store::{Config, Now, Store};
use crate::types::{
    EffectId, Epoch, Extent, LogId, Lsn, Millis, Position, Revision, Settled, StoreId, Timeline,
};
use crate::wal::reader::Reader;
use crate::wal::verdict::Verdict;

/// What recovery is to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How the store will behave.
    pub config: Config,
    /// Its sizes.
    pub geometry: Geometry,
    /// The identity of the store if there is none yet: random.
    pub fresh: StoreId,
    /// The operator's choice to go past damage at exactly this LSN.
    pub discard_from: Option<Lsn>,
    /// What to read.
    pub scope: Scope,
}

/// How much is read, and whether the store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What a start needs; then the store is opened.
    Open,
    /// The same, to say what a start would find; nothing is written.
    Verify,
}

/// Memory lent to recovery, and then to the store.
#[derive(Debug)]
pub struct Memory<L: Loan> {
    /// The two batch halves.
    pub halves: [L::Bytes; 2],
    /// The manifest frame.
    pub frame: L::Bytes,
    /// What is read goes here: at least 8 KiB.
    pub window: L::Bytes,
    /// Listed segments.
    pub segments: L::Segments,
    /// Free extents.
    pub free: L::Free,
    /// Snapshots.
    pub snapshots: L::Snapshots,
}

/// What recovery wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Read bytes into [`Recovery::window_mut`] at `start`, then call [`Recovery::filled`]. Fewer than `len` bytes mean that the
    /// extent ends there; an extent that does not exist has none.
    Read {
        /// Which extent.
        extent: Extent,
        /// Bytes from its start.
        offset: u64,
        /// Where in the window.
        start: usize,
        /// How many bytes.
        len: usize,
    },
    /// Exchange the window for one of at least this many bytes, with [`Recovery::grow`].
    Grow(usize),
    /// Name an extent that exists, each once, with [`Recovery::next_extent`].
    NextExtent,
    /// Load this snapshot, then call [`Recovery::loaded`]. What an earlier one left is to be forgotten.
    Load(Snapshot),
    /// Take records with [`Recovery::next_record`] until there is none.
    Records,
    /// Carry this out, then call [`Recovery::complete`].
    Do(EffectId, Action),
    /// Keep a copy of this extent aside before going on: it may hold settled records that are discarded.
    Preserve(Extent),
    /// This extent is not needed: put it aside if `foreign`, else remove it, but only after [`Ask::Done`].
    Orphan {
        /// Which extent.
        extent: Extent,
        /// It may be someone else's, or is damaged.
        foreign: bool,
    },
    /// Call [`Recovery::finish`].
    Done,
    /// The store can't be opened. Nothing was changed.
    Refuse(Refusal),
}

/// An extent that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Which one.
    pub extent: Extent,
    /// Whether it has only its temporary name.
    pub unfinished: bool,
}

/// Why a store is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Settled data is damaged or missing.
    Corrupt(Damage),
    /// A frame, header or body was written by a newer version.
    Newer {
        /// Where.
        extent: Extent,
        /// Bytes from its start.
        offset: u64,
    },
    /// The medium could not be read.
    Unreadable {
        /// Where.
        extent: Extent,
        /// Bytes from its start.
        offset: u64,
    },
    /// An intact witness names a manifest revision that can't be found.
    RolledBack {
        /// The newest revision that was found.
        newest: Revision,
        /// The one that is named.
        named: Revision,
    },
    /// There are extents of a store, and no manifest revision.
    NoManifest {
        /// One of the extents.
        witness: Extent,
    },
    /// An extent has a number that this store can't have given: one far above every listed one.
    Stray {
        /// Which one.
        extent: Extent,
    },
    /// The manifest extents belong to several stores.
    SeveralStores {
        /// One of the extents.
        extent: Extent,
    },
    /// No snapshot can be loaded, and the log does not begin at the first record.
    NoSnapshot {
        /// The first LSN from which on the log is whole.
        first: Lsn,
    },
    /// Damage was found at another LSN than the one that was to be discarded from.
    NotThere {
        /// Where the damage is.
        damage: Damage,
    },
    /// The manifest lists more than the lent tables hold.
    TooMany,
    /// The medium gave other bytes than before.
    Unstable {
        /// Where.
        position: Position,
    },
    /// A write or sync of recovery itself failed.
    Failed {
        /// Which action.
        action: Action,
        /// How.
        failure: Failure,
    },
}

/// Damage to settled data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The extent, if it is listed.
    pub extent: Option<Extent>,
    /// Where the log can't be read on.
    pub position: Position,
    /// The first record that is lost.
    pub lsn: Lsn,
    /// The records before this one are known to have been durable.
    pub settled: Settled,
    /// The LSN before which records are known to have existed.
    pub announced: Lsn,
    /// The extent is not there at all.
    pub missing: bool,
}

/// What recovery found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The store was begun by this recovery.
    pub fresh: bool,
    /// Whose it is.
    pub store: StoreId,
    /// The epoch that was opened.
    pub epoch: Epoch,
    /// The line of history.
    pub timeline: Timeline,
    /// The snapshot that was loaded.
    pub snapshot: Option<Snapshot>,
    /// Snapshots that could not be loaded.
    pub damaged_snapshots: u32,
    /// Records that were replayed.
    pub records: u64,
    /// Bytes of log that were read.
    pub bytes: u64,
    /// LSN of the next record.
    pub next: Lsn,
    /// Where the log ended.
    pub end: Position,
    /// How the log ended: clean, torn, or corrupt if the operator discarded from there.
    pub verdict: Option<Verdict>,
    /// Bytes behind the end that are void, as far as known.
    pub void_bytes: u64,
    /// Records that are void: from `next` to before this one, as far as known.
    pub void_until: Lsn,
    /// The log was closed with a seal.
    pub sealed: bool,
    /// What was settled when recovery began.
    pub settled: Settled,
    /// Bytes that were written again because no witness covered them.
    pub rewritten: u64,
    /// Damaged or missing segments that the loaded snapshot made unnecessary.
    pub unneeded_damage: u32,
    /// Latest wall-clock time seen.
    pub time: Millis,
    /// Losses that operators chose to go past, ever.
    pub losses: u32,
}

/// Where a window of bytes comes from.
#[derive(Clone, Copy, Debug, Default)]
struct Filled {
    /// Bytes from the start of the extent of the window's first byte.
    offset: u64,
    /// Bytes in the window.
    len: usize,
    /// The extent ends behind them.
    ends: bool,
}

/// What is being done.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Manifest(manifest::Scan),
    Headers(headers::Headers),
    Snapshot { candidate: usize },
    Replay,
    Scan(replay::Behind),
    Rewrite(open::Rewrite),
    Open(open::Opening),
    Done,
    Refused(Refusal),
}

/// The machine.
#[derive(Debug)]
pub struct Recovery<C, L: Loan> {
    options: Options,
    manifest: Manifest<L>,
    halves: [L::Bytes; 2],
    window: L::Bytes,
    filled: Filled,
    /// A read that has been asked for.
    reading: Option<(Extent, u64, usize)>,
    revising: Revising<L::Bytes>,
    stage: Stage,
    /// The highest settled position and revision that an intact witness names.
    settled: Settled,
    named: Revision,
    /// The newest revision that was read.
    newest: Revision,
    next_extent: u32,
    /// Where the log begins, and the first record that is wanted.
    base: Settled,
    path: replay::Path,
    outstanding: Option<(EffectId, Action)>,
    last_id: EffectId,
    orphans: heapless::Vec<(Extent, bool), 8>,
    preserve: Option<Extent>,
    opened: Option<Settled>,
    report: Report,
    check: core::marker::PhantomData<C>,
}

impl<C: Checksum, L: Loan> Recovery<C, L> {
    /// Begins.
    pub fn new(options: Options, memory: Memory<L>) -> Self {
        Self {
            manifest: Manifest::new(memory.segments, memory.free, memory.snapshots),
            halves: memory.halves,
            window: memory.window,
            filled: Filled::default(),
            reading: None,
            revising: Revising::new(memory.frame, Revision(0), 0, 0),
            stage: Stage::Manifest(manifest::Scan::default()),
            settled: Settled::default(),
            named: Revision(0),
            newest: Revision(0),
            next_extent: 1,
            base: Settled::default(),
            path: replay::Path::default(),
            outstanding: None,
            last_id: EffectId(0),
            orphans: heapless::Vec::new(),
            preserve: None,
            opened: None,
            report: Report::default(),
            options,
            check: core::marker::PhantomData,
        }
    }

    /// What to do next.
    pub fn poll(&mut self, now: Now) -> Ask {
        loop {
            if let Some(extent) = self.preserve.take() {
                return Ask::Preserve(extent);
            }
            if let Some((extent, foreign)) = self.orphans.pop() {
                return Ask::Orphan { extent, foreign };
            }
            let ask = match self.stage {
                Stage::Manifest(scan) => self.poll_manifest(scan),
                Stage::Headers(headers) => self.poll_headers(headers),
                Stage::Snapshot { candidate } => self.poll_snapshot(candidate),
                Stage::Replay => self.poll_replay(),
                Stage::Scan(behind) => self.poll_scan(behind),
                Stage::Rewrite(rewrite) => self.poll_rewrite(rewrite),
                Stage::Open(opening) => self.poll_open(opening, now),
                Stage::Done => Some(Ask::Done),
                Stage::Refused(refusal) => Some(Ask::Refuse(refusal)),
            };
            if let Some(ask) = ask {
                return ask;
            }
        }
    }

    /// The window that reads go to.
    pub fn window_mut(&mut self) -> &mut [u8] {
        self.window.as_mut()
    }

    /// The bytes of a span that an action named.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        let [left, right] = &self.halves;
        let buffer = match span.buffer {
            Buffer::Left => Some(left),
            Buffer::Right => Some(right),
            Buffer::Manifest => self.revising.buffer.as_ref(),
            Buffer::Window => Some(&self.window),
        };
        let start = span.start as usize;
        buffer.and_then(|bytes| bytes.as_ref().get(start..start + span.len as usize)).unwrap_or_default()
    }

    /// How many bytes were read, or that the medium could not be read.
    pub fn filled(&mut self, result: Result<usize, Failure>) {
        let Some((extent, offset, wanted)) = self.reading.take() else { return };
        match result {
            Ok(bytes) => {
                self.filled.len += bytes.min(wanted);
                self.filled.ends = bytes < wanted;
            }
            Err(_) => self.refuse(Refusal::Unreadable { extent, offset }),
        }
    }

    /// Exchanges the window for a larger one; what was read stays.
    pub fn grow(&mut self, mut window: L::Bytes) -> L::Bytes {
        let old = self.window.as_ref();
        let kept = self.filled.len.min(window.as_ref().len());
        if let (Some(to), Some(from)) = (window.as_mut().get_mut(..kept), old.get(..kept)) {
            to.copy_from_slice(from);
        }
        core::mem::replace(&mut self.window, window)
    }

    /// Whether the snapshot that was asked for has been loaded.
    pub fn loaded(&mut self, good: bool) {
        if let Stage::Snapshot { candidate } = self.stage {
            self.take_snapshot(candidate, good);
        }
    }

    /// The snapshot that was asked for is neither good nor damaged: the medium could not be read, or a newer version wrote it.
    pub fn unloadable(&mut self, newer: bool) {
        let Stage::Snapshot { candidate } = self.stage else { return };
        let snapshots = self.manifest.snapshots.as_slice();
        let Some(snapshot) = candidate.checked_sub(1).and_then(|at| snapshots.get(at)) else { return };
        let (extent, offset) = (Extent::snapshot(snapshot.number), 0);
        self.refuse(if newer {
            Refusal::Newer { extent, offset }
        } else {
            Refusal::Unreadable { extent, offset }
        });
    }

    /// The result of an action.
    pub fn complete(&mut self, id: EffectId, result: Result<(), Failure>) {
        let Some((_, action)) = self.outstanding.take_if(|(of, _)| *of == id) else { return };
        match result {
            Ok(()) => self.done(action),
            Err(failure) => self.refuse(Refusal::Failed { action, failure }),
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The manifest that was read, for tools that show it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest<L> {
        &self.manifest
    }

    /// The same, for tools that change it.
    #[must_use]
    pub fn into_manifest(self) -> Manifest<L> {
        self.manifest
    }

    /// How far replay has come: the next record, and the last one known to exist.
    #[must_use]
    pub fn progress(&self) -> (Lsn, Lsn) {
        (self.path.next, self.settled.lsn)
    }

    /// The open store, once [`Ask::Done`] has come with [`Scope::Open`]; `None` before that.
    pub fn finish(self) -> Option<(Store<C, L>, Report)> {
        let Stage::Done = self.stage else { return None };
        let settled = self.opened?;
        self.into_store(settled)
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.stage = Stage::Refused(refusal);
    }

    /// Asks to read `extent` at `offset` behind what the window keeps; the window must have room.
    fn read(&mut self, extent: Extent, offset: u64) -> Option<Ask> {
        let (start, room) = (self.filled.len, self.window.as_ref().len() - self.filled.len);
        self.reading = Some((extent, offset, room));
        Some(Ask::Read { extent, offset, start, len: room })
    }

    /// Makes the window begin at `offset`, keeping what it has from there on.
    fn slide(&mut self, offset: u64) {
        let Filled { offset: from, len, ends } = self.filled;
        let skip = usize::try_from(offset.saturating_sub(from)).unwrap_or(usize::MAX).min(len);
        if offset < from || offset > from + len as u64 {
            self.filled = Filled { offset, len: 0, ends: false };
            return;
        }
        self.window.as_mut().copy_within(skip..len, 0);
        self.filled = Filled { offset, len: len - skip, ends };
    }

    /// Makes at least `need` bytes from `offset` of `extent` readable in the window; `Some` asks for a read or a larger window.
    /// Returns `None` when they are there or the extent ends.
    fn want(&mut self, extent: Extent, offset: u64, need: usize) -> Option<Ask> {
        let within = offset >= self.filled.offset;
        let skip = usize::try_from(offset.saturating_sub(self.filled.offset)).unwrap_or(usize::MAX);
        if within
            && (self.filled.len.saturating_sub(skip) >= need || (self.filled.ends && skip <= self.filled.len))
        {
            return None;
        }
        self.slide(offset);
        if need > self.window.as_ref().len() {
            return Some(Ask::Grow(need));
        }
        self.read(extent, offset + self.filled.len as u64)
    }

    /// The window from `offset` on.
    fn window_at(&self, offset: u64) -> &[u8] {
        let skip = usize::try_from(offset.saturating_sub(self.filled.offset)).unwrap_or(usize::MAX);
        self.window.as_ref().get(skip..self.filled.len).unwrap_or_default()
    }

    /// Forgets the window, before another extent is read.
    fn forget(&mut self) {
        self.filled = Filled::default();
    }

    fn hand_out(&mut self, action: Action) -> Option<Ask> {
        self.last_id = EffectId(self.last_id.0.wrapping_add(1));
        self.outstanding = Some((self.last_id, action));
        Some(Ask::Do(self.last_id, action))
    }

    fn orphan(&mut self, extent: Extent, foreign: bool) {
        let fits = self.orphans.push((extent, foreign)).is_ok();
        debug_assert!(fits, "drained at every poll");
    }

    /// The index of the listed segment `log`.
    fn segment_index(&self, log: LogId) -> Option<usize> {
        self.manifest.segments.as_slice().binary_search_by_key(&log, |segment| segment.log).ok()
    }

    fn reader(&self, from: Position, expected: Lsn, epoch: Epoch, geometry: Geometry) -> Reader {
        Reader::new::<C>(self.manifest.store, epoch, from, expected, geometry)
    }
}
