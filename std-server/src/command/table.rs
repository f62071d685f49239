//! The one table of commands: a row names a command, its shape and the function that parses it.
//!
//! ```text
//! words ──find──► Row ──arity──► row.parse ──► Request      COMMAND answers from the same rows
//! ```
//!
//! Rows are sorted by name, because they are found by halving. A new command is one row and one function.

use super::args::{Args, LONGEST_NAME, Word};
use super::reply::{LONGEST_SHOWN, Refusal, repeated};
use super::{
    Request, catalog, client, connection, expiry, keys, lcs, object, server, settings, slowlog, strings,
    transaction,
};

/// One command, or one subcommand (`config|get`).
#[derive(Debug)]
pub struct Row {
    /// Its name in small letters.
    pub name: &'static str,
    upper: [u8; LONGEST_NAME],
    /// How many words it takes, its name included; negative: at least that many.
    pub arity: i32,
    /// A union of the flags below.
    pub flags: u16,
    /// Which words are keys.
    pub keys: KeyWords,
    /// The family that documentation lists it under.
    pub group: &'static str,
    /// The Redis version that introduced it.
    pub since: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    pub(super) parse: Parser,
    /// Its subcommands; then `parse` answers the bare name.
    pub subcommands: &'static [Self],
}

type Parser = for<'a> fn(Args<'a>) -> Result<Request<'a>, Refusal>;

/// The places of keys among the words; `last` counts from the end when negative, `first` 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyWords {
    /// The first key.
    pub first: usize,
    /// The last key.
    pub last: isize,
    /// From one key to the next.
    pub step: usize,
}

impl Row {
    /// Finds the row of a command and checks its number of words.
    ///
    /// # Errors
    /// A refusal for an unknown command or subcommand, or a wrong number of words.
    ///
    /// # Panics
    /// Never, for `words` that hold at least the name.
    pub fn find(words: Args<'_>) -> Result<&'static Self, Refusal> {
        let row = lookup(TABLE, &Word::new(words[0])).ok_or_else(|| unknown_command(words))?;
        let row = match words.get(1) {
            Some(sub) if !row.subcommands.is_empty() => {
                lookup(row.subcommands, &Word::new(sub)).ok_or_else(|| unknown_subcommand(sub, row))?
            }
            _ => row,
        };
        if row.takes(words.len()) { Ok(row) } else { Err(Refusal::arity(row.name)) }
    }

    /// Whether a command line of this many words fits.
    #[must_use]
    pub const fn takes(&self, words: usize) -> bool {
        let wanted = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { words >= wanted } else { words == wanted }
    }

    /// Whether it has all of these flags.
    #[must_use]
    pub const fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    /// The keys among the words of a command line.
    pub fn keys_of<'a>(&self, words: Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let KeyWords { first, last, step } = self.keys;
        let end = match usize::try_from(last) {
            Ok(last) => last + 1,
            Err(_) => (words.len() + 1).saturating_sub(last.unsigned_abs()),
        };
        let keys =
            if first == 0 { &[][..] } else { words.get(first..end.min(words.len())).unwrap_or_default() };
        keys.iter().step_by(step.max(1)).copied()
    }

    const fn with(mut self, subcommands: &'static [Self]) -> Self {
        self.subcommands = subcommands;
        self
    }
}

/// Every command, sorted by name.
#[must_use]
pub const fn rows() -> &'static [Row] {
    TABLE
}

fn lookup(rows: &'static [Row], word: &Word<'_>) -> Option<&'static Row> {
    let wanted = rank(word.upper);
    let place = rows.binary_search_by(|row| rank(row.upper).cmp(&wanted)).ok()?;
    rows.get(place)
}

/// A number that orders names as the alphabet does.
#[expect(
    clippy::big_endian_bytes,
    reason = "the first letter counts most; one comparison instead of a call for each step"
)]
const fn rank(upper: [u8; LONGEST_NAME]) -> u128 {
    u128::from_be_bytes(upper)
}

/// The name in capitals, without its container, as [`Word`] holds what a client sent.
const fn upper(name: &str) -> [u8; LONGEST_NAME] {
    let name = name.as_bytes();
    let (mut upper, mut from, mut at) = ([0; LONGEST_NAME], 0, 0);
    while at < name.len() {
        if name[at] == b'|' {
            (upper, from) = ([0; LONGEST_NAME], at + 1);
        } else {
            upper[at - from] = name[at].to_ascii_uppercase();
        }
        at += 1;
    }
    upper
}

