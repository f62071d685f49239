//! Tells chunks apart on a link that is a stream of bytes: COBS (Cheshire and Baker, 1999), each frame ended by a zero byte.

use cobs::{DecodeResult, DecoderState};

/// Most bytes of a frame that carries this many.
#[must_use]
pub const fn frame_bytes(chunk: usize) -> usize {
    chunk + chunk / 254 + 2
}

/// Frames a chunk or a reply: writes it with its zero byte to the start of `out` and returns the bytes, or `None` if `out` has
/// fewer than [`frame_bytes`].
pub fn frame(chunk: &[u8], out: &mut [u8]) -> Option<usize> {
    let room = out.get_mut(..frame_bytes(chunk.len()))?;
    let bytes = cobs::encode(chunk, room);
    *room.get_mut(bytes)? = 0;
    Some(bytes + 1)
}

/// Finds frames in a stream of bytes. What is no frame, or too long for the memory, is passed over up to the next zero byte.
#[derive(Debug)]
pub struct Deframer<B> {
    memory: B,
    filled: usize,
    state: DecoderState,
    bad: bool,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Deframer<B> {
    /// A deframer for frames of up to as many bytes as lent.
    #[must_use]
    pub fn new(memory: B) -> Self {
        Self { memory, filled: 0, state: DecoderState::Idle, bad: false }
    }

    /// Takes the next byte of the stream; returns a whole frame's content when it ends one.
    pub fn push(&mut self, byte: u8) -> Option<&[u8]> {
        match self.state.feed(byte) {
            Ok(DecodeResult::NoData) => {}
            Ok(DecodeResult::DataContinue(byte)) => match self.memory.as_mut().get_mut(self.filled) {
                Some(slot) => {
                    *slot = byte;
                    self.filled += 1;
                }
                None => self.bad = true,
            },
            Ok(DecodeResult::DataComplete) if !self.bad => {
                let bytes = core::mem::take(&mut self.filled);
                return self.memory.as_ref().get(..bytes);
            }
            Ok(DecodeResult::DataComplete) | Err(_) => (self.filled, self.bad) = (0, false),
        }
        None
    }
}
