//! A seeded source of command lines: every command of the table, with arguments that mostly make sense and often do not.

use std_server::command::{Row, rows};

/// A sequence of choices (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("small")
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// A command line.
    pub(crate) fn command(&mut self) -> Vec<Vec<u8>> {
        if self.one_in(8) {
            return self.odd();
        }
        let template: &str = self.pick(TEMPLATES);
        template.split(' ').filter_map(|word| self.fill(word)).collect()
    }

    /// Any command with any number of any words.
    fn odd(&mut self) -> Vec<Vec<u8>> {
        let all: Vec<&Row> =
            rows().iter().flat_map(|row| core::iter::once(row).chain(row.subcommands)).collect();
        let row = loop {
            let row: &Row = self.pick(&all);
            if !NOT_ODD.iter().any(|name| row.name == *name || row.name.starts_with(&format!("{name}|"))) {
                break row;
            }
        };
        let mut words: Vec<Vec<u8>> = row.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
        if self.one_in(3) {
            words.iter_mut().for_each(|word| word.make_ascii_uppercase());
        }
        for _ in 0..self.below(6) {
            let kind = self.pick(&["K", "V", "N", "O", "F", "S", "C", "P", "W"]);
            words.extend(self.fill(kind));
        }
        words
    }

    fn fill(&mut self, word: &str) -> Option<Vec<u8>> {
        let filled: &[u8] = match word {
            "K" => self.pick(KEYS),
            "V" => return Some(self.value()),
            "N" => self.pick(NUMBERS).as_bytes(),
            "O" => self.pick(OFFSETS).as_bytes(),
            "F" => self.pick(FRACTIONS).as_bytes(),
            "S" => self.pick(TIMES).as_bytes(),
            "M" => self.pick(MOMENTS).as_bytes(),
            "C" => self.pick(&["NX", "XX", "GT", "LT", "nx", "foo"]).as_bytes(),
            "P" => self.pick(PATTERNS).as_bytes(),
            "W" => self.pick(WORDS).as_bytes(),
            "OPT" => {
                let option =
                    self.pick(&["", "", "", "NX", "XX", "GET", "KEEPTTL", "get", "EX", "100", "PERSIST"]);
                return (!option.is_empty()).then(|| option.as_bytes().to_vec());
            }
            literal => literal.as_bytes(),
        };
        Some(filled.to_vec())
    }

    fn value(&mut self) -> Vec<u8> {
        match self.below(12) {
            0 => (0..=255).collect(),
            1 => b"x".repeat(self.below(200)),
            2 if self.one_in(4) => b"y".repeat(self.below(60_000)),
            3 => self.pick(NUMBERS).as_bytes().to_vec(),
            4 => self.pick(FRACTIONS).as_bytes().to_vec(),
            _ => self.pick(VALUES).as_bytes().to_vec(),
        }
    }
}

