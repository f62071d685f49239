//! Where a server's data lies, and what writing and syncing costs there.
//!
//! A disk syncs in 20 µs or in 4 ms, as it likes. Here data lies in memory, and a small library that is loaded before the
//! server's own makes every sync take one millisecond, or what else is asked for; it can also take writes only so fast.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A directory in memory, with the library.
#[derive(Debug)]
pub struct Device {
    place: TempDir,
    settings: Vec<OsString>,
}

impl Device {
    /// A directory that is removed with this value; every sync takes one millisecond.
    ///
    /// # Errors
    /// There is no C compiler, or no room.
    pub fn new() -> Result<Self, String> {
        let place = directory_in_memory().map_err(|error| error.to_string())?;
        let this = Self { place, settings: Vec::new() };
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-shared", "-fPIC", "-x", "c", "-o"]).arg(this.library()).arg("-");
        let mut child = compiler
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("a C compiler is needed: {error}"))?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(SOURCE.as_bytes()).map_err(|error| error.to_string())?;
        }
        let ended = child.wait().map_err(|error| error.to_string())?;
        if ended.success() { Ok(this) } else { Err(format!("{compiler:?}: {ended}")) }
    }

    /// Makes every sync take so long.
    #[must_use]
    pub fn sync_micros(mut self, micros: u32) -> Self {
        self.settings.push(format!("DEVICE_SYNC_MICROS={micros}").into());
        self
    }

    /// Takes the log's writes only so fast.
    #[must_use]
    pub fn bytes_per_second(mut self, bytes: u32) -> Self {
        self.settings.push(format!("DEVICE_BYTES_PER_SECOND={bytes}").into());
        self
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// The words that start a command on this device.
    #[must_use]
    pub fn entry(&self) -> Vec<OsString> {
        let mut preload = OsString::from("LD_PRELOAD=");
        preload.push(self.library());
        let words = [OsString::from("env"), preload];
        words.into_iter().chain(self.settings.iter().cloned()).collect()
    }

    fn library(&self) -> PathBuf {
        self.path().join("device.so")
    }
}

/// A directory for files that live as long as it does; in memory, if this system has such a place.
///
/// # Errors
/// It can't be made.
pub fn directory_in_memory() -> io::Result<TempDir> {
    let (memory, builder) = (Path::new("/dev/shm"), tempfile::Builder::new());
    if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }
}

const SOURCE: &str = include_str!("device.c");
