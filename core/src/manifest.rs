//! The manifest: which extents hold what. The newest intact revision wins.
//!
//! ```text
//!  manifest extent   | frame | pad to slot | frame | pad to slot | ...      three of them, used as a ring
//!  frame payload     | store 16 | version u16 | postcard: Head, segment runs, free runs, snapshots, losses |
//! ```
//!
//! Each frame holds the whole state. Checksums start from the store id (which stands in the frame itself) and the offset only,
//! so that one intact frame anywhere suffices. A scan tries every slot; a bad frame never ends it.
//!
//! Invariants: a revision is acted on only when it is durable; the extent that holds the newest *proven* revision (one that this
//! process has synced, or that an intact witness names) is never begun anew; segments are listed in the order of their log ids.

use core::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::codec::check::{Checksum, Seed};
use crate::codec::frame::{Framing, Kind, Parsed, Slot};
use crate::geometry::Geometry;
use crate::table::{Table, TableFull};
use crate::types::{Epoch, LogId, Lsn, Millis, Position, Revision, Settled, StoreId, Timeline};

/// How many manifest extents there are.
pub const MANIFEST_EXTENTS: u32 = 3;
/// Every border at which a manifest frame may begin is a multiple of this, bytes.
pub const MANIFEST_STEP: u32 = crate::geometry::MANIFEST_SLOT;
/// Losses that are kept by name; older ones are counted.
pub const LOSSES: usize = 16;

const BODY_VERSION: u16 = 1;
const PREFIX: usize = 18;

/// A listed segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Its number in the log.
    pub log: LogId,
    /// The extent that holds it.
    pub extent: u32,
    /// Epoch of its writer.
    pub epoch: Epoch,
    /// First LSN in it; [`Lsn::UNKNOWN`] until it is begun.
    pub fence: Lsn,
    /// The revision that first listed it: it may be begun when that is durable.
    pub claimed: Revision,
    /// Its sizes, which its header carries. Not in the manifest.
    pub geometry: Geometry,
    /// Whether its extent was found, and its header intact. Not in the manifest.
    pub state: SegmentState,
    /// It stays while every segment is kept, because nobody has let go of it by name. Not in the manifest.
    pub wanted: bool,
}

/// What is known of a listed segment's extent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SegmentState {
    /// Not found.
    #[default]
    Missing,
    /// Found, without an intact header of this segment: not begun, or damaged.
    Unheaded,
    /// Found, with its header.
    Headed,
}

/// An extent that may be given to a new segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeExtent {
    /// The extent.
    pub extent: u32,
    /// The revision that freed it: it may be listed again when that is durable.
    pub freed: Revision,
    /// Whether it was found. Not in the manifest.
    pub present: bool,
}

/// A snapshot that may be loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its extent.
    pub number: u32,
    /// The first LSN that is not in it.
    pub base: Lsn,
    /// Where in the log that record is, or would be: a batch border at or before it.
    pub position: Position,
    /// Size, bytes.
    pub bytes: u64,
    /// Items in it, as its writer counted them.
    pub items: u64,
    /// When it was taken.
    pub time: Millis,
}

/// Settled data that an operator chose to go past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The first LSN that was discarded.
    pub from: Lsn,
    /// The LSN before which records are known to have existed, if that is known.
    pub until: Lsn,
    /// The epoch that was opened by going past it.
    pub epoch: Epoch,
    /// When.
    pub time: Millis,
}

/// What a revision says besides its lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub revision: Revision,
    /// The newest revision known to be durable when this one was written, and the extent that holds it.
    pub proven: Revision,
    /// See `proven`.
    pub proven_extent: u32,
    /// The newest epoch.
    pub epoch: Epoch,
    /// The log id that the next listed segment gets.
    pub next_log: LogId,
    /// What was durable when this was written.
    pub settled: Settled,
    /// The line of history.
    pub timeline: Timeline,
    /// Segments up to this one are archived.
    pub archived: LogId,
    /// Latest wall-clock time seen.
    pub time: Millis,
    /// How many losses there have been.
    pub losses: u32,
    /// Sizes of the newest epoch's segments, as an extent header carries them: write unit, batch border, extent.
    pub geometry: (u32, u32, u32),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Counts {
    segment_runs: u32,
    free_runs: u32,
    snapshots: u32,
    losses: u32,
}

