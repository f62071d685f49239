//! A device on a link that loses frames: what the host archives is, byte for byte, what the records say.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use proptest::prelude::*;
use strandline::archive::{self, Level, Writing};
use strandline::core::archive::Header;
use strandline::core::archive::entry::{Entry, Stamp};
use strandline::core::export::exporter::{Exporter, Next, Offer};
use strandline::core::export::uart::{Deframer, frame, frame_bytes};
use strandline::core::types::LogId;
use strandline::device::{Import, ImportError, Imported, import};
use strandline::{HardwareCheck, Lsn, Millis, StoreId};
use tempfile::tempdir;

const STORE: StoreId = StoreId([4; 16]);
const MTU: usize = 20;
const CREATED: Millis = Millis(1_800_000_000_000);

/// A device behind a link of 20 bytes, which drops every so many frames either way and is unplugged after some.
struct Device {
    records: Vec<Vec<u8>>,
    exporter: Exporter<HardwareCheck>,
    deframer: Deframer<[u8; 64]>,
    line: VecDeque<u8>,
    seed: u64,
    drop_percent: u64,
    unplugged_after: u64,
    seen: HashSet<(u16, [u8; 2])>,
    session: u16,
    sent: u64,
    dropped: u64,
    again: u64,
}

impl Device {
    fn new(store: StoreId, records: Vec<Vec<u8>>, seed: u64) -> Self {
        let offer = Offer { first: Lsn(1), last: Lsn(records.len() as u64) };
        Self {
            records,
            exporter: Exporter::new(store, offer),
            deframer: Deframer::new([0; 64]),
            line: VecDeque::new(),
            seed: seed | 1,
            drop_percent: 0,
            unplugged_after: u64::MAX,
            seen: HashSet::new(),
            session: 0,
            sent: 0,
            dropped: 0,
            again: 0,
        }
    }

    fn drops(&mut self) -> bool {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % 100 < self.drop_percent
    }

    fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut out = vec![0; MTU];
        loop {
            match self.exporter.next_chunk(&mut out) {
                Next::Idle => return None,
                Next::Chunk(bytes) => {
                    out.truncate(bytes);
                    return Some(out);
                }
                Next::Read(lsn) => self.exporter.feed(lsn, &self.records[lsn.0 as usize - 1], &mut out),
            }
        }
    }
}

impl Read for Device {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.line.is_empty() {
            if self.sent >= self.unplugged_after {
                return Ok(0);
            }
            let Some(chunk) = self.chunk() else { return Err(ErrorKind::TimedOut.into()) };
            self.sent += 1;
            self.again += u64::from(!self.seen.insert((self.session, [chunk[2], chunk[3]])));
            if self.drops() {
                self.dropped += 1;
                return Err(ErrorKind::Interrupted.into());
            }
            let mut out = [0; frame_bytes(MTU)];
            let bytes = frame(&chunk, &mut out).unwrap();
            self.line.extend(&out[..bytes]);
        }
        self.line.read(into)
    }
}

