//! What a command answers, independent of the protocol that carries it.
//!
//! ```text
//! keyspace ──borrow──► Reply<'k> ──► Replies (RESP encoder, HTTP body, …)
//! ```
//!
//! A reply borrows the stored bytes: the only copy of a value is the one into the output buffer.

use super::session::Protocol;
use std::borrow::Cow;

/// One answer. Maps, sets, doubles and booleans have a plainer shape in RESP2; the encoder knows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply<'k> {
    /// A short status such as `OK`.
    Status(&'static str),
    /// A line of text, without line breaks.
    Line(String),
    /// A signed integer.
    Integer(i64),
    /// Binary-safe bytes, borrowed from the keyspace wherever possible.
    Bulk(Cow<'k, [u8]>),
    /// Human-readable text (RESP3: a verbatim string).
    Text(String),
    /// No value.
    Null,
    /// No answers: a transaction that was not executed.
    NullArray,
    /// Answers in order.
    Array(Vec<Self>),
    /// Names and their values (RESP2: a flat array).
    Map(Vec<(Self, Self)>),
    /// Distinct members (RESP2: an array).
    Set(Vec<Self>),
    /// A refusal: nothing has changed.
    Refused(Refusal),
}

impl<'k> Reply<'k> {
    /// The status `OK`.
    pub const OK: Reply<'static> = Reply::Status("OK");

    /// Bytes that are copied only into the output.
    #[must_use]
    pub const fn borrowed(bytes: &'k [u8]) -> Self {
        Self::Bulk(Cow::Borrowed(bytes))
    }

    /// Bytes that this reply owns.
    #[must_use]
    pub fn owned(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bulk(Cow::Owned(bytes.into()))
    }

    /// The bytes, or [`Reply::Null`].
    #[must_use]
    pub fn optional(bytes: Option<&'k [u8]>) -> Self {
        bytes.map_or(Self::Null, Self::borrowed)
    }

    /// 1 or 0.
    #[must_use]
    pub fn truth(yes: bool) -> Self {
        Self::Integer(i64::from(yes))
    }

    /// The same answer, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Reply<'static> {
        match self {
            Self::Status(text) => Reply::Status(text),
            Self::Line(text) => Reply::Line(text),
            Self::Integer(number) => Reply::Integer(number),
            Self::Bulk(bytes) => Reply::owned(bytes),
            Self::Text(text) => Reply::Text(text),
            Self::Null => Reply::Null,
            Self::NullArray => Reply::NullArray,
            Self::Array(members) => Reply::Array(members.into_iter().map(Reply::into_owned).collect()),
            Self::Set(members) => Reply::Set(members.into_iter().map(Reply::into_owned).collect()),
            Self::Map(rows) => {
                Reply::Map(rows.into_iter().map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
            }
            Self::Refused(refusal) => Reply::Refused(refusal),
        }
    }

    /// A count.
    #[must_use]
    pub fn count(n: usize) -> Self {
        Self::Integer(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<Refusal> for Reply<'_> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Where replies go: an encoder that writes each one before the next command may change the keyspace.
pub trait Replies {
    /// Writes one complete reply.
    fn reply(&mut self, reply: Reply<'_>);

    /// Announces an array whose `len` members follow as replies.
    fn begin_array(&mut self, len: usize);

    /// Writes from now on in this version of the protocol.
    fn speak(&mut self, protocol: Protocol);

    /// How many refusals were written, where somebody counts.
    fn refused(&self) -> usize {
        0
    }
}

/// Why a command was refused: a code, a space and a sentence, as Redis words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Cow<'static, [u8]>);

impl Refusal {
    /// `ERR syntax error`: an option that does not exist, or two that exclude each other.
    pub const SYNTAX: Self = Self::fixed("ERR syntax error");
    /// An argument or a stored value is not a 64-bit signed integer.
    pub const NOT_AN_INTEGER: Self = Self::fixed("ERR value is not an integer or out of range");
    /// An argument or a stored value is not a number.
    pub const NOT_A_FLOAT: Self = Self::fixed("ERR value is not a valid float");
    /// The source of a rename does not exist.
    pub const NO_SUCH_KEY: Self = Self::fixed("ERR no such key");
    /// The result would be longer than the configured largest value.
    pub const TOO_LONG: Self = Self::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    /// The result would not fit 64 bits.
    pub const OVERFLOW: Self = Self::fixed("ERR increment or decrement would overflow");
    /// The keyspace is at its memory limit.
    pub const OUT_OF_MEMORY: Self = Self::fixed("OOM command not allowed when used memory > 'maxmemory'.");
    /// A database other than 0.
    pub const NO_SUCH_DB: Self = Self::fixed("ERR DB index is out of range");

    /// A refusal whose whole line is known at compile time.
    #[must_use]
    pub const fn fixed(line: &'static str) -> Self {
        Self(Cow::Borrowed(line.as_bytes()))
    }

    /// A refusal that repeats a word of the client between two texts, up to its first NUL, as Redis does.
    #[must_use]
    pub fn naming(before: &str, word: &[u8], after: &str) -> Self {
        let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
        Self::new([before.as_bytes(), word, after.as_bytes()].concat())
    }

    /// A refusal whose line is made at run time.
    #[must_use]
    pub fn new(line: impl Into<Vec<u8>>) -> Self {
        Self(Cow::Owned(line.into()))
    }

    /// `ERR wrong number of arguments for '<name>' command`.
    #[must_use]
    pub fn arity(name: &str) -> Self {
        Self::new(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// `ERR invalid expire time in '<name>' command`.
    #[must_use]
    pub fn expire_time(name: &str) -> Self {
        Self::new(format!("ERR invalid expire time in '{name}' command"))
    }

    /// Its code: the first word of the line.
    #[must_use]
    pub fn code(&self) -> &str {
        let end = self.0.iter().position(|byte| !byte.is_ascii_uppercase()).unwrap_or(self.0.len());
        core::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    /// The line, without the protocol's marks; it may hold line breaks that a client sent.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.0
    }
}

/// As much of a client's word as an error repeats.
pub(super) fn repeated(word: &[u8]) -> &[u8] {
    let end = word.iter().take(LONGEST_SHOWN).position(|byte| *byte == 0);
    &word[..end.unwrap_or(word.len().min(LONGEST_SHOWN))]
}

/// How much of a client's words an error repeats.
pub(super) const LONGEST_SHOWN: usize = 128;

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl core::error::Error for Refusal {}
