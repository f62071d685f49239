//! F6, F7: what a full part costs to open, and to read from end to end.

use super::append::{BLOCKS, RECORD_BYTES};
use crate::flash::medium::CountingFlash;
use crate::flash::ours;
use crate::flash::peers::ekv::Ekv;
use crate::flash::peers::sequential::{Queue, Without};
use crate::flash::subject::{Failed, Log, number_of, record};
use crate::table::{Row, Verdict, cell};

/// F6.
pub(crate) fn ready() -> Row {
    let ours = both::<ours::Log<4>>();
    let shown = |(small, large): &(Reads, Reads)| format!("{small} / {large}");
    let peer = |name: &str, pair: Result<(Reads, Reads), Failed>| (name.to_owned(), cell(&pair, shown));
    Row {
        id: "F6",
        measure: "reads from power-on to the first program of an append, full flash, 16 heads, 64 KiB / 1 MiB: \
                  worst (best); the goal is for the worst",
        peers: vec![
            peer("sequential-storage queue, tail not verified", both::<Queue<Without, 4>>()),
            peer(<Ekv as Log<4>>::NAME, both::<Ekv>()),
        ],
        goal: "≤ 34 / ≤ 40, tail verified",
        verdict: Verdict::of(&ours, |(small, large)| small.worst <= 34 && large.worst <= 40),
        ours: cell(&ours, shown),
    }
}

/// F7.
pub(crate) fn replay() -> Row {
    let ours = replay_reads::<ours::Log<4>>();
    let shown = |it: &(u64, usize)| format!("{} for {} records", it.0, it.1);
    let peer = |name: &str, it: Result<(u64, usize), Failed>| (name.to_owned(), cell(&it, shown));
    Row {
        id: "F7",
        measure: "reads of a full replay of the ring, 256-byte buffer, 64-byte records",
        peers: vec![
            peer(Queue::<Without, 4>::NAME, replay_reads::<Queue<Without, 4>>()),
            peer(<Ekv as Log<4>>::NAME, replay_reads::<Ekv>()),
        ],
        goal: "≤ 300",
        verdict: Verdict::of(&ours, |(reads, _)| *reads <= 300),
        ours: cell(&ours, shown),
    }
}

/// Over several heads.
struct Reads {
    worst: u64,
    best: u64,
}

impl core::fmt::Display for Reads {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", self.worst, self.best)
    }
}

fn both<L: Log<4>>() -> Result<(Reads, Reads), Failed> {
    Ok((ready_reads::<L>(BLOCKS)?, ready_reads::<L>(256)?))
}

/// The heads lie a sixteenth of the part and a bit apart.
fn ready_reads<L: Log<4>>(blocks: usize) -> Result<Reads, Failed> {
    let flash = CountingFlash::new(blocks);
    L::format(&flash)?;
    let mut log = L::open(&flash)?;
    let mut next = append_until(&mut log, 0, FILL * blocks as u32)?;
    let mut reads = Reads { worst: 0, best: u64::MAX };
    for _ in 0..HEADS {
        next = append_until(&mut log, next, next + FILL * blocks as u32 / HEADS + 5)?;
        let copy = flash.copy();
        L::open(&copy)?.append(&record(next, RECORD_BYTES))?;
        let before = copy.counts().reads_before_change;
        reads = Reads { worst: reads.worst.max(before), best: reads.best.min(before) };
    }
    check_tail(&mut log, next)?;
    Ok(reads)
}

fn replay_reads<L: Log<4>>() -> Result<(u64, usize), Failed> {
    let flash = CountingFlash::new(BLOCKS);
    L::format(&flash)?;
    let mut log = L::open(&flash)?;
    let next = append_until(&mut log, 0, 2 * FILL * BLOCKS as u32)?;
    drop(log);
    let mut log = L::open(&flash)?;
    flash.reset_counts();
    let records = check_tail(&mut log, next)?;
    Ok((flash.counts().reads, records))
}

fn append_until<L: Log<4>>(log: &mut L, from: u32, to: u32) -> Result<u32, Failed> {
    for number in from..to {
        log.append(&record(number, RECORD_BYTES))?;
    }
    Ok(to)
}

/// Replays: every record is whole, and they end with number `next - 1`, without a hole. Says how many there are.
pub(super) fn check_tail<L: Log<W>, const W: usize>(log: &mut L, next: u32) -> Result<usize, Failed> {
    let mut numbers = Vec::new();
    let mut damaged = 0;
    log.replay(&mut |bytes| match number_of(bytes) {
        Some(number) => numbers.push(number),
        None => damaged += 1,
    })?;
    // A ring of keys comes in the order of its keys.
    numbers.sort_unstable();
    let dense = numbers.iter().rev().zip((0..next).rev()).all(|(found, expected)| *found == expected);
    if damaged > 0 || numbers.is_empty() || !dense {
        return Err(Failed::Said(format!(
            "{damaged} records damaged, {} read, dense: {dense}",
            numbers.len()
        )));
    }
    Ok(numbers.len())
}

/// More records than a block holds.
const FILL: u32 = 64;
const HEADS: u32 = 16;
