//! `/kv/…`: bodies and paths become words for the command layer; its replies become JSON.

use axum::extract::State;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};

use super::Server;
use super::body::{Body, Object};
use super::openapi::SynapErrors;
use super::problem::{Json, Kind, Problem};
use super::shapes::{
    Deleted, Form, FormKind, Found, Length, Missing, Operations, Pairs, Part, Piece, Range, Set, Stats,
    Success, Written,
};
use super::text::{shown, stored_text};
use crate::command::{Refusal, Reply, ask};
use crate::engine::DurableEngine;

type Answer<T> = Result<Json<T>, Problem>;
/// The key in the path.
pub(super) type Key = Result<Path<String>, PathRejection>;

/// Stores a value.
#[utoipa::path(post, path = "/kv/set", tag = "keys", request_body = Set<'_>,
    responses((status = 200, body = Written), SynapErrors))]
pub(super) async fn set(State(engine): Server, body: Body) -> Answer<Written> {
    Ok(Json::ok(write(&engine, body.json()?).await?))
}

/// Executes SET with its conditions.
pub(super) async fn write(engine: &DurableEngine, set: Set<'_>) -> Result<Written, Problem> {
    let Set { key, value, ttl, nx, xx, keepttl, get } = set;
    if ttl.is_some_and(|ttl| ttl > MAX_TTL_S) {
        return Err(Kind::BadRequest.says(format!("ttl is at most {MAX_TTL_S} s")));
    }
    let (value, seconds) = (stored_text(value)?, ttl.map(|ttl| ttl.to_string()));
    let mut words: Vec<&[u8]> = vec![b"SET", key.as_bytes(), value.as_bytes()];
    if let Some(seconds) = &seconds {
        words.extend([&b"EX"[..], seconds.as_bytes()]);
    }
    let options: [(bool, &[u8]); 4] = [(nx, b"NX"), (xx, b"XX"), (keepttl, b"KEEPTTL"), (get, b"GET")];
    words.extend(options.iter().filter(|(given, _)| *given).map(|(_, word)| *word));
    let reply = ask(engine, &words).await?;
    // With GET the answer is the old value, and the condition tells whether the new one was written.
    let existed = reply != Reply::Null;
    let written = if get { !(nx && existed || xx && !existed) } else { existed };
    let old_value = get.then(|| shown(reply));
    Ok(Written { success: written, key: key.into_owned(), written, old_value })
}

/// A value. A key that does not exist is answered with status 200 and `error`.
#[utoipa::path(get, path = "/kv/get/{key}", tag = "keys", params(("key" = String, Path, min_length = 1), Form),
    responses((status = 200, body = Found), SynapErrors))]
pub(super) async fn get(
    State(engine): Server,
    key: Key,
    form: Result<Query<Form>, QueryRejection>,
) -> Answer<Found> {
    let (Path(key), Query(Form { kind })) = (key?, form?);
    Ok(Json::ok(match ask(&*engine, &[b"GET", key.as_bytes()]).await? {
        Reply::Bulk(value) if kind == Some(FormKind::Bytes) => Found::Bytes(value.into_owned()),
        reply => match shown(reply) {
            Some(text) => Found::Text(text),
            None => Found::Missing(Missing { error: "Key not found" }),
        },
    }))
}

/// Deletes a key.
#[utoipa::path(delete, path = "/kv/del/{key}", tag = "keys", params(("key" = String, Path, min_length = 1)),
    responses((status = 200, body = Deleted), SynapErrors))]
pub(super) async fn del(State(engine): Server, key: Key) -> Answer<Deleted> {
    let Path(key) = key?;
    let deleted = ask(&*engine, &[b"DEL", key.as_bytes()]).await? == Reply::Integer(1);
    Ok(Json::ok(Deleted { deleted, key }))
}

/// What the keyspace holds, and what was done with it.
#[utoipa::path(get, path = "/kv/stats", tag = "keys", responses((status = 200, body = Stats), SynapErrors))]
pub(super) async fn stats(State(engine): Server) -> Answer<Stats> {
    Ok(Json::ok(statistics(&engine)?))
}

pub(super) fn statistics(engine: &DurableEngine) -> Result<Stats, Refusal> {
    let gauges = engine.store_or_refusal()?.gauges();
    let tally = gauges.tally;
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let hit_rate = if tally.gets == 0 { 0.0 } else { tally.hits as f64 / tally.gets as f64 };
    let operations = Operations {
        gets: tally.gets,
        sets: tally.sets,
        dels: tally.dels,
        hits: tally.hits,
        misses: tally.misses(),
    };
    Ok(Stats { total_keys: gauges.keys, total_memory_bytes: gauges.used_bytes, operations, hit_rate })
}

