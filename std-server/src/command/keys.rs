//! Commands on keys, whatever they hold: DEL, EXISTS, RENAME, COPY, KEYS, SCAN, FLUSHALL and their relatives.

use super::args::{Args, Options, integer};
use super::effects::Scope;
use super::glob;
use super::reply::{Refusal, Reply};
use super::{Operation, Request};
use crate::keyspace::Effect;

/// What these commands do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys<'a> {
    /// Deletes keys and counts those that existed.
    Delete { keys: Args<'a> },
    /// Counts the named keys that exist, each as often as it is named.
    Exists { keys: Args<'a> },
    /// Tells the type of a value; here always a string.
    Type { key: &'a [u8] },
    /// Some key.
    Random,
    /// Moves value and expiry to another name.
    Rename { from: &'a [u8], to: &'a [u8], overwrite: bool },
    /// Copies value and expiry to another name.
    Copy { from: &'a [u8], to: &'a [u8], replace: bool },
    /// Every key that matches.
    All { pattern: &'a [u8] },
    /// One step of an iteration over all keys.
    Scan { cursor: u64, pattern: Option<&'a [u8]>, count: usize, strings: bool },
    /// How many keys there are, expired ones that were not removed yet included.
    Count,
    /// Removes everything.
    Flush,
}

impl<'a> Keys<'a> {
    pub(super) fn execute<'k>(self, mut scope: Scope<'k>) -> Reply<'k> {
        match self {
            Self::Delete { keys } => Reply::count(keys.iter().filter(|key| delete(&mut scope, key)).count()),
            Self::Exists { keys } => Reply::count(keys.iter().filter(|key| scope.exists(key)).count()),
            Self::Type { key } => Reply::Status(if scope.exists(key) { "string" } else { "none" }),
            Self::Random => {
                let Scope { keyspace, context, .. } = scope;
                Reply::optional(keyspace.random_key(context.now_ms, context.random).map(|(key, _)| key))
            }
            Self::Rename { from, to, overwrite } => rename(&mut scope, from, to, overwrite),
            Self::Copy { from, to, replace } => {
                let copied = scope.exists(from) && (replace || !scope.exists(to));
                if copied {
                    scope.apply(Effect::Copy { from, to });
                }
                Reply::truth(copied)
            }
            Self::All { pattern } => all(&scope, pattern),
            Self::Scan { cursor, pattern, count, strings } => {
                let (next, keys) = scan(&scope, cursor, pattern.filter(|p| *p != b"*"), count);
                let keys = if strings { keys } else { Vec::new() };
                Reply::Array(vec![Reply::owned(next.to_string()), Reply::Array(keys)])
            }
            Self::Count => Reply::count(scope.keyspace.len()),
            Self::Flush => {
                scope.apply(Effect::Flush);
                Reply::OK
            }
        }
    }
}

fn delete(scope: &mut Scope<'_>, key: &[u8]) -> bool {
    let exists = scope.exists(key);
    if exists {
        scope.apply(Effect::Delete { key });
    }
    exists
}

fn rename<'k>(scope: &mut Scope<'_>, from: &[u8], to: &[u8], overwrite: bool) -> Reply<'k> {
    if !scope.exists(from) {
        return Refusal::NO_SUCH_KEY.into();
    }
    let renamed = overwrite || !scope.exists(to);
    if renamed && from != to {
        scope.apply(Effect::Rename { from, to });
    }
    if overwrite { Reply::OK } else { Reply::truth(renamed) }
}

/// Every key that matches, unless the list takes more memory than a reply may: it is made before any of it is sent.
fn all<'k>(scope: &Scope<'_>, pattern: &[u8]) -> Reply<'k> {
    let most = scope.context.max_reply_bytes;
    let (mut keys, mut bytes, mut cursor) = (Vec::new(), 0, 0);
    loop {
        cursor = scope.keyspace.scan(cursor, SCAN_STRIDE, scope.now_ms(), |key, _| {
            if bytes <= most && glob::matches(pattern, key) {
                bytes += key.len() + LISTED_BYTES;
                keys.push(Reply::owned(key));
            }
        });
        if bytes > most {
            let line = format!(
                "ERR more keys match than a reply of {most} bytes takes (resp3.max_reply_bytes): use SCAN"
            );
            return Refusal::new(line).into();
        }
        if cursor == 0 {
            return Reply::Array(keys);
        }
    }
}

