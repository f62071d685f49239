//! A partition of NOR flash: mounted, read from end to end, written to and mounted again; as a log, as settings, and as tools see
//! it.
//!
//! ```text
//!  | log2 of the word u8 | blocks - 3 u8 | the flash, in blocks of 256 bytes; what is missing is erased |
//! ```

use strandline_core::codec::check::{Checksum, TableCheck};
use strandline_core::kv::blocking::Kv;
use strandline_core::lower::nor::{Step, lower};
use strandline_core::media::nor::blocking::{Driver, Log, Port};
use strandline_core::media::nor::{Error, Fault, Geometry, Identity, Options, Policy, Request};
use strandline_core::types::Lsn;

use super::Blind;
use super::segment::STORE;

const BLOCK: u32 = 256;
const OPTIONS: Options = Options { policy: Policy::AskForSnapshot, reserve: 1 };
/// More than any operation on so small a flash takes.
const MOST_REQUESTS: usize = 100_000;

type Records = Vec<(Lsn, Vec<u8>)>;

pub(super) fn mount(bytes: &[u8]) {
    let Some((&[word, blocks], image)) = bytes.split_first_chunk() else { return };
    let Ok(geometry) = Geometry::new(1 << (word % 6), BLOCK, 3 + u32::from(blocks % 8)) else { return };
    let mut flash = vec![0xff; (geometry.block_count() * BLOCK) as usize];
    let len = image.len().min(flash.len());
    flash[..len].copy_from_slice(&image[..len]);
    show::<Blind>(&flash);
    show::<TableCheck>(&flash);
    let blind = Flash { bytes: flash.clone(), geometry, writable: false, requests: 0 };
    let _ = blind.clone().read::<Blind>().map(|_| blind.clone().append::<Blind>());
    let _ = blind.clone().settings();
    let flash = blind;
    let Ok(found) = flash.clone().read::<TableCheck>() else { return };
    let mut written = flash;
    let Ok(lsn) = written.append::<TableCheck>() else { return };
    let again = written.read::<TableCheck>().expect("what was written to can be mounted");
    assert_eq!(again.last(), Some(&(lsn, ONE_MORE.to_vec())));
    assert_eq!(again[..again.len() - 1], found, "what was there is there");
}

const ONE_MORE: &[u8] = b"one more";

#[derive(Clone)]
struct Flash {
    bytes: Vec<u8>,
    geometry: Geometry,
    writable: bool,
    requests: usize,
}

impl Driver for Flash {
    fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault> {
        self.requests += 1;
        assert!(self.requests < MOST_REQUESTS, "it goes on and on");
        let place = |address: u32| address as usize..address as usize + bytes.len();
        let step = lower(request, self.geometry);
        assert!(self.writable || matches!(step, Step::Read { .. }), "mounting writes nothing");
        match step {
            Step::Erase { from, to } => self.bytes[from as usize..to as usize].fill(0xff),
            Step::Program { address } => self.bytes[place(address)].copy_from_slice(bytes),
            Step::Read { address } => bytes.copy_from_slice(&self.bytes[place(address)]),
        }
        Ok(())
    }
}

impl Flash {
    /// Mounts, and reads everything forwards, backwards, and the snapshot.
    fn read<C: Checksum>(&mut self) -> Result<Records, Error> {
        // What follows what is told by checksums alone.
        let blind = C::extend(0, b"any") == 0;
        (self.writable, self.requests) = (false, 0);
        let geometry = self.geometry;
        let mut scratch = [0; 512];
        let mut port = Port::new(&mut scratch, self);
        let log = Log::<C>::mount(&mut port, geometry, STORE, OPTIONS)?;
        if let Some(mut state) = log.snapshot(&mut port)? {
            while state.next(&log, &mut port)?.is_some() {}
        }
        let (mut found, mut reader) = (vec![], log.records(&mut port)?);
        while let Some(record) = reader.next(&mut port)? {
            assert!(found.last().is_none_or(|(last, _): &(Lsn, _)| last.next() == record.lsn));
            found.push((record.lsn, port.bytes(record.bytes).to_vec()));
        }
        let mut backward = log.records_backward();
        for (lsn, bytes) in found.iter().rev() {
            let record = backward.next(&log, &mut port)?;
            let record = record.map(|record| (record.lsn, port.bytes(record.bytes)));
            assert!(blind || record == Some((*lsn, &bytes[..])), "{record:?}, forwards {lsn} {bytes:?}");
        }
        Ok(found)
    }

