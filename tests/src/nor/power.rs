//! The medium while an operation runs on it.

use core::future::pending;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use strandline_core::media::nor::asynch::{Driver, Port};
use strandline_core::media::nor::{Fault, Operation, Request};

use super::{Cut, Flash, Ticks};
use crate::chance::Chance;

/// Why an operation did not come to its end.
pub(crate) enum End {
    /// The power went.
    Cut,
    /// It was dropped.
    Dropped,
    /// A promise was broken.
    Broken(String),
}

impl From<Cut> for End {
    fn from(Cut: Cut) -> Self {
        Self::Cut
    }
}

/// The medium while an operation runs. When the power goes, or the operation is to be dropped, it never answers again.
pub(crate) struct Powered<'w> {
    flash: &'w mut Flash,
    chance: &'w mut Chance,
    /// Whether operations are dropped in the middle.
    drops: bool,
    transcript: Option<&'w mut Vec<String>>,
    requests: usize,
    end: Option<End>,
}

impl Driver for Powered<'_> {
    async fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault> {
        self.requests += 1;
        self.end = match self.step(request, bytes) {
            Ok(()) if self.requests < MOST_REQUESTS => return Ok(()),
            Ok(()) => Some(End::Broken("an operation ends: it does not".into())),
            Err(end) => Some(end),
        };
        pending().await
    }
}

impl<'w> Powered<'w> {
    pub(crate) fn new(
        flash: &'w mut Flash,
        chance: &'w mut Chance,
        drops: bool,
        transcript: Option<&'w mut Vec<String>>,
    ) -> Self {
        Self { flash, chance, drops, transcript, requests: 0, end: None }
    }

    /// Runs an operation until it is over, the power goes, or it is dropped.
    pub(crate) fn run<T>(
        self,
        scratch: &mut [u8],
        operation: impl AsyncFnOnce(&mut Port<'_, Self>) -> T,
    ) -> Result<T, End> {
        let mut port = Port::new(scratch, self);
        let done = once(operation(&mut port));
        done.ok_or_else(|| {
            port.driver().end.take().unwrap_or(End::Broken("an operation ends: it waits for nothing".into()))
        })
    }

    fn step(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), End> {
        if self.drops && self.chance.one_in(400) {
            self.tell(|_| "dropped".into());
            return Err(End::Dropped);
        }
        let (block, offset) = (request.block as usize, request.offset as usize);
        if request.operation != Operation::Read {
            let what = match request.operation {
                Operation::Erase => format!("erase block {block}"),
                _ => format!("program {} bytes at {block}:{offset}", bytes.len()),
            };
            self.tell(|ticks| format!("  {:>4}: {what}", ticks.done));
        }
        match request.operation {
            Operation::Erase => self.flash.erase(block, self.chance)?,
            Operation::Program => self.flash.program(block, offset, bytes, self.chance)?,
            Operation::Read => bytes.copy_from_slice(self.flash.read(block, offset, bytes.len())),
        }
        Ok(())
    }

    fn tell(&mut self, line: impl FnOnce(Ticks) -> String) {
        if let Some(lines) = &mut self.transcript {
            lines.push(line(self.flash.ticks));
        }
    }
}

/// The medium while an operation runs that writes nothing.
pub(super) struct Watched<'w> {
    flash: &'w Flash,
    requests: usize,
}

impl<'w> Watched<'w> {
    pub(super) fn new(flash: &'w Flash) -> Self {
        Self { flash, requests: 0 }
    }

    pub(super) fn run<T>(
        self,
        scratch: &mut [u8],
        operation: impl AsyncFnOnce(&mut Port<'_, Self>) -> T,
    ) -> T {
        once(operation(&mut Port::new(scratch, self))).expect("reading does not wait")
    }
}

impl Driver for Watched<'_> {
    async fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault> {
        self.requests += 1;
        assert!(self.requests < MOST_REQUESTS, "an operation reads for ever");
        if request.operation != Operation::Read {
            return Err(Fault);
        }
        let (block, offset) = (request.block as usize, request.offset as usize);
        bytes.copy_from_slice(self.flash.read(block, offset, bytes.len()));
        Ok(())
    }
}

/// Polls an operation that is over, or will never be.
fn once<T>(operation: impl Future<Output = T>) -> Option<T> {
    match pin!(operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// Far more than the largest ring has words.
const MOST_REQUESTS: usize = 200_000;
