//! A client that sends raw requests, a server in this process, and transcripts that both sides must follow.
#![allow(dead_code, reason = "every test binary uses its own part")]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std_server::command::MemoryEngine;
use std_server::keyspace::Options;
use std_server::resp::{ListenerLimits, serve};
use tokio_util::sync::CancellationToken;

/// A server without a log, on a port of the system's choice.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(limits: ListenerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let token = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let engine = MemoryEngine::new(Options::default(), token.clone());
                serve(listener, Arc::new(engine), limits, token).await;
            });
        });
        Self { address, stop, thread: Some(thread) }
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the listener has ended by itself.
    pub(crate) fn join(mut self) {
        self.thread.take().expect("not joined yet").join().expect("the server does not panic");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server does not panic");
        }
    }
}

/// A blocking client.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the server reads");
    }

    /// Sends an inline command and reads its reply.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Sends words as an array and reads the reply.
    pub(crate) fn ask_words(&mut self, words: &[&[u8]]) -> String {
        self.send(&encode(words));
        self.reply()
    }

    /// Reads one whole reply, escaped.
    pub(crate) fn reply(&mut self) -> String {
        self.receive().escape_ascii().to_string()
    }

    /// Reads one whole reply.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        read_reply(&mut self.stream, &mut bytes);
        bytes
    }

    /// Reads until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let ended = self.stream.read_to_end(&mut bytes);
        assert!(ended.is_ok(), "closed in order, after {:?}", bytes.escape_ascii().to_string());
        bytes.escape_ascii().to_string()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

pub(crate) fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Reads one reply of either protocol, nested ones whole.
fn read_reply(stream: &mut impl BufRead, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    let read = stream.read_until(b'\n', bytes).expect("a reply in time");
    assert!(read > 0, "a reply, not the end, after {:?}", bytes.escape_ascii().to_string());
    let number = || core::str::from_utf8(&bytes[start + 1..bytes.len() - 2]).ok()?.parse::<i64>().ok();
    match bytes[start] {
        b'+' | b'-' | b':' | b'_' => {}
        b'$' | b'=' => {
            if let Ok(length) = u64::try_from(number().expect("a length")) {
                stream.take(length + 2).read_to_end(bytes).expect("a whole reply");
            }
        }
        mark @ (b'*' | b'~' | b'%') => {
            let count = number().expect("a count").max(0) * if mark == b'%' { 2 } else { 1 };
            (0..count).for_each(|_| read_reply(stream, bytes));
        }
        other => panic!("a reply can't begin with {:?}", char::from(other)),
    }
}

/// Plays `tests/transcripts/<name>.txt` against a server whose keyspace is emptied first.
///
/// `> line` is sent, `< reply` must come back; `<~ :number` allows for the seconds that a slow machine takes; the
/// reply to `>> line` is not compared.
pub(crate) fn play(name: &str, address: SocketAddr) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/transcripts/{name}.txt"));
    let transcript = std::fs::read_to_string(&path).expect("the transcript is there");
    let mut client = Client::connect(address);
    client.ask("FLUSHALL");
    let (mut sent, mut compared) = ("", 0);
    let mut reply = String::new();
    for (number, line) in transcript.lines().enumerate() {
        if let Some(command) = line.strip_prefix(">> ").or_else(|| line.strip_prefix("> ")) {
            (sent, reply) = (command, client.ask(command));
        } else if let Some(expected) = line.strip_prefix("< ") {
            assert_eq!(reply, expected, "{name}:{}: {sent}", number + 1);
            compared += 1;
        } else if let Some(expected) = line.strip_prefix("<~ ") {
            let late = integer(expected) - integer(&reply);
            assert!((0..MAX_LATE_S).contains(&late), "{name}:{}: {sent}: {reply}", number + 1);
            compared += 1;
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "{name}:{}: {line}", number + 1);
        }
    }
    assert!(compared > 0, "{name} compares replies");
}

fn integer(reply: &str) -> i64 {
    let digits = reply.strip_prefix(':').and_then(|rest| rest.strip_suffix("\\r\\n"));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{reply} is no integer"))
}

const MAX_LATE_S: i64 = 30;
