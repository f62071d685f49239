//! Logs on simulated NOR flash that lose power, and the oracle that judges every start.
//!
//! ```text
//!  history = boot ─► append ... cut ─► boot ─► append ... cut ─► ... ─► last boot ─► append, boot again
//!                                       └► mount twice, read all, compare with what was acknowledged
//! ```
//!
//! `SEED=n` replays one history. [`soak`] runs many.

mod flash;

pub use flash::{Cut, Flash, Ticks};

use strandline_core::action::Span;
use strandline_core::codec::check::TableCheck;
use strandline_core::lower::nor::{Step, lower};
use strandline_core::media::nor::{
    Ask, Fault, Fetch, Found, Geometry, Log, Mount, Output, Policy, Reader, Refusal, Refused,
};
use strandline_core::types::{Lsn, StoreId};

use crate::chance::Chance;

/// Identity of the simulated stores.
pub const STORE: StoreId = StoreId([0x5a; 16]);

type NorLog = Log<TableCheck, Vec<u8>>;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Power cuts that were survived.
    pub cuts: u64,
    /// Starts that were judged.
    pub states: u64,
    /// Histories that were run.
    pub histories: u64,
    /// Starts that found a record that was not acknowledged.
    pub provisional: u64,
    /// Records that were acknowledged.
    pub records: u64,
    /// Appends that were refused because the ring was full.
    pub full: u64,
    /// Starts at which the oldest records had been given up.
    pub dropped: u64,
    /// What was read back differently.
    pub differences: u64,
    /// The first broken promise, with its seed.
    pub failure: Option<(u64, String)>,
}

/// Runs histories from `seed` on until this many starts after a cut were judged, or a promise was broken.
#[must_use]
pub fn soak(states: u64, seed: u64) -> Summary {
    let mut summary = Summary::default();
    let mut next = seed;
    while summary.cuts < states && summary.failure.is_none() {
        summary.histories += 1;
        if let Err(broken) = history(next, &mut summary) {
            summary.failure = Some((next, broken));
        }
        next += 1;
    }
    summary
}

/// Runs one history.
///
/// # Errors
/// The promise that was broken.
pub fn history(seed: u64, summary: &mut Summary) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let mut world = World::new(Setup::new(&mut chance));
    run(&mut world, &mut chance, summary)
}

/// Runs one history and tells it: every step, and the promise that was broken.
pub fn replay(seed: u64) -> (Vec<String>, Result<(), String>) {
    let mut chance = Chance::new(seed);
    let mut world = World::new(Setup::new(&mut chance));
    world.transcript = Some(Vec::new());
    let verdict = run(&mut world, &mut chance, &mut Summary::default());
    (world.transcript.unwrap_or_default(), verdict)
}

fn run(world: &mut World, chance: &mut Chance, summary: &mut Summary) -> Result<(), String> {
    let setup = world.setup;
    for _ in 0..chance.between(1, 3) {
        let appends = chance.between(1, 24);
        let spread = appends * (80 / setup.geometry.word as usize + 4);
        let before = if chance.one_in(3) { chance.below(spread) } else { chance.below(60) } as u64;
        world.flash.ticks.cut_at = Some(world.flash.ticks.done + before);
        world.live(appends, chance, summary).map_err(|broken| format!("{setup:?}: {broken}"))?;
        world.flash.boot(chance);
        summary.cuts += 1;
    }
    for _ in 0..2 {
        world.live(3, chance, summary).map_err(|broken| format!("{setup:?}: {broken}"))?;
        world.flash.boot(chance);
    }
    Ok(())
}

/// What a history runs on.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Sizes.
    pub geometry: Geometry,
    /// What happens when the ring is full.
    pub policy: Policy,
    /// Bytes lent.
    pub scratch: usize,
    /// Words that come out wrong.
    pub unclean_one_in: Option<usize>,
}

impl Setup {
    fn new(chance: &mut Chance) -> Self {
        let geometry = Geometry {
            word: chance.pick(&[1, 4, 8, 16, 32]),
            block_bytes: chance.pick(&[256, 256, 512, 1024]),
            block_count: chance.pick(&[4, 5, 8]),
        };
        Self {
            geometry,
            policy: chance.pick(&[Policy::DropOldest, Policy::DropOldest, Policy::Reject]),
            scratch: chance.pick(&[256, 512, 2048]),
            unclean_one_in: chance.one_in(4).then_some(40),
        }
    }
}

/// A device and what it was promised.
#[derive(Clone, Debug)]
pub struct World {
    /// What it runs on.
    pub setup: Setup,
    /// The medium.
    pub flash: Flash,
    /// Records that must be there, by LSN - 1.
    acknowledged: Vec<Vec<u8>>,
    /// The record after them that may be there.
    attempted: Option<Vec<u8>>,
    /// The oldest LSN that this boot found.
    oldest: u64,
    /// The oldest LSN that the log may still begin with. A block that was opened for a torn frame gives nothing up.
    certain: u64,
    /// What was done, if it is to be told.
    transcript: Option<Vec<String>>,
}

/// Far more reads than the largest ring has words.
const MOST_READS: usize = 100_000;

