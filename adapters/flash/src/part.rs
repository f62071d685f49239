//! A partition of a flash: carries out what the log asks.
//!
//! ```text
//!  operation of core ─► Request ─► lower ─► Step ─► driver
//!          ▲                                          │
//!          └──────────── unreadable? by words ◄───────┘
//! ```

use core::ops::Range;

use strandline_core::lower::nor::{Step, lower};
use strandline_core::media::nor::{Error as Refusal, Fault, Geometry, Request};

use super::{NorFlash, ring, twin};
use crate::config::Sizes;
use crate::{Config, Error, ReadFailure};

/// A partition of a flash.
pub(super) struct Part<F: NorFlash> {
    flash: F,
    /// Where the partition begins.
    base: u32,
    geometry: Geometry,
    judge: fn(&F::Error) -> ReadFailure,
    /// What the driver said when it failed.
    failed: Option<F::Error>,
}

impl<F: NorFlash> Part<F> {
    pub(super) fn new(
        flash: F,
        partition: Range<u32>,
        config: &Config<F::Error>,
    ) -> Result<Self, Error<F::Error>> {
        let driver = Sizes {
            word: F::WRITE_SIZE,
            read: F::READ_SIZE,
            block: F::ERASE_SIZE,
            capacity: flash.capacity(),
        };
        let geometry = config.geometry(driver, &partition)?;
        Ok(Self { flash, base: partition.start, geometry, judge: config.judge, failed: None })
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(super) fn into_flash(self) -> F {
        self.flash
    }

    /// What an operation has come to, with the driver's own error where that ended it.
    pub(super) fn done<T, R: Into<Error<F::Error>>>(
        &mut self,
        done: Result<T, R>,
    ) -> Result<T, Error<F::Error>> {
        let failed = self.failed.take();
        done.map_err(|refusal| match (refusal.into(), failed) {
            (Error::Log(Refusal::Medium), Some(error)) => Error::Flash(error),
            (refusal, _) => refusal,
        })
    }
}

#[twin]
impl<F: NorFlash> ring::Driver for Part<F> {
    async fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault> {
        let base = self.base;
        let done = match lower(request, self.geometry) {
            Step::Erase { from, to } => {
                self.flash.erase(base.saturating_add(from), base.saturating_add(to)).await
            }
            Step::Program { address } => self.flash.write(base.saturating_add(address), bytes).await,
            Step::Read { address } => self.read(base.saturating_add(address), bytes).await,
        };
        done.map_err(|error| {
            self.failed = Some(error);
            Fault
        })
    }
}

#[twin]
impl<F: NorFlash> Part<F> {
    async fn read(&mut self, from: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        match self.flash.read(from, bytes).await {
            Err(error) if (self.judge)(&error) == ReadFailure::Unreadable => {
                self.read_words(from, bytes).await
            }
            done => done,
        }
    }

    /// Reads word by word. What can't be read comes out as zeros: no frame and no header begins or verifies with them.
    async fn read_words(&mut self, from: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        let word = self.geometry.word();
        let mut address = from;
        for bytes in bytes.chunks_mut(word as usize) {
            match self.flash.read(address, bytes).await {
                Err(error) if (self.judge)(&error) == ReadFailure::Unreadable => bytes.fill(0),
                done => done?,
            }
            address = address.saturating_add(word);
        }
        Ok(())
    }
}
