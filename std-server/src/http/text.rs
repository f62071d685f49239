//! Between JSON and the bytes of a value: a JSON string is stored as its text, any other JSON value as its JSON text
//! without the white space.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::problem::Problem;
use crate::command::Reply;

/// What is stored of a JSON value.
pub(super) fn stored_text(value: &RawValue) -> Result<Cow<'_, str>, Problem> {
    let json = value.get();
    if json.starts_with('"') { Ok(serde_json::from_str(json)?) } else { Ok(Cow::Owned(compact(json))) }
}

/// A reply as text, or that there is no value; bytes that are no text are replaced.
pub(super) fn shown(reply: Reply<'_>) -> Option<String> {
    match reply {
        Reply::Bulk(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Reply::Status(status) => Some(status.to_owned()),
        Reply::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Valid JSON without the white space between its parts; numbers and the order of members stay as they were sent.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut keeps = |c: char| {
        let keep = in_string || !c.is_ascii_whitespace();
        in_string ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        keep
    };
    json.chars().filter(|c| keeps(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(json: &str) -> String {
        stored_text(serde_json::from_str(json).expect("JSON")).expect("text").into_owned()
    }

    #[test]
    fn strings_are_stored_as_text_and_everything_else_as_json() {
        let rows = [
            (r#""plain""#, "plain"),
            (r#""a\n\u00e9 \"q\"""#, "a\n\u{e9} \"q\""),
            ("12", "12"),
            ("1.50e2", "1.50e2"),
            ("18446744073709551616", "18446744073709551616"),
            ("null", "null"),
            (
                r#"{ "b" : [ 1, 2 ],
                 "a" : "x y \" z \\" , "c": {} }"#,
                r#"{"b":[1,2],"a":"x y \" z \\","c":{}}"#,
            ),
        ];
        for (json, expected) in rows {
            assert_eq!(stored(json), expected);
        }
    }
}
