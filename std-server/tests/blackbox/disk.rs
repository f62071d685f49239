//! A small device of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A small file system in memory. It is in a namespace of its own, so that no privilege is needed and nothing is left
/// behind; a quarter of it is taken by a file `ballast`.
pub(crate) struct Disk {
    /// Keeps the namespace until its input is closed.
    holder: Child,
    /// Where a server in the namespace has its data.
    pub(crate) inside: PathBuf,
    /// The file system as seen from here.
    pub(crate) outside: PathBuf,
    _place: tempfile::TempDir,
}

impl Disk {
    /// A new one, unless nothing can be mounted here.
    pub(crate) fn new(mib: usize) -> Option<Self> {
        let place = tempfile::tempdir().expect("a directory");
        let mount = format!("mount -t tmpfs -o size={mib}m tmpfs \"$0\" && echo mounted && exec cat");
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount]).arg(place.path());
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = unshare.spawn().ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut line).ok()?;
        if line.trim() != "mounted" {
            drop(holder.wait());
            return None;
        }
        let outside = Path::new("/proc").join(holder.id().to_string()).join("root");
        let outside = outside.join(place.path().strip_prefix("/").expect("absolute"));
        fs::write(outside.join("ballast"), vec![1; mib << 18]).expect("the ballast");
        Some(Self { holder, inside: place.path().join("data"), outside, _place: place })
    }

    /// Mounts it anew with these options.
    pub(crate) fn remount(&self, options: &str) {
        let mut line = self.entry();
        line.extend(["mount", "-o", &format!("remount,{options}")].map(str::to_owned));
        let place = self.inside.parent().expect("it has one");
        let done = Command::new(&line[0]).args(&line[1..]).arg(place).status().expect("nsenter");
        assert!(done.success(), "remount,{options}");
    }

    /// The command that runs another one in the namespace.
    pub(crate) fn entry(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        ["nsenter", "--target", &target, "--user", "--preserve-credentials", "--mount"]
            .map(str::to_owned)
            .to_vec()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}
