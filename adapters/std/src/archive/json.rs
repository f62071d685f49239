//! Payloads and entries as JSON, there and back without a loss.
//!
//! ```text
//!  MessagePack            JSON
//!  nil, bool, string      the same
//!  u64, i64, f64          numbers; NaN and the infinities {"$float": "NaN"}
//!  bytes                  {"$bytes": "base64"}
//!  time                   {"$time": "2023-11-14T22:13:20.25Z"}
//!  other extension        {"$ext": [type, "base64"]}
//!  map                    object; {"$pairs": [[key, value], ...]} if a key is no string, or the only one begins with $
//! ```
//!
//! A payload itself is always an object. Reading sorts the fields of objects, as SnelDB does; a field that is there twice is an
//! error. JSON has no integers outside of 64 bits: such numbers are read as f64.

use core::cell::Cell;
use core::fmt;

use base64ct::{Base64, Encoding};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strandline_core::archive::entry::{Entry, Stamp};
use strandline_core::archive::pack::{Unpack, Value as Part};
use strandline_core::types::{Lsn, Millis};

use super::value::{self, MAX_DEPTH, TIME, Timestamp, Value};
use super::{BadValue, OwnedEntry};

/// A payload, or any other encoded value, for a serializer of JSON.
///
/// ```
/// use strandline::archive::{Value, encode_fields, json::Json};
///
/// let payload = encode_fields([("raw", Value::Bytes(vec![1, 2])), ("n", Value::Signed(-1))]);
/// assert_eq!(serde_json::to_string(&Json(&payload))?, r#"{"raw":{"$bytes":"AQI="},"n":-1}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Json<'b>(
    /// One value in MessagePack.
    pub &'b [u8],
);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = Cell::new(Unpack(self.0));
        Item { at: &at, depth: 0 }.serialize(serializer)
    }
}

/// The next value, with everything in it.
#[derive(Clone, Copy)]
struct Item<'c, 'w> {
    at: &'c Cell<Unpack<'w>>,
    depth: usize,
}

impl<'w> Item<'_, 'w> {
    fn take<E: serde::ser::Error>(&self) -> Result<Part<'w>, E> {
        let mut at = self.at.get();
        let part = at.value().map_err(|_| E::custom(BadValue::NotMessagePack))?;
        self.at.set(at);
        if self.depth > MAX_DEPTH { Err(E::custom(BadValue::TooDeep)) } else { Ok(part) }
    }

    fn inner(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    /// Whether a map of this many pairs, whose first key is next, is an object that nobody takes for another value.
    fn is_object(&self, pairs: u32) -> bool {
        let mut at = self.at.get();
        (0..pairs).all(|_| match at.value() {
            Ok(Part::Str(key)) => {
                let meant = pairs > 1 || self.depth == 0 || !key.starts_with('$');
                meant && at.skip().is_ok()
            }
            _ => false,
        })
    }
}

impl Serialize for Item<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.take()? {
            Part::Nil => serializer.serialize_unit(),
            Part::Bool(value) => serializer.serialize_bool(value),
            Part::Unsigned(number) => serializer.serialize_u64(number),
            Part::Signed(number) => serializer.serialize_i64(number),
            Part::Float(number) if number.is_finite() => serializer.serialize_f64(number),
            Part::Float(number) => tagged(serializer, "$float", spelled(number)),
            Part::Str(text) => serializer.serialize_str(text),
            Part::Bin(bytes) => tagged(serializer, "$bytes", &base64(bytes)),
            Part::Extension(kind, bytes) => match Timestamp::decode(kind, bytes).and_then(rfc3339) {
                Some(time) => tagged(serializer, "$time", &time),
                None => tagged(serializer, "$ext", &(kind, base64(bytes))),
            },
            Part::Array(items) => {
                let mut list = serializer.serialize_seq(None)?;
                (0..items).try_for_each(|_| list.serialize_element(&self.inner()))?;
                list.end()
            }
            Part::Map(pairs) if self.is_object(pairs) => {
                let mut map = serializer.serialize_map(None)?;
                for _ in 0..pairs {
                    let Part::Str(key) = self.take()? else { return Err(S::Error::custom("no key")) };
                    map.serialize_entry(key, &self.inner())?;
                }
                map.end()
            }
            Part::Map(pairs) => tagged(serializer, "$pairs", &Pairs(*self, pairs)),
        }
    }
}

