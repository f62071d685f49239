//! The core by hand: a map of vectors is the disk, and every effect is carried out in plain sight.
//!
//! `cargo run -p strandline-core --example by_hand`
//!
//! Three parts: an adapter of forty lines, a session that is cut off in the middle of a batch, and the recovery that follows.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an example stops at the first surprise"
)]

use std::collections::BTreeMap;

use strandline_core::action::{Action, Output};
use strandline_core::codec::check::TableCheck;
use strandline_core::geometry::Geometry;
use strandline_core::manifest::{FreeExtent, Loan, Segment, Snapshot};
use strandline_core::recovery::{Ask, Existing, Memory, Options, Recovery, Report, Scope};
use strandline_core::store::{Config, Mode, Now, Priority, Store};
use strandline_core::types::{Extent, Lsn, Role, StoreId};

/// What this program lends to the core. Firmware lends arrays.
#[derive(Debug)]
struct Lent;

impl Loan for Lent {
    type Bytes = Vec<u8>;
    type Segments = [Segment; 16];
    type Free = [FreeExtent; 8];
    type Snapshots = [Snapshot; 4];
}

const GEOMETRY: Geometry =
    Geometry { write_unit: 8, batch_align: 8, extent_bytes: 16 << 10, manifest_bytes: 4 << 10 };

/// The disk: bytes by extent.
#[derive(Clone, Default)]
struct Disk(BTreeMap<Extent, Vec<u8>>);

impl Disk {
    /// One arm per action; a real adapter also syncs.
    fn carry_out(&mut self, action: Action, bytes: &[u8]) {
        match action {
            Action::Prepare { extent } => {
                let size = if extent.role == Role::Manifest {
                    GEOMETRY.manifest_bytes
                } else {
                    GEOMETRY.extent_bytes
                };
                self.0.insert(extent, vec![0; size as usize]);
            }
            Action::Write { extent, offset, .. } => {
                let at = usize::try_from(offset).expect("extents are small");
                self.0.get_mut(&extent).expect("it was prepared")[at..at + bytes.len()]
                    .copy_from_slice(bytes);
            }
            Action::Sync { .. } => {}
            Action::Release { extent } => drop(self.0.remove(&extent)),
        }
    }

    fn read(&self, extent: Extent, offset: u64, into: &mut [u8]) -> usize {
        let bytes = self.0.get(&extent).map_or(&[][..], Vec::as_slice);
        let from = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let len = into.len().min(bytes.len() - from);
        into[..len].copy_from_slice(&bytes[from..from + len]);
        len
    }
}

/// Recovery, from the first question to the open store. `each` takes the records.
fn recover(disk: &mut Disk, mut each: impl FnMut(Lsn, &[u8])) -> (Store<TableCheck, Lent>, Report) {
    let options = Options {
        config: Config::new(Mode::Always),
        geometry: GEOMETRY,
        fresh: StoreId(*b"an example store"),
        discard_from: None,
        scope: Scope::Open,
    };
    let memory = Memory {
        halves: [vec![0; 4096], vec![0; 4096]],
        frame: vec![0; 4096],
        window: vec![0; 8192],
        segments: Default::default(),
        free: Default::default(),
        snapshots: Default::default(),
    };
    let mut recovery = Recovery::<TableCheck, Lent>::new(options, memory);
    let mut listing: Vec<Extent> = disk.0.keys().copied().collect();
    loop {
        match recovery.poll(Now::default()) {
            Ask::Read { extent, offset, start, len } => {
                let bytes = disk.read(extent, offset, &mut recovery.window_mut()[start..start + len]);
                recovery.filled(Ok(bytes));
            }
            Ask::NextExtent => {
                recovery.next_extent(listing.pop().map(|extent| Existing { extent, unfinished: false }));
            }
            Ask::Records => {
                while let Some((lsn, record)) = recovery.next_record() {
                    each(lsn, record);
                }
            }
            Ask::Do(id, action) => {
                let bytes =
                    if let Action::Write { bytes, .. } = action { recovery.bytes(bytes) } else { &[] };
                disk.carry_out(action, bytes);
                recovery.complete(id, Ok(()));
            }
            Ask::Grow(bytes) => drop(recovery.grow(vec![0; bytes])),
            Ask::Load(_) => recovery.loaded(false),
            Ask::Orphan { extent, .. } => println!("  not needed: {extent}"),
            Ask::Preserve(extent) => println!("  would be copied: {extent}"),
            Ask::Refuse(why) => panic!("{why:?}"),
            Ask::Done => break,
        }
    }
    recovery.finish().expect("it is done")
}

/// Polls until the store is idle. This loop is all that an adapter is.
fn drain(store: &mut Store<TableCheck, Lent>, disk: &mut Disk) {
    loop {
        match store.poll(Now::default()) {
            Output::Do(id, action) => {
                let bytes = if let Action::Write { bytes, .. } = action { store.bytes(bytes) } else { &[] };
                disk.carry_out(action, bytes);
                store.complete(id, Ok(()), Now::default());
            }
            Output::Event(event) => println!("  event: {event:?}"),
            Output::Idle { .. } => break,
        }
    }
}

fn main() {
    let mut disk = Disk::default();
    println!("first start:");
    let (mut store, report) = recover(&mut disk, |_, _| {});
    println!("  epoch {}, next LSN {}", report.epoch, report.next);

    for text in ["the water came", "up to here"] {
        let lsn = store.append(text.as_bytes(), Priority::Ordinary).expect("there is room");
        drain(&mut store, &mut disk);
        println!("  LSN {lsn} is acknowledged: {}", store.acknowledged() > lsn);
    }

    println!("a batch of three is cut off in the middle of its write:");
    for text in ["a wave", "another wave", "and one that was cut"] {
        store.append(text.as_bytes(), Priority::Ordinary).expect("there is room");
    }
    let Output::Do(_, action @ Action::Write { bytes, .. }) = store.poll(Now::default()) else {
        panic!("a write is due")
    };
    let written = store.bytes(bytes);
    disk.carry_out(action, &written[..written.len() - 12]);
    drop(store);

    println!("second start:");
    let (_, report) =
        recover(&mut disk, |lsn, record| println!("  {lsn}: {}", String::from_utf8_lossy(record)));
    println!("  the log ended {:?} at {}; void: {} bytes", report.verdict, report.end, report.void_bytes);
    println!("  epoch {}, next LSN {}", report.epoch, report.next);
}