fn unknown_subcommand(sub: &[u8], row: &Row) -> Refusal {
    let help = format!("'. Try {} HELP.", row.name.to_ascii_uppercase());
    Refusal::naming("ERR unknown subcommand '", repeated(sub), &help)
}

fn unknown_command(words: Args<'_>) -> Refusal {
    let mut shown = Vec::new();
    for word in &words[1..] {
        if shown.len() >= LONGEST_SHOWN {
            break;
        }
        let (word, room) = (repeated(word), LONGEST_SHOWN - shown.len());
        shown.push(b'\'');
        shown.extend_from_slice(&word[..word.len().min(room)]);
        shown.extend_from_slice(b"' ");
    }
    let before = b"ERR unknown command '";
    Refusal::new([before, repeated(words[0]), b"', with args beginning with: ", &shown].concat())
}

/// Changes the keyspace.
pub(super) const WRITE: u16 = 1;
/// Reads the keyspace only.
pub(super) const READONLY: u16 = 1 << 1;
/// Is refused when memory is full.
pub(super) const DENYOOM: u16 = 1 << 2;
/// For operators.
pub(super) const ADMIN: u16 = 1 << 3;
/// Not for scripts.
pub(super) const NOSCRIPT: u16 = 1 << 4;
/// Works during recovery.
pub(super) const LOADING: u16 = 1 << 5;
/// Works on stale data.
pub(super) const STALE: u16 = 1 << 6;
/// Takes constant or logarithmic time.
pub(super) const FAST: u16 = 1 << 7;
/// Not inside a transaction.
pub(super) const NO_MULTI: u16 = 1 << 8;
/// For those who have not shown who they are.
pub(super) const NO_AUTH: u16 = 1 << 10;
/// Is executed at once, even between MULTI and EXEC.
pub(super) const IMMEDIATE: u16 = 1 << 9;

const NONE: KeyWords = keys_at(0, 0, 0);
const ONE: KeyWords = keys_at(1, 1, 1);
const TWO: KeyWords = keys_at(1, 2, 1);
const ALL: KeyWords = keys_at(1, -1, 1);
const PAIRS: KeyWords = keys_at(1, -1, 2);

const fn keys_at(first: usize, last: isize, step: usize) -> KeyWords {
    KeyWords { first, last, step }
}

const STRING: &str = "string";
const GENERIC: &str = "generic";
const CONNECTION: &str = "connection";
const SERVER: &str = "server";
const TRANSACTIONS: &str = "transactions";

const CHANGES: u16 = WRITE | FAST;
const GROWS: u16 = WRITE | DENYOOM;
const READS: u16 = READONLY | FAST;
const ANYTIME: u16 = LOADING | STALE;
const SESSION: u16 = ANYTIME | NOSCRIPT;
const OPERATOR: u16 = ADMIN | NOSCRIPT;

#[expect(clippy::too_many_arguments, reason = "the columns of the table below")]
const fn row(
    name: &'static str,
    arity: i32,
    flags: u16,
    keys: KeyWords,
    group: &'static str,
    since: &'static str,
    parse: Parser,
    summary: &'static str,
) -> Row {
    Row { name, upper: upper(name), arity, flags, keys, group, since, summary, parse, subcommands: &[] }
}

