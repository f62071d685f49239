//! F8, F9: what a Cortex-M4 image holds and uses. Built here, run in QEMU, measured by the scripts beside the images.
//!
//! F8 reads lines `name: handle H, future F, stack S` that the image `tests/firmware/src/bin/peers.rs` says about itself. F9 reads
//! lines `name, target, opt z: N bytes …` of `tests/size-probe/run.sh` (ours) and `tests/bench/size/run.sh`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::flash::subject::Failed;
use crate::table::{Row, Verdict, cell};

/// F8.
pub(crate) fn sizes() -> Row {
    let said = peers_image();
    let of = |name: &str| said.clone().and_then(|said| three_numbers(&said, name));
    let ours = of("ours");
    let shown = |it: &[u64; 3]| format!("{} / {} / {}", it[0], it[1], it[2]);
    let peer = |name: &str, label: &str| (label.to_owned(), cell(&of(name), shown));
    Row {
        id: "F8",
        measure: "handle / largest future / stack on Cortex-M4, opt z, bytes; the stack holds handle, future and buffers",
        peers: vec![
            peer("queue", "sequential-storage queue"),
            peer("map", "sequential-storage map"),
            peer("ekv", "ekv, chunks of 256"),
        ],
        goal: "≤ 96 / ≤ 200 / ≤ 448",
        verdict: Verdict::of(&ours, |[handle, future, stack]| {
            *handle <= 96 && *future <= 200 && *stack <= 448
        }),
        ours: cell(&ours, shown),
    }
}

/// F9.
pub(crate) fn code() -> Row {
    let (ours, peers) = (script("tests/size-probe/run.sh"), script("tests/bench/size/run.sh"));
    let images = ["log only", "log and snapshot", "log, snapshot and export"];
    let ours = images.map(|image| ours.clone().and_then(|said| bytes_of(&said, image)));
    let peer = |name: &str, label: &str| {
        let bytes = peers.clone().and_then(|said| bytes_of(&said, name));
        (label.to_owned(), cell(&bytes, u64::to_string))
    };
    Row {
        id: "F9",
        measure: "bytes of .text + .rodata, thumbv7em, opt z: log / + snapshot / + export",
        peers: vec![
            peer("queue", "sequential-storage queue"),
            peer("map", "sequential-storage map"),
            peer("ekv", "ekv"),
        ],
        goal: "≤ 6,500 / ≤ 8,000 / ≤ 10,000",
        verdict: code_verdict(&ours),
        ours: ours.map(|bytes| cell(&bytes, u64::to_string)).join(" / "),
    }
}

/// One image that is too large is a miss, whatever the others are.
fn code_verdict(ours: &[Result<u64, Failed>; 3]) -> Verdict {
    let goals = [6_500, 8_000, 10_000];
    let known =
        || ours.iter().zip(goals).filter_map(|(bytes, goal)| bytes.as_ref().ok().map(|bytes| *bytes <= goal));
    if known().any(|met| !met) {
        Verdict::Missed
    } else if known().count() < goals.len() {
        Verdict::NotMeasured
    } else {
        Verdict::Met
    }
}

/// Builds the image that measures itself, and runs it.
fn peers_image() -> Result<String, Failed> {
    let manifest = root().join("tests/firmware/Cargo.toml");
    let target = env::var_os("CARGO_TARGET_DIR").map_or(root().join("tests/firmware/target"), PathBuf::from);
    let mut build = Command::new("cargo");
    build.args([
        "build",
        "--quiet",
        "--release",
        "--features",
        "peers",
        "--bin",
        "peers",
        "--target",
        TARGET,
    ]);
    output(build.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(&target))?;
    let mut qemu = Command::new("qemu-system-arm");
    qemu.args([
        "-machine",
        "mps2-an386",
        "-cpu",
        "cortex-m4",
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "none",
    ]);
    qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]);
    output(qemu.arg(target.join(TARGET).join("release/peers")))
}

fn script(path: &str) -> Result<String, Failed> {
    output(&mut Command::new(root().join(path)))
}

fn output(command: &mut Command) -> Result<String, Failed> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| Failed::Said(format!("{program}: {error}")))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failed::Said(error.lines().next().unwrap_or("no output").to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn three_numbers(said: &str, name: &str) -> Result<[u64; 3], Failed> {
    let line =
        said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).ok_or(Failed::NotBuilt)?;
    let numbers: Vec<u64> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().map_err(|_| Failed::Said(line.to_owned()))
}

fn bytes_of(said: &str, name: &str) -> Result<u64, Failed> {
    let rest = said
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(", thumb"))
        .ok_or(Failed::NotBuilt)?;
    let bytes = rest.split(": ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    bytes.ok_or_else(|| Failed::Said(rest.to_owned()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const TARGET: &str = "thumbv7em-none-eabi";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_name() {
        let said = "queue: handle 16, future 272, stack 756\nekv: handle 1, future 2, stack 3\n";
        assert_eq!(three_numbers(said, "queue"), Ok([16, 272, 756]));
        assert_eq!(three_numbers(said, "ours"), Err(Failed::NotBuilt));
        let said = "log only, thumbv7em-none-eabi, opt z: 6400 bytes of .text + .rodata\n";
        assert_eq!(bytes_of(said, "log only"), Ok(6400));
        assert_eq!(bytes_of(said, "log and snapshot"), Err(Failed::NotBuilt));
    }

    #[test]
    fn one_image_that_is_too_large_is_a_miss() {
        let none = || Err(Failed::NotBuilt);
        assert_eq!(code_verdict(&[Ok(6_501), none(), none()]), Verdict::Missed);
        assert_eq!(code_verdict(&[Ok(6_500), none(), none()]), Verdict::NotMeasured);
        assert_eq!(code_verdict(&[Ok(6_500), Ok(8_000), Ok(10_000)]), Verdict::Met);
    }
}
