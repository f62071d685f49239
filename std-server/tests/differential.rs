//! The same commands to Redis and to us: the replies must be the same, byte for byte.
//!
//! `redis-server` must be on PATH (Debian: package `redis-server`). What is free in a reply is listed in `replies.rs`, what
//! is not sent in `generator.rs`; everything else is the same, and still there after `kill -9`.

#[path = "differential/generator.rs"]
mod generator;
#[allow(dead_code, reason = "every test binary uses its own part")]
#[path = "server/process.rs"]
mod process;
#[path = "differential/replies.rs"]
mod replies;
mod support;

use core::net::SocketAddr;
use core::time::Duration;
use generator::{Random, is_for_the_connection};
use replies::{Tree, agree};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use std_server::command::rows;
use std_server::resp::ListenerLimits;
use support::{Client, Server, encode, play};

#[test]
fn transcripts_are_what_redis_says() {
    let redis = Redis::start();
    for name in ["strings", "numbers", "keys", "expiry", "transactions", "connection", "resp3"] {
        play(name, redis.address);
    }
}

/// `COMMANDS=100000` runs so many, `SEED=n` begins with that sequence.
#[test]
fn generated_commands_are_answered_alike_and_outlive_a_kill() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, wanted) = (number("SEED").unwrap_or(1), number("COMMANDS").unwrap_or(6_000));
    let directory = tempfile::tempdir().expect("a directory");
    let redis = Redis::start();
    let mut server = start(directory.path());
    let (mut done, mut seed) = (0, first);
    while done < wanted {
        println!("SEED={seed}: {done} of {wanted} commands were answered alike");
        let addresses = [server.resp.expect("RESP is on"), redis.address];
        let steps = (wanted - done).min(STEPS);
        Sequence::new(seed, addresses).run(steps);
        server.kill();
        server = start(directory.path());
        same_state(seed, [server.resp.expect("RESP is on"), redis.address]);
        (done, seed) = (done + steps, seed + 1);
    }
}

fn start(directory: &std::path::Path) -> process::Server {
    let mut command = process::server(directory);
    // Values of all sizes that are generated.
    command.env("STRANDLINE_KV_STORE__MAX_VALUE_SIZE_BYTES", "8MB").env("STRANDLINE_WAL__MAX_SIZE_MB", "32");
    process::Server::from(command)
}

/// Two clients, each connected to us and to Redis.
struct Sequence {
    seed: u64,
    random: Random,
    clients: [Pair; 2],
}

/// One client's connections, ours first.
struct Pair {
    connections: [Client; 2],
    /// The commands since MULTI.
    queued: Option<Vec<Vec<Vec<u8>>>>,
}

impl Sequence {
    fn new(seed: u64, addresses: [SocketAddr; 2]) -> Self {
        let pair = || Pair { connections: addresses.map(Client::connect), queued: None };
        let mut sequence = Self { seed, random: Random(seed), clients: [pair(), pair()] };
        sequence.pipeline(0, vec![vec![b"FLUSHALL".to_vec()]]);
        sequence
    }

    fn run(&mut self, steps: u64) {
        let mut left = steps;
        while left > 0 {
            let client = self.random.below(2);
            let count = if self.random.one_in(4) { 1 + self.random.below(24) } else { 1 };
            let mut may_queue = self.clients[client].queued.is_some();
            let batch = (0..count).map(|_| {
                let words = self.random.command();
                may_queue |= words[0].eq_ignore_ascii_case(b"MULTI");
                if may_queue && is_for_the_connection(&words) { vec![b"PING".to_vec()] } else { words }
            });
            let batch = batch.collect();
            left = left.saturating_sub(count as u64);
            self.pipeline(client, batch);
            if self.random.one_in(600) {
                self.expire(client);
            }
            if self.random.one_in(200) {
                self.iterate(client);
            }
        }
    }

    /// Sends commands at once and compares the replies one by one.
    fn pipeline(&mut self, client: usize, batch: Vec<Vec<Vec<u8>>>) {
        let Pair { connections, queued } = &mut self.clients[client];
        let bytes: Vec<u8> = batch
            .iter()
            .flat_map(|words| encode(&words.iter().map(Vec::as_slice).collect::<Vec<_>>()))
            .collect();
        connections.iter_mut().for_each(|connection| connection.send(&bytes));
        for words in batch {
            let [ours, theirs] = connections.each_mut().map(|connection| {
                let reply = connection.receive();
                Tree::read(&mut &reply[..])
            });
            let name = words[0].to_ascii_uppercase();
            let executed = if name == b"EXEC" { queued.take().unwrap_or_default() } else { Vec::new() };
            let shown: Vec<_> = words.iter().map(|word| word.escape_ascii().to_string()).collect();
            assert!(
                agree(&words, &executed, [&ours, &theirs]),
                "SEED={}: {}\n  ours  {ours:?}\n  Redis {theirs:?}\n  in a transaction: {executed:?}",
                self.seed,
                shown.join(" ")
            );
            match name.as_slice() {
                b"MULTI" if !ours.is_error() => *queued = Some(Vec::new()),
                b"DISCARD" | b"RESET" if !ours.is_error() => *queued = None,
                _ if ours.is(b'+', b"QUEUED") => queued.get_or_insert_default().push(words),
                _ => {}
            }
        }
    }

