//! Group commit: two lent halves, and when the open one is closed.
//!
//! ```text
//!   append ──► open half ──close──► in flight ──written──► empty again
//!              (batch n+1)          (batch n)
//! ```
//!
//! One half fills while the other is written. In `always` a half is closed when the previous batch has been synced and the
//! *gather* is over: the writers whose records the last batch released are likely to be back in a moment, so one sync can
//! serve all of them. It ends when as many records stand there as the last sync released and left waiting. Until then it lasts
//!
//! | | part of the smoothed time of a sync |
//! |---|---|
//! | whoever comes or not | an eighth |
//! | while records come [`PACE`] times as fast as the log has taken them | up to a half |
//! | when a single writer is there, or a sync is cheap | nothing |
//!
//! Invariants: at most one half is in flight; batches leave in the order in which they were opened.

use crate::action::Buffer;
use crate::types::Ticks;
use crate::wal::writer::Batch;

/// Syncs faster than this are not worth waiting for anyone, microseconds.
pub const CHEAP_SYNC_MICROS: u64 = 100;
/// The gather lasts one part in this many of a sync, whoever comes.
pub const GATHER_PART: u64 = 8;
/// It lasts at most one part in this many.
pub const LONGEST_PART: u64 = 2;
/// How many times faster than they were served on the whole must records come for the gather to go on. Writers that come back
/// all at once are that fast. Those that come evenly never are: waiting for them would only delay the others.
pub const PACE: u64 = 2;

/// One of the two buffers.
#[derive(Debug)]
pub struct Half<B> {
    /// The buffer, unless an adapter has taken it to write it.
    pub buffer: Option<B>,
    /// The batch that it holds.
    pub batch: Option<Batch>,
    /// Whether the batch is closed: no more records.
    pub closed: bool,
}

/// The two halves and the gather.
#[derive(Debug)]
pub struct Staging<B> {
    left: Half<B>,
    right: Half<B>,
    /// Which half is, or will be, filled.
    open: Buffer,
    /// What the gather waits for.
    pub gather: Gather,
}

/// How long the next batch waits for company.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gather {
    smoothed_micros: u64,
    /// When the last sync was over, and how many records stood in the open half then.
    since: Ticks,
    waiting: u32,
    /// How many may be there soon.
    company: u32,
}

impl Gather {
    /// A sync that took `micros` has released `released` records while `waiting` stood in the open half.
    pub fn synced(&mut self, now: Ticks, micros: u64, released: u32, waiting: u32) {
        self.smoothed_micros =
            if self.smoothed_micros == 0 { micros } else { (self.smoothed_micros * 7 + micros) / 8 };
        self.since = now;
        self.waiting = waiting;
        self.company = released.saturating_add(waiting);
    }

    /// Until when a batch of `records` should wait, if it should.
    #[must_use]
    pub fn wait(&self, now: Ticks, records: u32) -> Option<Ticks> {
        let until = self.since.plus(self.longest_micros(records));
        (self.expects_more(records) && now < until).then_some(until)
    }

    /// Whether fewer records are there than may be soon.
    #[must_use]
    pub const fn expects_more(&self, records: u32) -> bool {
        records < self.company && self.company > 1
    }

    /// The smoothed duration of a sync, microseconds.
    #[must_use]
    pub const fn sync_micros(&self) -> u64 {
        self.smoothed_micros
    }

