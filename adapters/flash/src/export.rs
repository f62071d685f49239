//! Hands the records of a log over a slow link, chunk by chunk.
//!
//! ```text
//!  log ─ record ─► Export ── chunk ─► UART (uart::frame) or BLE ─► host: std-server import-device
//!                     ▲                                              │
//!                     └──────── reply: 20 bytes ◄────────────────────┘
//! ```
//!
//! The log may be written meanwhile: what is appended goes with the next session. What a start found last, and a cut may have
//! torn, is not offered before something was written behind it.

use strandline_core::export::exporter::{Exporter, Next, Offer};
use strandline_core::types::{Lsn, StoreId};

use super::ring;
use super::{Log, NorFlash, twin};
use crate::{Check, Error, Refused};

/// An export of one log. It holds no record, and all of it may be lost: the host then goes on from where it is.
#[derive(Debug)]
pub struct Export {
    exporter: Exporter<Check>,
    /// Stands before the record that is likely to be read next.
    reader: Option<ring::Records<Check>>,
}

impl Export {
    /// Takes a reply of the host, and a request for a session.
    ///
    /// # Errors
    /// [`Refused::Noise`]: damaged, or of another session. [`Refused::NeverSent`]: it acknowledges what was never sent. Nothing
    /// has changed then.
    pub fn ack(&mut self, reply: &[u8]) -> Result<(), Refused> {
        self.exporter.ack(reply)
    }

    /// Begins a session that nobody asked for and that waits for no reply: for a link without a way back. Give each a number of
    /// its own.
    pub fn begin(&mut self, session: u16) {
        self.exporter.begin(session);
    }

    /// Every record below this one is durable on the host: the log may be trimmed up to here.
    #[must_use]
    pub fn kept(&self) -> Lsn {
        self.exporter.kept()
    }
}

#[twin]
impl<F: NorFlash> Log<'_, F> {
    /// Prepares to hand the records over a link. `store` is the id that the log was opened with.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub async fn export(&mut self, store: StoreId) -> Result<Export, Error<F::Error>> {
        let offer = self.offered().await?;
        Ok(Export { exporter: Exporter::new(store, offer), reader: None })
    }

    /// Builds the next chunk of an export in `out`, which is as long as the link's unit (12 to 4000 bytes), and says how many
    /// bytes it has; `None` when nothing is to be sent until a reply arrives.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub async fn next_chunk(
        &mut self,
        export: &mut Export,
        out: &mut [u8],
    ) -> Result<Option<usize>, Error<F::Error>> {
        loop {
            match export.exporter.next_chunk(out) {
                Next::Idle => {
                    // The next request finds what was appended since.
                    let offer = self.offered().await?;
                    export.exporter.offer(offer);
                    return Ok(None);
                }
                Next::Chunk(bytes) => return Ok(Some(bytes)),
                Next::Read(lsn) => {
                    if !self.feed(export, lsn, out).await? {
                        let offer = self.offered().await?;
                        export.exporter.gone(offer);
                    }
                }
            }
        }
    }

    /// Reads the record and gives it to the exporter, or says that it is not there any more.
    async fn feed(&mut self, export: &mut Export, lsn: Lsn, out: &mut [u8]) -> Result<bool, Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        // A reader that is dropped in the middle is of no more use.
        if let Some(mut reader) = export.reader.take()
            && let Ok(Some(record)) = reader.next(&mut port).await
            && record.lsn == lsn
        {
            export.exporter.feed(lsn, port.bytes(record.bytes), out);
            export.reader = Some(reader);
            return Ok(true);
        }
        let found = match self.log.records_from(&mut port, lsn).await {
            Ok(mut reader) => {
                reader.next(&mut port).await.map(|record| record.map(|record| (reader, record)))
            }
            Err(error) => Err(error),
        };
        if let Ok(Some((_, record))) = &found
            && record.lsn == lsn
        {
            export.exporter.feed(lsn, port.bytes(record.bytes), out);
        }
        let found = port.driver().done(found)?.filter(|(_, record)| record.lsn == lsn);
        export.reader = found.map(|(reader, _)| reader);
        Ok(export.reader.is_some())
    }

    /// The records that are there and will not change any more.
    async fn offered(&mut self) -> Result<Offer, Error<F::Error>> {
        self.ready().await?;
        let mut port = self.part.port(&mut *self.scratch, self.log.geometry());
        let oldest = match self.log.records_from(&mut port, Lsn(0)).await {
            Ok(mut reader) => reader.next(&mut port).await,
            Err(error) => Err(error),
        };
        let first = port.driver().done(oldest)?.map_or(self.log.next_lsn(), |record| record.lsn);
        Ok(Offer { first, last: Lsn(self.log.durable().0.max(first.0.saturating_sub(1))) })
    }
}
