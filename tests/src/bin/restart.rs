//! How fast a server with many keys restarts, and what a snapshot costs those who write meanwhile.
//!
//! `cargo run --release -p strandline-tests --bin restart -- [--keys N] [--server PATH]`
//!
//! Loads N keys (16 B) with 64 B values through the Redis protocol, takes a snapshot under write load, kills the server and
//! times the restart from the snapshot; then the same from the log only. Prints figures, judges nothing.

use core::error::Error;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

type Result<T> = core::result::Result<T, Box<dyn Error>>;

const WRITERS: u64 = 4;
const CALM: Duration = Duration::from_secs(3);

struct Arguments {
    keys: u64,
    server: PathBuf,
}

fn arguments() -> Result<Arguments> {
    let mut found = Arguments { keys: 1_000_000, server: PathBuf::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        match word.as_str() {
            "--keys" => found.keys = value.parse()?,
            "--server" => found.server = value.into(),
            _ => return Err(format!("unknown argument {word}: --keys N, --server PATH").into()),
        }
    }
    if found.server.as_os_str().is_empty() {
        found.server = build()?;
    }
    Ok(found)
}

/// Builds the server in release mode and says where it is.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--release", "-q", "-p", "std-server"]).status()?;
    if !built.success() {
        return Err("the server could not be built".into());
    }
    let own = std::env::current_exe()?;
    Ok(own.with_file_name("std-server"))
}

/// A running server. It is killed when dropped.
struct Server {
    child: Child,
    resp: String,
    http: String,
}

impl Server {
    fn start(server: &Path, data: &Path, more: &[(&str, &str)]) -> Result<Self> {
        let (resp, http) = (free_address()?, free_address()?);
        let mut command = Command::new(server);
        command.arg("--data-dir").arg(data).args([
            "--resp",
            &resp,
            "--http",
            &http,
            "--fsync-mode",
            "periodic",
        ]);
        command.envs(more.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn()?, resp, http })
    }

    /// Waits until PING is answered with PONG.
    fn wait_until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(120) {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended: {status}").into());
            }
            if let Ok(mut client) = Client::connect(&self.resp)
                && client.call(&[b"PING"]).is_ok_and(|reply| reply == b"+PONG")
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Err("the server is not ready after two minutes".into())
    }

    fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    fn post_snapshot(&self) -> Result<String> {
        let mut stream = TcpStream::connect(&self.http)?;
        write!(
            stream,
            "POST /snapshot HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if answer.starts_with("HTTP/1.1 200") { Ok(body.into()) } else { Err(answer.into()) }
    }

    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { reader: BufReader::with_capacity(64 << 10, stream) })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.reader.get_mut().write_all(bytes)?)
    }

    /// One line of a reply, without its end.
    fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        line.truncate(line.len().saturating_sub(2));
        Ok(line)
    }

    fn call(&mut self, words: &[&[u8]]) -> Result<Vec<u8>> {
        self.send(&request(words))?;
        self.line()
    }
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn set(key: u64) -> Vec<u8> {
    request(&[b"SET", format!("key:{key:012}").as_bytes(), &[b'v'; 64]])
}

fn load(server: &Server, keys: u64) -> Result<Duration> {
    const DEEP: u64 = 500;
    let mut client = Client::connect(&server.resp)?;
    let begun = Instant::now();
    for first in (0..keys).step_by(DEEP as usize) {
        let these = first..(first + DEEP).min(keys);
        client.send(&these.clone().flat_map(set).collect::<Vec<_>>())?;
        for _ in these {
            let reply = client.line()?;
            if reply != b"+OK" {
                return Err(String::from_utf8_lossy(&reply).into_owned().into());
            }
        }
    }
    Ok(begun.elapsed())
}

