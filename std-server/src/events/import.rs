//! Events of files on their way into the logs: each once, however often a file is imported.
//!
//! ```text
//!  the events of a file     e1 e2 e3 … eN            a digest runs over their records
//!                            │  │  │
//!  shard 0 gets e1, e3, and a mark (N, digest)       one group: all of it is stored, or nothing
//!  shard 1 gets e2, and a mark (N, digest)
//! ```
//!
//! A mark says: of the first N events of a file with this digest, this shard has all that belong to it. A file that begins with
//! those events goes on behind them. So what was broken off is finished, what has grown gets the rest, and the archive of a log
//! counts as the log. A mark is an event of type `log.imported`.

use core::ops::ControlFlow;
use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use strandline::archive::json::Json;
use strandline::archive::{Digester, Entry, Payload, Value, encode_fields};

use super::line::{self, Draft, LAST_MS, is_reserved};
use super::query::Query;
use super::record::Event;
use super::scan::{Found, scan};
use super::shards::Shards;

/// Why something in a file is not imported.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is no event.
    Bad(String),
    /// The server wrote it into its archives, or could have: of this type.
    Own(String),
}

/// An event as SnelDB's logs, exports of archives and `GET /events` have it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an event")]
struct Line<'l> {
    #[serde(borrow)]
    timestamp: &'l RawValue,
    #[serde(borrow)]
    context_id: Cow<'l, str>,
    #[serde(borrow)]
    event_type: Cow<'l, str>,
    #[serde(borrow)]
    payload: &'l RawValue,
    #[serde(default)]
    event_id: Option<u64>,
    #[serde(default)]
    time_ms: u64,
    // Its place there, which it does not keep.
    #[serde(default, rename = "lsn")]
    _lsn: IgnoredAny,
    #[serde(default, rename = "commit_ms")]
    _commit_ms: IgnoredAny,
    #[serde(default, rename = "cursor")]
    _cursor: IgnoredAny,
    #[serde(default, rename = "shard")]
    _shard: IgnoredAny,
}

/// Reads a line of JSON.
///
/// # Errors
/// [`Unfit`].
pub(crate) fn read_line(bytes: &[u8]) -> Result<Draft, Unfit> {
    let text = core::str::from_utf8(bytes).map_err(|_| Unfit::Bad("it is not UTF-8".into()))?.trim();
    if text.starts_with('[') {
        return Err(Unfit::Bad("an array: give one event a line, as export --format jsonl does".into()));
    }
    let read = serde_json::from_str::<Line<'_>>(text);
    let line = read.map_err(|error| Unfit::Bad(line::described(&error)))?;
    if is_reserved(&line.event_type) {
        return Err(Unfit::Own(line.event_type.into_owned()));
    }
    let timestamp_ms = line::timestamp(line.timestamp.get()).map_err(Unfit::Bad)?;
    let payload = line::payload(line.payload.get()).map_err(Unfit::Bad)?;
    Ok(draft(&Event {
        timestamp_ms: precise(timestamp_ms, line.time_ms),
        event_id: line.event_id,
        event_type: &line.event_type,
        context_id: &line.context_id,
        payload: &payload,
    }))
}

/// Takes an entry of an archive.
///
/// # Errors
/// [`Unfit`].
pub(crate) fn read_entry(entry: &Entry<'_>) -> Result<Draft, Unfit> {
    let Payload::Map(payload) = entry.payload else {
        return Err(Unfit::Own(entry.event_type.into()));
    };
    if is_reserved(entry.event_type) {
        return Err(Unfit::Own(entry.event_type.into()));
    }
    let timestamp_ms = entry.timestamp.checked_mul(1000).filter(|ms| *ms <= LAST_MS).ok_or_else(|| {
        Unfit::Bad(format!("timestamp {} is no number of seconds between 1970 and 9999", entry.timestamp))
    })?;
    // What can't be printed would end every query that meets it.
    serde_json::to_writer(std::io::sink(), &Json(payload))
        .map_err(|error| Unfit::Bad(format!("payload: {error}")))?;
    Ok(draft(&Event {
        timestamp_ms: precise(timestamp_ms, entry.stamp.time.0),
        event_id: Some(entry.event_id),
        event_type: entry.event_type,
        context_id: entry.context,
        payload,
    }))
}

/// The time in milliseconds that was kept beside the timestamp in seconds, if it is the same one.
const fn precise(timestamp_ms: u64, time_ms: u64) -> u64 {
    if time_ms / 1000 == timestamp_ms / 1000 && time_ms > timestamp_ms { time_ms } else { timestamp_ms }
}

fn draft(event: &Event<'_>) -> Draft {
    let mut record = Vec::with_capacity(event.payload.len() + event.context_id.len() + 64);
    event.encode(&mut record);
    Draft { context_id: event.context_id.to_owned(), record }
}

/// What the logs say of earlier imports.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// By the number of events: their digest, and the shard that has them; all shards if none is named.
    by_count: BTreeMap<u64, Vec<(String, Option<u16>)>>,
}

