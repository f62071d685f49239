//! The life of a server: listen, recover, serve, stop.
//!
//! ```text
//!  bind ─► listeners answer "loading" ─► recover ─► ready ─► stop: a signal, or SHUTDOWN
//!                                                             │ no new connections, requests that were read are answered
//!                                                             └ flush, sync, seal ─► exit 0
//! ```

use core::fmt;
use core::net::SocketAddr;
use std::io;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use strandline::{Lsn, OpenError};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Loaded, LogFormat};
use crate::engine::{DurableEngine, Facts, Recovery};
use crate::http::{Door, Pages};
use crate::open_files::Clients;
use crate::resp::{ConnectionLimits, ListenerLimits, RequestLimits};
use crate::tls::{Tls, TlsError, TlsFiles};
use crate::{announce, http, logging, open_files, resp};

/// Runs the server until it is told to stop.
#[must_use]
pub fn run(loaded: &Loaded, discard_from: Option<u64>) -> ExitCode {
    logging::start(loaded.config.logging);
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    let mut config = loaded.config.clone();
    let wanted = Clients {
        resp: config.resp.map_or(0, |_| config.max_clients),
        http: config.http_limits.connections * (1 + usize::from(config.admin.is_some())),
        lanes: config.event_lanes,
    };
    let (room, note) = open_files::make_room(wanted, config.shard_count);
    config.event_lanes = room.lanes;
    if let Some(note) = note {
        tracing::warn!("{note}");
        config.max_clients = room.resp.max(1);
        config.http_limits.connections = config.http_limits.connections.min(room.http);
    }
    let runtime = match Builder::new_multi_thread().worker_threads(workers()).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&config, &Failure::System(error)),
    };
    let served = runtime.block_on(serve(&config, discard_from.map(Lsn)));
    // Recovery that was broken off runs on a thread that nothing waits for: it may end at any moment.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failed(&config, &failure),
    }
}

async fn serve(config: &Config, discard_from: Option<Lsn>) -> Result<(), Failure> {
    let started = Instant::now();
    let mut signals = Signals::new().map_err(Failure::System)?;
    // Taken from the first moment on: it would end the process otherwise.
    let hangup = signal(SignalKind::hangup()).map_err(Failure::System)?;
    let stop = CancellationToken::new();
    let tls = Listeners::load(config)?;
    let http_listener = bind("HTTP", config.http, "--http ADDR").await?;
    let admin_listener = match config.admin {
        Some(address) => Some(bind("administration", address, "admin.port").await?),
        None => None,
    };
    let resp_listener = match config.resp {
        Some(address) => Some(bind("the Redis protocol", address, "--resp ADDR").await?),
        None => None,
    };
    let http = http_listener.local_addr().map_err(Failure::System)?;
    let resp = resp_listener.as_ref().map(TcpListener::local_addr).transpose().map_err(Failure::System)?;
    let facts = Facts { config: config.clone(), http, resp, started };
    let engine = Arc::new(DurableEngine::new(facts, stop.clone()));
    if let Some(listener) = &admin_listener {
        tracing::info!(admin = %listener.local_addr().map_err(Failure::System)?, "listening for administration");
    }
    announce::listening(engine.facts());

    let mut servers = JoinSet::new();
    let pages = if admin_listener.is_some() { Pages::Clients } else { Pages::All };
    let door = Door { pages, tls: tls.http.clone(), traffic: Arc::default() };
    servers.spawn(http::serve(http_listener, door.clone(), Arc::clone(&engine), stop.clone()));
    if let Some(listener) = admin_listener {
        let door = Door { pages: Pages::Operator, ..door };
        servers.spawn(http::serve(listener, door, Arc::clone(&engine), stop.clone()));
    }
    if let Some(listener) = resp_listener {
        let tls = tls.resp.clone();
        servers.spawn(resp::serve_over(tls, listener, Arc::clone(&engine), limits(config), stop.clone()));
    }
    drop(tokio::spawn(tls.reload_on(hangup)));
    let recovering = Arc::clone(&engine);
    let recovery = tokio::task::spawn_blocking(move || recovering.recover(discard_from));
    let recovery: Recovery = tokio::select! {
        recovered = recovery => recovered.map_err(|panic| Failure::Panic(panic.to_string()))??,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before recovery had finished; nothing is lost by that");
            return Ok(());
        }
        () = stop.cancelled() => return Ok(()),
    };
    engine.run_in_background();
    announce::ready(engine.facts(), &recovery);

    tokio::select! {
        name = signals.next() => tracing::info!(signal = name, "stopping"),
        () = stop.cancelled() => tracing::info!("stopping: SHUTDOWN"),
    }
    stop.cancel();
    tokio::select! {
        ended = end(&engine, servers) => ended,
        name = signals.next() => Err(Failure::Impatient(name)),
    }
}

