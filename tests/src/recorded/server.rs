//! A server under `strace` with clients that write to it, and the oracle of what they were told.
//!
//! ```text
//!   clients ─► server under strace ─► Life ─► cut ─► whoever recovers it ─► Found ─┐
//!                                       └─► what was sent by then ─► Shown ◄───────┘ a prefix of each client's commands
//! ```
//!
//! Each client has keys of its own and sends one command after the other. What is recovered of its keys must be what they were
//! after one of its commands, and not an earlier one than it was promised. The same holds for batches of events.

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use super::{Life, Outside};
use crate::oracle::digest;
use crate::process::resp::{Client, Reply};
use crate::process::{PATIENCE, Setup, http};

/// A server to be recorded.
#[derive(Clone, Debug)]
pub struct World {
    /// Its binary.
    pub server: PathBuf,
    /// What an acknowledgement promises.
    pub mode: &'static str,
    /// Whether no segment goes that has no archive.
    pub conservative: bool,
}

/// What a recovery has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Keys and the digests of their values.
    keys: State,
    /// Batch and number of each event, in the order of the log.
    events: Vec<(u64, u64)>,
}

/// What clients did, and were promised.
#[derive(Clone, Debug)]
pub struct Shown {
    /// For each client: what its keys are after each of its commands.
    states: Vec<Vec<State>>,
    /// Whether an acknowledgement promises that power loss takes nothing.
    always: bool,
}

/// Keys and the digests of their values.
type State = BTreeMap<Vec<u8>, u64>;

/// What was promised by some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promised {
    /// Commands of each client that survive power loss.
    pub commands: [u64; CLIENTS],
    /// Batches of events.
    pub batches: u64,
}

impl World {
    /// How the server is started over `data`.
    #[must_use]
    pub fn setup(&self, data: &Path) -> Setup {
        Setup::new(&self.server, data)
            .mode(self.mode)
            .set("wal.max_size_mb", 1)
            .set("wal.conservative_mode", self.conservative)
            .set("archive.cpu_percent", 100)
            .set("persistence.snapshot.keep_count", 2)
    }

    /// Lets a server live twice over `data` and records its calls.
    ///
    /// # Errors
    /// It does not start, an answer is none, or there is no `strace`.
    pub fn record(&self, data: &Path) -> Result<(Life, Shown), String> {
        let trace = data.with_extension("trace");
        let mut traces = String::new();
        for life in 0..LIVES {
            let mut strace = vec!["strace", "-f", "-y", "-xx", "-s", "1048576", "-e", Life::CALLS, "-o"];
            let name = trace.to_string_lossy();
            strace.push(&name);
            let server = self.setup(data).under(strace).start().map_err(|ended| ended.to_string())?;
            for phase in life * PHASES..(life + 1) * PHASES {
                work(server.resp(), server.http(), phase, self.conservative)?;
            }
            // The tracer must see the end, so it gets no signal.
            drop(connect(server.resp())?.ask(&["SHUTDOWN"]));
            let ended = server.wait(PATIENCE);
            if ended.code() != Some(0) {
                return Err(ended.to_string());
            }
            traces += &std::fs::read_to_string(&trace).map_err(|error| error.to_string())?;
        }
        let states = (0..CLIENTS).map(|client| states(client, LIVES * PHASES * COMMANDS)).collect();
        Ok((Life::parse(&traces, data), Shown { states, always: self.mode == "always" }))
    }
}

