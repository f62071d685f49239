//! A whole directory: manifests, segments and snapshots as the disk holds them, through recovery into a store, and again.
//!
//! ```text
//!  flags u8 | extent*
//!  extent = role u8 | number u8 | len u16 | len bytes            zeros follow up to the size of its role
//!
//!  flags: 1 batches at sector borders, 2 checksums are blind
//! ```

use std::collections::BTreeMap;

use strandline_core::action::{Action, Output};
use strandline_core::codec::check::{Checksum, TableCheck};
use strandline_core::geometry::Geometry;
use strandline_core::manifest::{FreeExtent, Loan, Segment, Snapshot};
use strandline_core::recovery::{Ask, Existing, Memory, Options, Recovery, Refusal, Scope};
use strandline_core::store::{Config, Mode, Now, Priority, Store};
use strandline_core::types::{Extent, Lsn, Millis, Role, Ticks};

use super::segment::STORE;
use super::{Blind, snapshot};

const SECTORS: u8 = 1;
const BLIND: u8 = 2;
/// More than so small a directory takes.
const MOST_ASKS: usize = 20_000;
const ROLES: [Role; 3] = [Role::Manifest, Role::Wal, Role::Snapshot];

type Records = Vec<(Lsn, Vec<u8>)>;

pub(super) fn start(bytes: &[u8]) {
    let Some(world) = World::decode(bytes) else { return };
    if bytes[0] & BLIND != 0 {
        let mut copy = world.clone();
        let _ = copy.start::<Blind>(Scope::Verify);
        if let Ok((Some(mut store), _)) = copy.start::<Blind>(Scope::Open) {
            let _ = store.append(ONE_MORE, Priority::Ordinary);
            copy.drain(&mut store);
        }
        return;
    }
    let mut copy = world.clone();
    let verified = copy.start::<TableCheck>(Scope::Verify);
    assert_eq!(copy.disk, world.disk, "to verify changes nothing: {verified:?}");
    match copy.start::<TableCheck>(Scope::Open) {
        Err(refusal) => {
            assert_eq!(copy.disk, world.disk, "who refuses changes nothing");
            let again = copy.start::<TableCheck>(Scope::Open).err();
            assert_eq!(again, Some(refusal), "and refuses again");
        }
        Ok((store, found)) => copy.go_on(store.expect("it was opened"), found),
    }
}

const ONE_MORE: &[u8] = b"one more";

#[derive(Debug)]
struct Lent;

impl Loan for Lent {
    type Bytes = Vec<u8>;
    type Segments = [Segment; 16];
    type Free = [FreeExtent; 8];
    type Snapshots = [Snapshot; 4];
}

/// Bytes by extent, and what time it is.
#[derive(Clone, Debug)]
pub struct World {
    disk: BTreeMap<Extent, Vec<u8>>,
    geometry: Geometry,
    elapsed_ms: u64,
}

impl World {
    /// An empty disk.
    #[must_use]
    pub fn new(sectors: bool) -> Self {
        let batch_align = if sectors { 512 } else { 8 };
        let extent_bytes = if sectors { 8 << 10 } else { 4 << 10 };
        let geometry = Geometry { write_unit: 8, batch_align, extent_bytes, manifest_bytes: 4 << 10 };
        Self { disk: BTreeMap::new(), geometry, elapsed_ms: 100_000 }
    }

    /// Puts the bytes of an extent onto the disk.
    pub fn put(&mut self, extent: Extent, mut bytes: Vec<u8>) {
        let size = match extent.role {
            Role::Manifest => self.geometry.manifest_bytes as usize,
            Role::Wal => self.geometry.extent_bytes as usize,
            Role::Snapshot => bytes.len(),
        };
        bytes.resize(size, 0);
        self.disk.insert(extent, bytes);
    }

    /// A small log of two starts, under checksums that are blind.
    #[must_use]
    pub fn blind() -> Self {
        let mut world = Self::new(false);
        for records in [&[&b"one"[..], b"", b"three"][..], &[&[0x5a; 300]]] {
            let started = world.start::<Blind>(Scope::Open).expect("nothing fails");
            let mut store = started.0.expect("it was opened");
            store.append_group(records, Priority::Ordinary).expect("there is room");
            world.drain(&mut store);
            store.append(b"by itself", Priority::Ordinary).expect("there is room");
            world.drain(&mut store);
        }
        world
    }

    /// The bytes by extent.
    pub fn extents(&self) -> impl Iterator<Item = (Extent, &[u8])> {
        self.disk.iter().map(|(extent, bytes)| (*extent, &bytes[..]))
    }

