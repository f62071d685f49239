//! The benchmarks: every row of the goal table, ours beside the peers, in one run.
//!
//! ```text
//! cargo run --release --manifest-path tests/bench/Cargo.toml -- flash            all flash rows
//!                                                               host             all host rows
//!                                                               F3 F10 H15       some rows
//!                                                               host --write     and docs/benchmarks.md
//!                                                               --rounds N       host rows: repetitions
//!                                                               --server PATH    host rows: a server that is built already
//!                                                               --histories N    F10: histories of each kind
//!                                                               --seed N         F10: the seed of the first
//! ```
//!
//! A row ends in `met`, `missed`, `not measured`, or `reported` where there is no goal. The flash rows are counts on a simulated
//! part: they repeat exactly. The host rows are ratios to a peer that works in the same run, and want a quiet machine.

#[path = "../../src/chance.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "shared with the simulators, where it is public and used in full"
)]
mod chance;
mod flash;
mod host;
mod report;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let ran = match words.as_slice() {
        [word] if word == host::echo::WORD => host::echo::serve(),
        [word, job @ ..] if word == host::logs::WORD => host::logs::serve(job),
        _ => Request::parse(words.into_iter()).and_then(|request| run(&request)),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(request: &Request) -> Result<(), String> {
    let mut measured = report::Measured::default();
    let wanted = |id: &str| request.rows.iter().any(|row| row == id);
    if flash::ROWS.iter().any(|(id, _)| wanted(id)) {
        println!("{}", table::HEAD);
    }
    for (id, measure) in flash::ROWS.iter().filter(|(id, _)| wanted(id)) {
        measured.flash(id, &measure(&request.flash));
    }
    if host::ROWS.iter().any(|(id, _)| wanted(id)) {
        println!("{}", host::compare::HEAD);
    }
    for (id, measure) in host::ROWS.iter().filter(|(id, _)| wanted(id)) {
        measured.host(id, &measure(&request.host));
    }
    if request.write { report::write(&measured, &request.flash, &request.host) } else { Ok(()) }
}

/// What the command line asks for.
struct Request {
    /// Rows by name.
    rows: Vec<String>,
    write: bool,
    flash: flash::Settings,
    host: host::Settings,
}

impl Request {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (flash, host) = (flash::Settings::default(), host::Settings::default());
        let mut this = Self { rows: Vec::new(), write: false, flash, host };
        let mut flash_rows = flash::ROWS.iter().map(|(id, _)| *id);
        let mut host_rows = host::ROWS.iter().map(|(id, _)| *id);
        while let Some(word) = words.next() {
            match word.as_str() {
                "flash" => this.rows.extend(flash_rows.by_ref().map(Into::into)),
                "host" => this.rows.extend(host_rows.by_ref().map(Into::into)),
                "--write" => this.write = true,
                "--rounds" => {
                    this.host.rounds = usize::try_from(number(words.next())?).unwrap_or(usize::MAX).max(1)
                }
                "--server" => this.host.server = Some(words.next().ok_or("a path is missing")?.into()),
                "--histories" => this.flash.histories = number(words.next())?,
                "--seed" => this.flash.seed = number(words.next())?,
                row if is_row(row) => this.rows.push(word),
                other => return Err(format!("no row is called {other}")),
            }
        }
        if this.rows.is_empty() {
            return Err("say `flash`, `host`, or name rows".into());
        }
        Ok(this)
    }
}

fn is_row(name: &str) -> bool {
    flash::ROWS.iter().any(|(id, _)| *id == name) || host::ROWS.iter().any(|(id, _)| *id == name)
}

/// Decimal, or hexadecimal behind `0x`.
fn number(word: Option<String>) -> Result<u64, String> {
    let word = word.ok_or("a number is missing")?;
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.map_err(|error| format!("{word}: {error}"))
}

const USAGE: &str =
    "usage: flash | host | ROW... , [--write] [--rounds N] [--server PATH] [--histories N] [--seed N]";