enum End {
    Cut,
    Broken(String),
}

impl From<Cut> for End {
    fn from(Cut: Cut) -> Self {
        Self::Cut
    }
}

impl World {
    /// A device with erased flash.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let Geometry { word, block_bytes, block_count } = setup.geometry;
        let mut flash = Flash::new(word as usize, block_bytes as usize, block_count as usize);
        flash.unclean_one_in = setup.unclean_one_in;
        Self {
            setup,
            flash,
            acknowledged: Vec::new(),
            attempted: None,
            oldest: 1,
            certain: 1,
            transcript: None,
        }
    }

    /// One boot: mounts, judges what is there, and appends until the power goes or there is nothing more to append.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn live(&mut self, appends: usize, chance: &mut Chance, summary: &mut Summary) -> Result<(), String> {
        let (mut log, found) = self.start(summary)?;
        for _ in 0..appends {
            match self.append(&mut log, &found, chance, summary) {
                Ok(()) => {}
                Err(End::Cut) => return self.violations(),
                Err(End::Broken(broken)) => return Err(broken),
            }
            if chance.one_in(4) {
                log.maintain(chance.below(600) as u32);
                match self.drain(&mut log, chance, summary) {
                    Ok(()) => {}
                    Err(End::Cut) => return self.violations(),
                    Err(End::Broken(broken)) => return Err(broken),
                }
            }
        }
        self.violations()
    }

    /// Mounts twice, reads everything twice, and compares.
    fn start(&mut self, summary: &mut Summary) -> Result<(NorLog, Vec<Vec<u8>>), String> {
        summary.states += 1;
        let acknowledged = self.acknowledged.len();
        self.tell(|_| format!("boot with {acknowledged} acknowledged"));
        let before = self.flash.ticks.done;
        let first = self.mount()?;
        let found = self.records(&first)?;
        let log = self.mount()?;
        if self.records(&log)? != found {
            return Err("a second mount finds other records".into());
        }
        if self.flash.ticks.done != before {
            return Err("a mount has written".into());
        }
        self.judge(&found, summary)?;
        Ok((log, found.into_iter().map(|(_, record, _)| record).collect()))
    }

    fn judge(&mut self, found: &[(Lsn, Vec<u8>, bool)], summary: &mut Summary) -> Result<(), String> {
        let oldest = found.first().map_or(1, |(lsn, ..)| lsn.0);
        if oldest < self.certain || (self.setup.policy == Policy::Reject && oldest != 1) {
            return Err(format!("the log begins at {oldest}, and began at {}", self.certain));
        }
        summary.dropped += u64::from(oldest > 1);
        self.oldest = oldest;
        for (number, (lsn, record, provisional)) in found.iter().enumerate() {
            if lsn.0 != oldest + number as u64 {
                return Err(format!("record {} of the log has LSN {lsn}: a hole or a duplicate", number + 1));
            }
            let index = (lsn.0 - 1) as usize;
            let wanted = self
                .acknowledged
                .get(index)
                .or_else(|| self.attempted.as_ref().filter(|_| index == self.acknowledged.len()));
            if wanted != Some(record) {
                return Err(format!("LSN {lsn} is a phantom: {record:02x?}, wanted {wanted:02x?}"));
            }
            if *provisional != (number + 1 == found.len()) && *provisional {
                return Err(format!("LSN {lsn} is provisional and not the last"));
            }
        }
        let newest = found.last().map_or(0, |(lsn, ..)| lsn.0);
        if newest < self.acknowledged.len() as u64 {
            return Err(format!("{} records were acknowledged, {newest} are there", self.acknowledged.len()));
        }
        summary.provisional += u64::from(newest > self.acknowledged.len() as u64);
        Ok(())
    }

    fn append(
        &mut self,
        log: &mut NorLog,
        found: &[Vec<u8>],
        chance: &mut Chance,
        summary: &mut Summary,
    ) -> Result<(), End> {
        let record = self.record(log.max_record() as usize, chance);
        for _ in 0..8 {
            match log.append(&record) {
                Ok(lsn) => {
                    self.settle(lsn, found, &record)?;
                    self.drain(log, chance, summary)?;
                    if log.durable() == lsn {
                        self.acknowledged.push(record);
                        self.attempted = None;
                        summary.records += 1;
                    }
                    return Ok(());
                }
                Err(Refused::Busy) => self.drain(log, chance, summary)?,
                Err(Refused::Full) => {
                    summary.full += 1;
                    return match self.setup.policy {
                        Policy::Reject => Ok(()),
                        Policy::DropOldest => Err(End::Broken("a ring that may drop is full".into())),
                    };
                }
                Err(other) => return Err(End::Broken(format!("append: {other:?}"))),
            }
        }
        Err(End::Broken("the log stays busy".into()))
    }

    /// A record was taken: what this boot found before it is now certain, and what it did not find is void.
    fn settle(&mut self, lsn: Lsn, found: &[Vec<u8>], record: &[u8]) -> Result<(), End> {
        let before = (lsn.0 - 1) as usize;
        if before == self.acknowledged.len() + 1
            && let Some(attempted) = self.attempted.take().filter(|record| found.last() == Some(record))
        {
            self.acknowledged.push(attempted);
        }
        if before != self.acknowledged.len() {
            return Err(End::Broken(format!("LSN {lsn} follows {} records", self.acknowledged.len())));
        }
        self.attempted = Some(record.to_vec());
        self.certain = self.oldest;
        Ok(())
    }

    /// Records like counters, erased or burnt bytes, and images of what is on the medium.
    fn record(&self, most: usize, chance: &mut Chance) -> Vec<u8> {
        let len = match chance.below(8) {
            0 => 0,
            1 => most,
            2 => chance.below(most + 1),
            _ => chance.below(most.min(72) + 1),
        };
        let mut record = vec![0; len];
        match chance.below(6) {
            0 => record.fill(0xff),
            1 => {}
            2 => {
                let block = chance.below(self.setup.geometry.block_count as usize);
                let word = self.setup.geometry.word as usize;
                let words = self.setup.geometry.block_bytes as usize - len;
                let from = chance.below(words / word + 1) * word;
                record.copy_from_slice(self.flash.read(block, from, len));
            }
            3 => {
                chance.fill(&mut record);
                let from = chance.below(len + 1);
                record[from..].fill(0xff);
            }
            _ => chance.fill(&mut record),
        }
        record
    }

    fn drain(&mut self, log: &mut NorLog, chance: &mut Chance, summary: &mut Summary) -> Result<(), End> {
        for _ in 0..1000 {
            let Output::Do(id, request) = log.poll() else { return Ok(()) };
            let mut result = Ok(());
            for step in lower(request, self.setup.geometry) {
                self.tell(|ticks| format!("{step:?} at {ticks:?}"));
                let (block, offset, bytes) = match step {
                    Step::Erase { block } => {
                        self.flash.erase(block as usize, chance)?;
                        continue;
                    }
                    Step::Program { block, offset, bytes } => (block, offset, bytes),
                    Step::Verify { block, offset, bytes } => {
                        let there = self.flash.read(block as usize, offset as usize, bytes.len as usize);
                        if there != log.bytes(bytes) {
                            summary.differences += 1;
                            result = Err(Fault::Differs);
                        }
                        continue;
                    }
                    Step::Read { block, offset, bytes } => {
                        let fetch = Fetch { block, offset, bytes };
                        log.window_mut(fetch).copy_from_slice(self.read(fetch));
                        continue;
                    }
                };
                let bytes = log.bytes(bytes).to_vec();
                self.flash.program(block as usize, offset as usize, &bytes, chance)?;
            }
            log.complete(id, result);
            if log.is_halted() {
                return Err(End::Broken("the log has halted".into()));
            }
        }
        Err(End::Broken("the log never idles".into()))
    }

    fn read(&self, fetch: Fetch) -> &[u8] {
        self.flash.read(fetch.block as usize, fetch.offset as usize, fetch.bytes.len as usize)
    }

    /// Mounts what is there.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn try_mount(&self) -> Result<NorLog, Refusal> {
        let Setup { geometry, policy, scratch, .. } = self.setup;
        let mut mount = Mount::new(geometry, STORE, policy, vec![0; scratch]);
        let mut reads = 0;
        loop {
            match mount.poll() {
                Ask::Read(fetch) => {
                    reads += 1;
                    assert!(reads < MOST_READS, "a mount reads for ever");
                    let bytes = self.read(fetch);
                    mount.window_mut(fetch).copy_from_slice(bytes);
                    mount.filled(Ok(()));
                }
                Ask::Done => return Ok(mount.finish().expect("a mount that is done finishes")),
                Ask::Refuse(refusal) => return Err(refusal),
            }
        }
    }

    fn mount(&self) -> Result<NorLog, String> {
        self.try_mount().map_err(|refusal| format!("refused after a plain cut: {refusal:?}"))
    }

    /// All records, and whether each is provisional.
    ///
    /// # Errors
    /// The damage that was found.
    pub fn records(&self, log: &NorLog) -> Result<Vec<(Lsn, Vec<u8>, bool)>, String> {
        let mut reader: Reader = log.reader();
        let mut scratch = vec![0; self.setup.scratch];
        let mut found = Vec::new();
        let mut reads = 0;
        loop {
            match reader.next::<TableCheck>(&mut scratch) {
                Found::Read(fetch) => {
                    reads += 1;
                    assert!(reads < MOST_READS, "a reader reads for ever");
                    let Span { start, len, .. } = fetch.bytes;
                    scratch[start as usize..(start + len) as usize].copy_from_slice(self.read(fetch));
                    reader.filled();
                }
                Found::Record { lsn, payload, provisional } => {
                    found.push((lsn, payload.to_vec(), provisional))
                }
                Found::End => return Ok(found),
                other => return Err(format!("the log can't be read: {other:?}")),
            }
        }
    }

    fn tell(&mut self, line: impl FnOnce(Ticks) -> String) {
        if let Some(lines) = &mut self.transcript {
            lines.push(line(self.flash.ticks));
        }
    }

    fn violations(&mut self) -> Result<(), String> {
        self.flash.violations.pop().map_or(Ok(()), Err)
    }
}
