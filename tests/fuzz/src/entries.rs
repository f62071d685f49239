//! A line of SnelDB's log, or of what was exported as JSON; and the MessagePack inside an entry.
//!
//! ```text
//!  | the line, or the value |
//! ```

use strandline::archive::json::{JsonEntry, line};
use strandline::archive::{Entry, Stamp, Value};

pub(super) fn line_or_value(bytes: &[u8]) {
    json(bytes);
    value(bytes);
    let _ = Entry::decode(bytes, Stamp::default());
}

/// What was read from JSON and is written as JSON is read as the same.
fn json(text: &[u8]) {
    let Ok(entry) = line(text) else { return };
    let written = serde_json::to_string(&JsonEntry::stamped(&entry.entry())).expect("an entry is JSON");
    assert_eq!(line(written.as_bytes()).as_ref(), Ok(&entry), "{written}");
}

/// A value has one encoding.
fn value(bytes: &[u8]) {
    let Ok(value) = Value::decode(bytes) else { return };
    let (mut encoded, mut again) = (vec![], vec![]);
    value.encode(&mut encoded);
    Value::decode(&encoded).expect("it was encoded").encode(&mut again);
    assert_eq!(encoded, again);
}
