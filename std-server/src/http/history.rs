//! The operator's word to the keeper of history.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use super::Server;
use super::openapi::Problems;
use super::problem::{Json, Kind, Problem};
use super::shapes::ArchivedNow;

/// Ends the current segments and archives everything up to now; answers when that is done, or has failed.
#[utoipa::path(post, path = "/archives/now", tag = "operation", responses(
    (status = 200, body = ArchivedNow), (status = 409, description = "Conservative mode is off"), Problems))]
pub(super) async fn archive_now(State(engine): Server) -> Result<Json<ArchivedNow>, Problem> {
    let shards = Arc::clone(engine.shards_or_refusal()?);
    let keeper = engine.keeper().ok_or_else(|| Kind::Internal.says("history is not kept: see the log"))?;
    if !engine.facts().config.wal.conservative_mode {
        let why = "conservative mode is off: nothing is archived (persistence.wal.conservative_mode)";
        return Err(Kind::Conflict.says(why));
    }
    let before = keeper.report().archived;
    let round = Arc::clone(&keeper);
    let archived = tokio::task::spawn_blocking(move || {
        let ends: Vec<u64> = shards.all().iter().map(|shard| shard.log.next_lsn().0).collect();
        for shard in shards.all() {
            shard.log.rotate();
        }
        round.until_archived(&ends)
    });
    let whole = archived.await.map_err(|panic| Kind::Internal.says(panic.to_string()))?;
    let report = keeper.report();
    let quarantined = report
        .quarantined
        .iter()
        .map(|((shard, log), why)| json!({ "shard": shard, "segment": log, "why": why }));
    Ok(Json::ok(ArchivedNow {
        success: whole && report.failing.is_none() && report.quarantined.is_empty(),
        archived: report.archived - before,
        waiting: report.waiting,
        failing: report.failing.clone(),
        quarantined: quarantined.collect(),
    }))
}