    fn append<C: Checksum>(&mut self) -> Result<Lsn, Error> {
        (self.writable, self.requests) = (true, 0);
        let geometry = self.geometry;
        let mut scratch = [0; 512];
        let mut port = Port::new(&mut scratch, self);
        let mut log = Log::<C>::mount(&mut port, geometry, STORE, OPTIONS)?;
        let lsn = log.append(&mut port, ONE_MORE)?;
        log.maintain(&mut port, 64)?;
        Ok(lsn)
    }

    fn settings(&mut self) -> Result<(), strandline_core::kv::Error> {
        (self.writable, self.requests) = (true, 0);
        let geometry = self.geometry;
        let mut scratch = [0; 512];
        let mut port = Port::new(&mut scratch, self);
        let mut map = Kv::<Blind, 128>::open(&mut port, geometry, STORE)?;
        let pairs = map.iter().count();
        map.insert(&mut port, b"key", ONE_MORE)?;
        assert_eq!(map.get(b"key"), Some(ONE_MORE));
        assert!(map.iter().count() <= pairs + 1);
        Ok(())
    }
}

/// A small log, under checksums that are blind: six blocks.
pub fn blind_flash() -> Vec<u8> {
    let geometry = Geometry::new(4, BLOCK, 6).expect("sizes that can be used");
    let mut flash = Flash { bytes: vec![0xff; 6 * 256], geometry, writable: true, requests: 0 };
    let mut scratch = [0; 512];
    let mut port = Port::new(&mut scratch, &mut flash);
    let mut log = Log::<Blind>::format(&mut port, geometry, STORE, OPTIONS).expect("nothing fails");
    log.append_all(&mut port, &[b"one", b"", b"three"]).expect("there is room");
    log.append(&mut port, &[0x5a; 80]).expect("there is room");
    log.trim(&mut port, Lsn(2)).expect("it is there");
    let mut snapshot = log.begin_snapshot(&mut port, 1).expect("there is room");
    log.write_snapshot(&mut port, &mut snapshot, b"the state").expect("there is room");
    log.commit_snapshot(&mut port, snapshot).expect("nothing fails");
    log.append(&mut port, b"five").expect("there is room");
    flash.bytes
}

/// Settings in ten blocks, under checksums that are blind.
pub fn flash_settings() -> Vec<u8> {
    let geometry = Geometry::new(4, BLOCK, 10).expect("sizes that can be used");
    let mut flash = Flash { bytes: vec![0xff; 10 * 256], geometry, writable: true, requests: 0 };
    let mut scratch = [0; 512];
    let mut port = Port::new(&mut scratch, &mut flash);
    Log::<Blind>::format(&mut port, geometry, STORE, OPTIONS).expect("nothing fails");
    let mut map = Kv::<Blind, 128>::open(&mut port, geometry, STORE).expect("there is room");
    for round in 0..12 {
        map.insert(&mut port, &[b'a' + round % 3], &[round; 20]).expect("there is room");
    }
    map.remove(&mut port, b"b").expect("it is there");
    flash.bytes
}

/// Every block and frame, as a tool lists them.
fn show<C: Checksum>(flash: &[u8]) {
    let Some(identity) = Identity::read::<C>(flash) else { return };
    let block_bytes = identity.geometry().block_bytes() as usize;
    for (index, block) in (0..).zip(flash.chunks(block_bytes)) {
        let Some(open) = identity.header::<C>(index, block).open else { continue };
        for offset in (0..block.len()).step_by(identity.geometry().word() as usize) {
            let offset = u32::try_from(offset).expect("a block is small");
            let _ = identity.frame::<C>(open, block, offset);
        }
    }
}