#[rustfmt::skip]
static TABLE: &[Row] = &[
    row("append", 3, GROWS | FAST, ONE, STRING, "2.0.0", strings::append, "Appends to the value of a key"),
    row("auth", -2, SESSION | FAST | NO_MULTI | NO_AUTH, NONE, CONNECTION, "1.0.0", connection::auth, "Authenticates the connection"),
    row("bgsave", -1, OPERATOR, NONE, SERVER, "1.0.0", server::bgsave, "Starts a snapshot"),
    row("client", -2, 0, NONE, CONNECTION, "2.4.0", catalog::container, "A container for client connection commands").with(CLIENT),
    row("command", -1, ANYTIME, NONE, SERVER, "2.8.13", catalog::info_of_all, "Describes all commands").with(COMMAND),
    row("config", -2, 0, NONE, SERVER, "2.0.0", catalog::container, "A container for server configuration commands").with(CONFIG),
    row("copy", -3, GROWS, TWO, GENERIC, "6.2.0", keys::copy, "Copies a key"),
    row("dbsize", 1, READS, NONE, SERVER, "1.0.0", keys::dbsize, "Returns the number of keys"),
    row("decr", 2, GROWS | FAST, ONE, STRING, "1.0.0", strings::decr, "Decrements an integer by one"),
    row("decrby", 3, GROWS | FAST, ONE, STRING, "1.0.0", strings::decrby, "Decrements an integer by the given number"),
    row("del", -2, WRITE, ALL, GENERIC, "1.0.0", keys::del, "Deletes keys"),
    row("discard", 1, SESSION | FAST | IMMEDIATE, NONE, TRANSACTIONS, "2.0.0", transaction::discard, "Discards a transaction"),
    row("echo", 2, ANYTIME | FAST, NONE, CONNECTION, "1.0.0", connection::echo, "Returns the given bytes"),
    row("exec", 1, SESSION | IMMEDIATE, NONE, TRANSACTIONS, "1.2.0", transaction::exec, "Executes a transaction"),
    row("exists", -2, READS, ALL, GENERIC, "1.0.0", keys::exists, "Counts the named keys that exist"),
    row("expire", -3, CHANGES, ONE, GENERIC, "1.0.0", expiry::expire, "Sets a key's time to live in seconds"),
    row("expireat", -3, CHANGES, ONE, GENERIC, "1.2.0", expiry::expireat, "Sets a key's expiry as Unix seconds"),
    row("expiretime", 2, READS, ONE, GENERIC, "7.0.0", expiry::expiretime, "Returns a key's expiry as Unix seconds"),
    row("flushall", -1, WRITE, NONE, SERVER, "1.0.0", keys::flush, "Removes all keys"),
    row("flushdb", -1, WRITE, NONE, SERVER, "1.0.0", keys::flush, "Removes all keys of the database"),
    row("get", 2, READS, ONE, STRING, "1.0.0", strings::get, "Returns the value of a key"),
    row("getdel", 2, CHANGES, ONE, STRING, "6.2.0", strings::getdel, "Returns the value of a key and deletes it"),
    row("getex", -2, CHANGES, ONE, STRING, "6.2.0", strings::getex, "Returns the value of a key and sets its expiry"),
    row("getrange", 4, READONLY, ONE, STRING, "2.4.0", strings::getrange, "Returns a part of a value"),
    row("getset", 3, GROWS | FAST, ONE, STRING, "1.0.0", strings::getset, "Sets a key and returns its old value"),
    row("hello", -1, SESSION | FAST | NO_MULTI | NO_AUTH, NONE, CONNECTION, "6.0.0", connection::hello, "Greets the server and chooses the protocol"),
    row("incr", 2, GROWS | FAST, ONE, STRING, "1.0.0", strings::incr, "Increments an integer by one"),
    row("incrby", 3, GROWS | FAST, ONE, STRING, "1.0.0", strings::incrby, "Increments an integer by the given number"),
    row("incrbyfloat", 3, GROWS | FAST, ONE, STRING, "2.6.0", strings::incrbyfloat, "Increments a number with a fraction"),
    row("info", -1, ANYTIME, NONE, SERVER, "1.0.0", server::info_of, "Returns information about the server"),
    row("keys", 2, READONLY, NONE, GENERIC, "1.0.0", keys::keys, "Returns all keys that match a pattern"),
    row("lastsave", 1, ANYTIME | FAST, NONE, SERVER, "1.0.0", server::lastsave, "Returns the time of the newest snapshot"),
    row("latency", -2, 0, NONE, SERVER, "2.8.13", catalog::container, "A container for latency diagnostics commands").with(LATENCY),
    row("lcs", -3, READONLY, TWO, STRING, "7.0.0", lcs::lcs, "Finds the longest common subsequence of two values"),
    row("memory", -2, 0, NONE, SERVER, "4.0.0", catalog::container, "A container for memory diagnostics commands").with(MEMORY),
    row("mget", -2, READS, ALL, STRING, "1.0.0", strings::mget, "Returns the values of several keys"),
    row("mset", -3, GROWS, PAIRS, STRING, "1.0.1", strings::mset, "Sets several keys at once"),
    row("msetnx", -3, GROWS, PAIRS, STRING, "1.0.1", strings::msetnx, "Sets several keys if none of them exists"),
    row("multi", 1, SESSION | FAST | IMMEDIATE, NONE, TRANSACTIONS, "1.2.0", transaction::multi, "Begins a transaction"),
    row("object", -2, 0, NONE, GENERIC, "2.2.3", catalog::container, "A container for object introspection commands").with(OBJECT),
    row("persist", 2, CHANGES, ONE, GENERIC, "2.2.0", expiry::persist, "Removes a key's expiry"),
    row("pexpire", -3, CHANGES, ONE, GENERIC, "2.6.0", expiry::pexpire, "Sets a key's time to live in milliseconds"),
    row("pexpireat", -3, CHANGES, ONE, GENERIC, "2.6.0", expiry::pexpireat, "Sets a key's expiry as Unix milliseconds"),
    row("pexpiretime", 2, READS, ONE, GENERIC, "7.0.0", expiry::pexpiretime, "Returns a key's expiry as Unix milliseconds"),
    row("ping", -1, FAST, NONE, CONNECTION, "1.0.0", connection::ping, "Answers when the server is alive"),
    row("psetex", 4, GROWS, ONE, STRING, "2.6.0", strings::psetex, "Sets a key and its time to live in milliseconds"),
    row("pttl", 2, READS, ONE, GENERIC, "2.6.0", expiry::pttl, "Returns a key's time to live in milliseconds"),
    row("quit", -1, SESSION | FAST | IMMEDIATE | NO_AUTH, NONE, CONNECTION, "1.0.0", connection::quit, "Closes the connection"),
    row("randomkey", 1, READONLY, NONE, GENERIC, "1.0.0", keys::randomkey, "Returns some key"),
    row("rename", 3, WRITE, TWO, GENERIC, "1.0.0", keys::rename_any, "Renames a key"),
    row("renamenx", 3, CHANGES, TWO, GENERIC, "1.0.0", keys::renamenx, "Renames a key if the new name is free"),
    row("reset", 1, SESSION | FAST | IMMEDIATE | NO_AUTH, NONE, CONNECTION, "6.2.0", connection::reset, "Makes the connection as new"),
    row("save", 1, OPERATOR | NO_MULTI, NONE, SERVER, "1.0.0", server::save, "Takes a snapshot and waits for it"),
    row("scan", -2, READONLY, NONE, GENERIC, "2.8.0", keys::scan_step, "Iterates over all keys"),
    row("select", 2, ANYTIME | FAST, NONE, CONNECTION, "1.0.0", connection::select, "Selects the database"),
    row("set", -3, GROWS, ONE, STRING, "1.0.0", strings::set, "Sets a key"),
    row("setex", 4, GROWS, ONE, STRING, "2.0.0", strings::setex, "Sets a key and its time to live in seconds"),
    row("setnx", 3, GROWS | FAST, ONE, STRING, "1.0.0", strings::setnx, "Sets a key that does not exist yet"),
    row("setrange", 4, GROWS, ONE, STRING, "2.2.0", strings::setrange, "Overwrites a part of a value"),
    row("shutdown", -1, OPERATOR | ANYTIME | NO_MULTI, NONE, SERVER, "1.0.0", server::shutdown, "Stops the server"),
    row("slowlog", -2, 0, NONE, SERVER, "2.2.12", catalog::container, "A container for slow log commands").with(SLOWLOG),
    row("strlen", 2, READS, ONE, STRING, "2.2.0", strings::strlen, "Returns the length of a value"),
    row("substr", 4, READONLY, ONE, STRING, "1.0.0", strings::getrange, "Returns a part of a value"),
    row("time", 1, ANYTIME | FAST, NONE, SERVER, "2.6.0", server::time, "Returns the server's time"),
    row("touch", -2, READS, ALL, GENERIC, "3.2.1", keys::exists, "Counts the named keys that exist"),
    row("ttl", 2, READS, ONE, GENERIC, "1.0.0", expiry::ttl, "Returns a key's time to live in seconds"),
    row("type", 2, READS, ONE, GENERIC, "1.0.0", keys::type_of, "Returns the type of a value"),
    row("unlink", -2, CHANGES, ALL, GENERIC, "4.0.0", keys::del, "Deletes keys"),
    row("unwatch", 1, SESSION | FAST, NONE, TRANSACTIONS, "2.2.0", transaction::unwatch, "Forgets about watched keys"),
    row("waitaof", 4, NO_MULTI, NONE, GENERIC, "7.2.0", server::waitaof, "Waits until earlier writes are synced"),
    row("watch", -2, SESSION | FAST | IMMEDIATE, ALL, TRANSACTIONS, "2.2.0", transaction::watch, "Makes EXEC depend on keys not being changed"),
];

