//! F10: two power cuts in a row, and what is left then.
//!
//! ```text
//!  used part ─► open, write … ⚡ ─► open, write … ⚡ ─► open ─► check ─► write ─► open ─► check again
//!               └─ anywhere ─┘      └ soon after ─┘
//! ```
//!
//! A history is bad if an acknowledged write is gone, if something is read that nobody wrote, if the part can't be opened or
//! written any more, or if what is written after the cuts does not come back. A write that was not acknowledged may be there
//! or not. The second cut often comes within a few words of the first, where repair is at work.

mod log;
mod settings;

use core::fmt;
use core::ops::AddAssign;
use core::panic::AssertUnwindSafe;
use std::panic;

use crate::chance::Chance;
use crate::flash::Settings as Asked;
use crate::flash::medium::{CountingFlash, Cut};
use crate::flash::ours;
use crate::flash::peers::ekv::Ekv;
use crate::flash::peers::sequential::{Map, Queue, Without};
use crate::flash::subject::{Failed, Settings};
use crate::table::{Row, Verdict, cell};

/// F10.
pub(crate) fn survived(asked: &Asked) -> Row {
    // Subjects that meet what they did not expect may panic: that is counted, not shown.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let ours = all_words(asked, Kind::Ours);
    let queue = all_words(asked, Kind::Queue);
    let map = all_words(asked, Kind::Map);
    let ekv = settings::campaign::<Ekv, 4>(asked);
    panic::set_hook(hook);
    let peer = |name: &str, tally: Result<Tally, Failed>| (name.to_owned(), cell(&tally, Tally::to_string));
    Row {
        id: "F10",
        measure: "double power cuts, torn words and erases, words of 1, 4, 8, 16 and 32 bytes (ekv: 4): bad histories; \
                  ours at full depth: `soak -- nor`",
        peers: vec![
            peer("sequential-storage queue", queue),
            peer("sequential-storage map", map),
            peer(<Ekv as Settings<4>>::NAME, ekv),
        ],
        goal: "0 bad",
        verdict: Verdict::of(&ours, |tally| tally.bad() == 0),
        ours: cell(&ours, Tally::to_string),
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Ours,
    Queue,
    Map,
}

fn all_words(asked: &Asked, kind: Kind) -> Result<Tally, Failed> {
    let mut tally = Tally::default();
    tally += one_word::<1>(asked, kind)?;
    tally += one_word::<4>(asked, kind)?;
    tally += one_word::<8>(asked, kind)?;
    tally += one_word::<16>(asked, kind)?;
    tally += one_word::<32>(asked, kind)?;
    Ok(tally)
}

fn one_word<const W: usize>(asked: &Asked, kind: Kind) -> Result<Tally, Failed> {
    match kind {
        Kind::Queue => log::campaign::<Queue<Without, W>, W>(asked),
        Kind::Map => settings::campaign::<Map<Without, W>, W>(asked),
        Kind::Ours => {
            let mut tally = log::campaign::<ours::Log<W>, W>(asked)?;
            tally += settings::campaign::<ours::Settings<W>, W>(asked)?;
            Ok(tally)
        }
    }
}

/// How histories ended.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    histories: u64,
    lost: u64,
    invented: u64,
    unusable: u64,
    /// Word and seed of the first bad history: `F10 --histories 1 --seed N` replays it.
    first_bad: Option<(usize, u64)>,
}

impl Tally {
    const fn bad(&self) -> u64 {
        self.lost + self.invented + self.unusable
    }

    fn count<const W: usize>(&mut self, seed: u64, end: End) {
        self.histories += 1;
        match end {
            End::Good => return,
            End::Lost => self.lost += 1,
            End::Invented => self.invented += 1,
            End::Unusable => self.unusable += 1,
        }
        self.first_bad.get_or_insert((W, seed));
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.lost += other.lost;
        self.invented += other.invented;
        self.unusable += other.unusable;
        self.first_bad = self.first_bad.or(other.first_bad);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, lost, invented, unusable, .. } = self;
        write!(
            f,
            "{} of {histories} ({lost} lost, {invented} wrong or out of order, {unusable} unusable)",
            self.bad()
        )?;
        self.first_bad
            .map_or(Ok(()), |(word, seed)| write!(f, ", the first at words of {word}, seed {seed:#x}"))
    }
}

/// How one history ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Good,
    /// An acknowledged write is gone.
    Lost,
    /// Something is read that nobody wrote, or not in this place.
    Invented,
    /// An error, or a panic, where the power was on.
    Unusable,
}

/// What a subject does between two cuts, and what must hold then.
trait History<const W: usize> {
    /// Opens and writes until the power goes, or for long enough.
    fn write(&mut self, flash: &CountingFlash<W>) -> Result<(), Failed>;

    /// Opens and compares.
    fn check(&mut self, flash: &CountingFlash<W>) -> Result<End, Failed>;

    /// Opens and writes a little, with the power on.
    fn write_on(&mut self, flash: &CountingFlash<W>) -> Result<(), Failed>;
}

fn run<H: History<W>, const W: usize>(mut history: H, flash: &CountingFlash<W>, chance: &mut Chance) -> End {
    let words_of_a_block = 4096 / W;
    for nth in 0..CUTS {
        let far = nth == 0 || chance.one_in(4);
        let reach = if far { words_of_a_block * 5 / 4 } else { 64 };
        flash.cut(Cut { after_steps: chance.below(reach) as u64, chance: chance.split() });
        let written = panic::catch_unwind(AssertUnwindSafe(|| history.write(flash)));
        if !flash.is_off() && !matches!(written, Ok(Ok(()))) {
            return End::Unusable;
        }
        flash.boot();
    }
    let left = panic::catch_unwind(AssertUnwindSafe(|| {
        let end = history.check(flash)?;
        if end != End::Good {
            return Ok(end);
        }
        history.write_on(flash)?;
        history.check(flash)
    }));
    match left {
        Ok(Ok(end)) => end,
        Ok(Err(Failed::Said(_) | Failed::NotBuilt)) | Err(_) => End::Unusable,
    }
}

/// The first history's seed.
pub(crate) const SEED: u64 = 0xf10_0000;
const CUTS: usize = 2;
/// Parts that histories begin with, used for different lengths of time.
const STAGES: u32 = 8;
