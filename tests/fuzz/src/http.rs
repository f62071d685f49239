//! Requests over HTTP, to a server of this process that keeps a log: bodies, queries, and whole requests as they come.
//!
//! ```text
//!  route u8 | body, query or request
//! ```

use core::cell::RefCell;
use core::net::SocketAddr;
use core::time::Duration;

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use std_server::config::{Config, Flags};
use std_server::engine::{DurableEngine, Facts};
use std_server::http::{Door, Pages, serve};
use tokio_util::sync::CancellationToken;

/// Method, path, type of the body. What a GET is given is its query.
const ROUTES: [(&str, &str, &str); 11] = [
    ("POST", "/kv/set", JSON),
    ("POST", "/kv/msetnx", JSON),
    ("POST", "/api/v1/command", JSON),
    ("POST", "/events", JSON),
    ("POST", "/events", "application/x-ndjson"),
    ("POST", "/kv/key/append", JSON),
    ("POST", "/kv/key/setrange", JSON),
    ("POST", "/kv/key/getset", JSON),
    ("POST", "/key/key/rename", JSON),
    ("GET", "/events?limit=2&", ""),
    ("GET", "/kv/key/getrange?", ""),
];
const JSON: &str = "application/json";
const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    static CONNECTION: RefCell<Option<BufReader<TcpStream>>> = const { RefCell::new(None) };
}

pub(super) fn request(bytes: &[u8]) {
    let Some((&route, rest)) = bytes.split_first() else { return };
    let Some((method, path, kind)) = ROUTES.get(usize::from(route) % (ROUTES.len() + 1)) else {
        return as_it_comes(rest);
    };
    let (query, body) = if *method == "GET" { (escaped(rest), &[][..]) } else { (String::new(), rest) };
    let len = body.len();
    let head = format!(
        "{method} {path}{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\r\n"
    );
    let (status, answer) = CONNECTION.with_borrow_mut(|connection| {
        let stream = connection.get_or_insert_with(connect);
        stream.get_mut().write_all(&[head.as_bytes(), body].concat()).expect("the server reads");
        receive(stream).expect("every request is answered")
    });
    assert!((200..500).contains(&status), "{status}: {}", answer.escape_ascii());
    let text = str::from_utf8(&answer).expect("an answer is text");
    for line in text.lines().filter(|_| *method == "POST") {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
    if status >= 400 {
        CONNECTION.set(None);
    }
}

/// A request of which nothing is known: the connection is answered or ended, and the server lives.
fn as_it_comes(bytes: &[u8]) {
    let mut stream = connect();
    let sent = stream.get_mut().write_all(bytes).and_then(|()| stream.get_ref().shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    if sent.and_then(|()| stream.read_to_end(&mut answer)).is_ok() && !answer.is_empty() {
        assert!(answer.starts_with(b"HTTP/1.1 "), "{}", answer.escape_ascii());
        assert!(!answer.starts_with(b"HTTP/1.1 500"), "{}", answer.escape_ascii());
    }
}

fn escaped(query: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"&=.-_%+".contains(byte);
    let shown = |byte: &u8| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") };
    query.iter().map(shown).collect()
}

fn connect() -> BufReader<TcpStream> {
    let stream = TcpStream::connect(server()).expect("the server listens");
    stream.set_nodelay(true).expect("no delay");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    BufReader::new(stream)
}

/// Status and body of an answer.
fn receive(stream: &mut BufReader<TcpStream>) -> io::Result<(u16, Vec<u8>)> {
    let status = line(stream)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(ErrorKind::InvalidData)?;
    let (mut len, mut chunked) = (0, false);
    loop {
        let line = line(stream)?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        chunked |= line == "transfer-encoding: chunked";
        len = line.strip_prefix("content-length: ").and_then(|len| len.parse().ok()).unwrap_or(len);
    }
    let mut body = Vec::new();
    loop {
        if chunked {
            len = u64::from_str_radix(&line(stream)?, 16).map_err(|_| ErrorKind::InvalidData)?;
        }
        let read = stream.by_ref().take(len).read_to_end(&mut body)? as u64;
        if read < len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if !chunked {
            return Ok((status, body));
        }
        line(stream)?;
        if len == 0 {
            return Ok((status, body));
        }
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// Starts the server once; it ends with the process.
fn server() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let (give, take) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let place = tempfile::tempdir().expect("a directory for the log");
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let address = listener.local_addr().expect("an address");
                let engine = engine(place.path(), address);
                give.send(address).expect("it is waited for");
                let door = Door { pages: Pages::All, tls: None, traffic: Arc::default() };
                serve(listener, door, engine, CancellationToken::new()).await;
            });
        });
        take.recv().expect("the server starts")
    })
}

fn engine(place: &Path, http: SocketAddr) -> Arc<DurableEngine> {
    let text =
        "persistence: {wal: {fsync_mode: never, max_size_mb: 4}}\nkv_store: {max_value_size_bytes: 65536}\n";
    std::fs::write(place.join("a.yaml"), text).expect("it is written");
    let flags = Flags { config: Some("a.yaml".into()), ..Flags::default() };
    let config = Config::load(&flags, [], place).expect("it is a configuration").config;
    let facts = Facts { config, http, resp: None, started: Instant::now() };
    let engine = Arc::new(DurableEngine::new(facts, CancellationToken::new()));
    engine.recover(None).expect("an empty directory");
    engine.run_in_background();
    engine
}
