//! Events over HTTP: a batch in, NDJSON out, and the live tail as server-sent events.
//!
//! ```text
//!  POST /events        one JSON object, or one a line ─► LSNs, when the promise of the sync mode holds
//!  GET /events         a line for each event, read while it is sent
//!  GET /events/tail    id: CURSOR, data: the same line; a comment when nothing comes
//! ```
//!
//! Files are read on threads of their own, a few pieces ahead of what the client takes: memory is bounded by that.

use core::ops::ControlFlow;
use core::time::Duration;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Parameters, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Sender, channel};
use tokio_util::sync::CancellationToken;

use super::body::Whole;
use super::openapi::Problems;
use super::problem::{Json, Kind, Problem};
use super::shapes::{EventFilter, NewEvent, StoredEvents};
use super::stream::Pieces;
use super::{Server, Site};
use crate::command::Host as _;
use crate::events::{
    Cursor, Diverged, Follow, Found, Merge, Order, Query, Seen, Shard, Shards, Standing, Stored, read_lines,
};

/// Stores one event, or one a line: all of them, or nothing. Answers when the promise of the sync mode holds.
#[utoipa::path(post, path = "/events", tag = "events",
    request_body(content((NewEvent = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, body = StoredEvents), Problems))]
pub(super) async fn store(State(site): State<Site>, request: Request) -> Result<Json<StoredEvents>, Problem> {
    let lines = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let lines = lines.is_some_and(|kind| LINES.iter().any(|lines| kind.trim().starts_with(lines)));
    let engine = Arc::clone(&site.engine);
    let shards = engine.shards_or_refusal()?;
    let now_ms = engine.now_us() / 1000;
    let Whole(body) = Whole::read(request, &site, EVENTS_BODY_BYTES).await?;
    let read = move || read_lines(&body, lines, now_ms);
    let drafts =
        tokio::task::spawn_blocking(read).await.map_err(|panic| Kind::Internal.says(panic.to_string()))?;
    let drafts = drafts.map_err(|why| Kind::BadRequest.says(format!("{why}. Nothing was stored")))?;
    let stored = engine.store_events(drafts).await?;
    let several = shards.count() > 1;
    Ok(Json::ok(StoredEvents {
        count: stored.places.len(),
        lsns: stored.places.iter().map(|place| place.lsn).collect(),
        shards: several.then(|| stored.places.iter().map(|place| place.shard).collect()),
        cursor: behind(shards, &stored).to_string(),
    }))
}

/// Where a reader stands who has seen a batch, and in the other shards everything that was there then.
fn behind(shards: &Shards, stored: &Stored) -> Standing {
    let cursor = |(shard, epoch): (&Arc<Shard>, &u32)| {
        let of_batch = stored.places.iter().filter(|place| place.shard == shard.number);
        let last = of_batch.map(|place| place.lsn).max();
        Cursor { epoch: *epoch, lsn: last.unwrap_or_else(|| shard.log.acknowledged().0.saturating_sub(1)) }
    };
    Standing::Each(shards.all().iter().zip(&stored.epochs).map(cursor).collect())
}

/// Events as NDJSON, the oldest first unless asked otherwise; each line has the cursor behind which to go on.
#[utoipa::path(get, path = "/events", tag = "events", params(EventFilter), responses(
    (status = 200, body = String, content_type = "application/x-ndjson"),
    (status = 409, description = "The cursor has diverged: what it has seen is void from some LSN on"), Problems))]
pub(super) async fn list(
    State(engine): Server,
    parameters: Result<Parameters<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let shards = Arc::clone(engine.shards_or_refusal()?);
    let Parameters(parameters) = parameters?;
    let query = Query::read(&parameters, shards.count()).map_err(|why| Kind::BadRequest.says(why))?;
    let wanted = places(&shards, &query, query.cursor.as_ref()).await?;
    let admitted = admit(&shards, wanted.len())?;
    let (to, from) = channel(PIECES);
    let several = shards.count() > 1;
    drop(tokio::task::spawn_blocking(move || {
        send_all(&wanted, &query, several, to);
        drop(admitted);
    }));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(Pieces::new(from))).into_response())
}

