//! H1 to H5, H7, H8: the log as a library, beside other logs and beside the least that can be done.

use std::fs;
use std::process::Command;

use strandline_tests::device::{Device, directory_in_memory};

use crate::host::Settings;
use crate::host::compare::{Comparison, Goal, Pair, Part, Unit, interleaved};
use crate::host::logs::{self, Job, Work};

/// H1.
pub(crate) fn frames(settings: &Settings) -> Comparison {
    let parts = sizes(settings, Work::Frame, BOUND, Goal::AtLeast(0.9));
    let measure = "frame and CRC-32C in memory, 100 B / 1 KiB";
    Comparison { id: "H1", measure, peer: "length, copy and CRC alone", unit: Unit::PerSecond, parts }
}

/// H2, beside another log.
pub(crate) fn appends(settings: &Settings) -> Comparison {
    let parts = sizes(settings, Work::Append, "open-wal", Goal::AtLeast(1.5));
    let measure = "append, no sync, 1 thread, recycled segments, 100 B / 1 KiB";
    Comparison { id: "H2", measure, peer: "open-wal", unit: Unit::PerSecond, parts }
}

/// H2, beside the bound.
pub(crate) fn appends_bound(settings: &Settings) -> Comparison {
    let parts = sizes(settings, Work::Append, BOUND, Goal::AtLeast(0.9));
    let measure = "the same beside its bound";
    Comparison { id: "H2-bound", measure, peer: "frames, written by the MiB", unit: Unit::PerSecond, parts }
}

/// H3.
pub(crate) fn crowds(settings: &Settings) -> Comparison {
    let job = Job { log: OURS, work: Work::Append, bytes: 100, threads: 16 };
    let parts = ["raft-engine", "walrus"].map(|peer| {
        let pair = versus(settings, None, job, peer, RATE)?;
        Ok(Part { pair, goal: Goal::AtLeast(12.0) })
    });
    let measure = "append, no sync, 16 threads, 100 B, beside each of two";
    let parts = parts.into_iter().collect();
    Comparison { id: "H3", measure, peer: "raft-engine / walrus-rust", unit: Unit::PerSecond, parts }
}

/// H4.
pub(crate) fn one_client(settings: &Settings) -> Comparison {
    let parts = durable(settings, BOUND, RATE, [(1, Goal::AtLeast(0.98))]);
    let measure = "durable append of 100 B, 1 client, 1 ms a sync";
    Comparison { id: "H4", measure, peer: "a write and a sync alone", unit: Unit::PerSecond, parts }
}

const CLIENTS: [(usize, Goal); 3] =
    [(16, Goal::AtLeast(1.8)), (50, Goal::AtLeast(1.7)), (64, Goal::AtLeast(1.6))];

/// H5, beside one log.
pub(crate) fn group_commit(settings: &Settings) -> Comparison {
    let parts = durable(settings, "raft-engine", RATE, CLIENTS);
    let measure = "durable append of 100 B, 16 / 50 / 64 clients, 1 ms a sync";
    Comparison { id: "H5", measure, peer: "raft-engine", unit: Unit::PerSecond, parts }
}

/// H5, beside another.
pub(crate) fn group_commit_again(settings: &Settings) -> Comparison {
    let parts = durable(settings, "okaywal", RATE, CLIENTS);
    let measure = "the same beside another log";
    Comparison { id: "H5-okaywal", measure, peer: "okaywal", unit: Unit::PerSecond, parts }
}

/// H5, how long one takes.
pub(crate) fn medians(settings: &Settings) -> Comparison {
    let goal = Goal::NoMoreThan(1.25e-3);
    let parts = durable(settings, "raft-engine", MEDIAN, CLIENTS.map(|(clients, _)| (clients, goal)));
    let measure = "half of those appends take no longer";
    Comparison { id: "H5-p50", measure, peer: "raft-engine", unit: Unit::Micros, parts }
}

/// H8, beside another log.
pub(crate) fn replays(settings: &Settings) -> Comparison {
    let parts = sizes(settings, Work::Replay, "commitlog", Goal::AtLeast(1.8));
    let measure = "replay, verified, 1 thread, 100 B / 1 KiB: bytes of records";
    Comparison { id: "H8", measure, peer: "commitlog", unit: Unit::BytesPerSecond, parts }
}

