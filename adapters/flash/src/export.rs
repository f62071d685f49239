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

use core::pin::pin;

pub use strandline_core::export::exporter::Refused;
use strandline_core::export::exporter::{Exporter, Next, Offer};
use strandline_core::media::nor::{self, Error as Refusal, Port};
use strandline_core::types::{Lsn, StoreId};

use crate::Error;
use crate::handle::{Check, Done, Handle};
use crate::medium::Medium;

/// An export of one log. It holds no record, and all of it may be lost: the host then goes on from where it is.
#[derive(Debug)]
pub struct Export {
    exporter: Exporter<Check>,
    /// Stands before the record that is likely to be read next.
    reader: Option<nor::Records<Check>>,
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

impl<M: Medium> Handle<'_, M> {
    pub(crate) async fn export(&mut self, store: StoreId) -> Done<Export, M> {
        let offer = self.offered().await?;
        Ok(Export { exporter: Exporter::new(store, offer), reader: None })
    }

    /// Builds the next chunk in `out`, which is as long as the link's unit, and says how many bytes it has.
    pub(crate) async fn next_chunk(&mut self, export: &mut Export, out: &mut [u8]) -> Done<Option<usize>, M> {
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
    async fn feed(&mut self, export: &mut Export, lsn: Lsn, out: &mut [u8]) -> Done<bool, M> {
        self.ready().await?;
        let mut port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        let (log, kept) = (&self.log, export.reader.take());
        let read = async {
            if let Some(mut reader) = kept
                && let Ok(Some(record)) = reader.next(&port).await
                && record.lsn == lsn
            {
                return Ok::<_, Refusal>(Some((reader, record)));
            }
            let mut reader = log.records_from(&port, lsn).await?;
            Ok(reader.next(&port).await?.map(|record| (reader, record)))
        };
        let found = self.part.run(&port, geometry, pin!(read)).await?;
        let Some((reader, record)) = found.filter(|(_, record)| record.lsn == lsn) else { return Ok(false) };
        export.exporter.feed(lsn, port.bytes(record.bytes), out);
        export.reader = Some(reader);
        Ok(true)
    }

    /// The records that are there and will not change any more.
    async fn offered(&mut self) -> Result<Offer, Error<M::Error>> {
        self.ready().await?;
        let port = Port::new(self.scratch);
        let geometry = self.log.geometry();
        let log = &self.log;
        let oldest = async {
            let mut reader = log.records_from(&port, Lsn(0)).await?;
            reader.next(&port).await
        };
        let oldest = self.part.run(&port, geometry, pin!(oldest)).await?;
        let first = oldest.map_or(self.log.next_lsn(), |record| record.lsn);
        Ok(Offer { first, last: Lsn(self.log.durable().0.max(first.0.saturating_sub(1))) })
    }
}
