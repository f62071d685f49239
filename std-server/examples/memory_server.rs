//! The Redis protocol over a keyspace in memory, to measure the protocol without a log:
//! `cargo run --release --example memory_server -- 127.0.0.1:7379`, then `redis-benchmark -p 7379 -t set,get -P 16`.

use core::net::SocketAddr;
use std::sync::Arc;
use std_server::command::MemoryEngine;
use std_server::keyspace::Options;
use std_server::resp::{ListenerLimits, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

fn main() -> std::io::Result<()> {
    let address: SocketAddr = match std::env::args().nth(1) {
        Some(text) => text.parse().map_err(|_| std::io::Error::other("the address is not HOST:PORT"))?,
        None => SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let threads = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1);
    let runtime = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        more => tokio::runtime::Builder::new_multi_thread().worker_threads(more).enable_all().build()?,
    };
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let engine = MemoryEngine::new(Options::default(), stop.clone());
        serve(listener, Arc::new(engine), ListenerLimits::default(), stop).await;
        Ok(())
    })
}
