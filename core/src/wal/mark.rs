//! The mark: what the frame that opens a batch says.
//!
//! ```text
//!  0      8      12     20         28     36         44            48        52      53
//!  | s.log | s.off | s.lsn | next lsn | ms | revision | batch bytes | records | flags | 0 0 0 |
//! ```

use crate::codec::extent::{Cursor, Take, put_settled};
use crate::types::{Lsn, Millis, Revision, Settled};

/// Payload of a mark.
pub const MARK_BODY: usize = 56;

const SEAL: u8 = 1;

/// A mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// What was durable when the batch was closed.
    pub settled: Settled,
    /// LSN of the first record after this mark.
    pub next: Lsn,
    /// Wall-clock time of the batch; never runs backwards within a store.
    pub time: Millis,
    /// The newest manifest revision that was durable then.
    pub revision: Revision,
    /// Bytes of the whole batch, mark and padding included.
    pub batch_bytes: u32,
    /// Records in the batch.
    pub records: u32,
    /// Whether the log was closed with this mark: nothing was unfinished.
    pub seal: bool,
}

impl Mark {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> [u8; MARK_BODY] {
        let mut body = [0; MARK_BODY];
        let mut at = Cursor { bytes: &mut body, at: 0 };
        let fits = put_settled(&mut at, self.settled)
            .and_then(|()| at.put(&self.next.0.to_le_bytes()))
            .and_then(|()| at.put(&self.time.0.to_le_bytes()))
            .and_then(|()| at.put(&self.revision.0.to_le_bytes()))
            .and_then(|()| at.put(&self.batch_bytes.to_le_bytes()))
            .and_then(|()| at.put(&self.records.to_le_bytes()))
            .and_then(|()| at.put(&[if self.seal { SEAL } else { 0 }]));
        debug_assert!(fits.is_some());
        body
    }

    /// Reads a payload; `None` if it has another length or unknown flags.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut at = Take(body);
        let mark = Self {
            settled: at.settled()?,
            next: Lsn(at.u64()?),
            time: Millis(at.u64()?),
            revision: Revision(at.u64()?),
            batch_bytes: at.u32()?,
            records: at.u32()?,
            seal: match at.array::<4>()? {
                [0, 0, 0, 0] => false,
                [SEAL, 0, 0, 0] => true,
                _ => return None,
            },
        };
        at.0.is_empty().then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LogId, Position};

    #[test]
    fn a_mark_reads_back() {
        let mark = Mark {
            settled: Settled { position: Position { log: LogId(3), offset: 77 }, lsn: Lsn(5) },
            next: Lsn(6),
            time: Millis(9),
            revision: Revision(2),
            batch_bytes: 128,
            records: 2,
            seal: true,
        };
        let body = mark.encode();
        assert_eq!(Mark::decode(&body), Some(mark));
        assert_eq!(Mark::decode(&body[1..]), None);
        let mut flags = body;
        flags[52] = 2;
        assert_eq!(Mark::decode(&flags), None);
    }
}
