//! YAML text to a tree.
//!
//! The parser's own schema decides what is a number, a boolean or text (YAML 1.2: `yes`, `no`, `on` and `off` are
//! text). Repeated keys are let through by the parser, so that the error can name both lines. Depth, size and the
//! expansion of aliases are bounded before anything is built.

use core::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Options, Spanned};

use super::tree::{Entry, Raw, Unreadable, refuse_repeats};

/// Reads one YAML document. An empty one is a tree without entries.
pub(super) fn read_yaml(text: &str) -> Result<Vec<Entry>, Unreadable> {
    let raw: Raw = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let error = error.without_snippet();
        Unreadable {
            line: error.location().map_or(1, |at| line_number(at.line())),
            what: format!("this is not YAML: {}", first_line(&error.to_string())),
            next: "check indentation, quotes and colons on and just above this line",
        }
    })?;
    match raw {
        Raw::Null => Ok(Vec::new()),
        Raw::Section(entries) => {
            refuse_repeats(&entries)?;
            Ok(entries)
        }
        other => Err(Unreadable {
            line: 1,
            what: format!("the file holds {} where sections are expected", other.noun()),
            next: "start with a section, such as `persistence:`",
        }),
    }
}

fn options() -> Options {
    let budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        max_documents: 1,
        max_nodes: MAX_NODES,
        max_events: 4 * MAX_NODES,
    };
    serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
    }
}

fn line_number(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX).max(1)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a section")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Int(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Int(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Int(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Int(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Raw::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Raw>()?;
            entries.push(Entry { key: key.value, line: line_number(key.referenced.line()), value });
        }
        Ok(Raw::Section(entries))
    }
}

/// Deepest nesting that is read; the deepest known key stands at four.
const MAX_DEPTH: usize = 32;
/// Most values that a file may hold, aliases expanded.
const MAX_NODES: usize = 10_000;
