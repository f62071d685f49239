//! The benchmarks: every row of the goal table, ours beside the peers, in one run.
//!
//! ```text
//! cargo run --release --manifest-path tests/bench/Cargo.toml -- flash            all flash rows
//!                                                               F3 F10           some rows
//!                                                               flash --write    and docs/benchmarks.md
//!                                                               --histories N    power-cut histories of each kind, F10
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
                "--histories" => {
                    let count = words.next().and_then(|count| count.parse().ok());
                    this.settings.histories = count.ok_or("--histories wants a number")?;
                }
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

const USAGE: &str = "usage: flash [--write] [--histories N] | ROW... [--histories N]";
