//! Stores made by hand, frame by frame, and one start of them: for what a simulated store never gets into.
//!
//! ```text
//!  Handmade ─ segment, segment, ... ─► a test changes what it likes ─► start ─► Started: what was found, asked and left
//! ```

use std::collections::BTreeMap;

use strandline_core::action::{Action, Buffer};
use strandline_core::codec::extent::{ExtentHeader, HeaderParsed};
use strandline_core::geometry::Geometry;
use strandline_core::manifest::{FreeExtent, Head, Manifest, Segment, Snapshot};
use strandline_core::recovery::{Ask, Existing, Refusal, Report};
use strandline_core::store::Now;
use strandline_core::types::{Epoch, Extent, LogId, Lsn, Millis, Position, Revision, Settled, StoreId};
use strandline_core::wal::writer::{Place, Witness, Writer};

use crate::chance::Chance;
use crate::setup::{FastCheck, Heap, Setup, SimRecovery};

/// Extents and what is in them.
pub type Files = BTreeMap<Extent, Vec<u8>>;

/// Small frames, and every batch at a multiple of 64.
pub const GEOMETRY: Geometry =
    Geometry { write_unit: 64, batch_align: 64, extent_bytes: 4096, manifest_bytes: 32_768 };
/// Whose the store is.
pub const STORE: StoreId = StoreId([7; 16]);

/// A store that is not running.
#[derive(Debug)]
pub struct Handmade {
    /// What its manifest says.
    pub manifest: Manifest<Heap>,
    /// Its segments and snapshots. A snapshot that is there loads.
    pub files: Files,
    /// The sizes of the segments that are written next.
    pub geometry: Geometry,
    /// What the marks and headers that are written next witness.
    pub witness: Witness,
}

/// How it is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The sizes that the operator wants.
    pub geometry: Geometry,
    /// Where the operator goes past damage.
    pub discard_from: Option<Lsn>,
    /// From this read on, counted from 0, these files hold something else.
    pub changes: Option<(usize, Files)>,
    /// Whether snapshots load that are there.
    pub loads: bool,
}

/// What came of a start.
#[derive(Debug)]
pub struct Started {
    /// What was found, or why it refused.
    pub ended: Result<Report, Refusal>,
    /// The records that were replayed.
    pub lsns: Vec<Lsn>,
    /// What was handed over, and whether it is foreign.
    pub orphans: Vec<(Extent, bool)>,
    /// What was to be kept for the operator.
    pub preserved: Vec<Extent>,
    /// What was written, in order, but for manifests.
    pub written: Vec<(Extent, u64, u32)>,
    /// What was read.
    pub reads: Vec<(Extent, u64)>,
    /// The files that it left.
    pub files: Files,
    /// The extents that may be used again.
    pub free: Vec<u32>,
    /// The listed segments.
    pub segments: Vec<LogId>,
}

impl Default for Handmade {
    fn default() -> Self {
        let mut manifest = Manifest::new(
            vec![Segment::default(); 48],
            vec![FreeExtent::default(); 16],
            vec![Snapshot::default(); 4],
        );
        manifest.reset(STORE);
        manifest.head = Head { revision: Revision(1), ..Head::default() };
        let witness = Witness {
            settled: Settled::default(),
            revision: Revision(1),
            time: Millis::default(),
            seal: false,
        };
        let mut store = Self { manifest, files: Files::new(), geometry: GEOMETRY, witness };
        store.sizes(GEOMETRY);
        store
    }
}

impl Default for Start {
    fn default() -> Self {
        Self { geometry: GEOMETRY, discard_from: None, changes: None, loads: true }
    }
}

impl Handmade {
    /// The sizes of the segments that are listed and written next.
    pub fn sizes(&mut self, geometry: Geometry) {
        self.geometry = geometry;
        self.manifest.head.geometry = (geometry.write_unit, geometry.batch_align, geometry.extent_bytes);
    }

    /// Lists segment `log`, in the extent of the same number.
    pub fn list(&mut self, log: u64, epoch: u32, fence: Lsn) {
        let head = &mut self.manifest.head;
        head.epoch = head.epoch.max(Epoch(epoch));
        head.next_log = head.next_log.max(LogId(log + 1));
        let segment = Segment {
            log: LogId(log),
            extent: number(log),
            epoch: Epoch(epoch),
            fence,
            geometry: self.geometry,
            ..Segment::default()
        };
        self.manifest.segments.push(segment).expect("there is room");
    }

