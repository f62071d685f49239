//! Which record a reply must wait for, although its command only read.
//!
//! ```text
//!  key ─ hash ─► one of 4096 slots ─► the newest record that wrote a key of this slot
//! ```
//!
//! A read must not show what a crash could still take back: if the newest record of its slot is not acknowledged yet,
//! the reply waits for it. Keys that share a slot share the wait, which costs a moment and never an answer.

/// The newest records, by slot of keys.
#[derive(Debug)]
pub(super) struct Seen {
    slots: Box<[u64]>,
    /// The newest record that changed all keys.
    everything: u64,
    /// The newest record.
    newest: u64,
}

impl Seen {
    /// `newest` is the last record of an earlier run: all are acknowledged.
    pub(super) fn new(newest: u64) -> Self {
        Self { slots: vec![0; SLOTS].into(), everything: 0, newest }
    }

    /// The newest record.
    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    /// A record changed keys of these hashes.
    pub(super) fn wrote(&mut self, lsn: u64, hashes: impl Iterator<Item = u64>) {
        self.newest = lsn;
        for hash in hashes {
            self.slots[slot(hash)] = lsn;
        }
    }

    /// A record changed all keys.
    pub(super) const fn wrote_everything(&mut self, lsn: u64) {
        self.newest = lsn;
        self.everything = lsn;
    }

    /// The newest record that may have written one of these keys.
    pub(super) fn of(&self, hashes: impl Iterator<Item = u64>) -> u64 {
        hashes.map(|hash| self.slots[slot(hash)]).fold(self.everything, u64::max)
    }
}

/// The hash table takes the topmost bits, so that these are drawn from lower ones.
fn slot(hash: u64) -> usize {
    usize::try_from(hash >> 20 & (SLOTS as u64 - 1)).unwrap_or(0)
}

const SLOTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_the_newest_record_of_its_keys_and_for_no_other() {
        let mut seen = Seen::new(10);
        let [a, b] = [1 << 20, 2 << 20];
        assert_eq!(seen.of([a, b].into_iter()), 0);
        seen.wrote(11, [a].into_iter());
        seen.wrote(12, [b].into_iter());
        assert_eq!((seen.of([a].into_iter()), seen.of([b].into_iter())), (11, 12));
        assert_eq!((seen.of([a, b].into_iter()), seen.of([3 << 20].into_iter())), (12, 0));
        seen.wrote_everything(13);
        assert_eq!((seen.of([3 << 20].into_iter()), seen.newest()), (13, 13));
    }
}
