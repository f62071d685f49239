//! The small stores that are simulated: every limit is near, so that everything happens soon.

use strandline_core::codec::check::Checksum;
use strandline_core::geometry::Geometry;
use strandline_core::manifest::{FreeExtent, Loan, Segment, Snapshot};
use strandline_core::recovery::{Memory, Options, Recovery, Scope};
use strandline_core::store::{Config, Mode, Store};
use strandline_core::types::{Lsn, StoreId};

use crate::chance::Chance;
use crate::posix::Profile;

/// CRC-32C by the processor: most of a simulated recovery is checksums.
#[derive(Clone, Copy, Debug)]
pub struct FastCheck;

impl Checksum for FastCheck {
    fn extend(state: u32, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(state, bytes)
    }
}

/// Memory from the heap.
#[derive(Clone, Copy, Debug)]
pub struct Heap;

impl Loan for Heap {
    type Bytes = Vec<u8>;
    type Segments = Vec<Segment>;
    type Free = Vec<FreeExtent>;
    type Snapshots = Vec<Snapshot>;
}

/// The store under test.
pub type SimStore = Store<FastCheck, Heap>;
/// The recovery under test.
pub type SimRecovery = Recovery<FastCheck, Heap>;

/// Everything about a simulated store that does not change from boot to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The device.
    pub profile: Profile,
    /// The store's sizes.
    pub geometry: Geometry,
    /// The store's behaviour.
    pub config: Config,
    /// Bytes of a batch half.
    pub half_bytes: usize,
    /// Bytes of the recovery window.
    pub window_bytes: usize,
    /// Rows of the segment table.
    pub segments: usize,
}

impl Setup {
    /// One of the many, for this seed.
    #[must_use]
    pub fn random(chance: &mut Chance) -> Self {
        let sector = chance.pick(&[512, 512, 512, 4096]);
        let powersafe = chance.percent(70);
        let profile = Profile { sector, powersafe, stale: chance.one_in(3) };
        let write_unit = chance.pick(&[8, 8, 8, 16, 64, 512]);
        let batch_align = if powersafe { chance.pick(&[write_unit, write_unit, 512]) } else { sector as u32 };
        let manifests: &[u32] = if batch_align == 4096 { &[8192, 16384] } else { &[4096, 8192, 16384] };
        let geometry = Geometry {
            write_unit,
            batch_align: batch_align.max(write_unit),
            extent_bytes: chance.pick(extent_sizes(batch_align)),
            manifest_bytes: chance.pick(manifests),
        };
        let mode = match chance.below(10) {
            0..5 => Mode::Always,
            5..8 => Mode::Periodic { interval_micros: 10_000, records: chance.one_in(3).then_some(3) },
            _ => Mode::Never,
        };
        let config = Config {
            keep_snapshots: chance.between(0, 3),
            idle_mark_micros: 3_000,
            retry_micros: 5_000,
            ..Config::new(mode)
        };
        let least = 2 * geometry.batch_align.max(2048) as usize;
        Self {
            profile,
            geometry,
            config,
            half_bytes: chance.pick(&[least, least, 2 * least]),
            window_bytes: chance.pick(&[8192, 8192, 16384]),
            segments: chance.pick(&[6, 12, 48, 48]),
        }
    }

    /// The operator chooses another size for segments, and another batch border where the device allows it.
    pub fn resize(&mut self, chance: &mut Chance) {
        let geometry = &mut self.geometry;
        geometry.extent_bytes = chance.pick(extent_sizes(geometry.batch_align));
        if self.profile.powersafe {
            geometry.batch_align = chance.pick(&[geometry.write_unit, geometry.write_unit.max(512)]);
        }
    }

    /// A recovery of this store.
    #[must_use]
    pub fn recovery(&self, fresh: StoreId, discard_from: Option<Lsn>) -> SimRecovery {
        let options =
            Options { config: self.config, geometry: self.geometry, fresh, discard_from, scope: Scope::Open };
        SimRecovery::new(options, self.memory())
    }

    fn memory(&self) -> Memory<Heap> {
        Memory {
            halves: [vec![0xee; self.half_bytes], vec![0xee; self.half_bytes]],
            frame: vec![0xee; 4096],
            window: vec![0xee; self.window_bytes],
            segments: vec![Segment::default(); self.segments],
            free: vec![FreeExtent::default(); 16],
            snapshots: vec![Snapshot::default(); 4],
        }
    }
}

const fn extent_sizes(batch_align: u32) -> &'static [u32] {
    if batch_align == 4096 { &[16384, 32768] } else { &[4096, 4096, 8192, 16384] }
}

impl core::fmt::Display for Setup {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Geometry { write_unit, batch_align, extent_bytes, manifest_bytes } = self.geometry;
        let Profile { sector, powersafe, stale } = self.profile;
        let promise = if powersafe { "powersafe" } else { "not powersafe" };
        let residue = if stale { ", stale sectors" } else { "" };
        writeln!(f, "device: sectors of {sector}, {promise}{residue}")?;
        writeln!(
            f,
            "store: unit {write_unit}, align {batch_align}, extents {extent_bytes}, manifests {manifest_bytes}"
        )?;
        writeln!(f, "mode: {:?}, keeps {} snapshots", self.config.mode, self.config.keep_snapshots)?;
        write!(
            f,
            "memory: halves {}, window {}, {} segments",
            self.half_bytes, self.window_bytes, self.segments
        )
    }
}

#[cfg(test)]
mod tests {
    use strandline_core::codec::check::TableCheck;

    use super::*;

    #[test]
    fn the_processor_and_the_table_agree() {
        let mut bytes = [0; 200];
        Chance::new(3).fill(&mut bytes);
        for len in 0..200 {
            let state = TableCheck::extend(0, &bytes[len..]);
            assert_eq!(FastCheck::extend(state, &bytes[..len]), TableCheck::extend(state, &bytes[..len]));
        }
    }

    #[test]
    fn every_setup_is_a_geometry_that_is_accepted() {
        for seed in 0..1000 {
            let setup = Setup::random(&mut Chance::new(seed));
            assert_eq!(setup.geometry.check(), Ok(setup.geometry), "{setup}");
        }
    }
}