/// Commands that are refused between MULTI and EXEC on purpose: what they change is not the keyspace.
pub(crate) fn is_for_the_connection(words: &[Vec<u8>]) -> bool {
    let is = |place: usize, name: &str| {
        words.get(place).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    is(0, "HELLO") || is(0, "AUTH") || is(0, "CLIENT") && is(1, "KILL") || is(0, "CONFIG") && is(1, "SET")
}

const KEYS: &[&[u8]] = &[b"a", b"b", b"c", b"d", b"e", b"", b"k\0\r\n", b"\xFF\x00\x80", b"fraction"];
const VALUES: &[&str] =
    &["v", "", "10", "-7", "1.5", "text\r\n\0", "9223372036854775807", "007", "ohmytext", "mynewtext"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "5",
    "100",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "x",
    "1.0",
    "",
    " 1",
    "+1",
    "01",
    "-0",
    "99999999999999999999999",
];
const OFFSETS: &[&str] = &[
    "0",
    "1",
    "2",
    "7",
    "-1",
    "-3",
    "20",
    "x",
    "300",
    "-9223372036854775808",
    "9223372036854775807",
    "70000",
];
const FRACTIONS: &[&str] = &[
    "0.5",
    "-1.25",
    "3",
    "1e2",
    "x",
    "0",
    "0.1",
    "0.3",
    "1e18",
    "-1e-7",
    "1e4931",
    "inf",
    "nan",
    "0x1p4",
    "1e-5000",
    "1.",
    ".5",
    "3.14159265358979323846",
    "5000",
    "-0.0",
    "1e400",
    "123456789.987654321",
];
/// None ends while a sequence runs, whatever it is counted in.
const TIMES: &[&str] = &[
    "200000",
    "500000",
    "100000000",
    "0",
    "-5",
    "x",
    "9223372036854775807",
    "9223372036854775",
    "-9223372036854775808",
    "1e3",
    "",
];
const MOMENTS: &[&str] =
    &["4102444800", "4102444800000", "1", "0", "-1", "x", "9223372036854775807", "8000000000"];
const PATTERNS: &[&str] =
    &["*", "a*", "?", "[a-c]", "[^a]", "*\r*", "\\a", "", "[", "[a-", "**a", "[]a]", "a\\"];
const WORDS: &[&str] = &[
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "NX",
    "XX",
    "GET",
    "KEEPTTL",
    "PERSIST",
    "REPLACE",
    "DB",
    "MATCH",
    "COUNT",
    "TYPE",
    "string",
    "hash",
    "LEN",
    "IDX",
    "MINMATCHLEN",
    "WITHMATCHLEN",
    "ASYNC",
    "SYNC",
    "SAMPLES",
    "GT",
    "LT",
    "ID",
    "10",
    "foo",
    "ON",
];

/// Not sent with any words: they end, block or change more than keys, or answer differently on purpose.
const NOT_ODD: &[&str] = &[
    "shutdown",
    "quit",
    "save",
    "bgsave",
    "waitaof",
    "reset",
    "auth",
    "hello",
    "client",
    "config",
    "slowlog",
    "latency",
    "info",
    "command",
    "lastsave",
    "memory",
    "object|help",
    "object|idletime",
];

const TEMPLATES: &[&str] = &[
    "SET K V",
    "SET K V",
    "SET K V",
    "SET K V OPT OPT",
    "SET K V EX S OPT",
    "SET K V PX S OPT",
    "SET K V EXAT M OPT",
    "SET K V PXAT M",
    "SET K V PXAT 4102444800000",
    "GET K",
    "GET K",
    "GET K",
    "GETDEL K",
    "GETSET K V",
    "SETNX K V",
    "SETEX K S V",
    "PSETEX K 5000000 V",
    "PSETEX K S V",
    "GETEX K",
    "GETEX K PERSIST",
    "GETEX K EX S",
    "GETEX K PX S OPT",
    "GETEX K EXAT M",
    "GETEX K PXAT M",
    "STRLEN K",
    "APPEND K V",
    "SETRANGE K O V",
    "GETRANGE K O O",
    "SUBSTR K O O",
    "MGET K K K",
    "MSET K V K V",
    "MSET K V K",
    "MSETNX K V K V",
    "INCR K",
    "DECR K",
    "INCRBY K N",
    "DECRBY K N",
    "INCRBYFLOAT fraction F",
    "INCRBYFLOAT fraction F",
    "INCRBYFLOAT K F",
    "SET fraction F",
    "SET fraction N",
    "LCS K K",
    "LCS K K LEN",
    "LCS K K IDX",
    "LCS K K IDX WITHMATCHLEN",
    "LCS K K IDX MINMATCHLEN N",
    "DEL K K",
    "UNLINK K",
    "EXISTS K K",
    "TOUCH K K",
    "TYPE K",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K",
    "COPY K K REPLACE",
    "COPY K K DB N",
    "KEYS P",
    "DBSIZE",
    "RANDOMKEY",
    "FLUSHALL",
    "FLUSHDB ASYNC",
    "EXPIRE K S",
    "EXPIRE K S C",
    "EXPIRE K S C C",
    "PEXPIRE K 7000000 C",
    "PEXPIRE K S",
    "PEXPIREAT K 4102444800000",
    "PEXPIREAT K M C",
    "EXPIREAT K M",
    "EXPIREAT K M C",
    "TTL K",
    "TTL K",
    "PTTL K",
    "EXPIRETIME K",
    "PEXPIRETIME K",
    "PERSIST K",
    "OBJECT ENCODING K",
    "OBJECT REFCOUNT K",
    "OBJECT FREQ K",
    "MEMORY USAGE K",
    "SCAN 0 W V",
    "SCAN N",
    "SCAN 0 COUNT N",
    "SCAN 0 MATCH P",
    "MULTI",
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH K",
    "WATCH K K",
    "WATCH K",
    "UNWATCH",
    "PING",
    "PING V",
    "ECHO V",
    "SELECT N",
    "SELECT 0",
    "GET",
    "NOSUCH a V",
    "SET K",
    "RESET",
    "HELLO 3",
    "HELLO 2",
    "HELLO N",
    "HELLO 3 W",
    "CLIENT SETNAME V",
    "CLIENT GETNAME",
    "CLIENT SETNAME me",
    "CLIENT NO-EVICT W",
    "CLIENT W",
    "CLIENT LIST W",
    "CLIENT KILL ID x",
    "CLIENT KILL TYPE W",
    "CLIENT KILL W N",
    "AUTH V",
    "AUTH default V",
    "AUTH V V",
    "COMMAND GETKEYS SET K V",
    "COMMAND GETKEYS NOSUCH K",
    "COMMAND GETKEYS MSET K V K V",
    "COMMAND COUNT W",
    "CONFIG GET nosuch",
    "CONFIG W V",
    "CONFIG SET nosuch V",
    "CONFIG SET maxmemory x",
    "CONFIG SET maxmemory 0",
    "CONFIG RESETSTAT",
    "SLOWLOG GET S",
    "SLOWLOG W",
    "SLOWLOG RESET",
    "LATENCY LATEST",
    "LATENCY RESET",
    "LATENCY HISTORY V",
    "LATENCY W",
    "MEMORY USAGE K SAMPLES N",
    "TIME",
    "LASTSAVE",
];
