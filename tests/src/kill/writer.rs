//! The clients of a campaign: writers over both protocols, an observer, and somebody who wants snapshots.
//!
//! Each goes on until the connection breaks, which is how they learn of the kill. What they are told while the server
//! lives must be true: an error, a number that goes back or halves of a pair that differ end the campaign.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use core::time::Duration;
use std::io;
use std::thread;

use super::ledger::{
    Keys, Ledger, SHARED, VALUES, content, counter_key, deletes, number_of, pair_keys, value_key,
};
use crate::chance::Chance;
use crate::process::resp::{Reply, encode};
use crate::process::{http, resp};

/// What the clients of one round share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'l> {
    pub(super) http: SocketAddr,
    pub(super) resp: SocketAddr,
    pub(super) ledger: &'l Ledger,
    /// The server is dead: whoever is not connected need not try.
    pub(super) stop: &'l AtomicBool,
    pub(super) acknowledged: &'l AtomicU64,
    pub(super) snapshots: &'l AtomicU64,
}

/// What went wrong while the server was alive.
type Told = Result<(), String>;

/// A write that was sent.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Value { key: usize, number: u64 },
    Count { number: u64 },
    Pair { number: u64 },
    Shared,
}

/// Writes as writer `writer` until the connection breaks; the last two speak HTTP.
pub(super) fn write(load: Load<'_>, writer: usize, chance: Chance) -> Told {
    let Some(keys) = load.ledger.writers().get(writer) else { return Ok(()) };
    let speaks_http = writer + HTTP_WRITERS >= load.ledger.writers().len();
    let client = Writer { load, writer, keys, chance };
    let ended = if speaks_http { client.over_http() } else { client.over_resp() };
    connection_ended(ended)
}

/// Reads what others write: nothing may go back, be mangled, or be half of a pair.
pub(super) fn observe(load: Load<'_>, mut chance: Chance) -> Told {
    connection_ended(look_around(load, &mut chance))
}

/// Takes snapshots at moments of chance.
pub(super) fn take_snapshots(load: Load<'_>, mut chance: Chance) -> Told {
    while !load.stop.load(Relaxed) {
        thread::sleep(Duration::from_millis(chance.between(1, 120) as u64));
        let Ok(answer) = http::request(load.http, "POST", "/snapshot", "") else { return Ok(()) };
        let base = number_after(&answer.body, "\"base_lsn\":");
        let Some(base) = base.filter(|_| answer.status == 200) else {
            return Err(format!("POST /snapshot: {} {}", answer.status, answer.body));
        };
        load.ledger.snapshot_base.fetch_max(base, SeqCst);
        load.snapshots.fetch_add(1, Relaxed);
    }
    Ok(())
}

struct Writer<'l> {
    load: Load<'l>,
    writer: usize,
    keys: &'l Keys,
    chance: Chance,
}

