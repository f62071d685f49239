//! Group commit: two lent halves, and when the open one is closed.
//!
//! ```text
//!   append ──► open half ──close──► in flight ──written──► empty again
//!              (batch n+1)          (batch n)
//! ```
//!
//! One half fills while the other is written. In `always` a half is closed when the previous batch has been synced and the
//! *gather* is over: the writers whose records the last batch released are likely to be back in a moment, so one sync can
//! serve all of them. The gather lasts at most an eighth of the smoothed sync time, never when a single writer is there, never
//! when a sync is cheap.
//!
//! Invariants: at most one half is in flight; batches leave in the order in which they were opened.

use crate::action::Buffer;
use crate::types::Ticks;
use crate::wal::writer::Batch;

/// Syncs faster than this are not worth waiting for anyone, microseconds.
pub const CHEAP_SYNC_MICROS: u64 = 100;
/// The gather lasts at most one part in this many of a sync.
pub const GATHER_PART: u64 = 8;

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
    company: u32,
    until: Ticks,
}

impl Gather {
    /// A sync that took `micros` has released `released` records while `waiting` stood in the open half.
    pub fn synced(&mut self, now: Ticks, micros: u64, released: u32, waiting: u32) {
        self.smoothed_micros =
            if self.smoothed_micros == 0 { micros } else { (self.smoothed_micros * 7 + micros) / 8 };
        self.company = released.saturating_add(waiting);
        self.until = now.plus(self.wait_micros());
    }

    /// Until when a batch of `records` should wait, if it should.
    #[must_use]
    pub fn wait(&self, now: Ticks, records: u32) -> Option<Ticks> {
        (records < self.company && now < self.until).then_some(self.until)
    }

    /// The smoothed duration of a sync, microseconds.
    #[must_use]
    pub const fn sync_micros(&self) -> u64 {
        self.smoothed_micros
    }

    fn wait_micros(&self) -> u64 {
        if self.company < 2 || self.smoothed_micros < CHEAP_SYNC_MICROS {
            0
        } else {
            self.smoothed_micros / GATHER_PART
        }
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
    fn a_cheap_sync_is_not_worth_a_wait() {
        let mut gather = Gather::default();
        gather.synced(Ticks(1000), 20, 50, 0);
        assert_eq!(gather.wait(Ticks(1000), 1), None);
    }
}
