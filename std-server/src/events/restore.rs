//! The records of a segment, from the entries of its archive: what [`Describer`](super::describe) does, backwards.
//!
//! ```text
//!  archive ─► entries ─► record, record … ─► the digest that was made of the segment? ─► these are its records, byte for byte
//! ```
//!
//! An entry does not say whether its event had a number of its own where that number is the LSN. Both ways are tried: the digest of the
//! segment's records, which their archive names, tells which is right.

use std::path::Path;

use strandline::archive::{Archive, ArchiveError, Digest, Digester, OwnedEntry, Range, Value};
use strandline::repair::{Kept, KeptRecord, Unkept, Wanted};
use strandline::{Lsn, Millis};

use super::line::is_reserved;
use super::record::Event;
use crate::keyspace::{Effect, encode_record};

/// The records of a segment, from an archive that was verified.
///
/// # Errors
/// It is not the archive of this segment, its records are not those that the segment had, or it can't be read now.
pub(crate) fn records_of(path: &Path, shard: u16, wanted: &Wanted) -> Result<Kept, Unkept> {
    let from = path.display().to_string();
    let useless = |why: &str| Err(Unkept::Useless(format!("{from} {why}")));
    let archive = Archive::open(path).map_err(unkept)?;
    let info = archive.info();
    let Some(extended) = &info.extended else { return useless("does not say whose it is") };
    if extended.store != wanted.store {
        return useless("is of another store");
    }
    let lsns = (extended.lsns.0, extended.lsns.1.next());
    let is_its = (info.shard, info.log, extended.timeline, extended.epoch)
        == (u64::from(shard), wanted.log, wanted.timeline, wanted.epoch);
    if !is_its || lsns != wanted.lsns || info.entries == 0 {
        return useless("does not hold exactly the records of the segment");
    }
    let Ok(source) = <[u8; 32]>::try_from(&extended.source[..]).map(Digest) else {
        return useless("was not made of the whole segment");
    };
    for numbers in [Numbers::LsnStandsIn, Numbers::OwnOnes] {
        let (records, digest) = read(&archive, numbers)?;
        if digest == source {
            return Ok(Kept { from, records, digest });
        }
    }
    useless("has entries that don't give the records that it was made of")
}

/// What is wrong with an archive may be wrong for ever, or only now.
fn unkept(error: ArchiveError) -> Unkept {
    match error {
        ArchiveError::Damaged { .. } | ArchiveError::Misplaced { .. } => Unkept::Useless(error.to_string()),
        _ => Unkept::NotNow(error.to_string()),
    }
}

/// What a number means that is the LSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// The event had none.
    LsnStandsIn,
    /// The event had this one, unless a server wrote it for itself.
    OwnOnes,
}

fn read(archive: &Archive, numbers: Numbers) -> Result<(Vec<KeptRecord>, Digest), Unkept> {
    let (mut records, mut digester) = (Vec::new(), Digester::default());
    let mut group: Vec<OwnedEntry> = Vec::new();
    let mut take = |group: &mut Vec<OwnedEntry>| {
        if let Some(first) = group.first() {
            let (lsn, time) = (first.stamp.lsn, first.stamp.commit);
            let bytes = record(group, numbers).map_err(Unkept::Useless)?;
            digester.update(&lsn.0.to_le_bytes());
            digester.update(&(bytes.len() as u64).to_le_bytes());
            digester.update(&bytes);
            records.push(KeptRecord { lsn, time, bytes });
        }
        group.clear();
        Ok(())
    };
    for entry in archive.entries(Range::ALL).map_err(unkept)? {
        let entry = entry.map_err(unkept)?;
        if group.first().is_some_and(|first| first.stamp.lsn != entry.stamp.lsn) {
            take(&mut group)?;
        }
        group.push(entry);
    }
    take(&mut group)?;
    Ok((records, digester.finish()))
}

/// The record that these entries, all of one LSN, describe.
fn record(entries: &[OwnedEntry], numbers: Numbers) -> Result<Vec<u8>, String> {
    let lsn = entries.first().map_or(Lsn(0), |entry| entry.stamp.lsn);
    let unknown = || format!("entry {lsn} describes no record of this server");
    let mut out = Vec::new();
    if let [entry] = entries
        && !entry.event_type.starts_with(KEYSPACE)
    {
        let has_none = match numbers {
            Numbers::LsnStandsIn => true,
            Numbers::OwnOnes => is_reserved(&entry.event_type),
        };
        let Millis(timestamp_ms) = entry.stamp.time;
        let event_id = Some(entry.event_id).filter(|id| !has_none || *id != lsn.0);
        let (event_type, context_id, payload) = (&*entry.event_type, &*entry.context, &entry.payload[..]);
        Event { timestamp_ms, event_id, event_type, context_id, payload }.encode(&mut out);
        return Ok(out);
    }
    let described: Option<Vec<Described>> = entries.iter().map(Described::read).collect();
    let described = described.ok_or_else(unknown)?;
    let effects: Option<Vec<Option<Effect<'_>>>> = described.iter().map(Described::effect).collect();
    let effects: Vec<Effect<'_>> = effects.ok_or_else(unknown)?.into_iter().flatten().collect();
    if !effects.iter().all(Effect::is_within_limits) {
        return Err(unknown());
    }
    encode_record(&effects, &mut out);
    Ok(out)
}