    /// How long the gather lasts if nobody else comes.
    ///
    /// `came` records in `t` microseconds are fast enough while `came / t >= PACE * records / (sync + t)`.
    fn longest_micros(&self, records: u32) -> u64 {
        let sync = self.smoothed_micros;
        if sync < CHEAP_SYNC_MICROS {
            return 0;
        }
        let came = u64::from(records.saturating_sub(self.waiting));
        let slack = (PACE * u64::from(records)).saturating_sub(came).max(1);
        (came * sync / slack).clamp(sync / GATHER_PART, sync / LONGEST_PART)
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Staging<B> {
    /// Two empty halves.
    pub fn new(left: B, right: B) -> Self {
        let half = |buffer| Half { buffer: Some(buffer), batch: None, closed: false };
        Self { left: half(left), right: half(right), open: Buffer::Left, gather: Gather::default() }
    }

    /// The half with this name.
    #[must_use]
    pub fn half(&self, buffer: Buffer) -> &Half<B> {
        if buffer == Buffer::Left { &self.left } else { &self.right }
    }

    /// The half with this name.
    pub fn half_mut(&mut self, buffer: Buffer) -> &mut Half<B> {
        if buffer == Buffer::Left { &mut self.left } else { &mut self.right }
    }

    /// Which half is, or will be, filled.
    #[must_use]
    #[inline]
    pub fn open(&self) -> Buffer {
        self.open
    }

    /// The half that is, or will be, filled.
    #[inline]
    pub fn open_mut(&mut self) -> &mut Half<B> {
        self.half_mut(self.open)
    }

    /// The batch that is being filled.
    #[must_use]
    #[inline]
    pub fn filling(&self) -> Option<&Batch> {
        let half = self.half(self.open);
        half.batch.as_ref().filter(|_| !half.closed)
    }

    /// The half that is closed or in flight.
    #[must_use]
    pub fn flying(&self) -> Option<Buffer> {
        [Buffer::Left, Buffer::Right].into_iter().find(|half| self.half(*half).closed)
    }

    /// Closes the open half and turns to the other one.
    pub fn turn(&mut self) {
        self.open_mut().closed = true;
        self.open = if self.open == Buffer::Left { Buffer::Right } else { Buffer::Left };
    }

    /// Empties a half whose batch has been written.
    pub fn empty(&mut self, buffer: Buffer) -> Option<Batch> {
        let half = self.half_mut(buffer);
        half.closed = false;
        half.batch.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_writer_never_waits() {
        let mut gather = Gather::default();
        gather.synced(Ticks(1000), 4000, 1, 0);
        assert_eq!(gather.wait(Ticks(1001), 0), None);
    }

    #[test]
    fn two_cohorts_become_one() {
        let mut gather = Gather::default();
        gather.synced(Ticks(1000), 4000, 8, 8);
        assert_eq!(gather.wait(Ticks(1001), 8), Some(Ticks(1500)), "an eighth of the sync");
        assert_eq!(gather.wait(Ticks(1002), 16), None, "everyone is there");
        assert_eq!(gather.wait(Ticks(1500), 8), None, "no longer than that");
    }

    #[test]
    fn a_cohort_that_is_on_its_way_is_waited_for() {
        let mut gather = Gather::default();
        gather.synced(Ticks(0), 4000, 25, 25);
        assert_eq!(
            gather.wait(Ticks(400), 35),
            Some(Ticks(10 * 4000 / 60)),
            "10 came in a tenth of the sync"
        );
        assert_eq!(gather.wait(Ticks(600), 45), Some(Ticks(20 * 4000 / 70)));
        assert_eq!(gather.wait(Ticks(1143), 45), None, "the others have something else to do");
        gather.synced(Ticks(0), 4000, 50, 0);
        assert_eq!(gather.wait(Ticks(400), 20), Some(Ticks(2000)), "half a sync at most");
    }

    #[test]
    fn writers_that_come_evenly_are_not_waited_for() {
        let mut gather = Gather::default();
        gather.synced(Ticks(0), 4000, 40, 40);
        for micros in 500..2000 {
            let came = u32::try_from(micros / 100).unwrap_or(u32::MAX);
            assert_eq!(gather.wait(Ticks(micros), 40 + came), None, "after {micros} us");
        }
    }

    #[test]
    fn a_cheap_sync_is_not_worth_a_wait() {
        let mut gather = Gather::default();
        gather.synced(Ticks(1000), 20, 50, 0);
        assert_eq!(gather.wait(Ticks(1000), 1), None);
    }
}
