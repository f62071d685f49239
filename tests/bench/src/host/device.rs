//! Where the data of a run lies, and what a sync costs there.
//!
//! A disk syncs in 20 µs or in 4 ms, as it likes. Data lies in memory, and a small library that is loaded before the server's
//! own makes every `fsync` and `fdatasync` take one millisecond, for ours and for the peer.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A directory in memory, with the library.
pub(crate) struct Device {
    place: TempDir,
}

impl Device {
    pub(crate) fn new() -> Result<Self, String> {
        let memory = Path::new("/dev/shm");
        let builder = tempfile::Builder::new();
        let place = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
        let this = Self { place: place.map_err(|error| error.to_string())? };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/host/device.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(this.library()).arg(source);
        match compiler.status() {
            Ok(status) if status.success() => Ok(this),
            Ok(status) => Err(format!("{compiler:?}: {status}")),
            Err(error) => Err(format!("a C compiler is needed: {error}")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// The words that start a command on this device.
    pub(crate) fn entry(&self) -> [OsString; 2] {
        let mut preload = OsString::from("LD_PRELOAD=");
        preload.push(self.library());
        ["env".into(), preload]
    }

    fn library(&self) -> std::path::PathBuf {
        self.path().join("device.so")
    }
}
