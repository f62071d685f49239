//! Where an operation and its driver meet: the lent scratch, and one request at a time.
//!
//! ```text
//!  operation ── erase, program, read ──► Port ──► Driver ──► flash
//!      ▲                                              │
//!      └────────────── the scratch ◄──────────────────┘
//! ```
//!
//! An operation of the log waits for nothing but its port. To drop it while it waits is the same as to lose power.

use super::twin;
use crate::media::nor::Error;
use crate::media::nor::request::{Fault, Operation, Request, Span};

/// Carries requests out: one call is one operation of the flash.
#[allow(async_fn_in_trait, reason = "of one twin only; one task keeps a log: its futures need not be Send")]
#[twin]
pub trait Driver {
    /// Erases, programs `bytes`, or reads into `bytes`. When it returns, what it did is durable.
    ///
    /// # Errors
    /// [`Fault`]: nothing more is written before the next mount.
    async fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault>;
}

#[twin]
impl<D: Driver> Driver for &mut D {
    async fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault> {
        (**self).carry_out(request, bytes).await
    }
}

/// Which bytes of the medium stand at the start of the scratch.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    block: u32,
    offset: u32,
    len: u16,
}

/// Bytes of one block that are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) block: u32,
    /// A multiple of the word.
    pub(super) offset: u32,
    pub(super) len: u32,
    /// Where the block ends.
    pub(super) limit: u32,
}

/// The scratch and the driver of an operation.
#[derive(Debug)]
pub struct Port<'p, D> {
    scratch: &'p mut [u8],
    driver: D,
    window: Window,
}

impl<'p, D> Port<'p, D> {
    /// Lends the scratch: what is read and what is programmed stands in it. More than 64 KiB are not used.
    #[must_use]
    pub fn new(scratch: &'p mut [u8], driver: D) -> Self {
        let most = scratch.len().min(usize::from(u16::MAX));
        let scratch = scratch.get_mut(..most).unwrap_or_default();
        Self { scratch, driver, window: Window::default() }
    }

    /// The bytes of a record, or of a state.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        span.of(self.scratch)
    }

    /// The driver.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Bytes that are lent.
    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.scratch.len()).unwrap_or(u32::MAX)
    }

    /// What stands in the scratch.
    pub(super) fn scratch(&self) -> &[u8] {
        self.scratch
    }

    /// Fills the scratch with bytes that are not of the medium.
    pub(super) fn lay<T>(&mut self, fill: impl FnOnce(&mut [u8]) -> T) -> T {
        self.forget();
        fill(self.scratch)
    }

    /// Whatever stood in the scratch of the medium is no longer believed.
    pub(super) fn forget(&mut self) {
        self.window = Window::default();
    }
}

#[twin]
impl<D: Driver> Port<'_, D> {
    /// Asks the medium, and waits.
    pub(super) async fn ask(&mut self, request: Request) -> Result<(), Error> {
        let bytes = request.span(self.scratch);
        self.driver.carry_out(request, bytes).await.map_err(|Fault| Error::Medium)
    }

    /// Makes bytes of the medium stand in the scratch and says where they begin.
    pub(super) async fn want(&mut self, word: u32, range: Range) -> Result<usize, Error> {
        if range.len == 0 {
            return Ok(0);
        }
        let Window { block, offset, len } = self.window;
        let len = u32::from(len);
        let inside = len > 0 && block == range.block && range.offset >= offset;
        let skipped = if inside { range.offset.saturating_sub(offset) } else { len };
        if inside && skipped.saturating_add(range.len) <= len {
            return Ok(skipped as usize);
        }
        let kept = len.saturating_sub(skipped);
        // Whole words only: some controllers check a word at once.
        let most = self.capacity() & !word.saturating_sub(1);
        if range.len > most {
            let bytes = crate::geometry::round_up(range.len, word);
            return Err(Error::NeedsScratch { bytes });
        }
        slide(self.scratch, skipped as usize, 0, kept as usize);
        let from = range.offset.saturating_add(kept);
        let more = most.saturating_sub(kept).min(range.limit.saturating_sub(from));
        self.forget();
        let (start, more) = (short(kept), short(more));
        self.ask(Request { operation: Operation::Read, block: range.block, offset: from, start, len: more })
            .await?;
        let len = start.saturating_add(more);
        self.window = Window { block: range.block, offset: range.offset, len };
        // The block may end before what is wanted.
        if range.len > u32::from(len) { Err(Error::Medium) } else { Ok(0) }
    }
}

/// A length within the scratch, which is at most 64 KiB.
pub(super) fn short(len: u32) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// Moves `len` bytes at `from` down to `to`. No slice method: their checks would be panics, and their code is larger.
fn slide(scratch: &mut [u8], from: usize, to: usize, len: usize) {
    if from == to {
        return;
    }
    for at in 0..len {
        let byte = scratch.get(from + at).copied();
        if let (Some(byte), Some(slot)) = (byte, scratch.get_mut(to + at)) {
            *slot = byte;
        }
    }
}
