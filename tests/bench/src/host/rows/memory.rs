//! H14: what a key costs in memory.

use strandline_tests::device::Device;

use crate::host::Settings;
use crate::host::compare::{Comparison, Goal, Pair, Part, Unit};
use crate::host::load::fill;
use crate::host::servers::{RedisSetup, ours, resident_bytes, start};

/// The row.
pub(crate) fn bytes_a_key(settings: &Settings) -> Comparison {
    let sizes = [1_000_000, 10_000_000];
    let parts = sizes.map(|keys| Ok(Part { pair: both(settings, keys)?, goal: Goal::NoMoreThan(120.0) }));
    let measure = "resident memory a key (16 B + 64 B), 1 M / 10 M keys, one run";
    let parts = parts.into_iter().collect();
    Comparison { id: "H14", measure, peer: "redis-server", unit: Unit::Bytes, parts }
}

fn both(settings: &Settings, keys: usize) -> Result<Pair, String> {
    let device = Device::new()?;
    let server = start(&ours(settings, &device, "never")?)?;
    let ours = grown(server.pid(), keys, || fill(server.resp(), keys))?;
    drop(server);
    let redis = RedisSetup::new(&device, None)?.start()?;
    let peer = grown(redis.pid(), keys, || fill(redis.address, keys))?;
    Ok(Pair::of(ours, peer))
}

/// By how much a process grows for each key.
fn grown(pid: u32, keys: usize, fill: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let empty = resident_bytes(pid)?;
    fill()?;
    Ok((resident_bytes(pid)? - empty) / keys as f64)
}
