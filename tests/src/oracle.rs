//! What must be true: one function for each promise.
//!
//! ```text
//!   appended   1 2 3 4 5 6 7 8 9          the order in which the store took the records
//!                    │     └ survives a kill
//!                    └ survives power loss     recovery must end somewhere from here to the newest one
//! ```
//!
//! The oracle knows every record by its digest, and every prefix by the chain of its digests: that is also the state that the
//! simulated snapshots hold.

use std::collections::BTreeSet;

use strandline_core::recovery::Refusal;
use strandline_core::types::{Epoch, LogId, Lsn, StoreId};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub promise: &'static str,
    /// How.
    pub detail: String,
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "broken: {}\n        {}", self.promise, self.detail)
    }
}

/// What a check says.
pub type Verdict = Result<(), Violation>;

/// How the store went down since its records were last known to be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Only the process died.
    Kill,
    /// The power went.
    Power,
}

/// A prefix of the log: its records, and the chain of their digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// How many records.
    pub records: u64,
    /// Chain of their digests.
    pub chain: u64,
}

impl State {
    /// The state after one more record.
    #[must_use]
    pub const fn with(self, digest: u64) -> Self {
        Self { records: self.records + 1, chain: mix(self.chain ^ digest.rotate_left(23)) }
    }

    /// LSN of the next record.
    #[must_use]
    pub const fn next(self) -> Lsn {
        Lsn(self.records + 1)
    }
}

/// Everything that a correct store is measured by.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Digest of each record that was taken and not lost.
    digests: Vec<u64>,
    /// The state after each.
    states: Vec<State>,
    /// Records that survive power loss.
    durable: u64,
    /// Records that survive a kill.
    acknowledged: u64,
    /// A sync has failed: what the cache shows may not be there.
    undecided: bool,
    /// How many records a prefix has that ends inside a group.
    inside: BTreeSet<u64>,
    store: Option<(StoreId, Epoch)>,
    begun: BTreeSet<(StoreId, LogId)>,
}

impl Oracle {
    /// The state of all records.
    #[must_use]
    pub fn state(&self) -> State {
        self.states.last().copied().unwrap_or_default()
    }

    /// The state after `records`, if there have been that many.
    #[must_use]
    pub fn state_at(&self, records: u64) -> Option<State> {
        match usize::try_from(records).ok()?.checked_sub(1) {
            None => Some(State::default()),
            Some(at) => self.states.get(at).copied(),
        }
    }

    /// The store took a record.
    pub fn taken(&mut self, lsn: Lsn, payload: &[u8]) -> Verdict {
        let state = self.state();
        if lsn != state.next() {
            return broken("LSNs are dense", format!("append gave {lsn}, expected {}", state.next()));
        }
        self.digests.push(digest(payload));
        self.states.push(state.with(digest(payload)));
        Ok(())
    }

    /// The store took several records, all or nothing.
    pub fn taken_together(&mut self, first: Lsn, payloads: &[&[u8]]) -> Verdict {
        for (lsn, payload) in (first.0..).zip(payloads) {
            if lsn > first.0 {
                self.inside.insert(self.state().records);
            }
            self.taken(Lsn(lsn), payload)?;
        }
        Ok(())
    }

    /// Records before `lsn` were acknowledged.
    pub fn acknowledge(&mut self, lsn: Lsn) -> Verdict {
        let records = lsn.0 - 1;
        if records < self.acknowledged {
            return broken("an acknowledgement is final", format!("{} of {}", records, self.acknowledged));
        }
        self.acknowledged = records;
        Ok(())
    }

    /// Records before `lsn` survive power loss from now on.
    pub fn promise(&mut self, lsn: Lsn) {
        self.durable = self.durable.max(lsn.0 - 1);
    }

    /// Records that survive power loss.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// A sync failed.
    pub fn sync_failed(&mut self) {
        self.undecided = true;
    }

    /// Whether the medium may show other bytes at the next read.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// After a power loss the acknowledgements of lesser promises are void.
    pub fn power_lost(&mut self) {
        self.acknowledged = self.acknowledged.min(self.durable);
        self.undecided = false;
    }

