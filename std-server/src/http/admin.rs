//! The operator's pages: snapshots, health, readiness, facts.

use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use strandline::SnapshotInfo;

use super::Server;
use super::problem::{Json, Problem};
use crate::command::Host as _;
use crate::engine::DurableEngine;

/// Returns when the file is durable.
pub(super) async fn take_snapshot(State(engine): Server) -> Result<Json, Problem> {
    let info = engine.take_snapshot().await?;
    let mut answer = json!({
        "success": true,
        "snapshot_path": info.path.display().to_string(),
        "base_lsn": info.snapshot.base.0,
        "keys": info.snapshot.items,
        "size_bytes": info.snapshot.bytes,
    });
    answer["created_at"] = created_at(&info).into();
    Ok(Json::ok(answer))
}

/// Oldest first.
pub(super) async fn list_snapshots(State(engine): Server) -> Json {
    let log = engine.store().and_then(|store| store.log());
    let snapshots = log.map(strandline::Log::snapshots).unwrap_or_default();
    let rows: Vec<_> = snapshots
        .iter()
        .map(|info| {
            json!({
                "path": info.path.display().to_string(),
                "size_bytes": info.snapshot.bytes,
                "created_at": created_at(info),
                "base_lsn": info.snapshot.base.0,
                "keys": info.snapshot.items,
            })
        })
        .collect();
    Json::ok(json!({ "snapshots": rows }))
}

pub(super) async fn health(State(engine): Server) -> Json {
    let (status, state) = state(&engine);
    let healthy = if status == StatusCode::OK { "healthy" } else { "unhealthy" };
    let mut answer =
        json!({ "status": healthy, "service": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
    if status != StatusCode::OK {
        answer["detail"] = state;
    }
    Json(status, answer)
}

/// The process answers; nothing else is said.
pub(super) async fn livez() -> Json {
    Json::ok(json!({ "status": "alive" }))
}

pub(super) async fn readyz(State(engine): Server) -> Json {
    let (status, state) = state(&engine);
    Json(status, state)
}

pub(super) async fn info(State(engine): Server) -> Json {
    let sections = engine.info().into_iter().map(|section| {
        let lines = section.lines.into_iter().map(|(name, value)| (name.to_owned(), typed(value)));
        (section.name.to_ascii_lowercase(), Value::Object(lines.collect()))
    });
    Json::ok(Value::Object(sections.collect::<Map<_, _>>()))
}

/// Whether requests can be served, and why not.
fn state(engine: &DurableEngine) -> (StatusCode, Value) {
    if let Some(progress) = engine.progress() {
        let answer = json!({
            "status": "loading",
            "what": progress.what, "done": progress.done, "total": progress.total, "percent": progress.percent(),
        });
        return (StatusCode::SERVICE_UNAVAILABLE, answer);
    }
    let stats = engine.store().and_then(|store| store.log_stats()).unwrap_or_default();
    match stats.halted {
        Some(why) => {
            let answer = json!({ "status": "halted", "error": why, "writes": "refused", "reads": "served" });
            (StatusCode::SERVICE_UNAVAILABLE, answer)
        }
        None if stats.full => {
            let why = "no space on the log's device: writes are refused until there is";
            (StatusCode::OK, json!({ "status": "full", "error": why }))
        }
        None => (StatusCode::OK, json!({ "status": "ready" })),
    }
}

/// As RFC 3339.
fn created_at(info: &SnapshotInfo) -> Option<String> {
    let ms = i64::try_from(info.snapshot.time.0).ok()?;
    Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}

/// Numbers of INFO are numbers in JSON.
fn typed(value: String) -> Value {
    value.parse::<u64>().map_or(Value::String(value), Value::from)
}
