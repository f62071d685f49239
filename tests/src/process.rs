//! A real server as a black box: a process, its files and its sockets.
//!
//! ```text
//!  Setup ── start ──► Server ── kill, stop, wait ──► Ended      exit code and everything it wrote
//!    │                   └─ http, resp ──► resp::Client, http::Client
//!    └── run ──────────────────────────────────────► Ended      a command that ends by itself
//! ```
//!
//! Nothing here sleeps for luck: a start waits for the line that says so, an end for the process, each with a deadline
//! so generous that only a server that hangs meets it. A server that is dropped is killed.

pub mod http;
pub mod resp;

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Whatever takes longer than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    data: PathBuf,
    settings: Vec<(String, String)>,
    words: Vec<OsString>,
    wrapper: Vec<OsString>,
}

impl Setup {
    /// `binary` with its data in `data`, on ports that the system picks.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        let (settings, words, wrapper) = (Vec::new(), Vec::new(), Vec::new());
        Self { binary: binary.into(), data: data.into(), settings, words, wrapper }
            .set("server.port", 0)
            .set("resp3.port", 0)
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The same server over other data.
    #[must_use]
    pub fn over(mut self, data: impl Into<PathBuf>) -> Self {
        self.data = data.into();
        self
    }

    /// Sets a key of the configuration, by its path.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl fmt::Display) -> Self {
        let name = format!("STRANDLINE_{}", key.to_ascii_uppercase().replace('.', "__"));
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, value.to_string()));
        self
    }

    /// Sets what an acknowledgement promises: always, periodic or never.
    #[must_use]
    pub fn mode(self, mode: &str) -> Self {
        self.set("persistence.wal.fsync_mode", mode)
    }

    /// Adds a word to the command line.
    #[must_use]
    pub fn word(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    /// Runs the server under another command, which must become it or end with it.
    #[must_use]
    pub fn under<W: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = W>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// Starts a server and waits until it serves.
    ///
    /// # Errors
    /// It ended, or did not get ready in time.
    pub fn start(&self) -> Result<Server, Ended> {
        let mut server = self.launch()?;
        // One line on each stream: everything that it says about its start has arrived then.
        if !server.output.wait_for(RECOVERED, PATIENCE) || !server.output.wait_for(READY, PATIENCE) {
            return Err(server.kill());
        }
        server.ready = true;
        Ok(server)
    }

    /// Starts a server and waits until it listens: it may still be recovering.
    ///
    /// # Errors
    /// It ended, or did not listen in time.
    pub fn launch(&self) -> Result<Server, Ended> {
        let mut server = self.spawn();
        if !server.output.wait_for(LISTENING, PATIENCE) {
            return Err(server.kill());
        }
        let line = server.output.find(LISTENING).unwrap_or_default();
        server.http = address(&line, "http=");
        server.resp = address(&line, "resp=");
        Ok(server)
    }

    /// Starts a server and does not wait for anything.
    ///
    /// # Panics
    /// The binary can't be run at all.
    #[must_use]
    pub fn spawn(&self) -> Server {
        Server::new(self.command().spawn().unwrap_or_else(|error| panic!("{self:?}: {error}")))
    }

    /// Runs the binary until it ends by itself.
    #[must_use]
    pub fn run(&self) -> Ended {
        self.spawn().wait(PATIENCE)
    }

    /// What its environment says to it.
    pub fn environment(&self) -> impl Iterator<Item = (OsString, OsString)> + '_ {
        self.settings.iter().map(|(name, value)| (name.into(), value.into()))
    }

    fn command(&self) -> Command {
        let mut line = self.wrapper.iter().map(OsString::as_os_str).chain([self.binary.as_os_str()]);
        let mut command = Command::new(line.next().unwrap_or_default());
        command.args(line).args(&self.words).arg("--data-dir").arg(&self.data);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STRANDLINE_") {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    http: Option<SocketAddr>,
    resp: Option<SocketAddr>,
    ready: bool,
}

impl Server {
    fn new(mut child: Child) -> Self {
        let output = Arc::new(Output::default());
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        output.lock().open = pipes.len();
        let readers = pipes.into_iter().flatten().map(|pipe| {
            let output = Arc::clone(&output);
            thread::spawn(move || output.read(pipe))
        });
        Self { readers: readers.collect(), output, child, http: None, resp: None, ready: false }
    }