    /// A recovery reported `state`: that is the log now, all of it durable.
    pub fn reopened(&mut self, state: State, store: (StoreId, Epoch)) -> Verdict {
        self.epochs_rise(store)?;
        let records = usize::try_from(state.records).unwrap_or(usize::MAX);
        self.digests.truncate(records);
        self.states.truncate(records);
        self.inside.split_off(&state.records);
        self.durable = state.records;
        self.acknowledged = state.records;
        self.undecided = false;
        self.store = Some(store);
        Ok(())
    }

    /// Segment `log` is begun.
    pub fn begins(&mut self, store: StoreId, log: LogId) -> Verdict {
        self.log_id_is_new(store, log)?;
        self.begun.insert((store, log));
        Ok(())
    }

    /// Never a hole, never a record twice, never a value that nobody wrote: recovery yields this record after `state`.
    pub fn follows(&self, state: State, lsn: Lsn, payload: &[u8]) -> Result<State, Violation> {
        if lsn > state.next() {
            return broken("never a hole", format!("record {lsn} came after {}", state.records));
        }
        if lsn < state.next() {
            return broken("never a record twice", format!("record {lsn} came after {}", state.records));
        }
        let written = usize::try_from(state.records).ok().and_then(|at| self.digests.get(at));
        if written != Some(&digest(payload)) {
            let of = self.digests.len();
            return broken(
                "never a value nobody wrote",
                format!("record {lsn} of {of}, {} bytes", payload.len()),
            );
        }
        Ok(state.with(digest(payload)))
    }

    /// A snapshot that verifies holds a state that was.
    pub fn snapshot_is_true(&self, snapshot: State) -> Verdict {
        if self.state_at(snapshot.records) == Some(snapshot) {
            return Ok(());
        }
        broken("never a value nobody wrote", format!("a snapshot of {} records", snapshot.records))
    }

    /// Nothing that was acknowledged is lost, as the mode promises.
    pub fn nothing_is_lost(&self, loss: Loss, recovered: State) -> Verdict {
        let least = match loss {
            Loss::Kill if !self.undecided => self.acknowledged,
            Loss::Kill | Loss::Power => self.durable,
        };
        if self.inside.contains(&recovered.records) {
            return broken("a group is there or is not", format!("{} records recovered", recovered.records));
        }
        if recovered.records >= least {
            return Ok(());
        }
        let promise = match loss {
            Loss::Kill => "an acknowledged write survives a kill",
            Loss::Power => "a durable write survives power loss",
        };
        broken(promise, format!("{} records recovered, {least} promised", recovered.records))
    }

    /// Running recovery again, or crashing inside it, gives the same answer.
    pub fn same_answer(&self, first: State, again: State) -> Verdict {
        if first == again {
            return Ok(());
        }
        let detail = format!("first {} records, then {}", first.records, again.records);
        broken("recovery again gives the same answer", detail)
    }

    /// A plain crash never keeps a store from starting.
    pub fn it_starts(&self, refusal: Refusal) -> Verdict {
        broken("it starts after a plain crash", format!("{refusal:?}"))
    }

    /// A plain crash leaves nothing that looks like damage.
    pub fn nothing_is_damaged(&self, found: u32) -> Verdict {
        if found == 0 {
            return Ok(());
        }
        broken("a plain crash damages nothing", format!("{found} snapshots or segments are called damaged"))
    }

    /// Damage to settled data is never passed over: what was witnessed is there, or the store refused.
    pub fn damage_is_not_silent(&self, witnessed: Lsn, recovered: State) -> Verdict {
        if recovered.next() >= witnessed {
            return Ok(());
        }
        let detail = format!("{} records recovered, witnessed up to {witnessed}", recovered.records);
        broken("settled damage is never silent", detail)
    }

