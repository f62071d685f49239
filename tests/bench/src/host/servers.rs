//! The two servers of a comparison: started on ports of the system's choice, ended by the process that started them.

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use strandline_tests::process::resp::{Client, Reply};
use strandline_tests::process::{Server, Setup};

use super::Settings;
use strandline_tests::device::Device;

/// Builds the server that is measured, unless one is named.
pub(crate) fn binary(settings: &Settings) -> Result<PathBuf, String> {
    if let Some(server) = &settings.server {
        return Ok(server.clone());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace).args([
        "build",
        "--release",
        "-q",
        "-p",
        "std-server",
        "--bin",
        "std-server",
    ]);
    let built = cargo.arg("--message-format=json").stderr(Stdio::inherit()).output();
    let built = built.map_err(|error| format!("cargo: {error}"))?;
    let text = String::from_utf8_lossy(&built.stdout);
    let path = text.split("\"executable\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    path.last().map(PathBuf::from).ok_or_else(|| format!("the server does not build: {}", built.status))
}

/// Ours in this mode on the device.
pub(crate) fn ours(settings: &Settings, device: &Device, mode: &str) -> Result<Setup, String> {
    let data = device.path().join("ours");
    Ok(Setup::new(binary(settings)?, data).under(device.entry()).mode(mode))
}

/// Starts ours and waits until it serves.
pub(crate) fn start(setup: &Setup) -> Result<Server, String> {
    setup.start().map_err(|ended| ended.to_string())
}

/// How redis-server is started.
pub(crate) struct RedisSetup {
    data: PathBuf,
    entry: Vec<std::ffi::OsString>,
    words: Vec<String>,
}

impl RedisSetup {
    /// With an append-only file in this mode (always, everysec, no), or without one.
    pub(crate) fn new(device: &Device, appendfsync: Option<&str>) -> Result<Self, String> {
        let data = device.path().join("redis");
        fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        let mut words: Vec<String> =
            ["--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"].map(Into::into).into();
        words.extend(["--auto-aof-rewrite-percentage", "0", "--daemonize", "no"].map(Into::into));
        let log = match appendfsync {
            Some(mode) => ["--appendonly", "yes", "--appendfsync", mode],
            None => ["--appendonly", "no", "--appendfsync", "no"],
        };
        words.extend(log.map(Into::into));
        Ok(Self { data, entry: device.entry(), words })
    }

    /// Starts it, and waits until it has loaded everything.
    pub(crate) fn start(&self) -> Result<Redis, String> {
        // The port may be taken by somebody else before the server has it: another is tried then.
        (0..10).find_map(|_| self.try_start()).unwrap_or_else(|| Err("redis-server found no port".into()))
    }

    fn try_start(&self) -> Option<Result<Redis, String>> {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).ok()?;
        let mut command = Command::new(&self.entry[0]);
        command.args(&self.entry[1..]).arg("redis-server").args(&self.words);
        command.args(["--port", &address.port().to_string(), "--dir"]).arg(&self.data);
        let child = match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) => return Some(Err(format!("redis-server: {error}"))),
        };
        let mut redis = Redis { child, address };
        match redis.wait_until_ready() {
            Ok(()) => Some(Ok(redis)),
            Err(Ended::Exited) => None,
            Err(Ended::Hung) => Some(Err("redis-server does not get ready".into())),
        }
    }
}

enum Ended {
    Exited,
    Hung,
}

/// A running redis-server.
pub(crate) struct Redis {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Redis {
    fn wait_until_ready(&mut self) -> Result<(), Ended> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return Err(Ended::Exited);
            }
            if is_ready(self.address) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(Ended::Hung)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether a server of the Redis protocol answers commands, not only connections.
pub(crate) fn is_ready(address: SocketAddr) -> bool {
    Client::connect(address)
        .and_then(|mut client| client.ask(&["PING"]))
        .is_ok_and(|reply| reply == Reply::Status("PONG".into()))
}

/// Asks one thing.
pub(crate) fn ask(address: SocketAddr, words: &[&str]) -> Result<Reply, String> {
    let reply = Client::connect(address).and_then(|mut client| client.ask(words));
    match reply {
        Ok(Reply::Error(error)) => Err(format!("{words:?}: {error}")),
        Ok(reply) => Ok(reply),
        Err(error) => Err(format!("{words:?}: {error}")),
    }
}

/// Memory of a process that is resident, bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<f64, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kib = kib.and_then(|kib| kib.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| "the system does not say what is resident".into())
}

const PATIENCE: Duration = Duration::from_secs(300);
pub(crate) const POLL: Duration = Duration::from_micros(500);
