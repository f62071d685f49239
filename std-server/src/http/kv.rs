//! `/kv/…`: bodies and paths become words for the command layer; its replies become JSON.
//!
//! A JSON string is stored as its text, any other JSON value as its JSON text without the white space.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Server;
use super::problem::{Json, Problem};
use crate::command::{Reply, ask};
use crate::engine::DurableEngine;

type Answer = Result<Json, Problem>;
type Body = Result<Bytes, BytesRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set<'b> {
    #[serde(borrow)]
    key: Cow<'b, str>,
    #[serde(borrow)]
    value: &'b RawValue,
    ttl: Option<u64>,
    #[serde(default)]
    nx: bool,
    #[serde(default)]
    xx: bool,
    #[serde(default)]
    keepttl: bool,
    #[serde(default)]
    get: bool,
}

pub(super) async fn set(State(engine): Server, body: Body) -> Answer {
    let body = body?;
    let Set { key, value, ttl, nx, xx, keepttl, get } = serde_json::from_slice(&body)?;
    let (value, seconds) = (stored_text(value)?, ttl.map(|ttl| ttl.to_string()));
    let mut words: Vec<&[u8]> = vec![b"SET", key.as_bytes(), value.as_bytes()];
    if let Some(seconds) = &seconds {
        words.extend([&b"EX"[..], seconds.as_bytes()]);
    }
    let options: [(bool, &[u8]); 4] = [(nx, b"NX"), (xx, b"XX"), (keepttl, b"KEEPTTL"), (get, b"GET")];
    words.extend(options.iter().filter(|(given, _)| *given).map(|(_, word)| *word));
    let reply = ask(&*engine, &words).await?;
    // With GET the answer is the old value, and the condition tells whether the new one was written.
    let existed = reply != Reply::Null;
    let written = if get { !(nx && existed || xx && !existed) } else { existed };
    let mut answer = json!({ "success": written, "key": key, "written": written });
    if get {
        answer["old_value"] = text(reply);
    }
    Ok(Json::ok(answer))
}

pub(super) async fn get(State(engine): Server, Path(key): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let as_bytes = match parameter(query.as_deref(), "type") {
        None | Some("string") => false,
        Some("bytes") => true,
        Some(other) => return Err(Problem::bad_request(format!("type is string or bytes, not {other:?}"))),
    };
    Ok(Json::ok(match ask(&*engine, &[b"GET", key.as_bytes()]).await? {
        Reply::Null => json!({ "error": "Key not found" }),
        Reply::Bulk(value) if as_bytes => json!(value.as_ref()),
        reply => text(reply),
    }))
}

pub(super) async fn del(State(engine): Server, Path(key): Path<String>) -> Answer {
    let deleted = ask(&*engine, &[b"DEL", key.as_bytes()]).await? == Reply::Integer(1);
    Ok(Json::ok(json!({ "deleted": deleted, "key": key })))
}

