//! The image: how it is built, and how large it is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How an image is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build {
    /// The level of optimisation for size: z or s.
    pub(crate) opt: &'static str,
    /// With what keeps the samples.
    pub(crate) log: bool,
}

impl Build {
    /// Builds it and says where it is.
    pub(crate) fn run(self) -> Result<PathBuf, String> {
        let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = env::var_os("CARGO_TARGET_DIR").map_or(firmware.join("target"), PathBuf::from);
        // A directory for each, so that one does not throw away what the other built.
        let target = target.join(format!("firmware-{}-{}", self.opt, if self.log { "log" } else { "bare" }));
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--release", "--bin", "firmware", "--target", TARGET]);
        cargo.arg("--config").arg(format!("profile.release.opt-level=\"{}\"", self.opt));
        cargo.arg("--manifest-path").arg(firmware.join("Cargo.toml")).arg("--target-dir").arg(&target);
        if !self.log {
            cargo.arg("--no-default-features");
        }
        let status = cargo.status().map_err(|error| format!("cargo: {error}"))?;
        status
            .success()
            .then(|| target.join(TARGET).join("release/firmware"))
            .ok_or("the image does not build".into())
    }
}

/// Prints the size of the image with and without what keeps the samples.
pub(crate) fn print_sizes() -> Result<(), String> {
    for opt in ["z", "s"] {
        let [with, without] = [true, false].map(|log| code_bytes(&Build { opt, log }.run()?));
        let (with, without) = (with?, without?);
        let added = with.checked_sub(without).ok_or("the image is smaller with the log than without")?;
        println!(
            "{TARGET}, opt {opt}: {with} bytes of .text + .rodata, {without} without the log, {added} added"
        );
    }
    Ok(())
}

fn code_bytes(image: &Path) -> Result<u64, String> {
    let output =
        Command::new("size").arg("-A").arg(image).output().map_err(|error| format!("size: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let bytes = said.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        (name == ".text" || name == ".rodata").then(|| words.next()?.parse::<u64>().ok())?
    });
    match bytes.sum() {
        0 => Err(format!("size says nothing about {}: {said}", image.display())),
        bytes => Ok(bytes),
    }
}

const TARGET: &str = "thumbv7em-none-eabi";
