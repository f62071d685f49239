//! From the body of a request to events: one JSON object, or one a line.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use strandline::archive::json;

use super::record::Event;

/// An event that has been read and not stored: its record, and where it belongs.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) context_id: String,
    pub(crate) record: Vec<u8>,
}

impl Draft {
    /// When it happened, ms since 1970.
    pub(crate) fn timestamp_ms(&self) -> u64 {
        Event::decode(&self.record).map_or(0, |event| event.timestamp_ms)
    }
}

/// An event as clients write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'l> {
    #[serde(borrow)]
    event_type: Cow<'l, str>,
    #[serde(borrow)]
    context_id: Cow<'l, str>,
    #[serde(borrow)]
    payload: &'l RawValue,
    #[serde(borrow, default)]
    timestamp: Option<&'l RawValue>,
    #[serde(default)]
    event_id: Option<u64>,
}

/// Reads the events of a body, all of them or none. `lines`: one a line, whatever the whole looks like.
///
/// # Errors
/// What is wrong, with the number of the line; nothing is to be stored then.
pub(crate) fn read(body: &[u8], lines: bool, now_ms: u64) -> Result<Vec<Draft>, String> {
    let text = core::str::from_utf8(body).map_err(|error| {
        let line = 1 + body[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!("line {line}: it is not UTF-8")
    })?;
    if !lines && serde_json::from_str::<&RawValue>(text).is_ok() {
        return Ok(vec![draft(text.trim(), now_ms)?]);
    }
    let mut drafts = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if !line.trim().is_empty() {
            drafts.push(draft(line.trim(), now_ms).map_err(|error| format!("line {number}: {error}"))?);
        }
    }
    if drafts.is_empty() { Err("there is no event in the body".to_owned()) } else { Ok(drafts) }
}

fn draft(line: &str, now_ms: u64) -> Result<Draft, String> {
    if !line.starts_with('{') {
        return Err("an event is a JSON object with event_type, context_id and payload".to_owned());
    }
    let written: Written<'_> = serde_json::from_str(line).map_err(|error| described(&error))?;
    let (event_type, context_id) = (&*written.event_type, &*written.context_id);
    for (name, text) in [("event_type", event_type), ("context_id", context_id)] {
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return Err(format!("{name} has 1 to {MAX_NAME_BYTES} bytes, this one has {}", text.len()));
        }
    }
    if is_reserved(event_type) {
        return Err(format!("event_type {event_type:?} is the server's own: choose another one"));
    }
    let payload = payload(written.payload.get())?;
    let timestamp_ms = match written.timestamp {
        None => now_ms,
        Some(raw) if raw.get() == "null" => now_ms,
        Some(raw) => timestamp(raw.get())?,
    };
    let event = Event { timestamp_ms, event_id: written.event_id, event_type, context_id, payload: &payload };
    let mut record = Vec::with_capacity(payload.len() + event_type.len() + context_id.len() + 32);
    event.encode(&mut record);
    Ok(Draft { context_id: context_id.to_owned(), record })
}

/// A payload in MessagePack, its types kept.
pub(super) fn payload(json: &str) -> Result<Vec<u8>, String> {
    if !json.starts_with('{') {
        return Err("payload: it is not an object".to_owned());
    }
    if let Some(number) = outsized_integer(json) {
        return Err(format!(
            "payload: {number} is outside the integers from -2^63 to 2^64-1; write it as text"
        ));
    }
    json::payload(json.as_bytes()).map_err(|error| format!("payload: {error}"))
}

