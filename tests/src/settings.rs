//! A settings map on simulated NOR flash that loses power, and the oracle that judges every start.
//!
//! ```text
//!  start ─► the map is what was acknowledged, or that and updates that a cut interrupted ─► insert, remove ... cut ─► start
//! ```
//!
//! `SEED=n` replays one history.

use std::collections::BTreeMap;

use strandline_core::codec::check::TableCheck;
use strandline_core::kv::Error;
use strandline_core::kv::asynch::Kv;
use strandline_core::media::nor::asynch::Port;
use strandline_core::media::nor::{self, Geometry};

use crate::chance::Chance;
use crate::nor::{Cut, End, Flash, Powered, STORE};

/// Bytes of the map under test: some updates find it full.
const BYTES: usize = 150;

type Map = Kv<TableCheck, BYTES>;
type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Power cuts that were survived.
    pub cuts: u64,
    /// Updates that were acknowledged.
    pub updates: u64,
    /// Updates that found the map full.
    pub full: u64,
    /// Starts that found an update that a cut had interrupted.
    pub provisional: u64,
    /// Snapshots that updates took.
    pub snapshots: u64,
}

/// A device with a map, and what it was promised.
#[derive(Clone, Debug)]
pub struct World {
    geometry: Geometry,
    scratch: usize,
    /// The medium.
    pub flash: Flash,
    /// What was acknowledged.
    sure: State,
    /// What may be there instead.
    maybe: Vec<State>,
}

/// Runs one history of several starts.
///
/// # Errors
/// The promise that was broken.
pub fn history(seed: u64, summary: &mut Summary) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let word = chance.pick(&[1, 4, 4, 8, 16, 32]);
    let mut world =
        World::new(word, chance.pick(&[256, 512]), chance.pick(&[7, 8, 11]), chance.pick(&[256, 300, 512]));
    for _ in 0..chance.between(1, 6) {
        let before = chance.below(600) as u64;
        world.flash.ticks.cut_at = Some(world.flash.ticks.done + before);
        world.live(60, &mut chance, summary)?;
        world.flash.boot(&mut chance);
        summary.cuts += 1;
    }
    world.live(3, &mut chance, summary)?;
    world.flash.boot(&mut chance);
    world.live(0, &mut chance, summary)
}

impl World {
    /// A device with erased flash.
    ///
    /// # Panics
    /// The sizes can't be used.
    #[must_use]
    pub fn new(word: u32, block_bytes: u32, block_count: u32, scratch: usize) -> Self {
        let geometry = Geometry::new(word, block_bytes, block_count).expect("sizes that can be used");
        let flash = Flash::new(word as usize, block_bytes as usize, block_count as usize);
        Self { geometry, scratch, flash, sure: State::new(), maybe: Vec::new() }
    }

    /// One boot: opens, compares, and updates until the power goes or all is done.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn live(&mut self, updates: usize, chance: &mut Chance, summary: &mut Summary) -> Result<(), String> {
        let (before, geometry) = (self.flash.ticks.done, self.geometry);
        let opened = self.drive(chance, async |port| Map::open(port, geometry, STORE).await);
        let Ok(opened) = opened else { return Err("opening has written".into()) };
        let mut map = opened.map_err(|error| format!("refused after a plain cut: {error:?}"))?;
        if self.flash.ticks.done != before {
            return Err("opening has written".into());
        }
        let mut now = state(&map);
        if now != self.sure {
            if !self.maybe.contains(&now) {
                return Err(format!("found {now:02x?}, acknowledged {:02x?}", self.sure));
            }
            summary.provisional += 1;
        }
        for _ in 0..updates {
            match self.update(&mut map, &mut now, chance, summary) {
                Err(Cut) => break,
                Ok(done) => done?,
            }
        }
        self.flash.violations.pop().map_or(Ok(()), Err)
    }

    fn update(
        &mut self,
        map: &mut Map,
        now: &mut State,
        chance: &mut Chance,
        summary: &mut Summary,
    ) -> Result<Result<(), String>, Cut> {
        if chance.one_in(6) {
            let within = chance.clone().below(500) as u32;
            let kept = self.drive(chance, async |port| map.maintain(port, within).await)?;
            return Ok(kept.map_err(|error| format!("maintain: {error:?}")));
        }
        let mut wanted = now.clone();
        let pairs: Vec<(Vec<u8>, Vec<u8>)> = (0..chance.pick(&[1, 1, 1, 3])).map(|_| pair(chance)).collect();
        let removes = chance.one_in(5);
        if removes {
            wanted.remove(&pairs[0].0);
        } else {
            wanted.extend(pairs.iter().cloned());
        }
        self.maybe.push(wanted.clone());
        let erased = self.flash.ticks.done;
        let done = if removes {
            self.drive(chance, async |port| map.remove(port, &pairs[0].0).await)?.map(|was| {
                assert_eq!(was, now.contains_key(&pairs[0].0));
            })
        } else {
            let lent: Vec<(&[u8], &[u8])> = pairs.iter().map(|(key, value)| (&key[..], &value[..])).collect();
            self.drive(chance, async |port| map.insert_all(port, &lent).await)?
        };
        // More words than an update has: a snapshot was among them.
        let words = (2 * BYTES) as u64 / u64::from(self.geometry.word());
        summary.snapshots += u64::from(self.flash.ticks.done - erased > words.max(8));
        match done {
            Ok(()) => {
                summary.updates += 1;
                // What was there already was not written.
                let written = self.flash.ticks.done != erased;
                *now = wanted;
                if written {
                    self.sure = now.clone();
                    self.maybe.clear();
                }
            }
            Err(Error::Full | Error::Log(nor::Error::TooLarge { .. })) => {
                summary.full += 1;
                self.maybe.pop();
            }
            Err(error) => return Ok(Err(format!("update: {error:?}"))),
        }
        Ok(if state(map) == *now { Ok(()) } else { Err(format!("{:02x?} is not {now:02x?}", state(map))) })
    }

    fn drive<T>(
        &mut self,
        chance: &mut Chance,
        operation: impl AsyncFnOnce(&mut Port<'_, Powered<'_>>) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, Cut> {
        let mut scratch = vec![0; self.scratch];
        match Powered::new(&mut self.flash, chance, false, None).run(&mut scratch, operation) {
            Ok(done) => Ok(done),
            Err(End::Broken(_)) => Ok(Err(Error::Log(nor::Error::Medium))),
            Err(End::Cut | End::Dropped) => Err(Cut),
        }
    }
}

fn state(map: &Map) -> State {
    map.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// Few keys, so that they are updated and removed; values of bytes that flash likes to confuse.
fn pair(chance: &mut Chance) -> (Vec<u8>, Vec<u8>) {
    let key = vec![b'k'; chance.between(1, 6)];
    let mut value = vec![0xff; chance.below(24)];
    if chance.one_in(2) {
        chance.fill(&mut value);
    }
    (key, value)
}
