//! The benchmarks: every row of the goal table, ours beside the peers, in one run.
//!
//! ```text
//! cargo run --release --manifest-path tests/bench/Cargo.toml -- flash            all flash rows
//!                                                               F3 F10           some rows
//!                                                               flash --write    and docs/benchmarks.md
//!                                                               --histories N    F10: histories of each kind
//!                                                               --seed N         F10: the seed of the first
//! ```
//!
//! A row ends in `met`, `missed` or `not measured`. The flash rows are counts on a simulated part: they repeat exactly.

#[path = "../../src/chance.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "shared with the simulators, where it is public and used in full"
)]
mod chance;
mod flash;
mod report;
mod table;

use std::process::ExitCode;

use crate::flash::Settings;
use crate::table::Row;

fn main() -> ExitCode {
    match Request::parse(std::env::args().skip(1)).and_then(|request| run(&request)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(request: &Request) -> Result<(), String> {
    println!("{}", table::HEAD);
    let mut rows: Vec<Row> = Vec::new();
    for (id, measure) in flash::ROWS {
        if request.rows.is_empty() || request.rows.iter().any(|wanted| wanted == id) {
            let row = measure(&request.settings);
            println!("{row}");
            rows.push(row);
        }
    }
    if request.write { report::write(&rows, &request.settings) } else { Ok(()) }
}

/// What the command line asks for.
struct Request {
    /// Rows by name; none means all.
    rows: Vec<String>,
    write: bool,
    settings: Settings,
}

impl Request {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut this = Self { rows: Vec::new(), write: false, settings: Settings::default() };
        let mut all = false;
        while let Some(word) = words.next() {
            match word.as_str() {
                "flash" => all = true,
                "host" => return Err("there are no host rows in this package yet".into()),
                "--write" => this.write = true,
                "--histories" => this.settings.histories = number(words.next())?,
                "--seed" => this.settings.seed = number(words.next())?,
                row if flash::ROWS.iter().any(|(id, _)| *id == row) => this.rows.push(word),
                other => return Err(format!("no row is called {other}")),
            }
        }
        if all != this.rows.is_empty() {
            return Err("say `flash` or name rows".into());
        }
        if this.write && !all {
            return Err("--write wants all rows".into());
        }
        Ok(this)
    }
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

const USAGE: &str = "usage: flash [--write] | ROW... , [--histories N] [--seed N]";
