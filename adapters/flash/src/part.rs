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

use super::ring::{Driver, Port};
use super::{NorFlash, twin};
use crate::config::Sizes;
use crate::{Config, Error, ReadFailure};

/// A partition of a flash.
pub(super) struct Part<F: NorFlash> {
    flash: F,
    /// Where the partition begins.
    base: u32,
    judge: fn(&F::Error) -> ReadFailure,
}

impl<F: NorFlash> Part<F> {
    /// With the sizes of the partition.
    pub(super) fn new(
        flash: F,
        partition: Range<u32>,
        config: &Config<F::Error>,
    ) -> Result<(Self, Geometry), Error<F::Error>> {
        let driver = Sizes {
            word: F::WRITE_SIZE,
            read: F::READ_SIZE,
            block: F::ERASE_SIZE,
            capacity: flash.capacity(),
        };
        let geometry = config.geometry(driver, &partition)?;
        Ok((Self { flash, base: partition.start, judge: config.judge }, geometry))
    }

    /// The scratch and the flash, for one operation.
    pub(super) fn port<'p>(
        &'p mut self,
        scratch: &'p mut [u8],
        geometry: Geometry,
    ) -> Port<'p, Carrier<'p, F>> {
        Port::new(scratch, Carrier { part: self, geometry, failed: None })
    }

    pub(super) fn into_flash(self) -> F {
        self.flash
    }
}

/// Carries out what an operation asks.
pub(super) struct Carrier<'p, F: NorFlash> {
    part: &'p mut Part<F>,
    geometry: Geometry,
    /// What the driver said when it failed.
    failed: Option<F::Error>,
}

impl<F: NorFlash> Carrier<'_, F> {
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
impl<F: NorFlash> Driver for Carrier<'_, F> {
    async fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault> {
        let base = self.part.base;
        let done = match lower(request, self.geometry) {
            Step::Erase { from, to } => {
                self.part.flash.erase(base.saturating_add(from), base.saturating_add(to)).await
            }
            Step::Program { address } => self.part.flash.write(base.saturating_add(address), bytes).await,
            Step::Read { address } => {
                self.part.read(base.saturating_add(address), bytes, self.geometry.word()).await
            }
        };
        done.map_err(|error| {
            self.failed = Some(error);
            Fault
        })
    }
}

#[twin]
impl<F: NorFlash> Part<F> {
    async fn read(&mut self, from: u32, bytes: &mut [u8], word: u32) -> Result<(), F::Error> {
        match self.flash.read(from, bytes).await {
            Err(error) if (self.judge)(&error) == ReadFailure::Unreadable => {
                self.read_words(from, bytes, word).await
            }
            done => done,
        }
    }

    /// Reads word by word. What can't be read comes out as zeros: no frame and no header begins or verifies with them.
    async fn read_words(&mut self, from: u32, bytes: &mut [u8], word: u32) -> Result<(), F::Error> {
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