impl Shown {
    /// Compares what was found with what was promised; answers with that.
    ///
    /// # Errors
    /// What is lost, half there, or was never written.
    pub fn check(&self, outside: &Outside, found: &Found) -> Result<Promised, String> {
        let promised = self.promised(outside)?;
        let mut known = 0;
        for (client, states) in self.states.iter().enumerate() {
            let mine = |key: &[u8]| key.starts_with(name(client, "").as_bytes());
            let keys: State = found
                .keys
                .iter()
                .filter(|(key, _)| mine(key))
                .map(|(key, value)| (key.clone(), *value))
                .collect();
            known += keys.len();
            let least = promised.commands[client];
            match states.iter().rposition(|state| *state == keys) {
                Some(commands) if commands as u64 >= least => {}
                Some(commands) => {
                    return Err(format!(
                        "client {client} was promised {least} commands, and finds {commands}"
                    ));
                }
                None => return Err(format!("the keys of client {client} were never so: {keys:x?}")),
            }
        }
        if known != found.keys.len() {
            return Err(format!("{} keys that nobody wrote", found.keys.len() - known));
        }
        let batches = whole_batches(&found.events)?;
        if batches < promised.batches {
            return Err(format!(
                "{} batches of events were promised, and {batches} are there",
                promised.batches
            ));
        }
        Ok(promised)
    }

    fn promised(&self, outside: &Outside) -> Result<Promised, String> {
        let mut promised = Promised::default();
        for bytes in outside.sent.values() {
            if bytes.starts_with(b"HTTP") {
                let stored = bytes.windows(STORED.len()).filter(|window| *window == STORED).count() as u64;
                promised.batches += if self.always { stored } else { 0 };
            } else if let Some((client, commands)) = self.acknowledged(bytes)? {
                let most = &mut promised.commands[client];
                *most = (*most).max(commands);
            }
        }
        Ok(promised)
    }

    /// The client of a connection, and how many of its commands survive power loss.
    fn acknowledged(&self, mut sent: &[u8]) -> Result<Option<(usize, u64)>, String> {
        let Ok(Reply::Bulk(introduction)) = Reply::read(&mut sent) else { return Ok(None) };
        let text = String::from_utf8_lossy(&introduction).into_owned();
        let words: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [client, first] = words[..] else { return Ok(None) };
        let (mut acknowledged, mut durable) = (first, 0);
        while let Ok(reply) = Reply::read(&mut sent) {
            match reply {
                Reply::Error(error) => return Err(format!("client {client} was refused: {error}")),
                // WAITAOF: everything before it is synced.
                Reply::Array(_) => durable = acknowledged,
                _ => acknowledged += 1,
            }
        }
        let client = usize::try_from(client).map_err(|error| error.to_string())?;
        Ok(Some((client, if self.always { acknowledged } else { durable })))
    }
}

impl Found {
    /// Asks a server for everything.
    ///
    /// # Errors
    /// It does not answer.
    pub fn ask(resp: SocketAddr, http: SocketAddr) -> Result<Self, String> {
        let mut client = connect(resp)?;
        let mut ask = |words: &[&[u8]]| client.ask(words).map_err(|error| error.to_string());
        let Reply::Array(keys) = ask(&[b"KEYS", b"*"])? else { return Err("KEYS is no list".to_owned()) };
        let mut found = Self::default();
        let keys: Vec<&[u8]> = keys.iter().filter_map(Reply::bytes).collect();
        if !keys.is_empty() {
            let words = [&[&b"MGET"[..]], &keys[..]].concat();
            let Reply::Array(values) = ask(&words)? else { return Err("MGET is no list".to_owned()) };
            let digests = values.iter().map(|value| digest(value.bytes().unwrap_or_default()));
            found.keys.extend(keys.iter().map(|key| key.to_vec()).zip(digests));
        }
        let whole = http::each_line(http, "/events", |line| {
            let number = |name| http::field(line, name);
            if let (Some(batch), Some(number)) = (number("\"batch\":"), number("\"number\":")) {
                found.events.push((batch, number));
            }
            Ok(())
        })?;
        if whole { Ok(found) } else { Err("the events were broken off".to_owned()) }
    }
}

/// One phase: all clients, a writer of events, a snapshot and an archive at once.
fn work(resp: SocketAddr, http: SocketAddr, phase: u64, archives: bool) -> Result<(), String> {
    thread::scope(|scope| {
        let mut working: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || write(resp, client, phase * COMMANDS..(phase + 1) * COMMANDS)))
            .collect();
        working.push(scope.spawn(move || store(http, phase)));
        working.push(scope.spawn(move || operate(resp, http, archives)));
        working
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a client panicked".to_owned())?)
    })
}

