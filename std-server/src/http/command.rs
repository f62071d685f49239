//! `POST /api/v1/command`: Synap's commands, as its client libraries send them.
//!
//! ```text
//!  {command, request_id, payload} ─► row: fields of the payload ─► words ─► command layer ─► reply
//!                                         {success, request_id, payload, error} ◄── answer ◄──┘
//! ```
//!
//! A new command is one row, unless its payload or answer has a shape of its own. As in Synap, a command that is
//! refused is answered with status 200 and `success: false`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::extract::State;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::body::{Body, Object};
use super::keys::EXISTS_ALREADY;
use super::openapi::SynapErrors;
use super::problem::{Json, Kind, Problem};
use super::shapes::{Command, FormKind, Outcome};
use super::text::{shown, stored_text};
use super::{Server, admin, kv, scan};
use crate::command::{Reply, ask};
use crate::engine::DurableEngine;

/// Executes a command of Synap. One that is refused, or that is not there, is answered with `success: false`.
#[utoipa::path(post, path = "/api/v1/command", tag = "keys", request_body = Command<'_>,
    responses((status = 200, body = Outcome), SynapErrors))]
pub(super) async fn command(State(engine): Server, body: Body) -> Result<Json<Outcome>, Problem> {
    let Command { command, request_id, payload } = body.json()?;
    let (payload, error) = match execute(&engine, &command, payload).await {
        Ok(payload) => (payload, None),
        Err(problem) => (Value::Null, Some(problem.text)),
    };
    let request_id = request_id.into_owned();
    Ok(Json::ok(Outcome { success: error.is_none(), request_id, payload, error }))
}