/// Segments whose log ids and extents follow each other. Only the first one's fence is kept; the others have headers.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct SegmentRun {
    log: LogId,
    extent: u32,
    epoch: Epoch,
    fence: Lsn,
    count: u32,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct FreeRun {
    extent: u32,
    count: u32,
}

/// Memory lent for the lists of a manifest and for staging.
pub trait Loan {
    /// Bytes: a batch half, the manifest frame, the recovery window.
    type Bytes: AsRef<[u8]> + AsMut<[u8]> + Debug;
    /// Segments.
    type Segments: AsRef<[Segment]> + AsMut<[Segment]> + Debug;
    /// Free extents.
    type Free: AsRef<[FreeExtent]> + AsMut<[FreeExtent]> + Debug;
    /// Snapshots.
    type Snapshots: AsRef<[Snapshot]> + AsMut<[Snapshot]> + Debug;
}

/// The manifest in memory.
#[derive(Debug)]
pub struct Manifest<L: Loan> {
    /// Whose it is.
    pub store: StoreId,
    /// Everything but the lists.
    pub head: Head,
    /// Listed segments, in the order of their log ids.
    pub segments: Table<L::Segments>,
    /// Extents that may be used again.
    pub free: Table<L::Free>,
    /// Snapshots, oldest first.
    pub snapshots: Table<L::Snapshots>,
    /// The newest losses.
    pub losses: heapless::Vec<Loss, LOSSES>,
}

/// Why a frame's body is not a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It verified but is not what a writer of this format makes.
    Malformed,
    /// A newer version wrote it.
    Newer(u16),
    /// It lists more than the lent tables hold.
    Full,
}

impl From<TableFull> for BodyError {
    fn from(_: TableFull) -> Self {
        Self::Full
    }
}

/// What stands in one slot of a manifest extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotFound<'w> {
    /// An intact frame: whose, and its body.
    Frame {
        /// Whose it is.
        store: StoreId,
        /// For [`Manifest::decode`].
        body: &'w [u8],
        /// Bytes of the frame on the medium.
        bytes: usize,
    },
    /// This many bytes are needed to tell.
    Need(usize),
    /// No intact frame.
    Nothing,
}

/// Looks for a manifest frame in a slot at `offset`.
#[must_use]
pub fn look<C: Checksum>(window: &[u8], offset: u32, geometry: Geometry) -> SlotFound<'_> {
    let limit = u64::from(geometry.manifest_bytes.saturating_sub(offset));
    // The store id stands behind the frame's header, whose length depends on the kind.
    let Some(header) = window.first_chunk::<8>() else { return SlotFound::Need(8) };
    let is_manifest = header[7] & 0x7f == Kind::Manifest as u8;
    if !is_manifest || limit < 64 {
        return SlotFound::Nothing;
    }
    let start = if header[7] == Kind::Manifest as u8 { 8 } else { 12 };
    let Some(store) = window.get(start..).and_then(|at| at.first_chunk::<16>()) else {
        return SlotFound::Need(start + 16);
    };
    let store = StoreId(*store);
    let framing = Framing { write_unit: geometry.write_unit as usize, seed: Seed::manifest::<C>(store) };
    match framing.decode::<C>(window, u64::from(offset), limit) {
        Parsed::Frame(frame) => SlotFound::Frame { store, body: frame.payload, bytes: frame.bytes },
        Parsed::Need(bytes) => SlotFound::Need(bytes),
        Parsed::Blank | Parsed::Bad | Parsed::Newer(_) => SlotFound::Nothing,
    }
}

/// Reads the head of a frame's body, without its lists.
///
/// # Errors
/// See [`BodyError`].
pub fn head(body: &[u8]) -> Result<Head, BodyError> {
    let (_, version, rest) = split(body)?;
    if version > BODY_VERSION {
        return Err(BodyError::Newer(version));
    }
    postcard::take_from_bytes::<Head>(rest).map(|(head, _)| head).map_err(|_| BodyError::Malformed)
}