fn write(resp: SocketAddr, client: usize, numbers: core::ops::Range<u64>) -> Result<(), String> {
    let mut connection = connect(resp)?;
    let introduction = format!("client {client} {}", numbers.start);
    let mut ask = |words: &[Vec<u8>]| match connection.ask(words) {
        Ok(reply) if reply.is_ok() => Ok(()),
        Ok(reply) => Err(reply.to_string()),
        Err(error) => Err(error.to_string()),
    };
    ask(&[b"ECHO".to_vec(), introduction.into_bytes()])?;
    for number in numbers {
        ask(&command(client, number))?;
    }
    ask(&["WAITAOF", "1", "0", "0"].map(|word| word.as_bytes().to_vec()))
}

/// Stores the batches of events of a phase, one after the other.
fn store(http: SocketAddr, phase: u64) -> Result<(), String> {
    let filler = "x".repeat(2000);
    for batch in phase * BATCHES..(phase + 1) * BATCHES {
        let line = |number| {
            format!(
                "{{\"event_type\":\"e\",\"context_id\":\"c\",\"payload\":{{\"batch\":{batch},\"number\":{number},\"filler\":\"{filler}\"}}}}\n"
            )
        };
        let body: String = (0..events_of(batch)).map(line).collect();
        request(http, "/events", &body)?;
    }
    Ok(())
}

fn operate(resp: SocketAddr, http: SocketAddr, archives: bool) -> Result<(), String> {
    connect(resp)?.ask(&["SAVE"]).map_err(|error| error.to_string())?;
    if archives {
        request(http, "/archives/now", "")?;
    }
    request(http, "/snapshot", "")
}

