//! H17 and H19: what an archive costs to make, and what it takes to look into a large one.
//!
//! A million order-like events (about 165 bytes in MessagePack: identifiers, words from short lists, amounts) and a million key-value
//! writes (a key, and a value of JSON of about 100 bytes), both from a fixed seed. They stand in memory, as decoded; the archive goes to
//! a file in memory and is synced. The peer compresses the very same content without anything around it. Both work in one thread, and
//! its processor time counts, so that neighbours on the machine don't.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use strandline::archive::{
    self, Entry, Header, Level, OwnedEntry, Stamp, Value, Writing, encode_fields, json::JsonEntry,
};
use strandline::core::types::LogId;
use strandline::{Lsn, Millis, StoreId};
use tempfile::TempDir;

use crate::chance::Chance;
use crate::host::Settings;
use crate::host::compare::{Comparison, Goal, Pair, Part, Unit, interleaved};
use crate::host::servers::binary;

/// H17, speed: build and write, beside zstd of the same level alone.
pub(crate) fn build(settings: &Settings) -> Comparison {
    let measure =
        "archive of 1 M order events at level 1 / 3, of 1 M key-value writes at level 1: build, write, sync";
    let run = |(entries, level): (&[OwnedEntry], i32)| {
        let content = content(entries)?;
        let place = place()?;
        let ours = || {
            let started = thread_seconds();
            let built = build_once(place.path(), entries, level)?;
            let rate = content.len() as f64 / (thread_seconds() - started);
            drop(built);
            Ok(rate)
        };
        let pair = interleaved(settings.rounds, ours, || alone(&content, level))?;
        Ok(Part { pair, goal: Goal::AtLeast(0.85) })
    };
    let (orders, writes) = (orders(), writes());
    let parts = [(&orders[..], 1), (&orders[..], 3), (&writes[..], 1)].map(run).into_iter().collect();
    Comparison { id: "H17", measure, peer: "zstd alone", unit: Unit::BytesPerSecond, parts }
}

/// H17, the read-back that follows, beside zstd's decompression alone.
pub(crate) fn read_back(settings: &Settings) -> Comparison {
    let measure = "verifying that archive in full: order events, level 1";
    let parts = || {
        let (entries, place) = (orders(), place()?);
        let content = content(&entries)?;
        let path = build_once(place.path(), &entries, 1)?.publish().map_err(said)?;
        let frame = zstd::bulk::compress(&content, 1).map_err(said)?;
        let ours = || {
            let started = thread_seconds();
            archive::verify(&path, Level::Full).map_err(said)?;
            Ok(content.len() as f64 / (thread_seconds() - started))
        };
        let peer = || {
            let started = thread_seconds();
            let bytes = io::copy(&mut zstd::Decoder::new(&frame[..]).map_err(said)?, &mut io::sink());
            Ok(bytes.map_err(said)? as f64 / (thread_seconds() - started))
        };
        let pair = interleaved(settings.rounds, ours, peer)?;
        Ok(vec![Part { pair, goal: Goal::Reported }])
    };
    Comparison {
        id: "H17-read-back",
        measure,
        peer: "zstd alone",
        unit: Unit::BytesPerSecond,
        parts: parts(),
    }
}

/// H17, size: of the same events as SnelDB has them, with times in whole seconds; and with milliseconds and times of commits, which
/// its file can't hold.
pub(crate) fn size(_: &Settings) -> Comparison {
    let measure = "size of those archives: order events with times in seconds at level 1 / 3, with milliseconds at level 1; key-value writes at level 1";
    let in_seconds = |mut entries: Vec<OwnedEntry>| {
        for entry in &mut entries {
            (entry.stamp.time, entry.stamp.commit) = (Millis(entry.timestamp * 1000), Millis(0));
        }
        entries
    };
    let run = |(entries, level, goal): (&[OwnedEntry], i32, Goal)| {
        let place = place()?;
        let path = build_once(place.path(), entries, level)?.publish().map_err(said)?;
        let theirs = zstd::stream::encode_all(&content(entries)?[..], 3).map_err(said)?;
        Ok(Part { pair: Pair::of(bytes(&path)? as f64, theirs.len() as f64), goal })
    };
    let (exact, rounded, writes) = (orders(), in_seconds(orders()), in_seconds(writes()));
    let parts = [
        (&rounded[..], 1, Goal::AtMost(1.0)),
        (&rounded[..], 3, Goal::AtMost(1.0)),
        (&exact[..], 1, Goal::Reported),
        (&writes[..], 1, Goal::AtMost(1.0)),
    ];
    let parts = parts.map(run).into_iter().collect();
    Comparison { id: "H17-size", measure, peer: "one stream at level 3, as SnelDB", unit: Unit::Bytes, parts }
}