pub(super) async fn stats(State(engine): Server) -> Answer {
    let Some(gauges) = engine.store().map(|store| store.gauges()) else {
        return Ok(Json::ok(Value::Null));
    };
    let tally = gauges.tally;
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let hit_rate = if tally.gets == 0 { 0.0 } else { tally.hits as f64 / tally.gets as f64 };
    let operations = json!({
        "gets": tally.gets, "sets": tally.sets, "dels": tally.dels, "hits": tally.hits, "misses": tally.misses(),
    });
    Ok(Json::ok(json!({
        "total_keys": gauges.keys, "total_memory_bytes": gauges.used_bytes, "operations": operations, "hit_rate": hit_rate,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece<'b> {
    #[serde(borrow)]
    value: &'b RawValue,
    offset: Option<u32>,
}

pub(super) async fn append(State(engine): Server, Path(key): Path<String>, body: Body) -> Answer {
    let body = body?;
    let value = stored_text(serde_json::from_slice::<Piece<'_>>(&body)?.value)?;
    length(&engine, &[b"APPEND", key.as_bytes(), value.as_bytes()]).await
}

pub(super) async fn setrange(State(engine): Server, Path(key): Path<String>, body: Body) -> Answer {
    let body = body?;
    let Piece { value, offset } = serde_json::from_slice(&body)?;
    let (value, offset) = (stored_text(value)?, offset.unwrap_or(0).to_string());
    length(&engine, &[b"SETRANGE", key.as_bytes(), offset.as_bytes(), value.as_bytes()]).await
}

pub(super) async fn strlen(State(engine): Server, Path(key): Path<String>) -> Answer {
    length(&engine, &[b"STRLEN", key.as_bytes()]).await
}

pub(super) async fn getrange(
    State(engine): Server,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let start = parameter(query.as_deref(), "start").unwrap_or("0");
    let end = parameter(query.as_deref(), "end").unwrap_or("-1");
    let words = [b"GETRANGE", key.as_bytes(), start.as_bytes(), end.as_bytes()];
    ask(&*engine, &words).await.map(|reply| Json::ok(text(reply))).map_err(Problem::from)
}

pub(super) async fn getset(State(engine): Server, Path(key): Path<String>, body: Body) -> Answer {
    let body = body?;
    let value = stored_text(serde_json::from_slice::<Piece<'_>>(&body)?.value)?;
    let reply = ask(&*engine, &[b"GETSET", key.as_bytes(), value.as_bytes()]).await?;
    Ok(Json::ok(text(reply)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pairs<'b> {
    #[serde(borrow)]
    pairs: Vec<Pair<'b>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair<'b> {
    #[serde(borrow)]
    key: Cow<'b, str>,
    #[serde(borrow)]
    value: &'b RawValue,
}

pub(super) async fn msetnx(State(engine): Server, body: Body) -> Answer {
    let body = body?;
    let Pairs { pairs } = serde_json::from_slice(&body)?;
    let values = pairs.iter().map(|pair| stored_text(pair.value)).collect::<Result<Vec<_>, _>>()?;
    let mut words: Vec<&[u8]> = vec![b"MSETNX"];
    for (Pair { key, .. }, value) in pairs.iter().zip(&values) {
        words.extend([key.as_bytes(), value.as_bytes()]);
    }
    let success = ask(&*engine, &words).await? == Reply::Integer(1);
    Ok(Json::ok(json!({ "success": success })))
}

async fn length(engine: &DurableEngine, words: &[&[u8]]) -> Answer {
    match ask(engine, words).await? {
        Reply::Integer(length) => Ok(Json::ok(json!({ "length": length }))),
        other => Ok(Json::ok(text(other))),
    }
}

/// A reply as a JSON string; bytes that are no text are replaced.
fn text(reply: Reply<'_>) -> Value {
    match reply {
        Reply::Bulk(bytes) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        Reply::Status(status) => Value::String(status.to_owned()),
        Reply::Integer(number) => number.into(),
        _ => Value::Null,
    }
}

/// What is stored of a JSON value.
fn stored_text(value: &RawValue) -> Result<Cow<'_, str>, Problem> {
    let json = value.get();
    if json.starts_with('"') { Ok(serde_json::from_str(json)?) } else { Ok(Cow::Owned(compact(json))) }
}

/// Valid JSON without the white space between its parts; numbers and the order of members stay as they were sent.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keeps = |c: char| {
        let keep = in_string || !c.is_ascii_whitespace();
        in_string ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        keep
    };
    json.chars()
        .filter({
            let mut keeps = keeps;
            move |c| keeps(*c)
        })
        .collect()
}

/// The value of a parameter; none of those that are known needs an escape.
fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
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

    #[test]
    fn parameters_are_found_by_name() {
        assert_eq!(parameter(Some("a=1&type=bytes"), "type"), Some("bytes"));
        assert_eq!(parameter(Some("xtype=bytes"), "type"), None);
        assert_eq!(parameter(None, "type"), None);
    }
}
