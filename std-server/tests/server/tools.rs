//! `verify`, `inspect`, and going past damage: exit codes are verdicts.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use crate::process::{Server, binary, outcome, server};

/// A directory in which a server has written `records` records and stopped in order.
fn written(records: u32) -> TempDir {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let mut client = server.client();
    (0..records).for_each(|number| assert_eq!(client.ask(&format!("SET k:{number} value-{number}")), "OK"));
    server.stop();
    data
}

/// The file whose bytes hold this text, and where.
fn find(data: &Path, text: &str) -> (PathBuf, usize) {
    let files = fs::read_dir(data.join("wal")).expect("there").map(|entry| entry.expect("an entry").path());
    let place = |path: &PathBuf| {
        let bytes = fs::read(path).expect("readable");
        bytes.windows(text.len()).position(|window| window == text.as_bytes())
    };
    files
        .into_iter()
        .filter(|path| path.is_file())
        .find_map(|path| place(&path).map(|at| (path, at)))
        .expect("the text is in a segment")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("writable");
}

fn verify(data: &Path) -> (Option<i32>, String) {
    let (code, out, err) = outcome(&mut binary(data, &["verify"]));
    (code, out + &err)
}

fn inspect(file: &Path) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_std-server"));
    let (code, out, err) = outcome(command.arg("inspect").arg(file));
    (code, out + &err)
}

#[test]
fn verify_says_good_damaged_or_unreadable_and_changes_nothing() {
    let data = written(20);
    let before = listing(data.path());
    let (code, text) = verify(data.path());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("20 records") && text.contains("verdict    good"), "{text}");

    let (segment, at) = find(data.path(), "value-10");
    flip(&segment, at);
    let (code, text) = verify(data.path());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("--discard-from 11") && text.contains(&segment.display().to_string()), "{text}");
    flip(&segment, at);
    assert_eq!(verify(data.path()).0, Some(0));
    assert_eq!(listing(data.path()), before, "nothing was changed");

    let (code, text) = verify(&data.path().join("nowhere"));
    assert_eq!(code, Some(2), "{text}");
    let running = Server::start(data.path());
    assert_eq!(verify(data.path()).0, Some(2), "in use");
    running.stop();
}

fn listing(data: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for place in ["wal", "snapshots"] {
        for entry in fs::read_dir(data.join(place)).expect("there") {
            let path = entry.expect("an entry").path();
            let len = fs::metadata(&path).expect("there").len();
            files.push((path, len));
        }
    }
    files.sort();
    files
}

#[test]
fn a_torn_tail_is_good_and_a_server_starts() {
    let data = tempdir().expect("a directory");
    let server = Server::in_mode(data.path(), "never");
    let mut client = server.client();
    (0..20).for_each(|number| assert_eq!(client.ask(&format!("SET k:{number} value-{number}")), "OK"));
    server.kill();
    let (segment, at) = find(data.path(), "value-19");
    flip(&segment, at);
    let (code, text) = verify(data.path());
    assert_eq!(code, Some(0), "{text}");
    let server = Server::start(data.path());
    assert_eq!(server.ask("MGET k:18 k:19"), "[value-18 nil]");
    assert_eq!(server.ask("SET k:19 again"), "OK");
    server.kill();
    assert_eq!(Server::start(data.path()).ask("MGET k:18 k:19"), "[value-18 again]");
}

#[test]
fn damage_is_refused_and_discarded_only_by_name() {
    let data = written(20);
    let (segment, at) = find(data.path(), "value-10");
    flip(&segment, at);
    let refuse = |extra: &[&str]| {
        let mut command = server(data.path());
        command.env("STRANDLINE_LOGGING__FORMAT", "human").args(["--log-level", "error"]).args(extra);
        let (code, _, err) = outcome(&mut command);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("--discard-from 11"), "{err}");
    };
    refuse(&[]);
    refuse(&["--discard-from", "5"]);
    let mut command = server(data.path());
    command.args(["--discard-from", "11"]);
    let running = Server::from(command);
    assert_eq!(running.ask("MGET k:9 k:10 k:11"), "[value-9 nil nil]");
    running.stop();
    let (code, text) = verify(data.path());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("an operator discarded LSN 11"), "{text}");
}

#[test]
fn inspect_prints_a_line_for_every_frame() {
    let data = written(20);
    let running = Server::start(data.path());
    let (_, snapshot) = running.post("/snapshot", "");
    running.stop();
    let (segment, at) = find(data.path(), "value-10");
    let (code, text) = inspect(&segment);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains(" record ")).count(), 20, "{text}");
    assert!(text.lines().next().expect("a line").contains("extent"), "{text}");
    assert!(text.contains("sealed"), "{text}");

    flip(&segment, at);
    let (code, text) = inspect(&segment);
    assert_eq!(code, Some(1), "{text}");
    let last = text.lines().last().expect("a line");
    assert!(last.contains("DAMAGED") && last.split_whitespace().nth(1) == Some("11"), "{last}");

    let path = Path::new(snapshot["snapshot_path"].as_str().expect("a path"));
    let (code, text) = inspect(path);
    assert_eq!(code, Some(0), "{text}");
    for kind in ["extent", "chunk", "index", "end"] {
        assert!(text.contains(&format!(" {kind} ")), "{kind} in {text}");
    }
    let len = usize::try_from(fs::metadata(path).expect("there").len()).expect("small");
    flip(path, len / 2);
    assert_eq!(inspect(path).0, Some(1));

    let (code, text) = inspect(&data.path().join("wal/manifest-0"));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("revision 1"), "{text}");
    let foreign = data.path().join("foreign");
    fs::write(&foreign, "not ours").expect("writable");
    assert_eq!(inspect(&foreign).0, Some(2));
    assert_eq!(inspect(&data.path().join("nowhere")).0, Some(2));
}
