//! Replies to bytes, straight into the output buffer.
//!
//! | reply  | RESP2             | RESP3            |
//! |--------|-------------------|------------------|
//! | null   | `$-1`             | `_`              |
//! | text   | `$` bulk string   | `=` verbatim     |
//! | map    | `*` flat array    | `%`              |
//! | set    | `*` array         | `~`              |

use crate::command::{Protocol, Refusal, Replies, Reply};

/// The output of one connection.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    protocol: Protocol,
    /// The longest replies to one command; 0: any.
    limit: usize,
    /// Where the replies to the newest command begin.
    start: usize,
    overrun: bool,
    /// The codes of refusals, until somebody takes them.
    codes: Vec<Box<str>>,
}

impl Encoder {
    /// An encoder that writes no more than about so many bytes after each `begin`.
    #[must_use]
    pub fn limited(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Begins the replies to another command, and answers where that is.
    pub(super) const fn begin(&mut self) -> usize {
        self.start = self.bytes.len();
        self.start
    }

    /// Whether replies were longer than the limit: what is written is not complete.
    #[must_use]
    pub const fn has_overrun(&self) -> bool {
        self.overrun
    }

    /// The codes of the refusals written since this was last asked.
    pub(super) fn take_codes(&mut self) -> Vec<Box<str>> {
        core::mem::take(&mut self.codes)
    }

    /// What was written and not taken yet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written; a buffer that one long reply has made large is not kept.
    pub fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }

    /// Takes replies back from this place on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Adds replies that were encoded before.
    pub(super) fn raw(&mut self, replies: &[u8]) {
        self.bytes.extend_from_slice(replies);
    }

    fn head(&mut self, mark: u8, number: i64) {
        self.bytes.push(mark);
        match u8::try_from(number) {
            Ok(digit @ 0..=9) => self.bytes.push(b'0' + digit),
            _ => self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        }
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn count(&mut self, mark: u8, count: usize) {
        self.head(mark, i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.bytes.reserve(bytes.len() + HEAD_BYTES);
        self.count(b'$', bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn text(&mut self, text: &str) {
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text.as_bytes());
        }
        self.count(b'=', text.len() + VERBATIM_FORMAT.len());
        self.bytes.extend_from_slice(VERBATIM_FORMAT);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn members<'k>(&mut self, mark: u8, members: Vec<Reply<'k>>) {
        self.count(mark, members.len());
        for member in members {
            self.reply(member);
        }
    }

    /// A line break inside the line would end it early: it becomes a space, as in Redis; one at its ends is left out.
    fn refusal(&mut self, refusal: &Refusal) {
        self.codes.push(refusal.code().into());
        self.bytes.push(b'-');
        let mut line = refusal.line();
        while let [b'\r' | b'\n', rest @ ..] | [rest @ .., b'\r' | b'\n'] = line {
            line = rest;
        }
        let line = line.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte });
        self.bytes.extend(line);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

impl Replies for Encoder {
    fn reply(&mut self, reply: Reply<'_>) {
        if self.limit > 0 && self.bytes.len() - self.start.min(self.bytes.len()) >= self.limit {
            // Nothing more is kept: the connection will be cut.
            self.overrun = true;
            return;
        }
        let resp3 = self.protocol == Protocol::Resp3;
        match reply {
            Reply::Status(text) => {
                self.bytes.push(b'+');
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.extend_from_slice(b"\r\n");
            }
            Reply::Line(text) => {
                self.bytes.push(b'+');
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.extend_from_slice(b"\r\n");
            }
            Reply::Integer(number) => self.head(b':', number),
            Reply::Bulk(bytes) => self.bulk(&bytes),
            Reply::Text(text) => self.text(&text),
            Reply::NullArray => self.bytes.extend_from_slice(if resp3 { b"_\r\n" } else { b"*-1\r\n" }),
            Reply::Null => self.bytes.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" }),
            Reply::Array(members) => self.members(b'*', members),
            Reply::Set(members) => self.members(if resp3 { b'~' } else { b'*' }, members),
            Reply::Map(rows) => {
                let (mark, count) = if resp3 { (b'%', rows.len()) } else { (b'*', rows.len() * 2) };
                self.count(mark, count);
                for (name, value) in rows {
                    self.reply(name);
                    self.reply(value);
                }
            }
            Reply::Refused(refusal) => self.refusal(&refusal),
        }
    }

    fn begin_array(&mut self, len: usize) {
        self.count(b'*', len);
    }

    fn speak(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    fn refused(&self) -> usize {
        self.codes.len()
    }
}

/// Marks, length and line ends of a bulk string.
const HEAD_BYTES: usize = 24;
const VERBATIM_FORMAT: &[u8] = b"txt:";
/// An idle connection keeps no larger buffer.
const KEPT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(reply: Reply<'_>, protocol: Protocol) -> String {
        let mut encoder = Encoder::default();
        encoder.speak(protocol);
        encoder.reply(reply);
        String::from_utf8(encoder.bytes().to_vec()).expect("text")
    }

    fn samples() -> Vec<(Reply<'static>, &'static str, &'static str)> {
        let pair = || (Reply::borrowed(b"a"), Reply::Integer(-10));
        vec![
            (Reply::OK, "+OK\r\n", "+OK\r\n"),
            (Reply::Integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (Reply::borrowed(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (Reply::owned("x".repeat(12)), "$12\r\nxxxxxxxxxxxx\r\n", "$12\r\nxxxxxxxxxxxx\r\n"),
            (Reply::Text("t".into()), "$1\r\nt\r\n", "=5\r\ntxt:t\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::NullArray, "*-1\r\n", "_\r\n"),
            (Reply::Line("a b".into()), "+a b\r\n", "+a b\r\n"),
            (Reply::Array(vec![Reply::Null, Reply::OK]), "*2\r\n$-1\r\n+OK\r\n", "*2\r\n_\r\n+OK\r\n"),
            (Reply::Map(vec![pair()]), "*2\r\n$1\r\na\r\n:-10\r\n", "%1\r\n$1\r\na\r\n:-10\r\n"),
            (Reply::Set(vec![Reply::OK]), "*1\r\n+OK\r\n", "~1\r\n+OK\r\n"),
            (Reply::Refused(Refusal::new("ERR a\r\nb")), "-ERR a  b\r\n", "-ERR a  b\r\n"),
        ]
    }

    #[test]
    fn replies_have_the_shape_of_their_protocol() {
        for (reply, resp2, resp3) in samples() {
            assert_eq!(encoded(reply.clone(), Protocol::Resp2), resp2);
            assert_eq!(encoded(reply, Protocol::Resp3), resp3);
        }
    }

    #[test]
    fn an_independent_decoder_reads_every_reply_whole() {
        for (reply, ..) in samples() {
            let bytes = encoded(reply.clone(), Protocol::Resp2).into_bytes();
            let (_, read) = redis_protocol::resp2::decode::decode(&bytes).expect("RESP2").expect("complete");
            assert_eq!(read, bytes.len());
            let bytes = encoded(reply, Protocol::Resp3).into_bytes();
            let (_, read) =
                redis_protocol::resp3::decode::complete::decode(&bytes).expect("RESP3").expect("complete");
            assert_eq!(read, bytes.len());
        }
    }
}
