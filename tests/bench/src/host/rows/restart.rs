//! H9, H10: from the start of the process to the first answer, everything recovered.

use std::thread;
use std::time::Instant;

use strandline_tests::device::Device;
use strandline_tests::process::Setup;
use strandline_tests::process::http::request;

use crate::host::Settings;
use crate::host::compare::{Comparison, Goal, Pair, Part, Unit, interleaved};
use crate::host::load::{check, fill};
use crate::host::servers::{POLL, RedisSetup, ask, is_ready, ours, start};

/// H9.
pub(crate) fn million(settings: &Settings) -> Comparison {
    let measure = "restart with 1 M keys (16 B + 64 B): snapshot / log only";
    row(settings, "H9", measure, 1_000_000, [0.35, 0.35])
}

/// H10.
pub(crate) fn ten_million(settings: &Settings) -> Comparison {
    let measure = "restart with 10 M keys (16 B + 64 B): snapshot / log only";
    row(settings, "H10", measure, 10_000_000, [0.3, 0.2])
}

fn row(
    settings: &Settings,
    id: &'static str,
    measure: &'static str,
    keys: usize,
    most: [f64; 2],
) -> Comparison {
    let pairs = [from_snapshot(settings, keys), from_log(settings, keys)];
    let parts =
        pairs.into_iter().zip(most).map(|(pair, most)| Ok(Part { pair: pair?, goal: Goal::AtMost(most) }));
    Comparison { id, measure, peer: "redis-server", unit: Unit::Seconds, parts: parts.collect() }
}

fn from_snapshot(settings: &Settings, keys: usize) -> Result<Pair, String> {
    let device = Device::new()?;
    let setup = ours(settings, &device, "periodic")?.set("persistence.snapshot.auto_snapshot", false);
    let server = start(&setup)?;
    fill(server.resp(), keys)?;
    let taken = request(server.http(), "POST", "/snapshot", "").map_err(|error| error.to_string())?;
    if taken.status != 200 {
        return Err(taken.body);
    }
    drop(server.stop());
    let redis = RedisSetup::new(&device, None)?;
    let running = redis.start()?;
    fill(running.address, keys)?;
    ask(running.address, &["SAVE"])?;
    drop(running);
    restarts(settings, keys, &setup, &redis)
}

fn from_log(settings: &Settings, keys: usize) -> Result<Pair, String> {
    let device = Device::new()?;
    let setup = ours(settings, &device, "periodic")?.set("persistence.snapshot.auto_snapshot", false);
    let server = start(&setup)?;
    fill(server.resp(), keys)?;
    drop(server.stop());
    let redis = RedisSetup::new(&device, Some("everysec"))?;
    let running = redis.start()?;
    fill(running.address, keys)?;
    drop(running);
    restarts(settings, keys, &setup, &redis)
}

fn restarts(settings: &Settings, keys: usize, setup: &Setup, redis: &RedisSetup) -> Result<Pair, String> {
    let ours = || {
        let begun = Instant::now();
        let server = setup.launch().map_err(|ended| ended.to_string())?;
        while !is_ready(server.resp()) {
            thread::sleep(POLL);
        }
        let took = begun.elapsed().as_secs_f64();
        check(server.resp(), keys)?;
        Ok(took)
    };
    let peer = || {
        let begun = Instant::now();
        let running = redis.start()?;
        let took = begun.elapsed().as_secs_f64();
        check(running.address, keys)?;
        Ok(took)
    };
    interleaved(settings.rounds, ours, peer)
}