/// The pairs of a map as arrays of two.
struct Pairs<'c, 'w>(Item<'c, 'w>, u32);

impl Serialize for Pairs<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for _ in 0..self.1 {
            list.serialize_element(&(self.0.inner(), self.0.inner()))?;
        }
        list.end()
    }
}

fn tagged<S: Serializer, T: Serialize + ?Sized>(
    serializer: S,
    tag: &'static str,
    value: &T,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry(tag, value)?;
    map.end()
}

fn spelled(number: f64) -> &'static str {
    match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// `None`: the year has more than four digits.
pub(super) fn rfc3339(time: Timestamp) -> Option<String> {
    let nanos = i32::try_from(time.nanos).ok()?;
    let moment = jiff::Timestamp::new(time.seconds, nanos).ok()?;
    (time.seconds >= 0 || nanos == 0).then(|| moment.to_string())
}

pub(super) fn value_text(bytes: &[u8]) -> Result<String, BadValue> {
    let at = Cell::new(Unpack(bytes));
    let item = Item { at: &at, depth: 1 };
    serde_json::to_string(&item).map_err(|error| BadValue::Text(error.to_string()))
}

/// Reads a payload: the text of one JSON object.
///
/// # Errors
/// [`BadValue`].
///
/// ```
/// use strandline::archive::{Value, encode_fields, json};
///
/// let payload = json::payload(br#"{"b": 1, "a": {"$bytes": "AQI="}}"#)?;
/// let same = encode_fields([("a", Value::Bytes(vec![1, 2])), ("b", Value::Unsigned(1))]);
/// assert_eq!(payload, same);
/// # Ok::<(), strandline::archive::BadValue>(())
/// ```
pub fn payload(text: &[u8]) -> Result<Vec<u8>, BadValue> {
    let read = serde_json::from_slice::<Object>(text);
    let Object(pairs) = read.map_err(|error| BadValue::Text(error.to_string()))?;
    let mut out = Vec::new();
    Value::Map(pairs).encode(&mut out);
    Ok(out)
}

/// The fields of an object, sorted.
struct Object(Vec<(Value, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object, A::Error> {
                fields(map).map(Object)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn fields<'de, A: MapAccess<'de>>(mut map: A) -> Result<Vec<(Value, Value)>, A::Error> {
    let mut fields: Vec<(String, Value)> = Vec::new();
    while let Some((name, Any(value))) = map.next_entry()? {
        fields.push((name, value));
    }
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    if let Some([(name, _), _]) = fields.array_windows().find(|[(a, _), (b, _)]| a == b) {
        return Err(de::Error::custom(format!("field {name:?} is there twice")));
    }
    Ok(fields.into_iter().map(|(name, value)| (Value::Text(name), value)).collect())
}

/// Any value.
struct Any(Value);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor).map(Self)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(u64::try_from(number).map_or(Value::Signed(number), Value::Unsigned))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Any(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        let mut pairs = fields(map)?;
        let typed = match &mut pairs[..] {
            [(Value::Text(tag), value)] => typed(tag, value),
            _ => None,
        };
        Ok(typed.unwrap_or(Value::Map(pairs)))
    }
}

/// The value that an object with one field means; `None`: the object itself.
fn typed(tag: &str, value: &mut Value) -> Option<Value> {
    let decoded = |text: &str| Base64::decode_vec(text).ok();
    Some(match (tag, value) {
        ("$bytes", Value::Text(text)) => Value::Bytes(decoded(text)?),
        ("$float", Value::Text(text)) => Value::Float(match text.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => return None,
        }),
        ("$time", Value::Text(text)) => {
            let moment: jiff::Timestamp = text.parse().ok()?;
            let time =
                Timestamp { seconds: moment.as_second(), nanos: moment.subsec_nanosecond().try_into().ok()? };
            Value::Time(time)
        }
        ("$ext", Value::Array(parts)) => match &parts[..] {
            [kind, Value::Text(text)] => extension(kind, decoded(text)?)?,
            _ => return None,
        },
        ("$pairs", Value::Array(pairs)) => Value::Map(pairs_of(pairs)?),
        _ => return None,
    })
}

