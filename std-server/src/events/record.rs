//! One event as the log keeps it.
//!
//! ```text
//!  record = version u8 = 2 | flags u8 | timestamp ms u64 | [event id u64] | type | context | payload
//!  type, context = length varint | UTF-8           payload = one MessagePack map, to the end of the record
//!
//!  flags: 1 an event id is present
//! ```
//!
//! The first byte tells an event from a command of the keyspace, whose records have version 1.

use strandline::core::codec::varint::{self, Varint};

/// What every record of an event begins with.
pub(crate) const EVENT_VERSION: u8 = 2;
const HAS_ID: u8 = 1;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'e> {
    /// When it happened, ms since 1970.
    pub timestamp_ms: u64,
    /// Its number, if its sender gave one; otherwise its LSN stands for it.
    pub event_id: Option<u64>,
    /// What happened.
    pub event_type: &'e str,
    /// What it is about.
    pub context_id: &'e str,
    /// What is said of it: one MessagePack map with string keys.
    pub payload: &'e [u8],
}

/// Whether a record of the log is an event.
#[must_use]
pub fn is_event(record: &[u8]) -> bool {
    record.first() == Some(&EVENT_VERSION)
}

impl<'e> Event<'e> {
    /// Appends its record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(EVENT_VERSION);
        out.push(if self.event_id.is_some() { HAS_ID } else { 0 });
        out.extend_from_slice(&self.timestamp_ms.to_le_bytes());
        if let Some(id) = self.event_id {
            out.extend_from_slice(&id.to_le_bytes());
        }
        for text in [self.event_type, self.context_id] {
            out.extend_from_slice(Varint::new(text.len() as u64).as_ref());
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(self.payload);
    }

    /// Reads a record; `None` if it is no event of a version that is known here.
    #[must_use]
    pub fn decode(record: &'e [u8]) -> Option<Self> {
        let (&[version, flags], rest) = record.split_first_chunk()?;
        if version != EVENT_VERSION || flags & !HAS_ID != 0 {
            return None;
        }
        let (timestamp, mut rest) = rest.split_first_chunk()?;
        let event_id = match flags {
            0 => None,
            _ => {
                let (id, behind) = rest.split_first_chunk()?;
                rest = behind;
                Some(u64::from_le_bytes(*id))
            }
        };
        let event_type = take_text(&mut rest)?;
        let context_id = take_text(&mut rest)?;
        Some(Self {
            timestamp_ms: u64::from_le_bytes(*timestamp),
            event_id,
            event_type,
            context_id,
            payload: rest,
        })
    }
}

fn take_text<'e>(rest: &mut &'e [u8]) -> Option<&'e str> {
    let length = usize::try_from(varint::take(rest)?).ok()?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    core::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_these_bytes() {
        let event = Event {
            timestamp_ms: 1_700_000_000_123,
            event_id: None,
            event_type: "paid",
            context_id: "a",
            payload: &[0x80],
        };
        let mut record = Vec::new();
        event.encode(&mut record);
        assert_eq!(record, b"\x02\x00\x7b\x68\xe5\xcf\x8b\x01\x00\x00\x04paid\x01a\x80");
        assert_eq!(Event::decode(&record), Some(event));
        let numbered = Event { event_id: Some(u64::MAX), ..event };
        record.clear();
        numbered.encode(&mut record);
        assert_eq!(Event::decode(&record), Some(numbered));
        for end in 0..record.len() - 1 {
            assert_eq!(Event::decode(&record[..end]), None, "{end}");
        }
        record[1] = 2;
        assert_eq!(Event::decode(&record), None, "a flag that is not known");
    }
}
