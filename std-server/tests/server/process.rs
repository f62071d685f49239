//! A server process, and the two clients that talk to it.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use serde_json::Value;

/// The binary, with small segments so that a start does not have to prepare much.
pub(crate) fn binary(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_std-server"));
    command.args(arguments).arg("--data-dir").arg(data);
    command.env("STRANDLINE_WAL__MAX_SIZE_MB", "1").env("STRANDLINE_LOGGING__FORMAT", "json");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A binary that serves on ports of the system's choice.
pub(crate) fn server(data: &Path) -> Command {
    binary(data, &["serve", "--http", "127.0.0.1:0", "--resp", "127.0.0.1:0"])
}

/// Runs a command to its end: exit code, standard output, standard error.
pub(crate) fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A running server; it is killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) resp: Option<SocketAddr>,
    lines: Receiver<Value>,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Self {
        Self::from(server(data))
    }

    pub(crate) fn in_mode(data: &Path, mode: &str) -> Self {
        let mut command = server(data);
        command.args(["--fsync-mode", mode]);
        Self::from(command)
    }

    /// Starts a server that writes JSON lines, and waits until it is ready.
    pub(crate) fn from(command: Command) -> Self {
        Self::with_earlier_lines(command).0
    }

    /// The same, with the lines that it has written before it was ready.
    pub(crate) fn with_earlier_lines(mut command: Command) -> (Self, Vec<Value>) {
        let mut child = command.spawn().expect("the binary runs");
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let (give, lines) = channel();
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                drop(give.send(line));
            }
        });
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Self { child, http: unset, resp: None, lines };
        let mut earlier = Vec::new();
        let ready = loop {
            let line = server.next_line("ready");
            if line["message"].as_str().is_some_and(|text| text.starts_with("ready")) {
                break line;
            }
            earlier.push(line);
        };
        let address = |name: &str| ready[name].as_str().map(|text| text.parse().expect("an address"));
        server.http = address("http").expect("HTTP is always on");
        server.resp = address("resp");
        (server, earlier)
    }

    /// The next log line with this message; everything before it is passed over.
    pub(crate) fn line(&mut self, message: &str) -> Value {
        loop {
            let line = self.next_line(message);
            if line["message"].as_str().is_some_and(|text| text.starts_with(message)) {
                return line;
            }
        }
    }

    fn next_line(&mut self, wanted: &str) -> Value {
        let line = self.lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("no line {wanted:?}: {error}"));
        assert!(line.is_object(), "every line is JSON: {line}");
        line
    }

    /// What a server that has ended has written and nobody has read.
    pub(crate) fn rest_of_lines(&self) -> Vec<Value> {
        self.lines.iter().collect()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.resp.expect("RESP is on"))
    }

    pub(crate) fn ask(&self, line: &str) -> String {
        self.client().ask(line)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = request(self.http, "GET", path, "");
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = request(self.http, "POST", path, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (status, page) = request(self.http, "GET", "/metrics", "");
        assert_eq!(status, 200);
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no metric {name}: {page}")).parse().expect("a number")
    }

    /// As a power failure of the process alone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        assert!(self.ended().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A client of the Redis protocol that speaks inline commands.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("the server reads");
        self.reply()
    }

    /// One reply: the text of a line or a string, `nil`, or members between brackets.
    pub(crate) fn reply(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the server answers");
        let line = line.trim_end();
        let Some((mark, rest)) = line.split_at_checked(1) else { return "closed".into() };
        let count = || rest.parse::<i64>().expect("a length");
        match mark {
            "$" if count() < 0 => "nil".into(),
            "$" => {
                let mut bytes = vec![0; usize::try_from(count()).expect("a length") + 2];
                self.stream.read_exact(&mut bytes).expect("the whole string");
                bytes.truncate(bytes.len() - 2);
                String::from_utf8(bytes).expect("text")
            }
            "*" => {
                let members: Vec<_> = (0..count()).map(|_| self.reply()).collect();
                format!("[{}]", members.join(" "))
            }
            "-" => line.to_owned(),
            _ => rest.to_owned(),
        }
    }
}

/// One HTTP request on a connection of its own: status and body.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    exchange(address, &(head + body))
}

/// One HTTP request as it goes over the wire: status and body.
pub(crate) fn exchange(address: SocketAddr, text: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(text.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, body.to_owned())
}

/// Tries until it holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
