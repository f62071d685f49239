//! Kills a server that takes events and archives them: nothing acknowledged is lost, nothing is there twice, and a batch is whole.
//!
//! ```text
//!   start ─► every event of the log and the archives, compared with the ledger ─► writers, archives, snapshots ─► kill -9 ─┐
//!     └──────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every event carries its writer, its batch and its number in the batch. Of a batch that was not acknowledged all events may be
//! there, or none.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use strandline::archive::{self, Level};

use crate::chance::Chance;
use crate::process::{Setup, http};

/// What to do, how often.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The server's binary.
    pub server: PathBuf,
    /// Where its data is; created, and removed when all went well.
    pub place: PathBuf,
    /// What an acknowledgement promises.
    pub mode: String,
    /// How often it is killed.
    pub rounds: u32,
    /// Decides when.
    pub seed: u64,
    /// Logs that events are divided among.
    pub shards: u32,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Kills.
    pub rounds: u32,
    /// Events that were acknowledged.
    pub acknowledged: u64,
    /// Archives that were read in full.
    pub archives: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, acknowledged, archives } = self;
        write!(f, "{rounds} kills, {acknowledged} events acknowledged, {archives} archives read")
    }
}

/// Something is not as it was promised.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The round.
    pub round: u32,
    /// What.
    pub what: String,
    /// Where the data is.
    pub place: PathBuf,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {}: {}; the data is in {}", self.round, self.what, self.place.display())
    }
}

/// Who wrote an event: writer and batch.
type Batch = (u64, u64);

/// What was acknowledged, and what may be there.
#[derive(Debug, Default)]
struct Ledger {
    /// LSNs of the events of each acknowledged batch.
    acknowledged: BTreeMap<Batch, Vec<u64>>,
    begun: BTreeSet<Batch>,
    next: u64,
}

impl Campaign {
    /// Runs it.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(&self, mut told: impl FnMut(&Tally)) -> Result<Tally, Broken> {
        let mut tally = Tally::default();
        let mut chance = Chance::new(self.seed);
        let mut ledger = Ledger::default();
        for round in 0..self.rounds {
            if round.is_multiple_of(ROUNDS_OF_A_STORE) {
                let _ = std::fs::remove_dir_all(&self.place);
                ledger = Ledger::default();
            }
            let broken = |what| Broken { round, what, place: self.place.clone() };
            self.round(&mut ledger, &mut chance, &mut tally).map_err(broken)?;
            tally.rounds += 1;
            told(&tally);
        }
        let _ = std::fs::remove_dir_all(&self.place);
        Ok(tally)
    }

    fn round(&self, ledger: &mut Ledger, chance: &mut Chance, tally: &mut Tally) -> Result<(), String> {
        let setup = Setup::new(&self.server, &self.place)
            .mode(&self.mode)
            .set("wal.max_size_mb", 1)
            .set("wal.conservative_mode", true)
            .set("archive.cpu_percent", 100)
            .set("shards", self.shards);
        let server = setup.start().map_err(|ended| format!("it does not start: {ended:?}"))?;
        self.verify(server.http(), ledger)?;
        tally.archives += self.archives()?;
        let life = Duration::from_millis(chance.between(30, 900) as u64);
        let deadline = Instant::now() + life;
        let (address, first) = (server.http(), ledger.next);
        let written = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let sizes = Chance::new(chance.bits());
                    scope.spawn(move || write(address, (writer, first), deadline, sizes))
                })
                .collect();
            let operator = scope.spawn(move || operate(address, deadline));
            thread::sleep(life);
            server.kill();
            let _ = operator.join();
            writers
                .into_iter()
                .map(|writer| writer.join().map_err(|_| "a writer panicked".to_owned()))
                .collect::<Vec<_>>()
        });
        for result in written {
            let (begun, acknowledged) = result??;
            ledger.next = ledger.next.max(first + begun.len() as u64 + 1);
            ledger.begun.extend(begun);
            tally.acknowledged += acknowledged.values().map(|lsns| lsns.len() as u64).sum::<u64>();
            ledger.acknowledged.extend(acknowledged);
        }
        Ok(())
    }

    /// Everything that is there, compared with the ledger.
    fn verify(&self, address: SocketAddr, ledger: &Ledger) -> Result<(), String> {
        let mut found: BTreeMap<Batch, Vec<(u64, u64)>> = BTreeMap::new();
        let (mut last, mut shard) = (0, 0);
        let complete = http::each_line(address, "/events", |line| {
            let number = |name: &str| http::field(line, name).ok_or_else(|| format!("not an event: {line}"));
            let (lsn, of) = (number("\"lsn\":")?, http::field(line, "\"shard\":").unwrap_or(0));
            if of == shard && lsn <= last {
                return Err(format!("LSN {lsn} comes after {last}"));
            }
            (last, shard) = (lsn, of);
            let batch = (number("\"writer\":")?, number("\"batch\":")?);
            found.entry(batch).or_default().push((number("\"number\":")?, lsn));
            Ok(())
        })?;
        if !complete {
            return Err("the answer was broken off".to_owned());
        }
        for (batch, events) in &mut found {
            events.sort_unstable();
            let numbers = events.iter().map(|(number, _)| *number);
            if self.shards == 1 && !numbers.eq(0..events.len() as u64) {
                return Err(format!("batch {batch:?} is not whole, or twice there: {events:?}"));
            }
            if !ledger.begun.contains(batch) {
                return Err(format!("nobody wrote batch {batch:?}"));
            }
        }
        for (batch, lsns) in &ledger.acknowledged {
            let there = found.get(batch).map(|events| events.iter().map(|(_, lsn)| *lsn).collect::<Vec<_>>());
            if there.as_ref() != Some(lsns) {
                return Err(format!("batch {batch:?} was acknowledged at {lsns:?}, and there is {there:?}"));
            }
        }
        Ok(())
    }

    /// Reads every archive that has its final name; returns how many there are.
    fn archives(&self) -> Result<u64, String> {
        let mut count = 0;
        for shard in 0..self.shards {
            let directory = self.place.join(format!("archives/shard-{shard}"));
            for path in files(&directory) {
                if path.extension().is_some_and(|end| end == "tmp") {
                    continue;
                }
                archive::verify(&path, Level::Full).map_err(|error| error.to_string())?;
                count += 1;
            }
        }
        Ok(count)
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory)
        .map_or_else(|_| Vec::new(), |found| found.flatten().map(|entry| entry.path()).collect())
}

