//! H6, H15, H16: commands a second through the Redis protocol.

use strandline_tests::device::Device;

use crate::host::Settings;
use crate::host::compare::{Comparison, Goal, Pair, Part, Unit, interleaved};
use crate::host::load::{Load, fill, rate};
use crate::host::servers::{RedisSetup, ours, start};

/// H6.
pub(crate) fn durable_sets(settings: &Settings) -> Comparison {
    let load = Load { test: "set", depth: 1, requests: 20_000, keys: KEYS };
    let pair = side_by_side(settings, Mode::ALWAYS, 0, load);
    let parts = pair.map(|pair| vec![Part { pair, goal: Goal::AtLeast(1.6) }]);
    let measure = "RESP SET 64 B, `always`, 50 clients, 1 ms a sync";
    Comparison { id: "H6", measure, peer: REDIS, unit: Unit::PerSecond, parts }
}

/// H15.
pub(crate) fn sets(settings: &Settings) -> Comparison {
    let modes = [Mode::PERIODIC, Mode::NEVER];
    let parts = modes.into_iter().flat_map(|mode| {
        let alone = Load { test: "set", depth: 1, requests: 100_000, keys: KEYS };
        let deep = Load { depth: 16, requests: 500_000, ..alone };
        [(alone, 1.0), (deep, 1.3)].map(|(load, times)| {
            let pair = side_by_side(settings, mode, 0, load)?;
            Ok(Part { pair, goal: Goal::AtLeast(times) })
        })
    });
    let parts = parts.collect();
    let measure = "RESP SET 64 B, 50 clients, `periodic` (10 ms; the peer 1 s) no pipeline / 16 deep / `never` no pipeline / 16 deep";
    Comparison { id: "H15", measure, peer: REDIS, unit: Unit::PerSecond, parts }
}

/// H16.
pub(crate) fn gets(settings: &Settings) -> Comparison {
    let load = Load { test: "get", depth: 16, requests: 600_000, keys: KEYS };
    let pair = side_by_side(settings, Mode::PERIODIC, KEYS, load);
    let parts = pair.map(|pair| vec![Part { pair, goal: Goal::AtLeast(1.2) }]);
    let measure = "RESP GET 64 B of 1 M keys, 50 clients, 16 deep";
    Comparison { id: "H16", measure, peer: REDIS, unit: Unit::PerSecond, parts }
}

/// The words of both servers for one promise.
#[derive(Clone, Copy, Debug)]
struct Mode {
    ours: &'static str,
    redis: &'static str,
}

impl Mode {
    const ALWAYS: Self = Self { ours: "always", redis: "always" };
    const PERIODIC: Self = Self { ours: "periodic", redis: "everysec" };
    const NEVER: Self = Self { ours: "never", redis: "no" };
}

/// Both servers run all the time; whose turn it is not has nothing to do.
fn side_by_side(settings: &Settings, mode: Mode, filled: usize, load: Load) -> Result<Pair, String> {
    let device = Device::new()?;
    let server = start(&ours(settings, &device, mode.ours)?)?;
    let redis = RedisSetup::new(&device, Some(mode.redis))?.start()?;
    let warm = Load { requests: load.requests / 5, ..load };
    for address in [server.resp(), redis.address] {
        if filled > 0 {
            fill(address, filled)?;
        }
        rate(address, warm)?;
    }
    interleaved(settings.rounds, || rate(server.resp(), load), || rate(redis.address, load))
}

const KEYS: usize = 1_000_000;
const REDIS: &str = "redis-server";