impl Writer<'_> {
    fn over_resp(mut self) -> io::Result<Told> {
        let mut client = resp::Client::connect(self.load.resp)?;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let depth = if self.chance.one_in(2) { 1 } else { self.chance.between(2, 16) };
            let sent: Vec<Sent> = (0..depth).map(|_| self.next(&mut bytes)).collect();
            client.send(&bytes)?;
            for write in sent {
                let queued = if matches!(write, Sent::Pair { .. } | Sent::Shared) { 3 } else { 0 };
                for _ in 0..queued {
                    client.receive()?;
                }
                let reply = client.receive()?;
                if !self.accepts(write, &reply) {
                    return Ok(Err(format!("writer {}: {write:?} was answered with {reply}", self.writer)));
                }
                self.acknowledge(write);
            }
        }
    }

    /// Makes up a write and appends it to a pipeline.
    fn next(&mut self, bytes: &mut Vec<u8>) -> Sent {
        match self.chance.below(10) {
            0 | 1 => {
                encode(&["INCR", &counter_key(self.writer)], bytes);
                Sent::Count { number: self.keys.counter.next() }
            }
            2 => {
                let number = self.keys.pair.next();
                let [left, right] = pair_keys(self.writer);
                encode(&["MULTI"], bytes);
                encode(&["SET", &left, &content("pair", number)], bytes);
                encode(&["SET", &right, &content("pair", number)], bytes);
                encode(&["EXEC"], bytes);
                Sent::Pair { number }
            }
            3 => {
                let _ = self.load.ledger.shared.track.next();
                encode(&["MULTI"], bytes);
                SHARED.iter().for_each(|key| encode(&["INCR", key], bytes));
                encode(&["EXEC"], bytes);
                Sent::Shared
            }
            _ => {
                let key = self.chance.below(VALUES);
                let (name, number) = (value_key(self.writer, key), self.keys.values[key].next());
                if deletes(number) {
                    encode(&["DEL", &name], bytes);
                } else {
                    encode(&["SET", &name, &content(&name, number)], bytes);
                }
                Sent::Value { key, number }
            }
        }
    }

    fn accepts(&self, write: Sent, reply: &Reply) -> bool {
        let ok = || Reply::Status("OK".into());
        match write {
            Sent::Value { number, .. } if deletes(number) => *reply == Reply::Integer(1),
            Sent::Value { .. } => *reply == ok(),
            Sent::Count { number } => {
                reply.number().and_then(|found| u64::try_from(found).ok()) == Some(number)
            }
            Sent::Pair { .. } => *reply == Reply::Array(vec![ok(), ok()]),
            Sent::Shared => match reply {
                Reply::Array(numbers) => matches!(numbers[..], [Reply::Integer(left), Reply::Integer(right)]
                    if left == right && u64::try_from(left).is_ok_and(|number| self.load.ledger.shared.is_told(number))),
                _ => false,
            },
        }
    }

    fn acknowledge(&self, write: Sent) {
        match write {
            Sent::Value { key, number } => self.keys.values[key].keep(number),
            Sent::Count { number } => self.keys.counter.keep(number),
            Sent::Pair { number } => self.keys.pair.keep(number),
            // Kept when it was told.
            Sent::Shared => {}
        }
        self.load.acknowledged.fetch_add(1, Relaxed);
    }

    fn over_http(mut self) -> io::Result<Told> {
        let mut client = http::Client::connect(self.load.http)?;
        loop {
            let key = self.chance.below(VALUES);
            let (name, number) = (value_key(self.writer, key), self.keys.values[key].next());
            let (answer, expected) = if deletes(number) {
                (client.request("DELETE", &format!("/kv/del/{name}"), "")?, "\"deleted\":true")
            } else {
                let body = format!(r#"{{"key":"{name}","value":"{}"}}"#, content(&name, number));
                (client.request("POST", "/kv/set", &body)?, "\"written\":true")
            };
            if answer.status != 200 || !answer.body.contains(expected) {
                let (status, body) = (answer.status, answer.body);
                return Ok(Err(format!("{name}, write {number}: the answer was {status} {body}")));
            }
            self.acknowledge(Sent::Value { key, number });
        }
    }
}

fn look_around(load: Load<'_>, chance: &mut Chance) -> io::Result<Told> {
    let mut client = resp::Client::connect(load.resp)?;
    loop {
        let floor = load.ledger.shared.track.kept();
        let Reply::Array(shared) = client.ask(&["MGET", SHARED[0], SHARED[1]])? else {
            return Ok(Err("MGET gave no array".into()));
        };
        if shared_number(&shared).is_none_or(|number| number < floor) {
            return Ok(Err(format!("the counters of all writers show {shared:?} after {floor}")));
        }
        let writer = chance.below(load.ledger.writers().len());
        let keys = &load.ledger.writers()[writer];
        let floors: Vec<u64> = keys.values.iter().map(super::ledger::Track::kept).collect();
        let names: Vec<String> =
            (0..VALUES).map(|key| value_key(writer, key)).chain(pair_keys(writer)).collect();
        let mut words = vec!["MGET"];
        words.extend(names.iter().map(String::as_str));
        let Reply::Array(found) = client.ask(&words)? else { return Ok(Err("MGET gave no array".into())) };
        for (key, (name, reply)) in names.iter().zip(&found).take(VALUES).enumerate() {
            let Some(bytes) = reply.bytes() else { continue };
            match number_of(name, bytes) {
                Some(number) if number >= floors[key] => keys.values[key].keep(number),
                Some(number) => return Ok(Err(format!("{name} shows {number} after {}", floors[key]))),
                None => return Ok(Err(format!("{name} shows what nobody wrote"))),
            }
        }
        match &found[VALUES..] {
            [left, right] if left == right => {}
            _ => return Ok(Err(format!("writer {writer}: the halves of its pair differ"))),
        }
    }
}

/// What both of the shared counters show, if it is the same.
pub(super) fn shared_number(found: &[Reply]) -> Option<u64> {
    match found {
        [left, right] if left != right => None,
        [Reply::Null, _] => Some(0),
        [left, _] => core::str::from_utf8(left.bytes()?).ok()?.parse().ok(),
        _ => None,
    }
}

/// A broken connection is how a client learns of the kill; anything else was said by a living server.
fn connection_ended(ended: io::Result<Told>) -> Told {
    match ended {
        Ok(told) => told,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err("the server did not answer in time".into())
        }
        Err(error) if error.kind() == io::ErrorKind::Other => Err(error.to_string()),
        Err(_) => Ok(()),
    }
}

/// The number behind `name` in JSON.
pub(super) fn number_after(json: &str, name: &str) -> Option<u64> {
    let rest = json.split(name).nth(1)?.trim_start();
    rest.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
}

const HTTP_WRITERS: usize = 2;
