//! The operator's pages: snapshots, health, readiness, facts, metrics.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use strandline::SnapshotInfo;

use super::openapi::{Problems, SynapErrors};
use super::problem::{Json, Problem};
use super::shapes::{Section, Snapshot, Snapshots, Taken};
use super::{Server, Site};
use crate::command::Host as _;
use crate::engine::DurableEngine;
use crate::events::Finding;

/// Takes a snapshot, and answers when it is durable and counts.
#[utoipa::path(post, path = "/snapshot", tag = "operation", responses((status = 200, body = Taken), SynapErrors))]
pub(super) async fn take_snapshot(State(engine): Server) -> Result<Json<Taken>, Problem> {
    let info = engine.take_snapshot().await?;
    let Snapshot { path, size_bytes, created_at, base_lsn, keys } = described(&info);
    Ok(Json::ok(Taken { success: true, snapshot_path: path, base_lsn, keys, size_bytes, created_at }))
}

/// All snapshots, the oldest first.
#[utoipa::path(get, path = "/snapshots", tag = "operation", responses((status = 200, body = Snapshots), SynapErrors))]
pub(super) async fn list_snapshots(State(engine): Server) -> Json<Snapshots> {
    let log = engine.store().and_then(|store| store.log());
    let snapshots = log.map(strandline::Log::snapshots).unwrap_or_default();
    Json::ok(Snapshots { snapshots: snapshots.iter().map(described).collect() })
}

/// Whether the server is well; 503 with `detail` if it is not.
#[utoipa::path(get, path = "/health", tag = "operation", responses(
    (status = 200, body = Value), (status = 503, description = "It is not well", body = Value), SynapErrors))]
pub(super) async fn health(State(engine): Server) -> Json<Value> {
    let (status, state) = state(&engine);
    let healthy = if status == StatusCode::OK { "healthy" } else { "unhealthy" };
    let mut answer =
        json!({ "status": healthy, "service": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
    if status != StatusCode::OK {
        answer["detail"] = state;
    }
    Json(status, answer)
}

/// That the process answers; nothing else is said.
#[utoipa::path(get, path = "/livez", tag = "operation", responses((status = 200, body = Value), Problems))]
pub(super) async fn livez() -> Json<Value> {
    Json::ok(json!({ "status": "alive" }))
}

/// Whether requests can be served; 503 with the reason, or with the progress of recovery, if they can't.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, body = Value), (status = 503, description = "Recovery is running, or the log has halted", body = Value), Problems))]
pub(super) async fn readyz(State(engine): Server) -> Json<Value> {
    let (status, state) = state(&engine);
    Json(status, state)
}

/// What the server knows of itself, by sections.
#[utoipa::path(get, path = "/info", tag = "operation", params(Section),
    responses((status = 200, body = Value), SynapErrors))]
pub(super) async fn info(
    State(engine): Server,
    section: Result<Query<Section>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Section { section }) = section?;
    Ok(Json::ok(facts(&engine, section.as_deref())))
}

/// The sections of INFO with their lines, in small letters; one of them, or all.
pub(super) fn facts(engine: &DurableEngine, section: Option<&str>) -> Value {
    let wanted = section.filter(|section| !section.eq_ignore_ascii_case("all"));
    let sections = engine.info().into_iter().map(|section| {
        let lines = section.lines.into_iter().map(|(name, value)| (name.to_owned(), typed(value)));
        (section.name.to_ascii_lowercase(), Value::Object(lines.collect()))
    });
    let sections = sections.filter(|(name, _)| wanted.is_none_or(|wanted| name.eq_ignore_ascii_case(wanted)));
    Value::Object(sections.collect::<Map<_, _>>())
}

/// Metrics as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"), SynapErrors))]
pub(super) async fn metrics(State(site): State<Site>) -> Response {
    site.metrics.page()
}

/// Whether requests can be served, and what else is wrong.
fn state(engine: &DurableEngine) -> (StatusCode, Value) {
    let (status, mut state) = service(engine);
    if let Some(history) = history(engine) {
        state["history"] = history;
    }
    if let Some(scrub) = scrub(engine) {
        state["scrub"] = scrub;
    }
    (status, state)
}

/// Whether requests can be served, and why not.
fn service(engine: &DurableEngine) -> (StatusCode, Value) {
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
            let why =
                "no space on the log's device, or below wal.max_total_mb: writes are refused until there is";
            (StatusCode::OK, json!({ "status": "full", "error": why }))
        }
        None => (StatusCode::OK, json!({ "status": "ready" })),
    }
}

/// What an operator should know of history, if there is anything.
fn history(engine: &DurableEngine) -> Option<Value> {
    let report = engine.keeper()?.report();
    let mut detail = Map::new();
    if let Some(why) = report.failing {
        detail.insert("failing".to_owned(), why.into());
        detail.insert("waiting_segments".to_owned(), report.waiting.into());
    }
    if let Some(why) = report.outgrown {
        detail.insert("outgrown".to_owned(), why.into());
    }
    if let Some(why) = report.alarm {
        detail.insert("alarm".to_owned(), why.into());
    }
    if !report.quarantined.is_empty() {
        let named = report
            .quarantined
            .iter()
            .map(|((shard, log), why)| json!({ "shard": shard, "segment": log, "why": why }));
        detail.insert("quarantined".to_owned(), named.collect());
    }
    (!detail.is_empty()).then_some(Value::Object(detail))
}

/// What scrubbing has found, if anything. The server serves all the same: the answer stays 200.
fn scrub(engine: &DurableEngine) -> Option<Value> {
    let damaged = engine.scrub_report()?.damaged;
    let described = |(path, finding): (&std::path::PathBuf, &Finding)| {
        json!({
            "file": path.display().to_string(), "kind": finding.kind.word(), "shard": finding.shard,
            "offset": finding.offset, "first_lsn": finding.lsns.map(|lsns| lsns.0),
            "last_lsn": finding.lsns.map(|lsns| lsns.1), "why": finding.why, "do": finding.kind.advice(),
        })
    };
    (!damaged.is_empty()).then(|| json!({ "damaged": damaged.iter().map(described).collect::<Vec<_>>() }))
}

fn described(info: &SnapshotInfo) -> Snapshot {
    let ms = i64::try_from(info.snapshot.time.0).ok();
    let created_at = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|time| time.to_string());
    Snapshot {
        path: info.path.display().to_string(),
        size_bytes: info.snapshot.bytes,
        created_at,
        base_lsn: info.snapshot.base.0,
        keys: info.snapshot.items,
    }
}

/// Numbers of INFO are numbers in JSON.
fn typed(value: String) -> Value {
    value.parse::<u64>().map_or(Value::String(value), Value::from)
}
