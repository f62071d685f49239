//! The same commands to Redis and to us: the replies must be the same, byte for byte.
//!
//! `redis-server` must be on PATH (Debian: package `redis-server`). `SEED=n` replays one sequence.

mod support;

use core::net::SocketAddr;
use core::time::Duration;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use std_server::command::rows;
use std_server::resp::ListenerLimits;
use support::{Client, Server, play};

#[test]
fn transcripts_are_what_redis_says() {
    let redis = Redis::start();
    for name in ["strings", "numbers", "keys", "expiry", "transactions", "connection", "resp3"] {
        play(name, redis.address);
    }
}

#[test]
fn generated_commands_are_answered_alike() {
    let redis = Redis::start();
    let server = Server::start(ListenerLimits::default());
    let first_seed = std::env::var("SEED").ok().map(|text| text.parse().expect("SEED is a number"));
    let seeds = first_seed.map_or(1..=SEQUENCES, |seed| seed..=seed);
    for seed in seeds {
        let mut clients = [redis.address, server.address].map(Client::connect);
        let mut random = Random { state: seed, queueing: false };
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("FLUSHALL"), "+OK\\r\\n"));
        for step in 0..STEPS {
            let words = random.command();
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let [expected, found] =
                clients.each_mut().map(|client| comparable(&words, &client.ask_words(&words)));
            let shown: Vec<_> = words.iter().map(|word| word.escape_ascii().to_string()).collect();
            assert_eq!(found, expected, "SEED={seed} step {step}: {}", shown.join(" "));
        }
    }
}

#[test]
fn the_table_has_the_shapes_of_redis() {
    let redis = Redis::start();
    let server = Server::start(ListenerLimits::default());
    let mut clients = [redis.address, server.address].map(Client::connect);
    let subcommands = rows().iter().flat_map(|row| row.subcommands);
    for row in rows().iter().chain(subcommands).filter(|row| row.since <= "7.0.0") {
        let [expected, found] =
            clients.each_mut().map(|client| Shape::of(&client.ask(&format!("COMMAND INFO {}", row.name))));
        assert_eq!(found, expected, "{}", row.name);
    }
}

/// What clients go by: arity, the flags that say what a command does, and the places of its keys.
#[derive(Debug, PartialEq)]
struct Shape {
    arity: String,
    flags: Vec<String>,
    keys: Vec<String>,
}

impl Shape {
    fn of(reply: &str) -> Self {
        let lines: Vec<&str> = reply.split("\\r\\n").collect();
        let flag_count: usize = lines[5][1..].parse().expect("a set of flags");
        let (flags, rest) = lines[6..].split_at(flag_count);
        let compared = ["+write", "+readonly", "+denyoom", "+fast", "+loading", "+stale", "+admin"];
        let mut flags: Vec<_> =
            flags.iter().filter(|flag| compared.contains(flag)).map(ToString::to_string).collect();
        flags.sort();
        Self { arity: lines[4].to_owned(), flags, keys: rest[..3].iter().map(ToString::to_string).collect() }
    }
}

/// Replies whose order or exact moment is free are compared by what is fixed in them.
fn comparable(words: &[&[u8]], reply: &str) -> String {
    match words[0].to_ascii_uppercase().as_slice() {
        b"KEYS" => {
            let mut lines: Vec<&str> = reply.split("\\r\\n").collect();
            lines.sort_unstable();
            lines.join(" ")
        }
        b"PTTL" | b"TTL" if reply.len() > ":-2\\r\\n".len() => ":some".to_owned(),
        _ => reply.to_owned(),
    }
}

