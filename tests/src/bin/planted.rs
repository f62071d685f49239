//! Plants each known bug in a copy of core and sees whether the simulation finds it: `planted [--gate] [NAME…]`.
//!
//! Exits with 1 if one survives, if one can't be planted any more, or if the suite complains about sources without one.

use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use strandline_tests::planted::{Bug, Fate, Garden};

fn main() -> io::Result<ExitCode> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let gate = arguments.iter().any(|argument| argument == "--gate");
    let named = |bug: &Bug| match arguments.iter().filter(|argument| *argument != "--gate").count() {
        0 => !gate || GATE.contains(&bug.name.as_str()),
        _ => arguments.contains(&bug.name),
    };
    let garden = Garden::new(&root, &target.join("planted"), PATIENCE)?;
    let mut good = true;
    for medium in ["posix", "nor"] {
        let about = format!("the sources as they are, {medium}");
        good &= show("(none)", &about, &garden.grow(medium, None, STATES)?, &Fate::Survived);
    }
    let bugs: Vec<Bug> = Bug::all(&package.join("planted"))?.into_iter().filter(named).collect();
    for bug in &bugs {
        let states = if bug.medium() == "nor" { NOR_STATES } else { STATES };
        let fate = garden.grow(bug.medium(), Some(bug), states)?;
        good &= show(&bug.name, &bug.about, &fate, &Fate::Killed { promise: String::new(), states: 0 });
    }
    println!("{} planted bugs: {}", bugs.len(), if good { "all killed" } else { "NOT ALL KILLED" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(name: &str, about: &str, fate: &Fate, expected: &Fate) -> bool {
    let said = match fate {
        Fate::Killed { promise, states } => format!("killed after {states:>6} states: {promise}"),
        Fate::Survived => "nothing was found".to_owned(),
        Fate::Endless => "it does not end".to_owned(),
        Fate::Unusable(why) => format!("UNUSABLE: {why}"),
    };
    println!("{name:<28} {said}\n{:<28} {}", "", about.lines().next().unwrap_or_default());
    core::mem::discriminant(fate) == core::mem::discriminant(expected)
}

const PATIENCE: Duration = Duration::from_secs(3600);
/// States that each bug must be found in.
const STATES: u64 = 100_000;
/// Histories on flash are short, and some rules are about three cuts in a row.
const NOR_STATES: u64 = 2_000_000;

/// The ones that are tried in the gate.
const GATE: [&str; 6] = [
    "corrupt-called-torn",
    "floor-at-newest-snapshot",
    "no-tail-rewrite",
    "nor-nothing-burnt",
    "nor-void-blocks-kept",
    "sync-covers-later-writes",
];
