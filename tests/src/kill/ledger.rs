//! What the writers know: how far each key was written, and how far it must have been kept.
//!
//! A key's writes are numbered from 1. `kept ≤ what it holds ≤ sent`, at any time and after any crash. Two counters belong to all
//! writers, who increment both in one transaction: each number is told once, to one of them.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The writes of one key, which only one writer writes.
#[derive(Debug, Default)]
pub struct Track {
    sent: AtomicU64,
    kept: AtomicU64,
}

/// A counter that all writers increment.
#[derive(Debug, Default)]
pub struct Shared {
    /// Increments that were sent, and the highest number that was told.
    pub track: Track,
    /// The numbers that were told since the last start.
    told: Mutex<BTreeSet<u64>>,
}

/// The keys of one writer.
#[derive(Debug)]
pub struct Keys {
    /// Plain values, some of them deleted now and then.
    pub values: Vec<Track>,
    /// A counter that is only incremented.
    pub counter: Track,
    /// Two keys that are only written together.
    pub pair: Track,
}

/// Everything that is known.
#[derive(Debug)]
pub struct Ledger {
    writers: Vec<Keys>,
    /// What all writers increment.
    pub shared: Shared,
    /// The base of the newest snapshot that was answered for.
    pub snapshot_base: AtomicU64,
}

impl Track {
    /// The number of the next write, which counts as sent from now on.
    pub fn next(&self) -> u64 {
        self.sent.fetch_add(1, SeqCst) + 1
    }

    /// This write was acknowledged or seen.
    pub fn keep(&self, number: u64) {
        self.kept.fetch_max(number, SeqCst);
    }

    /// What the key must hold at least.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept.load(SeqCst)
    }

    /// What the key may hold at most.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// The key holds this write; later ones were never made.
    pub fn settle(&self, number: u64) {
        self.sent.store(number, SeqCst);
        self.kept.store(number, SeqCst);
    }

    /// The newest deletion that an absent key may show; 0 is never written.
    #[must_use]
    pub fn absent(&self) -> Option<u64> {
        (self.kept()..=self.sent()).rev().find(|number| *number == 0 || deletes(*number))
    }
}

impl Shared {
    /// An increment was answered with this number: nobody else was told it, and as many were sent.
    #[must_use]
    pub fn is_told(&self, number: u64) -> bool {
        let is_new = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        let is_sent = number <= self.track.sent();
        self.track.keep(number);
        is_new && is_sent
    }

    /// The counter holds this number after a start: the next one is the one behind it.
    pub fn settle(&self, number: u64) {
        self.track.settle(number);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clear();
        told.insert(number);
    }
}

impl Ledger {
    /// A ledger for so many writers.
    #[must_use]
    pub fn new(writers: usize) -> Self {
        let keys = || Keys {
            values: (0..VALUES).map(|_| Track::default()).collect(),
            counter: Track::default(),
            pair: Track::default(),
        };
        let writers = (0..writers).map(|_| keys()).collect();
        Self { writers, shared: Shared::default(), snapshot_base: AtomicU64::new(0) }
    }

    /// The writers' keys.
    #[must_use]
    pub fn writers(&self) -> &[Keys] {
        &self.writers
    }

    /// Writes that were sent and whose fate nobody was told.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        let tracks =
            self.writers.iter().flat_map(|keys| keys.values.iter().chain([&keys.counter, &keys.pair]));
        tracks.chain([&self.shared.track]).map(|track| track.sent() - track.kept()).sum()
    }
}

/// Whether the write with this number is a deletion.
#[must_use]
pub const fn deletes(number: u64) -> bool {
    number % 8 == 7
}

/// Name of a plain value.
#[must_use]
pub fn value_key(writer: usize, key: usize) -> String {
    format!("w{writer}:v{key}")
}

/// Name of a writer's counter.
#[must_use]
pub fn counter_key(writer: usize) -> String {
    format!("w{writer}:count")
}

/// Names of a writer's pair.
#[must_use]
pub fn pair_keys(writer: usize) -> [String; 2] {
    [format!("w{writer}:left"), format!("w{writer}:right")]
}

/// The counters of all writers.
pub const SHARED: [&str; 2] = ["shared:left", "shared:right"];

/// What the write with this number puts under this key: its number, and bytes that only it has. One in 128 is long.
#[must_use]
pub fn content(key: &str, number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let len = if mixed.is_multiple_of(128) { 70_000 } else { mixed % 1500 };
    let letter = char::from(b'a' + u8::try_from(mixed % 26).unwrap_or(0));
    let mut text = format!("{number}:{key}:");
    text.extend((0..len).map(|_| letter));
    text
}

/// The number of the write whose content this is, if it is exactly that.
#[must_use]
pub fn number_of(key: &str, found: &[u8]) -> Option<u64> {
    let digits = found.split(|byte| *byte == b':').next()?;
    let number = core::str::from_utf8(digits).ok()?.parse().ok()?;
    (content(key, number).as_bytes() == found).then_some(number)
}

/// Plain values of a writer.
pub const VALUES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_tell_their_number_and_nothing_else_does() {
        for number in (1..1000).filter(|number| !deletes(*number)) {
            let content = content("w1:v2", number);
            assert_eq!(number_of("w1:v2", content.as_bytes()), Some(number));
            assert_eq!(number_of("w1:v3", content.as_bytes()), None, "another key's");
            assert_eq!(number_of("w1:v2", &content.as_bytes()[1..]), None, "a piece");
        }
    }

    #[test]
    fn a_number_of_the_shared_counter_is_told_once_and_only_if_it_was_sent() {
        let shared = Shared::default();
        let _ = (shared.track.next(), shared.track.next());
        assert!(shared.is_told(2) && shared.is_told(1));
        assert!(!shared.is_told(2), "told twice: an increment is lost");
        assert!(!shared.is_told(3), "never sent: one was applied twice");
        shared.settle(2);
        let _ = shared.track.next();
        assert!(!shared.is_told(2) && shared.is_told(3));
    }

    #[test]
    fn a_key_may_be_absent_only_where_it_was_deleted() {
        let track = Track::default();
        assert_eq!(track.absent(), Some(0), "never written");
        for _ in 0..6 {
            let _ = track.next();
        }
        assert_eq!(track.absent(), Some(0), "nothing was acknowledged");
        track.keep(6);
        assert_eq!(track.absent(), None);
        assert_eq!(track.next(), 7);
        assert_eq!(track.absent(), Some(7));
        track.keep(8);
        assert_eq!(track.absent(), None);
    }
}
