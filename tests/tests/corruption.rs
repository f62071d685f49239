//! Every small damage to a small store: its verdict compared with what was appended.
//!
//! | damage | to |
//! |---|---|
//! | each bit flipped | segments, manifests, snapshots, an archive |
//! | cut at each length | the same |
//! | each sector zeroed, copied over each other one, swapped with each other one | the same |
//! | replaced by the file of that name of another store, or of an older boot; removed | segments, manifests, snapshots |
//!
//! What must hold: settled data is never silently lost or changed; a tail that is merely torn, and what nothing needs, never refuses; and
//! going past damage gives exactly the records in front of it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::thread;

use strandline::archive::{self, Archive, Level, Writing};
use strandline::core::archive::Header;
use strandline::core::archive::entry::{Entry, Payload, Stamp};
use strandline::{Millis, StoreId};
use strandline_core::action::{Action, Event, Output};
use strandline_core::codec::extent::{ExtentHeader, HeaderParsed};
use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::File;
use strandline_core::manifest::{FreeExtent, Head, MANIFEST_STEP, Segment, SlotFound, Snapshot, head, look};
use strandline_core::recovery::{Ask, Existing, Memory, Options, Recovery, Refusal, Report, Scope};
use strandline_core::snapshot::writer::Owner;
use strandline_core::store::{Config, Mode, Now, Priority};
use strandline_core::types::{Extent, LogId, Lsn, Role, Settled, Ticks};
use strandline_tests::oracle::{Oracle, State};
use strandline_tests::setup::{FastCheck, SimRecovery, SimStore};
use strandline_tests::state;
use strandline_tests::witness::settled;

const GEOMETRY: Geometry =
    Geometry { write_unit: 8, batch_align: 8, extent_bytes: 4096, manifest_bytes: 4096 };
const SECTOR: usize = 512;

/// The files of a store.
#[derive(Clone, Debug, Default)]
struct Image {
    files: BTreeMap<File, Arc<Vec<u8>>>,
    elapsed_ms: u64,
}

/// What a rehearsed start found.
struct Found {
    outcome: Result<Report, Refusal>,
    state: State,
    recovery: SimRecovery,
}

impl Image {
    fn now(&self) -> Now {
        Now { ticks: Ticks(self.elapsed_ms * 1000), wall: Millis(1_700_000_000_000 + self.elapsed_ms) }
    }

