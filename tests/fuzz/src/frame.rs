//! Frames, and the header of an extent.
//!
//! ```text
//!  frame    | log2 of the write unit u8 | offset u16 | window |
//!  header   | window |
//! ```

use strandline_core::codec::check::{Checksum, Seed, TableCheck};
use strandline_core::codec::extent::{ExtentHeader, HEADER_WINDOW, HeaderParsed};
use strandline_core::codec::frame::{Frame, Framing, LONG_HEADER, Parsed, Slot};
use strandline_core::types::Lsn;

use super::Blind;

pub(super) fn frame(bytes: &[u8]) {
    let Some((&[unit, low, high], window)) = bytes.split_first_chunk() else { return };
    let framing = Framing { write_unit: 1 << (unit % 13), seed: Seed::HEADER };
    let offset = u64::from(u16::from_le_bytes([low, high]));
    for limit in [window.len() as u64, 64 << 20] {
        decode::<Blind>(framing, offset, limit, window);
        decode::<TableCheck>(framing, offset, limit, window);
    }
}

fn decode<C: Checksum>(framing: Framing, offset: u64, limit: u64, window: &[u8]) {
    let parsed = framing.decode::<C>(window, offset, limit);
    match parsed {
        Parsed::Frame(frame) => again::<C>(framing, offset, frame, window),
        Parsed::Need(bytes) => {
            assert!(bytes > window.len() && bytes as u64 <= limit, "needs {bytes} of {limit}");
        }
        Parsed::Blank | Parsed::Bad | Parsed::Newer(_) => {}
    }
    // With less of it, nothing else is found.
    let short = window.get(..window.len() / 2).unwrap_or_default();
    let fewer = framing.decode::<C>(short, offset, limit);
    assert!(fewer == parsed || matches!(fewer, Parsed::Need(_)), "{fewer:?} {parsed:?}");
}

/// What was read, encoded again, is read as the same; its bytes are the same if they were as short as can be.
fn again<C: Checksum>(framing: Framing, offset: u64, frame: Frame<'_>, window: &[u8]) {
    let slot = Slot { offset, lsn: Lsn(u64::from(frame.seq)) };
    let mut out = vec![0xee; frame.bytes + LONG_HEADER];
    let encoded = framing.encode::<C>(frame.kind, slot, frame.payload, &mut out).expect("there is room");
    let Parsed::Frame(read) = framing.decode::<C>(&out, offset, encoded as u64) else {
        panic!("what was encoded is not read: {frame:?}");
    };
    assert_eq!((read.kind, read.seq, read.payload), (frame.kind, frame.seq, frame.payload));
    let end = frame.payload_end as usize;
    let is_long = window[7] & 0x80 != 0;
    let shortest = is_long == (frame.payload.len() > usize::from(u16::MAX));
    let plain = !is_long || window[4..6] == [0, 0];
    if shortest && plain && window[end..frame.bytes].iter().all(|byte| *byte == 0) {
        assert_eq!(out[..encoded], window[..frame.bytes]);
    }
}

pub(super) fn header(window: &[u8]) {
    parse::<Blind>(window);
    parse::<TableCheck>(window);
}

fn parse<C: Checksum>(window: &[u8]) {
    let HeaderParsed::Header(header) = ExtentHeader::decode::<C>(window) else { return };
    for unit in [8, 512, 4096] {
        let mut out = vec![0xee; HEADER_WINDOW];
        let bytes = header.encode::<C>(unit, &mut out).expect("it fits the window");
        let read = ExtentHeader::decode::<C>(&out);
        assert_eq!(read, HeaderParsed::Header(header), "{bytes} bytes at write unit {unit}");
    }
}
