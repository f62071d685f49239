//! A configuration file as a tree with positions: what both readers produce and every later check starts from.
//!
//! ```text
//!   YAML text ─► read_yaml ─┐
//!                           ├─► [Entry { key, line, value }] ─► layers.rs
//!   TOML text ─► read_toml ─┘
//! ```
//!
//! - Keys are in the order of the text, and a key stands in its section once: a repeated key is an error here.
//! - Nothing is interpreted: which keys exist and what type they have is `keys.rs`'s business.

use std::collections::HashMap;
use std::ffi::OsString;

/// A value before its key says what type it should have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Date(String),
    List,
    Section(Vec<Entry>),
    /// From the environment or the command line, where everything is text of the operating system's kind.
    Word(OsString),
}

/// One `key: value` of a file, with the line that the key stands on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u32,
    pub(super) value: Raw,
}

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: u32,
    pub(super) what: String,
    pub(super) next: &'static str,
}

impl Raw {
    /// The kind of value, for the "found …" half of an error; never the value itself.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a fraction",
            Self::Text(_) | Self::Word(_) => "text",
            Self::Date(_) => "a date",
            Self::List => "a list",
            Self::Section(_) => "a section",
        }
    }
}

/// Checks that no section holds a key twice; the error stands on the later line and names the earlier one.
pub(super) fn refuse_repeats(entries: &[Entry]) -> Result<(), Unreadable> {
    let mut first = HashMap::with_capacity(entries.len());
    for entry in entries {
        if let Some(line) = first.insert(entry.key.as_str(), entry.line) {
            return Err(Unreadable {
                line: entry.line,
                what: format!("duplicate key `{}`: it already stands on line {line}", entry.key),
                next: "keep one of the two lines",
            });
        }
        if let Raw::Section(inner) = &entry.value {
            refuse_repeats(inner)?;
        }
    }
    Ok(())
}
