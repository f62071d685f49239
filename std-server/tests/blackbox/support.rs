//! What the tests share: setups, one-line requests, files, and faults of the system.

use core::time::Duration;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use strandline_tests::kill::copy;
use strandline_tests::process::http;
use strandline_tests::process::resp::Client;
use strandline_tests::process::{Ended, PATIENCE, Server, Setup};
use tempfile::TempDir;

/// The modes of acknowledgement.
pub(crate) const MODES: [&str; 3] = ["always", "periodic", "never"];

/// A temporary directory, and a server over `data` in it.
pub(crate) fn fresh() -> (TempDir, Setup) {
    let place = tempfile::tempdir().expect("a directory");
    let setup = over(&place.path().join("data"));
    (place, setup)
}

/// A server with the smallest segments, so that a start prepares little and rotation is near.
pub(crate) fn over(data: &Path) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_std-server"), data).set("persistence.wal.max_size_mb", 1)
}

/// Starts it, or fails with everything it wrote.
pub(crate) fn start(setup: &Setup) -> Server {
    setup.start().unwrap_or_else(|ended| panic!("it does not start: {ended}"))
}

/// A connection over the Redis protocol.
pub(crate) fn client(server: &Server) -> Client {
    Client::connect(server.resp()).expect("it listens")
}

/// Sends a line of words and returns the reply as text.
pub(crate) fn say(client: &mut Client, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    client.ask(&words).unwrap_or_else(|error| panic!("{line}: {error}")).to_string()
}

/// The same on a connection of its own.
pub(crate) fn ask(server: &Server, line: &str) -> String {
    say(&mut client(server), line)
}

/// An HTTP request: status and JSON.
pub(crate) fn call(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = http::request(server.http(), method, path, body);
    let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body)))
}

/// Writes `from..to` as `key:N` = `value-N`, each one acknowledged.
pub(crate) fn write_keys(server: &Server, keys: core::ops::Range<usize>) {
    let mut client = client(server);
    for key in keys {
        assert_eq!(say(&mut client, &format!("SET key:{key} value-{key}")), "OK");
    }
}

