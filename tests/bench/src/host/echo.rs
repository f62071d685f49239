//! The peer of the HTTP row: an axum handler that sends back what it was sent, in a process of its own.

use core::net::SocketAddr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;

/// The word that makes this program the peer.
pub(crate) const WORD: &str = "--echo";

/// Serves until the process is ended.
pub(crate) fn serve() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let listener =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        println!("{}", listener.local_addr().map_err(|error| error.to_string())?);
        let echo = |body: Bytes| async { ([(CONTENT_TYPE, "application/json")], body) };
        let router = Router::new().route("/kv/set", post(echo));
        axum::serve(
            axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))),
            router,
        )
        .await
        .map_err(|error| error.to_string())
    })
}

/// The running peer.
pub(crate) struct Echo {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Echo {
    pub(crate) fn start() -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child =
            Command::new(own).arg(WORD).stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let mut line = String::new();
        let read = child.stdout.take().map(|pipe| BufReader::new(pipe).read_line(&mut line));
        match line.trim().parse() {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => Err(format!("the echoing server did not start: {read:?}")),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