/// Adds at the end of a value.
#[utoipa::path(post, path = "/kv/{key}/append", tag = "keys", params(("key" = String, Path, min_length = 1)),
    request_body = Piece<'_>, responses((status = 200, body = Length), SynapErrors))]
pub(super) async fn append(State(engine): Server, key: Key, body: Body) -> Answer<Length> {
    let (Path(key), value) = (key?, stored_text(body.json::<Piece<'_>>()?.value)?);
    length(&engine, &[b"APPEND", key.as_bytes(), value.as_bytes()]).await
}

/// Overwrites a part of a value.
#[utoipa::path(post, path = "/kv/{key}/setrange", tag = "keys", params(("key" = String, Path, min_length = 1)),
    request_body = Part<'_>, responses((status = 200, body = Length), SynapErrors))]
pub(super) async fn setrange(State(engine): Server, key: Key, body: Body) -> Answer<Length> {
    let (Path(key), Part { offset, value }) = (key?, body.json()?);
    let (value, offset) = (stored_text(value)?, offset.to_string());
    length(&engine, &[b"SETRANGE", key.as_bytes(), offset.as_bytes(), value.as_bytes()]).await
}

/// The length of a value in bytes; 0 if there is none.
#[utoipa::path(get, path = "/kv/{key}/strlen", tag = "keys", params(("key" = String, Path, min_length = 1)),
    responses((status = 200, body = Length), SynapErrors))]
pub(super) async fn strlen(State(engine): Server, key: Key) -> Answer<Length> {
    let Path(key) = key?;
    length(&engine, &[b"STRLEN", key.as_bytes()]).await
}

/// A part of a value.
#[utoipa::path(get, path = "/kv/{key}/getrange", tag = "keys", params(("key" = String, Path, min_length = 1), Range),
    responses((status = 200, body = String, content_type = "application/json"), SynapErrors))]
pub(super) async fn getrange(
    State(engine): Server,
    key: Key,
    range: Result<Query<Range>, QueryRejection>,
) -> Answer<Option<String>> {
    let (Path(key), Query(Range { start, end })) = (key?, range?);
    let (start, end) = (start.unwrap_or(0).to_string(), end.unwrap_or(-1).to_string());
    let words = [b"GETRANGE", key.as_bytes(), start.as_bytes(), end.as_bytes()];
    Ok(Json::ok(shown(ask(&*engine, &words).await?)))
}

/// Stores a value and answers the old one, or null.
#[utoipa::path(post, path = "/kv/{key}/getset", tag = "keys", params(("key" = String, Path, min_length = 1)),
    request_body = Piece<'_>, responses((status = 200, body = Option<String>, content_type = "application/json"), SynapErrors))]
pub(super) async fn getset(State(engine): Server, key: Key, body: Body) -> Answer<Option<String>> {
    let (Path(key), value) = (key?, stored_text(body.json::<Piece<'_>>()?.value)?);
    Ok(Json::ok(shown(ask(&*engine, &[b"GETSET", key.as_bytes(), value.as_bytes()]).await?)))
}

/// Stores several values if none of the keys exists: all of them, or none.
#[utoipa::path(post, path = "/kv/msetnx", tag = "keys", request_body = Pairs<'_>,
    responses((status = 200, body = Success), SynapErrors))]
pub(super) async fn msetnx(State(engine): Server, body: Body) -> Answer<Success> {
    let success = set_many(&engine, b"MSETNX", body.json()?).await? == Reply::Integer(1);
    Ok(Json::ok(Success { success }))
}

/// MSET or MSETNX.
pub(super) async fn set_many(
    engine: &DurableEngine,
    name: &[u8],
    Pairs { pairs }: Pairs<'_>,
) -> Result<Reply<'static>, Problem> {
    let values = pairs.iter().map(|Object(pair)| stored_text(pair.value)).collect::<Result<Vec<_>, _>>()?;
    let mut words: Vec<&[u8]> = vec![name];
    for (Object(pair), value) in pairs.iter().zip(&values) {
        words.extend([pair.key.as_bytes(), value.as_bytes()]);
    }
    Ok(ask(engine, &words).await?)
}

async fn length(engine: &DurableEngine, words: &[&[u8]]) -> Answer<Length> {
    match ask(engine, words).await? {
        Reply::Integer(length) => Ok(Json::ok(Length { length })),
        other => Err(Kind::Internal.says(format!("{other:?} is no length"))),
    }
}

/// In milliseconds since the Unix epoch, the expiry still fits 64 bits.
const MAX_TTL_S: u64 = 9_000_000_000_000_000;
