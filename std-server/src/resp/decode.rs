//! Requests from bytes: an array of bulk strings, or an inline line.
//!
//! ```text
//! *2\r\n $3\r\nGET\r\n $1\r\nk\r\n        GET k\r\n
//! └count └length └word                   └ any byte but '*' begins a line
//! ```
//!
//! States: before the count → before a length → inside a word of known length. An unfinished request keeps its
//! state, so that bytes are looked at once however they arrive. A length that is announced only says how far to
//! wait: memory grows with the bytes that have come, up to the limits.

use super::inline;
use crate::command::{Refusal, integer};
use core::ops::Range;

/// Finds the words of one request after the other.
#[derive(Debug)]
pub struct Decoder {
    limits: RequestLimits,
    /// How far the current request has been understood, from its first byte.
    position: usize,
    /// Words that are still missing; `None` before the count.
    missing: Option<usize>,
    /// The length of the word that comes next; `None` before it.
    length: Option<usize>,
    words: Vec<Range<usize>>,
    /// The unquoted bytes of an inline request.
    unquoted: Option<Vec<u8>>,
    stranger: bool,
}

/// What [`Decoder::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// More bytes are needed.
    Incomplete,
    /// A request of this many bytes; [`Decoder::words`] tells its words. A blank one has none.
    Request {
        /// Where the next request begins.
        bytes: usize,
    },
}

/// How large a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// The longest word.
    pub word_bytes: usize,
    /// The most words.
    pub words: usize,
    /// The longest request in all.
    pub request_bytes: usize,
}

/// Bytes that are no request; what follows them can't be understood, so that the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number of words is malformed or beyond the limit.
    #[error("invalid multibulk length")]
    Count,
    /// A word's length is malformed or beyond the limit.
    #[error("invalid bulk length")]
    Length,
    /// Too many words before the client has shown who it is.
    #[error("unauthenticated multibulk length")]
    StrangerCount,
    /// A word too long before the client has shown who it is.
    #[error("unauthenticated bulk length")]
    StrangerLength,
    /// Something other than a bulk string stands in a request.
    #[error("expected '$', got '{}'", char::from(*got))]
    NotBulk {
        /// Its first byte.
        got: u8,
    },
    /// A word is longer than announced.
    #[error("bulk string does not end where its length says")]
    Unterminated,
    /// A count goes on and on.
    #[error("too big mbulk count string")]
    CountLine,
    /// A length goes on and on.
    #[error("too big bulk count string")]
    LengthLine,
    /// A line goes on and on.
    #[error("too big inline request")]
    InlineLine,
    /// A line's quotes are unbalanced.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// The request as a whole is beyond the limit.
    #[error("request is longer than {limit} bytes")]
    Request {
        /// The limit.
        limit: usize,
    },
}

impl From<ProtocolError> for Refusal {
    fn from(error: ProtocolError) -> Self {
        Self::new(format!("ERR Protocol error: {error}"))
    }
}

impl Decoder {
    /// A decoder before its first request.
    #[must_use]
    pub const fn new(limits: RequestLimits) -> Self {
        Self {
            limits,
            position: 0,
            missing: None,
            length: None,
            words: Vec::new(),
            unquoted: None,
            stranger: false,
        }
    }

    /// Whether requests come from somebody who has not shown who they are: they must be short.
    pub const fn is_for_stranger(&mut self, stranger: bool) {
        self.stranger = stranger;
    }

