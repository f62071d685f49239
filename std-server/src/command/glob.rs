//! Redis' glob patterns over bytes: `*`, `?`, `[a-c]`, `[^a]` and `\` as escape.
//!
//! Matching is iterative: on a mismatch only the newest `*` takes one byte more, so the work is at most
//! pattern length × text length, whatever a client sends.

/// Whether `text` matches `pattern`.
#[must_use]
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut at) = (pattern, 0);
    let mut retry: Option<(&[u8], usize)> = None;
    loop {
        match rest {
            [b'*', after @ ..] => {
                if after.is_empty() {
                    return true;
                }
                retry = Some((after, at));
                rest = after;
                continue;
            }
            [] if at == text.len() => return true,
            _ => {}
        }
        if let Some(after) = text.get(at).and_then(|byte| one(rest, *byte)) {
            rest = after;
            at += 1;
            continue;
        }
        let Some((after_star, from)) = retry.filter(|(_, from)| *from < text.len()) else {
            return false;
        };
        retry = Some((after_star, from + 1));
        (rest, at) = (after_star, from + 1);
    }
}

/// Matches one byte against the first element of `pattern`, and returns what follows that element.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => {
            let (hit, after) = in_class(class, byte);
            hit.then_some(after)
        }
        [b'\\', literal, after @ ..] | [literal, after @ ..] => (*literal == byte).then_some(after),
    }
}

/// Whether `byte` is in the class; an unclosed class ends with the pattern, as in Redis.
fn in_class(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut hit = false;
    loop {
        rest = match rest {
            [] => return (hit != negated, rest),
            [b']', after @ ..] => return (hit != negated, after),
            [b'\\', literal, after @ ..] => {
                hit |= *literal == byte;
                after
            }
            [low, b'-', high, after @ ..] => {
                hit |= (*low.min(high)..=*low.max(high)).contains(&byte);
                after
            }
            [literal, after @ ..] => {
                hit |= *literal == byte;
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let rows: &[(&str, &str, bool)] = &[
            ("*", "", true),
            ("*", "abc", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("a*b*c", "a-b-b-c", true),
            ("a**c", "ac", true),
            ("?", "", false),
            ("??", "ab", true),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[a", "a", true),
            ("[a", "b", false),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[\\]]", "]", true),
            ("a\\", "a\\", true),
            ("h[ae]llo*", "hello world", true),
            ("user:*:name", "user:1:2:name", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), *expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_not_exponential() {
        let pattern = b"a*".repeat(200);
        let mut text = vec![b'a'; 10_000];
        text.push(b'b');
        assert!(!matches(&[&pattern[..], b"c"].concat(), &text));
    }
}