    fn carry_out(&mut self, action: Action, bytes: &[u8]) {
        match action {
            Action::Prepare { extent } => {
                let Geometry { manifest_bytes, extent_bytes, .. } = GEOMETRY;
                let size = if extent.role == Role::Manifest { manifest_bytes } else { extent_bytes };
                self.files.insert(File::of(extent), Arc::new(vec![0; size as usize]));
            }
            Action::Write { extent, offset, .. } => {
                let at = usize::try_from(offset).unwrap();
                let file = Arc::make_mut(self.files.get_mut(&File::of(extent)).unwrap());
                file[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Action::Sync { .. } => {}
            Action::Release { extent } => drop(self.files.remove(&File::of(extent))),
        }
    }

    fn read(&self, extent: Extent, offset: u64, into: &mut [u8]) -> usize {
        let bytes = self.files.get(&File::of(extent)).map_or(&[][..], |bytes| bytes.as_slice());
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let len = into.len().min(bytes.len() - from);
        into[..len].copy_from_slice(&bytes[from..from + len]);
        len
    }

    /// Runs recovery to its end; what it yields must be what the oracle knows.
    fn recover(&mut self, oracle: &Oracle, store: StoreId, scope: Scope, discard: Option<Lsn>) -> Found {
        let mut recovery = recovery(store, scope, discard);
        let mut listing: Vec<File> = self.files.keys().copied().collect();
        let mut state = State::default();
        let outcome = loop {
            match recovery.poll(self.now()) {
                Ask::Read { extent, offset, start, len } => {
                    let bytes = self.read(extent, offset, &mut recovery.window_mut()[start..start + len]);
                    recovery.filled(Ok(bytes));
                }
                Ask::NextExtent => {
                    let next = listing.pop().map(File::extent);
                    recovery.next_extent(next.map(|extent| Existing { extent, unfinished: false }));
                }
                Ask::Load(snapshot) => {
                    let file = self.files.get(&File::Snapshot(snapshot.number));
                    let store = recovery.manifest().store;
                    let loaded = file.and_then(|file| state::decode(store, snapshot, file));
                    state = loaded.unwrap_or_default();
                    oracle.snapshot_is_true(state).unwrap_or_else(|wrong| panic!("{wrong}"));
                    recovery.loaded(loaded.is_some());
                }
                Ask::Records => {
                    while let Some((lsn, record)) = recovery.next_record() {
                        state = oracle.follows(state, lsn, record).unwrap_or_else(|wrong| panic!("{wrong}"));
                    }
                }
                Ask::Do(id, action) => {
                    let bytes =
                        if let Action::Write { bytes, .. } = action { recovery.bytes(bytes) } else { &[] };
                    let bytes = bytes.to_vec();
                    self.carry_out(action, &bytes);
                    recovery.complete(id, Ok(()));
                }
                Ask::Grow(bytes) => drop(recovery.grow(vec![0; bytes])),
                Ask::Orphan { .. } | Ask::Preserve(_) => {}
                Ask::Refuse(why) => break Err(why),
                Ask::Done => break Ok(*recovery.report()),
            }
        };
        Found { outcome, state, recovery }
    }

    fn drain(&mut self, store: &mut SimStore) -> Vec<Event> {
        let mut events = vec![];
        loop {
            match store.poll(self.now()) {
                Output::Do(id, action) => {
                    let bytes =
                        if let Action::Write { bytes, .. } = action { store.bytes(bytes) } else { &[] };
                    let bytes = bytes.to_vec();
                    self.carry_out(action, &bytes);
                    store.complete(id, Ok(()), self.now());
                }
                Output::Event(event) => events.push(event),
                Output::Idle { .. } => return events,
            }
        }
    }
}

fn recovery(fresh: StoreId, scope: Scope, discard_from: Option<Lsn>) -> SimRecovery {
    let config = Config { ready_segments: 2, keep_snapshots: 2, ..Config::new(Mode::Always) };
    let memory = Memory {
        halves: [vec![0; 4096], vec![0; 4096]],
        frame: vec![0; 4096],
        window: vec![0; 8192],
        segments: vec![Segment::default(); 24],
        free: vec![FreeExtent::default(); 8],
        snapshots: vec![Snapshot::default(); 4],
    };
    Recovery::new(Options { config, geometry: GEOMETRY, fresh, discard_from, scope }, memory)
}

/// A store with three boots: several segments, two epochs in front of the newest, two snapshots, and an end that was not sealed.
struct Sample {
    image: Image,
    /// The files after each boot but the last.
    older: Vec<Image>,
    oracle: Oracle,
    store: StoreId,
}

impl Sample {
    fn new(store: StoreId) -> Self {
        let mut sample =
            Self { image: Image::default(), older: Vec::new(), oracle: Oracle::default(), store };
        for boot in 0..3 {
            let found = sample.image.recover(&sample.oracle, store, Scope::Open, None);
            let (mut engine, _) = found.recovery.finish().expect("open");
            sample.append(&mut engine, 11);
            if boot == 2 {
                break;
            }
            sample.snapshot(&mut engine);
            sample.append(&mut engine, 12);
            engine.close();
            sample.image.drain(&mut engine);
            sample.older.push(sample.image.clone());
        }
        sample
    }

    fn append(&mut self, engine: &mut SimStore, records: u8) {
        for record in 0..records {
            let payload = vec![record.wrapping_mul(37) ^ 0x5a; 40 + usize::from(record) * 45];
            let lsn = engine.append(&payload, Priority::Ordinary).expect("room");
            self.oracle.taken(lsn, &payload).unwrap();
            self.image.elapsed_ms += 1;
            // Batches of one and of two records.
            if record % 3 != 1 {
                self.image.drain(engine);
            }
        }
        self.image.drain(engine);
    }

    fn snapshot(&mut self, engine: &mut SimStore) {
        let mut snapshot = engine.begin_snapshot();
        let owner = Owner { store: engine.store_id(), epoch: engine.epoch(), revision: engine.revision() };
        let file = state::encode(owner, &mut snapshot, self.oracle.state(), 300);
        self.image.files.insert(File::Snapshot(snapshot.number), Arc::new(file));
        engine.keep_snapshot(snapshot).unwrap();
        let events = self.image.drain(engine);
        assert!(events.iter().any(|event| matches!(event, Event::SnapshotKept { .. })), "{events:?}");
    }
}

/// What became of the damages.
#[derive(Debug, Default)]
struct Counts {
    opened: u64,
    refused: u64,
    gone_past: u64,
    must_open: u64,
}

/// Judges damages to one sample.
struct Judge {
    sample: Sample,
    /// The segment that the log ends in, and files whose bytes nobody needs.
    tail: (File, LogId),
    spare: Vec<File>,
    /// What the undamaged files call settled.
    witness: Settled,
    /// Where the newest manifest frame is.
    newest: (File, usize, usize),
    counts: Counts,
}

impl Judge {
    fn new() -> Self {
        let mut sample = Sample::new(StoreId(*b"the damaged one\0"));
        let Sample { oracle, store, .. } = &sample;
        let found = sample.image.clone().recover(oracle, *store, Scope::Verify, None);
        let report = found.outcome.expect("it is whole");
        assert_eq!(found.state, oracle.state());
        assert!(report.snapshot.is_some() && found.recovery.manifest().snapshots.as_slice().len() == 2);
        let segments = found.recovery.manifest().segments.as_slice();
        let tail = segments.iter().find(|segment| segment.log == report.end.log).expect("listed");
        let unbegun = segments.iter().filter(|segment| segment.fence == Lsn::UNKNOWN).map(|one| one.extent);
        let free = found.recovery.manifest().free.as_slice().iter().map(|free| free.extent);
        let spare = unbegun.chain(free).map(File::Segment).collect();
        let tail = (File::Segment(tail.extent), tail.log);
        let newest = newest_revision(&sample.image);
        let witness = witness_of(&sample.image);
        sample.older.retain(|older| !older.files.is_empty());
        Self { sample, tail, spare, witness, newest, counts: Counts::default() }
    }

    /// Judges the image with other bytes in some files; `changed` says where the first one was changed.
    fn judge(&mut self, what: &dyn Fn() -> String, damaged: Image, changed: (File, usize, usize), bit: bool) {
        let Sample { oracle, store, .. } = &self.sample;
        let mut damaged = damaged;
        let found = damaged.recover(oracle, *store, Scope::Verify, None);
        // A single bit hides no more than its own frame; more may hide the witnesses themselves.
        let witness = if bit { self.witness } else { witness_of(&damaged) };
        let must_open = self.must_open(changed, witness, &damaged);
        self.counts.must_open += u64::from(must_open);
        match found.outcome {
            Ok(report) => {
                self.counts.opened += 1;
                assert_eq!(report.next, found.state.next(), "{}: the report is true", what());
                assert!(
                    found.state.next() >= witness.lsn,
                    "{}: settled data is silently lost: {} records of {} settled, {report:?}",
                    what(),
                    found.state.records,
                    witness.lsn.0 - 1
                );
            }
            Err(refusal) => {
                self.counts.refused += 1;
                assert!(!must_open, "{}: nothing that is needed was damaged: {refusal:?}", what());
                if let Refusal::Corrupt(damage) = refusal {
                    let past = damaged.recover(oracle, *store, Scope::Verify, Some(damage.lsn));
                    assert!(past.outcome.is_ok(), "{}: {:?}", what(), past.outcome);
                    assert_eq!(past.state.next(), damage.lsn, "{}: records before it are intact", what());
                    self.counts.gone_past += 1;
                }
            }
        }
    }

    /// Whether nothing that is needed was changed.
    fn must_open(&self, (file, from, to): (File, usize, usize), witness: Settled, damaged: &Image) -> bool {
        let position = witness.position;
        match file {
            File::Snapshot(_) => true,
            File::Manifest(_) => file != self.newest.0 || to <= self.newest.1 || from >= self.newest.2,
            // A listed extent that is not there, or is another one, is damage, whatever it held.
            _ if self.spare.contains(&file) => damaged.files.get(&file).is_some_and(|bytes| {
                matches!(ExtentHeader::decode::<FastCheck>(bytes), HeaderParsed::Absent)
            }),
            _ => file == self.tail.0 && position.log == self.tail.1 && from >= position.offset as usize,
        }
    }

    fn files(&self) -> Vec<(File, Vec<u8>)> {
        self.sample.image.files.iter().map(|(file, bytes)| (*file, bytes.to_vec())).collect()
    }

    fn with(&self, file: File, bytes: Vec<u8>) -> Image {
        let mut image = self.sample.image.clone();
        image.files.insert(file, Arc::new(bytes));
        image
    }
}

/// The highest settled position that an intact witness names: a header, a mark, a manifest revision.
fn witness_of(image: &Image) -> Settled {
    let segments = image.files.iter().filter(|(file, _)| matches!(file, File::Segment(_)));
    let marks = segments.map(|(_, bytes)| settled(bytes));
    marks.chain(revisions(image).map(|(head, _)| head.settled)).max().unwrap_or_default()
}

/// Every intact manifest frame, and where it is.
fn revisions(image: &Image) -> impl Iterator<Item = (Head, (File, usize, usize))> {
    let manifests = image.files.iter().filter(|(file, _)| matches!(file, File::Manifest(_)));
    manifests.flat_map(|(file, bytes)| {
        let offsets = (0..bytes.len()).step_by(MANIFEST_STEP as usize);
        offsets.filter_map(|offset| {
            let at = u32::try_from(offset).unwrap();
            match look::<FastCheck>(&bytes[offset..], at, GEOMETRY) {
                SlotFound::Frame { body, bytes, .. } => {
                    Some((head(body).unwrap(), (*file, offset, offset + bytes)))
                }
                _ => None,
            }
        })
    })
}

fn newest_revision(image: &Image) -> (File, usize, usize) {
    revisions(image).max_by_key(|(head, _)| head.revision).expect("there is one").1
}

#[test]
fn each_bit_of_log_manifest_and_snapshots_flipped() {
    let files = Judge::new().files();
    let (odd, even): (Vec<_>, Vec<_>) =
        files.into_iter().enumerate().partition(|(number, _)| number % 2 == 1);
    let counts = thread::scope(|scope| {
        let lanes = [odd, even].map(|files| scope.spawn(|| flip_each_bit(files)));
        lanes.map(|lane| lane.join().expect("no bit is silent"))
    });
    let all = |of: fn(&Counts) -> u64| counts.iter().map(of).sum::<u64>();
    let [opened, refused] = [all(|counts| counts.opened), all(|counts| counts.refused)];
    let [gone_past, must_open] = [all(|counts| counts.gone_past), all(|counts| counts.must_open)];
    println!("{opened} opened ({must_open} had to), {refused} refused, {gone_past} gone past");
    assert!(opened > 20_000 && refused > 10_000 && gone_past > 10_000 && must_open > 10_000, "{counts:?}");
}

fn flip_each_bit(files: Vec<(usize, (File, Vec<u8>))>) -> Counts {
    let mut judge = Judge::new();
    for (_, (file, bytes)) in files {
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for byte in 0..bytes.len() {
            // Every bit of what was written; one of each eighth byte of the zeros behind it.
            let bits = match byte {
                _ if byte < end + 16 => 0..8,
                _ if byte % 8 == 0 => byte / 8 % 8..byte / 8 % 8 + 1,
                _ => continue,
            };
            for bit in bits {
                let mut bad = bytes.clone();
                bad[byte] ^= 1 << bit;
                let image = judge.with(file, bad);
                let what = || format!("{file:?}: bit {bit} of byte {byte}");
                judge.judge(&what, image, (file, byte, byte + 1), true);
            }
        }
    }
    judge.counts
}

#[test]
fn each_length_of_each_file() {
    let mut judge = Judge::new();
    for (file, bytes) in judge.files() {
        for len in 0..bytes.len() {
            let image = judge.with(file, bytes[..len].to_vec());
            judge.judge(&|| format!("{file:?} cut to {len}"), image, (file, len, bytes.len()), false);
        }
    }
    assert!(judge.counts.refused > 1000 && judge.counts.must_open > 1000, "{:?}", judge.counts);
}

#[test]
fn each_sector_zeroed_copied_and_swapped() {
    let mut judge = Judge::new();
    let files = judge.files();
    let sectors: Vec<(File, usize)> = files
        .iter()
        .flat_map(|(file, bytes)| (0..bytes.len() / SECTOR).map(|sector| (*file, sector * SECTOR)))
        .collect();
    let content = |(file, at): (File, usize)| judge_bytes(&files, file)[at..at + SECTOR].to_vec();
    for (one, &(file, at)) in sectors.iter().enumerate() {
        let place = (file, at, at + SECTOR);
        let mut zeroed = judge.sample.image.clone();
        write(&mut zeroed, (file, at), &[0; SECTOR]);
        judge.judge(&|| format!("{file:?}: sector at {at} zeroed"), zeroed, place, false);
        for &(other, from) in &sectors {
            if content((file, at)) == content((other, from)) {
                continue;
            }
            let mut copied = judge.sample.image.clone();
            write(&mut copied, (file, at), &content((other, from)));
            judge.judge(
                &|| format!("{file:?}: sector at {at} is that of {other:?} at {from}"),
                copied,
                place,
                false,
            );
        }
        for &(other, from) in &sectors[one + 1..] {
            // Two places at once: only where both are in one file or none of them is a witness of the other.
            if file != other || content((file, at)) == content((other, from)) {
                continue;
            }
            let mut swapped = judge.sample.image.clone();
            write(&mut swapped, (file, at), &content((other, from)));
            write(&mut swapped, (other, from), &content((file, at)));
            let place = (file, at, from + SECTOR);
            judge.judge(&|| format!("{file:?}: sectors at {at} and {from} swapped"), swapped, place, false);
        }
    }
    assert!(judge.counts.refused > 500 && judge.counts.must_open > 500, "{:?}", judge.counts);
}

fn judge_bytes(files: &[(File, Vec<u8>)], file: File) -> &[u8] {
    &files.iter().find(|(of, _)| *of == file).expect("there").1
}

fn write(image: &mut Image, (file, at): (File, usize), sector: &[u8]) {
    Arc::make_mut(image.files.get_mut(&file).expect("there"))[at..at + SECTOR].copy_from_slice(sector);
}

#[test]
fn each_file_replaced_by_one_of_another_store_or_of_an_older_boot_or_removed() {
    let mut judge = Judge::new();
    let other = Sample::new(StoreId(*b"another store\0\0\0"));
    let mut sources: Vec<(String, Image)> = vec![("another store".to_owned(), other.image)];
    for (boot, older) in judge.sample.older.iter().enumerate() {
        sources.push((format!("boot {boot}"), older.clone()));
    }
    for (file, bytes) in judge.files() {
        let all = (file, 0, bytes.len());
        let mut without = judge.sample.image.clone();
        without.files.remove(&file);
        // A manifest that is gone is another matter than one that is damaged: it is the newest one, or nothing is missed.
        judge.judge(&|| format!("{file:?} removed"), without, all, false);
        for (name, source) in &sources {
            // Any file of the same kind, under this name.
            let same = |other: &File| core::mem::discriminant(other) == core::mem::discriminant(&file);
            for (of, content) in source.files.iter().filter(|(other, _)| same(other)) {
                // A manifest of another store beside ones of this store is always refused.
                let foreign = matches!(file, File::Manifest(_)) && name == "another store";
                let place = if foreign { (judge.newest.0, judge.newest.1, judge.newest.2) } else { all };
                let image = judge.with(file, content.to_vec());
                judge.judge(&|| format!("{file:?} is {of:?} of {name}"), image, place, false);
            }
        }
    }
    assert!(judge.counts.refused > 20 && judge.counts.opened > 20, "{:?}", judge.counts);
}

#[test]
fn each_bit_length_and_sector_of_an_archive() {
    let directory = tempfile::tempdir().unwrap();
    let payload = archive::encode_fields([("n", archive::Value::Unsigned(40))]);
    let header = Header { store: StoreId([7; 16]), log: LogId(5), ..Header::EMPTY };
    let writing = Writing { block_bytes: 512, ..Writing::default() };
    let path = archive::write(directory.path(), &header, writing, |take| {
        (1..=60).try_for_each(|number| {
            let stamp = Stamp { lsn: Lsn(number), time: Millis(number), commit: Millis(number) };
            let context = format!("context {}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            take(&Entry {
                timestamp: 0,
                context: &context,
                event_type: "t",
                payload: Payload::Map(&payload),
                event_id: number,
                stamp,
            })
        })
    })
    .unwrap();
    let bytes = fs::read(&path).unwrap();
    let sectors = bytes.len() / SECTOR;
    assert!(sectors >= 3 && bytes.len() < 16 << 10, "{} bytes", bytes.len());
    assert_eq!(entries(&path).unwrap().len(), 60);
    let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        damages.push((format!("bit {bit}"), bad));
    }
    damages.extend((0..bytes.len()).map(|len| (format!("cut to {len}"), bytes[..len].to_vec())));
    for one in 0..sectors {
        let at = |sector: usize| sector * SECTOR..(sector + 1) * SECTOR;
        let mut zeroed = bytes.clone();
        zeroed[at(one)].fill(0);
        damages.push((format!("sector {one} zeroed"), zeroed));
        for other in (0..sectors).filter(|other| *other != one) {
            let (mut copied, mut swapped) = (bytes.clone(), bytes.clone());
            copied[at(one)].copy_from_slice(&bytes[at(other)]);
            swapped[at(one)].copy_from_slice(&bytes[at(other)]);
            swapped[at(other)].copy_from_slice(&bytes[at(one)]);
            damages.push((format!("sector {one} is {other}"), copied));
            damages.push((format!("sectors {one} and {other} swapped"), swapped));
        }
    }
    let damaged = directory.path().join("damaged.wal.zst");
    for (what, bad) in damages {
        fs::write(&damaged, &bad).unwrap();
        assert!(entries(&damaged).is_err(), "{what} was not found");
    }
}

fn entries(path: &std::path::Path) -> Result<Vec<archive::OwnedEntry>, archive::ArchiveError> {
    let archive = Archive::open(path)?;
    archive.verify(Level::Full)?;
    archive.entries(archive::Range::ALL)?.collect()
}
