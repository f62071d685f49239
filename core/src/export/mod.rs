//! Hands a log over a slow link: from an [`exporter::Exporter`] on the device to a [`receiver::Receiver`] on the host, in chunks of
//! 12 bytes or more, whatever of them is lost, doubled or late.
//!
//! ```text
//!   device                                                     host
//!   log ─ record ─► Exporter ── chunk, chunk, chunk ... ─► Receiver ── records, gaps, complete
//!                       ▲                                      │
//!                       └───────── reply: 20 bytes ◄───────────┘
//!
//!  chunk   | check u16 | position u16 | bytes of the stream |
//!  stream  | hello: 40 bytes | item, item, ... | end |
//!  item    | record bytes + 1, varint | the record |             LSNs are consecutive
//!  end     | 0 | number of items u32 | CRC-32C of all items u32 |
//!  hello   | session u16 | version | 0 | store id | first LSN u64 | last LSN u64 | CRC-32C of the 36 bytes u32 |
//!  reply   | check u16 | kind | count | LSN u64 | offset u32 | position u16 | missing u16 |
//! ```
//!
//! A **session** begins with a [`REQUEST`] for a place (LSN, and offset in its item), or unasked for where there is no way back. Its
//! stream begins there, or at the first record that is still there. Position is where a chunk's bytes stand in the stream, of which
//! the chunk carries the low 16 bits. The check is CRC-16 (polynomial 0x1021) over what follows it, started from the session, the
//! store and the position's upper bits: no chunk of another device, session or place verifies. Those of the hello are started from
//! the session alone, which their first two bytes are, as are those of replies.
//!
//! The exporter sends up to [`WINDOW`] bytes ahead of what is acknowledged, but nothing behind the hello before that is.
//! The receiver holds what arrives early and asks for exactly the bytes that are missing, so that a lost chunk costs one chunk.
//!
//! Neither knows of time, of a link or of how chunks are told apart on it: BLE delivers them whole, and for a UART there is
//! [`uart`]. A chunk that is damaged is one that is lost.

pub mod exporter;
pub mod receiver;
mod ring;
pub mod uart;

#[cfg(test)]
mod tests;

use crc::{CRC_16_IBM_3740, Crc, NoTable};

use crate::types::StoreId;

/// Fewest bytes of a chunk.
pub const MIN_MTU: usize = 12;
/// Most bytes of a chunk: up to here the check finds every two flipped bits.
pub const MAX_MTU: usize = 4000;
/// Bytes of a chunk that are not of the stream.
pub const CHUNK_HEAD: usize = 4;
/// Bytes of a reply, which fits into any link's smallest unit.
pub const REPLY_BYTES: usize = 20;
/// Bytes of the stream that an exporter sends ahead of what is acknowledged.
pub const WINDOW: u32 = 8 << 10;
/// Version of the protocol.
pub const VERSION: u8 = 1;

/// Kind of a reply: begin the session that `position` names, at the place.
pub const REQUEST: u8 = 1;
/// Kind of a reply: everything before the place is here.
pub const ACK: u8 = 2;
/// Kind of a reply: `missing` bytes at the place are missing; what was sent behind them is here.
pub const AGAIN: u8 = 3;
/// Kind of a reply: go on from the place.
pub const REWIND: u8 = 4;
/// Kind of a reply: every record below the LSN is durable on the host; the device may let go of it.
pub const KEPT: u8 = 5;

const HELLO: usize = 40;
const HELLO_BYTES: u32 = 40;
/// Without the first byte, which says that it is the end.
const END: usize = 8;
/// Starts the checks of requests.
const REQUEST_SEED: u16 = 0x5251;
/// With the session, starts the checks of hellos and of the other replies.
const OPEN_SEED: u16 = 0x5354;

/// CRC-16 of `bytes`, going on from `start`.
fn check(start: u16, bytes: &[u8]) -> u16 {
    static CRC: Crc<u16, NoTable> = Crc::<u16, NoTable>::new(&CRC_16_IBM_3740);
    let mut digest = CRC.digest_with_initial(start);
    digest.update(bytes);
    digest.finalize()
}

/// Where the checks of a session start, behind its hello.
fn session_seed(store: StoreId, session: u16) -> u16 {
    check(session, &store.0)
}

/// Where the check of a chunk at `position` starts.
fn chunk_seed(session: u16, seed: u16, position: u32) -> u16 {
    let [_, _, high0, high1] = position.to_le_bytes();
    let seed = if position < HELLO_BYTES { OPEN_SEED ^ session } else { seed };
    seed ^ u16::from_le_bytes([high0, high1])
}
