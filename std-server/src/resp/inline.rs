//! Inline commands: a line of words with Redis' quoting rules.
//!
//! `"…"` knows `\n \r \t \b \a \xHH` and keeps any other escaped byte; `'…'` knows only `\'`. A closing quote must be
//! followed by a space or the end of the line.

use core::ops::Range;

/// Splits a line into words: the unquoted bytes go to `bytes`, the place of each word in it to `words`.
///
/// Returns `None` when quotes are unbalanced.
pub(super) fn split(line: &[u8], bytes: &mut Vec<u8>, words: &mut Vec<Range<usize>>) -> Option<()> {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(());
        }
        let start = bytes.len();
        rest = word(rest, bytes)?;
        words.push(start..bytes.len());
    }
}

/// Reads one word and returns what follows it.
fn word<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return Some(rest),
            [space, ..] if space.is_ascii_whitespace() => return Some(rest),
            [b'"', after @ ..] => double_quoted(after, bytes)?,
            [b'\'', after @ ..] => single_quoted(after, bytes)?,
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        };
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [b'"', after @ ..] => return ends_word(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) << 4 | hex(*low), after)
            }
            [b'\\', escaped, after @ ..] => (control(*escaped), after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        bytes.push(byte);
        rest = after;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [b'\'', after @ ..] => return ends_word(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        bytes.push(byte);
        rest = after;
    }
}

fn ends_word(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(u8::is_ascii_whitespace).then_some(rest)
}

const fn control(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (mut bytes, mut words) = (Vec::new(), Vec::new());
        split(line, &mut bytes, &mut words)?;
        Some(words.into_iter().map(|word| bytes[word].to_vec()).collect())
    }

    #[test]
    fn words_are_unquoted_as_in_redis() {
        let rows: [(&[u8], &[&[u8]]); 9] = [
            (b"", &[]),
            (b"  \t ", &[]),
            (b" SET  k\tv ", &[b"SET", b"k", b"v"]),
            (b"PING \"a b\"", &[b"PING", b"a b"]),
            (b"PING \"a\\x41\\n\\\"\\q\"", &[b"PING", b"aA\n\"q"]),
            (b"PING \"\\xZZ\"", &[b"PING", b"xZZ"]),
            (b"PING 'a\\'b\\n'", &[b"PING", b"a'b\\n"]),
            (b"a\"b\" ''", &[b"ab", b""]),
            (b"\"\"", &[b""]),
        ];
        for (line, expected) in rows {
            let found = words(line).expect("balanced");
            assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [&b"\"a"[..], b"'a", b"\"a\"b", b"'a'b", b"\"a\\", b"\"a\\\""] {
            assert_eq!(words(line), None, "{:?}", String::from_utf8_lossy(line));
        }
    }
}
