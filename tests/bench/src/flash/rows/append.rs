//! F1, F2, F4, F5: what ten thousand appends of 64 bytes do to the part.

use super::settings;
use crate::flash::medium::{CountingFlash, Counts};
use crate::flash::ours;
use crate::flash::peers::ekv::Ekv;
use crate::flash::peers::sequential::{Map, Queue, With, Without};
use crate::flash::subject::{Failed, Log, Settings, record};
use crate::table::{Row, Verdict, cell};

/// F1.
pub(crate) fn programmed() -> Row {
    let ours = both::<ours::Log<4>>();
    let shown = |pair: &(f64, f64)| format!("{:.3} / {:.3}", pair.0, pair.1);
    let peer = |name: &str, pair: Result<(f64, f64), Failed>| (name.to_owned(), cell(&pair, shown));
    Row {
        id: "F1",
        measure: "bytes programmed / payload, 64-byte durable appends, single / in groups of 8",
        peers: vec![
            peer(Queue::<Without, 4>::NAME, both::<Queue<Without, 4>>()),
            peer(Queue::<With, 4>::NAME, both::<Queue<With, 4>>()),
            peer(<Ekv as Log<4>>::NAME, both::<Ekv>()),
        ],
        goal: "≤ 1.14 / ≤ 1.045",
        verdict: Verdict::of(&ours, |(single, grouped)| *single <= 1.14 && *grouped <= 1.045),
        ours: cell(&ours, shown),
    }
}

/// F2.
pub(crate) fn reprogrammed() -> Row {
    let ours = [twice::<ours::Log<1>, 1>(), twice::<ours::Log<4>, 4>(), twice::<ours::Log<8>, 8>()]
        .into_iter()
        .chain([twice::<ours::Log<16>, 16>(), twice::<ours::Log<32>, 32>()])
        .collect::<Result<Vec<_>, _>>();
    let queue =
        [twice::<Queue<Without, 1>, 1>(), twice::<Queue<Without, 4>, 4>(), twice::<Queue<Without, 8>, 8>()]
            .into_iter()
            .chain([twice::<Queue<Without, 16>, 16>(), twice::<Queue<Without, 32>, 32>()])
            .collect::<Result<Vec<_>, _>>();
    let ekv = work::<Ekv, 4>(1, false).map(|counts| counts.reprogrammed_words);
    let shown = |words: &Vec<u64>| words.iter().map(u64::to_string).collect::<Vec<_>>().join(" / ");
    Row {
        id: "F2",
        measure: "words programmed twice between erases, 10,000 appends and drops of the oldest, \
                  words of 1 / 4 / 8 / 16 / 32 bytes",
        peers: vec![
            (Queue::<Without, 4>::NAME.into(), cell(&queue, shown)),
            ("ekv, words of 4".into(), cell(&ekv, u64::to_string)),
        ],
        goal: "0",
        verdict: Verdict::of(&ours, |words| words.iter().all(|words| *words == 0)),
        ours: cell(&ours, shown),
    }
}

/// F4.
pub(crate) fn spread() -> Row {
    let spread_of = |counts: Result<Counts, Failed>| counts.map(|counts| counts.erase_spread());
    let log = spread_of(work::<ours::Log<4>, 4>(1, false));
    let settings = spread_of(settings::work::<ours::Settings<4>>(1));
    let ours = log.and_then(|log| Ok((log, settings?)));
    let peer = |name: &str, spread: Result<u64, Failed>| (name.to_owned(), cell(&spread, u64::to_string));
    let map = settings::work::<Map<Without, 4>>(1);
    Row {
        id: "F4",
        measure: "most against least erased block after 10,000 appends / 10,000 updates with snapshots",
        peers: vec![
            peer(Queue::<Without, 4>::NAME, spread_of(work::<Queue<Without, 4>, 4>(1, false))),
            peer(Map::<Without, 4>::NAME, spread_of(map)),
            peer("ekv, as a log", spread_of(work::<Ekv, 4>(1, false))),
            peer("ekv, as a map", spread_of(settings::work::<Ekv>(1))),
        ],
        goal: "≤ 1 / ≤ 2",
        verdict: Verdict::of(&ours, |(log, settings)| *log <= 1 && *settings <= 2),
        ours: cell(&ours, |(log, settings)| format!("{log} / {settings}")),
    }
}

/// F5.
pub(crate) fn erases_inside() -> Row {
    let pair = |kept: Result<u64, Failed>, bare: Result<u64, Failed>| kept.and_then(|kept| Ok((kept, bare?)));
    let ours = pair(most_erases::<ours::Log<4>>(true), most_erases::<ours::Log<4>>(false));
    let peer = |name: &str, most: Result<u64, Failed>| (name.to_owned(), cell(&most, u64::to_string));
    Row {
        id: "F5",
        measure: "most erases inside one append, after `maintain` / without it",
        peers: vec![
            peer(Queue::<Without, 4>::NAME, most_erases::<Queue<Without, 4>>(false)),
            peer(<Ekv as Log<4>>::NAME, most_erases::<Ekv>(false)),
        ],
        goal: "0 / ≤ 1",
        verdict: Verdict::of(&ours, |(kept, bare)| *kept == 0 && *bare <= 1),
        ours: cell(&ours, |(kept, bare)| format!("{kept} / {bare}")),
    }
}

fn both<L: Log<4>>() -> Result<(f64, f64), Failed> {
    let ratio = |counts: Counts| counts.programmed_bytes as f64 / (APPENDS as usize * RECORD_BYTES) as f64;
    Ok((ratio(work::<L, 4>(1, false)?), ratio(work::<L, 4>(8, false)?)))
}

fn twice<L: Log<W>, const W: usize>() -> Result<u64, Failed> {
    Ok(work::<L, W>(1, true)?.reprogrammed_words)
}

/// Appends in groups; with `drops`, all but a backlog is dropped again. What was kept is checked at the end.
fn work<L: Log<W>, const W: usize>(group: u32, drops: bool) -> Result<Counts, Failed> {
    let flash = CountingFlash::new(BLOCKS);
    L::format(&flash)?;
    let mut log = L::open(&flash)?;
    flash.reset_counts();
    for first in (0..APPENDS).step_by(group as usize) {
        append_group(&mut log, first, group)?;
        if drops && first >= BACKLOG {
            log.drop_oldest()?;
        }
    }
    let counts = flash.counts();
    super::mount::check_tail(&mut log, APPENDS)?;
    Ok(counts)
}

fn append_group<L: Log<W>, const W: usize>(log: &mut L, first: u32, group: u32) -> Result<(), Failed> {
    if group == 1 {
        return log.append(&record(first, RECORD_BYTES));
    }
    let records: Vec<_> = (first..first + group).map(|number| record(number, RECORD_BYTES)).collect();
    let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
    log.append_all(&records)
}

fn most_erases<L: Log<4>>(maintain: bool) -> Result<u64, Failed> {
    let flash = CountingFlash::new(BLOCKS);
    L::format(&flash)?;
    let mut log = L::open(&flash)?;
    let mut most = 0;
    for number in 0..APPENDS {
        if maintain {
            log.maintain()?;
        }
        flash.reset_counts();
        log.append(&record(number, RECORD_BYTES))?;
        most = most.max(flash.counts().all_erases());
    }
    Ok(most)
}

/// Blocks of the part, unless a row says otherwise.
pub(super) const BLOCKS: usize = 16;
pub(super) const RECORD_BYTES: usize = 64;
const APPENDS: u32 = 10_000;
/// Records that stay while others are dropped.
const BACKLOG: u32 = 100;