async fn execute(engine: &DurableEngine, name: &str, payload: Option<&RawValue>) -> Result<Value, Problem> {
    match name {
        "kv.set" => {
            let written = kv::write(engine, read(payload)?).await?;
            let mut answer = json!({ "success": written.success });
            if let Some(old_value) = written.old_value {
                answer["old_value"] = old_value.into();
            }
            Ok(answer)
        }
        "kv.get" => get(engine, read(payload)?).await,
        "kv.mset" => {
            kv::set_many(engine, b"MSET", read(payload)?).await?;
            Ok(json!({ "success": true }))
        }
        "kv.msetnx" => {
            let reply = kv::set_many(engine, b"MSETNX", read(payload)?).await?;
            Ok(json!({ "success": reply == Reply::Integer(1) }))
        }
        "kv.scan" => {
            let Scan { prefix, limit } = read(payload)?;
            let keys =
                scan::with_prefix(engine, prefix.as_deref().unwrap_or(""), limit.unwrap_or(SCAN)).await?;
            Ok(json!({ "count": keys.len(), "keys": keys }))
        }
        "kv.keys" => {
            let Keys { pattern, prefix } = read(payload)?;
            let by_prefix = || scan::pattern(prefix.as_deref().unwrap_or(""));
            let pattern = pattern.map_or_else(by_prefix, Cow::into_owned);
            let keys = texts(ask(engine, &[b"KEYS", pattern.as_bytes()]).await?);
            Ok(json!({ "count": keys.len(), "keys": keys }))
        }
        "kv.flushdb" | "kv.flushall" => {
            let Nothing {} = read(payload)?;
            // As many as there were a moment before.
            let size = ask(engine, &[b"DBSIZE"]).await?;
            ask(engine, &[b"FLUSHALL"]).await?;
            Ok(json!({ "flushed": integer(&size) }))
        }
        "kv.stats" => {
            let Nothing {} = read(payload)?;
            serde_json::to_value(kv::statistics(engine)?).map_err(Problem::from)
        }
        "info" => {
            let Info { section } = read(payload)?;
            Ok(admin::facts(engine, section.as_deref()))
        }
        name => match ROWS.iter().find(|row| row.name == name) {
            Some(row) => row.execute(engine, payload).await,
            None => Err(Kind::BadRequest.says(unknown(name))),
        },
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Get<'b> {
    #[serde(borrow)]
    key: Cow<'b, str>,
    #[serde(rename = "type")]
    kind: Option<FormKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan<'b> {
    #[serde(borrow)]
    prefix: Option<Cow<'b, str>>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys<'b> {
    #[serde(borrow)]
    pattern: Option<Cow<'b, str>>,
    #[serde(borrow)]
    prefix: Option<Cow<'b, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Info<'b> {
    #[serde(borrow)]
    section: Option<Cow<'b, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn get(engine: &DurableEngine, Get { key, kind }: Get<'_>) -> Result<Value, Problem> {
    Ok(match ask(engine, &[b"GET", key.as_bytes()]).await? {
        Reply::Bulk(value) if kind == Some(FormKind::Bytes) => value.as_ref().into(),
        reply => shown(reply).into(),
    })
}

/// A command whose fields become words one by one.
struct Row {
    name: &'static str,
    word: &'static str,
    fields: &'static [Field],
    answer: Answer,
}

/// A field of a payload.
enum Field {
    Text(&'static str),
    /// A JSON value, as it is stored.
    Value(&'static str),
    Whole(&'static str),
    WholeOr(&'static str, i64),
    /// An array of strings.
    Texts(&'static str),
    /// A word if true.
    Flag(&'static str, &'static str),
}

/// What a reply becomes.
#[derive(Clone, Copy)]
enum Answer {
    Truth(&'static str),
    Whole(&'static str),
    /// A bare string, or null.
    Text,
    Texts(&'static str),
    /// Seconds, or null if the key has no expiry or is not there.
    Ttl,
    /// The fields that were sent, and the reply.
    EchoTruth(&'static str),
    EchoText(&'static str),
    /// The fields that were sent, and `success`; an answer of 0 is refused with this text.
    Moved(&'static str),
}

const fn row(name: &'static str, word: &'static str, fields: &'static [Field], answer: Answer) -> Row {
    Row { name, word, fields, answer }
}

const KEY: Field = Field::Text("key");
const VALUE: Field = Field::Value("value");
const AMOUNT: Field = Field::WholeOr("amount", 1);
const SOURCE: Field = Field::Text("source");
const DESTINATION: Field = Field::Text("destination");

#[rustfmt::skip]
static ROWS: &[Row] = &[
    row("kv.del", "DEL", &[KEY], Answer::Truth("deleted")),
    row("kv.exists", "EXISTS", &[KEY], Answer::Truth("exists")),
    row("kv.incr", "INCRBY", &[KEY, AMOUNT], Answer::Whole("value")),
    row("kv.incrby", "INCRBY", &[KEY, AMOUNT], Answer::Whole("value")),
    row("kv.decr", "DECRBY", &[KEY, AMOUNT], Answer::Whole("value")),
    row("kv.decrby", "DECRBY", &[KEY, AMOUNT], Answer::Whole("value")),
    row("kv.mget", "MGET", &[Field::Texts("keys")], Answer::Texts("values")),
    row("kv.mdel", "DEL", &[Field::Texts("keys")], Answer::Whole("deleted")),
    row("kv.dbsize", "DBSIZE", &[], Answer::Whole("size")),
    row("kv.expire", "EXPIRE", &[KEY, Field::Whole("ttl")], Answer::Truth("result")),
    row("kv.ttl", "TTL", &[KEY], Answer::Ttl),
    row("kv.persist", "PERSIST", &[KEY], Answer::Truth("result")),
    row("kv.append", "APPEND", &[KEY, VALUE], Answer::Whole("length")),
    row("kv.getrange", "GETRANGE", &[KEY, Field::Whole("start"), Field::Whole("end")], Answer::Text),
    row("kv.setrange", "SETRANGE", &[KEY, Field::Whole("offset"), VALUE], Answer::Whole("length")),
    row("kv.strlen", "STRLEN", &[KEY], Answer::Whole("length")),
    row("kv.getset", "GETSET", &[KEY, VALUE], Answer::Text),
    row("kv.setnx", "SETNX", &[KEY, VALUE], Answer::Truth("success")),
    row("key.type", "TYPE", &[KEY], Answer::EchoText("type")),
    row("key.exists", "EXISTS", &[KEY], Answer::EchoTruth("exists")),
    row("key.rename", "RENAME", &[SOURCE, DESTINATION], Answer::Moved("")),
    row("key.renamenx", "RENAMENX", &[SOURCE, DESTINATION], Answer::Moved(EXISTS_ALREADY)),
    row("key.copy", "COPY", &[SOURCE, DESTINATION, Field::Flag("replace", "REPLACE")],
        Answer::Moved("There is nothing to copy, or the destination key already exists and replace=false")),
    row("key.randomkey", "RANDOMKEY", &[], Answer::EchoText("key")),
];

impl Row {
    async fn execute(&self, engine: &DurableEngine, payload: Option<&RawValue>) -> Result<Value, Problem> {
        let mut members: BTreeMap<Cow<'_, str>, &RawValue> = read(payload)?;
        let mut words = vec![Cow::Borrowed(self.word)];
        let mut echo = Map::new();
        for field in self.fields {
            field.take(&mut members, &mut words)?;
            if let (Field::Text(name), Some(word)) = (field, words.last()) {
                echo.insert((*name).to_owned(), word.as_ref().into());
            }
        }
        if let Some(name) = members.keys().next() {
            return Err(invalid(format!("unknown field '{name}'")));
        }
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let reply = ask(engine, &words).await?;
        self.answer.make(reply, echo)
    }
}

type Members<'b> = BTreeMap<Cow<'b, str>, &'b RawValue>;

impl Field {
    /// Takes the field out of the payload and appends what it says.
    fn take<'b>(&self, members: &mut Members<'b>, words: &mut Vec<Cow<'b, str>>) -> Result<(), Problem> {
        let mut given = |name: &str| members.remove(name).filter(|value| value.get() != "null");
        let missing = |name: &str| invalid(format!("Missing '{name}' field"));
        match *self {
            Self::Text(name) => words.push(field(name, given(name).ok_or_else(|| missing(name))?)?),
            // A null is a value like any other.
            Self::Value(name) => {
                words.push(stored_text(members.remove(name).ok_or_else(|| missing(name))?)?);
            }
            Self::Whole(name) => {
                let number: i64 = field(name, given(name).ok_or_else(|| missing(name))?)?;
                words.push(number.to_string().into());
            }
            Self::WholeOr(name, otherwise) => {
                let number = given(name).map_or(Ok(otherwise), |value| field(name, value))?;
                words.push(number.to_string().into());
            }
            Self::Texts(name) => {
                let texts: Vec<Cow<'b, str>> = field(name, given(name).ok_or_else(|| missing(name))?)?;
                words.extend(texts);
            }
            Self::Flag(name, word) => {
                if given(name).map_or(Ok(false), |value| field(name, value))? {
                    words.push(word.into());
                }
            }
        }
        Ok(())
    }
}

impl Answer {
    fn make(self, reply: Reply<'_>, mut echo: Map<String, Value>) -> Result<Value, Problem> {
        Ok(match self {
            Self::Truth(name) => json!({ name: integer(&reply) == Some(1) }),
            Self::Whole(name) => json!({ name: integer(&reply) }),
            Self::Text => shown(reply).into(),
            Self::Texts(name) => json!({ name: texts(reply) }),
            Self::Ttl => json!({ "ttl": integer(&reply).filter(|seconds| *seconds >= 0) }),
            Self::EchoTruth(name) => {
                echo.insert(name.to_owned(), (integer(&reply) == Some(1)).into());
                echo.into()
            }
            Self::EchoText(name) => {
                echo.insert(name.to_owned(), shown(reply).into());
                echo.into()
            }
            Self::Moved(why) if integer(&reply) == Some(0) => return Err(invalid(why)),
            Self::Moved(_) => {
                echo.insert("success".to_owned(), true.into());
                echo.into()
            }
        })
    }
}

/// The payload; none is an empty one.
fn read<'b, T: Deserialize<'b>>(payload: Option<&'b RawValue>) -> Result<T, Problem> {
    let json = payload.map_or("{}", RawValue::get);
    let Object(value) = serde_json::from_str(json).map_err(invalid)?;
    Ok(value)
}

fn field<'b, T: Deserialize<'b>>(name: &str, value: &'b RawValue) -> Result<T, Problem> {
    serde_json::from_str(value.get()).map_err(|error| invalid(format!("field '{name}': {error}")))
}

fn invalid(what: impl core::fmt::Display) -> Problem {
    Kind::BadRequest.says(format!("Invalid request: {what}"))
}

const fn integer(reply: &Reply<'_>) -> Option<i64> {
    match reply {
        Reply::Integer(number) => Some(*number),
        _ => None,
    }
}

fn texts(reply: Reply<'_>) -> Vec<Option<String>> {
    match reply {
        Reply::Array(members) => members.into_iter().map(shown).collect(),
        _ => Vec::new(),
    }
}

/// What Synap says of a command that it does not know; of those that it does know, that they are not here.
fn unknown(name: &str) -> String {
    let family = name.split_once('.').map_or(name, |(family, _)| family);
    match ELSEWHERE.iter().find(|(known, _)| *known == family) {
        Some((_, what)) => format!("Unknown command: {name} (this server has no {what})"),
        None => format!("Unknown command: {name}"),
    }
}

/// Families of Synap's commands that this server does not have.
const ELSEWHERE: [(&str, &str); 16] = [
    ("hash", "hashes"),
    ("list", "lists"),
    ("set", "sets"),
    ("sortedset", "sorted sets"),
    ("hyperloglog", "HyperLogLog"),
    ("bitmap", "bitmaps"),
    ("geospatial", "geospatial indexes"),
    ("queue", "queues"),
    ("stream", "streams"),
    ("pubsub", "publish and subscribe"),
    ("transaction", "transactions over HTTP; the Redis protocol has MULTI"),
    ("script", "scripts"),
    ("slowlog", "slow log over HTTP"),
    ("memory", "memory usage of single keys over HTTP"),
    ("client", "list of clients over HTTP"),
    ("cluster", "cluster"),
];
/// How many keys a scan answers unless it is told.
const SCAN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_synap_has_and_this_server_has_not_is_named() {
        assert_eq!(unknown("queue.publish"), "Unknown command: queue.publish (this server has no queues)");
        assert_eq!(unknown("kv.nosuch"), "Unknown command: kv.nosuch");
        assert_eq!(unknown(""), "Unknown command: ");
    }

    #[test]
    fn every_row_has_one_name_and_is_a_command_on_data() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..index].iter().all(|other| other.name != row.name), "{}", row.name);
            let known = crate::command::rows().iter().any(|known| known.name.eq_ignore_ascii_case(row.word));
            assert!(known, "{}", row.word);
        }
    }

    #[test]
    fn fields_are_taken_out_in_order_and_say_what_is_wrong() {
        let take = |field: &Field, json: &'static str| {
            let mut members: Members<'_> = serde_json::from_str(json).expect("an object");
            let mut words = Vec::new();
            field.take(&mut members, &mut words).map_err(|problem| problem.text)?;
            Ok::<_, String>((words.join(" "), members.len()))
        };
        assert_eq!(take(&KEY, r#"{"key":"a","more":1}"#), Ok(("a".into(), 1)));
        assert_eq!(take(&VALUE, r#"{"value":null}"#), Ok(("null".into(), 0)));
        assert_eq!(take(&AMOUNT, r#"{"amount":null}"#), Ok(("1".into(), 0)));
        assert_eq!(take(&AMOUNT, r#"{"amount":-5}"#), Ok(("-5".into(), 0)));
        assert_eq!(take(&Field::Texts("keys"), r#"{"keys":["a","b"]}"#), Ok(("a b".into(), 0)));
        assert_eq!(
            take(&Field::Flag("replace", "REPLACE"), r#"{"replace":true}"#),
            Ok(("REPLACE".into(), 0))
        );
        assert_eq!(take(&KEY, "{}"), Err("Invalid request: Missing 'key' field".into()));
        assert!(
            take(&KEY, r#"{"key":1}"#).unwrap_err().starts_with("Invalid request: field 'key': invalid type")
        );
    }
}