    /// Where HTTP listens.
    ///
    /// # Panics
    /// It does not, yet.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http.expect("the server listens for HTTP")
    }

    /// Where the Redis protocol listens.
    ///
    /// # Panics
    /// It does not.
    #[must_use]
    pub fn resp(&self) -> SocketAddr {
        self.resp.expect("the server listens for the Redis protocol")
    }

    /// Whether a start has waited until it served.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that is resident, bytes; 0 where the system does not say.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
    }

    /// Waits until it has written a line that holds `text`; false if it ended before, or the patience did.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        self.output.wait_for(text, PATIENCE)
    }

    /// Everything it has written so far, both streams.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Ended {
        // A process that has ended by itself can't be killed, and its exit code is what counts.
        drop(self.child.kill());
        self.end(PATIENCE)
    }

    /// Asks it to stop with SIGTERM, and waits until it has.
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        self.wait(PATIENCE)
    }

    /// Sends a signal by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        // The shell has a `kill` of its own wherever the system has none.
        let line = format!("kill -{name} {}", self.pid());
        drop(Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status());
    }

    /// Waits until it ends by itself; it is killed if that takes longer than `patience`.
    pub fn wait(mut self, patience: Duration) -> Ended {
        self.end(patience)
    }

    fn end(&mut self, patience: Duration) -> Ended {
        let (status, hung) = match self.exited(patience) {
            Some(status) => (Some(status), false),
            None => {
                drop(self.child.kill());
                (self.child.wait().ok(), true)
            }
        };
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
        Ended { status, hung, output: self.output.text() }
    }

    /// The exit status, once there is one.
    fn exited(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server that is no more.
#[derive(Clone, Debug)]
pub struct Ended {
    status: Option<ExitStatus>,
    /// It did not end in time and was killed.
    pub hung: bool,
    /// Everything that it wrote, both streams.
    pub output: String,
}

impl Ended {
    /// Its exit code, or `None` if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.filter(|_| !self.hung).and_then(|status| status.code())
    }

    /// The signal that ended it, if one did before anybody lost patience.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status.filter(|_| !self.hung).and_then(|status| status.signal())
    }

    /// Whether it wrote `text`.
    #[must_use]
    pub fn said(&self, text: &str) -> bool {
        self.output.contains(text)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            _ if self.hung => write!(f, "hung and was killed")?,
            None => write!(f, "could not be waited for")?,
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exit code {code}")?,
                (None, signal) => write!(f, "signal {}", signal.unwrap_or(0))?,
            },
        }
        write!(f, "; it wrote:\n{}", self.output)
    }
}

/// What a process writes, line by line.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// Streams that have not ended.
    open: usize,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, pipe: impl Read) {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while read_line(&mut pipe, &mut line).is_ok_and(|bytes| bytes > 0) {
            self.lock().lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            self.more.notify_all();
            line.clear();
        }
        self.lock().open -= 1;
        self.more.notify_all();
    }

    fn find(&self, text: &str) -> Option<String> {
        self.lock().lines.iter().find(|line| line.contains(text)).cloned()
    }

    fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    fn wait_for(&self, text: &str, patience: Duration) -> bool {
        let waits = |lines: &mut Lines| lines.open > 0 && !lines.lines.iter().any(|line| line.contains(text));
        let ended = self.more.wait_timeout_while(self.lock(), patience, waits);
        let (lines, _) = ended.unwrap_or_else(PoisonError::into_inner);
        lines.lines.iter().any(|line| line.contains(text))
    }
}

fn read_line(pipe: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    pipe.read_until(b'\n', line)
}

/// Lets this process have so many files open, as far as the system allows it.
///
/// # Errors
/// The system allows fewer.
pub fn raise_open_files(wanted: u64) -> Result<(), String> {
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_none_or(|soft| soft >= wanted) {
        return Ok(());
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limits });
    raised.map_err(|error| format!("{wanted} open files are needed (ulimit -n {wanted}): {error}"))
}

/// Builds the server beside this program, in the same profile.
///
/// # Errors
/// It does not build, or there is no cargo.
pub fn build() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let directory = own.parent().unwrap_or(Path::new("."));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "-q", "-p", "std-server"]).args((!cfg!(debug_assertions)).then_some("--release"));
    match cargo.status() {
        Ok(status) if status.success() => Ok(directory.join("std-server")),
        Ok(status) => Err(format!("the server does not build: {status}")),
        Err(error) => Err(format!("cargo can't be run: {error}; name a server with --server PATH")),
    }
}

/// The address behind `name` in a log line, quoted or not.
fn address(line: &str, name: &str) -> Option<SocketAddr> {
    let value = line.split(name).nth(1)?;
    value.trim_start_matches('"').split(['"', ' ']).next()?.parse().ok()
}

/// In the line with the addresses, which is written before recovery begins.
const LISTENING: &str = "listening; recovery begins";
/// In the last log line of a start, after what was recovered.
const RECOVERED: &str = "ready version=";
/// In the last line of the message that says what was recovered.
const READY: &str = "/kv/get/hello";