/// H17, memory: the whole process of `std-server archive archive` over a log of a million lines.
pub(crate) fn memory(settings: &Settings) -> Comparison {
    let measure = "peak memory of the process that archives a log of 1 M order events at level 1 / 3";
    let run = |level: &str| {
        let place = place()?;
        let logs = place.path().join("wal/shard-0");
        fs::create_dir_all(&logs).map_err(said)?;
        let mut log = io::BufWriter::new(File::create(logs.join("wal-00001.log")).map_err(said)?);
        for entry in orders() {
            let line = serde_json::to_string(&JsonEntry::version_1(&entry.entry())).map_err(said)?;
            writeln!(log, "{line}").map_err(said)?;
        }
        log.flush().map_err(said)?;
        let mut command = Command::new(binary(settings)?);
        command.current_dir(place.path()).args(["archive", "archive", "0", "1", "--wal-dir", "wal"]);
        let peak = peak_bytes(command.args(["--archive-dir", "archives", "--level", level]))?;
        Ok(Part { pair: Pair::of(peak, MEMORY), goal: Goal::NoMoreThan(MEMORY) })
    };
    let parts = ["1", "3"].map(run).into_iter().collect();
    Comparison { id: "H17-memory", measure, peer: "the bound", unit: Unit::Bytes, parts }
}

/// H19: `info` and `list` as processes, beside reading everything as SnelDB does.
pub(crate) fn look(settings: &Settings) -> Comparison {
    let measure = "`archive info` / `archive list` of a 1 GB archive of order events, as processes";
    let parts = || {
        let place = place()?;
        let shard = place.path().join("archives/shard-0");
        fs::create_dir_all(&shard).map_err(said)?;
        let (path, orders) = gigabyte(&shard)?;
        drop(orders);
        let binary = binary(settings)?;
        let name = path.display().to_string();
        let words: [&[&str]; 2] = [&["archive", "info", &name], &["archive", "list", "0"]];
        let started = Instant::now();
        archive::verify(&path, Level::Full).map_err(said)?;
        let whole = started.elapsed().as_secs_f64();
        words
            .map(|words| {
                let ours = || {
                    let mut command = Command::new(&binary);
                    command.args(words).args(["--archive-dir", "archives"]).current_dir(place.path());
                    let started = Instant::now();
                    let output = command.output().map_err(said)?;
                    let took = started.elapsed().as_secs_f64();
                    if output.status.success() { Ok(took) } else { Err(format!("{}", output.status)) }
                };
                let pair = interleaved(settings.rounds.max(5), ours, || Ok(whole))?;
                Ok(Part { pair, goal: Goal::NoMoreThan(0.005) })
            })
            .into_iter()
            .collect()
    };
    Comparison { id: "H19", measure, peer: "reading all of it", unit: Unit::Seconds, parts: parts() }
}

/// An archive of a gigabyte: the million events again and again, with other LSNs and times.
fn gigabyte(directory: &Path) -> Result<(PathBuf, Vec<OwnedEntry>), String> {
    let orders = orders();
    let once = bytes(&build_once(directory, &orders, 1)?.publish().map_err(said)?)?;
    for (_, path) in archive::list(directory).map_err(said)? {
        fs::remove_file(path).map_err(said)?;
    }
    let times = 1_000_000_000_u64.div_ceil(once);
    let header = Header { log: LogId(1), ..HEADER };
    let written = archive::write(directory, &header, writing(1), |take| {
        for time in 0..times {
            for (entry, lsn) in orders.iter().zip(time * orders.len() as u64 + 1..) {
                take(&Entry { stamp: Stamp { lsn: Lsn(lsn), ..entry.stamp }, ..entry.entry() })?;
            }
        }
        Ok(())
    });
    Ok((written.map_err(said)?, orders))
}

fn build_once(directory: &Path, entries: &[OwnedEntry], level: i32) -> Result<archive::Built, String> {
    let built = archive::build(directory, &HEADER, writing(level), |take| {
        entries.iter().try_for_each(|entry| take(&entry.entry()))
    });
    built.map_err(said)
}

fn writing(level: i32) -> Writing {
    Writing { level: Some(level), ..Writing::default() }
}