fn scan<'k>(scope: &Scope<'_>, cursor: u64, pattern: Option<&[u8]>, count: usize) -> (u64, Vec<Reply<'k>>) {
    let mut keys = Vec::new();
    let next = scope.keyspace.scan(cursor, count, scope.now_ms(), |key, _| {
        if pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
            keys.push(Reply::owned(key));
        }
    });
    (next, keys)
}

fn request(keys: Keys<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Data(Operation::Keys(keys)))
}

pub(super) fn del(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Keys::Delete { keys: &args[1..] })
}

pub(super) fn exists(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Keys::Exists { keys: &args[1..] })
}

pub(super) fn type_of(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Keys::Type { key: args[1] })
}

pub(super) fn randomkey(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Keys::Random)
}

pub(super) fn rename_any(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Keys::Rename { from: args[1], to: args[2], overwrite: true })
}

pub(super) fn renamenx(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Keys::Rename { from: args[1], to: args[2], overwrite: false })
}

pub(super) fn copy(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let (from, to) = (args[1], args[2]);
    let mut replace = false;
    let mut options = Options::new(&args[3..]);
    while let Some(word) = options.word() {
        match word.name() {
            b"REPLACE" => replace = true,
            b"DB" => only_database(integer(options.value()?)?)?,
            _ => return Err(Refusal::SYNTAX),
        }
    }
    if from == to {
        return Err(Refusal::fixed("ERR source and destination objects are the same"));
    }
    request(Keys::Copy { from, to, replace })
}

/// There is one database, number 0.
pub(super) fn only_database(index: i64) -> Result<(), Refusal> {
    if i32::try_from(index).is_err() {
        let range = "ERR value is out of range, value must between -2147483648 and 2147483647";
        return Err(Refusal::fixed(range));
    }
    if index == 0 { Ok(()) } else { Err(Refusal::NO_SUCH_DB) }
}

pub(super) fn keys(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Keys::All { pattern: args[1] })
}

pub(super) fn scan_step(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let cursor = cursor(args[1]).ok_or(Refusal::fixed("ERR invalid cursor"))?;
    let (mut pattern, mut count, mut strings) = (None, DEFAULT_SCAN_COUNT, true);
    let mut options = Options::new(&args[2..]);
    while let Some(word) = options.word() {
        match word.name() {
            b"MATCH" => pattern = Some(options.value()?),
            b"TYPE" => strings = options.value()?.eq_ignore_ascii_case(b"string"),
            b"COUNT" => {
                let wanted = integer(options.value()?)?;
                count = usize::try_from(wanted).ok().filter(|n| *n > 0).ok_or(Refusal::SYNTAX)?;
            }
            _ => return Err(Refusal::SYNTAX),
        }
    }
    request(Keys::Scan { cursor, pattern, count: count.min(MAX_SCAN_COUNT), strings })
}

/// A cursor is what `strtoul` reads: nothing is 0, what follows a NUL is not seen, a minus sign wraps around.
fn cursor(text: &[u8]) -> Option<u64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let number: u64 =
        digits.first()?.is_ascii_digit().then(|| core::str::from_utf8(digits).ok()?.parse().ok())??;
    Some(if negative { number.wrapping_neg() } else { number })
}

pub(super) fn dbsize(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Keys::Count)
}

pub(super) fn flush(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    match args.get(1).map(|word| word.to_ascii_uppercase()) {
        None => request(Keys::Flush),
        Some(mode) if args.len() == 2 && (mode == b"ASYNC" || mode == b"SYNC") => request(Keys::Flush),
        Some(_) => Err(Refusal::SYNTAX),
    }
}

const DEFAULT_SCAN_COUNT: usize = 10;
/// One step stays short, whatever a client asks for; a step may always return fewer keys than wanted.
const MAX_SCAN_COUNT: usize = 10_000;
const SCAN_STRIDE: usize = 4096;
/// About what a listed key takes beside its bytes.
const LISTED_BYTES: usize = 64;