/// Checks that `keys` are there, as [`write_keys`] wrote them.
pub(crate) fn check_keys(server: &Server, keys: core::ops::Range<usize>) {
    let mut client = client(server);
    for key in keys {
        assert_eq!(say(&mut client, &format!("GET key:{key}")), format!("value-{key}"), "key:{key}");
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: waited for nothing");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A value of the metrics page.
pub(crate) fn metric(server: &Server, name: &str) -> f64 {
    let page = http::request(server.http(), "GET", "/metrics", "").expect("metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {page}"))
}

/// A field of INFO.
pub(crate) fn fact(server: &Server, name: &str) -> String {
    let info = ask(server, "INFO");
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {info}")).trim().to_owned()
}

/// The segments below a data directory, oldest name first.
pub(crate) fn segments(data: &Path) -> Vec<PathBuf> {
    files(&data.join("wal"), ".wal")
}

/// The snapshots below a data directory, oldest first.
pub(crate) fn snapshots(data: &Path) -> Vec<PathBuf> {
    files(&data.join("snapshots"), ".snap")
}

/// Files whose names end so, in the order of names.
pub(crate) fn files(place: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        entries.filter(|path| path.is_file() && path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

/// The segment that holds the newest frames, and how many of its bytes are not the zeros that it was prepared with.
pub(crate) fn newest_segment(data: &Path) -> (PathBuf, usize) {
    let written = |path: PathBuf| {
        let bytes = fs::read(&path).expect("a segment");
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        (path, end)
    };
    let mut segments: Vec<_> = segments(data).into_iter().map(written).filter(|(_, end)| *end > 0).collect();
    // Recycled segments keep what they held: the newest is the one that was written last.
    segments.sort_by_key(|(path, _)| fs::metadata(path).and_then(|data| data.modified()).expect("a time"));
    segments.pop().expect("a segment with frames")
}

/// Makes `to` a copy of `from`, and nothing else.
pub(crate) fn fresh_copy(from: &Setup, to: &Setup) {
    if to.data().exists() {
        fs::remove_dir_all(to.data()).expect("removed");
    }
    copy(from.data(), to.data()).expect("copied");
}

/// The server, where the `nth` of these calls on a thread meets the fault.
pub(crate) fn under(setup: &Setup, call: &str, fault: &str, nth: usize) -> Setup {
    let inject = format!("inject={call}:{fault}:when={nth}");
    let trace = format!("trace={call}");
    setup.clone().under(["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject])
}

/// `repair --apply` over this data.
pub(crate) fn repair(setup: &Setup) -> Setup {
    setup.clone().word("repair").word("--apply")
}

/// Repairs copies of this data, each time killed at another one of these calls and then once more, to the end; `check` looks at the
/// result. How many repairs were cut.
pub(crate) fn cut_repairs<'c>(
    setup: &Setup,
    cut: &Setup,
    calls: impl IntoIterator<Item = &'c &'static str>,
    check: impl Fn(&str),
) -> usize {
    let mut met = 0;
    for call in calls {
        for nth in 1..=MOST_CALLS {
            let what = format!("{call} {nth}");
            fresh_copy(setup, cut);
            let ended = under(&repair(cut), call, KILL, nth).run();
            if ended.signal() != Some(9) {
                assert_eq!(ended.code(), Some(0), "{what}: {ended}");
                break;
            }
            assert!(nth < MOST_CALLS, "{what}: more calls than are cut");
            met += 1;
            let again = repair(cut).run();
            assert_eq!(again.code(), Some(0), "{what}: {again}");
            check(&what);
        }
    }
    met
}

/// The fault that ends the process.
pub(crate) const KILL: &str = "signal=KILL";
/// More of one kind than a start, a snapshot or a repair of the tests makes.
pub(crate) const MOST_CALLS: usize = 40;

/// Changes a file's bytes.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

/// Checks that a start is refused with exit code 1 and one line that holds every part; returns what was written.
pub(crate) fn refused(setup: &Setup, parts: &[&str]) -> Ended {
    let ended = setup.run();
    assert_eq!(ended.code(), Some(1), "{ended}");
    for part in parts {
        assert!(ended.said(part), "{part:?} is not said: {ended}");
    }
    ended
}

/// `strace`, attached to a running server.
pub(crate) struct Attached(Child);

impl Attached {
    /// Injects a fault, in the words of `strace -e inject=`, into every matching call from now on.
    pub(crate) fn inject(server: &Server, fault: &str) -> Self {
        let call = fault.split(':').next().unwrap_or_default();
        let (trace, inject) = (format!("trace={call}"), format!("inject={fault}"));
        Self::attach(server, &["-e", &trace, "-e", &inject, "-o", "/dev/null"])
    }

    /// Writes the calls, in the words of `strace -e trace=`, to a file, with the paths of their descriptors.
    pub(crate) fn trace(server: &Server, calls: &str, to: &Path) -> Self {
        Self::attach(server, &["-y", "-e", &format!("trace={calls}"), "-o", &to.to_string_lossy()])
    }

    fn attach(server: &Server, arguments: &[&str]) -> Self {
        let mut strace = Command::new("strace");
        strace.arg("-f").args(arguments).args(["-p", &server.pid().to_string()]);
        let strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace = strace.spawn().expect("strace is installed");
        let mut lines = BufReader::new(strace.stderr.take().expect("piped")).lines();
        let first = lines.next().expect("strace says something").expect("text");
        assert!(first.contains("attached"), "{first}");
        thread::spawn(move || lines.for_each(drop));
        Self(strace)
    }

    /// Lets the server go on by itself.
    pub(crate) fn detach(mut self) {
        let line = format!("kill -INT {}", self.0.id());
        Command::new("sh").args(["-c", &line]).status().expect("a shell");
        self.0.wait().expect("strace ends");
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
