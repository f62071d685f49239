//! `/key/…`: commands on keys, whatever they hold.

use axum::extract::{Path, State};

use super::Server;
use super::body::Body;
use super::kv::Key;
use super::openapi::SynapErrors;
use super::problem::{Json, Kind, Problem};
use super::shapes::{CopyTo, Destination, KeyExists, KeyType, Moved, SomeKey};
use super::text::shown;
use crate::command::{Reply, ask};

type Answer<T> = Result<Json<T>, Problem>;

/// The type of a value: `string`, or `none`.
#[utoipa::path(get, path = "/key/{key}/type", tag = "keys", params(("key" = String, Path, min_length = 1)),
    responses((status = 200, body = KeyType), SynapErrors))]
pub(super) async fn kind(State(engine): Server, key: Key) -> Answer<KeyType> {
    let Path(key) = key?;
    let kind = shown(ask(&*engine, &[b"TYPE", key.as_bytes()]).await?).unwrap_or_default();
    Ok(Json::ok(KeyType { key, kind }))
}

/// Whether a key exists.
#[utoipa::path(get, path = "/key/{key}/exists", tag = "keys", params(("key" = String, Path, min_length = 1)),
    responses((status = 200, body = KeyExists), SynapErrors))]
pub(super) async fn exists(State(engine): Server, key: Key) -> Answer<KeyExists> {
    let Path(key) = key?;
    let exists = ask(&*engine, &[b"EXISTS", key.as_bytes()]).await? == Reply::Integer(1);
    Ok(Json::ok(KeyExists { key, exists }))
}

/// Gives a key another name; what had that name is gone.
#[utoipa::path(post, path = "/key/{key}/rename", tag = "keys", params(("key" = String, Path, min_length = 1)),
    request_body = Destination,
    responses((status = 200, body = Moved), SynapErrors))]
pub(super) async fn rename(State(engine): Server, key: Key, body: Body) -> Answer<Moved> {
    let (Path(source), Destination { destination }) = (key?, body.json()?);
    ask(&*engine, &[b"RENAME", source.as_bytes(), destination.as_bytes()]).await?;
    Ok(Json::ok(Moved { success: true, source, destination }))
}

/// Gives a key another name that is free.
#[utoipa::path(post, path = "/key/{key}/renamenx", tag = "keys", params(("key" = String, Path, min_length = 1)),
    request_body = Destination,
    responses((status = 200, body = Moved), SynapErrors))]
pub(super) async fn renamenx(State(engine): Server, key: Key, body: Body) -> Answer<Moved> {
    let (Path(source), Destination { destination }) = (key?, body.json()?);
    match ask(&*engine, &[b"RENAMENX", source.as_bytes(), destination.as_bytes()]).await? {
        Reply::Integer(1) => Ok(Json::ok(Moved { success: true, source, destination })),
        _ => Err(Kind::BadRequest.says(EXISTS_ALREADY)),
    }
}

/// Copies a key with its expiry. `success` is false if the destination exists and is not to be replaced, or there is
/// nothing to copy.
#[utoipa::path(post, path = "/key/{key}/copy", tag = "keys", params(("key" = String, Path, min_length = 1)),
    request_body = CopyTo, responses((status = 200, body = Moved), SynapErrors))]
pub(super) async fn copy(State(engine): Server, key: Key, body: Body) -> Answer<Moved> {
    let (Path(source), CopyTo { destination, replace }) = (key?, body.json()?);
    let words: [&[u8]; 4] = [b"COPY", source.as_bytes(), destination.as_bytes(), b"REPLACE"];
    let words = if replace { &words[..] } else { &words[..3] };
    let success = ask(&*engine, words).await? == Reply::Integer(1);
    Ok(Json::ok(Moved { success, source, destination }))
}

/// Some key.
#[utoipa::path(get, path = "/key/randomkey", tag = "keys", responses((status = 200, body = SomeKey), SynapErrors))]
pub(super) async fn randomkey(State(engine): Server) -> Answer<SomeKey> {
    Ok(Json::ok(SomeKey { key: shown(ask(&*engine, &[b"RANDOMKEY"]).await?) }))
}

pub(super) const EXISTS_ALREADY: &str = "Destination key already exists";
