//! F3: ten thousand updates of 64 keys.

use super::append::BLOCKS;
use crate::chance::Chance;
use crate::flash::medium::{CountingFlash, Counts};
use crate::flash::ours;
use crate::flash::peers::ekv::Ekv;
use crate::flash::peers::sequential::{Map, With, Without};
use crate::flash::subject::{Failed, Settings, record};
use crate::table::{Row, Verdict, cell};

/// F3.
pub(crate) fn updates() -> Row {
    let ours = figures::<ours::Settings<4>>();
    let shown =
        |it: &Figures| format!("{:.3} ({:.3} in groups of 8) / {}", it.ratio, it.grouped_ratio, it.erases);
    let peer = |name: &str, figures: Result<Figures, Failed>| (name.to_owned(), cell(&figures, shown));
    Row {
        id: "F3",
        measure: "10,000 updates of 64 keys (2 bytes + 32 bytes): bytes programmed / payload, erases",
        peers: vec![
            peer(Map::<Without, 4>::NAME, figures::<Map<Without, 4>>()),
            peer(Map::<With, 4>::NAME, figures::<Map<With, 4>>()),
            peer(<Ekv as Settings<4>>::NAME, figures::<Ekv>()),
        ],
        goal: "≤ 1.37 (≤ 1.15 in groups of 8) / ≤ 105",
        verdict: Verdict::of(&ours, |it| it.ratio <= 1.37 && it.grouped_ratio <= 1.15 && it.erases <= 105),
        ours: cell(&ours, shown),
    }
}

struct Figures {
    ratio: f64,
    grouped_ratio: f64,
    erases: u64,
}

fn figures<S: Settings<4>>() -> Result<Figures, Failed> {
    let ratio =
        |counts: &Counts| counts.programmed_bytes as f64 / (UPDATES as usize * (2 + VALUE_BYTES)) as f64;
    let (single, grouped) = (work::<S>(1)?, work::<S>(8)?);
    Ok(Figures { ratio: ratio(&single), grouped_ratio: ratio(&grouped), erases: single.all_erases() })
}

/// Updates keys that chance picks, in groups of different keys, and checks every key at the end.
pub(super) fn work<S: Settings<4>>(group: usize) -> Result<Counts, Failed> {
    let flash = CountingFlash::new(BLOCKS);
    S::format(&flash)?;
    let mut settings = S::open(&flash)?;
    flash.reset_counts();
    let mut chance = Chance::new(SEED);
    let mut newest = vec![None; KEYS];
    for first in (0..UPDATES).step_by(group) {
        let mut keys = Vec::with_capacity(group);
        while keys.len() < group {
            let key = chance.below(KEYS) as u16;
            if let Err(place) = keys.binary_search(&key) {
                keys.insert(place, key);
            }
        }
        let values: Vec<_> = (first..).take(group).map(|update| record(update, VALUE_BYTES)).collect();
        let pairs: Vec<_> = keys.iter().copied().zip(values.iter().map(Vec::as_slice)).collect();
        if let [(key, value)] = pairs[..] {
            settings.insert(key, value)?;
        } else {
            settings.insert_all(&pairs)?;
        }
        keys.iter().zip(&values).for_each(|(key, value)| newest[usize::from(*key)] = Some(value.clone()));
        settings.maintain()?;
    }
    let counts = flash.counts();
    for (key, value) in newest.iter().enumerate() {
        if settings.get(key as u16)? != *value {
            return Err(Failed::Said(format!("key {key} does not hold its newest value")));
        }
    }
    Ok(counts)
}

pub(crate) const SEED: u64 = 0xf3;
const UPDATES: u32 = 10_000;
pub(super) const KEYS: usize = 64;
pub(super) const VALUE_BYTES: usize = 32;