impl Marks {
    /// Reads all events that are there.
    ///
    /// # Errors
    /// Something can't be read.
    pub(crate) fn read(shards: &Shards) -> Result<Self, String> {
        let mut marks = Self::default();
        let query = Query { types: vec![IMPORTED.to_owned()], ..Query::default() };
        for shard in shards.all() {
            let _: ControlFlow<()> = scan(shard, &query, None, &mut |found| {
                if let Found::Event(seen) = found
                    && let Some((count, digest)) = mark_of(seen.event.payload)
                {
                    marks.by_count.entry(count).or_default().push((digest, Some(shard.number)));
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(marks)
    }

    /// From here on the events of this file count as imported: the same ones in another file are left out.
    pub(crate) fn add(&mut self, trail: &Trail) {
        if trail.count > 0 {
            self.by_count.entry(trail.count).or_default().push((trail.digest(), None));
        }
    }
}

fn mark_of(payload: &[u8]) -> Option<(u64, String)> {
    let Ok(Value::Map(fields)) = Value::decode(payload) else { return None };
    let field = |wanted: &str| {
        let named = |(name, _): &&(Value, Value)| matches!(name, Value::Text(name) if name == wanted);
        fields.iter().find(named).map(|(_, value)| value)
    };
    match (field("entries"), field("digest")) {
        (Some(Value::Unsigned(count)), Some(Value::Text(digest))) => Some((*count, digest.clone())),
        _ => None,
    }
}

/// What the events of a file are known by, while they pass.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    digester: Digester,
    count: u64,
    /// How many of the first events each shard has all of that belong to it.
    stored: Vec<u64>,
}

impl Trail {
    pub(crate) fn new(shards: u16) -> Self {
        Self { digester: Digester::default(), count: 0, stored: vec![0; usize::from(shards)] }
    }

    /// Takes the next event, and notes what is known of all up to here.
    pub(crate) fn pass(&mut self, draft: &Draft, marks: &Marks) {
        self.step(draft);
        let Some(there) = marks.by_count.get(&self.count) else { return };
        let digest = self.digest();
        for (_, shard) in there.iter().filter(|(known, _)| *known == digest) {
            match shard {
                Some(shard) => self.stored[usize::from(*shard)] = self.count,
                None => self.stored.fill(self.count),
            }
        }
    }

    /// Events that have passed.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether the same events have passed here and there.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        self.count == other.count && self.digest() == other.digest()
    }

    fn step(&mut self, draft: &Draft) {
        self.count += 1;
        self.digester.update(&(draft.record.len() as u64).to_le_bytes());
        self.digester.update(&draft.record);
    }

    fn digest(&self) -> String {
        self.digester.clone().finish().to_string()
    }
}

/// The events of one file on their way into the logs.
#[derive(Debug)]
pub(crate) struct Batches<'s> {
    shards: &'s Shards,
    /// Name of the file, for the marks.
    source: &'s str,
    /// What the shards have of it.
    known: Vec<u64>,
    trail: Trail,
    groups: Vec<Vec<Vec<u8>>>,
    bytes: usize,
    most_bytes: usize,
    latest_ms: u64,
}

impl<'s> Batches<'s> {
    /// `checked` has seen all events of the file.
    pub(crate) fn new(shards: &'s Shards, source: &'s str, checked: &Trail, record_bytes: usize) -> Self {
        let known = checked.stored.clone();
        let (trail, groups) = (Trail::new(shards.count()), vec![Vec::new(); known.len()]);
        let most_bytes = BATCH_BYTES.min(record_bytes / 2);
        Self { shards, source, known, trail, groups, bytes: 0, most_bytes, latest_ms: 0 }
    }

    /// Takes the next event; whether a shard needs it. `full` is called with batches that are to be stored.
    ///
    /// # Errors
    /// That of `full`.
    pub(crate) fn take<E>(
        &mut self,
        draft: Draft,
        full: impl FnOnce(Batch) -> Result<(), E>,
    ) -> Result<bool, E> {
        let bytes = draft.record.len() + RECORD_HEAD;
        if self.bytes > 0 && self.bytes + bytes > self.most_bytes {
            full(self.end())?;
        }
        self.trail.step(&draft);
        let shard = usize::from(self.shards.of(&draft.context_id));
        if self.trail.count <= self.known[shard] {
            return Ok(false);
        }
        let time_ms = draft.timestamp_ms();
        self.latest_ms = if self.bytes == 0 { time_ms } else { self.latest_ms.max(time_ms) };
        self.bytes += bytes;
        self.groups[shard].push(draft.record);
        Ok(true)
    }

    /// What has passed.
    pub(crate) const fn trail(&self) -> &Trail {
        &self.trail
    }

