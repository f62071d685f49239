//! Golden images: whole stores, byte for byte, made by a fixed script with a fixed store id and a fixed clock.
//!
//! ```text
//!   script ─► core ─► bytes by extent ──equal──► golden/format-N/STORE/FILE     the writer still makes them
//!                                                        │
//!                     golden/format-N/STORE/read.txt ◄───┘                      the reader still reads them
//! ```
//!
//! Images are add-only: those of every earlier format stay and are read. `BLESS=1` writes those of a new format, and touches none
//! that is there. `docs/FORMAT.md` quotes them.

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use strandline_core::action::{Action, Event, Output};
use strandline_core::codec::check::TableCheck;
use strandline_core::codec::extent::FORMAT_VERSION;
use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::File;
use strandline_core::manifest::{FreeExtent, Loan, Segment, Snapshot};
use strandline_core::recovery::{Ask, Existing, Memory, Options, Recovery, Refusal, Report, Scope};
use strandline_core::snapshot::reader::{SnapshotReader, Unusable};
use strandline_core::snapshot::writer::{Owner, SnapshotWriter, chunk_bytes};
use strandline_core::snapshot::{Codec, END_FRAME};
use strandline_core::store::{Config, Mode, Now, Priority, Store};
use strandline_core::types::{Extent, Lsn, Millis, Role, StoreId, Ticks};

/// Frames and batches at multiples of 8 bytes.
const WORDS: Geometry =
    Geometry { write_unit: 8, batch_align: 8, extent_bytes: 4 << 10, manifest_bytes: 4 << 10 };
/// Batches at multiples of 512 bytes, so that PAD frames appear.
const SECTORS: Geometry =
    Geometry { write_unit: 8, batch_align: 512, extent_bytes: 8 << 10, manifest_bytes: 4 << 10 };
const STORE: StoreId = StoreId(*b"a golden image\0\0");
const BORN: Millis = Millis(1_700_000_000_000);
const PREFIX: &str = "log";

#[derive(Debug)]
struct Lent;

impl Loan for Lent {
    type Bytes = Vec<u8>;
    type Segments = [Segment; 16];
    type Free = [FreeExtent; 8];
    type Snapshots = [Snapshot; 4];
}

type Engine = Store<TableCheck, Lent>;

/// Bytes by extent, and what time it is.
#[derive(Clone)]
struct World {
    disk: BTreeMap<Extent, Vec<u8>>,
    geometry: Geometry,
    elapsed_ms: u64,
}

impl World {
    fn new(geometry: Geometry) -> Self {
        Self { disk: BTreeMap::new(), geometry, elapsed_ms: 0 }
    }

    fn now(&self) -> Now {
        Now { ticks: Ticks(self.elapsed_ms * 1000), wall: Millis(BORN.0 + self.elapsed_ms) }
    }