fn split(body: &[u8]) -> Result<(StoreId, u16, &[u8]), BodyError> {
    let (prefix, rest) = body.split_first_chunk::<PREFIX>().ok_or(BodyError::Malformed)?;
    let (store, version) = prefix.split_first_chunk::<16>().ok_or(BodyError::Malformed)?;
    let version = version.first_chunk::<2>().ok_or(BodyError::Malformed)?;
    Ok((StoreId(*store), u16::from_le_bytes(*version), rest))
}

impl<L: Loan> Manifest<L> {
    /// An empty manifest in lent tables.
    pub fn new(segments: L::Segments, free: L::Free, snapshots: L::Snapshots) -> Self {
        Self {
            store: StoreId::default(),
            head: Head::default(),
            segments: Table::new(segments),
            free: Table::new(free),
            snapshots: Table::new(snapshots),
            losses: heapless::Vec::new(),
        }
    }

    /// Forgets everything, for a store that is begun again.
    pub fn reset(&mut self, store: StoreId) {
        self.store = store;
        self.head = Head::default();
        self.segments.clear();
        self.free.clear();
        self.snapshots.clear();
        self.losses.clear();
    }

    /// Notes a loss, forgetting the oldest if there are too many.
    pub fn lose(&mut self, loss: Loss) {
        if self.losses.is_full() {
            self.losses.remove(0);
        }
        let _ = self.losses.push(loss);
        self.head.losses = self.head.losses.saturating_add(1);
    }

    /// Writes the frame that holds this manifest, for `offset` in a manifest extent; `None` if `out` is too short.
    pub fn encode<C: Checksum>(&self, offset: u32, geometry: Geometry, out: &mut [u8]) -> Option<usize> {
        const BODY_AT: usize = crate::codec::frame::LONG_HEADER + PREFIX;
        let free = out.get_mut(BODY_AT..)?;
        let mut body = Body { bytes: free, at: 0 };
        body.put(&self.head)?;
        let counts = Counts {
            segment_runs: u32::try_from(self.runs(|_| {})).ok()?,
            free_runs: u32::try_from(self.free_runs(|_| {})).ok()?,
            snapshots: u32::try_from(self.snapshots.as_slice().len()).ok()?,
            losses: u32::try_from(self.losses.len()).ok()?,
        };
        body.put(&counts)?;
        let mut fits = true;
        self.runs(|run| fits &= body.put(&run).is_some());
        self.free_runs(|run| fits &= body.put(&run).is_some());
        for snapshot in self.snapshots.as_slice() {
            body.put(snapshot)?;
        }
        for loss in &self.losses {
            body.put(loss)?;
        }
        let body_bytes = body.at;
        if !fits {
            return None;
        }
        self.frame::<C>(offset, geometry, body_bytes, out)
    }

    /// Closes the gap that a short header leaves, writes the prefix and seals the frame.
    fn frame<C: Checksum>(
        &self,
        offset: u32,
        geometry: Geometry,
        body: usize,
        out: &mut [u8],
    ) -> Option<usize> {
        const LONG: usize = crate::codec::frame::LONG_HEADER;
        let payload = PREFIX + body;
        let start = if payload > usize::from(u16::MAX) { LONG } else { crate::codec::frame::HEADER };
        out.copy_within(LONG + PREFIX..LONG + PREFIX + body, start + PREFIX);
        out.get_mut(start..start + 16)?.copy_from_slice(&self.store.0);
        out.get_mut(start + 16..start + PREFIX)?.copy_from_slice(&BODY_VERSION.to_le_bytes());
        let framing =
            Framing { write_unit: geometry.write_unit as usize, seed: Seed::manifest::<C>(self.store) };
        let bytes = framing.frame_bytes(payload);
        let slot = Slot { offset: u64::from(offset), lsn: Lsn(self.head.revision.0) };
        framing.seal::<C>(Kind::Manifest, slot, payload, out.get_mut(..bytes)?)?;
        Some(bytes)
    }