    /// Looks for the end of the request that begins at the start of `input`. After [`Decoded::Incomplete`] it must
    /// be called with the same bytes and more.
    ///
    /// # Errors
    /// The bytes are no request. The decoder is of no use afterwards.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError> {
        if self.position == 0 {
            self.words.clear();
            self.unquoted = None;
            match input.first() {
                None => return Ok(Decoded::Incomplete),
                Some(b'*') => {}
                Some(_) => return self.inline(input),
            }
        }
        let missing = match self.missing {
            Some(missing) => missing,
            None => match self.number(input, Line::Count)? {
                None => return Ok(Decoded::Incomplete),
                Some(count) => self.begin(count)?,
            },
        };
        for left in (0..missing).rev() {
            if !self.word(input)? {
                return Ok(Decoded::Incomplete);
            }
            self.missing = Some(left);
        }
        Ok(self.finish())
    }

    /// The words of the request that was just found at the start of `input`.
    pub fn words<'a>(&'a self, input: &'a [u8]) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let bytes = self.unquoted.as_deref().unwrap_or(input);
        self.words.iter().map(|word| &bytes[word.clone()])
    }

    /// Where a word of the request that was just found stands in `input`; an inline request's words stand elsewhere.
    pub(super) fn place(&self, word: usize) -> Option<Range<usize>> {
        self.words.get(word).filter(|_| self.unquoted.is_none()).cloned()
    }

    fn begin(&mut self, count: i64) -> Result<usize, ProtocolError> {
        let count = usize::try_from(count).unwrap_or(0);
        if count > self.limits.words {
            return Err(ProtocolError::Count);
        }
        if self.stranger && count > STRANGER_WORDS {
            return Err(ProtocolError::StrangerCount);
        }
        self.missing = Some(count);
        Ok(count)
    }

    /// Reads one word; `false` when bytes are missing.
    fn word(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        let length = match self.length {
            Some(length) => length,
            None => {
                if let Some(got) = input.get(self.position).filter(|byte| **byte != b'$') {
                    return Err(ProtocolError::NotBulk { got: *got });
                }
                let Some(length) = self.number(input, Line::Length)? else {
                    return Ok(false);
                };
                let within = |length: &usize| *length <= self.limits.word_bytes;
                let length = usize::try_from(length).ok().filter(within).ok_or(ProtocolError::Length)?;
                if self.stranger && length > STRANGER_WORD_BYTES {
                    return Err(ProtocolError::StrangerLength);
                }
                length
            }
        };
        self.length = Some(length);
        let end = self.position + length;
        if end > self.limits.request_bytes {
            return Err(ProtocolError::Request { limit: self.limits.request_bytes });
        }
        match input.get(end..end + 2) {
            None => Ok(false),
            Some(b"\r\n") => {
                self.words.push(self.position..end);
                self.position = end + 2;
                self.length = None;
                Ok(true)
            }
            Some(_) => Err(ProtocolError::Unterminated),
        }
    }

    /// Reads a `*` or `$` line; `None` when bytes are missing.
    fn number(&mut self, input: &[u8], line: Line) -> Result<Option<i64>, ProtocolError> {
        let rest = input.get(self.position..).unwrap_or_default();
        if let Some((number, bytes)) = short_line(rest) {
            self.position += bytes;
            return Ok(Some(number));
        }
        let searched = &rest[..rest.len().min(MAX_LINE_BYTES)];
        let Some(end) = memchr::memchr(b'\r', searched) else {
            return if searched.len() < MAX_LINE_BYTES { Ok(None) } else { Err(line.too_long()) };
        };
        match rest.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => {
                let number = integer(&rest[1..end]).ok_or_else(|| line.malformed())?;
                self.position += end + 2;
                Ok(Some(number))
            }
            Some(_) => Err(line.malformed()),
        }
    }

    fn inline(&mut self, input: &[u8]) -> Result<Decoded, ProtocolError> {
        let searched = &input[..input.len().min(MAX_LINE_BYTES)];
        let Some(end) = memchr::memchr(b'\n', searched) else {
            let room = searched.len() < MAX_LINE_BYTES;
            return if room { Ok(Decoded::Incomplete) } else { Err(ProtocolError::InlineLine) };
        };
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        let mut unquoted = Vec::new();
        inline::split(line, &mut unquoted, &mut self.words).ok_or(ProtocolError::Quotes)?;
        self.unquoted = Some(unquoted);
        self.position = end + 1;
        Ok(self.finish())
    }

    const fn finish(&mut self) -> Decoded {
        let bytes = self.position;
        self.position = 0;
        self.missing = None;
        Decoded::Request { bytes }
    }
}

/// The two lines that carry a number.
#[derive(Clone, Copy)]
enum Line {
    Count,
    Length,
}

impl Line {
    const fn malformed(self) -> ProtocolError {
        match self {
            Self::Count => ProtocolError::Count,
            Self::Length => ProtocolError::Length,
        }
    }

    const fn too_long(self) -> ProtocolError {
        match self {
            Self::Count => ProtocolError::CountLine,
            Self::Length => ProtocolError::LengthLine,
        }
    }
}

/// A short line at a glance: its number, and its length with mark and line end.
const fn short_line(line: &[u8]) -> Option<(i64, usize)> {
    match line {
        [_, digit @ b'0'..=b'9', b'\r', b'\n', ..] => Some(((*digit - b'0') as i64, 4)),
        [_, tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((((*tens - b'0') * 10 + (*ones - b'0')) as i64, 5))
        }
        _ => None,
    }
}

