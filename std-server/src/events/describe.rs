//! Records of the log as entries of an archive.
//!
//! | record | entries |
//! |---|---|
//! | an event | its own type, context, payload and number |
//! | a command of the keyspace | one for each effect: type `kv.set`, `kv.delete` …, the key as context, the LSN as number |
//!
//! Keys and values are text where they are UTF-8, otherwise bytes; a key that is no text stands in the payload, and its context
//! is empty.

use strandline::archive::{ArchiveError, Entry, Payload, Stamp, Taker, Value, encode_fields};
use strandline::{Describe, Millis, Record};

use super::record::{Event, is_event};
use crate::keyspace::{Effect, decode_record};

/// Describes the server's records.
#[derive(Debug, Default)]
pub(crate) struct Describer;

impl Describe for Describer {
    fn entries(&mut self, record: &Record<'_>, take: &mut Taker<'_>) -> Result<(), ArchiveError> {
        let unknown = || ArchiveError::Other(format!("record {} is not one of this server's", record.lsn));
        if is_event(record.bytes) {
            let event = Event::decode(record.bytes).ok_or_else(unknown)?;
            return take(&Entry {
                timestamp: event.timestamp_ms / 1000,
                context: event.context_id,
                event_type: event.event_type,
                payload: Payload::Map(event.payload),
                event_id: event.event_id.unwrap_or(record.lsn.0),
                stamp: stamp(record, event.timestamp_ms),
            });
        }
        for effect in decode_record(record.bytes) {
            let effect =
                effect.map_err(|error| ArchiveError::Other(format!("record {}: {error}", record.lsn)))?;
            let (event_type, key, mut fields) = described(&effect);
            let context = match key.map(core::str::from_utf8) {
                Some(Ok(text)) => text,
                Some(Err(_)) => {
                    fields.push(("key", Value::Bytes(key.unwrap_or_default().to_vec())));
                    ""
                }
                None => "",
            };
            let payload = encode_fields(fields);
            take(&Entry {
                timestamp: record.time.0 / 1000,
                context,
                event_type,
                payload: Payload::Map(&payload),
                event_id: record.lsn.0,
                stamp: stamp(record, record.time.0),
            })?;
        }
        if record.bytes.len() == 1 {
            // A record without an effect, which only moves the log on.
            let payload = encode_fields([]);
            let (context, event_type) = ("", "kv.none");
            take(&Entry {
                timestamp: record.time.0 / 1000,
                context,
                event_type,
                payload: Payload::Map(&payload),
                event_id: record.lsn.0,
                stamp: stamp(record, record.time.0),
            })?;
        }
        Ok(())
    }
}

fn stamp(record: &Record<'_>, time_ms: u64) -> Stamp {
    Stamp { lsn: record.lsn, time: Millis(time_ms), commit: record.time }
}

type Fields = Vec<(&'static str, Value)>;

/// Type, key and payload of an effect.
fn described<'e>(effect: &Effect<'e>) -> (&'static str, Option<&'e [u8]>, Fields) {
    let expiry = |at_ms: u64| ("expires_at_ms", Value::Unsigned(at_ms));
    match *effect {
        Effect::Set { key, value, expires_at_ms } => {
            let mut fields = vec![("value", value_of(value))];
            fields.extend(expires_at_ms.map(expiry));
            ("kv.set", Some(key), fields)
        }
        Effect::Delete { key } => ("kv.delete", Some(key), Vec::new()),
        Effect::Write { key, offset, bytes } => (
            "kv.write",
            Some(key),
            vec![("offset", Value::Unsigned(u64::from(offset))), ("value", value_of(bytes))],
        ),
        Effect::Expire { key, at_ms } => ("kv.expire", Some(key), vec![expiry(at_ms)]),
        Effect::Persist { key } => ("kv.persist", Some(key), Vec::new()),
        Effect::Rename { from, to } => ("kv.rename", Some(from), vec![("to", value_of(to))]),
        Effect::Copy { from, to } => ("kv.copy", Some(from), vec![("to", value_of(to))]),
        Effect::Flush => ("kv.flush", None, Vec::new()),
    }
}

fn value_of(bytes: &[u8]) -> Value {
    core::str::from_utf8(bytes)
        .map_or_else(|_| Value::Bytes(bytes.to_vec()), |text| Value::Text(text.to_owned()))
}