/// A seeded source of commands (SplitMix64).
struct Random {
    state: u64,
    /// Between MULTI and EXEC only commands with exact replies are sent.
    queueing: bool,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.next() % choices.len() as u64).expect("small")]
    }

    /// A command line from one of the templates, its placeholders filled in.
    fn command(&mut self) -> Vec<Vec<u8>> {
        let template = match self.pick(TEMPLATES) {
            "KEYS P" | "TTL K" | "PTTL K" if self.queueing => "PING",
            template => template,
        };
        match template {
            "MULTI" => self.queueing = true,
            "EXEC" | "DISCARD" => self.queueing = false,
            _ => {}
        }
        template.split(' ').filter_map(|word| self.fill(word)).collect()
    }

    fn fill(&mut self, word: &str) -> Option<Vec<u8>> {
        let filled = match word {
            "K" => self.pick(&["a", "b", "c", "d", "", "k\0\r\n"]),
            "V" => self.pick(&["v", "", "10", "-7", "1.5", "text\r\n\0", "9223372036854775807", "007"]),
            "N" => self.pick(&[
                "0",
                "1",
                "-1",
                "5",
                "100",
                "9223372036854775807",
                "-9223372036854775808",
                "x",
                "1.0",
            ]),
            "O" => self.pick(&["0", "1", "2", "7", "-1", "-3", "20", "x"]),
            "F" => self.pick(&["0.5", "-1.25", "3", "1e2", "x", "0"]),
            "S" => self.pick(&["1000", "5000", "100000", "0", "-5", "x", "9223372036854775807"]),
            "C" => self.pick(&["NX", "XX", "GT", "LT", "nx", "foo"]),
            "P" => self.pick(&["*", "a*", "?", "[a-c]", "[^a]", "*\r*", "\\a"]),
            "OPT" => return self.option(),
            literal => literal,
        };
        Some(filled.as_bytes().to_vec())
    }

    /// Sometimes an option of SET, sometimes nothing.
    fn option(&mut self) -> Option<Vec<u8>> {
        let word = self.pick(&["", "", "", "NX", "XX", "GET", "KEEPTTL", "get", "EX", "100"]);
        (!word.is_empty()).then(|| word.as_bytes().to_vec())
    }
}

const TEMPLATES: &[&str] = &[
    "SET K V",
    "SET K V",
    "SET K V OPT OPT",
    "SET K V EX S OPT",
    "SET K V PX S OPT",
    "SET K V PXAT 4102444800000",
    "GET K",
    "GET K",
    "GETDEL K",
    "GETSET K V",
    "SETNX K V",
    "SETEX K S V",
    "PSETEX K 5000000 V",
    "GETEX K PERSIST",
    "STRLEN K",
    "APPEND K V",
    "SETRANGE K O V",
    "GETRANGE K O O",
    "MGET K K K",
    "MSET K V K V",
    "MSET K V K",
    "MSETNX K V K V",
    "INCR K",
    "DECR K",
    "INCRBY K N",
    "DECRBY K N",
    "INCRBYFLOAT fraction F",
    "DEL K K",
    "UNLINK K",
    "EXISTS K K",
    "TOUCH K",
    "TYPE K",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K",
    "COPY K K REPLACE",
    "KEYS P",
    "DBSIZE",
    "FLUSHALL",
    "SET fraction F",
    "EXPIRE K S",
    "EXPIRE K S C",
    "EXPIRE K S C C",
    "PEXPIRE K 7000000 C",
    "PEXPIREAT K 4102444800000",
    "EXPIREAT K S",
    "TTL K",
    "TTL K",
    "PTTL K",
    "PEXPIRETIME nosuch",
    "PERSIST K",
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "PING",
    "PING V",
    "ECHO V",
    "GET",
    "NOSUCH a b",
    "SET K",
];

const SEQUENCES: u64 = 8;
const STEPS: u64 = 1500;

/// A Redis server that keeps nothing, ended with this value.
struct Redis {
    process: Child,
    address: SocketAddr,
}

impl Redis {
    fn start() -> Self {
        // Redis can't choose a free port by itself: the port is found first, and another one tried if it is lost.
        (0..10).find_map(|_| Self::try_start()).expect("redis-server starts")
    }

    fn try_start() -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?;
        let port = address.port().to_string();
        let arguments = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"];
        let process = Command::new("redis-server").args(arguments).stdout(Stdio::null()).spawn();
        let process =
            process.expect("this test needs redis-server on PATH (Debian: apt-get install redis-server)");
        let mut redis = Self { process, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && redis.process.try_wait().ok()?.is_none() {
            if std::net::TcpStream::connect(address).is_ok() {
                return Some(redis);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "redis-server ends");
    }
}
