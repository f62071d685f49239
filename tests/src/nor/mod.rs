//! Logs on simulated NOR flash that lose power, and the oracle that judges every start.
//!
//! ```text
//!  history = boot ─► append, trim, snapshot ... cut ─► boot ─► ... cut ─► ... ─► last boot ─► append, boot again
//!                                                       └► mount twice, read all, compare with what was acknowledged
//! ```
//!
//! `SEED=n` replays one history. [`soak`] runs many. A broken promise is told as `promise: how`.

mod flash;
mod oracle;
mod power;
mod script;
mod summary;

pub use flash::{Cut, Faults, Flash, Ticks};
pub use oracle::Found;
use oracle::found;
use power::Watched;
pub(crate) use power::{End, Powered};
pub use script::{Script, minimise, promise, replay, report, soak};
pub use summary::Summary;

use strandline_core::codec::check::TableCheck;
use strandline_core::media::nor::asynch::{Log, Port};
use strandline_core::media::nor::{Error, Geometry, Options, Policy};
use strandline_core::types::{Lsn, StoreId};

use crate::chance::Chance;

/// Identity of the simulated stores.
pub const STORE: StoreId = StoreId([0x5a; 16]);

/// The log under test.
pub type NorLog = Log<TableCheck>;

/// What a history runs on.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Sizes.
    pub geometry: Geometry,
    /// How the log behaves.
    pub options: Options,
    /// Bytes lent.
    pub scratch: usize,
    /// Words that come out wrong.
    pub unclean_one_in: Option<usize>,
    /// Whether torn words may be unreadable.
    pub checks_words: bool,
    /// Whether snapshots and trims are written.
    pub snapshots: bool,
    /// A part outside the model, that forgets one in so many words at a boot: for tests of the simulation itself.
    pub forgets_one_in: Option<usize>,
}

impl Setup {
    fn new(chance: &mut Chance) -> Self {
        loop {
            let word = chance.pick(&[1, 4, 4, 8, 16, 32, 256]);
            let block_bytes = if word == 256 { 4096 } else { chance.pick(&[256, 256, 512, 1024]) };
            let Ok(geometry) = Geometry::new(word, block_bytes, chance.pick(&[3, 4, 5, 7, 8])) else {
                continue;
            };
            let policy = chance.pick(&[
                Policy::DropOldest,
                Policy::DropOldest,
                Policy::Reject,
                Policy::AskForSnapshot,
            ]);
            let scratch = if word == 256 { 4096 } else { chance.pick(&[256, 512, 2048]) };
            let options = Options { policy, reserve: chance.pick(&[0, 0, 1, 2]) };
            let snapshots = u32::from(options.reserve).max(u32::from(policy == Policy::AskForSnapshot));
            if geometry.block_count() < 2 * snapshots + 3 {
                continue;
            }
            return Self {
                geometry,
                options,
                scratch,
                unclean_one_in: chance.one_in(4).then_some(40),
                checks_words: word >= 4 && chance.one_in(3),
                snapshots: chance.one_in(2),
                forgets_one_in: None,
            };
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
    /// Lent to operations.
    scratch: Vec<u8>,
    /// Records that were acknowledged, by LSN - 1.
    acknowledged: Vec<Vec<u8>>,
    /// What may stand behind them, instead of nothing.
    maybe: Vec<Vec<Vec<u8>>>,
    /// What this boot found behind them, until a write vouches for it.
    suffix: Vec<Vec<u8>>,
    /// Records from this LSN on were not given up by a trim.
    kept: u64,
    /// The oldest record after the newest trim that was acknowledged: none before it comes back.
    trimmed: u64,
    /// The base of the newest snapshot that was acknowledged, the one that this boot found, and all that may be there.
    base: Option<u64>,
    found_base: Option<u64>,
    states: Vec<(u64, Vec<u8>)>,
    /// Cuts and dropped operations, and the starts after the first of them.
    interruptions: u64,
    /// In which things of a script the power went, and after how many words and erases of each.
    cuts: Vec<(usize, u64)>,
    /// What was done, if it is to be told.
    transcript: Option<Vec<String>>,
}

fn broken<T>(text: impl Into<String>) -> Result<T, End> {
    Err(End::Broken(text.into()))
}

impl World {
    /// A device with erased flash.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let geometry = setup.geometry;
        let mut flash = Flash::new(
            geometry.word() as usize,
            geometry.block_bytes() as usize,
            geometry.block_count() as usize,
        );
        flash.unclean_one_in = setup.unclean_one_in;
        flash.checks_words = setup.checks_words;
        flash.forgets_one_in = setup.forgets_one_in;
        Self {
            setup,
            flash,
            scratch: vec![0; setup.scratch],
            acknowledged: Vec::new(),
            maybe: Vec::new(),
            suffix: Vec::new(),
            kept: 1,
            trimmed: 1,
            base: None,
            found_base: None,
            states: Vec::new(),
            interruptions: 0,
            cuts: Vec::new(),
            transcript: None,
        }
    }

    /// One boot: mounts, judges what is there, and writes until the power goes or there is nothing more to write.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn live(&mut self, writes: usize, chance: &mut Chance, summary: &mut Summary) -> Result<(), String> {
        let mut log = Some(self.start(summary)?);
        for number in 0..writes {
            self.one_write(&mut log, number % 3 == 0, chance, summary)?;
        }
        self.end(summary)
    }

