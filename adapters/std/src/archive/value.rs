//! What payloads hold: the values of MessagePack with their types, and what becomes of them for SnelDB's own reader.
//!
//! ```text
//!  payload = map with string keys
//!  value   = nil | bool | u64 | i64 | f64 | string | bytes | array | map | time (ext -1) | other extension
//! ```
//!
//! Integers keep their sign and all of their 64 bits. A map keeps the order of its pairs.
#![expect(clippy::big_endian_bytes, reason = "MessagePack is big-endian")]

use std::borrow::Cow;

use rmp::encode;
use strandline_core::archive::entry::{Entry, Payload, RECORD};
use strandline_core::archive::pack::{Stop, Unpack, Value as Part};

use super::json;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer from 0 up.
    Unsigned(u64),
    /// An integer below 0.
    Signed(i64),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    Array(Vec<Self>),
    /// Pairs in order.
    Map(Vec<(Self, Self)>),
    /// A moment.
    Time(Timestamp),
    /// Bytes of an extension type that is not known here.
    Extension(i8, Vec<u8>),
}

/// A moment: MessagePack's extension type -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds past them, below 1,000,000,000.
    pub nanos: u32,
}

/// Why a payload is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadValue {
    /// Values are nested more deeply than anybody needs.
    #[error("a payload is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// The bytes are not MessagePack.
    #[error("a payload is not MessagePack")]
    NotMessagePack,
    /// The text is not what it should be.
    #[error("{0}")]
    Text(String),
}

impl Value {
    /// Appends the value in MessagePack; integers and lengths have their shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => done(encode::write_nil(out)),
            Self::Bool(value) => done(encode::write_bool(out, *value)),
            Self::Unsigned(number) => done(encode::write_uint(out, *number)),
            Self::Signed(number) => done(encode::write_sint(out, *number)),
            Self::Float(number) => done(encode::write_f64(out, *number)),
            Self::Text(text) => done(encode::write_str(out, text)),
            Self::Bytes(bytes) => done(encode::write_bin(out, bytes)),
            Self::Array(items) => {
                done(encode::write_array_len(out, length(items.len())));
                items.iter().for_each(|item| item.encode(out));
            }
            Self::Map(pairs) => {
                done(encode::write_map_len(out, length(pairs.len())));
                pairs.iter().for_each(|(key, value)| {
                    key.encode(out);
                    value.encode(out);
                });
            }
            Self::Time(time) => time.encode(out),
            Self::Extension(kind, bytes) => {
                done(encode::write_ext_meta(out, length(bytes.len()), *kind));
                out.extend_from_slice(bytes);
            }
        }
    }

    /// Reads one value, which is all of `bytes`.
    ///
    /// # Errors
    /// [`BadValue`].
    ///
    /// ```
    /// use strandline::archive::Value;
    ///
    /// let value = Value::Array(vec![Value::Unsigned(u64::MAX), Value::Bytes(vec![0xff])]);
    /// let mut bytes = vec![];
    /// value.encode(&mut bytes);
    /// assert_eq!(Value::decode(&bytes)?, value);
    /// # Ok::<(), strandline::archive::BadValue>(())
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Self, BadValue> {
        let mut at = Unpack(bytes);
        let value = Self::read(&mut at, 0)?;
        if at.0.is_empty() { Ok(value) } else { Err(BadValue::NotMessagePack) }
    }

    fn read(at: &mut Unpack<'_>, depth: usize) -> Result<Self, BadValue> {
        if depth > MAX_DEPTH {
            return Err(BadValue::TooDeep);
        }
        Ok(match at.value()? {
            Part::Nil => Self::Nil,
            Part::Bool(value) => Self::Bool(value),
            Part::Unsigned(number) => Self::Unsigned(number),
            Part::Signed(number) => Self::Signed(number),
            Part::Float(number) => Self::Float(number),
            Part::Str(text) => Self::Text(text.into()),
            Part::Bin(bytes) => Self::Bytes(bytes.into()),
            Part::Array(items) => {
                Self::Array((0..items).map(|_| Self::read(at, depth + 1)).collect::<Result<_, _>>()?)
            }
            Part::Map(pairs) => {
                let pair = |_| Ok((Self::read(at, depth + 1)?, Self::read(at, depth + 1)?));
                Self::Map((0..pairs).map(pair).collect::<Result<_, BadValue>>()?)
            }
            Part::Extension(kind, bytes) => match Timestamp::decode(kind, bytes) {
                Some(time) => Self::Time(time),
                None => Self::Extension(kind, bytes.into()),
            },
        })
    }
}