type Written = Result<(Vec<Batch>, BTreeMap<Batch, Vec<u64>>), String>;

/// Stores batches until the server is gone.
fn write(address: SocketAddr, (writer, first): (u64, u64), deadline: Instant, mut sizes: Chance) -> Written {
    let (mut begun, mut acknowledged) = (Vec::new(), BTreeMap::new());
    let Ok(mut client) = http::Client::connect(address) else { return Ok((begun, acknowledged)) };
    for batch in first.. {
        if Instant::now() > deadline + PATIENCE {
            return Err("the server was not killed".to_owned());
        }
        let count = sizes.between(1, 40) as u64;
        let filler = "x".repeat(sizes.below(400));
        let line = |number| {
            format!(
                "{{\"event_type\":\"e\",\"context_id\":\"c{writer}\",\"payload\":{{\"writer\":{writer},\"batch\":{batch},\"number\":{number},\"filler\":\"{filler}\"}}}}\n"
            )
        };
        let body: String = (0..count).map(line).collect();
        begun.push((writer, batch));
        let Ok(answer) = client.request("POST", "/events", &body) else { return Ok((begun, acknowledged)) };
        if answer.status != 200 {
            return Err(format!("refused: {}", answer.body));
        }
        let lsns = answer
            .body
            .split_once("\"lsns\":[")
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(list, _)| list);
        let lsns: Option<Vec<u64>> =
            lsns.map(|list| list.split(',').map(|lsn| lsn.parse().ok()).collect()).unwrap_or_default();
        let lsns = lsns.filter(|lsns| lsns.len() as u64 == count);
        acknowledged
            .insert((writer, batch), lsns.ok_or_else(|| format!("not so many LSNs: {}", answer.body))?);
    }
    Ok((begun, acknowledged))
}

/// Archives and takes snapshots until the server is gone.
fn operate(address: SocketAddr, deadline: Instant) {
    while Instant::now() < deadline {
        for path in ["/snapshot", "/archives/now"] {
            if http::request(address, "POST", path, "").is_err() {
                return;
            }
        }
    }
}

const WRITERS: u64 = 4;
/// After so many rounds a new store is begun, so that reading all of it stays quick.
const ROUNDS_OF_A_STORE: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(60);