/// H8, beside the bound.
pub(crate) fn replays_bound(settings: &Settings) -> Comparison {
    let parts = sizes(settings, Work::Replay, BOUND, Goal::AtLeast(0.75));
    let measure = "the same beside its bound";
    Comparison {
        id: "H8-bound",
        measure,
        peer: "frames verified in memory",
        unit: Unit::BytesPerSecond,
        parts,
    }
}

/// H7.
pub(crate) fn system_calls(_: &Settings) -> Comparison {
    let parts = calls().map(|calls| {
        let goal = Goal::NoMoreThan(1.01);
        calls.map(|calls| Part { pair: Pair::of(calls, 1.0), goal }).into()
    });
    let measure =
        "system calls for a durable append, 1 client: writes / syncs; starting and rotating included";
    Comparison { id: "H7", measure, peer: "the bound", unit: Unit::Count, parts }
}

/// Writes and syncs of a log for each record, as `strace` sees them; what makes segments ready writes more at once.
fn calls() -> Result<[f64; 2], String> {
    let place = directory_in_memory().map_err(|error| error.to_string())?;
    let (log, trace) = (place.path().join("log"), place.path().join("trace"));
    fs::create_dir(&log).map_err(|error| error.to_string())?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-s", "0", "-e", "trace=write,pwrite64,writev,pwritev,fdatasync,fsync", "-o"]);
    command.arg(&trace).arg(own).arg(logs::WORD).args([OURS, Work::Durable.name(), "100", "1"]);
    let output = command.arg(&log).output().map_err(|error| format!("strace: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.split(' ').next().and_then(|rate| rate.parse::<f64>().ok());
    let records = rate.ok_or("strace: nothing was counted")? * logs::DURABLE.as_secs_f64();
    let text = fs::read_to_string(&trace).map_err(|error| error.to_string())?;
    let sync = |line: &&str| line.contains("sync(");
    let written = |line: &str| line.rsplit(" = ").next().and_then(|bytes| bytes.parse::<u64>().ok());
    let write = |line: &&str| written(line).is_some_and(|bytes| (1..PREPARING).contains(&bytes));
    let of = |counted: &dyn Fn(&&str) -> bool| text.lines().filter(counted).count() as f64 / records;
    Ok([of(&write), of(&sync)])
}

/// Bytes that only writes to segments which are made ready have.
const PREPARING: u64 = 64 << 10;

/// Small and larger records, one thread.
fn sizes(settings: &Settings, work: Work, peer: &'static str, goal: Goal) -> Result<Vec<Part>, String> {
    let parts = [100, 1024].map(|bytes| {
        let pair = versus(settings, None, Job { log: OURS, work, bytes, threads: 1 }, peer, RATE)?;
        Ok(Part { pair, goal })
    });
    parts.into_iter().collect()
}

/// So many clients, each with its goal.
fn durable<const N: usize>(
    settings: &Settings,
    peer: &'static str,
    figure: usize,
    clients: [(usize, Goal); N],
) -> Result<Vec<Part>, String> {
    let device = Device::new()?;
    let parts = clients.map(|(threads, goal)| {
        let job = Job { log: OURS, work: Work::Durable, bytes: 100, threads };
        Ok(Part { pair: versus(settings, Some(&device), job, peer, figure)?, goal })
    });
    parts.into_iter().collect()
}

/// The same job for ours and for a peer; `figure` is which one is compared.
fn versus(
    settings: &Settings,
    device: Option<&Device>,
    job: Job,
    peer: &'static str,
    figure: usize,
) -> Result<Pair, String> {
    let one = |job: Job| {
        let figures = job.figures(device)?;
        figures.get(figure).copied().ok_or_else(|| format!("{}: a figure is missing", job.log))
    };
    interleaved(settings.rounds, || one(job), || one(Job { log: peer, ..job }))
}

const OURS: &str = "strandline";
const BOUND: &str = "bound";
const RATE: usize = 0;
const MEDIAN: usize = 1;
