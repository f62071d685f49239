//! What a firmware that hands its log over a link adds: chunks out, replies in.

use strandline_core::codec::check::BitwiseCheck;
use strandline_core::export::REPLY_BYTES;
use strandline_core::export::exporter::{Exporter, Next, Offer};
use strandline_core::types::{Lsn, StoreId};

// The log and the link, which the probe does not count.
unsafe extern "C" {
    fn flash_read(address: u32, bytes: *mut u8, len: usize) -> bool;
    fn link_send(bytes: *const u8, len: usize);
    fn link_receive(bytes: *mut u8, len: usize) -> usize;
}

/// Hands over the log. Returns the low half of the LSN that the host has kept.
#[unsafe(no_mangle)]
pub extern "C" fn export() -> u32 {
    let offer = Offer { first: Lsn(1), last: Lsn(100) };
    let mut exporter = Exporter::<BitwiseCheck>::new(StoreId([7; 16]), offer);
    let (mut out, mut record, mut reply) = ([0; 20], [0; 64], [0; REPLY_BYTES]);
    loop {
        match exporter.next_chunk(&mut out) {
            Next::Read(lsn) => {
                // SAFETY: 64 bytes are lent.
                if unsafe { flash_read(lsn.0 as u32, record.as_mut_ptr(), record.len()) } {
                    exporter.feed(lsn, &record, &mut out);
                } else {
                    exporter.gone(offer);
                }
            }
            // SAFETY: no more than the buffer's length.
            Next::Chunk(bytes) => unsafe { link_send(out.as_ptr(), bytes) },
            Next::Idle => {
                // SAFETY: as many bytes as are lent.
                let bytes = unsafe { link_receive(reply.as_mut_ptr(), reply.len()) };
                let Some(reply) = reply.get(..bytes) else { return exporter.kept().0 as u32 };
                let _ = exporter.ack(reply);
            }
        }
    }
}
