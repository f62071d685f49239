//! HTTP: the same commands as the Redis protocol, in the shapes of Synap's REST interface, and the operator's pages.
//!
//! ```text
//!  socket ─► listener.rs ─► shape ─► head ─► page ─► user ─► time ─► loading ─► handler
//!            connections    problem  limits  guard   users   limits            kv.rs keys.rs  words ─► reply ─► JSON
//!            deadlines      .rs      .rs     .rs     .rs     .rs               command.rs     Synap's commands
//!                                                                              events.rs      events, read while they are sent
//!                                                                              admin.rs       the operator's pages
//!                                                                              archives.rs    archives, whole and in ranges
//! ```
//!
//! Bodies and answers are types (`shapes.rs`) from which the OpenAPI document is made: a handler that is routed is
//! described, because both come from the same line. While recovery runs, only /livez, /readyz, /metrics and
//! /openapi.json answer; everything else is 503 with the progress.

mod admin;
mod archives;
mod body;
mod command;
mod events;
mod guard;
mod history;
mod keys;
mod kv;
mod limits;
mod listener;
mod openapi;
mod problem;
mod scan;
mod shapes;
mod stream;
mod text;
mod users;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRef, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::limits::Limits;
pub use self::listener::Traffic;
use self::openapi::Document;
use self::problem::{Kind, Problem};
use crate::auth::Credentials;
use crate::engine::DurableEngine;
use crate::metrics::Metrics;
use crate::tls::Tls;

/// What handlers of commands know.
type Server = State<Arc<DurableEngine>>;

/// What all handlers share.
#[derive(Clone, Debug)]
struct Site {
    engine: Arc<DurableEngine>,
    metrics: Arc<Metrics>,
    users: Arc<Credentials>,
    limits: Limits,
}

/// What a listener of HTTP is for.
#[derive(Clone, Debug)]
pub struct Door {
    /// Which pages it has.
    pub pages: Pages,
    /// TLS, if it is spoken.
    pub tls: Option<Arc<Tls>>,
    /// Where its connections are counted; one for all listeners.
    pub traffic: Arc<Traffic>,
}

/// Which pages a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All.
    All,
    /// Those for clients: snapshots and metrics are on another listener.
    Clients,
    /// Those for the operator: no keys.
    Operator,
}

impl FromRef<Site> for Arc<DurableEngine> {
    fn from_ref(site: &Site) -> Self {
        Self::clone(&site.engine)
    }
}

/// Serves HTTP until `stop` is cancelled and the requests that have begun are answered, or some seconds are over.
pub async fn serve(listener: TcpListener, door: Door, engine: Arc<DurableEngine>, stop: CancellationToken) {
    let config = &engine.facts().config;
    let (limits, users) = (Limits::new(config), Arc::new(Credentials::new(&config.http_users)));
    let metrics = Arc::new(Metrics::new(Arc::clone(&engine), Arc::clone(&door.traffic)));
    let router = router(door.pages, Site { engine, metrics, users, limits });
    listener::serve(listener, door, router, limits, stop).await;
}

fn router(pages: Pages, site: Site) -> Router {
    let loading = from_fn_with_state(site.clone(), refuse_while_loading);
    let mut described = OpenApiRouter::with_openapi(openapi::frame());
    if pages != Pages::Operator {
        described = described.merge(for_clients().layer(loading.clone()));
    }
    if pages != Pages::Clients {
        described = described.merge(for_operators().layer(loading.clone())).routes(routes!(admin::metrics));
    }
    let (router, document) = described
        .merge(for_all().layer(loading))
        .routes(routes!(admin::livez))
        .routes(routes!(admin::readyz))
        .routes(routes!(openapi::document))
        .split_for_parts();
    let document = Document::new(&document).unwrap_or_else(|error| unreachable!("it is JSON: {error}"));
    router
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(Extension(document))
        .layer(DefaultBodyLimit::max(site.limits.body_bytes))
        .layer(from_fn_with_state(site.limits, limits::bound_time))
        .layer(from_fn_with_state(site.clone(), users::refuse_strangers))
        .layer(from_fn_with_state(site.clone(), guard::refuse_foreign_pages))
        .layer(from_fn(limits::bound_head))
        .layer(from_fn(problem::shape))
        .with_state(site)
}

fn for_clients() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(kv::set))
        .routes(routes!(kv::get))
        .routes(routes!(kv::del))
        .routes(routes!(kv::stats))
        .routes(routes!(kv::msetnx))
        .routes(routes!(kv::append))
        .routes(routes!(kv::getrange))
        .routes(routes!(kv::setrange))
        .routes(routes!(kv::strlen))
        .routes(routes!(kv::getset))
        .routes(routes!(keys::kind))
        .routes(routes!(keys::exists))
        .routes(routes!(keys::rename))
        .routes(routes!(keys::renamenx))
        .routes(routes!(keys::copy))
        .routes(routes!(keys::randomkey))
        .routes(routes!(command::command))
        .routes(routes!(events::store, events::list))
        .routes(routes!(events::tail))
}

fn for_operators() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(admin::take_snapshot))
        .routes(routes!(admin::list_snapshots))
        .routes(routes!(archives::list_archives))
        .routes(routes!(archives::archive))
        .routes(routes!(archives::verify))
        .routes(routes!(archives::download))
        .routes(routes!(history::archive_now))
}

fn for_all() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(admin::health)).routes(routes!(admin::info))
}
async fn refuse_while_loading(State(engine): Server, request: Request, next: Next) -> Response {
    match engine.progress() {
        Some(progress) => Problem::from(progress.refusal()).into_response(),
        None => next.run(request).await,
    }
}

async fn no_such_page(uri: Uri) -> Problem {
    Kind::NotFound.says(format!("there is nothing at {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Kind::MethodNotAllowed.says(format!("{} does not take {method}", uri.path()))
}