    /// The batch that is left, with a mark for each shard that gets something.
    pub(crate) fn end(&mut self) -> Batch {
        let payload = encode_fields([
            ("digest", Value::Text(self.trail.digest())),
            ("entries", Value::Unsigned(self.trail.count)),
            ("source", Value::Text(self.source.to_owned())),
        ]);
        let mark = Event {
            // Retention goes by the newest event: a mark keeps nothing that would otherwise go.
            timestamp_ms: self.latest_ms,
            event_id: None,
            event_type: IMPORTED,
            context_id: "log",
            payload: &payload,
        };
        let empty = vec![Vec::new(); self.groups.len()];
        let mut groups = core::mem::replace(&mut self.groups, empty);
        self.bytes = 0;
        let events = groups.iter().map(Vec::len).sum();
        for group in groups.iter_mut().filter(|group| !group.is_empty()) {
            let mut record = Vec::new();
            mark.encode(&mut record);
            group.push(record);
        }
        Batch { groups, events }
    }
}

/// What is stored at once.
#[derive(Debug)]
pub(crate) struct Batch {
    /// For each shard.
    pub(crate) groups: Vec<Vec<Vec<u8>>>,
    /// Without the marks.
    pub(crate) events: usize,
}

/// The longest record of an event that fits a record of the log, together with a mark.
pub(crate) const fn most_bytes(record_bytes: usize) -> usize {
    record_bytes.saturating_sub(MARK_BYTES)
}

/// Type of the event that says what was imported.
const IMPORTED: &str = "log.imported";
const BATCH_BYTES: usize = 1 << 20;
/// A record in a group has its length in front of it.
const RECORD_HEAD: usize = 5;
/// More than a mark takes, whose largest part is the name of a file, and than the lengths of two records.
const MARK_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn through(line: &str) -> Result<(u64, Option<u64>, String), Unfit> {
        let draft = read_line(line.as_bytes())?;
        let event = Event::decode(&draft.record).expect("an event");
        let payload = serde_json::to_string(&Json(event.payload)).expect("JSON");
        let text = format!("{} {} {payload}", event.context_id, event.event_type);
        Ok((event.timestamp_ms, event.event_id, text))
    }

    #[test]
    fn lines_of_logs_exports_and_queries_are_read() {
        let log = r#"{"timestamp":1700000000,"context_id":"","event_type":"","payload":{},"event_id":0}"#;
        assert_eq!(through(log), Ok((1_700_000_000_000, Some(0), "  {}".into())), "names may be empty");
        let export = r#"{"timestamp":1700000000,"context_id":"c","event_type":"t","payload":{"b":{"$bytes":"AP8="}},
            "event_id":18446744073709551615,"lsn":3,"time_ms":1700000000123,"commit_ms":9}"#;
        let text = r#"c t {"b":{"$bytes":"AP8="}}"#.to_owned();
        assert_eq!(through(export), Ok((1_700_000_000_123, Some(u64::MAX), text)));
        let query = r#"{"cursor":"1:2-3","lsn":3,"shard":1,"timestamp":"2023-11-14T22:13:20.250Z","event_type":"t",
            "context_id":"c","event_id":3,"payload":{}}"#;
        assert_eq!(through(query), Ok((1_700_000_000_250, Some(3), "c t {}".into())));
        let bare = r#"{"timestamp":5,"context_id":"c","event_type":"t","payload":{}}"#;
        assert_eq!(through(bare), Ok((5000, None, "c t {}".into())), "the LSN will stand in");
    }

    #[test]
    fn what_is_no_event_is_named() {
        let good = r#"{"timestamp":5,"context_id":"c","event_type":"t","payload":{"n":1},"event_id":2}"#;
        for (from, to, why) in [
            ("\"timestamp\":5,", "", "missing field `timestamp`"),
            ("5", "-5", "is no number of seconds or milliseconds"),
            ("\"event_id\":2", "\"event_id\":-2", "invalid value: integer `-2`"),
            ("2}", "2,\"more\":1}", "unknown field `more`"),
            ("{\"n\":1}", "[]", "it is not an object"),
            ("{\"n\":1}", "{\"n\":1,\"n\":2}", "field \"n\" is there twice"),
            ("\"n\":1", "\"n\":18446744073709551616", "is outside the integers"),
            ("2}", "2", "EOF while parsing"),
            ("{\"t", "[{\"t", "an array"),
        ] {
            let bad = good.replacen(from, to, 1);
            let Err(Unfit::Bad(said)) = through(&bad) else { panic!("{bad} was taken") };
            assert!(said.contains(why), "{said}");
        }
        for gap in [r#"{"gap":{"shard":0}}"#, r#"{"error":"x"}"#] {
            assert!(matches!(through(gap), Err(Unfit::Bad(_))), "{gap}");
        }
        assert_eq!(read_line(b"{\"context_id\":\"\xff\"").unwrap_err(), Unfit::Bad("it is not UTF-8".into()));
        for own in ["kv.set", "log.voided", "record"] {
            assert_eq!(through(&good.replace("\"t\"", &format!("{own:?}"))), Err(Unfit::Own(own.into())));
        }
    }
}