    /// Writes something, if the power is on; compares what is read then, if it is to be compared.
    fn one_write(
        &mut self,
        log: &mut Option<NorLog>,
        compares: bool,
        chance: &mut Chance,
        summary: &mut Summary,
    ) -> Result<(), String> {
        let Some(on) = log else { return Ok(()) };
        match self.write(on, chance, summary) {
            Ok(()) if compares => self.check_now(on),
            Ok(()) => Ok(()),
            Err(End::Cut) => {
                self.tell(|_| "POWER LOSS".into());
                self.interruptions += 1;
                *log = None;
                Ok(())
            }
            Err(End::Dropped) => {
                summary.interrupted += 1;
                self.interruptions += 1;
                *log = Some(self.start(summary)?);
                Ok(())
            }
            Err(End::Broken(broken)) => Err(broken),
        }
    }

    /// The end of a boot: no rule of the medium was broken.
    fn end(&mut self, summary: &mut Summary) -> Result<(), String> {
        summary.differences += core::mem::take(&mut self.flash.wrong);
        self.flash.violations.pop().map_or(Ok(()), Err)
    }

    fn write(&mut self, log: &mut NorLog, chance: &mut Chance, summary: &mut Summary) -> Result<(), End> {
        match chance.below(if self.setup.snapshots { 12 } else { 8 }) {
            0 | 1 => self.maintain(log, chance),
            2 => self.append(log, chance.between(2, 5), chance, summary),
            8 => self.trim(log, chance, summary),
            9 => self.snapshot(log, chance, summary),
            _ => self.append(log, 1, chance, summary),
        }
    }

    /// Mounts twice, reads everything twice, and compares.
    fn start(&mut self, summary: &mut Summary) -> Result<NorLog, String> {
        summary.states += 1;
        let acknowledged = self.acknowledged.len();
        self.interruptions += u64::from(self.interruptions > 0);
        self.tell(|_| format!("boot with {acknowledged} acknowledged"));
        let before = self.flash.ticks.done;
        let refused = |error| format!("it starts after a plain cut: {error:?}");
        let first = self.mount().map_err(refused)?;
        let found = self.read(&first)?;
        let log = self.mount().map_err(refused)?;
        if self.read(&log)? != found {
            return Err("a second mount finds the same: other records".into());
        }
        self.check_backward(&log, &found)?;
        if self.flash.ticks.done != before {
            return Err("mounting writes nothing: it has".into());
        }
        let lsns: Vec<_> = found.records.iter().map(|(lsn, ..)| *lsn).collect();
        self.tell(|_| format!("  found {lsns:?}, the next is {}", log.next_lsn()));
        self.judge(&found, log.next_lsn().0, summary)?;
        Ok(log)
    }