    /// Epochs are never reused, and a store never becomes another one.
    pub fn epochs_rise(&self, (store, epoch): (StoreId, Epoch)) -> Verdict {
        match self.store {
            Some((known, _)) if known != store => {
                broken("a store stays the same store", "another store id".to_owned())
            }
            Some((_, last)) if last >= epoch => {
                broken("epochs are never reused", format!("{epoch} after {last}"))
            }
            _ => Ok(()),
        }
    }

    /// Log ids are never reused: they are the salt of every checksum.
    pub fn log_id_is_new(&self, store: StoreId, log: LogId) -> Verdict {
        if self.begun.contains(&(store, log)) {
            return broken("log ids are never reused", format!("log {log} is begun again"));
        }
        Ok(())
    }
}

/// A broken promise.
pub fn broken<T>(promise: &'static str, detail: String) -> Result<T, Violation> {
    Err(Violation { promise, detail })
}

/// A digest that no two different payloads of a simulation share, for all that matters here.
#[must_use]
pub fn digest(payload: &[u8]) -> u64 {
    let mut state = payload.len() as u64;
    for chunk in payload.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    state
}

const fn mix(word: u64) -> u64 {
    let mixed = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Oracle {
        let mut oracle = Oracle::default();
        for (lsn, payload) in [(1, b"a"), (2, b"b"), (3, b"c")] {
            oracle.taken(Lsn(lsn), payload).unwrap();
        }
        oracle
    }

    #[test]
    fn holes_repeats_and_foreign_values_are_named() {
        let oracle = three();
        let one = oracle.follows(State::default(), Lsn(1), b"a").unwrap();
        assert_eq!(oracle.follows(one, Lsn(3), b"c").unwrap_err().promise, "never a hole");
        assert_eq!(oracle.follows(one, Lsn(1), b"a").unwrap_err().promise, "never a record twice");
        assert_eq!(oracle.follows(one, Lsn(2), b"x").unwrap_err().promise, "never a value nobody wrote");
        let all = oracle.follows(oracle.follows(one, Lsn(2), b"b").unwrap(), Lsn(3), b"c").unwrap();
        assert_eq!(oracle.follows(all, Lsn(4), b"d").unwrap_err().promise, "never a value nobody wrote");
        assert_eq!(all, oracle.state());
    }

    #[test]
    fn a_prefix_that_ends_inside_a_group_is_none() {
        let mut oracle = three();
        oracle.taken_together(Lsn(4), &[b"d", b"e", b"f"]).unwrap();
        for (records, whole) in [(3, true), (4, false), (5, false), (6, true)] {
            let state = oracle.state_at(records).unwrap();
            assert_eq!(oracle.nothing_is_lost(Loss::Power, state).is_ok(), whole, "{records}");
        }
    }

    #[test]
    fn each_loss_has_its_own_floor() {
        let mut oracle = three();
        oracle.promise(Lsn(2));
        oracle.acknowledge(Lsn(4)).unwrap();
        let [one, two] = [1, 2].map(|records| oracle.state_at(records).unwrap());
        assert!(oracle.nothing_is_lost(Loss::Power, one).is_ok());
        assert!(oracle.nothing_is_lost(Loss::Kill, two).is_err());
        oracle.sync_failed();
        assert!(oracle.nothing_is_lost(Loss::Kill, two).is_ok(), "pages that look clean may go");
        assert!(oracle.nothing_is_lost(Loss::Power, State::default()).is_err());
        assert!(oracle.acknowledge(Lsn(3)).is_err());
    }

    #[test]
    fn a_recovery_cuts_the_history() {
        let mut oracle = three();
        let store = StoreId([1; 16]);
        oracle.begins(store, LogId(1)).unwrap();
        assert!(oracle.begins(store, LogId(1)).is_err());
        let one = oracle.state_at(1).unwrap();
        oracle.reopened(one, (store, Epoch(2))).unwrap();
        assert_eq!((oracle.state(), oracle.durable()), (one, 1));
        assert!(oracle.reopened(one, (store, Epoch(2))).is_err());
        assert!(oracle.reopened(one, (StoreId([2; 16]), Epoch(3))).is_err());
        assert!(oracle.snapshot_is_true(State { records: 1, chain: 5 }).is_err());
    }
}
