//! A small client of the Redis protocol: whole commands out, whole replies in, and bytes as they are for bad input.

use core::fmt;
use core::net::SocketAddr;
use std::io::{self, BufRead, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use super::PATIENCE;

/// A reply of version 2 of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A short text.
    Status(String),
    /// An error: its code word and the rest.
    Error(String),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// Nothing.
    Null,
    /// Several replies.
    Array(Vec<Self>),
}

impl Reply {
    /// Reads the next one.
    ///
    /// # Errors
    /// The bytes end before it does, or are none.
    pub fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line)?;
        let Some(line) = line.strip_suffix(b"\r\n") else { return Err(ErrorKind::UnexpectedEof.into()) };
        let (kind, rest) = line.split_first().ok_or_else(|| strange(line))?;
        let text = String::from_utf8_lossy(rest).into_owned();
        let number = || text.parse::<i64>().map_err(|_| strange(line));
        Ok(match kind {
            b'+' => Self::Status(text),
            b'-' => Self::Error(text),
            b':' => Self::Integer(number()?),
            b'$' => match usize::try_from(number()?) {
                Ok(len) => Self::Bulk(bulk(from, len)?),
                Err(_) => Self::Null,
            },
            b'*' => match usize::try_from(number()?) {
                Ok(len) => Self::Array((0..len).map(|_| Self::read(from)).collect::<io::Result<_>>()?),
                Err(_) => Self::Null,
            },
            _ => return Err(strange(line)),
        })
    }

    /// Whether it is the reply of a write that was carried out, or any other that is no error.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        !matches!(self, Self::Error(_))
    }

    /// The bytes of a bulk reply.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number of an integer reply.
    #[must_use]
    pub const fn number(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

impl fmt::Display for Reply {
    /// As `redis-cli` would show it in one line: `OK`, `-ERR …`, `12`, `text`, `(nil)`, `[a b]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(status),
            Self::Error(error) => write!(f, "-{error}"),
            Self::Integer(number) => number.fmt(f),
            Self::Bulk(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Self::Null => f.write_str("(nil)"),
            Self::Array(replies) => {
                let shown: Vec<_> = replies.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", shown.join(" "))
            }
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
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

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The connection ended.
    pub fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        encode(words, &mut bytes);
        self.send(&bytes)?;
        self.receive()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection ended.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// The connection ended.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.get_mut().shutdown(Shutdown::Write)
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// The connection ended, or what came is no reply.
    pub fn receive(&mut self) -> io::Result<Reply> {
        Reply::read(&mut self.stream)
    }

    /// Waits until the other side closes the connection.
    ///
    /// # Errors
    /// It sent something else first, or does not close.
    pub fn closed(&mut self) -> io::Result<()> {
        match self.stream.read(&mut [0]) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Ok(_) => Err(io::Error::other("more came instead of the end")),
            Err(error) => Err(error),
        }
    }
}

/// Appends a command.
pub fn encode<W: AsRef<[u8]>>(words: &[W], to: &mut Vec<u8>) {
    to.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words.iter().map(AsRef::as_ref) {
        to.extend(format!("${}\r\n", word.len()).bytes());
        to.extend(word);
        to.extend(b"\r\n");
    }
}

fn bulk(from: &mut impl BufRead, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len + 2];
    from.read_exact(&mut bytes)?;
    bytes.truncate(len);
    Ok(bytes)
}

fn strange(line: &[u8]) -> io::Error {
    io::Error::other(format!("not a reply: {:?}", String::from_utf8_lossy(line)))
}
