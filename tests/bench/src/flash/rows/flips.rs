//! F11: every single bit of the newest value of every key, with the bytes around it that describe it.
//!
//! A frame is found by its value, which is nowhere else on the part, so no format needs to be known.

use super::append::BLOCKS;
use super::settings::{KEYS, VALUE_BYTES};
use crate::chance::Chance;
use crate::flash::medium::CountingFlash;
use crate::flash::ours;
use crate::flash::peers::ekv::Ekv;
use crate::flash::peers::sequential::{Map, Without};
use crate::flash::subject::{Failed, Settings, record};
use crate::table::{Row, Verdict, cell};

/// F11.
pub(crate) fn silent() -> Row {
    let ours = flip_all::<ours::Settings<4>>();
    let peer = |name: &str, tally: Result<Tally, Failed>| (name.to_owned(), cell(&tally, Tally::to_string));
    Row {
        id: "F11",
        measure: "single bit flips in live frames: what a read then says without an error",
        peers: vec![
            peer(Map::<Without, 4>::NAME, flip_all::<Map<Without, 4>>()),
            peer(<Ekv as Settings<4>>::NAME, flip_all::<Ekv>()),
        ],
        goal: "0 silent",
        verdict: Verdict::of(&ours, |tally| tally.silent() == 0),
        ours: cell(&ours, Tally::to_string),
    }
}

/// What the flips led to, the worst answer of any key.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    flips: u64,
    /// A value that was replaced before.
    stale: u64,
    /// No value.
    missing: u64,
    /// A value that nobody wrote.
    wrong: u64,
    detected: u64,
}

impl Tally {
    const fn silent(&self) -> u64 {
        self.stale + self.missing + self.wrong
    }
}

impl core::fmt::Display for Tally {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let percent = |flips: u64| 100.0 * flips as f64 / self.flips as f64;
        let Self { flips, stale, missing, wrong, detected } = *self;
        write!(f, "{:.1} % stale, {:.1} % missing, {wrong} wrong, ", percent(stale), percent(missing))?;
        write!(f, "{:.1} % detected, of {flips}", percent(detected))
    }
}

fn flip_all<S: Settings<4>>() -> Result<Tally, Failed> {
    let flash = CountingFlash::new(BLOCKS);
    let newest = prepare::<S>(&flash)?;
    let image = flash.bytes().to_vec();
    let mut tally = Tally::default();
    for value in &newest {
        let at = image.windows(VALUE_BYTES).rposition(|window| window == value);
        let at = at.ok_or_else(|| Failed::Said("a value is not stored as it is".into()))?;
        for byte in at - FRAME_HEAD..at + VALUE_BYTES {
            for bit in 0..8 {
                let damaged = flash.copy();
                damaged.flip(byte, bit);
                count::<S>(&mut tally, &damaged, &newest);
            }
        }
    }
    Ok(tally)
}

/// Some updates of every key. The newest value of each.
fn prepare<S: Settings<4>>(flash: &CountingFlash<4>) -> Result<Vec<Vec<u8>>, Failed> {
    S::format(flash)?;
    let mut settings = S::open(flash)?;
    let mut chance = Chance::new(SEED);
    let mut newest = vec![Vec::new(); KEYS];
    for update in 0..UPDATES {
        let key = if update < KEYS as u32 { update as usize } else { chance.below(KEYS) };
        newest[key] = record(update, VALUE_BYTES);
        settings.insert(key as u16, &newest[key])?;
    }
    Ok(newest)
}

fn count<S: Settings<4>>(tally: &mut Tally, damaged: &CountingFlash<4>, newest: &[Vec<u8>]) {
    tally.flips += 1;
    let Ok(mut settings) = S::open(damaged) else {
        tally.detected += 1;
        return;
    };
    let (mut stale, mut missing, mut wrong, mut detected) = (false, false, false, false);
    for (key, value) in newest.iter().enumerate() {
        match settings.get(key as u16) {
            Ok(Some(found)) if found == *value => {}
            Ok(Some(found)) if crate::flash::subject::number_of(&found).is_some() => stale = true,
            Ok(Some(_)) => wrong = true,
            Ok(None) => missing = true,
            Err(_) => detected = true,
        }
    }
    match (wrong, stale, missing, detected) {
        (true, ..) => tally.wrong += 1,
        (_, true, ..) => tally.stale += 1,
        (_, _, true, _) => tally.missing += 1,
        (.., true) => tally.detected += 1,
        _ => {}
    }
}

const SEED: u64 = 0xf11;
/// Four blocks or so: every key has older values on the part.
const UPDATES: u32 = 370;
/// The key and what describes the value stand in these bytes before it.
const FRAME_HEAD: usize = 10;
