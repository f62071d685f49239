//! Which events are wanted, and how one is written for a client.

use core::fmt::Write as _;

use jiff::Timestamp;
use strandline::archive::json::{Json, payload};

use super::cursor::Standing;
use super::line::{is_reserved, timestamp};
use super::record::Event;
use super::unpack::{equals, field, is_text};

/// In which order events come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    #[default]
    OldestFirst,
    NewestFirst,
}

/// What a client wants to see.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// First and last LSN.
    pub(crate) lsns: (u64, u64),
    /// A first LSN was asked for: what is missing from there on is told.
    pub(crate) is_bounded: bool,
    /// Timestamps in ms: from here on, and before here.
    pub(crate) times_ms: (u64, u64),
    /// One of these; any if empty.
    pub(crate) types: Vec<String>,
    pub(crate) context: Option<String>,
    pub(crate) fields: Vec<Wanted>,
    pub(crate) order: Order,
    pub(crate) limit: Option<u64>,
    /// Behind this event, in the order that is asked for.
    pub(crate) cursor: Option<Standing>,
    pub(crate) shard: Option<u16>,
}

/// A field of the payload and the value that it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    path: String,
    text: String,
    /// The value in MessagePack, if the text is JSON.
    value: Option<Vec<u8>>,
}

impl Wanted {
    fn new(path: &str, text: &str) -> Self {
        let object = payload(format!("{{\"v\":{text}}}").as_bytes()).ok();
        let value = object.and_then(|object| field(&object, "v").map(<[u8]>::to_vec));
        Self { path: path.to_owned(), text: text.to_owned(), value }
    }

    fn is_met(&self, payload: &[u8]) -> bool {
        field(payload, &self.path).is_some_and(|stored| {
            is_text(stored, &self.text) || self.value.as_deref().is_some_and(|value| equals(stored, value))
        })
    }
}

impl Default for Query {
    fn default() -> Self {
        Self {
            lsns: (1, u64::MAX),
            is_bounded: false,
            times_ms: (0, u64::MAX),
            types: Vec::new(),
            context: None,
            fields: Vec::new(),
            order: Order::OldestFirst,
            limit: None,
            cursor: None,
            shard: None,
        }
    }
}

impl Query {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// The one that can't be, and why.
    pub(crate) fn read(parameters: &[(String, String)], shards: u16) -> Result<Self, String> {
        let mut query = Self::default();
        for (name, text) in parameters {
            query.take(name, text, shards).map_err(|why| format!("{name}: {why}"))?;
            let once = !matches!(&**name, "type") && !name.starts_with(FIELD);
            if once && parameters.iter().filter(|(other, _)| other == name).count() > 1 {
                return Err(format!("{name}: it stands more than once"));
            }
        }
        Ok(query)
    }

    fn take(&mut self, name: &str, text: &str, shards: u16) -> Result<(), String> {
        let number = || text.parse::<u64>().map_err(|_| format!("{text:?} is no number from 0 up"));
        let time = || timestamp(text).or_else(|_| timestamp(&format!("{text:?}")));
        match name {
            "from_lsn" => (self.lsns.0, self.is_bounded) = (number()?, true),
            "to_lsn" => self.lsns.1 = number()?,
            "since" => self.times_ms.0 = time()?,
            "until" => self.times_ms.1 = time()?,
            "type" => self.types.push(text.to_owned()),
            "context" => self.context = Some(text.to_owned()),
            "limit" => self.limit = Some(number()?),
            "order" => {
                self.order = match text {
                    "oldest" | "asc" => Order::OldestFirst,
                    "newest" | "desc" => Order::NewestFirst,
                    _ => return Err(format!("{text:?} is neither oldest nor newest")),
                }
            }
            "cursor" => (self.cursor, self.is_bounded) = (Some(text.parse()?), true),
            "shard" => {
                let shard = number()?;
                if shard >= u64::from(shards) {
                    return Err(format!("there are {shards} shards, from 0 on"));
                }
                self.shard = u16::try_from(shard).ok();
            }
            _ => match name.strip_prefix(FIELD).filter(|path| !path.is_empty()) {
                Some(path) => self.fields.push(Wanted::new(path, text)),
                None => return Err(format!("there is no such parameter; there are {PARAMETERS}")),
            },
        }
        Ok(())
    }

    /// Whether an event is wanted, its LSN aside.
    pub(crate) fn wants(&self, event: &Event<'_>) -> bool {
        let asked = self.types.iter().any(|wanted| wanted == event.event_type);
        let usual = self.types.is_empty() && !is_reserved(event.event_type);
        (asked || usual)
            && !event.event_type.starts_with("kv.")
            && (self.times_ms.0..self.times_ms.1).contains(&event.timestamp_ms)
            && self.context.as_deref().is_none_or(|context| context == event.context_id)
            && self.fields.iter().all(|wanted| wanted.is_met(event.payload))
    }