impl From<Stop> for BadValue {
    fn from(_: Stop) -> Self {
        Self::NotMessagePack
    }
}

impl Timestamp {
    /// The shortest of the three forms that holds it.
    fn encode(self, out: &mut Vec<u8>) {
        let nanos = self.nanos.min(NANOS - 1);
        let mut put = |bytes: &[u8]| {
            done(encode::write_ext_meta(out, length(bytes.len()), TIME));
            out.extend_from_slice(bytes);
        };
        match (u32::try_from(self.seconds), u64::try_from(self.seconds)) {
            (Ok(seconds), _) if nanos == 0 => put(&seconds.to_be_bytes()),
            (_, Ok(seconds)) if seconds < 1 << 34 => put(&(u64::from(nanos) << 34 | seconds).to_be_bytes()),
            _ => put(&[&nanos.to_be_bytes()[..], &self.seconds.to_be_bytes()].concat()),
        }
    }

    pub(super) fn decode(kind: i8, bytes: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let (seconds, nanos) = match (kind, bytes.len()) {
            (TIME, 4) => (number(bytes).cast_signed(), 0),
            (TIME, 8) => ((number(bytes) & ((1 << 34) - 1)).cast_signed(), number(bytes) >> 34),
            (TIME, 12) => (number(&bytes[4..]).cast_signed(), number(&bytes[..4])),
            _ => return None,
        };
        let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < NANOS)?;
        Some(Self { seconds, nanos })
    }
}

/// Encodes the fields of a payload.
pub fn encode_fields<'f>(
    fields: impl IntoIterator<Item = (&'f str, Value), IntoIter: ExactSizeIterator>,
) -> Vec<u8> {
    let fields = fields.into_iter();
    let mut out = Vec::new();
    done(encode::write_map_len(&mut out, length(fields.len())));
    for (name, value) in fields {
        done(encode::write_str(&mut out, name));
        value.encode(&mut out);
    }
    out
}

pub(super) fn decode_fields(map: &[u8]) -> Result<Vec<(String, Value)>, BadValue> {
    let mut at = Unpack(map);
    let Part::Map(pairs) = at.value()? else { return Err(BadValue::NotMessagePack) };
    (0..pairs).map(|_| Ok((at.text()?.to_owned(), Value::read(&mut at, 1)?))).collect()
}

/// The payload of an entry as a map; that of an entry that was read stands there already.
pub(super) fn map_bytes<'e>(entry: &Entry<'e>) -> Cow<'e, [u8]> {
    match entry.payload {
        Payload::Map(map) => map.into(),
        Payload::Record(bytes) => {
            let mut out = Vec::with_capacity(bytes.len() + 16);
            done(encode::write_map_len(&mut out, 1));
            done(encode::write_str(&mut out, RECORD));
            done(encode::write_bin(&mut out, bytes));
            out.into()
        }
    }
}

/// Makes payloads that SnelDB's own reader takes.
#[derive(Debug, Default)]
pub(super) struct Strict {
    out: Vec<u8>,
}

impl Strict {
    /// The payload with every value as nil, boolean, i64, f64 or string.
    pub(super) fn payload(&mut self, entry: &Entry<'_>) -> Result<&[u8], BadValue> {
        let map = map_bytes(entry);
        let mut at = Unpack(&map);
        self.out.clear();
        let Part::Map(pairs) = at.value()? else { return Err(BadValue::NotMessagePack) };
        done(encode::write_map_len(&mut self.out, pairs));
        for _ in 0..pairs {
            done(encode::write_str(&mut self.out, at.text()?));
            plain(Value::read(&mut at, 1)?)?.encode(&mut self.out);
        }
        Ok(&self.out)
    }
}

/// What a value that SnelDB has no type for becomes there.
fn plain(value: Value) -> Result<Value, BadValue> {
    Ok(match value {
        Value::Unsigned(number) if i64::try_from(number).is_err() => Value::Text(number.to_string()),
        Value::Bytes(bytes) => Value::Text(json::base64(&bytes)),
        Value::Time(time) if json::rfc3339(time).is_some() => {
            Value::Text(json::rfc3339(time).unwrap_or_default())
        }
        Value::Array(_) | Value::Map(_) | Value::Time(_) | Value::Extension(..) => {
            let mut bytes = Vec::new();
            value.encode(&mut bytes);
            Value::Text(json::value_text(&bytes)?)
        }
        scalar => scalar,
    })
}