    /// Writes segment `log` from record `fence` on: so many records in each batch. Returns where it ends.
    pub fn write(&mut self, log: u64, epoch: u32, fence: u64, batches: &[u32]) -> Settled {
        self.files.insert(Extent::wal(number(log)), vec![0; self.geometry.extent_bytes as usize]);
        batches.iter().fold(at(log, 0, fence), |end, records| self.batch(epoch, end, *records))
    }

    /// Writes one batch into a segment, and the header if it is the first. Returns where it ends.
    pub fn batch(&mut self, epoch: u32, place: Settled, records: u32) -> Settled {
        let (Settled { position, lsn }, witness) = (place, self.witness);
        let writer = Writer { store: STORE, epoch: Epoch(epoch), geometry: self.geometry };
        let out = &mut self.bytes(position.log.0)[position.offset as usize..];
        let place = Place { extent: number(position.log.0), position };
        let mut batch = writer.open::<FastCheck>(place, lsn, out.len());
        for _ in 0..records {
            batch.push::<FastCheck>(&record(batch.next()), out).expect("there is room");
        }
        batch.close::<FastCheck>(&writer, &witness, out).expect("there is room");
        Settled { position: batch.end(), lsn: batch.next() }
    }

    /// Lists and writes.
    pub fn segment(&mut self, log: u64, epoch: u32, fence: u64, batches: &[u32]) -> Settled {
        self.list(log, epoch, Lsn(fence));
        self.write(log, epoch, fence, batches)
    }

    /// Lists a snapshot of everything before `base`, which loads.
    pub fn snapshot(&mut self, number: u32, base: Settled) {
        let snapshot = Snapshot { number, base: base.lsn, position: base.position, ..Snapshot::default() };
        self.manifest.snapshots.push(snapshot).expect("there is room");
        self.files.insert(Extent::snapshot(number), vec![0; 64]);
    }

    /// The bytes of a segment.
    pub fn bytes(&mut self, log: u64) -> &mut [u8] {
        self.files.get_mut(&Extent::wal(number(log))).expect("it was written")
    }

    /// Changes the header of segment `log`.
    pub fn change_header(&mut self, log: u64, change: impl FnOnce(&mut ExtentHeader)) {
        let bytes = self.bytes(log);
        let HeaderParsed::Header(mut header) = ExtentHeader::decode::<FastCheck>(bytes) else {
            panic!("segment {log} has a header")
        };
        change(&mut header);
        header.encode::<FastCheck>(header.geometry.0, bytes).expect("there is room");
    }

    /// All its files, the manifest's included.
    #[must_use]
    pub fn all_files(&self) -> Files {
        let mut files = self.files.clone();
        let mut frames = vec![0; GEOMETRY.manifest_bytes as usize];
        self.manifest.encode::<FastCheck>(0, GEOMETRY, &mut frames).expect("there is room");
        files.insert(Extent::manifest(1), vec![0; frames.len()]);
        files.insert(Extent::manifest(2), vec![0; frames.len()]);
        files.insert(Extent::manifest(0), frames);
        files
    }

    /// Starts it as it was stopped.
    #[must_use]
    pub fn started(&self) -> Started {
        self.start(&Start::default())
    }

    /// Starts it.
    #[must_use]
    pub fn start(&self, start: &Start) -> Started {
        start.of(self.all_files())
    }
}