#[rustfmt::skip]
static CLIENT: &[Row] = &[
    row("client|getname", 2, SESSION, NONE, CONNECTION, "2.6.9", client::getname, "Returns the connection's name"),
    row("client|help", 2, ANYTIME, NONE, CONNECTION, "5.0.0", catalog::help_of, "Lists the subcommands"),
    row("client|id", 2, SESSION, NONE, CONNECTION, "5.0.0", client::id, "Returns the connection's number"),
    row("client|info", 2, SESSION, NONE, CONNECTION, "6.2.0", client::info, "Describes the connection"),
    row("client|kill", -3, SESSION | ADMIN | NO_MULTI, NONE, CONNECTION, "2.4.0", client::kill_some, "Ends connections"),
    row("client|list", -2, SESSION | ADMIN, NONE, CONNECTION, "2.4.0", client::list, "Describes all connections"),
    row("client|no-evict", 3, SESSION | ADMIN, NONE, CONNECTION, "7.0.0", client::no_evict, "Accepted: connections are never evicted"),
    row("client|no-touch", 3, SESSION, NONE, CONNECTION, "7.2.0", client::no_touch, "Accepted: reads never change what is kept"),
    row("client|reply", 3, SESSION | NO_MULTI, NONE, CONNECTION, "3.2.0", client::reply, "Tells the server whether to reply"),
    row("client|setinfo", 4, SESSION, NONE, CONNECTION, "7.2.0", client::setinfo, "Names the client's library"),
    row("client|setname", 3, SESSION, NONE, CONNECTION, "2.6.9", client::setname, "Names the connection"),
];