    /// Replaces this manifest by the one in a frame's body.
    ///
    /// # Errors
    /// See [`BodyError`]; the manifest is empty then.
    pub fn decode(&mut self, body: &[u8]) -> Result<(), BodyError> {
        let (store, version, rest) = split(body)?;
        self.reset(store);
        if version > BODY_VERSION {
            return Err(BodyError::Newer(version));
        }
        let mut rest = Parts(rest);
        self.head = rest.take()?;
        let counts: Counts = rest.take()?;
        for _ in 0..counts.segment_runs {
            self.expand(rest.take()?)?;
        }
        for _ in 0..counts.free_runs {
            let run: FreeRun = rest.take()?;
            for step in 0..run.count {
                let extent = run.extent.checked_add(step).ok_or(BodyError::Malformed)?;
                self.free.push(FreeExtent { extent, freed: self.head.revision, present: false })?;
            }
        }
        for _ in 0..counts.snapshots {
            self.snapshots.push::<Snapshot>(rest.take()?)?;
        }
        for _ in 0..counts.losses {
            self.losses.push(rest.take()?).map_err(|_| BodyError::Malformed)?;
        }
        Ok(())
    }

    fn expand(&mut self, run: SegmentRun) -> Result<(), BodyError> {
        // A header says more. Without it, the marks of a segment are found only at the sizes that it was written with.
        let (write_unit, batch_align, extent_bytes) = self.head.geometry;
        let geometry = Geometry { write_unit, batch_align, extent_bytes, ..Geometry::HOST };
        let geometry = geometry.check().map_err(|_| BodyError::Malformed)?;
        for step in 0..run.count {
            self.segments.push(Segment {
                log: LogId(run.log.0.checked_add(u64::from(step)).ok_or(BodyError::Malformed)?),
                extent: run.extent.checked_add(step).ok_or(BodyError::Malformed)?,
                epoch: run.epoch,
                fence: if step == 0 { run.fence } else { Lsn::UNKNOWN },
                claimed: self.head.revision,
                geometry,
                state: SegmentState::Missing,
                wanted: true,
            })?;
        }
        Ok(())
    }

    /// Calls `each` with every run of segments; returns how many there are.
    fn runs(&self, mut each: impl FnMut(SegmentRun)) -> usize {
        let mut count = 0;
        let mut open: Option<SegmentRun> = None;
        for segment in self.segments.as_slice() {
            if let Some(run) = open.as_mut().filter(|run| run.continues(segment)) {
                run.count += 1;
                continue;
            }
            count += 1;
            if let Some(done) = open.replace(SegmentRun::of(segment)) {
                each(done);
            }
        }
        if let Some(done) = open {
            each(done);
        }
        count
    }

    fn free_runs(&self, mut each: impl FnMut(FreeRun)) -> usize {
        let mut count = 0;
        let mut open: Option<FreeRun> = None;
        for free in self.free.as_slice() {
            if let Some(run) =
                open.as_mut().filter(|run| run.extent.checked_add(run.count) == Some(free.extent))
            {
                run.count += 1;
                continue;
            }
            count += 1;
            if let Some(done) = open.replace(FreeRun { extent: free.extent, count: 1 }) {
                each(done);
            }
        }
        if let Some(done) = open {
            each(done);
        }
        count
    }
}

impl SegmentRun {
    fn of(segment: &Segment) -> Self {
        Self {
            log: segment.log,
            extent: segment.extent,
            epoch: segment.epoch,
            fence: segment.fence,
            count: 1,
        }
    }

    fn continues(&self, segment: &Segment) -> bool {
        self.log.0.checked_add(u64::from(self.count)) == Some(segment.log.0)
            && self.extent.checked_add(self.count) == Some(segment.extent)
            && self.epoch == segment.epoch
    }
}

struct Body<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

impl Body<'_> {
    fn put(&mut self, value: &impl Serialize) -> Option<()> {
        let used = postcard::to_slice(value, self.bytes.get_mut(self.at..)?).ok()?.len();
        self.at += used;
        Some(())
    }
}

struct Parts<'b>(&'b [u8]);

impl Parts<'_> {
    fn take<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, BodyError> {
        let (value, rest) = postcard::take_from_bytes(self.0).map_err(|_| BodyError::Malformed)?;
        self.0 = rest;
        Ok(value)
    }
}
