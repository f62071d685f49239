//! Load through the Redis protocol: `redis-benchmark` for rates, and a loader of one's own for a known set of keys.

use core::net::SocketAddr;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use strandline_tests::process::resp::{Reply, encode};

use super::servers::ask;

/// Bytes of every value.
pub(crate) const VALUE_BYTES: usize = 64;
/// Clients at once.
pub(crate) const CLIENTS: usize = 50;

/// What `redis-benchmark` is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// `set` or `get`.
    pub(crate) test: &'static str,
    /// Commands in flight on each connection.
    pub(crate) depth: usize,
    /// Commands in all.
    pub(crate) requests: usize,
    /// Keys that are drawn from.
    pub(crate) keys: usize,
}

/// Commands a second.
pub(crate) fn rate(address: SocketAddr, load: Load) -> Result<f64, String> {
    let output = benchmark(address, load).output().map_err(|error| format!("redis-benchmark: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rfind(|line| line.starts_with('"'));
    let rate = line.and_then(|line| line.split('"').nth(3)?.parse().ok());
    rate.ok_or_else(|| format!("redis-benchmark: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn benchmark(address: SocketAddr, load: Load) -> Command {
    let Load { test, depth, requests, keys } = load;
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-t", test, "--csv"]);
    for (flag, number) in
        [("-n", requests), ("-c", CLIENTS), ("-P", depth), ("-d", VALUE_BYTES), ("-r", keys)]
    {
        command.args([flag, &number.to_string()]);
    }
    command
}

/// A load that goes on until it is dropped.
pub(crate) struct Storm(Child);

impl Storm {
    pub(crate) fn start(address: SocketAddr, load: Load) -> Result<Self, String> {
        let mut command = benchmark(address, load);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.map(Self).map_err(|error| format!("redis-benchmark: {error}"))
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Stores `keys` keys of 16 bytes, the ones that [`rate`] draws from.
pub(crate) fn fill(address: SocketAddr, keys: usize) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    let mut replies = vec![0; DEPTH * OK.len()];
    let (mut bytes, value) = (Vec::new(), "v".repeat(VALUE_BYTES));
    for first in (0..keys).step_by(DEPTH) {
        bytes.clear();
        let these = first..(first + DEPTH).min(keys);
        let replies = &mut replies[..these.len() * OK.len()];
        these.for_each(|key| encode(&["SET", &format!("key:{key:012}"), &value], &mut bytes));
        let done = stream.write_all(&bytes).and_then(|()| stream.read_exact(replies));
        done.map_err(|error| format!("the server does not take keys: {error}"))?;
        if replies.chunks(OK.len()).any(|reply| reply != OK) {
            return Err(format!("a write was refused: {}", replies.escape_ascii()));
        }
    }
    check(address, keys)
}

/// Holds the number of keys against what it should be.
pub(crate) fn check(address: SocketAddr, keys: usize) -> Result<(), String> {
    match ask(address, &["DBSIZE"])? {
        Reply::Integer(found) if usize::try_from(found) == Ok(keys) => Ok(()),
        other => Err(format!("{other} keys instead of {keys}")),
    }
}

const DEPTH: usize = 500;
const OK: &[u8] = b"+OK\r\n";
