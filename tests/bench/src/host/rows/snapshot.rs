//! H11, H12: how long a snapshot takes until it is on the device under its name, and how much memory.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use strandline_tests::device::Device;
use strandline_tests::process::Server;
use strandline_tests::process::http::request;

use crate::host::Settings;
use crate::host::compare::{Comparison, Goal, Pair, Part, Unit, interleaved};
use crate::host::load::{Load, Storm, fill, rate};
use crate::host::servers::{POLL, Redis, RedisSetup, ask, ours, resident_bytes, start};

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
    interleaved(settings.rounds, || take(&server), || save(&redis))
}

/// H12.
pub(crate) fn memory(settings: &Settings) -> Comparison {
    let goal = Goal::NoMoreThan((64 << 20) as f64);
    let parts = [1_000_000, 10_000_000].map(|keys| Ok(Part { pair: growths(settings, keys)?, goal }));
    let measure =
        "memory that a snapshot of 1 M / 10 M keys takes while 50 clients write as fast as they can, 16 deep";
    let parts = parts.into_iter().collect();
    Comparison { id: "H12", measure, peer: "redis-server, copied pages", unit: Unit::Bytes, parts }
}

fn growths(settings: &Settings, keys: usize) -> Result<Pair, String> {
    let device = Device::new()?;
    let setup = ours(settings, &device, "never")?.set("persistence.snapshot.auto_snapshot", false);
    let load = Load { test: "set", depth: 16, requests: 500_000, keys };
    let server = start(&setup)?;
    fill(server.resp(), keys)?;
    rate(server.resp(), load)?;
    let storm = Storm::start(server.resp(), Load { requests: ENDLESS, ..load })?;
    let grown = peak_of(server.pid(), || take(&server))?;
    drop((storm, server));
    let redis = RedisSetup::new(&device, None)?.start()?;
    fill(redis.address, keys)?;
    let storm = Storm::start(redis.address, Load { requests: ENDLESS, ..load })?;
    save(&redis)?;
    drop(storm);
    let facts = ask(redis.address, &["INFO", "persistence"])?.to_string();
    let copied = facts.lines().find_map(|line| line.trim().strip_prefix("rdb_last_cow_size:")?.parse().ok());
    Ok(Pair::of(grown, copied.ok_or("the peer does not say what was copied")?))
}

/// By how much a process is larger while `work` is done than it was just before, at the most.
fn peak_of(pid: u32, work: impl FnOnce() -> Result<f64, String>) -> Result<f64, String> {
    let sample = |over: &dyn Fn() -> bool| {
        let mut peak = resident_bytes(pid)?;
        while !over() {
            thread::sleep(POLL);
            peak = peak.max(resident_bytes(pid)?);
        }
        Ok::<_, String>(peak)
    };
    let begun = Instant::now();
    let before = sample(&|| begun.elapsed() > SETTLING)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampling = scope.spawn(|| sample(&|| done.load(Relaxed)));
        let worked = work();
        done.store(true, Relaxed);
        let peak = sampling.join().map_err(|_| "the sampling thread panicked")??;
        worked.map(|_| (peak - before).max(0.0))
    })
}

/// Seconds of a snapshot of ours.
fn take(server: &Server) -> Result<f64, String> {
    let begun = Instant::now();
    let answer = request(server.http(), "POST", "/snapshot", "").map_err(|error| error.to_string())?;
    let took = begun.elapsed().as_secs_f64();
    if answer.status == 200 { Ok(took) } else { Err(answer.body) }
}

/// More than are sent in any time.
const ENDLESS: usize = 1_000_000_000;
/// How long the load runs before a snapshot is begun.
const SETTLING: Duration = Duration::from_secs(2);

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
