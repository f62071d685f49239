//! Replies as trees, and what must be equal in them.

/// One reply.
#[derive(Clone, PartialEq)]
pub(crate) struct Tree {
    mark: u8,
    /// The first line, or the bytes of a string.
    text: Vec<u8>,
    members: Vec<Self>,
}

impl Tree {
    /// Reads one reply from the start of `bytes`, which it shortens.
    pub(crate) fn read(bytes: &mut &[u8]) -> Self {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a whole line");
        let (mark, text) = (bytes[0], bytes[1..end].to_vec());
        *bytes = &bytes[end + 2..];
        let number = core::str::from_utf8(&text).ok().and_then(|text| text.parse::<i64>().ok());
        let count = usize::try_from(number.unwrap_or(-1));
        let mut tree = Self { mark, text, members: Vec::new() };
        match (mark, count) {
            (b'$' | b'=', Ok(length)) => {
                tree.text = bytes[..length].to_vec();
                *bytes = &bytes[length + 2..];
            }
            (b'*' | b'~', Ok(count)) => tree.members = (0..count).map(|_| Self::read(bytes)).collect(),
            (b'%', Ok(count)) => tree.members = (0..2 * count).map(|_| Self::read(bytes)).collect(),
            _ => {}
        }
        tree
    }

    pub(crate) fn is_error(&self) -> bool {
        self.mark == b'-'
    }

    pub(crate) fn is(&self, mark: u8, text: &[u8]) -> bool {
        self.mark == mark && self.text == text
    }

    pub(crate) fn members(&self) -> &[Self] {
        &self.members
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    fn number(&self) -> Option<i128> {
        core::str::from_utf8(&self.text).ok()?.parse().ok().filter(|_| self.mark == b':')
    }

    fn sorted(&self) -> Vec<&[u8]> {
        let mut members: Vec<&[u8]> = self.members.iter().map(Self::text).collect();
        members.sort_unstable();
        members
    }
}

impl core::fmt::Debug for Tree {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}{}", char::from(self.mark), self.text.escape_ascii())?;
        if self.members.is_empty() { Ok(()) } else { f.debug_list().entries(&self.members).finish() }
    }
}

/// How two replies to one command are compared.
enum Rule {
    /// Byte for byte.
    Same,
    /// A moment or a time, which may differ by so much.
    Near(i128),
    /// Members in any order.
    AnyOrder,
    /// Both are refused with the same words, or both have the same shape.
    Shape,
    /// Not at all, unless both are refused.
    Free,
}

fn rule(words: &[Vec<u8>]) -> Rule {
    let upper: Vec<Vec<u8>> = words.iter().take(2).map(|word| word.to_ascii_uppercase()).collect();
    let name = core::str::from_utf8(&upper[0]).unwrap_or_default();
    let sub = upper.get(1).and_then(|word| core::str::from_utf8(word).ok()).unwrap_or_default();
    match (name, sub) {
        ("TTL" | "EXPIRETIME", _) => Rule::Near(2),
        ("PTTL" | "PEXPIRETIME", _) => Rule::Near(2000),
        ("KEYS", _) => Rule::AnyOrder,
        // Cursors are free, and so is how many keys a step returns; whole iterations are compared elsewhere.
        ("SCAN", _) => Rule::Shape,
        // Expired keys count until they are removed.
        ("DBSIZE", _) => Rule::Shape,
        ("RANDOMKEY" | "TIME" | "LASTSAVE", _) => Rule::Shape,
        // It holds the number of the connection.
        ("HELLO", _) => Rule::Shape,
        // What Redis says depends on how it came to keep a value, ours on the value.
        ("OBJECT", "ENCODING" | "REFCOUNT") => Rule::Shape,
        // Redis also tells of keys that have expired.
        ("MEMORY", "USAGE") => Rule::Free,
        ("CLIENT", "LIST" | "ID" | "INFO") | ("SLOWLOG", "GET" | "LEN") | ("COMMAND", "COUNT") => Rule::Shape,
        _ => Rule::Same,
    }
}

/// Whether both replies to a command are the same in what is not free. `queued`: the commands that EXEC executed.
pub(crate) fn agree(words: &[Vec<u8>], queued: &[Vec<Vec<u8>>], [ours, theirs]: [&Tree; 2]) -> bool {
    if words[0].eq_ignore_ascii_case(b"EXEC") && ours.mark == b'*' && ours.members.len() == queued.len() {
        let members = queued.iter().zip(ours.members.iter().zip(&theirs.members));
        return ours.text == theirs.text
            && members.into_iter().all(|(words, (ours, theirs))| agree(words, &[], [ours, theirs]));
    }
    if ours.text.starts_with(b"ERR Insufficient memory, transient memory for LCS") {
        // Ours is the smaller table.
        return true;
    }
    if ours.is_error() || theirs.is_error() || ours.is(b'+', b"QUEUED") {
        return ours == theirs;
    }
    match rule(words) {
        Rule::Same => ours == theirs,
        Rule::Near(most) => match (ours.number(), theirs.number()) {
            (Some(one), Some(other)) if one > 0 && other > 0 => (one - other).abs() <= most,
            _ => ours == theirs,
        },
        Rule::AnyOrder => ours.sorted() == theirs.sorted(),
        Rule::Free => true,
        Rule::Shape => {
            let is_null = |tree: &Tree| tree.mark == b'_' || tree.text == b"-1";
            ours.mark == theirs.mark && is_null(ours) == is_null(theirs)
        }
    }
}