/// More items than a u32 counts don't fit into memory that an entry may take.
fn length(items: usize) -> u32 {
    u32::try_from(items).expect("a payload is below 4 GiB")
}

/// A vector takes any number of bytes.
fn done<T, E: core::fmt::Debug>(written: Result<T, E>) {
    written.expect("a vector takes all bytes");
}

/// Values in values in values.
pub(super) const MAX_DEPTH: usize = 64;
const NANOS: u32 = 1_000_000_000;
/// MessagePack's extension type of a moment.
pub(super) const TIME: i8 = -1;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn values() -> impl Strategy<Value = Value> {
        let time =
            (any::<i64>(), 0..NANOS).prop_map(|(seconds, nanos)| Value::Time(Timestamp { seconds, nanos }));
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<u64>().prop_map(Value::Unsigned),
            (i64::MIN..0).prop_map(Value::Signed),
            any::<f64>().prop_filter("compared", |number| !number.is_nan()).prop_map(Value::Float),
            "[$a-z\"\\\\é]{0,40}".prop_map(Value::Text),
            any::<Vec<u8>>().prop_map(Value::Bytes),
            time,
            (0..100_i8, any::<Vec<u8>>()).prop_map(|(kind, bytes)| Value::Extension(kind, bytes)),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            let name = "[$a-z]{0,8}".prop_map(Value::Text);
            let text_keys = proptest::collection::btree_map("[$a-z]{0,8}", inner.clone(), 0..4);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
                proptest::collection::vec((prop_oneof![name, inner.clone()], inner), 0..4)
                    .prop_map(Value::Map),
                text_keys.prop_map(|map| {
                    Value::Map(map.into_iter().map(|(key, value)| (Value::Text(key), value)).collect())
                }),
            ]
        })
    }

    #[test]
    fn times_have_the_three_forms_of_the_specification() {
        let encoded = |seconds, nanos| {
            let mut out = vec![];
            Value::Time(Timestamp { seconds, nanos }).encode(&mut out);
            out
        };
        assert_eq!(encoded(1, 0), [0xd6, 0xff, 0, 0, 0, 1]);
        assert_eq!(encoded(1, 1), [0xd7, 0xff, 0, 0, 0, 4, 0, 0, 0, 1]);
        assert_eq!(encoded(-1, 5)[..7], [0xc7, 12, 0xff, 0, 0, 0, 5]);
        assert_eq!(encoded(-1, 5)[7..], [0xff; 8]);
    }

    #[test]
    fn nesting_ends() {
        let deep: Vec<u8> = core::iter::repeat_n(0x91, MAX_DEPTH + 1).chain([0xc0]).collect();
        assert_eq!(Value::decode(&deep), Err(BadValue::TooDeep));
        assert!(Value::decode(&deep[1..]).is_ok());
        assert_eq!(Value::decode(&[0xdd, 0xff, 0xff, 0xff, 0xff]), Err(BadValue::NotMessagePack));
    }

    #[test]
    fn strict_payloads_hold_only_what_sneldb_takes() {
        let payload = encode_fields([
            ("big", Value::Unsigned(u64::MAX)),
            ("low", Value::Signed(i64::MIN)),
            ("at", Value::Time(Timestamp { seconds: 1_700_000_000, nanos: 250_000_000 })),
            ("raw", Value::Bytes(vec![0, 0xff])),
            ("list", Value::Array(vec![Value::Nil, Value::Text("x".into())])),
            ("map", Value::Map(vec![(Value::Text("k".into()), Value::Bytes(vec![1]))])),
        ]);
        let entry = Entry { payload: Payload::Map(&payload), ..Entry::record("", Default::default(), b"") };
        let mut strict = Strict::default();
        let fields = decode_fields(strict.payload(&entry).unwrap()).unwrap();
        let text = |text: &str| Value::Text(text.into());
        let expected = [
            ("big", text("18446744073709551615")),
            ("low", Value::Signed(i64::MIN)),
            ("at", text("2023-11-14T22:13:20.25Z")),
            ("raw", text("AP8=")),
            ("list", text("[null,\"x\"]")),
            ("map", text("{\"k\":{\"$bytes\":\"AQ==\"}}")),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    proptest! {
        #[test]
        fn values_read_back(value in values()) {
            let mut bytes = vec![];
            value.encode(&mut bytes);
            prop_assert_eq!(Value::decode(&bytes), Ok(value));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Value::decode(&bytes);
            let _ = decode_fields(&bytes);
        }
    }
}