/// The live tail: what there is from a cursor on, then every event as it is acknowledged.
#[utoipa::path(get, path = "/events/tail", tag = "events", params(EventFilter), responses(
    (status = 200, body = String, content_type = "text/event-stream"),
    (status = 409, description = "The cursor has diverged: what it has seen is void from some LSN on"), Problems))]
pub(super) async fn tail(
    State(engine): Server,
    headers: HeaderMap,
    parameters: Result<Parameters<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let shards = Arc::clone(engine.shards_or_refusal()?);
    let Parameters(mut parameters) = parameters?;
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let named = parameters.iter().position(|(name, _)| name == "cursor").map(|at| parameters.remove(at).1);
    if parameters.iter().any(|(name, _)| named.is_some() && name == "cursor") {
        return Err(Kind::BadRequest.says("cursor: it stands more than once"));
    }
    let query = Query::read(&parameters, shards.count()).map_err(|why| Kind::BadRequest.says(why))?;
    if query.lsns.1 != u64::MAX {
        return Err(Kind::BadRequest.says("to_lsn: the tail has no end; GET /events has one"));
    }
    if query.order == Order::NewestFirst {
        return Err(Kind::BadRequest.says("order: the tail comes as it is written, the oldest first"));
    }
    // What a client reconnects with is newer than what it first asked with.
    let standing = resumed.or(named).filter(|text| !text.is_empty());
    let standing = standing.map(|text| text.parse::<Standing>()).transpose();
    let standing = standing.map_err(|why| Kind::BadRequest.says(format!("cursor: {why}")))?;
    let places = places(&shards, &query, standing.as_ref()).await?;
    let admitted = admit(&shards, places.len())?;
    let places: Vec<_> = places
        .into_iter()
        .map(|(shard, at)| {
            let next = match at {
                Some(at) => at.lsn + 1,
                None if query.is_bounded => query.lsns.0.max(1),
                None => shard.log.acknowledged().0,
            };
            (shard, next)
        })
        .collect();
    let (to, from) = channel(PIECES);
    let stop = engine.stopping();
    let limit = query.limit;
    let follow = Follow::new(query, places);
    let several = shards.count() > 1;
    drop(tokio::spawn(async move {
        send_tail(follow, several, limit, to, stop).await;
        drop(admitted);
    }));
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((head, Body::new(Pieces::new(from))).into_response())
}

/// Admits a reader of so many shards, for as long as it keeps what is returned.
fn admit(shards: &Shards, read: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let full = || {
        let most = shards.lanes();
        let each = if shards.count() > 1 { ", each counted once for every shard that it reads" } else { "" };
        Kind::TooManyReaders.says(format!("{most} readers of events are being served{each}: ask again later"))
    };
    shards.admit(read).ok_or_else(full)
}

/// Refuses a cursor whose epoch has been fenced off below what was seen, or that is ahead of the log.
async fn check(shard: &Arc<Shard>, cursor: Cursor, order: Order) -> Result<(), Problem> {
    let shard = Arc::clone(shard);
    let checked = tokio::task::spawn_blocking(move || {
        let newest = shard.epoch();
        if cursor.epoch > newest {
            return Err(Kind::BadRequest.says(format!(
                "cursor {cursor} is of epoch {}, and this log is in epoch {newest}: it is of another server",
                cursor.epoch
            )));
        }
        // Backwards what counts lies below the cursor.
        let kept = match order {
            Order::OldestFirst => cursor,
            Order::NewestFirst => Cursor { lsn: cursor.lsn.saturating_sub(1), ..cursor },
        };
        let epochs = shard.epochs().map_err(|why| Kind::Internal.says(why))?;
        let diverged = |found: Diverged| {
            let go_on = match order {
                Order::OldestFirst => found.go_on,
                Order::NewestFirst => Cursor { lsn: found.at, ..found.go_on },
            };
            Kind::Diverged.says(Diverged { cursor, go_on, ..found }.to_string())
        };
        kept.check(epochs.into_iter()).map_err(diverged)?;
        let next = shard.log.next_lsn().0;
        if kept.lsn >= next {
            return Err(Kind::BadRequest
                .says(format!("cursor {cursor} is ahead of the log, whose next LSN is {next}")));
        }
        Ok(())
    });
    checked.await.map_err(|panic| Kind::Internal.says(panic.to_string()))?
}

