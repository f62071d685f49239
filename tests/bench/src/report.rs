//! `docs/benchmarks.md`: the table, and everything needed to get it again.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::flash::{Settings, rows};
use crate::table::{HEAD, Row, Verdict};

/// Writes the page.
pub(crate) fn write(rows: &[Row], settings: &Settings) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md");
    fs::write(&path, page(rows, settings)).map_err(|error| format!("{}: {error}", path.display()))
}

fn page(rows: &[Row], settings: &Settings) -> String {
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let lines: Vec<_> = rows.iter().map(Row::to_string).collect();
    format!(
        "# Benchmarks\n\n\
         Written by `cargo run --release --manifest-path tests/bench/Cargo.toml -- flash --write`; not by hand.\n\n\
         ## Flash\n\n\
         {PART}\n\n\
         {HEAD}\n{}\n\n\
         {} met, {} missed, {} not measured.\n\n\
         - machine: {} (only the runtime of F8 to F10 depends on it)\n\
         - compiler: {}\n\
         - peers: {}\n\
         - seeds: settings {:#x}, power cuts {:#x} and up, {} histories of each kind\n",
        lines.join("\n"),
        count(Verdict::Met),
        count(Verdict::Missed),
        count(Verdict::NotMeasured),
        machine(),
        said("rustc", "--version"),
        peers(),
        rows::settings::SEED,
        settings.seed,
        settings.histories,
    )
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = || cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    format!("{} × {}, {}", models().count(), models().next().unwrap_or("unknown"), said("uname", "-sm"))
}

fn said(command: &str, word: &str) -> String {
    let output = Command::new(command).arg(word).output();
    output.map_or("unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Names and versions of the peers, from the lock file.
fn peers() -> String {
    let lock = include_str!("../Cargo.lock");
    let version = |name: &str| {
        let start = lock.find(&format!("name = \"{name}\"\n"))?;
        lock[start..].split("version = \"").nth(1)?.split('"').next()
    };
    let named = PEERS.map(|name| format!("{name} {}", version(name).unwrap_or("unknown")));
    named.join(", ")
}

const PEERS: [&str; 2] = ["sequential-storage", "ekv"];
const PART: &str = "A simulated part that counts: 64 KiB, erase blocks of 4 KiB, words of 4 bytes unless a row says otherwise. \
The counts repeat exactly. A peer that has no figure in a row does not do what the row measures.";