    fn append(
        &mut self,
        log: &mut NorLog,
        count: usize,
        chance: &mut Chance,
        summary: &mut Summary,
    ) -> Result<(), End> {
        let most = self.setup.geometry.max_record(self.setup.scratch) as usize;
        let records: Vec<Vec<u8>> = (0..count).map(|_| self.record(most / count, chance)).collect();
        let mut all = self.suffix.clone();
        all.extend_from_slice(&records);
        let before = self.maybe.len();
        self.maybe.push(all);
        let lent: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        self.tell(|_| format!("append {:?}", lent.iter().map(|record| record.len()).collect::<Vec<_>>()));
        match self.drive(chance, async |port| log.append_all(port, &lent).await)? {
            Ok(lsn) => {
                self.acknowledge(&records);
                summary.records += count as u64;
                match lsn.0 == self.acknowledged.len() as u64 && log.durable() == lsn {
                    true => Ok(()),
                    false => broken(format!(
                        "LSNs are dense: {lsn} was given to record {}",
                        self.acknowledged.len()
                    )),
                }
            }
            Err(Error::Full | Error::NeedsSnapshot) => {
                self.maybe.truncate(before);
                summary.full += 1;
                self.make_room(log, chance, summary)
            }
            Err(Error::TooLarge { .. }) if count > 1 => {
                self.maybe.truncate(before);
                Ok(())
            }
            Err(error) => broken(format!("what is asked for is done: append, {error:?}")),
        }
    }

    /// A full log is never stuck.
    fn make_room(&mut self, log: &mut NorLog, chance: &mut Chance, summary: &mut Summary) -> Result<(), End> {
        if self.base.is_none() && self.found_base.is_none() {
            if self.setup.options.policy == Policy::DropOldest {
                return broken("a ring that may drop is never full: it is");
            }
            if !self.setup.snapshots {
                return Ok(());
            }
            let next = log.next_lsn();
            self.trim_before(log, next, chance, summary)?;
        } else {
            self.snapshot(log, chance, summary)?;
            if self.base != Some(log.next_lsn().0 - 1) {
                return Ok(());
            }
        }
        if self.interruptions > 0 || self.is_small() {
            return Ok(());
        }
        let mut all = self.suffix.clone();
        all.push(vec![7]);
        self.maybe.push(all);
        match self.drive(chance, async |port| log.append(port, &[7]).await)? {
            Ok(_) => self.acknowledge(&[vec![7]]),
            Err(error) => {
                return broken(format!("a full log is never stuck: room was made, and still {error:?}"));
            }
        }
        Ok(())
    }

    /// In the smallest blocks one repair fills what is kept for it.
    fn is_small(&self) -> bool {
        let geometry = self.setup.geometry;
        geometry.block_bytes() < 512 || geometry.word() > 8
    }

    fn trim(&mut self, log: &mut NorLog, chance: &mut Chance, summary: &mut Summary) -> Result<(), End> {
        let next = log.next_lsn().0;
        let before = if chance.one_in(2) { next } else { 1 + chance.below(next as usize) as u64 };
        self.trim_before(log, Lsn(before), chance, summary)
    }

    fn trim_before(
        &mut self,
        log: &mut NorLog,
        before: Lsn,
        chance: &mut Chance,
        summary: &mut Summary,
    ) -> Result<(), End> {
        let Lsn(before) = before;
        self.tell(|_| format!("trim before {before}"));
        self.kept = self.kept.max(before);
        let small = self.is_small();
        match self.drive(chance, async |port| log.trim(port, Lsn(before)).await)? {
            Ok(oldest) => {
                summary.trims += 1;
                self.trimmed = oldest.0;
                Ok(())
            }
            // Each cut in a write that makes room takes some of what is kept for it.
            Err(Error::Full | Error::NeedsSnapshot) if self.interruptions > 1 || small => Ok(()),
            Err(error) => broken(format!("what is asked for is done: trim, {error:?}")),
        }
    }