/// The shards to read, in order, and behind which event.
async fn places(
    shards: &Shards,
    query: &Query,
    standing: Option<&Standing>,
) -> Result<Vec<(Arc<Shard>, Option<Cursor>)>, Problem> {
    let only = query.shard.or_else(|| query.context.as_deref().map(|context| shards.of(context)));
    let cursors = standing.map(|standing| standing.places(only, shards.count())).transpose();
    let cursors = cursors.map_err(|why| Kind::BadRequest.says(format!("cursor: {why}")))?;
    let mut places = Vec::new();
    for shard in shards.all().iter().filter(|shard| only.is_none_or(|only| only == shard.number)) {
        let of = |(number, at): &(u16, Cursor)| (*number == shard.number).then_some(*at);
        let at = cursors.iter().flatten().find_map(of);
        if let Some(at) = at {
            let named = |problem: Problem| match shards.count() {
                1 => problem,
                _ => problem.kind.says(format!("shard {}: {}", shard.number, problem.text)),
            };
            check(shard, at, query.order).await.map_err(named)?;
        }
        places.push((Arc::clone(shard), at));
    }
    Ok(places)
}

fn send_all(shards: &[(Arc<Shard>, Option<Cursor>)], query: &Query, several: bool, to: Sender<Piece>) {
    let mut lines =
        Lines { bytes: Vec::new(), to, several, left: query.limit.unwrap_or(u64::MAX), failed: None };
    if lines.left == 0 {
        return;
    }
    let mut events = Merge::new(shards, query, several);
    loop {
        match events.next() {
            Ok(Some((found, standing))) if lines.take(&found, standing).is_continue() => {}
            Ok(_) => break,
            Err(why) => return lines.fail(&why),
        }
    }
    if let Some(why) = lines.failed.take() {
        lines.fail(&why);
    } else {
        let _ = lines.flush();
    }
}

/// What a client is sent next, or that the rest can't be.
type Piece = Result<Bytes, std::io::Error>;

/// Lines on their way to a client.
struct Lines {
    bytes: Vec<u8>,
    to: Sender<Piece>,
    several: bool,
    left: u64,
    failed: Option<String>,
}

impl Lines {
    fn take(&mut self, found: &Found<'_>, standing: &Standing) -> ControlFlow<()> {
        match found {
            Found::Event(seen) => {
                if let Err(why) = seen.write(standing, self.several, &mut self.bytes) {
                    self.failed = Some(unwritable(seen, self.several, &why));
                    return ControlFlow::Break(());
                }
                self.bytes.push(b'\n');
                self.left -= 1;
            }
            Found::Gap { shard, first, last } => {
                self.bytes.extend(gap(*shard, *first, *last).as_bytes());
                self.bytes.push(b'\n');
            }
        }
        if self.left == 0 {
            return ControlFlow::Break(());
        }
        if self.bytes.len() >= PIECE_BYTES { self.flush() } else { ControlFlow::Continue(()) }
    }