fn request(http: SocketAddr, path: &str, body: &str) -> Result<(), String> {
    match http::request(http, "POST", path, body) {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("{path}: {answer:?}")),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

fn connect(resp: SocketAddr) -> Result<Client, String> {
    Client::connect(resp).map_err(|error| error.to_string())
}

fn name(client: usize, rest: &str) -> String {
    format!("c{client}:{rest}")
}

/// The command with this number, counted from 0.
fn command(client: usize, number: u64) -> Vec<Vec<u8>> {
    let key = |rest: &str| name(client, rest).into_bytes();
    let slot = || key(&format!("k{}", number % 5));
    let text = || format!("{number} ").into_bytes();
    match number % 8 {
        1 => vec![b"INCR".to_vec(), key("count")],
        2 => vec![b"APPEND".to_vec(), key("text"), text()],
        4 => vec![b"MSET".to_vec(), key("a"), text(), key("b"), text()],
        5 => vec![b"DEL".to_vec(), slot()],
        _ => vec![b"SET".to_vec(), slot(), text().repeat(10 + (number % 7) as usize * 2000)],
    }
}

/// What a client's keys are after each of its commands, and before the first.
fn states(client: usize, commands: u64) -> Vec<State> {
    let mut keys: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let digests = |keys: &BTreeMap<Vec<u8>, Vec<u8>>| {
        keys.iter().map(|(key, value)| (key.clone(), digest(value))).collect()
    };
    let mut states = vec![digests(&keys)];
    for number in 0..commands {
        match &command(client, number)[..] {
            [_, key] if number % 8 == 1 => {
                let count = keys.get(key).and_then(|count| String::from_utf8_lossy(count).parse().ok());
                keys.insert(key.clone(), (count.unwrap_or(0u64) + 1).to_string().into_bytes());
            }
            [_, key] => drop(keys.remove(key)),
            [_, key, more] if number % 8 == 2 => keys.entry(key.clone()).or_default().extend(more),
            [_, pairs @ ..] => {
                for pair in pairs.chunks(2) {
                    keys.insert(pair[0].clone(), pair[1].clone());
                }
            }
            [] => {}
        }
        states.push(digests(&keys));
    }
    states
}

const fn events_of(batch: u64) -> u64 {
    batch % 5 + 1
}

/// How many batches there are, if they are whole, in order and each once.
fn whole_batches(events: &[(u64, u64)]) -> Result<u64, String> {
    let written = (0..).flat_map(|batch| (0..events_of(batch)).map(move |number| (batch, number)));
    if let Some((found, written)) = events.iter().zip(written).find(|(found, written)| *found != written) {
        return Err(format!("event {written:?} was written there, and {found:?} is there"));
    }
    match events.last() {
        None => Ok(0),
        Some((batch, number)) if number + 1 == events_of(*batch) => Ok(batch + 1),
        Some(last) => Err(format!("a batch ends with {last:?}")),
    }
}

/// Clients at once.
const CLIENTS: usize = 3;
/// Starts of a recorded server.
const LIVES: u64 = 2;
/// In each of them.
const PHASES: u64 = 2;
/// Of each client in each phase.
const COMMANDS: u64 = 16;
/// Of events in each phase.
const BATCHES: u64 = 6;
/// What the answer to stored events holds, and no other.
const STORED: &[u8] = b"\"lsns\":[";

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(parts: &[&str]) -> Outside {
        let sent =
            parts.iter().zip(0..).map(|(bytes, number)| (format!("{number}"), bytes.as_bytes().to_vec()));
        Outside { said: Vec::new(), sent: sent.collect() }
    }

    fn shown(mode: &str) -> Shown {
        let states = (0..CLIENTS).map(|client| states(client, 8)).collect();
        Shown { states, always: mode == "always" }
    }

    fn after(commands: [usize; CLIENTS]) -> Found {
        let shown = shown("always");
        let keys =
            commands.iter().enumerate().flat_map(|(client, number)| shown.states[client][*number].clone());
        Found { keys: keys.collect(), events: Vec::new() }
    }

    #[test]
    fn what_was_sent_is_promised_as_the_mode_says() {
        let outside = sent(&[
            "$10\r\nclient 1 2\r\n+OK\r\n:1\r\n*2\r\n:1\r\n:0\r\n+OK\r\n+O",
            "HTTP/1.1 200 OK\r\n\r\n{\"lsns\":[1]}HTTP/1.1 200 OK\r\n\r\n{\"lsns\":[2]}",
            "+OK\r\n",
        ]);
        let promised = |mode| shown(mode).promised(&outside);
        assert_eq!(promised("always"), Ok(Promised { commands: [0, 5, 0], batches: 2 }));
        assert_eq!(promised("periodic"), Ok(Promised { commands: [0, 4, 0], batches: 0 }));
    }

    #[test]
    fn a_prefix_that_holds_what_was_promised_passes_and_nothing_else() {
        let outside = sent(&["$10\r\nclient 1 0\r\n+OK\r\n:1\r\n:2\r\n"]);
        let check = |found| shown("always").check(&outside, &found);
        assert!(check(after([0, 3, 8])).is_ok() && check(after([0, 4, 0])).is_ok());
        assert!(check(after([0, 2, 0])).is_err(), "one is lost");
        for change in [("c1:count", 7), ("c0:count", 1), ("x", 1)] {
            let mut wrong = after([0, 4, 0]);
            wrong.keys.insert(change.0.as_bytes().to_vec(), change.1);
            assert!(check(wrong).is_err(), "{change:?}");
        }
    }

    #[test]
    fn batches_are_whole_and_in_order() {
        assert_eq!(whole_batches(&[(0, 0), (1, 0), (1, 1)]), Ok(2));
        for wrong in [&[(0, 0), (1, 0)][..], &[(1, 0), (1, 1)], &[(0, 0), (0, 0)]] {
            assert!(whole_batches(wrong).is_err(), "{wrong:?}");
        }
    }
}