/// Writes random keys one at a time until told to stop; returns how long each took, microseconds.
fn write_until(
    address: String,
    keys: u64,
    seed: u64,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<Vec<u64>> {
    std::thread::spawn(move || {
        let Ok(mut client) = Client::connect(&address) else { return vec![] };
        let (mut random, mut took) = (seed, vec![]);
        while !stop.load(Ordering::Relaxed) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let begun = Instant::now();
            if client.send(&set((random >> 33) % keys)).is_err() || client.line().is_err() {
                break;
            }
            took.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        took
    })
}

struct Latencies {
    count: usize,
    p50: u64,
    p99: u64,
    most: u64,
}

/// Runs the writers beside `work`.
fn under_load<T>(server: &Server, keys: u64, work: impl FnOnce() -> Result<T>) -> Result<(T, Latencies)> {
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (1..=WRITERS).map(|seed| write_until(server.resp.clone(), keys, seed, stop.clone())).collect();
    let done = work();
    stop.store(true, Ordering::Relaxed);
    let mut all: Vec<u64> =
        writers.into_iter().flat_map(|writer| writer.join().unwrap_or_default()).collect();
    all.sort_unstable();
    let at = |part: usize| {
        all.get((all.len() * part / 100).min(all.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    let latencies = Latencies { count: all.len(), p50: at(50), p99: at(99), most: at(100) };
    Ok((done?, latencies))
}

fn restart(server: &Path, data: &Path, more: &[(&str, &str)], keys: u64) -> Result<(Server, Duration)> {
    let begun = Instant::now();
    let mut running = Server::start(server, data, more)?;
    running.wait_until_ready()?;
    let took = begun.elapsed();
    let size = Client::connect(&running.resp)?.call(&[b"DBSIZE"])?;
    if size != format!(":{keys}").into_bytes() {
        return Err(format!("{} keys instead of {keys}", String::from_utf8_lossy(&size)).into());
    }
    Ok((running, took))
}

fn snapshot_under_load(server: &Server, keys: u64) -> Result<()> {
    let calm = under_load(server, keys, || {
        std::thread::sleep(CALM);
        Ok(())
    })?;
    println!(
        "writers alone        {} writes, p50 {} us, p99 {} us, longest {} us",
        calm.1.count, calm.1.p50, calm.1.p99, calm.1.most
    );
    let before = server.resident_bytes()?;
    let done = Arc::new(AtomicBool::new(false));
    let (snapshot, busy) = under_load(server, keys, || {
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(server.resident_bytes().unwrap_or(0));
                    std::thread::sleep(Duration::from_millis(1));
                }
                most
            });
            let begun = Instant::now();
            let made = server.post_snapshot();
            let took = begun.elapsed();
            done.store(true, Ordering::Relaxed);
            let most = watch.join().map_err(|_| "the watcher ended")?;
            Ok((made?, took, most))
        })
    })?;
    let (answer, took, most) = snapshot;
    println!(
        "with a snapshot      {} writes, p50 {} us, p99 {} us, longest {} us",
        busy.count, busy.p50, busy.p99, busy.most
    );
    println!("snapshot             {took:?}; {answer}");
    println!("memory meanwhile     +{:.1} MiB", (most.saturating_sub(before)) as f64 / f64::from(1 << 20));
    Ok(())
}

fn main() -> Result<()> {
    let Arguments { keys, server } = arguments()?;
    let data = tempfile::tempdir()?;
    println!(
        "{keys} keys of 16 B with values of 64 B, periodic, {WRITERS} writers; data in {}",
        std::env::temp_dir().display()
    );
    let with_snapshot = data.path().join("snapshot");
    let mut running = Server::start(&server, &with_snapshot, &[])?;
    running.wait_until_ready()?;
    let empty = running.resident_bytes()?;
    let took = load(&running, keys)?;
    println!("load                 {:.0} SET/s, 500 deep, one client", keys as f64 / took.as_secs_f64());
    println!("memory               {:.0} B a key", (running.resident_bytes()? - empty) as f64 / keys as f64);
    snapshot_under_load(&running, keys)?;
    running.kill()?;
    let (running, took) = restart(&server, &with_snapshot, &[], keys)?;
    println!("restart, snapshot    {took:?} (and the log written since)");
    running.kill()?;

    let log_only = data.path().join("log");
    let no_snapshots = [("STRANDLINE_PERSISTENCE__SNAPSHOT__AUTO_SNAPSHOT", "false")];
    let mut running = Server::start(&server, &log_only, &no_snapshots)?;
    running.wait_until_ready()?;
    load(&running, keys)?;
    running.kill()?;
    let (running, took) = restart(&server, &log_only, &no_snapshots, keys)?;
    println!("restart, log only    {took:?}");
    running.kill()
}