    fn carry_out(&mut self, action: Action, bytes: &[u8]) {
        match action {
            Action::Prepare { extent } => {
                let Geometry { manifest_bytes, extent_bytes, .. } = self.geometry;
                let size = if extent.role == Role::Manifest { manifest_bytes } else { extent_bytes };
                self.disk.insert(extent, vec![0; size as usize]);
            }
            Action::Write { extent, offset, .. } => {
                let at = usize::try_from(offset).unwrap();
                self.disk.get_mut(&extent).unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Action::Sync { .. } => {}
            Action::Release { extent } => drop(self.disk.remove(&extent)),
        }
    }

    fn read(&self, extent: Extent, offset: u64, into: &mut [u8]) -> usize {
        let bytes = self.disk.get(&extent).map_or(&[][..], Vec::as_slice);
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let len = into.len().min(bytes.len() - from);
        into[..len].copy_from_slice(&bytes[from..from + len]);
        len
    }

    /// Polls until the store is idle; returns the events.
    fn drain(&mut self, store: &mut Engine) -> Vec<Event> {
        let mut events = vec![];
        loop {
            match store.poll(self.now()) {
                Output::Do(id, action) => {
                    let bytes =
                        if let Action::Write { bytes, .. } = action { store.bytes(bytes) } else { &[] };
                    self.carry_out(action, bytes);
                    store.complete(id, Ok(()), self.now());
                }
                Output::Event(event) => events.push(event),
                Output::Idle { .. } => return events,
            }
        }
    }

    /// Recovers; says what it read. The store is there if it was opened.
    fn recover(&mut self, scope: Scope, seen: &mut String) -> Result<(Option<Engine>, Report), Refusal> {
        let mut recovery = self.recovery(scope);
        let mut listing: Vec<Extent> = self.disk.keys().rev().copied().collect();
        loop {
            match recovery.poll(self.now()) {
                Ask::Read { extent, offset, start, len } => {
                    let bytes = self.read(extent, offset, &mut recovery.window_mut()[start..start + len]);
                    recovery.filled(Ok(bytes));
                }
                Ask::NextExtent => {
                    let next = listing.pop();
                    recovery.next_extent(next.map(|extent| Existing { extent, unfinished: false }));
                }
                Ask::Load(snapshot) => {
                    let read = self.read_snapshot(snapshot, seen);
                    recovery.loaded(read.is_ok());
                }
                Ask::Records => {
                    while let Some((lsn, record)) = recovery.next_record() {
                        writeln!(seen, "record {lsn}: {}", shown(record)).unwrap();
                    }
                }
                Ask::Do(id, action) => {
                    let bytes =
                        if let Action::Write { bytes, .. } = action { recovery.bytes(bytes) } else { &[] };
                    self.carry_out(action, bytes);
                    recovery.complete(id, Ok(()));
                }
                Ask::Grow(bytes) => drop(recovery.grow(vec![0; bytes])),
                Ask::Orphan { extent, .. } => writeln!(seen, "not needed: {extent}").unwrap(),
                Ask::Preserve(extent) => writeln!(seen, "to be copied: {extent}").unwrap(),
                Ask::Refuse(why) => return Err(why),
                Ask::Done => break,
            }
        }
        let report = *recovery.report();
        Ok(recovery.finish().map_or((None, report), |(store, report)| (Some(store), report)))
    }

    fn recovery(&self, scope: Scope) -> Recovery<TableCheck, Lent> {
        let options = Options {
            config: Config { ready_segments: 2, ..Config::new(Mode::Always) },
            geometry: self.geometry,
            fresh: STORE,
            discard_from: None,
            scope,
        };
        let memory = Memory {
            halves: [vec![0; 4096], vec![0; 4096]],
            frame: vec![0; 4096],
            window: vec![0; 8192],
            segments: Default::default(),
            free: Default::default(),
            snapshots: Default::default(),
        };
        Recovery::new(options, memory)
    }

    fn open(&mut self) -> Engine {
        self.recover(Scope::Open, &mut String::new()).unwrap().0.unwrap()
    }

    /// Makes a snapshot of `chunks` and has the manifest name it.
    fn keep_snapshot(&mut self, store: &mut Engine, chunks: &[&[u8]]) {
        let mut snapshot = store.begin_snapshot();
        let owner = Owner { store: store.store_id(), epoch: store.epoch(), revision: store.revision() };
        let mut file = vec![0; 4096];
        let (mut writer, bytes) = SnapshotWriter::begin::<TableCheck>(owner, &snapshot, &mut file).unwrap();
        file.truncate(bytes);
        let mut rows = vec![];
        for chunk in chunks {
            let mut frame = vec![0; chunk_bytes(chunk.len())];
            let state_bytes = u32::try_from(chunk.len()).unwrap();
            let row = writer.chunk::<TableCheck>(Codec::Raw, state_bytes, chunk, &mut frame).unwrap();
            rows.extend(row.encode());
            file.extend(frame);
        }
        let mut end = vec![0; writer.finish_bytes(rows.len())];
        writer.finish::<TableCheck>(&rows, chunks.len() as u64, &mut end).unwrap();
        file.extend(end);
        (snapshot.bytes, snapshot.items) = (file.len() as u64, chunks.len() as u64);
        self.disk.insert(Extent::snapshot(snapshot.number), file);
        store.keep_snapshot(snapshot).unwrap();
        let events = self.drain(store);
        assert!(events.iter().any(|event| matches!(event, Event::SnapshotKept { .. })), "{events:?}");
    }

    fn read_snapshot(&self, snapshot: Snapshot, seen: &mut String) -> Result<(), Unusable> {
        let file = self.disk.get(&Extent::snapshot(snapshot.number)).ok_or(Unusable::Header)?;
        let reader = SnapshotReader::begin::<TableCheck>(STORE, snapshot, &file[..file.len().min(4096)])?;
        let end = reader.end::<TableCheck>(&file[file.len() - END_FRAME..])?;
        writeln!(seen, "snapshot {}: base {}, items {}", snapshot.number, end.base, end.items).unwrap();
        let index = usize::try_from(end.index).unwrap();
        for row in reader.index::<TableCheck>(&end, &file[index..])? {
            let at = usize::try_from(row.offset).unwrap();
            let chunk = reader.chunk::<TableCheck>(&row, &file[at..at + row.bytes as usize])?;
            writeln!(seen, "chunk: {}", shown(chunk.encoded)).unwrap();
        }
        Ok(())
    }
}

/// Text, or what a run of one byte amounts to.
fn shown(bytes: &[u8]) -> String {
    match bytes {
        [first, rest @ ..] if rest.len() > 40 && rest.iter().all(|byte| byte == first) => {
            format!("{} times {first:#04x}", bytes.len())
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Two starts, a batch of three records, a settle mark, a snapshot, a second segment, a seal, a group, an unwitnessed tail.
fn words() -> World {
    let mut world = World::new(WORDS);
    let mut store = world.open();
    world.elapsed_ms = 10;
    for record in ["the water came", "", "up to here"] {
        store.append(record.as_bytes(), Priority::Ordinary).unwrap();
    }
    world.drain(&mut store);
    world.elapsed_ms += 2000;
    world.drain(&mut store);
    world.keep_snapshot(&mut store, &[b"everything before LSN 4", b"in two chunks"]);
    world.elapsed_ms += 10;
    for record in [[0x5a; 3500].as_slice(), &[0xa5; 200]] {
        store.append(record, Priority::Ordinary).unwrap();
        world.drain(&mut store);
    }
    store.close();
    world.drain(&mut store);
    assert!(store.is_closed());
    world.elapsed_ms += 60_000;
    let mut store = world.open();
    world.drain(&mut store);
    store.append(b"a second start", Priority::Ordinary).unwrap();
    store.append_group(&[b"all", b"", b"or none"], Priority::Ordinary).unwrap();
    world.drain(&mut store);
    world
}

/// One batch and a seal, with batches at sector borders.
fn sectors() -> World {
    let mut world = World::new(SECTORS);
    let mut store = world.open();
    world.elapsed_ms = 10;
    store.append(b"on a border", Priority::Ordinary).unwrap();
    world.drain(&mut store);
    store.close();
    world.drain(&mut store);
    world
}

fn geometry_of(store: &str) -> Geometry {
    match store {
        "words" => WORDS,
        "sectors" => SECTORS,
        other => panic!("{other}: say here which sizes it was made with"),
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn is_blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

fn name(extent: Extent) -> String {
    File::of(extent).name(PREFIX).to_string()
}

/// The image in a directory.
fn load(directory: &Path) -> World {
    let store = directory.file_name().unwrap().to_str().unwrap();
    let mut world = World::new(geometry_of(store));
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if let Some(file) = File::parse(entry.file_name().to_str().unwrap(), PREFIX) {
            world.disk.insert(file.extent(), fs::read(entry.path()).unwrap());
        }
    }
    assert!(world.disk.len() > 3, "{}", directory.display());
    world.elapsed_ms = 100_000;
    world
}

/// What a reader must find: the records, then how the log ended.
fn reading(world: &World) -> String {
    let mut text = String::new();
    let mut copy = world.clone();
    let (store, report) = copy.recover(Scope::Open, &mut text).unwrap();
    assert!(store.is_some());
    let Report { epoch, records, next, end, settled, rewritten, .. } = report;
    writeln!(text, "verdict {:?}, end {end}, next LSN {next}", report.verdict.unwrap()).unwrap();
    writeln!(text, "settled {} LSN {}, rewritten {rewritten}", settled.position, settled.lsn).unwrap();
    writeln!(text, "epoch {epoch}, records {records}, time {}", report.time).unwrap();
    text
}

#[test]
fn the_writer_makes_the_newest_images() {
    for (store, world) in [("words", words()), ("sectors", sectors())] {
        let directory = golden().join(format!("format-{FORMAT_VERSION}")).join(store);
        if is_blessing() && !directory.exists() {
            fs::create_dir_all(&directory).unwrap();
            for (extent, bytes) in &world.disk {
                fs::write(directory.join(name(*extent)), bytes).unwrap();
            }
            fs::write(directory.join("read.txt"), reading(&load(&directory))).unwrap();
        }
        let image = load(&directory);
        assert_eq!(
            image.disk.keys().collect::<Vec<_>>(),
            world.disk.keys().collect::<Vec<_>>(),
            "{store}: other files"
        );
        for (extent, made) in &world.disk {
            let kept = &image.disk[extent];
            let differs = made.iter().zip(kept).position(|(a, b)| a != b);
            assert_eq!((differs, made.len()), (None, kept.len()), "{store}/{}", name(*extent));
        }
    }
}

#[test]
fn every_image_of_every_format_reads() {
    let mut images = 0;
    for format in fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()) {
        for directory in fs::read_dir(format).unwrap().map(|entry| entry.unwrap().path()) {
            if directory.ends_with("nor") {
                // A partition: see nor_golden.rs.
                continue;
            }
            let expected = fs::read_to_string(directory.join("read.txt")).unwrap();
            assert_eq!(reading(&load(&directory)), expected, "{}", directory.display());
            images += 1;
        }
    }
    assert!(images >= 2);
}

#[test]
fn a_cut_tail_of_an_image_is_torn_and_damage_before_the_settled_position_is_refused() {
    let image = words();
    let holding = |what: &[u8]| {
        let found = |(extent, bytes): (&Extent, &Vec<u8>)| find(bytes, what).map(|at| (*extent, at));
        image.disk.iter().find_map(found).unwrap()
    };

    let (extent, at) = holding(b"a second start");
    let mut torn = image.clone();
    torn.disk.get_mut(&extent).unwrap()[at + 4..].fill(0);
    let text = reading(&torn);
    assert!(text.contains("verdict Torn") && text.contains("next LSN 6"), "{text}");

    let (extent, at) = holding(&[0x5a; 64]);
    let mut damaged = image.clone();
    damaged.disk.get_mut(&extent).unwrap()[at + 1000] ^= 1;
    let Err(Refusal::Corrupt(damage)) = damaged.recover(Scope::Open, &mut String::new()) else {
        panic!("damage to settled data is never passed over")
    };
    assert_eq!((damage.lsn, damage.extent, damage.announced), (Lsn(4), Some(extent), Lsn(6)));
}

/// Every bit of every extent, one after the other: what is settled is there as it was, or the start is refused.
#[test]
fn every_flipped_bit_of_an_image_is_found_or_harmless() {
    for store in ["words", "sectors"] {
        let image = load(&golden().join(format!("format-{FORMAT_VERSION}")).join(store));
        let (opened, report) = content(&image, Scope::Open).expect("it is intact");
        // A snapshot that is damaged is passed over where the log still reaches back to the first record.
        let mut logged = image.clone();
        logged.disk.retain(|extent, _| extent.role != Role::Snapshot);
        let from_log = content(&logged, Scope::Open).map(|(rows, _)| rows).unwrap_or_default();
        let whole = &opened | &from_log;
        let settled = report.settled.lsn.0;
        let (mut refused, mut harmless) = (0, 0);
        for (extent, bytes) in &image.disk {
            let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            for bit in 0..(last + 64).min(bytes.len()) * 8 {
                let mut flipped = image.clone();
                flipped.disk.get_mut(extent).unwrap()[bit / 8] ^= 1 << (bit % 8);
                let Ok((found, _)) = content(&flipped, Scope::Open) else {
                    refused += 1;
                    continue;
                };
                harmless += 1;
                assert!(found.is_subset(&whole), "{store} {extent} bit {bit}: {found:?}");
                let base = found.iter().find_map(|(lsn, line)| line.starts_with("snapshot").then_some(*lsn));
                let needed =
                    |row: &&Row| row.0 < settled && row.0 >= base.unwrap_or(0) && row.1.starts_with("record");
                let lost: Vec<_> = whole.iter().filter(needed).filter(|row| !found.contains(*row)).collect();
                assert!(lost.is_empty(), "{store} {extent} bit {bit}: {lost:?}");
            }
        }
        println!(
            "{store}: of {} flipped bits {refused} were refused, {harmless} harmless",
            refused + harmless
        );
        assert!(refused > 1000 && harmless > 1000, "{store}");
    }
}

/// An LSN, and what a start said of it.
type Row = (u64, String);

/// What a start finds: records by LSN, a snapshot and its chunks at its base.
fn content(image: &World, scope: Scope) -> Result<(BTreeSet<Row>, Report), Refusal> {
    let mut text = String::new();
    let (_, report) = image.clone().recover(scope, &mut text)?;
    let (mut rows, mut base) = (BTreeSet::new(), 0);
    for line in text.lines() {
        let number = |part: Option<&str>| part.and_then(|part| part.trim_matches([':', ',']).parse().ok());
        let mut words = line.split(' ');
        match words.next() {
            Some("record") => drop(rows.insert((number(words.next()).unwrap(), line.to_owned()))),
            Some("snapshot") => {
                base = number(words.nth(2)).unwrap();
                rows.insert((base, line.to_owned()));
            }
            Some("chunk:") => drop(rows.insert((base, line.to_owned()))),
            _ => {}
        }
    }
    Ok((rows, report))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