/// An integer that neither u64 nor i64 holds: JSON readers take it for a float, and its last digits are gone.
fn outsized_integer(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'-' | b'0'..=b'9' if !quoted => {
                let of_number = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let length = bytes[at..].iter().position(|byte| !of_number(byte)).unwrap_or(bytes.len() - at);
                let literal = &json[at..at + length];
                let is_integer = !literal.contains(['.', 'e', 'E']);
                if is_integer && literal.parse::<u64>().is_err() && literal.parse::<i64>().is_err() {
                    return Some(literal);
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// What the server itself writes into archives and the log under: nobody else may.
pub(crate) fn is_reserved(event_type: &str) -> bool {
    event_type == "record" || ["kv.", "log."].iter().any(|prefix| event_type.starts_with(prefix))
}

/// The text of an error of `serde_json`, without the line, which is always the first.
pub(super) fn described(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) if error.column() > 0 => format!("{what} at column {}", error.column()),
        Some((what, _)) => what.to_owned(),
        None => text,
    }
}

/// Milliseconds since 1970, from JSON: seconds, milliseconds, or RFC 3339.
///
/// # Errors
/// It is none of them, or not between the years 1970 and 9999.
pub(crate) fn timestamp(json: &str) -> Result<u64, String> {
    if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(json) {
        let time: Timestamp = text
            .parse()
            .map_err(|_| format!("timestamp {text:?} is not RFC 3339, such as 2023-11-14T22:13:20.5Z"))?;
        return u64::try_from(time.as_millisecond())
            .map_err(|_| format!("timestamp {text:?} is before 1970"));
    }
    let refused =
        || format!("timestamp {json} is no number of seconds or milliseconds between 1970 and 9999");
    if let Ok(number) = json.parse::<u64>() {
        let ms = if number < FIRST_MS { number * 1000 } else { number };
        return Some(ms).filter(|ms| *ms <= LAST_MS).ok_or_else(refused);
    }
    let number: f64 = json.parse().map_err(|_| refused())?;
    #[expect(clippy::cast_precision_loss, reason = "a border")]
    let ms = if number < FIRST_MS as f64 { number * 1000.0 } else { number };
    #[expect(clippy::cast_precision_loss, reason = "a border")]
    if !(0.0..=LAST_MS as f64).contains(&ms) {
        return Err(refused());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 9999")]
    Ok(ms.round() as u64)
}

const MAX_NAME_BYTES: usize = 1024;
/// From here on a number is milliseconds: as seconds it would be in the year 5138, as milliseconds it is in 1973.
const FIRST_MS: u64 = 100_000_000_000;
/// The end of the year 9999.
pub(super) const LAST_MS: u64 = 253_402_207_199_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<(u64, String), String> {
        let drafts = read(line.as_bytes(), false, 7)?;
        let event = Event::decode(&drafts[0].record).expect("an event");
        Ok((event.timestamp_ms, serde_json::to_string(&json::Json(event.payload)).expect("JSON")))
    }

    #[test]
    fn timestamps_are_seconds_milliseconds_or_rfc_3339() {
        let at = |timestamp: &str| {
            one(&format!(r#"{{"event_type":"t","context_id":"c","payload":{{}},"timestamp":{timestamp}}}"#))
        };
        for (timestamp, ms) in [
            ("1700000000", 1_700_000_000_000),
            ("1700000000.25", 1_700_000_000_250),
            ("1700000000123", 1_700_000_000_123),
            ("\"2023-11-14T22:13:20.123Z\"", 1_700_000_000_123),
            ("\"2023-11-14T23:13:20+01:00\"", 1_700_000_000_000),
            ("0", 0),
            ("null", 7),
        ] {
            assert_eq!(at(timestamp).map(|(ms, _)| ms), Ok(ms), "{timestamp}");
        }
        for bad in
            ["-1", "\"yesterday\"", "1e300", "true", "{}", "\"1969-12-31T23:59:59Z\"", "18446744073709551615"]
        {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn payloads_keep_their_types_or_are_refused() {
        let through =
            |payload: &str| one(&format!(r#"{{"event_type":"t","context_id":"c","payload":{payload}}}"#));
        for payload in [
            r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":1.0,"d":-0.5,"e":true,"f":null}"#,
            r#"{"a":{"$bytes":"AP8="},"b":[1,[2,{"x":"18446744073709551616"}]],"c":{"$time":"2023-11-14T22:13:20.25Z"}}"#,
        ] {
            assert_eq!(through(payload).map(|(_, json)| json), Ok(payload.to_owned()));
        }
        for bad in [
            r#"{"n":18446744073709551616}"#,
            r#"{"n":[-9223372036854775809]}"#,
            r#"{"a":1,"a":2}"#,
            "[]",
            "1",
        ] {
            assert!(through(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_blank_ones_are_counted() {
        let good = r#"{"event_type":"t","context_id":"c","payload":{}}"#;
        let drafts = |body: &str| read(body.as_bytes(), true, 0).map(|drafts| drafts.len());
        assert_eq!(drafts(&format!("{good}\n\n{good}\r\n")), Ok(2));
        for (bad, says) in [
            ("{", "line 3: "),
            ("[]", "line 3: an event is a JSON object"),
            (r#"{"event_type":"t","context_id":"c"}"#, "line 3: missing field `payload`"),
            (r#"{"event_type":"t","context_id":"c","payload":{},"x":1}"#, "line 3: unknown field `x`"),
            (r#"{"event_type":"","context_id":"c","payload":{}}"#, "line 3: event_type has 1 to"),
            (r#"{"event_type":"kv.set","context_id":"c","payload":{}}"#, "line 3: event_type \"kv.set\" is"),
            (r#"{"event_type":"t","context_id":"c","payload":{},"event_id":-1}"#, "line 3: invalid value"),
        ] {
            let error = drafts(&format!("{good}\n\n{bad}\n{good}")).expect_err(says);
            assert!(error.starts_with(says), "{error}");
        }
        assert!(drafts("\n \n").is_err());
        assert!(read(b"a\n\xff", true, 0).expect_err("no text").starts_with("line 2"));
    }
}
