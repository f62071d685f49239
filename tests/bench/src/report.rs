//! `docs/benchmarks.md`: a table for each part, and everything needed to get it again.
//!
//! Rows that were not measured this time stay as they are; a part of which nothing was measured stays whole.

use core::fmt::Display;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::flash::rows;
use crate::{flash, host, table};

/// The rows of one run, by name.
#[derive(Default)]
pub(crate) struct Measured {
    flash: Vec<(&'static str, String)>,
    host: Vec<(&'static str, String)>,
}

impl Measured {
    pub(crate) fn flash(&mut self, id: &'static str, row: &impl Display) {
        println!("{row}");
        self.flash.push((id, row.to_string()));
    }

    pub(crate) fn host(&mut self, id: &'static str, row: &impl Display) {
        println!("{row}");
        self.host.push((id, row.to_string()));
    }
}

/// Writes the page.
pub(crate) fn write(
    measured: &Measured,
    flash_settings: &flash::Settings,
    host_settings: &host::Settings,
) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md");
    let old = fs::read_to_string(&path).unwrap_or_default();
    let flash_rows = flash::ROWS.iter().map(|(id, _)| *id);
    let flash = match lines(&old, flash_rows, &measured.flash) {
        _ if measured.flash.is_empty() => section(&old, "Flash"),
        lines => flash_part(&lines, flash_settings),
    };
    let host = match lines(&old, host::ROWS.iter().map(|(id, _)| *id), &measured.host) {
        _ if measured.host.is_empty() => section(&old, "Host"),
        lines => host_part(&lines, host_settings),
    };
    let page = [HEAD, &flash, &host].map(str::trim_end).join("\n\n") + "\n";
    fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))
}

/// Every row in order: as measured, or else as the page has it.
fn lines<'i>(old: &str, rows: impl Iterator<Item = &'i str>, measured: &[(&str, String)]) -> Vec<String> {
    let known = |id: &str| {
        let start = format!("| {id} |");
        old.lines().find(|line| line.starts_with(&start)).map(str::to_owned)
    };
    let new = |id: &str| measured.iter().find(|(other, _)| *other == id).map(|(_, line)| line.clone());
    rows.filter_map(|id| new(id).or_else(|| known(id))).collect()
}

/// The part of the page under this heading.
fn section(page: &str, name: &str) -> String {
    let found = page.split("\n## ").skip(1).find(|part| part.lines().next() == Some(name));
    found.map(|part| format!("## {part}")).unwrap_or_default()
}

fn flash_part(lines: &[String], settings: &flash::Settings) -> String {
    format!(
        "## Flash\n\n{PART}\n\n{}\n{}\n\n{}\n\n{}\n\n\
         - machine: {} (only the runtime of F8 to F10 depends on it)\n\
         - compiler: {}\n\
         - peers: {}\n\
         - seeds: settings {:#x}, power cuts {:#x} and up, {} histories of each kind\n",
        table::HEAD,
        lines.join("\n"),
        verdicts(lines),
        reasons(lines, &flash::MISSED),
        machine(),
        said("rustc", "--version"),
        versions(&flash::PEERS),
        rows::settings::SEED,
        settings.seed,
        settings.histories,
    )
}

fn host_part(lines: &[String], settings: &host::Settings) -> String {
    format!(
        "## Host\n\n{TURNS}\n\n{}\n{}\n\n{}\n\n{}\n\n\
         - machine: {}\n\
         - compiler: {}, release profile of the workspace\n\
         - peers: {}; {}\n\
         - data: keys of 16 bytes, values of 64 bytes; H1 to H8: records of random bytes, 512 MiB of them, or as many as are durable in 3 s; H17, H19: a million order-like events of about 165 bytes in MessagePack \
         (identifiers, words from short lists, amounts, a random trace id) and a million key-value writes with JSON of about \
         90 bytes, from fixed seeds; medians of {} rounds\n",
        host::compare::HEAD,
        lines.join("\n"),
        verdicts(lines),
        reasons(lines, &host::MISSED),
        machine(),
        said("rustc", "--version"),
        said("redis-server", "--version").split(" sha").next().unwrap_or_default(),
        versions(&host::PEERS),
        settings.rounds,
    )
}

fn verdicts(lines: &[String]) -> String {
    let count = |verdict: &str| lines.iter().filter(|line| line.ends_with(&format!(" {verdict} |"))).count();
    let (met, missed, open) = (count("met"), count("missed"), count("not measured"));
    format!("{met} met, {missed} missed, {open} not measured.")
}

/// Why rows miss their goals, as far as they do.
fn reasons(lines: &[String], known: &[(&str, &str)]) -> String {
    let missed = |id: &str| {
        lines.iter().any(|line| line.starts_with(&format!("| {id} |")) && line.ends_with(" missed |"))
    };
    let reasons = known.iter().filter(|(id, _)| missed(id));
    reasons.map(|(id, why)| format!("- {id}: {why}")).collect::<Vec<_>>().join("\n")
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

/// Names and versions of packages.
fn versions(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name} {}", locked(name))).collect::<Vec<_>>().join(", ")
}

/// The version of a package, from the lock file.
fn locked(name: &str) -> &'static str {
    let lock: &'static str = include_str!("../Cargo.lock");
    let start = lock.find(&format!("name = \"{name}\"\n"));
    let version = start.and_then(|start| lock[start..].split("version = \"").nth(1)?.split('"').next());
    version.unwrap_or("unknown")
}

const HEAD: &str = "# Benchmarks\n\n\
Written by `cargo run --release --manifest-path tests/bench/Cargo.toml -- flash host --write`; not by hand. A part or a row that is \
named alone is written alone.";
const PART: &str = "A simulated part that counts: 64 KiB, erase blocks of 4 KiB, words of 4 bytes unless a row says otherwise. \
The counts repeat exactly. A peer that has no figure in a row does not do what the row measures.";
const TURNS: &str = "Ours and the peer in one run, turn by turn on the same machine; each figure is the median of the rounds, the \
ratio the median of their ratios. The client shares the machine. Data lies in memory, and every sync of either side takes one \
millisecond there, so that no figure depends on a disk's mood.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_were_not_measured_stay() {
        let old = "| H6 | a | met |\n| H9 | b | met |\n";
        let lines = lines(old, ["H6", "H9", "H10"].into_iter(), &[("H9", "| H9 | c | missed |".into())]);
        assert_eq!(lines, ["| H6 | a | met |", "| H9 | c | missed |"]);
        assert_eq!(verdicts(&lines), "1 met, 1 missed, 0 not measured.");
    }

    #[test]
    fn a_part_is_found_by_its_heading() {
        let page = "# B\n\n## Flash\n\nf\n\n## Host\n\nh\n";
        assert_eq!(section(page, "Flash"), "## Flash\n\nf\n");
        assert_eq!(section(page, "Host"), "## Host\n\nh\n");
        assert_eq!(section("", "Host"), "");
    }
}