    /// Whether events of these timestamps may be wanted.
    pub(crate) const fn meets(&self, earliest_ms: u64, latest_ms: u64) -> bool {
        earliest_ms < self.times_ms.1 && latest_ms >= self.times_ms.0
    }
}

/// An event with its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'e> {
    pub(crate) shard: u16,
    pub(crate) epoch: u32,
    pub(crate) lsn: u64,
    pub(crate) event: Event<'e>,
}

impl Seen<'_> {
    /// Appends it as one line of JSON, without the line's end; `cursor` is where a reader stands who has seen it.
    ///
    /// # Errors
    /// Its payload is not what was stored.
    pub(crate) fn write(&self, cursor: &Standing, several: bool, out: &mut Vec<u8>) -> Result<(), String> {
        let Self { shard, lsn, event, .. } = *self;
        let mut head = format!("{{\"cursor\":\"{cursor}\",\"lsn\":{lsn}");
        if several {
            let _ = write!(head, ",\"shard\":{shard}");
        }
        let _ = write!(head, ",\"timestamp\":\"{}\",\"event_type\":", time_text(event.timestamp_ms));
        out.extend(head.as_bytes());
        put(out, event.event_type)?;
        out.extend(b",\"context_id\":");
        put(out, event.context_id)?;
        out.extend(format!(",\"event_id\":{},\"payload\":", event.event_id.unwrap_or(lsn)).as_bytes());
        put(out, &Json(event.payload))?;
        out.push(b'}');
        Ok(())
    }
}

fn put<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), String> {
    serde_json::to_writer(out, value).map_err(|error| error.to_string())
}

/// RFC 3339 with milliseconds, so that it is never taken for a number of another unit.
fn time_text(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| ms.to_string(), |time| format!("{time:.3}"))
}

const FIELD: &str = "payload.";
const PARAMETERS: &str =
    "from_lsn, to_lsn, since, until, type, context, payload.FIELD, order, limit, cursor and shard";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parameters: &[(&str, &str)]) -> Result<Query, String> {
        let owned: Vec<_> =
            parameters.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Query::read(&owned, 2)
    }

    #[test]
    fn what_is_asked_for_is_what_comes() {
        let packed = payload(br#"{"user":{"name":"ann","age":30},"code":"7"}"#).expect("JSON");
        let event = Event {
            timestamp_ms: 1_700_000_000_500,
            event_id: None,
            event_type: "signup",
            context_id: "a",
            payload: &packed,
        };
        for (parameters, wanted) in [
            (&[][..], true),
            (&[("type", "signup"), ("type", "x")], true),
            (&[("type", "x")], false),
            (&[("context", "a"), ("payload.user.name", "ann")], true),
            (&[("payload.user.age", "30"), ("payload.code", "7")], true),
            (&[("payload.code", "\"7\"")], true),
            (&[("payload.user.age", "31")], false),
            (&[("since", "1700000000.5")], true),
            (&[("since", "2023-11-14T22:13:20.501Z")], false),
            (&[("until", "1700000000500")], false),
        ] {
            let query = read(parameters).expect("well formed");
            assert_eq!(query.wants(&event), wanted, "{parameters:?}");
        }
    }

    #[test]
    fn what_can_not_be_is_named() {
        for (parameters, named) in [
            (&[("limit", "x")][..], "limit: \"x\" is no number"),
            (&[("colour", "red")], "colour: there is no such parameter"),
            (&[("shard", "2")], "shard: there are 2 shards"),
            (&[("cursor", "17")], "cursor: \"17\" is no cursor"),
            (&[("order", "random")], "order: \"random\" is neither"),
            (&[("limit", "1"), ("limit", "2")], "limit: it stands more than once"),
            (&[("payload.", "1")], "payload.: there is no such parameter"),
        ] {
            let error = read(parameters).expect_err(named);
            assert!(error.starts_with(named), "{error}");
        }
    }

    #[test]
    fn a_line_is_this_text() {
        let packed = payload(br#"{"n":18446744073709551615,"f":1.0,"b":{"$bytes":"aGk="}}"#).expect("JSON");
        let event = Event {
            timestamp_ms: 1_700_000_000_000,
            event_id: None,
            event_type: "t",
            context_id: "c\n",
            payload: &packed,
        };
        let mut line = Vec::new();
        let cursor = "3-17".parse().expect("a cursor");
        Seen { shard: 0, epoch: 3, lsn: 17, event }.write(&cursor, false, &mut line).expect("whole");
        assert_eq!(
            String::from_utf8(line).expect("text"),
            r#"{"cursor":"3-17","lsn":17,"timestamp":"2023-11-14T22:13:20.000Z","event_type":"t","context_id":"c\n","event_id":17,"payload":{"b":{"$bytes":"aGk="},"f":1.0,"n":18446744073709551615}}"#
        );
    }
}
