//! HTTP: the same commands as the Redis protocol, in the shapes of Synap's REST interface, and the operator's pages.
//!
//! ```text
//!  /kv/…          kv.rs      words for the command layer ─► reply ─► JSON
//!  /snapshot(s)   admin.rs   /info, /health, /livez, /readyz, /metrics
//!  every request  guard.rs   not from a web page of another server
//!  every error    problem.rs {"error": …} with a status
//! ```
//!
//! While recovery runs, only /livez, /readyz and /metrics answer; everything else is 503 with the progress.

mod admin;
mod guard;
mod kv;
mod problem;

use core::time::Duration;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::problem::Problem;
use crate::engine::DurableEngine;
use crate::metrics::Metrics;

/// What handlers know.
type Server = State<Arc<DurableEngine>>;

/// Serves HTTP until `stop` is cancelled and the requests that have begun are answered, or `DRAIN` is over.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    engine: Arc<DurableEngine>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = router(engine);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers may be delayed");
        }
    });
    let stopped = stop.clone().cancelled_owned();
    let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
    tokio::select! {
        served = served.into_future() => served,
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => {
            tracing::warn!("HTTP connections are cut because they do not end");
            Ok(())
        }
    }
}

fn router(engine: Arc<DurableEngine>) -> Router {
    let body_bytes = 2 * engine.facts().config.max_value_bytes + BODY_OVERHEAD;
    let metrics = Arc::new(Metrics::new(Arc::clone(&engine)));
    Router::new()
        .route("/kv/set", post(kv::set))
        .route("/kv/get/{key}", get(kv::get))
        .route("/kv/del/{key}", delete(kv::del))
        .route("/kv/stats", get(kv::stats))
        .route("/kv/msetnx", post(kv::msetnx))
        .route("/kv/{key}/append", post(kv::append))
        .route("/kv/{key}/getrange", get(kv::getrange))
        .route("/kv/{key}/setrange", post(kv::setrange))
        .route("/kv/{key}/strlen", get(kv::strlen))
        .route("/kv/{key}/getset", post(kv::getset))
        .route("/snapshot", post(admin::take_snapshot))
        .route("/snapshots", get(admin::list_snapshots))
        .route("/health", get(admin::health))
        .route("/info", get(admin::info))
        .layer(from_fn_with_state(Arc::clone(&engine), refuse_while_loading))
        .route("/livez", get(admin::livez))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(move || async move { metrics.page() }))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(from_fn_with_state(Arc::clone(&engine), guard::refuse_foreign_pages))
        .with_state(engine)
}

async fn refuse_while_loading(State(engine): Server, request: Request, next: Next) -> Response {
    match engine.progress() {
        Some(progress) => Problem::from(progress.refusal()).into_response(),
        None => next.run(request).await,
    }
}

async fn no_such_page(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::method(format!("{} does not take {method}", uri.path()))
}

/// Connections that have not ended so long after the stop are cut.
const DRAIN: Duration = Duration::from_secs(10);
/// What a body may be longer than twice the largest value: names, other fields, and some escapes.
const BODY_OVERHEAD: usize = 64 << 10;
