//! One entry: what version 1 knows of an event, and the stamp that it does not know.
//!
//! ```text
//!  95 | timestamp s | context | event type | payload: a map with string keys | event id |
//! ```
//!
//! A record whose meaning only its program knows is an entry of type `record`; its payload is `{"record": bytes}`, its context
//! the log's or the device's name, its event id the LSN.

use super::pack::{Pack, Stop, Unpack, Value, bin_bytes, text_bytes, uint_bytes};
use crate::types::{Lsn, Millis};

/// What an entry of version 1 has no place for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Its LSN.
    pub lsn: Lsn,
    /// Its time; 0 where nobody knows it.
    pub time: Millis,
    /// When its batch was committed; 0 where nobody knows it.
    pub commit: Millis,
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'e> {
    /// The bytes of a record.
    Record(&'e [u8]),
    /// One MessagePack map with string keys, encoded.
    Map(&'e [u8]),
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'e> {
    /// When it happened, s since 1970.
    pub timestamp: u64,
    /// What it is about.
    pub context: &'e str,
    /// What happened.
    pub event_type: &'e str,
    /// What is said of it.
    pub payload: Payload<'e>,
    /// Its number.
    pub event_id: u64,
    /// What version 1 has no place for.
    pub stamp: Stamp,
}

/// Event type of an opaque record.
pub const RECORD: &str = "record";

impl<'e> Entry<'e> {
    /// The entry of an opaque record.
    #[must_use]
    pub const fn record(name: &'e str, stamp: Stamp, bytes: &'e [u8]) -> Self {
        Self {
            timestamp: stamp.time.0 / 1000,
            context: name,
            event_type: RECORD,
            payload: Payload::Record(bytes),
            event_id: stamp.lsn.0,
            stamp,
        }
    }

    /// Bytes of it in an archive, before compression.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let payload = match self.payload {
            Payload::Record(bytes) => bin_bytes(bytes.len()).saturating_add(1 + text_bytes(RECORD.len())),
            Payload::Map(map) => map.len(),
        };
        let rest = 1 + uint_bytes(self.timestamp) + uint_bytes(self.event_id);
        payload.saturating_add(rest + text_bytes(self.context.len()) + text_bytes(self.event_type.len()))
    }

    /// Writes it to the start of `out` and returns its bytes, or `None` if `out` is too short.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let mut pack = Pack::new(out);
        pack.array(5)?;
        pack.uint(self.timestamp)?;
        pack.text(self.context)?;
        pack.text(self.event_type)?;
        match self.payload {
            Payload::Record(bytes) => {
                pack.map(1)?;
                pack.field(RECORD)?.bytes(bytes)?;
            }
            Payload::Map(map) => pack.raw(map)?,
        }
        pack.uint(self.event_id)?;
        Some(pack.used())
    }

    /// Reads the entry at the start of `window` and returns how many bytes it takes. Its payload stays as it stands there.
    ///
    /// # Errors
    /// [`Stop`]: more bytes are needed, or it is no entry.
    pub fn decode(window: &'e [u8], stamp: Stamp) -> Result<(Self, usize), Stop> {
        let mut at = Unpack(window);
        if at.value()? != Value::Array(5) {
            return Err(Stop::Bad);
        }
        let timestamp = at.unsigned()?;
        let (context, event_type) = (at.text()?, at.text()?);
        let map = at.0;
        let Value::Map(pairs) = at.value()? else { return Err(Stop::Bad) };
        for _ in 0..pairs {
            at.text()?;
            at.skip()?;
        }
        let map = map.get(..map.len() - at.0.len()).ok_or(Stop::Bad)?;
        let event_id = at.unsigned()?;
        let used = window.len() - at.0.len();
        Ok((Self { timestamp, context, event_type, payload: Payload::Map(map), event_id, stamp }, used))
    }

    /// The bytes of the record that it carries, or `None` if it is another kind of entry.
    #[must_use]
    pub fn record_bytes(&self) -> Option<&'e [u8]> {
        let map = match self.payload {
            _ if self.event_type != RECORD => return None,
            Payload::Record(bytes) => return Some(bytes),
            Payload::Map(map) => map,
        };
        let mut at = Unpack(map);
        let head = (at.value().ok()?, at.text().ok()?);
        if head == (Value::Map(1), RECORD) { at.bytes().ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp(lsn: u64) -> Stamp {
        Stamp { lsn: Lsn(lsn), time: Millis(1_700_000_000_123), commit: Millis(0) }
    }

    #[test]
    fn a_record_is_these_bytes() {
        let entry = Entry::record("pump", stamp(300), b"\x00on");
        let mut out = [0; 64];
        let used = entry.encode(&mut out).unwrap();
        let mut expected = vec![0x95, 0xce, 0x65, 0x53, 0xf1, 0x00, 0xa4];
        expected.extend(b"pump\xa6record\x81\xa6record\xc4\x03\x00on\xcd\x01\x2c");
        assert_eq!(out[..used], expected);
        assert_eq!(used, entry.encoded_bytes());
    }

    #[test]
    fn only_what_is_an_entry_is_taken() {
        let bad: [&[u8]; 5] = [
            b"\x94\x00\xa0\xa0\x80",
            b"\x95\xff\xa0\xa0\x80\x00",
            b"\x95\x00\xa1\xff\xa0\x80\x00",
            b"\x95\x00\xa0\xa0\x90\x00",
            b"\x95\x00\xa0\xa0\x81\x01\x02\x00",
        ];
        for bytes in bad {
            assert_eq!(Entry::decode(bytes, Stamp::default()), Err(Stop::Bad), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn records_read_back(
            context in ".{0,40}",
            lsn: u64,
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let entry = Entry::record(&context, stamp(lsn), &bytes);
            let mut out = [0; 1000];
            let used = entry.encode(&mut out).unwrap();
            prop_assert_eq!(used, entry.encoded_bytes());
            let (read, taken) = Entry::decode(&out, stamp(lsn)).unwrap();
            prop_assert_eq!((taken, read.record_bytes()), (used, Some(&bytes[..])));
            prop_assert_eq!((read.timestamp, read.context, read.event_id), (1_700_000_000, &*context, lsn));
            for end in 0..used {
                prop_assert_eq!(Entry::decode(&out[..end], stamp(lsn)), Err(Stop::Short));
                prop_assert_eq!(entry.encode(&mut [0; 1000][..end]), None);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: std::vec::Vec<u8>) {
            let _ = Entry::decode(&bytes, Stamp::default());
        }
    }
}
