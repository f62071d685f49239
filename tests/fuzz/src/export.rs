//! What a device sends over its link: frames of COBS, the chunks inside them, and the stream that the chunks carry.
//!
//! ```text
//!  kind u8: 0 bytes of the link, 1 chunks that verify
//!  0  | the bytes as they come |
//!  1  ( len u8 | position u16 | len bytes of the stream )*      the check in front of a chunk is made here
//! ```

use crc::{CRC_16_IBM_3740, Crc, NoTable};
use strandline_core::export::receiver::{Event, Memory, RING_BYTES, Receiver, Taken};
use strandline_core::export::uart::{Deframer, frame, frame_bytes};
use strandline_core::export::{CHUNK_HEAD, MAX_MTU};
use strandline_core::types::Lsn;

use super::Blind;

const RECORD: usize = 4 << 10;
/// Where the checks of the first chunk of a session start, with the session itself.
const OPEN_SEED: u16 = 0x5354;
const HELLO: u16 = 40;

pub(super) fn receive(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let (mut ring, mut record) = (vec![0; RING_BYTES], vec![0; RECORD]);
    let memory = Memory { ring: &mut ring, record: &mut record };
    let mut host = Host { receiver: Receiver::resume(Lsn::FIRST, None, memory), next: Lsn::FIRST };
    if kind % 2 == 0 {
        host.link(bytes);
    } else {
        host.chunks(bytes);
    }
}

struct Host<'b> {
    receiver: Receiver<'b, Blind>,
    next: Lsn,
}

impl Host<'_> {
    fn link(&mut self, bytes: &[u8]) {
        let mut deframer = Deframer::new([0; MAX_MTU]);
        for byte in bytes {
            if let Some(chunk) = deframer.push(*byte) {
                if !chunk.is_empty() {
                    framed_again(chunk);
                }
                self.take(chunk);
            }
        }
    }

    fn chunks(&mut self, mut bytes: &[u8]) {
        let (mut session, mut store) = (0, [0; 16]);
        while let Some((&[len, low, high], rest)) = bytes.split_first_chunk() {
            let (stream, behind) = rest.split_at(usize::from(len).min(rest.len()));
            let position = u16::from_le_bytes([low, high]);
            if let Some(hello) = stream.first_chunk::<20>().filter(|_| position == 0) {
                session = u16::from_le_bytes([hello[0], hello[1]]);
                store.copy_from_slice(&hello[4..]);
            }
            let seed = if position < HELLO { OPEN_SEED ^ session } else { check(session, &store) };
            let mut chunk = vec![0; 2];
            chunk.extend([low, high]);
            chunk.extend(stream);
            let sum = check(seed, &chunk[2..]);
            chunk[..2].copy_from_slice(&sum.to_le_bytes());
            debug_assert_eq!(chunk.len(), CHUNK_HEAD + stream.len());
            self.take(&chunk);
            if len % 16 == 0 {
                self.receiver.nudge();
            }
            bytes = behind;
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        let new = self.receiver.take(chunk) == Taken::New;
        let mut events = 0;
        loop {
            match self.receiver.poll() {
                Event::Idle => break,
                Event::Record { lsn, bytes } => {
                    assert!(lsn >= self.next && bytes.len() <= RECORD, "LSN {lsn}, {} bytes", bytes.len());
                    self.next = lsn.next();
                }
                Event::Gap { from, until } => assert!(from < until, "{from} {until}"),
                _ => {}
            }
            events += 1;
            assert!(new && events <= 4 * RING_BYTES, "more was received than was sent");
        }
        while self.receiver.reply().is_some() {}
        let _ = self.receiver.kept();
    }
}

fn framed_again(chunk: &[u8]) {
    let mut framed = vec![0; frame_bytes(chunk.len())];
    let len = frame(chunk, &mut framed).expect("there is room");
    let mut deframer = Deframer::new([0; MAX_MTU]);
    let read = framed[..len].iter().find_map(|byte| deframer.push(*byte).map(<[u8]>::to_vec));
    assert_eq!(read.as_deref(), Some(chunk));
}

fn check(start: u16, bytes: &[u8]) -> u16 {
    static CRC: Crc<u16, NoTable> = Crc::<u16, NoTable>::new(&CRC_16_IBM_3740);
    let mut digest = CRC.digest_with_initial(start);
    digest.update(bytes);
    digest.finalize()
}
