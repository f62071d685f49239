//! TOML text to a tree.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::tree::{Entry, Raw, Unreadable};

/// Reads one TOML document. An empty one is a tree without entries.
pub(super) fn read_toml(text: &str) -> Result<Vec<Entry>, Unreadable> {
    let lines = Lines::of(text);
    match DeTable::parse(text) {
        Ok(table) => Ok(section(table.get_ref(), &lines)),
        Err(error) => {
            let what = error.message();
            let repeated = what.contains("duplicate key");
            Err(Unreadable {
                line: error.span().map_or(1, |span| lines.number(span.start)),
                what: if repeated {
                    let key = error.span().and_then(|span| text.get(span)).unwrap_or_default();
                    format!("duplicate key `{key}`")
                } else {
                    format!("this is not TOML: {what}")
                },
                next: if repeated {
                    "a key may stand once in its section: keep one of the lines"
                } else {
                    "check quotes, brackets and equal signs on this line"
                },
            })
        }
    }
}

/// Entries in the order of the text: the parser's own order is by name, and the first error reported should be the
/// first one in the file.
fn section(table: &DeTable<'_>, lines: &Lines) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            line: lines.number(key.span().start),
            value: raw(value, lines),
        })
        .collect();
    entries.sort_by_key(|entry| entry.line);
    entries
}

fn raw(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => {
            // Longer digits than 128 bits hold are beyond every limit; only the sign is left to tell.
            let beyond = if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
            Raw::Int(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(beyond))
        }
        DeValue::Float(number) => Raw::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Datetime(date) => Raw::Date(date.to_string()),
        DeValue::Array(_) => Raw::List,
        DeValue::Table(table) => Raw::Section(section(table, lines)),
    }
}

/// Where each line of a text starts, so that an offset becomes a line number.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        Self { starts: text.match_indices('\n').map(|(at, _)| at + 1).collect() }
    }

    fn number(&self, offset: usize) -> u32 {
        let before = self.starts.partition_point(|&start| start <= offset);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }
}