impl Start {
    /// Starts the store that is in these files.
    #[must_use]
    pub fn of(&self, mut files: Files) -> Started {
        let mut recovery = recovery(self.geometry, self.discard_from);
        let mut names: Vec<Extent> = files.keys().copied().collect();
        let mut changes = self.changes.clone();
        let (mut reads, mut lsns, mut written) = (vec![], vec![], vec![]);
        let (mut orphans, mut preserved) = (vec![], vec![]);
        let ended = loop {
            let ask = ask(&mut recovery, |extent, offset| {
                if let Some((_, changed)) = changes.take_if(|(from, _)| *from == reads.len()) {
                    files.extend(changed);
                }
                reads.push((extent, offset));
                files.get(&extent).cloned()
            });
            match ask {
                Ask::NextExtent => {
                    let existing = names.pop().map(|extent| Existing { extent, unfinished: false });
                    recovery.next_extent(existing);
                }
                Ask::Load(snapshot) => {
                    let there = files.contains_key(&Extent::snapshot(snapshot.number));
                    recovery.loaded(there && self.loads);
                }
                Ask::Records => {
                    while let Some((lsn, payload)) = recovery.next_record() {
                        assert_eq!(payload, record(lsn), "nothing but what was written");
                        lsns.push(lsn);
                    }
                }
                Ask::Do(id, action) => {
                    carry_out(&recovery, action, self.geometry, &mut files, &mut written);
                    recovery.complete(id, Ok(()));
                }
                Ask::Preserve(extent) => preserved.push(extent),
                Ask::Orphan { extent, foreign } => orphans.push((extent, foreign)),
                Ask::Done => break Ok(*recovery.report()),
                Ask::Refuse(refusal) => break Err(refusal),
                Ask::Read { .. } | Ask::Grow(_) => unreachable!("served"),
            }
        };
        let manifest = recovery.manifest();
        let free = manifest.free.as_slice().iter().map(|free| free.extent).collect();
        let segments = manifest.segments.as_slice().iter().map(|segment| segment.log).collect();
        Started { ended, lsns, orphans, preserved, written, reads, files, free, segments }
    }
}

impl Started {
    /// What was found.
    ///
    /// # Panics
    /// If it refused.
    #[must_use]
    pub fn report(&self) -> Report {
        self.ended.unwrap_or_else(|refusal| panic!("it refused: {refusal:?}"))
    }
}

/// A recovery with these sizes.
#[must_use]
pub fn recovery(geometry: Geometry, discard_from: Option<Lsn>) -> SimRecovery {
    let setup = Setup {
        geometry,
        half_bytes: 4096,
        window_bytes: 8192,
        segments: 48,
        ..Setup::random(&mut Chance::new(1))
    };
    setup.recovery(StoreId([1; 16]), discard_from)
}

/// Serves what a recovery reads; returns what else it asks.
pub fn ask(recovery: &mut SimRecovery, mut file: impl FnMut(Extent, u64) -> Option<Vec<u8>>) -> Ask {
    loop {
        match recovery.poll(Now::default()) {
            Ask::Read { extent, offset, start, len } => {
                let file = file(extent, offset).unwrap_or_default();
                let rest = &file[file.len().min(usize::try_from(offset).expect("small"))..];
                let bytes = &rest[..rest.len().min(len)];
                recovery.window_mut()[start..start + bytes.len()].copy_from_slice(bytes);
                recovery.filled(Ok(bytes.len()));
            }
            Ask::Grow(bytes) => drop(recovery.grow(vec![0; bytes])),
            ask => return ask,
        }
    }
}

fn carry_out(
    recovery: &SimRecovery,
    action: Action,
    geometry: Geometry,
    files: &mut Files,
    written: &mut Vec<(Extent, u64, u32)>,
) {
    match action {
        Action::Prepare { extent } => {
            files.insert(extent, vec![0; geometry.extent_bytes as usize]);
        }
        Action::Write { extent, offset, bytes } => {
            let file = files.get_mut(&extent).expect("it was prepared");
            let at = usize::try_from(offset).expect("small");
            let content = recovery.bytes(bytes);
            file.resize(file.len().max(at + content.len()), 0);
            file[at..at + content.len()].copy_from_slice(content);
            if bytes.buffer != Buffer::Manifest {
                written.push((extent, offset, bytes.len));
            }
        }
        _ => {}
    }
}

/// A place of the log.
#[must_use]
pub const fn at(log: u64, offset: u32, lsn: u64) -> Settled {
    Settled { position: Position { log: LogId(log), offset }, lsn: Lsn(lsn) }
}

/// The content of a record.
fn record(lsn: Lsn) -> Vec<u8> {
    format!("record {lsn}").into_bytes()
}

fn number(log: u64) -> u32 {
    u32::try_from(log).expect("small")
}
