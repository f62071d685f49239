//! H11: how long a snapshot takes until it is on the device under its name.

use std::thread;
use std::time::Instant;

use strandline_tests::device::Device;
use strandline_tests::process::http::request;

use crate::host::Settings;
use crate::host::compare::{Comparison, Goal, Pair, Part, Unit, interleaved};
use crate::host::load::fill;
use crate::host::servers::{POLL, Redis, RedisSetup, ask, ours, start};

/// The row.
pub(crate) fn durations(settings: &Settings) -> Comparison {
    let parts = [1_000_000, 10_000_000];
    let parts = parts.map(|keys| Ok(Part { pair: both(settings, keys)?, goal: Goal::AtMost(0.25) }));
    let measure = "snapshot of 1 M / 10 M keys with syncs and rename, 1 ms a sync; the peer's BGSAVE";
    let parts = parts.into_iter().collect();
    Comparison { id: "H11", measure, peer: "redis-server", unit: Unit::Seconds, parts }
}

fn both(settings: &Settings, keys: usize) -> Result<Pair, String> {
    let device = Device::new()?;
    let setup = ours(settings, &device, "periodic")?.set("persistence.snapshot.auto_snapshot", false);
    let server = start(&setup)?;
    let redis = RedisSetup::new(&device, None)?.start()?;
    fill(server.resp(), keys)?;
    fill(redis.address, keys)?;
    let ours = || {
        let begun = Instant::now();
        let answer = request(server.http(), "POST", "/snapshot", "").map_err(|error| error.to_string())?;
        let took = begun.elapsed().as_secs_f64();
        if answer.status == 200 { Ok(took) } else { Err(answer.body) }
    };
    interleaved(settings.rounds, ours, || save(&redis))
}

/// Seconds of a BGSAVE.
fn save(redis: &Redis) -> Result<f64, String> {
    let begun = Instant::now();
    ask(redis.address, &["BGSAVE"])?;
    loop {
        let facts = ask(redis.address, &["INFO", "persistence"])?.to_string();
        if facts.contains("rdb_bgsave_in_progress:0") {
            let took = begun.elapsed().as_secs_f64();
            return if facts.contains("rdb_last_bgsave_status:ok") { Ok(took) } else { Err(facts) };
        }
        thread::sleep(POLL);
    }
}
