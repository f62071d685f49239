//! Where an operation and its driver meet: the lent scratch, and one request at a time.
//!
//! ```text
//!  operation (async fn) ── erase, program, read ──► Port ──► driver ──► flash
//!            ▲                                                 │
//!            └──────────── poll() again ◄── complete() ────────┘
//! ```
//!
//! An operation of the log is an `async fn` that never waits for anything but its port. [`Port::poll`] runs it until it wants
//! something of the medium, which comes out as a plain [`Request`]; the driver carries it out and says how it went. To drop the
//! operation in between is the same as to lose power. Nothing here knows whether the driver blocks.

use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use super::Error;

/// One operation of the flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Erase the block.
    Erase,
    /// Program bytes of the scratch, whole words, in ascending order.
    Program,
    /// Read into the scratch.
    Read,
}

/// What is asked of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// Index of the block.
    pub block: u32,
    /// Bytes from its start, whole words; 0 for an erase.
    pub offset: u32,
    /// Where the bytes stand in the scratch.
    pub start: u16,
    /// How many bytes, whole words; 0 for an erase.
    pub len: u16,
}

/// Bytes of the scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) start: u16,
    pub(super) len: u16,
}

impl Span {
    /// The bytes, of the scratch that [`Port::lend`] lends.
    #[must_use]
    pub fn of(self, scratch: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        scratch.get(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

/// The medium failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// What became of an operation.
#[derive(Debug)]
pub enum Output<T> {
    /// Carry this out, then call [`Port::complete`] and [`Port::poll`] again.
    Do(Request),
    /// It is over.
    Done(T),
}

#[derive(Clone, Copy, Debug, Default)]
enum Slot {
    #[default]
    Free,
    Asked(Request),
    Answered(Result<(), Fault>),
}

/// The scratch, taken out of its port.
#[derive(Debug)]
pub struct Lent<'p, 's> {
    port: &'p Port<'s>,
    scratch: &'s mut [u8],
}

impl Lent<'_, '_> {
    /// The bytes that a request is about.
    pub fn span(&mut self, request: Request) -> &mut [u8] {
        request.span(self.scratch)
    }
}

impl Drop for Lent<'_, '_> {
    fn drop(&mut self) {
        self.port.scratch.set(core::mem::take(&mut self.scratch));
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

/// The scratch and the request of one log.
pub struct Port<'s> {
    scratch: Cell<&'s mut [u8]>,
    slot: Cell<Slot>,
    window: Cell<Window>,
}

impl<'s> Port<'s> {
    /// Lends the scratch: what is read and what is programmed stands in it. More than 64 KiB are not used.
    #[must_use]
    pub fn new(scratch: &'s mut [u8]) -> Self {
        let most = scratch.len().min(usize::from(u16::MAX));
        let scratch = scratch.get_mut(..most).unwrap_or_default();
        Self { scratch: Cell::new(scratch), slot: Cell::default(), window: Cell::default() }
    }

    /// Runs an operation of the log until it wants something of the medium, or is over.
    pub fn poll<T>(&self, operation: Pin<&mut impl Future<Output = T>>) -> Output<T> {
        match operation.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Output::Done(value),
            Poll::Pending => match self.slot.get() {
                Slot::Asked(request) => Output::Do(request),
                // Not one of the log's operations: it waits for what nobody here can give. Reading nothing is harmless.
                Slot::Free | Slot::Answered(_) => {
                    Output::Do(Request { operation: Operation::Read, block: 0, offset: 0, start: 0, len: 0 })
                }
            },
        }
    }

    /// Says how the request went.
    pub fn complete(&self, result: Result<(), Fault>) {
        self.slot.set(Slot::Answered(result));
    }

    /// Runs an operation to its end with a driver that blocks: it is called with each request and the bytes that are to be
    /// programmed, or read into.
    pub fn run<T>(
        &self,
        mut operation: Pin<&mut impl Future<Output = T>>,
        mut driver: impl FnMut(Request, &mut [u8]) -> Result<(), Fault>,
    ) -> T {
        loop {
            match self.poll(operation.as_mut()) {
                Output::Done(value) => return value,
                Output::Do(request) => {
                    let result = self.lend(|scratch| driver(request, request.span(scratch)));
                    self.complete(result);
                }
            }
        }
    }

    /// The scratch, for as long as `borrow` runs.
    pub fn lend<T>(&self, borrow: impl FnOnce(&mut [u8]) -> T) -> T {
        let scratch = self.scratch.take();
        let value = borrow(scratch);
        self.scratch.set(scratch);
        value
    }

    /// The scratch, for a driver that waits. It comes back when the guard is dropped.
    pub fn borrow(&self) -> Lent<'_, 's> {
        Lent { port: self, scratch: self.scratch.take() }
    }

    /// The bytes of a record, or of a state.
    pub fn bytes(&mut self, span: Span) -> &[u8] {
        span.of(self.scratch.get_mut())
    }

    /// Bytes that are lent.
    pub(super) fn capacity(&self) -> u32 {
        self.lend(|scratch| u32::try_from(scratch.len()).unwrap_or(u32::MAX))
    }

    /// The scratch for bytes that are not of the medium.
    pub(super) fn lay<T>(&self, borrow: impl FnOnce(&mut [u8]) -> T) -> T {
        self.forget();
        self.lend(borrow)
    }

    /// Whatever stood in the scratch of the medium is no longer believed.
    pub(super) fn forget(&self) {
        self.window.set(Window::default());
    }

    /// Asks the medium, and waits.
    pub(super) async fn ask(&self, request: Request) -> Result<(), Error> {
        Ask { slot: &self.slot, request: Some(request) }.await.map_err(|Fault| Error::Medium)
    }

    /// Makes bytes of the medium stand in the scratch and says where they begin.
    pub(super) async fn want(&self, word: u32, range: Range) -> Result<usize, Error> {
        if range.len == 0 {
            return Ok(0);
        }
        let Window { block, offset, len } = self.window.get();
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
        self.lend(|scratch| slide(scratch, skipped as usize, 0, kept as usize));
        let from = range.offset.saturating_add(kept);
        let more = most.saturating_sub(kept).min(range.limit.saturating_sub(from));
        self.forget();
        let (start, more) = (short(kept), short(more));
        self.ask(Request { operation: Operation::Read, block: range.block, offset: from, start, len: more })
            .await?;
        let len = start.saturating_add(more);
        self.window.set(Window { block: range.block, offset: range.offset, len });
        // The block may end before what is wanted.
        if range.len > u32::from(len) { Err(Error::Medium) } else { Ok(0) }
    }
}

impl Request {
    /// The bytes of the scratch that it is about.
    pub fn span<'b>(&self, scratch: &'b mut [u8]) -> &'b mut [u8] {
        let start = usize::from(self.start);
        scratch.get_mut(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

impl core::fmt::Debug for Port<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Port").field("slot", &self.slot).field("window", &self.window).finish_non_exhaustive()
    }
}

struct Ask<'p> {
    slot: &'p Cell<Slot>,
    request: Option<Request>,
}

impl Future for Ask<'_> {
    type Output = Result<(), Fault>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(request) = self.request.take() {
            self.slot.set(Slot::Asked(request));
            return Poll::Pending;
        }
        match self.slot.get() {
            Slot::Answered(result) => {
                self.slot.set(Slot::Free);
                Poll::Ready(result)
            }
            Slot::Free | Slot::Asked(_) => Poll::Pending,
        }
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