    /// Hands over what there is; nobody may want it any more.
    fn flush(&mut self) -> ControlFlow<()> {
        let bytes = core::mem::take(&mut self.bytes);
        if bytes.is_empty() || self.to.blocking_send(Ok(bytes.into())).is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    /// Says why it ends here, and breaks the answer off, so that nobody takes it for whole.
    fn fail(&mut self, why: &str) {
        tracing::error!(why, "events can't be read");
        self.bytes.extend(serde_json::json!({ "error": why }).to_string().as_bytes());
        self.bytes.push(b'\n');
        if self.flush().is_continue() {
            // What is handed over in the same moment as the end would be dropped with the connection, and nobody would know why.
            std::thread::sleep(PARTING);
            let _ = self.to.blocking_send(Err(std::io::Error::other(why.to_owned())));
        }
    }
}

fn unwritable(seen: &Seen<'_>, several: bool, why: &str) -> String {
    let shard = if several { format!("shard {}: ", seen.shard) } else { String::new() };
    format!("{shard}LSN {}: {why}", seen.lsn)
}

fn gap(shard: u16, first: u64, last: u64) -> String {
    serde_json::json!({ "gap": {
        "shard": shard, "first_lsn": first, "last_lsn": last,
        "reason": "these records were let go of, and it is not known that no event was among them",
    } })
    .to_string()
}

/// Sends what comes until the client or the server has gone.
async fn send_tail(
    mut follow: Follow,
    several: bool,
    limit: Option<u64>,
    to: Sender<Piece>,
    stop: CancellationToken,
) {
    let mut left = limit.unwrap_or(u64::MAX);
    // The head of the answer goes out at once, whether anything comes or not.
    if to.send(Ok(Bytes::from_static(b": the tail begins\n\n"))).await.is_err() {
        return;
    }
    while left > 0 {
        let sender = to.clone();
        let read = tokio::task::spawn_blocking(move || {
            let result = send_new(&mut follow, several, &mut left, &sender);
            (follow, left, result)
        });
        let Ok((returned, remaining, result)) = read.await else { return };
        (follow, left) = (returned, remaining);
        match result {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            Err(why) => {
                tracing::error!(why, "a tail can't be read");
                let text = format!("event: error\ndata: {}\n\n", serde_json::json!({ "error": why }));
                let _ = to.send(Ok(text.into())).await;
                return;
            }
        }
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = to.closed() => return,
                waited = follow.wait() => match waited {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    if to.send(Ok(Bytes::from_static(b": nothing new\n\n"))).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn send_new(
    follow: &mut Follow,
    several: bool,
    left: &mut u64,
    to: &Sender<Piece>,
) -> Result<ControlFlow<()>, String> {
    let mut places: Vec<(u16, Cursor)> = follow.places().collect();
    let mut failed = None;
    let flow = follow.read(&mut |found| {
        let mut text = Vec::new();
        match &found {
            Found::Gap { shard, first, last } => {
                text.extend(format!("event: gap\ndata: {}\n\n", gap(*shard, *first, *last)).as_bytes());
            }
            Found::Event(seen) => {
                for place in places.iter_mut().filter(|place| place.0 == seen.shard) {
                    place.1 = Cursor { epoch: seen.epoch, lsn: seen.lsn };
                }
                let standing = match places[..] {
                    [(shard, at)] if several => Standing::Alone { shard, at },
                    _ => Standing::Each(places.iter().map(|(_, at)| *at).collect()),
                };
                text.extend(format!("id: {standing}\ndata: ").as_bytes());
                if let Err(why) = seen.write(&standing, several, &mut text) {
                    failed = Some(unwritable(seen, several, &why));
                    return ControlFlow::Break(());
                }
                text.extend(b"\n\n");
                *left -= 1;
            }
        }
        if to.blocking_send(Ok(text.into())).is_err() || *left == 0 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(flow), Err)
}

/// The largest body; a batch must also fit a record of the log.
pub(super) const EVENTS_BODY_BYTES: usize = 32 << 20;
const LINES: [&str; 3] = ["application/x-ndjson", "application/jsonl", "application/ndjson"];
/// Pieces that wait for a client.
const PIECES: usize = 4;
const PIECE_BYTES: usize = 64 << 10;
/// Between the last line and the end of an answer that is broken off: the line is on its way by then.
const PARTING: Duration = Duration::from_millis(200);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