    /// Lets a key expire, watched by the other client half of the time.
    fn expire(&mut self, client: usize) {
        let line = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let lines = |lines: &[&str]| lines.iter().map(|text| line(text)).collect::<Vec<_>>();
        self.pipeline(client, lines(&["DISCARD", "UNWATCH", "SET a short PX 60", "WATCH a", "GET a"]));
        std::thread::sleep(Duration::from_millis(400));
        self.pipeline(
            client,
            lines(&["MULTI", "GET a", "EXEC", "GET a", "TTL a", "EXISTS a", "DBSIZE", "SETNX a again"]),
        );
        if self.random.one_in(2) {
            self.pipeline(client, lines(&["SET b short PX 60", "SET c short PX 60", "DBSIZE"]));
            std::thread::sleep(Duration::from_millis(400));
            self.pipeline(
                client,
                lines(&["WATCH b", "GET b", "APPEND c x", "INCR b", "MULTI", "GET b", "EXEC", "PERSIST b"]),
            );
        }
    }

    /// Every key is returned by a whole iteration.
    fn iterate(&mut self, client: usize) {
        let line = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        self.pipeline(client, vec![line("DISCARD")]);
        let count = ["1", "3", "100"][self.random.below(3)];
        let pattern = ["*", "a*", "[a-c]", "?"][self.random.below(4)];
        let kind = ["string", "hash"][usize::from(self.random.one_in(4))];
        let found = self.clients[client].connections.each_mut().map(|connection| {
            let (mut cursor, mut keys) = (b"0".to_vec(), BTreeSet::new());
            loop {
                let words = [
                    &b"SCAN"[..],
                    &cursor,
                    b"MATCH",
                    pattern.as_bytes(),
                    b"COUNT",
                    count.as_bytes(),
                    b"TYPE",
                    kind.as_bytes(),
                ];
                connection.send(&encode(&words));
                let reply = connection.receive();
                let tree = Tree::read(&mut &reply[..]);
                let [next, page] = tree.members() else { panic!("a cursor and keys: {tree:?}") };
                keys.extend(page.members().iter().map(|key| key.text().to_vec()));
                cursor = next.text().to_vec();
                if cursor == b"0" {
                    return keys;
                }
            }
        });
        assert_eq!(found[0], found[1], "SEED={}: SCAN MATCH {pattern} COUNT {count} TYPE {kind}", self.seed);
    }
}

/// The same keys with the same values, expiring at the same moments.
fn same_state(seed: u64, addresses: [SocketAddr; 2]) {
    let mut pair = Pair { connections: addresses.map(Client::connect), queued: None };
    let [ours, theirs] = pair.connections.each_mut().map(|connection| {
        connection.send(&encode(&[b"KEYS", b"*"]));
        let reply = connection.receive();
        let tree = Tree::read(&mut &reply[..]);
        tree.members().iter().map(|key| key.text().to_vec()).collect::<BTreeSet<_>>()
    });
    assert_eq!(ours, theirs, "SEED={seed}: keys after a kill");
    let mut sequence = Sequence {
        seed,
        random: Random(seed),
        clients: [pair, Pair { connections: addresses.map(Client::connect), queued: None }],
    };
    let questions = [&b"GET"[..], b"PEXPIRETIME", b"STRLEN"];
    let words = |key: &Vec<u8>| questions.map(|name| vec![name.to_vec(), key.clone()]);
    sequence.pipeline(0, ours.iter().flat_map(words).collect());
    // Expired keys count until they are removed, here as there.
    std::thread::sleep(Duration::from_millis(400));
    let counts = sequence.clients[0].connections.each_mut().map(|connection| connection.ask("DBSIZE"));
    assert_eq!(counts[0], counts[1], "SEED={seed}: DBSIZE after a kill");
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

const STEPS: u64 = 2000;

/// A Redis server that keeps nothing, ended with this value.
struct Redis {
    process: Child,
    address: SocketAddr,
    /// Where it saves what it is told to save.
    _place: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        // Redis can't choose a free port by itself: the port is found first, and another one tried if it is lost.
        (0..10).find_map(|_| Self::try_start()).expect("redis-server starts")
    }

    fn try_start() -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?;
        let port = address.port().to_string();
        let arguments =
            ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--databases", "1"];
        let place = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("redis-server");
        let process = command.args(arguments).current_dir(place.path()).stdout(Stdio::null()).spawn();
        let process =
            process.expect("this test needs redis-server on PATH (Debian: apt-get install redis-server)");
        let mut redis = Self { process, address, _place: place };
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
