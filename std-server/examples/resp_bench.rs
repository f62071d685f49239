//! What a command costs without a network: one connection over a stream that is always ready, one core.
//!
//! `cargo run --release --example resp_bench` prints nanoseconds per command, 16 deep, for 100,000 keys of 64 bytes.

use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::time::Instant;
use std_server::command::{Addresses, MemoryEngine};
use std_server::keyspace::Options;
use std_server::resp::{ConnectionLimits, serve_connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let engine = MemoryEngine::new(Options::default(), CancellationToken::new());
    let value = "v".repeat(64);
    let set = |key: &str| format!("*3\r\n$3\r\nSET\r\n$16\r\n{key}\r\n$64\r\n{value}\r\n");
    let get = |key: &str| format!("*2\r\n$3\r\nGET\r\n$16\r\n{key}\r\n");
    let rows: [(&str, &Line<'_>); 4] =
        [("PING", &|_| "*1\r\n$4\r\nPING\r\n".to_owned()), ("SET (new)", &set), ("SET", &set), ("GET", &get)];
    for (name, line) in rows {
        let mut stream = Script::new(line);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = Addresses { peer: address, local: address };
        let stop = CancellationToken::new();
        let start = Instant::now();
        runtime.block_on(serve_connection(
            &mut stream,
            addresses,
            &engine,
            ConnectionLimits::default(),
            &stop,
        ))?;
        let nanos = start.elapsed().as_nanos() / u128::from(COMMANDS);
        println!("{name:10} {nanos:5} ns  {} reply bytes", stream.written);
    }
    Ok(())
}

/// Makes a command of a key.
type Line<'f> = dyn Fn(&str) -> String + 'f;

/// Gives pipelines of [`DEPTH`] commands and takes every reply.
struct Script {
    pipelines: Vec<Vec<u8>>,
    given: usize,
    written: usize,
}

impl Script {
    fn new(line: &Line<'_>) -> Self {
        let mut number = 0_u64;
        let mut key = || {
            number += 1;
            format!("key:{:012}", number.wrapping_mul(7919) % KEYS)
        };
        let count = usize::try_from(COMMANDS).unwrap_or(usize::MAX) / DEPTH;
        let pipelines =
            (0..count).map(|_| (0..DEPTH).map(|_| line(&key())).collect::<String>().into_bytes()).collect();
        Self { pipelines, given: 0, written: 0 }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Some(pipeline) = self.pipelines.get(self.given) {
            buffer.put_slice(pipeline);
            self.given += 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.written += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const COMMANDS: u64 = 1_600_000;
const DEPTH: usize = 16;
const KEYS: u64 = 100_000;
