//! H13, H18: what snapshots, growth and archiving do to the time that a write takes.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use std_server::keyspace::{self, Effect, Keyspace};
use strandline_tests::device::Device;
use strandline_tests::process::http::request;
use strandline_tests::process::resp::{Client, Reply};

use crate::chance::Chance;
use crate::host::Settings;
use crate::host::compare::{Comparison, Goal, Pair, Part, Unit, interleaved};
use crate::host::load::{VALUE_BYTES, fill};
use crate::host::servers::{RedisSetup, ask, ours, start};

/// H13. By the processor time of the thread: another program's turn is no pause of the table.
pub(crate) fn longest(_: &Settings) -> Comparison {
    let parts = table().and_then(|ours| {
        let fork = fork()?;
        let goal = Goal::NoMoreThan(0.5e-3);
        Ok(ours.map(|pause| Part { pair: Pair::of(pause, fork), goal }).into())
    });
    let measure =
        "to begin a snapshot of 10 M keys (16 B + 64 B) / the longest insert on the way there, one run";
    Comparison { id: "H13", measure, peer: "redis-server's fork", unit: Unit::Micros, parts }
}

/// Seconds that beginning an image takes, and that the longest insert took.
fn table() -> Result<[f64; 2], String> {
    let shared = Arc::new(Mutex::new(Keyspace::new(keyspace::Options { seed: 0x13, ..Default::default() })));
    let (value, mut longest) = ("v".repeat(VALUE_BYTES), 0.0_f64);
    for number in 0..MANY_KEYS {
        let key = format!("key:{number:012}");
        let effect = Effect::Set { key: key.as_bytes(), value: value.as_bytes(), expires_at_ms: None };
        let begun = worked();
        shared.lock().apply(effect);
        longest = longest.max(worked() - begun);
    }
    let begun = worked();
    let image = Keyspace::begin_image(&shared).map_err(|error| error.to_string())?;
    let took = worked() - begun;
    if image.keys() == MANY_KEYS { Ok([took, longest]) } else { Err(format!("{} keys", image.keys())) }
}

/// Seconds that this thread has worked.
fn worked() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds that the peer stands still to begin a snapshot of as many keys.
fn fork() -> Result<f64, String> {
    let device = Device::new()?;
    let redis = RedisSetup::new(&device, None)?.start()?;
    fill(redis.address, MANY_KEYS)?;
    ask(redis.address, &["BGSAVE"])?;
    let facts = ask(redis.address, &["INFO", "stats"])?.to_string();
    let micros =
        facts.lines().find_map(|line| line.trim().strip_prefix("latest_fork_usec:")?.parse::<f64>().ok());
    micros.map(|micros| micros / 1e6).ok_or_else(|| "the peer does not say how long it forked".into())
}

const MANY_KEYS: usize = 10_000_000;

/// H18.
pub(crate) fn writes(settings: &Settings) -> Comparison {
    let parts = both(settings).map(|pair| vec![Part { pair, goal: Goal::AtMost(1.2) }]);
    let measure = "99 % of SET 64 B take no longer, `periodic`, 4 clients, 1 M keys, while snapshots are taken and segments archived one behind the other";
    Comparison { id: "H18", measure, peer: "the same server without", unit: Unit::Seconds, parts }
}

fn both(settings: &Settings) -> Result<Pair, String> {
    let device = Device::new()?;
    let setup = ours(settings, &device, "periodic")?
        .set("persistence.wal.conservative_mode", true)
        .set("persistence.wal.max_size_mb", 8)
        .set("persistence.snapshot.auto_snapshot", false);
    let server = start(&setup)?;
    fill(server.resp(), KEYS)?;
    post(server.http(), "/archives/now")?;
    let with = || {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let busy = scope.spawn(|| {
                let mut rounds = 0;
                while !over.load(Ordering::Relaxed) {
                    post(server.http(), "/snapshot")?;
                    post(server.http(), "/archives/now")?;
                    rounds += 1;
                }
                if rounds > 0 {
                    Ok(())
                } else {
                    Err("the writers were gone before a snapshot was taken".to_owned())
                }
            });
            let slow = percentile(server.resp());
            over.store(true, Ordering::Relaxed);
            busy.join().map_err(|_| "a request panicked".to_owned())??;
            slow
        })
    };
    interleaved(settings.rounds, with, || percentile(server.resp()))
}

/// Seconds that 99 % of the writes stay below.
fn percentile(address: SocketAddr) -> Result<f64, String> {
    let mut took = Vec::with_capacity(CLIENTS * WRITES);
    thread::scope(|scope| {
        let clients =
            (0..CLIENTS).map(|client| scope.spawn(move || times(address, client))).collect::<Vec<_>>();
        for client in clients {
            took.extend(client.join().map_err(|_| "a client panicked".to_owned())??);
        }
        Ok::<_, String>(())
    })?;
    took.sort_by(f64::total_cmp);
    took.get(took.len() * 99 / 100).copied().ok_or_else(|| "nothing was written".into())
}

fn times(address: SocketAddr, client: usize) -> Result<Vec<f64>, String> {
    let mut connection = Client::connect(address).map_err(|error| error.to_string())?;
    let mut chance = Chance::new(client as u64);
    let value = "w".repeat(VALUE_BYTES);
    let mut write = || {
        let key = format!("key:{:012}", chance.below(KEYS));
        let begun = Instant::now();
        match connection.ask(&["SET", &key, &value]) {
            Ok(Reply::Status(_)) => Ok(begun.elapsed().as_secs_f64()),
            other => Err(format!("a write was answered with {other:?}")),
        }
    };
    (0..WRITES).map(|_| write()).collect()
}

fn post(address: SocketAddr, path: &str) -> Result<(), String> {
    let answer = request(address, "POST", path, "").map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(()) } else { Err(format!("POST {path}: {} {}", answer.status, answer.body)) }
}

const KEYS: usize = 1_000_000;
const CLIENTS: usize = 4;
/// Of each client in a round.
const WRITES: usize = 25_000;
