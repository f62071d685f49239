//! One event as the log keeps it.
//!
//! ```text
//!  | the record |
//! ```

use std_server::events::{Event, is_event};

pub(super) fn record(bytes: &[u8]) {
    let Some(event) = Event::decode(bytes) else { return };
    assert!(is_event(bytes));
    let mut encoded = Vec::new();
    event.encode(&mut encoded);
    assert_eq!(Event::decode(&encoded), Some(event));
    assert!(encoded.len() <= bytes.len(), "nothing is shorter than what is written here");
}