impl Write for Device {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            let lost = self.drops();
            if let Some(reply) = self.deframer.push(*byte).filter(|_| !lost) {
                if reply[2] == 1 {
                    self.session = u16::from_le_bytes([reply[16], reply[17]]);
                }
                let _ = self.exporter.ack(reply);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn records(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|at| (0..at * 7 % 90).map(|byte| (byte * at) as u8).collect()).collect()
}

fn run(device: &mut Device, directory: &Path) -> Result<Imported, ImportError> {
    import(
        device,
        &Import {
            directory,
            name: "pump-7",
            created: CREATED,
            writing: Writing { level: Some(3), block_bytes: 4096, ..Writing::default() },
            time: |_| Millis(0),
            session: Some(100),
        },
    )
}

/// The archive that is made of the records themselves.
fn direct(directory: &Path, records: &[Vec<u8>]) -> Vec<u8> {
    let header = Header { store: STORE, log: LogId(1), created: CREATED, ..Header::EMPTY };
    let writing = Writing { level: Some(3), block_bytes: 4096, ..Writing::default() };
    let path = archive::write(directory, &header, writing, |take| {
        records.iter().zip(1..).try_for_each(|(record, lsn)| {
            let stamp = Stamp { lsn: Lsn(lsn), ..Stamp::default() };
            take(&Entry::record("pump-7", stamp, record))
        })
    });
    fs::read(path.unwrap()).unwrap()
}

#[test]
fn over_a_link_that_drops_frames_the_archive_is_the_same_and_a_drop_costs_one_chunk() {
    let records = records(600);
    let expected = direct(tempdir().unwrap().path(), &records);
    for seed in 0..20 {
        let directory = tempdir().unwrap();
        let mut device = Device::new(STORE, records.clone(), seed * 31 + 7);
        device.drop_percent = seed;
        let imported = run(&mut device, directory.path()).unwrap();
        let archive = imported.archive.unwrap();
        assert!(fs::read(&archive).unwrap() == expected, "seed {seed}: another archive");
        assert_eq!(archive.file_name().unwrap(), "wal-00001-0-0.wal.zst");
        assert_eq!((imported.records, imported.lsns), (600, Some((Lsn(1), Lsn(600)))));
        assert!(device.again <= device.dropped, "seed {seed}: {} for {}", device.again, device.dropped);
        assert!(seed == 0 || device.dropped > 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no partial file is left");
        // Nothing new: no archive, and nothing is changed.
        let mut device = Device::new(STORE, records.clone(), seed);
        let imported = run(&mut device, directory.path()).unwrap();
        assert_eq!((imported.records, imported.archive), (0, None));
    }
}

#[test]
fn an_import_that_was_cut_goes_on_and_the_next_one_adds_an_archive() {
    let records = records(400);
    let expected = direct(tempdir().unwrap().path(), &records[..300]);
    let directory = tempdir().unwrap();
    let partial = directory.path().join("pump-7.partial");
    let mut sent = vec![];
    for round in 0..6 {
        let mut device = Device::new(STORE, records[..300].to_vec(), round);
        device.unplugged_after = 100;
        let Err(ImportError::Cut { kept }) = run(&mut device, directory.path()) else { panic!("not cut") };
        assert!(kept > 0 && sent.last().is_none_or(|last| kept > *last), "{kept} after {sent:?}");
        sent.push(kept);
        // A host that dies while it writes leaves half a record, or a damaged one.
        let mut bytes = fs::read(&partial).unwrap();
        match round % 3 {
            0 => bytes.truncate(bytes.len() - 3),
            1 => *bytes.last_mut().unwrap() ^= 1,
            _ => {}
        }
        fs::write(&partial, bytes).unwrap();
    }
    let mut device = Device::new(STORE, records[..300].to_vec(), 9);
    let archive = run(&mut device, directory.path()).unwrap().archive.unwrap();
    assert!(fs::read(archive).unwrap() == expected);

    let mut device = Device::new(STORE, records.clone(), 9);
    let imported = run(&mut device, directory.path()).unwrap();
    assert_eq!((imported.records, imported.lsns), (100, Some((Lsn(301), Lsn(400)))));
    let archive = imported.archive.unwrap();
    assert_eq!(archive.file_name().unwrap(), "wal-00002-0-0.wal.zst");
    assert_eq!(archive::verify(&archive, Level::Full).unwrap().entries, 100);
    assert_eq!(device.exporter.kept(), Lsn(401), "the device may let go of them");
}

#[test]
fn another_device_is_refused_by_name_and_changes_nothing() {
    let directory = tempdir().unwrap();
    run(&mut Device::new(STORE, records(20), 1), directory.path()).unwrap();
    let before: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let bytes = fs::read(&before[0]).unwrap();
    let error = run(&mut Device::new(StoreId([5; 16]), records(50), 1), directory.path()).unwrap_err();
    assert!(matches!(error, ImportError::OtherStore(_)), "{error}");
    assert!(error.to_string().contains("another device"));
    assert_eq!(fs::read(&before[0]).unwrap(), bytes);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    // Fewer records than before: it was formatted.
    let error = run(&mut Device::new(STORE, records(10), 1), directory.path()).unwrap_err();
    assert!(error.to_string().contains("ends at LSN 10"), "{error}");
}

#[test]
fn records_that_the_device_dropped_are_a_gap() {
    let directory = tempdir().unwrap();
    let mut device = Device::new(STORE, records(30), 1);
    device.exporter.offer(Offer { first: Lsn(11), last: Lsn(30) });
    let imported = run(&mut device, directory.path()).unwrap();
    assert_eq!((imported.gaps, imported.records), (vec![(Lsn(1), Lsn(11))], 20));
}

#[test]
fn a_partial_file_that_outlived_its_archive_is_dropped() {
    let directory = tempdir().unwrap();
    let partial = directory.path().join("pump-7.partial");
    let mut device = Device::new(STORE, records(300), 1);
    device.unplugged_after = 100;
    run(&mut device, directory.path()).unwrap_err();
    let kept = fs::read(&partial).unwrap();
    run(&mut Device::new(STORE, records(300), 1), directory.path()).unwrap();
    fs::write(&partial, kept).unwrap();
    let imported = run(&mut Device::new(STORE, records(310), 1), directory.path()).unwrap();
    assert_eq!((imported.records, imported.lsns), (10, Some((Lsn(301), Lsn(310)))));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]
    #[test]
    fn whatever_became_of_the_partial_file_the_archive_is_right(
        place in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 0..40),
        cut: bool,
    ) {
        let records = records(120);
        let directory = tempdir().unwrap();
        let partial = directory.path().join("pump-7.partial");
        let mut device = Device::new(STORE, records.clone(), 1);
        device.unplugged_after = 100;
        run(&mut device, directory.path()).unwrap_err();
        let mut bytes = fs::read(&partial).unwrap();
        let at = place.index(bytes.len());
        if cut {
            bytes.truncate(at);
        }
        let end = bytes.len().min(at + noise.len());
        bytes.splice(at..end, noise);
        fs::write(&partial, bytes).unwrap();
        let archive = run(&mut Device::new(STORE, records.clone(), 1), directory.path()).unwrap().archive.unwrap();
        prop_assert!(fs::read(archive).unwrap() == direct(tempdir().unwrap().path(), &records));
    }
}