fn extension(kind: &Value, bytes: Vec<u8>) -> Option<Value> {
    let kind = match kind {
        Value::Unsigned(kind) => i8::try_from(*kind).ok()?,
        Value::Signed(kind) => i8::try_from(*kind).ok()?,
        _ => return None,
    };
    Some(match Timestamp::decode(kind, &bytes) {
        Some(time) if kind == TIME => Value::Time(time),
        _ => Value::Extension(kind, bytes),
    })
}

fn pairs_of(list: &[Value]) -> Option<Vec<(Value, Value)>> {
    let pair = |pair: &Value| match pair {
        Value::Array(pair) => <[Value; 2]>::try_from(pair.clone()).ok().map(|[key, value]| (key, value)),
        _ => None,
    };
    list.iter().map(pair).collect()
}

/// An entry for a serializer of JSON: SnelDB's five fields, and LSN and times where the archive knows them.
#[derive(Debug)]
pub struct JsonEntry<'e> {
    entry: &'e Entry<'e>,
    stamped: bool,
}

impl<'e> JsonEntry<'e> {
    /// All that is known of it: `lsn`, `time_ms` and `commit_ms` follow the five fields if they are not 0.
    #[must_use]
    pub fn stamped(entry: &'e Entry<'e>) -> Self {
        Self { entry, stamped: true }
    }

    /// SnelDB's five fields: `timestamp`, `context_id`, `event_type`, `payload`, `event_id`.
    #[must_use]
    pub fn version_1(entry: &'e Entry<'e>) -> Self {
        Self { entry, stamped: false }
    }
}

impl Serialize for JsonEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = self.entry;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &entry.timestamp)?;
        map.serialize_entry("context_id", entry.context)?;
        map.serialize_entry("event_type", entry.event_type)?;
        map.serialize_entry("payload", &Json(&value::map_bytes(entry)))?;
        map.serialize_entry("event_id", &entry.event_id)?;
        let Stamp { lsn, time, commit } = entry.stamp;
        for (name, number) in [("lsn", lsn.0), ("time_ms", time.0), ("commit_ms", commit.0)] {
            if self.stamped && number != 0 {
                map.serialize_entry(name, &number)?;
            }
        }
        map.end()
    }
}

