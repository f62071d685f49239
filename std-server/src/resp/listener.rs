//! The listener: accepts clients up to a limit, and lets them finish when the server stops.

use super::connection::{ConnectionLimits, serve_connection};
use crate::command::{Addresses, Engine};
use crate::tls::Tls;
use core::time::Duration;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Limits of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// One client more is told so and closed.
    pub clients: usize,
    /// Connections that have not ended so long after the stop are cut.
    pub drain: Duration,
    /// Limits of every connection.
    pub connection: ConnectionLimits,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { clients: 10_000, drain: Duration::from_secs(10), connection: ConnectionLimits::default() }
    }
}

/// Serves clients until `stop` is cancelled; returns when the last connection has ended.
pub async fn serve<E: Engine>(
    listener: TcpListener,
    engine: Arc<E>,
    limits: ListenerLimits,
    stop: CancellationToken,
) {
    serve_over(None, listener, engine, limits, stop).await;
}

/// The same over TLS, if there is any.
pub async fn serve_over<E: Engine>(
    tls: Option<Arc<Tls>>,
    listener: TcpListener,
    engine: Arc<E>,
    limits: ListenerLimits,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= limits.clients => {
                    engine.clients().statistics().turn_away();
                    connections.spawn(turn_away(stream));
                }
                Ok((stream, _)) => {
                    let tls = tls.clone();
                    connections.spawn(connect(stream, tls, Arc::clone(&engine), limits.connection, stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(limits.drain, async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are cut because they do not end");
        connections.shutdown().await;
    }
}

async fn connect<E: Engine>(
    mut stream: TcpStream,
    tls: Option<Arc<Tls>>,
    engine: Arc<E>,
    limits: ConnectionLimits,
    stop: CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let addresses = Addresses { peer: stream.peer_addr()?, local: stream.local_addr()? };
    match tls {
        Some(tls) => {
            let mut stream = tls.accept(stream).await?;
            serve_connection(&mut stream, addresses, &*engine, limits, &stop).await
        }
        None => serve_connection(&mut stream, addresses, &*engine, limits, &stop).await,
    }
}

async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"-ERR max number of clients reached\r\n").await?;
    stream.shutdown().await
}

/// A client that goes away is ordinary; a connection that panicked is our fault.
fn report(ended: Result<io::Result<()>, JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended"),
        Err(error) => tracing::error!(%error, "a connection failed"),
    }
}

/// When descriptors run out, accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