#[rustfmt::skip]
static COMMAND: &[Row] = &[
    row("command|count", 2, ANYTIME, NONE, SERVER, "2.8.13", catalog::count, "Counts the commands"),
    row("command|docs", -2, ANYTIME, NONE, SERVER, "7.0.0", catalog::docs, "Explains commands"),
    row("command|getkeys", -4, ANYTIME, NONE, SERVER, "2.8.13", catalog::getkeys, "Finds the keys in a command line"),
    row("command|help", 2, ANYTIME, NONE, SERVER, "5.0.0", catalog::help_of, "Lists the subcommands"),
    row("command|info", -2, ANYTIME, NONE, SERVER, "2.8.13", catalog::info, "Describes commands"),
    row("command|list", -2, ANYTIME, NONE, SERVER, "7.0.0", catalog::list, "Lists the commands' names"),
];

#[rustfmt::skip]
static CONFIG: &[Row] = &[
    row("config|get", -3, OPERATOR | ANYTIME, NONE, SERVER, "2.0.0", settings::get, "Returns settings that match"),
    row("config|help", 2, ANYTIME, NONE, SERVER, "5.0.0", catalog::help_of, "Lists the subcommands"),
    row("config|resetstat", 2, OPERATOR | ANYTIME, NONE, SERVER, "2.0.0", settings::resetstat, "Begins to count anew"),
    row("config|rewrite", 2, OPERATOR | ANYTIME, NONE, SERVER, "2.8.0", settings::rewrite, "Refused: the configuration is not one file"),
    row("config|set", -4, OPERATOR | ANYTIME | NO_MULTI, NONE, SERVER, "2.0.0", settings::set, "Changes settings until the server ends"),
];

#[rustfmt::skip]
static LATENCY: &[Row] = &[
    row("latency|doctor", 2, OPERATOR | ANYTIME, NONE, SERVER, "2.8.13", slowlog::doctor, "Says where latencies are told"),
    row("latency|graph", 3, OPERATOR | ANYTIME, NONE, SERVER, "2.8.13", slowlog::graph, "Refused: no event is watched"),
    row("latency|help", 2, ANYTIME, NONE, SERVER, "2.8.13", catalog::help_of, "Lists the subcommands"),
    row("latency|history", 3, OPERATOR | ANYTIME, NONE, SERVER, "2.8.13", slowlog::no_latency, "Empty: no event is watched"),
    row("latency|latest", 2, OPERATOR | ANYTIME, NONE, SERVER, "2.8.13", slowlog::no_latency, "Empty: no event is watched"),
    row("latency|reset", -2, OPERATOR | ANYTIME, NONE, SERVER, "2.8.13", slowlog::reset_latency, "Nothing: no event is watched"),
];