/// Reads a line of SnelDB's WAL, or what [`JsonEntry`] wrote. No field may be missing, unknown or there twice.
///
/// # Errors
/// [`BadValue::Text`].
pub fn line(text: &[u8]) -> Result<OwnedEntry, BadValue> {
    let line: Line = serde_json::from_slice(text).map_err(|error| BadValue::Text(error.to_string()))?;
    let mut payload = Vec::new();
    Value::Map(line.payload.0).encode(&mut payload);
    let stamp = Stamp { lsn: Lsn(line.lsn), time: Millis(line.time_ms), commit: Millis(line.commit_ms) };
    Ok(OwnedEntry {
        timestamp: line.timestamp,
        context: line.context_id,
        event_type: line.event_type,
        payload,
        event_id: line.event_id,
        stamp,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    timestamp: u64,
    context_id: String,
    event_type: String,
    payload: Object,
    event_id: u64,
    #[serde(default)]
    lsn: u64,
    #[serde(default)]
    time_ms: u64,
    #[serde(default)]
    commit_ms: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::value::tests::values;
    use super::*;

    /// As reading leaves it: text keys are sorted.
    fn sorted(value: Value) -> Value {
        match value {
            Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
            Value::Map(mut pairs) => {
                if pairs.iter().all(|(key, _)| matches!(key, Value::Text(_))) {
                    pairs.sort_by(|(a, _), (b, _)| match (a, b) {
                        (Value::Text(a), Value::Text(b)) => a.cmp(b),
                        _ => core::cmp::Ordering::Equal,
                    });
                }
                Value::Map(pairs.into_iter().map(|(key, value)| (sorted(key), sorted(value))).collect())
            }
            Value::Float(number) => Value::Float(number),
            other => other,
        }
    }

    fn has_twins(value: &Value) -> bool {
        match value {
            Value::Array(items) => items.iter().any(has_twins),
            Value::Map(pairs) => {
                let twins = pairs.iter().enumerate().any(|(at, (key, _))| {
                    matches!(key, Value::Text(_)) && pairs[..at].iter().any(|(before, _)| before == key)
                });
                twins || pairs.iter().any(|(key, value)| has_twins(key) || has_twins(value))
            }
            _ => false,
        }
    }

    #[test]
    fn what_can_be_meant_otherwise_is_told_apart() {
        let there_and_back = |text: &str| {
            let payload = payload(text.as_bytes()).unwrap();
            serde_json::to_string(&Json(&payload)).unwrap()
        };
        for same in [
            r#"{"$bytes":"AQI="}"#,
            r#"{"a":{"$bytes":"AQI="}}"#,
            r#"{"a":{"$pairs":[["$bytes","AQI="]]}}"#,
            r#"{"a":{"$bytes":1,"b":2}}"#,
            r#"{"a":{"$pairs":[[1,2],["x",{"$float":"NaN"}]]}}"#,
            r#"{"a":{"$time":"1969-12-31T23:59:59Z"},"b":{"$ext":[5,"AA=="]}}"#,
            r#"{"max":18446744073709551615,"min":-9223372036854775808,"neg0":-0.0,"one":1.0}"#,
        ] {
            assert_eq!(there_and_back(same), same);
        }
        let no_bytes = there_and_back(r#"{"a":{"$bytes":"no base64"}}"#);
        assert_eq!(no_bytes, r#"{"a":{"$pairs":[["$bytes","no base64"]]}}"#);
    }

    #[test]
    fn lines_that_are_none_are_refused_by_name() {
        let good = r#"{"timestamp":1,"context_id":"c","event_type":"t","payload":{},"event_id":2}"#;
        assert_eq!(line(good.as_bytes()).unwrap().event_id, 2);
        for (from, to, why) in [
            ("\"timestamp\":1", "\"timestamp\":-1", "invalid value: integer `-1`, expected u64"),
            ("\"timestamp\":1,", "", "missing field `timestamp`"),
            ("\"event_id\":2", "\"event_id\":2,\"more\":1", "unknown field `more`"),
            ("\"payload\":{}", "\"payload\":[]", "expected an object"),
            ("\"payload\":{}", "\"payload\":{\"a\":1,\"b\":2,\"a\":3}", "field \"a\" is there twice"),
            ("2}", "2", "EOF while parsing"),
        ] {
            let error = line(good.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(
            line(b"{\"timestamp\":1,\"context_id\":\"\xff\"").unwrap_err().to_string().contains("unicode")
        );
    }

    proptest! {
        #[test]
        fn values_come_back_from_json(value in values()) {
            prop_assume!(!has_twins(&value));
            let mut bytes = vec![];
            Value::Map(vec![(Value::Text("v".into()), value.clone())]).encode(&mut bytes);
            let text = serde_json::to_string(&Json(&bytes)).unwrap();
            let read = payload(text.as_bytes()).unwrap();
            let read = value::decode_fields(&read).unwrap().remove(0).1;
            prop_assert_eq!(read, sorted(value), "{}", text);
        }
    }
}
