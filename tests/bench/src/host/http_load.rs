//! Load through HTTP: connections that stay open, one request in flight on each.

use core::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::load::{CLIENTS, VALUE_BYTES};

/// Requests a second that store a key each.
pub(crate) fn rate(address: SocketAddr, requests: usize) -> Result<f64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let each = requests / CLIENTS;
    runtime.block_on(async {
        let mut connections = Vec::new();
        for number in 0..CLIENTS {
            connections.push(Connection::open(address, number).await?);
        }
        let begun = Instant::now();
        let mut clients: JoinSet<Result<(), String>> =
            connections.into_iter().map(|connection| connection.store(each)).collect();
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|panic| panic.to_string())??;
        }
        Ok((each * CLIENTS) as f64 / begun.elapsed().as_secs_f64())
    })
}

struct Connection {
    stream: TcpStream,
    random: u64,
}

impl Connection {
    async fn open(address: SocketAddr, number: usize) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, random: number as u64 })
    }

    async fn store(mut self, requests: usize) -> Result<(), String> {
        let value = "v".repeat(VALUE_BYTES);
        let mut answer = vec![0; 4096];
        for _ in 0..requests {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let body = format!(r#"{{"key":"key:{:012}","value":"{value}"}}"#, (self.random >> 33) % KEYS);
            let head = format!(
                "POST /kv/set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            self.stream.write_all((head + &body).as_bytes()).await.map_err(|error| error.to_string())?;
            self.answer(&mut answer).await?;
        }
        Ok(())
    }

    /// Reads one whole answer, which must be a good one.
    async fn answer(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        let mut len = 0;
        loop {
            match self.stream.read(&mut bytes[len..]).await {
                Ok(0) => return Err("the connection ended, or the answer is too long".into()),
                Ok(more) => len += more,
                Err(error) => return Err(error.to_string()),
            }
            if let Some(end) = end_of(&bytes[..len]) {
                let good = end == len && bytes.starts_with(b"HTTP/1.1 200 ");
                return if good {
                    Ok(())
                } else {
                    Err(format!("the answer was {}", bytes[..len].escape_ascii()))
                };
            }
        }
    }
}

/// Where the answer ends, if its head is there.
fn end_of(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = core::str::from_utf8(&bytes[..head]).ok()?.to_ascii_lowercase();
    let len: usize = text.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
    Some(head + len).filter(|end| *end <= bytes.len())
}

const KEYS: u64 = 1_000_000;