/// A count, a length or an inline request is refused when its line gets this long.
const MAX_LINE_BYTES: usize = 64 << 10;

/// What somebody may send who has not shown who they are.
const STRANGER_WORDS: usize = 10;
const STRANGER_WORD_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: RequestLimits = RequestLimits { word_bytes: 1000, words: 100, request_bytes: 2000 };

    type Requests = Vec<Vec<Vec<u8>>>;

    /// Decodes a stream that arrives in the given pieces.
    fn decode_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Requests, Option<ProtocolError>) {
        let (mut decoder, mut buffer, mut requests) = (Decoder::new(LIMITS), Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&buffer) {
                    Ok(Decoded::Incomplete) => break,
                    Ok(Decoded::Request { bytes }) => {
                        requests.push(decoder.words(&buffer).map(<[u8]>::to_vec).collect());
                        buffer.drain(..bytes);
                    }
                    Err(error) => return (requests, Some(error)),
                }
            }
        }
        (requests, None)
    }

    fn error_of(bytes: &[u8]) -> Option<String> {
        decode_pieces([bytes]).1.map(|error| Refusal::from(error).to_string())
    }

    #[test]
    fn malformed_requests_are_refused_in_the_words_of_redis() {
        let long = |head: &[u8]| [head, &vec![b'1'; MAX_LINE_BYTES]].concat();
        let rows: [(&[u8], &str); 15] = [
            (b"*abc\r\n", "invalid multibulk length"),
            (b"*\r\n", "invalid multibulk length"),
            (b"*01\r\n", "invalid multibulk length"),
            (b"*+1\r\n", "invalid multibulk length"),
            (b"*2147483648\r\n", "invalid multibulk length"),
            (b"*101\r\n", "invalid multibulk length"),
            (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$04\r\n", "invalid bulk length"),
            (b"*1\r\n$1001\r\n", "invalid bulk length"),
            (b"*1\r\n$4\r\nPINGxx", "bulk string does not end where its length says"),
            (b"PING \"a\r\n", "unbalanced quotes in request"),
            (&long(b"*"), "too big mbulk count string"),
            (&long(b"*1\r\n$"), "too big bulk count string"),
            (&long(b""), "too big inline request"),
        ];
        for (bytes, expected) in rows {
            assert_eq!(
                error_of(bytes),
                Some(format!("ERR Protocol error: {expected}")),
                "{:?}",
                &bytes[..8.min(bytes.len())]
            );
        }
    }

    #[test]
    fn a_request_beyond_the_limit_is_refused_before_its_bytes_come() {
        let word = [&b"$900\r\n"[..], &[b'x'; 900], b"\r\n"].concat();
        let bytes = [b"*3\r\n", &word[..], &word[..], b"$900\r\n"].concat();
        assert_eq!(
            error_of(&bytes).as_deref(),
            Some("ERR Protocol error: request is longer than 2000 bytes")
        );
    }

    #[test]
    fn blank_requests_have_no_words() {
        let (requests, error) = decode_pieces([&b"*0\r\n*-5\r\n\r\n\n*1\r\n$0\r\n\r\nPING\n"[..]]);
        let expected: Requests = vec![vec![], vec![], vec![], vec![], vec![vec![]], vec![b"PING".to_vec()]];
        assert_eq!((requests, error), (expected, None));
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let limits = RequestLimits { word_bytes: 1 << 30, words: 1 << 30, request_bytes: 1 << 40 };
        let mut decoder = Decoder::new(limits);
        assert_eq!(decoder.decode(b"*1000000000\r\n$1000000000\r\n"), Ok(Decoded::Incomplete));
        assert_eq!(decoder.words.capacity(), 0);
    }

    fn request() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6)
    }

    fn encode(words: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            decode_pieces([&bytes[..]]);
        }

        #[test]
        fn bytes_of_the_protocol_are_decoded_without_panic(text in "[*$0-9\r\n\"'\\\\xa -]{0,100}") {
            let whole = decode_pieces([text.as_bytes()]);
            let single = decode_pieces(text.as_bytes().chunks(1));
            prop_assert_eq!(whole, single);
        }

        #[test]
        fn requests_survive_any_split(requests in prop::collection::vec(request(), 0..5), cut in any::<prop::sample::Index>()) {
            let bytes = requests.iter().flat_map(|words| encode(words)).collect::<Vec<_>>();
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(decode_pieces([head, tail]), (requests.clone(), None));
            prop_assert_eq!(decode_pieces(bytes.chunks(1)), (requests, None));
        }
    }
}
