//! The connections of a listener: at most so many, each with deadlines, all of them let finish at the end.
//!
//! ```text
//!  accept ─► a permit? ─ no ─► 503, closed
//!              └ yes ─► TLS, if there is any ─► requests, one after the other ─► closed
//!  stop ─► no new ones ─► each ends after the answer it is giving ─► cut after DRAIN
//! ```
//!
//! What keeps a connection from staying without work: the head of a request must be whole in time, counted from the end
//! of the answer before it, and a client must take its answer.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU64, AtomicUsize};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;

use super::Door;
use super::limits::Limits;
use crate::tls::Tls;

/// The connections of all listeners of HTTP, in numbers that operators watch.
#[derive(Debug, Default)]
pub struct Traffic {
    connections: AtomicUsize,
    turned_away: AtomicU64,
}

impl Traffic {
    /// Connections that there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Connections that there was no room for, since the start.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }
}

/// A connection while it lasts.
struct Counted {
    traffic: Arc<Traffic>,
    _permit: OwnedSemaphorePermit,
}

impl Counted {
    fn new(traffic: Arc<Traffic>, permit: OwnedSemaphorePermit) -> Self {
        traffic.connections.fetch_add(1, Relaxed);
        Self { traffic, _permit: permit }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.traffic.connections.fetch_sub(1, Relaxed);
    }
}

/// Serves a router until `stop` is cancelled and the answers that have begun are given, or `DRAIN` is over.
pub(super) async fn serve(
    listener: TcpListener,
    Door { tls, traffic, .. }: Door,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let turns = Arc::new(Semaphore::new(TURNED_AWAY));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&permits).try_acquire_owned() {
                    Ok(permit) => {
                        let counted = Counted::new(Arc::clone(&traffic), permit);
                        let served = connect(stream, tls.clone(), router.clone(), limits, graceful.watcher());
                        connections.spawn(async move {
                            let served = served.await;
                            drop(counted);
                            served
                        });
                    }
                    Err(_) => {
                        traffic.turned_away.fetch_add(1, Relaxed);
                        // Over TLS nothing can be said before the work that there is no room for.
                        let turn = Arc::clone(&turns).try_acquire_owned().ok().filter(|_| tls.is_none());
                        if let Some(turn) = turn {
                            connections.spawn(turn_away(stream, turn));
                        }
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async {
        graceful.shutdown().await;
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "HTTP connections are cut because they do not end");
        connections.shutdown().await;
    }
}

async fn connect(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    router: Router,
    limits: Limits,
    watcher: Watcher,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => requests(tls.accept(stream).await?, router, limits, watcher).await,
        None => requests(stream, router, limits, watcher).await,
    }
}

async fn requests<S>(stream: S, router: Router, limits: Limits, watcher: Watcher) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(limits.body_time));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    watcher.watch(connection).await.map_err(io::Error::other)
}

/// Says why in one write, and waits until the client has read it: a close while its request is still coming would
/// reset the connection before that.
async fn turn_away(mut stream: TcpStream, turn: OwnedSemaphorePermit) -> io::Result<()> {
    let said = async {
        stream.write_all(TOO_MANY).await?;
        stream.shutdown().await?;
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await? > 0 {}
        Ok(())
    };
    let said = tokio::time::timeout(LINGER, said).await;
    drop(turn);
    said.unwrap_or(Ok(()))
}

/// A client that goes away is ordinary; a connection that panicked is our fault.
fn report(ended: Result<io::Result<()>, JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended"),
        Err(error) => tracing::error!(%error, "a connection failed"),
    }
}

const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 143\r\n\
    Retry-After: 1\r\nConnection: close\r\n\r\n\
    {\"type\":\"urn:strandline:problem:too-many-connections\",\"title\":\"There are too many connections\",\
    \"status\":503,\"detail\":\"server.max_connections\"}\n";
/// Connections that have not ended so long after the stop are cut.
const DRAIN: Duration = Duration::from_secs(10);
/// When descriptors run out, accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a connection reads ahead; a longer head is refused by a bare 431.
const BUFFER_BYTES: usize = 64 << 10;
/// Clients that are being told that there is no room; more are closed without a word.
const TURNED_AWAY: usize = 64;
const LINGER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_answer_has_the_length_that_it_says() {
        let text = core::str::from_utf8(TOO_MANY).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("two parts");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).expect("JSON");
    }
}