    fn snapshot(&mut self, log: &mut NorLog, chance: &mut Chance, summary: &mut Summary) -> Result<(), End> {
        let blocks = chance.between(1, 3) as u32;
        self.tell(|_| format!("snapshot of {blocks} blocks"));
        let mut snapshot = match self.drive(chance, async |port| log.begin_snapshot(port, blocks).await)? {
            Ok(snapshot) => snapshot,
            Err(Error::Full | Error::NeedsSnapshot | Error::TooFewBlocks { .. }) => return Ok(()),
            Err(error) => return broken(format!("what is asked for is done: begin a snapshot, {error:?}")),
        };
        self.acknowledge(&[]);
        let base = snapshot.base().0;
        let mut state = Vec::new();
        for _ in 0..chance.below(4) {
            let mut bytes = vec![0; chance.below(160)];
            chance.fill(&mut bytes);
            match self.drive(chance, async |port| log.write_snapshot(port, &mut snapshot, &bytes).await)? {
                Ok(()) => state.extend_from_slice(&bytes),
                Err(Error::Full | Error::NeedsSnapshot | Error::Abandoned | Error::TooFewBlocks { .. }) => {
                    return Ok(());
                }
                Err(error) => {
                    return broken(format!("what is asked for is done: write a snapshot, {error:?}"));
                }
            }
            if chance.one_in(4) {
                self.append(log, 1, chance, &mut Summary::default())?;
            }
        }
        if chance.one_in(8) {
            return Ok(());
        }
        self.states.push((base, state));
        match self.drive(chance, async |port| log.commit_snapshot(port, snapshot).await)? {
            Ok(()) => {
                summary.snapshots += 1;
                self.base = Some(base);
                self.found_base = Some(base);
                Ok(())
            }
            Err(Error::Full | Error::NeedsSnapshot | Error::Abandoned | Error::TooFewBlocks { .. }) => {
                self.states.pop();
                Ok(())
            }
            Err(error) => broken(format!("what is asked for is done: commit a snapshot, {error:?}")),
        }
    }

    fn maintain(&mut self, log: &mut NorLog, chance: &mut Chance) -> Result<(), End> {
        let within = chance.below(600) as u32;
        self.tell(|_| format!("maintain {within}"));
        match self.drive(chance, async |port| log.maintain(port, within).await)? {
            Ok(()) => Ok(()),
            Err(error) => broken(format!("what is asked for is done: maintain, {error:?}")),
        }
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
                let geometry = self.setup.geometry;
                let block = chance.below(geometry.block_count() as usize);
                let word = geometry.word() as usize;
                let words = geometry.block_bytes() as usize - len;
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

    /// Runs an operation on the medium until it is over, the power goes, or it is dropped.
    fn drive<T>(
        &mut self,
        chance: &mut Chance,
        operation: impl AsyncFnOnce(&mut Port<'_, Powered<'_>>) -> T,
    ) -> Result<T, End> {
        let drops = self.setup.unclean_one_in.is_none();
        let transcript = self.transcript.as_mut();
        Powered::new(&mut self.flash, chance, drops, transcript).run(&mut self.scratch, operation)
    }

    /// Runs an operation that only reads.
    fn look<T>(&self, operation: impl AsyncFnOnce(&mut Port<'_, Watched<'_>>) -> T) -> T {
        let mut scratch = vec![0; self.setup.scratch];
        Watched::new(&self.flash).run(&mut scratch, operation)
    }

    /// Erases the partition for an empty log; false if the power went.
    ///
    /// # Errors
    /// What the medium says to it.
    pub fn format(&mut self, chance: &mut Chance) -> Result<bool, String> {
        let Setup { geometry, options, .. } = self.setup;
        match self.drive(chance, async |port| NorLog::format(port, geometry, STORE, options).await) {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) => Err(format!("formatting: {error:?}")),
            Err(End::Broken(broken)) => Err(broken),
            Err(End::Cut | End::Dropped) => Ok(false),
        }
    }

    /// Mounts what is there.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn mount(&self) -> Result<NorLog, Error> {
        let Setup { geometry, options, .. } = self.setup;
        self.look(async |port| NorLog::mount(port, geometry, STORE, options).await)
    }

    /// The snapshot and all records behind it.
    ///
    /// # Errors
    /// The damage that was found.
    pub fn read(&self, log: &NorLog) -> Result<Found, String> {
        self.look(async |port| found(log, port).await)
            .map_err(|error| format!("what was mounted is read: {error:?}"))
    }

    fn tell_scar(&mut self) {
        let scar = self.flash.scar().map_or(String::new(), |scar| format!(": {scar}"));
        self.tell(|_| format!("the power is back{scar}"));
    }

    fn tell(&mut self, line: impl FnOnce(Ticks) -> String) {
        if let Some(lines) = &mut self.transcript {
            lines.push(line(self.flash.ticks));
        }
    }
}