/// Everything that zstd has to compress.
fn content(entries: &[OwnedEntry]) -> Result<Vec<u8>, String> {
    let place = place()?;
    let built =
        archive::build(place.path(), &HEADER, Writing { level: None, ..Writing::default() }, |take| {
            entries.iter().try_for_each(|entry| take(&entry.entry()))
        });
    let path = built.and_then(archive::Built::publish).map_err(said)?;
    // Made raw and decompressed by zstd, it is what any reader of version 1 sees.
    zstd::stream::decode_all(File::open(path).map_err(said)?).map_err(said)
}

fn alone(content: &[u8], level: i32) -> Result<f64, String> {
    let started = thread_seconds();
    let mut encoder = zstd::Encoder::new(io::sink(), level).map_err(said)?;
    encoder.write_all(content).map_err(said)?;
    encoder.finish().map_err(said)?;
    Ok(content.len() as f64 / (thread_seconds() - started))
}

/// Processor time of this thread so far.
fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn orders() -> Vec<OwnedEntry> {
    let mut chance = Chance::new(17);
    let mut time = 1_700_000_000_000;
    let order = |at: u64| {
        time += chance.below(20) as u64;
        let number = |chance: &mut Chance, below| Value::Unsigned(chance.below(below) as u64);
        let kind = chance.pick(&["order_created", "order_paid", "order_shipped", "order_cancelled"]);
        let cents = chance.below(50_000) as f64 / 100.0;
        let payload = encode_fields([
            ("amount", Value::Float(cents)),
            ("country", Value::Text(chance.pick(&["DE", "FR", "JP", "US", "BR", "IN"]).into())),
            ("currency", Value::Text(chance.pick(&["EUR", "USD", "JPY"]).into())),
            ("customer", Value::Text(format!("customer-{}", chance.below(50_000)))),
            ("gift", Value::Bool(chance.one_in(10))),
            ("items", number(&mut chance, 12)),
            ("sku", Value::Text(format!("sku-{:05}", chance.below(20_000)))),
            ("source", Value::Text(chance.pick(&["web", "ios", "android", "partner"]).into())),
            ("trace", Value::Text(format!("{:016x}", chance.bits()))),
        ]);
        entry(at, time, &format!("order-{}", at / 3), kind, payload)
    };
    (1..=MILLION).map(order).collect()
}

fn writes() -> Vec<OwnedEntry> {
    let mut chance = Chance::new(19);
    let mut time = 1_700_000_000_000;
    let write = |at: u64| {
        time += chance.below(10) as u64;
        let value = format!(
            "{{\"user\":{},\"cart\":[{},{}],\"seen\":{time},\"token\":\"{:016x}\"}}",
            chance.below(100_000),
            chance.below(20_000),
            chance.below(20_000),
            chance.bits()
        );
        let payload = encode_fields([("value", Value::Bytes(value.into_bytes()))]);
        entry(at, time, &format!("session:{:08}", chance.below(200_000)), "kv.set", payload)
    };
    (1..=MILLION).map(write).collect()
}

fn entry(at: u64, time: u64, context: &str, kind: &str, payload: Vec<u8>) -> OwnedEntry {
    // A batch of fifty shares its commit.
    let commit = Millis(time / 500 * 500);
    OwnedEntry {
        timestamp: time / 1000,
        context: context.into(),
        event_type: kind.into(),
        payload,
        event_id: at,
        stamp: Stamp { lsn: Lsn(at), time: Millis(time), commit },
    }
}

/// Runs a command to its end and returns the most memory that it had.
fn peak_bytes(command: &mut Command) -> Result<f64, String> {
    let mut child = command.stdout(Stdio::null()).spawn().map_err(said)?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak: f64 = 0.0;
    loop {
        // The high-water mark only rises; of a process that ended there is none.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = peak.max(line.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0);
        match child.try_wait().map_err(said)? {
            Some(status) if status.success() => return Ok(peak),
            Some(status) => return Err(status.to_string()),
            None => std::thread::sleep(core::time::Duration::from_millis(2)),
        }
    }
}

fn place() -> Result<TempDir, String> {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new();
    let place = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
    place.map_err(said)
}

fn bytes(path: &Path) -> Result<u64, String> {
    Ok(fs::metadata(path).map_err(said)?.len())
}

fn said(error: impl core::fmt::Display) -> String {
    error.to_string()
}

const MILLION: u64 = 1_000_000;
const MEMORY: f64 = (16 << 20) as f64;
const HEADER: Header<'static> = Header { store: StoreId([17; 16]), ..Header::EMPTY };
