//! Clients in numbers, and clients that do not behave.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use crate::process::PATIENCE;
use crate::process::resp::encode;

type Told = Result<(), String>;

fn said(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Waits for the same reply that many times.
fn take(stream: &mut TcpStream, reply: &[u8]) -> io::Result<()> {
    let mut bytes = vec![0; reply.len()];
    stream.read_exact(&mut bytes)?;
    if bytes == reply {
        Ok(())
    } else {
        Err(io::Error::other(format!("the reply was {}", bytes.escape_ascii())))
    }
}

/// Clients that were served once and then say nothing.
pub(super) struct Idle(Vec<TcpStream>);

impl Idle {
    pub(super) fn connect(address: SocketAddr, count: usize) -> io::Result<Self> {
        let mut idle = Self((0..count).map(|_| connect(address)).collect::<io::Result<_>>()?);
        idle.ping()?;
        Ok(idle)
    }

    fn ping(&mut self) -> io::Result<()> {
        for stream in &mut self.0 {
            stream.write_all(b"PING\r\n")?;
            take(stream, b"+PONG\r\n")?;
        }
        Ok(())
    }

    /// All of them are still served.
    pub(super) fn check(mut self) -> Told {
        self.ping().map_err(said("an idle client"))
    }
}

/// Clients that write, one request in flight on each; few threads serve many of them.
pub(super) struct Active(Vec<TcpStream>);

impl Active {
    pub(super) fn connect(address: SocketAddr, count: usize) -> Result<Self, String> {
        let streams: io::Result<_> = (0..count).map(|_| connect(address)).collect();
        streams.map(Self).map_err(said("an active client"))
    }

    pub(super) fn write_until(mut self, stop: &AtomicBool) -> Told {
        let each = self.0.len().div_ceil(THREADS).max(1);
        thread::scope(|scope| {
            let threads: Vec<_> =
                self.0.chunks_mut(each).map(|streams| scope.spawn(|| write_round(streams, stop))).collect();
            let ended = threads.into_iter().map(|thread| thread.join().map_err(super::panicked)?);
            ended.collect::<Told>()
        })
    }
}

fn write_round(streams: &mut [TcpStream], stop: &AtomicBool) -> Told {
    let value = "v".repeat(VALUE_BYTES);
    while !stop.load(Relaxed) {
        for (number, stream) in streams.iter_mut().enumerate() {
            let mut request = Vec::new();
            encode(&["SET", &format!("active:{}", number % KEYS), &value], &mut request);
            stream.write_all(&request).map_err(said("an active client"))?;
        }
        for stream in &mut *streams {
            take(stream, b"+OK\r\n").map_err(said("an active client"))?;
        }
    }
    Ok(())
}

/// Asks for much and reads nothing.
pub(super) struct Deaf(TcpStream);

impl Deaf {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, String> {
        let mut stream = connect(address).map_err(said("the deaf client"))?;
        let mut request = Vec::new();
        encode(&["SET", "large", &"v".repeat(LARGE_BYTES)], &mut request);
        stream
            .write_all(&request)
            .and_then(|()| take(&mut stream, b"+OK\r\n"))
            .map_err(said("the deaf client"))?;
        Ok(Self(stream))
    }

    /// Goes on until told, or until the server has cut it off: both are right.
    pub(super) fn ask_until(mut self, stop: &AtomicBool) -> Told {
        self.0.set_write_timeout(Some(MOMENT)).map_err(said("the deaf client"))?;
        let requests = b"GET large\r\n".repeat(1000);
        while !stop.load(Relaxed) {
            match self.0.write(&requests) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// One pipeline whose replies are read while it is sent, and all of them come.
pub(super) struct Pipeline {
    address: SocketAddr,
    requests: usize,
}

impl Pipeline {
    pub(super) const fn new(address: SocketAddr, bytes: usize) -> Self {
        Self { address, requests: bytes / LONG_BYTES }
    }

    pub(super) fn run(&self) -> Told {
        let mut reader = connect(self.address).map_err(said("the pipeline"))?;
        let mut writer = reader.try_clone().map_err(said("the pipeline"))?;
        thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut request = Vec::new();
                encode(&["SET", "pipelined", &"v".repeat(LONG_BYTES)], &mut request);
                (0..self.requests).try_for_each(|_| writer.write_all(&request))
            });
            for _ in 0..self.requests {
                take(&mut reader, b"+OK\r\n").map_err(said("the pipeline"))?;
            }
            writing.join().map_err(super::panicked)?.map_err(said("the pipeline"))
        })
    }
}

/// HTTP requests that never become whole: in the head, and in the body.
pub(super) struct SlowHttp {
    address: SocketAddr,
    count: usize,
}

impl SlowHttp {
    pub(super) const fn new(address: SocketAddr, count: usize) -> Self {
        Self { address, count }
    }

    /// A byte on each connection, again and again; the server may cut them off.
    pub(super) fn drip_until(&self, stop: &AtomicBool) -> Told {
        let mut streams = Vec::new();
        for number in 0..self.count {
            let mut stream = connect(self.address).map_err(said("a slow request"))?;
            let begun: &[u8] = if number % 2 == 0 { b"GET /kv/get/a HTTP/1.1\r\nX-Slow: " } else { BODY };
            stream.write_all(begun).map_err(said("a slow request"))?;
            streams.push(stream);
        }
        while !stop.load(Relaxed) {
            streams.retain_mut(|stream| stream.write_all(b"x").is_ok());
            thread::sleep(MOMENT);
        }
        Ok(())
    }
}

/// Clients that write as fast as the server takes it.
pub(super) struct Writers(Vec<TcpStream>);

impl Writers {
    pub(super) fn connect(address: SocketAddr, count: usize) -> Result<Self, String> {
        let streams: io::Result<_> = (0..count).map(|_| connect(address)).collect();
        streams.map(Self).map_err(said("a writer"))
    }

    pub(super) fn write_until(self, stop: &AtomicBool) -> Told {
        thread::scope(|scope| {
            let threads: Vec<_> = self.0.into_iter().enumerate().collect();
            for (number, stream) in threads {
                scope.spawn(move || write_on(number, stream, stop));
            }
        });
        Ok(())
    }
}

/// Replies are taken and thrown away: the server must not stop because of them, but because of its device.
fn write_on(number: usize, mut stream: TcpStream, stop: &AtomicBool) {
    let mut requests = Vec::new();
    (0..16).for_each(|_| encode(&["SET", &format!("slow:{number}"), &"v".repeat(SLOW_BYTES)], &mut requests));
    if stream.set_write_timeout(Some(MOMENT)).is_err() || stream.set_nonblocking(false).is_err() {
        return;
    }
    let mut replies = [0; 4096];
    let mut sent = 0;
    while !stop.load(Relaxed) {
        match stream.write(&requests[sent..]) {
            Ok(written) => sent = (sent + written) % requests.len(),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        // What has come, without waiting for more.
        if stream.set_nonblocking(true).is_ok() {
            while stream.read(&mut replies).is_ok_and(|read| read == replies.len()) {}
        }
        if stream.set_nonblocking(false).is_err() {
            return;
        }
    }
}

const THREADS: usize = 4;
const KEYS: usize = 10_000;
const VALUE_BYTES: usize = 64;
const LARGE_BYTES: usize = 1_000_000;
const LONG_BYTES: usize = 100_000;
const SLOW_BYTES: usize = 4096;
const MOMENT: Duration = Duration::from_millis(100);
const BODY: &[u8] = b"POST /kv/set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n";
