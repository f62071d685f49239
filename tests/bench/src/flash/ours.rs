//! Strandline on the same part: the one place where it is plugged in.
//!
//! Until `strandline-flash` exists, every figure of ours reads *not built*. To plug it in, give `Log` and `Settings` a handle
//! each (`strandline_flash::{Log, Kv}` over `CountingFlash<W>`, with scratch that they own) and answer the methods with its
//! calls; no row changes. The figures of F8 and F9 come from images: a function `ours` in `tests/firmware/src/bin/peers.rs`,
//! and `tests/size-probe`. F12 is `resent_chunks` in `rows/export.rs`.

use super::medium::CountingFlash;
use super::subject::{self, Failed};

/// Strandline's log.
pub(crate) struct Log<const W: usize> {
    never: core::convert::Infallible,
}

impl<const W: usize> subject::Log<W> for Log<W> {
    const NAME: &'static str = "ours";

    fn open(_: &CountingFlash<W>) -> Result<Self, Failed> {
        Err(Failed::NotBuilt)
    }

    fn append(&mut self, _: &[u8]) -> Result<(), Failed> {
        match self.never {}
    }

    fn drop_oldest(&mut self) -> Result<(), Failed> {
        match self.never {}
    }

    fn replay(&mut self, _: &mut dyn FnMut(&[u8])) -> Result<(), Failed> {
        match self.never {}
    }
}

/// Strandline's settings map.
pub(crate) struct Settings<const W: usize> {
    never: core::convert::Infallible,
}

impl<const W: usize> subject::Settings<W> for Settings<W> {
    const NAME: &'static str = "ours";

    fn open(_: &CountingFlash<W>) -> Result<Self, Failed> {
        Err(Failed::NotBuilt)
    }

    fn insert(&mut self, _: u16, _: &[u8]) -> Result<(), Failed> {
        match self.never {}
    }

    fn get(&mut self, _: u16) -> Result<Option<Vec<u8>>, Failed> {
        match self.never {}
    }
}