    /// As an input of the target; `blind` is what checksums are then.
    #[must_use]
    pub fn encode(&self, blind: bool) -> Vec<u8> {
        let sectors = self.geometry.batch_align == 512;
        let mut out = vec![if sectors { SECTORS } else { 0 } | if blind { BLIND } else { 0 }];
        for (extent, bytes) in &self.disk {
            let zeros = if extent.role == Role::Snapshot { 0 } else { trailing_zeros(bytes) };
            let bytes = &bytes[..bytes.len() - zeros];
            let role = ROLES.iter().position(|role| *role == extent.role).unwrap_or(0);
            out.extend([role, extent.number as usize].map(|byte| u8::try_from(byte).expect("small")));
            out.extend(u16::try_from(bytes.len()).expect("small").to_le_bytes());
            out.extend(bytes);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (flags, mut rest) = bytes.split_first()?;
        let mut world = Self::new(flags & SECTORS != 0);
        while let Some((&[role, number, low, high], behind)) = rest.split_first_chunk() {
            let role = ROLES[usize::from(role) % ROLES.len()];
            let len = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
            let (bytes, behind) = behind.split_at(len);
            if world.disk.len() < 24 {
                world.put(Extent { role, number: u32::from(number) }, bytes.to_vec());
            }
            rest = behind;
        }
        Some(world)
    }

    fn now(&self) -> Now {
        Now { ticks: Ticks(self.elapsed_ms * 1000), wall: Millis(1_700_000_000_000 + self.elapsed_ms) }
    }

    fn carry_out(&mut self, action: Action, bytes: &[u8]) {
        match action {
            Action::Prepare { extent } => self.put(extent, vec![]),
            Action::Write { extent, offset, .. } => {
                let at = usize::try_from(offset).expect("it lies within the extent");
                let disk = self.disk.get_mut(&extent).expect("what is written to is there");
                disk[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Action::Sync { extent } => assert!(self.disk.contains_key(&extent), "{extent} is synced"),
            Action::Release { extent } => drop(self.disk.remove(&extent)),
        }
    }

    fn drain<C: Checksum>(&mut self, store: &mut Store<C, Lent>) {
        for _ in 0..MOST_ASKS {
            match store.poll(self.now()) {
                Output::Do(id, action) => {
                    let bytes =
                        if let Action::Write { bytes, .. } = action { store.bytes(bytes) } else { &[] };
                    self.carry_out(action, bytes);
                    store.complete(id, Ok(()), self.now());
                }
                Output::Event(_) => {}
                Output::Idle { .. } => return,
            }
        }
        panic!("the store goes on and on");
    }

    /// Recovers; answers the store, if it was to be opened, and the records from the snapshot on.
    fn start<C: Checksum>(&mut self, scope: Scope) -> Result<(Option<Store<C, Lent>>, Records), Refusal> {
        let mut recovery = self.recovery::<C>(scope);
        let (mut listing, mut found) = (self.disk.keys().copied().collect::<Vec<_>>(), vec![]);
        for _ in 0..MOST_ASKS {
            match recovery.poll(self.now()) {
                Ask::Read { extent, offset, start, len } => {
                    let bytes = self.disk.get(&extent).map_or(&[][..], Vec::as_slice);
                    let from = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
                    let bytes = &bytes[from..bytes.len().min(from + len)];
                    recovery.window_mut()[start..start + bytes.len()].copy_from_slice(bytes);
                    recovery.filled(Ok(bytes.len()));
                }
                Ask::NextExtent => {
                    let next = listing.pop();
                    recovery.next_extent(next.map(|extent| Existing { extent, unfinished: false }));
                }
                Ask::Load(snapshot) => {
                    let file = self.disk.get(&Extent::snapshot(snapshot.number));
                    let good = file.is_some_and(|file| snapshot::load::<C>(STORE, snapshot, file).is_ok());
                    recovery.loaded(good);
                }
                Ask::Records => {
                    while let Some((lsn, record)) = recovery.next_record() {
                        found.push((lsn, record.to_vec()));
                    }
                }
                Ask::Do(id, action) => {
                    let bytes =
                        if let Action::Write { bytes, .. } = action { recovery.bytes(bytes) } else { &[] };
                    self.carry_out(action, bytes);
                    recovery.complete(id, Ok(()));
                }
                Ask::Grow(bytes) => drop(recovery.grow(vec![0; bytes])),
                Ask::Orphan { .. } | Ask::Preserve(_) => {}
                Ask::Refuse(why) => return Err(why),
                Ask::Done => return Ok((recovery.finish().map(|(store, _)| store), found)),
            }
        }
        panic!("recovery goes on and on");
    }

    fn recovery<C: Checksum>(&self, scope: Scope) -> Recovery<C, Lent> {
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

    /// What was found is found again, with what was acknowledged since.
    fn go_on(&mut self, mut store: Store<TableCheck, Lent>, mut found: Records) {
        self.drain(&mut store);
        if let Ok(lsn) = store.append(ONE_MORE, Priority::Ordinary) {
            self.drain(&mut store);
            if store.acknowledged() > lsn {
                found.push((lsn, ONE_MORE.to_vec()));
            }
        }
        let again = self.start::<TableCheck>(Scope::Open).map(|(_, records)| records);
        assert_eq!(again, Ok(found));
    }
}

fn trailing_zeros(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|byte| **byte == 0).count()
}