async fn end(engine: &DurableEngine, mut servers: JoinSet<()>) -> Result<(), Failure> {
    while let Some(ended) = servers.join_next().await {
        if let Err(panic) = ended {
            tracing::error!(%panic, "a listener failed");
        }
    }
    engine.close().await.map_err(Failure::Halted)?;
    tracing::info!("stopped: everything is on disk");
    Ok(())
}

async fn bind(what: &'static str, address: SocketAddr, flag: &'static str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| Failure::Listen { what, address, flag, error })
}

fn limits(config: &Config) -> ListenerLimits {
    // A request may hold the largest value with its key and options; a pipeline is not a request.
    let word_bytes = config.max_value_bytes.max(MIN_WORD_BYTES);
    let request = RequestLimits { word_bytes, ..ConnectionLimits::default().request };
    let (reply_bytes, stall) = (config.max_reply_bytes, config.stall);
    let connection = ConnectionLimits { request, reply_bytes, stall, ..ConnectionLimits::default() };
    ListenerLimits { clients: config.max_clients, connection, ..ListenerLimits::default() }
}

/// One processor is left to the log's own threads and to the kernel.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |count| (count.get() - 1).clamp(1, 8))
}

fn failed(config: &Config, failure: &Failure) -> ExitCode {
    let next = if failure.is_damage() {
        let data = config.data_dir.display();
        format!(". All of it, and what goes past it, changing nothing: std-server repair --data-dir {data}")
    } else {
        String::new()
    };
    match config.logging.format {
        LogFormat::Human => drop(writeln!(io::stderr(), "std-server: {failure}{next}")),
        LogFormat::Json => tracing::error!("{failure}{next}"),
    }
    ExitCode::FAILURE
}

/// What is spoken on each listener.
#[derive(Clone)]
struct Listeners {
    http: Option<Arc<Tls>>,
    resp: Option<Arc<Tls>>,
}

impl Listeners {
    fn load(config: &Config) -> Result<Self, TlsError> {
        let load = |files: &Option<TlsFiles>| files.as_ref().map(Tls::load).transpose();
        Ok(Self { http: load(&config.http_tls)?, resp: load(&config.resp_tls)? })
    }

    /// Reads certificates and keys again whenever the signal comes.
    async fn reload_on(self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            for tls in [&self.http, &self.resp].into_iter().flatten() {
                let path = tls.files().certificates.display();
                match tls.reload() {
                    Ok(()) => tracing::info!(%path, "certificate and key were read again"),
                    Err(error) => tracing::error!(%error, "certificate and key stay as they were"),
                }
            }
        }
    }
}

/// Why the server did not start, or did not end well: what happened, and what to do next.
#[derive(Debug)]
enum Failure {
    System(io::Error),
    Listen { what: &'static str, address: SocketAddr, flag: &'static str, error: io::Error },
    Tls(TlsError),
    Open(OpenError),
    Halted(String),
    Impatient(&'static str),
    Panic(String),
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl Failure {
    /// Whether a repair has more to say.
    const fn is_damage(&self) -> bool {
        matches!(self, Self::Open(OpenError::Corrupt(_) | OpenError::Inconsistent(_)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "the system refuses what a server needs: {error}"),
            Self::Listen { what, address, flag, error } => write!(
                f,
                "{what} can't listen on {address}: {error}. Stop what listens there, or choose another address with {flag}"
            ),
            Self::Tls(error) => write!(f, "{error}. Name files in PEM that the server may read"),
            Self::Open(error @ OpenError::Locked { .. }) => {
                write!(f, "{error}. Stop that one, or choose another directory with --data-dir DIR")
            }
            Self::Open(error @ OpenError::Step(_)) => {
                write!(f, "{error}. Make it usable, or choose another directory with --data-dir DIR")
            }
            Self::Open(error) => error.fmt(f),
            Self::Halted(why) => write!(
                f,
                "stopped with a halted log ({why}): writes that were not acknowledged may be lost; see to the device before the next start"
            ),
            Self::Impatient(signal) => {
                write!(
                    f,
                    "stopped at once by a second {signal}: what was acknowledged is kept as after a kill"
                )
            }
            Self::Panic(panic) => write!(f, "recovery failed by a mistake of this program: {panic}"),
        }
    }
}

/// The signals that stop a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Keys, and the words of every command, fit whatever the largest value is.
const MIN_WORD_BYTES: usize = 1 << 20;