/// An entry that describes an effect.
struct Described {
    what: String,
    key: Vec<u8>,
    fields: Vec<(String, Value)>,
}

impl Described {
    fn read(entry: &OwnedEntry) -> Option<Self> {
        let what = entry.event_type.strip_prefix(KEYSPACE)?.to_owned();
        let fields = entry.fields().ok()?;
        let key = match fields.iter().find(|(name, _)| name == "key") {
            Some((_, value)) => bytes_of(value)?.to_vec(),
            None => entry.context.clone().into_bytes(),
        };
        Some(Self { what, key, fields })
    }

    fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        match self.field(name)? {
            Value::Unsigned(number) => Some(*number),
            _ => None,
        }
    }

    /// The effect; `Some(None)` of a record without any.
    fn effect(&self) -> Option<Option<Effect<'_>>> {
        let key = &self.key[..];
        let bytes = |name| self.field(name).and_then(bytes_of);
        Some(Some(match &*self.what {
            "set" => Effect::Set { key, value: bytes("value")?, expires_at_ms: self.number("expires_at_ms") },
            "delete" => Effect::Delete { key },
            "write" => {
                let offset = u32::try_from(self.number("offset")?).ok()?;
                Effect::Write { key, offset, bytes: bytes("value")? }
            }
            "expire" => Effect::Expire { key, at_ms: self.number("expires_at_ms")? },
            "persist" => Effect::Persist { key },
            "rename" => Effect::Rename { from: key, to: bytes("to")? },
            "copy" => Effect::Copy { from: key, to: bytes("to")? },
            "flush" => Effect::Flush,
            "none" => return Some(None),
            _ => return None,
        }))
    }
}

const fn bytes_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Text(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes.as_slice()),
        _ => None,
    }
}

const KEYSPACE: &str = "kv.";

#[cfg(test)]
mod tests {
    use strandline::archive::Stamp;
    use strandline::{Describe as _, Record};

    use super::*;
    use crate::events::describe::Describer;

    /// What an archive has of a record, made a record again.
    fn again(bytes: &[u8], numbers: Numbers) -> Result<Vec<u8>, String> {
        let mut entries = Vec::new();
        let record_of_log = Record { lsn: Lsn(7), time: Millis(1_700_000_000_250), bytes };
        let described = Describer.entries(&record_of_log, &mut |entry| {
            entries.push(OwnedEntry::from(entry));
            Ok(())
        });
        described.expect("one of the server's");
        assert!(entries.iter().all(|entry| entry.stamp.lsn == Lsn(7)));
        record(&entries, numbers)
    }

    #[test]
    fn every_kind_of_record_comes_back_byte_for_byte() {
        let (text, raw) = (&b"key"[..], &b"\xff\x00k"[..]);
        let effects = [
            Effect::Set { key: text, value: b"v", expires_at_ms: None },
            Effect::Set { key: raw, value: b"\xfe", expires_at_ms: Some(u64::MAX) },
            Effect::Set { key: b"", value: b"", expires_at_ms: Some(0) },
            Effect::Delete { key: raw },
            Effect::Write { key: text, offset: 70_000, bytes: b"\x80" },
            Effect::Expire { key: raw, at_ms: 5 },
            Effect::Persist { key: text },
            Effect::Rename { from: raw, to: b"\xff" },
            Effect::Copy { from: text, to: raw },
            Effect::Flush,
        ];
        let each = effects.iter().map(core::slice::from_ref).chain([&effects[..], &[]]);
        for effects in each {
            let mut bytes = Vec::new();
            encode_record(effects, &mut bytes);
            assert_eq!(again(&bytes, Numbers::LsnStandsIn), Ok(bytes), "{effects:?}");
        }
        let event = Event {
            timestamp_ms: 1_600_000_000_999,
            event_id: None,
            event_type: "paid",
            context_id: "",
            payload: &[0x81, 0xa1, b'n', 0x05],
        };
        for (event_id, right) in [
            (None, &[Numbers::LsnStandsIn][..]),
            (Some(7), &[Numbers::OwnOnes]),
            (Some(8), &[Numbers::LsnStandsIn, Numbers::OwnOnes]),
        ] {
            let mut bytes = Vec::new();
            Event { event_id, ..event }.encode(&mut bytes);
            for numbers in [Numbers::LsnStandsIn, Numbers::OwnOnes] {
                assert_eq!(
                    again(&bytes, numbers) == Ok(bytes.clone()),
                    right.contains(&numbers),
                    "{event_id:?}"
                );
            }
        }
    }

    #[test]
    fn what_no_server_wrote_is_no_record() {
        let entry = |event_type: &str| OwnedEntry {
            timestamp: 1,
            context: "k".into(),
            event_type: event_type.into(),
            payload: vec![0x80],
            event_id: 1,
            stamp: Stamp::default(),
        };
        for entries in [vec![entry("kv.set")], vec![entry("kv.colour")], vec![entry("a"), entry("b")]] {
            assert!(record(&entries, Numbers::LsnStandsIn).is_err(), "{entries:?}");
        }
    }
}