#[rustfmt::skip]
static MEMORY: &[Row] = &[
    row("memory|help", 2, ANYTIME, NONE, SERVER, "4.0.0", catalog::help_of, "Lists the subcommands"),
    row("memory|usage", -3, READONLY, keys_at(2, 2, 1), SERVER, "4.0.0", object::memory_usage, "Estimates the memory of a key with its value"),
];

#[rustfmt::skip]
static OBJECT: &[Row] = &[
    row("object|encoding", 3, READONLY, keys_at(2, 2, 1), GENERIC, "2.2.3", object::encoding_of, "Returns the kind of a value, by its content"),
    row("object|freq", 3, READONLY, keys_at(2, 2, 1), GENERIC, "4.0.0", object::freq, "Refused: reads are not counted"),
    row("object|help", 2, ANYTIME, NONE, GENERIC, "6.2.0", catalog::help_of, "Lists the subcommands"),
    row("object|idletime", 3, READONLY, keys_at(2, 2, 1), GENERIC, "2.2.3", object::idletime, "Refused: reads are not noted"),
    row("object|refcount", 3, READONLY, keys_at(2, 2, 1), GENERIC, "2.2.3", object::refcount, "Returns 1: values are not shared"),
];

#[rustfmt::skip]
static SLOWLOG: &[Row] = &[
    row("slowlog|get", -2, OPERATOR | ANYTIME, NONE, SERVER, "2.2.12", slowlog::get, "Returns the newest slow commands"),
    row("slowlog|help", 2, ANYTIME, NONE, SERVER, "6.2.0", catalog::help_of, "Lists the subcommands"),
    row("slowlog|len", 2, OPERATOR | ANYTIME, NONE, SERVER, "2.2.12", slowlog::len, "Counts the listed slow commands"),
    row("slowlog|reset", 2, OPERATOR | ANYTIME, NONE, SERVER, "2.2.12", slowlog::reset, "Empties the list of slow commands"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_unique() {
        for rows in [TABLE, CLIENT, COMMAND, CONFIG, LATENCY, MEMORY, OBJECT, SLOWLOG] {
            assert!(rows.is_sorted_by(|a, b| a.name < b.name));
        }
    }

    #[test]
    fn every_row_is_found_by_its_name() {
        for row in TABLE {
            let words = vec![row.name.as_bytes(); row.arity.unsigned_abs() as usize];
            if row.subcommands.is_empty() {
                assert_eq!(Row::find(&words).map(|found| found.name), Ok(row.name));
            }
            for sub in row.subcommands {
                let (container, name) = sub.name.split_once('|').expect("a container's subcommand");
                assert_eq!(container, row.name);
                let mut words = vec![name.as_bytes(); sub.arity.unsigned_abs() as usize];
                words[0] = container.as_bytes();
                assert_eq!(Row::find(&words).map(|found| found.name), Ok(sub.name));
            }
        }
    }

    #[test]
    fn writes_name_the_keys_they_change() {
        for row in TABLE.iter().filter(|row| row.has(WRITE) && !row.name.starts_with("flush")) {
            assert_ne!(row.keys, NONE, "{}", row.name);
        }
    }

    #[test]
    fn keys_are_found_among_the_words() {
        let keys = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let row = Row::find(&words).expect("a command");
            row.keys_of(&words)
                .map(|key| String::from_utf8_lossy(key).into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(keys("MSET a 1 b 2"), "a b");
        assert_eq!(keys("del a b c"), "a b c");
        assert_eq!(keys("Rename a b"), "a b");
        assert_eq!(keys("set a b EX 10"), "a");
        assert_eq!(keys("ping"), "");
    }

    #[test]
    fn unknown_names_are_repeated_to_a_limit() {
        let long = vec![b'x'; 300];
        let refusal = Row::find(&[b"nosuch", b"a", &long, b"never shown"]).unwrap_err().to_string();
        let expected = format!(
            "ERR unknown command 'nosuch', with args beginning with: 'a' '{}' ",
            "x".repeat(LONGEST_SHOWN - 4)
        );
        assert_eq!(refusal, expected);
        let refusal = Row::find(&[b"CONFIG", b"SOT", b"a", b"b"]).unwrap_err().to_string();
        assert_eq!(refusal, "ERR unknown subcommand 'SOT'. Try CONFIG HELP.");
    }
}
