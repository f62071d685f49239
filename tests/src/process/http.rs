//! A small HTTP client: one connection, one request after the other.

use core::net::SocketAddr;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use super::PATIENCE;

/// A status and a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// Makes one request on a connection of its own.
///
/// # Errors
/// Nobody listens there, or the connection ended.
pub fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<Answer> {
    Client::connect(address)?.request(method, path, body)
}

/// Sends bytes as they are, and reads one answer to its end.
///
/// # Errors
/// Nobody listens there, or the connection ended.
pub fn exchange(address: SocketAddr, text: &str) -> io::Result<Answer> {
    let mut client = Client::connect(address)?;
    client.send(text.as_bytes())?;
    client.receive()
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Makes a request and waits for its answer.
    ///
    /// # Errors
    /// The connection ended.
    pub fn request(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let len = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n");
        self.send((head + body).as_bytes())?;
        self.receive()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection ended.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// The connection ended, or what came is no answer.
    pub fn receive(&mut self) -> io::Result<Answer> {
        let status = self.line()?;
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = code.ok_or_else(|| io::Error::other(format!("not an answer: {status:?}")))?;
        let mut len = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            len = len.or(line.strip_prefix("content-length:").and_then(|len| len.trim().parse().ok()));
        }
        let mut body = Vec::new();
        match len {
            Some(len) => self.stream.by_ref().take(len).read_to_end(&mut body)?,
            None => self.stream.read_to_end(&mut body)?,
        };
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// Hands over every line of what is at `path`, however long that is; whether the answer was whole.
///
/// # Errors
/// There is no such answer, or what `each` says.
pub fn each_line(
    address: SocketAddr,
    path: &str,
    mut each: impl FnMut(&str) -> Result<(), String>,
) -> Result<bool, String> {
    let failed = |error: io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next().transpose().map_err(failed)?.unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(format!("no such answer: {status:?}"));
    }
    for line in lines.by_ref() {
        if line.map_err(failed)?.is_empty() {
            break;
        }
    }
    for line in lines {
        let Ok(line) = line else { return Ok(false) };
        each(&line)?;
    }
    Ok(true)
}

/// The number behind a name in a line of JSON.
#[must_use]
pub fn field(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(name)?;
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
